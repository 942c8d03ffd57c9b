//! Comparisons of recorded and simulated activity: statistics, losses with gradients, metrics.
//!
//! Every statistic is computed in one place ([`statistics`]) and shared by the losses, the metrics and
//! the pictures. The model enters the losses as two small raw statistics, because all filters are linear:
//! spike-count sums per stimulus condition `[C, T, N]` and population traces `[K, T, G]`; each loss
//! returns its value and the gradient with respect to exactly these. Recorded trials, null models and
//! simulated test trials enter as a [`statistics::Recording`].
//!
//! The crate knows neither networks nor files: activity arrives as plain [`ndarray`] arrays
//! `[K, T, N]` (trials, time bins, neurons), random numbers as a [`rand::Rng`] argument. All is f64.

pub mod adversarial;
pub mod assignment;
pub mod bootstrap;
pub mod count_covariance;
mod distances;
pub mod embedding;
pub mod energy;
mod error;
pub mod firing_rate;
pub mod gradient_split;
pub mod metrics;
pub mod nulls;
pub mod perceptron;
pub mod psth;
pub mod sample_and_measure;
pub mod sinkhorn;
pub mod spike_gradient;
pub mod statistics;
pub mod trial_loss;
pub mod trial_matching;

pub use error::LossError;
