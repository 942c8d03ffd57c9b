//! Run directories that can't be made, used or gone on with: one clear error, the right exit code, nothing half-written.

use crate::bad_input::refuse;
use crate::cli::{Folder, section};
use crate::runs::{ENDLESS, Training, folder, step_path, succeed, synth, train};

/// Identifiers, hosts and times of a lock, which differ between runs.
fn without_owner(text: &str) -> String {
    let mut out = String::new();
    let words: Vec<&str> = text.split(' ').collect();
    for (i, word) in words.iter().enumerate() {
        let before = if i == 0 { "" } else { words[i - 1] };
        let line_end = word.find('\n').map_or("", |at| &word[at..]);
        match before {
            "process" | "host" | "since" => {
                out.extend(["[", before, "]", line_end]);
            }
            _ => out.push_str(word),
        }
        if i + 1 < words.len() {
            out.push(' ');
        }
    }
    out
}

#[test]
fn a_run_directory_that_cannot_be_made_or_used_is_refused_with_one_clear_error() {
    let folder = folder();
    train(&folder, "done", &["train.max_steps = 20"]);
    std::fs::create_dir(folder.path("empty")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path("dangling")).unwrap();
    // A process that holds its run directory and writes nothing meanwhile but its log.
    let quiet = [
        ENDLESS,
        "train.checkpoint_every = 1000000",
        "train.validate_every = 1000000",
    ];
    let mut training = Training::start_or_resume(&folder, "busy", &quiet);
    training.wait_for_step(&folder, "busy", 0);
    let mut all = String::new();
    for out in [
        "done",
        "empty",
        "dangling",
        "busy",
        "recording.h5",
        "recording.h5/run",
        "/proc/none/run",
    ] {
        let run = refuse(&folder, &["train", "--config", "fit.toml", "--out", out], 5);
        section(&mut all, &format!("--out {out}"), &run.stderr);
    }
    for run in ["none", "empty", "recording.h5", "busy"] {
        let refused = refuse(&folder, &["train", "--resume", run], 5);
        section(&mut all, &format!("--resume {run}"), &without_owner(&refused.stderr));
    }
    for set in ["optimizer.adamw.lr = 1.0", "seed = 5", "train = 3"] {
        let refused = refuse(&folder, &["train", "--resume", "done", "--set", set], 2);
        section(&mut all, &format!("--resume done --set '{set}'"), &refused.stderr);
    }
    training.kill();
    insta::assert_snapshot!(all);
}

#[test]
fn what_is_not_a_run_is_neither_evaluated_nor_simulated() {
    let folder = folder();
    std::fs::create_dir(folder.path("empty")).unwrap();
    train(&folder, "young", &["train.max_steps = 5"]);
    std::fs::remove_file(folder.path("young/checkpoints/best.ckpt")).unwrap();
    let mut all = String::new();
    for command in [&["evaluate"][..], &["simulate", "--out", "x.h5"]] {
        for run in ["none", "empty", "recording.h5", "young"] {
            let arguments = [command, &[run]].concat();
            let refused = refuse(&folder, &arguments, 5);
            section(&mut all, &arguments.join(" "), &refused.stderr);
        }
        let arguments = [command, &["young", "--checkpoint", "3"]].concat();
        let refused = refuse(&folder, &arguments, 5);
        section(&mut all, &arguments.join(" "), &refused.stderr);
    }
    let taken = refuse(
        &folder,
        &["simulate", "young", "--checkpoint=last", "--out=recording.h5"],
        5,
    );
    section(&mut all, "simulate --out of a file that exists", &taken.stderr);
    insta::assert_snapshot!(all);
}

#[test]
fn a_run_whose_files_are_damaged_is_refused_with_one_clear_error() {
    type Spoil = fn(&Folder);
    let cases: [(&str, Spoil, i32); 7] = [
        (
            "every checkpoint",
            |f| {
                for step in [20, 40] {
                    let path = step_path(f, "a", step);
                    let bytes = std::fs::read(&path).unwrap();
                    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
                }
            },
            5,
        ),
        (
            "a checkpoint of a newer program",
            |f| {
                let path = step_path(f, "a", 40);
                let mut bytes = std::fs::read(&path).unwrap();
                bytes[8] = 9;
                std::fs::write(&path, bytes).unwrap();
            },
            5,
        ),
        (
            "no splits",
            |f| std::fs::remove_file(f.path("a/splits.json")).unwrap(),
            5,
        ),
        (
            "splits that are no JSON",
            |f| f.write("a/splits.json", b"{\"schema\": 1,"),
            5,
        ),
        (
            "splits of other trials",
            |f| {
                std::fs::remove_file(f.path("recording.h5")).unwrap();
                synth(f, "recording.h5", &["--seed=5"]);
            },
            4,
        ),
        (
            "a configuration that is no TOML",
            |f| f.write("a/run.toml", b"schema = = 1"),
            5,
        ),
        (
            "a recording that has gone",
            |f| std::fs::remove_file(f.path("recording.h5")).unwrap(),
            4,
        ),
    ];
    let mut all = String::new();
    for (title, spoil, code) in cases {
        let folder = folder();
        train(&folder, "a", &[]);
        spoil(&folder);
        let manifest = std::fs::read(folder.path("a/manifest.json")).unwrap();
        let resumed = refuse(&folder, &["train", "--resume", "a", "--set=train.max_steps = 60"], code);
        section(&mut all, &format!("--resume: {title}"), &resumed.stderr);
        let evaluated = refuse(&folder, &["evaluate", "a", "--checkpoint", "last"], code);
        section(&mut all, &format!("evaluate: {title}"), &evaluated.stderr);
        assert_eq!(
            std::fs::read(folder.path("a/manifest.json")).unwrap(),
            manifest,
            "{title}: an attempt or an opening of the test trials is noted, though nothing happened"
        );
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_checkpoint_of_another_network_is_refused() {
    let folder = folder();
    train(&folder, "a", &[]);
    train(&folder, "b", &["model.rsnn.n_hidden = 4"]);
    std::fs::copy(step_path(&folder, "b", 40), step_path(&folder, "a", 40)).unwrap();
    let commands: [&[&str]; 3] = [
        &["train", "--resume", "a"],
        &["evaluate", "a", "--checkpoint", "last"],
        &["simulate", "a", "--checkpoint", "last", "--out", "x.h5"],
    ];
    for command in commands {
        let run = refuse(&folder, command, 5);
        assert!(
            run.stderr.contains("the checkpoint doesn't fit this run"),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn a_run_does_not_go_on_with_other_spikes_than_it_began_with() {
    let folder = folder();
    train(&folder, "a", &[]);
    // Trials are the same, so the splits still fit: only the spikes of one unit are others.
    let mut recording = data::read(&folder.path("recording.h5")).unwrap();
    let data::Activity::SpikeTimes { times_s, .. } = &mut recording.sessions[0].activity else {
        panic!("the artificial recording holds spike times")
    };
    times_s[0].clear();
    data::file::write_replacing(&folder.path("recording.h5"), &recording).unwrap();
    let run = refuse(&folder, &["train", "--resume", "a", "--set=train.max_steps = 60"], 4);
    assert!(run.stderr.contains("recording.h5"), "{}", run.stderr);
}

#[test]
fn requirements_that_are_not_met_exit_with_8_and_unknown_metrics_with_2() {
    let folder = folder();
    train(&folder, "a", &["train.max_steps = 20"]);
    let evaluate = ["evaluate", "a", "--split", "validation"];
    let with = |requirements: &[&'static str]| {
        let requirements: Vec<&str> = requirements.iter().flat_map(|&r| ["--require", r]).collect();
        folder.run(&[&evaluate, requirements.as_slice()].concat())
    };
    // A correlation lies between −1 and 1, a distance is not negative.
    let met = with(&[
        "psth_pearson >= -1",
        "psth_pearson <= 1",
        "firing_rate_wasserstein > -0.5",
    ]);
    assert_eq!(met.code, 0, "{}", met.stderr);
    let failed = with(&["psth_pearson > 1", "psth_pearson >= -1", "firing_rate_wasserstein < 0"]);
    assert_eq!(failed.code, 8);
    assert!(
        failed.stderr.contains("a: psth_pearson > 1 (found "),
        "{}",
        failed.stderr
    );
    assert!(
        failed.stderr.contains("a: firing_rate_wasserstein < 0 (found "),
        "{}",
        failed.stderr
    );
    assert!(
        !failed.stderr.contains(">= -1"),
        "what is met is not reported: {}",
        failed.stderr
    );
    assert!(
        failed.stdout.contains("psth_pearson"),
        "the answer is given all the same"
    );
    assert!(folder.path("a/metrics-validation.json").is_file());
    let unknown = with(&["psth_perason >= 0"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("psth_perason"), "{}", unknown.stderr);
    assert_eq!(succeed(&folder, &evaluate).stdout, met.stdout);
}
