//! Recordings made from files of other layouts.

mod axes;
mod binned;

pub use binned::{BinnedImport, BinnedSource, import_binned};
