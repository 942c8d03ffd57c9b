//! Recordings as a spike-history network needs them: bins, stimuli, and which trials of which session show the same.

use std::collections::BTreeMap;

use data::{BinnedSession, DataError, Splits};
use losses::sample_and_measure::MIN_REPEATS;
use ndarray::{Array2, Array3, Axis, s};

use crate::assembly::{Part, load, splits_of};
use crate::config::checked::spike_history::{Encoder, SpikeHistoryExperiment};
use crate::fit_error::FitError;

/// A visible neuron: a unit of a session, or, with `shared_units`, of every session that has one of this id and area.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VisibleNeuron {
    /// Name of the unit.
    pub id: String,
    /// Its area.
    pub area: String,
    /// The session, where each has its own.
    pub session: Option<String>,
}

impl std::fmt::Display for VisibleNeuron {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.session {
            Some(session) => write!(f, "{session}/{}", self.id),
            None => f.write_str(&self.id),
        }
    }
}

/// One session.
#[derive(Debug)]
pub struct RecordedSession {
    /// Its name.
    pub id: String,
    /// Start of the first bin, ms, relative to the event that trials are aligned to.
    pub start_ms: f64,
    /// Model neuron of each of its units.
    pub neurons: Vec<usize>,
    /// Spikes, at most one a bin, `[K, T, units]`.
    pub spikes: Array3<u8>,
    /// Bins of each trial that are data, `[K]`.
    pub valid_bins: Vec<usize>,
    /// Stimulus of each trial, an index into [`RecordedSession::stimuli`], `[K]`.
    pub stimulus_of: Vec<usize>,
    /// Movie of each stimulus, if it is one.
    pub stimuli: Vec<Option<usize>>,
    /// Movies with scale and offset of the configuration, `[S, T, C]`.
    pub movies: Option<Array3<f32>>,
    /// Training, validation and test trials.
    parts: [Vec<usize>; 3],
}

/// Trials of one session that show the same stimulus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeats {
    /// The session.
    pub session: usize,
    /// The stimulus.
    pub stimulus: usize,
    /// Its trials, at least [`MIN_REPEATS`].
    pub trials: Vec<usize>,
    /// Bins that all of them have.
    pub n_bins: usize,
}

/// Everything that is recorded.
#[derive(Debug)]
pub struct Recorded {
    /// Visible neurons, in the order in which sessions name them.
    pub neurons: Vec<VisibleNeuron>,
    /// Sessions, in the order of the files.
    pub sessions: Vec<RecordedSession>,
    /// Parts of their trials.
    pub splits: Splits,
    /// Things a user should know.
    pub warnings: Vec<String>,
}

impl RecordedSession {
    /// A session whose trials all train, without a stimulus.
    #[cfg(test)]
    pub(crate) fn in_training(neurons: Vec<usize>, spikes: Array3<u8>, valid_bins: Vec<usize>) -> Self {
        let n = valid_bins.len();
        Self {
            id: "test".to_owned(),
            start_ms: 0.0,
            neurons,
            spikes,
            valid_bins,
            stimulus_of: vec![0; n],
            stimuli: vec![None],
            movies: None,
            parts: [(0..n).collect(), Vec::new(), Vec::new()],
        }
    }

    /// Trials of a part.
    pub fn trials(&self, part: Part) -> &[usize] {
        &self.parts[part as usize]
    }

    /// Recorded spikes of some trials and bins as numbers, `[trials, bins, units]`.
    pub fn counts(&self, trials: &[usize], first: usize, bins: usize) -> Array3<f64> {
        let part = self.spikes.slice(s![.., first..first + bins, ..]);
        part.select(Axis(0), trials).mapv(f64::from)
    }

    /// The movie that a stimulus is, `[T, C]`.
    pub fn movie(&self, stimulus: usize) -> Option<Array2<f32>> {
        let movie = (*self.stimuli.get(stimulus)?)?;
        Some(self.movies.as_ref()?.index_axis(Axis(0), movie).to_owned())
    }

    /// Spikes of the bins before `first`, `[trials, lags, units]`, silence before the trial.
    pub fn history(&self, trials: &[usize], first: usize, lags: usize) -> Array3<u8> {
        let mut history = Array3::zeros((trials.len(), lags, self.neurons.len()));
        let n = lags.min(first);
        let known = self.spikes.slice(s![.., first - n..first, ..]).select(Axis(0), trials);
        history.slice_mut(s![.., lags - n.., ..]).assign(&known);
        history
    }
}

impl Recorded {
    /// Reads the recordings; with `splits` given (a run that exists) these are used and checked.
    ///
    /// # Errors
    /// Recordings that can't be read or don't fit together or the configuration.
    pub fn new(experiment: &SpikeHistoryExperiment, splits: Option<Splits>) -> Result<Self, FitError> {
        let mut warnings = Vec::new();
        let mut sessions = load(&experiment.data, false, &mut warnings)?;
        let splits = splits_of(&experiment.split, &sessions, splits)?;
        warnings.extend(splits.warnings.iter().cloned());
        for session in &mut sessions {
            check_presence(session)?;
        }
        if let Some(limit) = experiment.data.max_rate_hz {
            for session in &mut sessions {
                let fast: Vec<usize> = (0..session.n_units())
                    .filter(|&n| session.rates_hz[n] >= limit)
                    .collect();
                if !fast.is_empty() {
                    warnings.push(format!(
                        "session {}: {} units at data.max_rate_hz = {limit} Hz or more are left out",
                        session.id,
                        fast.len()
                    ));
                    session.leave_out_units(&fast);
                }
            }
        }
        let mut neurons: Vec<VisibleNeuron> = Vec::new();
        let mut places = BTreeMap::new();
        let mut recorded = Vec::with_capacity(sessions.len());
        for (session, split) in sessions.into_iter().zip(&splits.sessions) {
            let of_unit = |unit: &data::Unit| VisibleNeuron {
                id: unit.id.clone(),
                area: unit.area.clone(),
                session: (!experiment.model.shared_units).then(|| session.id.clone()),
            };
            let mut own = Vec::with_capacity(session.n_units());
            for unit in session.units.iter().map(of_unit) {
                let place = *places.entry(unit.clone()).or_insert_with(|| {
                    neurons.push(unit);
                    neurons.len() - 1
                });
                own.push(place);
            }
            recorded.push(of_session(experiment, session, own, split, &mut warnings)?);
        }
        if neurons.is_empty() {
            return Err(FitError::Data(DataError::BadOption {
                name: "data.files",
                found: "no unit in any session in use".to_owned(),
                expected: "at least one unit",
            }));
        }
        let recorded = Self {
            neurons,
            sessions: recorded,
            splits,
            warnings,
        };
        for (part, name) in [(Part::Train, "training"), (Part::Validation, "validation")] {
            if recorded.sessions.iter().all(|session| session.trials(part).is_empty()) {
                return Err(FitError::NoTrials { part: name });
            }
        }
        recorded.check_stimuli(experiment)?;
        Ok(recorded)
    }

    /// Stimuli that are shown in at least [`MIN_REPEATS`] trials of a part, by session.
    pub fn repeats(&self, part: Part) -> Vec<Repeats> {
        let mut found = Vec::new();
        for (s, session) in self.sessions.iter().enumerate() {
            for stimulus in 0..session.stimuli.len() {
                let of = |k: &&usize| session.stimulus_of[**k] == stimulus;
                let trials: Vec<usize> = session.trials(part).iter().filter(of).copied().collect();
                let n_bins = trials.iter().map(|&k| session.valid_bins[k]).min().unwrap_or(0);
                if trials.len() >= MIN_REPEATS && n_bins > 0 {
                    found.push(Repeats {
                        session: s,
                        stimulus,
                        trials,
                        n_bins,
                    });
                }
            }
        }
        found
    }

    /// Probability of a spike in a bin of each visible neuron over the training trials, 0 for one that has none.
    pub fn rates(&self) -> Vec<f64> {
        let (mut spikes, mut bins) = (vec![0.0; self.neurons.len()], vec![0.0; self.neurons.len()]);
        for session in &self.sessions {
            for &k in session.trials(Part::Train) {
                let trial = session.spikes.slice(s![k, ..session.valid_bins[k], ..]);
                for (unit, &neuron) in trial.columns().into_iter().zip(&session.neurons) {
                    spikes[neuron] += unit.iter().map(|&z| f64::from(z)).sum::<f64>();
                    bins[neuron] += unit.len() as f64;
                }
            }
        }
        spikes
            .iter()
            .zip(&bins)
            .map(|(spikes, bins)| if *bins > 0.0 { spikes / bins } else { 0.0 })
            .collect()
    }

    /// Channels of the stimulus; none where no session has one.
    pub fn n_channels(&self) -> Option<usize> {
        self.sessions.iter().find_map(|s| Some(s.movies.as_ref()?.dim().2))
    }

    fn check_stimuli(&self, experiment: &SpikeHistoryExperiment) -> Result<(), FitError> {
        if !matches!(experiment.model.encoder, Some(Encoder::Stimulus(_))) {
            return Ok(());
        }
        let Some(expected) = self.n_channels() else {
            return Err(FitError::SpikeHistory {
                reason: "no session has a recorded stimulus; import it with --stimulus, or use encoder.bins".to_owned(),
            });
        };
        for session in &self.sessions {
            if let Some(movies) = &session.movies
                && movies.dim().2 != expected
            {
                return Err(FitError::StimulusChannels {
                    session: session.id.clone(),
                    found: movies.dim().2,
                    expected,
                });
            }
            let without = session.stimulus_of.iter().position(|&s| session.stimuli[s].is_none());
            if let Some(trial) = without {
                return Err(FitError::SpikeHistory {
                    reason: format!(
                        "session '{}', trial {trial} has no recorded stimulus; leave such trials out of the recording",
                        session.id
                    ),
                });
            }
        }
        Ok(())
    }
}

/// The session in the form above.
fn of_session(
    experiment: &SpikeHistoryExperiment,
    session: BinnedSession,
    neurons: Vec<usize>,
    split: &data::SessionSplit,
    warnings: &mut Vec<String>,
) -> Result<RecordedSession, FitError> {
    let clipped = session.spikes.iter().filter(|&&n| n > 1).count();
    if clipped > 0 {
        warnings.push(format!(
            "session {}: {clipped} bins with several spikes count as one spike each; narrower bins have fewer",
            session.id
        ));
    }
    let conditions = session.conditions();
    let mut stimulus_of = vec![0; session.n_trials()];
    for (c, condition) in conditions.iter().enumerate() {
        for &k in &condition.trials {
            stimulus_of[k] = c;
        }
    }
    let movies = match (&experiment.model.encoder, session.movies) {
        (Some(Encoder::Stimulus(encoder)), Some(movies)) => {
            let (scale, offset) = (encoder.scale as f32, encoder.offset as f32);
            let movies = movies.mapv(|x| scale * x + offset);
            if movies.iter().any(|x| !x.is_finite()) {
                return Err(FitError::SpikeHistory {
                    reason: format!("session '{}': the stimulus has values that aren't finite", session.id),
                });
            }
            Some(movies)
        }
        _ => None,
    };
    Ok(RecordedSession {
        id: session.id,
        start_ms: session.start_ms,
        neurons,
        spikes: session.spikes.mapv(|n| n.min(1)),
        valid_bins: session.valid_bins,
        stimulus_of,
        stimuli: conditions.iter().map(|condition| condition.movie).collect(),
        movies,
        parts: [split.train.clone(), split.validation.clone(), split.test.clone()],
    })
}

/// Clamped units have to be known in every trial.
fn check_presence(session: &BinnedSession) -> Result<(), FitError> {
    let Some(presence) = &session.presence else {
        return Ok(());
    };
    let absent = presence.indexed_iter().find(|(_, is_present)| !**is_present);
    match absent {
        None => Ok(()),
        Some(((trial, unit), _)) => Err(FitError::SpikeHistory {
            reason: format!(
                "session '{}': unit '{}' was not observed in trial {trial}; a spike-history network takes units that were \
                 observed in every trial: import without the unit, or in a session of its own",
                session.id, session.units[unit].id
            ),
        }),
    }
}
