//! Folders of Phy and Kilosort: spikes in samples, clusters, and what was said of each cluster.

mod probes;

use std::path::{Path, PathBuf};

use super::delimited::read_table;
use super::npy::{Dtype, array_of, header_of};
use super::source::{Source, session_name};
use super::table::{Column, Table};
use super::units::{Keyed, SHANK, Units, split_by_cluster};
use crate::error::{DataError, Finding, Findings};
use crate::fs::{FsError, read_text};
use crate::h5::Found;
use crate::validate::refuse_problems;

/// Longest `params.py` (bytes).
const MAX_PARAMS: u64 = 1 << 20;
/// Most files that are looked at in the folder.
const MAX_FILES: usize = 20_000;
/// What names the clusters in its tables; old versions wrote `id`.
const KEYS: [&str; 2] = ["cluster_id", "id"];

/// Reads a folder that Phy opens: `spike_times.npy` with `spike_clusters.npy` (or `spike_templates.npy`), and `cluster_*.tsv`; or a
/// folder with such folders below, which are named as probes are.
///
/// Times are samples, divided by `sample_rate_hz` or, if there is none, by `sample_rate` of `params.py`, which is looked at
/// as text and never run. Units are the clusters that have spikes or a row in a table, by number; where there are several probes they
/// are named `imec0_12` (`imec0_shank1_12` where shanks were sorted apart), and wherever there is a probe's folder the columns `probe` and
/// `shank` name it. Allocates 24 bytes a spike.
///
/// # Errors
/// [`DataError::Fs`]; [`DataError::Invalid`] with every problem: arrays that are damaged or disagree in length, times
/// that are no samples, tables that name a cluster twice, no sampling rate; folders below that are not of one session's probes.
pub fn read_phy(folder: &Path, sample_rate_hz: Option<f64>) -> Result<Source, DataError> {
    let mut findings = Findings::default();
    let mut source = Source::empty(session_name(folder), "Phy folder");
    let probes = probes::find(folder, &mut findings)?;
    let has_several = probes.len() > 1;
    let mut tables = Vec::new();
    for probe in &probes {
        let mut own = Findings::default();
        let units = read_probe(&probe.path, sample_rate_hz, &mut own)?;
        findings.append_at(&probe.at, own);
        let Some(mut units) = units else { continue };
        if !probe.label.is_empty() {
            for (column, label) in [("probe", &probe.device), (SHANK, &probe.shank)] {
                let labels = Column::Texts(vec![label.clone(); units.ids.len()]);
                // A column that nothing is said in would hide that of a table.
                if !label.is_empty() {
                    findings.keep(units.table.insert(&probe.at, column, labels));
                }
            }
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
    if let Some(table) = findings.keep(Table::stacked(tables)) {
        source.units = table;
    }
    refuse_problems(folder.display().to_string(), findings.problems)?;
    source.warnings.append(&mut findings.warnings);
    Ok(source)
}

/// Units of one folder.
fn read_probe(folder: &Path, sample_rate_hz: Option<f64>, findings: &mut Findings) -> Result<Option<Units>, DataError> {
    let rate = sample_rate(folder, sample_rate_hz, findings);
    let rate = findings.keep(rate);
    // Without a rate the spikes are checked all the same.
    let spikes = read_spikes(folder, rate.unwrap_or(1.0), &mut findings.warnings);
    let spikes = findings.keep(spikes);
    let mut tables = Vec::new();
    for (path, at) in cluster_tables(folder)? {
        let table = read_table(&path, &at).and_then(|table| Keyed::new(&at, table, &KEYS));
        tables.extend(findings.keep(table));
    }
    let Some((ids, spikes)) = spikes else { return Ok(None) };
    let spikes = ids.iter().map(ToString::to_string).zip(spikes).collect();
    let mut units = Units::join(spikes, &tables, "clusters", findings);
    let ids: Vec<f64> = units.ids.iter().filter_map(|id| id.parse().ok()).collect();
    if ids.len() == units.ids.len() {
        findings.keep(units.table.insert("clusters", "cluster_id", Column::Numbers(ids)));
    } else {
        findings.problem("clusters", "a table names a cluster that is no number");
    }
    for table in &tables {
        units.add(table, findings);
    }
    Ok(Some(units))
}

/// Spikes (s) by cluster.
fn read_spikes(folder: &Path, rate_hz: f64, warnings: &mut Vec<Finding>) -> Found<(Vec<u32>, Vec<Vec<f64>>)> {
    let (times_at, mut clusters_at) = ("spike_times.npy", "spike_clusters.npy");
    if !folder.join(clusters_at).is_file() && folder.join("spike_templates.npy").is_file() {
        clusters_at = "spike_templates.npy";
        let message = "there is no spike_clusters.npy; the templates count as clusters";
        warnings.push(Finding::new(clusters_at, message));
    }
    let path = folder.join(times_at);
    let is_float = matches!(header_of(&path, times_at)?.dtype, Dtype::Float(_));
    let mut times = array_of(&path, times_at)?.numbers()?;
    if is_float {
        if let Some((index, time)) = times.iter().enumerate().find(|(_, time)| time.fract() != 0.0) {
            let message = format!(
                "spike {index} is at {time}; expected samples, which are whole numbers. Are these seconds? (hint: save \
                 np.round(times * sample_rate).astype('int64'))"
            );
            return Err(Finding::new(times_at, message));
        }
        let message = "holds floating-point numbers; they are whole, and taken for samples";
        warnings.push(Finding::new(times_at, message));
    }
    for time in &mut times {
        *time /= rate_hz;
    }
    let clusters = array_of(&folder.join(clusters_at), clusters_at)?.clusters()?;
    split_by_cluster((times_at, &times), (clusters_at, &clusters))
}

/// The sampling rate (Hz) given, or that of `params.py`.
fn sample_rate(folder: &Path, given: Option<f64>, findings: &mut Findings) -> Found<f64> {
    let path = folder.join("params.py");
    let written = path.is_file().then(|| {
        let text = read_text(&path, MAX_PARAMS).map_err(|error| Finding::new("params.py", error.to_string()))?;
        parse_sample_rate(&text)
    });
    let is_rate = |rate: f64| rate.is_finite() && rate > 0.0;
    match (given, written) {
        (Some(rate), _) if !is_rate(rate) => {
            let message = format!("the sampling rate given is {rate} Hz; expected a number above 0");
            Err(Finding::new("sample_rate_hz", message))
        }
        (Some(rate), Some(Ok(Some(written)))) if rate != written => {
            let message = format!("sample_rate is {written} there; {rate} Hz was given and counts");
            findings.warning("params.py", message);
            Ok(rate)
        }
        (Some(rate), _) | (None, Some(Ok(Some(rate)))) if is_rate(rate) => Ok(rate),
        (None, Some(Ok(Some(rate)))) => {
            let message = format!("sample_rate is {rate}; expected a number above 0 (hint: --sample-rate-hz gives it)");
            Err(Finding::new("params.py", message))
        }
        (None, Some(Err(finding))) => Err(finding),
        _ => {
            let missing =
                "no line 'sample_rate = …' says how many samples a second has (hint: --sample-rate-hz gives it)";
            Err(Finding::new("params.py", missing))
        }
    }
}

/// The number of a line `sample_rate = 30000.`; the last such line counts, as it would in Python.
fn parse_sample_rate(text: &str) -> Found<Option<f64>> {
    let mut rate = None;
    for (index, line) in text.lines().enumerate() {
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        if name.trim() != "sample_rate" {
            continue;
        }
        let value = value.split('#').next().unwrap_or_default().trim().replace('_', "");
        let number = value.parse().map_err(|_| {
            let shown: String = value.chars().take(40).collect();
            let message = format!(
                "line {}: sample_rate is '{}'; expected a number, because the file isn't run (hint: --sample-rate-hz gives it)",
                index + 1,
                shown.escape_debug()
            );
            Finding::new("params.py", message)
        })?;
        rate = Some(number);
    }
    Ok(rate)
}

/// Tables of clusters: `cluster_info` first, because Phy writes it from the others.
fn cluster_tables(folder: &Path) -> Result<Vec<(PathBuf, String)>, DataError> {
    let fail = |source| FsError::new(folder, "read the folder", source);
    let mut tables = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)?.take(MAX_FILES) {
        let path = entry.map_err(fail)?.path();
        let at = super::npy::file_name(&path);
        let ending = path.extension().and_then(|ending| ending.to_str());
        if at.starts_with("cluster_") && matches!(ending, Some("tsv" | "csv")) && path.is_file() {
            tables.push((path, at));
        }
    }
    tables.sort_by_key(|(path, at)| (!at.starts_with("cluster_info."), path.clone()));
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sampling_rate_is_read_as_text() {
        let rate = |text: &str| parse_sample_rate(text).map_err(|finding| finding.message);
        assert_eq!(rate("dat_path = 'x'\nsample_rate = 30000.\n"), Ok(Some(30000.0)));
        assert_eq!(rate("sample_rate=2.5e4 # Hz\r\n"), Ok(Some(25000.0)));
        assert_eq!(rate("sample_rate = 30_000"), Ok(Some(30000.0)));
        assert_eq!(rate("# sample_rate = 1\nsample_rates = 2\n"), Ok(None));
        let said = rate("x = 1\nsample_rate = __import__('os').system('true')").expect_err("code");
        assert!(said.starts_with("line 2: sample_rate is '"), "{said}");
    }
}
