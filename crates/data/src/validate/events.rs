//! Do events and values of trials make sense?

use super::{TrialColumns, bad_name};
use crate::error::Findings;
use crate::trial_events::TrialEvents;

/// Checks events and values; `at` is the path of the table of trials.
pub(super) fn check_trial_events(
    events: &TrialEvents,
    trials: Option<&TrialColumns<'_>>,
    at: &str,
    findings: &mut Findings,
) {
    let columns = events.times_s.iter().map(|column| ("events", column));
    for (kind, (name, column)) in columns.chain(events.values.iter().map(|column| ("values", column))) {
        let at = format!("{at}/{kind}/{name}");
        if let Some(reason) = bad_name(name) {
            findings.problem(&at, format!("the name {reason}"));
        }
        if let Some(trials) = trials.filter(|trials| trials.n != column.len()) {
            let message = format!("{} rows, but there are {} trials", column.len(), trials.n);
            findings.problem(&at, message);
            continue;
        }
        for (k, value) in column.iter().enumerate() {
            if let Some(value) = value.filter(|value| !value.is_finite()) {
                let expected = "expected a finite number, or NaN for none";
                findings.problem(format!("{at}, trial {k}"), format!("{value}; {expected}"));
            }
        }
        if column.iter().all(Option::is_none) {
            findings.warning(&at, "no trial has it");
        } else if kind == "events"
            && let Some(message) = outside(column, trials)
        {
            findings.warning(&at, message);
        }
    }
}

/// An event that lies in none of the trials that have it is most likely in another unit, or on another clock.
fn outside(times_s: &[Option<f64>], trials: Option<&TrialColumns<'_>>) -> Option<String> {
    let trials = trials?;
    let spans = trials.start_s.as_ref()?.iter().zip(trials.stop_s.as_ref()?);
    let mut happened = times_s
        .iter()
        .zip(spans)
        .filter_map(|(time, span)| Some(((*time)?, span)));
    let (first_s, _) = happened.clone().next()?;
    let is_within = happened.any(|(time, (start, stop))| (*start..=*stop).contains(&time));
    (!is_within).then(|| {
        format!("no time lies between start and stop of its trial; the first is {first_s} s (times in ms, or relative to the trial?)")
    })
}
