//! What a perturbation changes: the same trials without and with it, compared trial by trial.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::Range;

use losses::bootstrap::{bootstrap_ci95, pooled_mean};
use losses::statistics::{Populations, mean};
use ndarray::{Array2, Array3, Axis, s};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::against::{AgainstInputs, AgainstReport, against};
use super::behaviour_types::{FIRST, lick_rule};
use super::interval;
use super::report::{self, number, write_rows};
use super::{EvaluateError, EvaluationInputs, LeftOutMetric, SimulatedTrials, model_trial_types};
use crate::perturbation::Described;

/// Version of `perturbation.json`.
pub(crate) const SCHEMA: u32 = 1;

/// Two simulations that drew the same random numbers.
#[derive(Debug, Clone)]
pub struct PerturbationInputs<'a> {
    /// The unperturbed trials are its model; training trials make the templates, test trials aren't looked at.
    pub evaluation: EvaluationInputs<'a>,
    /// The perturbed trials: as many, of the same stimuli in the same order.
    pub perturbed: SimulatedTrials<'a>,
    /// What was done.
    pub perturbations: &'a [Described],
    /// Bins in which it was done.
    pub window: Range<usize>,
    /// Start of the first bin relative to the event that trials are aligned to, ms.
    pub start_ms: f64,
    /// Ids of the neurons, `[N]`.
    pub ids: &'a [String],
    /// Area and type of each neuron, `[N]`.
    pub populations: Vec<String>,
    /// Names of the behaviour traces, `[B]`.
    pub traces: &'a [String],
    /// Recorded trials under the same perturbation, where there are some.
    pub against: Option<AgainstInputs<'a>>,
}

/// `perturbation.json`: what a perturbation changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PerturbationReport {
    /// Version of this format.
    pub schema: u32,
    /// The run.
    pub run: String,
    /// Step of the checkpoint.
    pub checkpoint_step: u64,
    /// Trials simulated, without and with the perturbation.
    pub model_trials: usize,
    /// What was done to which neurons.
    pub perturbations: Vec<Described>,
    /// Rates and behaviour in the window, and, where that is not all of it, in the whole trial.
    pub periods: Vec<Period>,
    /// Share of trials of each type, by each rule that tells them.
    pub type_fractions: Vec<Change>,
    /// What is undefined for this recording.
    pub left_out: Vec<LeftOutMetric>,
    /// What the recorded perturbation changed, where it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<AgainstReport>,
}

/// Changes of means over a part of the trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Period {
    /// `window` or `trial`.
    pub name: String,
    /// Start and end relative to the event that trials are aligned to, ms.
    pub period_ms: [f64; 2],
    /// Mean rate of each area and cell type, Hz.
    pub rates_hz: Vec<Change>,
    /// Mean of each behaviour trace, in the units that are compared (`[data.traces]`).
    pub behaviour: Vec<Change>,
    /// Mean rate of each neuron, Hz, in model order.
    pub neurons: Vec<NeuronChange>,
}

/// A quantity of unperturbed and perturbed trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Of what: area and cell type, behaviour trace or trial type.
    pub name: String,
    /// Of a share: what tells trial types: `template`, `template of other neurons`, `threshold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Neurons that a rate is the mean of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_neurons: Option<usize>,
    /// How many of them are perturbed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_perturbed: Option<usize>,
    /// Mean over unperturbed trials.
    pub baseline: f64,
    /// Mean over perturbed trials.
    pub perturbed: f64,
    /// Mean over trials of perturbed − unperturbed.
    pub delta: f64,
    /// 95 % interval of delta: bootstrap over trials, each with its unperturbed twin. Of a share that no trial, or every
    /// trial, changed: as far as Wilson's interval of a change that none of them showed.
    pub delta_ci95: [f64; 2],
}

/// The rate of one neuron.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NeuronChange {
    /// Its id.
    pub id: String,
    /// Its area and type.
    pub population: String,
    /// Whether it is among the perturbed neurons.
    pub is_perturbed: bool,
    /// Mean rate over unperturbed trials, Hz.
    pub baseline_hz: f64,
    /// Mean rate over perturbed trials, Hz.
    pub perturbed_hz: f64,
    /// The difference, Hz.
    pub delta_hz: f64,
    /// 95 % interval of the difference: bootstrap over trials, each with its unperturbed twin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta_ci95: Option<[f64; 2]>,
}

/// Compares perturbed with unperturbed trials that drew the same random numbers.
///
/// # Shapes
/// Counts of both `[K, T, N]`, behaviour `[K, T, B]`.
///
/// # Errors
/// [`EvaluateError::Inputs`] for trials, neurons or windows that disagree, [`EvaluateError::Loss`] for arrays that the
/// template matching refuses.
pub fn compare(inputs: &PerturbationInputs<'_>, rng: &mut dyn Rng) -> Result<PerturbationReport, EvaluateError> {
    check(inputs)?;
    let n_bins = inputs.perturbed.counts.dim().1;
    let mut parts = vec![("window".to_owned(), inputs.window.clone())];
    if inputs.window != (0..n_bins) {
        parts.push(("trial".to_owned(), 0..n_bins));
    }
    let (baseline, perturbed) = (&inputs.evaluation.model, &inputs.perturbed);
    let pair = Pair {
        counts: [baseline.counts, perturbed.counts],
        behaviour: baseline.behaviour.zip(perturbed.behaviour).map(|(a, b)| [a, b]),
        bin_ms: inputs.evaluation.bin_ms,
        start_ms: inputs.start_ms,
        n_resamples: inputs.evaluation.settings.n_resamples,
        perturbations: inputs.perturbations,
        ids: inputs.ids,
        populations: &inputs.populations,
        traces: inputs.traces,
    };
    let mut periods = Vec::new();
    for (name, bins) in &parts {
        periods.push(pair.period(name, bins.clone(), rng)?);
    }
    let mut report = PerturbationReport {
        schema: SCHEMA,
        run: inputs.evaluation.run.clone(),
        checkpoint_step: inputs.evaluation.checkpoint_step,
        model_trials: inputs.perturbed.conditions.len(),
        perturbations: inputs.perturbations.to_vec(),
        periods,
        type_fractions: Vec::new(),
        left_out: Vec::new(),
        against: None,
    };
    for rule in TypeRule::ALL {
        match type_fractions(inputs, rule, rng)? {
            Ok(fractions) => report.type_fractions.extend(fractions),
            Err(reason) => report.left_out.push(LeftOutMetric {
                name: format!("type_fractions by {}", rule.name()),
                reason,
            }),
        }
    }
    if let Some(recorded) = &inputs.against {
        report.against = Some(against(inputs, &parts, recorded, rng)?);
    }
    Ok(report)
}

fn check(inputs: &PerturbationInputs<'_>) -> Result<(), EvaluateError> {
    let (baseline, perturbed) = (&inputs.evaluation.model, &inputs.perturbed);
    let wrong = |what, found: String, expected: String| Err(EvaluateError::Inputs { what, found, expected });
    let (found, expected) = (perturbed.counts.dim(), baseline.counts.dim());
    if found != expected {
        return wrong(
            "shape of the perturbed trials",
            format!("{found:?}"),
            format!("{expected:?}"),
        );
    }
    let (n_trials, n_bins, n_neurons) = found;
    if n_trials == 0 || perturbed.conditions != baseline.conditions {
        return wrong(
            "stimuli of the perturbed trials",
            "others".to_owned(),
            "those of the unperturbed".to_owned(),
        );
    }
    let shape = |trials: &SimulatedTrials<'_>| trials.behaviour.map(Array3::dim);
    let n_traces = shape(perturbed).map_or(inputs.traces.len(), |(_, _, b)| b);
    if shape(perturbed) != shape(baseline) || n_traces != inputs.traces.len() {
        let (found, expected) = (format!("{:?}", shape(perturbed)), format!("{:?}", shape(baseline)));
        return wrong("behaviour of the perturbed trials", found, expected);
    }
    for (what, found) in [
        ("ids of the neurons", inputs.ids.len()),
        ("populations of the neurons", inputs.populations.len()),
    ] {
        if found != n_neurons {
            return wrong(what, found.to_string(), n_neurons.to_string());
        }
    }
    if inputs.window.is_empty() || inputs.window.end > n_bins {
        let expected = format!("a part of 0..{n_bins}");
        return wrong("window of the perturbation", format!("{:?}", inputs.window), expected);
    }
    Ok(())
}

/// Trials without and with a perturbation, which drew the same random numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair<'a> {
    /// Counts `[K, T, N]` without and with it.
    pub counts: [&'a Array3<u8>; 2],
    /// Behaviour `[K, T, B]`, if there is any.
    pub behaviour: Option<[&'a Array3<f64>; 2]>,
    /// Width of a bin, ms.
    pub bin_ms: f64,
    /// Start of the first bin relative to the event that trials are aligned to, ms.
    pub start_ms: f64,
    /// Resamples of intervals.
    pub n_resamples: usize,
    /// What was done.
    pub perturbations: &'a [Described],
    /// Ids of the neurons, `[N]`.
    pub ids: &'a [String],
    /// Area and type of each neuron, `[N]`.
    pub populations: &'a [String],
    /// Names of the behaviour traces, `[B]`.
    pub traces: &'a [String],
}

impl Pair<'_> {
    /// What is changed in some bins.
    ///
    /// # Errors
    /// [`EvaluateError::Loss`] without a trial.
    pub(crate) fn period(&self, name: &str, bins: Range<usize>, rng: &mut dyn Rng) -> Result<Period, EvaluateError> {
        let seconds = bins.len() as f64 * self.bin_ms / 1000.0;
        let [before, after] = self.counts.map(|counts| rates(counts, &bins, seconds));
        let touched: BTreeSet<&String> = self.perturbations.iter().flat_map(|p| &p.neurons).collect();
        let mut members = BTreeMap::<&str, Vec<usize>>::new();
        for (n, population) in self.populations.iter().enumerate() {
            members.entry(population).or_default().push(n);
        }
        let mut rates_hz = Vec::new();
        for (population, members) in members {
            let of_trial = |rates: &Array2<f64>| -> Vec<f64> {
                let rows = rates.outer_iter();
                rows.map(|row| mean(&members.iter().map(|&n| row[n]).collect::<Vec<f64>>()))
                    .collect()
            };
            let n_perturbed = members.iter().filter(|&&n| touched.contains(&self.ids[n])).count();
            rates_hz.push(Change {
                n_neurons: Some(members.len()),
                n_perturbed: Some(n_perturbed),
                ..Change::of(population, &of_trial(&before), &of_trial(&after), self.n_resamples, rng)?
            });
        }
        let mut behaviour = Vec::new();
        if let Some([before, after]) = self.behaviour {
            for (b, name) in self.traces.iter().enumerate() {
                let of_trial = |traces: &Array3<f64>| -> Vec<f64> {
                    let trace = traces.slice(s![.., bins.clone(), b]);
                    trace.outer_iter().map(|row| mean(&row.to_vec())).collect()
                };
                behaviour.push(Change::of(
                    name,
                    &of_trial(before),
                    &of_trial(after),
                    self.n_resamples,
                    rng,
                )?);
            }
        }
        let ms = |bin: usize| self.start_ms + bin as f64 * self.bin_ms;
        let mut neurons = Vec::with_capacity(self.ids.len());
        for (n, (id, population)) in self.ids.iter().zip(self.populations).enumerate() {
            let of_trials = |rates: &Array2<f64>| rates.column(n).to_vec();
            let (before, after) = (of_trials(&before), of_trials(&after));
            let delta_ci95 = Some(Change::of(id, &before, &after, self.n_resamples, rng)?.delta_ci95);
            let (baseline_hz, perturbed_hz) = (mean(&before), mean(&after));
            neurons.push(NeuronChange {
                id: id.clone(),
                population: population.clone(),
                is_perturbed: touched.contains(id),
                baseline_hz,
                perturbed_hz,
                delta_hz: perturbed_hz - baseline_hz,
                delta_ci95,
            });
        }
        Ok(Period {
            name: name.to_owned(),
            period_ms: [ms(bins.start), ms(bins.end)],
            rates_hz,
            behaviour,
            neurons,
        })
    }
}

/// Rates of each trial and neuron in these bins, `[K, N]`, Hz.
pub(super) fn rates(counts: &Array3<u8>, bins: &Range<usize>, seconds: f64) -> Array2<f64> {
    let (n_trials, _, n_neurons) = counts.dim();
    let mut rates = Array2::zeros((n_trials, n_neurons));
    for (mut rates, counts) in rates.outer_iter_mut().zip(counts.outer_iter()) {
        for counts in counts.slice(s![bins.clone(), ..]).outer_iter() {
            rates.zip_mut_with(&counts, |sum: &mut f64, count| *sum += f64::from(*count));
        }
    }
    rates / seconds
}

/// What tells the types of trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TypeRule {
    /// Templates of areas and behaviour. It looks at the perturbed neurons too, whose spikes the perturbation itself changes.
    Template,
    /// The same without the perturbed neurons.
    TemplateOfOthers,
    /// The height of the first trace after the cue, and the stimulus.
    Threshold,
}

impl TypeRule {
    const ALL: [Self; 3] = [Self::Template, Self::TemplateOfOthers, Self::Threshold];

    /// As in `perturbation.json`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::TemplateOfOthers => "template of other neurons",
            Self::Threshold => "threshold",
        }
    }
}

/// Types of the trials without and with a perturbation, where they have one.
type TypesOfBoth = [Vec<Option<usize>>; 2];

/// Types of the trials without and with the perturbation, by one rule; or why there are none.
fn types(
    inputs: &PerturbationInputs<'_>,
    rule: TypeRule,
    rng: &mut dyn Rng,
) -> Result<Result<TypesOfBoth, String>, EvaluateError> {
    let evaluation = &inputs.evaluation;
    let perturbed = EvaluationInputs {
        model: inputs.perturbed,
        ..evaluation.clone()
    };
    let by_template = |evaluation: &EvaluationInputs<'_>, perturbed: &EvaluationInputs<'_>, rng: &mut dyn Rng| {
        let types = (model_trial_types(evaluation, rng)?, model_trial_types(perturbed, rng)?);
        Ok::<_, EvaluateError>(match types {
            (Some(before), Some(after)) => Ok([before, after]),
            _ => Err("no area has complete training trials of every trial type".to_owned()),
        })
    };
    match rule {
        TypeRule::Template => by_template(evaluation, &perturbed, rng),
        TypeRule::TemplateOfOthers => {
            let touched: BTreeSet<&String> = inputs.perturbations.iter().flat_map(|p| &p.neurons).collect();
            let recording = evaluation.recording.without(|n| touched.contains(&inputs.ids[n]))?;
            if recording.sessions().iter().all(|session| session.neurons.is_empty()) {
                return Ok(Err("every recorded neuron is perturbed".to_owned()));
            }
            // Templates are of areas, so the populations of matching are not asked.
            let populations = Populations::by_area_if_any(&recording, 1);
            let inputs = [evaluation, &perturbed].map(|inputs| EvaluationInputs {
                recording: &recording,
                populations: &populations,
                ..inputs.clone()
            });
            by_template(&inputs[0], &inputs[1], rng)
        }
        TypeRule::Threshold => {
            if !evaluation.has_behaviour {
                return Ok(Err("the network has no behaviour".to_owned()));
            }
            let rule = match lick_rule(evaluation) {
                Ok(rule) => rule,
                Err(error) if report::is_undefined(&error) => return Ok(Err(error.to_string())),
                Err(error) => return Err(error.into()),
            };
            let of = |trials: &SimulatedTrials<'_>| {
                let traces = trials.behaviour?.select(Axis(2), &FIRST);
                let finite = traces.outer_iter().map(|trace| trace.iter().all(|v| v.is_finite()));
                let types = rule.types(&traces.view(), trials.conditions);
                // A lick at a stimulus that never had one is of no type.
                let known = types.into_iter().zip(finite);
                Some(
                    known
                        .map(|(y, is_finite)| (is_finite && y != usize::MAX).then_some(y))
                        .collect(),
                )
            };
            Ok(match (of(&evaluation.model), of(&inputs.perturbed)) {
                (Some(before), Some(after)) => Ok([before, after]),
                _ => Err("the network has no behaviour".to_owned()),
            })
        }
    }
}

/// Shares of trial types by a rule, of the trials that could be typed both without and with the perturbation; or why
/// there are none.
fn type_fractions(
    inputs: &PerturbationInputs<'_>,
    rule: TypeRule,
    rng: &mut dyn Rng,
) -> Result<Result<Vec<Change>, String>, EvaluateError> {
    let evaluation = &inputs.evaluation;
    let recorded = evaluation.recording.sessions().iter().zip(evaluation.train);
    let recorded: BTreeSet<usize> = recorded
        .flat_map(|(session, trials)| trials.iter().map(|&k| session.trial_types[k]))
        .collect();
    if recorded.len() < 2 {
        return Ok(Err("the training trials are all of one trial type".to_owned()));
    }
    let [before, after] = match types(inputs, rule, rng)? {
        Ok(types) => types,
        Err(reason) => return Ok(Err(reason)),
    };
    let both: Vec<(usize, usize)> = before.into_iter().zip(after).filter_map(|(a, b)| a.zip(b)).collect();
    if both.is_empty() {
        return Ok(Err(
            "no trial could be typed both without and with the perturbation".to_owned()
        ));
    }
    let mut changes = Vec::new();
    for (label, name) in evaluation.trial_types.iter().enumerate() {
        if !recorded.contains(&label) {
            continue;
        }
        let share = |of: fn(&(usize, usize)) -> usize| -> Vec<f64> {
            both.iter().map(|pair| f64::from(u8::from(of(pair) == label))).collect()
        };
        let (before, after) = (share(|pair| pair.0), share(|pair| pair.1));
        let mut change = Change::of(name, &before, &after, evaluation.settings.n_resamples, rng)?;
        // Where every trial changed alike, every resample is the same; a rare change may still have been missed.
        let mut deltas = before
            .iter()
            .zip(&after)
            .map(|(before, after)| (after - before).to_bits());
        let first = deltas.next();
        if deltas.all(|delta| Some(delta) == first) {
            let [_, missed] = interval::wilson(0, both.len());
            change.delta_ci95 = [(change.delta - missed).max(-1.0), (change.delta + missed).min(1.0)];
        }
        change.by = Some(rule.name().to_owned());
        changes.push(change);
    }
    Ok(Ok(changes))
}

impl Change {
    /// From the values of each trial, `[K]` each.
    fn of(
        name: &str,
        before: &[f64],
        after: &[f64],
        n_resamples: usize,
        rng: &mut dyn Rng,
    ) -> Result<Self, EvaluateError> {
        let deltas: Vec<f64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
        let delta = mean(&deltas);
        let delta_ci95 = bootstrap_ci95(&[deltas], n_resamples, rng, pooled_mean)?;
        Ok(Self {
            name: name.to_owned(),
            by: None,
            n_neurons: None,
            n_perturbed: None,
            baseline: mean(before),
            perturbed: mean(after),
            delta,
            delta_ci95,
        })
    }

    fn row(&self, name: &str) -> Vec<String> {
        let [low, high] = self.delta_ci95;
        vec![
            name.to_owned(),
            self.n_perturbed
                .zip(self.n_neurons)
                .map_or(String::new(), |(perturbed, all)| format!("{perturbed} of {all}")),
            number(self.baseline),
            number(self.perturbed),
            number(self.delta),
            format!("[{}, {}]", number(low), number(high)),
        ]
    }
}

/// Neurons that the table names, where their changes have intervals.
const MOST_ROWS: usize = 10;

impl Period {
    /// Neurons whose changes have intervals: all in their order, or those of many that change most.
    fn neuron_rows(&self) -> Vec<Vec<String>> {
        let mut shown: Vec<&NeuronChange> = self.neurons.iter().filter(|n| n.delta_ci95.is_some()).collect();
        if shown.len() > MOST_ROWS {
            shown.sort_by(|a, b| b.delta_hz.abs().total_cmp(&a.delta_hz.abs()).then(a.id.cmp(&b.id)));
            shown.truncate(MOST_ROWS);
        }
        let row = |n: &NeuronChange| {
            let [low, high] = n.delta_ci95?;
            Some(vec![
                format!("neuron {}, Hz", n.id),
                if n.is_perturbed { "perturbed" } else { "" }.to_owned(),
                number(n.baseline_hz),
                number(n.perturbed_hz),
                number(n.delta_hz),
                format!("[{}, {}]", number(low), number(high)),
            ])
        };
        shown.into_iter().filter_map(row).collect()
    }
}

impl PerturbationReport {
    /// The table for the terminal.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{} · checkpoint step {} · {} model trials, without and with the perturbation\n",
            self.run, self.checkpoint_step, self.model_trials
        );
        for perturbation in &self.perturbations {
            let _ = writeln!(text, "{}", perturbation.line());
        }
        let header = |first: String| {
            let rest = ["neurons perturbed", "baseline", "perturbed", "Δ", "95 % interval"];
            let mut header = vec![first];
            header.extend(rest.map(str::to_owned));
            header
        };
        for period in &self.periods {
            let [from, to] = period.period_ms;
            let mut rows = vec![header(format!("{} ({from} … {to} ms)", period.name))];
            rows.extend(
                period
                    .rates_hz
                    .iter()
                    .map(|change| change.row(&format!("{}, Hz", change.name))),
            );
            rows.extend(period.behaviour.iter().map(|change| change.row(&change.name)));
            rows.extend(period.neuron_rows());
            text.push('\n');
            write_rows(&mut text, &rows);
            if period.neurons.len() > MOST_ROWS && period.neurons.iter().any(|n| n.delta_ci95.is_some()) {
                let _ = writeln!(
                    text,
                    "  the {MOST_ROWS} neurons of {} that change most; perturbation.json has all",
                    period.neurons.len()
                );
            }
        }
        if !self.type_fractions.is_empty() {
            let mut rows = vec![header("share of trials".to_owned())];
            rows.extend(self.type_fractions.iter().map(|change| {
                let by = change.by.as_deref().unwrap_or("template");
                change.row(&format!("{} by {by}", change.name))
            }));
            text.push('\n');
            write_rows(&mut text, &rows);
        }
        for left_out in &self.left_out {
            let _ = writeln!(text, "\nleft out: {}: {}", left_out.name, left_out.reason);
        }
        if let Some(against) = &self.against {
            against.table(&mut text);
        }
        text
    }
}
