//! What the event log says about the training of a run.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::events::{self, Event, Number};
use crate::findings::Validations;
use crate::report::plots::LossHistory;
use crate::run_dir::RunDir;

/// Losses, times and the end of a training.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct History {
    /// Over steps, for pictures.
    pub(super) losses: LossHistory,
    /// For the verdict and for findings.
    pub(super) validations: Validations,
    /// Wall time of the steps that count, s; `None` where no step was logged.
    pub(super) seconds: Option<f64>,
}

impl History {
    pub(super) fn read(run: &RunDir) -> Result<Self, Error> {
        Ok(Self::of(events::read(&run.events())?))
    }

    fn of(events: Vec<Event>) -> Self {
        let mut history = Self::default();
        let mut elapsed = Vec::new(); // of each process, at its last step that counts
        for event in events {
            match event {
                Event::Step(step) => {
                    if let Some(last) = elapsed.last_mut() {
                        *last = step.wall_s;
                    }
                    history.losses.train.push((step.step, plain(step.losses)));
                }
                Event::Validation {
                    step, losses, total, ..
                } => {
                    history.losses.validation.push((step, plain(losses)));
                    history.validations.totals.push((step, total.0));
                }
                Event::Start { floors, .. } => {
                    history.losses.floors = plain(floors);
                    history.validations.stop_reason = None;
                    elapsed.push(0.0);
                }
                Event::Stop { reason, .. } => history.validations.stop_reason = Some(reason),
                _ => {}
            }
        }
        history.seconds = (!history.losses.train.is_empty()).then(|| elapsed.iter().sum());
        history
    }
}

fn plain(losses: BTreeMap<String, Number>) -> BTreeMap<String, f64> {
    losses.into_iter().map(|(name, value)| (name, value.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::StepEvent;
    use crate::run_dir::StopReason;

    #[test]
    fn time_is_that_of_the_steps_that_count_over_all_processes() {
        let start = |step| Event::Start {
            schema: 1,
            step,
            time: String::new(),
            floors: BTreeMap::new(),
        };
        let step = |step, wall_s| {
            Event::Step(StepEvent {
                step,
                epoch: 0.0,
                wall_s,
                losses: BTreeMap::new(),
                grad_norm: Number(1.0),
                lr: 1.0,
                skipped: 0,
            })
        };
        let stop = |step| Event::Stop {
            step,
            reason: StopReason::TimeLimit,
            time: String::new(),
        };
        assert_eq!(History::of(vec![start(0)]).seconds, None);
        let first = vec![start(0), step(1, 2.0), step(2, 4.5), stop(2)];
        let history = History::of(first.clone());
        assert_eq!(
            (history.seconds, history.validations.stop_reason),
            (Some(4.5), Some(StopReason::TimeLimit))
        );
        let history = History::of([first, vec![start(2), step(3, 1.0)]].concat());
        assert_eq!((history.seconds, history.validations.stop_reason), (Some(5.5), None));
    }
}
