//! Default values of the configuration, each with its source.
//!
//! "§" is a section of the specification of Sourmpis et al. 2023 (trial matching); "published run" is the stored
//! hard-matching run of that paper.

pub mod spike_history;

use super::raw::{MatchWithin, MatchingMethod, MatchingTrials, Preset};

/// Share of the trials of each session that only `evaluate` (and `simulate --clamped-ms`) opens (§1.14).
pub const TEST_FRACTION: f64 = 0.25;
/// Share of the remaining trials that early stopping sees. The published code stops on the training loss.
pub const VALIDATION_FRACTION: f64 = 0.15;
/// Seed of the split (§1.14: `random_state=1`).
pub const SPLIT_SEED: u64 = 1;
/// Share of excitatory neurons (§1.1).
pub const P_EXC: f64 = 0.8;
/// Membrane time constant of excitatory neurons (§1.2), ms.
pub const TAU_M_EXC_MS: f64 = 30.0;
/// Membrane time constant of inhibitory neurons (§1.2), ms.
pub const TAU_M_INH_MS: f64 = 10.0;
/// Firing threshold, dimensionless (§1.2).
pub const THRESHOLD: f64 = 0.1;
/// Shortest synaptic delay (published run, §1.3), ms.
pub const DELAY_MS: f64 = 4.0;
/// Number of delay groups (published run, §1.3).
pub const DELAY_GROUPS: u64 = 1;
/// Refractory period (§1.2), ms.
pub const REFRACTORY_MS: f64 = 4.0;
/// Slope of the spike probability (§1.2).
pub const TEMPERATURE: f64 = 15.0;
/// Noise standard deviation in units of the threshold, per √ms (§1.3).
pub const NOISE: f64 = 0.1;
/// Factor on the synaptic current: the published code halves it (§1.3).
pub const CURRENT_SCALE: f64 = 0.5;
/// Damping of the surrogate derivative (§1.2).
pub const SURROGATE_DAMPING: f64 = 0.3;
/// Warm-up without gradient before each trial (§1.4), ms.
pub const WARMUP_MS: f64 = 300.0;
/// Number of Poisson inputs (§1.5, artificial data).
pub const N_INPUT: u64 = 200;
/// Background rate of each Poisson input (§1.5), Hz.
pub const INPUT_RATE_HZ: f64 = 5.0;
/// Share of excitatory inputs (§1.5).
pub const INPUT_P_EXC: f64 = 0.8;
/// Share of stimulus-driven inputs (§1.5).
pub const INPUT_P_STIM: f64 = 0.5;
/// Stimulus onset relative to the alignment event (§1.5), ms.
pub const ONSET_MS: f64 = 0.0;
/// Delay from stimulus to input (§1.5), ms.
pub const INPUT_DELAY_MS: f64 = 4.0;
/// Duration of the stimulus response of the inputs (§1.5), ms.
pub const INPUT_DURATION_MS: f64 = 10.0;
/// Gain of the stimulus on the input rate (§1.5: `stim_valance`).
pub const INPUT_GAIN: f64 = 11.5;
/// Number of lags of a recorded stimulus.
pub const STIMULUS_LAGS: u64 = 30;
/// Distance of the lags of a recorded stimulus, ms.
pub const STIMULUS_LAG_STEP_MS: f64 = 10.0;
/// Dimensions of the trial-offset latent (§1.6).
pub const LATENT_DIMENSIONS: u64 = 5;
/// Time constant of the behaviour readout (§1.2), ms.
pub const BEHAVIOUR_TAU_MS: f64 = 50.0;
/// Shortest lag of the closed loop (§1.7: 7 steps of 2 ms), ms.
pub const FEEDBACK_FIRST_MS: f64 = 14.0;
/// Longest lag of the closed loop (§1.7: 20 steps of 2 ms), ms.
pub const FEEDBACK_LAST_MS: f64 = 40.0;
/// Width of the moving mean of trial-averaged statistics (§1.12), ms.
pub const SMOOTH_MS: f64 = 12.0;
/// Stride of that moving mean (§1.12: three bins of 2 ms), ms.
pub const STRIDE_MS: f64 = 6.0;
/// Second, coarser filter of trial features: R of §1.12 (published run).
pub const TRIAL_RESAMPLE: u64 = 4;
/// Areas of a session with fewer model neurons are left out of trial matching (§1.12).
pub const MIN_NEURONS_PER_AREA: u64 = 10;
/// Spikes in the training trials below which a neuron counts less in the PSTH loss. Ours; the published program has none.
pub const MIN_SPIKES: u64 = 50;
/// Share of a session's training trials that a neuron has to be observed in to be in populations. Ours.
pub const MIN_PRESENCE: f64 = 0.95;
/// Weight of the PSTH loss (§1.12).
pub const PSTH_WEIGHT: f64 = 10.0;
/// Weight of the trial-matching loss (published run, §1.12).
pub const TRIAL_MATCHING_WEIGHT: f64 = 100.0;
/// Power of the distance of two trials in soft matching and the energy distance (published code, §1.12).
pub const MATCHING_EXPONENT: f64 = 1.0;
/// How trials are matched. Ours: hard matching rewards trials that vary too little (§4.1).
pub const MATCHING_METHOD: MatchingMethod = MatchingMethod::Sinkhorn;
/// Blur of soft matching, times the median distance of two recorded trials. Ours: on the two-area recording the trials
/// of a fit vary with it as the recorded ones do, and match them no worse than by hard matching (RESULTS, "Two areas, ways to compare").
pub const BLUR_RELATIVE: f64 = 0.3;
/// Factor from one blur to the next (published code, §1.12).
pub const SINKHORN_SCALING: f64 = 0.5;
/// Updates at each blur (published code, §1.12).
pub const SINKHORN_UPDATES: u64 = 1;
/// Weight of the firing-rate loss (§1.16; never used in the paper).
pub const FIRING_RATE_WEIGHT: f64 = 0.1;
/// Weight of the trial-matched likelihood (published run, §2.1).
pub const TRIAL_MATCHED_LIKELIHOOD_WEIGHT: f64 = 10.0;
/// Weight of the spike-GAN loss (published run, §1.16).
pub const SPIKE_GAN_WEIGHT: f64 = 20.0;
/// `loss.count_variance.weight`: the loss is of order 1 where counts vary twice as much as recorded ones.
pub const COUNT_VARIANCE_WEIGHT: f64 = 10.0;
/// `loss.count_covariance.weight`: the loss is of order 0.001 where noise correlations are wrong by 0.03.
pub const COUNT_COVARIANCE_WEIGHT: f64 = 1000.0;
/// `loss.count_variance.windows_ms`, `loss.count_covariance.windows_ms`, as the noise correlations of evaluations.
pub const COUNT_WINDOWS_MS: [f64; 1] = [50.0];
/// Steps of the model for each step of the discriminators (§1.16).
pub const SPIKE_GAN_EVERY: u64 = 5;
/// Weight decay of the discriminators (§1.16).
pub const SPIKE_GAN_WEIGHT_DECAY: f64 = 1.0;
/// Learning rate (published run, §1.21).
pub const LR: f64 = 5e-4;
/// Decay of the first moment (§1.10).
pub const BETA1: f64 = 0.9;
/// Decay of the second moment (§1.10).
pub const BETA2: f64 = 0.999;
/// Guard of the denominator (§1.10).
pub const EPSILON: f64 = 1e-8;
/// Decoupled weight decay (artificial data, §1.10).
pub const WEIGHT_DECAY: f64 = 0.0;
/// Shrinkage of synaptic weights after each update, times the learning rate (published run, §1.10).
pub const L1: f64 = 0.01;
/// Model trials K of one step (published run, §1.21: `batch_size`).
pub const N_TRIALS: u64 = 150;
/// Steps of a run; the published training curve is flat from about here (§3).
pub const MAX_STEPS: u64 = 3000;
/// Steps between validations (published run, §1.11).
pub const VALIDATE_EVERY: u64 = 100;
/// Model trials K of a validation.
pub const VALIDATION_TRIALS: u64 = 150;
/// Steps without improvement before the run stops (§1.11: `early_stop`).
pub const PATIENCE: u64 = 8000;
/// Steps between checkpoints.
pub const CHECKPOINT_EVERY: u64 = 200;
/// Steps between lines of `events.ndjson`.
pub const LOG_EVERY: u64 = 10;
/// Consecutive steps with non-finite values that are skipped before the run ends.
pub const MAX_SKIPPED: u64 = 3;
/// Largest factor of the spike probability that still gives a probability.
pub const MAX_P_SCALE: f64 = 1.0;

/// Factor of the spike probability: dt/2 ms (§1.3).
pub fn p_scale(bin_ms: f64) -> f64 {
    bin_ms / 2.0
}

/// Within which trials the losses compare: per stimulus, or the published cycle (§1.11).
pub fn match_within(preset: Option<Preset>) -> Option<MatchWithin> {
    preset.map(|Preset::Sourmpis2023Code| MatchWithin::Cycle)
}

/// Which trials are matched when the numbers differ: the published code takes the first n (§1.12).
pub fn matching_trials(preset: Option<Preset>) -> Option<MatchingTrials> {
    preset.map(|Preset::Sourmpis2023Code| MatchingTrials::First)
}

/// Blur of soft matching in the units of the features, where it is absolute (published code, §1.12).
pub fn blur(preset: Option<Preset>) -> Option<f64> {
    preset.map(|Preset::Sourmpis2023Code| 0.01)
}

/// The published code drops neurons above 40 Hz (§1.15), Hz.
pub fn max_rate_hz(preset: Option<Preset>) -> Option<f64> {
    preset.map(|Preset::Sourmpis2023Code| 40.0)
}

/// The published code weighs all neurons alike (§1.12).
pub fn min_spikes(preset: Option<Preset>) -> Option<u64> {
    preset.map(|Preset::Sourmpis2023Code| 0)
}
