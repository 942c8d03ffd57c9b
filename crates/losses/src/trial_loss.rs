//! The trial loss: how far the model's single trials are from the recorded ones, as whole distributions.
//!
//! Why here: all variants see the same features of the same trials and differ in how two clouds of trials are compared
//! ([`Method`]). Sessions are compared in parallel and averaged; those of the Sinkhorn divergence are collected first, so
//! that a device can take them all at once.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::LossError;
use crate::energy::energy_distance;
use crate::error::{check_indices, check_shape};
use crate::sinkhorn::{Clouds, Cost, Divergence, Divergences, Processor, Sinkhorn};
use crate::statistics::{DataFeatures, Filters, SessionFeatures};
use crate::trial_matching::{Candidates, match_session};

/// How the trials of model and recording are compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// One to one at least cost: [`match_session`].
    Hard,
    /// Debiased Sinkhorn divergence.
    Sinkhorn(Sinkhorn),
    /// Energy distance.
    Energy {
        /// Exponent β of the distance, in (0, 2).
        exponent: f64,
        /// Whether the distances of the parts of the features are added: [`Method::of_features`].
        #[serde(default)]
        by_part: bool,
    },
}

impl Method {
    /// Whether it takes equally many trials of both sides; the others take all of both.
    pub fn is_one_to_one(&self) -> bool {
        matches!(self, Self::Hard)
    }

    /// Trials of one condition that each side has to have.
    fn n_least(&self) -> usize {
        match self {
            Self::Hard | Self::Sinkhorn(_) => 1,
            Self::Energy { .. } => 2,
        }
    }

    /// Compares the candidates of one session, all features together: `by_part` is of [`Method::of_features`].
    ///
    /// $$\ell = \sum_c \frac{n_c}{\sum_{c'} n_{c'}}\,\frac{D(x_c, y_c)}{F^{q}}$$
    ///
    /// over conditions c with recorded trials x and model trials y, n the smaller number of the two. D is the
    /// divergence or distance of the method and q half its power of a length: ½ for the Sinkhorn divergence with cost
    /// r, 1 with r²/2, β/2 for the energy distance, so that ℓ doesn't grow with the number of features F. For
    /// [`Method::Hard`] it is that of [`match_session`]. Conditions with too few trials for the method are left out;
    /// none is left: `None`.
    ///
    /// # Shapes
    /// `model` `[K, F]`, `data` `[K^D, F]`; gradient `[K, F]`.
    ///
    /// # Errors
    /// As [`match_session`], [`Sinkhorn::divergence`], [`energy_distance`].
    ///
    /// # Source
    /// Sourmpis et al. 2023, L_trial; the Sinkhorn divergence over √F as in the published program.
    pub fn of_session(
        &self,
        model: &ArrayView2<'_, f64>,
        data: &ArrayView2<'_, f64>,
        candidates: &[Candidates],
    ) -> Result<Option<SessionLoss>, LossError> {
        match *self {
            Self::Hard => {
                if self.usable(candidates).is_empty() {
                    return Ok(None);
                }
                match_session(model, data, candidates).map(|matched| {
                    Some(SessionLoss {
                        value: matched.value,
                        d_features: matched.d_features,
                    })
                })
            }
            Self::Sinkhorn(sinkhorn) => {
                let usable = self.usable(candidates);
                let clouds = Clouds::of_conditions(model, data, &usable)?;
                let found = Processor.divergences(&sinkhorn, &clouds)?;
                Ok(soft(&sinkhorn, model.dim(), &usable, found))
            }
            Self::Energy { exponent, .. } => {
                let usable = self.usable(candidates);
                let scale = (model.ncols() as f64).powf(0.5 * exponent);
                let found = Clouds::of_conditions(model, data, &usable)?
                    .iter()
                    .map(|clouds| energy_distance(&clouds.model.view(), &clouds.data.view(), exponent))
                    .map(|found| found.map(|e| (e.value, e.d_model)))
                    .collect::<Result<Vec<_>, LossError>>()?;
                Ok(over_conditions(model.dim(), &usable, scale, found))
            }
        }
    }

    /// Conditions with enough trials for the method.
    fn usable<'a>(&self, candidates: &'a [Candidates]) -> Vec<&'a Candidates> {
        let least = self.n_least();
        let is_enough = |c: &&Candidates| c.model.len() >= least && c.data.len() >= least;
        candidates.iter().filter(is_enough).collect()
    }

    /// The mean over sessions of [`Method::of_session`] (of the energy distance with those of its parts, where it has them),
    /// for features that are there: the floor of the loss, null models.
    ///
    /// # Shapes
    /// `model`: features `[K, F]` for each session of `data`, normalised like it; `candidates` one list per session; an
    /// empty list leaves the session out. Sessions are compared in parallel and summed in order.
    ///
    /// # Errors
    /// As [`Method::of_session`]; [`LossError::Shape`] if lists differ in length, [`LossError::NoData`] if no session can
    /// be compared.
    pub fn of_features(
        &self,
        model: &[Array2<f64>],
        data: &DataFeatures,
        candidates: &[Vec<Candidates>],
    ) -> Result<(f64, Vec<Option<SessionLoss>>), LossError> {
        self.of_features_by(&Processor, model, data, candidates)
    }

    /// As [`Method::of_features`], where all Sinkhorn divergences are computed at once by `solver`.
    ///
    /// # Errors
    /// As [`Method::of_features`], and those of the solver.
    pub fn of_features_by<S: Divergences>(
        &self,
        solver: &S,
        model: &[Array2<f64>],
        data: &DataFeatures,
        candidates: &[Vec<Candidates>],
    ) -> Result<(f64, Vec<Option<SessionLoss>>), S::Error> {
        check_shape("sessions of model features", &[model.len()], &[data.sessions.len()])?;
        check_shape("candidate lists", &[candidates.len()], &[data.sessions.len()])?;
        let sessions = match *self {
            Self::Sinkhorn(sinkhorn) => self.soft_sessions(&sinkhorn, solver, model, data, candidates)?,
            Self::Hard | Self::Energy { .. } => data
                .sessions
                .par_iter()
                .zip(model)
                .zip(candidates)
                .map(|((session, model), candidates)| whole_and_parts(self, &model.view(), session, candidates))
                .collect::<Result<_, LossError>>()?,
        };
        let values: Vec<f64> = sessions.iter().flatten().map(|session| session.value).collect();
        if values.is_empty() {
            return Err(S::Error::from(LossError::NoData {
                what: "trial matching",
                reason: match self.n_least() {
                    1 => "no session shares a stimulus condition with the model's trials".to_owned(),
                    n => format!("no session has {n} trials of a stimulus condition of which the model has {n} too"),
                },
            }));
        }
        Ok((crate::statistics::mean(&values), sessions))
    }

    /// The clouds of all sessions and conditions, compared at once.
    fn soft_sessions<S: Divergences>(
        &self,
        sinkhorn: &Sinkhorn,
        solver: &S,
        model: &[Array2<f64>],
        data: &DataFeatures,
        candidates: &[Vec<Candidates>],
    ) -> Result<Vec<Option<SessionLoss>>, S::Error> {
        let usable: Vec<Vec<&Candidates>> = candidates.iter().map(|c| self.usable(c)).collect();
        let mut clouds = Vec::new();
        for ((session, model), usable) in data.sessions.iter().zip(model).zip(&usable) {
            let (model, data) = (model.view(), session.features.view());
            clouds.extend(Clouds::of_conditions(&model, &data, usable)?);
        }
        let found = solver.divergences(sinkhorn, &clouds)?;
        check_shape("divergences", &[found.len()], &[clouds.len()])?;
        let mut found = found.into_iter();
        let sessions = model.iter().zip(&usable);
        Ok(sessions
            .map(|(model, usable)| soft(sinkhorn, model.dim(), usable, found.by_ref().take(usable.len())))
            .collect())
    }
}

/// [`Method::of_session`]; with `by_part` and P > 1 parts
///
/// $$\ell + \frac1P \sum_p \ell_p$$
///
/// with ℓ_p of the features of each population and of each trace of behaviour by themselves. Why: among all features the
/// noise of many neurons is most of the distance of two trials, and a gap that one of the parts has between kinds of
/// trials makes little of it.
fn whole_and_parts(
    method: &Method,
    model: &ArrayView2<'_, f64>,
    session: &SessionFeatures,
    candidates: &[Candidates],
) -> Result<Option<SessionLoss>, LossError> {
    let data = session.features.view();
    let Some(mut whole) = method.of_session(model, &data, candidates)? else {
        return Ok(None);
    };
    let n_parts = session.populations.len() + session.channels.len();
    if matches!(method, Method::Energy { by_part: true, .. }) && n_parts > 1 {
        let width = model.ncols() / n_parts;
        for p in 0..n_parts {
            let columns = s![.., p * width..(p + 1) * width];
            let Some(part) = method.of_session(&model.slice(columns), &data.slice(columns), candidates)? else {
                continue;
            };
            let share = (n_parts as f64).recip();
            whole.value += share * part.value;
            whole.d_features.slice_mut(columns).scaled_add(share, &part.d_features);
        }
    }
    Ok(Some(whole))
}

/// The comparison of one session.
#[derive(Debug, Clone)]
pub struct SessionLoss {
    /// ℓ, without a coefficient.
    pub value: f64,
    /// Gradient with respect to the model's features `[K, F]`.
    pub d_features: Array2<f64>,
}

impl Clouds {
    /// The trials of each condition.
    fn of_conditions(
        model: &ArrayView2<'_, f64>,
        data: &ArrayView2<'_, f64>,
        candidates: &[&Candidates],
    ) -> Result<Vec<Self>, LossError> {
        let of_condition = |c: &&Candidates| {
            check_indices("candidate model trials", &c.model, model.nrows())?;
            check_indices("candidate data trials", &c.data, data.nrows())?;
            Ok(Self {
                model: model.select(Axis(0), &c.model),
                data: data.select(Axis(0), &c.data),
            })
        };
        candidates.iter().map(of_condition).collect()
    }
}

/// Divergences of the conditions of one session, as its loss.
fn soft(
    sinkhorn: &Sinkhorn,
    dim: (usize, usize),
    candidates: &[&Candidates],
    found: impl IntoIterator<Item = Divergence>,
) -> Option<SessionLoss> {
    let n_features = dim.1 as f64;
    let scale = match sinkhorn.cost {
        Cost::Distance => n_features.sqrt(),
        Cost::HalfSquare => n_features,
    };
    let found = found.into_iter().map(|d| (d.value, d.d_model));
    over_conditions(dim, candidates, scale, found)
}

/// Sums a distance between clouds, and its gradient, over conditions; none without any. `dim` is `[K, F]` of the model.
fn over_conditions(
    dim: (usize, usize),
    candidates: &[&Candidates],
    scale: f64,
    found: impl IntoIterator<Item = (f64, Array2<f64>)>,
) -> Option<SessionLoss> {
    let smaller = |c: &Candidates| c.model.len().min(c.data.len()) as f64;
    let all: f64 = candidates.iter().map(|c| smaller(c)).sum();
    let mut sum = SessionLoss {
        value: 0.0,
        d_features: Array2::zeros(dim),
    };
    for (candidates, (value, d_model)) in candidates.iter().zip(found) {
        let weight = smaller(candidates) / all / scale;
        sum.value += weight * value;
        for (row, d) in candidates.model.iter().zip(d_model.outer_iter()) {
            sum.d_features.row_mut(*row).scaled_add(weight, &d);
        }
    }
    (!candidates.is_empty()).then_some(sum)
}

/// Value and gradient of the trial loss.
#[derive(Debug, Clone)]
pub struct TrialLoss {
    /// Mean over the sessions that could be compared (without the coefficient, 20 or 100 in the published program).
    pub value: f64,
    /// Of each session; none where it has no candidates.
    pub sessions: Vec<Option<f64>>,
    /// Gradient with respect to the model's population traces `[K, T, G]`.
    pub d_traces: Array3<f64>,
    /// Gradient with respect to the model's behaviour `[K, T, B]`, if it was given.
    pub d_behaviour: Option<Array3<f64>>,
}

/// The trial loss of a batch of model trials: [`Method::of_features`] of their features.
///
/// # Shapes
/// `traces` `[K, T, G]`: mean spikes of each population ([`crate::statistics::Populations`]);
/// `behaviour` `[K, T, B]`, both NaN from where on a trial is masked ([`crate::statistics::mask_beyond`]); `candidates` one list per session of `data`, made by
/// [`crate::trial_matching::TrialSubset::candidates`]. Allocates O(K·T·(G + B)).
///
/// # Errors
/// [`LossError::Shape`], [`LossError::Index`], [`LossError::NonFinite`] for arrays that disagree;
/// [`LossError::NoData`] if no session can be compared.
///
/// # Source
/// Sourmpis et al. 2023, L_trial as programmed (averaged over sessions, where the paper sums).
pub fn trial_loss(
    method: &Method,
    data: &DataFeatures,
    filters: &Filters,
    traces: &ArrayView3<'_, f64>,
    behaviour: Option<&ArrayView3<'_, f64>>,
    candidates: &[Vec<Candidates>],
) -> Result<TrialLoss, LossError> {
    trial_loss_by(data, filters, traces, behaviour, |model| {
        method.of_features(model, data, candidates)
    })
}

/// As [`trial_loss`], by any comparison of the model's features `[K, F]`, one array for each session of `data`: its value,
/// and the gradient at the features of each session that takes part (in which the mean over sessions is not yet).
///
/// # Errors
/// As [`trial_loss`], and those of the comparison.
pub fn trial_loss_by<E: From<LossError>>(
    data: &DataFeatures,
    filters: &Filters,
    traces: &ArrayView3<'_, f64>,
    behaviour: Option<&ArrayView3<'_, f64>>,
    compare: impl FnOnce(&[Array2<f64>]) -> Result<(f64, Vec<Option<SessionLoss>>), E>,
) -> Result<TrialLoss, E> {
    let (n_trials, n_bins, n_groups) = traces.dim();
    check_shape("bins of the model traces", &[n_bins], &[filters.n_bins()])?;
    if let Some(behaviour) = behaviour {
        let expected = [n_trials, n_bins, behaviour.shape()[2]];
        check_shape("model behaviour", behaviour.shape(), &expected)?;
    }
    let filtered_behaviour = behaviour.map(|traces| filters.features(traces));
    let population = filters.features(traces);
    let model = features_of_model(data, &population, filtered_behaviour.as_ref())?;
    let (value, sessions) = compare(&model)?;

    let n_compared = sessions.iter().flatten().count();
    let mut d_population = Array3::zeros((n_trials, filters.n_feature_bins(), n_groups));
    let mut d_behaviour = filtered_behaviour.map(|b| Array3::zeros(b.raw_dim()));
    for (session, loss) in data.sessions.iter().zip(&sessions) {
        if let Some(loss) = loss {
            add_session(session, loss, n_compared, &mut d_population, d_behaviour.as_mut());
        }
    }
    // What stands in masked bins is no activity of the model.
    for ((k, o, g), _) in population.indexed_iter().filter(|(_, value)| value.is_nan()) {
        d_population[[k, o, g]] = 0.0;
        if let Some(d_behaviour) = &mut d_behaviour {
            d_behaviour.slice_mut(s![k, o, ..]).fill(0.0);
        }
    }
    Ok(TrialLoss {
        value,
        sessions: sessions.iter().map(|s| s.as_ref().map(|s| s.value)).collect(),
        d_traces: filters.features_adjoint(&d_population.view()),
        d_behaviour: d_behaviour.map(|d| filters.features_adjoint(&d.view())),
    })
}

/// Features `[K, F]` of model trials for each session of `data`; `behaviour` is filtered already.
///
/// # Errors
/// [`LossError::Shape`] for traces that don't fit.
pub fn model_features(
    data: &DataFeatures,
    filters: &Filters,
    traces: &ArrayView3<'_, f64>,
    behaviour: Option<&Array3<f64>>,
) -> Result<Vec<Array2<f64>>, LossError> {
    features_of_model(data, &filters.features(traces), behaviour)
}

fn features_of_model(
    data: &DataFeatures,
    population: &Array3<f64>,
    behaviour: Option<&Array3<f64>>,
) -> Result<Vec<Array2<f64>>, LossError> {
    let sessions = data.sessions.par_iter();
    sessions
        .map(|session| session.of_model(&population.view(), behaviour))
        .collect()
}

fn add_session(
    session: &SessionFeatures,
    loss: &SessionLoss,
    n_compared: usize,
    d_population: &mut Array3<f64>,
    d_behaviour: Option<&mut Array3<f64>>,
) {
    let d_features = loss.d_features.mapv(|d| d / n_compared as f64);
    session.add_gradient(&d_features.view(), &mut d_population.view_mut(), d_behaviour);
}
