//! Training: one step after the other, each a function of (parameters, optimiser, step number), so that a run can
//! stop and go on bit by bit.

use crate::adversary::Adversary;
use crate::assembly::{Assembly, Part};
use crate::checkpoint::{Array, Arrays, Checkpoint, Values};
use crate::config::checked::{self, Chunking, Experiment, Loss, MatchWithin, Model, Optimizer};
use crate::cues::ModelTrial;
use crate::findings::{self, Finding, ParameterBounds};
use crate::fit::{Fit, Schedule};
use crate::fit_error::FitError;
use crate::memory::{self, BatchSize, StepMemory};
use crate::objective::{BatchStatistics, Comparison, ComparisonOptions, Evaluation, Objective};
use crate::room::Room;
use crate::soft_matching::SoftMatching;
use losses::gradient_split::{GradientSplitter, SPLITTER_BETA};
use losses::statistics::TrialSelection;
#[cfg(feature = "wgpu")]
use losses::trial_loss::Method;
use ndarray::{Array3, ArrayD, IxDyn, s};
use rand::RngExt;
use rand::seq::index;
use serde::{Deserialize, Serialize};
use snn_core::adamw::{AdamW, AdamWConfig};
use snn_core::device::OpenDevice;
use snn_core::models::Parameters;
use snn_core::models::rsnn::{Draws, Engine, Rsnn, Simulation};
use snn_core::rng::StreamRng;
use snn_core::rollout::SpikeAdjoint;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

/// A gradient entry beyond this is treated as infinite: its square overflows single precision.
const GRADIENT_LIMIT: f32 = 1e18;

/// Weighted losses and the norm of the gradient of a step, or what in it isn't finite.
pub(crate) type StepValues = Result<(BTreeMap<String, f64>, f64), String>;

/// Everything of a run that changes from step to step, besides parameters and moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Steps taken, skipped ones included.
    pub step: u64,
    /// Steps skipped because values were not finite.
    pub skipped: u64,
    /// How many of them in a row, up to now.
    pub skipped_in_a_row: u64,
    /// Updates of the optimiser.
    pub n_updates: u64,
    /// Lowest validation loss so far and its step.
    pub best: Option<Best>,
    /// The gradient splitter, if the losses go through one.
    pub splitter: Option<GradientSplitter>,
    /// Validation losses so far: (step, total), the last [`findings::LATEST_VALIDATIONS`].
    pub validations: Vec<(u64, f64)>,
    /// Mean training losses since the last log line: number of steps and sums by name.
    pub running: Running,
    /// Updates of the discriminators of a spike-GAN.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub adversary_updates: u64,
}

impl State {
    /// Of a fit that hasn't begun.
    pub(crate) fn new(splitter: Option<GradientSplitter>) -> Self {
        Self {
            step: 0,
            skipped: 0,
            skipped_in_a_row: 0,
            n_updates: 0,
            best: None,
            splitter,
            validations: Vec::new(),
            running: Running::default(),
            adversary_updates: 0,
        }
    }

    /// Counts a step that ended with losses and the norm of the gradient, or with what in it isn't finite.
    ///
    /// # Errors
    /// That of the step; [`FitError::NonFinite`] after more than `max_skipped` such steps in a row.
    pub(crate) fn note_step(
        &mut self,
        number: u64,
        outcome: Result<StepValues, FitError>,
        seconds: Option<StepSeconds>,
        max_skipped: u64,
    ) -> Result<StepReport, FitError> {
        self.step = number;
        match outcome? {
            Ok((losses, gradient_norm)) => {
                self.skipped_in_a_row = 0;
                self.running.add(&losses);
                Ok(StepReport {
                    step: number,
                    losses,
                    gradient_norm,
                    skipped: None,
                    seconds,
                })
            }
            Err(what) => {
                self.skipped += 1;
                self.skipped_in_a_row += 1;
                let skipped = self.skipped_in_a_row;
                if skipped > max_skipped {
                    return Err(FitError::NonFinite {
                        step: number,
                        what,
                        skipped,
                    });
                }
                Ok(StepReport {
                    step: number,
                    losses: BTreeMap::new(),
                    gradient_norm: f64::NAN,
                    skipped: Some(what),
                    seconds,
                })
            }
        }
    }

    /// Notes a validation loss of the present step, infinite where it isn't finite.
    pub(crate) fn note_validation(&mut self, total: f64) {
        self.validations.push((self.step, total));
        let surplus = self.validations.len().saturating_sub(findings::LATEST_VALIDATIONS);
        self.validations.drain(..surplus);
        if total.is_finite() && self.best.is_none_or(|best| total < best.value) {
            self.best = Some(Best {
                step: self.step,
                value: total,
            });
        }
    }

    /// Forgets a validation that was made only because the run ended there: a run that had gone on would not have it.
    pub(crate) fn forget_last_validation(&mut self, every: u64) {
        self.validations.retain(|(step, _)| step.is_multiple_of(every));
        self.best = self.best.filter(|best| best.step.is_multiple_of(every));
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The best step so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Step.
    pub step: u64,
    /// Validation loss, with weights.
    pub value: f64,
}

/// Sums of losses over a few steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Steps.
    pub n: u64,
    /// Weighted losses, summed.
    pub sums: BTreeMap<String, f64>,
}

impl Running {
    fn add(&mut self, losses: &BTreeMap<String, f64>) {
        self.n += 1;
        for (name, value) in losses {
            *self.sums.entry(name.clone()).or_insert(0.0) += value;
        }
    }

    /// Means, by name.
    pub fn means(&self) -> BTreeMap<String, f64> {
        self.sums
            .iter()
            .map(|(name, sum)| (name.clone(), sum / self.n.max(1) as f64))
            .collect()
    }
}

/// What one step did.
#[derive(Debug, Clone)]
pub struct StepReport {
    /// Step number, from 1.
    pub step: u64,
    /// Weighted losses by name.
    pub losses: BTreeMap<String, f64>,
    /// Euclidean norm of the gradient of all parameters.
    pub gradient_norm: f64,
    /// Why the update was skipped, if it was.
    pub skipped: Option<String>,
    /// Where the time went.
    pub seconds: Option<StepSeconds>,
}

/// Wall seconds of the parts of a step, in their order. What a GPU still does counts to the part that waits for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct StepSeconds {
    /// Inputs, simulation of all trials and its statistics.
    pub simulation: f64,
    /// Losses and their gradients with respect to the statistics.
    pub losses: f64,
    /// From there to the spikes.
    pub adjoint: f64,
    /// Back-propagation through time; with trials in chunks, also their second simulation.
    pub gradient: f64,
    /// Checks, discriminators, optimiser, projection.
    pub update: f64,
}

/// Seconds since the last mark, which it moves.
pub(crate) fn lap(mark: &mut Instant) -> f64 {
    let now = Instant::now();
    let seconds = now.duration_since(*mark).as_secs_f64();
    *mark = now;
    seconds
}

/// One set of recorded trials that a step may be compared with.
#[derive(Debug)]
struct Phase {
    selection: TrialSelection,
    objective: Objective,
    /// Its trials, pooled over sessions: what model trials are drawn from.
    pool: Vec<ModelTrial>,
}

/// A fit in progress.
#[derive(Debug)]
pub struct Trainer {
    /// What is fixed.
    pub assembly: Assembly,
    /// What the losses need of the recording.
    pub comparison: Comparison,
    /// The network.
    pub rsnn: Rsnn,
    /// What changes.
    pub state: State,
    /// Trials that are simulated at once: a function of the configuration and the recording, and on a GPU also of the
    /// largest buffers and launches of the adapter. So a run that goes on has the same rounding on any processor, and
    /// on a GPU where the adapter is the same.
    pub trial_chunk: usize,
    engine: Engine,
    soft: SoftMatching,
    room: Room,
    adam: AdamW,
    adversary: Option<Adversary>,
    phases: Vec<Phase>,
    validation: Objective,
    validation_pool: Vec<ModelTrial>,
}

impl Trainer {
    /// A fit at its start.
    ///
    /// # Errors
    /// A network that can't be initialised, filters or populations that don't fit the recording, no trials, a device that
    /// can't take one trial.
    pub fn new(mut assembly: Assembly, device: &OpenDevice) -> Result<Self, FitError> {
        let train = assembly.experiment.train;
        let comparison = comparison(&assembly)?;
        let most = train.n_trials.max(train.validation_trials);
        let trial_chunk = match train.chunking {
            Chunking::Whole => most,
            Chunking::Trials(trials) => trials,
            Chunking::Memory(limit) => StepMemory::of(&assembly, &comparison).chunk(limit, most)?,
        };
        let engine = engine(&assembly.experiment, device);
        let room = Room::of_fit(&engine, &assembly, &comparison);
        let trial_chunk = room.chunk(trial_chunk.min(most))?;
        let size = BatchSize {
            n_trials: train.n_trials.min(trial_chunk),
            n_steps: assembly.n_steps(),
            n_neurons: assembly.spec.n_neurons(),
            bytes_per_value: memory::POTENTIAL,
        };
        memory::check(size)?;
        memory::check(BatchSize {
            n_trials: train.validation_trials.min(trial_chunk),
            bytes_per_value: if comparison.takes_probabilities() {
                memory::POTENTIAL
            } else {
                0
            },
            ..size
        })?;
        let seed = assembly.experiment.seed;
        let rsnn = Rsnn::new(assembly.spec.clone(), seed)?;
        let Optimizer::AdamW(a) = assembly.experiment.optimizer;
        let adam = AdamW::new(AdamWConfig {
            lr: a.lr,
            beta1: a.beta1,
            beta2: a.beta2,
            epsilon: a.epsilon,
            weight_decay: a.weight_decay,
        })?;
        let n_losses = comparison.losses().len();
        let has_splitter = assembly.experiment.train.gradient_splitter;
        let splitter = has_splitter
            .then(|| GradientSplitter::new(n_losses, SPLITTER_BETA))
            .transpose()?;
        let phases = phases(&assembly, &comparison)?;
        let trials = assembly.trials_of(Part::Validation);
        let validation_pool = assembly.pool_of(&trials)?;
        if validation_pool.is_empty() {
            return Err(FitError::NoTrials { part: "validation" });
        }
        let validation = comparison.objective(&trials, phases.first().map(|p| &p.objective))?;
        check_counts(&mut assembly, &comparison, &phases, &validation)?;
        let all = assembly.all_model_trials();
        rsnn.spec.input.check_stimuli(&assembly.model_trials(&all))?;
        let state = State::new(splitter);
        let gan = comparison.losses().iter().find_map(|loss| match loss {
            Loss::SpikeGan(gan) => Some(*gan),
            _ => None,
        });
        let n_conditions = comparison.recording.n_conditions();
        let features = || phases.iter().filter_map(|p| p.objective.features());
        let adversary = gan
            .map(|gan| Adversary::new(gan, features(), n_conditions, seed))
            .transpose()?;
        let mut trainer = Self {
            assembly,
            comparison,
            rsnn,
            state,
            trial_chunk,
            soft: SoftMatching::of(&engine),
            engine,
            room,
            adam,
            adversary,
            phases,
            validation,
            validation_pool,
        };
        if trainer.assembly.experiment.train.balance_trial_types {
            // Fails now rather than at the first step.
            trainer.balanced_phase(1, &mut StreamRng::new(seed, "train.trials", 1))?;
            let lacking = trainer.without_types();
            trainer.assembly.warnings.extend(lacking);
        }
        trainer.check_pairs()?;
        Ok(trainer)
    }

    /// Sessions without training trials of a type that others have, in words.
    fn without_types(&self) -> Vec<String> {
        let train = self.assembly.trials_of(Part::Train);
        let sessions = self.comparison.recording.sessions();
        let has = |s: usize, label: usize| train[s].iter().any(|&k| sessions[s].trial_types[k] == label);
        let types = &self.assembly.trial_types;
        let known: Vec<usize> = (0..types.len())
            .filter(|&label| (0..sessions.len()).any(|s| has(s, label)))
            .collect();
        let of_session = |s: usize| {
            let lacking: Vec<&str> = known
                .iter()
                .filter(|&&label| !has(s, label))
                .map(|&label| types[label].as_str())
                .collect();
            (!lacking.is_empty()).then(|| {
                format!(
                    "train.balance_trial_types: session '{}' has no training trial of type {}; its other types are balanced",
                    self.assembly.sessions[s].id,
                    lacking.join(", ")
                )
            })
        };
        (0..sessions.len()).filter_map(of_session).collect()
    }

    /// Whether steps and validations can be drawn that the losses can compare.
    fn check_pairs(&self) -> Result<(), FitError> {
        let train = self.assembly.experiment.train;
        let judges = self.adversary.is_some();
        let first = self
            .phases
            .first()
            .map(|p| ("n_trials", train.n_trials, &p.pool, &p.objective, judges));
        let validation = (
            "validation_trials",
            train.validation_trials,
            &self.validation_pool,
            &self.validation,
            false,
        );
        for (key, n, pool, objective, judges) in first.into_iter().chain([validation]) {
            let conditions: Vec<usize> = pool
                .iter()
                .flat_map(|trial| [self.assembly.condition_of(trial.stimulus); 4])
                .collect();
            // Trials are drawn with replacement: a batch may be of one stimulus, whichever.
            let is_enough = |of: &[usize]| self.comparison.is_comparable(objective, &of[..n.min(4)], None, judges);
            if !conditions.chunks_exact(4).any(is_enough) {
                return Err(FitError::NoPairs { key, n });
            }
            if self.comparison.n_segments() > 0 && !self.are_most_comparable(pool, n, objective, judges) {
                return Err(FitError::FewOfAStimulus { key, n });
            }
        }
        Ok(())
    }

    /// Losses of counts, sessions (indices), and how many of their neurons these losses leave out.
    pub fn uncounted_neurons(&self) -> Vec<(&'static str, usize, usize)> {
        self.phases
            .first()
            .map_or_else(Vec::new, |phase| self.comparison.uncounted(&phase.objective))
    }

    /// Sessions (indices) whose trials are fitted by matching but can't be validated: none of their validation trials
    /// is complete.
    pub fn unvalidated_sessions(&self) -> Vec<usize> {
        let fitted = self
            .phases
            .first()
            .map_or_else(Vec::new, |p| p.objective.matched_sessions());
        let validated = self.validation.matched_sessions();
        fitted.into_iter().filter(|s| !validated.contains(s)).collect()
    }

    /// Takes the place of a checkpoint.
    ///
    /// # Errors
    /// A checkpoint of another model or another version of this program.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), FitError> {
        let broken = |what: String| FitError::CheckpointMismatch { what };
        let state: State = checkpoint
            .state()
            .map_err(|error| broken(format!("section 'state': {error}")))?;
        if state.splitter.as_ref().map(GradientSplitter::n_tasks)
            != self.state.splitter.as_ref().map(GradientSplitter::n_tasks)
        {
            return Err(broken(
                "the losses of the gradient splitter differ from the configuration".into(),
            ));
        }
        self.rsnn = Rsnn::with_parameters(self.rsnn.spec.clone(), parameters(checkpoint, "parameters", "")?)
            .map_err(|error| broken(error.to_string()))?;
        self.adam.first = parameters(checkpoint, "optimizer", "first.")?;
        self.adam.second = parameters(checkpoint, "optimizer", "second.")?;
        self.adam.n_updates = state.n_updates;
        if let Some(adversary) = &mut self.adversary {
            let layers = parameters(checkpoint, "adversary", "layers.")?;
            if !layers
                .iter()
                .map(|(name, a)| (name, a.shape()))
                .eq(adversary.parameters.iter().map(|(name, a)| (name, a.shape())))
            {
                return Err(broken(
                    "the discriminators of the spike-GAN differ from the recording's sessions".into(),
                ));
            }
            adversary.parameters = layers;
            adversary.adam.first = parameters(checkpoint, "adversary", "first.")?;
            adversary.adam.second = parameters(checkpoint, "adversary", "second.")?;
            adversary.adam.n_updates = state.adversary_updates;
        }
        self.state = state;
        self.state
            .forget_last_validation(self.assembly.experiment.train.validate_every);
        Ok(())
    }

    /// Starts from the parameters of another fit's checkpoint.
    ///
    /// # Errors
    /// A checkpoint of another model.
    pub fn start_from(&mut self, checkpoint: &Checkpoint) -> Result<(), FitError> {
        let found = parameters(checkpoint, "parameters", "")?;
        self.rsnn =
            Rsnn::with_parameters(self.rsnn.spec.clone(), found).map_err(|error| FitError::CheckpointMismatch {
                what: error.to_string(),
            })?;
        Ok(())
    }

    /// The present state as a checkpoint; equal states give equal bytes.
    ///
    /// # Errors
    /// Never, short of a bug in serialisation.
    pub fn checkpoint(&self) -> Result<Checkpoint, FitError> {
        let mut checkpoint = Checkpoint::new(&self.state).map_err(|error| FitError::Internal {
            what: error.to_string(),
        })?;
        checkpoint
            .sections
            .insert("parameters".into(), arrays(&self.rsnn.parameters, ""));
        let mut optimizer = arrays(&self.adam.first, "first.");
        optimizer.extend(arrays(&self.adam.second, "second."));
        checkpoint.sections.insert("optimizer".into(), optimizer);
        if let Some(adversary) = &self.adversary {
            let mut section = arrays(&adversary.parameters, "layers.");
            section.extend(arrays(&adversary.adam.first, "first."));
            section.extend(arrays(&adversary.adam.second, "second."));
            checkpoint.sections.insert("adversary".into(), section);
        }
        Ok(checkpoint)
    }

    /// Makes one step. A step whose values aren't finite changes nothing but the counters.
    ///
    /// # Errors
    /// More such steps in a row than `train.max_skipped`; anything that doesn't fit.
    pub fn step(&mut self) -> Result<StepReport, FitError> {
        let number = self.state.step + 1;
        let n_trials = self.assembly.experiment.train.n_trials;
        let splitter = self.state.splitter.clone();
        let mut seconds = StepSeconds::default();
        let outcome = self.try_step(number, &mut seconds);
        let outcome = outcome.map_err(|error| self.explain(error, n_trials));
        if !matches!(outcome, Ok(Ok(_))) {
            self.state.splitter = splitter;
        }
        let max_skipped = self.assembly.experiment.train.max_skipped;
        self.state.note_step(number, outcome, Some(seconds), max_skipped)
    }

    /// Bytes that a step takes on the adapter, at least; none on the processor.
    pub fn device_bytes(&self) -> Option<u64> {
        let n_trials = self.assembly.experiment.train.n_trials;
        let simulation = self.room.bytes(n_trials.min(self.trial_chunk))?;
        Some(simulation + self.matching_bytes(n_trials))
    }

    /// Bytes that soft matching takes on the adapter; without any, 0.
    #[cfg(feature = "wgpu")]
    fn matching_bytes(&self, n_trials: usize) -> u64 {
        let is_soft = |loss: &Loss| {
            matches!(
                loss,
                Loss::TrialMatching {
                    method: Method::Sinkhorn(_),
                    ..
                }
            )
        };
        if !self.comparison.losses().iter().any(is_soft) {
            return 0;
        }
        // One loss after the other; a step has one phase.
        let features = self.phases.iter().filter_map(|phase| phase.objective.features());
        let bytes = features.map(|features| crate::soft_matching::device_bytes(features, n_trials));
        bytes.max().unwrap_or(0)
    }

    #[cfg(not(feature = "wgpu"))]
    #[allow(clippy::unused_self)]
    fn matching_bytes(&self, _: usize) -> u64 {
        0
    }

    /// Names the chunk that would fit, where the device's memory ran out.
    fn explain(&self, error: FitError, n_trials: usize) -> FitError {
        let trials = n_trials.min(self.trial_chunk);
        self.room.explain(error, trials, "train.trial_chunk =")
    }

    /// The step itself: losses and gradient norm, or what wasn't finite; then parameters and moments are as before.
    #[allow(clippy::type_complexity)]
    fn try_step(&mut self, number: u64, seconds: &mut StepSeconds) -> Result<StepValues, FitError> {
        let mut mark = Instant::now();
        let train = self.assembly.experiment.train;
        let mut rng = StreamRng::new(self.assembly.experiment.seed, "train.trials", number);
        let balanced = if train.balance_trial_types {
            Some(self.balanced_phase(number, &mut rng)?)
        } else {
            None
        };
        let phase = balanced
            .as_ref()
            .unwrap_or(&self.phases[(number as usize - 1) % self.phases.len()]);
        let judges = self.adversary.is_some();
        let drawn = self.draw(&phase.pool, train.n_trials, &phase.objective, judges, &mut rng);
        let (kept, batch) = self.batch(&drawn, "train", number, true)?;
        seconds.simulation = lap(&mut mark);
        let adversary = self.adversary.as_ref();
        let evaluation = match self
            .comparison
            .evaluate(&phase.objective, &batch, adversary, &self.soft, &mut rng)
        {
            Err(FitError::Loss(error @ losses::LossError::NonFinite { .. })) => return Ok(Err(error.to_string())),
            other => other?,
        };
        if let Some((name, value)) = evaluation.weighted.iter().find(|(_, v)| !v.is_finite()) {
            return Ok(Err(format!("loss {name} is {value}")));
        }
        seconds.losses = lap(&mut mark);
        let adjoint = match self
            .comparison
            .adjoint(&evaluation, &batch, self.state.splitter.as_mut())
        {
            Err(FitError::Loss(error @ losses::LossError::NonFinite { .. })) => return Ok(Err(error.to_string())),
            other => other?,
        };
        let d_behaviour = Comparison::behaviour_adjoint(&evaluation);
        seconds.adjoint = lap(&mut mark);
        let gradients = match kept {
            Some(simulation) => self.rsnn.backward(&self.engine, simulation, adjoint, d_behaviour)?,
            None => self.chunked_backward(&drawn, number, &adjoint, d_behaviour)?,
        };
        seconds.gradient = lap(&mut mark);
        if let Some(what) = not_finite(&gradients, "gradient of") {
            return Ok(Err(what));
        }
        let learned = self.learned(&phase.objective, &batch, number)?;
        if let Some(what) = self.update(&gradients)? {
            return Ok(Err(what));
        }
        if let Some(adversary) = learned {
            self.state.adversary_updates = adversary.adam.n_updates;
            self.adversary = Some(adversary);
        }
        let gradient_norm = norm(&gradients);
        seconds.update = lap(&mut mark);
        Ok(Ok((evaluation.weighted, gradient_norm)))
    }

    /// The discriminators after what they learn from a batch; none where they don't learn at this step.
    fn learned(
        &self,
        objective: &Objective,
        batch: &BatchStatistics,
        step: u64,
    ) -> Result<Option<Adversary>, FitError> {
        let Some(adversary) = self.adversary.as_ref().filter(|a| a.learns_at(step)) else {
            return Ok(None);
        };
        let model = self.comparison.model_features(objective, batch)?;
        let (Some(data), Some(model)) = (objective.features(), model) else {
            return Ok(None);
        };
        let mut learned = adversary.clone();
        learned.learn(data, &model, &batch.conditions)?;
        Ok(Some(learned))
    }

    /// Updates the parameters, or says which would not be finite and leaves everything as it was.
    fn update(&mut self, gradients: &Parameters) -> Result<Option<String>, FitError> {
        let Optimizer::AdamW(a) = self.assembly.experiment.optimizer;
        // The projection moves values towards 0 or to small constants: an update within the limit stays there. One that
        // isn't may still be mended by it, so it is tried on a copy.
        let lr = self.learning_rate(self.state.step + 1);
        self.adam.config.lr = lr;
        let is_safe = self
            .adam
            .stays_within(&self.rsnn.parameters, gradients, GRADIENT_LIMIT)?;
        let before = (!is_safe).then(|| (self.rsnn.parameters.clone(), self.adam.clone()));
        self.adam.update(&mut self.rsnn.parameters, gradients)?;
        self.rsnn.project(lr, a.l1);
        if let Some(before) = before
            && let Some(what) = not_finite(&self.rsnn.parameters, "parameter")
        {
            (self.rsnn.parameters, self.adam) = before;
            return Ok(Some(what));
        }
        self.state.n_updates = self.adam.n_updates;
        Ok(None)
    }

    /// Simulates a batch, chunk by chunk, and reduces it to its statistics. A batch of one chunk is kept for the gradient
    /// where that is asked for; of several, only the statistics remain.
    fn batch(
        &self,
        drawn: &[ModelTrial],
        stream: &str,
        number: u64,
        for_gradient: bool,
    ) -> Result<(Option<Simulation>, BatchStatistics), FitError> {
        let mut all: Option<BatchStatistics> = None;
        let is_whole = drawn.len() <= self.trial_chunk;
        for trials in chunks(drawn.len(), self.trial_chunk) {
            let keep = (for_gradient && is_whole) || self.comparison.takes_probabilities();
            let simulation = self.simulate_chunk(drawn, trials.clone(), stream, number, keep)?;
            let shown = &drawn[trials];
            let conditions = shown.iter().map(|t| self.assembly.condition_of(t.stimulus)).collect();
            let lengths = self.assembly.lengths(shown);
            let part = self.comparison.statistics(&simulation, conditions, lengths)?;
            if is_whole {
                return Ok((for_gradient.then_some(simulation), part));
            }
            match &mut all {
                None => all = Some(part),
                Some(all) => all.append(&part).map_err(|error| FitError::Internal {
                    what: error.to_string(),
                })?,
            }
        }
        let batch = all.ok_or(FitError::NoTrials { part: "a step" })?;
        Ok((None, batch))
    }

    /// Simulates some trials of a batch: the same spikes as within the whole batch.
    fn simulate_chunk(
        &self,
        drawn: &[ModelTrial],
        trials: Range<usize>,
        stream: &str,
        number: u64,
        keep_potentials: bool,
    ) -> Result<Simulation, FitError> {
        let draws = Draws {
            seed: self.assembly.experiment.seed,
            step: number as u32,
            stream,
            first_trial: trials.start as u32,
        };
        Ok(self.rsnn.simulate(
            &self.engine,
            &self.assembly.model_trials(&drawn[trials]),
            self.assembly.n_steps(),
            draws,
            keep_potentials,
        )?)
    }

    /// Gradients of a batch of several chunks: each is simulated once more, bit by bit the same, and back-propagated.
    fn chunked_backward(
        &self,
        drawn: &[ModelTrial],
        number: u64,
        adjoint: &SpikeAdjoint,
        d_behaviour: Option<&Array3<f64>>,
    ) -> Result<Parameters, FitError> {
        let mut sum: Option<Parameters> = None;
        for trials in chunks(drawn.len(), self.trial_chunk) {
            let simulation = self.simulate_chunk(drawn, trials.clone(), "train", number, true)?;
            let d_behaviour = d_behaviour.map(|d| d.slice(s![trials.clone(), .., ..]).to_owned());
            let part = self.rsnn.backward(
                &self.engine,
                simulation,
                adjoint.of_trials(trials),
                d_behaviour.as_ref(),
            )?;
            match &mut sum {
                None => sum = Some(part),
                Some(sum) => sum.add(&part)?,
            }
        }
        sum.ok_or(FitError::NoTrials { part: "a step" })
    }

    /// Validation losses (weighted, by name) of the present parameters, or what in them isn't finite; the total is
    /// also noted in the state (infinite in the second case).
    ///
    /// # Errors
    /// Anything that doesn't fit.
    pub fn validate(&mut self) -> Result<Result<BTreeMap<String, f64>, String>, FitError> {
        let number = self.state.step;
        let n_trials = self.assembly.experiment.train.validation_trials;
        let outcome = self.validation_losses(number);
        let losses = match outcome.map_err(|error| self.explain(error, n_trials)) {
            Ok(evaluation) => match evaluation.weighted.iter().find(|(_, v)| !v.is_finite()) {
                Some((name, value)) => Err(format!("validation loss {name} is {value}")),
                None => Ok(evaluation.weighted),
            },
            Err(FitError::Loss(error @ losses::LossError::NonFinite { .. })) => Err(format!("validation: {error}")),
            Err(error) => return Err(error),
        };
        let total = losses.as_ref().map_or(f64::INFINITY, |losses| losses.values().sum());
        self.state.note_validation(total);
        Ok(losses)
    }

    /// `n` draws with replacement; again where a loss could not compare them, because no stimulus was drawn often enough.
    fn draw(
        &self,
        pool: &[ModelTrial],
        n: usize,
        objective: &Objective,
        judges: bool,
        rng: &mut StreamRng,
    ) -> Vec<ModelTrial> {
        const MOST_DRAWS: usize = 1000;
        let mut drawn = Vec::new();
        for _ in 0..MOST_DRAWS {
            let is_comparable;
            (drawn, is_comparable) = self.draw_once(pool, n, objective, judges, rng);
            if is_comparable {
                break;
            }
        }
        drawn
    }

    /// `n` draws with replacement, and whether every loss can compare them.
    fn draw_once(
        &self,
        pool: &[ModelTrial],
        n: usize,
        objective: &Objective,
        judges: bool,
        rng: &mut StreamRng,
    ) -> (Vec<ModelTrial>, bool) {
        let drawn: Vec<ModelTrial> = (0..n).map(|_| pool[rng.random_range(0..pool.len())]).collect();
        let of = |trial: &ModelTrial| self.assembly.condition_of(trial.stimulus);
        let conditions: Vec<usize> = drawn.iter().map(of).collect();
        let lengths = self.assembly.lengths(&drawn);
        let is_comparable = self
            .comparison
            .is_comparable(objective, &conditions, lengths.as_deref(), judges);
        (drawn, is_comparable)
    }

    /// Whether most batches of `n` trials can be compared as they are drawn.
    fn are_most_comparable(&self, pool: &[ModelTrial], n: usize, objective: &Objective, judges: bool) -> bool {
        const DRAWS: usize = 100;
        let mut rng = StreamRng::new(self.assembly.experiment.seed, "check.trials", 0);
        let found = (0..DRAWS).filter(|_| self.draw_once(pool, n, objective, judges, &mut rng).1);
        found.count() * 2 >= DRAWS
    }

    fn validation_losses(&self, number: u64) -> Result<Evaluation, FitError> {
        let mut rng = StreamRng::new(self.assembly.experiment.seed, "validation.trials", number);
        let k = self.assembly.experiment.train.validation_trials;
        let drawn = self.draw(&self.validation_pool, k, &self.validation, false, &mut rng);
        let (_, batch) = self.batch(&drawn, "validation", number, false)?;
        self.comparison
            .evaluate(&self.validation, &batch, None, &self.soft, &mut rng)
    }

    /// Floor of each weighted validation loss: as many training trials in the place of the model's.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn floor(&self) -> Result<BTreeMap<String, f64>, FitError> {
        let mut rng = StreamRng::new(self.assembly.experiment.seed, "floor", 0);
        let k = self.assembly.experiment.train.validation_trials;
        let train = self.assembly.trials_of(Part::Train);
        self.comparison.floor(&self.validation, &train, k, &mut rng)
    }

    /// Passes through the training trials so far: model trials over recorded training trials.
    pub fn epoch(&self) -> f64 {
        let recorded = self.phases.first().map_or(1, |p| p.pool.len().max(1));
        self.state.step as f64 * self.assembly.experiment.train.n_trials as f64 / recorded as f64
    }

    /// Random trials of each session with the global proportions of trial types.
    ///
    /// The type that a session has least of, relative to its proportion q, fixes how many trials the session gives:
    /// `K_s = ⌊n_type/q_type⌋`, of which `round(K_s q)` of each type. A session without a type has the proportions of those that it
    /// has (published: it gives no trial).
    ///
    /// # Source
    /// Sourmpis et al. 2023, specification §1.11.
    fn balanced_phase(&self, number: u64, rng: &mut StreamRng) -> Result<Phase, FitError> {
        let base = &self.phases[(number as usize - 1) % self.phases.len()];
        let sessions = self.comparison.recording.sessions();
        let n_types = self.assembly.trial_types.len();
        let count = |session: usize, label: usize| {
            base.selection[session]
                .iter()
                .filter(|&&k| sessions[session].trial_types[k] == label)
                .count()
        };
        let totals: Vec<usize> = (0..n_types)
            .map(|label| (0..sessions.len()).map(|s| count(s, label)).sum())
            .collect();
        let all: usize = totals.iter().sum();
        let share: Vec<f64> = totals.iter().map(|&n| n as f64 / all.max(1) as f64).collect();
        let mut selection = TrialSelection::new();
        for (s, trials) in base.selection.iter().enumerate() {
            let k_s = (0..n_types)
                .filter(|&l| share[l] > 0.0 && count(s, l) > 0)
                .map(|l| (count(s, l) as f64 / share[l]).floor())
                .fold(f64::INFINITY, f64::min);
            let mut chosen = Vec::new();
            for (label, share) in share.iter().enumerate() {
                let of_type: Vec<usize> = trials
                    .iter()
                    .copied()
                    .filter(|&k| sessions[s].trial_types[k] == label)
                    .collect();
                let wanted = ((k_s * share).round() as usize).min(of_type.len());
                chosen.extend(
                    index::sample(rng, of_type.len(), wanted)
                        .into_iter()
                        .map(|i| of_type[i]),
                );
            }
            chosen.sort_unstable();
            selection.push(chosen);
        }
        let pool = self.assembly.pool_of(&selection)?;
        if pool.is_empty() {
            return Err(FitError::NoTrials {
                part: "a balanced step",
            });
        }
        let objective = self.comparison.objective(&selection, None)?;
        Ok(Phase {
            selection,
            objective,
            pool,
        })
    }
}

impl Fit for Trainer {
    fn state(&self) -> &State {
        &self.state
    }

    fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    fn schedule(&self) -> Schedule {
        let train = self.assembly.experiment.train;
        Schedule {
            max_steps: train.max_steps,
            validate_every: train.validate_every,
            patience: train.patience,
            checkpoint_every: train.checkpoint_every,
            log_every: train.log_every,
        }
    }

    fn optimizer(&self) -> Optimizer {
        self.assembly.experiment.optimizer
    }

    fn step(&mut self) -> Result<StepReport, FitError> {
        Self::step(self)
    }

    fn validate(&mut self) -> Result<Result<BTreeMap<String, f64>, String>, FitError> {
        Self::validate(self)
    }

    fn checkpoint(&self) -> Result<Checkpoint, FitError> {
        Self::checkpoint(self)
    }

    fn epoch(&self) -> f64 {
        Self::epoch(self)
    }

    fn findings(&self) -> Vec<Finding> {
        let mut found = findings::of_parameters(&ParameterBounds::of(&self.rsnn));
        let recording = &self.comparison.recording;
        let n_recorded = recording.sessions().iter().map(|s| s.neurons.len()).sum();
        let least = self.assembly.experiment.statistics.min_spikes;
        let n_few = recording.with_few_spikes(&self.assembly.trials_of(Part::Train), least);
        let n_few = n_few.map_or(0, |few| few.len());
        found.extend(findings::of_few_spikes(n_few, n_recorded, least));
        found
    }
}

/// Refuses losses of counts that nothing of the training trials can be compared for; says which are not in the validation loss.
fn check_counts(
    assembly: &mut Assembly,
    comparison: &Comparison,
    phases: &[Phase],
    validation: &Objective,
) -> Result<(), FitError> {
    let lack = |of: &Objective| comparison.without_counts(of);
    // There is one: these losses take trials of the same stimulus, and no cycle of stimuli.
    if let Some(first) = phases.first()
        && let Some(loss) = lack(&first.objective).first()
    {
        return Err(FitError::NoCounts { loss });
    }
    for loss in lack(validation) {
        assembly.warnings.push(format!(
            "loss.{loss}: no session has four validation trials of a stimulus; it is not in the validation loss (more validation \
             trials: split.validation_fraction)"
        ));
    }
    Ok(())
}

/// The comparison that an assembly asks for.
///
/// # Errors
/// As [`Comparison::new`].
pub fn comparison(assembly: &Assembly) -> Result<Comparison, FitError> {
    comparison_with(assembly, assembly.recording.clone())
}

/// The comparison for evaluation: within each stimulus, whatever the losses compare within.
///
/// # Errors
/// As [`Comparison::new`].
pub fn comparison_by_stimulus(assembly: &Assembly) -> Result<Comparison, FitError> {
    comparison_with(assembly, assembly.recording_by_stimulus()?)
}

fn comparison_with(assembly: &Assembly, recording: losses::statistics::Recording) -> Result<Comparison, FitError> {
    let e = &assembly.experiment;
    let has_behaviour = !e.data.behaviour.is_empty();
    let Model::Rsnn(model) = &e.model;
    let options = ComparisonOptions {
        bin_ms: e.data.bin_ms,
        damping: model.surrogate_damping,
        has_behaviour,
        is_masked: assembly.is_masked(),
    };
    let mut comparison = Comparison::new(recording, e.statistics, e.losses.clone(), options)?;
    comparison.weigh_neurons(&assembly.trials_of(Part::Train))?;
    Ok(comparison)
}

/// All training trials, and in the published cycle also those of each stimulus alone (when there are several).
fn phases(assembly: &Assembly, comparison: &Comparison) -> Result<Vec<Phase>, FitError> {
    let train = assembly.trials_of(Part::Train);
    let mut selections = vec![train.clone()];
    if assembly.experiment.statistics.match_within == MatchWithin::Cycle && assembly.stimuli.len() > 1 {
        for stimulus in 0..assembly.stimuli.len() {
            let only = train
                .iter()
                .zip(&assembly.stimulus_of)
                .map(|(trials, of)| trials.iter().copied().filter(|&k| of[k] == stimulus).collect());
            selections.push(only.collect());
        }
    }
    let mut phases = Vec::new();
    for selection in selections {
        let pool = assembly.pool_of(&selection)?;
        if pool.is_empty() {
            if phases.is_empty() {
                return Err(FitError::NoTrials { part: "training" });
            }
            continue;
        }
        let objective = comparison.objective(&selection, None)?;
        phases.push(Phase {
            selection,
            objective,
            pool,
        });
    }
    Ok(phases)
}

/// Ranges of at most `size` trials.
pub(crate) fn chunks(n_trials: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n_trials)
        .step_by(size.max(1))
        .map(move |from| from..(from + size).min(n_trials))
}

/// The engine that the configuration names, on a device: `native` is the device's fast one, the others always compute
/// on the processor, and so does a closed loop.
pub fn engine(experiment: &Experiment, device: &OpenDevice) -> Engine {
    match experiment.train.engine {
        checked::Engine::Native if experiment.model.is_closed_loop() => Engine::Native,
        checked::Engine::Native => native(device),
        checked::Engine::NativeInt16 => Engine::NativeInt16,
        checked::Engine::Reference => Engine::Reference,
    }
}

/// The engine of a configuration where no gradient follows: 16-bit products are part of the gradient alone.
pub fn engine_of_simulation(experiment: &Experiment, device: &OpenDevice) -> Engine {
    match experiment.train.engine {
        checked::Engine::NativeInt16 if !experiment.model.is_closed_loop() => native(device),
        checked::Engine::NativeInt16 => Engine::Native,
        checked::Engine::Native | checked::Engine::Reference => engine(experiment, device),
    }
}

#[cfg(feature = "wgpu")]
pub(crate) fn native(device: &OpenDevice) -> Engine {
    snn_core::device::kernels(device).map_or(Engine::Native, Engine::Kernels)
}

#[cfg(not(feature = "wgpu"))]
pub(crate) fn native(_: &OpenDevice) -> Engine {
    Engine::Native
}

pub(crate) fn not_finite(arrays: &Parameters, what: &str) -> Option<String> {
    arrays.iter().find_map(|(name, array)| {
        let bad = array.iter().position(|x| x.is_nan() || x.abs() > GRADIENT_LIMIT)?;
        Some(format!(
            "{what} '{name}' at index {bad} is {}",
            array.iter().nth(bad).copied().unwrap_or(f32::NAN)
        ))
    })
}

pub(crate) fn norm(gradients: &Parameters) -> f64 {
    gradients
        .iter()
        .flat_map(|(_, array)| array.iter())
        .map(|x| f64::from(*x).powi(2))
        .sum::<f64>()
        .sqrt()
}

pub(crate) fn arrays(parameters: &Parameters, prefix: &str) -> Arrays {
    let entry = |(name, array): (&str, &ArrayD<f32>)| {
        let values = Values::F32(array.iter().copied().collect());
        (
            format!("{prefix}{name}"),
            Array {
                shape: array.shape().to_vec(),
                values,
            },
        )
    };
    parameters.iter().map(entry).collect()
}

/// Arrays of a checkpoint's section whose names start with `prefix`, without it.
///
/// # Errors
/// A section that is missing, or values of another type.
pub fn parameters(checkpoint: &Checkpoint, section: &str, prefix: &str) -> Result<Parameters, FitError> {
    let mismatch = |what: String| FitError::CheckpointMismatch { what };
    let arrays = checkpoint
        .sections
        .get(section)
        .ok_or_else(|| mismatch(format!("section '{section}' is missing")))?;
    let mut out = Parameters::new();
    for (name, array) in arrays {
        let Some(short) = name.strip_prefix(prefix) else {
            continue;
        };
        let Values::F32(values) = &array.values else {
            return Err(mismatch(format!("array '{name}' is not single precision")));
        };
        let array = ArrayD::from_shape_vec(IxDyn(&array.shape), values.clone())
            .map_err(|error| mismatch(format!("array '{name}': {error}")))?;
        out.insert(short, array);
    }
    Ok(out)
}
