//! Errors of the configuration, each with its place in the file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

/// Where a problem stands: a text and the range of bytes in it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Name of the text (path of the file, or `--set`) with the text.
    pub source: Arc<NamedSource<String>>,
    /// First byte and length.
    pub span: (usize, usize),
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Whether the lines around it are short enough to be shown.
    can_be_shown: bool,
}

/// Longer lines are not shown in errors, bytes.
const MAX_SHOWN_LINE: usize = 400;

impl Place {
    pub(crate) fn new(source: Arc<NamedSource<String>>, span: std::ops::Range<usize>) -> Self {
        let text = source.inner();
        let start = floor_char_boundary(text, span.start);
        let end = floor_char_boundary(text, span.end).max(start);
        let before = text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let from_line = line.saturating_sub(2);
        let n_lines = text.get(start..end).unwrap_or_default().matches('\n').count() + 3;
        let can_be_shown = text
            .lines()
            .skip(from_line)
            .take(n_lines)
            .all(|line| line.len() <= MAX_SHOWN_LINE);
        Self {
            source,
            span: (start, end - start),
            line,
            column,
            can_be_shown,
        }
    }
}

fn floor_char_boundary(text: &str, index: usize) -> usize {
    (0..=index.min(text.len()))
        .rev()
        .find(|&i| text.is_char_boundary(i))
        .unwrap_or(0)
}

/// One problem of a configuration.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Code, e.g. `snnfit::config::unknown_key`.
    pub code: &'static str,
    /// What is wrong: what was found and what was expected.
    pub message: String,
    /// Text at the place; `None` underlines it only.
    pub label: Option<String>,
    /// What to do.
    pub help: Option<String>,
    /// Where; `None` when the value is a default or a key is missing altogether.
    pub place: Option<Place>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.place {
            Some(place) if !place.can_be_shown => {
                write!(
                    f,
                    " ({}, line {}, column {})",
                    place.source.name(),
                    place.line,
                    place.column
                )
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }
    fn source_code(&self) -> Option<&dyn SourceCode> {
        let place = self.place.as_ref().filter(|place| place.can_be_shown)?;
        Some(&*place.source)
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.place.as_ref().filter(|place| place.can_be_shown)?;
        let label = LabeledSpan::new(self.label.clone(), place.span.0, place.span.1);
        Some(Box::new(std::iter::once(label)))
    }
}

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The path is not a file.
    #[error("the configuration {} is {found}, not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The file is too large to be a configuration.
    #[error("the configuration {} has {bytes} bytes; at most {limit} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The file is not UTF-8 text.
    #[error("the configuration {} is not UTF-8 text: invalid byte at line {line}, column {column}", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Line of the first invalid byte, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
    },
    /// A path can't be written in TOML.
    #[error("the path {} is not UTF-8 and can't be written to run.toml", path.display())]
    PathNotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// The model is another one than a command takes.
    #[error("{name} has [model.{found}]; this command takes [model.{expected}]")]
    OtherModel {
        /// Name of the text.
        name: String,
        /// Its model.
        found: &'static str,
        /// The model that is taken.
        expected: &'static str,
    },
    /// The text can be read but not used.
    #[error("invalid configuration: {} problems", problems.len())]
    Invalid {
        /// All problems found, at least one.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    /// All problems with a place, for machine-readable reports.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid { problems } => problems,
            _ => &[],
        }
    }

    /// The file this is about, when it is about a file as a whole.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Read { path, .. }
            | Self::NotAFile { path, .. }
            | Self::TooLarge { path, .. }
            | Self::NotUtf8 { path, .. }
            | Self::PathNotUtf8 { path } => Some(path),
            Self::Invalid { .. } | Self::OtherModel { .. } => None,
        }
    }

    fn fixed_code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "snnfit::config::read",
            Self::NotAFile { .. } => "snnfit::config::not_a_file",
            Self::TooLarge { .. } => "snnfit::config::too_large",
            Self::NotUtf8 { .. } => "snnfit::config::not_utf8",
            Self::PathNotUtf8 { .. } => "snnfit::config::path",
            Self::OtherModel { .. } => "snnfit::config::model",
            Self::Invalid { .. } => "snnfit::config::invalid",
        }
    }

    fn fixed_help(&self) -> &'static str {
        match self {
            Self::Read { .. } | Self::NotAFile { .. } => {
                "`snnfit config init --model rsnn > my.toml` writes a configuration to start from"
            }
            Self::TooLarge { .. } => "a configuration is a short text; is this the recording?",
            Self::NotUtf8 { .. } => "save the file as UTF-8",
            Self::PathNotUtf8 { .. } => "rename the file or its folder",
            Self::OtherModel { .. } => "docs/LIMITS.md says what is not there yet",
            Self::Invalid { .. } => "all problems found are listed; `snnfit config schema` explains every key",
        }
    }
}

impl Diagnostic for ConfigError {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.fixed_code()))
    }
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.fixed_help()))
    }
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        match self {
            Self::Invalid { problems } => Some(Box::new(problems.iter().map(|problem| problem as &dyn Diagnostic))),
            _ => None,
        }
    }
}
