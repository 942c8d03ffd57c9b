//! Behaviour traces on the bins of the activity.

use std::borrow::Cow;

use ndarray::{Array2, ArrayView1, s};

use super::{EDGE_TOLERANCE, Grid, regrouping};
use crate::recording::{Activity, Behaviour, BehaviourSamples, Session, Timing};

/// A gap longer than this many sampling intervals is not bridged.
const MAX_GAP_INTERVALS: f64 = 2.0;

/// Values `[K, T]` in bins: the mean of the samples in a bin, or, where samples are further apart than
/// bins are wide, the line between neighbouring samples at the centre of the bin.
///
/// NaN in padding, where samples are missing, and in gaps of more than [`MAX_GAP_INTERVALS`] intervals.
pub(super) fn resample(
    session: &Session,
    behaviour: &Behaviour,
    grid: Grid,
    valid_bins: &[usize],
) -> Result<Array2<f32>, String> {
    match &behaviour.samples {
        BehaviourSamples::PerBin(values) => regroup(session, values, grid, valid_bins),
        BehaviourSamples::Continuous { values, timing } => {
            let samples = Samples::new(values, timing);
            let mut trace = Array2::from_elem((session.n_trials(), grid.n_bins), f32::NAN);
            for ((trial, &n_valid), mut row) in session.trials.iter().zip(valid_bins).zip(trace.outer_iter_mut()) {
                for (cell, value) in row.iter_mut().zip(samples.trial(trial.align_s, grid, n_valid)) {
                    *cell = value;
                }
            }
            Ok(trace)
        }
    }
}

fn regroup(session: &Session, values: &Array2<f32>, grid: Grid, valid_bins: &[usize]) -> Result<Array2<f32>, String> {
    let Activity::Binned { bin_ms, start_ms, .. } = &session.activity else {
        return Err("values per trial and bin need binned activity".to_owned());
    };
    let groups = regrouping(grid, *bin_ms, *start_ms)?;
    let mut trace = Array2::from_elem((session.n_trials(), grid.n_bins), f32::NAN);
    for (k, &n_valid) in valid_bins.iter().enumerate() {
        for t in 0..n_valid {
            let first = groups.offset + t * groups.factor;
            trace[[k, t]] = mean_of_known(&values.slice(s![k, first..first + groups.factor]));
        }
    }
    Ok(trace)
}

/// Mean of what isn't NaN; NaN if nothing is left. One value is returned as it is.
fn mean_of_known(values: &ArrayView1<'_, f32>) -> f32 {
    let mut mean = Mean::default();
    values.iter().for_each(|&value| mean.add(value));
    mean.value()
}

#[derive(Clone, Copy, Default)]
struct Mean {
    sum: f64,
    n: usize,
}

impl Mean {
    fn add(&mut self, value: f32) {
        if !value.is_nan() {
            self.sum += f64::from(value);
            self.n += 1;
        }
    }

    /// NaN where nothing was added.
    fn value(self) -> f32 {
        (self.sum / self.n as f64) as f32
    }
}

struct Samples<'a> {
    values: &'a [f32],
    times_s: Cow<'a, [f64]>,
    interval_s: f64,
}

impl<'a> Samples<'a> {
    fn new(values: &'a [f32], timing: &'a Timing) -> Self {
        let (times_s, interval_s) = match timing {
            Timing::Rate { rate_hz, start_s } => {
                let time = |i: usize| start_s + i as f64 / rate_hz;
                let times: Vec<f64> = (0..values.len()).map(time).collect();
                (Cow::Owned(times), 1.0 / rate_hz)
            }
            Timing::Timestamps(times) => (Cow::Borrowed(times.as_slice()), median_interval(times)),
        };
        Self {
            values,
            times_s,
            interval_s,
        }
    }

    /// Values of the valid bins of one trial.
    fn trial(&self, align_s: f64, grid: Grid, n_valid: usize) -> Vec<f32> {
        let is_slow = self.interval_s * 1000.0 > grid.bin_ms * (1.0 + EDGE_TOLERANCE);
        let mut means = vec![Mean::default(); n_valid];
        if !is_slow {
            let from_s = align_s + (grid.start_ms - grid.bin_ms) / 1000.0;
            let to_s = align_s + (grid.edge_ms(n_valid) + grid.bin_ms) / 1000.0;
            let first = self.times_s.partition_point(|&t| t < from_s);
            let samples = self.times_s.iter().zip(self.values).skip(first);
            for (&t, &value) in samples.take_while(|&(&t, _)| t <= to_s) {
                let bin = grid.bin_of((t - align_s) * 1000.0);
                if let Some(mean) = bin.and_then(|bin| means.get_mut(bin)) {
                    mean.add(value);
                }
            }
        }
        let centre_s = |bin: usize| align_s + (grid.edge_ms(bin) + 0.5 * grid.bin_ms) / 1000.0;
        let value = |(bin, mean): (usize, Mean)| {
            if mean.n > 0 {
                mean.value()
            } else {
                self.at(centre_s(bin))
            }
        };
        means.into_iter().enumerate().map(value).collect()
    }

    /// The line between the neighbouring samples; within half an interval of the ends, the end sample.
    fn at(&self, t: f64) -> f32 {
        let after = self.times_s.partition_point(|&time| time <= t);
        let sample = |i: usize| Some((*self.times_s.get(i)?, *self.values.get(i)?));
        let left = after.checked_sub(1).and_then(sample);
        match (left, sample(after)) {
            (Some((time, value)), _) if time == t => value,
            (Some((t0, v0)), Some((t1, v1))) => {
                if t1 - t0 > MAX_GAP_INTERVALS * self.interval_s * (1.0 + EDGE_TOLERANCE) {
                    return f32::NAN;
                }
                let weight = (t - t0) / (t1 - t0);
                (f64::from(v0) * (1.0 - weight) + f64::from(v1) * weight) as f32
            }
            (Some((time, value)), None) | (None, Some((time, value))) => {
                if (t - time).abs() <= 0.5 * self.interval_s * (1.0 + EDGE_TOLERANCE) {
                    value
                } else {
                    f32::NAN
                }
            }
            (None, None) => f32::NAN,
        }
    }
}

/// Median of the intervals between samples (s); 0 for fewer than two.
fn median_interval(times_s: &[f64]) -> f64 {
    let mut intervals: Vec<f64> = times_s.windows(2).map(|pair| pair[1] - pair[0]).collect();
    intervals.sort_by(f64::total_cmp);
    intervals.get(intervals.len() / 2).copied().unwrap_or(0.0)
}
