//! Rates of hidden neurons held to plausible values.

use super::{SampledLoss, cross_entropy};
use crate::LossError;
use crate::error::{check_finite, check_shape};
use ndarray::{Array3, ArrayView3, Axis};

/// How the rate of a hidden neuron is compared with its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HiddenRate {
    /// Cross-entropy, as of the paper's supplement: the target is the rate of a visible neuron drawn at random.
    CrossEntropy,
    /// Squared difference, as of its program: the target is a constant, 0.17 spikes a bin.
    SquaredError,
}

/// Mean over hidden neurons of the distance of their rates from `targets`, spikes per bin. Only spikes of the hidden neurons
/// enter: gradients are with respect to these.
///
/// # Shapes
/// `spikes` `[K, T, H]` sampled by the model, `targets` `[H]` within 0 and 1.
///
/// # Errors
/// Another number of targets than of neurons, values that aren't finite, no hidden neuron.
///
/// # Source
/// Bellec, Wang et al. 2021, SM-h; specification §1.4.
///
/// # Departures
/// The rate within the cross-entropy is (spikes + ½) / (bins + 1): of a neuron that was silent in these bins the published one is infinite.
pub fn hidden_rate_loss(
    spikes: &ArrayView3<'_, f64>,
    targets: &[f64],
    form: HiddenRate,
) -> Result<SampledLoss, LossError> {
    check_finite("spikes of hidden neurons", spikes)?;
    let (k, t, h) = spikes.dim();
    check_shape("target rates of hidden neurons", &[targets.len()], &[h])?;
    if let Some(bad) = targets.iter().find(|x| !(0.0..=1.0).contains(*x)) {
        return Err(LossError::Parameter {
            name: "target rate of a hidden neuron",
            found: bad.to_string(),
            expected: "a number of spikes per bin from 0 to 1",
        });
    }
    if spikes.is_empty() {
        return Err(LossError::NoData {
            what: "rates of hidden neurons",
            reason: format!("{k} trials of {t} bins and {h} hidden neurons"),
        });
    }
    let mut value = 0.0;
    let mut d_spikes = Array3::zeros(spikes.raw_dim());
    let bins = (k * t) as f64;
    for (i, target) in targets.iter().enumerate() {
        let count = spikes.index_axis(Axis(2), i).sum();
        let (loss, slope) = match form {
            HiddenRate::CrossEntropy => {
                let (loss, slope) = cross_entropy(*target, (count + 0.5) / (bins + 1.0));
                (loss, slope / (bins + 1.0))
            }
            HiddenRate::SquaredError => {
                let difference = count / bins - target;
                (difference.powi(2), 2.0 * difference / bins)
            }
        };
        value += loss / h as f64;
        d_spikes.index_axis_mut(Axis(2), i).fill(slope / h as f64);
    }
    Ok(SampledLoss {
        value,
        d_probabilities: Array3::zeros(spikes.raw_dim()),
        d_spikes: Some(d_spikes),
    })
}
