//! What a command can fail with: a closed set of kinds, each with an exit code, a text for people and an object for
//! programs.
//!
//! A kind says who has to act: the user at the command line, in the configuration, the data or the run directory, the
//! owner of the machine, or we. Libraries return their own typed errors; nothing is reported twice.

use std::fmt;
use std::io::Write;
use std::panic::{PanicHookInfo, UnwindSafe};
use std::path::Path;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode};

use crate::checkpoint::{self, CheckpointError};
use crate::config::{ConfigError, Problem};
use crate::events::EventError;
use crate::exit_code;
use crate::fit_error::FitError;
use crate::report::plots::PlotError;
use crate::run_dir::RunError;

/// Width of reports in characters.
const WIDTH: usize = 100;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line asks for something impossible (beyond what the parser sees).
    #[error("{message}")]
    Usage {
        /// What was found and what was expected.
        message: String,
        /// What to type instead.
        help: String,
    },
    /// The configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A recording can't be used.
    #[error(transparent)]
    Data(#[from] data::DataError),
    /// A run directory can't be used.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A file of a run directory is damaged.
    #[error(transparent)]
    InRun(Box<Error>),
    /// A checkpoint can't be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The events of a run can't be read.
    #[error(transparent)]
    Events(#[from] EventError),
    /// A result can't be written.
    #[error(transparent)]
    Output(data::fs::FsError),
    /// A recording can't be written.
    #[error(transparent)]
    OutputRecording(data::DataError),
    /// A result can't be written to standard output.
    #[error("cannot write to standard output")]
    Stdout(#[source] std::io::Error),
    /// The reader of standard output went away; not worth a word.
    #[error("the reader of standard output went away")]
    BrokenPipe,
    /// The device is absent or out of memory.
    #[error("{message}")]
    Device {
        /// What was asked for and what there is.
        message: String,
        /// What would fit.
        help: String,
    },
    /// A fit, a simulation or an evaluation can't go on.
    #[error(transparent)]
    Fit(FitError),
    /// A `--require` condition does not hold.
    #[error("not met: {}", failed.join("; "))]
    Requirement {
        /// Conditions with the values found.
        failed: Vec<String>,
    },
    /// A broken invariant of ours.
    #[error("{message}")]
    Internal {
        /// What was expected and what was found.
        message: String,
    },
}

impl From<FitError> for Error {
    fn from(error: FitError) -> Self {
        match error {
            FitError::Data(error) => Self::Data(error),
            FitError::Plot(PlotError::Fs(error)) => Self::Output(error),
            other => Self::Fit(other),
        }
    }
}

impl Error {
    /// For errors in the files that a run directory keeps.
    pub fn in_run(error: impl Into<Error>) -> Self {
        Self::InRun(Box::new(error.into()))
    }

    /// For errors of writing to standard output.
    pub fn stdout(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::BrokenPipe
        } else {
            Self::Stdout(error)
        }
    }

    /// Exit code; see [`crate::exit_code`].
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::BrokenPipe => exit_code::DONE,
            Self::Internal { .. } => exit_code::INTERNAL,
            Self::Usage { .. } => exit_code::USAGE,
            Self::Config(_) => exit_code::CONFIG,
            Self::Data(_) => exit_code::DATA,
            Self::InRun(_)
            | Self::OutputRecording(_)
            | Self::Run(_)
            | Self::Checkpoint(_)
            | Self::Events(_)
            | Self::Output(_)
            | Self::Stdout(_) => exit_code::RUN,
            Self::Device { .. } => exit_code::DEVICE,
            Self::Fit(error) => error.exit_code(),
            Self::Requirement { .. } => exit_code::REQUIREMENT,
        }
    }

    /// The file or directory this is about, if it is about one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Config(error) => error.path(),
            Self::Data(error) | Self::OutputRecording(error) => data_path(error),
            Self::InRun(error) => error.path(),
            Self::Run(error) => match error {
                RunError::Exists { path }
                | RunError::ParentIsFile { path }
                | RunError::NotARun { path, .. }
                | RunError::Locked { path, .. }
                | RunError::LockedElsewhere { path, .. }
                | RunError::Manifest { path, .. }
                | RunError::Newer { path, .. } => Some(path),
                RunError::Fs(error) => fs_path(error),
            },
            Self::Checkpoint(error) => match error {
                CheckpointError::Read { path, .. }
                | CheckpointError::NotACheckpoint { path }
                | CheckpointError::Newer { path, .. }
                | CheckpointError::Damaged { path, .. }
                | CheckpointError::Content { path, .. }
                | CheckpointError::Missing { directory: path, .. } => Some(path),
                CheckpointError::Write(error) => fs_path(error),
            },
            Self::Events(EventError::Line { path, .. } | EventError::Newer { path, .. }) => Some(path),
            Self::Events(EventError::Fs(error)) | Self::Output(error) => fs_path(error),
            _ => None,
        }
    }

    fn kind_code(&self) -> &'static str {
        match self {
            Self::Usage { .. } => "snnfit::usage",
            Self::Config(_) => "snnfit::config",
            Self::Data(_) => "snnfit::data",
            Self::Run(_) | Self::InRun(_) => "snnfit::run",
            Self::Checkpoint(_) => "snnfit::checkpoint",
            Self::Events(_) => "snnfit::events",
            Self::Output(_) | Self::OutputRecording(_) | Self::Stdout(_) => "snnfit::output",
            Self::BrokenPipe => "snnfit::broken_pipe",
            Self::Device { .. } => "snnfit::device",
            Self::Fit(error) => match error.exit_code() {
                exit_code::CONFIG => "snnfit::config",
                exit_code::DATA => "snnfit::data",
                exit_code::RUN => "snnfit::run",
                exit_code::DEVICE => "snnfit::device",
                exit_code::NUMERIC => "snnfit::numeric",
                _ => "snnfit::internal",
            },
            Self::Requirement { .. } => "snnfit::requirement",
            Self::Internal { .. } => "snnfit::internal",
        }
    }

    fn kind_help(&self) -> Option<String> {
        let text = match self {
            Self::Usage { help, .. } | Self::Device { help, .. } => help.clone(),
            Self::InRun(_) => "restore this file from a copy; the checkpoints are files of their own".to_owned(),
            Self::Run(RunError::Exists { .. }) => "choose another --out, or continue that run with --resume".to_owned(),
            Self::Run(RunError::ParentIsFile { .. }) => "choose another --out".to_owned(),
            Self::Run(RunError::NotARun { .. }) => "`snnfit train --config FILE --out DIR` makes one".to_owned(),
            Self::Run(RunError::Locked { .. }) => "wait until it ends, or stop it; it checkpoints first".to_owned(),
            Self::Run(RunError::LockedElsewhere { .. }) => {
                "if that process is gone, delete the file `lock` in the run directory".to_owned()
            }
            Self::Run(RunError::Newer { .. }) | Self::Checkpoint(CheckpointError::Newer { .. }) => {
                "use a newer snnfit".to_owned()
            }
            Self::Checkpoint(CheckpointError::Damaged { .. }) => {
                "--checkpoint names another one (last, best or a step); if none is intact, the run has to be repeated"
                    .to_owned()
            }
            Self::Checkpoint(CheckpointError::Missing { found, .. }) if found == checkpoint::NONE => {
                "the run stopped before its first checkpoint; `snnfit train --resume RUN` begins again".to_owned()
            }
            Self::Checkpoint(CheckpointError::Missing { .. }) => {
                "--checkpoint last takes the newest; a step is given as its number".to_owned()
            }
            Self::Fit(error) if error.exit_code() == exit_code::INTERNAL => BUG_HELP.to_owned(),
            Self::Fit(error) => error.help()?.to_owned(),
            Self::Internal { .. } => BUG_HELP.to_owned(),
            error if is_disk_full(error) => {
                "make room on that disk: what was there before is intact, and a run goes on \
                                             from its last checkpoint with `snnfit train --resume RUN`"
                    .to_owned()
            }
            _ => return None,
        };
        Some(text)
    }
}

/// Whether a file couldn't be written for want of space.
fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| matches!(io.kind(), StorageFull | QuotaExceeded)) {
            return true;
        }
        // The HDF5 library reports text alone.
        if let Some(data::DataError::Hdf5 { detail, .. }) = error.downcast_ref::<data::DataError>()
            && ["No space left on device", "Disk quota exceeded"]
                .iter()
                .any(|text| detail.contains(text))
        {
            return true;
        }
        cause = error.source();
    }
    false
}

fn fs_path(error: &data::fs::FsError) -> Option<&Path> {
    match error {
        data::fs::FsError::Io { path, .. } | data::fs::FsError::AlreadyExists { path } => Some(path),
        _ => None,
    }
}

fn data_path(error: &data::DataError) -> Option<&Path> {
    use data::DataError as E;
    match error {
        E::Fs(error) => fs_path(error),
        E::Hdf5 { path, .. }
        | E::NotHdf5 { path, .. }
        | E::NotARecording { path, .. }
        | E::TooNew { path, .. }
        | E::UnknownLayout { path, .. }
        | E::NotNwb { path }
        | E::NoReader { path, .. }
        | E::Reader { path, .. }
        | E::Told { path, .. } => Some(path),
        _ => None,
    }
}

const BUG_HELP: &str = "this is a bug in snnfit: please report it with the command line and this text";

/// An error made ready for display: one message with its causes, a code, a place, and help.
#[derive(Debug)]
struct Report<'a> {
    error: &'a Error,
    message: String,
    hint: Option<String>,
    /// The only problem of a configuration, shown by itself.
    sole: Option<&'a Problem>,
}

impl<'a> Report<'a> {
    fn new(error: &'a Error) -> Self {
        let sole = match error {
            Error::Config(config) => match config.problems() {
                [problem] => Some(problem),
                _ => None,
            },
            _ => None,
        };
        let mut message = sole.map_or_else(|| error.to_string(), ToString::to_string);
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = inner.source();
        }
        let mut hint = None;
        // Of several problems each keeps its own.
        if message.matches("\n  - ").count() <= 1
            && let Some((before, after)) = message.split_once(" (hint: ")
            && let Some(text) = after.strip_suffix(')')
            && !text.contains(" (hint: ")
        {
            hint = Some(text.to_owned());
            message = before.to_owned();
        }
        // Names in files may contain control characters; they shall not reach a terminal.
        let message = crate::commands::visible(&message);
        Self {
            error,
            message,
            hint,
            sole,
        }
    }

    fn config(&self) -> Option<&'a ConfigError> {
        match self.error {
            Error::Config(config) => Some(config),
            _ => None,
        }
    }

    fn code_text(&self) -> String {
        if let Some(problem) = self.sole {
            return problem.code.to_owned();
        }
        match self.config().and_then(Diagnostic::code) {
            Some(code) => code.to_string(),
            None => self.error.kind_code().to_owned(),
        }
    }

    fn help_text(&self) -> Option<String> {
        if let Some(problem) = self.sole {
            return problem.help.clone();
        }
        self.hint
            .clone()
            .or_else(|| self.config().and_then(Diagnostic::help).map(|help| help.to_string()))
            .or_else(|| self.error.kind_help())
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Report<'_> {}

impl Diagnostic for Report<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code_text()))
    }
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help_text().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }
    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.sole.and_then(Diagnostic::source_code)
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.sole.and_then(Diagnostic::labels)
    }
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        if self.sole.is_some() {
            None
        } else {
            self.config().and_then(Diagnostic::related)
        }
    }
}

/// The error as a report for people, with colours if asked for.
pub fn render_text(error: &Error, use_color: bool) -> String {
    let theme = if use_color {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(WIDTH)
        .with_links(false);
    let report = Report::new(error);
    let mut text = String::new();
    // Only the writer can fail, and a String does not.
    let _ = handler.render_report(&mut text, &report);
    format!("{}\n", text.trim_end())
}

/// The error as one JSON object on one line: `code, message, path, line, column, help, exit_code`, and `problems` when
/// a configuration has several.
pub fn render_json(error: &Error) -> String {
    let report = Report::new(error);
    let problems = report.config().map(ConfigError::problems).unwrap_or_default();
    let place = problems.first().and_then(|problem| problem.place.as_ref());
    let path = place
        .map(|place| place.source.name().to_owned())
        .or_else(|| error.path().map(|path| path.display().to_string()));
    let mut object = serde_json::json!({
        "code": report.code_text(),
        "message": report.message,
        "path": path,
        "line": place.map(|place| place.line),
        "column": place.map(|place| place.column),
        "help": report.help_text(),
        "exit_code": error.exit_code(),
    });
    if problems.len() > 1 {
        object["problems"] = problems.iter().map(problem_json).collect();
    }
    format!("{object}\n")
}

fn problem_json(problem: &Problem) -> serde_json::Value {
    serde_json::json!({
        "code": problem.code,
        "message": problem.message,
        "path": problem.place.as_ref().map(|place| place.source.name()),
        "line": problem.place.as_ref().map(|place| place.line),
        "column": problem.place.as_ref().map(|place| place.column),
        "help": problem.help,
    })
}

/// Text of a panic, for people or as one JSON object.
fn panic_text(message: &str, location: &str, as_json: bool) -> String {
    let message = format!("snnfit stopped at {location}: {message}");
    if as_json {
        let object = serde_json::json!({
            "code": "snnfit::internal",
            "message": message,
            "path": null,
            "line": null,
            "column": null,
            "help": BUG_HELP,
            "exit_code": exit_code::INTERNAL,
        });
        format!("{object}\n")
    } else {
        render_text(&Error::Internal { message }, false)
    }
}

fn report_panic(info: &PanicHookInfo<'_>, as_json: bool) {
    let message = info.payload_as_str().unwrap_or("unknown reason");
    let location = info
        .location()
        .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    // Nothing can be done when stderr is closed too.
    let _ = std::io::stderr().write_all(panic_text(message, &location, as_json).as_bytes());
}

/// Runs `work`; a panic is reported as a bug and becomes exit code 1.
pub fn guard(as_json: bool, work: impl FnOnce() -> u8 + UnwindSafe) -> u8 {
    std::panic::set_hook(Box::new(move |info| report_panic(info, as_json)));
    std::panic::catch_unwind(work).unwrap_or(exit_code::INTERNAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_bug_with_exit_code_1() {
        assert_eq!(guard(false, || panic!("index {} out of range", 7)), exit_code::INTERNAL);
        assert_eq!(guard(false, || 9), 9);
    }

    #[test]
    fn the_text_of_a_panic_names_place_and_remedy() {
        let text = panic_text("boom", "src/a.rs:1:2", false);
        assert!(
            text.contains("src/a.rs:1:2: boom") && text.contains("this is a bug"),
            "{text}"
        );
        let json: serde_json::Value = serde_json::from_str(&panic_text("boom", "a", true)).unwrap();
        assert_eq!(json["exit_code"], 1);
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let error = Error::stdout(std::io::ErrorKind::BrokenPipe.into());
        assert_eq!(error.exit_code(), exit_code::DONE);
        assert_eq!(
            Error::stdout(std::io::ErrorKind::StorageFull.into()).exit_code(),
            exit_code::RUN
        );
    }

    #[test]
    fn causes_are_told_once_and_hints_become_help() {
        let io = std::io::Error::from(std::io::ErrorKind::NotFound);
        let error = Error::Config(ConfigError::Read {
            path: "x.toml".into(),
            source: io,
        });
        assert_eq!(
            Report::new(&error).message,
            "cannot read the configuration x.toml: entity not found"
        );
        let taken = Error::Output(data::fs::FsError::AlreadyExists { path: "a.h5".into() });
        let report = Report::new(&taken);
        assert_eq!(report.message, "a.h5: already exists and is not overwritten");
        assert_eq!(report.help_text().as_deref(), Some("choose another name or remove it"));
    }

    #[test]
    fn a_full_disk_is_told_with_what_to_do() {
        let write = |kind: std::io::ErrorKind| {
            let path = std::path::PathBuf::from("runs/a/checkpoints/step-00000015.ckpt");
            let source = data::fs::FsError::new(&path, "write the file", kind.into());
            Error::Checkpoint(CheckpointError::Write(source))
        };
        let help = write(std::io::ErrorKind::StorageFull).kind_help().unwrap();
        assert!(help.contains("--resume"), "{help}");
        assert!(write(std::io::ErrorKind::PermissionDenied).kind_help().is_none());
    }
}
