//! What fits by sampling are judged by: noise correlations of counts in windows, how well they are reproduced, trial averages,
//! and populations that run away.
//!
//! # Source
//! Bellec, Wang et al. 2021, supplement eq. 7 to 11; Mahuas et al. 2020; specification `sample-and-measure` §1.7 and §2.6.

use ndarray::{Array2, Array3, ArrayView1, ArrayView2, ArrayView3, Axis, s};

use crate::metrics::pearson;

/// Spikes `[K, T, N]` counted in consecutive windows of `window` bins, `[K, ⌊T/window⌋, N]`; a shorter rest is dropped.
pub fn window_counts(spikes: &ArrayView3<'_, u8>, window: usize) -> Array3<f64> {
    let (k, t, n) = spikes.dim();
    let m = t.checked_div(window).unwrap_or(0);
    let mut counts = Array3::zeros((k, m, n));
    for (trial, mut counts) in spikes.outer_iter().zip(counts.outer_iter_mut()) {
        for (w, mut row) in counts.outer_iter_mut().enumerate() {
            for bin in trial.slice(s![w * window..(w + 1) * window, ..]).outer_iter() {
                row.zip_mut_with(&bin, |sum, &z| *sum += f64::from(z));
            }
        }
    }
    counts
}

/// From which differences of trials noise is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoiseFrom {
    /// From their mean.
    Mean,
    /// From the next trial: slow drift over trials stays out.
    NextTrial,
}

/// Noise correlations `[N, N]` of counts `[K, M, N]` of one stimulus; NaN where a neuron doesn't vary.
///
/// ```text
/// noise_ij = Σ (x_i − x̄_i)(x_j − x̄_j) / ((K − 1) M)        deviations from the mean over trials
/// total_ij = Σ (x_i − ⟨x_i⟩)(x_j − ⟨x_j⟩) / (K M)           from the mean over trials and windows
/// NC_ij = noise_ij / √(total_ii total_jj)
/// ```
/// K − 1 in place of the published K, so that numbers of trials don't matter. From the next trial, noise is half the covariance
/// of differences of adjacent trials.
pub fn noise_correlations_of_counts(counts: &ArrayView3<'_, f64>, noise: NoiseFrom) -> Array2<f64> {
    let (k, m, n) = counts.dim();
    let nothing = || Array2::from_elem((n, n), f64::NAN);
    if k < 2 || m == 0 {
        return nothing();
    }
    let rows = |x: &Array3<f64>| {
        let (a, b, n) = x.dim();
        x.to_owned()
            .into_shape_with_order((a * b, n))
            .expect("rows of trials and windows")
    };
    let (noise_rows, terms) = match noise {
        NoiseFrom::Mean => {
            let mean = counts.mean_axis(Axis(0)).expect("trials");
            (rows(&(counts - &mean.insert_axis(Axis(0)))), (k - 1) * m)
        }
        NoiseFrom::NextTrial => {
            let next = &counts.slice(s![1.., .., ..]) - &counts.slice(s![..k - 1, .., ..]);
            (rows(&next), 2 * (k - 1) * m)
        }
    };
    let covariance = noise_rows.t().dot(&noise_rows) / terms as f64;
    let mut total = rows(&counts.to_owned());
    let grand = total.mean_axis(Axis(0)).expect("windows");
    total -= &grand;
    let variance: Vec<f64> = total
        .columns()
        .into_iter()
        .map(|column| column.dot(&column) / (k * m) as f64)
        .collect();
    correlations(&covariance, &variance)
}

/// Counts of one stimulus with their products in each trial, so that noise correlations of many draws of trials cost little.
#[derive(Debug, Clone)]
pub struct NoiseMoments {
    /// `[K, M, N]`.
    counts: Array3<f64>,
    /// `Σ_m x_i x_j` of each trial, `[K, N, N]`.
    products: Array3<f64>,
}

impl NoiseMoments {
    /// Of counts `[K, M, N]`.
    pub fn new(counts: Array3<f64>) -> Self {
        let (k, _, n) = counts.dim();
        let mut products = Array3::zeros((k, n, n));
        for (trial, mut products) in counts.outer_iter().zip(products.outer_iter_mut()) {
            products.assign(&trial.t().dot(&trial));
        }
        Self { counts, products }
    }

    /// Number of trials.
    pub fn n_trials(&self) -> usize {
        self.counts.dim().0
    }

    /// [`noise_correlations_of_counts`] of these trials, of which one may be there several times, from their mean.
    pub fn noise_correlations(&self, trials: &[usize]) -> Array2<f64> {
        let (_, m, n) = self.counts.dim();
        let k = trials.len();
        if k < 2 || m == 0 {
            return Array2::from_elem((n, n), f64::NAN);
        }
        let mut products = Array2::<f64>::zeros((n, n));
        let mut mean = Array2::<f64>::zeros((m, n));
        for &trial in trials {
            products += &self.products.index_axis(Axis(0), trial);
            mean += &self.counts.index_axis(Axis(0), trial);
        }
        mean /= k as f64;
        let grand = mean.mean_axis(Axis(0)).expect("windows");
        let variance: Vec<f64> = (0..n)
            .map(|i| products[[i, i]] / (k * m) as f64 - grand[i] * grand[i])
            .collect();
        let covariance = (products - mean.t().dot(&mean) * k as f64) / ((k - 1) * m) as f64;
        correlations(&covariance, &variance)
    }
}

/// Covariances over the roots of variances; NaN where one doesn't vary.
fn correlations(covariance: &Array2<f64>, variance: &[f64]) -> Array2<f64> {
    Array2::from_shape_fn(covariance.raw_dim(), |(i, j)| {
        let scale = (variance[i].max(0.0) * variance[j].max(0.0)).sqrt();
        if scale > 1e-12 {
            covariance[[i, j]] / scale
        } else {
            f64::NAN
        }
    })
}

/// Entries i < j of a matrix, row by row.
pub fn pairs_of(matrix: &ArrayView2<'_, f64>) -> Vec<f64> {
    let n = matrix.nrows();
    (0..n)
        .flat_map(|i| (i + 1..n).map(move |j| (i, j)))
        .map(|pair| matrix[pair])
        .collect()
}

/// How well pairs are reproduced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reproduction {
    /// `1 − Σ (D − M)² / Σ (D − D̄)²`.
    pub r2: f64,
    /// The same with the mean of the error subtracted first.
    pub r2_offset_free: f64,
    /// Pearson's r.
    pub r: f64,
    /// Means of data and model.
    pub means: [f64; 2],
    /// Number of pairs that both have.
    pub n: usize,
}

/// Compares values of the same pairs; those that aren't numbers on both sides are left out. Fewer than two, or data that don't
/// vary, give NaN.
pub fn reproduction(data: &[f64], model: &[f64]) -> Reproduction {
    let both = data.iter().zip(model).filter(|(d, m)| d.is_finite() && m.is_finite());
    let (data, model): (Vec<f64>, Vec<f64>) = both.map(|(d, m)| (*d, *m)).unzip();
    let n = data.len();
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (mean_d, mean_m) = (mean(&data), mean(&model));
    let spread: f64 = data.iter().map(|d| (d - mean_d).powi(2)).sum();
    let error = |offset: f64| -> f64 {
        let errors = data.iter().zip(&model);
        errors.map(|(d, m)| (d - m - offset).powi(2)).sum()
    };
    let share = |error: f64| {
        if n > 1 && spread > 0.0 {
            1.0 - error / spread
        } else {
            f64::NAN
        }
    };
    Reproduction {
        r2: share(error(0.0)),
        r2_offset_free: share(error(mean_d - mean_m)),
        r: pearson(&data, &model).unwrap_or(f64::NAN),
        means: [mean_d, mean_m],
        n,
    }
}

/// Moving mean of `width` bins, one value for each place where it fits.
pub fn box_smoothed(values: &ArrayView1<'_, f64>, width: usize) -> Vec<f64> {
    if width == 0 || width > values.len() {
        return Vec::new();
    }
    let mut sums = vec![0.0];
    sums.extend(values.iter().scan(0.0, |sum, value| {
        *sum += value;
        Some(*sum)
    }));
    (0..=values.len() - width)
        .map(|i| (sums[i + width] - sums[i]) / width as f64)
        .collect()
}

/// Correlation of each neuron's trial average with the model's, `[T, N]` both, smoothed over `width` bins; NaN where one is constant.
pub fn psth_correlations(data: &ArrayView2<'_, f64>, model: &ArrayView2<'_, f64>, width: usize) -> Vec<f64> {
    let columns = data.columns().into_iter().zip(model.columns());
    columns
        .map(|(d, m)| pearson(&box_smoothed(&d, width), &box_smoothed(&m, width)).unwrap_or(f64::NAN))
        .collect()
}

/// Largest number of spikes of all neurons in any `window` bins of each trial, `[K]`; of shorter trials, in all of them.
pub fn largest_population_counts(spikes: &ArrayView3<'_, u8>, window: usize) -> Vec<f64> {
    let of_trial = |trial: ArrayView2<'_, u8>| {
        let bins: Vec<f64> = trial
            .outer_iter()
            .map(|bin| bin.iter().map(|&z| f64::from(z)).sum())
            .collect();
        let width = window.clamp(1, bins.len().max(1));
        let means = box_smoothed(&ArrayView1::from(&bins), width);
        means.iter().fold(0.0, |most: f64, mean| most.max(mean * width as f64))
    };
    spikes.outer_iter().map(of_trial).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn noise_correlations_are_those_of_the_definition() {
        // Two windows, three trials, two neurons.
        let counts = array![
            [[1.0, 0.0], [2.0, 1.0]],
            [[3.0, 2.0], [2.0, 3.0]],
            [[2.0, 1.0], [5.0, 2.0]],
        ];
        // Means over trials: window 1 (2, 1), window 2 (3, 2). Deviations: (−1,−1) (1,1) (0,0); (−1,−1) (−1,1) (2,0).
        let noise = (1.0 + 1.0 + 0.0 + 1.0 - 1.0 + 0.0) / (2.0 * 2.0);
        // Grand means 2.5 and 1.5; squares: 2.25 .25 .25 .25 .25 6.25 = 9.5 and 2.25 .25 .25 2.25 .25 .25 = 5.5.
        let scale = f64::sqrt(9.5 / 6.0 * 5.5 / 6.0);
        let nc = noise_correlations_of_counts(&counts.view(), NoiseFrom::Mean);
        assert!((nc[[0, 1]] - noise / scale).abs() < 1e-12);
        // Differences: (2,2) (−1,−1); (0,2) (3,−1).
        let noise = (4.0 + 1.0 + 0.0 - 3.0) / (2.0 * 2.0 * 2.0);
        let nc = noise_correlations_of_counts(&counts.view(), NoiseFrom::NextTrial);
        assert!((nc[[0, 1]] - noise / scale).abs() < 1e-12);
    }

    #[test]
    fn noise_correlations_of_drawn_trials_are_those_of_their_counts() {
        let value = |k: usize, m: usize, n: usize| ((k * 7919 + m * 104_729 + n * 1_299_709) % 97 / 24) as f64;
        let mut counts = Array3::from_shape_fn((6, 5, 3), |(k, m, n)| value(k, m, n) + (m * n) as f64);
        let moments = NoiseMoments::new(counts.clone());
        for trials in [vec![0, 1, 2, 3, 4, 5], vec![3, 3, 0, 5, 3], vec![2, 4]] {
            let drawn = counts.select(Axis(0), &trials);
            let expected = noise_correlations_of_counts(&drawn.view(), NoiseFrom::Mean);
            let found = moments.noise_correlations(&trials);
            assert!(expected.iter().any(|x| x.abs() > 0.05 && x.abs() < 0.95), "{expected}");
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-12, "{found} {expected}");
            }
        }
        assert!(moments.noise_correlations(&[1]).iter().all(|x| x.is_nan()));
        counts.slice_mut(s![.., .., 1]).fill(2.0);
        assert!(NoiseMoments::new(counts).noise_correlations(&[0, 1, 2])[[0, 1]].is_nan());
    }

    #[test]
    fn drift_is_left_out_by_differences_of_trials() {
        let counts = Array3::from_shape_fn((50, 4, 2), |(k, m, n)| {
            let noise = ((k * 7919 + m * 104_729 + n * 1_299_709) % 101) as f64 / 101.0;
            noise + 0.5 * k as f64
        });
        let with = noise_correlations_of_counts(&counts.view(), NoiseFrom::Mean)[[0, 1]];
        let without = noise_correlations_of_counts(&counts.view(), NoiseFrom::NextTrial)[[0, 1]];
        assert!(with > 0.95 && without.abs() < 0.05, "{with} {without}");
    }

    #[test]
    fn an_offset_costs_the_strict_measure_alone() {
        let data = [0.1, 0.3, 0.2, f64::NAN];
        let shifted: Vec<f64> = data.iter().map(|d| d + 0.1).collect();
        let found = reproduction(&data, &shifted);
        // Σ 0.1² · 3 / Σ (0.1² + 0.1² + 0) = 1.5
        assert!((found.r2 + 0.5).abs() < 1e-12 && (found.r2_offset_free - 1.0).abs() < 1e-12);
        assert_eq!(found.n, 3);
        assert!((found.r - 1.0).abs() < 1e-12);
        assert!(reproduction(&[0.1], &[0.1]).r2.is_nan());
    }

    #[test]
    fn windows_and_boxes_add_up() {
        let spikes = Array3::from_shape_fn((1, 7, 1), |(_, t, _)| u8::from(t % 2 == 0));
        assert_eq!(window_counts(&spikes.view(), 3), array![[[2.0], [1.0]]]);
        assert_eq!(box_smoothed(&array![1.0, 3.0, 5.0].view(), 2), [2.0, 4.0]);
        assert_eq!(largest_population_counts(&spikes.view(), 3), [2.0]);
        let r = psth_correlations(
            &array![[0.0], [1.0], [0.0]].view(),
            &array![[0.5], [0.7], [0.5]].view(),
            1,
        );
        assert!((r[0] - 1.0).abs() < 1e-12);
    }
}
