//! The configuration after checking: every value present, finite, in range and consistent with the others.
//!
//! The trainer takes only these types. What depends on the recording (number of neurons, areas, window) stays an
//! `Option`: `None` means "as recorded". Times that become time steps are kept as [`Steps`].

pub mod spike_history;

use std::collections::BTreeMap;
use std::path::PathBuf;

use data::NamedParts;
use losses::trial_loss::Method;

pub use super::raw::{
    Areas, Baseline, Engine, InterArea, Interval, Link, MatchWithin, MatchingTrials, NeuronType, Preset, StimulusScale,
    TraceScale, WeightSign,
};

/// Most values of [K, T, N] that a step may have; 8 GiB of spikes, which are bits.
pub const MAX_SPIKE_VALUES: u64 = 1 << 36;

/// A time and the number of time steps it is rounded to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steps {
    /// As configured, ms.
    pub ms: f64,
    /// Rounded to bins of `data.bin_ms`; at least 1 where `ms > 0`.
    pub steps: usize,
}

/// One experiment: what is fitted to what, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    /// Seed of initialisation, noise and stitching; the split has its own.
    pub seed: u64,
    /// Named defaults that were in force; every value below already contains them.
    pub preset: Option<Preset>,
    /// The recording.
    pub data: Data,
    /// Division of the trials.
    pub split: Split,
    /// The network.
    pub model: Model,
    /// Filters of the statistics.
    pub statistics: Statistics,
    /// What is minimised, in the order of the file; not empty, no kind twice.
    pub losses: Vec<Loss>,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// The training loop.
    pub train: Train,
}

/// The recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Data {
    /// Absolute paths of the recording files; not empty, none twice.
    pub files: Vec<PathBuf>,
    /// Width of a time step, ms.
    pub bin_ms: f64,
    /// Start and stop relative to the alignment event, ms; a whole number of bins. `None`: the whole trial.
    pub window_ms: Option<[f64; 2]>,
    /// Sessions to use. `None`: all.
    pub sessions: Option<Vec<String>>,
    /// Names of the behaviour traces to fit; none twice.
    pub behaviour: Vec<String>,
    /// How each of them is brought to the units that are compared.
    pub traces: Vec<TraceRule>,
    /// Neurons that fire faster are left out, Hz. `None`: none are.
    pub max_rate_hz: Option<f64>,
}

impl Data {
    /// Number of time steps T of the window; `None` when the window is the whole trial.
    pub fn window_steps(&self) -> Option<usize> {
        self.window_ms
            .map(|[start, stop]| ((stop - start) / self.bin_ms).round() as usize)
    }
}

/// How a recorded behaviour trace becomes what is compared: (trace − baseline)/scale · factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TraceRule {
    /// What is subtracted.
    pub baseline: Baseline,
    /// Start and stop of the time that it is taken from, ms relative to the alignment event. `None`: from the start of the
    /// window to the event.
    pub baseline_ms: Option<[f64; 2]>,
    /// What it is divided by.
    pub scale: TraceScale,
    /// Factor after both, not 0.
    pub factor: f64,
}

impl Default for TraceRule {
    /// As recorded.
    fn default() -> Self {
        Self {
            baseline: Baseline::None,
            baseline_ms: None,
            scale: TraceScale::None,
            factor: 1.0,
        }
    }
}

/// Division of the trials of each session into training, validation and test.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Share of the trials for the test, in (0, 1).
    pub test_fraction: f64,
    /// Share of the *remaining* trials for validation, in (0, 1).
    pub validation_fraction: f64,
    /// Seed of the split only.
    pub seed: u64,
    /// Sessions whose parts are named instead.
    pub sessions: BTreeMap<String, NamedParts>,
}

/// The network.
#[derive(Debug, Clone, PartialEq)]
pub enum Model {
    /// Multi-area network of leaky integrate-and-fire neurons with Bernoulli spikes.
    Rsnn(Box<Rsnn>),
}

impl Model {
    /// Whether behaviour feeds back into the network.
    pub fn is_closed_loop(&self) -> bool {
        let Self::Rsnn(rsnn) = self;
        rsnn.behaviour
            .as_ref()
            .is_some_and(|behaviour| behaviour.feedback.is_some())
    }
}

/// Multi-area RSNN; equations in the specification §1.1–1.10.
#[derive(Debug, Clone, PartialEq)]
pub struct Rsnn {
    /// Neurons that stand for recorded ones. `None`: one for each recorded neuron.
    pub n_neurons: Option<usize>,
    /// Hidden neurons, added to these and spread over areas and types like them.
    pub n_hidden: usize,
    /// Areas in model order, none twice. `None`: those of the recording.
    pub areas: Option<Vec<String>>,
    /// Share of excitatory neurons, in [0, 1]. Rules where `n_neurons` is given.
    pub p_exc: f64,
    /// Whether Dale's law holds: one sign for all outgoing weights of a neuron.
    pub dale: bool,
    /// Membrane time constant of excitatory neurons, ms, > 0.
    pub tau_m_exc_ms: f64,
    /// Membrane time constant of inhibitory neurons, ms, > 0.
    pub tau_m_inh_ms: f64,
    /// Threshold above the initial resting potential (dimensionless), > 0.
    pub threshold: f64,
    /// Shortest delay, at least one step.
    pub delay: Steps,
    /// Longest delay, ≥ `delay`.
    pub max_delay: Steps,
    /// Number G of weight matrices with different delays, ≥ 1.
    pub delay_groups: usize,
    /// Silence after a spike; 0 steps: none.
    pub refractory: Steps,
    /// Slope of the spike probability, > 0.
    pub temperature: f64,
    /// Factor of the spike probability, in (0, 1].
    pub p_scale: f64,
    /// Noise standard deviation in units of threshold − resting potential, per √ms, ≥ 0.
    pub noise: f64,
    /// Factor of the synaptic current, > 0.
    pub current_scale: f64,
    /// Damping of the surrogate derivative, > 0.
    pub surrogate_damping: f64,
    /// Warm-up before each trial, without gradient; 0 steps: none.
    pub warmup: Steps,
    /// Which synapses may cross areas.
    pub inter_area: InterArea,
    /// Exceptions to it, in order; a later one wins.
    pub projections: Vec<Projection>,
    /// Whether the resting potential is trained.
    pub train_resting_potential: bool,
    /// Whether the noise gain is trained.
    pub train_noise_gain: bool,
    /// Input.
    pub input: Input,
    /// Trial-offset latent (§1.6).
    pub latent: Option<Latent>,
    /// Behaviour readout (§1.7); present exactly when `data.behaviour` names a trace.
    pub behaviour: Option<Behaviour>,
}

/// What some neurons may send to some areas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// Presynaptic areas: all, or names, none twice.
    pub from: Areas,
    /// Type of the presynaptic neurons. `None`: every type.
    pub cell_type: Option<NeuronType>,
    /// Postsynaptic areas.
    pub to: Areas,
    /// Whether there may be synapses.
    pub allow: bool,
    /// Sign of their weights; under Dale's law that of the type. `None`: as the type has it.
    pub sign: Option<WeightSign>,
}

/// Input of the network.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Poisson inputs with stimulus onsets (§1.5).
    Poisson(PoissonInput),
    /// The recorded stimulus with lags.
    Recorded(RecordedInput),
}

/// Poisson inputs (§1.5).
#[derive(Debug, Clone, PartialEq)]
pub struct PoissonInput {
    /// Number of inputs, ≥ 1.
    pub n: usize,
    /// Background rate of each, Hz, ≥ 0; at most one spike per bin.
    pub rate_hz: f64,
    /// Share of excitatory inputs, in [0, 1].
    pub p_exc: f64,
    /// Share of stimulus-driven inputs, in [0, 1].
    pub p_stim: f64,
    /// Onsets relative to the alignment event, ms; inputs that are driven are divided among them. Empty with channels.
    pub onsets_ms: Vec<f64>,
    /// Instead of the onsets: channels, in the order of the inputs.
    pub channels: Vec<InputChannel>,
    /// Delay after the onset.
    pub delay: Steps,
    /// Duration of the response.
    pub duration: Steps,
    /// Gain of the stimulus on the rate, ≥ 0.
    pub gain: f64,
    /// How the stimulus value enters.
    pub scale: StimulusScale,
}

/// Inputs that answer to one onset.
#[derive(Debug, Clone, PartialEq)]
pub struct InputChannel {
    /// Share of the stimulus-driven inputs, in [0, 1].
    pub share: f64,
    /// When they answer.
    pub onset: ChannelOnset,
    /// What scales the response.
    pub amplitude: ChannelAmplitude,
    /// Duration of the response.
    pub duration: Steps,
    /// Gain of the amplitude on the rate, ≥ 0.
    pub gain: f64,
}

/// When the inputs of a channel answer.
#[derive(Debug, Clone, PartialEq)]
pub enum ChannelOnset {
    /// At this time relative to the alignment event, ms, in every trial.
    Ms(f64),
    /// At this event of each trial.
    Event(String),
}

/// What scales the response of a channel.
#[derive(Debug, Clone, PartialEq)]
pub enum ChannelAmplitude {
    /// Nothing: s = 1.
    One,
    /// The stimulus value of the trial.
    Stimulus,
    /// This value of each trial.
    Value(String),
}

impl PoissonInput {
    /// Whether a channel takes its onset or amplitude from recorded trials.
    pub fn is_by_trial(&self) -> bool {
        self.channels.iter().any(InputChannel::is_by_trial)
    }
}

impl InputChannel {
    /// Whether it takes its onset or amplitude from recorded trials.
    pub fn is_by_trial(&self) -> bool {
        matches!(self.onset, ChannelOnset::Event(_)) || matches!(self.amplitude, ChannelAmplitude::Value(_))
    }
}

/// The recorded stimulus as input: channels × lags values per step, `scale·x + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecordedInput {
    /// Number of lags, ≥ 1; lag 0 is the current bin.
    pub lags: usize,
    /// Distance between lags.
    pub lag_step: Steps,
    /// Factor on the recorded values, not 0.
    pub scale: f64,
    /// Added after scaling.
    pub offset: f64,
}

/// Kind of the map from the latent to the offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatentKind {
    /// W₂·relu(W₁ψ + b₁).
    Mlp,
    /// ψ·Θ.
    Linear,
}

/// Trial-offset latent ψ, uniform in (−½, ½) (§1.6).
#[derive(Debug, Clone, PartialEq)]
pub struct Latent {
    /// Kind of map.
    pub kind: LatentKind,
    /// Dimensions of ψ, ≥ 1.
    pub dimensions: usize,
    /// Whether offsets are clipped to ±0.2 of the threshold.
    pub bound: bool,
    /// Factor on the published initial size of the offsets, ≥ 0.
    pub init_scale: f64,
    /// Decoupled weight decay of the last map, ≥ 0.
    pub weight_decay: f64,
    /// Times (ms), ascending, at which offsets take values of their own; empty: constant in the trial.
    pub knots_ms: Vec<f64>,
    /// Knot (ms) after which the map sees the value of the stimulus beside ψ, if it does.
    pub stimulus_from_ms: Option<f64>,
}

/// Behaviour readout (§1.7).
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    /// One readout for each of `data.behaviour`, in its order.
    pub traces: Vec<Readout>,
    /// The closed loop, if there is one.
    pub feedback: Option<Feedback>,
}

/// Lags of the closed loop (§1.7).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Feedback {
    /// Shortest lag, at least one step.
    pub first: Steps,
    /// Longest lag, not shorter.
    pub last: Steps,
}

/// Readout of one trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Readout {
    /// Areas whose excitatory neurons drive the readout; not empty.
    pub motor_areas: Vec<String>,
    /// Time constant, ms, > 0.
    pub tau_ms: f64,
    /// Link of readout and trace.
    pub link: Link,
}

/// Filters of statistics and rules of comparison (§1.11, §1.12).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    /// Width of the moving mean, ≥ 1 step.
    pub smooth: Steps,
    /// Stride of the moving mean, ≥ 1 step.
    pub stride: Steps,
    /// R of the second filter (window 2R, stride R), ≥ 1.
    pub trial_resample: usize,
    /// Smallest number of a session's neurons in an area that enter trial matching, ≥ 1.
    pub min_neurons_per_area: usize,
    /// Neurons with fewer spikes in the training trials count less in the PSTH loss, and not in PSTH metrics; 0: none do.
    pub min_spikes: u64,
    /// Neurons that were observed in a smaller share of their session's training trials are in no population, in [0, 1].
    pub min_presence: f64,
    /// Trials within which losses compare.
    pub match_within: MatchWithin,
    /// Trials matched when the numbers differ.
    pub matching_trials: MatchingTrials,
}

/// One term of the objective.
#[derive(Debug, Clone, PartialEq)]
pub enum Loss {
    /// Trial-averaged activity of each neuron.
    Psth {
        /// Factor, > 0.
        weight: f64,
    },
    /// Matched single-trial population activity.
    TrialMatching {
        /// Factor, > 0.
        weight: f64,
        /// How trials are compared.
        method: Method,
    },
    /// Mean rate of each neuron.
    FiringRate {
        /// Factor, > 0.
        weight: f64,
    },
    /// Single trials of each neuron, matched.
    TrialMatchedLikelihood {
        /// Factor, > 0.
        weight: f64,
    },
    /// Single-trial population activity as discriminators judge it.
    SpikeGan(SpikeGan),
    /// How much the counts of each neuron vary from trial to trial.
    CountVariance {
        /// Factor, > 0.
        weight: f64,
        /// Where spikes are counted.
        windows: CountWindows,
    },
    /// What the counts of pairs of neurons recorded together share from trial to trial.
    CountCovariance {
        /// Factor, > 0.
        weight: f64,
        /// Where spikes are counted.
        windows: CountWindows,
    },
}

/// Windows in which spikes are counted.
#[derive(Debug, Clone, PartialEq)]
pub struct CountWindows {
    /// Lengths of consecutive windows, each at least a bin.
    pub lengths: Vec<Steps>,
    /// Whether whole trials are windows too.
    pub whole_trial: bool,
}

/// Settings of a spike-GAN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpikeGan {
    /// Factor, > 0.
    pub weight: f64,
    /// Steps of the model for each step of the discriminators, ≥ 1.
    pub every: u64,
    /// Learning rate of the discriminators, > 0.
    pub lr: f64,
    /// Their decoupled weight decay, ≥ 0.
    pub weight_decay: f64,
}

impl Loss {
    /// Key of the loss in the configuration, events and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Psth { .. } => "psth",
            Self::TrialMatching { .. } => "trial_matching",
            Self::FiringRate { .. } => "firing_rate",
            Self::TrialMatchedLikelihood { .. } => "trial_matched_likelihood",
            Self::SpikeGan(_) => "spike_gan",
            Self::CountVariance { .. } => "count_variance",
            Self::CountCovariance { .. } => "count_covariance",
        }
    }

    /// Factor of the loss.
    pub fn weight(&self) -> f64 {
        match *self {
            Self::Psth { weight }
            | Self::TrialMatching { weight, .. }
            | Self::FiringRate { weight }
            | Self::CountVariance { weight, .. }
            | Self::CountCovariance { weight, .. }
            | Self::TrialMatchedLikelihood { weight } => weight,
            Self::SpikeGan(gan) => gan.weight,
        }
    }
}

/// The optimizer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimizer {
    /// Adam with decoupled weight decay and the projection of §1.10.
    AdamW(AdamW),
}

/// Adam with decoupled weight decay (§1.10).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Learning rate of the first step, > 0.
    pub lr: f64,
    /// Learning rate that the last step comes down to, ≥ 0.
    pub lr_final: Option<f64>,
    /// Decay of the first moment, in [0, 1).
    pub beta1: f64,
    /// Decay of the second moment, in [0, 1).
    pub beta2: f64,
    /// Guard of the denominator, > 0.
    pub epsilon: f64,
    /// Decoupled weight decay, ≥ 0.
    pub weight_decay: f64,
    /// Shrinkage of synaptic weights after each update: w ← w − l1·lr, ≥ 0.
    pub l1: f64,
}

impl AdamW {
    /// Learning rate of step `step` (the first is 0) of `max_steps`: constant, or half a cosine from `lr` to `lr_final`.
    ///
    /// # Source
    /// Loshchilov, Hutter: SGDR: stochastic gradient descent with warm restarts. ICLR 2017, eq. 5, without restarts.
    pub fn learning_rate(&self, step: u64, max_steps: u64) -> f64 {
        let Some(last) = self.lr_final.filter(|_| max_steps > 1) else {
            return self.lr;
        };
        let done = step.min(max_steps - 1) as f64 / (max_steps - 1) as f64;
        last + (self.lr - last) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
    }
}

/// The training loop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Train {
    /// Model trials K of one step, ≥ 1.
    pub n_trials: usize,
    /// Steps of the run, ≥ 1.
    pub max_steps: u64,
    /// Whether the normalised gradient splitter combines the losses (§1.13).
    pub gradient_splitter: bool,
    /// Whether trial types are balanced (§1.11).
    pub balance_trial_types: bool,
    /// Steps between validations, ≥ 1.
    pub validate_every: u64,
    /// Model trials K of a validation, ≥ 1.
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
    /// How many trials are simulated at once.
    pub chunking: Chunking,
}

/// How many trials are simulated at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunking {
    /// All of a step.
    Whole,
    /// So many, ≥ 1.
    Trials(usize),
    /// As many as the process has memory for, in bytes.
    Memory(u64),
}

/// Whether K·T·N fits [`MAX_SPIKE_VALUES`]; call it again once the recording has told N and T.
///
/// `n_steps` includes the warm-up. Returns the product, or `None` when it overflows or is too large.
pub fn spike_values(n_trials: usize, n_steps: usize, n_neurons: usize) -> Option<u64> {
    let product = (n_trials as u64)
        .checked_mul(n_steps as u64)?
        .checked_mul(n_neurons as u64)?;
    (product <= MAX_SPIKE_VALUES).then_some(product)
}

#[cfg(test)]
mod tests {
    use super::AdamW;

    #[test]
    fn the_learning_rate_falls_along_half_a_cosine() {
        let adam = |lr_final| AdamW {
            lr: 1e-3,
            lr_final,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            l1: 0.0,
        };
        let rate = |step| adam(Some(2e-4)).learning_rate(step, 101);
        assert!((rate(0) - 1e-3).abs() < 1e-15 && (rate(100) - 2e-4).abs() < 1e-15);
        assert!((rate(50) - 6e-4).abs() < 1e-15);
        // A third of the way, where cos(π/3) = 1/2.
        assert!((adam(Some(0.0)).learning_rate(25, 76) - 0.75e-3).abs() < 1e-15);
        assert_eq!(rate(500), rate(100));
        assert_eq!(adam(None).learning_rate(70, 101), 1e-3);
        assert_eq!(adam(Some(0.0)).learning_rate(0, 1), 1e-3);
    }
}
