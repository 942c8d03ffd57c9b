//! Whether times count from other times of their row rather than on the clock of the session.
//!
//! A time after a stimulus, in ms, reads like one of the session: trials would be cut there without a fault. Rows with a start tell
//! ([`super::rows`]); without one, times of a clock do that another column has.

use super::rows::{Manner, how_to, operand};
use super::sense::{EARLY, IN_ORDER, MANY_TRIALS, is_count};
use super::{ImportPlan, Told, clock};
use crate::import::source::Source;
use crate::import::table::{Column, Table};

/// This share of times at both ends may be none, such as 0 where nothing happened.
const STRAY: f64 = 0.05;
/// Trials keep a distance; of times after them, a tenth are closer to the next than this share of the median.
const CLOSE: f64 = 0.3;
/// The rank, among distances, of the close ones.
const CLOSEST: f64 = 0.1;
/// What brings times after another one to its unit, and what is done to their text.
const UNITS: [(f64, &str); 2] = [(1.0, ""), (1e-3, " / 1000")];

/// Whether times, each beside another one of its row, go where these go: the distance varies less than the time does.
pub(super) fn moves_with(pairs: &[(f64, f64)]) -> bool {
    let mut pairs = pairs.to_vec();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let n_stray = (STRAY * pairs.len() as f64) as usize;
    let kept = pairs.get(n_stray..pairs.len() - n_stray).unwrap_or_default();
    let variance = |of: &dyn Fn(&(f64, f64)) -> f64| {
        let n = kept.len() as f64;
        let mean = kept.iter().map(of).sum::<f64>() / n;
        kept.iter().map(|pair| (of(pair) - mean).powi(2)).sum::<f64>() / n
    };
    variance(&|pair| pair.0 - pair.1) < variance(&|pair| pair.0)
}

/// The share of times that come after the one of the row before, or with `or_same` not before it.
fn in_order(times: &[f64], or_same: bool) -> f64 {
    let is_later = |pair: &&[f64]| pair[1] > pair[0] || (or_same && pair[1] >= pair[0]);
    times.windows(2).filter(is_later).count() as f64 / (times.len().max(2) - 1) as f64
}

/// Whether times lie as close to each other here and there as random ones, which those of trials don't.
fn is_crowded(times: &[f64]) -> bool {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut distances: Vec<f64> = sorted.windows(2).map(|pair| pair[1] - pair[0]).collect();
    distances.sort_by(f64::total_cmp);
    let at = |share: f64| distances.get((share * distances.len() as f64) as usize).copied();
    at(CLOSEST)
        .zip(at(0.5))
        .is_some_and(|(close, median)| close <= CLOSE * median)
}

/// The name of a column as a part of a sum.
fn column(name: &str) -> String {
    let is_plain = name.chars().all(|c| c.is_alphanumeric() || "_.".contains(c));
    if is_plain { name.to_owned() } else { format!("`{name}`") }
}

impl ImportPlan {
    /// Refuses times (s, on the clock of the recording) of the expression `text` at `key` in rows without a start, where they don't grow
    /// from row to row, but lie in order once they are counted from a column that does.
    pub(super) fn refuse_relative(
        &self,
        (table, source): (&Table, &Source),
        (key, text): (&str, &str),
        times_s: &[Option<f64>],
        manner: Manner,
        told: &mut Told,
    ) {
        let Some((first, last)) = clock::spike_span(source) else {
            return;
        };
        let times: Vec<f64> = times_s
            .iter()
            .copied()
            .flatten()
            .filter(|time| time.is_finite())
            .collect();
        let latest = times.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let offset_s = self.clock.offset_s.unwrap_or(0.0);
        // The first seconds of a session are looked at where it is compared with the spikes.
        let is_early = key == "trials.align_to" && latest - offset_s < EARLY * (last - offset_s);
        let is_known = self.clock.trials_per_s.is_some() || times.len() < MANY_TRIALS;
        if is_known || is_early || in_order(&times, false) >= IN_ORDER {
            return;
        }
        let is_crowded = is_crowded(&times);
        let otherwise = "clock.trials_per_s = 1 in a TOML for --spec takes them as they are";
        let found = format!("the {} times of '{text}' don't grow from row to row", times.len());
        let from = self.counted_from(table, times_s, (first, last));
        match from {
            Some((name, change)) => {
                let sum = format!("{} + {}{change}", column(name), operand(text));
                let unit = if change.is_empty() { "" } else { ", in ms" };
                let message = format!(
                    "{found}, and those of column '{name}' do: do they count from that{unit}? (hint: {}; {otherwise})",
                    how_to(key, &sum)
                );
                let manner = if is_crowded { manner } else { Manner::Tell };
                manner.most(key, message, told);
            }
            None if is_crowded && key == "trials.align_to" && in_order(&times, true) < IN_ORDER => {
                let message = format!(
                    "{found}, and some are far closer to each other than most: do they count from the start of their trial? (hint: --align-to takes \
                     sums, such as \"start_time + {}\"; {otherwise})",
                    operand(text)
                );
                told.warn(key, message);
            }
            None => {}
        }
    }

    /// A column of times of a clock (one that grows, over more than the beginning of the spikes' time), and the change of times, with
    /// which most of them come after its time of their row and before that of the next.
    fn counted_from<'a>(
        &self,
        table: &'a Table,
        times_s: &[Option<f64>],
        (first, last): (f64, f64),
    ) -> Option<(&'a str, &'static str)> {
        let offset_s = self.clock.offset_s.unwrap_or(0.0);
        table.names().find_map(|name| {
            let Column::Numbers(values) = table.get(name)? else {
                return None;
            };
            let starts = clock::trial_times(values.clone(), &self.clock);
            let pairs = times_s.iter().zip(&starts).filter_map(|(time, start)| {
                let time = time.filter(|time| time.is_finite() && start.is_finite())?;
                Some((time, *start))
            });
            let pairs: Vec<(f64, f64)> = pairs.collect();
            let starts: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
            let n_within = starts.iter().filter(|start| (first..=last).contains(*start)).count();
            let reaches = starts.iter().any(|start| *start > EARLY * last);
            let is_clock = pairs.len() >= MANY_TRIALS
                && reaches
                && 2 * n_within > starts.len()
                && in_order(&starts, false) >= IN_ORDER
                && !is_count(values)
                && !is_crowded(&starts);
            if !is_clock || moves_with(&pairs) {
                return None;
            }
            let (_, change) = UNITS.into_iter().find(|(factor, _)| {
                let is_before_next = |pair: &&[(f64, f64)]| {
                    let after = (pair[0].0 - offset_s) * factor;
                    after >= 0.0 && after < pair[1].1 - pair[0].1
                };
                2 * pairs.windows(2).filter(is_before_next).count() > pairs.len() - 1
            })?;
            Some((name, change))
        })
    }
}
