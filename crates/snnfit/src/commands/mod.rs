//! The commands: one file each; this one parses, dispatches and reports.

mod bench;
mod config;
mod devices;
mod evaluate;
mod export;
mod help;
mod import;
mod inspect;
mod perturb;
mod simulate;
mod spike_history;
mod synth;
mod train;
mod truth;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use clap::Parser;
use snn_core::device::{self, AdapterKind, DeviceChoice, OpenDevice};

use crate::cli::{Cli, Command, Format, Global, asks_for_json};
use crate::config::checked::{Engine, Experiment};
use crate::error::{Error, render_json, render_text};
use crate::fit_error::FitError;
use crate::perturbation::Plan;
use crate::{exit_code, logging};

/// Runs the program with these arguments (the first is its name) and returns its exit code.
pub fn main(arguments: Vec<OsString>) -> u8 {
    let as_json = asks_for_json(arguments.iter().cloned());
    match Cli::try_parse_from(arguments) {
        Ok(cli) => {
            let Global {
                verbose,
                quiet,
                color,
                format,
                ..
            } = cli.global;
            logging::start(verbose, quiet, color.is_on());
            run(cli).unwrap_or_else(|error| report(&error, format == Format::Json, color.is_on()))
        }
        Err(error) if error.use_stderr() && as_json => report(&usage_error(&error), true, false),
        Err(error) => {
            // Help and usage errors; nobody is left to tell when they can't be printed.
            let _ = error.print();
            u8::try_from(error.exit_code()).unwrap_or(exit_code::USAGE)
        }
    }
}

/// Runs one command. Returns the exit code: [`exit_code::DONE`], or another that is no error, such as
/// [`exit_code::TIME_LIMIT`].
///
/// # Errors
/// [`Error`], which knows its exit code.
pub fn run(cli: Cli) -> Result<u8, Error> {
    let global = cli.global;
    if let Command::Train(_) | Command::Evaluate(_) | Command::Simulate(_) | Command::Bench(_) = &cli.command {
        snn_core::keep_freed_memory();
    }
    match cli.command {
        Command::Import(args) => import::run(&args, &global),
        Command::ImportWorker(args) => import::serve(&args),
        Command::Export(args) => export::run(&args, &global),
        Command::Inspect(args) => inspect::run(&args, &global),
        Command::Synth(args) => synth::run(&args, &global),
        Command::Config(args) => config::run(&args.action, &global),
        Command::Help(args) => help::run(&args),
        Command::Train(args) => train::run(&args, &global),
        Command::Evaluate(args) => evaluate::run(&args, &global),
        Command::Simulate(args) => simulate::run(&args, &global),
        Command::Bench(args) => bench::run(&args, &global),
        Command::Devices => devices::run(&global),
    }
}

/// The table that makes a network a closed loop.
const CLOSED_LOOP: &str = "[model.rsnn.behaviour.feedback]";

/// Opens a device.
fn open_device(choice: DeviceChoice) -> Result<OpenDevice, Error> {
    device::open(choice).map_err(|error| Error::from(FitError::Core(error)))
}

/// Opens the device of a training: the engine `native_int16` has only the processor, and a closed loop too.
fn open_device_for(choice: DeviceChoice, experiment: &Experiment) -> Result<OpenDevice, Error> {
    let (what, other) = if experiment.model.is_closed_loop() {
        (CLOSED_LOOP, "leave the table out")
    } else if experiment.train.engine == Engine::NativeInt16 {
        ("train.engine = \"native_int16\"", "train.engine = \"native\"")
    } else {
        return open_device(choice);
    };
    if let DeviceChoice::Wgpu(_) = choice {
        return Err(on_processor(what, other));
    }
    open_processor(what)
}

/// Refuses an adapter by name for a closed loop, which only the processor computes; `auto` takes it there.
fn refuse_adapter(choice: DeviceChoice, experiment: &Experiment) -> Result<(), Error> {
    match choice {
        DeviceChoice::Wgpu(_) if experiment.model.is_closed_loop() => {
            Err(on_processor(CLOSED_LOOP, "leave the table out"))
        }
        _ => Ok(()),
    }
}

/// The processor, because an engine that has only that was asked for.
fn open_processor(engine: &str) -> Result<OpenDevice, Error> {
    let cpu = open_device(DeviceChoice::Cpu)?;
    let reason = format!("{engine} computes on the processor");
    Ok(OpenDevice { reason, ..cpu })
}

/// An engine of the processor was asked for, and an adapter.
fn on_processor(engine: &str, other: &str) -> Error {
    Error::Usage {
        message: format!("{engine} computes on the processor, --device names an adapter"),
        help: format!("use --device cpu, or {other}"),
    }
}

/// Says on stderr which device `auto` took and why, and that an adapter that was asked for computes in software.
fn tell_device(choice: DeviceChoice, device: &OpenDevice) {
    if choice == DeviceChoice::Auto {
        tracing::info!("device {}: {}", device.name(), device.reason);
    } else if let Some(adapter) = device.adapter.as_ref().filter(|a| a.kind == AdapterKind::Software) {
        tracing::warn!("'{}' is a software adapter: it computes on the processor", adapter.name);
    }
}

/// Says on stderr how many neurons of which areas are perturbed, how and when.
fn tell_perturbations(plan: Option<&Plan>) {
    for line in plan.iter().flat_map(|plan| plan.lines()) {
        tracing::info!("{line}");
    }
}

/// Writes an error to stderr; returns its exit code. A broken pipe is silent.
fn report(error: &Error, as_json: bool, use_color: bool) -> u8 {
    if !matches!(error, Error::BrokenPipe) {
        let text = if as_json {
            render_json(error)
        } else {
            render_text(error, use_color)
        };
        // Nothing can be done when stderr is closed too.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    error.exit_code()
}

fn usage_error(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    let message = text.split("\n\n").next().unwrap_or_default();
    let message = message
        .trim()
        .trim_start_matches("error: ")
        .lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ");
    Error::Usage {
        message,
        help: "`snnfit help COMMAND` explains a command".to_owned(),
    }
}

/// Writes the answer to stdout.
///
/// # Errors
/// [`Error::BrokenPipe`] when the reader went away, [`Error::Stdout`] when it can't be written.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(Error::stdout)
}

/// Writes a report as JSON, in one step.
fn write_json<T: serde::Serialize>(path: &Path, report: &T) -> Result<(), Error> {
    let json = serde_json::to_vec_pretty(report).map_err(|error| Error::Internal {
        message: error.to_string(),
    })?;
    data::fs::write_atomic(path, |file| file.write_all(&json)).map_err(Error::Output)
}

/// Writes the answer to stdout as pretty JSON.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::Internal {
        message: format!("the answer is no JSON: {error}"),
    })?;
    print(&format!("{text}\n"))
}

/// A failure to write a recording: the file system is the run's or output's business, the rest is data.
pub(crate) fn output_error(error: data::DataError) -> Error {
    match error {
        data::DataError::Fs(error) => Error::Output(error),
        other => Error::OutputRecording(other),
    }
}

/// Uses this many threads from now on; the machine's if none is named. Returns the number.
pub(crate) fn use_threads(threads: Option<std::num::NonZeroUsize>) -> usize {
    if let Some(n) = threads {
        // It fails only when the pool exists already, in a program that runs several commands: then that one serves.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(n.get()).build_global();
    }
    rayon::current_num_threads()
}

/// Refuses to overwrite an existing file, or to write where nothing can be written, before work is spent on it.
///
/// # Errors
/// [`Error::Output`].
pub(crate) fn refuse_existing(path: &Path) -> Result<(), Error> {
    data::fs::check_new(path).map_err(Error::Output)
}

/// Text of a file made safe for a terminal: control characters other than line ends become visible escapes.
pub(crate) fn visible(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let is_hidden = c.is_control() && c != '\n' && c != '\t';
            let escaped = is_hidden.then(|| c.escape_unicode());
            escaped.into_iter().flatten().chain((!is_hidden).then_some(c))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_a_file_do_not_reach_the_terminal() {
        assert_eq!(visible("area\u{1b}[31m\n\tµ"), "area\\u{1b}[31m\n\tµ");
    }
}
