//! What the model promises: chunks, seeds, structure, errors.

use super::*;
use crate::CoreError;
use crate::adamw::{AdamW, AdamWConfig};
use crate::bits::SpikeBits;
use crate::models::rsnn::readout::Readout;
use crate::rollout::{SpikeAdjoint, State};
use ndarray::{Array2, Array3, ArrayD, Axis, concatenate};

fn full_spec() -> RsnnSpec {
    RsnnSpec {
        latent: Some(latent_with_knots(LatentKind::Mlp, false)),
        behaviour: Some(readout(Link::Log)),
        ..small_spec()
    }
}

#[test]
fn chunks_of_trials_give_the_spikes_behaviour_and_summed_gradients_of_all_trials() {
    for spec in [
        full_spec(),
        RsnnSpec {
            latent: Some(latent(LatentKind::Linear, false)),
            ..recorded_spec()
        },
        RsnnSpec {
            behaviour: Some(closed_loop()),
            ..full_spec()
        },
    ] {
        let model = Rsnn::new(spec, 2).unwrap();
        let d_spikes = |from: usize, to: usize| {
            Array3::from_shape_fn((to - from, N_STEPS, 10), |(k, t, n)| {
                ((from + k) as f32 + t as f32 * 0.7 + n as f32).sin()
            })
        };
        let run = |from: usize, to: usize| {
            let simulation = model
                .simulate(&Engine::Native, &trials(from, to), N_STEPS, draws(from as u32), true)
                .unwrap();
            let seen = (
                simulation.rollout.host().unwrap().spikes.to_array(),
                simulation.behaviour.clone(),
                simulation.latent.clone().unwrap(),
            );
            let d_behaviour = seen.1.as_ref().map(|b| b.mapv(|y| 0.3 * y));
            let adjoint = SpikeAdjoint {
                dense: Some(d_spikes(from, to)),
                ..SpikeAdjoint::default()
            };
            (
                seen,
                model
                    .backward(&Engine::Native, simulation, adjoint, d_behaviour.as_ref())
                    .unwrap(),
            )
        };
        let ((spikes, behaviour, psi), whole) = run(0, 7);
        let (parts, mut gradients): (Vec<_>, Vec<_>) = [(0, 3), (3, 4), (4, 7)]
            .into_iter()
            .map(|(from, to)| run(from, to))
            .unzip();
        let join = |axis: Vec<_>| concatenate(Axis(0), &axis).unwrap();
        assert_eq!(join(parts.iter().map(|p| p.0.view()).collect()), spikes);
        assert_eq!(
            concatenate(Axis(0), &parts.iter().map(|p| p.2.view()).collect::<Vec<_>>()).unwrap(),
            psi
        );
        if let Some(behaviour) = behaviour {
            let parts: Vec<_> = parts.iter().filter_map(|p| p.1.as_ref().map(|b| b.view())).collect();
            assert_eq!(concatenate(Axis(0), &parts).unwrap(), behaviour);
        }
        let mut sum = gradients.remove(0);
        for g in &gradients {
            sum.add(g).unwrap();
        }
        for (name, g) in whole.iter() {
            let difference = (g - sum.get(name).unwrap())
                .mapv(f32::abs)
                .fold(0.0, |a: f32, b| a.max(*b));
            assert!(
                difference <= 1e-5 * g.fold(0.0, |a: f32, b| a.max(b.abs())),
                "{name}: {difference}"
            );
        }
    }
}

#[test]
fn gradients_do_not_depend_on_whether_potentials_were_kept() {
    let model = Rsnn::new(full_spec(), 2).unwrap();
    let gradients = |keep| {
        let simulation = model
            .simulate(&Engine::Native, &trials(0, 3), N_STEPS, draws(0), keep)
            .unwrap();
        let adjoint = SpikeAdjoint {
            dense: Some(Array3::ones((3, N_STEPS, 10))),
            ..SpikeAdjoint::default()
        };
        model.backward(&Engine::Native, simulation, adjoint, None).unwrap()
    };
    assert_eq!(gradients(true), gradients(false));
}

#[test]
fn the_engines_agree_on_the_whole_model() {
    let model = Rsnn::new(full_spec(), 2).unwrap();
    let run = |engine: &Engine| {
        let simulation = model.simulate(engine, &trials(0, 3), N_STEPS, draws(0), true).unwrap();
        let (spikes, behaviour) = (
            simulation.rollout.host().unwrap().spikes.to_array(),
            simulation.behaviour.clone().unwrap(),
        );
        let adjoint = SpikeAdjoint {
            dense: Some(Array3::ones((3, N_STEPS, 10))),
            ..SpikeAdjoint::default()
        };
        (
            spikes,
            model.backward(engine, simulation, adjoint, Some(&behaviour)).unwrap(),
        )
    };
    let ((native, native_gradients), (reference, gradients)) = (run(&Engine::Native), run(&Engine::Reference));
    assert_eq!(native, reference);
    for (name, g) in gradients.iter() {
        let difference = (g - native_gradients.get(name).unwrap())
            .mapv(f32::abs)
            .fold(0.0, |a: f32, b| a.max(*b));
        assert!(
            difference <= 1e-5 * g.fold(0.0, |a: f32, b| a.max(b.abs())),
            "{name}: {difference}"
        );
    }
}

#[test]
fn a_seed_gives_one_network_and_options_leave_the_other_parameters_alone() {
    let a = Rsnn::new(full_spec(), 5).unwrap();
    assert_eq!(a, Rsnn::new(full_spec(), 5).unwrap());
    assert_ne!(a.parameters, Rsnn::new(full_spec(), 6).unwrap().parameters);
    let plain = Rsnn::new(small_spec(), 5).unwrap();
    for (name, array) in plain.parameters.iter() {
        assert_eq!(Some(array), a.parameters.get(name), "{name}");
    }
}

#[test]
fn draws_differ_between_steps_streams_and_seeds() {
    let model = Rsnn::new(full_spec(), 5).unwrap();
    let run = |draws| {
        model
            .simulate(&Engine::Native, &trials(0, 3), N_STEPS, draws, false)
            .unwrap()
    };
    let base = run(draws(0));
    let others = [
        Draws { step: 5, ..draws(0) },
        Draws {
            stream: "test",
            ..draws(0)
        },
        Draws { seed: 12, ..draws(0) },
    ];
    for other in others.map(run) {
        assert_ne!(
            base.rollout.host().unwrap().spikes,
            other.rollout.host().unwrap().spikes
        );
        assert_ne!(base.run.events, other.run.events);
        assert_ne!(base.latent, other.latent);
    }
}

#[test]
fn the_cell_has_the_published_constants() {
    let mut model = Rsnn::new(
        RsnnSpec {
            sigma: 0.1,
            ..small_spec()
        },
        5,
    )
    .unwrap();
    let n = 10;
    let v_rest = ArrayD::from_shape_fn(vec![n], |i| 0.01 * i[0] as f32 - 0.03);
    model.parameters.insert("v_rest", v_rest);
    model.parameters.get_mut("v_rest").unwrap()[[9]] = 0.1;
    model.parameters.get_mut("noise_gain").unwrap()[[2]] = 1.5;
    let network = model.network().unwrap();
    let close = |a: f32, b: f64| assert!((f64::from(a) - b).abs() < 1e-7, "{a} against {b}");
    close(network.alpha[0], 0.935507);
    close(network.alpha[8], 0.8187308);
    close(network.gain[8], 0.5 * 0.1812692);
    close(network.bias[2], 0.064493 * -0.01);
    close(network.noise[2], 1.5 * 0.11 * 0.1 * 2f64.sqrt());
    close(network.reset[2], 0.11);
    close(network.threshold[2], 0.1);
    close(network.scale[2], 0.1);
    // Resting potential at the threshold: the threshold moves up by 0.001.
    close(network.threshold[9], 0.101);
    close(network.reset[9], 0.001);
    close(network.noise[9], 0.0);
}

#[test]
fn parameters_start_with_the_published_distributions() {
    let spec = RsnnSpec {
        neurons: population_layout(400, 2, 0.8).unwrap(),
        ..full_spec()
    };
    let model = Rsnn::new(spec, 5).unwrap();
    // Standard deviations of U(±w/2) over 400, of the normal readout over 2·160, and U(±1/√3) over 3·400 draws.
    let std = |name: &str| model.parameters.get(name).unwrap().mapv(f64::from).std(0.0);
    assert!((std("v_rest") / (0.05 / 12f64.sqrt()) - 1.0).abs() < 0.12);
    assert!((std("readout.w") / (10.0 * (2f64 / 161.0).sqrt()) - 1.0).abs() < 0.2);
    assert!((std("latent.w2") / (1.0 / 3.0) - 1.0).abs() < 0.08);
    let all = |name: &str, value: f32| model.parameters.get(name).unwrap().iter().all(|x| *x == value);
    assert!(all("noise_gain", 1.0) && all("readout.baseline", 1.0));
    assert!(model.is_trained("v_rest") && model.is_trained("w") && !model.is_trained("readout.std"));
    let untrained = Rsnn::new(
        RsnnSpec {
            train_resting_potential: false,
            ..small_spec()
        },
        5,
    )
    .unwrap();
    assert!(!untrained.is_trained("v_rest") && untrained.parameters.get("v_rest").unwrap().iter().all(|v| *v == 0.0));
}

#[test]
fn training_updates_keep_dales_law_and_the_bounds() {
    let mut model = Rsnn::new(full_spec(), 5).unwrap();
    // A weak readout, so that the count of spikes rules the loss.
    model
        .parameters
        .get_mut("readout.w")
        .unwrap()
        .mapv_inplace(|w| 1e-3 * w);
    let count = |model: &Rsnn| {
        model
            .simulate(&Engine::Native, &trials(0, 40), N_STEPS, draws(0), false)
            .unwrap()
            .rollout
            .spikes()
            .unwrap()
            .count()
    };
    let before = count(&model);
    let mut adam = AdamW::new(AdamWConfig {
        lr: 0.02,
        weight_decay: 0.01,
        ..AdamWConfig::default()
    })
    .unwrap();
    for step in 0..30 {
        let simulation = model
            .simulate(
                &Engine::Native,
                &trials(0, 4),
                N_STEPS,
                Draws { step, ..draws(0) },
                true,
            )
            .unwrap();
        let d_behaviour = simulation.behaviour.clone().unwrap();
        let adjoint = SpikeAdjoint {
            dense: Some(Array3::from_elem((4, N_STEPS, 10), 1.0)),
            ..SpikeAdjoint::default()
        };
        let gradients = model
            .backward(&Engine::Native, simulation, adjoint, Some(&d_behaviour))
            .unwrap();
        adam.update(&mut model.parameters, &gradients).unwrap();
        model.project(0.02, 0.01);
        assert_eq!(model.first_non_finite(), None);
        let w = model.parameters.cube("w").unwrap();
        for ((_, pre, post), w) in w.indexed_iter() {
            assert!(if pre < 8 { *w >= 0.0 } else { *w <= 0.0 });
            assert!(model.spec.connectivity().is_allowed(pre, post) || *w == 0.0);
        }
        let w_in = model.parameters.matrix("w_in").unwrap();
        assert!(
            w_in.indexed_iter()
                .all(|((i, _), w)| if i < 4 { *w >= 0.0 } else { *w <= 0.0 })
        );
        assert!(
            model
                .parameters
                .vector("v_rest")
                .unwrap()
                .iter()
                .all(|v| v.abs() <= 0.1)
        );
        assert!(
            model
                .parameters
                .vector("readout.baseline")
                .unwrap()
                .iter()
                .all(|b| *b >= 1e-3)
        );
    }
    // The loss counts spikes; the same 40 trials have far fewer now.
    let after = count(&model);
    assert!(2 * after < before, "{before} spikes before, {after} after");
}

#[test]
fn a_readout_of_constant_spiking_follows_its_closed_form() {
    for link in [Link::Log, Link::Linear] {
        let spec = RsnnSpec {
            behaviour: Some(readout(link)),
            ..small_spec()
        };
        let mut model = Rsnn::new(spec, 5).unwrap();
        // Motor neurons 4..8 (excitatory, area 1); all spike at every step.
        model.parameters.insert(
            "readout.w",
            Array2::from_shape_fn((4, 2), |(i, b)| 0.1 * (i + 1) as f32 * (b as f32 - 0.3)),
        );
        let readout = Readout::new(&model.spec, &model.parameters).unwrap().unwrap();
        let mut spikes = SpikeBits::zeros(2, 40, 10);
        (0..40).for_each(|t| (4..8).for_each(|n| spikes.set(1, t, n)));
        let traces = readout.traces(&readout.filter(spikes.project(&readout.channels()).unwrap(), &readout.at_rest(2)));
        let alpha = (-2.0f64 / 20.0).exp();
        for t in 0..40 {
            for b in 0..2 {
                // q(t) = α^(t+1) q(−1) + (1 − α^(t+1)) u with u = ½·(0.1 + 0.2 + 0.3 + 0.4)·(b − 0.3).
                let q = (1.0 - alpha.powi(t as i32 + 1)) * 0.5 * (b as f64 - 0.3);
                let (silent, active) = match link {
                    Link::Log => (0.0, q.exp() - 1.0),
                    Link::Linear => (0.0, q / f64::from(0.1f32)),
                };
                assert!((traces[[0, t, b]] - silent).abs() < 1e-7 && (traces[[1, t, b]] - active).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn the_warm_ups_behaviour_is_carried_into_the_trial() {
    // The warm-up on its own: the same network without warm-up, over as many steps, with stimuli out of reach.
    let model = Rsnn::new(full_spec(), 2).unwrap();
    let mut alone = model.clone();
    alone.spec.n_warmup = 0;
    let InputSpec::Poisson(input) = &mut alone.spec.input else {
        unreachable!("the small network has Poisson inputs")
    };
    input.first_steps = vec![1000, 1000];
    // The warm-up holds the first step's offset: knots so far apart that nothing else is reached.
    let latent = alone.spec.latent.as_mut().unwrap();
    latent.knots = vec![-4e9, 3e9, 9e9, 20e9];
    latent.stimulus.as_mut().unwrap().after = 3e9;
    let warmup = alone
        .simulate(&Engine::Native, &trials(0, 6), 9, draws(0), false)
        .unwrap();
    let whole = model
        .simulate(&Engine::Native, &trials(0, 6), N_STEPS, draws(0), false)
        .unwrap();
    let State {
        v, refractory, history, ..
    } = &warmup.rollout.host().unwrap().end;
    assert_eq!(
        (v, refractory, history),
        (
            &whole.rollout.host().unwrap().start.v,
            &whole.rollout.host().unwrap().start.refractory,
            &whole.rollout.host().unwrap().start.history
        )
    );
    // One step on from the warm-up's last trace.
    let (before, after) = (warmup.behaviour.unwrap(), whole.behaviour.unwrap());
    let (w, b) = (
        model.parameters.matrix("readout.w").unwrap(),
        model.parameters.vector("readout.baseline").unwrap(),
    );
    let alpha = (-2.0f64 / 20.0).exp();
    let mut moved = 0;
    for ((k, trace), y) in after.index_axis(Axis(1), 0).indexed_iter() {
        let u: f64 = (4..8)
            .filter(|n| whole.rollout.host().unwrap().spikes.get(k, 0, *n))
            .map(|n| 0.5 * f64::from(w[[n - 4, trace]]))
            .sum();
        let (last, b) = (before[[k, 8, trace]], f64::from(b[trace]));
        let want = (alpha * (last + b).ln() + (1.0 - alpha) * u).exp() - b;
        assert!((y - want).abs() < 1e-6, "{y} against {want}");
        moved += usize::from(last.abs() > 1e-3);
    }
    assert!(moved > 0, "no motor neuron spiked in the warm-up");
}

/// Where a test needs the engine `kernels`: on the adapter of this machine, or none (said on stderr; an error in CI).
#[cfg(feature = "wgpu")]
#[allow(clippy::print_stderr)]
pub(super) fn kernels() -> Option<Engine> {
    let open = crate::device::open(crate::device::DeviceChoice::Wgpu(None));
    match open {
        Ok(open) => crate::device::kernels(&open).map(Engine::Kernels),
        Err(error) => {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "{error}; install mesa-vulkan-drivers"
            );
            eprintln!("engine kernels skipped: {error}");
            None
        }
    }
}

#[test]
#[cfg(feature = "wgpu")]
fn behaviour_and_its_gradients_on_the_device_are_those_of_the_processor() {
    let Some(kernels) = kernels() else { return };
    let model = Rsnn::new(full_spec(), 2).unwrap();
    let d_behaviour = Array3::from_shape_fn((6, N_STEPS, 2), |(k, t, b)| {
        (k as f64 + 0.3 * t as f64 + b as f64).sin()
    });
    let run = |engine: &Engine, step: u32| {
        let draws = Draws { step, ..draws(0) };
        let simulation = model.simulate(engine, &trials(0, 6), N_STEPS, draws, true).unwrap();
        let seen = (
            simulation.rollout.spikes().unwrap().to_array(),
            simulation.behaviour.clone().unwrap(),
        );
        let gradients = model
            .backward(engine, simulation, SpikeAdjoint::default(), Some(&d_behaviour))
            .unwrap();
        (seen, gradients)
    };
    // A draw may tie (architecture §2.4); then other draws are taken.
    let (of_device, of_cpu) = (0..3)
        .map(|step| (run(&kernels, step), run(&Engine::Native, step)))
        .find(|(a, b)| a.0.0 == b.0.0)
        .expect("three ties in three times 1560 draws: more than rounding explains");
    let (((_, behaviour), gradients), ((_, behaviour_cpu), gradients_cpu)) = (of_device, of_cpu);
    assert!((&behaviour - &behaviour_cpu).iter().all(|d| d.abs() < 1e-5));
    assert!(behaviour_cpu.iter().any(|y| y.abs() > 0.1));
    let mut names = Vec::new();
    for ((name, a), (other, b)) in gradients.iter().zip(gradients_cpu.iter()) {
        assert_eq!(name, other);
        let largest = b.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        assert!(
            a.iter().zip(b.iter()).all(|(a, b)| (a - b).abs() <= 2e-5 * largest),
            "{name}"
        );
        names.push((name.to_owned(), largest > 0.0));
    }
    for needed in ["readout.w", "readout.baseline", "w"] {
        assert!(names.contains(&(needed.to_owned(), true)), "{names:?}");
    }
}

#[test]
fn specifications_out_of_range_are_named() {
    let fails = |change: fn(&mut RsnnSpec)| {
        let mut spec = full_spec();
        change(&mut spec);
        Rsnn::new(spec, 0).unwrap_err().to_string()
    };
    assert!(fails(|s| s.dt_ms = f64::NAN).contains("dt_ms"));
    assert!(fails(|s| s.threshold = 0.0).contains("threshold"));
    assert!(fails(|s| s.p_scale = 1.5).contains("p_scale"));
    assert!(fails(|s| s.sigma = -0.1).contains("sigma"));
    assert!(fails(|s| s.delays.clear()).contains("delay"));
    assert!(fails(|s| s.delays[0] = 0).contains("delay"));
    assert!(fails(|s| s.neurons.clear()).contains("no neurons"));
    assert!(fails(|s| s.neurons[3].area = 2).contains("neuron 3"));
    assert!(fails(|s| s.behaviour.as_mut().unwrap().traces[0].motor_areas = vec![]).contains("motor areas"));
    assert!(fails(|s| s.behaviour.as_mut().unwrap().traces.clear()).contains("names no trace"));
    assert!(fails(|s| s.latent.as_mut().unwrap().dimensions = 0).contains("latent"));
    assert!(
        fails(|s| s.input = InputSpec::Recorded(RecordedInput {
            n_channels: 1,
            lags: 0,
            lag_steps: 1,
            scale: 1.0,
            offset: 0.0
        }))
        .contains("lags")
    );
}

#[test]
fn parameters_that_do_not_fit_the_specification_are_named() {
    let model = Rsnn::new(full_spec(), 0).unwrap();
    let fails = |change: fn(&mut Parameters)| {
        let mut parameters = model.parameters.clone();
        change(&mut parameters);
        Rsnn::with_parameters(full_spec(), parameters).unwrap_err().to_string()
    };
    assert!(fails(|p| drop(p.remove("w_in"))).contains("'w_in': found nothing"));
    assert!(fails(|p| p.insert("w_in", ndarray::Array1::zeros(3))).contains("expected shape [6, 10]"));
    assert!(fails(|p| p.insert("tau", ndarray::Array1::zeros(3))).contains("'tau'"));
    let mut broken = model.clone();
    broken.parameters.get_mut("w").unwrap()[[1, 0, 2]] = f32::NAN;
    assert_eq!(broken.first_non_finite(), Some(("w", 102)));
}

#[test]
fn adjoints_of_another_shape_are_errors() {
    let model = Rsnn::new(small_spec(), 0).unwrap();
    let simulate = || {
        model
            .simulate(&Engine::Native, &trials(0, 3), N_STEPS, draws(0), true)
            .unwrap()
    };
    let adjoint = SpikeAdjoint {
        dense: Some(Array3::zeros((3, N_STEPS, 9))),
        ..SpikeAdjoint::default()
    };
    assert!(model.backward(&Engine::Native, simulate(), adjoint, None).is_err());
    let error = model
        .backward(
            &Engine::Native,
            simulate(),
            SpikeAdjoint::default(),
            Some(&Array3::zeros((3, N_STEPS, 1))),
        )
        .unwrap_err();
    assert!(error.to_string().contains("no readout"));
}

#[test]
fn a_closed_loop_changes_the_spikes_and_other_engines_refuse_it() {
    let spec = RsnnSpec {
        behaviour: Some(closed_loop()),
        ..small_spec()
    };
    let closed = Rsnn::new(spec, 2).unwrap();
    let mut open = closed.clone();
    open.parameters
        .get_mut("feedback.kernel")
        .unwrap()
        .mapv_inplace(|_| 0.0);
    let spikes = |model: &Rsnn, engine: &Engine| {
        let simulation = model.simulate(engine, &trials(0, 20), N_STEPS, draws(0), false)?;
        Ok::<_, CoreError>(simulation.rollout.spikes()?.to_array())
    };
    let with = spikes(&closed, &Engine::Native).unwrap();
    assert_ne!(with, spikes(&open, &Engine::Native).unwrap());
    assert_eq!(with, spikes(&closed, &Engine::NativeInt16).unwrap());
    // Without a kernel's effect the loop is open.
    open.spec.behaviour = Some(different_traces());
    let parameters = open.parameters.iter().filter(|(name, _)| *name != "feedback.kernel");
    let mut kept = crate::models::Parameters::new();
    parameters.for_each(|(name, array)| kept.insert(name, array.clone()));
    let plain = Rsnn::with_parameters(open.spec.clone(), kept).unwrap();
    let mut silent = closed.clone();
    silent.parameters.get_mut("feedback.kernel").unwrap().fill(0.0);
    assert_eq!(
        spikes(&plain, &Engine::Native).unwrap(),
        spikes(&silent, &Engine::Native).unwrap()
    );
    let refused = spikes(&closed, &Engine::Reference).unwrap_err().to_string();
    assert!(refused.contains("closed-loop feedback"), "{refused}");
    #[cfg(feature = "wgpu")]
    if let Some(kernels) = kernels() {
        assert!(spikes(&closed, &kernels).is_err());
    }
}
