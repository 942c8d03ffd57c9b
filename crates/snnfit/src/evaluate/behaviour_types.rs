//! Trial types by behaviour.

use std::collections::BTreeMap;

use losses::LossError;
use losses::metrics::{MetricValue, fraction_of_type};
use ndarray::{ArrayView3, Axis};
use rand::Rng;

use super::context::Context;
use super::inputs::EvaluationInputs;
use super::licks::{Classifier, Task, Threshold, Traces, channels_in_common};
use super::stand_in::StandIn;

/// The trace that a threshold and activity are of.
pub(super) const FIRST: [usize; 1] = [0];

/// `lick_classifier_accuracy` and `type_fraction_classifier/<type>`: types by what a small network says of behaviour.
pub(super) fn by_classifier(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Vec<MetricValue>, LossError> {
    if !context.inputs.has_behaviour {
        return Ok(Vec::new());
    }
    let channels = channels_in_common(context.inputs.recording, context.inputs.train);
    let train = recorded(context, true, &channels)?;
    let task = Task::new(context.inputs.trial_types, &train)?;
    let classifier = Classifier::fit(&task, &train, context.inputs.filters.spike(), rng)?;
    let mut metrics = Vec::new();
    if let Ok(test) = recorded(context, false, &channels) {
        let mut right = Vec::new();
        for traces in &test {
            let licks = classifier.licks(&traces.values.view())?;
            let is_right = |(lick, label): (&bool, &usize)| Some(f64::from(u8::from(*lick == task.is_lick(*label)?)));
            right.push(
                licks
                    .iter()
                    .zip(&traces.types)
                    .filter_map(is_right)
                    .collect::<Vec<f64>>(),
            );
        }
        let n = right.iter().map(Vec::len).sum::<usize>();
        let mean = right.iter().flatten().sum::<f64>() / n as f64;
        metrics.extend((n > 0).then_some(MetricValue {
            ci95: Some(super::interval::of_mean(
                &right,
                context.inputs.settings.n_resamples,
                rng,
            )?),
            ..MetricValue::new("lick_classifier_accuracy", mean, n, "1")
        }));
    }
    let licks = |traces: &Traces| classifier.licks(&traces.values.view());
    let found = fractions(context, "type_fraction_classifier", &task, (&channels, licks), rng)?;
    // The network has seen the training trials, which references and nulls are made of: their labels are what it learnt.
    metrics.extend(found.into_iter().map(|metric| MetricValue {
        nulls: BTreeMap::new(),
        reference_train_test: None,
        ..metric
    }));
    Ok(metrics)
}

/// `lick_threshold` and `type_fraction_threshold/<type>`: types by the height of the first trace after the cue;
/// `type_fraction_threshold_data/<type>` of the recorded trials by the same rule.
pub(super) fn by_threshold(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Vec<MetricValue>, LossError> {
    if !context.inputs.has_behaviour {
        return Ok(Vec::new());
    }
    let rule = lick_rule(context.inputs)?;
    let mut metrics = vec![MetricValue::new(
        "lick_threshold",
        rule.threshold.value,
        rule.n_trials,
        "trace",
    )];
    let licks = |traces: &Traces| Ok(rule.threshold.licks(&traces.values.view()));
    metrics.extend(fractions(
        context,
        "type_fraction_threshold",
        &rule.task,
        (&FIRST, licks),
        rng,
    )?);
    let Ok(test) = recorded(context, false, &FIRST) else {
        return Ok(metrics);
    };
    let types: Vec<Vec<usize>> = test
        .iter()
        .map(|traces| rule.types(&traces.values.view(), &traces.conditions))
        .collect();
    let pooled = types.concat();
    for (label, type_name) in context.inputs.trial_types.iter().enumerate() {
        let value = fraction_of_type(&pooled, label);
        let name = format!("type_fraction_threshold_data/{type_name}");
        metrics.push(MetricValue {
            ci95: Some(super::interval::of_fraction(
                &types,
                label,
                context.inputs.settings.n_resamples,
                rng,
            )?),
            ..MetricValue::new(name, value, pooled.len(), "1")
        });
    }
    Ok(metrics)
}

/// Trial types by the height of the first trace after the cue.
pub(super) struct LickRule {
    task: Task,
    threshold: Threshold,
    /// Training trials that it is from.
    n_trials: usize,
}

/// The rule that tells licks best in the training trials.
pub(super) fn lick_rule(inputs: &EvaluationInputs<'_>) -> Result<LickRule, LossError> {
    let train = or_undefined(&FIRST, Traces::recorded(inputs.recording, inputs.train, &FIRST))?;
    let task = Task::new(inputs.trial_types, &train)?;
    let last = inputs.recording.n_bins().saturating_sub(1);
    let cue = inputs.bin_at(inputs.settings.times.cue_ms).min(last);
    Ok(LickRule {
        threshold: Threshold::fit(&task, &train, cue)?,
        n_trials: train.iter().map(|t| t.types.len()).sum(),
        task,
    })
}

impl LickRule {
    /// Types of trials with these first traces `[K, T, 1]` and stimuli; `usize::MAX` for a lick, or none, at a stimulus that
    /// had no such training trial.
    pub(super) fn types(&self, traces: &ArrayView3<'_, f64>, conditions: &[usize]) -> Vec<usize> {
        let licks = self.threshold.licks(traces);
        let types = licks.iter().zip(conditions);
        types
            .map(|(lick, condition)| self.task.trial_type(*condition, *lick).unwrap_or(usize::MAX))
            .collect()
    }
}

/// Behaviour of training or evaluated trials.
fn recorded(context: &Context<'_>, is_train: bool, channels: &[usize]) -> Result<Vec<Traces>, LossError> {
    let selection = if is_train {
        context.inputs.train
    } else {
        &context.test.all
    };
    or_undefined(
        channels,
        Traces::recorded(context.inputs.recording, selection, channels),
    )
}

fn or_undefined(channels: &[usize], traces: Vec<Traces>) -> Result<Vec<Traces>, LossError> {
    if channels.is_empty() || traces.is_empty() {
        let reason = if channels.is_empty() {
            "the sessions have no trace of behaviour in common"
        } else {
            "no trial has behaviour that the model has too"
        };
        return Err(LossError::NoData {
            what: "trial types by behaviour",
            reason: reason.to_owned(),
        });
    }
    Ok(traces)
}

fn model_traces(context: &Context<'_>, channels: &[usize]) -> Option<Traces> {
    let model = &context.inputs.model;
    let values = model
        .behaviour
        .filter(|_| context.inputs.has_behaviour)?
        .select(Axis(2), channels);
    let types = vec![0; values.len_of(Axis(0))];
    values.iter().all(|v| v.is_finite()).then(|| Traces {
        values,
        conditions: model.conditions.to_vec(),
        types,
    })
}

/// Shares of the types of the model, of nulls and of training trials in its place.
fn fractions(
    context: &Context<'_>,
    name: &str,
    task: &Task,
    (channels, licks): (&[usize], impl Fn(&Traces) -> Result<Vec<bool>, LossError>),
    rng: &mut dyn Rng,
) -> Result<Vec<MetricValue>, LossError> {
    let types_of = |traces: &Traces| -> Result<Vec<usize>, LossError> {
        let licks = licks(traces)?;
        let types = licks.iter().zip(&traces.conditions);
        // A lick at a stimulus that never had one is of no type.
        Ok(types
            .map(|(lick, condition)| task.trial_type(*condition, *lick).unwrap_or(usize::MAX))
            .collect())
    };
    let of_stand_in = |stand_in: &StandIn<'_>| -> Result<Vec<usize>, LossError> {
        let traces = if stand_in.is_simultaneous {
            model_traces(context, channels).into_iter().collect()
        } else {
            Traces::recorded(&stand_in.recording, &stand_in.usable, channels)
        };
        let mut types = Vec::new();
        for traces in &traces {
            types.extend(types_of(traces)?);
        }
        if types.is_empty() {
            return Err(LossError::NoData {
                what: "trial types by behaviour",
                reason: "no trial has finite behaviour".to_owned(),
            });
        }
        Ok(types)
    };
    let types = context.each(of_stand_in)?;
    let mut metrics = Vec::new();
    for (label, type_name) in context.inputs.trial_types.iter().enumerate() {
        let of_model = vec![types.model.clone()];
        let metric = types.metric(&format!("{name}/{type_name}"), types.model.len(), "1", |types| {
            fraction_of_type(types, label)
        });
        metrics.push(MetricValue {
            ci95: Some(super::interval::of_fraction(
                &of_model,
                label,
                context.inputs.settings.n_resamples,
                rng,
            )?),
            ..metric
        });
    }
    Ok(metrics)
}
