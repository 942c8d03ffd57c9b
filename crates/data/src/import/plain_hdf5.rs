//! HDF5 files without a format: units, trials and series by the names of their groups and datasets.
//!
//! The names are those of NumPy archives ([`read_npz`](super::read_npz)) with groups for prefixes. Only hard links are
//! followed. What has no known name is listed, so that a user sees what there is.

mod columns;
mod series;
mod units;

use std::path::Path;

use super::source::{SeriesRequest, Source, session_name};
use crate::error::{DataError, Finding, Findings};
use crate::h5::{self, Found, Node};
use crate::validate::refuse_problems;

/// Groups of tables.
const UNITS: &str = "units";
const TRIALS: &str = "trials";
/// Datasets and attributes of the root that say something of the session.
const SESSION_KEYS: [&str; 3] = ["session_id", "observed_start_s", "observed_stop_s"];

/// Reads a session from an HDF5 file that has no format of its own; docs/FORMATS.md says which names mean what.
///
/// Values of series are read where `request` wants them. A file without spike times that are known by name has no units;
/// all its datasets are listed in [`Source::arrays`]. Allocates 16 bytes a spike.
///
/// # Errors
/// [`DataError::Fs`], [`DataError::NotHdf5`], [`DataError::Hdf5`]; [`DataError::NotARecording`] for other files of this
/// program; [`DataError::Invalid`] with every problem: units and trials that can't be read, lengths that disagree.
pub fn read_hdf5(path: &Path, request: &SeriesRequest) -> Result<Source, DataError> {
    let file = h5::open(path)?;
    let root = Node::root(&file).map_err(|finding| DataError::Invalid {
        subject: path.display().to_string(),
        problems: vec![finding],
    })?;
    refuse_ours(path, &root)?;
    let mut findings = Findings::default();
    let mut source = Source::empty(session_name(path), "HDF5 file");
    findings.keep(read_session(&root, &mut source));
    units::read_units(&root, &mut source, &mut findings);
    if is_group(&root, TRIALS)
        && let Some(trials) = findings.keep(root.group(TRIALS))
    {
        source.trials = columns::read_table(&trials, &[], None, &mut findings);
    }
    series::read_rest(&root, request, &mut source, &mut findings);
    if source.unit_ids.is_empty() && findings.problems.is_empty() {
        findings.warning("units", missing_units(&root));
    }
    refuse_problems(path.display().to_string(), findings.problems)?;
    source.warnings.append(&mut findings.warnings);
    Ok(source)
}

/// Networks and other files of this program have formats, and readers, of their own.
fn refuse_ours(path: &Path, root: &Node) -> Result<(), DataError> {
    match root.text_attribute("format") {
        Ok(Some(format)) if format.starts_with("snnfit-") => Err(DataError::NotARecording {
            path: path.to_path_buf(),
            found: format!("is \"{}\"", format.escape_debug()),
            expected: crate::file::FORMAT,
        }),
        _ => Ok(()),
    }
}

fn missing_units(root: &Node) -> String {
    let ours = if is_group(root, "sessions") {
        "; it has a group 'sessions' as recordings of snnfit do, but no attribute 'format' at its root that says so"
    } else {
        ""
    };
    format!(
        "no spike times are known by their name: units/spike_times with units/spike_times_index or units/spike_clusters, or a \
         group units/spike_times with a dataset for each unit{ours} (hint: rename them; arrays of spike counts are imported with \
         --spikes, or a TOML for --spec with bin_ms)"
    )
}

/// Whether a name is a group; a link that isn't followed is none.
fn is_group(node: &Node, name: &str) -> bool {
    node.has(name) && node.is_group(name) == Ok(true)
}

/// Whether a name is a dataset.
fn is_dataset(node: &Node, name: &str) -> bool {
    node.has(name) && node.is_group(name) == Ok(false)
}

/// Name of the session, and when spikes were recorded, where the file says so.
fn read_session(root: &Node, source: &mut Source) -> Found<()> {
    let [id, start, stop] = SESSION_KEYS;
    let text = match root.text_attribute(id)? {
        Some(text) => Some(text),
        None if is_dataset(root, id) => root.dataset(id)?.one_text()?,
        None => None,
    };
    let is_sound = |text: &String| !text.is_empty() && !text.contains('/') && !text.chars().any(char::is_control);
    if let Some(text) = text.filter(is_sound) {
        source.id = text;
    }
    let number = |name: &str| match root.number_attribute(name)? {
        Some(number) => Ok(Some(number)),
        None if is_dataset(root, name) => root.dataset(name)?.one_number(),
        None => Ok(None),
    };
    source.observed_s = match (number(start)?, number(stop)?) {
        (Some(start), Some(stop)) => Some((start, stop)),
        (None, None) => None,
        _ => return Err(Finding::new(start, format!("give both {start} and {stop}, or none"))),
    };
    Ok(())
}
