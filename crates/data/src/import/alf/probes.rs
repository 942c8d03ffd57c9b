//! Spikes and clusters of each probe, put together into the units of a session.

use std::collections::{BTreeMap, BTreeSet};

use super::folder::{AlfFile, Folder};
use super::{Columns, Loaded, at, is_parquet, is_text, load_column, parquet_hint};
use crate::error::{Finding, Findings};
use crate::h5::Found;
use crate::import::delimited::read_table;
use crate::import::npy::array_of;
use crate::import::npz::{by_row, seconds};
use crate::import::source::Source;
use crate::import::table::{Column, Table};
use crate::import::units::{Keyed, Units, split_by_cluster};

/// The sorter whose spikes count where a probe has those of several, as in ONE's own loader.
const PREFERRED_SORTER: &str = "pykilosort";
/// What folders of probes have in their names.
pub(in crate::import) const PROBES: [&str; 2] = ["probe", "imec"];
/// Column of the areas of channels in the files of Steinmetz et al. 2019.
const ONTOLOGY: &str = "allen_ontology";
/// What names clusters in tables of text.
const KEY: &str = "cluster_id";
/// The column without a name that pandas writes first: its index.
const INDEX: &str = "unnamed_0";

/// One probe: the file of its spike times, and what names it.
struct Probe<'a> {
    label: String,
    times: &'a AlfFile,
}

/// Adds the units of all probes.
pub(super) fn read_units(folder: &Folder, source: &mut Source, findings: &mut Findings) {
    let probes = find_probes(folder, findings);
    if probes.is_empty() && findings.problems.is_empty() {
        let mut names = folder.top_names().to_vec();
        names.truncate(20);
        let message = format!("no spikes.times here or below; the folder has {}", names.join(", "));
        return findings.problem("spikes.times.npy", message);
    }
    let has_several = probes.len() > 1;
    let mut tables = Vec::new();
    for probe in &probes {
        let Some(mut units) = read_probe(folder, probe, findings) else {
            continue;
        };
        if !probe.label.is_empty() {
            let labels = vec![probe.label.clone(); units.ids.len()];
            findings.keep(units.table.insert(&probe.times.at, "probe", Column::Texts(labels)));
        }
        let name = |id: String| {
            if has_several {
                format!("{}_{id}", probe.label)
            } else {
                id
            }
        };
        source.unit_ids.extend(units.ids.into_iter().map(name));
        source.spikes_s.append(&mut units.spikes_s);
        tables.push(units.table);
    }
    match Table::stacked(tables) {
        Ok(table) => source.units = table,
        Err(finding) => findings.problems.push(finding),
    }
}

/// Files of spike times, one per probe.
fn find_probes<'a>(folder: &'a Folder, findings: &mut Findings) -> Vec<Probe<'a>> {
    // Of one folder and extra part, times without a timescale come first.
    let mut groups: BTreeMap<(&[String], &[String]), &AlfFile> = BTreeMap::new();
    for file in &folder.files {
        let is_times = file.attribute == "times" || file.attribute.starts_with("times_");
        if file.object == "spikes" && file.extension == "npy" && is_times {
            let known = groups.entry((&file.dir, &file.extra)).or_insert(file);
            if file.attribute == "times" {
                *known = file;
            }
        }
    }
    let mut probes: BTreeMap<String, Vec<&AlfFile>> = BTreeMap::new();
    for file in groups.into_values() {
        if let Some((_, clock)) = file.attribute.split_once('_') {
            let message = format!("these times are on the clock '{clock}'; there are none without a clock");
            findings.warning(&file.at, message);
        }
        probes.entry(label_of(file)).or_default().push(file);
    }
    let mut chosen = Vec::new();
    for (label, files) in probes {
        let preferred = || {
            let mut files = files
                .iter()
                .filter(|file| file.dir.last().is_some_and(|dir| dir == PREFERRED_SORTER));
            files.next().copied()
        };
        let times = match files[..] {
            [one] => Some(one),
            _ => preferred(),
        };
        let Some(times) = times else {
            let names: Vec<&str> = files.iter().map(|file| file.at.as_str()).collect();
            let message = format!(
                "several sets of spikes: {} (hint: read the folder of one of them)",
                names.join(", ")
            );
            let label = label.escape_debug().to_string();
            findings.problem(if label.is_empty() { "spikes".to_owned() } else { label }, message);
            continue;
        };
        if files.len() > 1 {
            let message = format!("one of {} sets of spikes of this probe; this one counts", files.len());
            findings.warning(&times.at, message);
        }
        chosen.push(Probe { label, times });
    }
    refuse_sessions(&chosen, findings);
    chosen
}

/// Refuses several sets of spikes in folders that are not named as probes are: they may be sessions, whose clocks differ.
fn refuse_sessions(chosen: &[Probe<'_>], findings: &mut Findings) {
    let is_probe = |name: &String| {
        let name = name.to_lowercase();
        PROBES.iter().any(|probe| name.contains(probe))
    };
    let of_none = |probe: &&Probe<'_>| {
        probe.times.extra.is_empty() && !probe.label.is_empty() && !probe.times.dir.iter().any(is_probe)
    };
    let others: Vec<String> = chosen
        .iter()
        .filter(of_none)
        .map(|probe| probe.times.dir.join("/").escape_debug().to_string())
        .collect();
    if chosen.len() > 1
        && let Some(first) = others.first()
    {
        let message = format!(
            "{} sets of spikes, of which those in {} are in folders that are not named as probes are: are they sessions? (hint: import the folder \
             of each session; folders of probes of one session are named such as probe00 or imec0)",
            chosen.len(),
            others.join(", ")
        );
        findings.problem(format!("{first}/spikes.times"), message);
    }
}

/// What names the probe of a file: a part of its name, or its folder.
fn label_of(file: &AlfFile) -> String {
    if !file.extra.is_empty() {
        return file.extra.join(".");
    }
    let folders = || file.dir.iter().filter(|dir| *dir != "alf" && *dir != PREFERRED_SORTER);
    if let Some(probe) = folders().find(|dir| dir.starts_with("probe")) {
        return probe.clone();
    }
    folders().cloned().collect::<Vec<_>>().join("_")
}

impl Probe<'_> {
    /// Files of an object beside the times: those with the same extra part, or without one where there are none with it.
    fn files<'a>(&self, folder: &'a Folder, object: &str) -> Vec<&'a AlfFile> {
        let here = folder
            .files
            .iter()
            .filter(|file| file.object == object && file.dir == self.times.dir);
        let with: Vec<&AlfFile> = here.clone().filter(|file| file.extra == self.times.extra).collect();
        if with.is_empty() {
            return here.filter(|file| file.extra.is_empty()).collect();
        }
        with
    }

    /// As [`Self::files`], in the folders above where there are none here.
    fn files_upwards<'a>(&self, folder: &'a Folder, object: &str) -> Vec<&'a AlfFile> {
        let found = self.files(folder, object);
        if !found.is_empty() {
            return found;
        }
        let above = |n: usize| {
            let dir = self.times.dir.get(..n).unwrap_or_default();
            let files = folder.files.iter();
            files
                .filter(|file| file.object == object && file.dir == dir)
                .collect::<Vec<_>>()
        };
        let n_folders = self.times.dir.len();
        (0..n_folders)
            .rev()
            .map(above)
            .find(|files| !files.is_empty())
            .unwrap_or_default()
    }
}

fn read_probe(folder: &Folder, probe: &Probe<'_>, findings: &mut Findings) -> Option<Units> {
    let times = array_of(&probe.times.path, &probe.times.at).and_then(|array| seconds(&array, &probe.times.at));
    let times = findings.keep(times);
    let spikes = probe.files(folder, "spikes");
    let Some(clusters) = spikes
        .iter()
        .find(|file| file.is("spikes", "clusters") && file.extension == "npy")
    else {
        findings.problem(
            &probe.times.at,
            "there is no spikes.clusters.npy beside it, which says whose spikes these are",
        );
        return None;
    };
    let ids = findings.keep(array_of(&clusters.path, &clusters.at).and_then(|array| array.clusters()));
    let files = probe.files(folder, "clusters");
    let mut columns = Columns { table: None };
    for file in files.iter().filter(|file| file.extension == "npy") {
        columns.add_array(file, findings);
    }
    let (keyed, parquet) = text_tables(&files, &mut columns, findings);
    for file in parquet {
        let message = format!(
            "not read: a parquet file (hint: convert it:\n      {})",
            parquet_hint(file)
        );
        findings.warning(&file.at, message);
    }
    let (times, ids) = (times?, ids?);
    let split = split_by_cluster((&probe.times.at, &times), (&clusters.at, &ids));
    drop((times, ids));
    let (ids, spikes_s) = findings.keep(split)?;
    let mut units = if let Some((table, first)) = columns.table {
        let n_units = table.n_rows();
        let spikes_s = findings.keep(by_row(&ids, spikes_s, n_units, (&clusters.at, &first)))?;
        let ids = (0..n_units).map(|n| n.to_string()).collect();
        Units { ids, spikes_s, table }
    } else {
        let spikes = ids.iter().map(ToString::to_string).zip(spikes_s).collect();
        Units::join(spikes, &keyed, &clusters.at, findings)
    };
    for table in &keyed {
        units.add(table, findings);
    }
    add_areas(folder, probe, &mut units, findings);
    Some(units)
}

/// Tables of text: those with a column `cluster_id`, while others are columns of all clusters; and parquet files.
fn text_tables<'a>(
    files: &[&'a AlfFile],
    columns: &mut Columns,
    findings: &mut Findings,
) -> (Vec<Keyed>, Vec<&'a AlfFile>) {
    let mut keyed = Vec::new();
    for file in files.iter().filter(|file| is_text(file)) {
        let Some(table) = findings.keep(read_table(&file.path, &file.at)) else {
            continue;
        };
        if table.get(KEY).is_some() {
            keyed.extend(findings.keep(Keyed::new(&file.at, table, &[KEY])));
        } else if is_shuffled(&table) {
            let message = format!("its rows go to the clusters of its first column, '{INDEX}', and not by their order");
            findings.warning(&file.at, message);
            keyed.extend(findings.keep(Keyed::new(&file.at, table, &[INDEX])));
        } else {
            columns.add_text(file, &table, findings);
        }
    }
    let parquet = files.iter().copied().filter(|file| is_parquet(file));
    (keyed, parquet.collect())
}

/// Whether the index that pandas wrote has numbers, each once, other than those of the rows.
fn is_shuffled(table: &Table) -> bool {
    let Some(Column::Numbers(index)) = table.get(INDEX) else {
        return false;
    };
    let numbers: BTreeSet<u64> = index.iter().map(|number| number.to_bits()).collect();
    let is_whole = index.iter().all(|number| number.fract() == 0.0 && *number >= 0.0);
    is_whole && numbers.len() == index.len() && index.iter().enumerate().any(|(row, number)| *number != row as f64)
}

/// Adds the columns `acronym` and `atlas_id`: of the clusters themselves, or of the channels that they are on.
fn add_areas(folder: &Folder, probe: &Probe<'_>, units: &mut Units, findings: &mut Findings) {
    for (column, attribute) in [("acronym", "brainLocationAcronyms"), ("atlas_id", "brainLocationIds")] {
        if units.table.get(column).is_some() {
            continue;
        }
        let found = areas(folder, probe, units, attribute);
        if let Some(Some((values, at))) = findings.keep(found) {
            findings.keep(units.table.insert(&at, column, values));
        }
    }
    if units.table.get("acronym").is_none() {
        let found = areas_of_peak_channels(folder, probe, units, &mut findings.warnings);
        if let Some(Some((values, at))) = findings.keep(found) {
            findings.keep(units.table.insert(&at, "acronym", values));
        }
    }
    if units.table.get("acronym").is_none() && units.table.get("atlas_id").is_some() {
        let message = "channels have numbers of areas but no acronyms; the column 'atlas_id' has the numbers";
        findings.warning(&probe.times.at, message);
    }
}

/// Values of an attribute whose name goes on with the atlas, such as `brainLocationAcronyms_ccf_2017`.
fn areas(folder: &Folder, probe: &Probe<'_>, units: &Units, attribute: &str) -> Found<Option<(Column, String)>> {
    let starts = |file: &&&AlfFile| file.extension == "npy" && file.attribute.starts_with(attribute);
    let clusters = probe.files(folder, "clusters");
    if let Some(file) = clusters.iter().find(starts) {
        let column = units.table.get(&file.attribute).cloned();
        return Ok(column.map(|column| (column, file.at.clone())));
    }
    let channels = probe.files_upwards(folder, "channels");
    let Some(file) = channels.iter().find(starts) else {
        return Ok(None);
    };
    let Some(Column::Numbers(channel_of)) = units.table.get("channels") else {
        return Ok(None);
    };
    let values = match load_column(file)? {
        Loaded::Array(array) => array.column(0)?,
        Loaded::Unread(message) => return Err(at(file, message)),
    };
    let mut rows = Vec::with_capacity(channel_of.len());
    for (n, &channel) in channel_of.iter().enumerate() {
        let row = (channel >= 0.0 && channel.fract() == 0.0).then_some(channel as usize);
        let Some(row) = row.filter(|&row| row < values.len()) else {
            let message = format!(
                "cluster {n} is on channel {channel}; {} has {} channels",
                file.at,
                values.len()
            );
            return Err(Finding::new("clusters.channels", message));
        };
        rows.push(row);
    }
    Ok(Some((values.select(&rows), file.at.clone())))
}

/// Areas of the channels on which clusters are largest, as in the files of Steinmetz et al. 2019: `clusters.peakChannel`, and a
/// table `channels.brainLocation` with a column `allen_ontology`. Channels count from 1 there (MATLAB), unless one is 0.
fn areas_of_peak_channels(
    folder: &Folder,
    probe: &Probe<'_>,
    units: &Units,
    warnings: &mut Vec<Finding>,
) -> Found<Option<(Column, String)>> {
    let channels = probe.files_upwards(folder, "channels");
    let is_located = |file: &&&AlfFile| is_text(file) && file.attribute == "brainLocation";
    let (Some(file), Some(Column::Numbers(peaks))) = (channels.iter().find(is_located), units.table.get("peakChannel"))
    else {
        return Ok(None);
    };
    let table = read_table(&file.path, &file.at)?;
    let Some(Column::Texts(areas)) = table.get(ONTOLOGY) else {
        let message = format!("has no column of texts '{ONTOLOGY}'; areas of clusters are not known from it");
        warnings.push(Finding::new(&file.at, message));
        return Ok(None);
    };
    let first = if peaks.contains(&0.0) { 0.0 } else { 1.0 };
    let area = |&peak: &f64| {
        let row = peak - first;
        let row = (row >= 0.0 && row.fract() == 0.0).then_some(row as usize);
        row.and_then(|row| areas.get(row)).cloned()
    };
    let found: Vec<Option<String>> = peaks.iter().map(area).collect();
    let n_lost = found.iter().filter(|area| area.is_none()).count();
    let lost = if n_lost > 0 {
        format!(
            "; {n_lost} of {} clusters have a channel that isn't there, and no area",
            found.len()
        )
    } else {
        String::new()
    };
    let message = format!("areas (column 'acronym') are those of clusters.peakChannel, counted from {first}{lost}");
    warnings.push(Finding::new(&file.at, message));
    let values = found.into_iter().map(Option::unwrap_or_default).collect();
    Ok(Some((Column::Texts(values), file.at.clone())))
}
