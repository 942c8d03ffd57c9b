//! Why an evaluation can't be made.

use losses::LossError;
use thiserror::Error;

/// Why an evaluation can't be made.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// Two inputs disagree.
    #[error("{what} is {found}, expected {expected}")]
    Inputs {
        /// The input.
        what: &'static str,
        /// What was found.
        found: String,
        /// What the other inputs imply.
        expected: String,
    },
    /// No session and stimulus condition has complete trials of everything that is compared.
    #[error(
        "no session has a stimulus condition with complete trials of the model ({n_model} trials), the training \
         data ({n_train}) and the {split} data ({n_test}); simulate more trials, or shorten the time window so that \
         recorded trials fill it"
    )]
    NoTrials {
        /// Model trials.
        n_model: usize,
        /// Complete training trials of all sessions.
        n_train: usize,
        /// Name of the part that is evaluated.
        split: String,
        /// Complete trials of that part, of all sessions.
        n_test: usize,
    },
    /// A file isn't of what the run was fitted to.
    #[error("{file}: {reason}")]
    NotComparable {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// A metric refused its arguments.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// Reports of several runs can't be put together.
    #[error(
        "reports can't be aggregated: {what} differs ('{first}' in {first_run}, '{other}' in {other_run}); evaluate all runs on the same part"
    )]
    Mixed {
        /// What differs.
        what: &'static str,
        /// Its value in the first report.
        first: String,
        /// The first run.
        first_run: String,
        /// Its value in another.
        other: String,
        /// The other run.
        other_run: String,
    },
}
