//! A predicted perturbation beside recorded trials under the same perturbation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::Range;

use losses::LossError;
use losses::bootstrap::{bootstrap_ci95, bootstrap_ci95_of_two};
use losses::metrics::{pearson, spearman_brown};
use losses::statistics::{RecordedSession, Recording, mean};
use ndarray::{Array2, Axis, s};
use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::behaviour_types::{FIRST, LickRule, lick_rule};
use super::perturbation::{PerturbationInputs, rates};
use super::report::{number, write_rows};
use super::session_types::SessionTyper;
use super::stand_in::model_recording;
use super::{EvaluateError, EvaluationInputs, LeftOutMetric};

/// Fewest neurons of a correlation.
const LEAST_NEURONS: usize = 4;

/// Recorded trials under the perturbation.
#[derive(Debug, Clone)]
pub struct AgainstInputs<'a> {
    /// Names of the files.
    pub files: Vec<String>,
    /// Trials of each session of [`EvaluationInputs::recording`], with the same columns; or why there are none.
    pub sessions: &'a [Result<RecordedSession, String>],
}

/// What the recorded perturbation changed, and what the network says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgainstReport {
    /// The files.
    pub files: Vec<String>,
    /// Sessions compared.
    pub sessions: usize,
    /// Of these, sessions whose trials with and without the perturbation are the same, spike by spike, until it begins, as
    /// those of an artificial recording are: each is compared with its twin.
    pub paired_sessions: usize,
    /// Complete recorded trials of these sessions without the perturbation that the run wasn't fitted to.
    pub baseline_trials: usize,
    /// With it.
    pub perturbed_trials: usize,
    /// Rates and behaviour, in the periods of the prediction.
    pub periods: Vec<AgainstPeriod>,
    /// Changes of the shares of trial types, by each session's own templates (`template`), by those over its neurons that are
    /// not perturbed themselves (`template of other neurons`: what a perturbation takes from its own neurons, templates
    /// take for another kind of trial), and by the height of the first behaviour trace after the cue (`threshold`).
    pub type_fractions: Vec<Predicted>,
    /// What is undefined.
    pub left_out: Vec<LeftOutMetric>,
}

/// Changes in a part of the trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgainstPeriod {
    /// `window` or `trial`.
    pub name: String,
    /// Start and end relative to the event that trials are aligned to, ms.
    pub period_ms: [f64; 2],
    /// Correlations over neurons of predicted with recorded changes.
    pub correlations: Vec<ChangeCorrelation>,
    /// Mean change of the rate of each area and type, Hz.
    pub rates_hz: Vec<Predicted>,
    /// Mean change of each behaviour trace.
    pub behaviour: Vec<Predicted>,
    /// Change of the rate of each neuron, Hz.
    pub neurons: Vec<PredictedNeuron>,
}

/// A correlation over neurons of predicted with recorded changes of rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangeCorrelation {
    /// `all` neurons, or those that are `not perturbed` themselves.
    pub neurons: String,
    /// Pearson's coefficient.
    pub pearson: f64,
    /// 95 % interval: bootstrap, session → neuron.
    pub ci95: [f64; 2],
    /// What a prediction without error would reach, by the reliability of the recorded changes (Spearman–Brown); none where
    /// no session has two trials of each of its stimuli on both sides.
    pub ceiling_noiseless: Option<f64>,
    /// What a change in proportion to the network's unperturbed rates would reach, of either sign; none where these are all
    /// the same.
    pub null_rate: Option<f64>,
    /// Neurons.
    pub n: usize,
}

/// A predicted and a recorded change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// Of what.
    pub name: String,
    /// By what rule, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What the network says.
    pub predicted: f64,
    /// What was recorded.
    pub recorded: f64,
    /// 95 % interval of the recorded change: bootstrap, session → trial; with and without the perturbation apart, unless all
    /// sessions are paired.
    pub recorded_ci95: [f64; 2],
    /// Predicted − recorded.
    pub error: f64,
}

/// The change of one neuron.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictedNeuron {
    /// Its id.
    pub id: String,
    /// Its area and type.
    pub population: String,
    /// Whether it is among the perturbed neurons.
    pub is_perturbed: bool,
    /// What the network says, Hz.
    pub predicted_hz: f64,
    /// What was recorded, Hz.
    pub recorded_hz: f64,
}

/// A trial with the perturbation and its twin without.
struct Twins {
    before: OfTrial,
    after: OfTrial,
}

/// One number of a trial, with its stimulus and the weight of its session.
#[derive(Debug, Clone, Copy)]
struct OfTrial {
    condition: usize,
    value: f64,
    weight: f64,
}

/// One session with all that is compared.
struct Compared<'a> {
    session: usize,
    /// Share of each stimulus in the model's trials, of those that all sides have.
    weights: BTreeMap<usize, f64>,
    baseline: Side<'a>,
    perturbed: Side<'a>,
    /// The model's trials as this session's neurons see them.
    model: [Side<'a>; 2],
    /// Whether each recorded trial has a twin ([`are_twins`]). Then both sides have the same trials.
    is_paired: bool,
    /// Whether each neuron is in populations of both recordings `[N_s]`.
    is_kept: Vec<bool>,
}

impl<'a> Compared<'a> {
    /// Recorded trials without and with the perturbation, and the model's.
    fn sides(&self) -> [&Side<'a>; 4] {
        [&self.baseline, &self.perturbed, &self.model[0], &self.model[1]]
    }
}

/// Complete trials of a session.
struct Side<'a> {
    session: &'a RecordedSession,
    trials: Vec<usize>,
}

impl<'a> Side<'a> {
    /// Complete trials, with finite behaviour where the session has any.
    fn new(session: &'a RecordedSession, has_behaviour: bool) -> Self {
        let n_bins = session.counts.len_of(Axis(1));
        let channels = if has_behaviour { session.channels() } else { Vec::new() };
        let is_usable = |k: &usize| session.valid_bins[*k] == n_bins && session.has_finite_behaviour(*k, &channels);
        Self {
            session,
            trials: (0..session.conditions.len()).filter(is_usable).collect(),
        }
    }

    fn conditions(&self) -> Vec<usize> {
        self.trials.iter().map(|&k| self.session.conditions[k]).collect()
    }

    /// One value for each trial, in order.
    fn items(&self, values: &[f64], weight: f64) -> Vec<OfTrial> {
        let of = |(&k, &value): (&usize, &f64)| OfTrial {
            condition: self.session.conditions[k],
            value,
            weight,
        };
        self.trials.iter().zip(values).map(of).collect()
    }

    /// Whether each neuron was observed in each of the trials, `[n, N_s]`.
    fn observed(&self) -> Array2<bool> {
        let n_neurons = self.session.neurons.len();
        Array2::from_shape_fn((self.trials.len(), n_neurons), |(i, column)| {
            self.session.is_present(self.trials[i], column)
        })
    }

    /// Rates of the trials, `[n, N_s]`, Hz, with what stands in for neurons that were not observed in one.
    fn rates(&self, bins: &Range<usize>, bin_ms: f64) -> Array2<f64> {
        let counts = self.session.counts.select(Axis(0), &self.trials);
        rates(&counts, bins, bins.len() as f64 * bin_ms / 1000.0)
    }
}

/// Compares what the perturbation changes in the model with what it changed in recorded trials.
///
/// Means are taken by stimulus, with the shares of the model's trials, so that other proportions of stimuli in the
/// recordings don't count. Rates of neurons go over the trials that each was observed in, with the stimuli that it was
/// observed in on both sides; in populations are those that miss hardly any trial of both recordings. Trials that the run was fitted to are not compared: the model's rates and the templates follow
/// their noise, which is in the recorded change too.
///
/// # Errors
/// [`EvaluateError::Inputs`] for sessions that disagree, [`EvaluateError::NotComparable`] without a session that has a
/// stimulus in common, [`EvaluateError::Loss`] for arrays that the template matching refuses.
pub(super) fn against(
    inputs: &PerturbationInputs<'_>,
    periods: &[(String, Range<usize>)],
    recorded: &AgainstInputs<'_>,
    rng: &mut dyn Rng,
) -> Result<AgainstReport, EvaluateError> {
    let evaluation = &inputs.evaluation;
    let perturbed = EvaluationInputs {
        model: inputs.perturbed,
        ..evaluation.clone()
    };
    let model = [model_recording(evaluation)?, model_recording(&perturbed)?];
    let mut left_out = Vec::new();
    let sessions = compared(inputs, &model, recorded, &mut left_out)?;
    let mut report = AgainstReport {
        files: recorded.files.clone(),
        sessions: sessions.len(),
        paired_sessions: sessions.iter().filter(|s| s.is_paired).count(),
        baseline_trials: sessions.iter().map(|s| s.baseline.trials.len()).sum(),
        perturbed_trials: sessions.iter().map(|s| s.perturbed.trials.len()).sum(),
        periods: Vec::new(),
        type_fractions: Vec::new(),
        left_out,
    };
    for (name, bins) in periods {
        let found = period(inputs, &sessions, name, bins.clone(), &mut report.left_out, rng)?;
        report.periods.push(found);
    }
    let touched = touched(inputs);
    let is_other = |n: usize| !touched.contains(&inputs.ids[n]);
    let is_any_touched = sessions
        .iter()
        .any(|session| session.baseline.session.neurons.iter().any(|&n| !is_other(n)));
    let mut rules = vec![("template", by_template(evaluation, &sessions, |_| true))];
    if is_any_touched {
        rules.push((
            "template of other neurons",
            by_template(evaluation, &sessions, is_other),
        ));
    }
    rules.push(("threshold", by_threshold(evaluation, &sessions)));
    for (by, found) in rules {
        match found {
            Ok(types) => {
                let n_left_out = sessions.len() - types.len();
                if n_left_out > 0 {
                    report.left_out.push(LeftOutMetric {
                        name: format!("type_fractions by {by}"),
                        reason: format!("{n_left_out} of {} sessions can't be typed", sessions.len()),
                    });
                }
                report
                    .type_fractions
                    .extend(fractions(inputs, &sessions, by, &types, rng)?);
            }
            Err(error @ LossError::NoData { .. }) => report.left_out.push(LeftOutMetric {
                name: format!("type_fractions by {by}"),
                reason: error.to_string(),
            }),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(report)
}

/// Ids of the neurons that are perturbed themselves.
fn touched<'a>(inputs: &'a PerturbationInputs<'_>) -> BTreeSet<&'a String> {
    inputs.perturbations.iter().flat_map(|p| &p.neurons).collect()
}

/// The sessions that have complete trials of a stimulus on all sides.
fn compared<'a>(
    inputs: &'a PerturbationInputs<'_>,
    model: &'a [Recording; 2],
    recorded: &'a AgainstInputs<'_>,
    left_out: &mut Vec<LeftOutMetric>,
) -> Result<Vec<Compared<'a>>, EvaluateError> {
    let evaluation = &inputs.evaluation;
    let own = evaluation.recording.sessions();
    if recorded.sessions.len() != own.len() {
        return Err(EvaluateError::Inputs {
            what: "sessions of the recorded perturbation",
            found: recorded.sessions.len().to_string(),
            expected: own.len().to_string(),
        });
    }
    let mut sessions = Vec::new();
    for (s, (own, other)) in own.iter().zip(recorded.sessions).enumerate() {
        let mut leave_out = |reason: &str| {
            left_out.push(LeftOutMetric {
                name: format!("session {}", own.name),
                reason: reason.to_owned(),
            });
        };
        let other = match other {
            Ok(other) => other,
            Err(reason) => {
                leave_out(reason);
                continue;
            }
        };
        if (own.neurons != other.neurons) || own.counts.len_of(Axis(1)) != other.counts.len_of(Axis(1)) {
            return Err(EvaluateError::Inputs {
                what: "neurons and bins of a session of the recorded perturbation",
                found: format!("{} and {}", other.neurons.len(), other.counts.len_of(Axis(1))),
                expected: format!(
                    "{} and {}, in the same order",
                    own.neurons.len(),
                    own.counts.len_of(Axis(1))
                ),
            });
        }
        let side = |session| Side::new(session, evaluation.has_behaviour);
        let (mut baseline, mut perturbed) = (side(own), side(other));
        let is_paired = are_twins(own, other, inputs.window.start);
        baseline.trials.retain(|k| !evaluation.train[s].contains(k));
        if is_paired {
            let both: Vec<usize> = baseline
                .trials
                .iter()
                .copied()
                .filter(|k| perturbed.trials.contains(k))
                .collect();
            (baseline.trials, perturbed.trials) = (both.clone(), both);
        }
        let of_model = [0, 1].map(|m| side(&model[m].sessions()[s]));
        let conditions = [&baseline, &perturbed, &of_model[0], &of_model[1]].map(Side::conditions);
        let mut weights = BTreeMap::new();
        for &condition in &conditions[2] {
            if conditions.iter().all(|of| of.contains(&condition)) {
                *weights.entry(condition).or_insert(0.0) += 1.0;
            }
        }
        if own.neurons.is_empty() {
            leave_out("no neuron of the model is from it");
        } else if weights.is_empty() {
            leave_out(
                "no stimulus of the model has complete trials both with the perturbation and without it (other than \
                 training trials)",
            );
        } else {
            let columns = 0..own.neurons.len();
            sessions.push(Compared {
                session: s,
                is_kept: columns.map(|c| own.is_kept(c) && other.is_kept(c)).collect(),
                weights,
                baseline,
                perturbed,
                model: of_model,
                is_paired,
            });
        }
    }
    if sessions.is_empty() {
        let reasons: Vec<String> = left_out.iter().map(|l| format!("{}: {}", l.name, l.reason)).collect();
        return Err(EvaluateError::NotComparable {
            file: recorded.files.join(", "),
            reason: format!("no session can be compared; {}", reasons.join("; ")),
        });
    }
    Ok(sessions)
}

/// Whether the trials of two recordings are the same up to the perturbation, of the neurons that were observed in both: then
/// each has a twin.
fn are_twins(own: &RecordedSession, other: &RecordedSession, start: usize) -> bool {
    if start == 0 || own.conditions != other.conditions {
        return false;
    }
    let (mut is_equal, mut n_compared) = (true, 0usize);
    for k in 0..own.conditions.len() {
        for column in 0..own.neurons.len() {
            if own.is_present(k, column) && other.is_present(k, column) {
                let before = s![k, ..start, column];
                is_equal &= own.counts.slice(before) == other.counts.slice(before);
                n_compared += 1;
            }
        }
    }
    is_equal && n_compared > 0
}

fn period(
    inputs: &PerturbationInputs<'_>,
    sessions: &[Compared<'_>],
    name: &str,
    bins: Range<usize>,
    left_out: &mut Vec<LeftOutMetric>,
    rng: &mut dyn Rng,
) -> Result<AgainstPeriod, EvaluateError> {
    let bin_ms = inputs.evaluation.bin_ms;
    let touched = touched(inputs);
    let of_session: Vec<SessionRates> = sessions.iter().map(|s| SessionRates::new(s, &bins, bin_ms)).collect();
    let mut neurons = Vec::new();
    let mut points = Vec::new();
    let mut n_unobserved = 0;
    for (session, rates) in sessions.iter().zip(&of_session) {
        let predicted = rates.change([2, 3], [None, None]);
        let recorded = rates.change([0, 1], [None, None]);
        let unperturbed = rates.mean(2, None);
        let mut of_session = Vec::new();
        for (column, &n) in session.baseline.session.neurons.iter().enumerate() {
            if rates.weights[column].is_empty() {
                n_unobserved += 1;
                continue;
            }
            let is_perturbed = touched.contains(&inputs.ids[n]);
            neurons.push(PredictedNeuron {
                id: inputs.ids[n].clone(),
                population: inputs.populations[n].clone(),
                is_perturbed,
                predicted_hz: predicted[column],
                recorded_hz: recorded[column],
            });
            of_session.push(Point {
                column,
                is_perturbed,
                predicted: predicted[column],
                recorded: recorded[column],
                unperturbed: unperturbed[column],
            });
        }
        points.push(of_session);
    }
    if n_unobserved > 0 {
        left_out.push(LeftOutMetric {
            name: format!("change of {n_unobserved} neurons, {name}"),
            reason: "they were observed in no trial of the same stimulus on both sides".to_owned(),
        });
    }
    let mut correlations = Vec::new();
    let any_perturbed = neurons.iter().any(|neuron| neuron.is_perturbed);
    for (neurons, is_all) in [("all", true), ("not perturbed", false)] {
        if !is_all && !any_perturbed {
            continue;
        }
        let found = correlation(neurons, is_all, sessions, &of_session, &points, inputs, rng)?;
        let mut leave_out = |reason: &str| {
            left_out.push(LeftOutMetric {
                name: format!("correlation of {neurons} neurons, {name}"),
                reason: reason.to_owned(),
            });
        };
        match found {
            None => leave_out("fewer than four neurons, or all change alike on one side"),
            Some(found) => {
                if found.ceiling_noiseless.is_none() {
                    leave_out(
                        "no ceiling: no session has two trials of each stimulus on both sides, or its halves are constant",
                    );
                }
                correlations.push(found);
            }
        }
    }
    let ms = |bin: usize| inputs.start_ms + bin as f64 * bin_ms;
    Ok(AgainstPeriod {
        name: name.to_owned(),
        period_ms: [ms(bins.start), ms(bins.end)],
        correlations,
        rates_hz: populations(inputs, sessions, &of_session, rng)?,
        behaviour: behaviour(inputs, sessions, &bins, rng)?,
        neurons,
    })
}

/// Rates of a session's trials, of all sides: baseline, perturbed, and the same of the model.
struct SessionRates {
    conditions: [Vec<usize>; 4],
    /// `[n, N_s]` each, Hz; where a neuron was not observed, what stands in for it.
    rates: [Array2<f64>; 4],
    /// Whether each neuron was observed, `[n, N_s]` each.
    observed: [Array2<bool>; 4],
    /// Of each neuron, the weights of the stimuli that it was observed in on both recorded sides `[N_s]`.
    weights: Vec<BTreeMap<usize, f64>>,
}

impl SessionRates {
    fn new(session: &Compared<'_>, bins: &Range<usize>, bin_ms: f64) -> Self {
        let sides = session.sides();
        let (conditions, observed) = (sides.map(Side::conditions), sides.map(Side::observed));
        let has = |side: usize, condition: usize, column: usize| {
            let trials = conditions[side].iter().zip(observed[side].column(column));
            trials.into_iter().any(|(c, is_there)| *c == condition && *is_there)
        };
        let weights = (0..session.is_kept.len()).map(|column| {
            let all = session.weights.iter().map(|(&condition, &weight)| (condition, weight));
            all.filter(|(condition, _)| has(0, *condition, column) && has(1, *condition, column))
                .collect()
        });
        Self {
            weights: weights.collect(),
            rates: sides.map(|side| side.rates(bins, bin_ms)),
            conditions,
            observed,
        }
    }

    /// Change of each neuron's rate from one side to another, of all trials or of some.
    fn change(&self, sides: [usize; 2], rows: [Option<&[usize]>; 2]) -> Vec<f64> {
        let [before, after] = [0, 1].map(|i| self.mean(sides[i], rows[i]));
        after.iter().zip(before).map(|(after, before)| after - before).collect()
    }

    /// Mean rate of each neuron over the trials that it was observed in, by stimulus and then over stimuli; of all rows of a
    /// side or of some. NaN where it was not observed in one of its stimuli.
    fn mean(&self, side: usize, rows: Option<&[usize]>) -> Vec<f64> {
        let (conditions, values, observed) = (&self.conditions[side], &self.rates[side], &self.observed[side]);
        let all: Vec<usize> = (0..conditions.len()).collect();
        let rows = rows.unwrap_or(&all);
        let mut means = Vec::with_capacity(self.weights.len());
        for (column, weights) in self.weights.iter().enumerate() {
            let (mut total, mut sum_of_weights) = (0.0, 0.0);
            for (&condition, &weight) in weights {
                let is_used = |k: &usize| conditions[*k] == condition && observed[[*k, column]];
                let of: Vec<usize> = rows.iter().copied().filter(is_used).collect();
                if of.is_empty() {
                    total = f64::NAN;
                }
                for &k in &of {
                    total += weight * values[[k, column]] / of.len() as f64;
                }
                sum_of_weights += weight;
            }
            means.push(total / sum_of_weights);
        }
        means
    }
}

/// One neuron in a correlation.
#[derive(Debug, Clone, Copy)]
struct Point {
    column: usize,
    is_perturbed: bool,
    predicted: f64,
    recorded: f64,
    unperturbed: f64,
}

fn correlation(
    name: &str,
    is_all: bool,
    sessions: &[Compared<'_>],
    of_session: &[SessionRates],
    points: &[Vec<Point>],
    inputs: &PerturbationInputs<'_>,
    rng: &mut dyn Rng,
) -> Result<Option<ChangeCorrelation>, EvaluateError> {
    let chosen = |points: &Vec<Point>| -> Vec<Point> {
        points
            .iter()
            .copied()
            .filter(|point| is_all || !point.is_perturbed)
            .collect()
    };
    let points: Vec<Vec<Point>> = points.iter().map(chosen).collect();
    let side = |of: fn(&Point) -> f64| -> Vec<f64> { points.iter().flatten().map(of).collect() };
    let recorded = side(|point| point.recorded);
    let Some(r) = pearson(&side(|point| point.predicted), &recorded).filter(|_| recorded.len() >= LEAST_NEURONS) else {
        return Ok(None);
    };
    let ci95 = bootstrap_ci95(&points, inputs.evaluation.settings.n_resamples, rng, |points| {
        let of = |of: fn(&Point) -> f64| -> Vec<f64> { points.iter().flatten().map(|point| of(point)).collect() };
        pearson(&of(|point| point.predicted), &of(|point| point.recorded)).unwrap_or(f64::NAN)
    })?;
    let mut halves = Vec::new();
    for _ in 0..inputs.evaluation.settings.n_reliability_splits {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for ((session, rates), points) in sessions.iter().zip(of_session).zip(&points) {
            let Some([a, b]) = split(session, rates, rng) else {
                continue;
            };
            let of =
                |rows: &[Vec<usize>; 2]| rates.change([0, 1], [Some(rows[0].as_slice()), Some(rows[1].as_slice())]);
            let (a, b) = (of(&a), of(&b));
            // Neurons that a half has not all stimuli of are in neither.
            let columns = points.iter().map(|point| point.column);
            let both: Vec<usize> = columns.filter(|&c| a[c].is_finite() && b[c].is_finite()).collect();
            first.extend(both.iter().map(|&c| a[c]));
            second.extend(both.iter().map(|&c| b[c]));
        }
        halves.extend(pearson(&first, &second));
    }
    Ok(Some(ChangeCorrelation {
        neurons: name.to_owned(),
        pearson: r,
        ci95,
        ceiling_noiseless: (!halves.is_empty()).then(|| spearman_brown(mean(&halves), 2.0).sqrt()),
        null_rate: pearson(&side(|point| point.unperturbed), &recorded).map(f64::abs),
        n: recorded.len(),
    }))
}

/// Two random halves of the trials of each stimulus, each `[baseline, perturbed]`; twins stay together, and a trial that is
/// one too many is left out. None if a stimulus has a single trial: the halves would be of other stimuli than the whole.
fn split(session: &Compared<'_>, rates: &SessionRates, rng: &mut dyn Rng) -> Option<[[Vec<usize>; 2]; 2]> {
    let mut halves = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for &condition in session.weights.keys() {
        let rows = [0, 1].map(|side| {
            let conditions = rates.conditions[side].iter().enumerate();
            let mut rows: Vec<usize> = conditions.filter(|(_, c)| **c == condition).map(|(k, _)| k).collect();
            rows.shuffle(rng);
            rows
        });
        for side in 0..2 {
            let rows = if session.is_paired { &rows[0] } else { &rows[side] };
            let n = rows.len() / 2;
            if n == 0 {
                return None;
            }
            halves[0][side].extend(&rows[..n]);
            halves[1][side].extend(&rows[n..2 * n]);
        }
    }
    Some(halves)
}

/// Change of a quantity of each trial, predicted and recorded. `of_session`: values of the trials of all sides, and the
/// weight of the session.
fn predicted(
    name: &str,
    sessions: &[&Compared<'_>],
    of_session: &[([Vec<f64>; 4], f64)],
    n_resamples: usize,
    rng: &mut dyn Rng,
) -> Result<Predicted, LossError> {
    let mut sides: [Vec<Vec<OfTrial>>; 4] = Default::default();
    for (session, (values, weight)) in sessions.iter().zip(of_session) {
        for ((side, of), values) in sides.iter_mut().zip(session.sides()).zip(values) {
            let items = of.items(values, *weight).into_iter();
            side.push(
                items
                    .filter(|item| session.weights.contains_key(&item.condition))
                    .collect(),
            );
        }
    }
    let mut weights = BTreeMap::new();
    for session in sessions {
        for (&condition, &weight) in &session.weights {
            weights.entry(condition).or_insert(weight);
        }
    }
    let change = |before: &[Vec<&OfTrial>], after: &[Vec<&OfTrial>]| change(&weights, before, after);
    let all = |side: usize| -> Vec<Vec<&OfTrial>> { sides[side].iter().map(|of| of.iter().collect()).collect() };
    let (predicted, recorded) = (change(&all(2), &all(3)), change(&all(0), &all(1)));
    let recorded_ci95 = if sessions.iter().all(|session| session.is_paired) {
        let twins = |(before, after): (&Vec<OfTrial>, &Vec<OfTrial>)| -> Vec<Twins> {
            let both = before.iter().zip(after);
            both.map(|(&before, &after)| Twins { before, after }).collect()
        };
        let twins: Vec<Vec<Twins>> = sides[0].iter().zip(&sides[1]).map(twins).collect();
        bootstrap_ci95(&twins, n_resamples, rng, |twins| {
            let side = |of: fn(&Twins) -> &OfTrial| -> Vec<Vec<&OfTrial>> {
                twins
                    .iter()
                    .map(|drawn| drawn.iter().map(|twins| of(twins)).collect())
                    .collect()
            };
            change(&side(|twins| &twins.before), &side(|twins| &twins.after))
        })?
    } else {
        bootstrap_ci95_of_two(&sides[0], &sides[1], n_resamples, rng, change)?
    };
    Ok(Predicted {
        name: name.to_owned(),
        by: None,
        predicted,
        recorded,
        recorded_ci95,
        error: predicted - recorded,
    })
}

/// Mean over sessions of the change of the mean over trials, by stimulus; NaN where no session has a stimulus on both sides.
fn change(weights: &BTreeMap<usize, f64>, before: &[Vec<&OfTrial>], after: &[Vec<&OfTrial>]) -> f64 {
    let mean_of = |trials: &[&OfTrial], condition: usize| {
        let values = trials.iter().filter(|item| item.condition == condition);
        let (sum, n) = values.fold((0.0, 0usize), |(sum, n), item| (sum + item.value, n + 1));
        (n > 0).then(|| sum / n as f64)
    };
    let (mut total, mut of_sessions) = (0.0, 0.0);
    for (before, after) in before.iter().zip(after) {
        let (mut sum, mut of_conditions) = (0.0, 0.0);
        for (&condition, &weight) in weights {
            if let (Some(before), Some(after)) = (mean_of(before, condition), mean_of(after, condition)) {
                sum += weight * (after - before);
                of_conditions += weight;
            }
        }
        let weight = before.first().map_or(0.0, |item| item.weight);
        if of_conditions > 0.0 {
            total += weight * sum / of_conditions;
            of_sessions += weight;
        }
    }
    total / of_sessions
}

/// Mean change of each area and type: over its neurons of all sessions, those that are in populations of both recordings.
fn populations(
    inputs: &PerturbationInputs<'_>,
    sessions: &[Compared<'_>],
    of_session: &[SessionRates],
    rng: &mut dyn Rng,
) -> Result<Vec<Predicted>, LossError> {
    let mut names: Vec<&String> = inputs.populations.iter().collect();
    names.sort();
    names.dedup();
    let mut found = Vec::new();
    for name in names {
        let (mut of, mut values) = (Vec::new(), Vec::new());
        for (session, rates) in sessions.iter().zip(of_session) {
            let neurons = session.baseline.session.neurons.iter().enumerate();
            let columns: Vec<usize> = neurons
                .filter(|(column, n)| inputs.populations[**n] == *name && session.is_kept[*column])
                .map(|(column, _)| column)
                .collect();
            if columns.is_empty() {
                continue;
            }
            let of_trials = |rates: &Array2<f64>| -> Vec<f64> {
                let rows = rates.outer_iter();
                rows.map(|row| mean(&columns.iter().map(|&c| row[c]).collect::<Vec<f64>>()))
                    .collect()
            };
            of.push(session);
            values.push((rates.rates.each_ref().map(of_trials), columns.len() as f64));
        }
        if !of.is_empty() {
            found.push(predicted(
                name,
                &of,
                &values,
                inputs.evaluation.settings.n_resamples,
                rng,
            )?);
        }
    }
    Ok(found)
}

/// Mean change of each trace, over the sessions that recorded it both times.
fn behaviour(
    inputs: &PerturbationInputs<'_>,
    sessions: &[Compared<'_>],
    bins: &Range<usize>,
    rng: &mut dyn Rng,
) -> Result<Vec<Predicted>, LossError> {
    let mut found = Vec::new();
    if !inputs.evaluation.has_behaviour {
        return Ok(found);
    }
    for (b, name) in inputs.traces.iter().enumerate() {
        let (mut of, mut values) = (Vec::new(), Vec::new());
        for session in sessions {
            let of_side = |side: &Side<'_>| -> Option<Vec<f64>> {
                let traces = side.session.behaviour.as_ref()?.select(Axis(0), &side.trials);
                let traces = traces.slice(s![.., bins.clone(), b]).to_owned();
                let means = traces.outer_iter().map(|row| mean(&row.to_vec())).collect::<Vec<f64>>();
                means.iter().all(|value| value.is_finite()).then_some(means)
            };
            if let [Some(a), Some(b), Some(c), Some(d)] = session.sides().map(of_side) {
                of.push(session);
                values.push(([a, b, c, d], 1.0));
            }
        }
        if !of.is_empty() {
            found.push(predicted(
                name,
                &of,
                &values,
                inputs.evaluation.settings.n_resamples,
                rng,
            )?);
        }
    }
    Ok(found)
}

/// Trial types of all sides of the sessions that could be typed, by place in the list of sessions.
type Types = Vec<(usize, [Vec<usize>; 4])>;

/// Types by each session's own templates, over the neurons of the model that `is_counted`.
fn by_template(
    inputs: &EvaluationInputs<'_>,
    sessions: &[Compared<'_>],
    is_counted: impl Fn(usize) -> bool,
) -> Result<Types, LossError> {
    let mut types = Types::new();
    for (place, session) in sessions.iter().enumerate() {
        let neurons = &session.baseline.session.neurons;
        let is_wanted = |column: usize| session.is_kept[column] && is_counted(neurons[column]);
        let typer = match SessionTyper::of_columns(inputs, session.session, is_wanted) {
            Ok(typer) if typer.is_typing() => typer,
            Ok(_) | Err(LossError::NoData { .. } | LossError::NoPopulation { .. }) => continue,
            Err(error) => return Err(error),
        };
        let has_channels = |side: &&Side<'_>| {
            let channels = side.session.channels();
            typer
                .templates()
                .channels()
                .iter()
                .all(|channel| channels.contains(channel))
        };
        let sides = session.sides();
        if sides.iter().all(has_channels) {
            let [a, b, c, d] = sides.map(|side| typer.classify(side.session, &side.trials));
            types.push((place, [a?, b?, c?, d?]));
        }
    }
    some(
        types,
        "no session has templates of two trial types, and on all sides the traces that they are of",
    )
}

/// Types by licks.
fn by_threshold(inputs: &EvaluationInputs<'_>, sessions: &[Compared<'_>]) -> Result<Types, LossError> {
    let rule = lick_rule(inputs)?;
    let mut types = Types::new();
    for (place, session) in sessions.iter().enumerate() {
        let of_side = |side: &Side<'_>| of_licks(&rule, side);
        if let [Some(a), Some(b), Some(c), Some(d)] = session.sides().map(of_side) {
            types.push((place, [a, b, c, d]));
        }
    }
    some(types, "no session has the first trace of behaviour on all sides")
}

fn of_licks(rule: &LickRule, side: &Side<'_>) -> Option<Vec<usize>> {
    let behaviour = side.session.behaviour.as_ref()?;
    if !side.session.channels().contains(&FIRST[0]) {
        return None;
    }
    let values = behaviour.select(Axis(0), &side.trials).select(Axis(2), &FIRST);
    Some(rule.types(&values.view(), &side.conditions()))
}

fn some(types: Types, reason: &str) -> Result<Types, LossError> {
    if types.is_empty() {
        return Err(LossError::NoData {
            what: "changes of trial types",
            reason: reason.to_owned(),
        });
    }
    Ok(types)
}

/// Changes of the shares of the types; sessions count equally.
fn fractions(
    inputs: &PerturbationInputs<'_>,
    sessions: &[Compared<'_>],
    by: &str,
    types: &Types,
    rng: &mut dyn Rng,
) -> Result<Vec<Predicted>, LossError> {
    let of: Vec<&Compared<'_>> = types.iter().map(|(place, _)| &sessions[*place]).collect();
    let mut found = Vec::new();
    for (label, name) in inputs.evaluation.trial_types.iter().enumerate() {
        let is_ever = types
            .iter()
            .any(|(_, sides)| sides.iter().flatten().any(|found| *found == label));
        if !is_ever {
            continue;
        }
        let shares = types.iter().map(|(_, sides)| {
            let of_side = |types: &Vec<usize>| types.iter().map(|y| f64::from(u8::from(*y == label))).collect();
            (sides.each_ref().map(of_side), 1.0)
        });
        let shares: Vec<([Vec<f64>; 4], f64)> = shares.collect();
        found.push(Predicted {
            by: Some(by.to_owned()),
            ..predicted(name, &of, &shares, inputs.evaluation.settings.n_resamples, rng)?
        });
    }
    Ok(found)
}

impl AgainstReport {
    /// Lines for the terminal.
    pub(super) fn table(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "\nagainst {}: {} sessions ({} paired), {} recorded trials without and {} with the perturbation",
            self.files.join(", "),
            self.sessions,
            self.paired_sessions,
            self.baseline_trials,
            self.perturbed_trials
        );
        let range = |[low, high]: [f64; 2]| format!("[{}, {}]", number(low), number(high));
        let row = |name: String, found: &Predicted| {
            vec![
                name,
                number(found.predicted),
                number(found.recorded),
                range(found.recorded_ci95),
                number(found.error),
            ]
        };
        let head = |first: String| {
            let mut head = vec![first];
            head.extend(["predicted Δ", "recorded Δ", "95 % interval", "error"].map(str::to_owned));
            head
        };
        for period in &self.periods {
            let [from, to] = period.period_ms;
            let head_of = [
                "neurons",
                "Δ rate, pearson",
                "95 % interval",
                "noiseless",
                "∝ rate",
                "n",
            ];
            let mut rows = vec![head_of.map(str::to_owned).to_vec()];
            for found in &period.correlations {
                rows.push(vec![
                    found.neurons.clone(),
                    number(found.pearson),
                    range(found.ci95),
                    found.ceiling_noiseless.map_or("–".to_owned(), number),
                    found.null_rate.map_or("–".to_owned(), number),
                    found.n.to_string(),
                ]);
            }
            let _ = writeln!(text, "\n{} ({from} … {to} ms)", period.name);
            if rows.len() > 1 {
                write_rows(text, &rows);
            }
            let mut rows = vec![head(String::new())];
            rows.extend(
                period
                    .rates_hz
                    .iter()
                    .map(|found| row(format!("{}, Hz", found.name), found)),
            );
            rows.extend(period.behaviour.iter().map(|found| row(found.name.clone(), found)));
            write_rows(text, &rows);
        }
        if !self.type_fractions.is_empty() {
            let mut rows = vec![head("share of trials".to_owned())];
            rows.extend(self.type_fractions.iter().map(|found| {
                let by = found.by.as_deref().unwrap_or_default();
                row(format!("{} by {by}", found.name), found)
            }));
            text.push('\n');
            write_rows(text, &rows);
        }
        for left_out in &self.left_out {
            let _ = writeln!(text, "\nleft out: {}: {}", left_out.name, left_out.reason);
        }
    }
}
