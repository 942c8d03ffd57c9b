//! NumPy arrays (`.npy`, versions 1.0 to 3.0) of numbers, flags and texts.
//!
//! A file says what it holds in a Python dictionary; this is parsed, never evaluated, and pickled objects are
//! refused, because reading them runs code. The size that a header claims is compared with what is there before
//! memory is taken. Written here rather than taken from a crate: `npyz` parses headers with a general parser of
//! Python literals (eight more crates, other features in crates that burn shares) and has neither caps nor messages.

mod header;

use std::io::Read;
use std::path::Path;

use ndarray::{Array2, ShapeBuilder};

use super::table::Column;
use crate::error::{DataError, Finding, no_memory};
use crate::fs::open_regular;
use crate::h5::Found;

pub(super) use header::MAGIC;
pub use header::{Dtype, Header};

/// Largest array (bytes) that is read: 16 GiB.
pub(super) const MAX_BYTES: u64 = 1 << 34;
/// Most texts in one array: far more units or trials than any session has.
const MAX_TEXTS: usize = 1 << 20;
/// Most bytes of text in one array.
const MAX_TEXT_BYTES: usize = 1 << 28;
/// Above this, whole numbers have no exact place among 64-bit floats.
const MAX_EXACT: i128 = 1 << 53;

/// An array as the file stores it: nothing is converted yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Npy {
    at: String,
    header: Header,
    bytes: Vec<u8>,
}

/// One stored value.
#[derive(Clone, Copy)]
enum Value {
    Flag(bool),
    Integer(i128),
    Float(f64),
}

/// Reads an array. Allocates what the file holds.
///
/// # Errors
/// [`DataError::Fs`] if it can't be opened; [`DataError::Invalid`] if it isn't such a file, is cut or too long, or holds
/// Python objects, records or other types that are neither numbers nor texts.
pub fn read_npy(path: &Path) -> Result<Npy, DataError> {
    let file = open_regular(path)?;
    let at = file_name(path);
    read_file(file, &at).map_err(|finding| DataError::Invalid {
        subject: path.display().to_string(),
        problems: vec![finding],
    })
}

pub(super) fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().escape_debug().to_string()
}

fn read_file(file: std::fs::File, at: &str) -> Found<Npy> {
    let length = file.metadata().map_err(|e| Finding::new(at, e.to_string()))?.len();
    let mut reader = std::io::BufReader::new(file);
    let header = Header::read(&mut reader, length, at)?;
    Npy::read(&mut reader, header, at)
}

/// Only the header of a file, whose size was compared with it.
pub(super) fn header_of(path: &Path, at: &str) -> Found<Header> {
    let fail = |error: &dyn std::fmt::Display| Finding::new(at, error.to_string());
    let file = open_regular(path).map_err(|e| fail(&e))?;
    let length = file.metadata().map_err(|e| fail(&e))?.len();
    Header::read(&mut std::io::BufReader::new(file), length, at)
}

/// A file of a folder; `at` names it in findings.
pub(super) fn array_of(path: &Path, at: &str) -> Found<Npy> {
    let file = open_regular(path).map_err(|error| Finding::new(at, error.to_string()))?;
    read_file(file, at)
}

impl Npy {
    /// Reads what follows the header, whose size [`Header::read`] compared with what is there.
    pub(super) fn read(reader: &mut impl Read, header: Header, at: &str) -> Found<Self> {
        let fail = |message: String| Finding::new(at, message);
        if let Some(refusal) = header.refusal() {
            return Err(fail(refusal));
        }
        let n_bytes = header.n_bytes(at)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(n_bytes).map_err(|_| no_memory(at, n_bytes))?;
        reader
            .take(n_bytes as u64)
            .read_to_end(&mut bytes)
            .map_err(|error| fail(error.to_string()))?;
        if bytes.len() != n_bytes {
            return Err(fail(format!(
                "it ends after {} of {n_bytes} bytes of values",
                bytes.len()
            )));
        }
        Ok(Self {
            at: at.to_owned(),
            header,
            bytes,
        })
    }

    /// Lengths of the axes; none for a single value.
    pub fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// What one value is.
    pub fn dtype(&self) -> &Dtype {
        &self.header.dtype
    }

    /// Number of rows and columns; a list has one column, a single value one row.
    ///
    /// # Errors
    /// A finding if there are more than two axes.
    pub fn dim(&self) -> Result<(usize, usize), Finding> {
        self.header
            .dim()
            .ok_or_else(|| self.fail(format!("shape {}; expected one or two axes", self.header.shape_text())))
    }

    fn fail(&self, message: impl Into<String>) -> Finding {
        Finding::new(&self.at, message)
    }

    /// Stored elements, in stored order.
    fn elements(&self) -> std::slice::ChunksExact<'_, u8> {
        // Empty texts take no bytes; their arrays are made by `texts_of` without looking at elements.
        self.bytes.chunks_exact(self.header.dtype.size().max(1))
    }

    fn values(&self) -> impl Iterator<Item = Value> {
        let (dtype, is_big_endian) = (&self.header.dtype, self.header.is_big_endian);
        self.elements().map(move |bytes| value(dtype, is_big_endian, bytes))
    }

    /// Refuses texts, and shapes that are no list (one column, or one row of one value, is a list too).
    fn list(&self, what: &str) -> Found<()> {
        if matches!(self.header.dtype, Dtype::Text { .. }) {
            return Err(self.fail(format!("holds texts; expected {what}")));
        }
        match self.header.dim() {
            Some((_, 1)) => Ok(()),
            _ => Err(self.fail(format!("shape {}; expected a list of {what}", self.header.shape_text()))),
        }
    }

    /// The numbers of a list `[n]` or `[n, 1]`.
    ///
    /// # Errors
    /// A finding for texts, flags, other shapes, and integers above 2⁵³, which would be rounded.
    pub fn numbers(&self) -> Result<Vec<f64>, Finding> {
        self.list("numbers")?;
        let number = |(index, value)| match value {
            Value::Float(number) => Ok(number),
            Value::Integer(whole) => exact(whole)
                .ok_or_else(|| self.fail(format!("value {index} is {whole}; above 2^53 it would be rounded"))),
            Value::Flag(_) => Err(self.fail("holds flags; expected numbers")),
        };
        collect(
            &self.at,
            self.header.n_elements(),
            self.values().enumerate().map(number),
        )
    }

    /// The whole numbers of a list `[n]` or `[n, 1]`; floats count where they are whole.
    ///
    /// # Errors
    /// A finding for texts, flags, other shapes, fractions, NaN, and what doesn't fit into 64 bits.
    pub fn integers(&self) -> Result<Vec<i64>, Finding> {
        self.list("whole numbers")?;
        let values = self.values().enumerate();
        collect(
            &self.at,
            self.header.n_elements(),
            values.map(|(index, value)| self.integer(index, value)),
        )
    }

    fn integer(&self, index: usize, value: Value) -> Found<i64> {
        match value {
            Value::Integer(whole) => {
                i64::try_from(whole).map_err(|_| self.fail(format!("value {index} is {whole}; it is too large")))
            }
            Value::Float(number) if number.fract() == 0.0 && number.abs() <= MAX_EXACT as f64 => Ok(number as i64),
            Value::Float(number) => Err(self.fail(format!("value {index} is {number}; expected a whole number"))),
            Value::Flag(_) => Err(self.fail("holds flags; expected whole numbers")),
        }
    }

    /// The cluster of each spike: whole numbers from 0 to 2³² − 1.
    pub(super) fn clusters(&self) -> Found<Vec<u32>> {
        self.list("whole numbers")?;
        let cluster = |(spike, value)| {
            let cluster = self.integer(spike, value)?;
            let expected = u32::try_from(cluster);
            expected.map_err(|_| {
                self.fail(format!(
                    "spike {spike} is of cluster {cluster}; expected 0 to {}",
                    u32::MAX
                ))
            })
        };
        collect(
            &self.at,
            self.header.n_elements(),
            self.values().enumerate().map(cluster),
        )
    }

    /// The one number of an array of one element.
    ///
    /// # Errors
    /// A finding if there is not one element, or no number.
    pub fn number(&self) -> Result<f64, Finding> {
        let values = self.numbers()?;
        match values[..] {
            [one] => Ok(one),
            _ => Err(self.fail(format!("{} values; expected one number", values.len()))),
        }
    }

    /// All values in rows of columns, `[rows, columns]`; flags are 0 and 1. Allocates the size of the array.
    ///
    /// # Errors
    /// A finding for texts and for more than two axes.
    pub fn matrix(&self) -> Result<Array2<f32>, Finding> {
        let dim = self.dim()?;
        if matches!(self.header.dtype, Dtype::Text { .. }) {
            return Err(self.fail("holds texts; expected numbers"));
        }
        let number = |value| {
            Ok(match value {
                Value::Float(number) => number as f32,
                Value::Integer(whole) => whole as f32,
                Value::Flag(flag) => f32::from(u8::from(flag)),
            })
        };
        let values = collect(&self.at, self.header.n_elements(), self.values().map(number))?;
        let array = Array2::from_shape_vec(dim.set_f(self.header.is_fortran), values)
            .map_err(|error| self.fail(error.to_string()))?;
        if array.is_standard_layout() {
            return Ok(array);
        }
        Ok(array.as_standard_layout().into_owned())
    }

    /// A column of a table, as flags, numbers or texts. Integers above 2⁵³ become texts, because they would be rounded.
    ///
    /// # Errors
    /// A finding if there is no such column, or if texts are not Unicode.
    pub fn column(&self, column: usize) -> Result<Column, Finding> {
        let (n_rows, n_columns) = self.dim()?;
        if column >= n_columns {
            return Err(self.fail(format!("column {column} of {n_columns}")));
        }
        if self.header.dtype.size() == 0 {
            return self.texts_of(column, n_rows, n_columns).map(Column::Texts);
        }
        let (dtype, is_big_endian) = (&self.header.dtype, self.header.is_big_endian);
        let rows = || (0..n_rows).filter_map(|row| self.element(self.index(row, column, n_rows, n_columns)));
        let values = || rows().map(|bytes| value(dtype, is_big_endian, bytes));
        if matches!(dtype, Dtype::Text { .. }) {
            return self.texts_of(column, n_rows, n_columns).map(Column::Texts);
        }
        if matches!(dtype, Dtype::Bool) {
            let flags = values().map(|value| Ok(matches!(value, Value::Flag(true))));
            return collect(&self.at, n_rows, flags).map(Column::Flags);
        }
        let number = |value| match value {
            Value::Float(number) => Ok(number),
            Value::Integer(whole) => exact(whole).ok_or_else(|| self.fail("holds numbers above 2^53")),
            Value::Flag(flag) => Ok(f64::from(u8::from(flag))),
        };
        let numbers = collect(&self.at, n_rows, values().map(number));
        if numbers.is_ok() || n_rows > MAX_TEXTS {
            return numbers.map(Column::Numbers);
        }
        let text = |value| match value {
            Value::Integer(whole) => whole.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
        };
        Ok(Column::Texts(values().map(text).collect()))
    }

    /// Where an element of a matrix is stored.
    fn index(&self, row: usize, column: usize, n_rows: usize, n_columns: usize) -> usize {
        if self.header.is_fortran {
            column * n_rows + row
        } else {
            row * n_columns + column
        }
    }

    fn element(&self, index: usize) -> Option<&[u8]> {
        let size = self.header.dtype.size();
        let start = index.checked_mul(size)?;
        self.bytes.get(start..start.checked_add(size)?)
    }

    fn texts_of(&self, column: usize, n_rows: usize, n_columns: usize) -> Found<Vec<String>> {
        if n_rows > MAX_TEXTS || self.bytes.len() > MAX_TEXT_BYTES {
            let message = format!(
                "{n_rows} texts in {} bytes; at most {MAX_TEXTS} are read",
                self.bytes.len()
            );
            return Err(self.fail(message));
        }
        let text = |row: usize| {
            let index = self.index(row, column, n_rows, n_columns);
            let bytes = self.element(index).unwrap_or_default();
            decode(&self.header.dtype, self.header.is_big_endian, bytes)
                .ok_or_else(|| self.fail(format!("text {row} is not Unicode (hint: save it with dtype 'U')")))
        };
        (0..n_rows).map(text).collect()
    }
}

/// A vector of known length, refused rather than aborted where there is no memory for it.
fn collect<T>(at: &str, n: usize, values: impl Iterator<Item = Found<T>>) -> Found<Vec<T>> {
    let mut all = Vec::new();
    all.try_reserve_exact(n)
        .map_err(|_| no_memory(at, n.saturating_mul(size_of::<T>())))?;
    for value in values {
        all.push(value?);
    }
    Ok(all)
}

fn exact(whole: i128) -> Option<f64> {
    (whole.abs() <= MAX_EXACT).then_some(whole as f64)
}

/// Decodes one element of at most eight bytes.
fn value(dtype: &Dtype, is_big_endian: bool, bytes: &[u8]) -> Value {
    let mut word = [0_u8; 8];
    if is_big_endian {
        word.iter_mut()
            .zip(bytes.iter().rev())
            .for_each(|(to, from)| *to = *from);
    } else {
        word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    }
    let word = u64::from_le_bytes(word);
    match dtype {
        Dtype::Bool => Value::Flag(word != 0),
        Dtype::Unsigned(_) => Value::Integer(i128::from(word)),
        Dtype::Signed(size) => {
            let unused = 64 - 8 * u32::from(*size).clamp(1, 8);
            Value::Integer(i128::from((word << unused).cast_signed() >> unused))
        }
        Dtype::Float(2) => Value::Float(half(word as u16)),
        Dtype::Float(4) => Value::Float(f64::from(f32::from_bits(word as u32))),
        Dtype::Float(_) => Value::Float(f64::from_bits(word)),
        // Refused before values are looked at.
        Dtype::Text { .. } | Dtype::Other(_) => Value::Float(f64::NAN),
    }
}

/// A 16-bit float (IEEE 754 binary16): sign, five bits of exponent, ten of fraction.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let fraction = f64::from(bits & 0x3ff) / 1024.0;
    let magnitude = match i32::from(bits >> 10 & 0x1f) {
        0 => fraction * 2.0_f64.powi(-14),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (1.0 + fraction) * 2.0_f64.powi(exponent - 15),
    };
    sign * magnitude
}

/// A text of fixed length without its padding; `None` if it isn't Unicode.
fn decode(dtype: &Dtype, is_big_endian: bool, bytes: &[u8]) -> Option<String> {
    let Dtype::Text { is_wide: true, .. } = dtype else {
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        return String::from_utf8(bytes.get(..end)?.to_vec()).ok();
    };
    let letters = bytes.chunks_exact(4).map(|four| {
        let four = <[u8; 4]>::try_from(four).ok()?;
        let code = if is_big_endian {
            u32::from_be_bytes(four)
        } else {
            u32::from_le_bytes(four)
        };
        char::from_u32(code)
    });
    let text: String = letters.collect::<Option<_>>()?;
    Some(text.trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_those_of_the_standard() {
        // IEEE 754-2008, binary16: the examples of its usual tables.
        let cases = [
            (0x0001, 5.960464477539063e-8),
            (0x03ff, 6.097555160522461e-5),
            (0x0400, 6.103515625e-5),
            (0x3555, 0.333251953125),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0xfc00, f64::NEG_INFINITY),
        ];
        for (bits, value) in cases {
            assert_eq!(half(bits), value, "{bits:#06x}");
        }
        assert!(half(0x7e00).is_nan());
    }
}
