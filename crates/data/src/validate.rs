//! Does a recording make sense? Every problem at once, warnings apart.
//!
//! Locations are the paths of the native file (`docs/FORMATS.md`), so that a message reads the same for
//! a recording from a file and for one just made. The shape of HDF5 itself is the reader's business
//! ([`file`](mod@crate::file)).

use std::collections::BTreeSet;

use crate::error::{DataError, Finding, Findings};
use crate::recording::{Activity, Behaviour, BehaviourSamples, Recording, Session, StimulusMovies, Timing};

/// A mean rate above this (Hz) is no neuron; times are probably in ms instead of s.
const IMPLAUSIBLE_RATE_HZ: f64 = 500.0;

/// Slack (s) when times are compared with the ends of trials or of the recording: 1 µs, far below any
/// sampling interval and far above rounding.
const TIME_SLACK_S: f64 = 1e-6;

/// All problems and warnings of a recording.
///
/// Cost: one pass over all spikes.
pub fn check(recording: &Recording) -> Findings {
    let mut findings = Findings::default();
    if recording.sessions.is_empty() {
        findings.problem("/sessions", "the recording has no session");
    }
    let mut seen = BTreeSet::new();
    for session in &recording.sessions {
        let at = format!("/sessions/{}", session.id);
        if let Some(reason) = bad_name(&session.id) {
            findings.problem(&at, format!("the session name {reason}"));
        }
        if !seen.insert(session.id.as_str()) {
            findings.problem(&at, "two sessions have this name; names must differ");
        }
        check_session(session, &at, &mut findings);
    }
    findings
}

/// Refuses a recording with problems.
///
/// # Errors
/// [`DataError::Invalid`] listing every problem of [`check`].
pub fn validate(recording: &Recording) -> Result<(), DataError> {
    refuse_problems("recording".to_owned(), check(recording).problems)
}

pub(crate) fn refuse_problems(subject: String, problems: Vec<Finding>) -> Result<(), DataError> {
    if problems.is_empty() {
        Ok(())
    } else {
        Err(DataError::Invalid { subject, problems })
    }
}

/// Why a name can't be the name of an HDF5 group, if it can't.
pub(crate) fn bad_name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("is empty")
    } else if name == "." || name == ".." {
        Some("is '.' or '..'")
    } else if name.contains('/') {
        Some("contains '/'")
    } else if name.chars().any(char::is_control) {
        Some("contains a control character")
    } else {
        None
    }
}

fn check_session(session: &Session, at: &str, findings: &mut Findings) {
    check_units(session, &format!("{at}/units"), findings);
    check_trials(session, &format!("{at}/trials"), findings);
    match &session.activity {
        Activity::SpikeTimes { times_s, observed_s } => check_spike_times(session, times_s, *observed_s, at, findings),
        Activity::Binned { .. } => check_binned(session, at, findings),
    }
    for (name, behaviour) in &session.behaviour {
        let at = format!("{at}/behaviour/{name}");
        if let Some(reason) = bad_name(name) {
            findings.problem(&at, format!("the name {reason}"));
        }
        check_behaviour(session, behaviour, &at, findings);
    }
    if let Some(movies) = &session.stimulus {
        check_movies(movies, &format!("{at}/stimulus/movies"), findings);
    }
}

fn check_units(session: &Session, at: &str, findings: &mut Findings) {
    if session.units.is_empty() {
        findings.problem(at, "the session has no unit");
    }
    let mut seen = BTreeSet::new();
    for (n, unit) in session.units.iter().enumerate() {
        let name = format!("unit {n} ('{}')", unit.id);
        if unit.id.is_empty() || unit.id.contains('\0') {
            findings.problem(format!("{at}/id, unit {n}"), "the name is empty or holds NUL");
        } else if !seen.insert(unit.id.as_str()) {
            findings.problem(format!("{at}/id, {name}"), "two units have this name");
        }
        if unit.area.trim().is_empty() || unit.area.contains('\0') {
            findings.problem(
                format!("{at}/area, {name}"),
                "the area is empty; name it, even if there is only one",
            );
        }
        if let Some(rate) = unit.firing_rate_hz
            && !(rate.is_finite() && rate >= 0.0)
        {
            findings.problem(
                format!("{at}/firing_rate, {name}"),
                format!("the rate is {rate} Hz; expected a finite number ≥ 0, or none"),
            );
        }
    }
}

fn check_trials(session: &Session, at: &str, findings: &mut Findings) {
    if session.trials.is_empty() {
        findings.problem(at, "the session has no trial");
    }
    let n_movies = session.stimulus.as_ref().map_or(0, |m| m.values.shape()[0]);
    let is_binned = matches!(session.activity, Activity::Binned { .. });
    let mut previous_start = f64::NEG_INFINITY;
    let mut out_of_order = 0;
    for (k, trial) in session.trials.iter().enumerate() {
        let here = |column: &str| format!("{at}/{column}, trial {k}");
        let times = [
            ("start_time", trial.start_s),
            ("stop_time", trial.stop_s),
            ("align_time", trial.align_s),
        ];
        for (column, value) in times {
            if !value.is_finite() {
                findings.problem(here(column), format!("the time is {value} s"));
            }
        }
        if trial.stop_s <= trial.start_s {
            findings.problem(
                here("stop_time"),
                format!(
                    "the trial has no length: it runs from {} s to {} s",
                    trial.start_s, trial.stop_s
                ),
            );
        }
        if !trial.stimulus.is_finite() {
            findings.problem(
                here("stimulus"),
                format!(
                    "the value is {}; expected a finite number (0 for no stimulus)",
                    trial.stimulus
                ),
            );
        }
        if trial.trial_type.is_empty() || trial.trial_type.contains('\0') {
            findings.problem(here("trial_type"), "the label is empty or holds NUL");
        }
        if let Some(movie) = trial.movie
            && movie >= n_movies
        {
            findings.problem(
                here("movie"),
                format!("movie {movie} is shown, but the session stores {n_movies} movies"),
            );
        }
        if trial.valid_bins.is_some() && !is_binned {
            findings.problem(
                here("valid_bins"),
                "given for spike times; only binned activity needs it",
            );
        }
        out_of_order += usize::from(trial.start_s < previous_start);
        previous_start = trial.start_s;
    }
    if out_of_order > 0 {
        findings.warning(
            format!("{at}/start_time"),
            format!("{out_of_order} trials start before the one above them"),
        );
    }
}

fn check_spike_times(
    session: &Session,
    times_s: &[Vec<f64>],
    observed_s: (f64, f64),
    at: &str,
    findings: &mut Findings,
) {
    let path = format!("{at}/units/spike_times");
    if times_s.len() != session.n_units() {
        findings.problem(
            format!("{at}/units/spike_times_index"),
            format!(
                "spikes of {} units, but {} units are listed",
                times_s.len(),
                session.n_units()
            ),
        );
        return;
    }
    let (start, stop) = observed_s;
    if !(start.is_finite() && stop.is_finite() && start < stop) {
        findings.problem(
            format!("{at} (attributes observed_start_s, observed_stop_s)"),
            format!("spikes were recorded from {start} s to {stop} s: not an interval"),
        );
        return;
    }
    for (n, (times, unit)) in times_s.iter().zip(&session.units).enumerate() {
        let here = format!("{path}, unit {n} ('{}')", unit.id);
        check_one_train(times, observed_s, &here, findings);
    }
    let late = |k_start: f64| k_start >= stop - TIME_SLACK_S;
    if let Some(first) = session.trials.iter().position(|trial| late(trial.start_s)) {
        let n_late = session.trials.iter().filter(|t| late(t.start_s)).count();
        findings.problem(
            format!("{at}/trials/start_time, trial {first}"),
            format!(
                "the trial table is longer than the data: {n_late} trials start after the recording ended at {stop} s"
            ),
        );
    }
    let last_spike = times_s.iter().filter_map(|t| t.last().copied());
    let last_spike = last_spike.fold(f64::NEG_INFINITY, f64::max);
    let silent = session.trials.iter().filter(|t| t.start_s > last_spike);
    let n_silent = silent.count();
    if n_silent > 0 {
        findings.warning(
            format!("{at}/trials/start_time"),
            format!("{n_silent} trials start after the last spike of the session: does the table match the data?"),
        );
    }
    let cut = session
        .trials
        .iter()
        .filter(|t| !late(t.start_s) && t.stop_s > stop + TIME_SLACK_S);
    let n_cut = cut.count();
    if n_cut > 0 {
        findings.warning(
            format!("{at}/trials/stop_time"),
            format!("{n_cut} trials end after the recording did; their last bins will be masked"),
        );
    }
}

fn check_one_train(times: &[f64], observed_s: (f64, f64), at: &str, findings: &mut Findings) {
    let first_where = |is_bad: &dyn Fn(f64) -> bool| times.iter().position(|&t| is_bad(t));
    let count = |is_bad: &dyn Fn(f64) -> bool| times.iter().filter(|&&t| is_bad(t)).count();
    if let Some(i) = first_where(&|t| !t.is_finite()) {
        let n = count(&|t| !t.is_finite());
        let value = times.get(i).copied().unwrap_or(f64::NAN);
        findings.problem(
            at,
            format!("{n} spike times are not finite; the first, spike {i}, is {value}"),
        );
        return;
    }
    if let Some(i) = first_where(&|t| t < 0.0) {
        let n = count(&|t| t < 0.0);
        let value = times.get(i).copied().unwrap_or(f64::NAN);
        findings.problem(
            at,
            format!("{n} spike times are negative; the first, spike {i}, is {value} s"),
        );
    }
    let descends = times.windows(2).position(|pair| pair[1] < pair[0]);
    if let Some(i) = descends {
        let pair = (times.get(i), times.get(i + 1));
        findings.problem(
            at,
            format!(
                "spike times are not sorted: spike {} is before spike {i} ({pair:?} s)",
                i + 1
            ),
        );
    }
    let (start, stop) = observed_s;
    let is_outside = |t: f64| t >= 0.0 && (t < start - TIME_SLACK_S || t > stop + TIME_SLACK_S);
    if let Some(i) = first_where(&is_outside) {
        let n = count(&is_outside);
        let value = times.get(i).copied().unwrap_or(f64::NAN);
        findings.problem(
            at,
            format!("{n} spikes lie outside the session ({start} s to {stop} s); the first, spike {i}, at {value} s"),
        );
    }
    let n_double = times.windows(2).filter(|pair| pair[1] == pair[0]).count();
    if n_double > 0 {
        findings.warning(at, format!("{n_double} spikes share their time with the one before"));
    }
    if times.is_empty() {
        findings.warning(at, "the unit has no spike");
    }
    warn_of_rate(times.len() as f64 / (stop - start), at, findings);
}

fn warn_of_rate(rate_hz: f64, at: &str, findings: &mut Findings) {
    if rate_hz > IMPLAUSIBLE_RATE_HZ {
        findings.warning(
            at,
            format!("mean rate {rate_hz:.0} Hz: are the times in ms rather than s?"),
        );
    }
}

fn check_binned(session: &Session, at: &str, findings: &mut Findings) {
    let Activity::Binned {
        counts,
        bin_ms,
        start_ms,
    } = &session.activity
    else {
        return;
    };
    let path = format!("{at}/binned/spikes");
    let [n_trials, n_bins, n_units] = [0, 1, 2].map(|axis| counts.shape()[axis]);
    let shape = [n_trials, n_bins, n_units];
    if n_trials != session.n_trials() {
        findings.problem(
            &path,
            format!(
                "shape {shape:?} [trials, bins, units], but the trial table has {} rows",
                session.n_trials()
            ),
        );
    }
    if n_units != session.n_units() {
        findings.problem(
            &path,
            format!(
                "shape {shape:?} [trials, bins, units], but {} units are listed",
                session.n_units()
            ),
        );
    }
    if n_bins == 0 {
        findings.problem(&path, "trials have no bin");
    }
    if !(bin_ms.is_finite() && *bin_ms > 0.0) {
        findings.problem(
            format!("{at}/binned (attribute bin_ms)"),
            format!("the bin width is {bin_ms} ms; expected a number > 0"),
        );
        return;
    }
    if !start_ms.is_finite() {
        findings.problem(
            format!("{at}/binned (attribute start_ms)"),
            format!("the first bin starts at {start_ms} ms"),
        );
    }
    let mut total_bins = 0;
    for (k, trial) in session.trials.iter().enumerate() {
        let valid = trial.valid_bins.unwrap_or(n_bins);
        total_bins += valid;
        if valid > n_bins || valid == 0 {
            findings.problem(
                format!("{at}/trials/valid_bins, trial {k}"),
                format!("{valid} valid bins; expected 1 to {n_bins}"),
            );
        }
    }
    let duration_s = total_bins as f64 * bin_ms / 1000.0;
    for (n, (spikes, unit)) in session
        .activity
        .spikes_per_unit()
        .into_iter()
        .zip(&session.units)
        .enumerate()
    {
        let here = format!("{path}, unit {n} ('{}')", unit.id);
        if spikes == 0 {
            findings.warning(&here, "the unit has no spike");
        }
        warn_of_rate(spikes as f64 / duration_s, &here, findings);
    }
}

fn check_behaviour(session: &Session, behaviour: &Behaviour, at: &str, findings: &mut Findings) {
    if behaviour.unit.contains('\0') {
        findings.problem(format!("{at} (attribute unit)"), "the unit holds NUL");
    }
    let infinite = |n: usize| format!("{n} values are infinite; write NaN where a sample is missing");
    match &behaviour.samples {
        BehaviourSamples::Continuous { values, timing } => {
            if values.is_empty() {
                findings.problem(format!("{at}/data"), "there is no sample");
            }
            let n_infinite = values.iter().filter(|v| v.is_infinite()).count();
            if n_infinite > 0 {
                findings.problem(format!("{at}/data"), infinite(n_infinite));
            }
            check_timing(timing, values.len(), at, findings);
        }
        BehaviourSamples::PerBin(values) => {
            let n_infinite = values.iter().filter(|v| v.is_infinite()).count();
            if n_infinite > 0 {
                findings.problem(format!("{at}/data"), infinite(n_infinite));
            }
            match &session.activity {
                Activity::Binned { counts, .. } if values.shape() == &counts.shape()[..2] => {}
                Activity::Binned { counts, .. } => findings.problem(
                    format!("{at}/data"),
                    format!(
                        "shape {:?}, but the spikes have {:?} [trials, bins, units]",
                        values.shape(),
                        counts.shape()
                    ),
                ),
                Activity::SpikeTimes { .. } => findings.problem(
                    format!("{at}/data"),
                    "values per trial and bin need binned activity; give timestamps or a rate",
                ),
            }
        }
    }
}

fn check_timing(timing: &Timing, n_samples: usize, at: &str, findings: &mut Findings) {
    match timing {
        Timing::Rate { rate_hz, start_s } => {
            if !(rate_hz.is_finite() && *rate_hz > 0.0) {
                findings.problem(
                    format!("{at} (attribute rate_hz)"),
                    format!("the rate is {rate_hz} Hz; expected a number > 0"),
                );
            }
            if !start_s.is_finite() {
                findings.problem(
                    format!("{at} (attribute start_s)"),
                    format!("the first sample is at {start_s} s"),
                );
            }
        }
        Timing::Timestamps(times) => {
            let path = format!("{at}/timestamps");
            if times.len() != n_samples {
                findings.problem(&path, format!("{} times for {n_samples} samples", times.len()));
            }
            if let Some(i) = times.iter().position(|t| !t.is_finite()) {
                findings.problem(&path, format!("the time of sample {i} is not finite"));
            } else if let Some(i) = times.windows(2).position(|pair| pair[1] <= pair[0]) {
                findings.problem(
                    &path,
                    format!("times must increase; sample {} does not come after sample {i}", i + 1),
                );
            }
        }
    }
}

fn check_movies(movies: &StimulusMovies, at: &str, findings: &mut Findings) {
    if movies.values.is_empty() {
        findings.problem(
            at,
            format!(
                "shape {:?} [movies, bins, channels] has no element",
                movies.values.shape()
            ),
        );
    }
    let n_bad = movies.values.iter().filter(|v| !v.is_finite()).count();
    if n_bad > 0 {
        findings.problem(at, format!("{n_bad} values are not finite"));
    }
    if !(movies.bin_ms.is_finite() && movies.bin_ms > 0.0) {
        findings.problem(
            format!("{at} (attribute bin_ms)"),
            format!("the bin width is {} ms; expected a number > 0", movies.bin_ms),
        );
    }
    if !movies.start_ms.is_finite() {
        findings.problem(
            format!("{at} (attribute start_ms)"),
            format!("the first bin starts at {} ms", movies.start_ms),
        );
    }
}
