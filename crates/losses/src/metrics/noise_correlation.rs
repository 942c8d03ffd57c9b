//! Noise correlations: shared variability of simultaneously recorded neurons.

use std::collections::BTreeMap;

use ndarray::{Array2, Axis, s};

use super::pearson;
use crate::LossError;
use crate::statistics::{RecordedSession, Recording, TrialSelection, mean};

/// Noise correlation of a pair of neurons of one session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairValue {
    /// Model neuron with the lower number.
    pub first: usize,
    /// The other one.
    pub second: usize,
    /// Correlation coefficient.
    pub correlation: f64,
}

/// Noise correlations of all pairs of each session.
///
/// Counts in consecutive windows of `window_bins` (a shorter rest is dropped), minus their mean over the
/// trials of the same stimulus condition in the same window, correlated over trials and windows.
/// Complete trials only; conditions with one trial take no part; pairs with a neuron that does not vary are
/// left out.
///
/// # Errors
/// [`LossError::Shape`], [`LossError::Index`] for a selection of other sessions or trials,
/// [`LossError::Parameter`] if the window is empty or longer than the trial. Cost O(K·T/w·N²) per session.
pub fn noise_correlations(
    recording: &Recording,
    selection: &TrialSelection,
    window_bins: usize,
) -> Result<Vec<Vec<PairValue>>, LossError> {
    recording.check_selection(selection)?;
    if window_bins == 0 || window_bins > recording.n_bins() {
        return Err(LossError::Parameter {
            name: "window of the noise correlations (bins)",
            found: window_bins.to_string(),
            expected: "between 1 and the bins of a trial",
        });
    }
    let of_session = |(session, trials): (&RecordedSession, &Vec<usize>)| {
        let residuals = residuals(session, trials, recording.n_bins(), window_bins);
        let covariance = residuals.t().dot(&residuals); // [N_s, N_s]
        let mut pairs = Vec::new();
        for i in 0..covariance.nrows() {
            for j in 0..i {
                let scale = (covariance[[i, i]] * covariance[[j, j]]).sqrt();
                if scale > 0.0 {
                    let (a, b) = (session.neurons[i], session.neurons[j]);
                    pairs.push(PairValue {
                        first: a.min(b),
                        second: a.max(b),
                        correlation: (covariance[[i, j]] / scale).clamp(-1.0, 1.0),
                    });
                }
            }
        }
        pairs.sort_unstable_by_key(|pair| (pair.first, pair.second));
        pairs
    };
    Ok(recording.sessions().iter().zip(selection).map(of_session).collect())
}

/// Windowed counts less their condition mean, `[trials × windows, N_s]`.
fn residuals(session: &RecordedSession, trials: &[usize], n_bins: usize, window_bins: usize) -> Array2<f64> {
    let mut of_condition = BTreeMap::<usize, Vec<usize>>::new();
    for &k in trials.iter().filter(|&&k| session.valid_bins[k] == n_bins) {
        of_condition.entry(session.conditions[k]).or_default().push(k);
    }
    let mut rows = Vec::new();
    let mut n_rows = 0;
    for trials in of_condition.values().filter(|trials| trials.len() > 1) {
        for w in 0..n_bins / window_bins {
            let bins = w * window_bins..(w + 1) * window_bins;
            let mut counts = Array2::from_shape_fn((trials.len(), session.neurons.len()), |(k, n)| {
                let window = session.counts.slice(s![trials[k], bins.clone(), n]);
                f64::from(window.iter().map(|&count| u32::from(count)).sum::<u32>())
            });
            let centre = counts.sum_axis(Axis(0)) / trials.len() as f64;
            counts -= &centre;
            // Rounding of the mean must not make a constant neuron vary.
            counts.mapv_inplace(|r| if r.abs() < 1e-12 { 0.0 } else { r });
            n_rows += trials.len();
            rows.extend(counts);
        }
    }
    Array2::from_shape_vec((n_rows, session.neurons.len()), rows).expect("each row holds one count per neuron")
}

/// Noise correlations of the model against those of the data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseCorrelationMatch {
    /// Pearson's coefficient over the common pairs; `None` for fewer than two or if a side is constant.
    pub r: Option<f64>,
    /// Mean noise correlation of the model over them.
    pub mean_model: f64,
    /// Mean noise correlation of the data over them.
    pub mean_data: f64,
    /// Pairs defined in model and data.
    pub n_pairs: usize,
}

/// Compares the noise correlations of the pairs that both have, over all sessions.
///
/// # Errors
/// [`LossError::Shape`] for other numbers of sessions; [`LossError::NoData`] without a common pair.
pub fn compare_noise_correlations(
    model: &[Vec<PairValue>],
    data: &[Vec<PairValue>],
) -> Result<NoiseCorrelationMatch, LossError> {
    crate::error::check_shape("sessions of model pairs", &[model.len()], &[data.len()])?;
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for (model, data) in model.iter().zip(data) {
        let of_data: BTreeMap<(usize, usize), f64> = data
            .iter()
            .map(|pair| ((pair.first, pair.second), pair.correlation))
            .collect();
        for pair in model {
            if let Some(&correlation) = of_data.get(&(pair.first, pair.second)) {
                x.push(pair.correlation);
                y.push(correlation);
            }
        }
    }
    if x.is_empty() {
        return Err(LossError::NoData {
            what: "noise correlation",
            reason: "no pair of simultaneously recorded neurons varies in model and data".to_owned(),
        });
    }
    Ok(NoiseCorrelationMatch {
        r: pearson(&x, &y),
        mean_model: mean(&x),
        mean_data: mean(&y),
        n_pairs: x.len(),
    })
}
