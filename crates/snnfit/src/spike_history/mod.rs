//! Fits of spike-history networks (sample-and-measure): recordings, network and driver, losses of rollouts, training.

pub mod evaluate;
pub mod filters;
pub mod findings;
pub mod fitted;
pub(crate) mod history_only;
pub mod model;
pub mod multi_step;
mod names;
pub mod recorded;
pub mod rollouts;
pub mod simulated;
pub mod trainer;
pub mod truth;
