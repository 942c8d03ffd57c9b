//! Both engines are one function: spikes, states and gradients agree, whatever the chunking, order or threads.

use crate::networks::{
    ALL, Case, Engine, KERNELS, NATIVE, Plan, REFERENCE, assert_relative, engines, named, open_kernels, random_case,
    wide,
};
use ndarray::{Array3, Axis, concatenate, s};
use snn_core::bits::SpikeBits;
use snn_core::rollout::native;
use snn_core::rollout::reference::{Precision, Reference, Values};
use snn_core::rollout::{
    Channel, Clamp, Drive, Gradients, InputEvents, Network, Noise, Rollout, Run, SegmentAdjoint, SpikeAdjoint, State,
    TrialOffset,
};

/// Relative to the largest entry of the gradient; both engines sum in f32, in different orders.
const GRADIENT: f64 = 1e-5;
/// A spike may differ where |u − p| is below this (rounding of p in f32), and only from there on in its trial.
const TIE: f64 = 1e-5;
const N_CASES: usize = 36;

fn simulate(engine: &Engine, case: &Case) -> Rollout {
    (engine.simulate)(&case.network, &case.run, true).unwrap()
}

fn gradients(engine: &Engine, case: &Case, rollout: Rollout) -> Gradients {
    let d_probabilities = case.d_probabilities.as_ref();
    (engine.backpropagate)(&case.network, &case.run, rollout, &case.adjoint, d_probabilities, ALL).unwrap()
}

/// True when the first step at which each trial's spikes differ is a draw within [`TIE`] of its
/// probability, by the reference in f64.
fn is_tie(case: &Case, a: &Rollout, b: &Rollout) -> bool {
    let values = Values::of(&case.network, &case.run).unwrap();
    let exact = Reference {
        precision: Precision::F64,
        ..Reference::default()
    };
    let truth = exact.simulate_values(&case.network, &case.run, &values).unwrap();
    let (x, y) = (a.spikes.to_array(), b.spikes.to_array());
    (0..case.run.n_trials).all(|k| {
        let start = |r: &Rollout| (r.start.history.row(k, 0).to_vec(), r.start.refractory.row(k).to_vec());
        if start(a) != start(b) {
            return false; // in the warm-up, where no probability is at hand: let it be looked at
        }
        let first = (0..case.run.n_steps).find(|t| x.slice(s![k, *t, ..]) != y.slice(s![k, *t, ..]));
        first.is_none_or(|t| {
            (0..case.network.n_neurons())
                .filter(|n| x[[k, t, *n]] != y[[k, t, *n]])
                .all(|n| {
                    let u = values.uniforms[[k, case.run.n_warmup + t, n]];
                    (u - truth.probabilities[[k, t, n]]).abs() < TIE
                })
        })
    })
}

#[test]
fn native_is_the_reference_on_random_networks() {
    is_the_reference_on_random_networks(&NATIVE);
}

#[test]
fn kernels_are_the_reference_on_random_networks() {
    if engines().iter().any(|engine| engine.name == "kernels") {
        is_the_reference_on_random_networks(&KERNELS);
    }
}

#[allow(clippy::print_stdout)] // how dense and how close, for whoever changes an engine
fn is_the_reference_on_random_networks(engine: &Engine) {
    let (mut ties, mut worst) = (0, 0.0f64);
    let mut densities = Vec::new();
    for i in 0..N_CASES {
        let plan = Plan::numbered(i);
        let mut seed = 1000 + i as u64;
        let (case, a, b) = loop {
            let case = random_case(&plan, seed);
            let (a, b) = (simulate(engine, &case), simulate(&REFERENCE, &case));
            if a.spikes == b.spikes && a.start.history == b.start.history {
                break (case, a, b);
            }
            assert!(
                is_tie(&case, &a, &b),
                "spikes differ without a tie, plan {i}, seed {seed}: {plan:?}"
            );
            ties += 1;
            seed += 10_000;
        };
        let density = a.spikes.count() as f64 / (plan.k * plan.t * plan.n) as f64;
        assert!(
            (0.01..=0.20).contains(&density),
            "density {density} of plan {i}: {plan:?}"
        );
        densities.push(density);
        assert_same_state(&a, &b);
        let (a, b) = (gradients(engine, &case, a), gradients(&REFERENCE, &case, b));
        for ((name, a), (_, b)) in named(&a).iter().zip(&named(&b)) {
            assert!(
                b.iter().filter(|g| **g != 0.0).count() * 10 >= b.len(),
                "dL/d{name} of plan {i} is mostly zero"
            );
            worst = worst.max(assert_relative(&format!("dL/d{name}, plan {i}"), a, b, GRADIENT));
        }
    }
    assert!(
        ties <= 3,
        "{ties} ties in {N_CASES} networks: more than rounding explains"
    );
    let (low, high) = densities
        .iter()
        .fold((1.0f64, 0.0f64), |(l, h), d| (l.min(*d), h.max(*d)));
    println!(
        "{}: {N_CASES} networks, density {low:.3} to {high:.3}, {ties} ties, worst relative error {worst:e}",
        engine.name
    );
}

fn assert_same_state(a: &Rollout, b: &Rollout) {
    assert_eq!(a.refractory, b.refractory, "refractory marks");
    assert_eq!(a.warmup, b.warmup, "spikes of the warm-up");
    let (v, w) = (
        wide(a.potentials.as_ref().unwrap()),
        wide(b.potentials.as_ref().unwrap()),
    );
    assert_relative("v⁻", &v, &w, 5e-6);
    for (a, b) in [(&a.start, &b.start), (&a.end, &b.end)] {
        assert_eq!(a.history, b.history);
        assert_eq!(a.refractory, b.refractory);
        assert_relative("v", &wide(&a.v), &wide(&b.v), 5e-6);
    }
}

#[test]
fn native_is_the_reference_in_double_precision_given_its_spikes() {
    for i in [0, 1, 4, 7] {
        let mut case = random_case(&Plan::numbered(i), 50 + i as u64);
        let rollout = simulate(&NATIVE, &case);
        // One dense adjoint and no other part: the same numbers enter both.
        let Some(dense) = case.adjoint.dense.take() else {
            unreachable!("random cases have one")
        };
        case.adjoint = SpikeAdjoint {
            dense: Some(dense),
            ..SpikeAdjoint::default()
        };
        let exact = Reference {
            precision: Precision::F64,
            ..Reference::default()
        };
        let d_probabilities = case.d_probabilities.as_ref();
        let b = exact
            .backpropagate(&case.network, &case.run, &rollout, &case.adjoint, d_probabilities, ALL)
            .unwrap();
        let a = gradients(&NATIVE, &case, rollout);
        for ((name, a), (_, b)) in named(&a).iter().zip(&named(&b)) {
            assert_relative(&format!("dL/d{name}, plan {i}"), a, b, GRADIENT);
        }
    }
}

/// Trials `from..to` of a case with Philox noise.
fn chunk(case: &Case, from: usize, to: usize) -> Run {
    let run = &case.run;
    let Noise::Philox {
        key,
        step,
        first_trial,
        first_time,
    } = run.noise
    else {
        panic!("chunks need Philox noise")
    };
    let pick = |a: &SpikeBits| SpikeBits::from_array(a.to_array().slice(s![from..to, .., ..]));
    let events = run.events.as_ref().unwrap();
    let clamp = run.clamp.as_ref().unwrap();
    let drive = run.drive.as_ref().unwrap();
    Run {
        n_trials: to - from,
        events: Some(InputEvents::build(
            events.n_inputs(),
            to - from,
            events.n_steps(),
            |k, t, list| {
                list.extend_from_slice(events.at(from + k, t));
            },
        )),
        drive: Some(Drive {
            values: drive.values.clone(),
            index: drive.index[from..to].to_vec(),
        }),
        trial_offset: run.trial_offset.as_ref().map(|offset| TrialOffset {
            values: offset.values.slice(s![from..to, .., ..]).to_owned(),
            course: offset.course.clone(),
        }),
        noise: Noise::Philox {
            key,
            step,
            first_trial: first_trial + from as u32,
            first_time,
        },
        clamp: Some(Clamp {
            spikes: pick(&clamp.spikes),
            until: clamp.until.slice(s![from..to, ..]).to_owned(),
        }),
        initial: State {
            v: run.initial.v.slice(s![from..to, ..]).to_owned(),
            refractory: run.initial.refractory.slice(s![from..to, ..]).to_owned(),
            history: pick(&run.initial.history),
            feedback: None,
        },
        ..run.clone()
    }
}

#[test]
fn chunks_of_trials_give_the_bits_of_the_whole() {
    let plan = Plan {
        k: 19,
        is_philox: true,
        n_warmup: 6,
        ..Plan::numbered(5)
    };
    let case = random_case(&plan, 9);
    for engine in engines() {
        let whole = simulate(engine, &case);
        let parts: Vec<Rollout> = [(0, 1), (1, 12), (12, 19)]
            .map(|(from, to)| (engine.simulate)(&case.network, &chunk(&case, from, to), true).unwrap())
            .into();
        let views: Vec<Array3<u8>> = parts.iter().map(|part| part.spikes.to_array()).collect();
        let views: Vec<_> = views.iter().map(|a| a.view()).collect();
        assert_eq!(
            concatenate(Axis(0), &views).unwrap(),
            whole.spikes.to_array(),
            "{}",
            engine.name
        );
        let views: Vec<_> = parts
            .iter()
            .map(|part| part.potentials.as_ref().unwrap().view())
            .collect();
        let potentials = concatenate(Axis(0), &views).unwrap();
        if engine.name == "reference" {
            // burn's matrix product may sum in another order for another number of rows.
            assert_relative(
                "v⁻",
                &wide(&potentials),
                &wide(whole.potentials.as_ref().unwrap()),
                1e-6,
            );
        } else {
            assert_eq!(
                &potentials,
                whole.potentials.as_ref().unwrap(),
                "bits of the potentials"
            );
        }
    }
}

/// The case with neuron `order[i]` in place i.
fn permuted(case: &Case, order: &[usize]) -> Case {
    let n1 = |a: &ndarray::Array1<f32>| a.select(Axis(0), order);
    let bits = |a: &SpikeBits| SpikeBits::from_array(a.to_array().select(Axis(2), order).view());
    let mut place = vec![0u32; order.len()];
    for (new, old) in order.iter().enumerate() {
        place[*old] = new as u32;
    }
    let (network, run) = (&case.network, &case.run);
    let noise = match &run.noise {
        Noise::Given { normals, uniforms } => Noise::Given {
            normals: normals.select(Axis(2), order),
            uniforms: uniforms.select(Axis(2), order),
        },
        Noise::Philox { .. } => panic!("Philox counts neurons: permuting them changes the noise"),
    };
    let drive = run.drive.as_ref().unwrap();
    let clamp = run.clamp.as_ref().unwrap();
    let (shared, condition) = case.adjoint.shared.clone().unwrap();
    let (channels, series) = case.adjoint.channels.clone().unwrap();
    let channels = channels
        .into_iter()
        .map(|channel| {
            let mut members: Vec<_> = channel
                .members
                .iter()
                .map(|(n, weight)| (place[*n as usize], *weight))
                .collect();
            members.sort_by_key(|(n, _)| *n);
            Channel { members }
        })
        .collect();
    Case {
        network: Network {
            w: network
                .w
                .select(Axis(1), order)
                .select(Axis(2), order)
                .as_standard_layout()
                .into_owned(),
            w_in: network.w_in.select(Axis(1), order).as_standard_layout().into_owned(),
            alpha: n1(&network.alpha),
            gain: n1(&network.gain),
            bias: n1(&network.bias),
            noise: n1(&network.noise),
            threshold: n1(&network.threshold),
            scale: n1(&network.scale),
            reset: n1(&network.reset),
            ..network.clone()
        },
        run: Run {
            drive: Some(Drive {
                values: drive.values.select(Axis(2), order),
                index: drive.index.clone(),
            }),
            trial_offset: run.trial_offset.as_ref().map(|offset| TrialOffset {
                values: offset.values.select(Axis(2), order),
                course: offset.course.clone(),
            }),
            noise,
            clamp: Some(Clamp {
                spikes: bits(&clamp.spikes),
                until: clamp.until.select(Axis(1), order),
            }),
            initial: State {
                v: run.initial.v.select(Axis(1), order),
                refractory: run.initial.refractory.select(Axis(1), order),
                history: bits(&run.initial.history),
                feedback: None,
            },
            ..run.clone()
        },
        adjoint: SpikeAdjoint {
            shared: Some((shared.select(Axis(2), order), condition)),
            valid: case.adjoint.valid.clone(),
            channels: Some((channels, series)),
            segments: case
                .adjoint
                .segments
                .iter()
                .map(|part| SegmentAdjoint {
                    values: part.values.select(Axis(2), order),
                    ..part.clone()
                })
                .collect(),
            dense: case.adjoint.dense.as_ref().map(|d| d.select(Axis(2), order)),
        },
        d_probabilities: case.d_probabilities.as_ref().map(|d| d.select(Axis(2), order)),
    }
}

#[test]
fn permuting_the_neurons_permutes_the_results() {
    let plan = Plan {
        is_philox: false,
        n_warmup: 5,
        ..Plan::numbered(2)
    };
    let case = random_case(&plan, 21);
    let order: Vec<usize> = (0..plan.n).map(|i| (i * 17 + 5) % plan.n).collect();
    let other = permuted(&case, &order);
    for engine in engines() {
        let (a, b) = (simulate(engine, &case), simulate(engine, &other));
        assert_eq!(
            a.spikes.to_array().select(Axis(2), &order),
            b.spikes.to_array(),
            "{}",
            engine.name
        );
        let (a, b) = (gradients(engine, &case, a), gradients(engine, &other, b));
        let w = a.w.select(Axis(1), &order).select(Axis(2), &order);
        assert_relative("dL/dw", &wide(&b.w), &wide(&w), GRADIENT);
        assert_relative(
            "dL/dbias",
            &wide(&b.bias),
            &wide(&a.bias.select(Axis(0), &order)),
            GRADIENT,
        );
        let history = |g: &Gradients| wide(g.history.as_ref().unwrap());
        assert_relative(
            "dL/dhistory",
            &history(&b),
            &history(&a).select(Axis(2), &order),
            GRADIENT,
        );
    }
}

#[test]
fn the_order_in_memory_of_the_arrays_does_not_matter() {
    let case = random_case(&Plan::numbered(1), 61);
    let mut other = random_case(&Plan::numbered(1), 61);
    // The same numbers with neurons as rows, as an array turned from [post, pre] has them.
    other.network.w = case
        .network
        .w
        .clone()
        .permuted_axes([0, 2, 1])
        .as_standard_layout()
        .into_owned();
    other.network.w = other.network.w.permuted_axes([0, 2, 1]);
    other.network.w_in = case.network.w_in.t().as_standard_layout().into_owned().reversed_axes();
    assert!(!other.network.w.is_standard_layout() && other.network.w == case.network.w);
    for engine in engines() {
        let (a, b) = (simulate(engine, &case), simulate(engine, &other));
        assert_eq!(a.spikes, b.spikes, "{}", engine.name);
        assert_eq!(
            named(&gradients(engine, &case, a)),
            named(&gradients(engine, &other, b)),
            "{}",
            engine.name
        );
    }
}

/// Architecture §2.4: with the same spikes, probabilities agree, and so do all draws that aren't between them.
#[test]
#[allow(clippy::print_stdout)] // how close, and how many draws tie
fn probabilities_on_the_device_are_those_of_the_processor_given_its_spikes() {
    if engines().len() < 3 {
        return; // said there
    }
    let (mut worst, mut n_ties, mut n_draws) = (0.0f64, 0, 0);
    for i in 0..12 {
        let plan = Plan {
            n_warmup: 0,
            ..Plan::numbered(i)
        };
        let mut case = random_case(&plan, 900 + i as u64);
        let free = simulate(&NATIVE, &case);
        case.run.clamp = Some(Clamp {
            spikes: free.spikes.clone(),
            until: ndarray::Array2::from_elem((plan.k, plan.n), plan.t as u32),
        });
        let (cpu, device) = (simulate(&NATIVE, &case), simulate(&KERNELS, &case));
        assert_eq!(cpu.spikes, free.spikes);
        assert_eq!(device.spikes, free.spikes);
        let uniforms = Values::of(&case.network, &case.run).unwrap().uniforms;
        let network = &case.network;
        let probability = |v: f32, n: usize| {
            let x = (f64::from(v) - f64::from(network.threshold[n])) / f64::from(network.scale[n]);
            f64::from(network.p_scale) / (1.0 + (-f64::from(network.temperature) * x).exp())
        };
        let potentials = (cpu.potentials.unwrap(), device.potentials.unwrap());
        for ((k, t, n), v) in potentials.0.indexed_iter() {
            let (p, q) = (probability(*v, n), probability(potentials.1[[k, t, n]], n));
            let u = uniforms[[k, t, n]];
            worst = worst.max((p - q).abs());
            n_ties += usize::from((u < p) != (u < q));
            n_draws += 1;
        }
    }
    assert!(worst <= 1e-5, "{worst:e}");
    println!("{n_draws} draws, {n_ties} ties, largest difference of a probability {worst:e}");
    assert!(n_ties * 10_000 <= n_draws, "{n_ties} ties in {n_draws} draws");
}

#[test]
fn the_spikes_of_the_warm_up_precede_those_of_the_trial() {
    let plan = Plan {
        n_warmup: 9,
        ..Plan::numbered(3)
    };
    let case = random_case(&plan, 77);
    let h = case.network.max_delay();
    assert!(h < 9, "{h}");
    for engine in engines() {
        let rollout = simulate(engine, &case);
        let (warmup, history) = (rollout.warmup.to_array(), rollout.start.history.to_array());
        assert_eq!(warmup.slice(s![.., 9 - h.., ..]), history, "{}", engine.name);
        assert!(rollout.warmup.count() > 0);
    }
}

#[test]
fn statistics_on_the_device_are_those_of_the_spikes() {
    if engines().len() < 3 {
        return; // said there
    }
    let plan = Plan {
        n: 75,
        k: 37,
        n_warmup: 7,
        ..Plan::numbered(5)
    };
    let case = random_case(&plan, 78);
    let rolled = open_kernels().unwrap().roll(&case.network, &case.run, false).unwrap();
    let host = rolled.to_host().unwrap();
    assert!(host.spikes.count() > 100 && host.warmup.count() > 10);
    let conditions: Vec<usize> = (0..plan.k).map(|k| k * k % 5).collect();
    assert_eq!(
        rolled.sums_by_condition(&conditions, 5, None).unwrap(),
        host.spikes.sums_by_condition(&conditions, 5, None).unwrap()
    );
    let valid: Vec<usize> = (0..conditions.len()).map(|k| (k * 5) % 27).collect();
    assert_eq!(
        rolled.sums_by_condition(&conditions, 5, Some(&valid)).unwrap(),
        host.spikes.sums_by_condition(&conditions, 5, Some(&valid)).unwrap()
    );
    assert!(rolled.sums_by_condition(&conditions, 5, Some(&valid[1..])).is_err());
    assert!(rolled.sums_by_condition(&conditions, 4, None).is_err());
    // One channel is empty, and one neuron is a member of two.
    let channels = [
        vec![(0, 0.5), (31, -2.0), (74, 1.5)],
        vec![],
        vec![(32, 1.0), (74, -0.3)],
    ]
    .map(|members| Channel { members });
    assert_relative(
        "traces",
        &rolled.project(&channels).unwrap(),
        &host.spikes.project(&channels).unwrap(),
        1e-6,
    );
    assert_relative(
        "traces of the warm-up",
        &rolled.project_warmup(&channels).unwrap(),
        &host.warmup.project(&channels).unwrap(),
        1e-6,
    );
    let series = Array3::from_shape_fn((plan.k, plan.t, 3), |(k, t, r)| ((k * 5 + t * 3 + r) as f64).sin());
    let found = rolled.channel_weight_gradient(&channels, &series).unwrap();
    let expected = host.spikes.channel_weight_gradient(&channels, &series).unwrap();
    assert_eq!(expected.iter().map(Vec::len).collect::<Vec<_>>(), [3, 0, 2]);
    for (found, expected) in found.into_iter().zip(expected) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-5 * (1.0 + b.abs()), "{a} against {b}");
        }
    }
    assert!(rolled.channel_weight_gradient(&channels[1..], &series).is_err());
    let beyond = [vec![(75, 1.0)]].map(|members| Channel { members });
    assert!(rolled.project(&beyond).is_err() && rolled.project_warmup(&beyond).is_err());
}

#[test]
fn the_number_of_threads_changes_no_bit_of_native() {
    let case = random_case(
        &Plan {
            n: 203,
            k: 21,
            ..Plan::numbered(4)
        },
        31,
    );
    assert_same_with_any_number_of_threads(&NATIVE, &case);
    let int16 = Engine {
        name: "native_int16",
        simulate: native::simulate,
        backpropagate: |network, run, rollout, adjoint, d_probabilities, wanted| {
            let precision = native::Precision::Int16;
            native::backpropagate_with(precision, network, run, rollout, adjoint, d_probabilities, wanted)
        },
    };
    assert_same_with_any_number_of_threads(&int16, &case);
    let mut chosen = random_case(
        &Plan {
            n: 203,
            k: 21,
            ..Plan::numbered(4)
        },
        31,
    );
    // From 0.02 on, entries of the product are chosen.
    chosen.network.surrogate_floor = 0.05;
    assert_same_with_any_number_of_threads(&NATIVE, &chosen);
}

fn assert_same_with_any_number_of_threads(engine: &Engine, case: &Case) {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let rollout = simulate(engine, case);
            let bits: Vec<u32> = rollout
                .potentials
                .as_ref()
                .unwrap()
                .iter()
                .map(|v| v.to_bits())
                .collect();
            let spikes = (rollout.warmup.clone(), rollout.spikes.clone());
            (spikes, bits, named(&gradients(engine, case, rollout)))
        })
    };
    let one = with(1);
    for threads in [2, 5] {
        assert_eq!(one, with(threads), "{}, {threads} threads", engine.name);
    }
}

#[test]
fn neurons_held_to_recorded_spikes_show_them_and_the_others_hear_them() {
    let plan = Plan::numbered(6);
    let mut case = random_case(&plan, 41);
    let clamp = case.run.clamp.clone().unwrap();
    for engine in engines() {
        let rollout = simulate(engine, &case);
        let mut n_held = 0;
        for ((k, n), until) in clamp.until.indexed_iter() {
            for t in 0..plan.t.min(*until as usize) {
                assert_eq!(
                    rollout.spikes.get(k, t, n),
                    clamp.spikes.get(k, t, n),
                    "{} at {k}, {t}, {n}",
                    engine.name
                );
                n_held += 1;
            }
        }
        assert!(
            n_held > plan.k * plan.t * plan.n / 10,
            "too little is clamped for a test: {n_held}"
        );
    }
    // Silencing the recorded spikes must change the neurons that are not clamped.
    let free = |rollout: &Rollout| {
        let mut spikes = rollout.spikes.to_array();
        for ((k, n), until) in clamp.until.indexed_iter() {
            if *until > 0 {
                spikes.slice_mut(s![k, .., n]).fill(0);
            }
        }
        spikes
    };
    let before = free(&simulate(&NATIVE, &case));
    case.run.clamp = Some(Clamp {
        spikes: SpikeBits::zeros(plan.k, plan.t, plan.n),
        until: clamp.until.clone(),
    });
    assert_ne!(before, free(&simulate(&NATIVE, &case)));
}

#[test]
fn arrays_that_do_not_fit_are_refused_by_name() {
    let case = random_case(&Plan::numbered(0), 1);
    let mut short = case.network.clone();
    short.bias = ndarray::Array1::zeros(3);
    let mut run = case.run.clone();
    run.trial_offset = Some(TrialOffset::constant(ndarray::Array2::zeros((1, 1)), run.n_steps));
    let mut uneven = case.run.clone();
    let mut offset = TrialOffset::constant(
        ndarray::Array2::zeros((uneven.n_trials, case.network.n_neurons())),
        uneven.n_steps,
    );
    offset.course[[1, 0]] = 0.5;
    uneven.trial_offset = Some(offset);
    let mut adjoint = case.adjoint.clone();
    adjoint.dense = Some(Array3::zeros((1, 2, 3)));
    for engine in engines() {
        let error = (engine.simulate)(&short, &case.run, false).unwrap_err().to_string();
        assert!(
            error.contains("bias") && error.contains("[3]"),
            "{}: {error}",
            engine.name
        );
        let error = (engine.simulate)(&case.network, &run, false).unwrap_err().to_string();
        assert!(error.contains("trial offset"), "{}: {error}", engine.name);
        let error = (engine.simulate)(&case.network, &uneven, false)
            .unwrap_err()
            .to_string();
        assert!(error.contains("sum of the shares"), "{}: {error}", engine.name);
        let rollout = simulate(engine, &case);
        let error = (engine.backpropagate)(&case.network, &case.run, rollout, &adjoint, None, ALL).unwrap_err();
        assert!(error.to_string().contains("spike adjoint"), "{}: {error}", engine.name);
    }
}

/// Relative error of the gradient of the weights of one bench workload, against single precision without a floor.
fn gradient_error(precision: native::Precision, surrogate_floor: f32) -> f64 {
    let load = snnfit::bench::Workload {
        n: 150,
        k: 30,
        t: 120,
        d: 2,
        n_in: 60,
        gain: 0.3,
        reps: 1,
        seed: 3,
        trial_chunk: 30,
        surrogate_floor,
        is_noise_given: false,
    };
    let timing = snnfit::bench::measure(&load, &snnfit::bench::Native(precision), "native", "cpu", 1).unwrap();
    assert!((0.005..0.1).contains(&timing.spike_fraction));
    timing.gradient_error.unwrap()
}

#[test]
fn options_that_are_not_exact_err_as_little_as_they_say() {
    let int16 = gradient_error(native::Precision::Int16, 0.0);
    assert!((1e-7..1e-3).contains(&int16), "int16 {int16}");
    // Below the share from which on entries are chosen, and above it.
    for floor in [1e-3, 0.03] {
        let error = gradient_error(native::Precision::Single, floor);
        assert!(
            (1e-5..2.0 * f64::from(floor)).contains(&error),
            "floor {floor}: {error}"
        );
        let both = gradient_error(native::Precision::Int16, floor);
        assert!(
            (both / error - 1.0).abs() < 0.1,
            "floor {floor} with int16: {both}, without {error}"
        );
    }
}

/// Sizes that take other ways through `native`: time blocks of several steps with a partial one, a delay beyond the
/// trial, several batches of the weight gradient with a short last one, steps that threads share.
#[test]
fn native_is_the_reference_at_sizes_that_take_other_ways() {
    let plan = |n, k, t, delays: &[usize]| Plan {
        n,
        k,
        t,
        delays: delays.to_vec(),
        ..Plan::numbered(0)
    };
    let plans = [
        plan(37, 7, 31, &[3, 5]),
        plan(20, 5, 31, &[50]),
        plan(20, 9, 300, &[1, 4]),
        plan(420, 5, 12, &[1, 2]),
        plan(420, 30, 11, &[2, 3]),
    ];
    for (i, plan) in plans.iter().enumerate() {
        let case = random_case(plan, 70 + i as u64);
        let (a, b) = (simulate(&NATIVE, &case), simulate(&REFERENCE, &case));
        assert_eq!(a.spikes, b.spikes, "plan {i}; if this is a tie, take another seed");
        let (a, b) = (gradients(&NATIVE, &case, a), gradients(&REFERENCE, &case, b));
        for ((name, a), (_, b)) in named(&a).iter().zip(&named(&b)) {
            assert!(b.iter().any(|g| *g != 0.0), "dL/d{name} of plan {i}");
            assert_relative(&format!("dL/d{name}, plan {i}"), a, b, GRADIENT);
        }
    }
}
