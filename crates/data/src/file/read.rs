//! Reading: structure first, then sense; every problem of both is reported together.

use std::collections::BTreeMap;
use std::path::Path;

use super::{FORMAT, VERSION};
use crate::error::{DataError, Finding, Findings};
use crate::h5::{self, Data, Found, Node};
use crate::recording::{
    Activity, Behaviour, BehaviourSamples, CellType, Recording, Session, StimulusMovies, Timing, Trial, Unit,
};
use crate::validate::{check, refuse_problems};

/// Reads a native recording file and checks it. Warnings are dropped; see [`read_with_warnings`].
///
/// Allocates O(spikes), or O(K·T·N) where activity is stored binned.
///
/// # Errors
/// [`DataError::Fs`], [`DataError::NotHdf5`], [`DataError::NotARecording`], [`DataError::TooNew`], or
/// [`DataError::Invalid`] with every problem of the content.
pub fn read(path: &Path) -> Result<Recording, DataError> {
    read_with_warnings(path).map(|(recording, _)| recording)
}

/// As [`read`], with the warnings of the check.
///
/// # Errors
/// As [`read`].
pub fn read_with_warnings(path: &Path) -> Result<(Recording, Vec<Finding>), DataError> {
    let subject = path.display().to_string();
    let as_invalid = |finding| DataError::Invalid {
        subject: subject.clone(),
        problems: vec![finding],
    };
    let file = h5::open(path)?;
    let root = Node::root(&file).map_err(as_invalid)?;
    check_header(path, &root, as_invalid)?;
    let mut findings = Findings::default();
    let recording = read_sessions(&root, &mut findings);
    let has_all_sessions = findings.problems.is_empty();
    let mut sense = check(&recording);
    if !has_all_sessions && recording.sessions.is_empty() {
        // That there is no session is then a consequence, not a second problem.
        sense.problems.clear();
    }
    findings.problems.append(&mut sense.problems);
    refuse_problems(subject, findings.problems)?;
    Ok((recording, sense.warnings))
}

fn check_header(path: &Path, root: &Node, as_invalid: impl Fn(Finding) -> DataError) -> Result<(), DataError> {
    let not_ours = |found: String| DataError::NotARecording {
        path: path.to_path_buf(),
        found,
        expected: FORMAT,
    };
    match root.text_attribute("format") {
        Ok(Some(format)) if format == FORMAT => {}
        Ok(Some(format)) => return Err(not_ours(format!("is \"{}\"", format.escape_debug()))),
        Ok(None) => return Err(not_ours("is missing".to_owned())),
        Err(finding) => return Err(not_ours(format!("is not readable ({})", finding.message))),
    }
    let version = root.integer_attribute("version").map_err(&as_invalid)?;
    match version {
        Some(version) if version > VERSION => Err(DataError::TooNew {
            path: path.to_path_buf(),
            found: version,
            known: VERSION,
        }),
        Some(VERSION) => Ok(()),
        Some(version) => Err(as_invalid(Finding::new(
            "/ (attribute version)",
            format!("version {version}; versions start at 1"),
        ))),
        None => Err(as_invalid(Finding::new(
            "/ (attribute version)",
            "the attribute is missing",
        ))),
    }
}

fn read_sessions(root: &Node, findings: &mut Findings) -> Recording {
    let Some(parent) = findings.keep(root.group("sessions")) else {
        return Recording::default();
    };
    let mut sessions = Vec::new();
    for name in parent.names() {
        let Some(node) = findings.keep(parent.group(name)) else {
            continue;
        };
        let rank = findings.keep(node.integer_attribute("index")).flatten();
        if let Some(session) = read_session(name, &node, findings) {
            sessions.push((rank.unwrap_or(i64::MAX), session));
        }
    }
    // Stable: sessions without an index stay in the order of their names.
    sessions.sort_by_key(|(rank, _)| *rank);
    Recording {
        sessions: sessions.into_iter().map(|(_, session)| session).collect(),
    }
}

fn read_session(id: &str, node: &Node, findings: &mut Findings) -> Option<Session> {
    let units_node = findings.keep(node.group("units"));
    let units = units_node.as_ref().and_then(|units| read_units(units, findings));
    let trials = findings
        .keep(node.group("trials"))
        .and_then(|trials| read_trials(&trials, findings));
    let behaviour = read_behaviours(node, findings);
    let stimulus = findings.keep(read_movies(node));
    let activity = match units_node {
        _ if node.has("binned") => findings
            .keep(node.group("binned"))
            .and_then(|binned| findings.keep(read_binned(&binned))),
        Some(units_node) if units_node.has("spike_times") => {
            let times = read_spike_times(&units_node);
            findings.keep(times).and_then(|times_s| {
                let observed = observed_interval(node, &times_s, trials.as_deref());
                findings
                    .keep(observed)
                    .map(|observed_s| Activity::SpikeTimes { times_s, observed_s })
            })
        }
        Some(_) => {
            findings.problem(
                &node.at,
                "no spikes: neither 'units/spike_times' nor 'binned/spikes' is there",
            );
            None
        }
        None => None,
    };
    Some(Session {
        id: id.to_owned(),
        units: units?,
        trials: trials?,
        behaviour: behaviour?,
        stimulus: stimulus?,
        activity: activity?,
    })
}

/// Columns of a table; all must have as many rows as the first one.
struct Table<'a> {
    node: &'a Node,
    n_rows: Option<(usize, String)>,
}

impl Table<'_> {
    fn column<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Data) -> Found<Vec<T>>,
        findings: &mut Findings,
    ) -> Option<Vec<T>> {
        let data = findings.keep(self.node.dataset(name))?;
        let values = findings.keep(read(&data))?;
        let (n_rows, first) = self.n_rows.get_or_insert_with(|| (values.len(), data.at.clone()));
        if values.len() == *n_rows {
            return Some(values);
        }
        let message = format!("{} rows, but '{first}' has {n_rows}", values.len());
        findings.problem(data.at, message);
        None
    }

    /// An empty list where there is no such column.
    fn optional<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Data) -> Found<Vec<T>>,
        findings: &mut Findings,
    ) -> Option<Vec<T>> {
        if self.node.has(name) {
            self.column(name, read, findings)
        } else {
            Some(Vec::new())
        }
    }
}

fn read_units(node: &Node, findings: &mut Findings) -> Option<Vec<Unit>> {
    let mut table = Table { node, n_rows: None };
    let ids = table.column("id", Data::texts_1d, findings);
    let areas = table.column("area", Data::texts_1d, findings);
    let types = table.column("cell_type", Data::texts_1d, findings);
    let rates = table.optional("firing_rate", Data::floats_1d, findings);
    let cell_types = types.and_then(|names| read_cell_types(&names, node, findings));
    let (ids, areas, cell_types, rates) = (ids?, areas?, cell_types?, rates?);
    let rows = ids.into_iter().zip(areas).zip(cell_types).enumerate();
    Some(
        rows.map(|(n, ((id, area), cell_type))| Unit {
            id,
            area,
            cell_type,
            firing_rate_hz: rates.get(n).copied().filter(|rate| !rate.is_nan()),
        })
        .collect(),
    )
}

fn read_cell_types(names: &[String], node: &Node, findings: &mut Findings) -> Option<Vec<CellType>> {
    let mut is_complete = true;
    let mut cell_types = Vec::with_capacity(names.len());
    for (n, name) in names.iter().enumerate() {
        if let Some(cell_type) = CellType::from_name(name) {
            cell_types.push(cell_type);
        } else {
            is_complete = false;
            findings.problem(
                format!("{}, unit {n}", node.path_of("cell_type")),
                format!(
                    "unknown cell type '{}'; expected 'excitatory', 'inhibitory' or 'unknown'",
                    name.escape_debug()
                ),
            );
        }
    }
    is_complete.then_some(cell_types)
}

fn read_trials(node: &Node, findings: &mut Findings) -> Option<Vec<Trial>> {
    let mut table = Table { node, n_rows: None };
    let start = table.column("start_time", Data::floats_1d, findings);
    let stop = table.column("stop_time", Data::floats_1d, findings);
    let align = table.column("align_time", Data::floats_1d, findings);
    let stimulus = table.column("stimulus", Data::floats_1d, findings);
    let trial_type = table.column("trial_type", Data::texts_1d, findings);
    let movie = table.optional("movie", Data::integers_1d, findings);
    let valid = table.optional("valid_bins", Data::integers_1d, findings);
    let movie = optional_indices(movie?, &node.path_of("movie"), findings);
    let valid = optional_indices(valid?, &node.path_of("valid_bins"), findings);
    let (start, stop, align) = (start?, stop?, align?);
    let (stimulus, trial_type) = (stimulus?, trial_type?);
    let (movie, valid) = (movie?, valid?);
    let rows = start.into_iter().zip(stop).zip(align);
    let rows = rows.zip(stimulus).zip(trial_type).enumerate();
    Some(
        rows.map(|(k, ((((start_s, stop_s), align_s), stimulus), trial_type))| Trial {
            start_s,
            stop_s,
            align_s,
            stimulus,
            trial_type,
            movie: movie.get(k).copied().flatten(),
            valid_bins: valid.get(k).copied().flatten(),
        })
        .collect(),
    )
}

/// Indices of which −1 means "none"; an empty list where the column is missing.
fn optional_indices(column: Vec<i64>, at: &str, findings: &mut Findings) -> Option<Vec<Option<usize>>> {
    let mut indices = Vec::new();
    for (k, value) in column.into_iter().enumerate() {
        match usize::try_from(value) {
            Ok(index) => indices.push(Some(index)),
            Err(_) if value == -1 => indices.push(None),
            Err(_) => {
                findings.problem(
                    format!("{at}, trial {k}"),
                    format!("{value}; expected a number ≥ 0, or -1 for none"),
                );
                return None;
            }
        }
    }
    Some(indices)
}

/// Ragged spike times as in NWB: unit n has the spikes from the index of unit n − 1 up to its own.
fn read_spike_times(units: &Node) -> Found<Vec<Vec<f64>>> {
    let times = units.dataset("spike_times")?.floats_1d()?;
    let ends = units.dataset("spike_times_index")?;
    let at = ends.at.clone();
    let mut trains = Vec::new();
    let mut first = 0;
    for (n, end) in ends.integers_1d()?.into_iter().enumerate() {
        let train = usize::try_from(end).ok().and_then(|end| {
            let train = times.get(first..end)?;
            first = end;
            Some(train.to_vec())
        });
        let message = || format!("ends at {end}; expected a number from {first} to {}", times.len());
        trains.push(train.ok_or_else(|| Finding::new(format!("{at}, unit {n}"), message()))?);
    }
    if first != times.len() {
        let message = format!("ends at {first}, but there are {} spike times", times.len());
        return Err(Finding::new(at, message));
    }
    Ok(trains)
}

/// The stored interval, or from the first to the last thing known.
fn observed_interval(node: &Node, times_s: &[Vec<f64>], trials: Option<&[Trial]>) -> Found<(f64, f64)> {
    let trials = trials.unwrap_or(&[]);
    let spikes = || times_s.iter().flatten().copied();
    let first = trials.iter().map(|t| t.start_s).chain(spikes());
    let first = first.fold(f64::INFINITY, f64::min);
    let last = trials.iter().map(|t| t.stop_s).chain(spikes());
    let last = last.fold(f64::NEG_INFINITY, f64::max);
    let start = node.number_attribute("observed_start_s")?;
    let stop = node.number_attribute("observed_stop_s")?;
    Ok((start.unwrap_or(first), stop.unwrap_or(last)))
}

fn read_binned(node: &Node) -> Found<Activity> {
    let spikes = node.dataset("spikes")?;
    let at = spikes.at.clone();
    let counts = spikes.counts_3d(|index| {
        let message = format!("the value at {index:?} is NaN; mark missing bins with 'valid_bins'");
        Err(Finding::new(&at, message))
    })?;
    Ok(Activity::Binned {
        counts,
        bin_ms: node.required_number("bin_ms")?,
        start_ms: node.required_number("start_ms")?,
    })
}

fn read_behaviours(session: &Node, findings: &mut Findings) -> Option<BTreeMap<String, Behaviour>> {
    let mut behaviours = BTreeMap::new();
    if !session.has("behaviour") {
        return Some(behaviours);
    }
    let parent = findings.keep(session.group("behaviour"))?;
    let mut is_complete = true;
    for name in parent.names() {
        let behaviour = parent.group(name).and_then(|node| read_behaviour(&node));
        match findings.keep(behaviour) {
            Some(behaviour) => {
                behaviours.insert(name.to_owned(), behaviour);
            }
            None => is_complete = false,
        }
    }
    is_complete.then_some(behaviours)
}

fn read_behaviour(node: &Node) -> Found<Behaviour> {
    let data = node.dataset("data")?;
    let samples = if data.shape.len() == 2 {
        BehaviourSamples::PerBin(data.floats32("trials and bins")?)
    } else {
        let timing = if let Some(times) = node.optional("timestamps")? {
            Timing::Timestamps(times.floats_1d()?)
        } else {
            let rate = node.number_attribute("rate_hz")?;
            Timing::Rate {
                rate_hz: rate.ok_or_else(|| {
                    let message =
                        "neither a dataset 'timestamps' nor an attribute 'rate_hz' says when the samples were taken";
                    Finding::new(&node.at, message)
                })?,
                start_s: node.number_attribute("start_s")?.unwrap_or(0.0),
            }
        };
        BehaviourSamples::Continuous {
            values: data.floats32_1d()?,
            timing,
        }
    };
    Ok(Behaviour {
        samples,
        unit: node.text_attribute("unit")?.unwrap_or_default(),
    })
}

fn read_movies(session: &Node) -> Found<Option<StimulusMovies>> {
    if !session.has("stimulus") {
        return Ok(None);
    }
    let node = session.group("stimulus")?;
    Ok(Some(StimulusMovies {
        values: node.dataset("movies")?.floats32("movies, bins and channels")?,
        bin_ms: node.required_number("bin_ms")?,
        start_ms: node.required_number("start_ms")?,
    }))
}
