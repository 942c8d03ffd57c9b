//! Trials: which rows of a table they are, their event, window, stimulus and label.

use std::collections::BTreeMap;

use super::rows::{Manner, Rows};
use super::{Told, TrialsPlan};
use crate::import::expression::{Expression, Rule};
use crate::import::plan::clock;
use crate::import::source::Source;
use crate::import::table::{Column, Table};
use crate::recording::Trial;
use crate::trial_events::{self, TrialEvents, TrialNumbers};
use crate::validate::bad_name;

/// Label of trials where nothing else is known.
const DEFAULT_TYPE: &str = "trial";
/// Label of trials whose column says nothing.
const UNKNOWN_TYPE: &str = "unknown";
/// What trials meet that don't end before they start.
const ENDS_LATER: &str = "an end after its start";
/// Column of the event, where the plan names none.
const ALIGN_COLUMN: &str = "align_time";
/// Column of the stimulus' value, where the plan names none.
const STIMULUS_COLUMN: &str = "stimulus";
/// Columns of events and of values, where the plan names none: these, and the name.
pub(crate) const EVENT_COLUMNS: &str = "event_";
/// As [`EVENT_COLUMNS`].
pub(crate) const VALUE_COLUMNS: &str = "value_";

impl super::ImportPlan {
    /// Trials of a source, and what else happened in them; none where they can't be made.
    pub(super) fn trials(&self, source: &Source, told: &mut Told) -> Option<(Vec<Trial>, TrialEvents)> {
        let plan = &self.trials;
        let cut;
        let table = table(plan, source)
            .map_err(|message| told.refuse("trials.table", message))
            .ok()?;
        let table = match (plan.every_s, table) {
            (None, Some(table)) => table,
            (None, None) => {
                let intervals: Vec<&str> = source.intervals.keys().map(String::as_str).collect();
                let others = if intervals.is_empty() {
                    String::new()
                } else {
                    format!(
                        "; trials.table in a TOML for --spec takes one of the other tables: {}",
                        intervals.join(", ")
                    )
                };
                let hint = "--trials-table takes them from a table of text beside it; --every-s cuts the recording into trials of \
                            equal length";
                told.refuse(
                    "trials",
                    format!("the file has no table of trials (hint: {hint}{others})"),
                );
                return None;
            }
            (Some(every_s), table) => {
                cut = self.cut(every_s, table, source, told)?;
                &cut
            }
        };
        let n_problems = told.findings.problems.len();
        let with_others = self.with_others(table, source, told);
        if told.findings.problems.len() > n_problems {
            return None;
        }
        let table = with_others.as_ref().unwrap_or(table);
        let align_to = usual(plan.align_to.as_ref(), ("--align-to", ALIGN_COLUMN), table, told);
        let stimulus = usual(
            plan.stimulus.as_ref(),
            ("--stimulus-value", STIMULUS_COLUMN),
            table,
            told,
        );
        let scale = |values: Vec<f64>| match plan.every_s {
            Some(_) => values,
            None => clock::trial_times(values, &self.clock),
        };
        // With a window around an event, a trial needs no start of its own.
        let start = match (&plan.start, plan.window_s, &align_to) {
            (None, Some(_), Some(_)) => Some(None),
            (start, ..) => {
                let times = edge(("trials.start", start.as_deref(), "start_time"), table, told);
                times.map(scale).map(Some)
            }
        };
        // With a window, a trial needs no end of its own.
        let stop = match (&plan.stop, plan.window_s) {
            (None, Some(_)) => Some(None),
            (stop, _) => {
                let times = edge(("trials.stop", stop.as_deref(), "stop_time"), table, told);
                times.map(scale).map(Some)
            }
        };
        let align = match &align_to {
            Some(text) => told
                .evaluate("trials.align_to", text, table, Expression::numbers)
                .map(scale),
            None => start.clone().flatten(),
        };
        let stimulus = match &stimulus {
            Some(text) => told.evaluate("trials.stimulus", text, table, Expression::numbers),
            // Trials of an event are trials in which it happened.
            None if align_to.is_some() => {
                let message = "the stimulus is 1 in every trial, because each is aligned to an event (hint: --stimulus-value is its \
                               value, a column or an expression, 0 where there was none)";
                told.warn("trials", message);
                Some(vec![1.0; table.n_rows()])
            }
            None => Some(vec![0.0; table.n_rows()]),
        };
        let labels = labels(plan, table, told);
        let events = self.columns((&plan.events, "events", EVENT_COLUMNS), table, told);
        let values = self.columns((&plan.values, "values", VALUE_COLUMNS), table, told);
        let (start, stop, align, stimulus, labels) = (start?, stop?, align?, stimulus?, labels?);
        // A trial is there from `from` to `to`.
        let edges: Vec<(f64, f64)> = (0..table.n_rows())
            .map(|k| {
                let (from, to) = match plan.window_s {
                    Some([from, to]) => (align[k] + from, align[k] + to),
                    None => (f64::NEG_INFINITY, f64::INFINITY),
                };
                // A start or stop that is missing or not asked for leaves the window as it is.
                let is_asked = plan.window_s.is_none() || plan.start.is_some();
                let start = start.as_ref().filter(|_| is_asked).map(|start| start[k]);
                let from = start.map_or(from, |start| from.max(start));
                (from, stop.as_ref().map_or(to, |stop| to.min(stop[k])))
            })
            .collect();
        let mut rules = filter_rules(plan.filter.as_deref(), "trials.filter", table, told)?;
        let is_known = |values: &[f64]| values.iter().map(|value| value.is_finite()).collect::<Vec<bool>>();
        let mut known = |rule: &str, keeps: Vec<bool>| {
            if keeps.contains(&false) {
                let missing = keeps.iter().filter(|keeps| !**keeps).count();
                rules.push(Rule {
                    missing,
                    ..rule_of(rule, keeps)
                });
            }
        };
        known("a time of the event that trials are aligned to", is_known(&align));
        known("a value of the stimulus", is_known(&stimulus));
        let is_interval = edges
            .iter()
            .map(|(from, to)| from.is_finite() && to.is_finite() && from < to);
        let ends_after_it_starts: Vec<bool> = is_interval
            .zip(&align)
            .map(|(is, align)| is || !align.is_finite())
            .collect();
        if ends_after_it_starts.contains(&false) {
            rules.push(rule_of(ENDS_LATER, ends_after_it_starts));
        }
        let is_labelled: Vec<bool> = labels.iter().map(Option::is_some).collect();
        if is_labelled.contains(&false) {
            rules.push(rule_of("one of trials.types", is_labelled));
        }
        let keeps = told.trials.count(table.n_rows(), &rules, None);
        let n_kept = keeps.iter().filter(|keeps| **keeps).count();
        let is_checked = plan.every_s.is_none();
        // A start on another clock than the event leaves nothing of the window between them: which is worth more than that.
        if is_checked && 2 * n_kept < keeps.len() && rules.iter().any(|rule| rule.text == ENDS_LATER) {
            let of_times = |k: usize| rules.iter().all(|rule| rule.keeps[k] || rule.text == ENDS_LATER);
            let of_times: Vec<bool> = (0..keeps.len()).map(of_times).collect();
            let n_problems = told.findings.problems.len();
            self.check_rows(
                (table, source),
                (align_to.as_deref(), &align),
                &TrialEvents::default(),
                &of_times,
                told,
            );
            if told.findings.problems.len() > n_problems {
                return None;
            }
        }
        if n_kept == 0 {
            let n_endless = stop.iter().flatten().filter(|stop| !stop.is_finite()).count();
            let hint = if n_endless > 0 && plan.window_s.is_none() {
                let text = plan.stop.as_deref().unwrap_or("stop_time");
                format!(
                    "; {n_endless} of them have no '{text}' (hint: --window-s is the part around an event or start that a trial is, trials.stop in a \
                     TOML for --spec another end, such as \"start_time + 2\")"
                )
            } else {
                String::new()
            };
            let message = format!("none of {} trials is taken{}{hint}", keeps.len(), told.trials.why());
            told.refuse("trials", message);
            return None;
        }
        let events = TrialEvents {
            times_s: events?,
            values: values?,
        };
        if is_checked {
            self.check_rows((table, source), (align_to.as_deref(), &align), &events, &keeps, told);
        }
        let trials = labels.into_iter().enumerate().filter(|(k, _)| keeps[*k]);
        let trials = trials.map(|(k, label)| Trial {
            start_s: edges[k].0,
            stop_s: edges[k].1,
            align_s: align[k],
            stimulus: stimulus[k],
            trial_type: label.unwrap_or_default(),
            movie: None,
            valid_bins: None,
        });
        let rows: Vec<usize> = (0..table.n_rows()).filter(|&k| keeps[k]).collect();
        Some((trials.collect(), events.select(&rows)))
    }

    /// Whether the events of trials that are taken lie in their rows, or, where these have no start, count from another column.
    fn check_rows(
        &self,
        (table, source): (&Table, &Source),
        (align_to, align): (Option<&str>, &[f64]),
        events: &TrialEvents,
        keeps: &[bool],
        told: &mut Told,
    ) {
        let rows = Rows::of(&self.trials, table);
        if let Some(rows) = &rows {
            rows.tell_durations(&self.trials, told);
        }
        let rows = rows.map(|rows| rows.scaled(&self.clock));
        let offset_s = self.clock.offset_s.unwrap_or(0.0);
        let check = |of: (&str, &str), times_s: &[Option<f64>], manner, told: &mut Told| match &rows {
            Some(rows) => rows.check(of, times_s, offset_s, manner, told),
            None => self.refuse_relative((table, source), of, times_s, manner, told),
        };
        // Who says that events lie outside is only told.
        let refuse = match self.trials.outside {
            Some(true) => Manner::Tell,
            _ => Manner::Refuse,
        };
        let kept = |time: Option<f64>, k: usize| time.filter(|_| keeps[k]);
        if let Some(text) = align_to {
            let times: Vec<_> = align.iter().enumerate().map(|(k, &time)| kept(Some(time), k)).collect();
            // Without a window, trials are rows, and what lies outside of them is told when the recording is checked.
            let manner = match self.trials.window_s {
                Some(_) => refuse,
                None => Manner::RefuseMost,
            };
            check(("trials.align_to", text), &times, manner, told);
        }
        for (name, times) in &events.times_s {
            let column = format!("`{EVENT_COLUMNS}{name}`");
            // Columns that nobody named don't keep a file from being read.
            let (text, manner) = match self.trials.events.get(name) {
                Some(text) => (text, refuse),
                None => (&column, Manner::Tell),
            };
            let times: Vec<_> = times.iter().enumerate().map(|(k, time)| kept(*time, k)).collect();
            check((&format!("trials.events.{name}"), text), &times, manner, told);
        }
    }

    /// Events or values of trials: those that the plan names, else the columns that exports call so.
    fn columns(
        &self,
        (named, key, prefix): (&BTreeMap<String, String>, &str, &str),
        table: &Table,
        told: &mut Told,
    ) -> Option<TrialNumbers> {
        let mut named = named.clone();
        if named.is_empty() && self.trials.every_s.is_none() {
            named = exported(table, prefix, told);
            if !named.is_empty() {
                let columns: Vec<String> = named.keys().map(|name| format!("'{prefix}{name}'")).collect();
                let option = if key == "events" { "--event" } else { "--value" };
                let message = format!("columns {} are taken (hint: {option} names others)", columns.join(", "));
                told.warn("trials", message);
            }
        }
        let mut columns = TrialNumbers::new();
        for (name, text) in named {
            let numbers = told.evaluate(&format!("trials.{key}.{name}"), &text, table, Expression::numbers);
            let is_time = key == "events" && self.trials.every_s.is_none();
            let numbers = numbers.map(|numbers| {
                if is_time {
                    clock::trial_times(numbers, &self.clock)
                } else {
                    numbers
                }
            });
            columns.insert(name, trial_events::known(numbers?));
        }
        Some(columns)
    }

    /// Trials of equal length, one after the other: over the rows of a table, or over all that was recorded.
    fn cut(&self, every_s: f64, table: Option<&Table>, source: &Source, told: &mut Told) -> Option<Table> {
        let spans: Vec<(f64, f64)> = match (table, &self.trials.table) {
            (Some(table), Some(_)) => {
                let mut times = |name: &str| told.evaluate("trials.table", name, table, Expression::numbers);
                let (start, stop) = (times("start_time")?, times("stop_time")?);
                let scaled = |values| clock::trial_times(values, &self.clock);
                scaled(start).into_iter().zip(scaled(stop)).collect()
            }
            _ => clock::observed(source, None, &self.clock).into_iter().collect(),
        };
        let (mut start, mut stop) = (Vec::new(), Vec::new());
        for (from, to) in spans {
            // A trial that rounding alone makes too long is whole.
            let n = ((to - from) / every_s + 1e-9).floor();
            if n + start.len() as f64 > MAX_TRIALS {
                let message = format!("{every_s} s cut {from} s to {to} s into more than {MAX_TRIALS} trials");
                told.refuse("trials.every_s", message);
                return None;
            }
            for i in 0..n.max(0.0) as usize {
                start.push(from + i as f64 * every_s);
                stop.push(from + (i + 1) as f64 * every_s);
            }
        }
        if start.is_empty() {
            told.refuse("trials.every_s", format!("nothing recorded is as long as {every_s} s"));
            return None;
        }
        let mut table = Table::new(start.len());
        for (name, times) in [("start_time", start), ("stop_time", stop)] {
            if let Err(finding) = table.insert("trials", name, Column::Numbers(times)) {
                told.findings.problems.push(finding);
            }
        }
        Some(table)
    }
}

/// Start or end of each trial, in the file's unit: what the plan names, else the usual column.
fn edge((key, named, usual): (&str, Option<&str>, &str), table: &Table, told: &mut Told) -> Option<Vec<f64>> {
    if named.is_none() && table.get(usual).is_none() {
        let message = format!(
            "there is no column '{usual}'; {} (hint: {key} in a TOML for --spec is another one, or an expression; --align-to and --window-s \
             together need none)",
            table.hint(usual)
        );
        told.refuse(key, message);
        return None;
    }
    told.evaluate(key, named.unwrap_or(usual), table, Expression::numbers)
}

/// Columns of numbers with a prefix in their name, by what comes after it. One with infinite numbers, which the recording can't
/// have, is left out and told.
fn exported(table: &Table, prefix: &str, told: &mut Told) -> BTreeMap<String, String> {
    let columns = table.names().filter_map(|column| {
        let name = column.strip_prefix(prefix)?;
        let is_numbers = matches!(table.get(column)?, Column::Numbers(_) | Column::Flags(_));
        let is_name = bad_name(name).is_none() && !column.contains('`');
        if let Some(Column::Numbers(values)) = table.get(column).filter(|_| is_name)
            && let Some(row) = values.iter().position(|value| value.is_infinite())
        {
            told.warn(
                "trials",
                format!("column '{column}' is not taken, because row {row} is {}", values[row]),
            );
            return None;
        }
        (is_numbers && is_name).then(|| (name.to_owned(), format!("`{column}`")))
    });
    columns.collect()
}

/// Most trials that a recording is cut into.
const MAX_TRIALS: f64 = 1e6;

/// The table that trials are taken from, if the file has one; a message where it doesn't have the one that is named.
pub(super) fn table<'a>(plan: &TrialsPlan, source: &'a Source) -> Result<Option<&'a Table>, String> {
    let Some(name) = &plan.table else {
        return Ok(source.trials.as_ref());
    };
    let trials = source.trials.as_ref().filter(|_| name == "trials");
    if let Some(table) = source.intervals.get(name).or(trials) {
        return Ok(Some(table));
    }
    let mut known: Vec<&str> = source.intervals.keys().map(String::as_str).collect();
    known.extend(source.trials.as_ref().map(|_| "trials"));
    let known = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    Err(format!("the file has no table '{name}'; there are: {known}"))
}

/// What the plan names, else the column that native recordings call so, if it has a number or flag in every row; which is told.
fn usual(named: Option<&String>, (option, name): (&str, &str), table: &Table, told: &mut Told) -> Option<String> {
    if named.is_some() {
        return named.cloned();
    }
    let n_missing = match table.get(name)? {
        Column::Numbers(values) => values.iter().filter(|value| !value.is_finite()).count(),
        Column::Flags(_) => 0,
        Column::Texts(_) => {
            let message = format!("column '{name}' has texts and is not taken (hint: {option} says what is)");
            told.warn("trials", message);
            return None;
        }
    };
    if n_missing > 0 {
        let message = format!(
            "column '{name}' has no number in {n_missing} of {} rows and is not taken (hint: {option} \"coalesce({name}, 0)\" takes 0 there)",
            table.n_rows()
        );
        told.warn("trials", message);
        return None;
    }
    told.warn(
        "trials",
        format!("column '{name}' is taken (hint: {option} names another one)"),
    );
    Some(name.to_owned())
}

/// The label of each trial; none where no rule holds.
fn labels(plan: &TrialsPlan, table: &Table, told: &mut Told) -> Option<Vec<Option<String>>> {
    let n = table.n_rows();
    if !plan.types.is_empty() {
        let mut labels = vec![None; n];
        for (i, rule) in plan.types.iter().enumerate() {
            let holds = told.condition(&format!("trials.types[{i}].when"), &rule.when, "trials", table)?;
            for (label, _) in labels
                .iter_mut()
                .zip(holds)
                .filter(|(label, holds)| label.is_none() && *holds)
            {
                *label = Some(rule.name.clone());
            }
        }
        return Some(labels);
    }
    let column = match &plan.trial_type {
        Some(text) => told.evaluate("trials.type", text, table, Expression::evaluate)?,
        None => match table.get("trial_type") {
            Some(column) => column.clone(),
            None => return Some(vec![Some(DEFAULT_TYPE.to_owned()); n]),
        },
    };
    // Texts of flags are written in many ways; the label of a flag is one.
    let is_flag = |text: &String| {
        ["", "true", "false"]
            .iter()
            .any(|flag| text.trim().eq_ignore_ascii_case(flag))
    };
    let is_flags = matches!(&column, Column::Texts(texts) if texts.iter().all(is_flag));
    let mut n_missing = 0;
    let labels = (0..n).map(|k| {
        let text = column.text(k);
        let text = if is_flags {
            text.trim().to_ascii_lowercase()
        } else {
            text
        };
        n_missing += usize::from(text.is_empty());
        Some(if text.is_empty() { UNKNOWN_TYPE.to_owned() } else { text })
    });
    let labels = labels.collect();
    if n_missing > 0 {
        let message = format!("{n_missing} of {n} trials have no type; it is '{UNKNOWN_TYPE}'");
        told.warn("trials", message);
    }
    Some(labels)
}

/// The conditions of a filter as rules to be counted.
pub(super) fn filter_rules(filter: Option<&str>, key: &str, table: &Table, told: &mut Told) -> Option<Vec<Rule>> {
    let Some(text) = filter else { return Some(Vec::new()) };
    told.evaluate(key, text, table, Expression::rules)
}

/// A rule that is no expression.
pub(super) fn rule_of(text: &str, keeps: Vec<bool>) -> Rule {
    Rule {
        text: text.to_owned(),
        missing: 0,
        unknown: vec![false; keeps.len()],
        keeps,
    }
}

/// Leaves out trials that lie outside of what was recorded.
pub(super) fn within(
    trials: Vec<Trial>,
    events: &TrialEvents,
    (from, to): (f64, f64),
    told: &mut Told,
) -> (Vec<Trial>, TrialEvents) {
    let n = trials.len();
    let (rows, kept): (Vec<usize>, Vec<Trial>) = trials
        .into_iter()
        .enumerate()
        .filter(|(_, trial)| trial.start_s < to && trial.stop_s > from)
        .unzip();
    let n_out = n - kept.len();
    if n_out > 0 {
        told.trials.kept = kept.len();
        told.trials
            .leave_out(format!("spikes being recorded, from {from} s to {to} s"), n_out);
        if kept.is_empty() {
            told.refuse(
                "trials",
                format!("none of {n} trials lies within what was recorded, {from} s to {to} s"),
            );
        }
    }
    (kept, events.select(&rows))
}
