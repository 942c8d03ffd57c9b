//! Units: spike times in one list or in a dataset for each unit, and their columns.

use super::super::npz::{KEYS, Owners, assemble, join};
use super::super::nwb::read_observed;
use super::super::source::Source;
use super::super::table::Table;
use super::super::units::{MAX_UNITS, canonical_id, check_times};
use super::columns::read_table;
use super::{UNITS, is_dataset, is_group};
use crate::error::{Finding, Findings};
use crate::h5::{Data, Found, Kind, Node};

/// Where spikes are, in `units` or at the root.
pub(super) const SPIKES: [&str; 3] = ["spike_times", "spike_times_index", "spike_clusters"];
/// When units were observed, as in NWB.
const OBSERVED: [&str; 2] = ["obs_intervals", "obs_intervals_index"];

/// Reads `units` and the spikes; the source has no units where there are no spike times.
pub(super) fn read_units(root: &Node, source: &mut Source, findings: &mut Findings) {
    let [times, ..] = SPIKES;
    let group = if is_group(root, UNITS) {
        let group = findings.keep(root.group(UNITS));
        if group.is_none() {
            return;
        }
        group
    } else {
        None
    };
    let holder = group.as_ref().filter(|group| group.has(times)).unwrap_or(root);
    if is_group(holder, times) {
        each_a_dataset(holder, group.as_ref(), source, findings);
    } else if is_dataset(holder, times) {
        one_list(holder, group.as_ref(), source, findings);
    } else if holder.has(times) {
        // A link that isn't followed says so.
        findings.keep(holder.dataset(times));
    }
}

/// The columns of the group of units, without what is read otherwise.
fn columns(group: Option<&Node>, rows: Option<(usize, String)>, findings: &mut Findings) -> Option<Table> {
    let skip = [&SPIKES[..], &OBSERVED].concat();
    read_table(group?, &skip, rows, findings)
}

/// Spikes of all units in one list.
fn one_list(holder: &Node, group: Option<&Node>, source: &mut Source, findings: &mut Findings) {
    let [times, index, clusters] = SPIKES;
    if holder.has(index) == holder.has(clusters) {
        let message = "give either spike_times_index (end of each unit, as in NWB) or spike_clusters (unit of each spike) beside it";
        return findings.problem(holder.path_of(times), message);
    }
    let spikes_s = holder
        .dataset(times)
        .and_then(|data| seconds(&data, &mut findings.warnings));
    let spikes_s = findings.keep(spikes_s);
    let at = holder.path_of(if holder.has(index) { index } else { clusters });
    let (owners, rows) = if holder.has(index) {
        let ends = findings.keep(holder.dataset(index).and_then(|data| data.integer_vector()));
        let rows = ends.as_ref().map(|ends| (ends.len(), at.clone()));
        (ends.map(Owners::Ends), rows)
    } else {
        let ids = findings.keep(holder.dataset(clusters).and_then(|data| numbers_of_clusters(&data)));
        (ids.map(Owners::Clusters), None)
    };
    let is_by_row = matches!(owners, Some(Owners::Ends(_)));
    let table = columns(group, rows, findings);
    let (Some(spikes_s), Some(owners)) = (spikes_s, owners) else {
        return;
    };
    assemble(
        source,
        (&holder.path_of(times), spikes_s),
        (&at, owners),
        table,
        findings,
    );
    let [observed, _] = OBSERVED;
    if let Some(group) = group.filter(|group| group.has(observed)) {
        if is_by_row {
            let found = read_observed(group, source.spikes_s.len(), &mut findings.warnings);
            source.unit_observed_s = findings.keep(found);
        } else {
            let message = "left out: with spike_clusters nothing says which unit a row is of";
            findings.warning(group.path_of(observed), message);
        }
    }
}

/// A dataset of spikes for each unit, named like the unit.
fn each_a_dataset(holder: &Node, group: Option<&Node>, source: &mut Source, findings: &mut Findings) {
    let [times, ..] = SPIKES;
    let Some(spikes) = findings.keep(holder.group(times)) else {
        return;
    };
    if spikes.names().count() > MAX_UNITS {
        return findings.problem(&spikes.at, format!("more than {MAX_UNITS} datasets"));
    }
    let mut units: Vec<(String, Vec<f64>)> = Vec::new();
    let mut warnings = Vec::new();
    for name in spikes.names() {
        let mut said = Vec::new();
        let times_s = spikes.dataset(name).and_then(|data| seconds(&data, &mut said));
        if warnings.is_empty() {
            // What is odd about one is odd about all.
            warnings = said;
        }
        if let Some(times_s) = findings.keep(times_s) {
            units.push((canonical_id(name), times_s));
        }
    }
    findings.warnings.append(&mut warnings);
    let number = |id: &str| id.parse::<i64>().ok();
    units.sort_by_key(|(id, _)| (number(id).is_none(), number(id), id.clone()));
    if let Some(twice) = units.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let message = format!("two datasets are of unit '{}'", twice[0].0.escape_debug());
        return findings.problem(&spikes.at, message);
    }
    let Some(table) = columns(group, None, findings) else {
        (source.unit_ids, source.spikes_s) = units.into_iter().unzip();
        source.units = Table::new(source.unit_ids.len());
        return;
    };
    if KEYS.iter().any(|key| table.get(key).is_some()) {
        return join(source, units, table, &spikes.at, findings);
    }
    let is_counted = |first: i64| (first..).zip(&units).all(|(n, (id, _))| number(id) == Some(n));
    if table.n_rows() != units.len() || !(is_counted(0) || is_counted(1)) {
        let message = format!(
            "columns of {} rows beside {} datasets of {}: a column 'id' has to say which row is of which dataset",
            table.n_rows(),
            units.len(),
            spikes.at
        );
        return findings.problem(format!("/{UNITS}"), message);
    }
    (source.unit_ids, source.spikes_s) = units.into_iter().unzip();
    source.units = table;
}

/// Times of spikes, finite, with a warning where the file says that they are no seconds, or where they look so.
fn seconds(data: &Data, warnings: &mut Vec<Finding>) -> Found<Vec<f64>> {
    let times = data.float_vector()?;
    check_times(&data.at, &times)?;
    warn_of_unit(data, "clock.spikes_per_s", warnings);
    if data.kind == Kind::Integer && !times.is_empty() {
        warn_of_whole(data, "clock.spikes_per_s", warnings);
    }
    Ok(times)
}

/// Warns that times are whole numbers; `key` of a plan says their unit.
pub(super) fn warn_of_whole(data: &Data, key: &str, warnings: &mut Vec<Finding>) {
    let message = format!(
        "holds whole numbers, which are taken for seconds (hint: {key} in a TOML for --spec, such as 30000 for samples, says how many are a second)"
    );
    warnings.push(Finding::new(&data.at, message));
}

/// Warns where the attribute `unit` or `units` of times names another unit than seconds; `key` of a plan says it.
pub(super) fn warn_of_unit(data: &Data, key: &str, warnings: &mut Vec<Finding>) {
    let attribute = |name| data.attributes().text(name).ok().flatten();
    let Some(unit) = attribute("unit").or_else(|| attribute("units")) else {
        return;
    };
    let lower = unit.trim().to_lowercase();
    if matches!(lower.as_str(), "" | "s" | "sec" | "secs" | "second" | "seconds") {
        return;
    }
    let per_s = match lower.as_str() {
        "ms" | "msec" | "millisecond" | "milliseconds" => " = 1000",
        "us" | "µs" | "μs" | "microsecond" | "microseconds" => " = 1000000",
        _ => "",
    };
    let shown: String = unit.chars().take(40).collect();
    let message = format!(
        "its unit is '{}', but times are taken for seconds (hint: {key}{per_s} in a TOML for --spec says how many are a second)",
        shown.escape_debug()
    );
    warnings.push(Finding::new(&data.at, message));
}

/// The cluster of each spike.
fn numbers_of_clusters(data: &Data) -> Found<Vec<u32>> {
    let numbers = data.whole_vector()?;
    let number = |(place, number): (usize, i128)| {
        u32::try_from(number).map_err(|_| {
            let message = format!(
                "value {place} is {number}; expected the number of a cluster, 0 to {}",
                u32::MAX
            );
            Finding::new(&data.at, message)
        })
    };
    numbers.into_iter().enumerate().map(number).collect()
}
