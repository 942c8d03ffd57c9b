//! Variances and covariances of counts as losses, against the definition written down entry by entry.

use super::STEP;
use super::common::{central_difference, rng, two_sessions};
use losses::count_covariance::{CountCovarianceLoss, CountCovarianceValue, Entries};
use losses::statistics::{Presence, RecordedCounts, RecordedSession, Recording, Segments, TrialSelection};
use ndarray::{Array2, Array3, Axis, s};
use rand_distr::{Distribution, Gamma, Poisson};

const WINDOWS: [usize; 2] = [7, 40];

/// A trial `[T, N]` and how many bins it has.
type Trial = (Array2<f64>, usize);

/// Counts of a window of the trials that have it.
fn window(trials: &[Trial], start: usize, w: usize) -> Vec<Vec<f64>> {
    let has = trials.iter().filter(|(_, valid)| *valid >= start + w);
    has.map(|(trial, _)| trial.slice(s![start..start + w, ..]).sum_axis(Axis(0)).to_vec())
        .collect()
}

/// Unbiased covariance of two columns, averaged over the windows that two trials have, by weights.
fn covariance(trials: &[Trial], w: usize, weights: &[f64], i: usize, j: usize) -> Option<f64> {
    let (mut sum, mut total) = (0.0, 0.0);
    for (start, weight) in weights.iter().enumerate() {
        let counts = window(trials, start * w, w);
        if counts.len() < 2 {
            continue;
        }
        let n = counts.len() as f64;
        let mean = |i: usize| counts.iter().map(|row| row[i]).sum::<f64>() / n;
        let (a, b) = (mean(i), mean(j));
        sum += weight * counts.iter().map(|row| (row[i] - a) * (row[j] - b)).sum::<f64>() / (n - 1.0);
        total += weight;
    }
    (total > 0.0).then(|| sum / total)
}

fn half(trials: &[Trial], half: usize) -> Vec<Trial> {
    trials.iter().skip(half).step_by(2).cloned().collect()
}

/// The loss of simulated trials `[K, T, N]` by its definition.
fn expected(
    recording: &Recording,
    spikes: &Array3<f64>,
    conditions: &[usize],
    valid: Option<&[usize]>,
    entries: Entries,
) -> f64 {
    let mut means = Vec::new();
    for w in WINDOWS {
        let (mut sum, mut n_entries) = (0.0, 0.0);
        for session in recording.sessions() {
            let recorded = session.counts.mapv(f64::from);
            let of = |c: usize| -> Vec<Trial> {
                let own = (0..session.conditions.len()).filter(|&k| session.conditions[k] == c);
                own.map(|k| (recorded.index_axis(Axis(0), k).to_owned(), session.valid_bins[k]))
                    .collect()
            };
            let simulated = |c: usize| -> Vec<Trial> {
                let own = (0..conditions.len()).filter(|&k| conditions[k] == c);
                own.map(|k| {
                    let trial = spikes.index_axis(Axis(0), k).select(Axis(1), &session.neurons);
                    (trial, valid.map_or(40, |valid| valid[k]))
                })
                .collect()
            };
            let weights = |c: usize| -> Vec<f64> {
                let n = |start: usize| window(&of(c), start * w, w).len();
                (0..40 / w).map(|start| n(start).saturating_sub(1) as f64).collect()
            };
            let share = |c: usize| weights(c).iter().sum::<f64>();
            let with: Vec<usize> = (0..3).filter(|&c| share(c) > 0.0).collect();
            let variance = |i: usize| -> f64 {
                let own = |c: usize| share(c) * covariance(&of(c), w, &weights(c), i, i).unwrap();
                with.iter().map(|&c| own(c)).sum::<f64>() / with.iter().map(|&c| share(c)).sum::<f64>()
            };
            // Of each half of the trials of a stimulus, model less data.
            let difference = |c: usize, h: usize, i: usize, j: usize| {
                let model = covariance(&half(&simulated(c), h), w, &weights(c), i, j)?;
                Some(model - covariance(&half(&of(c), h), w, &weights(c), i, j)?)
            };
            let usable: Vec<usize> = (0..3)
                .filter(|&c| (0..2).all(|h| difference(c, h, 0, 0).is_some()))
                .collect();
            let spikes_of = |i: usize| -> f64 {
                let trials = recorded.outer_iter().zip(&session.valid_bins);
                trials.map(|(trial, &valid)| trial.slice(s![..valid, i]).sum()).sum()
            };
            let counts: Vec<usize> = (0..session.neurons.len()).filter(|&i| spikes_of(i) >= 10.0).collect();
            for &i in &counts {
                for &j in &counts {
                    if (i == j) != (entries == Entries::Neurons) || usable.is_empty() {
                        continue;
                    }
                    n_entries += 1.0;
                    let total: f64 = usable.iter().map(|&c| share(c)).sum();
                    let of_half = |h: usize| -> f64 {
                        let own = |c: usize| share(c) * difference(c, h, i, j).unwrap() / total;
                        usable.iter().map(|&c| own(c)).sum()
                    };
                    sum += of_half(0) * of_half(1) / (variance(i) * variance(j));
                }
            }
        }
        if n_entries > 0.0 {
            means.push(sum / n_entries);
        }
    }
    means.iter().sum::<f64>() / means.len() as f64
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

fn recorded(recording: &Recording, lengths: &[usize]) -> RecordedCounts {
    RecordedCounts::new(recording, Segments::new(lengths, recording.n_bins()).unwrap())
}

fn loss(
    recording: &Recording,
    selection: &TrialSelection,
    lengths: &[usize],
    entries: Entries,
    like: Option<&CountCovarianceLoss>,
) -> CountCovarianceLoss {
    let counts = recorded(recording, lengths);
    let loss = CountCovarianceLoss::new(recording, &counts, selection, lengths, entries, like);
    loss.unwrap().unwrap()
}

#[test]
fn losses_of_counts_and_their_gradients_are_those_of_the_definition() {
    // A nearly silent neuron takes no part; the third stimulus of the first session has too few trials.
    let recording = {
        let recording = two_sessions(40, 31);
        let mut sessions = recording.sessions().to_vec();
        sessions[0].counts.slice_mut(s![.., 1.., 2]).fill(0);
        sessions[0].conditions = vec![0, 1, 0, 0, 1, 0, 0, 1];
        sessions[1].conditions = vec![0, 1, 0, 1, 0, 1, 1];
        sessions[1].valid_bins[2] = 15;
        Recording::new(sessions, recording.area_names().to_vec(), 13, 3).unwrap()
    };
    let segments = Segments::new(&WINDOWS, 40).unwrap();
    let conditions = [0, 1, 2, 0, 1, 2, 0, 1, 0, 1, 0, 2, 0, 1, 2];
    let valid = [40, 40, 40, 12, 40, 33, 40, 40, 40, 40, 6, 40, 40, 40, 3];
    let spikes = super::random((15, 40, 13), 5).mapv(|x| x + 0.3);
    for entries in [Entries::Neurons, Entries::Pairs] {
        let loss = loss(&recording, &recording.all_trials(), &WINDOWS, entries, None);
        assert_eq!(loss.n_neurons(), [5, 6]);
        let evaluate = |counts: &Array3<f64>, valid: Option<&[usize]>| -> CountCovarianceValue {
            loss.evaluate(&counts.view(), &conditions, valid).unwrap().unwrap()
        };
        for valid in [None, Some(&valid[..])] {
            let counts = segment_counts(&spikes, &segments, valid);
            let found = evaluate(&counts, valid);
            let definition = expected(&recording, &spikes, &conditions, valid, entries);
            let difference = (found.value - definition).abs();
            assert!(difference < 1e-10 * definition.abs(), "{} {definition}", found.value);
            for seed in 10..20 {
                let direction = super::random(counts.dim(), seed);
                let slope = central_difference(&counts, &direction, STEP, |x| evaluate(x, valid).value);
                let inner = (&found.d_counts * &direction).sum();
                assert!((inner - slope).abs() < 1e-6 * (1.0 + slope.abs()), "{inner} {slope}");
            }
        }
        assert!(loss.is_comparable(&[1, 1, 1, 1], None));
        assert!(loss.is_comparable(&[1, 1, 1, 1], Some(&[7, 9, 8, 40])));
        assert!(
            !loss.is_comparable(&[1, 1, 1, 1], Some(&[7, 6, 8, 40])),
            "one that has a window in a half"
        );
        assert!(
            !loss.is_comparable(&[1, 1, 1, 0, 0, 0, 2, 2, 2, 2], None),
            "no data of the last"
        );
        let counts = Array3::zeros((3, segments.len(), 13));
        assert!(loss.evaluate(&counts.view(), &[0, 0, 0], None).unwrap().is_none());
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
///
/// Twenty trials, recorded or simulated, are far too few to know a variance, yet the mean over many has no bias. With 400 independent
/// values it lies within 4 standard errors but for one in 16 000 fixed seeds.
#[test]
fn losses_of_counts_have_no_bias_on_either_side() {
    let whole = gained(4.0, 40_000, 1);
    let few = |seed: u64| gained(4.0, 20, 10_000 + seed);
    for entries in [Entries::Neurons, Entries::Pairs] {
        let like = loss(&whole, &whole.all_trials(), &[4], entries, None);
        let mean = |shape: f64, is_recorded_by_few: bool| {
            let values: Vec<f64> = (0..400)
                .map(|seed| {
                    let model = gained(shape, 20, 100 + seed);
                    let data = few(seed);
                    let target = if is_recorded_by_few {
                        loss(&data, &data.all_trials(), &[4], entries, Some(&like))
                    } else {
                        like.clone()
                    };
                    let counts = recorded(&model, &[4]);
                    let by_spikes = counts.sessions()[0].mapv(f64::from);
                    let value = target
                        .evaluate(&by_spikes.view(), &[0; 20], None)
                        .unwrap()
                        .unwrap()
                        .value;
                    let between = target.between(&model, &counts, &model.all_trials()).unwrap().unwrap();
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
        // Variances 8 against 8, then 4 + 16/1.6 = 14; of 30 ordered pairs 12 share a gain, with covariances 4, then 10.
        let share = if entries == Entries::Neurons { 1.0 } else { 12.0 / 30.0 };
        for (shape, truth) in [(4.0, 0.0), (1.6, share * (6.0f64 / 8.0).powi(2))] {
            for is_recorded_by_few in [false, true] {
                let (found, error) = mean(shape, is_recorded_by_few);
                assert!((found - truth).abs() < 4.0 * error, "{found} ± {error}, {truth}");
                assert!(error < 0.1, "{error}");
            }
        }
    }
}

/// Counts of later windows vary more, and fewer recorded trials have them: with the recorded weights on both sides the same process
/// has no loss, where windows pooled by each side's own trials would have.
#[test]
fn windows_count_alike_on_both_sides() {
    let session = |n_trials: usize, short: usize, seed: u64| {
        let mut recording = gained(4.0, n_trials, seed).sessions()[0].clone();
        // Twice the counts in the second half: four times the variance.
        recording.counts.slice_mut(s![.., 2.., ..]).mapv_inplace(|z| 2 * z);
        recording.valid_bins.iter_mut().take(short).for_each(|valid| *valid = 2);
        Recording::new(vec![recording], vec!["a".to_owned()], 6, 1).unwrap()
    };
    let data = session(40_000, 35_000, 1);
    let target = loss(&data, &data.all_trials(), &[2], Entries::Neurons, None);
    let model = recorded(&session(40_000, 0, 2), &[2]).sessions()[0].mapv(f64::from);
    let value = target
        .evaluate(&model.view(), &vec![0; 40_000], None)
        .unwrap()
        .unwrap()
        .value;
    // Ratio of variances by windows of equal weight over recorded weights: (1 + 4)/2 over (1·8 + 4·1)/9 = 1.875, a loss of 0.77.
    assert!(value.abs() < 0.01, "{value}");
}

/// A neuron missing in some trials: its entries are those of a recording of the trials that it was observed in, the others' those of all.
#[test]
fn neurons_count_in_the_trials_that_they_were_observed_in() {
    // Of neuron 1 the trials from 200 on are missing, and hold counts that no trial has.
    let whole = gained(4.0, 300, 2);
    let mut session = whole.sessions()[0].clone();
    let mask = Array2::from_shape_fn((300, 6), |(k, n)| n != 1 || k < 200);
    session.counts.slice_mut(s![200.., .., 1]).fill(99);
    session.presence = Some(Presence::of_mask(mask, &(0..300).collect::<Vec<_>>(), 0.0).unwrap());
    let masked = Recording::new(vec![session], vec!["a".to_owned()], 6, 1).unwrap();
    let of = |recording: &Recording, trials: std::ops::Range<usize>, entries, like: Option<&CountCovarianceLoss>| {
        loss(recording, &vec![trials.collect()], &[4], entries, like)
    };
    let model = recorded(&gained(4.0, 60, 3), &[4]).sessions()[0].mapv(f64::from);
    let slopes = |loss: &CountCovarianceLoss| loss.evaluate(&model.view(), &[0; 60], None).unwrap().unwrap().d_counts;
    let (found, first, all) = (
        slopes(&of(&masked, 0..300, Entries::Neurons, None)),
        slopes(&of(&whole, 0..200, Entries::Neurons, None)),
        slopes(&of(&whole, 0..300, Entries::Neurons, None)),
    );
    let difference = |a: &Array3<f64>, b: &Array3<f64>, n: usize| {
        let column = |a: &Array3<f64>| a.index_axis(Axis(2), n).to_owned();
        (column(a) - column(b)).mapv(f64::abs).sum()
    };
    assert!(difference(&found, &first, 1) < 1e-12);
    assert!(difference(&found, &all, 1) > 1e-6);
    assert!(difference(&found, &all, 0) < 1e-12);
    // Pairs, with the same variances to divide by: of two neurons alone the gradient is that of their one pair.
    let like = of(&whole, 0..300, Entries::Pairs, None);
    let pair = |recording: &Recording, trials: std::ops::Range<usize>, columns: [usize; 2]| {
        let few = |recording: &Recording| {
            let mut session = recording.sessions()[0].clone();
            session.counts = session.counts.select(Axis(2), &columns);
            session.neurons = columns.to_vec();
            session.areas = vec![0; 2];
            session.presence = session.presence.map(|presence| presence.of_columns(&columns));
            Recording::new(vec![session], vec!["a".to_owned()], 6, 1).unwrap()
        };
        let like = of(&few(&whole), 0..300, Entries::Pairs, None);
        slopes(&of(&few(recording), trials, Entries::Pairs, Some(&like)))
    };
    let same = |a: &Array3<f64>, b: &Array3<f64>| (a - b).mapv(f64::abs).sum() < 1e-12;
    let found = pair(&masked, 0..300, [0, 1]);
    assert!(same(&found, &pair(&whole, 0..200, [0, 1])));
    assert!(!same(&found, &pair(&whole, 0..300, [0, 1])));
    assert!(same(&pair(&masked, 0..300, [0, 2]), &pair(&whole, 0..300, [0, 2])));
    // All pairs together are the mean of each.
    let together = of(&masked, 0..300, Entries::Pairs, Some(&like));
    let value = |loss: &CountCovarianceLoss| loss.evaluate(&model.view(), &[0; 60], None).unwrap().unwrap().value;
    let counts = recorded(&masked, &[4]);
    assert!(value(&together).is_finite());
    assert!(
        together
            .between(&masked, &counts, &masked.all_trials())
            .unwrap()
            .is_some()
    );
}

#[test]
fn recordings_in_which_nothing_can_be_compared_give_no_loss() {
    let recording = gained(4.0, 50, 4);
    let mut session = recording.sessions()[0].clone();
    session.counts.fill(1);
    let constant = Recording::new(vec![session], vec!["a".to_owned()], 6, 1).unwrap();
    for entries in [Entries::Neurons, Entries::Pairs] {
        let new = |recording: &Recording, selection: &TrialSelection, lengths: &[usize]| {
            let counts = recorded(recording, &[4]);
            CountCovarianceLoss::new(recording, &counts, selection, lengths, entries, None)
        };
        assert!(new(&constant, &constant.all_trials(), &[4]).unwrap().is_none());
        assert!(
            new(&recording, &vec![vec![1, 2, 3]], &[4]).unwrap().is_none(),
            "three trials"
        );
        assert!(new(&recording, &vec![vec![1, 2, 3, 4]], &[4]).unwrap().is_some());
        assert!(
            new(&recording, &recording.all_trials(), &[2]).is_err(),
            "no windows of two bins"
        );
    }
}
