//! Recordings made from files of other layouts.

mod axes;
mod binned;
pub mod expression;
pub mod plan;
pub mod source;
pub mod summary;
pub mod table;

pub use binned::{BinnedImport, BinnedSource, import_binned};
pub use expression::{Expression, ExpressionError};
pub use plan::{ImportPlan, ImportReport};
pub use source::{Samples, Series, Source};
pub use summary::SourceSummary;
pub use table::{Column, Table};
