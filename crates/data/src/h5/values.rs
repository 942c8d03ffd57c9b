//! Values of datasets that were looked at: vectors, blocks, flags, enumerations and references.

use hdf5::types::TypeDescriptor;
use hdf5::{LocationInfo, LocationType, ObjectReference, ObjectReference1, ReferencedObject};
use ndarray::{ArrayView2, s};

use super::{BLOCK_BYTES, Data, Found, Kind, MAX_TEXTS, Node, Texts, blocks, ranges, read_texts};
use crate::error::Finding;

/// What an object reference leads to.
pub(crate) enum Target {
    Group(Node),
    Dataset(Data),
}

impl Target {
    /// Path of the object.
    pub(crate) fn at(&self) -> &str {
        match self {
            Self::Group(node) => &node.at,
            Self::Dataset(data) => &data.at,
        }
    }
}

impl Data {
    /// The length of a list: a scalar, or of one axis, or of two of which one has length 1.
    pub(crate) fn vector_len(&self) -> Option<usize> {
        match *self.shape {
            [] => Some(self.n_elements),
            [n] | [n, 1] | [1, n] => Some(n),
            _ => None,
        }
    }

    fn expect_vector(&self) -> Found<()> {
        match self.vector_len() {
            Some(_) => Ok(()),
            None => self.expect_rank(1, "values"),
        }
    }

    /// A list of numbers; also one that is stored as a single row or column.
    pub(crate) fn float_vector(&self) -> Found<Vec<f64>> {
        self.expect_vector()?;
        self.numbers(&[Kind::Float, Kind::Integer])
    }

    /// A list of integers; also one that is stored as a single row or column.
    pub(crate) fn integer_vector(&self) -> Found<Vec<i64>> {
        self.expect_vector()?;
        self.numbers(&[Kind::Integer])
    }

    /// A list of integers of any type, also unsigned ones that are too large for the signed type of their size.
    pub(crate) fn whole_vector(&self) -> Found<Vec<i128>> {
        let descriptor = self.dataset.dtype().and_then(|dtype| dtype.to_descriptor());
        if !matches!(descriptor, Ok(TypeDescriptor::Unsigned(_))) {
            return Ok(self.integer_vector()?.into_iter().map(i128::from).collect());
        }
        self.expect_vector()?;
        let numbers: Vec<u64> = self.numbers(&[Kind::Integer])?;
        Ok(numbers.into_iter().map(i128::from).collect())
    }

    /// A list of texts; also one that is stored as a single row or column.
    pub(crate) fn text_vector(&self) -> Found<Vec<String>> {
        self.expect_vector()?;
        let n = self.check_texts()?;
        read_texts(Texts::Dataset(&self.dataset), n, &self.at)
    }

    /// Flags, read as numbers: what is no 0 is set.
    pub(crate) fn flag_vector(&self) -> Found<Vec<bool>> {
        self.expect_vector()?;
        let values: Vec<i8> = self.numbers(&[Kind::Boolean, Kind::Integer])?;
        Ok(values.into_iter().map(|value| value != 0).collect())
    }

    /// The one text of a scalar, or of a list of one; none where there is no value.
    pub(crate) fn one_text(&self) -> Found<Option<String>> {
        let n = self.check_texts()?;
        if n > 1 {
            return Err(Finding::new(&self.at, format!("{n} texts; expected one")));
        }
        if n == 0 {
            return Ok(None);
        }
        Ok(self.text_vector()?.into_iter().next())
    }

    /// The one number of a scalar, or of a list of one; none where there is no value.
    pub(crate) fn one_number(&self) -> Found<Option<f64>> {
        if self.n_elements > 1 {
            return Err(Finding::new(
                &self.at,
                format!("shape {:?}; expected one number", self.shape),
            ));
        }
        if self.n_elements == 0 {
            return Ok(None);
        }
        let values: Vec<f64> = self.numbers(&[Kind::Float, Kind::Integer])?;
        Ok(values.first().copied())
    }

    /// Why the elements can't be read, in words; empty if they can.
    pub(crate) fn fault(&self) -> &str {
        self.fault.as_deref().unwrap_or_default()
    }

    /// Refuses what can't be read as numbers, before a caller takes memory for them.
    pub(crate) fn check_floats(&self) -> Found<()> {
        self.expect(&[Kind::Float, Kind::Integer])?;
        self.check_size(size_of::<f64>())
    }

    /// Refuses what can't be read as samples, before a caller takes memory for them.
    pub(crate) fn check_samples(&self) -> Found<()> {
        self.expect(&[Kind::Float, Kind::Integer, Kind::Boolean])?;
        self.check_size(size_of::<f32>())
    }

    pub(super) fn check_texts(&self) -> Found<usize> {
        self.expect(&[Kind::Text])?;
        if self.n_elements > MAX_TEXTS {
            let message = format!("{} texts; at most {MAX_TEXTS} are read", self.n_elements);
            return Err(Finding::new(&self.at, message));
        }
        let stored = self.dataset.dtype();
        let stored = stored.map_err(|error| Finding::new(&self.at, error.to_string()))?;
        self.check_size(stored.size())?;
        Ok(self.n_elements)
    }

    /// A list of object references, to be [resolved](Node::resolve) one by one.
    pub(crate) fn references(&self) -> Found<Vec<ObjectReference1>> {
        self.expect_vector()?;
        self.expect(&[Kind::Reference])?;
        self.check_size(size_of::<ObjectReference1>())?;
        let values = self.dataset.read_raw::<ObjectReference1>();
        values.map_err(|error| self.unreadable(&error))
    }

    /// Whether the integers are stored in one byte each, as some programs store flags.
    pub(crate) fn is_one_byte(&self) -> bool {
        self.dataset.dtype().is_ok_and(|dtype| dtype.size() == 1)
    }

    /// Names of the values of a list of named integers; an unnamed value becomes its number.
    pub(crate) fn enumerated_vector(&self) -> Found<Vec<String>> {
        self.expect_vector()?;
        let numbers: Vec<i64> = self.numbers(&[Kind::Enumeration])?;
        let descriptor = self.dataset.dtype().and_then(|dtype| dtype.to_descriptor());
        let Ok(TypeDescriptor::Enum(kinds)) = descriptor else {
            return Err(Finding::new(&self.at, "the names of its values can't be read"));
        };
        // Values are stored in as many bytes as the type has, in unsigned form.
        let mask = u64::MAX >> (64 - 8 * (kinds.size as usize).clamp(1, 8));
        let name = |number: i64| {
            let stored = number as u64 & mask;
            let member = kinds.members.iter().find(|member| member.value & mask == stored);
            member.map_or_else(|| number.to_string(), |member| member.name.clone())
        };
        Ok(numbers.into_iter().map(name).collect())
    }

    /// Reads a list of numbers block by block, in order, without holding all of it.
    pub(crate) fn each_float(&self, mut take: impl FnMut(&[f64])) -> Found<()> {
        self.expect_rank(1, "values")?;
        self.check_floats()?;
        for part in ranges(self.n_elements, BLOCK_BYTES / size_of::<f64>()) {
            let part = self.dataset.read_slice_1d::<f64, _>(s![part]);
            let part = part.map_err(|error| self.unreadable(&error))?;
            match part.as_slice() {
                Some(values) => take(values),
                None => take(&part.to_vec()),
            }
        }
        Ok(())
    }

    /// Reads a list or matrix of numbers or flags block by block; `take` gets the place of a block's first element.
    ///
    /// # Panics
    /// If there are more than two axes.
    pub(crate) fn each_block(&self, mut take: impl FnMut(usize, usize, ArrayView2<'_, f64>)) -> Found<()> {
        self.check_samples()?;
        let (n_rows, n_columns) = match *self.shape {
            [n_rows] => (n_rows, 1),
            [n_rows, n_columns] => (n_rows, n_columns),
            _ => return self.expect_rank(2, "samples and channels"),
        };
        if self.n_elements == 0 {
            return Ok(());
        }
        for [rows, columns, _] in blocks([n_rows, n_columns, 1], BLOCK_BYTES / size_of::<f64>()) {
            let (row, column) = (rows.start, columns.start);
            let block = if self.shape.len() == 1 {
                let list = self.dataset.read_slice_1d::<f64, _>(s![rows]);
                list.map(|list| list.insert_axis(ndarray::Axis(1)))
            } else {
                self.dataset.read_slice_2d::<f64, _>(s![rows, columns])
            };
            let block = block.map_err(|error| self.unreadable(&error))?;
            take(row, column, block.view());
        }
        Ok(())
    }

    fn unreadable(&self, error: &hdf5::Error) -> Finding {
        Finding::new(&self.at, format!("could not be read: {error}"))
    }
}

impl Node {
    /// Whether a name is a group and not a dataset.
    pub(crate) fn is_group(&self, name: &str) -> Found<bool> {
        let at = self.follow(name, "object")?;
        let kind = self.group.loc_type_by_name(name);
        let kind = kind.map_err(|error| self.not_opened(name, &at, "group or dataset", &error))?;
        Ok(kind == LocationType::Group)
    }

    /// The path of this group over hard links, which names it whatever link led here.
    pub(crate) fn hard_path(&self) -> String {
        let info = self.group.loc_info().ok();
        let path = info.and_then(|info| self.map.as_ref()?.path_of(&info).map(str::to_owned));
        path.unwrap_or_else(|| self.at.clone())
    }

    /// What an attribute refers to, by name; none where there is no such attribute.
    pub(crate) fn referenced_by(&self, attributes: super::Attributes<'_>, name: &str) -> Found<Option<Target>> {
        let reference = attributes.reference(name)?;
        reference.map(|reference| self.resolve(reference)).transpose()
    }

    /// Opens what is referred to; only objects that a group of this file links to.
    pub(crate) fn resolve(&self, reference: ObjectReference1) -> Found<Target> {
        let fail = |message: &str| Finding::new(&self.at, message);
        let object = reference
            .dereference(&self.group)
            .map_err(|_| fail("an object reference that leads nowhere"))?;
        let path = |info: hdf5::Result<LocationInfo>| {
            let path = info
                .ok()
                .and_then(|info| self.map.as_ref()?.path_of(&info).map(str::to_owned));
            path.ok_or_else(|| fail("an object reference to something that no group of the file links to"))
        };
        match object {
            ReferencedObject::Group(group) => {
                let at = path(group.loc_info())?;
                Self::new(group, at, self.map.clone()).map(Target::Group)
            }
            ReferencedObject::Dataset(dataset) => {
                let at = path(dataset.loc_info())?;
                Data::new(dataset, at).map(Target::Dataset)
            }
            ReferencedObject::Datatype(_) => Err(fail("an object reference to a type; expected a group or dataset")),
        }
    }
}
