//! Every gradient against central differences, and every adjoint against the inner product.

mod common;
#[path = "gradients/counts.rs"]
mod counts;

use common::{central_difference, rng, two_sessions};
use losses::LossError;
use losses::adversarial::Discriminator;
use losses::firing_rate::firing_rate_loss;
use losses::gradient_split::GradientSplitter;
use losses::psth::{ConditionWeights, PsthLoss, spike_weights};
use losses::spike_gradient::{Batch, SpikeGradient};
use losses::statistics::{
    FeatureOptions, Filters, MovingMean, PSTH_STD_FLOOR, Populations, Psth, RecordedFeatures, Recording, Segments,
};
use losses::trial_loss::{Method, model_features, trial_loss};
use losses::trial_matching::{Candidates, TrialSubset};
use ndarray::{Array3, Axis, s};
use proptest::prelude::*;
use rand::RngExt;

/// Step of the differences; values and slopes are of order 1.
const STEP: f64 = 1e-5;
/// Truncation and rounding at that step.
const TOLERANCE: f64 = 1e-7;

fn random(dim: (usize, usize, usize), seed: u64) -> Array3<f64> {
    let mut rng = rng(seed);
    Array3::from_shape_simple_fn(dim, || rng.random_range(-1.0..1.0))
}

fn filters(n_bins: usize) -> Filters {
    let spike = MovingMean::half_overlapping(4).unwrap();
    Filters::new(n_bins, spike, MovingMean::resampling(2).unwrap()).unwrap()
}

fn psth_loss(recording: &Recording, weights: ConditionWeights) -> PsthLoss {
    let filter = filters(recording.n_bins()).spike();
    let data = Psth::of_recording(recording, &recording.all_trials(), filter).unwrap();
    let scale = data.scale(PSTH_STD_FLOOR);
    PsthLoss::new(data, scale, weights, filter, recording.n_bins()).unwrap()
}

#[test]
fn neuron_loss_gradient_equals_central_differences() {
    let recording = two_sessions(40, 1);
    for weights in [ConditionWeights::TrialShare, ConditionWeights::Equal] {
        // With a condition the batch lacks.
        for trial_counts in [[3, 5, 2], [4, 0, 6]] {
            let of_neurons = (0..13).map(|n| 0.1 + 0.07 * f64::from(n)).collect();
            let loss = psth_loss(&recording, weights).with_neuron_weights(of_neurons).unwrap();
            let sums = random((3, 40, 13), 2).mapv(|x| 3.0 * x.abs());
            let result = loss.evaluate(&sums.view(), &trial_counts).unwrap();
            assert!(result.per_neuron[12].is_nan(), "the hidden neuron takes no part");
            for seed in 10..30 {
                let direction = random(sums.dim(), seed);
                let slope = central_difference(&sums, &direction, STEP, |x| {
                    loss.evaluate(&x.view(), &trial_counts).unwrap().value
                });
                let found = (&result.d_sums * &direction).sum();
                assert!(
                    (found - slope).abs() < TOLERANCE * (1.0 + slope.abs()),
                    "{found} {slope}"
                );
                assert!(slope.abs() > 1e-3, "a direction that tests nothing");
            }
        }
    }
}

#[test]
fn neurons_of_equal_weight_leave_every_bit_of_the_neuron_loss() {
    let recording = two_sessions(40, 1);
    let plain = psth_loss(&recording, ConditionWeights::TrialShare);
    // 50 spikes or more in each of 13 neurons, and no limit at all.
    let of_spikes = [spike_weights(&[50; 13], 50), spike_weights(&[0; 13], 0)];
    let sums = random((3, 40, 13), 2).mapv(|x| 3.0 * x.abs());
    let expected = plain.evaluate(&sums.view(), &[3, 5, 2]).unwrap();
    for weights in of_spikes {
        assert_eq!(weights, [1.0; 13]);
        let found = plain.clone().with_neuron_weights(weights).unwrap();
        let found = found.evaluate(&sums.view(), &[3, 5, 2]).unwrap();
        assert_eq!(found.value.to_bits(), expected.value.to_bits());
        assert_eq!(found.d_sums, expected.d_sums);
    }
    // The mean over neurons as it was before there were weights.
    let observed: Vec<f64> = expected.per_neuron[..12].to_vec();
    assert_eq!(expected.value, observed.iter().sum::<f64>() / 12.0);
}

#[test]
fn neurons_with_few_spikes_count_in_proportion_to_them() {
    assert_eq!(
        spike_weights(&[0, 1, 25, 49, 50, 900], 50),
        [0.02, 0.02, 0.5, 0.98, 1.0, 1.0]
    );
    let recording = two_sessions(40, 1);
    let plain = psth_loss(&recording, ConditionWeights::TrialShare);
    let weights: Vec<f64> = (0..13).map(|n| 0.02 + 0.05 * f64::from(n)).collect();
    let weighted = plain.clone().with_neuron_weights(weights.clone()).unwrap();
    let sums = random((3, 40, 13), 2).mapv(|x| 3.0 * x.abs());
    let (plain, weighted) = (
        plain.evaluate(&sums.view(), &[3, 5, 2]).unwrap(),
        weighted.evaluate(&sums.view(), &[3, 5, 2]).unwrap(),
    );
    assert_eq!(plain.per_neuron[..12], weighted.per_neuron[..12]);
    let total: f64 = weights[..12].iter().sum();
    let sum: f64 = (0..12).map(|n| weights[n] * plain.per_neuron[n]).sum();
    assert!((weighted.value - sum / total).abs() < 1e-14);
    // The gradient of a neuron is that of the plain loss, by its share.
    for (n, weight) in weights.iter().enumerate().take(12) {
        let share = weight / total * 12.0;
        let difference =
            &weighted.d_sums.index_axis(Axis(2), n) - &plain.d_sums.index_axis(Axis(2), n).mapv(|d| d * share);
        assert!(difference.iter().all(|d| d.abs() < 1e-14));
    }
    let loss = psth_loss(&recording, ConditionWeights::TrialShare);
    assert!(loss.clone().with_neuron_weights(vec![1.0; 12]).is_err());
    assert!(loss.with_neuron_weights(vec![0.0; 13]).is_err());
}

#[test]
fn spikes_are_counted_in_valid_bins_of_the_selected_trials() {
    let recording = two_sessions(40, 1);
    let spikes = recording.spikes(&vec![vec![3, 5], vec![]]).unwrap();
    let a = &recording.sessions()[0];
    for (n, found) in spikes.iter().enumerate().take(6) {
        let count = |k: usize, valid: usize| (0..valid).map(|t| u64::from(a.counts[[k, t, n]])).sum::<u64>();
        assert_eq!(*found, count(3, 20) + count(5, 40));
    }
    assert_eq!(spikes[6..], [0; 7]);
    let few = recording.with_few_spikes(&recording.all_trials(), u64::MAX).unwrap();
    assert_eq!(
        few,
        (0..12).collect::<Vec<_>>(),
        "hidden neurons have no spikes to count"
    );
}

#[test]
fn gradients_of_a_discriminator_equal_central_differences_and_its_losses_are_binary_cross_entropies() {
    let discriminator = Discriminator::new(6, &mut rng(40));
    assert_eq!(
        discriminator.layers.iter().map(|l| l.weight.dim()).collect::<Vec<_>>(),
        [(6, 128), (128, 64), (64, 1)]
    );
    let bound = 1.0 / 6.0f64.sqrt();
    let largest = discriminator.layers[0]
        .weight
        .iter()
        .fold(0.0f64, |m, w| m.max(w.abs()));
    assert!(largest <= bound && largest > 0.95 * bound);
    let (x, y) = (random((1, 7, 6), 41), random((1, 5, 6), 42));
    let (x, y) = (x.index_axis(Axis(0), 0), y.index_axis(Axis(0), 0));
    let probability =
        |rows: &ndarray::ArrayView2<'_, f64>| discriminator.log_odds(rows).unwrap().mapv(|l| 1.0 / (1.0 + (-l).exp()));
    let (value, d) = discriminator.fool(&y).unwrap();
    let direct = probability(&y).mapv(|p| -p.ln()).mean().unwrap();
    assert!((value - direct).abs() < 1e-12);
    let (both, gradient) = discriminator.discriminate(&x, &y).unwrap();
    let direct = 0.5
        * (probability(&x).mapv(|p| -p.ln()).mean().unwrap()
            + probability(&y).mapv(|p| -(1.0 - p).ln()).mean().unwrap());
    assert!((both - direct).abs() < 1e-12);
    for seed in 43..53 {
        let direction = random((1, 5, 6), seed).index_axis_move(Axis(0), 0);
        let at = |step: f64| discriminator.fool(&(&y + &(&direction * step)).view()).unwrap().0;
        let slope = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        assert!(((&d * &direction).sum() - slope).abs() < TOLERANCE * (1.0 + slope.abs()));
        let mut directions = discriminator.clone();
        let mut rng = rng(seed);
        for layer in &mut directions.layers {
            layer.weight.mapv_inplace(|_| rng.random_range(-1.0..1.0));
            layer.bias.mapv_inplace(|_| rng.random_range(-1.0..1.0));
        }
        let at = |step: f64| {
            let mut moved = discriminator.clone();
            for (layer, direction) in moved.layers.iter_mut().zip(&directions.layers) {
                layer.weight.scaled_add(step, &direction.weight);
                layer.bias.scaled_add(step, &direction.bias);
            }
            moved.discriminate(&x, &y).unwrap().0
        };
        let slope = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        let found: f64 = gradient
            .layers
            .iter()
            .zip(&directions.layers)
            .map(|(g, d)| (&g.weight * &d.weight).sum() + (&g.bias * &d.bias).sum())
            .sum();
        assert!((found - slope).abs() < 1e-5 * (1.0 + slope.abs()), "{found} {slope}");
    }
    assert!(matches!(
        discriminator.fool(&x.slice(ndarray::s![.., ..5])),
        Err(LossError::Shape { .. })
    ));
    assert!(matches!(
        discriminator.fool(&x.slice(ndarray::s![..0, ..])),
        Err(LossError::NoData { .. })
    ));
}

#[test]
fn firing_rate_gradient_equals_central_differences() {
    let sums = random((2, 12, 5), 3).mapv(f64::abs);
    let targets = [4.0, 1.0, f64::NAN, 30.0, 7.5];
    let value = |x: &Array3<f64>| firing_rate_loss(&x.view(), &[3, 4], &targets, 2..9, 2.0).unwrap();
    let result = value(&sums);
    for seed in 10..30 {
        let direction = random(sums.dim(), seed);
        let slope = central_difference(&sums, &direction, STEP, |x| value(x).value);
        let found = (&result.d_sums * &direction).sum();
        assert!(
            (found - slope).abs() < TOLERANCE * (1.0 + slope.abs()),
            "{found} {slope}"
        );
    }
}

#[test]
fn firing_rate_loss_of_rates_worked_out_by_hand() {
    // 2 trials of 5 bins of 10 ms: neuron 0 fires 3 spikes in 0.1 s = 30 Hz, neuron 1 none.
    let mut sums = Array3::zeros((1, 5, 2));
    sums[[0, 1, 0]] = 1.0;
    sums[[0, 4, 0]] = 2.0;
    let result = firing_rate_loss(&sums.view(), &[2], &[28.0, 1.0], 0..5, 10.0).unwrap();
    assert_eq!(result.rates_hz, vec![30.0, 0.0]);
    assert!((result.value - 2.5).abs() < 1e-12);
}

#[test]
fn trial_matching_gradient_equals_central_differences() {
    let recording = two_sessions(40, 4);
    let filters = filters(40);
    let populations = Populations::by_area(&recording, 1).unwrap();
    let options = FeatureOptions {
        has_behaviour: true,
        ..FeatureOptions::default()
    };
    let data = RecordedFeatures::new(&recording, &populations, &filters, options)
        .unwrap()
        .normalized(&recording.all_trials())
        .unwrap();
    let conditions = [0, 1, 2, 0, 1, 2, 0];
    let mut rng = rng(5);
    let candidates: Vec<Vec<Candidates>> = data
        .sessions
        .iter()
        .map(|s| TrialSubset::RandomData(&mut rng).candidates(&conditions, &s.conditions))
        .collect();
    assert_eq!(candidates[0].len(), 3);
    assert_eq!(candidates[1].len(), 2, "session b has no trial of condition 2");
    let traces = random((7, 40, populations.len()), 6);
    let behaviour = random((7, 40, 1), 7);
    // Of the Sinkhorn divergence only where its potentials have converged: that is tested on its own.
    for method in [
        Method::Hard,
        Method::Energy {
            exponent: 1.0,
            by_part: false,
        },
        Method::Energy {
            exponent: 0.6,
            by_part: false,
        },
        Method::Energy {
            exponent: 1.0,
            by_part: true,
        },
    ] {
        let candidates = match method {
            Method::Hard => candidates.clone(),
            _ => data
                .sessions
                .iter()
                .map(|s| TrialSubset::All.candidates(&conditions, &s.conditions))
                .collect(),
        };
        let evaluate = |traces: &Array3<f64>, behaviour: &Array3<f64>| {
            let behaviour = behaviour.view();
            trial_loss(&method, &data, &filters, &traces.view(), Some(&behaviour), &candidates).unwrap()
        };
        let result = evaluate(&traces, &behaviour);
        assert_eq!(result.sessions.iter().flatten().count(), 2);
        if let Method::Energy {
            exponent,
            by_part: true,
        } = method
        {
            let alone = Method::Energy {
                exponent,
                by_part: false,
            };
            let model = model_features(
                &data,
                &filters,
                &traces.view(),
                Some(&filters.features(&behaviour.view())),
            )
            .unwrap();
            let mut sum = 0.0;
            for ((session, model), candidates) in data.sessions.iter().zip(&model).zip(&candidates) {
                let of = |columns: std::ops::Range<usize>| {
                    let columns = s![.., columns];
                    let (model, data) = (model.slice(columns), session.features.slice(columns));
                    alone.of_session(&model, &data, candidates).unwrap().unwrap().value
                };
                let (n, width) = (session.populations.len() + 1, filters.n_feature_bins());
                let parts: f64 = (0..n).map(|p| of(p * width..(p + 1) * width)).sum();
                sum += of(0..n * width) + parts / n as f64;
            }
            assert!(
                (result.value - sum / 2.0).abs() < 1e-12,
                "{} for {}",
                result.value,
                sum / 2.0
            );
        }
        for seed in 10..30 {
            let direction = random(traces.dim(), seed);
            let slope = central_difference(&traces, &direction, STEP, |x| evaluate(x, &behaviour).value);
            let found = (&result.d_traces * &direction).sum();
            assert!(
                (found - slope).abs() < TOLERANCE * (1.0 + slope.abs()),
                "{method:?}: {found} {slope}"
            );
            let direction = random(behaviour.dim(), seed);
            let slope = central_difference(&behaviour, &direction, STEP, |x| evaluate(&traces, x).value);
            let found = (result.d_behaviour.as_ref().unwrap() * &direction).sum();
            assert!(
                (found - slope).abs() < TOLERANCE * (1.0 + slope.abs()),
                "{method:?}: {found} {slope}"
            );
        }
    }
}

#[test]
fn sessions_are_compared_on_the_behaviours_that_they_recorded() {
    let whole = two_sessions(40, 4);
    let mut sessions = whole.sessions().to_vec();
    for (session, recorded) in sessions.iter_mut().zip([[true, true], [false, true]]) {
        let mut traces = random((session.counts.len_of(Axis(0)), 40, 2), 50);
        for (b, is_recorded) in recorded.into_iter().enumerate() {
            if !is_recorded {
                traces.index_axis_mut(Axis(2), b).fill(f64::NAN);
            }
        }
        session.behaviour = Some(traces);
    }
    let areas = whole.area_names().to_vec();
    let recording = Recording::new(sessions, areas, whole.n_neurons(), whole.n_conditions()).unwrap();
    let filters = filters(40);
    let populations = Populations::by_area(&recording, 1).unwrap();
    let of = |has_behaviour| {
        let options = FeatureOptions {
            has_behaviour,
            ..FeatureOptions::default()
        };
        let recorded = RecordedFeatures::new(&recording, &populations, &filters, options).unwrap();
        recorded.normalized(&recording.all_trials()).unwrap()
    };
    let (data, neurons) = (of(true), of(false));
    let t2 = filters.features(&Array3::zeros((1, 40, 1)).view()).len_of(Axis(1));
    for (s, channels) in [vec![0, 1], vec![1]].into_iter().enumerate() {
        let width = neurons.sessions[s].features.ncols();
        assert_eq!(data.sessions[s].channels, channels);
        assert_eq!(data.sessions[s].features.ncols(), width + channels.len() * t2);
        assert!(data.sessions[s].features.iter().all(|x| x.is_finite()));
    }
    let (traces, behaviour) = (random((7, 40, populations.len()), 6), random((7, 40, 2), 7));
    let conditions = [0, 1, 2, 0, 1, 2, 0];
    let candidates: Vec<Vec<Candidates>> = data
        .sessions
        .iter()
        .map(|s| TrialSubset::All.candidates(&conditions, &s.conditions))
        .collect();
    let method = Method::Energy {
        exponent: 1.0,
        by_part: false,
    };
    let evaluate = |behaviour: &Array3<f64>| {
        trial_loss(
            &method,
            &data,
            &filters,
            &traces.view(),
            Some(&behaviour.view()),
            &candidates,
        )
        .unwrap()
    };
    let found = evaluate(&behaviour).d_behaviour.unwrap();
    for seed in 10..20 {
        let direction = random(behaviour.dim(), seed);
        let slope = central_difference(&behaviour, &direction, STEP, |x| evaluate(x).value);
        assert!(((&found * &direction).sum() - slope).abs() < TOLERANCE * (1.0 + slope.abs()));
    }
    // Without the first session nothing pulls at the first channel.
    let second = losses::statistics::DataFeatures {
        sessions: data.sessions[1..].to_vec(),
    };
    let loss = trial_loss(
        &method,
        &second,
        &filters,
        &traces.view(),
        Some(&behaviour.view()),
        &candidates[1..],
    );
    let d = loss.unwrap().d_behaviour.unwrap();
    assert!(d.index_axis(Axis(2), 0).iter().all(|d| *d == 0.0));
    assert!(d.index_axis(Axis(2), 1).iter().any(|d| *d != 0.0));
}

/// Two losses or more of each form, for the trials of [`two_sessions`]' populations; gradients at counts are 0 in segments that a trial
/// has not to their end.
fn tasks(n_groups: usize, segments: &Segments, valid_bins: Option<&[usize]>) -> Vec<SpikeGradient> {
    let (sums, traces) = ((3, 40, 13), (9, 40, n_groups));
    let counts = |seed: u64| {
        let mut d = random((9, segments.len(), 13), seed);
        let ends = |s: usize| segments.of_bin().iter().rposition(|of| *of as usize == s).unwrap() + 1;
        for (k, &valid) in valid_bins.unwrap_or_default().iter().enumerate() {
            let cut = (0..segments.len()).filter(|&s| ends(s) > valid);
            cut.for_each(|s| d.slice_mut(ndarray::s![k, s, ..]).fill(0.0));
        }
        d
    };
    let task = |d_sums: Option<u64>, d_traces: Option<u64>, d_counts: Option<u64>| SpikeGradient {
        d_sums: d_sums.map(|seed| random(sums, seed)),
        d_traces: d_traces.map(|seed| random(traces, seed)),
        d_counts: d_counts.map(counts),
    };
    vec![
        task(Some(1), None, None),
        task(None, Some(2), None),
        task(Some(3), Some(4), None),
        task(None, None, None),
        task(None, None, Some(5)),
        task(Some(6), Some(7), Some(8)),
    ]
}

#[test]
fn compact_gradients_have_the_gram_matrices_of_the_dense_ones() {
    let recording = two_sessions(40, 16);
    compare_with_dense(&Populations::by_area(&recording, 1).unwrap());
    // Every neuron is in two populations.
    let mut both = Populations::by_area(&recording, 1).unwrap();
    both.groups.extend(Populations::by_neuron(&recording).groups);
    assert_eq!(both.len(), 4 + 12);
    compare_with_dense(&both);
}

fn compare_with_dense(populations: &Populations) {
    compare_with_dense_masked(populations, None);
    compare_with_dense_masked(populations, Some(&[40, 3, 0, 12, 39, 40, 25, 1, 17]));
}

fn compare_with_dense_masked(populations: &Populations, valid_bins: Option<&[usize]>) {
    let segments = Segments::new(&[12, 40], 40).unwrap();
    let batch = Batch {
        conditions: &[0, 2, 1, 1, 0, 2, 2, 0, 2],
        n_conditions: 3,
        populations,
        n_bins: 40,
        n_neurons: 13,
        valid_bins,
        segments: Some(&segments),
    };
    let tasks = tasks(populations.len(), &segments, valid_bins);
    let dense: Vec<Array3<f64>> = tasks.iter().map(|task| batch.dense(task).unwrap()).collect();
    let gram = batch.gram(&tasks).unwrap();
    for ((t, i, j), found) in gram.indexed_iter() {
        let rows = [i, j].map(|task| dense[task].index_axis(Axis(1), t));
        let expected = (&rows[0] * &rows[1]).sum();
        assert!((found - expected).abs() < 1e-11, "{found} {expected} at {t}, {i}, {j}");
    }
    let n_tasks = tasks.len();
    let coefficients = GradientSplitter::new(n_tasks, 0.9)
        .unwrap()
        .split(&gram.view())
        .unwrap();
    let combined = batch
        .dense_of(&batch.combine(&tasks, &coefficients.view()).unwrap())
        .unwrap();
    for ((k, t, n), found) in combined.indexed_iter() {
        let expected: f64 = (0..n_tasks).map(|i| coefficients[[t, i]] * dense[i][[k, t, n]]).sum();
        assert!((found - expected).abs() < 1e-12);
    }
    let mut damaged = tasks.clone();
    damaged[0].d_sums = Some(Array3::from_elem((3, 40, 13), f64::NAN));
    let gram = batch.gram(&damaged).unwrap();
    let refused = GradientSplitter::new(n_tasks, 0.9).unwrap().split(&gram.view());
    assert!(
        matches!(refused, Err(LossError::NonFinite { .. })),
        "NaN must not pass as 0"
    );
    let batch = Batch {
        conditions: &[0, 3],
        ..batch
    };
    assert!(
        batch.gram(&tasks).is_err(),
        "no such condition, and other numbers of trials"
    );
}

#[test]
fn compact_gradient_of_the_losses_equals_central_differences_at_the_spikes() {
    let recording = two_sessions(40, 17);
    let filters = filters(40);
    let populations = Populations::by_area(&recording, 1).unwrap();
    let data = RecordedFeatures::new(&recording, &populations, &filters, FeatureOptions::default())
        .unwrap()
        .normalized(&recording.all_trials())
        .unwrap();
    let conditions = [0, 1, 2, 0, 1, 2, 0, 1];
    let candidates: Vec<_> = data
        .sessions
        .iter()
        .map(|s| TrialSubset::FirstN.candidates(&conditions, &s.conditions))
        .collect();
    let neuron_loss = psth_loss(&recording, ConditionWeights::TrialShare);
    let evaluate = |spikes: &Array3<f64>| {
        let mut sums = Array3::zeros((3, 40, 13));
        for (k, &condition) in conditions.iter().enumerate() {
            let mut sum = sums.index_axis_mut(Axis(0), condition);
            sum += &spikes.index_axis(Axis(0), k);
        }
        let mut traces = Array3::zeros((8, 40, populations.len()));
        for (g, neurons) in populations.neurons().iter().enumerate() {
            let mean = spikes.select(Axis(2), neurons).mean_axis(Axis(2)).unwrap();
            traces.index_axis_mut(Axis(2), g).assign(&mean);
        }
        let psth = neuron_loss.evaluate(&sums.view(), &[3, 3, 2]).unwrap();
        let trial = trial_loss(&Method::Hard, &data, &filters, &traces.view(), None, &candidates).unwrap();
        let gradient = SpikeGradient {
            d_sums: Some(psth.d_sums),
            d_traces: Some(trial.d_traces),
            d_counts: None,
        };
        (psth.value + trial.value, gradient)
    };
    let spikes = random((8, 40, 13), 18);
    let batch = Batch {
        conditions: &conditions,
        n_conditions: 3,
        populations: &populations,
        n_bins: 40,
        n_neurons: 13,
        valid_bins: None,
        segments: None,
    };
    let gradient = batch.dense(&evaluate(&spikes).1).unwrap();
    for seed in 10..30 {
        let direction = random(spikes.dim(), seed);
        let slope = central_difference(&spikes, &direction, STEP, |x| evaluate(x).0);
        let found = (&gradient * &direction).sum();
        assert!(
            (found - slope).abs() < TOLERANCE * (1.0 + slope.abs()),
            "{found} {slope}"
        );
    }
}

proptest! {
    #[test]
    fn adjoint_of_a_moving_mean_satisfies_the_inner_product_identity(
        window in 1usize..9, stride in 1usize..6, padding in 0usize..8, n_bins in 9usize..40,
        seed in any::<u64>(),
    ) {
        prop_assume!(padding < window);
        let filter = MovingMean::new(window, stride, padding).unwrap();
        let x = random((2, n_bins, 3), seed);
        let y = random((2, filter.output_len(n_bins), 3), seed.wrapping_add(1));
        let forward = (&filter.apply(&x.view(), Axis(1)) * &y).sum();
        let backward = (&x * &filter.adjoint(&y.view(), Axis(1), n_bins)).sum();
        prop_assert!((forward - backward).abs() < 1e-12 * (1.0 + forward.abs()));
    }

    #[test]
    fn a_moving_mean_of_a_constant_is_the_constant_at_every_output(
        window in 1usize..9, stride in 1usize..6, padding in 0usize..8, n_bins in 1usize..40,
    ) {
        prop_assume!(padding < window);
        let filter = MovingMean::new(window, stride, padding).unwrap();
        let y = filter.apply(&ndarray::Array1::from_elem(n_bins, 2.5).view(), Axis(0));
        prop_assert!(y.iter().all(|v| (v - 2.5).abs() < 1e-14));
    }
}
