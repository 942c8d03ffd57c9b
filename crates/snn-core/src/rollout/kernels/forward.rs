//! One step of the simulation of all trials, and the statistics of spikes.

use super::cell::{
    ALPHA, BIAS, GAIN, HAS_DRIVE, HAS_EVENTS, HAS_NOISE, HAS_OFFSET, INVERSE_SCALE, IS_CLAMPED, IS_GIVEN, KEEPS, NOISE,
    RESET, THRESHOLD, normal, philox, sigmoid, uniform,
};
use cubecl::prelude::*;

/// Units of a cube: neurons of one trial.
pub(super) const UNITS: u32 = 256;

/// Step `s` (warm-up included) of every trial: one unit per neuron, a row of cubes per trial.
///
/// Spikes `[H + S, K, N/32]` start with the H steps before the first. Presynaptic neurons are added in the order of the
/// CPU: inputs, then delays, each ascending.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments, unused_assignments)]
pub(super) fn forward_step(
    w: &[f32],
    w_in: &[f32],
    constants: &[f32],
    delays: &[u32],
    v: &mut [f32],
    r: &mut [u32],
    spikes: &mut [u32],
    blocked: &mut [u32],
    potentials: &mut [f32],
    events: &[u32],
    drive: &[f32],
    drive_index: &[u32],
    offset: &[f32],
    normals: &[f32],
    uniforms: &[f32],
    clamped: &[u32],
    until: &[u32],
    s: u32,
    options: u32,
    n_neurons: u32,
    n_trials: u32,
    n_inputs: u32,
    n_delays: u32,
    n_history: u32,
    n_warmup: u32,
    n_steps: u32,
    n_refractory: u32,
    temperature: f32,
    p_scale: f32,
    key0: u32,
    key1: u32,
    first_trial: u32,
    step: u32,
    first_time: u32,
) {
    let unit = UNIT_POS as usize;
    let j = CUBE_POS_X as usize * CUBE_DIM as usize + unit;
    let k = CUBE_POS_Y as usize;
    let n = n_neurons as usize;
    let trials = n_trials as usize;
    let words = n.div_ceil(32);
    let time = n_history as usize + s as usize;
    let is_inside = j < n;
    // Units beyond the last neuron follow it, so that all of a cube go the same way, and write nothing.
    let i_neuron = select(is_inside, j, n - 1);
    let here = k * n + i_neuron;
    let is_recorded = s >= n_warmup;
    let t = select(is_recorded, s - n_warmup, 0u32) as usize;

    let mut current = 0.0f32;
    if options & HAS_EVENTS != 0u32 {
        let in_words = (n_inputs as usize).div_ceil(32);
        let at = (s as usize * trials + k) * in_words;
        for word in 0..in_words {
            let mut bits = events[at + word];
            while bits != 0u32 {
                let i = word * 32 + bits.trailing_zeros() as usize;
                current += w_in[i * n + i_neuron];
                bits &= bits - 1u32;
            }
        }
    }
    for d in 0..n_delays as usize {
        let at = ((time - delays[d] as usize) * trials + k) * words;
        for word in 0..words {
            let mut bits = spikes[at + word];
            while bits != 0u32 {
                let i = word * 32 + bits.trailing_zeros() as usize;
                current += w[(d * n + i) * n + i_neuron];
                bits &= bits - 1u32;
            }
        }
    }

    let mut noise = 0.0f32;
    let mut u = 0.0f32;
    let has_noise = options & HAS_NOISE != 0u32;
    if options & IS_GIVEN != 0u32 {
        let at = (k * (n_warmup + n_steps) as usize + s as usize) * n + i_neuron;
        u = uniforms[at];
        if has_noise {
            noise = normals[at];
        }
    } else {
        let mut random = Array::<u32>::new(4usize);
        let neuron = i_neuron as u32;
        philox(
            neuron / 2u32,
            first_time + s,
            first_trial + CUBE_POS_Y,
            step,
            key0,
            key1,
            &mut random,
        );
        let is_odd = neuron % 2u32 == 1u32;
        u = uniform(select(is_odd, random[1], random[0]));
        if has_noise {
            noise = normal(random[2], random[3], is_odd);
        }
    }

    let mut potential = constants[ALPHA * n + i_neuron] * v[here]
        + constants[GAIN * n + i_neuron] * current
        + constants[BIAS * n + i_neuron];
    if has_noise {
        potential += constants[NOISE * n + i_neuron] * noise;
    }
    if options & HAS_DRIVE != 0u32 {
        potential += drive[(drive_index[k] as usize * n_steps as usize + t) * n + i_neuron];
    }
    if options & HAS_OFFSET != 0u32 {
        potential += offset[here];
    }
    let x = (potential - constants[THRESHOLD * n + i_neuron]) * constants[INVERSE_SCALE * n + i_neuron];
    let p = p_scale * sigmoid(temperature * x);
    let is_blocked = r[here] > 0u32;
    let mut z = select(u < p && !is_blocked, 1u32, 0u32);
    if options & IS_CLAMPED != 0u32 && is_recorded && (t as u32) < until[here] {
        z = (clamped[(t * trials + k) * words + i_neuron / 32] >> (neuron_bit(i_neuron))) & 1u32;
    }

    let mut flags = Shared::<[u32]>::new_slice(UNITS as usize);
    flags[unit] = select(is_inside, z | (select(is_blocked, 2u32, 0u32)), 0u32);
    sync_cube();
    if is_inside && unit % 32 == 0 {
        let mut spike_word = 0u32;
        let mut blocked_word = 0u32;
        for bit in 0..32u32 {
            let flag = flags[unit + bit as usize];
            spike_word |= (flag & 1u32) << bit;
            blocked_word |= (flag >> 1u32) << bit;
        }
        spikes[(time * trials + k) * words + j / 32] = spike_word;
        if is_recorded {
            blocked[(t * trials + k) * words + j / 32] = blocked_word;
        }
    }
    if is_inside {
        if is_recorded && options & KEEPS != 0u32 {
            potentials[(t * trials + k) * n + j] = potential;
        }
        v[here] = potential - constants[RESET * n + i_neuron] * f32::cast_from(z);
        let waiting = r[here];
        let left = select(waiting > 0u32, waiting - 1u32, 0u32);
        r[here] = select(z > 0u32, n_refractory, left);
    }
}

#[cube]
fn neuron_bit(neuron: usize) -> u32 {
    (neuron % 32) as u32
}

/// Bits `[S, K, N/32]` turned into bits `[S, N, K/32]`: one unit per word.
#[cube(launch_unchecked)]
pub(super) fn transpose_bits(bits: &[u32], out: &mut [u32], n_all: u32, n_trials: u32, n_columns: u32) {
    let at = ABSOLUTE_POS;
    if at < n_all as usize {
        let trials = n_trials as usize;
        let columns = n_columns as usize;
        let words = columns.div_ceil(32);
        let trial_words = trials.div_ceil(32);
        let word = at % trial_words;
        let i = (at / trial_words) % columns;
        let s = at / (trial_words * columns);
        let mut packed = 0u32;
        for bit in 0..32u32 {
            let k = word * 32 + bit as usize;
            if k < trials {
                let spike = (bits[(s * trials + k) * words + i / 32] >> neuron_bit(i)) & 1u32;
                packed |= spike << bit;
            }
        }
        out[at] = packed;
    }
}

/// Copies potentials and refractory counters.
#[cube(launch_unchecked)]
pub(super) fn copy_state(v: &[f32], r: &[u32], v_out: &mut [f32], r_out: &mut [u32], size: u32) {
    let at = ABSOLUTE_POS;
    if at < size as usize {
        v_out[at] = v[at];
        r_out[at] = r[at];
    }
}

/// Copies the first `size` values.
#[cube(launch_unchecked)]
pub(super) fn copy(from: &[f32], to: &mut [f32], size: u32) {
    let at = ABSOLUTE_POS;
    if at < size as usize {
        to[at] = from[at];
    }
}

/// Spikes of step t, neuron j in the trials of condition c: `out [C, T, N]`; rows of `spikes` start at `first`, and
/// `condition` is `[2 K]`: conditions, then numbers of valid steps.
#[cube(launch_unchecked)]
pub(super) fn count_by_condition(
    spikes: &[u32],
    condition: &[u32],
    out: &mut [u32],
    first: u32,
    n_neurons: u32,
    n_trials: u32,
    n_steps: u32,
) {
    let j = ABSOLUTE_POS_X as usize;
    let n = n_neurons as usize;
    if j < n {
        let t = CUBE_POS_Y as usize;
        let c = CUBE_POS_Z;
        let trials = n_trials as usize;
        let words = n.div_ceil(32);
        let bit = neuron_bit(j);
        let mut count = 0u32;
        for k in 0..trials {
            if condition[k] == c && CUBE_POS_Y < condition[trials + k] {
                count += (spikes[((first as usize + t) * trials + k) * words + j / 32] >> bit) & 1u32;
            }
        }
        out[(c as usize * n_steps as usize + t) * n + j] = count;
    }
}

/// `out[k, t, r] = Σ weight` of the members of channel r that spike; `members` is ends `[R + 1]`, then neurons.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
pub(super) fn project(
    spikes: &[u32],
    members: &[u32],
    weights: &[f32],
    out: &mut [f32],
    size: u32,
    first: u32,
    n_neurons: u32,
    n_trials: u32,
    n_steps: u32,
    n_channels: u32,
) {
    let at = ABSOLUTE_POS;
    if at < size as usize {
        let channels = n_channels as usize;
        let trials = n_trials as usize;
        let r = at % channels;
        let t = (at / channels) % n_steps as usize;
        let k = at / (channels * n_steps as usize);
        let words = (n_neurons as usize).div_ceil(32);
        let row = ((first as usize + t) * trials + k) * words;
        let mut sum = 0.0f32;
        for m in members[r] as usize..members[r + 1] as usize {
            let neuron = members[channels + 1 + m] as usize;
            if (spikes[row + neuron / 32] >> neuron_bit(neuron)) & 1u32 == 1u32 {
                sum += weights[m];
            }
        }
        out[at] = sum;
    }
}

/// `out[k, m] = Σ_t series[k, t, channel of m] · z[k, t, neuron of m]`: one unit per trial and member.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
pub(super) fn channel_weight_gradient(
    spikes: &[u32],
    neurons: &[u32],
    channel_of: &[u32],
    series: &[f32],
    out: &mut [f32],
    size: u32,
    first: u32,
    n_neurons: u32,
    n_trials: u32,
    n_steps: u32,
    n_members: u32,
    n_channels: u32,
) {
    let at = ABSOLUTE_POS;
    if at < size as usize {
        let trials = n_trials as usize;
        let m = at % n_members as usize;
        let k = at / n_members as usize;
        let neuron = neurons[m] as usize;
        let r = channel_of[m] as usize;
        let words = (n_neurons as usize).div_ceil(32);
        let mut sum = 0.0f32;
        for t in 0..n_steps as usize {
            let row = ((first as usize + t) * trials + k) * words;
            if (spikes[row + neuron / 32] >> neuron_bit(neuron)) & 1u32 == 1u32 {
                sum += series[(k * n_steps as usize + t) * n_channels as usize + r];
            }
        }
        out[at] = sum;
    }
}
