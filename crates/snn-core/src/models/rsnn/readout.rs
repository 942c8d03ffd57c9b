//! Behaviour readout: traces filtered from the spikes of motor neurons, `u(t) = ½ Σ_i w_i z_i(t)`; see
//! [`crate::rollout::feedback`] for the filter and the links.
//!
//! Each trace has its own areas, time constant and link. Parameters have a row for each neuron that some trace sees; a
//! weight of a neuron that its trace doesn't see is 0 and stays it.
//!
//! # Source
//! Specification §1.7.

use super::spec::{BehaviourSpec, FeedbackSpec, Link, RsnnSpec};
use crate::CoreError;
use crate::models::Parameters;
use crate::rng::normal_pair;
use crate::rollout::feedback::{Feedback, Trace, TraceLink};
use crate::rollout::{Channel, SpikeAdjoint};
use crate::units::Ms;
use ndarray::{Array1, Array2, Array3, Axis, Ix3, concatenate, s};
use rand::Rng;

/// Lowest baseline and lowest standard deviation after an update: below it the readout has no value.
const FLOOR: f32 = 1e-3;
/// Factor ½ of the published readout.
const HALF: f64 = 0.5;

/// Spikes that channels can be read out from.
pub(super) trait ReadOut {
    /// Gradient of the channels' sums with respect to their weights, given that of the sums `[K, T, R]`.
    fn weight_gradient(&self, channels: &[Channel], series: &Array3<f64>) -> Result<Vec<Vec<f64>>, CoreError>;
}

/// The readout with its parameters in f64, made for one simulation.
#[derive(Debug, Clone)]
pub(super) struct Readout {
    traces: Vec<Trace>,
    /// Number of rows M of the weights.
    n_rows: usize,
    /// Row of each member of each trace's channel.
    rows: Vec<Vec<usize>>,
}

impl BehaviourSpec {
    /// Initial parameters: `readout.w` `[M, B]` normal with standard deviation `10·√(2/(m + 1))`, m the neurons that the
    /// trace sees; `readout.baseline` 1, `readout.mean` 0 and `readout.std` 0.1, where a trace has such a link
    /// (specification §1.7).
    pub(super) fn initial(&self, spec: &RsnnSpec, rng: &mut impl Rng) -> Parameters {
        let n_traces = self.traces.len();
        let motor = spec.motor_neurons();
        let std: Vec<f32> = self
            .traces
            .iter()
            .map(|trace| motor.iter().filter(|n| spec.is_motor(trace, **n)).count() as f32)
            .map(|n_motor| 10.0 * (2.0 / (n_motor + 1.0)).sqrt())
            .collect();
        let mut parameters = Parameters::new();
        let draw = |(i, b): (usize, usize)| {
            let normal = normal_pair(rng.next_u32(), rng.next_u32()).0;
            if spec.is_motor(&self.traces[b], motor[i]) {
                normal * std[b]
            } else {
                0.0
            }
        };
        parameters.insert("readout.w", Array2::from_shape_fn((motor.len(), n_traces), draw));
        if self.traces.iter().any(|trace| trace.link == Link::Log) {
            parameters.insert("readout.baseline", Array1::<f32>::ones(n_traces));
        }
        if self.traces.iter().any(|trace| trace.link == Link::Linear) {
            parameters.insert("readout.mean", Array1::<f32>::zeros(n_traces));
            parameters.insert("readout.std", Array1::from_elem(n_traces, 0.1f32));
        }
        parameters
    }
}

impl FeedbackSpec {
    /// Initial kernel `[B, L, N]`: normal with standard deviation `√(2/(L (1 + N)))` (Xavier; specification §1.7).
    pub(super) fn initial(self, n_traces: usize, n: usize, rng: &mut impl Rng) -> Array3<f32> {
        let std = (2.0 / (self.n_lags as f32 * (1.0 + n as f32))).sqrt();
        let draw = |_| normal_pair(rng.next_u32(), rng.next_u32()).0 * std;
        Array3::from_shape_fn((n_traces, self.n_lags, n), draw)
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
        let motor = spec.motor_neurons();
        let w = parameters.matrix("readout.w")?;
        let constant = |name: &str, b: usize| Ok::<_, CoreError>(f64::from(parameters.vector(name)?[b]));
        let (mut traces, mut rows) = (Vec::new(), Vec::new());
        for (b, trace) in behaviour.traces.iter().enumerate() {
            let seen: Vec<usize> = (0..motor.len()).filter(|i| spec.is_motor(trace, motor[*i])).collect();
            let member = |i: &usize| (motor[*i] as u32, (HALF * f64::from(w[[*i, b]])) as f32);
            traces.push(Trace {
                channel: Channel {
                    members: seen.iter().map(member).collect(),
                },
                alpha: Ms(trace.tau_ms).decay(Ms(spec.dt_ms)),
                link: match trace.link {
                    Link::Log => TraceLink::Log {
                        baseline: constant("readout.baseline", b)?,
                    },
                    Link::Linear => TraceLink::Linear {
                        mean: constant("readout.mean", b)?,
                        std: constant("readout.std", b)?,
                    },
                },
            });
            rows.push(seen);
        }
        Ok(Some(Self {
            traces,
            n_rows: motor.len(),
            rows,
        }))
    }

    /// The closed loop of a network, or none.
    pub(super) fn feedback(self, spec: &RsnnSpec, parameters: &Parameters) -> Result<Option<Feedback>, CoreError> {
        let Some(feedback) = spec.behaviour.as_ref().and_then(|behaviour| behaviour.feedback) else {
            return Ok(None);
        };
        let expected = [self.traces.len(), feedback.n_lags, spec.n_neurons()];
        let kernel = parameters.get("feedback.kernel").map(|kernel| kernel.view());
        let kernel = kernel.and_then(|kernel| kernel.into_dimensionality::<Ix3>().ok());
        let Some(kernel) = kernel.filter(|kernel| kernel.shape() == expected) else {
            return Err(CoreError::Shape {
                what: "feedback kernel",
                found: parameters.get("feedback.kernel").map_or(vec![], |k| k.shape().to_vec()),
                expected: expected.to_vec(),
            });
        };
        Ok(Some(Feedback {
            traces: self.traces,
            kernel: kernel.as_standard_layout().into_owned(),
            first_lag: feedback.first_lag,
        }))
    }

    /// Filter q before any spike, `[K, B]`.
    pub(super) fn at_rest(&self, n_trials: usize) -> Array2<f64> {
        Array2::from_shape_fn((n_trials, self.traces.len()), |(_, b)| self.traces[b].at_rest())
    }

    /// Filter q `[K, T, B]` that follows `start` `[K, B]`, of the drive u `[K, T, B]` (see [`Readout::channels`]).
    pub(super) fn filter(&self, drive: Array3<f64>, start: &Array2<f64>) -> Array3<f64> {
        let mut values = drive;
        let mut last = start.clone();
        for t in 0..values.dim().1 {
            let mut now = values.slice_mut(s![.., t, ..]);
            for ((k, b), value) in now.indexed_iter_mut() {
                *value = self.traces[b].advance(last[[k, b]], *value);
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
        Array3::from_shape_fn(filtered.raw_dim(), |(k, t, b)| {
            self.traces[b].value(filtered[[k, t, b]])
        })
    }

    /// dL/du `[K, T, B]`, and λ at the first step `[K, B]`, of dL/dy `[K, T, B]`.
    fn d_drive(&self, filtered: &Array3<f64>, d_traces: &Array3<f64>) -> Result<(Array3<f64>, Array2<f64>), CoreError> {
        crate::rollout::shape("gradient of the behaviour traces", d_traces.shape(), filtered.shape())?;
        let (n_trials, n_steps, n_traces) = filtered.dim();
        let mut d_u = Array3::<f64>::zeros(filtered.raw_dim());
        let mut lambda = Array2::<f64>::zeros((n_trials, n_traces));
        for ((k, b), lambda) in lambda.indexed_iter_mut() {
            let trace = &self.traces[b];
            for t in (0..n_steps).rev() {
                *lambda = trace.retreat(*lambda, filtered[[k, t, b]], d_traces[[k, t, b]]);
                d_u[[k, t, b]] = (1.0 - trace.alpha) * *lambda;
            }
        }
        Ok((d_u, lambda))
    }

    /// Adds the traces' part to the spikes' adjoint.
    pub(super) fn add_to(
        &self,
        adjoint: &mut SpikeAdjoint,
        filtered: &Array3<f64>,
        d_traces: &Array3<f64>,
    ) -> Result<(), CoreError> {
        let (d_u, _) = self.d_drive(filtered, d_traces)?;
        add_channels(adjoint, self.channels(), d_u.mapv(|x| x as f32))
    }

    /// The readout's own gradients, given dL/dy `[K, T, B]`.
    ///
    /// The trace before the first step is a constant; of a log readout, q there still moves with the baseline by
    /// `dq/db = exp(−q)`.
    pub(super) fn gradients(
        &self,
        spikes: &impl ReadOut,
        start: &Array2<f64>,
        filtered: &Array3<f64>,
        d_traces: &Array3<f64>,
    ) -> Result<Parameters, CoreError> {
        let (d_u, lambda) = self.d_drive(filtered, d_traces)?;
        let n_traces = self.traces.len();
        let zeros = || Array1::<f64>::zeros(n_traces);
        let (mut d_baseline, mut d_mean, mut d_std) = (zeros(), zeros(), zeros());
        for ((k, t, b), d) in d_traces.indexed_iter() {
            match self.traces[b].link {
                TraceLink::Log { .. } => d_baseline[b] -= d,
                TraceLink::Linear { mean, std } => {
                    d_mean[b] -= d / std;
                    d_std[b] -= d * (filtered[[k, t, b]] - mean) / (std * std);
                }
            }
        }
        for ((k, b), lambda) in lambda.indexed_iter() {
            if matches!(self.traces[b].link, TraceLink::Log { .. }) {
                d_baseline[b] += self.traces[b].alpha * lambda * (-start[[k, b]]).exp();
            }
        }
        let d_weight = spikes.weight_gradient(&self.channels(), &d_u)?;
        let mut d_w = Array2::<f32>::zeros((self.n_rows, n_traces));
        for (b, rows) in self.rows.iter().enumerate() {
            for (row, d) in rows.iter().zip(&d_weight[b]) {
                // The weight of a channel is ½ w.
                d_w[[*row, b]] = (HALF * d) as f32;
            }
        }
        let mut gradients = Parameters::new();
        gradients.insert("readout.w", d_w);
        let is_log = |trace: &Trace| matches!(trace.link, TraceLink::Log { .. });
        if self.traces.iter().any(is_log) {
            gradients.insert("readout.baseline", d_baseline.mapv(|x| x as f32));
        }
        if !self.traces.iter().all(is_log) {
            gradients.insert("readout.mean", d_mean.mapv(|x| x as f32));
            gradients.insert("readout.std", d_std.mapv(|x| x as f32));
        }
        Ok(gradients)
    }

    /// One channel per trace: `u = Σ_i ½ w_i z_i`.
    pub(super) fn channels(&self) -> Vec<Channel> {
        self.traces.iter().map(|trace| trace.channel.clone()).collect()
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
