//! Trials in which the animal moves before it may.

use std::collections::BTreeMap;
use std::ops::Range;

use losses::LossError;
use losses::metrics::{MetricValue, MovementRule, is_active_as_published};
use losses::statistics::{RecordedSession, Recording, TrialSelection, mean, median};
use ndarray::{Axis, s};
use rand::Rng;

use super::behaviour_types::{FIRST, LickRule, lick_rule};
use super::context::{Context, Each};
use super::inputs::EvaluationInputs;
use super::report::if_defined;
use super::stand_in::StandIn;

/// Length of the baseline before the stimulus, ms. Source: the publication.
const BASELINE_MS: f64 = 200.0;

/// What is said of a trial.
#[derive(Debug, Clone, Copy)]
struct Judged {
    /// By stimulus and lick; `usize::MAX` where there is no such type.
    trial_type: usize,
    /// 1 for an active trial, 0 for a quiet one; of a model trial the share of the sessions whose rule says so.
    active: f64,
    /// The same by the published rule; NaN where it says nothing.
    as_published: f64,
}

/// How trials are judged, the same for all sides: a rule of movement for each session, from its training trials, and one
/// of licks.
struct Judge {
    movement: Vec<Option<MovementRule>>,
    licks: Option<LickRule>,
    baseline: Range<usize>,
    delay: Range<usize>,
}

/// `active_threshold`, `active_fraction` of all trials and of each type, and the same of the recorded trials
/// (`active_fraction_data`): trials in which the first trace moves in the delay between stimulus and cue. By the published rule
/// `active_fraction_published` of all trials, and of the recorded ones.
///
/// Types are by stimulus and height of the trace after the cue ([`lick_rule`]), of model and recorded trials alike: labels
/// for the ones and templates for the others would cut types at different boundaries, and the shares of trials that move
/// differ by type. A model trial has no session, so it is judged by the threshold of each.
pub(super) fn activity(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Vec<MetricValue>, LossError> {
    let inputs = context.inputs;
    if !inputs.has_behaviour {
        return Ok(Vec::new());
    }
    let Some(delay_ms) = inputs.settings.times.delay_ms else {
        return Err(undefined(
            "the inputs have no two onsets, between which there would be a delay",
        ));
    };
    let judge = Judge::new(inputs, delay_ms)?;
    let of_stand_in = |stand_in: &StandIn<'_>| {
        let judged = judge.of(&stand_in.recording, &stand_in.usable)?;
        Ok(if stand_in.is_simultaneous {
            vec![by_trial(&judged)]
        } else {
            without_numbers(judged)
        })
    };
    let judged = context.each(of_stand_in)?;
    let data = without_numbers(judge.of(inputs.recording, &context.test.all)?);
    let mut metrics = vec![judge.threshold(inputs.bin_ms)];
    let types = inputs.trial_types.iter().enumerate();
    let types = types.map(|(label, name)| (Some(label), format!("/{name}")));
    for (label, of_type) in std::iter::once((None, String::new())).chain(types) {
        metrics.extend(of_rule(
            ["active_fraction", "active_fraction_data"].map(|name| format!("{name}{of_type}")),
            &judged,
            &data,
            |judged| activities(judged, label),
            inputs,
            rng,
        )?);
    }
    metrics.extend(of_rule(
        ["active_fraction_published", "active_fraction_published_data"].map(str::to_owned),
        &judged,
        &data,
        activities_as_published,
        inputs,
        rng,
    )?);
    Ok(metrics)
}

/// A share of the model's trials, with nulls and reference, and that of recorded ones.
fn of_rule(
    [of_model, of_data]: [String; 2],
    judged: &Each<Vec<Vec<Judged>>>,
    data: &[Vec<Judged>],
    values: impl Fn(&[Vec<Judged>]) -> Vec<Vec<f64>>,
    inputs: &EvaluationInputs<'_>,
    rng: &mut dyn Rng,
) -> Result<[MetricValue; 2], LossError> {
    let model = values(&judged.model);
    let n = model.iter().map(Vec::len).sum();
    let found = judged.metric(&of_model, n, "1", |judged| mean(&values(judged).concat()));
    let recorded = values(data);
    let all = recorded.concat();
    let found_data = MetricValue::new(of_data, mean(&all), all.len(), "1");
    Ok([
        with_interval(found, &model, inputs, rng)?,
        with_interval(found_data, &recorded, inputs, rng)?,
    ])
}

fn undefined(reason: &str) -> LossError {
    LossError::NoData {
        what: "active trials",
        reason: reason.to_owned(),
    }
}

fn with_interval(
    metric: MetricValue,
    values: &[Vec<f64>],
    inputs: &EvaluationInputs<'_>,
    rng: &mut dyn Rng,
) -> Result<MetricValue, LossError> {
    let all = values.concat();
    let ci95 = if all.is_empty() {
        None
    } else if all.iter().all(|share| *share == 0.0) || all.iter().all(|share| *share == 1.0) {
        // Every resample would be the same.
        let k = if all[0] == 0.0 { 0 } else { all.len() };
        Some(super::interval::wilson(k, all.len()))
    } else {
        Some(super::interval::of_mean(values, inputs.settings.n_resamples, rng)?)
    };
    Ok(MetricValue { ci95, ..metric })
}

/// Of the trials of one type, or of all, by session.
fn activities(judged: &[Vec<Judged>], label: Option<usize>) -> Vec<Vec<f64>> {
    let is_of = |judged: &&Judged| label.is_none_or(|label| judged.trial_type == label);
    let of_session = |session: &Vec<Judged>| session.iter().filter(is_of).map(|judged| judged.active).collect();
    judged.iter().map(of_session).collect()
}

/// By the published rule, by session.
fn activities_as_published(judged: &[Vec<Judged>]) -> Vec<Vec<f64>> {
    let of_session = |session: &Vec<Judged>| {
        let shares = session.iter().map(|judged| judged.as_published);
        shares.filter(|share| !share.is_nan()).collect()
    };
    judged.iter().map(of_session).collect()
}

fn without_numbers(sessions: Vec<Vec<(usize, Judged)>>) -> Vec<Vec<Judged>> {
    let of_session = |session: Vec<(usize, Judged)>| session.into_iter().map(|(_, judged)| judged).collect();
    sessions.into_iter().map(of_session).collect()
}

/// One entry for each trial that all sessions see: the mean over them.
fn by_trial(sessions: &[Vec<(usize, Judged)>]) -> Vec<Judged> {
    let mut of_trial = BTreeMap::<usize, (Judged, Vec<f64>)>::new();
    for (k, judged) in sessions.iter().flatten() {
        let (_, active) = of_trial.entry(*k).or_insert((*judged, Vec::new()));
        active.push(judged.active);
    }
    let judged = of_trial.into_values();
    judged
        .map(|(judged, active)| Judged {
            active: mean(&active),
            ..judged
        })
        .collect()
}

impl Judge {
    fn new(inputs: &EvaluationInputs<'_>, [from_ms, to_ms]: [f64; 2]) -> Result<Self, LossError> {
        let baseline = inputs.bin_at(from_ms - BASELINE_MS)..inputs.bin_at(from_ms);
        let mut movement = Vec::new();
        for (session, trials) in inputs.recording.sessions().iter().zip(inputs.train) {
            let trials = judgeable(inputs.recording, session, trials);
            let of_trials = |behaviour: &ndarray::Array3<f64>| {
                let traces = behaviour.index_axis(Axis(2), FIRST[0]).select(Axis(0), &trials);
                MovementRule::new(&traces.view(), baseline.clone(), inputs.bin_ms)
            };
            let behaviour = session.behaviour.as_ref().filter(|_| !trials.is_empty());
            movement.push(behaviour.map(of_trials).transpose()?.flatten());
        }
        if movement.iter().all(Option::is_none) {
            return Err(undefined(
                "training trials with behaviour have too few bins in the 200 ms before the stimulus",
            ));
        }
        Ok(Self {
            movement,
            licks: if_defined(lick_rule(inputs))?,
            baseline,
            delay: inputs.bin_at(from_ms)..inputs.bin_at(to_ms),
        })
    }

    /// Trials with their numbers, by session; sessions without a rule have none.
    fn of(&self, recording: &Recording, selection: &TrialSelection) -> Result<Vec<Vec<(usize, Judged)>>, LossError> {
        let sessions = recording.sessions().iter().zip(selection).zip(&self.movement);
        let judged: Vec<Vec<(usize, Judged)>> = sessions
            .map(|((session, trials), rule)| {
                let (Some(rule), Some(behaviour)) = (rule, &session.behaviour) else {
                    return Vec::new();
                };
                let trials = judgeable(recording, session, trials);
                let traces = behaviour.select(Axis(0), &trials).select(Axis(2), &FIRST);
                let conditions: Vec<usize> = trials.iter().map(|&k| session.conditions[k]).collect();
                let types = match &self.licks {
                    Some(licks) => licks.types(&traces.view(), &conditions),
                    None => vec![usize::MAX; trials.len()],
                };
                let of_trial = |(row, (&k, trial_type)): (usize, (&usize, usize))| {
                    let trace = traces.slice(s![row, .., 0]);
                    let share = |is_active: bool| f64::from(u8::from(is_active));
                    let as_published = is_active_as_published(&trace, self.baseline.clone(), self.delay.clone());
                    let judged = Judged {
                        trial_type,
                        active: share(rule.is_active(&trace, self.delay.clone())?),
                        as_published: as_published.map_or(f64::NAN, share),
                    };
                    Some((k, judged))
                };
                trials.iter().zip(types).enumerate().filter_map(of_trial).collect()
            })
            .collect();
        if judged.iter().all(Vec::is_empty) {
            return Err(undefined(
                "no complete trial has finite behaviour, or the delay is no longer than 60 ms",
            ));
        }
        Ok(judged)
    }

    /// `active_threshold`: as a speed, median over sessions.
    fn threshold(&self, bin_ms: f64) -> MetricValue {
        let rules: Vec<&MovementRule> = self.movement.iter().flatten().collect();
        let speeds: Vec<f64> = rules.iter().map(|rule| rule.threshold() / bin_ms * 1000.0).collect();
        let n = rules.iter().map(|rule| rule.n_steps()).sum();
        MetricValue::new("active_threshold", median(&speeds).unwrap_or(f64::NAN), n, "trace/s")
    }
}

/// Complete trials with a finite first trace.
fn judgeable(recording: &Recording, session: &RecordedSession, trials: &[usize]) -> Vec<usize> {
    if !session.channels().contains(&FIRST[0]) {
        return Vec::new();
    }
    let is_whole = |k: &usize| session.valid_bins[*k] == recording.n_bins() && session.has_finite_behaviour(*k, &FIRST);
    trials.iter().copied().filter(is_whole).collect()
}
