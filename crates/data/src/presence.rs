//! When each unit was observed: a unit that drifted away, or whose probe was stopped, is not silent.

use std::ops::Range;

use ndarray::Array2;

use crate::recording::{Activity, Session};

/// Stretches (s) in which a unit was observed; none: it was throughout, because nothing else is known. One of length 0 alone
/// says that it never was.
pub type Stretches = Vec<(f64, f64)>;

/// Table of intervals in exported NWB files: when spikes were recorded at all.
pub(crate) const RECORDED: &str = "snnfit_recorded";

/// Slack (s) where stretches are compared with trials and with each other: 1 µs, far below any sampling interval.
pub(crate) const SLACK_S: f64 = 1e-6;

/// Whether stretches that follow one another hold all from `from_s` to `to_s`, up to `slack_s` at both ends; those that touch,
/// up to as much, count as one. Time O(log n) where few touch.
pub(crate) fn holds(stretches: &[(f64, f64)], from_s: f64, to_s: f64, slack_s: f64) -> bool {
    stretches.is_empty() || holder(stretches, from_s, to_s, slack_s).is_some()
}

/// The stretches that hold all from `from_s` to `to_s`, as [`holds`] has it.
pub(crate) fn holder(stretches: &[(f64, f64)], from_s: f64, to_s: f64, slack_s: f64) -> Option<Range<usize>> {
    let after = stretches.partition_point(|(start, _)| *start <= from_s + slack_s);
    let first = after.checked_sub(1)?;
    let (_, mut reach) = *stretches.get(first)?;
    let mut end = after;
    while reach < to_s - slack_s {
        let (start, stop) = *stretches.get(end)?;
        if start > reach + slack_s {
            return None;
        }
        reach = reach.max(stop);
        end += 1;
    }
    Some(first..end)
}

/// Whether a unit with these stretches was observed at some time from `from_s` to `to_s`.
fn overlaps(stretches: &[(f64, f64)], from_s: f64, to_s: f64) -> bool {
    let before = stretches.partition_point(|(start, _)| *start < to_s);
    let mut earlier = stretches.iter().take(before).rev();
    let last = earlier.find(|(start, stop)| start < stop); // those of length 0 hold nothing
    stretches.is_empty() || last.is_some_and(|(_, stop)| *stop > from_s)
}

/// Units that were observed in no trial, not even in a part of one.
pub(crate) fn never_observed(session: &Session) -> Vec<usize> {
    if session.trials.is_empty() {
        return Vec::new();
    }
    let units = 0..session.n_units();
    match &session.activity {
        Activity::SpikeTimes {
            unit_observed_s: Some(all),
            ..
        } => {
            let is_ever = |n: &usize| {
                let own = all.get(*n).map_or(&[][..], Vec::as_slice);
                let mut trials = session.trials.iter();
                trials.any(|trial| overlaps(own, trial.start_s, trial.stop_s))
            };
            units.filter(|n| !is_ever(n)).collect()
        }
        Activity::Binned {
            presence: Some(presence),
            ..
        } => {
            let is_ever = |n: &usize| (0..session.n_trials()).any(|k| presence.get((k, *n)).is_none_or(|p| *p));
            units.filter(|n| !is_ever(n)).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether some unit was not observed in the whole of some trial.
pub(crate) fn is_partial(session: &Session) -> bool {
    crate::inspect::observed_trials(session).is_some_and(|observed| observed.iter().any(|is_observed| !is_observed))
}

/// Sorted, with those that touch or overlap put together, and without those that are none (reversed, empty, not finite).
pub(crate) fn merged(mut stretches: Stretches, slack_s: f64) -> Stretches {
    stretches.retain(|(start, stop)| start.is_finite() && stop.is_finite() && start < stop);
    stretches.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut merged: Stretches = Vec::with_capacity(stretches.len());
    for (start, stop) in stretches {
        match merged.last_mut() {
            Some(last) if start <= last.1 + slack_s => last.1 = last.1.max(stop),
            _ => merged.push((start, stop)),
        }
    }
    merged
}

/// Total length (s); `whole_s` where nothing is known.
pub(crate) fn observed_s(stretches: &[(f64, f64)], whole_s: f64) -> f64 {
    if stretches.is_empty() {
        whole_s
    } else {
        stretches.iter().map(|(start, stop)| stop - start).sum()
    }
}

/// Units that miss a trial, and how many of `trials` each misses.
pub(crate) fn missed(presence: &Array2<bool>, trials: &[usize]) -> Vec<(usize, usize)> {
    let n_missed = |n: usize| trials.iter().filter(|&&k| !presence[[k, n]]).count();
    let units = (0..presence.ncols()).map(|n| (n, n_missed(n)));
    units.filter(|(_, n)| *n > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_put_together_where_they_touch_and_hold_what_lies_within_one() {
        let all = vec![
            (5.0, 6.0),
            (1.0, 2.0),
            (2.0, 3.0),
            (2.5, 2.8),
            (9.0, 8.0),
            (f64::NAN, 4.0),
        ];
        let merged = merged(all, SLACK_S);
        assert_eq!(merged, [(1.0, 3.0), (5.0, 6.0)]);
        assert!(holds(&merged, 1.5, 2.5, SLACK_S) && holds(&merged, 1.0 - 1e-7, 3.0 + 1e-7, SLACK_S));
        assert!(!holds(&merged, 2.5, 5.5, SLACK_S) && !holds(&merged, 0.9, 1.5, SLACK_S));
        assert!(holds(&[], -1e9, 1e9, SLACK_S), "nothing is known");
        // Stretches that touch, up to rounding, hold what lies across.
        let touching = [(0.0, 1.0), (1.0 + 1e-9, 2.0), (2.0, 3.0), (3.5, 4.0)];
        assert_eq!(holder(&touching, 0.5, 2.5, SLACK_S), Some(0..3));
        assert_eq!(holder(&touching, 1.0, 1.5, SLACK_S), Some(1..2));
        for (from, to, is_held) in [
            (0.0, 3.0, true),
            (0.0, 3.2, false),
            (2.5, 3.6, false),
            (3.5, 4.0, true),
            (4.0, 5.0, false),
        ] {
            assert_eq!(holds(&touching, from, to, SLACK_S), is_held, "{from} to {to}");
        }
        let never = [(1.0, 1.0)];
        assert!(!overlaps(&never, 0.0, 2.0) && !holds(&never, 0.5, 1.5, SLACK_S) && observed_s(&never, 9.0) == 0.0);
        assert!(overlaps(&touching, 3.2, 3.6) && !overlaps(&touching, 3.1, 3.4) && !overlaps(&touching, 4.0, 9.0));
        assert_eq!((observed_s(&merged, 10.0), observed_s(&[], 10.0)), (3.0, 10.0));
    }
}
