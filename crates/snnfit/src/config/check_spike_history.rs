//! The part of the check that concerns `[model.spike_history]`, its losses and its loop.

use super::check::{MAX_COUNT, MAX_STEP, check_optimizer};
use super::check_model::MAX_NEURONS;
use super::checked::spike_history::{
    Encoder, Kernels, Loss, SpikeHistory, SpikeHistoryExperiment, Statistics, StimulusEncoder, Train, Windows,
};
use super::checked::{Data, Interval, Split, Steps};
use super::defaults::{self as d, spike_history as ds};
use super::raw;
use super::raw::spike_history::{self as raw_model, ComparedStimuli, CovarianceForm, HiddenRateForm, InitialBias};
use super::resolver::{Resolver, Rule};
use losses::sample_and_measure::{Comparison, Form};
use snn_core::models::spike_history::{EncoderSpec, Layer};

const MODEL: &str = "model.spike_history";
/// Longest history of spikes, steps.
const MAX_HISTORY_STEPS: usize = 4096;
/// Longest history of a stimulus, steps.
const MAX_STIMULUS_STEPS: usize = 100_000;

/// What the rest of the file says.
pub(super) struct Rest {
    pub(super) seed: u64,
    pub(super) data: Data,
    pub(super) split: Split,
    pub(super) statistics: raw::Statistics,
    pub(super) losses: Vec<raw::Loss>,
    pub(super) optimizer: Option<raw::Optimizer>,
    pub(super) train: raw::Train,
}

pub(super) fn check_spike_history(
    r: &mut Resolver<'_>,
    raw: raw_model::SpikeHistory,
    rest: Rest,
) -> Option<SpikeHistoryExperiment> {
    let bin_ms = rest.data.bin_ms;
    let model = check_model(r, raw, bin_ms);
    refuse_data(r, &rest.data);
    let statistics = check_statistics(r, rest.statistics, bin_ms);
    let losses = check_losses(r, rest.losses, &model, bin_ms);
    let optimizer = check_optimizer(r, rest.optimizer, Some(0.0));
    let train = check_train(r, rest.train);
    r.is_clean().then_some(SpikeHistoryExperiment {
        seed: rest.seed,
        data: rest.data,
        split: rest.split,
        model,
        statistics,
        losses,
        optimizer,
        train,
    })
}

fn check_model(r: &mut Resolver<'_>, raw: raw_model::SpikeHistory, bin_ms: f64) -> SpikeHistory {
    let key = |name: &str| format!("{MODEL}.{name}");
    let n_hidden = r.count(&key("n_hidden"), raw.n_hidden, 0, 0..=MAX_NEURONS);
    let history = r.steps(
        &key("history_ms"),
        raw.history_ms,
        ds::HISTORY_MS,
        bin_ms,
        Rule::Positive,
    );
    at_most(r, &key("history_ms"), history, MAX_HISTORY_STEPS);
    SpikeHistory {
        n_hidden,
        shared_units: r.value(&key("shared_units"), raw.shared_units, None, false),
        history,
        threshold: r.number(&key("threshold"), raw.threshold, ds::THRESHOLD, Rule::Positive),
        temperature: r.number(&key("temperature"), raw.temperature, ds::TEMPERATURE, Rule::Positive),
        surrogate_damping: r.number(
            &key("surrogate_damping"),
            raw.surrogate_damping,
            d::SURROGATE_DAMPING,
            Rule::NonNegative,
        ),
        initial_bias: r.value(&key("initial_bias"), raw.initial_bias, None, InitialBias::Rate),
        kernels: check_kernels(r, &key("kernels"), raw.kernels, history, ds::KERNEL_LINEAR_MS),
        encoder: raw.encoder.map(|encoder| check_encoder(r, encoder, bin_ms)),
        windows: check_windows(r, raw.windows.unwrap_or_default(), bin_ms),
    }
}

fn check_kernels(
    r: &mut Resolver<'_>,
    at: &str,
    raw: Option<raw_model::Kernels>,
    history: Steps,
    linear_ms: f64,
) -> Kernels {
    let Some(raw_model::Kernels::RaisedCosine(raw)) = raw else {
        return Kernels::Raw;
    };
    let key = |name: &str| format!("{at}.raised_cosine.{name}");
    let n = r.count(&key("n"), raw.n, ds::N_KERNELS, 1..=MAX_COUNT);
    if n > history.steps {
        let message = format!("`{}` = {n} is more than there are lags, {}", key("n"), history.steps);
        r.problem(&key("n"), &message, "take fewer functions, or a longer history_ms");
    }
    Kernels::RaisedCosine {
        n,
        linear_ms: r.number(&key("linear_ms"), raw.linear_ms, linear_ms, Rule::Positive),
    }
}

fn check_encoder(r: &mut Resolver<'_>, raw: raw_model::Encoder, bin_ms: f64) -> Encoder {
    let raw_model::Encoder::Stimulus(raw) = raw else {
        return Encoder::Bins;
    };
    let at = format!("{MODEL}.encoder.stimulus");
    let key = |name: &str| format!("{at}.{name}");
    let pixels = r.optional(&key("pixels"), raw.pixels, None);
    let pixels = pixels.and_then(|pixels| match pixels[..] {
        [height, width] if height > 0 && width > 0 && height.saturating_mul(width) <= MAX_COUNT => {
            Some([height as usize, width as usize])
        }
        _ => {
            let message = format!(
                "`{}` = {pixels:?} must be two numbers of pixels, at least 1",
                key("pixels")
            );
            r.problem(
                &key("pixels"),
                &message,
                "write [height, width], or leave it out for channels in a row",
            );
            None
        }
    });
    let history = r.steps(
        &key("history_ms"),
        raw.history_ms,
        ds::STIMULUS_HISTORY_MS,
        bin_ms,
        Rule::Positive,
    );
    at_most(r, &key("history_ms"), history, MAX_STIMULUS_STEPS);
    let kernels = check_kernels(r, &key("kernels"), raw.kernels, history, ds::STIMULUS_LINEAR_MS);
    let scale = r.number(&key("scale"), raw.scale, 1.0, Rule::Finite);
    let offset = r.number(&key("offset"), raw.offset, 0.0, Rule::Finite);
    let layers = check_layers(r, &key("layers"), raw.layers);
    let spec = EncoderSpec {
        pixels: pixels.unwrap_or([1, 1]),
        lags: history.steps.max(1),
        basis: kernels.basis(if bin_ms > 0.0 { bin_ms } else { 1.0 }),
        layers: layers.clone(),
    };
    if r.is_clean()
        && let Err(error) = spec.check()
    {
        r.problem(&key("layers"), &error.to_string(), "see `snnfit config schema`");
    }
    Encoder::Stimulus(StimulusEncoder {
        pixels,
        history,
        kernels,
        scale,
        offset,
        layers,
    })
}

fn check_layers(r: &mut Resolver<'_>, at: &str, raw: Option<Vec<raw_model::Layer>>) -> Vec<Layer> {
    let raw = r.value(at, raw, None, Vec::new());
    let mut layers = Vec::new();
    for (l, layer) in raw.into_iter().enumerate() {
        let mut number = |name: &str, given: Option<u64>, default: u64| {
            let key = format!("{at}[{l}].{name}");
            let value = given.unwrap_or(default);
            r.check_count(&key, value, &(1..=MAX_COUNT));
            value as usize
        };
        layers.push(match layer {
            raw_model::Layer::Conv(raw) => Layer::Conv {
                filters: number("conv.filters", raw.filters, ds::CONV_FILTERS),
                kernel: number("conv.kernel", raw.kernel, ds::CONV_KERNEL),
            },
            raw_model::Layer::MaxPool(raw) => Layer::MaxPool {
                size: number("max_pool.size", raw.size, ds::POOL_SIZE),
                stride: number("max_pool.stride", raw.stride, ds::POOL_STRIDE),
            },
            raw_model::Layer::Dense(raw) => Layer::Dense {
                units: number("dense.units", raw.units, ds::DENSE_UNITS),
            },
        });
    }
    layers
}

fn check_windows(r: &mut Resolver<'_>, raw: raw_model::Windows, bin_ms: f64) -> Windows {
    let key = |name: &str| format!("{MODEL}.windows.{name}");
    Windows {
        clamped: r.count(&key("clamped"), raw.clamped, ds::CLAMPED_WINDOWS, 1..=MAX_COUNT),
        clamped_steps: r.steps(
            &key("clamped_ms"),
            raw.clamped_ms,
            ds::CLAMPED_MS,
            bin_ms,
            Rule::Positive,
        ),
        free: r.count(&key("free"), raw.free, ds::FREE_WINDOWS, 1..=MAX_COUNT),
        free_steps: r.steps(&key("free_ms"), raw.free_ms, ds::FREE_MS, bin_ms, Rule::Positive),
    }
}

fn at_most(r: &mut Resolver<'_>, key: &str, steps: Steps, most: usize) {
    if steps.steps > most {
        let message = format!(
            "`{key}` = {} ms is {} steps; at most {most} are allowed",
            steps.ms, steps.steps
        );
        r.problem(key, &message, "times are in ms");
    }
}

/// Keys of the recording that this model has no use for.
fn refuse_data(r: &mut Resolver<'_>, data: &Data) {
    let refused = [
        ("data.behaviour", !data.behaviour.is_empty()),
        ("data.window_ms", data.window_ms.is_some()),
    ];
    for (key, _) in refused.iter().filter(|(_, is_given)| *is_given) {
        let help = match *key {
            "data.window_ms" => "trials are taken whole: statistics.skip_ms leaves out what comes first",
            _ => "remove it",
        };
        r.problem(key, &format!("`{key}` has no meaning for [{MODEL}]"), help);
    }
}

/// Reports keys of the other model that are written.
pub(super) fn refuse(r: &mut Resolver<'_>, table: &str, keys: &[(&str, bool)], owner: &str) {
    for (name, _) in keys.iter().filter(|(_, is_given)| *is_given) {
        let key = format!("{table}.{name}");
        r.problem(&key, &format!("`{key}` belongs to [{owner}]"), "remove it");
    }
}

fn check_statistics(r: &mut Resolver<'_>, raw: raw::Statistics, bin_ms: f64) -> Statistics {
    let of_rsnn = [
        ("stride_ms", raw.stride_ms.is_some()),
        ("trial_resample", raw.trial_resample.is_some()),
        ("min_neurons_per_area", raw.min_neurons_per_area.is_some()),
        ("min_spikes", raw.min_spikes.is_some_and(|n| n > 0)),
        ("min_presence", raw.min_presence.is_some()),
        ("match_within", raw.match_within.is_some()),
        ("matching_trials", raw.matching_trials.is_some()),
    ];
    refuse(r, "statistics", &of_rsnn, "model.rsnn");
    let key = "statistics.count_windows_ms";
    let windows = r.value(key, raw.count_windows_ms, None, ds::COUNT_WINDOWS_MS.to_vec());
    if windows.is_empty() {
        r.problem(key, &format!("`{key}` is empty"), "leave it out for the default");
    }
    let count_windows = r.count_windows(key, &windows, bin_ms);
    Statistics {
        smooth: r.steps(
            "statistics.smooth_ms",
            raw.smooth_ms,
            ds::SMOOTH_MS,
            bin_ms,
            Rule::Positive,
        ),
        skip: r.steps("statistics.skip_ms", raw.skip_ms, 0.0, bin_ms, Rule::NonNegative),
        count_windows,
    }
}

fn check_losses(r: &mut Resolver<'_>, raw: Vec<raw::Loss>, model: &SpikeHistory, bin_ms: f64) -> Vec<Loss> {
    if raw.is_empty() {
        r.missing(
            "loss",
            "add at least one loss: [[loss]] on one line, `likelihood = {}` on the next",
        );
    }
    let mut losses: Vec<Loss> = Vec::new();
    for (i, raw) in raw.into_iter().enumerate() {
        let Some(loss) = check_loss(r, &format!("loss[{i}]"), raw, model, bin_ms) else {
            continue;
        };
        if losses.iter().any(|earlier| earlier.name() == loss.name()) {
            let message = format!("the loss `{}` is listed twice", loss.name());
            r.problem(&format!("loss[{i}]"), &message, "keep one and add up the weights");
        }
        losses.push(loss);
    }
    // Hidden rates are those of rollouts that other losses ask for.
    let hidden = losses.iter().position(|loss| matches!(loss, Loss::HiddenRate { .. }));
    let has_rollout = |loss: &Loss| {
        matches!(loss, Loss::Likelihood { .. } | Loss::CoincidenceCrossEntropy { .. }) || loss.is_of_repeats()
    };
    if let (Some(i), false) = (hidden, losses.iter().any(has_rollout)) {
        r.problem(
            &format!("loss[{i}]"),
            "the loss `hidden_rate` goes with `likelihood`, coincidences or a loss of repeats, and there is none",
            "add one, for example likelihood = {}",
        );
    }
    losses
}

fn check_loss(r: &mut Resolver<'_>, at: &str, raw: raw::Loss, model: &SpikeHistory, bin_ms: f64) -> Option<Loss> {
    let key = |name: &str| format!("{at}.{name}");
    Some(match raw {
        raw::Loss::Likelihood(raw) => Loss::Likelihood {
            weight: r.number(&key("likelihood.weight"), raw.weight, 1.0, Rule::Positive),
            samples: {
                let samples = r.count(&key("likelihood.samples"), raw.samples, 1, 1..=4096);
                if samples > 1 && model.n_hidden == 0 {
                    let message = format!(
                        "`{}` = {samples}, but there are no hidden neurons: every sample is the same",
                        key("likelihood.samples")
                    );
                    r.problem(&key("likelihood.samples"), &message, "remove it, or set n_hidden");
                }
                samples
            },
        },
        raw::Loss::SingleTrial(raw) => {
            let name = key("single_trial.clamped_ms");
            let half = model.windows.clamped_steps.ms / 2.0;
            let clamped = r.steps(&name, raw.clamped_ms, half, bin_ms, Rule::NonNegative);
            let window = model.windows.clamped_steps;
            if clamped.steps >= window.steps {
                let message = format!(
                    "`{name}` = {} ms leaves nothing of a window of {} ms",
                    clamped.ms, window.ms
                );
                r.problem(&name, &message, &format!("lengthen {MODEL}.windows.clamped_ms"));
            }
            Loss::SingleTrial {
                weight: r.number(&key("single_trial.weight"), raw.weight, 1.0, Rule::Positive),
                clamped,
            }
        }
        raw::Loss::PsthCrossEntropy(raw) => Loss::PsthCrossEntropy {
            weight: r.number(&key("psth_cross_entropy.weight"), raw.weight, 1.0, Rule::Positive),
        },
        raw::Loss::CoincidenceCrossEntropy(raw) => Loss::CoincidenceCrossEntropy {
            weight: r.number(
                &key("coincidence_cross_entropy.weight"),
                raw.weight,
                1.0,
                Rule::Positive,
            ),
            stimuli: r.value(
                &key("coincidence_cross_entropy.stimuli"),
                raw.stimuli,
                None,
                ComparedStimuli::Repeated,
            ),
        },
        raw::Loss::NoiseCovariance(raw) => check_noise_covariance(r, at, &raw, model, bin_ms),
        raw::Loss::HiddenRate(raw) => {
            if model.n_hidden == 0 {
                let message = "the loss `hidden_rate` has no hidden neurons";
                r.problem(at, message, &format!("remove it, or set {MODEL}.n_hidden"));
            }
            Loss::HiddenRate {
                weight: r.number(&key("hidden_rate.weight"), raw.weight, 1.0, Rule::Positive),
                form: r.value(&key("hidden_rate.form"), raw.form, None, HiddenRateForm::CrossEntropy),
            }
        }
        raw::Loss::Psth(_)
        | raw::Loss::TrialMatching(_)
        | raw::Loss::FiringRate(_)
        | raw::Loss::CountVariance(_)
        | raw::Loss::CountCovariance(_)
        | raw::Loss::TrialMatchedLikelihood(_)
        | raw::Loss::SpikeGan(_) => {
            r.problem(
                at,
                &format!("`{at}` is a loss of [model.rsnn]"),
                "take likelihood, single_trial, psth_cross_entropy, noise_covariance, coincidence_cross_entropy or hidden_rate",
            );
            return None;
        }
    })
}

fn check_noise_covariance(
    r: &mut Resolver<'_>,
    at: &str,
    raw: &raw_model::NoiseCovariance,
    model: &SpikeHistory,
    bin_ms: f64,
) -> Loss {
    let key = |name: &str| format!("{at}.noise_covariance.{name}");
    let weight = r.number(&key("weight"), raw.weight, ds::NOISE_COVARIANCE_WEIGHT, Rule::Positive);
    let form = match r.value(&key("form"), raw.form, None, CovarianceForm::Corrected) {
        CovarianceForm::Corrected => Form::Corrected,
        CovarianceForm::PaperCode => Form::PaperCode,
    };
    if raw.window_ms.is_some() && raw.lags_ms.is_some() {
        let message = format!("`{}` and `{}` are both given", key("window_ms"), key("lags_ms"));
        r.problem(&key("lags_ms"), &message, "keep one of them");
    }
    if form == Form::PaperCode && raw.lags_ms.is_none() {
        let message = format!("`{}` = \"paper_code\" compares lags, not windows", key("form"));
        r.problem(&key("form"), &message, &format!("give `{}`", key("lags_ms")));
    }
    let (comparison, length) = if raw.lags_ms.is_some() {
        let length = r.steps(&key("lags_ms"), raw.lags_ms, 0.0, bin_ms, Rule::NonNegative);
        (Comparison::Lags(length.steps), length)
    } else {
        let length = r.steps(
            &key("window_ms"),
            raw.window_ms,
            ds::COVARIANCE_WINDOW_MS,
            bin_ms,
            Rule::Positive,
        );
        (Comparison::Window(length.steps), length)
    };
    if length.steps >= model.windows.free_steps.steps {
        let message = format!(
            "noise covariances over {} ms don't fit free windows of {} ms",
            length.ms, model.windows.free_steps.ms
        );
        r.problem(at, &message, &format!("lengthen {MODEL}.windows.free_ms"));
    }
    Loss::NoiseCovariance {
        weight,
        comparison,
        form,
        length,
    }
}

fn check_train(r: &mut Resolver<'_>, raw: raw::Train) -> Train {
    let of_rsnn = [
        ("gradient_splitter", raw.gradient_splitter.is_some()),
        ("balance_trial_types", raw.balance_trial_types.is_some()),
        ("memory_limit", raw.memory_limit.is_some()),
        ("trial_chunk", raw.trial_chunk.is_some()),
    ];
    refuse(r, "train", &of_rsnn, "model.rsnn");
    let key = |name: &str| format!("train.{name}");
    let train = Train {
        n_trials: r.count(&key("n_trials"), raw.n_trials, ds::N_TRIALS, 8..=MAX_COUNT),
        max_steps: r.count_u64(&key("max_steps"), raw.max_steps, d::MAX_STEPS, 1..=MAX_STEP),
        validate_every: r.count_u64(
            &key("validate_every"),
            raw.validate_every,
            d::VALIDATE_EVERY,
            1..=MAX_STEP,
        ),
        validation_trials: r.count(
            &key("validation_trials"),
            raw.validation_trials,
            ds::VALIDATION_TRIALS,
            8..=MAX_COUNT,
        ),
        patience: r.count_u64(&key("patience"), raw.patience, d::PATIENCE, 1..=MAX_STEP),
        checkpoint_every: r.value(
            &key("checkpoint_every"),
            raw.checkpoint_every,
            None,
            Interval::Steps(d::CHECKPOINT_EVERY),
        ),
        log_every: r.count_u64(&key("log_every"), raw.log_every, d::LOG_EVERY, 1..=MAX_STEP),
        max_skipped: r.count_u64(&key("max_skipped"), raw.max_skipped, d::MAX_SKIPPED, 0..=MAX_STEP),
        engine: r.value(&key("engine"), raw.engine, None, raw::Engine::Native),
    };
    if train.engine == raw::Engine::NativeInt16 {
        r.problem(
            "train.engine",
            "the engine native_int16 doesn't take [model.spike_history]",
            "use \"native\"",
        );
    }
    if let Interval::Steps(steps) = train.checkpoint_every {
        r.check_count(&key("checkpoint_every"), steps, &(1..=MAX_STEP));
    }
    train
}
