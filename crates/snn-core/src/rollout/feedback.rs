//! Traces read out from spikes, and the closed loop: their past drives the network.
//!
//! ```text
//! u(t) = Σ_i c_i z_i(t)                  over the channel's neurons
//! q(t) = α q(t−1) + (1 − α) u(t)
//! log:     y(t) = exp(q(t)) − b,          so q = ln(y + b), and y = 0 before any spike
//! linear:  y(t) = (q(t) − mean)/std,      and q = 0 before any spike
//! closed loop:  I_j(t) += Σ_b Σ_l κ_blj y_b(t − lag_l)
//! ```
//! Backward, with λ = dL/dq:
//!
//! ```text
//! dL/dy(t) = external + Σ_l Σ_j κ_blj (g δ)_j(t + lag_l)
//! λ(t) = dy/dq(t)·dL/dy(t) + α λ(t+1)      dL/du = (1 − α) λ      dL/dκ_blj = g_j Σ_{k,t} δ_j(t) y_b(t − lag_l)
//! ```
//! The published code subtracts the baseline b (the paper writes +b). What the filter holds before the first recorded
//! step comes from the warm-up and is a constant to the gradient, and so are the traces there.
//!
//! # Source
//! Specification of Sourmpis et al. 2023 §1.7.

use super::{Channel, State, check_members, shape};
use crate::CoreError;
use ndarray::{Array2, Array3, ArrayView1, ArrayViewMut1};
use std::ops::Range;

/// How the filtered activity q becomes a trace y.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TraceLink {
    /// `y = exp(q) − baseline`; the baseline is above 0.
    Log {
        /// b.
        baseline: f64,
    },
    /// `y = (q − mean)/std`.
    Linear {
        /// Mean.
        mean: f64,
        /// Standard deviation, above 0.
        std: f64,
    },
}

/// One trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// What it is read out from.
    pub channel: Channel,
    /// Decay per step.
    pub alpha: f64,
    /// How the filter becomes a trace.
    pub link: TraceLink,
}

impl Trace {
    /// Filter q before any spike: a log trace is 0 there.
    pub fn at_rest(&self) -> f64 {
        match self.link {
            TraceLink::Log { baseline } => baseline.ln(),
            TraceLink::Linear { .. } => 0.0,
        }
    }

    /// Filter q one step on, of the drive u.
    #[inline]
    pub fn advance(&self, q: f64, drive: f64) -> f64 {
        self.alpha * q + (1.0 - self.alpha) * drive
    }

    /// Trace y of the filter q.
    #[inline]
    pub fn value(&self, q: f64) -> f64 {
        match self.link {
            TraceLink::Log { baseline } => q.exp() - baseline,
            TraceLink::Linear { mean, std } => (q - mean) / std,
        }
    }

    /// dy/dq at q.
    #[inline]
    pub fn slope(&self, q: f64) -> f64 {
        match self.link {
            TraceLink::Log { .. } => q.exp(),
            TraceLink::Linear { std, .. } => std.recip(),
        }
    }

    /// λ one step back: from that of the next step, q and dL/dy of this one.
    #[inline]
    pub fn retreat(&self, lambda: f64, q: f64, d_value: f64) -> f64 {
        self.slope(q) * d_value + self.alpha * lambda
    }
}

/// Traces whose past drives the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Feedback {
    /// The traces, `[B]`.
    pub traces: Vec<Trace>,
    /// κ, `[B, L, N]`: current into neuron n per unit of trace b, `first_lag + l` steps later. It is a synaptic current:
    /// the cell's gain applies.
    pub kernel: Array3<f32>,
    /// Shortest lag in steps, at least 1.
    pub first_lag: usize,
}

/// What the closed loop remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedbackState {
    /// Filter q, `[K, B]`.
    pub filter: Array2<f64>,
    /// Traces y of the last steps, as many as the longest lag, oldest first, `[K, L_max, B]`.
    pub past: Array3<f64>,
}

impl Feedback {
    /// Number of traces B.
    pub fn n_traces(&self) -> usize {
        self.traces.len()
    }

    /// Lags in steps, one for each row of the kernel.
    pub fn lags(&self) -> Range<usize> {
        self.first_lag..self.first_lag + self.kernel.dim().1
    }

    /// Longest lag L_max in steps.
    pub fn max_lag(&self) -> usize {
        self.lags().end - 1
    }

    /// State before any spike.
    pub fn at_rest(&self, n_trials: usize) -> FeedbackState {
        let q: Vec<f64> = self.traces.iter().map(Trace::at_rest).collect();
        let past = |(_, _, b): (usize, usize, usize)| self.traces[b].value(q[b]);
        FeedbackState {
            filter: Array2::from_shape_fn((n_trials, q.len()), |(_, b)| q[b]),
            past: Array3::from_shape_fn((n_trials, self.max_lag(), q.len()), past),
        }
    }

    /// Checks it against N neurons.
    ///
    /// # Errors
    /// No trace, no lag, a lag of 0, a kernel of another shape, a member that is no neuron, a constant out of range.
    pub fn check(&self, n: usize) -> Result<(), CoreError> {
        let (_, n_lags, _) = self.kernel.dim();
        let expected = [self.n_traces(), n_lags, n];
        shape("feedback kernel", self.kernel.shape(), &expected)?;
        let refuse = |what: &str, value: f64, expected| {
            Err(CoreError::Range {
                what: what.into(),
                value,
                expected,
            })
        };
        if self.traces.is_empty() || n_lags == 0 {
            return Err(CoreError::Population {
                what: "a closed loop needs a trace and a lag".into(),
            });
        }
        if self.first_lag == 0 {
            return refuse("shortest lag of the feedback in steps", 0.0, "at least 1");
        }
        for trace in &self.traces {
            check_members(std::slice::from_ref(&trace.channel), n)?;
            if !(0.0..=1.0).contains(&trace.alpha) {
                return refuse("decay per step of a trace", trace.alpha, "from 0 to 1");
            }
            let (TraceLink::Log { baseline: scale } | TraceLink::Linear { std: scale, .. }) = trace.link;
            if !(scale.is_finite() && scale > 0.0) {
                return refuse("baseline or standard deviation of a trace", scale, "finite and above 0");
            }
        }
        Ok(())
    }

    /// Checks a state against K trials.
    pub(super) fn check_state(&self, state: &State, k: usize) -> Result<(), CoreError> {
        let Some(found) = &state.feedback else {
            return Err(CoreError::Population {
                what: "the initial state of a network with feedback has none of the feedback".into(),
            });
        };
        let b = self.n_traces();
        shape("filter of the feedback", found.filter.shape(), &[k, b])?;
        shape("past traces", found.past.shape(), &[k, self.max_lag(), b])
    }
}

/// The loop of one trial in the course of a simulation.
pub(super) struct Loop<'a> {
    feedback: &'a Feedback,
    filter: Vec<f64>,
    /// Traces of the last L_max steps, a ring by step; `[L_max][B]`.
    past: Vec<f64>,
}

impl<'a> Loop<'a> {
    /// The loop of trial `k` before step 0.
    pub(super) fn new(feedback: &'a Feedback, state: &FeedbackState, k: usize) -> Self {
        Self {
            feedback,
            filter: state.filter.row(k).to_vec(),
            // Step −(L − i) stands at slot (L − (L − i)) % L = i.
            past: state.past.index_axis(ndarray::Axis(0), k).iter().copied().collect(),
        }
    }

    /// Trace b at step `step − lag`; steps are counted from the initial state.
    fn at(&self, step: usize, lag: usize, b: usize) -> f64 {
        let (slots, n_traces) = (self.feedback.max_lag(), self.feedback.n_traces());
        self.past[(step + slots - lag) % slots * n_traces + b]
    }

    /// Adds the feedback current of a step, row by row: `add(κ row, trace)`.
    pub(super) fn currents(&self, step: usize, mut add: impl FnMut(&[f32], f32)) {
        for (b, kernel) in self.feedback.kernel.outer_iter().enumerate() {
            for (row, lag) in kernel.outer_iter().zip(self.feedback.lags()) {
                let value = self.at(step, lag, b) as f32;
                if value != 0.0
                    && let Some(row) = row.as_slice()
                {
                    add(row, value);
                }
            }
        }
    }

    /// Takes in the spikes of a step, a packed row; `filter` receives q if it is kept.
    pub(super) fn advance(&mut self, step: usize, spikes: &[u64], filter: Option<&mut [f64]>) {
        let (slots, n_traces) = (self.feedback.max_lag(), self.feedback.n_traces());
        for (b, trace) in self.feedback.traces.iter().enumerate() {
            let is_set = |n: u32| spikes[n as usize / 64] >> (n % 64) & 1 == 1;
            let members = trace.channel.members.iter().filter(|(n, _)| is_set(*n));
            let drive = members.map(|(_, weight)| f64::from(*weight)).sum();
            self.filter[b] = trace.advance(self.filter[b], drive);
            self.past[step % slots * n_traces + b] = trace.value(self.filter[b]);
        }
        if let Some(kept) = filter {
            kept.copy_from_slice(&self.filter);
        }
    }

    /// Writes the state after `next` steps.
    pub(super) fn store(&self, next: usize, filter: &mut [f64], past: &mut [f64]) {
        filter.copy_from_slice(&self.filter);
        let (slots, n_traces) = (self.feedback.max_lag(), self.feedback.n_traces());
        for (age, row) in past.chunks_mut(n_traces).enumerate() {
            // Oldest first: row `age` is step next − L + age.
            let slot = (next + age) % slots;
            row.copy_from_slice(&self.past[slot * n_traces..][..n_traces]);
        }
    }
}

/// The loop of one trial backwards in time.
pub(super) struct LoopBack {
    /// λ, `[B]`.
    lambda: Vec<f64>,
    /// dL/dy of the step and of the L_max before it, from δ of later steps; a ring by step, `[L_max + 1][B]`.
    pending: Vec<f64>,
}

impl LoopBack {
    pub(super) fn new(feedback: &Feedback) -> Self {
        Self {
            lambda: vec![0.0; feedback.n_traces()],
            pending: vec![0.0; (feedback.max_lag() + 1) * feedback.n_traces()],
        }
    }

    /// At step t, before its δ is known: dL/dy(t) through the network into `d_traces [B]`, and its part of dL/dz into
    /// `dz [N]`; `filter` is q(t).
    pub(super) fn spikes(
        &mut self,
        feedback: &Feedback,
        t: usize,
        filter: ArrayView1<'_, f64>,
        dz: &mut [f32],
        d_traces: &mut [f64],
    ) {
        let (slots, n_traces) = (feedback.max_lag() + 1, feedback.n_traces());
        for (b, trace) in feedback.traces.iter().enumerate() {
            let d = std::mem::take(&mut self.pending[t % slots * n_traces + b]);
            d_traces[b] = d;
            self.lambda[b] = trace.retreat(self.lambda[b], filter[b], d);
            let d_drive = ((1.0 - trace.alpha) * self.lambda[b]) as f32;
            if d_drive != 0.0 {
                for &(n, weight) in &trace.channel.members {
                    dz[n as usize] += d_drive * weight;
                }
            }
        }
    }

    /// At step t, once g δ(t) `[N]` is known: what the traces of earlier steps did.
    pub(super) fn traces(&mut self, feedback: &Feedback, t: usize, scaled: &[f32]) {
        let (slots, n_traces) = (feedback.max_lag() + 1, feedback.n_traces());
        for (b, kernel) in feedback.kernel.outer_iter().enumerate() {
            for (row, lag) in kernel.outer_iter().zip(feedback.lags()) {
                if let Some(earlier) = t.checked_sub(lag)
                    && let Some(row) = row.as_slice()
                {
                    self.pending[earlier % slots * n_traces + b] += dot(row, scaled);
                }
            }
        }
    }
}

/// Sum of products: eight interleaved sums in single precision per 4096 values, these in double.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut total = 0.0;
    for (a, b) in a.chunks(4096).zip(b.chunks(4096)) {
        let mut sums = [0.0f32; 8];
        let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
        let rest: f32 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
        for (x, y) in a8.zip(b8) {
            for i in 0..8 {
                sums[i] += x[i] * y[i];
            }
        }
        total += f64::from(rest) + sums.iter().map(|s| f64::from(*s)).sum::<f64>();
    }
    total
}

/// Gradient of the kernel without the gain, `Σ_{k,t} δ_j(t) y_b(t − lag)`, of one kernel row (b, lag); trials in order.
pub(super) fn kernel_row_gradient(
    feedback: &Feedback,
    b: usize,
    lag: usize,
    start: &FeedbackState,
    filter: &Array3<f64>,
    delta: &Array3<f32>,
    mut out: ArrayViewMut1<'_, f64>,
) {
    let trace = &feedback.traces[b];
    let n_past = start.past.dim().1;
    for (k, delta) in delta.outer_iter().enumerate() {
        for (t, row) in delta.outer_iter().enumerate() {
            let value = match t.checked_sub(lag) {
                Some(earlier) => trace.value(filter[[k, earlier, b]]),
                None => start.past[[k, n_past + t - lag, b]],
            };
            out.zip_mut_with(&row, |sum, d| *sum += value * f64::from(*d));
        }
    }
}
