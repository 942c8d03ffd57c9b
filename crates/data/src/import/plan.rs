//! What is chosen from a source, and how it becomes a session: trials and their event, units, areas, cell types, behaviour.
//!
//! One plan serves all formats and many files. It never chooses silently: each step is counted in an [`ImportReport`].

mod across;
mod behaviour;
mod clock;
mod others;
mod relative;
mod report;
mod rows;
mod sense;
mod silence;
pub(crate) mod trials;
mod units;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::expression::Expression;
use super::source::Source;
use super::table::Table;
use crate::error::{DataError, Finding, Findings};
use crate::recording::{Activity, Recording, Session};
use crate::validate::{bad_name, check, refuse_problems};
pub use report::{AreaReport, ImportReport, RuleReport, Selection, SessionReport};
pub(crate) use units::NAME_COLUMN;

/// A message lists so many arrays.
const SHOWN_ARRAYS: usize = 20;
/// It shows so many letters of a text.
const SHOWN_LETTERS: usize = 40;

/// What an import takes from files. Every text that is an expression ([`Expression`]) may be the name of a column.
///
/// ```toml
/// schema = 1
/// [trials]
/// align_to = "stimOn_times"
/// window_s = [-0.5, 1.5]
/// filter = "choice != 0 && !missing(stimOn_times)"
/// stimulus = "coalesce(contrastRight, 0) - coalesce(contrastLeft, 0)"
/// events = { go_cue = "goCue_times", end = "feedback_times" }
/// values = { contrast = "coalesce(contrastRight, 0)" }
/// types = [{ name = "hit", when = "go && licked" }, { name = "miss", when = "go && !licked" }]
/// [units]
/// filter = "isi_violations < 0.5 && presence_ratio > 0.9 && amplitude_cutoff < 0.1"
/// area = "electrodes.location"
/// [units.areas]
/// V1 = ["VISp*"]
/// [units.waveform]
/// value = "spike_width_ms"
/// narrow_below = 0.4
/// wide_above = 0.5
/// [units.cell_type]
/// inhibitory = "optotagged"
/// [behaviour.jaw]
/// series = "processing/behavior/jaw"
/// channel = 1
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImportPlan {
    /// Version of this form: 1.
    pub schema: Option<u32>,
    /// Clocks of the file, where they are not in s.
    pub clock: ClockPlan,
    /// Trials.
    pub trials: TrialsPlan,
    /// Units.
    pub units: UnitsPlan,
    /// Behaviour traces, by the name that they get.
    pub behaviour: BTreeMap<String, BehaviourPlan>,
}

/// What one unit of the file's times is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClockPlan {
    /// Spike times per second, such as 1000 for ms or 30000 for samples. Default: 1.
    pub spikes_per_s: Option<f64>,
    /// Times of trials and events per second. Default: 1.
    pub trials_per_s: Option<f64>,
    /// Added to all times, of spikes, trials, events and traces (s): a recording has none below 0.
    pub offset_s: Option<f64>,
    /// Added to spike times besides (s): their clock is not that of the trials.
    pub spikes_offset_s: Option<f64>,
    /// Times of samples of behaviour per second. Default: 1. Rates of samples stay Hz.
    pub traces_per_s: Option<f64>,
    /// Added to times of samples besides (s): their clock is not that of the trials.
    pub traces_offset_s: Option<f64>,
    /// From when to when spikes were recorded (s, with the offset), where the file doesn't say it.
    pub observed_s: Option<[f64; 2]>,
}

/// Which trials are taken, and what they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrialsPlan {
    /// Table of intervals that trials are taken from. Default: the file's trials.
    pub table: Option<String>,
    /// Cuts the recording (or, with `table`, each of its rows) into trials of this length (s) instead.
    pub every_s: Option<f64>,
    /// Start of a trial. Default: `start_time`.
    pub start: Option<String>,
    /// End of a trial. Default: `stop_time`; with `window_s`, the end of the window, and this where it is earlier.
    pub stop: Option<String>,
    /// The event that bins are counted from. Default: `align_time` where that column has numbers, else the start.
    pub align_to: Option<String>,
    /// Part of the recording that a trial is, from and to (s) relative to the event. Default: from its start to its stop.
    pub window_s: Option<[f64; 2]>,
    /// Whether most trials may share most of their time with an earlier one, as windows that slide do. Default: false.
    pub overlap: Option<bool>,
    /// Whether most events may lie outside of their rows, where trials are made from the event and a window, as responses after the
    /// end of a row do. Default: false.
    pub outside: Option<bool>,
    /// Condition of the trials that are taken.
    pub filter: Option<String>,
    /// Value of the stimulus, a number. Default: `stimulus` where that column has numbers, else 1 where trials are aligned to an
    /// event (it happened), else 0.
    pub stimulus: Option<String>,
    /// Label of a trial, such as the name of a column. Default: `trial_type` where there is such a column, else `trial`.
    #[serde(rename = "type")]
    pub trial_type: Option<String>,
    /// Labels by condition, the first that holds; trials of none are left out.
    pub types: Vec<TypeRule>,
    /// Further events of trials, such as a cue: name and time. Default: columns `event_NAME` with numbers.
    pub events: BTreeMap<String, String>,
    /// Numbers that go with events, such as a contrast: name and value. Default: columns `value_NAME` with numbers.
    pub values: BTreeMap<String, String>,
}

/// A label and its condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeRule {
    /// The label.
    pub name: String,
    /// Condition over the columns of trials.
    pub when: String,
}

/// Which units are taken, and what they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UnitsPlan {
    /// Condition of the units that are taken.
    pub filter: Option<String>,
    /// Name of a unit. Default: `unit_name` where that column tells all units apart, else the file's.
    pub id: Option<String>,
    /// Rate (Hz) that the sorter found. Default: `firing_rate` where there is such a column.
    pub firing_rate: Option<String>,
    /// Area of a unit. Default: the first column of a usual name; `"'V1'"` gives all units the same.
    pub area: Option<String>,
    /// Areas that are put together: new name, and patterns (`*`, `?`) of the file's names.
    pub areas: BTreeMap<String, Vec<String>>,
    /// Whether areas that `areas` doesn't name are kept. Default: true.
    pub other_areas: Option<bool>,
    /// Cell types by condition or column.
    pub cell_type: CellTypePlan,
    /// Cell types by the width of the waveform.
    pub waveform: Option<WaveformPlan>,
}

/// Cell types; conditions come before the waveform, and that before the column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CellTypePlan {
    /// Column of type names. Default: `cell_type` where there is such a column.
    pub column: Option<String>,
    /// Condition of excitatory units.
    pub excitatory: Option<String>,
    /// Condition of inhibitory units, such as those that light tagged.
    pub inhibitory: Option<String>,
}

/// Narrow waveforms are inhibitory, wide ones excitatory, what lies between is unknown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaveformPlan {
    /// Trough-to-peak time or half-width, in the unit of the file.
    pub value: String,
    /// Units below it are inhibitory.
    pub narrow_below: f64,
    /// Units above it are excitatory. Default: `narrow_below`.
    pub wide_above: Option<f64>,
}

/// Where a behaviour trace comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BehaviourPlan {
    /// Series of the file, by name or path.
    pub series: String,
    /// Its channel, by number (from 0) or name. Default: the only one.
    #[serde(default)]
    pub channel: Option<Channel>,
}

/// A channel of a series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Channel {
    /// From 0.
    Number(usize),
    /// By name.
    Name(String),
}

impl ImportPlan {
    /// Reads the TOML form; `subject` names it in errors, usually a path.
    ///
    /// # Errors
    /// [`DataError::Parse`] with line and column, or with every value out of range and every expression that can't be read.
    pub fn from_toml(subject: &str, text: &str) -> Result<Self, DataError> {
        let fail = |message: String| DataError::Parse {
            subject: subject.to_owned(),
            message,
        };
        let plan: Self = toml::from_str(text).map_err(|error| fail(error.to_string().trim_end().to_owned()))?;
        plan.check().map_err(|problems| fail(problems.join("; ")))?;
        Ok(plan)
    }

    /// Whether values are in range and expressions can be read, without a file.
    ///
    /// # Errors
    /// Every fault, with its key.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let mut problems = Vec::new();
        if let Some(schema) = self.schema.filter(|schema| *schema != 1) {
            problems.push(format!("schema is {schema}; this program reads 1"));
        }
        let positive = [
            ("clock.spikes_per_s", self.clock.spikes_per_s),
            ("clock.trials_per_s", self.clock.trials_per_s),
            ("clock.traces_per_s", self.clock.traces_per_s),
            ("trials.every_s", self.trials.every_s),
        ];
        for (key, value) in positive {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value > 0.0)) {
                problems.push(format!("{key} is {value}; expected a number > 0"));
            }
        }
        let offsets = [
            ("clock.offset_s", self.clock.offset_s),
            ("clock.spikes_offset_s", self.clock.spikes_offset_s),
            ("clock.traces_offset_s", self.clock.traces_offset_s),
        ];
        for (key, value) in offsets {
            if let Some(value) = value.filter(|value| !value.is_finite()) {
                problems.push(format!("{key} is {value}; expected a finite number"));
            }
        }
        for (key, interval) in [
            ("trials.window_s", self.trials.window_s),
            ("clock.observed_s", self.clock.observed_s),
        ] {
            if let Some([from, to]) = interval
                && !(from.is_finite() && to.is_finite() && from < to)
            {
                problems.push(format!(
                    "{key} is [{from}, {to}]; expected two times, the earlier first"
                ));
            }
        }
        if let Some(waveform) = &self.units.waveform {
            let (narrow, wide) = (
                waveform.narrow_below,
                waveform.wide_above.unwrap_or(waveform.narrow_below),
            );
            if !(narrow.is_finite() && wide.is_finite() && narrow <= wide) {
                let expected = "expected narrow_below ≤ wide_above";
                problems.push(format!(
                    "units.waveform: narrow_below {narrow}, wide_above {wide}; {expected}"
                ));
            }
        }
        if self.trials.every_s.is_some() {
            let also = [
                ("trials.align_to", self.trials.align_to.is_some()),
                ("trials.window_s", self.trials.window_s.is_some()),
                ("trials.start", self.trials.start.is_some()),
                ("trials.stop", self.trials.stop.is_some()),
            ];
            for (key, _) in also.into_iter().filter(|(_, given)| *given) {
                problems.push(format!(
                    "{key} has no meaning beside trials.every_s (--every-s), which makes trials of equal length"
                ));
            }
        }
        if self.trials.trial_type.is_some() && !self.trials.types.is_empty() {
            problems.push("trials.type and trials.types both say what label a trial gets; give one".to_owned());
        }
        for (key, columns) in [("events", &self.trials.events), ("values", &self.trials.values)] {
            for name in columns.keys() {
                if let Some(reason) = bad_name(name) {
                    problems.push(format!("trials.{key}.{name}: the name {reason}"));
                }
            }
        }
        for (key, text) in self.expressions() {
            if let Err(error) = Expression::parse(text) {
                problems.push(format!("{key}: {error}"));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Every expression and its key.
    fn expressions(&self) -> Vec<(String, &str)> {
        let (trials, units) = (&self.trials, &self.units);
        let optional = [
            ("trials.start", &trials.start),
            ("trials.stop", &trials.stop),
            ("trials.align_to", &trials.align_to),
            ("trials.filter", &trials.filter),
            ("trials.stimulus", &trials.stimulus),
            ("trials.type", &trials.trial_type),
            ("units.filter", &units.filter),
            ("units.id", &units.id),
            ("units.firing_rate", &units.firing_rate),
            ("units.area", &units.area),
            ("units.cell_type.excitatory", &units.cell_type.excitatory),
            ("units.cell_type.inhibitory", &units.cell_type.inhibitory),
        ];
        let mut all: Vec<(String, &str)> = optional
            .into_iter()
            .filter_map(|(key, text)| Some((key.to_owned(), text.as_deref()?)))
            .collect();
        all.extend(
            units
                .waveform
                .iter()
                .map(|w| ("units.waveform.value".to_owned(), w.value.as_str())),
        );
        let types = trials.types.iter().enumerate();
        all.extend(types.map(|(i, rule)| (format!("trials.types[{i}].when"), rule.when.as_str())));
        for (key, columns) in [("events", &trials.events), ("values", &trials.values)] {
            let columns = columns.iter();
            all.extend(columns.map(|(name, text)| (format!("trials.{key}.{name}"), text.as_str())));
        }
        all
    }

    /// Makes one recording of many sources.
    ///
    /// # Errors
    /// [`DataError::Invalid`] with every problem of every source, such as columns that a filter names and the file doesn't
    /// have, or of the recording that came out; a behaviour that no source has.
    pub fn apply(&self, sources: Vec<Source>) -> Result<(Recording, ImportReport), DataError> {
        let mut problems = Vec::new();
        let mut report = ImportReport::default();
        let mut sessions = Vec::new();
        let mut found: BTreeSet<&str> = BTreeSet::new();
        let known: BTreeSet<String> = sources
            .iter()
            .flat_map(|source| source.series.keys().cloned())
            .collect();
        for source in sources {
            let id = source.id.clone();
            let (session, mut told) = self.one(source);
            problems.append(&mut told.findings.problems);
            if let Some(session) = session {
                found.extend(
                    self.behaviour
                        .keys()
                        .map(String::as_str)
                        .filter(|name| session.behaviour.contains_key(*name)),
                );
                sessions.push(session);
            }
            report.sessions.push(told.report(id));
        }
        for (name, behaviour) in &self.behaviour {
            if !found.contains(name.as_str()) && problems.is_empty() {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                };
                let message = format!("no session has the series '{}'; there are: {known}", behaviour.series);
                problems.push(Finding::new(format!("behaviour.{name}.series"), message));
            }
        }
        let mut names = BTreeMap::<&str, usize>::new();
        for session in &sessions {
            *names.entry(&session.id).or_insert(0) += 1;
        }
        for (name, n) in names.into_iter().filter(|(_, n)| *n > 1) {
            let message = format!(
                "{n} files have a session of this name; names must differ (hint: --session-id names the session of each file, in their order)"
            );
            problems.push(Finding::new(format!("session '{name}'"), message));
        }
        report.warnings = self.units.unmatched(&report.sessions);
        report.warnings.extend(across::differences(&sessions));
        let recording = Recording { sessions };
        if problems.is_empty() {
            let mut findings = check(&recording);
            problems.append(&mut findings.problems);
            report.warnings.append(&mut findings.warnings);
        }
        refuse_problems("import".to_owned(), problems)?;
        Ok((recording, report))
    }

    /// One session; none where a part of it can't be made.
    fn one(&self, mut source: Source) -> (Option<Session>, Told) {
        let mut told = Told {
            at: source.id.clone(),
            format: source.format.clone(),
            ..Told::default()
        };
        if source.n_units() == 0 && !source.arrays.is_empty() {
            told.refuse("units", no_spikes(&source));
            return (None, told);
        }
        told.findings.warnings.append(&mut source.warnings);
        clock::scale(&mut source, &self.clock);
        clock::sort_spikes(&mut source, &mut told);
        if told.findings.problems.is_empty() {
            clock::cut_spikes(&mut source, &self.clock, &mut told);
        }
        // What follows takes first and last spikes for the span of a unit.
        if !told.findings.problems.is_empty() {
            return (None, told);
        }
        let (trials, events) = self.trials(&source, &mut told).unzip();
        clock::refuse_negative(&source, trials.as_deref(), &self.clock, &mut told);
        if let Some(trials) = &trials {
            self.compare_times(&source, trials, &mut told);
            self.warn_of_invalid(&source, trials, &mut told);
        }
        let behaviour = self.traces(&source, &mut told);
        if let Some(trials) = &trials {
            clock::compare_traces(&behaviour, trials, &self.clock, &mut told);
        }
        let observed_s = clock::observed(&source, trials.as_deref(), &self.clock);
        let units = self.units(&mut source, &mut told);
        let (Some(trials), Some(events), Some(units), Some(observed_s)) = (trials, events, units, observed_s) else {
            return (None, told);
        };
        if !told.findings.problems.is_empty() {
            return (None, told);
        }
        let (trials, events) = trials::within(trials, &events, observed_s, &mut told);
        self.uneven(&source, &units, &trials, &mut told);
        let unit_observed_s = clock::unit_observed(&mut source, &units, &trials, &mut told);
        if !told.findings.problems.is_empty() {
            return (None, told);
        }
        let session = Session {
            id: source.id,
            units: units.units,
            trials,
            events,
            behaviour,
            stimulus: None,
            activity: Activity::SpikeTimes {
                times_s: units.spikes_s,
                observed_s,
                unit_observed_s,
            },
        };
        (Some(session), told)
    }
}

/// Why a file of arrays makes no session, and what arrays there are.
fn no_spikes(source: &Source) -> String {
    let names: Vec<&str> = source
        .series
        .keys()
        .chain(source.arrays.keys())
        .map(String::as_str)
        .collect();
    let more = if names.len() > SHOWN_ARRAYS { ", …" } else { "" };
    let names = names
        .iter()
        .take(SHOWN_ARRAYS)
        .copied()
        .collect::<Vec<_>>()
        .join("', '");
    format!(
        "no spike times are known by their name, such as units/spike_times (docs/FORMATS.md); there are '{names}'{more} (hint: rename \
         them; arrays of spike counts are imported with --spikes, or a TOML for --spec with bin_ms)"
    )
}

/// What is found on the way.
#[derive(Default)]
struct Told {
    /// Name of the session.
    at: String,
    format: String,
    findings: Findings,
    units: Selection,
    trials: Selection,
    areas: Vec<AreaReport>,
}

impl Told {
    fn warn(&mut self, what: &str, message: impl Into<String>) {
        let at = format!("{}, {what}", self.at);
        self.findings.warning(at, message);
    }

    fn refuse(&mut self, what: &str, message: impl Into<String>) {
        let at = format!("{}, {what}", self.at);
        self.findings.problem(at, message);
    }

    /// Whether each row meets a condition; a warning says where a number that it reads is missing, and where it holds all the same.
    /// `rows`: what the rows are.
    fn condition(&mut self, key: &str, text: &str, rows: &str, table: &Table) -> Option<Vec<bool>> {
        let mut missing = Vec::new();
        let met = self.evaluate(key, text, table, |expression, table| {
            missing = expression.missing(table);
            expression.condition(table)
        })?;
        let n_missing = missing.iter().filter(|missing| **missing).count();
        if n_missing > 0 {
            let held = match missing
                .iter()
                .zip(&met)
                .filter(|(missing, met)| **missing && **met)
                .count()
            {
                0 => "the condition is false there".to_owned(),
                n => format!("the condition holds in {n} of these (hint: '&& !missing(COLUMN)' leaves them out)"),
            };
            let n_rows = table.n_rows();
            let message = format!("a value of '{text}' is missing in {n_missing} of {n_rows} {rows}; {held}");
            self.warn(key, message);
        }
        Some(met)
    }

    /// The value of an expression, or a problem at its key.
    fn evaluate<T>(
        &mut self,
        key: &str,
        text: &str,
        table: &Table,
        evaluate: impl FnOnce(&Expression, &Table) -> Result<T, super::ExpressionError>,
    ) -> Option<T> {
        let found = Expression::parse(text).and_then(|expression| Ok((evaluate(&expression, table)?, expression)));
        match found {
            Ok((value, expression)) => {
                self.tell_unread(key, &expression, table);
                Some(value)
            }
            Err(error) => {
                self.refuse(key, error.to_string());
                None
            }
        }
    }

    /// Tells texts that `number(x)` takes for missing although they don't say so.
    fn tell_unread(&mut self, key: &str, expression: &Expression, table: &Table) {
        for (of, n, first) in expression.unread(table) {
            let first: String = first.chars().take(SHOWN_LETTERS).collect();
            let message = format!(
                "{n} of {} texts of {of} are no numbers, the first is '{}'; they are missing",
                table.n_rows(),
                first.escape_debug()
            );
            self.warn(key, message);
        }
    }

    fn report(self, id: String) -> SessionReport {
        SessionReport {
            id,
            format: self.format,
            units: self.units,
            trials: self.trials,
            areas: self.areas,
            warnings: self.findings.warnings,
        }
    }
}
