//! Losses of networks that are fitted by sampling: recorded spikes z ∈ {0, 1} against the model's spike probabilities p and
//! its own sampled spikes, bin by bin.
//!
//! A rollout gives p `[K, T, N]` and spikes `[K, T, N]`. Some losses compare a *clamped* rollout, whose history is recorded, with
//! the recorded spikes of the same trials ([`likelihood`]); the others compare statistics of a *free* one with those of
//! recorded trials of the same stimulus, coincidences also over any. Gradients come back with respect to p and to the sampled spikes; what a spike does
//! to later probabilities is the rollout's to differentiate, with its surrogate.
//!
//! # Source
//! Bellec, Wang et al. 2021; specification `sample-and-measure` §1.4.

mod covariance;
mod cross_entropy;
mod hidden_rate;
mod metrics;

pub use covariance::{Comparison, Covariances, Form, Group, MIN_REPEATS, NoiseCovarianceLoss};
pub use cross_entropy::{coincidence_cross_entropy, likelihood, psth_cross_entropy};
pub use hidden_rate::{HiddenRate, hidden_rate_loss};
pub use metrics::{
    NoiseFrom, NoiseMoments, Reproduction, box_smoothed, largest_population_counts, noise_correlations_of_counts,
    pairs_of, psth_correlations, reproduction, window_counts,
};

use ndarray::Array3;

/// Probabilities are kept this far from 0 and 1 where a logarithm or a ratio is taken: below what single precision tells
/// apart from 1.
pub const PROBABILITY_FLOOR: f64 = 1e-7;

/// Value of a loss and its gradients with respect to what a rollout gave.
#[derive(Debug, Clone)]
pub struct SampledLoss {
    /// The loss.
    pub value: f64,
    /// With respect to the spike probabilities, `[K, T, N]`.
    pub d_probabilities: Array3<f64>,
    /// With respect to the sampled spikes, `[K, T, N]`; none where they don't enter.
    pub d_spikes: Option<Array3<f64>>,
}

/// `−z ln p − (1 − z) ln(1 − p)` and its derivative with respect to p, with p within the floor.
fn cross_entropy(z: f64, p: f64) -> (f64, f64) {
    let p = p.clamp(PROBABILITY_FLOOR, 1.0 - PROBABILITY_FLOOR);
    // ln(1 − p) keeps its digits for small p.
    (-z * p.ln() - (1.0 - z) * (-p).ln_1p(), (p - z) / (p * (1.0 - p)))
}
