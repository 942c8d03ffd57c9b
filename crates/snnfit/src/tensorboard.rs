//! `tensorboard/events.out.tfevents.…`: the losses of a run for TensorBoard.
//!
//! What it holds is a function of `events.ndjson` alone. A process that starts or goes on writes the file anew from the
//! log, in one step, and from then on appends each event after the log has it. So a resumed run has each step once, and
//! what a killed process left out or left torn is there again after `--resume`. Not here: the framing ([`record`]).

mod record;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use data::fs::FsError;

use crate::events::{Event, Number};
use crate::provenance;

/// Scalars of one step, as they become one record.
#[derive(Debug, Clone, PartialEq)]
struct Scalars {
    wall_time: f64,
    step: u64,
    values: Vec<(String, f64)>,
}

/// Turns events into scalars: keeps the time, which most events don't carry.
#[derive(Debug, Clone, Copy, Default)]
struct Clock {
    /// Start of the process, s since 1970.
    started: f64,
    /// Since then, at the last step event, s.
    elapsed: f64,
}

impl Clock {
    /// The scalars of an event, if it has some. A validation has the time of the last logged step.
    fn scalars(&mut self, event: &Event) -> Option<Scalars> {
        let (step, values) = match event {
            Event::Start { time, .. } => {
                // The log has whole seconds: a run that goes on at once must not go back in time.
                let before = self.started + self.elapsed;
                self.started = provenance::parse_utc(time).map_or(before, |time| before.max(time as f64));
                self.elapsed = 0.0;
                return None;
            }
            Event::Step(step) => {
                self.elapsed = step.wall_s;
                let mut values = of_losses("train/loss", &step.losses, sum(&step.losses));
                values.push(("train/lr".to_owned(), step.lr));
                values.push(("train/grad_norm".to_owned(), step.grad_norm.0));
                (step.step, values)
            }
            Event::Validation {
                step, losses, total, ..
            } => (*step, of_losses("validation/loss", losses, total.0)),
            _ => return None,
        };
        Some(Scalars {
            wall_time: self.started + self.elapsed,
            step,
            values,
        })
    }
}

fn of_losses(prefix: &str, losses: &BTreeMap<String, Number>, total: f64) -> Vec<(String, f64)> {
    let each = losses.iter().map(|(name, value)| (format!("{prefix}/{name}"), value.0));
    each.chain([(format!("{prefix}/total"), total)]).collect()
}

fn sum(losses: &BTreeMap<String, Number>) -> f64 {
    losses.values().map(|value| value.0).sum()
}

/// The open file of a running process.
#[derive(Debug)]
pub struct EventFile {
    file: File,
    path: PathBuf,
    clock: Clock,
}

impl EventFile {
    /// Writes the file of these events (those that [`crate::events::read`] returns) anew and opens it for appending.
    ///
    /// `directory` is made if it is missing. The file is named by the time of the first start, so a resumed run keeps
    /// its file. One that this program wrote for a log that is no longer there is removed: it would be shown beside it.
    ///
    /// # Errors
    /// [`FsError`] with the path.
    pub fn create(directory: &Path, events: &[Event]) -> Result<Self, FsError> {
        std::fs::create_dir_all(directory).map_err(|source| FsError::new(directory, "create the directory", source))?;
        let begun = events.iter().find_map(|event| match event {
            Event::Start { time, .. } => provenance::parse_utc(time),
            _ => None,
        });
        let path = directory.join(format!("events.out.tfevents.{:010}.snnfit", begun.unwrap_or(0)));
        let mut clock = Clock::default();
        let mut bytes = record::file_version(begun.unwrap_or(0) as f64);
        for scalars in events.iter().filter_map(|event| clock.scalars(event)) {
            bytes.extend(record::scalars(scalars.wall_time, scalars.step, &scalars.values));
        }
        data::fs::write_atomic(&path, |file| file.write_all(&bytes))?;
        remove_others(directory, &path)?;
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(|source| FsError::new(&path, "open the TensorBoard file", source))?;
        Ok(Self { file, path, clock })
    }

    /// Appends an event, in a single write; events without scalars are passed over.
    ///
    /// # Errors
    /// [`FsError`] with the path.
    pub fn append(&mut self, event: &Event) -> Result<(), FsError> {
        let Some(scalars) = self.clock.scalars(event) else {
            return Ok(());
        };
        let bytes = record::scalars(scalars.wall_time, scalars.step, &scalars.values);
        self.file
            .write_all(&bytes)
            .map_err(|source| FsError::new(&self.path, "write the TensorBoard file", source))
    }
}

/// Removes files of an earlier log.
fn remove_others(directory: &Path, kept: &Path) -> Result<(), FsError> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Ok(());
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_ours = name.starts_with("events.out.tfevents.") && name.ends_with(".snnfit");
        if is_ours && path != kept && path.is_file() {
            std::fs::remove_file(&path)
                .map_err(|source| FsError::new(&path, "remove the old TensorBoard file", source))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::StepEvent;

    fn start(step: u64, time: &str) -> Event {
        Event::Start {
            schema: 1,
            step,
            time: time.to_owned(),
            floors: BTreeMap::new(),
        }
    }

    fn step(step: u64, wall_s: f64) -> Event {
        Event::Step(StepEvent {
            step,
            epoch: 1.0,
            wall_s,
            losses: BTreeMap::from([("a".to_owned(), Number(1.5)), ("b".to_owned(), Number(2.0))]),
            grad_norm: Number(f64::NAN),
            lr: 1e-3,
            skipped: 0,
        })
    }

    fn validation(step: u64) -> Event {
        Event::Validation {
            step,
            losses: BTreeMap::from([("a".to_owned(), Number(4.0))]),
            total: Number(4.0),
            is_best: true,
        }
    }

    #[test]
    fn events_become_scalars_at_the_time_of_their_process() {
        let mut clock = Clock::default();
        assert_eq!(clock.scalars(&start(0, "1970-01-01T00:01:00Z")), None);
        let found = clock.scalars(&step(10, 2.5)).unwrap();
        assert_eq!((found.wall_time, found.step), (62.5, 10));
        let names: Vec<&str> = found.values.iter().map(|(name, _)| name.as_str()).collect();
        let expected = [
            "train/loss/a",
            "train/loss/b",
            "train/loss/total",
            "train/lr",
            "train/grad_norm",
        ];
        assert_eq!(names, expected);
        assert_eq!(found.values[2].1, 3.5);
        let found = clock.scalars(&validation(10)).unwrap();
        assert_eq!((found.wall_time, found.step), (62.5, 10));
        assert_eq!(found.values[1], ("validation/loss/total".to_owned(), 4.0));
        clock.scalars(&start(10, "1970-01-01T01:00:00Z"));
        assert_eq!(clock.scalars(&step(20, 1.0)).unwrap().wall_time, 3601.0);
        clock.scalars(&start(20, "1970-01-01T01:00:00Z"));
        assert_eq!(clock.scalars(&step(30, 0.5)).unwrap().wall_time, 3601.5);
    }

    #[test]
    fn what_is_appended_equals_what_is_written_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let events = [
            start(0, "2026-01-01T00:00:00Z"),
            step(1, 0.5),
            validation(1),
            step(2, 1.0),
        ];
        let mut file = EventFile::create(&folder.path().join("one"), &events[..1]).unwrap();
        for event in &events[1..] {
            file.append(event).unwrap();
        }
        let whole = EventFile::create(&folder.path().join("two"), &events).unwrap();
        assert_eq!(std::fs::read(&file.path).unwrap(), std::fs::read(&whole.path).unwrap());
        let name = file.path.file_name().unwrap().to_str().unwrap();
        assert_eq!(name, "events.out.tfevents.1767225600.snnfit");
    }
}
