//! Recorded (or simulated) trials of all sessions, as the statistics want them.

use ndarray::{Array3, ArrayView3, Axis};

use crate::LossError;
use crate::error::{check_indices, check_shape};

/// Trials of one session that a statistic is computed from: for each session, indices of its trials.
pub type TrialSelection = Vec<Vec<usize>>;

/// The trials of one session, restricted to the neurons that the model stands for.
#[derive(Debug, Clone)]
pub struct RecordedSession {
    /// Name of the session, for messages.
    pub name: String,
    /// Spike counts per bin `[K, T, N_s]`; bins beyond a trial's valid bins are padding and never read.
    pub counts: Array3<u8>,
    /// Number of valid bins of each trial `[K]`, at most T.
    pub valid_bins: Vec<usize>,
    /// Stimulus condition of each trial `[K]`.
    pub conditions: Vec<usize>,
    /// Trial type of each trial `[K]` (any labels; all 0 where there are none).
    pub trial_types: Vec<usize>,
    /// The model neuron that each column of `counts` stands for `[N_s]`.
    pub neurons: Vec<usize>,
    /// Area of each column of `counts` `[N_s]`.
    pub areas: Vec<usize>,
    /// Behaviour traces `[K, T, B]` in the model's units, NaN in padding, and in a trace that this session didn't record;
    /// `None` if it recorded none.
    pub behaviour: Option<Array3<f64>>,
}

impl RecordedSession {
    /// Traces of behaviour that were recorded: those with a finite value.
    pub fn channels(&self) -> Vec<usize> {
        let Some(traces) = &self.behaviour else {
            return Vec::new();
        };
        let is_recorded = |b: &usize| traces.index_axis(Axis(2), *b).iter().any(|value| value.is_finite());
        (0..traces.len_of(Axis(2))).filter(is_recorded).collect()
    }

    /// Whether the recorded traces of trial `k` are finite; true without any.
    pub fn has_finite_behaviour(&self, k: usize, channels: &[usize]) -> bool {
        self.behaviour.as_ref().is_none_or(|traces| {
            let trial = traces.index_axis(Axis(0), k);
            channels
                .iter()
                .all(|&b| trial.column(b).iter().all(|value| value.is_finite()))
        })
    }
}

/// Checked trials of all sessions.
///
/// Each model neuron appears in at most one session (session stitching); a model neuron in none is hidden.
#[derive(Debug, Clone)]
pub struct Recording {
    sessions: Vec<RecordedSession>,
    area_names: Vec<String>,
    n_neurons: usize,
    n_conditions: usize,
    n_bins: usize,
}

impl Recording {
    /// The same with at most one spike in a bin, as a model neuron has.
    #[must_use]
    pub fn binarized(&self) -> Self {
        let mut binarized = self.clone();
        for session in &mut binarized.sessions {
            session.counts.mapv_inplace(|count| count.min(1));
        }
        binarized
    }

    /// Checks the sessions against each other.
    ///
    /// `n_neurons` is the number of model neurons N, `n_conditions` the number of stimulus conditions C.
    ///
    /// # Errors
    /// [`LossError::NoData`] without a session; [`LossError::Shape`] where arrays of a session disagree
    /// or sessions differ in T or B; [`LossError::Index`] for a neuron, area, condition or number of
    /// valid bins out of range; [`LossError::Duplicate`] for a model neuron that stands for two
    /// recorded ones; [`LossError::NonFinite`] is *not* raised for NaN behaviour: such a trial has no features.
    pub fn new(
        sessions: Vec<RecordedSession>,
        area_names: Vec<String>,
        n_neurons: usize,
        n_conditions: usize,
    ) -> Result<Self, LossError> {
        let Some(first) = sessions.first() else {
            return Err(LossError::NoData {
                what: "recording",
                reason: "it has no session".to_owned(),
            });
        };
        let n_bins = first.counts.len_of(Axis(1));
        let n_channels = sessions
            .iter()
            .find_map(|session| session.behaviour.as_ref())
            .map_or(0, |traces| traces.len_of(Axis(2)));
        let mut is_taken = vec![false; n_neurons];
        for session in &sessions {
            check_session(session, n_bins, n_channels, area_names.len(), n_conditions)?;
            let what = format!("model neurons of session '{}'", session.name);
            check_indices(what.as_str(), &session.neurons, n_neurons)?;
            for (position, &neuron) in session.neurons.iter().enumerate() {
                if std::mem::replace(&mut is_taken[neuron], true) {
                    return Err(LossError::Duplicate {
                        what: "a model neuron stands for one recorded neuron",
                        index: neuron,
                        place: what,
                        position,
                    });
                }
            }
        }
        Ok(Self {
            sessions,
            area_names,
            n_neurons,
            n_conditions,
            n_bins,
        })
    }

    /// The same neurons with simulated trials: each session sees the trials of all model neurons
    /// `[K, T, N]` restricted to its own, with the conditions and trial types `[K]` given.
    ///
    /// So model, null model and recording go through the same statistics. Copies the counts once.
    ///
    /// # Errors
    /// [`LossError::Shape`] or [`LossError::Index`] as in [`Self::new`]; T may differ from the recording's.
    pub fn simulated(
        &self,
        counts: &ArrayView3<'_, u8>,
        conditions: &[usize],
        trial_types: &[usize],
        behaviour: Option<&Array3<f64>>,
    ) -> Result<Self, LossError> {
        let (n_trials, n_bins, n_neurons) = counts.dim();
        check_shape("simulated counts", &[n_neurons], &[self.n_neurons])?;
        let sessions = self
            .sessions
            .iter()
            .map(|session| RecordedSession {
                name: session.name.clone(),
                counts: counts.select(Axis(2), &session.neurons),
                valid_bins: vec![n_bins; n_trials],
                conditions: conditions.to_vec(),
                trial_types: trial_types.to_vec(),
                neurons: session.neurons.clone(),
                areas: session.areas.clone(),
                behaviour: behaviour.cloned(),
            })
            .collect();
        Self::new(sessions, self.area_names.clone(), self.n_neurons, self.n_conditions)
    }

    /// The sessions.
    pub fn sessions(&self) -> &[RecordedSession] {
        &self.sessions
    }

    /// Names of the areas, by area index.
    pub fn area_names(&self) -> &[String] {
        &self.area_names
    }

    /// Model neurons N, hidden ones included.
    pub fn n_neurons(&self) -> usize {
        self.n_neurons
    }

    /// Stimulus conditions C.
    pub fn n_conditions(&self) -> usize {
        self.n_conditions
    }

    /// Time bins T of a (full) trial.
    pub fn n_bins(&self) -> usize {
        self.n_bins
    }

    /// Session that each model neuron stands for a neuron of `[N]`; `None` for a hidden one.
    pub fn session_of_neuron(&self) -> Vec<Option<usize>> {
        let mut session_of = vec![None; self.n_neurons];
        for (s, session) in self.sessions.iter().enumerate() {
            for &neuron in &session.neurons {
                session_of[neuron] = Some(s);
            }
        }
        session_of
    }

    /// All trials of all sessions.
    pub fn all_trials(&self) -> TrialSelection {
        self.sessions
            .iter()
            .map(|session| (0..session.valid_bins.len()).collect())
            .collect()
    }

    /// Mean rate in Hz of every model neuron over the valid bins of the selected trials `[N]`; NaN for a
    /// hidden neuron and for a session without valid bins.
    ///
    /// # Errors
    /// [`LossError::Index`], [`LossError::Shape`] for a selection of other sessions or trials,
    /// [`LossError::Parameter`] for a bin width that is not positive.
    pub fn rates_hz(&self, selection: &TrialSelection, bin_ms: f64) -> Result<Vec<f64>, LossError> {
        crate::error::check_positive("bin width (ms)", bin_ms)?;
        self.check_selection(selection)?;
        let mut rates = vec![f64::NAN; self.n_neurons];
        for (session, trials) in self.sessions.iter().zip(selection) {
            let mut spikes = vec![0.0; session.neurons.len()];
            let mut n_bins = 0;
            for &k in trials {
                let valid = session.valid_bins[k];
                n_bins += valid;
                for row in session.counts.index_axis(Axis(0), k).outer_iter().take(valid) {
                    for (sum, &count) in spikes.iter_mut().zip(row) {
                        *sum += f64::from(count);
                    }
                }
            }
            if n_bins > 0 {
                let seconds = n_bins as f64 * bin_ms / 1000.0;
                for (&neuron, sum) in session.neurons.iter().zip(spikes) {
                    rates[neuron] = sum / seconds;
                }
            }
        }
        Ok(rates)
    }

    /// Spikes of every model neuron in the valid bins of the selected trials `[N]`; 0 for a hidden neuron.
    ///
    /// # Errors
    /// [`LossError::Index`], [`LossError::Shape`] for a selection of other sessions or trials.
    pub fn spikes(&self, selection: &TrialSelection) -> Result<Vec<u64>, LossError> {
        self.check_selection(selection)?;
        let mut spikes = vec![0; self.n_neurons];
        for (session, trials) in self.sessions.iter().zip(selection) {
            for &k in trials {
                let trial = session.counts.index_axis(Axis(0), k);
                for row in trial.outer_iter().take(session.valid_bins[k]) {
                    for (&neuron, &count) in session.neurons.iter().zip(row) {
                        spikes[neuron] += u64::from(count);
                    }
                }
            }
        }
        Ok(spikes)
    }

    /// Recorded neurons with fewer than `min_spikes` spikes in the selected trials, ascending.
    ///
    /// # Errors
    /// As [`Self::spikes`].
    pub fn with_few_spikes(&self, selection: &TrialSelection, min_spikes: u64) -> Result<Vec<usize>, LossError> {
        let spikes = self.spikes(selection)?;
        let recorded = self.sessions.iter().flat_map(|session| session.neurons.iter().copied());
        let mut few: Vec<usize> = recorded.filter(|&neuron| spikes[neuron] < min_spikes).collect();
        few.sort_unstable();
        Ok(few)
    }

    /// Checks that a selection names trials of these sessions.
    pub(crate) fn check_selection(&self, selection: &TrialSelection) -> Result<(), LossError> {
        check_shape("trial selection", &[selection.len()], &[self.sessions.len()])?;
        for (session, trials) in self.sessions.iter().zip(selection) {
            check_indices(
                format!("selected trials of session '{}'", session.name),
                trials,
                session.valid_bins.len(),
            )?;
        }
        Ok(())
    }
}

fn check_session(
    session: &RecordedSession,
    n_bins: usize,
    n_channels: usize,
    n_areas: usize,
    n_conditions: usize,
) -> Result<(), LossError> {
    let of = |what: &str| format!("{what} of session '{}'", session.name);
    let (n_trials, found_bins, n_neurons) = session.counts.dim();
    check_shape(of("time bins"), &[found_bins], &[n_bins])?;
    check_shape(of("valid bins"), &[session.valid_bins.len()], &[n_trials])?;
    check_shape(of("conditions"), &[session.conditions.len()], &[n_trials])?;
    check_shape(of("trial types"), &[session.trial_types.len()], &[n_trials])?;
    check_shape(of("model neurons"), &[session.neurons.len()], &[n_neurons])?;
    check_shape(of("areas"), &[session.areas.len()], &[n_neurons])?;
    check_indices(of("valid bins"), &session.valid_bins, n_bins + 1)?;
    check_indices(of("conditions"), &session.conditions, n_conditions)?;
    check_indices(of("areas"), &session.areas, n_areas)?;
    if let Some(behaviour) = &session.behaviour {
        let expected = [n_trials, n_bins, n_channels];
        check_shape(of("behaviour"), behaviour.shape(), &expected)?;
    }
    Ok(())
}
