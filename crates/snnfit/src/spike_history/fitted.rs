//! A run that exists: its configuration, recordings and one of its checkpoints, ready to simulate.

use std::path::{Path, PathBuf};

use snn_core::device::OpenDevice;
use snn_core::models::rsnn::Engine;

use super::model::Model;
use super::recorded::Recorded;
use super::rollouts::Rollouts;
use super::trainer::{engine, lead};
use crate::cli::CheckpointChoice;
use crate::config::checked::spike_history::SpikeHistoryExperiment;
use crate::config::{self, AnyExperiment, ConfigError};
use crate::error::Error;
use crate::fit_error::FitError;
use crate::loaded;
use crate::run_dir::RunDir;
use crate::trainer::State;

/// A fitted network with its data.
#[derive(Debug)]
pub struct Fitted {
    /// The configuration.
    pub experiment: SpikeHistoryExperiment,
    /// What is recorded.
    pub recorded: Recorded,
    /// Network and driver with the checkpoint's parameters.
    pub model: Model,
    /// Step of the checkpoint.
    pub step: u64,
    engine: Engine,
    device: OpenDevice,
    lead: usize,
}

impl Fitted {
    /// Opens a run at a checkpoint; `data` says where its recordings are now, if they have moved. Warnings go to the log.
    ///
    /// # Errors
    /// Anything missing, damaged or not fitting together.
    pub fn open(
        path: &Path,
        choice: CheckpointChoice,
        data: &[PathBuf],
        device: OpenDevice,
    ) -> Result<(RunDir, Self), Error> {
        let run = RunDir::open(path)?;
        let (checkpoint, warnings) = loaded::checkpoint(&run, choice)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let config = config::load_any_run(&run.run_toml(), &[]).map_err(Error::in_run)?;
        let AnyExperiment::SpikeHistory(experiment) = config.experiment else {
            return Err(Error::Config(ConfigError::OtherModel {
                name: run.run_toml().display().to_string(),
                found: "rsnn",
                expected: "spike_history",
            }));
        };
        let mut experiment = *experiment;
        if !data.is_empty() {
            data.clone_into(&mut experiment.data.files);
        }
        loaded::check_data(&run, &experiment.data.files)?;
        let recorded = Recorded::new(&experiment, Some(loaded::splits(&run)?))?;
        let state: State = checkpoint.state().map_err(|error| FitError::CheckpointMismatch {
            what: format!("section 'state': {error}"),
        })?;
        let model = Model::of_checkpoint(&experiment, &recorded, &checkpoint)?;
        let fitted = Self {
            engine: engine(&experiment, &device),
            lead: lead(&experiment, &recorded),
            experiment,
            recorded,
            model,
            step: state.step,
            device,
        };
        Ok((run, fitted))
    }

    /// What rollouts need.
    pub fn rollouts(&self) -> Rollouts<'_> {
        Rollouts {
            model: &self.model,
            recorded: &self.recorded,
            engine: &self.engine,
            device: &self.device,
            lead: self.lead,
        }
    }
}
