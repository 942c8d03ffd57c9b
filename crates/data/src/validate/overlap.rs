//! Trials that share time, and so spikes, with others.

/// Files round the edges of trials, each column in its own way; bins are hardly shorter than this (s).
const SLACK_S: f64 = 1e-3;

/// How many trials begin before an earlier one has ended, and how many of these share more than half of their length with it.
/// `spans`: from when to when (s) each trial is, in any order.
pub(crate) fn overlapping(spans: impl Iterator<Item = (f64, f64)>) -> (usize, usize) {
    let mut spans: Vec<(f64, f64)> = spans
        .filter(|(start, stop)| start.is_finite() && stop.is_finite() && start < stop)
        .collect();
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut n, mut n_most, mut latest) = (0, 0, f64::NEG_INFINITY);
    for (start, stop) in spans {
        let shared = latest.min(stop) - start;
        n += usize::from(shared > SLACK_S);
        n_most += usize::from(shared > SLACK_S && shared > 0.5 * (stop - start));
        latest = latest.max(stop);
    }
    (n, n_most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_that_share_time_are_counted_in_whatever_order_and_those_that_touch_are_not() {
        let of = |spans: &[(f64, f64)]| overlapping(spans.iter().copied());
        assert_eq!(of(&[(2.0, 3.0), (0.0, 1.0), (1.0, 2.0005)]), (0, 0));
        // A quarter and three quarters.
        assert_eq!(of(&[(1.5, 3.5), (0.0, 2.0), (5.0, 7.0), (5.5, 7.5)]), (2, 1));
        // One long trial around two others.
        assert_eq!(of(&[(0.0, 10.0), (1.0, 2.0), (3.0, 4.0)]), (2, 2));
        assert_eq!(of(&[(0.0, f64::NAN), (0.0, 1.0)]), (0, 0));
    }
}
