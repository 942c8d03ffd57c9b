//! Checkpoints: the whole state of a run in one checksummed file, written in one step.
//!
//! Layout, version 1, integers little-endian:
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `SNNFITCK` |
//! | 4 | version |
//! | 4 | number of sections S |
//! | S × (1 + n + 8 + 32) | length n of the name, name, length of the section, SHA-256 of the section |
//! | 32 | SHA-256 of all bytes before it |
//! | … | the sections, in the same order, nothing between or after them |
//!
//! Section `state` is JSON; every other section is a safetensors file of f32 and f64 arrays. Equal content gives equal
//! bytes: sections and arrays are sorted, and no time is inside. Every byte is covered by a checksum, so a torn or
//! flipped file is refused, and the error names the damaged section. Reading needs at most twice the file's size.

mod retention;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

pub use retention::{Found, KEPT_STEPS, NONE, best, find_step, latest_intact, steps, write_best, write_step};

/// First bytes of every checkpoint.
pub const MAGIC: &[u8; 8] = b"SNNFITCK";
/// Version of the layout that this program writes; it reads this and older ones.
pub const VERSION: u32 = 1;
/// Most bytes of a checkpoint that is read.
pub const MAX_BYTES: u64 = 1 << 36;
const MAX_SECTIONS: usize = 255;
const STATE: &str = "state";

/// An array of one section.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Shape; the product is the number of values.
    pub shape: Vec<usize>,
    /// Values in row-major order.
    pub values: Values,
}

/// Values of an array.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Single precision: network parameters and optimizer moments.
    F32(Vec<f32>),
    /// Double precision: accumulators of losses and splitter.
    F64(Vec<f64>),
}

impl Values {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn first_non_finite(&self) -> Option<usize> {
        match self {
            Self::F32(values) => values.iter().position(|x| !x.is_finite()),
            Self::F64(values) => values.iter().position(|x| !x.is_finite()),
        }
    }

    fn dtype(&self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::F64(_) => Dtype::F64,
        }
    }

    fn to_le_bytes(&self) -> Vec<u8> {
        match self {
            Self::F32(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F64(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }
}

/// Named arrays of one section.
pub type Arrays = BTreeMap<String, Array>;

/// State of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Everything that is not an array: step, counters, losses so far. Non-finite numbers become `null` in JSON.
    pub state: serde_json::Value,
    /// Arrays by section (`parameters`, `optimizer`, `splitter`, …) and name; no section is called `state`.
    pub sections: BTreeMap<String, Arrays>,
}

/// Why a checkpoint can't be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file can't be opened or read.
    #[error("cannot read the checkpoint {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Writing failed; the file that was there before is unchanged.
    #[error(transparent)]
    Write(#[from] data::fs::FsError),
    /// The file is something else.
    #[error("{}: not a checkpoint (its first bytes are not SNNFITCK)", path.display())]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
    },
    /// Written by a newer program.
    #[error("{}: checkpoint version {found}; this program reads up to version {VERSION}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Bytes are missing or changed.
    #[error("{}: the checkpoint is damaged ({what})", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which part, and how that shows.
        what: String,
    },
    /// The content is intact but can't be used.
    #[error("{}: section '{section}' {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Section.
        section: String,
        /// What was found and what was expected.
        what: String,
    },
    /// No checkpoint was found where one is needed.
    #[error("{}: no {wanted} checkpoint; found {found}", directory.display())]
    Missing {
        /// Directory of checkpoints.
        directory: PathBuf,
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
}

impl Checkpoint {
    /// A checkpoint with this state and no arrays.
    ///
    /// # Errors
    /// When the state can't be written as JSON (a map whose keys are not texts).
    pub fn new(state: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self {
            state: serde_json::to_value(state)?,
            sections: BTreeMap::new(),
        })
    }

    /// The state as `T`.
    ///
    /// # Errors
    /// When the state has another shape; the text names the field.
    pub fn state<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.state)
    }
}

/// Writes a checkpoint in one step: after a crash the file is the old one or the new one.
///
/// # Errors
/// [`CheckpointError::Write`]; [`CheckpointError::Content`] for non-finite values or a shape that does not fit, so that
/// the last good checkpoint survives a bug.
pub fn write(path: &Path, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
    let bytes = encode(path, checkpoint)?;
    data::fs::write_atomic(path, |file| file.write_all(&bytes))?;
    Ok(())
}

/// Reads and verifies a checkpoint.
///
/// # Errors
/// [`CheckpointError`]; any changed, missing or additional byte is found. Needs at most twice the size of the file.
pub fn read(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let cannot_read = |source| CheckpointError::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = std::fs::metadata(path).map_err(cannot_read)?;
    if !metadata.is_file() {
        return Err(cannot_read(std::io::Error::other("it is not a regular file")));
    }
    if metadata.len() > MAX_BYTES {
        return Err(damaged(
            path,
            &format!("{} bytes are more than the limit of {MAX_BYTES}", metadata.len()),
        ));
    }
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(metadata.len() as usize)
        .map_err(|error| cannot_read(std::io::Error::other(error)))?;
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes))
        .map_err(cannot_read)?;
    decode(path, &bytes)
}

/// Whether the file starts like a checkpoint.
///
/// # Errors
/// When it can't be read.
pub fn is_checkpoint(path: &Path) -> std::io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(MAGIC.len() as u64).read_to_end(&mut start)?;
    Ok(start == MAGIC)
}

/// The bytes of a checkpoint; see the module for the layout. `path` is only named in errors.
fn encode(path: &Path, checkpoint: &Checkpoint) -> Result<Vec<u8>, CheckpointError> {
    let content = |section: &str, what: String| CheckpointError::Content {
        path: path.to_owned(),
        section: section.to_owned(),
        what,
    };
    let state = serde_json::to_vec(&checkpoint.state).map_err(|error| content(STATE, error.to_string()))?;
    let mut sections: Vec<(&str, Vec<u8>)> = vec![(STATE, state)];
    for (name, arrays) in &checkpoint.sections {
        let is_free = name != STATE && !name.is_empty() && name.len() <= 255;
        if !is_free || sections.len() == MAX_SECTIONS {
            return Err(content(
                name,
                "has a name that is reserved, empty or too long, or is one too many".to_owned(),
            ));
        }
        sections.push((name, encode_arrays(arrays).map_err(|what| content(name, what))?));
    }
    let mut bytes = Vec::with_capacity(sections.iter().map(|(name, data)| name.len() + data.len() + 64).sum());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(sections.len() as u32).to_le_bytes());
    for (name, data) in &sections {
        bytes.push(name.len() as u8);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&(data.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&Sha256::digest(data));
    }
    let header_sum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&header_sum);
    for (_, data) in &sections {
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

fn encode_arrays(arrays: &Arrays) -> Result<Vec<u8>, String> {
    for (name, array) in arrays {
        check_array(name, array)?;
    }
    let raw: BTreeMap<&str, Vec<u8>> = arrays
        .iter()
        .map(|(name, array)| (name.as_str(), array.values.to_le_bytes()))
        .collect();
    let mut views = Vec::with_capacity(arrays.len());
    for ((name, array), bytes) in arrays.iter().zip(raw.values()) {
        let view = TensorView::new(array.values.dtype(), array.shape.clone(), bytes)
            .map_err(|error| format!("array '{name}': {error}"))?;
        views.push((name.as_str(), view));
    }
    safetensors::serialize(views, None).map_err(|error| error.to_string())
}

fn check_array(name: &str, array: &Array) -> Result<(), String> {
    let count = array
        .shape
        .iter()
        .try_fold(1_usize, |product, &size| product.checked_mul(size));
    if count != Some(array.values.len()) {
        return Err(format!(
            "array '{name}' has shape {:?} but {} values",
            array.shape,
            array.values.len()
        ));
    }
    match array.values.first_non_finite() {
        Some(index) => Err(format!("array '{name}' is not finite at index {index}")),
        None => Ok(()),
    }
}

fn damaged(path: &Path, what: &str) -> CheckpointError {
    CheckpointError::Damaged {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}

/// A reader that can't run over the end.
struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.position.checked_add(count)?;
        let part = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(part)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
}

struct Entry<'a> {
    name: &'a str,
    length: u64,
    sum: [u8; 32],
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let mut cursor = Cursor { bytes, position: 0 };
    if cursor.take(MAGIC.len()) != Some(MAGIC) {
        return Err(CheckpointError::NotACheckpoint { path: path.to_owned() });
    }
    let truncated = || damaged(path, "the header is cut off");
    let version = u32::from_le_bytes(cursor.array().ok_or_else(truncated)?);
    if version > VERSION {
        return Err(CheckpointError::Newer {
            path: path.to_owned(),
            found: version,
        });
    }
    let count = u32::from_le_bytes(cursor.array().ok_or_else(truncated)?) as usize;
    if version == 0 || count == 0 || count > MAX_SECTIONS {
        return Err(damaged(
            path,
            "the header has an impossible version or number of sections",
        ));
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(decode_entry(&mut cursor).ok_or_else(truncated)?);
    }
    let header = bytes.get(..cursor.position).unwrap_or_default();
    let sum: [u8; 32] = cursor.array().ok_or_else(truncated)?;
    if Sha256::digest(header)[..] != sum {
        return Err(damaged(path, "checksum of the header"));
    }
    let mut state = None;
    let mut sections = BTreeMap::new();
    for Entry { name, length, sum } in entries {
        let data = usize::try_from(length).ok().and_then(|length| cursor.take(length));
        let data = data.ok_or_else(|| damaged(path, &format!("section '{name}' is cut off")))?;
        if Sha256::digest(data)[..] != sum {
            return Err(damaged(path, &format!("checksum of section '{name}'")));
        }
        let content = |what| CheckpointError::Content {
            path: path.to_owned(),
            section: name.to_owned(),
            what,
        };
        if name == STATE {
            state = Some(serde_json::from_slice(data).map_err(|error| content(error.to_string()))?);
        } else {
            sections.insert(name.to_owned(), decode_arrays(data).map_err(content)?);
        }
    }
    if cursor.position != bytes.len() {
        return Err(damaged(path, "there are bytes after the last section"));
    }
    let state = state.ok_or_else(|| damaged(path, "section 'state' is missing"))?;
    Ok(Checkpoint { state, sections })
}

fn decode_entry<'a>(cursor: &mut Cursor<'a>) -> Option<Entry<'a>> {
    let [length] = cursor.array::<1>()?;
    let name = std::str::from_utf8(cursor.take(usize::from(length))?).ok()?;
    Some(Entry {
        name,
        length: u64::from_le_bytes(cursor.array()?),
        sum: cursor.array()?,
    })
}

fn decode_arrays(data: &[u8]) -> Result<Arrays, String> {
    let tensors = SafeTensors::deserialize(data).map_err(|error| error.to_string())?;
    let mut arrays = Arrays::new();
    for (name, view) in tensors.tensors() {
        let values = match view.dtype() {
            Dtype::F32 => Values::F32(
                view.data()
                    .as_chunks()
                    .0
                    .iter()
                    .map(|&b| f32::from_le_bytes(b))
                    .collect(),
            ),
            Dtype::F64 => Values::F64(
                view.data()
                    .as_chunks()
                    .0
                    .iter()
                    .map(|&b| f64::from_le_bytes(b))
                    .collect(),
            ),
            other => return Err(format!("array '{name}' has type {other:?}; expected F32 or F64")),
        };
        let array = Array {
            shape: view.shape().to_vec(),
            values,
        };
        check_array(&name, &array)?;
        arrays.insert(name, array);
    }
    Ok(arrays)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Checkpoint {
        let array = |shape: &[usize], values| Array {
            shape: shape.to_vec(),
            values,
        };
        let parameters = Arrays::from([
            (
                "w".to_owned(),
                array(
                    &[2, 3],
                    Values::F32(vec![0.5, -1.0, 2.0, f32::MIN_POSITIVE, 1e-12, -0.0]),
                ),
            ),
            ("v_rest".to_owned(), array(&[0], Values::F32(vec![]))),
        ]);
        let splitter = Arrays::from([("m".to_owned(), array(&[2], Values::F64(vec![0.1, 1e-300])))]);
        Checkpoint {
            state: serde_json::json!({"step": 40, "best": 0.1, "list": [1, 2]}),
            sections: BTreeMap::from([("parameters".to_owned(), parameters), ("splitter".to_owned(), splitter)]),
        }
    }

    fn path() -> PathBuf {
        PathBuf::from("x.ckpt")
    }

    #[test]
    fn what_is_written_is_read_back_and_equal_content_gives_equal_bytes() {
        let bytes = encode(&path(), &example()).unwrap();
        assert_eq!(decode(&path(), &bytes).unwrap(), example());
        assert_eq!(encode(&path(), &decode(&path(), &bytes).unwrap()).unwrap(), bytes);
    }

    #[test]
    fn every_flipped_bit_is_rejected() {
        let bytes = encode(&path(), &example()).unwrap();
        for i in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[i] ^= 1 << bit;
                assert!(decode(&path(), &bad).is_err(), "byte {i}, bit {bit}");
            }
        }
    }

    #[test]
    fn every_truncation_and_every_appended_byte_is_rejected() {
        let mut bytes = encode(&path(), &example()).unwrap();
        for length in 0..bytes.len() {
            assert!(decode(&path(), &bytes[..length]).is_err(), "length {length}");
        }
        bytes.push(0);
        assert!(matches!(decode(&path(), &bytes), Err(CheckpointError::Damaged { .. })));
    }

    #[test]
    fn the_damaged_section_is_named() {
        let mut bytes = encode(&path(), &example()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        let message = decode(&path(), &bytes).unwrap_err().to_string();
        assert!(message.contains("checksum of section 'splitter'"), "{message}");
    }

    #[test]
    fn swapped_sections_are_rejected() {
        let bytes = encode(&path(), &example()).unwrap();
        let (a, b) = (b"parameters", b"paramaters");
        let at = bytes.windows(a.len()).position(|window| window == a).unwrap();
        let mut bad = bytes.clone();
        bad[at..at + b.len()].copy_from_slice(b);
        assert!(matches!(decode(&path(), &bad), Err(CheckpointError::Damaged { .. })));
    }

    #[test]
    fn a_newer_version_is_refused_with_both_versions_named() {
        let mut bytes = encode(&path(), &example()).unwrap();
        bytes[8] = 2;
        let message = decode(&path(), &bytes).unwrap_err().to_string();
        assert!(
            message.contains("version 2") && message.contains("version 1"),
            "{message}"
        );
    }

    #[test]
    fn lengths_beyond_the_file_are_rejected_without_allocating_them() {
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&1_u32.to_le_bytes());
        header.extend_from_slice(&1_u32.to_le_bytes());
        header.push(5);
        header.extend_from_slice(b"state");
        header.extend_from_slice(&u64::MAX.to_le_bytes());
        header.extend_from_slice(&[0; 32]);
        let sum = Sha256::digest(&header);
        header.extend_from_slice(&sum);
        assert!(matches!(decode(&path(), &header), Err(CheckpointError::Damaged { .. })));
    }

    #[test]
    fn non_finite_values_and_wrong_shapes_are_not_written() {
        let write_array = |shape: Vec<usize>, values| {
            let arrays = Arrays::from([("w".to_owned(), Array { shape, values })]);
            let mut checkpoint = example();
            checkpoint.sections.insert("parameters".to_owned(), arrays);
            encode(&path(), &checkpoint).map_err(|error| error.to_string())
        };
        assert!(
            write_array(vec![2], Values::F32(vec![1.0, f32::NAN]))
                .unwrap_err()
                .contains("index 1")
        );
        assert!(
            write_array(vec![3], Values::F64(vec![1.0]))
                .unwrap_err()
                .contains("1 values")
        );
        assert!(write_array(vec![usize::MAX, 2], Values::F64(vec![1.0])).is_err());
    }
}
