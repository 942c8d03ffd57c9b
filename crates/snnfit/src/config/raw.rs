//! The configuration as written in the file: every key optional, nothing checked.
//!
//! Variants are externally tagged tables (`[model.rsnn]`), so that an error keeps its place in the file. Types here
//! are read by `parse`, turned into [`super::checked`] types by `check`, and written back as `run.toml`.

pub mod spike_history;
mod trial_list;

use std::collections::BTreeMap;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use trial_list::TrialList;

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of the format; must be 1.
    pub schema: Option<u64>,
    /// Seed of initialisation, noise and stitching.
    pub seed: Option<u64>,
    /// Named set of defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// The recording.
    pub data: Option<Data>,
    /// Division of the trials.
    pub split: Option<Split>,
    /// The network.
    pub model: Option<Model>,
    /// Filters of the statistics.
    pub statistics: Option<Statistics>,
    /// What is minimised, in order.
    pub loss: Option<Vec<Loss>>,
    /// The optimizer.
    pub optimizer: Option<Optimizer>,
    /// The training loop.
    pub train: Option<Train>,
}

/// Named sets of defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preset {
    /// What the published code of Sourmpis et al. 2023 does where our default differs (§1.17, §4.6).
    #[serde(rename = "sourmpis2023_code")]
    Sourmpis2023Code,
}

/// `[data]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Recording files, relative to the configuration file.
    pub files: Option<Vec<String>>,
    /// Width of a time step, ms.
    pub bin_ms: Option<f64>,
    /// Start and stop relative to the alignment event, ms. A list, because TOML would cut a longer one to an array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_ms: Option<Vec<f64>>,
    /// Sessions to use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<Vec<String>>,
    /// Behaviour traces to fit.
    pub behaviour: Option<Vec<String>>,
    /// How each of them is brought to the units that are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces: Option<BTreeMap<String, TraceRule>>,
    /// Leave out neurons that fire faster, Hz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rate_hz: Option<f64>,
}

/// `[data.traces.…]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceRule {
    /// What is subtracted.
    pub baseline: Option<Baseline>,
    /// Start and stop of the time that the baseline is taken from, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_ms: Option<Vec<f64>>,
    /// What it is divided by.
    pub scale: Option<TraceScale>,
    /// Factor after both.
    pub factor: Option<f64>,
}

/// What is subtracted from a behaviour trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// Nothing.
    None,
    /// The mean of each trial.
    Trial,
    /// The mean of the session's training trials.
    Session,
}

/// What a behaviour trace is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceScale {
    /// Nothing.
    None,
    /// The standard deviation over the session's training trials.
    Session,
}

/// `[split]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Share of trials for the test.
    pub test_fraction: Option<f64>,
    /// Share of the remaining trials for validation.
    pub validation_fraction: Option<f64>,
    /// Seed of the split.
    pub seed: Option<u64>,
    /// Sessions that are divided otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<BTreeMap<String, SessionParts>>,
}

/// `[split.sessions.…]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionParts {
    /// Trials for the test.
    pub test: Option<TrialList>,
    /// Trials for validation.
    pub validation: Option<TrialList>,
}

/// `[model.…]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Model {
    /// Recurrent network of leaky integrate-and-fire neurons with Bernoulli spikes.
    Rsnn(Box<Rsnn>),
    /// Spike-history network with a stimulus encoder.
    SpikeHistory(Box<spike_history::SpikeHistory>),
}

/// `[model.rsnn]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rsnn {
    /// Recorded neurons in the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_neurons: Option<u64>,
    /// Unrecorded neurons added to them.
    pub n_hidden: Option<u64>,
    /// Areas, in model order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub areas: Option<Vec<String>>,
    /// Share of excitatory neurons.
    pub p_exc: Option<f64>,
    /// Whether a neuron's outgoing weights share one sign.
    pub dale: Option<bool>,
    /// Membrane time constant of excitatory neurons, ms.
    pub tau_m_exc_ms: Option<f64>,
    /// Membrane time constant of inhibitory neurons, ms.
    pub tau_m_inh_ms: Option<f64>,
    /// Firing threshold.
    pub threshold: Option<f64>,
    /// Shortest delay, ms.
    pub delay_ms: Option<f64>,
    /// Longest delay, ms.
    pub max_delay_ms: Option<f64>,
    /// Delay groups.
    pub delay_groups: Option<u64>,
    /// Refractory period, ms.
    pub refractory_ms: Option<f64>,
    /// Slope of the spike probability.
    pub temperature: Option<f64>,
    /// Factor of the spike probability.
    pub p_scale: Option<f64>,
    /// Noise.
    pub noise: Option<f64>,
    /// Factor of the synaptic current.
    pub current_scale: Option<f64>,
    /// Damping of the surrogate derivative.
    pub surrogate_damping: Option<f64>,
    /// Warm-up, ms.
    pub warmup_ms: Option<f64>,
    /// Which synapses may cross areas.
    pub inter_area: Option<InterArea>,
    /// Exceptions, area by area.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projections: Option<Vec<Projection>>,
    /// Whether the resting potential is trained.
    pub train_resting_potential: Option<bool>,
    /// Whether the noise gain is trained.
    pub train_noise_gain: Option<bool>,
    /// Input of the network.
    pub input: Option<Input>,
    /// Trial-offset latent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latent: Option<Latent>,
    /// Behaviour readout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behaviour: Option<Behaviour>,
}

/// Which synapses may cross areas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterArea {
    /// Only those of excitatory neurons (§1.8).
    Excitatory,
    /// All.
    All,
    /// None: areas are independent networks.
    None,
}

/// One `[[model.rsnn.projections]]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Projection {
    /// Presynaptic areas.
    pub from: Option<Areas>,
    /// Type of the presynaptic neurons.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub cell_type: Option<NeuronType>,
    /// Postsynaptic areas.
    pub to: Option<Areas>,
    /// Whether there may be synapses.
    pub allow: Option<bool>,
    /// Sign of their weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign: Option<WeightSign>,
}

/// Type of a neuron.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NeuronType {
    /// Excitatory.
    Excitatory,
    /// Inhibitory.
    Inhibitory,
    /// Not known.
    Unknown,
}

/// Sign that weights keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightSign {
    /// At least 0.
    Positive,
    /// At most 0.
    Negative,
    /// Either.
    Free,
}

/// Areas: one name or word as a text, or a list of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Areas {
    /// `"*"`: every area.
    All,
    /// `"others"`: every area but the presynaptic neuron's own.
    Others,
    /// These.
    Named(Vec<String>),
}

const ALL_AREAS: &str = "*";
const OTHER_AREAS: &str = "others";

impl Serialize for Areas {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str(ALL_AREAS),
            Self::Others => serializer.serialize_str(OTHER_AREAS),
            Self::Named(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Areas {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AreasVisitor;
        impl<'de> Visitor<'de> for AreasVisitor {
            type Value = Areas;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an area, a list of areas, \"*\" (all) or \"others\" (all but the presynaptic one)")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Areas, E> {
                Ok(match text {
                    ALL_AREAS => Areas::All,
                    OTHER_AREAS => Areas::Others,
                    name => Areas::Named(vec![name.to_owned()]),
                })
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Areas, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Areas::Named(names))
            }
        }
        deserializer.deserialize_any(AreasVisitor)
    }
}

/// `[model.rsnn.input.…]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Input {
    /// Poisson inputs with stimulus onsets (§1.5).
    Poisson(PoissonInput),
    /// The recorded stimulus, lagged.
    Recorded(RecordedInput),
}

/// `[model.rsnn.input.poisson]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoissonInput {
    /// Number of inputs.
    pub n: Option<u64>,
    /// Background rate, Hz.
    pub rate_hz: Option<f64>,
    /// Share of excitatory inputs.
    pub p_exc: Option<f64>,
    /// Share of stimulus-driven inputs.
    pub p_stim: Option<f64>,
    /// Onsets relative to the alignment event, ms.
    pub onsets_ms: Option<Vec<f64>>,
    /// Delay after the onset, ms.
    pub delay_ms: Option<f64>,
    /// Duration of the response, ms.
    pub duration_ms: Option<f64>,
    /// Gain.
    pub gain: Option<f64>,
    /// How the stimulus value scales the rate.
    pub scale: Option<StimulusScale>,
    /// Instead of `onsets_ms`: groups of inputs with an onset of their own.
    pub channels: Option<Vec<InputChannel>>,
}

/// One `[[model.rsnn.input.poisson.channels]]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputChannel {
    /// Event of the recording's trials that the inputs answer to.
    pub event: Option<String>,
    /// Or a fixed onset relative to the alignment event, ms.
    pub onset_ms: Option<f64>,
    /// Share of the stimulus-driven inputs.
    pub share: Option<f64>,
    /// Value of the recording's trials, or `stimulus`, that scales the response.
    pub amplitude: Option<String>,
    /// Duration of the response, ms.
    pub duration_ms: Option<f64>,
    /// Gain.
    pub gain: Option<f64>,
}

/// How a stimulus value s scales the rate of the driven inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StimulusScale {
    /// 1 + gain·ln(1+s).
    Log,
    /// 1 + gain·s.
    Linear,
}

/// `[model.rsnn.input.recorded]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedInput {
    /// Number of lags, from 0.
    pub lags: Option<u64>,
    /// Distance between lags, ms.
    pub lag_step_ms: Option<f64>,
    /// Factor on the recorded values.
    pub scale: Option<f64>,
    /// Added after scaling.
    pub offset: Option<f64>,
}

/// `[model.rsnn.latent.…]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Latent {
    /// Two-layer perceptron (§1.6).
    Mlp(LatentOptions),
    /// Linear map (§1.6).
    Linear(LatentOptions),
}

/// Options of both kinds of latent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentOptions {
    /// Dimensions of the latent.
    pub dimensions: Option<u64>,
    /// Whether offsets are clipped to ±20 % of the threshold.
    pub bound: Option<bool>,
    /// Factor on the published initial size of the offsets.
    pub init_scale: Option<f64>,
    /// Decoupled weight decay of the last map.
    pub weight_decay: Option<f64>,
    /// Times at which offsets take values of their own.
    pub knots_ms: Option<Vec<f64>>,
    /// Knot after which the map sees the stimulus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stimulus_from_ms: Option<f64>,
}

/// `[model.rsnn.behaviour]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    /// Areas whose excitatory neurons drive the readout.
    pub motor_areas: Option<Vec<String>>,
    /// Time constant, ms.
    pub tau_ms: Option<f64>,
    /// Link of readout and trace.
    pub link: Option<Link>,
    /// What differs for single traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces: Option<BTreeMap<String, Readout>>,
    /// Closed loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Feedback>,
}

/// `[model.rsnn.behaviour.traces.…]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Readout {
    /// Areas whose excitatory neurons drive the readout.
    pub motor_areas: Option<Vec<String>>,
    /// Time constant, ms.
    pub tau_ms: Option<f64>,
    /// Link of readout and trace.
    pub link: Option<Link>,
}

/// `[model.rsnn.behaviour.feedback]`
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feedback {
    /// Shortest lag, ms.
    pub first_ms: Option<f64>,
    /// Longest lag, ms.
    pub last_ms: Option<f64>,
}

/// Link of readout and trace (§1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// Leaky integration of ln(y + b).
    Log,
    /// Leaky integration of y.
    Linear,
}

/// `[statistics]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    /// Width of the moving mean, ms.
    pub smooth_ms: Option<f64>,
    /// Stride of the moving mean, ms.
    pub stride_ms: Option<f64>,
    /// R of the second filter.
    pub trial_resample: Option<u64>,
    /// Smallest number of neurons of an area in a session.
    pub min_neurons_per_area: Option<u64>,
    /// Spikes below which a neuron counts less in the PSTH loss.
    pub min_spikes: Option<u64>,
    /// Share of training trials that a neuron of a population was observed in.
    pub min_presence: Option<f64>,
    /// Trials within which losses compare.
    pub match_within: Option<MatchWithin>,
    /// Trials matched when the numbers differ.
    pub matching_trials: Option<MatchingTrials>,
    /// Start of each trial that isn't compared, ms.
    pub skip_ms: Option<f64>,
    /// Lengths of windows in which spikes are counted for noise correlations, ms.
    pub count_windows_ms: Option<Vec<f64>>,
}

/// Trials within which losses compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchWithin {
    /// Trials of the same stimulus.
    Stimulus,
    /// All trials together.
    All,
    /// The published cycle of conditions (§1.11).
    Cycle,
}

/// Trials matched when model and data have different numbers of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchingTrials {
    /// A random subset, drawn anew at each step.
    Random,
    /// The first ones, as the published code does (§1.12).
    First,
}

/// One `[[loss]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Loss {
    /// Trial-averaged activity of each neuron (§1.12).
    Psth(Weighted),
    /// Matched single-trial population activity (§1.12).
    TrialMatching(TrialMatching),
    /// Mean rate of each neuron (§1.16).
    FiringRate(Weighted),
    /// Single trials of each neuron, matched (§1.16).
    TrialMatchedLikelihood(Weighted),
    /// Single-trial population activity as discriminators judge it (§1.16).
    SpikeGan(SpikeGan),
    /// How much the counts of each neuron vary from trial to trial.
    CountVariance(CountCovariance),
    /// What the counts of pairs of neurons recorded together share from trial to trial.
    CountCovariance(CountCovariance),
    /// Recorded spikes given the recorded past.
    Likelihood(spike_history::Likelihood),
    /// Recorded spikes given a past that was recorded at first and is the model's then.
    SingleTrial(spike_history::SingleTrial),
    /// Trial-averaged activity of each neuron, as probabilities.
    PsthCrossEntropy(Weighted),
    /// Noise covariances of pairs.
    NoiseCovariance(spike_history::NoiseCovariance),
    /// Coincidences of pairs.
    CoincidenceCrossEntropy(spike_history::CoincidenceCrossEntropy),
    /// Rates of hidden neurons.
    HiddenRate(spike_history::HiddenRate),
}

/// `count_variance = { … }`, `count_covariance = { … }`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountCovariance {
    /// Factor of the loss.
    pub weight: Option<f64>,
    /// Lengths of the windows in which spikes are counted, ms.
    pub windows_ms: Option<Vec<f64>>,
    /// Whether they are counted in whole trials too.
    pub whole_trial: Option<bool>,
}

/// `spike_gan = { … }`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpikeGan {
    /// Factor of the loss.
    pub weight: Option<f64>,
    /// Steps of the model for each step of the discriminators.
    pub every: Option<u64>,
    /// Learning rate of the discriminators.
    pub lr: Option<f64>,
    /// Decoupled weight decay of the discriminators.
    pub weight_decay: Option<f64>,
}

/// A loss with only a weight.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weighted {
    /// Factor of the loss.
    pub weight: Option<f64>,
}

/// `trial_matching = { … }`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialMatching {
    /// Factor of the loss.
    pub weight: Option<f64>,
    /// How trials are compared.
    pub method: Option<MatchingMethod>,
    /// Power of the distance of two trials that comparing them costs: 1 or 2 (sinkhorn), below 2 (energy).
    pub exponent: Option<f64>,
    /// Distance below which trials count as the same, in the units of the features (sinkhorn).
    pub blur: Option<f64>,
    /// The same, times the median distance of two recorded trials (sinkhorn).
    pub blur_relative: Option<f64>,
    /// Factor from one blur to the next on the way to the final one (sinkhorn).
    pub scaling: Option<f64>,
    /// Updates at each blur (sinkhorn).
    pub updates: Option<u64>,
    /// Whether the divergence of each side from itself is subtracted (sinkhorn).
    pub debias: Option<bool>,
    /// Whether distances of each population and trace are added (energy).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_part: Option<bool>,
}

/// How trials are matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchingMethod {
    /// Optimal assignment, one to one.
    Hard,
    /// Debiased Sinkhorn divergence: soft matching.
    Sinkhorn,
    /// Energy distance.
    Energy,
}

/// `[optimizer.…]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Optimizer {
    /// Adam with decoupled weight decay.
    AdamW(AdamW),
}

/// `[optimizer.adamw]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamW {
    /// Learning rate, at first.
    pub lr: Option<f64>,
    /// Learning rate of the last step.
    pub lr_final: Option<f64>,
    /// Decay of the first moment.
    pub beta1: Option<f64>,
    /// Decay of the second moment.
    pub beta2: Option<f64>,
    /// Guard of the denominator.
    pub epsilon: Option<f64>,
    /// Decoupled weight decay.
    pub weight_decay: Option<f64>,
    /// Shrinkage after each update.
    pub l1: Option<f64>,
}

/// `[train]`
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Model trials K of one step.
    pub n_trials: Option<u64>,
    /// Steps of the run.
    pub max_steps: Option<u64>,
    /// Whether the normalised gradient splitter combines the losses (§1.13).
    pub gradient_splitter: Option<bool>,
    /// Whether trial types are balanced (§1.11).
    pub balance_trial_types: Option<bool>,
    /// Steps between validations.
    pub validate_every: Option<u64>,
    /// Model trials K of a validation.
    pub validation_trials: Option<u64>,
    /// Steps without improvement before stopping.
    pub patience: Option<u64>,
    /// Steps or time between checkpoints.
    pub checkpoint_every: Option<Interval>,
    /// Steps between log lines.
    pub log_every: Option<u64>,
    /// Consecutive skipped steps allowed.
    pub max_skipped: Option<u64>,
    /// Engine of the rollout.
    pub engine: Option<Engine>,
    /// Most memory of the process; trials are simulated in chunks that fit.
    pub memory_limit: Option<Bytes>,
    /// Trials that are simulated at once.
    pub trial_chunk: Option<u64>,
}

/// Engine of the rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Event-driven, hand-written gradient.
    Native,
    /// The same on the processor, with the dense product of the gradient in 16-bit fixed point.
    NativeInt16,
    /// Plain tensor operations with automatic differentiation; slow.
    Reference,
}

/// A number of steps (`200`) or a time (`"60s"`, `"5m"`, `"1h"`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Interval {
    /// Training steps.
    Steps(u64),
    /// Seconds of wall time.
    Seconds(f64),
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Steps(steps) => serializer.serialize_u64(*steps),
            Self::Seconds(seconds) => serializer.serialize_str(&format!("{seconds}s")),
        }
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntervalVisitor;
        impl Visitor<'_> for IntervalVisitor {
            type Value = Interval;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of steps or a time such as \"60s\", \"5m\" or \"1h\"")
            }
            fn visit_u64<E: serde::de::Error>(self, steps: u64) -> Result<Interval, E> {
                Ok(Interval::Steps(steps))
            }
            fn visit_i64<E: serde::de::Error>(self, steps: i64) -> Result<Interval, E> {
                u64::try_from(steps)
                    .map(Interval::Steps)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(steps), &self))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Interval, E> {
                parse_duration(text)
                    .map(|time| Interval::Seconds(time.as_secs_f64()))
                    .map_err(E::custom)
            }
        }
        deserializer.deserialize_any(IntervalVisitor)
    }
}

/// An amount of memory (`"4GiB"`, `"500MB"`), or a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
];

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match UNITS
            .iter()
            .find(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size))
        {
            Some((unit, size)) => serializer.serialize_str(&format!("{}{unit}", self.0 / size)),
            None => serializer.serialize_u64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor;
        impl Visitor<'_> for BytesVisitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an amount of memory such as \"4GiB\" or \"500MB\", or a number of bytes")
            }
            fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<Bytes, E> {
                u64::try_from(bytes)
                    .map(Bytes)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(bytes), &self))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Bytes, E> {
                parse_bytes(text).map(Bytes).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(BytesVisitor)
    }
}

/// Reads an amount of memory: a positive number followed by a unit, e.g. `4GiB` or `1.5 GB`.
///
/// # Errors
/// A sentence for the user when the text is not such an amount, or more than 2⁶³ bytes.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let unit_start = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_start);
    let Some((_, size)) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) else {
        return Err(format!(
            "'{text}' is not an amount of memory: write a number and a unit, e.g. 4GiB or 500MB"
        ));
    };
    match number.trim().parse::<f64>() {
        Ok(value) if value > 0.0 && value * (*size as f64) < 9.2e18 => Ok((value * *size as f64) as u64),
        _ => Err(format!(
            "'{text}' is not an amount of memory: the number before '{unit}' must be finite and > 0"
        )),
    }
}

/// Reads a time: a positive number followed by `ms`, `s`, `m` or `h`, e.g. `90s` or `1.5h`.
///
/// # Errors
/// A sentence for the user when the text is not such a time, or longer than a century.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    const CENTURY_S: f64 = 100.0 * 365.25 * 86_400.0;
    let text = text.trim();
    let unit_start = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_start);
    let factor = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => {
            return Err(format!(
                "'{text}' is not a time: write a number and a unit, e.g. 60s, 30m or 2h"
            ));
        }
    };
    match number.trim().parse::<f64>() {
        Ok(value) if value > 0.0 && value * factor <= CENTURY_S => {
            Ok(std::time::Duration::from_secs_f64(value * factor))
        }
        _ => Err(format!(
            "'{text}' is not a time: the number before '{unit}' must be finite and > 0"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_memory_are_read_with_their_units() {
        let read = |text: &str| parse_bytes(text).ok();
        assert_eq!(read("4GiB"), Some(4 << 30));
        assert_eq!(read(" 1.5 gb "), Some(1_500_000_000));
        assert_eq!(read("512MiB"), Some(512 << 20));
        for bad in ["", "4", "GiB", "-1GiB", "nanGiB", "4 apples", "1e30TiB"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn amounts_of_memory_are_written_as_they_are_read() {
        for bytes in [1, 4 << 30, 1_500_000_000, 512 << 20, 1023] {
            let text = toml::Value::try_from(Bytes(bytes)).unwrap();
            assert_eq!(text.try_into::<Bytes>().unwrap(), Bytes(bytes));
        }
    }

    #[test]
    fn durations_are_read_in_every_unit() {
        let seconds = |text| parse_duration(text).map(|d| d.as_secs_f64());
        assert_eq!(seconds("250ms"), Ok(0.25));
        assert_eq!(seconds("60s"), Ok(60.0));
        assert_eq!(seconds("1.5m"), Ok(90.0));
        assert_eq!(seconds(" 2 h "), Ok(7200.0));
    }

    #[test]
    fn impossible_durations_are_refused() {
        for text in ["", "60", "s", "-1s", "0s", "nans", "infs", "1e999h", "1d", "1s2"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
