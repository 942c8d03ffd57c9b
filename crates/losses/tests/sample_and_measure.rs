//! Losses of sampled rollouts: closed forms, central differences, and the covariance of a coupled pair whose spikes are drawn.

mod common;

use common::{central_difference, rng};
use losses::LossError;
use losses::sample_and_measure::{
    Comparison, Covariances, Form, Group, HiddenRate, NoiseCovarianceLoss, SampledLoss, coincidence_cross_entropy,
    hidden_rate_loss, likelihood, psth_cross_entropy,
};
use ndarray::{Array2, Array3, ArrayView3, Axis};
use rand::RngExt;

/// Step of the differences; values and slopes are of order 1.
const STEP: f64 = 1e-5;
/// Truncation and rounding at that step.
const TOLERANCE: f64 = 1e-7;

type Loss<'a> = Box<dyn Fn(&ArrayView3<'_, f64>) -> SampledLoss + 'a>;

fn uniform(dim: (usize, usize, usize), seed: u64) -> Array3<f64> {
    let mut rng = rng(seed);
    Array3::from_shape_simple_fn(dim, || rng.random_range(0.05..0.9))
}

fn spikes(dim: (usize, usize, usize), p: f64, seed: u64) -> Array3<f64> {
    let mut rng = rng(seed);
    Array3::from_shape_simple_fn(dim, || f64::from(u8::from(rng.random::<f64>() < p)))
}

fn direction(dim: (usize, usize, usize), seed: u64) -> Array3<f64> {
    let mut rng = rng(seed);
    Array3::from_shape_simple_fn(dim, || rng.random_range(-1.0..1.0))
}

/// The gradient along random directions against central differences.
#[track_caller]
fn check(what: &str, at: &Array3<f64>, gradient: &Array3<f64>, loss: impl Fn(&ArrayView3<'_, f64>) -> f64) {
    for seed in 0..10 {
        let along = direction(at.dim(), 100 + seed);
        let slope = central_difference(at, &along, STEP, |x| loss(&x.view()));
        let found = (gradient * &along).sum();
        let scale = slope.abs().max(1e-3);
        assert!(
            (found - slope).abs() <= TOLERANCE * scale.max(1.0),
            "{what}: {found} {slope}"
        );
    }
}

#[test]
fn cross_entropies_are_their_definitions() {
    let z = ndarray::array![[[1.0, 0.0], [0.0, 1.0]]];
    let p = ndarray::array![[[0.25, 0.5], [0.1, 0.8]]];
    let expected = -(0.25f64.ln() + 0.5f64.ln() + 0.9f64.ln() + 0.8f64.ln()) / 4.0;
    let found = likelihood(&z.view(), &p.view(), None).unwrap();
    assert!((found.value - expected).abs() < 1e-15, "{}", found.value);
    let counted = ndarray::array![[[true, false], [false, true]]];
    let some = likelihood(&z.view(), &p.view(), Some(&counted.view())).unwrap();
    assert!((some.value + 0.5 * (0.25f64.ln() + 0.8f64.ln())).abs() < 1e-15);
    assert_eq!(some.d_probabilities[[0, 0, 1]], 0.0);

    // One trial of each: the trial average is the trial.
    let psth = psth_cross_entropy(&z.view(), &p.view()).unwrap();
    assert!((psth.value - expected).abs() < 1e-15);

    // ⟨z_0 z_1⟩ = 0 and ⟨p_0 p_1⟩ = (0.25·0.5 + 0.1·0.8)/2; both orders of the pair count.
    let coincidence = coincidence_cross_entropy(&z.view(), &p.view()).unwrap();
    let together: f64 = 0.5 * (0.25 * 0.5 + 0.1 * 0.8);
    assert!((coincidence.value + 2.0 * (1.0 - together).ln()).abs() < 1e-15);
}

#[test]
fn a_probability_of_nought_or_one_gives_a_large_finite_loss() {
    let z = ndarray::array![[[1.0, 0.0]]];
    let p = ndarray::array![[[0.0, 1.0]]];
    let found = likelihood(&z.view(), &p.view(), None).unwrap();
    assert!(found.value.is_finite() && found.value > 15.0);
    assert!(found.d_probabilities.iter().all(|d| d.is_finite()));
}

#[test]
fn gradients_of_cross_entropies_equal_central_differences() {
    let (z, p) = (spikes((5, 7, 3), 0.3, 1), uniform((6, 7, 3), 2));
    let own = spikes((6, 7, 3), 0.4, 3);
    let mask = own.mapv(|x| x == 0.0);
    let losses: [(&str, Loss<'_>); 4] = [
        ("likelihood", Box::new(|p| likelihood(&own.view(), p, None).unwrap())),
        (
            "masked likelihood",
            Box::new(|p| likelihood(&own.view(), p, Some(&mask.view())).unwrap()),
        ),
        ("trial average", Box::new(|p| psth_cross_entropy(&z.view(), p).unwrap())),
        (
            "coincidences",
            Box::new(|p| coincidence_cross_entropy(&z.view(), p).unwrap()),
        ),
    ];
    for (what, loss) in &losses {
        let found = loss(&p.view());
        assert!(found.d_spikes.is_none());
        check(what, &p, &found.d_probabilities, |p| loss(p).value);
    }
}

#[test]
fn gradients_of_hidden_rates_equal_central_differences() {
    let z = uniform((4, 6, 3), 5);
    let targets = [0.17, 0.4, 0.02];
    for form in [HiddenRate::CrossEntropy, HiddenRate::SquaredError] {
        let found = hidden_rate_loss(&z.view(), &targets, form).unwrap();
        check("hidden rate", &z, found.d_spikes.as_ref().unwrap(), |z| {
            hidden_rate_loss(z, &targets, form).unwrap().value
        });
        // At the targets there is nothing to gain: the squared error is 0, the cross-entropy's slope, of half a spike more in one bin more.
        let at = Array3::from_shape_fn((4, 6, 3), |(_, _, i)| match form {
            HiddenRate::CrossEntropy => (targets[i] * 25.0 - 0.5) / 24.0,
            HiddenRate::SquaredError => targets[i],
        });
        let there = hidden_rate_loss(&at.view(), &targets, form).unwrap();
        assert!(there.d_spikes.unwrap().iter().all(|d| d.abs() < 1e-12));
    }
    // A silent neuron is drawn to its target no harder than one of half a spike.
    let silent = Array3::zeros((4, 6, 3));
    let found = hidden_rate_loss(&silent.view(), &targets, HiddenRate::CrossEntropy).unwrap();
    let rate = 0.5 / 25.0;
    for ((_, _, i), d) in found.d_spikes.unwrap().indexed_iter() {
        let expected = (rate - targets[i]) / (rate * (1.0 - rate)) / 25.0 / 3.0;
        assert!((d - expected).abs() < 1e-12, "{d} {expected}");
    }
}

#[test]
fn gradients_of_noise_covariances_equal_central_differences() {
    let (recorded, other) = (spikes((6, 9, 3), 0.3, 7), spikes((5, 12, 3), 0.4, 8));
    let (p, z) = (uniform((5, 9, 3), 9), uniform((5, 9, 3), 10));
    let (p2, z2) = (uniform((4, 12, 3), 11), uniform((4, 12, 3), 12));
    let settings = [
        (Comparison::Lags(0), Form::Corrected),
        (Comparison::Lags(4), Form::Corrected),
        (Comparison::Window(1), Form::Corrected),
        (Comparison::Window(5), Form::Corrected),
        (Comparison::Lags(3), Form::PaperCode),
    ];
    for (comparison, form) in settings {
        let loss = NoiseCovarianceLoss {
            comparison,
            form,
            is_unbiased: false,
        };
        let evaluate = |p: &ArrayView3<'_, f64>, z: &ArrayView3<'_, f64>| {
            let groups = [
                Group {
                    recorded: recorded.view(),
                    p: *p,
                    spikes: *z,
                },
                Group {
                    recorded: other.view(),
                    p: p2.view(),
                    spikes: z2.view(),
                },
            ];
            loss.evaluate(&groups).unwrap()
        };
        let (_, gradients) = evaluate(&p.view(), &z.view());
        let what = format!("{comparison:?} {form:?}");
        check(&what, &p, &gradients[0].d_probabilities, |p| evaluate(p, &z.view()).0);
        if let Some(d_spikes) = &gradients[0].d_spikes {
            check(&what, &z, d_spikes, |z| evaluate(&p.view(), z).0);
        }
        assert_eq!(gradients.len(), 2);
    }
}

#[test]
fn gradients_of_noise_covariances_without_bias_equal_central_differences() {
    let recorded = spikes((6, 9, 3), 0.3, 7);
    let (p, z) = (uniform((9, 9, 3), 9), uniform((9, 9, 3), 10));
    for comparison in [Comparison::Lags(3), Comparison::Window(4)] {
        let loss = NoiseCovarianceLoss {
            comparison,
            form: Form::Corrected,
            is_unbiased: true,
        };
        let evaluate = |p: &ArrayView3<'_, f64>, z: &ArrayView3<'_, f64>| {
            let group = Group {
                recorded: recorded.view(),
                p: *p,
                spikes: *z,
            };
            loss.evaluate(&[group]).unwrap()
        };
        let (_, gradients) = evaluate(&p.view(), &z.view());
        let what = format!("{comparison:?} without bias");
        check(&what, &p, &gradients[0].d_probabilities, |p| evaluate(p, &z.view()).0);
        let d_spikes = gradients[0].d_spikes.as_ref().unwrap();
        check(&what, &z, d_spikes, |z| evaluate(&p.view(), z).0);
    }
    let few = NoiseCovarianceLoss {
        comparison: Comparison::Lags(1),
        form: Form::Corrected,
        is_unbiased: true,
    };
    let group = Group {
        recorded: recorded.view(),
        p: recorded.view(),
        spikes: recorded.view(),
    };
    assert!(matches!(few.evaluate(&[group]), Err(LossError::NoData { .. })));
}

#[test]
fn sampling_of_the_model_costs_nothing_without_bias() {
    // The teacher against many trials of itself: on average 0, and above 0 with the bias.
    let (recorded, _) = coupled(2000, 20, 50);
    let value = |is_unbiased: bool, seed: u64| {
        let (z, p) = coupled(16, 20, seed);
        let loss = NoiseCovarianceLoss {
            comparison: Comparison::Window(4),
            form: Form::Corrected,
            is_unbiased,
        };
        let group = Group {
            recorded: recorded.view(),
            p: p.view(),
            spikes: z.view(),
        };
        loss.evaluate(&[group]).unwrap().0
    };
    let mean = |is_unbiased| (0..400).map(|seed| value(is_unbiased, 1000 + seed)).sum::<f64>() / 400.0;
    let (with, without) = (mean(false), mean(true));
    assert!(with > 0.0 && without.abs() < 0.2 * with, "{with} {without}");
}

/// Two neurons, the first drives the second one bin later: `(z, p)` of K trials.
fn coupled(k: usize, t: usize, seed: u64) -> (Array3<f64>, Array3<f64>) {
    let mut rng = rng(seed);
    let (mut z, mut p) = (Array3::<f64>::zeros((k, t, 2)), Array3::<f64>::zeros((k, t, 2)));
    for trial in 0..k {
        for s in 0..t {
            // The stimulus modulates both.
            let drive = -2.0 + (s as f64 / 3.0).sin();
            let before = if s > 0 { z[[trial, s - 1, 0]] } else { 0.0 };
            for (n, x) in [drive, drive + 2.0 * before].into_iter().enumerate() {
                p[[trial, s, n]] = 1.0 / (1.0 + (-x).exp());
                z[[trial, s, n]] = f64::from(u8::from(rng.random::<f64>() < p[[trial, s, n]]));
            }
        }
    }
    (z, p)
}

/// Covariance of the second neuron's probability with the first one's earlier spikes (within a bin, its probability), summed one
/// by one.
fn model_covariance(z: &Array3<f64>, p: &Array3<f64>, lag: usize) -> f64 {
    let (k, t, _) = z.dim();
    let centre = |x: &Array3<f64>| x - &x.mean_axis(Axis(0)).unwrap().insert_axis(Axis(0));
    let (n, m) = (centre(z), centre(p));
    let mut sum = 0.0;
    for trial in 0..k {
        for s in lag..t {
            sum += m[[trial, s, 1]]
                * if lag == 0 {
                    m[[trial, s, 0]]
                } else {
                    n[[trial, s - lag, 0]]
                };
        }
    }
    sum / ((k - 1) * (t - lag)) as f64
}

#[test]
fn the_corrected_term_is_the_covariance_of_spikes_that_a_coupling_makes() {
    let (k, t) = (4000, 60);
    let (z, p) = coupled(k, t, 20);
    let spikes = Covariances::of_spikes(&[z.view()], 3).unwrap();
    // By the coupling: cov = p_0 (1 − p_0) (σ(a + 2) − σ(a)), averaged over bins.
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    let exact: f64 = (1..t)
        .map(|s| {
            let (before, now) = (-2.0 + ((s - 1) as f64 / 3.0).sin(), -2.0 + (s as f64 / 3.0).sin());
            let p0 = logistic(before);
            p0 * (1.0 - p0) * (logistic(now + 2.0) - logistic(now))
        })
        .sum::<f64>()
        / (t - 1) as f64;
    // Standard error of a mean of products of standard deviation about 0.1, K·T terms.
    let error = 4.0 * 0.15 / ((k * t) as f64).sqrt();
    assert!(exact > 10.0 * error, "the test could not tell it from 0");
    let found = [spikes.0[[1, 1, 0]], model_covariance(&z, &p, 1)];
    assert!(found.iter().all(|c| (c - exact).abs() < error), "{found:?} {exact}");
    // At lag 0 and backwards there is none, and probabilities alone never see it.
    for none in [spikes.0[[0, 1, 0]], spikes.0[[1, 0, 1]], model_covariance(&z, &p, 0)] {
        assert!(none.abs() < error, "{none}");
    }

    // The loss of the teacher against other trials of itself is what sampling leaves; p·p is off by the coupling.
    let (recorded, _) = coupled(k, t, 21);
    let group = [Group {
        recorded: recorded.view(),
        p: p.view(),
        spikes: z.view(),
    }];
    let value = |form| {
        let comparison = Comparison::Lags(1);
        let loss = NoiseCovarianceLoss {
            comparison,
            form,
            is_unbiased: false,
        };
        loss.evaluate(&group).unwrap().0
    };
    assert!(value(Form::Corrected) < error * error, "{}", value(Form::Corrected));
    assert!(
        value(Form::PaperCode) > exact * exact / 8.0,
        "{}",
        value(Form::PaperCode)
    );
}

#[test]
fn covariances_of_windows_are_those_of_counts() {
    // Cov of counts in a window of w bins, divided by w, is Σ_d (1 − |d|/w) C(d) where C depends on the lag alone.
    let (k, t, w) = (3000, 64, 4);
    let (z, _) = coupled(k, t, 30);
    let counts = Array3::from_shape_fn((k, t / w, 2), |(trial, s, n)| {
        (0..w).map(|b| z[[trial, s * w + b, n]]).sum::<f64>()
    });
    let of_counts = Covariances::of_spikes(&[counts.view()], 0).unwrap().0[[0, 1, 0]] / w as f64;
    let c = Covariances::of_spikes(&[z.view()], w - 1).unwrap();
    let weighted: f64 = (0..w)
        .map(|d| {
            let both = if d == 0 {
                c.0[[0, 1, 0]]
            } else {
                c.0[[d, 1, 0]] + c.0[[d, 0, 1]]
            };
            (1.0 - d as f64 / w as f64) * both
        })
        .sum();
    // Windows that start at every bin and those at every fourth differ by the stimulus's phase and by sampling.
    assert!((of_counts - weighted).abs() < 0.1 * weighted, "{of_counts} {weighted}");

    // The loss of windows is 0 where and only where these agree.
    let loss = NoiseCovarianceLoss {
        comparison: Comparison::Window(w),
        form: Form::Corrected,
        is_unbiased: false,
    };
    let group = |p: &Array3<f64>| {
        let group = [Group {
            recorded: z.view(),
            p: p.view(),
            spikes: z.view(),
        }];
        loss.evaluate(&group).unwrap().0
    };
    // With its own spikes as probabilities the model's covariance is that of the data.
    assert!(group(&z) < 1e-24);
    assert!(group(&Array3::from_elem(z.dim(), 0.1)) > 0.5 * weighted * weighted);
}

#[test]
fn constant_shifts_of_a_stimulus_do_not_enter_and_bad_groups_are_refused() {
    let z = spikes((6, 20, 2), 0.3, 40);
    let shifted = &z + &Array2::from_shape_fn((20, 2), |(s, _)| s as f64).insert_axis(Axis(0));
    let (a, b) = (
        Covariances::of_spikes(&[z.view()], 2).unwrap(),
        Covariances::of_spikes(&[shifted.view()], 2).unwrap(),
    );
    assert!((&a.0 - &b.0).iter().all(|d| d.abs() < 1e-12));
    // Twice the same group is the same covariance.
    let twice = Covariances::of_spikes(&[z.view(), z.view()], 2).unwrap();
    assert!((&a.0 - &twice.0).iter().all(|d| d.abs() < 1e-15));

    let few = spikes((3, 20, 2), 0.3, 41);
    let short = spikes((6, 2, 2), 0.3, 42);
    let wide = spikes((6, 20, 3), 0.3, 43);
    for groups in [vec![], vec![few.view()], vec![short.view()]] {
        assert!(matches!(
            Covariances::of_spikes(&groups, 2),
            Err(LossError::NoData { .. })
        ));
    }
    assert!(matches!(
        Covariances::of_spikes(&[z.view(), wide.view()], 2),
        Err(LossError::Shape { .. })
    ));
    assert!(likelihood(&z.view(), &few.view(), None).is_err());
    let nothing = z.mapv(|_| false);
    assert!(matches!(
        likelihood(&z.view(), &z.view(), Some(&nothing.view())),
        Err(LossError::NoData { .. })
    ));
    assert!(matches!(
        hidden_rate_loss(&z.view(), &[0.1, 1.5], HiddenRate::SquaredError),
        Err(LossError::Parameter { .. })
    ));
}
