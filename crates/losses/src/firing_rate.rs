//! The firing-rate loss: mean rates of the model's neurons against given ones.
//!
//! Why here: a cheap pull towards plausible rates early in a fit; it constrains nothing but the mean.

use std::ops::Range;

use ndarray::{Array3, ArrayView3, Axis, s};

use crate::LossError;
use crate::error::{check_finite, check_positive, check_shape};

/// Value and gradient of the firing-rate loss.
#[derive(Debug, Clone)]
pub struct FiringRateValue {
    /// The loss in Hz².
    pub value: f64,
    /// Model rate of each neuron in Hz `[N]`.
    pub rates_hz: Vec<f64>,
    /// Gradient with respect to the model's spike-count sums `[C, T, N]`, Hz² per spike.
    pub d_sums: Array3<f64>,
}

/// Mean over neurons of the squared difference of firing rates.
///
/// $$L = \frac1{|J|}\sum_{j\in J}(r^{model}_j - r_j)^2,\qquad
///   r^{model}_j = \frac{1000}{K\,|B|\,\Delta}\sum_c\sum_{t\in B} S_{ctj}$$
///
/// over the bins B (for baseline rates: those before the stimulus), Δ in ms, K trials.
///
/// # Shapes
/// `sums` `[C, T, N]` spike counts summed over the trials of each condition, `trial_counts` `[C]`,
/// `target_rates_hz` `[N]` with NaN for neurons that take no part (hidden ones).
///
/// # Errors
/// [`LossError::Shape`], [`LossError::Parameter`] (bin width, window), [`LossError::NonFinite`];
/// [`LossError::NoData`] without trials or without any target.
///
/// # Source
/// Sourmpis et al. 2023, firing-rate loss (coefficient 0 in every published configuration).
pub fn firing_rate_loss(
    sums: &ArrayView3<'_, f64>,
    trial_counts: &[usize],
    target_rates_hz: &[f64],
    bins: Range<usize>,
    bin_ms: f64,
) -> Result<FiringRateValue, LossError> {
    check_shape("model trial counts", &[trial_counts.len()], &[sums.dim().0])?;
    let n_trials: usize = trial_counts.iter().sum();
    let trial_bins = n_trials as f64 * bins.len() as f64;
    firing_rate_loss_by_bins(sums, trial_bins, target_rates_hz, bins, bin_ms)
}

/// As [`firing_rate_loss`], where trials end at different bins: rates are spikes over `trial_bins`, the bins of all trials.
///
/// # Shapes
/// `sums` `[C, T, N]`: spikes of each condition's trials in the bins that they have.
///
/// # Errors
/// As [`firing_rate_loss`].
pub fn firing_rate_loss_by_bins(
    sums: &ArrayView3<'_, f64>,
    trial_bins: f64,
    target_rates_hz: &[f64],
    bins: Range<usize>,
    bin_ms: f64,
) -> Result<FiringRateValue, LossError> {
    let (_, n_bins, n_neurons) = sums.dim();
    check_shape("target rates", &[target_rates_hz.len()], &[n_neurons])?;
    check_positive("bin width (ms)", bin_ms)?;
    check_finite("model spike sums", sums)?;
    if bins.is_empty() || bins.end > n_bins {
        return Err(LossError::Parameter {
            name: "bins of the firing rate",
            found: format!("{}..{}", bins.start, bins.end),
            expected: "a window inside of the trial with at least one bin",
        });
    }
    let n_targets = target_rates_hz.iter().filter(|rate| !rate.is_nan()).count();
    if trial_bins <= 0.0 || n_targets == 0 {
        return Err(LossError::NoData {
            what: "firing-rate loss",
            reason: format!("{trial_bins} bins of model trials and {n_targets} neurons with a recorded rate"),
        });
    }
    let hz_per_spike = 1000.0 / (trial_bins * bin_ms);
    let spikes = sums.slice(s![.., bins.clone(), ..]).sum_axis(Axis(0)).sum_axis(Axis(0)); // [N]
    let rates_hz: Vec<f64> = spikes.iter().map(|n| n * hz_per_spike).collect();
    let mut value = 0.0;
    let mut d_sums = Array3::zeros(sums.raw_dim());
    for (n, (rate, target)) in rates_hz.iter().zip(target_rates_hz).enumerate() {
        let difference = rate - target;
        if target.is_nan() {
            continue;
        }
        value += difference * difference / n_targets as f64;
        d_sums
            .slice_mut(s![.., bins.clone(), n])
            .fill(2.0 * difference * hz_per_spike / n_targets as f64);
    }
    Ok(FiringRateValue {
        value,
        rates_hz,
        d_sums,
    })
}
