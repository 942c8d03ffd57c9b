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

/// Interval of the share of nested labels that are `label`, sessions pooled.
pub(super) fn of_fraction(
    labels: &[Vec<usize>],
    label: usize,
    n_resamples: usize,
    rng: &mut dyn Rng,
) -> Result<[f64; 2], LossError> {
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
