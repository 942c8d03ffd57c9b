//! The spike function and what stands for its derivative.

use serde::{Deserialize, Serialize};

/// Derivative that stands for that of the sampled spike in the backward pass (forward: `z = [u < p]`,
/// `p = p_scale·σ(temperature·x)`).
///
/// # Source
/// Trial matching: Sourmpis et al. 2023 (specification §1.3); sample-and-measure: Bellec, Wang et al. 2021 (§1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Surrogate {
    /// `dz/dx = γ · dp/dx`, with the exact derivative of p.
    Sigmoid {
        /// Dampening γ.
        gamma: f32,
    },
    /// `dz/dx = γ · max(0, 1 − |x|)`.
    Triangle {
        /// Dampening γ.
        gamma: f32,
    },
}

impl Surrogate {
    /// `dz/dx` at scaled potential `x`, given `dp/dx` there.
    #[inline]
    pub fn derivative(self, x: f32, dp_dx: f32) -> f32 {
        match self {
            Self::Sigmoid { gamma } => gamma * dp_dx,
            Self::Triangle { gamma } => gamma * (1.0 - x.abs()).max(0.0),
        }
    }

    /// Largest `|dz/dx|`, given the largest slope `p_scale · temperature` of the spike probability (its derivative is at
    /// most a quarter of it).
    #[inline]
    pub fn maximum(self, slope: f32) -> f32 {
        match self {
            Self::Sigmoid { gamma } => (gamma * slope).abs() / 4.0,
            Self::Triangle { gamma } => gamma.abs(),
        }
    }
}
