//! Runs of snnfit: configuration, run directories, checkpoints, events, and the commands.
//!
//! Networks live in `snn-core`, comparisons in `losses`, recordings in `data`; this crate ties them into runs.

pub mod adversary;
pub mod assembly;
pub mod bench;
pub mod checkpoint;
pub mod cli;
pub mod commands;
pub mod config;
pub mod cues;
pub mod error;
pub mod evaluate;
pub mod events;
pub mod exit_code;
pub mod few_spikes;
pub mod findings;
pub mod fit;
pub mod fit_error;
pub mod handoff;
pub mod import_process;
pub mod loaded;
pub mod logging;
pub mod memory;
pub mod objective;
pub mod partly_observed;
pub mod perturbation;
pub mod progress;
pub(crate) mod projections;
pub mod provenance;
pub mod report;
pub mod room;
pub mod run_dir;
pub mod six_area;
pub mod soft_matching;
pub mod spike_history;
pub mod teacher;
pub mod tensorboard;
pub mod trace_rules;
pub mod trainer;
