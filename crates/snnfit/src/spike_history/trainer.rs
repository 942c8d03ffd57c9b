//! Training of a spike-history network: one step after the other, each a function of (parameters, optimiser, step number).
//!
//! A step draws stretches of recorded trials, any of the training part, and runs them clamped to the recording: likelihood and
//! single-trial loss; or freely from its history: coincidences of any stimuli. And it draws stretches of repeated stimuli and simulates
//! them freely: trial averages, noise covariances, coincidences. Both gradients are added; there is one update.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::seq::SliceRandom;
use snn_core::adamw::{AdamW, AdamWConfig};
use snn_core::device::OpenDevice;
use snn_core::models::Parameters;
use snn_core::models::rsnn::Engine;
use snn_core::rng::StreamRng;

use super::model::Model;
use super::recorded::{Recorded, Repeats};
use super::rollouts::{Batch, FreeWindow, Numbers, Rollouts, Window};
use crate::assembly::Part;
use crate::checkpoint::Checkpoint;
use crate::config::checked::spike_history::{Loss, SpikeHistoryExperiment};
use crate::config::checked::{self, Optimizer};
use crate::findings::Finding;
use crate::fit::{Fit, Schedule};
use crate::fit_error::FitError;
use crate::trainer::{self, State, StepReport, StepValues, native, norm, not_finite};

/// A fit in progress.
#[derive(Debug)]
pub struct SpikeHistoryTrainer {
    /// The configuration.
    pub experiment: SpikeHistoryExperiment,
    /// What is recorded.
    pub recorded: Recorded,
    /// Network and driver.
    pub model: Model,
    /// What changes.
    pub state: State,
    engine: Engine,
    device: OpenDevice,
    adam: AdamW,
    /// Repeated stimuli of the training part that are long enough for a free window.
    train_repeats: Vec<Repeats>,
    validation_repeats: Vec<Repeats>,
    lead: usize,
    /// Rates of the visible neurons in the training trials: a pass over the whole recording.
    rates: Vec<f64>,
    /// First bin that counts of clamped windows may be any of this many; by (session, trial) of the training part.
    places: Vec<(usize, usize, usize)>,
}

/// Bins before those that count: as many as spikes act over, where anything is hidden, or as there are.
pub(crate) fn lead(experiment: &SpikeHistoryExperiment, recorded: &Recorded) -> usize {
    let n = recorded.neurons.len() + experiment.model.n_hidden;
    let is_whole = recorded.sessions.iter().all(|session| session.neurons.len() == n);
    if is_whole { 0 } else { experiment.model.history.steps }
}

/// The engine that the configuration names, on a device.
pub fn engine(experiment: &SpikeHistoryExperiment, device: &OpenDevice) -> Engine {
    match experiment.train.engine {
        checked::Engine::Native | checked::Engine::NativeInt16 => native(device),
        checked::Engine::Reference => Engine::Reference,
    }
}

impl SpikeHistoryTrainer {
    /// A fit at its start.
    ///
    /// # Errors
    /// A network or encoder that can't be initialised, trials shorter than the windows, no repeated stimulus where losses need one.
    pub fn new(experiment: SpikeHistoryExperiment, recorded: Recorded, device: OpenDevice) -> Result<Self, FitError> {
        let model = Model::new(&experiment, &recorded)?;
        let Optimizer::AdamW(a) = experiment.optimizer;
        let adam = AdamW::new(AdamWConfig {
            lr: a.lr,
            beta1: a.beta1,
            beta2: a.beta2,
            epsilon: a.epsilon,
            weight_decay: a.weight_decay,
        })?;
        let lead = lead(&experiment, &recorded);
        let fail = |reason: String| Err(FitError::SpikeHistory { reason });
        let bins = experiment.model.windows.clamped_steps;
        let places = places(&recorded, Part::Train, lead + bins.steps);
        if places.is_empty() {
            return fail(format!(
                "no training trial has {} bins, which windows.clamped_ms = {} takes{}",
                lead + bins.steps,
                bins.ms,
                if lead > 0 { " with the history before it" } else { "" }
            ));
        }
        let has_windows = experiment.losses.iter().any(is_of_windows);
        let is_short = has_windows && tiles(&recorded, Part::Validation, lead, bins.steps).is_empty();
        if is_short {
            return fail(format!(
                "no validation trial has {} bins, which windows.clamped_ms = {} takes; shorten it, or name longer validation trials",
                lead + bins.steps,
                bins.ms
            ));
        }
        let skip = experiment.statistics.skip.steps;
        let free = experiment.model.windows.free_steps;
        let fits = |repeats: &Repeats, bins: usize| repeats.n_bins >= skip.max(lead) + bins;
        let all = recorded.repeats(Part::Train);
        let needed = experiment.losses.iter().find(|loss| loss.is_of_repeats());
        let train_repeats: Vec<Repeats> = all.iter().filter(|r| fits(r, free.steps)).cloned().collect();
        if let (Some(loss), true) = (needed, train_repeats.is_empty()) {
            return fail(if all.is_empty() {
                format!(
                    "the loss `{}` compares repeats, and no stimulus is shown in {} training trials of a session",
                    loss.name(),
                    losses::sample_and_measure::MIN_REPEATS
                )
            } else {
                format!(
                    "the loss `{}` simulates {} bins (windows.free_ms = {}) after {} that don't count; no repeated stimulus is as long",
                    loss.name(),
                    free.steps,
                    free.ms,
                    skip.max(lead)
                )
            });
        }
        let mut recorded = recorded;
        let validation_repeats: Vec<Repeats> = recorded
            .repeats(Part::Validation)
            .into_iter()
            .filter(|r| fits(r, free.steps))
            .collect();
        if let (Some(loss), true, false) = (needed, validation_repeats.is_empty(), has_windows) {
            return fail(format!(
                "nothing says which step is best: `{}` compares repeats, and no stimulus is shown in {} validation trials of a session",
                loss.name(),
                losses::sample_and_measure::MIN_REPEATS
            ));
        }
        if let (Some(loss), true) = (needed, validation_repeats.is_empty()) {
            recorded.warnings.push(format!(
                "no stimulus is shown in {} validation trials of a session: `{}` and other losses of repeats are not validated",
                losses::sample_and_measure::MIN_REPEATS,
                loss.name()
            ));
        }
        Ok(Self {
            engine: engine(&experiment, &device),
            rates: recorded.rates(),
            experiment,
            recorded,
            model,
            state: State::new(None),
            device,
            adam,
            train_repeats,
            validation_repeats,
            lead,
            places,
        })
    }

    /// Takes the place of a checkpoint.
    ///
    /// # Errors
    /// A checkpoint of another model or another version of this program.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), FitError> {
        let state: State = checkpoint.state().map_err(|error| FitError::CheckpointMismatch {
            what: format!("section 'state': {error}"),
        })?;
        self.start_from(checkpoint)?;
        self.adam.first = trainer::parameters(checkpoint, "optimizer", "first.")?;
        self.adam.second = trainer::parameters(checkpoint, "optimizer", "second.")?;
        self.adam.n_updates = state.n_updates;
        self.state = state;
        self.state.forget_last_validation(self.experiment.train.validate_every);
        Ok(())
    }

    /// Starts from the network of another fit's checkpoint.
    ///
    /// # Errors
    /// A checkpoint of another model.
    pub fn start_from(&mut self, checkpoint: &Checkpoint) -> Result<(), FitError> {
        self.model = Model::of_checkpoint(&self.experiment, &self.recorded, checkpoint)?;
        Ok(())
    }

    fn rollouts(&self) -> Rollouts<'_> {
        Rollouts {
            model: &self.model,
            recorded: &self.recorded,
            engine: &self.engine,
            device: &self.device,
            lead: self.lead,
        }
    }

    fn numbers<'a>(&self, number: u64, stream: &'a str) -> Numbers<'a> {
        Numbers {
            seed: self.experiment.seed,
            number,
            stream,
        }
    }

    fn compares_repeats(&self) -> bool {
        self.experiment.losses.iter().any(Loss::is_of_repeats)
    }

    /// Targets of hidden rates: the rate of a visible neuron drawn for each.
    fn hidden_targets(&self, rng: &mut StreamRng) -> Option<Vec<f64>> {
        let n = self.experiment.model.n_hidden;
        let is_asked = |loss: &Loss| matches!(loss, Loss::HiddenRate { .. });
        (n > 0 && self.experiment.losses.iter().any(is_asked)).then(|| {
            let rates = &self.rates;
            (0..n).map(|_| rates[rng.random_range(0..rates.len())]).collect()
        })
    }

    /// Stretches of training trials, each bin equally likely to be the first that counts.
    fn draw_clamped(&self, rng: &mut StreamRng) -> Vec<Window> {
        let total: usize = self.places.iter().map(|(_, _, n)| n).sum();
        let draw = |_| {
            let mut place = rng.random_range(0..total);
            let mut chosen = self.places[0];
            for candidate in &self.places {
                chosen = *candidate;
                if place < candidate.2 {
                    break;
                }
                place -= candidate.2;
            }
            Window {
                session: chosen.0,
                trial: chosen.1,
                first: self.lead + place,
            }
        };
        (0..self.experiment.model.windows.clamped).map(draw).collect()
    }

    /// Stretches of repeated stimuli, in proportion to their length.
    fn draw_free(&self, rng: &mut StreamRng) -> Vec<FreeWindow<'_>> {
        let bins = self.experiment.model.windows.free_steps.steps;
        let from = self.experiment.statistics.skip.steps.max(self.lead);
        let room = |repeats: &Repeats| repeats.n_bins - bins - from + 1;
        let total: usize = self.train_repeats.iter().map(room).sum();
        let mut windows = Vec::with_capacity(self.experiment.model.windows.free);
        for _ in 0..self.experiment.model.windows.free {
            let mut place = rng.random_range(0..total);
            for repeats in &self.train_repeats {
                if place < room(repeats) {
                    windows.push(FreeWindow {
                        repeats,
                        first: from + place,
                        bins,
                        starts: starts(&repeats.trials, self.experiment.train.n_trials, rng),
                    });
                    break;
                }
                place -= room(repeats);
            }
        }
        windows
    }

    fn try_step(&mut self, number: u64) -> Result<StepValues, FitError> {
        let mut rng = StreamRng::new(self.experiment.seed, "train.windows", number);
        let hidden = self.hidden_targets(&mut rng);
        let losses = &self.experiment.losses;
        let clamped = if losses.iter().any(is_of_windows) {
            self.draw_clamped(&mut rng)
        } else {
            Vec::new()
        };
        let free = if self.compares_repeats() {
            self.draw_free(&mut rng)
        } else {
            Vec::new()
        };
        let batch = Batch {
            clamped: &clamped,
            clamped_bins: self.experiment.model.windows.clamped_steps.steps,
            free: &free,
        };
        let mut gradient = Parameters::new();
        let numbers = self.numbers(number, "train");
        let found = self
            .rollouts()
            .losses(batch, losses, hidden.as_deref(), numbers, Some(&mut gradient));
        let values = match found {
            Err(FitError::Loss(error @ losses::LossError::NonFinite { .. })) => return Ok(Err(error.to_string())),
            other => other?,
        };
        if let Some((name, value)) = values.iter().find(|(_, v)| !v.is_finite()) {
            return Ok(Err(format!("loss {name} is {value}")));
        }
        if let Some(what) = not_finite(&gradient, "gradient of") {
            return Ok(Err(what));
        }
        if let Some(what) = self.update(number, &gradient)? {
            return Ok(Err(what));
        }
        Ok(Ok((values, norm(&gradient))))
    }

    /// Updates the parameters, or says which would not be finite and leaves everything as it was.
    fn update(&mut self, number: u64, gradient: &Parameters) -> Result<Option<String>, FitError> {
        let Optimizer::AdamW(a) = self.experiment.optimizer;
        let lr = self.learning_rate(number);
        let mut all = self.model.parameters()?;
        let before = self.adam.clone();
        self.adam.config.lr = lr;
        self.adam.update(&mut all, gradient)?;
        if a.l1 > 0.0
            && let Some(w) = all.get_mut("w")
        {
            let shrinkage = (a.l1 * lr) as f32;
            w.mapv_inplace(|w| w.signum() * (w.abs() - shrinkage).max(0.0));
        }
        if let Some(what) = not_finite(&all, "parameter") {
            self.adam = before;
            return Ok(Some(what));
        }
        self.model.set_parameters(&all)?;
        self.state.n_updates = self.adam.n_updates;
        Ok(None)
    }

    /// Weighted losses of a part: likelihoods of all of it, cut into windows, and repeats whole.
    fn losses_of(&self, part: Part, repeats: &[Repeats], stream: &str) -> Result<BTreeMap<String, f64>, FitError> {
        let losses = &self.experiment.losses;
        // The same draws at each validation: steps are compared with one another, and by themselves draws differ more than steps do.
        let number = 0;
        let mut rng = StreamRng::new(self.experiment.seed, "validation.windows", number);
        let hidden = self.hidden_targets(&mut rng);
        let rollouts = self.rollouts();
        let mut sums = BTreeMap::<String, (f64, f64)>::new();
        let mut note = |values: BTreeMap<String, f64>, weight: &dyn Fn(&str) -> f64| {
            for (name, value) in values {
                let weight = weight(&name);
                let sum = sums.entry(name).or_default();
                *sum = (sum.0 + weight * value, sum.1 + weight);
            }
        };
        let compares_repeats = !repeats.is_empty() && self.compares_repeats();
        if losses.iter().any(is_of_windows) {
            let bins = self.experiment.model.windows.clamped_steps.steps;
            let all = tiles(&self.recorded, part, self.lead, bins);
            // Of one session each and as equal as can be: coincidences are of the windows of a session together.
            let parts = all.chunk_by(|a, b| a.session == b.session).flat_map(|of_session| {
                let (n, k) = (of_session.len(), of_session.len().div_ceil(TILES_AT_ONCE));
                (0..k).map(move |i| &of_session[i * n / k..(i + 1) * n / k])
            });
            // As in a step: means over entries, but for coincidences and hidden rates of the same run, which are of windows.
            let has_free = losses.iter().any(Loss::is_of_any_stimuli);
            let is_of_windows = |name: &str| {
                let of = |loss: &&Loss| loss.is_of_any_stimuli() || matches!(loss, Loss::HiddenRate { .. });
                has_free && losses.iter().filter(of).any(|loss| loss.name() == name)
            };
            for (i, windows) in parts.enumerate() {
                let stream = format!("{stream}.{i}");
                let numbers = self.numbers(number, &stream);
                let hidden = hidden.as_deref().filter(|_| !compares_repeats);
                let batch = Batch {
                    clamped: windows,
                    clamped_bins: bins,
                    free: &[],
                };
                let units = |w: &Window| self.recorded.sessions[w.session].neurons.len();
                let entries: usize = windows.iter().map(units).sum();
                let weight = |name: &str| if is_of_windows(name) { windows.len() } else { entries } as f64;
                note(rollouts.losses(batch, losses, hidden, numbers, None)?, &weight);
            }
        }
        if compares_repeats {
            let first = self.experiment.statistics.skip.steps.max(self.lead);
            for (i, repeats) in repeats.iter().enumerate() {
                let window = FreeWindow {
                    repeats,
                    first,
                    bins: repeats.n_bins - first,
                    starts: starts(&repeats.trials, self.experiment.train.validation_trials, &mut rng),
                };
                let stream = format!("{stream}.{i}");
                let numbers = self.numbers(number, &stream);
                let batch = Batch {
                    free: &[window],
                    ..Batch::default()
                };
                note(
                    rollouts.losses(batch, losses, hidden.as_deref(), numbers, None)?,
                    &|_| 1.0,
                );
            }
        }
        Ok(sums
            .into_iter()
            .map(|(name, (sum, weight))| (name, sum / weight))
            .collect())
    }
}

/// Windows of a validation that are run together.
const TILES_AT_ONCE: usize = 256;

/// Whether it is of windows of any trials: all but those of repeats and hidden rates, which go with either.
fn is_of_windows(loss: &Loss) -> bool {
    !loss.is_of_repeats() && !matches!(loss, Loss::HiddenRate { .. })
}

/// Trials of a part that have `bins` bins, and how many places a window has in each.
fn places(recorded: &Recorded, part: Part, bins: usize) -> Vec<(usize, usize, usize)> {
    let mut places = Vec::new();
    for (s, session) in recorded.sessions.iter().enumerate() {
        for &k in session.trials(part) {
            if session.valid_bins[k] >= bins {
                places.push((s, k, session.valid_bins[k] - bins + 1));
            }
        }
    }
    places
}

/// A part cut into windows, one after the other; what is left at the end of a trial is left out.
pub fn tiles(recorded: &Recorded, part: Part, lead: usize, bins: usize) -> Vec<Window> {
    let mut windows = Vec::new();
    for (session, recorded) in recorded.sessions.iter().enumerate() {
        for &trial in recorded.trials(part) {
            let n = recorded.valid_bins[trial].saturating_sub(lead) / bins;
            windows.extend((0..n).map(|i| Window {
                session,
                trial,
                first: lead + i * bins,
            }));
        }
    }
    windows
}

/// Recorded trials that `n` simulated ones start from: each before one comes again, in random order.
pub fn starts(trials: &[usize], n: usize, rng: &mut StreamRng) -> Vec<usize> {
    let mut starts = Vec::with_capacity(n + trials.len());
    while starts.len() < n {
        let mut round = trials.to_vec();
        round.shuffle(rng);
        starts.extend(round);
    }
    starts.truncate(n);
    starts
}

impl Fit for SpikeHistoryTrainer {
    fn state(&self) -> &State {
        &self.state
    }

    fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    fn schedule(&self) -> Schedule {
        let train = self.experiment.train;
        Schedule {
            max_steps: train.max_steps,
            validate_every: train.validate_every,
            patience: train.patience,
            checkpoint_every: train.checkpoint_every,
            log_every: train.log_every,
        }
    }

    fn optimizer(&self) -> Optimizer {
        self.experiment.optimizer
    }

    fn step(&mut self) -> Result<StepReport, FitError> {
        let number = self.state.step + 1;
        let outcome = self.try_step(number);
        let max_skipped = self.experiment.train.max_skipped;
        self.state.note_step(number, outcome, None, max_skipped)
    }

    fn validate(&mut self) -> Result<Result<BTreeMap<String, f64>, String>, FitError> {
        let losses = match self.losses_of(Part::Validation, &self.validation_repeats, "validation") {
            Ok(values) => match values.iter().find(|(_, v)| !v.is_finite()) {
                Some((name, value)) => Err(format!("validation loss {name} is {value}")),
                None => Ok(values),
            },
            Err(FitError::Loss(error @ losses::LossError::NonFinite { .. })) => Err(format!("validation: {error}")),
            Err(error) => return Err(error),
        };
        let total = losses.as_ref().map_or(f64::INFINITY, |losses| losses.values().sum());
        self.state.note_validation(total);
        Ok(losses)
    }

    fn checkpoint(&self) -> Result<Checkpoint, FitError> {
        let mut checkpoint = Checkpoint::new(&self.state).map_err(|error| FitError::Internal {
            what: error.to_string(),
        })?;
        self.model.save(&mut checkpoint)?;
        let mut optimizer = trainer::arrays(&self.adam.first, "first.");
        optimizer.extend(trainer::arrays(&self.adam.second, "second."));
        checkpoint.sections.insert("optimizer".into(), optimizer);
        Ok(checkpoint)
    }

    fn epoch(&self) -> f64 {
        let windows = self.experiment.model.windows;
        let bins: usize = self
            .recorded
            .sessions
            .iter()
            .flat_map(|s| s.trials(Part::Train).iter().map(|&k| s.valid_bins[k]))
            .sum();
        self.state.step as f64 * (windows.clamped * windows.clamped_steps.steps) as f64 / bins.max(1) as f64
    }

    fn findings(&self) -> Vec<Finding> {
        Vec::new()
    }
}
