//! A session in the terms of formats that know spike times and continuous traces only.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ndarray::{Array2, Array3};

use crate::binned::BinnedSession;
use crate::binning::{BinOptions, bin_session};
use crate::error::{DataError, Finding};
use crate::import::plan::trials::{EVENT_COLUMNS, VALUE_COLUMNS};
use crate::presence::{self, Stretches};
use crate::recording::{Activity, Behaviour, BehaviourSamples, Session, Timing, Trial};
use crate::trial_events::{self, TrialEvents};

/// So many units are named in a message.
const SHOWN_UNITS: usize = 8;

/// A session whose activity is spike times and whose behaviour is continuous.
#[derive(Debug)]
pub(super) struct Plain<'a> {
    pub(super) session: &'a Session,
    /// Times (s) per unit, not decreasing.
    pub(super) times_s: Cow<'a, [Vec<f64>]>,
    /// From when to when (s) spikes were recorded.
    pub(super) observed_s: (f64, f64),
    /// When each unit was observed, where that is known.
    pub(super) unit_observed_s: Option<Cow<'a, [Stretches]>>,
    pub(super) trials: Cow<'a, [Trial]>,
    pub(super) behaviour: BTreeMap<&'a str, Cow<'a, Behaviour>>,
    /// What was changed, and what is not held.
    pub(super) warnings: Vec<Finding>,
}

/// A column of numbers of the table of trials.
pub(super) struct TrialNumbers {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) value: fn(&Trial) -> f64,
}

/// Columns that every trial has.
pub(super) const TRIAL_NUMBERS: [TrialNumbers; 4] = [
    TrialNumbers {
        name: "start_time",
        description: "start of the trial (s)",
        value: |trial| trial.start_s,
    },
    TrialNumbers {
        name: "stop_time",
        description: "end of the trial (s)",
        value: |trial| trial.stop_s,
    },
    TrialNumbers {
        name: "align_time",
        description: "the event that bins are counted from, usually the stimulus (s)",
        value: |trial| trial.align_s,
    },
    TrialNumbers {
        name: "stimulus",
        description: "value of the stimulus, such as an amplitude; 0 where there is none",
        value: |trial| trial.stimulus,
    },
];

/// Further columns of numbers of the table of trials: events (s) and values, NaN where a trial has none.
pub(super) fn event_columns(events: &TrialEvents) -> Vec<EventColumn> {
    let kinds = [
        (
            EVENT_COLUMNS,
            "time of the event (s); NaN where it did not happen",
            &events.times_s,
        ),
        (
            VALUE_COLUMNS,
            "value in the trial; NaN where there is none",
            &events.values,
        ),
    ];
    let columns = kinds.into_iter().flat_map(|(prefix, description, columns)| {
        columns.iter().map(move |(name, column)| EventColumn {
            name: format!("{prefix}{name}"),
            description,
            values: trial_events::to_nan(column),
        })
    });
    columns.collect()
}

/// An event or value as a column.
pub(super) struct EventColumn {
    pub(super) name: String,
    pub(super) description: &'static str,
    pub(super) values: Vec<f64>,
}

/// The stored counts of a session.
struct Bins<'a> {
    counts: &'a Array3<u8>,
    /// Width (s).
    width_s: f64,
    /// Left edge of the first bin of each trial (s).
    edges_s: Vec<f64>,
    /// Leading bins of each trial that are data.
    valid: Vec<usize>,
    /// Trials in the order of their bins.
    order: Vec<usize>,
}

impl<'a> Plain<'a> {
    /// A session as it is, or counts as times: the spikes of a bin evenly within it, samples of behaviour at its centre.
    /// Binned again with the same width, they are the same counts, padding and samples.
    ///
    /// # Errors
    /// [`DataError::Bin`] if the bins of two trials overlap: a spike would be in both.
    pub(super) fn of(session: &'a Session) -> Result<Self, DataError> {
        let mut plain = Self::of_activity(session)?;
        if let Some(movies) = &session.stimulus {
            let message = format!(
                "the file has its {} movies, but `snnfit import` doesn't read them",
                movies.len()
            );
            let at = format!("session '{}'", session.id);
            plain.warnings.push(Finding::new(at, message));
        }
        for column in event_columns(&session.events) {
            if column.name.contains('`') {
                let message = "the file has it, but `snnfit import` doesn't take it: no expression can name a column with a backtick";
                let at = format!("session '{}', column of trials '{}'", session.id, column.name);
                plain.warnings.push(Finding::new(at, message));
            }
        }
        Ok(plain)
    }

    fn of_activity(session: &'a Session) -> Result<Self, DataError> {
        match &session.activity {
            Activity::SpikeTimes {
                times_s,
                observed_s,
                unit_observed_s,
            } => Ok(Self {
                session,
                times_s: Cow::Borrowed(times_s),
                observed_s: *observed_s,
                unit_observed_s: unit_observed_s.as_deref().map(Cow::Borrowed),
                trials: Cow::Borrowed(&session.trials),
                behaviour: session
                    .behaviour
                    .iter()
                    .map(|(name, behaviour)| (name.as_str(), Cow::Borrowed(behaviour)))
                    .collect(),
                warnings: Vec::new(),
            }),
            Activity::Binned {
                counts,
                bin_ms,
                start_ms,
                presence,
            } => Self::of_counts(session, counts, *bin_ms, *start_ms, presence.as_ref()),
        }
    }

    fn of_counts(
        session: &'a Session,
        counts: &'a Array3<u8>,
        bin_ms: f64,
        start_ms: f64,
        presence: Option<&Array2<bool>>,
    ) -> Result<Self, DataError> {
        let n_bins = counts.dim().1;
        // Which bins are data is decided in one place.
        let options = BinOptions {
            bin_ms,
            window_ms: Some((start_ms, start_ms + n_bins as f64 * bin_ms)),
            behaviour: Vec::new(),
        };
        let BinnedSession { valid_bins, .. } = bin_session(session, &options)?;
        let bins = Bins::new(session, counts, (bin_ms, start_ms), valid_bins)?;
        let mut warnings = vec![Finding::new(
            format!("session '{}'", session.id),
            format!(
                "counts in bins of {bin_ms} ms are written as spikes within their bins; binned with the same width they are the same counts"
            ),
        )];
        let n_lost = bins.n_in_padding();
        if n_lost > 0 {
            let message = format!(
                "{n_lost} spikes are in bins that are not data (padding, or outside of their trial); they are left out"
            );
            warnings.push(Finding::new(format!("session '{}'", session.id), message));
        }
        let trials = bins.trials(session, &mut warnings);
        let edges = trials.iter().map(|trial| (trial.start_s, trial.stop_s));
        let observed_s = edges.fold((f64::INFINITY, f64::NEG_INFINITY), |all, trial| {
            (all.0.min(trial.0), all.1.max(trial.1))
        });
        let behaviour = session.behaviour.iter().map(|(name, behaviour)| {
            let behaviour = match &behaviour.samples {
                BehaviourSamples::PerBin(values) => Cow::Owned(Behaviour {
                    samples: bins.samples(values),
                    unit: behaviour.unit.clone(),
                }),
                BehaviourSamples::Continuous { .. } => Cow::Borrowed(behaviour),
            };
            (name.as_str(), behaviour)
        });
        let unit_observed_s = Some(Cow::Owned(stretches(session, &trials, presence)));
        Ok(Self {
            session,
            times_s: Cow::Owned(bins.spike_times()),
            observed_s,
            unit_observed_s,
            behaviour: behaviour.collect(),
            trials: Cow::Owned(trials),
            warnings,
        })
    }

    /// End of each unit in the concatenated spike times.
    pub(super) fn ends(&self) -> Vec<i64> {
        let ends = self.times_s.iter().scan(0_i64, |end, times| {
            *end += times.len() as i64;
            Some(*end)
        });
        ends.collect()
    }
}

/// The units that formats which don't know of bins can hold, and what is said of the others: those of counts that were
/// observed in no trial would be silent ones. `has_stretches`: whether the format says when each unit was observed; otherwise
/// that is so of spike times too.
pub(super) fn observed_units(session: &Session, has_stretches: bool) -> (Cow<'_, Session>, Option<Finding>) {
    let never = unobserved(session, has_stretches);
    if never.is_empty() {
        return (Cow::Borrowed(session), None);
    }
    let kept: Vec<usize> = (0..session.n_units()).filter(|n| !never.contains(n)).collect();
    let names: Vec<String> = never
        .iter()
        .take(SHOWN_UNITS)
        .filter_map(|&n| Some(format!("'{}'", session.units.get(n)?.id.escape_debug())))
        .collect();
    let more = if never.len() > SHOWN_UNITS { ", …" } else { "" };
    let message = format!(
        "{} of {} units were observed in no trial, which the format can't say: they are left out: {}{more}",
        never.len(),
        session.n_units(),
        names.join(", ")
    );
    let finding = Finding::new(format!("session '{}'", session.id), message);
    (Cow::Owned(session.select_units(&kept)), Some(finding))
}

/// How many units of a session an NWB file (which says when each was observed, `has_stretches`) or an archive (which doesn't)
/// holds: those that were observed in no trial would be silent units there, and are left out.
pub fn n_units(session: &Session, has_stretches: bool) -> usize {
    session.n_units() - unobserved(session, has_stretches).len()
}

/// Units that [`observed_units`] leaves out.
fn unobserved(session: &Session, has_stretches: bool) -> Vec<usize> {
    match session.activity {
        Activity::SpikeTimes { .. } if has_stretches => Vec::new(),
        _ => presence::never_observed(session),
    }
}

/// From start to stop of the trials that each unit was observed in: what lies between them was not recorded.
fn stretches(session: &Session, trials: &[Trial], presence: Option<&Array2<bool>>) -> Vec<Stretches> {
    let of_unit = |n: usize| {
        let is_there = |k: usize| presence.is_none_or(|presence| presence[[k, n]]);
        let there = trials.iter().enumerate().filter(|(k, _)| is_there(*k));
        presence::merged(
            there.map(|(_, trial)| (trial.start_s, trial.stop_s)).collect(),
            presence::SLACK_S,
        )
    };
    if presence.is_none() {
        return vec![of_unit(0); session.n_units()];
    }
    (0..session.n_units()).map(of_unit).collect()
}

impl<'a> Bins<'a> {
    fn new(
        session: &Session,
        counts: &'a Array3<u8>,
        (bin_ms, start_ms): (f64, f64),
        valid: Vec<usize>,
    ) -> Result<Self, DataError> {
        let width_s = bin_ms / 1000.0;
        let edges_s: Vec<f64> = session
            .trials
            .iter()
            .map(|trial| trial.align_s + start_ms / 1000.0)
            .collect();
        let mut order: Vec<usize> = (0..edges_s.len()).filter(|&k| valid[k] > 0).collect();
        order.sort_by(|&a, &b| edges_s[a].total_cmp(&edges_s[b]).then(a.cmp(&b)));
        let end_s = |k: usize| edges_s[k] + valid[k] as f64 * width_s;
        let slack_s = 1e-3 * width_s;
        let pairs = order.iter().zip(order.iter().skip(1));
        let mut overlaps = pairs.filter(|&(&first, &second)| edges_s[second] < end_s(first) - slack_s);
        if let Some((first, second)) = overlaps.next() {
            let message = format!(
                "the bins of trials {first} and {second} overlap in time, so that a spike would be in both (hint: the native file keeps counts: --as h5)"
            );
            return Err(DataError::Bin {
                session: session.id.clone(),
                message,
            });
        }
        Ok(Self {
            counts,
            width_s,
            edges_s,
            valid,
            order,
        })
    }

    /// Time (s) of a place in a bin, 0 at its left edge and 1 at its right one.
    fn time_s(&self, trial: usize, bin: usize, place: f64) -> f64 {
        self.edges_s[trial] + (bin as f64 + place) * self.width_s
    }

    fn spike_times(&self) -> Vec<Vec<f64>> {
        let mut times_s = vec![Vec::new(); self.counts.dim().2];
        for &k in &self.order {
            for t in 0..self.valid[k] {
                for (n, times_s) in times_s.iter_mut().enumerate() {
                    let count = self.counts[[k, t, n]];
                    let place = |i: u8| (f64::from(i) + 0.5) / f64::from(count);
                    times_s.extend((0..count).map(|i| self.time_s(k, t, place(i))));
                }
            }
        }
        times_s
    }

    fn n_in_padding(&self) -> u64 {
        let trials = self.counts.outer_iter().zip(&self.valid);
        trials
            .flat_map(|(trial, &valid)| {
                let padding = trial
                    .outer_iter()
                    .skip(valid)
                    .map(|bin| bin.iter().map(|&n| u64::from(n)).sum::<u64>());
                padding.collect::<Vec<u64>>()
            })
            .sum()
    }

    /// Trials from their first to their last recorded bin, and to the event that bins are counted from: what lies outside was not
    /// recorded, and would be silence.
    fn trials(&self, session: &Session, warnings: &mut Vec<Finding>) -> Vec<Trial> {
        let mut n_cut = 0;
        let mut n_empty = 0;
        let cut = |(k, trial): (usize, &Trial)| {
            let mut trial = trial.clone();
            trial.valid_bins = None;
            let [first_s, end_s] = [0, self.valid[k]].map(|bin| self.time_s(k, bin, 0.0));
            let half_s = 0.5 * self.width_s;
            let before = (trial.start_s, trial.stop_s);
            if trial.start_s < first_s - half_s {
                trial.start_s = first_s.min(trial.align_s);
            }
            if trial.stop_s > end_s + half_s {
                // A trial has a length, and one of less than a bin has none that is whole.
                trial.stop_s = end_s.max(trial.align_s).max(trial.start_s + half_s);
            }
            n_cut += usize::from(before != (trial.start_s, trial.stop_s));
            n_empty += usize::from(self.valid[k] == 0);
            trial
        };
        let trials = session.trials.iter().enumerate().map(cut).collect();
        let at = format!("session '{}'", session.id);
        if n_cut > 0 {
            let message = format!(
                "{n_cut} trials begin and end (start_time, stop_time) with their recorded bins, which says the same as valid_bins"
            );
            warnings.push(Finding::new(&at, message));
        }
        if n_empty > 0 {
            warnings.push(Finding::new(
                at,
                format!("{n_empty} trials have no recorded bin; no spike is theirs"),
            ));
        }
        trials
    }

    /// Samples of the recorded bins at their centres.
    fn samples(&self, values: &Array2<f32>) -> BehaviourSamples {
        let places = || self.order.iter().flat_map(|&k| (0..self.valid[k]).map(move |t| (k, t)));
        BehaviourSamples::Continuous {
            values: places().map(|place| values[place]).collect(),
            timing: Timing::Timestamps(places().map(|(k, t)| self.time_s(k, t, 0.5)).collect()),
        }
    }
}
