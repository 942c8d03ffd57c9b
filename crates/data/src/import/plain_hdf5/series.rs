//! What is neither units nor trials: series of samples with their times, tables of intervals, and a list of all else.

use ndarray::{Array2, Axis, Ix1, Ix2};

use super::super::npz::SUFFIXES;
use super::super::source::{Samples, Series, SeriesRequest, Source};
use super::columns::read_table;
use super::units::{SPIKES, warn_of_unit, warn_of_whole};
use super::{SESSION_KEYS, TRIALS, UNITS, is_dataset, is_group};
use crate::error::{Finding, Findings};
use crate::h5::{Data, Found, Kind, Node};
use crate::recording::Timing;

/// Rates that differ by less than this share are the same: times are rounded and clocks drift.
const RATE_SLACK: f64 = 0.01;

/// Names that times of the samples of a group may have.
const TIMES: [&str; 6] = ["timestamps", "time", "times", "t", "time_s", "times_s"];
/// Attributes that say how many samples there are in a second.
const RATES: [&str; 3] = ["rate_hz", "sampling_rate_hz", "sampling_rate"];
/// Words of the attribute `axes` for the axis of samples.
const TIME_AXES: [&str; 6] = ["time", "times", "sample", "samples", "frame", "frames"];
/// Series in this group are known by their names alone.
const SERIES: &str = "series";
/// Most groups inside each other.
const MAX_DEPTH: usize = 16;
/// Most links that are looked at.
const MAX_LINKS: usize = 20_000;

/// Reads everything of the file but units and trials.
pub(super) fn read_rest(root: &Node, request: &SeriesRequest, source: &mut Source, findings: &mut Findings) {
    let mut rest = Rest {
        request,
        source,
        findings,
        budget: MAX_LINKS,
    };
    rest.visit(root, 0);
    if rest.budget == 0 {
        let message = format!("more than {MAX_LINKS} objects; what comes after these is not looked at");
        findings.warning("/", message);
    }
    let bare = |name: &str| name.trim_matches('/').to_owned();
    for wanted in request.names().filter(|name| source.series_named(name).is_none()) {
        if let Some(what) = source.arrays.get(&bare(wanted)) {
            let message = format!(
                "{what}: no series, because nothing says when its samples were taken (hint: a dataset 'timestamps' of as many times \
                 (s) beside it, or an attribute 'rate_hz')"
            );
            findings.problem(format!("/{}", bare(wanted)), message);
        }
    }
}

struct Rest<'a> {
    request: &'a SeriesRequest,
    source: &'a mut Source,
    findings: &'a mut Findings,
    budget: usize,
}

impl Rest<'_> {
    fn visit(&mut self, node: &Node, depth: usize) {
        let is_root = depth == 0;
        let has_spikes = is_root && is_group(node, SPIKES[0]);
        if !is_root && ["start_time", "stop_time"].iter().all(|name| is_dataset(node, name)) {
            // A table that can't be read is left out.
            let mut own = Findings::default();
            let table = read_table(node, &[], None, &mut own);
            own.warnings.append(&mut own.problems);
            self.findings.warnings.append(&mut own.warnings);
            if let Some(table) = table {
                self.source.intervals.insert(path_of(node, ""), table);
            }
            return;
        }
        for name in node.names() {
            if self.budget == 0 {
                return;
            }
            self.budget -= 1;
            let is_known = is_root
                && (SESSION_KEYS.contains(&name)
                    || (SPIKES.contains(&name) && (has_spikes || is_dataset(node, name)))
                    || ([UNITS, TRIALS].contains(&name) && is_group(node, name)));
            if is_known {
                continue;
            }
            match node.is_group(name) {
                Ok(true) if depth < MAX_DEPTH => match node.group(name) {
                    Ok(below) => self.visit(&below, depth + 1),
                    Err(finding) => self.list(node, name, finding.message),
                },
                Ok(true) => self.list(node, name, "a group too deep in others to be looked at".to_owned()),
                Ok(false) => self.dataset(node, name),
                Err(finding) => self.list(node, name, finding.message),
            }
        }
    }

    fn list(&mut self, node: &Node, name: &str, what: String) {
        self.source.arrays.insert(path_of(node, name), what);
    }

    /// A dataset is a series where something says when its samples were taken, and is listed otherwise.
    fn dataset(&mut self, node: &Node, name: &str) {
        let data = match node.look(name) {
            Ok(data) => data,
            Err(finding) => return self.list(node, name, finding.message),
        };
        let is_said = SUFFIXES
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .any(|of| node.has(of));
        if is_said {
            return;
        }
        let clock = if TIMES.contains(&name) || name.ends_with(SUFFIXES[0]) {
            Ok(None)
        } else {
            Clock::of(node, name, &data)
        };
        match clock {
            Ok(Some(clock)) => self.series(node, name, &data, &clock),
            Ok(None) => self.list(node, name, describe(&data)),
            Err(finding) => self.list(node, name, format!("{}; {finding}", describe(&data))),
        }
    }

    fn series(&mut self, node: &Node, name: &str, data: &Data, clock: &Clock) {
        let path = path_of(node, name);
        let short = match path.strip_prefix(SERIES).and_then(|rest| rest.strip_prefix('/')) {
            Some(short) => short.to_owned(),
            None => path.clone(),
        };
        let is_same = |wanted: &str| [&path, &short].iter().any(|known| *known == wanted.trim_matches('/'));
        let is_wanted = self.request.names().any(is_same);
        let found = clock.series(node, name, data, is_wanted, &mut self.findings.warnings);
        match found {
            Ok(series) => {
                self.source.series.insert(short, series);
            }
            Err(finding) if is_wanted => self.findings.problems.push(finding),
            Err(finding) => self.list(node, name, format!("{}; {finding}", describe(data))),
        }
    }
}

/// Path of a name in a group, without a slash before it.
fn path_of(node: &Node, name: &str) -> String {
    let path = if name.is_empty() {
        node.at.clone()
    } else {
        node.path_of(name)
    };
    path.trim_start_matches('/').to_owned()
}

fn describe(data: &Data) -> String {
    let kind = if data.fault().is_empty() {
        data.kind.name()
    } else {
        data.fault()
    };
    format!("shape {:?}, {kind}", data.shape)
}

/// When the samples of a dataset were taken, and along which axis they lie.
struct Clock {
    source: ClockSource,
    /// Samples along the second axis.
    is_turned: bool,
    /// Rate (Hz) and start (s) that are there besides times.
    twofold: Option<(f64, f64)>,
}

enum ClockSource {
    /// Dataset of times in the same group.
    Times(String),
    Rate {
        rate_hz: f64,
        start_s: f64,
    },
}

impl Clock {
    /// None where nothing says it, or the dataset can't be samples.
    fn of(node: &Node, name: &str, data: &Data) -> Found<Option<Self>> {
        let is_numeric = matches!(data.kind, Kind::Float | Kind::Integer | Kind::Boolean);
        if !is_numeric || !data.fault().is_empty() || !matches!(data.shape.len(), 1 | 2) {
            return Ok(None);
        }
        let is_turned = axis_of_time(data) == Some(1);
        let own_times = format!("{name}_timestamps");
        let rate = rate_of(node, name, data)?;
        if is_dataset(node, &own_times) {
            return Self::of_times(node, &own_times, data, is_turned, rate).map(Some);
        }
        // A rate of its own counts more than times of the group, these more than attributes, which may be of the recording.
        let has_own_rate = is_dataset(node, &format!("{name}{}", SUFFIXES[1]));
        for times in TIMES.iter().filter(|times| !has_own_rate && is_dataset(node, times)) {
            // Times of another length are those of others.
            if let Ok(clock) = Self::of_times(node, times, data, is_turned, rate) {
                return Ok(Some(clock));
            }
        }
        Ok(rate.map(|(rate_hz, start_s)| Self {
            source: ClockSource::Rate { rate_hz, start_s },
            is_turned,
            twofold: None,
        }))
    }

    fn of_times(node: &Node, times: &str, data: &Data, is_turned: bool, twofold: Option<(f64, f64)>) -> Found<Self> {
        let there = node.dataset(times)?;
        let n_times = there.vector_len();
        let fits = |axis: usize| n_times.is_some() && data.shape.get(axis).copied() == n_times;
        let is_turned = match (fits(0), fits(1)) {
            (true, true) => is_turned,
            (true, false) => false,
            (false, true) => true,
            (false, false) => {
                let message = format!("shape {:?} for {} of shape {:?}", there.shape, data.at, data.shape);
                return Err(Finding::new(&there.at, message));
            }
        };
        Ok(Self {
            source: ClockSource::Times(times.to_owned()),
            is_turned,
            twofold,
        })
    }

    fn series(
        &self,
        node: &Node,
        name: &str,
        data: &Data,
        is_wanted: bool,
        warnings: &mut Vec<Finding>,
    ) -> Found<Series> {
        let shape = match *data.shape {
            [rows, columns] if self.is_turned => (columns, rows),
            [rows, columns] => (rows, columns),
            _ => (data.shape.first().copied().unwrap_or(0), 1),
        };
        let channels = match data.attributes().texts("channels")? {
            Some(channels) => channels,
            None => match node.optional(&format!("{name}_channels"))? {
                Some(channels) => channels.text_vector()?,
                None => Vec::new(),
            },
        };
        if !channels.is_empty() && channels.len() != shape.1 {
            let message = format!("{} names for {} channels", channels.len(), shape.1);
            return Err(Finding::new(&data.at, message));
        }
        let samples = if is_wanted {
            if self.is_turned && axis_of_time(data) != Some(1) {
                let message = format!(
                    "shape {:?} with {} times: samples are taken along the second axis",
                    data.shape, shape.0
                );
                warnings.push(Finding::new(&data.at, message));
            }
            let timing = self.timing(node, warnings)?;
            if let (Some((rate_hz, start_s)), Timing::Timestamps(times)) = (self.twofold, &timing)
                && let Some(message) = disagreement(times, rate_hz, start_s)
            {
                warnings.push(Finding::new(&data.at, message));
            }
            Some(Samples {
                values: self.values(data)?,
                timing,
            })
        } else {
            None
        };
        Ok(Series {
            path: data.at.clone(),
            shape,
            unit: unit_of(node, name, data),
            rate_hz: match self.source {
                ClockSource::Rate { rate_hz, .. } => Some(rate_hz),
                ClockSource::Times(_) => None,
            },
            channels,
            samples,
        })
    }

    fn values(&self, data: &Data) -> Found<Array2<f32>> {
        if data.shape.len() == 1 {
            return Ok(data.floats32::<Ix1>("samples")?.insert_axis(Axis(1)));
        }
        let values = data.floats32::<Ix2>("samples and channels")?;
        if self.is_turned {
            return Ok(values.reversed_axes().as_standard_layout().into_owned());
        }
        Ok(values)
    }

    fn timing(&self, node: &Node, warnings: &mut Vec<Finding>) -> Found<Timing> {
        match &self.source {
            ClockSource::Times(times) => {
                let times = node.dataset(times)?;
                let key = "clock.traces_per_s";
                warn_of_unit(&times, key, warnings);
                if times.kind == Kind::Integer && times.vector_len().is_some_and(|n| n > 0) {
                    warn_of_whole(&times, key, warnings);
                }
                times.float_vector().map(Timing::Timestamps)
            }
            &ClockSource::Rate { rate_hz, start_s } => Ok(Timing::Rate { rate_hz, start_s }),
        }
    }
}

/// What to say where times are not those that a rate and a start make.
fn disagreement(times: &[f64], rate_hz: f64, start_s: f64) -> Option<String> {
    let (first, last) = (*times.first()?, *times.last()?);
    let own_hz = (times.len() - 1) as f64 / (last - first);
    let is_same_rate = times.len() < 2 || (own_hz / rate_hz - 1.0).abs() <= RATE_SLACK;
    if is_same_rate && (first - start_s).abs() <= 1.0 / rate_hz {
        return None;
    }
    Some(format!(
        "has times, from {first} s on at {own_hz:.6} Hz, and a rate, {rate_hz} Hz from {start_s} s on; the times count"
    ))
}

/// The axis that the attribute `axes` (such as `neuron,time`) names so.
fn axis_of_time(data: &Data) -> Option<usize> {
    let axes = data.attributes().text("axes").ok().flatten()?;
    axes.split(',')
        .position(|axis| TIME_AXES.contains(&axis.trim().to_lowercase().as_str()))
        .filter(|axis| *axis < data.shape.len())
}

/// Rate (Hz) and time of the first sample (s): of datasets, or of attributes of the dataset or of its group.
fn rate_of(node: &Node, name: &str, data: &Data) -> Found<Option<(f64, f64)>> {
    let beside = |suffix: &str| match node.optional(&format!("{name}{suffix}"))? {
        Some(data) => data.one_number(),
        None => Ok(None),
    };
    let first = |names: &[&str]| -> Found<Option<f64>> {
        for name in names {
            if let Some(number) = data.attributes().number(name)? {
                return Ok(Some(number));
            }
        }
        // An attribute of the root says nothing of one series.
        for name in names.iter().filter(|_| !node.at.is_empty()) {
            if let Some(number) = node.number_attribute(name)? {
                return Ok(Some(number));
            }
        }
        Ok(None)
    };
    let [_, rate, start, ..] = SUFFIXES;
    let Some(rate_hz) = beside(rate)?.map_or_else(|| first(&RATES), |rate_hz| Ok(Some(rate_hz)))? else {
        return Ok(None);
    };
    let start_s = beside(start)?.map_or_else(|| first(&["start_s"]), |start_s| Ok(Some(start_s)))?;
    let start_s = start_s.unwrap_or(0.0);
    if !(rate_hz.is_finite() && rate_hz > 0.0 && start_s.is_finite()) {
        let message =
            format!("samples from {start_s} s on at {rate_hz} Hz; expected a finite start and a rate above 0");
        return Err(Finding::new(&data.at, message));
    }
    Ok(Some((rate_hz, start_s)))
}

/// Unit of samples, empty where nothing is said.
fn unit_of(node: &Node, name: &str, data: &Data) -> String {
    let attribute = |name| data.attributes().text(name).ok().flatten();
    let beside = || {
        node.optional(&format!("{name}_unit"))
            .ok()
            .flatten()?
            .one_text()
            .ok()
            .flatten()
    };
    attribute("unit")
        .or_else(|| attribute("units"))
        .or_else(beside)
        .unwrap_or_default()
}
