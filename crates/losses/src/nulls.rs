//! Null models: simple generators of spike counts that a fitted network has to beat.
//!
//! Each takes recorded trials and *generates* as many trials as the model has, so that metrics see
//! the same number of them. A generated trial carries the stimulus condition and trial type of a recorded
//! one. Behaviour is treated like one more neuron: shuffled, or replaced by its mean over the trials of the
//! label.

use std::collections::BTreeMap;

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, s};
use rand::Rng;
use rand::seq::SliceRandom;
use rand_distr::{Distribution, Gamma, Poisson};
use serde::{Deserialize, Serialize};

use crate::LossError;
use crate::error::check_shape;
use crate::statistics::{Presence, RecordedSession, Recording, TrialSelection, rows_by_label, unbiased_variance};

/// What a null model keeps of the recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NullModel {
    /// Every neuron's trials shuffled within stimulus conditions, independently of the other neurons'.
    TrialShuffled,
    /// Independent Poisson counts with the PSTH of the stimulus condition.
    PsthPoissonPerStimulus,
    /// Independent Poisson counts with the PSTH of the trial type (within the stimulus condition).
    PsthPoissonPerTrialType,
    /// Poisson counts with the PSTH of the stimulus condition times one random gain per trial.
    PsthSharedGain,
}

impl NullModel {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::TrialShuffled,
        Self::PsthPoissonPerStimulus,
        Self::PsthPoissonPerTrialType,
        Self::PsthSharedGain,
    ];

    /// Name in `metrics.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::TrialShuffled => "trial_shuffled",
            Self::PsthPoissonPerStimulus => "psth_poisson_per_stimulus",
            Self::PsthPoissonPerTrialType => "psth_poisson_per_trial_type",
            Self::PsthSharedGain => "psth_shared_gain",
        }
    }

    /// Generates `n_trials` trials for each session from its selected complete trials.
    ///
    /// Conditions and trial types are those of the recorded trials, in random order; with more trials
    /// than recorded ones they are gone through again, so their shares are kept. Sessions without
    /// complete selected trials get no trials. `smoothing_bins`: PSTHs are smoothed by a centred moving
    /// mean of that many bins (1 for none); the shuffled null does not use it. A neuron that was observed in no trial of a
    /// label is absent from generated trials of that label; in populations, what stands in for it there is as good as it
    /// is in the recorded trials.
    ///
    /// # Errors
    /// [`LossError::Shape`], [`LossError::Index`] for a selection of other sessions or trials;
    /// [`LossError::Parameter`] for 0 smoothing bins; [`LossError::NoData`] if no session has complete trials.
    pub fn generate<R: Rng + ?Sized>(
        self,
        recording: &Recording,
        selection: &TrialSelection,
        n_trials: usize,
        smoothing_bins: usize,
        rng: &mut R,
    ) -> Result<Recording, LossError> {
        recording.check_selection(selection)?;
        let mut n_complete = 0;
        let mut sessions = Vec::with_capacity(selection.len());
        for (session, trials) in recording.sessions().iter().zip(selection) {
            let complete: Vec<usize> = trials
                .iter()
                .copied()
                .filter(|&k| session.valid_bins[k] == recording.n_bins())
                .collect();
            n_complete += complete.len();
            sessions.push(self.session(session, &complete, n_trials, smoothing_bins, rng)?);
        }
        if n_complete == 0 {
            return Err(LossError::NoData {
                what: "null model",
                reason: "no selected trial is complete".to_owned(),
            });
        }
        Recording::new(
            sessions,
            recording.area_names().to_vec(),
            recording.n_neurons(),
            recording.n_conditions(),
        )
    }

    /// Behaviour `[n, T, B]` of the wanted trials; NaN for a label without any finite behaviour, and in channels that
    /// weren't recorded.
    fn behaviour<R: Rng + ?Sized>(
        self,
        traces: &Array3<f64>,
        channels: &[usize],
        labels: &[usize],
        wanted: &[usize],
        rng: &mut R,
    ) -> Array3<f64> {
        let (_, n_bins, n_channels) = traces.dim();
        let mut made = Array3::from_elem((wanted.len(), n_bins, n_channels), f64::NAN);
        for (label, rows) in finite_rows(traces, labels, channels) {
            let targets: Vec<usize> = (0..wanted.len()).filter(|&i| wanted[i] == label).collect();
            if self == Self::TrialShuffled {
                let drawn = repeated_permutations(rows.len(), targets.len(), rng);
                for (&target, source) in targets.iter().zip(drawn) {
                    let trace = traces.index_axis(Axis(0), rows[source]);
                    made.index_axis_mut(Axis(0), target).assign(&trace);
                }
            } else if let Some(mean) = traces.select(Axis(0), &rows).mean_axis(Axis(0)) {
                for target in targets {
                    made.index_axis_mut(Axis(0), target).assign(&mean);
                }
            }
        }
        made
    }

    fn session<R: Rng + ?Sized>(
        self,
        session: &RecordedSession,
        complete: &[usize],
        n_trials: usize,
        smoothing_bins: usize,
        rng: &mut R,
    ) -> Result<RecordedSession, LossError> {
        let n_trials = if complete.is_empty() { 0 } else { n_trials };
        let counts = session.counts.select(Axis(0), complete);
        let source = repeated_permutations(complete.len(), n_trials, rng);
        // One label per (condition, trial type) or per condition.
        let label = |k: usize| match self {
            Self::PsthPoissonPerTrialType => (session.conditions[k], session.trial_types[k]),
            _ => (session.conditions[k], 0),
        };
        let mut numbers = BTreeMap::new();
        for &k in complete {
            let next = numbers.len();
            numbers.entry(label(k)).or_insert(next);
        }
        let labels: Vec<usize> = complete.iter().map(|&k| numbers[&label(k)]).collect();
        let wanted: Vec<usize> = source.iter().map(|&i| labels[i]).collect();
        let behaviour = session.behaviour.as_ref().map(|traces| {
            let traces = traces.select(Axis(0), complete);
            self.behaviour(&traces, &session.channels(), &labels, &wanted, rng)
        });
        let mask = session.mask().map(|mask| mask.select(Axis(0), complete));
        let counts = Counts {
            counts: counts.view(),
            mask: mask.as_ref(),
        };
        let presence = session.presence.as_ref().map(|own| Presence {
            is_present: counts.observed(&labels, &wanted),
            is_kept: own.is_kept.clone(),
        });
        let counts = match self {
            Self::TrialShuffled => shuffled(counts, &labels, &wanted, rng)?,
            Self::PsthPoissonPerStimulus | Self::PsthPoissonPerTrialType => {
                with_gain(counts, &labels, &wanted, 0.0, smoothing_bins, rng)?
            }
            Self::PsthSharedGain => {
                let gain = gain_variance(session, &counts.counts, &labels)?;
                with_gain(counts, &labels, &wanted, gain, smoothing_bins, rng)?
            }
        };
        let of_source = |labels: &[usize]| source.iter().map(|&i| labels[complete[i]]).collect();
        Ok(RecordedSession {
            name: session.name.clone(),
            valid_bins: vec![counts.len_of(Axis(1)); n_trials],
            counts,
            conditions: of_source(&session.conditions),
            trial_types: of_source(&session.trial_types),
            neurons: session.neurons.clone(),
            areas: session.areas.clone(),
            presence,
            behaviour,
        })
    }
}

/// Recorded counts `[K, T, N]`, and which neurons were observed in which trials `[K, N]`.
#[derive(Clone, Copy)]
struct Counts<'a> {
    counts: ArrayView3<'a, u8>,
    mask: Option<&'a Array2<bool>>,
}

impl<'a> Counts<'a> {
    fn of_all(counts: &ArrayView3<'a, u8>) -> Self {
        Self {
            counts: *counts,
            mask: None,
        }
    }

    /// Whether each neuron was observed in a trial of the label of each trial to make, `[n, N]`.
    fn observed(&self, labels: &[usize], wanted: &[usize]) -> Array2<bool> {
        let n_neurons = self.counts.len_of(Axis(2));
        let mut observed = BTreeMap::<usize, Vec<bool>>::new();
        for (k, &label) in labels.iter().enumerate() {
            let of_label = observed.entry(label).or_insert_with(|| vec![false; n_neurons]);
            for (n, is_observed) in of_label.iter_mut().enumerate() {
                *is_observed |= self.mask.is_none_or(|mask| mask[[k, n]]);
            }
        }
        Array2::from_shape_fn((wanted.len(), n_neurons), |(i, n)| {
            observed.get(&wanted[i]).is_some_and(|of_label| of_label[n])
        })
    }

    /// Those of some trials that a neuron was observed in; where it was in none, all, with what stands in for it.
    fn present(&self, rows: &[usize], neuron: usize) -> Vec<usize> {
        let is_present = |k: &usize| self.mask.is_none_or(|mask| mask[[*k, neuron]]);
        let present: Vec<usize> = rows.iter().copied().filter(is_present).collect();
        if present.is_empty() { rows.to_vec() } else { present }
    }
}

/// Rows of each label whose behaviour is finite in these channels.
fn finite_rows(traces: &Array3<f64>, labels: &[usize], channels: &[usize]) -> BTreeMap<usize, Vec<usize>> {
    let mut rows = BTreeMap::<usize, Vec<usize>>::new();
    for (k, trace) in traces.outer_iter().enumerate() {
        if channels
            .iter()
            .all(|&b| trace.column(b).iter().all(|value| value.is_finite()))
        {
            rows.entry(labels[k]).or_default().push(k);
        }
    }
    rows
}

/// n indices below `len`: random permutations one after another, so that all occur equally often (± 1).
fn repeated_permutations<R: Rng + ?Sized>(len: usize, n: usize, rng: &mut R) -> Vec<usize> {
    let mut indices = Vec::with_capacity(n);
    while indices.len() < n && len > 0 {
        let mut permutation: Vec<usize> = (0..len).collect();
        permutation.shuffle(rng);
        permutation.truncate(n - indices.len());
        indices.append(&mut permutation);
    }
    indices
}

/// Trials put together from every neuron's own trials of the same label, drawn independently for each
/// neuron, each recorded trial equally often (± 1): PSTHs stay, everything shared is gone.
///
/// # Shapes
/// `counts` `[K, T, N]`, `labels` `[K]`, `wanted` `[n]` labels of the trials to make; result `[n, T, N]`.
///
/// # Errors
/// [`LossError::Shape`] if labels do not fit; [`LossError::NoData`] for a wanted label that no trial has.
pub fn trial_shuffled<R: Rng + ?Sized>(
    counts: &ArrayView3<'_, u8>,
    labels: &[usize],
    wanted: &[usize],
    rng: &mut R,
) -> Result<Array3<u8>, LossError> {
    shuffled(Counts::of_all(counts), labels, wanted, rng)
}

/// As [`trial_shuffled`], of each neuron from the trials that it was observed in.
fn shuffled<R: Rng + ?Sized>(
    recorded: Counts<'_>,
    labels: &[usize],
    wanted: &[usize],
    rng: &mut R,
) -> Result<Array3<u8>, LossError> {
    let counts = &recorded.counts;
    let rows = rows_of_labels(counts, labels, wanted)?;
    let (_, n_bins, n_neurons) = counts.dim();
    let mut made = Array3::zeros((wanted.len(), n_bins, n_neurons));
    for (label, rows) in &rows {
        let targets: Vec<usize> = (0..wanted.len()).filter(|&i| wanted[i] == *label).collect();
        for n in 0..n_neurons {
            let rows = recorded.present(rows, n);
            let drawn = repeated_permutations(rows.len(), targets.len(), rng);
            for (&target, source) in targets.iter().zip(drawn) {
                made.slice_mut(s![target, .., n])
                    .assign(&counts.slice(s![rows[source], .., n]));
            }
        }
    }
    Ok(made)
}

/// Independent Poisson counts with the mean counts of the label's trials.
///
/// # Shapes
/// As [`trial_shuffled`]; `smoothing_bins` of the PSTH. Counts above 255 become 255.
///
/// # Errors
/// As [`trial_shuffled`]; [`LossError::Parameter`] for 0 smoothing bins.
pub fn psth_poisson<R: Rng + ?Sized>(
    counts: &ArrayView3<'_, u8>,
    labels: &[usize],
    wanted: &[usize],
    smoothing_bins: usize,
    rng: &mut R,
) -> Result<Array3<u8>, LossError> {
    psth_shared_gain(counts, labels, wanted, 0.0, smoothing_bins, rng)
}

/// Poisson counts with the mean counts of the label's trials times one gain per trial, shared by all
/// neurons: gamma distributed with mean 1 and variance `gain_variance` (0: no gain).
///
/// # Shapes
/// As [`psth_poisson`].
///
/// # Errors
/// As [`psth_poisson`]; [`LossError::Parameter`] for a negative or infinite variance.
pub fn psth_shared_gain<R: Rng + ?Sized>(
    counts: &ArrayView3<'_, u8>,
    labels: &[usize],
    wanted: &[usize],
    gain_variance: f64,
    smoothing_bins: usize,
    rng: &mut R,
) -> Result<Array3<u8>, LossError> {
    with_gain(
        Counts::of_all(counts),
        labels,
        wanted,
        gain_variance,
        smoothing_bins,
        rng,
    )
}

/// As [`psth_shared_gain`], with the mean counts of each neuron over the trials that it was observed in.
fn with_gain<R: Rng + ?Sized>(
    recorded: Counts<'_>,
    labels: &[usize],
    wanted: &[usize],
    gain_variance: f64,
    smoothing_bins: usize,
    rng: &mut R,
) -> Result<Array3<u8>, LossError> {
    let counts = &recorded.counts;
    if smoothing_bins == 0 {
        return Err(LossError::Parameter {
            name: "smoothing of the null's PSTH (bins)",
            found: "0".to_owned(),
            expected: "at least 1",
        });
    }
    let gains = gain_distribution(gain_variance)?;
    let rows = rows_of_labels(counts, labels, wanted)?;
    let psths: BTreeMap<usize, Array2<f64>> = rows
        .iter()
        .map(|(&label, rows)| (label, smooth(&mean_counts(recorded, rows).view(), smoothing_bins)))
        .collect();
    let (_, n_bins, n_neurons) = counts.dim();
    let mut made = Array3::zeros((wanted.len(), n_bins, n_neurons));
    for (mut trial, label) in made.outer_iter_mut().zip(wanted) {
        let gain = gains.map_or(1.0, |gamma| gamma.sample(rng));
        for (count, mean) in trial.iter_mut().zip(&psths[label]) {
            *count = poisson_count(gain * mean, rng);
        }
    }
    Ok(made)
}

/// Variance of the shared gain, from the population counts of whole trials.
///
/// With a gain g of mean 1 and independent Poisson neurons, the summed count S of a trial has
/// `var S = μ + μ² var g` in each condition. So `var g = Σ_c (K_c − 1)(s²_c − μ_c) / Σ_c (K_c − 1) μ_c²`
/// over conditions with at least two trials, 0 if negative.
///
/// # Errors
/// [`LossError::Shape`] if labels do not fit.
pub fn shared_gain_variance(counts: &ArrayView3<'_, u8>, labels: &[usize]) -> Result<f64, LossError> {
    let rows = rows_of_labels(counts, labels, labels)?;
    let (mut excess, mut scale) = (0.0, 0.0);
    for rows in rows.values().filter(|rows| rows.len() > 1) {
        let sums: Vec<f64> = rows
            .iter()
            .map(|&k| counts.index_axis(Axis(0), k).iter().map(|&c| f64::from(c)).sum())
            .collect();
        let mean = crate::statistics::mean(&sums);
        let weight = (rows.len() - 1) as f64;
        excess += weight * (unbiased_variance(&sums) - mean);
        scale += weight * mean * mean;
    }
    Ok(if scale > 0.0 { (excess / scale).max(0.0) } else { 0.0 })
}

/// As [`shared_gain_variance`], of the neurons in populations: others have counts of some trials only.
fn gain_variance(session: &RecordedSession, counts: &ArrayView3<'_, u8>, labels: &[usize]) -> Result<f64, LossError> {
    let kept: Vec<usize> = (0..session.neurons.len()).filter(|&n| session.is_kept(n)).collect();
    if kept.len() == session.neurons.len() {
        return shared_gain_variance(counts, labels);
    }
    shared_gain_variance(&counts.select(Axis(2), &kept).view(), labels)
}

fn gain_distribution(variance: f64) -> Result<Option<Gamma<f64>>, LossError> {
    if variance == 0.0 {
        return Ok(None);
    }
    let bad = || LossError::Parameter {
        name: "variance of the shared gain",
        found: variance.to_string(),
        expected: "a finite number, not negative",
    };
    if !variance.is_finite() || variance < 0.0 {
        return Err(bad());
    }
    Gamma::new(variance.recip(), variance).map(Some).map_err(|_| bad())
}

fn poisson_count<R: Rng + ?Sized>(mean: f64, rng: &mut R) -> u8 {
    // A mean of 0 has no distribution object; means are finite because counts and gains are.
    Poisson::new(mean).map_or(0, |poisson| poisson.sample(rng).min(255.0) as u8)
}

/// Rows of each wanted label.
fn rows_of_labels(
    counts: &ArrayView3<'_, u8>,
    labels: &[usize],
    wanted: &[usize],
) -> Result<BTreeMap<usize, Vec<usize>>, LossError> {
    check_shape(
        "labels of the null's trials",
        &[labels.len()],
        &[counts.len_of(Axis(0))],
    )?;
    let rows = rows_by_label(labels);
    match wanted.iter().find(|&label| !rows.contains_key(label)) {
        None => Ok(rows),
        Some(label) => Err(LossError::NoData {
            what: "null model",
            reason: format!("no recorded trial has the label {label}"),
        }),
    }
}

fn mean_counts(recorded: Counts<'_>, rows: &[usize]) -> Array2<f64> {
    let counts = &recorded.counts;
    let (_, n_bins, n_neurons) = counts.dim();
    let mut sums = Array2::<f64>::zeros((n_bins, n_neurons));
    if recorded.mask.is_none() {
        for &k in rows {
            sums.zip_mut_with(&counts.index_axis(Axis(0), k), |sum, &count| *sum += f64::from(count));
        }
        return sums / rows.len() as f64;
    }
    for (n, mut sums) in sums.columns_mut().into_iter().enumerate() {
        let present = recorded.present(rows, n);
        for &k in &present {
            sums.zip_mut_with(&counts.slice(s![k, .., n]), |sum, &count| *sum += f64::from(count));
        }
        sums /= present.len() as f64;
    }
    sums
}

/// Centred moving mean over `width` bins (the later one more for an even width), fewer at the edges.
fn smooth(psth: &ArrayView2<'_, f64>, width: usize) -> Array2<f64> {
    let n_bins = psth.nrows();
    let mut smoothed = Array2::zeros(psth.raw_dim());
    for (t, mut row) in smoothed.outer_iter_mut().enumerate() {
        let bins = t.saturating_sub((width - 1) / 2)..(t + width / 2 + 1).min(n_bins);
        let n = bins.len() as f64;
        row.assign(&(psth.slice(s![bins, ..]).sum_axis(Axis(0)) / n));
    }
    smoothed
}
