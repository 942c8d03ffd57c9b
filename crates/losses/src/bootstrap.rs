//! Hierarchical bootstrap: intervals that know that neurons and trials of a session go together.

use std::collections::BTreeSet;

use ndarray::{Array2, Axis};
use rand::{Rng, RngExt};

use crate::LossError;
use crate::statistics::{quantile_sorted, rows_by_label};

/// Resamples by default.
pub const N_RESAMPLES: usize = 1000;

/// 95 % percentile interval of a statistic of nested values (session → neuron or trial; for pairs of neurons see
/// [`bootstrap_ci95_of_pairs`]).
///
/// Each resample draws as many sessions as there are, with replacement, then as many values of each drawn
/// session as it has, with replacement. With one session only its values vary. Resamples for which the
/// statistic is NaN are left out.
///
/// # Errors
/// [`LossError::NoData`] if no session has values or the statistic is NaN in every resample;
/// [`LossError::Parameter`] for 0 resamples.
pub fn bootstrap_ci95<T, R: Rng + ?Sized>(
    sessions: &[Vec<T>],
    n_resamples: usize,
    rng: &mut R,
    statistic: impl Fn(&[Vec<&T>]) -> f64,
) -> Result<[f64; 2], LossError> {
    let nothing: Vec<Vec<()>> = sessions.iter().map(|_| Vec::new()).collect();
    bootstrap_ci95_of_two(sessions, &nothing, n_resamples, rng, |values, _| statistic(values))
}

/// The same for statistics of two samples per session that are not paired, such as model trials and
/// recorded trials: sessions are drawn for both together, values of each on their own.
///
/// # Errors
/// As [`bootstrap_ci95`]; [`LossError::Shape`] if the numbers of sessions differ.
pub fn bootstrap_ci95_of_two<A, B, R: Rng + ?Sized>(
    first: &[Vec<A>],
    second: &[Vec<B>],
    n_resamples: usize,
    rng: &mut R,
    statistic: impl Fn(&[Vec<&A>], &[Vec<&B>]) -> f64,
) -> Result<[f64; 2], LossError> {
    let mut values = Vec::with_capacity(n_resamples);
    resample_two(first, second, n_resamples, rng, |a, b| values.push(statistic(a, b)))?;
    values.retain(|value| !value.is_nan());
    percentile_interval(values).ok_or_else(no_values)
}

/// The same for several statistics of the same resamples, in the order of `statistics`; `None` for one that is NaN in all of
/// them.
///
/// # Errors
/// As [`bootstrap_ci95_of_two`], but for a statistic that is undefined.
pub fn bootstrap_ci95_of_several<A, B, R: Rng + ?Sized>(
    first: &[Vec<A>],
    second: &[Vec<B>],
    n_resamples: usize,
    rng: &mut R,
    statistics: impl Fn(&[Vec<&A>], &[Vec<&B>]) -> Vec<f64>,
) -> Result<Vec<Option<[f64; 2]>>, LossError> {
    let mut values: Vec<Vec<f64>> = Vec::new();
    resample_two(first, second, n_resamples, rng, |a, b| {
        let found = statistics(a, b);
        values.resize_with(values.len().max(found.len()), Vec::new);
        for (values, value) in values.iter_mut().zip(found) {
            values.extend((!value.is_nan()).then_some(value));
        }
    })?;
    if values.is_empty() {
        return Err(no_values());
    }
    Ok(values.into_iter().map(percentile_interval).collect())
}

fn no_values() -> LossError {
    LossError::NoData {
        what: "bootstrap interval",
        reason: "no session has values, or the statistic is undefined for all resamples".to_owned(),
    }
}

/// Shows each resample of sessions, and of both samples of each, to `see`.
fn resample_two<A, B, R: Rng + ?Sized>(
    first: &[Vec<A>],
    second: &[Vec<B>],
    n_resamples: usize,
    rng: &mut R,
    mut see: impl FnMut(&[Vec<&A>], &[Vec<&B>]),
) -> Result<(), LossError> {
    crate::error::check_shape("sessions of the second sample", &[second.len()], &[first.len()])?;
    check_resamples(n_resamples)?;
    let filled: Vec<usize> = (0..first.len())
        .filter(|&s| !first[s].is_empty() || !second[s].is_empty())
        .collect();
    if filled.is_empty() {
        return Ok(());
    }
    for _ in 0..n_resamples {
        let drawn: Vec<usize> = filled
            .iter()
            .map(|_| filled[rng.random_range(0..filled.len())])
            .collect();
        let a: Vec<Vec<&A>> = drawn.iter().map(|&s| draw(&first[s], rng)).collect();
        let b: Vec<Vec<&B>> = drawn.iter().map(|&s| draw(&second[s], rng)).collect();
        see(&a, &b);
    }
    Ok(())
}

/// A value of two neurons of one session, such as their noise correlation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OfPair<T> {
    /// One neuron.
    pub first: usize,
    /// The other one.
    pub second: usize,
    /// The value.
    pub value: T,
}

/// Least share of resamples in which a statistic of pairs must be defined to have an interval. Two neurons of
/// one session are drawn as one neuron twice in half of the resamples, three have their three pairs in 22 %.
const MIN_DEFINED_SHARE: f64 = 0.6;

/// 95 % percentile interval of a statistic of pairs (session → neuron).
///
/// Pairs that share a neuron vary together, so neurons are resampled, not pairs: each resample draws as many
/// sessions as there are, with replacement, then as many neurons of each drawn session as it has pairs of,
/// with replacement. A pair then has the product of the numbers of times that its two neurons were drawn, summed
/// over the draws of its session; a neuron makes no pair with itself. The statistic sees the pairs of positive
/// weight with their weights. `None` if it is NaN in more than 40 % of the resamples: there are too few neurons.
///
/// The trials stay the same in all resamples, so for one session the interval leaves out what other trials
/// of the same neurons would change; with several sessions the drawing of sessions brings that in.
///
/// # Errors
/// [`LossError::Parameter`] for 0 resamples.
///
/// # Source
/// Snijders & Borgatti 1999 (vertex bootstrap), without the pairs that they make up for a vertex with itself.
pub fn bootstrap_ci95_of_pairs<T, R: Rng + ?Sized>(
    sessions: &[Vec<OfPair<T>>],
    n_resamples: usize,
    rng: &mut R,
    statistic: impl Fn(&[(f64, &T)]) -> f64,
) -> Result<Option<[f64; 2]>, LossError> {
    check_resamples(n_resamples)?;
    let mut filled: Vec<SessionPairs<'_, T>> = sessions
        .iter()
        .filter(|pairs| !pairs.is_empty())
        .map(|pairs| SessionPairs::new(pairs))
        .collect();
    let mut values = Vec::with_capacity(n_resamples);
    for _ in 0..n_resamples {
        for session in &mut filled {
            session.weights.fill(0.0);
        }
        for _ in 0..filled.len() {
            let s = rng.random_range(0..filled.len());
            filled[s].draw_neurons(rng);
        }
        let weighted: Vec<(f64, &T)> = filled.iter().flat_map(SessionPairs::drawn).collect();
        values.push(statistic(&weighted));
    }
    values.retain(|value| !value.is_nan());
    if (values.len() as f64) < MIN_DEFINED_SHARE * n_resamples as f64 {
        return Ok(None);
    }
    Ok(percentile_interval(values))
}

/// Pairs of one session with the neurons numbered from 0, and their weights in a resample.
struct SessionPairs<'a, T> {
    pairs: Vec<(usize, usize, &'a T)>,
    n_neurons: usize,
    weights: Vec<f64>,
}

impl<'a, T> SessionPairs<'a, T> {
    fn new(pairs: &'a [OfPair<T>]) -> Self {
        let distinct: BTreeSet<usize> = pairs.iter().flat_map(|pair| [pair.first, pair.second]).collect();
        let neurons: Vec<usize> = distinct.into_iter().collect();
        let number = |neuron: usize| neurons.partition_point(|&other| other < neuron);
        Self {
            pairs: pairs
                .iter()
                .map(|pair| (number(pair.first), number(pair.second), &pair.value))
                .collect(),
            n_neurons: neurons.len(),
            weights: vec![0.0; pairs.len()],
        }
    }

    /// Adds the weights of one draw of neurons.
    fn draw_neurons<R: Rng + ?Sized>(&mut self, rng: &mut R) {
        let mut times = vec![0.0; self.n_neurons];
        for _ in 0..self.n_neurons {
            times[rng.random_range(0..self.n_neurons)] += 1.0;
        }
        for (weight, &(first, second, _)) in self.weights.iter_mut().zip(&self.pairs) {
            if first != second {
                *weight += times[first] * times[second];
            }
        }
    }

    fn drawn(&self) -> impl Iterator<Item = (f64, &'a T)> {
        let weighted = self.weights.iter().zip(&self.pairs);
        weighted
            .map(|(&weight, &(_, _, value))| (weight, value))
            .filter(|(weight, _)| *weight > 0.0)
    }
}

/// Moves the rows of each group away from their mean by √(n/(n − 1)), n rows: resamples of such rows have the variance of
/// the rows themselves.
///
/// A resample has some rows more than once and others not at all: over all resamples the mean of its unbiased variance is
/// (n − 1)/n of that of the n rows, half of it for two. Without this an interval of a ratio of variances lies beside
/// its value where groups are small. A group of one row stays as it is.
///
/// # Shapes
/// `features` `[K, F]`; `groups` `[K]`.
///
/// # Source
/// Rao & Wu 1988 (rescaled bootstrap).
///
/// # Errors
/// [`LossError::Shape`] if they disagree.
pub fn spread_about_means(features: &mut Array2<f64>, groups: &[usize]) -> Result<(), LossError> {
    crate::error::check_shape("groups of rows", &[groups.len()], &[features.nrows()])?;
    for rows in rows_by_label(groups).into_values().filter(|rows| rows.len() > 1) {
        let n = rows.len() as f64;
        let mean = features.select(Axis(0), &rows).sum_axis(Axis(0)) / n;
        let factor = (n / (n - 1.0)).sqrt();
        for k in rows {
            let mut row = features.row_mut(k);
            row.zip_mut_with(&mean, |x, mean| *x = mean + factor * (*x - mean));
        }
    }
    Ok(())
}

fn check_resamples(n_resamples: usize) -> Result<(), LossError> {
    if n_resamples > 0 {
        return Ok(());
    }
    Err(LossError::Parameter {
        name: "bootstrap resamples",
        found: "0".to_owned(),
        expected: "at least 1",
    })
}

/// The middle 95 % of the values; `None` without any.
fn percentile_interval(mut values: Vec<f64>) -> Option<[f64; 2]> {
    values.sort_unstable_by(f64::total_cmp);
    Some([quantile_sorted(&values, 0.025)?, quantile_sorted(&values, 0.975)?])
}

fn draw<'a, T, R: Rng + ?Sized>(values: &'a [T], rng: &mut R) -> Vec<&'a T> {
    (0..values.len())
        .map(|_| &values[rng.random_range(0..values.len())])
        .collect()
}

/// Mean over all values, sessions pooled: the statistic of correlations and distances. NaN for none.
pub fn pooled_mean(sessions: &[Vec<&f64>]) -> f64 {
    let n: usize = sessions.iter().map(Vec::len).sum();
    sessions.iter().flatten().copied().sum::<f64>() / n as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, array};

    #[test]
    fn the_variance_of_resampled_rows_is_that_of_the_rows_in_the_mean_of_all_resamples() {
        let features = array![[0.5, 3.0], [-2.0, 1.0], [4.0, 1.5]];
        let spread = |groups: &[usize]| {
            let mut features = features.clone();
            spread_about_means(&mut features, groups).unwrap();
            features
        };
        let variance = |features: &Array2<f64>| features.var_axis(Axis(0), 1.0);
        // Every one of the 27 resamples of three.
        let all = spread(&[0; 3]);
        let mut sum = Array1::zeros(2);
        for i in 0..27 {
            sum += &variance(&all.select(Axis(0), &[i % 3, i / 3 % 3, i / 9]));
        }
        for (found, expected) in (sum / 27.0).iter().zip(variance(&features)) {
            assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
        }
        // In a group of two, two of four resamples have no variance, the others twice that of the rows; a group of one stays.
        let within = spread(&[7, 2, 7]);
        assert_eq!(within.row(1), features.row(1));
        let two = |features: &Array2<f64>| variance(&features.select(Axis(0), &[0, 2]));
        for (found, plain) in two(&within).iter().zip(two(&features)) {
            assert!((found - 2.0 * plain).abs() < 1e-12, "{found} for twice {plain}");
        }
        assert!(matches!(
            spread_about_means(&mut features.clone(), &[0; 2]),
            Err(LossError::Shape { .. })
        ));
    }
}
