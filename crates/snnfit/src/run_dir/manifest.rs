//! `manifest.json`: what a run was made by, from what, and how it ended.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::RunError;
use crate::few_spikes::FewSpikes;
use crate::partly_observed::PartlyObserved;
use crate::provenance;

/// Version of the manifest that this program writes; it reads this and older ones.
const SCHEMA: u64 = 1;
const MAX_BYTES: u64 = 64 << 20;

/// Provenance of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub schema: u64,
    /// Version of snnfit.
    pub version: String,
    /// Commit of the build, or "unknown".
    pub commit: String,
    /// Version of burn, whose tensors the engine `reference` uses.
    #[serde(default)]
    pub burn: String,
    /// Seed of the run.
    pub seed: u64,
    /// Device, e.g. "cpu".
    pub device: String,
    /// Threads.
    pub threads: usize,
    /// Recording files.
    pub data: Vec<DataFile>,
    /// Processes that trained on it, in order: the first, then each resumption.
    pub attempts: Vec<Attempt>,
    /// How often `evaluate`, or `simulate` with neurons held to recorded spikes, has opened the test trials.
    pub test_openings: u64,
    /// Sessions, areas or neurons that were left out, and why.
    pub left_out: Vec<LeftOut>,
    /// Neurons with few spikes in the training trials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub few_spikes: Vec<FewSpikes>,
    /// Neurons that were not observed in every trial.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partly_observed: Vec<PartlyObserved>,
    /// What drives the inputs in words, where they have channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<String>,
    /// The run whose parameters it started from, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<InitialRun>,
    /// Warnings given during the run.
    pub warnings: Vec<String>,
}

/// A run whose parameters another one started from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitialRun {
    /// Its directory at that time.
    pub run: String,
    /// Step of the checkpoint.
    pub step: u64,
}

/// A recording file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Path when the run started.
    pub path: String,
    /// SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
}

/// One process that trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Command line.
    pub argv: Vec<String>,
    /// Machine.
    pub host: String,
    /// Start, UTC.
    pub started: String,
    /// Step it started from.
    pub first_step: u64,
    /// Stop, UTC; `None` while it runs or when it was killed.
    pub stopped: Option<String>,
    /// Step it stopped at.
    pub last_step: Option<u64>,
    /// Why it stopped.
    pub stop_reason: Option<StopReason>,
}

/// Something that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Session.
    pub session: String,
    /// Area; `None` for the whole session.
    pub area: Option<String>,
    /// Why, with the numbers.
    pub reason: String,
}

/// Why training stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The validation loss has not improved for `train.patience` steps.
    Converged,
    /// `train.max_steps` were taken.
    MaxSteps,
    /// `--max-time` is over.
    TimeLimit,
    /// SIGINT.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// Values stayed non-finite after `train.max_skipped` skipped steps.
    Diverged,
    /// Another error.
    Failed,
}

impl StopReason {
    /// For the user.
    pub fn text(self) -> &'static str {
        match self {
            Self::Converged => "converged: the validation loss no longer improves",
            Self::MaxSteps => "all steps taken",
            Self::TimeLimit => "stopped by --max-time",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
            Self::Diverged => "diverged: values stayed non-finite",
            Self::Failed => "stopped by an error",
        }
    }

    /// Exit code of a process that stopped for this reason.
    pub fn exit_code(self) -> u8 {
        use crate::exit_code as code;
        match self {
            Self::Converged | Self::MaxSteps => code::DONE,
            Self::TimeLimit => code::TIME_LIMIT,
            Self::Interrupted => code::INTERRUPTED,
            Self::Terminated => code::TERMINATED,
            Self::Diverged => code::NUMERIC,
            Self::Failed => code::INTERNAL,
        }
    }
}

impl Manifest {
    /// The manifest of a run that starts now in this process, without data files yet.
    pub fn new(seed: u64, device: &str, threads: usize) -> Self {
        Self {
            schema: SCHEMA,
            version: provenance::VERSION.to_owned(),
            commit: provenance::COMMIT.to_owned(),
            burn: provenance::BURN.to_owned(),
            seed,
            device: device.to_owned(),
            threads,
            data: Vec::new(),
            attempts: vec![Attempt::starting_at(0)],
            test_openings: 0,
            left_out: Vec::new(),
            few_spikes: Vec::new(),
            partly_observed: Vec::new(),
            inputs: None,
            initial: None,
            warnings: Vec::new(),
        }
    }

    /// Notes how the present attempt ended.
    pub fn stop(&mut self, reason: StopReason, step: u64) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.stopped = Some(provenance::now_utc());
            attempt.last_step = Some(step);
            attempt.stop_reason = Some(reason);
        }
    }
}

impl Attempt {
    /// An attempt of this process that starts now, at this step.
    pub fn starting_at(step: u64) -> Self {
        Self {
            argv: provenance::argv(),
            host: provenance::host(),
            started: provenance::now_utc(),
            first_step: step,
            stopped: None,
            last_step: None,
            stop_reason: None,
        }
    }
}

pub(super) fn read(path: &Path) -> Result<Manifest, RunError> {
    #[derive(Deserialize)]
    struct Versioned {
        schema: u64,
    }
    let text = data::fs::read_text(path, MAX_BYTES)?;
    let not_a_manifest = |error: serde_json::Error| RunError::Manifest {
        path: path.to_owned(),
        what: error.to_string(),
    };
    let Versioned { schema } = serde_json::from_str(&text).map_err(not_a_manifest)?;
    if schema > SCHEMA {
        return Err(RunError::Newer {
            path: path.to_owned(),
            found: schema,
            known: SCHEMA,
        });
    }
    serde_json::from_str(&text).map_err(not_a_manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_a_newer_program_is_refused_before_its_fields_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        std::fs::write(&path, "{\"schema\": 2, \"other\": []}").unwrap();
        assert!(matches!(read(&path), Err(RunError::Newer { found: 2, known: 1, .. })));
        std::fs::write(&path, "{\"schema\": 1}").unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("missing field `version`"), "{message}");
    }

    #[test]
    fn the_end_of_an_attempt_is_noted_in_the_last_one() {
        let mut manifest = Manifest::new(0, "cpu", 1);
        manifest.attempts.push(Attempt::starting_at(20));
        manifest.stop(StopReason::TimeLimit, 33);
        assert_eq!(manifest.attempts[0].stop_reason, None);
        assert_eq!(manifest.attempts[1].stop_reason, Some(StopReason::TimeLimit));
        assert_eq!(manifest.attempts[1].last_step, Some(33));
    }
}
