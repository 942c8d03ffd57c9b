//! The network against the model written again as plain loops in f64: probabilities, gradients, and weights that a fit recovers.

use super::*;
use crate::adamw::{AdamW, AdamWConfig};
use crate::bits::SpikeBits;
use crate::models::rsnn::{Draws, Engine};
use crate::rollout::Drive;
use ndarray::{ArrayD, s};

fn draws(step: u32) -> Draws<'static> {
    Draws {
        seed: 5,
        step,
        stream: "test",
        first_trial: 0,
    }
}

fn engines() -> [Engine; 2] {
    [Engine::Native, Engine::Reference]
}

fn spec(n_visible: usize, n_hidden: usize, basis: Basis) -> SpikeHistorySpec {
    SpikeHistorySpec {
        n_visible,
        n_hidden,
        lags: 4,
        basis,
        threshold: 0.4,
        temperature: 1.0,
        gamma: 0.3,
    }
}

fn bases() -> [Basis; 2] {
    let cosines = Basis::RaisedCosine {
        n: 2,
        linear_steps: 1.5,
    };
    [Basis::Raw, cosines]
}

fn random(dim: (usize, usize, usize), number: u64) -> Array3<f32> {
    let mut rng = StreamRng::new(11, "test.random", number);
    Array3::from_shape_simple_fn(dim, || rng.random_range(-1.0..1.0))
}

fn random_bits(dim: (usize, usize, usize), number: u64) -> SpikeBits {
    SpikeBits::from_array(random(dim, number).mapv(|x| u8::from(x > 0.4)).view())
}

/// A network of large weights, its windows `[K, T]`, clamped for `until` steps.
fn case(basis: Basis, n_hidden: usize, until: [u32; 3]) -> (SpikeHistory, Windows) {
    let (visible, k, t) = (3, 3, 7);
    let n = visible + n_hidden;
    let mut model = SpikeHistory::new(spec(visible, n_hidden, basis), 1).unwrap();
    let mut parameters = Parameters::new();
    for (name, array) in model.parameters.iter() {
        let mut rng = StreamRng::new(3, name, 0);
        parameters.insert(name, array.mapv(|_| rng.random_range(-0.5f32..0.5)));
    }
    model.parameters = parameters;
    let windows = Windows {
        n_windows: k,
        n_steps: t,
        history: Some(random_bits((k, 4, visible), 1)),
        clamped: Some(Clamped {
            spikes: random_bits((k, t, visible), 2),
            until: until.to_vec(),
        }),
        drive: Some(Drive {
            values: random((2, t, n), 3) * 0.3,
            index: vec![0, 1, 0],
        }),
    };
    (model, windows)
}

/// The model as loops in f64. Spikes have no useful differences: those that are drawn follow their potential linearly around
/// the stored run, with the surrogate's slope; the others are as stored. Gives the loss `Σ a p + Σ c z`, p, and visits s.
struct Loops<'a> {
    model: &'a SpikeHistory,
    windows: &'a Windows,
    spikes: SpikeBits,
    a: Array3<f32>,
    c: Array3<f32>,
    base: Option<Array3<f64>>,
}

impl Loops<'_> {
    fn run(&self, w: &ArrayD<f64>, bias: &ArrayD<f64>, drive: &Array3<f64>) -> (f64, Array3<f64>, Array3<f64>) {
        let spec = &self.model.spec;
        let (k_end, t_end, n) = (self.windows.n_windows, self.windows.n_steps, spec.n_neurons());
        let phi = spec.basis.values(spec.lags);
        let history = self.windows.history.as_ref().unwrap();
        let until = &self.windows.clamped.as_ref().unwrap().until;
        let threshold = f64::from(spec.threshold);
        let (mut p, mut s) = (Array3::zeros((k_end, t_end, n)), Array3::zeros((k_end, t_end, n)));
        let mut loss = 0.0;
        for k in 0..k_end {
            let mut z = vec![vec![0.0; n]; spec.lags + t_end];
            for (before, row) in z.iter_mut().enumerate().take(spec.lags) {
                for (i, z) in row.iter_mut().enumerate().take(spec.n_visible) {
                    *z = f64::from(u8::from(history.get(k, before, i)));
                }
            }
            for t in 0..t_end {
                for j in 0..n {
                    let mut u = bias[[j]] + drive[[self.windows.drive.as_ref().unwrap().index[k], t, j]];
                    for d in 1..=spec.lags {
                        for i in 0..n {
                            let kernel: f64 = (0..phi.nrows()).map(|b| phi[[b, d - 1]] * w[[b, i, j]]).sum();
                            u += kernel * z[spec.lags + t - d][i];
                        }
                    }
                    let x = (u - threshold) / threshold;
                    s[[k, t, j]] = x;
                    p[[k, t, j]] = 1.0 / (1.0 + (-x).exp());
                    let drawn = f64::from(u8::from(self.spikes.get(k, t, j)));
                    let is_clamped = j < spec.n_visible && t < until[k] as usize;
                    z[spec.lags + t][j] = match &self.base {
                        Some(base) if !is_clamped => {
                            let x0 = base[[k, t, j]];
                            drawn + f64::from(spec.gamma) * (1.0 - x0.abs()).max(0.0) * (x - x0)
                        }
                        _ => drawn,
                    };
                    loss += f64::from(self.a[[k, t, j]]) * p[[k, t, j]]
                        + f64::from(self.c[[k, t, j]]) * z[spec.lags + t][j];
                }
            }
        }
        (loss, p, s)
    }
}

#[test]
fn probabilities_and_gradients_of_clamped_free_and_mixed_windows_are_those_of_plain_loops() {
    for basis in bases() {
        for (n_hidden, until) in [(0, [7; 3]), (0, [0; 3]), (0, [3, 7, 0]), (2, [7; 3]), (2, [2, 0, 7])] {
            for engine in engines() {
                let (model, windows) = case(basis, n_hidden, until);
                let what = format!("{basis:?}, {n_hidden} hidden, clamped {until:?}, {engine:?}");
                let sampled = model.sample(&engine, &windows, draws(0)).unwrap();
                let dim = sampled.probabilities.dim();
                let mut loops = Loops {
                    model: &model,
                    windows: &windows,
                    spikes: sampled.spikes().unwrap(),
                    a: random(dim, 7),
                    c: random(dim, 8),
                    base: None,
                };
                let wide = |name: &str| model.parameters.get(name).unwrap().mapv(f64::from);
                let drive = windows.drive.as_ref().unwrap().values.mapv(f64::from);
                let (_, p, s) = loops.run(&wide("w"), &wide("bias"), &drive);
                for (found, expected) in sampled.probabilities.iter().zip(&p) {
                    assert!(
                        (f64::from(*found) - expected).abs() < 2e-6,
                        "{what}: {found} {expected}"
                    );
                }
                loops.base = Some(s);
                let (a, c) = (loops.a.clone(), loops.c.clone());
                let found = model.backward(&engine, sampled, &a, Some(c)).unwrap();

                let h = 1e-5;
                let difference = |change: &dyn Fn(f64) -> f64| (change(h) - change(-h)) / (2.0 * h);
                let close = |found: f32, slope: f64| (f64::from(found) - slope).abs() < 1e-4 * slope.abs().max(1.0);
                for name in ["w", "bias"] {
                    let gradient = found.parameters.get(name).unwrap();
                    for flat in 0..gradient.len() {
                        let slope = difference(&|h| {
                            let (mut w, mut bias) = (wide("w"), wide("bias"));
                            let array = if name == "w" { &mut w } else { &mut bias };
                            *array.iter_mut().nth(flat).unwrap() += h;
                            loops.run(&w, &bias, &drive).0
                        });
                        let found = *gradient.iter().nth(flat).unwrap();
                        assert!(close(found, slope), "{what}: {name} {flat}: {found} {slope}");
                    }
                }
                let d_drive = found.drive.unwrap();
                for (flat, found) in d_drive.iter().enumerate() {
                    let slope = difference(&|h| {
                        let mut drive = drive.clone();
                        *drive.iter_mut().nth(flat).unwrap() += h;
                        loops.run(&wide("w"), &wide("bias"), &drive).0
                    });
                    assert!(close(*found, slope), "{what}: drive {flat}: {found} {slope}");
                }
            }
        }
    }
}

#[test]
fn clamped_neurons_show_the_recording_and_free_ones_what_was_drawn() {
    let (model, windows) = case(Basis::Raw, 2, [7, 0, 3]);
    let clamped = windows.clamped.as_ref().unwrap();
    let spikes = model
        .sample(&Engine::Native, &windows, draws(0))
        .unwrap()
        .spikes()
        .unwrap();
    for k in 0..3 {
        for t in 0..clamped.until[k] as usize {
            for i in 0..3 {
                assert_eq!(spikes.get(k, t, i), clamped.spikes.get(k, t, i));
            }
        }
    }
    let other = model
        .sample(&Engine::Native, &windows, draws(1))
        .unwrap()
        .spikes()
        .unwrap();
    let free = |bits: &SpikeBits| bits.to_array().slice(s![1, .., ..]).to_owned();
    assert_ne!(free(&spikes), free(&other), "another step draws other spikes");
    // A free window knows nothing of the recorded spikes.
    let mut cut = windows.clone();
    cut.clamped.as_mut().unwrap().spikes = random_bits((3, 7, 3), 9);
    let again = model.sample(&Engine::Native, &cut, draws(0)).unwrap().spikes().unwrap();
    assert_eq!(free(&spikes), free(&again));
}

#[test]
fn with_all_weights_zero_the_probability_is_that_of_the_threshold() {
    let mut model = SpikeHistory::new(spec(2, 0, Basis::Raw), 1).unwrap();
    model.parameters.insert("w", Array3::<f32>::zeros((4, 2, 2)));
    let windows = Windows {
        n_windows: 1,
        n_steps: 3,
        ..Windows::default()
    };
    let sampled = model.sample(&Engine::Native, &windows, draws(0)).unwrap();
    let expected = 1.0 / (1.0 + 1f64.exp());
    assert!(
        sampled
            .probabilities
            .iter()
            .all(|p| (f64::from(*p) - expected).abs() < 1e-7)
    );
}

#[test]
fn initial_weights_are_a_cut_normal_of_the_published_size() {
    let model = SpikeHistory::new(spec(60, 0, Basis::Raw), 7).unwrap();
    let w = model.parameters.get("w").unwrap();
    let unit = 1.0 / (60.0f64 * 4.0).sqrt();
    let (mean, most) = (
        w.mapv(f64::from).mean().unwrap(),
        w.iter().fold(0.0f64, |m, x| m.max(f64::from(x.abs()))),
    );
    // A normal number cut at two standard deviations has the standard deviation 0.8796.
    let deviation = w.mapv(|x| f64::from(x).powi(2)).mean().unwrap().sqrt();
    assert!((deviation / unit - 0.8796).abs() < 0.02, "{}", deviation / unit);
    assert!(mean.abs() < 0.02 * unit && most <= 2.0 * unit && most > 1.95 * unit);
    assert_eq!(model, SpikeHistory::new(spec(60, 0, Basis::Raw), 7).unwrap());
}

#[test]
fn the_likelihood_recovers_the_weights_of_a_known_network() {
    // Half an hour in bins of 40 ms.
    let (n, k, t) = (10, 90, 500);
    let mut teacher = SpikeHistory::new(spec(n, 0, Basis::Raw), 2).unwrap();
    let kernels = random((4, n, n), 20) * 0.5;
    teacher.parameters.insert("w", kernels.clone());
    teacher.parameters.insert("bias", Array1::from_elem(n, -0.6f32));
    let free = Windows {
        n_windows: k,
        n_steps: t,
        ..Windows::default()
    };
    let spikes = teacher
        .sample(&Engine::Native, &free, draws(0))
        .unwrap()
        .spikes()
        .unwrap();
    let recorded = spikes.to_array().mapv(f32::from);
    let clamped = Windows {
        clamped: Some(Clamped {
            spikes,
            until: vec![t as u32; k],
        }),
        ..free
    };
    let mut student = SpikeHistory::new(teacher.spec.clone(), 3).unwrap();
    let mut adam = AdamW::new(AdamWConfig {
        lr: 0.03,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.0,
    })
    .unwrap();
    for step in 0..150 {
        let sampled = student.sample(&Engine::Native, &clamped, draws(step)).unwrap();
        let p = &sampled.probabilities;
        let d = (p - &recorded) / (p * &p.mapv(|p| 1.0 - p)) / p.len() as f32;
        let gradient = student.backward(&Engine::Native, sampled, &d, None).unwrap();
        adam.update(&mut student.parameters, &gradient.parameters).unwrap();
    }
    let found = student.kernels().unwrap();
    let centred = |x: &Array3<f32>| x - x.mean().unwrap();
    let (a, b) = (centred(&found), centred(&kernels));
    let r = (&a * &b).sum() / ((&a * &a).sum() * (&b * &b).sum()).sqrt();
    assert!(r > 0.97, "correlation with the teacher's weights {r}");
    let error = (&found - &kernels).mapv(|x| x * x).mean().unwrap().sqrt();
    assert!(error < 0.1, "root mean square error {error}");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let (model, windows) = case(Basis::Raw, 1, [7; 3]);
    let refused = |windows: &Windows| {
        model
            .sample(&Engine::Native, windows, draws(0))
            .unwrap_err()
            .to_string()
    };
    let mut bad = windows.clone();
    bad.history = Some(SpikeBits::zeros(3, 5, 3));
    assert!(refused(&bad).contains("history of the windows"), "{}", refused(&bad));
    bad = windows.clone();
    bad.clamped.as_mut().unwrap().spikes = SpikeBits::zeros(3, 7, 4);
    assert!(refused(&bad).contains("clamped spikes"), "{}", refused(&bad));
    bad = windows.clone();
    bad.clamped.as_mut().unwrap().until.pop();
    assert!(refused(&bad).contains("clamped steps"), "{}", refused(&bad));
    let mut none = spec(0, 1, Basis::Raw);
    assert!(SpikeHistory::new(none.clone(), 0).is_err());
    none.n_visible = 1;
    none.lags = 0;
    assert!(SpikeHistory::new(none, 0).is_err());
    let mut parameters = model.parameters.clone();
    parameters.insert("bias", Array1::<f32>::zeros(9));
    assert!(SpikeHistory::with_parameters(model.spec.clone(), parameters).is_err());
}
