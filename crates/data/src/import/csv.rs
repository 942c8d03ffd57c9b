//! Spikes, units and trials in tables of text, one file each.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::delimited::{Records, read_table};
use super::npy::file_name;
use super::source::{Source, session_name};
use super::table::{Table, text_number};
use super::units::{Keyed, MAX_UNITS, SHANK, Units, canonical_id, probe_names};
use crate::error::{DataError, Finding, Findings};
use crate::h5::Found;
use crate::validate::refuse_problems;

/// Names that a column of units may have, the likeliest first.
const UNIT_COLUMNS: [&str; 6] = ["unit", "unit_id", "cluster", "cluster_id", "neuron", "neuron_id"];
/// Names that a table of units may have for its units besides.
const UNIT_TABLE_COLUMNS: [&str; 2] = ["id", "unnamed_0"];
/// Names that a column of probes may have.
pub(super) const PROBE_COLUMNS: [&str; 3] = ["probe", "probe_name", "probe_id"];
/// Names that a column of spike times may have; those that end in `_ms` are in ms, all others in s.
const TIME_COLUMNS: [&str; 9] = [
    "time",
    "spike_time",
    "spike_times",
    "time_s",
    "spike_time_s",
    "spike_times_s",
    "timestamps",
    "time_ms",
    "spike_time_ms",
];

/// The tables of one session: comma, tab or semicolon between fields, names of columns in the first line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsvTables {
    /// One row per spike: its unit and its time.
    pub spikes: PathBuf,
    /// One row per unit, named as in the spikes.
    pub units: Option<PathBuf>,
    /// One row per trial.
    pub trials: Option<PathBuf>,
    /// Column that names the unit in both tables; guessed if nothing is said.
    pub unit_column: Option<String>,
    /// Column of spike times (s; ms if its name ends in `_ms`); guessed if nothing is said.
    pub time_column: Option<String>,
}

/// Reads a session from tables of text. Allocates 20 bytes a spike.
///
/// Units are in the order of their numbers, then of their names: those of the spikes and those of the table of units.
///
/// # Errors
/// [`DataError::Invalid`] with the problems of all tables, by line: fields that are too few or too many, times that are no
/// numbers, columns that can't be found, units that are there twice.
pub fn read_csv(tables: &CsvTables) -> Result<Source, DataError> {
    let mut source = Source::empty(session_name(&tables.spikes), "CSV tables");
    let mut findings = Findings::default();
    let (own, spikes) = findings.keep(read_spikes(tables)).unzip();
    let ids: Vec<String> = spikes
        .iter()
        .flatten()
        .map(|(id, _): &(String, _)| id.clone())
        .collect();
    let naming = Naming {
        own: own.into_iter().collect(),
        ids: &ids,
        by_probe: &[],
    };
    let keyed = tables
        .units
        .as_ref()
        .and_then(|path| findings.keep(keyed_table(path, tables.unit_column.as_deref(), &naming)));
    if let Some(path) = &tables.trials {
        source.trials = findings.keep(read_table(path, &file_name(path)));
    }
    if let Some(spikes) = spikes {
        let keyed: Vec<Keyed> = keyed.into_iter().collect();
        let mut units = Units::join(spikes, &keyed, &file_name(&tables.spikes), &mut findings);
        for table in &keyed {
            table.tell(&units.ids, &mut findings);
            units.add(table, &mut findings);
        }
        (source.unit_ids, source.spikes_s, source.units) = (units.ids, units.spikes_s, units.table);
    }
    refuse_problems(tables.spikes.display().to_string(), findings.problems)?;
    source.warnings = findings.warnings;
    Ok(source)
}

/// How the units of a file are named.
pub(super) struct Naming<'a> {
    /// What the file itself calls the names.
    pub(super) own: Vec<String>,
    /// The names, as all tables have them.
    pub(super) ids: &'a [String],
    /// What else they may be called: by the file's columns of probe and cluster. Empty where it has none.
    pub(super) by_probe: &'a [String],
}

/// A table of text whose rows are units, named by a column: this one, where there is such, else what the file calls it, else a
/// usual one, unless two of these contradict each other.
pub(super) fn keyed_table(path: &Path, unit_column: Option<&str>, naming: &Naming<'_>) -> Found<Keyed> {
    let at = file_name(path);
    let table = read_table(path, &at)?;
    let guesses: Vec<&str> = UNIT_COLUMNS.into_iter().chain(UNIT_TABLE_COLUMNS).collect();
    let names: Vec<&str> = table.names().collect();
    let own: Vec<&str> = naming.own.iter().map(String::as_str).collect();
    let named = unit_column.filter(|name| names.contains(name));
    let named = named.or_else(|| find_column(&names, &own));
    let guessed = named.or_else(|| find_column(&names, &guesses));
    let Some(name) = guessed.map(ToOwned::to_owned) else {
        return Keyed::new(&at, table, &[unit_column.unwrap_or("unit")]);
    };
    if let Some(probe) = by_probe(&table, &name, naming) {
        return Keyed::by_probe(&at, table, probe, &name);
    }
    if named.is_some() {
        return Keyed::new(&at, table, &[&name]);
    }
    let is_other = |column: &&&str| **column != name && is_unit_column(column);
    let others: Vec<String> = names
        .iter()
        .filter(is_other)
        .map(|column| (*column).to_owned())
        .collect();
    let keyed = Keyed::new(&at, table, &[&name])?;
    for other in others {
        let Ok(other) = Keyed::new(&at, keyed.table.clone(), &[&other]) else {
            continue;
        };
        if let Some((id, here, there)) = keyed.contradiction(&other, naming.ids) {
            let message = format!(
                "columns '{}' and '{}' both name units: unit {} is in row {here} by the one and in row {there} by the other (hint: --unit-column \
                 says which counts)",
                keyed.key.escape_debug(),
                other.key.escape_debug(),
                id.escape_debug()
            );
            return Err(Finding::new(&at, message));
        }
    }
    Ok(keyed)
}

/// The columns of the probe that name rows together with that of the cluster, `key`, where this alone names none of the units, or several
/// rows alike, or not what the file calls so, but both together name some.
fn by_probe(table: &Table, key: &str, naming: &Naming<'_>) -> Option<Vec<String>> {
    let names: Vec<&str> = table.names().collect();
    let probe = find_column(&names, &PROBE_COLUMNS)
        .filter(|probe| *probe != key)?
        .to_owned();
    let clusters = table.get(key)?;
    let clusters: Vec<String> = (0..table.n_rows())
        .map(|row| canonical_id(&clusters.text(row)))
        .collect();
    let different: HashSet<&String> = clusters.iter().collect();
    let ids: HashSet<&String> = naming.ids.iter().collect();
    let is_own = naming.by_probe.is_empty() || naming.own.iter().any(|own| own.eq_ignore_ascii_case(key));
    if is_own && different.len() == clusters.len() && different.iter().any(|name| ids.contains(*name)) {
        return None;
    }
    let with_shank = find_column(&names, &[SHANK]).map(|shank| vec![probe.clone(), shank.to_owned()]);
    let mut columns = with_shank.into_iter().chain([vec![probe]]);
    columns.find(|columns| {
        let found = probe_names(table, columns, key).unwrap_or_default();
        found
            .iter()
            .any(|name| ids.contains(name) || naming.by_probe.contains(name))
    })
}

/// Whether a column of that name usually names units.
pub(super) fn is_unit_column(name: &str) -> bool {
    let mut usual = UNIT_COLUMNS.into_iter().chain(["id"]);
    usual.any(|usual| usual.eq_ignore_ascii_case(name))
}

/// The first of the guesses that is a column, in whatever case.
fn find_column<'a>(names: &[&'a str], guesses: &[&str]) -> Option<&'a str> {
    let named = |guess: &&str| names.iter().copied().find(|name| name.eq_ignore_ascii_case(guess));
    guesses.iter().find_map(named)
}

/// The place of a column that was named, or guessed.
fn column_of(
    records: &Records,
    at: &str,
    named: Option<&String>,
    guesses: &[&str],
    (what, option): (&str, &str),
) -> Found<usize> {
    let names: Vec<&str> = records.header.iter().map(String::as_str).collect();
    let found = match named {
        Some(name) => names.iter().copied().find(|known| known == name),
        None => find_column(&names, guesses),
    };
    let place = found.and_then(|found| names.iter().position(|name| *name == found));
    place.ok_or_else(|| {
        let shown: Vec<String> = names
            .iter()
            .take(40)
            .map(|name| name.escape_debug().to_string())
            .collect();
        let columns = shown.join(", ");
        let message = if let Some(name) = named {
            format!("no column '{}' with {what}; columns: {columns}", name.escape_debug())
        } else {
            let hint = header_fault(&names).map_or_else(|| format!("{option} names it"), ToOwned::to_owned);
            let guesses = guesses.join("', '");
            format!("no column of {what} is known by its name (such as '{guesses}'); columns: {columns} (hint: {hint})")
        };
        Finding::new(at, message)
    })
}

/// What is wrong with the first line of a table of spikes, where no name of a column would help, and what to do.
fn header_fault(names: &[&str]) -> Option<&'static str> {
    if names.first().is_some_and(|name| name.starts_with(['#', '%'])) {
        return Some("the first line is a comment; leave it out: the first line names the columns, such as unit,time");
    }
    if names.iter().all(|name| text_number(name).is_some() || name.is_empty()) {
        return Some("the first line has numbers; put one before it that names the columns, such as unit,time");
    }
    // `unit0`, `unit1`, …: the same but for a number.
    let stem = |name: &&str| {
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        (stem.len() < name.len()).then(|| stem.to_owned())
    };
    let stems: Vec<Option<String>> = names.iter().map(stem).collect();
    let is_wide = names.len() > 1 && stems.windows(2).all(|pair| pair[0].is_some() && pair[0] == pair[1]);
    is_wide.then_some(
        "a column a unit is not read, but a row a spike; in pandas: \
         table.melt(var_name=\"unit\", value_name=\"time\").dropna().to_csv(\"spikes.csv\", index=False)",
    )
}

/// Names of units and their spike times (s).
type Trains = Vec<(String, Vec<f64>)>;

/// The column of units, and spike times (s) by unit, units in the order in which they first occur.
fn read_spikes(tables: &CsvTables) -> Found<(String, Trains)> {
    let at = file_name(&tables.spikes);
    let mut records = Records::open(&tables.spikes, &at)?;
    let unit = column_of(
        &records,
        &at,
        tables.unit_column.as_ref(),
        &UNIT_COLUMNS,
        ("units", "--unit-column"),
    )?;
    let time = column_of(
        &records,
        &at,
        tables.time_column.as_ref(),
        &TIME_COLUMNS,
        ("spike times", "--time-column"),
    )?;
    let is_ms = records
        .header
        .get(time)
        .is_some_and(|name| name.to_ascii_lowercase().ends_with("_ms"));
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut units: Vec<(String, Vec<f64>)> = Vec::new();
    while records.next()? {
        let time = spike_time(&records, time)?;
        let name = records.field(unit)?;
        let place = if let Some(&place) = places.get(name) {
            place
        } else {
            let id = canonical_id(name);
            if id.is_empty() {
                return Err(records.fail("the spike has no unit"));
            }
            // Sorters call noise so, and pandas what is missing.
            if id == "-1" || matches!(id.to_ascii_lowercase().as_str(), "nan" | "na" | "n/a" | "null") {
                return Err(records.fail(format!(
                    "the spike is of unit '{}', which is none: leave such spikes out of the table",
                    id.escape_debug()
                )));
            }
            if places.len() == MAX_UNITS {
                return Err(records.fail(format!("more than {MAX_UNITS} units; is it the column of units?")));
            }
            // "3" and "3.0" are one unit.
            let place = places.get(&id).copied().unwrap_or(units.len());
            if place == units.len() {
                units.push((id.clone(), Vec::new()));
                places.insert(id, place);
            }
            places.insert(name.to_owned(), place);
            place
        };
        if let Some((_, times)) = units.get_mut(place) {
            times.push(if is_ms { time / 1000.0 } else { time });
        }
    }
    for (_, times) in &mut units {
        times.shrink_to_fit();
    }
    let column = records.header.get(unit).cloned().unwrap_or_default();
    Ok((column, units))
}

fn spike_time(records: &Records, place: usize) -> Found<f64> {
    let text = records.field(place)?.trim();
    match text.parse::<f64>() {
        Ok(time) if time.is_finite() => Ok(time),
        _ => {
            let name = records.header.get(place).map_or("", String::as_str);
            let shown: String = text.chars().take(40).collect();
            let hint = if text.replacen(',', ".", 1).parse::<f64>().is_ok() {
                " (hint: write a decimal point, not a comma)"
            } else {
                ""
            };
            Err(records.fail(format!(
                "column '{}' holds '{}'; expected a finite number of seconds{hint}",
                name.escape_debug(),
                shown.escape_debug()
            )))
        }
    }
}
