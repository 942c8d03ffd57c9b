//! Archives of NumPy arrays (`np.savez`) with the spikes, units, trials and series of one session.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::archive::{Archive, Member};
use super::npy::{Dtype, Header, Npy};
use super::source::{Samples, Series, SeriesRequest, Source, session_name};
use super::table::{Column, Table};
use super::units::{Keyed, MAX_UNITS, Units, check_times, split_by_cluster};
use crate::error::{DataError, Finding, Findings};
use crate::h5::Found;
use crate::recording::Timing;
use crate::validate::refuse_problems;

/// Most columns of one array that become columns of a table.
pub(super) const MAX_TABLE_COLUMNS: usize = 32;
/// Most rows of such a table.
pub(super) const MAX_TABLE_ROWS: usize = 1 << 20;
/// Columns that may name the units.
pub(super) const KEYS: [&str; 4] = ["id", "unit_id", "cluster_id", "unit"];
/// Keys that say something of the session.
const SESSION_KEYS: [&str; 3] = ["session_id", "observed_start_s", "observed_stop_s"];
/// What may be said of a series, after its name.
pub(crate) const SUFFIXES: [&str; 5] = ["_timestamps", "_rate_hz", "_start_s", "_unit", "_channels"];

/// Reads a session from an archive; docs/FORMATS.md says which arrays mean what.
///
/// Only members that are stored or deflated, only plain arrays (no pickled objects). Values of series are read where
/// `request` wants them. Allocates 24 bytes a spike.
///
/// # Errors
/// [`DataError::Fs`]; [`DataError::Invalid`] with every problem: members that are refused (docs/FORMATS.md), damaged
/// arrays, lengths that disagree, no spikes.
pub fn read_npz(path: &Path, request: &SeriesRequest) -> Result<Source, DataError> {
    let file = Arrays {
        archive: Archive::open(path)?,
    };
    let mut findings = Findings::default();
    let mut source = Source::empty(session_name(path), "NumPy archive");
    let mut unknown = Vec::new();
    let (mut units, mut trials, mut series) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for member in file.archive.members.keys() {
        let Some(key) = member.strip_suffix(".npy") else {
            unknown.push(member.escape_debug().to_string());
            continue;
        };
        let column = |prefix: &str| {
            let rest = key.strip_prefix(prefix)?;
            rest.strip_prefix(['_', '/']).filter(|name| !name.is_empty())
        };
        let (table, name) = if let Some(name) = column("units") {
            (&mut units, name)
        } else if let Some(name) = column("trials") {
            (&mut trials, name)
        } else if let Some(name) = column("series") {
            (&mut series, name)
        } else {
            let is_known = matches!(key, "spike_times" | "spike_times_index" | "spike_clusters");
            if !is_known && !SESSION_KEYS.contains(&key) {
                unknown.push(key.escape_debug().to_string());
            }
            continue;
        };
        if table.insert(name.to_owned(), key.to_owned()).is_some() {
            let message = "there twice, once with '_' and once with '/'";
            findings.problem(key.escape_debug().to_string(), message);
        }
    }
    if !unknown.is_empty() {
        unknown.truncate(20);
        let message = format!(
            "not read, because nothing is known by these names: {}",
            unknown.join(", ")
        );
        findings.warning("archive", message);
    }
    findings.keep(read_session(&file, &mut source));
    read_units(&file, &units, &mut source, &mut findings);
    source.trials = file.table(&trials, None, &mut findings);
    for name in base_names(&series) {
        let found = read_series(&file, &series, name, request.wants(name));
        if let Some(found) = findings.keep(found) {
            source.series.insert(name.clone(), found);
        }
    }
    refuse_problems(path.display().to_string(), findings.problems)?;
    source.warnings.append(&mut findings.warnings);
    Ok(source)
}

/// Name of the session, and when spikes were recorded, where the archive says so.
fn read_session(file: &Arrays, source: &mut Source) -> Found<()> {
    let [id, start, stop] = SESSION_KEYS;
    if file.has(id) {
        match file.array(id)?.column(0)? {
            Column::Texts(texts) => {
                if let Some(text) = texts.into_iter().next() {
                    source.id = text;
                }
            }
            other => return Err(Finding::new(id, format!("holds {}; expected a text", other.kind()))),
        }
    }
    source.observed_s = match (file.has(start), file.has(stop)) {
        (true, true) => Some((file.array(start)?.number()?, file.array(stop)?.number()?)),
        (false, false) => None,
        _ => return Err(Finding::new(start, format!("give both {start} and {stop}, or none"))),
    };
    Ok(())
}

/// The arrays of an archive by their keys, as NumPy has them.
struct Arrays {
    archive: Archive,
}

impl Arrays {
    fn has(&self, key: &str) -> bool {
        self.archive.members.contains_key(&format!("{key}.npy"))
    }

    fn header(&self, key: &str) -> Found<Header> {
        let (member, at) = self.member(key)?;
        Header::read(&mut self.archive.open_member(member, &at)?, member.size, &at)
    }

    fn array(&self, key: &str) -> Found<Npy> {
        let (member, at) = self.member(key)?;
        let mut reader = self.archive.open_member(member, &at)?;
        let header = Header::read(&mut reader, member.size, &at)?;
        let array = Npy::read(&mut reader, header, &at)?;
        reader.finish(&at)?;
        Ok(array)
    }

    fn member(&self, key: &str) -> Found<(&Member, String)> {
        let at = key.escape_debug().to_string();
        match self.archive.members.get(&format!("{key}.npy")) {
            Some(member) => Ok((member, at)),
            None => Err(Finding::new(at, "the array is missing")),
        }
    }

    /// The columns of a table, by name and key; `None` if there are none. `rows` says how many rows there are and why.
    fn table(
        &self,
        columns: &BTreeMap<String, String>,
        mut rows: Option<(usize, String)>,
        findings: &mut Findings,
    ) -> Option<Table> {
        let mut table: Option<Table> = None;
        for (name, key) in columns {
            let found = self.columns(name, key, &mut rows);
            for (name, column) in findings.keep(found).unwrap_or_default() {
                let table = table.get_or_insert_with(|| Table::new(column.len()));
                findings.keep(table.insert(key, name, column));
            }
        }
        table
    }

    /// The columns of one array: one, or numbered ones; of `intervals`, start and stop.
    fn columns(&self, name: &str, key: &str, rows: &mut Option<(usize, String)>) -> Found<Vec<(String, Column)>> {
        let array = self.array(key)?;
        let columns = columns_of(&array, name)?;
        if let Some((_, column)) = columns.first() {
            let (n_rows, first) = rows.get_or_insert_with(|| (column.len(), key.to_owned()));
            if column.len() != *n_rows {
                let message = format!("{} rows; {first} has {n_rows}", column.len());
                return Err(Finding::new(key.escape_debug().to_string(), message));
            }
        }
        Ok(columns)
    }
}

/// The columns of a table that an array is: itself, or numbered ones; of two-column `intervals`, start and stop.
pub(super) fn columns_of(array: &Npy, name: &str) -> Found<Vec<(String, Column)>> {
    let (n_rows, n_columns) = array.dim()?;
    let name_of = |column: usize| match (name, n_columns, column) {
        (_, 1, _) => name.to_owned(),
        ("intervals", 2, 0) => "start_time".to_owned(),
        ("intervals", 2, 1) => "stop_time".to_owned(),
        _ => format!("{name}_{column}"),
    };
    if n_rows > MAX_TABLE_ROWS {
        let message = format!("{n_rows} rows; at most {MAX_TABLE_ROWS} are read into a table");
        return Err(Finding::new(name.escape_debug().to_string(), message));
    }
    if n_columns > MAX_TABLE_COLUMNS {
        let message = format!("{n_columns} columns; at most {MAX_TABLE_COLUMNS} are read into a table");
        return Err(Finding::new(name.escape_debug().to_string(), message));
    }
    (0..n_columns)
        .map(|column| Ok((name_of(column), array.column(column)?)))
        .collect()
}

/// Refuses whole numbers in the place of seconds: those are samples.
pub(super) fn seconds(array: &Npy, at: &str) -> Found<Vec<f64>> {
    if matches!(array.dtype(), Dtype::Signed(_) | Dtype::Unsigned(_)) {
        let message =
            "holds whole numbers; expected seconds (hint: divide samples by the sampling rate and save float64)";
        return Err(Finding::new(at, message));
    }
    array.numbers()
}

fn read_units(file: &Arrays, columns: &BTreeMap<String, String>, source: &mut Source, findings: &mut Findings) {
    let (times, index, clusters) = ("spike_times", "spike_times_index", "spike_clusters");
    if !file.has(times) {
        let mut keys: Vec<String> = file
            .archive
            .members
            .keys()
            .map(|k| k.escape_debug().to_string())
            .collect();
        keys.truncate(20);
        let message = format!("the array is missing; the archive has {}", keys.join(", "));
        return findings.problem(times, message);
    }
    if file.has(index) == file.has(clusters) {
        let message =
            "give either spike_times_index (end of each unit, as in NWB) or spike_clusters (unit of each spike)";
        return findings.problem(times, message);
    }
    let spikes_s = findings.keep(file.array(times).and_then(|array| seconds(&array, times)));
    let (owners, rows) = if file.has(index) {
        let ends = findings.keep(file.array(index).and_then(|array| array.integers()));
        let rows = ends.as_ref().map(|ends| (ends.len(), index.to_owned()));
        (ends.map(Owners::Ends), rows)
    } else {
        let clusters_of = findings.keep(file.array(clusters).and_then(|array| array.clusters()));
        (clusters_of.map(Owners::Clusters), None)
    };
    let table = file.table(columns, rows, findings);
    if let (Some(spikes_s), Some(owners)) = (spikes_s, owners) {
        let at = if file.has(index) { index } else { clusters };
        assemble(source, (times, spikes_s), (at, owners), table, findings);
    }
}

/// Whose spikes are whose.
pub(super) enum Owners {
    /// Where those of each unit end.
    Ends(Vec<i64>),
    /// The unit of each.
    Clusters(Vec<u32>),
}

/// Puts units together: their spikes, in one list, and a table of theirs. With [`Owners::Ends`] the table has as many rows.
pub(super) fn assemble(
    source: &mut Source,
    (times, spikes_s): (&str, Vec<f64>),
    (at, owners): (&str, Owners),
    table: Option<Table>,
    findings: &mut Findings,
) {
    let clusters_of = match owners {
        Owners::Ends(ends) => {
            let Some(units) = findings.keep(split_by_end((times, &spikes_s), (at, &ends))) else {
                return;
            };
            if let ([0, _, ..], None) = (&ends[..], &table) {
                let message = format!(
                    "the first of {} ends is 0, so the first unit has no spike: are these offsets, one more than there are units? (hint: \
                     without the first one they are ends)",
                    ends.len()
                );
                findings.warning(at, message);
            }
            source.units = table.unwrap_or_else(|| Table::new(units.len()));
            source.unit_ids = names_of(&source.units, units.len());
            source.spikes_s = units;
            return;
        }
        Owners::Clusters(clusters_of) => clusters_of,
    };
    let split = split_by_cluster((times, &spikes_s), (at, &clusters_of));
    drop((spikes_s, clusters_of));
    let Some((ids, units)) = findings.keep(split) else {
        return;
    };
    let Some(table) = table else {
        source.unit_ids = ids.iter().map(ToString::to_string).collect();
        source.units = Table::new(ids.len());
        source.spikes_s = units;
        return;
    };
    if KEYS.iter().any(|key| table.get(key).is_some()) {
        let spikes = ids.iter().map(ToString::to_string).zip(units).collect();
        return join(source, spikes, table, at, findings);
    }
    let n_units = table.n_rows();
    if let Some(spikes) = findings.keep(by_row(&ids, units, n_units, (at, "the table of units"))) {
        source.unit_ids = (0..n_units).map(|n| n.to_string()).collect();
        (source.spikes_s, source.units) = (spikes, table);
    }
}

/// Puts units of these names and a table with a column of names together.
pub(super) fn join(
    source: &mut Source,
    spikes: Vec<(String, Vec<f64>)>,
    table: Table,
    at: &str,
    findings: &mut Findings,
) {
    let Some(keyed) = findings.keep(Keyed::new("units", table, &KEYS)) else {
        return;
    };
    let keyed = [keyed];
    let mut joined = Units::join(spikes, &keyed, at, findings);
    for keyed in &keyed {
        joined.add(keyed, findings);
    }
    (source.unit_ids, source.spikes_s, source.units) = (joined.ids, joined.spikes_s, joined.table);
}

/// Spikes of units that rows of a table are numbers of: units without spikes get none.
pub(super) fn by_row(
    ids: &[u32],
    units: Vec<Vec<f64>>,
    n_units: usize,
    (at, of): (&str, &str),
) -> Found<Vec<Vec<f64>>> {
    let mut spikes_s = vec![Vec::new(); n_units];
    for (id, unit) in ids.iter().zip(units) {
        let place = spikes_s.get_mut(*id as usize);
        let Some(place) = place else {
            let message = format!("{} spikes are of cluster {id}; {of} has {n_units} rows", unit.len());
            return Err(Finding::new(at, message));
        };
        *place = unit;
    }
    Ok(spikes_s)
}

/// Names of the units: the column that has them, or their numbers.
fn names_of(table: &Table, n_units: usize) -> Vec<String> {
    let column = KEYS.iter().find_map(|key| table.get(key));
    (0..n_units)
        .map(|n| column.map_or_else(|| n.to_string(), |column| column.text(n)))
        .collect()
}

/// Spikes of unit n are those from the end of the unit before to its own.
fn split_by_end((at_times, times_s): (&str, &[f64]), (at, ends): (&str, &[i64])) -> Found<Vec<Vec<f64>>> {
    check_times(at_times, times_s)?;
    if ends.len() > MAX_UNITS {
        return Err(Finding::new(
            at,
            format!("{} units; at most {MAX_UNITS} are read", ends.len()),
        ));
    }
    let mut units = Vec::with_capacity(ends.len());
    let mut start = 0;
    for (n, &end) in ends.iter().enumerate() {
        let unit = usize::try_from(end)
            .ok()
            .and_then(|end| Some((end, times_s.get(start..end)?)));
        let Some((end, unit)) = unit else {
            let message = format!(
                "unit {n} ends at {end}; expected {start} (the end of the unit before) to {} (the number of spikes)",
                times_s.len()
            );
            return Err(Finding::new(at, message));
        };
        units.push(unit.to_vec());
        start = end;
    }
    if start != times_s.len() {
        let message = format!("ends at {start}, but there are {} spikes", times_s.len());
        return Err(Finding::new(at, message));
    }
    Ok(units)
}

/// Names of series, without what is said of them.
fn base_names(series: &BTreeMap<String, String>) -> impl Iterator<Item = &String> {
    let said: BTreeSet<String> = series
        .keys()
        .flat_map(|name| SUFFIXES.map(|suffix| format!("{name}{suffix}")))
        .collect();
    series.keys().filter(move |name| !said.contains(*name))
}

fn read_series(file: &Arrays, series: &BTreeMap<String, String>, name: &str, is_wanted: bool) -> Found<Series> {
    let key = series.get(name).map_or("", String::as_str);
    let at = key.escape_debug().to_string();
    let said = |suffix: &str| series.get(&format!("{name}{suffix}"));
    let header = file.header(key)?;
    if let Some(refusal) = header.refusal() {
        return Err(Finding::new(at, refusal));
    }
    let shape = header.dim().ok_or_else(|| {
        let message = format!(
            "shape {}; expected samples, or samples and channels",
            header.shape_text()
        );
        Finding::new(&at, message)
    })?;
    let texts = |suffix: &str| match said(suffix) {
        Some(key) => match file.array(key)?.column(0)? {
            Column::Texts(texts) => Ok(texts),
            other => Err(Finding::new(key, format!("holds {}; expected texts", other.kind()))),
        },
        None => Ok(Vec::new()),
    };
    let channels = texts("_channels")?;
    if !channels.is_empty() && channels.len() != shape.1 {
        let message = format!("{} names for {} channels", channels.len(), shape.1);
        return Err(Finding::new(format!("{at}_channels"), message));
    }
    let timing = match (said("_timestamps"), said("_rate_hz")) {
        (Some(times), None) if is_wanted => {
            let times_s = seconds(&file.array(times)?, times)?;
            if times_s.len() != shape.0 {
                let message = format!("{} times for {} samples", times_s.len(), shape.0);
                return Err(Finding::new(times, message));
            }
            Some(Timing::Timestamps(times_s))
        }
        (None, Some(rate)) if is_wanted => Some(Timing::Rate {
            rate_hz: file.array(rate)?.number()?,
            start_s: match said("_start_s") {
                Some(start) => file.array(start)?.number()?,
                None => 0.0,
            },
        }),
        (Some(_), None) | (None, Some(_)) => None,
        _ => {
            let message = format!("give either {at}_timestamps (s) or {at}_rate_hz (and {at}_start_s)");
            return Err(Finding::new(at, message));
        }
    };
    let rate_hz = match said("_rate_hz") {
        Some(rate) => Some(file.array(rate)?.number()?),
        None => None,
    };
    let samples = match timing {
        Some(timing) => Some(Samples {
            values: file.array(key)?.matrix()?,
            timing,
        }),
        None => None,
    };
    Ok(Series {
        path: String::new(),
        shape,
        unit: texts("_unit")?.into_iter().next().unwrap_or_default(),
        rate_hz,
        channels,
        samples,
    })
}
