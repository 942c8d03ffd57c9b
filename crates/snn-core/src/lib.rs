//! Spiking networks: cells, connectivity, random streams, and the rollout with its hand-written gradient.
//!
//! What is here: everything that knows how a network moves from one time step to the next, and nothing about
//! recordings or losses. The time loop exists in two engines, `rollout::reference` (unrolled burn tensor
//! operations with autodiff; slow, obviously right) and `rollout::native` (event-driven, on the CPU), behind the
//! same types of [`rollout`]. `transport` compares clouds of points on a GPU, because kernels and devices are here; what
//! is compared is for others to say.

pub mod adamw;
pub mod bits;
pub mod connectivity;
pub mod device;
mod elementwise;
pub mod error;
mod large;
pub mod models;
pub mod rng;
pub mod rollout;
pub mod surrogate;
#[cfg(feature = "wgpu")]
pub mod transport;
pub mod units;
mod vector;

pub use error::CoreError;
pub use large::keep_freed_memory;
