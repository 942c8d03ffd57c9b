//! Named arrays in a fixed order: parameters, their gradients, and the moments of an optimiser.

use crate::CoreError;
use ndarray::{Array, ArrayD, ArrayView, ArrayViewMut, Dimension, Ix1, Ix2, Ix3};
use std::collections::BTreeMap;

/// Arrays by name, in alphabetical order, each in standard (row-major) layout.
///
/// Parameters, gradients and optimiser moments share the type, so that optimisers and checkpoints need to know
/// nothing of the model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameters {
    arrays: BTreeMap<String, ArrayD<f32>>,
}

impl Parameters {
    /// No arrays.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an array under `name`, replacing what was there.
    pub fn insert<D: Dimension>(&mut self, name: &str, array: Array<f32, D>) {
        let array = array.into_dyn();
        let array = if array.is_standard_layout() {
            array
        } else {
            array.as_standard_layout().into_owned()
        };
        self.arrays.insert(name.to_owned(), array);
    }

    /// Takes the array of that name out.
    pub fn remove(&mut self, name: &str) -> Option<ArrayD<f32>> {
        self.arrays.remove(name)
    }

    /// The array of that name.
    pub fn get(&self, name: &str) -> Option<&ArrayD<f32>> {
        self.arrays.get(name)
    }

    /// The array of that name, to write.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut ArrayD<f32>> {
        self.arrays.get_mut(name)
    }

    /// Names and arrays in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ArrayD<f32>)> {
        self.arrays.iter().map(|(name, array)| (name.as_str(), array))
    }

    /// Names and arrays in alphabetical order, to write.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut ArrayD<f32>)> {
        self.arrays.iter_mut().map(|(name, array)| (name.as_str(), array))
    }

    /// Number of arrays.
    pub fn len(&self) -> usize {
        self.arrays.len()
    }

    /// True when there is no array.
    pub fn is_empty(&self) -> bool {
        self.arrays.is_empty()
    }

    /// Number of single values in all arrays.
    pub fn n_values(&self) -> usize {
        self.arrays.values().map(ArrayD::len).sum()
    }

    /// Zeros of the same names and shapes.
    #[must_use]
    pub fn zeros_like(&self) -> Self {
        let zeros = |(name, array): (&String, &ArrayD<f32>)| (name.clone(), ArrayD::zeros(array.raw_dim()));
        Self {
            arrays: self.arrays.iter().map(zeros).collect(),
        }
    }

    /// Adds another set of arrays: gradients of chunks of trials sum up. Names that are new here are copied.
    ///
    /// # Errors
    /// An array of another shape under the same name.
    pub fn add(&mut self, other: &Self) -> Result<(), CoreError> {
        for (name, array) in other.iter() {
            match self.arrays.get_mut(name) {
                None => self.insert(name, array.clone()),
                Some(mine) if mine.shape() == array.shape() => *mine += array,
                Some(mine) => return Err(misfit(name, Some(array.shape()), &format!("shape {:?}", mine.shape()))),
            }
        }
        Ok(())
    }

    /// Name and flat index of the first value that is NaN or infinite.
    pub fn first_non_finite(&self) -> Option<(&str, usize)> {
        self.iter()
            .find_map(|(name, array)| array.iter().position(|x| !x.is_finite()).map(|index| (name, index)))
    }

    /// The one-dimensional array of that name.
    ///
    /// # Errors
    /// No such name, or another rank.
    pub fn vector(&self, name: &str) -> Result<ArrayView<'_, f32, Ix1>, CoreError> {
        self.of_rank(name)
    }

    /// The two-dimensional array of that name.
    ///
    /// # Errors
    /// No such name, or another rank.
    pub fn matrix(&self, name: &str) -> Result<ArrayView<'_, f32, Ix2>, CoreError> {
        self.of_rank(name)
    }

    /// The three-dimensional array of that name.
    ///
    /// # Errors
    /// No such name, or another rank.
    pub fn cube(&self, name: &str) -> Result<ArrayView<'_, f32, Ix3>, CoreError> {
        self.of_rank(name)
    }

    /// The array of that name, of the rank asked for, to write; none when it's missing or of another rank.
    pub(crate) fn view_mut<D: Dimension>(&mut self, name: &str) -> Option<ArrayViewMut<'_, f32, D>> {
        self.get_mut(name)?.view_mut().into_dimensionality().ok()
    }

    fn of_rank<D: Dimension>(&self, name: &str) -> Result<ArrayView<'_, f32, D>, CoreError> {
        let array = self.get(name).ok_or_else(|| misfit(name, None, "an array"))?;
        let rank = D::NDIM.map_or_else(String::new, |rank| format!("{rank} dimensions"));
        array
            .view()
            .into_dimensionality()
            .map_err(|_| misfit(name, Some(array.shape()), &rank))
    }
}

/// An error about the array `name`: what was found (nothing, or a shape) and what was expected.
pub(crate) fn misfit(name: &str, found: Option<&[usize]>, expected: &str) -> CoreError {
    let found = found.map_or_else(|| "nothing".to_owned(), |shape| format!("shape {shape:?}"));
    CoreError::Population {
        what: format!("parameter '{name}': found {found}, expected {expected}"),
    }
}
