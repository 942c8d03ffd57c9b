//! Evaluation of a spike-history network: trial averages, noise correlations, likelihoods and what the model does when it runs
//! freely, beside baselines, ceilings and bootstrap intervals.

use std::collections::BTreeMap;

use losses::metrics::{MetricValue, spearman_brown};
use losses::sample_and_measure::{
    NoiseFrom, NoiseMoments, largest_population_counts, noise_correlations_of_counts, pairs_of, psth_correlations,
    reproduction, window_counts,
};
use losses::statistics::{mean, quantile_sorted};
use ndarray::{Array2, Array3, ArrayView3, Axis, s};
use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use snn_core::rng::StreamRng;

use super::history_only::HistoryOnly;
use super::multi_step::{self, Horizon};
use super::recorded::{Recorded, Repeats};
use super::rollouts::{FreeWindow, Numbers, Rollouts, Window};
use super::trainer::{starts, tiles};
use crate::assembly::Part;
use crate::config::checked::Steps;
use crate::config::checked::spike_history::SpikeHistoryExperiment;
use crate::evaluate::LeftOutMetric;
use crate::fit_error::FitError;
use crate::memory::{self, BatchSize};

/// Version of `metrics.json` of these runs.
pub const SCHEMA: u32 = 1;
/// Resamples of a bootstrap.
const N_RESAMPLES: usize = 500;
/// Random halves that ceilings are taken from.
const N_HALVES: usize = 50;
/// A trial has run away where all neurons together fire so many times as fast as they ever did in the recording …
const RUNAWAY_FACTOR: f64 = 5.0;
/// … over this time, ms (specification of the issue: any 200 ms).
const RUNAWAY_MS: f64 = 200.0;
/// Windows that are run together.
const WINDOWS_AT_ONCE: usize = 256;
/// Probabilities that baselines give are kept this far from 0 and 1: an event that was never seen isn't impossible.
pub(super) const BASELINE_FLOOR: f64 = 1e-4;

/// All metrics of one run on one part of its trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpikeHistoryReport {
    /// Version of this format, [`SCHEMA`].
    pub schema: u32,
    /// `spike_history`.
    pub model: String,
    /// The run.
    pub run: String,
    /// Part of the trials that the model was compared with.
    pub split: String,
    /// Step of the checkpoint.
    pub checkpoint_step: u64,
    /// Simulated trials of each repeated stimulus.
    pub model_trials: usize,
    /// The metrics.
    pub metrics: Vec<MetricValue>,
    /// Metrics that are undefined for this recording.
    pub left_out: Vec<LeftOutMetric>,
    /// Each neuron.
    pub neurons: Vec<NeuronReport>,
    /// Noise correlations of each pair, by count window.
    pub pairs: Vec<PairReport>,
    /// Likelihood by horizon.
    #[serde(default)]
    pub multi_step: Vec<Horizon>,
    /// Population counts of the trials in the busiest 200 ms, and what counts as running away.
    #[serde(default)]
    pub busiest: Option<Busiest>,
    /// What is wrong, the worst first.
    #[serde(default)]
    pub findings: Vec<crate::findings::Finding>,
}

/// Spikes of all neurons of a session in the busiest stretch of each trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Busiest {
    /// Length of the stretch, ms.
    pub window_ms: f64,
    /// Mean rate per neuron in it, Hz, of each recorded trial.
    pub data_hz: Vec<f64>,
    /// Of each simulated trial.
    pub model_hz: Vec<f64>,
    /// A trial above has run away; the lowest of those of all stimuli.
    pub limit_hz: f64,
}

/// One neuron in a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NeuronReport {
    /// Session.
    pub session: String,
    /// Neuron.
    pub neuron: String,
    /// Rates of recording and model, Hz.
    pub rate_hz: [f64; 2],
    /// Correlation of smoothed trial averages; none for a neuron that is silent in one of both.
    pub psth_correlation: Option<f64>,
    /// What a noiseless model would reach with these recorded trials, from random halves of them.
    #[serde(default)]
    pub psth_ceiling: Option<f64>,
}

/// Noise correlations of one pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairReport {
    /// Session.
    pub session: String,
    /// Neurons.
    pub neurons: [String; 2],
    /// Count window, ms.
    pub window_ms: f64,
    /// Of the recorded trials.
    pub data: Option<f64>,
    /// Of the model's.
    pub model: Option<f64>,
    /// Of the training trials of the same neurons.
    pub training: Option<f64>,
}

/// Recorded and simulated trials of a repeated stimulus.
#[derive(Debug)]
pub struct Compared {
    /// Session.
    pub session: usize,
    /// Stimulus of the session.
    pub stimulus: usize,
    /// Recorded spikes `[K, T, N]`.
    pub data: Array3<u8>,
    /// Simulated spikes `[K_m, T, N]`.
    pub model: Array3<u8>,
    /// Mean probability of the model, `[T, N]`.
    pub p: Array2<f64>,
}

/// What is evaluated.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The run.
    pub run: &'a str,
    /// The configuration.
    pub experiment: &'a SpikeHistoryExperiment,
    /// Network, engine, recordings.
    pub rollouts: Rollouts<'a>,
    /// Part of the trials, and its name.
    pub part: (Part, &'a str),
    /// Step of the checkpoint.
    pub checkpoint_step: u64,
    /// Simulated trials of each repeated stimulus.
    pub n_trials: usize,
}

impl Inputs<'_> {
    fn recorded(&self) -> &Recorded {
        self.rollouts.recorded
    }

    fn bin_ms(&self) -> f64 {
        self.experiment.data.bin_ms
    }

    fn numbers<'a>(&self, stream: &'a str) -> Numbers<'a> {
        Numbers {
            seed: self.experiment.seed,
            number: 0,
            stream,
        }
    }

    /// First bin that is compared.
    fn first(&self) -> usize {
        self.experiment.statistics.skip.steps.max(self.rollouts.lead)
    }
}

/// Refuses more trials than this machine can simulate.
///
/// # Errors
/// As [`memory::check`].
pub fn check_size(inputs: &Inputs<'_>) -> Result<(), FitError> {
    let repeats = inputs.recorded().repeats(inputs.part.0);
    let longest = repeats.iter().map(|repeats| repeats.n_bins).max().unwrap_or(0);
    memory::check(BatchSize {
        n_trials: inputs.n_trials,
        n_steps: longest.saturating_sub(inputs.first()),
        n_neurons: inputs.rollouts.model.network.spec.n_neurons(),
        bytes_per_value: memory::PROBABILITY,
    })
}

/// Simulates the repeats of the part.
///
/// # Errors
/// As [`Rollouts::simulate`].
pub fn simulate(inputs: &Inputs<'_>) -> Result<Vec<Compared>, FitError> {
    check_size(inputs)?;
    let first = inputs.first();
    let mut rng = StreamRng::new(inputs.experiment.seed, "evaluate.trials", 0);
    let mut found = Vec::new();
    for (i, repeats) in inputs.recorded().repeats(inputs.part.0).iter().enumerate() {
        if repeats.n_bins <= first {
            continue;
        }
        let window = FreeWindow {
            repeats,
            first,
            bins: repeats.n_bins - first,
            starts: starts(&repeats.trials, inputs.n_trials, &mut rng),
        };
        let stream = format!("evaluate.{i}");
        let (p, model) = inputs.rollouts.simulate(&window, inputs.numbers(&stream))?;
        found.push(Compared {
            session: repeats.session,
            stimulus: repeats.stimulus,
            data: recorded_spikes(inputs.recorded(), repeats, first),
            model,
            p: p.mapv(f64::from).mean_axis(Axis(0)).unwrap_or_default(),
        });
    }
    Ok(found)
}

fn recorded_spikes(recorded: &Recorded, repeats: &Repeats, first: usize) -> Array3<u8> {
    let session = &recorded.sessions[repeats.session];
    let part = session.spikes.slice(s![.., first..repeats.n_bins, ..]);
    part.select(Axis(0), &repeats.trials)
}

/// All metrics.
///
/// # Errors
/// Anything that doesn't fit; a device that fails.
pub fn evaluate(inputs: &Inputs<'_>, compared: &[Compared]) -> Result<SpikeHistoryReport, FitError> {
    let mut report = SpikeHistoryReport {
        schema: SCHEMA,
        model: "spike_history".to_owned(),
        run: inputs.run.to_owned(),
        split: inputs.part.1.to_owned(),
        checkpoint_step: inputs.checkpoint_step,
        model_trials: inputs.n_trials,
        metrics: Vec::new(),
        left_out: Vec::new(),
        neurons: Vec::new(),
        pairs: Vec::new(),
        multi_step: Vec::new(),
        busiest: None,
        findings: Vec::new(),
    };
    let baselines = Baselines::new(inputs)?;
    likelihoods(inputs, &baselines, &mut report)?;
    if compared.is_empty() {
        report.left_out.push(LeftOutMetric {
            name: "psth_correlation, noise_correlation_*, runaway_fraction".to_owned(),
            reason: format!(
                "no stimulus is shown in 4 trials of the {} part of a session",
                inputs.part.1
            ),
        });
        return Ok(report);
    }
    trial_averages(inputs, compared, &mut report);
    for window in &inputs.experiment.statistics.count_windows {
        noise(inputs, compared, *window, &mut report);
    }
    runaway(inputs, compared, &mut report);
    multi_step(inputs, &baselines, &mut report)?;
    Ok(report)
}

/// Trial averages and rates.
fn trial_averages(inputs: &Inputs<'_>, compared: &[Compared], report: &mut SpikeHistoryReport) {
    let recorded = inputs.recorded();
    let width = inputs.experiment.statistics.smooth.steps;
    let per_s = 1000.0 / inputs.bin_ms();
    let mut ratios = Vec::new();
    for one in compared {
        let session = &recorded.sessions[one.session];
        let average = trial_mean(&one.data.view());
        let r = psth_correlations(&average.view(), &one.p.view(), width);
        let model = trial_mean(&one.model.view());
        let ceilings = psth_ceilings(&one.data, width, inputs.experiment.seed);
        for (unit, (&neuron, r)) in session.neurons.iter().zip(r).enumerate() {
            let rate = |x: &Array2<f64>| x.column(unit).mean().unwrap_or(0.0) * per_s;
            let rates = [rate(&average), rate(&model)];
            if rates[0] > 0.0 {
                ratios.push(rates[1] / rates[0]);
            }
            report.neurons.push(NeuronReport {
                session: session.id.clone(),
                neuron: recorded.neurons[neuron].to_string(),
                rate_hz: rates,
                psth_correlation: r.is_finite().then_some(r),
                psth_ceiling: ceilings[unit],
            });
        }
    }
    let seed = inputs.experiment.seed;
    let copies: Option<Vec<Array2<f64>>> = compared.iter().map(|one| training_average(inputs, one)).collect();
    for (name, width) in [("psth_correlation", width), ("psth_correlation_raw", 1)] {
        let value = |data: &[Array2<f64>]| {
            let all = data.iter().zip(compared);
            let r: Vec<f64> = all
                .flat_map(|(data, one)| psth_correlations(&data.view(), &one.p.view(), width))
                .filter(|r| r.is_finite())
                .collect();
            mean(&r)
        };
        let averages: Vec<Array2<f64>> = compared.iter().map(|one| trial_mean(&one.data.view())).collect();
        let resampled = |i: usize| {
            let mut rng = StreamRng::new(seed, "evaluate.bootstrap.psth", i as u64);
            let drawn: Vec<Array2<f64>> = compared
                .iter()
                .map(|one| trial_mean(&resample(&one.data, &mut rng).view()))
                .collect();
            value(&drawn)
        };
        let half = |i: usize| {
            let mut rng = StreamRng::new(seed, "evaluate.halves", i as u64);
            let mut r = Vec::new();
            for one in compared {
                let [a, b] = halves(&one.data, &mut rng);
                r.extend(psth_correlations(
                    &trial_mean(&a.view()).view(),
                    &trial_mean(&b.view()).view(),
                    width,
                ));
            }
            r.retain(|r| r.is_finite());
            mean(&r)
        };
        let reliability = spearman_brown(mean(&parallel(N_HALVES, half)), 2.0);
        let mut metric = MetricValue::new(name, value(&averages), report.neurons.len(), "1");
        metric.ci95 = interval_of_agreement(metric.value, parallel(N_RESAMPLES, resampled));
        metric.ceiling_noiseless = (reliability > 0.0).then(|| reliability.sqrt());
        if let Some(copies) = &copies {
            let all = averages.iter().zip(copies);
            let r: Vec<f64> = all
                .flat_map(|(data, copy)| psth_correlations(&data.view(), &copy.view(), width))
                .filter(|r| r.is_finite())
                .collect();
            if !r.is_empty() {
                metric.nulls.insert("training_psth".to_owned(), mean(&r));
            }
        }
        report.metrics.push(metric);
    }
    report
        .metrics
        .push(MetricValue::new("rate_ratio", mean(&ratios), ratios.len(), "1"));
}

/// Average of the training trials of the same stimulus in the same bins; none where fewer than four are as long, and where training trials
/// themselves are compared.
fn training_average(inputs: &Inputs<'_>, compared: &Compared) -> Option<Array2<f64>> {
    let (recorded, first) = (inputs.recorded(), inputs.first());
    let until = first + compared.data.dim().1;
    let is_it = |r: &Repeats| (r.session, r.stimulus) == (compared.session, compared.stimulus) && r.n_bins >= until;
    let repeats = match inputs.part.0 {
        Part::Train => None,
        Part::Validation | Part::Test => recorded.repeats(Part::Train).into_iter().find(is_it),
    }?;
    let spikes = recorded_spikes(recorded, &repeats, first);
    Some(trial_mean(&spikes.slice(s![.., ..until - first, ..])))
}

/// Root of the reliability of each neuron's smoothed trial average, from random halves of the trials.
fn psth_ceilings(data: &Array3<u8>, width: usize, seed: u64) -> Vec<Option<f64>> {
    let half = |i: usize| {
        let mut rng = StreamRng::new(seed, "evaluate.halves", i as u64);
        let [a, b] = halves(data, &mut rng);
        psth_correlations(&trial_mean(&a.view()).view(), &trial_mean(&b.view()).view(), width)
    };
    let found: Vec<Vec<f64>> = (0..N_HALVES).into_par_iter().map(half).collect();
    (0..data.dim().2)
        .map(|unit| {
            let r: Vec<f64> = found.iter().map(|r| r[unit]).filter(|r| r.is_finite()).collect();
            let reliability = spearman_brown(mean(&r), 2.0);
            (reliability > 0.0).then(|| reliability.sqrt())
        })
        .collect()
}

/// A number of a reproduction.
type Pick = fn(&losses::sample_and_measure::Reproduction) -> f64;

/// Noise correlations in windows of one length.
fn noise(inputs: &Inputs<'_>, compared: &[Compared], window: Steps, report: &mut SpikeHistoryReport) {
    let recorded = inputs.recorded();
    let seed = inputs.experiment.seed;
    let ms = window.steps as f64 * inputs.bin_ms();
    let name = |what: &str| format!("noise_correlation_{what}_{}ms", (ms * 10.0).round() / 10.0);
    let matrices = |of: fn(&Compared) -> &Array3<u8>, noise: NoiseFrom| -> Vec<f64> {
        let of = |one: &Compared| pairs_in(of(one), window.steps, noise);
        compared.iter().flat_map(of).collect()
    };
    let data = matrices(|one| &one.data, NoiseFrom::Mean);
    let model = matrices(|one| &one.model, NoiseFrom::Mean);
    let training = training_pairs(inputs, compared, window.steps, NoiseFrom::Mean);
    let mut at = 0;
    for one in compared {
        let session = &recorded.sessions[one.session];
        let names: Vec<String> = session
            .neurons
            .iter()
            .map(|&n| recorded.neurons[n].to_string())
            .collect();
        for i in 0..names.len() {
            for j in i + 1..names.len() {
                let value = |values: &[f64]| values.get(at).copied().filter(|x| x.is_finite());
                report.pairs.push(PairReport {
                    session: session.id.clone(),
                    neurons: [names[i].clone(), names[j].clone()],
                    window_ms: ms,
                    data: value(&data),
                    model: value(&model),
                    training: value(&training),
                });
                at += 1;
            }
        }
    }
    let found = reproduction(&data, &model);
    let copied = reproduction(&data, &training);
    let of_differences = matrices(|one| &one.data, NoiseFrom::NextTrial);
    let differences = reproduction(&of_differences, &matrices(|one| &one.model, NoiseFrom::NextTrial));
    let training = training_pairs(inputs, compared, window.steps, NoiseFrom::NextTrial);
    let copied_differences = reproduction(&of_differences, &training);
    let half = |i: usize| {
        let mut rng = StreamRng::new(seed, "evaluate.halves", i as u64);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for one in compared {
            let [first, second] = halves(&one.data, &mut rng);
            a.extend(pairs_in(&first, window.steps, NoiseFrom::Mean));
            b.extend(pairs_in(&second, window.steps, NoiseFrom::Mean));
        }
        reproduction(&a, &b).r
    };
    let reliability = spearman_brown(mean(&parallel(N_HALVES, half)), 2.0);
    let resampled = bootstrap(compared, window.steps, seed);
    let of = |pick: Pick| interval(resampled.iter().map(pick).collect());
    let of_agreement = |pick: Pick| interval_of_agreement(pick(&found), resampled.iter().map(pick).collect());
    let mut push = |what: &str, value: f64, ci95: Option<[f64; 2]>, null: Option<f64>, ceiling: Option<f64>| {
        if !value.is_finite() {
            report.left_out.push(LeftOutMetric {
                name: name(what),
                reason: "fewer than two pairs, or their noise correlations don't vary".to_owned(),
            });
            return;
        }
        let mut metric = MetricValue::new(name(what), value, found.n, "1");
        metric.ci95 = ci95;
        metric.nulls = null
            .filter(|x| x.is_finite())
            .map(|x| ("training_noise_correlations".to_owned(), x))
            .into_iter()
            .collect();
        metric.ceiling_noiseless = ceiling.filter(|x| x.is_finite() && *x > 0.0);
        report.metrics.push(metric);
    };
    let ceiling = Some(reliability);
    push("r2", found.r2, of_agreement(|r| r.r2), Some(copied.r2), ceiling);
    push(
        "r2_offset_free",
        found.r2_offset_free,
        of_agreement(|r| r.r2_offset_free),
        Some(copied.r2_offset_free),
        ceiling,
    );
    push(
        "r",
        found.r,
        of_agreement(|r| r.r),
        Some(copied.r),
        ceiling.map(f64::sqrt),
    );
    push(
        "r2_of_differences",
        differences.r2,
        None,
        Some(copied_differences.r2),
        None,
    );
    push(
        "r2_offset_free_of_differences",
        differences.r2_offset_free,
        None,
        Some(copied_differences.r2_offset_free),
        None,
    );
    push(
        "mean_of_differences",
        differences.means[1],
        None,
        Some(copied_differences.means[1]),
        None,
    );
    push("mean_of_differences_data", differences.means[0], None, None, None);
    push("mean", found.means[1], of(|r| r.means[1]), Some(copied.means[1]), None);
    push("mean_data", found.means[0], of(|r| r.means[0]), None, None);
}

/// Reproductions in resamples of recorded trials, simulated trials and pairs.
fn bootstrap(compared: &[Compared], window: usize, seed: u64) -> Vec<losses::sample_and_measure::Reproduction> {
    resampled_pairs(compared, window, seed)
        .into_iter()
        .map(|(data, model)| reproduction(&data, &model))
        .collect()
}

/// Noise correlations of data and model in each resample; the same trials of the recording and the same pairs whatever the model,
/// so that models are compared pair by pair.
pub fn resampled_pairs(compared: &[Compared], window: usize, seed: u64) -> Vec<(Vec<f64>, Vec<f64>)> {
    let moments = |spikes: &Array3<u8>| NoiseMoments::new(window_counts(&spikes.view(), window));
    let moments: Vec<[NoiseMoments; 2]> = compared
        .iter()
        .map(|one| [moments(&one.data), moments(&one.model)])
        .collect();
    let pairs = |moments: &NoiseMoments, rng: &mut StreamRng| {
        pairs_of(&moments.noise_correlations(&drawn(moments.n_trials(), rng)).view())
    };
    let one = |i: usize| {
        let mut of_data = StreamRng::new(seed, "evaluate.bootstrap.data", i as u64);
        let mut of_model = StreamRng::new(seed, "evaluate.bootstrap.model", i as u64);
        let (mut data, mut model) = (Vec::new(), Vec::new());
        for [of_trials, simulated] in &moments {
            data.extend(pairs(of_trials, &mut of_data));
            model.extend(pairs(simulated, &mut of_model));
        }
        let mut of_pairs = StreamRng::new(seed, "evaluate.bootstrap.pairs", i as u64);
        let places = drawn(data.len(), &mut of_pairs);
        let pick = |values: &[f64]| places.iter().map(|&i| values[i]).collect();
        (pick(&data), pick(&model))
    };
    (0..N_RESAMPLES).into_par_iter().map(one).collect()
}

/// Noise correlations of the same pairs in the training trials, in the order of `compared`; NaN where they have none, and where training
/// trials themselves are compared.
fn training_pairs(inputs: &Inputs<'_>, compared: &[Compared], window: usize, noise: NoiseFrom) -> Vec<f64> {
    let recorded = inputs.recorded();
    let n = recorded.neurons.len();
    let mut sums = Array2::<f64>::zeros((n, n));
    let mut counts = Array2::<f64>::zeros((n, n));
    let repeats = match inputs.part.0 {
        Part::Train => Vec::new(),
        Part::Validation | Part::Test => recorded.repeats(Part::Train),
    };
    for repeats in repeats {
        // What comes before the first bin is the same in each trial of a block, unless the user says otherwise.
        let spikes = recorded_spikes(recorded, &repeats, 0);
        let nc = noise_correlations_of_counts(&window_counts(&spikes.view(), window).view(), noise);
        let neurons = &recorded.sessions[repeats.session].neurons;
        for ((i, j), value) in nc.indexed_iter() {
            if value.is_finite() {
                sums[[neurons[i], neurons[j]]] += value;
                counts[[neurons[i], neurons[j]]] += 1.0;
            }
        }
    }
    let means = sums / counts;
    compared
        .iter()
        .flat_map(|one| {
            let neurons = &recorded.sessions[one.session].neurons;
            pairs_of(&means.select(Axis(0), neurons).select(Axis(1), neurons).view())
        })
        .collect()
}

/// Trials in which the population runs away.
fn runaway(inputs: &Inputs<'_>, compared: &[Compared], report: &mut SpikeHistoryReport) {
    let window = ((RUNAWAY_MS / inputs.bin_ms()).round() as usize).max(1);
    let (mut runaway, mut n) = (0usize, 0usize);
    let mut busiest = Busiest {
        window_ms: window as f64 * inputs.bin_ms(),
        data_hz: Vec::new(),
        model_hz: Vec::new(),
        limit_hz: f64::INFINITY,
    };
    for one in compared {
        let bins = window.min(one.data.dim().1);
        let hz = 1000.0 / (bins as f64 * inputs.bin_ms() * one.data.dim().2.max(1) as f64);
        let recorded = largest_population_counts(&one.data.view(), window);
        let most = recorded.iter().copied().fold(0.0, f64::max);
        let found = largest_population_counts(&one.model.view(), window);
        runaway += found.iter().filter(|&&count| count > RUNAWAY_FACTOR * most).count();
        n += found.len();
        busiest.data_hz.extend(recorded.iter().map(|count| count * hz));
        busiest.model_hz.extend(found.iter().map(|count| count * hz));
        busiest.limit_hz = busiest.limit_hz.min(RUNAWAY_FACTOR * most * hz);
    }
    let value = runaway as f64 / n.max(1) as f64;
    report.metrics.push(MetricValue::new("runaway_fraction", value, n, "1"));
    report.busiest = Some(busiest);
}

/// What is predicted without the model.
struct Baselines {
    /// Spikes per bin in the training trials, by model neuron.
    rates: Vec<f64>,
    /// Logistic regression on recorded history alone, or why it is left out.
    history: Result<HistoryOnly, String>,
}

impl Baselines {
    fn new(inputs: &Inputs<'_>) -> Result<Self, FitError> {
        let recorded = inputs.recorded();
        Ok(Self {
            rates: recorded.rates(),
            history: HistoryOnly::fit(recorded, inputs.experiment.model.history.steps)?,
        })
    }
}

/// Sum of log-likelihoods, nats, with the number of entries and spikes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Likelihood {
    nats: f64,
    entries: f64,
    pub(super) spikes: f64,
}

impl Likelihood {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            nats: self.nats + other.nats,
            entries: self.entries + other.entries,
            spikes: self.spikes + other.spikes,
        }
    }

    pub(super) fn add(&mut self, z: u8, p: f64) {
        let p = p.clamp(1e-7, 1.0 - 1e-7);
        self.nats += if z > 0 { p.ln() } else { (-p).ln_1p() };
        self.entries += 1.0;
        self.spikes += f64::from(z);
    }

    /// Cross-entropy, nats per bin and neuron.
    fn cross_entropy(self) -> f64 {
        -self.nats / self.entries
    }

    /// What it gains over another one, bits per spike.
    pub(super) fn bits_per_spike(self, over: Self) -> f64 {
        (self.nats - over.nats) / (self.spikes * std::f64::consts::LN_2)
    }
}

/// Likelihood of the recorded spikes given the recorded past.
fn likelihoods(inputs: &Inputs<'_>, baselines: &Baselines, report: &mut SpikeHistoryReport) -> Result<(), FitError> {
    let recorded = inputs.recorded();
    let bins = inputs.experiment.model.windows.clamped_steps.steps;
    let (part, _) = inputs.part;
    let all = tiles(recorded, part, inputs.first(), bins);
    let (mut model, mut rate, mut history) = (Likelihood::default(), Likelihood::default(), Likelihood::default());
    for (i, windows) in of_sessions(&all)
        .iter()
        .flat_map(|w| w.chunks(WINDOWS_AT_ONCE))
        .enumerate()
    {
        let stream = format!("evaluate.clamped.{i}");
        let p = inputs.rollouts.given(windows, bins, bins, 1, inputs.numbers(&stream))?;
        for (window, p) in windows.iter().zip(p.outer_iter()) {
            let session = &recorded.sessions[window.session];
            let z = session
                .spikes
                .slice(s![window.trial, window.first..window.first + bins, ..]);
            let by_history = baselines
                .history
                .as_ref()
                .map(|baseline| baseline.probabilities(session, window.trial, window.first..window.first + bins));
            for (t, z) in z.outer_iter().enumerate() {
                for (unit, (&z, &neuron)) in z.iter().zip(&session.neurons).enumerate() {
                    model.add(z, f64::from(p[[t, unit]]));
                    rate.add(z, baselines.rates[neuron].clamp(BASELINE_FLOOR, 1.0 - BASELINE_FLOOR));
                    if let Ok(by_history) = &by_history {
                        history.add(z, by_history[[t, neuron]]);
                    }
                }
            }
        }
    }
    if model.entries == 0.0 || model.spikes == 0.0 {
        report.left_out.push(LeftOutMetric {
            name: "cross_entropy, bits_per_spike".to_owned(),
            reason: format!("no spike in windows of {bins} bins of these trials"),
        });
        return Ok(());
    }
    let n = model.entries as usize;
    let mut metric = MetricValue::new("cross_entropy", model.cross_entropy(), n, "nats per bin");
    metric.nulls = BTreeMap::from([("rate".to_owned(), rate.cross_entropy())]);
    let mut gain = MetricValue::new(
        "bits_per_spike",
        model.bits_per_spike(rate),
        model.spikes as usize,
        "bits",
    );
    match &baselines.history {
        Ok(_) => {
            metric.nulls.insert("history_only".to_owned(), history.cross_entropy());
            gain.nulls
                .insert("history_only".to_owned(), history.bits_per_spike(rate));
        }
        Err(reason) => report.left_out.push(LeftOutMetric {
            name: "history_only".to_owned(),
            reason: reason.clone(),
        }),
    }
    report.metrics.push(metric);
    report.metrics.push(gain);
    Ok(())
}

/// Likelihood some bins after the recorded past ends, beside the trial average of the other trials.
fn multi_step(inputs: &Inputs<'_>, baselines: &Baselines, report: &mut SpikeHistoryReport) -> Result<(), FitError> {
    let horizons = multi_step::multi_step(&multi_step::Inputs {
        rollouts: inputs.rollouts,
        part: inputs.part.0,
        first: inputs.first(),
        smooth: inputs.experiment.statistics.smooth.steps,
        bin_ms: inputs.bin_ms(),
        seed: inputs.experiment.seed,
        rates: &baselines.rates,
    })?;
    for which in 0..2 {
        report
            .metrics
            .extend(horizons.iter().map(|h| h.metrics()[which].clone()));
    }
    report.multi_step = horizons;
    Ok(())
}

/// Windows of each session by themselves.
fn of_sessions(windows: &[Window]) -> Vec<Vec<Window>> {
    let mut sessions = BTreeMap::<usize, Vec<Window>>::new();
    for window in windows {
        sessions.entry(window.session).or_default().push(*window);
    }
    sessions.into_values().collect()
}

fn pairs_in(spikes: &Array3<u8>, window: usize, noise: NoiseFrom) -> Vec<f64> {
    let counts = window_counts(&spikes.view(), window);
    pairs_of(&noise_correlations_of_counts(&counts.view(), noise).view())
}

fn trial_mean(spikes: &ArrayView3<'_, u8>) -> Array2<f64> {
    let n = spikes.dim().0.max(1) as f64;
    let mut sum = Array2::<f64>::zeros((spikes.dim().1, spikes.dim().2));
    for trial in spikes.outer_iter() {
        sum.zip_mut_with(&trial, |sum, &z| *sum += f64::from(z));
    }
    sum / n
}

fn resample(spikes: &Array3<u8>, rng: &mut StreamRng) -> Array3<u8> {
    spikes.select(Axis(0), &drawn(spikes.dim().0, rng))
}

/// As many of n as there are, each drawn from all.
fn drawn(n: usize, rng: &mut StreamRng) -> Vec<usize> {
    (0..n).map(|_| rng.random_range(0..n)).collect()
}

fn halves(spikes: &Array3<u8>, rng: &mut StreamRng) -> [Array3<u8>; 2] {
    let k = spikes.dim().0;
    let mut order: Vec<usize> = (0..k).collect();
    order.shuffle(rng);
    [&order[..k / 2], &order[k / 2..]].map(|half| spikes.select(Axis(0), half))
}

fn parallel(n: usize, value: impl Fn(usize) -> f64 + Sync + Send) -> Vec<f64> {
    (0..n).into_par_iter().map(value).filter(|x| x.is_finite()).collect()
}

/// 95 % percentile interval.
fn interval(mut values: Vec<f64>) -> Option<[f64; 2]> {
    values.retain(|x| x.is_finite());
    values.sort_by(f64::total_cmp);
    Some([quantile_sorted(&values, 0.025)?, quantile_sorted(&values, 0.975)?])
}

/// 95 % interval of an agreement (1 where nothing differs) by resamples. A resample of trials has the noise of the recorded ones and its own,
/// so that it agrees less: disagreements are scaled to have that of the value in their middle.
fn interval_of_agreement(value: f64, mut resampled: Vec<f64>) -> Option<[f64; 2]> {
    resampled.retain(|x| x.is_finite());
    resampled.sort_by(f64::total_cmp);
    let middle = 1.0 - quantile_sorted(&resampled, 0.5)?;
    let scale = if middle > 0.0 { (1.0 - value) / middle } else { 1.0 };
    interval(resampled.into_iter().map(|x| 1.0 - scale * (1.0 - x)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_of_agreements_cover_what_other_recordings_of_as_many_trials_give() {
        // A trial average of 60 bins over 20 trials, and a model that follows what is behind it.
        let (n_trials, n_bins) = (20, 60);
        let behind = |t: usize| 0.5 + 0.3 * (t as f64 / 5.0).sin();
        let record = |i: u64| {
            let mut rng = StreamRng::new(i, "test.agreement", 0);
            Array2::from_shape_fn((n_trials, n_bins), |(_, t)| {
                f64::from(u8::from(rng.random::<f64>() < behind(t)))
            })
        };
        let model: Vec<f64> = (0..n_bins).map(|t| behind(t + 1)).collect();
        let agreement = |trials: &Array2<f64>| {
            let average = trials.mean_axis(Axis(0)).unwrap();
            let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
            for (x, y) in average.iter().zip(&model) {
                let (x, y) = (x - average.mean().unwrap(), y - 0.5);
                (xy, xx, yy) = (xy + x * y, xx + x * x, yy + y * y);
            }
            xy / (xx * yy).sqrt()
        };
        let expected = (0..400).map(|i| agreement(&record(1000 + i))).sum::<f64>() / 400.0;
        let (mut covered, mut by_percentiles) = (0, 0);
        for i in 0..100 {
            let recorded = record(i);
            let value = agreement(&recorded);
            let mut rng = StreamRng::new(i, "test.agreement.resamples", 0);
            let resampled: Vec<f64> = (0..300)
                .map(|_| agreement(&recorded.select(Axis(0), &drawn(n_trials, &mut rng))))
                .collect();
            let [low, high] = interval_of_agreement(value, resampled.clone()).unwrap();
            assert!(low < value && value < high && high < 1.0, "{low} {value} {high}");
            covered += usize::from(low < expected && expected < high);
            let [low, high] = interval(resampled).unwrap();
            by_percentiles += usize::from(low < expected && expected < high);
        }
        // Percentiles by themselves lie too low.
        assert!(
            covered >= 88 && by_percentiles < 70,
            "{covered} {by_percentiles} of 100"
        );
        assert_eq!(interval_of_agreement(0.5, Vec::new()), None);
    }
}
