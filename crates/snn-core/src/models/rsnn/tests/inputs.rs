//! Poisson inputs, recorded stimuli and latents.

use super::*;
use crate::models::rsnn::inputs::{current, current_adjoint};
use crate::rng::Key;
use crate::units::Ms;
use ndarray::{Array2, Array3};

fn published(n: usize, p_stim: f64, first_steps: Vec<i64>) -> PoissonInput {
    PoissonInput {
        n,
        rate_hz: 5.0,
        p_exc: 0.8,
        p_stim,
        first_steps,
        n_duration: 5,
        gain: 11.5,
        scale: StimulusScale::Log,
    }
}

#[test]
fn stimulus_amplitudes_are_the_published_ones() {
    let input = published(200, 0.5, vec![52]);
    for (stimulus, want) in [(0.0, 0.01), (4.0, 0.19509), (1.0, 0.08971)] {
        let p = input.probability(stimulus, Ms(2.0));
        assert!((p - want).abs() < 5e-6, "stimulus {stimulus}: {p}");
    }
    let strong = PoissonInput {
        scale: StimulusScale::Linear,
        ..input
    };
    assert_eq!(strong.probability(1e6, Ms(2.0)), 1.0);
    assert!((strong.probability(2.0, Ms(2.0)) - 0.24).abs() < 1e-12);
}

#[test]
fn onsets_fall_into_the_published_steps() {
    let first = |onset, start| PoissonInput::first_step(Ms(onset), Ms(start), Ms(4.0), Ms(2.0));
    assert_eq!(
        [first(0.0, -100.0), first(0.0, -200.0), first(1000.0, -200.0)],
        [52, 102, 602]
    );
}

/// Mean of input group `i` over trials with `stimulus` and over steps.
fn rate(
    events: &crate::rollout::InputEvents,
    inputs: std::ops::Range<u16>,
    trials: &[usize],
    steps: std::ops::Range<usize>,
) -> f64 {
    let (n, m) = (inputs.len(), steps.len() * trials.len());
    let count: usize = trials
        .iter()
        .flat_map(|k| steps.clone().map(move |t| (*k, t)))
        .map(|(k, t)| events.at(k, t).iter().filter(|i| inputs.contains(i)).count())
        .sum();
    count as f64 / (n * m) as f64
}

#[test]
fn inputs_fire_at_their_probability_in_and_outside_of_their_window() {
    // The published recorded-data input: 300 inputs, whisker at step 102, cue at 602; warm-up of 20 steps.
    let (input, n_trials, warmup) = (published(300, 2.0 / 3.0, vec![102, 602]), 200, 20);
    let stimulus: Vec<f64> = (0..n_trials).map(|k| (k % 2) as f64).collect();
    let events = input
        .events(&stimulus, (warmup, 610), Ms(2.0), (Key::new(1, "input"), 0, 0))
        .unwrap();
    let (quiet, whisker): (Vec<usize>, Vec<usize>) = (0..n_trials).partition(|k| k % 2 == 0);
    let all: Vec<usize> = (0..n_trials).collect();
    // Standard errors below 0.0013 (5e4 draws) and 0.0009 (1e5 draws) at p = 0.09; bounds are 5 of them.
    let stim = |steps: std::ops::Range<usize>| steps.start + warmup..steps.end + warmup;
    assert!((rate(&events, 0..100, &whisker, stim(102..107)) - 0.08971).abs() < 0.0065);
    assert!((rate(&events, 0..100, &quiet, stim(102..107)) - 0.01).abs() < 0.0023);
    assert!((rate(&events, 100..200, &all, stim(602..607)) - 0.08971).abs() < 0.0045);
    assert!((rate(&events, 100..200, &all, stim(102..107)) - 0.01).abs() < 0.0016);
    assert!((rate(&events, 200..300, &all, stim(102..107)) - 0.01).abs() < 0.0016);
    for edges in [101..102, 107..108] {
        assert!((rate(&events, 0..100, &whisker, stim(edges)) - 0.01).abs() < 0.005);
    }
    // Before and outside the windows 200·300·(20 + …) draws: standard error 1e-4.
    assert!((rate(&events, 0..300, &all, 0..warmup) - 0.01).abs() < 0.0005);
}

#[test]
fn a_stimulus_that_has_no_amplitude_is_an_error() {
    let model = Rsnn::new(small_spec(), 1).unwrap();
    for bad in [f64::NAN, -1.0, f64::INFINITY] {
        let trials = Trials {
            stimulus: vec![0.0, bad],
            ..Trials::default()
        };
        let error = model
            .simulate(&Engine::Native, &trials, N_STEPS, draws(0), false)
            .unwrap_err();
        assert!(error.to_string().contains("stimulus value"), "{error}");
    }
}

#[test]
fn recorded_current_is_the_weighted_sum_over_channels_and_lags() {
    let input = RecordedInput {
        n_channels: 2,
        lags: 5,
        lag_steps: 7,
        scale: 1.0,
        offset: 0.0,
    };
    let (n_steps, n) = (20, 3);
    let x = Array3::from_shape_fn((2, n_steps, 2), |(s, t, c)| {
        ((s + 1) as f32) * (t as f32 * 0.9 + c as f32).cos()
    });
    let w = Array2::from_shape_fn((10, n), |(i, j)| (i as f32 - 4.0) * 0.1 + j as f32);
    let current = current(&input, &x, &w.view());
    let d = Array3::from_shape_fn(current.raw_dim(), |(s, t, j)| {
        (s as f32 - t as f32 * 0.3 + j as f32).sin()
    });
    let d_w = current_adjoint(&input, &x, &d);
    let mut expected_d = Array2::<f64>::zeros((10, n));
    for s in 0..2 {
        for t in 0..n_steps {
            for j in 0..n {
                let mut sum = 0.0;
                for lag in 0..5 {
                    for c in 0..2 {
                        let value = f64::from(x[[s, t.saturating_sub(lag * 7), c]]);
                        sum += value * f64::from(w[[lag * 2 + c, j]]);
                        expected_d[[lag * 2 + c, j]] += value * f64::from(d[[s, t, j]]);
                    }
                }
                assert!((f64::from(current[[s, t, j]]) - sum).abs() < 1e-4);
            }
        }
    }
    assert!(
        d_w.iter()
            .zip(&expected_d)
            .all(|(a, b)| (f64::from(*a) - b).abs() < 1e-4)
    );
}

#[test]
fn recorded_stimuli_are_scaled_and_only_those_in_use_are_computed() {
    let model = Rsnn::new(recorded_spec(), 1).unwrap();
    let simulation = model
        .simulate(&Engine::Native, &trials(0, 4), N_STEPS, draws(0), false)
        .unwrap();
    let drive = simulation.run.drive.unwrap();
    // Stimuli 3, 1, 1, 0 of four: three distinct ones, in ascending order.
    assert_eq!((drive.values.dim(), drive.index), ((3, N_STEPS, 10), vec![2, 1, 1, 0]));
    let (w, x) = (model.parameters.matrix("w_in").unwrap(), trials(0, 4).movies.unwrap());
    let (stimulus, t, n) = (1, 13, 6);
    let gain = 0.5 * (1.0 - (-2.0f64 / 30.0).exp());
    let mut sum = 0.0;
    for lag in 0..3 {
        for c in 0..2 {
            sum += f64::from(w[[lag * 2 + c, n]]) * (1.7 * f64::from(x[[1, t - 4 * lag, c]]) - 0.3);
        }
    }
    assert!((f64::from(drive.values[[stimulus, t, n]]) - gain * sum).abs() < 1e-6);
}

#[test]
fn stimuli_that_do_not_fit_are_errors() {
    let model = Rsnn::new(recorded_spec(), 1).unwrap();
    let fails = |change: fn(&mut Trials)| {
        let mut trials = trials(0, 4);
        change(&mut trials);
        model
            .simulate(&Engine::Native, &trials, N_STEPS, draws(0), false)
            .unwrap_err()
            .to_string()
    };
    assert!(fails(|t| t.movies = None).contains("recorded stimulus"));
    assert!(fails(|t| t.movie = Some(vec![0, 0])).contains("stimulus index"));
    assert!(fails(|t| t.movie = Some(vec![0, 0, 0, 4])).contains("stimulus index"));
    assert!(fails(|t| t.movies = Some(Array3::zeros((4, N_STEPS - 1, 2)))).contains("recorded stimuli"));
    assert!(fails(|t| t.movies.as_mut().unwrap()[[1, 3, 0]] = f32::NAN).contains("not finite"));
    assert!(fails(|t| t.stimulus.clear()).contains("number of trials"));
}

#[test]
fn latents_are_uniform_and_bounded_offsets_stay_below_a_fifth_of_the_threshold() {
    let spec = RsnnSpec {
        latent: Some(latent(LatentKind::Linear, true)),
        ..small_spec()
    };
    let mut model = Rsnn::new(spec, 1).unwrap();
    // An eighth of what fits, and far beyond.
    let theta = model.parameters.get_mut("latent.theta").unwrap();
    theta.mapv_inplace(|x| x * 10.0);
    let psi = model.spec.latent.unwrap().draw(2000, Key::new(1, "latent"), 0, 0);
    assert!(psi.iter().all(|x| (-0.5..0.5).contains(x)));
    // 6000 draws: standard errors 0.0037 of the mean and 0.00096 of the variance 1/12.
    assert!(psi.mean().unwrap().abs() < 0.019);
    assert!((psi.mapv(|x| x * x).mean().unwrap() - 1.0 / 12.0).abs() < 0.005);
    let offset = model.trial_offset(&psi).unwrap();
    let alpha = model.alpha();
    let mut clipped = 0;
    for ((_, n), c) in offset.indexed_iter() {
        let o = f64::from(*c) / (1.0 - alpha[n]);
        assert!(o.abs() < 0.02 + 1e-7);
        clipped += usize::from(o.abs() > 0.02 - 1e-7);
    }
    assert!(clipped > 1000 && clipped < 20_000, "{clipped} clipped");
}

#[test]
fn the_initial_scale_of_the_latent_multiplies_its_last_map_alone() {
    for (kind, last) in [(LatentKind::Mlp, "latent.w2"), (LatentKind::Linear, "latent.theta")] {
        let parameters = |init_scale| {
            let latent = LatentSpec {
                init_scale,
                ..latent(kind, false)
            };
            let spec = RsnnSpec {
                latent: Some(latent),
                ..small_spec()
            };
            Rsnn::new(spec, 1).map(|model| model.parameters)
        };
        let (whole, quarter) = (parameters(1.0).unwrap(), parameters(0.25).unwrap());
        for (name, array) in whole.iter() {
            let factor = if name == last { 0.25 } else { 1.0 };
            assert_eq!(quarter.get(name).unwrap(), &array.mapv(|x| x * factor), "{name}");
        }
        assert!(parameters(f64::NAN).is_err() && parameters(-1.0).is_err());
    }
}

#[test]
fn the_decay_of_the_latent_shrinks_its_last_map_alone() {
    for (kind, last) in [(LatentKind::Mlp, "latent.w2"), (LatentKind::Linear, "latent.theta")] {
        let model = |weight_decay| {
            let latent = LatentSpec {
                weight_decay,
                ..latent(kind, false)
            };
            let spec = RsnnSpec {
                latent: Some(latent),
                ..small_spec()
            };
            Rsnn::new(spec, 1)
        };
        let (mut with, mut without) = (model(4.0).unwrap(), model(0.0).unwrap());
        with.project(0.125, 0.01);
        without.project(0.125, 0.01);
        for (name, array) in without.parameters.iter() {
            let factor = if name == last { 0.5 } else { 1.0 };
            assert_eq!(
                with.parameters.get(name).unwrap(),
                &array.mapv(|x| x * factor),
                "{name}"
            );
        }
        // More than all of it is all of it.
        with.project(1.0, 0.0);
        assert!(with.parameters.get(last).unwrap().iter().all(|x| *x == 0.0));
        assert!(model(f64::NAN).is_err() && model(-1.0).is_err());
    }
}
