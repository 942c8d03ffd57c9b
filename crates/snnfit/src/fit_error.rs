//! What can go wrong in a fit, from recordings to the last step.

use data::DataError;
use losses::LossError;
use snn_core::CoreError;
use thiserror::Error;

use crate::evaluate::EvaluateError;
use crate::exit_code;

/// Why a fit, a simulation or an evaluation can't go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FitError {
    /// A recording can't be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The network, its inputs or its device.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// A loss, statistic or metric.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// An evaluation can't be made.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// Pictures can't be drawn.
    #[error(transparent)]
    Plot(#[from] crate::report::plots::PlotError),
    /// A session named in the configuration isn't in the files.
    #[error("data.sessions names '{id}', but the files hold: {present}")]
    UnknownSession {
        /// The name.
        id: String,
        /// What there is.
        present: String,
    },
    /// An area of the model has no recorded neurons.
    #[error("area '{area}' has no recorded neurons; the recording has: {recorded}")]
    EmptyArea {
        /// The area.
        area: String,
        /// What there is.
        recorded: String,
    },
    /// A latent shall see stimuli that don't differ from 0.
    #[error("the latent sees the value of the stimulus, whose largest absolute value in the recording is {largest}")]
    LatentStimulus {
        /// Largest absolute value.
        largest: f64,
    },
    /// Every unit was observed in no training trial.
    #[error("none of {n_units} units was observed in a training trial (in all bins of the window that are data)")]
    NothingObserved {
        /// Units of all sessions.
        n_units: usize,
    },
    /// A rule of `[[model.rsnn.projections]]` is for an area that the model lacks.
    #[error(
        "model.rsnn.projections[{rule}].{key} names area '{area}', which the model doesn't have{}; its areas are {known}",
        nearest.as_ref().map_or_else(String::new, |near| format!(" (did you mean '{near}'?)"))
    )]
    UnknownProjection {
        /// Place of the rule in the list, from 0.
        rule: usize,
        /// `from` or `to`.
        key: &'static str,
        /// The area.
        area: String,
        /// An area of nearly that name.
        nearest: Option<String>,
        /// The model's areas.
        known: String,
    },
    /// A channel of the inputs takes from trials what they don't have.
    #[error("{key}: {reason}")]
    Channel {
        /// Key of the configuration.
        key: String,
        /// Why.
        reason: String,
    },
    /// No trial that shows a stimulus has the events that drive the inputs.
    #[error(
        "no training trial with stimulus {stimulus} is of a session that has {columns}, which model.rsnn.input.poisson.channels take from trials"
    )]
    NoCues {
        /// Value of the stimulus.
        stimulus: f64,
        /// What the session needs.
        columns: String,
    },
    /// Every neuron of an area is left out for its rate.
    #[error("area '{area}': every unit fires at data.max_rate_hz = {max_rate_hz} Hz or more and is left out")]
    FastArea {
        /// The area.
        area: String,
        /// The limit.
        max_rate_hz: f64,
    },
    /// No bin of any trial lies in the window.
    #[error("no trial has recorded data in {}", match window_ms { Some([a, b]) => format!("data.window_ms = [{a}, {b}]"), None => "its window".to_owned() })]
    WindowOutside {
        /// The window.
        window_ms: Option<[f64; 2]>,
    },
    /// A behaviour trace that nothing could be fitted to.
    #[error("behaviour '{trace}' has no training trial that is complete in any session with model neurons")]
    NoTrace {
        /// The trace.
        trace: String,
    },
    /// A behaviour trace can't be brought to the units that `[data.traces]` asks for.
    #[error("session '{session}': behaviour '{trace}': {reason}")]
    TraceRule {
        /// The trace.
        trace: String,
        /// The session.
        session: String,
        /// Why.
        reason: String,
    },
    /// Sessions were recorded with stimuli of different numbers of channels.
    #[error("session '{session}': the stimulus has {found} channels, other sessions have {expected}")]
    StimulusChannels {
        /// The session.
        session: String,
        /// Its channels.
        found: usize,
        /// Channels of the others.
        expected: usize,
    },
    /// The model wants a recorded stimulus and there is none.
    #[error(
        "model.rsnn.input.recorded needs a recorded stimulus, but no session has one; import it with --stimulus, or use model.rsnn.input.poisson"
    )]
    NoStimulus,
    /// The model wants a recorded stimulus and a trial has none.
    #[error(
        "session '{session}', trial {trial}: model.rsnn.input.recorded needs a recorded stimulus, and {n} trials of the session have none"
    )]
    TrialWithoutStimulus {
        /// The session.
        session: String,
        /// The first such trial.
        trial: usize,
        /// How many there are.
        n: usize,
    },
    /// The recording doesn't have what a spike-history network needs.
    #[error("model.spike_history: {reason}")]
    SpikeHistory {
        /// What, and what to do.
        reason: String,
    },
    /// K·T·N is beyond what fits.
    #[error(
        "{n_trials} trials × {n_steps} steps × {n_neurons} neurons are too many; take fewer trials or a shorter window"
    )]
    TooLarge {
        /// Trials.
        n_trials: usize,
        /// Steps, warm-up included.
        n_steps: usize,
        /// Neurons.
        n_neurons: usize,
    },
    /// K·T·N needs more memory than there is.
    #[error(
        "{n_trials} trials × {n_steps} steps × {n_neurons} neurons need at least {needed_gib:.1} GiB, this machine has {available_gib:.1} GiB; take fewer trials or a shorter window"
    )]
    TooMuchMemory {
        /// Trials.
        n_trials: usize,
        /// Steps.
        n_steps: usize,
        /// Neurons.
        n_neurons: usize,
        /// A lower bound of what is needed.
        needed_gib: f64,
        /// What there is.
        available_gib: f64,
    },
    /// `train.memory_limit` is too small for one trial.
    #[error(
        "train.memory_limit of {limit_gib:.2} GiB is too little: recording, parameters and one trial take {needed_gib:.2} GiB; raise it, or fit fewer neurons or a shorter window"
    )]
    MemoryLimit {
        /// The limit.
        limit_gib: f64,
        /// Needed for chunks of one trial.
        needed_gib: f64,
    },
    /// The adapter has no memory left.
    #[error(
        "device '{device}' is out of memory ({reason}): {trials} trials at once take at least {needed_gib:.2} GiB there (hint: {})",
        match fits {
            Some((fits, gib)) => format!("use {key} {fits}, which takes {gib:.2} GiB, or compute on the processor: --device cpu"),
            None => "fit fewer neurons or a shorter window, or compute on the processor: --device cpu".to_owned(),
        }
    )]
    DeviceMemory {
        /// Name of the adapter.
        device: String,
        /// What the driver said.
        reason: String,
        /// Trials at once.
        trials: usize,
        /// A lower bound of what they take on the device.
        needed_gib: f64,
        /// The setting that bounds them, as it is written before its value.
        key: &'static str,
        /// Its value with which the step takes at most half, or 1 where the network alone takes more, and what it takes
        /// then, GiB; none where it was 1.
        fits: Option<(usize, f64)>,
    },
    /// No trial is left to fit, validate or test.
    #[error("no trial is left for {part}; record more trials or change the fractions in [split]")]
    NoTrials {
        /// Which part.
        part: &'static str,
    },
    /// Losses of counts have nothing to compare with.
    #[error(
        "loss.{loss}: no session has four training trials of a stimulus that last as long as a window, and a neuron of 10 spikes or \
         more that varies in them; shorten loss.{loss}.windows_ms, set loss.{loss}.whole_trial = false, record more trials, or leave \
         the loss out"
    )]
    NoCounts {
        /// Its name.
        loss: &'static str,
    },
    /// Losses of counts have hardly any batch to compare.
    #[error(
        "train.{key} = {n}: fewer than half of the batches of {n} trials have four of one stimulus that last as long as a window, which \
         the losses of spike counts compare; raise train.{key}"
    )]
    FewOfAStimulus {
        /// Key of the number of model trials.
        key: &'static str,
        /// Model trials.
        n: usize,
    },
    /// The energy distance, or the judgement of a spike-GAN by it, has no two trials to compare, or a loss of counts no four.
    #[error(
        "train.{key} = {n}: the energy distance compares pairs of trials of one stimulus, two of the model and two recorded, in at least \
         one session, and losses of spike counts four of the model with two recorded; raise train.{key}, record more trials, or change the fractions in [split]"
    )]
    NoPairs {
        /// Key of the number of model trials.
        key: &'static str,
        /// Model trials.
        n: usize,
    },
    /// Values stayed non-finite after the allowed retries.
    #[error("step {step}: {what}; {skipped} steps in a row were skipped (train.max_skipped)")]
    NonFinite {
        /// Training step.
        step: u64,
        /// Tensor and index.
        what: String,
        /// Steps skipped in a row.
        skipped: u64,
    },
    /// A recording was changed after the run had begun.
    #[error("{}: the recording has changed since this run began (its SHA-256 is another)", path.display())]
    DataChanged {
        /// The file.
        path: std::path::PathBuf,
    },
    /// Other recordings than the run's were named.
    #[error("the run was fitted to {expected} recording files, but {found} are given")]
    DataCount {
        /// Files given.
        found: usize,
        /// Files of the run.
        expected: usize,
    },
    /// A checkpoint is of another model, or of another version.
    #[error("the checkpoint doesn't fit this run: {what}")]
    CheckpointMismatch {
        /// What differs.
        what: String,
    },
    /// A broken invariant.
    #[error("internal error: {what}")]
    Internal {
        /// What happened.
        what: String,
    },
}

impl FitError {
    /// Exit code of the program; see [`crate::exit_code`].
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Data(_)
            | Self::DataChanged { .. }
            | Self::DataCount { .. }
            | Self::Evaluate(EvaluateError::NotComparable { .. }) => exit_code::DATA,
            Self::Core(CoreError::Device { .. } | CoreError::DeviceLimit { .. } | CoreError::DeviceMemory { .. })
            | Self::DeviceMemory { .. } => exit_code::DEVICE,
            Self::CheckpointMismatch { .. } => exit_code::RUN,
            Self::NonFinite { .. } => exit_code::NUMERIC,
            Self::Internal { .. } => exit_code::INTERNAL,
            // What is left says that configuration and recording don't go together.
            _ => exit_code::CONFIG,
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::NonFinite { .. } => Some(
                "lower optimizer.adamw.lr or model.rsnn.noise; the checkpoint before is intact and can be evaluated",
            ),
            Self::Core(CoreError::DeviceLimit { trials: 1, .. }) => {
                Some("fit fewer neurons or a shorter window, or compute on the processor: --device cpu")
            }
            Self::Core(CoreError::DeviceLimit { .. } | CoreError::DeviceMemory { .. }) => Some(
                "take fewer trials at once (train.trial_chunk, or --trial-chunk), or compute on the processor: --device cpu",
            ),
            Self::EmptyArea { .. } => Some(
                "correct model.rsnn.areas (or motor_areas); `snnfit inspect FILE` lists the recorded areas, and units that were \
                 observed in no trial, which don't count",
            ),
            Self::LatentStimulus { .. } => Some(
                "leave model.rsnn.latent.mlp.stimulus_from_ms out, or correct trials/stimulus; `snnfit inspect FILE` lists its values",
            ),
            Self::NothingObserved { .. } => Some(
                "choose a narrower window (data.window_ms), or correct units/obs_intervals or binned/presence; `snnfit inspect FILE` \
                 says how many trials units miss",
            ),
            Self::Channel { .. } => Some(
                "`snnfit inspect FILE` lists events and values of trials; an import takes them with --event NAME=EXPR and --value \
                 NAME=EXPR, where coalesce(x, 0) is 0 where x is missing",
            ),
            Self::NoCues { .. } => Some(
                "leave these trials or sessions out (data.sessions), or import the events of the sessions that lack them",
            ),
            Self::UnknownProjection { .. } => {
                Some("correct the rule, or leave it out; `snnfit inspect FILE` lists the recorded areas")
            }
            Self::TrialWithoutStimulus { .. } => {
                Some("leave these trials out of the recording, or give them a constant stimulus")
            }
            Self::DataChanged { .. } => {
                Some("--data FILE names the recording that the run was fitted to, wherever it is now")
            }
            Self::Evaluate(EvaluateError::NotComparable { .. }) => Some(
                "the file has to be of the sessions and units that the run was fitted to, by their ids, with the same \
                 stimulus values; `snnfit inspect` lists those of a recording",
            ),
            Self::DataCount { .. } => Some("name them all, in the order of the manifest"),
            Self::FastArea { .. } => Some(
                "raise data.max_rate_hz, or leave the area out of model.rsnn.areas; `snnfit inspect FILE` lists rates",
            ),
            Self::WindowOutside { .. } => Some(
                "times count from the event that trials are aligned to; `snnfit inspect FILE` says how long trials are",
            ),
            Self::NoTrace { .. } => Some(
                "leave it out of data.behaviour, or choose a window (data.window_ms) and sessions (data.sessions) in which it \
                 was recorded",
            ),
            Self::TraceRule { .. } => Some("change the trace's table in [data.traces], or data.window_ms"),
            Self::Loss(LossError::NoPopulation { .. }) => {
                Some("lower statistics.min_neurons_per_area, or leave out the trial_matching loss")
            }
            _ => None,
        }
    }
}
