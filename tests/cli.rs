//! The program as a user meets it: help, streams, exit codes, files.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// A temporary working directory with the program.
pub(crate) struct Folder(tempfile::TempDir);

/// What a run of the program gave.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) seconds: f64,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_snnfit"));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        command.env_remove("NO_COLOR").env_remove("RUST_BACKTRACE");
        command
    }

    /// Runs the program here; the name of the folder is redacted in what it says.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        let start = Instant::now();
        let output = self.command(arguments).output().unwrap();
        let seconds = start.elapsed().as_secs_f64();
        let folder = self.0.path().display().to_string();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().replace(&folder, "[folder]");
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            seconds,
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Appends a titled part to a snapshot of many.
pub(crate) fn section(all: &mut String, title: &str, body: &str) {
    for part in ["===== ", title, "\n", body, "\n"] {
        all.push_str(part);
    }
}

/// Folder of the shared material; `None` outside the project's machines, an error where CI wants it.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SNNFIT_SHARED").map_or_else(
        || Path::new(&crate::networks::manifest_dir()).join("../../../shared"),
        PathBuf::from,
    );
    let path = root.join(path);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{} is missing",
        path.display()
    );
    #[allow(clippy::print_stderr)] // a reader of the test's output shall see why it did nothing
    {
        eprintln!("skipped: {} is missing", path.display());
    }
    None
}

#[test]
fn the_help_of_every_command_is_as_documented() {
    let folder = Folder::new();
    let commands: [&[&str]; 19] = [
        &[],
        &["train"],
        &["evaluate"],
        &["simulate"],
        &["import"],
        &["export"],
        &["inspect"],
        &["synth"],
        &["synth", "two-area"],
        &["synth", "six-area"],
        &["synth", "teacher"],
        &["bench"],
        &["config"],
        &["config", "check"],
        &["config", "show"],
        &["config", "init"],
        &["config", "schema"],
        &["help"],
        &["exit-codes"],
    ];
    let mut all = String::new();
    for command in commands {
        let arguments: Vec<&str> = ["help"].iter().chain(command).copied().collect();
        let run = folder.run(&arguments);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{command:?}");
        section(
            &mut all,
            &format!("snnfit help {}", command.join(" ")),
            run.stdout.trim_end(),
        );
    }
    insta::assert_snapshot!(all);
}

#[test]
fn help_and_version_are_answers_and_usage_errors_exit_with_2() {
    let folder = Folder::new();
    assert_eq!(folder.run(&["--help"]).code, 0);
    assert!(folder.run(&["--version"]).stdout.starts_with("snnfit "));
    for arguments in [
        &[] as &[&str],
        &["nonsense"],
        &["help", "nonsense"],
        &["train"],
        &["train", "--config", "a.toml"],
        &["evaluate"],
        &["evaluate", "r", "--require", "good"],
        &["evaluate", "r", "--checkpoint", "first"],
        &["simulate", "r", "--out", "x.h5", "--trials", "0"],
        &["bench", "--gain", "nan"],
        &["config", "init"],
        &["config", "check", "x", "-v", "-q"],
        &["synth", "two-area", "--out", "x.h5", "--p-hit", "2"],
        &["synth", "two-area", "--out", "x.h5", "--trials", "0"],
        &[
            "import", "x.h5", "--out", "y.h5", "--spikes", "s", "--bin-ms", "0", "--area", "A",
        ],
        &["import", "x.h5", "--out", "y.h5", "--spec", "s.toml", "--bin-ms", "1"],
    ] {
        let run = folder.run(arguments);
        assert_eq!(
            (run.code, run.stdout.as_str()),
            (2, ""),
            "{arguments:?}: {}",
            run.stderr
        );
        assert!(!run.stderr.is_empty(), "{arguments:?}");
    }
    assert_eq!(folder.names(), Vec::<String>::new());
}

#[test]
fn json_errors_are_one_object_with_place_help_and_exit_code() {
    let folder = Folder::new();
    folder.write("bad.toml", b"schema = 1\n[data]\nbin_mss = 2.0\n");
    folder.write(
        "two.toml",
        b"schema = 1\n[data]\nfiles = [\"a\"]\nbin_ms = -1\n[model.rsnn]\n",
    );
    let cases: [&[&str]; 6] = [
        &["config", "check", "bad.toml"],
        &["config", "check", "two.toml"],
        &["config", "check", "none.toml"],
        &["inspect", "none.h5"],
        &["nonsense"],
        &["help", "trane"],
    ];
    let mut all = String::new();
    for arguments in cases {
        let run = folder.run(&[arguments, &["--format", "json"]].concat());
        let object: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
        assert_eq!(run.stderr.lines().count(), 1);
        for key in ["code", "message", "path", "line", "column", "help", "exit_code"] {
            assert!(object.get(key).is_some(), "{arguments:?} lacks {key}");
        }
        assert_eq!(object["exit_code"], run.code);
        section(&mut all, &arguments.join(" "), run.stderr.trim_end());
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = Folder::new();
    let mut child = folder
        .command(&["config", "schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), b"".as_slice())
    );
}

#[cfg(target_os = "linux")]
#[test]
fn an_answer_that_cannot_be_written_exits_with_5() {
    let folder = Folder::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = folder.command(&["config", "schema"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
}

#[test]
fn colours_are_used_when_asked_for_and_never_in_a_pipe() {
    let folder = Folder::new();
    let plain = folder.run(&["config", "check", "none.toml"]).stderr;
    assert!(!plain.contains('\u{1b}'));
    let colored = folder
        .run(&["config", "check", "none.toml", "--color", "always"])
        .stderr;
    assert!(colored.contains('\u{1b}'));
}

#[test]
fn the_starter_configuration_checks_and_shows_the_origin_of_every_value() {
    let folder = Folder::new();
    assert_eq!(
        folder
            .run(&["config", "init", "--model", "rsnn", "--out", "fit.toml"])
            .code,
        0
    );
    folder.write("recording.h5", b"");
    let check = folder.run(&["config", "check", "fit.toml"]);
    assert_eq!(
        (check.code, check.stdout.as_str(), check.stderr.as_str()),
        (0, "fit.toml: valid\n", "")
    );
    let again = folder.run(&["config", "init", "--model", "rsnn", "--out", "fit.toml"]);
    assert_eq!(again.code, 5);
    let sets = [
        "--set",
        "train.max_steps = 7",
        "--set",
        "preset = \"sourmpis2023_code\"",
    ];
    let show = folder.run(&[&["config", "show", "fit.toml"], sets.as_slice()].concat());
    insta::assert_snapshot!(show.stdout);
    let json = folder.run(&[&["config", "show", "fit.toml", "--format", "json"], sets.as_slice()].concat());
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let values = json["values"].as_array().unwrap();
    let steps = values.iter().find(|value| value["key"] == "train.max_steps").unwrap();
    assert_eq!((&steps["value"], &steps["origin"]), (&7.into(), &"--set".into()));
}

#[test]
fn keys_are_explained_as_text_and_as_json() {
    let folder = Folder::new();
    insta::assert_snapshot!(folder.run(&["config", "schema"]).stdout);
    let json: serde_json::Value =
        serde_json::from_str(&folder.run(&["config", "schema", "--format", "json"]).stdout).unwrap();
    assert_eq!(json["keys"][0]["key"], "schema");
}

#[test]
fn a_missing_recording_is_a_warning_of_the_check() {
    let folder = Folder::new();
    folder.run(&["config", "init", "--model", "rsnn", "--out", "fit.toml"]);
    let check = folder.run(&["config", "check", "fit.toml"]);
    assert_eq!(
        (check.code, check.stderr.as_str()),
        (0, "warning: data.files: [folder]/recording.h5 does not exist\n")
    );
    assert_eq!(folder.run(&["config", "check", "fit.toml", "-qq"]).stderr, "");
}

#[test]
fn artificial_recordings_depend_on_the_seed_alone_and_are_never_overwritten() {
    let folder = Folder::new();
    let synth = |out: &str, seed: &str| {
        folder.run(&[
            "synth",
            "two-area",
            "--small",
            "--sessions",
            "1",
            "--trials",
            "20",
            "--seed",
            seed,
            "--out",
            out,
        ])
    };
    assert_eq!(synth("a.h5", "1").code, 0);
    assert_eq!(synth("b.h5", "1").code, 0);
    assert_eq!(synth("c.h5", "2").code, 0);
    let read = |name: &str| data::read(&folder.path(name)).unwrap();
    assert_eq!(read("a.h5"), read("b.h5"));
    assert_ne!(read("a.h5"), read("c.h5"));
    let before = std::fs::read(folder.path("a.h5")).unwrap();
    let again = synth("a.h5", "3");
    assert_eq!(again.code, 5);
    assert_eq!(std::fs::read(folder.path("a.h5")).unwrap(), before);
    assert_eq!(folder.names(), ["a.h5", "b.h5", "c.h5"]);
    let inspect = folder.run(&["inspect", "a.h5", "--format", "json"]);
    let summary: serde_json::Value = serde_json::from_str(&inspect.stdout).unwrap();
    assert_eq!((&summary["n_sessions"], &summary["n_trials"]), (&1.into(), &20.into()));
}

#[test]
fn the_retina_becomes_a_recording_by_options_or_by_a_description() {
    let Some(retina) = shared("data/retina/retina_bars.h5") else {
        return;
    };
    let folder = Folder::new();
    let retina = retina.to_str().unwrap();
    let by_options = folder.run(&[
        "import",
        retina,
        "--out",
        "a.h5",
        "--spikes",
        "/train_repeated/spikes",
        "--stimulus",
        "/train_repeated/stimulus",
        "--bin-ms",
        "1.667",
        "--area",
        "retina",
        "--session-id",
        "bars",
    ]);
    assert_eq!(by_options.code, 0, "{}", by_options.stderr);
    folder.write(
        "import.toml",
        b"bin_ms = 1.667\n[[sessions]]\nid = \"bars\"\nspikes = \"/train_repeated/spikes\"\n\
          stimulus = \"/train_repeated/stimulus\"\nstimulus_axes = \"time,channel\"\narea = \"retina\"\n\
          cell_type = \"unknown\"\n",
    );
    let by_file = folder.run(&["import", retina, "--out", "b.h5", "--spec", "import.toml"]);
    assert_eq!(by_file.code, 0, "{}", by_file.stderr);
    let recording = data::read(&folder.path("a.h5")).unwrap();
    assert_eq!(recording, data::read(&folder.path("b.h5")).unwrap());
    let data::Activity::Binned { counts, bin_ms, .. } = &recording.sessions[0].activity else {
        panic!("not binned")
    };
    let file = hdf5::File::open(retina).unwrap();
    let stored: ndarray::Array3<u8> = file.dataset("train_repeated/spikes").unwrap().read().unwrap();
    assert_eq!((counts, *bin_ms), (&stored, 1.667));
}

#[test]
fn bad_recordings_and_descriptions_are_explained() {
    let folder = Folder::new();
    folder.write(
        "text.h5",
        b"this is no recording, but it is long enough to have a signature",
    );
    folder.write("empty.h5", b"");
    folder.write("bad_key.toml", b"bin_ms = 1.0\nbins = 3\nsessions = []\n");
    folder.write("bad_bin.toml", b"bin_ms = nan\nsessions = []\n");
    std::fs::create_dir(folder.path("folder")).unwrap();
    let cases: [(&[&str], i32); 8] = [
        (&["inspect", "none.h5"], 4),
        (&["inspect", "text.h5"], 4),
        (&["inspect", "empty.h5"], 4),
        (&["inspect", "folder"], 5),
        (
            &[
                "import", "text.h5", "--out", "o.h5", "--spikes", "s", "--bin-ms", "1", "--area", "A",
            ],
            4,
        ),
        (&["import", "text.h5", "--out", "o.h5", "--spec", "bad_key.toml"], 3),
        (&["import", "text.h5", "--out", "o.h5", "--spec", "bad_bin.toml"], 2),
        (&["import", "text.h5", "--out", "o.h5", "--spec", "none.toml"], 3),
    ];
    let mut all = String::new();
    for (arguments, code) in cases {
        let run = folder.run(arguments);
        assert_eq!(
            (run.code, run.stdout.as_str()),
            (code, ""),
            "{arguments:?}: {}",
            run.stderr
        );
        section(&mut all, &format!("snnfit {}", arguments.join(" ")), &run.stderr);
    }
    assert!(!folder.names().contains(&"o.h5".to_owned()), "nothing half-written");
    insta::assert_snapshot!(all);
}

#[test]
fn a_missing_folder_of_an_output_is_made_and_one_that_cannot_be_exits_with_5() {
    let folder = Folder::new();
    folder.write("file", b"no folder");
    for out in ["file/a.h5", "file/deeper/a.h5", "/proc/snnfit/a.h5"] {
        let run = folder.run(&["synth", "two-area", "--small", "--out", out]);
        assert_eq!(run.code, 5, "{}", run.stderr);
        let run = folder.run(&["config", "init", "--model", "rsnn", "--out", out]);
        assert_eq!(run.code, 5, "{}", run.stderr);
        // Found before anything is read.
        let run = folder.run(&["import", "none.csv", "--out", out]);
        assert_eq!(run.code, 5, "{}", run.stderr);
    }
    assert_eq!(folder.names(), ["file"]);
    let run = folder.run(&["import", "none.csv", "--out", "missing/a.h5"]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert_eq!(folder.names(), ["file"], "a folder for nothing");
    let run = folder.run(&["synth", "two-area", "--small", "--out", "missing/deeper/a.h5"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let run = folder.run(&["config", "init", "--model", "rsnn", "--out", "other/a.toml"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(folder.path("missing/deeper/a.h5").is_file() && folder.path("other/a.toml").is_file());
}

#[test]
fn a_checkpoint_and_a_run_can_be_inspected() {
    use snnfit::checkpoint::{Array, Arrays, Checkpoint, Values, write_best, write_step};
    use snnfit::events::{Event, EventLog, Number, StepEvent};
    use snnfit::run_dir::{Manifest, RunDir, StopReason};
    let folder = Folder::new();
    let manifest = Manifest::new(5, "cpu", 2);
    let (run, lock) = RunDir::create(&folder.path("run"), "schema = 1\n", &manifest, &()).unwrap();
    let mut checkpoint = Checkpoint::new(&serde_json::json!({"step": 40})).unwrap();
    let weights = Array {
        shape: vec![2, 3],
        values: Values::F32(vec![0.5; 6]),
    };
    checkpoint
        .sections
        .insert("parameters".to_owned(), Arrays::from([("w".to_owned(), weights)]));
    write_step(&run.checkpoints(), 40, &checkpoint).unwrap();
    write_best(&run.checkpoints(), &checkpoint).unwrap();
    let mut log = EventLog::open(&run.events()).unwrap();
    let losses = [("psth".to_owned(), Number(1.5))].into();
    let step = StepEvent {
        step: 40,
        epoch: 1.0,
        wall_s: 2.0,
        losses,
        grad_norm: Number(1.0),
        lr: 5e-4,
        skipped: 0,
    };
    log.append(&Event::Step(step)).unwrap();
    run.update_manifest(|manifest| manifest.stop(StopReason::MaxSteps, 40))
        .unwrap();
    drop(lock);
    let text = folder.run(&["inspect", "run"]);
    assert_eq!(text.code, 0, "{}", text.stderr);
    assert!(
        text.stdout.contains("last logged step 40: psth 1.5000"),
        "{}",
        text.stdout
    );
    assert!(
        text.stdout.contains("checkpoints of steps: 40, best"),
        "{}",
        text.stdout
    );
    let file = folder.run(&["inspect", "run/checkpoints/step-00000040.ckpt"]);
    assert!(file.stdout.contains("parameters/w: f32 [2, 3]"), "{}", file.stdout);
    let mut bytes = std::fs::read(run.checkpoints().join("best.ckpt")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    folder.write("damaged.ckpt", &bytes);
    let damaged = folder.run(&["inspect", "damaged.ckpt"]);
    assert_eq!(damaged.code, 5);
    assert!(
        damaged.stderr.contains("checksum of section 'parameters'"),
        "{}",
        damaged.stderr
    );
}

/// The commands that `docs/cli.md` shows, in its order.
const DOCUMENTED: [&[&str]; 14] = [
    &[],
    &["train"],
    &["evaluate"],
    &["simulate"],
    &["import"],
    &["export"],
    &["inspect"],
    &["synth", "two-area"],
    &["synth", "six-area"],
    &["synth", "teacher"],
    &["bench"],
    &["config", "check"],
    &["config", "show"],
    &["config", "init"],
];

#[test]
fn the_command_line_page_is_what_the_program_prints() {
    let dir = Folder::new();
    let mut page =
        String::from("# Command line\n\nWhat `--help` prints, command by command; a test keeps this page true.\n");
    for command in DOCUMENTED {
        let name = [&["snnfit"], command].concat().join(" ");
        let text = dir.run(&[command, &["--help"]].concat()).stdout;
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        page.push_str(&["\n## ", &name, "\n\n```text\n", lines.join("\n").trim_end(), "\n```\n"].concat());
    }
    page.push_str("\n## Exit codes\n\n```text\n");
    page.push_str(snnfit::exit_code::TEXT.trim_end());
    page.push_str("\n```\n");
    let path = format!("{}/../../docs/cli.md", crate::networks::manifest_dir());
    if std::env::var_os("SNNFIT_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        written, page,
        "run this test with SNNFIT_UPDATE_DOCS=1 and commit docs/cli.md"
    );
}
