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
        channels: Vec::new(),
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
    let trials = Trials {
        stimulus,
        ..Trials::default()
    };
    let events = input
        .events(&trials, (warmup, 610), Ms(2.0), (Key::new(1, "input"), 0, 0))
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
fn channels_in_the_place_of_onsets_give_the_same_spikes() {
    let short = published(300, 2.0 / 3.0, vec![30, 70]);
    let channel = |onset, amplitude| InputChannel {
        n: 100,
        onset,
        amplitude,
        n_duration: 5,
        gain: 11.5,
    };
    let fixed = PoissonInput {
        first_steps: Vec::new(),
        channels: vec![
            channel(Onset::Step(30), Amplitude::Stimulus),
            channel(Onset::Step(70), Amplitude::One),
        ],
        ..short.clone()
    };
    // The same onsets and amplitudes, told trial by trial.
    let by_trial = PoissonInput {
        channels: vec![
            channel(Onset::Trial, Amplitude::Trial),
            channel(Onset::Trial, Amplitude::One),
        ],
        ..fixed.clone()
    };
    let stimulus: Vec<f64> = (0..20).map(|k| f64::from(k % 3)).collect();
    let trials = Trials {
        cues: Some(Cues {
            first_steps: Array2::from_shape_fn((20, 2), |(_, c)| Some([30, 70][c])),
            values: Array2::from_shape_fn((20, 2), |(k, _)| stimulus[k]),
        }),
        stimulus,
        ..Trials::default()
    };
    let events = |input: &PoissonInput| {
        let events = input.events(&trials, (10, 90), Ms(2.0), (Key::new(1, "input"), 3, 7));
        let events = events.unwrap();
        let all: Vec<Vec<u16>> = (0..20)
            .flat_map(|k| (0..100).map(move |t| (k, t)))
            .map(|(k, t)| events.at(k, t).to_vec())
            .collect();
        all
    };
    let expected = events(&short);
    assert!(expected.iter().map(Vec::len).sum::<usize>() > 1000);
    assert_eq!(events(&fixed), expected);
    assert_eq!(events(&by_trial), expected);
}

/// 300 inputs, of which 100 answer to a cue at a step of each trial, with an amplitude of its own.
fn cued() -> (PoissonInput, Trials) {
    let input = PoissonInput {
        first_steps: Vec::new(),
        channels: vec![InputChannel {
            n: 100,
            onset: Onset::Trial,
            amplitude: Amplitude::Trial,
            n_duration: 5,
            gain: 11.5,
        }],
        ..published(300, 1.0, Vec::new())
    };
    let n = 300;
    let trials = Trials {
        stimulus: vec![0.0; n],
        cues: Some(Cues {
            // Every fifth trial has no cue; where there is none, nobody asks for its amplitude.
            first_steps: Array2::from_shape_fn((n, 1), |(k, _)| (k % 5 > 0).then_some(20 + (k * 13 % 40) as i64)),
            values: Array2::from_shape_fn((n, 1), |(k, _)| if k % 5 > 0 { (k % 2) as f64 } else { f64::NAN }),
        }),
        ..Trials::default()
    };
    (input, trials)
}

#[test]
fn inputs_answer_to_the_cue_of_each_trial_at_its_amplitude() {
    let (input, trials) = cued();
    let events = input
        .events(&trials, (0, 80), Ms(2.0), (Key::new(2, "input"), 0, 0))
        .unwrap();
    let cues = trials.cues.as_ref().unwrap();
    // Spikes of the channel's inputs at steps relative to the cue: 120 trials of each amplitude.
    let around = |value: f64, offset: i64| {
        let with_cue = (0..300).filter(|&k| cues.values[[k, 0]] == value);
        let rates: Vec<f64> = with_cue
            .map(|k| {
                rate(&events, 0..100, &[k], {
                    let t = (cues.first_steps[[k, 0]].unwrap() + offset) as usize;
                    t..t + 1
                })
            })
            .collect();
        rates.iter().sum::<f64>() / rates.len() as f64
    };
    // 1.2e4 draws each: standard errors below 0.0026 and 0.0009, bounds are 5 of them.
    for offset in 0..5 {
        assert!((around(1.0, offset) - 0.08971).abs() < 0.0131, "{offset}");
        assert!((around(0.0, offset) - 0.01).abs() < 0.0046, "{offset}");
    }
    for offset in [-1, 5] {
        assert!((around(1.0, offset) - 0.01).abs() < 0.0046, "{offset}");
    }
    let without: Vec<usize> = (0..300).filter(|k| k % 5 == 0).collect();
    // 4.8e5 draws: standard error 1.5e-4.
    assert!((rate(&events, 0..100, &without, 0..80) - 0.01).abs() < 0.0008);
    let all: Vec<usize> = (0..300).collect();
    assert!((rate(&events, 100..300, &all, 0..80) - 0.01).abs() < 0.0004);
}

#[test]
fn chunks_of_trials_with_their_own_cues_draw_what_the_whole_does() {
    let (input, trials) = cued();
    let place = |first| (Key::new(2, "input"), 4, first);
    let whole = input.events(&trials, (5, 80), Ms(2.0), place(0)).unwrap();
    let cues = trials.cues.as_ref().unwrap();
    let rows = ndarray::s![100..200, ..];
    let part = Trials {
        stimulus: trials.stimulus[100..200].to_vec(),
        cues: Some(Cues {
            first_steps: cues.first_steps.slice(rows).to_owned(),
            values: cues.values.slice(rows).to_owned(),
        }),
        ..Trials::default()
    };
    let part = input.events(&part, (5, 80), Ms(2.0), place(100)).unwrap();
    for k in 0..100 {
        assert!((0..85).all(|t| part.at(k, t) == whole.at(100 + k, t)), "trial {k}");
    }
}

#[test]
fn engines_agree_on_trials_with_their_own_cues() {
    let mut spec = small_spec();
    let InputSpec::Poisson(input) = &mut spec.input else {
        unreachable!()
    };
    input.channels = vec![
        InputChannel {
            n: 2,
            onset: Onset::Trial,
            amplitude: Amplitude::Trial,
            n_duration: 6,
            gain: 30.0,
        },
        InputChannel {
            n: 2,
            onset: Onset::Step(12),
            amplitude: Amplitude::Stimulus,
            n_duration: 3,
            gain: 30.0,
        },
    ];
    let model = Rsnn::new(spec, 3).unwrap();
    let with_cues = |shift: i64| Trials {
        cues: Some(Cues {
            first_steps: Array2::from_shape_fn((6, 2), |(k, _)| (k != 4).then_some(3 * k as i64 + shift)),
            values: Array2::from_shape_fn((6, 2), |(k, _)| 1.0 + k as f64),
        }),
        ..trials(0, 6)
    };
    let spikes = |engine: &Engine, shift: i64, step: u32| {
        let draws = Draws { step, ..draws(0) };
        let simulation = model
            .simulate(engine, &with_cues(shift), N_STEPS, draws, false)
            .unwrap();
        simulation.rollout.spikes().unwrap().to_array()
    };
    let native = spikes(&Engine::Native, 0, 0);
    assert_ne!(native, spikes(&Engine::Native, 9, 0), "onsets have no effect");
    assert_eq!(native, spikes(&Engine::NativeInt16, 0, 0));
    assert_eq!(native, spikes(&Engine::Reference, 0, 0));
    #[cfg(feature = "wgpu")]
    if let Some(kernels) = super::promises::kernels() {
        // A draw may tie with rounding; then other draws are taken.
        let agrees = (0..3).any(|step| spikes(&kernels, 0, step) == spikes(&Engine::Native, 0, step));
        assert!(
            agrees,
            "three ties in three times 1560 draws: more than rounding explains"
        );
    }
}

#[test]
fn cues_that_are_missing_or_have_no_amplitude_are_errors() {
    let (input, trials) = cued();
    let message = |trials: &Trials| {
        let events = input.events(trials, (0, 80), Ms(2.0), (Key::new(1, "input"), 0, 0));
        events.map(|_| ()).unwrap_err().to_string()
    };
    let none = Trials {
        cues: None,
        ..trials.clone()
    };
    assert!(message(&none).contains("events of trials"), "{}", message(&none));
    let edit = |edit: &dyn Fn(&mut Cues)| {
        let mut edited = trials.clone();
        edit(edited.cues.as_mut().unwrap());
        message(&edited)
    };
    for bad in [f64::NAN, -1.0, f64::INFINITY] {
        let error = edit(&|cues| cues.values[[1, 0]] = bad);
        assert!(error.contains("amplitude of a trial's event"), "{error}");
    }
    let error = edit(&|cues| cues.values = Array2::zeros((299, 1)));
    assert!(error.contains("amplitudes of trials"), "{error}");
    let error = edit(&|cues| cues.first_steps = Array2::default((300, 2)));
    assert!(error.contains("onsets of trials"), "{error}");
    let mut too_many = published(10, 1.0, Vec::new());
    too_many.channels = vec![input.channels[0]];
    assert!(InputSpec::Poisson(too_many).check().is_err());
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
    let latent = model.spec.latent.clone().unwrap();
    let psi = latent.draw(&[0.0; 2000], Key::new(1, "latent"), 0, 0);
    assert!(psi.iter().all(|x| (-0.5..0.5).contains(x)));
    // 6000 draws: standard errors 0.0037 of the mean and 0.00096 of the variance 1/12.
    assert!(psi.mean().unwrap().abs() < 0.019);
    assert!((psi.mapv(|x| x * x).mean().unwrap() - 1.0 / 12.0).abs() < 0.005);
    let offset = model.trial_offset(&latent, &psi, 5).unwrap();
    assert_eq!(offset.course, ndarray::Array2::<f32>::ones((5, 1)));
    let alpha = model.alpha();
    let mut clipped = 0;
    for ((_, _, n), c) in offset.values.indexed_iter() {
        let o = f64::from(*c) / (1.0 - alpha[n]);
        assert!(o.abs() < 0.02 + 1e-7);
        clipped += usize::from(o.abs() > 0.02 - 1e-7);
    }
    assert!(clipped > 1000 && clipped < 20_000, "{clipped} clipped");
}

#[test]
fn offsets_are_linear_between_knots_and_constant_beyond_them() {
    let latent = LatentSpec {
        knots: vec![-4.0, 2.0, 2.5, 6.0],
        ..latent(LatentKind::Mlp, false)
    };
    let course = latent.course(9);
    // A mixture of the knots' own times is the time, held between the first and the last.
    for (t, shares) in course.outer_iter().enumerate() {
        assert!((shares.sum() - 1.0).abs() < 1e-6 && shares.iter().all(|share| *share >= 0.0));
        assert!(shares.iter().filter(|share| **share > 0.0).count() <= 2);
        let time: f64 = shares
            .iter()
            .zip(&latent.knots)
            .map(|(share, knot)| f64::from(*share) * knot)
            .sum();
        assert!((time - (t as f64).min(6.0)).abs() < 1e-6, "step {t}: {shares}");
    }
    assert_eq!(course.row(2).to_vec(), [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(course.row(8).to_vec(), [0.0, 0.0, 0.0, 1.0]);
}

#[test]
fn the_stimulus_is_one_more_coordinate_of_the_latent_and_the_others_are_drawn_as_without() {
    let seen = SeenStimulus {
        factor: 0.5,
        after: 4.0,
    };
    let seeing = LatentSpec {
        knots: vec![0.0, 4.0, 9.0],
        stimulus: Some(seen),
        ..latent(LatentKind::Mlp, false)
    };
    let key = Key::new(1, "latent");
    let stimulus = [0.0, 2.0, 1.0];
    let with = seeing.draw(&stimulus, key, 3, 7);
    let without = latent(LatentKind::Mlp, false).draw(&stimulus, key, 3, 7);
    assert_eq!(with.slice(ndarray::s![.., ..3]), without);
    assert_eq!(with.column(3).to_vec(), [0.0, 1.0, 0.5]);
    let spec = |latent| RsnnSpec {
        latent: Some(latent),
        ..small_spec()
    };
    let model = Rsnn::new(spec(seeing.clone()), 1).unwrap();
    // Up to the knot at 4 the stimulus changes nothing.
    let others = seeing.draw(&[1.0, 0.0, 3.0], key, 3, 7);
    let [a, b] = [&with, &others].map(|psi| seeing.offset(&model.parameters, psi, 0.1).unwrap());
    assert_eq!(a.slice(ndarray::s![.., ..2, ..]), b.slice(ndarray::s![.., ..2, ..]));
    for (a, b) in a.outer_iter().zip(b.outer_iter()) {
        assert_ne!(a.row(2), b.row(2));
    }
    let refused = |change: &dyn Fn(&mut LatentSpec)| {
        let mut latent = seeing.clone();
        change(&mut latent);
        Rsnn::new(spec(latent), 1).is_err()
    };
    assert!(refused(&|latent| latent.kind = LatentKind::Linear));
    assert!(refused(
        &|latent| latent.stimulus.as_mut().unwrap().factor = f64::INFINITY
    ));
    assert!(refused(&|latent| latent.stimulus.as_mut().unwrap().after = f64::NAN));
    assert!(refused(&|latent| latent.knots.clear()));
    assert!(refused(&|latent| latent.knots = vec![1.0, 1.0]));
    assert!(refused(&|latent| latent.knots = vec![f64::NAN]));
}

#[test]
fn equal_values_at_all_knots_are_a_constant_offset() {
    let constant = latent(LatentKind::Mlp, false);
    let knots = LatentSpec {
        knots: vec![2.0, 11.0],
        ..constant.clone()
    };
    let spec = |latent| RsnnSpec {
        latent: Some(latent),
        ..small_spec()
    };
    let model = Rsnn::new(spec(constant), 1).unwrap();
    let mut other = Rsnn::new(spec(knots), 1).unwrap();
    let map = model.parameters.matrix("latent.w2").unwrap().to_owned();
    let both = ndarray::stack(ndarray::Axis(0), &[map.view(), map.view()]).unwrap();
    for (name, values) in model.parameters.iter() {
        other.parameters.insert(name, values.clone());
    }
    other.parameters.insert("latent.w2", both);
    let spikes = |model: &Rsnn| {
        let simulation = model
            .simulate(&Engine::Native, &trials(0, 6), N_STEPS, draws(0), false)
            .unwrap();
        simulation.rollout.host().unwrap().spikes.to_array()
    };
    assert!(spikes(&model).iter().any(|z| *z == 1));
    assert_eq!(spikes(&model), spikes(&other));
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
