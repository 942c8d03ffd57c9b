//! Hierarchical bootstrap: intervals that know that neurons and trials of a session go together.

use rand::{Rng, RngExt};

use crate::LossError;
use crate::statistics::quantile_sorted;

/// Resamples by default.
pub const N_RESAMPLES: usize = 1000;

/// 95 % percentile interval of a statistic of nested values (session → neuron, trial or pair).
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
    crate::error::check_shape("sessions of the second sample", &[second.len()], &[first.len()])?;
    if n_resamples == 0 {
        return Err(LossError::Parameter {
            name: "bootstrap resamples",
            found: "0".to_owned(),
            expected: "at least 1",
        });
    }
    let filled: Vec<usize> = (0..first.len())
        .filter(|&s| !first[s].is_empty() || !second[s].is_empty())
        .collect();
    let mut values = Vec::with_capacity(n_resamples);
    for _ in 0..n_resamples {
        if filled.is_empty() {
            break;
        }
        let drawn: Vec<usize> = filled
            .iter()
            .map(|_| filled[rng.random_range(0..filled.len())])
            .collect();
        let a: Vec<Vec<&A>> = drawn.iter().map(|&s| draw(&first[s], rng)).collect();
        let b: Vec<Vec<&B>> = drawn.iter().map(|&s| draw(&second[s], rng)).collect();
        values.push(statistic(&a, &b));
    }
    values.retain(|value| !value.is_nan());
    values.sort_unstable_by(f64::total_cmp);
    match (quantile_sorted(&values, 0.025), quantile_sorted(&values, 0.975)) {
        (Some(low), Some(high)) => Ok([low, high]),
        _ => Err(LossError::NoData {
            what: "bootstrap interval",
            reason: "no session has values, or the statistic is undefined for all resamples".to_owned(),
        }),
    }
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
