//! Recorded (or simulated) trials of all sessions, as the statistics want them.

use ndarray::{Array2, Array3, ArrayView3, Axis, s};
use rand::{Rng, RngExt};

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
    /// Which neurons were observed in which trials; `None`: all in all.
    pub presence: Option<Presence>,
    /// Behaviour traces `[K, T, B]` in the model's units, NaN in padding, and in a trace that this session didn't record;
    /// `None` if it recorded none.
    pub behaviour: Option<Array3<f64>>,
}

/// Which neurons of a session were observed in which trials: a unit that drifted away, or whose probe was stopped, is
/// neither silent nor constant.
///
/// Statistics of single neurons (PSTHs, rates, counts, noise correlations) go over the trials that a neuron was observed in.
/// Single trials of a population need a count of every neuron: the rare missing ones are stood in for by what
/// [`RecordedSession::stand_in_for_absent`] puts into `counts`, and neurons that miss more are in no population.
#[derive(Debug, Clone, PartialEq)]
pub struct Presence {
    /// Whether each neuron was observed in each trial `[K, N_s]`.
    pub is_present: Array2<bool>,
    /// Whether each neuron is in populations `[N_s]`: those that were observed in nearly all training trials.
    pub is_kept: Vec<bool>,
}

impl Presence {
    /// The presence of a mask `[K, N_s]`; kept are neurons observed in at least the share `min_presence` of the `used`
    /// trials, and in one at least.
    ///
    /// # Errors
    /// [`LossError::Index`] for a trial that doesn't exist.
    pub fn of_mask(is_present: Array2<bool>, used: &[usize], min_presence: f64) -> Result<Self, LossError> {
        check_indices("used trials", used, is_present.nrows())?;
        let is_kept = is_present.columns().into_iter().map(|column| {
            let n = used.iter().filter(|&&k| column[k]).count();
            n > 0 && n as f64 >= min_presence * used.len() as f64
        });
        Ok(Self {
            is_kept: is_kept.collect(),
            is_present,
        })
    }

    /// Of simulated trials, in which every neuron is there: the same neurons are in populations.
    #[must_use]
    pub fn of_simulated(&self, n_trials: usize) -> Self {
        Self {
            is_present: Array2::from_elem((n_trials, self.is_kept.len()), true),
            is_kept: self.is_kept.clone(),
        }
    }

    /// Of some of the neurons.
    ///
    /// # Panics
    /// For a column that doesn't exist.
    #[must_use]
    pub fn of_columns(&self, columns: &[usize]) -> Self {
        Self {
            is_present: self.is_present.select(Axis(1), columns),
            is_kept: columns.iter().map(|&c| self.is_kept[c]).collect(),
        }
    }
}

impl RecordedSession {
    /// Whether the neuron of a column was observed in trial `k`.
    #[inline]
    pub fn is_present(&self, k: usize, column: usize) -> bool {
        self.presence
            .as_ref()
            .is_none_or(|presence| presence.is_present[[k, column]])
    }

    /// Which neurons were observed in which trials `[K, N_s]`; none where all were in all.
    pub(crate) fn mask(&self) -> Option<&Array2<bool>> {
        self.presence.as_ref().map(|presence| &presence.is_present)
    }

    /// Whether the neuron of a column is in populations.
    pub fn is_kept(&self, column: usize) -> bool {
        self.presence.as_ref().is_none_or(|presence| presence.is_kept[column])
    }

    /// Puts counts in the place of those that are missing, for neurons in populations: a neuron's counts in a trial that it
    /// wasn't observed in become those of another one in which it was, drawn at random for each missing trial by itself. So
    /// a population's trace has the rates, the time course and the variance of a neuron that is there; what is lost is its
    /// correlation with others in this trial. The mean over other trials would be no count, and would take variance away.
    ///
    /// The first of these that has any is drawn from: trials of the same part and condition; training trials of the same
    /// condition; all of the same part; all training trials. Only trials with as many valid bins are taken, and where there
    /// is none, the longest training trials. Neurons in no population keep what they have, which is never read.
    ///
    /// # Shapes
    /// `parts`: trials that may stand in for each other, such as those of training (the first), validation and test.
    /// `rng_of(k, column)`: the random numbers of one missing trial; where they depend on nothing else, neither does what
    /// stands in.
    ///
    /// # Panics
    /// For a trial that doesn't exist.
    pub fn stand_in_for_absent<R: Rng>(&mut self, parts: &[Vec<usize>], mut rng_of: impl FnMut(usize, usize) -> R) {
        let Some(presence) = self.presence.clone() else { return };
        let Some(training) = parts.first() else { return };
        let recorded = self.counts.clone();
        for part in parts {
            for &k in part {
                for column in (0..self.neurons.len()).filter(|&n| presence.is_kept[n] && !presence.is_present[[k, n]]) {
                    let could = self.stand_ins(k, column, part, training);
                    if could.is_empty() {
                        continue; // there is no training trial with this neuron
                    }
                    let source = could[rng_of(k, column).random_range(0..could.len())];
                    self.counts
                        .slice_mut(s![k, .., column])
                        .assign(&recorded.slice(s![source, .., column]));
                }
            }
        }
    }

    /// Trials that may stand in for trial `k` of a neuron; see [`Self::stand_in_for_absent`].
    fn stand_ins(&self, k: usize, column: usize, part: &[usize], training: &[usize]) -> Vec<usize> {
        let has = |&other: &usize| self.is_present(other, column);
        for (among, is_alike) in [(part, true), (training, true), (part, false), (training, false)] {
            let could = among.iter().copied().filter(has).filter(|&other| {
                self.valid_bins[other] >= self.valid_bins[k]
                    && (!is_alike || self.conditions[other] == self.conditions[k])
            });
            let could: Vec<usize> = could.collect();
            if !could.is_empty() {
                return could;
            }
        }
        let present = || training.iter().copied().filter(has);
        let longest = present().map(|other| self.valid_bins[other]).max();
        present()
            .filter(|&other| Some(self.valid_bins[other]) == longest)
            .collect()
    }

    /// Traces of behaviour that were recorded: those with a finite value.
    pub fn channels(&self) -> Vec<usize> {
        let Some(traces) = &self.behaviour else {
            return Vec::new();
        };
        let is_recorded = |b: &usize| traces.index_axis(Axis(2), *b).iter().any(|value| value.is_finite());
        (0..traces.len_of(Axis(2))).filter(is_recorded).collect()
    }

    /// Spikes of each neuron in the valid bins of the trials that it was observed in `[N_s]`.
    pub(crate) fn spikes(&self, trials: &[usize]) -> Vec<u64> {
        let mut spikes = vec![0; self.neurons.len()];
        for &k in trials {
            let trial = self.counts.index_axis(Axis(0), k);
            let mut sums = vec![0_u64; spikes.len()];
            for row in trial.outer_iter().take(self.valid_bins[k]) {
                for (sum, &count) in sums.iter_mut().zip(row) {
                    *sum += u64::from(count);
                }
            }
            for (column, (spikes, sum)) in spikes.iter_mut().zip(sums).enumerate() {
                *spikes += if self.is_present(k, column) { sum } else { 0 };
            }
        }
        spikes
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

    /// Without the recorded neurons of these model neurons; the model has as many as before.
    ///
    /// # Errors
    /// None, short of a bug: what is left of a recording is one.
    pub fn without(&self, is_left_out: impl Fn(usize) -> bool) -> Result<Self, LossError> {
        let rest = |session: &RecordedSession| {
            let kept: Vec<usize> = (0..session.neurons.len())
                .filter(|&column| !is_left_out(session.neurons[column]))
                .collect();
            RecordedSession {
                name: session.name.clone(),
                counts: session.counts.select(Axis(2), &kept),
                neurons: kept.iter().map(|&column| session.neurons[column]).collect(),
                areas: kept.iter().map(|&column| session.areas[column]).collect(),
                presence: session.presence.as_ref().map(|own| own.of_columns(&kept)),
                valid_bins: session.valid_bins.clone(),
                conditions: session.conditions.clone(),
                trial_types: session.trial_types.clone(),
                behaviour: session.behaviour.clone(),
            }
        };
        Self::new(
            self.sessions.iter().map(rest).collect(),
            self.area_names.clone(),
            self.n_neurons,
            self.n_conditions,
        )
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
                presence: session.presence.as_ref().map(|own| own.of_simulated(n_trials)),
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

    /// Mean rate in Hz of every model neuron over the valid bins of the selected trials that it was observed in `[N]`; NaN
    /// for a hidden neuron and for one without such bins.
    ///
    /// # Errors
    /// [`LossError::Index`], [`LossError::Shape`] for a selection of other sessions or trials,
    /// [`LossError::Parameter`] for a bin width that is not positive.
    pub fn rates_hz(&self, selection: &TrialSelection, bin_ms: f64) -> Result<Vec<f64>, LossError> {
        crate::error::check_positive("bin width (ms)", bin_ms)?;
        self.check_selection(selection)?;
        let mut rates = vec![f64::NAN; self.n_neurons];
        for (session, trials) in self.sessions.iter().zip(selection) {
            let spikes = session.spikes(trials);
            for (column, (&neuron, sum)) in session.neurons.iter().zip(spikes).enumerate() {
                let present = trials.iter().filter(|&&k| session.is_present(k, column));
                let n_bins: usize = present.map(|&k| session.valid_bins[k]).sum();
                if n_bins > 0 {
                    let seconds = n_bins as f64 * bin_ms / 1000.0;
                    rates[neuron] = sum as f64 / seconds;
                }
            }
        }
        Ok(rates)
    }

    /// Spikes of every model neuron in the valid bins of the selected trials that it was observed in `[N]`; 0 for a hidden
    /// neuron.
    ///
    /// # Errors
    /// [`LossError::Index`], [`LossError::Shape`] for a selection of other sessions or trials.
    pub fn spikes(&self, selection: &TrialSelection) -> Result<Vec<u64>, LossError> {
        self.check_selection(selection)?;
        let mut spikes = vec![0; self.n_neurons];
        for (session, trials) in self.sessions.iter().zip(selection) {
            for (&neuron, sum) in session.neurons.iter().zip(session.spikes(trials)) {
                spikes[neuron] = sum;
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
    if let Some(presence) = &session.presence {
        check_shape(of("presence"), presence.is_present.shape(), &[n_trials, n_neurons])?;
        check_shape(of("neurons in populations"), &[presence.is_kept.len()], &[n_neurons])?;
    }
    if let Some(behaviour) = &session.behaviour {
        let expected = [n_trials, n_bins, n_channels];
        check_shape(of("behaviour"), behaviour.shape(), &expected)?;
    }
    Ok(())
}
