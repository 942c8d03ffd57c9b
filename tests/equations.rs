//! The rollout against the published program's values, and against networks whose answer is known in closed form.

use crate::networks::{
    ALL, Engine, NATIVE, REFERENCE, assert_absolute, assert_relative, engines, plain_run, shared, unconnected, wide,
};
use ndarray::{Array1, Array2, Array3, Axis, Dimension, s};
use snn_core::bits::SpikeBits;
use snn_core::device;
use snn_core::rollout::reference::{Gradients64, Precision, Reference, Rollout64, State64, Values};
use snn_core::rollout::{Channel, Gradients, InputEvents, Network, Noise, Run, SpikeAdjoint, State, TrialOffset};
use snn_core::surrogate::Surrogate;

/// Potentials of the oracle are f64 sums of about 30 terms of size 0.1.
const POTENTIAL_F64: f64 = 1e-10;
/// What is promised in f32.
const POTENTIAL_F32: f64 = 1e-5;
const GRADIENT_F64: f64 = 1e-8;
const GRADIENT_F32: f64 = 1e-4;

/// One simulation of the published program (README beside the files), time first: `[T, K, N]`.
struct Oracle {
    file: hdf5::File,
}

impl Oracle {
    fn open(name: &str) -> Option<Self> {
        let path = shared(&format!("oracle/trial_matching/{name}.h5"))?;
        Some(Self {
            file: hdf5::File::open(path).unwrap(),
        })
    }

    fn has(&self, name: &str) -> bool {
        self.file.link_exists(name)
    }

    fn scalar(&self, name: &str) -> f64 {
        self.file.dataset(name).unwrap().read_scalar::<f64>().unwrap()
    }

    fn array<D: Dimension>(&self, name: &str) -> ndarray::Array<f64, D> {
        self.file.dataset(name).unwrap().read::<f64, D>().unwrap()
    }

    /// `[T, K, N]` as `[K, T, N]`.
    fn trials_first(&self, name: &str) -> Array3<f64> {
        self.array::<ndarray::Ix3>(name)
            .permuted_axes([1, 0, 2])
            .as_standard_layout()
            .into_owned()
    }

    fn signs(&self, n: usize, n_excitatory: &str) -> Array1<f64> {
        let n_excitatory = self.scalar(n_excitatory) as usize;
        Array1::from_shape_fn(n, |i| if i < n_excitatory { 1.0 } else { -1.0 })
    }

    /// σ √dt, by which κ (thr0 − v_rest) is multiplied to give the noise amplitude.
    fn noise_unit(&self) -> Array1<f64> {
        self.array::<ndarray::Ix1>("sigma") * self.scalar("dt_ms").sqrt()
    }

    /// thr0 − v_rest.
    fn gap(&self) -> Array1<f64> {
        self.scalar("thr0") - self.array::<ndarray::Ix1>("v_rest")
    }

    /// The offset inside (1 − α)(·): `lat_w2 relu(lat_w1 ψ + lat_b1)`, with its hidden layer before and after relu.
    fn latent(&self) -> Option<(Array2<f64>, Array2<f64>, Array2<f64>)> {
        self.has("lat_w1").then(|| {
            let (w1, w2): (Array2<f64>, Array2<f64>) = (self.array("lat_w1"), self.array("lat_w2"));
            let b1: Array1<f64> = self.array("lat_b1");
            let before = self.array::<ndarray::Ix2>("trial_noise").dot(&w1.t()) + &b1; // [K, L]
            let hidden = before.mapv(|x| x.max(0.0));
            (before, hidden.clone(), hidden.dot(&w2.t()))
        })
    }

    /// Our form of the oracle's network and run, in f32 and in f64.
    fn mapped(&self) -> (Network, Run, Values) {
        let w_rec: Array3<f64> = self.array("w_rec"); // [D, post, pre]
        let (d, n, _) = w_rec.dim();
        let w_in: Array2<f64> = self.array("w_in");
        let n_in = w_in.ncols();
        let (sign, sign_in) = (self.signs(n, "n_exc"), self.signs(n_in, "n_exc_in"));
        let alpha: Array1<f64> = self.array("decay_v");
        let v_rest: Array1<f64> = self.array("v_rest");
        let events = self.trials_first("input_spikes");
        let (k, t, _) = events.dim();
        let history = self.trials_first("state_z");
        let offset = self
            .latent()
            .map_or_else(|| Array2::zeros((k, n)), |(_, _, offset)| offset);
        let state = State64 {
            v: self.array("state_v"),
            refractory: self.array::<ndarray::Ix2>("state_ref").mapv(|r| r as u8),
            history,
        };
        let values = Values {
            w: Array3::from_shape_fn((d, n, n), |(d, pre, post)| sign[pre] * w_rec[[d, post, pre]]),
            w_in: Array2::from_shape_fn((n_in, n), |(i, j)| sign_in[i] * w_in[[j, i]]),
            gain: (1.0 - &alpha) / 2.0,
            bias: (1.0 - &alpha) * &v_rest,
            noise: self.array::<ndarray::Ix1>("noise_bias") * self.gap() * self.noise_unit(),
            threshold: Array1::from_elem(n, self.scalar("thr0")),
            scale: Array1::from_elem(n, self.scalar("thr0") - self.scalar("v_rest_init")),
            reset: self.gap(),
            temperature: self.scalar("temperature"),
            p_scale: self.scalar("dt_ms") / 2.0,
            gamma: self.scalar("damping"),
            trial_offset: Some((offset * (1.0 - &alpha)).insert_axis(Axis(1))),
            drive: None,
            normals: self.trials_first("gauss"),
            uniforms: self.trials_first("uniforms"),
            initial: state,
            alpha,
        };
        let delays = self.array::<ndarray::Ix1>("delay_steps").mapv(|d| d as usize).to_vec();
        let (network, run) = narrow(&values, delays, self.scalar("n_refractory_steps") as u8, &events, t);
        (network, run, values)
    }

    /// dL/dz of the published loss without the readout, `[K, T, N]`.
    fn d_spikes(&self) -> Array3<f64> {
        let a = self.trials_first("loss_A");
        let (k, _, n) = a.dim();
        a / (k * n) as f64
    }

    /// Neurons of the readout and half their weights: u = Σ ½ w z.
    fn motor(&self) -> Vec<(usize, f64)> {
        let weights: Array2<f64> = self.array("w_jaw");
        let is_motor: Array1<f64> = self.array("motor_index");
        let motor = is_motor.iter().enumerate().filter(|(_, m)| **m != 0.0).map(|(n, _)| n);
        motor.zip(weights.column(0)).map(|(n, w)| (n, 0.5 * w)).collect()
    }
}

/// f32 network and run of f64 values, without warm-up.
fn narrow(values: &Values, delays: Vec<usize>, n_refractory: u8, events: &Array3<f64>, t: usize) -> (Network, Run) {
    fn f<D: Dimension>(a: &ndarray::Array<f64, D>) -> ndarray::Array<f32, D> {
        a.mapv(|v| v as f32)
    }
    let network = Network {
        w: f(&values.w),
        delays,
        w_in: f(&values.w_in),
        alpha: f(&values.alpha),
        gain: f(&values.gain),
        bias: f(&values.bias),
        noise: f(&values.noise),
        threshold: f(&values.threshold),
        scale: f(&values.scale),
        reset: f(&values.reset),
        temperature: values.temperature as f32,
        p_scale: values.p_scale as f32,
        n_refractory,
        surrogate: Surrogate::Sigmoid {
            gamma: values.gamma as f32,
        },
        surrogate_floor: 0.0,
        feedback: None,
    };
    let (k, _, n_in) = events.dim();
    let run = Run {
        n_trials: k,
        n_warmup: 0,
        n_steps: t,
        events: Some(InputEvents::build(n_in, k, t, |k, t, list| {
            list.extend((0..n_in as u16).filter(|i| events[[k, t, usize::from(*i)]] != 0.0));
        })),
        drive: None,
        trial_offset: values.trial_offset.as_ref().map(|offset| TrialOffset {
            values: f(offset),
            course: Array2::ones((t, 1)),
        }),
        noise: Noise::Given {
            normals: f(&values.normals),
            uniforms: f(&values.uniforms),
        },
        clamp: None,
        initial: State {
            v: f(&values.initial.v),
            refractory: values.initial.refractory.clone(),
            history: SpikeBits::from_array(values.initial.history.mapv(|z| z as u8).view()),
            feedback: None,
        },
    };
    (network, run)
}

/// The open-loop jaw in f64: `ỹ(t) = a ln(y(t−1) + b) + (1 − a) Σ_i ½ w_i z_i(t)`, `y = exp(ỹ) − b`.
struct Jaw {
    /// y `[K, T]`.
    trace: Array2<f64>,
    /// dL/du `[K, T]` for L = Σ C y.
    d_input: Array2<f64>,
    /// dL/dw of the motor neurons.
    d_weights: Vec<f64>,
    /// dL/db.
    d_bias: f64,
}

fn jaw(oracle: &Oracle, spikes: &Array3<f64>) -> Jaw {
    let (a, b) = (oracle.scalar("decay_jaw"), oracle.array::<ndarray::Ix1>("jaw_bias")[0]);
    let c = oracle.trials_first("loss_C");
    let before: Array2<f64> = oracle.array("state_jaw");
    let motor = oracle.motor();
    let (k, t, _) = spikes.dim();
    let mut trace = Array2::zeros((k, t));
    let mut d_input = Array2::zeros((k, t));
    let (mut d_weights, mut d_bias) = (vec![0.0; motor.len()], 0.0);
    for k in 0..k {
        let mut y = before[[k, 0]];
        for t in 0..t {
            let u: f64 = motor.iter().map(|(n, w)| w * spikes[[k, t, *n]]).sum();
            y = (a * (y + b).ln() + (1.0 - a) * u).exp() - b;
            trace[[k, t]] = y;
        }
        // ln(y(t−1) + b) is ỹ(t−1) itself, so b enters by −b at each step and by the logarithm before the first.
        let mut d_log = 0.0;
        for t in (0..t).rev() {
            d_log = c[[k, t, 0]] * (trace[[k, t]] + b) + a * d_log;
            d_bias -= c[[k, t, 0]];
            d_input[[k, t]] = (1.0 - a) * d_log;
            for ((n, _), d) in motor.iter().zip(&mut d_weights) {
                *d += 0.5 * d_input[[k, t]] * spikes[[k, t, *n]];
            }
        }
        d_bias += a * d_log / (before[[k, 0]] + b);
    }
    Jaw {
        trace,
        d_input,
        d_weights,
        d_bias,
    }
}

/// Gradients with respect to the published parameters, from ours by the chain rule.
fn check_gradients(oracle: &Oracle, g: &Gradients64, tolerance: f64) {
    let (d, n, _) = g.w.dim();
    let n_in = g.w_in.nrows();
    let (sign, sign_in) = (oracle.signs(n, "n_exc"), oracle.signs(n_in, "n_exc_in"));
    let w_rec = Array3::from_shape_fn((d, n, n), |(d, post, pre)| sign[pre] * g.w[[d, pre, post]]);
    assert_relative("dL/dw_rec", &w_rec, &oracle.array("grad__w_rec"), tolerance);
    let w_in = Array2::from_shape_fn((n, n_in), |(j, i)| sign_in[i] * g.w_in[[i, j]]);
    assert_relative("dL/dw_in", &w_in, &oracle.array("grad__w_in"), tolerance);
    let alpha: Array1<f64> = oracle.array("decay_v");
    let kappa: Array1<f64> = oracle.array("noise_bias");
    // v_rest sets the bias, the noise amplitude and the reset.
    let v_rest = (1.0 - &alpha) * &g.bias - kappa * oracle.noise_unit() * &g.noise - &g.reset;
    assert_relative("dL/dv_rest", &v_rest, &oracle.array("grad_v_rest"), tolerance);
    let kappa = oracle.gap() * oracle.noise_unit() * &g.noise;
    assert_relative("dL/dnoise_bias", &kappa, &oracle.array("grad_bias"), tolerance);
    if let Some((before, hidden, _)) = oracle.latent() {
        let d_constant = g.trial_offset.as_ref().unwrap().index_axis(Axis(1), 0);
        let d_offset = &d_constant * &(1.0 - &alpha); // [K, N]
        let w2 = d_offset.t().dot(&hidden);
        assert_relative(
            "dL/dlat_w2",
            &w2,
            &oracle.array("grad_lin1_tr_offset_weight"),
            tolerance,
        );
        let d_before =
            d_offset.dot(&oracle.array::<ndarray::Ix2>("lat_w2")) * before.mapv(|x| f64::from(u8::from(x > 0.0)));
        let w1 = d_before.t().dot(&oracle.array::<ndarray::Ix2>("trial_noise"));
        assert_relative("dL/dlat_w1", &w1, &oracle.array("grad_lin_tr_offset_weight"), tolerance);
        let b1 = d_before.sum_axis(Axis(0));
        assert_relative("dL/dlat_b1", &b1, &oracle.array("grad_lin_tr_offset_bias"), tolerance);
    }
}

fn check_readout(oracle: &Oracle, spikes: &Array3<f64>, jaw: &Jaw) {
    let wanted = oracle.trials_first("jaw").index_axis_move(Axis(2), 0);
    assert_absolute("jaw", &jaw.trace, &wanted, 1e-12);
    let loss = (oracle.d_spikes() * spikes).sum()
        + (oracle.trials_first("loss_C").index_axis_move(Axis(2), 0) * &jaw.trace).sum();
    assert!(
        (loss - oracle.scalar("loss")).abs() < 1e-11,
        "loss {loss} against {}",
        oracle.scalar("loss")
    );
    let weights = Array1::from(jaw.d_weights.clone());
    let wanted = oracle.array::<ndarray::Ix2>("grad__w_jaw_pre").column(0).to_owned();
    assert_relative("dL/dw_jaw", &weights, &wanted, GRADIENT_F64);
    let bias = Array1::from_elem(1, jaw.d_bias);
    assert_relative("dL/djaw_bias", &bias, &oracle.array("grad_jaw_bias"), GRADIENT_F64);
}

fn reference_f64_against(name: &str) {
    let Some(oracle) = Oracle::open(name) else { return };
    let (network, run, values) = oracle.mapped();
    let engine = Reference {
        precision: Precision::F64,
        ..Reference::default()
    };
    let rollout: Rollout64 = engine.simulate_values(&network, &run, &values).unwrap();
    assert_eq!(rollout.spikes, oracle.trials_first("spikes"), "spikes of {name}");
    assert_absolute(
        "v⁻",
        &rollout.potentials,
        &oracle.trials_first("v_before_reset"),
        POTENTIAL_F64,
    );
    let after = oracle.trials_first("v_after_reset");
    let last = after.slice(s![.., -1, ..]).to_owned();
    assert_absolute("v at the end", &rollout.end.v, &last, POTENTIAL_F64);
    let counter = oracle.trials_first("ref_after").slice(s![.., -1, ..]).mapv(|r| r as u8);
    assert_eq!(rollout.end.refractory, counter, "refractory counters at the end");
    if let Some((_, _, offset)) = oracle.latent() {
        assert_absolute("trial offset", &offset, &oracle.array("trial_offset"), 1e-14);
    }
    let jaw = jaw(&oracle, &rollout.spikes);
    check_readout(&oracle, &rollout.spikes, &jaw);
    let mut d_spikes = oracle.d_spikes();
    for (n, w) in oracle.motor() {
        let mut column = d_spikes.slice_mut(s![.., .., n]);
        column += &(&jaw.d_input * w);
    }
    let g = engine
        .backpropagate_values(&network, &run, &values, &rollout, &d_spikes, None)
        .unwrap();
    check_gradients(&oracle, &g, GRADIENT_F64);
}

fn engine_f32_against(engine: &Engine, name: &str) {
    let Some(oracle) = Oracle::open(name) else { return };
    let (network, run, _) = oracle.mapped();
    let rollout = (engine.simulate)(&network, &run, true).unwrap();
    let spikes = rollout.spikes.to_array().mapv(f64::from);
    assert_eq!(
        spikes,
        oracle.trials_first("spikes"),
        "spikes of {name} by {}",
        engine.name
    );
    let potentials = wide(rollout.potentials.as_ref().unwrap());
    assert_absolute("v⁻", &potentials, &oracle.trials_first("v_before_reset"), POTENTIAL_F32);
    let jaw = jaw(&oracle, &spikes);
    // The readout enters as a channel, the rest as an array: both parts of the adjoint are in use.
    let members = oracle.motor().into_iter().map(|(n, w)| (n as u32, w as f32)).collect();
    let adjoint = SpikeAdjoint {
        valid: None,
        shared: None,
        segments: Vec::new(),
        channels: Some((
            vec![Channel { members }],
            jaw.d_input.mapv(|d| d as f32).insert_axis(Axis(2)),
        )),
        dense: Some(oracle.d_spikes().mapv(|d| d as f32)),
    };
    let g: Gradients = (engine.backpropagate)(&network, &run, rollout, &adjoint, None, ALL).unwrap();
    let g = Gradients64 {
        w: wide(&g.w),
        w_in: wide(&g.w_in),
        bias: wide(&g.bias),
        threshold: wide(&g.threshold),
        reset: wide(&g.reset),
        gain: wide(&g.gain),
        noise: wide(&g.noise.unwrap()),
        trial_offset: g.trial_offset.as_ref().map(wide),
        drive: None,
        history: wide(&g.history.unwrap()),
    };
    check_gradients(&oracle, &g, GRADIENT_F32);
}

#[test]
fn the_reference_in_f64_is_the_published_network() {
    reference_f64_against("sim_basic");
}

#[test]
fn the_reference_in_f64_is_the_published_network_with_trial_latents() {
    reference_f64_against("sim_latent");
}

#[test]
fn both_engines_in_f32_are_the_published_network() {
    for engine in engines() {
        engine_f32_against(engine, "sim_basic");
    }
}

#[test]
fn both_engines_in_f32_are_the_published_network_with_trial_latents() {
    for engine in engines() {
        engine_f32_against(engine, "sim_latent");
    }
}

#[test]
fn potential_without_spikes_is_the_step_response_of_a_leaky_integrator() {
    let alphas = [0.0f32, 0.3, 0.8187, 0.93551, 0.99];
    let mut network = unconnected(alphas.len());
    network.alpha = Array1::from(alphas.to_vec());
    network.bias = Array1::from(vec![0.4, -0.2, 0.05, 0.1, 0.02]);
    network.p_scale = 0.0;
    let (k, t, warmup) = (3, 60, 4);
    let mut run = plain_run(&network, k, t, warmup, 1);
    run.initial = State::at_rest(k, 1, &Array1::from_elem(alphas.len(), 0.7));
    let offset = Array2::from_shape_fn((k, alphas.len()), |(k, _)| 0.01 * k as f32);
    run.trial_offset = Some(TrialOffset::constant(offset.clone(), t));
    for engine in engines() {
        let rollout = (engine.simulate)(&network, &run, true).unwrap();
        assert_eq!(rollout.spikes.count(), 0);
        let found = wide(rollout.potentials.as_ref().unwrap());
        let wanted = Array3::from_shape_fn(found.dim(), |(k, t, n)| {
            let (a, c) = (f64::from(alphas[n]), f64::from(network.bias[n] + offset[[k, n]]));
            let steps = (warmup + t + 1) as i32;
            a.powi(steps) * f64::from(0.7f32) + c * (1.0 - a.powi(steps)) / (1.0 - a)
        });
        // 64 additions of numbers up to 10 (α = 0.99, bias 0.04): a few units in the last place of f32.
        assert_absolute(engine.name, &found, &wanted, 2e-5);
    }
}

#[test]
fn potential_driven_by_noise_has_the_variance_of_an_autoregressive_process() {
    // v⁻ = α v + s ε: variance s²/(1 − α²). 200 trials × 20 samples 30 steps apart (α^30 < 1e-3): 4 000 independent
    // normals per neuron, standard error of the variance 2.2 %; 5 standard errors on 3 neurons fail with p = 2e-6.
    let mut network = unconnected(3);
    network.alpha = Array1::from(vec![0.0, 0.5, 0.75]);
    network.noise = Array1::from(vec![0.1, 0.3, 1.0]);
    network.p_scale = 0.0;
    let run = plain_run(&network, 200, 600, 40, 5);
    for engine in engines() {
        let v = wide(&(engine.simulate)(&network, &run, true).unwrap().potentials.unwrap());
        for n in 0..3 {
            let sparse = v.slice(s![.., ..;30, n]);
            let variance = sparse.mapv(|v| v * v).mean().unwrap();
            let wanted = f64::from(network.noise[n]).powi(2) / (1.0 - f64::from(network.alpha[n]).powi(2));
            assert!(
                (variance / wanted - 1.0).abs() < 0.11,
                "{}: {variance} against {wanted}",
                engine.name
            );
        }
    }
}

#[test]
fn an_unconnected_neuron_spikes_with_its_bernoulli_rate() {
    // 100 000 draws per neuron: |count − expected| beyond 5 standard deviations has probability 6e-7 a neuron,
    // 4e-6 in all (the seed is fixed).
    let wanted = [0.01, 0.05, 0.2, 0.5, 0.8];
    for (engine, trials, steps) in [(&REFERENCE, 1000, 100), (&NATIVE, 1000, 100)] {
        let mut network = unconnected(wanted.len());
        network.p_scale = 0.9;
        let log_odds = |p: f64| ((p / 0.9) / (1.0 - p / 0.9)).ln();
        network.bias = wanted.iter().map(|p| (1.0 + log_odds(*p)) as f32).collect();
        let run = plain_run(&network, trials, steps, 0, 2);
        let spikes = (engine.simulate)(&network, &run, false).unwrap().spikes.to_array();
        let draws = (trials * steps) as f64;
        for (n, p) in wanted.iter().enumerate() {
            let count = spikes.slice(s![.., .., n]).iter().map(|z| f64::from(*z)).sum::<f64>();
            let deviation = (count - p * draws) / (draws * p * (1.0 - p)).sqrt();
            assert!(
                deviation.abs() < 5.0,
                "{}: p = {p}, {count} spikes, {deviation} σ",
                engine.name
            );
        }
    }
}

#[test]
fn no_neuron_spikes_in_its_refractory_period_and_the_rate_is_that_of_renewal() {
    for n_refractory in [1u8, 2, 3] {
        let (p, r) = (0.6, f64::from(n_refractory));
        let mut network = unconnected(10);
        network.n_refractory = n_refractory;
        network.bias = Array1::from_elem(10, (1.0 + (p / (1.0f64 - p)).ln()) as f32);
        let mut run = plain_run(&network, 40, 200, 50, 3);
        run.initial.refractory.fill(n_refractory);
        for engine in engines() {
            let rollout = (engine.simulate)(&network, &run, false).unwrap();
            let spikes = rollout.spikes.to_array();
            for k in 0..40 {
                for n in 0..10 {
                    let times: Vec<usize> = (0..200).filter(|t| spikes[[k, *t, n]] == 1).collect();
                    let shortest = times.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
                    assert!(
                        shortest > usize::from(n_refractory),
                        "{}: interval {shortest}",
                        engine.name
                    );
                    for t in 0..200 {
                        let is_silent = times.iter().any(|s| *s < t && t <= s + usize::from(n_refractory));
                        let is_early = t < usize::from(n_refractory); // a spike of the warm-up may be why
                        assert!(
                            is_early || rollout.refractory.get(k, t, n) == is_silent,
                            "mark at {k}, {t}, {n}"
                        );
                    }
                }
            }
            // Intervals are r + a geometric number of mean 1/p: rate p/(1 + r p); 80 000 bins, about 20 000 spikes
            // more regular than Poisson, so 5 · √20 000 / 80 000 bounds the error.
            let rate = rollout.spikes.count() as f64 / 80_000.0;
            assert!((rate - p / (1.0 + r * p)).abs() < 0.009, "{}: rate {rate}", engine.name);
        }
        // Without a warm-up the counters given decide about the first steps.
        run.n_warmup = 0;
        for engine in engines() {
            let rollout = (engine.simulate)(&network, &run, false).unwrap();
            let early = rollout
                .spikes
                .to_array()
                .slice(s![.., ..usize::from(n_refractory), ..])
                .iter()
                .any(|z| *z > 0);
            assert!(!early, "{} ignores the initial refractory counters", engine.name);
        }
    }
}

#[test]
#[allow(clippy::print_stderr)] // says what was tested, or that nothing was
fn the_reference_on_wgpu_is_the_reference_on_the_cpu() {
    let wgpu = match device::open(device::DeviceChoice::Wgpu(None)) {
        Ok(open) => open,
        Err(error) => {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "{error}; install mesa-vulkan-drivers"
            );
            eprintln!("skipped: {error}");
            return;
        }
    };
    eprintln!("wgpu adapter: {}", wgpu.name());
    let plan = crate::networks::Plan {
        n: 12,
        k: 3,
        t: 8,
        n_warmup: 2,
        ..crate::networks::Plan::numbered(3)
    };
    let case = crate::networks::random_case(&plan, 77);
    let values = Values::of(&case.network, &case.run).unwrap();
    let cpu = Reference::default();
    let gpu = Reference {
        device: wgpu.device,
        ..Reference::default()
    };
    let on_cpu = cpu.simulate_values(&case.network, &case.run, &values).unwrap();
    let on_gpu = gpu.simulate_values(&case.network, &case.run, &values).unwrap();
    assert_eq!(on_cpu.spikes, on_gpu.spikes);
    assert_absolute("v⁻ on wgpu", &on_gpu.potentials, &on_cpu.potentials, 1e-6);
    let d = on_cpu.potentials.mapv(|v| (40.0 * v).sin());
    let a = cpu
        .backpropagate_values(&case.network, &case.run, &values, &on_cpu, &d, Some(&d))
        .unwrap();
    let b = gpu
        .backpropagate_values(&case.network, &case.run, &values, &on_cpu, &d, Some(&d))
        .unwrap();
    assert_relative("dL/dw on wgpu", &b.w, &a.w, 1e-5);
    assert_relative("dL/dbias on wgpu", &b.bias, &a.bias, 1e-5);
    // Double precision is either refused or really double.
    let f64_on_wgpu = Reference {
        precision: Precision::F64,
        ..gpu
    };
    match f64_on_wgpu.simulate_values(&case.network, &case.run, &values) {
        Ok(found) => {
            let f64_on_cpu = Reference {
                precision: Precision::F64,
                ..cpu
            };
            let wanted = f64_on_cpu.simulate_values(&case.network, &case.run, &values).unwrap();
            assert_absolute("v⁻ in f64 on wgpu", &found.potentials, &wanted.potentials, 1e-12);
        }
        Err(error) => assert!(error.to_string().contains("F64"), "{error}"),
    }
}
