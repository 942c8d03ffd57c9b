//! Active and quiet trials: judged by one rule on all sides, whatever the noise of a session.

use super::*;
use rand_distr::StandardNormal;

const TIMES: TaskTimes = TaskTimes {
    start_ms: -80.0,
    cue_ms: 80.0,
    delay_ms: Some([0.0, 80.0]),
};

/// Traces of trials of these types: a lick of 4 from 84 ms in hits, a movement in the delay that rises in 20 ms by ten times
/// `slope` (per bin) where there is one, and independent noise in each bin.
fn traces(types: &[usize], slope: impl Fn(usize) -> f64, noise: f64, rng: &mut dyn Rng) -> Array3<f64> {
    Array3::from_shape_fn((types.len(), N_BINS, 1), |(k, t, _)| {
        let lick = if types[k] == 0 && t >= 82 { 4.0 } else { 0.0 };
        let normal: f64 = StandardNormal.sample(rng);
        3.0 + lick + slope(k) * (t as f64 - 50.0).clamp(0.0, 10.0) + noise * normal
    })
}

/// Three quarters of the hits and one of the misses move.
fn moves(k: usize) -> bool {
    if k % 5 == 4 {
        (k / 5).is_multiple_of(4)
    } else {
        k % 5 < 3
    }
}

/// A recording whose second session has three times the noise, and movements; the last one has no camera.
fn recording(fixture: &Fixture, slope: f64, rng: &mut dyn Rng) -> Recording {
    let mut sessions = fixture.recording.sessions().to_vec();
    for (session, scale) in sessions.iter_mut().zip([1.0, 3.0]) {
        let slope = |k: usize| if moves(k) { scale * slope } else { 0.0 };
        session.behaviour = Some(traces(&session.trial_types, slope, 0.1 * scale, rng));
    }
    Recording::new(sessions, fixture.recording.area_names().to_vec(), N_NEURONS, 1).unwrap()
}

fn report(fixture: &Fixture, recording: &Recording, types: &[usize], behaviour: &Array3<f64>) -> Report {
    let counts = process(types.len(), &mut rng(51)).0;
    let conditions = vec![0; types.len()];
    let mut inputs = fixture.inputs(&counts, &conditions);
    inputs.recording = recording;
    inputs.has_behaviour = true;
    inputs.model.behaviour = Some(behaviour);
    inputs.settings.times = TIMES;
    judged(&inputs)
}

/// The metrics that these tests are about, as [`evaluate`] reports them.
fn judged(inputs: &EvaluationInputs<'_>) -> Report {
    let context = Context::new(inputs, &mut rng(52)).unwrap();
    let mut report = Report::new(inputs, Vec::new(), Vec::new());
    for name in ["lick_threshold", "active_fraction"] {
        let group = GROUPS.iter().find(|group| group.names.contains(&name)).unwrap();
        report
            .add(group.names, (group.compute)(&context, &mut rng(59)))
            .unwrap();
    }
    report
}

#[test]
fn shares_of_active_trials_are_those_of_the_movements_by_type_and_session() {
    let fixture = Fixture::new();
    let recording = recording(&fixture, 0.1, &mut rng(50));
    // A model without noise, with fewer hits, a quarter of which move, and half of the misses.
    let types: Vec<usize> = (0..160).map(|k| usize::from(k % 4 == 3)).collect();
    let moves = |k: usize| {
        if k % 4 == 3 {
            k % 8 == 3
        } else {
            k % 16 < 3 || k % 16 == 8
        }
    };
    let of_slope = |slope: f64| {
        let slope = |k: usize| if moves(k) { slope } else { 0.0 };
        report(&fixture, &recording, &types, &traces(&types, slope, 0.0, &mut rng(53)))
    };
    let found = of_slope(0.1);
    let value = |name: &str| metric(&found, name).value;
    // Of the model nothing is left to chance; noise makes about 0.1 % of the recorded trials active.
    assert!((value("active_fraction/Hit") - 1.0 / 3.0).abs() < 1e-12);
    assert!((value("active_fraction/Miss") - 0.5).abs() < 1e-12);
    assert!((value("active_fraction") - 0.375).abs() < 1e-12);
    for (name, expected) in [("/Hit", 0.75), ("/Miss", 0.25), ("", 0.65)] {
        let recorded = metric(&found, &format!("active_fraction_data{name}"));
        assert!((recorded.value - expected).abs() < 0.02, "{recorded:?}");
        let model = metric(&found, &format!("active_fraction{name}"));
        let reference = model.reference_train_test.unwrap();
        assert!((reference - expected).abs() < 0.02, "{model:?}");
        assert!((model.nulls["trial_shuffled"] - expected).abs() < 0.05, "{model:?}");
        // All move at the same time, so their average does too.
        assert_eq!(model.nulls.len(), 4);
        let [low, high] = model.ci95.unwrap();
        assert!(low < model.value && model.value < high && high - low < 0.5, "{model:?}");
    }
    assert_eq!(metric(&found, "active_fraction_data").n, 2 * 40);
    assert_eq!(metric(&found, "active_fraction").n, 160);
    // Steps of a Gaussian window of s = 5 bins of noise 0.1 and 0.3: deviations of 0.1/√(4 √π s³) per 2 ms, and the median of
    // two sessions is their mean. 9 steps of each of 120 trials, of which a dozen are independent: 3 %.
    let threshold = metric(&found, "active_threshold");
    let expected = 4.0 * 0.2 / (4.0 * std::f64::consts::PI.sqrt() * 125.0).sqrt() / 0.002;
    assert!(
        (threshold.value / expected - 1.0).abs() < 0.15,
        "{threshold:?} {expected}"
    );

    // Movements of the model that the noise of the second session would hide.
    let found = of_slope(0.035);
    let value = |name: &str| metric(&found, name).value;
    assert!(
        (value("active_fraction/Hit") - 1.0 / 6.0).abs() < 1e-12,
        "{}",
        value("active_fraction/Hit")
    );
    assert!((value("active_fraction/Miss") - 0.25).abs() < 1e-12);
}

#[test]
fn noise_is_quiet_on_both_sides() {
    let fixture = Fixture::new();
    let recording = recording(&fixture, 0.0, &mut rng(54));
    let types: Vec<usize> = (0..160).map(|k| usize::from(k % 4 == 3)).collect();
    let behaviour = traces(&types, |_| 0.0, 0.1, &mut rng(55));
    let report = report(&fixture, &recording, &types, &behaviour);
    for name in [
        "active_fraction",
        "active_fraction_data",
        "active_fraction/Hit",
        "active_fraction/Miss",
    ] {
        let metric = metric(&report, name);
        assert!(metric.value < 0.05, "{metric:?}");
    }
}

#[test]
fn trials_without_types_of_licks_or_a_delay_are_said_to_be_so() {
    let mut fixture = Fixture::new();
    let recording = recording(&fixture, 0.1, &mut rng(56));
    fixture.types = vec!["left".to_owned(), "right".to_owned()];
    let types: Vec<usize> = (0..80).map(|k| k % 2).collect();
    let behaviour = traces(&types, |k| if k % 4 == 0 { 0.1 } else { 0.0 }, 0.0, &mut rng(57));
    let found = report(&fixture, &recording, &types, &behaviour);
    assert!((metric(&found, "active_fraction").value - 0.25).abs() < 1e-12);
    let reason = |found: &Report, name: &str| {
        let left_out = found.left_out.iter().find(|left_out| left_out.name == name);
        left_out
            .unwrap_or_else(|| panic!("{name}: {:?}", found.left_out))
            .reason
            .clone()
    };
    assert!(reason(&found, "active_fraction/left").contains("type_fraction_threshold"));
    assert!(reason(&found, "type_fraction_threshold").contains("hit or false alarm"));

    let counts = process(80, &mut rng(58)).0;
    let conditions = vec![0; 80];
    let mut inputs = fixture.inputs(&counts, &conditions);
    inputs.recording = &recording;
    inputs.has_behaviour = true;
    inputs.model.behaviour = Some(&behaviour);
    for (delay_ms, expected) in [
        (None, "no two onsets"),
        (Some([0.0, 60.0]), "no longer than 60 ms"),
        (Some([-70.0, 80.0]), "too few bins"),
    ] {
        inputs.settings.times = TaskTimes { delay_ms, ..TIMES };
        let found = judged(&inputs);
        for name in ["active_threshold", "active_fraction", "active_fraction_data"] {
            assert!(reason(&found, name).contains(expected), "{}", reason(&found, name));
        }
    }
    let names = vec!["jaw".to_owned(), "tongue".to_owned()];
    inputs.traces = &names;
    let refused = evaluate(&inputs, &mut rng(59)).unwrap_err().to_string();
    assert_eq!(refused, "names of the traces of behaviour is 2, expected 1");
}
