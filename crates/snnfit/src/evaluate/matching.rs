//! Single trials: correlation and loss of matched trials.

use losses::LossError;
use losses::bootstrap::{bootstrap_ci95, bootstrap_ci95_of_two};
use losses::energy::PairDistances;
use losses::metrics::{MetricValue, PairCorrelation, trial_matched_correlation};
use losses::statistics::{DataFeatures, RecordedFeatures, TrialSelection, mean};
use losses::trial_loss::Method;
use losses::trial_matching::{Candidates, Matching, TrialSubset, match_features};
use ndarray::Array2;
use rand::Rng;

use super::context::Context;
use super::interval;
use super::stand_in::StandIn;

/// `trial_matched_pearson` and its reference-centred variant.
pub(super) fn correlations(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Vec<MetricValue>, LossError> {
    let data = features(context, &context.test.stand_in)?.normalized(&context.test.matched)?;
    let pairs = context.each(|stand_in| {
        let model = opponents(context, stand_in, &data)?;
        trial_matched_correlation(&model.features, &data, &model.candidates)
    })?;
    let n = pairs.model.iter().map(Vec::len).sum();
    let mut metric = |name: &str, value: fn(&PairCorrelation) -> f64| {
        let values = |sessions: &Vec<Vec<PairCorrelation>>| -> Vec<Vec<f64>> {
            let of_session = |pairs: &Vec<PairCorrelation>| pairs.iter().map(value).collect();
            sessions.iter().map(of_session).collect()
        };
        let pooled = |sessions: &Vec<Vec<PairCorrelation>>| mean(&values(sessions).concat());
        let n_resamples = context.inputs.settings.n_resamples;
        Ok::<_, LossError>(MetricValue {
            ci95: Some(interval::of_mean(&values(&pairs.model), n_resamples, rng)?),
            ..pairs.metric(name, n, "1", pooled)
        })
    };
    Ok(vec![
        metric("trial_matched_pearson", |pair| pair.pearson)?,
        metric("trial_matched_pearson_ref_centered", |pair| pair.ref_centered)?,
    ])
}

/// Features of the test trials, in the scales of the training trials.
fn in_scales_of_training(context: &Context<'_>) -> Result<DataFeatures, LossError> {
    let features = features(context, &context.test.stand_in)?;
    let sessions = context.test.matched.iter().zip(context.inputs.train);
    // The scales' sessions must be those that are matched.
    let of_scales: TrialSelection = sessions
        .map(|(matched, train)| if matched.is_empty() { Vec::new() } else { train.clone() })
        .collect();
    let scales = features.normalized(&of_scales)?;
    features.normalized_like(&scales, &context.test.matched)
}

/// The hard trial loss without its coefficient: test trials as the data, scales of the training trials.
pub(super) fn trial_loss(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Vec<MetricValue>, LossError> {
    let data = in_scales_of_training(context)?;
    let matching = context.each(|stand_in| {
        let model = opponents(context, stand_in, &data)?;
        match_features(&model.features, &data, &model.candidates)
    })?;
    let costs: Vec<Vec<f64>> = matching
        .model
        .sessions
        .iter()
        .flatten()
        .map(|session| session.pairs.iter().map(|pair| pair.cost).collect())
        .collect();
    // The loss weighs sessions equally.
    let mean_of_sessions = |sessions: &[Vec<&f64>]| {
        let means = sessions.iter().map(|s| s.iter().copied().sum::<f64>() / s.len() as f64);
        mean(&means.collect::<Vec<_>>())
    };
    let n_resamples = context.inputs.settings.n_resamples;
    Ok(vec![MetricValue {
        ci95: Some(bootstrap_ci95(&costs, n_resamples, rng, mean_of_sessions)?),
        ..matching.metric("trial_loss", costs.iter().map(Vec::len).sum(), "1", |m: &Matching| {
            m.value
        })
    }])
}

/// The energy distance of the model's trials from the test trials, as the loss of that name with exponent 1 and without its weight.
///
/// Its mean is 0 where both are drawn from one distribution, and larger everywhere else: unlike the matching loss it is not least for
/// trials that vary too little.
pub(super) fn energy(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Vec<MetricValue>, LossError> {
    const EXPONENT: f64 = 1.0;
    let method = Method::Energy {
        exponent: EXPONENT,
        by_part: false,
    };
    let data = in_scales_of_training(context)?;
    let values = context.each(|stand_in| {
        let model = opponents(context, stand_in, &data)?;
        Ok(method.of_features(&model.features, &data, &model.candidates)?.0)
    })?;
    let model = opponents(context, &context.model, &data)?;
    let tables = model
        .features
        .iter()
        .zip(&data.sessions)
        .map(|(model, data)| PairDistances::new(&model.view(), &data.features.view(), EXPONENT))
        .collect::<Result<Vec<_>, LossError>>()?;
    let trials = |of: fn(&Candidates) -> &Vec<usize>| -> Vec<Vec<CandidateTrial>> {
        let sessions = model.candidates.iter().enumerate();
        sessions
            .map(|(session, candidates)| {
                let conditions = candidates.iter().enumerate();
                conditions
                    .flat_map(|(condition, candidates)| {
                        of(candidates).iter().map(move |&row| CandidateTrial {
                            session,
                            condition,
                            row,
                        })
                    })
                    .collect()
            })
            .collect()
    };
    let (of_model, of_data) = (trials(|c| &c.model), trials(|c| &c.data));
    let model_features = &model.features;
    let statistic = |drawn: &[Vec<&CandidateTrial>], recorded: &[Vec<&CandidateTrial>]| {
        let sessions = drawn.iter().zip(recorded).filter_map(|(model, data)| {
            let session = model.first()?.session;
            let scale = (model_features[session].ncols() as f64).powf(0.5 * EXPONENT);
            let mut sum = 0.0;
            let mut weights = 0.0;
            for condition in 0..model.iter().map(|t| t.condition + 1).max()? {
                let rows = |trials: &[&CandidateTrial]| -> Vec<usize> {
                    trials
                        .iter()
                        .filter(|t| t.condition == condition)
                        .map(|t| t.row)
                        .collect()
                };
                let (model, data) = (rows(model), rows(data));
                if let Some(energy) = tables[session].energy(&model, &data) {
                    let weight = model.len().min(data.len()) as f64;
                    sum += weight * energy;
                    weights += weight;
                }
            }
            (weights > 0.0).then(|| sum / weights / scale)
        });
        mean(&sessions.collect::<Vec<f64>>())
    };
    let n = of_model.iter().map(Vec::len).sum();
    let n_resamples = context.inputs.settings.n_resamples;
    Ok(vec![MetricValue {
        ci95: Some(bootstrap_ci95_of_two(&of_model, &of_data, n_resamples, rng, statistic)?),
        ..values.metric("energy_distance", n, "1", |value: &f64| *value)
    }])
}

/// A trial that takes part in a comparison.
struct CandidateTrial {
    session: usize,
    condition: usize,
    row: usize,
}

/// Features of a stand-in, or the reason why there are none.
pub(super) fn features<'s>(
    context: &Context<'_>,
    stand_in: &'s StandIn<'_>,
) -> Result<&'s RecordedFeatures, LossError> {
    stand_in.features.as_ref().ok_or_else(|| {
        let left_out = &context.inputs.populations.left_out;
        LossError::NoPopulation {
            min_neurons_per_area: left_out.iter().map(|l| l.min_neurons_per_area).max().unwrap_or(1),
            largest: left_out.iter().map(|l| l.n_neurons).max().unwrap_or(0),
        }
    })
}

/// Trials to be paired with those of the data, by session of the data.
struct Opponents {
    features: Vec<Array2<f64>>,
    candidates: Vec<Vec<Candidates>>,
}

/// Features of as many trials of a stand-in as of the data, and which may be paired: those of equal conditions.
fn opponents(context: &Context<'_>, stand_in: &StandIn<'_>, data: &DataFeatures) -> Result<Opponents, LossError> {
    let model = features(context, stand_in)?.normalized_like(data, &stand_in.matched)?;
    let sessions = model.sessions.iter().zip(&data.sessions);
    let candidates = sessions.map(|(m, d)| TrialSubset::FirstN.candidates(&m.conditions, &d.conditions));
    let candidates = candidates.collect();
    Ok(Opponents {
        features: model.sessions.into_iter().map(|s| s.features).collect(),
        candidates,
    })
}
