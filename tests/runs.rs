//! Tiny recordings, configurations and runs that the tests of training share.

use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use snnfit::checkpoint;
use snnfit::run_dir::{Manifest, RunDir};

use crate::cli::{Folder, Run};

/// No condition is waited for longer than this; on any machine it comes true in seconds or never.
const PATIENCE: Duration = Duration::from_mins(3);
/// A run that doesn't end by itself during a test.
pub(crate) const ENDLESS: &str = "train.max_steps = 1000000000";

/// A fit of 48 neurons and 60 bins that takes milliseconds per step; validation and checkpoints are frequent.
const CONFIG: &str = r#"schema = 1
seed = 3
[data]
files = ["recording.h5"]
bin_ms = 2.0
window_ms = [-40.0, 80.0]
[model.rsnn]
warmup_ms = 40.0
[model.rsnn.input.poisson]
n = 20
[model.rsnn.latent.mlp]
[statistics]
min_neurons_per_area = 4
min_spikes = 0
stride_ms = 12.0
trial_resample = 2
[[loss]]
psth = {}
[[loss]]
trial_matching = {}
[train]
n_trials = 12
validation_trials = 12
max_steps = 40
validate_every = 10
checkpoint_every = 20
log_every = 5
"#;

/// A folder with `recording.h5` (two sessions of 24 units in two areas, 40 trials each) and `fit.toml`.
pub(crate) fn folder() -> Folder {
    let folder = Folder::new();
    synth(&folder, "recording.h5", &[]);
    folder.write("fit.toml", CONFIG.as_bytes());
    folder
}

/// Writes a small two-area recording; later options replace earlier ones.
pub(crate) fn synth(folder: &Folder, name: &str, options: &[&str]) {
    let size = ["--small", "--neurons=24", "--excitatory=16", "--trials=40"];
    let size = size
        .into_iter()
        .filter(|given| !options.iter().any(|o| o.split('=').next() == given.split('=').next()));
    let arguments: Vec<&str> = ["synth", "two-area", "--out", name]
        .into_iter()
        .chain(size)
        .chain(options.iter().copied())
        .collect();
    let run = folder.run(&arguments);
    assert_eq!(run.code, 0, "{}", run.stderr);
}

/// `snnfit train` of `fit.toml` into `out`, with `--set` for each of `sets`. It must succeed.
pub(crate) fn train(folder: &Folder, out: &str, sets: &[&str]) -> Run {
    succeed(
        folder,
        &with_sets(&["train", "--config", "fit.toml", "--out", out], sets),
    )
}

/// `snnfit train --resume`, with `--set` for each of `sets`. It must succeed.
pub(crate) fn resume(folder: &Folder, run: &str, sets: &[&str]) -> Run {
    succeed(folder, &with_sets(&["train", "--resume", run], sets))
}

/// Runs the program; anything but exit code 0 fails the test.
pub(crate) fn succeed(folder: &Folder, arguments: &[&str]) -> Run {
    let run = folder.run(arguments);
    assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
    run
}

pub(crate) fn with_sets<'a>(arguments: &[&'a str], sets: &[&'a str]) -> Vec<&'a str> {
    let sets = sets.iter().flat_map(|&set| ["--set", set]);
    arguments.iter().copied().chain(sets).collect()
}

/// A training process in the background; it is killed at the latest when it is dropped.
pub(crate) struct Training(Child);

impl Training {
    /// Starts `fit.toml` into `out`, or goes on if `out` exists.
    pub(crate) fn start_or_resume(folder: &Folder, out: &str, sets: &[&str]) -> Self {
        let arguments: &[&str] = if folder.path(out).exists() {
            &["train", "--resume", out]
        } else {
            &["train", "--config", "fit.toml", "--out", out]
        };
        let mut command = folder.command(&with_sets(arguments, sets));
        let log = std::fs::File::create(folder.path(format!("{out}.stderr"))).unwrap();
        Self(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Sends a signal by name (`INT`, `TERM`) and waits for the end.
    pub(crate) fn signal(mut self, name: &str) -> ExitStatus {
        let command = format!("kill -{name} {}", self.0.id());
        let sent = std::process::Command::new("sh").args(["-c", &command]).status();
        assert!(sent.unwrap().success());
        wait_for("the end of the process", || self.0.try_wait().unwrap().is_some());
        self.0.wait().unwrap()
    }

    /// Waits for a checkpoint of this step or a later one.
    pub(crate) fn wait_for_step(&mut self, folder: &Folder, run: &str, step: u64) {
        wait_for("a checkpoint", || {
            let ended = self.0.try_wait().unwrap();
            assert!(ended.is_none(), "training ended by itself: {ended:?}");
            last_step(folder, run).is_some_and(|last| last >= step)
        });
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Step of the newest checkpoint; none where there is no checkpoint or no run.
pub(crate) fn last_step(folder: &Folder, run: &str) -> Option<u64> {
    let steps = checkpoint::steps(&folder.path(run).join("checkpoints")).ok()?;
    steps.last().map(|(step, _)| *step)
}

/// The next step after `step` at which a run validates anyway, and at least one later.
pub(crate) fn next_stop(step: u64) -> u64 {
    (step / 20 + 1) * 20
}

/// Path of the checkpoint of a step.
pub(crate) fn step_path(folder: &Folder, run: &str, step: u64) -> PathBuf {
    folder.path(run).join(format!("checkpoints/step-{step:08}.ckpt"))
}

/// Demands that last and best checkpoints of two runs are equal, byte by byte.
pub(crate) fn assert_same_checkpoints(folder: &Folder, a: &str, b: &str, step: u64) {
    let best = |run: &str| folder.path(run).join("checkpoints/best.ckpt");
    let pairs = [
        (step_path(folder, a, step), step_path(folder, b, step)),
        (best(a), best(b)),
    ];
    for (one, other) in pairs {
        if std::fs::read(&one).unwrap() == std::fs::read(&other).unwrap() {
            continue;
        }
        let (one, other) = (checkpoint::read(&one).unwrap(), checkpoint::read(&other).unwrap());
        assert_eq!(one.state, other.state, "state of {a} and {b} at step {step}");
        for (name, arrays) in &one.sections {
            for (array, values) in arrays {
                assert!(
                    other.sections[name].get(array) == Some(values),
                    "{name}/{array} of {a} and {b} differ"
                );
            }
        }
        panic!("{a} and {b} hold the same values in different bytes");
    }
}

pub(crate) fn manifest(folder: &Folder, run: &str) -> Manifest {
    RunDir::open(&folder.path(run)).unwrap().manifest().unwrap()
}

/// Names of all files and folders below `name`, sorted, with `/` after folders.
pub(crate) fn tree(folder: &Folder, name: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.path(name)).unwrap() {
        let entry = entry.unwrap();
        let child = entry.file_name().into_string().unwrap();
        let path = if name.is_empty() {
            child
        } else {
            format!("{name}/{child}")
        };
        if entry.file_type().unwrap().is_dir() {
            names.extend(tree(folder, &path));
            names.push(format!("{path}/"));
        } else {
            names.push(path);
        }
    }
    names.sort();
    names
}
