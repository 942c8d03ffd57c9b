//! The stand-ins of one evaluation, reduced to equal numbers of trials.

use std::collections::BTreeMap;

use losses::LossError;
use losses::metrics::{MetricValue, TemplateOptions, TrialTypeTemplates};
use losses::nulls::NullModel;
use losses::statistics::TrialSelection;
use rand::Rng;

use super::inputs::EvaluationInputs;
use super::report::SessionTrials;
use super::stand_in::{Numbers, StandIn, draw, least, numbers, usable_trials};
use super::{EvaluateError, report};
use crate::few_spikes;

/// Everything metrics need.
pub(super) struct Context<'a> {
    pub(super) inputs: &'a EvaluationInputs<'a>,
    pub(super) model: StandIn<'a>,
    /// All null models, or none (see `is_held_out`).
    pub(super) nulls: Vec<(NullModel, StandIn<'a>)>,
    pub(super) train: StandIn<'a>,
    /// Whether training and test trials have none in common. If they do, there are neither nulls nor a reference:
    /// both are made of the training trials, and would be compared with themselves.
    is_held_out: bool,
    pub(super) test: TestTrials<'a>,
    /// Mean rate of each neuron in the training data, Hz; NaN for those that PSTH metrics leave out.
    pub(super) rates_hz: Vec<f64>,
    /// Neurons that PSTH metrics leave out, because they have few spikes in the training data.
    pub(super) few_spikes: Vec<usize>,
    /// Whether trial types could be told apart, or why not.
    pub(super) templates: Result<TrialTypeTemplates, LossError>,
}

/// The recorded trials that the model is compared with.
pub(super) struct TestTrials<'a> {
    /// Its features; the selections of the stand-in itself are not used.
    pub(super) stand_in: StandIn<'a>,
    /// All trials of the conditions that are compared, incomplete ones too.
    pub(super) all: TrialSelection,
    /// The usable ones of them.
    pub(super) usable: TrialSelection,
    /// As many as every stand-in has matched ones.
    pub(super) matched: TrialSelection,
}

impl<'a> Context<'a> {
    pub(super) fn new(inputs: &'a EvaluationInputs<'a>, rng: &mut dyn Rng) -> Result<Self, EvaluateError> {
        // Also checks both selections against the recording.
        let rates_hz = inputs.psth_rates_hz()?;
        inputs.recording.rates_hz(inputs.test, inputs.bin_ms)?;
        let train_usable = usable_trials(inputs.recording, inputs.train, inputs.has_behaviour);
        let test_usable = usable_trials(inputs.recording, inputs.test, inputs.has_behaviour);
        let n_of = |selection: &TrialSelection| selection.iter().map(Vec::len).sum::<usize>();
        let no_trials = || EvaluateError::NoTrials {
            n_model: inputs.model.conditions.len(),
            n_train: n_of(&train_usable),
            split: inputs.split.clone(),
            n_test: n_of(&test_usable),
        };
        if n_of(&train_usable) == 0 || n_of(&test_usable) == 0 || inputs.model.conditions.is_empty() {
            return Err(no_trials());
        }

        let mut model = StandIn::model(inputs)?;
        let mut train = StandIn::recorded(inputs, inputs.train)?;
        let is_held_out = !inputs
            .train
            .iter()
            .zip(inputs.test)
            .any(|(a, b)| a.iter().any(|k| b.contains(k)));
        let mut nulls = Vec::with_capacity(NullModel::ALL.len());
        for null in NullModel::ALL.into_iter().filter(|_| is_held_out) {
            nulls.push((null, StandIn::null(null, inputs, rng)?));
        }

        let of_test = numbers(inputs.recording, &test_usable);
        let of_nulls: Vec<Numbers> = nulls.iter().map(|(_, null)| null.numbers()).collect();
        let generated = least(std::iter::once(&model.numbers()).chain(&of_nulls));
        let compared = least([&generated, &train.numbers()]);
        let matched = least([&compared, &of_test]);
        if matched.iter().all(BTreeMap::is_empty) {
            return Err(no_trials());
        }
        let stand_ins = nulls.iter_mut().map(|(_, null)| null).chain([&mut model, &mut train]);
        for stand_in in stand_ins {
            stand_in.generated = stand_in.draw(&generated, rng);
            stand_in.compared = stand_in.draw(&compared, rng);
            stand_in.matched = stand_in.draw(&matched, rng);
            stand_in.shuffle_short(rng);
        }
        // Recorded trials of conditions that some stand-in lacks can't be compared with anything.
        let in_common = |selection: &TrialSelection| -> TrialSelection {
            let sessions = inputs.recording.sessions().iter().zip(selection).zip(&compared);
            sessions
                .map(|((session, trials), compared)| {
                    let is_common = |k: &usize| compared.contains_key(&session.conditions[*k]);
                    trials.iter().copied().filter(is_common).collect()
                })
                .collect()
        };
        let test = TestTrials {
            all: in_common(inputs.test),
            usable: in_common(&test_usable),
            matched: draw(inputs.recording, &test_usable, &matched, rng),
            stand_in: StandIn::recorded(inputs, inputs.test)?,
        };
        let mut context = Self {
            inputs,
            model,
            nulls,
            train,
            is_held_out,
            test,
            rates_hz,
            few_spikes: inputs.few_spikes()?,
            templates: templates(inputs),
        };
        context.classify(rng)?;
        Ok(context)
    }

    fn classify(&mut self, rng: &mut dyn Rng) -> Result<(), LossError> {
        let Ok(templates) = &self.templates else { return Ok(()) };
        let nulls = self.nulls.iter_mut().map(|(_, null)| null);
        for stand_in in nulls.chain([&mut self.model, &mut self.train]) {
            stand_in.classify(templates, self.inputs, rng)?;
        }
        Ok(())
    }

    /// Numbers of trials, for the report.
    pub(super) fn session_trials(&self) -> Vec<SessionTrials> {
        let sessions = self.inputs.recording.sessions().iter().enumerate();
        sessions
            .map(|(s, session)| SessionTrials {
                session: session.name.clone(),
                train: self.inputs.train[s].len(),
                test: self.inputs.test[s].len(),
                compared: self.model.compared[s].len(),
                matched: self.model.matched[s].len(),
            })
            .collect()
    }

    /// What a reader of the report must know.
    pub(super) fn notes(&self) -> Vec<String> {
        let trained = "evaluated on trials that the network was trained on: no null models and no train–test reference, \
                       because both are made of the same trials; compare with the test trials";
        let mut notes = Vec::new();
        notes.extend((!self.is_held_out).then(|| trained.to_owned()));
        if self.inputs.model.valid_bins.is_some() {
            let unequal = "trials end at different bins, the model's as the recorded ones that they take events of: averages over \
                           trials (psth_*, neuron_loss, rates) take each over the bins that it has, all other metrics complete trials only; null models are made of complete trials, so these averages have none";
            notes.push(unequal.to_owned());
        }
        notes.extend(self.templates.as_ref().ok().and_then(completed_in_words));
        if !self.few_spikes.is_empty() {
            let sessions = self.inputs.recording.sessions().iter();
            let n_recorded = sessions.map(|session| session.neurons.len()).sum();
            notes.push(format!(
                "{} (statistics.min_spikes): not in psth_pearson, its variants and neuron_loss",
                few_spikes::in_words(self.few_spikes.len(), n_recorded, self.inputs.settings.min_spikes)
            ));
        }
        notes
    }

    /// As [`Self::each`], of an average over trials that end at any bin. Null models are made of complete trials, which may be
    /// unlike short ones, and would be judged by both: they are absent where the model's trials end early.
    pub(super) fn each_average<X>(
        &self,
        mut of: impl FnMut(&StandIn<'a>) -> Result<X, LossError>,
    ) -> Result<Each<X>, LossError> {
        if self.inputs.model.valid_bins.is_none() {
            return self.each(of);
        }
        Ok(Each {
            model: of(&self.model)?,
            nulls: Vec::new(),
            train: self.reference(of)?,
        })
    }

    /// A quantity for the training data in the model's place, if it is defined.
    fn reference<X>(&self, of: impl FnOnce(&StandIn<'a>) -> Result<X, LossError>) -> Result<Option<X>, LossError> {
        if self.is_held_out {
            report::if_defined(of(&self.train))
        } else {
            Ok(None)
        }
    }

    /// A quantity for the model, for each null model, and for the training data in the model's place.
    ///
    /// A null model or reference for which it is undefined is absent; for the model that is an error. There are
    /// none of them for an evaluation on the training trials themselves.
    pub(super) fn each<X>(
        &self,
        mut of: impl FnMut(&StandIn<'a>) -> Result<X, LossError>,
    ) -> Result<Each<X>, LossError> {
        let model = of(&self.model)?;
        let mut nulls = Vec::with_capacity(self.nulls.len());
        for (null, stand_in) in &self.nulls {
            if let Some(value) = report::if_defined(of(stand_in))? {
                nulls.push((*null, value));
            }
        }
        let train = self.reference(of)?;
        Ok(Each { model, nulls, train })
    }
}

/// What of the templates is estimated, if anything is.
fn completed_in_words(templates: &TrialTypeTemplates) -> Option<String> {
    let completed = templates.completed();
    (completed.n_neurons > 0).then(|| {
        format!(
            "{} of {} sessions have no training trials of some trial type: the averages of their {} neurons (of {}) in it, \
             which templates of types by population activity (type_fraction) need, are estimated from their other types and \
             from the sessions that have both",
            completed.n_sessions, completed.of_sessions, completed.n_neurons, completed.of_neurons
        )
    })
}

/// Templates of the training trials.
pub(super) fn templates(inputs: &EvaluationInputs<'_>) -> Result<TrialTypeTemplates, LossError> {
    let options = TemplateOptions {
        has_behaviour: inputs.has_behaviour,
        ..TemplateOptions::default()
    };
    TrialTypeTemplates::new(inputs.recording, inputs.train, *inputs.filters, options)
}

/// A quantity of every stand-in.
pub(super) struct Each<X> {
    pub(super) model: X,
    pub(super) nulls: Vec<(NullModel, X)>,
    pub(super) train: Option<X>,
}

impl<X> Each<X> {
    /// The metric that is a function of the quantity.
    pub(super) fn metric(&self, name: &str, n: usize, unit: &str, value: impl Fn(&X) -> f64) -> MetricValue {
        let nulls = self.nulls.iter().map(|(null, x)| (null.name().to_owned(), value(x)));
        MetricValue {
            nulls: nulls.filter(|(_, value)| value.is_finite()).collect(),
            reference_train_test: self.train.as_ref().map(&value).filter(|value| value.is_finite()),
            ..MetricValue::new(name, value(&self.model), n, unit)
        }
    }
}
