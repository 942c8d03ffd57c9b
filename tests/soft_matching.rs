//! Soft trial matching on a device: the divergences and gradients of the processor, to single precision.

use crate::chunks::{gradients, losses_of_the_first_step};
use crate::networks::{assert_relative, engines, open_kernels, shared};
use crate::runs::{folder, succeed, with_sets};
use losses::sinkhorn::{Blur, Clouds, Cost, Divergence, Divergences, Processor, Sinkhorn};
use ndarray::{Array2, s};
use rand::RngExt;
use snn_core::models::rsnn::Engine;
use snn_core::rng::StreamRng;
use snnfit::soft_matching::SoftMatching;

/// Of values, relative to the largest cost; 1.3e-7 was measured: a unit in the last place of it.
const VALUE: f64 = 1e-6;
/// Of gradients, relative to their largest entry, with a blur of the size of the distance between trials; 4e-6 was
/// measured, where the two divergences nearly cancel.
const WIDE_BLUR: f64 = 2e-5;
/// The same with the published blur: costs of about 10 are rounded by 1e-6, a ten-thousandth of ε = 0.01, and the shares
/// that follow are wrong by as much of themselves; 6e-5 was measured.
const PUBLISHED_BLUR: f64 = 4e-4;
/// The same where the final ε is 1e-5 of the diameter; 3.4e-4 was measured.
const FINEST_BLUR: f64 = 2e-3;

/// The device, or none where there is no adapter (said there; an error in CI).
fn device() -> Option<SoftMatching> {
    (engines().len() == 3).then(|| SoftMatching::of(&Engine::Kernels(open_kernels().unwrap())))
}

/// Model trials a bit wider than recorded ones and beside them.
fn random(m: usize, n: usize, features: usize, rng: &mut StreamRng) -> Clouds {
    let mut normal = || (0..12).map(|_| rng.random::<f64>() - 0.5).sum::<f64>();
    Clouds {
        model: Array2::from_shape_simple_fn((m, features), || 1.2 * normal() + 0.3),
        data: Array2::from_shape_simple_fn((n, features), &mut normal),
    }
}

/// One trial each, sizes that are no multiple of a tile, as many features as a session has, clouds far from 0 with a feature
/// that is constant, and recorded trials in the place of some of the model's.
fn batch() -> Vec<Clouds> {
    let mut rng = StreamRng::new(7, "test.soft_matching", 0);
    let mut clouds: Vec<Clouds> = [
        (1, 1, 4),
        (3, 50, 7),
        (127, 150, 34),
        (64, 32, 130),
        (17, 1, 1),
        (40, 33, 9),
        (40, 33, 9),
    ]
    .into_iter()
    .map(|(m, n, features)| random(m, n, features, &mut rng))
    .collect();
    let Clouds { model, data } = &mut clouds[5];
    for far in [model, data] {
        *far += 1000.0;
        far.column_mut(4).fill(1000.0);
    }
    let Clouds { model, data } = &mut clouds[6];
    model.slice_mut(s![..20, ..]).assign(&data.slice(s![..20, ..]));
    clouds
}

/// Cost of the pair that is farthest apart.
fn largest_cost(clouds: &Clouds, cost: Cost) -> f64 {
    let mut square = 1e-8f64;
    for y in clouds.model.outer_iter() {
        for x in clouds.data.outer_iter() {
            square = square.max((&y - &x).mapv(|d| d * d).sum());
        }
    }
    match cost {
        Cost::Distance => square.sqrt(),
        Cost::HalfSquare => 0.5 * square,
    }
}

/// Demands values within [`VALUE`] and gradients within `tolerance`; the largest errors of both.
fn assert_same(
    what: &str,
    clouds: &[Clouds],
    (a, b): (&[Divergence], &[Divergence]),
    cost: Cost,
    tolerance: f64,
) -> (f64, f64) {
    assert_eq!((a.len(), b.len()), (clouds.len(), clouds.len()));
    let (mut value, mut gradient) = (0.0f64, 0.0f64);
    for (i, (clouds, (a, b))) in clouds.iter().zip(a.iter().zip(b)).enumerate() {
        assert_eq!(a.blur, b.blur);
        let error = (a.value - b.value).abs() / largest_cost(clouds, cost);
        assert!(error <= VALUE, "{what}, pair {i}: {} against {}", a.value, b.value);
        value = value.max(error);
        gradient = gradient.max(assert_relative(
            &format!("{what}, pair {i}"),
            &a.d_model,
            &b.d_model,
            tolerance,
        ));
    }
    (value, gradient)
}

#[test]
#[allow(clippy::print_stdout)] // how close, for whoever changes a kernel
fn divergences_on_the_device_are_those_of_the_processor() {
    let Some(device) = device() else { return };
    let clouds = batch();
    for cost in [Cost::Distance, Cost::HalfSquare] {
        let fine = match cost {
            Cost::Distance => 0.01,
            Cost::HalfSquare => 0.3, // squared: about as much of the largest cost
        };
        for (blur, tolerance) in [
            (Blur::Absolute(fine), PUBLISHED_BLUR),
            (Blur::Relative(0.3), WIDE_BLUR),
            (Blur::Relative(1.0), WIDE_BLUR),
        ] {
            let mut worst = (0.0f64, 0.0f64);
            for (updates, debias) in [(1, true), (1, false), (5, true), (4, false)] {
                let sinkhorn = Sinkhorn {
                    cost,
                    blur,
                    updates,
                    debias,
                    ..Sinkhorn::PUBLISHED
                };
                let expected = Processor.divergences(&sinkhorn, &clouds).unwrap();
                let found = device.divergences(&sinkhorn, &clouds).unwrap();
                let what = format!("{sinkhorn:?}");
                let (value, gradient) = assert_same(&what, &clouds, (&found, &expected), cost, tolerance);
                assert!(value > 0.0, "{what} was not computed on the device");
                worst = (worst.0.max(value), worst.1.max(gradient));
            }
            println!("{cost:?} {blur:?}: value {:.1e}, gradient {:.1e}", worst.0, worst.1);
        }
    }
}

#[test]
fn a_blur_far_beyond_the_clouds_costs_no_digits() {
    let Some(device) = device() else { return };
    let clouds = batch();
    for cost in [Cost::Distance, Cost::HalfSquare] {
        for blur in [Blur::Relative(100.0), Blur::Absolute(1e6)] {
            let sinkhorn = Sinkhorn {
                cost,
                blur,
                ..Sinkhorn::PUBLISHED
            };
            let expected = Processor.divergences(&sinkhorn, &clouds).unwrap();
            let found = device.divergences(&sinkhorn, &clouds).unwrap();
            assert_same(&format!("{sinkhorn:?}"), &clouds, (&found, &expected), cost, WIDE_BLUR);
        }
    }
}

#[test]
fn a_pair_of_clouds_is_compared_the_same_whatever_others_are_with_it() {
    let Some(device) = device() else { return };
    let clouds = batch();
    let all = device.divergences(&Sinkhorn::PUBLISHED, &clouds).unwrap();
    for (clouds, all) in clouds.iter().zip(&all).take(4) {
        let alone = device
            .divergences(&Sinkhorn::PUBLISHED, std::slice::from_ref(clouds))
            .unwrap();
        assert_eq!(alone[0].value.to_bits(), all.value.to_bits());
        assert_eq!(alone[0].d_model, all.d_model);
    }
    assert!(device.divergences(&Sinkhorn::PUBLISHED, &[]).unwrap().is_empty());
}

#[test]
fn a_median_that_is_remembered_is_that_of_the_recorded_trials_of_this_step() {
    let Some(device) = device() else { return };
    let sinkhorn = Sinkhorn {
        blur: Blur::Relative(0.3),
        ..Sinkhorn::PUBLISHED
    };
    let mut clouds = batch();
    for step in 0..4 {
        let found = device.divergences(&sinkhorn, &clouds).unwrap();
        let expected = Processor.divergences(&sinkhorn, &clouds).unwrap();
        for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(a.blur.to_bits(), b.blur.to_bits(), "step {step}, pair {i}");
        }
        match step {
            // Other model trials, then another recording in two places, then fewer pairs.
            0 => clouds[1].model *= 2.0,
            1 => clouds.swap(2, 3),
            _ => drop(clouds.remove(0)),
        }
    }
}

#[test]
#[allow(clippy::print_stdout)]
fn a_pair_of_clouds_too_large_for_the_device_is_the_only_one_that_the_processor_compares() {
    let Some(device) = device() else { return };
    let mut rng = StreamRng::new(11, "test.soft_matching", 0);
    let limit = open_kernels().unwrap().limits().buffer_bytes;
    // Costs of all its points take more than one buffer.
    let n = (limit as f64 / 4.0).sqrt() as usize + 1;
    if n > 12_000 {
        println!("skipped: this device takes {limit} bytes in one buffer, which would take the processor minutes");
        return;
    }
    let clouds = [
        random(9, 8, 5, &mut rng),
        random(4, n - 4, 1, &mut rng),
        random(7, 6, 5, &mut rng),
    ];
    // Few blurs: these clouds take the processor long.
    let sinkhorn = Sinkhorn {
        blur: Blur::Relative(1.0),
        scaling: 0.01,
        ..Sinkhorn::PUBLISHED
    };
    let found = device.divergences(&sinkhorn, &clouds).unwrap();
    let expected = Processor.divergences(&sinkhorn, &clouds).unwrap();
    let is_same = |i: usize| found[i].d_model == expected[i].d_model;
    assert_eq!([0, 1, 2].map(is_same), [false, true, false]);
    assert_same("all three", &clouds, (&found, &expected), Cost::Distance, WIDE_BLUR);
}

#[test]
#[allow(clippy::print_stdout)]
fn pairs_of_clouds_that_do_not_fit_the_device_together_are_compared_as_if_alone() {
    let Some(device) = device() else { return };
    let mut rng = StreamRng::new(12, "test.soft_matching", 0);
    let limit = open_kernels().unwrap().limits().buffer_bytes;
    // Costs of two of them take more than one buffer, those of one don't.
    let n = (limit as f64 / 4.0 * 0.6).sqrt() as usize;
    if n > 12_000 {
        println!("skipped: this device takes {limit} bytes in one buffer, more than a test should fill");
        return;
    }
    let clouds: Vec<Clouds> = [(n / 2, n - n / 2), (5, 6), (n - 7, 7), (6, 5)]
        .map(|(m, n)| random(m, n, 2, &mut rng))
        .into();
    let sinkhorn = Sinkhorn {
        blur: Blur::Absolute(2.0),
        scaling: 0.01,
        ..Sinkhorn::PUBLISHED
    };
    let all = device.divergences(&sinkhorn, &clouds).unwrap();
    for (i, (clouds, all)) in clouds.iter().zip(&all).enumerate() {
        let alone = device.divergences(&sinkhorn, std::slice::from_ref(clouds)).unwrap();
        assert_eq!(alone[0].value.to_bits(), all.value.to_bits(), "pair {i}");
        assert_eq!(alone[0].d_model, all.d_model, "pair {i}");
    }
}

#[test]
#[allow(clippy::print_stdout)]
fn the_finest_blur_that_the_device_takes_costs_no_more_than_three_digits() {
    let Some(device) = device() else { return };
    let clouds = &batch()[1..4];
    let mut worst = (0.0f64, 0.0f64);
    for clouds in clouds {
        let clouds = std::slice::from_ref(clouds);
        let diameter = Sinkhorn::PUBLISHED.annealing(&clouds[0]).unwrap().diameter;
        let sinkhorn = Sinkhorn {
            blur: Blur::Absolute(1.01e-5 * diameter),
            ..Sinkhorn::PUBLISHED
        };
        let (found, expected) = (
            device.divergences(&sinkhorn, clouds).unwrap().remove(0),
            Processor.divergences(&sinkhorn, clouds).unwrap().remove(0),
        );
        assert_ne!(found.d_model, expected.d_model, "compared on the processor");
        let largest = expected.d_model.iter().fold(0.0f64, |a, d| a.max(d.abs()));
        let differences = found.d_model.iter().zip(&expected.d_model).map(|(a, b)| (a - b).abs());
        let gradient = differences.fold(0.0, f64::max) / largest;
        let value = (found.value - expected.value).abs() / diameter;
        worst = (worst.0.max(value), worst.1.max(gradient));
    }
    println!("finest blur: value {:.1e}, gradient {:.1e}", worst.0, worst.1);
    assert!(worst.0 < VALUE && worst.1 < FINEST_BLUR, "{worst:?}");
}

#[test]
fn recorded_trials_in_the_place_of_the_model_s_do_not_differ_and_are_not_pulled_where_they_are() {
    let Some(device) = device() else { return };
    let mut rng = StreamRng::new(8, "test.soft_matching", 0);
    let data = random(1, 30, 12, &mut rng).data;
    let model = data.clone();
    let one = Array2::from_elem((5, 3), 2.0);
    let clouds = [
        Clouds { model, data },
        Clouds {
            model: one.clone(),
            data: one,
        },
    ];
    let found = device.divergences(&Sinkhorn::PUBLISHED, &clouds).unwrap();
    let expected = Processor.divergences(&Sinkhorn::PUBLISHED, &clouds).unwrap();
    for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
        // The distance of a pair to itself counts as 1e-4 and has no gradient; the others cancel, to rounding of 1/m.
        assert!((a.value - b.value).abs() < 1e-6, "{i}: {} {}", a.value, b.value);
        assert!(a.d_model.iter().all(|d| d.abs() < 1e-7), "{i}: {:?}", a.d_model);
    }
    assert!(found[1].d_model.iter().all(|d| *d == 0.0));
}

#[test]
fn clouds_that_single_precision_cannot_hold_are_compared_on_the_processor() {
    let Some(device) = device() else { return };
    let mut rng = StreamRng::new(9, "test.soft_matching", 0);
    let usual = random(9, 8, 5, &mut rng);
    let scaled = |scale: f64| Clouds {
        model: &usual.model * scale,
        data: &usual.data * scale,
    };
    let with = |blur: Blur| Sinkhorn {
        blur,
        ..Sinkhorn::PUBLISHED
    };
    let compare = |blur: Blur, clouds: &[Clouds]| {
        let found = device.divergences(&with(blur), clouds).unwrap();
        let expected = Processor.divergences(&with(blur), clouds).unwrap();
        let pairs = found.into_iter().zip(expected);
        let is_same = |(a, b): (Divergence, Divergence)| {
            assert_relative("either", &a.d_model, &b.d_model, PUBLISHED_BLUR);
            a.value == b.value && a.d_model == b.d_model
        };
        pairs.map(is_same).collect::<Vec<_>>()
    };
    // A blur of 1e-5 is too fine for the first and not for the second.
    let clouds = [usual.clone(), scaled(1e-2)];
    assert_eq!(compare(Blur::Absolute(1e-5), &clouds), [true, false]);
    // The first is too wide and the third too narrow.
    let clouds = [scaled(1e20), usual.clone(), scaled(1e-20), scaled(1e4)];
    let soft = Blur::Relative(0.3);
    assert_eq!(compare(soft, &clouds), [true, false, true, false]);
    let mut bad = usual;
    bad.model[[2, 3]] = f64::NAN;
    assert!(device.divergences(&with(soft), &[bad]).is_err());
}

fn oracle(file: &hdf5::File, name: &str) -> Array2<f64> {
    file.dataset(name).unwrap().read_2d().unwrap()
}

#[test]
fn published_divergences_are_reproduced_on_the_device() {
    let Some(device) = device() else { return };
    let Some(path) = shared("oracle/trial_matching/feature_ot.h5") else {
        return;
    };
    let file = hdf5::File::open(path).unwrap();
    let clouds = [Clouds {
        model: oracle(&file, "feat_model"),
        data: oracle(&file, "feat_data"),
    }];
    let published = [Divergence {
        value: file.dataset("sinkhorn_divergence").unwrap().read_scalar().unwrap(),
        d_model: oracle(&file, "grad_sinkhorn_model"),
        blur: 0.01,
    }];
    let found = device.divergences(&Sinkhorn::PUBLISHED, &clouds).unwrap();
    assert_same(
        "one pair",
        &clouds,
        (&found, &published),
        Cost::Distance,
        PUBLISHED_BLUR,
    );

    // Two sessions; the behaviour stands in the last of three and of two blocks of features.
    let Some(path) = shared("oracle/trial_matching/losses.h5") else {
        return;
    };
    let file = hdf5::File::open(path).unwrap();
    let sessions = [("s0", 3), ("s1", 2)];
    for (name, is_with_jaw) in [("soft_trial_loss_with_jaw", true), ("soft_trial_loss_no_jaw", false)] {
        let clouds = sessions.map(|(session, n_blocks)| {
            let of = |side: &str| {
                let all = oracle(&file, &format!("features_{side}_{session}"));
                let n_columns = all.ncols() - if is_with_jaw { 0 } else { all.ncols() / n_blocks };
                all.slice(s![.., ..n_columns]).to_owned()
            };
            Clouds {
                model: of("model"),
                data: of("data"),
            }
        });
        let found = device.divergences(&Sinkhorn::PUBLISHED, &clouds).unwrap();
        let losses = found.iter().zip(&clouds);
        let losses: Vec<f64> = losses.map(|(d, c)| d.value / (c.data.ncols() as f64).sqrt()).collect();
        let expected: f64 = file.dataset(name).unwrap().read_scalar().unwrap();
        let mean = losses.iter().sum::<f64>() / 2.0;
        assert!((mean - expected).abs() < VALUE * expected, "{name}: {mean} {expected}");
    }
}

#[test]
fn a_step_of_soft_matching_on_the_device_is_the_step_on_the_processor() {
    if engines().len() < 3 {
        return; // said there
    }
    let folder = folder();
    for (name, matching) in [("published", "blur = 0.01"), ("wide", "blur_relative = 1.0")] {
        let loss =
            format!("loss = [{{ psth = {{}} }}, {{ trial_matching = {{ method = \"sinkhorn\", {matching} }} }}]");
        let train = |device: &str| {
            let out = format!("{name}-{device}");
            let arguments = ["train", "--config", "fit.toml", "--out", &out, "--device", device];
            let sets = ["train.max_steps = 2", "train.log_every = 1", &loss];
            let said = succeed(&folder, &with_sets(&arguments, &sets)).stderr;
            // The device's results agree with the processor's, so that alone wouldn't show where they are from.
            assert_eq!(
                said.contains("pairs of session and stimulus on"),
                device == "wgpu",
                "{said}"
            );
            assert!(!said.contains("on the processor: "), "{said}");
            out
        };
        let (cpu, gpu) = (train("cpu"), train("wgpu"));
        let (a, b) = (
            losses_of_the_first_step(&folder, &gpu),
            losses_of_the_first_step(&folder, &cpu),
        );
        assert!(b.iter().any(|(name, _)| name == "trial_matching"), "{b:?}");
        for ((name, a), (_, b)) in a.iter().zip(&b) {
            assert!((a - b).abs() <= 1e-5 * b.abs(), "{name}: {a} against {b}");
        }
        for ((parameter, a), (_, b)) in gradients(&folder, &gpu, 2).iter().zip(&gradients(&folder, &cpu, 2)) {
            // A tie would show as a gradient that differs by far more.
            assert_relative(&format!("dL/d{parameter}, {name}"), a, b, 1e-3);
        }
    }
}
