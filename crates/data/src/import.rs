//! Recordings made from files of other layouts.

mod alf;
mod archive;
mod axes;
mod binned;
mod csv;
mod delimited;
pub mod detect;
pub mod expression;
pub mod npy;
mod npz;
mod nwb;
mod phy;
mod plain_hdf5;
pub mod plan;
mod read;
pub mod source;
pub mod summary;
pub mod table;
mod units;
pub mod worker;

pub use alf::read_alf;
pub use binned::{BinnedImport, BinnedSource, import_binned};
pub use csv::{CsvTables, read_csv};
pub use detect::{Layout, detect};
pub use expression::{Expression, ExpressionError};
pub use npy::{Npy, read_npy};
pub(crate) use npz::SUFFIXES as SERIES_SUFFIXES;
pub use npz::read_npz;
pub use nwb::{is_nwb, read_nwb};
pub use phy::read_phy;
pub use plain_hdf5::read_hdf5;
pub use plan::{ImportPlan, ImportReport};
pub use read::{ReadOptions, read};
pub use source::{Samples, Series, SeriesRequest, Source};
pub use summary::SourceSummary;
pub use table::{Column, Table};
