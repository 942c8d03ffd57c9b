//! Templates of trial types that some sessions lack.

use losses::LossError;
use losses::metrics::{TemplateOptions, TrialTypeTemplates};
use losses::statistics::{Filters, MovingMean, RecordedSession, Recording};
use ndarray::{Array2, Array3, Axis};
use rand::RngExt;

use crate::common::rng;

/// A session of one area whose neurons fire in each of 60 bins of a trial of a type with the probability that `rate` says
/// for bin, type and neuron; `of_type` trials of types 0, 1, 2.
fn of_types(
    name: &str,
    neurons: std::ops::Range<usize>,
    of_type: [usize; 3],
    rate: impl Fn(usize, usize, usize) -> f64,
    rng: &mut impl RngExt,
) -> RecordedSession {
    let types: Vec<usize> = (0..3).flat_map(|y| vec![y; of_type[y]]).collect();
    let (n_trials, first) = (types.len(), neurons.start);
    RecordedSession {
        presence: None,
        name: name.to_owned(),
        counts: Array3::from_shape_fn((n_trials, 60, neurons.len()), |(k, t, n)| {
            u8::from(rng.random_bool(rate(t, types[k], first + n)))
        }),
        valid_bins: vec![60; n_trials],
        conditions: vec![0; n_trials],
        trial_types: types,
        areas: vec![0; neurons.len()],
        neurons: neurons.collect(),
        behaviour: None,
    }
}

#[test]
fn a_session_without_a_type_does_not_lend_it_other_neurons() {
    // Fast neurons in a session without type 1, slow ones in two sessions, one of them without type 2. Type 1 differs from
    // type 0 by 0.02 from bin 30 on, type 2 by 0.04 before.
    let rate = |t: usize, y: usize, n: usize| {
        let own = if n < 20 { 0.4 } else { 0.05 };
        own + match (y, t >= 30) {
            (1, true) => 0.02,
            (2, false) => 0.04,
            _ => 0.0,
        }
    };
    let mut rng = rng(40);
    let sessions = vec![
        of_types("fast", 0..20, [60, 0, 60], rate, &mut rng),
        of_types("slow", 20..40, [60, 60, 0], rate, &mut rng),
        of_types("all", 40..60, [60, 60, 60], rate, &mut rng),
    ];
    let areas = vec!["A".to_owned()];
    let recording = Recording::new(sessions.clone(), areas.clone(), 60, 1).unwrap();
    let spike = MovingMean::of_width(12.0, 2.0).unwrap();
    let filters = Filters::new(60, spike, MovingMean::resampling(2).unwrap()).unwrap();
    let options = TemplateOptions::default();
    let of =
        |recording: &Recording| TrialTypeTemplates::new(recording, &recording.all_trials(), filters, options).unwrap();
    let templates = of(&recording);
    let completed = templates.completed();
    assert_eq!((completed.n_neurons, completed.of_neurons), (40, 60));
    assert_eq!((completed.n_sessions, completed.of_sessions), (2, 3));
    assert_eq!(templates.neurons()[0], (0..60).collect::<Vec<_>>());

    // Model trials of all neurons: the mean over many of each type, so that noise is small.
    let model = Array3::from_shape_fn((3, 60, 1), |(y, t, _)| {
        (0..60).map(|n| rate(t, y, n)).sum::<f64>() / 60.0
    });
    assert_eq!(templates.classify(&model.view(), None).unwrap(), [0, 1, 2]);
    // Averages over the sessions that have a type, as they would be without completing them: type 1 has slow neurons alone,
    // so that no trial of all neurons resembles it.
    let naive: Vec<Array2<f64>> = (0..3)
        .map(|y| {
            let of_session = sessions.iter().filter(|session| session.trial_types.contains(&y));
            let (sum, n) = of_session.fold((Array2::<f64>::zeros((60, 1)), 0.0), |(sum, n), session| {
                let rows: Vec<usize> = (0..session.trial_types.len())
                    .filter(|&k| session.trial_types[k] == y)
                    .collect();
                let mean = session
                    .counts
                    .select(Axis(0), &rows)
                    .mapv(f64::from)
                    .mean_axis(Axis(0))
                    .unwrap();
                (
                    sum + mean.sum_axis(Axis(1)).insert_axis(Axis(1)),
                    n + session.neurons.len() as f64,
                )
            });
            sum / n
        })
        .collect();
    let distance = |y: usize| (&naive[y] - &model.index_axis(Axis(0), 1)).mapv(|d| d * d).sum();
    assert!(
        distance(1) > 10.0 * distance(0).min(distance(2)),
        "the naive template is near: nothing is tested"
    );

    // The template of type 1 is that of all neurons: as with the trials that the fast session lacks. 60 trials of 20
    // neurons in a window of 18 bins have a deviation of 0.003.
    let mut rng = self::rng(41);
    let mut whole = sessions.clone();
    whole[0] = of_types("fast", 0..20, [60, 60, 60], rate, &mut rng);
    whole[1] = of_types("slow", 20..40, [60, 60, 60], rate, &mut rng);
    let whole = of(&Recording::new(whole, areas.clone(), 60, 1).unwrap());
    assert_eq!(whole.completed().n_neurons, 0);
    let (found, expected) = (templates.rows_of_templates(), whole.rows_of_templates());
    let worst = (&found - &expected).iter().fold(0.0f64, |w, d| w.max(d.abs()));
    // In standard deviations of the templates over bins and types, 0.016.
    assert!(worst < 1.0, "{worst}");
    assert!((&found - &expected).mapv(|d| d * d).mean().unwrap().sqrt() < 0.35);

    // Types that no chain of sessions connects can't be told from neurons.
    let apart = vec![
        of_types("zero", 0..20, [5, 0, 0], rate, &mut rng),
        of_types("one", 20..40, [0, 5, 0], rate, &mut rng),
    ];
    let apart = Recording::new(apart, areas, 60, 1).unwrap();
    let refused = TrialTypeTemplates::new(&apart, &apart.all_trials(), filters, options);
    assert!(matches!(refused, Err(LossError::NoData { .. })), "{refused:?}");
}

#[test]
fn completed_templates_are_the_least_squares_fit_with_an_effect_of_each_session_and_type() {
    // One bin; sessions of 3, 2 and 1 neurons that have types {0, 1}, {1, 2} and {0, 1, 2}.
    let means = [
        [Some(3.0), Some(5.0), None],
        [None, Some(1.0), Some(2.0)],
        [Some(4.0), Some(4.5), Some(9.0)],
    ];
    let sizes = [3usize, 2, 1];
    let mut sessions = Vec::new();
    for (s, (own, &n)) in means.iter().zip(&sizes).enumerate() {
        // Two trials of a type, whose mean over neurons and trials is the mean wanted.
        let types: Vec<usize> = (0..3).filter(|&y| own[y].is_some()).flat_map(|y| [y, y]).collect();
        let first: usize = sizes[..s].iter().sum();
        sessions.push(RecordedSession {
            presence: None,
            name: s.to_string(),
            counts: Array3::from_shape_fn((types.len(), 4, n), |(k, _, _)| {
                let mean: f64 = own[types[k]].unwrap_or(0.0);
                if k % 2 == 0 {
                    mean.floor() as u8
                } else {
                    mean.ceil() as u8
                }
            }),
            valid_bins: vec![4; types.len()],
            conditions: vec![0; types.len()],
            areas: vec![0; n],
            neurons: (first..first + n).collect(),
            behaviour: None,
            trial_types: types,
        });
    }
    let recording = Recording::new(sessions, vec!["A".to_owned()], 6, 1).unwrap();
    let filters = Filters::new(4, MovingMean::new(4, 4, 0).unwrap(), MovingMean::new(1, 1, 0).unwrap()).unwrap();
    let templates =
        TrialTypeTemplates::new(&recording, &recording.all_trials(), filters, TemplateOptions::default()).unwrap();
    // An independent fit: sessions and types in turn, until nothing changes.
    let (mut mu, mut tau) = ([0.0; 3], [0.0; 3]);
    for _ in 0..20_000 {
        for s in 0..3 {
            let of: Vec<f64> = (0..3).filter_map(|y| Some(means[s][y]? - tau[y])).collect();
            mu[s] = losses::statistics::mean(&of);
        }
        for y in 0..3 {
            let of = |s: usize| Some((means[s][y]? - mu[s], sizes[s] as f64));
            let (sum, n) = (0..3)
                .filter_map(of)
                .fold((0.0, 0.0), |(sum, n), (d, w)| (sum + w * d, n + w));
            tau[y] = sum / n;
        }
    }
    let expected: Vec<f64> = (0..3)
        .map(|y| {
            (0..3)
                .map(|s| sizes[s] as f64 * means[s][y].unwrap_or(mu[s] + tau[y]))
                .sum::<f64>()
                / 6.0
        })
        .collect();
    let mean = losses::statistics::mean(&expected);
    let std = losses::statistics::unbiased_variance(&expected).sqrt();
    for (found, expected) in templates.rows_of_templates().iter().zip(&expected) {
        assert!((found - (expected - mean) / std).abs() < 1e-9, "{found} {expected}");
    }
}
