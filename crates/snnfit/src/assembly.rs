//! From a checked configuration and recordings to everything a fit needs: trials, splits, neurons, network.

use crate::config::checked::{self, Experiment, MatchWithin};
use crate::cues::{self, ModelTrial, Sources, TrialCues};
use crate::evaluate::{EvaluateError, TaskTimes};
use crate::fit_error::FitError;
use crate::projections;
use crate::trace_rules::{self, TraceUnits};
use data::{BinOptions, BinnedSession, CellType, DataError, PopulationSpec, SplitOptions, Splits, Stitching};
use losses::statistics::{Presence, RecordedSession, Recording, TrialSelection};
use ndarray::{Array3, Axis, concatenate, s};
use snn_core::connectivity::{self, Neuron};
use snn_core::models::rsnn::{
    Amplitude, BehaviourSpec, FeedbackSpec, InputChannel, InputSpec, LatentKind, LatentSpec, Link, Onset, PoissonInput,
    RecordedInput, RsnnSpec, SeenStimulus, StimulusScale, TraceSpec, Trials,
};
use snn_core::rng::StreamRng;
use snn_core::surrogate::Surrogate;
use snn_core::units::Ms;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A stimulus that trials of any session may have shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Stimulus {
    /// Stimulus value.
    pub value: f64,
    /// Movie, an index into [`Assembly::movies`].
    pub movie: Option<usize>,
}

/// Which part of the trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Fitted.
    Train,
    /// Seen by early stopping.
    Validation,
    /// Seen by `evaluate` only (and `simulate --clamped-ms`).
    Test,
}

/// Trials of a run's sessions in other files.
#[derive(Debug)]
pub struct OtherTrials {
    /// One for each session of the run; or why there is none.
    pub sessions: Vec<Result<RecordedSession, String>>,
    /// Things a user should know.
    pub warnings: Vec<String>,
}

/// Everything that is fixed before the first step.
#[derive(Debug)]
pub struct Assembly {
    /// The configuration.
    pub experiment: Experiment,
    /// Binned sessions, in the order of the files.
    pub sessions: Vec<BinnedSession>,
    /// Trials of each part.
    pub splits: Splits,
    /// Which recorded unit each model neuron stands for.
    pub stitching: Stitching,
    /// The network's fixed part.
    pub spec: RsnnSpec,
    /// Recorded trials of the model's neurons; conditions are those that losses compare within.
    pub recording: Recording,
    /// Distinct stimuli.
    pub stimuli: Vec<Stimulus>,
    /// Stimulus of each trial of each session, an index into `stimuli`.
    pub stimulus_of: Vec<Vec<usize>>,
    /// Names of the trial types of the sessions in use, sorted.
    pub trial_types: Vec<String>,
    /// Movies `[S, T, C]` of all sessions.
    pub movies: Option<Array3<f32>>,
    /// What recorded trials bring to the inputs, where a channel takes anything from them.
    pub cues: Option<TrialCues>,
    /// Whether a model neuron stands for a unit of each session.
    used: Vec<bool>,
    /// Units of each session's traces.
    trace_units: Vec<BTreeMap<String, TraceUnits>>,
    /// Units that were observed in no training trial, which are not in `sessions` any more.
    pub never_observed: Vec<NeverObserved>,
    /// Things a user should know.
    pub warnings: Vec<String>,
}

/// A unit that no neuron can stand for, because it was observed in no training trial: it has no rate, and is not silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeverObserved {
    /// Session.
    pub session: String,
    /// Unit.
    pub unit: String,
    /// Its area.
    pub area: String,
}

impl Assembly {
    /// Reads the recordings and builds the rest. With `splits` given (a run that exists) they are used and checked.
    ///
    /// # Errors
    /// A recording that can't be read or doesn't fit the configuration.
    pub fn new(experiment: Experiment, splits: Option<Splits>) -> Result<Self, FitError> {
        let mut warnings = Vec::new();
        let mut sessions = load(&experiment.data, true, &mut warnings)?;
        let splits = splits_of(&experiment.split, &sessions, splits)?;
        warnings.extend(splits.warnings.iter().cloned());
        let never_observed = leave_out_unobserved(&mut sessions, &splits)?;
        let checked::Model::Rsnn(model) = &experiment.model;
        let areas = model.areas.clone().unwrap_or_else(|| recorded_areas(&sessions));
        let populations = populations(&experiment, model, &sessions, &areas)?;
        let stitching = data::stitch(
            &sessions,
            &populations,
            experiment.data.max_rate_hz,
            &mut StreamRng::new(experiment.seed, "stitch", 0),
        )?;
        let (movies, movie_offsets) = gather_movies(&sessions)?;
        let (stimuli, stimulus_of) = stimuli(&sessions, &movie_offsets);
        let is_used = |s: usize| {
            stitching
                .neurons
                .iter()
                .any(|n| n.source.is_some_and(|u| u.session == s))
        };
        let used: Vec<bool> = (0..sessions.len()).map(is_used).collect();
        let mut trace_units = vec![BTreeMap::new(); sessions.len()];
        for (s, session) in sessions.iter_mut().enumerate().filter(|(s, _)| used[*s]) {
            let (found, units) = trace_rules::apply(&experiment.data, session, &splits.sessions[s].train)?;
            warnings.extend(found);
            trace_units[s] = units;
        }
        if experiment.losses.iter().any(crate::objective::compares_trials) {
            let used = sessions
                .iter()
                .zip(&splits.sessions)
                .enumerate()
                .filter(|(s, _)| used[*s]);
            let train = used.map(|(_, (session, split))| (session, split.train.as_slice()));
            warnings.extend(trace_rules::odd_scales(&experiment.data, train));
        }
        check_traces(&experiment.data.behaviour, &sessions, &splits.sessions, &used)?;
        if matches!(model.input, checked::Input::Recorded(_)) && movies.is_some() {
            check_movies(&sessions, &used)?;
        }
        let trial_types = trial_types(&sessions, &used);
        let spec = spec(&experiment, model, &stitching, &areas, &sessions, movies.as_ref())?;
        warnings.extend(projections::without_effect(&model.projections, &spec));
        warnings.extend(undriven(&spec, &stimuli));
        let sources = Sources {
            sessions: &sessions,
            splits: &splits.sessions,
            used: &used,
            stimulus_of: &stimulus_of,
            least_bins: least_bins(&experiment, model, &sessions)?,
        };
        let cues = TrialCues::new(&model.input, &sources, &mut warnings)?;
        let recording = recording(
            &experiment,
            &sessions,
            &splits,
            &stitching,
            &areas,
            &trial_types,
            &stimulus_of,
            match experiment.statistics.match_within {
                MatchWithin::Stimulus => stimuli.len(),
                MatchWithin::All | MatchWithin::Cycle => 1,
            },
        )?;
        Ok(Self {
            experiment,
            sessions,
            splits,
            stitching,
            spec,
            recording,
            stimuli,
            stimulus_of,
            trial_types,
            movies,
            cues,
            used,
            trace_units,
            never_observed,
            warnings,
        })
    }

    /// The recorded trials with their stimuli as conditions, whatever losses compare within: for evaluation.
    ///
    /// # Errors
    /// As [`Assembly::new`].
    pub fn recording_by_stimulus(&self) -> Result<Recording, FitError> {
        recording(
            &self.experiment,
            &self.sessions,
            &self.splits,
            &self.stitching,
            &self.spec.areas,
            &self.trial_types,
            &self.stimulus_of,
            self.stimuli.len(),
        )
    }

    /// Trials of the run's sessions and units in other files, say under a perturbation: in the run's bins, behaviour in the
    /// same units, stimuli as conditions, no trial types. Trials with a stimulus that the run doesn't know are left out.
    /// Sessions without any have a reason.
    ///
    /// # Shapes
    /// One for each session; the columns are those of [`Assembly::recording_by_stimulus`].
    ///
    /// # Errors
    /// [`EvaluateError::NotComparable`] for one of the run's recordings, units that are missing, movies, and what can't be
    /// read as the run's recordings are; files that can't be opened.
    pub fn other_trials(&self, files: &[PathBuf]) -> Result<OtherTrials, FitError> {
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        let fail = |reason: String| {
            FitError::from(EvaluateError::NotComparable {
                file: names.join(", "),
                reason,
            })
        };
        if self.movies.is_some() {
            return Err(fail(
                "the run's trials show movies, which can't be told to be the same in another file".to_owned(),
            ));
        }
        let own: Vec<Option<PathBuf>> = self
            .experiment
            .data
            .files
            .iter()
            .map(|file| file.canonicalize().ok())
            .collect();
        if let Some(file) = files
            .iter()
            .find(|file| file.canonicalize().is_ok_and(|file| own.contains(&Some(file))))
        {
            return Err(fail(format!(
                "{} is a recording that the run was fitted to",
                file.display()
            )));
        }
        let mut experiment = self.experiment.clone();
        files.clone_into(&mut experiment.data.files);
        experiment.data.sessions = None;
        // The run's bins, whatever windows the files have.
        if let Some(session) = self.sessions.first() {
            let end_ms = session.start_ms + session.n_bins() as f64 * session.bin_ms;
            experiment.data.window_ms = Some([session.start_ms, end_ms]);
        }
        let mut warnings = Vec::new();
        let mut others = load(&experiment.data, true, &mut warnings).map_err(|error| match error {
            // These name their file.
            FitError::Data(
                DataError::Told { .. }
                | DataError::Reader { .. }
                | DataError::Fs(_)
                | DataError::NotHdf5 { .. }
                | DataError::NotARecording { .. },
            ) => error,
            error => fail(error.to_string()),
        })?;
        let recorded: Vec<String> = others.iter().map(|other| other.id.clone()).collect();
        let mut found = Vec::new();
        for (s, session) in self.sessions.iter().enumerate() {
            if !self.used[s] {
                found.push(Err("no neuron of the model is from it".to_owned()));
                continue;
            }
            let Some(other) = others.iter_mut().find(|other| other.id == session.id) else {
                found.push(Err(format!("{} has no such session", names.join(", "))));
                continue;
            };
            if other.n_bins() != session.n_bins() {
                let (n, expected) = (other.n_bins(), session.n_bins());
                let reason = format!("session '{}': {n} bins in the run's window, not {expected}", session.id);
                return Err(fail(reason));
            }
            let units = &self.trace_units[s];
            let lost =
                trace_rules::apply_known(&experiment.data, other, units).map_err(|error| fail(error.to_string()))?;
            warnings.extend(lost);
            found.push(self.other_session(s, other, &mut warnings).map_err(fail)?);
        }
        if !self.sessions.iter().any(|session| recorded.contains(&session.id)) {
            let known: Vec<&str> = self.sessions.iter().map(|session| session.id.as_str()).collect();
            let (known, recorded) = (known.join(", "), recorded.join(", "));
            return Err(fail(format!("has sessions {recorded}; the run has {known}")));
        }
        Ok(OtherTrials {
            sessions: found,
            warnings,
        })
    }

    fn other_session(
        &self,
        s: usize,
        other: &BinnedSession,
        warnings: &mut Vec<String>,
    ) -> Result<Result<RecordedSession, String>, String> {
        let session = &self.sessions[s];
        let pairs = self.stitching.neurons_of_session(s);
        let (mut columns, mut areas) = (Vec::new(), Vec::new());
        for &(_, unit) in &pairs {
            let unit = &session.units[unit];
            let Some(column) = other.units.iter().position(|found| found.id == unit.id) else {
                return Err(format!("session '{}' has no unit '{}'", session.id, unit.id));
            };
            columns.push(column);
            areas.push(self.spec.areas.iter().position(|area| *area == unit.area).unwrap_or(0));
        }
        let condition = |trial: &data::TrialInfo| {
            let same = |stimulus: &Stimulus| stimulus.value == trial.stimulus;
            self.stimuli.iter().position(same).filter(|_| trial.movie.is_none())
        };
        let known: Vec<(usize, usize)> = other
            .trials
            .iter()
            .enumerate()
            .filter_map(|(k, trial)| Some((k, condition(trial)?)))
            .collect();
        let n_left_out = other.n_trials() - known.len();
        if n_left_out > 0 {
            warnings.push(format!(
                "session '{}': {n_left_out} trials have a stimulus that the run doesn't know, and are left out",
                session.id
            ));
        }
        let (kept, conditions): (Vec<usize>, Vec<usize>) = known.into_iter().unzip();
        if kept.is_empty() {
            let mut found: Vec<String> = other.trials.iter().map(|trial| trial.stimulus.to_string()).collect();
            found.sort();
            found.dedup();
            let known: Vec<String> = self.stimuli.iter().map(|stimulus| stimulus.value.to_string()).collect();
            return Ok(Err(format!(
                "its trials have stimulus {}, the run's {}",
                found.join(", "),
                known.join(", ")
            )));
        }
        let valid_bins: Vec<usize> = kept.iter().map(|&k| other.valid_bins[k]).collect();
        let presence = match &other.presence {
            None => None,
            Some(mask) => {
                let mask = mask.select(Axis(1), &columns).select(Axis(0), &kept);
                let used: Vec<usize> = (0..kept.len()).filter(|&k| valid_bins[k] > 0).collect();
                let found = Presence::of_mask(mask, &used, self.experiment.statistics.min_presence);
                Some(found.map_err(|error| error.to_string())?)
            }
        };
        let mut recorded = RecordedSession {
            name: session.id.clone(),
            counts: other.spikes.select(Axis(2), &columns).select(Axis(0), &kept),
            valid_bins,
            trial_types: vec![0; kept.len()],
            conditions,
            neurons: pairs.iter().map(|(neuron, _)| *neuron).collect(),
            areas,
            presence,
            behaviour: traces(other, &self.experiment.data.behaviour).map(|all| all.select(Axis(0), &kept)),
        };
        let all: Vec<usize> = (0..kept.len()).collect();
        let ids: Vec<&str> = columns.iter().map(|&c| other.units[c].id.as_str()).collect();
        recorded.stand_in_for_absent(&[all], |k, column| {
            stand_in_rng(&self.experiment, "of another file", &session.id, ids[column], kept[k])
        });
        Ok(Ok(recorded))
    }

    /// Recorded steps of a trial T.
    pub fn n_steps(&self) -> usize {
        self.recording.n_bins()
    }

    /// When things happen in a trial: the cue is the last onset of the model's inputs (of an event of trials its median), the delay
    /// what lies between the first and the last of several. A recorded stimulus has its cue at the event that trials are aligned to.
    pub fn times(&self) -> TaskTimes {
        let checked::Model::Rsnn(model) = &self.experiment.model;
        // An onset outside of the window has no effect.
        let start_ms = self.sessions.first().map_or(0.0, |s| s.start_ms);
        let end_ms = start_ms + self.n_steps() as f64 * self.experiment.data.bin_ms;
        let onsets: Vec<f64> = match &model.input {
            checked::Input::Poisson(input) => {
                let within = |onset: &f64| (start_ms..end_ms).contains(onset);
                let onsets = cues::onsets_ms(input, &self.sessions, &self.trials_of(Part::Train));
                onsets.into_iter().filter(within).collect()
            }
            checked::Input::Recorded(_) => Vec::new(),
        };
        let least = onsets.iter().copied().reduce(f64::min).unwrap_or(0.0);
        let largest = onsets.iter().copied().reduce(f64::max).unwrap_or(0.0);
        TaskTimes {
            start_ms,
            cue_ms: largest,
            delay_ms: (least < largest).then_some([least, largest]),
        }
    }

    /// Trials of a part, by session; none of a session that no model neuron comes from.
    pub fn trials_of(&self, part: Part) -> TrialSelection {
        let sessions = self.splits.sessions.iter().zip(&self.used);
        sessions
            .map(|(s, is_used)| match part {
                _ if !is_used => Vec::new(),
                Part::Train => s.train.clone(),
                Part::Validation => s.validation.clone(),
                Part::Test => s.test.clone(),
            })
            .collect()
    }

    /// Condition that losses and metrics compare within, for a stimulus.
    pub fn condition_of(&self, stimulus: usize) -> usize {
        if self.experiment.statistics.match_within == MatchWithin::Stimulus {
            stimulus
        } else {
            0
        }
    }

    /// Names of the model's neurons, `[N]`: `SESSION/UNIT` of the unit that each stands for, or `hidden/N`.
    pub fn neuron_ids(&self) -> Vec<String> {
        let id = |(n, neuron): (usize, &data::stitch::ModelNeuron)| match neuron.source {
            Some(source) => {
                let session = &self.sessions[source.session];
                format!("{}/{}", session.id, session.units[source.unit].id)
            }
            None => format!("hidden/{n}"),
        };
        self.stitching.neurons.iter().enumerate().map(id).collect()
    }

    /// The network's side of model trials: stimuli, and what inputs take from recorded trials.
    pub fn model_trials(&self, trials: &[ModelTrial]) -> Trials {
        let stimulus = |trial: &ModelTrial| &self.stimuli[trial.stimulus];
        Trials {
            stimulus: trials.iter().map(|trial| stimulus(trial).value).collect(),
            movie: self
                .movies
                .as_ref()
                .map(|_| trials.iter().map(|trial| stimulus(trial).movie.unwrap_or(0)).collect()),
            movies: self.movies.clone(),
            cues: self.cues.as_ref().map(|cues| cues.of(trials)),
        }
    }

    /// Bins that model trials have: as many as the recorded trials that they take events of. None where all have all, and where
    /// inputs take nothing from trials.
    pub fn lengths(&self, trials: &[ModelTrial]) -> Option<Vec<usize>> {
        self.cues.as_ref().and_then(|cues| cues.lengths(trials))
    }

    /// Whether model trials end at different bins, as recorded ones do.
    pub fn is_masked(&self) -> bool {
        self.cues.as_ref().is_some_and(TrialCues::is_masked)
    }

    /// The selected trials of all sessions, pooled, as what model trials are drawn from: a draw takes stimulus, events,
    /// amplitudes and length of one recorded trial together.
    ///
    /// # Errors
    /// [`FitError::NoCues`] for a stimulus whose trials lack what the inputs take from them.
    pub fn pool_of(&self, selection: &TrialSelection) -> Result<Vec<ModelTrial>, FitError> {
        let mut pool = Vec::new();
        for (session, (trials, of)) in selection.iter().zip(&self.stimulus_of).enumerate() {
            pool.extend(trials.iter().map(|&trial| ModelTrial {
                stimulus: of[trial],
                session,
                trial,
            }));
        }
        if let Some(cues) = &self.cues {
            cues.complete(&mut pool, |stimulus| self.stimuli[stimulus].value)?;
        }
        Ok(pool)
    }

    /// One model trial of each stimulus, and one of each recorded trial that inputs may take anything from.
    pub(crate) fn all_model_trials(&self) -> Vec<ModelTrial> {
        match &self.cues {
            Some(cues) => {
                let all: TrialSelection = self.sessions.iter().map(|s| (0..s.n_trials()).collect()).collect();
                cues.drawable(&all, &self.stimulus_of)
            }
            None => (0..self.stimuli.len())
                .map(|stimulus| ModelTrial {
                    stimulus,
                    session: 0,
                    trial: 0,
                })
                .collect(),
        }
    }
}

/// A network that is told of no event in any trial: it can't answer one.
fn undriven(spec: &RsnnSpec, stimuli: &[Stimulus]) -> Option<String> {
    let InputSpec::Poisson(input) = &spec.input else {
        return None;
    };
    let is_driven = input.n > 0 && input.p_stim > 0.0;
    // Short forms aside, a channel may be scaled by something else.
    if input
        .channels
        .iter()
        .any(|channel| channel.amplitude != Amplitude::Stimulus)
    {
        return None;
    }
    (is_driven && stimuli.iter().all(|stimulus| stimulus.value == 0.0)).then(|| {
        "the stimulus is 0, which means none, in every trial: no input tells the network when the event was, so it can't answer it \
         (hint: give trials a value other than 0, `snnfit import --stimulus-value 1`; for activity without an event set \
         model.rsnn.input.poisson.p_stim = 0)"
            .to_owned()
    })
}

/// Leading bins without which a recorded trial can't be compared: those of its first feature where single trials are, else one.
fn least_bins(experiment: &Experiment, model: &checked::Rsnn, sessions: &[BinnedSession]) -> Result<usize, FitError> {
    let has_features = |loss: &checked::Loss| {
        crate::objective::compares_trials(loss) || matches!(loss, checked::Loss::TrialMatchedLikelihood { .. })
    };
    let is_by_trial = matches!(&model.input, checked::Input::Poisson(input) if input.is_by_trial());
    match sessions.first() {
        Some(session) if is_by_trial && experiment.losses.iter().any(has_features) => {
            Ok(crate::objective::filters(&experiment.statistics, session.n_bins())?.first_feature_bins())
        }
        _ => Ok(1),
    }
}

/// Parts of the trials: those of a run that exists, if they are of these sessions, or new ones.
///
/// # Errors
/// Splits of other data; sessions or trials that are named and not there.
pub(crate) fn splits_of(
    split: &checked::Split,
    sessions: &[BinnedSession],
    given: Option<Splits>,
) -> Result<Splits, DataError> {
    if let Some(splits) = given {
        splits.check_matches(sessions)?;
        return Ok(splits);
    }
    let options = SplitOptions {
        test_fraction: split.test_fraction,
        validation_fraction: split.validation_fraction,
        sessions: split.sessions.clone(),
        ..SplitOptions::default()
    };
    data::split(sessions, &options, &mut StreamRng::new(split.seed, "split", 0))
}

/// Reads, checks and bins the sessions in use; in one window, or each over its own trials.
///
/// # Errors
/// A file that can't be read, a session that isn't there, a window that no trial has.
pub(crate) fn load(
    data: &checked::Data,
    is_one_window: bool,
    warnings: &mut Vec<String>,
) -> Result<Vec<BinnedSession>, FitError> {
    let mut recording = ::data::Recording { sessions: Vec::new() };
    for file in &data.files {
        let (one, found) = crate::import_process::read_recording(file, None, None)?;
        warnings.extend(found.iter().map(|w| format!("{}: {w}", file.display())));
        recording.sessions.extend(one.sessions);
    }
    if let Some(wanted) = &data.sessions {
        let present: Vec<String> = recording.sessions.iter().map(|s| s.id.clone()).collect();
        if let Some(missing) = wanted.iter().find(|id| !present.contains(id)) {
            return Err(FitError::UnknownSession {
                id: missing.clone(),
                present: present.join(", "),
            });
        }
        recording.sessions.retain(|s| wanted.contains(&s.id));
    }
    ::data::validate(&recording)?;
    let options = BinOptions {
        bin_ms: data.bin_ms,
        window_ms: data.window_ms.map(|[start, stop]| (start, stop)),
        behaviour: data.behaviour.clone(),
    };
    let sessions = if is_one_window {
        ::data::bin_recording(&recording, &options)?
    } else {
        let sessions = recording.sessions.iter();
        sessions
            .map(|session| ::data::bin_session(session, &options))
            .collect::<Result<_, _>>()?
    };
    if sessions.iter().all(|s| s.valid_bins.iter().all(|&n| n == 0)) {
        return Err(FitError::WindowOutside {
            window_ms: data.window_ms,
        });
    }
    warnings.extend(sessions.iter().flat_map(|s| s.warnings.iter().map(ToString::to_string)));
    Ok(sessions)
}

/// Takes units out that were observed in no training trial; a session without training trials keeps its units.
fn leave_out_unobserved(sessions: &mut [BinnedSession], splits: &Splits) -> Result<Vec<NeverObserved>, FitError> {
    let mut found = Vec::new();
    for (session, split) in sessions.iter_mut().zip(&splits.sessions) {
        let units = session.never_observed(&split.train);
        found.extend(units.iter().map(|&n| NeverObserved {
            session: session.id.clone(),
            unit: session.units[n].id.clone(),
            area: session.units[n].area.clone(),
        }));
        if !units.is_empty() {
            session.leave_out_units(&units);
        }
    }
    if sessions.iter().all(|session| session.units.is_empty()) {
        return Err(FitError::NothingObserved { n_units: found.len() });
    }
    Ok(found)
}

fn recorded_areas(sessions: &[BinnedSession]) -> Vec<String> {
    let mut areas: Vec<String> = sessions
        .iter()
        .flat_map(|s| s.units.iter().map(|u| u.area.clone()))
        .collect();
    areas.sort();
    areas.dedup();
    areas
}

/// Populations in model order: excitatory areas, inhibitory areas, then neurons of unknown type.
fn populations(
    experiment: &Experiment,
    model: &checked::Rsnn,
    sessions: &[BinnedSession],
    areas: &[String],
) -> Result<Vec<PopulationSpec>, FitError> {
    let mut populations = match model.n_neurons {
        None => {
            let mut all = data::all_recorded(sessions, experiment.data.max_rate_hz);
            all.retain(|p| areas.contains(&p.area));
            let place = |area: &str| areas.iter().position(|a| a == area);
            all.sort_by_key(|p| (p.cell_type, place(&p.area)));
            if let Some(empty) = areas.iter().find(|a| !all.iter().any(|p| p.area == **a)) {
                let recorded = recorded_areas(sessions);
                return Err(match experiment.data.max_rate_hz {
                    Some(max_rate_hz) if recorded.contains(empty) => FitError::FastArea {
                        area: empty.clone(),
                        max_rate_hz,
                    },
                    _ => FitError::EmptyArea {
                        area: empty.clone(),
                        recorded: recorded.join(", "),
                    },
                });
            }
            all
        }
        Some(n) => {
            let layout = connectivity::population_layout(n, areas.len(), model.p_exc)?;
            let mut all: Vec<PopulationSpec> = Vec::new();
            for neuron in layout {
                let (area, cell_type) = (areas[neuron.area].clone(), recorded_type(neuron.cell_type));
                match all.last_mut() {
                    Some(last) if last.area == area && last.cell_type == cell_type => last.n_neurons += 1,
                    _ => all.push(PopulationSpec {
                        area,
                        cell_type,
                        n_neurons: 1,
                        n_hidden: 0,
                    }),
                }
            }
            all
        }
    };
    spread(model.n_hidden, &mut populations);
    Ok(populations)
}

/// Hidden neurons in proportion to the recorded ones, by largest remainder.
fn spread(n_hidden: usize, populations: &mut [PopulationSpec]) {
    let total: usize = populations.iter().map(|p| p.n_neurons).sum();
    if total == 0 {
        return;
    }
    let mut left = n_hidden;
    for p in populations.iter_mut() {
        p.n_hidden = n_hidden * p.n_neurons / total;
        left -= p.n_hidden;
    }
    let mut order: Vec<usize> = (0..populations.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(n_hidden * populations[i].n_neurons % total), i));
    for &i in order.iter().take(left) {
        populations[i].n_hidden += 1;
    }
}

fn recorded_type(cell_type: connectivity::CellType) -> CellType {
    match cell_type {
        connectivity::CellType::Excitatory => CellType::Excitatory,
        connectivity::CellType::Inhibitory => CellType::Inhibitory,
        connectivity::CellType::Unknown => CellType::Unknown,
    }
}

fn model_type(cell_type: CellType) -> connectivity::CellType {
    match cell_type {
        CellType::Excitatory => connectivity::CellType::Excitatory,
        CellType::Inhibitory => connectivity::CellType::Inhibitory,
        CellType::Unknown => connectivity::CellType::Unknown,
    }
}

/// Refuses a trace of behaviour that no session in use has in a training trial: nothing could be fitted to it.
fn check_traces(
    names: &[String],
    sessions: &[BinnedSession],
    splits: &[data::SessionSplit],
    used: &[bool],
) -> Result<(), FitError> {
    for name in names {
        let is_recorded = |((session, split), is_used): ((&BinnedSession, &data::SessionSplit), &bool)| {
            let trace = session.behaviour.get(name).filter(|_| *is_used);
            trace.is_some_and(|trace| split.train.iter().any(|&k| trace.row(k).iter().all(|v| v.is_finite())))
        };
        if !sessions.iter().zip(splits).zip(used).any(is_recorded) {
            return Err(FitError::NoTrace { trace: name.clone() });
        }
    }
    Ok(())
}

/// Movies of all sessions in one array, and the index of each session's first.
fn gather_movies(sessions: &[BinnedSession]) -> Result<(Option<Array3<f32>>, Vec<usize>), FitError> {
    let mut offsets = Vec::with_capacity(sessions.len());
    let mut parts: Vec<&Array3<f32>> = Vec::new();
    let mut n = 0;
    for session in sessions {
        offsets.push(n);
        if let Some(movies) = &session.movies {
            if let Some(first) = parts.first()
                && first.dim().2 != movies.dim().2
            {
                return Err(FitError::StimulusChannels {
                    session: session.id.clone(),
                    found: movies.dim().2,
                    expected: first.dim().2,
                });
            }
            n += movies.dim().0;
            parts.push(movies);
        }
    }
    if parts.is_empty() {
        return Ok((None, offsets));
    }
    let t = parts.iter().map(|m| m.dim().1).min().unwrap_or(0);
    let views: Vec<_> = parts.iter().map(|m| m.slice(s![.., ..t, ..])).collect();
    let all = concatenate(Axis(0), &views).map_err(|error| FitError::Internal {
        what: error.to_string(),
    })?;
    Ok((Some(all), offsets))
}

fn stimuli(sessions: &[BinnedSession], movie_offsets: &[usize]) -> (Vec<Stimulus>, Vec<Vec<usize>>) {
    let key = |value: f64, movie: Option<usize>| {
        (
            movie,
            (value + 0.0).to_bits() ^ if value < 0.0 { u64::MAX } else { 1 << 63 },
        )
    };
    let mut table: BTreeMap<(Option<usize>, u64), Stimulus> = BTreeMap::new();
    let keys: Vec<Vec<_>> = sessions
        .iter()
        .zip(movie_offsets)
        .map(|(session, offset)| {
            let keys = session.trials.iter().map(|trial| {
                let movie = trial.movie.map(|m| m + offset);
                let key = key(trial.stimulus, movie);
                table.entry(key).or_insert(Stimulus {
                    value: trial.stimulus,
                    movie,
                });
                key
            });
            keys.collect()
        })
        .collect();
    let places: BTreeMap<_, usize> = table.keys().enumerate().map(|(i, key)| (*key, i)).collect();
    let of = keys
        .iter()
        .map(|keys| keys.iter().map(|key| places[key]).collect())
        .collect();
    (table.into_values().collect(), of)
}

fn trial_types(sessions: &[BinnedSession], used: &[bool]) -> Vec<String> {
    let mut types: Vec<String> = sessions
        .iter()
        .zip(used)
        .filter(|(_, is_used)| **is_used)
        .flat_map(|(s, _)| s.trials.iter().map(|t| t.trial_type.clone()))
        .collect();
    types.sort();
    types.dedup();
    types
}

/// A network that is driven by the recorded stimulus needs one in every trial.
fn check_movies(sessions: &[BinnedSession], used: &[bool]) -> Result<(), FitError> {
    for (session, _) in sessions.iter().zip(used).filter(|(_, is_used)| **is_used) {
        if let Some(trial) = session.trials.iter().position(|t| t.movie.is_none()) {
            return Err(FitError::TrialWithoutStimulus {
                session: session.id.clone(),
                trial,
                n: session.trials.iter().filter(|t| t.movie.is_none()).count(),
            });
        }
    }
    Ok(())
}

/// Behaviour `[K, T, B]` of a session, NaN in the traces that it didn't record; none if it recorded none of them.
fn traces(session: &BinnedSession, names: &[String]) -> Option<Array3<f64>> {
    let (k, t) = (session.n_trials(), session.n_bins());
    let value = |(k, t, b): (usize, usize, usize)| {
        session
            .behaviour
            .get(&names[b])
            .map_or(f64::NAN, |trace| f64::from(trace[[k, t]]))
    };
    let values = Array3::from_shape_fn((k, t, names.len()), value);
    values.iter().any(|value| value.is_finite()).then_some(values)
}

/// Random numbers that say which trial stands in for a trial that a unit was not observed in: by the seed of the split, so
/// that fits with other seeds see the same recording.
fn stand_in_rng(experiment: &Experiment, which: &str, session: &str, unit: &str, trial: usize) -> StreamRng {
    let stream = format!("stand-in {which} {session}/{unit}");
    StreamRng::new(experiment.split.seed, &stream, trial as u64)
}

/// Presence of the units of some columns; none where all were observed in every trial. The training trials decide who is in
/// populations.
fn presence(
    session: &BinnedSession,
    columns: &[usize],
    training: &[usize],
    min_presence: f64,
) -> Result<Option<Presence>, FitError> {
    let Some(mask) = &session.presence else { return Ok(None) };
    let mask = mask.select(Axis(1), columns);
    if mask.iter().all(|is_present| *is_present) {
        return Ok(None);
    }
    // Trials without data say nothing of units.
    let used: Vec<usize> = training
        .iter()
        .copied()
        .filter(|&k| session.valid_bins[k] > 0)
        .collect();
    Ok(Some(Presence::of_mask(mask, &used, min_presence)?))
}

/// Recorded trials of the model's neurons; their conditions are their stimuli, or all the same for one condition.
fn recording(
    experiment: &Experiment,
    sessions: &[BinnedSession],
    splits: &Splits,
    stitching: &Stitching,
    areas: &[String],
    trial_types: &[String],
    stimulus_of: &[Vec<usize>],
    n_conditions: usize,
) -> Result<Recording, FitError> {
    let area_of = |name: &str| areas.iter().position(|a| a == name).unwrap_or(0);
    let type_of = |name: &String| trial_types.binary_search(name).unwrap_or(0);
    let mut recorded = Vec::new();
    for (i, session) in sessions.iter().enumerate() {
        let pairs = stitching.neurons_of_session(i);
        let columns: Vec<usize> = pairs.iter().map(|(_, unit)| *unit).collect();
        let behaviour = traces(session, &experiment.data.behaviour);
        // Trials of a part stand in for those of the same part, so that the fit knows nothing of the others.
        let split = &splits.sessions[i];
        let parts = [split.train.clone(), split.validation.clone(), split.test.clone()];
        let presence = presence(session, &columns, &split.train, experiment.statistics.min_presence)?;
        let mut one = RecordedSession {
            name: session.id.clone(),
            counts: session.spikes.select(Axis(2), &columns),
            valid_bins: session.valid_bins.clone(),
            conditions: stimulus_of[i].clone(),
            trial_types: session.trials.iter().map(|t| type_of(&t.trial_type)).collect(),
            neurons: pairs.iter().map(|(neuron, _)| *neuron).collect(),
            areas: columns.iter().map(|&c| area_of(&session.units[c].area)).collect(),
            presence,
            behaviour,
        };
        one.stand_in_for_absent(&parts, |k, column| {
            let unit = &session.units[columns[column]].id;
            stand_in_rng(experiment, "of the run", &session.id, unit, k)
        });
        if n_conditions == 1 {
            // Losses compare all trials alike; stimuli count all the same for what stands in.
            one.conditions.fill(0);
        }
        recorded.push(one);
    }
    Ok(Recording::new(
        recorded,
        areas.to_vec(),
        stitching.neurons.len(),
        n_conditions,
    )?)
}

fn spec(
    experiment: &Experiment,
    model: &checked::Rsnn,
    stitching: &Stitching,
    areas: &[String],
    sessions: &[BinnedSession],
    movies: Option<&Array3<f32>>,
) -> Result<RsnnSpec, FitError> {
    let start_ms = sessions.first().map_or(0.0, |s| s.start_ms);
    let dt_ms = experiment.data.bin_ms;
    let area_of = |name: &str| areas.iter().position(|a| a == name);
    let neurons: Vec<Neuron> = stitching
        .neurons
        .iter()
        .map(|n| Neuron {
            area: area_of(&n.area).unwrap_or(0),
            cell_type: model_type(n.cell_type),
        })
        .collect();
    let behaviour = match &model.behaviour {
        None => None,
        Some(readout) => {
            let area = |name: &String| {
                area_of(name).ok_or_else(|| FitError::EmptyArea {
                    area: name.clone(),
                    recorded: areas.join(", "),
                })
            };
            let trace = |(name, readout): (&String, &checked::Readout)| {
                Ok::<_, FitError>(TraceSpec {
                    name: name.clone(),
                    motor_areas: readout.motor_areas.iter().map(area).collect::<Result<_, _>>()?,
                    tau_ms: readout.tau_ms,
                    link: match readout.link {
                        checked::Link::Log => Link::Log,
                        checked::Link::Linear => Link::Linear,
                    },
                })
            };
            let traces = experiment.data.behaviour.iter().zip(&readout.traces).map(trace);
            Some(BehaviourSpec {
                traces: traces.collect::<Result<_, _>>()?,
                feedback: readout.feedback.map(|feedback| FeedbackSpec {
                    first_lag: feedback.first.steps,
                    n_lags: feedback.last.steps + 1 - feedback.first.steps,
                }),
            })
        }
    };
    let spec = RsnnSpec {
        neurons,
        areas: areas.to_vec(),
        dt_ms,
        tau_exc_ms: model.tau_m_exc_ms,
        tau_inh_ms: model.tau_m_inh_ms,
        threshold: model.threshold,
        delays: connectivity::delay_steps(model.delay.steps, model.max_delay.steps, model.delay_groups)?,
        n_refractory: u8::try_from(model.refractory.steps).map_err(|_| FitError::Internal {
            what: "refractory steps beyond what the configuration allows".to_owned(),
        })?,
        temperature: model.temperature,
        p_scale: model.p_scale,
        sigma: model.noise,
        current_scale: model.current_scale,
        surrogate: Surrogate::Sigmoid {
            gamma: model.surrogate_damping as f32,
        },
        n_warmup: model.warmup.steps,
        inter_area: match model.inter_area {
            checked::InterArea::Excitatory => connectivity::InterArea::Excitatory,
            checked::InterArea::All => connectivity::InterArea::All,
            checked::InterArea::None => connectivity::InterArea::None,
        },
        has_dale: model.dale,
        projections: projections::resolve(&model.projections, areas)?,
        train_resting_potential: model.train_resting_potential,
        train_noise_gain: model.train_noise_gain,
        input: input(&model.input, start_ms, dt_ms, movies)?,
        latent: model
            .latent
            .as_ref()
            .map(|options| latent(options, largest_stimulus(sessions), start_ms, dt_ms))
            .transpose()?,
        behaviour,
    };
    spec.check()?;
    Ok(spec)
}

/// Largest absolute value of a stimulus.
fn largest_stimulus(sessions: &[BinnedSession]) -> f64 {
    let trials = sessions.iter().flat_map(|session| &session.trials);
    trials.map(|trial| trial.stimulus.abs()).fold(0.0, f64::max)
}

fn latent(options: &checked::Latent, largest_stimulus: f64, start_ms: f64, dt_ms: f64) -> Result<LatentSpec, FitError> {
    let step = |ms: f64| (ms - start_ms) / dt_ms;
    if options.stimulus_from_ms.is_some() && !largest_stimulus.is_normal() {
        return Err(FitError::LatentStimulus {
            largest: largest_stimulus,
        });
    }
    Ok(LatentSpec {
        dimensions: options.dimensions,
        knots: options.knots_ms.iter().map(|knot| step(*knot)).collect(),
        stimulus: options.stimulus_from_ms.map(|after| SeenStimulus {
            factor: largest_stimulus.recip(),
            after: step(after),
        }),
        is_bounded: options.bound,
        init_scale: options.init_scale,
        weight_decay: options.weight_decay,
        kind: match options.kind {
            checked::LatentKind::Mlp => LatentKind::Mlp,
            checked::LatentKind::Linear => LatentKind::Linear,
        },
    })
}

fn input(
    input: &checked::Input,
    start_ms: f64,
    dt_ms: f64,
    movies: Option<&Array3<f32>>,
) -> Result<InputSpec, FitError> {
    match input {
        checked::Input::Poisson(p) => {
            let first = |onset: &f64| PoissonInput::first_step(Ms(*onset), Ms(start_ms), Ms(p.delay.ms), Ms(dt_ms));
            Ok(InputSpec::Poisson(PoissonInput {
                n: p.n,
                rate_hz: p.rate_hz,
                p_exc: p.p_exc,
                p_stim: p.p_stim,
                first_steps: p.onsets_ms.iter().map(first).collect(),
                n_duration: p.duration.steps,
                gain: p.gain,
                scale: match p.scale {
                    checked::StimulusScale::Log => StimulusScale::Log,
                    checked::StimulusScale::Linear => StimulusScale::Linear,
                },
                channels: p
                    .channels
                    .iter()
                    .map(|channel| InputChannel {
                        n: connectivity::part_of(p.n, p.p_stim * channel.share),
                        onset: match &channel.onset {
                            checked::ChannelOnset::Ms(onset) => Onset::Step(first(onset)),
                            checked::ChannelOnset::Event(_) => Onset::Trial,
                        },
                        amplitude: match &channel.amplitude {
                            checked::ChannelAmplitude::One => Amplitude::One,
                            checked::ChannelAmplitude::Stimulus => Amplitude::Stimulus,
                            checked::ChannelAmplitude::Value(_) => Amplitude::Trial,
                        },
                        n_duration: channel.duration.steps,
                        gain: channel.gain,
                    })
                    .collect(),
            }))
        }
        checked::Input::Recorded(r) => {
            let Some(movies) = movies else {
                return Err(FitError::NoStimulus);
            };
            Ok(InputSpec::Recorded(RecordedInput {
                n_channels: movies.dim().2,
                lags: r.lags,
                lag_steps: r.lag_step.steps,
                scale: r.scale,
                offset: r.offset,
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knots_are_counted_in_bins_from_the_start_and_the_stimulus_in_parts_of_the_largest() {
        let mut options = checked::Latent {
            kind: checked::LatentKind::Mlp,
            dimensions: 3,
            bound: true,
            init_scale: 0.5,
            weight_decay: 2.0,
            knots_ms: vec![-50.0, 0.0, 33.0],
            stimulus_from_ms: Some(0.0),
        };
        let spec = latent(&options, 8.0, -40.0, 2.0).unwrap();
        assert_eq!(spec.knots, [-5.0, 20.0, 36.5]);
        let seen = SeenStimulus {
            factor: 0.125,
            after: 20.0,
        };
        assert_eq!(spec.stimulus, Some(seen));
        assert!(matches!(
            latent(&options, 0.0, -40.0, 2.0),
            Err(FitError::LatentStimulus { .. })
        ));
        options.stimulus_from_ms = None;
        assert_eq!(latent(&options, 0.0, -40.0, 2.0).unwrap().stimulus, None);
    }
}
