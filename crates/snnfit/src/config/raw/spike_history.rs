//! `[model.spike_history]` as written, and the losses that go with it.

use serde::{Deserialize, Serialize};

/// `[model.spike_history]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpikeHistory {
    /// Unrecorded neurons.
    pub n_hidden: Option<u64>,
    /// Whether units of one name are one neuron in all sessions.
    pub shared_units: Option<bool>,
    /// How far back spikes act, ms.
    pub history_ms: Option<f64>,
    /// Firing threshold.
    pub threshold: Option<f64>,
    /// Slope of the spike probability.
    pub temperature: Option<f64>,
    /// Damping of the surrogate derivative.
    pub surrogate_damping: Option<f64>,
    /// Biases at the start.
    pub initial_bias: Option<InitialBias>,
    /// What kernels over past spikes are made of.
    pub kernels: Option<Kernels>,
    /// What drives the neurons.
    pub encoder: Option<Encoder>,
    /// What a step simulates.
    pub windows: Option<Windows>,
}

/// Biases at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitialBias {
    /// Those of the recorded rates.
    Rate,
    /// 0, as published.
    Zero,
}

/// `kernels`: functions of a lag.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kernels {
    /// A value for each lag.
    Raw(Raw),
    /// Raised cosines of the logarithm of the lag.
    RaisedCosine(RaisedCosine),
}

/// Nothing to set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {}

/// `raised_cosine = { … }`
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaisedCosine {
    /// Number of functions.
    pub n: Option<u64>,
    /// Lags below about this are spaced evenly, above logarithmically, ms.
    pub linear_ms: Option<f64>,
}

/// `[model.spike_history.encoder.…]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Encoder {
    /// The recorded stimulus through filters and layers.
    Stimulus(StimulusEncoder),
    /// A drive of its own for each time step of a trial.
    Bins(Raw),
}

/// `[model.spike_history.encoder.stimulus]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StimulusEncoder {
    /// Pixels along two axes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixels: Option<Vec<u64>>,
    /// How much of the stimulus matters, ms.
    pub history_ms: Option<f64>,
    /// What filters over time are made of.
    pub kernels: Option<Kernels>,
    /// Factor on the recorded values.
    pub scale: Option<f64>,
    /// Added after scaling.
    pub offset: Option<f64>,
    /// Layers before the linear map to the neurons.
    pub layers: Option<Vec<Layer>>,
}

/// One layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Layer {
    /// Convolution over pixels.
    Conv(Conv),
    /// Maximum of neighbouring pixels.
    MaxPool(MaxPool),
    /// All features.
    Dense(Dense),
}

/// `conv = { … }`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv {
    /// Number of filters.
    pub filters: Option<u64>,
    /// Side of the kernel, pixels.
    pub kernel: Option<u64>,
}

/// `max_pool = { … }`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxPool {
    /// Side of the neighbourhood, pixels.
    pub size: Option<u64>,
    /// Pixels from one output to the next.
    pub stride: Option<u64>,
}

/// `dense = { … }`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dense {
    /// Number of units.
    pub units: Option<u64>,
}

/// `[model.spike_history.windows]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Windows {
    /// Clamped windows of a step.
    pub clamped: Option<u64>,
    /// Their length, ms.
    pub clamped_ms: Option<f64>,
    /// Stretches of repeated stimuli of a step that are simulated freely.
    pub free: Option<u64>,
    /// Their length, ms.
    pub free_ms: Option<f64>,
}

/// `likelihood = { … }`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Likelihood {
    /// Factor of the loss.
    pub weight: Option<f64>,
    /// Samples of the hidden neurons of each window.
    pub samples: Option<u64>,
}

/// `single_trial = { … }`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SingleTrial {
    /// Factor of the loss.
    pub weight: Option<f64>,
    /// Clamped part of each window, ms.
    pub clamped_ms: Option<f64>,
}

/// `noise_covariance = { … }`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseCovariance {
    /// Factor of the loss.
    pub weight: Option<f64>,
    /// Compare counts in windows of this length, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_ms: Option<f64>,
    /// Or every lag up to this, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lags_ms: Option<f64>,
    /// How the model's side is computed.
    pub form: Option<CovarianceForm>,
}

/// How the model's covariances are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CovarianceForm {
    /// Of its spikes.
    Corrected,
    /// Of its probabilities, as the published program does.
    PaperCode,
}

/// `coincidence_cross_entropy = { … }`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoincidenceCrossEntropy {
    /// Factor of the loss.
    pub weight: Option<f64>,
    /// What is shown in the trials that are compared.
    pub stimuli: Option<ComparedStimuli>,
}

/// Stimuli whose trials are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComparedStimuli {
    /// Those that several trials show, simulated in as many trials as others.
    Repeated,
    /// Any, each window simulated once.
    Any,
}

/// `hidden_rate = { … }`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HiddenRate {
    /// Factor of the loss.
    pub weight: Option<f64>,
    /// How rates are compared.
    pub form: Option<HiddenRateForm>,
}

/// How rates of hidden neurons are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HiddenRateForm {
    /// Cross-entropy with the rate of a visible neuron drawn at random.
    CrossEntropy,
    /// Squared difference from 0.17 spikes a bin, as the published program does.
    PaperCode,
}
