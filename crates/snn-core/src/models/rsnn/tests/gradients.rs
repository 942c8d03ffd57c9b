//! Every gradient of the model against central differences, in f64, of the model written again as plain loops.
//!
//! Spikes have no useful differences, so the loops simulate the network linearised around the stored run:
//! `z = z₀ + ψ₀ (x − x₀)` with the surrogate slope ψ₀ (0 where refractory). At the stored parameters its gradient is
//! the surrogate gradient exactly.

use super::*;
use crate::rng::{Key, Place, fill_normals};
use crate::rollout::{Channel, SegmentAdjoint, SpikeAdjoint};
use ndarray::{Array3, ArrayD};
use std::collections::BTreeMap;

type Named = BTreeMap<String, ArrayD<f64>>;

/// The stored run and the loss: `Σ a·z + Σ c·y`.
struct Linearised<'a> {
    model: &'a Rsnn,
    simulation: &'a Simulation,
    trials: Trials,
    normals: Array3<f64>,
    /// Traces of the warm-up, `[K, warm-up, B]`: what the readout carries over, and what the closed loop remembers.
    before: Array3<f64>,
    a: Array3<f64>,
    c: Array3<f64>,
    /// x₀ and ψ₀ of every (k, t, n), once the stored run was visited.
    base: Option<(Array3<f64>, Array3<f64>)>,
}

impl Linearised<'_> {
    /// The loss at parameters `p`; the visited x and ψ go to `visited`.
    fn loss(&self, p: &Named, mut visited: Option<&mut (Array3<f64>, Array3<f64>)>) -> f64 {
        let (spec, rollout) = (&self.model.spec, self.simulation.rollout.host().unwrap());
        let [n_trials, n_steps, n] = rollout.spikes.shape();
        let history = rollout.start.history.shape()[1];
        let mut loss = 0.0;
        for k in 0..n_trials {
            let mut v: Vec<f64> = rollout.start.v.row(k).iter().map(|v| f64::from(*v)).collect();
            // Spikes of the H steps before the trial, then of the trial.
            let mut z: Vec<Vec<f64>> = (0..history)
                .map(|t| {
                    (0..n)
                        .map(|i| f64::from(u8::from(rollout.start.history.get(k, t, i))))
                        .collect()
                })
                .collect();
            let mut traces: Vec<Vec<f64>> = self
                .before
                .index_axis(ndarray::Axis(0), k)
                .outer_iter()
                .map(|y| y.to_vec())
                .collect();
            let mut filter = self.carried(k);
            for t in 0..n_steps {
                let input = self.input_current(p, k, t);
                let mut now = vec![0.0; n];
                for j in 0..n {
                    let mut current = input[j] + self.feedback_current(p, &traces, j);
                    for (d, delay) in spec.delays.iter().enumerate() {
                        current += (0..n)
                            .map(|i| p["w"][[d, i, j]] * z[history + t - delay][i])
                            .sum::<f64>();
                    }
                    let tau = if spec.neurons[j].cell_type == CellType::Inhibitory {
                        10.0
                    } else {
                        30.0
                    };
                    let (alpha, rest, kappa) = ((-2.0f64 / tau).exp(), p["v_rest"][[j]], p["noise_gain"][[j]]);
                    let noise = self.normals[[k, t, j]] * kappa * (0.1 - rest) * 0.3 * 2f64.sqrt();
                    v[j] = alpha * v[j] + (1.0 - alpha) * (0.5 * current + self.offset(p, k, t, j) + rest) + noise;
                    let x = (v[j] - 0.1) / 0.1;
                    let z0 = f64::from(u8::from(rollout.spikes.get(k, t, j)));
                    now[j] = z0
                        + self
                            .base
                            .as_ref()
                            .map_or(0.0, |(x0, psi0)| psi0[[k, t, j]] * (x - x0[[k, t, j]]));
                    if let Some((xs, psis)) = visited.as_deref_mut() {
                        let s = 1.0 / (1.0 + (-7.5 * x).exp());
                        xs[[k, t, j]] = x;
                        psis[[k, t, j]] = if rollout.refractory.get(k, t, j) {
                            0.0
                        } else {
                            0.3 * 7.5 * s * (1.0 - s)
                        };
                    }
                    v[j] -= (0.1 - rest) * now[j];
                    loss += self.a[[k, t, j]] * now[j];
                }
                traces.push(self.advance(p, &mut filter, &now));
                for (b, y) in traces.last().unwrap().iter().enumerate() {
                    loss += self.c[[k, t, b]] * y;
                }
                z.push(now);
            }
        }
        loss
    }

    fn traces(&self) -> &[TraceSpec] {
        self.model
            .spec
            .behaviour
            .as_ref()
            .map_or(&[], |behaviour| &behaviour.traces)
    }

    /// What the filters carry out of the warm-up, which no parameter moves: log y, linear q.
    fn carried(&self, k: usize) -> Vec<f64> {
        let last = self.before.dim().1.wrapping_sub(1);
        let of = |(b, trace): (usize, &TraceSpec)| match trace.link {
            Link::Log => self.before[[k, last, b]],
            Link::Linear => {
                let constant = |name| f64::from(self.model.parameters.vector(name).unwrap()[b]);
                self.before[[k, last, b]] * constant("readout.std") + constant("readout.mean")
            }
        };
        self.traces().iter().enumerate().map(of).collect()
    }

    /// Current into neuron j of traces in the past.
    fn feedback_current(&self, p: &Named, traces: &[Vec<f64>], j: usize) -> f64 {
        let Some(feedback) = self.model.spec.behaviour.as_ref().and_then(|b| b.feedback) else {
            return 0.0;
        };
        let mut current = 0.0;
        for b in 0..self.traces().len() {
            for l in 0..feedback.n_lags {
                current += p["feedback.kernel"][[b, l, j]] * traces[traces.len() - feedback.first_lag - l][b];
            }
        }
        current
    }

    /// Traces of the next step.
    fn advance(&self, p: &Named, filter: &mut [f64], z: &[f64]) -> Vec<f64> {
        let motor = self.model.spec.motor_neurons();
        let mut values = Vec::new();
        for (b, trace) in self.traces().iter().enumerate() {
            let alpha = (-2.0f64 / trace.tau_ms).exp();
            let u: f64 = motor
                .iter()
                .enumerate()
                .filter(|(_, n)| trace.motor_areas.contains(&self.model.spec.neurons[**n].area))
                .map(|(i, n)| 0.5 * p["readout.w"][[i, b]] * z[*n])
                .sum();
            values.push(match trace.link {
                Link::Log => {
                    let base = p["readout.baseline"][[b]];
                    filter[b] = (alpha * (filter[b] + base).ln() + (1.0 - alpha) * u).exp() - base;
                    filter[b]
                }
                Link::Linear => {
                    filter[b] = alpha * filter[b] + (1.0 - alpha) * u;
                    (filter[b] - p["readout.mean"][[b]]) / p["readout.std"][[b]]
                }
            });
        }
        values
    }

    /// Offset of neuron `j` at step `t` of trial `k`.
    fn offset(&self, p: &Named, k: usize, t: usize, j: usize) -> f64 {
        let (Some(latent), Some(psi)) = (&self.model.spec.latent, &self.simulation.latent) else {
            return 0.0;
        };
        let psi = psi.row(k);
        let l = latent.dimensions;
        let into = |h: usize, n_seen: usize| (0..n_seen).map(|i| psi[i] * p["latent.w1"][[i, h]]).sum::<f64>();
        let source = |h: usize, n_seen: usize| match latent.kind {
            LatentKind::Mlp => (into(h, n_seen) + p["latent.b1"][[h]]).max(0.0),
            LatentKind::Linear => psi[h],
        };
        let out = if latent.kind == LatentKind::Mlp {
            "latent.w2"
        } else {
            "latent.theta"
        };
        let bound = if latent.is_bounded { 0.02 } else { f64::INFINITY };
        let with = |n_seen: usize, weight: &dyn Fn(usize) -> f64| -> f64 {
            let sum: f64 = (0..l).map(|h| source(h, n_seen) * weight(h)).sum();
            sum.clamp(-bound, bound)
        };
        let knots = &latent.knots;
        let at = |b: usize| {
            let sees = latent.stimulus.is_some_and(|seen| knots[b] > seen.after);
            with(l + usize::from(sees), &|h| p[out][[b, h, j]])
        };
        match knots.iter().position(|knot| t as f64 <= *knot) {
            _ if knots.is_empty() => with(l, &|h| p[out][[h, j]]),
            Some(0) => at(0),
            None => at(knots.len() - 1),
            Some(b) => {
                let later = (t as f64 - knots[b - 1]) / (knots[b] - knots[b - 1]);
                (1.0 - later) * at(b - 1) + later * at(b)
            }
        }
    }

    fn input_current(&self, p: &Named, k: usize, t: usize) -> Vec<f64> {
        let n = self.model.spec.n_neurons();
        let column = |weights: &[(usize, f64)]| {
            (0..n)
                .map(|j| weights.iter().map(|(i, x)| p["w_in"][[*i, j]] * x).sum())
                .collect()
        };
        match &self.model.spec.input {
            InputSpec::None => vec![0.0; n],
            InputSpec::Poisson(_) => {
                let events = self
                    .simulation
                    .run
                    .events
                    .as_ref()
                    .unwrap()
                    .at(k, self.simulation.run.n_warmup + t);
                column(&events.iter().map(|i| (usize::from(*i), 1.0)).collect::<Vec<_>>())
            }
            InputSpec::Recorded(input) => {
                let (movie, movies) = (
                    self.trials.movie.as_ref().unwrap()[k],
                    self.trials.movies.as_ref().unwrap(),
                );
                let mut weights = Vec::new();
                for lag in 0..input.lags {
                    for c in 0..input.n_channels {
                        let x = f64::from(movies[[movie, t.saturating_sub(lag * input.lag_steps), c]]);
                        weights.push((lag * input.n_channels + c, input.scale * x + input.offset));
                    }
                }
                column(&weights)
            }
        }
    }
}

/// Traces of the warm-up `[K, warm-up, B]`, from a simulation of the warm-up alone.
fn warmup_traces(model: &Rsnn, n_trials: usize) -> Array3<f64> {
    let mut alone = model.clone();
    if model.spec.behaviour.is_none() {
        return Array3::zeros((n_trials, model.spec.n_warmup, 0));
    }
    alone.spec.n_warmup = 0;
    // The warm-up holds the offset of the first step.
    if let Some(latent) = alone.spec.latent.as_mut().filter(|latent| !latent.knots.is_empty()) {
        let course = latent.course(1);
        for name in ["latent.w2", "latent.theta"] {
            let Some(maps) = alone.parameters.get_mut(name) else {
                continue;
            };
            let mut first = ndarray::ArrayD::<f32>::zeros(maps.raw_dim());
            for mut to in first.outer_iter_mut() {
                for (share, from) in course.row(0).iter().zip(maps.outer_iter()) {
                    to.scaled_add(*share, &from);
                }
            }
            *maps = first;
        }
    }
    let mut trials = trials(0, n_trials);
    let warmup = model.spec.n_warmup;
    let first = trials.movies.unwrap().slice_move(ndarray::s![.., ..1, ..]);
    trials.movies = Some(first.broadcast((4, warmup, 2)).unwrap().to_owned());
    if let InputSpec::Poisson(input) = &mut alone.spec.input {
        input.first_steps = vec![1000, 1000];
    }
    let simulation = alone.simulate(&Engine::Native, &trials, warmup, draws(0), false);
    simulation.unwrap().behaviour.unwrap()
}

/// A model whose parameters are all away from their special initial values.
fn shaken(spec: RsnnSpec) -> Rsnn {
    let mut model = Rsnn::new(spec, 8).unwrap();
    let mut i = 0;
    for (name, array) in model.parameters.iter_mut() {
        // Resting potentials stay below the threshold, where a neuron's threshold would jump.
        let (keep, size) = match name {
            "v_rest" => (0.3, 0.04),
            "w" => (1.0, 0.05),
            _ => (1.0, 0.2),
        };
        array.mapv_inplace(|x| {
            i += 1;
            keep * x + size * ((i * i) as f32 * 0.731).sin()
        });
    }
    for name in ["readout.baseline", "readout.std"] {
        if let Some(array) = model.parameters.get_mut(name) {
            array.mapv_inplace(|x| x.abs() + 0.4);
        }
    }
    model
}

fn check_every_gradient(spec: RsnnSpec) {
    const K: usize = 4;
    let model = shaken(spec);
    let simulation = model
        .simulate(&Engine::Native, &trials(0, K), N_STEPS, draws(0), true)
        .unwrap();
    let density = simulation.rollout.host().unwrap().spikes.count() as f64 / (K * N_STEPS * 10) as f64;
    assert!((0.02..0.35).contains(&density), "density {density}");
    let n_traces = simulation.behaviour.as_ref().map_or(0, |b| b.dim().2);
    let wave = |scale: f64| move |(k, t, n): (usize, usize, usize)| ((k * 31 + t * 7 + n * 13) as f64 * scale).sin();
    let (a, c) = (
        Array3::from_shape_fn((K, N_STEPS, 10), wave(0.37)),
        Array3::from_shape_fn((K, N_STEPS, n_traces), wave(0.71)),
    );
    let mut normals = Array3::zeros((K, N_STEPS, 10));
    let key = Key::new(draws(0).seed, "train.noise");
    for k in 0..K {
        for t in 0..N_STEPS {
            let mut row = [0.0f32; 10];
            fill_normals(
                key,
                Place {
                    time: (model.spec.n_warmup + t) as u32,
                    trial: k as u32,
                    step: draws(0).step,
                },
                &mut row,
            );
            row.iter()
                .enumerate()
                .for_each(|(n, x)| normals[[k, t, n]] = f64::from(*x));
        }
    }
    let mut loops = Linearised {
        model: &model,
        simulation: &simulation,
        trials: trials(0, K),
        normals,
        before: warmup_traces(&model, K),
        a: a.clone(),
        c: c.clone(),
        base: None,
    };
    let parameters: Named = model
        .parameters
        .iter()
        .map(|(name, array)| (name.to_owned(), array.mapv(f64::from)))
        .collect();
    let mut visited = (Array3::zeros(a.raw_dim()), Array3::zeros(a.raw_dim()));
    loops.loss(&parameters, Some(&mut visited));
    // The loops saw the run that the engine saw.
    let potentials = simulation.rollout.host().unwrap().potentials.as_ref().unwrap();
    assert!(
        visited
            .0
            .iter()
            .zip(potentials)
            .all(|(x, v)| (x - (f64::from(*v) - 0.1) / 0.1).abs() < 1e-4)
    );
    loops.base = Some(visited);

    // The adjoint in four parts that sum to `a`: a channel over all neurons, a row per condition as long as the trial, segments, the
    // rest.
    let conditions: Vec<usize> = (0..K).map(|k| k % 2).collect();
    let shared = Array3::from_shape_fn((2, N_STEPS, 10), wave(0.11)).mapv(|x| x as f32);
    let valid: Vec<usize> = (0..K).map(|k| N_STEPS - 7 * k).collect();
    let series = Array3::from_shape_fn((K, N_STEPS, 1), wave(0.23)).mapv(|x| x as f32);
    let values = Array3::from_shape_fn((K, N_STEPS.div_ceil(5), 10), wave(0.31)).mapv(|x| 0.1 * x as f32);
    let rest = Array3::from_shape_fn(a.raw_dim(), |(k, t, n)| {
        let of_condition = if t < valid[k] {
            shared[[conditions[k], t, n]]
        } else {
            0.0
        };
        let of_segment = 0.5 * (1.0 + t as f32) * values[[k, t / 5, n]];
        a[[k, t, n]] as f32 - of_condition - 0.5 * series[[k, t, 0]] - of_segment
    });
    let channel = Channel {
        members: (0..10).map(|n| (n, 0.5)).collect(),
    };
    let adjoint = SpikeAdjoint {
        shared: Some((shared, conditions)),
        valid: Some(valid),
        channels: Some((vec![channel], series)),
        segments: vec![SegmentAdjoint {
            of_step: (0..N_STEPS).map(|t| t as u32 / 5).collect(),
            factor: (0..N_STEPS).map(|t| 0.5 * (1.0 + t as f32)).collect(),
            values,
        }],
        dense: Some(rest),
    };
    let d_behaviour = simulation.behaviour.is_some().then_some(&c);
    let again = model
        .simulate(&Engine::Native, &trials(0, K), N_STEPS, draws(0), true)
        .unwrap();
    let gradients = model.backward(&Engine::Native, again, adjoint, d_behaviour).unwrap();

    for (name, gradient) in gradients.iter() {
        let mut worst = 0.0f64;
        let largest = gradient.iter().fold(0.0f64, |a, b| a.max(f64::from(b.abs())));
        assert!(largest > 1e-3, "gradient of {name} is zero");
        for (i, ours) in gradient.iter().enumerate() {
            let at = |step: f64| {
                let mut p = parameters.clone();
                p.get_mut(name).unwrap().as_slice_mut().unwrap()[i] += step;
                loops.loss(&p, None)
            };
            let difference = (at(1e-6) - at(-1e-6)) / 2e-6;
            worst = worst.max((f64::from(*ours) - difference).abs());
        }
        // An f32 engine over 26 steps and 4 trials.
        assert!(worst < 2e-4 * largest, "{name}: off by {worst:e}, largest {largest:e}");
    }
    let trained = model
        .parameters
        .iter()
        .filter(|(name, _)| model.is_trained(name))
        .count();
    assert_eq!(gradients.len(), trained);
}

#[test]
fn every_gradient_of_a_network_with_spiking_inputs_is_a_central_difference() {
    check_every_gradient(RsnnSpec {
        latent: Some(latent(LatentKind::Mlp, false)),
        behaviour: Some(readout(Link::Log)),
        ..small_spec()
    });
}

#[test]
fn every_gradient_of_a_network_with_a_recorded_stimulus_is_a_central_difference() {
    check_every_gradient(RsnnSpec {
        latent: Some(latent(LatentKind::Linear, true)),
        behaviour: Some(readout(Link::Linear)),
        ..recorded_spec()
    });
}

#[test]
fn every_gradient_of_a_network_without_inputs_or_trained_noise_is_a_central_difference() {
    check_every_gradient(RsnnSpec {
        input: InputSpec::None,
        train_noise_gain: false,
        latent: Some(latent(LatentKind::Mlp, true)),
        ..small_spec()
    });
}

#[test]
fn every_gradient_of_offsets_that_change_in_the_trial_is_a_central_difference() {
    for (kind, is_bounded) in [
        (LatentKind::Mlp, false),
        (LatentKind::Mlp, true),
        (LatentKind::Linear, true),
    ] {
        check_every_gradient(RsnnSpec {
            latent: Some(LatentSpec {
                dimensions: 8, // some of the hidden layer are above 0
                ..latent_with_knots(kind, is_bounded)
            }),
            behaviour: Some(readout(Link::Log)),
            ..small_spec()
        });
    }
}

#[test]
fn every_gradient_of_different_behaviours_is_a_central_difference() {
    check_every_gradient(RsnnSpec {
        behaviour: Some(different_traces()),
        ..small_spec()
    });
}

#[test]
fn every_gradient_of_a_closed_loop_is_a_central_difference() {
    check_every_gradient(RsnnSpec {
        behaviour: Some(closed_loop()),
        latent: Some(latent(LatentKind::Mlp, false)),
        ..small_spec()
    });
}
