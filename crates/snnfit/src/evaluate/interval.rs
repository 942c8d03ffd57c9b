//! Bootstrap intervals of the metrics.

use std::cell::RefCell;

use losses::LossError;
use losses::bootstrap::{bootstrap_ci95, bootstrap_ci95_of_two, pooled_mean};
use losses::statistics::median;
use rand::Rng;

/// Interval of the mean of nested values, sessions pooled.
pub(super) fn of_mean(values: &[Vec<f64>], n_resamples: usize, rng: &mut dyn Rng) -> Result<[f64; 2], LossError> {
    bootstrap_ci95(values, n_resamples, rng, pooled_mean)
}

/// 95 % interval of Wilson of a share, for `k` of `n` independent trials: of some width also where all or none are.
pub(super) fn wilson(k: usize, n: usize) -> [f64; 2] {
    /// 97.5 % point of the normal distribution.
    const Z: f64 = 1.959_963_984_540_054;
    let (n, p) = (n as f64, k as f64 / n as f64);
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 / (1.0 + Z * Z / n);
    [
        if k == 0 { 0.0 } else { (centre - half) * scale },
        if k as f64 == n { 1.0 } else { (centre + half) * scale },
    ]
}

/// Interval of the share of nested labels that are `label`, sessions pooled: Wilson's for the trials of one list, which are
/// independent, and where all or none have the label, so that every resample would be the same; else by bootstrap.
pub(super) fn of_fraction(
    labels: &[Vec<usize>],
    label: usize,
    n_resamples: usize,
    rng: &mut dyn Rng,
) -> Result<[f64; 2], LossError> {
    let n: usize = labels.iter().map(Vec::len).sum();
    let k = labels.iter().flatten().filter(|&&y| y == label).count();
    let lists = labels.iter().filter(|of_list| !of_list.is_empty()).count();
    if n > 0 && (lists == 1 || k == 0 || k == n) {
        return Ok(wilson(k, n));
    }
    bootstrap_ci95(labels, n_resamples, rng, |labels| {
        let n: usize = labels.iter().map(Vec::len).sum();
        labels.iter().flatten().filter(|&&&y| y == label).count() as f64 / n as f64
    })
}

/// Interval of a distance between two samples.
///
/// A distance of resampled samples is larger than that of the samples, because resampling adds noise to both; the
/// percentile interval of a small distance would not even contain it. So the interval is shifted until the median
/// of the resamples is the value, and cut at 0.
pub(super) fn of_distance<A, B>(
    value: f64,
    first: &[Vec<A>],
    second: &[Vec<B>],
    n_resamples: usize,
    rng: &mut dyn Rng,
    statistic: impl Fn(&[Vec<&A>], &[Vec<&B>]) -> f64,
) -> Result<[f64; 2], LossError> {
    let resamples = RefCell::new(Vec::with_capacity(n_resamples));
    let [low, high] = bootstrap_ci95_of_two(first, second, n_resamples, rng, |a, b| {
        let distance = statistic(a, b);
        resamples.borrow_mut().push(distance);
        distance
    })?;
    let mut resamples = resamples.into_inner();
    resamples.retain(|distance| !distance.is_nan());
    let shift = median(&resamples).map_or(0.0, |centre| value - centre);
    Ok([(low + shift).max(0.0), (high + shift).max(0.0)])
}

#[cfg(test)]
mod tests {
    use super::wilson;

    #[test]
    fn wilson_intervals_are_those_of_the_literature() {
        // Newcombe 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 29 of 29.
        for ((k, n), expected) in [
            ((81, 263), [0.2553, 0.3662]),
            ((15, 148), [0.0624, 0.1605]),
            ((0, 20), [0.0, 0.1611]),
            ((29, 29), [0.8830, 1.0]),
        ] {
            let found = wilson(k, n);
            assert!(
                found
                    .iter()
                    .zip(expected)
                    .all(|(found, expected)| (found - expected).abs() < 5e-5),
                "{k} of {n}: {found:?}, {expected:?}"
            );
        }
    }
}
