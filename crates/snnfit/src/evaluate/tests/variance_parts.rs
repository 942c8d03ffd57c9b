//! Parts of the variance: models that are right in one number over all of it, and wrong in its parts.

use super::*;
use crate::findings::{Kind, of_metrics};
use rand_distr::StandardNormal;

/// Deviation of the gain of a recorded trial.
const SPREAD: f64 = 0.25;

/// Trials whose neurons fire 0.1 spikes a bin, times a gain of the trial, the area and the bin.
fn of_gain(n_trials: usize, gain: impl Fn(usize, usize, [f64; 3]) -> f64, rng: &mut dyn Rng) -> Array3<u8> {
    let mut counts = Array3::zeros((n_trials, N_BINS, N_NEURONS));
    for mut trial in counts.outer_iter_mut() {
        let normals = [(); 3].map(|()| StandardNormal.sample(rng));
        for ((t, n), count) in trial.indexed_iter_mut() {
            let mean = 0.1 * gain(n / PER_AREA % 2, t, normals).max(0.01);
            *count = Poisson::new(mean).map_or(0, |p| p.sample(rng) as u8);
        }
    }
    counts
}

/// The recorded process: both areas share a gain.
fn shared(_: usize, _: usize, z: [f64; 3]) -> f64 {
    1.0 + SPREAD * z[0]
}

/// Three sessions of 640 trials (160 for the test), and a jaw that is as high as it is in the whole trial.
fn fixture() -> Fixture {
    let mut rng = rng(61);
    let sessions = (0..N_SESSIONS).map(|s| {
        let neurons: Vec<usize> = (s * 2 * PER_AREA..(s + 1) * 2 * PER_AREA).collect();
        RecordedSession {
            presence: None,
            name: format!("session{s}"),
            counts: of_gain(640, shared, &mut rng).select(Axis(2), &neurons),
            valid_bins: vec![N_BINS; 640],
            conditions: vec![0; 640],
            trial_types: (0..640).map(|k| k % 2).collect(),
            areas: neurons.iter().map(|n| n / PER_AREA % 2).collect(),
            neurons,
            behaviour: Some(heights(640, 1.0, &mut rng)),
        }
    });
    Fixture::of(sessions.collect(), &["Hit", "Miss"])
}

fn heights(n_trials: usize, deviation: f64, rng: &mut dyn Rng) -> Array3<f64> {
    let heights: Vec<f64> = (0..n_trials).map(|_| StandardNormal.sample(rng)).collect();
    Array3::from_shape_fn((n_trials, N_BINS, 1), |(k, _, _)| deviation * heights[k])
}

fn report(fixture: &Fixture, counts: &Array3<u8>, behaviour: Option<&Array3<f64>>) -> Report {
    let conditions = vec![0; counts.dim().0];
    let mut inputs = fixture.inputs(counts, &conditions);
    inputs.settings.n_resamples = 100;
    inputs.has_behaviour = behaviour.is_some();
    inputs.model.behaviour = behaviour;
    // As `evaluate`, without the metrics that these tests are not about.
    let mut rng = rng(62);
    let context = Context::new(&inputs, &mut rng).unwrap();
    let mut report = Report::new(&inputs, Vec::new(), Vec::new());
    report
        .add(&[], dispersion::variance_ratios(&context, &mut rng))
        .unwrap();
    let parts = super::super::variance_parts::parts(&context, &mut rng).unwrap();
    report.variance_over_time = parts.over_time;
    report.add(&[], Ok(parts.metrics)).unwrap();
    report
}

#[test]
fn a_model_that_is_right_in_sum_and_wrong_in_its_parts_is_told_from_the_recorded_process() {
    let fixture = fixture();
    let of = |gain: fn(usize, usize, [f64; 3]) -> f64| {
        let report = report(&fixture, &of_gain(480, gain, &mut rng(63)), None);
        // Deviation of a variance of 160 normal trials 0.11, of three sessions 0.065, of the ratio by time more.
        let pooled = metric(&report, "feature_variance_ratio");
        assert!((pooled.value - 1.0).abs() < 0.2, "{pooled:?}");
        // Without behaviour both are the same, each by its own code.
        let population = metric(&report, "population_variance_ratio");
        assert!(
            (population.value - pooled.value).abs() < 1e-12,
            "{population:?} {pooled:?}"
        );
        assert_eq!(population.n, pooled.n);
        for (null, value) in &pooled.nulls {
            assert!((population.nulls[null] - value).abs() < 1e-12, "{null}");
        }
        assert!(report.metric("behaviour_variance_ratio/jaw").is_none());
        report
    };
    let value = |report: &Report, name: &str| metric(report, name).value;
    let near = |report: &Report, name: &str, expected: f64, tolerance: f64| {
        let found = metric(report, name);
        assert!((found.value - expected).abs() < tolerance, "{found:?}, not {expected}");
    };
    // Of a feature bin, the mean of 15 neurons over w effective bins, 1/(15·0.1·w) of the variance is Poisson's. Sums over
    // area and bins leave the ratio of gain to all, `gain`, which the shuffled null tells.
    let right = of(shared);
    let gain = 1.0 - metric(&right, "population_variance_ratio").nulls["trial_shuffled"];
    assert!((0.3..0.9).contains(&gain), "{gain}");
    for name in [
        "population_variance_ratio/area1",
        "population_variance_ratio/area2",
        "population_variance_ratio_early",
        "population_variance_ratio_late",
    ] {
        near(&right, name, 1.0, 0.25);
        let metric = metric(&right, name);
        let [low, high] = metric.ci95.unwrap();
        assert!(
            low < metric.value && metric.value < high && high - low < 1.0,
            "{metric:?}"
        );
        assert!((metric.reference_train_test.unwrap() - 1.0).abs() < 0.25, "{metric:?}");
    }
    // The areas share all of their gain.
    near(&right, "area_correlation_data", gain, 0.08);
    near(&right, "area_correlation", value(&right, "area_correlation_data"), 0.08);
    let error = metric(&right, "area_correlation_error");
    assert!(
        error.value < 0.1 && error.reference_train_test.unwrap() < 0.1,
        "{error:?}"
    );
    assert!(error.nulls["trial_shuffled"] > gain - 0.15, "{error:?}");
    assert_eq!(error.n, 3);
    assert!(
        of_metrics(&right, &[])
            .iter()
            .all(|f| !matches!(f.kind, Kind::UnderDispersion | Kind::OverDispersion))
    );

    // Each area with a gain of its own.
    let apart = of(|area, _, z| 1.0 + SPREAD * z[area]);
    near(&apart, "population_variance_ratio/area1", 1.0, 0.25);
    near(&apart, "area_correlation", 0.0, 0.05);
    near(&apart, "area_correlation_error", gain, 0.1);

    // All of the variance in one area.
    let one = of(|area, _, z| 1.0 + if area == 0 { 2.0f64.sqrt() * SPREAD * z[0] } else { 0.0 });
    near(&one, "population_variance_ratio/area1", 1.0 + gain, 0.3);
    near(&one, "population_variance_ratio/area2", 1.0 - gain, 0.15);
    let found = of_metrics(&one, &[]);
    let kinds: Vec<Kind> = found.iter().map(|finding| finding.kind).collect();
    assert!(
        kinds.contains(&Kind::UnderDispersion) && kinds.contains(&Kind::OverDispersion),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|finding| finding.what.ends_with("trial to trial in area2")),
        "{found:?}"
    );

    // All of it in the second half of the trial.
    let late = of(|_, t, z| 1.0 + if t >= 50 { 2.0f64.sqrt() * SPREAD * z[0] } else { 0.0 });
    near(&late, "population_variance_ratio_early", 1.0 - gain, 0.2);
    near(&late, "population_variance_ratio_late", 1.0 + gain, 0.3);
    let over_time = &late.variance_over_time;
    assert_eq!(over_time.len(), 12);
    assert!((over_time[0].start_ms, over_time[11].end_ms) == (0.0, 200.0));
    assert!(over_time.windows(2).all(|pair| pair[0].end_ms == pair[1].start_ms));
    for (j, stretch) in over_time.iter().enumerate().filter(|(j, _)| !(4..8).contains(j)) {
        let expected = if j < 6 { 1.0 - gain } else { 1.0 + gain };
        assert!((stretch.ratio - expected).abs() < 0.4, "{stretch:?} {expected}");
        let [low, high] = stretch.ci95.unwrap();
        assert!(
            low < high && stretch.n == 480 && stretch.reference_train_test.is_some(),
            "{stretch:?}"
        );
    }
}

#[test]
fn parts_stand_beside_what_they_are_parts_of() {
    let report = Fixture::new().evaluate(&process(150, &mut rng(68)).0, 69);
    let place = |name: &str| report.metrics.iter().position(|metric| metric.name == name).unwrap();
    assert_eq!(
        place("population_variance_ratio"),
        place("feature_variance_ratio_within_type") + 1
    );
    assert!(place("area_correlation_error") < place("fano_ratio"));
    assert_eq!(report.variance_over_time.len(), 12);
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
}

#[test]
fn behaviour_has_a_ratio_of_its_own_and_is_in_no_other_part() {
    let fixture = fixture();
    let counts = of_gain(480, shared, &mut rng(64));
    let of = |deviation: f64| report(&fixture, &counts, Some(&heights(480, deviation, &mut rng(65))));
    let (same, half) = (of(1.0), of(0.5));
    for name in [
        "population_variance_ratio",
        "population_variance_ratio/area1",
        "area_correlation",
    ] {
        assert_eq!(metric(&same, name).value, metric(&half, name).value, "{name}");
    }
    let [of_same, of_half] = [&same, &half].map(|report| metric(report, "behaviour_variance_ratio/jaw"));
    assert!(
        (of_half.value / of_same.value - 0.25).abs() < 1e-12 && (of_same.value - 1.0).abs() < 0.3,
        "{of_same:?}"
    );
    assert!((of_half.reference_train_test.unwrap() - 1.0).abs() < 0.3, "{of_half:?}");
    assert!(metric(&half, "feature_variance_ratio").value < metric(&same, "feature_variance_ratio").value - 0.1);
}

#[test]
fn one_area_has_no_correlation_with_another() {
    let fixture = Fixture::new();
    let session = &fixture.recording.sessions()[0];
    let one = RecordedSession {
        counts: session.counts.slice(s![.., .., ..PER_AREA]).to_owned(),
        neurons: session.neurons[..PER_AREA].to_vec(),
        areas: vec![0; PER_AREA],
        ..session.clone()
    };
    let report = Fixture::of(vec![one], &["Hit", "Miss"]).evaluate(&process(150, &mut rng(66)).0, 67);
    for name in ["area_correlation", "area_correlation_data", "area_correlation_error"] {
        let left_out = report.left_out.iter().find(|left_out| left_out.name == name).unwrap();
        assert!(left_out.reason.contains("no session has two areas"), "{left_out:?}");
    }
    assert!(report.metric("population_variance_ratio/area1").is_some());
    assert!(report.metric("population_variance_ratio/area2").is_none());
}
