//! Which checkpoints of a run are kept, and which one a resumed run starts from.

use std::path::{Path, PathBuf};

use data::fs::FsError;

use super::{Checkpoint, CheckpointError, read, write};

/// Number of step checkpoints that are kept.
pub const KEPT_STEPS: usize = 2;
/// What [`CheckpointError::Missing`] says was found where there is no checkpoint at all.
pub const NONE: &str = "none";
const BEST: &str = "best.ckpt";

/// A checkpoint that was found, with the newer ones that could not be used.
#[derive(Debug)]
pub struct Found {
    /// Step of the file name.
    pub step: u64,
    /// The file.
    pub path: PathBuf,
    /// Its content.
    pub checkpoint: Checkpoint,
    /// Why newer checkpoints were passed over; each is worth a warning.
    pub passed_over: Vec<CheckpointError>,
}

/// Writes `step-XXXXXXXX.ckpt`, then removes all but the last [`KEPT_STEPS`]. Returns the path.
///
/// # Errors
/// As [`write`]; failure to remove an old one is an error too, because disks fill up silently otherwise.
pub fn write_step(directory: &Path, step: u64, checkpoint: &Checkpoint) -> Result<PathBuf, CheckpointError> {
    let path = step_path(directory, step);
    write(&path, checkpoint)?;
    let all = steps(directory)?;
    let n_old = all.len().saturating_sub(KEPT_STEPS);
    for (_, old) in all.iter().filter(|(other, _)| *other != step).take(n_old) {
        std::fs::remove_file(old).map_err(|source| FsError::new(old, "remove the old checkpoint", source))?;
    }
    Ok(path)
}

/// Writes `best.ckpt`. Returns the path.
///
/// # Errors
/// As [`write`].
pub fn write_best(directory: &Path, checkpoint: &Checkpoint) -> Result<PathBuf, CheckpointError> {
    let path = directory.join(BEST);
    write(&path, checkpoint)?;
    Ok(path)
}

/// Reads `best.ckpt`.
///
/// # Errors
/// [`CheckpointError::Missing`] when there is none, otherwise as [`read`].
pub fn best(directory: &Path) -> Result<Checkpoint, CheckpointError> {
    let path = directory.join(BEST);
    if path.exists() {
        read(&path)
    } else {
        Err(missing(directory, "best"))
    }
}

/// Reads the checkpoint of one step.
///
/// # Errors
/// [`CheckpointError::Missing`] with the steps there are, otherwise as [`read`].
pub fn find_step(directory: &Path, step: u64) -> Result<Checkpoint, CheckpointError> {
    let path = step_path(directory, step);
    if path.exists() {
        read(&path)
    } else {
        Err(missing(directory, &format!("step-{step}")))
    }
}

/// The newest step checkpoint that can be read; damaged newer ones are passed over and reported.
///
/// # Errors
/// [`CheckpointError::Missing`] when there is none at all; the first failure when none can be read; a checkpoint of a
/// newer program at once, because falling back behind it would lose its progress.
pub fn latest_intact(directory: &Path) -> Result<Found, CheckpointError> {
    let mut passed_over = Vec::new();
    for (step, path) in steps(directory)?.into_iter().rev() {
        match read(&path) {
            Ok(checkpoint) => {
                return Ok(Found {
                    step,
                    path,
                    checkpoint,
                    passed_over,
                });
            }
            Err(newer @ CheckpointError::Newer { .. }) => return Err(newer),
            Err(error) => passed_over.push(error),
        }
    }
    Err(passed_over
        .into_iter()
        .next()
        .unwrap_or_else(|| missing(directory, "step")))
}

/// Steps and paths of all step checkpoints, oldest first.
///
/// # Errors
/// When the directory can't be listed.
pub fn steps(directory: &Path) -> Result<Vec<(u64, PathBuf)>, CheckpointError> {
    let cannot_list = |source| CheckpointError::Read {
        path: directory.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(cannot_list)? {
        let path = entry.map_err(cannot_list)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let digits = name.strip_prefix("step-").and_then(|rest| rest.strip_suffix(".ckpt"));
        if let Some(step) = digits.and_then(|digits| digits.parse().ok()) {
            found.push((step, path));
        }
    }
    found.sort();
    Ok(found)
}

fn step_path(directory: &Path, step: u64) -> PathBuf {
    directory.join(format!("step-{step:08}.ckpt"))
}

fn missing(directory: &Path, wanted: &str) -> CheckpointError {
    let steps = steps(directory).unwrap_or_default();
    let mut found: Vec<String> = steps.iter().map(|(step, _)| format!("step {step}")).collect();
    if directory.join(BEST).exists() {
        found.push("best".to_owned());
    }
    let found = if found.is_empty() {
        NONE.to_owned()
    } else {
        found.join(", ")
    };
    CheckpointError::Missing {
        directory: directory.to_owned(),
        wanted: wanted.to_owned(),
        found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(step: u64) -> Checkpoint {
        Checkpoint::new(&serde_json::json!({ "step": step })).unwrap()
    }

    #[test]
    fn the_last_two_steps_and_the_best_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        write_best(folder.path(), &checkpoint(7)).unwrap();
        for step in [10, 20, 30, 40] {
            write_step(folder.path(), step, &checkpoint(step)).unwrap();
        }
        let kept: Vec<u64> = steps(folder.path()).unwrap().iter().map(|(step, _)| *step).collect();
        assert_eq!(kept, [30, 40]);
        assert_eq!(best(folder.path()).unwrap(), checkpoint(7));
        let message = find_step(folder.path(), 20).unwrap_err().to_string();
        assert!(message.contains("step 30, step 40, best"), "{message}");
    }

    #[test]
    fn a_damaged_checkpoint_falls_back_to_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        write_step(folder.path(), 1, &checkpoint(1)).unwrap();
        let newest = write_step(folder.path(), 2, &checkpoint(2)).unwrap();
        let bytes = std::fs::read(&newest).unwrap();
        std::fs::write(&newest, &bytes[..bytes.len() - 1]).unwrap();
        let found = latest_intact(folder.path()).unwrap();
        assert_eq!(
            (found.step, found.checkpoint, found.passed_over.len()),
            (1, checkpoint(1), 1)
        );
    }

    #[test]
    fn a_newer_checkpoint_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        write_step(folder.path(), 1, &checkpoint(1)).unwrap();
        let newest = write_step(folder.path(), 2, &checkpoint(2)).unwrap();
        let mut bytes = std::fs::read(&newest).unwrap();
        bytes[8] = 9;
        std::fs::write(&newest, &bytes).unwrap();
        assert!(matches!(
            latest_intact(folder.path()),
            Err(CheckpointError::Newer { found: 9, .. })
        ));
    }

    #[test]
    fn an_empty_directory_has_no_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            latest_intact(folder.path()),
            Err(CheckpointError::Missing { .. })
        ));
    }
}
