//! Texts of variable and of fixed length, read in blocks so that memory stays small.

use hdf5::types::{FixedAscii, FixedUnicode, TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Attribute, Container, Dataset, H5Type};
use ndarray::{Array1, s};

use super::{BLOCK_BYTES, Found, ranges};
use crate::error::Finding;

/// Longest text of fixed length that is read (bytes).
const MAX_FIXED_TEXT: usize = 1024;
/// Most bytes in the texts of one list.
const MAX_TEXT_BYTES: usize = 1 << 28;

/// Least texts that are read at once, however large the file is.
const LEAST_BLOCK: usize = 64;

/// Where texts are.
#[derive(Clone, Copy)]
pub(super) enum Texts<'a> {
    /// Read at once: small.
    Attribute(&'a Attribute),
    /// A scalar, a list, or a list as a single row or column.
    Dataset(&'a Dataset),
}

impl Texts<'_> {
    fn container(&self) -> &Container {
        match self {
            Self::Attribute(attribute) => attribute,
            Self::Dataset(dataset) => dataset,
        }
    }

    /// Reads elements `[n]` in blocks, each up to its first NUL.
    fn read<T: H5Type>(self, n: usize, block: usize, bytes: impl Fn(&T) -> &[u8], at: &str) -> Found<Vec<String>> {
        let fail = |error: hdf5::Error| Finding::new(at, format!("could not be read: {error}"));
        let mut texts = Vec::new();
        let mut n_bytes = 0_usize;
        let mut add = |text: &T| {
            let text = bytes(text);
            let text = text.split(|&byte| byte == 0).next().unwrap_or(&[]);
            n_bytes = n_bytes.saturating_add(text.len());
            if n_bytes > MAX_TEXT_BYTES {
                let message = format!("more than {} MiB of text", MAX_TEXT_BYTES >> 20);
                return Err(Finding::new(at, message));
            }
            let text = String::from_utf8(text.to_vec());
            let i = texts.len();
            texts.push(text.map_err(|_| Finding::new(at, format!("text {i} is not valid UTF-8")))?);
            Ok(())
        };
        match self {
            Self::Attribute(attribute) => attribute.read_raw::<T>().map_err(fail)?.iter().try_for_each(add)?,
            Self::Dataset(dataset) => {
                let shape = dataset.shape();
                if shape.is_empty() {
                    dataset.read_raw::<T>().map_err(fail)?.iter().try_for_each(&mut add)?;
                    return Ok(texts);
                }
                for part in ranges(n, block) {
                    let part: Array1<T> = match *shape {
                        [_] => dataset.read_slice(s![part]),
                        [1, _] => dataset.read_slice(s![0, part]),
                        _ => dataset.read_slice(s![part, 0]),
                    }
                    .map_err(fail)?;
                    part.iter().try_for_each(&mut add)?;
                }
            }
        }
        Ok(texts)
    }

    fn read_ascii<const N: usize>(self, n: usize, at: &str) -> Found<Vec<String>> {
        self.read::<FixedAscii<N>>(n, BLOCK_BYTES / N, |text| text.as_bytes(), at)
    }

    fn read_unicode<const N: usize>(self, n: usize, at: &str) -> Found<Vec<String>> {
        self.read::<FixedUnicode<N>>(n, BLOCK_BYTES / N, |text| text.as_bytes(), at)
    }
}

/// Reads texts, no wider than they are stored, in blocks of at most [`BLOCK_BYTES`].
pub(super) fn read_texts(texts: Texts<'_>, n: usize, at: &str) -> Found<Vec<String>> {
    let container = texts.container();
    let descriptor = container.dtype().and_then(|dtype| dtype.to_descriptor());
    let descriptor = descriptor.map_err(|error| Finding::new(at, format!("could not be read: {error}")))?;
    // Many elements may refer to one long text, which is no longer than the file, but is read for each. Large files of
    // honest programs have tables of 10^5 texts, which can't be read one by one: 70,000 rows of five columns took 41 s.
    let file_bytes = container.file().map_or(u64::MAX, |file| file.size());
    let file_bytes = usize::try_from(file_bytes).unwrap_or(usize::MAX);
    let block = (MAX_TEXT_BYTES / file_bytes.max(1)).clamp(LEAST_BLOCK, 4096);
    match descriptor {
        TypeDescriptor::VarLenUnicode => texts.read(n, block, VarLenUnicode::as_bytes, at),
        TypeDescriptor::VarLenAscii => texts.read(n, block, VarLenAscii::as_bytes, at),
        TypeDescriptor::FixedAscii(0..=16) => texts.read_ascii::<16>(n, at),
        TypeDescriptor::FixedAscii(17..=128) => texts.read_ascii::<128>(n, at),
        TypeDescriptor::FixedAscii(129..=MAX_FIXED_TEXT) => texts.read_ascii::<MAX_FIXED_TEXT>(n, at),
        TypeDescriptor::FixedUnicode(0..=16) => texts.read_unicode::<16>(n, at),
        TypeDescriptor::FixedUnicode(17..=128) => texts.read_unicode::<128>(n, at),
        TypeDescriptor::FixedUnicode(129..=MAX_FIXED_TEXT) => texts.read_unicode::<MAX_FIXED_TEXT>(n, at),
        other => {
            let message = format!("texts of type {other}; at most {MAX_FIXED_TEXT} bytes are read");
            Err(Finding::new(at, message))
        }
    }
}
