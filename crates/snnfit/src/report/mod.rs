//! What a person reads after a fit: pictures and one page, written beside the metrics.

pub mod glossary;
pub mod page;
pub mod plots;
