//! Recordings and requests at the edge of what a fit can use: taken where that is sound, listed or refused where not.

use data::Recording;
use serde_json::Value;

use crate::bad_input::refuse;
use crate::cli::Folder;
use crate::runs::{folder, manifest, succeed, synth, train, with_sets};

/// Rewrites `recording.h5`.
fn change(folder: &Folder, change: impl FnOnce(&mut Recording)) {
    let path = folder.path("recording.h5");
    let mut recording = data::read(&path).unwrap();
    change(&mut recording);
    std::fs::remove_file(&path).unwrap();
    data::write(&path, &recording).unwrap();
}

fn reasons(folder: &Folder, run: &str) -> Vec<String> {
    let left_out = manifest(folder, run).left_out;
    left_out
        .into_iter()
        .map(|l| format!("{}: {}", l.session, l.reason))
        .collect()
}

fn evaluate(folder: &Folder, arguments: &[&str]) -> Value {
    let run = succeed(folder, &[&["evaluate", "--format", "json"], arguments].concat());
    serde_json::from_str(&run.stdout).unwrap()
}

fn value(report: &Value, name: &str) -> f64 {
    let metric = report["metrics"].as_array().unwrap().iter().find(|m| m["name"] == name);
    metric.unwrap_or_else(|| panic!("{name} is left out: {}", report["left_out"]))["value"]
        .as_f64()
        .unwrap()
}

/// Adds a third session with the units of the second and only its first `n` trials.
fn add_short_session(recording: &mut Recording, n: usize) {
    let mut short = recording.sessions[1].clone();
    short.id = "PS002".into();
    short.trials.truncate(n);
    recording.sessions.push(short);
}

#[test]
fn a_session_without_validation_trials_is_fitted_and_listed() {
    let folder = folder();
    // Three trials, fewer than a type needs to be split: all go to training.
    change(&folder, |recording| add_short_session(recording, 3));
    let run = train(&folder, "a", &["train.max_steps = 20"]);
    assert!(run.stderr.contains("PS002"), "{}", run.stderr);
    let listed = reasons(&folder, "a");
    let expected = "PS002: no validation trial to match: not in the validation loss";
    assert!(listed.iter().any(|l| l == expected), "{listed:?}");
}

/// A trace of `rate_hz` over all trials of a session.
fn behaviour(session: &data::Session, rate_hz: f64, value: impl Fn(f64) -> f32) -> data::Behaviour {
    let last = session.trials.iter().map(|t| t.stop_s).fold(0.0, f64::max);
    data::Behaviour {
        samples: data::BehaviourSamples::Continuous {
            values: (0..(last * rate_hz) as usize + 2)
                .map(|i| value(i as f64 / rate_hz))
                .collect(),
            timing: data::Timing::Rate { rate_hz, start_s: 0.0 },
        },
        unit: "mm".to_owned(),
    }
}

#[test]
fn sessions_match_on_the_behaviours_that_they_recorded() {
    let folder = folder();
    change(&folder, |recording| {
        // The first session has two traces at different rates, the second none of them.
        let session = &mut recording.sessions[0];
        let jaw = behaviour(session, 500.0, |t| 40.0 + (9.0 * t).sin() as f32);
        let whisker = behaviour(session, 100.0, |t| -3.0 + (5.0 * t).cos() as f32);
        session.behaviour.insert("jaw".into(), jaw);
        session.behaviour.insert("whisker".into(), whisker);
    });
    let sets = [
        "data.behaviour = [\"jaw\", \"whisker\"]",
        "data.traces.jaw = { baseline = \"trial\", scale = \"session\" }",
        "model.rsnn.behaviour.motor_areas = [\"area2\"]",
        "model.rsnn.behaviour.traces.whisker = { motor_areas = [\"area1\", \"area2\"], link = \"linear\", tau_ms = 20.0 }",
        "model.rsnn.behaviour.feedback = {}",
        "train.n_trials = 10",
        "train.max_steps = 20",
    ];
    let run = train(&folder, "a", &sets);
    // Neither session is left out for its behaviour.
    assert!(
        !reasons(&folder, "a").iter().any(|l| l.contains("behaviour")),
        "{}",
        run.stderr
    );
    let report = evaluate(&folder, &["a", "--split", "validation"]);
    // Two traces that say nothing of the trial: types by behaviour are there, and so are the pictures.
    assert!(value(&report, "lick_classifier_accuracy") <= 1.0);
    let picture = std::fs::read_to_string(folder.path("a/report-validation/behaviour.svg")).unwrap();
    assert!(picture.contains("jaw") && picture.contains("whisker"));
    let silenced = evaluate(&folder, &["a", "--silence", "area:area1", "--trials", "6"]);
    let changes = silenced["periods"][0]["behaviour"].as_array().unwrap();
    let changed: Vec<&str> = changes.iter().map(|change| change["name"].as_str().unwrap()).collect();
    assert_eq!(changed, ["jaw", "whisker"]);
    assert!(
        changes.iter().any(|change| change["delta"].as_f64() != Some(0.0)),
        "{changes:?}"
    );
    let named = ["--trials", "6", "--out", "sim.h5"];
    succeed(&folder, &[&["simulate", "a"], &named[..]].concat());
    let simulated = data::file::read(&folder.path("sim.h5")).unwrap();
    let names: Vec<&String> = simulated.sessions[0].behaviour.keys().collect();
    assert_eq!(names, ["jaw", "whisker"]);

    let outside = ["data.traces.jaw = { baseline = \"trial\", baseline_ms = [-5000.0, 0.0] }"];
    let sets = [&sets[..], &outside[..]].concat();
    let arguments = with_sets(&["train", "--config", "fit.toml", "--out", "b"], &sets);
    let refused = refuse(&folder, &arguments, 3);
    assert!(
        refused.stderr.contains("is not within the window"),
        "{}",
        refused.stderr
    );
}

#[test]
fn trials_without_behaviour_are_listed_and_not_needed_for_the_floor() {
    let folder = folder();
    change(&folder, |recording| {
        for session in &mut recording.sessions {
            // The first 20 trials have no camera.
            let (first, last) = (session.trials[20].start_s, session.trials[39].stop_s);
            let rate_hz = 500.0;
            let jaw = |i: usize| {
                let t = i as f64 / rate_hz;
                if t < first - 0.01 {
                    f32::NAN
                } else {
                    1.5 + (9.0 * t).sin() as f32
                }
            };
            let samples = data::BehaviourSamples::Continuous {
                values: (0..(last * rate_hz) as usize + 2).map(jaw).collect(),
                timing: data::Timing::Rate { rate_hz, start_s: 0.0 },
            };
            let unit = "mm".to_owned();
            session
                .behaviour
                .insert("jaw".into(), data::Behaviour { samples, unit });
        }
    });
    let sets = [
        "data.behaviour = [\"jaw\"]",
        "model.rsnn.behaviour.motor_areas = [\"area2\"]",
        "train.n_trials = 10",
    ];
    let run = train(&folder, "a", &[&sets[..], &["train.max_steps = 20"]].concat());
    let listed = reasons(&folder, "a");
    let expected = "PS000: 20 trials without behaviour: not matched";
    assert!(listed.iter().any(|l| l == expected), "{listed:?}");
    assert!(
        run.stderr.contains(expected.trim_start_matches("PS000: ")),
        "{}",
        run.stderr
    );
}

#[test]
fn units_beyond_the_rate_limit_are_counted_in_the_manifest() {
    let folder = folder();
    train(&folder, "a", &["train.max_steps = 20", "data.max_rate_hz = 15.0"]);
    let recording = data::read(&folder.path("recording.h5")).unwrap();
    let fast = |s: usize| {
        let units = recording.sessions[s].units.iter();
        units.filter(|u| u.firing_rate_hz.unwrap() >= 15.0).count()
    };
    assert!(fast(0) > 0, "the recording has no fast unit");
    let expected = format!("PS000: {} units at data.max_rate_hz = 15 Hz or more", fast(0));
    let listed = reasons(&folder, "a");
    assert!(
        listed.iter().any(|l| l.starts_with(&expected)),
        "{expected}: {listed:?}"
    );
}

#[test]
fn groups_too_small_to_match_are_listed_also_when_nothing_is_matched() {
    let folder = folder();
    let config = std::fs::read_to_string(folder.path("fit.toml")).unwrap();
    folder.write(
        "fit.toml",
        config.replace("[[loss]]\ntrial_matching = {}\n", "").as_bytes(),
    );
    train(
        &folder,
        "a",
        &["train.max_steps = 20", "statistics.min_neurons_per_area = 100"],
    );
    let listed = reasons(&folder, "a");
    let n = listed
        .iter()
        .filter(|l| l.contains("fewer than statistics.min_neurons_per_area = 100"))
        .count();
    assert_eq!(n, 4, "two areas of two sessions: {listed:?}");
}

#[test]
fn trials_of_sessions_that_no_neuron_comes_from_count_nowhere() {
    let folder = folder();
    // Another kind of trial in a session that isn't needed for 48 neurons.
    change(&folder, |recording| {
        add_short_session(recording, 30);
        let short = recording.sessions.last_mut().unwrap();
        short.trials.iter_mut().for_each(|t| t.trial_type = "other".into());
        short.units.truncate(12);
        let data::Activity::SpikeTimes { times_s, .. } = &mut short.activity else {
            panic!("spike times are expected")
        };
        times_s.truncate(12);
    });
    let sets = [
        "train.max_steps = 20",
        "model.rsnn.n_neurons = 48",
        "model.rsnn.p_exc = 0.66666667",
    ];
    let run = train(&folder, "a", &sets);
    assert!(
        run.stderr
            .contains("PS002: no model neuron stands for one of its units"),
        "{}",
        run.stderr
    );
    let report = evaluate(&folder, &["a"]);
    let test = |s: usize| report["trials"][s]["test"].as_u64().unwrap();
    assert_eq!(test(2), 0);
    let n = report["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["name"] == "hit_fraction_data")
        .unwrap()["n"]
        .clone();
    assert_eq!(n, test(0) + test(1), "hits and misses of the two sessions in use");
}

#[test]
fn metrics_compare_within_a_stimulus_also_where_losses_do_not() {
    let folder = folder();
    change(&folder, |recording| {
        for session in &mut recording.sessions {
            session.trials.iter_mut().step_by(2).for_each(|t| t.stimulus = 0.0);
        }
    });
    train(&folder, "by_stimulus", &["train.max_steps = 20"]);
    train(
        &folder,
        "cycle",
        &["train.max_steps = 20", "statistics.match_within = \"cycle\""],
    );
    let data = |run: &str| {
        let report = evaluate(&folder, &[run]);
        [
            value(&report, "noise_correlation_mean_data"),
            value(&report, "hit_fraction_data"),
        ]
    };
    assert_eq!(data("by_stimulus"), data("cycle"));
}

#[test]
fn a_network_that_reads_a_movie_refuses_trials_without_one() {
    let folder = folder();
    change(&folder, |recording| {
        for session in &mut recording.sessions {
            session.stimulus = Some(data::StimulusMovies {
                values: ndarray::Array3::zeros((1, 600, 2)),
                bin_ms: 2.0,
                start_ms: -200.0,
            });
            session.trials.iter_mut().for_each(|t| t.movie = Some(0));
        }
        recording.sessions[1].trials[7].movie = None;
    });
    let config = std::fs::read_to_string(folder.path("fit.toml")).unwrap();
    let recorded = config.replace("[model.rsnn.input.poisson]\nn = 20\n", "[model.rsnn.input.recorded]\n");
    folder.write("fit.toml", recorded.as_bytes());
    let run = refuse(&folder, &["train", "--config", "fit.toml", "--out", "a"], 3);
    assert!(run.stderr.contains("session 'PS001', trial 7:"), "{}", run.stderr);
}

#[test]
fn what_only_the_first_step_would_notice_is_refused_before_a_directory_is_made() {
    let folder = folder();
    let refused = |sets: &[&str], what: &str| {
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        let run = refuse(
            &folder,
            &[&["train", "--config", "fit.toml", "--out", "a"], sets.as_slice()].concat(),
            3,
        );
        assert!(
            run.stderr.replace("\n  │ ", " ").contains(what),
            "{what}: {}",
            run.stderr
        );
    };
    refused(&["train.n_trials = 1048576", "data.window_ms = [-100.0, 600.0]"], "GiB");
    refused(&["data.window_ms = [50000.0, 50080.0]"], "no trial has recorded data");
    change(&folder, |recording| recording.sessions[0].trials[3].stimulus = -2.0);
    refused(&[], "stimulus value of a trial = -2 is out of range");
}

#[test]
fn more_trials_than_memory_holds_are_refused() {
    let folder = folder();
    train(&folder, "a", &["train.max_steps = 20"]);
    for n in ["1000000000000", "18446744073709551615"] {
        for command in [&["evaluate", "a"][..], &["simulate", "a", "--out", "x.h5"]] {
            let run = refuse(&folder, &[command, &["--trials", n]].concat(), 3);
            assert!(run.stderr.contains("take fewer trials"), "{}", run.stderr);
        }
    }
    assert_eq!(manifest(&folder, "a").test_openings, 0);
    let other = crate::spike_history::folder();
    let fit = crate::spike_history::train(&other, "a", &["--set", "train.max_steps = 2"]);
    assert_eq!(fit.code, 0, "{}", fit.stderr);
    for n in ["1000000000000", "18446744073709551615"] {
        for command in [
            &["evaluate", "a"][..],
            &["simulate", "a", "--session", "once", "--out", "x.h5"],
            &["evaluate", "a", "--session", "once", "--silence", "neuron:cell0"],
        ] {
            let run = refuse(&other, &[command, &["--trials", n]].concat(), 3);
            assert!(run.stderr.contains("take fewer trials"), "{command:?}: {}", run.stderr);
        }
    }
    assert_eq!(manifest(&other, "a").test_openings, 0);
    for size in [["--n", "1000000000"], ["--k", "1000000000000"]] {
        refuse(&folder, &[&["bench"], &size[..]].concat(), 2);
    }
}

#[test]
fn a_run_finds_its_recording_where_data_says() {
    let folder = folder();
    train(&folder, "a", &["train.max_steps = 20"]);
    std::fs::rename(folder.path("recording.h5"), folder.path("moved.h5")).unwrap();
    refuse(&folder, &["simulate", "a", "--out", "x.h5"], 4);
    succeed(&folder, &["simulate", "a", "--out", "x.h5", "--data", "moved.h5"]);
    succeed(
        &folder,
        &["evaluate", "a", "--split", "validation", "--data", "moved.h5"],
    );
    synth(&folder, "other.h5", &["--seed=9"]);
    let other = refuse(&folder, &["evaluate", "a", "--data", "other.h5"], 4);
    assert!(other.stderr.contains("SHA-256"), "{}", other.stderr);
    let two = refuse(
        &folder,
        &["evaluate", "a", "--data", "moved.h5", "--data", "other.h5"],
        4,
    );
    assert!(two.stderr.contains("1 recording files, but 2"), "{}", two.stderr);
    // A resumed run remembers the place.
    succeed(
        &folder,
        &[
            "train",
            "--resume",
            "a",
            "--data",
            "moved.h5",
            "--set",
            "train.max_steps = 40",
        ],
    );
    succeed(&folder, &["simulate", "a", "--out", "y.h5"]);
}

#[test]
fn what_a_resumed_run_is_told_holds_for_the_next_resumption() {
    let folder = folder();
    train(&folder, "a", &["train.max_steps = 20"]);
    succeed(
        &folder,
        &[
            "train",
            "--resume",
            "a",
            "--set",
            "train.max_steps = 40",
            "--max-time",
            "1h",
        ],
    );
    let again = succeed(&folder, &["train", "--resume", "a"]);
    assert!(
        again.stdout.starts_with("all steps taken at step 40"),
        "{}",
        again.stdout
    );
}

#[test]
fn quiet_means_quiet() {
    let folder = folder();
    let run = succeed(
        &folder,
        &[
            "train",
            "-q",
            "--config",
            "fit.toml",
            "--out",
            "a",
            "--progress",
            "plain",
        ],
    );
    assert_eq!(run.stderr, "");
}

#[test]
fn each_run_is_evaluated_once() {
    let folder = folder();
    train(&folder, "a", &["train.max_steps = 20"]);
    let run = refuse(&folder, &["evaluate", "a", "./a"], 2);
    assert!(run.stderr.contains("./a is named twice"), "{}", run.stderr);
    assert_eq!(manifest(&folder, "a").test_openings, 0);
}

#[test]
fn an_unknown_requirement_opens_no_test_trials() {
    let folder = folder();
    train(&folder, "a", &["train.max_steps = 20"]);
    let run = refuse(&folder, &["evaluate", "a", "--require", "psth_pearsen > 0"], 2);
    assert!(run.stderr.contains("did you mean 'psth_pearson'?"), "{}", run.stderr);
    assert_eq!(manifest(&folder, "a").test_openings, 0);
}

#[test]
fn a_changed_recording_is_neither_evaluated_nor_simulated() {
    let folder = folder();
    train(&folder, "a", &["train.max_steps = 20"]);
    change(&folder, |recording| recording.sessions[0].trials[0].stimulus = 3.0);
    for command in [&["evaluate", "a"][..], &["simulate", "a", "--out", "x.h5"]] {
        let run = refuse(&folder, command, 4);
        assert!(run.stderr.contains("SHA-256"), "{}", run.stderr);
    }
}

#[test]
fn metrics_of_training_trials_do_not_replace_those_of_test_trials() {
    let folder = folder();
    train(&folder, "a", &["train.max_steps = 20"]);
    evaluate(&folder, &["a"]);
    let before = std::fs::read(folder.path("a/metrics.json")).unwrap();
    evaluate(&folder, &["a", "--split", "train"]);
    assert_eq!(std::fs::read(folder.path("a/metrics.json")).unwrap(), before);
    assert!(folder.path("a/metrics-train.json").exists() && folder.path("a/report-train/psth.svg").exists());
}

#[test]
fn sessions_without_a_trial_type_take_part_in_balanced_steps() {
    let folder = folder();
    change(&folder, |recording| {
        for (session, kept) in recording.sessions.iter_mut().zip(["Hit", "Miss"]) {
            for trial in &mut session.trials {
                kept.clone_into(&mut trial.trial_type);
            }
        }
    });
    let run = train(
        &folder,
        "a",
        &["train.balance_trial_types = true", "train.max_steps = 2"],
    );
    let ids: Vec<String> = data::read(&folder.path("recording.h5"))
        .unwrap()
        .sessions
        .iter()
        .map(|session| session.id.clone())
        .collect();
    for (id, lacking) in ids.iter().zip(["Miss", "Hit"]) {
        let told = format!("session '{id}' has no training trial of type {lacking}; its other types are balanced");
        assert!(
            run.stderr.replace("\n  │ ", " ").contains(&told),
            "{told}: {}",
            run.stderr
        );
        assert!(
            manifest(&folder, "a")
                .warnings
                .iter()
                .any(|warning| warning.contains(&told))
        );
    }
}

#[test]
fn an_energy_distance_of_one_trial_is_refused_before_anything_is_written() {
    let folder = folder();
    let energy = "loss = [{ psth = {} }, { trial_matching = { method = \"energy\" } }]";
    for key in ["n_trials", "validation_trials"] {
        let one = format!("train.{key} = 1");
        let arguments = with_sets(&["train", "--config", "fit.toml", "--out", "a"], &[energy, &one]);
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let stderr = refuse(&folder, &arguments, 3).stderr;
        assert!(
            stderr.contains(&format!("train.{key} = 1: the energy distance")),
            "{stderr}"
        );
        assert!(!folder.path("a").exists());
    }
}
