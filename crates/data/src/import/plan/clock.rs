//! Times: their units, their order, and whether spikes and trials can be of one clock.

use std::collections::BTreeMap;

use super::units::Taken;
use super::{ClockPlan, ImportPlan, Told, sense, silence};
use crate::import::source::Source;
use crate::presence::{self, Stretches};
use crate::recording::{Behaviour, BehaviourSamples, Timing, Trial};

/// Spikes that last so many times longer than the trials (or the reverse) are in ms.
const MS: std::ops::Range<f64> = 500.0..2000.0;
/// So many times: in samples.
const SAMPLES: std::ops::Range<f64> = 8000.0..60_000.0;
/// So many times: in µs.
const US: std::ops::Range<f64> = 5e5..2e6;
/// A recording longer than this (s) in which half of the units spike less often than [`SILENT_HZ`] isn't one in s …
const LONG_S: f64 = 86_400.0;
/// … and one longer than this (s) might not be: a minute in ms is 16 hours.
const LONGISH_S: f64 = 6.0 * 3600.0;
/// As [`LONG_S`]: rates in ms are a thousand times too low.
const SILENT_HZ: f64 = 0.05;
/// So do neurons spike in ms that spike at up to 200 Hz; over a day in s, bursts would stand out …
const SPARSE_HZ: f64 = 0.2;
/// … by more short intervals than at random times, so many times more.
const BURSTY: f64 = 1.5;
/// Slack (s) of spikes against the edges of what was recorded, as when a recording is checked.
const EDGE_S: f64 = 1e-6;
/// Slack (s) of observation against the edges of a trial: far below a bin.
const SLACK_S: f64 = 1e-4;

/// Brings times to s on the clock of the recording; those of trials and events are brought there where they are read.
pub(super) fn scale(source: &mut Source, clock: &ClockPlan) {
    let offset_s = clock.offset_s.unwrap_or(0.0);
    let spikes_offset_s = offset_s + clock.spikes_offset_s.unwrap_or(0.0);
    if clock.spikes_per_s.is_some() || spikes_offset_s != 0.0 {
        let per_s = clock.spikes_per_s.unwrap_or(1.0);
        let of_file = |time: f64| time / per_s + spikes_offset_s;
        for time in source.spikes_s.iter_mut().flatten() {
            *time = of_file(*time);
        }
        for (from, to) in source.unit_observed_s.iter_mut().flatten().flatten() {
            (*from, *to) = (of_file(*from), of_file(*to));
        }
        source.observed_s = source.observed_s.map(|(from, to)| (of_file(from), of_file(to)));
    }
    let traces_offset_s = offset_s + clock.traces_offset_s.unwrap_or(0.0);
    if clock.traces_per_s.is_some() || traces_offset_s != 0.0 {
        let per_s = clock.traces_per_s.unwrap_or(1.0);
        let of_file = |time: f64| time / per_s + traces_offset_s;
        let samples = source.series.values_mut().filter_map(|series| series.samples.as_mut());
        for samples in samples {
            match &mut samples.timing {
                Timing::Rate { start_s, .. } => *start_s = of_file(*start_s),
                Timing::Timestamps(times) => times.iter_mut().for_each(|time| *time = of_file(*time)),
            }
        }
    }
}

/// Refuses spikes before 0, with the offset that brings all times after it.
pub(super) fn refuse_negative(source: &Source, trials: Option<&[Trial]>, clock: &ClockPlan, told: &mut Told) {
    let Some((first, _)) = spike_span(source).filter(|(first, _)| *first < 0.0) else {
        return;
    };
    let starts = trials.iter().copied().flatten().map(|trial| trial.start_s);
    let earliest = starts.fold(first, f64::min);
    let offset_s = clock.offset_s.unwrap_or(0.0) + (-earliest).ceil();
    let message = format!(
        "the first spike is at {first} s; a recording has no times below 0 (hint: clock.offset_s = {offset_s:.1} in a TOML for --spec moves spikes, trials \
         and traces together; where the clock of the spikes alone is off, clock.spikes_offset_s moves them)"
    );
    told.refuse("spike times", message);
}

/// Sorts the spikes of units where they are not; refuses those that are no times.
pub(super) fn sort_spikes(source: &mut Source, told: &mut Told) {
    let mut unsorted = Vec::new();
    for (unit, times) in source.spikes_s.iter_mut().enumerate() {
        if let Some(i) = times.iter().position(|time| !time.is_finite()) {
            let name = source.unit_ids.get(unit).map_or("", String::as_str);
            let message = format!("spike {i} is at {} s; expected a finite time", times[i]);
            told.refuse(&format!("unit '{name}'"), message);
        } else if !times.is_sorted() {
            times.sort_by(f64::total_cmp);
            unsorted.push(unit);
        }
    }
    if let Some(&first) = unsorted.first() {
        let name = source.unit_ids.get(first).map_or("", String::as_str);
        let message = format!(
            "spikes of {} units were not in order, first of '{name}'; they are sorted",
            unsorted.len()
        );
        told.warn("spike times", message);
    }
}

/// Leaves out spikes outside of what the plan, or else the file, says was recorded, and tells how many.
pub(super) fn cut_spikes(source: &mut Source, clock: &ClockPlan, told: &mut Told) {
    let Some((from, to)) = stated(source, clock) else {
        return;
    };
    let n_spikes: usize = source.spikes_s.iter().map(Vec::len).sum();
    for times in &mut source.spikes_s {
        times.retain(|time| (from - EDGE_S..=to + EDGE_S).contains(time));
    }
    let n_out = n_spikes - source.spikes_s.iter().map(Vec::len).sum::<usize>();
    if n_out == 0 {
        return;
    }
    let (who, hint) = match clock.observed_s {
        Some(_) => ("clock.observed_s", "is it in s, with clock.offset_s?"),
        None => ("the file", "clock.observed_s in a TOML for --spec says otherwise"),
    };
    let message = format!(
        "{n_out} of {n_spikes} spikes lie outside of {from} s to {to} s, when spikes were recorded as {who} says, and are left out (hint: \
         {hint})"
    );
    if n_out == n_spikes {
        told.refuse("spike times", message);
    } else {
        told.warn("spike times", message);
    }
}

/// First and last spike (s) of all units.
pub(super) fn spike_span(source: &Source) -> Option<(f64, f64)> {
    let first = source.spikes_s.iter().filter_map(|times| times.first().copied());
    let last = source.spikes_s.iter().filter_map(|times| times.last().copied());
    Some((first.reduce(f64::min)?, last.reduce(f64::max)?))
}

/// From when to when the plan, or else the file, says that spikes were recorded.
fn stated(source: &Source, clock: &ClockPlan) -> Option<(f64, f64)> {
    clock.observed_s.map(|[from, to]| (from, to)).or(source.observed_s)
}

/// From when to when spikes were recorded: what the plan or else the file says; without a word of either, from the first to the
/// last spike, time of observation of a unit, or, without such, edge of a trial.
pub(super) fn observed(source: &Source, trials: Option<&[Trial]>, clock: &ClockPlan) -> Option<(f64, f64)> {
    let union = |a: Option<(f64, f64)>, b: Option<(f64, f64)>| match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    };
    if let Some(stated) = stated(source, clock) {
        return Some(stated);
    }
    let of_units = source.unit_observed_s.iter().flatten().flatten().copied();
    let of_units = of_units.fold(None, |all, interval| union(all, Some(interval)));
    let edges = trials
        .iter()
        .copied()
        .flatten()
        .map(|trial| (trial.start_s, trial.stop_s));
    let known = of_units.or_else(|| edges.fold(None, |all, trial| union(all, Some(trial))));
    union(known, spike_span(source))
}

impl ImportPlan {
    /// Tells times of another unit, and gaps in which nothing was recorded.
    pub(super) fn compare_times(&self, source: &Source, trials: &[Trial], told: &mut Told) {
        let Some((first, last)) = spike_span(source) else {
            told.warn("spike times", "no unit has a spike");
            return;
        };
        let edges = trials.iter().map(|trial| (trial.start_s, trial.stop_s));
        let Some((start, stop)) = edges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else {
            return;
        };
        let clock = &self.clock;
        if told.findings.problems.is_empty() && self.refuse_early(source, trials, last, told) {
            return;
        }
        // Events that are not on the clock of their rows say nothing of that of the spikes.
        let mut problems = told.findings.problems.iter();
        let is_of_clock = !problems.any(|problem| problem.location.ends_with("trials.align_to"));
        let n_problems = told.findings.problems.len();
        if is_of_clock {
            refuse_units(
                ("spike times", "the last spike", last),
                ("spikes_per_s", clock.spikes_per_s),
                stop,
                clock,
                told,
            );
        }
        // Where one of both is in another unit, that is why spikes are few.
        if told.findings.problems.len() > n_problems {
            return;
        }
        if clock.spikes_per_s.is_none() {
            let is_alike = !is_of_clock || (stop > 0.0 && last < MS.start * stop);
            let is_alike = is_alike && clock.trials_per_s.is_none();
            refuse_slow(source, last - first, is_alike, told);
        }
        if !is_of_clock {
            return;
        }
        if last < start || first > stop {
            let message = format!(
                "spikes from {first} s to {last} s, trials from {start} s to {stop} s: they don't overlap, so they are of different clocks \
                 (hint: in a TOML for --spec, clock.spikes_offset_s moves spikes, and clock.trials_per_s says how many units of the trials' times are a \
                 second, such as the rate of samples)"
            );
            told.refuse("spike times", message);
        } else {
            self.empty_trials(source, trials, (first, last), told);
        }
        silence::gaps(source, trials, (first, last), told);
        if told.findings.problems.is_empty() {
            self.refuse_overlapping(trials, told);
        }
    }
}

/// Refuses spikes that are too few for their time, or too far apart for neurons, as where spikes and trials are both in ms and
/// nothing else tells. `is_alike`: trials may be in the unit of the spikes.
fn refuse_slow(source: &Source, span_s: f64, is_alike: bool, told: &mut Told) {
    let n_spikes = source.spikes_s.iter().map(Vec::len).filter(|n| *n > 0);
    let mut rates_hz: Vec<f64> = n_spikes.map(|n| n as f64 / span_s).collect();
    rates_hz.sort_by(f64::total_cmp);
    let median_hz = rates_hz.get(rates_hz.len() / 2).copied().unwrap_or(f64::INFINITY);
    let intervals = sense::intervals(source);
    let is_silent = span_s > LONGISH_S && median_hz < SILENT_HZ;
    let is_sparse = span_s > LONG_S && median_hz < SPARSE_HZ && sense::burstiness(intervals, median_hz) < BURSTY;
    let keys = if is_alike {
        "clock.spikes_per_s and clock.trials_per_s say how many of their units are"
    } else {
        "clock.spikes_per_s says how many of their units are"
    };
    let hint = format!(
        "in a TOML for --spec, {keys} a second, 1000 for ms; clock.spikes_per_s = 1 takes spikes as they are, in s"
    );
    if is_silent || is_sparse {
        let message = format!(
            "spikes over {:.1} hours, of half of the units less often than {median_hz:.2e} Hz: are times in ms or samples rather than s? (hint: \
             {hint})",
            span_s / 3600.0
        );
        if span_s > LONG_S {
            told.refuse("spike times", message);
        } else {
            told.warn("spike times", message);
        }
    }
    if sense::is_slow(intervals) && !(is_silent && span_s > LONG_S) {
        let (n, n_short) = intervals;
        let message = format!(
            "{n_short} of {n} intervals between spikes of a unit are shorter than {} s, where neurons have many: are times in ms or samples \
             rather than s? (hint: {hint}, such as slow events that were deconvolved from calcium imaging)",
            sense::SHORT_S
        );
        told.refuse("spike times", message);
    }
}

/// What times that last so many times longer than others may be in.
pub(super) fn larger_unit(ratio: f64) -> Option<&'static str> {
    let units = [
        (MS, "ms (1000)"),
        (SAMPLES, "samples (the sampling rate)"),
        (US, "µs (1000000)"),
    ];
    units
        .into_iter()
        .find_map(|(range, unit)| range.contains(&ratio).then_some(unit))
}

/// Refuses times of which the last, of `last_of`, is so far from the end of the last trial that one of both is not in s.
fn refuse_units(
    (what, last_of, last): (&str, &str, f64),
    (key, given): (&str, Option<f64>),
    stop: f64,
    clock: &ClockPlan,
    told: &mut Told,
) {
    for (ratio, what, key, given) in [
        (last / stop, what, key, given),
        (stop / last, "trials", "trials_per_s", clock.trials_per_s),
    ] {
        let Some(looks_like) = larger_unit(ratio) else { continue };
        if given.is_none() && last > 0.0 && stop > 0.0 {
            let message = format!(
                "{last_of} is at {last} s and the last trial ends at {stop} s: times of one of them are in {looks_like} (hint: \
                 clock.{key} in a TOML for --spec says how many of its units are a second; 1 if they are s)"
            );
            told.refuse(what, message);
        }
    }
}

/// Tells times of behaviour of another unit than those of the trials, and traces that no trial has a sample of.
pub(super) fn compare_traces(
    behaviour: &BTreeMap<String, Behaviour>,
    trials: &[Trial],
    clock: &ClockPlan,
    told: &mut Told,
) {
    let edges = trials.iter().map(|trial| (trial.start_s, trial.stop_s));
    let Some((start, stop)) = edges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else {
        return;
    };
    for (name, behaviour) in behaviour {
        let BehaviourSamples::Continuous { values, timing } = &behaviour.samples else {
            continue;
        };
        let span = match timing {
            Timing::Rate { rate_hz, start_s } => {
                let last = values.len().checked_sub(1);
                last.map(|last| (*start_s, start_s + last as f64 / rate_hz))
            }
            Timing::Timestamps(times) => times.first().copied().zip(times.last().copied()),
        };
        let Some((first, last)) = span else { continue };
        let key = format!("behaviour.{name}");
        let n_problems = told.findings.problems.len();
        refuse_units(
            (&key, "the last sample", last),
            ("traces_per_s", clock.traces_per_s),
            stop,
            clock,
            told,
        );
        let has_sample = |trial: &&Trial| match timing {
            Timing::Rate { .. } => first < trial.stop_s && last >= trial.start_s,
            Timing::Timestamps(times) => {
                let next = times.get(times.partition_point(|time| *time < trial.start_s));
                next.is_some_and(|time| *time < trial.stop_s)
            }
        };
        let n_with = trials.iter().filter(has_sample).count();
        if told.findings.problems.len() == n_problems && n_with < trials.len() {
            let with = if n_with == 0 {
                "no trial has any".to_owned()
            } else {
                format!("{n_with} of {} trials have any", trials.len())
            };
            let message = format!(
                "samples from {first} s to {last} s, trials from {start} s to {stop} s: {with} (hint: clock.traces_offset_s in a TOML for --spec \
                 moves them, clock.traces_per_s says how many of their units are a second)"
            );
            told.warn(&key, message);
        }
    }
}

/// Times of trials in s; what an expression reads is as the file has it.
pub(super) fn trial_times(values: Vec<f64>, clock: &ClockPlan) -> Vec<f64> {
    match (clock.trials_per_s, clock.offset_s) {
        (None, None) => values,
        (per_s, offset_s) => {
            let (per_s, offset_s) = (per_s.unwrap_or(1.0), offset_s.unwrap_or(0.0));
            values.into_iter().map(|time| time / per_s + offset_s).collect()
        }
    }
}

/// When each unit that is taken was observed; `None` where all were in every trial. Tells of those that were not.
///
/// A unit without any stretch is taken as observed throughout: pynwb writes an empty list where nothing was given. Where the
/// file says besides when spikes were recorded at all, it is one of ours, and stretches are passed on as they are.
pub(super) fn unit_observed(
    source: &mut Source,
    units: &Taken,
    trials: &[Trial],
    told: &mut Told,
) -> Option<Vec<Stretches>> {
    let observed = source.unit_observed_s.as_mut()?;
    let stated: Vec<Stretches> = units
        .rows
        .iter()
        .map(|&row| observed.get_mut(row).map(std::mem::take).unwrap_or_default())
        .collect();
    let is_ours = source.observed_s.is_some();
    let n_silent = stated.iter().filter(|stretches| stretches.is_empty()).count();
    let mut stretches: Vec<Stretches> = stated
        .iter()
        .cloned()
        .map(|own| presence::merged(own, SLACK_S))
        .collect();
    let mut broken = Vec::new();
    for (n, own) in stretches.iter_mut().enumerate() {
        if own.is_empty() && !stated[n].is_empty() {
            // Of length 0: it was never observed.
            let of_none = stated[n]
                .iter()
                .find(|(start, stop)| start.is_finite() && start.total_cmp(stop).is_eq());
            match of_none {
                Some(none) => own.push(*none),
                None => broken.push(n),
            }
        }
    }
    if let Some(&first) = broken.first() {
        let name = units.units.get(first).map_or("", |unit| unit.id.as_str());
        let message = format!(
            "intervals of observation of {} units are none (start after stop, or not finite), first of '{name}' (hint: a condition, \
             --units, leaves units out)",
            broken.len()
        );
        told.refuse("units", message);
    }
    if !is_ours && n_silent > 0 && n_silent < stated.len() {
        let message = format!(
            "{n_silent} of {} units have no interval of observation, others have: they are taken as observed throughout",
            stated.len()
        );
        told.warn("units", message);
    }
    let missed = |stretches: &Stretches| {
        let is_missed = |trial: &&Trial| !presence::holds(stretches, trial.start_s, trial.stop_s, SLACK_S);
        trials.iter().filter(is_missed).count()
    };
    let missed: Vec<usize> = stretches.iter().map(missed).collect();
    let (worst, most) = missed
        .iter()
        .copied()
        .enumerate()
        .max_by_key(|(n, most)| (*most, std::cmp::Reverse(*n)))?;
    if most == 0 {
        return is_ours.then_some(stated);
    }
    // Files round times: what holds a trial here has to hold it without this slack too.
    for own in &mut stretches {
        for trial in trials {
            // Those that touch have been put together: one holds a trial, or none does.
            let holder = presence::holder(own, trial.start_s, trial.stop_s, SLACK_S);
            if let Some(stretch) = holder.and_then(|range| own.get_mut(range.start)) {
                *stretch = (stretch.0.min(trial.start_s), stretch.1.max(trial.stop_s));
            }
        }
        if presence::observed_s(own, 1.0) > 0.0 {
            *own = presence::merged(std::mem::take(own), 0.0);
        }
    }
    let name = units.units.get(worst).map_or("", |unit| unit.id.as_str());
    let message = format!(
        "{} of {} units were not observed in every trial (unit '{name}' in {most} of {} not); these trials don't count for them",
        missed.iter().filter(|n| **n > 0).count(),
        units.units.len(),
        trials.len()
    );
    told.warn("units", message);
    Some(if is_ours { stated } else { stretches })
}
