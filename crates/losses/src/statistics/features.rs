//! Trial features: filtered population traces (and behaviour) of single trials, one row per trial.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, ArrayViewMut3, Axis, s};

use super::{Filters, Populations, RecordedSession, Recording, TrialSelection};
use crate::LossError;
use crate::error::check_shape;

/// A population trace with a smaller standard deviation over trials and bins is not rescaled.
///
/// Source: the published program.
pub const FEATURE_STD_FLOOR: f64 = 1e-4;

/// How features are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeatureOptions {
    /// Append the filtered behaviour of the session, not normalised here.
    pub has_behaviour: bool,
    /// Normalise each population by the data's scalar mean and standard deviation.
    pub is_z_scored: bool,
    /// Standard deviations below it become 1.
    pub std_floor: f64,
    /// Trials that are not complete take part too, masked: see [`RecordedFeatures::new`].
    pub is_masked: bool,
}

impl Default for FeatureOptions {
    fn default() -> Self {
        Self {
            has_behaviour: false,
            is_z_scored: true,
            std_floor: FEATURE_STD_FLOOR,
            is_masked: false,
        }
    }
}

/// Trials of a session that have no features, for the log.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SkippedTrials {
    /// Name of the session.
    pub session: String,
    /// Trials shorter than T.
    pub n_incomplete: usize,
    /// Complete trials with NaN or infinite behaviour.
    pub n_without_behaviour: usize,
}

/// Filtered but not yet normalised traces of every recorded trial; computed once per run.
#[derive(Debug, Clone)]
pub struct RecordedFeatures {
    sessions: Vec<SessionTraces>,
    options: FeatureOptions,
    n_sessions: usize,
    skipped: Vec<SkippedTrials>,
}

#[derive(Debug, Clone)]
struct SessionTraces {
    session: usize,
    populations: Vec<usize>,        // [g] indices into Populations
    population: Array3<f64>,        // [K, T2, g]
    behaviour: Option<Array3<f64>>, // [K, T2, recorded channels]
    channels: Vec<usize>,           // which these are
    is_usable: Vec<bool>,           // [K]
    conditions: Vec<usize>,
    trial_types: Vec<usize>,
}

/// Features of the selected trials of one session, and what it takes to make the model's.
///
/// Columns are `[population 0, T2 bins | population 1 | … | behaviour channel 0 | …]`.
#[derive(Debug, Clone)]
pub struct SessionFeatures {
    /// Index of the session in the recording.
    pub session: usize,
    /// Indices of its populations (the axis G of the traces).
    pub populations: Vec<usize>,
    /// Mean over the data's trials and bins of each of them, 0 if not z-scored.
    pub mean: Vec<f64>,
    /// Unbiased standard deviation likewise, 1 below the floor or if not z-scored.
    pub std: Vec<f64>,
    /// Behaviour channels appended: those that the session recorded, ascending.
    pub channels: Vec<usize>,
    /// What stands in masked bins of each of them: the mean of the data where they were recorded.
    pub behaviour_mean: Vec<f64>,
    /// The features `[rows, F]`.
    pub features: Array2<f64>,
    /// The trial of the session that each row is `[rows]`.
    pub trials: Vec<usize>,
    /// Stimulus condition of each row `[rows]`.
    pub conditions: Vec<usize>,
    /// Trial type of each row `[rows]`.
    pub trial_types: Vec<usize>,
}

/// Features of the selected trials of all sessions that have any.
#[derive(Debug, Clone)]
pub struct DataFeatures {
    /// The sessions, in ascending order.
    pub sessions: Vec<SessionFeatures>,
}

impl RecordedFeatures {
    /// Filters the population traces (mean count over the neurons of a population) and behaviour of all trials.
    ///
    /// A trial has features if all its bins are valid and, where behaviour is asked for, the traces that its session
    /// recorded are finite; sessions without behaviour have those of their neurons alone. Allocates `[K, T, g]` per session while it runs.
    ///
    /// With [`FeatureOptions::is_masked`], trials that have at least one feature bin take part too. A feature bin whose windows
    /// reach beyond the trial's end is the mean of the data: 0, for behaviour [`SessionFeatures::behaviour_mean`]. In the same
    /// way [`SessionFeatures::of_model`] masks bins where the model's traces are NaN, with gradient 0. Where both have the same
    /// distribution of lengths, so have the masks, and nobody's bins are compared with those that nobody recorded.
    ///
    /// # Errors
    /// [`LossError::Shape`] if the filters are for another number of bins.
    pub fn new(
        recording: &Recording,
        populations: &Populations,
        filters: &Filters,
        options: FeatureOptions,
    ) -> Result<Self, LossError> {
        Self::of_groups(recording, populations, 0..populations.len(), filters, options)
    }

    /// As [`Self::new`], of some of the populations: features of the model are still made from the traces of all.
    ///
    /// # Errors
    /// As there.
    pub fn of_groups(
        recording: &Recording,
        populations: &Populations,
        groups: std::ops::Range<usize>,
        filters: &Filters,
        options: FeatureOptions,
    ) -> Result<Self, LossError> {
        check_shape("bins of the filters", &[filters.n_bins()], &[recording.n_bins()])?;
        let mut sessions = Vec::new();
        let mut skipped = Vec::new();
        for (s, session) in recording.sessions().iter().enumerate() {
            let indices: Vec<usize> = groups.clone().filter(|&g| populations.groups[g].session == s).collect();
            if indices.is_empty() {
                continue;
            }
            let columns: Vec<&[usize]> = indices
                .iter()
                .map(|&g| populations.groups[g].columns.as_slice())
                .collect();
            let mut traces = population_traces(&session.counts.view(), &columns);
            if options.is_masked {
                mask_beyond(&mut traces, &session.valid_bins);
            }
            let population = filters.features(&traces.view());
            let channels = if options.has_behaviour {
                session.channels()
            } else {
                Vec::new()
            };
            let behaviour = session.behaviour.as_ref().filter(|_| !channels.is_empty());
            let behaviour = behaviour.map(|traces| traces.select(Axis(2), &channels));
            let behaviour = behaviour.map(|traces| filters.features(&traces.view()));
            let is_usable = if options.is_masked {
                with_a_bin(session, &population, behaviour.as_ref(), &mut skipped)
            } else {
                usable_trials(session, &channels, recording.n_bins(), &mut skipped)
            };
            sessions.push(SessionTraces {
                session: s,
                populations: indices,
                population,
                behaviour,
                channels,
                is_usable,
                conditions: session.conditions.clone(),
                trial_types: session.trial_types.clone(),
            });
        }
        Ok(Self {
            sessions,
            options,
            n_sessions: recording.sessions().len(),
            skipped,
        })
    }

    /// Trials without features, by session; sessions without such trials are not listed.
    pub fn skipped(&self) -> &[SkippedTrials] {
        &self.skipped
    }

    /// Features of the selected trials, normalised by their own mean and standard deviation.
    ///
    /// # Errors
    /// [`LossError::Shape`], [`LossError::Index`] for a selection of other sessions or trials;
    /// [`LossError::NoData`] if no selected trial has features.
    ///
    /// # Source
    /// Sourmpis et al. 2023 as programmed: one scalar mean and standard deviation per (session, area)
    /// over all trials and bins, where the paper says one per time bin.
    pub fn normalized(&self, selection: &TrialSelection) -> Result<DataFeatures, LossError> {
        let mut sessions = Vec::new();
        for traces in &self.sessions {
            let trials = self.selected(traces, selection)?;
            if trials.is_empty() {
                continue;
            }
            let population = traces.population.select(Axis(0), &trials);
            let (mean, std) = self.moments(&population.view());
            let pick = |labels: &[usize]| trials.iter().map(|&k| labels[k]).collect();
            let mut session = SessionFeatures {
                session: traces.session,
                populations: traces.populations.clone(),
                mean,
                std,
                channels: traces.channels.clone(),
                behaviour_mean: Vec::new(),
                features: Array2::zeros((0, 0)),
                conditions: pick(&traces.conditions),
                trial_types: pick(&traces.trial_types),
                trials: Vec::new(),
            };
            let behaviour = traces.behaviour.as_ref().map(|b| b.select(Axis(0), &trials));
            let of_channel = |trace: ArrayView2<'_, f64>| {
                let known: Vec<f64> = trace.iter().copied().filter(|value| !value.is_nan()).collect();
                super::mean(&known)
            };
            let channels = behaviour.iter().flat_map(|b| b.axis_iter(Axis(2)));
            session.behaviour_mean = channels.map(of_channel).collect();
            session.features = session.rows(&population.view(), behaviour.as_ref());
            session.trials = trials;
            sessions.push(session);
        }
        if sessions.is_empty() {
            return Err(LossError::NoData {
                what: "trial features",
                reason: "no selected trial is complete and has finite behaviour; shorten the time \
                         window or leave the behaviour out"
                    .to_owned(),
            });
        }
        Ok(DataFeatures { sessions })
    }

    /// The selected trials that have features; of a session without populations, all of them.
    ///
    /// # Errors
    /// [`LossError::Shape`], [`LossError::Index`] for a selection of other sessions or trials.
    pub fn usable(&self, selection: &TrialSelection) -> Result<TrialSelection, LossError> {
        let mut usable = selection.clone();
        for traces in &self.sessions {
            usable[traces.session] = self.selected(traces, selection)?;
        }
        Ok(usable)
    }

    /// Features of the selected trials normalised like `reference`: training data, null models or
    /// simulated trials in the place of the model. The result has `reference`'s sessions.
    ///
    /// # Errors
    /// [`LossError::Shape`], [`LossError::Index`] as above; [`LossError::NoData`] if a session of
    /// `reference` is missing here or made of other populations or channels, or has no selected trial.
    pub fn normalized_like(
        &self,
        reference: &DataFeatures,
        selection: &TrialSelection,
    ) -> Result<DataFeatures, LossError> {
        let mut sessions = Vec::with_capacity(reference.sessions.len());
        for wanted in &reference.sessions {
            let Some(session) = self.session_like(wanted, selection)? else {
                return Err(LossError::NoData {
                    what: "trial features",
                    reason: format!(
                        "session {} has no selected trial with the populations and behaviour of the \
                         reference",
                        wanted.session
                    ),
                });
            };
            sessions.push(session);
        }
        Ok(DataFeatures { sessions })
    }

    /// As [`Self::normalized_like`] with those of `reference`'s sessions that have a selected trial.
    ///
    /// # Errors
    /// [`LossError::Shape`], [`LossError::Index`] as above; [`LossError::NoData`] if no session is left.
    pub fn normalized_like_where_selected(
        &self,
        reference: &DataFeatures,
        selection: &TrialSelection,
    ) -> Result<DataFeatures, LossError> {
        let mut sessions = Vec::with_capacity(reference.sessions.len());
        for wanted in &reference.sessions {
            sessions.extend(self.session_like(wanted, selection)?);
        }
        if sessions.is_empty() {
            return Err(LossError::NoData {
                what: "trial features",
                reason: "no selected trial has the populations and behaviour of the reference".to_owned(),
            });
        }
        Ok(DataFeatures { sessions })
    }

    /// One session like `wanted`; none without a selected trial with its populations and behaviour.
    fn session_like(
        &self,
        wanted: &SessionFeatures,
        selection: &TrialSelection,
    ) -> Result<Option<SessionFeatures>, LossError> {
        let traces = self.sessions.iter().find(|traces| {
            traces.session == wanted.session
                && traces.populations == wanted.populations
                && traces.channels == wanted.channels
        });
        let Some(traces) = traces else { return Ok(None) };
        let trials = self.selected(traces, selection)?;
        if trials.is_empty() {
            return Ok(None);
        }
        let population = traces.population.select(Axis(0), &trials);
        let behaviour = traces.behaviour.as_ref().map(|b| b.select(Axis(0), &trials));
        Ok(Some(SessionFeatures {
            features: wanted.rows(&population.view(), behaviour.as_ref()),
            conditions: trials.iter().map(|&k| traces.conditions[k]).collect(),
            trial_types: trials.iter().map(|&k| traces.trial_types[k]).collect(),
            trials,
            ..wanted.clone()
        }))
    }

    fn selected(&self, traces: &SessionTraces, selection: &TrialSelection) -> Result<Vec<usize>, LossError> {
        check_shape("trial selection", &[selection.len()], &[self.n_sessions])?;
        let trials = &selection[traces.session];
        crate::error::check_indices("selected trials", trials, traces.is_usable.len())?;
        Ok(trials.iter().copied().filter(|&k| traces.is_usable[k]).collect())
    }

    /// Scalar mean and unbiased standard deviation of each population over trials and bins.
    fn moments(&self, population: &ArrayView3<'_, f64>) -> (Vec<f64>, Vec<f64>) {
        population
            .axis_iter(Axis(2))
            .map(|trace| {
                if !self.options.is_z_scored {
                    return (0.0, 1.0);
                }
                // Masked bins are NaN.
                let values: Vec<f64> = trace.iter().copied().filter(|value| !value.is_nan()).collect();
                let std = super::unbiased_variance(&values).sqrt();
                let std = if std >= self.options.std_floor { std } else { 1.0 };
                (super::mean(&values), std)
            })
            .unzip()
    }
}

impl SessionFeatures {
    /// Features of model trials, normalised by the data's moments: `[K, F]`.
    ///
    /// # Shapes
    /// `population` `[K, T2, G]` (all populations), `behaviour` `[K, T2, B]`, both filtered by
    /// [`Filters::features`]. Bins where the populations are NaN are masked.
    ///
    /// # Errors
    /// [`LossError::Shape`] if a population or the behaviour is missing, or the bins differ.
    pub fn of_model(
        &self,
        population: &ArrayView3<'_, f64>,
        behaviour: Option<&Array3<f64>>,
    ) -> Result<Array2<f64>, LossError> {
        let (n_trials, n_bins, n_groups) = population.dim();
        crate::error::check_indices("populations of the model", &self.populations, n_groups)?;
        let mut own_behaviour = None;
        if let Some(last) = self.channels.last() {
            let found = behaviour.map_or(&[][..], |b| b.shape());
            let n_channels = found.get(2).copied().unwrap_or(0).max(last + 1);
            check_shape("filtered model behaviour", found, &[n_trials, n_bins, n_channels])?;
            own_behaviour = behaviour.map(|b| b.select(Axis(2), &self.channels));
        }
        let own = population.select(Axis(2), &self.populations);
        let features = self.rows(&own.view(), own_behaviour.as_ref());
        check_shape(
            "model features of a trial",
            &[features.ncols()],
            &[self.features.ncols()],
        )?;
        Ok(features)
    }

    /// Normalises the session's own traces `[K, T2, g]` and appends its own behaviour `[K, T2, channels]`: `[K, F]`.
    fn rows(&self, population: &ArrayView3<'_, f64>, behaviour: Option<&Array3<f64>>) -> Array2<f64> {
        let (n_trials, n_bins, n_groups) = population.dim();
        let mut features = Array2::zeros((n_trials, n_bins * (n_groups + self.channels.len())));
        for (g, trace) in population.axis_iter(Axis(2)).enumerate() {
            let (mean, std) = (self.mean[g], self.std[g]);
            features
                .slice_mut(s![.., g * n_bins..(g + 1) * n_bins])
                .zip_mut_with(&trace, |feature, value| *feature = (value - mean) / std);
        }
        if let Some(behaviour) = behaviour {
            for (b, trace) in behaviour.axis_iter(Axis(2)).enumerate() {
                let block = n_groups + b;
                features
                    .slice_mut(s![.., block * n_bins..(block + 1) * n_bins])
                    .assign(&trace);
            }
        }
        let Some(first) = (n_groups > 0).then(|| population.index_axis(Axis(2), 0)) else {
            return features;
        };
        // Populations count spikes, and are NaN in masked bins only.
        for ((k, o), _) in first.indexed_iter().filter(|(_, value)| value.is_nan()) {
            for g in 0..n_groups {
                features[[k, g * n_bins + o]] = 0.0;
            }
            for (b, mean) in self.behaviour_mean.iter().enumerate() {
                features[[k, (n_groups + b) * n_bins + o]] = *mean;
            }
        }
        features
    }

    /// Adds a gradient at the features `[K, F]` to the gradients at the filtered traces: the adjoint
    /// of [`Self::of_model`].
    ///
    /// # Shapes
    /// `d_population` `[K, T2, G]`, `d_behaviour` `[K, T2, B]`, as given to [`Self::of_model`].
    ///
    /// # Panics
    /// If the shapes are not those that [`Self::of_model`] accepted.
    pub(crate) fn add_gradient(
        &self,
        d_features: &ArrayView2<'_, f64>,
        d_population: &mut ArrayViewMut3<'_, f64>,
        d_behaviour: Option<&mut Array3<f64>>,
    ) {
        let n_bins = d_population.len_of(Axis(1));
        for (g, (&population, std)) in self.populations.iter().zip(&self.std).enumerate() {
            d_population
                .index_axis_mut(Axis(2), population)
                .scaled_add(std.recip(), &d_features.slice(s![.., g * n_bins..(g + 1) * n_bins]));
        }
        if let Some(d_behaviour) = d_behaviour {
            for (b, &channel) in self.channels.iter().enumerate() {
                let block = self.populations.len() + b;
                let mut channel = d_behaviour.index_axis_mut(Axis(2), channel);
                channel += &d_features.slice(s![.., block * n_bins..(block + 1) * n_bins]);
            }
        }
    }
}

/// Makes the bins `[K, T, …]` that trials don't have NaN.
pub fn mask_beyond(traces: &mut Array3<f64>, valid_bins: &[usize]) {
    for (mut trial, &valid) in traces.outer_iter_mut().zip(valid_bins) {
        let valid = valid.min(trial.nrows());
        trial.slice_mut(s![valid.., ..]).fill(f64::NAN);
    }
}

/// Trials with at least one feature bin, and finite behaviour wherever they have one.
fn with_a_bin(
    session: &RecordedSession,
    population: &Array3<f64>,
    behaviour: Option<&Array3<f64>>,
    skipped: &mut Vec<SkippedTrials>,
) -> Vec<bool> {
    let mut report = SkippedTrials {
        session: session.name.clone(),
        n_incomplete: 0,
        n_without_behaviour: 0,
    };
    let is_usable = population.outer_iter().enumerate().map(|(k, trial)| {
        let n_bins = trial.column(0).iter().take_while(|value| !value.is_nan()).count();
        let is_finite = behaviour.is_none_or(|b| b.slice(s![k, ..n_bins, ..]).iter().all(|value| value.is_finite()));
        report.n_incomplete += usize::from(n_bins == 0);
        report.n_without_behaviour += usize::from(n_bins > 0 && !is_finite);
        n_bins > 0 && is_finite
    });
    let is_usable = is_usable.collect();
    if report.n_incomplete + report.n_without_behaviour > 0 {
        skipped.push(report);
    }
    is_usable
}

/// Mean count over the neurons of each population, `[K, T, N_s]` → `[K, T, g]`.
pub(crate) fn population_traces(counts: &ArrayView3<'_, u8>, columns: &[&[usize]]) -> Array3<f64> {
    let (n_trials, n_bins, _) = counts.dim();
    let mut traces = Array3::zeros((n_trials, n_bins, columns.len()));
    for (mut trace, counts) in traces.outer_iter_mut().zip(counts.outer_iter()) {
        for (mut at_bin, counts) in trace.outer_iter_mut().zip(counts.outer_iter()) {
            for (value, columns) in at_bin.iter_mut().zip(columns) {
                let sum: u32 = columns.iter().map(|&c| u32::from(counts[c])).sum();
                *value = f64::from(sum) / columns.len() as f64;
            }
        }
    }
    traces
}

fn usable_trials(
    session: &RecordedSession,
    channels: &[usize],
    n_bins: usize,
    skipped: &mut Vec<SkippedTrials>,
) -> Vec<bool> {
    let mut report = SkippedTrials {
        session: session.name.clone(),
        n_incomplete: 0,
        n_without_behaviour: 0,
    };
    let is_usable = session
        .valid_bins
        .iter()
        .enumerate()
        .map(|(k, &valid)| {
            let is_complete = valid == n_bins;
            let is_finite = session.has_finite_behaviour(k, channels);
            report.n_incomplete += usize::from(!is_complete);
            report.n_without_behaviour += usize::from(is_complete && !is_finite);
            is_complete && is_finite
        })
        .collect();
    if report.n_incomplete + report.n_without_behaviour > 0 {
        skipped.push(report);
    }
    is_usable
}
