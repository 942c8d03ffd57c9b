//! Gradient: the launches of all steps backwards, the weight gradients, and what comes back.

use super::backward::{self, SIDE};
use super::cell;
use super::device::{Buffer, Kernels};
use super::forward::{self, UNITS};
use super::plan::Plan;
use super::simulate::{DeviceRollout, Sizes, with_lengths};
use crate::CoreError;
use crate::rollout::gradients::Totals;
use crate::rollout::{Gradients, Network, Run, SpikeAdjoint, TrialOffset, Wanted};
use crate::surrogate::Surrogate;
use cubecl::prelude::*;
use ndarray::{Array1, Array2, Array3};

/// Steps whose δ are added to the weight gradients at once: few enough to stay in a GPU's cache.
const WEIGHT_BLOCK: usize = 16;
/// Postsynaptic neurons per unit of the weight gradient.
const WEIGHT_COLUMNS: usize = 3;
/// Presynaptic neurons per unit of the dense product.
const TILE_COLUMNS: usize = 4;
/// Cubes that the dense product should at least have, so that a large GPU has work.
const WANTED_CUBES: usize = 256;

/// How the dense product of a block of steps is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tiling {
    rows_per_unit: usize,
    pub(super) parts: usize,
    span: usize,
}

/// Steps of a block: they depend only on later blocks, because every delay is at least as long.
pub(super) fn block(delays: &[usize], steps: usize) -> usize {
    delays.iter().copied().min().unwrap_or(1).clamp(1, steps.max(1))
}

impl Tiling {
    /// Tiles for `rows` rows and `n` neurons: a function of the sizes alone, so that results are reproducible.
    pub(super) fn new(rows: usize, n: usize) -> Self {
        let waste = |per_unit: usize| rows.div_ceil(SIDE * per_unit) * per_unit;
        // Fewest padded rows; of equals, the largest tile.
        let rows_per_unit = [8, 5, 4, 2, 1]
            .into_iter()
            .min_by_key(|p| (waste(*p), 8 - *p))
            .unwrap_or(4);
        let tiles = rows.div_ceil(SIDE * rows_per_unit).max(1) * n.div_ceil(SIDE * TILE_COLUMNS).max(1);
        let depth = n.div_ceil(SIDE).max(1);
        let parts = WANTED_CUBES.div_ceil(tiles).clamp(1, depth.div_ceil(4));
        let span = depth.div_ceil(parts) * SIDE;
        Self {
            rows_per_unit,
            parts: n.div_ceil(span),
            span,
        }
    }

    /// Tiles along `rows` rows.
    pub(super) fn row_tiles(self, rows: usize) -> u64 {
        rows.div_ceil(SIDE * self.rows_per_unit) as u64
    }
}

/// Buffers of dL/dz from the losses.
struct Adjoint {
    options: u32,
    n_channels: usize,
    shared: Buffer,
    condition: Buffer,
    series: Buffer,
    membership: Buffer,
    membership_weight: Buffer,
    dense: Buffer,
    d_probability: Buffer,
}

impl Adjoint {
    fn upload(
        kernels: &Kernels,
        adjoint: &SpikeAdjoint,
        d_probabilities: Option<&Array3<f32>>,
        (k, t, n): (usize, usize, usize),
    ) -> Self {
        let mut options = 0;
        let nothing = || kernels.empty(1);
        let (mut shared, mut condition) = (nothing(), nothing());
        if let Some((values, index)) = &adjoint.shared {
            options |= cell::HAS_SHARED;
            shared = kernels.upload_array(values);
            condition = kernels.upload(&with_lengths(index, adjoint.valid.as_deref(), values.dim().1));
        }
        let (mut series, mut membership, mut membership_weight, mut n_channels) = (nothing(), nothing(), nothing(), 0);
        if let Some((channels, values)) = &adjoint.channels {
            options |= cell::HAS_CHANNELS;
            n_channels = channels.len();
            series = kernels.upload_array(values);
            let (index, weights) = by_neuron(channels, n);
            membership = kernels.upload(&index);
            membership_weight = kernels.upload(&weights);
        }
        let mut dense = nothing();
        if let Some(values) = adjoint.as_dense((k, t, n)) {
            options |= cell::HAS_DENSE;
            dense = kernels.upload_array(&values);
        }
        let mut d_probability = nothing();
        if let Some(values) = d_probabilities {
            options |= cell::HAS_PROBABILITY;
            d_probability = kernels.upload_array(values);
        }
        Self {
            options,
            n_channels,
            shared,
            condition,
            series,
            membership,
            membership_weight,
            dense,
            d_probability,
        }
    }
}

/// Channels of each neuron, ascending: `[N + 1]` ends, then channel numbers; and their weights.
fn by_neuron(channels: &[crate::rollout::Channel], n: usize) -> (Vec<u32>, Vec<f32>) {
    let mut of: Vec<Vec<(u32, f32)>> = vec![Vec::new(); n];
    for (r, channel) in channels.iter().enumerate() {
        for &(neuron, weight) in &channel.members {
            of[neuron as usize].push((r as u32, weight));
        }
    }
    let mut index = vec![0u32];
    let mut end = 0;
    for list in &of {
        end += list.len() as u32;
        index.push(end);
    }
    let all = of.into_iter().flatten();
    let (numbers, weights): (Vec<u32>, Vec<f32>) = all.unzip();
    index.extend(numbers);
    (index, weights)
}

impl DeviceRollout {
    /// Back-propagates `dL/dz` (and `dL/dp`) through this rollout; its potentials are used up.
    ///
    /// # Errors
    /// Potentials that were not kept, an array that doesn't fit, a device that fails.
    pub fn backpropagate(
        mut self,
        network: &Network,
        run: &Run,
        adjoint: &SpikeAdjoint,
        d_probabilities: Option<&Array3<f32>>,
        wanted: Wanted,
    ) -> Result<Gradients, CoreError> {
        let Sizes {
            neurons: n,
            trials: k,
            steps: t_end,
            history: h,
            warmup,
            inputs,
            ..
        } = self.sizes;
        adjoint.check(k, t_end, n)?;
        if let Some(offset) = &run.trial_offset {
            offset.check(k, t_end, n)?;
        }
        if let Some(dp) = d_probabilities {
            crate::rollout::shape("probability adjoint", dp.shape(), &[k, t_end, n])?;
        }
        let mut gradients = Gradients::zeros(network, run, wanted);
        let Some(delta) = self.potentials.take() else {
            return Err(CoreError::Shape {
                what: "kept potentials",
                found: vec![],
                expected: vec![k, t_end, n],
            });
        };
        if k == 0 || n == 0 || t_end == 0 {
            return Ok(gradients);
        }
        let kernels = self.kernels.clone();
        Plan::of(network, run)
            .with_gradient(adjoint, d_probabilities.is_some())
            .check(kernels.limits(), kernels.name(), k)?;
        let adjoint = Adjoint::upload(&kernels, adjoint, d_probabilities, (k, t_end, n));
        let sums = kernels.zeros(3 * k * n);
        self.steps(network, &delta, &sums, &adjoint, wanted);

        // Presynaptic spikes from H steps before the first recorded one; inputs from the first recorded one on.
        let dw = kernels.zeros(network.w.len());
        let bits = self.transposed(&self.spikes, h + warmup + t_end, n);
        self.weights(&delta, &bits, &self.delays, &dw, (h + warmup, n, network.delays.len()));
        gradients.w = to_array(kernels.download(&dw)?, network.w.dim());
        if inputs > 0 {
            let dw_in = kernels.zeros(network.w_in.len());
            let bits = self.transposed(&self.events, warmup + t_end, inputs);
            let undelayed = kernels.upload(&[0u32]);
            self.weights(&delta, &bits, &undelayed, &dw_in, (warmup, inputs, 1));
            let values = kernels.download(&dw_in)?;
            gradients.w_in = Array2::from_shape_vec(network.w_in.dim(), values).map_err(|e| kernels.failed(&e))?;
        }
        if wanted.history {
            gradients.history = Some(self.history_gradient(network, &delta)?);
        }
        if let (Some(out), Some(drive)) = (&mut gradients.drive, &run.drive) {
            *out = self.drive_gradient(&delta, &drive.index, out.dim())?;
        }
        let sums: Vec<f32> = kernels.download(&sums)?;
        let part = |i: usize| &sums[i * k * n..(i + 1) * k * n];
        let total = |values: &[f32]| {
            let mut out = Array1::<f64>::zeros(n);
            for row in values.chunks(n) {
                for (o, x) in out.iter_mut().zip(row) {
                    *o += f64::from(*x);
                }
            }
            out
        };
        let first: Vec<f32> = kernels.download(&self.first_step(&delta))?;
        let totals = Totals {
            delta: total(part(0)),
            at_start: total(&first),
            reset: total(part(1)),
            noise: wanted.noise.then(|| total(part(2))),
        };
        gradients.finish(network, &totals);
        if let (Some(out), Some(offset)) = (&mut gradients.trial_offset, &run.trial_offset) {
            *out = if offset.is_constant() {
                to_array(part(0).to_vec(), out.dim())
            } else {
                self.offset_gradient(&delta, offset)?
            };
        }
        Ok(gradients)
    }

    /// The time loop backwards: potentials become δ.
    fn steps(&self, network: &Network, delta: &Buffer, sums: &Buffer, adjoint: &Adjoint, wanted: Wanted) {
        let Sizes {
            neurons: n,
            trials: k,
            steps: t_end,
            ..
        } = self.sizes;
        let kernels = &self.kernels;
        let carry = kernels.zeros(k * n);
        let block = block(&network.delays, t_end);
        let tiling = Tiling::new(block * k, n);
        let partial = kernels.zeros(tiling.parts * block * k * n);
        let mut options = adjoint.options | (self.options & (cell::IS_GIVEN | cell::IS_CLAMPED));
        options |= if wanted.noise { cell::WANTS_NOISE } else { 0 };
        let least = network.surrogate_floor * network.surrogate.maximum(network.p_scale * network.temperature);
        let gamma = match network.surrogate {
            Surrogate::Sigmoid { gamma } => gamma,
            Surrogate::Triangle { gamma } => {
                options |= cell::IS_TRIANGLE;
                gamma
            }
        };
        let count = CubeCount::Static(n.div_ceil(UNITS as usize) as u32, k as u32, 1);
        let mut end = t_end;
        while end > 0 {
            let begin = end.saturating_sub(block);
            let rows = (end - begin) * k;
            self.dense_product(delta, &partial, begin as i32, rows, tiling);
            for t in (begin..end).rev() {
                // SAFETY: units beyond the last neuron do nothing; the buffers have the documented sizes.
                #[allow(unsafe_code)]
                unsafe {
                    backward::backward_step::launch_unchecked(
                        &kernels.client,
                        count.clone(),
                        CubeDim::new_1d(UNITS),
                        delta.arg(),
                        partial.arg(),
                        self.spikes.arg(),
                        self.blocked.arg(),
                        self.constants.arg(),
                        carry.arg(),
                        sums.arg(),
                        adjoint.shared.arg(),
                        adjoint.condition.arg(),
                        adjoint.series.arg(),
                        adjoint.membership.arg(),
                        adjoint.membership_weight.arg(),
                        adjoint.dense.arg(),
                        adjoint.d_probability.arg(),
                        self.until.arg(),
                        self.normals.arg(),
                        self.random.arg(),
                        t as u32,
                        options,
                        tiling.parts as u32,
                        rows as u32,
                        ((t - begin) * k) as u32,
                        n as u32,
                        k as u32,
                        t_end as u32,
                        self.sizes.warmup as u32,
                        self.sizes.history as u32,
                        adjoint.n_channels as u32,
                        network.temperature,
                        network.p_scale,
                        gamma,
                        least,
                    );
                }
            }
            end = begin;
        }
    }

    /// Parts of dL/dz of `rows` rows from step `begin` on, of all delays.
    fn dense_product(&self, delta: &Buffer, out: &Buffer, begin: i32, rows: usize, tiling: Tiling) {
        let Sizes {
            neurons: n,
            trials: k,
            steps,
            delays,
            ..
        } = self.sizes;
        let count = CubeCount::Static(
            n.div_ceil(SIDE * TILE_COLUMNS) as u32,
            rows.div_ceil(SIDE * tiling.rows_per_unit) as u32,
            tiling.parts as u32,
        );
        // SAFETY: the kernel checks rows and neurons at every read and write; `out` has room for all parts.
        #[allow(unsafe_code)]
        unsafe {
            backward::state_gradient::launch_unchecked(
                &self.kernels.client,
                count,
                CubeDim::new_1d((SIDE * SIDE) as u32),
                delta.arg(),
                self.w.arg(),
                self.constants.arg(),
                self.delays.arg(),
                out.arg(),
                begin,
                rows as u32,
                n as u32,
                k as u32,
                steps as u32,
                delays as u32,
                tiling.span as u32,
                tiling.rows_per_unit,
                TILE_COLUMNS,
            );
        }
    }

    /// Bits `[S, K, columns/32]` as `[S, columns, K/32]`.
    fn transposed(&self, bits: &Buffer, steps: usize, columns: usize) -> Buffer {
        let k = self.sizes.trials;
        let len = steps * columns * k.div_ceil(32);
        let out = self.kernels.empty(len);
        let (count, dim) = super::device::units(len);
        // SAFETY: the kernel checks its position and each trial.
        #[allow(unsafe_code)]
        unsafe {
            forward::transpose_bits::launch_unchecked(
                &self.kernels.client,
                count,
                dim,
                bits.arg(),
                out.arg(),
                len as u32,
                k as u32,
                columns as u32,
            );
        }
        out
    }

    /// Adds `Σ z δ` of all steps to `dw [M, N_pre, N]`; `(first row of the bits, N_pre, M)`.
    fn weights(&self, delta: &Buffer, bits: &Buffer, delays: &Buffer, dw: &Buffer, pre: (usize, usize, usize)) {
        let Sizes {
            neurons: n,
            trials: k,
            steps,
            ..
        } = self.sizes;
        let (first, n_pre, matrices) = pre;
        let count = CubeCount::Static(
            n.div_ceil(WEIGHT_COLUMNS * UNITS as usize) as u32,
            n_pre as u32,
            matrices as u32,
        );
        for from in (0..steps).step_by(WEIGHT_BLOCK) {
            // SAFETY: the kernel checks the postsynaptic neuron; presynaptic ones and steps are those of the buffers.
            #[allow(unsafe_code)]
            unsafe {
                backward::weight_gradient::launch_unchecked(
                    &self.kernels.client,
                    count.clone(),
                    CubeDim::new_1d(UNITS),
                    delta.arg(),
                    bits.arg(),
                    delays.arg(),
                    dw.arg(),
                    first as u32,
                    from as u32,
                    (from + WEIGHT_BLOCK).min(steps) as u32,
                    n_pre as u32,
                    n as u32,
                    k as u32,
                    WEIGHT_COLUMNS,
                );
            }
        }
    }

    /// dL/dz of the steps before the first, `[K, H, N]`, oldest first.
    fn history_gradient(&self, network: &Network, delta: &Buffer) -> Result<Array3<f32>, CoreError> {
        let (n, k, h) = (self.sizes.neurons, self.sizes.trials, network.max_delay());
        let tiling = Tiling::new(k, n);
        let mut out = Array3::zeros((k, h, n));
        for age in 1..=h {
            let partial = self.kernels.zeros(tiling.parts * k * n);
            self.dense_product(delta, &partial, -(age as i32), k, tiling);
            let values: Vec<f32> = self.kernels.download(&partial)?;
            for part in values.chunks(k * n) {
                for (i, row) in part.chunks(n).enumerate() {
                    for (j, value) in row.iter().enumerate() {
                        out[[i, h - age, j]] += value;
                    }
                }
            }
        }
        Ok(out)
    }

    fn drive_gradient(
        &self,
        delta: &Buffer,
        index: &[usize],
        (stimuli, steps, n): (usize, usize, usize),
    ) -> Result<Array3<f32>, CoreError> {
        let out = self.kernels.empty(stimuli * steps * n);
        let index = self
            .kernels
            .upload(&index.iter().map(|s| *s as u32).collect::<Vec<u32>>());
        let count = CubeCount::Static(n.div_ceil(UNITS as usize) as u32, steps as u32, stimuli as u32);
        // SAFETY: the kernel checks the neuron; steps and stimuli are those of the launch.
        #[allow(unsafe_code)]
        unsafe {
            backward::drive_gradient::launch_unchecked(
                &self.kernels.client,
                count,
                CubeDim::new_1d(UNITS),
                delta.arg(),
                index.arg(),
                out.arg(),
                n as u32,
                self.sizes.trials as u32,
                steps as u32,
            );
        }
        Ok(to_array(self.kernels.download(&out)?, (stimuli, steps, n)))
    }

    /// Gradient of the values of a trial offset, `[K, B, N]`.
    fn offset_gradient(&self, delta: &Buffer, offset: &TrialOffset) -> Result<Array3<f32>, CoreError> {
        let (k, n) = (self.sizes.trials, self.sizes.neurons);
        let courses = offset.values.dim().1;
        let out = self.kernels.empty(k * courses * n);
        let course = self
            .kernels
            .upload(&offset.course.iter().copied().collect::<Vec<f32>>());
        let count = CubeCount::Static(n.div_ceil(UNITS as usize) as u32, courses as u32, k as u32);
        // SAFETY: the kernel checks the neuron; rows and trials are those of the launch, and the offset was found to be of so many
        // trials, steps and neurons.
        #[allow(unsafe_code)]
        unsafe {
            backward::offset_gradient::launch_unchecked(
                &self.kernels.client,
                count,
                CubeDim::new_1d(UNITS),
                delta.arg(),
                course.arg(),
                out.arg(),
                n as u32,
                k as u32,
                self.sizes.steps as u32,
                courses as u32,
            );
        }
        Ok(to_array(self.kernels.download(&out)?, (k, courses, n)))
    }

    /// δ of the first recorded step, `[K, N]`.
    fn first_step(&self, delta: &Buffer) -> Buffer {
        let len = self.sizes.trials * self.sizes.neurons;
        let out = self.kernels.empty(len);
        let (count, dim) = super::device::units(len);
        // SAFETY: the kernel checks its position; `delta` starts with the first step.
        #[allow(unsafe_code)]
        unsafe {
            forward::copy::launch_unchecked(&self.kernels.client, count, dim, delta.arg(), out.arg(), len as u32);
        }
        out
    }
}

fn to_array(values: Vec<f32>, shape: (usize, usize, usize)) -> Array3<f32> {
    Array3::from_shape_vec(shape, values).expect("a buffer of the array's size")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_all_columns_and_waste_few_rows() {
        for (rows, n) in [(150, 1500), (1, 1), (7, 30), (200, 500), (300, 4000), (64, 17)] {
            let tiling = Tiling::new(rows, n);
            assert!(
                tiling.parts * tiling.span >= n && (tiling.parts - 1) * tiling.span < n,
                "{tiling:?}"
            );
        }
        assert_eq!(Tiling::new(150, 1500).rows_per_unit, 5);
    }

    #[test]
    fn channels_are_listed_by_neuron() {
        let channels = [vec![(0, 0.5), (2, 0.25)], vec![(2, 1.0)]].map(|members| crate::rollout::Channel { members });
        assert_eq!(
            by_neuron(&channels, 3),
            (vec![0, 1, 1, 3, 0, 0, 1], vec![0.5, 0.25, 1.0])
        );
    }
}
