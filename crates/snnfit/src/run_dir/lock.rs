//! One process at a time may train in a run directory.
//!
//! The lock is the kernel's lock on the file `lock`, which ends with the process however that ends. Its content says
//! who holds it; an empty file means nobody does. The file is never removed, so no two processes can hold different
//! files of that name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use data::fs::FsError;
use serde::{Deserialize, Serialize};

use super::RunError;
use crate::provenance;

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockOwner {
    /// Process identifier.
    pub pid: u32,
    /// Machine.
    pub host: String,
    /// Time of locking, UTC.
    pub since: String,
}

impl LockOwner {
    fn this_process() -> Self {
        Self {
            pid: std::process::id(),
            host: provenance::host(),
            since: provenance::now_utc(),
        }
    }
}

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock of the run directory `run`, whose lock file is `path`; with a warning if a dead process had left
    /// it locked.
    pub(super) fn acquire(path: &Path, run: &Path) -> Result<(Self, Option<String>), RunError> {
        let fail = |action| move |source| FsError::new(path, action, source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(fail("open the lock"))?;
        let is_held = match file.try_lock() {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(source)) => return Err(fail("take the lock")(source).into()),
        };
        let mut text = String::new();
        // What is not a lock owner (a torn write of a process that died) is treated like an unknown owner.
        let read = (&mut file).take(4096).read_to_string(&mut text);
        let owner: Option<LockOwner> = read.ok().and_then(|_| serde_json::from_str(&text).ok());
        let unknown = || LockOwner {
            pid: 0,
            host: "unknown".to_owned(),
            since: "an unknown time".to_owned(),
        };
        if is_held {
            return Err(RunError::Locked {
                path: run.to_owned(),
                owner: owner.unwrap_or_else(unknown),
            });
        }
        let me = LockOwner::this_process();
        let warning = match owner {
            Some(owner) if owner.host != me.host => {
                return Err(RunError::LockedElsewhere {
                    path: run.to_owned(),
                    owner,
                });
            }
            Some(owner) => Some(format!(
                "{}: process {} died while it held the lock (since {}); taking it over",
                run.display(),
                owner.pid,
                owner.since
            )),
            None => None,
        };
        let mut lock = Self {
            file,
            path: path.to_owned(),
        };
        lock.write(&me).map_err(fail("write the lock"))?;
        Ok((lock, warning))
    }

    fn write(&mut self, owner: &LockOwner) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(serde_json::to_string(owner)?.as_bytes())?;
        self.file.sync_all()
    }

    pub(super) fn moved_to(&mut self, path: &Path) {
        path.clone_into(&mut self.path);
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // If this fails, the next process warns and takes over: the kernel releases the lock in any case.
        let _ = self.file.set_len(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(host: &str) -> String {
        let owner = LockOwner {
            pid: 4121,
            host: host.to_owned(),
            since: "2026-01-01T14:02:00Z".to_owned(),
        };
        serde_json::to_string(&owner).unwrap()
    }

    #[test]
    fn the_lock_of_a_dead_process_is_taken_over_with_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::fs::write(&path, owner(&provenance::host())).unwrap();
        let (lock, warning) = Lock::acquire(&path, folder.path()).unwrap();
        assert!(warning.unwrap().contains("process 4121 died"));
        let held: LockOwner = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(held.pid, std::process::id());
        drop(lock);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }

    #[test]
    fn a_lock_of_another_host_is_respected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::fs::write(&path, owner("elsewhere.example")).unwrap();
        let error = Lock::acquire(&path, folder.path()).unwrap_err();
        assert!(matches!(error, RunError::LockedElsewhere { .. }));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), owner("elsewhere.example"));
    }

    #[test]
    fn a_held_lock_names_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let (_lock, _) = Lock::acquire(&path, folder.path()).unwrap();
        let message = Lock::acquire(&path, folder.path()).unwrap_err().to_string();
        assert!(
            message.contains(&format!("in use by process {} on host", std::process::id())),
            "{message}"
        );
    }
}
