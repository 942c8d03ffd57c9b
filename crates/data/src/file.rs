//! The native recording file: HDF5, version 1. The layout is documented in `docs/FORMATS.md`.

mod read;
mod tables;
mod write;

pub use read::{read, read_with_warnings};
pub(crate) use tables::optional_indices;
pub(crate) use write::{
    to_text, write_array, write_attribute, write_column, write_contiguous, write_text_attribute, write_texts,
};
pub use write::{write, write_replacing};

/// Attribute `format` of every native file.
pub(crate) const FORMAT: &str = "snnfit-recording";
/// The version this program writes, and the newest it reads.
pub(crate) const VERSION: i64 = 1;
