//! Engine `native`: event-driven simulation and gradient on the CPU.
//!
//! Spikes are rare (0.5–3 % of all trial, step, neuron), so the forward pass adds the weight rows of neurons that
//! spiked, and the weight gradient is touched only at spikes; the one dense product is the gradient with respect to
//! the presynaptic spikes.
//!
//! What is promised: the same result for any number of threads, and, forward, for any chunking of the trials. Trials
//! are independent forward. Backward they go in tiles, blocks and panels that depend on the number of threads, but each
//! entry of a product is one sum in fixed order, which none of these changes; each entry of the weight gradient is
//! summed by one thread, batch of trials by batch, in (trial, time) order, and the size of a batch depends on T and the delays.
//!
//! Cost: forward `O(K·T·N)` for noise and cell plus `O(spikes·D·N)`; backward `2·K·T·D·N²` flops for the dense product.

mod aligned;
mod backward;
mod dense;
mod fixed;
mod forward;
mod kernels;
mod lanes;
mod sampled;
mod tile;
mod weights;

/// Arithmetic of the product of g δ with the weights in the backward pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// Single precision; exact up to rounding.
    #[default]
    Single,
    /// 16-bit fixed point with exact sums: each entry is wrong by at most `√N/32767` of the product of norms.
    Int16,
}

pub use backward::{backpropagate, backpropagate_with};
pub use forward::simulate;

#[cfg(test)]
mod tests {
    use crate::rollout::Network;
    use crate::surrogate::Surrogate;
    use ndarray::{Array1, Array2, Array3};

    /// A value that is neither small nor regular.
    pub(super) fn value(i: usize) -> f32 {
        ((i * 37 % 101) as f32 - 50.0) * 0.03
    }

    /// A network of `n` neurons and its weights, one row-major matrix per delay.
    pub(super) fn weights(n: usize, delays: usize) -> (Network, Vec<Vec<f32>>) {
        let w: Vec<Vec<f32>> = (0..delays)
            .map(|d| (0..n * n).map(|i| value(i * 3 + d)).collect())
            .collect();
        let ones = || Array1::ones(n);
        let network = Network {
            w: Array3::from_shape_vec((delays, n, n), w.concat()).unwrap(),
            delays: (1..=delays).collect(),
            w_in: Array2::zeros((0, n)),
            alpha: ones(),
            gain: ones(),
            bias: ones(),
            noise: ones(),
            threshold: ones(),
            scale: ones(),
            reset: ones(),
            temperature: 1.0,
            p_scale: 1.0,
            n_refractory: 0,
            surrogate: Surrogate::Sigmoid { gamma: 1.0 },
            surrogate_floor: 0.0,
            feedback: None,
        };
        (network, w)
    }

    /// `Σ_d Σ_j rows_d[k, j] w_d[i, j]` in double precision.
    pub(super) fn naive(w: &[Vec<f32>], rows: &[Vec<f32>], n: usize, k: usize, i: usize) -> f64 {
        let pairs = w.iter().zip(rows);
        pairs
            .flat_map(|(w, rows)| w[i * n..(i + 1) * n].iter().zip(&rows[k * n..(k + 1) * n]))
            .map(|(w, x)| f64::from(*w) * f64::from(*x))
            .sum()
    }
}
