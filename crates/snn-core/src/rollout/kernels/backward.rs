//! One step of the gradient of all trials, the dense product between steps, and the gradients of weights.

use super::cell::{
    ALPHA, GAIN, HAS_CHANNELS, HAS_DENSE, HAS_PROBABILITY, HAS_SHARED, INVERSE_SCALE, IS_CLAMPED, IS_GIVEN,
    IS_TRIANGLE, RESET, THRESHOLD, WANTS_NOISE, normal, philox, sigmoid,
};
use cubecl::prelude::*;

/// Side of the square of units that share a tile of the dense product.
pub(super) const SIDE: usize = 16;

/// `out[z, r, i] = Σ_d Σ_j g_j δ[t(r) + delay_d, k(r), j] W_d[i, j]` over the columns j of part z: the gradient with
/// respect to presynaptic spikes of a block of steps, before the parts are added.
///
/// Row r is trial r mod K of step `begin + r / K`; δ is `[T, K, N]`, so the rows of a delay follow one another. `begin`
/// may be negative: steps before the first.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
pub(super) fn state_gradient(
    delta: &[f32],
    w: &[f32],
    constants: &[f32],
    delays: &[u32],
    out: &mut [f32],
    begin: i32,
    n_rows: u32,
    n_neurons: u32,
    n_trials: u32,
    n_steps: u32,
    n_delays: u32,
    span: u32,
    #[comptime] rows_per_unit: usize,
    #[comptime] columns_per_unit: usize,
) {
    let tile_rows = comptime!(SIDE * rows_per_unit);
    let tile_columns = comptime!(SIDE * columns_per_unit);
    // One more than the tile is wide: units that read neighbouring rows find them in different banks.
    let row_stride = comptime!(SIDE * rows_per_unit + 1);
    let column_stride = comptime!(SIDE * columns_per_unit + 1);
    let mut left = Shared::<[f32]>::new_slice(comptime!(SIDE * (SIDE * rows_per_unit + 1)));
    let mut right = Shared::<[f32]>::new_slice(comptime!(SIDE * (SIDE * columns_per_unit + 1)));
    let mut sums = Array::<f32>::new(comptime!(rows_per_unit * columns_per_unit));
    let mut a = Array::<f32>::new(rows_per_unit);

    let unit = UNIT_POS as usize;
    let x = unit % SIDE;
    let y = unit / SIDE;
    let n = n_neurons as usize;
    let rows = n_rows as usize;
    let first_row = CUBE_POS_Y as usize * tile_rows;
    let first_column = CUBE_POS_X as usize * tile_columns;
    let from = CUBE_POS_Z as usize * span as usize;
    let to = min(from + span as usize, n);
    let all_rows = (n_steps * n_trials) as usize;

    for d in 0..n_delays as usize {
        let start = begin + i32::cast_from(delays[d]);
        if start >= 0i32 {
            let shift = start as usize * n_trials as usize;
            let mut at = from;
            while at < to {
                let j = at + x;
                let is_column = j < to;
                let jj = select(is_column, j, 0usize);
                let gain = select(is_column, constants[GAIN * n + jj], 0.0f32);
                #[unroll]
                for i in 0..rows_per_unit {
                    let local = y + i * SIDE;
                    let row = first_row + local;
                    let source = shift + row;
                    let mut value = 0.0f32;
                    if row < rows && source < all_rows && is_column {
                        value = delta[source * n + jj] * gain;
                    }
                    left[x * row_stride + local] = value;
                }
                #[unroll]
                for i in 0..columns_per_unit {
                    let local = y + i * SIDE;
                    let neuron = first_column + local;
                    let mut value = 0.0f32;
                    if neuron < n && is_column {
                        value = w[(d * n + neuron) * n + jj];
                    }
                    right[x * column_stride + local] = value;
                }
                sync_cube();
                #[unroll]
                for depth in 0..SIDE {
                    #[unroll]
                    for i in 0..rows_per_unit {
                        a[i] = left[depth * row_stride + y + i * SIDE];
                    }
                    #[unroll]
                    for c in 0..columns_per_unit {
                        let b = right[depth * column_stride + x + c * SIDE];
                        #[unroll]
                        for i in 0..rows_per_unit {
                            sums[i * columns_per_unit + c] = fma(a[i], b, sums[i * columns_per_unit + c]);
                        }
                    }
                }
                sync_cube();
                at += SIDE;
            }
        }
    }
    #[unroll]
    for i in 0..rows_per_unit {
        let row = first_row + y + i * SIDE;
        #[unroll]
        for c in 0..columns_per_unit {
            let neuron = first_column + x + c * SIDE;
            if row < rows && neuron < n {
                out[(CUBE_POS_Z as usize * rows + row) * n + neuron] = sums[i * columns_per_unit + c];
            }
        }
    }
}

/// Step `t` of the gradient: potentials become δ in place; one unit per (trial, neuron).
///
/// `sums` is `[3, K, N]`: Σ δ, Σ z α δ(t + 1), Σ ε δ. `partial` is what [`state_gradient`] left, rows from `first_row`.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
pub(super) fn backward_step(
    delta: &mut [f32],
    partial: &[f32],
    spikes: &[u32],
    blocked: &[u32],
    constants: &[f32],
    carry: &mut [f32],
    sums: &mut [f32],
    shared: &[f32],
    condition: &[u32],
    series: &[f32],
    membership: &[u32],
    membership_weight: &[f32],
    dense: &[f32],
    d_probability: &[f32],
    until: &[u32],
    normals: &[f32],
    random: &[u32],
    t: u32,
    options: u32,
    n_parts: u32,
    n_rows: u32,
    first_row: u32,
    n_neurons: u32,
    n_trials: u32,
    n_steps: u32,
    n_warmup: u32,
    n_history: u32,
    n_channels: u32,
    temperature: f32,
    p_scale: f32,
    gamma: f32,
    least: f32,
) {
    let j = ABSOLUTE_POS_X as usize;
    let n = n_neurons as usize;
    if j < n {
        let k = CUBE_POS_Y as usize;
        let trials = n_trials as usize;
        let steps = n_steps as usize;
        let tt = t as usize;
        let here = k * n + j;
        let words = n.div_ceil(32);
        let bit = (j % 32) as u32;

        // dL/dz: losses, then what the spike did to later steps.
        let mut dz = 0.0f32;
        // `condition` is [2 K]: conditions, then numbers of valid steps.
        if options & HAS_SHARED != 0u32 {
            let until = condition[trials + k];
            if t < until {
                dz += shared[(condition[k] as usize * steps + tt) * n + j];
            }
        }
        if options & HAS_CHANNELS != 0u32 {
            let channels = n_channels as usize;
            for m in membership[j] as usize..membership[j + 1] as usize {
                let channel = membership[n + 1 + m] as usize;
                dz += series[(k * steps + tt) * channels + channel] * membership_weight[m];
            }
        }
        if options & HAS_DENSE != 0u32 {
            dz += dense[(k * steps + tt) * n + j];
        }
        for part in 0..n_parts as usize {
            dz += partial[(part * n_rows as usize + first_row as usize + k) * n + j];
        }

        let carried = carry[here];
        let spike =
            (spikes[((n_history as usize + n_warmup as usize + tt) * trials + k) * words + j / 32] >> bit) & 1u32;
        let mut is_free = (blocked[(tt * trials + k) * words + j / 32] >> bit) & 1u32 == 0u32;
        if options & IS_CLAMPED != 0u32 && t < until[here] {
            is_free = false;
        }
        let at = (tt * trials + k) * n + j;
        let inverse = constants[INVERSE_SCALE * n + j];
        let x = (delta[at] - constants[THRESHOLD * n + j]) * inverse;
        let p = sigmoid(temperature * x);
        let slope = p_scale * temperature * p * (1.0f32 - p);
        let mut surrogate = gamma * slope;
        if options & IS_TRIANGLE != 0u32 {
            surrogate = gamma * max(1.0f32 - x.abs(), 0.0f32);
        }
        if surrogate.abs() < least {
            surrogate = 0.0f32;
        }
        let mut dx = 0.0f32;
        if is_free {
            dx = surrogate * (dz - constants[RESET * n + j] * carried);
        }
        if options & HAS_PROBABILITY != 0u32 {
            dx += slope * d_probability[(k * steps + tt) * n + j];
        }
        let d = carried + dx * inverse;
        delta[at] = d;
        carry[here] = constants[ALPHA * n + j] * d;

        let all = trials * n;
        sums[here] += d;
        if spike == 1u32 {
            sums[all + here] += carried;
        }
        if options & WANTS_NOISE != 0u32 {
            if options & IS_GIVEN != 0u32 {
                sums[2 * all + here] += normals[(k * (n_warmup as usize + steps) + n_warmup as usize + tt) * n + j] * d;
            } else {
                let mut drawn = Array::<u32>::new(4usize);
                let neuron = j as u32;
                philox(
                    neuron / 2u32,
                    random[4] + n_warmup + t,
                    random[2] + CUBE_POS_Y,
                    random[3],
                    random[0],
                    random[1],
                    &mut drawn,
                );
                sums[2 * all + here] += normal(drawn[2], drawn[3], neuron % 2u32 == 1u32) * d;
            }
        }
    }
}

/// Adds to `dw[m, i, j]` the δ of a block of steps at the spikes of presynaptic neuron i:
/// `Σ_t Σ_k z_i(t − delay_m) δ_j(t)`, in the order of time and trials.
///
/// `bits` is `[steps, N_pre, K/32]`; the row of step t and matrix m is `first + t − delay_m`. A cube takes one
/// presynaptic neuron and `columns · UNITS` postsynaptic ones.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
pub(super) fn weight_gradient(
    delta: &[f32],
    bits: &[u32],
    delays: &[u32],
    dw: &mut [f32],
    first: u32,
    from: u32,
    to: u32,
    n_pre: u32,
    n_neurons: u32,
    n_trials: u32,
    #[comptime] columns: usize,
) {
    let n = n_neurons as usize;
    let i = CUBE_POS_Y as usize;
    let m = CUBE_POS_Z as usize;
    let trials = n_trials as usize;
    let trial_words = trials.div_ceil(32);
    let begin = CUBE_POS_X as usize * columns * CUBE_DIM as usize + UNIT_POS as usize;
    let mut sums = Array::<f32>::new(columns);
    #[unroll]
    for c in 0..columns {
        sums[c] = 0.0f32;
    }
    for t in from as usize..to as usize {
        let row = ((first as usize + t - delays[m] as usize) * n_pre as usize + i) * trial_words;
        for word in 0..trial_words {
            let mut left = bits[row + word];
            while left != 0u32 {
                let k = word * 32 + left.trailing_zeros() as usize;
                let at = (t * trials + k) * n;
                #[unroll]
                for c in 0..columns {
                    let j = begin + c * CUBE_DIM as usize;
                    if j < n {
                        sums[c] += delta[at + j];
                    }
                }
                left &= left - 1u32;
            }
        }
    }
    #[unroll]
    for c in 0..columns {
        let j = begin + c * CUBE_DIM as usize;
        if j < n {
            dw[(m * n_pre as usize + i) * n + j] += sums[c];
        }
    }
}

/// `out[s, t, j] = Σ δ[t, k, j]` over the trials k that share drive s, in order.
#[cube(launch_unchecked)]
pub(super) fn drive_gradient(
    delta: &[f32],
    index: &[u32],
    out: &mut [f32],
    n_neurons: u32,
    n_trials: u32,
    n_steps: u32,
) {
    let j = ABSOLUTE_POS_X as usize;
    let n = n_neurons as usize;
    if j < n {
        let t = CUBE_POS_Y as usize;
        let s = CUBE_POS_Z;
        let trials = n_trials as usize;
        let mut sum = 0.0f32;
        for k in 0..trials {
            if index[k] == s {
                sum += delta[(t * trials + k) * n + j];
            }
        }
        out[(s as usize * n_steps as usize + t) * n + j] = sum;
    }
}

/// `out[k, b, j] = Σ_t course[t, b] δ[t, k, j]`.
#[cube(launch_unchecked)]
pub(super) fn offset_gradient(
    delta: &[f32],
    course: &[f32],
    out: &mut [f32],
    n_neurons: u32,
    n_trials: u32,
    n_steps: u32,
    n_courses: u32,
) {
    let j = ABSOLUTE_POS_X as usize;
    let n = n_neurons as usize;
    if j < n {
        let b = CUBE_POS_Y as usize;
        let k = CUBE_POS_Z as usize;
        let courses = n_courses as usize;
        let trials = n_trials as usize;
        let mut sum = 0.0f32;
        for t in 0..n_steps as usize {
            sum += course[t * courses + b] * delta[(t * trials + k) * n + j];
        }
        out[(k * courses + b) * n + j] = sum;
    }
}

/// Sets every value to zero.
#[cube(launch_unchecked)]
pub(super) fn clear(out: &mut [f32], size: u32) {
    let at = ABSOLUTE_POS;
    if at < size as usize {
        out[at] = 0.0f32;
    }
}
