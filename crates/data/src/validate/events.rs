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

/// An event that lies outside of most of the trials that have it is likely in another unit, or on another clock. A single trial
/// proves nothing: one that starts at 0 holds times that count from the start of a trial.
fn outside(times_s: &[Option<f64>], trials: Option<&TrialColumns<'_>>) -> Option<String> {
    let trials = trials?;
    let spans = trials.start_s.as_ref()?.iter().zip(trials.stop_s.as_ref()?);
    let happened = times_s
        .iter()
        .zip(spans)
        .filter_map(|(time, span)| Some(((*time)?, span)));
    let n = happened.clone().count();
    let mut outside = happened.filter(|(time, (start, stop))| !(**start..=**stop).contains(time));
    let (first_s, _) = outside.next()?;
    let n_outside = 1 + outside.count();
    (2 * n_outside > n).then(|| {
        let (what, whose) = if n_outside == n { ("no time lies".to_owned(), "its") } else { (format!("{n_outside} of {n} times don't lie"), "their") };
        format!("{what} between start and stop of {whose} trial; the first is {first_s} s (times in ms, or relative to the trial?)")
    })
}
