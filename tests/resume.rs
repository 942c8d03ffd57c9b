//! A run that stops in any way goes on as if it had not: the bytes of its checkpoints say so.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use rand::RngExt;
use snn_core::rng::StreamRng;
use snnfit::checkpoint;
use snnfit::events::{self, Event};
use snnfit::run_dir::StopReason;

use crate::cli::Folder;
use crate::runs::{
    ENDLESS, Training, assert_same_checkpoints, folder, last_step, manifest, next_stop, resume, step_path, succeed,
    train, tree,
};

/// Goes on with `run` to the next round step and compares it with a run that never stopped.
fn finish_and_compare(folder: &Folder, run: &str) {
    let step = next_stop(last_step(folder, run).unwrap_or(0));
    let stop = format!("train.max_steps = {step}");
    resume(folder, run, &[&stop]);
    let straight = format!("straight-{step}");
    if !folder.path(&straight).exists() {
        train(folder, &straight, &[&stop, "train.checkpoint_every = 1000000"]);
    }
    assert_same_checkpoints(folder, run, &straight, step);
}

/// Whatever happened to a run, it can be looked at, and evaluated as soon as it has a checkpoint.
fn assert_readable(folder: &Folder, run: &str) {
    succeed(folder, &["inspect", run]);
    if last_step(folder, run).is_some() {
        succeed(
            folder,
            &["evaluate", run, "--checkpoint", "last", "--split", "validation"],
        );
    }
}

#[test]
fn forty_steps_are_twenty_steps_a_kill_and_twenty_more() {
    let folder = folder();
    let mut training = Training::start_or_resume(&folder, "a", &[ENDLESS]);
    training.wait_for_step(&folder, "a", 20);
    training.kill();
    assert_readable(&folder, "a");
    finish_and_compare(&folder, "a");
    let attempts = manifest(&folder, "a").attempts;
    let [.., killed, resumed] = attempts.as_slice() else {
        panic!("two attempts are expected: {attempts:?}")
    };
    assert_eq!((killed.first_step, killed.stop_reason), (0, None));
    assert!(resumed.first_step >= 20 && resumed.first_step.is_multiple_of(20));
    assert_eq!(resumed.stop_reason, Some(StopReason::MaxSteps));
}

#[test]
fn a_run_that_ended_between_validations_goes_on_as_if_it_had_not() {
    let folder = folder();
    train(&folder, "straight", &["train.max_steps = 20"]);
    // Before the first validation, which then comes at the end, and after it.
    for stop in [7, 13] {
        let run = format!("stopped-{stop}");
        train(&folder, &run, &[&format!("train.max_steps = {stop}")]);
        succeed(&folder, &["evaluate", &run, "--split", "validation"]);
        resume(&folder, &run, &["train.max_steps = 20"]);
        assert_same_checkpoints(&folder, &run, "straight", 20);
    }
}

#[test]
fn a_run_killed_again_and_again_at_random_times_ends_with_the_same_bytes() {
    let folder = folder();
    let sets = [ENDLESS, "train.checkpoint_every = 1"];
    let mut rng = StreamRng::new(1, "kill times", 0);
    let mut before = None;
    for attempt in 0..50 {
        let mut training = Training::start_or_resume(&folder, "a", &sets);
        // Some die while they load, the others while they train.
        if attempt % 2 == 1 {
            training.wait_for_step(&folder, "a", before.map_or(0, |step| step + 1));
        }
        std::thread::sleep(Duration::from_micros(rng.random_range(0..60_000)));
        training.kill();
        if folder.path("a").exists() {
            assert_readable(&folder, "a");
        }
        let after = last_step(&folder, "a");
        assert!(after >= before, "steps were lost: {before:?}, then {after:?}");
        before = after;
    }
    finish_and_compare(&folder, "a");
    let left: Vec<String> = tree(&folder, "a").into_iter().filter(|n| n.contains(".tmp")).collect();
    assert_eq!(left, Vec::<String>::new(), "temporary files of killed processes");
}

#[test]
fn a_run_killed_before_its_first_checkpoint_starts_over() {
    let folder = folder();
    train(&folder, "a", &["train.max_steps = 20"]);
    // What a kill right after the creation of the directory leaves.
    std::fs::remove_dir_all(folder.path("a/checkpoints")).unwrap();
    std::fs::create_dir(folder.path("a/checkpoints")).unwrap();
    std::fs::remove_file(folder.path("a/events.ndjson")).unwrap();
    finish_and_compare(&folder, "a");
}

#[test]
fn an_interrupted_or_terminated_run_checkpoints_ends_by_the_signal_and_goes_on() {
    let folder = folder();
    for (name, number, reason) in [
        ("INT", 2, StopReason::Interrupted),
        ("TERM", 15, StopReason::Terminated),
    ] {
        let mut training = Training::start_or_resume(&folder, name, &[ENDLESS]);
        training.wait_for_step(&folder, name, 20);
        let status = training.signal(name);
        // A shell reports a process that a signal ended as 128 + number: 130 and 143.
        assert_eq!(status.signal(), Some(number), "{status:?}");
        let attempt = manifest(&folder, name).attempts.pop().unwrap();
        let last = last_step(&folder, name);
        assert_eq!((attempt.stop_reason, attempt.last_step), (Some(reason), last));
        let state = checkpoint::read(&step_path(&folder, name, last.unwrap()))
            .unwrap()
            .state;
        assert_eq!(state["step"], last.unwrap());
        // Nobody holds the lock: the run may go on on another machine.
        assert_eq!(std::fs::read_to_string(folder.path(name).join("lock")).unwrap(), "");
        assert_readable(&folder, name);
        finish_and_compare(&folder, name);
    }
}

#[test]
fn a_run_that_is_out_of_time_exits_with_9_and_goes_on() {
    let folder = folder();
    let stopped = folder.run(&[
        "train",
        "--config",
        "fit.toml",
        "--out",
        "a",
        "--max-time",
        "1s",
        "--set",
        ENDLESS,
    ]);
    assert_eq!(stopped.code, 9, "{}", stopped.stderr);
    assert!(
        stopped.stdout.starts_with("stopped by --max-time"),
        "{}",
        stopped.stdout
    );
    assert!(
        stopped.stdout.contains("next   snnfit train --resume a"),
        "{}",
        stopped.stdout
    );
    let attempt = manifest(&folder, "a").attempts.pop().unwrap();
    assert_eq!(
        (attempt.stop_reason, attempt.last_step),
        (Some(StopReason::TimeLimit), last_step(&folder, "a"))
    );
    finish_and_compare(&folder, "a");
}

#[test]
fn every_kind_of_run_goes_on_bit_by_bit_with_any_number_of_threads() {
    let folder = folder();
    let variants: [&[&str]; 7] = [
        &[],
        &["train.gradient_splitter = false", "train.balance_trial_types = true"],
        &["preset = \"sourmpis2023_code\"", "optimizer.adamw.weight_decay = 0.1"],
        &["model.rsnn.n_hidden = 9", "model.rsnn.train_noise_gain = true"],
        &["model.rsnn.delay_groups = 2", "model.rsnn.max_delay_ms = 8.0"],
        &[
            "model.rsnn.latent.mlp.init_scale = 0.5",
            "model.rsnn.latent.mlp.weight_decay = 3.0",
        ],
        &[
            "model.rsnn.latent.mlp.knots_ms = [-20.0, 0.0, 33.0]",
            "model.rsnn.latent.mlp.stimulus_from_ms = 0.0",
        ],
    ];
    for (i, variant) in variants.iter().enumerate() {
        let names = ["straight", "one", "two"].map(|name| format!("{name}-{i}"));
        let [straight, one, two] = &names;
        train(&folder, straight, variant);
        let sets: Vec<&str> = variant.iter().flat_map(|&set| ["--set", set]).collect();
        for (out, first, second) in [(one, "1", "2"), (two, "2", "1")] {
            let start = ["train", "--config", "fit.toml", "--out", out, "--threads", first];
            succeed(
                &folder,
                &[&start, sets.as_slice(), &["--set", "train.max_steps = 20"]].concat(),
            );
            let go_on = ["train", "--resume", out, "--threads", second];
            succeed(&folder, &[&go_on[..], &["--set", "train.max_steps = 40"]].concat());
            assert_same_checkpoints(&folder, straight, out, 40);
        }
    }
    let bytes = |i: usize| std::fs::read(step_path(&folder, &format!("straight-{i}"), 40)).unwrap();
    for (i, variant) in variants.iter().enumerate().skip(1) {
        assert_ne!(bytes(0), bytes(i), "{variant:?} changes nothing");
    }
}

#[test]
fn one_thread_and_two_threads_give_the_same_bytes_when_trials_and_neurons_are_split_into_blocks() {
    let folder = folder();
    crate::runs::synth(
        &folder,
        "larger.h5",
        &["--neurons=130", "--excitatory=104", "--trials=60"],
    );
    let train_with = |out: &str, threads: &str, seed: &str| {
        let sets = [
            "data.files = [\"larger.h5\"]",
            "train.n_trials = 70",
            "train.max_steps = 6",
        ];
        let sets: Vec<&str> = sets.into_iter().flat_map(|set| ["--set", set]).collect();
        let arguments = [
            "train",
            "--config",
            "fit.toml",
            "--out",
            out,
            "--threads",
            threads,
            "--seed",
            seed,
        ];
        succeed(&folder, &[&arguments, sets.as_slice()].concat());
    };
    train_with("one", "1", "3");
    train_with("two", "2", "3");
    train_with("three", "3", "3");
    train_with("other", "2", "4");
    assert_same_checkpoints(&folder, "one", "two", 6);
    assert_same_checkpoints(&folder, "one", "three", 6);
    let bytes = |run: &str| std::fs::read(step_path(&folder, run, 6)).unwrap();
    assert_ne!(bytes("one"), bytes("other"), "the seed changes nothing");
}

#[test]
fn a_run_that_is_done_is_not_changed_by_resuming_it() {
    let folder = folder();
    train(&folder, "a", &[]);
    let before = std::fs::read(step_path(&folder, "a", 40)).unwrap();
    let again = resume(&folder, "a", &[]);
    assert!(
        again.stdout.starts_with("all steps taken at step 40"),
        "{}",
        again.stdout
    );
    assert_eq!(std::fs::read(step_path(&folder, "a", 40)).unwrap(), before);
    assert_eq!(last_step(&folder, "a"), Some(40));
}

#[test]
fn a_run_notes_each_process_that_trained_it_once() {
    let folder = folder();
    train(&folder, "a", &["train.max_steps = 20"]);
    resume(&folder, "a", &["train.max_steps = 40"]);
    let attempts = manifest(&folder, "a").attempts;
    let noted: Vec<_> = attempts
        .iter()
        .map(|a| (a.first_step, a.last_step, a.stop_reason))
        .collect();
    let done = Some(StopReason::MaxSteps);
    assert_eq!(noted, [(0, Some(20), done), (20, Some(40), done)]);
}

#[test]
fn the_event_log_of_a_killed_run_tells_each_step_once_and_the_same_losses() {
    let folder = folder();
    let mut training = Training::start_or_resume(&folder, "a", &[ENDLESS]);
    training.wait_for_step(&folder, "a", 20);
    std::thread::sleep(Duration::from_millis(20));
    training.kill();
    let step = next_stop(last_step(&folder, "a").unwrap());
    let stop = format!("train.max_steps = {step}");
    resume(&folder, "a", &[&stop]);
    train(&folder, "b", &[&stop]);
    let losses = |run: &str| -> BTreeMap<u64, Vec<(String, u64)>> {
        let all = events::read(&folder.path(run).join("events.ndjson")).unwrap();
        let mut found = BTreeMap::new();
        for event in all {
            let Event::Step(step) = event else { continue };
            let losses = step.losses.iter().map(|(name, x)| (name.clone(), x.0.to_bits()));
            let before = found.insert(step.step, losses.collect());
            assert!(before.is_none(), "step {} is told twice", step.step);
        }
        found
    };
    let straight = losses("b");
    assert_eq!(
        straight.keys().copied().collect::<Vec<_>>(),
        (1..=step / 5).map(|i| 5 * i).collect::<Vec<_>>()
    );
    assert_eq!(losses("a"), straight);
}

#[test]
fn a_damaged_last_checkpoint_is_passed_over_with_a_warning() {
    let folder = folder();
    train(&folder, "a", &[]);
    train(&folder, "straight", &["train.max_steps = 60"]);
    let last = step_path(&folder, "a", 40);
    let intact = std::fs::read(&last).unwrap();
    let mut flipped = intact.clone();
    flipped[intact.len() - 9] ^= 4;
    for damaged in [flipped, intact[..intact.len() / 2].to_vec(), Vec::new()] {
        std::fs::write(&last, &damaged).unwrap();
        let simulated = folder.path("x.h5");
        let run = succeed(
            &folder,
            &[
                "simulate",
                "a",
                "--out",
                "x.h5",
                "--trials",
                "3",
                "--checkpoint",
                "last",
            ],
        );
        assert!(run.stderr.contains("step-00000040.ckpt"), "no warning: {}", run.stderr);
        assert!(run.stderr.contains("at step 20"), "{}", run.stderr);
        std::fs::remove_file(simulated).unwrap();
    }
    let resumed = resume(&folder, "a", &["train.max_steps = 60"]);
    assert!(
        resumed
            .stderr
            .contains("warning: [folder]/a/checkpoints/step-00000040.ckpt")
            || resumed.stderr.contains("warning: a/checkpoints/step-00000040.ckpt"),
        "{}",
        resumed.stderr
    );
    assert!(resumed.stderr.contains("going on from step 20"), "{}", resumed.stderr);
    assert_same_checkpoints(&folder, "a", "straight", 60);
}

#[test]
fn a_run_can_be_read_while_it_trains_but_not_trained_twice() {
    let folder = folder();
    let mut training = Training::start_or_resume(&folder, "a", &[ENDLESS]);
    training.wait_for_step(&folder, "a", 20);
    let second = folder.run(&["train", "--resume", "a"]);
    assert_eq!(second.code, 5, "{}", second.stderr);
    let owner = format!("a is in use by process {} on host ", training.id());
    assert!(second.stderr.contains(&owner), "{}", second.stderr);
    for _ in 0..5 {
        assert_readable(&folder, "a");
    }
    training.kill();
    let third = resume(&folder, "a", &["train.max_steps = 1"]);
    assert!(third.stderr.contains("died while it held the lock"), "{}", third.stderr);
}

#[test]
fn runs_of_every_matching_method_go_on_bit_by_bit_and_evaluate() {
    let folder = folder();
    for trials in [
        "trial_matching = { method = \"sinkhorn\" }",
        "trial_matching = { method = \"sinkhorn\", blur = 0.01, exponent = 2.0 }",
        "trial_matching = { method = \"energy\", exponent = 0.8 }",
        "spike_gan = { every = 2 }",
        "trial_matched_likelihood = {}",
        "trial_matched_likelihood = {} }, { trial_matching = {}",
        "trial_matching = {} }, { count_variance = {} }, { count_covariance = { windows_ms = [20.0] }",
    ] {
        let loss = format!("loss = [{{ psth = {{}} }}, {{ {trials} }}]");
        let name: String = trials.chars().filter(char::is_ascii_alphanumeric).collect();
        let (straight, stopped) = (format!("straight-{name}"), format!("stopped-{name}"));
        train(&folder, &straight, &[&loss, "train.max_steps = 14"]);
        train(&folder, &stopped, &[&loss, "train.max_steps = 9"]);
        resume(&folder, &stopped, &["train.max_steps = 14"]);
        assert_same_checkpoints(&folder, &stopped, &straight, 14);
        succeed(&folder, &["evaluate", &straight, "--trials", "20"]);
    }
}

#[test]
fn a_learning_rate_that_falls_to_0_ends_the_updates_and_goes_on_after_a_stop() {
    let folder = folder();
    let sets = [
        "optimizer.adamw.lr_final = 0.0",
        "train.checkpoint_every = 1",
        "train.max_steps = 20",
    ];
    train(&folder, "straight", &sets);
    // The two latest checkpoints are kept.
    let parameters = |step| {
        let mut read = checkpoint::read(&step_path(&folder, "straight", step)).unwrap();
        read.sections.remove("parameters").unwrap()
    };
    assert_eq!(parameters(20), parameters(19), "the last step's rate is 0");
    train(&folder, "a", &sets);
    std::fs::remove_file(step_path(&folder, "a", 20)).unwrap();
    let events = folder.path("a/events.ndjson");
    let begun = resume(&folder, "a", &[]);
    assert!(!begun.stderr.contains("learning rate"), "{}", begun.stderr);
    assert_same_checkpoints(&folder, "a", "straight", 20);
    let rates = std::fs::read_to_string(events).unwrap();
    assert!(rates.contains("\"lr\":0.0,"), "{rates}");
    // The rate rises again: that is said.
    let longer = resume(&folder, "a", &["train.max_steps = 25"]);
    assert!(
        longer.stderr.contains("falls until step 25, not 20"),
        "{}",
        longer.stderr
    );
}
