//! Series of samples anywhere in a file: found and listed, loaded where they are wanted.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::Array2;

use super::super::source::{Samples, Series, SeriesRequest, Source};
use super::super::table::{SHOWN_COLUMNS, Table, nearest};
use super::{events, tables, unique};
use crate::error::{Finding, Findings, no_memory};
use crate::h5::{Data, Found, Kind, Node};
use crate::recording::Timing;

/// Where series are looked for.
const PLACES: [&str; 6] = ["acquisition", "processing", "stimulus", "events", "analysis", "scratch"];
/// Most groups inside each other, soft links included.
const MAX_DEPTH: usize = 32;

/// What a series is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    /// Samples of one or many channels.
    Trace,
    /// Times of events, with or without a value each.
    Events,
    /// Images, or other arrays of more than two axes.
    Images,
}

/// A series that was found.
struct Entry {
    node: Node,
    sort: Sort,
    series: Series,
    /// Whether the samples lie along the second axis, as the number of timestamps says.
    is_turned: bool,
}

/// Series and tables that were found, by name; each with its path.
#[derive(Default)]
pub(super) struct Listing {
    series: BTreeMap<String, Vec<(String, Entry)>>,
    pub(super) tables: BTreeMap<String, Vec<(String, Table)>>,
    visited: BTreeSet<String>,
}

impl Listing {
    /// Looks for series and tables of intervals below the root.
    pub(super) fn look_for(&mut self, root: &Node, findings: &mut Findings) {
        for place in PLACES.iter().filter(|place| root.has(place)) {
            match root.group(place) {
                Ok(node) => self.visit(&node, false, 0, findings),
                Err(finding) => findings.warnings.push(finding),
            }
        }
    }

    fn visit(&mut self, parent: &Node, are_events: bool, depth: usize, findings: &mut Findings) {
        for name in parent.names() {
            let node = match parent.is_group(name) {
                Ok(true) => parent.group(name),
                Ok(false) => continue,
                Err(finding) => Err(finding),
            };
            let node = match node {
                Ok(node) => node,
                Err(finding) => {
                    findings.warnings.push(finding);
                    continue;
                }
            };
            let path = node.hard_path();
            if !self.visited.insert(path.clone()) {
                continue;
            }
            if depth >= MAX_DEPTH {
                let message = format!("more than {MAX_DEPTH} groups inside each other; what is below is not read");
                findings.warning(&node.at, message);
                continue;
            }
            self.take(node, &path, are_events, depth, findings);
        }
    }

    /// Keeps a series or table, or goes on below the group.
    fn take(&mut self, node: Node, path: &str, are_events: bool, depth: usize, findings: &mut Findings) {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let neurodata_type = node.text_attribute("neurodata_type").ok().flatten().unwrap_or_default();
        let is_table = node.attributes().texts("colnames").is_ok_and(|names| names.is_some());
        let is_intervals = node.has("start_time") && node.has("stop_time");
        if is_table || is_intervals {
            // Other tables, such as segmented cells, say nothing about time.
            if is_intervals || node.has("timestamp") {
                let mut own = Findings::default();
                let table = tables::read_table(&node, &[], &[], &mut own);
                findings.warnings.append(&mut own.problems);
                findings.warnings.append(&mut own.warnings);
                self.keep_table(name, path, table.map(|read| read.table));
            }
            return;
        }
        let holds = |name: &str| node.has(name) && node.is_group(name) != Ok(true);
        if !holds("data") && !holds("timestamps") {
            let are_events = are_events || neurodata_type == "BehavioralEvents";
            self.visit(&node, are_events, depth + 1, findings);
            return;
        }
        if neurodata_type == "IntervalSeries" {
            let table = events::intervals(&node, findings);
            self.keep_table(name, path, table);
            return;
        }
        match look(&node, are_events, findings) {
            Ok((series, sort, is_turned)) => {
                if sort == Sort::Events {
                    let table = events::events(&node, findings);
                    self.keep_table(name.clone(), path, table);
                }
                let entry = Entry {
                    node,
                    sort,
                    series,
                    is_turned,
                };
                self.series.entry(name).or_default().push((path.to_owned(), entry));
            }
            Err(finding) => findings.warnings.push(finding),
        }
    }

    fn keep_table(&mut self, name: String, path: &str, table: Option<Table>) {
        if let Some(table) = table {
            self.tables.entry(name).or_default().push((path.to_owned(), table));
        }
    }

    /// Lists all series in the source, with the values of those that are wanted.
    pub(super) fn into_series(self, wanted: &SeriesRequest, source: &mut Source, findings: &mut Findings) {
        let mut loaded = BTreeMap::new();
        for wanted in wanted.names() {
            let found = match self.named(wanted) {
                Ok(Some(found)) => Ok(found),
                // Another session may have it.
                Ok(None) => {
                    findings.warnings.push(self.absent(wanted));
                    continue;
                }
                Err(finding) => Err(finding),
            };
            let samples = found.and_then(|(path, entry)| Ok((path, load(entry, findings)?)));
            if let Some((path, samples)) = findings.keep(samples) {
                loaded.insert(path.to_owned(), samples);
            }
        }
        let mut list = |(path, entry): (String, Entry)| {
            let samples = loaded.remove(&path);
            let series = Series {
                path: path.clone(),
                samples,
                ..entry.series
            };
            (path, series)
        };
        let named = self.series.into_iter().map(|(name, entries)| {
            let entries = entries.into_iter().map(&mut list);
            (name, entries.collect())
        });
        source.series = unique(named.collect());
    }

    /// The series of that name or path, if there is one.
    fn named(&self, wanted: &str) -> Found<Option<(&str, &Entry)>> {
        if let Some(entries) = self.series.get(wanted) {
            if let [(path, entry)] = entries.as_slice() {
                return Ok(Some((path, entry)));
            }
            let paths: Vec<&str> = entries.iter().map(|(path, _)| path.as_str()).collect();
            let message = format!(
                "the file has {} series of this name; name one by its path: {}",
                paths.len(),
                paths.join(", ").escape_debug()
            );
            return Err(Finding::new(format!("series '{}'", wanted.escape_debug()), message));
        }
        let all = || self.series.values().flatten();
        let path = wanted.trim_matches('/');
        let by_path = all().find(|(known, _)| known.trim_matches('/') == path);
        Ok(by_path.map(|(path, entry)| (path.as_str(), entry)))
    }

    /// That there is no such series, and which there are.
    fn absent(&self, wanted: &str) -> Finding {
        let fail = |message: String| Finding::new(format!("series '{}'", wanted.escape_debug()), message);
        let names: Vec<&str> = self.series.keys().map(String::as_str).collect();
        if names.is_empty() {
            return fail("the file has no series".to_owned());
        }
        let near = nearest(wanted, &names);
        let near = near.map_or_else(String::new, |name| format!("did you mean '{}'? ", name.escape_debug()));
        let shown: Vec<String> = names
            .iter()
            .take(SHOWN_COLUMNS)
            .map(|name| name.escape_debug().to_string())
            .collect();
        let more = if names.len() > SHOWN_COLUMNS { ", …" } else { "" };
        fail(format!(
            "the file has no such series; {near}series: {}{more}",
            shown.join(", ")
        ))
    }
}

/// Shape, unit and rate of a series, without its values.
fn look(node: &Node, are_events: bool, findings: &mut Findings) -> Found<(Series, Sort, bool)> {
    let times = node.has("timestamps").then(|| node.look("timestamps")).transpose();
    let times = match times {
        Ok(times) => times,
        // Listed all the same; only loading it needs its times.
        Err(finding) => {
            findings.warnings.push(finding);
            None
        }
    };
    let n_times = times.as_ref().and_then(Data::vector_len);
    let mut series = Series {
        path: String::new(),
        shape: (n_times.unwrap_or(0), 0),
        unit: String::new(),
        rate_hz: None,
        channels: Vec::new(),
        samples: None,
    };
    if !node.has("data") {
        return Ok((series, Sort::Events, false));
    }
    let data = node.look("data")?;
    series.unit = data.attributes().text("unit").ok().flatten().unwrap_or_default();
    series.rate_hz = rate(node).ok().flatten().map(|(rate_hz, _)| rate_hz);
    let (shape, is_turned) = match *data.shape {
        [] => ((1, 1), false),
        [n_samples] => ((n_samples, 1), false),
        [rows, columns] if n_times == Some(columns) && rows != columns => {
            let message = format!(
                "shape [{rows}, {columns}] with {columns} timestamps: samples are taken along the second axis (NWB has them along the first)"
            );
            findings.warning(&data.at, message);
            ((columns, rows), true)
        }
        [n_samples, n_channels] => ((n_samples, n_channels), false),
        [n_samples, ref rest @ ..] => {
            series.shape = (
                n_samples,
                rest.iter().fold(1, |product: usize, &n| product.saturating_mul(n)),
            );
            return Ok((series, Sort::Images, false));
        }
    };
    series.shape = shape;
    let sort = if are_events || data.kind == Kind::Text || data.attributes().texts("labels").is_ok_and(|l| l.is_some())
    {
        Sort::Events
    } else {
        Sort::Trace
    };
    Ok((series, sort, is_turned))
}

/// Rate (Hz) and time of the first sample (s).
fn rate(node: &Node) -> Found<Option<(f64, f64)>> {
    if !node.has("starting_time") {
        return Ok(None);
    }
    let data = node.dataset("starting_time")?;
    let fail = |message: String| Finding::new(&data.at, message);
    let start_s = data.one_number()?.ok_or_else(|| fail("there is no value".to_owned()))?;
    let rate_hz = data.attributes().number("rate")?;
    let rate_hz = rate_hz.ok_or_else(|| fail("the attribute rate is missing".to_owned()))?;
    if !(rate_hz.is_finite() && rate_hz > 0.0 && start_s.is_finite()) {
        return Err(fail(format!(
            "samples from {start_s} s on at {rate_hz} Hz; expected a finite start and a rate above 0"
        )));
    }
    Ok(Some((rate_hz, start_s)))
}

/// Values and times of a series.
fn load(entry: &Entry, findings: &mut Findings) -> Found<Samples> {
    let node = &entry.node;
    let (n_samples, n_channels) = entry.series.shape;
    let fail = |message: String| Finding::new(&node.at, message);
    match entry.sort {
        Sort::Trace => {}
        Sort::Events => {
            return Err(fail(
                "events, which are no trace of samples; their times are in the table of this name".to_owned(),
            ));
        }
        Sort::Images => {
            return Err(fail(
                "images or arrays of more than two axes, which are not read as traces".to_owned(),
            ));
        }
    }
    let data = node.dataset("data")?;
    let timing = timing(node, n_samples)?;
    if matches!(timing, Timing::Rate { .. }) && n_channels > n_samples {
        let message = format!(
            "shape {:?} is read as {n_samples} samples of {n_channels} channels; is it written the other way round?",
            data.shape
        );
        findings.warning(&data.at, message);
    }
    let scale = Scale::of(node, &data, n_channels)?;
    let values = scale.read(&data, n_samples, n_channels, entry.is_turned)?;
    Ok(Samples { values, timing })
}

fn timing(node: &Node, n_samples: usize) -> Found<Timing> {
    if node.has("timestamps") {
        let data = node.dataset("timestamps")?;
        let n_times = data.vector_len();
        if n_times != Some(n_samples) {
            let message = format!(
                "shape {:?}; expected a time for each of {n_samples} samples",
                data.shape
            );
            return Err(Finding::new(&data.at, message));
        }
        return data.float_vector().map(Timing::Timestamps);
    }
    match rate(node)? {
        Some((rate_hz, start_s)) => Ok(Timing::Rate { rate_hz, start_s }),
        None => Err(Finding::new(
            &node.at,
            "neither timestamps nor starting_time: nobody knows when samples were taken",
        )),
    }
}

/// How stored numbers become values in the unit of the series.
struct Scale {
    conversion: f64,
    offset: f64,
    /// A factor more for each channel; none for 1.
    channels: Option<Vec<f64>>,
}

impl Scale {
    fn of(node: &Node, data: &Data, n_channels: usize) -> Found<Self> {
        let attributes = data.attributes();
        let scale = Self {
            conversion: attributes.number("conversion")?.unwrap_or(1.0),
            offset: attributes.number("offset")?.unwrap_or(0.0),
            channels: channel_conversion(node, n_channels)?,
        };
        if scale.conversion.is_finite() && scale.offset.is_finite() {
            Ok(scale)
        } else {
            let message = format!(
                "conversion {} and offset {}; expected finite numbers",
                scale.conversion, scale.offset
            );
            Err(Finding::new(&data.at, message))
        }
    }

    /// Reads `[samples, channels]`.
    fn read(&self, data: &Data, n_samples: usize, n_channels: usize, is_turned: bool) -> Found<Array2<f32>> {
        data.check_samples()?;
        let fail = |error: &dyn std::fmt::Display| Finding::new(&data.at, error.to_string());
        let n_values = n_samples.checked_mul(n_channels);
        let n_values = n_values.ok_or_else(|| fail(&"the number of samples overflows"))?;
        let mut values = Vec::new();
        values
            .try_reserve_exact(n_values)
            .map_err(|_| no_memory(&data.at, n_values.saturating_mul(size_of::<f32>())))?;
        values.resize(n_values, f32::NAN);
        let mut values = Array2::from_shape_vec((n_samples, n_channels), values).map_err(|error| fail(&error))?;
        // Adding 0 would take the sign of a stored -0.
        let is_as_stored = self.conversion == 1.0 && self.offset == 0.0 && self.channels.is_none();
        data.each_block(|first_row, first_column, block| {
            for ((row, column), &stored) in block.indexed_iter() {
                let (row, column) = (first_row + row, first_column + column);
                let place = if is_turned { (column, row) } else { (row, column) };
                let factor = self.channels.as_ref().and_then(|factors| factors.get(place.1));
                let factor = self.conversion * factor.copied().unwrap_or(1.0);
                if let Some(value) = values.get_mut(place) {
                    let scaled = stored * factor + self.offset;
                    *value = if is_as_stored { stored } else { scaled } as f32;
                }
            }
        })?;
        Ok(values)
    }
}

fn channel_conversion(node: &Node, n_channels: usize) -> Found<Option<Vec<f64>>> {
    if !node.has("channel_conversion") {
        return Ok(None);
    }
    let data = node.dataset("channel_conversion")?;
    let factors = data.float_vector()?;
    if factors.len() != n_channels {
        let message = format!(
            "{} factors; expected one for each of {n_channels} channels",
            factors.len()
        );
        return Err(Finding::new(&data.at, message));
    }
    Ok(Some(factors))
}
