//! Reading: the structure of each session, then the sense of what could be read of it; every problem of
//! both is reported together.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array2, Array3};

use super::tables::{TrialTable, UnitTable};
use super::{FORMAT, VERSION};
use crate::error::{DataError, Finding, Findings};
use crate::h5::{self, Found, Node};
use crate::presence::Stretches;
use crate::recording::{Activity, Behaviour, BehaviourSamples, Recording, Session, StimulusMovies, Timing};
use crate::trial_events::{self, TrialEvents};
use crate::validate::{ActivityParts, Parts, bad_name, check_parts, refuse_problems};

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
    let (recording, findings) = read_sessions(&root);
    refuse_problems(subject, findings.problems)?;
    Ok((recording, findings.warnings))
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

fn read_sessions(root: &Node) -> (Recording, Findings) {
    let mut findings = Findings::default();
    let mut recording = Recording::default();
    let Some(parent) = findings.keep(root.group("sessions")) else {
        return (recording, findings);
    };
    let mut sessions = Vec::new();
    for name in parent.names() {
        let mut found = Findings::default();
        let mut rank = None;
        let mut session = None;
        if let Some(node) = found.keep(parent.group(name)) {
            rank = found.keep(node.integer_attribute("index")).flatten();
            session = read_session(name, &node, &mut found);
        }
        sessions.push((rank.unwrap_or(i64::MAX), session, found));
    }
    if sessions.is_empty() {
        findings.problem("/sessions", "the recording has no session");
    }
    // Stable: sessions without an index stay in the order of their names.
    sessions.sort_by_key(|(rank, ..)| *rank);
    for (_, session, mut found) in sessions {
        findings.problems.append(&mut found.problems);
        findings.warnings.append(&mut found.warnings);
        recording.sessions.extend(session);
    }
    (recording, findings)
}

/// A session, and all its problems: what could be read is checked, whatever else could not.
fn read_session(id: &str, node: &Node, findings: &mut Findings) -> Option<Session> {
    if let Some(reason) = bad_name(id) {
        findings.problem(&node.at, format!("the session name {reason}"));
    }
    let units_node = findings.keep(node.group("units"));
    let trials_node = findings.keep(node.group("trials"));
    let units = units_node.as_ref().map(|units| UnitTable::read(units, findings));
    let trials = trials_node.as_ref().map(|trials| TrialTable::read(trials, findings));
    let events = trials_node.as_ref().map(|trials| read_events(trials, findings));
    let activity = read_activity(node, units_node.as_ref(), trials.as_ref(), findings);
    let (behaviour, has_all_behaviours) = read_behaviours(node, findings);
    let stimulus = findings.keep(read_movies(node));
    let parts = Parts {
        units: units.as_ref().and_then(UnitTable::columns),
        trials: trials.as_ref().and_then(TrialTable::columns),
        events: events.as_ref().map(|(events, _)| events),
        activity: activity.as_ref().map(StoredActivity::parts),
        behaviour: behaviour.iter().map(|(name, b)| (name.as_str(), b)).collect(),
        movies: stimulus.as_ref().and_then(Option::as_ref),
        n_movies: stimulus
            .as_ref()
            .map(|movies| movies.as_ref().map_or(0, StimulusMovies::len)),
    };
    check_parts(&parts, &node.at, findings);
    let (events, has_all_events) = events?;
    Some(Session {
        id: id.to_owned(),
        units: units?.into_units()?,
        trials: trials?.into_trials()?,
        events: has_all_events.then_some(events)?,
        behaviour: has_all_behaviours.then_some(behaviour)?,
        stimulus: stimulus?,
        activity: activity?.into_activity()?,
    })
}

/// All events and values of trials that can be read, and whether these are all.
fn read_events(trials: &Node, findings: &mut Findings) -> (TrialEvents, bool) {
    let mut events = TrialEvents::default();
    let mut is_complete = true;
    for (kind, columns) in [("events", &mut events.times_s), ("values", &mut events.values)] {
        if !trials.has(kind) {
            continue;
        }
        let Some(parent) = findings.keep(trials.group(kind)) else {
            is_complete = false;
            continue;
        };
        for name in parent.names() {
            let column = parent.dataset(name).and_then(|data| data.floats_1d());
            match findings.keep(column) {
                Some(column) => {
                    columns.insert(name.to_owned(), trial_events::known(column));
                }
                None => is_complete = false,
            }
        }
    }
    (events, is_complete)
}

/// Spikes, of which single attributes may be unreadable.
enum StoredActivity {
    SpikeTimes {
        times_s: Vec<Vec<f64>>,
        observed_s: Option<(f64, f64)>,
        /// Also `None` where it is there and can't be read, which is a problem of its own.
        unit_observed_s: Option<Vec<Stretches>>,
    },
    Binned {
        counts: Array3<u8>,
        bin_ms: Option<f64>,
        start_ms: Option<f64>,
        /// As `unit_observed_s`.
        presence: Option<Array2<bool>>,
    },
}

impl StoredActivity {
    fn parts(&self) -> ActivityParts<'_> {
        match self {
            Self::SpikeTimes {
                times_s,
                observed_s,
                unit_observed_s,
            } => ActivityParts::SpikeTimes {
                times_s,
                observed_s: *observed_s,
                unit_observed_s: unit_observed_s.as_deref(),
            },
            Self::Binned {
                counts,
                bin_ms,
                start_ms,
                presence,
            } => ActivityParts::Binned {
                counts,
                bin_ms: *bin_ms,
                start_ms: *start_ms,
                presence: presence.as_ref(),
            },
        }
    }

    fn into_activity(self) -> Option<Activity> {
        Some(match self {
            Self::SpikeTimes {
                times_s,
                observed_s,
                unit_observed_s,
            } => Activity::SpikeTimes {
                times_s,
                observed_s: observed_s?,
                unit_observed_s,
            },
            Self::Binned {
                counts,
                bin_ms,
                start_ms,
                presence,
            } => Activity::Binned {
                counts,
                bin_ms: bin_ms?,
                start_ms: start_ms?,
                presence,
            },
        })
    }
}

fn read_activity(
    node: &Node,
    units: Option<&Node>,
    trials: Option<&TrialTable>,
    findings: &mut Findings,
) -> Option<StoredActivity> {
    if node.has("binned") {
        let binned = findings.keep(node.group("binned"))?;
        let counts = findings.keep(read_counts(&binned));
        let bin_ms = findings.keep(binned.required_number("bin_ms"));
        let start_ms = findings.keep(binned.required_number("start_ms"));
        let presence = findings.keep(read_presence(&binned)).flatten();
        if let Some(units) = units.filter(|units| units.has("obs_intervals")) {
            findings.warning(
                format!("{}/obs_intervals", units.at),
                "not read: of counts, 'binned/presence' says in which trials each unit was observed",
            );
        }
        return Some(StoredActivity::Binned {
            counts: counts?,
            bin_ms,
            start_ms,
            presence,
        });
    }
    let units = units?;
    if !units.has("spike_times") {
        findings.problem(
            &node.at,
            "no spikes: neither 'units/spike_times' nor 'binned/spikes' is there",
        );
        return None;
    }
    let times_s = findings.keep(read_spike_times(units));
    let observed_s = findings.keep(observed_interval(node, times_s.as_deref(), trials));
    let unit_observed_s = findings.keep(read_unit_observed(units)).flatten();
    Some(StoredActivity::SpikeTimes {
        times_s: times_s?,
        observed_s: observed_s.flatten(),
        unit_observed_s,
    })
}

/// Ragged stretches in which units were observed, as in NWB.
fn read_unit_observed(units: &Node) -> Found<Option<Vec<Stretches>>> {
    let Some(data) = units.optional("obs_intervals")? else {
        if units.has("obs_intervals_index") {
            let at = format!("{}/obs_intervals_index", units.at);
            return Err(Finding::new(
                at,
                "there is no 'obs_intervals' that it could be the index of",
            ));
        }
        return Ok(None);
    };
    let values: Array2<f64> = data.floats("intervals, and their start and stop")?;
    if values.ncols() != 2 {
        let message = format!("shape {:?}; expected [intervals, 2]: start and stop", data.shape);
        return Err(Finding::new(&data.at, message));
    }
    let intervals: Vec<(f64, f64)> = values.outer_iter().map(|row| (row[0], row[1])).collect();
    ragged(units, "obs_intervals_index", &intervals, "intervals").map(Some)
}

/// Whether units were observed in trials, `[K, N]`.
fn read_presence(binned: &Node) -> Found<Option<Array2<bool>>> {
    let Some(data) = binned.optional("presence")? else {
        return Ok(None);
    };
    data.flags("trials and units").map(Some)
}

/// Ragged spike times as in NWB: unit n has the spikes from the index of unit n − 1 up to its own.
fn read_spike_times(units: &Node) -> Found<Vec<Vec<f64>>> {
    let times = units.dataset("spike_times")?.floats_1d()?;
    ragged(units, "spike_times_index", &times, "spike times")
}

/// Values of each unit, by the ends that an index has.
fn ragged<T: Clone>(units: &Node, index: &str, values: &[T], what: &str) -> Found<Vec<Vec<T>>> {
    let ends = units.dataset(index)?;
    let at = ends.at.clone();
    let mut rows = Vec::new();
    let mut first = 0;
    for (n, end) in ends.integers_1d()?.into_iter().enumerate() {
        let row = usize::try_from(end).ok().and_then(|end| {
            let row = values.get(first..end)?;
            first = end;
            Some(row.to_vec())
        });
        let message = || format!("ends at {end}; expected a number from {first} to {}", values.len());
        rows.push(row.ok_or_else(|| Finding::new(format!("{at}, unit {n}"), message()))?);
    }
    if first != values.len() {
        let message = format!("ends at {first}, but there are {} {what}", values.len());
        return Err(Finding::new(at, message));
    }
    Ok(rows)
}

/// The stored interval, or from the first to the last thing known; `None` where nothing is.
fn observed_interval(
    node: &Node,
    times_s: Option<&[Vec<f64>]>,
    trials: Option<&TrialTable>,
) -> Found<Option<(f64, f64)>> {
    let spikes = || times_s.into_iter().flatten().flatten().copied();
    let edges = |column: fn(&TrialTable) -> Option<&Vec<f64>>| trials.and_then(column).into_iter().flatten().copied();
    // Times that are not finite are reported as such.
    let first = edges(|t| t.start_s.as_ref()).chain(spikes()).filter(|t| t.is_finite());
    let last = edges(|t| t.stop_s.as_ref()).chain(spikes()).filter(|t| t.is_finite());
    let start = node
        .number_attribute("observed_start_s")?
        .or_else(|| first.reduce(f64::min));
    let stop = node
        .number_attribute("observed_stop_s")?
        .or_else(|| last.reduce(f64::max));
    Ok(start.zip(stop))
}

fn read_counts(node: &Node) -> Found<Array3<u8>> {
    let spikes = node.dataset("spikes")?;
    let at = spikes.at.clone();
    spikes.counts_3d(|index| {
        let message = format!("the value at {index:?} is NaN; mark missing bins with 'valid_bins'");
        Err(Finding::new(&at, message))
    })
}

/// All behaviours that can be read, and whether these are all.
fn read_behaviours(session: &Node, findings: &mut Findings) -> (BTreeMap<String, Behaviour>, bool) {
    let mut behaviours = BTreeMap::new();
    if !session.has("behaviour") {
        return (behaviours, true);
    }
    let Some(parent) = findings.keep(session.group("behaviour")) else {
        return (behaviours, false);
    };
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
    (behaviours, is_complete)
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
