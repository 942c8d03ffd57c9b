//! Peri-stimulus time histograms, per stimulus condition and neuron.

use std::collections::BTreeMap;

use ndarray::{Array1, Array2, Array3, ArrayView2, ArrayView3, Axis, s};

use super::{MovingMean, RecordedSession, Recording, TrialSelection};
use crate::LossError;
use crate::error::check_shape;

/// A data PSTH with a smaller standard deviation (spikes per bin) is not rescaled.
///
/// Source: the published program; at 2 ms bins it is 0.5 Hz.
pub const PSTH_STD_FLOOR: f64 = 1e-3;

/// Mean activity of each neuron in each stimulus condition.
#[derive(Debug, Clone)]
pub struct Psth {
    /// Spikes per bin `[C, T1, N]`; NaN where no trial contributes (hidden neuron, condition not
    /// recorded in the neuron's session, bins beyond all trials).
    pub values: Array3<f64>,
    /// Trials of each condition that each neuron was observed in `[C, N]`.
    pub n_trials: Array2<usize>,
}

/// Mean and standard deviation over time and conditions of each neuron's data PSTH, spikes per bin.
#[derive(Debug, Clone)]
pub struct PsthScale {
    /// Mean `[N]`; NaN for a neuron without any PSTH bin.
    pub mean: Vec<f64>,
    /// Unbiased standard deviation `[N]`, replaced by 1 below the floor.
    pub std: Vec<f64>,
}

impl Psth {
    /// PSTHs of the selected trials: the mean over trials of the filtered counts.
    ///
    /// A trial contributes to a PSTH bin of a neuron if the whole window of the filter is valid in it and the neuron was
    /// observed in it.
    ///
    /// # Shapes
    /// result `[C, T1, N]` with `T1 = filter.output_len(T)` and N model neurons. Reads O(K·T·N) counts.
    ///
    /// # Errors
    /// [`LossError::Shape`], [`LossError::Index`] for a selection of other sessions or trials.
    pub fn of_recording(
        recording: &Recording,
        selection: &TrialSelection,
        filter: MovingMean,
    ) -> Result<Self, LossError> {
        let masks: Vec<_> = recording.sessions().iter().map(RecordedSession::mask).collect();
        Self::of_masked(recording, selection, &masks, filter)
    }

    /// As [`Self::of_recording`], of each neuron over the trials that the mask `[K, N_s]` of its session has; over all
    /// where there is none.
    pub(crate) fn of_masked(
        recording: &Recording,
        selection: &TrialSelection,
        masks: &[Option<&Array2<bool>>],
        filter: MovingMean,
    ) -> Result<Self, LossError> {
        recording.check_selection(selection)?;
        check_shape("masks of sessions", &[masks.len()], &[selection.len()])?;
        let n_out = filter.output_len(recording.n_bins());
        let (n_conditions, n_neurons) = (recording.n_conditions(), recording.n_neurons());
        let mut values = Array3::from_elem((n_conditions, n_out, n_neurons), f64::NAN);
        let mut n_trials = Array2::zeros((n_conditions, n_neurons));
        for ((session, trials), mask) in recording.sessions().iter().zip(selection).zip(masks) {
            let counts_in = |k: usize, column: usize| mask.is_none_or(|mask| mask[[k, column]]);
            // Trials of equal length are summed before they are filtered: filters are linear.
            let mut classes = BTreeMap::<(usize, usize), Vec<usize>>::new();
            for &k in trials {
                let key = (session.conditions[k], session.valid_bins[k]);
                classes.entry(key).or_default().push(k);
            }
            for condition in 0..n_conditions {
                let mut sums = Array2::<f64>::zeros((n_out, session.neurons.len()));
                // Trials behind each bin and neuron.
                let mut n_at = Array2::<usize>::zeros((n_out, session.neurons.len()));
                let mut n_observed = vec![0; session.neurons.len()];
                for ((_, valid), trials) in classes.range((condition, 1)..=(condition, recording.n_bins())) {
                    let class = sum_trials(session, trials, *valid, *mask);
                    let n_present: Array1<usize> = (0..session.neurons.len())
                        .map(|column| trials.iter().filter(|&&k| counts_in(k, column)).count())
                        .collect();
                    for (n_observed, n) in n_observed.iter_mut().zip(&n_present) {
                        *n_observed += n;
                    }
                    for o in 0..n_out {
                        let bins = filter.bins(o, recording.n_bins());
                        if bins.end > *valid {
                            break; // later windows end later
                        }
                        n_at.row_mut(o).zip_mut_with(&n_present, |sum, n| *sum += n);
                        let width = bins.len() as f64;
                        let window = class.slice(s![bins, ..]).sum_axis(Axis(0));
                        sums.row_mut(o).scaled_add(width.recip(), &window);
                    }
                }
                for (column, &neuron) in session.neurons.iter().enumerate() {
                    n_trials[[condition, neuron]] = n_observed[column];
                    for o in (0..n_out).filter(|&o| n_at[[o, column]] > 0) {
                        values[[condition, o, neuron]] = sums[[o, column]] / n_at[[o, column]] as f64;
                    }
                }
            }
        }
        Ok(Self { values, n_trials })
    }

    /// PSTHs of the selected trials by bins, for trials of unequal length: of all trials, the filtered counts over the filtered
    /// numbers of trials that were recorded at each bin, as [`Psth::of_model_by_bins`] makes of the model's.
    ///
    /// A trial contributes each of its valid bins, where in [`Psth::of_recording`] it contributes whole windows only. Both are
    /// the same where all trials are complete.
    ///
    /// # Shapes
    /// As [`Psth::of_recording`].
    ///
    /// # Errors
    /// As [`Psth::of_recording`].
    pub fn of_recording_by_bins(
        recording: &Recording,
        selection: &TrialSelection,
        filter: MovingMean,
    ) -> Result<Self, LossError> {
        recording.check_selection(selection)?;
        let n_bins = recording.n_bins();
        let (n_conditions, n_neurons) = (recording.n_conditions(), recording.n_neurons());
        let mut values = Array3::from_elem((n_conditions, filter.output_len(n_bins), n_neurons), f64::NAN);
        let mut n_trials = Array2::zeros((n_conditions, n_neurons));
        for (session, trials) in recording.sessions().iter().zip(selection) {
            for condition in 0..n_conditions {
                // Spikes, and trials behind them, of each bin and neuron.
                let mut sums = Array2::<f64>::zeros((n_bins, session.neurons.len()));
                let mut n_at = sums.clone();
                for &k in trials.iter().filter(|&&k| session.conditions[k] == condition) {
                    let valid = session.valid_bins[k];
                    sums.slice_mut(s![..valid, ..])
                        .scaled_add(1.0, &sum_trials(session, &[k], valid, session.mask()));
                    for (column, &neuron) in session.neurons.iter().enumerate() {
                        if valid > 0 && session.is_present(k, column) {
                            n_at.slice_mut(s![..valid, column]).mapv_inplace(|n| n + 1.0);
                            n_trials[[condition, neuron]] += 1;
                        }
                    }
                }
                let (sums, n_at) = (filter.apply(&sums.view(), Axis(0)), filter.apply(&n_at.view(), Axis(0)));
                for (column, &neuron) in session.neurons.iter().enumerate() {
                    let ratio = &sums.column(column) / &n_at.column(column);
                    values.slice_mut(s![condition, .., neuron]).assign(&ratio);
                }
            }
        }
        Ok(Self { values, n_trials })
    }

    /// PSTHs of the model from its spike-count sums, where its trials end at different bins: the filtered sums over the
    /// filtered numbers of trials.
    ///
    /// # Shapes
    /// `sums` `[C, T, N]`: spikes summed over the trials of each condition that have bin t; `trials_at` `[C, T]`: their
    /// number. NaN where no trial has any bin of a window. Allocates `[C, T1, N]`.
    ///
    /// # Errors
    /// [`LossError::Shape`] if conditions or bins differ.
    pub fn of_model_by_bins(
        sums: &ArrayView3<'_, f64>,
        trials_at: &ArrayView2<'_, f64>,
        filter: MovingMean,
    ) -> Result<Self, LossError> {
        let (n_conditions, n_bins, n_neurons) = sums.dim();
        check_shape("model trials at each bin", trials_at.shape(), &[n_conditions, n_bins])?;
        let mut values = filter.apply(sums, Axis(1));
        let n_at = filter.apply(trials_at, Axis(1));
        for (mut row, n) in values.lanes_mut(Axis(2)).into_iter().zip(&n_at) {
            row.mapv_inplace(|sum| if *n > 0.0 { sum / n } else { f64::NAN });
        }
        let most = |c: usize| trials_at.row(c).iter().copied().fold(0.0, f64::max) as usize;
        let n_trials = Array2::from_shape_fn((n_conditions, n_neurons), |(c, _)| most(c));
        Ok(Self { values, n_trials })
    }

    /// PSTHs of the model from its spike-count sums.
    ///
    /// # Shapes
    /// `sums` `[C, T, N]`: spikes summed over the trials of each condition; `trial_counts` `[C]`: their
    /// number. A condition without trials has NaN values. Allocates `[C, T1, N]`.
    ///
    /// # Errors
    /// [`LossError::Shape`] if the numbers of conditions differ.
    pub fn of_model(sums: &ArrayView3<'_, f64>, trial_counts: &[usize], filter: MovingMean) -> Result<Self, LossError> {
        let (n_conditions, _, n_neurons) = sums.dim();
        check_shape("model trial counts", &[trial_counts.len()], &[n_conditions])?;
        let mut values = filter.apply(sums, Axis(1));
        for (mut block, &count) in values.outer_iter_mut().zip(trial_counts) {
            let n = if count == 0 { f64::NAN } else { count as f64 };
            block.mapv_inplace(|sum| sum / n);
        }
        let n_trials = Array2::from_shape_fn((n_conditions, n_neurons), |(c, _)| trial_counts[c]);
        Ok(Self { values, n_trials })
    }

    /// Mean and unbiased standard deviation of each neuron over time and conditions.
    ///
    /// A standard deviation below `std_floor` (spikes per bin) becomes 1: such a neuron is compared
    /// without rescaling, so that noise of silent neurons is not blown up.
    ///
    /// # Source
    /// Sourmpis et al. 2023; with one condition exactly the published program.
    pub fn scale(&self, std_floor: f64) -> PsthScale {
        let n_neurons = self.values.len_of(Axis(2));
        let mut scale = PsthScale {
            mean: Vec::with_capacity(n_neurons),
            std: Vec::with_capacity(n_neurons),
        };
        for neuron in self.values.axis_iter(Axis(2)) {
            let bins: Vec<f64> = neuron.iter().copied().filter(|v| !v.is_nan()).collect();
            scale.mean.push(super::mean(&bins));
            let std = super::unbiased_variance(&bins).sqrt();
            scale.std.push(if std >= std_floor { std } else { 1.0 });
        }
        scale
    }

    /// Takes neurons out, as if they had not been recorded.
    ///
    /// # Panics
    /// For a neuron that doesn't exist.
    pub fn leave_out(&mut self, neurons: &[usize]) {
        for &neuron in neurons {
            self.values.index_axis_mut(Axis(2), neuron).fill(f64::NAN);
            self.n_trials.column_mut(neuron).fill(0);
        }
    }

    /// Bins of one neuron in ascending order of condition and time, NaN where unobserved.
    pub fn neuron(&self, neuron: usize) -> Vec<f64> {
        self.values.index_axis(Axis(2), neuron).iter().copied().collect()
    }
}

/// Sum of some trials over their first `valid` bins, of each neuron over those that the mask has: `[valid, N_s]`.
fn sum_trials(session: &RecordedSession, trials: &[usize], valid: usize, mask: Option<&Array2<bool>>) -> Array2<f64> {
    let mut sums = Array2::<f64>::zeros((valid, session.neurons.len()));
    for &k in trials {
        let trial = session.counts.slice(s![k, ..valid, ..]);
        match mask {
            None => sums.zip_mut_with(&trial, |sum, &count| *sum += f64::from(count)),
            Some(mask) => {
                for (mut sums, trial) in sums.outer_iter_mut().zip(trial.outer_iter()) {
                    let present = mask.row(k);
                    for ((sum, &count), is_present) in sums.iter_mut().zip(&trial).zip(present) {
                        *sum += if *is_present { f64::from(count) } else { 0.0 };
                    }
                }
            }
        }
    }
    sums
}
