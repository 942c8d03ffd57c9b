//! The time loop backwards.
//!
//! A tile is a group of trials that go back through time together. At each step (or block of steps that don't depend
//! on each other) it makes the product of g δ with the weights, panel by panel of presynaptic neurons, then the rest
//! of the step, block by block of trials. With fewer tiles than threads, panels and blocks are shared out as well.
//! Results depend on neither tiles, blocks nor threads.

use super::aligned::Buffer;
use super::dense::{self, PANEL, Packed};
use super::forward::copy_row;
use super::kernels::{self, BackRow, Constants};
use super::sampled;
use crate::bits::{SpikeBits, for_each_set};
use crate::rng::{self, Place};
use crate::rollout::{Network, Noise, Run, SpikeAdjoint, Wanted};
use crate::surrogate::Surrogate;
use ndarray::Array3;
use rayon::prelude::*;
use std::ops::Range;

/// Trials of a tile at most: enough to make use of weights once they are read, few enough for their own rows.
const TILE: usize = 64;

/// Trials of a tile for which it is worth reading weights that don't fit a core's own cache.
const WORTHWHILE: usize = 24;

/// Bytes of weights that stay in a core's own cache.
const SMALL: usize = 1 << 20;

/// How the product with the weights is computed.
pub(super) enum Product {
    /// Every entry.
    Dense(Packed),
    /// Where the surrogate derivative isn't 0.
    Sampled(sampled::Rows),
}

impl Product {
    /// Sampled where the surrogate is exactly 0 at many entries: a triangle, or cut off by a floor.
    pub(super) fn new(network: &Network, w: &[&[f32]]) -> Self {
        if matches!(network.surrogate, Surrogate::Triangle { .. }) || network.surrogate_floor > 0.0 {
            Self::Sampled(sampled::Rows::new(network, w))
        } else {
            Self::Dense(Packed::new(network, w))
        }
    }

    fn is_sampled(&self) -> bool {
        matches!(self, Self::Sampled(_))
    }

    fn rows_per_block(&self, m: usize) -> usize {
        match self {
            Self::Dense(_) => dense::rows_per_block(m),
            Self::Sampled(_) => sampled::rows_per_block(m),
        }
    }

    /// Values that a row of N becomes in the ring.
    fn row_length(&self, n: usize) -> usize {
        match self {
            Self::Dense(_) => n,
            Self::Sampled(_) => sampled::Layout::new(n).row(),
        }
    }
}

/// Sums over time of one trial.
#[derive(Clone)]
pub(super) struct TrialSums {
    /// Σ_t δ.
    pub(super) delta: Vec<f32>,
    /// Σ_t z α δ(t + 1).
    pub(super) reset: Vec<f32>,
    /// Σ_t ε δ.
    pub(super) noise: Vec<f32>,
    /// dL/dz before the first step, `[H, N]`, oldest first.
    pub(super) history: Vec<f32>,
}

impl TrialSums {
    pub(super) fn new(n: usize, wanted: Wanted, h: usize) -> Self {
        let rows = |asked: bool, rows: usize| vec![0.0; if asked { rows * n } else { 0 }];
        Self {
            delta: rows(true, 1),
            reset: rows(true, 1),
            noise: rows(wanted.noise, 1),
            history: rows(wanted.history, h),
        }
    }
}

/// All that the tiles read.
pub(super) struct Tiles<'a> {
    pub(super) network: &'a Network,
    pub(super) run: &'a Run,
    pub(super) constants: Constants<'a>,
    pub(super) product: Product,
    pub(super) spikes: &'a SpikeBits,
    pub(super) refractory: &'a SpikeBits,
    pub(super) adjoint: &'a SpikeAdjoint,
    pub(super) d_probabilities: Option<&'a Array3<f32>>,
    pub(super) wanted: Wanted,
}

/// Trials of a tile that are processed together, with all that they write.
struct Block<'a> {
    /// First trial.
    first: usize,
    /// Potentials, then δ, `[rows][T][N]`.
    delta: &'a mut [f32],
    sums: &'a mut [TrialSums],
    /// α δ(t + 1), `[rows][N]`.
    carry: Vec<f32>,
    /// g δ of the last steps as the product reads it, `[slots]` of R rows.
    ring: Buffer,
    slots: usize,
    /// g δ of this step, `[rows][N]`.
    scaled: Vec<f32>,
    /// ψ of the steps of a time block, `[step][rows][N]`; empty for the dense product.
    psi: Vec<f32>,
    /// Rows with ψ ≠ 0, a bit each, `[step][N]`; empty for the dense product.
    active: Vec<u32>,
    scratch: Scratch,
}

/// Rows of one block's step.
struct Scratch {
    dz: Vec<f32>,
    free: Vec<f32>,
    dp: Vec<f32>,
    normals: Vec<f32>,
}

impl Block<'_> {
    /// What the product reads of step t.
    fn ring_at(&self, t: usize) -> &[f32] {
        let size = self.ring.len() / self.slots;
        &self.ring[t % self.slots * size..][..size]
    }
}

/// Shape of the products of a time block, `[panel][step][block][R][PANEL]`.
#[derive(Clone, Copy)]
struct Shape {
    n_blocks: usize,
    rows_per_block: usize,
    /// Values of one panel.
    panel: usize,
}

impl Shape {
    /// Where row `r` of block `b` stands in panel `p` at the time block's step `step`.
    fn at(self, p: usize, step: usize, b: usize, r: usize) -> usize {
        p * self.panel + ((step * self.n_blocks + b) * self.rows_per_block + r) * PANEL
    }
}

/// `f` for each item, on the threads of the pool or one after the other.
fn share<T: Send>(is_shared: bool, items: &mut [T], f: impl Fn(usize, &mut T) + Sync + Send) {
    if is_shared {
        items.par_iter_mut().enumerate().for_each(|(i, item)| f(i, item));
    } else {
        items.iter_mut().enumerate().for_each(|(i, item)| f(i, item));
    }
}

impl Tiles<'_> {
    /// Potentials `[K, T, N]` become δ.
    pub(super) fn run(&self, delta: &mut [f32], sums: &mut [TrialSums]) {
        let (tile, is_shared) = self.tile_size(sums.len());
        delta
            .par_chunks_mut(tile * self.run.n_steps * self.network.n_neurons())
            .zip(sums.par_chunks_mut(tile))
            .enumerate()
            .for_each(|(i, (delta, sums))| self.tile(i * tile, is_shared, delta, sums));
    }

    /// Trials of one tile of `k`, and whether its steps are shared out among threads.
    fn tile_size(&self, k: usize) -> (usize, bool) {
        let threads = rayon::current_num_threads();
        let is_small = size_of_val(self.network.w.as_slice().unwrap_or_default()) <= SMALL;
        let worthwhile = if is_small { 1 } else { WORTHWHILE };
        let mut count = k.div_ceil(TILE);
        if k >= threads * worthwhile {
            count = count.next_multiple_of(threads);
        }
        (k.div_ceil(count), count < threads)
    }

    /// The time loop backwards for the trials from `first`; `delta` holds their potentials, then their δ.
    fn tile(&self, first: usize, is_shared: bool, delta: &mut [f32], sums: &mut [TrialSums]) {
        let (n, t_end, h) = (self.network.n_neurons(), self.run.n_steps, self.network.max_delay());
        // Steps of a time block depend only on later ones, because every delay is at least as long.
        let steps = self.network.delays.iter().copied().min().unwrap_or(1).clamp(1, t_end);
        let r = self.product.rows_per_block(sums.len());
        let sampled_steps = if self.product.is_sampled() { steps } else { 0 };
        let mut blocks: Vec<Block<'_>> = delta
            .chunks_mut(r * t_end * n)
            .zip(sums.chunks_mut(r))
            .enumerate()
            .map(|(b, (delta, sums))| Block {
                first: first + b * r,
                delta,
                carry: vec![0.0; sums.len() * n],
                ring: Buffer::zeros((h + steps) * r * self.product.row_length(n)),
                slots: h + steps,
                scaled: vec![0.0; sums.len() * n],
                psi: vec![0.0; sampled_steps * sums.len() * n],
                active: vec![0; sampled_steps * n],
                scratch: Scratch {
                    dz: vec![0.0; n],
                    free: vec![1.0; n],
                    dp: vec![0.0; n],
                    normals: vec![0.0; n],
                },
                sums,
            })
            .collect();
        let shape = Shape {
            n_blocks: blocks.len(),
            rows_per_block: r,
            panel: steps * blocks.len() * r * PANEL,
        };
        let mut products = Buffer::zeros(n.div_ceil(PANEL) * shape.panel);
        let mut end = t_end;
        while end > 0 {
            let times = end.saturating_sub(steps)..end;
            if self.product.is_sampled() {
                share(is_shared, &mut blocks, |_, block| self.surrogate(block, times.clone()));
            }
            self.products(&blocks, times.clone(), shape, is_shared, &mut products);
            share(is_shared, &mut blocks, |b, block| {
                for t in times.clone().rev() {
                    self.step(block, b, t, t - times.start, shape, &products);
                }
            });
            end = times.start;
        }
        if self.wanted.history {
            self.history_gradient(&mut blocks, shape, &mut products);
        }
    }

    /// `Σ_d W_dᵀ (g δ)(t + delay_d)` of the steps `times`.
    fn products(&self, blocks: &[Block<'_>], times: Range<usize>, shape: Shape, is_shared: bool, out: &mut [f32]) {
        let (t_end, count) = (self.run.n_steps, blocks.len());
        // Blocks of the product: step by step, block by block.
        let rows = |b: usize, d: usize| {
            let t = times.start + b / count + self.network.delays[d];
            (t < t_end).then(|| blocks[b % count].ring_at(t))
        };
        let n = self.network.n_neurons();
        let active = |b: usize| &blocks[b % count].active[b / count * n..][..n];
        let used = times.len() * count * shape.rows_per_block * PANEL;
        let panel = |p: usize, out: &mut [f32]| match &self.product {
            Product::Dense(packed) => packed.product(p, shape.rows_per_block, &rows, &mut out[..used]),
            Product::Sampled(w) => w.product(p, shape.rows_per_block, &active, &rows, &mut out[..used]),
        };
        if is_shared {
            out.par_chunks_mut(shape.panel)
                .enumerate()
                .for_each(|(p, out)| panel(p, out));
        } else {
            out.chunks_mut(shape.panel)
                .enumerate()
                .for_each(|(p, out)| panel(p, out));
        }
    }

    /// ψ of the steps `times`, and which rows have any.
    fn surrogate(&self, block: &mut Block<'_>, times: Range<usize>) {
        let (n, t_end) = (self.network.n_neurons(), self.run.n_steps);
        let rows = block.sums.len();
        block.active.fill(0);
        for (step, t) in times.enumerate() {
            for i in 0..rows {
                self.free(block.first + i, t, &mut block.scratch.free);
                kernels::surrogate(
                    &self.constants,
                    self.network.surrogate,
                    self.network.surrogate_floor,
                    &block.delta[(i * t_end + t) * n..][..n],
                    &block.scratch.free,
                    &mut block.psi[(step * rows + i) * n..][..n],
                    1 << i,
                    &mut block.active[step * n..][..n],
                );
            }
        }
    }

    /// 1 where a spike may move (neither clamped nor refractory), else 0.
    fn free(&self, k: usize, t: usize, free: &mut [f32]) {
        free.fill(1.0);
        for_each_set(self.refractory.row(k, t), |i| free[i] = 0.0);
        if let Some(clamp) = &self.run.clamp {
            for (free, until) in free.iter_mut().zip(clamp.until.row(k)) {
                if (t as u32) < *until {
                    *free = 0.0;
                }
            }
        }
    }

    /// One step of one block, the products being there.
    fn step(&self, block: &mut Block<'_>, b: usize, t: usize, step: usize, shape: Shape, products: &[f32]) {
        let (n, t_end) = (self.network.n_neurons(), self.run.n_steps);
        let rows = block.sums.len();
        for i in 0..rows {
            let (k, scratch, sums) = (block.first + i, &mut block.scratch, &mut block.sums[i]);
            for (p, dz) in scratch.dz.chunks_mut(PANEL).enumerate() {
                dz.copy_from_slice(&products[shape.at(p, step, b, i)..][..dz.len()]);
            }
            self.adjoint.add_row(k, t, &mut scratch.dz);
            let carry = &mut block.carry[i * n..][..n];
            for_each_set(self.spikes.row(k, t), |i| sums.reset[i] += carry[i]);
            let dp = self.d_probabilities.map(|dp| copy_row(dp, k, t, &mut scratch.dp));
            let psi = if self.product.is_sampled() {
                Some(&block.psi[(step * rows + i) * n..][..n])
            } else {
                self.free(k, t, &mut scratch.free);
                None
            };
            let mut row = BackRow {
                dz: &scratch.dz,
                dp,
                free: &scratch.free,
                psi,
                potential: &mut block.delta[(i * t_end + t) * n..][..n],
                carry,
                scaled: &mut block.scaled[i * n..][..n],
                sum: &mut sums.delta,
            };
            kernels::back(&self.constants, self.network.surrogate, &mut row);
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
        let size = block.ring.len() / block.slots;
        let slot = &mut block.ring[t % block.slots * size..][..size];
        match &self.product {
            Product::Dense(_) => dense::pack_rows(&block.scaled, n, shape.rows_per_block, slot),
            Product::Sampled(_) => sampled::Layout::new(n).put(&block.scaled, shape.rows_per_block, slot),
        }
    }

    /// dL/dz of the steps before the first: `Σ_d W_dᵀ (g δ)(delay_d − age)`.
    fn history_gradient(&self, blocks: &mut [Block<'_>], shape: Shape, products: &mut [f32]) {
        let (n, h, t_end) = (self.network.n_neurons(), self.network.max_delay(), self.run.n_steps);
        let everywhere: Vec<Vec<u32>> = blocks
            .iter()
            .map(|block| vec![((1u64 << block.sums.len()) - 1) as u32; n])
            .collect();
        for age in 1..=h {
            let read = &*blocks;
            let rows = |b: usize, d: usize| {
                let t = self.network.delays[d].checked_sub(age).filter(|t| *t < t_end);
                t.map(|t| read[b].ring_at(t))
            };
            let active = |b: usize| &everywhere[b][..];
            for (p, out) in products.chunks_mut(shape.panel).enumerate() {
                let out = &mut out[..shape.n_blocks * shape.rows_per_block * PANEL];
                match &self.product {
                    Product::Dense(packed) => packed.product(p, shape.rows_per_block, &rows, out),
                    Product::Sampled(w) => w.product(p, shape.rows_per_block, &active, &rows, out),
                }
            }
            for (b, block) in blocks.iter_mut().enumerate() {
                for (i, sums) in block.sums.iter_mut().enumerate() {
                    let row = &mut sums.history[(h - age) * n..(h - age + 1) * n];
                    for (p, to) in row.chunks_mut(PANEL).enumerate() {
                        to.copy_from_slice(&products[shape.at(p, 0, b, i)..][..to.len()]);
                    }
                }
            }
        }
    }
}
