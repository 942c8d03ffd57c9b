//! Cutting a session into bins around the alignment event of each trial.
//!
//! **Boundary rule.** A spike at time t falls in bin ⌊((t − align)·1000 − start_ms) / bin_ms⌋; a spike on
//! an edge belongs to the later bin. Quotients within 10⁻⁶ of a whole number count as that number, so
//! that rounding (0.1 + 0.2 = 0.30000000000000004, or 0.3 − 0.1 = 0.19999999999999998) can't move a spike
//! across an edge: at 1 ms bins this is 1 ns, below any sampling interval and above the rounding of times
//! up to a month. What lies outside the window is not counted.
//!
//! **Masks.** A bin is valid if it lies within its trial and within the recording: what is before or after
//! belongs to other trials. Trials are never dropped: `valid_bins` counts the leading valid bins, and the
//! rest is padding. Padding is at the end only; a trial that starts after its window does has no valid
//! bin, with a warning that says which window would fit. Without a window, bins run from the latest start
//! of a trial to the latest end, both relative to the event. A unit that was not observed in all valid bins of a trial
//! is absent from it: its counts there are 0, and the mask `presence` says so.

mod behaviour;
mod movies;

use std::collections::{BTreeMap, BTreeSet};

use ndarray::{Array2, Array3, s};
use serde::{Deserialize, Serialize};

use crate::binned::{BinnedSession, TrialInfo, mean_rates_hz};
use crate::error::{DataError, Finding};
use crate::presence;
use crate::recording::{Activity, Behaviour, BehaviourSamples, Recording, Session, Trial};

/// Quotients this close (in bins) to a whole number are taken as whole.
const EDGE_TOLERANCE: f64 = 1e-6;
/// Edges of trials are compared with at least this slack (ms): 1 ns.
const TRIAL_SLACK_MS: f64 = 1e-6;
/// Refuse to allocate more counts than this: 16 GiB.
const MAX_COUNTS: usize = 1 << 34;

/// How to cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinOptions {
    /// Bin width (ms).
    pub bin_ms: f64,
    /// Window (ms) relative to the alignment event; a whole number of bins. `None` takes what all trials of
    /// a session have before the event, and the most that one of them has after it: from the latest trial
    /// start to the latest trial end.
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

    /// Number of leading bins of a trial that are data, if the trial and the recording run over `span`.
    fn valid_bins(&self, span: Span) -> usize {
        if self.start_ms < span.start_ms - self.slack_ms() {
            return 0;
        }
        let bins = floor_within(
            (span.stop_ms - self.start_ms) / self.bin_ms,
            self.slack_ms() / self.bin_ms,
        );
        (bins.max(0.0) as usize).min(self.n_bins)
    }

    /// Slack (ms) at the edges of trials.
    fn slack_ms(&self) -> f64 {
        TRIAL_SLACK_MS.max(EDGE_TOLERANCE * self.bin_ms)
    }

    /// Left edge of a bin (ms); the right one is the left edge of the next.
    fn edge_ms(&self, bin: usize) -> f64 {
        self.start_ms + bin as f64 * self.bin_ms
    }
}

/// When something lasted (ms), relative to the event of a trial.
#[derive(Clone, Copy, Debug)]
struct Span {
    start_ms: f64,
    stop_ms: f64,
}

impl Span {
    /// From start to stop of a trial.
    fn of_trial(trial: &Trial) -> Self {
        Self {
            start_ms: (trial.start_s - trial.align_s) * 1000.0,
            stop_ms: (trial.stop_s - trial.align_s) * 1000.0,
        }
    }

    /// The part of the trial that was recorded. Of binned activity, every bin was, unless the trial says
    /// otherwise (see [`Trial::valid_bins`]).
    fn recorded(trial: &Trial, activity: &Activity) -> Self {
        let span = Self::of_trial(trial);
        match activity {
            Activity::SpikeTimes { observed_s, .. } => Self {
                start_ms: span.start_ms.max((observed_s.0 - trial.align_s) * 1000.0),
                stop_ms: span.stop_ms.min((observed_s.1 - trial.align_s) * 1000.0),
            },
            Activity::Binned { .. } => span,
        }
    }
}

/// Differences of long times carry rounding; a window starts on a whole nanosecond.
fn on_nanosecond(ms: f64) -> f64 {
    // Adding zero turns −0 into 0.
    (ms * 1e6).round() / 1e6 + 0.0
}

/// ⌊x⌋, except that x within [`EDGE_TOLERANCE`] of a whole number is that number.
fn floor_bins(x: f64) -> f64 {
    floor_within(x, EDGE_TOLERANCE)
}

/// ⌊x⌋, except that x within a tolerance of a whole number is that number.
fn floor_within(x: f64, tolerance: f64) -> f64 {
    let nearest = x.round();
    if (x - nearest).abs() <= tolerance {
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
    if options.window_ms.is_none() {
        warn_of_jitter(session, grid, &at, &mut warnings);
    }
    let (mut spikes, valid_bins) = match &session.activity {
        Activity::SpikeTimes { times_s, .. } => bin_spike_times(session, times_s, grid, &mut warnings),
        Activity::Binned {
            counts,
            bin_ms,
            start_ms,
            ..
        } => {
            let regrouping = regrouping(grid, *bin_ms, *start_ms).map_err(fail)?;
            regroup_counts(session, counts, regrouping, grid, &mut warnings)
        }
    };
    let presence = presence_of(session, grid, &valid_bins);
    if let Some(presence) = &presence {
        for ((k, n), _) in presence.indexed_iter().filter(|(_, is_present)| !**is_present) {
            spikes.slice_mut(s![k, .., n]).fill(0);
        }
    }
    warn_of_empty_trials(session, grid, &valid_bins, &at, &mut warnings);
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
    let align_s: Vec<f64> = session.trials.iter().map(|trial| trial.align_s).collect();
    Ok(BinnedSession {
        id: session.id.clone(),
        bin_ms: grid.bin_ms,
        start_ms: grid.start_ms,
        rates_hz: mean_rates_hz(&spikes, &valid_bins, presence.as_ref(), grid.bin_ms),
        spikes,
        valid_bins,
        presence,
        units: session.units.clone(),
        trials: trial_infos(session),
        event_ms: session.events.relative_ms(&align_s),
        values: session.events.values.clone(),
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

/// Without a window, what is before the latest start of a trial is left out in all; says so.
fn warn_of_jitter(session: &Session, grid: Grid, at: &str, warnings: &mut Vec<Finding>) {
    let recorded_from = |trial: &Trial| match session.activity {
        Activity::SpikeTimes { .. } => Span::of_trial(trial).start_ms,
        Activity::Binned { start_ms, .. } => start_ms,
    };
    let earliest_ms = session.trials.iter().map(recorded_from).fold(f64::INFINITY, f64::min);
    if grid.start_ms - earliest_ms > grid.bin_ms - grid.slack_ms() {
        warnings.push(Finding::new(
            at,
            format!(
                "bins start at {} ms, the latest start of a trial relative to its event; what was recorded from {} ms on is left out (hint: name a window)",
                grid.start_ms,
                on_nanosecond(earliest_ms)
            ),
        ));
    }
}

/// Says how many trials have no valid bin, and which windows they would allow.
fn warn_of_empty_trials(session: &Session, grid: Grid, valid_bins: &[usize], at: &str, warnings: &mut Vec<Finding>) {
    let start_of = |trial: &Trial| Span::recorded(trial, &session.activity).start_ms;
    let is_late = |trial: &Trial| grid.start_ms < start_of(trial) - grid.slack_ms();
    let n_late = session.trials.iter().filter(|&trial| is_late(trial)).count();
    let n_empty = valid_bins.iter().filter(|&&valid| valid == 0).count();
    let n_trials = session.n_trials();
    if n_late > 0 {
        let mut starts: Vec<f64> = session.trials.iter().map(start_of).collect();
        starts.sort_by(f64::total_cmp);
        let start_at = |i: usize| on_nanosecond(starts.get(i).copied().unwrap_or(f64::NAN));
        let (all_ms, most_ms) = (start_at(n_trials - 1), start_at(n_trials / 2));
        let allowed = if all_ms == most_ms {
            format!("all trials allow a window from {all_ms} ms on")
        } else {
            format!("all trials allow a window from {all_ms} ms on, most of them one from {most_ms} ms on")
        };
        warnings.push(Finding::new(
            at,
            format!(
                "{n_late} of {n_trials} trials have no valid bin: the window starts at {} ms, before they or the recording do (hint: {allowed})",
                grid.start_ms
            ),
        ));
    }
    if n_empty > n_late {
        let n_other = n_empty - n_late;
        warnings.push(Finding::new(
            at,
            format!("{n_other} of {n_trials} trials have no valid bin: the window lies outside what was recorded"),
        ));
    }
}

/// Which units were observed in all valid bins of which trials, `[K, N]`; `None` where all were in all.
fn presence_of(session: &Session, grid: Grid, valid_bins: &[usize]) -> Option<Array2<bool>> {
    let presence = match &session.activity {
        Activity::Binned { presence, .. } => presence.clone()?,
        Activity::SpikeTimes { unit_observed_s, .. } => {
            let units = unit_observed_s.as_ref()?;
            let slack_s = (grid.slack_ms() / 1000.0).max(presence::SLACK_S);
            Array2::from_shape_fn((session.n_trials(), session.n_units()), |(k, n)| {
                let align_s = session.trials[k].align_s;
                let from_s = align_s + grid.start_ms / 1000.0;
                let to_s = align_s + grid.edge_ms(valid_bins[k]) / 1000.0;
                let stretches = units.get(n).map_or(&[][..], Vec::as_slice);
                // Nothing is asked of a trial without data.
                valid_bins[k] == 0 || presence::holds(stretches, from_s, to_s, slack_s)
            })
        }
    };
    presence.iter().any(|is_present| !is_present).then_some(presence)
}

fn trial_infos(session: &Session) -> Vec<TrialInfo> {
    let info = |(index, trial): (usize, &Trial)| TrialInfo {
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

/// The window a session itself suggests: what is before the event in all trials, and after it in any.
fn own_grid(session: &Session, bin_ms: f64) -> Result<Grid, String> {
    let spans = || session.trials.iter().map(Span::of_trial);
    let latest_start_ms = spans().map(|span| span.start_ms).fold(f64::NEG_INFINITY, f64::max);
    let (start_ms, stop_ms) = match &session.activity {
        Activity::Binned {
            counts,
            bin_ms: stored_ms,
            start_ms,
            ..
        } => {
            // The first stored edge that all trials have.
            let slack = TRIAL_SLACK_MS.max(EDGE_TOLERANCE * stored_ms) / stored_ms;
            let n_early = -floor_within((start_ms - latest_start_ms) / stored_ms, slack);
            let n_stored = counts.shape()[1] as f64;
            let first = n_early.clamp(0.0, n_stored);
            (start_ms + first * stored_ms, start_ms + n_stored * stored_ms)
        }
        Activity::SpikeTimes { .. } => {
            let stop_ms = spans().map(|span| span.stop_ms).fold(f64::NEG_INFINITY, f64::max);
            (on_nanosecond(latest_start_ms), on_nanosecond(stop_ms))
        }
    };
    let n_bins = floor_bins((stop_ms - start_ms) / bin_ms);
    if n_bins < 1.0 || n_bins.is_nan() {
        return Err(format!(
            "trials have {} ms in common, less than one bin of {bin_ms} ms (from the latest trial start, {start_ms} ms, to the latest trial end, {stop_ms} ms, relative to the event)",
            (stop_ms - start_ms).max(0.0)
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
        Activity::Binned { counts, presence, .. } => {
            let shape = counts.shape();
            let is_masked = presence.as_ref().is_none_or(|presence| presence.dim() == (k, n));
            let per_bin = |behaviour: &Behaviour| match &behaviour.samples {
                BehaviourSamples::PerBin(values) => values.shape() == &shape[..2],
                BehaviourSamples::Continuous { .. } => true,
            };
            is_masked && shape[0] == k && shape[2] == n && session.behaviour.values().all(per_bin)
        }
    };
    let mut columns = session.events.times_s.values().chain(session.events.values.values());
    if has_right_shape && columns.all(|column| column.len() == k) {
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
    grid: Grid,
    warnings: &mut Vec<Finding>,
) -> (Array3<u8>, Vec<usize>) {
    let shape = (session.n_trials(), grid.n_bins, session.n_units());
    let mut spikes = Array3::<u8>::zeros(shape);
    let mut valid_bins = Vec::with_capacity(session.n_trials());
    let mut n_saturated = 0_usize;
    for (trial, mut counts) in session.trials.iter().zip(spikes.outer_iter_mut()) {
        let n_valid = grid.valid_bins(Span::recorded(trial, &session.activity));
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
    let mut n_cut = 0_usize;
    for (k, trial) in session.trials.iter().enumerate() {
        let stored_valid = trial.valid_bins.unwrap_or(n_stored).min(n_stored);
        let n_recorded = (stored_valid.saturating_sub(offset) / factor).min(grid.n_bins);
        let n_valid = n_recorded.min(grid.valid_bins(Span::of_trial(trial)));
        n_cut += usize::from((1..n_recorded).contains(&n_valid));
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
    if n_cut > 0 {
        warnings.push(Finding::new(
            format!("session '{}'", session.id),
            format!("{n_cut} trials end before their stored bins do; what lies after their end is padding"),
        ));
    }
    warn_of_saturation(session, n_saturated, warnings);
    (spikes, valid_bins)
}
