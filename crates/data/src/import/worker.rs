//! What the process that reads files from others is asked, and what it answers.

use std::io::{Read, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::read::{ReadOptions, read};
use super::{BinnedImport, Layout, Source, detect, import_binned};
use crate::error::Finding;
use crate::file;
use crate::recording::Recording;

/// A file to read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Which layout a file or folder has.
    Layout {
        /// The file or folder.
        path: PathBuf,
    },
    /// A file or folder of a known layout.
    Source {
        /// The file or folder.
        path: PathBuf,
        /// What is to be read.
        options: ReadOptions,
    },
    /// Arrays of spike counts in an HDF5 file.
    Binned {
        /// The file.
        path: PathBuf,
        /// What the arrays mean.
        import: BinnedImport,
    },
    /// A recording of this program.
    Native {
        /// The file.
        path: PathBuf,
    },
}

/// What was in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Which layout it has.
    Layout(Layout),
    /// Of a known layout.
    Source(Box<Source>),
    /// Of arrays of spike counts.
    Recording(Recording),
    /// Of this program, with what should be looked at.
    Native(Recording, Vec<Finding>),
    /// The file can't be read; the message names it.
    Failed(String),
}

/// Reads what is asked for.
pub fn answer(request: &Request) -> Answer {
    let answer = match request {
        Request::Layout { path } => detect(path).map(Answer::Layout),
        Request::Source { path, options } => read(path, options).map(|source| Answer::Source(Box::new(source))),
        Request::Binned { path, import } => import_binned(path, import).map(Answer::Recording),
        Request::Native { path } => {
            file::read_with_warnings(path).map(|(recording, warnings)| Answer::Native(recording, warnings))
        }
    };
    answer.unwrap_or_else(|error| Answer::Failed(error.to_string()))
}

impl Answer {
    /// Writes it as CBOR.
    ///
    /// # Errors
    /// Why it can't be written, as a text.
    pub fn write(&self, to: impl Write) -> Result<(), String> {
        ciborium::into_writer(self, to).map_err(|error| error.to_string())
    }

    /// Reads it; what it says is not checked any further.
    ///
    /// # Errors
    /// Why it can't be read, as a text.
    pub fn read(from: impl Read) -> Result<Self, String> {
        ciborium::from_reader(from).map_err(|error| error.to_string())
    }
}
