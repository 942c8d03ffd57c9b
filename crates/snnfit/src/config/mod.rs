//! The configuration: read, checked, shown, and written back.
//!
//! `raw` is the file as written, `parse` finds syntax and shape errors, `check` turns it into the types of
//! [`checked`], which are all that the rest of the program sees. `keys` describes every key once; the starter file
//! and `config schema` come from it.

mod check;
mod check_channels;
mod check_model;
mod check_projections;
mod check_spike_history;
pub mod checked;
pub mod defaults;
mod error;
mod keys;
mod parse;
pub mod raw;
mod resolver;
mod write;

use std::path::Path;

pub use error::{ConfigError, Place, Problem};
pub use keys::{schema_table, schema_text, starter, starter_spike_history};
pub use parse::{MAX_CONFIG_BYTES, SCHEMA};
pub use resolver::{Origin, ShownValue};
pub use write::{any_to_toml, to_toml};

pub(crate) use parse::{closest, read_text};

use checked::Experiment;
use checked::spike_history::SpikeHistoryExperiment;

/// An experiment with any model.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyExperiment {
    /// With `[model.rsnn]`.
    Rsnn(Box<Experiment>),
    /// With `[model.spike_history]`.
    SpikeHistory(Box<SpikeHistoryExperiment>),
}

impl AnyExperiment {
    /// The recording.
    pub fn data(&self) -> &checked::Data {
        match self {
            Self::Rsnn(experiment) => &experiment.data,
            Self::SpikeHistory(experiment) => &experiment.data,
        }
    }
}

/// A usable configuration of a model of leaky integrate-and-fire neurons.
pub type Loaded = LoadedAs<Experiment>;

/// A usable configuration of any model.
pub type AnyLoaded = LoadedAs<AnyExperiment>;

/// A usable configuration with what is worth telling about it.
#[derive(Debug, Clone)]
pub struct LoadedAs<E> {
    /// The checked configuration.
    pub experiment: E,
    /// Every resolved value with its origin, in the order of the file format.
    pub values: Vec<ShownValue>,
    /// Sentences for the user: times that don't fit the bin, onsets without effect, data files that don't exist.
    pub warnings: Vec<String>,
}

/// Keys that may be changed when a run is resumed: they say when to stop and to save, not what is fitted. The last one
/// changes rounding, so that the run no longer ends with the bytes of one that was never stopped; it is there for a run
/// whose device ran out of memory.
pub const RESUMABLE_KEYS: [&str; 5] = [
    "train.max_steps",
    "train.patience",
    "train.checkpoint_every",
    "train.max_skipped",
    "train.trial_chunk",
];

impl AnyLoaded {
    /// With `[model.rsnn]`.
    ///
    /// # Errors
    /// [`ConfigError::OtherModel`] that names the text `name`.
    fn into_rsnn(self, name: &str) -> Result<Loaded, ConfigError> {
        match self.experiment {
            AnyExperiment::Rsnn(experiment) => Ok(LoadedAs {
                experiment: *experiment,
                values: self.values,
                warnings: self.warnings,
            }),
            AnyExperiment::SpikeHistory(_) => Err(ConfigError::OtherModel {
                name: name.to_owned(),
                found: "spike_history",
                expected: "rsnn",
            }),
        }
    }
}

/// Reads and checks a configuration file of `[model.rsnn]` with overrides such as `train.max_steps = 10`.
///
/// # Errors
/// [`ConfigError`]; rules between values are all checked before it returns, syntax stops at the first error.
pub fn load(path: &Path, overrides: &[String]) -> Result<Loaded, ConfigError> {
    load_any(path, overrides)?.into_rsnn(&path.display().to_string())
}

/// As [`load`], of any model.
///
/// # Errors
/// As [`load`].
pub fn load_any(path: &Path, overrides: &[String]) -> Result<AnyLoaded, ConfigError> {
    load_file(path, overrides, |_| ())
}

/// As [`load`], for the `run.toml` of a run: a key that the program which wrote it didn't have yet means what that program
/// did, so that old runs go on as they were begun.
///
/// # Errors
/// As [`load`].
pub fn load_run(path: &Path, overrides: &[String]) -> Result<Loaded, ConfigError> {
    load_any_run(path, overrides)?.into_rsnn(&path.display().to_string())
}

/// As [`load_run`], of any model.
///
/// # Errors
/// As [`load`].
pub fn load_any_run(path: &Path, overrides: &[String]) -> Result<AnyLoaded, ConfigError> {
    load_file(path, overrides, as_written_then)
}

/// `run.toml` has every key of the program that wrote it.
fn as_written_then(config: &mut raw::Config) {
    let statistics = config.statistics.get_or_insert_default();
    // Neurons counted alike, whatever their spikes.
    statistics.min_spikes.get_or_insert(0);
}

fn load_file(path: &Path, overrides: &[String], amend: fn(&mut raw::Config)) -> Result<AnyLoaded, ConfigError> {
    let text = parse::read_text(path)?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    let mut loaded = amended(&path.display().to_string(), &text, directory, overrides, amend)?;
    for file in loaded
        .experiment
        .data()
        .files
        .clone()
        .iter()
        .filter(|file| !file.exists())
    {
        loaded
            .warnings
            .push(format!("data.files: {} does not exist", file.display()));
    }
    Ok(loaded)
}

/// As [`load`], from a text called `name`; its relative paths belong to `directory`.
///
/// # Errors
/// As [`load`].
pub fn load_text(name: &str, text: &str, directory: &Path, overrides: &[String]) -> Result<Loaded, ConfigError> {
    load_any_text(name, text, directory, overrides)?.into_rsnn(name)
}

/// As [`load_text`], of any model.
///
/// # Errors
/// As [`load`].
pub fn load_any_text(name: &str, text: &str, directory: &Path, overrides: &[String]) -> Result<AnyLoaded, ConfigError> {
    amended(name, text, directory, overrides, |_| ())
}

fn amended(
    name: &str,
    text: &str,
    directory: &Path,
    overrides: &[String],
    amend: fn(&mut raw::Config),
) -> Result<AnyLoaded, ConfigError> {
    let texts = parse::Texts::new(name, text, overrides);
    let parsed = parse::parse(&texts)?;
    let mut config = parsed.config.clone();
    amend(&mut config);
    let mut resolver = resolver::Resolver::new(&parsed);
    let experiment = check::check(&mut resolver, config, directory);
    let resolver::Resolver {
        values,
        problems,
        warnings,
        ..
    } = resolver;
    match experiment {
        Some(experiment) if problems.is_empty() => Ok(LoadedAs {
            experiment,
            values,
            warnings,
        }),
        _ => Err(ConfigError::Invalid { problems }),
    }
}

/// Refuses overrides of a resumed run that would change what is fitted.
///
/// # Errors
/// The first override with another key than [`RESUMABLE_KEYS`], or one that is not TOML, is described.
pub fn check_resume_overrides(overrides: &[String]) -> Result<(), String> {
    for text in overrides {
        let table: toml::Table = text
            .parse()
            .map_err(|_| format!("--set '{text}' is not `key = value` in TOML"))?;
        let mut keys = Vec::new();
        leaf_keys("", &table, &mut keys);
        if let Some(key) = keys.iter().find(|key| !RESUMABLE_KEYS.contains(&key.as_str())) {
            return Err(format!(
                "'{key}' cannot change when a run is resumed; allowed are {}",
                RESUMABLE_KEYS.join(", ")
            ));
        }
    }
    Ok(())
}

fn leaf_keys(prefix: &str, table: &toml::Table, keys: &mut Vec<String>) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            toml::Value::Table(inner) => leaf_keys(&key, inner, keys),
            _ => keys.push(key),
        }
    }
}
