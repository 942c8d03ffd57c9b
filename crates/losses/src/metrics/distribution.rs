//! Whole distributions: Wasserstein distance, peak population rates.

use ndarray::Axis;

use crate::LossError;
use crate::error::check_positive;
use crate::statistics::{MovingMean, Populations, Recording, TrialSelection};

/// Wasserstein-1 distance between two samples, in their unit: the area between the empirical
/// distribution functions, equal to the mean distance of sorted values for samples of equal size.
///
/// # Errors
/// [`LossError::NoData`] for an empty sample, [`LossError::NonFinite`] for NaN or infinite values.
pub fn wasserstein1(x: &[f64], y: &[f64]) -> Result<f64, LossError> {
    if x.is_empty() || y.is_empty() {
        return Err(LossError::NoData {
            what: "Wasserstein distance",
            reason: format!("samples of {} and {} values", x.len(), y.len()),
        });
    }
    let sorted = |values: &[f64]| {
        crate::error::check_finite("sample", &ndarray::ArrayView1::from(values))?;
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        Ok::<_, LossError>(sorted)
    };
    let (x, y) = (sorted(x)?, sorted(y)?);
    // Walk the quantile functions; ranks are compared as integers (i+1)·m and (j+1)·n of n·m.
    let (n, m) = (x.len(), y.len());
    let (mut i, mut j, mut rank, mut sum) = (0, 0, 0, 0.0);
    while i < n && j < m {
        let next = ((i + 1) * m).min((j + 1) * n);
        sum += (next - rank) as f64 * (x[i] - y[j]).abs();
        rank = next;
        i += usize::from(next == (i + 1) * m);
        j += usize::from(next == (j + 1) * n);
    }
    Ok(sum / (n * m) as f64)
}

/// Fraction of values above a threshold; NaN without values.
pub fn fraction_above(values: &[f64], threshold: f64) -> f64 {
    values.iter().filter(|&&value| value > threshold).count() as f64 / values.len() as f64
}

/// Peak over time of each population's filtered rate in Hz, for every selected complete trial: one list per
/// population.
///
/// For the distance of an area's peak rates (`peak_rate_wasserstein`), apply [`wasserstein1`] to model and
/// data of each population of the area (same neurons on both sides) and average over sessions.
///
/// # Errors
/// [`LossError::Shape`], [`LossError::Index`] for a selection of other sessions or trials;
/// [`LossError::Parameter`] for the bin width; [`LossError::TooFewBins`] if the filter has no output.
///
/// # Source
/// Sourmpis et al. 2023, figure 2C (area 2, threshold 30 Hz), as a distribution.
pub fn peak_rates_hz(
    recording: &Recording,
    populations: &Populations,
    selection: &TrialSelection,
    filter: MovingMean,
    bin_ms: f64,
) -> Result<Vec<Vec<f64>>, LossError> {
    check_positive("bin width (ms)", bin_ms)?;
    recording.check_selection(selection)?;
    if filter.output_len(recording.n_bins()) == 0 {
        return Err(LossError::TooFewBins {
            n_bins: recording.n_bins(),
            window: filter.window(),
            padding: 0,
        });
    }
    let hz = 1000.0 / bin_ms;
    populations
        .groups
        .iter()
        .map(|group| {
            let Some(session) = recording.sessions().get(group.session) else {
                return Err(LossError::Index {
                    what: "sessions of the populations".to_owned(),
                    position: 0,
                    found: group.session,
                    limit: recording.sessions().len(),
                });
            };
            let columns = [group.columns.as_slice()];
            crate::error::check_indices("population columns", columns[0], session.neurons.len())?;
            let trials: Vec<usize> = selection[group.session]
                .iter()
                .copied()
                .filter(|&k| session.valid_bins[k] == recording.n_bins())
                .collect();
            let counts = session.counts.select(Axis(0), &trials);
            let traces = crate::statistics::population_traces(&counts.view(), &columns);
            let rates = filter.apply(&traces.view(), Axis(1));
            Ok(rates
                .outer_iter()
                .map(|trial| hz * trial.iter().copied().fold(f64::NEG_INFINITY, f64::max))
                .collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wasserstein_of_samples_worked_out_by_hand() {
        assert_eq!(wasserstein1(&[0.0, 1.0, 3.0], &[5.0, 6.0, 8.0]).unwrap(), 5.0);
        assert_eq!(wasserstein1(&[3.0, 1.0], &[1.0, 3.0]).unwrap(), 0.0);
        // quantile functions: 0 | 1 against 0 | 1/2 | 1 in thirds
        let found = wasserstein1(&[0.0, 1.0], &[0.0, 0.5, 1.0]).unwrap();
        assert!((found - 1.0 / 6.0).abs() < 1e-15);
        assert_eq!(wasserstein1(&[2.0], &[0.0, 4.0]).unwrap(), 2.0);
    }

    #[test]
    fn wasserstein_needs_values() {
        assert!(matches!(wasserstein1(&[], &[1.0]), Err(LossError::NoData { .. })));
        assert!(matches!(
            wasserstein1(&[f64::NAN], &[1.0]),
            Err(LossError::NonFinite { .. })
        ));
    }

    #[test]
    fn fraction_above_does_not_count_the_threshold_itself() {
        assert_eq!(fraction_above(&[29.0, 30.0, 31.0, 40.0], 30.0), 0.5);
    }
}
