//! A run that exists: its configuration, data and one of its checkpoints, ready to simulate.

use crate::assembly::Assembly;
use crate::checkpoint::{self, Checkpoint};
use crate::cli::CheckpointChoice;
use crate::config::checked::Chunking;
use crate::config::{self, ConfigError, Loaded as Configuration};
use crate::cues::ModelTrial;
use crate::error::Error;
use crate::fit_error::FitError;
use crate::memory::{self, BatchSize};
use crate::room::Room;
use crate::run_dir::RunDir;
use crate::trainer::{State, chunks, engine_of_simulation, parameters};
use data::Splits;
use ndarray::{Array3, s};
use snn_core::CoreError;
use snn_core::device::OpenDevice;
use snn_core::models::rsnn::{Draws, Engine, Perturbation, Rsnn, Trials};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

const MAX_SPLITS_BYTES: u64 = 256 << 20;

/// Configuration of a run, from its `run.toml`.
///
/// # Errors
/// No run directory, or a `run.toml` that can't be read.
pub fn configuration(run: &RunDir) -> Result<Configuration, Error> {
    config::load_run(&run.run_toml(), &[]).map_err(|error| match error {
        // Nothing is wrong with the run.
        ConfigError::OtherModel { .. } => Error::Config(error),
        error => Error::in_run(error),
    })
}

/// Splits of a run, from its `splits.json`.
///
/// # Errors
/// A file that is missing or can't be understood.
pub fn splits(run: &RunDir) -> Result<Splits, Error> {
    let path = run.splits();
    let text = data::fs::read_text(&path, MAX_SPLITS_BYTES).map_err(Error::Output)?;
    Splits::from_json(&path.display().to_string(), &text).map_err(Error::in_run)
}

/// Refuses recordings that have changed since the run began: its splits and neurons would mean something else.
///
/// # Errors
/// A recording that is missing or has another SHA-256 than the manifest says.
pub fn check_data(run: &RunDir, files: &[PathBuf]) -> Result<(), Error> {
    let known = run.manifest()?.data;
    if known.len() != files.len() {
        let (found, expected) = (files.len(), known.len());
        return Err(FitError::DataCount { found, expected }.into());
    }
    for (known, path) in known.iter().zip(files) {
        let sha256 = data::fs::sha256_of_file(path).map_err(|error| Error::Data(error.into()))?;
        if sha256 != known.sha256 {
            return Err(FitError::DataChanged { path: path.clone() }.into());
        }
    }
    Ok(())
}

/// The checkpoint asked for, and warnings about damaged ones that were passed over.
///
/// # Errors
/// No such checkpoint, or a damaged one.
pub fn checkpoint(run: &RunDir, choice: CheckpointChoice) -> Result<(Checkpoint, Vec<String>), Error> {
    let directory = run.checkpoints();
    Ok(match choice {
        CheckpointChoice::Best => (checkpoint::best(&directory)?, Vec::new()),
        CheckpointChoice::Step(step) => (checkpoint::find_step(&directory, step)?, Vec::new()),
        CheckpointChoice::Last => {
            let found = checkpoint::latest_intact(&directory)?;
            (
                found.checkpoint,
                found.passed_over.iter().map(ToString::to_string).collect(),
            )
        }
    })
}

/// A fitted network with its data.
#[derive(Debug)]
pub struct Fitted {
    /// What is fixed.
    pub assembly: Assembly,
    /// The network with the checkpoint's parameters.
    pub rsnn: Rsnn,
    /// State at the checkpoint.
    pub state: State,
    engine: Engine,
    room: Room,
}

/// Simulated trials, in memory.
#[derive(Debug)]
pub struct SimulatedActivity {
    /// Spike counts `[K, T, N]`.
    pub counts: Array3<u8>,
    /// Behaviour traces `[K, T, B]`, if the network has a readout.
    pub behaviour: Option<Array3<f64>>,
}

impl Fitted {
    /// Opens a run at a checkpoint; `data` says where its recordings are now, if they have moved. Warnings go to the log.
    ///
    /// # Errors
    /// Anything missing, damaged or not fitting together.
    pub fn open(
        path: &Path,
        choice: CheckpointChoice,
        data: &[PathBuf],
        device: &OpenDevice,
    ) -> Result<(RunDir, Self), Error> {
        let run = RunDir::open(path)?;
        let (checkpoint, warnings) = checkpoint(&run, choice)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let mut experiment = configuration(&run)?.experiment;
        if !data.is_empty() {
            data.clone_into(&mut experiment.data.files);
        }
        check_data(&run, &experiment.data.files)?;
        let assembly = Assembly::new(experiment, Some(splits(&run)?))?;
        let state: State = checkpoint.state().map_err(|error| FitError::CheckpointMismatch {
            what: format!("section 'state': {error}"),
        })?;
        let rsnn = Rsnn::with_parameters(assembly.spec.clone(), parameters(&checkpoint, "parameters", "")?).map_err(
            |error| FitError::CheckpointMismatch {
                what: error.to_string(),
            },
        )?;
        let engine = engine_of_simulation(&assembly.experiment, device);
        let fitted = Self {
            room: Room::of_simulation(&engine, &assembly),
            assembly,
            rsnn,
            state,
            engine,
        };
        Ok((run, fitted))
    }

    /// Simulates trials. Allocates K·T·N counts.
    ///
    /// They are perturbed, if any perturbations are given; the random numbers stay the same (see
    /// [`Rsnn::simulate_perturbed`]).
    ///
    /// At most `trial_chunk` trials are simulated at once; where none is given, as many as there are, or on a GPU as its
    /// buffers hold, and no more than `train.trial_chunk`. Spikes don't depend on it.
    ///
    /// # Errors
    /// As [`Rsnn::simulate`]; a device that can't take one trial, or has no memory left.
    pub fn simulate(
        &self,
        drawn: &[ModelTrial],
        seed: u64,
        stream: &str,
        trial_chunk: Option<NonZeroUsize>,
        perturbations: &[Perturbation],
    ) -> Result<SimulatedActivity, FitError> {
        let configured = self.assembly.experiment.train.chunking;
        let most = at_once(drawn.len(), trial_chunk, configured, self.room.is_bounded());
        let chunk = self.room.chunk(most)?;
        let mut all: Option<SimulatedActivity> = None;
        for trials in chunks(drawn.len(), chunk) {
            let draws = Draws {
                seed,
                step: 0,
                stream,
                first_trial: trials.start as u32,
            };
            let shown = self.assembly.model_trials(&drawn[trials.clone()]);
            let part = self
                .simulate_chunk(&shown, draws, perturbations)
                .map_err(|error| self.room.explain(error.into(), trials.len(), "--trial-chunk"))?;
            if trials.len() == drawn.len() {
                return Ok(part);
            }
            let all = all.get_or_insert_with(|| part.zeros_for(drawn.len()));
            all.counts.slice_mut(s![trials.clone(), .., ..]).assign(&part.counts);
            if let (Some(all), Some(part)) = (&mut all.behaviour, &part.behaviour) {
                all.slice_mut(s![trials, .., ..]).assign(part);
            }
        }
        all.ok_or(FitError::NoTrials { part: "a simulation" })
    }

    /// Spikes of the inputs `[K, T, N_in]` in the trials that [`Fitted::simulate`] simulates with these arguments; none where
    /// inputs don't spike.
    ///
    /// # Errors
    /// As [`Rsnn::input_events`].
    pub fn input_spikes(&self, drawn: &[ModelTrial], seed: u64, stream: &str) -> Result<Option<Array3<u8>>, FitError> {
        let draws = Draws {
            seed,
            step: 0,
            stream,
            first_trial: 0,
        };
        let (trials, n_steps) = (self.assembly.model_trials(drawn), self.assembly.n_steps());
        let Some(events) = self.rsnn.input_events(&trials, n_steps, draws)? else {
            return Ok(None);
        };
        let n_warmup = events.n_steps() - n_steps;
        let mut spikes = Array3::zeros((drawn.len(), n_steps, events.n_inputs()));
        for k in 0..drawn.len() {
            for t in 0..n_steps {
                for &input in events.at(k, n_warmup + t) {
                    spikes[[k, t, usize::from(input)]] = 1;
                }
            }
        }
        Ok(Some(spikes))
    }

    fn simulate_chunk(
        &self,
        trials: &Trials,
        draws: Draws<'_>,
        perturbations: &[Perturbation],
    ) -> Result<SimulatedActivity, CoreError> {
        let (rsnn, n_steps) = (&self.rsnn, self.assembly.n_steps());
        if !perturbations.is_empty() {
            let simulated = rsnn.simulate_perturbed(&self.engine, trials, n_steps, draws, perturbations)?;
            return Ok(SimulatedActivity {
                counts: simulated.spikes.to_array(),
                behaviour: simulated.behaviour,
            });
        }
        let simulation = rsnn.simulate(&self.engine, trials, n_steps, draws, false)?;
        Ok(SimulatedActivity {
            counts: simulation.rollout.spikes()?.to_array(),
            behaviour: simulation.behaviour,
        })
    }
}

/// Trials at once, as far as the user has a say: what the command line asks for, else on a GPU what the configuration does.
///
/// The processor takes all: a simulation keeps bits there, and its counts are kept whole anyway.
fn at_once(n_trials: usize, asked: Option<NonZeroUsize>, configured: Chunking, is_on_device: bool) -> usize {
    match (asked, configured) {
        (Some(asked), _) => asked.get().min(n_trials),
        (None, Chunking::Trials(trials)) if is_on_device => trials.min(n_trials),
        (None, _) => n_trials,
    }
}

impl SimulatedActivity {
    /// As many traces and neurons, `n_trials` trials.
    fn zeros_for(&self, n_trials: usize) -> Self {
        let (_, t, n) = self.counts.dim();
        Self {
            counts: Array3::zeros((n_trials, t, n)),
            behaviour: self
                .behaviour
                .as_ref()
                .map(|traces| Array3::zeros((n_trials, t, traces.dim().2))),
        }
    }
}

impl Fitted {
    /// `n` trials with stimuli in the proportions of `pool` (see [`proportional`]), each with the events of one of its trials that
    /// show the same: of every one before one comes again, where inputs take anything from trials.
    ///
    /// # Errors
    /// More trials than this machine can simulate.
    pub fn trials_like(
        &self,
        pool: &[ModelTrial],
        n: usize,
        rng: &mut impl rand::Rng,
    ) -> Result<Vec<ModelTrial>, FitError> {
        memory::check(BatchSize {
            n_trials: n,
            n_steps: self.assembly.n_steps(),
            n_neurons: self.rsnn.spec.n_neurons(),
            bytes_per_value: memory::COUNT,
        })?;
        let shown: Vec<usize> = pool.iter().map(|trial| trial.stimulus).collect();
        let stimuli = proportional(&shown, n, rng);
        Ok(dealt(pool, &stimuli, self.assembly.cues.is_some(), rng))
    }
}

/// A trial of the pool for each stimulus: the first one that shows it, or, shuffled, each of them before one comes again.
fn dealt(pool: &[ModelTrial], stimuli: &[usize], is_shuffled: bool, rng: &mut impl rand::Rng) -> Vec<ModelTrial> {
    use rand::seq::SliceRandom;
    let mut decks = std::collections::BTreeMap::<usize, (Vec<ModelTrial>, usize)>::new();
    for trial in pool {
        decks.entry(trial.stimulus).or_default().0.push(*trial);
    }
    let deal = |stimulus: &usize| {
        let (deck, next) = decks.get_mut(stimulus)?;
        if *next == 0 && is_shuffled {
            deck.shuffle(rng);
        }
        let dealt = deck.get(*next).copied();
        *next = if is_shuffled { (*next + 1) % deck.len() } else { 0 };
        dealt
    };
    stimuli.iter().filter_map(deal).collect()
}

/// `n` stimuli in the proportions of `pool`, by largest remainder and in random order: as many trials of each as a
/// recording of `n` trials would hold.
fn proportional(pool: &[usize], n: usize, rng: &mut impl rand::Rng) -> Vec<usize> {
    use rand::seq::SliceRandom;
    let mut counts = std::collections::BTreeMap::new();
    for &s in pool {
        *counts.entry(s).or_insert(0usize) += 1;
    }
    let total = pool.len().max(1);
    let mut parts: Vec<(usize, usize, usize)> = counts
        .iter()
        .map(|(&s, &c)| (s, n.saturating_mul(c) / total, n.saturating_mul(c) % total))
        .collect();
    let given: usize = parts.iter().map(|p| p.1).sum();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(parts[i].2), i));
    for &i in order.iter().take(n - given) {
        parts[i].1 += 1;
    }
    let mut stimuli: Vec<usize> = parts
        .iter()
        .flat_map(|&(s, count, _)| std::iter::repeat_n(s, count))
        .collect();
    stimuli.shuffle(rng);
    stimuli
}

#[cfg(test)]
mod tests {
    use super::*;
    use snn_core::rng::StreamRng;

    #[test]
    fn the_command_line_says_how_many_trials_at_once_before_the_configuration_does() {
        let five = NonZeroUsize::new(5);
        for is_on_device in [false, true] {
            assert_eq!(at_once(12, five, Chunking::Trials(8), is_on_device), 5);
            assert_eq!(at_once(3, five, Chunking::Whole, is_on_device), 3);
            assert_eq!(at_once(12, None, Chunking::Whole, is_on_device), 12);
        }
        assert_eq!(at_once(12, None, Chunking::Trials(8), true), 8);
        assert_eq!(at_once(12, None, Chunking::Trials(8), false), 12);
    }

    #[test]
    fn every_trial_of_a_stimulus_is_dealt_before_one_comes_again() {
        let pool: Vec<ModelTrial> = (0..12)
            .map(|trial| ModelTrial {
                stimulus: trial % 2,
                session: 0,
                trial,
            })
            .collect();
        let stimuli: Vec<usize> = (0..24).map(|k| usize::from(k % 3 == 0)).collect();
        let dealt = dealt(&pool, &stimuli, true, &mut StreamRng::new(0, "test", 0));
        assert!(
            dealt
                .iter()
                .zip(&stimuli)
                .all(|(trial, stimulus)| trial.stimulus == *stimulus)
        );
        let of_0: Vec<usize> = dealt.iter().filter(|t| t.stimulus == 0).map(|t| t.trial).collect();
        // 16 trials of 6: twice each, and four a third time.
        for (round, n) in of_0.chunks(6).zip([6, 6, 4]) {
            let mut round = round.to_vec();
            round.sort_unstable();
            round.dedup();
            assert_eq!(round.len(), n);
        }
        assert_ne!(of_0[..6], of_0[6..12], "each round is shuffled: alike once in 720");
    }

    #[test]
    fn proportions_of_the_pool_are_kept_to_the_trial() {
        let pool = [0, 0, 0, 1, 1, 2];
        let drawn = proportional(&pool, 100, &mut StreamRng::new(0, "test", 0));
        let count = |s| drawn.iter().filter(|&&x| x == s).count();
        assert_eq!((count(0), count(1), count(2)), (50, 33, 17));
        assert!(drawn.windows(2).any(|w| w[0] > w[1]), "they come in random order");
    }
}
