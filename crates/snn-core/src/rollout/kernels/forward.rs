//! Steps of the simulation of all trials, and the statistics of spikes.

use super::cell::{
    ALPHA, BIAS, GAIN, HAS_DRIVE, HAS_EVENTS, HAS_NOISE, HAS_OFFSET, INVERSE_SCALE, IS_CLAMPED, IS_GIVEN, KEEPS, NOISE,
    RESET, THRESHOLD, normal, philox, sigmoid, uniform,
};
use cubecl::prelude::*;

/// Units of a cube: neurons of one trial.
pub(super) const UNITS: u32 = 256;

/// Words of presynaptic spikes whose neurons are listed at once.
pub(super) const LISTED_WORDS: usize = 128;
/// Entries of that list that are read before the first is added.
const AHEAD: usize = 4;

/// Steps `from..to` (warm-up included) of every trial: a cube takes a trial, a unit the neurons `unit + c · CUBE_DIM`.
///
/// Trials don't depend on one another, so a cube goes through the steps without waiting for others; its units see each
/// other's spikes through the buffer `[H + S, K, N/32]`, which starts with the H steps before the first. Presynaptic
/// neurons are added in the order of the CPU: inputs, then delays, each ascending. `random` is the key's two words, the
/// first trial, the training step and the time of the first step.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments, unused_assignments)]
pub(super) fn forward_steps(
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
    random: &[u32],
    from: u32,
    to: u32,
    options: u32,
    n_neurons: u32,
    n_trials: u32,
    n_inputs: u32,
    n_delays: u32,
    n_history: u32,
    n_warmup: u32,
    n_steps: u32,
    n_courses: u32,
    n_refractory: u32,
    temperature: f32,
    p_scale: f32,
    #[comptime] n_units: usize,
    #[comptime] per_unit: usize,
) {
    let unit = UNIT_POS as usize;
    let k = CUBE_POS_X as usize;
    let n = n_neurons as usize;
    let trials = n_trials as usize;
    let words = n.div_ceil(32);
    let inputs = n_inputs as usize;
    let has_events = options & HAS_EVENTS != 0u32;
    let has_noise = options & HAS_NOISE != 0u32;
    let input_words = select(has_events, inputs.div_ceil(32), 0usize);
    let all_words = input_words + n_delays as usize * words;

    let mut rows = Shared::<[u32]>::new_slice(comptime!(LISTED_WORDS * 32));
    let mut counts = Shared::<[u32]>::new_slice(LISTED_WORDS);
    // One more for each 32: units that pack neighbouring words read different banks.
    let mut flags = Shared::<[u32]>::new_slice(comptime!(2 * (n_units + n_units / 32)));
    let mut voltage = Array::<f32>::new(per_unit);
    let mut waiting = Array::<u32>::new(per_unit);
    let mut current = Array::<f32>::new(per_unit);
    #[unroll]
    for c in 0..per_unit {
        let j = min(unit + c * n_units, n - 1);
        voltage[c] = v[k * n + j];
        waiting[c] = r[k * n + j];
    }

    for s in from..to {
        let time = (n_history + s) as usize;
        let is_recorded = s >= n_warmup;
        let t = select(is_recorded, s - n_warmup, 0u32) as usize;
        #[unroll]
        for c in 0..per_unit {
            current[c] = 0.0f32;
        }

        let mut first_word = 0usize;
        while first_word < all_words {
            // The neurons that spiked, in order, listed by all units together.
            let mut word = unit;
            while word < LISTED_WORDS {
                let at = first_word + word;
                let mut bits = 0u32;
                if at < input_words {
                    bits = events[(s as usize * trials + k) * input_words + at];
                } else if at < all_words {
                    let d = (at - input_words) / words;
                    let back = delays[d] as usize;
                    bits = spikes[((time - back) * trials + k) * words + (at - input_words) % words];
                }
                counts[word] = bits.count_ones();
                word += n_units;
            }
            sync_cube();
            let mut word = unit;
            while word < LISTED_WORDS {
                let at = first_word + word;
                if counts[word] != 0u32 {
                    let mut place = 0usize;
                    for before in 0..word {
                        place += counts[before] as usize;
                    }
                    let mut bits = 0u32;
                    let mut row = 0usize;
                    if at < input_words {
                        bits = events[(s as usize * trials + k) * input_words + at];
                        row = at * 32;
                    } else {
                        let d = (at - input_words) / words;
                        let of_delay = (at - input_words) % words;
                        let back = delays[d] as usize;
                        bits = spikes[((time - back) * trials + k) * words + of_delay];
                        row = inputs + d * n + of_delay * 32;
                    }
                    while bits != 0u32 {
                        rows[place] = row as u32 + bits.trailing_zeros();
                        place += 1;
                        bits &= bits - 1u32;
                    }
                }
                word += n_units;
            }
            let mut n_rows = 0usize;
            for word in 0..LISTED_WORDS {
                n_rows += counts[word] as usize;
            }
            sync_cube();
            let mut at = 0usize;
            while at < n_rows {
                let mut ahead = Array::<f32>::new(comptime!(AHEAD * per_unit));
                #[unroll]
                for i in 0..AHEAD {
                    // Beyond the last row the last is read again and not added.
                    let row = rows[min(at + i, n_rows - 1)] as usize;
                    #[unroll]
                    for c in 0..per_unit {
                        let j = min(unit + c * n_units, n - 1);
                        if row < inputs {
                            ahead[i * per_unit + c] = w_in[row * n + j];
                        } else {
                            ahead[i * per_unit + c] = w[(row - inputs) * n + j];
                        }
                    }
                }
                #[unroll]
                for i in 0..AHEAD {
                    if at + i < n_rows {
                        #[unroll]
                        for c in 0..per_unit {
                            current[c] += ahead[i * per_unit + c];
                        }
                    }
                }
                at += AHEAD;
            }
            sync_cube();
            first_word += LISTED_WORDS;
        }

        #[unroll]
        for c in 0..per_unit {
            let j = unit + c * n_units;
            let is_inside = j < n;
            // Units beyond the last neuron follow it, so that all of a cube go the same way, and write nothing.
            let i_neuron = min(j, n - 1);
            let here = k * n + i_neuron;
            let mut noise = 0.0f32;
            let mut u = 0.0f32;
            if options & IS_GIVEN != 0u32 {
                let at = (k * (n_warmup + n_steps) as usize + s as usize) * n + i_neuron;
                u = uniforms[at];
                if has_noise {
                    noise = normals[at];
                }
            } else {
                let mut drawn = Array::<u32>::new(4usize);
                let neuron = i_neuron as u32;
                philox(
                    neuron / 2u32,
                    random[4] + s,
                    random[2] + CUBE_POS_X,
                    random[3],
                    random[0],
                    random[1],
                    &mut drawn,
                );
                let is_odd = neuron % 2u32 == 1u32;
                u = uniform(select(is_odd, drawn[1], drawn[0]));
                if has_noise {
                    noise = normal(drawn[2], drawn[3], is_odd);
                }
            }

            let mut potential = constants[ALPHA * n + i_neuron] * voltage[c]
                + constants[GAIN * n + i_neuron] * current[c]
                + constants[BIAS * n + i_neuron];
            if has_noise {
                potential += constants[NOISE * n + i_neuron] * noise;
            }
            if options & HAS_DRIVE != 0u32 {
                potential += drive[(drive_index[k] as usize * n_steps as usize + t) * n + i_neuron];
            }
            if options & HAS_OFFSET != 0u32 {
                // The shares of the rows at each step follow the rows.
                let courses = n_courses as usize;
                for b in 0..courses {
                    let share = offset[(trials * n + t) * courses + b];
                    if share != 0.0f32 {
                        potential += share * offset[(k * courses + b) * n + i_neuron];
                    }
                }
            }
            let x = (potential - constants[THRESHOLD * n + i_neuron]) * constants[INVERSE_SCALE * n + i_neuron];
            let p = p_scale * sigmoid(temperature * x);
            let is_blocked = waiting[c] > 0u32;
            let mut z = select(u < p && !is_blocked, 1u32, 0u32);
            if options & IS_CLAMPED != 0u32 && is_recorded && (t as u32) < until[here] {
                z = (clamped[(t * trials + k) * words + i_neuron / 32] >> (neuron_bit(i_neuron))) & 1u32;
            }
            voltage[c] = potential - constants[RESET * n + i_neuron] * f32::cast_from(z);
            let left = select(is_blocked, waiting[c] - 1u32, 0u32);
            waiting[c] = select(z > 0u32, n_refractory, left);
            if is_inside && is_recorded && options & KEEPS != 0u32 {
                potentials[(t * trials + k) * n + j] = potential;
            }

            // Two halves in turn: no unit writes where another still reads.
            let half = comptime!((c % 2) * (n_units + n_units / 32));
            flags[half + unit + unit / 32] = select(is_inside, z | (select(is_blocked, 2u32, 0u32)), 0u32);
            sync_cube();
            if unit < comptime!(n_units / 32) {
                let word = comptime!(c * (n_units / 32)) + unit;
                if word < words {
                    let mut spike_word = 0u32;
                    let mut blocked_word = 0u32;
                    for bit in 0..32u32 {
                        let flag = flags[half + unit * 33 + bit as usize];
                        spike_word |= (flag & 1u32) << bit;
                        blocked_word |= (flag >> 1u32) << bit;
                    }
                    spikes[(time * trials + k) * words + word] = spike_word;
                    if is_recorded {
                        blocked[(t * trials + k) * words + word] = blocked_word;
                    }
                }
            }
        }
        sync_storage();
    }
    #[unroll]
    for c in 0..per_unit {
        let j = unit + c * n_units;
        if j < n {
            v[k * n + j] = voltage[c];
            r[k * n + j] = waiting[c];
        }
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
