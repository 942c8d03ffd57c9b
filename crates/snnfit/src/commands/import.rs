//! `snnfit import`: files and folders of laboratories, or binned HDF5 arrays, to a recording.

use std::path::Path;

use data::import::plan::{BehaviourPlan, Channel};
use data::import::worker::{Answer, Request};
use data::import::{BinnedImport, BinnedSource, ImportPlan, ImportReport, Layout, ReadOptions, SeriesRequest, Source};
use data::{CellType, Recording};
use serde::Serialize;

use crate::cli::{CellTypeName, Format, Global, ImportArgs, ImportWorkerArgs, ReadLimits};
use crate::config::{self, ConfigError, Problem};
use crate::error::Error;
use crate::exit_code;
use crate::import_process::{self, Limits};

pub(super) fn run(args: &ImportArgs, global: &Global) -> Result<u8, Error> {
    let description = description(args)?;
    if let Some(out) = &args.out {
        super::refuse_existing(out)?;
    }
    let (recording, report) = match description {
        Description::Binned(import) => (binned(args, import)?, None),
        Description::Plan(plan) => {
            let options = ReadOptions {
                series: SeriesRequest::of(plan.behaviour.values().map(|behaviour| &behaviour.series)),
                sample_rate_hz: args.sample_rate_hz,
                units_table: args.units_table.clone(),
                trials_table: args.trials_table.clone(),
                unit_column: args.unit_column.clone(),
                time_column: args.time_column.clone(),
            };
            let mut sources = Vec::new();
            for (i, path) in args.files.iter().enumerate() {
                tracing::info!("reading {}", path.display());
                let mut source = source(path, options.clone(), args.limits)?;
                if let Some(id) = args.session_id.get(i) {
                    source.id.clone_from(id);
                }
                sources.push(source);
            }
            let (recording, report) = plan.apply(sources)?;
            (recording, Some(report))
        }
    };
    if let Some(out) = &args.out {
        data::write(out, &recording).map_err(super::output_error)?;
        tracing::info!("wrote {}", out.display());
    }
    answer(&recording, report, global)?;
    Ok(exit_code::DONE)
}

/// The process that reads: see [`import_process`].
pub(super) fn serve(args: &ImportWorkerArgs) -> Result<u8, Error> {
    let limits = Limits {
        memory_bytes: args.memory_bytes,
        time: std::time::Duration::MAX,
        processor_time: std::time::Duration::from_secs(args.processor_seconds),
        is_option: false,
    };
    import_process::serve(limits).map_err(|message| Error::Usage {
        message,
        help: "`snnfit import` starts this by itself".to_owned(),
    })?;
    Ok(exit_code::DONE)
}

/// What reading it may take.
fn limits_of(path: &Path, asked: ReadLimits) -> Limits {
    Limits::of_foreign(path, asked.limit_mem, asked.timeout)
}

/// Which layout a file or folder has, found by a process of its own.
pub(super) fn layout(path: &Path, limits: ReadLimits) -> Result<Layout, Error> {
    let request = Request::Layout {
        path: path.to_path_buf(),
    };
    match import_process::read(path, &request, limits_of(path, limits))? {
        Answer::Layout(layout) => Ok(layout),
        answer => Err(import_process::not_asked_for(path, answer).into()),
    }
}

/// Reads a file or folder of a known layout, in a process of its own.
pub(super) fn source(path: &Path, options: ReadOptions, limits: ReadLimits) -> Result<Source, Error> {
    let request = Request::Source {
        path: path.to_path_buf(),
        options,
    };
    match import_process::read(path, &request, limits_of(path, limits))? {
        Answer::Source(source) => Ok(*source),
        answer => Err(import_process::not_asked_for(path, answer).into()),
    }
}

fn binned(args: &ImportArgs, import: BinnedImport) -> Result<Recording, Error> {
    let [path] = args.files.as_slice() else {
        return Err(usage(
            format!(
                "arrays of spike counts are read from one file, found {}",
                args.files.len()
            ),
            "import each file by itself",
        ));
    };
    let request = Request::Binned {
        path: path.clone(),
        import,
    };
    match import_process::read(path, &request, limits_of(path, args.limits))? {
        Answer::Recording(recording) => Ok(recording),
        answer => Err(import_process::not_asked_for(path, answer).into()),
    }
}

#[derive(Serialize)]
struct Imported<'a> {
    schema: u32,
    recording: &'a data::RecordingSummary,
    import: &'a ImportReport,
}

/// Tells what was taken, what was left out, and what is in the recording.
fn answer(recording: &Recording, report: Option<ImportReport>, global: &Global) -> Result<(), Error> {
    let Some(report) = report else {
        return super::synth::print_summary(recording, global);
    };
    for warning in report.sessions.iter().flat_map(|session| &session.warnings) {
        tracing::warn!("{}", super::visible(&warning.to_string()));
    }
    let summary = data::summary(recording, &report.warnings);
    match global.format {
        Format::Json => super::print_json(&Imported {
            schema: 1,
            recording: &summary,
            import: &report,
        }),
        Format::Text => super::print(&super::visible(&format!("{}\n{}", report.text(), summary.to_text()))),
    }
}

enum Description {
    Binned(BinnedImport),
    Plan(Box<ImportPlan>),
}

/// What is to be done, by the TOML file and the options.
fn description(args: &ImportArgs) -> Result<Description, Error> {
    let (n_files, n_names) = (args.files.len(), args.session_id.len());
    if n_names > 0 && n_names != n_files {
        return Err(usage(
            format!("--session-id names {n_names} sessions, but there are {n_files} files"),
            "give it once for each file, in their order, or leave it out: every file has a name of its own",
        ));
    }
    if args.files.len() > 1 && (args.units_table.is_some() || args.trials_table.is_some()) {
        return Err(usage(
            "--units-table and --trials-table go with one file".to_owned(),
            "import each session by itself",
        ));
    }
    if args.spikes.is_some() {
        return from_options(args).and_then(checked).map(Description::Binned);
    }
    let of_arrays = [
        ("--axes", args.axes.is_some()),
        ("--stimulus", args.stimulus.is_some()),
        ("--bin-ms", args.bin_ms.is_some()),
        ("--start-ms", args.start_ms.is_some()),
        ("--cell-type", args.cell_type.is_some()),
    ];
    if let Some((option, _)) = of_arrays.iter().find(|(_, is_given)| *is_given) {
        return Err(usage(
            format!("{option} goes with --spikes, which names an array of spike counts"),
            "cell types of files with tables: see units.cell_type in docs/FORMATS.md",
        ));
    }
    let mut plan = ImportPlan::default();
    if let Some(path) = &args.spec {
        let text = config::read_text(path)?;
        let subject = path.display().to_string();
        if names_arrays(&text) {
            let import = BinnedImport::from_toml(&subject, &text).map_err(spec_error)?;
            if let Some(option) = plan_options(args).first() {
                let message = format!("{option} has no meaning with {subject}, which names arrays of spike counts");
                return Err(usage(message, "write it into that file, or leave it out"));
            }
            return checked(import).map(Description::Binned);
        }
        plan = ImportPlan::from_toml(&subject, &text).map_err(spec_error)?;
    }
    override_plan(&mut plan, args)?;
    plan.check()
        .map_err(|problems| usage(problems.join("; "), "`snnfit inspect FILE` lists columns and series"))?;
    Ok(Description::Plan(Box::new(plan)))
}

/// Whether a spec names arrays of spike counts, which have a bin width.
fn names_arrays(text: &str) -> bool {
    toml::from_str::<toml::Table>(text)
        .is_ok_and(|table| table.contains_key("bin_ms") || table.contains_key("sessions"))
}

/// Options that say something of tables, and those that name things.
fn plan_options(args: &ImportArgs) -> Vec<&'static str> {
    let given = [
        ("--align-to", args.align_to.is_some()),
        ("--window-s", args.window_s.is_some()),
        ("--every-s", args.every_s.is_some()),
        ("--trials", args.trials.is_some()),
        ("--trial-type", args.trial_type.is_some()),
        ("--stimulus-value", args.stimulus_value.is_some()),
        ("--event", !args.event.is_empty()),
        ("--value", !args.value.is_empty()),
        ("--units", args.units.is_some()),
        ("--area-column", args.area_column.is_some()),
        ("--area", args.area.is_some()),
        ("--behaviour", !args.behaviour.is_empty()),
        ("--sample-rate-hz", args.sample_rate_hz.is_some()),
        ("--units-table", args.units_table.is_some()),
        ("--trials-table", args.trials_table.is_some()),
        ("--unit-column", args.unit_column.is_some()),
        ("--time-column", args.time_column.is_some()),
        ("--session-id", !args.session_id.is_empty()),
    ];
    given
        .into_iter()
        .filter(|(_, is_given)| *is_given)
        .map(|(name, _)| name)
        .collect()
}

/// Options win over the file.
fn override_plan(plan: &mut ImportPlan, args: &ImportArgs) -> Result<(), Error> {
    let set = |to: &mut Option<String>, from: &Option<String>| {
        if from.is_some() {
            to.clone_from(from);
        }
    };
    set(&mut plan.trials.align_to, &args.align_to);
    set(&mut plan.trials.filter, &args.trials);
    set(&mut plan.trials.stimulus, &args.stimulus_value);
    if args.trial_type.is_some() {
        set(&mut plan.trials.trial_type, &args.trial_type);
        plan.trials.types.clear();
    }
    set(&mut plan.units.filter, &args.units);
    set(&mut plan.units.area, &args.area_column);
    if let Some(area) = &args.area {
        if area.contains('\'') {
            return Err(usage(
                format!("--area {area} contains a quote"),
                "name the area without it",
            ));
        }
        plan.units.area = Some(format!("'{area}'"));
    }
    if let Some(window) = &args.window_s {
        let &[from, to] = window.as_slice() else {
            return Err(usage(
                format!("--window-s takes two times, found {}", window.len()),
                "such as --window-s=-0.5,1.5",
            ));
        };
        plan.trials.window_s = Some([from, to]);
    }
    plan.trials.every_s = args.every_s.or(plan.trials.every_s);
    let columns = [
        ("--event", "cue=goCue_times", &args.event, &mut plan.trials.events),
        (
            "--value",
            "contrast=contrastRight",
            &args.value,
            &mut plan.trials.values,
        ),
    ];
    for (option, example, given, columns) in columns {
        for given in given {
            let (name, text) = named(given).ok_or_else(|| {
                let message = format!("{option} {given} is no NAME=EXPR");
                usage(message, &format!("such as {option} {example}"))
            })?;
            columns.insert(name.to_owned(), text.to_owned());
        }
    }
    for behaviour in &args.behaviour {
        let (name, series) = named(behaviour).ok_or_else(|| {
            usage(
                format!("--behaviour {behaviour} is no NAME=SERIES"),
                "such as --behaviour jaw=processing/behavior/jaw, or jaw=processing/behavior/pose:1 for its channel 1",
            )
        })?;
        let (series, channel) = channel_of(series);
        let series = series.to_owned();
        plan.behaviour
            .insert(name.to_owned(), BehaviourPlan { series, channel });
    }
    Ok(())
}

/// `NAME=REST`, neither empty.
fn named(text: &str) -> Option<(&str, &str)> {
    text.split_once('=')
        .filter(|(name, rest)| !name.is_empty() && !rest.is_empty())
}

/// `SERIES:2` is channel 2 of a series.
fn channel_of(series: &str) -> (&str, Option<Channel>) {
    match series.rsplit_once(':') {
        Some((series, channel)) if channel.parse::<usize>().is_ok() => {
            (series, channel.parse().ok().map(Channel::Number))
        }
        _ => (series, None),
    }
}

fn checked(import: BinnedImport) -> Result<BinnedImport, Error> {
    if import.bin_ms.is_finite() && import.bin_ms > 0.0 && import.start_ms.is_finite() {
        return Ok(import);
    }
    let (width, start) = (import.bin_ms, import.start_ms);
    Err(usage(
        format!("bin width {width} ms and start {start} ms must be finite, and the width > 0"),
        "times are in ms",
    ))
}

fn usage(message: String, help: &str) -> Error {
    Error::Usage {
        message,
        help: help.to_owned(),
    }
}

fn from_options(args: &ImportArgs) -> Result<BinnedImport, Error> {
    let absent = |flag: &str| {
        usage(
            format!("{flag} is missing"),
            "give it, or describe the arrays with --spec",
        )
    };
    Ok(BinnedImport {
        bin_ms: args.bin_ms.ok_or_else(|| absent("--bin-ms"))?,
        start_ms: args.start_ms.unwrap_or(0.0),
        sessions: vec![BinnedSource {
            id: args
                .session_id
                .first()
                .cloned()
                .unwrap_or_else(|| "session1".to_owned()),
            spikes: args.spikes.clone().ok_or_else(|| absent("--spikes"))?,
            spikes_axes: args.axes.clone().unwrap_or_else(|| "trial,time,neuron".to_owned()),
            stimulus: args.stimulus.clone(),
            stimulus_axes: args.stimulus_axes.clone(),
            area: Some(args.area.clone().ok_or_else(|| absent("--area"))?),
            cell_type: Some(match args.cell_type {
                Some(CellTypeName::Excitatory) => CellType::Excitatory,
                Some(CellTypeName::Inhibitory) => CellType::Inhibitory,
                Some(CellTypeName::Unknown) | None => CellType::Unknown,
            }),
            trials: args.trials.clone(),
            units: args.units.clone(),
            ..BinnedSource::default()
        }],
    })
}

fn spec_error(error: data::DataError) -> Error {
    match error {
        data::DataError::Parse { subject, message } => {
            let problem = Problem {
                code: "snnfit::import::spec",
                message: format!("{subject}: {message}"),
                label: None,
                help: Some("docs/FORMATS.md describes the import file".to_owned()),
                place: None,
            };
            Error::Config(ConfigError::Invalid {
                problems: vec![problem],
            })
        }
        other => Error::Data(other),
    }
}
