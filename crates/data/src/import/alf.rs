//! Folders of ALF files, as the International Brain Laboratory's ONE lays them out.
//!
//! Every array has a file of its own, named after its object and attribute. Of a session we take the spikes and
//! clusters of each probe, trials, and whatever has times: series where other arrays go with them, intervals otherwise.
//! Parquet files (`.pqt`) are not read; where one is needed the error says how to make a table of text of it.

mod folder;
mod matrix;
mod probes;
mod timed;

use std::path::Path;

use super::npy::{Npy, array_of, header_of};
use super::npz::{MAX_TABLE_COLUMNS, columns_of};
use super::source::{SeriesRequest, Source, session_name};
use super::table::{Column, Table};
use crate::error::{DataError, Finding, Findings};
use crate::h5::Found;
use crate::validate::refuse_problems;

use folder::AlfFile;
pub(super) use folder::Folder;
pub(super) use probes::PROBES;

/// Reads a session: the folder of the session, its `alf` folder, or that of one probe.
///
/// Spike times must be seconds (`spikes.times`); clusters are rows of the tables `clusters.*`. Where there are several
/// probes, units are named `probe00_12`, and wherever there is a probe's folder the column `probe` names it. Values of
/// series are read where `request` wants them. Allocates 24 bytes a spike.
///
/// # Errors
/// [`DataError::Fs`]; [`DataError::Invalid`] with every problem: damaged arrays, lengths that disagree, spikes of clusters
/// that have no row, trials that are in a parquet file only, files of several sessions.
pub fn read_alf(folder: &Path, request: &SeriesRequest) -> Result<Source, DataError> {
    read_session(folder, request, false)
}

/// As [`read_alf`]; `has_trials`: trials are given besides, so those of the folder may be in a file that isn't read.
pub(super) fn read_session(folder: &Path, request: &SeriesRequest, has_trials: bool) -> Result<Source, DataError> {
    let files = Folder::walk(folder)?;
    let mut findings = Findings::default();
    refuse_many(&files, &mut findings);
    refuse_problems(folder.display().to_string(), std::mem::take(&mut findings.problems))?;
    let mut source = Source::empty(session_name(folder), "ALF folder");
    probes::read_units(&files, &mut source, &mut findings);
    source.trials = read_trials(&files, has_trials, &mut findings);
    timed::read(&files, request, &mut source, &mut findings);
    refuse_problems(folder.display().to_string(), findings.problems)?;
    source.warnings.append(&mut findings.warnings);
    Ok(source)
}

/// Refuses the files of several sessions: their clocks differ, so spikes of one have no trials in another.
fn refuse_many(files: &Folder, findings: &mut Findings) {
    let sessions = files.sessions();
    if sessions.len() < 2 {
        return;
    }
    let names = sessions
        .iter()
        .take(MAX_SHOWN_SESSIONS)
        .map(|name| match name.as_str() {
            "" => "the folder itself".to_owned(),
            name => format!("'{name}'"),
        });
    let more = if sessions.len() > MAX_SHOWN_SESSIONS {
        ", …"
    } else {
        ""
    };
    let message = format!(
        "files of {} sessions: {}{more} (hint: give the folder of each; an import takes several)",
        sessions.len(),
        names.collect::<Vec<_>>().join(", ")
    );
    findings.problem("the folder", message);
}

/// So many sessions are listed.
const MAX_SHOWN_SESSIONS: usize = 20;

/// A column file that is there but isn't read, which is no fault: why.
enum Loaded {
    Array(Npy),
    Unread(String),
}

/// Reads an array that could be columns of a table.
fn load_column(file: &AlfFile) -> Found<Loaded> {
    let header = header_of(&file.path, &file.at)?;
    if let Some(refusal) = header.refusal() {
        return Ok(Loaded::Unread(format!("not read: {refusal}")));
    }
    match header.dim() {
        Some((_, n_columns)) if n_columns <= MAX_TABLE_COLUMNS => Ok(Loaded::Array(array_of(&file.path, &file.at)?)),
        _ => Ok(Loaded::Unread(format!(
            "not read: shape {}; arrays of up to {MAX_TABLE_COLUMNS} columns become columns of a table",
            header.shape_text()
        ))),
    }
}

/// How to make what we read of a file that we don't.
fn parquet_hint(file: &AlfFile) -> String {
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.escape_debug();
    let stem = name.to_string();
    let stem = stem.rsplit_once('.').map_or(stem.as_str(), |(stem, _)| stem);
    format!("import pandas as pd\n      pd.read_parquet(\"{name}\").to_csv(\"{stem}.csv\", index=False)")
}

/// Adds rows of equal number: a table that grows column by column, and the file that said how many rows it has.
struct Columns {
    table: Option<(Table, String)>,
}

impl Columns {
    fn add(&mut self, file: &AlfFile, columns: Vec<(String, Column)>, findings: &mut Findings) {
        for (name, column) in columns {
            let (table, first) = self
                .table
                .get_or_insert_with(|| (Table::new(column.len()), file.at.clone()));
            if column.len() == table.n_rows() {
                if table.get(&name).is_some() {
                    let message =
                        format!("there is a column '{name}' already; this one is taken (hint: move one of the files)");
                    findings.warning(&file.at, message);
                }
                findings.keep(table.insert(&file.at, name, column));
            } else {
                let message = format!("{} rows; {first} has {}", column.len(), table.n_rows());
                return findings.problem(&file.at, message);
            }
        }
    }

    fn add_array(&mut self, file: &AlfFile, findings: &mut Findings) {
        match findings.keep(load_column(file)) {
            Some(Loaded::Array(array)) => {
                if let Some(columns) = findings.keep(columns_of(&array, &file.attribute)) {
                    self.add(file, columns, findings);
                }
            }
            Some(Loaded::Unread(message)) => findings.warning(&file.at, message),
            None => {}
        }
    }

    fn add_text(&mut self, file: &AlfFile, table: &Table, findings: &mut Findings) {
        let columns = table.names().filter_map(|name| {
            let renamed = match name {
                "intervals_0" => "start_time",
                "intervals_1" => "stop_time",
                _ => name,
            };
            Some((renamed.to_owned(), table.get(name)?.clone()))
        });
        self.add(file, columns.collect(), findings);
    }
}

fn is_text(file: &AlfFile) -> bool {
    matches!(file.extension.as_str(), "csv" | "tsv")
}

fn is_parquet(file: &AlfFile) -> bool {
    matches!(file.extension.as_str(), "pqt" | "parquet")
}

/// The table of trials: one row per trial of each array `trials.*`.
fn read_trials(folder: &Folder, has_trials: bool, findings: &mut Findings) -> Option<Table> {
    let trials: Vec<&AlfFile> = folder.files.iter().filter(|file| file.object == "trials").collect();
    let first = trials.first()?;
    if let Some(other) = trials.iter().find(|file| file.dir != first.dir) {
        let message = format!(
            "{} is there too; which trials count isn't known (hint: move one of them)",
            other.at
        );
        findings.problem(&first.at, message);
        return None;
    }
    let mut columns = Columns { table: None };
    // Intervals say how many trials there are, if they are there.
    let (intervals, others): (Vec<&AlfFile>, Vec<&AlfFile>) =
        trials.into_iter().partition(|file| file.attribute == "intervals");
    let mut has_intervals = false;
    let mut parquet = None;
    for file in intervals.into_iter().chain(others) {
        if is_parquet(file) {
            parquet = Some(file);
        } else if is_text(file) {
            if let Some(table) = findings.keep(super::delimited::read_table(&file.path, &file.at)) {
                has_intervals |= table.get("intervals_0").is_some();
                columns.add_text(file, &table, findings);
            }
        } else if file.extension == "npy" {
            has_intervals |= file.attribute == "intervals";
            columns.add_array(file, findings);
        }
    }
    if let Some(file) = parquet {
        if has_intervals {
            findings.warning(&file.at, "not read: a parquet file; the other files of trials are");
        } else if has_trials {
            // Columns without starts are no trials.
            findings.warning(
                &file.at,
                "not read: a parquet file; trials are those of the table that is given",
            );
            return None;
        } else {
            let message = format!(
                "start and end of trials are in this parquet file, which isn't read (hint: convert it:\n      {})",
                parquet_hint(file)
            );
            findings.problem(&file.at, message);
        }
    }
    columns.table.map(|(table, _)| table)
}

/// A finding about a file.
fn at(file: &AlfFile, message: impl Into<String>) -> Finding {
    Finding::new(&file.at, message)
}
