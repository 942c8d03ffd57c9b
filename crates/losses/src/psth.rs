//! The neuron loss: PSTHs of the model against recorded ones, in units of each neuron's own variation.
//!
//! Why here: it pins down trial averages; it says nothing of single trials (see
//! [`crate::trial_matching`]). Cost O(C·T·N), independent of the number of trials.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, Zip, aview1, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::LossError;
use crate::error::check_shape;
use crate::statistics::{MovingMean, Psth, PsthScale};

/// Neurons that a thread compares at once.
const NEURONS: usize = 128;

/// How the stimulus conditions of a neuron are averaged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionWeights {
    /// By the number of recorded trials of the condition in the neuron's session, so that every recorded
    /// trial counts the same and splitting a condition in two changes nothing in expectation.
    #[default]
    TrialShare,
    /// Every condition the same.
    Equal,
}

/// The recorded side of the neuron loss.
#[derive(Debug, Clone)]
pub struct PsthLoss {
    data: Psth,
    scale: PsthScale,
    weights: Array2<f64>,     // [C, N]
    neuron_weights: Vec<f64>, // [N]
    filter: MovingMean,
    n_bins: usize,
}

/// Weight of each neuron in the neuron loss by its number of recorded spikes: $\omega_j = \min(1, \max(1, n_j)/n_{min})$.
///
/// The PSTH of few spikes is mostly noise, and its deviation, by which the loss divides, is small: without the weight such
/// neurons pull as hard as any. A silent neuron counts as one with a single spike, so that the model still learns that it
/// is silent. All weights are 1 for `min_spikes` 0.
///
/// # Shapes
/// `spikes` `[N]`, in the training trials; the result `[N]`, above 0 and at most 1.
pub fn spike_weights(spikes: &[u64], min_spikes: u64) -> Vec<f64> {
    let weight = |n: &u64| (*n).max(1) as f64 / min_spikes.max(1) as f64;
    spikes.iter().map(|n| weight(n).min(1.0)).collect()
}

/// Value and gradient of the neuron loss.
#[derive(Debug, Clone)]
pub struct PsthLossValue {
    /// The loss (no unit: squared standard deviations of the data PSTH).
    pub value: f64,
    /// Loss of each neuron `[N]`, NaN where it takes no part.
    pub per_neuron: Vec<f64>,
    /// Gradient with respect to the model's spike-count sums `[C, T, N]`.
    pub d_sums: Array3<f64>,
}

impl PsthLoss {
    /// Prepares the loss for recorded PSTHs of trials of `n_bins` bins.
    ///
    /// # Shapes
    /// `data.values` `[C, T1, N]` with `T1 = filter.output_len(n_bins)`; `scale` `[N]`, normally
    /// `data.scale(PSTH_STD_FLOOR)`.
    ///
    /// # Errors
    /// [`LossError::Shape`] if they disagree; [`LossError::NoData`] if no neuron was recorded.
    pub fn new(
        data: Psth,
        scale: PsthScale,
        weights: ConditionWeights,
        filter: MovingMean,
        n_bins: usize,
    ) -> Result<Self, LossError> {
        let (n_conditions, n_out, n_neurons) = data.values.dim();
        check_shape("PSTH bins", &[n_out], &[filter.output_len(n_bins)])?;
        check_shape("PSTH trial counts", data.n_trials.shape(), &[n_conditions, n_neurons])?;
        check_shape("PSTH scale", &[scale.mean.len(), scale.std.len()], &[n_neurons; 2])?;
        let weights = Array2::from_shape_fn((n_conditions, n_neurons), |(c, n)| {
            let is_observed = data.values.slice(ndarray::s![c, .., n]).iter().any(|v| !v.is_nan());
            match weights {
                _ if !is_observed => 0.0,
                ConditionWeights::TrialShare => data.n_trials[[c, n]] as f64,
                ConditionWeights::Equal => 1.0,
            }
        });
        if weights.iter().all(|&weight| weight == 0.0) {
            return Err(LossError::NoData {
                what: "neuron loss",
                reason: "no neuron has a recorded trial in any stimulus condition".to_owned(),
            });
        }
        Ok(Self {
            data,
            scale,
            weights,
            neuron_weights: vec![1.0; n_neurons],
            filter,
            n_bins,
        })
    }

    /// The same with a weight for each neuron (see [`spike_weights`]); without it, all are 1.
    ///
    /// # Shapes
    /// `weights` `[N]`, finite and above 0.
    ///
    /// # Errors
    /// [`LossError::Shape`] for another number of neurons, [`LossError::Parameter`] for a weight out of range.
    pub fn with_neuron_weights(mut self, weights: Vec<f64>) -> Result<Self, LossError> {
        check_shape("weights of neurons", &[weights.len()], &[self.neuron_weights.len()])?;
        for weight in &weights {
            crate::error::check_positive("weight of a neuron", *weight)?;
        }
        self.neuron_weights = weights;
        Ok(self)
    }

    /// Value and gradient for a batch of model trials.
    ///
    /// $$L = \frac1{\sum_{j\in J}\omega_j}\sum_{j\in J}\omega_j\sum_c \bar w_{cj}\,\frac1{|T_{cj}|}\sum_{t\in T_{cj}}
    ///   \left(\frac{P^{model}_{cjt}-m_j}{s_j}-\frac{P^{data}_{cjt}-m_j}{s_j}\right)^2$$
    ///
    /// where $m_j, s_j$ are mean and standard deviation of the data PSTH (the means cancel), $T_{cj}$
    /// the observed PSTH bins, $\bar w_{cj}$ the weights over the conditions that neuron j was recorded in
    /// *and* the batch has trials of, normalised to sum 1, J the neurons with any such condition, and $\omega_j$ their
    /// weights (1 but for [`Self::with_neuron_weights`]).
    ///
    /// # Shapes
    /// `sums` `[C, T, N]`: model spikes summed over the trials of each condition; `trial_counts` `[C]`.
    /// Allocates the gradient `[C, T, N]`.
    ///
    /// # Errors
    /// [`LossError::Shape`] if they disagree with the data; [`LossError::NoData`] if the batch has no trial
    /// of any recorded condition; [`LossError::NonFinite`] if the sums are not finite.
    ///
    /// # Source
    /// Sourmpis et al. 2023, L_neuron; with one condition equal to the published program. Its coefficient
    /// (10) is not included.
    pub fn evaluate(&self, sums: &ArrayView3<'_, f64>, trial_counts: &[usize]) -> Result<PsthLossValue, LossError> {
        self.check_sums(sums)?;
        let model = Psth::of_model(sums, trial_counts, self.filter)?;
        let (per_neuron, mut d_psth) = self.compare(&model)?;
        for (mut block, &count) in d_psth.outer_iter_mut().zip(trial_counts) {
            if count > 0 {
                block.mapv_inplace(|d| d / count as f64);
            }
        }
        Ok(self.value(per_neuron, &d_psth))
    }

    /// As [`Self::evaluate`], where the model's trials end at different bins: its PSTHs are [`Psth::of_model_by_bins`], and the
    /// data's must be [`Psth::of_recording_by_bins`].
    ///
    /// # Shapes
    /// `sums` `[C, T, N]`: spikes summed over the trials of each condition that have bin t; `trials_at` `[C, T]`: their number.
    /// The gradient is that of every trial at the bins that it has.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub fn evaluate_by_bins(
        &self,
        sums: &ArrayView3<'_, f64>,
        trials_at: &ArrayView2<'_, f64>,
    ) -> Result<PsthLossValue, LossError> {
        self.check_sums(sums)?;
        let model = Psth::of_model_by_bins(sums, trials_at, self.filter)?;
        let (per_neuron, mut d_psth) = self.compare(&model)?;
        let n_at = self.filter.apply(trials_at, Axis(1));
        for (mut row, n) in d_psth.lanes_mut(Axis(2)).into_iter().zip(&n_at) {
            if *n > 0.0 {
                row.mapv_inplace(|d| d / n);
            }
        }
        Ok(self.value(per_neuron, &d_psth))
    }

    fn check_sums(&self, sums: &ArrayView3<'_, f64>) -> Result<(), LossError> {
        let (n_conditions, _, n_neurons) = self.data.values.dim();
        check_shape(
            "model spike sums",
            sums.shape(),
            &[n_conditions, self.n_bins, n_neurons],
        )?;
        crate::error::check_finite("model spike sums", sums)
    }

    fn value(&self, per_neuron: Vec<f64>, d_psth: &Array3<f64>) -> PsthLossValue {
        PsthLossValue {
            value: self.mean_of_observed(&per_neuron),
            per_neuron,
            d_sums: self.filter.adjoint(&d_psth.view(), Axis(1), self.n_bins),
        }
    }

    /// The loss of other PSTHs in the place of the model's: validation or training data (the floor of
    /// the loss), null models, simulated test trials. NaN PSTH bins take no part.
    ///
    /// # Errors
    /// [`LossError::Shape`], [`LossError::NoData`] as in [`Self::evaluate`].
    pub fn between(&self, psth: &Psth) -> Result<f64, LossError> {
        check_shape("compared PSTH", psth.values.shape(), self.data.values.shape())?;
        Ok(self.mean_of_observed(&self.compare(psth)?.0))
    }

    /// Loss of each neuron and gradient of the mean with respect to the model's PSTH `[C, T1, N]`.
    fn compare(&self, model: &Psth) -> Result<(Vec<f64>, Array3<f64>), LossError> {
        let (n_conditions, n_out, n_neurons) = self.data.values.dim();
        // Blocks of neurons in parallel; within one, row by row, as the arrays lie in memory.
        let rows = || (0..n_conditions).flat_map(|c| (0..n_out).map(move |o| (c, o)));
        let mut n_bins = Array2::<u32>::zeros((n_conditions, n_neurons));
        let blocks: Vec<_> = n_bins.axis_chunks_iter_mut(Axis(1), NEURONS).enumerate().collect();
        blocks.into_par_iter().for_each(|(i, mut n_bins)| {
            let neurons = i * NEURONS..i * NEURONS + n_bins.ncols();
            for (c, o) in rows() {
                Zip::from(n_bins.row_mut(c))
                    .and(&model.values.slice(s![c, o, neurons.clone()]))
                    .and(&self.data.values.slice(s![c, o, neurons.clone()]))
                    .and(&aview1(&self.scale.std[neurons.clone()]))
                    .for_each(|n, model, data, std| *n += u32::from(!((model - data) / std).is_nan()));
            }
        });
        // Of each bin, within its condition and neuron; 0 where it isn't compared.
        let mut weight = self.weights.clone();
        weight.zip_mut_with(&n_bins, |weight, n| *weight = if *n > 0 { *weight } else { 0.0 });
        let total = weight.sum_axis(Axis(0));
        let observed = total
            .iter()
            .zip(&self.neuron_weights)
            .filter(|(total, _)| **total > 0.0);
        let sum_of_weights: f64 = observed.map(|(_, weight)| weight).sum();
        if sum_of_weights <= 0.0 {
            return Err(LossError::NoData {
                what: "neuron loss",
                reason: "the model has no trial in any recorded stimulus condition".to_owned(),
            });
        }
        Zip::from(&mut weight)
            .and(&n_bins)
            .and_broadcast(&total)
            .for_each(|weight, n, total| {
                if *weight > 0.0 {
                    *weight = *weight / total / f64::from(*n);
                }
            });
        let mut per_neuron: Vec<f64> = total
            .iter()
            .map(|total| if *total > 0.0 { 0.0 } else { f64::NAN })
            .collect();
        let mut d_psth = Array3::zeros((n_conditions, n_out, n_neurons));
        let blocks: Vec<_> = per_neuron
            .chunks_mut(NEURONS)
            .zip(d_psth.axis_chunks_iter_mut(Axis(2), NEURONS))
            .enumerate()
            .collect();
        blocks.into_par_iter().for_each(|(i, (per_neuron, mut d_psth))| {
            let neurons = i * NEURONS..i * NEURONS + per_neuron.len();
            let std = &self.scale.std[neurons.clone()];
            let of_neuron = &self.neuron_weights[neurons.clone()];
            for (c, o) in rows() {
                let weight = weight.slice(s![c, neurons.clone()]);
                let model = model.values.slice(s![c, o, neurons.clone()]);
                let data = self.data.values.slice(s![c, o, neurons.clone()]);
                for (n, d_psth) in d_psth.slice_mut(s![c, o, ..]).iter_mut().enumerate() {
                    let d = (model[n] - data[n]) / std[n];
                    if weight[n] > 0.0 && !d.is_nan() {
                        per_neuron[n] += weight[n] * d * d;
                        *d_psth = 2.0 * weight[n] * d / std[n] * of_neuron[n] / sum_of_weights;
                    }
                }
            }
        });
        Ok((per_neuron, d_psth))
    }

    /// Weighted mean over the neurons that take part.
    fn mean_of_observed(&self, values: &[f64]) -> f64 {
        let observed = || values.iter().zip(&self.neuron_weights).filter(|(v, _)| !v.is_nan());
        observed().map(|(v, weight)| v * weight).sum::<f64>() / observed().map(|(_, weight)| weight).sum::<f64>()
    }

    /// The recorded PSTHs.
    pub fn data(&self) -> &Psth {
        &self.data
    }

    /// Their mean and standard deviation.
    pub fn scale(&self) -> &PsthScale {
        &self.scale
    }
}
