//! Values that stop being finite: the step is skipped, the last good state is kept, the program says where.

use snnfit::checkpoint::{self, Checkpoint};
use snnfit::run_dir::StopReason;

use crate::cli::Folder;
use crate::runs::{folder, last_step, manifest, resume, step_path, succeed, train};

/// Every update overflows single precision with this learning rate.
const OVERFLOW: [&str; 2] = ["optimizer.adamw.lr = 1e38", "optimizer.adamw.l1 = 0.0"];

fn read(folder: &Folder, run: &str, step: u64) -> Checkpoint {
    checkpoint::read(&step_path(folder, run, step)).unwrap()
}

#[test]
fn a_run_whose_numbers_break_down_exits_with_7_and_keeps_the_state_before() {
    let folder = folder();
    let sets: Vec<&str> = OVERFLOW.into_iter().flat_map(|set| ["--set", set]).collect();
    let arguments = ["train", "--config", "fit.toml", "--out", "a"];
    let run = folder.run(&[&arguments, sets.as_slice()].concat());
    assert_eq!(run.code, 7, "{}", run.stderr);
    let summary: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(summary[0], "diverged: values stayed non-finite (step 4)");
    // Going on would diverge again: a new run is what helps.
    let next = "next   snnfit train --config a/run.toml --set 'optimizer.adamw.lr = ";
    assert!(summary.last().unwrap().starts_with(next), "{}", run.stdout);
    assert!(
        summary.last().unwrap().ends_with("lr = 1e37' --out NEW"),
        "{}",
        run.stdout
    );
    // Three steps in a row may be skipped (train.max_skipped); the fourth is the end.
    assert_eq!(run.stderr.matches("skipped: parameter '").count(), 3, "{}", run.stderr);
    assert!(run.stderr.contains("step 4: parameter '"), "{}", run.stderr);
    let attempt = manifest(&folder, "a").attempts.pop().unwrap();
    assert_eq!(
        (attempt.stop_reason, attempt.last_step),
        (Some(StopReason::Diverged), Some(4))
    );
    assert_eq!(last_step(&folder, "a"), Some(0), "a diverged state is not kept");
    train(&folder, "b", &["train.max_steps = 20"]);
    assert_eq!(read(&folder, "a", 0).sections, read(&folder, "b", 0).sections);
    succeed(
        &folder,
        &["evaluate", "a", "--checkpoint", "last", "--split", "validation"],
    );
}

#[test]
fn a_skipped_step_changes_neither_parameters_nor_optimizer() {
    let folder = folder();
    let sets = [&OVERFLOW[..], &["train.max_skipped = 100", "train.max_steps = 3"]].concat();
    let run = train(&folder, "a", &sets);
    assert!(run.stdout.contains("3 steps were skipped"), "{}", run.stdout);
    let (before, after) = (read(&folder, "a", 0), read(&folder, "a", 3));
    assert_eq!(after.state["skipped"], 3);
    assert_eq!(after.sections["parameters"], before.sections["parameters"]);
    assert_eq!(after.state["splitter"], before.state["splitter"]);
    assert_eq!(after.state["n_updates"], 0, "an update that was taken back is none");
    assert_eq!(after.sections["optimizer"], before.sections["optimizer"], "moments");
    // Skipped steps are remembered over a stop.
    let again = resume(&folder, "a", &["train.max_steps = 5"]);
    assert!(again.stdout.contains("5 steps were skipped"), "{}", again.stdout);
}
