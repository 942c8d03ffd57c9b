//! Which recorded trials model trials take events of.

use super::lengths::{Filled, in_words};
use super::*;

/// Two sessions of four trials, of which the second lacks the event; trial 3 of the first is too short.
fn cues() -> TrialCues {
    let first_steps = ndarray::array![[Some(3)], [None], [Some(5)], [Some(7)]];
    let own = SessionCues {
        values: Array2::from_shape_fn((4, 1), |(k, _)| k as f64),
        first_steps,
    };
    TrialCues {
        sessions: vec![Some(own), None],
        valid_bins: vec![vec![10, 8, 10, 2], vec![10; 4]],
        training: BTreeMap::from([(0, vec![(0, 0), (0, 1)]), (1, vec![(0, 2)])]),
        names: Names {
            events: vec!["cue".to_owned()],
            values: Vec::new(),
        },
        least_bins: 3,
        is_masked: true,
    }
}

fn trial(stimulus: usize, session: usize, trial: usize) -> ModelTrial {
    ModelTrial {
        stimulus,
        session,
        trial,
    }
}

#[test]
fn trials_without_events_take_those_of_others_with_the_same_stimulus_in_turn() {
    let cues = cues();
    let mut pool = vec![
        trial(0, 0, 0),
        trial(0, 1, 0),
        trial(0, 1, 1),
        trial(0, 0, 1),
        trial(0, 0, 3),
        trial(0, 1, 2),
        // Of its stimulus the pool has no trial that can be drawn: the training trials have.
        trial(1, 1, 3),
    ];
    cues.complete(&mut pool, |s| s as f64).unwrap();
    let taken: Vec<(usize, usize)> = pool.iter().map(|t| (t.session, t.trial)).collect();
    assert_eq!(taken, [(0, 0), (0, 0), (0, 1), (0, 1), (0, 0), (0, 1), (0, 2)]);
    assert!(pool.iter().take(6).all(|t| t.stimulus == 0) && pool[6].stimulus == 1);

    let error = cues.complete(&mut [trial(2, 1, 0)], |s| 0.5 * s as f64).unwrap_err();
    let expected = "no training trial with stimulus 1 is of a session that has trials/events/cue";
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn a_model_trial_has_onset_amplitude_and_length_of_one_recorded_trial() {
    let cues = cues();
    let drawn = [trial(0, 0, 2), trial(0, 0, 1), trial(0, 0, 2)];
    let of = cues.of(&drawn);
    assert_eq!(of.first_steps, ndarray::array![[Some(5)], [None], [Some(5)]]);
    assert_eq!(of.values, ndarray::array![[2.0], [1.0], [2.0]]);
    assert_eq!(cues.lengths(&drawn), Some(vec![10, 8, 10]));
    let drawable = cues.drawable(&vec![vec![0, 3], vec![1]], &[vec![0; 4], vec![0; 4]]);
    assert_eq!(drawable, [trial(0, 0, 0)]);
}

#[test]
fn few_trials_that_fill_the_window_are_told_before_training() {
    let filled = |complete: usize, all: usize| Filled { complete, all };
    assert_eq!(in_words(filled(40, 100), filled(10, 30), 80.0), None);
    let few = in_words(filled(40, 100), filled(9, 30), 80.0).unwrap();
    assert!(few.contains("rests on few: 40 of 100 training trials and 9 of 30 test trials do"));
    assert!(few.contains("until 80 ms: choose a narrower data.window_ms"), "{few}");
    assert!(in_words(filled(24, 100), filled(30, 30), 80.0).is_some());
    for (train, test) in [(filled(0, 100), filled(20, 30)), (filled(90, 100), filled(0, 30))] {
        let none = in_words(train, test, 80.0).unwrap();
        assert!(none.starts_with("`snnfit evaluate` will refuse this run"), "{none}");
    }
}
