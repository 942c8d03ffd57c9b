//! Backward pass: potentials become δ in place, tile by tile; then weight gradients, spike by spike.

use super::forward::Prepared;
use super::tile::{Product, Tiles, TrialSums};
use super::{Precision, weights};
use crate::CoreError;
use crate::rollout::feedback::{Feedback, FeedbackState, kernel_row_gradient};
use crate::rollout::gradients::Totals;
use crate::rollout::{Gradients, Network, Rollout, Run, SpikeAdjoint, Wanted};
use ndarray::{Array1, Array2, Array3, s};
use rayon::prelude::*;

/// [`backpropagate_with`] in single precision.
///
/// # Errors
/// As there.
pub fn backpropagate(
    network: &Network,
    run: &Run,
    rollout: Rollout,
    adjoint: &SpikeAdjoint,
    d_probabilities: Option<&Array3<f32>>,
    wanted: Wanted,
) -> Result<Gradients, CoreError> {
    let precision = Precision::Single;
    backpropagate_with(precision, network, run, rollout, adjoint, d_probabilities, wanted)
}

/// Back-propagates `dL/dz` (and `dL/dp`) through `rollout`, which must hold its potentials; they are used up.
///
/// Beyond the rollout it allocates one [N] row set per trial, the rows of the last steps, a second copy of the weights
/// and, after it, sums of their size; never a [K, T, N] array.
///
/// # Errors
/// When the potentials were not kept or an array doesn't fit.
pub fn backpropagate_with(
    precision: Precision,
    network: &Network,
    run: &Run,
    rollout: Rollout,
    adjoint: &SpikeAdjoint,
    d_probabilities: Option<&Array3<f32>>,
    wanted: Wanted,
) -> Result<Gradients, CoreError> {
    run.check(network)?;
    let (k, t, n) = (run.n_trials, run.n_steps, network.n_neurons());
    adjoint.check(k, t, n)?;
    if let Some(dp) = d_probabilities {
        crate::rollout::shape("probability adjoint", dp.shape(), &[k, t, n])?;
    }
    let Rollout {
        spikes,
        refractory,
        potentials,
        traces,
        start,
        ..
    } = rollout;
    let Some(potentials) = potentials else {
        return Err(CoreError::Shape {
            what: "kept potentials",
            found: vec![],
            expected: vec![k, t, n],
        });
    };
    crate::rollout::shape("kept potentials", potentials.shape(), &[k, t, n])?;
    // In place: a second [K, T, N] array would be the largest part of the memory.
    let mut delta = if potentials.is_standard_layout() {
        potentials
    } else {
        potentials.as_standard_layout().into_owned()
    };
    let traces = traces.filter(|_| network.feedback.is_some());
    if let Some(feedback) = &network.feedback {
        let found = traces.as_ref().map_or(&[][..], |q| q.shape());
        crate::rollout::shape("filter of the feedback", found, &[k, t, feedback.n_traces()])?;
    }
    let trace_values = network.feedback.as_ref().map_or(0, |feedback| t * feedback.n_traces());
    let mut sums = vec![TrialSums::new(n, wanted, network.max_delay(), trace_values); k];
    let mut gradients = Gradients::zeros(network, run, wanted);
    if k > 0 && t > 0 && n > 0 {
        let all = delta.as_slice_mut().expect("standard layout");
        let prepared = Prepared::new(network);
        Tiles {
            network,
            run,
            constants: prepared.constants(),
            product: Product::new(network, &prepared.delay_slices(), precision),
            spikes: &spikes,
            refractory: &refractory,
            adjoint,
            d_probabilities,
            wanted,
            traces: traces.as_ref(),
        }
        .run(all, &mut sums);
        // The second copy of the weights is gone before sums of the same size come.
        let (w, w_in) = (&mut gradients.w, &mut gradients.w_in);
        weights::accumulate(network, run, &spikes, &start.history, all, w, w_in);
    }
    reduce(network, run, wanted, &sums, &delta, &mut gradients);
    if let (Some(feedback), Some(start), Some(filter)) = (&network.feedback, &start.feedback, &traces) {
        reduce_feedback(feedback, network, &sums, start, filter, &delta, &mut gradients);
    }
    Ok(gradients)
}

/// Gradients of the closed loop's kernel and traces, and the part of the gain's that comes by its current.
fn reduce_feedback(
    feedback: &Feedback,
    network: &Network,
    sums: &[TrialSums],
    start: &FeedbackState,
    filter: &Array3<f64>,
    delta: &Array3<f32>,
    gradients: &mut Gradients,
) {
    let Some(out) = &mut gradients.feedback else { return };
    for (mut traces, trial) in out.traces.outer_iter_mut().zip(sums) {
        traces.iter_mut().zip(&trial.traces).for_each(|(to, from)| *to = *from);
    }
    let (n_traces, n_lags, n) = feedback.kernel.dim();
    let mut raw = Array2::<f64>::zeros((n_traces * n_lags, n));
    let rows: Vec<_> = raw.outer_iter_mut().enumerate().collect();
    rows.into_par_iter().for_each(|(row, sum)| {
        let (b, lag) = (row / n_lags, feedback.first_lag + row % n_lags);
        kernel_row_gradient(feedback, b, lag, start, filter, delta, sum);
    });
    let (mut kernel, weights) = (out.kernel.view_mut(), feedback.kernel.view());
    for ((b, l, j), d) in kernel.indexed_iter_mut() {
        let sum = raw[[b * n_lags + l, j]];
        gradients.gain[j] += (sum * f64::from(weights[[b, l, j]])) as f32;
        *d = (sum * f64::from(network.gain[j])) as f32;
    }
}

/// From sums per trial to gradients: f64, trials in order.
fn reduce(
    network: &Network,
    run: &Run,
    wanted: Wanted,
    sums: &[TrialSums],
    delta: &Array3<f32>,
    gradients: &mut Gradients,
) {
    let n = network.n_neurons();
    let total = |f: &dyn Fn(&TrialSums) -> &[f32]| -> Array1<f64> {
        let mut out = Array1::<f64>::zeros(n);
        for trial in sums {
            for (o, x) in out.iter_mut().zip(f(trial)) {
                *o += f64::from(*x);
            }
        }
        out
    };
    let mut at_start = Array1::<f64>::zeros(n);
    if run.n_steps > 0 {
        for row in delta.slice(s![.., 0, ..]).rows() {
            for (o, x) in at_start.iter_mut().zip(row) {
                *o += f64::from(*x);
            }
        }
    }
    let totals = Totals {
        delta: total(&|s| &s.delta),
        at_start,
        reset: total(&|s| &s.reset),
        noise: wanted.noise.then(|| total(&|s| &s.noise)),
    };
    gradients.finish(network, &totals);
    if let (Some(out), Some(offset)) = (&mut gradients.trial_offset, &run.trial_offset) {
        let trials: Vec<_> = out.outer_iter_mut().zip(delta.outer_iter()).zip(sums).collect();
        trials.into_par_iter().for_each(|((mut out, delta), sums)| {
            if offset.is_constant() {
                out.row_mut(0).assign(&ndarray::ArrayView1::from(&sums.delta));
                return;
            }
            for (t, delta) in delta.outer_iter().enumerate() {
                for (b, share) in offset.at(t) {
                    out.row_mut(b).scaled_add(share, &delta);
                }
            }
        });
    }
    if let Some(history) = &mut gradients.history {
        for (mut block, trial) in history.outer_iter_mut().zip(sums) {
            for (to, from) in block.iter_mut().zip(&trial.history) {
                *to = *from;
            }
        }
    }
    if let (Some(out), Some(drive)) = (&mut gradients.drive, &run.drive) {
        for (k, block) in delta.outer_iter().enumerate() {
            let mut sum = out.slice_mut(s![drive.index[k], .., ..]);
            sum += &block;
        }
    }
}
