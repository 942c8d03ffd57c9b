//! `snnfit inspect`: what a recording, a run, a checkpoint, or a file of another layout contains.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::checkpoint::{self, Checkpoint, Values};
use crate::cli::{Format, Global, InspectArgs};
use crate::error::Error;
use crate::events::{self, Event};
use crate::exit_code;
use crate::report::overview;
use crate::run_dir::{Manifest, RunDir};

pub(super) fn run(args: &InspectArgs, global: &Global) -> Result<u8, Error> {
    let path = args.path.as_path();
    if path.is_file() && is_checkpoint(path) {
        refuse_page(args, "a checkpoint")?;
        refuse_tables(args)?;
        inspect_checkpoint(path, global)?;
    } else if path.join("manifest.json").exists() {
        refuse_page(args, "a run; `snnfit evaluate` writes its report")?;
        refuse_tables(args)?;
        inspect_run(path, global)?;
    } else {
        match super::import::layout(path, args.limits) {
            Ok(layout) if layout.is_foreign() => {
                refuse_page(
                    args,
                    "a file of another layout; write the page from the recording that `snnfit import` makes of it",
                )?;
                inspect_source(args, global)?;
            }
            Ok(_) => {
                refuse_tables(args)?;
                inspect_recording(args, global)?;
            }
            // A folder that is no run and nothing else either.
            Err(_) if path.is_dir() => inspect_run(path, global)?,
            Err(error) => return Err(error),
        }
    }
    Ok(exit_code::DONE)
}

/// What a plan for `snnfit import` can name.
fn inspect_source(args: &InspectArgs, global: &Global) -> Result<(), Error> {
    let options = data::import::ReadOptions {
        sample_rate_hz: args.sample_rate_hz,
        units_table: args.units_table.clone(),
        trials_table: args.trials_table.clone(),
        unit_column: args.unit_column.clone(),
        time_column: args.time_column.clone(),
        ..Default::default()
    };
    let source = super::import::source(&args.path, options, args.limits)?;
    let summary = data::import::SourceSummary::of(&source);
    answer(global, &summary, || {
        format!(
            "{}\nnext   snnfit import {} --dry-run says what an import takes, by area and type, and what it drops and why\n",
            summary.text(),
            args.path.display()
        )
    })
}

/// A file that can't be read is left to the reader of recordings, which says why.
fn is_checkpoint(path: &Path) -> bool {
    checkpoint::is_checkpoint(path).unwrap_or(false)
}

/// Pages are about recordings.
fn refuse_page(args: &InspectArgs, what: &str) -> Result<(), Error> {
    match &args.html {
        None => Ok(()),
        Some(_) => Err(Error::Usage {
            message: format!("--html: {} is {what}", args.path.display()),
            help: "snnfit inspect RECORDING.h5 --html FILE".to_owned(),
        }),
    }
}

/// What says how other layouts are to be read means nothing for our own files.
fn refuse_tables(args: &InspectArgs) -> Result<(), Error> {
    let given = [
        ("--sample-rate-hz", args.sample_rate_hz.is_some()),
        ("--units-table", args.units_table.is_some()),
        ("--trials-table", args.trials_table.is_some()),
        ("--unit-column", args.unit_column.is_some()),
        ("--time-column", args.time_column.is_some()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((option, _)) => Err(Error::Usage {
            message: format!(
                "{option} goes with files of other layouts; {} is one of snnfit",
                args.path.display()
            ),
            help: "leave it out".to_owned(),
        }),
    }
}

fn inspect_recording(args: &InspectArgs, global: &Global) -> Result<(), Error> {
    let path = args.path.as_path();
    if let Some(page) = args.html.as_deref().filter(|page| page.exists()) {
        let error = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(Error::Output(data::fs::FsError::new(page, "create", error)));
    }
    let (recording, warnings) =
        crate::import_process::read_recording(path, args.limits.limit_mem, args.limits.timeout)?;
    let summary = data::summary(&recording, &warnings);
    if let Some(page) = &args.html {
        let name = path
            .file_name()
            .map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
        overview::write(page, &name, &recording, &summary).map_err(crate::fit_error::FitError::from)?;
        tracing::info!("written: {}", page.display());
    }
    answer(global, &summary, || summary.to_text())
}

fn answer(global: &Global, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Error> {
    match global.format {
        Format::Json => super::print_json(value),
        Format::Text => super::print(&super::visible(&text())),
    }
}

#[derive(Serialize)]
struct ArraySummary {
    section: String,
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
}

#[derive(Serialize)]
struct CheckpointSummary {
    schema: u32,
    path: String,
    bytes: u64,
    state: serde_json::Value,
    arrays: Vec<ArraySummary>,
}

fn inspect_checkpoint(path: &Path, global: &Global) -> Result<(), Error> {
    let Checkpoint { state, sections } = checkpoint::read(path)?;
    let mut arrays = Vec::new();
    for (section, named) in sections {
        for (name, array) in named {
            let dtype = match array.values {
                Values::F32(_) => "f32",
                Values::F64(_) => "f64",
            };
            arrays.push(ArraySummary {
                section: section.clone(),
                name,
                dtype,
                shape: array.shape,
            });
        }
    }
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let summary = CheckpointSummary {
        schema: 1,
        path: path.display().to_string(),
        bytes,
        state,
        arrays,
    };
    answer(global, &summary, || checkpoint_text(&summary))
}

fn checkpoint_text(summary: &CheckpointSummary) -> String {
    let mut text = format!("checkpoint, {} bytes, intact\n\nstate\n", summary.bytes);
    // Writing to a String cannot fail.
    if let Some(fields) = summary.state.as_object() {
        for (key, value) in fields {
            let _ = writeln!(text, "  {key} = {value}");
        }
    } else {
        let _ = writeln!(text, "  {}", summary.state);
    }
    for array in &summary.arrays {
        let _ = writeln!(
            text,
            "{}/{}: {} {:?}",
            array.section, array.name, array.dtype, array.shape
        );
    }
    text
}

#[derive(Serialize)]
struct RunSummary {
    schema: u32,
    path: String,
    manifest: Manifest,
    checkpoints: Vec<u64>,
    has_best: bool,
    last_step: Option<u64>,
    last_losses: std::collections::BTreeMap<String, f64>,
    best_validation: Option<(u64, f64)>,
    n_warnings: usize,
}

fn inspect_run(path: &Path, global: &Global) -> Result<(), Error> {
    let run = RunDir::open(path)?;
    let manifest = run.manifest()?;
    let events = if run.events().exists() {
        events::read(&run.events())?
    } else {
        Vec::new()
    };
    let checkpoints = checkpoint::steps(&run.checkpoints())?
        .into_iter()
        .map(|(step, _)| step)
        .collect();
    let mut summary = RunSummary {
        schema: 1,
        path: path.display().to_string(),
        manifest,
        checkpoints,
        has_best: run.checkpoints().join("best.ckpt").is_file(),
        last_step: None,
        last_losses: std::collections::BTreeMap::new(),
        best_validation: None,
        n_warnings: 0,
    };
    for event in events {
        match event {
            Event::Step(step) => {
                summary.last_step = Some(step.step);
                summary.last_losses = step.losses.into_iter().map(|(name, value)| (name, value.0)).collect();
            }
            Event::Validation {
                step,
                total,
                is_best: true,
                ..
            } => summary.best_validation = Some((step, total.0)),
            Event::Warning { .. } => summary.n_warnings += 1,
            _ => {}
        }
    }
    answer(global, &summary, || run_text(&summary))
}

fn run_text(summary: &RunSummary) -> String {
    let manifest = &summary.manifest;
    let mut lines = vec![
        format!("run {}", summary.path),
        format!(
            "snnfit {} (commit {}), seed {}, {} with {} threads",
            manifest.version, manifest.commit, manifest.seed, manifest.device, manifest.threads
        ),
    ];
    for file in &manifest.data {
        lines.push(format!("data {} (sha256 {})", file.path, file.sha256));
    }
    for attempt in &manifest.attempts {
        let end = match (&attempt.stopped, attempt.stop_reason, attempt.last_step) {
            (Some(stopped), Some(reason), Some(step)) => format!("to step {step}, {stopped}: {}", reason.text()),
            _ => "still running, or killed".to_owned(),
        };
        lines.push(format!(
            "from step {} on {}, {} {end}",
            attempt.first_step, attempt.host, attempt.started
        ));
    }
    if let Some(step) = summary.last_step {
        let losses: Vec<String> = summary
            .last_losses
            .iter()
            .map(|(name, value)| format!("{name} {value:.4}"))
            .collect();
        lines.push(format!("last logged step {step}: {}", losses.join(", ")));
    }
    if let Some((step, value)) = summary.best_validation {
        lines.push(format!("best validation {value:.4} at step {step}"));
    }
    let steps: Vec<String> = summary.checkpoints.iter().map(ToString::to_string).collect();
    let best = if summary.has_best { ", best" } else { "" };
    lines.push(format!(
        "checkpoints of steps: {}{best}",
        if steps.is_empty() {
            "none".to_owned()
        } else {
            steps.join(", ")
        }
    ));
    lines.push(format!("test trials opened {} times", manifest.test_openings));
    for left_out in &manifest.left_out {
        let area = left_out
            .area
            .as_ref()
            .map(|area| format!(", area {area}"))
            .unwrap_or_default();
        lines.push(format!(
            "left out: session {}{area}: {}",
            left_out.session, left_out.reason
        ));
    }
    for warning in &manifest.warnings {
        lines.push(format!("warning: {warning}"));
    }
    if summary.n_warnings > 0 {
        lines.push(format!("{} warnings in events.ndjson", summary.n_warnings));
    }
    lines.push(String::new());
    lines.join("\n")
}
