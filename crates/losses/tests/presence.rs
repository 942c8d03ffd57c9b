//! Neurons that were not observed in every trial, and trials that don't have every bin, against the same statistics written down neuron by neuron.

mod common;

use common::{central_difference, rng, two_sessions};
use losses::firing_rate::firing_rate_loss_by_bins;
use losses::metrics::{fano_factors, noise_correlations, pearson, psth_reliability, spike_counts};
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

/// The same with other limits of presence.
fn with_min_presence(recording: &Recording, min_presence: f64) -> RecordedSession {
    let mut session = recording.sessions()[0].clone();
    let presence = session.presence.take().unwrap();
    let all: Vec<usize> = (0..60).collect();
    session.presence = Some(Presence::of_mask(presence.is_present, &all, min_presence).unwrap());
    session
}

#[test]
fn trials_of_the_same_part_and_condition_stand_in_each_drawn_by_itself() {
    let (recording, mask) = absent(4);
    let before = with_min_presence(&recording, 0.45);
    let kept: Vec<bool> = before.presence.as_ref().unwrap().is_kept.clone();
    assert_eq!(kept.iter().filter(|is_kept| !**is_kept).count(), 1, "{kept:?}");
    let parts: Vec<Vec<usize>> = (0..3).map(|p| (0..60).filter(|k| k % 3 == p).collect()).collect();
    let filled = |seed: u64| {
        let mut session = before.clone();
        session.stand_in_for_absent(&parts, |k, n| rng(seed + 1000 * k as u64 + n as u64));
        session
    };
    let session = filled(0);
    let (mut n_filled, mut sources) = (0, std::collections::BTreeSet::new());
    for ((k, n), is_present) in mask.indexed_iter() {
        let found = session.counts.slice(s![k, .., n]);
        if *is_present || !kept[n] {
            assert_eq!(found, before.counts.slice(s![k, .., n]), "trial {k}, neuron {n}");
            continue;
        }
        let mut could = (0..60).filter(|&other| other % 6 == k % 6 && mask[[other, n]] && (other != 7 || k == 7));
        let source = could.find(|&other| found == before.counts.slice(s![other, .., n]));
        sources.insert((
            n,
            source.unwrap_or_else(|| panic!("trial {k}, neuron {n}: none stands in")),
        ));
        n_filled += 1;
    }
    // Each absent trial has about 7 candidates; all different is not expected, half of the draws different is.
    assert!(
        n_filled > 50 && 2 * sources.len() > n_filled,
        "{} of {n_filled}",
        sources.len()
    );
    assert_eq!(filled(0).counts, session.counts);
    assert_ne!(filled(1).counts, session.counts);
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
fn a_neuron_that_is_away_for_a_stretch_keeps_its_variance() {
    // 400 trials with counts of their own; the neuron is away from the last 200 on.
    let n_trials = 400;
    let counts = Array3::from_shape_fn((n_trials, 1, 1), |(k, _, _)| (k % 50) as u8);
    let mask = Array2::from_shape_fn((n_trials, 1), |(k, _)| k < 200);
    let all: Vec<usize> = (0..n_trials).collect();
    let mut session = one_session(counts, vec![0; n_trials], mask, 0.5);
    session.stand_in_for_absent(&[all], |k, _| rng(k as u64));
    let away: Vec<f64> = (200..n_trials).map(|k| f64::from(session.counts[[k, 0, 0]])).collect();
    let mean = away.iter().sum::<f64>() / 200.0;
    let variance = away.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 199.0;
    // Uniform from 0 to 49: mean 24.5 and variance 208; standard errors of 200 draws are 1.0 and 13.
    assert!(
        (mean - 24.5).abs() < 5.0 && (variance - 208.0).abs() < 65.0,
        "{mean} {variance}"
    );
}

/// A session of one area with these counts and mask; model neurons in order.
fn one_session(counts: Array3<u8>, conditions: Vec<usize>, mask: Array2<bool>, min_presence: f64) -> RecordedSession {
    let (n_trials, n_bins, n_neurons) = counts.dim();
    let all: Vec<usize> = (0..n_trials).collect();
    RecordedSession {
        name: "s".to_owned(),
        valid_bins: vec![n_bins; n_trials],
        trial_types: vec![0; n_trials],
        neurons: (0..n_neurons).collect(),
        areas: vec![0; n_neurons],
        presence: Some(Presence::of_mask(mask, &all, min_presence).unwrap()),
        behaviour: None,
        counts,
        conditions,
    }
}

#[test]
fn where_no_trial_of_the_part_and_condition_is_left_training_and_then_other_conditions_stand_in() {
    // Trials 0 to 3 are for training, 4 to 6 for the test; counts say which trial they are of.
    let counts = Array3::from_shape_fn((7, 2, 1), |(k, _, _)| k as u8 + 1);
    let conditions = vec![0, 0, 1, 1, 1, 0, 2];
    let is_present = [true, false, true, true, false, true, false];
    let mask = Array2::from_shape_fn((7, 1), |(k, _)| is_present[k]);
    let parts = [vec![0, 1, 2, 3], vec![], vec![4, 5, 6]];
    let mut found = vec![std::collections::BTreeSet::new(); 7];
    for seed in 0..40 {
        let mut session = one_session(counts.clone(), conditions.clone(), mask.clone(), 0.5);
        session.valid_bins[2] = 1; // shorter than what is missing
        session.stand_in_for_absent(&parts, |k, _| rng(seed + 100 * k as u64));
        for (k, found) in found.iter_mut().enumerate() {
            found.insert(session.counts[[k, 0, 0]] - 1);
        }
    }
    let found: Vec<Vec<u8>> = found.into_iter().map(|set| set.into_iter().collect()).collect();
    // 1: its condition in training; 4: none in the test, so training, without the short trial; 6: nowhere, so the test.
    assert_eq!(found, [vec![0], vec![0], vec![2], vec![3], vec![3], vec![5], vec![5]]);
    // Longer than any: the longest.
    let mut session = one_session(counts.clone(), conditions, mask.clone(), 0.5);
    session.valid_bins = vec![1, 1, 1, 1, 2, 1, 1];
    session.stand_in_for_absent(&parts[..1], |_, _| rng(0));
    session.stand_in_for_absent(&[vec![0], vec![4]], |_, _| rng(0));
    assert_eq!(session.counts[[4, 0, 0]], 1);
}

#[test]
fn a_neuron_without_any_trial_is_in_no_population_whatever_the_limit() {
    let mask = Array2::from_shape_fn((4, 2), |(k, n)| n == 0 && k < 2);
    let presence = Presence::of_mask(mask.clone(), &[0, 1, 2, 3], 0.0).unwrap();
    assert_eq!(presence.is_kept, [true, false]);
    assert_eq!(Presence::of_mask(mask, &[2, 3], 0.0).unwrap().is_kept, [false, false]);
}

#[test]
fn the_ceiling_of_psths_halves_the_trials_that_a_neuron_was_observed_in() {
    // Two neurons alike; the second is there in 5 of 60 trials of each condition.
    let mut random = rng(11);
    let counts = Array3::from_shape_fn((120, 30, 2), |(k, t, _)| {
        let mean = 0.4 * (1.0 + ((t as f64 + 5.0 * (k % 2) as f64) / 4.0).sin());
        rand_distr::Poisson::new(mean).map_or(0, |p| rand_distr::Distribution::sample(&p, &mut random) as u8)
    });
    let mask = Array2::from_shape_fn((120, 2), |(k, n)| n == 0 || k % 24 < 2);
    let conditions: Vec<usize> = (0..120).map(|k| k % 2).collect();
    let filter = MovingMean::new(1, 1, 0).unwrap();
    let masked = one_session(counts.clone(), conditions, mask, 0.9);
    let of = |session: RecordedSession, neurons: &[usize]| {
        let recording = Recording::new(vec![session], vec!["V1".to_owned()], 2, 2).unwrap();
        psth_reliability(&recording, &recording.all_trials(), filter, neurons, 400, &mut rng(12)).unwrap()
    };
    let found = of(masked.clone(), &[1]);
    // The same neuron in a recording of its own trials alone.
    let own: Vec<usize> = (0..120).filter(|k| k % 24 < 2).collect();
    let alone = RecordedSession {
        counts: counts.select(ndarray::Axis(0), &own),
        valid_bins: vec![30; own.len()],
        conditions: own.iter().map(|k| k % 2).collect(),
        trial_types: vec![0; own.len()],
        presence: None,
        ..masked.clone()
    };
    let expected = of(alone, &[1]);
    // 400 random halves of five trials leave an error of some thousandths.
    assert!(
        (found.half_correlation - expected.half_correlation).abs() < 0.02,
        "{found:?} {expected:?}"
    );
    assert!(
        (found.ceiling_noiseless - expected.ceiling_noiseless).abs() < 0.02,
        "{found:?} {expected:?}"
    );
    let whole = of(
        RecordedSession {
            presence: None,
            ..masked.clone()
        },
        &[0],
    );
    assert!((of(masked, &[0]).ceiling_noiseless - whole.ceiling_noiseless).abs() < 0.02);
}

#[test]
fn null_models_don_t_have_neurons_in_conditions_that_they_were_not_observed_in() {
    let mut random = rng(13);
    let counts = Array3::from_shape_fn((80, 10, 2), |(k, _, n)| {
        if n == 1 && k % 2 == 1 {
            0
        } else {
            random.random_range(0..3)
        }
    });
    let mask = Array2::from_shape_fn((80, 2), |(k, n)| n == 0 || k % 2 == 0);
    let session = one_session(counts, (0..80).map(|k| k % 2).collect(), mask, 0.9);
    let recording = Recording::new(vec![session], vec!["V1".to_owned()], 2, 2).unwrap();
    let rate = |recording: &Recording| recording.rates_hz(&recording.all_trials(), 2.0).unwrap()[1];
    for null in NullModel::ALL {
        let made = null
            .generate(&recording, &recording.all_trials(), 400, 1, &mut rng(14))
            .unwrap();
        let filter = MovingMean::new(1, 1, 0).unwrap();
        let psth = Psth::of_recording(&made, &made.all_trials(), filter).unwrap();
        assert_eq!(
            [psth.n_trials[[0, 1]] > 0, psth.n_trials[[1, 1]] > 0],
            [true, false],
            "{null:?}"
        );
        assert!(psth.n_trials[[1, 0]] > 0);
        // 200 trials of ten bins, of a mean of 1: a standard error of 2 %. Half of the trials silent would give half of it.
        assert!((rate(&made) / rate(&recording) - 1.0).abs() < 0.15, "{null:?}");
    }
}

#[test]
fn the_shared_gain_is_that_of_neurons_in_populations() {
    // Independent neurons; the last, which has more spikes than all others, is away from half of the trials.
    let mut random = rng(15);
    let mask = Array2::from_shape_fn((200, 5), |(k, n)| n < 4 || k < 100);
    let counts = Array3::from_shape_fn((200, 10, 5), |(k, _, n)| {
        let mean = if n < 4 { 0.5 } else { 8.0 };
        let drawn =
            rand_distr::Poisson::new(mean).map_or(0, |p| rand_distr::Distribution::sample(&p, &mut random) as u8);
        if mask[[k, n]] { drawn } else { 0 }
    });
    let session = one_session(counts, vec![0; 200], mask, 0.9);
    let recording = Recording::new(vec![session], vec!["V1".to_owned()], 5, 1).unwrap();
    let null = NullModel::PsthSharedGain;
    let made = null
        .generate(&recording, &recording.all_trials(), 2000, 1, &mut rng(16))
        .unwrap();
    let sums: Vec<f64> = made.sessions()[0]
        .counts
        .outer_iter()
        .map(|trial| trial.slice(s![.., ..4]).iter().map(|&c| f64::from(c)).sum())
        .collect();
    let mean = sums.iter().sum::<f64>() / sums.len() as f64;
    let variance = sums.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (sums.len() - 1) as f64;
    // Poisson: 1 (standard error 3 %), with the estimated gain's own error (about 0.1 · 20 · sqrt(2/200)); with the absence
    // taken for a gain it would be 7.
    assert!((variance / mean - 1.0).abs() < 0.4, "{}", variance / mean);
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
        session.stand_in_for_absent(&[vec![0, 1, 2]], |_, _| rng(0));
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

/// [`unequal`] in which neurons were not observed in every trial: the second column of the first session in too few to be in a
/// population. What stands in for absent ones is 5 in each bin, which no other bin has.
fn unequal_and_absent() -> Recording {
    let recording = unequal();
    let mut sessions = recording.sessions().to_vec();
    for (s, session) in sessions.iter_mut().enumerate() {
        let (n_trials, n_neurons) = (session.conditions.len(), session.neurons.len());
        let mask = Array2::from_shape_fn((n_trials, n_neurons), |(k, n)| match (s, n) {
            (0, 1) => k < 3,
            _ => (3 * k + 5 * n + s) % 7 != 0,
        });
        for ((k, n), _) in mask.indexed_iter().filter(|(_, is_present)| !**is_present) {
            let valid = session.valid_bins[k];
            session.counts.slice_mut(s![k, ..valid, n]).fill(5);
        }
        let all: Vec<usize> = (0..n_trials).collect();
        session.presence = Some(Presence::of_mask(mask, &all, 0.5).unwrap());
    }
    Recording::new(sessions, recording.area_names().to_vec(), 13, 3).unwrap()
}

#[test]
fn psths_and_rates_leave_out_absent_neurons_of_trials_of_unequal_length() {
    let recording = unequal_and_absent();
    let all = recording.all_trials();
    let rates = recording.rates_hz(&all, 2.0).unwrap();
    for filter in [MovingMean::new(1, 1, 0).unwrap(), filters_of(40).spike()] {
        let psth = Psth::of_recording_by_bins(&recording, &all, filter).unwrap();
        let mut n_shortened = 0;
        for session in recording.sessions() {
            for (column, &neuron) in session.neurons.iter().enumerate() {
                let there = |k: &usize| session.is_present(*k, column);
                for condition in 0..3 {
                    let of_condition = (0..session.conditions.len()).filter(|&k| session.conditions[k] == condition);
                    let trials: Vec<usize> = of_condition.filter(there).collect();
                    assert_eq!(psth.n_trials[[condition, neuron]], trials.len());
                    for o in 0..filter.output_len(40) {
                        let (mut sum, mut n_at) = (0.0, 0);
                        for t in filter.bins(o, 40) {
                            for &k in trials.iter().filter(|&&k| t < session.valid_bins[k]) {
                                sum += f64::from(session.counts[[k, t, column]]);
                                n_at += 1;
                            }
                        }
                        n_shortened += usize::from(n_at > 0 && n_at < trials.len() * filter.bins(o, 40).len());
                        let found = psth.values[[condition, o, neuron]];
                        let is_equal = if n_at == 0 {
                            found.is_nan()
                        } else {
                            (found - sum / n_at as f64).abs() < 1e-12
                        };
                        assert!(is_equal, "{condition} {o} {neuron}: {found}, {sum} of {n_at}");
                    }
                }
                let (mut sum, mut n_bins) = (0.0, 0);
                for k in (0..session.conditions.len()).filter(there) {
                    let own = session.counts.slice(s![k, ..session.valid_bins[k], column]);
                    sum += own.iter().map(|&count| f64::from(count)).sum::<f64>();
                    n_bins += session.valid_bins[k];
                }
                assert!((rates[neuron] - sum / (n_bins as f64 * 0.002)).abs() < 1e-9);
            }
        }
        assert!(n_shortened > 100, "{n_shortened}");
    }
}

#[test]
fn features_of_kept_neurons_are_over_the_bins_that_trials_have() {
    let recording = unequal_and_absent();
    let (filters, resampled) = (filters_of(40), MovingMean::resampling(2).unwrap());
    let (n_psth, n_features) = (filters.n_psth_bins(), filters.n_feature_bins());
    let data = masked_features(&recording, &filters);
    let populations = Populations::by_area(&recording, 1).unwrap();
    assert!(
        !populations
            .groups
            .iter()
            .any(|g| g.session == 0 && g.columns.contains(&1))
    );
    // A feature of values over time, if the trial has all bins of its windows.
    let feature = |o: usize, valid: usize, value: &dyn Fn(usize) -> f64| -> Option<f64> {
        let windows = || resampled.bins(o, n_psth).map(|p| filters.spike().bins(p, 40));
        let mean = |bins: std::ops::Range<usize>| bins.clone().map(value).sum::<f64>() / bins.len() as f64;
        let n = windows().count() as f64;
        windows()
            .all(|bins| bins.end <= valid)
            .then(|| windows().map(mean).sum::<f64>() / n)
    };
    for (found, session) in data.sessions.iter().zip(recording.sessions()) {
        let groups = populations.groups.iter().filter(|g| g.session == found.session);
        let mut columns: Vec<Vec<Option<f64>>> = Vec::new();
        let (mut means, mut stds) = (Vec::new(), Vec::new());
        let of_trials = |value: &dyn Fn(usize, usize) -> f64| -> Vec<Option<f64>> {
            let trials = found.trials.iter();
            trials
                .flat_map(|&k| (0..n_features).map(move |o| (k, o)))
                .map(|(k, o)| feature(o, session.valid_bins[k], &|t| value(k, t)))
                .collect()
        };
        for group in groups {
            let values = of_trials(&|k, t| {
                let counts = group.columns.iter().map(|&n| f64::from(session.counts[[k, t, n]]));
                counts.sum::<f64>() / group.columns.len() as f64
            });
            let known: Vec<f64> = values.iter().copied().flatten().collect();
            assert!(known.len() < values.len());
            let mean = known.iter().sum::<f64>() / known.len() as f64;
            let squares: f64 = known.iter().map(|x| (x - mean).powi(2)).sum();
            let std = (squares / (known.len() as f64 - 1.0)).sqrt();
            means.push(mean);
            stds.push(std);
            columns.push(
                values
                    .into_iter()
                    .map(|x| Some(x.map_or(0.0, |x| (x - mean) / std)))
                    .collect(),
            );
        }
        let behaviour = session.behaviour.as_ref().unwrap();
        let values = of_trials(&|k, t| behaviour[[k, t, 0]]);
        let known: Vec<f64> = values.iter().copied().flatten().collect();
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        columns.push(values.into_iter().map(|x| Some(x.unwrap_or(mean))).collect());
        for (a, b) in found.mean.iter().zip(&means).chain(found.std.iter().zip(&stds)) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
        assert!((found.behaviour_mean[0] - mean).abs() < 1e-12);
        assert_eq!(found.features.ncols(), columns.len() * n_features);
        for ((row, at), value) in found.features.indexed_iter() {
            let expected = columns[at / n_features][row * n_features + at % n_features].unwrap();
            assert!((value - expected).abs() < 1e-9, "{row} {at}: {value} {expected}");
        }
    }
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
        segments: None,
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
            d_counts: None,
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
