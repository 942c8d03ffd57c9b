//! What was recorded, as it was recorded: sessions of units, trials, spikes, behaviour and stimulus.
//!
//! These are plain data without invariants; [`validate`](crate::validate()) says whether they make sense.
//! Cutting into bins is the business of [`binning`](crate::binning).

use std::collections::BTreeMap;
use std::fmt;

use ndarray::{Array2, Array3, Axis};
use serde::{Deserialize, Serialize};

use crate::presence::Stretches;
use crate::trial_events::TrialEvents;

/// One or many sessions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// Sessions, in the order of the file.
    pub sessions: Vec<Session>,
}

/// One session: units recorded together over a list of trials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Name, unique in the recording; becomes an HDF5 group name, so no `/`.
    pub id: String,
    /// Recorded units; their order is the neuron axis N.
    pub units: Vec<Unit>,
    /// Trials; their order is the trial axis K.
    pub trials: Vec<Trial>,
    /// Events and values of trials, by name.
    #[serde(default)]
    pub events: TrialEvents,
    /// Behaviour traces by name.
    pub behaviour: BTreeMap<String, Behaviour>,
    /// Stimulus movies that trials refer to.
    pub stimulus: Option<StimulusMovies>,
    /// Spikes.
    pub activity: Activity,
}

/// A recorded unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// Name, unique in its session.
    pub id: String,
    /// Brain area or region.
    pub area: String,
    /// Excitatory, inhibitory or unknown.
    pub cell_type: CellType,
    /// Rate (Hz) found by whoever sorted the spikes, if known; it may cover more than the trials.
    pub firing_rate_hz: Option<f64>,
}

/// Cell type of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CellType {
    /// Excites its targets.
    Excitatory,
    /// Inhibits its targets.
    Inhibitory,
    /// Not known.
    Unknown,
}

impl CellType {
    /// All cell types, in the order models list them.
    pub const ALL: [Self; 3] = [Self::Excitatory, Self::Inhibitory, Self::Unknown];

    /// The name used in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Excitatory => "excitatory",
            Self::Inhibitory => "inhibitory",
            Self::Unknown => "unknown",
        }
    }

    /// The cell type of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for CellType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A trial. Times are seconds on the clock of the session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Start (s).
    pub start_s: f64,
    /// End (s); later bins are padding.
    pub stop_s: f64,
    /// The event that bins are counted from (s), usually the stimulus.
    pub align_s: f64,
    /// Stimulus value, such as an amplitude; 0 where there is none.
    pub stimulus: f64,
    /// Label, such as `hit`; trials are balanced and split by it.
    pub trial_type: String,
    /// Which movie of [`Session::stimulus`] was shown.
    pub movie: Option<usize>,
    /// For binned activity: number of leading bins that were recorded (all, if `None`).
    pub valid_bins: Option<usize>,
}

/// Spikes of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Activity {
    /// Spike times.
    SpikeTimes {
        /// Times (s) per unit, not decreasing, on the clock of the session.
        #[serde(with = "crate::packed::lists")]
        times_s: Vec<Vec<f64>>,
        /// From when to when (s) spikes were recorded.
        observed_s: (f64, f64),
        /// When each unit was observed, where that is known; a unit is not silent in trials in which it was not.
        unit_observed_s: Option<Vec<Stretches>>,
    },
    /// Spike counts.
    Binned {
        /// Counts, `[K, T, N]`.
        #[serde(with = "crate::packed::array")]
        counts: Array3<u8>,
        /// Bin width (ms).
        bin_ms: f64,
        /// Left edge of the first bin (ms) relative to [`Trial::align_s`].
        start_ms: f64,
        /// Whether each unit was observed in each trial, `[K, N]`; in all, if `None`.
        presence: Option<Array2<bool>>,
    },
}

/// A behaviour trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Behaviour {
    /// The samples; NaN where a sample is missing.
    pub samples: BehaviourSamples,
    /// Unit of the samples, such as `mm`.
    pub unit: String,
}

/// Samples of a behaviour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum BehaviourSamples {
    /// One stretch over the whole session.
    Continuous {
        /// Values.
        #[serde(with = "crate::packed::list")]
        values: Vec<f32>,
        /// When they were taken.
        timing: Timing,
    },
    /// One value per trial and bin of binned activity, `[K, T]`.
    PerBin(#[serde(with = "crate::packed::array")] Array2<f32>),
}

/// When samples were taken, on the clock of the session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Timing {
    /// Sample i at `start_s + i / rate_hz`.
    Rate {
        /// Samples per second.
        rate_hz: f64,
        /// Time of the first sample (s).
        start_s: f64,
    },
    /// Time of each sample (s), increasing.
    Timestamps(#[serde(with = "crate::packed::list")] Vec<f64>),
}

/// Stimuli that change in time, each stored once and shown in one or many trials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StimulusMovies {
    /// Values, `[S, T, C]` (movies, time bins, channels).
    #[serde(with = "crate::packed::array")]
    pub values: Array3<f32>,
    /// Bin width (ms); a value holds for its whole bin.
    pub bin_ms: f64,
    /// Left edge of the first bin (ms) relative to [`Trial::align_s`].
    pub start_ms: f64,
}

impl StimulusMovies {
    /// Number of movies S.
    pub(crate) fn len(&self) -> usize {
        self.values.shape()[0]
    }
}

impl Session {
    /// Number of trials K.
    pub fn n_trials(&self) -> usize {
        self.trials.len()
    }

    /// Number of units N.
    pub fn n_units(&self) -> usize {
        self.units.len()
    }

    /// The session with some of its units, in the given order. Allocates their spikes.
    ///
    /// # Panics
    /// For a unit that doesn't exist, in a session that [`validate`](crate::validate()) refuses also for one without spikes.
    #[must_use]
    pub fn select_units(&self, units: &[usize]) -> Self {
        fn some<T: Clone>(rows: &[T], chosen: &[usize]) -> Vec<T> {
            chosen.iter().map(|&n| rows[n].clone()).collect()
        }
        let activity = match &self.activity {
            Activity::SpikeTimes {
                times_s,
                observed_s,
                unit_observed_s,
            } => Activity::SpikeTimes {
                times_s: some(times_s, units),
                observed_s: *observed_s,
                unit_observed_s: unit_observed_s.as_ref().map(|all| some(all, units)),
            },
            Activity::Binned {
                counts,
                bin_ms,
                start_ms,
                presence,
            } => Activity::Binned {
                counts: counts.select(Axis(2), units),
                bin_ms: *bin_ms,
                start_ms: *start_ms,
                presence: presence.as_ref().map(|presence| presence.select(Axis(1), units)),
            },
        };
        Self {
            id: self.id.clone(),
            units: some(&self.units, units),
            trials: self.trials.clone(),
            events: self.events.clone(),
            behaviour: self.behaviour.clone(),
            stimulus: self.stimulus.clone(),
            activity,
        }
    }
}

impl Activity {
    /// Spikes of each unit over all that was recorded; counts add up over trials and bins.
    ///
    /// Cost O(K·T·N) for binned activity, O(N) for spike times.
    pub fn spikes_per_unit(&self) -> Vec<u64> {
        match self {
            Self::SpikeTimes { times_s, .. } => times_s.iter().map(|t| t.len() as u64).collect(),
            Self::Binned { counts, .. } => spikes_per_unit(counts),
        }
    }
}

/// Counts `[K, T, N]` added up over trials and bins.
pub(crate) fn spikes_per_unit(counts: &Array3<u8>) -> Vec<u64> {
    let mut sums = vec![0_u64; counts.shape()[2]];
    for row in counts.rows() {
        for (sum, &count) in sums.iter_mut().zip(row) {
            *sum += u64::from(count);
        }
    }
    sums
}
