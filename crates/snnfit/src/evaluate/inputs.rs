//! What an evaluation needs.

use losses::LossError;
use losses::statistics::{Filters, Populations, Recording, TrialSelection};
use ndarray::Array3;

use super::EvaluateError;

/// Trials simulated with the fitted network.
#[derive(Debug, Clone, Copy)]
pub struct SimulatedTrials<'a> {
    /// Spike counts `[K, T, N]`.
    pub counts: &'a Array3<u8>,
    /// Stimulus condition of each trial `[K]`, an index as in the recording.
    pub conditions: &'a [usize],
    /// Behaviour `[K, T, B]` in the units that are compared (`[data.traces]`), if the model has any.
    pub behaviour: Option<&'a Array3<f64>>,
    /// Bins that each trial has `[K]`, where they are as long as recorded ones; `None`: all.
    pub valid_bins: Option<&'a [usize]>,
}

/// Constants of the metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EvaluationSettings {
    /// Neurons at or below this rate in the training data take no part in PSTH correlations, Hz (published: 1).
    pub min_rate_hz: f64,
    /// Neurons with fewer spikes in the training data take no part in PSTH metrics; 0: all do.
    pub min_spikes: u64,
    /// Threshold of `peak_rate_above_threshold`, Hz (published: 30).
    pub peak_threshold_hz: f64,
    /// Resamples of each bootstrap, ≥ 1.
    pub n_resamples: usize,
    /// Smoothing of the null models' PSTHs, bins; 1: none.
    pub null_smoothing_bins: usize,
    /// Window of the spike counts of noise correlations, ms.
    pub noise_window_ms: f64,
    /// Neurons with fewer spikes (over all compared trials, in model or data) have no Fano factor.
    pub min_fano_spikes: usize,
    /// Random splits of the test trials for the noiseless ceiling, ≥ 1.
    pub n_reliability_splits: usize,
    /// When things happen in a trial.
    pub times: TaskTimes,
}

/// When things happen in a trial, ms relative to the alignment event.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TaskTimes {
    /// Start of the first bin.
    pub start_ms: f64,
    /// The cue after which an animal may lick.
    pub cue_ms: f64,
    /// Start and end of the delay between stimulus and cue, if there is one.
    pub delay_ms: Option<[f64; 2]>,
}

impl Default for EvaluationSettings {
    fn default() -> Self {
        Self {
            min_rate_hz: 1.0,
            min_spikes: 0,
            peak_threshold_hz: 30.0,
            n_resamples: losses::bootstrap::N_RESAMPLES,
            null_smoothing_bins: 1,
            noise_window_ms: 50.0,
            min_fano_spikes: 10,
            n_reliability_splits: 20,
            times: TaskTimes::default(),
        }
    }
}

/// Everything an evaluation looks at.
#[derive(Debug, Clone)]
pub struct EvaluationInputs<'a> {
    /// Name of the run, for the report.
    pub run: String,
    /// Name of the part that is evaluated (`test`).
    pub split: String,
    /// Step of the checkpoint.
    pub checkpoint_step: u64,
    /// Recorded trials of the model's neurons.
    pub recording: &'a Recording,
    /// Training trials: scales, templates, null models, `reference_train_test`.
    pub train: &'a TrialSelection,
    /// The trials that the model is compared with.
    pub test: &'a TrialSelection,
    /// Populations of trial matching; may be empty, which leaves their metrics out.
    pub populations: &'a Populations,
    /// Both filters.
    pub filters: &'a Filters,
    /// Compare behaviour with the trial features and templates.
    pub has_behaviour: bool,
    /// Width of a time bin, ms.
    pub bin_ms: f64,
    /// Names of the trial types, by label.
    pub trial_types: &'a [String],
    /// Names of the traces of behaviour `[B]`; may be empty without behaviour.
    pub traces: &'a [String],
    /// The model's trials.
    pub model: SimulatedTrials<'a>,
    /// Constants.
    pub settings: EvaluationSettings,
}

impl EvaluationInputs<'_> {
    /// Checks what no other constructor has checked.
    pub(super) fn check(&self) -> Result<(), EvaluateError> {
        let (n_trials, n_bins, n_neurons) = self.model.counts.dim();
        let wrong = |what, found: usize, expected: usize| {
            Err(EvaluateError::Inputs {
                what,
                found: found.to_string(),
                expected: expected.to_string(),
            })
        };
        if n_neurons != self.recording.n_neurons() {
            return wrong("neurons of the simulated trials", n_neurons, self.recording.n_neurons());
        }
        if n_bins != self.recording.n_bins() {
            return wrong("bins of the simulated trials", n_bins, self.recording.n_bins());
        }
        if self.filters.n_bins() != n_bins {
            return wrong("bins of the filters", self.filters.n_bins(), n_bins);
        }
        if self.model.conditions.len() != n_trials {
            return wrong(
                "conditions of the simulated trials",
                self.model.conditions.len(),
                n_trials,
            );
        }
        if let Some(valid) = self.model.valid_bins.filter(|valid| valid.len() != n_trials) {
            return wrong("lengths of the simulated trials", valid.len(), n_trials);
        }
        let n_conditions = self.recording.n_conditions();
        if let Some(&condition) = self.model.conditions.iter().max().filter(|&&c| c >= n_conditions) {
            return wrong(
                "highest condition of the simulated trials",
                condition,
                n_conditions.saturating_sub(1),
            );
        }
        if self.has_behaviour && self.model.behaviour.is_none() {
            return Err(EvaluateError::Inputs {
                what: "behaviour of the simulated trials",
                found: "missing".to_owned(),
                expected: "traces, because has_behaviour is set".to_owned(),
            });
        }
        let n_traces = self.model.behaviour.map_or(0, |behaviour| behaviour.dim().2);
        if self.has_behaviour && self.traces.len() != n_traces {
            return wrong("names of the traces of behaviour", self.traces.len(), n_traces);
        }
        let labels = self.recording.sessions().iter().flat_map(|s| &s.trial_types);
        if let Some(&label) = labels.max().filter(|&&label| label >= self.trial_types.len()) {
            return wrong("highest trial type", label, self.trial_types.len().saturating_sub(1));
        }
        let settings = &self.settings;
        let positive = [
            ("bin width (ms)", self.bin_ms),
            ("window of the noise correlations (ms)", settings.noise_window_ms),
        ];
        for (what, found) in positive {
            if !found.is_finite() || found <= 0.0 {
                return Err(EvaluateError::Inputs {
                    what,
                    found: found.to_string(),
                    expected: "a finite number above 0".to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Mean rate of each neuron in the training data, Hz, NaN for those that PSTH metrics leave out for their few spikes.
    pub(crate) fn psth_rates_hz(&self) -> Result<Vec<f64>, LossError> {
        let mut rates_hz = self.recording.rates_hz(self.train, self.bin_ms)?;
        for neuron in self.few_spikes()? {
            rates_hz[neuron] = f64::NAN;
        }
        Ok(rates_hz)
    }

    /// Neurons with few spikes in the training data, ascending.
    pub(crate) fn few_spikes(&self) -> Result<Vec<usize>, LossError> {
        self.recording.with_few_spikes(self.train, self.settings.min_spikes)
    }

    /// Bins that a model trial has.
    ///
    /// # Panics
    /// For a trial that doesn't exist.
    pub(crate) fn model_bins(&self, trial: usize) -> usize {
        self.model
            .valid_bins
            .map_or(self.model.counts.dim().1, |valid_bins| valid_bins[trial])
    }

    /// Whether a model trial has all bins.
    ///
    /// # Panics
    /// As [`Self::model_bins`].
    pub(crate) fn is_complete(&self, trial: usize) -> bool {
        self.model_bins(trial) == self.model.counts.dim().1
    }

    /// The bin that starts at a time, within the trial.
    pub(crate) fn bin_at(&self, ms: f64) -> usize {
        let bin = ((ms - self.settings.times.start_ms) / self.bin_ms).round();
        (bin.max(0.0) as usize).min(self.recording.n_bins())
    }

    /// Window of noise correlations, bins.
    pub(crate) fn noise_window_bins(&self) -> usize {
        ((self.settings.noise_window_ms / self.bin_ms).round() as usize).clamp(1, self.recording.n_bins().max(1))
    }
}
