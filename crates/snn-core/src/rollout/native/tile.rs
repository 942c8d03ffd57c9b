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
use super::{Precision, fixed, sampled};
use crate::bits::{SpikeBits, for_each_set};
use crate::rng::{self, Place};
use crate::rollout::feedback::LoopBack;
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
    /// Every entry, in 16-bit fixed point.
    Fixed(fixed::Packed),
}

/// Share of the largest surrogate derivative from which on a floor leaves so few entries (a fifth, at the published
/// temperature) that it pays to choose them.
const SPARSE: f32 = 0.02;

impl Product {
    /// Dense in the given precision, or sampled where the surrogate is 0 at most entries: a triangle, or a high floor.
    pub(super) fn new(network: &Network, w: &[&[f32]], precision: Precision) -> Self {
        let is_sparse = matches!(network.surrogate, Surrogate::Triangle { .. }) || network.surrogate_floor >= SPARSE;
        match precision {
            Precision::Int16 => Self::Fixed(fixed::Packed::new(network, w)),
            Precision::Single if is_sparse => Self::Sampled(sampled::Rows::new(network, w)),
            Precision::Single => Self::Dense(Packed::new(network, w)),
        }
    }

    fn is_sampled(&self) -> bool {
        matches!(self, Self::Sampled(_))
    }

    fn rows_per_block(&self, m: usize) -> usize {
        match self {
            Self::Dense(_) => dense::rows_per_block(m),
            Self::Sampled(_) => sampled::rows_per_block(m),
            Self::Fixed(_) => fixed::rows_per_block(m),
        }
    }

    /// Room for the rows of `slots` steps.
    fn ring(&self, slots: usize, n: usize, rows_per_block: usize) -> Ring {
        let float = |row: usize| Ring::Single {
            slots,
            values: Buffer::zeros(slots * rows_per_block * row),
        };
        match self {
            Self::Dense(_) => float(n),
            Self::Sampled(_) => float(sampled::Layout::new(n).row()),
            Self::Fixed(_) => Ring::Int16(vec![fixed::Rows::zeros(n, rows_per_block); slots]),
        }
    }
}

/// g δ of the last steps, as the product reads it: a slot of R rows for each.
enum Ring {
    Single { slots: usize, values: Buffer },
    Int16(Vec<fixed::Rows>),
}

impl Ring {
    fn single(&self, t: usize) -> &[f32] {
        match self {
            Self::Single { slots, values } => {
                let size = values.len() / slots;
                &values[t % slots * size..][..size]
            }
            Self::Int16(_) => &[],
        }
    }

    fn int16(&self, t: usize) -> Option<&fixed::Rows> {
        match self {
            Self::Single { .. } => None,
            Self::Int16(rows) => rows.get(t % rows.len()),
        }
    }

    /// Puts row-major `rows [≤ R, N]` into the slot of step t.
    fn put(&mut self, product: &Product, t: usize, rows: &[f32], n: usize, rows_per_block: usize) {
        match self {
            Self::Single { slots, values } => {
                let size = values.len() / *slots;
                let slot = &mut values[t % *slots * size..][..size];
                match product {
                    Product::Sampled(_) => sampled::Layout::new(n).put(rows, rows_per_block, slot),
                    Product::Dense(_) | Product::Fixed(_) => dense::pack_rows(rows, n, rows_per_block, slot),
                }
            }
            Self::Int16(slots) => {
                let count = slots.len();
                slots[t % count].put(rows, n);
            }
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
    /// dL/dy of the closed loop's traces through the network, `[T, B]`.
    pub(super) traces: Vec<f64>,
}

impl TrialSums {
    pub(super) fn new(n: usize, wanted: Wanted, h: usize, trace_values: usize) -> Self {
        let rows = |asked: bool, rows: usize| vec![0.0; if asked { rows * n } else { 0 }];
        Self {
            delta: rows(true, 1),
            reset: rows(true, 1),
            noise: rows(wanted.noise, 1),
            history: rows(wanted.history, h),
            traces: vec![0.0; trace_values],
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
    /// Filter of the closed loop's traces, `[K, T, B]`.
    pub(super) traces: Option<&'a Array3<f64>>,
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
    ring: Ring,
    /// g δ of this step, `[rows][N]`.
    scaled: Vec<f32>,
    /// ψ of the steps of a time block, `[step][rows][N]`; empty where it isn't needed beforehand.
    psi: Vec<f32>,
    /// Rows with ψ ≠ 0, a bit each, `[step][N]`; empty likewise.
    active: Vec<u32>,
    /// The closed loop of each row; empty without one.
    loops: Vec<LoopBack>,
    scratch: Scratch,
}

/// Rows of one block's step.
struct Scratch {
    dz: Vec<f32>,
    free: Vec<f32>,
    dp: Vec<f32>,
    normals: Vec<f32>,
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

    /// Whether ψ is computed before the product: to choose entries, or to cut it off.
    fn needs_psi(&self) -> bool {
        self.product.is_sampled() || self.network.surrogate_floor > 0.0
    }

    /// Trials of one tile of `k`, and whether its steps are shared out among threads.
    fn tile_size(&self, k: usize) -> (usize, bool) {
        let threads = rayon::current_num_threads();
        let is_small = size_of::<f32>() * self.network.w.len() <= SMALL;
        let worthwhile = if is_small { 1 } else { WORTHWHILE };
        let mut count = k.div_ceil(TILE);
        if k >= threads * worthwhile {
            count = count.next_multiple_of(threads);
        }
        let tile = k.div_ceil(count);
        (tile, k.div_ceil(tile) < threads)
    }

    /// The time loop backwards for the trials from `first`; `delta` holds their potentials, then their δ.
    fn tile(&self, first: usize, is_shared: bool, delta: &mut [f32], sums: &mut [TrialSums]) {
        let (n, t_end, h) = (self.network.n_neurons(), self.run.n_steps, self.network.max_delay());
        // Steps of a time block depend only on later ones, because every delay is at least as long.
        let steps = self.network.delays.iter().copied().min().unwrap_or(1).clamp(1, t_end);
        let r = self.product.rows_per_block(sums.len());
        let psi_steps = if self.needs_psi() { steps } else { 0 };
        let mut blocks: Vec<Block<'_>> = delta
            .chunks_mut(r * t_end * n)
            .zip(sums.chunks_mut(r))
            .enumerate()
            .map(|(b, (delta, sums))| Block {
                first: first + b * r,
                delta,
                carry: vec![0.0; sums.len() * n],
                ring: self.product.ring(h + steps, n, r),
                scaled: vec![0.0; sums.len() * n],
                psi: vec![0.0; psi_steps * sums.len() * n],
                active: vec![0; psi_steps * n],
                loops: match &self.network.feedback {
                    Some(feedback) => sums.iter().map(|_| LoopBack::new(feedback)).collect(),
                    None => Vec::new(),
                },
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
            if self.needs_psi() {
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
        let at = |b: usize, d: usize| {
            let t = times.start + b / count + self.network.delays[d];
            (t < t_end).then_some((t, &blocks[b % count].ring))
        };
        let rows = |b: usize, d: usize| at(b, d).map(|(t, ring)| ring.single(t));
        let rounded = |b: usize, d: usize| at(b, d).and_then(|(t, ring)| ring.int16(t));
        let n = self.network.n_neurons();
        let active = |b: usize| &blocks[b % count].active[b / count * n..][..n];
        let used = times.len() * count * shape.rows_per_block * PANEL;
        let panel = |p: usize, out: &mut [f32]| match &self.product {
            Product::Dense(w) => w.product(p, shape.rows_per_block, &rows, &mut out[..used]),
            Product::Sampled(w) => w.product(p, shape.rows_per_block, &active, &rows, &mut out[..used]),
            Product::Fixed(w) => w.product(p, shape.rows_per_block, &rounded, &mut out[..used]),
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
            let closed = self.network.feedback.as_ref().zip(block.loops.get_mut(i));
            if let (Some((feedback, back)), Some(traces)) = (closed, self.traces) {
                let b = feedback.n_traces();
                let filter = traces.slice(ndarray::s![k, t, ..]);
                back.spikes(
                    feedback,
                    t,
                    filter,
                    &mut scratch.dz,
                    &mut sums.traces[t * b..(t + 1) * b],
                );
            }
            let carry = &mut block.carry[i * n..][..n];
            for_each_set(self.spikes.row(k, t), |i| sums.reset[i] += carry[i]);
            let dp = self.d_probabilities.map(|dp| copy_row(dp, k, t, &mut scratch.dp));
            let psi = if self.needs_psi() {
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
            if let Some((feedback, back)) = self.network.feedback.as_ref().zip(block.loops.get_mut(i)) {
                back.traces(feedback, t, row.scaled);
            }
            if self.wanted.noise {
                let time = self.run.n_warmup + t;
                let normals = match &self.run.noise {
                    Noise::Philox {
                        key,
                        step,
                        first_trial,
                        first_time,
                    } => {
                        let place = Place {
                            time: first_time.wrapping_add(time as u32),
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
        block.ring.put(&self.product, t, &block.scaled, n, shape.rows_per_block);
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
            let at = |d: usize| self.network.delays[d].checked_sub(age).filter(|t| *t < t_end);
            let rows = |b: usize, d: usize| at(d).map(|t| read[b].ring.single(t));
            let rounded = |b: usize, d: usize| at(d).and_then(|t| read[b].ring.int16(t));
            let active = |b: usize| &everywhere[b][..];
            for (p, out) in products.chunks_mut(shape.panel).enumerate() {
                let out = &mut out[..shape.n_blocks * shape.rows_per_block * PANEL];
                match &self.product {
                    Product::Dense(w) => w.product(p, shape.rows_per_block, &rows, out),
                    Product::Fixed(w) => w.product(p, shape.rows_per_block, &rounded, out),
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
