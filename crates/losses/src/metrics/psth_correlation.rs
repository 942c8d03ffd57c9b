//! PSTH correlation per neuron, and what a noiseless model could reach.

use std::collections::BTreeMap;

use rand::Rng;
use rand::seq::SliceRandom;

use super::{PEARSON_EPS, pearson, pearson_ref_centered, spearman_brown};
use crate::LossError;
use crate::error::check_shape;
use crate::statistics::{MovingMean, Psth, Recording, TrialSelection, mean};

/// Correlation of one neuron's PSTH with its reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NeuronCorrelation {
    /// The model neuron.
    pub neuron: usize,
    /// Pearson's coefficient; 0 if the prediction is constant (a silent model neuron).
    pub pearson: f64,
    /// The published variant, centred with the reference's mean; of rates in Hz.
    pub ref_centered: f64,
}

/// Correlations of all neurons above a rate.
#[derive(Debug, Clone)]
pub struct PsthCorrelation {
    /// One entry per neuron, ascending.
    pub neurons: Vec<NeuronCorrelation>,
    /// Recorded neurons at or below the rate.
    pub n_below_rate: usize,
    /// Neurons above it whose reference PSTH is constant, or shares no PSTH bin with the prediction.
    pub n_undefined: usize,
}

impl PsthCorrelation {
    /// Mean of Pearson's coefficient over neurons; NaN without neurons.
    pub fn mean_pearson(&self) -> f64 {
        mean(&self.neurons.iter().map(|n| n.pearson).collect::<Vec<_>>())
    }

    /// Mean of the published variant over neurons; NaN without neurons.
    pub fn mean_ref_centered(&self) -> f64 {
        mean(&self.neurons.iter().map(|n| n.ref_centered).collect::<Vec<_>>())
    }
}

/// Correlates PSTHs over time, neuron by neuron; conditions are concatenated.
///
/// Only PSTH bins observed in both count. `rates_hz` `[N]` decides which neurons take part (those above
/// `min_rate_hz`; NaN for hidden neurons); the published figure uses 1 Hz.
///
/// # Errors
/// [`LossError::Shape`] if the PSTHs or rates differ in shape, [`LossError::Parameter`] for a bin width.
///
/// # Source
/// Sourmpis et al. 2023, figure 3C left.
pub fn psth_correlation(
    reference: &Psth,
    prediction: &Psth,
    rates_hz: &[f64],
    min_rate_hz: f64,
    bin_ms: f64,
) -> Result<PsthCorrelation, LossError> {
    crate::error::check_positive("bin width (ms)", bin_ms)?;
    check_shape("predicted PSTH", prediction.values.shape(), reference.values.shape())?;
    check_shape("rates", &[rates_hz.len()], &reference.values.shape()[2..])?;
    let hz = 1000.0 / bin_ms;
    let mut result = PsthCorrelation {
        neurons: Vec::new(),
        n_below_rate: 0,
        n_undefined: 0,
    };
    for (neuron, rate) in rates_hz.iter().enumerate() {
        if rate.is_nan() {
            continue;
        }
        if *rate <= min_rate_hz {
            result.n_below_rate += 1;
            continue;
        }
        let (y, p): (Vec<f64>, Vec<f64>) = reference
            .neuron(neuron)
            .into_iter()
            .zip(prediction.neuron(neuron))
            .filter(|(y, p)| !y.is_nan() && !p.is_nan())
            .map(|(y, p)| (y * hz, p * hz))
            .unzip();
        if pearson(&y, &y).is_none() {
            result.n_undefined += 1;
            continue;
        }
        result.neurons.push(NeuronCorrelation {
            neuron,
            pearson: pearson(&y, &p).unwrap_or(0.0),
            ref_centered: pearson_ref_centered(&y, &p, PEARSON_EPS),
        });
    }
    Ok(result)
}

/// How reproducible the recorded PSTHs are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PsthReliability {
    /// Mean over neurons and splits of the correlation between the PSTHs of two halves of the trials.
    pub half_correlation: f64,
    /// Spearman–Brown reliability of the PSTHs of all trials.
    pub reliability: f64,
    /// Its square root: the mean correlation that a noiseless model of the true rates would reach.
    pub ceiling_noiseless: f64,
    /// Neurons it was computed from.
    pub n_neurons: usize,
}

/// Split-half reliability of the PSTHs of the given neurons.
///
/// Trials of each session and condition are split at random into halves (an odd one is dropped) `n_splits`
/// times; conditions with a single trial take no part. Correlations are averaged over neurons and
/// splits before the Spearman–Brown correction, because the correction of noisy single values is biased.
///
/// # Errors
/// [`LossError::Shape`], [`LossError::Index`] for a selection or neuron that does not exist;
/// [`LossError::NoData`] if no neuron has a defined correlation.
///
/// # Source
/// Spearman 1910, Brown 1910; the published figure compares with training data instead, which a noiseless
/// model would beat.
pub fn psth_reliability<R: Rng + ?Sized>(
    recording: &Recording,
    selection: &TrialSelection,
    filter: MovingMean,
    neurons: &[usize],
    n_splits: usize,
    rng: &mut R,
) -> Result<PsthReliability, LossError> {
    recording.check_selection(selection)?;
    crate::error::check_indices("neurons of the reliability", neurons, recording.n_neurons())?;
    let mut sums = vec![(0.0, 0usize); neurons.len()];
    let (mut n_used, mut n_half) = (0, 0);
    for _ in 0..n_splits {
        let halves = split_halves(recording, selection, rng);
        n_used += halves.n_used;
        n_half += halves.first.iter().map(Vec::len).sum::<usize>();
        let first = Psth::of_recording(recording, &halves.first, filter)?;
        let second = Psth::of_recording(recording, &halves.second, filter)?;
        for (&neuron, (sum, n)) in neurons.iter().zip(&mut sums) {
            let (x, y): (Vec<f64>, Vec<f64>) = first
                .neuron(neuron)
                .into_iter()
                .zip(second.neuron(neuron))
                .filter(|(x, y)| !x.is_nan() && !y.is_nan())
                .unzip();
            if let Some(r) = pearson(&x, &y) {
                *sum += r;
                *n += 1;
            }
        }
    }
    let values: Vec<f64> = sums
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(sum, n)| sum / *n as f64)
        .collect();
    if values.is_empty() {
        return Err(LossError::NoData {
            what: "reliability of the PSTH",
            reason: "no neuron has two trials of a condition with spikes in both halves".to_owned(),
        });
    }
    let half_correlation = mean(&values);
    let reliability = spearman_brown(half_correlation, n_used as f64 / n_half as f64);
    Ok(PsthReliability {
        half_correlation,
        reliability,
        ceiling_noiseless: reliability.sqrt(),
        n_neurons: values.len(),
    })
}

struct Halves {
    first: TrialSelection,
    second: TrialSelection,
    n_used: usize,
}

fn split_halves<R: Rng + ?Sized>(recording: &Recording, selection: &TrialSelection, rng: &mut R) -> Halves {
    let mut halves = Halves {
        first: Vec::new(),
        second: Vec::new(),
        n_used: 0,
    };
    for (session, trials) in recording.sessions().iter().zip(selection) {
        let mut of_condition = BTreeMap::<usize, Vec<usize>>::new();
        for &k in trials {
            of_condition.entry(session.conditions[k]).or_default().push(k);
        }
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for mut trials in of_condition.into_values().filter(|trials| trials.len() > 1) {
            trials.shuffle(rng);
            let half = trials.len() / 2;
            halves.n_used += trials.len();
            first.extend_from_slice(&trials[..half]);
            second.extend_from_slice(&trials[half..2 * half]);
        }
        halves.first.push(first);
        halves.second.push(second);
    }
    halves
}
