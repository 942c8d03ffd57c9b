//! The checked configuration of a spike-history network.

use losses::sample_and_measure::{Comparison, Form};
use snn_core::models::spike_history::{Basis, Layer};

use super::{Data, Engine, Interval, Optimizer, Split, Steps};

pub use crate::config::raw::spike_history::{ComparedStimuli, HiddenRateForm, InitialBias};

/// One experiment with a spike-history network: what is fitted to what, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct SpikeHistoryExperiment {
    /// Seed of initialisation and noise; the split has its own.
    pub seed: u64,
    /// The recording.
    pub data: Data,
    /// Division of the trials.
    pub split: Split,
    /// The network.
    pub model: SpikeHistory,
    /// How activity is compared.
    pub statistics: Statistics,
    /// What is minimised, in the order of the file; not empty, no kind twice.
    pub losses: Vec<Loss>,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// The training loop.
    pub train: Train,
}

/// Spike-history network; equations in the specification §1.2.
#[derive(Debug, Clone, PartialEq)]
pub struct SpikeHistory {
    /// Hidden neurons, after the visible ones.
    pub n_hidden: usize,
    /// Whether units of one id and area are one neuron in all sessions; otherwise each session has its own.
    pub shared_units: bool,
    /// How far back spikes act, D lags, ≥ 1.
    pub history: Steps,
    /// Threshold θ, > 0.
    pub threshold: f64,
    /// Slope of the spike probability, > 0.
    pub temperature: f64,
    /// Damping γ of the surrogate derivative, ≥ 0.
    pub surrogate_damping: f64,
    /// Biases at the start.
    pub initial_bias: InitialBias,
    /// What kernels over past spikes are made of.
    pub kernels: Kernels,
    /// What drives the neurons. `None`: nothing but the bias.
    pub encoder: Option<Encoder>,
    /// What a step simulates.
    pub windows: Windows,
}

/// Functions of a lag.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kernels {
    /// A value for each lag.
    Raw,
    /// Raised cosines of the logarithm of the lag.
    RaisedCosine {
        /// Number of functions, from 1 to the number of lags.
        n: usize,
        /// Lags below this are spaced evenly, ms, > 0.
        linear_ms: f64,
    },
}

impl Kernels {
    /// The functions in steps of `bin_ms`.
    pub fn basis(self, bin_ms: f64) -> Basis {
        match self {
            Self::Raw => Basis::Raw,
            Self::RaisedCosine { n, linear_ms } => Basis::RaisedCosine {
                n,
                linear_steps: linear_ms / bin_ms,
            },
        }
    }
}

/// What drives the neurons.
#[derive(Debug, Clone, PartialEq)]
pub enum Encoder {
    /// The recorded stimulus.
    Stimulus(StimulusEncoder),
    /// A drive of its own for each time step of a trial, and each stimulus.
    Bins,
}

/// The recorded stimulus through filters and layers.
#[derive(Debug, Clone, PartialEq)]
pub struct StimulusEncoder {
    /// Pixels along two axes. `None`: channels in a row.
    pub pixels: Option<[usize; 2]>,
    /// How much of the stimulus matters, the present bin included, ≥ 1.
    pub history: Steps,
    /// What filters over time are made of.
    pub kernels: Kernels,
    /// Factor on the recorded values.
    pub scale: f64,
    /// Added after scaling.
    pub offset: f64,
    /// Layers before the linear map to the neurons.
    pub layers: Vec<Layer>,
}

/// What a step simulates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Windows {
    /// Clamped windows K_m, anywhere in the training trials, ≥ 1.
    pub clamped: usize,
    /// Their length, ≥ 1.
    pub clamped_steps: Steps,
    /// Stretches of repeated stimuli that are simulated freely, ≥ 1.
    pub free: usize,
    /// Their length, ≥ 1.
    pub free_steps: Steps,
}

/// How activity is compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// Width of the moving mean of PSTHs, ≥ 1 step.
    pub smooth: Steps,
    /// Start of each trial that isn't compared.
    pub skip: Steps,
    /// Windows in which spikes are counted for noise correlations; not empty.
    pub count_windows: Vec<Steps>,
}

/// One term of the objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// Recorded spikes given the recorded past.
    Likelihood {
        /// Factor, > 0.
        weight: f64,
        /// Samples of the hidden neurons of each window, ≥ 1; probabilities are averaged over them.
        samples: usize,
    },
    /// Recorded spikes given a past that is the model's after a clamped part.
    SingleTrial {
        /// Factor, > 0.
        weight: f64,
        /// The clamped part, shorter than the window.
        clamped: Steps,
    },
    /// Trial-averaged activity.
    PsthCrossEntropy {
        /// Factor, > 0.
        weight: f64,
    },
    /// Noise covariances of pairs.
    NoiseCovariance {
        /// Factor, > 0.
        weight: f64,
        /// What is compared.
        comparison: Comparison,
        /// How the model's side is computed.
        form: Form,
        /// The window or longest lag as configured.
        length: Steps,
    },
    /// Coincidences of pairs.
    CoincidenceCrossEntropy {
        /// Factor, > 0.
        weight: f64,
        /// Of which stimuli.
        stimuli: ComparedStimuli,
    },
    /// Rates of hidden neurons.
    HiddenRate {
        /// Factor, > 0.
        weight: f64,
        /// How they are compared.
        form: HiddenRateForm,
    },
}

impl Loss {
    /// Key of the loss in the configuration, events and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Likelihood { .. } => "likelihood",
            Self::SingleTrial { .. } => "single_trial",
            Self::PsthCrossEntropy { .. } => "psth_cross_entropy",
            Self::NoiseCovariance { .. } => "noise_covariance",
            Self::CoincidenceCrossEntropy { .. } => "coincidence_cross_entropy",
            Self::HiddenRate { .. } => "hidden_rate",
        }
    }

    /// Factor of the loss.
    pub fn weight(&self) -> f64 {
        match *self {
            Self::Likelihood { weight, .. }
            | Self::SingleTrial { weight, .. }
            | Self::PsthCrossEntropy { weight }
            | Self::NoiseCovariance { weight, .. }
            | Self::CoincidenceCrossEntropy { weight, .. }
            | Self::HiddenRate { weight, .. } => weight,
        }
    }

    /// Whether it is of freely simulated windows of any trials.
    pub fn is_of_any_stimuli(&self) -> bool {
        matches!(
            self,
            Self::CoincidenceCrossEntropy {
                stimuli: ComparedStimuli::Any,
                ..
            }
        )
    }

    /// Whether it needs freely simulated trials of a repeated stimulus.
    pub fn is_of_repeats(&self) -> bool {
        matches!(
            self,
            Self::PsthCrossEntropy { .. }
                | Self::NoiseCovariance { .. }
                | Self::CoincidenceCrossEntropy {
                    stimuli: ComparedStimuli::Repeated,
                    ..
                }
        )
    }
}

/// The training loop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Train {
    /// Simulated trials of each free window, ≥ 8: noise covariances halve them.
    pub n_trials: usize,
    /// Steps of the run, ≥ 1.
    pub max_steps: u64,
    /// Steps between validations, ≥ 1.
    pub validate_every: u64,
    /// Simulated trials of each stimulus of a validation, ≥ 8.
    pub validation_trials: usize,
    /// Steps without improvement of the validation loss before the run stops, ≥ 1.
    pub patience: u64,
    /// Steps or time between checkpoints.
    pub checkpoint_every: Interval,
    /// Steps between lines of `events.ndjson`, ≥ 1.
    pub log_every: u64,
    /// Consecutive steps with non-finite values that are skipped before the run ends, ≥ 0.
    pub max_skipped: u64,
    /// Engine of the rollout.
    pub engine: Engine,
}
