//! Neurons that were not observed in every trial, and trials that don't have every bin, against the same statistics written down neuron by neuron.

mod common;

use common::{central_difference, rng, two_sessions};
use losses::firing_rate::firing_rate_loss_by_bins;
use losses::metrics::{fano_factors, noise_correlations, pearson, spike_counts};
use losses::nulls::NullModel;
use losses::psth::{ConditionWeights, PsthLoss};
use losses::spike_gradient::{Batch, SpikeGradient};
use losses::statistics::{
    DataFeatures, FeatureOptions, Filters, MovingMean, PSTH_STD_FLOOR, Populations, Presence, Psth, RecordedFeatures,
    RecordedSession, Recording, mask_beyond,
};
use losses::trial_loss::{Method, trial_loss};
use losses::trial_matching::TrialSubset;
use ndarray::{Array2, Array3, Axis, s};
use rand::RngExt;

/// One session of 60 trials of two conditions and 6 neurons; neuron n misses a share of n/8 of the trials. Counts of missing
/// trials are 9 in each bin, which no other bin has.
fn absent(seed: u64) -> (Recording, Array2<bool>) {
    let mut rng = rng(seed);
    let (k, t, n) = (60, 20, 6);
    let mask = Array2::from_shape_fn((k, n), |(_, n)| rng.random::<f64>() >= n as f64 / 8.0);
    let shared: Vec<u8> = (0..k).map(|_| rng.random_range(0..3)).collect();
    let counts = Array3::from_shape_fn((k, t, n), |(k, _, n)| {
        if mask[[k, n]] {
            rng.random_range(0..3) + shared[k]
        } else {
            9
        }
    });
    let session = RecordedSession {
        name: "s".to_owned(),
        counts,
        valid_bins: (0..k).map(|k| if k == 7 { t / 2 } else { t }).collect(),
        conditions: (0..k).map(|k| k % 2).collect(),
        trial_types: vec![0; k],
        neurons: (0..n).collect(),
        areas: (0..n).map(|n| n % 2).collect(),
        presence: Some(Presence::of_mask(mask.clone(), &(0..k).collect::<Vec<_>>(), 0.8).unwrap()),
        behaviour: None,
    };
    let areas = vec!["V1".to_owned(), "M1".to_owned()];
    (Recording::new(vec![session], areas, n, 2).unwrap(), mask)
}

fn count(recording: &Recording, k: usize, t: usize, n: usize) -> f64 {
    f64::from(recording.sessions()[0].counts[[k, t, n]])
}

#[test]
fn psths_and_rates_are_means_over_the_trials_that_a_neuron_was_observed_in() {
    let (recording, mask) = absent(1);
    let filter = MovingMean::new(1, 1, 0).unwrap();
    let psth = Psth::of_recording(&recording, &recording.all_trials(), filter).unwrap();
    let rates = recording.rates_hz(&recording.all_trials(), 2.0).unwrap();
    let spikes = recording.spikes(&recording.all_trials()).unwrap();
    for n in 0..6 {
        let (mut sum, mut bins) = (0.0, 0);
        for c in 0..2 {
            let own: Vec<usize> = (0..60).filter(|k| k % 2 == c && mask[[*k, n]]).collect();
            assert_eq!(psth.n_trials[[c, n]], own.len());
            for t in 0..20 {
                // Trial 7 has 10 valid bins.
                let there: Vec<usize> = own.iter().copied().filter(|k| *k != 7 || t < 10).collect();
                let mean = there.iter().map(|&k| count(&recording, k, t, n)).sum::<f64>() / there.len() as f64;
                assert!((psth.values[[c, t, n]] - mean).abs() < 1e-12);
                sum += there.iter().map(|&k| count(&recording, k, t, n)).sum::<f64>();
                bins += there.len();
            }
        }
        assert_eq!(spikes[n] as f64, sum);
        assert!((rates[n] - sum / (bins as f64 * 0.002)).abs() < 1e-9);
    }
}

#[test]
fn noise_correlations_go_over_the_trials_that_both_neurons_were_observed_in() {
    let (recording, mask) = absent(2);
    let found = noise_correlations(&recording, &recording.all_trials(), 10).unwrap();
    assert_eq!(found[0].len(), 15);
    for pair in &found[0] {
        let (i, j) = (pair.first, pair.second);
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for c in 0..2 {
            let both: Vec<usize> = (0..60)
                .filter(|k| k % 2 == c && *k != 7 && mask[[*k, i]] && mask[[*k, j]])
                .collect();
            for window in [0..10, 10..20] {
                let of = |n: usize| -> Vec<f64> {
                    let sum = |k: &usize| window.clone().map(|t| count(&recording, *k, t, n)).sum::<f64>();
                    let counts: Vec<f64> = both.iter().map(sum).collect();
                    let mean = counts.iter().sum::<f64>() / counts.len() as f64;
                    counts.iter().map(|count| count - mean).collect()
                };
                x.extend(of(i));
                y.extend(of(j));
            }
        }
        // Means are 0 already, so that Pearson's coefficient is that of the residuals.
        let expected = pearson(&x, &y).unwrap();
        assert!(
            (pair.correlation - expected).abs() < 1e-9,
            "{i}, {j}: {} {expected}",
            pair.correlation
        );
        assert!(pair.correlation > 0.3, "neurons share their trial's count");
    }
}

#[test]
fn fano_factors_leave_out_trials_that_a_neuron_was_not_observed_in() {
    let (recording, mask) = absent(3);
    let counts = &spike_counts(&recording, &recording.all_trials(), 0..20).unwrap()[0];
    let found = fano_factors(counts);
    for n in 0..6 {
        let own = |c: usize| -> Vec<f64> {
            let trials = (0..60).filter(|k| k % 2 == c && *k != 7 && mask[[*k, n]]);
            trials
                .map(|k| (0..20).map(|t| count(&recording, k, t, n)).sum())
                .collect()
        };
        let (a, b) = (own(0), own(1));
        let squares = |v: &[f64]| {
            let mean = v.iter().sum::<f64>() / v.len() as f64;
            v.iter().map(|x| (x - mean).powi(2)).sum::<f64>()
        };
        let all: f64 = a.iter().chain(&b).sum();
        let n_all = (a.len() + b.len()) as f64;
        let expected = (squares(&a) + squares(&b)) / (n_all - 2.0) / (all / n_all);
        assert!((found[n] - expected).abs() < 1e-9);
        assert_eq!(counts.spikes()[n], all);
    }
}

#[test]
fn the_nearest_trial_of_the_same_part_and_condition_stands_in_and_no_other() {
    let (recording, mask) = absent(4);
    let mut session = recording.sessions()[0].clone();
    let before = session.counts.clone();
    let parts: Vec<Vec<usize>> = (0..3).map(|p| (0..60).filter(|k| k % 3 == p).collect()).collect();
    session.stand_in_for_absent(&parts);
    let mut n_filled = 0;
    for ((k, n), is_present) in mask.indexed_iter() {
        let found = session.counts.slice(s![k, .., n]);
        let nearest = (0..60)
            .filter(|&other| other % 6 == k % 6 && mask[[other, n]] && (other != 7 || k == 7))
            .min_by_key(|&other| (other.abs_diff(k), other));
        let source = if *is_present { k } else { nearest.unwrap_or(k) };
        assert_eq!(found, before.slice(s![source, .., n]), "trial {k}, neuron {n}");
        n_filled += usize::from(!is_present);
    }
    assert!(n_filled > 50);
    // Statistics of single neurons see nothing of it.
    let filled = Recording::new(vec![session], vec!["V1".to_owned(), "M1".to_owned()], 6, 2).unwrap();
    let all = recording.all_trials();
    assert_eq!(
        filled.rates_hz(&all, 2.0).unwrap(),
        recording.rates_hz(&all, 2.0).unwrap()
    );
    assert_eq!(
        noise_correlations(&filled, &all, 10).unwrap(),
        noise_correlations(&recording, &all, 10).unwrap()
    );
}

#[test]
fn neurons_that_miss_many_trials_are_in_no_population() {
    let (recording, mask) = absent(5);
    let share = |n: usize| mask.column(n).iter().filter(|is_present| **is_present).count() as f64 / 60.0;
    let kept: Vec<usize> = (0..6).filter(|n| share(*n) >= 0.8).collect();
    assert!(kept.contains(&0) && !kept.contains(&5));
    let mut found: Vec<usize> = Populations::by_area_if_any(&recording, 1)
        .groups
        .iter()
        .flat_map(|g| g.neurons.clone())
        .collect();
    found.sort_unstable();
    assert_eq!(found, kept);
    assert_eq!(Populations::by_neuron(&recording).groups.len(), kept.len());
}

#[test]
fn null_models_are_made_of_the_trials_that_a_neuron_was_observed_in() {
    let (recording, _) = absent(6);
    let all = recording.all_trials();
    for null in NullModel::ALL {
        let made = null.generate(&recording, &all, 400, 1, &mut rng(7)).unwrap();
        let session = &made.sessions()[0];
        assert!(
            session
                .presence
                .as_ref()
                .unwrap()
                .is_present
                .iter()
                .all(|is_present| *is_present)
        );
        let mean = |recording: &Recording, n: usize| recording.rates_hz(&recording.all_trials(), 2.0).unwrap()[n];
        for n in 0..6 {
            // 400 trials of 20 bins with counts of mean 2: half a per cent is one standard error of independent counts; trials
            // share a gain in one null, and neuron 5 has 22 recorded trials to be drawn from. Counts of 9 would give 70 % more.
            let (found, expected) = (mean(&made, n), mean(&recording, n));
            assert!(
                (found / expected - 1.0).abs() < 0.12,
                "{null:?}, neuron {n}: {found} {expected}"
            );
        }
    }
}

#[test]
fn neurons_that_were_observed_throughout_change_no_bit() {
    let plain = two_sessions(40, 1);
    let mut sessions = plain.sessions().to_vec();
    for session in &mut sessions {
        let mask = Array2::from_elem((session.conditions.len(), session.neurons.len()), true);
        session.presence = Some(Presence::of_mask(mask, &[0, 1], 0.95).unwrap());
        session.stand_in_for_absent(&[vec![0, 1, 2]]);
    }
    let masked = Recording::new(sessions, plain.area_names().to_vec(), 13, 3).unwrap();
    let all = plain.all_trials();
    let filter = MovingMean::half_overlapping(4).unwrap();
    let psth = |recording: &Recording| Psth::of_recording(recording, &all, filter).unwrap();
    let bits = |psth: &Psth| psth.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&psth(&masked)), bits(&psth(&plain)));
    assert_eq!(psth(&masked).n_trials, psth(&plain).n_trials);
    let (a, b) = (
        noise_correlations(&masked, &all, 8).unwrap(),
        noise_correlations(&plain, &all, 8).unwrap(),
    );
    for (a, b) in a.concat().iter().zip(b.concat()) {
        assert_eq!((a.first, a.second), (b.first, b.second));
        assert!((a.correlation - b.correlation).abs() < 1e-12);
    }
    let wrong = Presence {
        is_present: Array2::from_elem((2, 2), true),
        is_kept: vec![true; 2],
    };
    let mut sessions = plain.sessions().to_vec();
    sessions[0].presence = Some(wrong);
    assert!(Recording::new(sessions, plain.area_names().to_vec(), 13, 3).is_err());
}

/// [`two_sessions`] with trials of unequal length, and behaviour that is missing beyond them.
fn unequal() -> Recording {
    let mut sessions = two_sessions(40, 5).sessions().to_vec();
    for session in &mut sessions {
        for k in 0..session.conditions.len() {
            let valid = [40, 31, 22, 40, 27, 13, 36, 9][k];
            session.valid_bins[k] = valid;
            session.counts.slice_mut(s![k, valid.., ..]).fill(0);
            session
                .behaviour
                .as_mut()
                .unwrap()
                .slice_mut(s![k, valid.., ..])
                .fill(f64::NAN);
        }
    }
    Recording::new(sessions, vec!["V1".to_owned(), "M1".to_owned()], 13, 3).unwrap()
}

fn masked_features(recording: &Recording, filters: &Filters) -> DataFeatures {
    let populations = Populations::by_area(recording, 1).unwrap();
    let options = FeatureOptions {
        has_behaviour: true,
        is_masked: true,
        ..FeatureOptions::default()
    };
    RecordedFeatures::new(recording, &populations, filters, options)
        .unwrap()
        .normalized(&recording.all_trials())
        .unwrap()
}

fn filters_of(n_bins: usize) -> Filters {
    let spike = MovingMean::half_overlapping(4).unwrap();
    Filters::new(n_bins, spike, MovingMean::resampling(2).unwrap()).unwrap()
}

#[test]
fn psths_by_bins_are_means_over_the_trials_that_have_each_bin() {
    let recording = unequal();
    let filter = MovingMean::new(1, 1, 0).unwrap();
    let psth = Psth::of_recording_by_bins(&recording, &recording.all_trials(), filter).unwrap();
    let session = &recording.sessions()[0];
    for t in 0..40 {
        let trials: Vec<usize> = (0..8)
            .filter(|&k| session.conditions[k] == 1 && t < session.valid_bins[k])
            .collect();
        let sum: f64 = trials.iter().map(|&k| f64::from(session.counts[[k, t, 2]])).sum();
        let expected = sum / trials.len() as f64;
        let found = psth.values[[1, t, 2]];
        assert!(found.is_nan() == trials.is_empty() && (trials.is_empty() || (found - expected).abs() < 1e-12));
    }
    // Complete trials: the same as whole windows.
    let complete = two_sessions(40, 5);
    let only = vec![vec![0, 1, 2, 4, 5, 6, 7], (0..7).collect()];
    let filter = filters_of(40).spike();
    let by_windows = Psth::of_recording(&complete, &only, filter).unwrap();
    let by_bins = Psth::of_recording_by_bins(&complete, &only, filter).unwrap();
    assert_eq!(by_windows.n_trials, by_bins.n_trials);
    for (a, b) in by_windows.values.iter().zip(&by_bins.values) {
        assert!(a.is_nan() && b.is_nan() || (a - b).abs() < 1e-12, "{a} {b}");
    }
}

#[test]
fn trials_of_unequal_length_in_the_models_place_have_no_loss_and_no_gradient() {
    let recording = unequal();
    let filters = filters_of(40);
    let data = masked_features(&recording, &filters);
    // All trials with a feature bin take part: windows reach 3 + 2 bins.
    assert_eq!([data.sessions[0].trials.len(), data.sessions[1].trials.len()], [8, 7]);
    let populations = Populations::by_area(&recording, 1).unwrap();
    for (s, session) in recording.sessions().iter().enumerate() {
        let k = session.conditions.len();
        let mut traces = Array3::zeros((k, 40, populations.len()));
        for (g, group) in populations.groups.iter().enumerate().filter(|(_, g)| g.session == s) {
            let own = session.counts.select(Axis(2), &group.columns).mapv(f64::from);
            traces
                .index_axis_mut(Axis(2), g)
                .assign(&own.mean_axis(Axis(2)).unwrap());
        }
        // Whatever a model does beyond the end of its trials.
        for (trial, &valid) in traces.outer_iter_mut().zip(&session.valid_bins) {
            let mut trial = trial;
            trial.slice_mut(s![valid.., ..]).fill(7.0);
        }
        let mut behaviour = session
            .behaviour
            .clone()
            .unwrap()
            .mapv(|x| if x.is_nan() { 9.0 } else { x });
        mask_beyond(&mut traces, &session.valid_bins);
        mask_beyond(&mut behaviour, &session.valid_bins);
        let candidates: Vec<_> = (0..2)
            .map(|other| {
                if other == s {
                    TrialSubset::FirstN.candidates(&session.conditions, &session.conditions)
                } else {
                    Vec::new()
                }
            })
            .collect();
        let behaviour = behaviour.view();
        let loss = trial_loss(
            &Method::Hard,
            &data,
            &filters,
            &traces.view(),
            Some(&behaviour),
            &candidates,
        )
        .unwrap();
        assert!(loss.value.abs() < 1e-20, "{}", loss.value);
        assert!(loss.d_traces.iter().all(|d| d.abs() < 1e-10));
    }
}

#[test]
fn gradients_of_masked_losses_equal_central_differences_at_the_spikes() {
    let recording = unequal();
    let filters = filters_of(40);
    let populations = Populations::by_area(&recording, 1).unwrap();
    let data = masked_features(&recording, &filters);
    let conditions = [0, 1, 2, 0, 1, 2, 0, 1];
    let valid = [12, 40, 33, 40, 3, 18, 27, 40];
    let batch = Batch {
        conditions: &conditions,
        n_conditions: 3,
        populations: &populations,
        n_bins: 40,
        n_neurons: 13,
        valid_bins: Some(&valid),
    };
    let candidates: Vec<_> = data
        .sessions
        .iter()
        .map(|s| TrialSubset::FirstN.candidates(&conditions, &s.conditions))
        .collect();
    let psth = Psth::of_recording_by_bins(&recording, &recording.all_trials(), filters.spike()).unwrap();
    let scale = psth.scale(PSTH_STD_FLOOR);
    let neuron_loss = PsthLoss::new(psth, scale, ConditionWeights::TrialShare, filters.spike(), 40).unwrap();
    let mut rng = rng(3);
    let mut random = |dim| Array3::<f64>::from_shape_simple_fn(dim, || rng.random_range(-1.0..1.0));
    let behaviour = {
        let mut behaviour = random((8, 40, 1));
        mask_beyond(&mut behaviour, &valid);
        behaviour
    };
    let targets: Vec<f64> = (0..13).map(f64::from).collect();
    let evaluate = |spikes: &Array3<f64>| {
        let mut sums = Array3::zeros((3, 40, 13));
        for (k, &condition) in conditions.iter().enumerate() {
            let mut sum = sums.slice_mut(s![condition, ..valid[k], ..]);
            sum += &spikes.slice(s![k, ..valid[k], ..]);
        }
        let mut traces = Array3::zeros((8, 40, populations.len()));
        for (g, neurons) in populations.neurons().iter().enumerate() {
            let mean = spikes.select(Axis(2), neurons).mean_axis(Axis(2)).unwrap();
            traces.index_axis_mut(Axis(2), g).assign(&mean);
        }
        mask_beyond(&mut traces, &valid);
        let trials_at = batch.trials_at();
        let psth = neuron_loss.evaluate_by_bins(&sums.view(), &trials_at.view()).unwrap();
        let rate = firing_rate_loss_by_bins(&sums.view(), trials_at.sum(), &targets, 0..40, 2.0).unwrap();
        let trial = trial_loss(
            &Method::Hard,
            &data,
            &filters,
            &traces.view(),
            Some(&behaviour.view()),
            &candidates,
        )
        .unwrap();
        let gradient = SpikeGradient {
            d_sums: Some(psth.d_sums + &(rate.d_sums * 1e-3)),
            d_traces: Some(trial.d_traces),
        };
        (psth.value + trial.value + 1e-3 * rate.value, gradient)
    };
    let spikes = random((8, 40, 13));
    let gradient = batch.dense(&evaluate(&spikes).1).unwrap();
    for (k, &valid) in valid.iter().enumerate() {
        assert!(
            gradient.slice(s![k, valid.., ..]).iter().all(|d| *d == 0.0),
            "trial {k}"
        );
        // A window of the features reaches over 3 bins at least.
        assert!(
            gradient.slice(s![k, ..valid, ..]).iter().any(|d| *d != 0.0),
            "trial {k}"
        );
    }
    for _ in 0..20 {
        let direction = random(spikes.dim());
        let slope = central_difference(&spikes, &direction, 1e-5, |x| evaluate(x).0);
        let found = (&gradient * &direction).sum();
        // Truncation and rounding at that step, for slopes of order 1.
        assert!((found - slope).abs() < 1e-7 * (1.0 + slope.abs()), "{found} {slope}");
    }
}
