//! From when to when the rows of trials last, and whether events lie in theirs.
//!
//! A time after the start of a trial, read as one of the session, lies in the session's first seconds: every trial would be
//! cut from there without a fault. With a window around an event the trial is made from it, so only the row can tell.

use super::relative::moves_with;
use super::{ClockPlan, Told, TrialsPlan, clock};
use crate::import::expression::Expression;
use crate::import::table::{Column, Table};

/// Columns of start and end of a row.
const EDGES: [&str; 2] = ["start_time", "stop_time"];
/// Other columns of starts, where neither the first of [`EDGES`] nor the plan says it and where their numbers grow as times do.
const STARTS: [&str; 10] = [
    "trial_start",
    "trial_start_time",
    "start",
    "starts",
    "trial_onset",
    "trial_onset_time",
    "onset",
    "onset_time",
    "t_start",
    "intervals_0",
];
/// Their ends.
const STOPS: [&str; 8] = [
    "trial_end",
    "trial_stop",
    "trial_stop_time",
    "trial_end_time",
    "stop",
    "end",
    "end_time",
    "intervals_1",
];
/// Starts of rows grow at least so often; a table may be of several blocks.
const GROWS: f64 = 0.9;
/// An event is far from its row if it lies so many times their length, or their distance, beside it.
const FAR: f64 = 10.0;

/// Slack (s) at the edges of a row: files round times, each column in its own way.
const SLACK_S: f64 = 1e-3;

/// Start and end of each row, and how the start is called. Rows without an end last until the next one starts.
pub(super) struct Rows {
    pub(super) spans: Vec<(f64, f64)>,
    start: String,
    /// What was taken for the ends, and in how many rows they are before the start and taken for durations.
    durations: Option<(String, usize)>,
}

/// What is done about times outside of their rows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Most are refused, and some told.
    Refuse,
    /// Most are refused; some are told elsewhere.
    RefuseMost,
    /// They are told.
    Tell,
}

/// What would bring times into their rows: whether they count from the start, a factor, and what is done to their text.
const REMEDIES: [(bool, f64, &str, &str); 5] = [
    (true, 1.0, "", "as times after the start of the row"),
    (false, 1e-3, " / 1000", "divided by 1000"),
    (false, 1e3, " * 1000", "times 1000"),
    (true, 1e-3, " / 1000", "divided by 1000, after the start of the row"),
    (true, 1e3, " * 1000", "times 1000, after the start of the row"),
];

impl Rows {
    /// The rows' own columns, else what the plan calls start and end of a trial; in the file's unit. None without a start.
    pub(super) fn of(plan: &TrialsPlan, table: &Table) -> Option<Self> {
        let numbers = |column: &str, named: &Option<String>| {
            if let Some(Column::Numbers(values)) = table.get(column) {
                return Some((column.to_owned(), values.clone()));
            }
            let text = named.as_ref()?;
            let values = Expression::parse(text).and_then(|expression| expression.numbers(table));
            Some((text.clone(), values.ok()?))
        };
        let grows = |values: &[f64]| {
            let n = values.windows(2).filter(|pair| pair[1] > pair[0]).count();
            values.len() > 1 && n as f64 >= GROWS * (values.len() - 1) as f64
        };
        let guessed = |names: &[&str]| {
            let mut found = names.iter().filter_map(|name| numbers(name, &None));
            found.find(|(_, values)| grows(values))
        };
        let [start, stop] = EDGES;
        let (name, starts) = numbers(start, &plan.start).or_else(|| guessed(&STARTS))?;
        let stops = numbers(stop, &plan.stop).or_else(|| guessed(&STOPS).filter(|_| name != start));
        let mut durations = None;
        let stops = stops.map(|(text, mut stops)| {
            let before = |(stop, start): &(&mut f64, &f64)| **stop < **start && **stop >= 0.0;
            let n_before = stops.iter_mut().zip(&starts).filter(before).count();
            if 2 * n_before > starts.len() {
                for (stop, start) in stops.iter_mut().zip(&starts) {
                    *stop += start;
                }
                durations = Some((text, n_before));
            }
            stops
        });
        let mut in_order: Vec<f64> = starts.iter().copied().filter(|start| start.is_finite()).collect();
        in_order.sort_by(f64::total_cmp);
        let next = |start: f64| {
            let later = in_order.get(in_order.partition_point(|other| *other <= start));
            later.copied().unwrap_or(f64::INFINITY)
        };
        let stop_of = |(k, &start): (usize, &f64)| {
            let own = stops.as_ref().and_then(|stops| stops.get(k)).copied();
            (start, own.filter(|stop| !stop.is_nan()).unwrap_or_else(|| next(start)))
        };
        Some(Self {
            spans: starts.iter().enumerate().map(stop_of).collect(),
            start: name,
            durations,
        })
    }

    /// Tells that ends are taken for durations; refuses it where trials end there.
    pub(super) fn tell_durations(&self, plan: &TrialsPlan, told: &mut Told) {
        let Some((text, n)) = &self.durations else { return };
        let is_end = match &plan.stop {
            Some(stop) if stop == text => true,
            // Another end is known.
            Some(_) => return,
            None => plan.window_s.is_none(),
        };
        let (start, end) = (operand(&self.start), operand(text));
        let found = format!(
            "'{text}' is before '{}' in {n} of {} rows",
            self.start,
            self.spans.len()
        );
        let hint = format!("(hint: trials.stop = \"{start} + {end}\" is the end of the rows, in a TOML for --spec)");
        if is_end {
            told.refuse("trials.stop", format!("{found}: is it their duration? {hint}"));
        } else {
            told.warn("trials", format!("{found}: it is taken for their duration {hint}"));
        }
    }

    /// The same in s on the clock of the recording.
    pub(super) fn scaled(mut self, clock: &ClockPlan) -> Self {
        let (starts, stops) = self.spans.into_iter().unzip();
        let (starts, stops) = (clock::trial_times(starts, clock), clock::trial_times(stops, clock));
        self.spans = starts.into_iter().zip(stops).collect();
        self
    }

    /// Looks for times (s, on the clock of the recording) most of which lie far from their rows, or would lie in them if they were
    /// counted otherwise, and for some that lie outside. `text` is the expression at `key`.
    pub(super) fn check(
        &self,
        (key, text): (&str, &str),
        times_s: &[Option<f64>],
        offset_s: f64,
        manner: Manner,
        told: &mut Told,
    ) {
        let rows: Vec<(usize, f64, (f64, f64))> = times_s
            .iter()
            .zip(&self.spans)
            .enumerate()
            .filter_map(|(k, (time, &(start, stop)))| {
                let time = time.filter(|time| time.is_finite())?;
                (start.is_finite() && start < stop).then_some((k, time, (start, stop)))
            })
            .collect();
        let is_most = |n: usize| 2 * n > rows.len();
        let is_inside = |time: f64, (start, stop): (f64, f64)| (start - SLACK_S..=stop + SLACK_S).contains(&time);
        let outside = rows.iter().filter(|(_, time, span)| !is_inside(*time, *span));
        let n_outside = outside.clone().count();
        let Some(&(k, time, (start, stop))) = outside.clone().next() else {
            return;
        };
        let message = format!(
            "{n_outside} of {} times of '{text}' lie outside of their rows; the first, of row {k}, is {time} s, and that row lasts from \
             {start} s to {stop} s",
            rows.len()
        );
        if is_most(n_outside) {
            let beside_starts: Vec<(f64, f64)> = rows.iter().map(|(_, time, span)| (*time, span.0)).collect();
            let is_of_clock = moves_with(&beside_starts);
            let remedy = REMEDIES.iter().find(|(is_relative, factor, ..)| {
                // Times that go with the starts are not counted from them; a thousandth of any time lies in rows that are long enough.
                let is_likely = !(*is_relative && is_of_clock && *factor != 1.0);
                let moved = |time: f64, start: f64| {
                    let from = if *is_relative { start } else { offset_s };
                    from + (time - offset_s) * factor
                };
                let n_inside = rows
                    .iter()
                    .filter(|(_, time, span)| is_inside(moved(*time, span.0), *span));
                is_likely && is_most(n_inside.count())
            });
            if let Some((is_relative, _, change, words)) = remedy {
                let text = if *is_relative {
                    format!("{} + {}{change}", operand(&self.start), operand(text))
                } else {
                    format!("{}{change}", operand(text))
                };
                let message = format!("{message}; {words} most lie inside (hint: {})", how_to(key, &text));
                return manner.most(key, message, told);
            }
            let next = |k: usize| self.spans.get(k + 1).filter(|span| span.0 < span.1);
            let n_next = rows
                .iter()
                .filter(|(k, time, _)| next(*k).is_some_and(|span| is_inside(*time, *span)));
            if is_most(n_next.count()) {
                let found = "most lie in the row after theirs: are columns of the table shifted against each other?";
                return manner.most(key, format!("{message}; {found}{}", manner.way_out()), told);
            }
            let far_s = self.far_s();
            let is_far =
                |&&(_, time, (start, stop)): &&(usize, f64, (f64, f64))| time < start - far_s || time > stop + far_s;
            if is_most(outside.filter(is_far).count()) {
                let found = "are they of another clock, or counted from something else?";
                return manner.most(key, format!("{message}: {found}{}", manner.way_out()), told);
            }
        }
        if manner != Manner::RefuseMost {
            told.warn(key, message);
        }
    }

    /// Beyond this (s) an event is not beside its row, but somewhere else.
    fn far_s(&self) -> f64 {
        let median = |mut lengths: Vec<f64>| {
            lengths.retain(|length| length.is_finite());
            lengths.sort_by(f64::total_cmp);
            lengths.get(lengths.len() / 2).copied().unwrap_or(0.0)
        };
        let mut starts: Vec<f64> = self.spans.iter().map(|span| span.0).collect();
        starts.retain(|start| start.is_finite());
        starts.sort_by(f64::total_cmp);
        let distances = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let lengths = self.spans.iter().map(|(start, stop)| stop - start).collect();
        FAR * median(lengths).max(median(distances))
    }
}

impl Manner {
    /// What takes times that are refused although nothing is known that would bring them into their rows.
    fn way_out(self) -> &'static str {
        match self {
            Self::Refuse => {
                " (hint: trials.outside = true in a TOML for --spec takes them as they are, such as responses after the end of a row)"
            }
            // Without a window a trial is its row, and the event has to lie in it.
            Self::RefuseMost => {
                " (hint: with --window-s, a trial needs no row: trials.outside = true in a TOML for --spec then takes them as they are, such as \
                 responses after the end of a row)"
            }
            Self::Tell => "",
        }
    }

    /// Tells or refuses that most are outside.
    pub(super) fn most(self, key: &str, message: String, told: &mut Told) {
        match self {
            Self::Refuse | Self::RefuseMost => told.refuse(key, message),
            Self::Tell => told.warn(key, message),
        }
    }
}

/// How an expression is given for the event that trials are aligned to, or for another one: by an option, or by its key.
pub(super) fn how_to(key: &str, text: &str) -> String {
    let value = match key.strip_prefix("trials.events.") {
        Some(name) => format!("{name}={text}"),
        None => text.to_owned(),
    };
    let option = if key == "trials.align_to" {
        "--align-to"
    } else {
        "--event"
    };
    // A shell runs what is in backticks, but not in single quotes.
    let quote = if value.contains('\'') { '"' } else { '\'' };
    format!("{option} {quote}{value}{quote}, or {key} = \"{text}\" in a TOML for --spec")
}

/// A text as a part of a sum or product.
pub(super) fn operand(text: &str) -> String {
    let is_name = text.chars().all(|c| c.is_alphanumeric() || "_.`".contains(c));
    if is_name { text.to_owned() } else { format!("({text})") }
}
