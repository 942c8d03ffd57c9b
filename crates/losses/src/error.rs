//! The one error type of the crate.

use thiserror::Error;

/// What can be wrong with the arrays and parameters handed to a statistic, loss or metric.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum LossError {
    /// An array does not have the shape that the others imply.
    #[error("{what} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The array, with its session where it has one.
        what: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape the other arguments imply.
        expected: Vec<usize>,
    },
    /// An index points outside of what it indexes.
    #[error("{what} holds {found} at position {position}, expected less than {limit}")]
    Index {
        /// The list of indices.
        what: String,
        /// Where in the list.
        position: usize,
        /// The index found.
        found: usize,
        /// The number of things that can be indexed.
        limit: usize,
    },
    /// Two entries claim the same thing.
    #[error("{what}: {index} appears twice, at position {position} of {place} again; each may appear once")]
    Duplicate {
        /// What may appear once only.
        what: &'static str,
        /// The index that appears twice.
        index: usize,
        /// Where it was seen for the second time.
        place: String,
        /// Position in that place.
        position: usize,
    },
    /// A number is NaN or infinite where a finite one is needed.
    #[error("{what} is {value} at {index:?}, expected a finite number")]
    NonFinite {
        /// The array.
        what: String,
        /// The first such entry.
        index: Vec<usize>,
        /// Its value.
        value: f64,
    },
    /// A parameter is outside of its range.
    #[error("{name} is {found}, expected {expected}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// The value found.
        found: String,
        /// The range.
        expected: &'static str,
    },
    /// The trials are shorter than a filter.
    #[error(
        "trials of {n_bins} bins are too short for a moving mean over {window} bins with padding \
         {padding}; use longer trials or a narrower filter"
    )]
    TooFewBins {
        /// Bins in a trial (for the second filter: outputs of the first).
        n_bins: usize,
        /// Window of the filter.
        window: usize,
        /// Padding of the filter on each side.
        padding: usize,
    },
    /// No (session, area) group has enough neurons for trial matching.
    #[error(
        "no area of any session has {min_neurons_per_area} neurons (the largest has {largest}); \
         trial matching has nothing to compare: lower min_neurons_per_area"
    )]
    NoPopulation {
        /// The least number asked for.
        min_neurons_per_area: usize,
        /// Neurons in the largest group.
        largest: usize,
    },
    /// Nothing is left to compute the quantity from.
    #[error("{what}: nothing left to compute it from ({reason})")]
    NoData {
        /// The quantity.
        what: &'static str,
        /// Why nothing is left, and what to do.
        reason: String,
    },
}

/// Checks a shape, naming the array if it is wrong.
pub(crate) fn check_shape(what: impl Into<String>, found: &[usize], expected: &[usize]) -> Result<(), LossError> {
    if found == expected {
        return Ok(());
    }
    Err(LossError::Shape {
        what: what.into(),
        found: found.to_vec(),
        expected: expected.to_vec(),
    })
}

/// Checks that every index is below a limit.
pub(crate) fn check_indices(what: impl Into<String>, indices: &[usize], limit: usize) -> Result<(), LossError> {
    match indices.iter().position(|&index| index >= limit) {
        None => Ok(()),
        Some(position) => Err(LossError::Index {
            what: what.into(),
            position,
            found: indices[position],
            limit,
        }),
    }
}

/// Checks that a parameter is a finite number above zero.
pub(crate) fn check_positive(name: &'static str, value: f64) -> Result<(), LossError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(LossError::Parameter {
        name,
        found: value.to_string(),
        expected: "a finite number above 0",
    })
}

/// Checks that all entries of an array are finite.
pub(crate) fn check_finite<D: ndarray::Dimension>(
    what: &str,
    values: &ndarray::ArrayView<'_, f64, D>,
) -> Result<(), LossError> {
    let Some(flat) = values.iter().position(|value| !value.is_finite()) else {
        return Ok(());
    };
    let mut rest = flat;
    let mut index = vec![0; values.ndim()];
    for (axis, &len) in values.shape().iter().enumerate().rev() {
        index[axis] = rest % len;
        rest /= len;
    }
    let value = values.iter().nth(flat).copied().unwrap_or(f64::NAN);
    Err(LossError::NonFinite {
        what: what.to_owned(),
        index,
        value,
    })
}
