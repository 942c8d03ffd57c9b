//! Fits of spike-history networks (sample-and-measure): recordings, network and driver, losses of rollouts, training.

pub mod evaluate;
pub mod fitted;
pub(crate) mod history_only;
pub mod model;
pub mod recorded;
pub mod rollouts;
pub mod trainer;
pub mod truth;
