//! Kernels: costs of all pairs of points, one update of all potentials, the last one, and the gradient.

use crate::rollout::kernels::cell::{exp, ln};
use cubecl::prelude::*;

/// Side of the square of units that share a tile of costs.
pub(super) const SIDE: usize = 16;
/// Rows of a cube of [`update`], [`finish`] and [`pull`].
pub(super) const ROWS: usize = 32;
/// Units that share a row of [`update`] and [`finish`]; columns of a cube of [`pull`].
pub(super) const SLICES: usize = 8;
/// Units of a cube.
pub(super) const UNITS: usize = ROWS * SLICES;

/// Columns of the table of pairs `[B, N_COLUMNS]`: sizes, and where the arrays of a pair start.
pub(super) const N_FIXED: usize = 0;
pub(super) const N_MOVING: usize = 1;
pub(super) const N_FEATURES: usize = 2;
pub(super) const FIRST_POINT: usize = 3;
pub(super) const FIRST_COORDINATE: usize = 4;
pub(super) const FIRST_COST: usize = 5;
pub(super) const FIRST_GRADIENT: usize = 6;
pub(super) const N_COLUMNS: usize = 7;

/// Costs of all pairs of points of a pair of clouds, `[n + m, n + m]`: the distance, or half its square.
///
/// From differences: no cancellation between like points. A cube takes a tile of 16 × 16.
#[cube(launch_unchecked)]
pub(super) fn costs(coordinates: &[f32], table: &[u32], costs: &mut [f32], floor: f32, is_half_square: u32) {
    // One more than the tile is wide: units that read neighbouring rows find them in different banks.
    let stride = comptime!(SIDE + 1);
    let mut left = Shared::<[f32]>::new_slice(comptime!(SIDE * (SIDE + 1)));
    let mut right = Shared::<[f32]>::new_slice(comptime!(SIDE * (SIDE + 1)));
    let pair = CUBE_POS_Z as usize * N_COLUMNS;
    let size = (table[pair + N_FIXED] + table[pair + N_MOVING]) as usize;
    let features = table[pair + N_FEATURES] as usize;
    let first = table[pair + FIRST_COORDINATE] as usize;
    let unit = UNIT_POS as usize;
    let x = unit % SIDE;
    let y = unit / SIDE;
    let first_row = CUBE_POS_Y as usize * SIDE;
    let first_column = CUBE_POS_X as usize * SIDE;
    let end = select(first_row < size && first_column < size, features, 0usize);
    let mut square = 0.0f32;
    let mut at = 0usize;
    while at < end {
        let f = at + x;
        let mut a = 0.0f32;
        let mut b = 0.0f32;
        if f < features {
            if first_row + y < size {
                a = coordinates[first + (first_row + y) * features + f];
            }
            if first_column + y < size {
                b = coordinates[first + (first_column + y) * features + f];
            }
        }
        left[x * stride + y] = a;
        right[x * stride + y] = b;
        sync_cube();
        // In parts: what is added is then of the size of its sum.
        let mut part = 0.0f32;
        #[unroll]
        for depth in 0..SIDE {
            let difference = left[depth * stride + y] - right[depth * stride + x];
            part = fma(difference, difference, part);
        }
        square += part;
        sync_cube();
        at += SIDE;
    }
    let row = first_row + y;
    let column = first_column + x;
    if row < size && column < size {
        let mut cost = 0.5f32 * square;
        if is_half_square == 0u32 {
            cost = max(square, floor).sqrt();
        }
        costs[table[pair + FIRST_COST] as usize + row * size + column] = cost;
    }
}

/// Over the columns q from `from` to `to` of one row: the largest `h_q − C_q`, and `Σ_q exp((h_q − C_q − largest)/ε)`, in
/// `out`. The units of a row take every eighth column, and all of them get the result.
///
/// h is 0 at the start. `at` is where the row's first cost stands; the matrix is symmetric, so its columns are read.
#[cube]
#[allow(clippy::too_many_arguments)]
fn reduce_row(
    costs: &[f32],
    potentials: &[f32],
    at: usize,
    size: usize,
    potential: usize,
    from: usize,
    to: usize,
    epsilon: f32,
    is_start: bool,
    out: &mut Array<f32>,
) {
    let mut shared = Shared::<[f32]>::new_slice(UNITS);
    let unit = UNIT_POS as usize;
    let row = unit % ROWS;
    let begin = from + unit / ROWS;
    // Below every difference of a potential and a cost.
    let mut largest = f32::min_value();
    let mut q = begin;
    while q < to {
        let h = select(is_start, 0.0f32, potentials[potential + q]);
        largest = max(largest, h - costs[at + q * size]);
        q += SLICES;
    }
    shared[unit] = largest;
    sync_cube();
    #[unroll]
    for slice in 0..SLICES {
        largest = max(largest, shared[slice * ROWS + row]);
    }
    sync_cube();
    let mut sum = 0.0f32;
    q = begin;
    while q < to {
        let h = select(is_start, 0.0f32, potentials[potential + q]);
        // Subtracted before the division: a small blur would magnify the rounding of large numbers.
        sum += exp((h - costs[at + q * size] - largest) / epsilon);
        q += SLICES;
    }
    shared[unit] = sum;
    sync_cube();
    let mut total = 0.0f32;
    #[unroll]
    for slice in 0..SLICES {
        total += shared[slice * ROWS + row];
    }
    out[0] = largest;
    out[1] = total;
}

/// One update of both potentials of every point, from `old` to `new`, `[2, points]`: across, then within.
///
/// `epsilons` of the pairs start at `first_epsilon`: 0 where a pair has not begun, −ε where it starts (which it does at the
/// last of the updates of a blur, `can_start`), ε where the potentials become the mean of themselves and their update.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
pub(super) fn update(
    costs: &[f32],
    old: &[f32],
    new: &mut [f32],
    table: &[u32],
    epsilons: &[f32],
    first_epsilon: u32,
    n_points: u32,
    can_start: u32,
) {
    let pair = CUBE_POS_Y as usize * N_COLUMNS;
    let fixed = table[pair + N_FIXED] as usize;
    let size = fixed + table[pair + N_MOVING] as usize;
    let signed = epsilons[(first_epsilon + CUBE_POS_Y) as usize];
    let is_start = signed < 0.0f32;
    let runs = signed > 0.0f32 || (is_start && can_start == 1u32);
    let epsilon = signed.abs();
    let row = CUBE_POS_X as usize * ROWS + UNIT_POS as usize % ROWS;
    let is_row = runs && row < size;
    // Columns: those of the fixed points, or of the moving ones.
    let is_fixed = (row < fixed) == (CUBE_POS_Z == 1u32);
    let from = select(is_fixed, 0usize, fixed);
    let end = select(is_fixed, fixed, size);
    let to = select(is_row, end, from);
    let potential = (CUBE_POS_Z * n_points + table[pair + FIRST_POINT]) as usize;
    let at = table[pair + FIRST_COST] as usize + row;
    let mut found = Array::<f32>::new(2usize);
    reduce_row(costs, old, at, size, potential, from, to, epsilon, is_start, &mut found);
    if is_row && (UNIT_POS as usize) < ROWS {
        let value = 0.0f32 - (found[0] + epsilon * ln(found[1] / f32::cast_from((end - from) as u32)));
        if is_start {
            new[potential + row] = value;
        } else {
            new[potential + row] = 0.5f32 * (old[potential + row] + value);
        }
    }
}

/// The last update, in full: potentials in `last`, and what the points pull with in the place of the costs.
///
/// `costs[q, j]` becomes, for each moving point j, `±P_qj/(m C)` (cost r) or `±P_qj/m` (r²/2), + for fixed points q and − for
/// moving ones; the other columns keep their costs. P is normalised over q, as the last update makes it, without the
/// rounding of a potential. A cost is read by the units of its column alone, so it can be replaced.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
pub(super) fn finish(
    costs: &mut [f32],
    potentials: &[f32],
    last: &mut [f32],
    table: &[u32],
    epsilons: &[f32],
    first_epsilon: u32,
    n_points: u32,
    least: f32,
    is_half_square: u32,
) {
    let pair = CUBE_POS_Y as usize * N_COLUMNS;
    let fixed = table[pair + N_FIXED] as usize;
    let moving = table[pair + N_MOVING] as usize;
    let size = fixed + moving;
    let epsilon = epsilons[(first_epsilon + CUBE_POS_Y) as usize];
    let unit = UNIT_POS as usize;
    let row = CUBE_POS_X as usize * ROWS + unit % ROWS;
    let is_row = row < size;
    let is_fixed = (row < fixed) == (CUBE_POS_Z == 1u32);
    let from = select(is_fixed, 0usize, fixed);
    let end = select(is_fixed, fixed, size);
    let to = select(is_row, end, from);
    let potential = (CUBE_POS_Z * n_points + table[pair + FIRST_POINT]) as usize;
    let at = table[pair + FIRST_COST] as usize + row;
    let mut found = Array::<f32>::new(2usize);
    reduce_row(
        &*costs, potentials, at, size, potential, from, to, epsilon, false, &mut found,
    );
    let largest = found[0];
    let sum = found[1];
    if is_row {
        if unit < ROWS {
            last[potential + row] = 0.0f32 - (largest + epsilon * ln(sum / f32::cast_from((end - from) as u32)));
        }
        if row >= fixed {
            let sign = select(CUBE_POS_Z == 0u32, 1.0f32, -1.0f32);
            let scale = sign / (sum * f32::cast_from(moving as u32));
            let mut q = from + unit / ROWS;
            while q < to {
                let cost = costs[at + q * size];
                let mut weight = exp((potentials[potential + q] - cost - largest) / epsilon) * scale;
                if is_half_square == 0u32 {
                    weight = select(cost <= least, 0.0f32, weight / max(cost, least));
                }
                costs[at + q * size] = weight;
                q += SLICES;
            }
        }
    }
}

/// Gradient at the moving points `[m, F]`: `Σ_q w_qj (y_j − z_q)` over the fixed points and, where the divergences within
/// are subtracted, the moving ones. One unit per point and feature.
#[cube(launch_unchecked)]
pub(super) fn pull(coordinates: &[f32], weights: &[f32], table: &[u32], out: &mut [f32], debias: u32) {
    let pair = CUBE_POS_Z as usize * N_COLUMNS;
    let fixed = table[pair + N_FIXED] as usize;
    let moving = table[pair + N_MOVING] as usize;
    let features = table[pair + N_FEATURES] as usize;
    let unit = UNIT_POS as usize;
    let j = CUBE_POS_X as usize * ROWS + unit % ROWS;
    let f = CUBE_POS_Y as usize * SLICES + unit / ROWS;
    if j < moving && f < features {
        let size = fixed + moving;
        let end = select(debias == 1u32, size, fixed);
        let first = table[pair + FIRST_COORDINATE] as usize + f;
        let at = table[pair + FIRST_COST] as usize + fixed + j;
        let y = coordinates[first + (fixed + j) * features];
        let mut sum = 0.0f32;
        for q in 0..end {
            sum += weights[at + q * size] * (y - coordinates[first + q * features]);
        }
        out[table[pair + FIRST_GRADIENT] as usize + j * features + f] = sum;
    }
}
