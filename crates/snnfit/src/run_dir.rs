//! The directory of one run: what it contains, who may write to it.
//!
//! `run.toml` (resolved configuration) · `manifest.json` (provenance) · `splits.json` · `events.ndjson` ·
//! `tensorboard/` · `checkpoints/` · `lock`; `evaluate` adds `metrics.json` and `report/`. A new directory appears complete or not at
//! all: it is filled under another name and then renamed.

mod lock;
mod manifest;

use std::io::Write;
use std::path::{Path, PathBuf};

use data::fs::FsError;
use serde::Serialize;

pub use lock::{Lock, LockOwner};
pub use manifest::{Attempt, DataFile, InitialRun, LeftOut, Manifest, StopReason};

/// Why a run directory can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// It is there already.
    #[error("{} exists already; a run needs a new directory", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// It would lie inside a file.
    #[error("{} is a file, not a directory", path.display())]
    ParentIsFile {
        /// The file.
        path: PathBuf,
    },
    /// It isn't there, or isn't one.
    #[error("{} is not a run directory: {found}", path.display())]
    NotARun {
        /// The path.
        path: PathBuf,
        /// What was found instead.
        found: String,
    },
    /// Another process trains on it.
    #[error("{} is in use by process {} on host {} since {}", path.display(), owner.pid, owner.host, owner.since)]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process.
        owner: LockOwner,
    },
    /// Another host had it locked and it can't be seen whether that process still runs.
    #[error(
        "{} was locked by process {} on host {} since {}, and it cannot be seen from here whether that still runs",
        path.display(), owner.pid, owner.host, owner.since
    )]
    LockedElsewhere {
        /// The directory.
        path: PathBuf,
        /// The process.
        owner: LockOwner,
    },
    /// The manifest can't be understood.
    #[error("{}: not a manifest: {what}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Where and why.
        what: String,
    },
    /// The manifest was written by a newer program.
    #[error("{}: manifest schema {found}; this program reads up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// Reading or writing failed.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// An existing run directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Creates a run directory with its first files, locked for this process.
    ///
    /// `run_toml` is the resolved configuration ([`crate::config::to_toml`]), `splits` the division of the trials.
    /// Missing parent directories are created. If anything fails, nothing is left at `path`.
    ///
    /// # Errors
    /// [`RunError::Exists`] when `path` is there, even empty; [`RunError::Fs`] when something can't be written.
    pub fn create(
        path: &Path,
        run_toml: &str,
        manifest: &Manifest,
        splits: &impl Serialize,
    ) -> Result<(Self, Lock), RunError> {
        Self::check_free(path)?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let fail = |action| move |source| FsError::new(path, action, source);
        if let Some(file) = parent.ancestors().find(|a| a.is_file()) {
            return Err(RunError::ParentIsFile { path: file.to_owned() });
        }
        std::fs::create_dir_all(parent).map_err(|source| FsError::new(parent, "create the directory", source))?;
        let partial = tempfile::Builder::new()
            .prefix(".snnfit-")
            .suffix(".tmp")
            .tempdir_in(parent)
            .map_err(fail("create the run directory"))?;
        let run = Self {
            path: partial.path().to_owned(),
        };
        std::fs::create_dir(run.checkpoints()).map_err(fail("create the run directory"))?;
        data::fs::write_new(&run.run_toml(), |file| file.write_all(run_toml.as_bytes()))?;
        write_json(&run.splits(), splits)?;
        write_json(&run.manifest_path(), manifest)?;
        let (mut lock, _) = run.lock()?;
        set_permissions_of_a_new_directory(partial.path()).map_err(fail("create the run directory"))?;
        Self::check_free(path)?;
        std::fs::rename(partial.path(), path).map_err(fail("create the run directory"))?;
        // The directory has moved: nothing is left to remove under the old name.
        let _ = partial.keep();
        std::fs::File::open(parent)
            .and_then(|directory| directory.sync_all())
            .map_err(fail("sync the run directory"))?;
        let run = Self { path: path.to_owned() };
        lock.moved_to(&run.lock_path());
        Ok((run, lock))
    }

    /// Refuses a path at which something is: a file, a directory, or a dangling link.
    ///
    /// # Errors
    /// [`RunError::Exists`].
    pub fn check_free(path: &Path) -> Result<(), RunError> {
        match std::fs::symlink_metadata(path) {
            Ok(_) => Err(RunError::Exists { path: path.to_owned() }),
            Err(_) => Ok(()),
        }
    }

    /// Opens an existing run directory for reading; training needs [`RunDir::lock`] too.
    ///
    /// # Errors
    /// [`RunError::NotARun`] when it lacks `run.toml` or `manifest.json`.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let not_a_run = |found: &str| RunError::NotARun {
            path: path.to_owned(),
            found: found.to_owned(),
        };
        if !path.exists() {
            return Err(not_a_run("it does not exist"));
        }
        if !path.is_dir() {
            return Err(not_a_run("it is not a directory"));
        }
        let run = Self { path: path.to_owned() };
        for file in [run.run_toml(), run.manifest_path()] {
            if !file.is_file() {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                return Err(not_a_run(&format!("it has no {name}")));
            }
        }
        Ok(run)
    }

    /// Locks the directory for training, until the [`Lock`] is dropped or the process ends. The second value is a
    /// warning when a process that died had left its lock; its temporary files are removed.
    ///
    /// # Errors
    /// [`RunError::Locked`] when another process holds it.
    pub fn lock(&self) -> Result<(Lock, Option<String>), RunError> {
        let (lock, warning) = Lock::acquire(&self.lock_path(), &self.path)?;
        for directory in [self.path.clone(), self.checkpoints(), self.tensorboard()] {
            remove_left_overs(&directory)?;
        }
        Ok((lock, warning))
    }

    /// Name of the directory.
    pub fn name(&self) -> String {
        let whole = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let name = whole.file_name().map(|name| name.to_string_lossy().into_owned());
        name.unwrap_or_else(|| self.path.display().to_string())
    }
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The resolved configuration.
    pub fn run_toml(&self) -> PathBuf {
        self.path.join("run.toml")
    }
    /// The division of the trials.
    pub fn splits(&self) -> PathBuf {
        self.path.join("splits.json")
    }
    /// The event log.
    pub fn events(&self) -> PathBuf {
        self.path.join("events.ndjson")
    }
    /// The directory of checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }
    /// The directory of the file for TensorBoard.
    pub fn tensorboard(&self) -> PathBuf {
        self.path.join("tensorboard")
    }
    /// Replaces `run.toml`, if it differs.
    ///
    /// # Errors
    /// When it can't be written; the old one is then still there.
    pub fn write_run_toml(&self, run_toml: &str) -> Result<(), RunError> {
        let path = self.run_toml();
        if std::fs::read_to_string(&path).is_ok_and(|old| old == run_toml) {
            return Ok(());
        }
        Ok(data::fs::write_atomic(&path, |file| {
            file.write_all(run_toml.as_bytes())
        })?)
    }
    /// The result of `evaluate` on test trials; on another split, `metrics-<split>.json`.
    pub fn metrics(&self, split: &str) -> PathBuf {
        self.path.join(match split {
            "test" => "metrics.json".to_owned(),
            other => format!("metrics-{other}.json"),
        })
    }
    /// How far `evaluate` found the weights to be those of a known network.
    pub fn couplings(&self) -> PathBuf {
        self.path.join("couplings.json")
    }

    /// What `evaluate` found a perturbation to change: `perturbation.json`, or `perturbation-<name>.json`.
    pub fn perturbation(&self, name: Option<&str>) -> PathBuf {
        self.path.join(match name {
            None => "perturbation.json".to_owned(),
            Some(name) => format!("perturbation-{name}.json"),
        })
    }
    /// The pictures of `evaluate` on test trials; on another split, `report-<split>`.
    pub fn report(&self, split: &str) -> PathBuf {
        self.path.join(match split {
            "test" => "report".to_owned(),
            other => format!("report-{other}"),
        })
    }
    fn manifest_path(&self) -> PathBuf {
        self.path.join("manifest.json")
    }
    fn lock_path(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// Reads the manifest.
    ///
    /// # Errors
    /// [`RunError::Newer`], [`RunError::Manifest`] or [`RunError::Fs`].
    pub fn manifest(&self) -> Result<Manifest, RunError> {
        manifest::read(&self.manifest_path())
    }

    /// Changes the manifest in one step. Safe against other processes that update it at the same time, such as two
    /// evaluations that both count their opening of the test trials.
    ///
    /// # Errors
    /// As [`RunDir::manifest`], or when it can't be written.
    pub fn update_manifest(&self, change: impl FnOnce(&mut Manifest)) -> Result<Manifest, RunError> {
        let fail = |source| FsError::new(&self.path, "lock the run directory", source);
        let directory = std::fs::File::open(&self.path).map_err(fail)?;
        directory.lock().map_err(fail)?;
        let mut manifest = self.manifest()?;
        change(&mut manifest);
        write_json(&self.manifest_path(), &manifest)?;
        Ok(manifest)
    }
}

/// Writes pretty JSON with a final newline, in one step.
fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FsError> {
    data::fs::write_atomic(path, |file| {
        serde_json::to_writer_pretty(&mut *file, value)?;
        file.write_all(b"\n")
    })
}

/// Temporary directories are private; a run directory shall be as any other.
fn set_permissions_of_a_new_directory(path: &Path) -> std::io::Result<()> {
    let probe = path.join("checkpoints");
    std::fs::set_permissions(path, std::fs::metadata(probe)?.permissions())
}

/// Removes temporary files of a process that was killed while writing. Only the holder of the lock may do this.
fn remove_left_overs(directory: &Path) -> Result<(), FsError> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Ok(());
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_temporary = name
            .strip_prefix(".snnfit-")
            .and_then(|rest| rest.strip_suffix(".tmp"))
            .is_some();
        if is_temporary && path.is_file() {
            std::fs::remove_file(&path).map_err(|source| FsError::new(&path, "remove the left-over file", source))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(path: &Path) -> Result<(RunDir, Lock), RunError> {
        let manifest = Manifest::new(3, "cpu", 2);
        RunDir::create(path, "schema = 1\n", &manifest, &serde_json::json!({"schema": 1}))
    }

    #[test]
    fn a_new_run_has_its_first_files_and_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/run");
        let (run, lock) = create(&path).unwrap();
        assert!(matches!(
            RunDir::open(&path).unwrap().lock(),
            Err(RunError::Locked { .. })
        ));
        assert_eq!(run.manifest().unwrap().seed, 3);
        drop(lock);
        let (_lock, warning) = RunDir::open(&path).unwrap().lock().unwrap();
        assert_eq!(warning, None);
        let beside = std::fs::read_dir(folder.path().join("deep")).unwrap().count();
        assert_eq!(beside, 1);
    }

    #[test]
    fn an_existing_path_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "mine").unwrap();
        assert!(matches!(create(&file), Err(RunError::Exists { .. })));
        assert!(matches!(create(folder.path()), Err(RunError::Exists { .. })));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_left_when_creation_fails() {
        struct Unwritable;
        impl Serialize for Unwritable {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("disk full"))
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let manifest = Manifest::new(0, "cpu", 1);
        let result = RunDir::create(&folder.path().join("run"), "", &manifest, &Unwritable);
        assert!(result.is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn simultaneous_updates_of_the_manifest_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (run, _lock) = create(&folder.path().join("run")).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        run.update_manifest(|manifest| manifest.test_openings += 1).unwrap();
                    }
                });
            }
        });
        assert_eq!(run.manifest().unwrap().test_openings, 20);
    }

    #[test]
    fn temporary_files_of_a_killed_process_are_removed_under_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let (run, lock) = create(&folder.path().join("run")).unwrap();
        drop(lock);
        let left_over = run.checkpoints().join(".snnfit-abc.tmp");
        std::fs::write(&left_over, "half").unwrap();
        let (_lock, _) = run.lock().unwrap();
        assert!(!left_over.exists());
    }

    #[test]
    fn a_directory_without_a_manifest_is_not_a_run() {
        let folder = tempfile::tempdir().unwrap();
        let message = RunDir::open(folder.path()).unwrap_err().to_string();
        assert!(message.contains("no run.toml"), "{message}");
        assert!(matches!(
            RunDir::open(&folder.path().join("none")),
            Err(RunError::NotARun { .. })
        ));
    }
}
