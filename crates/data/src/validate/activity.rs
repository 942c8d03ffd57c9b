//! Do spike times and counts make sense?

use ndarray::Array3;

use super::TIME_SLACK_S;
use super::parts::Parts;
use crate::error::Findings;
use crate::presence::{self, Stretches};
use crate::recording::spikes_per_unit;

/// A mean rate above this (Hz) is no neuron; bins or times have another unit than is said.
const IMPLAUSIBLE_RATE_HZ: f64 = 500.0;
/// Half of the units below this (Hz) over [`LONG_S`] are times in ms or samples that are taken for s.
const SILENT_RATE_HZ: f64 = 0.05;
/// A day (s).
const LONG_S: f64 = 86_400.0;
/// So many spike times that are all whole numbers are no seconds.
const MIN_WHOLE: usize = 100;

/// Times that are known worse than this (s) are coarse: sorters know them to a sample.
const COARSE_S: f64 = 1e-4;

/// What to do about spikes that are there twice.
const DOUBLE_SPIKES: &str =
    " (hint: merged clusters have them; leave one of each out where the sorter found them twice)";
/// What to do about units without spikes.
const SILENT_UNITS: &str = " (hint: a condition, --units of an import, leaves units out)";

pub(super) fn check_spike_times(
    parts: &Parts<'_>,
    times_s: &[Vec<f64>],
    observed_s: Option<(f64, f64)>,
    unit_observed_s: Option<&[Stretches]>,
    at: &str,
    findings: &mut Findings,
) {
    let path = format!("{at}/units/spike_times");
    if let Some(units) = &parts.units
        && times_s.len() != units.n
    {
        findings.problem(
            format!("{at}/units/spike_times_index"),
            format!("spikes of {} units, but {} units are listed", times_s.len(), units.n),
        );
    }
    let observed_s = observed_s.filter(|&(start, stop)| {
        let is_interval = start.is_finite() && stop.is_finite() && start < stop;
        if !is_interval {
            findings.problem(
                format!("{at} (attributes observed_start_s, observed_stop_s)"),
                format!("spikes were recorded from {start} s to {stop} s: not an interval"),
            );
        }
        is_interval
    });
    for (n, times) in times_s.iter().enumerate() {
        let here = format!("{path}, {}", parts.unit_name(n));
        check_one_train(times, observed_s, &here, findings);
    }
    warn_of_trains(parts, times_s, observed_s, &path, findings);
    if let Some(stretches) = unit_observed_s {
        warn_of_unobserved(parts, times_s, stretches, &path, findings);
    }
    let Some((from, stop)) = observed_s else { return };
    let starts = || {
        parts
            .trials
            .iter()
            .flat_map(|trials| trials.start_s.iter().flatten().copied())
    };
    let late = |k_start: f64| k_start >= stop - TIME_SLACK_S;
    if let Some(first) = starts().position(late) {
        let n_late = starts().filter(|&start| late(start)).count();
        findings.problem(
            format!("{at}/trials/start_time, trial {first}"),
            format!(
                "the trial table is longer than the data: {n_late} trials start after the recording ended at {stop} s"
            ),
        );
    }
    let last_spike = times_s.iter().filter_map(|t| t.last().copied());
    let last_spike = last_spike.fold(f64::NEG_INFINITY, f64::max);
    // No spike is expected of units that are known not to have been observed.
    let is_expected = |start: f64| {
        // Right after the start, which may be where a stretch ends.
        let time = start + 2.0 * TIME_SLACK_S;
        let is_observed = |stretches: &Stretches| presence::holds(stretches, time, time, TIME_SLACK_S);
        unit_observed_s.is_none_or(|units| units.iter().any(is_observed))
    };
    let n_silent = starts()
        .filter(|&start| start > last_spike && is_expected(start))
        .count();
    if n_silent > 0 {
        let found = format!("{n_silent} trials start after the last spike of the session");
        let message = if last_spike.is_finite() {
            format!(
                "{found}, at {last_spike} s, and count as silence: does the table match the data? (hint: clock.observed_s = [{:.0}, {:.0}] in a TOML \
                 for --spec of an import leaves them out)",
                from.floor().max(0.0),
                last_spike.ceil()
            )
        } else {
            format!("{found}: does the table match the data?")
        };
        findings.warning(format!("{at}/trials/start_time"), message);
    }
    let spans = parts.trial_spans().into_iter().flatten();
    let n_cut = spans
        .filter(|&(start_s, stop_s)| !late(start_s) && stop_s > stop + TIME_SLACK_S)
        .count();
    if n_cut > 0 {
        findings.warning(
            format!("{at}/trials/stop_time"),
            format!("{n_cut} trials end after the recording did; their last bins will be masked"),
        );
    }
}

/// Oddities of trains, each in one line for all units.
fn warn_of_trains(
    parts: &Parts<'_>,
    times_s: &[Vec<f64>],
    observed_s: Option<(f64, f64)>,
    path: &str,
    findings: &mut Findings,
) {
    let n_double = |times: &Vec<f64>| times.windows(2).filter(|pair| pair[1] == pair[0]).count();
    let n_double: Vec<usize> = times_s.iter().map(n_double).collect();
    let with_double = positions(&n_double, |&n| n > 0);
    let total: usize = n_double.iter().sum();
    let hint = match single_precision(times_s) {
        Some(step_s) => format!(
            " (hint: all times are numbers of 32 bits, which are {step_s:.1e} s apart at the end: save them as float64, or whole samples)"
        ),
        None => DOUBLE_SPIKES.to_owned(),
    };
    match with_double.as_slice() {
        [] => {}
        [n] => findings.warning(
            format!("{path}, {}", parts.unit_name(*n)),
            format!("{total} spikes share their time with the one before{hint}"),
        ),
        units => findings.warning(
            path,
            format!(
                "{total} spikes of {} of {} units share their time with the one before: units {}{hint}",
                units.len(),
                times_s.len(),
                parts.unit_list(units)
            ),
        ),
    }
    let silent = positions(times_s, Vec::is_empty);
    warn_of_silence(parts, &silent, times_s.len(), "", path, findings);
    let n_spikes: usize = times_s.iter().map(Vec::len).sum();
    if n_spikes >= MIN_WHOLE && times_s.iter().flatten().all(|time| time.fract() == 0.0) {
        let message = format!(
            "all {n_spikes} spike times are whole numbers: are they ms or samples rather than s? (hint: clock.spikes_per_s in a TOML \
             for --spec of an import says how many of their units are a second)"
        );
        findings.warning(path, message);
    }
    if let Some((start, stop)) = observed_s {
        let rates_hz: Vec<f64> = times_s
            .iter()
            .map(|times| times.len() as f64 / (stop - start))
            .collect();
        warn_of_rates(
            parts,
            &rates_hz,
            "are times in a larger unit than s, or many units one?",
            path,
            findings,
        );
        let mut known_hz: Vec<f64> = rates_hz.into_iter().filter(|rate| *rate > 0.0).collect();
        known_hz.sort_by(f64::total_cmp);
        let median_hz = known_hz.get(known_hz.len() / 2).copied();
        if let Some(median_hz) = median_hz.filter(|rate| *rate < SILENT_RATE_HZ && stop - start > LONG_S) {
            let message = format!(
                "half of the units spike less often than {median_hz:.2e} Hz, over {:.1} days: are the times in ms or samples rather than s?",
                (stop - start) / LONG_S
            );
            findings.warning(path, message);
        }
    }
}

/// The distance (s) of the latest spikes that 32-bit floats can tell apart, where all times are such and it is above
/// [`COARSE_S`].
fn single_precision(times_s: &[Vec<f64>]) -> Option<f64> {
    let last = times_s
        .iter()
        .filter_map(|times| times.last().copied())
        .reduce(f64::max)?;
    let step_s = last * f64::from(f32::EPSILON);
    let is_single = |time: &f64| f64::from(*time as f32).total_cmp(time).is_eq();
    (step_s > COARSE_S && times_s.iter().flatten().all(is_single)).then_some(step_s)
}

/// How many of the times, which don't decrease, lie in one of the stretches, each after the one before; without any, all.
fn n_within(times: &[f64], stretches: &[(f64, f64)]) -> usize {
    if stretches.is_empty() {
        return times.len();
    }
    let (mut n, mut end) = (0, 0);
    for (start, stop) in stretches {
        let first = times.partition_point(|t| *t < start - TIME_SLACK_S).max(end);
        end = times.partition_point(|t| *t <= stop + TIME_SLACK_S).max(first);
        n += end - first;
    }
    n
}

/// Spikes at times at which their unit is said not to have been observed.
fn warn_of_unobserved(
    parts: &Parts<'_>,
    times_s: &[Vec<f64>],
    stretches: &[Stretches],
    path: &str,
    findings: &mut Findings,
) {
    let n_outside: Vec<usize> = times_s
        .iter()
        .zip(stretches)
        .map(|(times, own)| times.len() - n_within(times, own))
        .collect();
    let units = positions(&n_outside, |&n| n > 0);
    if !units.is_empty() {
        findings.warning(
            path,
            format!(
                "{} spikes of {} of {} units lie outside of the stretches in which the units were observed: units {} (hint: \
                 are these in s on the clock of the spikes?)",
                n_outside.iter().sum::<usize>(),
                units.len(),
                times_s.len(),
                parts.unit_list(&units)
            ),
        );
    }
}

/// Where a condition holds.
fn positions<T>(values: &[T], is_so: impl Fn(&T) -> bool) -> Vec<usize> {
    let found = values.iter().enumerate().filter(|(_, value)| is_so(value));
    found.map(|(i, _)| i).collect()
}

fn warn_of_silence(
    parts: &Parts<'_>,
    silent: &[usize],
    n_units: usize,
    question: &str,
    path: &str,
    findings: &mut Findings,
) {
    match silent {
        [] => {}
        [n] => findings.warning(
            format!("{path}, {}", parts.unit_name(*n)),
            format!("the unit has no spike{SILENT_UNITS}"),
        ),
        silent => findings.warning(
            path,
            format!(
                "{} of {n_units} units have no spike: {}{}",
                silent.len(),
                parts.unit_list(silent),
                if question.is_empty() { SILENT_UNITS } else { question }
            ),
        ),
    }
}

fn warn_of_rates(parts: &Parts<'_>, rates_hz: &[f64], question: &str, path: &str, findings: &mut Findings) {
    let fast = positions(rates_hz, |&rate| rate > IMPLAUSIBLE_RATE_HZ);
    let highest = rates_hz.iter().copied().fold(0.0, f64::max);
    match fast.as_slice() {
        [] => {}
        [n] => findings.warning(
            format!("{path}, {}", parts.unit_name(*n)),
            format!("mean rate {highest:.0} Hz: {question}"),
        ),
        fast => findings.warning(
            path,
            format!(
                "{} of {} units have mean rates above {IMPLAUSIBLE_RATE_HZ:.0} Hz, up to {highest:.0} Hz: {}; {question}",
                fast.len(),
                rates_hz.len(),
                parts.unit_list(fast)
            ),
        ),
    }
}

fn check_one_train(times: &[f64], observed_s: Option<(f64, f64)>, at: &str, findings: &mut Findings) {
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
        let [before, after] = [i, i + 1].map(|i| times.get(i).copied().unwrap_or(f64::NAN));
        findings.problem(
            at,
            format!(
                "spike times are not sorted: spike {} ({after} s) is before spike {i} ({before} s)",
                i + 1
            ),
        );
    }
    let Some((start, stop)) = observed_s else { return };
    let is_outside = |t: f64| t >= 0.0 && (t < start - TIME_SLACK_S || t > stop + TIME_SLACK_S);
    if let Some(i) = first_where(&is_outside) {
        let n = count(&is_outside);
        let value = times.get(i).copied().unwrap_or(f64::NAN);
        findings.problem(
            at,
            format!("{n} spikes lie outside the session ({start} s to {stop} s); the first, spike {i}, at {value} s"),
        );
    }
}

pub(super) fn check_binned(
    parts: &Parts<'_>,
    counts: &Array3<u8>,
    bin_ms: Option<f64>,
    start_ms: Option<f64>,
    at: &str,
    findings: &mut Findings,
) {
    let path = format!("{at}/binned/spikes");
    let [n_trials, n_bins, n_units] = [0, 1, 2].map(|axis| counts.shape()[axis]);
    let shape = [n_trials, n_bins, n_units];
    if let Some(trials) = &parts.trials
        && n_trials != trials.n
    {
        findings.problem(
            &path,
            format!(
                "shape {shape:?} [trials, bins, units], but the trial table has {} rows",
                trials.n
            ),
        );
    }
    if let Some(units) = &parts.units
        && n_units != units.n
    {
        findings.problem(
            &path,
            format!(
                "shape {shape:?} [trials, bins, units], but {} units are listed",
                units.n
            ),
        );
    }
    if n_bins == 0 {
        findings.problem(&path, "trials have no bin");
    }
    let bin_ms = bin_ms.filter(|bin_ms| {
        let is_width = bin_ms.is_finite() && *bin_ms > 0.0;
        if !is_width {
            findings.problem(
                format!("{at}/binned (attribute bin_ms)"),
                format!("the bin width is {bin_ms} ms; expected a number > 0"),
            );
        }
        is_width
    });
    if let Some(start_ms) = start_ms
        && !start_ms.is_finite()
    {
        findings.problem(
            format!("{at}/binned (attribute start_ms)"),
            format!("the first bin starts at {start_ms} ms"),
        );
    }
    let valid_bins = parts.trials.as_ref().and_then(|trials| trials.valid_bins.as_ref());
    let mut total_bins = 0_usize;
    for (k, valid) in valid_bins.into_iter().flatten().enumerate() {
        let valid = valid.unwrap_or(n_bins);
        total_bins = total_bins.saturating_add(valid);
        if valid > n_bins || valid == 0 {
            findings.problem(
                format!("{at}/trials/valid_bins, trial {k}"),
                format!("{valid} valid bins; expected 1 to {n_bins}"),
            );
        }
    }
    let spikes = spikes_per_unit(counts);
    let silent = positions(&spikes, |&n| n == 0);
    let question = "; are the axes swapped?";
    warn_of_silence(parts, &silent, n_units, question, &path, findings);
    if let (Some(bin_ms), Some(_)) = (bin_ms, valid_bins) {
        let duration_s = total_bins as f64 * bin_ms / 1000.0;
        let rates_hz: Vec<f64> = spikes.iter().map(|&n| n as f64 / duration_s).collect();
        warn_of_rates(parts, &rates_hz, "is the bin width in ms?", &path, findings);
    }
}
