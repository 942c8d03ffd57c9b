//! The objective of one selection of recorded trials: from raw statistics of a batch to losses and dL/dspikes.

use crate::adversary::Adversary;
use crate::config::checked::{CountWindows, Loss, MatchingTrials, Statistics};
use crate::fit_error::FitError;
use crate::soft_matching::SoftMatching;
use losses::count_covariance::{CountCovarianceLoss, Entries};
use losses::firing_rate::{firing_rate_loss, firing_rate_loss_by_bins};
use losses::gradient_split::GradientSplitter;
use losses::psth::{ConditionWeights, PsthLoss, spike_weights};
use losses::spike_gradient::{Batch, SpikeGradient};
use losses::statistics::{
    DataFeatures, FeatureOptions, Filters, MovingMean, PSTH_STD_FLOOR, Population, Populations, Psth, PsthScale,
    RecordedCounts, RecordedFeatures, Recording, Segments, TrialSelection, mask_beyond,
};
use losses::trial_loss::{Method, model_features, trial_loss, trial_loss_by};
use losses::trial_matching::{Candidates, TrialSubset};
use ndarray::{Array2, Array3, Axis, s};
use snn_core::models::rsnn::Simulation;
use snn_core::rng::StreamRng;
use snn_core::rollout::{Channel, SegmentAdjoint, SpikeAdjoint};
use std::collections::BTreeMap;

/// What losses need of the recording, computed once per run.
#[derive(Debug)]
pub struct Comparison {
    /// Recorded trials of the model's neurons.
    pub recording: Recording,
    /// Both filters.
    pub filters: Filters,
    /// (session, area) groups of trial matching; empty when no group is large enough and nothing is matched.
    pub populations: Populations,
    /// Whose traces a batch has: these groups, then each recorded neuron by itself where a loss compares neurons.
    traced: Populations,
    /// The traces as weighted sums of model neurons: of spikes for the groups, of spike probabilities for single neurons.
    pub channels: Vec<Channel>,
    features: Option<RecordedFeatures>,
    neuron_features: Option<RecordedFeatures>,
    /// Recorded counts in segments of trials, where a loss sees counts.
    counts: Option<RecordedCounts>,
    /// Of each neuron in the PSTH loss; none: all the same.
    neuron_weights: Option<Vec<f64>>,
    statistics: Statistics,
    losses: Vec<Loss>,
    bin_ms: f64,
    damping: f64,
    is_masked: bool,
}

/// What a comparison is besides its statistics and losses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ComparisonOptions {
    /// Width of a bin, ms.
    pub bin_ms: f64,
    /// Damping of the model's surrogate gradient.
    pub damping: f64,
    /// Whether single trials are compared by behaviour too.
    pub has_behaviour: bool,
    /// Whether model trials end at different bins, as recorded ones do: both are compared over the bins that they have.
    pub is_masked: bool,
}

/// Targets of one selection of recorded trials (training, validation, a balanced subset).
#[derive(Debug)]
pub struct Objective {
    psth: Option<PsthLoss>,
    features: Option<DataFeatures>,
    neuron_features: Option<DataFeatures>,
    rates_hz: Vec<f64>,
    /// Of each loss, in their order; none of those that don't see counts.
    counts: Vec<Option<CountCovarianceLoss>>,
}

impl Objective {
    /// Features of the recorded trials, where a loss compares trials.
    pub fn features(&self) -> Option<&DataFeatures> {
        self.features.as_ref()
    }

    /// Sessions (indices) whose trials are matched.
    pub fn matched_sessions(&self) -> Vec<usize> {
        let sessions = self.features.iter().flat_map(|f| f.sessions.iter());
        sessions.map(|s| s.session).collect()
    }
}

/// Raw statistics of a batch of model trials.
#[derive(Debug)]
pub struct BatchStatistics {
    /// Spikes summed over the trials of each condition, `[C, T, N]`.
    pub sums: Array3<f64>,
    /// Trials of each condition, `[C]`.
    pub counts: Vec<usize>,
    /// Condition of each trial, `[K]`.
    pub conditions: Vec<usize>,
    /// Bins that each trial has `[K]`; `None`: all. Sums are over these, traces and behaviour NaN beyond.
    pub valid_bins: Option<Vec<usize>>,
    /// Mean spikes of each population, `[K, T, G]`.
    pub traces: Array3<f64>,
    /// Behaviour `[K, T, B]`.
    pub behaviour: Option<Array3<f64>>,
    /// Spikes of each trial in segments of it `[K, S, N]`, over the bins that the trial has, where a loss sees counts.
    pub segment_counts: Option<Array3<f64>>,
}

impl BatchStatistics {
    /// Adds further trials of the same batch.
    ///
    /// # Errors
    /// Statistics of another network.
    pub fn append(&mut self, more: &Self) -> Result<(), ndarray::ShapeError> {
        self.sums += &more.sums;
        for (count, more) in self.counts.iter_mut().zip(&more.counts) {
            *count += more;
        }
        self.conditions.extend_from_slice(&more.conditions);
        if let (Some(valid), Some(more)) = (&mut self.valid_bins, &more.valid_bins) {
            valid.extend_from_slice(more);
        }
        self.traces.append(Axis(0), more.traces.view())?;
        if let (Some(behaviour), Some(more)) = (&mut self.behaviour, &more.behaviour) {
            behaviour.append(Axis(0), more.view())?;
        }
        if let (Some(counts), Some(more)) = (&mut self.segment_counts, &more.segment_counts) {
            counts.append(Axis(0), more.view())?;
        }
        Ok(())
    }
}

/// Losses of a batch, and their gradients with respect to its raw statistics.
#[derive(Debug)]
pub struct Evaluation {
    /// Loss times weight, by name.
    pub weighted: BTreeMap<String, f64>,
    /// Gradient of each loss times its weight.
    tasks: Vec<SpikeGradient>,
    d_behaviour: Option<Array3<f64>>,
}

impl Evaluation {
    /// Sum of the weighted losses.
    pub fn total(&self) -> f64 {
        self.weighted.values().sum()
    }
}

impl Comparison {
    /// Filters the recording once.
    ///
    /// # Errors
    /// Too few bins for the filters, no population large enough for trial matching.
    pub fn new(
        recording: Recording,
        statistics: Statistics,
        losses: Vec<Loss>,
        options: ComparisonOptions,
    ) -> Result<Self, FitError> {
        let ComparisonOptions {
            bin_ms,
            damping,
            has_behaviour,
            is_masked,
        } = options;
        let filters = filters(&statistics, recording.n_bins())?;
        let matches = losses.iter().any(compares_trials);
        let populations = if matches {
            Populations::by_area(&recording, statistics.min_neurons_per_area)?
        } else {
            Populations::by_area_if_any(&recording, statistics.min_neurons_per_area)
        };
        let mut traced = populations.clone();
        let compares_neurons = |l: &Loss| matches!(l, Loss::TrialMatchedLikelihood { .. });
        if losses.iter().any(compares_neurons) {
            traced.groups.extend(Populations::by_neuron(&recording).groups);
        }
        let n_groups = populations.len();
        let channels = traced.groups.iter().map(channel).collect();
        let of_groups = |recording: &Recording, groups: std::ops::Range<usize>, has_behaviour: bool| {
            let options = FeatureOptions {
                has_behaviour,
                is_masked,
                ..FeatureOptions::default()
            };
            RecordedFeatures::of_groups(recording, &traced, groups, &filters, options)
        };
        let features = match n_groups {
            0 => None,
            _ => Some(of_groups(&recording, 0..n_groups, has_behaviour)?),
        };
        // The published program compares a neuron's spikes with recorded bins that have any.
        let neuron_features = match traced.len() - n_groups {
            0 => None,
            _ => Some(of_groups(&recording.binarized(), n_groups..traced.len(), false)?),
        };
        let segments = count_segments(&losses, recording.n_bins())?;
        let counts = segments.map(|segments| RecordedCounts::new(&recording, segments));
        Ok(Self {
            recording,
            filters,
            populations,
            traced,
            channels,
            features,
            neuron_features,
            counts,
            neuron_weights: None,
            statistics,
            losses,
            bin_ms,
            damping,
            is_masked,
        })
    }

    /// Segments of a trial in which spikes are counted; 0 where no loss sees counts.
    pub fn n_segments(&self) -> usize {
        self.segments().map_or(0, Segments::len)
    }

    fn segments(&self) -> Option<&Segments> {
        self.counts.as_ref().map(RecordedCounts::segments)
    }

    /// Names of the losses of counts that an objective has nothing to compare for.
    pub fn without_counts(&self, objective: &Objective) -> Vec<&'static str> {
        let losses = self.losses.iter().zip(&objective.counts);
        losses
            .filter(|(loss, counts)| counted(loss).is_some() && counts.is_none())
            .map(|(loss, _)| loss.name())
            .collect()
    }

    /// Losses of counts, sessions, and how many of their neurons these losses leave out.
    pub fn uncounted(&self, objective: &Objective) -> Vec<(&'static str, usize, usize)> {
        let losses = self.losses.iter().zip(&objective.counts);
        let of_loss = |(loss, counts): (&Loss, &Option<CountCovarianceLoss>)| {
            let name = loss.name();
            let counted = counts.as_ref().map(CountCovarianceLoss::n_neurons)?;
            let sessions = self.recording.sessions().iter().zip(counted).enumerate();
            let left = sessions.map(move |(s, (session, n))| (name, s, session.neurons.len() - n));
            Some(left.filter(|(_, _, n)| *n > 0).collect::<Vec<_>>())
        };
        losses.filter_map(of_loss).flatten().collect()
    }

    /// Whether a loss sees the probabilities of spikes, so that simulations have to keep their potentials.
    pub fn takes_probabilities(&self) -> bool {
        self.neuron_features.is_some()
    }

    /// Gives neurons with few spikes in the training trials less weight in the PSTH loss, by `statistics.min_spikes`; in
    /// every objective, whatever its trials.
    ///
    /// # Errors
    /// A selection of other trials.
    pub fn weigh_neurons(&mut self, training: &TrialSelection) -> Result<(), FitError> {
        let spikes = self.recording.spikes(training)?;
        self.neuron_weights = Some(spike_weights(&spikes, self.statistics.min_spikes));
        Ok(())
    }

    /// The losses, in the order of the configuration.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Filtered traces of all recorded trials, if any population is large enough.
    pub fn features(&self) -> Option<&RecordedFeatures> {
        self.features.as_ref()
    }

    /// Targets of a selection of trials; `like` gives the scales (those of the training trials), else its own.
    ///
    /// # Errors
    /// A selection without usable trials.
    pub fn objective(&self, selection: &TrialSelection, like: Option<&Objective>) -> Result<Objective, FitError> {
        let has = |f: fn(&Loss) -> bool| self.losses.iter().any(f);
        let psth = if has(|l| matches!(l, Loss::Psth { .. })) {
            let data = self.psth_of(selection)?;
            let scale: PsthScale = match like.and_then(|l| l.psth.as_ref()) {
                Some(like) => like.scale().clone(),
                None => data.scale(PSTH_STD_FLOOR),
            };
            let loss = PsthLoss::new(
                data,
                scale,
                ConditionWeights::TrialShare,
                self.filters.spike(),
                self.recording.n_bins(),
            )?;
            Some(match &self.neuron_weights {
                Some(weights) => loss.with_neuron_weights(weights.clone())?,
                None => loss,
            })
        } else {
            None
        };
        let features = match &self.features {
            Some(features) if has(compares_trials) => Some(match like.and_then(|l| l.features.as_ref()) {
                Some(like) => features.normalized_like_where_selected(like, selection)?,
                None => features.normalized(selection)?,
            }),
            _ => None,
        };
        let neuron_features = match &self.neuron_features {
            Some(features) => Some(match like.and_then(|l| l.neuron_features.as_ref()) {
                Some(like) => features.normalized_like_where_selected(like, selection)?,
                None => features.normalized(selection)?,
            }),
            None => None,
        };
        let rates_hz = if has(|l| matches!(l, Loss::FiringRate { .. })) {
            self.recording.rates_hz(selection, self.bin_ms)?
        } else {
            Vec::new()
        };
        let counts = self.losses.iter().enumerate().map(|(i, loss)| {
            let (Some((entries, windows)), Some(counts)) = (counted(loss), &self.counts) else {
                return Ok(None);
            };
            let lengths = window_lengths(windows, self.recording.n_bins());
            let like = like.and_then(|like| like.counts.get(i)?.as_ref());
            CountCovarianceLoss::new(&self.recording, counts, selection, &lengths, entries, like)
        });
        Ok(Objective {
            psth,
            features,
            neuron_features,
            rates_hz,
            counts: counts.collect::<Result<_, _>>()?,
        })
    }

    /// PSTHs of recorded trials, as they are compared with the model's.
    fn psth_of(&self, selection: &TrialSelection) -> Result<Psth, losses::LossError> {
        let filter = self.filters.spike();
        if self.is_masked {
            Psth::of_recording_by_bins(&self.recording, selection, filter)
        } else {
            Psth::of_recording(&self.recording, selection, filter)
        }
    }

    /// Raw statistics of simulated trials of the given conditions, over the bins that each has (all, where none is given).
    ///
    /// # Errors
    /// A condition beyond the recording's.
    pub fn statistics(
        &self,
        simulation: &Simulation,
        conditions: Vec<usize>,
        valid_bins: Option<Vec<usize>>,
    ) -> Result<BatchStatistics, FitError> {
        let n_conditions = self.recording.n_conditions();
        let lengths = valid_bins.as_deref();
        let sums = simulation
            .rollout
            .sums_by_condition(&conditions, n_conditions, lengths)?;
        let mut counts = vec![0; n_conditions];
        for &c in &conditions {
            counts[c] += 1;
        }
        let n_groups = self.populations.len();
        let mut traces = simulation.rollout.project(&self.channels[..n_groups])?;
        if self.takes_probabilities() {
            let p = simulation.rollout.probabilities(&simulation.network)?;
            let neurons: Vec<usize> = self.traced.groups[n_groups..]
                .iter()
                .flat_map(|group| group.neurons.iter().copied())
                .collect();
            let (n_trials, n_bins, _) = p.dim();
            let mut all = Array3::zeros((n_trials, n_bins, n_groups + neurons.len()));
            all.slice_mut(s![.., .., ..n_groups]).assign(&traces);
            for (mut row, p) in all.rows_mut().into_iter().zip(p.rows()) {
                let own = row.iter_mut().skip(n_groups).zip(&neurons);
                own.for_each(|(trace, &n)| *trace = f64::from(p[n]));
            }
            traces = all;
        }
        let mut behaviour = simulation.behaviour.clone();
        if let Some(valid) = &valid_bins {
            mask_beyond(&mut traces, valid);
            if let Some(behaviour) = &mut behaviour {
                mask_beyond(behaviour, valid);
            }
        }
        let segment_counts = match self.segments() {
            None => None,
            Some(segments) => {
                let (of_bin, n) = (segments.of_bin(), segments.len());
                Some(
                    simulation
                        .rollout
                        .counts_in_segments(of_bin, n, valid_bins.as_deref())?,
                )
            }
        };
        Ok(BatchStatistics {
            sums,
            counts,
            conditions,
            valid_bins,
            traces,
            behaviour,
            segment_counts,
        })
    }

    /// Features `[K, F]` of a batch for each session of the objective; none where no loss compares trials.
    ///
    /// # Errors
    /// Statistics of another network.
    pub fn model_features(
        &self,
        objective: &Objective,
        batch: &BatchStatistics,
    ) -> Result<Option<Vec<Array2<f64>>>, FitError> {
        let Some(features) = &objective.features else {
            return Ok(None);
        };
        let behaviour = batch.behaviour.as_ref().map(|b| self.filters.features(&b.view()));
        let traces = batch.traces.view();
        Ok(Some(model_features(
            features,
            &self.filters,
            &traces,
            behaviour.as_ref(),
        )?))
    }

    /// Values (and gradients) of all losses for a batch; `rng` chooses which recorded trials are matched, `soft` is where
    /// they are matched softly.
    ///
    /// Where there is no adversary, as in validation, the energy distance stands for the spike-GAN loss: the judgement of
    /// discriminators can't be compared from step to step.
    ///
    /// # Errors
    /// Non-finite statistics; a batch that has no stimulus in common with the objective.
    pub fn evaluate(
        &self,
        objective: &Objective,
        batch: &BatchStatistics,
        adversary: Option<&Adversary>,
        soft: &SoftMatching,
        rng: &mut StreamRng,
    ) -> Result<Evaluation, FitError> {
        let mut evaluation = Evaluation {
            weighted: BTreeMap::new(),
            tasks: Vec::new(),
            d_behaviour: None,
        };
        for (i, loss) in self.losses.iter().enumerate() {
            let weight = loss.weight();
            let (value, task) = match loss {
                Loss::CountVariance { .. } | Loss::CountCovariance { .. } => {
                    let counts = objective.counts.get(i).and_then(Option::as_ref);
                    let found = match (counts, &batch.segment_counts) {
                        (Some(counts), Some(model)) => {
                            counts.evaluate(&model.view(), &batch.conditions, batch.valid_bins.as_deref())?
                        }
                        _ => None,
                    };
                    // Nothing to compare in these trials: no value, and no say in the step.
                    let Some(mut result) = found else {
                        evaluation.tasks.push(SpikeGradient::default());
                        continue;
                    };
                    result.d_counts *= weight;
                    let d_counts = Some(result.d_counts);
                    (
                        result.value,
                        SpikeGradient {
                            d_counts,
                            ..SpikeGradient::default()
                        },
                    )
                }
                Loss::Psth { .. } => {
                    let Some(psth) = &objective.psth else { continue };
                    let mut result = match self.trials_at(batch) {
                        Some(trials_at) => psth.evaluate_by_bins(&batch.sums.view(), &trials_at.view())?,
                        None => psth.evaluate(&batch.sums.view(), &batch.counts)?,
                    };
                    result.d_sums *= weight;
                    (
                        result.value,
                        SpikeGradient {
                            d_sums: Some(result.d_sums),
                            ..SpikeGradient::default()
                        },
                    )
                }
                Loss::FiringRate { .. } => {
                    let bins = 0..self.recording.n_bins();
                    let (sums, rates_hz) = (batch.sums.view(), &objective.rates_hz);
                    let mut result = match self.trials_at(batch) {
                        Some(at) => firing_rate_loss_by_bins(&sums, at.sum(), rates_hz, bins, self.bin_ms)?,
                        None => firing_rate_loss(&sums, &batch.counts, rates_hz, bins, self.bin_ms)?,
                    };
                    result.d_sums *= weight;
                    (
                        result.value,
                        SpikeGradient {
                            d_sums: Some(result.d_sums),
                            ..SpikeGradient::default()
                        },
                    )
                }
                Loss::TrialMatchedLikelihood { .. } => {
                    let Some(features) = &objective.neuron_features else {
                        continue;
                    };
                    let candidates = self.candidates(&Method::Hard, features, &batch.conditions, rng);
                    let traces = batch.traces.view();
                    let mut result = trial_loss(&Method::Hard, features, &self.filters, &traces, None, &candidates)?;
                    // The surrogate dz/dx is the damping times dp/dx, so that this at the spikes is the gradient at the
                    // probabilities.
                    result.d_traces *= weight / self.damping;
                    (
                        result.value,
                        SpikeGradient {
                            d_traces: Some(result.d_traces),
                            ..SpikeGradient::default()
                        },
                    )
                }
                Loss::TrialMatching { .. } | Loss::SpikeGan(_) => {
                    let Some(features) = &objective.features else { continue };
                    let behaviour = batch.behaviour.as_ref().map(|b| b.view());
                    let traces = batch.traces.view();
                    let mut result = if let (Loss::SpikeGan(_), Some(adversary)) = (loss, adversary) {
                        trial_loss_by(features, &self.filters, &traces, behaviour.as_ref(), |model| {
                            adversary.fool(features, model, &batch.conditions)
                        })?
                    } else {
                        let method = &method_of(loss);
                        let candidates = self.candidates(method, features, &batch.conditions, rng);
                        trial_loss_by(features, &self.filters, &traces, behaviour.as_ref(), |model| {
                            method.of_features_by(soft, model, features, &candidates)
                        })?
                    };
                    result.d_traces *= weight;
                    if let Some(d) = &mut result.d_behaviour {
                        *d *= weight;
                        match &mut evaluation.d_behaviour {
                            Some(sum) => *sum += &*d,
                            None => evaluation.d_behaviour = result.d_behaviour,
                        }
                    }
                    (
                        result.value,
                        SpikeGradient {
                            d_traces: Some(result.d_traces),
                            ..SpikeGradient::default()
                        },
                    )
                }
            };
            let name = match (loss, adversary) {
                (Loss::SpikeGan(_), None) => SPIKE_GAN_ENERGY,
                _ => loss.name(),
            };
            evaluation.weighted.insert(name.to_owned(), value * weight);
            evaluation.tasks.push(task);
        }
        Ok(evaluation)
    }

    /// Whether model trials of these conditions can be compared with those of the objective by every loss: the energy distance
    /// takes two trials of a condition on both sides, losses of counts four of the model's that have the bins of a window
    /// (`valid_bins`; none: all have all). `judges`: whether discriminators judge, in whose place the energy distance stands
    /// otherwise.
    pub fn is_comparable(
        &self,
        objective: &Objective,
        model: &[usize],
        valid_bins: Option<&[usize]>,
        judges: bool,
    ) -> bool {
        let takes_two = |loss: &Loss| match loss {
            Loss::TrialMatching { method, .. } => matches!(method, Method::Energy { .. }),
            Loss::SpikeGan(_) => !judges,
            _ => false,
        };
        let mut counts = objective.counts.iter().flatten();
        if !counts.all(|counts| counts.is_comparable(model, valid_bins)) {
            return false;
        }
        let (Some(features), true) = (&objective.features, self.losses.iter().any(takes_two)) else {
            return true;
        };
        features.sessions.iter().any(|session| {
            let candidates = TrialSubset::All.candidates(model, &session.conditions);
            candidates.iter().any(|c| c.model.len() >= 2 && c.data.len() >= 2)
        })
    }

    fn candidates(
        &self,
        method: &Method,
        features: &DataFeatures,
        model: &[usize],
        rng: &mut StreamRng,
    ) -> Vec<Vec<Candidates>> {
        features
            .sessions
            .iter()
            .map(|session| match self.statistics.matching_trials {
                _ if !method.is_one_to_one() => TrialSubset::All.candidates(model, &session.conditions),
                MatchingTrials::First => TrialSubset::FirstN.candidates(model, &session.conditions),
                MatchingTrials::Random => TrialSubset::RandomData(rng).candidates(model, &session.conditions),
            })
            .collect()
    }

    /// dL/dspikes of a batch: the plain sum of the tasks, or what the splitter makes of them.
    ///
    /// # Errors
    /// Non-finite gradients (the splitter's state is then unchanged).
    pub fn adjoint(
        &self,
        evaluation: &Evaluation,
        batch: &BatchStatistics,
        splitter: Option<&mut GradientSplitter>,
    ) -> Result<SpikeAdjoint, FitError> {
        let n_bins = batch.sums.dim().1;
        let compact = self.compact(batch);
        let coefficients = match splitter {
            Some(splitter) => splitter.split(&compact.gram(&evaluation.tasks)?.view())?,
            None => Array2::ones((n_bins, evaluation.tasks.len())),
        };
        let combined = compact.combine(&evaluation.tasks, &coefficients.view())?;
        let single = |a: Array3<f64>| a.mapv(|x| x as f32);
        let of_bin = self.segments().map_or(&[][..], Segments::of_bin);
        let segments = combined.d_counts.into_iter().map(|(coefficients, d)| SegmentAdjoint {
            of_step: of_bin.to_vec(),
            factor: coefficients.into_iter().map(|c| c as f32).collect(),
            values: single(d),
        });
        Ok(SpikeAdjoint {
            segments: segments.collect(),
            shared: combined.d_sums.map(|d| (single(d), batch.conditions.clone())),
            valid: batch.valid_bins.clone(),
            channels: combined.d_traces.map(|d| (self.channels.clone(), single(d))),
            dense: None,
        })
    }

    fn compact<'a>(&'a self, batch: &'a BatchStatistics) -> Batch<'a> {
        let (n_conditions, n_bins, n_neurons) = batch.sums.dim();
        Batch {
            conditions: &batch.conditions,
            n_conditions,
            populations: &self.traced,
            n_bins,
            n_neurons,
            valid_bins: batch.valid_bins.as_deref(),
            segments: self.segments(),
        }
    }

    /// Model trials of each condition that have each bin `[C, T]`; none where all have all.
    fn trials_at(&self, batch: &BatchStatistics) -> Option<Array2<f64>> {
        batch.valid_bins.as_ref().map(|_| self.compact(batch).trials_at())
    }

    /// Gradient with respect to behaviour, with its weight; it bypasses the splitter.
    pub fn behaviour_adjoint(evaluation: &Evaluation) -> Option<&Array3<f64>> {
        evaluation.d_behaviour.as_ref()
    }

    /// What each (weighted) loss is when recorded trials `model` stand in for the model's: its floor.
    ///
    /// Of each session at most `k` of them take part, chosen at random, so that it is the floor for k model trials.
    ///
    /// # Errors
    /// As [`Comparison::objective`].
    pub fn floor(
        &self,
        objective: &Objective,
        model: &TrialSelection,
        k: usize,
        rng: &mut StreamRng,
    ) -> Result<BTreeMap<String, f64>, FitError> {
        let usable = match &self.features {
            Some(features) if objective.features.is_some() => features.usable(model)?,
            _ => model.clone(),
        };
        let mut limited = TrialSelection::new();
        for trials in &usable {
            let chosen = rand::seq::index::sample(rng, trials.len(), k.min(trials.len()));
            limited.push(chosen.into_iter().map(|i| trials[i]).collect());
        }
        let mut floors = BTreeMap::new();
        for (i, loss) in self.losses.iter().enumerate() {
            let value = match loss {
                Loss::CountVariance { .. } | Loss::CountCovariance { .. } => {
                    let target = objective.counts.get(i).and_then(Option::as_ref);
                    let (Some(target), Some(counts)) = (target, &self.counts) else {
                        continue;
                    };
                    // Of so few trials that no stimulus has four of them there is no floor.
                    let Some(value) = target.between(&self.recording, counts, &limited)? else {
                        continue;
                    };
                    value
                }
                Loss::Psth { .. } => {
                    let Some(psth) = &objective.psth else { continue };
                    psth.between(&self.psth_of(&limited)?)?
                }
                Loss::FiringRate { .. } => {
                    let rates = self.recording.rates_hz(&limited, self.bin_ms)?;
                    let squares: Vec<f64> = rates
                        .iter()
                        .zip(&objective.rates_hz)
                        .filter(|(a, b)| a.is_finite() && b.is_finite())
                        .map(|(a, b)| (a - b).powi(2))
                        .collect();
                    losses::statistics::mean(&squares)
                }
                Loss::TrialMatching { .. } | Loss::SpikeGan(_) | Loss::TrialMatchedLikelihood { .. } => {
                    let method = method_of(loss);
                    let (target, features) = match loss {
                        Loss::TrialMatchedLikelihood { .. } => (&objective.neuron_features, &self.neuron_features),
                        _ => (&objective.features, &self.features),
                    };
                    let (Some(target), Some(features)) = (target, features) else {
                        continue;
                    };
                    let stand_in = features.normalized_like_where_selected(target, &limited)?;
                    let has = |session| stand_in.sessions.iter().any(|s| s.session == session);
                    let mut target = target.clone();
                    target.sessions.retain(|s| has(s.session));
                    let pairs = stand_in.sessions.iter().zip(&target.sessions);
                    let candidates: Vec<_> = pairs
                        .map(|(m, d)| {
                            let mut subset = if method.is_one_to_one() {
                                TrialSubset::RandomData(rng)
                            } else {
                                TrialSubset::All
                            };
                            subset.candidates(&m.conditions, &d.conditions)
                        })
                        .collect();
                    let model: Vec<_> = stand_in.sessions.iter().map(|s| s.features.clone()).collect();
                    method.of_features(&model, &target, &candidates)?.0
                }
            };
            let name = match loss {
                Loss::SpikeGan(_) => SPIKE_GAN_ENERGY,
                _ => loss.name(),
            };
            floors.insert(name.to_owned(), value * loss.weight());
        }
        Ok(floors)
    }
}

/// What a loss compares of counts, if it does.
fn counted(loss: &Loss) -> Option<(Entries, &CountWindows)> {
    match loss {
        Loss::CountVariance { windows, .. } => Some((Entries::Neurons, windows)),
        Loss::CountCovariance { windows, .. } => Some((Entries::Pairs, windows)),
        _ => None,
    }
}

/// Lengths of the windows, bins; each once.
fn window_lengths(windows: &CountWindows, n_bins: usize) -> Vec<usize> {
    let mut lengths: Vec<usize> = windows.lengths.iter().map(|window| window.steps).collect();
    lengths.extend(windows.whole_trial.then_some(n_bins));
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

/// Segments for the windows of all losses; none where no loss sees counts.
///
/// # Errors
/// A window longer than a trial.
fn count_segments(losses: &[Loss], n_bins: usize) -> Result<Option<Segments>, FitError> {
    let mut lengths = Vec::new();
    for loss in losses {
        let Some((_, windows)) = counted(loss) else { continue };
        if let Some(window) = windows.lengths.iter().find(|window| window.steps > n_bins) {
            return Err(FitError::Loss(losses::LossError::Parameter {
                name: "a window of `windows_ms` of the losses of counts",
                found: format!("{} ms, {} bins, for trials of {n_bins}", window.ms, window.steps),
                expected: "no longer than a trial",
            }));
        }
        lengths.extend(window_lengths(windows, n_bins));
    }
    Ok(if lengths.is_empty() {
        None
    } else {
        Some(Segments::new(&lengths, n_bins)?)
    })
}

/// The mean of a population as a weighted sum of model neurons.
fn channel(group: &Population) -> Channel {
    let weight = 1.0 / group.neurons.len() as f32;
    let mut members: Vec<(u32, f32)> = group.neurons.iter().map(|&n| (n as u32, weight)).collect();
    members.sort_unstable_by_key(|(n, _)| *n);
    Channel { members }
}

/// Both filters for trials of so many bins.
///
/// # Errors
/// Too few bins for them.
pub(crate) fn filters(statistics: &Statistics, n_bins: usize) -> Result<Filters, FitError> {
    let window = statistics.smooth.steps;
    if window > n_bins {
        return Err(FitError::Loss(losses::LossError::Parameter {
            name: "statistics.smooth_ms",
            found: format!("{window} bins for trials of {n_bins}"),
            expected: "a moving mean no wider than a trial",
        }));
    }
    let spike = MovingMean::new(window, statistics.stride.steps, window.saturating_sub(1) / 2)?;
    Ok(Filters::new(
        n_bins,
        spike,
        MovingMean::resampling(statistics.trial_resample)?,
    )?)
}

/// Whether a loss compares single trials by features of populations.
pub(crate) fn compares_trials(loss: &Loss) -> bool {
    matches!(loss, Loss::TrialMatching { .. } | Loss::SpikeGan(_))
}

/// Name in validations of the energy distance that stands for a spike-GAN: not the quantity that training lowers.
pub const SPIKE_GAN_ENERGY: &str = "spike_gan_energy";

/// The distance of clouds of trials that stands for a loss without discriminators.
fn method_of(loss: &Loss) -> Method {
    match loss {
        Loss::TrialMatching { method, .. } => *method,
        Loss::TrialMatchedLikelihood { .. } => Method::Hard,
        Loss::SpikeGan(_)
        | Loss::Psth { .. }
        | Loss::FiringRate { .. }
        | Loss::CountVariance { .. }
        | Loss::CountCovariance { .. } => Method::Energy {
            exponent: 1.0,
            by_part: false,
        },
    }
}

#[cfg(test)]
mod tests;
