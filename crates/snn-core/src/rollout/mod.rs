//! The rollout: one cell, its simulation and its gradient, as two plain functions per engine.
//!
//! Per neuron j, trial k and step t (architecture decision 3):
//!
//! ```text
//! I   = Σ_d W_d z(t − delay_d) + W_in x(t)
//! v⁻  = α_j v + g_j I + b_j + drive_sj(t) + c_kj(t) + s_j ε
//! x   = (v⁻ − θ_j) / h_j          p = p_scale · σ(temperature · x)
//! z   = recorded spike if clamped, else 0 if refractory (r > 0), else [u < p]
//! v   = v⁻ − R_j z                r = n_refractory if z else max(r − 1, 0)
//! ```
//! Backward, with ψ = dz/dx by the [`Surrogate`] (0 where clamped or refractory) and the exact dp/dx:
//!
//! ```text
//! dz(t) = dL/dz(t) + Σ_d W_dᵀ (g δ)(t + delay_d) − R α δ(t + 1)
//! δ(t)  = α δ(t + 1) + (ψ dz(t) + dp/dx · dL/dp(t)) / h,        δ = dL/dv⁻
//! ```
//! The warm-up carries no gradient: state and spikes before the first recorded step are constants.
//!
//! # Source
//! Specification of Sourmpis et al. 2023 §1.3; Bellec, Wang et al. 2021 §1.2 with α = 0, R = 0.

pub mod feedback;
mod gradients;
#[cfg(feature = "wgpu")]
pub mod kernels;
pub mod native;
pub mod reference;
mod segment;

use self::feedback::{Feedback, FeedbackState};
use crate::CoreError;
use crate::bits::SpikeBits;
use crate::rng::Key;
use crate::surrogate::Surrogate;
use ndarray::{Array1, Array2, Array3, Axis};
use rayon::prelude::*;

/// Constants of the cell and its connections, for one simulation.
#[derive(Debug, Clone)]
pub struct Network {
    /// Signed recurrent weights `[D, N_pre, N_post]`, one matrix per delay.
    pub w: Array3<f32>,
    /// Delays in steps, `[D]`, each at least 1.
    pub delays: Vec<usize>,
    /// Signed input weights `[N_in, N]`.
    pub w_in: Array2<f32>,
    /// Membrane decay per step α, `[N]`.
    pub alpha: Array1<f32>,
    /// Gain g of the synaptic current, `[N]`.
    pub gain: Array1<f32>,
    /// Constant drive b per step, `[N]`.
    pub bias: Array1<f32>,
    /// Noise amplitude s per step, `[N]`.
    pub noise: Array1<f32>,
    /// Threshold θ, `[N]`.
    pub threshold: Array1<f32>,
    /// Scale h of the distance to threshold, `[N]`, above 0.
    pub scale: Array1<f32>,
    /// Reset R subtracted after a spike, `[N]`.
    pub reset: Array1<f32>,
    /// Slope of the spike probability.
    pub temperature: f32,
    /// Largest spike probability per step.
    pub p_scale: f32,
    /// Steps of silence after a spike.
    pub n_refractory: u8,
    /// Stands for the derivative of the spike.
    pub surrogate: Surrogate,
    /// Share of its largest value below which the surrogate is taken as 0; 0 takes it as it is.
    pub surrogate_floor: f32,
    /// Closed loop: traces of the network's own activity that drive it, if any; the engines `native` and `native_int16`
    /// alone have it.
    pub feedback: Option<Feedback>,
}

/// Input spikes of every trial and step, as ascending lists of input indices; `[K, warm-up + T]` lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputEvents {
    n_inputs: usize,
    n_steps: usize,
    /// Start of list (k, t) in `indices`; `K·T + 1` entries.
    offsets: Vec<usize>,
    indices: Vec<u16>,
}

impl InputEvents {
    /// Builds the lists by asking `fill` for each trial and step in turn to push its ascending indices.
    pub fn build(
        n_inputs: usize,
        n_trials: usize,
        n_steps: usize,
        mut fill: impl FnMut(usize, usize, &mut Vec<u16>),
    ) -> Self {
        let mut offsets = Vec::with_capacity(n_trials * n_steps + 1);
        let mut indices = Vec::new();
        offsets.push(0);
        for k in 0..n_trials {
            for t in 0..n_steps {
                fill(k, t, &mut indices);
                offsets.push(indices.len());
            }
        }
        Self {
            n_inputs,
            n_steps,
            offsets,
            indices,
        }
    }

    /// As [`InputEvents::build`], with the trials spread over threads; each thread has its own `scratch`.
    pub(crate) fn build_by_trial<S>(
        n_inputs: usize,
        n_trials: usize,
        n_steps: usize,
        scratch: impl Fn() -> S + Sync + Send,
        fill: impl Fn(&mut S, usize, usize, &mut Vec<u16>) + Sync + Send,
    ) -> Self {
        let trials: Vec<(Vec<u16>, Vec<usize>)> = (0..n_trials)
            .into_par_iter()
            .map_init(scratch, |scratch, k| {
                let (mut indices, mut ends) = (Vec::new(), Vec::with_capacity(n_steps));
                for t in 0..n_steps {
                    fill(scratch, k, t, &mut indices);
                    ends.push(indices.len());
                }
                (indices, ends)
            })
            .collect();
        let mut indices = Vec::with_capacity(trials.iter().map(|(i, _)| i.len()).sum());
        let mut offsets = Vec::with_capacity(n_trials * n_steps + 1);
        offsets.push(0);
        for (trial, ends) in trials {
            let before = indices.len();
            offsets.extend(ends.into_iter().map(|end| before + end));
            indices.extend(trial);
        }
        Self {
            n_inputs,
            n_steps,
            offsets,
            indices,
        }
    }

    /// Number of inputs.
    pub fn n_inputs(&self) -> usize {
        self.n_inputs
    }

    /// Number of trials.
    pub fn n_trials(&self) -> usize {
        (self.offsets.len() - 1).checked_div(self.n_steps).unwrap_or(0)
    }

    /// Number of steps, warm-up included.
    pub fn n_steps(&self) -> usize {
        self.n_steps
    }

    /// Inputs that spike in trial `k` at step `t` (warm-up included in the count of steps).
    pub fn at(&self, k: usize, t: usize) -> &[u16] {
        let i = k * self.n_steps + t;
        &self.indices[self.offsets[i]..self.offsets[i + 1]]
    }
}

/// Drive per stimulus and step that trials share by an index.
#[derive(Debug, Clone)]
pub struct Drive {
    /// `[S, T, N]`; the warm-up holds the first step.
    pub values: Array3<f32>,
    /// Stimulus of each trial, `[K]`.
    pub index: Vec<usize>,
}

/// Where the random numbers of a simulation come from.
#[derive(Debug, Clone)]
pub enum Noise {
    /// Philox words at (neuron, `first_time` + time incl. warm-up, `first_trial` + k, `step`).
    Philox {
        /// Key of the stream.
        key: Key,
        /// Training step, or the number of the simulation.
        step: u32,
        /// Number of this run's first trial in the whole batch.
        first_trial: u32,
        /// Number of this run's first step in the whole trial, warm-up included; 0 unless it is a
        /// [segment](Run::segment) of a longer run.
        first_time: u32,
    },
    /// Given arrays `[K, warm-up + T, N]`.
    Given {
        /// Standard normals ε.
        normals: Array3<f32>,
        /// Uniforms u in [0, 1).
        uniforms: Array3<f32>,
    },
}

/// Recorded spikes that replace a neuron's own for the first steps of a trial.
#[derive(Debug, Clone)]
pub struct Clamp {
    /// Recorded spikes `[K, T, N]`.
    pub spikes: SpikeBits,
    /// Neuron n of trial k is clamped at steps `t < until[k, n]`, `[K, N]`.
    pub until: Array2<u32>,
}

/// State before the first step (of the warm-up when there is one).
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Potential after reset v, `[K, N]`.
    pub v: Array2<f32>,
    /// Steps of silence left r, `[K, N]`.
    pub refractory: Array2<u8>,
    /// Spikes of the H steps before, `[K, H, N]`, H the longest delay, oldest first.
    pub history: SpikeBits,
    /// What the closed loop remembers; needed if and only if the network has one.
    pub feedback: Option<FeedbackState>,
}

impl State {
    /// No spikes before, no refractory neuron, potential `v0[n]` in every trial.
    pub fn at_rest(n_trials: usize, max_delay: usize, v0: &Array1<f32>) -> Self {
        let n = v0.len();
        let v = Array2::from_shape_fn((n_trials, n), |(_, n)| v0[n]);
        Self {
            v,
            refractory: Array2::zeros((n_trials, n)),
            history: SpikeBits::zeros(n_trials, max_delay, n),
            feedback: None,
        }
    }
}

/// Drive of each trial, a mixture over time of B rows of its own: `c_k(t) = Σ_b course[t, b] · values[k, b]`.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialOffset {
    /// `[K, B, N]`.
    pub values: Array3<f32>,
    /// Share of each row at each recorded step, `[T, B]`, summing to 1; the warm-up holds the first step.
    pub course: Array2<f32>,
}

impl TrialOffset {
    /// The same `[K, N]` at all steps.
    pub fn constant(values: Array2<f32>, n_steps: usize) -> Self {
        Self {
            values: values.insert_axis(Axis(1)),
            course: Array2::ones((n_steps, 1)),
        }
    }

    /// Whether it is the same at all steps.
    pub(crate) fn is_constant(&self) -> bool {
        self.values.dim().1 == 1
    }

    /// Rows with a share at a recorded step, and the shares: at the last step for later ones, all of the first row where no step
    /// is recorded.
    pub(crate) fn at(&self, step: usize) -> impl Iterator<Item = (usize, f32)> + '_ {
        let last = self.course.nrows().checked_sub(1);
        let row = last.map(|last| self.course.row(step.min(last)));
        let first = row.is_none().then_some(1.0);
        let shares = row.into_iter().flatten().copied().chain(first).enumerate();
        shares.filter(|(_, share)| *share != 0.0)
    }

    /// Shares of all rows at a step, `[B]`.
    pub(crate) fn shares(&self, step: usize) -> Array1<f32> {
        let mut shares = Array1::zeros(self.values.dim().1);
        for (b, share) in self.at(step) {
            shares[b] = share;
        }
        shares
    }

    pub(crate) fn check(&self, k: usize, t: usize, n: usize) -> Result<(), CoreError> {
        let b = self.values.dim().1;
        shape("trial offset", self.values.shape(), &[k, b, n])?;
        shape("course of the trial offset", self.course.shape(), &[t, b])?;
        for row in self.course.outer_iter() {
            let sum = row.sum();
            let is_whole = (sum - 1.0).abs() < 1e-4; // not of NaN
            if !is_whole {
                return Err(CoreError::Range {
                    what: "sum of the shares of a trial offset at a step".into(),
                    value: f64::from(sum),
                    expected: "1",
                });
            }
        }
        Ok(())
    }
}

/// One simulation's arguments besides the network.
#[derive(Debug, Clone)]
pub struct Run {
    /// Trials K.
    pub n_trials: usize,
    /// Steps before the first recorded one; no gradient flows through them.
    pub n_warmup: usize,
    /// Recorded steps T.
    pub n_steps: usize,
    /// Spiking inputs, if any.
    pub events: Option<InputEvents>,
    /// Drive per stimulus, if any.
    pub drive: Option<Drive>,
    /// Drive c of each trial, if any.
    pub trial_offset: Option<TrialOffset>,
    /// Random numbers.
    pub noise: Noise,
    /// Clamped spikes, if any.
    pub clamp: Option<Clamp>,
    /// State before the first step of the warm-up.
    pub initial: State,
}

/// What a simulation leaves behind.
#[derive(Debug, Clone)]
pub struct Rollout {
    /// Spikes of the warm-up `[K, warm-up, N]`.
    pub warmup: SpikeBits,
    /// Spikes of the recorded steps `[K, T, N]`.
    pub spikes: SpikeBits,
    /// Where a neuron was refractory, `[K, T, N]` (clamped steps are marked by the run's clamp, not here).
    pub refractory: SpikeBits,
    /// Potentials before reset v⁻ `[K, T, N]`, or none when they were not kept.
    pub potentials: Option<Array3<f32>>,
    /// Filter q of the traces of the closed loop, `[K, T, B]`, if there is one.
    pub traces: Option<Array3<f64>>,
    /// State at the first recorded step (after the warm-up).
    pub start: State,
    /// State after the last step.
    pub end: State,
}

/// A weighted sum of neurons: `Σ_n weight_n z_n`, for population means and readouts.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    /// Neuron and weight, ascending.
    pub members: Vec<(u32, f32)>,
}

/// `dL/dz [K, T, N]` as a sum of parts that never need the full array: rows are made per step.
#[derive(Debug, Clone, Default)]
pub struct SpikeAdjoint {
    /// `[C, T, N]` and the condition of each trial `[K]`: the same row for every trial of a condition.
    pub shared: Option<(Array3<f32>, Vec<usize>)>,
    /// Steps of each trial `[K]` from which on `shared` is 0 for it; `None`: it holds at all steps.
    pub valid: Option<Vec<usize>>,
    /// Channels R and their series `[K, T, R]`: `Σ_r series_ktr weight_rn`.
    pub channels: Option<(Vec<Channel>, Array3<f32>)>,
    /// Parts that are the same at all steps of a segment but for a factor, as gradients at counts are.
    pub segments: Vec<SegmentAdjoint>,
    /// Any further part, `[K, T, N]`.
    pub dense: Option<Array3<f32>>,
}

/// `dL/dz` at step t of segment s: `factor_t value_ksn`.
#[derive(Debug, Clone)]
pub struct SegmentAdjoint {
    /// Segment of each step `[T]`.
    pub of_step: Vec<u32>,
    /// Factor of each step `[T]`.
    pub factor: Vec<f32>,
    /// Values `[K, S, N]`.
    pub values: Array3<f32>,
}

impl SegmentAdjoint {
    fn check(&self, k: usize, t: usize, n: usize) -> Result<(), CoreError> {
        let n_segments = self.values.dim().1;
        shape("spike adjoint of segments", self.values.shape(), &[k, n_segments, n])?;
        shape("segments of the spike adjoint", &[self.of_step.len()], &[t])?;
        shape("factors of the spike adjoint", &[self.factor.len()], &[t])?;
        match self.of_step.iter().find(|s| **s as usize >= n_segments) {
            None => Ok(()),
            Some(bad) => Err(CoreError::Range {
                what: "segment of the spike adjoint".into(),
                value: f64::from(*bad),
                expected: "below the number of segments",
            }),
        }
    }

    /// Adds row (k, t) to `out` `[N]`.
    #[inline]
    fn add_row(&self, k: usize, t: usize, out: &mut [f32]) {
        let row = self.values.slice(ndarray::s![k, self.of_step[t] as usize, ..]);
        let factor = self.factor[t];
        match row.as_slice() {
            Some(row) => out.iter_mut().zip(row).for_each(|(o, v)| *o += factor * v),
            None => out.iter_mut().zip(row).for_each(|(o, v)| *o += factor * v),
        }
    }
}

/// Refuses channels whose members aren't among `n` neurons.
pub(crate) fn check_members(channels: &[Channel], n: usize) -> Result<(), CoreError> {
    match channels.iter().flat_map(|c| &c.members).find(|(i, _)| *i as usize >= n) {
        None => Ok(()),
        Some((bad, _)) => Err(CoreError::Range {
            what: "neuron of a channel".into(),
            value: f64::from(*bad),
            expected: "below the number of neurons",
        }),
    }
}

impl SpikeAdjoint {
    /// Checks every part against K trials, T steps and N neurons.
    ///
    /// # Errors
    /// The first part that doesn't fit.
    pub fn check(&self, k: usize, t: usize, n: usize) -> Result<(), CoreError> {
        if let Some((values, condition)) = &self.shared {
            shape("shared spike adjoint", values.shape(), &[values.dim().0, t, n])?;
            shape("conditions of the spike adjoint", &[condition.len()], &[k])?;
            if let Some(bad) = condition.iter().find(|c| **c >= values.dim().0) {
                return Err(CoreError::Range {
                    what: "condition index".into(),
                    value: *bad as f64,
                    expected: "below the number of conditions",
                });
            }
        }
        if let Some(valid) = &self.valid {
            shape("valid steps of the spike adjoint", &[valid.len()], &[k])?;
        }
        if let Some((channels, series)) = &self.channels {
            shape("channel adjoint", series.shape(), &[k, t, channels.len()])?;
            check_members(channels, n)?;
        }
        self.segments.iter().try_for_each(|part| part.check(k, t, n))?;
        match &self.dense {
            Some(dense) => shape("dense spike adjoint", dense.shape(), &[k, t, n]),
            None => Ok(()),
        }
    }

    /// The part of some trials, as the adjoint of a rollout of these alone.
    #[must_use]
    pub fn of_trials(&self, trials: std::ops::Range<usize>) -> Self {
        let rows = |a: &Array3<f32>| a.slice(ndarray::s![trials.clone(), .., ..]).to_owned();
        Self {
            shared: self
                .shared
                .as_ref()
                .map(|(values, condition)| (values.clone(), condition[trials.clone()].to_vec())),
            valid: self.valid.as_ref().map(|valid| valid[trials.clone()].to_vec()),
            channels: self
                .channels
                .as_ref()
                .map(|(channels, series)| (channels.clone(), rows(series))),
            segments: self
                .segments
                .iter()
                .map(|part| SegmentAdjoint {
                    of_step: part.of_step.clone(),
                    factor: part.factor.clone(),
                    values: rows(&part.values),
                })
                .collect(),
            dense: self.dense.as_ref().map(rows),
        }
    }

    /// Adds row (k, t) to `out` `[N]`.
    #[inline]
    pub fn add_row(&self, k: usize, t: usize, out: &mut [f32]) {
        let is_valid = self.valid.as_ref().is_none_or(|valid| t < valid[k]);
        if let Some((values, condition)) = self.shared.as_ref().filter(|_| is_valid) {
            let row = values.slice(ndarray::s![condition[k], t, ..]);
            match row.as_slice() {
                Some(row) => out.iter_mut().zip(row).for_each(|(o, v)| *o += v),
                None => out.iter_mut().zip(row).for_each(|(o, v)| *o += v),
            }
        }
        if let Some((channels, series)) = &self.channels {
            for (r, channel) in channels.iter().enumerate() {
                let value = series[[k, t, r]];
                if value != 0.0 {
                    for &(n, weight) in &channel.members {
                        out[n as usize] += value * weight;
                    }
                }
            }
        }
        for part in &self.segments {
            part.add_row(k, t, out);
        }
        if let Some(dense) = &self.dense {
            for (o, v) in out.iter_mut().zip(dense.slice(ndarray::s![k, t, ..])) {
                *o += v;
            }
        }
    }

    /// The parts of segments and the dense one as one array `[K, T, N]`, for engines that know no segments.
    #[cfg(feature = "wgpu")]
    pub(crate) fn as_dense(&self, (k, t, n): (usize, usize, usize)) -> Option<std::borrow::Cow<'_, Array3<f32>>> {
        if self.segments.is_empty() {
            return self.dense.as_ref().map(std::borrow::Cow::Borrowed);
        }
        let mut out = self.dense.clone().unwrap_or_else(|| Array3::zeros((k, t, n)));
        let of_trial = |(k, mut trial): (usize, ndarray::ArrayViewMut2<'_, f32>)| {
            for (t, mut row) in trial.rows_mut().into_iter().enumerate() {
                for part in &self.segments {
                    let values = part.values.slice(ndarray::s![k, part.of_step[t] as usize, ..]);
                    row.scaled_add(part.factor[t], &values);
                }
            }
        };
        let trials: Vec<_> = out.outer_iter_mut().enumerate().collect();
        trials.into_par_iter().for_each(of_trial);
        Some(std::borrow::Cow::Owned(out))
    }
}

/// Which gradients beyond weights, bias, threshold, reset and gain are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// dL/ds (needs the noise again).
    pub noise: bool,
    /// dL/d of the values of the trial offset, `[K, B, N]`.
    pub trial_offset: bool,
    /// dL/ddrive `[S, T, N]`.
    pub drive: bool,
    /// dL/d(history) `[K, H, N]`.
    pub history: bool,
}

/// Gradients of a scalar with respect to the network and the run.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// `[D, N_pre, N_post]`, dense: no connectivity mask is applied.
    pub w: Array3<f32>,
    /// `[N_in, N]`.
    pub w_in: Array2<f32>,
    /// dL/db, `[N]`.
    pub bias: Array1<f32>,
    /// dL/dθ, `[N]`.
    pub threshold: Array1<f32>,
    /// dL/dR, `[N]`.
    pub reset: Array1<f32>,
    /// dL/dg, `[N]`.
    pub gain: Array1<f32>,
    /// dL/ds, `[N]`, if asked for.
    pub noise: Option<Array1<f32>>,
    /// dL/d of the values of the trial offset, `[K, B, N]`, if asked for and there is one.
    pub trial_offset: Option<Array3<f32>>,
    /// dL/ddrive, `[S, T, N]`, if asked for.
    pub drive: Option<Array3<f32>>,
    /// dL/dz before the first recorded step, `[K, H, N]`, if asked for.
    pub history: Option<Array3<f32>>,
    /// Of the closed loop, if there is one.
    pub feedback: Option<FeedbackGradients>,
}

/// Gradients of the closed loop.
#[derive(Debug, Clone)]
pub struct FeedbackGradients {
    /// Of its kernel κ, `[B, L, N]`.
    pub kernel: Array3<f32>,
    /// dL/dy through the network, `[K, T, B]`: what a gradient of the traces from outside adds to.
    pub traces: Array3<f64>,
}

impl Network {
    /// Number of neurons N.
    pub fn n_neurons(&self) -> usize {
        self.alpha.len()
    }

    /// Longest delay H in steps (at least 1).
    pub fn max_delay(&self) -> usize {
        self.delays.iter().copied().max().unwrap_or(1).max(1)
    }

    /// Checks that every array has the shape that N and D demand, every delay is at least 1, every scale positive
    /// and the surrogate's floor a share.
    ///
    /// # Errors
    /// The first array that doesn't fit.
    pub fn check(&self) -> Result<(), CoreError> {
        let (n, d) = (self.n_neurons(), self.delays.len());
        shape("recurrent weights", self.w.shape(), &[d, n, n])?;
        shape("input weights", self.w_in.shape(), &[self.w_in.nrows(), n])?;
        for (what, a) in [
            ("gain", &self.gain),
            ("bias", &self.bias),
            ("noise amplitude", &self.noise),
            ("threshold", &self.threshold),
            ("threshold scale", &self.scale),
            ("reset", &self.reset),
        ] {
            shape(what, a.shape(), &[n])?;
        }
        if let Some(bad) = self.delays.iter().find(|d| **d == 0) {
            return Err(CoreError::Range {
                what: "delay in steps".into(),
                value: *bad as f64,
                expected: "at least 1",
            });
        }
        if let Some(bad) = self.scale.iter().find(|h| **h <= 0.0 || !h.is_finite()) {
            return Err(CoreError::Range {
                what: "threshold scale".into(),
                value: f64::from(*bad),
                expected: "above 0",
            });
        }
        if !(0.0..=1.0).contains(&self.surrogate_floor) {
            return Err(CoreError::Range {
                what: "surrogate floor".into(),
                value: f64::from(self.surrogate_floor),
                expected: "from 0 to 1, a share of the largest value",
            });
        }
        match &self.feedback {
            Some(feedback) => feedback.check(n),
            None => Ok(()),
        }
    }

    /// Refuses a closed loop, in the name of an engine that doesn't have it.
    pub(crate) fn check_open(&self, engine: &str) -> Result<(), CoreError> {
        if self.feedback.is_none() {
            return Ok(());
        }
        Err(CoreError::Population {
            what: format!("closed-loop feedback is not computed by {engine}; use the engine native on the processor"),
        })
    }
}

impl Run {
    /// Checks every array against the network and the numbers of trials and steps.
    ///
    /// # Errors
    /// The first array that doesn't fit.
    pub fn check(&self, network: &Network) -> Result<(), CoreError> {
        network.check()?;
        let (k, t, n, h) = (self.n_trials, self.n_steps, network.n_neurons(), network.max_delay());
        let all = self.n_warmup + t;
        if let Some(e) = &self.events {
            shape(
                "input events",
                &[e.n_trials(), e.n_steps(), e.n_inputs()],
                &[k, all, network.w_in.nrows()],
            )?;
        }
        if let Some(drive) = &self.drive {
            shape("drive", drive.values.shape(), &[drive.values.dim().0, t, n])?;
            shape("drive index", &[drive.index.len()], &[k])?;
            if let Some(bad) = drive.index.iter().find(|s| **s >= drive.values.dim().0) {
                return Err(CoreError::Range {
                    what: "drive index".into(),
                    value: *bad as f64,
                    expected: "below the number of stimuli",
                });
            }
        }
        if let Some(c) = &self.trial_offset {
            c.check(k, t, n)?;
        }
        if let Noise::Given { normals, uniforms } = &self.noise {
            shape("given normals", normals.shape(), &[k, all, n])?;
            shape("given uniforms", uniforms.shape(), &[k, all, n])?;
        }
        if let Some(clamp) = &self.clamp {
            shape("clamped spikes", &clamp.spikes.shape(), &[k, t, n])?;
            shape("clamp index", clamp.until.shape(), &[k, n])?;
        }
        shape("initial potential", self.initial.v.shape(), &[k, n])?;
        shape("initial refractory counter", self.initial.refractory.shape(), &[k, n])?;
        shape("initial history", &self.initial.history.shape(), &[k, h, n])?;
        match &network.feedback {
            Some(feedback) => feedback.check_state(&self.initial, k),
            None => Ok(()),
        }
    }
}

pub(crate) fn shape(what: &'static str, found: &[usize], expected: &[usize]) -> Result<(), CoreError> {
    if found == expected {
        Ok(())
    } else {
        Err(CoreError::Shape {
            what,
            found: found.to_vec(),
            expected: expected.to_vec(),
        })
    }
}
