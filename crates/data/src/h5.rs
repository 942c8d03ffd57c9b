//! HDF5 objects of a file we did not write, looked at before they are trusted.
//!
//! Only hard links are followed (an external link could read any file), and soft links within the file where a
//! format has them ([`Node::root_following`]); virtual and external storage and unknown filters are refused, and every
//! size is checked before memory is taken. Each fault becomes a [`Finding`] with the path of the object, so that a
//! reader can go on and report the next one too.

mod attributes;
mod links;
mod texts;
mod values;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use hdf5::dataset::Layout;
use hdf5::filters::Filter;
use hdf5::types::{Reference, TypeDescriptor};
use hdf5::{Container, Dataset, File, Group, H5Type, LinkType};
use ndarray::{Array, Array3, Dimension, Ix3, s};

use crate::error::{DataError, Finding, no_memory};
use crate::fs::open_regular;
pub(crate) use attributes::Attributes;
use links::Map;
use texts::{Texts, read_texts};
pub(crate) use values::Target;

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
/// Most texts in one list: far more units or trials than any session has.
const MAX_TEXTS: usize = 1 << 20;
/// Bytes read at once when an array is converted piece by piece.
const BLOCK_BYTES: usize = 1 << 26;
/// A message that lists the datasets of a group names so many, …
const SHOWN_DATASETS: usize = 20;
/// … looks at so many links for them, …
const VISITED_LINKS: usize = 1000;
/// … and goes down so many groups.
const MAX_DEPTH: usize = 8;

/// What a reading step gives: the value, or why there is none.
pub(crate) type Found<T> = Result<T, Finding>;

/// Kinds of elements. All but numbers, booleans and texts are refused, unless a dataset is [looked at](Node::look) first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Integer,
    Float,
    Boolean,
    Text,
    /// Named integers other than booleans.
    Enumeration,
    /// References to objects of the file.
    Reference,
    Other,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Integer => "integers",
            Self::Float => "floating-point numbers",
            Self::Boolean => "booleans",
            Self::Text => "text",
            Self::Enumeration => "enumerated values",
            Self::Reference => "object references",
            Self::Other => "elements of another type",
        }
    }
}

/// Opens a file for reading, after a look at its type and signature.
pub(crate) fn open(path: &Path) -> Result<File, DataError> {
    check_signature(path)?;
    hdf5::silence_errors(true);
    File::open(path).map_err(|error| file_error(path, path, "open", &error))
}

/// An error of the library on a file as a whole: what the system said, if it is the system's.
///
/// `opened` is the path the library knows, `path` the one the user does.
pub(crate) fn file_error(path: &Path, opened: &Path, action: &'static str, error: &hdf5::Error) -> DataError {
    let text = error.to_string();
    if let Some(source) = os_error(&text) {
        let action = if action == "open" {
            "open the file"
        } else {
            "write the file"
        };
        let source = if source.kind() == ErrorKind::WouldBlock {
            let text = "another program has it open for writing; close it there, or read it as it is with HDF5_USE_FILE_LOCKING=FALSE";
            std::io::Error::new(ErrorKind::WouldBlock, text)
        } else {
            source
        };
        return crate::fs::FsError::new(path, action, source).into();
    }
    DataError::Hdf5 {
        path: path.to_path_buf(),
        action,
        detail: text.replace(&*opened.to_string_lossy(), &path.to_string_lossy()),
    }
}

/// The library wraps the number of a system's error in a list of internals: "…, errno = 28, error message = …".
fn os_error(text: &str) -> Option<std::io::Error> {
    let (_, after) = text.rsplit_once("errno = ")?;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().map(std::io::Error::from_raw_os_error)
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
    /// What the file links to, where soft links and references are followed.
    map: Option<Rc<Map>>,
}

impl Node {
    pub(crate) fn root(file: &File) -> Found<Self> {
        Self::root_with(file, None)
    }

    /// The root of a file whose soft links are followed, as long as nothing in the file links to another one.
    ///
    /// Visits every object of the file, and refuses more than 100,000 of them or more than 32 groups inside each other.
    pub(crate) fn root_following(file: &File) -> Found<Self> {
        let map = Map::of(file)?;
        Self::root_with(file, Some(Rc::new(map)))
    }

    fn root_with(file: &File, map: Option<Rc<Map>>) -> Found<Self> {
        let group = file.group("/").map_err(|e| Finding::new("/", e.to_string()))?;
        Self::new(group, String::new(), map)
    }

    fn new(group: Group, at: String, map: Option<Rc<Map>>) -> Found<Self> {
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
        Ok(Self { group, at, links, map })
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
            Some(LinkType::Soft) if let Some(map) = &self.map => map.allows_soft_links(&at).map(|()| at),
            Some(link) => Err(Finding::new(
                at,
                format!(
                    "{}; only objects in this file are read (hint: store the data itself, for example with h5repack or h5copy)",
                    match link {
                        LinkType::External => "a link to another file",
                        LinkType::Soft | LinkType::Hard => "a soft link",
                    }
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
            .map_err(|error| self.not_opened(name, &at, "group", &error))?;
        Self::new(group, at, self.map.clone())
    }

    /// Why an object could not be opened as a group or dataset.
    fn not_opened(&self, name: &str, at: &str, what: &str, error: &hdf5::Error) -> Finding {
        match self.links.get(name) {
            Some(LinkType::Soft) => links::broken(at, what, error),
            _ => Finding::new(at, format!("not a {what}: {error}")),
        }
    }

    pub(crate) fn dataset(&self, name: &str) -> Found<Data> {
        let data = self.look(name)?;
        if let Some(fault) = &data.fault {
            return Err(Finding::new(&data.at, fault));
        }
        kind_of(&data.dataset, &data.at)?;
        Ok(data)
    }

    /// A dataset of which elements of any kind and storage are known of; what can't be read is refused when it is.
    pub(crate) fn look(&self, name: &str) -> Found<Data> {
        let at = self.follow(name, "dataset")?;
        let dataset = self
            .group
            .dataset(name)
            .map_err(|error| self.not_opened(name, &at, "dataset", &error))?;
        Data::new(dataset, at)
    }

    /// The dataset if the name exists.
    pub(crate) fn optional(&self, name: &str) -> Found<Option<Data>> {
        self.has(name).then(|| self.dataset(name)).transpose()
    }

    /// A dataset by a path of several names from here. Where a name is missing, the error lists what there is.
    pub(crate) fn find(&self, path: &str) -> Found<Data> {
        let (first, rest) = match path.trim_start_matches('/').split_once('/') {
            Some((first, rest)) => (first, rest.trim_matches('/')),
            None => (path.trim_matches('/'), ""),
        };
        if first.is_empty() {
            return Err(Finding::new(&self.at, "the dataset path is empty"));
        }
        if !self.has(first) {
            let at = self.path_of(path.trim_matches('/'));
            let here = if self.at.is_empty() { "the file" } else { &self.at };
            let message = format!("the dataset is missing; {here} has {}", self.listing());
            return Err(Finding::new(at, message));
        }
        if rest.is_empty() {
            self.dataset(first)
        } else {
            self.group(first)?.find(rest)
        }
    }

    /// "the datasets 'a', 'b/c', …", for a message.
    fn listing(&self) -> String {
        let (mut found, mut budget) = (Vec::new(), VISITED_LINKS);
        self.list_datasets("", &mut budget, &mut found);
        if found.is_empty() {
            return "no dataset".to_owned();
        }
        let more = if found.len() > SHOWN_DATASETS { ", …" } else { "" };
        found.truncate(SHOWN_DATASETS);
        format!("the datasets {}{more}", found.join(", "))
    }

    /// Adds the paths of all datasets below this group. A group may contain itself: `budget` ends that.
    fn list_datasets(&self, prefix: &str, budget: &mut usize, found: &mut Vec<String>) {
        for name in self.names() {
            if *budget == 0 || found.len() > SHOWN_DATASETS {
                return;
            }
            *budget -= 1;
            if self.links.get(name) != Some(&LinkType::Hard) {
                continue;
            }
            let path = format!("{prefix}{name}");
            if self.group.dataset(name).is_ok() {
                found.push(format!("'{path}'"));
            } else if prefix.split('/').count() < MAX_DEPTH
                && let Ok(below) = self.group(name)
            {
                below.list_datasets(&format!("{path}/"), budget, found);
            }
        }
    }

    /// Attributes of this group.
    pub(crate) fn attributes(&self) -> Attributes<'_> {
        Attributes::new(&self.group, if self.at.is_empty() { "/" } else { &self.at })
    }

    pub(crate) fn number_attribute(&self, name: &str) -> Found<Option<f64>> {
        self.attributes().number(name)
    }

    pub(crate) fn required_number(&self, name: &str) -> Found<f64> {
        self.number_attribute(name)?
            .ok_or_else(|| Finding::new(format!("{} (attribute {name})", self.at), "the attribute is missing"))
    }

    pub(crate) fn integer_attribute(&self, name: &str) -> Found<Option<i64>> {
        self.attributes().integer(name)
    }

    pub(crate) fn text_attribute(&self, name: &str) -> Found<Option<String>> {
        self.attributes().text(name)
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
    /// Why its elements can't be read, if something about their storage or type says so.
    fault: Option<String>,
}

impl Data {
    fn new(dataset: Dataset, at: String) -> Found<Self> {
        let fail = |message: String| Finding::new(&at, message);
        let shape = dataset.get_shape().map_err(|e| fail(e.to_string()))?;
        let is_null = dataset.space().is_ok_and(|space| space.is_null());
        let n_elements = shape
            .iter()
            .try_fold(usize::from(!is_null), |product, &length| product.checked_mul(length))
            .ok_or_else(|| fail(format!("shape {shape:?} overflows")))?;
        let mut fault = storage_fault(&dataset).map_err(|e| fail(e.to_string()))?;
        let kind = match any_kind(&dataset) {
            Ok(kind) => kind,
            Err(message) => {
                fault.get_or_insert(message);
                Kind::Other
            }
        };
        Ok(Self {
            dataset,
            at,
            shape,
            kind,
            n_elements,
            fault,
        })
    }

    /// Attributes of this dataset.
    pub(crate) fn attributes(&self) -> Attributes<'_> {
        Attributes::new(&self.dataset, &self.at)
    }

    /// Refuses elements that can't be read, or are of other kinds than these.
    fn expect(&self, kinds: &[Kind]) -> Found<()> {
        match &self.fault {
            Some(fault) => Err(Finding::new(&self.at, fault)),
            None => expect_kind(self.kind, kinds, &self.at),
        }
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
    fn check_size(&self, element_bytes: usize) -> Found<()> {
        let bytes = self.n_elements.checked_mul(element_bytes);
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
        self.expect(kinds)?;
        self.check_size(size_of::<T>())?;
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
        self.check_texts()?;
        read_texts(Texts::Dataset(&self.dataset), self.n_elements, &self.at)
    }

    /// An array of `f32` with the given axes; integers and booleans are converted.
    pub(crate) fn floats32<D: Dimension>(&self, axes: &str) -> Found<Array<f32, D>> {
        self.expect_rank(D::NDIM.unwrap_or(self.shape.len()), axes)?;
        let values = if self.kind == Kind::Boolean {
            // Not as `bool`: a file may hold a byte that is neither 0 nor 1.
            let values: Vec<i8> = self.numbers(&[Kind::Boolean])?;
            values
                .into_iter()
                .map(|value| f32::from(u8::from(value != 0)))
                .collect()
        } else {
            self.numbers(&[Kind::Float, Kind::Integer])?
        };
        self.shaped(values)
    }

    /// An array of `f64` with the given axes.
    pub(crate) fn floats<D: Dimension>(&self, axes: &str) -> Found<Array<f64, D>> {
        self.expect_rank(D::NDIM.unwrap_or(self.shape.len()), axes)?;
        self.shaped(self.numbers(&[Kind::Float, Kind::Integer])?)
    }

    /// An array of flags with the given axes: booleans, or integers that are 0 or 1.
    pub(crate) fn flags<D: Dimension>(&self, axes: &str) -> Found<Array<bool, D>> {
        self.expect_rank(D::NDIM.unwrap_or(self.shape.len()), axes)?;
        let values: Vec<i64> = if self.kind == Kind::Boolean {
            // Not as `bool`: a file may hold a byte that is neither 0 nor 1.
            let values: Vec<i8> = self.numbers(&[Kind::Boolean])?;
            values.into_iter().map(|value| i64::from(value != 0)).collect()
        } else {
            self.numbers(&[Kind::Boolean, Kind::Integer])?
        };
        if let Some((place, value)) = values.iter().enumerate().find(|(_, value)| !(0..=1).contains(*value)) {
            let message = format!("value {place} is {value}; expected 0 or 1");
            return Err(Finding::new(&self.at, message));
        }
        self.shaped(values.into_iter().map(|value| value == 1).collect())
    }

    fn shaped<T, D: Dimension>(&self, values: Vec<T>) -> Found<Array<T, D>> {
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
        self.check_size(size_of::<u8>())?;
        if self.kind == Kind::Boolean {
            return self.map_blocks(|_, value: i8| Ok(u8::from(value != 0)));
        }
        self.expect(&[Kind::Integer, Kind::Float])?;
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

    /// Reads blocks and converts each element, so that memory stays small.
    fn map_blocks<T: H5Type + Copy>(&self, mut convert: impl FnMut([usize; 3], T) -> Found<u8>) -> Found<Array3<u8>> {
        let [n_rows, n_columns, n_layers] = [0, 1, 2].map(|i| self.shape.get(i).copied());
        let (n_rows, n_columns, n_layers) = (n_rows.unwrap_or(0), n_columns.unwrap_or(0), n_layers.unwrap_or(0));
        let mut values = Vec::new();
        values
            .try_reserve_exact(self.n_elements)
            .map_err(|_| no_memory(&self.at, self.n_elements))?;
        if self.n_elements > 0 {
            for [rows, columns, layers] in blocks([n_rows, n_columns, n_layers], BLOCK_BYTES / size_of::<T>()) {
                let (row, column, layer) = (rows.start, columns.start, layers.start);
                let part: Array<T, Ix3> = self
                    .dataset
                    .read_slice(s![rows, columns, layers])
                    .map_err(|error| Finding::new(&self.at, error.to_string()))?;
                for ((r, c, l), &value) in part.indexed_iter() {
                    values.push(convert([row + r, column + c, layer + l], value)?);
                }
            }
        }
        Array3::from_shape_vec((n_rows, n_columns, n_layers), values)
            .map_err(|error| Finding::new(&self.at, error.to_string()))
    }
}

/// Parts of an array in storage order, each of at most so many elements.
///
/// Whole rows where some fit; else whole columns of one row; else pieces of one column.
fn blocks(shape: [usize; 3], n_elements: usize) -> impl Iterator<Item = [Range<usize>; 3]> {
    let [n_rows, n_columns, n_layers] = shape;
    let fitting = |piece: usize| (n_elements / piece.max(1)).max(1);
    let row_block = fitting(n_columns.saturating_mul(n_layers));
    let (column_block, layer_block) = (fitting(n_layers), fitting(1));
    ranges(n_rows, row_block).flat_map(move |rows| {
        ranges(n_columns, column_block).flat_map(move |columns| {
            let rows = rows.clone();
            ranges(n_layers, layer_block).map(move |layers| [rows.clone(), columns.clone(), layers])
        })
    })
}

/// 0 … n in pieces of a length.
fn ranges(n: usize, length: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n)
        .step_by(length)
        .map(move |first| first..first.saturating_add(length).min(n))
}

/// Why the elements of a dataset can't be read because of where or how they are stored.
fn storage_fault(dataset: &Dataset) -> hdf5::Result<Option<String>> {
    let plist = dataset.dcpl()?;
    if plist.get_layout()? == Layout::Virtual || !plist.get_external()?.is_empty() {
        return Ok(Some("the data lie in another file; store them in this one".to_owned()));
    }
    let filters = plist.get_filters()?;
    Ok(filters.iter().find_map(|filter| match filter {
        Filter::User(id, _) => Some(format!(
            "compressed with filter {id}, which needs a plugin; use deflate (gzip)"
        )),
        _ => None,
    }))
}

/// The kind of an attribute or dataset; enumerations, references and other types are refused.
fn kind_of(container: &Container, at: &str) -> Found<Kind> {
    match any_kind(container) {
        Ok(kind @ (Kind::Enumeration | Kind::Reference)) => {
            let message = format!("elements of type {}; expected numbers or text", kind.name());
            Err(Finding::new(at, message))
        }
        Ok(kind) => Ok(kind),
        Err(message) => Err(Finding::new(at, message)),
    }
}

/// The kind of any container, or what is wrong with its type.
fn any_kind(container: &Container) -> Result<Kind, String> {
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
        Ok(TypeDescriptor::Enum(_)) => Ok(Kind::Enumeration),
        Ok(TypeDescriptor::Reference(Reference::Object)) => Ok(Kind::Reference),
        Ok(other) => Err(format!("elements of type {other}; expected numbers or text")),
        Err(error) => unnamed_kind(container, &error).ok_or_else(|| format!("elements of an unknown type: {error}")),
    }
}

/// Numbers of widths that Rust has no type for, such as 16-bit floats: the library converts them on reading.
fn unnamed_kind(container: &Container, error: &hdf5::Error) -> Option<Kind> {
    let dtype = container.dtype().ok()?;
    dtype.conv_to::<f64>()?;
    // The message is all that tells the classes apart; texts and compounds have no conversion to numbers.
    let is_integer = error.to_string().contains("integer");
    Some(if is_integer { Kind::Integer } else { Kind::Float })
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
        .map_err(|_| no_memory(at, n_elements.saturating_mul(size_of::<T>())))?;
    values.resize(n_elements, T::default());
    container
        .as_reader()
        .read_into_raw(&mut values)
        .map_err(|error| Finding::new(at, format!("could not be read: {error}")))?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_system_error_only_the_cause_is_told_with_the_path_of_the_user() {
        let (path, temporary) = (Path::new("/data/mouse.h5"), Path::new("/data/.snnfit-x.tmp"));
        let message =
            |text: &str| file_error(path, temporary, "write", &hdf5::Error::Internal(text.to_owned())).to_string();
        // As HDF5 1.10 to 1.14 say it.
        let full = "H5Fflush(): unable to flush file: file write failed: time = Sun Nov 22 03:34:48 2026\n, filename = '/data/.snnfit-x.tmp', file descriptor = 7, errno = 28, error message = 'No space left on device', buf = 0x55, total write size = 65, bytes this sub-write = 65, bytes actually written = 18446744073709551615, offset = 2048";
        let said = message(full);
        assert!(
            said.starts_with("/data/mouse.h5: could not write the file: No space left on device"),
            "{said}"
        );
        assert!(
            !said.contains("18446744073709551615") && !said.contains("tmp"),
            "{said}"
        );
        let other = message("H5Dcreate(): unable to create '/data/.snnfit-x.tmp'");
        assert_eq!(
            other,
            "/data/mouse.h5: could not write the HDF5 file: H5Dcreate(): unable to create '/data/mouse.h5'"
        );
    }

    #[test]
    fn blocks_cover_an_array_in_order_and_are_no_larger_than_asked() {
        let shapes = [[5, 3, 4], [1, 7, 3], [2, 1, 50], [3, 4, 1], [1, 1, 1], [4, 0, 2]];
        for shape in shapes {
            for most in [1, 2, 5, 12, 24, 1000] {
                let mut cells = Vec::new();
                for [rows, columns, layers] in blocks(shape, most) {
                    let n_elements = rows.len() * columns.len() * layers.len();
                    assert!(n_elements <= most, "{n_elements} of at most {most} in {shape:?}");
                    for (row, column) in rows.flat_map(|row| columns.clone().map(move |column| (row, column))) {
                        cells.extend(layers.clone().map(|layer| (row, column, layer)));
                    }
                }
                let all = Array3::<u8>::zeros(shape);
                let all: Vec<_> = all.indexed_iter().map(|(index, _)| index).collect();
                assert_eq!(cells, all, "{shape:?} in blocks of {most}");
            }
        }
    }
}
