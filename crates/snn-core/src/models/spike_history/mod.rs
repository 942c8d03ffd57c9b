//! The spike-history network: neurons without leak or reset whose probability follows from the spikes of the last D steps,
//! their own included, and from a drive that a stimulus encoder gives.
//!
//! ```text
//! u_j(t) = Σ_i Σ_d W_d[i, j] z_i(t − d) + drive_j(t) + b_j          d = 1 … D
//! s      = (u − θ)/θ        p = σ(temperature · s)        z = [uniform < p]
//! W_d    = Σ_b φ_b(d) w_b                                            kernels of a basis
//! ```
//! It is the cell of [`crate::rollout`] with α = 0, R = 0 and scale θ; the surrogate is a triangle. Visible neurons, which stand
//! for recorded ones, come first; hidden ones follow.
//!
//! # Source
//! Bellec, Wang et al. 2021; specification `sample-and-measure` §1.2 and §1.3.

mod basis;
mod encoder;
mod order;
mod perturbation;
mod pieces;
mod simulate;

#[cfg(test)]
mod tests;

pub use basis::Basis;
pub use encoder::{Encoded, Encoder, EncoderSpec, Layer};
pub use perturbation::{Effect, Perturbation, Silenced};
pub use pieces::{EncodedRows, Rows};
pub use simulate::{Clamped, Gradient, Sampled, Windows};

use crate::CoreError;
use crate::models::Parameters;
use crate::models::parameters::misfit;
use crate::rng::StreamRng;
use crate::rollout::Network;
use crate::surrogate::Surrogate;
use ndarray::{Array1, Array2, Array3};
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// What a spike-history network is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpikeHistorySpec {
    /// Neurons that stand for recorded ones.
    pub n_visible: usize,
    /// Hidden neurons.
    pub n_hidden: usize,
    /// Steps D of history (published: 9 of 40 ms, 24 of 1.667 ms).
    pub lags: usize,
    /// What the kernels are made of (published: raw).
    pub basis: Basis,
    /// Threshold θ (published: 0.4).
    pub threshold: f32,
    /// Slope of the spike probability (published: 1).
    pub temperature: f32,
    /// Dampening γ of the surrogate (published: 0.3).
    pub gamma: f32,
}

/// A network: what it's made of and its parameters.
///
/// | name | shape | meaning |
/// |---|---|---|
/// | `w` | `[B, N_pre, N_post]` | coefficients of the kernels |
/// | `bias` | `[N]` | b |
#[derive(Debug, Clone, PartialEq)]
pub struct SpikeHistory {
    /// What the network is made of.
    pub spec: SpikeHistorySpec,
    /// Its parameters.
    pub parameters: Parameters,
    /// φ, `[B, D]`.
    basis: Array2<f64>,
}

impl SpikeHistorySpec {
    /// Number of neurons, visible and hidden.
    pub fn n_neurons(&self) -> usize {
        self.n_visible + self.n_hidden
    }

    /// Checks every number.
    ///
    /// # Errors
    /// The first one out of range.
    pub fn check(&self) -> Result<(), CoreError> {
        let range = |what: &str, value: f64, expected| CoreError::Range {
            what: what.into(),
            value,
            expected,
        };
        if self.n_visible == 0 {
            return Err(range("number of visible neurons", 0.0, "at least 1"));
        }
        if self.lags == 0 {
            return Err(range("number of lags", 0.0, "at least 1"));
        }
        for (what, value) in [("threshold", self.threshold), ("temperature", self.temperature)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(range(what, f64::from(value), "above 0"));
            }
        }
        if !(self.gamma.is_finite() && self.gamma >= 0.0) {
            return Err(range("dampening of the surrogate", f64::from(self.gamma), "at least 0"));
        }
        self.basis.check(self.lags)
    }
}

impl SpikeHistory {
    /// A network with initial parameters from stream `"init"` of `seed`: coefficients from a normal distribution cut at two
    /// standard deviations of `1/√(N Σ φ²)`, for raw kernels `1/√(N D)`; no bias.
    ///
    /// # Errors
    /// See [`SpikeHistorySpec::check`].
    ///
    /// # Source
    /// Specification §1.2.4.
    pub fn new(spec: SpikeHistorySpec, seed: u64) -> Result<Self, CoreError> {
        spec.check()?;
        let n = spec.n_neurons();
        let basis = spec.basis.values(spec.lags);
        let deviation = 1.0 / (n as f64 * basis.mapv(|x| x * x).sum()).sqrt();
        let mut rng = StreamRng::new(seed, "init", 0);
        let mut parameters = Parameters::new();
        let shape = (spec.basis.n_functions(spec.lags), n, n);
        parameters.insert(
            "w",
            Array3::from_shape_simple_fn(shape, || (deviation * truncated_normal(&mut rng)) as f32),
        );
        parameters.insert("bias", Array1::<f32>::zeros(n));
        Self::with_parameters(spec, parameters)
    }

    /// A network of given parameters.
    ///
    /// # Errors
    /// See [`SpikeHistorySpec::check`]; arrays that are missing, of another shape, or too many.
    pub fn with_parameters(spec: SpikeHistorySpec, parameters: Parameters) -> Result<Self, CoreError> {
        spec.check()?;
        let n = spec.n_neurons();
        let expected: [(&str, &[usize]); 2] = [("bias", &[n]), ("w", &[spec.basis.n_functions(spec.lags), n, n])];
        for (name, shape) in expected {
            let found = parameters.get(name).map(ndarray::ArrayBase::shape);
            if found != Some(shape) {
                return Err(misfit(name, found, &format!("shape {shape:?}")));
            }
        }
        if let Some((name, array)) = parameters
            .iter()
            .find(|(name, _)| !expected.iter().any(|(e, _)| e == name))
        {
            return Err(misfit(name, Some(array.shape()), "no such array"));
        }
        let basis = spec.basis.values(spec.lags);
        Ok(Self {
            spec,
            parameters,
            basis,
        })
    }

    /// Kernels `W_d[i, j]` of lags 1 to D, `[D, N_pre, N_post]`.
    ///
    /// # Errors
    /// Parameters that were changed to another shape.
    pub fn kernels(&self) -> Result<Array3<f32>, CoreError> {
        Ok(self.through_basis(&self.parameters.cube("w")?.to_owned(), false))
    }

    /// Functions of the lag that kernels are sums of, `[B, D]`, lag 1 first.
    pub fn basis(&self) -> &Array2<f64> {
        &self.basis
    }

    /// From coefficients `[B, N, N]` to lags `[D, N, N]`, or with `back` the transposed map.
    fn through_basis(&self, values: &Array3<f32>, back: bool) -> Array3<f32> {
        if self.spec.basis == Basis::Raw {
            return values.clone();
        }
        let (rows, n, _) = values.dim();
        let flat = values.mapv(f64::from);
        let flat = flat.into_shape_with_order((rows, n * n)).expect("standard layout");
        let out = if back {
            self.basis.dot(&flat)
        } else {
            self.basis.t().dot(&flat)
        };
        let out_rows = out.nrows();
        let out = out.mapv(|x| x as f32);
        out.into_shape_with_order((out_rows, n, n)).expect("standard layout")
    }

    /// Constants of the cell.
    ///
    /// # Errors
    /// As [`SpikeHistory::kernels`].
    pub fn network(&self) -> Result<Network, CoreError> {
        let n = self.spec.n_neurons();
        let all = |value: f32| Array1::from_elem(n, value);
        Ok(Network {
            w: self.kernels()?,
            delays: (1..=self.spec.lags).collect(),
            w_in: Array2::zeros((0, n)),
            alpha: all(0.0),
            gain: all(1.0),
            bias: self.parameters.vector("bias")?.to_owned(),
            noise: all(0.0),
            threshold: all(self.spec.threshold),
            scale: all(self.spec.threshold),
            reset: all(0.0),
            temperature: self.spec.temperature,
            p_scale: 1.0,
            n_refractory: 0,
            surrogate: Surrogate::Triangle { gamma: self.spec.gamma },
            surrogate_floor: 0.0,
            feedback: None,
        })
    }
}

/// A standard normal number, drawn again while it is beyond two standard deviations (its variance is not rescaled).
fn truncated_normal(rng: &mut StreamRng) -> f64 {
    loop {
        let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
        let x = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        if x.abs() <= 2.0 {
            return x;
        }
    }
}
