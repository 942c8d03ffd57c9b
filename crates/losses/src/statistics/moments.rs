//! Mean, variance, quantiles, groups: the elementary summaries.

use std::collections::BTreeMap;

/// Arithmetic mean; NaN for no values.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Unbiased variance `Σ(x − x̄)²/(n − 1)`; NaN for fewer than two values.
pub fn unbiased_variance(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return f64::NAN;
    }
    let centre = mean(values);
    let sum: f64 = values.iter().map(|x| (x - centre).powi(2)).sum();
    sum / (values.len() - 1) as f64
}

/// Median (mean of the two middle values for an even number); `None` for no values or any NaN.
pub fn median(values: &[f64]) -> Option<f64> {
    if values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    quantile_sorted(&sorted, 0.5)
}

/// Quantile by linear interpolation between order statistics (position `q·(n − 1)`).
///
/// `sorted` must be in ascending order; `q` is clamped to `[0, 1]`. `None` for no values.
pub fn quantile_sorted(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = q.clamp(0.0, 1.0) * last as f64;
    let below = (position.floor() as usize).min(last);
    let above = (below + 1).min(last);
    let weight = position - below as f64;
    Some(sorted[below] * (1.0 - weight) + sorted[above] * weight)
}

/// Positions of each label, in ascending order: rows of each trial type, trials of each condition.
pub fn rows_by_label(labels: &[usize]) -> BTreeMap<usize, Vec<usize>> {
    let mut rows = BTreeMap::<usize, Vec<usize>>::new();
    for (k, &label) in labels.iter().enumerate() {
        rows.entry(label).or_default().push(k);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_equal_values_computed_by_hand() {
        let x = [1.0, 4.0, 2.0, 9.0];
        assert_eq!(mean(&x), 4.0);
        assert!((unbiased_variance(&x) - 38.0 / 3.0).abs() < 1e-14);
        assert_eq!(median(&x), Some(3.0));
        assert_eq!(median(&[5.0]), Some(5.0));
        assert_eq!(median(&[]), None);
        assert_eq!(quantile_sorted(&[0.0, 10.0, 20.0], 0.25), Some(5.0));
        assert!(unbiased_variance(&[1.0]).is_nan());
    }
}
