//! Backward pass: potentials become δ in place, tile by tile; then weight gradients, spike by spike.

use super::dense::Packed;
use super::forward::{Prepared, copy_row};
use super::kernels::{self, BackRow, Constants};
use crate::CoreError;
use crate::bits::{SpikeBits, for_each_set};
use crate::rng::{self, Place};
use crate::rollout::gradients::Totals;
use crate::rollout::{Gradients, Network, Noise, Rollout, Run, SpikeAdjoint, Wanted};
use ndarray::{Array1, Array3, s};
use rayon::prelude::*;

/// Back-propagates `dL/dz` (and `dL/dp`) through `rollout`, which must hold its potentials; they are used up.
///
/// Beyond the rollout it allocates one [N] row set per trial and a few rows per tile, never a [K, T, N] array.
///
/// # Errors
/// When the potentials were not kept or an array doesn't fit.
pub fn backpropagate(
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
    let h = network.max_delay();
    let prepared = Prepared::new(network);
    let context = Context {
        network,
        run,
        packed: prepared
            .delay_slices()
            .into_iter()
            .map(|w| Packed::new(w, n, n))
            .collect(),
        prepared,
        spikes: &spikes,
        refractory: &refractory,
        history: &start.history,
        adjoint,
        d_probabilities,
        wanted,
    };
    let mut sums = vec![TrialSums::new(n, wanted, h); k];
    let mut gradients = Gradients::zeros(network, run, wanted);
    if k > 0 && t > 0 && n > 0 {
        let tile = tile_size(k);
        let all = delta.as_slice_mut().expect("standard layout");
        all.par_chunks_mut(tile * t * n)
            .zip(sums.par_chunks_mut(tile))
            .enumerate()
            .for_each(|(i, (delta, sums))| context.tile(i * tile, delta, sums));
        context.weight_gradients(all, &mut gradients);
    }
    context.reduce(&sums, &delta, &mut gradients);
    Ok(gradients)
}

/// Trials of one tile: a function of K alone, so that results don't depend on the number of threads.
fn tile_size(k: usize) -> usize {
    k.div_ceil(2 * k.div_ceil(100)).max(1)
}

/// Sums over time of one trial.
#[derive(Clone)]
struct TrialSums {
    /// Σ_t δ.
    delta: Vec<f32>,
    /// Σ_t z α δ(t + 1).
    reset: Vec<f32>,
    /// Σ_t ε δ.
    noise: Vec<f32>,
    /// dL/dz before the first step, `[H, N]`, oldest first.
    history: Vec<f32>,
}

impl TrialSums {
    fn new(n: usize, wanted: Wanted, h: usize) -> Self {
        let rows = |asked: bool, rows: usize| vec![0.0; if asked { rows * n } else { 0 }];
        Self {
            delta: rows(true, 1),
            reset: rows(true, 1),
            noise: rows(wanted.noise, 1),
            history: rows(wanted.history, h),
        }
    }
}

struct Context<'a> {
    network: &'a Network,
    run: &'a Run,
    prepared: Prepared<'a>,
    /// One packed matrix per delay.
    packed: Vec<Packed>,
    spikes: &'a SpikeBits,
    refractory: &'a SpikeBits,
    history: &'a SpikeBits,
    adjoint: &'a SpikeAdjoint,
    d_probabilities: Option<&'a Array3<f32>>,
    wanted: Wanted,
}

/// g δ of the last steps, as rows [time slot][trial of the tile][N].
struct Ring {
    slots: usize,
    row_block: usize,
    values: Vec<f32>,
}

impl Ring {
    fn block_mut(&mut self, t: usize) -> &mut [f32] {
        let start = t % self.slots * self.row_block;
        &mut self.values[start..start + self.row_block]
    }

    /// Consecutive times `from..from + count` as one or two runs of rows: (first time, rows).
    fn runs(&self, from: usize, count: usize) -> impl Iterator<Item = (usize, &[f32])> {
        let start = from % self.slots;
        let first = count.min(self.slots - start);
        let part = move |slot: usize, len: usize| &self.values[slot * self.row_block..(slot + len) * self.row_block];
        [(from, part(start, first)), (from + first, part(0, count - first))]
            .into_iter()
            .filter(|(_, rows)| !rows.is_empty())
    }
}

impl Context<'_> {
    /// The time loop backwards for the trials from `first`; `delta` holds their potentials, then their δ.
    fn tile(&self, first: usize, delta: &mut [f32], sums: &mut [TrialSums]) {
        let (network, n, t_end, h) = (
            self.network,
            self.network.n_neurons(),
            self.run.n_steps,
            self.network.max_delay(),
        );
        let m = sums.len();
        let constants = self.prepared.constants();
        // Steps of a block depend only on later blocks, because every delay is at least `block` steps.
        let block = network.delays.iter().copied().min().unwrap_or(1).clamp(1, t_end);
        let mut ring = Ring {
            slots: h + block,
            row_block: m * n,
            values: vec![0.0; (h + block) * m * n],
        };
        let mut dz = vec![0.0f32; block * m * n];
        let mut carry = vec![0.0f32; m * n];
        let mut row = RowScratch::new(n);
        let mut end = t_end;
        while end > 0 {
            let begin = end.saturating_sub(block);
            let dz = &mut dz[..(end - begin) * m * n];
            self.adjoint_rows(first, begin, m, dz);
            for (w, delay) in self.packed.iter().zip(&network.delays) {
                let from = begin + delay;
                let count = (end + delay).min(t_end).saturating_sub(from);
                for (time, rows) in ring.runs(from, count) {
                    let at = (time - from) * m * n;
                    w.add_product(rows, &mut dz[at..at + rows.len()], &mut row.packed);
                }
            }
            for t in (begin..end).rev() {
                let scaled = ring.block_mut(t);
                for i in 0..m {
                    let dz = &dz[((t - begin) * m + i) * n..((t - begin) * m + i + 1) * n];
                    let potential = &mut delta[(i * t_end + t) * n..(i * t_end + t + 1) * n];
                    self.step(
                        &constants,
                        first + i,
                        t,
                        dz,
                        potential,
                        &mut carry[i * n..(i + 1) * n],
                        &mut scaled[i * n..(i + 1) * n],
                        &mut sums[i],
                        &mut row,
                    );
                }
            }
            end = begin;
        }
        if self.wanted.history {
            self.history_gradient(&ring, sums);
        }
    }

    /// Rows of dL/dz from the losses, for a block of steps.
    fn adjoint_rows(&self, first: usize, begin: usize, m: usize, dz: &mut [f32]) {
        let n = self.network.n_neurons();
        dz.fill(0.0);
        for (r, row) in dz.chunks_mut(n).enumerate() {
            self.adjoint.add_row(first + r % m, begin + r / m, row);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn step(
        &self,
        constants: &Constants<'_>,
        k: usize,
        t: usize,
        dz: &[f32],
        potential: &mut [f32],
        carry: &mut [f32],
        scaled: &mut [f32],
        sums: &mut TrialSums,
        scratch: &mut RowScratch,
    ) {
        for_each_set(self.spikes.row(k, t), |i| sums.reset[i] += carry[i]);
        scratch.free.fill(1.0);
        for_each_set(self.refractory.row(k, t), |i| scratch.free[i] = 0.0);
        if let Some(clamp) = &self.run.clamp {
            for (free, until) in scratch.free.iter_mut().zip(clamp.until.row(k)) {
                if (t as u32) < *until {
                    *free = 0.0;
                }
            }
        }
        let dp = self.d_probabilities.map(|dp| copy_row(dp, k, t, &mut scratch.dp));
        let mut row = BackRow {
            dz,
            dp,
            free: &scratch.free,
            potential,
            carry,
            scaled,
            sum: &mut sums.delta,
        };
        kernels::back(constants, self.network.surrogate, &mut row);
        if self.wanted.noise {
            let time = self.run.n_warmup + t;
            let normals = match &self.run.noise {
                Noise::Philox { key, step, first_trial } => {
                    let place = Place {
                        time: time as u32,
                        trial: first_trial.wrapping_add(k as u32),
                        step: *step,
                    };
                    rng::fill_normals(*key, place, &mut scratch.normals);
                    &scratch.normals[..]
                }
                Noise::Given { normals, .. } => copy_row(normals, k, time, &mut scratch.normals),
            };
            kernels::add_products(&mut sums.noise, normals, row.potential);
        }
    }

    /// dL/dz of the steps before the first: `Σ_d W_dᵀ (g δ)(delay_d − age)`.
    fn history_gradient(&self, ring: &Ring, sums: &mut [TrialSums]) {
        let (n, h, t_end) = (self.network.n_neurons(), self.network.max_delay(), self.run.n_steps);
        let (mut out, mut packed) = (vec![0.0f32; ring.row_block], Vec::new());
        for age in 1..=h {
            out.fill(0.0);
            for (w, delay) in self.packed.iter().zip(&self.network.delays) {
                if let Some(t) = delay.checked_sub(age).filter(|t| *t < t_end) {
                    for (_, rows) in ring.runs(t, 1) {
                        w.add_product(rows, &mut out, &mut packed);
                    }
                }
            }
            for (sums, row) in sums.iter_mut().zip(out.chunks(n)) {
                sums.history[(h - age) * n..(h - age + 1) * n].copy_from_slice(row);
            }
        }
    }

    /// dW and dW_in: each thread owns a range of presynaptic rows and reads all δ in (trial, time) order.
    fn weight_gradients(&self, delta: &[f32], gradients: &mut Gradients) {
        let n = self.network.n_neurons();
        let n_in = self.network.w_in.nrows();
        let parts = rayon::current_num_threads().clamp(1, n);
        let cut = |size: usize, part: usize| size * part / parts;
        let mut rows: Vec<PreRows<'_>> = (0..parts)
            .map(|part| PreRows {
                neurons: cut(n, part)..cut(n, part + 1),
                inputs: cut(n_in, part)..cut(n_in, part + 1),
                w: Vec::new(),
                w_in: &mut [],
            })
            .collect();
        for mut matrix in gradients.w.as_slice_mut().expect("standard layout").chunks_mut(n * n) {
            for part in &mut rows {
                let (own, rest) = std::mem::take(&mut matrix).split_at_mut(part.neurons.len() * n);
                part.w.push(own);
                matrix = rest;
            }
        }
        let mut inputs = gradients.w_in.as_slice_mut().expect("standard layout");
        for part in &mut rows {
            let (own, rest) = std::mem::take(&mut inputs).split_at_mut(part.inputs.len() * n);
            part.w_in = own;
            inputs = rest;
        }
        rows.into_par_iter().for_each(|part| self.accumulate(delta, part));
    }

    fn accumulate(&self, delta: &[f32], mut part: PreRows<'_>) {
        let (n, t_end) = (self.network.n_neurons(), self.run.n_steps);
        let h = self.network.max_delay();
        let words = part.neurons.start / 64..part.neurons.end.div_ceil(64);
        for k in 0..self.run.n_trials {
            for t in 0..t_end {
                let row = &delta[(k * t_end + t) * n..(k * t_end + t + 1) * n];
                for (d, delay) in self.network.delays.iter().enumerate() {
                    let spikes = if t >= *delay {
                        self.spikes.row(k, t - delay)
                    } else {
                        self.history.row(k, h + t - delay)
                    };
                    for_each_set(&spikes[words.clone()], |bit| {
                        let i = words.start * 64 + bit;
                        if part.neurons.contains(&i) {
                            let at = (i - part.neurons.start) * n;
                            kernels::add_row(&mut part.w[d][at..at + n], row);
                        }
                    });
                }
                if let Some(events) = &self.run.events {
                    for &i in events.at(k, self.run.n_warmup + t) {
                        let i = i as usize;
                        if part.inputs.contains(&i) {
                            let at = (i - part.inputs.start) * n;
                            kernels::add_row(&mut part.w_in[at..at + n], row);
                        }
                    }
                }
            }
        }
    }

    /// From sums per trial to gradients: f64, trials in order.
    fn reduce(&self, sums: &[TrialSums], delta: &Array3<f32>, gradients: &mut Gradients) {
        let network = self.network;
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
        if self.run.n_steps > 0 {
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
            noise: self.wanted.noise.then(|| total(&|s| &s.noise)),
        };
        gradients.finish(network, &totals);
        if let Some(offset) = &mut gradients.trial_offset {
            for (mut row, trial) in offset.rows_mut().into_iter().zip(sums) {
                row.assign(&ndarray::ArrayView1::from(&trial.delta));
            }
        }
        if let Some(history) = &mut gradients.history {
            for (mut block, trial) in history.outer_iter_mut().zip(sums) {
                for (to, from) in block.iter_mut().zip(&trial.history) {
                    *to = *from;
                }
            }
        }
        if let (Some(out), Some(drive)) = (&mut gradients.drive, &self.run.drive) {
            for (k, block) in delta.outer_iter().enumerate() {
                let mut sum = out.slice_mut(s![drive.index[k], .., ..]);
                sum += &block;
            }
        }
    }
}

/// Presynaptic rows that one thread owns.
struct PreRows<'a> {
    neurons: std::ops::Range<usize>,
    inputs: std::ops::Range<usize>,
    w: Vec<&'a mut [f32]>,
    w_in: &'a mut [f32],
}

struct RowScratch {
    free: Vec<f32>,
    dp: Vec<f32>,
    normals: Vec<f32>,
    /// Rows packed for the dense product.
    packed: Vec<f32>,
}

impl RowScratch {
    fn new(n: usize) -> Self {
        Self {
            free: vec![1.0; n],
            dp: vec![0.0; n],
            normals: vec![0.0; n],
            packed: Vec::new(),
        }
    }
}
