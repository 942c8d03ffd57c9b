//! Weight gradients `Σ z(t − delay) δ(t)`, touched only at spikes.
//!
//! Per batch of trials and presynaptic neuron, δ at the neuron's spikes is summed in registers and added to the
//! gradient once. A task owns a range of postsynaptic columns and reads δ once, batch by batch; each entry is a sum over
//! batches of sums over spikes in order of trial and time, whatever the number of threads. (A batch is a number of
//! trials that depends on T and the longest delay.)

use super::aligned::Buffer;
use crate::bits::{SpikeBits, for_each_set};
use crate::rollout::{Network, Run};
use crate::vector::vectorized;
use ndarray::{Array2, Array3};
use rayon::prelude::*;
use std::ops::Range;

/// Postsynaptic columns at a time: few enough that their δ of a trial stays in the cache.
const COLUMNS: usize = 64;

/// Values of δ of one batch of trials: half of a core's own cache.
const TILE_VALUES: usize = 1 << 17;

/// Adds dW `[D, N_pre, N_post]` and dW_in `[N_in, N]` (both without the gain g) of `delta [K, T, N]`.
pub(super) fn accumulate(
    network: &Network,
    run: &Run,
    spikes: &SpikeBits,
    history: &SpikeBits,
    delta: &[f32],
    d_w: &mut Array3<f32>,
    d_w_in: &mut Array2<f32>,
) {
    let (n, t_end, h) = (network.n_neurons(), run.n_steps, network.max_delay());
    let n_in = network.w_in.nrows();
    // In the tile every trial has h rows of zeros before it, and the last one after it, so that a spike whose effect
    // falls outside its trial adds nothing.
    let batch = (TILE_VALUES / (COLUMNS * (t_end + h))).max(1);
    let batches: Vec<Range<usize>> = (0..run.n_trials)
        .step_by(batch)
        .map(|k| k..(k + batch).min(run.n_trials))
        .collect();
    let groups = rayon::current_num_threads().clamp(1, n.div_ceil(COLUMNS));
    let width = n.div_ceil(groups).next_multiple_of(COLUMNS.min(16));
    let mut tasks: Vec<Task<'_>> = (0..n.div_ceil(width)).map(|_| Task::default()).collect();
    for row in d_w.as_slice_mut().expect("standard layout").chunks_mut(n) {
        for (task, part) in tasks.iter_mut().zip(row.chunks_mut(width)) {
            task.w.push(part);
        }
    }
    for row in d_w_in.as_slice_mut().expect("standard layout").chunks_mut(n) {
        for (task, part) in tasks.iter_mut().zip(row.chunks_mut(width)) {
            task.w_in.push(part);
        }
    }
    let mut tiles: Vec<Buffer> = tasks
        .iter()
        .map(|_| Buffer::zeros((batch * (t_end + h) + h) * COLUMNS))
        .collect();
    // A few batches at a time: the lists of a network that fires at every step are as long as δ.
    for batches in batches.chunks(2 * groups) {
        let trains: Vec<Trains> = batches
            .par_iter()
            .map(|trials| Trains::new(run, spikes, history, trials.clone(), n, n_in, h))
            .collect();
        let parts = tasks.par_iter_mut().zip(tiles.par_iter_mut()).enumerate();
        parts.for_each(|(i, (task, tile))| {
            let columns = i * width..((i + 1) * width).min(n);
            task.add(network, &trains, batches, delta, columns, tile, t_end, h);
        });
    }
}

/// The parts of the gradients' rows that one task owns.
#[derive(Default)]
struct Task<'a> {
    w: Vec<&'a mut [f32]>,
    w_in: Vec<&'a mut [f32]>,
}

impl Task<'_> {
    /// Adds a few batches to the columns that this task owns; `tile` is used again and again.
    fn add(
        &mut self,
        network: &Network,
        trains: &[Trains],
        batches: &[Range<usize>],
        delta: &[f32],
        columns: Range<usize>,
        tile: &mut [f32],
        t_end: usize,
        h: usize,
    ) {
        let n = network.n_neurons();
        for (trains, trials) in trains.iter().zip(batches) {
            for from in columns.clone().step_by(COLUMNS) {
                let part = from..(from + COLUMNS).min(columns.end);
                let own = part.start - columns.start..part.end - columns.start;
                for (i, k) in trials.clone().enumerate() {
                    let start = (i * (t_end + h) + h) * COLUMNS;
                    let rows = delta[k * t_end * n..(k + 1) * t_end * n].chunks_exact(n);
                    for (to, from) in tile[start..].chunks_exact_mut(COLUMNS).zip(rows) {
                        to[..part.len()].copy_from_slice(&from[part.clone()]);
                        to[part.len()..].fill(0.0);
                    }
                }
                for (rows, delay) in self.w.chunks_exact_mut(n).zip(&network.delays) {
                    for (i, row) in rows.iter_mut().enumerate() {
                        let rows_at = trains.spikes.of(i);
                        if !rows_at.is_empty() {
                            add_rows_at(&mut row[own.clone()], tile, rows_at, *delay);
                        }
                    }
                }
                for (i, row) in self.w_in.iter_mut().enumerate() {
                    let rows_at = trains.inputs.of(i);
                    if !rows_at.is_empty() {
                        add_rows_at(&mut row[own.clone()], tile, rows_at, 0);
                    }
                }
            }
            // The last batch may be shorter: what stands after its trials is zero or not read.
        }
    }
}

/// The events of a batch of trials as rows of the tile, per presynaptic neuron or input.
struct Trains {
    /// Row of each spike itself; its effect is `delay` rows later.
    spikes: Lists,
    /// Row of each input event.
    inputs: Lists,
}

impl Trains {
    fn new(
        run: &Run,
        spikes: &SpikeBits,
        history: &SpikeBits,
        trials: Range<usize>,
        n: usize,
        n_in: usize,
        h: usize,
    ) -> Self {
        let steps = run.n_steps;
        let inputs = Lists::new(n_in, |push| {
            if let Some(events) = &run.events {
                for (i, k) in trials.clone().enumerate() {
                    for t in 0..steps {
                        for &input in events.at(k, run.n_warmup + t) {
                            push(input as usize, i * (steps + h) + h + t);
                        }
                    }
                }
            }
        });
        let spikes = Lists::new(n, |push| {
            for (i, k) in trials.clone().enumerate() {
                for age in 0..h {
                    for_each_set(history.row(k, age), |neuron| push(neuron, i * (steps + h) + age));
                }
                for t in 0..steps {
                    for_each_set(spikes.row(k, t), |neuron| push(neuron, i * (steps + h) + h + t));
                }
            }
        });
        Self { spikes, inputs }
    }
}

/// Lists of rows, one after the other.
struct Lists {
    ends: Vec<u32>,
    rows: Vec<u32>,
}

impl Lists {
    /// Sorts the pairs (list, row) that `visit` pushes, ascending within each list if they come so; visits twice.
    fn new(count: usize, visit: impl Fn(&mut dyn FnMut(usize, usize))) -> Self {
        let mut ends = vec![0u32; count + 1];
        visit(&mut |i, _| ends[i + 1] += 1);
        for i in 0..count {
            ends[i + 1] += ends[i];
        }
        let mut rows = vec![0u32; ends[count] as usize];
        // Each start moves to its list's end.
        visit(&mut |i, row| {
            rows[ends[i] as usize] = row as u32;
            ends[i] += 1;
        });
        ends.pop();
        Self { ends, rows }
    }

    fn of(&self, i: usize) -> &[u32] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.rows[start as usize..self.ends[i] as usize]
    }
}

vectorized! {
    /// `row [≤ COLUMNS] += Σ tile[at + delay]` over rows of `tile [·][COLUMNS]`.
    fn add_rows_at(row: &mut [f32], tile: &[f32], rows_at: &[u32], delay: usize) {
        let (tile, _) = tile.as_chunks::<COLUMNS>();
        let mut acc = [0.0f32; COLUMNS];
        for at in rows_at {
            for (a, x) in acc.iter_mut().zip(&tile[*at as usize + delay]) {
                *a += x;
            }
        }
        for (o, a) in row.iter_mut().zip(&acc) {
            *o += a;
        }
    }
}
