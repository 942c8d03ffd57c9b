//! Engine `kernels`: simulation and gradient on a GPU, in CubeCL kernels on a wgpu device.
//!
//! All steps are enqueued without waiting for the device. Spikes are packed bits `[H + S, K, N/32]`, time-major; the
//! forward pass adds the weight rows of neurons that spiked, in the order of the CPU; potentials and δ share one
//! `[T, K, N]` buffer; the dense product is cut along the reduced axis so that few trials still fill the device; weight
//! gradients are accumulated per block of steps whose δ stay in the cache.
//!
//! What is promised (architecture §2.4): words and uniforms equal those of the CPU bit by bit, normals up to 1e-6; the
//! potentials of one step up to rounding, so that a run equals the CPU's up to the first draw that ties. Forward,
//! a trial doesn't depend on the other trials of its chunk; gradients of chunks agree up to rounding.

// Kernels are written in CubeCL's part of Rust: no `is_multiple_of`, constants as literals.
#![allow(clippy::manual_is_multiple_of, clippy::approx_constant)]

mod backward;
pub(crate) mod cell;
mod device;
mod forward;
mod gradient;
mod plan;
mod simulate;

pub use device::Kernels;
pub use plan::{Limits, Plan};
pub use simulate::DeviceRollout;
