//! Whether spikes and trials can be of one session, where no single number is wrong: trials without spikes, events that are
//! relative to something, spikes in another unit than s.

use super::{ImportPlan, Told};
use crate::import::source::Source;
use crate::import::table::{Column, Table};
use crate::presence::Stretches;
use crate::recording::Trial;
use crate::validate::overlapping;

/// Silence in which so many spikes are expected is none: by chance it is once in 5·10⁸.
pub(super) const EXPECTED: f64 = 20.0;
/// Fewer trials than this may lie anywhere.
pub(super) const MANY_TRIALS: usize = 20;
/// Many trials that all lie in this share of the spikes' time, at its beginning, are hardly on its clock.
pub(super) const EARLY: f64 = 0.03;
/// Times of trials, in the order of the table, come after the one before at least so often; those relative to a trial half the time.
pub(super) const IN_ORDER: f64 = 0.75;
/// Neurons have intervals shorter than this (s), refractory as they are: in ms, samples or µs none is.
pub(super) const SHORT_S: f64 = 0.3;
/// At least this share of their intervals: of a unit at 0.01 Hz without bursts three times as many are.
const FEW_SHORT: f64 = 1e-3;
/// Fewer intervals than this tell nothing.
const MANY_INTERVALS: usize = 1000;

/// How many intervals between spikes of a unit there are, and how many are short.
pub(super) fn intervals(source: &Source) -> (usize, usize) {
    let pairs = source.spikes_s.iter().flat_map(|times| times.windows(2));
    pairs.fold((0, 0), |(n, n_short), pair| {
        (n + 1, n_short + usize::from(pair[1] - pair[0] < SHORT_S))
    })
}

/// Whether intervals between spikes are too long for times in s.
pub(super) fn is_slow((n, n_short): (usize, usize)) -> bool {
    n >= MANY_INTERVALS && (n_short as f64) < FEW_SHORT * n as f64
}

/// How many more of the intervals are short than of spikes at random times of that rate (Hz); without a spike, 1.
pub(super) fn burstiness((n, n_short): (usize, usize), rate_hz: f64) -> f64 {
    let expected = n as f64 * -(-SHORT_S * rate_hz).exp_m1();
    if expected > 0.0 { n_short as f64 / expected } else { 1.0 }
}

impl ImportPlan {
    /// Refuses many trials that all lie in the beginning of the spikes' time: they are relative to something, or in a larger
    /// unit. Whether it did.
    pub(super) fn refuse_early(&self, source: &Source, trials: &[Trial], last: f64, told: &mut Told) -> bool {
        if self.clock.trials_per_s.is_some() || self.trials.every_s.is_some() || trials.len() < MANY_TRIALS {
            return false;
        }
        let offset_s = self.clock.offset_s.unwrap_or(0.0);
        let latest = trials
            .iter()
            .map(|trial| trial.align_s)
            .fold(f64::NEG_INFINITY, f64::max);
        if latest - offset_s >= EARLY * (last - offset_s) {
            return false;
        }
        let n_later = trials
            .windows(2)
            .filter(|pair| pair[1].align_s > pair[0].align_s)
            .count();
        let event = self.trials.align_to.as_deref().unwrap_or("start_time");
        let found = format!(
            "all {} times of '{event}' lie before {latest} s, and spikes last until {last} s",
            trials.len()
        );
        let otherwise = "clock.trials_per_s = 1 in a TOML for --spec takes them as they are, such as those of a task before hours of sleep";
        let is_slow = self.clock.spikes_per_s.is_none() && is_slow(intervals(source));
        if (n_later as f64) < IN_ORDER * (trials.len() - 1) as f64 && !is_slow {
            let start = super::trials::table(&self.trials, source).ok().flatten();
            let start = start.and_then(|table| clock_column(table, EARLY * last));
            let sum = match start {
                Some(start) => format!("\"{start} + {event}\""),
                None => format!("the start of the trial + {event}"),
            };
            let message = format!(
                "{found}; they don't grow from row to row: they are relative to the start of their trial (hint: --align-to, trials.align_to in a \
                 TOML for --spec, is {sum}; {otherwise})"
            );
            told.refuse("trials.align_to", message);
            return true;
        }
        // In ms or samples, the spikes are: which is told elsewhere.
        if super::clock::larger_unit(last / latest).is_some() || is_slow {
            return false;
        }
        let message = format!(
            "{found}: are they relative to something, or in minutes? (hint: {otherwise}; else it says how many of their units are a second, \
             0.016666666666666666 for minutes)"
        );
        told.refuse("trials", message);
        true
    }

    /// Tells trials without spikes of any unit where there should be some, and refuses them where they are most.
    pub(super) fn empty_trials(&self, source: &Source, trials: &[Trial], (first, last): (f64, f64), told: &mut Told) {
        // Who says when spikes were recorded knows where there are none.
        if self.clock.observed_s.is_some() || last <= first {
            return;
        }
        let n_spikes: usize = source.spikes_s.iter().map(Vec::len).sum();
        let rate_hz = n_spikes as f64 / (last - first);
        let is_expected = |length_s: f64| length_s * rate_hz > EXPECTED;
        let stated = source.observed_s.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        let observed: Vec<&Trial> = trials
            .iter()
            .filter(|trial| trial.start_s < stated.1 && trial.stop_s > stated.0 && is_observed(source, trial))
            .collect();
        let before = observed.iter().filter(|trial| trial.stop_s <= first);
        let after = observed.iter().filter(|trial| trial.start_s >= last);
        let from = before.clone().map(|trial| trial.start_s).fold(first, f64::min);
        let to = after.clone().map(|trial| trial.stop_s).fold(last, f64::max);
        let n_before = if is_expected(first - from) { before.count() } else { 0 };
        let n_after = if is_expected(to - last) { after.count() } else { 0 };
        let has_spike = |trial: &Trial| {
            let within = |times: &Vec<f64>| {
                let next = times.get(times.partition_point(|time| *time < trial.start_s));
                next.is_some_and(|time| *time < trial.stop_s)
            };
            source.spikes_s.iter().any(within)
        };
        let inside = observed
            .iter()
            .filter(|trial| trial.stop_s > first && trial.start_s < last && is_expected(trial.stop_s - trial.start_s));
        let n_inside = inside.filter(|trial| !has_spike(trial)).count();
        let n = n_before + n_after + n_inside;
        let stated = format!("[{:.0}, {:.0}]", first.floor().max(0.0), last.ceil());
        if 2 * n > trials.len() {
            let message = format!(
                "no unit spikes in {n} of {} trials (spikes from {first} s to {last} s, trials from {} s to {} s): are the trials of another \
                 clock or in another unit than the spikes? (hint: clock.trials_per_s in a TOML for --spec says how many of their units are a \
                 second, such as the rate of samples; clock.observed_s = {stated} says when spikes were recorded: trials outside of it are left out)",
                trials.len(),
                trials.iter().map(|trial| trial.start_s).fold(f64::INFINITY, f64::min),
                trials
                    .iter()
                    .map(|trial| trial.stop_s)
                    .fold(f64::NEG_INFINITY, f64::max),
            );
            told.refuse("trials", message);
        } else if n_before > 0 {
            let message = format!(
                "{n_before} of {} trials end before the first spike, at {first} s, and count as silence: were spikes recorded later than the \
                 trials? (hint: clock.observed_s = {stated} in a TOML for --spec leaves them out)",
                trials.len()
            );
            told.warn("trials", message);
        }
    }

    /// Refuses trials most of which share most of their time with an earlier one, unless the plan says that they do; they are told, as
    /// few are, when the recording is checked.
    pub(super) fn refuse_overlapping(&self, trials: &[Trial], told: &mut Told) {
        let spans = || trials.iter().map(|trial| (trial.start_s, trial.stop_s));
        let (_, n_most) = overlapping(spans());
        if 2 * n_most <= trials.len() || self.trials.overlap == Some(true) {
            return;
        }
        let what = match self.trials.window_s {
            Some([from, to]) => format!(
                "--window-s, trials.window_s, is [{from}, {to}] in s: is that longer than trials are, or meant in ms? a shorter one, or trials.stop \
                 in a TOML for --spec, keeps them apart"
            ),
            None => "are starts and stops right? --window-s takes a part of each".to_owned(),
        };
        let message = format!(
            "{n_most} of {} trials share more than half of their time with an earlier one, so trials that are held out would be known from \
             training (hint: {what}; a condition, --trials, leaves some out; trials.overlap = true in a TOML for --spec takes windows that slide as they \
             are)",
            trials.len()
        );
        told.refuse("trials", message);
    }
}

/// Whether these are numbers of trials, which grow by one.
pub(super) fn is_count(values: &[f64]) -> bool {
    values.windows(2).all(|pair| pair[1] - pair[0] == 1.0)
}

/// A column of numbers that grow from row to row, as those of a clock, beyond `early`.
fn clock_column(table: &Table, early: f64) -> Option<&str> {
    table.names().find(|name| match table.get(name) {
        Some(Column::Numbers(values)) => {
            let n_later = values.windows(2).filter(|pair| pair[1] > pair[0]).count();
            let reaches = values.iter().copied().fold(f64::NEG_INFINITY, f64::max) > early;
            reaches && !is_count(values) && n_later as f64 >= IN_ORDER * (values.len().max(2) - 1) as f64
        }
        _ => false,
    })
}

/// Whether some unit was observed in a part of a trial, by what the file says of units.
fn is_observed(source: &Source, trial: &Trial) -> bool {
    let overlaps =
        |own: &Stretches| own.is_empty() || own.iter().any(|(from, to)| *from < trial.stop_s && *to > trial.start_s);
    source
        .unit_observed_s
        .as_ref()
        .is_none_or(|units| units.iter().any(overlaps))
}
