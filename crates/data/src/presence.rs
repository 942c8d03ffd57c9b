//! When each unit was observed: a unit that drifted away, or whose probe was stopped, is not silent.

use ndarray::Array2;

/// Stretches (s) in which a unit was observed; none: it was throughout, because nothing else is known.
pub type Stretches = Vec<(f64, f64)>;

/// Slack (s) where stretches are compared with trials and with each other: 1 µs, far below any sampling interval.
pub(crate) const SLACK_S: f64 = 1e-6;

/// Whether one stretch holds all from `from_s` to `to_s`, up to `slack_s` at both ends.
pub(crate) fn holds(stretches: &[(f64, f64)], from_s: f64, to_s: f64, slack_s: f64) -> bool {
    let holds = |&(start, stop): &(f64, f64)| start <= from_s + slack_s && to_s - slack_s <= stop;
    stretches.is_empty() || stretches.iter().any(holds)
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
        assert_eq!((observed_s(&merged, 10.0), observed_s(&[], 10.0)), (3.0, 10.0));
    }
}
