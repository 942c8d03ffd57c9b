//! Trial types of the model by template matching, and their shares.

use std::collections::{BTreeMap, BTreeSet};

use losses::LossError;
use losses::metrics::{MetricValue, TrialTypeTemplates, fraction_of_type};
use losses::statistics::RecordedSession;
use ndarray::{Array2, Array3, ArrayView3, Axis};
use rand::{Rng, RngExt};
use rayon::prelude::*;

use super::context::Context;
use super::inputs::EvaluationInputs;
use super::interval;
use super::stand_in::StandIn;

/// Puts the sessions of a stand-in together to trials of all neurons, and types them.
pub(super) struct Composer<'s> {
    stand_in: &'s StandIn<'s>,
    templates: &'s TrialTypeTemplates,
    has_behaviour: bool,
    /// Spikes of each session by area.
    spikes: Vec<AreaSpikes>,
    /// Usable trials by condition and trial type `[S]`.
    by_label: Vec<BTreeMap<(usize, usize), Vec<usize>>>,
}

/// Spikes of a session's neurons of each area compared. Sessions are put together many times from the same trials.
struct AreaSpikes {
    /// Areas with neurons, by place in the templates, and how many.
    areas: Vec<(usize, usize)>,
    /// `[K, T, areas]`.
    sums: Array3<u32>,
}

impl AreaSpikes {
    /// Of the neurons `[areas]` that the templates are of.
    fn new(session: &RecordedSession, neurons: &[BTreeSet<usize>]) -> Self {
        let columns: Vec<Vec<usize>> = neurons
            .iter()
            .map(|of_area| {
                (0..session.neurons.len())
                    .filter(|&c| of_area.contains(&session.neurons[c]))
                    .collect()
            })
            .collect();
        let with_neurons: Vec<usize> = (0..neurons.len()).filter(|&a| !columns[a].is_empty()).collect();
        let (n_trials, n_bins, _) = session.counts.dim();
        let mut sums = Array3::zeros((n_trials, n_bins, with_neurons.len()));
        for (mut sums, counts) in sums.outer_iter_mut().zip(session.counts.outer_iter()) {
            for (mut sums, counts) in sums.outer_iter_mut().zip(counts.outer_iter()) {
                for (sum, &a) in sums.iter_mut().zip(&with_neurons) {
                    *sum = columns[a].iter().map(|&c| u32::from(counts[c])).sum();
                }
            }
        }
        Self {
            areas: with_neurons.into_iter().map(|a| (a, columns[a].len())).collect(),
            sums,
        }
    }
}

impl<'s> Composer<'s> {
    pub(super) fn new(
        stand_in: &'s StandIn<'_>,
        templates: &'s TrialTypeTemplates,
        inputs: &EvaluationInputs<'_>,
    ) -> Self {
        let sessions = stand_in.recording.sessions();
        let by_label = sessions.iter().zip(&stand_in.usable).map(|(session, trials)| {
            let mut rows = BTreeMap::<_, Vec<usize>>::new();
            for &k in trials {
                rows.entry((session.conditions[k], session.trial_types[k]))
                    .or_default()
                    .push(k);
            }
            rows
        });
        let neurons = templates
            .neurons()
            .iter()
            .map(|of_area| of_area.iter().copied().collect());
        let neurons: Vec<BTreeSet<usize>> = neurons.collect();
        Self {
            spikes: sessions
                .par_iter()
                .map(|session| AreaSpikes::new(session, &neurons))
                .collect(),
            by_label: by_label.collect(),
            stand_in,
            templates,
            has_behaviour: inputs.has_behaviour && !templates.channels().is_empty(),
        }
    }

    /// Types of the given trials of one session; by index of the trial, `None` for the others and for trials
    /// without behaviour where the templates have some.
    pub(super) fn classify(
        &self,
        session: usize,
        trials: &[usize],
        rng: &mut dyn Rng,
    ) -> Result<Vec<Option<usize>>, LossError> {
        let sessions = self.stand_in.recording.sessions();
        let mut types = vec![None; sessions.get(session).map_or(0, |s| s.conditions.len())];
        let (traces, behaviour) = self.compose(session, trials, rng);
        let found = self.classes(&traces.view(), &behaviour)?;
        for (row, &k) in trials.iter().enumerate() {
            let is_known = !self.has_behaviour || behaviour.index_axis(Axis(0), row).iter().all(|v| v.is_finite());
            types[k] = is_known.then(|| found[row]);
        }
        Ok(types)
    }

    /// Mean spikes of each area compared `[n, T, A]` of the given trials of one session.
    pub(super) fn traces(&self, session: usize, trials: &[usize], rng: &mut dyn Rng) -> Array3<f64> {
        self.compose(session, trials, rng).0
    }

    /// Traces of the areas `[n, T, A]` and behaviour `[n, T, B]`, NaN where a trial has none.
    fn compose(&self, session: usize, trials: &[usize], rng: &mut dyn Rng) -> (Array3<f64>, Array3<f64>) {
        let n_bins = self.stand_in.recording.n_bins();
        let n_areas = self.templates.areas().len();
        let mut traces = Array3::zeros((trials.len(), n_bins, n_areas));
        let mut behaviour = Array3::from_elem((trials.len(), n_bins, self.templates.channels().len()), f64::NAN);
        for (row, &k) in trials.iter().enumerate() {
            let members = self.members(session, k, rng);
            let mut trace = traces.index_axis_mut(Axis(0), row);
            let mut n_neurons = vec![0usize; n_areas];
            for (spikes, member) in self.spikes.iter().zip(&members) {
                let Some(k) = *member else { continue };
                for (&(a, n), sums) in spikes.areas.iter().zip(spikes.sums.index_axis(Axis(0), k).columns()) {
                    for (total, &sum) in trace.column_mut(a).iter_mut().zip(sums) {
                        *total += f64::from(sum);
                    }
                    n_neurons[a] += n;
                }
            }
            for (a, &n) in n_neurons.iter().enumerate() {
                trace.column_mut(a).mapv_inplace(|sum| sum / n.max(1) as f64);
            }
            if self.has_behaviour
                && let Some(found) = self.behaviour(session, &members)
            {
                behaviour.index_axis_mut(Axis(0), row).assign(&found);
            }
        }
        (traces, behaviour)
    }

    fn classes(&self, traces: &ArrayView3<'_, f64>, behaviour: &Array3<f64>) -> Result<Vec<usize>, LossError> {
        let behaviour = self.has_behaviour.then(|| behaviour.view());
        self.templates.classify(traces, behaviour.as_ref())
    }

    /// The trial of each session that makes up a trial of all neurons.
    fn members(&self, session: usize, trial: usize, rng: &mut dyn Rng) -> Vec<Option<usize>> {
        let sessions = self.stand_in.recording.sessions();
        if self.stand_in.is_simultaneous {
            return vec![Some(trial); sessions.len()];
        }
        let condition = sessions[session].conditions[trial];
        let label = (condition, sessions[session].trial_types[trial]);
        let mut member = |s: usize| {
            if s == session {
                return Some(trial);
            }
            let same_label = self.by_label[s].get(&label).map_or(&[][..], Vec::as_slice);
            let same_condition: Vec<usize>;
            let rows = if same_label.is_empty() {
                let labels = self.by_label[s].range((condition, 0)..=(condition, usize::MAX));
                same_condition = labels.flat_map(|(_, rows)| rows.iter().copied()).collect();
                &same_condition
            } else {
                same_label
            };
            (!rows.is_empty()).then(|| rows[rng.random_range(0..rows.len())])
        };
        (0..sessions.len()).map(&mut member).collect()
    }

    /// Behaviour `[T, B]` of a trial of all neurons: each trace that of its own session, or else of the first that has it.
    fn behaviour(&self, session: usize, members: &[Option<usize>]) -> Option<Array2<f64>> {
        let sessions = self.stand_in.recording.sessions();
        let channels = self.templates.channels();
        let mut joined = Array2::zeros((self.stand_in.recording.n_bins(), channels.len()));
        for (mut channel, &b) in joined.axis_iter_mut(Axis(1)).zip(channels) {
            let order = std::iter::once(session).chain((0..sessions.len()).filter(|&s| s != session));
            let found = order
                .filter_map(|s| Some((sessions[s].behaviour.as_ref()?, members[s]?)))
                .filter(|(behaviour, _)| b < behaviour.len_of(Axis(2)))
                .map(|(behaviour, k)| behaviour.slice(ndarray::s![k, .., b]))
                .find(|trace| trace.iter().all(|value| value.is_finite()))?;
            channel.assign(&found);
        }
        Some(joined)
    }
}

/// `type_fraction/<name>` and `hit_fraction` of the model with their recorded values (`…_data`), all trials pooled;
/// `type_fraction_published/<name>` where there is behaviour ([`TrialTypeTemplates::as_published`]).
///
/// The model is typed from trials that all its neurons share. Nulls and training trials are put together from
/// sessions recorded one by one, so that variability shared by a session's neurons averages out over sessions:
/// `reference_train_test`, the share that recorded trials get by template, is optimistic about the method.
pub(super) fn fractions(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Vec<MetricValue>, LossError> {
    let templates = context.templates.as_ref().map_err(Clone::clone)?;
    if templates.types().len() < 2 {
        return Err(LossError::NoData {
            what: "trial-type fractions",
            reason: "the training trials are all of one trial type".to_owned(),
        });
    }
    let types = context.each(|stand_in| pooled_types(stand_in))?;
    let published = as_published(context, templates, rng)?;
    let n_resamples = context.inputs.settings.n_resamples;
    let recorded = recorded_types(context);
    let n_recorded = recorded.iter().map(Vec::len).sum();
    let all_recorded: Vec<usize> = recorded.iter().flatten().copied().collect();
    let mut metrics = Vec::new();
    for (label, type_name) in context.inputs.trial_types.iter().enumerate() {
        let of_model = vec![types.model.clone()];
        let mut model = types.metric("", types.model.len(), "1", |types| fraction_of_type(types, label));
        model.ci95 = Some(interval::of_fraction(&of_model, label, n_resamples, rng)?);
        let data = MetricValue {
            ci95: Some(interval::of_fraction(&recorded, label, n_resamples, rng)?),
            ..MetricValue::new("", fraction_of_type(&all_recorded, label), n_recorded, "1")
        };
        let mut push = |of_model: String, of_data: String| {
            metrics.push(MetricValue {
                name: of_model,
                ..model.clone()
            });
            metrics.push(MetricValue {
                name: of_data,
                ..data.clone()
            });
        };
        push(
            format!("type_fraction/{type_name}"),
            format!("type_fraction_data/{type_name}"),
        );
        if type_name.eq_ignore_ascii_case("hit") {
            push("hit_fraction".to_owned(), "hit_fraction_data".to_owned());
        }
        if let Some(types) = &published {
            let value = fraction_of_type(types, label);
            let found = MetricValue::new(format!("type_fraction_published/{type_name}"), value, types.len(), "1");
            metrics.push(MetricValue {
                ci95: Some(interval::of_fraction(
                    std::slice::from_ref(types),
                    label,
                    n_resamples,
                    rng,
                )?),
                ..found
            });
        }
    }
    Ok(metrics)
}

/// Types of the model's trials as published, with behaviour that isn't scaled; none without behaviour.
fn as_published(
    context: &Context<'_>,
    templates: &TrialTypeTemplates,
    rng: &mut dyn Rng,
) -> Result<Option<Vec<usize>>, LossError> {
    if !context.inputs.has_behaviour || templates.channels().is_empty() {
        return Ok(None);
    }
    let published = templates.as_published();
    let Some(trials) = context.model.usable.first() else {
        return Ok(None);
    };
    let types = Composer::new(&context.model, &published, context.inputs).classify(0, trials, rng)?;
    Ok(Some(types.into_iter().flatten().collect()))
}

/// Types of all usable trials; of the model each trial once.
fn pooled_types(stand_in: &StandIn<'_>) -> Result<Vec<usize>, LossError> {
    let types = stand_in.types.as_ref().map_or(&[][..], Vec::as_slice);
    let n_sessions = if stand_in.is_simultaneous { 1 } else { types.len() };
    let pooled: Vec<usize> = types.iter().take(n_sessions).flatten().flatten().copied().collect();
    if pooled.is_empty() {
        return Err(LossError::NoData {
            what: "trial-type fractions",
            reason: "no trial could be compared with the templates".to_owned(),
        });
    }
    Ok(pooled)
}

/// Recorded trial types of the evaluated trials.
fn recorded_types(context: &Context<'_>) -> Vec<Vec<usize>> {
    let sessions = context.inputs.recording.sessions().iter().zip(context.inputs.test);
    sessions
        .map(|(session, trials)| trials.iter().map(|&k| session.trial_types[k]).collect())
        .collect()
}
