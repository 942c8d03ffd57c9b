//! The gradient at the spikes that a network is given, of all losses together, against finite differences.

use super::*;
use crate::config::checked::{MatchWithin, Steps};
use losses::statistics::RecordedSession;
use losses::trial_loss::Method;
use rand::RngExt;

const N_BINS: usize = 30;
const N_NEURONS: usize = 9;

fn recording(rng: &mut StreamRng) -> Recording {
    let mut session = |name: &str, neurons: std::ops::Range<usize>| RecordedSession {
        name: name.to_owned(),
        counts: Array3::from_shape_simple_fn((12, N_BINS, neurons.len()), || u8::from(rng.random::<f64>() < 0.3)),
        valid_bins: vec![N_BINS; 12],
        conditions: (0..12).map(|k| k % 2).collect(),
        trial_types: vec![0; 12],
        areas: vec![0; neurons.len()],
        neurons: neurons.collect(),
        presence: None,
        behaviour: None,
    };
    let sessions = vec![session("a", 0..5), session("b", 5..8)];
    Recording::new(sessions, vec!["area".to_owned()], N_NEURONS, 2).unwrap()
}

fn steps(steps: usize) -> Steps {
    Steps {
        ms: steps as f64,
        steps,
    }
}

fn comparison(recording: Recording, is_masked: bool) -> Comparison {
    let statistics = Statistics {
        smooth: steps(4),
        stride: steps(2),
        trial_resample: 2,
        min_neurons_per_area: 2,
        min_spikes: 0,
        min_presence: 0.5,
        match_within: MatchWithin::Stimulus,
        matching_trials: MatchingTrials::First,
    };
    let windows = |lengths: &[usize], whole_trial| CountWindows {
        lengths: lengths.iter().map(|w| steps(*w)).collect(),
        whole_trial,
    };
    let losses = vec![
        Loss::Psth { weight: 2.0 },
        Loss::CountCovariance {
            weight: 30.0,
            windows: windows(&[7], false),
        },
        Loss::TrialMatching {
            weight: 3.0,
            method: Method::Energy {
                exponent: 1.0,
                by_part: false,
            },
        },
        Loss::CountVariance {
            weight: 5.0,
            windows: windows(&[4, 10], true),
        },
    ];
    let options = ComparisonOptions {
        bin_ms: 1.0,
        damping: 0.3,
        has_behaviour: false,
        is_masked,
    };
    Comparison::new(recording, statistics, losses, options).unwrap()
}

/// Raw statistics of any numbers in the place of spikes, summed over the bins that trials have.
fn statistics(
    comparison: &Comparison,
    spikes: &Array3<f64>,
    conditions: &[usize],
    valid: Option<&[usize]>,
) -> BatchStatistics {
    let (k, t, n) = spikes.dim();
    let segments = comparison.segments().unwrap();
    let mut sums = Array3::zeros((2, t, n));
    let mut traces = Array3::zeros((k, t, comparison.channels.len()));
    let mut segment_counts = Array3::zeros((k, segments.len(), n));
    for ((k, t, n), z) in spikes.indexed_iter() {
        if valid.is_some_and(|valid| t >= valid[k]) {
            continue;
        }
        sums[[conditions[k], t, n]] += z;
        segment_counts[[k, segments.of_bin()[t] as usize, n]] += z;
        for (g, channel) in comparison.channels.iter().enumerate() {
            let member = channel.members.iter().find(|(m, _)| *m as usize == n);
            traces[[k, t, g]] += member.map_or(0.0, |(_, weight)| f64::from(*weight) * z);
        }
    }
    if let Some(valid) = valid {
        mask_beyond(&mut traces, valid);
    }
    BatchStatistics {
        sums,
        counts: (0..2).map(|c| conditions.iter().filter(|k| **k == c).count()).collect(),
        conditions: conditions.to_vec(),
        valid_bins: valid.map(<[usize]>::to_vec),
        traces,
        behaviour: None,
        segment_counts: Some(segment_counts),
    }
}

#[test]
fn gradients_at_the_spikes_are_those_of_finite_differences_with_losses_of_counts_among_others() {
    let mut rng = StreamRng::new(3, "test", 0);
    let recorded = recording(&mut rng);
    let conditions: Vec<usize> = (0..11).map(|k| k * 3 % 2).collect();
    let short: Vec<usize> = (0..11).map(|k| if k % 3 == 0 { 18 + k } else { N_BINS }).collect();
    for valid in [None, Some(short.as_slice())] {
        let comparison = comparison(recorded.clone(), valid.is_some());
        let objective = comparison.objective(&recorded.all_trials(), None).unwrap();
        let soft = SoftMatching::default();
        let evaluate = |spikes: &Array3<f64>| {
            let batch = statistics(&comparison, spikes, &conditions, valid);
            let mut rng = StreamRng::new(1, "matching", 0);
            let evaluation = comparison.evaluate(&objective, &batch, None, &soft, &mut rng).unwrap();
            (evaluation, batch)
        };
        let spikes = Array3::from_shape_simple_fn((11, N_BINS, N_NEURONS), || rng.random::<f64>());
        let (evaluation, batch) = evaluate(&spikes);
        assert_eq!(evaluation.weighted.len(), 4);
        assert!(evaluation.weighted.values().all(|value| value.abs() > 1e-3));
        let adjoint = comparison.adjoint(&evaluation, &batch, None).unwrap();
        assert_eq!(adjoint.segments.len(), 2);
        adjoint.check(11, N_BINS, N_NEURONS).unwrap();
        let mut dense = Array3::<f32>::zeros(spikes.raw_dim());
        for ((k, t), mut row) in ndarray::indices((11, N_BINS)).into_iter().zip(dense.rows_mut()) {
            adjoint.add_row(k, t, row.as_slice_mut().unwrap());
        }
        for _ in 0..20 {
            let direction = Array3::from_shape_simple_fn(spikes.raw_dim(), || rng.random::<f64>() - 0.5);
            let h = 1e-5;
            let moved = |h: f64| evaluate(&(&spikes + &(&direction * h))).0.total();
            let slope = (moved(h) - moved(-h)) / (2.0 * h);
            let found: f64 = dense.iter().zip(&direction).map(|(d, x)| f64::from(*d) * x).sum();
            // Adjoints are in single precision.
            assert!((found - slope).abs() < 1e-5 * (1.0 + slope.abs()), "{found} {slope}");
        }
        // Four trials of a stimulus are enough, three are not.
        assert!(comparison.is_comparable(&objective, &[1, 1, 1, 1], None, false));
        assert!(!comparison.is_comparable(&objective, &[1, 1, 1, 0, 0, 0], None, false));
        let floor = comparison
            .floor(&objective, &recorded.all_trials(), 8, &mut rng)
            .unwrap();
        assert!(floor.contains_key("count_variance") && floor.contains_key("count_covariance"));
    }
}

#[test]
fn windows_longer_than_a_trial_are_refused() {
    let windows = CountWindows {
        lengths: vec![steps(31)],
        whole_trial: true,
    };
    let losses = [Loss::CountVariance { weight: 1.0, windows }];
    let refused = count_segments(&losses, N_BINS).unwrap_err().to_string();
    assert!(refused.contains("windows_ms") && refused.contains("31"), "{refused}");
}
