//! A part of a trial as a run of its own: for what changes a network in the course of a trial.
//!
//! Weights are constant within a rollout. A trial whose network changes at some step is simulated as segments, each of
//! which starts from the state that the former ended with. Segments of an unchanged network give the bits of the whole.

use super::{Clamp, Drive, InputEvents, Noise, Run, State, TrialOffset};
use crate::CoreError;
use ndarray::{Array2, Array3, Axis, s};
use std::ops::Range;

impl Run {
    /// The steps `steps` of this run (warm-up included in the count) as a run without warm-up, which draws the random
    /// numbers that this run draws at these steps.
    ///
    /// `initial` is the state before the first of them: [`super::Rollout::end`] of the segment before, or this run's own
    /// initial state. The steps lie on one side of the end of the warm-up, during which inputs that hold the first
    /// recorded step go on doing so. Copies the drive of the steps, `[S, steps, N]`.
    ///
    /// # Errors
    /// [`CoreError::Range`] for steps beyond the last one or on both sides of the end of the warm-up.
    pub fn segment(&self, steps: Range<usize>, initial: State) -> Result<Self, CoreError> {
        let refuse = |expected| {
            Err(CoreError::Range {
                what: format!("end of the segment that starts at step {}", steps.start),
                value: steps.end as f64,
                expected,
            })
        };
        if steps.start > steps.end || steps.end > self.n_warmup + self.n_steps {
            return refuse("from its start to the number of steps of the run");
        }
        let is_warmup = steps.end <= self.n_warmup;
        if !is_warmup && steps.start < self.n_warmup {
            return refuse("in the warm-up like its start");
        }
        // Counted from the first recorded step.
        let recorded = steps.start.saturating_sub(self.n_warmup)..steps.end.saturating_sub(self.n_warmup);
        let of_steps = |a: &Array3<f32>| a.slice(s![.., steps.clone(), ..]).to_owned();
        Ok(Self {
            n_trials: self.n_trials,
            n_warmup: 0,
            n_steps: steps.len(),
            events: self.events.as_ref().map(|events| of_events(events, &steps)),
            drive: self.drive.as_ref().map(|drive| Drive {
                values: match drive.values.dim() {
                    (n_stimuli, t, n) if is_warmup => {
                        Array3::from_shape_fn((n_stimuli, steps.len(), n), |(i, _, n)| {
                            if t == 0 { 0.0 } else { drive.values[[i, 0, n]] }
                        })
                    }
                    _ => drive.values.slice_axis(Axis(1), recorded.clone().into()).to_owned(),
                },
                index: drive.index.clone(),
            }),
            trial_offset: self.trial_offset.as_ref().map(|offset| TrialOffset {
                values: offset.values.clone(),
                course: if is_warmup {
                    let first = offset.shares(0);
                    Array2::from_shape_fn((steps.len(), first.len()), |(_, b)| first[b])
                } else {
                    offset.course.slice(s![recorded.clone(), ..]).to_owned()
                },
            }),
            noise: match &self.noise {
                Noise::Philox {
                    key,
                    step,
                    first_trial,
                    first_time,
                } => Noise::Philox {
                    key: *key,
                    step: *step,
                    first_trial: *first_trial,
                    first_time: first_time.wrapping_add(steps.start as u32),
                },
                Noise::Given { normals, uniforms } => Noise::Given {
                    normals: of_steps(normals),
                    uniforms: of_steps(uniforms),
                },
            },
            clamp: self.clamp.as_ref().filter(|_| !is_warmup).map(|clamp| Clamp {
                spikes: clamp.spikes.of_steps(recorded.clone()),
                until: clamp.until.mapv(|until| until.saturating_sub(recorded.start as u32)),
            }),
            initial,
        })
    }
}

/// The events of some steps.
fn of_events(events: &InputEvents, steps: &Range<usize>) -> InputEvents {
    InputEvents::build(events.n_inputs(), events.n_trials(), steps.len(), |k, t, list| {
        list.extend_from_slice(events.at(k, steps.start + t));
    })
}
