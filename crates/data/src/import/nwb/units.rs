//! The table of units: columns, spike times, when each unit was observed, and where its electrodes are.

use super::super::source::Source;
use super::super::table::{Column, Table};
use super::tables::{self, each_referenced, read_ends, read_table, rows};
use crate::error::{Finding, Findings, no_memory};
use crate::h5::{Data, Found, Kind, Node, Target};

/// Where electrodes are described.
const ELECTRODES: [&str; 3] = ["general", "extracellular_ephys", "electrodes"];
/// Column that says on which electrode, by its `id`, a unit is largest, in files that refer to none otherwise (Allen Institute).
const PEAK: &str = "peak_channel_id";
/// So many locations are listed.
const SHOWN_LOCATIONS: usize = 10;
/// Columns that are read in another way than the rest.
const SPECIAL: [&str; 4] = ["spike_times", "obs_intervals", "electrodes", "electrode_group"];

/// Reads `/units` into the source.
pub(super) fn read_units(root: &Node, source: &mut Source, findings: &mut Findings) {
    if !root.has("units") {
        findings.problem(
            "/units",
            "the group is missing: this file has no sorted units, so there is nothing to fit",
        );
        return;
    }
    let Some(units) = findings.keep(root.group("units")) else {
        return;
    };
    let Some(mut read) = read_table(&units, &[], &SPECIAL, findings) else {
        return;
    };
    let n_units = read.table.n_rows();
    source.unit_ids = std::mem::take(&mut read.ids);
    if let Some(spikes_s) = findings.keep(read_spikes(&units, n_units)) {
        source.spikes_s = spikes_s;
    }
    if units.has("obs_intervals") {
        let observed = read_observed(&units, n_units, &mut findings.warnings);
        source.unit_observed_s = findings.keep(observed);
    }
    if units.has("electrode_group") {
        let added = add_groups(&units, &mut read.table, findings);
        findings.keep(added);
    }
    if units.has("electrodes") {
        let added = add_electrodes(root, &units, &mut read.table, &source.unit_ids, findings);
        findings.keep(added);
    } else if let Err(finding) = add_peak_electrodes(root, &units, &mut read.table, findings) {
        // Nothing of the units themselves is wrong.
        findings.warnings.push(finding);
    }
    if n_units == 0 {
        findings.warning("/units", "the table has no rows: this file has no sorted units");
    }
    source.units = read.table;
}

/// Spike times, read once and handed out to the units as they come.
fn read_spikes(units: &Node, n_units: usize) -> Found<Vec<Vec<f64>>> {
    if !units.has("spike_times") {
        if n_units == 0 {
            return Ok(Vec::new());
        }
        let message = format!("the dataset is missing: {n_units} units without spike times can't be fitted");
        return Err(Finding::new(units.path_of("spike_times"), message));
    }
    let data = units.dataset("spike_times")?;
    if !units.has("spike_times_index") {
        let message = "the dataset is missing; without it nobody knows which spikes are whose";
        return Err(Finding::new(units.path_of("spike_times_index"), message));
    }
    let [n_spikes] = *data.shape else {
        let message = format!("shape {:?}; expected one axis of spikes", data.shape);
        return Err(Finding::new(&data.at, message));
    };
    let ends = read_ends(units, "spike_times", n_units, n_spikes)?;
    data.check_floats()?;
    let mut spikes_s: Vec<Vec<f64>> = Vec::new();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    for (start, end) in starts.zip(&ends) {
        let mut train = Vec::new();
        let reserved = train.try_reserve_exact(end - start);
        reserved.map_err(|_| no_memory(&data.at, n_spikes.saturating_mul(size_of::<f64>())))?;
        spikes_s.push(train);
    }
    let mut unit = 0;
    let mut rounded = None;
    data.each_float(|mut block| {
        if data.kind == Kind::Integer {
            let is_rounded = |time: &&f64| time.abs() > tables::LARGEST_EXACT as f64;
            rounded = rounded.or_else(|| block.iter().copied().find(|time| is_rounded(&time)));
        }
        while !block.is_empty() {
            let Some((train, &end)) = spikes_s.get_mut(unit).zip(ends.get(unit)) else {
                return;
            };
            let start = unit.checked_sub(1).and_then(|before| ends.get(before)).copied();
            let n_missing = end - start.unwrap_or(0) - train.len();
            let (now, later) = block.split_at(n_missing.min(block.len()));
            train.extend_from_slice(now);
            block = later;
            if now.len() == n_missing {
                unit += 1;
            }
        }
    })?;
    if let Some(time) = rounded {
        let message =
            format!("a spike is at {time:.0}, a whole number above 2^53, which would be rounded; times are s");
        return Err(Finding::new(&data.at, message));
    }
    Ok(spikes_s)
}

/// When each unit was observed (s).
pub(in super::super) fn read_observed(
    units: &Node,
    n_units: usize,
    warnings: &mut Vec<Finding>,
) -> Found<Vec<Vec<(f64, f64)>>> {
    let data = units.dataset("obs_intervals")?;
    let intervals = pairs(&data, warnings)?;
    if units.has("obs_intervals_index") {
        let ends = read_ends(units, "obs_intervals", n_units, intervals.len())?;
        return Ok(rows(&intervals, &ends).map(<[_]>::to_vec).collect());
    }
    if intervals.len() != n_units {
        let message = format!(
            "{} intervals for {n_units} units, and obs_intervals_index is missing",
            intervals.len()
        );
        return Err(Finding::new(&data.at, message));
    }
    Ok(intervals.into_iter().map(|interval| vec![interval]).collect())
}

/// Pairs of numbers: rows of two columns, or two rows where a program wrote them the other way round.
fn pairs(data: &Data, warnings: &mut Vec<Finding>) -> Found<Vec<(f64, f64)>> {
    let (n_rows, is_turned) = match *data.shape {
        [n_rows, 2] => (n_rows, false),
        [2, n_rows] => (n_rows, true),
        [0] => return Ok(Vec::new()),
        _ => {
            let message = format!("shape {:?}; expected [intervals, 2]", data.shape);
            return Err(Finding::new(&data.at, message));
        }
    };
    if is_turned {
        let message = format!("shape {:?} is taken as two rows, starts and ends", data.shape);
        warnings.push(Finding::new(&data.at, message));
    }
    data.check_floats()?;
    let mut pairs = Vec::new();
    let reserved = pairs.try_reserve_exact(n_rows);
    reserved.map_err(|_| no_memory(&data.at, n_rows.saturating_mul(size_of::<(f64, f64)>())))?;
    pairs.resize(n_rows, (f64::NAN, f64::NAN));
    data.each_block(|first_row, first_column, block| {
        for ((row, column), &value) in block.indexed_iter() {
            let (row, column) = (first_row + row, first_column + column);
            let (pair, side) = if is_turned { (column, row) } else { (row, column) };
            if let Some(pair) = pairs.get_mut(pair) {
                *(if side == 0 { &mut pair.0 } else { &mut pair.1 }) = value;
            }
        }
    })?;
    Ok(pairs)
}

/// What a group of electrodes says about itself: name, location, name of its device.
type Group = (String, String, String);

fn describe_group(target: &Target, findings: &mut Findings) -> Group {
    let name_of = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let name = name_of(target.at());
    let Target::Group(group) = target else {
        return (name, String::new(), String::new());
    };
    // What can't be read of a group is left empty.
    let mut keep = |found: Found<Option<String>>| match found {
        Ok(text) => text.unwrap_or_default(),
        Err(finding) => {
            findings.warnings.push(finding);
            String::new()
        }
    };
    let location = keep(group.text_attribute("location"));
    let device = group.has("device").then(|| group.group("device")).transpose();
    let device = keep(device.map(|device| device.map(|device| name_of(&device.hard_path()))));
    (name, location, device)
}

/// Columns of the electrode group of each unit.
fn add_groups(units: &Node, table: &mut Table, findings: &mut Findings) -> Found<()> {
    let data = units.look("electrode_group")?;
    if data.kind == Kind::Text {
        return table.insert(&data.at, "electrode_group", Column::Texts(data.text_vector()?));
    }
    let groups = each_referenced(units, &data, |target| describe_group(target, findings))?;
    let column = |pick: fn(&Group) -> &String| Column::Texts(groups.iter().map(|group| pick(group).clone()).collect());
    table.insert(&data.at, "electrode_group", column(|group| &group.0))?;
    table.insert(&data.at, "electrode_group.location", column(|group| &group.1))?;
    table.insert(&data.at, "electrode_group.device", column(|group| &group.2))
}

/// Columns of the first electrode of each unit, as `electrodes.NAME`.
fn add_electrodes(
    root: &Node,
    units: &Node,
    table: &mut Table,
    unit_ids: &[String],
    findings: &mut Findings,
) -> Found<()> {
    let data = units.dataset("electrodes")?;
    let electrodes = electrode_table(root, units, &data)?;
    let Some(electrodes) = read_table(&electrodes, &[], &[], findings) else {
        return Ok(());
    };
    let electrodes = electrodes.table;
    let numbers = data.integer_vector()?;
    let row = |(place, number): (usize, &i64)| {
        let row = usize::try_from(*number).ok().filter(|row| *row < electrodes.n_rows());
        row.ok_or_else(|| {
            let message = format!(
                "value {place} is electrode {number}; there are {}, counted from 0",
                electrodes.n_rows()
            );
            Finding::new(&data.at, message)
        })
    };
    let electrode_rows = numbers.iter().enumerate().map(row).collect::<Found<Vec<usize>>>()?;
    let n_units = table.n_rows();
    let ends = if units.has("electrodes_index") {
        read_ends(units, "electrodes", n_units, electrode_rows.len())?
    } else if electrode_rows.len() == n_units {
        (1..=n_units).collect()
    } else {
        let message = format!("{} rows; the table has {n_units}", electrode_rows.len());
        return Err(Finding::new(&data.at, message));
    };
    let of_units: Vec<&[usize]> = tables::rows(&electrode_rows, &ends).collect();
    warn_of_several_locations(&data.at, &electrodes, &of_units, unit_ids, findings);
    let first: Vec<Option<usize>> = of_units.iter().map(|rows| rows.first().copied()).collect();
    for name in electrodes.names() {
        if let Some(column) = electrodes.get(name) {
            table.insert(&data.at, format!("electrodes.{name}"), select(column, &first))?;
        }
    }
    Ok(())
}

/// Columns of the electrode on which each unit is largest, as `electrodes.NAME`, where units refer to no electrode but name the
/// channel; without it, says that electrodes have locations.
fn add_peak_electrodes(root: &Node, units: &Node, table: &mut Table, findings: &mut Findings) -> Found<()> {
    let [general, ephys, electrodes] = ELECTRODES;
    let inside = |node: Option<Node>, name: &str| match node {
        Some(node) if node.has(name) => node.group(name).map(Some),
        _ => Ok(None),
    };
    let general = inside(root.has(general).then(|| root.group(general)).transpose()?, ephys)?;
    let Some(node) = inside(general, electrodes)? else {
        return Ok(());
    };
    let mut own = Findings::default();
    let read = read_table(&node, &[], &[], &mut own);
    let Some(read) = read.filter(|_| own.problems.is_empty()) else {
        return Ok(());
    };
    let at = units.path_of(PEAK);
    let Some(peaks) = table.get(PEAK).cloned() else {
        let known = |text: &&String| !matches!(text.trim(), "" | "unknown" | "Unknown" | "nan" | "None");
        let locations = match read.table.get("location") {
            Some(Column::Texts(texts)) => texts.iter().filter(known).collect(),
            _ => std::collections::BTreeSet::new(),
        };
        if !locations.is_empty() && table.n_rows() > 0 && !table.names().any(|name| name.ends_with("location")) {
            let shown: Vec<&str> = locations
                .iter()
                .take(SHOWN_LOCATIONS)
                .map(|text| text.as_str())
                .collect();
            let more = if locations.len() > SHOWN_LOCATIONS { ", …" } else { "" };
            let message = format!(
                "{} electrodes have locations ({}{more}), but units have no column 'electrodes' or '{PEAK}' that says on which they are",
                read.table.n_rows(),
                shown.join(", ").escape_debug()
            );
            findings.warning(&node.at, message);
        }
        return Ok(());
    };
    findings.warnings.append(&mut own.warnings);
    let mut row_of = std::collections::BTreeMap::new();
    for (row, id) in read.ids.iter().enumerate() {
        if row_of.insert(id.as_str(), row).is_some() {
            let message = format!(
                "several electrodes have the id {}; on which of them units are isn't known",
                id.escape_debug()
            );
            return Err(Finding::new(&node.at, message));
        }
    }
    let rows: Vec<Option<usize>> = (0..peaks.len())
        .map(|unit| row_of.get(peaks.text(unit).as_str()).copied())
        .collect();
    let n_lost = rows.iter().filter(|row| row.is_none()).count();
    let lost = match n_lost {
        0 => String::new(),
        n => format!("; {n} of {} units have a channel that is no electrode's", rows.len()),
    };
    for name in read.table.names() {
        if let Some(column) = read.table.get(name) {
            table.insert(&at, format!("electrodes.{name}"), select(column, &rows))?;
        }
    }
    let message = format!("electrodes of units are those whose id is their {PEAK}{lost}");
    findings.warning(&at, message);
    Ok(())
}

/// The table that the column of electrodes refers to.
fn electrode_table(root: &Node, units: &Node, data: &Data) -> Found<Node> {
    match units.referenced_by(data.attributes(), "table") {
        Ok(Some(Target::Group(node))) => Ok(node),
        Ok(Some(Target::Dataset(other))) => {
            let message = format!("its table is {}, which is a dataset; expected a group", other.at);
            Err(Finding::new(&data.at, message))
        }
        Ok(None) => {
            let [general, ephys, electrodes] = ELECTRODES;
            root.group(general)?.group(ephys)?.group(electrodes)
        }
        Err(finding) => Err(Finding::new(format!("{} (attribute table)", data.at), finding.message)),
    }
}

/// Rows of a column; missing values where there is no row.
fn select(column: &Column, rows: &[Option<usize>]) -> Column {
    if let Some(all) = rows.iter().copied().collect::<Option<Vec<usize>>>() {
        return column.select(&all);
    }
    let number = |row: &Option<usize>, value: &dyn Fn(usize) -> Option<f64>| row.and_then(value).unwrap_or(f64::NAN);
    match column {
        Column::Numbers(values) => {
            let value = |row: usize| values.get(row).copied();
            Column::Numbers(rows.iter().map(|row| number(row, &value)).collect())
        }
        // A flag can't be missing; a number can.
        Column::Flags(values) => {
            let value = |row: usize| values.get(row).map(|&flag| f64::from(u8::from(flag)));
            Column::Numbers(rows.iter().map(|row| number(row, &value)).collect())
        }
        Column::Texts(values) => {
            let text = |row: &Option<usize>| row.and_then(|row| values.get(row)).cloned().unwrap_or_default();
            Column::Texts(rows.iter().map(text).collect())
        }
    }
}

/// One warning for all units whose electrodes lie in several locations.
fn warn_of_several_locations(
    at: &str,
    electrodes: &Table,
    of_units: &[&[usize]],
    unit_ids: &[String],
    findings: &mut Findings,
) {
    let Some(Column::Texts(locations)) = electrodes.get("location") else {
        return;
    };
    let locations_of = |rows: &[usize]| {
        let locations = rows.iter().filter_map(|&row| locations.get(row));
        locations.map(String::as_str).collect::<std::collections::BTreeSet<_>>()
    };
    let several: Vec<usize> = (0..of_units.len())
        .filter(|&unit| locations_of(of_units[unit]).len() > 1)
        .collect();
    if let Some(&first) = several.first() {
        let names: Vec<&str> = locations_of(of_units[first]).into_iter().collect();
        let message = format!(
            "electrodes of {} of {} units are in several locations (first: unit '{}', {}); a unit is put where its first electrode is",
            several.len(),
            of_units.len(),
            unit_ids
                .get(first)
                .map(|id| id.escape_debug().to_string())
                .unwrap_or_default(),
            names.join(", ").escape_debug()
        );
        findings.warning(at, message);
    }
}
