//! Dispersion: variance of trial features, Fano factors, noise correlations.

use std::collections::BTreeMap;

use losses::LossError;
use losses::bootstrap::{bootstrap_ci95, bootstrap_ci95_of_two};
use losses::metrics::{
    MetricValue, PairValue, compare_noise_correlations, fano_factors, fano_ratio, feature_variance_ratio,
    noise_correlations, pearson, spike_counts,
};
use losses::statistics::{DataFeatures, SessionFeatures, mean, median};
use ndarray::{Array2, Axis};
use rand::Rng;

use super::context::Context;
use super::interval;
use super::matching::features;
use super::stand_in::StandIn;

/// Features and trial types of one session's trials.
struct Rows {
    features: Array2<f64>,
    types: Vec<usize>,
}

/// `feature_variance_ratio` and `feature_variance_ratio_within_type`: means over sessions.
///
/// Model, nulls and training data are typed by template, the data by their labels.
pub(super) fn variance_ratios(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Vec<MetricValue>, LossError> {
    let data = features(context, &context.test.stand_in)?.normalized(&context.test.usable)?;
    let data_rows: Vec<Rows> = data
        .sessions
        .iter()
        .map(|session| Rows {
            features: session.features.clone(),
            types: session.trial_types.clone(),
        })
        .collect();
    let rows = context.each(|stand_in| rows(context, stand_in, &data))?;
    let is_typed = context.templates.as_ref().is_ok_and(|t| t.types().len() > 1);
    let n = data_rows.iter().map(|rows| rows.types.len()).sum();
    let n_resamples = context.inputs.settings.n_resamples;
    let indices = |sessions: &[Rows]| -> Vec<Vec<(usize, usize)>> {
        let of_session = |(s, rows): (usize, &Rows)| (0..rows.types.len()).map(|k| (s, k)).collect();
        sessions.iter().enumerate().map(of_session).collect()
    };
    let mut metric = |name: &str, is_within: bool| {
        let ci95 = bootstrap_ci95_of_two(
            &indices(&rows.model),
            &indices(&data_rows),
            n_resamples,
            rng,
            |model, recorded| {
                let sessions = model.iter().zip(recorded);
                mean_ratio(
                    sessions.map(|(m, d)| (picked(&rows.model, m), picked(&data_rows, d))),
                    is_within,
                )
            },
        )?;
        let value = |model: &Vec<Rows>| {
            let all = |rows: &Rows| Rows {
                features: rows.features.clone(),
                types: rows.types.clone(),
            };
            mean_ratio(model.iter().map(all).zip(data_rows.iter().map(all)), is_within)
        };
        Ok::<_, LossError>(MetricValue {
            ci95: Some(ci95),
            ..rows.metric(name, n, "1", value)
        })
    };
    let mut metrics = vec![metric("feature_variance_ratio", false)?];
    // Without types the metric is reported as left out: its value is NaN.
    let within = "feature_variance_ratio_within_type";
    metrics.push(if is_typed {
        metric(within, true)?
    } else {
        MetricValue::new(within, f64::NAN, n, "1")
    });
    Ok(metrics)
}

/// Rows of a stand-in for each session of the data.
fn rows(context: &Context<'_>, stand_in: &StandIn<'_>, data: &DataFeatures) -> Result<Vec<Rows>, LossError> {
    let features = features(context, stand_in)?.normalized_like(data, &stand_in.compared)?;
    let of_session = |session: SessionFeatures| {
        let types = stand_in.types.as_ref().and_then(|types| types.get(session.session));
        // A trial without a type is a type of its own, which the data do not have.
        let type_of = |&k: &usize| types.and_then(|types| types[k]).unwrap_or(usize::MAX);
        Rows {
            types: session.trials.iter().map(type_of).collect(),
            features: session.features,
        }
    };
    Ok(features.sessions.into_iter().map(of_session).collect())
}

/// Resampled rows; all of them are of one session.
fn picked(sessions: &[Rows], indices: &[&(usize, usize)]) -> Rows {
    let Some((s, _)) = indices.first() else {
        return Rows {
            features: Array2::zeros((0, 0)),
            types: Vec::new(),
        };
    };
    let trials: Vec<usize> = indices.iter().map(|(_, k)| *k).collect();
    Rows {
        features: sessions[*s].features.select(Axis(0), &trials),
        types: trials.iter().map(|&k| sessions[*s].types[k]).collect(),
    }
}

/// Mean over sessions of the variance ratio; sessions where it is undefined are left out.
fn mean_ratio(sessions: impl Iterator<Item = (Rows, Rows)>, is_within: bool) -> f64 {
    let ratio = |(model, data): (Rows, Rows)| {
        let found =
            feature_variance_ratio(&model.features.view(), &data.features.view(), &model.types, &data.types).ok()?;
        if is_within {
            found.within_type
        } else {
            Some(found.total)
        }
    };
    mean(&sessions.filter_map(ratio).collect::<Vec<_>>())
}

/// `fano_ratio`: median Fano factor over neurons of the counts of whole trials, model over data.
pub(super) fn fano(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Vec<MetricValue>, LossError> {
    let inputs = context.inputs;
    let bins = 0..inputs.recording.n_bins();
    let min_spikes = inputs.settings.min_fano_spikes;
    let data = spike_counts(inputs.recording, &context.test.usable, bins.clone())?;
    let counts = context.each(|s| spike_counts(&s.recording, &s.compared, bins.clone()))?;
    let of_model = fano_ratio(&counts.model, &data, min_spikes)?;
    let metric = counts.metric("fano_ratio", of_model.n_neurons, "1", |model| {
        fano_ratio(model, &data, min_spikes).map_or(f64::NAN, |ratio| ratio.value)
    });
    let sessions: Vec<Vec<(f64, f64)>> = counts
        .model
        .iter()
        .zip(&data)
        .map(|(model, data)| {
            let (of_model, of_data) = (model.counts.sum_axis(Axis(0)), data.counts.sum_axis(Axis(0)));
            let pairs = fano_factors(model).into_iter().zip(fano_factors(data)).enumerate();
            pairs
                .filter(|(n, _)| of_model[*n].min(of_data[*n]) >= min_spikes as f64)
                .map(|(_, pair)| pair)
                .filter(|(m, d)| m.is_finite() && d.is_finite())
                .collect()
        })
        .collect();
    let ci95 = bootstrap_ci95(&sessions, inputs.settings.n_resamples, rng, |sessions| {
        let (model, data): (Vec<f64>, Vec<f64>) = sessions.iter().flatten().copied().copied().unzip();
        match (median(&model), median(&data)) {
            (Some(model), Some(data)) => model / data,
            _ => f64::NAN,
        }
    })?;
    Ok(vec![MetricValue {
        ci95: Some(ci95),
        ..metric
    }])
}

/// `noise_correlation_r` over simultaneously recorded pairs, and the mean noise correlation of model and data.
pub(super) fn noise_correlation(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Vec<MetricValue>, LossError> {
    let inputs = context.inputs;
    let window = inputs.noise_window_bins();
    let n_resamples = inputs.settings.n_resamples;
    let data = noise_correlations(inputs.recording, &context.test.usable, window)?;
    let pairs = context.each(|s| noise_correlations(&s.recording, &s.compared, window))?;
    let of_model = compare_noise_correlations(&pairs.model, &data)?;
    let matched = common_pairs(&pairs.model, &data);
    let compare = |model: &Vec<Vec<PairValue>>| compare_noise_correlations(model, &data).ok();

    let r = pairs.metric("noise_correlation_r", of_model.n_pairs, "1", |model| {
        compare(model).and_then(|found| found.r).unwrap_or(f64::NAN)
    });
    let ci95_r = if r.value.is_nan() {
        None // left out
    } else {
        Some(bootstrap_ci95(&matched, n_resamples, rng, |sessions| {
            let (x, y): (Vec<f64>, Vec<f64>) = sessions.iter().flatten().copied().copied().unzip();
            pearson(&x, &y).unwrap_or(f64::NAN)
        })?)
    };
    let sides = |pick: fn(&(f64, f64)) -> f64| -> Vec<Vec<f64>> {
        matched
            .iter()
            .map(|session| session.iter().map(pick).collect())
            .collect()
    };
    let mean_model = MetricValue {
        ci95: Some(interval::of_mean(&sides(|pair| pair.0), n_resamples, rng)?),
        ..pairs.metric("noise_correlation_mean", of_model.n_pairs, "1", |model| {
            compare(model).map_or(f64::NAN, |found| found.mean_model)
        })
    };
    let mean_data = MetricValue {
        ci95: Some(interval::of_mean(&sides(|pair| pair.1), n_resamples, rng)?),
        ..MetricValue::new("noise_correlation_mean_data", of_model.mean_data, of_model.n_pairs, "1")
    };
    Ok(vec![MetricValue { ci95: ci95_r, ..r }, mean_model, mean_data])
}

/// Noise correlations of the pairs that model and data have, by session: (model, data).
fn common_pairs(model: &[Vec<PairValue>], data: &[Vec<PairValue>]) -> Vec<Vec<(f64, f64)>> {
    let of_session = |(model, data): (&Vec<PairValue>, &Vec<PairValue>)| {
        let of_data: BTreeMap<(usize, usize), f64> = data
            .iter()
            .map(|pair| ((pair.first, pair.second), pair.correlation))
            .collect();
        let both = |pair: &PairValue| Some((pair.correlation, *of_data.get(&(pair.first, pair.second))?));
        model.iter().filter_map(both).collect()
    };
    model.iter().zip(data).map(of_session).collect()
}
