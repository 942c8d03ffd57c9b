//! What can stand in the model's place: the model, a null model, the training data; each with equal numbers of trials.

use std::borrow::Cow;
use std::collections::BTreeMap;

use losses::LossError;
use losses::metrics::TrialTypeTemplates;
use losses::nulls::NullModel;
use losses::statistics::{FeatureOptions, RecordedFeatures, RecordedSession, Recording, TrialSelection};
use ndarray::{Array3, Axis};
use rand::Rng;
use rand::seq::SliceRandom;

use super::inputs::EvaluationInputs;

/// Numbers of trials of each session and stimulus condition.
pub(super) type Numbers = Vec<BTreeMap<usize, usize>>;

/// Trials in the model's place.
pub(super) struct StandIn<'a> {
    pub(super) recording: Cow<'a, Recording>,
    /// Complete trials, with finite behaviour where it is compared.
    pub(super) usable: TrialSelection,
    /// Trials that end early, where the model's do as recorded ones: averages over trials take them too. In the order in which
    /// [`Self::for_averages`] takes them.
    short: TrialSelection,
    /// As many as model and nulls have.
    pub(super) generated: TrialSelection,
    /// As many as model, nulls and training data have.
    pub(super) compared: TrialSelection,
    /// As many as all these and the test data have.
    pub(super) matched: TrialSelection,
    /// Filtered population traces, if there are populations.
    pub(super) features: Option<RecordedFeatures>,
    /// Trial type by template of each trial of each session, if there are templates.
    pub(super) types: Option<Vec<Vec<Option<usize>>>>,
    /// Whether all sessions see the same trials, as they do in the model.
    pub(super) is_simultaneous: bool,
}

impl<'a> StandIn<'a> {
    /// The model's trials, seen through every session's neurons.
    pub(super) fn model(inputs: &EvaluationInputs<'_>) -> Result<Self, LossError> {
        let recording = model_recording(inputs)?;
        let all = recording.all_trials();
        Self::new(Cow::Owned(recording), &all, inputs, true)
    }

    /// A null model, generated from the training trials; with some more trials than the model, so that no
    /// condition has fewer.
    pub(super) fn null(null: NullModel, inputs: &EvaluationInputs<'_>, rng: &mut dyn Rng) -> Result<Self, LossError> {
        let n_model = inputs.model.conditions.len();
        let n_trials = n_model + n_model / 4 + 8;
        let smoothing = inputs.settings.null_smoothing_bins;
        let recording = null.generate(inputs.recording, inputs.train, n_trials, smoothing, rng)?;
        let all = recording.all_trials();
        Self::new(Cow::Owned(recording), &all, inputs, false)
    }

    /// Recorded trials.
    pub(super) fn recorded(inputs: &EvaluationInputs<'a>, selection: &TrialSelection) -> Result<Self, LossError> {
        Self::new(Cow::Borrowed(inputs.recording), selection, inputs, false)
    }

    fn new(
        recording: Cow<'a, Recording>,
        selection: &TrialSelection,
        inputs: &EvaluationInputs<'_>,
        is_simultaneous: bool,
    ) -> Result<Self, LossError> {
        let options = FeatureOptions {
            has_behaviour: inputs.has_behaviour,
            ..FeatureOptions::default()
        };
        let features = if inputs.populations.is_empty() {
            None
        } else {
            Some(RecordedFeatures::new(
                &recording,
                inputs.populations,
                inputs.filters,
                options,
            )?)
        };
        let usable = usable_trials(&recording, selection, inputs.has_behaviour);
        let nothing = vec![Vec::new(); usable.len()];
        let short = match inputs.model.valid_bins {
            Some(_) => short_trials(&recording, selection),
            None => nothing.clone(),
        };
        Ok(Self {
            recording,
            usable,
            short,
            generated: nothing.clone(),
            compared: nothing.clone(),
            matched: nothing,
            features,
            types: None,
            is_simultaneous,
        })
    }

    /// Usable trials of each session and condition.
    pub(super) fn numbers(&self) -> Numbers {
        numbers(&self.recording, &self.usable)
    }

    /// Random usable trials, as many of each session and condition as asked for.
    pub(super) fn draw(&self, wanted: &Numbers, rng: &mut dyn Rng) -> TrialSelection {
        draw(&self.recording, &self.usable, wanted, rng)
    }

    /// Puts trials that end early into a random order, so that any share of them is from all over the session. Draws nothing where
    /// there are none.
    pub(super) fn shuffle_short(&mut self, rng: &mut dyn Rng) {
        for trials in &mut self.short {
            trials.shuffle(rng);
        }
    }

    /// A selection of complete trials and as large a share of those that end early, of each condition: for averages over trials,
    /// which take each trial over the bins that it has. The selection itself where the model's trials are all complete.
    pub(super) fn for_averages(&self, complete: &TrialSelection) -> TrialSelection {
        let sessions = self.recording.sessions().iter().enumerate();
        let with_short = |(s, session): (usize, &RecordedSession)| {
            let mut of_condition = BTreeMap::<usize, Vec<usize>>::new();
            for &k in &self.short[s] {
                of_condition.entry(session.conditions[k]).or_default().push(k);
            }
            let mut all = complete[s].clone();
            for (condition, short) in of_condition {
                let n = |trials: &[usize]| trials.iter().filter(|&&k| session.conditions[k] == condition).count();
                let share = n(&complete[s]) as f64 / n(&self.usable[s]).max(1) as f64;
                let n_short = (share * short.len() as f64).round() as usize;
                all.extend(short.into_iter().take(n_short));
            }
            all.sort_unstable();
            all
        };
        sessions.map(with_short).collect()
    }

    /// Types every usable trial by template.
    ///
    /// Templates compare areas over the neurons of all sessions, as the model has them at once. Sessions that were
    /// recorded (or generated) one by one are completed: a trial of one session gets a random trial with the same
    /// condition and trial type, or else of the same condition, from every other session.
    pub(super) fn classify(
        &mut self,
        templates: &TrialTypeTemplates,
        inputs: &EvaluationInputs<'_>,
        rng: &mut dyn Rng,
    ) -> Result<(), LossError> {
        let composer = super::trial_types::Composer::new(self, templates, inputs);
        let types = if self.is_simultaneous {
            // Sessions share the trials, so the first one speaks for all.
            let own: Vec<usize> = self.usable.first().cloned().unwrap_or_default();
            let found = composer.classify(0, &own, rng)?;
            vec![found; self.usable.len()]
        } else {
            let sessions = self.usable.iter().enumerate();
            sessions
                .map(|(s, trials)| composer.classify(s, trials, rng))
                .collect::<Result<_, _>>()?
        };
        self.types = Some(types);
        Ok(())
    }
}

/// The model's trials as every session's neurons see them. Allocates K·T counts for each neuron of a session.
pub(crate) fn model_recording(inputs: &EvaluationInputs<'_>) -> Result<Recording, LossError> {
    let model = &inputs.model;
    let (n_trials, n_bins, _) = model.counts.dim();
    let sessions = inputs.recording.sessions().iter().map(|session| RecordedSession {
        name: session.name.clone(),
        counts: model.counts.select(Axis(2), &session.neurons),
        valid_bins: model
            .valid_bins
            .map_or_else(|| vec![n_bins; n_trials], <[usize]>::to_vec),
        conditions: model.conditions.to_vec(),
        trial_types: vec![0; n_trials],
        neurons: session.neurons.clone(),
        areas: session.areas.clone(),
        presence: session.presence.as_ref().map(|own| own.of_simulated(n_trials)),
        // Only where the session recorded it, so that features of both have the same columns.
        behaviour: session.behaviour.as_ref().and(model.behaviour).map(|traces| {
            let mut own = Array3::from_elem(traces.raw_dim(), f64::NAN);
            for b in session.channels() {
                own.index_axis_mut(Axis(2), b).assign(&traces.index_axis(Axis(2), b));
            }
            own
        }),
    });
    Recording::new(
        sessions.collect(),
        inputs.recording.area_names().to_vec(),
        inputs.recording.n_neurons(),
        inputs.recording.n_conditions(),
    )
}

/// Trials of a selection that have bins, but not all.
fn short_trials(recording: &Recording, selection: &TrialSelection) -> TrialSelection {
    let sessions = recording.sessions().iter().zip(selection);
    sessions
        .map(|(session, trials)| {
            let is_short = |k: &usize| (1..recording.n_bins()).contains(&session.valid_bins[*k]);
            trials.iter().copied().filter(is_short).collect()
        })
        .collect()
}

/// Usable trials of each session and condition.
pub(super) fn numbers(recording: &Recording, selection: &TrialSelection) -> Numbers {
    let count = |(session, trials): (&RecordedSession, &Vec<usize>)| {
        let mut of_condition = BTreeMap::new();
        for &k in trials {
            *of_condition.entry(session.conditions[k]).or_insert(0) += 1;
        }
        of_condition
    };
    recording.sessions().iter().zip(selection).map(count).collect()
}

/// Random trials of a selection, as many of each session and condition as asked for, in ascending order.
pub(super) fn draw(
    recording: &Recording,
    selection: &TrialSelection,
    wanted: &Numbers,
    rng: &mut dyn Rng,
) -> TrialSelection {
    let sessions = recording.sessions().iter().zip(selection).zip(wanted);
    sessions
        .map(|((session, trials), wanted)| {
            let mut of_condition = BTreeMap::<usize, Vec<usize>>::new();
            for &k in trials {
                of_condition.entry(session.conditions[k]).or_default().push(k);
            }
            let mut drawn = Vec::new();
            for (condition, mut trials) in of_condition {
                trials.shuffle(rng);
                trials.truncate(wanted.get(&condition).copied().unwrap_or(0));
                drawn.append(&mut trials);
            }
            drawn.sort_unstable();
            drawn
        })
        .collect()
}

/// The least number of each session and condition; conditions that one of them lacks are absent.
pub(super) fn least<'n>(all: impl IntoIterator<Item = &'n Numbers>) -> Numbers {
    let mut all = all.into_iter();
    let mut least = all.next().cloned().unwrap_or_default();
    for numbers in all {
        for (least, of_condition) in least.iter_mut().zip(numbers) {
            least.retain(|condition, n| {
                let other = of_condition.get(condition).copied().unwrap_or(0);
                *n = other.min(*n);
                *n > 0
            });
        }
    }
    least
}

/// Complete trials of a selection, with finite behaviour where it is compared and recorded.
pub(super) fn usable_trials(recording: &Recording, selection: &TrialSelection, has_behaviour: bool) -> TrialSelection {
    let sessions = recording.sessions().iter().zip(selection);
    sessions
        .map(|(session, trials)| {
            let channels = if has_behaviour { session.channels() } else { Vec::new() };
            let is_usable =
                |k: &usize| session.valid_bins[*k] == recording.n_bins() && session.has_finite_behaviour(*k, &channels);
            trials.iter().copied().filter(is_usable).collect()
        })
        .collect()
}
