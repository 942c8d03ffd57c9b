//! Errors of this crate.

use thiserror::Error;

/// What can be wrong with a network, its inputs or its device.
#[derive(Debug, Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum CoreError {
    /// An array has another shape than the network or the run demands.
    #[error("{what} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The array's name.
        what: &'static str,
        /// The shape found.
        found: Vec<usize>,
        /// The shape expected.
        expected: Vec<usize>,
    },
    /// A value lies outside its range.
    #[error("{what} = {value} is out of range: {expected}")]
    Range {
        /// The quantity's name.
        what: String,
        /// The value found.
        value: f64,
        /// The rule it breaks, in words.
        expected: &'static str,
    },
    /// A number is NaN or infinite.
    #[error("{what} is not finite at index {index}")]
    NonFinite {
        /// The array's name.
        what: String,
        /// Flat index of the first non-finite entry.
        index: usize,
    },
    /// A population that the network needs is empty or unknown.
    #[error("{what}")]
    Population {
        /// What is wrong, in words, with names.
        what: String,
    },
    /// No device of the kind asked for.
    #[error("device '{asked}' is not available: {reason}")]
    Device {
        /// The device asked for.
        asked: String,
        /// Why it can't be had.
        reason: String,
    },
    /// A simulation needs a larger buffer or launch than the device takes.
    #[error(
        "{what} of {} take {found} {unit}; device '{device}' takes at most {limit}",
        if *trials == 1 { "one trial".to_owned() } else { format!("{trials} trials at once") }
    )]
    DeviceLimit {
        /// Name of the adapter.
        device: String,
        /// The buffer, or what is counted.
        what: &'static str,
        /// Trials at once.
        trials: usize,
        /// What they need, in `unit`.
        found: u64,
        /// What the device takes, in `unit`.
        limit: u64,
        /// Bytes in one buffer, or items in one launch.
        unit: &'static str,
    },
    /// The device has no memory left.
    #[error("device '{device}' is out of memory: {reason}")]
    DeviceMemory {
        /// Name of the adapter.
        device: String,
        /// What the driver or the allocator said.
        reason: String,
    },
}
