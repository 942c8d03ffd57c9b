//! What recorded trials bring to the model's inputs: onsets, amplitudes and lengths, drawn together with the stimulus.
//!
//! A trial of the model belongs to no session. It takes its events from one recorded trial: of the trials that it is drawn
//! from, or, where the session of that trial doesn't have the events, from another one with the same stimulus.

mod check;
mod lengths;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use data::{BinnedSession, SessionSplit};
use losses::statistics::{TrialSelection, median};
use ndarray::Array2;
use snn_core::models::rsnn::{Cues, PoissonInput};
use snn_core::units::Ms;

use crate::config::checked::{
    ChannelAmplitude, ChannelOnset, Input, InputChannel, PoissonInput as Inputs, StimulusScale,
};
use crate::fit_error::FitError;
use check::{channel_error, check_windows, missing_columns};

/// A trial of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelTrial {
    /// Stimulus that it shows, an index into [`crate::assembly::Assembly::stimuli`].
    pub stimulus: usize,
    /// Session of the recorded trial that its events are those of.
    pub session: usize,
    /// That trial, along the trial axis of the session.
    pub trial: usize,
}

/// Onsets and amplitudes of a session's trials, for each channel of the inputs.
#[derive(Debug)]
struct SessionCues {
    /// `[K, channels]`.
    first_steps: Array2<Option<i64>>,
    /// `[K, channels]`.
    values: Array2<f64>,
}

/// Onsets, amplitudes and lengths of recorded trials.
#[derive(Debug)]
pub struct TrialCues {
    /// None of a session that lacks an event or value, or that no model neuron comes from.
    sessions: Vec<Option<SessionCues>>,
    /// Leading bins of each trial that were recorded.
    valid_bins: Vec<Vec<usize>>,
    /// Training trials that can be drawn, by stimulus.
    training: BTreeMap<usize, Vec<(usize, usize)>>,
    /// Events that channels answer to, and values that scale them.
    names: Names,
    /// Bins that a trial must have to be drawn, ≥ 1.
    least_bins: usize,
    is_masked: bool,
}

/// Columns of trials that drive inputs, each once.
#[derive(Debug, Default)]
struct Names {
    events: Vec<String>,
    values: Vec<String>,
}

/// What the cues are made of.
pub(crate) struct Sources<'a> {
    pub(crate) sessions: &'a [BinnedSession],
    pub(crate) splits: &'a [SessionSplit],
    /// Whether a model neuron comes from each session.
    pub(crate) used: &'a [bool],
    /// Stimulus of each trial of each session.
    pub(crate) stimulus_of: &'a [Vec<usize>],
    /// Bins that a trial must have to be compared with others, ≥ 1.
    pub(crate) least_bins: usize,
}

impl TrialCues {
    /// Cues of the recorded trials; none where no channel takes anything from trials.
    ///
    /// # Errors
    /// [`FitError::Channel`] for an event or value that no session has, that none has together with the others, that lies
    /// in no training trial's window, or that is missing where it is needed.
    pub(crate) fn new(
        input: &Input,
        sources: &Sources<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Self>, FitError> {
        let Input::Poisson(input) = input else { return Ok(None) };
        if !input.is_by_trial() {
            return Ok(None);
        }
        let used = || sources.sessions.iter().enumerate().filter(|(s, _)| sources.used[*s]);
        let missing = missing_columns(input, sources, warnings)?;
        let mut sessions = Vec::new();
        for (s, session) in sources.sessions.iter().enumerate() {
            let has_all = sources.used[s] && !missing.contains(&s);
            sessions.push(
                has_all
                    .then(|| cues_of(input, session, &lengths::drawn(sources, s)))
                    .transpose()?,
            );
        }
        if sessions.iter().all(Option::is_none) {
            let reason = "no session has the events and values of all channels together".to_owned();
            return Err(channel_error(0, None, reason));
        }
        let valid_bins: Vec<Vec<usize>> = sources
            .sessions
            .iter()
            .map(|session| session.valid_bins.clone())
            .collect();
        let mut training = BTreeMap::<usize, Vec<(usize, usize)>>::new();
        for (s, _) in used().filter(|(s, _)| sessions[*s].is_some()) {
            let train = sources.splits[s].train.iter();
            for &k in train.filter(|&&k| valid_bins[s][k] >= sources.least_bins) {
                training.entry(sources.stimulus_of[s][k]).or_default().push((s, k));
            }
        }
        check_windows(input, &sessions, &training, sources.sessions, warnings)?;
        let has_cues: Vec<bool> = sessions.iter().map(Option::is_some).collect();
        let is_masked = lengths::are_unequal(sources, &has_cues);
        if is_masked {
            warnings.extend(lengths::too_short(sources, &has_cues));
            warnings.extend(lengths::few_complete(sources));
        }
        Ok(Some(Self {
            sessions,
            valid_bins,
            training,
            names: Names::of(input),
            least_bins: sources.least_bins,
            is_masked,
        }))
    }

    /// Whether trials end at different bins, so that the model's are masked as the recorded ones.
    pub fn is_masked(&self) -> bool {
        self.is_masked
    }

    /// Events that channels answer to.
    pub fn events(&self) -> &[String] {
        &self.names.events
    }

    /// Values that scale the answers.
    pub fn values(&self) -> &[String] {
        &self.names.values
    }

    /// Whether a recorded trial can be drawn: its session has the events, and it is long enough to be compared.
    fn can_be_drawn(&self, session: usize, trial: usize) -> bool {
        self.sessions[session].is_some() && self.valid_bins[session][trial] >= self.least_bins
    }

    /// Gives trials that can't be drawn the events of others with the same stimulus: of the pool, or else of the training
    /// trials, one after the other.
    ///
    /// # Errors
    /// [`FitError::NoCues`] for a stimulus of which no trial can be drawn.
    pub(crate) fn complete(&self, pool: &mut [ModelTrial], value_of: impl Fn(usize) -> f64) -> Result<(), FitError> {
        let mut own = BTreeMap::<usize, Vec<(usize, usize)>>::new();
        for trial in pool.iter().filter(|t| self.can_be_drawn(t.session, t.trial)) {
            own.entry(trial.stimulus)
                .or_default()
                .push((trial.session, trial.trial));
        }
        let mut next = BTreeMap::<usize, usize>::new();
        for trial in pool.iter_mut().filter(|t| !self.can_be_drawn(t.session, t.trial)) {
            let others = own.get(&trial.stimulus).or_else(|| self.training.get(&trial.stimulus));
            let place = next.entry(trial.stimulus).or_insert(0);
            let Some(&(session, k)) = others.and_then(|others| others.get(*place % others.len())) else {
                return Err(FitError::NoCues {
                    stimulus: value_of(trial.stimulus),
                    columns: self.names.all().join(", "),
                });
            };
            *place += 1;
            (trial.session, trial.trial) = (session, k);
        }
        Ok(())
    }

    /// Onsets and amplitudes of model trials.
    pub(crate) fn of(&self, trials: &[ModelTrial]) -> Cues {
        let n_channels = self
            .sessions
            .iter()
            .flatten()
            .map(|session| session.values.ncols())
            .max()
            .unwrap_or(0);
        let shape = (trials.len(), n_channels);
        let session = |k: usize| self.sessions.get(trials[k].session).and_then(Option::as_ref);
        Cues {
            first_steps: Array2::from_shape_fn(shape, |(k, c)| {
                session(k).and_then(|cues| cues.first_steps[[trials[k].trial, c]])
            }),
            values: Array2::from_shape_fn(shape, |(k, c)| {
                session(k).map_or(f64::NAN, |cues| cues.values[[trials[k].trial, c]])
            }),
        }
    }

    /// Bins that model trials have; none where all have all.
    pub(crate) fn lengths(&self, trials: &[ModelTrial]) -> Option<Vec<usize>> {
        let length = |trial: &ModelTrial| self.valid_bins[trial.session][trial.trial];
        self.is_masked.then(|| trials.iter().map(length).collect())
    }

    /// Every trial that can be drawn, of the given ones.
    pub(crate) fn drawable(&self, selection: &TrialSelection, stimulus_of: &[Vec<usize>]) -> Vec<ModelTrial> {
        let mut all = Vec::new();
        for (session, trials) in selection.iter().enumerate() {
            let drawable = trials.iter().filter(|&&k| self.can_be_drawn(session, k));
            all.extend(drawable.map(|&trial| ModelTrial {
                stimulus: stimulus_of[session][trial],
                session,
                trial,
            }));
        }
        all
    }
}

impl Names {
    fn of(input: &Inputs) -> Self {
        let mut names = Self::default();
        for channel in &input.channels {
            if let ChannelOnset::Event(event) = &channel.onset {
                names.events.push(event.clone());
            }
            if let ChannelAmplitude::Value(value) = &channel.amplitude {
                names.values.push(value.clone());
            }
        }
        for list in [&mut names.events, &mut names.values] {
            list.sort();
            list.dedup();
        }
        names
    }

    /// As in the file.
    fn all(&self) -> Vec<String> {
        let events = self.events.iter().map(|name| format!("trials/events/{name}"));
        events
            .chain(self.values.iter().map(|name| format!("trials/values/{name}")))
            .collect()
    }
}

/// Onsets and amplitudes of a session that has them all; `drawn`: its trials that model trials can be like, where nothing may lack.
fn cues_of(input: &Inputs, session: &BinnedSession, drawn: &[usize]) -> Result<SessionCues, FitError> {
    let shape = (session.n_trials(), input.channels.len());
    let mut cues = SessionCues {
        first_steps: Array2::from_elem(shape, None),
        values: Array2::from_elem(shape, 0.0),
    };
    let first_step =
        |ms: f64| PoissonInput::first_step(Ms(ms), Ms(session.start_ms), Ms(input.delay.ms), Ms(session.bin_ms));
    for (c, channel) in input.channels.iter().enumerate() {
        let event_ms = match &channel.onset {
            ChannelOnset::Ms(_) => None,
            ChannelOnset::Event(name) => Some(&session.event_ms[name]),
        };
        for k in 0..session.n_trials() {
            cues.first_steps[[k, c]] = event_ms.and_then(|times| times[k]).map(first_step);
        }
        let ChannelAmplitude::Value(name) = &channel.amplitude else {
            continue;
        };
        let values = &session.values[name];
        let happens = |k: &usize| event_ms.is_none_or(|times| times[*k].is_some());
        let with_onset = || drawn.iter().copied().filter(happens);
        let lost: Vec<usize> = with_onset().filter(|k| values[*k].is_none()).collect();
        if let Some(first) = lost.first() {
            let reason = format!(
                "trials/values/{name} of session '{}' is missing (NaN) in {} of the trials that are used and have the onset, first in trial {first}",
                session.id,
                lost.len()
            );
            return Err(channel_error(c, Some("amplitude"), reason));
        }
        let is_defined = |value: f64| input.scale == StimulusScale::Linear || value > -1.0;
        let undefined =
            with_onset().find_map(|k| values[k].filter(|value| !is_defined(*value)).map(|value| (k, value)));
        if let Some((k, value)) = undefined {
            let reason = format!(
                "trials/values/{name} of session '{}' is {value} in trial {k}; a logarithmic scale takes values above -1 \
                 (model.rsnn.input.poisson.scale = \"linear\" takes all)",
                session.id
            );
            return Err(channel_error(c, Some("amplitude"), reason));
        }
        for (k, value) in values.iter().enumerate() {
            cues.values[[k, c]] = value.unwrap_or(f64::NAN);
        }
    }
    Ok(cues)
}

/// When the inputs answer (ms): fixed onsets, and the median of each event over the trials.
pub(crate) fn onsets_ms(input: &Inputs, sessions: &[BinnedSession], train: &TrialSelection) -> Vec<f64> {
    if input.channels.is_empty() {
        return input.onsets_ms.clone();
    }
    let of_channel = |onset: &ChannelOnset| match onset {
        ChannelOnset::Ms(ms) => Some(*ms),
        ChannelOnset::Event(name) => {
            let columns = sessions.iter().zip(train);
            let times = columns.filter_map(|(session, trials)| Some((session.event_ms.get(name)?, trials)));
            let times: Vec<f64> = times
                .flat_map(|(times, trials)| trials.iter().filter_map(|&k| times[k]))
                .collect();
            median(&times)
        }
    };
    input.channels.iter().filter_map(|c| of_channel(&c.onset)).collect()
}

/// What each channel answers to: the name of an event, or a time such as `12.5 ms`.
pub fn onset_names(input: &Inputs) -> Vec<String> {
    let time = |ms: &f64| format!("{ms} ms");
    let of_channel = |channel: &InputChannel| match &channel.onset {
        ChannelOnset::Ms(ms) => time(ms),
        ChannelOnset::Event(name) => name.clone(),
    };
    let fixed = input.onsets_ms.iter().map(time);
    fixed.chain(input.channels.iter().map(of_channel)).collect()
}

/// What drives the inputs, in words: for the manifest and the report.
pub fn in_words(input: &Inputs, cues: Option<&TrialCues>) -> String {
    if input.channels.is_empty() {
        return format!("{} Poisson inputs", input.n);
    }
    let channel = |channel: &InputChannel| {
        let onset = match &channel.onset {
            ChannelOnset::Ms(ms) => format!("{ms} ms in every trial"),
            ChannelOnset::Event(name) => format!("{name} of recorded trials"),
        };
        match &channel.amplitude {
            ChannelAmplitude::One => onset,
            ChannelAmplitude::Stimulus => format!("{onset} (scaled by the stimulus)"),
            ChannelAmplitude::Value(name) => format!("{onset} (scaled by {name})"),
        }
    };
    let channels: Vec<String> = input.channels.iter().map(channel).collect();
    let masked = if cues.is_some_and(TrialCues::is_masked) {
        "; model trials are as long as the recorded ones that they take events of"
    } else {
        ""
    };
    format!(
        "{} Poisson inputs, driven at {}{masked}",
        input.n,
        channels.join(", at ")
    )
}
