//! What is in a recording, in numbers: for people as a table, for programs as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::error::{Finding, SHOWN_FINDINGS};
use crate::presence;
use crate::recording::{Activity, BehaviourSamples, CellType, Recording, Session, Timing};
use crate::trial_events::TrialNumbers;

/// So many units that were not observed in every trial are named in the table; all are in the JSON form.
const SHOWN_UNITS: usize = 8;

/// Summary of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordingSummary {
    /// Version of this form.
    pub schema: u32,
    /// Number of sessions.
    pub n_sessions: usize,
    /// Number of units in all sessions.
    pub n_units: usize,
    /// Number of trials in all sessions.
    pub n_trials: usize,
    /// Number of spikes in all sessions.
    pub n_spikes: u64,
    /// Units and rates of each area and cell type, over all sessions.
    pub populations: Vec<PopulationSummary>,
    /// Trials of each type, over all sessions.
    pub trials_per_type: BTreeMap<String, usize>,
    /// Per session.
    pub sessions: Vec<SessionSummary>,
    /// Findings that don't make the recording unusable.
    pub warnings: Vec<Finding>,
}

/// Units of one area and cell type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PopulationSummary {
    /// Area.
    pub area: String,
    /// Cell type.
    pub cell_type: CellType,
    /// Number of units.
    pub n_units: usize,
    /// Their rates (Hz) over all that was recorded.
    pub rate_hz: Quantiles,
}

/// Minimum, quartiles and maximum (linear between order statistics).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Smallest value.
    pub min: f64,
    /// 25 %.
    pub q25: f64,
    /// 50 %.
    pub median: f64,
    /// 75 %.
    pub q75: f64,
    /// Largest value.
    pub max: f64,
    /// Mean.
    pub mean: f64,
}

/// Summary of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionSummary {
    /// Name.
    pub id: String,
    /// Number of units.
    pub n_units: usize,
    /// Number of trials.
    pub n_trials: usize,
    /// Number of spikes.
    pub n_spikes: u64,
    /// Mean rate (Hz) of its units.
    pub mean_rate_hz: f64,
    /// Recorded time (s): for binned activity, the valid bins of all trials.
    pub duration_s: f64,
    /// Shortest and longest trial (s): for binned activity, the valid bins.
    pub trial_s: (f64, f64),
    /// How spikes are stored.
    pub activity: String,
    /// Trials of each type.
    pub trials_per_type: BTreeMap<String, usize>,
    /// Distinct stimulus values, increasing.
    pub stimulus_values: Vec<f64>,
    /// Events of trials by name: when they happen relative to the event that bins are counted from.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub events: BTreeMap<String, ColumnSummary>,
    /// Values of trials by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, ColumnSummary>,
    /// Behaviours: name and description.
    pub behaviour: BTreeMap<String, String>,
    /// Stimulus movies, if there are any.
    pub movies: Option<String>,
    /// Units that were not observed in every trial.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partly_observed: Vec<PartlyObserved>,
    /// Names of units that were observed in no trial, not even in a part of one: fits leave them out. Not in the list above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never_observed: Vec<String>,
}

/// An event or value of trials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnSummary {
    /// Trials that have it.
    pub n_trials: usize,
    /// Its times (ms), or its values; null where no trial has it.
    pub quantiles: Option<Quantiles>,
}

/// A unit that was not observed in every trial: it is not silent in the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartlyObserved {
    /// Name.
    pub unit: String,
    /// Its area.
    pub area: String,
    /// Trials that it was not observed in, from start to stop.
    pub n_missed: usize,
}

/// Summarises a recording. `warnings` are those of [`check`](crate::check), to go with it.
pub fn summary(recording: &Recording, warnings: &[Finding]) -> RecordingSummary {
    let sessions: Vec<SessionSummary> = recording.sessions.iter().map(session_summary).collect();
    let mut trials_per_type = BTreeMap::new();
    for (name, n) in sessions.iter().flat_map(|s| &s.trials_per_type) {
        *trials_per_type.entry(name.clone()).or_insert(0) += n;
    }
    RecordingSummary {
        schema: 1,
        n_sessions: sessions.len(),
        n_units: sessions.iter().map(|s| s.n_units).sum(),
        n_trials: sessions.iter().map(|s| s.n_trials).sum(),
        n_spikes: sessions.iter().map(|s| s.n_spikes).sum(),
        populations: populations(recording),
        trials_per_type,
        sessions,
        warnings: warnings.to_vec(),
    }
}

fn populations(recording: &Recording) -> Vec<PopulationSummary> {
    let mut rates: BTreeMap<(&str, CellType), Vec<f64>> = BTreeMap::new();
    for session in &recording.sessions {
        for (unit, rate_hz) in session.units.iter().zip(unit_rates_hz(session)) {
            let key = (unit.area.as_str(), unit.cell_type);
            rates.entry(key).or_default().push(rate_hz);
        }
    }
    let summary = |((area, cell_type), rates): ((&str, CellType), Vec<f64>)| PopulationSummary {
        area: area.to_owned(),
        cell_type,
        n_units: rates.len(),
        rate_hz: quantiles(rates),
    };
    rates.into_iter().map(summary).collect()
}

/// Rate (Hz) of each unit over all that was recorded while it was observed; for binned activity, over valid bins. NaN of a unit
/// that never was.
pub fn unit_rates_hz(session: &Session) -> Vec<f64> {
    let duration_s = duration_s(session);
    let spikes = spikes_while_observed(session).into_iter().enumerate();
    let rate = |(i, n): (usize, u64)| match observed_s(session, i, duration_s) {
        own_s if own_s > 0.0 => n as f64 / own_s,
        _ => f64::NAN,
    };
    spikes.map(rate).collect()
}

/// Spikes of each unit that count: those of stretches or trials that it was observed in.
fn spikes_while_observed(session: &Session) -> Vec<u64> {
    match &session.activity {
        Activity::SpikeTimes {
            times_s,
            unit_observed_s: Some(units),
            ..
        } => {
            let within = |times: &[f64], stretches: &[(f64, f64)]| -> usize {
                let before = |limit: f64, is_in: bool| times.partition_point(|t| *t < limit || (is_in && *t == limit));
                let counts = stretches
                    .iter()
                    .map(|&(start, stop)| before(stop, true) - before(start, false));
                if stretches.is_empty() {
                    times.len()
                } else {
                    counts.sum()
                }
            };
            let own = |n: usize| units.get(n).map_or(&[][..], Vec::as_slice);
            times_s
                .iter()
                .enumerate()
                .map(|(n, times)| within(times, own(n)) as u64)
                .collect()
        }
        Activity::Binned {
            counts,
            presence: Some(presence),
            ..
        } => {
            let of_trial = |n: usize, k: usize| {
                counts
                    .slice(ndarray::s![k, .., n])
                    .iter()
                    .map(|c| u64::from(*c))
                    .sum::<u64>()
            };
            let is_there = |n: usize, k: &usize| presence.get((*k, n)).is_none_or(|is_present| *is_present);
            let (n_trials, _, n_units) = counts.dim();
            (0..n_units)
                .map(|n| (0..n_trials).filter(|k| is_there(n, k)).map(|k| of_trial(n, k)).sum())
                .collect()
        }
        activity => activity.spikes_per_unit(),
    }
}

/// Valid time (s) of each trial.
fn trial_durations_s(session: &Session) -> Vec<f64> {
    match &session.activity {
        Activity::SpikeTimes { .. } => {
            let trials = session.trials.iter();
            trials.map(|trial| trial.stop_s - trial.start_s).collect()
        }
        Activity::Binned { counts, bin_ms, .. } => {
            let n_bins = counts.shape()[1];
            let valid = |valid: Option<usize>| valid.unwrap_or(n_bins) as f64 * bin_ms / 1000.0;
            let trials = session.trials.iter();
            trials.map(|trial| valid(trial.valid_bins)).collect()
        }
    }
}

fn duration_s(session: &Session) -> f64 {
    match &session.activity {
        Activity::SpikeTimes { observed_s, .. } => observed_s.1 - observed_s.0,
        Activity::Binned { .. } => trial_durations_s(session).iter().sum(),
    }
}

/// Time (s) that a unit was observed for.
fn observed_s(session: &Session, unit: usize, whole_s: f64) -> f64 {
    match &session.activity {
        Activity::SpikeTimes { unit_observed_s, .. } => {
            let own = unit_observed_s.as_ref().and_then(|units| units.get(unit));
            own.map_or(whole_s, |stretches| presence::observed_s(stretches, whole_s))
        }
        Activity::Binned { presence: None, .. } => whole_s,
        Activity::Binned {
            presence: Some(presence),
            ..
        } => {
            let trials = trial_durations_s(session).into_iter().enumerate();
            let observed = trials.filter(|(k, _)| presence.get((*k, unit)).is_none_or(|is_present| *is_present));
            observed.map(|(_, duration_s)| duration_s).sum()
        }
    }
}

/// Whether each unit was observed for the whole of each trial, `[K, N]`; `None` where nothing says that one was not.
pub fn observed_trials(session: &Session) -> Option<Array2<bool>> {
    let shape = (session.n_trials(), session.n_units());
    match &session.activity {
        Activity::SpikeTimes {
            unit_observed_s: Some(units),
            ..
        } => Some(Array2::from_shape_fn(shape, |(k, n)| {
            let (trial, stretches) = (&session.trials[k], units.get(n).map_or(&[][..], Vec::as_slice));
            presence::holds(stretches, trial.start_s, trial.stop_s, presence::SLACK_S)
        })),
        Activity::Binned {
            presence: Some(presence),
            ..
        } if presence.dim() == shape => Some(presence.clone()),
        _ => None,
    }
}

/// Units that were not observed in every trial, by the whole of each trial.
fn partly_observed(session: &Session) -> Vec<PartlyObserved> {
    let Some(presence) = observed_trials(session) else {
        return Vec::new();
    };
    let all: Vec<usize> = (0..session.n_trials()).collect();
    let missed = presence::missed(&presence, &all).into_iter();
    let never = presence::never_observed(session);
    let named = missed.filter(|(n, _)| !never.contains(n)).filter_map(|(n, n_missed)| {
        let unit = session.units.get(n)?;
        Some(PartlyObserved {
            unit: unit.id.clone(),
            area: unit.area.clone(),
            n_missed,
        })
    });
    named.collect()
}

fn session_summary(session: &Session) -> SessionSummary {
    let mut trials_per_type = BTreeMap::new();
    for trial in &session.trials {
        *trials_per_type.entry(trial.trial_type.clone()).or_insert(0) += 1;
    }
    let mut stimulus_values: Vec<f64> = session.trials.iter().map(|t| t.stimulus).collect();
    stimulus_values.sort_by(f64::total_cmp);
    stimulus_values.dedup();
    let n_spikes: u64 = session.activity.spikes_per_unit().into_iter().sum();
    let duration_s = duration_s(session);
    let durations = trial_durations_s(session);
    let shortest = durations.iter().copied().fold(f64::INFINITY, f64::min);
    let longest = durations.iter().copied().fold(0.0, f64::max);
    let align_s: Vec<f64> = session.trials.iter().map(|trial| trial.align_s).collect();
    SessionSummary {
        id: session.id.clone(),
        n_units: session.n_units(),
        n_trials: session.n_trials(),
        n_spikes,
        mean_rate_hz: n_spikes as f64 / duration_s / session.n_units().max(1) as f64,
        duration_s,
        trial_s: (shortest.min(longest), longest),
        activity: match &session.activity {
            Activity::SpikeTimes { .. } => "spike times".to_owned(),
            Activity::Binned {
                counts,
                bin_ms,
                start_ms,
                ..
            } => format!("{} bins of {bin_ms} ms from {start_ms} ms on", counts.shape()[1]),
        },
        trials_per_type,
        stimulus_values,
        events: columns(&session.events.relative_ms(&align_s)),
        values: columns(&session.events.values),
        behaviour: behaviours(session),
        partly_observed: partly_observed(session),
        never_observed: presence::never_observed(session)
            .into_iter()
            .filter_map(|n| Some(session.units.get(n)?.id.clone()))
            .collect(),
        movies: session.stimulus.as_ref().map(|movies| {
            let [n_movies, n_bins, n_channels] = [0, 1, 2].map(|axis| movies.values.shape()[axis]);
            format!(
                "{n_movies} × {n_bins} bins of {} ms × {n_channels} channels",
                movies.bin_ms
            )
        }),
    }
}

fn columns(columns: &TrialNumbers) -> BTreeMap<String, ColumnSummary> {
    let of_column = |column: &Vec<Option<f64>>| {
        let known: Vec<f64> = column.iter().copied().flatten().collect();
        ColumnSummary {
            n_trials: known.len(),
            quantiles: (!known.is_empty()).then(|| quantiles(known)),
        }
    };
    let columns = columns.iter();
    columns
        .map(|(name, column)| (name.clone(), of_column(column)))
        .collect()
}

fn behaviours(session: &Session) -> BTreeMap<String, String> {
    let describe = |samples: &BehaviourSamples| match samples {
        BehaviourSamples::PerBin(_) => "per bin".to_owned(),
        BehaviourSamples::Continuous { values, timing } => match timing {
            Timing::Rate { rate_hz, .. } => format!("{} samples at {rate_hz} Hz", values.len()),
            Timing::Timestamps(_) => format!("{} samples with timestamps", values.len()),
        },
    };
    let behaviours = session.behaviour.iter();
    behaviours
        .map(|(name, b)| (name.clone(), format!("{} [{}]", describe(&b.samples), b.unit)))
        .collect()
}

/// Quantiles of values that are numbers; of none, NaN.
pub(crate) fn quantiles(mut values: Vec<f64>) -> Quantiles {
    values.retain(|value| !value.is_nan());
    values.sort_by(f64::total_cmp);
    let at = |fraction: f64| {
        let position = fraction * values.len().saturating_sub(1) as f64;
        let value = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
        let (low, weight) = (value(position.floor() as usize), position.fract());
        if weight > 0.0 {
            low + weight * (value(position.floor() as usize + 1) - low)
        } else {
            low
        }
    };
    Quantiles {
        min: at(0.0),
        q25: at(0.25),
        median: at(0.5),
        q75: at(0.75),
        max: at(1.0),
        mean: values.iter().sum::<f64>() / values.len() as f64,
    }
}

impl RecordingSummary {
    /// The summary as plain text. Names from the file are escaped, so they can't control a terminal.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |content: String| {
            text.push_str(content.trim_end());
            text.push('\n');
        };
        line(format!(
            "{}, {}, {}, {}",
            many(self.n_sessions as u64, "session"),
            many(self.n_units as u64, "unit"),
            many(self.n_trials as u64, "trial"),
            many(self.n_spikes, "spike")
        ));
        line(format!("trial types: {}", counts(&self.trials_per_type)));
        line(String::new());
        for row in table(&population_rows(&self.populations)) {
            line(row);
        }
        line(String::new());
        for row in table(&session_rows(&self.sessions)) {
            line(row);
        }
        for session in &self.sessions {
            for row in column_rows(session) {
                line(row);
            }
            for (name, what) in &session.behaviour {
                let (id, name) = (escape(&session.id), escape(name));
                line(format!("{id}: behaviour {name}, {}", escape(what)));
            }
            if let Some(movies) = &session.movies {
                line(format!("{}: stimulus {movies}", escape(&session.id)));
            }
            if !session.partly_observed.is_empty() {
                line(not_observed(session));
            }
            if !session.never_observed.is_empty() {
                line(never_observed(session));
            }
        }
        if !self.warnings.is_empty() {
            line(String::new());
            line(format!("{}:", many(self.warnings.len() as u64, "warning")));
            for warning in self.warnings.iter().take(SHOWN_FINDINGS) {
                line(format!("  {}", escape(&warning.to_string())));
            }
            if self.warnings.len() > SHOWN_FINDINGS {
                line(format!("  … and {} more", self.warnings.len() - SHOWN_FINDINGS));
            }
        }
        text
    }
}

/// A line for each event and value of trials.
fn column_rows(session: &SessionSummary) -> Vec<String> {
    let row = |kind: &str, (name, column): (&String, &ColumnSummary), unit: &str, after: &str| {
        let (id, name) = (escape(&session.id), escape(name));
        let at = column.quantiles.map_or_else(String::new, |q| {
            // Times to the microsecond: what is below is rounding.
            let [median, min, max] = [q.median, q.min, q.max].map(|x| (x * 1000.0).round() / 1000.0);
            format!(", median {median}{unit} ({min} to {max}){after}")
        });
        format!(
            "{id}: {kind} {name} in {} of {} trials{at}",
            column.n_trials, session.n_trials
        )
    };
    let events = session
        .events
        .iter()
        .map(|event| row("event", event, " ms", " after align_time"));
    let values = session.values.iter().map(|value| row("value", value, "", ""));
    events.chain(values).collect()
}

/// One line of a session's units that were not observed in every trial, those that miss most first.
fn not_observed(session: &SessionSummary) -> String {
    let mut units: Vec<&PartlyObserved> = session.partly_observed.iter().collect();
    units.sort_by_key(|unit| std::cmp::Reverse(unit.n_missed));
    let shown = units
        .iter()
        .take(SHOWN_UNITS)
        .map(|unit| format!("'{}' ({})", escape(&unit.unit), unit.n_missed));
    let shown: Vec<String> = shown.collect();
    let more = if units.len() > SHOWN_UNITS { ", …" } else { "" };
    format!(
        "{}: {} of {} units were not observed in every trial (trials missed): {}{more}",
        escape(&session.id),
        units.len(),
        session.n_units,
        shown.join(", ")
    )
}

/// One line of a session's units that were observed in no trial.
fn never_observed(session: &SessionSummary) -> String {
    let units = session.never_observed.iter().take(SHOWN_UNITS);
    let shown: Vec<String> = units.map(|unit| format!("'{}'", escape(unit))).collect();
    let more = if session.never_observed.len() > SHOWN_UNITS {
        ", …"
    } else {
        ""
    };
    format!(
        "{}: {} of {} units were observed in no trial, fits leave them out: {}{more}",
        escape(&session.id),
        session.never_observed.len(),
        session.n_units,
        shown.join(", ")
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            // Writing to a String can't fail.
            let _ = write!(escaped, "{}", c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

fn counts(trials_per_type: &BTreeMap<String, usize>) -> String {
    let types = trials_per_type.iter();
    let is_number = |name: &str| name.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    let shown = types.map(|(name, n)| match escape(name) {
        name if is_number(&name) => format!("{n} '{name}'"),
        name => format!("{n} {name}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// So many things, in words.
fn many(n: impl Into<u64>, what: &str) -> String {
    match n.into() {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

fn population_rows(populations: &[PopulationSummary]) -> Vec<Vec<String>> {
    let header = [
        "area", "type", "units", "Hz: min", "25 %", "50 %", "75 %", "max", "mean",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for p in populations {
        let mut row = vec![escape(&p.area), p.cell_type.to_string(), p.n_units.to_string()];
        let q = p.rate_hz;
        let rates = [q.min, q.q25, q.median, q.q75, q.max, q.mean];
        row.extend(rates.map(|rate| format!("{rate:.2}")));
        rows.push(row);
    }
    rows
}

fn session_rows(sessions: &[SessionSummary]) -> Vec<Vec<String>> {
    let header = [
        "session",
        "units",
        "trials",
        "mean Hz",
        "trial (s)",
        "activity",
        "trial types",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for s in sessions {
        let (shortest, longest) = s.trial_s;
        let length = if longest - shortest < 5e-4 {
            format!("{longest:.3}")
        } else {
            format!("{shortest:.3}–{longest:.3}")
        };
        rows.push(vec![
            escape(&s.id),
            s.n_units.to_string(),
            s.n_trials.to_string(),
            format!("{:.2}", s.mean_rate_hz),
            length,
            s.activity.clone(),
            counts(&s.trials_per_type),
        ]);
    }
    rows
}

/// Columns padded to the width of their widest cell, two spaces apart.
fn table(rows: &[Vec<String>]) -> Vec<String> {
    let n_columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..n_columns).map(width).collect();
    let render = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells.map(|(cell, &width)| format!("{cell:width$}")).collect();
        cells.join("  ")
    };
    rows.iter().map(render).collect()
}
