//! Variances and covariances of counts as losses, against the definition written down entry by entry.

use super::STEP;
use super::common::{central_difference, rng, two_sessions};
use losses::count_covariance::{CountCovarianceLoss, Entries};
use losses::statistics::{Presence, RecordedSession, Recording, Segments};
use ndarray::{Array2, Array3, Axis, s};
use rand_distr::{Distribution, Gamma, Poisson};

const WINDOWS: [usize; 2] = [7, 40];

/// Counts of one window: trials that have it, with their counts `[N]`.
type Counts = Vec<Vec<f64>>;

/// Unbiased covariance of two columns over windows, each over its own trials.
fn covariance(windows: &[Counts], i: usize, j: usize) -> f64 {
    let (mut products, mut terms) = (0.0, 0.0);
    for counts in windows.iter().filter(|counts| counts.len() > 1) {
        let n = counts.len() as f64;
        let mean = |i: usize| counts.iter().map(|row| row[i]).sum::<f64>() / n;
        let (a, b) = (mean(i), mean(j));
        products += counts.iter().map(|row| (row[i] - a) * (row[j] - b)).sum::<f64>();
        terms += n - 1.0;
    }
    if terms > 0.0 { products / terms } else { f64::NAN }
}

/// Windows of `w` bins of trials `[T, N]` that have so many valid bins.
fn windows(trials: &[(Array2<f64>, usize)], w: usize) -> Vec<Counts> {
    let n_bins = trials.first().map_or(0, |(trial, _)| trial.nrows());
    let window = |start: usize| {
        let has = trials.iter().filter(|(_, valid)| *valid >= start + w);
        has.map(|(trial, _)| trial.slice(s![start..start + w, ..]).sum_axis(Axis(0)).to_vec())
            .collect()
    };
    (0..n_bins / w).map(|i| window(i * w)).collect()
}

/// The loss of simulated trials `[K, T, N]` by its definition.
fn expected(
    recording: &Recording,
    spikes: &Array3<f64>,
    conditions: &[usize],
    valid: Option<&[usize]>,
    entries: Entries,
) -> f64 {
    let mut value = 0.0;
    for w in WINDOWS {
        let (mut sum, mut n_entries) = (0.0, 0.0);
        for session in recording.sessions() {
            let recorded = session.counts.mapv(f64::from);
            let of = |c: usize| {
                let own = (0..session.conditions.len()).filter(|&k| session.conditions[k] == c);
                let trials: Vec<_> = own
                    .map(|k| {
                        let valid = session.valid_bins[k];
                        let mut trial = recorded.index_axis(Axis(0), k).to_owned();
                        trial.slice_mut(s![valid.., ..]).fill(0.0);
                        (trial, valid)
                    })
                    .collect();
                windows(&trials, w)
            };
            let simulated = |c: usize, half: usize| {
                let own: Vec<usize> = (0..conditions.len()).filter(|&k| conditions[k] == c).collect();
                let own = own.into_iter().skip(half).step_by(2);
                let trials: Vec<_> = own
                    .map(|k| {
                        let trial = spikes.index_axis(Axis(0), k).select(Axis(1), &session.neurons);
                        (trial, valid.map_or(40, |valid| valid[k]))
                    })
                    .collect();
                windows(&trials, w)
            };
            let terms = |c: usize| of(c).iter().map(|counts| counts.len().saturating_sub(1)).sum::<usize>() as f64;
            let with: Vec<usize> = (0..3).filter(|&c| terms(c) > 0.0).collect();
            let usable: Vec<usize> = with
                .iter()
                .copied()
                .filter(|&c| {
                    [0, 1]
                        .iter()
                        .all(|&h| simulated(c, h).iter().any(|counts| counts.len() > 1))
                })
                .collect();
            let share = |among: &[usize], c: usize| terms(c) / among.iter().map(|&c| terms(c)).sum::<f64>();
            let variance = |i: usize| -> f64 { with.iter().map(|&c| share(&with, c) * covariance(&of(c), i, i)).sum() };
            let spikes_of = |i: usize| -> f64 {
                let trials = recorded.outer_iter().zip(&session.valid_bins);
                trials.map(|(trial, &valid)| trial.slice(s![..valid, i]).sum()).sum()
            };
            let counts: Vec<usize> = (0..session.neurons.len())
                .filter(|&i| spikes_of(i) >= 10.0 && variance(i) > 0.0)
                .collect();
            for &i in &counts {
                for &j in &counts {
                    if (i == j) != (entries == Entries::Neurons) {
                        continue;
                    }
                    n_entries += 1.0;
                    let difference = |half: usize| -> f64 {
                        let of_condition = |c: usize| covariance(&simulated(c, half), i, j) - covariance(&of(c), i, j);
                        usable.iter().map(|&c| share(&usable, c) * of_condition(c)).sum()
                    };
                    sum += difference(0) * difference(1) / (variance(i) * variance(j));
                }
            }
        }
        value += sum / n_entries / WINDOWS.len() as f64;
    }
    value
}

fn segment_counts(spikes: &Array3<f64>, segments: &Segments, valid: Option<&[usize]>) -> Array3<f64> {
    let (k, _, n) = spikes.dim();
    let mut counts = Array3::zeros((k, segments.len(), n));
    for ((k, t, n), z) in spikes.indexed_iter() {
        if valid.is_none_or(|valid| t < valid[k]) {
            counts[[k, segments.of_bin()[t] as usize, n]] += z;
        }
    }
    counts
}

fn loss(recording: &Recording, segments: &Segments, entries: Entries) -> CountCovarianceLoss {
    CountCovarianceLoss::new(recording, &recording.all_trials(), segments, &WINDOWS, entries).unwrap()
}

#[test]
fn losses_of_counts_and_their_gradients_are_those_of_the_definition() {
    let mut recording = two_sessions(40, 31);
    // A nearly silent neuron takes no part.
    recording = {
        let mut sessions = recording.sessions().to_vec();
        sessions[0].counts.slice_mut(s![.., 1.., 2]).fill(0);
        Recording::new(sessions, recording.area_names().to_vec(), 13, 3).unwrap()
    };
    let segments = Segments::new(&WINDOWS, 40).unwrap();
    let conditions = [0, 1, 2, 0, 1, 2, 0, 1, 0, 1, 0, 2, 0, 1, 2];
    let valid = [40, 40, 40, 12, 40, 33, 40, 40, 40, 40, 6, 40, 40, 40, 3];
    let spikes = super::random((15, 40, 13), 5).mapv(|x| x + 0.3);
    for entries in [Entries::Neurons, Entries::Pairs] {
        let loss = loss(&recording, &segments, entries);
        assert_eq!(loss.n_neurons(), 11);
        for valid in [None, Some(&valid[..])] {
            let evaluate = |spikes: &Array3<f64>| {
                let counts = segment_counts(spikes, &segments, valid);
                loss.evaluate(&counts.view(), &conditions, valid).unwrap()
            };
            let found = evaluate(&spikes);
            let definition = expected(&recording, &spikes, &conditions, valid, entries);
            assert!(
                (found.value - definition).abs() < 1e-10 * definition.abs(),
                "{} {definition}",
                found.value
            );
            let counts = segment_counts(&spikes, &segments, valid);
            for seed in 10..20 {
                let direction = super::random(counts.dim(), seed);
                let slope = central_difference(&counts, &direction, STEP, |x| {
                    loss.evaluate(&x.view(), &conditions, valid).unwrap().value
                });
                let inner = (&found.d_counts * &direction).sum();
                assert!((inner - slope).abs() < 1e-6 * (1.0 + slope.abs()), "{inner} {slope}");
            }
        }
        assert!(loss.is_comparable(&[1, 1, 1, 1]));
        assert!(!loss.is_comparable(&[1, 1, 1, 0, 0, 0, 2, 2, 2]));
        let counts = Array3::zeros((3, segments.len(), 13));
        assert!(
            loss.evaluate(&counts.view(), &[0, 0, 0], None).is_err(),
            "no half has two trials"
        );
        assert!(loss.evaluate(&counts.view(), &[0, 0], None).is_err());
    }
}

/// Trials of gamma-distributed gain: variance mean + mean²/shape, covariance of neurons with the same gain mean²/shape.
fn gained(shape: f64, n_trials: usize, seed: u64) -> Recording {
    let mut rng = rng(seed);
    let gain = Gamma::new(shape, 1.0 / shape).unwrap();
    let poisson = |mean: f64, rng: &mut _| -> u8 { Poisson::new(mean).unwrap().sample(rng) as u8 };
    let mut counts = Array3::zeros((n_trials, 4, 6));
    for mut trial in counts.outer_iter_mut() {
        let (a, b) = (gain.sample(&mut rng), gain.sample(&mut rng));
        for ((_, n), z) in trial.indexed_iter_mut() {
            *z = poisson(if n < 3 { a } else { b }, &mut rng);
        }
    }
    let session = RecordedSession {
        presence: None,
        name: "s".to_owned(),
        counts,
        valid_bins: vec![4; n_trials],
        conditions: vec![0; n_trials],
        trial_types: vec![0; n_trials],
        neurons: (0..6).collect(),
        areas: vec![0; 6],
        behaviour: None,
    };
    Recording::new(vec![session], vec!["a".to_owned()], 6, 1).unwrap()
}

/// Mean counts of a trial are m = 4, variances v = m + m²/shape, covariances within a half of the neurons m²/shape: 8 and 4 for shape 4.
#[test]
fn losses_of_counts_have_no_bias_and_know_variance_and_covariance() {
    let recorded = gained(4.0, 40_000, 1);
    let segments = Segments::new(&[4], 4).unwrap();
    let selection = recorded.all_trials();
    let of = |entries| CountCovarianceLoss::new(&recorded, &selection, &segments, &[4], entries).unwrap();
    let (neurons, pairs) = (of(Entries::Neurons), of(Entries::Pairs));
    let mean = |loss: &CountCovarianceLoss, shape: f64| {
        let values: Vec<f64> = (0..400)
            .map(|seed| {
                let model = gained(shape, 20, 100 + seed);
                let by_spikes = segments.counts(&model.sessions()[0]);
                let value = loss.evaluate(&by_spikes.view(), &[0; 20], None).unwrap().value;
                let between = loss.between(&model, &model.all_trials()).unwrap();
                assert!(
                    (value - between).abs() < 1e-9 * value.abs().max(1.0),
                    "{value} {between}"
                );
                value
            })
            .collect();
        let mean = values.iter().sum::<f64>() / 400.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 399.0;
        (mean, (variance / 400.0).sqrt())
    };
    // Variances 8 against 8, then 4 + 16/1.6 = 14; of 30 ordered pairs 12 share a gain, with covariances 4, then 10. Twenty trials are far too few
    // to know a variance, yet the mean over many has no bias: within 4 standard errors, which are below 0.05.
    for (loss, shape, truth) in [
        (&neurons, 4.0, 0.0),
        (&pairs, 4.0, 0.0),
        (&neurons, 1.6, (6.0f64 / 8.0).powi(2)),
        (&pairs, 1.6, 12.0 / 30.0 * (6.0f64 / 8.0).powi(2)),
    ] {
        let (found, error) = mean(loss, shape);
        assert!((found - truth).abs() < 4.0 * error, "{found} ± {error}, {truth}");
        assert!(error < 0.06, "{error}");
    }
}

#[test]
fn neurons_count_in_the_trials_that_they_were_observed_in() {
    // Of neuron 1 the trials from 200 on are missing, and hold counts that no trial has.
    let whole = gained(4.0, 300, 2);
    let mut session = whole.sessions()[0].clone();
    let mask = Array2::from_shape_fn((300, 6), |(k, n)| n != 1 || k < 200);
    session.counts.slice_mut(s![200.., .., 1]).fill(99);
    session.presence = Some(Presence::of_mask(mask, &(0..300).collect::<Vec<_>>(), 0.0).unwrap());
    let masked = Recording::new(vec![session.clone()], vec!["a".to_owned()], 6, 1).unwrap();
    let segments = Segments::new(&[4], 4).unwrap();
    let of = |recording: &Recording, trials: std::ops::Range<usize>, entries| {
        CountCovarianceLoss::new(recording, &vec![trials.collect()], &segments, &[4], entries).unwrap()
    };
    let model = gained(4.0, 60, 3);
    let counts = segments.counts(&model.sessions()[0]);
    let slopes = |loss: &CountCovarianceLoss| loss.evaluate(&counts.view(), &[0; 60], None).unwrap().d_counts;
    let (found, first, all) = (
        slopes(&of(&masked, 0..300, Entries::Neurons)),
        slopes(&of(&whole, 0..200, Entries::Neurons)),
        slopes(&of(&whole, 0..300, Entries::Neurons)),
    );
    let difference = |a: &Array3<f64>, b: &Array3<f64>, n: usize| {
        let column = |a: &Array3<f64>| a.index_axis(Axis(2), n).to_owned();
        (column(a) - column(b)).mapv(f64::abs).sum()
    };
    assert!(difference(&found, &first, 1) < 1e-12);
    assert!(difference(&found, &all, 1) > 1e-6);
    assert!(difference(&found, &all, 0) < 1e-12);
    // A pair is that of the trials that both were observed in: of 0 and 1, those of the first 200 trials.
    let (found, first) = (of(&masked, 0..300, Entries::Pairs), of(&whole, 0..200, Entries::Pairs));
    assert_eq!(found.n_neurons(), first.n_neurons());
    assert!(
        found.between(&masked, &masked.all_trials()).unwrap().abs() < 0.5,
        "missing counts of 99 were not read"
    );
}

#[test]
fn recordings_in_which_nothing_varies_are_refused() {
    let recording = gained(4.0, 50, 4);
    let mut session = recording.sessions()[0].clone();
    session.counts.fill(1);
    let constant = Recording::new(vec![session], vec!["a".to_owned()], 6, 1).unwrap();
    let segments = Segments::new(&[4], 4).unwrap();
    for entries in [Entries::Neurons, Entries::Pairs] {
        let refused = CountCovarianceLoss::new(&constant, &constant.all_trials(), &segments, &[4], entries);
        assert!(refused.is_err_and(|error| error.to_string().contains("varies over trials")));
        let other = CountCovarianceLoss::new(&recording, &recording.all_trials(), &segments, &[2], entries);
        assert!(other.is_err(), "no windows of two bins");
    }
}
