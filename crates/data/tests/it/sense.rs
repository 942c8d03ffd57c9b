//! Recordings that make no sense: each fault is found, and says where it is.

use data::{Activity, Behaviour, BehaviourSamples, Recording, Session, StimulusMovies, Timing, check, validate};
use ndarray::{Array2, Array3};

use crate::common::{binned_session, recording, session};

/// The problems of a session after a change, as text.
#[track_caller]
fn problems(mut session: Session, change: impl FnOnce(&mut Session)) -> String {
    change(&mut session);
    let findings = check(&recording(vec![session]));
    let lines: Vec<String> = findings.problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn warnings(mut session: Session, change: impl FnOnce(&mut Session)) -> String {
    change(&mut session);
    let findings = check(&recording(vec![session]));
    assert_eq!(findings.problems, []);
    let lines: Vec<String> = findings.warnings.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
}

fn train(session: &mut Session) -> &mut Vec<f64> {
    match &mut session.activity {
        Activity::SpikeTimes { times_s, .. } => &mut times_s[1],
        Activity::Binned { .. } => panic!("not spike times"),
    }
}

fn ones() -> Session {
    binned_session("b", Array3::from_elem((3, 4, 2), 1))
}

#[test]
fn a_good_recording_has_no_findings() {
    let findings = check(&recording(vec![session("a"), ones()]));
    assert_eq!(findings.problems, []);
    // One spike per bin of 1 ms is 1000 Hz, which is warned of; nothing else.
    assert!(findings.warnings.iter().all(|w| w.message.contains("1000 Hz")));
}

#[test]
fn an_empty_recording_is_refused() {
    assert!(validate(&Recording::default()).is_err());
    assert_says(
        &problems(session("a"), |s| s.units.clear()),
        &["/sessions/a/units: the session has no unit"],
    );
    assert_says(
        &problems(session("a"), |s| s.trials.clear()),
        &["/sessions/a/trials: the session has no trial"],
    );
}

#[test]
fn names_are_checked() {
    let twice = check(&recording(vec![session("a"), session("a")]));
    assert_says(&twice.problems[0].to_string(), &["/sessions/a", "two sessions"]);
    for name in ["", ".", "a/b", "a\n"] {
        let text = problems(session(name), |_| ());
        assert_says(&text, &["the session name"]);
    }
    let text = problems(session("a"), |s| s.units[1].id = "u0".to_owned());
    assert_says(&text, &["units/id, unit 1 ('u0')", "two units"]);
    let text = problems(session("a"), |s| s.units[0].area = " ".to_owned());
    assert_says(&text, &["units/area, unit 0", "area is empty"]);
    let text = problems(session("a"), |s| s.trials[2].trial_type.clear());
    assert_says(&text, &["trial_type, trial 2"]);
}

type Change = fn(&mut Vec<f64>);

#[test]
fn spike_times_are_checked() {
    let at = "/sessions/a/units/spike_times, unit 1 ('u1')";
    let cases: [(Change, &str); 6] = [
        (
            |t| t.swap(0, 1),
            "not sorted: spike 1 (0.75 s) is before spike 0 (1.75 s)",
        ),
        (|t| t[0] = -0.5, "1 spike times are negative"),
        (|t| t[1] = f64::NAN, "the first, spike 1, is NaN"),
        (|t| t[2] = f64::INFINITY, "the first, spike 2, is inf"),
        (|t| t[2] = 3.1, "outside the session (0 s to 3 s)"),
        (|t| t.iter_mut().for_each(|t| *t *= 1000.0), "outside"),
    ];
    for (change, said) in cases {
        let text = problems(session("a"), |s| change(train(s)));
        assert_says(&text, &[at, said]);
    }
    let text = problems(session("a"), |s| {
        if let Activity::SpikeTimes { times_s, .. } = &mut s.activity {
            times_s.pop();
        }
    });
    assert_says(&text, &["spikes of 1 units, but 2 units are listed"]);
    let text = problems(session("a"), |s| {
        if let Activity::SpikeTimes { observed_s, .. } = &mut s.activity {
            *observed_s = (3.0, 0.0);
        }
    });
    assert_says(&text, &["observed_start_s", "not an interval"]);
}

#[test]
fn oddities_of_spikes_are_warned_of() {
    let text = warnings(session("a"), |s| train(s).clear());
    assert_says(&text, &["unit 1 ('u1')", "no spike"]);
    let text = warnings(session("a"), |s| *train(s) = vec![0.5, 0.5, 0.6]);
    assert_says(&text, &["1 spikes share their time"]);
    let text = warnings(session("a"), |s| {
        *train(s) = (0..2999).map(|i| f64::from(i) / 1000.0).collect();
    });
    assert_says(&text, &["mean rate 1000 Hz", "in a larger unit than s"]);
}

#[test]
fn a_trial_table_longer_than_the_data_is_found() {
    let text = problems(session("a"), |s| {
        let mut late = s.trials[2].clone();
        (late.start_s, late.stop_s, late.align_s) = (3.0, 4.0, 3.25);
        s.trials.push(late);
    });
    assert_says(&text, &["start_time, trial 3", "longer than the data"]);
    let text = warnings(session("a"), |s| s.trials[2].stop_s = 3.5);
    assert_says(&text, &["1 trials end after the recording"]);
    let text = warnings(session("a"), |s| {
        if let Activity::SpikeTimes { times_s, .. } = &mut s.activity {
            for times in times_s {
                times.truncate(2);
            }
        }
    });
    // Two spikes each: the last is at 1.75 s, the third trial from 2 s on.
    assert_says(
        &text,
        &[
            "1 trials start after the last spike of the session, at 1.75 s",
            "(hint: clock.observed_s = [0, 2] in a TOML for --spec",
        ],
    );
    let text = problems(ones(), |s| s.trials.truncate(2));
    assert_says(&text, &["binned/spikes", "the trial table has 2 rows"]);
}

#[test]
fn trials_are_checked() {
    let text = problems(session("a"), |s| s.trials[1].stop_s = 1.0);
    assert_says(&text, &["stop_time, trial 1", "no length"]);
    let text = problems(session("a"), |s| s.trials[1].align_s = f64::NAN);
    assert_says(&text, &["align_time, trial 1"]);
    let text = problems(session("a"), |s| s.trials[0].stimulus = f64::INFINITY);
    assert_says(&text, &["stimulus, trial 0"]);
    let text = problems(session("a"), |s| s.trials[0].movie = Some(0));
    assert_says(&text, &["movie, trial 0", "0 movies"]);
    let text = problems(session("a"), |s| s.trials[0].valid_bins = Some(1));
    assert_says(&text, &["valid_bins, trial 0"]);
    let text = warnings(session("a"), |s| s.trials.swap(0, 1));
    assert_says(&text, &["1 trials start before the one above"]);
}

#[test]
fn counts_are_checked() {
    let text = problems(ones(), |s| s.units.truncate(1));
    assert_says(&text, &["[3, 4, 2]", "1 units are listed"]);
    for n in [0, 5] {
        let text = problems(ones(), |s| s.trials[2].valid_bins = Some(n));
        assert_says(&text, &["valid_bins, trial 2", "expected 1 to 4"]);
    }
    for width in [0.0, -1.0, f64::NAN] {
        let text = problems(ones(), |s| {
            if let Activity::Binned { bin_ms, .. } = &mut s.activity {
                *bin_ms = width;
            }
        });
        assert_says(&text, &["bin_ms", "bin width"]);
    }
    let text = problems(binned_session("b", Array3::zeros((3, 0, 2))), |_| ());
    assert_says(&text, &["trials have no bin"]);
}

#[test]
fn behaviour_is_checked() {
    let with = |samples: BehaviourSamples, mut session: Session| {
        let behaviour = Behaviour {
            samples,
            unit: "mm".to_owned(),
        };
        session.behaviour.insert("jaw".to_owned(), behaviour);
        problems(session, |_| ())
    };
    let timed = |values: &[f32], times: &[f64]| BehaviourSamples::Continuous {
        values: values.to_vec(),
        timing: Timing::Timestamps(times.to_vec()),
    };
    let at_rate = |rate_hz| BehaviourSamples::Continuous {
        values: vec![1.0],
        timing: Timing::Rate { rate_hz, start_s: 0.0 },
    };
    let at = "/sessions/a/behaviour/jaw";
    let text = with(timed(&[1.0, 2.0], &[0.0]), session("a"));
    assert_says(&text, &[at, "1 times for 2 samples"]);
    let text = with(timed(&[1.0, 2.0], &[0.5, 0.5]), session("a"));
    assert_says(&text, &[at, "must increase"]);
    let text = with(timed(&[1.0, f32::INFINITY], &[0.0, 0.5]), session("a"));
    assert_says(&text, &[at, "1 values are infinite"]);
    let text = with(at_rate(0.0), session("a"));
    assert_says(&text, &[at, "rate_hz"]);
    let per_bin = || BehaviourSamples::PerBin(Array2::zeros((3, 5)));
    assert_says(&with(per_bin(), session("a")), &[at, "need binned activity"]);
    assert_says(&with(per_bin(), ones()), &["shape [3, 5]", "[3, 4, 2]"]);
}

#[test]
fn movies_are_checked() {
    let text = problems(session("a"), |s| {
        s.stimulus = Some(StimulusMovies {
            values: Array3::from_elem((1, 2, 1), f32::NAN),
            bin_ms: 0.0,
            start_ms: f64::NAN,
        });
    });
    assert_says(&text, &["2 values are not finite", "bin_ms", "starts at NaN ms"]);
}

#[test]
fn an_event_outside_of_most_trials_is_a_problem() {
    // The mistake: seconds from the start of the trial instead of the clock of the session.
    let text = problems(session("a"), |s| s.trials.iter_mut().for_each(|t| t.align_s = 0.25));
    assert_says(
        &text,
        &[
            "/sessions/a/trials/align_time: 2 of 3 trials don't contain their event",
            "trial 1, runs from 1 s to 2 s, its event is at 0.25 s",
            "clock of the session?",
        ],
    );
    // In a few trials it may be true.
    let text = warnings(session("a"), |s| s.trials[2].align_s = 1.5);
    assert_says(&text, &["align_time: 1 of 3 trials don't contain their event"]);
    // The edges belong to the trial.
    let text = warnings(session("a"), |s| {
        s.trials[0].align_s = 0.0;
        s.trials[1].align_s = 2.0;
    });
    assert_eq!(text, "");
}

#[test]
fn stored_bins_may_lie_beside_the_event_but_not_beside_the_trial() {
    let mut long = binned_session("b", Array3::from_elem((3, 500, 2), 0));
    long.units.truncate(2);
    // Bins of 1 ms over the second half of each trial; the event is before its start.
    let shifted = |s: &mut Session| {
        for (k, trial) in s.trials.iter_mut().enumerate() {
            trial.align_s = k as f64 - 0.5;
        }
        if let Activity::Binned { start_ms, .. } = &mut s.activity {
            *start_ms = 1000.0;
        }
    };
    let text = warnings(long.clone(), shifted);
    assert!(!text.contains("event"), "{text}");
    let text = problems(long, |s| s.trials.iter_mut().for_each(|t| t.align_s = 0.25));
    assert_says(&text, &["align_time: 2 of 3 trials don't contain their event"]);
}

#[test]
fn trials_that_are_there_twice_are_warned_of() {
    let text = warnings(session("a"), |s| s.trials.push(s.trials[1].clone()));
    assert_says(
        &text,
        &["start_time: 2 trials have the same start and event as another one: trials 1, 3"],
    );
    let text = warnings(session("a"), |s| {
        s.trials[1] = s.trials[0].clone();
        s.trials[1].align_s = 0.5;
    });
    assert!(!text.contains("same start"), "{text}");
}

#[test]
fn an_oddity_of_many_units_is_one_warning() {
    let many = |n: usize| {
        let counts = Array3::from_shape_fn((4, 5, n), |(k, t, n)| u8::from(n % 2 == 0 && k == 0 && t == 0));
        binned_session("b", counts)
    };
    let text = warnings(many(2000), |_| ());
    assert_eq!(
        text,
        "/sessions/b/binned/spikes: 1000 of 2000 units have no spike: 1 ('u1'), 3 ('u3'), 5 ('u5'), 7 ('u7'), \
         9 ('u9'), …; are the axes swapped?"
    );
    // As after an import, where the name is the index.
    let text = warnings(many(4), |s| {
        for (n, unit) in s.units.iter_mut().enumerate() {
            unit.id = n.to_string();
        }
    });
    assert_says(&text, &["2 of 4 units have no spike: 1, 3; are the axes swapped?"]);
    let text = warnings(many(2), |_| ());
    assert_says(&text, &["binned/spikes, unit 1 ('u1'): the unit has no spike"]);

    let text = warnings(session("a"), |s| {
        if let Activity::SpikeTimes { times_s, .. } = &mut s.activity {
            times_s.iter_mut().for_each(Vec::clear);
        }
    });
    assert_says(
        &text,
        &["units/spike_times: 2 of 2 units have no spike: 0 ('u0'), 1 ('u1')"],
    );
    let text = warnings(session("a"), |s| {
        if let Activity::SpikeTimes { times_s, .. } = &mut s.activity {
            *times_s = vec![vec![0.5, 0.5, 0.5, 2.5], vec![0.5, 0.5]];
        }
    });
    assert_says(&text, &["3 spikes of 2 of 2 units share their time"]);
    let text = warnings(session("a"), |s| {
        if let Activity::SpikeTimes { times_s, .. } = &mut s.activity {
            let every = |n: i32| (0..n).map(|i| 3.0 * f64::from(i) / f64::from(n)).collect();
            *times_s = vec![every(3000), every(2400)];
        }
    });
    assert_says(
        &text,
        &[
            "2 of 2 units have mean rates above 500 Hz, up to 1000 Hz",
            "in a larger unit than s, or many units one?",
        ],
    );
}

#[test]
fn a_fault_of_the_observed_interval_hides_no_fault_of_the_spikes() {
    let text = problems(session("a"), |s| {
        train(s).swap(0, 1);
        if let Activity::SpikeTimes { observed_s, .. } = &mut s.activity {
            *observed_s = (3.0, 0.0);
        }
    });
    assert_says(&text, &["not an interval", "not sorted"]);
}
