//! Gradients against central differences in f64: of the smooth network, and of the network linearised by its
//! surrogate around a stored run (finite differences of the spikes themselves are zero or infinite).

use crate::networks::{ALL, Case, NATIVE, Plan, random_case, wide};
use ndarray::{Array2, Array3};
use snn_core::rollout::reference::{Gradients64, Precision, Reference, Rollout64, SpikeMode, State64, Values};
use snn_core::rollout::{Network, Run, Wanted};
use snn_core::surrogate::Surrogate;

/// Step of the central differences: their error is about `STEP²` from the third derivative and 1e-16/`STEP` from
/// rounding.
const STEP: f64 = 2e-6;
/// Of the largest entry of the gradient; see [`STEP`].
const SMOOTH: f64 = 1e-7;
const LINEARISED_F64: f64 = 1e-7;
/// The native engine computes in f32.
const LINEARISED_F32: f64 = 2e-5;

/// One parameter array: where it is in the values, and its gradient.
struct Knob {
    name: &'static str,
    values: fn(&mut Values) -> &mut [f64],
    gradient: fn(&Gradients64) -> Vec<f64>,
}

/// Every differentiable array of a network and a run.
const KNOBS: [Knob; 10] = [
    Knob {
        name: "w",
        values: |v| v.w.as_slice_mut().unwrap(),
        gradient: |g| g.w.iter().copied().collect(),
    },
    Knob {
        name: "w_in",
        values: |v| v.w_in.as_slice_mut().unwrap(),
        gradient: |g| g.w_in.iter().copied().collect(),
    },
    Knob {
        name: "bias",
        values: |v| v.bias.as_slice_mut().unwrap(),
        gradient: |g| g.bias.to_vec(),
    },
    Knob {
        name: "threshold",
        values: |v| v.threshold.as_slice_mut().unwrap(),
        gradient: |g| g.threshold.to_vec(),
    },
    Knob {
        name: "reset",
        values: |v| v.reset.as_slice_mut().unwrap(),
        gradient: |g| g.reset.to_vec(),
    },
    Knob {
        name: "gain",
        values: |v| v.gain.as_slice_mut().unwrap(),
        gradient: |g| g.gain.to_vec(),
    },
    Knob {
        name: "noise",
        values: |v| v.noise.as_slice_mut().unwrap(),
        gradient: |g| g.noise.to_vec(),
    },
    Knob {
        name: "trial_offset",
        values: |v| v.trial_offset.as_mut().unwrap().as_slice_mut().unwrap(),
        gradient: |g| g.trial_offset.as_ref().unwrap().iter().copied().collect(),
    },
    Knob {
        name: "drive",
        values: |v| v.drive.as_mut().unwrap().as_slice_mut().unwrap(),
        gradient: |g| g.drive.as_ref().unwrap().iter().copied().collect(),
    },
    Knob {
        name: "history",
        values: |v| v.initial.history.as_slice_mut().unwrap(),
        gradient: |g| g.history.iter().copied().collect(),
    },
];

/// Holds every `stride`-th entry of every gradient against central differences of `loss`.
fn check(g: &Gradients64, at: &Values, stride: usize, tolerance: f64, loss: impl Fn(&Values) -> f64) {
    for knob in &KNOBS {
        let gradient = (knob.gradient)(g);
        let scale = gradient.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        assert!(scale > 1e-3, "dL/d{} is zero: nothing is tested", knob.name);
        for i in (0..gradient.len()).step_by(if gradient.len() > 60 { stride } else { 1 }) {
            let shifted = |by: f64| {
                let mut values = at.clone();
                (knob.values)(&mut values)[i] += by;
                loss(&values)
            };
            let difference = (shifted(STEP) - shifted(-STEP)) / (2.0 * STEP);
            let error = (gradient[i] - difference).abs() / scale;
            assert!(
                error <= tolerance,
                "dL/d{}[{i}] = {}, differences give {difference}",
                knob.name,
                gradient[i]
            );
        }
    }
}

/// A small case of everything; no warm-up, whose state would move with the parameters.
fn small(surrogate: Surrogate, seed: u64) -> Case {
    let plan = Plan {
        n: 7,
        k: 3,
        t: 12,
        n_warmup: 0,
        delays: vec![1, 3, 4],
        n_refractory: 2,
        surrogate,
        surrogate_floor: 0.0,
        is_philox: true,
        has_d_probabilities: true,
        excitability: 0.0,
    };
    random_case(&plan, seed)
}

/// Weights of the loss on spikes and on probabilities, `[K, T, N]`.
fn adjoints(case: &Case) -> (Array3<f64>, Array3<f64>) {
    let (k, t, n) = (case.run.n_trials, case.run.n_steps, case.network.n_neurons());
    let mut d_spikes = Array3::zeros((k, t, n));
    let mut row = vec![0.0; n];
    for ((k, t, n), d) in d_spikes.indexed_iter_mut() {
        row.fill(0.0);
        case.adjoint.add_row(k, t, &mut row);
        *d = f64::from(row[n]);
    }
    (d_spikes, wide(case.d_probabilities.as_ref().unwrap()))
}

#[test]
fn the_smooth_reference_agrees_with_central_differences() {
    for seed in [1, 2] {
        let case = small(Surrogate::Sigmoid { gamma: 0.3 }, seed);
        let values = Values::of(&case.network, &case.run).unwrap();
        let (a, b) = adjoints(&case);
        let engine = Reference {
            precision: Precision::F64,
            spike: SpikeMode::Smooth,
            ..Reference::default()
        };
        let simulate = |values: &Values| engine.simulate_values(&case.network, &case.run, values).unwrap();
        let rollout = simulate(&values);
        assert!(
            rollout.spikes.iter().any(|z| *z > 0.01 && *z < 0.99),
            "the spikes aren't smooth"
        );
        let g = engine
            .backpropagate_values(&case.network, &case.run, &values, &rollout, &a, Some(&b))
            .unwrap();
        check(&g, &values, 5, SMOOTH, |values| {
            let rollout = simulate(values);
            (&a * &rollout.spikes).sum() + (&b * &rollout.probabilities).sum()
        });
    }
}

/// The network `z = z₀ + ψ₀ (x − x₀)` around a stored run, as plain loops in f64.
struct Linearised<'a> {
    network: &'a Network,
    run: &'a Run,
    /// Spikes of the stored run z₀ `[K, T, N]`.
    z0: Array3<f64>,
    /// Scaled potentials of the stored run x₀, computed here.
    x0: Array3<f64>,
    /// Surrogate derivative ψ₀ there; 0 where clamped or refractory.
    psi0: Array3<f64>,
    /// State at the first recorded step.
    start: State64,
}

impl<'a> Linearised<'a> {
    fn around(case: &'a Case, values: &Values, z0: Array3<f64>, start: State64) -> Self {
        let dims = z0.dim();
        let (network, run) = (&case.network, &case.run);
        // With ψ = 0 the spikes are those stored whatever x is: that run gives x₀.
        let mut this = Self {
            network,
            run,
            z0,
            x0: Array3::zeros(dims),
            psi0: Array3::zeros(dims),
            start,
        };
        let x0 = this.scaled_potentials(values);
        let mut counter: Array2<i64> = this.start.refractory.mapv(i64::from);
        for t in 0..dims.1 {
            for k in 0..dims.0 {
                for n in 0..dims.2 {
                    let is_clamped = run.clamp.as_ref().is_some_and(|c| t < c.until[[k, n]] as usize);
                    let x = x0[[k, t, n]];
                    let s = 1.0 / (1.0 + (-values.temperature * x).exp());
                    if !is_clamped && counter[[k, n]] == 0 {
                        this.psi0[[k, t, n]] = match network.surrogate {
                            Surrogate::Sigmoid { .. } => {
                                values.gamma * values.p_scale * values.temperature * s * (1.0 - s)
                            }
                            Surrogate::Triangle { .. } => values.gamma * (1.0 - x.abs()).max(0.0),
                        };
                    }
                    let r = &mut counter[[k, n]];
                    *r = if this.z0[[k, t, n]] > 0.0 {
                        i64::from(network.n_refractory)
                    } else {
                        (*r - 1).max(0)
                    };
                }
            }
        }
        this.x0 = x0;
        this
    }

    /// x of every recorded step.
    fn scaled_potentials(&self, p: &Values) -> Array3<f64> {
        let (n_k, n_t, n_n) = self.z0.dim();
        let n_past = self.start.history.dim().1;
        let mut all_x = Array3::zeros((n_k, n_t, n_n));
        for k in 0..n_k {
            let mut z = Array2::<f64>::zeros((n_past + n_t, n_n));
            let mut v: Vec<f64> = self.start.v.row(k).to_vec();
            for t in 0..n_past {
                (0..n_n).for_each(|n| z[[t, n]] = p.initial.history[[k, t, n]]);
            }
            for t in 0..n_t {
                let now = self.run.n_warmup + t;
                for n in 0..n_n {
                    let mut current = 0.0;
                    for (d, delay) in self.network.delays.iter().enumerate() {
                        for pre in 0..n_n {
                            current += p.w[[d, pre, n]] * z[[n_past + t - delay, pre]];
                        }
                    }
                    for i in self.run.events.as_ref().map_or(&[][..], |events| events.at(k, now)) {
                        current += p.w_in[[usize::from(*i), n]];
                    }
                    let mut potential = p.alpha[n] * v[n] + p.gain[n] * current + p.bias[n];
                    if let (Some(offset), Some(values)) = (&self.run.trial_offset, &p.trial_offset) {
                        let shares = offset.course.row(t);
                        let parts = shares
                            .iter()
                            .enumerate()
                            .map(|(b, share)| f64::from(*share) * values[[k, b, n]]);
                        potential += parts.sum::<f64>();
                    }
                    potential += p.noise[n] * p.normals[[k, now, n]];
                    if let (Some(drive), Some(values)) = (&self.run.drive, &p.drive) {
                        potential += values[[drive.index[k], t, n]];
                    }
                    let x = (potential - p.threshold[n]) / p.scale[n];
                    let spike = self.z0[[k, t, n]] + self.psi0[[k, t, n]] * (x - self.x0[[k, t, n]]);
                    z[[n_past + t, n]] = spike;
                    v[n] = potential - p.reset[n] * spike;
                    all_x[[k, t, n]] = x;
                }
            }
        }
        all_x
    }

    fn loss(&self, p: &Values, a: &Array3<f64>, b: &Array3<f64>) -> f64 {
        let x = self.scaled_potentials(p);
        let z = &self.z0 + &(&self.psi0 * &(&x - &self.x0));
        let probability = x.mapv(|x| p.p_scale / (1.0 + (-p.temperature * x).exp()));
        (a * &z).sum() + (b * &probability).sum()
    }
}

const SURROGATES: [Surrogate; 2] = [Surrogate::Sigmoid { gamma: 0.3 }, Surrogate::Triangle { gamma: 0.6 }];

#[test]
fn the_sampled_reference_agrees_with_central_differences_of_the_linearised_network() {
    for (seed, surrogate) in [11, 12].into_iter().zip(SURROGATES) {
        let case = small(surrogate, seed);
        let values = Values::of(&case.network, &case.run).unwrap();
        let (a, b) = adjoints(&case);
        let engine = Reference {
            precision: Precision::F64,
            ..Reference::default()
        };
        let rollout: Rollout64 = engine.simulate_values(&case.network, &case.run, &values).unwrap();
        assert!(rollout.spikes.sum() > 5.0, "no spikes, nothing is tested");
        let g = engine
            .backpropagate_values(&case.network, &case.run, &values, &rollout, &a, Some(&b))
            .unwrap();
        let linearised = Linearised::around(&case, &values, rollout.spikes, rollout.start);
        check(&g, &values, 1, LINEARISED_F64, |values| linearised.loss(values, &a, &b));
    }
}

#[test]
fn native_agrees_with_central_differences_of_the_linearised_network() {
    for (seed, surrogate) in [21, 22, 23, 24].into_iter().zip(SURROGATES.into_iter().cycle()) {
        let mut case = small(surrogate, seed);
        if seed > 22 {
            // With a warm-up: the stored state at its end is a constant, its spikes are the history.
            let plan = Plan {
                n: 7,
                k: 3,
                t: 12,
                n_warmup: 6,
                delays: vec![2, 1, 5],
                n_refractory: 1,
                surrogate,
                surrogate_floor: 0.0,
                is_philox: false,
                has_d_probabilities: true,
                excitability: 0.0,
            };
            case = random_case(&plan, seed);
        }
        let rollout = (NATIVE.simulate)(&case.network, &case.run, true).unwrap();
        assert!(rollout.spikes.count() > 5, "no spikes, nothing is tested");
        let z0 = rollout.spikes.to_array().mapv(f64::from);
        let start = State64 {
            v: wide(&rollout.start.v),
            refractory: rollout.start.refractory.clone(),
            history: rollout.start.history.to_array().mapv(f64::from),
        };
        let mut values = Values::of(&case.network, &case.run).unwrap();
        values.initial = start.clone();
        let (a, b) = adjoints(&case);
        let d_probabilities = case.d_probabilities.as_ref();
        let g = (NATIVE.backpropagate)(&case.network, &case.run, rollout, &case.adjoint, d_probabilities, ALL).unwrap();
        let g = Gradients64 {
            w: wide(&g.w),
            w_in: wide(&g.w_in),
            bias: wide(&g.bias),
            threshold: wide(&g.threshold),
            reset: wide(&g.reset),
            gain: wide(&g.gain),
            noise: wide(&g.noise.unwrap()),
            trial_offset: g.trial_offset.as_ref().map(wide),
            drive: g.drive.as_ref().map(wide),
            history: wide(&g.history.unwrap()),
        };
        let linearised = Linearised::around(&case, &values, z0, start);
        check(&g, &values, 1, LINEARISED_F32, |values| linearised.loss(values, &a, &b));
    }
}

#[test]
fn gradients_not_asked_for_are_not_returned_and_the_others_do_not_change() {
    let case = small(SURROGATES[0], 31);
    for engine in crate::networks::engines() {
        let rollout = (engine.simulate)(&case.network, &case.run, true).unwrap();
        let of = |wanted| {
            (engine.backpropagate)(&case.network, &case.run, rollout.clone(), &case.adjoint, None, wanted).unwrap()
        };
        let (all, few) = (of(ALL), of(Wanted::default()));
        assert!(few.noise.is_none() && few.trial_offset.is_none() && few.drive.is_none() && few.history.is_none());
        assert_eq!(
            (all.w, all.bias, all.reset),
            (few.w, few.bias, few.reset),
            "{}",
            engine.name
        );
    }
}
