//! What can go wrong in a fit, from recordings to the last step.

use data::DataError;
use losses::LossError;
use snn_core::CoreError;
use thiserror::Error;

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
    Evaluate(#[from] crate::evaluate::EvaluateError),
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
    /// K·T·N is beyond what fits.
    #[error(
        "{n_trials} trials × {n_steps} steps × {n_neurons} neurons are too many for one step; lower train.n_trials or shorten data.window_ms"
    )]
    TooLarge {
        /// Trials.
        n_trials: usize,
        /// Steps, warm-up included.
        n_steps: usize,
        /// Neurons.
        n_neurons: usize,
    },
    /// No trial is left to fit, validate or test.
    #[error("no trial is left for {part}; record more trials or change the fractions in [split]")]
    NoTrials {
        /// Which part.
        part: &'static str,
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
            Self::Data(_) | Self::DataChanged { .. } => exit_code::DATA,
            Self::Core(CoreError::Device { .. }) => exit_code::DEVICE,
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
            Self::EmptyArea { .. } => {
                Some("correct model.rsnn.areas (or motor_areas); `snnfit inspect FILE` lists the recorded areas")
            }
            Self::Loss(LossError::NoPopulation { .. }) => {
                Some("lower statistics.min_neurons_per_area, or leave out the trial_matching loss")
            }
            _ => None,
        }
    }
}
