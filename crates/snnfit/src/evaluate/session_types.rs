//! Trial types of one session's trials from the session's own neurons.
//!
//! The same rule types model trials, recorded ones and null models, so that what is compared within types is cut at
//! the same boundaries on all sides. Not the typing behind `hit_fraction` ([`super::trial_types`]): that looks at the
//! neurons of all sessions, which only the model has in one trial.

use std::collections::BTreeMap;

use losses::LossError;
use losses::bootstrap::bootstrap_ci95;
use losses::metrics::{MetricValue, TemplateOptions, TrialTypeTemplates, fraction_of_type};
use losses::statistics::{RecordedSession, Recording, mean};
use ndarray::{Array2, Array3, Axis};
use rand::Rng;

use super::context::Context;
use super::inputs::EvaluationInputs;
use super::{interval, report};

/// Templates of one session's training trials over its populations (the areas whose features are compared).
pub(super) struct SessionTyper {
    /// Columns of each population.
    columns: Vec<Vec<usize>>,
    templates: TrialTypeTemplates,
}

impl SessionTyper {
    /// Errors as [`TrialTypeTemplates::new`].
    pub(super) fn new(inputs: &EvaluationInputs<'_>, session: usize) -> Result<Self, LossError> {
        Self::of_columns(inputs, session, |_| true)
    }

    /// Of some of the session's columns; populations that have none of them don't count.
    ///
    /// # Errors
    /// As [`TrialTypeTemplates::new`].
    pub(super) fn of_columns(
        inputs: &EvaluationInputs<'_>,
        session: usize,
        is_wanted: impl Fn(usize) -> bool,
    ) -> Result<Self, LossError> {
        let groups = inputs.populations.groups.iter().filter(|g| g.session == session);
        let wanted = groups.map(|group| group.columns.iter().copied().filter(|c| is_wanted(*c)).collect());
        let columns: Vec<Vec<usize>> = wanted.filter(|columns: &Vec<usize>| !columns.is_empty()).collect();
        let recorded = &inputs.recording.sessions()[session];
        let of_population = |(g, columns): (usize, &Vec<usize>)| columns.iter().map(move |&c| (g, c)).collect();
        let members: Vec<Vec<(usize, usize)>> = columns.iter().enumerate().map(of_population).collect();
        let (areas, kept): (Vec<usize>, Vec<usize>) = members.concat().into_iter().unzip();
        // A recording of this session alone, with its populations for areas.
        let alone = Recording::new(
            vec![RecordedSession {
                counts: recorded.counts.select(Axis(2), &kept),
                neurons: kept.iter().map(|&c| recorded.neurons[c]).collect(),
                areas,
                presence: recorded.presence.as_ref().map(|own| own.of_columns(&kept)),
                ..recorded.clone()
            }],
            (0..columns.len()).map(|g| g.to_string()).collect(),
            inputs.recording.n_neurons(),
            inputs.recording.n_conditions(),
        )?;
        let options = TemplateOptions {
            has_behaviour: inputs.has_behaviour,
            ..TemplateOptions::default()
        };
        let train = vec![inputs.train[session].clone()];
        let templates = TrialTypeTemplates::new(&alone, &train, *inputs.filters, options)?;
        Ok(Self { columns, templates })
    }

    /// Whether there are types to tell apart.
    pub(super) fn is_typing(&self) -> bool {
        self.templates.types().len() > 1
    }

    /// The templates.
    pub(super) fn templates(&self) -> &TrialTypeTemplates {
        &self.templates
    }

    /// Some complete trials as the templates see them ([`TrialTypeTemplates::rows`]).
    pub(super) fn rows(&self, session: &RecordedSession, trials: &[usize]) -> Result<Array2<f64>, LossError> {
        self.templates.rows(&self.traces(session, trials).view())
    }

    /// Mean spikes of each population compared `[n, T, A]`.
    fn traces(&self, session: &RecordedSession, trials: &[usize]) -> Array3<f64> {
        let n_bins = session.counts.len_of(Axis(1));
        let areas = self.templates.areas();
        let mut traces = Array3::zeros((trials.len(), n_bins, areas.len()));
        for (mut trace, &k) in traces.outer_iter_mut().zip(trials) {
            for (a, &area) in areas.iter().enumerate() {
                let columns = &self.columns[area];
                for (t, at_bin) in session.counts.index_axis(Axis(0), k).outer_iter().enumerate() {
                    let sum: u32 = columns.iter().map(|&c| u32::from(at_bin[c])).sum();
                    trace[[t, a]] = f64::from(sum) / columns.len() as f64;
                }
            }
        }
        traces
    }

    /// Types of some complete trials, of the model or of anything else that has the session's neurons.
    pub(super) fn classify(&self, session: &RecordedSession, trials: &[usize]) -> Result<Vec<usize>, LossError> {
        let traces = self.traces(session, trials);
        let channels = self.templates.channels();
        let behaviour = session.behaviour.as_ref().filter(|_| !channels.is_empty());
        let behaviour = behaviour.map(|b| b.select(Axis(0), trials).select(Axis(2), channels));
        self.templates
            .classify(&traces.view(), behaviour.as_ref().map(|b| b.view()).as_ref())
    }
}

/// A session's model trials by its templates.
struct Typed {
    trials: Vec<usize>,
    types: Vec<usize>,
    /// What each counts: conditions count as much as among the session's recorded trials.
    weights: Vec<f64>,
}

/// `session_type_fraction/<name>` of the model and `session_type_fraction_data/<name>` of the recorded trials, both by the
/// templates of each session; means over sessions.
///
/// Where kinds of trials overlap, trials of one are taken for the other, of a perfect model as of the recording: unlike
/// `type_fraction`, whose recorded share is that of the labels, the two are then still equal. Neither nulls nor a
/// reference: both are made of the very trials that the templates are averages of.
pub(super) fn fractions(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Vec<MetricValue>, LossError> {
    let inputs = context.inputs;
    let (mut model, mut recorded) = (Vec::new(), Vec::new());
    for (s, trials) in context.test.usable.iter().enumerate() {
        if trials.is_empty() {
            continue;
        }
        let typer = report::if_defined(SessionTyper::new(inputs, s))?.filter(SessionTyper::is_typing);
        let Some(typer) = typer else { continue };
        let session = &inputs.recording.sessions()[s];
        recorded.push(typer.classify(session, trials)?);
        let conditions: Vec<usize> = trials.iter().map(|&k| session.conditions[k]).collect();
        let seen = &context.model.recording.sessions()[s];
        let of_model = &context.model.usable[s];
        let types = typer.classify(seen, of_model)?;
        let of_trials: Vec<usize> = of_model.iter().map(|&k| seen.conditions[k]).collect();
        model.push(Typed {
            trials: of_model.clone(),
            types,
            weights: weights(&of_trials, &conditions),
        });
    }
    if recorded.is_empty() {
        return Err(LossError::NoData {
            what: "shares of trial types in sessions",
            reason: "no session has training trials of two types".to_owned(),
        });
    }
    let n_resamples = inputs.settings.n_resamples;
    let n_recorded = recorded.iter().map(Vec::len).sum();
    let mut metrics = Vec::new();
    for (label, name) in inputs.trial_types.iter().enumerate() {
        // The trials of the model are the same in all sessions: each of them has one vote.
        let votes = votes(&model, label);
        let (n, value) = (votes.len(), mean(&votes).min(1.0));
        let ci95 = if value > 0.0 && value < 1.0 {
            // Resampled stimuli don't have the recorded shares: votes of all trials may add up to more than all.
            interval::of_mean(&[votes], n_resamples, rng)?.map(|bound| bound.min(1.0))
        } else {
            interval::wilson(if value > 0.0 { n } else { 0 }, n)
        };
        metrics.push(MetricValue {
            ci95: Some(ci95),
            ..MetricValue::new(format!("session_type_fraction/{name}"), value, n, "1")
        });
        let value = mean(
            &recorded
                .iter()
                .map(|types| fraction_of_type(types, label))
                .collect::<Vec<_>>(),
        );
        let ci95 = if value > 0.0 && value < 1.0 {
            bootstrap_ci95(&recorded, n_resamples, rng, |sessions| {
                let share =
                    |types: &Vec<&usize>| types.iter().filter(|&&&y| y == label).count() as f64 / types.len() as f64;
                mean(&sessions.iter().map(share).collect::<Vec<_>>())
            })?
        } else {
            interval::wilson(if value > 0.0 { n_recorded } else { 0 }, n_recorded)
        };
        metrics.push(MetricValue {
            ci95: Some(ci95),
            ..MetricValue::new(format!("session_type_fraction_data/{name}"), value, n_recorded, "1")
        });
    }
    Ok(metrics)
}

/// What each trial counts so that its condition has the share that it has among `recorded` ones; their mean is 1 if all
/// conditions of the recorded trials occur.
fn weights(conditions: &[usize], recorded: &[usize]) -> Vec<f64> {
    let share = |of: &[usize], condition: usize| fraction_of_type(of, condition);
    let weight = |&condition: &usize| share(recorded, condition) / share(conditions, condition);
    conditions.iter().map(weight).collect()
}

/// Mean over sessions, for each trial of the model, of what it counts where it is of a type and 0 where it is not.
fn votes(sessions: &[Typed], label: usize) -> Vec<f64> {
    let mut votes = BTreeMap::<usize, f64>::new();
    for typed in sessions {
        for ((&k, &y), weight) in typed.trials.iter().zip(&typed.types).zip(&typed.weights) {
            let vote = if y == label { *weight } else { 0.0 };
            *votes.entry(k).or_default() += vote / sessions.len() as f64;
        }
    }
    votes.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_count_as_much_as_in_the_recording() {
        // Three of four model trials are of condition 0, one of four recorded ones.
        let (model, recorded) = ([0, 0, 1, 0], [1, 0, 1, 1]);
        let of = weights(&model, &recorded);
        assert_eq!(of, [1.0 / 3.0, 1.0 / 3.0, 3.0, 1.0 / 3.0]);
        // All of condition 1 are of type 5: three quarters of the trials.
        let typed = |types: &[usize]| Typed {
            trials: vec![3, 4, 6, 9],
            types: types.to_vec(),
            weights: of.clone(),
        };
        let one = votes(&[typed(&[2, 2, 5, 2])], 5);
        assert_eq!(one, [0.0, 0.0, 3.0, 0.0]);
        assert!((mean(&one) - 0.75).abs() < 1e-12);
        // Sessions that see the same trials are no more trials.
        let both = [typed(&[2, 2, 5, 2]), typed(&[2, 2, 5, 5])];
        let two = votes(&both, 5);
        assert_eq!(two.len(), 4);
        assert!((mean(&two) - 0.5 * (0.75 + 0.75 + 1.0 / 12.0)).abs() < 1e-12);
    }
}
