//! What a person reads after a fit: pictures, written beside the metrics.

pub mod plots;
