//! Shares of trial types by the templates of each session, with behaviour and two stimuli.

use super::*;

/// Stimulus and type of trial `k` of five in turn: of the two with stimulus 1, the second is a miss.
fn recorded(k: usize) -> (usize, usize) {
    [(0, 0), (0, 0), (0, 0), (1, 0), (1, 1)][k % 5]
}

#[test]
fn stimuli_count_as_in_each_session_and_the_jaw_tells_types() {
    // Spikes of both types are alike: the jaw alone tells them.
    let base = Fixture::of_strengths([1.0, 1.0], 160);
    let mut rng = rng(41);
    let of_session = |session: &RecordedSession| {
        let n_trials = session.conditions.len();
        let (conditions, types): (Vec<usize>, Vec<usize>) = (0..n_trials).map(recorded).unzip();
        assert_eq!(session.trial_types, types);
        RecordedSession {
            conditions,
            behaviour: Some(jaw(&types, &mut rng)),
            ..session.clone()
        }
    };
    let sessions = base.recording.sessions().iter().map(of_session).collect();
    let areas = base.recording.area_names().to_vec();
    let fixture = Fixture {
        recording: Recording::new(sessions, areas, N_NEURONS, 2).unwrap(),
        ..base
    };
    // The model: stimulus 1 in one trial of eight, a miss in half of them.
    let (conditions, types): (Vec<usize>, Vec<usize>) = (0..160)
        .map(|k| (usize::from(k % 8 == 7), usize::from(k % 16 == 15)))
        .unzip();
    let mut counts = Array3::zeros((160, N_BINS, N_NEURONS));
    for mut row in counts.outer_iter_mut() {
        row.assign(&trial(1.0, &mut rng));
    }
    let behaviour = jaw(&types, &mut rng);
    let inputs = EvaluationInputs {
        has_behaviour: true,
        model: SimulatedTrials {
            counts: &counts,
            conditions: &conditions,
            behaviour: Some(&behaviour),
            valid_bins: None,
        },
        ..fixture.inputs(&counts, &conditions)
    };
    let report = evaluate(&inputs, &mut rng).unwrap();
    let near = |name: &str, expected: f64| {
        let metric = metric(&report, name);
        assert!((metric.value - expected).abs() < 1e-9, "{metric:?}");
        let [low, high] = metric.ci95.unwrap();
        assert!(
            0.0 <= low && low < expected && expected < high && high <= 1.0,
            "{metric:?}"
        );
        metric.n
    };
    // Of the model's trials 15 of 16 are hits; with stimuli as often as in the recording, 3/5 + 2/5 · 1/2.
    assert_eq!(near("session_type_fraction/Hit", 0.8), 160);
    assert_eq!(near("session_type_fraction/Miss", 0.2), 160);
    // 40 test trials in each of three sessions.
    assert_eq!(near("session_type_fraction_data/Hit", 0.8), 120);
    assert_eq!(near("session_type_fraction_data/Miss", 0.2), 120);
}
