//! Open-loop behaviour readout: traces filtered from the spikes of motor neurons.
//!
//! ```text
//! u(t) = ½ Σ_i w_i z_i(t)            over motor neurons i
//! q(t) = α q(t−1) + (1 − α) u(t)
//! log:     y(t) = exp(q(t)) − b,       so q = ln(y + b), and y = 0 before any spike
//! linear:  y(t) = (q(t) − mean)/std,   and q = 0 before any spike
//! ```
//! The published code subtracts the baseline b (the paper writes +b). What the filter holds before the first
//! recorded step comes from the warm-up and is a constant to the gradient.
//!
//! # Source
//! Specification §1.7.

use super::simulate::Rolled;
use super::spec::{BehaviourSpec, Link, RsnnSpec};
use crate::CoreError;
use crate::models::Parameters;
use crate::rng::normal_pair;
use crate::rollout::{Channel, SpikeAdjoint};
use crate::units::Ms;
use ndarray::{Array1, Array2, Array3, Axis, concatenate, s};
use rand::Rng;

/// Lowest baseline and lowest standard deviation after an update: below it the readout has no value.
const FLOOR: f32 = 1e-3;
/// Factor ½ of the published readout.
const HALF: f64 = 0.5;

/// The readout with its parameters in f64, made for one simulation.
#[derive(Debug, Clone)]
pub(super) struct Readout {
    link: Link,
    /// Decay per step.
    alpha: f64,
    /// Motor neurons, ascending, `[M]`.
    neurons: Vec<usize>,
    /// Weights `[M, B]`.
    w: Array2<f64>,
    /// Log: baseline. Linear: mean. `[B]`.
    shift: Array1<f64>,
    /// Log: 1. Linear: standard deviation. `[B]`.
    std: Array1<f64>,
}

impl BehaviourSpec {
    /// Initial parameters: `readout.w` `[M, B]` normal with standard deviation `10·√(2/(M + 1))`;
    /// `readout.baseline` 1, or `readout.mean` 0 and `readout.std` 0.1 (specification §1.7).
    pub(super) fn initial(&self, n_motor: usize, rng: &mut impl Rng) -> Parameters {
        let n_traces = self.names.len();
        let std = 10.0 * (2.0 / (n_motor as f32 + 1.0)).sqrt();
        let mut parameters = Parameters::new();
        let draw = |_| normal_pair(rng.next_u32(), rng.next_u32()).0 * std;
        parameters.insert("readout.w", Array2::from_shape_fn((n_motor, n_traces), draw));
        match self.link {
            Link::Log => parameters.insert("readout.baseline", Array1::<f32>::ones(n_traces)),
            Link::Linear => {
                parameters.insert("readout.mean", Array1::<f32>::zeros(n_traces));
                parameters.insert("readout.std", Array1::from_elem(n_traces, 0.1f32));
            }
        }
        parameters
    }
}

/// Keeps the baseline and the standard deviation at or above 0.001 after an update.
///
/// # Departures
/// The published code leaves both unconstrained; a baseline of 0 makes its logarithm infinite.
pub(super) fn project(parameters: &mut Parameters) {
    for name in ["readout.baseline", "readout.std"] {
        if let Some(values) = parameters.get_mut(name) {
            // `max` would turn NaN into the floor and hide it from the guard of the training loop.
            values.mapv_inplace(|x| if x < FLOOR { FLOOR } else { x });
        }
    }
}

impl Readout {
    /// The readout of a network, or none.
    pub(super) fn new(spec: &RsnnSpec, parameters: &Parameters) -> Result<Option<Self>, CoreError> {
        let Some(behaviour) = &spec.behaviour else {
            return Ok(None);
        };
        let (shift, std) = match behaviour.link {
            Link::Log => (parameters.vector("readout.baseline")?, None),
            Link::Linear => (
                parameters.vector("readout.mean")?,
                Some(parameters.vector("readout.std")?),
            ),
        };
        Ok(Some(Self {
            link: behaviour.link,
            alpha: Ms(behaviour.tau_ms).decay(Ms(spec.dt_ms)),
            neurons: spec.motor_neurons(),
            w: parameters.matrix("readout.w")?.mapv(f64::from),
            shift: shift.mapv(f64::from),
            std: std.map_or_else(|| Array1::ones(shift.len()), |std| std.mapv(f64::from)),
        }))
    }

    /// Filter q before any spike, `[K, B]`: ln b (log, a trace at 0) or 0 (linear).
    pub(super) fn at_rest(&self, n_trials: usize) -> Array2<f64> {
        Array2::from_shape_fn((n_trials, self.w.ncols()), |(_, b)| match self.link {
            Link::Log => self.shift[b].ln(),
            Link::Linear => 0.0,
        })
    }

    /// Filter q `[K, T, B]` that follows `start` `[K, B]`, of the drive u `[K, T, B]` (see [`Readout::channels`]).
    pub(super) fn filter(&self, drive: Array3<f64>, start: &Array2<f64>) -> Array3<f64> {
        let mut values = drive;
        let mut last = start.clone();
        for t in 0..values.dim().1 {
            let mut now = values.slice_mut(s![.., t, ..]);
            for ((k, b), value) in now.indexed_iter_mut() {
                *value = self.alpha * last[[k, b]] + (1.0 - self.alpha) * *value;
            }
            last.assign(&now);
        }
        values
    }

    /// Filter q at the first recorded step `[K, B]` and at every one `[K, T, B]`: that of the drive of the warm-up
    /// `[K, warm-up, B]` and of the recorded steps `[K, T, B]`, from q before both on.
    pub(super) fn follow(
        &self,
        before: Array2<f64>,
        warmup: Array3<f64>,
        recorded: Array3<f64>,
    ) -> (Array2<f64>, Array3<f64>) {
        let start = match warmup.dim().1 {
            0 => before,
            n => self.filter(warmup, &before).index_axis(Axis(1), n - 1).to_owned(),
        };
        let filtered = self.filter(recorded, &start);
        (start, filtered)
    }

    /// Traces y `[K, T, B]` of the filter q.
    pub(super) fn traces(&self, filtered: &Array3<f64>) -> Array3<f64> {
        match self.link {
            Link::Log => filtered.mapv(f64::exp) - &self.shift,
            Link::Linear => (filtered - &self.shift) / &self.std,
        }
    }

    /// Adds the traces' part to the spikes' adjoint, and returns the readout's own gradients.
    ///
    /// With λ = dL/dq: `λ(t) = dy/dq(t)·dL/dy(t) + α λ(t+1)`, `dL/du = (1 − α) λ`. The trace before the first
    /// step is a constant; of a log readout, q there still moves with the baseline by `dq/db = exp(−q)`.
    pub(super) fn backward(
        &self,
        rolled: &Rolled,
        start: &Array2<f64>,
        filtered: &Array3<f64>,
        d_traces: &Array3<f64>,
        adjoint: &mut SpikeAdjoint,
    ) -> Result<Parameters, CoreError> {
        if d_traces.dim() != filtered.dim() {
            let (found, expected) = (d_traces.shape().to_vec(), filtered.shape().to_vec());
            return Err(CoreError::Shape {
                what: "gradient of the behaviour traces",
                found,
                expected,
            });
        }
        let (n_trials, n_steps, n_traces) = filtered.dim();
        let mut d_u = Array3::<f64>::zeros(filtered.raw_dim());
        let mut d_shift = Array1::<f64>::zeros(n_traces);
        let mut d_std = Array1::<f64>::zeros(n_traces);
        for k in 0..n_trials {
            for b in 0..n_traces {
                let mut lambda = 0.0;
                for t in (0..n_steps).rev() {
                    let (value, d) = (filtered[[k, t, b]], d_traces[[k, t, b]]);
                    let slope = match self.link {
                        Link::Log => value.exp(),
                        Link::Linear => self.std[b].recip(),
                    };
                    lambda = slope * d + self.alpha * lambda;
                    d_u[[k, t, b]] = (1.0 - self.alpha) * lambda;
                    match self.link {
                        Link::Log => d_shift[b] -= d,
                        Link::Linear => {
                            d_shift[b] -= d * slope;
                            d_std[b] -= d * (value - self.shift[b]) * slope * slope;
                        }
                    }
                }
                if self.link == Link::Log {
                    d_shift[b] += self.alpha * lambda * (-start[[k, b]]).exp();
                }
            }
        }
        let mut gradients = Parameters::new();
        let channels = self.channels();
        let d_weight = rolled.channel_weight_gradient(&channels, &d_u)?;
        // The weight of a channel is ½ w.
        let d_w = Array2::from_shape_fn(self.w.raw_dim(), |(i, b)| (HALF * d_weight[b][i]) as f32);
        gradients.insert("readout.w", d_w);
        match self.link {
            Link::Log => gradients.insert("readout.baseline", d_shift.mapv(|x| x as f32)),
            Link::Linear => {
                gradients.insert("readout.mean", d_shift.mapv(|x| x as f32));
                gradients.insert("readout.std", d_std.mapv(|x| x as f32));
            }
        }
        add_channels(adjoint, channels, d_u.mapv(|x| x as f32))?;
        Ok(gradients)
    }

    /// One channel per trace: `u = Σ_i ½ w_i z_i`.
    pub(super) fn channels(&self) -> Vec<Channel> {
        let channel = |w: ndarray::ArrayView1<'_, f64>| {
            let member = |(n, w): (&usize, &f64)| (*n as u32, (HALF * w) as f32);
            Channel {
                members: self.neurons.iter().zip(w).map(member).collect(),
            }
        };
        self.w.columns().into_iter().map(channel).collect()
    }
}

/// Appends channels and their series `[K, T, R]` to an adjoint that may have some already.
fn add_channels(adjoint: &mut SpikeAdjoint, new: Vec<Channel>, new_series: Array3<f32>) -> Result<(), CoreError> {
    let (channels, series) = match adjoint.channels.take() {
        None => (new, new_series),
        Some((mut channels, series)) => {
            let joined = concatenate(Axis(2), &[series.view(), new_series.view()]).map_err(|_| CoreError::Shape {
                what: "series of the spike adjoint's channels",
                found: series.shape().to_vec(),
                expected: new_series.shape().to_vec(),
            })?;
            channels.extend(new);
            (channels, joined)
        }
    };
    adjoint.channels = Some((channels, series));
    Ok(())
}
