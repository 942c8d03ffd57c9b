//! The header of a `.npy` file: a magic number, a version, and a dictionary of three entries.

use std::io::Read;

use super::{MAX_BYTES, MAX_TEXT_BYTES};
use crate::error::Finding;
use crate::h5::Found;

/// What every `.npy` file begins with.
pub(in crate::import) const MAGIC: [u8; 6] = *b"\x93NUMPY";
/// Longest header (bytes) that is read; NumPy itself writes about a hundred.
const MAX_HEADER: usize = 1 << 20;
/// Most axes of an array, as in NumPy.
const MAX_AXES: usize = 64;

/// What one value of an array is; widths in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// A flag, in one byte.
    Bool,
    /// A whole number with a sign.
    Signed(u8),
    /// A whole number without a sign.
    Unsigned(u8),
    /// A number in floating point.
    Float(u8),
    /// A text of fixed length, padded with zeros.
    Text {
        /// Bytes of one text.
        size: usize,
        /// Four bytes a letter (`U`) rather than UTF-8 (`S`).
        is_wide: bool,
    },
    /// Something that isn't read, as the file names it.
    Other(String),
}

impl Dtype {
    /// Bytes of one value.
    pub fn size(&self) -> usize {
        match self {
            Self::Bool => 1,
            Self::Signed(size) | Self::Unsigned(size) | Self::Float(size) => usize::from(*size),
            Self::Text { size, .. } => *size,
            Self::Other(_) => 0,
        }
    }
}

/// What a file says about its array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What one value is.
    pub dtype: Dtype,
    /// Whether the bytes of a value come with the most significant one first.
    pub is_big_endian: bool,
    /// Whether the first index runs fastest.
    pub is_fortran: bool,
    /// Lengths of the axes.
    pub shape: Vec<usize>,
}

impl Header {
    /// Reads the header of an array of `length` bytes in all, and compares its claims with them.
    pub(in crate::import) fn read(reader: &mut impl Read, length: u64, at: &str) -> Found<Self> {
        let fail = |message: String| Finding::new(at, message);
        let mut exactly = |n: usize, what: &str| {
            let mut bytes = Vec::new();
            let read = reader.by_ref().take(n as u64).read_to_end(&mut bytes);
            read.map_err(|error| Finding::new(at, error.to_string()))?;
            if bytes.len() < n {
                return Err(Finding::new(at, format!("it ends within its {what}: the file is cut")));
            }
            Ok(bytes)
        };
        let start = exactly(8, "first eight bytes")?;
        if start.get(..6) != Some(&MAGIC[..]) {
            return Err(fail("not a NumPy array; expected \\x93NUMPY at its start".to_owned()));
        }
        let version = start.get(6).copied().unwrap_or(0);
        if !(1..=3).contains(&version) {
            let message = format!("version {version} of the format; this program reads 1 to 3");
            return Err(fail(message));
        }
        let width = if version == 1 { 2 } else { 4 };
        let n_header = exactly(width, "header's length")?
            .iter()
            .rev()
            .fold(0_usize, |sum, &byte| sum << 8 | usize::from(byte));
        if n_header > MAX_HEADER {
            let message = format!("a header of {n_header} bytes; at most {MAX_HEADER} are read");
            return Err(fail(message));
        }
        let text = exactly(n_header, "header")?;
        let text = if version < 3 {
            text.iter().map(|&byte| char::from(byte)).collect()
        } else {
            String::from_utf8(text).map_err(|_| fail("its header isn't UTF-8".to_owned()))?
        };
        let header = parse(&text).map_err(|message| fail(format!("its header can't be read: {message}")))?;
        if header.refusal().is_none() {
            let n_bytes = header.n_bytes(at)? as u64;
            let n_before = (8 + width + n_header) as u64;
            let n_there = length.saturating_sub(n_before);
            if n_there != n_bytes {
                let message = format!(
                    "shape {} of values of {} bytes takes {n_bytes} bytes; {n_there} are there{}",
                    header.shape_text(),
                    header.dtype.size(),
                    if n_there < n_bytes { ": the file is cut" } else { "" }
                );
                return Err(fail(message));
            }
        }
        Ok(header)
    }

    /// Why the array isn't read, whatever its bytes are.
    pub(in crate::import) fn refusal(&self) -> Option<String> {
        let Dtype::Other(name) = &self.dtype else { return None };
        let name = name.escape_debug();
        Some(match name.to_string().trim_start_matches(['|', '<', '>', '=']) {
            kind if kind.starts_with('O') => {
                "holds Python objects, which would run code; save it with a fixed type, such as \
                 np.save(path, np.array(values, dtype=\"U\")) for texts or dtype=float for numbers"
                    .to_owned()
            }
            kind if kind.starts_with(['M', 'm']) => {
                format!("holds dates or durations ('{name}'); save seconds as float64")
            }
            kind if kind.starts_with('c') => format!("holds complex numbers ('{name}'); save real numbers"),
            kind if kind.starts_with(['[', '(', 'V', '{']) => {
                "holds records; save each field as an array of its own".to_owned()
            }
            _ => format!("holds values of type '{name}', which isn't read; save it as float64"),
        })
    }

    /// Number of values.
    pub fn n_elements(&self) -> usize {
        // The product was checked when the header was read; a saturated one can't be allocated.
        self.shape
            .iter()
            .fold(1_usize, |product, &length| product.saturating_mul(length))
    }

    /// Rows and columns: a list has one column, a single value one row; `None` for more than two axes.
    pub fn dim(&self) -> Option<(usize, usize)> {
        match self.shape[..] {
            [] => Some((1, 1)),
            [n_rows] => Some((n_rows, 1)),
            [n_rows, n_columns] => Some((n_rows, n_columns)),
            _ => None,
        }
    }

    /// Bytes of all values.
    pub(in crate::import) fn n_bytes(&self, at: &str) -> Found<usize> {
        let fail = |message: String| Finding::new(at, message);
        let mut product = Some(1_usize);
        // Where one axis is empty, the others could still be too long for an index.
        for &length in &self.shape {
            product = product.and_then(|product| product.checked_mul(length.max(1)));
        }
        let all = product.and_then(|product| product.checked_mul(self.dtype.size().max(1)));
        let Some(all) = all.filter(|&n| n as u64 <= MAX_BYTES) else {
            let message = format!(
                "shape {} of values of {} bytes is larger than {MAX_BYTES} bytes",
                self.shape_text(),
                self.dtype.size()
            );
            return Err(fail(message));
        };
        let is_text = matches!(self.dtype, Dtype::Text { .. });
        if is_text && all > MAX_TEXT_BYTES {
            let message = format!("{all} bytes of text; at most {MAX_TEXT_BYTES} are read");
            return Err(fail(message));
        }
        let is_empty = self.shape.contains(&0) || self.dtype.size() == 0;
        Ok(if is_empty { 0 } else { all })
    }

    /// The shape as NumPy prints it, cut where it is long.
    pub(in crate::import) fn shape_text(&self) -> String {
        let shown: Vec<String> = self.shape.iter().take(8).map(ToString::to_string).collect();
        let more = if self.shape.len() > 8 { ", …" } else { "" };
        format!("[{}{more}]", shown.join(", "))
    }
}

/// A value of the dictionary.
enum Literal {
    Text(String),
    Flag(bool),
    Whole(Vec<usize>),
    /// A list, which describes records.
    Records,
}

/// Parses `{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }`.
fn parse(text: &str) -> Result<Header, String> {
    let mut cursor = Cursor { rest: text };
    cursor.expect('{')?;
    let (mut descr, mut order, mut shape) = (None, None, None);
    while !cursor.accept('}') {
        let key = cursor.quoted()?;
        cursor.expect(':')?;
        let value = cursor.literal()?;
        let is_new = match (key.as_str(), value) {
            ("descr", Literal::Text(text)) => descr.replace(text).is_none(),
            ("descr", Literal::Records) => descr.replace("[".to_owned()).is_none(),
            ("fortran_order", Literal::Flag(flag)) => order.replace(flag).is_none(),
            ("shape", Literal::Whole(lengths)) => shape.replace(lengths).is_none(),
            ("descr" | "fortran_order" | "shape", _) => return Err(format!("'{key}' has a value of another kind")),
            _ => return Err(format!("unknown entry '{}'", key.escape_debug())),
        };
        if !is_new {
            return Err(format!("'{key}' is there twice"));
        }
        if !cursor.accept(',') {
            cursor.expect('}')?;
            break;
        }
    }
    if !cursor.rest.trim().is_empty() {
        return Err("there is more after the dictionary".to_owned());
    }
    let descr = descr.ok_or("'descr' is missing")?;
    let (dtype, is_big_endian) = dtype(&descr);
    Ok(Header {
        dtype,
        is_big_endian,
        is_fortran: order.ok_or("'fortran_order' is missing")?,
        shape: shape.ok_or("'shape' is missing")?,
    })
}

/// The type that a text such as `<f8` names, and whether it is big-endian.
fn dtype(descr: &str) -> (Dtype, bool) {
    let other = || (Dtype::Other(descr.chars().take(64).collect()), false);
    let (order, kind) = match descr.chars().next() {
        Some(order @ ('<' | '>' | '|' | '=')) => (order, descr.get(1..).unwrap_or("")),
        _ => ('=', descr),
    };
    let is_big_endian = order == '>' || (order == '=' && cfg!(target_endian = "big"));
    let mut letters = kind.chars();
    let letter = letters.next();
    let digits = letters.as_str();
    let width: Option<usize> = digits
        .parse()
        .ok()
        .filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
    let dtype = match (letter, width) {
        (Some('b' | '?'), Some(1)) => Dtype::Bool,
        (Some('?'), None) if digits.is_empty() => Dtype::Bool,
        (Some('i'), Some(width @ (1 | 2 | 4 | 8))) => Dtype::Signed(width as u8),
        (Some('u'), Some(width @ (1 | 2 | 4 | 8))) => Dtype::Unsigned(width as u8),
        (Some('f'), Some(width @ (2 | 4 | 8))) => Dtype::Float(width as u8),
        (Some('S' | 'a'), Some(size)) => Dtype::Text { size, is_wide: false },
        (Some('U'), Some(n)) => match n.checked_mul(4) {
            Some(size) => Dtype::Text { size, is_wide: true },
            None => return other(),
        },
        _ => return other(),
    };
    (dtype, is_big_endian)
}

/// What is left of the text.
struct Cursor<'a> {
    rest: &'a str,
}

impl Cursor<'_> {
    fn accept(&mut self, wanted: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.accept(wanted) {
            return Ok(());
        }
        let found: String = self.rest.chars().take(12).collect();
        Err(format!("expected '{wanted}' before \"{}\"", found.escape_debug()))
    }

    /// A text in single or double quotes.
    fn quoted(&mut self) -> Result<String, String> {
        let quote = if self.accept('"') {
            '"'
        } else {
            self.expect('\'')?;
            '\''
        };
        let (text, rest) = self.rest.split_once(quote).ok_or("a quote isn't closed")?;
        self.rest = rest;
        Ok(text.to_owned())
    }

    fn literal(&mut self) -> Result<Literal, String> {
        self.rest = self.rest.trim_start();
        if let Some(rest) = self.rest.strip_prefix("True") {
            self.rest = rest;
            return Ok(Literal::Flag(true));
        }
        if let Some(rest) = self.rest.strip_prefix("False") {
            self.rest = rest;
            return Ok(Literal::Flag(false));
        }
        if self.rest.starts_with('[') {
            return self.skip_list();
        }
        if self.accept('(') {
            return self.lengths();
        }
        self.quoted().map(Literal::Text)
    }

    /// Lengths of axes up to the closing parenthesis; whole numbers, by Python 2 with an `L`.
    fn lengths(&mut self) -> Result<Literal, String> {
        let mut lengths = Vec::new();
        while !self.accept(')') {
            let rest = self.rest;
            let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (digits, rest) = rest.split_at(n_digits);
            let length = digits.parse();
            lengths.push(length.map_err(|_| format!("'shape' holds '{}'", excerpt(self.rest)))?);
            self.rest = rest.strip_prefix('L').unwrap_or(rest);
            if lengths.len() > MAX_AXES {
                return Err(format!("more than {MAX_AXES} axes"));
            }
            if !self.accept(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(Literal::Whole(lengths))
    }

    /// The description of records: skipped, because records are refused.
    fn skip_list(&mut self) -> Result<Literal, String> {
        let mut depth = 0_usize;
        let mut quote = None;
        for (place, letter) in self.rest.char_indices() {
            match (quote, letter) {
                (Some(open), _) if open == letter => quote = None,
                (None, '\'' | '"') => quote = Some(letter),
                (None, '[' | '(') => depth += 1,
                (None, ']' | ')') => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                self.rest = self.rest.get(place + letter.len_utf8()..).unwrap_or("");
                return Ok(Literal::Records);
            }
        }
        Err("a list isn't closed".to_owned())
    }
}

fn excerpt(text: &str) -> String {
    let start: String = text.chars().take(24).collect();
    start.escape_debug().to_string()
}
