//! Memory is bounded by chunks of trials: the same losses, the same gradient up to rounding, whatever the chunk.

use ndarray::Array1;

use crate::networks::assert_relative;
use crate::runs::{folder, resume, step_path, train};
use snnfit::checkpoint::{self, Values};
use snnfit::events::{self, Event};

/// Relative to the largest entry of a gradient: chunks are added in another order, in single precision.
const ROUNDING: f64 = 1e-5;

/// First moments of the optimiser after a step, by name; after the first, (1 − β₁) × the gradient.
pub(crate) fn gradients(folder: &crate::cli::Folder, run: &str, step: u64) -> Vec<(String, Array1<f64>)> {
    let checkpoint = checkpoint::read(&step_path(folder, run, step)).unwrap();
    let moments = checkpoint.sections["optimizer"].iter();
    moments
        .filter_map(|(name, array)| {
            let Values::F32(values) = &array.values else {
                panic!("{name}")
            };
            let values = values.iter().map(|x| f64::from(*x)).collect();
            name.strip_prefix("first.").map(|name| (name.to_owned(), values))
        })
        .collect()
}

pub(crate) fn losses_of_the_first_step(folder: &crate::cli::Folder, run: &str) -> Vec<(String, f64)> {
    let events = events::read(&folder.path(run).join("events.ndjson")).unwrap();
    let step = events.into_iter().find_map(|event| match event {
        Event::Step(step) if step.step == 1 => Some(step.losses),
        _ => None,
    });
    step.unwrap().into_iter().map(|(name, value)| (name, value.0)).collect()
}

#[test]
fn one_three_and_eight_chunks_are_one_step() {
    let folder = folder();
    let one = ["train.max_steps = 1", "train.log_every = 1", "train.n_trials = 16"];
    train(&folder, "whole", &one);
    let whole = gradients(&folder, "whole", 1);
    assert!(whole.len() >= 5 && whole.iter().all(|(_, g)| g.iter().any(|x| *x != 0.0)));
    // 3, 8 and 16 chunks.
    for chunk in [6, 2, 1] {
        let (run, set) = (format!("chunk-{chunk}"), format!("train.trial_chunk = {chunk}"));
        train(&folder, &run, &[one[0], one[1], one[2], &set]);
        assert_eq!(
            losses_of_the_first_step(&folder, "whole"),
            losses_of_the_first_step(&folder, &run),
            "losses of the same spikes, chunks of {chunk}"
        );
        for ((name, a), (_, b)) in gradients(&folder, &run, 1).iter().zip(&whole) {
            assert_relative(&format!("dL/d{name}, chunks of {chunk}"), a, b, ROUNDING);
        }
    }
}

#[test]
fn a_chunked_run_goes_on_bit_by_bit() {
    let folder = folder();
    let chunk = "train.trial_chunk = 5";
    train(&folder, "straight", &[chunk, "train.max_steps = 20"]);
    train(&folder, "stopped", &[chunk, "train.max_steps = 13"]);
    resume(&folder, "stopped", &["train.max_steps = 20"]);
    crate::runs::assert_same_checkpoints(&folder, "stopped", "straight", 20);
}

#[test]
fn a_memory_limit_makes_chunks_that_fit_or_says_what_is_needed() {
    let folder = folder();
    let dry = |limit: &str| {
        let set = format!("train.memory_limit = \"{limit}\"");
        folder.run(&[
            "--format",
            "json",
            "train",
            "--config",
            "fit.toml",
            "--dry-run",
            "--set",
            &set,
        ])
    };
    let answer = |run: &crate::cli::Run| -> serde_json::Value {
        assert_eq!(run.code, 0, "{}", run.stderr);
        serde_json::from_str(&run.stdout).unwrap()
    };
    let plenty = answer(&dry("4GiB"));
    assert_eq!(plenty["trial_chunk"], 12);
    let predicted = plenty["predicted_peak_mib"].as_f64().unwrap();
    // Half of what trials take at once: less than all of them, and at least one.
    let per_trial = predicted
        - answer(&dry(&format!("{}KiB", (predicted * 1024.0) as u64 - 1)))["predicted_peak_mib"]
            .as_f64()
            .unwrap();
    assert!(per_trial > 0.0, "a limit just below the need must make chunks");
    let none = dry("1MiB");
    assert_eq!(none.code, 3, "{}", none.stderr);
    assert!(
        none.stderr.contains("train.memory_limit") && none.stderr.contains("GiB"),
        "{}",
        none.stderr
    );
    let both = folder.run(&[
        "train",
        "--config",
        "fit.toml",
        "--dry-run",
        "--set",
        "train.memory_limit = \"1GiB\"",
        "--set",
        "train.trial_chunk = 3",
    ]);
    assert_eq!(both.code, 3);
    assert!(both.stderr.contains("keep one of them"), "{}", both.stderr);
}
