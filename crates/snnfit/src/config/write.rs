//! The resolved configuration as TOML: `run.toml`.

mod spike_history;

use std::collections::BTreeMap;

use super::checked::{self, Chunking, Experiment, LatentKind};
use super::error::ConfigError;
use super::{AnyExperiment, parse, raw};
use data::{NamedParts, NamedTrials};
use losses::sinkhorn::{Blur, Cost};
use losses::trial_loss::Method;

/// Writes every value explicitly; reading it back gives an equal [`Experiment`], wherever the file lies, because data
/// files are absolute.
///
/// # Errors
/// [`ConfigError::PathNotUtf8`] when a data path can't be written in TOML.
///
/// # Panics
/// Never: every type of `raw` can be written in TOML (tested for every variant).
pub fn to_toml(experiment: &Experiment) -> Result<String, ConfigError> {
    let config = to_raw(experiment)?;
    Ok(toml::to_string(&config).expect("raw::Config consists of tables, lists, numbers and texts"))
}

/// As [`to_toml`], of any model.
///
/// # Errors
/// As [`to_toml`].
///
/// # Panics
/// Never, as [`to_toml`].
pub fn any_to_toml(experiment: &AnyExperiment) -> Result<String, ConfigError> {
    let config = match experiment {
        AnyExperiment::Rsnn(experiment) => to_raw(experiment)?,
        AnyExperiment::SpikeHistory(experiment) => spike_history::to_raw(experiment)?,
    };
    Ok(toml::to_string(&config).expect("raw::Config consists of tables, lists, numbers and texts"))
}

fn split_to_raw(split: &checked::Split) -> raw::Split {
    let list = |trials: &NamedTrials| {
        Some(match trials {
            NamedTrials::All => raw::TrialList::All,
            NamedTrials::These(trials) => raw::TrialList::These(trials.iter().map(|&trial| trial as u64).collect()),
        })
    };
    let parts = |(name, parts): (&String, &NamedParts)| {
        let parts = raw::SessionParts {
            test: list(&parts.test),
            validation: list(&parts.validation),
        };
        (name.clone(), parts)
    };
    raw::Split {
        test_fraction: Some(split.test_fraction),
        validation_fraction: Some(split.validation_fraction),
        seed: Some(split.seed),
        sessions: (!split.sessions.is_empty()).then(|| split.sessions.iter().map(parts).collect()),
    }
}

fn adamw_to_raw(optimizer: checked::Optimizer) -> raw::Optimizer {
    let checked::Optimizer::AdamW(adamw) = optimizer;
    raw::Optimizer::AdamW(raw::AdamW {
        lr: Some(adamw.lr),
        lr_final: adamw.lr_final,
        beta1: Some(adamw.beta1),
        beta2: Some(adamw.beta2),
        epsilon: Some(adamw.epsilon),
        weight_decay: Some(adamw.weight_decay),
        l1: Some(adamw.l1),
    })
}

fn to_raw(experiment: &Experiment) -> Result<raw::Config, ConfigError> {
    let Experiment {
        seed,
        preset,
        data,
        split,
        model,
        statistics,
        losses,
        optimizer,
        train,
    } = experiment;
    let checked::Model::Rsnn(rsnn) = model;
    Ok(raw::Config {
        schema: Some(parse::SCHEMA),
        seed: Some(*seed),
        preset: *preset,
        data: Some(data_to_raw(data)?),
        split: Some(split_to_raw(split)),
        model: Some(raw::Model::Rsnn(Box::new(rsnn_to_raw(rsnn, &data.behaviour)))),
        statistics: Some(raw::Statistics {
            smooth_ms: Some(statistics.smooth.ms),
            stride_ms: Some(statistics.stride.ms),
            trial_resample: Some(statistics.trial_resample as u64),
            min_neurons_per_area: Some(statistics.min_neurons_per_area as u64),
            min_spikes: Some(statistics.min_spikes),
            min_presence: Some(statistics.min_presence),
            match_within: Some(statistics.match_within),
            matching_trials: Some(statistics.matching_trials),
            skip_ms: None,
            count_windows_ms: None,
        }),
        loss: Some(losses.iter().map(loss_to_raw).collect()),
        optimizer: Some(adamw_to_raw(*optimizer)),
        train: Some(raw::Train {
            n_trials: Some(train.n_trials as u64),
            max_steps: Some(train.max_steps),
            gradient_splitter: Some(train.gradient_splitter),
            balance_trial_types: Some(train.balance_trial_types),
            validate_every: Some(train.validate_every),
            validation_trials: Some(train.validation_trials as u64),
            patience: Some(train.patience),
            checkpoint_every: Some(train.checkpoint_every),
            log_every: Some(train.log_every),
            max_skipped: Some(train.max_skipped),
            engine: Some(train.engine),
            memory_limit: match train.chunking {
                Chunking::Memory(bytes) => Some(raw::Bytes(bytes)),
                Chunking::Whole | Chunking::Trials(_) => None,
            },
            trial_chunk: match train.chunking {
                Chunking::Trials(trials) => Some(trials as u64),
                Chunking::Whole | Chunking::Memory(_) => None,
            },
        }),
    })
}

fn data_to_raw(data: &checked::Data) -> Result<raw::Data, ConfigError> {
    let mut files = Vec::with_capacity(data.files.len());
    for path in &data.files {
        let text = path
            .to_str()
            .ok_or_else(|| ConfigError::PathNotUtf8 { path: path.clone() })?;
        files.push(text.to_owned());
    }
    Ok(raw::Data {
        files: Some(files),
        bin_ms: Some(data.bin_ms),
        window_ms: data.window_ms.map(Vec::from),
        sessions: data.sessions.clone(),
        behaviour: Some(data.behaviour.clone()),
        traces: traces_to_raw(data),
        max_rate_hz: data.max_rate_hz,
    })
}

/// Rules of traces that aren't taken as recorded.
fn traces_to_raw(data: &checked::Data) -> Option<BTreeMap<String, raw::TraceRule>> {
    let changed = data.behaviour.iter().zip(&data.traces);
    let rules: BTreeMap<String, raw::TraceRule> = changed
        .filter(|(_, rule)| **rule != checked::TraceRule::default())
        .map(|(name, rule)| {
            let rule = raw::TraceRule {
                baseline: Some(rule.baseline),
                baseline_ms: rule.baseline_ms.map(Vec::from),
                scale: Some(rule.scale),
                factor: Some(rule.factor),
            };
            (name.clone(), rule)
        })
        .collect();
    (!rules.is_empty()).then_some(rules)
}

/// The first trace's readout stands for all, and a table of its own has what differs.
fn behaviour_to_raw(behaviour: &checked::Behaviour, names: &[String]) -> raw::Behaviour {
    let first = behaviour.traces.first();
    let others: BTreeMap<String, raw::Readout> = names
        .iter()
        .zip(&behaviour.traces)
        .filter(|(_, readout)| Some(*readout) != first)
        .map(|(name, readout)| {
            let readout = raw::Readout {
                motor_areas: Some(readout.motor_areas.clone()),
                tau_ms: Some(readout.tau_ms),
                link: Some(readout.link),
            };
            (name.clone(), readout)
        })
        .collect();
    raw::Behaviour {
        motor_areas: first.map(|readout| readout.motor_areas.clone()),
        tau_ms: first.map(|readout| readout.tau_ms),
        link: first.map(|readout| readout.link),
        traces: (!others.is_empty()).then_some(others),
        feedback: behaviour.feedback.map(|feedback| raw::Feedback {
            first_ms: Some(feedback.first.ms),
            last_ms: Some(feedback.last.ms),
        }),
    }
}

fn rsnn_to_raw(rsnn: &checked::Rsnn, names: &[String]) -> raw::Rsnn {
    raw::Rsnn {
        n_neurons: rsnn.n_neurons.map(|n| n as u64),
        n_hidden: Some(rsnn.n_hidden as u64),
        areas: rsnn.areas.clone(),
        p_exc: Some(rsnn.p_exc),
        dale: Some(rsnn.dale),
        tau_m_exc_ms: Some(rsnn.tau_m_exc_ms),
        tau_m_inh_ms: Some(rsnn.tau_m_inh_ms),
        threshold: Some(rsnn.threshold),
        delay_ms: Some(rsnn.delay.ms),
        max_delay_ms: Some(rsnn.max_delay.ms),
        delay_groups: Some(rsnn.delay_groups as u64),
        refractory_ms: Some(rsnn.refractory.ms),
        temperature: Some(rsnn.temperature),
        p_scale: Some(rsnn.p_scale),
        noise: Some(rsnn.noise),
        current_scale: Some(rsnn.current_scale),
        surrogate_damping: Some(rsnn.surrogate_damping),
        warmup_ms: Some(rsnn.warmup.ms),
        inter_area: Some(rsnn.inter_area),
        projections: (!rsnn.projections.is_empty()).then(|| rsnn.projections.iter().map(projection_to_raw).collect()),
        train_resting_potential: Some(rsnn.train_resting_potential),
        train_noise_gain: Some(rsnn.train_noise_gain),
        input: Some(input_to_raw(&rsnn.input)),
        latent: rsnn.latent.as_ref().map(|latent| {
            let options = raw::LatentOptions {
                dimensions: Some(latent.dimensions as u64),
                bound: Some(latent.bound),
                init_scale: Some(latent.init_scale),
                weight_decay: Some(latent.weight_decay),
                knots_ms: Some(latent.knots_ms.clone()),
                stimulus_from_ms: latent.stimulus_from_ms,
            };
            match latent.kind {
                LatentKind::Mlp => raw::Latent::Mlp(options),
                LatentKind::Linear => raw::Latent::Linear(options),
            }
        }),
        behaviour: rsnn.behaviour.as_ref().map(|readout| behaviour_to_raw(readout, names)),
    }
}

fn projection_to_raw(rule: &checked::Projection) -> raw::Projection {
    raw::Projection {
        from: Some(rule.from.clone()),
        cell_type: rule.cell_type,
        to: Some(rule.to.clone()),
        allow: Some(rule.allow),
        sign: rule.sign,
    }
}

fn input_to_raw(input: &checked::Input) -> raw::Input {
    match input {
        checked::Input::Poisson(input) => raw::Input::Poisson(raw::PoissonInput {
            n: Some(input.n as u64),
            rate_hz: Some(input.rate_hz),
            p_exc: Some(input.p_exc),
            p_stim: Some(input.p_stim),
            onsets_ms: input.channels.is_empty().then(|| input.onsets_ms.clone()),
            channels: (!input.channels.is_empty()).then(|| input.channels.iter().map(channel_to_raw).collect()),
            delay_ms: Some(input.delay.ms),
            duration_ms: Some(input.duration.ms),
            gain: Some(input.gain),
            scale: Some(input.scale),
        }),
        checked::Input::Recorded(input) => raw::Input::Recorded(raw::RecordedInput {
            lags: Some(input.lags as u64),
            lag_step_ms: Some(input.lag_step.ms),
            scale: Some(input.scale),
            offset: Some(input.offset),
        }),
    }
}

fn channel_to_raw(channel: &checked::InputChannel) -> raw::InputChannel {
    let (event, onset_ms) = match &channel.onset {
        checked::ChannelOnset::Event(event) => (Some(event.clone()), None),
        checked::ChannelOnset::Ms(onset) => (None, Some(*onset)),
    };
    raw::InputChannel {
        event,
        onset_ms,
        share: Some(channel.share),
        amplitude: match &channel.amplitude {
            checked::ChannelAmplitude::One => None,
            checked::ChannelAmplitude::Stimulus => Some("stimulus".to_owned()),
            checked::ChannelAmplitude::Value(column) => Some(column.clone()),
        },
        duration_ms: Some(channel.duration.ms),
        gain: Some(channel.gain),
    }
}

fn loss_to_raw(loss: &checked::Loss) -> raw::Loss {
    match *loss {
        checked::Loss::Psth { weight } => raw::Loss::Psth(raw::Weighted { weight: Some(weight) }),
        checked::Loss::TrialMatching { weight, method } => raw::Loss::TrialMatching(raw::TrialMatching {
            weight: Some(weight),
            ..matching_to_raw(method)
        }),
        checked::Loss::FiringRate { weight } => raw::Loss::FiringRate(raw::Weighted { weight: Some(weight) }),
        checked::Loss::TrialMatchedLikelihood { weight } => {
            raw::Loss::TrialMatchedLikelihood(raw::Weighted { weight: Some(weight) })
        }
        checked::Loss::CountVariance { weight, ref windows } => {
            raw::Loss::CountVariance(windows_to_raw(weight, windows))
        }
        checked::Loss::CountCovariance { weight, ref windows } => {
            raw::Loss::CountCovariance(windows_to_raw(weight, windows))
        }
        checked::Loss::SpikeGan(gan) => raw::Loss::SpikeGan(raw::SpikeGan {
            weight: Some(gan.weight),
            every: Some(gan.every),
            lr: Some(gan.lr),
            weight_decay: Some(gan.weight_decay),
        }),
    }
}

fn windows_to_raw(weight: f64, windows: &checked::CountWindows) -> raw::CountCovariance {
    raw::CountCovariance {
        weight: Some(weight),
        windows_ms: Some(windows.lengths.iter().map(|window| window.ms).collect()),
        whole_trial: Some(windows.whole_trial),
    }
}

fn matching_to_raw(method: Method) -> raw::TrialMatching {
    let of = |method| raw::TrialMatching {
        method: Some(method),
        ..raw::TrialMatching::default()
    };
    match method {
        Method::Hard => of(raw::MatchingMethod::Hard),
        Method::Energy { exponent, by_part } => raw::TrialMatching {
            exponent: Some(exponent),
            by_part: Some(by_part),
            ..of(raw::MatchingMethod::Energy)
        },
        Method::Sinkhorn(sinkhorn) => {
            let (blur, blur_relative) = match sinkhorn.blur {
                Blur::Absolute(blur) => (Some(blur), None),
                Blur::Relative(share) => (None, Some(share)),
            };
            raw::TrialMatching {
                exponent: Some(match sinkhorn.cost {
                    Cost::Distance => 1.0,
                    Cost::HalfSquare => 2.0,
                }),
                blur,
                blur_relative,
                scaling: Some(sinkhorn.scaling),
                updates: Some(sinkhorn.updates as u64),
                debias: Some(sinkhorn.debias),
                ..of(raw::MatchingMethod::Sinkhorn)
            }
        }
    }
}
