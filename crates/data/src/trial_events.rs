//! What happened in each trial besides the event that bins are counted from, such as a cue whose time is drawn anew in
//! every trial, and numbers that go with it, such as a contrast.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Columns of numbers by name, `[K]`; `None` where a trial has none.
pub type TrialNumbers = BTreeMap<String, Vec<Option<f64>>>;

/// Events and values of the trials of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrialEvents {
    /// Times (s) of events on the clock of the session; `None` where one did not happen.
    pub times_s: TrialNumbers,
    /// Numbers such as amplitudes of stimuli; `None` where there is none.
    pub values: TrialNumbers,
}

impl TrialEvents {
    /// Whether there are neither events nor values.
    pub fn is_empty(&self) -> bool {
        self.times_s.is_empty() && self.values.is_empty()
    }

    /// Those of some trials, in that order; trials that don't exist have none.
    #[must_use]
    pub fn select(&self, trials: &[usize]) -> Self {
        Self {
            times_s: select(&self.times_s, trials),
            values: select(&self.values, trials),
        }
    }

    /// Times (ms) of all events relative to the event that bins are counted from, `align_s` `[K]`.
    pub fn relative_ms(&self, align_s: &[f64]) -> TrialNumbers {
        let relative = |times: &Vec<Option<f64>>| {
            let pairs = times.iter().zip(align_s);
            pairs
                .map(|(time, align_s)| time.map(|time| (time - align_s) * 1000.0))
                .collect()
        };
        let events = self.times_s.iter();
        events.map(|(name, times)| (name.clone(), relative(times))).collect()
    }
}

/// Columns of some trials.
pub(crate) fn select(columns: &TrialNumbers, trials: &[usize]) -> TrialNumbers {
    let chosen = |column: &Vec<Option<f64>>| trials.iter().map(|&k| column.get(k).copied().flatten()).collect();
    columns
        .iter()
        .map(|(name, column)| (name.clone(), chosen(column)))
        .collect()
}

/// Numbers of a file, in which NaN stands for none.
pub(crate) fn known(values: Vec<f64>) -> Vec<Option<f64>> {
    values
        .into_iter()
        .map(|value| (!value.is_nan()).then_some(value))
        .collect()
}

/// The same for a file.
pub(crate) fn to_nan(values: &[Option<f64>]) -> Vec<f64> {
    values.iter().map(|value| value.unwrap_or(f64::NAN)).collect()
}
