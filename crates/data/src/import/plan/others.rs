//! What other tables, such as intervals of light or times of licks, have to do with trials: columns that expressions read.

use std::collections::BTreeSet;

use super::rows::Rows;
use super::{ImportPlan, Told, clock};
use crate::import::expression::{Expression, Question, Relation};
use crate::import::source::Source;
use crate::import::table::{Column, Table};
use crate::recording::Trial;

/// Columns that say when rows of a table of events are, where there is no `start_time`.
const TIMES: [&str; 5] = ["start_time", "timestamps", "timestamp", "times", "time"];

/// NWB's table of stretches that should not be used.
const INVALID: &str = "invalid_times";

impl ImportPlan {
    /// Tells trials that the file says not to use, unless an expression asks for them.
    pub(super) fn warn_of_invalid(&self, source: &Source, trials: &[Trial], told: &mut Told) {
        let numbers = |column: &str| match source.intervals.get(INVALID)?.get(column) {
            Some(Column::Numbers(values)) => Some(values.as_slice()),
            _ => None,
        };
        let (Some(starts), Some(stops)) = (numbers("start_time"), numbers("stop_time")) else {
            return;
        };
        let is_asked = self.expressions().iter().any(|(_, text)| text.contains(INVALID));
        let is_asked = is_asked || self.trials.table.as_deref() == Some(INVALID);
        let offset_s = self.clock.offset_s.unwrap_or(0.0);
        let is_invalid = |trial: &&Trial| {
            let mut spans = starts.iter().zip(stops);
            spans.any(|(start, stop)| start + offset_s < trial.stop_s && stop + offset_s > trial.start_s)
        };
        let n = trials.iter().filter(is_invalid).count();
        if n > 0 && !is_asked {
            let message = format!(
                "{n} of {} trials overlap the file's '{INVALID}', which are not to be used (hint: --trials \
                 \"!overlaps('{INVALID}')\" leaves out those whose row does)",
                trials.len()
            );
            told.warn("trials", message);
        }
    }

    /// The table with a column for each question about another table that expressions of trials ask; `None` where none does, or
    /// where one can't be answered, which is a problem.
    pub(super) fn with_others(&self, table: &Table, source: &Source, told: &mut Told) -> Option<Table> {
        let of_trials = self
            .expressions()
            .into_iter()
            .filter(|(key, _)| key.starts_with("trials."));
        let parsed: Vec<Expression> = of_trials.filter_map(|(_, text)| Expression::parse(text).ok()).collect();
        let asked: BTreeSet<&Question> = parsed.iter().flat_map(Expression::others).collect();
        if asked.is_empty() {
            return None;
        }
        let Some(rows) = Rows::of(&self.trials, table) else {
            let message = "rows of trials have no start_time, so other tables can't be compared with them (hint: trials.start in a TOML for --spec says what it is)";
            told.refuse("trials", message);
            return None;
        };
        let mut with = table.clone();
        for question in asked {
            let other = source.intervals.get(&question.table);
            if let (Some(Ok(when)), Some(other)) = (question.when.as_deref().map(Expression::parse), other) {
                told.tell_unread(&format!("table '{}'", question.table), &when, other);
            }
            match self.column_of(question, &rows.spans, source) {
                Ok(column) => {
                    if let Err(finding) = with.insert("trials", question.column(), column) {
                        told.findings.problems.push(finding);
                    }
                }
                Err(message) => told.refuse("trials", message),
            }
        }
        Some(with)
    }

    /// The answer for each trial, or why there is none.
    fn column_of(&self, question: &Question, rows: &[(f64, f64)], source: &Source) -> Result<Column, String> {
        let name = &question.table;
        let trials = source.trials.as_ref().filter(|_| name == "trials");
        let Some(other) = source.intervals.get(name).or(trials) else {
            let known: Vec<&str> = source.intervals.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            return Err(format!("the file has no table '{name}'; there are: {known}"));
        };
        let numbers = |column: &str| match other.get(column) {
            Some(Column::Numbers(values)) => Some(values.clone()),
            _ => None,
        };
        let Some(starts) = TIMES.iter().find_map(|column| numbers(column)) else {
            let columns: Vec<&str> = other.names().collect();
            return Err(format!(
                "the table '{name}' has no column of numbers {}; it has {}",
                TIMES.join(", "),
                columns.join(", ")
            ));
        };
        let starts = match &question.when {
            None => starts,
            Some(when) => {
                let met = Expression::parse(when).and_then(|condition| condition.condition(other));
                let met = met.map_err(|error| format!("condition of rows of the table '{name}', {error}"))?;
                let of_met = starts.into_iter().zip(met);
                of_met.map(|(start, met)| if met { start } else { f64::NAN }).collect()
            }
        };
        let stops = numbers("stop_time").unwrap_or_else(|| starts.clone());
        // Trials of equal length are cut on the clock of the recording, not of the file. Tables of the file beside a table of
        // trials are in s; answers are in the unit of the trials, as their columns are.
        let is_beside = source.trials_beside
            && self
                .trials
                .table
                .as_ref()
                .is_none_or(|name| !source.intervals.contains_key(name));
        let (per_s, offset_s) = (
            self.clock.trials_per_s.unwrap_or(1.0),
            self.clock.offset_s.unwrap_or(0.0),
        );
        let moved = |times: Vec<f64>, of: &dyn Fn(f64) -> f64| times.into_iter().map(of).collect();
        let scaled = |times: Vec<f64>| match (self.trials.every_s, is_beside) {
            (Some(_), false) => clock::trial_times(times, &self.clock),
            (Some(_), true) => moved(times, &|time| time + offset_s),
            (None, true) => moved(times, &|time| time * per_s),
            (None, false) => times,
        };
        Ok(Others::new(scaled(starts), scaled(stops)).column(question.relation, rows))
    }
}

/// Rows of another table, by their start.
struct Others {
    spans: Vec<(f64, f64)>,
    /// The latest end of the rows up to each.
    latest: Vec<f64>,
}

impl Others {
    /// Rows without a start are none; those without an end are events.
    fn new(starts: Vec<f64>, stops: Vec<f64>) -> Self {
        let spans = starts.into_iter().zip(stops).filter(|(start, _)| !start.is_nan());
        let mut spans: Vec<(f64, f64)> = spans.map(|(start, stop)| (start, stop.max(start))).collect();
        spans.sort_by(|a, b| a.0.total_cmp(&b.0));
        let latest = spans.iter().scan(f64::NEG_INFINITY, |latest, (_, stop)| {
            *latest = latest.max(*stop);
            Some(*latest)
        });
        Self {
            latest: latest.collect(),
            spans,
        }
    }

    /// A trial is there from its start up to its end, without it: where trials touch, an event is in the later one.
    fn column(&self, relation: Relation, rows: &[(f64, f64)]) -> Column {
        let first = |&(start, stop): &(f64, f64)| {
            let begun = self.spans.partition_point(|other| other.0 < start);
            let next = self.spans.get(begun).map(|other| other.0);
            next.filter(|time| *time < stop)
        };
        match relation {
            Relation::First => Column::Numbers(rows.iter().map(|row| first(row).unwrap_or(f64::NAN)).collect()),
            Relation::Overlaps => {
                let goes_on = |start: f64| {
                    let begun = self.spans.partition_point(|other| other.0 < start);
                    let before = begun.checked_sub(1).and_then(|last| self.latest.get(last));
                    before.is_some_and(|latest| *latest > start)
                };
                Column::Flags(
                    rows.iter()
                        .map(|row| first(row).is_some() || (row.0 < row.1 && goes_on(row.0)))
                        .collect(),
                )
            }
        }
    }
}
