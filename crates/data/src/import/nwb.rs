//! NWB 2 files (Neurodata Without Borders): units, trials, intervals and series of one session.
//!
//! What the file says, nothing chosen: which units count, what trials are aligned to and which area a unit is of are
//! decided later, alike for all formats. Files of NWB 1 are refused; their layout is another one.

mod events;
mod series;
mod tables;
mod units;

use std::collections::BTreeMap;
use std::path::Path;

pub(super) use units::read_observed;

use super::source::{SeriesRequest, Source};
use super::table::Table;
use crate::error::{DataError, Finding, Findings};
use crate::h5::{self, Found, Node};
use crate::presence::RECORDED;
use crate::validate::refuse_problems;

/// The version of NWB that is read.
const MAJOR_VERSION: u64 = 2;

/// Whether a file is NWB of any version, as its root says; the name of the file doesn't count.
///
/// # Errors
/// [`DataError::Fs`], [`DataError::NotHdf5`] or [`DataError::Hdf5`] if it can't be opened as HDF5.
pub fn is_nwb(path: &Path) -> Result<bool, DataError> {
    let file = h5::open(path)?;
    let root = Node::root(&file).map_err(|finding| invalid(path, finding))?;
    Ok(matches!(version(&root), Ok(Some(_)) | Err(_)))
}

/// Reads an NWB 2 file: all units with their spike times, trials and intervals, and the values of the wanted series.
///
/// Times are in s on the clock of the session; samples are in the unit that the file names, conversion and offset
/// applied. Series of which no values are wanted are listed only. Oddities that leave the rest usable become warnings
/// of the source. Allocates O(spikes + samples of the wanted series).
///
/// # Errors
/// [`DataError::Fs`], [`DataError::NotHdf5`], [`DataError::Hdf5`], [`DataError::NotNwb`], or [`DataError::Invalid`] with
/// every problem: another version of NWB, no units or spike times, columns or indices that disagree, a wanted series that
/// isn't there or can't be read.
pub fn read_nwb(path: &Path, wanted: &SeriesRequest) -> Result<Source, DataError> {
    let file = h5::open(path)?;
    let plain = Node::root(&file).map_err(|finding| invalid(path, finding))?;
    let Some(version) = version(&plain).map_err(|finding| invalid(path, finding))? else {
        return Err(DataError::NotNwb {
            path: path.to_path_buf(),
        });
    };
    check_version(&version).map_err(|finding| invalid(path, finding))?;
    let root = Node::root_following(&file).map_err(|finding| invalid(path, finding))?;
    let mut findings = Findings::default();
    let mut source = Source::empty(session_id(&root, path), format!("NWB {version}"));
    units::read_units(&root, &mut source, &mut findings);
    let mut found = series::Listing::default();
    found.look_for(&root, &mut findings);
    read_intervals(&root, &mut found, &mut source, &mut findings);
    source.intervals.append(&mut unique(std::mem::take(&mut found.tables)));
    found.into_series(wanted, &mut source, &mut findings);
    refuse_problems(path.display().to_string(), findings.problems)?;
    source.warnings = findings.warnings;
    Ok(source)
}

fn invalid(path: &Path, finding: Finding) -> DataError {
    DataError::Invalid {
        subject: path.display().to_string(),
        problems: vec![finding],
    }
}

/// What the file says about its version; NWB 1 said it in a dataset.
fn version(root: &Node) -> Found<Option<String>> {
    if let Some(version) = root.text_attribute("nwb_version")? {
        return Ok(Some(version));
    }
    match root.optional("nwb_version")? {
        Some(data) => data.one_text(),
        None => Ok(None),
    }
}

fn check_version(version: &str) -> Found<()> {
    let number = version.trim_start_matches("NWB-").trim_start_matches('v');
    let digits = number.split(|c: char| !c.is_ascii_digit()).next().unwrap_or("");
    let advice = match digits.parse::<u64>() {
        Ok(MAJOR_VERSION) => return Ok(()),
        Ok(major) if major > MAJOR_VERSION => "use a newer snnfit",
        Ok(_) => {
            "convert it to NWB 2 with its own tools, or write the spikes as a native recording (docs/FORMATS.md shows how)"
        }
        Err(_) => "the file may be damaged",
    };
    let message = format!(
        "the file is NWB '{}'; this program reads NWB 2 (hint: {advice})",
        version.escape_debug()
    );
    Err(Finding::new("/ (nwb_version)", message))
}

/// The identifier of the session, as the name of a group: of the file, else of the laboratory, else the file's name.
fn session_id(root: &Node, path: &Path) -> String {
    let text = |node: &Node, name: &str| {
        let data = node.optional(name).ok().flatten()?;
        data.one_text().ok().flatten()
    };
    let general = root.has("general").then(|| root.group("general").ok()).flatten();
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let candidates = [
        text(root, "identifier"),
        general.and_then(|general| text(&general, "session_id")),
        stem,
    ];
    let clean = |id: String| {
        let clean = |c: char| if c == '/' || c.is_control() { '-' } else { c };
        let id: String = id.trim().chars().map(clean).collect();
        (!matches!(id.as_str(), "" | "." | "..")).then_some(id)
    };
    let id = candidates.into_iter().flatten().find_map(clean);
    id.unwrap_or_else(|| "session".to_owned())
}

/// Reads `/intervals`: trials, and tables of other intervals.
fn read_intervals(root: &Node, found: &mut series::Listing, source: &mut Source, findings: &mut Findings) {
    if !root.has("intervals") {
        return;
    }
    let Some(intervals) = findings.keep(root.group("intervals")) else {
        return;
    };
    for name in intervals.names() {
        let is_trials = name == "trials";
        let table = intervals.group(name).map(|node| {
            // Faults of the trials count; another table is left out if it can't be read.
            let mut own = Findings::default();
            let needed: &[&str] = if is_trials { &["start_time", "stop_time"] } else { &[] };
            let table = tables::read_table(&node, needed, &[], &mut own);
            (table, own)
        });
        match table {
            Ok((table, mut own)) => {
                if !is_trials {
                    own.warnings.append(&mut own.problems);
                }
                let is_sound = own.problems.is_empty();
                findings.problems.append(&mut own.problems);
                findings.warnings.append(&mut own.warnings);
                let Some(read) = table else { continue };
                if name == RECORDED {
                    source.observed_s = recorded(&read.table);
                } else if !is_trials {
                    let tables = found.tables.entry(name.to_owned()).or_default();
                    tables.push((intervals.path_of(name), read.table));
                } else if is_sound {
                    check_trials(&intervals.path_of(name), &read.table, findings);
                    source.trials = Some(read.table);
                }
            }
            Err(finding) if is_trials => findings.problems.push(finding),
            Err(finding) => findings.warnings.push(finding),
        }
    }
}

/// From when to when spikes were recorded, as an exported file says.
fn recorded(table: &Table) -> Option<(f64, f64)> {
    let first = |name: &str| match table.get(name) {
        Some(super::Column::Numbers(values)) => values.first().copied().filter(|value| value.is_finite()),
        _ => None,
    };
    Some((first("start_time")?, first("stop_time")?)).filter(|(start, stop)| start < stop)
}

/// Trials have a start and an end.
fn check_trials(at: &str, table: &Table, findings: &mut Findings) {
    for name in ["start_time", "stop_time"] {
        match table.get(name) {
            Some(super::Column::Numbers(_)) => {}
            Some(column) => findings.problem(
                format!("{at}/{name}"),
                format!("holds {}; expected numbers (s)", column.kind()),
            ),
            None => findings.problem(format!("{at}/{name}"), "the column is missing; trials need it"),
        }
    }
}

/// Things by name where it is unique, else by path.
fn unique<T>(by_name: BTreeMap<String, Vec<(String, T)>>) -> BTreeMap<String, T> {
    let mut unique = BTreeMap::new();
    for (name, things) in by_name {
        let is_one = things.len() == 1;
        for (path, thing) in things {
            unique.insert(if is_one { name.clone() } else { path }, thing);
        }
    }
    unique
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_version_2_is_read_and_others_are_named() {
        for version in ["2.0.0", "2.6.0", "2.9.0-alpha", "v2.1", "2"] {
            assert_eq!(check_version(version), Ok(()), "{version}");
        }
        for (version, said) in [
            ("NWB-1.0.6", "convert it to NWB 2"),
            ("1.0.5_beta", "convert it"),
            ("3.0", "newer snnfit"),
            ("20.1", "newer snnfit"),
            ("", "damaged"),
            ("two", "damaged"),
        ] {
            let message = check_version(version).expect_err(version).to_string();
            assert!(message.contains(said) && message.contains(version), "{message}");
        }
    }

    #[test]
    fn things_of_one_name_are_told_apart_by_their_paths() {
        let of = |path: &str| (path.to_owned(), path.len());
        let by_name = [
            ("a".to_owned(), vec![of("/x/a")]),
            ("b".to_owned(), vec![of("/x/b"), of("/yy/b")]),
        ];
        let unique = unique(by_name.into());
        let names: Vec<_> = unique.into_iter().collect();
        let expected = [("/x/b", 4), ("/yy/b", 5), ("a", 4)].map(|(name, n)| (name.to_owned(), n));
        assert_eq!(names, expected);
    }
}
