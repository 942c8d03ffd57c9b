//! Does a recording make sense? Every problem at once, warnings apart.
//!
//! Locations are the paths of the native file (`docs/FORMATS.md`), so that a message reads the same for
//! a recording from a file and for one just made. The shape of HDF5 itself is the reader's business
//! ([`file`](mod@crate::file)).

mod activity;
mod events;
mod overlap;
mod parts;
mod presence;

use std::collections::BTreeSet;

use crate::error::{DataError, Finding, Findings};
use crate::recording::{Behaviour, BehaviourSamples, Recording, StimulusMovies, Timing};
use activity::{check_binned, check_spike_times};
use events::check_trial_events;
pub(crate) use overlap::overlapping;
use parts::first_few;
pub(crate) use parts::{ActivityParts, Parts, TrialColumns, UnitColumns};
use presence::{check_presence, check_stretches};

/// Slack (s) when times are compared with the ends of trials or of the recording: 1 µs, far below any
/// sampling interval and far above rounding.
const TIME_SLACK_S: f64 = 1e-6;

/// All problems and warnings of a recording.
///
/// An oddity of many units or trials of a session is one warning.
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
        check_parts(&Parts::of(session), &at, &mut findings);
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

/// Checks what is known of a session; `at` is its path.
pub(crate) fn check_parts(parts: &Parts<'_>, at: &str, findings: &mut Findings) {
    if let Some(units) = &parts.units {
        check_units(units, &format!("{at}/units"), findings);
    }
    if let Some(trials) = &parts.trials {
        check_trials(parts, trials, &format!("{at}/trials"), findings);
    }
    if let Some(events) = parts.events {
        check_trial_events(events, parts.trials.as_ref(), &format!("{at}/trials"), findings);
    }
    match parts.activity {
        Some(ActivityParts::SpikeTimes {
            times_s,
            observed_s,
            unit_observed_s,
        }) => {
            let unit_observed_s = unit_observed_s.filter(|stretches| check_stretches(parts, stretches, at, findings));
            check_spike_times(parts, times_s, observed_s, unit_observed_s, at, findings);
        }
        Some(ActivityParts::Binned {
            counts,
            bin_ms,
            start_ms,
            presence,
        }) => {
            check_binned(parts, counts, bin_ms, start_ms, at, findings);
            if let Some(presence) = presence {
                check_presence(parts, counts, presence, at, findings);
            }
        }
        None => {}
    }
    for &(name, behaviour) in &parts.behaviour {
        let at = format!("{at}/behaviour/{name}");
        if let Some(reason) = bad_name(name) {
            findings.problem(&at, format!("the name {reason}"));
        }
        check_behaviour(parts.activity.as_ref(), behaviour, &at, findings);
    }
    if let Some(movies) = parts.movies {
        check_movies(movies, &format!("{at}/stimulus/movies"), findings);
    }
}

fn check_units(units: &UnitColumns<'_>, at: &str, findings: &mut Findings) {
    if units.n == 0 {
        findings.problem(at, "the session has no unit");
    }
    let ids = units.id.as_deref().unwrap_or(&[]);
    let name = |n: usize| match ids.get(n) {
        Some(id) => format!("unit {n} ('{id}')"),
        None => format!("unit {n}"),
    };
    let mut seen = BTreeSet::new();
    let mut twice = Vec::new();
    for (n, id) in ids.iter().enumerate() {
        if id.is_empty() || id.contains('\0') {
            findings.problem(format!("{at}/id, unit {n}"), "the name is empty or holds NUL");
        } else if !seen.insert(id) {
            twice.push(n);
        }
    }
    match twice[..] {
        [] => {}
        [n] => findings.problem(format!("{at}/id, {}", name(n)), "two units have this name"),
        [n, ..] => {
            let message = format!("two units have this name, and so it is with {} more", twice.len() - 1);
            findings.problem(format!("{at}/id, {}", name(n)), message);
        }
    }
    for (n, area) in units.area.iter().flatten().enumerate() {
        if area.trim().is_empty() || area.contains('\0') {
            findings.problem(
                format!("{at}/area, {}", name(n)),
                "the area is empty; name it, even if there is only one",
            );
        }
    }
    for (n, rate) in units.firing_rate_hz.iter().flatten().enumerate() {
        if let Some(rate) = rate
            && !(rate.is_finite() && *rate >= 0.0)
        {
            findings.problem(
                format!("{at}/firing_rate, {}", name(n)),
                format!("the rate is {rate} Hz; expected a finite number ≥ 0, or none"),
            );
        }
    }
}

fn check_trials(parts: &Parts<'_>, trials: &TrialColumns<'_>, at: &str, findings: &mut Findings) {
    if trials.n == 0 {
        findings.problem(at, "the session has no trial");
    }
    let times = [
        ("start_time", &trials.start_s),
        ("stop_time", &trials.stop_s),
        ("align_time", &trials.align_s),
    ];
    for (column, values) in times {
        for (k, value) in values.iter().flatten().enumerate() {
            if !value.is_finite() {
                findings.problem(format!("{at}/{column}, trial {k}"), format!("the time is {value} s"));
            }
        }
    }
    for (k, (start_s, stop_s)) in parts.trial_spans().into_iter().flatten().enumerate() {
        if stop_s <= start_s {
            findings.problem(
                format!("{at}/stop_time, trial {k}"),
                format!("the trial has no length: it runs from {start_s} s to {stop_s} s"),
            );
        }
    }
    for (k, value) in trials.stimulus.iter().flatten().enumerate() {
        if !value.is_finite() {
            findings.problem(
                format!("{at}/stimulus, trial {k}"),
                format!("the value is {value}; expected a finite number (0 for no stimulus)"),
            );
        }
    }
    for (k, label) in trials.trial_type.iter().flatten().enumerate() {
        if label.is_empty() || label.contains('\0') {
            findings.problem(format!("{at}/trial_type, trial {k}"), "the label is empty or holds NUL");
        }
    }
    if let Some(n_movies) = parts.n_movies {
        for (k, movie) in trials.movie.iter().flatten().enumerate() {
            if let Some(movie) = movie.filter(|&movie| movie >= n_movies) {
                findings.problem(
                    format!("{at}/movie, trial {k}"),
                    format!("movie {movie} is shown, but the session stores {n_movies} movies"),
                );
            }
        }
    }
    if matches!(parts.activity, Some(ActivityParts::SpikeTimes { .. })) {
        for (k, valid) in trials.valid_bins.iter().flatten().enumerate() {
            if valid.is_some() {
                findings.problem(
                    format!("{at}/valid_bins, trial {k}"),
                    "given for spike times; only binned activity needs it",
                );
            }
        }
    }
    check_events(parts, trials, at, findings);
    check_order(trials, at, findings);
    let (n_overlapping, _) = overlapping(parts.trial_spans().into_iter().flatten());
    if n_overlapping > 0 {
        findings.warning(
            format!("{at}/start_time"),
            format!(
                "{n_overlapping} of {} trials begin before an earlier one has ended: trials that are held out share spikes with those that \
                 are trained on (hint: a shorter window keeps them apart)",
                trials.n
            ),
        );
    }
}

/// Is the event of each trial in its trial?
///
/// Bins that are stored may lie before or after the event; they must overlap the trial instead.
fn check_events(parts: &Parts<'_>, trials: &TrialColumns<'_>, at: &str, findings: &mut Findings) {
    let (Some(spans), Some(align_s)) = (parts.trial_spans(), &trials.align_s) else {
        return;
    };
    let stored_s = match parts.activity {
        Some(ActivityParts::Binned {
            counts,
            bin_ms: Some(bin_ms),
            start_ms: Some(start_ms),
            ..
        }) => {
            let length_ms = counts.shape()[1] as f64 * bin_ms;
            Some((start_ms / 1000.0, (start_ms + length_ms) / 1000.0))
        }
        // Not known whether, or from when on, bins are stored.
        Some(ActivityParts::Binned { .. }) | None => return,
        Some(ActivityParts::SpikeTimes { .. }) => None,
    };
    let is_outside = |start_s: f64, stop_s: f64, align_s: f64| {
        let holds_event = start_s - TIME_SLACK_S <= align_s && align_s <= stop_s + TIME_SLACK_S;
        let holds_bins = stored_s.is_some_and(|(from_s, to_s)| align_s + from_s < stop_s && align_s + to_s > start_s);
        !(holds_event || holds_bins)
    };
    let rows = spans.zip(align_s).enumerate();
    let outside: Vec<(usize, (f64, f64), f64)> = rows
        .map(|(k, (span, &align_s))| (k, span, align_s))
        .filter(|&(_, (start_s, stop_s), align_s)| {
            // Other faults of a row are reported as what they are.
            let is_sound = start_s < stop_s && start_s.is_finite() && stop_s.is_finite() && align_s.is_finite();
            is_sound && is_outside(start_s, stop_s, align_s)
        })
        .collect();
    let Some(&(first, (start_s, stop_s), event_s)) = outside.first() else {
        return;
    };
    let message = format!(
        "{} of {} trials don't contain their event; the first, trial {first}, runs from {start_s} s to {stop_s} s, its event is at {event_s} s: is it in seconds on the clock of the session?",
        outside.len(),
        trials.n
    );
    if 2 * outside.len() > trials.n {
        findings.problem(format!("{at}/align_time"), message);
    } else {
        findings.warning(format!("{at}/align_time"), message);
    }
}

/// Trials that come before the one above them, and trials that are there twice.
fn check_order(trials: &TrialColumns<'_>, at: &str, findings: &mut Findings) {
    let Some(start_s) = &trials.start_s else { return };
    let out_of_order = start_s.windows(2).filter(|pair| pair[1] < pair[0]).count();
    if out_of_order > 0 {
        findings.warning(
            format!("{at}/start_time"),
            format!("{out_of_order} trials start before the one above them"),
        );
    }
    let Some(align_s) = &trials.align_s else { return };
    let mut rows: Vec<(f64, f64, usize)> = start_s
        .iter()
        .zip(align_s)
        .zip(0..)
        .map(|((&s, &a), k)| (s, a, k))
        .collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
    let is_same = |a: &(f64, f64, usize), b: &(f64, f64, usize)| a.0 == b.0 && a.1 == b.1;
    let groups = rows.chunk_by(is_same).filter(|group| group.len() > 1);
    let mut twins: Vec<usize> = groups.flatten().map(|&(_, _, k)| k).collect();
    twins.sort_unstable();
    if !twins.is_empty() {
        findings.warning(
            format!("{at}/start_time"),
            format!(
                "{} trials have the same start and event as another one: trials {}",
                twins.len(),
                first_few(&twins, |k| k.to_string())
            ),
        );
    }
}

fn check_behaviour(activity: Option<&ActivityParts<'_>>, behaviour: &Behaviour, at: &str, findings: &mut Findings) {
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
            match activity {
                None => {}
                Some(ActivityParts::Binned { counts, .. }) if values.shape() == &counts.shape()[..2] => {}
                Some(ActivityParts::Binned { counts, .. }) => findings.problem(
                    format!("{at}/data"),
                    format!(
                        "shape {:?}, but the spikes have {:?} [trials, bins, units]",
                        values.shape(),
                        counts.shape()
                    ),
                ),
                Some(ActivityParts::SpikeTimes { .. }) => findings.problem(
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
