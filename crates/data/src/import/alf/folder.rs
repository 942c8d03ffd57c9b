//! Which ALF files a folder has, and what their names say.
//!
//! Names are `[_namespace_]object.attribute[_timescale][.extra].extension`; a folder named `#…#` is a revision of the
//! files of the folder that it is in.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::DataError;
use crate::fs::FsError;

/// Folders are entered so deep below the one that is read.
const MAX_DEPTH: usize = 6;
/// File of spike times of Phy …
const PHY_TIMES: &str = "spike_times.npy";
/// … and those of which one says whose they are.
const PHY_CLUSTERS: [&str; 2] = ["spike_clusters.npy", "spike_templates.npy"];
/// Most files and folders that are looked at.
const MAX_ENTRIES: usize = 50_000;

/// A file and the parts of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::import) struct AlfFile {
    pub(super) path: PathBuf,
    /// Path from the folder that is read, for messages.
    pub(super) at: String,
    /// Folders from there, without revisions.
    pub(super) dir: Vec<String>,
    revision: String,
    pub(super) object: String,
    /// Attribute and timescale, such as `intervals_bpod`.
    pub(super) attribute: String,
    /// Parts between attribute and extension, without identifiers of a database.
    pub(super) extra: Vec<String>,
    pub(super) extension: String,
}

impl AlfFile {
    fn parse(path: &Path, folders: &[String]) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (dir, revisions): (Vec<_>, Vec<_>) = folders.iter().cloned().partition(|folder| !is_revision(folder));
        let mut at = folders.join("/");
        if !at.is_empty() {
            at.push('/');
        }
        at.push_str(name);
        let mut parts = name.split('.');
        let first = parts.next()?;
        let object = match first.strip_prefix('_') {
            Some(rest) => rest.split_once('_')?.1,
            None => first,
        };
        let mut parts: Vec<&str> = parts.collect();
        let extension = parts.pop()?;
        let attribute = *parts.first()?;
        if object.is_empty() || attribute.is_empty() {
            return None;
        }
        let extra = parts.iter().skip(1).filter(|part| !is_uuid(part));
        Some(Self {
            path: path.to_path_buf(),
            at: at.escape_debug().to_string(),
            dir,
            revision: revisions.join("/"),
            object: object.to_owned(),
            attribute: attribute.to_owned(),
            extra: extra.map(|part| (*part).to_owned()).collect(),
            extension: extension.to_ascii_lowercase(),
        })
    }

    pub(super) fn is(&self, object: &str, attribute: &str) -> bool {
        self.object == object && self.attribute == attribute
    }

    /// What tells files apart that differ in their revision only.
    fn identity(&self) -> (&[String], &str, &str, &[String], &str) {
        (&self.dir, &self.object, &self.attribute, &self.extra, &self.extension)
    }

    /// Object, attribute and extra parts, as the name of a series.
    pub(super) fn series_name(&self) -> String {
        let mut name = format!("{}.{}", self.object, self.attribute);
        for part in &self.extra {
            name.push('.');
            name.push_str(part);
        }
        name
    }
}

fn is_revision(folder: &str) -> bool {
    folder.len() > 2 && folder.starts_with('#') && folder.ends_with('#')
}

/// The database of IBL puts the identifier of a file into its name.
fn is_uuid(part: &str) -> bool {
    part.len() == 36
        && part.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Whether a folder is named by a date, or has one in its name.
fn has_date(folder: &str) -> bool {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = folder.as_bytes();
    bytes.windows(10).enumerate().any(|(at, ten)| {
        let is_date = ten.iter().enumerate().all(|(place, byte)| match place {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        is_date && !is_digit(before) && !is_digit(bytes.get(at + 10))
    })
}

/// Whether a folder is the number of a session on its day, as in `2024-05-06/001`.
fn is_number(folder: &str) -> bool {
    folder.len() == 3 && folder.bytes().all(|byte| byte.is_ascii_digit())
}

/// How many of the folders down to a file lead to the session it is of, where they tell: what holds `alf`, else a day's number
/// or the day. `inside_day`: the folder that is read is a day.
fn session_depth(folders: &[String], inside_day: bool) -> Option<usize> {
    if let Some(alf) = folders.iter().position(|folder| folder == "alf") {
        return Some(alf);
    }
    let follows_day = |at: usize| match at.checked_sub(1) {
        None => inside_day,
        Some(before) => folders.get(before).is_some_and(|folder| has_date(folder)),
    };
    let number =
        (0..folders.len()).find(|&at| follows_day(at) && folders.get(at).is_some_and(|folder| is_number(folder)));
    let day = || folders.iter().position(|folder| has_date(folder));
    number.or_else(day).map(|at| at + 1)
}

/// The ALF files of a folder and those below it, sorted.
pub(in crate::import) struct Folder {
    pub(super) files: Vec<AlfFile>,
    /// Folders that Phy opens, as paths from here; that of the folder itself is empty.
    phy: BTreeSet<Vec<String>>,
    top: Vec<String>,
    /// Whether the folder itself is a day, whose sessions are below it.
    is_day: bool,
}

impl Folder {
    /// Looks at a folder and those below it; hidden ones are left out, and of revisions the last one counts.
    pub(in crate::import) fn walk(root: &Path) -> Result<Self, DataError> {
        let mut files = Vec::new();
        let mut n_entries = 0;
        let mut open = vec![(root.to_path_buf(), Vec::new())];
        let mut top = Vec::new();
        let mut phy = BTreeSet::new();
        while let Some((folder, below)) = open.pop() {
            let fail = |source| FsError::new(&folder, "read the folder", source);
            let (mut has_times, mut has_clusters) = (false, false);
            for entry in std::fs::read_dir(&folder).map_err(fail)? {
                let path = entry.map_err(fail)?.path();
                n_entries += 1;
                if n_entries > MAX_ENTRIES {
                    let message = format!("it holds more than {MAX_ENTRIES} files; give the folder of one session");
                    return Err(FsError::new(root, "read the folder", std::io::Error::other(message)).into());
                }
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if name.starts_with('.') {
                    continue;
                }
                if below.is_empty() {
                    top.push(format!("'{}'", name.escape_debug()));
                }
                if path.is_dir() {
                    if below.len() < MAX_DEPTH {
                        let mut below = below.clone();
                        below.push(name);
                        open.push((path, below));
                    }
                } else {
                    has_times |= name == PHY_TIMES;
                    has_clusters |= PHY_CLUSTERS.contains(&name.as_str());
                    files.extend(AlfFile::parse(&path, &below));
                }
            }
            if has_times && has_clusters {
                phy.insert(below);
            }
        }
        top.sort();
        files.sort_by(|a, b| (a.identity(), &a.revision).cmp(&(b.identity(), &b.revision)));
        // The last of several revisions stays.
        files.dedup_by(|later, earlier| {
            let is_same = later.identity() == earlier.identity() && later.revision != earlier.revision;
            if is_same {
                std::mem::swap(later, earlier);
            }
            is_same
        });
        let whole = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
        let is_day = whole.file_name().is_some_and(|name| has_date(&name.to_string_lossy()));
        Ok(Self {
            files,
            phy,
            top,
            is_day,
        })
    }

    /// Folders of the sessions whose files are here, as paths from here; files that tell of none are left out.
    pub(super) fn sessions(&self) -> BTreeSet<String> {
        let is_read = |file: &&AlfFile| matches!(file.extension.as_str(), "npy" | "csv" | "tsv" | "pqt" | "parquet");
        let roots = self.files.iter().filter(is_read).filter_map(|file| {
            let depth = session_depth(&file.dir, self.is_day)?;
            file.dir.get(..depth)
        });
        let roots: BTreeSet<&[String]> = roots.collect();
        // What lies beside a session's own folder, such as raw data beside `alf`, is no other session.
        let holds_another = |root: &[String]| {
            roots
                .iter()
                .any(|other| other.len() > root.len() && other.starts_with(root))
        };
        let roots = roots.iter().filter(|root| root.is_empty() || !holds_another(root));
        roots.map(|root| root.join("/").escape_debug().to_string()).collect()
    }

    /// Whether there is an array with that attribute, on whatever timescale.
    pub(in crate::import) fn has(&self, object: &str, attribute: &str) -> bool {
        let prefix = format!("{attribute}_");
        self.files.iter().any(|file| {
            file.object == object
                && file.extension == "npy"
                && (file.attribute == attribute || file.attribute.starts_with(&prefix))
        })
    }

    /// Folders that Phy opens, as paths from here; that of the folder itself is empty.
    pub(in crate::import) fn phy(&self) -> &BTreeSet<Vec<String>> {
        &self.phy
    }

    /// Names of what is in the folder itself, in quotes.
    pub(in crate::import) fn top_names(&self) -> &[String] {
        &self.top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let parse = |name: &str| {
            let file = AlfFile::parse(Path::new(name), &[])?;
            Some((file.object, file.attribute, file.extra.join("."), file.extension))
        };
        let parts = |a: &str, b: &str, c: &str, d: &str| Some((a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned()));
        let cases = [
            ("spikes.times.npy", parts("spikes", "times", "", "npy")),
            (
                "_ibl_trials.stimOn_times.npy",
                parts("trials", "stimOn_times", "", "npy"),
            ),
            (
                "_ibl_trials.intervals_bpod.npy",
                parts("trials", "intervals_bpod", "", "npy"),
            ),
            ("spikes.times.probe00.npy", parts("spikes", "times", "probe00", "npy")),
            (
                "_phy_spikes_subset.channels.npy",
                parts("spikes_subset", "channels", "", "npy"),
            ),
            (
                "channels.brainLocationIds_ccf_2017.f5f2d0cf-7c1d-4a29-8b3a-2f5b5cbd1f1c.npy",
                parts("channels", "brainLocationIds_ccf_2017", "", "npy"),
            ),
            ("_spikes.npy", None),
            ("params.py", None),
            ("notes", None),
        ];
        for (name, expected) in cases {
            assert_eq!(parse(name), expected, "{name}");
        }
        let of = |path: &str| -> Vec<String> { path.split('/').map(str::to_owned).collect() };
        for (path, inside_day, depth) in [
            ("alf/probe00", false, Some(0)),
            ("2024-01-01/001/alf/probe00", false, Some(2)),
            ("2024-01-01/001/raw_ephys_data/probe00", false, Some(2)),
            ("2024-01-01/probe00", false, Some(1)),
            ("Cori_2016-12-14", false, Some(1)),
            ("001/probe00", true, Some(1)),
            ("001/probe00", false, None),
            ("probe00", true, None),
            ("probe_12024-01-01", false, None),
        ] {
            assert_eq!(session_depth(&of(path), inside_day), depth, "{path}");
        }
        let folders = ["alf".to_owned(), "probe00".to_owned(), "#2024-05-06#".to_owned()];
        let file = AlfFile::parse(Path::new("spikes.times.npy"), &folders).expect("an ALF name");
        assert_eq!(file.dir, ["alf", "probe00"]);
        assert_eq!(file.at, "alf/probe00/#2024-05-06#/spikes.times.npy");
    }
}
