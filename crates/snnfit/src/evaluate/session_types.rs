//! Trial types of one session's trials from the session's own neurons.
//!
//! The same rule types model trials, recorded ones and null models, so that what is compared within types is cut at
//! the same boundaries on all sides. Not the typing behind `hit_fraction` ([`super::trial_types`]): that looks at the
//! neurons of all sessions, which only the model has in one trial.

use losses::LossError;
use losses::bootstrap::bootstrap_ci95;
use losses::metrics::{MetricValue, TemplateOptions, TrialTypeTemplates, fraction_of_type};
use losses::statistics::{RecordedSession, Recording, mean};
use ndarray::{Array2, Array3, Axis};
use rand::Rng;

use super::context::Context;
use super::inputs::EvaluationInputs;
use super::report;
use super::stand_in::StandIn;

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

    /// Types of those of the complete trials whose behaviour is known, if the templates have some.
    fn classify_known(&self, session: &RecordedSession, trials: &[usize]) -> Result<Vec<usize>, LossError> {
        let channels = self.templates.channels();
        let is_known = |k: &usize| match &session.behaviour {
            Some(behaviour) => channels
                .iter()
                .all(|&b| behaviour.slice(ndarray::s![*k, .., b]).iter().all(|v| v.is_finite())),
            None => channels.is_empty(),
        };
        let known: Vec<usize> = trials.iter().copied().filter(is_known).collect();
        self.classify(session, &known)
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

/// `session_type_fraction/<name>` of the model and `session_type_fraction_data/<name>` of the recorded trials, both by the
/// templates of each session; means over sessions.
///
/// Where kinds of trials overlap, trials of one are taken for the other, of a perfect model as of the recording: unlike
/// `type_fraction`, whose recorded share is that of the labels, the two are then still equal.
pub(super) fn fractions(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Vec<MetricValue>, LossError> {
    let inputs = context.inputs;
    let mut typers = Vec::new();
    for session in 0..inputs.recording.sessions().len() {
        let typer = report::if_defined(SessionTyper::new(inputs, session))?;
        typers.push(typer.filter(SessionTyper::is_typing));
    }
    // Sessions without types are left out on all sides.
    let types = |stand_in: &StandIn<'_>| {
        let sessions = stand_in.recording.sessions().iter().zip(&stand_in.usable);
        let of_session = |((session, trials), typer): ((&RecordedSession, &Vec<usize>), &Option<SessionTyper>)| {
            let typed = typer.as_ref().map(|typer| typer.classify_known(session, trials));
            typed.transpose().map(Option::unwrap_or_default)
        };
        sessions
            .zip(&typers)
            .map(of_session)
            .collect::<Result<Vec<Vec<usize>>, LossError>>()
    };
    let recorded = types(&context.test.stand_in)?;
    if recorded.iter().all(Vec::is_empty) {
        return Err(LossError::NoData {
            what: "shares of trial types in sessions",
            reason: "no session has training trials of two types".to_owned(),
        });
    }
    let of = context.each(types)?;
    let n_resamples = inputs.settings.n_resamples;
    let mut interval = |types: &[Vec<usize>], label: usize| {
        bootstrap_ci95(types, n_resamples, rng, |sessions| {
            let of_session = |types: &Vec<&usize>| {
                let types: Vec<usize> = types.iter().map(|y| **y).collect();
                share(&types, label)
            };
            mean(&sessions.iter().filter_map(of_session).collect::<Vec<_>>())
        })
    };
    let value = |types: &Vec<Vec<usize>>, label: usize| {
        mean(&types.iter().filter_map(|types| share(types, label)).collect::<Vec<_>>())
    };
    let n_of = |types: &[Vec<usize>]| types.iter().map(Vec::len).sum();
    let mut metrics = Vec::new();
    for (label, name) in inputs.trial_types.iter().enumerate() {
        metrics.push(MetricValue {
            ci95: Some(interval(&of.model, label)?),
            ..of.metric(
                &format!("session_type_fraction/{name}"),
                n_of(&of.model),
                "1",
                |types| value(types, label),
            )
        });
        metrics.push(MetricValue {
            ci95: Some(interval(&recorded, label)?),
            ..MetricValue::new(
                format!("session_type_fraction_data/{name}"),
                value(&recorded, label),
                n_of(&recorded),
                "1",
            )
        });
    }
    Ok(metrics)
}

/// Share of one session's trials that are of a type; none without trials.
fn share(types: &[usize], label: usize) -> Option<f64> {
    (!types.is_empty()).then(|| fraction_of_type(types, label))
}
