//! HDF5 files that say of each array what it is: unit, axes and meaning as attributes.

use std::path::Path;

use hdf5::types::VarLenUnicode;
use hdf5::{File, Group, H5Type, Location};
use ndarray::{ArrayD, ArrayViewD};

use super::objects::{write_scalar, write_text};
use crate::error::DataError;
use crate::file::{to_text, write_array, write_attribute, write_column, write_text_attribute, write_texts};
use crate::fs::{Existing, Sibling};
use crate::h5::file_error;

/// An array, and what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotated {
    /// Path in the file, such as `neurons/area`.
    pub path: String,
    /// Elements.
    pub values: Values,
    /// Unit; empty for texts, flags and numbers of things, `1` for pure numbers.
    pub unit: String,
    /// One sentence.
    pub description: String,
    /// Names of the axes, in stored order; none for a single value.
    pub axes: Vec<String>,
    /// Whether it was fitted, where that can be said.
    pub is_trained: Option<bool>,
}

/// Elements of an array.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Single precision.
    F32(ArrayD<f32>),
    /// Double precision.
    F64(ArrayD<f64>),
    /// Integers.
    Integers(ArrayD<i64>),
    /// Flags, `[n]`.
    Flags(Vec<bool>),
    /// Texts, `[n]`.
    Texts(Vec<String>),
    /// One text.
    Text(String),
}

/// Writes a file of annotated arrays, in one step. Never replaces a file; equal content gives equal bytes.
///
/// # Errors
/// [`DataError::Fs`] if the file exists or can't be written, [`DataError::Hdf5`] if the library fails. Nothing is left behind.
pub fn write_annotated(path: &Path, format: &str, version: i64, arrays: &[Annotated]) -> Result<(), DataError> {
    let sibling = Sibling::create(path, Existing::Refuse)?;
    hdf5::silence_errors(true);
    write_content(sibling.path(), format, version, arrays)
        .map_err(|error| file_error(path, sibling.path(), "write", &error))?;
    Ok(sibling.commit()?)
}

fn write_content(path: &Path, format: &str, version: i64, arrays: &[Annotated]) -> hdf5::Result<()> {
    let file = File::create(path)?;
    write_text_attribute(&file, "format", format)?;
    write_attribute(&file, "version", &version)?;
    for array in arrays {
        let (group, name) = parent(&file, &array.path)?;
        write_values(&group, name, &array.values)?;
        let dataset = group.dataset(name)?;
        annotate(&dataset, array)?;
    }
    file.flush()?;
    file.close()
}

/// The group that holds a path, made where there is none yet, and the last name.
fn parent<'a>(file: &File, path: &'a str) -> hdf5::Result<(Group, &'a str)> {
    let mut group = file.group("/")?;
    let mut names = path.split('/').peekable();
    while let Some(name) = names.next() {
        if names.peek().is_none() {
            return Ok((group, name));
        }
        group = if group.link_exists(name) {
            group.group(name)?
        } else {
            group.create_group(name)?
        };
    }
    Err("an array without a name".into())
}

fn write_values(group: &Group, name: &str, values: &Values) -> hdf5::Result<()> {
    match values {
        Values::F32(values) => write_numbers(group, name, values.view()),
        Values::F64(values) => write_numbers(group, name, values.view()),
        Values::Integers(values) => write_numbers(group, name, values.view()),
        Values::Flags(values) => write_column(group, name, values),
        Values::Texts(values) => write_texts(group, name, values.iter().map(String::as_str)),
        Values::Text(value) => write_text(group, name, value).map(drop),
    }
}

fn write_numbers<T: H5Type + Copy>(group: &Group, name: &str, values: ArrayViewD<'_, T>) -> hdf5::Result<()> {
    match (values.ndim(), values.first()) {
        (0, Some(value)) => write_scalar(group, name, value).map(drop),
        _ => write_array(group, name, &values),
    }
}

fn annotate(object: &Location, array: &Annotated) -> hdf5::Result<()> {
    write_text_attribute(object, "description", &array.description)?;
    if !array.unit.is_empty() {
        write_text_attribute(object, "unit", &array.unit)?;
    }
    if !array.axes.is_empty() {
        let axes = array
            .axes
            .iter()
            .map(|axis| to_text(axis))
            .collect::<hdf5::Result<Vec<_>>>()?;
        let attribute = object.new_attr::<VarLenUnicode>().shape(axes.len());
        attribute.create("axes")?.write_raw(&axes)?;
    }
    match array.is_trained {
        Some(is_trained) => write_attribute(object, "trained", &is_trained),
        None => Ok(()),
    }
}
