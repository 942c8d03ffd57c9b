//! `snnfit train` with `[model.spike_history]`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use super::{Begun, data_files};
use crate::checkpoint::{self, CheckpointError};
use crate::cli::{Format, Global, TrainArgs};
use crate::config;
use crate::config::AnyExperiment;
use crate::config::checked::spike_history::SpikeHistoryExperiment;
use crate::error::Error;
use crate::fit::Fit;
use crate::loaded;
use crate::run_dir::{Attempt, Lock, Manifest, RunDir};
use crate::spike_history::recorded::Recorded;
use crate::spike_history::trainer::SpikeHistoryTrainer;

/// A new run: everything is read and checked before the directory is made.
pub(super) fn start(
    experiment: SpikeHistoryExperiment,
    warnings: Vec<String>,
    out: &Path,
    args: &TrainArgs,
    threads: usize,
) -> Result<Begun, Error> {
    RunDir::check_free(out)?;
    let device = crate::commands::open_device(args.device.choice)?;
    let run_toml = config::any_to_toml(&AnyExperiment::SpikeHistory(Box::new(experiment.clone())))?;
    let mut manifest = Manifest::new(experiment.seed, &device.name(), threads);
    manifest.data = data_files(&experiment.data.files)?;
    let recorded = Recorded::new(&experiment, None)?;
    crate::commands::tell_device(args.device.choice, &device);
    let mut trainer = SpikeHistoryTrainer::new(experiment, recorded, device)?;
    manifest.initial = super::initial(args, |checkpoint| trainer.start_from(checkpoint))?;
    manifest.warnings = warnings;
    manifest.warnings.extend(trainer.recorded.warnings.iter().cloned());
    for warning in &manifest.warnings {
        tracing::warn!("{warning}");
    }
    tracing::info!("{}", neurons(&trainer));
    let (run, lock) = RunDir::create(out, &run_toml, &manifest, &trainer.recorded.splits)?;
    Ok(Begun {
        run,
        lock,
        fit: Box::new(trainer),
        floors: BTreeMap::new(),
        warnings: manifest.warnings,
    })
}

/// Which neurons of which sessions are fitted, one sentence.
fn neurons(trainer: &SpikeHistoryTrainer) -> String {
    let recorded = &trainer.recorded;
    let n = recorded.neurons.len();
    let in_all = (0..n)
        .filter(|neuron| recorded.sessions.iter().all(|s| s.neurons.contains(neuron)))
        .count();
    let of_sessions = match recorded.sessions.len() {
        1 => "one session".to_owned(),
        sessions if trainer.experiment.model.shared_units => {
            format!("{sessions} sessions, {in_all} of them in all (model.spike_history.shared_units)")
        }
        sessions => {
            format!(
                "{sessions} sessions, each with its own (model.spike_history.shared_units = true: units of one id are one)"
            )
        }
    };
    let hidden = trainer.experiment.model.n_hidden;
    format!("{n} recorded neurons of {of_sessions}, {hidden} hidden ones")
}

pub(super) fn resume(
    run: RunDir,
    lock: Lock,
    warning: Option<String>,
    mut experiment: SpikeHistoryExperiment,
    begun: &AnyExperiment,
    args: &TrainArgs,
) -> Result<Begun, Error> {
    if !args.data.is_empty() {
        experiment.data.files = super::absolute(&args.data);
    }
    loaded::check_data(&run, &experiment.data.files)?;
    let run_toml = config::any_to_toml(&AnyExperiment::SpikeHistory(Box::new(experiment.clone())))?;
    let device = crate::commands::open_device(args.device.choice)?;
    let mut warnings: Vec<String> = warning.into_iter().collect();
    warnings.extend(super::device_warning(&run.manifest()?.device, &device));
    if let AnyExperiment::SpikeHistory(begun) = begun {
        let before = (begun.optimizer, begun.train.max_steps);
        warnings.extend(super::rate_warning(before, experiment.train.max_steps));
    }
    let recorded = Recorded::new(&experiment, Some(loaded::splits(&run)?))?;
    crate::commands::tell_device(args.device.choice, &device);
    let mut trainer = SpikeHistoryTrainer::new(experiment, recorded, device)?;
    let first_step = match checkpoint::latest_intact(&run.checkpoints()) {
        Ok(found) => {
            warnings.extend(found.passed_over.iter().map(ToString::to_string));
            trainer.restore(&found.checkpoint)?;
            tracing::info!("going on from step {} ({})", found.step, found.path.display());
            found.step
        }
        Err(CheckpointError::Missing { .. }) if checkpoint::steps(&run.checkpoints())?.is_empty() => {
            let initial = run.manifest()?.initial;
            if let Some(initial) = initial {
                return Err(Error::Usage {
                    message: format!(
                        "{}: there is no checkpoint yet, and the run started from another one",
                        run.path().display()
                    ),
                    help: format!(
                        "start it anew: snnfit train --config {} --init {} --out NEW",
                        run.run_toml().display(),
                        initial.run
                    ),
                });
            }
            tracing::info!("there is no checkpoint yet: starting at step 0");
            0
        }
        Err(error) => return Err(error.into()),
    };
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    run.write_run_toml(&run_toml)?;
    run.update_manifest(|manifest| manifest.attempts.push(Attempt::starting_at(first_step)))?;
    Ok(Begun {
        run,
        lock,
        fit: Box::new(trainer),
        floors: BTreeMap::new(),
        warnings,
    })
}

/// Some steps without a run directory: does it fit, how long does it take.
pub(super) fn dry_run(
    experiment: SpikeHistoryExperiment,
    warnings: &[String],
    args: &TrainArgs,
    global: &Global,
) -> Result<u8, Error> {
    let device = crate::commands::open_device(args.device.choice)?;
    let recorded = Recorded::new(&experiment, None)?;
    crate::commands::tell_device(args.device.choice, &device);
    let mut trainer = SpikeHistoryTrainer::new(experiment, recorded, device)?;
    super::initial(args, |checkpoint| trainer.start_from(checkpoint))?;
    for warning in warnings.iter().chain(&trainer.recorded.warnings) {
        tracing::warn!("{warning}");
    }
    tracing::info!("{}", neurons(&trainer));
    let mut times = Vec::new();
    let mut losses = BTreeMap::new();
    for _ in 0..3 {
        let begin = Instant::now();
        let report = trainer.step()?;
        times.push(begin.elapsed().as_secs_f64());
        match report.skipped {
            Some(what) => tracing::warn!("step {} skipped: {what}", report.step),
            None => losses = report.losses,
        }
    }
    times.sort_by(f64::total_cmp);
    let seconds = times[1];
    let n = trainer.model.network.spec.n_neurons();
    let windows = trainer.experiment.model.windows;
    let steps = trainer.experiment.train.max_steps;
    let peak = crate::provenance::peak_rss_mib();
    match global.format {
        Format::Json => crate::commands::print_json(&serde_json::json!({
            "schema": 1, "neurons": n, "clamped_windows": windows.clamped, "clamped_bins": windows.clamped_steps.steps,
            "free_windows": windows.free, "free_bins": windows.free_steps.steps, "seconds_per_step": seconds,
            "peak_rss_mib": peak, "losses": losses,
        }))?,
        Format::Text => {
            let mut lines = vec![format!(
                "{n} neurons: {seconds:.3} s per step ({steps} steps in {:.2} h)",
                seconds * steps as f64 / 3600.0
            )];
            lines.extend(peak.map(|peak| format!("peak memory so far {peak:.0} MiB")));
            lines.extend(losses.iter().map(|(name, value)| format!("loss {name}: {value:.4}")));
            crate::commands::print(&(lines.join("\n") + "\n"))?;
        }
    }
    Ok(crate::exit_code::DONE)
}
