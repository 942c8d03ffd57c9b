//! Which layout a file or folder has, by what is in it and never by its name's ending.

use std::fmt;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::alf;
use super::npy;
use crate::error::DataError;
use crate::fs::{FsError, open_regular};
use crate::h5::{self, Node};

/// So many bytes at the start are looked at.
const LOOK_AHEAD: u64 = 1 << 14;

/// A layout that a reader takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Layout {
    /// A recording of this program, read by [`read`](crate::read()).
    Native,
    /// HDF5 with the attribute `nwb_version`.
    Nwb,
    /// Other HDF5, read by [`read_hdf5`](super::read_hdf5), or, where its arrays of counts are named, by
    /// [`import_binned`](super::import_binned).
    Hdf5,
    /// An archive of NumPy arrays, read by [`read_npz`](super::read_npz).
    Npz,
    /// One NumPy array ([`read_npy`](super::read_npy)), which alone is no recording.
    Npy,
    /// A table of text, read by [`read_csv`](super::read_csv).
    Csv,
    /// A folder of Phy or Kilosort, or one with such folders of several probes, read by [`read_phy`](super::read_phy).
    Phy,
    /// A folder of ALF files, read by [`read_alf`](super::read_alf).
    Alf,
}

impl Layout {
    /// Its name for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "snnfit recording",
            Self::Nwb => "NWB file",
            Self::Hdf5 => "HDF5 file of another layout",
            Self::Npz => "NumPy archive",
            Self::Npy => "NumPy array",
            Self::Csv => "table of text",
            Self::Phy => "Phy folder",
            Self::Alf => "ALF folder",
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Says which layout a file or folder has.
///
/// Files: HDF5 (told apart by attributes of its root), zip, NumPy, text with columns. Folders: Phy has `spike_times.npy`
/// with `spike_clusters.npy` or `spike_templates.npy`, here or, where there are no `spikes.times`, below; ALF has `spikes.times` here
/// or below.
///
/// # Errors
/// [`DataError::Fs`] if it can't be read; [`DataError::UnknownLayout`] with what was found where nothing fits, or two
/// layouts do.
pub fn detect(path: &Path) -> Result<Layout, DataError> {
    let metadata = std::fs::metadata(path).map_err(|source| FsError::new(path, "read the file", source))?;
    if metadata.is_dir() {
        return detect_folder(path);
    }
    let mut start = Vec::new();
    open_regular(path)?
        .take(LOOK_AHEAD)
        .read_to_end(&mut start)
        .map_err(|source| FsError::new(path, "read the file", source))?;
    if start.starts_with(&npy::MAGIC) {
        return Ok(Layout::Npy);
    }
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        return Ok(Layout::Npz);
    }
    // HDF5 may begin with a block of something else.
    match h5::open(path) {
        Ok(file) => return Ok(detect_hdf5(&file)),
        Err(DataError::NotHdf5 { .. }) => {}
        Err(error) => return Err(error),
    }
    if known(&start).is_none() && is_text(&start) && looks_delimited(&start) {
        return Ok(Layout::Csv);
    }
    Err(unknown(path, found_in(&start)))
}

fn unknown(path: &Path, found: impl Into<String>) -> DataError {
    DataError::UnknownLayout {
        path: path.to_path_buf(),
        found: found.into(),
    }
}

fn detect_hdf5(file: &hdf5::File) -> Layout {
    // Attributes are opened by name: listing damaged ones can crash the library. What the attribute holds is the reader's
    // business; that it is there decides.
    if file.attr("nwb_version").is_ok() {
        return Layout::Nwb;
    }
    let format = Node::root(file).and_then(|root| root.text_attribute("format"));
    match format {
        Ok(Some(format)) if format == crate::file::FORMAT => Layout::Native,
        _ => Layout::Hdf5,
    }
}

/// Whether a text begins as a table does: a first line of several fields.
fn looks_delimited(start: &[u8]) -> bool {
    let line = start
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .next()
        .unwrap_or_default();
    line.iter().any(|byte| matches!(byte, b',' | b'\t' | b';'))
}

/// Text in UTF-8, possibly cut within its last letter.
fn is_text(start: &[u8]) -> bool {
    let valid = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(start.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !valid.is_empty()
        && !valid
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

/// What a file of a kind that isn't read is.
fn known(start: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 7] = [
        (b"\x1f\x8b", "a gzip file (hint: unpack it first)"),
        (
            b"PAR1",
            "a parquet file (hint: pandas.read_parquet(path).to_csv(new_path, index=False))",
        ),
        (
            b"MATLAB 5.0",
            "a MATLAB file of version 7 or older (hint: scipy.io.loadmat(path), then np.savez)",
        ),
        (
            b"\x80\x02",
            "perhaps a Python pickle, which would run code (hint: save arrays with np.savez)",
        ),
        (
            b"\x80\x04",
            "a Python pickle, which would run code (hint: save arrays with np.savez)",
        ),
        (
            b"\x80\x05",
            "a Python pickle, which would run code (hint: save arrays with np.savez)",
        ),
        (b"\xff\xfe", "text in UTF-16 (hint: save it as UTF-8)"),
    ];
    let found = known.into_iter().find(|(magic, _)| start.starts_with(magic));
    found.map(|(_, found)| found)
}

/// What a file that isn't read looks like.
fn found_in(start: &[u8]) -> String {
    if start.is_empty() {
        return "it is empty".to_owned();
    }
    if let Some(found) = known(start) {
        return found.to_owned();
    }
    if is_text(start) {
        let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let line: String = String::from_utf8_lossy(line).chars().take(60).collect();
        return format!(
            "text without columns, beginning with \"{}\"",
            line.trim_end().escape_debug()
        );
    }
    let bytes: Vec<String> = start.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("a file that begins with the bytes {}", bytes.join(" "))
}

fn detect_folder(path: &Path) -> Result<Layout, DataError> {
    let files = alf::Folder::walk(path)?;
    let is_phy = files.phy().iter().any(Vec::is_empty);
    match (is_phy, files.has("spikes", "times")) {
        (true, false) => Ok(Layout::Phy),
        (false, true) => Ok(Layout::Alf),
        (true, true) => Err(unknown(
            path,
            "files of Phy (spike_times.npy) and of ALF (spikes.times.npy); name the layout, or move one of them",
        )),
        // Which of several folders below are of one session, their reader says.
        (false, false) if !files.phy().is_empty() => Ok(Layout::Phy),
        (false, false) => {
            let mut names = files.top_names().to_vec();
            let more = names.len() > 20;
            names.truncate(20);
            let list = if names.is_empty() {
                "an empty folder".to_owned()
            } else {
                format!("a folder with {}{}", names.join(", "), if more { ", …" } else { "" })
            };
            Err(unknown(path, list))
        }
    }
}
