//! Metrics, bootstrap and null models against closed forms and simulated data with known answers.
//!
//! Stochastic tests have fixed seeds; each states how far its bound is from the expectation.

mod common;

#[path = "metrics/completed_templates.rs"]
mod completed_templates;

use common::rng;
use losses::LossError;
use losses::bootstrap::{
    OfPair, bootstrap_ci95, bootstrap_ci95_of_pairs, bootstrap_ci95_of_several, bootstrap_ci95_of_two, pooled_mean,
};
use losses::metrics::{
    MetricValue, PsthCorrelation, PsthReliability, TemplateOptions, TrialTypeTemplates, compare_noise_correlations,
    fano_factors, fano_ratio, feature_variance_ratio, fraction_of_type, noise_correlations, peak_rates_hz, pearson,
    population_correlation, psth_correlation, psth_reliability, spearman_brown, spike_counts, type_fractions,
    wasserstein1,
};
use losses::nulls::{NullModel, psth_poisson, psth_shared_gain, shared_gain_variance, trial_shuffled};
use losses::statistics::{Filters, MovingMean, Populations, Psth, RecordedSession, Recording, mean, unbiased_variance};
use ndarray::{Array1, Array2, Array3, Axis, s};
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, Gamma, Normal, Poisson, StandardNormal};

/// One session of one area in which every column is one model neuron.
fn one_session(counts: Array3<u8>, conditions: Vec<usize>, trial_types: Vec<usize>) -> Recording {
    let (n_trials, n_bins, n_neurons) = counts.dim();
    let n_conditions = conditions.iter().max().map_or(1, |c| c + 1);
    let session = RecordedSession {
        presence: None,
        name: "s".to_owned(),
        counts,
        valid_bins: vec![n_bins; n_trials],
        conditions,
        trial_types,
        neurons: (0..n_neurons).collect(),
        areas: vec![0; n_neurons],
        behaviour: None,
    };
    Recording::new(vec![session], vec!["V1".to_owned()], n_neurons, n_conditions).unwrap()
}

/// Poisson counts of mean `rate(k, t, n)` spikes per bin.
fn poisson(
    dim: (usize, usize, usize),
    rng: &mut Xoshiro256PlusPlus,
    rate: impl Fn(usize, usize, usize) -> f64,
) -> Array3<u8> {
    Array3::from_shape_fn(dim, |(k, t, n)| {
        Poisson::new(rate(k, t, n)).unwrap().sample(rng).min(255.0) as u8
    })
}

fn sum_of(counts: &Array3<u8>) -> f64 {
    counts.iter().map(|&c| f64::from(c)).sum()
}

#[test]
fn wasserstein_of_shifted_normal_samples_is_the_shift() {
    let mut rng = rng(1);
    let mut sample = |mean: f64, n: usize| -> Vec<f64> {
        let normal = Normal::new(mean, 1.0).unwrap();
        (0..n).map(|_| normal.sample(&mut rng)).collect()
    };
    let (x, y) = (sample(0.0, 20_000), sample(3.0, 13_001));
    // Standard error of the difference of means 0.011; bound at 5 of them.
    assert!((wasserstein1(&x, &y).unwrap() - 3.0).abs() < 0.056);
    assert!((wasserstein1(&x, &y).unwrap() - wasserstein1(&y, &x).unwrap()).abs() < 1e-12);
}

#[test]
fn wasserstein_equals_the_integral_of_the_distance_of_distribution_functions() {
    let mut rng = rng(2);
    for (n, m) in [(3, 7), (10, 4), (9, 9), (1, 5)] {
        let x: Vec<f64> = (0..n).map(|_| rng.random_range(0.0..1.0)).collect();
        let y: Vec<f64> = (0..m).map(|_| rng.random_range(0.0..1.0)).collect();
        let cdf = |values: &[f64], at: f64| values.iter().filter(|&&v| v <= at).count() as f64 / values.len() as f64;
        let mut edges: Vec<f64> = x.iter().chain(&y).copied().collect();
        edges.sort_unstable_by(f64::total_cmp);
        let integral: f64 = edges
            .windows(2)
            .map(|e| (e[1] - e[0]) * (cdf(&x, e[0]) - cdf(&y, e[0])).abs())
            .sum();
        assert!((wasserstein1(&x, &y).unwrap() - integral).abs() < 1e-12);
    }
}

/// Reliability of the PSTHs of Poisson neurons with these rates (spikes per bin of 2 ms), and how their PSTHs correlate
/// with the true ones.
fn reliability_and_truth(
    (n_trials, n_bins, n_neurons): (usize, usize, usize),
    seed: u64,
    rate: impl Fn(usize, usize) -> f64,
) -> (PsthReliability, PsthCorrelation) {
    let mut rng = rng(seed);
    let counts = poisson((n_trials, n_bins, n_neurons), &mut rng, |_, t, n| rate(t, n));
    let recording = one_session(counts, vec![0; n_trials], vec![0; n_trials]);
    let filter = MovingMean::half_overlapping(6).unwrap();
    let neurons: Vec<usize> = (0..n_neurons).collect();
    let all = recording.all_trials();
    let reliability = psth_reliability(&recording, &all, filter, &neurons, 20, &mut rng).unwrap();
    let truth = Array3::from_shape_fn((1, n_bins, n_neurons), |(_, t, n)| rate(t, n));
    let truth = Psth::of_model(&truth.view(), &[1], filter).unwrap();
    let found = Psth::of_recording(&recording, &all, filter).unwrap();
    let rates = recording.rates_hz(&all, 2.0).unwrap();
    (reliability, psth_correlation(&found, &truth, &rates, 1.0, 2.0).unwrap())
}

#[test]
fn psth_reliability_of_simulated_neurons_predicts_the_correlation_with_the_true_rates() {
    let n_neurons = 60;
    let rate = |t: usize, n: usize| 0.12 * (1.0 + (t as f64 * 0.15 + n as f64).sin());
    let (reliability, to_truth) = reliability_and_truth((40, 120, n_neurons), 3, rate);
    assert_eq!((to_truth.neurons.len(), to_truth.n_undefined), (n_neurons, 0));
    // Standard error over neurons below 0.005 on both sides.
    let difference = reliability.ceiling_noiseless - to_truth.mean_pearson();
    assert!(difference.abs() < 0.02, "{reliability:?} {}", to_truth.mean_pearson());
    assert!(
        reliability.half_correlation < to_truth.mean_pearson() - 0.02,
        "halves are noisier"
    );
}

#[test]
fn the_noiseless_ceiling_is_what_the_true_rates_reach_where_neurons_differ_in_reliability() {
    // A fifth of the neurons does not respond, a fifth weakly, the others strongly.
    let modulation = |n: usize| [0.0, 0.35, 1.0, 1.0, 0.8][n % 5];
    let rate = |t: usize, n: usize| 0.06 * (1.0 + modulation(n) * (t as f64 * 0.15 + n as f64).sin());
    let (reliability, to_truth) = reliability_and_truth((50, 120, 200), 23, rate);
    let to_truth = to_truth.mean_pearson();
    let bias = reliability.ceiling_noiseless - to_truth;
    // The cut at 0 leaves about 0.03. One root for the mean correlation would be 0.13 too high.
    assert!((-0.02..0.045).contains(&bias), "{reliability:?} {to_truth}");
    let one_root = spearman_brown(reliability.half_correlation, 2.0).sqrt();
    assert!(one_root > to_truth + 0.1, "{one_root}: neurons too much alike to tell");
}

#[test]
fn a_half_without_spikes_lowers_the_ceiling_as_a_silent_prediction_lowers_the_metric() {
    let mut rng = rng(24);
    // Neuron 0 fires in every trial, neuron 1 in one of 8: in each split one half of its trials is silent.
    let mut counts = Array3::zeros((8, 12, 2));
    counts.slice_mut(s![.., 3..6, 0]).fill(1);
    counts.slice_mut(s![2, 3..6, 1]).fill(1);
    let recording = one_session(counts, vec![0; 8], vec![0; 8]);
    let filter = MovingMean::half_overlapping(2).unwrap();
    let all = recording.all_trials();
    let reliability = psth_reliability(&recording, &all, filter, &[0, 1], 10, &mut rng).unwrap();
    let [(0, always), (1, rarely)] = reliability.neurons[..] else {
        panic!("{reliability:?}")
    };
    assert!((always - 1.0).abs() < 1e-12 && rarely.abs() < 1e-12, "{reliability:?}");
    assert!((reliability.ceiling_noiseless - 0.5).abs() < 1e-12, "{reliability:?}");
    assert!(psth_reliability(&recording, &all, filter, &[1], 10, &mut rng).is_err());
}

#[test]
fn psth_correlation_leaves_out_slow_neurons_and_counts_silent_predictions_as_zero() {
    let mut counts = Array3::zeros((2, 12, 3));
    counts.slice_mut(s![.., 3..6, 0]).fill(1);
    counts.slice_mut(s![.., 6..9, 1]).fill(1);
    let recording = one_session(counts, vec![0; 2], vec![0; 2]);
    let filter = MovingMean::half_overlapping(2).unwrap();
    let all = recording.all_trials();
    let reference = Psth::of_recording(&recording, &all, filter).unwrap();
    let mut prediction = reference.clone();
    prediction.values.slice_mut(s![.., .., 1]).fill(0.0);
    let rates = recording.rates_hz(&all, 2.0).unwrap();
    assert_eq!(rates, vec![125.0, 125.0, 0.0]);
    let result = psth_correlation(&reference, &prediction, &rates, 1.0, 2.0).unwrap();
    assert_eq!(result.n_below_rate, 1);
    assert!((result.neurons[0].pearson - 1.0).abs() < 1e-12);
    assert_eq!(result.neurons[1].pearson, 0.0);
    assert!((result.mean_pearson() - 0.5).abs() < 1e-12);
}

#[test]
fn several_statistics_of_the_same_resamples_have_the_intervals_of_each() {
    let mut values = rng(42);
    let mut sample = |n: usize| -> Vec<f64> { (0..n).map(|_| values.random()).collect() };
    let first: Vec<Vec<f64>> = [5, 0, 9].map(&mut sample).into();
    let second: Vec<Vec<f64>> = [4, 0, 3].map(&mut sample).into();
    let difference = |a: &[Vec<&f64>], b: &[Vec<&f64>]| pooled_mean(a) - pooled_mean(b);
    let largest = |a: &[Vec<&f64>], _: &[Vec<&f64>]| a.iter().flatten().fold(f64::NAN, |m: f64, x| m.max(**x));
    let several = bootstrap_ci95_of_several(&first, &second, 200, &mut rng(1), |a, b| {
        vec![difference(a, b), f64::NAN, largest(a, b)]
    })
    .unwrap();
    let of_difference = bootstrap_ci95_of_two(&first, &second, 200, &mut rng(1), difference).unwrap();
    let of_largest = bootstrap_ci95_of_two(&first, &second, 200, &mut rng(1), largest).unwrap();
    assert_eq!(several, [Some(of_difference), None, Some(of_largest)]);
    let none: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    assert!(bootstrap_ci95_of_several(&none, &none, 9, &mut rng(1), |_, _| vec![1.0]).is_err());
    assert!(bootstrap_ci95_of_several(&first, &second[..2], 9, &mut rng(1), |_, _| vec![1.0]).is_err());
}

#[test]
fn bootstrap_interval_covers_the_true_mean_about_as_often_as_it_says() {
    let mut rng = rng(4);
    let (session, value) = (Normal::new(0.0, 1.0).unwrap(), Normal::new(0.0, 1.0).unwrap());
    let n_repeats = 400;
    let mut n_covered = 0;
    for _ in 0..n_repeats {
        let nested: Vec<Vec<f64>> = (0..25)
            .map(|_| {
                let centre = 2.0 + session.sample(&mut rng);
                (0..10).map(|_| centre + value.sample(&mut rng)).collect()
            })
            .collect();
        let [low, high] = bootstrap_ci95(&nested, 300, &mut rng, pooled_mean).unwrap();
        n_covered += usize::from(low <= 2.0 && 2.0 <= high);
    }
    // The percentile bootstrap of 25 sessions covers 0.93–0.96; binomial deviation 0.012.
    let coverage = n_covered as f64 / f64::from(n_repeats);
    assert!((0.89..=0.99).contains(&coverage), "{coverage}");
}

#[test]
fn bootstrap_that_ignored_sessions_would_be_too_narrow() {
    let mut rng = rng(5);
    let nested: Vec<Vec<f64>> = (0..10).map(|s| vec![f64::from(s); 50]).collect();
    let [low, high] = bootstrap_ci95(&nested, 2000, &mut rng, pooled_mean).unwrap();
    // Deviation of the mean over sessions: 2.87/√10 = 0.91; of 500 independent values: 0.13.
    assert!((high - low - 2.0 * 1.96 * 0.908).abs() < 0.35, "{low} {high}");
    let flat: Vec<Vec<f64>> = vec![nested.concat()];
    let [low, high] = bootstrap_ci95(&flat, 2000, &mut rng, pooled_mean).unwrap();
    assert!((high - low - 2.0 * 1.96 * 0.128).abs() < 0.06, "{low} {high}");
}

#[test]
fn bootstrap_of_pairs_knows_that_pairs_share_neurons() {
    let mut rng = rng(25);
    let (loading, noise) = (Normal::new(1.0, 0.5).unwrap(), Normal::new(0.0, 0.3).unwrap());
    let (n_neurons, n_repeats) = (20, 300);
    let (mut n_covered, mut n_covered_by_pairs) = (0, 0);
    let mean_of = |pairs: &[(f64, &f64)]| {
        let total: f64 = pairs.iter().map(|(weight, _)| weight).sum();
        pairs.iter().map(|(weight, value)| weight * **value).sum::<f64>() / total
    };
    for _ in 0..n_repeats {
        // One session; the expectation of a pair is the product of its neurons' loadings, 1 over all neurons.
        let a: Vec<f64> = (0..n_neurons).map(|_| loading.sample(&mut rng)).collect();
        let mut pairs = Vec::new();
        for second in 0..n_neurons {
            for first in 0..second {
                pairs.push(OfPair {
                    first,
                    second,
                    value: a[first] * a[second] + noise.sample(&mut rng),
                });
            }
        }
        let values = vec![pairs.iter().map(|pair| pair.value).collect::<Vec<f64>>()];
        let contains = |[low, high]: [f64; 2]| usize::from(low <= 1.0 && 1.0 <= high);
        let of_neurons = bootstrap_ci95_of_pairs(&[pairs], 300, &mut rng, mean_of).unwrap();
        n_covered += contains(of_neurons.unwrap());
        n_covered_by_pairs += contains(bootstrap_ci95(&values, 300, &mut rng, pooled_mean).unwrap());
    }
    // Percentile intervals of 20 neurons cover 0.90 to 0.95, with a binomial deviation of 0.016; those of pairs drawn
    // as if they were independent, 0.4.
    let share = |n: usize| n as f64 / f64::from(n_repeats);
    assert!((0.86..=0.98).contains(&share(n_covered)), "{}", share(n_covered));
    assert!(share(n_covered_by_pairs) < 0.6, "{}", share(n_covered_by_pairs));
}

#[test]
fn bootstrap_of_pairs_weighs_pairs_by_their_neurons_and_needs_more_than_two_of_them() {
    let mut rng = rng(26);
    let pair = |first, second| OfPair {
        first,
        second,
        value: (first, second),
    };
    let session: Vec<OfPair<(usize, usize)>> = vec![pair(4, 7), pair(4, 9), pair(7, 9)];
    // Three neurons drawn: weights 1, 1, 1; or two of them, one twice: a single pair of weight 2; or none.
    let is_right = |pairs: &[(f64, &(usize, usize))]| {
        let weights: Vec<f64> = pairs.iter().map(|(weight, _)| *weight).collect();
        f64::from(u8::from(weights == [1.0; 3] || weights == [2.0] || weights.is_empty()))
    };
    let found = bootstrap_ci95_of_pairs(std::slice::from_ref(&session), 100, &mut rng, is_right).unwrap();
    assert_eq!(found, Some([1.0, 1.0]));
    let is_three = |pairs: &[(f64, &(usize, usize))]| if pairs.len() == 3 { 1.0 } else { f64::NAN };
    let found = bootstrap_ci95_of_pairs(&[session], 100, &mut rng, is_three).unwrap();
    assert_eq!(found, None, "defined in 22 % of the resamples");
    let nothing: Vec<Vec<OfPair<f64>>> = vec![Vec::new()];
    let count = |pairs: &[(f64, &f64)]| if pairs.is_empty() { f64::NAN } else { 1.0 };
    assert_eq!(bootstrap_ci95_of_pairs(&nothing, 10, &mut rng, count).unwrap(), None);
    assert!(bootstrap_ci95_of_pairs(&nothing, 0, &mut rng, count).is_err());
}

#[test]
fn bootstrap_of_two_samples_keeps_them_in_their_sessions_and_needs_values() {
    let mut rng = rng(6);
    let (a, b) = (vec![vec![1.0; 4], vec![5.0; 4]], vec![vec![2.0; 3], vec![6.0; 5]]);
    let shift = |a: &[Vec<&f64>], b: &[Vec<&f64>]| {
        // Per session the shift is 1 whatever is drawn, if samples stay in their session.
        let shifts: Vec<f64> = a.iter().zip(b).map(|(a, b)| b[0] - a[0]).collect();
        mean(&shifts)
    };
    assert_eq!(bootstrap_ci95_of_two(&a, &b, 50, &mut rng, shift).unwrap(), [1.0, 1.0]);
    let empty: Vec<Vec<f64>> = vec![Vec::new()];
    assert!(matches!(
        bootstrap_ci95(&empty, 10, &mut rng, pooled_mean),
        Err(LossError::NoData { .. })
    ));
    assert!(bootstrap_ci95(&a, 0, &mut rng, pooled_mean).is_err());
}

#[test]
fn fano_factor_of_poisson_counts_is_one_and_of_gain_modulated_counts_more() {
    let mut rng = rng(7);
    let dim = (300, 20, 50);
    let conditions: Vec<usize> = (0..300).map(|k| k % 2).collect();
    // Rates differ between conditions: that must not count as variability.
    let rate = |k: usize| if k.is_multiple_of(2) { 0.2 } else { 0.6 };
    let plain = poisson(dim, &mut rng, |k, _, _| rate(k));
    let gains: Vec<f64> = {
        let gamma = Gamma::new(4.0, 0.25).unwrap();
        (0..300).map(|_| gamma.sample(&mut rng)).collect()
    };
    let modulated = poisson(dim, &mut rng, |k, _, _| gains[k] * rate(k));
    let counts = |c: Array3<u8>| {
        let recording = one_session(c, conditions.clone(), conditions.clone());
        spike_counts(&recording, &recording.all_trials(), 0..20).unwrap()
    };
    let (plain, modulated) = (counts(plain), counts(modulated));
    // Each factor has a deviation of √(2/298) = 0.08, the mean of 50 one of 0.012.
    assert!((mean(&fano_factors(&plain[0])) - 1.0).abs() < 0.05);
    let ratio = fano_ratio(&modulated, &plain, 10).unwrap();
    // F = 1 + var g · Σ μ_c²/Σ μ_c = 1 + 0.25 · (4² + 12²)/(4 + 12) = 3.5 (variance shared by all neurons).
    assert!((ratio.value - 3.5).abs() < 0.7, "{ratio:?}");
    assert_eq!((ratio.n_neurons, ratio.n_excluded), (50, 0));
    assert!((fano_ratio(&plain, &plain, 10).unwrap().value - 1.0).abs() < 1e-15);
    assert!(matches!(
        fano_ratio(&plain, &plain, 1_000_000),
        Err(LossError::NoData { .. })
    ));
}

#[test]
fn feature_variance_ratio_of_scaled_trials_is_the_square_of_the_scale() {
    let mut rng = rng(8);
    let data = Array2::from_shape_simple_fn((30, 5), || rng.random_range(-1.0..1.0));
    let types: Vec<usize> = (0..30).map(|k| k % 3).collect();
    let half = &data * 0.5;
    let ratio = feature_variance_ratio(&half.view(), &data.view(), &types, &types).unwrap();
    assert!((ratio.total - 0.25).abs() < 1e-12);
    assert!((ratio.within_type.unwrap() - 0.25).abs() < 1e-12);
    // Types far apart: a model with the wrong mix has another total but the same within-type ratio.
    let far = Array2::from_shape_fn((30, 5), |(k, f)| data[[k, f]] + 100.0 * (k % 3) as f64);
    let rows: Vec<usize> = (0..30).filter(|k| k % 3 != 2).collect();
    let model = far.select(Axis(0), &rows);
    let model_types: Vec<usize> = rows.iter().map(|k| k % 3).collect();
    let ratio = feature_variance_ratio(&model.view(), &far.view(), &model_types, &types).unwrap();
    assert!((ratio.within_type.unwrap() - 1.0).abs() < 1e-12);
    assert!(ratio.total < 0.5);
    let one = data.slice(s![..1, ..]);
    assert!(feature_variance_ratio(&one, &data.view(), &[0], &types).is_err());
}

#[test]
fn population_correlations_are_of_trials_of_the_same_stimulus() {
    let mut rng = rng(41);
    let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
    // A part that both share, of variance 1, beside parts of their own of variance 3: correlation 1/4. The stimulus moves
    // both by far more.
    let conditions: Vec<usize> = (0..400).map(|k| k % 2).collect();
    let (mut x, mut y) = (Array2::zeros((400, 25)), Array2::zeros((400, 25)));
    for k in 0..400 {
        for t in 0..25 {
            let (shared, of_stimulus) = (normal(), 20.0 * conditions[k] as f64);
            x[[k, t]] = of_stimulus + shared + 3.0f64.sqrt() * normal();
            y[[k, t]] = -of_stimulus + 7.0 + shared + 3.0f64.sqrt() * normal();
        }
    }
    let r = |x: &Array2<f64>, y: &Array2<f64>, c: &[usize]| population_correlation(&x.view(), &y.view(), c).unwrap();
    // 10,000 pairs: a deviation of 0.0094.
    let found = r(&x, &y, &conditions).unwrap();
    assert!((found - 0.25).abs() < 0.04, "{found}");
    assert!((r(&x, &(&y * -3.0 + 1.0), &conditions).unwrap() + found).abs() < 1e-12);
    assert!((r(&x, &x, &conditions).unwrap() - 1.0).abs() < 1e-12);
    // One stimulus for all: the difference between stimuli is all that is seen.
    assert!(r(&x, &y, &[0; 400]).unwrap() < -0.9);
    // One bin and one stimulus: Pearson's correlation.
    let (a, b) = (x.column(0).to_owned(), y.column(0).to_owned());
    let expected = pearson(&a.to_vec(), &b.to_vec()).unwrap();
    let column = |of: Array1<f64>| of.insert_axis(Axis(1));
    assert!((r(&column(a.clone()), &column(b.clone()), &[0; 400]).unwrap() - expected).abs() < 1e-12);
    // Each trial its own stimulus, or a silent population.
    assert_eq!(r(&x, &y, &(0..400).collect::<Vec<_>>()), None);
    assert_eq!(r(&x, &Array2::zeros((400, 25)), &conditions), None);
    assert!(population_correlation(&x.view(), &y.slice(s![..9, ..]), &conditions).is_err());
    assert!(population_correlation(&x.view(), &y.view(), &[0; 3]).is_err());
}

#[test]
fn noise_correlations_find_a_shared_gain_and_vanish_when_trials_are_shuffled() {
    let mut rng = rng(9);
    let (n_trials, n_bins, n_neurons) = (400, 20, 12);
    let gamma = Gamma::new(4.0, 0.25).unwrap();
    let gains: Vec<f64> = (0..n_trials).map(|_| gamma.sample(&mut rng)).collect();
    // Half of the neurons share the gain; conditions have other rates.
    let conditions: Vec<usize> = (0..n_trials).map(|k| k % 2).collect();
    let counts = poisson((n_trials, n_bins, n_neurons), &mut rng, |k, _, n| {
        (if n < 6 { gains[k] } else { 1.0 }) * (0.2 + 0.6 * (k % 2) as f64)
    });
    let recording = one_session(counts, conditions.clone(), conditions);
    let all = recording.all_trials();
    let pairs = noise_correlations(&recording, &all, n_bins).unwrap();
    assert_eq!(pairs[0].len(), 66);
    for pair in &pairs[0] {
        if pair.second < 6 {
            // Per condition var = μ + μ²/4: mean of μ²/4 (34) over mean of var (44) = 0.77.
            assert!((pair.correlation - 0.773).abs() < 0.1, "{pair:?}");
        } else {
            assert!(pair.correlation.abs() < 0.25, "{pair:?}"); // 5 deviations
        }
    }
    let same = compare_noise_correlations(&pairs, &pairs).unwrap();
    assert!((same.r.unwrap() - 1.0).abs() < 1e-12);
    let null = NullModel::TrialShuffled
        .generate(&recording, &all, 400, 1, &mut rng)
        .unwrap();
    let of_null = noise_correlations(&null, &null.all_trials(), n_bins).unwrap();
    let against = compare_noise_correlations(&of_null, &pairs).unwrap();
    assert_eq!(against.n_pairs, 66);
    assert!(
        against.mean_model.abs() < 0.03 && against.mean_data > 0.1,
        "{against:?}"
    );
    assert!(against.r.unwrap().abs() < 0.6);
}

#[test]
fn trial_shuffled_null_keeps_every_neurons_trials_and_the_psth() {
    let mut rng = rng(10);
    let counts = poisson((12, 15, 4), &mut rng, |k, t, _| 0.3 + 0.5 * ((k + t) % 3) as f64);
    let labels: Vec<usize> = (0..12).map(|k| k % 3).collect();
    let made = trial_shuffled(&counts.view(), &labels, &labels, &mut rng).unwrap();
    let trains = |c: &Array3<u8>, label: usize, n: usize| {
        let rows = (0..12).filter(|k| labels[*k] == label);
        let mut trains: Vec<Vec<u8>> = rows.map(|k| c.slice(s![k, .., n]).to_vec()).collect();
        trains.sort();
        trains
    };
    let mut n_moved = 0;
    for label in 0..3 {
        for n in 0..4 {
            assert_eq!(trains(&counts, label, n), trains(&made, label, n));
        }
    }
    for k in 0..12 {
        let of = |c: &Array3<u8>, n| c.slice(s![k, .., n]).to_vec();
        n_moved += (0..4).filter(|&n| of(&counts, n) != of(&made, n)).count();
    }
    assert!(n_moved > 20, "{n_moved} of 48 trains are in another trial");
    assert!(trial_shuffled(&counts.view(), &labels, &[7], &mut rng).is_err());
}

#[test]
fn poisson_null_has_the_psth_of_its_label_and_poisson_variability() {
    let mut rng = rng(11);
    let counts = Array3::from_shape_fn((6, 10, 3), |(k, t, n)| u8::from(k % 2 == 0) * ((t + n) % 3) as u8);
    let labels: Vec<usize> = (0..6).map(|k| k % 2).collect();
    let wanted = vec![0; 4000];
    let made = psth_poisson(&counts.view(), &labels, &wanted, 1, &mut rng).unwrap();
    let found = made.mapv(f64::from).mean_axis(Axis(0)).unwrap();
    for ((t, n), value) in found.indexed_iter() {
        // Deviation √(2/4000) = 0.022; bound at 5.
        assert!((value - ((t + n) % 3) as f64).abs() < 0.12);
    }
    let sums: Vec<f64> = made
        .outer_iter()
        .map(|k| k.iter().map(|&c| f64::from(c)).sum())
        .collect();
    // Fano factor of Poisson sums: deviation √(2/4000) = 0.022.
    assert!((unbiased_variance(&sums) / mean(&sums) - 1.0).abs() < 0.12);
    let silent = psth_poisson(&counts.view(), &labels, &[1; 20], 1, &mut rng).unwrap();
    assert_eq!(sum_of(&silent), 0.0);
}

#[test]
fn smoothing_of_the_null_psth_keeps_the_spikes_and_spreads_them() {
    let mut rng = rng(12);
    let mut counts = Array3::zeros((1, 11, 1));
    counts[[0, 5, 0]] = 10;
    let made = psth_poisson(&counts.view(), &[0], &vec![0; 3000], 5, &mut rng).unwrap();
    let found = made.mapv(f64::from).mean_axis(Axis(0)).unwrap();
    for t in 0..11 {
        let expected = if (3..=7).contains(&t) { 2.0 } else { 0.0 };
        assert!((found[[t, 0]] - expected).abs() < 0.15, "bin {t}: {}", found[[t, 0]]);
    }
    assert!(psth_poisson(&counts.view(), &[0], &[0], 0, &mut rng).is_err());
}

#[test]
fn shared_gain_null_recovers_the_variance_it_was_made_with() {
    let mut rng = rng(13);
    let base = poisson((50, 20, 30), &mut rng, |_, t, _| 0.1 + 0.02 * t as f64);
    let labels = vec![0; 50];
    // Independent Poisson trials have no gain: estimate within sampling error of 0.
    assert!(shared_gain_variance(&base.view(), &labels).unwrap() < 0.003);
    let wanted = vec![0; 2000];
    for variance in [0.05, 0.3] {
        let made = psth_shared_gain(&base.view(), &labels, &wanted, variance, 1, &mut rng).unwrap();
        let found = shared_gain_variance(&made.view(), &wanted).unwrap();
        assert!((found / variance - 1.0).abs() < 0.25, "{found} for {variance}");
        // The gain has mean 1.
        assert!((sum_of(&made) / 2000.0 / (sum_of(&base) / 50.0) - 1.0).abs() < 0.08);
    }
    assert!(psth_shared_gain(&base.view(), &labels, &[0], -1.0, 1, &mut rng).is_err());
}

#[test]
fn every_null_model_makes_the_trials_asked_for_with_the_shares_of_the_recording() {
    let recording = common::two_sessions(40, 14);
    let mut rng = rng(15);
    for null in NullModel::ALL {
        let made = null
            .generate(&recording, &recording.all_trials(), 21, 3, &mut rng)
            .unwrap();
        let (a, b) = (&made.sessions()[0], &made.sessions()[1]);
        assert_eq!(a.counts.dim(), (21, 40, 6));
        // Session a: 7 complete trials (conditions 0,1,2,1,2,0,1), three times over.
        for (condition, n) in [(0, 6), (1, 9), (2, 6)] {
            assert_eq!(a.conditions.iter().filter(|&&c| c == condition).count(), n, "{null:?}");
        }
        assert!(b.conditions.iter().zip(&b.trial_types).all(|(c, y)| *y == c % 2));
        let of = |made: bool, condition: usize| {
            let session = if made { a } else { &recording.sessions()[0] };
            let rows: Vec<usize> = (0..session.valid_bins.len())
                .filter(|&k| session.valid_bins[k] == 40 && session.conditions[k] == condition)
                .collect();
            let behaviour = session.behaviour.as_ref().unwrap();
            behaviour.select(Axis(0), &rows).mean_axis(Axis(0)).unwrap()
        };
        for condition in 0..3 {
            let worst = (of(true, condition) - of(false, condition))
                .iter()
                .fold(0.0f64, |w, d| w.max(d.abs()));
            assert!(worst < 1e-12, "{}: mean behaviour of a condition is kept", null.name());
        }
        // The recorded rate is 0.2 per bin; 5040 bins, deviation 0.006.
        let rate = sum_of(&a.counts) / a.counts.len() as f64;
        assert!((rate - 0.2).abs() < 0.05, "{}: {rate}", null.name());
    }
    let nothing = vec![vec![3], Vec::new()];
    let error = NullModel::TrialShuffled.generate(&recording, &nothing, 5, 1, &mut rng);
    assert!(matches!(error, Err(LossError::NoData { .. })), "trial 3 is incomplete");
}

/// Two trial types of one stimulus: a bump in area 0 always, in area 1 on hits only.
fn hits_and_misses(n_trials: usize, p_hit: f64, seed: u64) -> (Array3<u8>, Vec<usize>) {
    let mut rng = rng(seed);
    let types: Vec<usize> = (0..n_trials).map(|_| usize::from(rng.random_bool(p_hit))).collect();
    let counts = poisson((n_trials, 60, 40), &mut rng, |k, t, n| {
        let has_bump = (20..30).contains(&t) && (n < 20 || types[k] == 1);
        if has_bump { 0.3 } else { 0.03 }
    });
    (counts, types)
}

fn two_areas(counts: Array3<u8>, types: Vec<usize>) -> Recording {
    let n_trials = types.len();
    let session = RecordedSession {
        presence: None,
        name: "s".to_owned(),
        valid_bins: vec![60; n_trials],
        counts,
        conditions: vec![0; n_trials],
        trial_types: types,
        neurons: (0..40).collect(),
        areas: (0..40).map(|n| n / 20).collect(),
        behaviour: None,
    };
    Recording::new(vec![session], vec!["A1".to_owned(), "A2".to_owned()], 40, 1).unwrap()
}

#[test]
fn template_matching_finds_the_trial_types_of_trials_it_has_not_seen() {
    let (counts, types) = hits_and_misses(80, 0.8, 16);
    let recording = two_areas(counts, types);
    let spike = MovingMean::of_width(12.0, 2.0).unwrap();
    let filters = Filters::new(60, spike, MovingMean::resampling(2).unwrap()).unwrap();
    let options = TemplateOptions::default();
    let templates = TrialTypeTemplates::new(&recording, &recording.all_trials(), filters, options).unwrap();
    assert_eq!((templates.types(), templates.areas()), (&[0, 1][..], &[0, 1][..]));
    let (counts, types) = hits_and_misses(200, 0.5, 17);
    let mut traces = Array3::zeros((200, 60, 2));
    for (a, neurons) in templates.neurons().iter().enumerate() {
        let mean = counts
            .select(Axis(2), neurons)
            .mapv(f64::from)
            .mean_axis(Axis(2))
            .unwrap();
        traces.index_axis_mut(Axis(2), a).assign(&mean);
    }
    let found = templates.classify(&traces.view(), None).unwrap();
    let n_right = found.iter().zip(&types).filter(|(a, b)| a == b).count();
    assert!(n_right >= 198, "{n_right} of 200");
    let hits = fraction_of_type(&found, 1);
    assert!((hits - fraction_of_type(&types, 1)).abs() <= 0.01);
    assert!((type_fractions(&found)[&1] - hits).abs() < 1e-12);
}

#[test]
fn templates_need_no_particular_labels_and_compare_behaviour_in_its_own_scale() {
    // One silent area; behaviour alone tells types 3 (at 5) and 8 (at 15) apart.
    let n_trials = 6;
    let types: Vec<usize> = (0..n_trials).map(|k| if k % 2 == 0 { 3 } else { 8 }).collect();
    let behaviour = Array3::from_shape_fn((n_trials, 60, 1), |(k, _, _)| 5.0 + 10.0 * (k % 2) as f64);
    let session = RecordedSession {
        presence: None,
        name: "s".to_owned(),
        counts: Array3::zeros((n_trials, 60, 2)),
        valid_bins: vec![60; n_trials],
        conditions: vec![0; n_trials],
        trial_types: types.clone(),
        neurons: vec![0, 1],
        areas: vec![0, 0],
        behaviour: Some(behaviour.clone()),
    };
    let recording = Recording::new(vec![session], vec!["A".to_owned()], 2, 1).unwrap();
    let spike = MovingMean::of_width(12.0, 2.0).unwrap();
    let filters = Filters::new(60, spike, MovingMean::resampling(2).unwrap()).unwrap();
    let options = TemplateOptions {
        has_behaviour: true,
        ..TemplateOptions::default()
    };
    let all = recording.all_trials();
    let templates = TrialTypeTemplates::new(&recording, &all, filters, options).unwrap();
    let silent = Array3::zeros((n_trials, 60, 1));
    let found = templates.classify(&silent.view(), Some(&behaviour.view())).unwrap();
    assert_eq!(found, types);
    assert!(
        templates.classify(&silent.view(), None).is_err(),
        "behaviour is missing"
    );
    // As published, the model's behaviour is compared unscaled with scaled templates: that misfires.
    let unscaled = TemplateOptions {
        is_model_behaviour_normalized: false,
        ..options
    };
    let published = TrialTypeTemplates::new(&recording, &all, filters, unscaled).unwrap();
    let same = TrialTypeTemplates::new(&recording, &all, filters, options).unwrap();
    assert_eq!(
        same.as_published()
            .classify(&silent.view(), Some(&behaviour.view()))
            .unwrap(),
        vec![8; n_trials]
    );
    let found = published.classify(&silent.view(), Some(&behaviour.view())).unwrap();
    assert_eq!(found, vec![8; n_trials]);
}

#[test]
fn peak_rates_of_a_population_are_those_of_its_mean_trace() {
    // 2 neurons, bins of 2 ms: both fire in bins 5..7 of trial 0, one in bin 9 of trial 1.
    let mut counts = Array3::zeros((2, 12, 2));
    counts.slice_mut(s![0, 5..7, ..]).fill(1);
    counts[[1, 9, 0]] = 1;
    let recording = one_session(counts, vec![0; 2], vec![0; 2]);
    let populations = Populations::by_area(&recording, 2).unwrap();
    let filter = MovingMean::new(2, 1, 0).unwrap();
    let all = recording.all_trials();
    let peaks = peak_rates_hz(&recording, &populations, &all, filter, 2.0).unwrap();
    // Trial 0: one spike per neuron and bin = 500 Hz; trial 1: ½ spike in one of two bins = 125 Hz.
    assert_eq!(peaks, vec![vec![500.0, 125.0]]);
}

#[test]
fn metric_values_survive_json_unchanged() {
    let mut metric = MetricValue {
        ci95: Some([0.1, 0.30000000000000004]),
        ceiling_noiseless: Some(0.47),
        ..MetricValue::new("psth_pearson", 0.302, 1500, "1")
    };
    metric.nulls.insert(NullModel::TrialShuffled.name().to_owned(), 0.29);
    let text = serde_json::to_string(&metric).unwrap();
    assert!(
        text.starts_with(r#"{"name":"psth_pearson","value":0.302,"ci95":[0.1,"#),
        "{text}"
    );
    assert!(text.contains(r#""reference_train_test":null"#));
    assert_eq!(serde_json::from_str::<MetricValue>(&text).unwrap(), metric);
    assert!(pearson(&[0.0, 1.0], &[1.0, 0.0]).is_some_and(|r| (r + 1.0).abs() < 1e-15));
}
