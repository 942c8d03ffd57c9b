//! Cutting a session into bins around the alignment event of each trial.
//!
//! **Boundary rule.** A spike at time t falls in bin ⌊((t − align)·1000 − start_ms) / bin_ms⌋; a spike on
//! an edge belongs to the later bin. Quotients within 10⁻⁶ of a whole number count as that number, so
//! that rounding (0.1 + 0.2 = 0.30000000000000004, or 0.3 − 0.1 = 0.19999999999999998) can't move a spike
//! across an edge: at 1 ms bins this is 1 ns, below any sampling interval and above the rounding of times
//! up to a month. What lies outside the window is not counted.
//!
//! **Masks.** A bin is valid if it ends within its trial and within the recording. Trials are never
//! dropped: `valid_bins` counts the leading valid bins, and the rest is padding.

mod behaviour;
mod movies;

use std::collections::{BTreeMap, BTreeSet};

use ndarray::{Array2, Array3, s};
use serde::{Deserialize, Serialize};

use crate::binned::{BinnedSession, TrialInfo, mean_rates_hz};
use crate::error::{DataError, Finding};
use crate::recording::{Activity, Behaviour, BehaviourSamples, Recording, Session};

/// Quotients this close (in bins) to a whole number are taken as whole.
const EDGE_TOLERANCE: f64 = 1e-6;
/// Refuse to allocate more counts than this: 16 GiB.
const MAX_COUNTS: usize = 1 << 34;

/// How to cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinOptions {
    /// Bin width (ms).
    pub bin_ms: f64,
    /// Window (ms) relative to the alignment event; a whole number of bins. `None` takes what every
    /// session recorded, from the earliest trial start to the latest trial end around the event.
    #[serde(default)]
    pub window_ms: Option<(f64, f64)>,
    /// Behaviours to resample, by name.
    #[serde(default)]
    pub behaviour: Vec<String>,
}

impl BinOptions {
    /// Bins of `bin_ms` over all that was recorded, without behaviour.
    pub fn of_width(bin_ms: f64) -> Self {
        Self {
            bin_ms,
            window_ms: None,
            behaviour: Vec::new(),
        }
    }
}

/// The grid of bins shared by the trials of a session.
#[derive(Clone, Copy, Debug)]
struct Grid {
    bin_ms: f64,
    start_ms: f64,
    n_bins: usize,
}

impl Grid {
    /// Bin of a time (ms) relative to the alignment event, if it is in the window.
    fn bin_of(&self, relative_ms: f64) -> Option<usize> {
        let bin = floor_bins((relative_ms - self.start_ms) / self.bin_ms);
        (bin >= 0.0 && bin < self.n_bins as f64).then_some(bin as usize)
    }

    /// Number of leading bins that end no later than a time (ms) relative to the event.
    fn bins_until(&self, relative_ms: f64) -> usize {
        let bins = floor_bins((relative_ms - self.start_ms) / self.bin_ms);
        (bins.max(0.0) as usize).min(self.n_bins)
    }

    /// Left edge of a bin (ms); the right one is the left edge of the next.
    fn edge_ms(&self, bin: usize) -> f64 {
        self.start_ms + bin as f64 * self.bin_ms
    }
}

/// ⌊x⌋, except that x within [`EDGE_TOLERANCE`] of a whole number is that number.
fn floor_bins(x: f64) -> f64 {
    let nearest = x.round();
    if (x - nearest).abs() <= EDGE_TOLERANCE {
        nearest
    } else {
        x.floor()
    }
}

/// The whole number that x is, up to [`EDGE_TOLERANCE`].
fn whole(x: f64) -> Option<f64> {
    let nearest = x.round();
    ((x - nearest).abs() <= EDGE_TOLERANCE * nearest.abs().max(1.0)).then_some(nearest)
}

/// Cuts one session into bins. The session should have passed [`validate`](crate::validate()).
///
/// A behaviour that the session lacks becomes NaN, with a warning; [`bin_recording`] refuses names that
/// no session has. Allocates O(K·T·N).
///
/// # Shapes
/// spikes `[K, T, N]`, behaviour `[K, T]`, movies `[S, T, C]`.
///
/// # Errors
/// [`DataError::Bin`] if the bin width isn't positive, the window isn't a whole number of bins, binned
/// activity can't be re-binned as asked (only whole multiples of its bins, from one of its edges on), or
/// the array would be too large.
///
/// # Source
/// Sourmpis et al. 2023, program: bins of `floor(time // dt)`, counts not clipped.
///
/// # Departures
/// The program ends the list of trials at the first window that exceeds the last spike; here trials are
/// kept and masked.
pub fn bin_session(session: &Session, options: &BinOptions) -> Result<BinnedSession, DataError> {
    let fail = |message: String| DataError::Bin {
        session: session.id.clone(),
        message,
    };
    check_shapes(session).map_err(fail)?;
    let grid = grid_of(session, options).map_err(fail)?;
    check_size(session, grid).map_err(fail)?;
    let mut warnings = Vec::new();
    let at = format!("session '{}'", session.id);
    let (spikes, valid_bins) = match &session.activity {
        Activity::SpikeTimes { times_s, observed_s } => {
            bin_spike_times(session, times_s, *observed_s, grid, &mut warnings)
        }
        Activity::Binned {
            counts,
            bin_ms,
            start_ms,
        } => {
            let regrouping = regrouping(grid, *bin_ms, *start_ms).map_err(fail)?;
            regroup_counts(session, counts, regrouping, grid, &mut warnings)
        }
    };
    let n_empty = valid_bins.iter().filter(|&&valid| valid == 0).count();
    if n_empty > 0 {
        warnings.push(Finding::new(
            &at,
            format!("{n_empty} trials have no valid bin: the window lies outside what was recorded"),
        ));
    }
    let mut behaviour = BTreeMap::new();
    for name in &options.behaviour {
        let trace = if let Some(recorded) = session.behaviour.get(name) {
            behaviour::resample(session, recorded, grid, &valid_bins).map_err(fail)?
        } else {
            warnings.push(Finding::new(
                &at,
                format!("behaviour '{name}' was not recorded; it is NaN"),
            ));
            Array2::from_elem((session.n_trials(), grid.n_bins), f32::NAN)
        };
        behaviour.insert(name.clone(), trace);
    }
    let movies = session
        .stimulus
        .as_ref()
        .map(|movies| movies::resample(movies, grid, &at, &mut warnings));
    Ok(BinnedSession {
        id: session.id.clone(),
        bin_ms: grid.bin_ms,
        start_ms: grid.start_ms,
        rates_hz: mean_rates_hz(&spikes, &valid_bins, grid.bin_ms),
        spikes,
        valid_bins,
        units: session.units.clone(),
        trials: trial_infos(session),
        behaviour,
        movies,
        warnings,
    })
}

/// Cuts every session into the same bins.
///
/// # Errors
/// As [`bin_session`]; [`DataError::UnknownBehaviour`] for a name that no session has; and, where no
/// window is given, [`DataError::Bin`] if sessions differ in their own windows.
pub fn bin_recording(recording: &Recording, options: &BinOptions) -> Result<Vec<BinnedSession>, DataError> {
    let sessions = &recording.sessions;
    let recorded: BTreeSet<&str> = sessions
        .iter()
        .flat_map(|session| session.behaviour.keys().map(String::as_str))
        .collect();
    let unknown = options.behaviour.iter();
    if let Some(name) = unknown.into_iter().find(|n| !recorded.contains(n.as_str())) {
        let names: Vec<&str> = recorded.into_iter().collect();
        return Err(DataError::UnknownBehaviour {
            name: name.clone(),
            available: if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            },
        });
    }
    let binned = sessions
        .iter()
        .map(|session| bin_session(session, options))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(first) = binned.first() {
        let grid = |session: &BinnedSession| (session.start_ms, session.n_bins());
        if let Some(other) = binned.iter().find(|s| grid(s) != grid(first)) {
            return Err(DataError::Bin {
                session: other.id.clone(),
                message: format!(
                    "{} bins from {} ms on, but session '{}' has {} bins from {} ms on (hint: name one window for all sessions)",
                    other.n_bins(),
                    other.start_ms,
                    first.id,
                    first.n_bins(),
                    first.start_ms
                ),
            });
        }
    }
    Ok(binned)
}

fn trial_infos(session: &Session) -> Vec<TrialInfo> {
    let info = |(index, trial): (usize, &crate::recording::Trial)| TrialInfo {
        index,
        stimulus: trial.stimulus,
        trial_type: trial.trial_type.clone(),
        movie: trial.movie,
    };
    session.trials.iter().enumerate().map(info).collect()
}

fn grid_of(session: &Session, options: &BinOptions) -> Result<Grid, String> {
    let bin_ms = options.bin_ms;
    if !(bin_ms.is_finite() && bin_ms > 0.0) {
        return Err(format!("the bin width is {bin_ms} ms; expected a number > 0"));
    }
    let Some((start_ms, stop_ms)) = options.window_ms else {
        return own_grid(session, bin_ms);
    };
    if !(start_ms.is_finite() && stop_ms.is_finite() && start_ms < stop_ms) {
        return Err(format!(
            "the window runs from {start_ms} ms to {stop_ms} ms; expected finite times, the first one earlier"
        ));
    }
    let bins = (stop_ms - start_ms) / bin_ms;
    let Some(n_bins) = whole(bins).filter(|&n| n >= 1.0) else {
        let fitting = start_ms + bins.floor().max(1.0) * bin_ms;
        return Err(format!(
            "the window from {start_ms} ms to {stop_ms} ms is {bins:.4} bins of {bin_ms} ms; expected a whole number (hint: end it at {fitting} ms)"
        ));
    };
    Ok(Grid {
        bin_ms,
        start_ms,
        n_bins: n_bins as usize,
    })
}

/// The window a session itself suggests.
fn own_grid(session: &Session, bin_ms: f64) -> Result<Grid, String> {
    let (start_ms, stop_ms) = match &session.activity {
        Activity::Binned {
            counts,
            bin_ms,
            start_ms,
        } => (*start_ms, start_ms + counts.shape()[1] as f64 * bin_ms),
        Activity::SpikeTimes { .. } => {
            let trials = || session.trials.iter();
            let start = trials().map(|t| (t.start_s - t.align_s) * 1000.0);
            let stop = trials().map(|t| (t.stop_s - t.align_s) * 1000.0);
            let start = start.fold(f64::INFINITY, f64::min);
            let stop = stop.fold(f64::NEG_INFINITY, f64::max);
            // Differences of long times carry rounding; a window starts on a whole nanosecond.
            let on_grid = |ms: f64| (ms * 1e6).round() / 1e6;
            (on_grid(start), on_grid(stop))
        }
    };
    let n_bins = floor_bins((stop_ms - start_ms) / bin_ms);
    if n_bins < 1.0 || n_bins.is_nan() {
        return Err(format!(
            "trials last {} ms, less than one bin of {bin_ms} ms",
            stop_ms - start_ms
        ));
    }
    Ok(Grid {
        bin_ms,
        start_ms,
        n_bins: n_bins as usize,
    })
}

/// Sessions that were not validated may have arrays that disagree.
fn check_shapes(session: &Session) -> Result<(), String> {
    let (k, n) = (session.n_trials(), session.n_units());
    let has_right_shape = match &session.activity {
        Activity::SpikeTimes { times_s, .. } => times_s.len() == n,
        Activity::Binned { counts, .. } => {
            let shape = counts.shape();
            let per_bin = |behaviour: &Behaviour| match &behaviour.samples {
                BehaviourSamples::PerBin(values) => values.shape() == &shape[..2],
                BehaviourSamples::Continuous { .. } => true,
            };
            shape[0] == k && shape[2] == n && session.behaviour.values().all(per_bin)
        }
    };
    if has_right_shape {
        Ok(())
    } else {
        Err(format!(
            "arrays disagree with {k} trials and {n} units (hint: `check` lists where)"
        ))
    }
}

fn check_size(session: &Session, grid: Grid) -> Result<(), String> {
    let shape = [session.n_trials(), grid.n_bins, session.n_units()];
    let size = shape.iter().try_fold(1_usize, |p, &n| p.checked_mul(n));
    match size {
        Some(size) if size <= MAX_COUNTS => Ok(()),
        _ => Err(format!(
            "{shape:?} counts [trials, bins, units] don't fit in memory (hint: choose a window or wider bins)"
        )),
    }
}

fn bin_spike_times(
    session: &Session,
    times_s: &[Vec<f64>],
    observed_s: (f64, f64),
    grid: Grid,
    warnings: &mut Vec<Finding>,
) -> (Array3<u8>, Vec<usize>) {
    let shape = (session.n_trials(), grid.n_bins, session.n_units());
    let mut spikes = Array3::<u8>::zeros(shape);
    let mut valid_bins = Vec::with_capacity(session.n_trials());
    let mut n_saturated = 0_usize;
    for (trial, mut counts) in session.trials.iter().zip(spikes.outer_iter_mut()) {
        let end_ms = (trial.stop_s.min(observed_s.1) - trial.align_s) * 1000.0;
        let is_before = trial.align_s * 1000.0 + grid.start_ms < observed_s.0 * 1000.0 - EDGE_TOLERANCE * grid.bin_ms;
        let n_valid = if is_before { 0 } else { grid.bins_until(end_ms) };
        valid_bins.push(n_valid);
        // A little more than the window; `bin_of` decides what is inside.
        let from_s = trial.align_s + (grid.start_ms - grid.bin_ms) / 1000.0;
        let to_s = trial.align_s + (grid.edge_ms(n_valid) + grid.bin_ms) / 1000.0;
        for (n, times) in times_s.iter().enumerate() {
            let first = times.partition_point(|&t| t < from_s);
            for &t in times.iter().skip(first).take_while(|&&t| t <= to_s) {
                let bin = grid.bin_of((t - trial.align_s) * 1000.0);
                let Some(bin) = bin.filter(|&bin| bin < n_valid) else {
                    continue;
                };
                if let Some(count) = counts.get_mut((bin, n)) {
                    n_saturated += usize::from(*count == u8::MAX);
                    *count = count.saturating_add(1);
                }
            }
        }
    }
    warn_of_saturation(session, n_saturated, warnings);
    (spikes, valid_bins)
}

fn warn_of_saturation(session: &Session, n_saturated: usize, warnings: &mut Vec<Finding>) {
    if n_saturated > 0 {
        warnings.push(Finding::new(
            format!("session '{}'", session.id),
            format!("{n_saturated} spikes exceed 255 in their bin and are not counted (hint: use narrower bins)"),
        ));
    }
}

/// How stored bins become wider ones.
#[derive(Clone, Copy, Debug)]
struct Regrouping {
    /// Stored bins per new bin.
    factor: usize,
    /// Stored bins before the first new one.
    offset: usize,
}

fn regrouping(grid: Grid, stored_bin_ms: f64, stored_start_ms: f64) -> Result<Regrouping, String> {
    let ratio = grid.bin_ms / stored_bin_ms;
    let Some(factor) = whole(ratio).filter(|&factor| factor >= 1.0) else {
        return Err(format!(
            "counts are stored in bins of {stored_bin_ms} ms, which {} ms is not a whole multiple of (hint: {} ms is)",
            grid.bin_ms,
            ratio.round().max(1.0) * stored_bin_ms
        ));
    };
    let shift = (grid.start_ms - stored_start_ms) / stored_bin_ms;
    match whole(shift) {
        Some(offset) if offset >= 0.0 => Ok(Regrouping {
            factor: factor as usize,
            offset: offset as usize,
        }),
        Some(_) => Err(format!(
            "the window starts at {} ms, before the first stored bin at {stored_start_ms} ms",
            grid.start_ms
        )),
        None => Err(format!(
            "the window starts at {} ms, which is no edge of the stored bins of {stored_bin_ms} ms from {stored_start_ms} ms on (hint: {} ms is)",
            grid.start_ms,
            stored_start_ms + shift.round().max(0.0) * stored_bin_ms
        )),
    }
}

fn regroup_counts(
    session: &Session,
    counts: &Array3<u8>,
    regrouping: Regrouping,
    grid: Grid,
    warnings: &mut Vec<Finding>,
) -> (Array3<u8>, Vec<usize>) {
    let Regrouping { factor, offset } = regrouping;
    let n_stored = counts.shape()[1];
    let mut spikes = Array3::<u8>::zeros((session.n_trials(), grid.n_bins, session.n_units()));
    let mut valid_bins = Vec::with_capacity(session.n_trials());
    let mut n_saturated = 0_usize;
    for (k, trial) in session.trials.iter().enumerate() {
        let stored_valid = trial.valid_bins.unwrap_or(n_stored).min(n_stored);
        let n_valid = (stored_valid.saturating_sub(offset) / factor).min(grid.n_bins);
        valid_bins.push(n_valid);
        for t in 0..n_valid {
            let first = offset + t * factor;
            for n in 0..session.n_units() {
                let group = counts.slice(s![k, first..first + factor, n]);
                let sum: usize = group.iter().map(|&count| usize::from(count)).sum();
                n_saturated += sum.saturating_sub(usize::from(u8::MAX));
                spikes[[k, t, n]] = u8::try_from(sum).unwrap_or(u8::MAX);
            }
        }
    }
    warn_of_saturation(session, n_saturated, warnings);
    (spikes, valid_bins)
}
