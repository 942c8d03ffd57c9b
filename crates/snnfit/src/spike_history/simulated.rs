//! Whole trials of a session's stimuli, simulated freely from their first bin on, with or without a perturbation.

use ndarray::{Array3, Axis, concatenate, s};
use snn_core::bits::SpikeBits;
use snn_core::models::rsnn::Draws;
use snn_core::models::spike_history::{Clamped, Perturbation, Windows};
use snn_core::rollout::Drive;

use super::model::{Pass, Stretch};
use super::rollouts::{Rollouts, Seen};
use crate::fit_error::FitError;

/// Which trials are simulated, and how.
#[derive(Debug, Clone, Copy)]
pub struct Trials<'a> {
    /// Session whose stimuli are shown.
    pub session: usize,
    /// Recorded trial that lends its stimulus to each simulated one, `[K]`.
    pub shown: &'a [usize],
    /// Bins of each.
    pub bins: usize,
    /// Bins at the start in which the session's neurons are held to the recorded spikes.
    pub clamped: usize,
    /// Trials that are simulated at once; spikes don't depend on it.
    pub chunk: usize,
    /// What is done to the network.
    pub perturbations: &'a [Perturbation],
    /// Seed of the noise.
    pub seed: u64,
    /// Name of its stream.
    pub stream: &'a str,
}

impl Rollouts<'_> {
    /// Spikes of all neurons, hidden ones too, in the order of the model, `[K, bins, N]`. Nothing fired before the first bin.
    ///
    /// # Errors
    /// Bins beyond a stimulus, perturbations that don't fit, a device that fails.
    pub fn trials(&self, trials: &Trials<'_>) -> Result<Array3<u8>, FitError> {
        let session = &self.recorded.sessions[trials.session];
        let seen = Seen::new(&self.model.network, &session.neurons)?;
        let n = seen.order.len();
        let mut place = vec![0; n];
        for (at, &neuron) in seen.order.iter().enumerate() {
            place[neuron] = at;
        }
        let perturbations: Vec<Perturbation> = trials
            .perturbations
            .iter()
            .map(|p| Perturbation {
                neurons: p.neurons.iter().map(|&neuron| place[neuron]).collect(),
                ..p.clone()
            })
            .collect();
        let mut stimuli: Vec<usize> = trials.shown.iter().map(|&k| session.stimulus_of[k]).collect();
        stimuli.sort_unstable();
        stimuli.dedup();
        let mut drives = Vec::with_capacity(stimuli.len());
        for &stimulus in &stimuli {
            drives.push(
                self.whole_drive(trials.session, stimulus, trials.bins)?
                    .map(|d| seen.drive(d)),
            );
        }
        let mut out = Array3::zeros((trials.shown.len(), trials.bins, n));
        let clamped = trials.clamped.min(trials.bins);
        for (c, shown) in trials.shown.chunks(trials.chunk.max(1)).enumerate() {
            let first = c * trials.chunk.max(1);
            let held = (clamped > 0).then(|| {
                let mut spikes = Array3::zeros((shown.len(), trials.bins, seen.n_visible));
                for (mut to, &k) in spikes.outer_iter_mut().zip(shown) {
                    to.slice_mut(s![..clamped, ..])
                        .assign(&session.spikes.slice(s![k, ..clamped, ..]));
                }
                Clamped {
                    spikes: SpikeBits::from_array(spikes.view()),
                    until: vec![clamped as u32; shown.len()],
                }
            });
            let windows = Windows {
                n_windows: shown.len(),
                n_steps: trials.bins,
                history: None,
                clamped: held,
                drive: chunk_drive(session, shown, &stimuli, &drives)?,
            };
            let draws = Draws {
                seed: trials.seed,
                step: 0,
                stream: trials.stream,
                first_trial: first as u32,
            };
            let spikes = seen.network.simulate(self.engine, &windows, draws, &perturbations)?;
            let spikes = spikes.to_array().select(Axis(2), &place);
            out.slice_mut(s![first..first + shown.len(), .., ..]).assign(&spikes);
        }
        Ok(out)
    }

    /// Drive of the first `bins` bins of a stimulus, `[1, bins, N]` in the order of the model; none where nothing drives.
    ///
    /// # Errors
    /// Bins beyond the stimulus, a device that fails.
    pub fn whole_drive(&self, session: usize, stimulus: usize, bins: usize) -> Result<Option<Array3<f32>>, FitError> {
        let first = 0;
        let pass = Pass {
            stretches: vec![Stretch {
                session,
                stimulus,
                first,
            }],
            bins,
            skipped: 0,
        };
        let mut drives = self.model.drives(self.device, self.recorded, vec![pass])?;
        Ok(drives.values.pop().flatten())
    }
}

/// Drives of the stimuli of a chunk of trials.
fn chunk_drive(
    session: &super::recorded::RecordedSession,
    shown: &[usize],
    stimuli: &[usize],
    drives: &[Option<Array3<f32>>],
) -> Result<Option<Drive>, FitError> {
    let mut used: Vec<usize> = Vec::new();
    let mut index = Vec::with_capacity(shown.len());
    for &k in shown {
        let at = stimuli.partition_point(|&s| s < session.stimulus_of[k]);
        let place = used.iter().position(|&u| u == at).unwrap_or_else(|| {
            used.push(at);
            used.len() - 1
        });
        index.push(place);
    }
    let views: Option<Vec<_>> = used.iter().map(|&at| Some(drives[at].as_ref()?.view())).collect();
    match views {
        Some(views) if !views.is_empty() => {
            let values = concatenate(Axis(0), &views).map_err(|error| internal(&error))?;
            Ok(Some(Drive { values, index }))
        }
        _ => Ok(None),
    }
}

fn internal(error: &dyn std::fmt::Display) -> FitError {
    FitError::Internal {
        what: error.to_string(),
    }
}
