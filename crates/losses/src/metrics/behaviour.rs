//! What single behaviour traces say: whether an animal moved, and whether it licked.

use std::ops::Range;

use ndarray::ArrayView1;

/// Steps of the trace that are this many times larger than in the baseline are movement. Source: the publication.
const ACTIVE_FACTOR: f64 = 4.0;

/// Whether a trial is active: the largest step of the trace in the delay exceeds four standard deviations of its steps in
/// the baseline.
///
/// $$\max_{t \in \text{delay}} |y_t - y_{t-1}| > 4 \,\mathrm{std}_{t \in \text{baseline}} |y_t - y_{t-1}|$$
///
/// `None` where either has fewer than two steps, or a value isn't finite.
///
/// # Shapes
/// `trace` `[T]`; `baseline` and `delay` are ranges of its bins.
///
/// # Source
/// Sourmpis et al. 2023 (specification §1.18); baseline: the 200 ms before the stimulus.
pub fn is_active(trace: &ArrayView1<'_, f64>, baseline: Range<usize>, delay: Range<usize>) -> Option<bool> {
    let steps = |range: Range<usize>| -> Option<Vec<f64>> {
        let steps: Vec<f64> = (range.start.max(1)..range.end)
            .map(|t| Some((trace.get(t)? - trace.get(t - 1)?).abs()))
            .collect::<Option<_>>()?;
        (steps.len() >= 2 && steps.iter().all(|step| step.is_finite())).then_some(steps)
    };
    let (quiet, delay) = (steps(baseline)?, steps(delay)?);
    let threshold = ACTIVE_FACTOR * crate::statistics::unbiased_variance(&quiet).sqrt();
    Some(delay.iter().copied().fold(0.0, f64::max) > threshold)
}

/// The threshold between values of two groups: the one with the best balanced accuracy, halfway between two values.
///
/// Values above it are taken for positive ones. `None` without both groups; of several best ones the lowest.
pub fn best_threshold(values: &[f64], is_positive: &[bool]) -> Option<f64> {
    let mut sorted: Vec<(f64, bool)> = values.iter().copied().zip(is_positive.iter().copied()).collect();
    sorted.retain(|(value, _)| value.is_finite());
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let n_positive = sorted.iter().filter(|s| s.1).count();
    let n_negative = sorted.len() - n_positive;
    if n_positive == 0 || n_negative == 0 {
        return None;
    }
    let (mut below_positive, mut below_negative) = (0usize, 0usize);
    let mut best = (f64::NEG_INFINITY, f64::NAN);
    for pair in sorted.windows(2) {
        below_positive += usize::from(pair[0].1);
        below_negative += usize::from(!pair[0].1);
        let accuracy = 0.5
            * ((n_positive - below_positive) as f64 / n_positive as f64 + below_negative as f64 / n_negative as f64);
        if pair[1].0 > pair[0].0 && accuracy > best.0 {
            best = (accuracy, f64::midpoint(pair[0].0, pair[1].0));
        }
    }
    best.1.is_finite().then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array1;

    #[test]
    fn a_trial_is_active_where_it_moves_more_than_four_deviations() {
        // Steps of the baseline 1, 2, 1, 2, …: unbiased variance of 9 of them 0.2778, four deviations 2.108.
        let mut trace = Array1::<f64>::zeros(20);
        for t in 1..10 {
            trace[t] = trace[t - 1] + if t % 2 == 0 { 2.0 } else { 1.0 };
        }
        let variance =
            4.0 * (5.0f64 * (1.0 - 13.0 / 9.0) * (1.0 - 13.0 / 9.0) + 4.0 * (5.0f64 / 9.0) * (5.0 / 9.0)) / 32.0;
        let limit = 4.0 * variance.sqrt();
        for (step, expected) in [(limit - 1e-9, false), (limit + 1e-9, true)] {
            for t in 10..20 {
                trace[t] = trace[9] + if t >= 15 { step } else { 0.0 };
            }
            assert_eq!(is_active(&trace.view(), 0..10, 10..20), Some(expected));
        }
        assert_eq!(is_active(&trace.view(), 0..2, 10..20), None);
        assert_eq!(is_active(&trace.view(), 0..10, 10..25), None);
        trace[12] = f64::NAN;
        assert_eq!(is_active(&trace.view(), 0..10, 10..20), None);
    }

    #[test]
    fn the_threshold_has_the_best_balanced_accuracy() {
        let values = [0.0, 1.0, 2.0, 3.0, 10.0, 4.0, f64::NAN];
        let positive = [false, false, true, true, true, false, true];
        // Above 1.5: 3 of 3 positive, 2 of 3 negative; above 4: 1 of 3, 3 of 3.
        assert_eq!(best_threshold(&values, &positive), Some(1.5));
        assert_eq!(best_threshold(&values[..2], &positive[..2]), None);
        assert_eq!(best_threshold(&[1.0, 1.0], &[true, false]), None);
    }
}
