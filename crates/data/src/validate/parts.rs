//! What is known of a session, column by column, so that one that can't be read hides no fault of the rest.

use ndarray::{Array2, Array3};

use crate::presence::Stretches;
use crate::recording::{Activity, Behaviour, Session, StimulusMovies, Trial};
use crate::trial_events::TrialEvents;

/// One line for many units or trials names so many of them.
const SHOWN_IN_GROUP: usize = 5;

/// What is known of a session. What could not be read is `None`, and takes no part in the checks.
#[derive(Default)]
pub(crate) struct Parts<'a> {
    pub(crate) units: Option<UnitColumns<'a>>,
    pub(crate) trials: Option<TrialColumns<'a>>,
    pub(crate) events: Option<&'a TrialEvents>,
    pub(crate) activity: Option<ActivityParts<'a>>,
    pub(crate) behaviour: Vec<(&'a str, &'a Behaviour)>,
    pub(crate) movies: Option<&'a StimulusMovies>,
    /// Number of movies; `None`: the session has some, but they could not be read.
    pub(crate) n_movies: Option<usize>,
}

/// Columns of the unit table; all have one entry per unit.
#[derive(Default)]
pub(crate) struct UnitColumns<'a> {
    pub(crate) n: usize,
    pub(crate) id: Option<Vec<&'a str>>,
    pub(crate) area: Option<Vec<&'a str>>,
    pub(crate) firing_rate_hz: Option<Vec<Option<f64>>>,
}

/// Columns of the trial table; all have one entry per trial.
#[derive(Default)]
pub(crate) struct TrialColumns<'a> {
    pub(crate) n: usize,
    pub(crate) start_s: Option<Vec<f64>>,
    pub(crate) stop_s: Option<Vec<f64>>,
    pub(crate) align_s: Option<Vec<f64>>,
    pub(crate) stimulus: Option<Vec<f64>>,
    pub(crate) trial_type: Option<Vec<&'a str>>,
    pub(crate) movie: Option<Vec<Option<usize>>>,
    pub(crate) valid_bins: Option<Vec<Option<usize>>>,
}

/// Spikes, as far as they are known.
pub(crate) enum ActivityParts<'a> {
    SpikeTimes {
        times_s: &'a [Vec<f64>],
        observed_s: Option<(f64, f64)>,
        unit_observed_s: Option<&'a [Stretches]>,
    },
    Binned {
        counts: &'a Array3<u8>,
        bin_ms: Option<f64>,
        start_ms: Option<f64>,
        presence: Option<&'a Array2<bool>>,
    },
}

impl<'a> Parts<'a> {
    pub(super) fn of(session: &'a Session) -> Self {
        let (units, trials) = (&session.units, &session.trials);
        let times = |value: fn(&Trial) -> f64| Some(trials.iter().map(value).collect());
        Self {
            units: Some(UnitColumns {
                n: units.len(),
                id: Some(units.iter().map(|unit| unit.id.as_str()).collect()),
                area: Some(units.iter().map(|unit| unit.area.as_str()).collect()),
                firing_rate_hz: Some(units.iter().map(|unit| unit.firing_rate_hz).collect()),
            }),
            trials: Some(TrialColumns {
                n: trials.len(),
                start_s: times(|trial| trial.start_s),
                stop_s: times(|trial| trial.stop_s),
                align_s: times(|trial| trial.align_s),
                stimulus: times(|trial| trial.stimulus),
                trial_type: Some(trials.iter().map(|trial| trial.trial_type.as_str()).collect()),
                movie: Some(trials.iter().map(|trial| trial.movie).collect()),
                valid_bins: Some(trials.iter().map(|trial| trial.valid_bins).collect()),
            }),
            events: Some(&session.events),
            activity: Some(match &session.activity {
                Activity::SpikeTimes {
                    times_s,
                    observed_s,
                    unit_observed_s,
                } => ActivityParts::SpikeTimes {
                    times_s,
                    observed_s: Some(*observed_s),
                    unit_observed_s: unit_observed_s.as_deref(),
                },
                Activity::Binned {
                    counts,
                    bin_ms,
                    start_ms,
                    presence,
                } => ActivityParts::Binned {
                    counts,
                    bin_ms: Some(*bin_ms),
                    start_ms: Some(*start_ms),
                    presence: presence.as_ref(),
                },
            }),
            behaviour: session.behaviour.iter().map(|(name, b)| (name.as_str(), b)).collect(),
            movies: session.stimulus.as_ref(),
            n_movies: Some(session.stimulus.as_ref().map_or(0, StimulusMovies::len)),
        }
    }

    /// Starts and stops of all trials (s), if both columns are known.
    pub(super) fn trial_spans(&self) -> Option<impl Iterator<Item = (f64, f64)>> {
        let trials = self.trials.as_ref()?;
        let (start, stop) = (trials.start_s.as_ref()?, trials.stop_s.as_ref()?);
        Some(start.iter().copied().zip(stop.iter().copied()))
    }

    /// "unit 3 ('u3')".
    pub(super) fn unit_name(&self, n: usize) -> String {
        match self.unit_id(n) {
            Some(id) => format!("unit {n} ('{id}')"),
            None => format!("unit {n}"),
        }
    }

    fn unit_id(&self, n: usize) -> Option<&'a str> {
        self.units.as_ref()?.id.as_ref()?.get(n).copied()
    }

    /// "3 ('u3'), 5 ('u5'), …": the first few of them.
    pub(super) fn unit_list(&self, units: &[usize]) -> String {
        first_few(units, |n| match self.unit_id(n) {
            Some(id) if id != n.to_string() => format!("{n} ('{id}')"),
            _ => n.to_string(),
        })
    }
}

/// The first [`SHOWN_IN_GROUP`] of a list, separated by commas.
pub(super) fn first_few(indices: &[usize], show: impl Fn(usize) -> String) -> String {
    let mut shown: Vec<String> = indices.iter().take(SHOWN_IN_GROUP).map(|&i| show(i)).collect();
    if indices.len() > SHOWN_IN_GROUP {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}
