//! Files whose errors name their path, and writes that are either complete or absent.
//!
//! Every file snnfit writes goes through here: content goes to a temporary sibling, is synced, then
//! renamed, and the directory is synced. A crash leaves the old file or the new one, never a mix.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempDir};
use thiserror::Error;

/// An error of the file system, with the path and what was tried.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FsError {
    /// An operation failed.
    #[error("{}: could not {action}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, as in "could not …".
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The target exists and must not be overwritten.
    #[error("{}: already exists and is not overwritten (hint: choose another name or remove it)", path.display())]
    AlreadyExists {
        /// The target.
        path: PathBuf,
    },
}

impl FsError {
    /// An [`FsError::Io`], or [`FsError::AlreadyExists`] where that is the reason.
    pub fn new(path: impl Into<PathBuf>, action: &'static str, source: io::Error) -> Self {
        let path = path.into();
        if source.kind() == io::ErrorKind::AlreadyExists {
            Self::AlreadyExists { path }
        } else {
            Self::Io { path, action, source }
        }
    }
}

/// Whether an existing file may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Refuse to touch it.
    Refuse,
    /// Replace it in one step.
    Replace,
}

/// Writes a file in one step, replacing an existing one.
///
/// `fill` writes the content into a buffered temporary sibling.
///
/// # Errors
/// [`FsError`] naming `path`; an existing file is then unchanged and no temporary file is left.
pub fn write_atomic(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> Result<(), FsError> {
    write_with(path, Existing::Replace, fill)
}

/// As [`write_atomic`], but refuses to replace an existing file.
///
/// # Errors
/// [`FsError::AlreadyExists`] if `path` exists, otherwise as [`write_atomic`].
pub fn write_new(path: &Path, fill: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>) -> Result<(), FsError> {
    write_with(path, Existing::Refuse, fill)
}

fn write_with(
    path: &Path,
    existing: Existing,
    fill: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> Result<(), FsError> {
    let sibling = Sibling::create(path, existing)?;
    let fail = |source| FsError::new(path, "write the file", source);
    let mut file = OpenOptions::new().write(true).open(sibling.path()).map_err(fail)?;
    let mut writer = BufWriter::new(&mut file);
    fill(&mut writer).and_then(|()| writer.flush()).map_err(fail)?;
    drop(writer);
    sibling.commit()
}

/// A temporary file or folder beside its target, removed with all that is in it unless committed.
///
/// For writers such as HDF5 that want a path, and for folders; single files use [`write_atomic`].
#[derive(Debug)]
pub struct Sibling {
    target: PathBuf,
    existing: Existing,
    temporary: Temporary,
}

#[derive(Debug)]
enum Temporary {
    File(NamedTempFile),
    Folder(TempDir),
}

/// Names of temporary files and folders; the umask decides on permissions, as for any file (the library's default is private).
fn builder(#[cfg_attr(not(unix), allow(unused_variables))] mode: u32) -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".snnfit-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(mode));
    }
    builder
}

impl Sibling {
    /// Creates the empty temporary file in the directory of `target`, which is made first for a new target.
    ///
    /// # Errors
    /// [`FsError::AlreadyExists`] if the target exists and `existing` is [`Existing::Refuse`];
    /// [`FsError::Io`] if the directory can't be made or is not writable, or if the target is a directory.
    pub fn create(target: &Path, existing: Existing) -> Result<Self, FsError> {
        match existing {
            Existing::Refuse => {
                refuse_existing(target)?;
                create_parent(target)?;
            }
            Existing::Replace => {
                if std::fs::symlink_metadata(target).is_ok_and(|found| found.is_dir()) {
                    let source = io::Error::new(io::ErrorKind::IsADirectory, "it is a directory");
                    return Err(FsError::new(target, "write the file", source));
                }
            }
        }
        let temporary = builder(0o666)
            .tempfile_in(parent(target))
            .map_err(|source| FsError::new(target, "create a file in its directory", source))?;
        Ok(Self {
            target: target.to_path_buf(),
            existing,
            temporary: Temporary::File(temporary),
        })
    }

    /// Creates an empty temporary folder in the directory of `target`, which is made first; what is at the target is never
    /// replaced.
    ///
    /// # Errors
    /// [`FsError::AlreadyExists`] if something is at the target; [`FsError::Io`] if the directory can't be made or is not
    /// writable.
    pub fn create_folder(target: &Path) -> Result<Self, FsError> {
        refuse_existing(target)?;
        create_parent(target)?;
        let temporary = builder(0o777)
            .tempdir_in(parent(target))
            .map_err(|source| FsError::new(target, "create a folder in its directory", source))?;
        Ok(Self {
            target: target.to_path_buf(),
            existing: Existing::Refuse,
            temporary: Temporary::Folder(temporary),
        })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        match &self.temporary {
            Temporary::File(file) => file.path(),
            Temporary::Folder(folder) => folder.path(),
        }
    }

    /// Syncs the content (of a folder, its files), moves it to the target and syncs the directory.
    ///
    /// # Errors
    /// [`FsError`] naming the target; what was temporary is then removed.
    pub fn commit(self) -> Result<(), FsError> {
        let Self {
            target,
            existing,
            temporary,
        } = self;
        let fail = |action| {
            let target = target.clone();
            move |source| FsError::new(target, action, source)
        };
        match temporary {
            Temporary::File(file) => {
                // Opened anew: a library may have written through its own handle.
                let sync = || File::open(file.path())?.sync_all();
                sync().map_err(fail("sync the file"))?;
                let moved = match existing {
                    Existing::Refuse => file.persist_noclobber(&target),
                    Existing::Replace => file.persist(&target),
                };
                moved.map_err(|error| fail("move the finished file into place")(error.error))?;
            }
            Temporary::Folder(folder) => {
                let sync = || {
                    for entry in std::fs::read_dir(folder.path())? {
                        File::open(entry?.path())?.sync_all()?;
                    }
                    sync_dir(folder.path())
                };
                sync().map_err(fail("sync the folder"))?;
                // Renaming would replace an empty folder.
                refuse_existing(&target)?;
                std::fs::rename(folder.path(), &target).map_err(fail("move the finished folder into place"))?;
                // The folder has moved: nothing is left to remove under the old name.
                let _ = folder.keep();
            }
        }
        sync_dir(parent(&target)).map_err(fail("sync the directory"))
    }
}

/// Refuses a path at which something is, be it a dangling link.
///
/// # Errors
/// [`FsError::AlreadyExists`].
pub fn refuse_existing(path: &Path) -> Result<(), FsError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Err(FsError::AlreadyExists {
            path: path.to_path_buf(),
        }),
        Err(_) => Ok(()),
    }
}

/// Refuses a path at which something is, or where no file could be made, before work is spent on it. Makes nothing; folders
/// that are missing are made when the file is written.
///
/// # Errors
/// [`FsError::AlreadyExists`]; [`FsError::Io`] that names the nearest folder that is there.
pub fn check_new(path: &Path) -> Result<(), FsError> {
    refuse_existing(path)?;
    let mut folder = parent(path);
    let is_missing = |folder: &Path| {
        let found = std::fs::symlink_metadata(folder);
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    while folder != Path::new(".") && is_missing(folder) {
        folder = parent(folder);
    }
    let made = tempfile::tempfile_in(folder);
    made.map(|_| ())
        .map_err(|source| FsError::new(folder, "create a file in this directory", source))
}

/// Creates the directory of a file where it is missing, with those above it.
fn create_parent(path: &Path) -> Result<(), FsError> {
    let folder = parent(path);
    std::fs::create_dir_all(folder).map_err(|source| FsError::new(folder, "create the directory", source))
}

/// Creates a directory that must not exist yet; its parent must.
///
/// # Errors
/// [`FsError::AlreadyExists`], or [`FsError::Io`] if the parent is missing or not writable.
pub fn create_new_dir(path: &Path) -> Result<(), FsError> {
    std::fs::create_dir(path)
        .and_then(|()| sync_dir(parent(path)))
        .map_err(|source| FsError::new(path, "create the directory", source))
}

/// Reads a text file of at most `max_bytes` bytes.
///
/// # Errors
/// [`FsError::Io`] if it is missing, not a regular file, larger, or not UTF-8.
pub fn read_text(path: &Path, max_bytes: u64) -> Result<String, FsError> {
    let fail = |source| FsError::new(path, "read the file", source);
    let file = open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if bytes.len() as u64 > max_bytes {
        let message = format!("it is larger than {max_bytes} bytes");
        return Err(fail(io::Error::new(io::ErrorKind::FileTooLarge, message)));
    }
    String::from_utf8(bytes).map_err(|error| fail(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// SHA-256 of a file's bytes, as 64 hexadecimal digits.
///
/// # Errors
/// [`FsError::Io`] if the file can't be read or isn't a regular file.
pub fn sha256_of_file(path: &Path) -> Result<String, FsError> {
    let mut file = open_regular(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 16];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(n) => hasher.update(buffer.get(..n).unwrap_or(&[])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(FsError::new(path, "read the file", source)),
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Opens a file for reading; refuses directories, pipes and devices, which could block for ever.
pub(crate) fn open_regular(path: &Path) -> Result<File, FsError> {
    let fail = |source| FsError::new(path, "open the file", source);
    let metadata = std::fs::metadata(path).map_err(fail)?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() {
            "a directory"
        } else {
            "not a regular file"
        };
        return Err(fail(io::Error::other(format!("it is {kind}"))));
    }
    OpenOptions::new().read(true).open(path).map_err(fail)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    // Directories can be opened and synced on Unix only; elsewhere the rename has to do.
    if cfg!(unix) {
        File::open(path)?.sync_all()
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_temporary_file() -> TestResult {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("a.json");
        write_new(&path, |w| w.write_all(b"old"))?;
        let error = write_atomic(&path, |w| {
            w.write_all(b"new")?;
            Err(io::Error::other("disk full"))
        });
        assert!(error.is_err_and(|e| e.to_string().contains("a.json")));
        assert_eq!(std::fs::read(&path)?, b"old");
        assert_eq!(std::fs::read_dir(dir.path())?.count(), 1);
        write_atomic(&path, |w| w.write_all(b"new"))?;
        assert_eq!(std::fs::read(&path)?, b"new");
        Ok(())
    }

    #[test]
    fn an_existing_file_or_directory_is_refused() -> TestResult {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("a");
        write_new(&path, |w| w.write_all(b"1"))?;
        let again = write_new(&path, |w| w.write_all(b"2"));
        assert!(matches!(again, Err(FsError::AlreadyExists { .. })));
        assert!(matches!(create_new_dir(&path), Err(FsError::AlreadyExists { .. })));
        assert!(matches!(
            create_new_dir(&dir.path().join("x/y")),
            Err(FsError::Io { .. })
        ));
        assert!(write_atomic(dir.path(), |w| w.write_all(b"2")).is_err());
        assert_eq!(std::fs::read(&path)?, b"1");
        Ok(())
    }

    #[test]
    fn a_folder_appears_whole_and_replaces_nothing() -> TestResult {
        let dir = tempfile::tempdir()?;
        let target = dir.path().join("out");
        let folder = Sibling::create_folder(&target)?;
        write_new(&folder.path().join("a"), |w| w.write_all(b"1"))?;
        drop(folder);
        assert_eq!(std::fs::read_dir(dir.path())?.count(), 0);
        let folder = Sibling::create_folder(&target)?;
        write_new(&folder.path().join("a"), |w| w.write_all(b"1"))?;
        // Another process was faster, with an empty folder that renaming would replace.
        std::fs::create_dir(&target)?;
        assert!(matches!(folder.commit(), Err(FsError::AlreadyExists { .. })));
        assert_eq!(std::fs::read_dir(&target)?.count(), 0);
        std::fs::remove_dir(&target)?;
        let folder = Sibling::create_folder(&target)?;
        write_new(&folder.path().join("a"), |w| w.write_all(b"1"))?;
        folder.commit()?;
        assert_eq!(std::fs::read(target.join("a"))?, b"1");
        assert_eq!(std::fs::read_dir(dir.path())?.count(), 1);
        assert!(matches!(
            Sibling::create_folder(&target),
            Err(FsError::AlreadyExists { .. })
        ));
        Ok(())
    }

    #[test]
    fn sha256_of_abc_is_the_published_digest() -> TestResult {
        // FIPS 180-2, appendix B.1.
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("abc");
        write_new(&path, |w| w.write_all(b"abc"))?;
        let published = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_of_file(&path)?, published);
        assert!(sha256_of_file(dir.path()).is_err());
        Ok(())
    }

    #[test]
    fn a_text_over_its_limit_is_refused() -> TestResult {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("t");
        write_new(&path, |w| w.write_all(b"12345"))?;
        assert_eq!(read_text(&path, 5)?, "12345");
        assert!(read_text(&path, 4).is_err());
        Ok(())
    }
}
