//! What a training loop needs of a fit, whatever its model.

use std::collections::BTreeMap;

use crate::checkpoint::Checkpoint;
use crate::config::checked::{Interval, Optimizer};
use crate::findings::Finding;
use crate::fit_error::FitError;
use crate::trainer::{State, StepReport};

/// When a loop validates, saves, logs and stops.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Steps of the run.
    pub max_steps: u64,
    /// Steps between validations.
    pub validate_every: u64,
    /// Steps without improvement before the run stops.
    pub patience: u64,
    /// Steps or time between checkpoints.
    pub checkpoint_every: Interval,
    /// Steps between lines of the log.
    pub log_every: u64,
}

/// A fit in progress: each step is a function of (parameters, optimiser, step number).
pub trait Fit: std::fmt::Debug {
    /// What changes from step to step.
    fn state(&self) -> &State;

    /// The same, to change.
    fn state_mut(&mut self) -> &mut State;

    /// When the loop does what.
    fn schedule(&self) -> Schedule;

    /// The optimizer's settings.
    fn optimizer(&self) -> Optimizer;

    /// Makes one step. A step whose values aren't finite changes nothing but the counters.
    ///
    /// # Errors
    /// More such steps in a row than allowed; anything that doesn't fit.
    fn step(&mut self) -> Result<StepReport, FitError>;

    /// Validation losses (weighted, by name) of the present parameters, or what in them isn't finite; noted in the state.
    ///
    /// # Errors
    /// Anything that doesn't fit.
    fn validate(&mut self) -> Result<Result<BTreeMap<String, f64>, String>, FitError>;

    /// The present state; equal states give equal bytes.
    ///
    /// # Errors
    /// Never, short of a bug in serialisation.
    fn checkpoint(&self) -> Result<Checkpoint, FitError>;

    /// Passes through the training data so far.
    fn epoch(&self) -> f64;

    /// What training knows to be wrong with parameters and recording.
    fn findings(&self) -> Vec<Finding>;

    /// Learning rate of step `step`, from 1.
    fn learning_rate(&self, step: u64) -> f64 {
        let Optimizer::AdamW(adamw) = self.optimizer();
        adamw.learning_rate(step.saturating_sub(1), self.schedule().max_steps)
    }
}
