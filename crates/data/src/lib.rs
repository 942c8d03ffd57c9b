//! Recordings: what was measured, how it is stored, and how it becomes trials a model can be fitted to.
//!
//! A [`Recording`] holds sessions: units with areas and cell types, trials, spike times (or counts),
//! behaviour and stimulus. [`file`](mod@file) reads and writes it as native HDF5, [`check`] checks it,
//! [`binning`] cuts it into `[K, T, N]` counts, [`stitch`](mod@stitch) lets each model neuron stand for one
//! recorded unit, [`split`](mod@split) sets test and validation trials aside, [`synth`] generates the
//! artificial recording, [`import`] reads what others stored and [`export`] writes what they read.
//!
//! This crate knows neither networks nor losses: random numbers come in as an argument, activity goes
//! out as plain arrays.

pub mod binned;
pub mod binning;
pub mod connectivity;
pub mod error;
pub mod export;
pub mod file;
pub mod fs;
mod h5;
pub mod import;
pub mod inspect;
mod packed;
pub mod presence;
pub mod recording;
pub mod six_area;
pub mod split;
pub mod stitch;
pub mod synth;
mod trial_events;
pub mod validate;

pub use binned::{BinnedSession, Condition, TrialInfo};
pub use binning::{BinOptions, bin_recording, bin_session};
pub use connectivity::{Connectivity, ConnectivityNeuron, LOG_ODDS, read_connectivity, write_connectivity};
pub use error::{DataError, Finding, Findings};
pub use file::{read, write, write_replacing};
pub use inspect::{RecordingSummary, summary};
pub use recording::{
    Activity, Behaviour, BehaviourSamples, CellType, Recording, Session, StimulusMovies, Timing, Trial, Unit,
};
pub use split::{NamedParts, NamedTrials, SessionSplit, SplitOptions, Splits, split};
pub use stitch::{ModelNeuron, PopulationSpec, SourceUnit, Stitching, all_recorded, stitch};
pub use synth::{TwoAreaOptions, two_area};
pub use trial_events::{TrialEvents, TrialNumbers};
pub use validate::{check, validate};
