//! Forward pass: every trial on its own, event by event.

use super::kernels::{self, Constants};
use crate::CoreError;
use crate::bits::{SpikeBits, for_each_set};
use crate::rng::{self, Place};
use crate::rollout::feedback::{FeedbackState, Loop};
use crate::rollout::{Network, Noise, Rollout, Run, State};
use ndarray::{Array2, Array3, ArrayView1, Axis, CowArray, Ix1, Ix2, Ix3};
use rayon::prelude::*;

/// What the time loop reads, in standard memory layout: borrowed where it is already, else copied.
pub(super) struct Prepared<'a> {
    network: &'a Network,
    w: CowArray<'a, f32, Ix3>,
    w_in: CowArray<'a, f32, Ix2>,
    /// alpha, gain, bias, noise, threshold, reset.
    rows: [CowArray<'a, f32, Ix1>; 6],
    inverse_scale: Vec<f32>,
}

impl<'a> Prepared<'a> {
    pub(super) fn new(network: &'a Network) -> Self {
        let n = network;
        Self {
            network,
            w: n.w.as_standard_layout(),
            w_in: n.w_in.as_standard_layout(),
            rows: [&n.alpha, &n.gain, &n.bias, &n.noise, &n.threshold, &n.reset].map(|a| a.as_standard_layout()),
            inverse_scale: n.scale.iter().map(|h| 1.0 / h).collect(),
        }
    }

    pub(super) fn constants(&self) -> Constants<'_> {
        let row = |i: usize| self.rows[i].as_slice().expect("standard layout");
        Constants {
            alpha: row(0),
            gain: row(1),
            bias: row(2),
            noise: row(3),
            threshold: row(4),
            inverse_scale: &self.inverse_scale,
            reset: row(5),
            temperature: self.network.temperature,
            p_scale: self.network.p_scale,
            n_refractory: self.network.n_refractory,
        }
    }

    /// Weights as one row-major slice `[N_pre, N_post]` per delay.
    pub(super) fn delay_slices(&self) -> Vec<&[f32]> {
        let n = self.network.n_neurons();
        let all = self.w.as_slice().expect("standard layout");
        (0..self.network.delays.len())
            .map(|d| &all[d * n * n..(d + 1) * n * n])
            .collect()
    }

    /// Input weights, row-major `[N_in, N]`.
    fn input_slice(&self) -> &[f32] {
        self.w_in.as_slice().expect("standard layout")
    }
}

/// The slices of one trial that the forward pass writes.
struct TrialOut<'a> {
    potentials: Option<&'a mut [f32]>,
    warmup: &'a mut [u64],
    spikes: &'a mut [u64],
    refractory: &'a mut [u64],
    start_v: &'a mut [f32],
    start_r: &'a mut [u8],
    start_history: &'a mut [u64],
    end_v: &'a mut [f32],
    end_r: &'a mut [u8],
    end_history: &'a mut [u64],
    feedback: Option<LoopOut<'a>>,
}

/// What the closed loop of one trial writes: filter `[T][B]`, then filter and past traces of both states.
struct LoopOut<'a> {
    filter: &'a mut [f64],
    start: (&'a mut [f64], &'a mut [f64]),
    end: (&'a mut [f64], &'a mut [f64]),
}

/// Simulates `run` (see [`crate::rollout`] for the equations).
///
/// Allocates K·T·N f32 for the potentials when they are kept, and K·T·N/4 bytes for spikes, K·N/8 for each step of the
/// warm-up.
///
/// # Errors
/// When an array doesn't fit the network.
pub fn simulate(network: &Network, run: &Run, keep_potentials: bool) -> Result<Rollout, CoreError> {
    run.check(network)?;
    let (k, t, n, h) = (run.n_trials, run.n_steps, network.n_neurons(), network.max_delay());
    let mut warmup = SpikeBits::zeros(k, run.n_warmup, n);
    let mut spikes = SpikeBits::zeros(k, t, n);
    let mut refractory = SpikeBits::zeros(k, t, n);
    let mut potentials = keep_potentials.then(|| crate::large::zeros(k * t * n));
    let empty = || State {
        v: Array2::zeros((k, n)),
        refractory: Array2::zeros((k, n)),
        history: SpikeBits::zeros(k, h, n),
        feedback: network.feedback.as_ref().map(|feedback| feedback.at_rest(k)),
    };
    let (mut start, mut end) = (empty(), empty());
    let mut traces = network
        .feedback
        .as_ref()
        .map(|feedback| Array3::<f64>::zeros((k, t, feedback.n_traces())));
    if k > 0 && n > 0 {
        let words = spikes.words_per_row();
        let potential_rows: Vec<Option<&mut [f32]>> = match &mut potentials {
            Some(all) if t > 0 => all.chunks_mut(t * n).map(Some).collect(),
            _ => (0..k).map(|_| None).collect(),
        };
        let loops = loops(&mut traces, &mut start.feedback, &mut end.feedback, k);
        let trials: Vec<TrialOut<'_>> = potential_rows
            .into_iter()
            .zip(loops)
            .zip(split(warmup.words_mut(), k, run.n_warmup * words))
            .zip(split(spikes.words_mut(), k, t * words))
            .zip(split(refractory.words_mut(), k, t * words))
            .zip(split(standard(&mut start.v), k, n))
            .zip(split(standard(&mut start.refractory), k, n))
            .zip(split(start.history.words_mut(), k, h * words))
            .zip(split(standard(&mut end.v), k, n))
            .zip(split(standard(&mut end.refractory), k, n))
            .zip(split(end.history.words_mut(), k, h * words))
            .map(
                |(
                    (
                        (
                            (
                                ((((((potentials, feedback), warmup), spikes), refractory), start_v), start_r),
                                start_history,
                            ),
                            end_v,
                        ),
                        end_r,
                    ),
                    end_history,
                )| TrialOut {
                    potentials,
                    warmup,
                    spikes,
                    refractory,
                    start_v,
                    start_r,
                    start_history,
                    end_v,
                    end_r,
                    end_history,
                    feedback,
                },
            )
            .collect();
        let prepared = Prepared::new(network);
        trials.into_par_iter().enumerate().for_each_init(
            || Scratch::new(n, h),
            |scratch, (k, out)| simulate_trial(&prepared, run, k, scratch, out),
        );
    }
    let potentials = potentials.map(|all| Array3::from_shape_vec((k, t, n), all).expect("allocated with this size"));
    Ok(Rollout {
        warmup,
        spikes,
        refractory,
        potentials,
        traces,
        start,
        end,
    })
}

/// The parts of the closed loop's results that each trial writes; nothing for each of them without one.
fn loops<'a>(
    traces: &'a mut Option<Array3<f64>>,
    start: &'a mut Option<FeedbackState>,
    end: &'a mut Option<FeedbackState>,
    k: usize,
) -> Vec<Option<LoopOut<'a>>> {
    let (Some(traces), Some(start), Some(end)) = (traces, start, end) else {
        return (0..k).map(|_| None).collect();
    };
    let (_, t, b) = traces.dim();
    let n_past = start.past.dim().1;
    let of = |state: &'a mut FeedbackState| {
        let filter = split(state.filter.as_slice_mut().expect("standard layout"), k, b);
        let past = split(state.past.as_slice_mut().expect("standard layout"), k, n_past * b);
        filter.into_iter().zip(past)
    };
    split(traces.as_slice_mut().expect("standard layout"), k, t * b)
        .into_iter()
        .zip(of(start))
        .zip(of(end))
        .map(|((filter, start), end)| Some(LoopOut { filter, start, end }))
        .collect()
}

/// `count` equal parts of a slice (empty ones when `size` is 0).
fn split<T>(mut all: &mut [T], count: usize, size: usize) -> Vec<&mut [T]> {
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        let (part, rest) = std::mem::take(&mut all).split_at_mut(size);
        parts.push(part);
        all = rest;
    }
    parts
}

fn standard<T>(a: &mut Array2<T>) -> &mut [T] {
    a.as_slice_mut().expect("an owned new array is in standard layout")
}

/// Buffers of one thread.
struct Scratch {
    current: Vec<f32>,
    uniforms: Vec<f32>,
    normals: Vec<f32>,
    z: Vec<u8>,
    blocked: Vec<u8>,
    v: Vec<f32>,
    /// v⁻ of a step that isn't kept.
    potential: Vec<f32>,
    r: Vec<u8>,
    /// Spike lists of the last H steps; step s is at `s % H`.
    lists: Vec<Vec<u32>>,
    /// The same as packed rows.
    rows: Vec<u64>,
}

impl Scratch {
    fn new(n: usize, h: usize) -> Self {
        Self {
            current: vec![0.0; n],
            uniforms: vec![0.0; n],
            normals: vec![0.0; n],
            z: vec![0; n],
            blocked: vec![0; n],
            v: vec![0.0; n],
            potential: vec![0.0; n],
            r: vec![0; n],
            lists: vec![Vec::new(); h],
            rows: vec![0; h * n.div_ceil(64)],
        }
    }
}

fn simulate_trial(prepared: &Prepared<'_>, run: &Run, k: usize, scratch: &mut Scratch, mut out: TrialOut<'_>) {
    let network = prepared.network;
    let n = network.n_neurons();
    let h = network.max_delay();
    let words = n.div_ceil(64);
    let constants = &prepared.constants();
    let weights = prepared.delay_slices();
    let w_in = prepared.input_slice();
    let has_noise = network.noise.iter().any(|s| *s != 0.0);
    load_state(&run.initial, k, h, scratch);
    let mut closed = match (&network.feedback, &run.initial.feedback) {
        (Some(feedback), Some(state)) => Some(Loop::new(feedback, state, k)),
        _ => None,
    };
    for s in 0..run.n_warmup + run.n_steps {
        let recorded = s.checked_sub(run.n_warmup);
        if recorded == Some(0) {
            store_state(scratch, s, h, words, out.start_v, out.start_r, out.start_history);
            store_loop(closed.as_ref(), s, out.feedback.as_mut().map(|kept| &mut kept.start));
        }
        currents(network, run, &weights, w_in, k, s, scratch);
        if let Some(closed) = &closed {
            closed.currents(s, |row, value| kernels::add_multiple(&mut scratch.current, row, value));
        }
        let (uniforms, normals) = draws(run, k, s, has_noise, &mut scratch.uniforms, &mut scratch.normals);
        let row = match (recorded, &mut out.potentials) {
            (Some(t), Some(potentials)) => &mut potentials[t * n..(t + 1) * n],
            _ => &mut scratch.potential[..],
        };
        kernels::integrate(constants, &scratch.current, normals, &scratch.v, row);
        if let Some(drive) = &run.drive {
            let held = recorded.unwrap_or(0).min(run.n_steps.saturating_sub(1));
            add_view(row, &drive.values.slice(ndarray::s![drive.index[k], held, ..]));
        }
        if let Some(offset) = &run.trial_offset {
            let rows = offset.values.index_axis(Axis(0), k);
            for (b, share) in offset.at(recorded.unwrap_or(0)) {
                add_multiple(row, &rows.row(b), share);
            }
        }
        kernels::draw(
            constants,
            row,
            uniforms,
            &scratch.r,
            &mut scratch.z,
            &mut scratch.blocked,
        );
        if let (Some(clamp), Some(t)) = (&run.clamp, recorded) {
            for (i, until) in clamp.until.row(k).iter().enumerate() {
                if (t as u32) < *until {
                    scratch.z[i] = u8::from(clamp.spikes.get(k, t, i));
                }
            }
        }
        if let Some(t) = recorded {
            kernels::pack(&scratch.blocked, &mut out.refractory[t * words..(t + 1) * words]);
        }
        let slot = s % h;
        let packed = &mut scratch.rows[slot * words..(slot + 1) * words];
        kernels::pack(&scratch.z, packed);
        let list = &mut scratch.lists[slot];
        list.clear();
        for_each_set(packed, |i| list.push(i as u32));
        let kept = match recorded {
            Some(t) => &mut out.spikes[t * words..(t + 1) * words],
            None => &mut out.warmup[s * words..(s + 1) * words],
        };
        kept.copy_from_slice(packed);
        if let Some(closed) = &mut closed {
            let filter = match (recorded, &mut out.feedback) {
                (Some(t), Some(kept)) => Some(row_of(kept.filter, t, run.n_steps)),
                _ => None,
            };
            closed.advance(s, packed, filter);
        }
        kernels::reset(constants, &scratch.z, row, &mut scratch.v, &mut scratch.r);
    }
    let last = run.n_warmup + run.n_steps;
    if run.n_steps == 0 {
        store_state(scratch, last, h, words, out.start_v, out.start_r, out.start_history);
        store_loop(closed.as_ref(), last, out.feedback.as_mut().map(|kept| &mut kept.start));
    }
    store_state(scratch, last, h, words, out.end_v, out.end_r, out.end_history);
    store_loop(closed.as_ref(), last, out.feedback.as_mut().map(|kept| &mut kept.end));
}

/// Row `i` of `count` rows.
fn row_of(all: &mut [f64], i: usize, count: usize) -> &mut [f64] {
    let size = all.len() / count.max(1);
    &mut all[i * size..(i + 1) * size]
}

fn store_loop(closed: Option<&Loop<'_>>, next: usize, state: Option<&mut (&mut [f64], &mut [f64])>) {
    if let (Some(closed), Some((filter, past))) = (closed, state) {
        closed.store(next, filter, past);
    }
}

/// Synaptic current: input events, then delays in order, presynaptic neurons ascending.
fn currents(network: &Network, run: &Run, weights: &[&[f32]], w_in: &[f32], k: usize, s: usize, scratch: &mut Scratch) {
    let n = network.n_neurons();
    let h = network.max_delay();
    scratch.current.fill(0.0);
    if let Some(events) = &run.events {
        for &i in events.at(k, s) {
            kernels::add_row(&mut scratch.current, &w_in[i as usize * n..(i as usize + 1) * n]);
        }
    }
    for (w, delay) in weights.iter().zip(&network.delays) {
        kernels::add_rows(&mut scratch.current, w, &scratch.lists[(s + h - delay) % h]);
    }
}

/// This step's uniforms and (when there is noise) normals.
fn draws<'a>(
    run: &'a Run,
    k: usize,
    s: usize,
    has_noise: bool,
    u: &'a mut [f32],
    g: &'a mut [f32],
) -> (&'a [f32], Option<&'a [f32]>) {
    match &run.noise {
        Noise::Philox {
            key,
            step,
            first_trial,
            first_time,
        } => {
            let place = Place {
                time: first_time.wrapping_add(s as u32),
                trial: first_trial.wrapping_add(k as u32),
                step: *step,
            };
            if has_noise {
                rng::fill_uniforms_and_normals(*key, place, u, g);
                (u, Some(g))
            } else {
                rng::fill_uniforms(*key, place, u);
                (u, None)
            }
        }
        Noise::Given { normals, uniforms } => {
            let u = copy_row(uniforms, k, s, u);
            (u, has_noise.then(|| copy_row(normals, k, s, g)))
        }
    }
}

/// The row (k, s) itself when it is contiguous, else a copy.
pub(super) fn copy_row<'a>(a: &'a Array3<f32>, k: usize, s: usize, buffer: &'a mut [f32]) -> &'a [f32] {
    let n = buffer.len();
    if let Some(all) = a.as_slice() {
        let start = (k * a.dim().1 + s) * n;
        return &all[start..start + n];
    }
    for (to, from) in buffer.iter_mut().zip(a.slice(ndarray::s![k, s, ..])) {
        *to = *from;
    }
    buffer
}

fn add_view(v: &mut [f32], more: &ArrayView1<'_, f32>) {
    if let Some(row) = more.as_slice() {
        kernels::add_row(v, row);
    } else {
        for (x, y) in v.iter_mut().zip(more) {
            *x += y;
        }
    }
}

fn add_multiple(v: &mut [f32], more: &ArrayView1<'_, f32>, factor: f32) {
    if let Some(row) = more.as_slice() {
        kernels::add_multiple(v, row, factor);
    } else {
        for (x, y) in v.iter_mut().zip(more) {
            *x += factor * y;
        }
    }
}

fn load_state(state: &State, k: usize, h: usize, scratch: &mut Scratch) {
    for (to, from) in scratch.v.iter_mut().zip(state.v.row(k)) {
        *to = *from;
    }
    for (to, from) in scratch.r.iter_mut().zip(state.refractory.row(k)) {
        *to = *from;
    }
    let words = state.history.words_per_row();
    for slot in 0..h {
        // Step −(h − slot) stands at slot (h − (h − slot)) % h = slot.
        let row = state.history.row(k, slot);
        scratch.rows[slot * words..(slot + 1) * words].copy_from_slice(row);
        let list = &mut scratch.lists[slot];
        list.clear();
        for_each_set(row, |i| list.push(i as u32));
    }
}

fn store_state(
    scratch: &Scratch,
    next: usize,
    h: usize,
    words: usize,
    v: &mut [f32],
    r: &mut [u8],
    history: &mut [u64],
) {
    v.copy_from_slice(&scratch.v);
    r.copy_from_slice(&scratch.r);
    for age in 0..h {
        // Oldest first: row `age` is step next − h + age.
        let slot = (next + age) % h;
        history[age * words..(age + 1) * words].copy_from_slice(&scratch.rows[slot * words..(slot + 1) * words]);
    }
}
