//! Dispersion: variance of trial features, Fano factors, noise correlations.

use std::collections::BTreeMap;

use losses::LossError;
use losses::bootstrap::{OfPair, bootstrap_ci95, bootstrap_ci95_of_pairs, bootstrap_ci95_of_two, spread_about_means};
use losses::metrics::{
    MetricValue, PairValue, compare_noise_correlations, fano_factors, fano_ratio, feature_variance_ratio,
    noise_correlations, pearson_weighted, spike_counts,
};
use losses::statistics::{DataFeatures, SessionFeatures, mean, median};
use ndarray::{Array2, Axis};
use rand::Rng;

use super::context::Context;
use super::matching::features;
use super::report::SessionVariance;
use super::session_types::SessionTyper;
use super::stand_in::StandIn;

/// Resamples of the interval of one session at most: it is read off a picture, and there may be many sessions.
const MAX_SESSION_RESAMPLES: usize = 200;

/// Features and trial types of one session's trials.
struct Rows {
    features: Array2<f64>,
    types: Vec<usize>,
}

impl Rows {
    /// The rows to resample for an interval of the variance over all trials or within their types.
    fn spread(&self, is_within: bool) -> Result<Self, LossError> {
        let mut features = self.features.clone();
        if is_within {
            spread_about_means(&mut features, &self.types)?;
        } else {
            spread_about_means(&mut features, &vec![0; self.types.len()])?;
        }
        Ok(Self {
            features,
            types: self.types.clone(),
        })
    }
}

/// `feature_variance_ratio` and `feature_variance_ratio_within_type`: means over sessions.
///
/// All trials, recorded ones too, are typed by the session's templates ([`SessionTyper`]). Recorded labels would not
/// do for the data: where types overlap, templates cut the model's trials at a boundary that labels don't know, and a
/// perfect model would come out too narrow. Nor would the typing of `hit_fraction`, which puts recorded trials together
/// from several sessions by label: that moves the boundary away again.
pub(super) fn variance_ratios(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Vec<MetricValue>, LossError> {
    let data = features(context, &context.test.stand_in)?.normalized(&context.test.usable)?;
    let typers = data
        .sessions
        .iter()
        .map(|session| SessionTyper::new(context.inputs, session.session))
        .collect::<Result<Vec<_>, _>>()?;
    let data_rows = rows_of(&context.test.stand_in, data.sessions.clone(), &typers)?;
    let rows = context.each(|stand_in| rows(context, stand_in, &data, &typers))?;
    let is_typed = typers.iter().any(SessionTyper::is_typing);
    let n = data_rows.iter().map(|rows| rows.types.len()).sum();
    let n_resamples = context.inputs.settings.n_resamples;
    let indices = |sessions: &[Rows]| -> Vec<Vec<(usize, usize)>> {
        let of_session = |(s, rows): (usize, &Rows)| (0..rows.types.len()).map(|k| (s, k)).collect();
        sessions.iter().enumerate().map(of_session).collect()
    };
    let mut metric = |name: &str, is_within: bool| {
        let spread = |sessions: &[Rows]| -> Result<Vec<Rows>, LossError> {
            sessions.iter().map(|rows| rows.spread(is_within)).collect()
        };
        let (of_model, of_data) = (spread(&rows.model)?, spread(&data_rows)?);
        let ci95 = bootstrap_ci95_of_two(
            &indices(&of_model),
            &indices(&of_data),
            n_resamples,
            rng,
            |model, recorded| {
                let sessions = model.iter().zip(recorded);
                mean_ratio(
                    sessions.map(|(m, d)| (picked(&of_model, m), picked(&of_data, d))),
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

/// `feature_variance_ratio` of each session, with the interval of a bootstrap over its trials; sessions where it is
/// undefined are absent.
pub(super) fn by_session(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Vec<SessionVariance>, LossError> {
    let data = features(context, &context.test.stand_in)?.normalized(&context.test.usable)?;
    let like = |stand_in: &StandIn<'_>| {
        let features = features(context, stand_in)?.normalized_like(&data, &stand_in.compared)?;
        Ok(features.sessions.into_iter().map(untyped).collect::<Vec<Rows>>())
    };
    let of = context.each(like)?;
    let recorded: Vec<Rows> = data.sessions.iter().cloned().map(untyped).collect();
    let spread = |sessions: &[Rows]| -> Result<Vec<Rows>, LossError> {
        sessions.iter().map(|rows| rows.spread(false)).collect()
    };
    let (of_model, of_data) = (spread(&of.model)?, spread(&recorded)?);
    let ratio = |model: Rows, data: Rows| mean_ratio(std::iter::once((model, data)), false);
    let n_resamples = context.inputs.settings.n_resamples.min(MAX_SESSION_RESAMPLES);
    let mut sessions = Vec::new();
    for (s, session) in data.sessions.iter().enumerate() {
        let all = |of: &[Rows]| -> Vec<(usize, usize)> {
            let n = of.get(s).map_or(0, |rows| rows.types.len());
            (0..n).map(|k| (s, k)).collect()
        };
        let whole = |of: &[Rows]| picked(of, &all(of).iter().collect::<Vec<_>>());
        let value = ratio(whole(&of.model), whole(&recorded));
        if !value.is_finite() {
            continue;
        }
        let (first, second) = ([all(&of.model)], [all(&recorded)]);
        let ci95 = bootstrap_ci95_of_two(&first, &second, n_resamples, rng, |model, data| {
            let drawn = model.iter().zip(data);
            mean_ratio(drawn.map(|(m, d)| (picked(&of_model, m), picked(&of_data, d))), false)
        })?;
        let reference = of.train.as_ref().map(|train| ratio(whole(train), whole(&recorded)));
        sessions.push(SessionVariance {
            session: context.inputs.recording.sessions()[session.session].name.clone(),
            ratio: value,
            ci95,
            reference_train_test: reference.filter(|value| value.is_finite()),
            n: session.trials.len(),
        });
    }
    Ok(sessions)
}

/// Rows whose types don't matter.
fn untyped(session: SessionFeatures) -> Rows {
    Rows {
        types: vec![0; session.features.nrows()],
        features: session.features,
    }
}

/// Rows of a stand-in for each session of the data.
fn rows(
    context: &Context<'_>,
    stand_in: &StandIn<'_>,
    data: &DataFeatures,
    typers: &[SessionTyper],
) -> Result<Vec<Rows>, LossError> {
    let features = features(context, stand_in)?.normalized_like(data, &stand_in.compared)?;
    rows_of(stand_in, features.sessions, typers)
}

/// Features with the types of their trials.
fn rows_of(
    stand_in: &StandIn<'_>,
    sessions: Vec<SessionFeatures>,
    typers: &[SessionTyper],
) -> Result<Vec<Rows>, LossError> {
    let of_session = |(features, typer): (SessionFeatures, &SessionTyper)| {
        let session = &stand_in.recording.sessions()[features.session];
        Ok(Rows {
            types: typer.classify(session, &features.trials)?,
            features: features.features,
        })
    };
    sessions.into_iter().zip(typers).map(of_session).collect()
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
            let (of_model, of_data) = (model.spikes(), data.spikes());
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
///
/// Pairs share neurons, so their intervals are those of resampled sessions and neurons
/// ([`bootstrap_ci95_of_pairs`]); none where there are too few of them.
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
    let mut interval = |statistic: PairStatistic| bootstrap_ci95_of_pairs(&matched, n_resamples, rng, statistic);
    let ci95_r = interval(|pairs| pearson_weighted(pairs).unwrap_or(f64::NAN))?;
    let mean_model = MetricValue {
        ci95: interval(|pairs| weighted_mean(pairs, |pair| pair.0))?,
        ..pairs.metric("noise_correlation_mean", of_model.n_pairs, "1", |model| {
            compare(model).map_or(f64::NAN, |found| found.mean_model)
        })
    };
    let mean_data = MetricValue {
        ci95: interval(|pairs| weighted_mean(pairs, |pair| pair.1))?,
        ..MetricValue::new("noise_correlation_mean_data", of_model.mean_data, of_model.n_pairs, "1")
    };
    Ok(vec![MetricValue { ci95: ci95_r, ..r }, mean_model, mean_data])
}

/// Of pairs with their weights: noise correlation in model and data.
type PairStatistic = fn(&[(f64, &(f64, f64))]) -> f64;

/// NaN without pairs.
fn weighted_mean(pairs: &[(f64, &(f64, f64))], side: fn(&(f64, f64)) -> f64) -> f64 {
    let total: f64 = pairs.iter().map(|(weight, _)| weight).sum();
    pairs.iter().map(|(weight, pair)| weight * side(pair)).sum::<f64>() / total
}

/// Noise correlations (model, data) of the pairs that model and data have, by session.
fn common_pairs(model: &[Vec<PairValue>], data: &[Vec<PairValue>]) -> Vec<Vec<OfPair<(f64, f64)>>> {
    let of_session = |(model, data): (&Vec<PairValue>, &Vec<PairValue>)| {
        let of_data: BTreeMap<(usize, usize), f64> = data
            .iter()
            .map(|pair| ((pair.first, pair.second), pair.correlation))
            .collect();
        let both = |pair: &PairValue| {
            let of_data = *of_data.get(&(pair.first, pair.second))?;
            Some(OfPair {
                first: pair.first,
                second: pair.second,
                value: (pair.correlation, of_data),
            })
        };
        model.iter().filter_map(both).collect()
    };
    model.iter().zip(data).map(of_session).collect()
}
