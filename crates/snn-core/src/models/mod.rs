//! Models: what a network's parameters mean, mapped onto the one cell of [`crate::rollout`].

pub mod parameters;
pub mod rsnn;
pub mod spike_history;

pub use parameters::Parameters;
