//! What other tables, such as intervals of light or times of licks, have to do with trials: columns that expressions read.

use std::collections::BTreeSet;

use super::rows::Rows;
use super::{ImportPlan, Told, clock};
use crate::import::expression::{Expression, Question, Relation};
use crate::import::source::Source;
use crate::import::table::{Column, Table};

/// Columns that say when rows of a table of events are, where there is no `start_time`.
const TIMES: [&str; 5] = ["start_time", "timestamps", "timestamp", "times", "time"];

impl ImportPlan {
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
            let message = "rows of trials have no start_time, so other tables can't be compared with them (hint: trials.start says what it is)";
            told.refuse("trials", message);
            return None;
        };
        let mut with = table.clone();
        for question in asked {
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
        // Trials of equal length are cut on the clock of the recording, not of the file.
        let scaled = |times| match self.trials.every_s {
            Some(_) => clock::trial_times(times, &self.clock),
            None => times,
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
