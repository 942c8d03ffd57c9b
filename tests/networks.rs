//! Random networks, engines and comparisons that the tests of equations, engines and gradients share.

use ndarray::{Array, Array1, Array2, Array3, Axis, Dimension};
use rand::RngExt;
use snn_core::CoreError;
use snn_core::bits::SpikeBits;
use snn_core::device::{self, DeviceChoice};
use snn_core::rng::{Key, StreamRng};
use snn_core::rollout::kernels::Kernels;
use snn_core::rollout::{
    Channel, Clamp, Drive, Gradients, InputEvents, Network, Noise, Rollout, Run, SegmentAdjoint, SpikeAdjoint, State,
    TrialOffset, Wanted, native, reference,
};
use snn_core::surrogate::Surrogate;
use std::path::PathBuf;

/// Everything that can be asked for.
pub(crate) const ALL: Wanted = Wanted {
    noise: true,
    trial_offset: true,
    drive: true,
    history: true,
};

/// One engine of the rollout.
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    pub(crate) simulate: fn(&Network, &Run, bool) -> Result<Rollout, CoreError>,
    #[allow(clippy::type_complexity)]
    pub(crate) backpropagate:
        fn(&Network, &Run, Rollout, &SpikeAdjoint, Option<&Array3<f32>>, Wanted) -> Result<Gradients, CoreError>,
}

pub(crate) const NATIVE: Engine = Engine {
    name: "native",
    simulate: native::simulate,
    backpropagate: native::backpropagate,
};
pub(crate) const REFERENCE: Engine = Engine {
    name: "reference",
    simulate: reference::simulate,
    backpropagate: reference::backpropagate,
};

/// The engine `kernels` on the adapter that `wgpu` takes: a GPU, or lavapipe.
pub(crate) fn open_kernels() -> Result<Kernels, CoreError> {
    let open = device::open(DeviceChoice::Wgpu(None))?;
    Ok(device::kernels(&open).expect("an adapter was opened"))
}

pub(crate) const KERNELS: Engine = Engine {
    name: "kernels",
    simulate: |network, run, keep| open_kernels()?.simulate(network, run, keep),
    backpropagate: |network, run, rollout, adjoint, d_probabilities, wanted| {
        open_kernels()?
            .adopt(network, run, &rollout)?
            .backpropagate(network, run, adjoint, d_probabilities, wanted)
    },
};

/// Every engine that this machine can run: without a wgpu adapter `kernels` is left out (said on stderr; an error in
/// CI).
#[allow(clippy::print_stderr)]
pub(crate) fn engines() -> Vec<&'static Engine> {
    let mut engines = vec![&NATIVE, &REFERENCE];
    match open_kernels() {
        Ok(_) => engines.push(&KERNELS),
        Err(error) => {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "{error}; install mesa-vulkan-drivers"
            );
            eprintln!("engine kernels skipped: {error}");
        }
    }
    engines
}

/// A file of the material shared by the team, or none (said on stderr) where it isn't there; an error in CI.
#[allow(clippy::print_stderr)]
pub(crate) fn shared(file: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SNNFIT_SHARED").map_or_else(
        || PathBuf::from(format!("{}/../../../shared", manifest_dir())),
        PathBuf::from,
    );
    let path = root.join(file);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{} is missing; set SNNFIT_SHARED",
        path.display()
    );
    eprintln!("skipped: {} is missing; set SNNFIT_SHARED", path.display());
    None
}

/// Largest |a − b| over the largest |b|; panics with the place of the worst entry when it exceeds `tolerance`.
pub(crate) fn assert_relative<D: Dimension>(what: &str, a: &Array<f64, D>, b: &Array<f64, D>, tolerance: f64) -> f64 {
    assert_eq!(a.shape(), b.shape(), "shapes of {what}");
    let scale = b.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let mut worst = (0, 0.0f64);
    for (i, (a, b)) in a.iter().zip(b.iter()).enumerate() {
        let error = (a - b).abs();
        assert!(error.is_finite(), "{what} is not finite at {i}: {a} against {b}");
        if error > worst.1 {
            worst = (i, error);
        }
    }
    let values = a.iter().nth(worst.0).zip(b.iter().nth(worst.0));
    let relative = if worst.1 == 0.0 { 0.0 } else { worst.1 / scale };
    assert!(
        relative <= tolerance,
        "{what}: relative error {relative:e} > {tolerance:e} at {}: {values:?}",
        worst.0
    );
    relative
}

/// Panics when any |a − b| exceeds `tolerance`.
pub(crate) fn assert_absolute<D: Dimension>(what: &str, a: &Array<f64, D>, b: &Array<f64, D>, tolerance: f64) {
    assert_eq!(a.shape(), b.shape(), "shapes of {what}");
    for (i, (a, b)) in a.iter().zip(b.iter()).enumerate() {
        assert!(
            (a - b).abs() <= tolerance,
            "{what} at {i}: {a} against {b}, tolerance {tolerance:e}"
        );
    }
}

pub(crate) fn wide<D: Dimension>(a: &Array<f32, D>) -> Array<f64, D> {
    a.mapv(f64::from)
}

/// Gradients by name, as flat f64 arrays.
pub(crate) fn named(g: &Gradients) -> Vec<(&'static str, Array1<f64>)> {
    fn flat<D: Dimension>(a: &Array<f32, D>) -> Array1<f64> {
        a.iter().map(|v| f64::from(*v)).collect()
    }
    let mut all = vec![
        ("w", flat(&g.w)),
        ("w_in", flat(&g.w_in)),
        ("bias", flat(&g.bias)),
        ("threshold", flat(&g.threshold)),
        ("reset", flat(&g.reset)),
        ("gain", flat(&g.gain)),
    ];
    all.extend(g.noise.as_ref().map(|a| ("noise", flat(a))));
    all.extend(g.trial_offset.as_ref().map(|a| ("trial_offset", flat(a))));
    all.extend(g.drive.as_ref().map(|a| ("drive", flat(a))));
    all.extend(g.history.as_ref().map(|a| ("history", flat(a))));
    all
}

/// A network, a run of it, and a loss on its spikes and probabilities.
pub(crate) struct Case {
    pub(crate) network: Network,
    pub(crate) run: Run,
    pub(crate) adjoint: SpikeAdjoint,
    pub(crate) d_probabilities: Option<Array3<f32>>,
}

/// Sizes and options of a random case.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) t: usize,
    pub(crate) n_warmup: usize,
    pub(crate) delays: Vec<usize>,
    pub(crate) n_refractory: u8,
    pub(crate) surrogate: Surrogate,
    pub(crate) surrogate_floor: f32,
    pub(crate) is_philox: bool,
    pub(crate) has_d_probabilities: bool,
    /// Added to the constant drive: how far the network is from silence.
    pub(crate) excitability: f32,
}

impl Plan {
    /// The `i`-th plan of the comparison of engines: every option in turn.
    pub(crate) fn numbered(i: usize) -> Self {
        let gamma = [0.3, 0.5, 1.0][i % 3];
        Self {
            n: [37, 70, 53, 23, 91, 130][i % 6],
            k: [5, 7, 3, 18][i % 4],
            t: [31, 24, 40][i % 3],
            n_warmup: [0, 9, 14][(i / 2) % 3],
            delays: [vec![1, 2, 3], vec![1, 2, 5], vec![4, 1, 9, 2]][i % 3].clone(),
            n_refractory: (i % 4) as u8,
            surrogate: if i.is_multiple_of(2) {
                Surrogate::Sigmoid { gamma }
            } else {
                Surrogate::Triangle { gamma }
            },
            surrogate_floor: if i % 4 == 2 { 0.1 } else { 0.0 },
            is_philox: (i / 3).is_multiple_of(2),
            has_d_probabilities: i % 5 != 4,
            excitability: [0.005, -0.07, -0.02, -0.05, 0.0][i % 5],
        }
    }
}

/// A trial offset of one to three rows for each trial, the first given; single rows are constant, others mix at random.
fn with_course(first: Array2<f32>, t: usize, seed: u64) -> TrialOffset {
    let rows = 1 + (seed / 3 % 3) as usize;
    if rows == 1 {
        return TrialOffset::constant(first, t);
    }
    let mut rng = StreamRng::new(seed, "test course", 0);
    let mut draw = |low: f32, high: f32| low + (high - low) * rng.random::<f32>();
    let (k, n) = first.dim();
    let mut values = Array3::from_shape_simple_fn((k, rows, n), || draw(-0.03, 0.03));
    values.index_axis_mut(Axis(1), 0).assign(&first);
    // A share is often 0, as between knots.
    let mut course = Array2::from_shape_simple_fn((t, rows), || draw(-1.0, 1.0).max(0.0));
    for (t, mut row) in course.outer_iter_mut().enumerate() {
        row[t % rows] += 0.1;
        let sum = row.sum();
        row /= sum;
    }
    TrialOffset { values, course }
}

/// A case with noise, clamping of a part, initial spikes, drive per stimulus, input events and trial offsets.
pub(crate) fn random_case(plan: &Plan, seed: u64) -> Case {
    let mut rng = StreamRng::new(seed, "test network", 0);
    let mut draw = |low: f32, high: f32| low + (high - low) * rng.random::<f32>();
    let (n, k, t, all) = (plan.n, plan.k, plan.t, plan.n_warmup + plan.t);
    let (d, h, n_in, n_stimuli) = (plan.delays.len(), plan.delays.iter().copied().max().unwrap(), 7, 3);
    // Synaptic current of about the scale of the threshold when 5 % of the neurons spike.
    let weight = 0.12 / (n as f32 * d as f32 * 0.05).sqrt();
    let network = Network {
        w: Array3::from_shape_simple_fn((d, n, n), || draw(-weight, weight)),
        delays: plan.delays.clone(),
        w_in: Array2::from_shape_simple_fn((n_in, n), || draw(-0.1, 0.1)),
        alpha: Array1::from_shape_simple_fn(n, || draw(0.0, 0.95)),
        gain: Array1::from_shape_simple_fn(n, || draw(0.3, 1.2)),
        bias: Array1::from_shape_simple_fn(n, || plan.excitability + draw(-0.03, 0.02)),
        noise: Array1::from_shape_simple_fn(n, || draw(0.01, 0.06)),
        threshold: Array1::from_shape_simple_fn(n, || draw(0.09, 0.12)),
        scale: Array1::from_shape_simple_fn(n, || draw(0.08, 0.13)),
        reset: Array1::from_shape_simple_fn(n, || draw(0.05, 0.15)),
        temperature: draw(2.5, 6.0),
        p_scale: draw(0.5, 1.0),
        n_refractory: plan.n_refractory,
        surrogate: plan.surrogate,
        surrogate_floor: plan.surrogate_floor,
        feedback: None,
    };
    let noise = if plan.is_philox {
        Noise::Philox {
            key: Key::new(seed, "noise"),
            step: 3,
            first_trial: 11,
            first_time: 0,
        }
    } else {
        // Sums of twelve uniforms stand for normals; the engine takes what it is given.
        let normals = Array3::from_shape_simple_fn((k, all, n), || (0..12).map(|_| draw(-0.5, 0.5)).sum());
        Noise::Given {
            normals,
            uniforms: Array3::from_shape_simple_fn((k, all, n), || draw(0.0, 1.0)),
        }
    };
    let drive = Array3::from_shape_simple_fn((n_stimuli, t, n), || draw(-0.02, 0.02));
    let offset = Array2::from_shape_simple_fn((k, n), || draw(-0.01, 0.01));
    let clamped = Array3::from_shape_simple_fn((k, t, n), || u8::from(draw(0.0, 1.0) < 0.06));
    let until = Array2::from_shape_simple_fn((k, n), || {
        if draw(0.0, 1.0) < 0.3 {
            draw(0.0, t as f32 + 4.0) as u32
        } else {
            0
        }
    });
    let past = Array3::from_shape_simple_fn((k, h, n), || u8::from(draw(0.0, 1.0) < 0.08));
    let initial = State {
        v: Array2::from_shape_simple_fn((k, n), || draw(-0.05, 0.05)),
        refractory: Array2::from_shape_simple_fn((k, n), || draw(0.0, f32::from(plan.n_refractory) + 0.99) as u8),
        history: SpikeBits::from_array(past.view()),
        feedback: None,
    };
    let shared = Array3::from_shape_simple_fn((2, t, n), || draw(-1.0, 1.0));
    let members: Vec<Vec<(u32, f32)>> = (0..2)
        .map(|r| {
            (0..n as u32)
                .filter(|i| i % 3 != r)
                .map(|i| (i, draw(-1.0, 1.0)))
                .collect()
        })
        .collect();
    let series = Array3::from_shape_simple_fn((k, t, 2), || draw(-1.0, 1.0));
    let dense = Array3::from_shape_simple_fn((k, t, n), || draw(-1.0, 1.0));
    let d_p = Array3::from_shape_simple_fn((k, t, n), || draw(-1.0, 1.0));
    let events = InputEvents::build(n_in, k, all, |_, _, list| {
        list.extend((0..n_in as u16).filter(|_| draw(0.0, 1.0) < 0.15));
    });
    // Segments of three steps, and the whole trial.
    let segments = [3, t.max(1)].map(|len| SegmentAdjoint {
        of_step: (0..t).map(|t| (t / len) as u32).collect(),
        factor: (0..t).map(|_| draw(-1.0, 1.0)).collect(),
        values: Array3::from_shape_simple_fn((k, t.div_ceil(len), n), || draw(-1.0, 1.0)),
    });
    Case {
        network,
        run: Run {
            n_trials: k,
            n_warmup: plan.n_warmup,
            n_steps: t,
            events: Some(events),
            drive: Some(Drive {
                values: drive,
                index: (0..k).map(|k| (k * 2 + 1) % n_stimuli).collect(),
            }),
            trial_offset: Some(with_course(offset, t, seed)),
            noise,
            clamp: Some(Clamp {
                spikes: SpikeBits::from_array(clamped.view()),
                until,
            }),
            initial,
        },
        adjoint: SpikeAdjoint {
            shared: Some((shared, (0..k).map(|k| k % 2).collect())),
            // In every second trial the shared part ends somewhere, in some before it begins.
            valid: Some(
                (0..k)
                    .map(|k| if k % 2 == 0 { t } else { (k * 7 + 3) % (t + 1) })
                    .collect(),
            ),
            channels: Some((members.into_iter().map(|members| Channel { members }).collect(), series)),
            segments: segments.to_vec(),
            dense: Some(dense),
        },
        d_probabilities: plan.has_d_probabilities.then_some(d_p),
    }
}

/// `n` unconnected neurons with α = 0, no noise, no reset: x = bias − 1 and nothing else.
pub(crate) fn unconnected(n: usize) -> Network {
    Network {
        w: Array3::zeros((1, n, n)),
        delays: vec![1],
        w_in: Array2::zeros((0, n)),
        alpha: Array1::zeros(n),
        gain: Array1::ones(n),
        bias: Array1::zeros(n),
        noise: Array1::zeros(n),
        threshold: Array1::ones(n),
        scale: Array1::ones(n),
        reset: Array1::zeros(n),
        temperature: 1.0,
        p_scale: 1.0,
        n_refractory: 0,
        surrogate: Surrogate::Sigmoid { gamma: 0.3 },
        surrogate_floor: 0.0,
        feedback: None,
    }
}

/// `k` trials of `t` steps from rest, nothing entering but the draws of Philox.
pub(crate) fn plain_run(network: &Network, k: usize, t: usize, n_warmup: usize, seed: u64) -> Run {
    let n = network.n_neurons();
    Run {
        n_trials: k,
        n_warmup,
        n_steps: t,
        events: None,
        drive: None,
        trial_offset: None,
        noise: Noise::Philox {
            key: Key::new(seed, "noise"),
            step: 0,
            first_trial: 0,
            first_time: 0,
        },
        clamp: None,
        initial: State::at_rest(k, network.max_delay(), &Array1::zeros(n)),
    }
}

/// Folder of the package, as Cargo says it now: a build folder that several checkouts share may hold the path of another.
pub(crate) fn manifest_dir() -> String {
    std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned())
}
