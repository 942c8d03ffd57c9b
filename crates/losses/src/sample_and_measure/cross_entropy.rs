//! Cross-entropies: single bins (likelihood), trial averages, coincidences.

use super::{SampledLoss, cross_entropy};
use crate::LossError;
use crate::error::{check_finite, check_shape};
use ndarray::{Array2, Array3, ArrayView3, Axis, Zip};

/// Mean negative log-likelihood of recorded spikes, in nats per bin and neuron.
///
/// $$L = -\frac{1}{|M|}\sum_{(k,t,n) \in M} z \ln p + (1 - z) \ln(1 - p)$$
///
/// over the entries M that are counted: those that were recorded, and for single trials the bins after the clamped ones.
/// With hidden neurons sampled in the rollout it is the one-sample form of the evidence lower bound.
///
/// # Shapes
/// `recorded`, `p` and `counted` `[K, T, N]`; all entries count where `counted` is none.
///
/// # Errors
/// Shapes that differ, p or z that isn't finite, nothing that counts.
///
/// # Source
/// Bellec, Wang et al. 2021, eq. 4, 18 and 20.
pub fn likelihood(
    recorded: &ArrayView3<'_, f64>,
    p: &ArrayView3<'_, f64>,
    counted: Option<&ArrayView3<'_, bool>>,
) -> Result<SampledLoss, LossError> {
    check_shape("spike probabilities", p.shape(), recorded.shape())?;
    check_finite("spike probabilities", p)?;
    check_finite("recorded spikes", recorded)?;
    let n_counted = match counted {
        None => p.len(),
        Some(counted) => {
            check_shape("mask of the likelihood", counted.shape(), p.shape())?;
            counted.iter().filter(|c| **c).count()
        }
    };
    if n_counted == 0 {
        return Err(LossError::NoData {
            what: "likelihood of the recorded spikes",
            reason: "no bin of these trials counts".into(),
        });
    }
    let scale = 1.0 / n_counted as f64;
    let mut value = 0.0;
    let mut d_probabilities = Array3::zeros(p.raw_dim());
    let mut add = |d: &mut f64, z: f64, p: f64| {
        let (loss, slope) = cross_entropy(z, p);
        value += loss;
        *d = slope * scale;
    };
    let entries = Zip::from(&mut d_probabilities).and(recorded).and(p);
    match counted {
        None => entries.for_each(|d, z, p| add(d, *z, *p)),
        Some(counted) => entries.and(counted).for_each(|d, z, p, is_counted| {
            if *is_counted {
                add(d, *z, *p);
            }
        }),
    }
    Ok(SampledLoss {
        value: value * scale,
        d_probabilities,
        d_spikes: None,
    })
}

/// Cross-entropy of trial averages: recorded spikes against the model's probabilities in a free rollout, mean over bins and
/// neurons.
///
/// $$L = -\frac{1}{TN}\sum_{t,n} \pi^D \ln \pi^M + (1 - \pi^D) \ln(1 - \pi^M), \qquad
///   \pi^D = \frac{1}{K_D}\sum_k z, \quad \pi^M = \frac{1}{K}\sum_k p$$
///
/// # Shapes
/// `recorded` `[K_D, T, N]`, `p` `[K, T, N]`: trials of one stimulus.
///
/// # Errors
/// Bins or neurons that differ, values that aren't finite, no trial, bin or neuron.
///
/// # Source
/// Bellec, Wang et al. 2021, eq. 5; specification §1.4.
pub fn psth_cross_entropy(recorded: &ArrayView3<'_, f64>, p: &ArrayView3<'_, f64>) -> Result<SampledLoss, LossError> {
    let (data, model) = (
        trial_mean("recorded spikes", recorded)?,
        trial_mean("spike probabilities", p)?,
    );
    check_shape("trial average of the model", model.shape(), data.shape())?;
    let scale = 1.0 / data.len() as f64;
    let mut value = 0.0;
    let mut slopes = Array2::zeros(data.raw_dim());
    Zip::from(&mut slopes).and(&data).and(&model).for_each(|slope, d, m| {
        let (loss, derivative) = cross_entropy(*d, *m);
        value += loss;
        *slope = derivative * scale / p.dim().0 as f64;
    });
    Ok(SampledLoss {
        value: value * scale,
        d_probabilities: same_for_all(&slopes, p),
        d_spikes: None,
    })
}

/// Cross-entropy of the coincidences of pairs within a bin, summed over ordered pairs of different neurons.
///
/// $$\pi^D_{ij} = \langle z_i z_j \rangle_{k,t}, \qquad \pi^M_{ij} = \langle p_i p_j \rangle_{k,t}$$
///
/// A neuron with itself is left out: its coincidences are its rate in the data and less in the model.
///
/// # Shapes
/// `recorded` `[K_D, T, N]`, `p` `[K, T, N]` of a free rollout.
///
/// # Errors
/// Neurons that differ, values that aren't finite, nothing to average.
///
/// # Source
/// Bellec, Wang et al. 2021, supplement eq. 12.
pub fn coincidence_cross_entropy(
    recorded: &ArrayView3<'_, f64>,
    p: &ArrayView3<'_, f64>,
) -> Result<SampledLoss, LossError> {
    let (data, _) = coincidences("recorded spikes", recorded)?;
    let (model, flat) = coincidences("spike probabilities", p)?;
    check_shape("coincidences of the model", model.shape(), data.shape())?;
    let mut value = 0.0;
    let mut slopes = Array2::<f64>::zeros(model.raw_dim());
    for ((i, j), slope) in slopes.indexed_iter_mut() {
        if i != j {
            let (loss, derivative) = cross_entropy(data[[i, j]], model[[i, j]]);
            value += loss;
            *slope = derivative;
        }
    }
    // Each pair stands twice in the sum: ∂/∂p_i = 2 Σ_j slope_ij p_j / (K T).
    let d = flat.dot(&slopes) * (2.0 / flat.nrows() as f64);
    Ok(SampledLoss {
        value,
        d_probabilities: d.into_shape_with_order(p.raw_dim()).expect("the rows of p"),
        d_spikes: None,
    })
}

/// Mean over trials, `[T, N]`.
pub(super) fn trial_mean(what: &'static str, values: &ArrayView3<'_, f64>) -> Result<Array2<f64>, LossError> {
    check_finite(what, values)?;
    let nothing = || LossError::NoData {
        what,
        reason: format!("shape {:?} has no trial, bin or neuron", values.shape()),
    };
    if values.is_empty() {
        return Err(nothing());
    }
    values.mean_axis(Axis(0)).ok_or_else(nothing)
}

/// The same rows `[T, N]` for every trial of `like`.
fn same_for_all(rows: &Array2<f64>, like: &ArrayView3<'_, f64>) -> Array3<f64> {
    let mut out = Array3::zeros(like.raw_dim());
    for mut trial in out.outer_iter_mut() {
        trial.assign(rows);
    }
    out
}

/// `⟨x_i x_j⟩` over trials and bins, and the rows `[K·T, N]`.
fn coincidences(what: &'static str, values: &ArrayView3<'_, f64>) -> Result<(Array2<f64>, Array2<f64>), LossError> {
    trial_mean(what, values)?;
    let (k, t, n) = values.dim();
    let flat = values
        .to_owned()
        .into_shape_with_order((k * t, n))
        .expect("rows of trials and bins");
    Ok((flat.t().dot(&flat) / (k * t) as f64, flat))
}
