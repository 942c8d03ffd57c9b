//! `events.ndjson`: one JSON object per line, what happened during a run.
//!
//! A resumed run appends to the same file. The steps that the interrupted run had taken after its last checkpoint are
//! then there twice; [`read`] returns each step once.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use data::fs::FsError;
use serde::{Deserialize, Deserializer, Serialize};

/// One line. Numbers that are not finite are written as `null` and read as NaN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A process began to train.
    Start {
        /// Version of this format.
        schema: u32,
        /// Step from which it goes on; 0 for a new run.
        step: u64,
        /// Time, UTC.
        time: String,
        /// Floor of each weighted validation loss: training trials in the model's place.
        #[serde(default)]
        floors: BTreeMap<String, Number>,
    },
    /// One logged step.
    Step(StepEvent),
    /// One validation.
    Validation {
        /// Steps taken.
        step: u64,
        /// Losses with their weights, by name.
        losses: BTreeMap<String, Number>,
        /// Their sum.
        total: Number,
        /// Whether it is the best so far.
        is_best: bool,
    },
    /// A checkpoint was written.
    Checkpoint {
        /// Steps taken.
        step: u64,
        /// File, in `checkpoints/`.
        file: String,
    },
    /// Values were not finite; the step was not applied.
    NonFinite {
        /// The step.
        step: u64,
        /// Loss, gradient or parameter, with the first index.
        what: String,
    },
    /// Something the user should know.
    Warning {
        /// The text.
        text: String,
    },
    /// The process stopped.
    Stop {
        /// Steps taken.
        step: u64,
        /// Why.
        reason: crate::run_dir::StopReason,
        /// Time, UTC.
        time: String,
    },
}

/// One logged training step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepEvent {
    /// Steps taken, from 1.
    pub step: u64,
    /// Passes through the training trials: model trials so far / training trials.
    pub epoch: f64,
    /// Wall time of this process, s.
    pub wall_s: f64,
    /// Losses with their weights, by name.
    pub losses: BTreeMap<String, Number>,
    /// Norm of the gradient before the update.
    pub grad_norm: Number,
    /// Learning rate.
    pub lr: f64,
    /// Steps skipped so far because values were not finite.
    pub skipped: u64,
}

/// A number that may be NaN: `null` in JSON.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(transparent)]
pub struct Number(pub f64);

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || (self.0.is_nan() && other.0.is_nan())
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<f64>::deserialize(deserializer).map(|value| Self(value.unwrap_or(f64::NAN)))
    }
}

/// The open file of a running process.
#[derive(Debug)]
pub struct EventLog {
    file: File,
    path: PathBuf,
}

impl EventLog {
    /// Opens for appending, creates if absent. A last line that a crash left incomplete is cut off.
    ///
    /// # Errors
    /// [`FsError`] with the path.
    pub fn open(path: &Path) -> Result<Self, FsError> {
        let fail = |action| move |source| FsError::new(path, action, source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(fail("open the event log"))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(fail("read the event log"))?;
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        if whole < text.len() {
            file.set_len(whole as u64).map_err(fail("repair the event log"))?;
        }
        file.seek(SeekFrom::Start(whole as u64))
            .map_err(fail("open the event log"))?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Appends one line, in a single write.
    ///
    /// # Errors
    /// [`FsError`] with the path.
    pub fn append(&mut self, event: &Event) -> Result<(), FsError> {
        let fail = |source| FsError::new(&self.path, "write the event log", source);
        let mut line = serde_json::to_vec(event).map_err(|error| fail(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(fail)
    }
}

/// Why an event log can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The file can't be read.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A line other than an incomplete last one is not an event.
    #[error("{}: line {line} is not an event: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// Written by a newer program.
    #[error("{}: events of schema {found}; this program reads up to schema {SCHEMA}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
    },
}

/// Version of the events that this program writes; it reads this and older ones.
pub const SCHEMA: u32 = 1;

/// Reads all events. After a `start` at step s, earlier events of steps beyond s are left out: they were redone.
/// An incomplete last line is ignored, so a running process may be watched.
///
/// # Errors
/// [`EventError`].
pub fn read(path: &Path) -> Result<Vec<Event>, EventError> {
    let text = std::fs::read(path).map_err(|source| FsError::new(path, "read the event log", source))?;
    let mut events = Vec::new();
    for (i, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let Some(line) = line.strip_suffix(b"\n") else { break };
        let event: Event = serde_json::from_slice(line).map_err(|source| EventError::Line {
            path: path.to_owned(),
            line: i + 1,
            source,
        })?;
        if let Event::Start { step, schema, .. } = event {
            if schema > SCHEMA {
                return Err(EventError::Newer {
                    path: path.to_owned(),
                    found: schema,
                });
            }
            events.retain(|earlier| step_of(earlier).is_none_or(|earlier| earlier <= step));
        }
        events.push(event);
    }
    Ok(events)
}

fn step_of(event: &Event) -> Option<u64> {
    match event {
        Event::Step(step) => Some(step.step),
        Event::Validation { step, .. } | Event::Checkpoint { step, .. } | Event::NonFinite { step, .. } => Some(*step),
        Event::Start { .. } | Event::Warning { .. } | Event::Stop { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64, loss: f64) -> Event {
        Event::Step(StepEvent {
            step,
            epoch: 0.5,
            wall_s: 1.25,
            losses: BTreeMap::from([("psth".to_owned(), Number(loss))]),
            grad_norm: Number(2.0),
            lr: 5e-4,
            skipped: 0,
        })
    }

    fn start(step: u64) -> Event {
        Event::Start {
            schema: 1,
            step,
            time: "2026-01-01T00:00:00Z".to_owned(),
            floors: BTreeMap::new(),
        }
    }

    #[test]
    fn lines_have_the_documented_form() {
        assert_eq!(
            serde_json::to_string(&step(10, f64::NAN)).unwrap(),
            r#"{"event":"step","step":10,"epoch":0.5,"wall_s":1.25,"losses":{"psth":null},"grad_norm":2.0,"lr":0.0005,"skipped":0}"#
        );
    }

    #[test]
    fn a_resumed_log_returns_each_step_once_and_repairs_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.ndjson");
        let mut log = EventLog::open(&path).unwrap();
        for event in [start(0), step(10, 3.0), step(20, 2.0), step(30, 1.0)] {
            log.append(&event).unwrap();
        }
        drop(log);
        let mut torn = std::fs::read(&path).unwrap();
        torn.extend_from_slice(b"{\"event\":\"step\",\"st");
        std::fs::write(&path, torn).unwrap();
        assert_eq!(read(&path).unwrap().len(), 4);
        let mut log = EventLog::open(&path).unwrap();
        log.append(&start(20)).unwrap();
        log.append(&step(30, f64::NAN)).unwrap();
        let expected = [start(0), step(10, 3.0), step(20, 2.0), start(20), step(30, f64::NAN)];
        assert_eq!(read(&path).unwrap(), expected);
    }

    #[test]
    fn a_broken_line_in_the_middle_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.ndjson");
        std::fs::write(&path, "{\"event\":\"warning\",\"text\":\"a\"}\n{]\n{}\n").unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("line 2"), "{message}");
    }
}
