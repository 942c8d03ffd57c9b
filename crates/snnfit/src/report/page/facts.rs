//! What a page says about the run itself.

use crate::few_spikes::FewSpikes;
use crate::partly_observed::PartlyObserved;
use crate::run_dir::{DataFile, LeftOut, StopReason};

/// Neurons of one area and cell type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PopulationFacts {
    /// The area.
    pub area: String,
    /// `excitatory`, `inhibitory` or `unknown`.
    pub cell_type: &'static str,
    /// Neurons that stand for recorded units.
    pub n_recorded: usize,
    /// Hidden ones.
    pub n_hidden: usize,
}

/// A run, for its headline and for who wants to repeat it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFacts {
    /// The run directory as it was given.
    pub run: String,
    /// Recording files with their checksums.
    pub recordings: Vec<DataFile>,
    /// Sessions that some neuron of the model comes from, and all sessions.
    pub n_sessions: (usize, usize),
    /// Neurons of the model.
    pub populations: Vec<PopulationFacts>,
    /// Trials of each part.
    pub trials: Vec<(&'static str, usize)>,
    /// The network and its parts in a few words: name and value.
    pub model: Vec<(&'static str, String)>,
    /// Losses and their weights.
    pub losses: Vec<(String, f64)>,
    /// Step of the checkpoint that was evaluated.
    pub checkpoint_step: u64,
    /// Last step of the run, if it has stopped.
    pub last_step: Option<u64>,
    /// Why it stopped.
    pub stop_reason: Option<StopReason>,
    /// In one word; see [`crate::findings::verdict`].
    pub verdict: &'static str,
    /// Best validation loss and its step.
    pub best: Option<(u64, f64)>,
    /// Sum of the validation losses with training trials in the model's place.
    pub floor: Option<f64>,
    /// Wall time of training, s.
    pub seconds: Option<f64>,
    /// Device of training.
    pub device: String,
    /// Threads of training.
    pub threads: usize,
    /// Version and commit that trained.
    pub trained_by: (String, String),
    /// Version and commit that evaluates.
    pub evaluated_by: (String, String),
    /// Seed.
    pub seed: u64,
    /// How often test trials have been opened.
    pub test_openings: u64,
    /// Command line of the first process.
    pub argv: Vec<String>,
    /// Options of this evaluation that are not the default, as for a shell.
    pub options: Vec<String>,
    /// The resolved configuration.
    pub run_toml: String,
    /// What was left out of the fit.
    pub left_out: Vec<LeftOut>,
    /// Neurons with few spikes in the training trials.
    pub few_spikes: Vec<FewSpikes>,
    /// Neurons that were not observed in every trial.
    pub partly_observed: Vec<PartlyObserved>,
    /// Warnings of training.
    pub warnings: Vec<String>,
}
