//! What drives the teacher from outside: thalamic spikes at the whisker stimulus and the cue, and a top-down drive
//! that carries the decision.

use data::six_area::{AREAS, CUE_MS, PlannedTrial};
use ndarray::{Array1, Array2, Array3};
use snn_core::connectivity::Neuron;
use snn_core::models::rsnn::PoissonInput;
use snn_core::rng::{Key, Place, fill_normals, fill_uniforms};
use snn_core::rollout::{Drive, InputEvents};

use super::teacher::{INHIBITORY_SHARE, is_inhibitory};
use super::{DT_MS, N_STEPS, N_WARMUP, START_MS, dt};

/// Parts of the top-down drive.
const N_PARTS: usize = 5;
/// Part that prepares the lick, …
const RAMP: usize = 0;
/// … that moves the jaw in the delay, …
const MOVEMENT: usize = 1;
/// … that licks, …
const LICK: usize = 2;
/// … of the late sensory response, which is larger in hits, …
const LATE: usize = 3;
/// … and the excitability of the trial.
const AROUSAL: usize = 4;
/// Shift of the mean potential (threshold: 0.1) by a part of course 1, in the area that it reaches most; the
/// membrane noise of an excitatory neuron has a standard deviation of 0.04.
const AMPLITUDE: [f32; N_PARTS] = [0.045, 0.060, 0.062, 0.040, 0.004];
/// How much of each part reaches an area, `[area][part]`.
const REACH: [[f32; N_PARTS]; AREAS.len()] = [
    [0.0, 0.15, 0.20, 1.0, 1.0],
    [0.0, 0.15, 0.20, 1.0, 1.0],
    [0.15, 0.30, 0.40, 0.6, 1.0],
    [0.60, 0.40, 0.60, 0.3, 1.0],
    [1.00, 0.60, 0.90, 0.1, 1.0],
    [0.50, 1.00, 1.20, 0.1, 1.0],
];
/// Mean and standard deviation over neurons of the sensitivity to a part.
const SENSITIVITY: (f32, f32) = (0.6, 0.7);
/// Rate of licking (Hz).
const LICK_HZ: f64 = 7.0;
/// The motor command starts so long before the movement (ms).
const COMMAND_LEAD_MS: f64 = 60.0;
/// Time constants (ms): rise of a drive, …
const RISE_MS: f64 = 20.0;
/// … its fall, …
const FALL_MS: f64 = 60.0;
/// … and that of the late sensory response.
const LATE_MS: f64 = 50.0;
/// Late sensory response of misses, that of hits being 1.
const LATE_MISS: f64 = 0.6;

/// Sensitivity of each neuron to each part of the drive, in units of the potential: `[parts, N]`.
pub(super) fn loadings(neurons: &[Neuron], key: Key) -> Array2<f32> {
    let mut loadings = Array2::zeros((N_PARTS, neurons.len()));
    for (part, mut row) in loadings.outer_iter_mut().enumerate() {
        let mut normals = vec![0.0; neurons.len()];
        let place = Place {
            time: part as u32,
            trial: 0,
            step: 0,
        };
        fill_normals(key, place, &mut normals);
        for ((loading, normal), &neuron) in row.iter_mut().zip(normals).zip(neurons) {
            let share = if is_inhibitory(neuron) { INHIBITORY_SHARE } else { 1.0 };
            *loading = share * AMPLITUDE[part] * REACH[neuron.area][part] * (SENSITIVITY.0 + SENSITIVITY.1 * normal);
        }
    }
    loadings
}

/// How much a neuron is driven when the jaw moves.
pub(super) fn motor_tuning(loadings: &Array2<f32>, neuron: usize) -> f64 {
    f64::from(loadings[[LICK, neuron]]) + f64::from(loadings[[MOVEMENT, neuron]])
}

/// Drive per trial and step, `[K, T, N]`, as [`snn_core::rollout::Network`] takes it: `gain` = 1 − α times the sum of the
/// neuron's `tonic` drive and of the parts.
pub(super) fn top_down(trials: &[PlannedTrial], loadings: &Array2<f32>, tonic: &Array1<f32>, gain: &[f32]) -> Drive {
    let mut values = Array3::zeros((trials.len(), N_STEPS, gain.len()));
    for (trial, mut steps) in trials.iter().zip(values.outer_iter_mut()) {
        for (t, mut row) in steps.outer_iter_mut().enumerate() {
            row.assign(tonic);
            let courses = courses(trial, START_MS + (t as f64 + 0.5) * DT_MS);
            for (course, loadings) in courses.into_iter().zip(loadings.outer_iter()) {
                if course != 0.0 {
                    row.scaled_add(course as f32, &loadings);
                }
            }
            for (value, gain) in row.iter_mut().zip(gain) {
                *value *= gain;
            }
        }
    }
    Drive {
        values,
        index: (0..trials.len()).collect(),
    }
}

/// Course of each part at a time (ms after the whisker stimulus).
fn courses(trial: &PlannedTrial, t_ms: f64) -> [f64; N_PARTS] {
    let mut courses = [0.0; N_PARTS];
    if let Some(ramp) = trial.ramp {
        let since = t_ms - ramp.start_ms;
        let reached = (since / ramp.duration_ms).clamp(0.0, 1.0);
        courses[RAMP] = ramp.amplitude * rise(since) * (0.35 + 0.65 * reached) * fall(t_ms - CUE_MS - 50.0);
    }
    if trial.trial_type.is_go() {
        let size = if trial.trial_type.is_lick() { 1.0 } else { LATE_MISS };
        courses[LATE] = size * trial.whisker_gain * rise(t_ms - 8.0) * fall_with(t_ms - 25.0, LATE_MS);
    }
    if let Some(movement) = trial.movement {
        let since = t_ms - movement.start_ms + COMMAND_LEAD_MS;
        courses[MOVEMENT] = movement.amplitude * rise(since) * fall(since - movement.duration_ms);
    }
    if let Some(lick) = trial.lick {
        let since = t_ms - lick.start_ms + COMMAND_LEAD_MS;
        let rhythm = 0.85 + 0.15 * (std::f64::consts::TAU * LICK_HZ * since / 1000.0).cos();
        courses[LICK] = lick.amplitude * rise(since) * rhythm * fall_with(since - lick.duration_ms, 4.0 * FALL_MS);
    }
    courses[AROUSAL] = trial.arousal;
    courses
}

/// 0 before 0, then exponentially to 1.
fn rise(since_ms: f64) -> f64 {
    if since_ms > 0.0 {
        -(-since_ms / RISE_MS).exp_m1()
    } else {
        0.0
    }
}

fn fall(since_ms: f64) -> f64 {
    fall_with(since_ms, FALL_MS)
}

/// 1 before 0, then exponentially to 0.
fn fall_with(since_ms: f64, tau_ms: f64) -> f64 {
    (-since_ms.max(0.0) / tau_ms).exp()
}

/// Spikes of the thalamic inputs: background, the whisker group in go trials, the auditory group at every cue.
pub(super) fn thalamus(trials: &[PlannedTrial], input: &PoissonInput, key: Key, step: u32, first: u32) -> InputEvents {
    let base = input.probability(0.0, dt()) as f32;
    let cue = input.probability(1.0, dt()) as f32;
    let group = super::INPUTS_PER_GROUP;
    let mut uniforms = vec![0.0; input.n];
    InputEvents::build(input.n, trials.len(), N_WARMUP + N_STEPS, |k, t, out| {
        let place = Place {
            time: t as u32,
            trial: first + k as u32,
            step,
        };
        fill_uniforms(key, place, &mut uniforms);
        let is_on = |onset: usize| {
            let since = t as i64 - N_WARMUP as i64 - input.first_steps[onset];
            (0..input.n_duration as i64).contains(&since)
        };
        let whisker = if is_on(0) && trials[k].trial_type.is_go() {
            base + (cue - base) * trials[k].whisker_gain as f32
        } else {
            base
        };
        let auditory = if is_on(1) { cue } else { base };
        for (i, &uniform) in uniforms.iter().enumerate() {
            let p = match i / group {
                0 => whisker,
                1 => auditory,
                _ => base,
            };
            if uniform < p {
                out.push(i as u16);
            }
        }
    })
}
