//! Recordings made from files of other layouts.

mod axes;
mod binned;
mod nwb;
pub mod source;
pub mod table;

pub use binned::{BinnedImport, BinnedSource, import_binned};
pub use nwb::{is_nwb, read_nwb};
pub use source::{Samples, Series, SeriesRequest, Source};
pub use table::{Column, Table};
