//! The benchmark workload: one forward pass and its gradient, the same equations and loss as the baselines in PyTorch
//! and JAX.
//!
//! `v(t) = α v(t−1) + (1−α) I(t) − thr z(t−1) + noise(t)`, `p = σ((v − thr)/v₀)`, surrogate `0.3 p(1 − p)` per logit,
//! `I(t) = W_in x(t) + Σ_d W_d z(t−d)`; the loss is the mean squared difference of the smoothed trial average to a
//! fixed target. Our reset is subtracted before the decay, so its amount is `thr/α`.

use std::ops::Range;
use std::time::Instant;

use ndarray::{Array1, Array2, Array3, s};
use rand::RngExt;
use rayon::prelude::*;
use serde::Serialize;
use snn_core::CoreError;
use snn_core::rng::{Key, Place, StreamRng, fill_uniforms_and_normals};
use snn_core::rollout::{
    Gradients, InputEvents, Network, Noise, Rollout, Run, SpikeAdjoint, State, Wanted, native, reference,
};
use snn_core::surrogate::Surrogate;

use crate::provenance;
use crate::trainer::chunks;

const THRESHOLD: f32 = 0.1;
const SMOOTHING: usize = 7;

/// Size and kind of the workload.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// Neurons N.
    pub n: usize,
    /// Trials K.
    pub k: usize,
    /// Steps T.
    pub t: usize,
    /// Delays D (1, 2, … steps).
    pub d: usize,
    /// Inputs.
    pub n_in: usize,
    /// Gain of the recurrent weights.
    pub gain: f64,
    /// Timed repetitions, after one that isn't counted.
    pub reps: usize,
    /// Seed.
    pub seed: u64,
    /// Trials simulated at once, at most K.
    pub trial_chunk: usize,
    /// Share of its largest value below which the surrogate is taken as 0.
    pub surrogate_floor: f32,
    /// Whether random numbers are given as arrays, as in the baselines, or drawn inside.
    pub is_noise_given: bool,
}

/// What one benchmark measured; medians over the repetitions.
#[derive(Debug, Clone, Serialize)]
pub struct Timing {
    /// Engine and how its noise is made.
    pub engine: String,
    /// Device.
    pub device: String,
    /// Threads.
    pub threads: usize,
    /// Neurons.
    pub n: usize,
    /// Trials.
    pub k: usize,
    /// Steps.
    pub t: usize,
    /// Delays.
    pub d: usize,
    /// Trials at once.
    pub trial_chunk: usize,
    /// Forward, s.
    pub forward_s: f64,
    /// Backward, s; with several chunks, including the second simulation of each.
    pub backward_s: f64,
    /// Both, s.
    pub total_s: f64,
    /// CPU seconds of both.
    pub cpu_s: f64,
    /// Share of (trial, step, neuron) with a spike.
    pub spike_fraction: f64,
    /// Loss.
    pub loss: f64,
    /// Largest resident memory, MiB.
    pub peak_rss_mib: f64,
    /// `‖g − g₀‖/‖g₀‖` of the weights' gradient g, where g₀ is the exact one of engine `native`; none where g is exact.
    pub gradient_error: Option<f64>,
}

/// Where the two functions of an engine run.
pub trait Runner {
    /// What is between them.
    type Rolled;
    /// Whether the gradient is exact up to rounding in single precision.
    fn is_exact(&self) -> bool {
        true
    }
    /// Forward; potentials are kept for the gradient or not.
    ///
    /// # Errors
    /// As the engine.
    fn simulate(&self, network: &Network, run: &Run, keep_potentials: bool) -> Result<Self::Rolled, CoreError>;
    /// Spikes summed over trials, `[1, T, N]`; the forward pass is done when they are there.
    ///
    /// # Errors
    /// As the engine.
    fn sums(&self, rolled: &Self::Rolled, n_trials: usize) -> Result<Array3<f64>, CoreError>;
    /// Backward.
    ///
    /// # Errors
    /// As the engine.
    fn backpropagate(
        &self,
        network: &Network,
        run: &Run,
        rolled: Self::Rolled,
        adjoint: &SpikeAdjoint,
    ) -> Result<Gradients, CoreError>;
}

fn on_host(rolled: &Rollout, n_trials: usize) -> Result<Array3<f64>, CoreError> {
    rolled.spikes.sums_by_condition(&vec![0; n_trials], 1, None)
}

/// The engine `native`, or `native-int16`.
#[derive(Debug, Clone, Copy)]
pub struct Native(pub native::Precision);

impl Runner for Native {
    type Rolled = Rollout;

    fn is_exact(&self) -> bool {
        self.0 == native::Precision::Single
    }

    fn simulate(&self, network: &Network, run: &Run, keep_potentials: bool) -> Result<Rollout, CoreError> {
        native::simulate(network, run, keep_potentials)
    }

    fn sums(&self, rolled: &Rollout, n_trials: usize) -> Result<Array3<f64>, CoreError> {
        on_host(rolled, n_trials)
    }

    fn backpropagate(
        &self,
        network: &Network,
        run: &Run,
        rolled: Rollout,
        adjoint: &SpikeAdjoint,
    ) -> Result<Gradients, CoreError> {
        native::backpropagate_with(self.0, network, run, rolled, adjoint, None, Wanted::default())
    }
}

impl Runner for reference::Reference {
    type Rolled = Rollout;

    fn simulate(&self, network: &Network, run: &Run, keep_potentials: bool) -> Result<Rollout, CoreError> {
        Self::simulate(self, network, run, keep_potentials)
    }

    fn sums(&self, rolled: &Rollout, n_trials: usize) -> Result<Array3<f64>, CoreError> {
        on_host(rolled, n_trials)
    }

    fn backpropagate(
        &self,
        network: &Network,
        run: &Run,
        rolled: Rollout,
        adjoint: &SpikeAdjoint,
    ) -> Result<Gradients, CoreError> {
        Self::backpropagate(self, network, run, &rolled, adjoint, None, Wanted::default())
    }
}

#[cfg(feature = "wgpu")]
impl Runner for snn_core::rollout::kernels::Kernels {
    type Rolled = snn_core::rollout::kernels::DeviceRollout;

    fn simulate(&self, network: &Network, run: &Run, keep_potentials: bool) -> Result<Self::Rolled, CoreError> {
        self.roll(network, run, keep_potentials)
    }

    fn sums(&self, rolled: &Self::Rolled, n_trials: usize) -> Result<Array3<f64>, CoreError> {
        rolled.sums_by_condition(&vec![0; n_trials], 1, None)
    }

    fn backpropagate(
        &self,
        network: &Network,
        run: &Run,
        rolled: Self::Rolled,
        adjoint: &SpikeAdjoint,
    ) -> Result<Gradients, CoreError> {
        rolled.backpropagate(network, run, adjoint, None, Wanted::default())
    }
}

/// Network, inputs and target of a workload.
#[derive(Debug)]
pub struct Prepared {
    /// The network.
    pub network: Network,
    /// Inputs and noise of each chunk of trials, the same whatever the chunks.
    pub runs: Vec<Run>,
    /// Target of the smoothed trial average `[T, N]`.
    target: Array2<f64>,
}

/// Draws weights, inputs, noise and target.
pub fn prepare(load: &Workload) -> Prepared {
    let (n, k, t) = (load.n, load.k, load.t);
    let mut rng = StreamRng::new(load.seed, "bench", 0);
    let n_exc = n * 4 / 5;
    let w = Array3::from_shape_fn((load.d, n, n), |(_, i, _)| {
        let sign = if i < n_exc { 1.0 } else { -1.0 };
        rng.random::<f32>() * sign * load.gain as f32 / n as f32
    });
    let w_in = Array2::from_shape_fn((load.n_in, n), |_| rng.random::<f32>() / (load.n_in as f32).sqrt());
    let alpha = Array1::from_shape_fn(n, |i| (-2.0f32 / if i < n_exc { 30.0 } else { 10.0 }).exp());
    let network = Network {
        w,
        delays: (1..=load.d).collect(),
        w_in,
        gain: alpha.mapv(|a| 1.0 - a),
        bias: Array1::zeros(n),
        noise: Array1::from_elem(n, 0.1 * THRESHOLD * std::f32::consts::SQRT_2),
        threshold: Array1::from_elem(n, THRESHOLD),
        scale: Array1::from_elem(n, THRESHOLD),
        reset: alpha.mapv(|a| THRESHOLD / a),
        alpha,
        temperature: 15.0,
        p_scale: 1.0,
        n_refractory: 0,
        // The baselines' surrogate is 0.3 p(1 − p) per logit, that is γ·dp/dx.
        surrogate: Surrogate::Sigmoid { gamma: 0.3 },
        surrogate_floor: load.surrogate_floor,
        feedback: None,
    };
    let key = Key::new(load.seed, "bench.noise");
    let mut run = |trials: Range<usize>| Run {
        n_trials: trials.len(),
        n_warmup: 0,
        n_steps: t,
        events: Some(InputEvents::build(load.n_in, trials.len(), t, |_, _, out| {
            for i in 0..load.n_in {
                if rng.random::<f32>() < 0.01 {
                    out.push(i as u16);
                }
            }
        })),
        drive: None,
        trial_offset: None,
        initial: State::at_rest(trials.len(), network.max_delay(), &Array1::zeros(n)),
        noise: if load.is_noise_given {
            given_noise(key, trials, t, n)
        } else {
            Noise::Philox {
                key,
                step: 0,
                first_trial: trials.start as u32,
                first_time: 0,
            }
        },
        clamp: None,
    };
    let runs = chunks(k, load.trial_chunk).map(&mut run).collect();
    let target = Array2::from_shape_fn((t, n), |_| rng.random::<f64>() * 0.02);
    Prepared { network, runs, target }
}

/// Random numbers of some trials, `[K, T, N]` each.
fn given_noise(key: Key, trials: Range<usize>, t: usize, n: usize) -> Noise {
    let k = trials.len();
    let (mut uniforms, mut normals) = (vec![0.0f32; k * t * n], vec![0.0f32; k * t * n]);
    uniforms
        .par_chunks_mut(n)
        .zip(normals.par_chunks_mut(n))
        .enumerate()
        .for_each(|(row, (u, g))| {
            let place = Place {
                time: (row % t) as u32,
                trial: (trials.start + row / t) as u32,
                step: 0,
            };
            fill_uniforms_and_normals(key, place, u, g);
        });
    let shape = |values| Array3::from_shape_vec((k, t, n), values).unwrap_or_default();
    Noise::Given {
        normals: shape(normals),
        uniforms: shape(uniforms),
    }
}

/// Loss of the smoothed trial average and its gradient with respect to every spike (the same for all trials).
fn loss(sums: Array3<f64>, k: usize, target: &Array2<f64>) -> (f64, SpikeAdjoint) {
    let (_, t, n) = sums.dim();
    let psth = sums.index_axis_move(ndarray::Axis(0), 0) / k as f64;
    let half = SMOOTHING / 2;
    let window = |i: usize| i.saturating_sub(half)..(i + half + 1).min(t);
    let mut error = Array2::<f64>::zeros((t, n));
    for i in 0..t {
        let mut row = psth.slice(s![window(i), ..]).sum_axis(ndarray::Axis(0)) / SMOOTHING as f64;
        row -= &target.row(i);
        error.row_mut(i).assign(&row);
    }
    let size = (t * n) as f64;
    let value = error.iter().map(|e| e * e).sum::<f64>() / size;
    let scale = 2.0 / (size * SMOOTHING as f64 * k as f64);
    let mut gradient = Array3::<f32>::zeros((1, t, n));
    for i in 0..t {
        let row = error.slice(s![window(i), ..]).sum_axis(ndarray::Axis(0)) * scale;
        gradient.slice_mut(s![0, i, ..]).assign(&row.mapv(|x| x as f32));
    }
    (
        value,
        SpikeAdjoint {
            shared: Some((gradient, vec![0; k])),
            ..SpikeAdjoint::default()
        },
    )
}

/// One iteration.
struct Iteration {
    loss: f64,
    spike_fraction: f64,
    gradients: Gradients,
    /// When the forward pass was done.
    middle: Instant,
}

impl Prepared {
    /// Loss and gradient, as the trainer computes them: several chunks are simulated once for their sums of spikes and
    /// once more, bit by bit the same, for their gradient; one chunk is simulated once.
    fn iterate<R: Runner>(&self, runner: &R) -> Result<Iteration, CoreError> {
        let Self { network, runs, target } = self;
        let (t, n) = target.dim();
        let k: usize = runs.iter().map(|run| run.n_trials).sum();
        let mut sums = Array3::<f64>::zeros((1, t, n));
        let mut kept = None;
        for run in runs {
            let rolled = runner.simulate(network, run, runs.len() == 1)?;
            sums += &runner.sums(&rolled, run.n_trials)?;
            kept = (runs.len() == 1).then_some(rolled);
        }
        let spike_fraction = sums.sum() / (k * t * n) as f64;
        let (loss, adjoint) = loss(sums, k, target);
        let middle = Instant::now();
        let mut gradients: Option<Gradients> = None;
        let mut first = 0;
        for run in runs {
            let part = if let Some(rolled) = kept.take() {
                runner.backpropagate(network, run, rolled, &adjoint)?
            } else {
                let rolled = runner.simulate(network, run, true)?;
                let adjoint = adjoint.of_trials(first..first + run.n_trials);
                runner.backpropagate(network, run, rolled, &adjoint)?
            };
            first += run.n_trials;
            match &mut gradients {
                None => gradients = Some(part),
                Some(sum) => add(sum, &part),
            }
        }
        Ok(Iteration {
            loss,
            spike_fraction,
            gradients: gradients.expect("a workload has trials"),
            middle,
        })
    }
}

/// Adds the gradient of further trials, as far as the workload has one.
fn add(sum: &mut Gradients, part: &Gradients) {
    sum.w += &part.w;
    sum.w_in += &part.w_in;
    sum.bias += &part.bias;
    sum.threshold += &part.threshold;
    sum.reset += &part.reset;
    sum.gain += &part.gain;
}

/// Runs the workload.
///
/// # Errors
/// As the engine.
pub fn measure(
    load: &Workload,
    runner: &impl Runner,
    engine: &str,
    device: &str,
    threads: usize,
) -> Result<Timing, CoreError> {
    let mut prepared = prepare(load);
    let (mut forward, mut backward, mut total, mut cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut fraction, mut value) = (0.0, 0.0);
    let mut last = None;
    for rep in 0..=load.reps {
        let (begin, cpu_begin) = (Instant::now(), provenance::cpu_seconds());
        drop(last.take());
        let Iteration {
            loss,
            spike_fraction,
            gradients,
            middle,
        } = prepared.iterate(runner)?;
        let end = Instant::now();
        last = Some(gradients);
        (value, fraction) = (loss, spike_fraction);
        if rep > 0 {
            forward.push((middle - begin).as_secs_f64());
            backward.push((end - middle).as_secs_f64());
            total.push((end - begin).as_secs_f64());
            cpu.push(
                provenance::cpu_seconds()
                    .zip(cpu_begin)
                    .map_or(f64::NAN, |(b, a)| b - a),
            );
        }
    }
    let peak_rss_mib = provenance::peak_rss_mib().unwrap_or(f64::NAN);
    let gradient_error = match last {
        Some(gradients) if !runner.is_exact() || load.surrogate_floor > 0.0 => {
            prepared.network.surrogate_floor = 0.0;
            let exact = prepared.iterate(&Native(native::Precision::Single))?;
            Some(distance(&gradients, &exact.gradients))
        }
        _ => None,
    };
    Ok(Timing {
        engine: engine.to_owned(),
        device: device.to_owned(),
        threads,
        n: load.n,
        k: load.k,
        t: load.t,
        d: load.d,
        trial_chunk: load.trial_chunk.min(load.k),
        forward_s: losses::statistics::median(&forward).unwrap_or(f64::NAN),
        backward_s: losses::statistics::median(&backward).unwrap_or(f64::NAN),
        total_s: losses::statistics::median(&total).unwrap_or(f64::NAN),
        cpu_s: losses::statistics::median(&cpu).unwrap_or(f64::NAN),
        spike_fraction: fraction,
        loss: value,
        peak_rss_mib,
        gradient_error,
    })
}

/// `‖a − b‖/‖b‖` over recurrent and input weights.
fn distance(a: &Gradients, b: &Gradients) -> f64 {
    let pairs = || (a.w.iter().zip(&b.w)).chain(a.w_in.iter().zip(&b.w_in));
    let sum = |f: &dyn Fn(f64, f64) -> f64| pairs().map(|(a, b)| f(f64::from(*a), f64::from(*b))).sum::<f64>();
    (sum(&|a, b| (a - b).powi(2)) / sum(&|_, b| b * b)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use snn_core::rollout::reference::{Precision, Reference, SpikeMode};

    /// Relative to the largest entry: chunks are added in another order, in single precision.
    const ROUNDING: f32 = 1e-5;

    fn agree<'a>(
        what: &str,
        a: impl IntoIterator<Item = &'a f32> + Clone,
        b: impl IntoIterator<Item = &'a f32> + Clone,
    ) {
        let largest = b.clone().into_iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let apart = a.into_iter().zip(b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(
            largest > 0.0 && apart <= ROUNDING * largest,
            "{what}: {apart} of {largest}"
        );
    }

    fn chunks_are_one_iteration(name: &str, runner: &impl Runner) {
        for is_noise_given in [false, true] {
            let iterate = |trial_chunk| {
                let load = Workload {
                    n: 40,
                    k: 16,
                    t: 30,
                    d: 2,
                    n_in: 20,
                    gain: 2.0,
                    reps: 1,
                    seed: 3,
                    trial_chunk,
                    surrogate_floor: 0.0,
                    is_noise_given,
                };
                prepare(&load).iterate(runner).unwrap()
            };
            let whole = iterate(16);
            // 3 and 8 chunks.
            for trial_chunk in [6, 2] {
                let what = format!("{name}, chunks of {trial_chunk}");
                let chunked = iterate(trial_chunk);
                assert_eq!(chunked.loss.to_bits(), whole.loss.to_bits(), "{what}");
                assert_eq!(
                    chunked.spike_fraction.to_bits(),
                    whole.spike_fraction.to_bits(),
                    "{what}"
                );
                assert!(whole.spike_fraction > 0.003, "{what}: {}", whole.spike_fraction);
                let (a, b) = (&chunked.gradients, &whole.gradients);
                agree(&format!("dL/dW, {what}"), &a.w, &b.w);
                agree(&format!("dL/dW_in, {what}"), &a.w_in, &b.w_in);
                for (of, a, b) in [
                    ("bias", &a.bias, &b.bias),
                    ("threshold", &a.threshold, &b.threshold),
                    ("reset", &a.reset, &b.reset),
                    ("gain", &a.gain, &b.gain),
                ] {
                    agree(&format!("dL/d{of}, {what}"), a, b);
                }
            }
        }
    }

    #[test]
    fn one_three_and_eight_chunks_have_one_loss_and_gradient() {
        chunks_are_one_iteration("native", &Native(native::Precision::Single));
        chunks_are_one_iteration("native-int16", &Native(native::Precision::Int16));
        let reference = Reference {
            device: snn_core::device::open(snn_core::device::DeviceChoice::Cpu)
                .unwrap()
                .device,
            precision: Precision::F32,
            spike: SpikeMode::Sampled,
        };
        chunks_are_one_iteration("reference", &reference);
    }

    #[test]
    #[cfg(feature = "wgpu")]
    fn chunks_on_an_adapter_have_one_loss_and_gradient() {
        use snn_core::device::{DeviceChoice, kernels, open};
        // Without an adapter there is nothing to run; `tests/` insists on one in CI.
        if let Ok(device) = open(DeviceChoice::Wgpu(None)) {
            chunks_are_one_iteration("kernels", &kernels(&device).unwrap());
        }
    }
}
