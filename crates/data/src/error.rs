//! The one error type of this crate, and the findings of a check.
//!
//! A check doesn't stop at the first fault: it collects [`Finding`]s, each naming where it is, what was
//! found, what was expected and, where known, what to do. Problems make a recording unusable; warnings
//! don't.

use std::fmt::{self, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::fs::FsError;

/// How many findings an error message or a summary prints in full; the rest is counted.
pub(crate) const SHOWN_FINDINGS: usize = 50;

/// One fault or oddity, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Dataset path, session, trial or unit, such as `/sessions/m1/units/spike_times, unit 'u3'`.
    pub location: String,
    /// What was found, what was expected, and what to do.
    pub message: String,
}

impl Finding {
    /// A finding at `location`.
    pub fn new(location: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            location: location.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location, self.message)
    }
}

/// Why an array can't be read that takes more memory than there is, with what it takes and what to do.
pub(crate) fn no_memory(at: impl Into<String>, bytes: usize) -> Finding {
    let gib = bytes as f64 / (1_u64 << 30) as f64;
    let message =
        format!("there is no memory for its {gib:.2} GiB (hint: --limit-mem allows more, where the machine has it)");
    Finding::new(at, message)
}

/// All findings of one check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Faults: the recording can't be used.
    pub problems: Vec<Finding>,
    /// Oddities: the recording can be used, somebody should look.
    pub warnings: Vec<Finding>,
}

impl Findings {
    pub(crate) fn problem(&mut self, location: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Finding::new(location, message));
    }

    pub(crate) fn warning(&mut self, location: impl Into<String>, message: impl Into<String>) {
        self.warnings.push(Finding::new(location, message));
    }

    /// Adds those of a folder below, with its path before theirs where it has one.
    pub(crate) fn append_at(&mut self, folder: &str, other: Self) {
        let moved = |finding: Finding| match folder {
            "" => finding,
            _ => Finding::new(format!("{folder}/{}", finding.location), finding.message),
        };
        self.problems.extend(other.problems.into_iter().map(moved));
        self.warnings.extend(other.warnings.into_iter().map(moved));
    }

    /// Keeps the value, or notes why there is none.
    pub(crate) fn keep<T>(&mut self, found: Result<T, Finding>) -> Option<T> {
        found.map_err(|finding| self.problems.push(finding)).ok()
    }
}

/// Everything that can go wrong with recordings, splits, stitching and imports.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// Reading or writing a file failed.
    #[error(transparent)]
    Fs(#[from] FsError),

    /// The HDF5 library refused an operation on a file as a whole.
    #[error("{}: could not {action} the HDF5 file: {detail}", path.display())]
    Hdf5 {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the library says.
        detail: String,
    },

    /// The file isn't HDF5.
    #[error("{}: not an HDF5 file ({found}); expected the signature \\x89HDF at its start", path.display())]
    NotHdf5 {
        /// The file.
        path: PathBuf,
        /// What the file looks like.
        found: String,
    },

    /// The file is HDF5, but not a snnfit recording.
    #[error(
        "{}: not a snnfit recording: attribute 'format' {found}, expected \"{expected}\" (hint: {})",
        path.display(), hint_for(found)
    )]
    NotARecording {
        /// The file.
        path: PathBuf,
        /// What attribute `format` says.
        found: String,
        /// What it should say.
        expected: &'static str,
    },

    /// A file or folder has none of the layouts that are read.
    #[error(
        "{}: nothing that is read is in it; found: {found} (read are HDF5 and NWB files, NumPy archives, tables of text, \
         and folders of Phy and ALF)",
        path.display()
    )]
    UnknownLayout {
        /// The file or folder.
        path: PathBuf,
        /// What it looks like.
        found: String,
    },

    /// The file is HDF5, but not NWB.
    #[error(
        "{}: not an NWB file: its root has no attribute 'nwb_version' (hint: `snnfit import` also takes arrays of any HDF5 file)",
        path.display()
    )]
    NotNwb {
        /// The file.
        path: PathBuf,
    },

    /// The file was written by a newer program.
    #[error(
        "{}: written as version {found} of its format; this program reads up to version {known} (hint: use a newer snnfit)",
        path.display()
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: i64,
        /// Newest version this program knows.
        known: i64,
    },

    /// The file is known, but is no session by itself.
    #[error("{}: a {layout}, which is not imported as it is (hint: {hint})", path.display())]
    NoReader {
        /// The file.
        path: PathBuf,
        /// What it is.
        layout: &'static str,
        /// What to do.
        hint: &'static str,
    },

    /// The process that reads files from others gave no answer.
    #[error("{}: {message}", path.display())]
    Reader {
        /// The file or folder.
        path: PathBuf,
        /// How it ended, and what to do.
        message: String,
    },

    /// An error that another process found and told as a text, which names the file.
    #[error("{message}")]
    Told {
        /// The file or folder.
        path: PathBuf,
        /// The text.
        message: String,
    },

    /// The content is wrong; every problem found is listed.
    #[error("{subject}: {}", list(problems))]
    Invalid {
        /// File, or "recording" for one that isn't in a file.
        subject: String,
        /// All problems.
        problems: Vec<Finding>,
    },

    /// The recording can't be binned as asked.
    #[error("session '{session}': {message}")]
    Bin {
        /// Session identifier.
        session: String,
        /// What was found, what was expected, what to do.
        message: String,
    },

    /// A behaviour that no session recorded was asked for.
    #[error("no session has a behaviour named '{name}'; recorded behaviours: {available}")]
    UnknownBehaviour {
        /// The name asked for.
        name: String,
        /// The names there are.
        available: String,
    },

    /// The model can't be stitched from what was recorded.
    #[error("the model asks for neurons that were not recorded: {}\nrecorded units (area × type):\n{recorded}", problems.join("; "))]
    Stitch {
        /// One message per population that can't be filled.
        problems: Vec<String>,
        /// Table of what there is.
        recorded: String,
    },

    /// Fractions or thresholds of a split are out of range.
    #[error("{name} is {found}; expected {expected}")]
    BadOption {
        /// Name of the option.
        name: &'static str,
        /// Its value.
        found: String,
        /// What is allowed.
        expected: &'static str,
    },

    /// The splits belong to other data.
    #[error("these splits belong to other data: {}", problems.join("; "))]
    SplitsMismatch {
        /// One message per difference.
        problems: Vec<String>,
    },

    /// A text (JSON or TOML) can't be understood.
    #[error("{subject}: {message}")]
    Parse {
        /// What was parsed.
        subject: String,
        /// Where and why it failed.
        message: String,
    },
}

/// What to do with a file of another format.
fn hint_for(found: &str) -> &'static str {
    if found.contains("snnfit-parameters") || found.contains("snnfit-connectivity") {
        "it is a network, which h5py reads and `snnfit evaluate RUN --truth FILE` compares a fit with"
    } else {
        "convert it with `snnfit import`"
    }
}

fn list(problems: &[Finding]) -> String {
    let noun = if problems.len() == 1 { "problem" } else { "problems" };
    let mut text = format!("{} {noun}", problems.len());
    for problem in problems.iter().take(SHOWN_FINDINGS) {
        text.push_str("\n  - ");
        text.push_str(&problem.to_string());
    }
    if problems.len() > SHOWN_FINDINGS {
        let n_more = problems.len() - SHOWN_FINDINGS;
        // Writing to a String can't fail.
        let _ = write!(text, "\n  … and {n_more} more");
    }
    text
}
