//! Perturbed trials against networks that are made by hand, and what a perturbation leaves alone.

use super::*;
use crate::CoreError;
use crate::bits::SpikeBits;
use crate::models::Parameters;
use crate::models::rsnn::simulate;
use crate::rollout::native;
use ndarray::{Array3, Axis, s};
use std::collections::BTreeSet;
use std::ops::Range;

const N: usize = 10;
const WINDOW: Range<usize> = 8..17;

fn full_spec() -> RsnnSpec {
    RsnnSpec {
        latent: Some(latent(LatentKind::Mlp, false)),
        behaviour: Some(readout(Link::Log)),
        ..small_spec()
    }
}

/// Both kinds of input, with latent and readout.
fn models() -> [Rsnn; 2] {
    let recorded = RsnnSpec {
        latent: Some(latent_with_knots(LatentKind::Linear, true)),
        behaviour: Some(readout(Link::Linear)),
        ..recorded_spec()
    };
    [full_spec(), recorded].map(|spec| lively(Rsnn::new(spec, 2).unwrap()))
}

/// Stronger synapses, so that every spike matters.
fn lively(mut model: Rsnn) -> Rsnn {
    for name in ["w", "w_in"] {
        model.parameters.get_mut(name).unwrap().mapv_inplace(|w| 4.0 * w);
    }
    model
}

fn perturbation(neurons: &[usize], window: Range<usize>, effect: Effect) -> Perturbation {
    Perturbation {
        neurons: neurons.iter().copied().collect(),
        window,
        effect,
    }
}

fn silence(neurons: &[usize], window: Range<usize>, silenced: Silenced) -> Perturbation {
    perturbation(neurons, window, Effect::Silence(silenced))
}

fn activate(neurons: &[usize], window: Range<usize>, strength: f64) -> Perturbation {
    perturbation(neurons, window, Effect::Activate { strength })
}

type Seen = (Array3<u8>, Option<Array3<f64>>);

fn plain(model: &Rsnn, engine: &Engine) -> Seen {
    let simulation = model.simulate(engine, &trials(0, 7), N_STEPS, draws(5), false).unwrap();
    (simulation.rollout.spikes().unwrap().to_array(), simulation.behaviour)
}

fn perturbed(model: &Rsnn, engine: &Engine, perturbations: &[Perturbation]) -> Seen {
    let simulated = model
        .simulate_perturbed(engine, &trials(0, 7), N_STEPS, draws(5), perturbations)
        .unwrap();
    (simulated.spikes.to_array(), simulated.behaviour)
}

/// Native, reference and, where there is an adapter, kernels.
fn engines() -> Vec<Engine> {
    let mut engines = vec![Engine::Native, Engine::Reference];
    #[cfg(feature = "wgpu")]
    if let Some(kernels) = promises::kernels() {
        engines.push(kernels);
    }
    engines
}

fn parameter(model: &mut Rsnn, name: &str, change: impl FnOnce(&mut ndarray::ArrayD<f32>)) {
    change(model.parameters.get_mut(name).unwrap());
}

#[test]
fn a_trial_in_segments_is_the_trial_bit_by_bit() {
    for model in models() {
        for engine in engines() {
            let whole = plain(&model, &engine);
            assert!(whole.0.iter().any(|z| *z > 0));
            // No cut but the end of the warm-up, and two cuts: a drive of nothing changes nothing.
            assert_eq!(perturbed(&model, &engine, &[]), whole, "{engine:?}");
            assert_eq!(
                perturbed(&model, &engine, &[activate(&[3], WINDOW, 0.0)]),
                whole,
                "{engine:?}"
            );
        }
    }
    let spec = RsnnSpec {
        behaviour: Some(closed_loop()),
        ..full_spec()
    };
    let model = lively(Rsnn::new(spec, 2).unwrap());
    let whole = plain(&model, &Engine::Native);
    let cut = [activate(&[3], WINDOW, 0.0)];
    assert_eq!(perturbed(&model, &Engine::Native, &cut), whole, "closed loop");
}

#[test]
fn segments_of_a_run_keep_its_potentials_warm_up_and_states() {
    for model in models() {
        let simulate::Prepared { network, mut run, .. } = model.prepare(&trials(0, 4), N_STEPS, draws(3)).unwrap();
        // Also with clamped spikes, which the model never has.
        let spikes = Array3::from_shape_fn((4, N_STEPS, N), |(k, t, n)| u8::from((k + 2 * t + 3 * n) % 7 == 0));
        run.clamp = Some(crate::rollout::Clamp {
            spikes: SpikeBits::from_array(spikes.view()),
            until: ndarray::Array2::from_shape_fn((4, N), |(k, n)| (3 * k + n) as u32),
        });
        let whole = native::simulate(&network, &run, true).unwrap();
        let w = run.n_warmup;
        let mut state = run.initial.clone();
        for steps in [0..4, 4..w, w..w + 1, w + 1..w + 13, w + 13..w + N_STEPS] {
            let segment = run.segment(steps.clone(), state).unwrap();
            let part = native::simulate(&network, &segment, true).unwrap();
            if steps.start < w {
                assert_eq!(part.spikes, whole.warmup.of_steps(steps.clone()));
            } else {
                let recorded = steps.start - w..steps.end - w;
                assert_eq!(part.spikes, whole.spikes.of_steps(recorded.clone()));
                let potentials = whole.potentials.as_ref().unwrap();
                assert_eq!(part.potentials.unwrap(), potentials.slice(s![.., recorded, ..]));
            }
            if steps.end == w {
                assert_eq!(part.end, whole.start);
            }
            state = part.end;
        }
        assert_eq!(state, whole.end);
        for bad in [w - 1..w + 1, w..w + N_STEPS + 1] {
            assert!(matches!(
                run.segment(bad, whole.end.clone()),
                Err(CoreError::Range { .. })
            ));
        }
    }
}

#[test]
fn nothing_changes_before_the_window_and_something_within() {
    for model in models() {
        for perturbation in [
            silence(&[0, 1, 4, 8], WINDOW, Silenced::Both),
            silence(&[0, 1, 2, 3, 4, 5, 6], WINDOW, Silenced::Outgoing),
            silence(&[0, 1, 4], WINDOW, Silenced::Incoming),
            activate(&[2, 7], WINDOW, 1.5),
            activate(&[0, 1, 2, 3, 4, 5, 6, 7], WINDOW, -5.0),
        ] {
            for engine in engines() {
                let (before, after) = (
                    plain(&model, &engine),
                    perturbed(&model, &engine, std::slice::from_ref(&perturbation)),
                );
                let start = |seen: &Seen| {
                    let behaviour = seen.1.as_ref().unwrap().slice(s![.., ..WINDOW.start, ..]).to_owned();
                    (seen.0.slice(s![.., ..WINDOW.start, ..]).to_owned(), behaviour)
                };
                assert_eq!(start(&before), start(&after), "{perturbation:?}");
                assert_ne!(before.0, after.0, "{perturbation:?} changes nothing");
            }
        }
    }
}

#[cfg(feature = "wgpu")]
#[test]
fn kernels_give_the_perturbed_spikes_of_the_processor() {
    let Some(kernels) = promises::kernels() else { return };
    for model in models() {
        let perturbations = [
            silence(&[1, 8], WINDOW, Silenced::Both),
            activate(&[0, 5], 3..12, 0.8),
            silence(&[2], 0..4, Silenced::Outgoing),
        ];
        let (a, b) = (
            perturbed(&model, &kernels, &perturbations),
            perturbed(&model, &Engine::Native, &perturbations),
        );
        assert_eq!(a.0, b.0);
        let worst = (a.1.unwrap() - b.1.unwrap())
            .mapv(f64::abs)
            .fold(0.0, |x: f64, y| x.max(*y));
        assert!(worst < 1e-5, "behaviour differs by {worst}");
    }
}

#[test]
fn silencing_what_leaves_all_neurons_is_a_network_without_recurrent_weights() {
    for mut model in models() {
        model.spec.n_warmup = 0;
        let all: Vec<usize> = (0..N).collect();
        let found = perturbed(
            &model,
            &Engine::Native,
            &[silence(&all, 0..N_STEPS, Silenced::Outgoing)],
        );
        assert_ne!(found, plain(&model, &Engine::Native));
        parameter(&mut model, "w", |w| w.fill(0.0));
        assert_eq!(found, plain(&model, &Engine::Native));
    }
}

#[test]
fn silencing_what_reaches_neurons_is_a_network_without_their_incoming_weights() {
    for mut model in models() {
        model.spec.n_warmup = 0;
        let found = perturbed(
            &model,
            &Engine::Native,
            &[silence(&[0, 6], 0..N_STEPS, Silenced::Incoming)],
        );
        assert_ne!(found, plain(&model, &Engine::Native));
        for n in [0, 6] {
            parameter(&mut model, "w", |w| w.index_axis_mut(Axis(2), n).fill(0.0));
            parameter(&mut model, "w_in", |w| w.index_axis_mut(Axis(1), n).fill(0.0));
        }
        assert_eq!(found, plain(&model, &Engine::Native));
    }
}

/// The model without its last neuron.
fn without_the_last(model: &Rsnn) -> Rsnn {
    let mut spec = model.spec.clone();
    spec.neurons.pop();
    let mut parameters = Parameters::new();
    for (name, array) in model.parameters.iter() {
        let axes: &[usize] = match name {
            "w" => &[1, 2],
            "w_in" => &[1],
            "v_rest" | "noise_gain" => &[0],
            _ => &[],
        };
        let first: Vec<usize> = (0..N - 1).collect();
        let array = axes
            .iter()
            .fold(array.clone(), |array, axis| array.select(Axis(*axis), &first));
        parameters.insert(name, array);
    }
    Rsnn::with_parameters(spec, parameters).unwrap()
}

#[test]
fn a_silenced_neuron_might_as_well_not_be_there() {
    // Philox counts neurons, so the others draw the same numbers without the last.
    let spec = RsnnSpec {
        n_warmup: 0,
        ..small_spec()
    };
    let model = lively(Rsnn::new(spec, 2).unwrap());
    let others = |seen: Seen| seen.0.slice(s![.., .., ..N - 1]).to_owned();
    let found = others(perturbed(
        &model,
        &Engine::Native,
        &[silence(&[N - 1], 0..N_STEPS, Silenced::Both)],
    ));
    assert_ne!(found, others(plain(&model, &Engine::Native)), "its spikes mattered");
    assert_eq!(found, plain(&without_the_last(&model), &Engine::Native).0);
}

#[test]
fn currents_are_removed_at_the_steps_at_which_they_arrive() {
    // Neuron 0 spikes whenever it may; neuron 1 is reached after 3 steps and never spikes.
    let spec = RsnnSpec {
        neurons: small_spec().neurons[..2].to_vec(),
        delays: vec![3],
        n_warmup: 0,
        n_refractory: 0,
        sigma: 0.0,
        input: InputSpec::None,
        temperature: 1e4,
        ..small_spec()
    };
    let mut model = Rsnn::new(spec, 2).unwrap();
    parameter(&mut model, "w", |w| {
        w.fill(0.0);
        w[[0, 0, 1]] = 0.05;
    });
    parameter(&mut model, "v_rest", |v| v.fill(0.0));
    let simulate::Prepared { network, mut run, .. } = model.prepare(&trials(0, 1), 20, draws(0)).unwrap();
    let mut offset = ndarray::Array2::zeros((1, 2));
    offset[[0, 0]] = 1.0;
    run.trial_offset = Some(crate::rollout::TrialOffset::constant(offset, 20));
    let all = silence(&[0], 0..20, Silenced::Outgoing);
    let mut state = run.initial.clone();
    let mut v = Vec::new();
    for (steps, is_silenced) in [(0..8, false), (8..14, true), (14..20, false)] {
        let segment = run.segment(steps, state).unwrap();
        let active = std::iter::once(&all).filter(|_| is_silenced);
        let (network, segment) = model
            .perturbed(active, &network, &segment)
            .unwrap_or((network.clone(), segment));
        let part = native::simulate(&network, &segment, true).unwrap();
        assert!(
            part.spikes.to_array().slice(s![0, .., 0]).iter().all(|z| *z == 1),
            "spikes of neuron 0"
        );
        v.extend(part.potentials.unwrap().slice(s![0, .., 1]).to_vec());
        state = part.end;
    }
    let alpha = (-2.0f64 / 30.0).exp();
    let mut expected = 0.0;
    for (t, found) in v.iter().enumerate() {
        // The spike of step t − 3 arrives at step t, unless t lies in the window.
        let current = if t >= 3 && !(8..14).contains(&t) { 0.05 } else { 0.0 };
        expected = alpha * expected + (1.0 - alpha) * 0.5 * current;
        assert!(
            (f64::from(*found) - expected).abs() < 1e-7,
            "step {t}: {found} for {expected}"
        );
    }
}

#[test]
fn activation_moves_the_mean_potential_of_its_neuron_alone_by_the_closed_form() {
    let spec = RsnnSpec {
        n_warmup: 0,
        sigma: 0.0,
        input: InputSpec::None,
        p_scale: 1e-12,
        ..small_spec()
    };
    let mut model = Rsnn::new(spec, 2).unwrap();
    parameter(&mut model, "w", |w| w.fill(0.0));
    let rest = model.parameters.vector("v_rest").unwrap().to_owned();
    assert!(rest.iter().any(|v| v.abs() > 0.01));
    let (chosen, strength) = (9, 0.7);
    let simulate::Prepared { network, run, .. } = model.prepare(&trials(0, 1), N_STEPS, draws(0)).unwrap();
    let perturbations = [activate(&[chosen], 0..N_STEPS, strength)];
    let (network, run) = model.perturbed(perturbations.iter(), &network, &run).unwrap();
    let rollout = native::simulate(&network, &run, true).unwrap();
    assert_eq!(rollout.spikes.count(), 0);
    // Neuron 9 is inhibitory: its time constant is 10 ms, a step 2 ms.
    let alpha = (-2.0f64 / 10.0).exp();
    let potentials = rollout.potentials.unwrap();
    for ((_, t, n), v) in potentials.indexed_iter() {
        let v_rest = f64::from(rest[n]);
        let moved = strength * (0.1 - v_rest) * (1.0 - alpha.powi(t as i32 + 1));
        let expected = if n == chosen { v_rest + moved } else { v_rest };
        assert!(
            (f64::from(*v) - expected).abs() < 1e-6,
            "step {t}, neuron {n}: {v} for {expected}"
        );
    }
}

#[test]
fn activation_adds_to_offsets_that_change_in_the_trial_by_the_closed_form() {
    let latent = LatentSpec {
        stimulus: None,
        ..latent_with_knots(LatentKind::Linear, false)
    };
    let spec = RsnnSpec {
        n_warmup: 0,
        sigma: 0.0,
        input: InputSpec::None,
        p_scale: 1e-12,
        latent: Some(latent.clone()),
        ..small_spec()
    };
    let mut model = Rsnn::new(spec, 2).unwrap();
    parameter(&mut model, "w", |w| w.fill(0.0));
    let rest = model.parameters.vector("v_rest").unwrap().to_owned();
    let theta = model.parameters.get("latent.theta").unwrap().clone();
    let simulate::Prepared {
        network,
        run,
        latent: psi,
        ..
    } = model.prepare(&trials(0, 3), N_STEPS, draws(0)).unwrap();
    let psi = psi.unwrap();
    let (chosen, strength) = ([4, 9], [0.7, -0.3]);
    let perturbations = [0, 1].map(|i| activate(&chosen[i..=i], 0..N_STEPS, strength[i]));
    let (network, run) = model.perturbed(perturbations.iter(), &network, &run).unwrap();
    let rollout = native::simulate(&network, &run, true).unwrap();
    assert_eq!(rollout.spikes.count(), 0);
    let potentials = rollout.potentials.unwrap();
    for k in 0..3 {
        for n in 0..N {
            // Inhibitory neurons have a time constant of 10 ms, others of 30 ms; a step is 2 ms.
            let is_inhibitory = model.spec.neurons[n].cell_type == CellType::Inhibitory;
            let alpha = (-2.0f64 / if is_inhibitory { 10.0 } else { 30.0 }).exp();
            let v_rest = f64::from(rest[n]);
            let at = |knot: usize| -> f64 { (0..3).map(|h| psi[[k, h]] * f64::from(theta[[knot, h, n]])).sum() };
            let mut expected = v_rest;
            for t in 0..N_STEPS {
                let (time, knots) = (t as f64, &latent.knots);
                let next = knots.iter().position(|knot| time < *knot).unwrap_or(knots.len());
                let offset = if next == knots.len() {
                    at(next - 1)
                } else {
                    let later = (time - knots[next - 1]) / (knots[next] - knots[next - 1]);
                    (1.0 - later) * at(next - 1) + later * at(next)
                };
                let moved: f64 = (0..2)
                    .filter(|i| chosen[*i] == n)
                    .map(|i| strength[i] * (0.1 - v_rest))
                    .sum();
                expected = alpha * expected + (1.0 - alpha) * (v_rest + offset + moved);
                let found = f64::from(potentials[[k, t, n]]);
                assert!(
                    (found - expected).abs() < 2e-6,
                    "trial {k}, step {t}, neuron {n}: {found} for {expected}"
                );
            }
        }
    }
}

#[test]
fn activating_a_neuron_without_connections_changes_its_spikes_alone() {
    let mut model = Rsnn::new(small_spec(), 2).unwrap();
    parameter(&mut model, "w", |w| w.fill(0.0));
    let (before, after) = (
        plain(&model, &Engine::Native).0,
        perturbed(&model, &Engine::Native, &[activate(&[4], WINDOW, 3.0)]).0,
    );
    for n in 0..N {
        let of = |seen: &Array3<u8>| seen.slice(s![.., .., n]).to_owned();
        assert_eq!(of(&before) == of(&after), n != 4, "neuron {n}");
    }
    let count = |seen: &Array3<u8>| seen.slice(s![.., WINDOW, 4]).iter().map(|z| u32::from(*z)).sum::<u32>();
    assert!(count(&after) > count(&before));
}

#[test]
fn perturbations_that_cannot_be_are_refused() {
    let model = Rsnn::new(small_spec(), 2).unwrap();
    let strength = |strength| Effect::Activate { strength };
    for bad in [
        perturbation(&[], WINDOW, strength(1.0)),
        perturbation(&[N], WINDOW, strength(1.0)),
        perturbation(&[0], 5..5, strength(1.0)),
        perturbation(&[0], 5..N_STEPS + 1, strength(1.0)),
        perturbation(&[0], WINDOW, strength(f64::NAN)),
        perturbation(&[0], WINDOW, strength(f64::INFINITY)),
    ] {
        let found = model.simulate_perturbed(
            &Engine::Native,
            &trials(0, 2),
            N_STEPS,
            draws(0),
            std::slice::from_ref(&bad),
        );
        assert!(
            matches!(found, Err(CoreError::Range { .. } | CoreError::Population { .. })),
            "{bad:?}"
        );
    }
}

#[test]
fn light_reaches_a_share_of_the_inhibitory_neurons_that_the_seed_fixes() {
    let neurons = population_layout(5000, 2, 0.2).unwrap();
    let lit = |share, seed| light_sensitive(&neurons, share, seed).unwrap();
    let half = lit(0.51, 7);
    assert!(half.iter().all(|&n| neurons[n].cell_type == CellType::Inhibitory));
    // 4000 draws: three standard deviations are 0.024; the seed is fixed, so this holds or it doesn't.
    let share = half.len() as f64 / 4000.0;
    assert!((share - 0.51).abs() < 0.024, "{share}");
    assert_eq!(half, lit(0.51, 7));
    assert_ne!(half, lit(0.51, 8));
    assert!(lit(0.3, 7).is_subset(&half) && half.is_subset(&lit(0.8, 7)));
    assert_eq!((lit(1.0, 7).len(), lit(0.0, 7)), (4000, BTreeSet::new()));
    for bad in [-0.1, 1.1, f64::NAN] {
        assert!(light_sensitive(&neurons, bad, 7).is_err());
    }
}
