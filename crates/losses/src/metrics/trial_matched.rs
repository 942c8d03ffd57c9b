//! Correlation of matched single trials.

use ndarray::Array2;

use super::{TRIAL_PEARSON_EPS, pearson, pearson_ref_centered};
use crate::LossError;
use crate::statistics::{DataFeatures, SessionFeatures};
use crate::trial_matching::{Candidates, SessionMatch, match_features};

/// Correlation of a model trial with the recorded trial it was matched with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairCorrelation {
    /// Row of the model's features.
    pub model: usize,
    /// Row of the data's features.
    pub data: usize,
    /// Pearson's coefficient over the features; 0 if a row is constant.
    pub pearson: f64,
    /// The published variant, centred with the recorded trial's mean.
    pub ref_centered: f64,
}

/// Matches the candidates of each session and correlates each pair over its features.
///
/// # Shapes
/// `model`: features `[K, F]` for each session of `data`, normalised like it
/// ([`crate::statistics::SessionFeatures::of_model`] or
/// [`crate::statistics::RecordedFeatures::normalized_like`]); `candidates` one list per session (the published
/// metric: [`crate::trial_matching::TrialSubset::RandomBoth`]). Result: the pairs of each session, in
/// the order of the candidates' model trials; empty for a session without candidates.
///
/// # Errors
/// As [`match_features`].
///
/// # Source
/// Sourmpis et al. 2023, figure 3C right (`trial_metric` of the published program).
pub fn trial_matched_correlation(
    model: &[Array2<f64>],
    data: &DataFeatures,
    candidates: &[Vec<Candidates>],
) -> Result<Vec<Vec<PairCorrelation>>, LossError> {
    let matching = match_features(model, data, candidates)?;
    let correlate = |((session, model), matched): ((&SessionFeatures, &Array2<f64>), &Option<_>)| {
        let pairs = matched.as_ref().map_or(&[][..], |m: &SessionMatch| &m.pairs);
        pairs
            .iter()
            .map(|pair| {
                let y = session.features.row(pair.data).to_vec();
                let p = model.row(pair.model).to_vec();
                PairCorrelation {
                    model: pair.model,
                    data: pair.data,
                    pearson: pearson(&y, &p).unwrap_or(0.0),
                    ref_centered: pearson_ref_centered(&y, &p, TRIAL_PEARSON_EPS),
                }
            })
            .collect()
    };
    Ok(data
        .sessions
        .iter()
        .zip(model)
        .zip(&matching.sessions)
        .map(correlate)
        .collect())
}
