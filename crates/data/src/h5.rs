//! HDF5 objects of a file we did not write, looked at before they are trusted.
//!
//! Only hard links are followed (an external link could read any file), virtual and external storage and
//! unknown filters are refused, and every size is checked before memory is taken. Each fault becomes a
//! [`Finding`] with the path of the object, so that a reader can go on and report the next one too.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use hdf5::dataset::Layout;
use hdf5::filters::Filter;
use hdf5::types::{FixedAscii, FixedUnicode, TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Attribute, Container, Dataset, File, Group, H5Type, LinkType};
use ndarray::{Array, Array3, Dimension, Ix3, s};

use crate::error::{DataError, Finding};
use crate::fs::open_regular;

/// The first eight bytes of every HDF5 file (or of what follows a user block).
const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";
/// More links than this in one group are refused.
const MAX_LINKS: u64 = 100_000;
/// Largest array (bytes in memory) that is read: 16 GiB.
const MAX_BYTES: usize = 1 << 34;
/// Deflate can't shrink by more than 1032; what claims more than this is no data.
const MAX_INFLATION: u64 = 1100;
/// Arrays up to this size (bytes) may be stored as anything, also as "all fill value".
const SMALL_BYTES: usize = 1 << 26;
/// Longest text of fixed length that is read (bytes).
const MAX_FIXED_TEXT: usize = 1024;
/// Bytes read at once when an array is converted piece by piece.
const BLOCK_BYTES: usize = 1 << 26;

/// What a reading step gives: the value, or why there is none.
pub(crate) type Found<T> = Result<T, Finding>;

/// Kinds of numbers and texts; everything else is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Integer,
    Float,
    Boolean,
    Text,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Integer => "integers",
            Self::Float => "floating-point numbers",
            Self::Boolean => "booleans",
            Self::Text => "text",
        }
    }
}

/// Opens a file for reading, after a look at its type and signature.
pub(crate) fn open(path: &Path) -> Result<File, DataError> {
    check_signature(path)?;
    hdf5::silence_errors(true);
    File::open(path).map_err(|error| DataError::Hdf5 {
        path: path.to_path_buf(),
        action: "open",
        detail: error.to_string(),
    })
}

fn check_signature(path: &Path) -> Result<(), DataError> {
    let fail = |source| crate::fs::FsError::new(path, "read the file", source);
    let mut file = open_regular(path)?;
    let length = file.metadata().map_err(fail)?.len();
    // A user block moves the signature to 512, 1024, 2048, …
    let mut offset = 0;
    let mut start = [0_u8; 8];
    while offset + 8 <= length {
        file.seek(SeekFrom::Start(offset)).map_err(fail)?;
        file.read_exact(&mut start).map_err(fail)?;
        if start == SIGNATURE {
            return Ok(());
        }
        offset = if offset == 0 { 512 } else { offset * 2 };
    }
    let found = if length == 0 {
        "it is empty".to_owned()
    } else {
        format!("{length} bytes without that signature")
    };
    Err(DataError::NotHdf5 {
        path: path.to_path_buf(),
        found,
    })
}

/// A group and what it links to.
pub(crate) struct Node {
    group: Group,
    /// Path in the file, without a `/` at its end.
    pub(crate) at: String,
    links: BTreeMap<String, LinkType>,
}

impl Node {
    pub(crate) fn root(file: &File) -> Found<Self> {
        let group = file.group("/").map_err(|e| Finding::new("/", e.to_string()))?;
        Self::new(group, String::new())
    }

    fn new(group: Group, at: String) -> Found<Self> {
        let n_links = group.len();
        if n_links > MAX_LINKS {
            let message = format!("{n_links} links in one group; at most {MAX_LINKS} are read");
            return Err(Finding::new(at, message));
        }
        let mut links = BTreeMap::new();
        group
            .iter_visit_default(|name, info| {
                links.insert(name.to_owned(), info.link_type);
                Ok(())
            })
            .map_err(|error| Finding::new(&at, error.to_string()))?;
        Ok(Self { group, at, links })
    }

    /// Names in this group, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.links.keys().map(String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.links.contains_key(name)
    }

    pub(crate) fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.at)
    }

    fn follow(&self, name: &str, what: &str) -> Found<String> {
        let at = self.path_of(name);
        match self.links.get(name) {
            Some(LinkType::Hard) => Ok(at),
            Some(link) => Err(Finding::new(
                at,
                format!(
                    "a {link:?} link; only objects in this file are read (hint: store the data itself, for example with h5repack or h5copy)"
                ),
            )),
            None => Err(Finding::new(at, format!("the {what} is missing"))),
        }
    }

    pub(crate) fn group(&self, name: &str) -> Found<Self> {
        let at = self.follow(name, "group")?;
        let group = self
            .group
            .group(name)
            .map_err(|error| Finding::new(&at, format!("not a group: {error}")))?;
        Self::new(group, at)
    }

    pub(crate) fn dataset(&self, name: &str) -> Found<Data> {
        let at = self.follow(name, "dataset")?;
        let dataset = self
            .group
            .dataset(name)
            .map_err(|error| Finding::new(&at, format!("not a dataset: {error}")))?;
        Data::new(dataset, at)
    }

    /// The dataset if the name exists.
    pub(crate) fn optional(&self, name: &str) -> Found<Option<Data>> {
        self.has(name).then(|| self.dataset(name)).transpose()
    }

    /// A dataset by a path of several names from here.
    pub(crate) fn find(&self, path: &str) -> Found<Data> {
        let mut names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        let Some(last) = names.pop() else {
            return Err(Finding::new(&self.at, "the dataset path is empty"));
        };
        let Some(first) = names.first() else {
            return self.dataset(last);
        };
        let mut node = self.group(first)?;
        for name in names.iter().skip(1) {
            node = node.group(name)?;
        }
        node.dataset(last)
    }

    fn attribute(&self, name: &str) -> Found<Option<(Attribute, Kind, String)>> {
        let at = format!("{} (attribute {name})", if self.at.is_empty() { "/" } else { &self.at });
        let names = self.group.attr_names();
        let names = names.map_err(|error| Finding::new(&at, error.to_string()))?;
        if !names.iter().any(|known| known == name) {
            return Ok(None);
        }
        let attribute = self.group.attr(name);
        let attribute = attribute.map_err(|error| Finding::new(&at, error.to_string()))?;
        if attribute.shape().iter().any(|&length| length != 1) {
            let message = format!("shape {:?}; expected one value", attribute.shape());
            return Err(Finding::new(at, message));
        }
        let kind = kind_of(&attribute, &at)?;
        Ok(Some((attribute, kind, at)))
    }

    pub(crate) fn number_attribute(&self, name: &str) -> Found<Option<f64>> {
        let Some((attribute, kind, at)) = self.attribute(name)? else {
            return Ok(None);
        };
        expect_kind(kind, &[Kind::Integer, Kind::Float], &at)?;
        Ok(read_all::<f64>(&attribute, 1, &at)?.first().copied())
    }

    pub(crate) fn required_number(&self, name: &str) -> Found<f64> {
        self.number_attribute(name)?
            .ok_or_else(|| Finding::new(format!("{} (attribute {name})", self.at), "the attribute is missing"))
    }

    pub(crate) fn integer_attribute(&self, name: &str) -> Found<Option<i64>> {
        let Some((attribute, kind, at)) = self.attribute(name)? else {
            return Ok(None);
        };
        expect_kind(kind, &[Kind::Integer], &at)?;
        Ok(read_all::<i64>(&attribute, 1, &at)?.first().copied())
    }

    pub(crate) fn text_attribute(&self, name: &str) -> Found<Option<String>> {
        let Some((attribute, kind, at)) = self.attribute(name)? else {
            return Ok(None);
        };
        expect_kind(kind, &[Kind::Text], &at)?;
        Ok(read_texts(&attribute, 1, &at)?.into_iter().next())
    }
}

/// A dataset whose storage, type and size were looked at.
pub(crate) struct Data {
    dataset: Dataset,
    /// Path in the file.
    pub(crate) at: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) kind: Kind,
    n_elements: usize,
}

impl Data {
    fn new(dataset: Dataset, at: String) -> Found<Self> {
        let fail = |message: String| Finding::new(&at, message);
        let shape = dataset.get_shape().map_err(|e| fail(e.to_string()))?;
        let n_elements = shape
            .iter()
            .try_fold(1_usize, |product, &length| product.checked_mul(length))
            .ok_or_else(|| fail(format!("shape {shape:?} overflows")))?;
        let plist = dataset.dcpl().map_err(|e| fail(e.to_string()))?;
        let layout = plist.get_layout().map_err(|e| fail(e.to_string()))?;
        let external = plist.get_external().map_err(|e| fail(e.to_string()))?;
        if layout == Layout::Virtual || !external.is_empty() {
            return Err(fail("the data lie in another file; store them in this one".to_owned()));
        }
        let filters = plist.get_filters().map_err(|e| fail(e.to_string()))?;
        if let Some(Filter::User(id, _)) = filters.iter().find(|f| matches!(f, Filter::User(..))) {
            return Err(fail(format!(
                "compressed with filter {id}, which needs a plugin; use deflate (gzip)"
            )));
        }
        let kind = kind_of(&dataset, &at)?;
        Ok(Self {
            dataset,
            at,
            shape,
            kind,
            n_elements,
        })
    }

    fn expect_rank(&self, rank: usize, axes: &str) -> Found<()> {
        if self.shape.len() == rank {
            Ok(())
        } else {
            let message = format!("shape {:?}; expected {rank} axes: {axes}", self.shape);
            Err(Finding::new(&self.at, message))
        }
    }

    /// Refuses what can't fit in memory, or can't be in the file.
    fn check_size<T>(&self) -> Found<()> {
        let bytes = self.n_elements.checked_mul(size_of::<T>());
        let Some(bytes) = bytes.filter(|&bytes| bytes <= MAX_BYTES) else {
            let message = format!(
                "shape {:?} is larger than the limit of {} GiB",
                self.shape,
                MAX_BYTES >> 30
            );
            return Err(Finding::new(&self.at, message));
        };
        let stored = self.dataset.storage_size();
        if bytes > SMALL_BYTES && (bytes as u64) / MAX_INFLATION > stored {
            let message = format!(
                "shape {:?}, but only {stored} bytes are stored: the data are missing",
                self.shape
            );
            return Err(Finding::new(&self.at, message));
        }
        Ok(())
    }

    fn numbers<T: H5Type + Copy + Default>(&self, kinds: &[Kind]) -> Found<Vec<T>> {
        expect_kind(self.kind, kinds, &self.at)?;
        self.check_size::<T>()?;
        read_all(&self.dataset, self.n_elements, &self.at)
    }

    pub(crate) fn floats_1d(&self) -> Found<Vec<f64>> {
        self.expect_rank(1, "values")?;
        self.numbers(&[Kind::Float, Kind::Integer])
    }

    pub(crate) fn floats32_1d(&self) -> Found<Vec<f32>> {
        self.expect_rank(1, "samples")?;
        self.numbers(&[Kind::Float, Kind::Integer])
    }

    pub(crate) fn integers_1d(&self) -> Found<Vec<i64>> {
        self.expect_rank(1, "values")?;
        self.numbers(&[Kind::Integer])
    }

    pub(crate) fn texts_1d(&self) -> Found<Vec<String>> {
        self.expect_rank(1, "texts")?;
        expect_kind(self.kind, &[Kind::Text], &self.at)?;
        self.check_size::<VarLenUnicode>()?;
        read_texts(&self.dataset, self.n_elements, &self.at)
    }

    /// An array of `f32` with the given axes; integers and booleans are converted.
    pub(crate) fn floats32<D: Dimension>(&self, axes: &str) -> Found<Array<f32, D>> {
        self.expect_rank(D::NDIM.unwrap_or(self.shape.len()), axes)?;
        let values = if self.kind == Kind::Boolean {
            let values: Vec<bool> = self.numbers(&[Kind::Boolean])?;
            values.into_iter().map(f32::from).collect()
        } else {
            self.numbers(&[Kind::Float, Kind::Integer])?
        };
        Array::from_shape_vec(self.shape.clone(), values)
            .and_then(Array::into_dimensionality)
            .map_err(|error| Finding::new(&self.at, error.to_string()))
    }

    /// Spike counts with three axes in the order of the file.
    ///
    /// Integers, booleans and floats that are whole numbers are taken; NaN becomes `None` in the
    /// callback's eyes: `on_nan` is called with its position and decides whether it is allowed.
    pub(crate) fn counts_3d(&self, mut on_nan: impl FnMut([usize; 3]) -> Found<()>) -> Found<Array3<u8>> {
        self.expect_rank(3, "trials, bins and neurons")?;
        self.check_size::<u8>()?;
        if self.kind == Kind::Boolean {
            return self.map_blocks(|_, value: bool| Ok(u8::from(value)));
        }
        expect_kind(self.kind, &[Kind::Integer, Kind::Float], &self.at)?;
        self.map_blocks(|index, value: f64| {
            if value.is_nan() {
                on_nan(index)?;
                return Ok(0);
            }
            if value < 0.0 || value > f64::from(u8::MAX) || value.fract() != 0.0 {
                let message = format!("the value at {index:?} is {value}; expected a whole count of 0 to 255");
                return Err(Finding::new(&self.at, message));
            }
            Ok(value as u8)
        })
    }

    /// Reads blocks of the first axis and converts each element, so that memory stays small.
    fn map_blocks<T: H5Type + Copy>(&self, mut convert: impl FnMut([usize; 3], T) -> Found<u8>) -> Found<Array3<u8>> {
        let [n_rows, n_columns, n_layers] = [0, 1, 2].map(|i| self.shape.get(i).copied());
        let (n_rows, n_columns, n_layers) = (n_rows.unwrap_or(0), n_columns.unwrap_or(0), n_layers.unwrap_or(0));
        let mut values = Vec::new();
        values
            .try_reserve_exact(self.n_elements)
            .map_err(|error| Finding::new(&self.at, error.to_string()))?;
        let row_bytes = n_columns.saturating_mul(n_layers).saturating_mul(size_of::<T>());
        let block = (BLOCK_BYTES / row_bytes.max(1)).max(1);
        let mut first = 0;
        while first < n_rows && self.n_elements > 0 {
            let last = first.saturating_add(block).min(n_rows);
            let part: Array<T, Ix3> = self
                .dataset
                .read_slice(s![first..last, .., ..])
                .map_err(|error| Finding::new(&self.at, error.to_string()))?;
            for ((row, column, layer), &value) in part.indexed_iter() {
                values.push(convert([first + row, column, layer], value)?);
            }
            first = last;
        }
        Array3::from_shape_vec((n_rows, n_columns, n_layers), values)
            .map_err(|error| Finding::new(&self.at, error.to_string()))
    }
}

fn kind_of(container: &Container, at: &str) -> Found<Kind> {
    let descriptor = container.dtype().and_then(|dtype| dtype.to_descriptor());
    match descriptor {
        Ok(TypeDescriptor::Integer(_) | TypeDescriptor::Unsigned(_)) => Ok(Kind::Integer),
        Ok(TypeDescriptor::Float(_)) => Ok(Kind::Float),
        Ok(TypeDescriptor::Boolean) => Ok(Kind::Boolean),
        Ok(
            TypeDescriptor::FixedAscii(_)
            | TypeDescriptor::FixedUnicode(_)
            | TypeDescriptor::VarLenAscii
            | TypeDescriptor::VarLenUnicode,
        ) => Ok(Kind::Text),
        Ok(other) => Err(Finding::new(
            at,
            format!("elements of type {other}; expected numbers or text"),
        )),
        Err(error) => Err(Finding::new(at, format!("elements of an unknown type: {error}"))),
    }
}

fn expect_kind(found: Kind, expected: &[Kind], at: &str) -> Found<()> {
    if expected.contains(&found) {
        return Ok(());
    }
    let expected: Vec<&str> = expected.iter().map(|kind| kind.name()).collect();
    let message = format!("holds {}; expected {}", found.name(), expected.join(" or "));
    Err(Finding::new(at, message))
}

fn read_all<T: H5Type + Copy + Default>(container: &Container, n_elements: usize, at: &str) -> Found<Vec<T>> {
    let mut values = Vec::new();
    values
        .try_reserve_exact(n_elements)
        .map_err(|error| Finding::new(at, error.to_string()))?;
    values.resize(n_elements, T::default());
    container
        .as_reader()
        .read_into_raw(&mut values)
        .map_err(|error| Finding::new(at, format!("could not be read: {error}")))?;
    Ok(values)
}

fn read_texts(container: &Container, n_elements: usize, at: &str) -> Found<Vec<String>> {
    let descriptor = container.dtype().and_then(|dtype| dtype.to_descriptor());
    let fail = |error: hdf5::Error| Finding::new(at, format!("could not be read: {error}"));
    let texts = match descriptor.map_err(fail)? {
        TypeDescriptor::VarLenUnicode => container
            .read_raw::<VarLenUnicode>()
            .map(|texts| collect_texts(texts.iter().map(VarLenUnicode::as_bytes))),
        TypeDescriptor::VarLenAscii => container
            .read_raw::<VarLenAscii>()
            .map(|texts| collect_texts(texts.iter().map(VarLenAscii::as_bytes))),
        TypeDescriptor::FixedUnicode(length) if length <= MAX_FIXED_TEXT => container
            .read_raw::<FixedUnicode<MAX_FIXED_TEXT>>()
            .map(|texts| collect_texts(texts.iter().map(FixedUnicode::as_bytes))),
        TypeDescriptor::FixedAscii(length) if length <= MAX_FIXED_TEXT => container
            .read_raw::<FixedAscii<MAX_FIXED_TEXT>>()
            .map(|texts| collect_texts(texts.iter().map(FixedAscii::as_bytes))),
        other => {
            let message = format!("texts of type {other}; at most {MAX_FIXED_TEXT} bytes are read");
            return Err(Finding::new(at, message));
        }
    };
    let texts = texts.map_err(fail)?;
    debug_assert_eq!(texts.len(), n_elements);
    let is_text = |(i, text): (usize, Option<String>)| {
        text.ok_or_else(|| Finding::new(at, format!("text {i} is not valid UTF-8")))
    };
    texts.into_iter().enumerate().map(is_text).collect()
}

/// Texts up to their first NUL; `None` where the bytes are no UTF-8.
fn collect_texts<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Vec<Option<String>> {
    let up_to_nul = |bytes: &'a [u8]| bytes.split(|&byte| byte == 0).next().unwrap_or(&[]);
    texts
        .map(|bytes| String::from_utf8(up_to_nul(bytes).to_vec()).ok())
        .collect()
}
