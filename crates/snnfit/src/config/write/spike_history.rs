//! `run.toml` of a spike-history network.

use losses::sample_and_measure::{Comparison, Form};
use snn_core::models::spike_history::Layer;

use super::{adamw_to_raw, data_to_raw, split_to_raw};
use crate::config::checked::spike_history::{Encoder, Kernels, Loss, SpikeHistory, SpikeHistoryExperiment};
use crate::config::error::ConfigError;
use crate::config::raw::spike_history as raw_model;
use crate::config::{parse, raw};

pub(super) fn to_raw(experiment: &SpikeHistoryExperiment) -> Result<raw::Config, ConfigError> {
    let SpikeHistoryExperiment {
        seed,
        data,
        split,
        model,
        statistics,
        losses,
        optimizer,
        train,
    } = experiment;
    Ok(raw::Config {
        schema: Some(parse::SCHEMA),
        seed: Some(*seed),
        preset: None,
        data: Some(data_to_raw(data)?),
        split: Some(split_to_raw(split)),
        model: Some(raw::Model::SpikeHistory(Box::new(model_to_raw(model)))),
        statistics: Some(raw::Statistics {
            smooth_ms: Some(statistics.smooth.ms),
            skip_ms: Some(statistics.skip.ms),
            count_windows_ms: Some(statistics.count_windows.iter().map(|window| window.ms).collect()),
            ..raw::Statistics::default()
        }),
        loss: Some(losses.iter().map(loss_to_raw).collect()),
        optimizer: Some(adamw_to_raw(*optimizer)),
        train: Some(raw::Train {
            n_trials: Some(train.n_trials as u64),
            max_steps: Some(train.max_steps),
            validate_every: Some(train.validate_every),
            validation_trials: Some(train.validation_trials as u64),
            patience: Some(train.patience),
            checkpoint_every: Some(train.checkpoint_every),
            log_every: Some(train.log_every),
            max_skipped: Some(train.max_skipped),
            engine: Some(train.engine),
            ..raw::Train::default()
        }),
    })
}

fn model_to_raw(model: &SpikeHistory) -> raw_model::SpikeHistory {
    raw_model::SpikeHistory {
        n_hidden: Some(model.n_hidden as u64),
        shared_units: Some(model.shared_units),
        history_ms: Some(model.history.ms),
        threshold: Some(model.threshold),
        temperature: Some(model.temperature),
        surrogate_damping: Some(model.surrogate_damping),
        initial_bias: Some(model.initial_bias),
        kernels: Some(kernels_to_raw(model.kernels)),
        encoder: model.encoder.as_ref().map(encoder_to_raw),
        windows: Some(raw_model::Windows {
            clamped: Some(model.windows.clamped as u64),
            clamped_ms: Some(model.windows.clamped_steps.ms),
            free: Some(model.windows.free as u64),
            free_ms: Some(model.windows.free_steps.ms),
        }),
    }
}

fn kernels_to_raw(kernels: Kernels) -> raw_model::Kernels {
    match kernels {
        Kernels::Raw => raw_model::Kernels::Raw(raw_model::Raw {}),
        Kernels::RaisedCosine { n, linear_ms } => raw_model::Kernels::RaisedCosine(raw_model::RaisedCosine {
            n: Some(n as u64),
            linear_ms: Some(linear_ms),
        }),
    }
}

fn encoder_to_raw(encoder: &Encoder) -> raw_model::Encoder {
    let Encoder::Stimulus(encoder) = encoder else {
        return raw_model::Encoder::Bins(raw_model::Raw {});
    };
    let layer = |layer: &Layer| match *layer {
        Layer::Conv { filters, kernel } => raw_model::Layer::Conv(raw_model::Conv {
            filters: Some(filters as u64),
            kernel: Some(kernel as u64),
        }),
        Layer::MaxPool { size, stride } => raw_model::Layer::MaxPool(raw_model::MaxPool {
            size: Some(size as u64),
            stride: Some(stride as u64),
        }),
        Layer::Dense { units } => raw_model::Layer::Dense(raw_model::Dense {
            units: Some(units as u64),
        }),
    };
    raw_model::Encoder::Stimulus(raw_model::StimulusEncoder {
        pixels: encoder.pixels.map(|pixels| pixels.map(|n| n as u64).to_vec()),
        history_ms: Some(encoder.history.ms),
        kernels: Some(kernels_to_raw(encoder.kernels)),
        scale: Some(encoder.scale),
        offset: Some(encoder.offset),
        layers: Some(encoder.layers.iter().map(layer).collect()),
    })
}

fn loss_to_raw(loss: &Loss) -> raw::Loss {
    match *loss {
        Loss::Likelihood { weight, samples } => raw::Loss::Likelihood(raw_model::Likelihood {
            weight: Some(weight),
            samples: Some(samples as u64),
        }),
        Loss::SingleTrial { weight, clamped } => raw::Loss::SingleTrial(raw_model::SingleTrial {
            weight: Some(weight),
            clamped_ms: Some(clamped.ms),
        }),
        Loss::PsthCrossEntropy { weight } => raw::Loss::PsthCrossEntropy(raw::Weighted { weight: Some(weight) }),
        Loss::CoincidenceCrossEntropy { weight, stimuli } => {
            raw::Loss::CoincidenceCrossEntropy(raw_model::CoincidenceCrossEntropy {
                weight: Some(weight),
                stimuli: Some(stimuli),
            })
        }
        Loss::NoiseCovariance {
            weight,
            comparison,
            form,
            length,
        } => {
            let is_window = matches!(comparison, Comparison::Window(_));
            raw::Loss::NoiseCovariance(raw_model::NoiseCovariance {
                weight: Some(weight),
                window_ms: is_window.then_some(length.ms),
                lags_ms: (!is_window).then_some(length.ms),
                form: Some(match form {
                    Form::Corrected => raw_model::CovarianceForm::Corrected,
                    Form::PaperCode => raw_model::CovarianceForm::PaperCode,
                }),
            })
        }
        Loss::HiddenRate { weight, form } => raw::Loss::HiddenRate(raw_model::HiddenRate {
            weight: Some(weight),
            form: Some(form),
        }),
    }
}
