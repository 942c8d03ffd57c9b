//! Dispersion: does the model vary from trial to trial as much as the recording?
//!
//! Trial matching rewards too little variability and correlations hide it; these ratios show it. 1 is right.

use std::ops::Range;

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};

use crate::LossError;
use crate::error::check_shape;
use crate::statistics::{Recording, TrialSelection, mean, median, rows_by_label};

/// Variance of trial features, model over data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VarianceRatio {
    /// Over all trials.
    pub total: f64,
    /// Within trial types, types weighted by their share in the data; `None` if no type has two trials on
    /// both sides.
    pub within_type: Option<f64>,
}

/// Ratio of the summed variances of trial features.
///
/// $$\frac{\sum_f \mathrm{var}_k(x_{kf})}{\sum_f \mathrm{var}_k(y_{kf})}$$
///
/// with unbiased variances over trials; within types, numerator and denominator are averaged over the
/// types that have at least two trials on both sides, with the data's shares as weights on both, so that
/// a wrong mix of types does not show.
///
/// Label both sides by the same rule. If the model's trials are typed by what they look like and the data's by
/// what they were, each type of the model is cut off where it meets the next one and that of the data is not: where
/// types overlap, a perfect model would then come out below 1.
///
/// # Shapes
/// `model` `[K, F]`, `data` `[K^D, F]`, types `[K]`, `[K^D]`: one session, or stacked ones.
///
/// # Errors
/// [`LossError::Shape`] if they disagree; [`LossError::NoData`] for fewer than two trials on a side or if
/// the data do not vary.
pub fn feature_variance_ratio(
    model: &ArrayView2<'_, f64>,
    data: &ArrayView2<'_, f64>,
    model_types: &[usize],
    data_types: &[usize],
) -> Result<VarianceRatio, LossError> {
    check_shape("features of a model trial", &[model.ncols()], &[data.ncols()])?;
    check_shape("model trial types", &[model_types.len()], &[model.nrows()])?;
    check_shape("data trial types", &[data_types.len()], &[data.nrows()])?;
    let all = |rows: usize| (0..rows).collect::<Vec<_>>();
    let of_model = summed_variance(model, &all(model.nrows()));
    let of_data = summed_variance(data, &all(data.nrows()));
    let total = match (of_model, of_data) {
        (Some(model), Some(data)) if data > 0.0 => model / data,
        _ => {
            return Err(LossError::NoData {
                what: "feature variance ratio",
                reason: format!(
                    "{} model and {} data trials; two of each are needed and the data must vary",
                    model.nrows(),
                    data.nrows()
                ),
            });
        }
    };
    let (of_model, of_data) = (rows_by_label(model_types), rows_by_label(data_types));
    let (mut numerator, mut denominator) = (0.0, 0.0);
    for (y, data_rows) in &of_data {
        let Some(model_rows) = of_model.get(y) else { continue };
        if let (Some(model), Some(data)) = (summed_variance(model, model_rows), summed_variance(data, data_rows)) {
            numerator += data_rows.len() as f64 * model;
            denominator += data_rows.len() as f64 * data;
        }
    }
    let within_type = (denominator > 0.0).then(|| numerator / denominator);
    Ok(VarianceRatio { total, within_type })
}

/// Σ over features of the unbiased variance over some rows; `None` for fewer than two.
fn summed_variance(features: &ArrayView2<'_, f64>, rows: &[usize]) -> Option<f64> {
    if rows.len() < 2 {
        return None;
    }
    Some(features.select(Axis(0), rows).var_axis(Axis(0), 1.0).sum())
}

/// Correlation across trials of two populations' activity at the same time, less what the stimulus makes of it.
///
/// $$r = \frac{\sum_{k,t} \tilde x_{kt}\,\tilde y_{kt}}{\sqrt{\sum_{k,t} \tilde x_{kt}^2\,\sum_{k,t} \tilde y_{kt}^2}}, \quad
///   \tilde x_{kt} = x_{kt} - \mathrm{mean}_{k' \text{ of the stimulus of } k}\, x_{k't}$$
///
/// Stimuli with one trial take no part. `None` without a stimulus that has two trials, or if a population doesn't vary.
///
/// # Shapes
/// `first`, `second` `[K, T]`, of the same trials; `conditions` `[K]`.
///
/// # Errors
/// [`LossError::Shape`] if they disagree.
pub fn population_correlation(
    first: &ArrayView2<'_, f64>,
    second: &ArrayView2<'_, f64>,
    conditions: &[usize],
) -> Result<Option<f64>, LossError> {
    check_shape(
        "trials and bins of the second population",
        second.shape(),
        first.shape(),
    )?;
    check_shape("stimulus conditions", &[conditions.len()], &[first.nrows()])?;
    let (mut product, mut of_first, mut of_second) = (0.0, 0.0, 0.0);
    for rows in rows_by_label(conditions).into_values().filter(|rows| rows.len() > 1) {
        let less_mean = |of: &ArrayView2<'_, f64>| {
            let mut own = of.select(Axis(0), &rows);
            let mean = own.sum_axis(Axis(0)) / rows.len() as f64;
            own -= &mean;
            own
        };
        let (x, y) = (less_mean(first), less_mean(second));
        for (x, y) in x.iter().zip(&y) {
            product += x * y;
            of_first += x * x;
            of_second += y * y;
        }
    }
    let scale = (of_first * of_second).sqrt();
    Ok((scale > 0.0).then(|| product / scale))
}

/// Spike counts of one session's neurons in a window.
#[derive(Debug, Clone)]
pub struct SpikeCounts {
    /// Counts `[K, N_s]` of the complete selected trials; NaN where a neuron was not observed.
    pub counts: Array2<f64>,
    /// Stimulus condition of each row.
    pub conditions: Vec<usize>,
    /// Model neuron of each column.
    pub neurons: Vec<usize>,
}

/// Counts of every session's neurons in the bins given, one row per complete selected trial.
///
/// # Errors
/// [`LossError::Shape`], [`LossError::Index`] for a selection of other sessions or trials,
/// [`LossError::Parameter`] for a window outside of the trial.
pub fn spike_counts(
    recording: &Recording,
    selection: &TrialSelection,
    bins: Range<usize>,
) -> Result<Vec<SpikeCounts>, LossError> {
    recording.check_selection(selection)?;
    if bins.is_empty() || bins.end > recording.n_bins() {
        return Err(LossError::Parameter {
            name: "bins of the spike counts",
            found: format!("{}..{}", bins.start, bins.end),
            expected: "a window inside of the trial with at least one bin",
        });
    }
    let of_session = |(session, trials): (&crate::statistics::RecordedSession, &Vec<usize>)| {
        let complete: Vec<usize> = trials
            .iter()
            .copied()
            .filter(|&k| session.valid_bins[k] == recording.n_bins())
            .collect();
        let counts = Array2::from_shape_fn((complete.len(), session.neurons.len()), |(k, n)| {
            if !session.is_present(complete[k], n) {
                return f64::NAN;
            }
            let trace = session.counts.slice(ndarray::s![complete[k], bins.clone(), n]);
            f64::from(trace.iter().map(|&count| u32::from(count)).sum::<u32>())
        });
        SpikeCounts {
            counts,
            conditions: complete.iter().map(|&k| session.conditions[k]).collect(),
            neurons: session.neurons.clone(),
        }
    };
    Ok(recording.sessions().iter().zip(selection).map(of_session).collect())
}

impl SpikeCounts {
    /// Spikes of each neuron over the trials that it was observed in `[N_s]`.
    pub fn spikes(&self) -> Vec<f64> {
        let sum = |column: ArrayView1<'_, f64>| column.iter().filter(|count| !count.is_nan()).sum();
        self.counts.axis_iter(Axis(1)).map(sum).collect()
    }
}

/// Fano factor of each neuron: count variance within stimulus conditions over mean count.
///
/// The variance is pooled over conditions (sum of squares about each condition's mean over the trials less
/// one per condition); conditions with one trial take no part. NaN for a neuron without spikes or without
/// two trials of a condition.
pub fn fano_factors(counts: &SpikeCounts) -> Vec<f64> {
    let rows: Vec<Vec<usize>> = rows_by_label(&counts.conditions)
        .into_values()
        .filter(|rows| rows.len() > 1)
        .collect();
    counts
        .counts
        .axis_iter(Axis(1))
        .map(|column| {
            let (mut squares, mut freedom, mut sum, mut n) = (0.0, 0.0, 0.0, 0.0);
            for rows in &rows {
                let values: Vec<f64> = rows.iter().map(|&k| column[k]).filter(|v| !v.is_nan()).collect();
                if values.len() < 2 {
                    continue; // not observed in two of these trials
                }
                let centre = mean(&values);
                squares += values.iter().map(|v| (v - centre).powi(2)).sum::<f64>();
                freedom += (values.len() - 1) as f64;
                sum += values.iter().sum::<f64>();
                n += values.len() as f64;
            }
            (squares / freedom) / (sum / n)
        })
        .collect()
}

/// Fano factors, model against data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FanoRatio {
    /// Median over neurons of the model's Fano factor over that of the data's.
    pub value: f64,
    /// Median of the model.
    pub model: f64,
    /// Median of the data.
    pub data: f64,
    /// Neurons in both medians.
    pub n_neurons: usize,
    /// Neurons left out because model or data have fewer spikes than asked for.
    pub n_excluded: usize,
}

/// Ratio of median Fano factors over the same neurons.
///
/// Neurons with fewer than `min_spikes` spikes (over all trials of the window) in model or data are left
/// out and counted: their Fano factor tends to 1 whatever their variability.
///
/// # Shapes
/// One [`SpikeCounts`] per session, the same neurons in the same order on both sides.
///
/// # Errors
/// [`LossError::Shape`] for other sessions or numbers of neurons; [`LossError::NoData`] if no neuron is left.
pub fn fano_ratio(model: &[SpikeCounts], data: &[SpikeCounts], min_spikes: usize) -> Result<FanoRatio, LossError> {
    check_shape("sessions of model counts", &[model.len()], &[data.len()])?;
    let (mut of_model, mut of_data, mut n_excluded) = (Vec::new(), Vec::new(), 0);
    for (model, data) in model.iter().zip(data) {
        check_shape(
            "neurons of model counts",
            &[model.counts.ncols()],
            &[data.counts.ncols()],
        )?;
        let (model_spikes, data_spikes) = (model.spikes(), data.spikes());
        for (n, (m, d)) in fano_factors(model).into_iter().zip(fano_factors(data)).enumerate() {
            let fewest = model_spikes[n].min(data_spikes[n]);
            if fewest < min_spikes as f64 || !m.is_finite() || !d.is_finite() {
                n_excluded += 1;
            } else {
                of_model.push(m);
                of_data.push(d);
            }
        }
    }
    match (median(&of_model), median(&of_data)) {
        (Some(model), Some(data)) if data > 0.0 => Ok(FanoRatio {
            value: model / data,
            model,
            data,
            n_neurons: of_model.len(),
            n_excluded,
        }),
        _ => Err(LossError::NoData {
            what: "Fano ratio",
            reason: format!("{n_excluded} neurons have fewer than {min_spikes} spikes in model or data"),
        }),
    }
}
