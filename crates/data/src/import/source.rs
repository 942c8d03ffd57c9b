//! What a file of another layout says about one session, before anything is chosen from it.
//!
//! Every reader of a format makes a [`Source`]; what is chosen from it makes a session. So filters,
//! alignment and areas work alike for all formats.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::table::Table;
use crate::error::Finding;
use crate::recording::Timing;

/// One session of a file or folder, in its own terms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Name of the session.
    pub id: String,
    /// The format it was read from, such as `NWB 2.6.0`, for messages.
    pub format: String,
    /// One row per unit; columns as the file names them. Spike times are not among them.
    pub units: Table,
    /// Name of each unit, as the file has it; not yet known to be unique.
    pub unit_ids: Vec<String>,
    /// Spike times (s) of each unit on the clock of the session, as the file has them: not yet known to be sorted or finite.
    #[serde(with = "crate::packed::lists")]
    pub spikes_s: Vec<Vec<f64>>,
    /// When each unit was observed (s, from, to), where the file says so; for all units or for none.
    pub unit_observed_s: Option<Vec<Vec<(f64, f64)>>>,
    /// From when to when (s) spikes were recorded, where the file says so.
    pub observed_s: Option<(f64, f64)>,
    /// One row per trial; times in s on the clock of the session. None where the file has no trials.
    pub trials: Option<Table>,
    /// Whether the trials come from a table beside the file: their clock may then be another than that of the file's own tables.
    #[serde(default)]
    pub trials_beside: bool,
    /// Other tables of intervals, such as epochs or optogenetic stimuli, by name or path.
    pub intervals: BTreeMap<String, Table>,
    /// Series of samples, by name or path: all that there are, with values for those that were asked for.
    pub series: BTreeMap<String, Series>,
    /// Arrays that are none of these, by path, and what they hold: such as `shape [54, 2000, 6], integers`.
    #[serde(default)]
    pub arrays: BTreeMap<String, String>,
    /// Oddities of the file that a user should know.
    pub warnings: Vec<Finding>,
}

/// Samples of a behaviour or another signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Path in the file, by which it can be named too; empty where a layout has none.
    pub path: String,
    /// Number of samples and of channels.
    pub shape: (usize, usize),
    /// Unit of the samples, empty where the file says nothing.
    pub unit: String,
    /// Samples per second, where the file says so; otherwise each sample has its time.
    pub rate_hz: Option<f64>,
    /// Names of the channels, where the file has them.
    pub channels: Vec<String>,
    /// Values and times, where they were asked for.
    pub samples: Option<Samples>,
}

/// Of which series values are loaded; all are listed anyway.
///
/// A name is that of the series, or its path in the file where several have the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesRequest {
    names: Vec<String>,
}

impl SeriesRequest {
    /// No values: the file is only looked at.
    pub fn none() -> Self {
        Self::default()
    }

    /// The series of these names or paths.
    pub fn of<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self {
            names: names.into_iter().map(Into::into).collect(),
        }
    }

    /// Whether the values of the series of that name are asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.names.iter().any(|wanted| wanted == name)
    }

    /// What was asked for, in the order it was.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

/// Values of a [`Series`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Samples {
    /// Values, `[samples, channels]`; NaN where one is missing. In the unit of the series: conversion factors are applied.
    #[serde(with = "crate::packed::array")]
    pub values: Array2<f32>,
    /// When they were taken.
    pub timing: Timing,
}

impl Source {
    /// A session without units, trials or anything else.
    pub fn empty(id: impl Into<String>, format: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            format: format.into(),
            units: Table::new(0),
            unit_ids: Vec::new(),
            spikes_s: Vec::new(),
            unit_observed_s: None,
            observed_s: None,
            trials: None,
            trials_beside: false,
            intervals: BTreeMap::new(),
            series: BTreeMap::new(),
            arrays: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }

    /// The series of that name or path; slashes at the ends don't count.
    pub fn series_named(&self, wanted: &str) -> Option<&Series> {
        let bare = |name: &str| name.trim_matches('/') == wanted.trim_matches('/');
        let by_path = || {
            self.series
                .iter()
                .find(|(name, series)| bare(name) || bare(&series.path))
        };
        self.series.get(wanted).or_else(|| by_path().map(|(_, series)| series))
    }

    /// Number of units.
    pub fn n_units(&self) -> usize {
        self.spikes_s.len()
    }
}

/// A name for the session of a file or folder: without its ending, for IBL's folders `subject_date_number`.
pub(super) fn session_name(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let name = if whole.is_dir() {
        whole.file_name()
    } else {
        whole.file_stem()
    };
    let mut parts: Vec<String> = whole
        .parent()
        .into_iter()
        .flat_map(Path::iter)
        .chain(name)
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts.last().is_some_and(|last| last == "alf") {
        parts.pop();
    }
    let is_number = |text: &str| text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
    let is_date = |text: &str| {
        text.len() == 10
            && text.bytes().enumerate().all(|(i, b)| {
                if i == 4 || i == 7 {
                    b == b'-'
                } else {
                    b.is_ascii_digit()
                }
            })
    };
    let clean = |text: String| {
        text.chars()
            .map(|c| if c.is_control() || c == '/' { '_' } else { c })
            .collect::<String>()
    };
    match &parts[..] {
        [.., subject, date, number] if is_date(date) && is_number(number) => {
            clean(format!("{subject}_{date}_{number}"))
        }
        [.., last] if !last.is_empty() => clean(last.clone()),
        _ => "session".to_owned(),
    }
}
