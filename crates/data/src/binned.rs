//! A session cut into bins: what losses, metrics and models see.

use std::collections::BTreeMap;

use ndarray::{Array2, Array3, Axis};
use serde::{Deserialize, Serialize};

use crate::error::Finding;
use crate::recording::Unit;
use crate::trial_events::{self, TrialNumbers};

/// A binned session.
///
/// Bins from `valid_bins[k]` on are padding: counts are 0 and behaviour is NaN there.
#[derive(Clone, Debug, PartialEq)]
pub struct BinnedSession {
    /// Name of the session.
    pub id: String,
    /// Bin width (ms).
    pub bin_ms: f64,
    /// Left edge of the first bin (ms), relative to the alignment event of each trial.
    pub start_ms: f64,
    /// Spike counts, `[K, T, N]`; counts above 255 are stored as 255, with a warning.
    pub spikes: Array3<u8>,
    /// Number of leading bins of each trial that were recorded, `[K]`.
    pub valid_bins: Vec<usize>,
    /// Whether each unit was observed in all valid bins of each trial, `[K, N]`; `None`: all were. Counts of a trial that a
    /// unit was not observed in are 0.
    pub presence: Option<Array2<bool>>,
    /// Units, `[N]`.
    pub units: Vec<Unit>,
    /// Mean rate (Hz) of each unit over the valid bins of the trials that it was observed in, `[N]`.
    pub rates_hz: Vec<f64>,
    /// Trials, `[K]`.
    pub trials: Vec<TrialInfo>,
    /// Events of each trial by name (ms), relative to the one that bins are counted from, `[K]`; `None` where it did not happen.
    pub event_ms: TrialNumbers,
    /// Values of each trial by name, `[K]`.
    pub values: TrialNumbers,
    /// Behaviour by name, `[K, T]`; NaN where nothing was recorded.
    pub behaviour: BTreeMap<String, Array2<f32>>,
    /// Stimulus movies in the same bins, `[S, T, C]`.
    pub movies: Option<Array3<f32>>,
    /// What should be looked at.
    pub warnings: Vec<Finding>,
}

/// What is known of a trial besides its activity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialInfo {
    /// Row in the trial table of the recording.
    pub index: usize,
    /// Stimulus value.
    pub stimulus: f64,
    /// Label.
    pub trial_type: String,
    /// Index of the movie that was shown.
    pub movie: Option<usize>,
}

/// Trials with the same stimulus.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Index of the movie, if one was shown.
    pub movie: Option<usize>,
    /// Stimulus value.
    pub stimulus: f64,
    /// Positions along the trial axis, increasing.
    pub trials: Vec<usize>,
}

impl BinnedSession {
    /// Number of trials K.
    pub fn n_trials(&self) -> usize {
        self.spikes.shape()[0]
    }

    /// Number of bins T.
    pub fn n_bins(&self) -> usize {
        self.spikes.shape()[1]
    }

    /// Number of units N.
    pub fn n_units(&self) -> usize {
        self.spikes.shape()[2]
    }

    /// The session with only the given trials, in the given order. Allocates O(K·T·N).
    ///
    /// Positions count along the trial axis (not [`TrialInfo::index`]); rates are those of the chosen
    /// trials. Movies and warnings are kept as they are.
    ///
    /// # Panics
    /// If a position is not below [`n_trials`](Self::n_trials): positions come from
    /// [`Splits`](crate::Splits) or [`conditions`](Self::conditions) of this session.
    #[must_use]
    pub fn select_trials(&self, trials: &[usize]) -> Self {
        let k = self.n_trials();
        assert!(
            trials.iter().all(|&trial| trial < k),
            "trial positions {trials:?} must be below the number of trials {k}"
        );
        let mut chosen = Self {
            id: self.id.clone(),
            bin_ms: self.bin_ms,
            start_ms: self.start_ms,
            spikes: self.spikes.select(Axis(0), trials),
            valid_bins: trials.iter().map(|&k| self.valid_bins[k]).collect(),
            presence: self.presence.as_ref().map(|presence| presence.select(Axis(0), trials)),
            units: self.units.clone(),
            rates_hz: Vec::new(),
            trials: trials.iter().map(|&k| self.trials[k].clone()).collect(),
            event_ms: trial_events::select(&self.event_ms, trials),
            values: trial_events::select(&self.values, trials),
            behaviour: BTreeMap::new(),
            movies: self.movies.clone(),
            warnings: self.warnings.clone(),
        };
        for (name, trace) in &self.behaviour {
            let trace = trace.select(Axis(0), trials);
            chosen.behaviour.insert(name.clone(), trace);
        }
        let presence = chosen.presence.as_ref();
        chosen.rates_hz = mean_rates_hz(&chosen.spikes, &chosen.valid_bins, presence, chosen.bin_ms);
        chosen
    }

    /// Units that were observed in none of these trials, as far as they have data; none where no trial has.
    ///
    /// # Panics
    /// If a position is not below [`n_trials`](Self::n_trials).
    pub fn never_observed(&self, trials: &[usize]) -> Vec<usize> {
        let used: Vec<usize> = trials.iter().copied().filter(|&k| self.valid_bins[k] > 0).collect();
        match &self.presence {
            Some(presence) if !used.is_empty() => {
                let is_ever = |n: &usize| used.iter().any(|&k| presence[[k, *n]]);
                (0..self.n_units()).filter(|n| !is_ever(n)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Takes units out, in place. Allocates O(K·T·N).
    pub fn leave_out_units(&mut self, units: &[usize]) {
        let kept: Vec<usize> = (0..self.n_units()).filter(|n| !units.contains(n)).collect();
        self.spikes = self.spikes.select(Axis(2), &kept);
        self.presence = self.presence.as_ref().map(|presence| presence.select(Axis(1), &kept));
        self.units = kept.iter().map(|&n| self.units[n].clone()).collect();
        self.rates_hz = kept.iter().map(|&n| self.rates_hz[n]).collect();
    }

    /// Distinct stimuli (movie and value), sorted, with the trials of each.
    pub fn conditions(&self) -> Vec<Condition> {
        let mut conditions: Vec<Condition> = Vec::new();
        for (k, trial) in self.trials.iter().enumerate() {
            // Adding zero turns −0 into 0.
            let stimulus = trial.stimulus + 0.0;
            let position = conditions.binary_search_by(|condition| {
                let by_movie = condition.movie.cmp(&trial.movie);
                by_movie.then(condition.stimulus.total_cmp(&stimulus))
            });
            match position {
                Ok(found) => conditions[found].trials.push(k),
                Err(place) => conditions.insert(
                    place,
                    Condition {
                        movie: trial.movie,
                        stimulus,
                        trials: vec![k],
                    },
                ),
            }
        }
        conditions
    }
}

/// Mean rate (Hz) per unit: all counts over all valid time in which the unit was observed; padding holds no counts.
pub(crate) fn mean_rates_hz(
    spikes: &Array3<u8>,
    valid_bins: &[usize],
    presence: Option<&Array2<bool>>,
    bin_ms: f64,
) -> Vec<f64> {
    let mut sums = vec![0_u64; spikes.shape()[2]];
    for row in spikes.rows() {
        for (sum, &count) in sums.iter_mut().zip(row) {
            *sum += u64::from(count);
        }
    }
    let n_valid = |n: usize| -> usize {
        let bins = valid_bins.iter().enumerate();
        bins.filter(|(k, _)| presence.is_none_or(|presence| presence[[*k, n]]))
            .map(|(_, bins)| bins)
            .sum()
    };
    let of_all = n_valid(0);
    let rate = |(n, sum): (usize, u64)| {
        let n_valid = if presence.is_none() { of_all } else { n_valid(n) };
        let duration_s = n_valid as f64 * bin_ms / 1000.0;
        if n_valid == 0 { 0.0 } else { sum as f64 / duration_s }
    };
    sums.into_iter().enumerate().map(rate).collect()
}
