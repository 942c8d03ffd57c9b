//! Engine `native`: event-driven simulation and gradient on the CPU.
//!
//! Spikes are rare (0.5–3 % of all trial, step, neuron), so the forward pass adds the weight rows of neurons that
//! spiked, and the weight gradient is touched only at spikes; the one dense product is the gradient with respect to
//! the presynaptic spikes.
//!
//! What is promised: the same result for any number of threads, and, forward, for any chunking of the trials. Trials
//! are independent forward; backward they run in tiles whose size depends on K alone; each entry of the weight
//! gradient is summed by one thread in (trial, time) order.
//!
//! Cost: forward `O(K·T·N)` for noise and cell plus `O(spikes·D·N)`; backward `2·K·T·D·N²` flops for the dense product.

mod backward;
mod dense;
mod forward;
mod kernels;

pub use backward::backpropagate;
pub use forward::simulate;
