//! Trial matching: every model trial is compared with the recorded trial it is paired with.
//!
//! Why here: it is what makes single trials, not only their averages, look like the recording. Known
//! weakness: matching finite samples rewards too little variability; read it beside the dispersion
//! metrics. Not here: comparisons without pairs ([`crate::trial_loss`]).

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayView2, Axis};
use rand::Rng;
use rand::seq::index;
use rayon::prelude::*;

use crate::LossError;
use crate::assignment::assign;
use crate::distances::squared_distance;
use crate::error::{check_finite, check_indices, check_shape};
use crate::statistics::DataFeatures;

/// Model and data trials to be compared with each other; to be paired, equally many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// Rows of the model's features (model trials).
    pub model: Vec<usize>,
    /// Rows of the session's data features.
    pub data: Vec<usize>,
}

/// Which trials take part where model and recording have different numbers of them.
pub enum TrialSubset<'r> {
    /// All trials of both, for comparisons without pairs.
    All,
    /// The first n of both, as the published program trains: the recording's late trials never take part.
    FirstN,
    /// The first n model trials (they are exchangeable) and n random recorded trials, in random order.
    RandomData(&'r mut dyn Rng),
    /// n random trials of both, as the published metric does.
    RandomBoth(&'r mut dyn Rng),
}

impl TrialSubset<'_> {
    /// Candidates of one session: for each condition that both have, `n = min(K, K^D)` trials of each (or all).
    ///
    /// `model_conditions` `[K]`, `data_conditions` `[rows]`: one label per model trial and per row of
    /// the session's features, in ascending order of the label. To match across conditions, as the
    /// published program does, pass slices of zeros.
    pub fn candidates(&mut self, model_conditions: &[usize], data_conditions: &[usize]) -> Vec<Candidates> {
        let mut rows = BTreeMap::<usize, (Vec<usize>, Vec<usize>)>::new();
        for (k, &condition) in model_conditions.iter().enumerate() {
            rows.entry(condition).or_default().0.push(k);
        }
        for (k, &condition) in data_conditions.iter().enumerate() {
            rows.entry(condition).or_default().1.push(k);
        }
        rows.into_values()
            .filter(|(model, data)| !model.is_empty() && !data.is_empty())
            .map(|(model, data)| {
                let n = model.len().min(data.len());
                match self {
                    Self::All => Candidates { model, data },
                    Self::FirstN => Candidates {
                        model: model[..n].to_vec(),
                        data: data[..n].to_vec(),
                    },
                    Self::RandomData(rng) => Candidates {
                        model: model[..n].to_vec(),
                        data: subset(&data, n, *rng),
                    },
                    Self::RandomBoth(rng) => Candidates {
                        model: subset(&model, n, *rng),
                        data: subset(&data, n, *rng),
                    },
                }
            })
            .collect()
    }
}

fn subset(rows: &[usize], n: usize, rng: &mut dyn Rng) -> Vec<usize> {
    index::sample(rng, rows.len(), n).into_iter().map(|i| rows[i]).collect()
}

/// One model trial and the recorded trial it was matched with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Row of the model's features.
    pub model: usize,
    /// Row of the session's features.
    pub data: usize,
    /// Mean over features of the squared difference.
    pub cost: f64,
}

/// The matching of one session.
#[derive(Debug, Clone)]
pub struct SessionMatch {
    /// Mean cost of the pairs.
    pub value: f64,
    /// The pairs, in the order of the candidates' model trials.
    pub pairs: Vec<Pair>,
    /// Gradient of `value` with respect to the model's features `[K, F]`, at fixed pairs.
    pub d_features: Array2<f64>,
}

/// Pairs the candidates of one session at least cost.
///
/// $$\ell = \frac{1}{\sum_c n_c}\sum_c \min_{\pi_c}\sum_{i=1}^{n_c}
///     \frac1F\sum_f (x_{if} - y_{\pi_c(i) f})^2$$
///
/// Conditions so weigh as many as they have pairs. The gradient holds the pairing fixed, which is
/// exact wherever the best pairing is unique.
///
/// # Shapes
/// `model` `[K, F]`, `data` `[K^D, F]`. Cost O(n²·F + n³) per condition.
///
/// # Errors
/// [`LossError::Shape`] for differing F or unequal candidates, [`LossError::Index`] for a candidate that
/// is not a row, [`LossError::NonFinite`] for features that are not finite, [`LossError::NoData`] without
/// candidates or features.
///
/// # Source
/// Sourmpis et al. 2023, T_trial with hard assignment.
///
/// ```
/// use losses::trial_matching::{TrialSubset, match_session};
/// use ndarray::array;
///
/// let (model, data) = (array![[0.0, 1.0], [2.0, 2.0]], array![[2.0, 2.5], [0.0, 1.0]]);
/// let candidates = TrialSubset::FirstN.candidates(&[0, 0], &[0, 0]);
/// let matched = match_session(&model.view(), &data.view(), &candidates)?;
/// assert_eq!(matched.pairs[0].data, 1);
/// assert_eq!(matched.value, 0.25 / 4.0);
/// # Ok::<(), losses::LossError>(())
/// ```
pub fn match_session(
    model: &ArrayView2<'_, f64>,
    data: &ArrayView2<'_, f64>,
    candidates: &[Candidates],
) -> Result<SessionMatch, LossError> {
    let n_features = model.ncols();
    check_shape("features of a model trial", &[n_features], &[data.ncols()])?;
    check_finite("model features", model)?;
    check_finite("data features", data)?;
    let mut pairs = Vec::new();
    for candidates in candidates {
        check_shape(
            "candidate data trials",
            &[candidates.data.len()],
            &[candidates.model.len()],
        )?;
        check_indices("candidate model trials", &candidates.model, model.nrows())?;
        check_indices("candidate data trials", &candidates.data, data.nrows())?;
        let cost = approximate_squared_distances(
            &model.select(Axis(0), &candidates.model),
            &data.select(Axis(0), &candidates.data),
        );
        for (i, j) in assign(&cost.view())?.into_iter().enumerate() {
            let (i, j) = (candidates.model[i], candidates.data[j]);
            let of_pair = squared_distance(&model.row(i), &data.row(j));
            pairs.push(Pair {
                model: i,
                data: j,
                cost: of_pair / n_features as f64,
            });
        }
    }
    if pairs.is_empty() || n_features == 0 {
        return Err(LossError::NoData {
            what: "trial matching",
            reason: format!("{} pairs of trials with {n_features} features", pairs.len()),
        });
    }
    let mut d_features = Array2::zeros(model.raw_dim());
    let slope = 2.0 / (pairs.len() * n_features) as f64;
    for pair in &pairs {
        let (x, y) = (model.row(pair.model), data.row(pair.data));
        for ((d, x), y) in d_features.row_mut(pair.model).iter_mut().zip(x).zip(y) {
            *d += slope * (x - y);
        }
    }
    let value = pairs.iter().map(|pair| pair.cost).sum::<f64>() / pairs.len() as f64;
    Ok(SessionMatch {
        value,
        pairs,
        d_features,
    })
}

/// `|x_i − y_j|²` `[n, m]` of rows `[n, F]` and `[m, F]`, as `|x|² + |y|² − 2xy`: one matrix product, which is wrong by rounding
/// of the squared norms. Good enough to choose pairs by; what a pair costs is summed for itself.
fn approximate_squared_distances(x: &Array2<f64>, y: &Array2<f64>) -> Array2<f64> {
    let norms = |rows: &Array2<f64>| rows.outer_iter().map(|row| row.dot(&row)).collect::<Vec<f64>>();
    let (of_x, of_y) = (norms(x), norms(y));
    let mut distances = x.dot(&y.t());
    for ((i, j), d) in distances.indexed_iter_mut() {
        *d = (of_x[i] + of_y[j] - 2.0 * *d).max(0.0);
    }
    distances
}

/// The matching of all sessions.
#[derive(Debug, Clone)]
pub struct Matching {
    /// Mean of the matched sessions' values.
    pub value: f64,
    /// The matching of each session of the data features; `None` for one without candidates.
    pub sessions: Vec<Option<SessionMatch>>,
}

/// Matches the features of all sessions: the mean over sessions of [`match_session`].
///
/// For features that are already there: the floor of the loss (training against validation data), null
/// models, metrics.
///
/// # Shapes
/// `model`: features `[K, F]` for each session of `data`, normalised like it
/// ([`SessionFeatures::of_model`] or [`crate::statistics::RecordedFeatures::normalized_like`]);
/// `candidates` one list per session; an empty list leaves the session out. Sessions are matched in
/// parallel and summed in order, so the result does not depend on the number of threads.
///
/// # Errors
/// As [`match_session`]; [`LossError::Shape`] if lists differ in length, [`LossError::NoData`] if no session
/// has candidates.
pub fn match_features(
    model: &[Array2<f64>],
    data: &DataFeatures,
    candidates: &[Vec<Candidates>],
) -> Result<Matching, LossError> {
    check_shape("sessions of model features", &[model.len()], &[data.sessions.len()])?;
    check_shape("candidate lists", &[candidates.len()], &[data.sessions.len()])?;
    let sessions: Vec<Option<SessionMatch>> = data
        .sessions
        .par_iter()
        .zip(model)
        .zip(candidates)
        .map(|((session, model), candidates)| {
            if candidates.is_empty() {
                return Ok(None);
            }
            match_session(&model.view(), &session.features.view(), candidates).map(Some)
        })
        .collect::<Result<_, LossError>>()?;
    let values: Vec<f64> = sessions.iter().flatten().map(|matched| matched.value).collect();
    if values.is_empty() {
        return Err(LossError::NoData {
            what: "trial matching",
            reason: "no session shares a stimulus condition with the model's trials".to_owned(),
        });
    }
    Ok(Matching {
        value: crate::statistics::mean(&values),
        sessions,
    })
}
