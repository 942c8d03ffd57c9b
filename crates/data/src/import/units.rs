//! Spikes sorted into units, and tables of units put together row by row.

use std::collections::{BTreeMap, HashMap};

use super::table::{Column, Table};
use crate::error::{Finding, Findings};
use crate::h5::Found;

/// Most units of a session.
pub(super) const MAX_UNITS: usize = 1 << 20;
/// Cluster numbers below this are looked up in a list, those above in a tree.
const SMALL_IDS: usize = 1 << 16;
/// Column of the shank of a probe whose shanks were sorted apart.
pub(super) const SHANK: &str = "shank";
/// A message lists so many units.
const SHOWN: usize = 5;

/// Spike times by cluster, clusters in increasing order of their number. Time O(n); allocates the size of `times_s`.
///
/// `at_times` and `at_clusters` name the two arrays in findings.
pub(super) fn split_by_cluster(
    (at_times, times_s): (&str, &[f64]),
    (at_clusters, clusters): (&str, &[u32]),
) -> Found<(Vec<u32>, Vec<Vec<f64>>)> {
    if times_s.len() != clusters.len() {
        let message = format!(
            "{} clusters for {} spikes of {at_times}; expected one each",
            clusters.len(),
            times_s.len()
        );
        return Err(Finding::new(at_clusters, message));
    }
    check_times(at_times, times_s)?;
    let mut small = vec![0_usize; SMALL_IDS];
    let mut large: BTreeMap<u32, usize> = BTreeMap::new();
    for &cluster in clusters {
        match small.get_mut(cluster as usize) {
            Some(count) => *count += 1,
            None => *large.entry(cluster).or_default() += 1,
        }
        if large.len() > MAX_UNITS {
            let message = format!("more than {MAX_UNITS} clusters; is it the array of clusters?");
            return Err(Finding::new(at_clusters, message));
        }
    }
    let mut ids = Vec::new();
    let mut units = Vec::new();
    // Counts become places.
    let small_ids = small.iter_mut().enumerate().filter(|(_, count)| **count > 0);
    let counts = small_ids.map(|(id, count)| (id as u32, count));
    for (id, count) in counts.chain(large.iter_mut().map(|(id, count)| (*id, count))) {
        let n_spikes = std::mem::replace(count, units.len());
        ids.push(id);
        units.push(Vec::with_capacity(n_spikes));
    }
    for (&time, &cluster) in times_s.iter().zip(clusters) {
        let place = match small.get(cluster as usize) {
            Some(place) => Some(place),
            None => large.get(&cluster),
        };
        if let Some(unit) = place.and_then(|&place| units.get_mut(place)) {
            unit.push(time);
        }
    }
    Ok((ids, units))
}

/// Refuses spike times that are not finite.
pub(super) fn check_times(at: &str, times_s: &[f64]) -> Found<()> {
    match times_s.iter().enumerate().find(|(_, time)| !time.is_finite()) {
        Some((index, time)) => {
            let message = format!("the time of spike {index} is {time}; expected a finite number");
            Err(Finding::new(at, message))
        }
        None => Ok(()),
    }
}

/// Units of a session while they are put together: names, spikes and columns in the same order.
pub(super) struct Units {
    pub(super) ids: Vec<String>,
    pub(super) spikes_s: Vec<Vec<f64>>,
    pub(super) table: Table,
}

/// A table whose rows are named by one of its columns.
pub(super) struct Keyed {
    pub(super) at: String,
    pub(super) table: Table,
    /// Column with the names.
    pub(super) key: String,
    /// Columns of the probe that names besides are made of, in their order.
    probe: Vec<String>,
    rows: HashMap<String, usize>,
    ids: Vec<String>,
}

impl Keyed {
    /// Names the rows by the first of `keys` that is a column.
    pub(super) fn new(at: &str, table: Table, keys: &[&str]) -> Found<Self> {
        let key = keys.iter().find(|key| table.get(key).is_some());
        let (key, column) = key.and_then(|key| Some((*key, table.get(key)?))).ok_or_else(|| {
            let wanted = keys.first().copied().unwrap_or_default();
            let message = format!("no column names the units (such as '{wanted}'); {}", table.hint(wanted));
            Finding::new(at, message)
        })?;
        let names = (0..table.n_rows()).map(|row| canonical_id(&column.text(row))).collect();
        let key = key.to_owned();
        Self::named(at, table, (key, Vec::new()), names)
    }

    /// Names the rows by these columns of the probe and this one of the cluster, as `imec0_12`.
    pub(super) fn by_probe(at: &str, table: Table, probe: Vec<String>, key: &str) -> Found<Self> {
        let names = probe_names(&table, &probe, key).unwrap_or_default();
        Self::named(at, table, (key.to_owned(), probe), names)
    }

    /// Names the rows, each once.
    fn named(at: &str, table: Table, (key, probe): (String, Vec<String>), names: Vec<String>) -> Found<Self> {
        let mut rows = HashMap::new();
        let mut ids = Vec::new();
        for (row, id) in names.into_iter().enumerate() {
            if id.is_empty() {
                return Err(Finding::new(
                    format!("{at}, column '{key}', row {row}"),
                    "no unit is named",
                ));
            }
            if let Some(before) = rows.insert(id.clone(), row) {
                let hint = if probe.is_empty() && table.get("probe").is_some() {
                    " (hint: rows of several probes are told apart where the column 'probe' has the probes' labels in the names of units, such as imec0 of \
                     'imec0_15'; --unit-column names a column with such names)"
                } else {
                    ""
                };
                let message = format!("unit {} is in row {before} already{hint}", id.escape_debug());
                return Err(Finding::new(format!("{at}, column '{key}', row {row}"), message));
            }
            ids.push(id);
        }
        Ok(Self {
            at: at.to_owned(),
            key,
            probe,
            table,
            rows,
            ids,
        })
    }

    /// The first unit that rows of both name and that is another row in the other, with both rows.
    pub(super) fn contradiction<'a>(&self, other: &Self, units: &'a [String]) -> Option<(&'a str, usize, usize)> {
        units.iter().find_map(|id| {
            let (here, there) = (*self.rows.get(id)?, *other.rows.get(id)?);
            (here != there).then_some((id.as_str(), here, there))
        })
    }

    /// Tells which column names the units, and how many of them.
    pub(super) fn tell(&self, units: &[String], findings: &mut Findings) {
        let n = units.iter().filter(|id| self.rows.contains_key(*id)).count();
        let columns = self.probe.iter().chain([&self.key]);
        let columns: Vec<String> = columns.map(|name| format!("'{}'", name.escape_debug())).collect();
        let (columns, names) = match columns.as_slice() {
            [one] => (format!("column {one}"), "names"),
            several => (format!("columns {}", several.join(", ")), "name"),
        };
        let message = format!(
            "{columns} {names} the units: {n} of {} have a row (hint: --unit-column names another column)",
            units.len()
        );
        findings.warning(&self.at, message);
    }

    /// Whether rows are named by probe and cluster.
    pub(super) fn is_by_probe(&self) -> bool {
        !self.probe.is_empty()
    }

    /// Names of the rows, in the order of the table.
    pub(super) fn ids(&self) -> &[String] {
        &self.ids
    }
}

/// The name of each row by probe and cluster, as `imec0_12`; a shank that is a number alone is called so. None without these columns; of
/// a row in which one is missing the name is empty.
pub(super) fn probe_names(table: &Table, probe: &[String], key: &str) -> Option<Vec<String>> {
    let columns = probe.iter().map(|name| Some((name, table.get(name)?)));
    let columns: Vec<(&String, &Column)> = columns.collect::<Option<_>>()?;
    let clusters = table.get(key)?;
    let name = |row: usize| {
        let mut parts: Vec<String> = Vec::new();
        for (name, column) in &columns {
            let text = canonical_id(&column.text(row));
            let is_shank = name.eq_ignore_ascii_case(SHANK) && text.bytes().all(|byte| byte.is_ascii_digit());
            parts.push(if is_shank && !text.is_empty() {
                format!("{SHANK}{text}")
            } else {
                text
            });
        }
        parts.push(canonical_id(&clusters.text(row)));
        if parts.iter().any(String::is_empty) {
            return String::new();
        }
        parts.join("_")
    };
    Some((0..table.n_rows()).map(name).collect())
}

/// A unit's name as all tables have it: whole numbers without a point.
pub(super) fn canonical_id(text: &str) -> String {
    let text = text.trim();
    let is_numeric = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    match text.parse::<f64>() {
        Ok(number) if is_numeric && number.fract() == 0.0 && number.abs() < 1e15 => (number as i64).to_string(),
        _ => text.to_owned(),
    }
}

impl Units {
    /// Units of these names and spikes, and further units without spikes that tables name.
    ///
    /// Their order is by number, then by name; `at` is where a warning says which units have no spike.
    pub(super) fn join(spikes: Vec<(String, Vec<f64>)>, tables: &[Keyed], at: &str, findings: &mut Findings) -> Self {
        let mut all: BTreeMap<(bool, i64, String), Vec<f64>> = BTreeMap::new();
        for (id, times) in spikes {
            all.insert(sort_key(&id), times);
        }
        let mut silent = Vec::new();
        for id in tables.iter().flat_map(Keyed::ids) {
            all.entry(sort_key(id)).or_insert_with(|| {
                silent.push(id.clone());
                Vec::new()
            });
        }
        if !silent.is_empty() {
            let message = format!("{} without a spike: {}", count(silent.len()), shown(&silent));
            findings.warning(at, message);
        }
        let (keys, spikes_s): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        let ids: Vec<String> = keys.into_iter().map(|(.., id)| id).collect();
        let table = Table::new(ids.len());
        Self { ids, spikes_s, table }
    }

    /// Adds the columns of a table where its rows belong. Where a column is there already, the later one counts for the
    /// units that it has; a warning says so if they differ.
    pub(super) fn add(&mut self, keyed: &Keyed, findings: &mut Findings) {
        let rows: Vec<Option<usize>> = self.ids.iter().map(|id| keyed.rows.get(id).copied()).collect();
        let absent: Vec<String> = self
            .ids
            .iter()
            .zip(&rows)
            .filter(|(_, row)| row.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        if !absent.is_empty() {
            let message = format!(
                "no row for {} of {}: {}; their values are missing",
                absent.len(),
                count(self.ids.len()),
                shown(&absent)
            );
            findings.warning(&keyed.at, message);
        }
        let unknown = keyed.table.n_rows() - rows.iter().flatten().count();
        if unknown > 0 {
            findings.warning(
                &keyed.at,
                format!("{unknown} rows of units that aren't there are left out"),
            );
        }
        for name in keyed.table.names().filter(|name| *name != keyed.key) {
            let Some(column) = keyed.table.get(name) else { continue };
            let mut aligned = align(column, &rows);
            if let Some(known) = self.table.get(name) {
                let differs =
                    |(row, there): (usize, &Option<usize>)| there.is_some() && known.text(row) != aligned.text(row);
                let n_different = rows.iter().enumerate().filter(|pair| differs(*pair)).count();
                if n_different > 0 {
                    let message = format!(
                        "column '{}' differs from another table's for {}; this one counts",
                        name.escape_debug(),
                        count(n_different)
                    );
                    findings.warning(&keyed.at, message);
                }
                aligned = overlaid(known, &aligned, &rows);
            }
            findings.keep(self.table.insert(&keyed.at, name, aligned));
        }
    }
}

/// A column in the order of other rows; values of absent rows are missing.
fn align(column: &Column, rows: &[Option<usize>]) -> Column {
    let is_whole = rows.iter().all(Option::is_some);
    match column {
        Column::Numbers(values) => {
            let value = |row: &Option<usize>| row.and_then(|row| values.get(row).copied()).unwrap_or(f64::NAN);
            Column::Numbers(rows.iter().map(value).collect())
        }
        Column::Flags(values) if is_whole => {
            let value = |row: &Option<usize>| row.is_some_and(|row| values.get(row).copied().unwrap_or(false));
            Column::Flags(rows.iter().map(value).collect())
        }
        // Flags can't miss: as texts they can.
        Column::Flags(_) | Column::Texts(_) => {
            let value = |row: &Option<usize>| row.map(|row| column.text(row)).unwrap_or_default();
            Column::Texts(rows.iter().map(value).collect())
        }
    }
}

/// The later of two columns, but the earlier where the later one has no row.
fn overlaid(earlier: &Column, later: &Column, rows: &[Option<usize>]) -> Column {
    if let (Column::Numbers(earlier), Column::Numbers(later)) = (earlier, later) {
        let pairs = earlier.iter().zip(later).zip(rows);
        let values = pairs.map(|((earlier, later), row)| if row.is_some() { *later } else { *earlier });
        return Column::Numbers(values.collect());
    }
    if rows.iter().all(Option::is_some) {
        return later.clone();
    }
    let value = |(row, there): (usize, &Option<usize>)| {
        let column = if there.is_some() { later } else { earlier };
        column.text(row)
    };
    Column::Texts(rows.iter().enumerate().map(value).collect())
}

/// Numbers first, in their order, then texts.
fn sort_key(id: &str) -> (bool, i64, String) {
    match id.parse::<i64>() {
        Ok(number) => (false, number, id.to_owned()),
        Err(_) => (true, 0, id.to_owned()),
    }
}

fn count(n: usize) -> String {
    if n == 1 {
        "1 unit".to_owned()
    } else {
        format!("{n} units")
    }
}

fn shown(ids: &[String]) -> String {
    let start: Vec<String> = ids.iter().take(SHOWN).map(|id| id.escape_debug().to_string()).collect();
    let more = if ids.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", start.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spikes_are_split_by_cluster_whatever_the_numbers_are() {
        let times = [0.1, 0.2, 0.3, 0.4, 0.5];
        let clusters = [7, 1 << 31, 7, 0, 1 << 31];
        let (ids, units) = split_by_cluster(("t", &times), ("c", &clusters)).expect("good spikes");
        assert_eq!(ids, [0, 7, 1 << 31]);
        assert_eq!(units, [vec![0.4], vec![0.1, 0.3], vec![0.2, 0.5]]);
        let said = |times: &[f64], clusters: &[u32]| {
            let found = split_by_cluster(("t.npy", times), ("c.npy", clusters));
            found.expect_err("bad spikes").to_string()
        };
        assert_eq!(
            said(&[0.0], &[0, 1]),
            "c.npy: 2 clusters for 1 spikes of t.npy; expected one each"
        );
        assert_eq!(
            said(&[0.0, f64::NAN], &[0, 1]),
            "t.npy: the time of spike 1 is NaN; expected a finite number"
        );
    }

    #[test]
    fn a_later_table_counts_only_for_the_units_that_it_has() {
        let keyed = |ids: &[f64], name: &str, column: Column| {
            let mut table = Table::new(ids.len());
            table.insert("t", "id", Column::Numbers(ids.to_vec())).expect("as long");
            table.insert("t", name, column).expect("as long");
            Keyed::new("t", table, &["id"]).expect("unique names")
        };
        let texts = |values: &[&str]| Column::Texts(values.iter().map(|&text| text.to_owned()).collect());
        let tables = [
            keyed(&[1.0, 2.0, 3.0], "group", texts(&["good", "mua", "noise"])),
            keyed(&[3.0, 1.0], "group", texts(&["good", "good"])),
            keyed(&[1.0, 2.0, 3.0], "depth", Column::Numbers(vec![10.0, 20.0, 30.0])),
            keyed(&[2.0], "depth", Column::Numbers(vec![25.0])),
            keyed(&[2.0], "kept", Column::Flags(vec![true])),
        ];
        let mut findings = Findings::default();
        let mut units = Units::join(Vec::new(), &tables, "spikes", &mut findings);
        for table in &tables {
            units.add(table, &mut findings);
        }
        assert_eq!(units.table.get("group"), Some(&texts(&["good", "mua", "good"])));
        assert_eq!(units.table.get("depth"), Some(&Column::Numbers(vec![10.0, 25.0, 30.0])));
        assert_eq!(units.table.get("kept"), Some(&texts(&["", "true", ""])));
        let differ = findings
            .warnings
            .iter()
            .filter(|warning| warning.message.contains("differs"));
        assert_eq!(differ.count(), 2);
    }

    #[test]
    fn names_of_units_are_those_of_their_numbers() {
        for (text, id) in [
            ("3.0", "3"),
            (" 12 ", "12"),
            ("1e2", "100"),
            ("u3", "u3"),
            ("1.5", "1.5"),
            ("inf", "inf"),
        ] {
            assert_eq!(canonical_id(text), id);
        }
    }
}
