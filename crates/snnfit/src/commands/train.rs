//! `snnfit train`: fits a network, from the start or from where a run stopped.

mod spike_history;
mod summary;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::assembly::Assembly;
use crate::checkpoint::{self, Checkpoint, CheckpointError};
use crate::cli::{CheckpointChoice, Format, Global, TrainArgs};
use crate::config::checked::{self, Interval, Optimizer};
use crate::config::{self, AnyExperiment, Loaded};
use crate::cues;
use crate::error::Error;
use crate::events::{self, Event, EventLog, Number, StepEvent};
use crate::few_spikes::{self, FewSpikes};
use crate::fit::Fit;
use crate::fit_error::FitError;
use crate::loaded;
use crate::memory::StepMemory;
use crate::partly_observed::{self, PartlyObserved};
use crate::progress::{Mode, Progress, Snapshot};
use crate::provenance;
use losses::count_covariance::MIN_SPIKES;

use crate::run_dir::{Attempt, DataFile, InitialRun, LeftOut, Lock, Manifest, RunDir, StopReason};
use crate::tensorboard::EventFile;
use crate::trainer::{State, StepReport, Trainer};
use snn_core::device::OpenDevice;

pub(super) fn run(args: &TrainArgs, global: &Global) -> Result<u8, Error> {
    let threads = super::use_threads(args.threads);
    let begun = match (&args.resume, &args.config) {
        (Some(path), _) => resume(path, args)?,
        (None, Some(config)) => {
            let loaded = config::load_any(config, &args.overrides())?;
            match loaded.experiment {
                AnyExperiment::Rsnn(experiment) => {
                    let loaded = Loaded {
                        experiment: *experiment,
                        values: loaded.values,
                        warnings: loaded.warnings,
                    };
                    if args.dry_run {
                        return dry_run(loaded, args, global);
                    }
                    start(loaded, out(args)?, args, threads)?
                }
                AnyExperiment::SpikeHistory(experiment) => {
                    if args.dry_run {
                        return spike_history::dry_run(*experiment, &loaded.warnings, args, global);
                    }
                    spike_history::start(*experiment, loaded.warnings, out(args)?, args, threads)?
                }
            }
        }
        (None, None) => {
            return Err(Error::Usage {
                message: "--config is missing".to_owned(),
                help: "name a configuration: --config FILE".to_owned(),
            });
        }
    };
    let mut session = Session::new(begun, args.max_time, global)?;
    let outcome = session.train();
    session.finish(outcome)
}

fn out(args: &TrainArgs) -> Result<&Path, Error> {
    args.out.as_deref().ok_or_else(|| Error::Usage {
        message: "--out is missing".to_owned(),
        help: "name a new run directory: --out DIR".to_owned(),
    })
}

/// Takes the parameters of the run that `--init` names, if it names one.
fn initial(
    args: &TrainArgs,
    take: impl FnOnce(&Checkpoint) -> Result<(), FitError>,
) -> Result<Option<InitialRun>, Error> {
    let Some(path) = &args.init else {
        return Ok(None);
    };
    let run = RunDir::open(path)?;
    let (checkpoint, _) = loaded::checkpoint(&run, CheckpointChoice::Best)?;
    let state: State = checkpoint.state().map_err(|error| FitError::CheckpointMismatch {
        what: format!("section 'state': {error}"),
    })?;
    take(&checkpoint)?;
    Ok(Some(InitialRun {
        run: path.display().to_string(),
        step: state.step,
    }))
}

fn data_files(files: &[PathBuf]) -> Result<Vec<DataFile>, Error> {
    let of = |path: &PathBuf| {
        let sha256 = data::fs::sha256_of_file(path).map_err(|error| Error::Data(error.into()))?;
        Ok(DataFile {
            path: path.display().to_string(),
            sha256,
        })
    };
    files.iter().map(of).collect()
}

fn absolute(files: &[PathBuf]) -> Vec<PathBuf> {
    files
        .iter()
        .map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()))
        .collect()
}

/// A run goes on on another device.
fn device_warning(begun_on: &str, device: &OpenDevice) -> Option<String> {
    (begun_on != device.name()).then(|| {
        format!(
            "the run was begun on device {begun_on} and goes on on {}: it won't be equal, bit by bit, to one that was not \
             interrupted",
            device.name()
        )
    })
}

/// A run that is ready to go on.
struct Begun {
    run: RunDir,
    lock: Lock,
    fit: Box<dyn Fit>,
    /// Of the validation losses.
    floors: BTreeMap<String, f64>,
    /// Given so far, for the event log.
    warnings: Vec<String>,
}

/// A new run: everything is read and checked before the directory is made.
fn start(loaded: Loaded, out: &Path, args: &TrainArgs, threads: usize) -> Result<Begun, Error> {
    RunDir::check_free(out)?;
    let device = super::open_device_for(args.device.choice, &loaded.experiment)?;
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let run_toml = config::to_toml(&loaded.experiment)?;
    let mut manifest = Manifest::new(loaded.experiment.seed, &device.name(), threads);
    manifest.data = data_files(&loaded.experiment.data.files)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let mut trainer = Trainer::new(Assembly::new(loaded.experiment, None)?, &device)?;
    manifest.initial = initial(args, |checkpoint| trainer.start_from(checkpoint))?;
    for warning in &trainer.assembly.warnings {
        tracing::warn!("{warning}");
    }
    manifest.warnings = warnings
        .into_iter()
        .chain(trainer.assembly.warnings.iter().cloned())
        .collect();
    manifest.few_spikes = few_spikes::of_model(&trainer.assembly)?;
    manifest.partly_observed = partly_observed::of_model(&trainer.assembly);
    manifest.inputs = driven_inputs(&trainer.assembly);
    if let Some(inputs) = &manifest.inputs {
        tracing::info!("{inputs}");
    }
    manifest.left_out = left_out(&trainer);
    manifest.left_out.extend(never_by_session(&trainer));
    manifest
        .left_out
        .extend(absent_by_session(&manifest.partly_observed, &trainer));
    for left in &manifest.left_out {
        tracing::info!(
            "left out: session {}{}: {}",
            left.session,
            left.area.as_ref().map(|a| format!(", area {a}")).unwrap_or_default(),
            left.reason
        );
    }
    for line in few_by_session(&manifest.few_spikes, &trainer) {
        tracing::info!("{line}");
    }
    let floors = trainer.floor()?;
    let (run, lock) = RunDir::create(out, &run_toml, &manifest, &trainer.assembly.splits)?;
    super::tell_device(args.device.choice, &device);
    Ok(Begun {
        run,
        lock,
        fit: Box::new(trainer),
        floors,
        warnings: manifest.warnings,
    })
}

/// What drives the inputs in words, where they have channels.
fn driven_inputs(assembly: &Assembly) -> Option<String> {
    let checked::Model::Rsnn(model) = &assembly.experiment.model;
    match &model.input {
        checked::Input::Poisson(input) if !input.channels.is_empty() => {
            Some(cues::in_words(input, assembly.cues.as_ref()))
        }
        checked::Input::Poisson(_) | checked::Input::Recorded(_) => None,
    }
}

/// Sessions, areas and trials that trial matching leaves out, and sessions that no model neuron comes from.
fn left_out(trainer: &Trainer) -> Vec<LeftOut> {
    let groups = trainer.comparison.populations.left_out.iter().map(|l| LeftOut {
        session: l.session.clone(),
        area: l.area.clone(),
        reason: format!(
            "{} neurons, fewer than statistics.min_neurons_per_area = {}: not matched",
            l.n_neurons, l.min_neurons_per_area
        ),
    });
    let sessions = trainer
        .assembly
        .stitching
        .sessions
        .iter()
        .filter(|s| s.n_used == 0)
        .map(|s| LeftOut {
            session: s.id.clone(),
            area: None,
            reason: "no model neuron stands for one of its units".to_owned(),
        });
    let skipped = trainer
        .comparison
        .features()
        .into_iter()
        .flat_map(losses::statistics::RecordedFeatures::skipped)
        .map(|s| {
            let incomplete = (s.n_incomplete > 0).then(|| format!("{} trials shorter than the window", s.n_incomplete));
            let without =
                (s.n_without_behaviour > 0).then(|| format!("{} trials without behaviour", s.n_without_behaviour));
            let reasons: Vec<String> = incomplete.into_iter().chain(without).collect();
            LeftOut {
                session: s.session.clone(),
                area: None,
                reason: format!("{}: not matched", reasons.join(" and ")),
            }
        });
    let limit = trainer.assembly.experiment.data.max_rate_hz.unwrap_or(f64::INFINITY);
    let excluded = trainer.assembly.stitching.sessions.iter().flat_map(|s| {
        let of = |reason: String| LeftOut {
            session: s.id.clone(),
            area: None,
            reason,
        };
        let fast = (s.n_excluded > 0).then(|| {
            of(format!(
                "{} units at data.max_rate_hz = {limit} Hz or more",
                s.n_excluded
            ))
        });
        let other = (s.n_other > 0).then(|| of(format!("{} units of areas or types that the model lacks", s.n_other)));
        fast.into_iter().chain(other)
    });
    let unvalidated = trainer.unvalidated_sessions().into_iter().map(|s| LeftOut {
        session: trainer.assembly.sessions[s].id.clone(),
        area: None,
        reason: "no validation trial to match: not in the validation loss".to_owned(),
    });
    let uncounted = trainer
        .uncounted_neurons()
        .into_iter()
        .map(|(loss, session, n)| LeftOut {
            session: trainer.assembly.sessions[session].id.clone(),
            area: None,
            reason: format!("{n} neurons with fewer than {MIN_SPIKES} spikes in training trials: not in loss.{loss}"),
        });
    groups
        .chain(sessions)
        .chain(excluded)
        .chain(skipped)
        .chain(unvalidated)
        .chain(uncounted)
        .collect()
}

/// So many units are named in one line.
const SHOWN_UNITS: usize = 20;

/// Units of each session that were never observed.
fn never_by_session(trainer: &Trainer) -> Vec<LeftOut> {
    let all = &trainer.assembly.never_observed;
    let sessions = trainer.assembly.sessions.iter();
    let lines = sessions.filter_map(|session| {
        let own: Vec<&str> = all
            .iter()
            .filter(|left| left.session == session.id)
            .map(|left| left.unit.as_str())
            .collect();
        let more = if own.len() > SHOWN_UNITS { ", …" } else { "" };
        let shown: Vec<&str> = own.iter().copied().take(SHOWN_UNITS).collect();
        (!own.is_empty()).then(|| LeftOut {
            session: session.id.clone(),
            area: None,
            reason: format!(
                "{} of {} units were observed in no training trial: {}{more}",
                own.len(),
                session.n_units() + own.len(),
                shown.join(", ")
            ),
        })
    });
    lines.collect()
}

/// How many neurons of each session were not observed in every trial; `partly_observed` of the manifest says which.
fn absent_by_session(found: &[PartlyObserved], trainer: &Trainer) -> Vec<LeftOut> {
    let least = trainer.assembly.experiment.statistics.min_presence;
    let sessions = trainer.comparison.recording.sessions().iter();
    let lines = sessions.filter_map(|session| {
        let own: Vec<&PartlyObserved> = found.iter().filter(|neuron| neuron.session == session.name).collect();
        (!own.is_empty()).then(|| LeftOut {
            session: session.name.clone(),
            area: None,
            reason: partly_observed::in_words(&own, session.neurons.len(), least),
        })
    });
    lines.collect()
}

/// How many neurons of each session have few spikes; `few_spikes` of the manifest says which.
fn few_by_session(few: &[FewSpikes], trainer: &Trainer) -> Vec<String> {
    let least = trainer.assembly.experiment.statistics.min_spikes;
    let sessions = trainer.comparison.recording.sessions().iter();
    let counted = sessions.map(|s| (s, few.iter().filter(|neuron| neuron.session == s.name).count()));
    let tell = |(session, n): (&losses::statistics::RecordedSession, usize)| {
        format!(
            "session {}: {} (statistics.min_spikes): less weight in the PSTH loss, not in PSTH metrics",
            session.name,
            few_spikes::in_words(n, session.neurons.len(), least)
        )
    };
    counted.filter(|(_, n)| *n > 0).map(tell).collect()
}

fn resume(path: &Path, args: &TrainArgs) -> Result<Begun, Error> {
    config::check_resume_overrides(&args.set).map_err(|message| Error::Usage {
        message,
        help: "a resumed run keeps its configuration; start a new run to change it".to_owned(),
    })?;
    let run = RunDir::open(path)?;
    let (lock, warning) = run.lock()?;
    let loaded = config::load_any_run(&run.run_toml(), &args.set).map_err(Error::in_run)?;
    let begun = config::load_any_run(&run.run_toml(), &[])
        .map_err(Error::in_run)?
        .experiment;
    let mut loaded = match loaded.experiment {
        AnyExperiment::Rsnn(experiment) => Loaded {
            experiment: *experiment,
            values: loaded.values,
            warnings: loaded.warnings,
        },
        AnyExperiment::SpikeHistory(experiment) => {
            return spike_history::resume(run, lock, warning, *experiment, &begun, args);
        }
    };
    if !args.data.is_empty() {
        loaded.experiment.data.files = absolute(&args.data);
    }
    loaded::check_data(&run, &loaded.experiment.data.files)?;
    let run_toml = config::to_toml(&loaded.experiment)?;
    let device = super::open_device_for(args.device.choice, &loaded.experiment)?;
    let mut trainer = Trainer::new(Assembly::new(loaded.experiment, Some(loaded::splits(&run)?))?, &device)?;
    let mut warnings: Vec<String> = warning.into_iter().collect();
    warnings.extend(device_warning(&run.manifest()?.device, &device));
    if let AnyExperiment::Rsnn(begun) = &begun {
        let before = (begun.optimizer, begun.train.max_steps);
        warnings.extend(rate_warning(before, trainer.assembly.experiment.train.max_steps));
    }
    let first_step = match checkpoint::latest_intact(&run.checkpoints()) {
        Ok(found) => {
            warnings.extend(found.passed_over.iter().map(ToString::to_string));
            trainer.restore(&found.checkpoint)?;
            tracing::info!("going on from step {} ({})", found.step, found.path.display());
            found.step
        }
        // Killed before the first checkpoint: nothing is lost by beginning again.
        Err(CheckpointError::Missing { .. }) if checkpoint::steps(&run.checkpoints())?.is_empty() => {
            tracing::info!("there is no checkpoint yet: starting at step 0");
            0
        }
        Err(error) => return Err(error.into()),
    };
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let floors = trainer.floor()?;
    // What --set and --data change holds for later resumptions too.
    run.write_run_toml(&run_toml)?;
    run.update_manifest(|manifest| manifest.attempts.push(Attempt::starting_at(first_step)))?;
    super::tell_device(args.device.choice, &device);
    Ok(Begun {
        run,
        lock,
        fit: Box::new(trainer),
        floors,
        warnings,
    })
}

/// A learning rate that falls until the last step rises again where that step is moved.
fn rate_warning((optimizer, before): (Optimizer, u64), now: u64) -> Option<String> {
    let Optimizer::AdamW(adamw) = optimizer;
    (adamw.lr_final.is_some() && before != now).then(|| {
        format!(
            "the learning rate now falls until step {now}, not {before}: it won't go on where it was, and the run won't be \
             equal to one of {now} steps"
        )
    })
}

/// Some steps without a run directory: does it fit, how long does it take.
fn dry_run(loaded: Loaded, args: &TrainArgs, global: &Global) -> Result<u8, Error> {
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let device = super::open_device_for(args.device.choice, &loaded.experiment)?;
    let mut trainer = Trainer::new(Assembly::new(loaded.experiment, None)?, &device)?;
    super::tell_device(args.device.choice, &device);
    for warning in &trainer.assembly.warnings {
        tracing::warn!("{warning}");
    }
    let mut times = Vec::new();
    let mut losses = BTreeMap::new();
    let mut skipped = None;
    for _ in 0..3 {
        let begin = Instant::now();
        let report = trainer.step()?;
        times.push((begin.elapsed().as_secs_f64(), report.seconds.unwrap_or_default()));
        if let Some(what) = report.skipped {
            tracing::warn!("step {} skipped: {what}", report.step);
            skipped = Some((report.step, what));
        } else {
            losses = report.losses;
        }
    }
    if let (true, Some((step, what))) = (losses.is_empty(), skipped) {
        let skipped = trainer.state.skipped;
        return Err(FitError::NonFinite { step, what, skipped }.into());
    }
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (seconds, parts) = times[1];
    let chunk = trainer.trial_chunk.min(trainer.assembly.experiment.train.n_trials);
    let predicted_mib = StepMemory::of(&trainer.assembly, &trainer.comparison).bytes(chunk) as f64 / f64::from(1 << 20);
    let peak_rss_mib = provenance::peak_rss_mib();
    let device_mib = trainer.device_bytes().map(|bytes| bytes as f64 / f64::from(1 << 20));
    let (n, t, k) = (
        trainer.assembly.spec.n_neurons(),
        trainer.assembly.n_steps(),
        trainer.assembly.experiment.train.n_trials,
    );
    match global.format {
        Format::Json => super::print_json(&serde_json::json!({
            "schema": 1, "neurons": n, "steps": t, "trials": k, "trial_chunk": chunk, "seconds_per_step": seconds,
            "seconds_of_parts": parts, "predicted_peak_mib": predicted_mib, "peak_rss_mib": peak_rss_mib, "predicted_device_mib": device_mib,
            "losses": losses,
        }))?,
        Format::Text => {
            let max = trainer.assembly.experiment.train.max_steps;
            let hours = seconds * max as f64 / 3600.0;
            let chunks = if chunk < k {
                format!(" in chunks of {chunk}")
            } else {
                String::new()
            };
            let size = format!("{n} neurons, {t} steps, {k} trials{chunks}");
            let mut lines = vec![format!("{size}: {seconds:.3} s per step ({max} steps in {hours:.2} h)")];
            lines.push(format!(
                "of these, simulation {:.3}, losses {:.3}, their gradient at the spikes {:.3}, through time {:.3}, update {:.3}",
                parts.simulation, parts.losses, parts.adjoint, parts.gradient, parts.update
            ));
            if let Some(peak) = peak_rss_mib {
                lines.push(format!(
                    "peak memory so far {peak:.0} MiB, predicted {predicted_mib:.0} MiB"
                ));
            }
            if let Some(mib) = device_mib {
                lines.push(format!("memory of the device: predicted {mib:.0} MiB or more"));
            }
            for (name, value) in losses {
                lines.push(format!("loss {name}: {value:.4}"));
            }
            super::print(&(lines.join("\n") + "\n"))?;
        }
    }
    Ok(crate::exit_code::DONE)
}

/// The end of a loop that may go on later.
#[derive(Debug, Clone, Copy)]
struct Stop(StopReason);

/// A process that trains: the trainer and everything around it.
struct Session {
    run: RunDir,
    lock: Lock,
    fit: Box<dyn Fit>,
    log: EventLog,
    tensorboard: EventFile,
    progress: Progress,
    floors: BTreeMap<String, f64>,
    begin: Instant,
    deadline: Option<Instant>,
    last_checkpoint: Instant,
    checkpointed_step: u64,
    last_validation: Option<(f64, bool)>,
    signal: Arc<AtomicUsize>,
    format: Format,
}

impl Session {
    fn new(begun: Begun, max_time: Option<Duration>, global: &Global) -> Result<Self, Error> {
        let Begun {
            run,
            lock,
            fit,
            floors,
            warnings,
        } = begun;
        let mut log = EventLog::open(&run.events()).map_err(Error::Output)?;
        let start = Event::Start {
            schema: crate::events::SCHEMA,
            step: fit.state().step,
            time: provenance::now_utc(),
            floors: numbers(&floors),
        };
        log.append(&start).map_err(Error::Output)?;
        for message in warnings {
            log.append(&Event::Warning { text: message }).map_err(Error::Output)?;
        }
        // What the log has and nothing else: steps that were taken again are there once.
        let tensorboard =
            EventFile::create(&run.tensorboard(), &events::read(&run.events())?).map_err(Error::Output)?;
        if !floors.is_empty() {
            let text: Vec<String> = floors
                .iter()
                .map(|(name, value)| format!("{name} {value:.3}"))
                .collect();
            tracing::info!(
                "validation loss of training trials in the model's place: {}",
                text.join(", ")
            );
        }
        let begin = Instant::now();
        Ok(Self {
            checkpointed_step: fit.state().step,
            run,
            lock,
            fit,
            log,
            tensorboard,
            progress: Progress::new(if global.quiet > 0 { Mode::None } else { global.progress }),
            floors,
            begin,
            deadline: max_time.map(|time| begin + time),
            last_checkpoint: begin,
            last_validation: None,
            signal: catch_signals()?,
            format: global.format,
        })
    }

    fn append(&mut self, event: &Event) -> Result<(), Error> {
        self.log.append(event).map_err(Error::Output)?;
        self.tensorboard.append(event).map_err(Error::Output)
    }

    /// Steps until something says stop.
    fn train(&mut self) -> Result<Stop, Error> {
        let train = self.fit.schedule();
        if self.fit.state().step == 0 {
            self.write_checkpoint()?;
        }
        loop {
            if let Some(stop) = self.due_to_stop() {
                return Ok(stop);
            }
            let report = match self.fit.step() {
                Err(FitError::NonFinite { step, what, skipped }) => {
                    self.append(&Event::NonFinite {
                        step,
                        what: what.clone(),
                    })?;
                    return Err(FitError::NonFinite { step, what, skipped }.into());
                }
                other => other?,
            };
            self.note(&report)?;
            // A run that is shorter than `validate_every` still has a best step. One that has one ends without a further
            // validation: a longer run would not have made it.
            let is_last = report.step == train.max_steps && self.fit.state().best.is_none();
            if report.step.is_multiple_of(train.validate_every) || is_last {
                self.validate()?;
            }
            let is_due = match train.checkpoint_every {
                Interval::Steps(n) => report.step.is_multiple_of(n),
                Interval::Seconds(seconds) => self.last_checkpoint.elapsed().as_secs_f64() >= seconds,
            };
            if is_due {
                self.write_checkpoint()?;
            }
            self.show(&report);
        }
    }

    fn due_to_stop(&self) -> Option<Stop> {
        let train = self.fit.schedule();
        let state = self.fit.state();
        match self.signal.load(Ordering::Relaxed) {
            0 => {}
            signal if signal == SIGTERM as usize => return Some(Stop(StopReason::Terminated)),
            _ => return Some(Stop(StopReason::Interrupted)),
        }
        if state.step >= train.max_steps {
            return Some(Stop(StopReason::MaxSteps));
        }
        if state
            .best
            .is_some_and(|best| state.step.saturating_sub(best.step) >= train.patience)
        {
            return Some(Stop(StopReason::Converged));
        }
        self.deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
            .then_some(Stop(StopReason::TimeLimit))
    }

    fn note(&mut self, report: &StepReport) -> Result<(), Error> {
        if let Some(what) = &report.skipped {
            tracing::warn!("step {} skipped: {what}", report.step);
            self.append(&Event::NonFinite {
                step: report.step,
                what: what.clone(),
            })?;
        }
        let train = self.fit.schedule();
        if !report.step.is_multiple_of(train.log_every) {
            return Ok(());
        }
        let means = std::mem::take(&mut self.fit.state_mut().running).means();
        let event = Event::Step(StepEvent {
            step: report.step,
            epoch: self.fit.epoch(),
            wall_s: self.begin.elapsed().as_secs_f64(),
            losses: numbers(&means),
            grad_norm: Number(report.gradient_norm),
            lr: self.fit.learning_rate(report.step),
            skipped: self.fit.state().skipped,
        });
        self.append(&event)
    }

    fn validate(&mut self) -> Result<(), Error> {
        let step = self.fit.state().step;
        let losses = match self.fit.validate()? {
            Ok(losses) => losses,
            Err(what) => {
                tracing::warn!("step {step}: {what}");
                self.last_validation = None;
                return self.append(&Event::NonFinite { step, what });
            }
        };
        let total: f64 = losses.values().sum();
        let is_best = self.fit.state().best.is_some_and(|best| best.step == step);
        self.last_validation = Some((total, is_best));
        self.append(&Event::Validation {
            step,
            losses: numbers(&losses),
            total: Number(total),
            is_best,
        })?;
        if is_best {
            checkpoint::write_best(&self.run.checkpoints(), &self.fit.checkpoint()?)?;
        }
        Ok(())
    }

    fn write_checkpoint(&mut self) -> Result<(), Error> {
        let step = self.fit.state().step;
        let path = checkpoint::write_step(&self.run.checkpoints(), step, &self.fit.checkpoint()?)?;
        self.last_checkpoint = Instant::now();
        self.checkpointed_step = step;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.append(&Event::Checkpoint { step, file })
    }

    fn show(&mut self, report: &StepReport) {
        let snapshot = Snapshot {
            step: report.step,
            max_steps: self.fit.schedule().max_steps,
            losses: report
                .losses
                .iter()
                .map(|(name, value)| (name.clone(), *value))
                .collect(),
            validation: self.last_validation,
            checkpoint_age: Some(self.last_checkpoint.elapsed()),
        };
        self.progress.update(&snapshot);
    }

    /// Writes the last checkpoint, notes why the run stopped, says what to do next.
    fn finish(mut self, outcome: Result<Stop, Error>) -> Result<u8, Error> {
        self.progress.finish();
        let reason = match &outcome {
            Ok(Stop(reason)) => *reason,
            Err(Error::Fit(FitError::NonFinite { .. })) => StopReason::Diverged,
            Err(_) => StopReason::Failed,
        };
        let written = match reason {
            // A state after failed steps is not worth a checkpoint: the one before stays the last.
            StopReason::Diverged | StopReason::Failed => Ok(()),
            _ if self.checkpointed_step != self.fit.state().step => self.write_checkpoint(),
            _ => Ok(()),
        };
        let step = self.fit.state().step;
        let noted = self.append(&Event::Stop {
            step,
            reason,
            time: provenance::now_utc(),
        });
        let manifest = self.run.update_manifest(|manifest| manifest.stop(reason, step));
        if reason == StopReason::Diverged {
            summary::tell(&self.run, &*self.fit, &self.floors, reason, self.format)?;
        }
        outcome?;
        written?;
        noted?;
        manifest?;
        let Self {
            run,
            lock,
            fit,
            floors,
            format,
            signal,
            ..
        } = self;
        summary::tell(&run, &*fit, &floors, reason, format)?;
        // Before a signal ends the process: a run that was stopped properly can go on on another machine.
        drop(lock);
        if let StopReason::Interrupted | StopReason::Terminated = reason {
            let number = i32::try_from(signal.load(Ordering::Relaxed)).unwrap_or(SIGINT);
            // Ends the process the way the signal would have; if that fails, the exit code says it.
            let _ = signal_hook::low_level::emulate_default_handler(number);
        }
        Ok(reason.exit_code())
    }
}

fn numbers(values: &BTreeMap<String, f64>) -> BTreeMap<String, Number> {
    values
        .iter()
        .map(|(name, value)| (name.clone(), Number(*value)))
        .collect()
}

/// The number of the first signal that arrives is kept; a second one ends the process at once.
fn catch_signals() -> Result<Arc<AtomicUsize>, Error> {
    let caught = Arc::new(AtomicUsize::new(0));
    let armed = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let fail = |error: std::io::Error| Error::Internal {
            message: format!("cannot handle signal {signal}: {error}"),
        };
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&armed)).map_err(fail)?;
        signal_hook::flag::register(signal, Arc::clone(&armed)).map_err(fail)?;
        signal_hook::flag::register_usize(signal, Arc::clone(&caught), signal as usize).map_err(fail)?;
    }
    Ok(caught)
}
