//! Attributes of groups and datasets.

use hdf5::{Attribute, Location, MinorErrorCode, ObjectReference1};

use super::texts::{Texts, read_texts};
use super::{Found, Kind, expect_kind, kind_of, read_all};
use crate::error::Finding;

/// Most values of one attribute: far more than a table has columns.
const MAX_VALUES: usize = 4096;
/// Largest attribute (bytes, without texts of variable length).
const MAX_ATTRIBUTE_BYTES: usize = 1 << 26;

/// The attributes of one object.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a> {
    location: &'a Location,
    at: &'a str,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(location: &'a Location, at: &'a str) -> Self {
        Self { location, at }
    }

    fn place(&self, name: &str) -> String {
        format!("{} (attribute {name})", self.at)
    }

    /// The attribute and its number of values; a scalar without a value, as some programs write "none", has 0.
    fn open(&self, name: &str) -> Found<Option<(Attribute, usize)>> {
        let fail = |message: String| Finding::new(self.place(name), message);
        // Opened by name: the library may crash on listing the attributes of an object of which one is damaged.
        let attribute = match self.location.attr(name) {
            Ok(attribute) => attribute,
            Err(error) if error.contains_minor(MinorErrorCode::NotFound) => return Ok(None),
            Err(error) => return Err(fail(error.to_string())),
        };
        let n_values = attribute.space().map_err(|error| fail(error.to_string()))?.size();
        let bytes = attribute.dtype().map_err(|error| fail(error.to_string()))?.size();
        if n_values > MAX_VALUES || bytes.saturating_mul(n_values) > MAX_ATTRIBUTE_BYTES {
            return Err(fail(format!(
                "{n_values} values of {bytes} bytes; at most {MAX_VALUES} values and {} MiB are read",
                MAX_ATTRIBUTE_BYTES >> 20
            )));
        }
        Ok(Some((attribute, n_values)))
    }

    /// The attribute of one value.
    fn one(&self, name: &str, kinds: &[Kind]) -> Found<Option<Attribute>> {
        let Some((attribute, n_values)) = self.open(name)? else {
            return Ok(None);
        };
        if n_values == 0 {
            return Ok(None);
        }
        if n_values != 1 {
            let message = format!("shape {:?}; expected one value", attribute.shape());
            return Err(Finding::new(self.place(name), message));
        }
        let at = self.place(name);
        expect_kind(kind_of(&attribute, &at)?, kinds, &at)?;
        Ok(Some(attribute))
    }

    pub(crate) fn number(&self, name: &str) -> Found<Option<f64>> {
        let Some(attribute) = self.one(name, &[Kind::Integer, Kind::Float])? else {
            return Ok(None);
        };
        Ok(read_all::<f64>(&attribute, 1, &self.place(name))?.first().copied())
    }

    pub(crate) fn integer(&self, name: &str) -> Found<Option<i64>> {
        let Some(attribute) = self.one(name, &[Kind::Integer])? else {
            return Ok(None);
        };
        Ok(read_all::<i64>(&attribute, 1, &self.place(name))?.first().copied())
    }

    pub(crate) fn text(&self, name: &str) -> Found<Option<String>> {
        let Some(attribute) = self.one(name, &[Kind::Text])? else {
            return Ok(None);
        };
        Ok(read_texts(Texts::Attribute(&attribute), 1, &self.place(name))?
            .into_iter()
            .next())
    }

    /// A list of texts, also one of a single text.
    pub(crate) fn texts(&self, name: &str) -> Found<Option<Vec<String>>> {
        let Some((attribute, n_values)) = self.open(name)? else {
            return Ok(None);
        };
        if n_values == 0 {
            return Ok(Some(Vec::new()));
        }
        let at = self.place(name);
        expect_kind(kind_of(&attribute, &at)?, &[Kind::Text], &at)?;
        read_texts(Texts::Attribute(&attribute), n_values, &at).map(Some)
    }

    /// A reference to an object of the file.
    pub(super) fn reference(&self, name: &str) -> Found<Option<ObjectReference1>> {
        let Some((attribute, 1..)) = self.open(name)? else {
            return Ok(None);
        };
        let references = attribute.read_raw::<ObjectReference1>();
        let references = references.map_err(|error| Finding::new(self.place(name), error.to_string()))?;
        Ok(references.into_iter().next())
    }
}
