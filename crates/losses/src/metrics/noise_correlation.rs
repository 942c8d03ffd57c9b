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
/// left out. A pair goes over the trials that both neurons were observed in.
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
        let windows = windowed_counts(session, trials, recording.n_bins(), window_bins);
        let moments = match &session.presence {
            None => Moments::of_all(&windows),
            Some(presence) => Moments::of_present(&windows, &presence.is_present),
        };
        let covariance = &moments.covariance;
        let mut pairs = Vec::new();
        for i in 0..covariance.nrows() {
            for j in 0..i {
                let scale = moments.scale(i, j);
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

/// Counts `[trials, N_s]` of one window in the trials of one condition.
struct Window {
    trials: Vec<usize>,
    counts: Array2<f64>,
}

/// Sums over windows and trials of products of counts, less their means over the trials of a condition and window.
struct Moments {
    /// Σ r_i r_j `[N_s, N_s]`.
    covariance: Array2<f64>,
    /// Σ r_i² over the trials that i and j were observed in, where that differs from pair to pair.
    variance: Option<Array2<f64>>,
}

impl Moments {
    fn of_all(windows: &[Window]) -> Self {
        let n_neurons = windows.first().map_or(0, |window| window.counts.ncols());
        let mut rows = Vec::new();
        let mut n_rows = 0;
        for Window { trials, counts } in windows {
            let mut counts = counts.clone();
            let centre = counts.sum_axis(Axis(0)) / trials.len() as f64;
            counts -= &centre;
            // Rounding of the mean must not make a constant neuron vary.
            counts.mapv_inplace(|r| if r.abs() < 1e-12 { 0.0 } else { r });
            n_rows += trials.len();
            rows.extend(counts);
        }
        let residuals = Array2::from_shape_vec((n_rows, n_neurons), rows).expect("each row holds one count per neuron");
        Self {
            covariance: residuals.t().dot(&residuals),
            variance: None,
        }
    }

    /// Each pair over the trials that both were observed in, with the means over these:
    /// Σ x_i x_j − Σ x_i Σ x_j / n, all sums over these trials.
    fn of_present(windows: &[Window], is_present: &Array2<bool>) -> Self {
        let n = is_present.ncols();
        let (mut covariance, mut variance) = (Array2::zeros((n, n)), Array2::zeros((n, n)));
        for Window { trials, counts } in windows {
            let mask = is_present
                .select(Axis(0), trials)
                .mapv(|is_present| f64::from(u8::from(is_present)));
            let x = counts * &mask;
            let (both, sums) = (mask.t().dot(&mask), x.t().dot(&mask)); // sums[i, j]: Σ x_i where j was observed too
            let mean_of = |sum: f64, n: f64| if n > 0.0 { sum / n } else { 0.0 };
            let (products, squares) = (x.t().dot(&x), x.mapv(|x| x * x).t().dot(&mask));
            for ((i, j), &n) in both.indexed_iter() {
                covariance[[i, j]] += products[[i, j]] - mean_of(sums[[i, j]] * sums[[j, i]], n);
                variance[[i, j]] += squares[[i, j]] - mean_of(sums[[i, j]] * sums[[i, j]], n);
            }
        }
        // As in `of_all`: counts are whole numbers, and what is left of their differences by rounding is no variance.
        variance.mapv_inplace(|v| if v < 1e-9 { 0.0 } else { v });
        Self {
            covariance,
            variance: Some(variance),
        }
    }

    /// What a covariance is divided by; 0 where one of them does not vary.
    fn scale(&self, i: usize, j: usize) -> f64 {
        let (of_i, of_j) = match &self.variance {
            Some(variance) => (variance[[i, j]], variance[[j, i]]),
            None => (self.covariance[[i, i]], self.covariance[[j, j]]),
        };
        (of_i * of_j).sqrt()
    }
}

/// Counts in consecutive windows of the complete trials of each condition that has two.
fn windowed_counts(session: &RecordedSession, trials: &[usize], n_bins: usize, window_bins: usize) -> Vec<Window> {
    let mut of_condition = BTreeMap::<usize, Vec<usize>>::new();
    for &k in trials.iter().filter(|&&k| session.valid_bins[k] == n_bins) {
        of_condition.entry(session.conditions[k]).or_default().push(k);
    }
    let mut windows = Vec::new();
    for trials in of_condition.values().filter(|trials| trials.len() > 1) {
        for w in 0..n_bins / window_bins {
            let bins = w * window_bins..(w + 1) * window_bins;
            let counts = Array2::from_shape_fn((trials.len(), session.neurons.len()), |(k, n)| {
                let window = session.counts.slice(s![trials[k], bins.clone(), n]);
                f64::from(window.iter().map(|&count| u32::from(count)).sum::<u32>())
            });
            windows.push(Window {
                trials: trials.clone(),
                counts,
            });
        }
    }
    windows
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
