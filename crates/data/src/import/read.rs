//! One entry to all readers: by what is in a file or folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::alf::read_session;
use super::csv::{CsvTables, Naming, PROBE_COLUMNS, is_unit_column, keyed_table, read_csv};
use super::delimited::read_table;
use super::detect::{Layout, detect};
use super::npy::file_name;
use super::plan::NAME_COLUMN;
use super::source::{SeriesRequest, Source};
use super::table::Column;
use super::units::{Keyed, SHANK, Units, canonical_id, probe_names};
use super::{read_hdf5, read_npz, read_nwb, read_phy};
use crate::error::{DataError, Findings};
use crate::validate::refuse_problems;

/// What is read besides units, spikes and trials, and what a layout doesn't say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReadOptions {
    /// Series whose values are read.
    pub series: SeriesRequest,
    /// Sampling rate (Hz) of spike times in samples, for a Phy folder that doesn't say it.
    pub sample_rate_hz: Option<f64>,
    /// Table of text with columns of units, joined by their names.
    pub units_table: Option<PathBuf>,
    /// Table of text of trials, instead of those of the file.
    pub trials_table: Option<PathBuf>,
    /// Column that names the units, in a table of spikes and in the table of units; guessed if nothing is said.
    #[serde(default)]
    pub unit_column: Option<String>,
    /// Column of spike times in a table of spikes; guessed if nothing is said.
    #[serde(default)]
    pub time_column: Option<String>,
}

/// Reads a file or folder of a layout that [`detect`] knows, and tables of text beside it.
///
/// A table of units adds its columns to those of the file; a table of trials takes the place of the file's, which are then
/// the table of intervals `trials`.
///
/// # Errors
/// Those of [`detect`] and of the readers; [`DataError::NoReader`] for layouts that are no session by themselves: a recording
/// of this program, a single NumPy array.
pub fn read(path: &Path, options: &ReadOptions) -> Result<Source, DataError> {
    let layout = detect(path)?;
    let no_reader = |hint| {
        Err(DataError::NoReader {
            path: path.to_path_buf(),
            layout: layout.name(),
            hint,
        })
    };
    let is_csv = layout == Layout::Csv;
    let given = [
        (
            "the sampling rate",
            options.sample_rate_hz.is_some() && layout != Layout::Phy,
            "a Phy folder, whose spike times are samples (elsewhere clock.spikes_per_s in a TOML for --spec says how many are a second)",
        ),
        (
            "the column of spike times",
            options.time_column.is_some() && !is_csv,
            "a table of spikes (CSV)",
        ),
        (
            "the column of units",
            options.unit_column.is_some() && !is_csv && options.units_table.is_none(),
            "a table of spikes (CSV), or a table of units",
        ),
    ];
    if layout.is_foreign()
        && let Some((name, _, expected)) = given.into_iter().find(|(_, is_misplaced, _)| *is_misplaced)
    {
        return Err(DataError::BadOption {
            name,
            found: format!("given for a {layout}, {}", path.display()),
            expected,
        });
    }
    let mut source = match layout {
        Layout::Nwb => read_nwb(path, &options.series),
        Layout::Npz => read_npz(path, &options.series),
        Layout::Alf => read_session(path, &options.series, options.trials_table.is_some()),
        Layout::Phy => read_phy(path, options.sample_rate_hz),
        Layout::Csv => read_csv(&CsvTables {
            spikes: path.to_path_buf(),
            units: options.units_table.clone(),
            trials: options.trials_table.clone(),
            unit_column: options.unit_column.clone(),
            time_column: options.time_column.clone(),
        }),
        Layout::Native => no_reader("it needs no import"),
        Layout::Hdf5 => read_hdf5(path, &options.series),
        Layout::Npy => {
            no_reader("numpy.savez puts arrays together, see docs/FORMATS.md; a Phy or ALF folder is named as a whole")
        }
    }?;
    if !is_csv {
        let mut findings = Findings::default();
        if let Some(table) = &options.units_table {
            let ids: Vec<String> = source.unit_ids.iter().map(|id| canonical_id(id)).collect();
            let by_probe = by_probe(&source);
            let naming = Naming {
                own: own_names(&source, layout, &ids),
                ids: &ids,
                by_probe: &by_probe,
            };
            let table = keyed_table(table, options.unit_column.as_deref(), &naming);
            if let Some(table) = findings.keep(table) {
                add_columns(&mut source, (ids, by_probe), &table, &mut findings);
            }
        }
        if let Some(table) = &options.trials_table {
            add_trials(&mut source, table, &mut findings);
        }
        refuse_problems(path.display().to_string(), findings.problems)?;
        source.warnings.append(&mut findings.warnings);
    }
    Ok(source)
}

/// What a file itself calls the names of its units: columns that have them, and what its layout calls them.
fn own_names(source: &Source, layout: Layout, ids: &[String]) -> Vec<String> {
    let mut own = Vec::new();
    if names_of(source).is_some() {
        own.push(NAME_COLUMN.to_owned());
    }
    if matches!(layout, Layout::Phy | Layout::Alf) {
        own.push("cluster_id".to_owned());
    }
    let is_name = |name: &&str| {
        let column = source.units.get(name);
        column.is_some_and(|column| {
            ids.iter()
                .enumerate()
                .all(|(row, id)| canonical_id(&column.text(row)) == *id)
        })
    };
    if !ids.is_empty() {
        let usual = source.units.names().filter(|name| is_unit_column(name));
        own.extend(usual.filter(is_name).map(ToOwned::to_owned));
    }
    own
}

/// The names that recordings of this program have, if they tell all units apart.
fn names_of(source: &Source) -> Option<Vec<String>> {
    let Some(Column::Texts(names)) = source.units.get(NAME_COLUMN) else {
        return None;
    };
    let different: BTreeSet<&String> = names.iter().collect();
    let is_whole = different.len() == names.len() && !names.iter().any(String::is_empty);
    is_whole.then(|| names.iter().map(|name| canonical_id(name)).collect())
}

/// The names of units by the file's columns of probe and cluster, if they tell all apart.
fn by_probe(source: &Source) -> Vec<String> {
    let columns = |names: &[&str]| {
        let probe: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let names = probe_names(&source.units, &probe, "cluster_id")?;
        let different: BTreeSet<&String> = names.iter().collect();
        let is_whole = different.len() == names.len() && !names.iter().any(String::is_empty);
        is_whole.then_some(names)
    };
    let mut probes = PROBE_COLUMNS.iter();
    probes
        .find_map(|probe| columns(&[probe, SHANK]).or_else(|| columns(&[probe])))
        .unwrap_or_default()
}

/// Adds the columns of a table to those of the units that it names, by their names or what else they are called.
fn add_columns(
    source: &mut Source,
    (ids, by_probe): (Vec<String>, Vec<String>),
    table: &Keyed,
    findings: &mut Findings,
) {
    // Where units are named so, the recording has these names; a column `id` has the file's.
    let named = names_of(source).filter(|names| table.key != "id" && table.ids().iter().any(|id| names.contains(id)));
    let mut ids = named.unwrap_or(ids);
    if table.is_by_probe() && !table.ids().iter().any(|id| ids.contains(id)) && by_probe.len() == ids.len() {
        ids = by_probe;
    }
    let is_known = |id: &String| ids.contains(id);
    if let (Some(ours), Some(theirs)) = (ids.first(), table.ids().first())
        && !table.ids().iter().any(is_known)
    {
        let message = format!(
            "column '{}' names none of the {} units: it has '{}', …, and they are '{}', … (hint: --unit-column names the column with \
             their names; units of several probes are named by probe and cluster, as 'probe00_12')",
            table.key.escape_debug(),
            ids.len(),
            theirs.escape_debug(),
            ours.escape_debug()
        );
        return findings.problem(&table.at, message);
    }
    table.tell(&ids, findings);
    let mut units = Units {
        ids,
        spikes_s: Vec::new(),
        table: std::mem::take(&mut source.units),
    };
    units.add(table, findings);
    source.units = units.table;
}

/// Takes the trials of a table, and the file's own for another table of intervals.
fn add_trials(source: &mut Source, path: &Path, findings: &mut Findings) {
    let at = file_name(path);
    let Some(table) = findings.keep(read_table(path, &at)) else {
        return;
    };
    source.trials_beside = true;
    if let Some(own) = source.trials.replace(table) {
        let message = format!(
            "its rows are the trials, and not the {} trials of the file, which are its table 'trials' (hint: trials.table in a TOML for --spec names it)",
            own.n_rows()
        );
        findings.warning(at, message);
        source.intervals.entry("trials".to_owned()).or_insert(own);
    }
}

impl Layout {
    /// Whether it is one of others that [`read`] takes.
    pub fn is_foreign(self) -> bool {
        matches!(
            self,
            Self::Nwb | Self::Hdf5 | Self::Npz | Self::Alf | Self::Phy | Self::Csv
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::table::Table;

    #[test]
    fn units_of_a_file_with_columns_of_probe_and_cluster_are_joined_by_both() {
        let texts = |values: &[&str]| Column::Texts(values.iter().map(|&text| text.to_owned()).collect());
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("units.csv");
        // The same clusters in both probes, and others, of which some are numbers of rows.
        for clusters in [[1.0, 2.0, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0]] {
            let mut source = Source::empty("s", "NWB");
            source.unit_ids = ["0", "1", "2", "3"].map(ToOwned::to_owned).to_vec();
            source.units = Table::new(4);
            let probe = texts(&["p", "p", "q", "q"]);
            source.units.insert("t", "probe", probe).expect("four rows");
            let column = Column::Numbers(clusters.to_vec());
            source.units.insert("t", "cluster_id", column).expect("four rows");
            let [a, b, c, d] = clusters;
            let text = format!("cluster_id,probe,area\n{d},q,D\n{b},p,B\n{a},p,A\n{c},q,C\n");
            std::fs::write(&path, text).expect("a file");
            let (ids, by_probe) = (source.unit_ids.clone(), by_probe(&source));
            let naming = Naming {
                own: own_names(&source, Layout::Nwb, &ids),
                ids: &ids,
                by_probe: &by_probe,
            };
            let table = keyed_table(&path, None, &naming).expect("named rows");
            let mut findings = Findings::default();
            add_columns(&mut source, (ids, by_probe), &table, &mut findings);
            assert_eq!(findings.problems, []);
            assert_eq!(source.units.get("area"), Some(&texts(&["A", "B", "C", "D"])));
        }
    }
}
