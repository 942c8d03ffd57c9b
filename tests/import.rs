//! Files of laboratories become recordings and fits.

use std::path::PathBuf;
use std::process::Command;

use data::{Activity, CellType};

use crate::cli::Folder;

/// The interpreter that writes NWB files; `None` where there is none, an error where CI wants it.
pub(crate) fn python() -> Option<PathBuf> {
    let environment = std::env::var_os("SNNFIT_PYTHON_ENV").map(PathBuf::from);
    let environment =
        environment.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/snnfit-python")));
    let path = std::env::var_os("SNNFIT_PYTHON").map(PathBuf::from);
    let path = path
        .or_else(|| Some(environment?.join("bin/python")))
        .filter(|path| path.exists());
    assert!(
        path.is_some() || std::env::var("CI").as_deref() != Ok("true"),
        "no Python: run scripts/python.sh"
    );
    #[allow(clippy::print_stderr)] // a reader of the test's output shall see why it did nothing
    if path.is_none() {
        eprintln!("skipped: no Python (scripts/python.sh makes it)");
    }
    path
}

/// Four units and three trials as tables of text; unit 7 is bad, trial 2 has no response.
fn tables(folder: &Folder) {
    let units = [(3, 0.0), (5, 0.011), (7, 0.017), (9, 0.023)];
    let rows = (0..200).flat_map(|i| units.map(|(unit, shift)| format!("{unit},{}\n", f64::from(i) * 0.05 + shift)));
    let spikes = format!("unit,time_s\n{}", rows.collect::<String>());
    folder.write("spikes.csv", spikes.as_bytes());
    let units = "unit,area,cell_type,isi_violations\n3,VISp1,exc,0.1\n5,VISp5,FS,0.2\n7,VISp5,exc,0.9\n9,CA1,exc,0.3\n";
    folder.write("units.csv", units.as_bytes());
    let trials = "start_time,stop_time,go_cue,contrast,choice\n0.5,2.5,1.0,1,left\n3,5,3.5,0.25,right\n6,8,,0.5,left\n";
    folder.write("trials.csv", trials.as_bytes());
}

const TABLES: [&str; 6] = [
    "import",
    "spikes.csv",
    "--units-table",
    "units.csv",
    "--trials-table",
    "trials.csv",
];

#[test]
fn tables_of_text_become_a_recording_and_what_is_left_out_is_told() {
    let folder = Folder::new();
    tables(&folder);
    folder.write(
        "plan.toml",
        b"[trials]\nalign_to = 'go_cue'\nwindow_s = [-0.25, 1.0]\nstimulus = 'contrast'\ntype = 'choice'\n\
          [units]\nfilter = 'isi_violations < 0.5'\narea = 'area'\n[units.areas]\nV1 = ['VISp*']\n",
    );
    let mut arguments = TABLES.to_vec();
    arguments.extend(["--spec", "plan.toml", "--out", "a.h5", "--format", "json"]);
    let run = folder.run(&arguments);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let answer: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let rule = |what: &str, i: usize| answer["import"]["sessions"][0][what]["rules"][i].clone();
    assert_eq!(rule("units", 0)["rule"], "isi_violations < 0.5");
    assert_eq!(
        (&rule("units", 0)["dropped"], &rule("units", 0)["by_area"]["VISp5"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        (&rule("trials", 0)["dropped"], &rule("trials", 0)["missing"]),
        (&1.into(), &1.into())
    );

    let session = &data::read(&folder.path("a.h5")).unwrap().sessions[0];
    let units: Vec<_> = session
        .units
        .iter()
        .map(|u| (u.id.as_str(), u.area.as_str(), u.cell_type))
        .collect();
    let (exc, inh) = (CellType::Excitatory, CellType::Inhibitory);
    assert_eq!(units, [("3", "V1", exc), ("5", "V1", inh), ("9", "CA1", exc)]);
    let trials: Vec<_> = session
        .trials
        .iter()
        .map(|t| (t.start_s, t.stop_s, t.align_s, t.stimulus, t.trial_type.as_str()))
        .collect();
    assert_eq!(trials, [(0.75, 2.0, 1.0, 1.0, "left"), (3.25, 4.5, 3.5, 0.25, "right")]);
    let Activity::SpikeTimes { times_s, .. } = &session.activity else {
        panic!("spike times");
    };
    assert_eq!((times_s[2].len(), times_s[2][2]), (200, 2.0 * 0.05 + 0.023));

    // The options say the same, but for the areas; an option wins over the file.
    let mut arguments = TABLES.to_vec();
    arguments.extend([
        "--align-to=go_cue",
        "--window-s=-0.25,1",
        "--stimulus-value=contrast",
        "--trial-type=choice",
    ]);
    arguments.extend(["--units=isi_violations < 0.5", "--area=V1", "--out=b.h5"]);
    let run = folder.run(&arguments);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stdout
            .contains("1 dropped by isi_violations < 0.5 (1 by this alone; V1 1)"),
        "{}",
        run.stdout
    );
    let other = &data::read(&folder.path("b.h5")).unwrap().sessions[0];
    assert_eq!((&other.trials, &other.activity), (&session.trials, &session.activity));
    assert!(other.units.iter().all(|unit| unit.area == "V1"));
    let mut arguments = TABLES.to_vec();
    arguments.extend(["--spec=plan.toml", "--trials=choice == 'right'", "--out=c.h5"]);
    assert_eq!(folder.run(&arguments).code, 0);
    assert_eq!(data::read(&folder.path("c.h5")).unwrap().sessions[0].n_trials(), 1);
}

#[test]
fn what_cannot_be_imported_is_told_with_exit_code_4_or_2_and_leaves_no_file() {
    let folder = Folder::new();
    tables(&folder);
    folder.write("garbage.bin", b"\x00\x01\x02nothing");
    folder.write("cut.h5", b"\x89HDF\r\n\x1a\n\x00\x00\x00\x00");
    folder.write(
        "bad.toml",
        b"[units]\nfilter = 'a <'\n[trials]\nwindow_s = [1.0, 0.0]\n",
    );
    folder.write("arrays.toml", b"bin_ms = 1.0\nsessions = []\n");
    let with = |more: &[&'static str]| [&TABLES[..], more].concat();
    let cases: [(Vec<&str>, i32, &str); 15] = [
        (
            vec!["import", "garbage.bin"],
            4,
            "garbage.bin: nothing that is read is in it",
        ),
        (vec!["import", "none.nwb"], 4, "none.nwb: could not read the file"),
        (vec!["import", "cut.h5"], 4, "cut.h5: could not open the HDF5 file"),
        (vec!["import", "spikes.csv"], 4, "the file has no table of trials"),
        (with(&["--align-to", "cue"]), 4, "there is no column 'cue'"),
        (with(&["--behaviour", "jaw=jaw"]), 4, "no session has the series 'jaw'"),
        (with(&["--behaviour", "jaw"]), 2, "--behaviour jaw is no NAME=SERIES"),
        (with(&["--window-s=1,0"]), 2, "trials.window_s is [1, 0]"),
        (
            with(&["--timeout=1ms"]),
            4,
            "spikes.csv: reading took more than 0.001 s",
        ),
        (with(&["--limit-mem=1MiB"]), 2, "at least"),
        // No option is taken and ignored.
        (with(&["--cell-type=excitatory"]), 2, "--spikes"),
        (
            with(&["--sample-rate-hz=30000"]),
            4,
            "the sampling rate is given for a table of text",
        ),
        (with(&["--sample-rate-hz=nan"]), 2, "expected a finite number > 0"),
        (
            vec!["import", "x.h5", "--spec=arrays.toml", "--units=good"],
            2,
            "--units has no meaning with arrays.toml",
        ),
        (with(&["--spec=bad.toml"]), 3, "units.filter: in 'a <', column 4"),
    ];
    for (mut arguments, code, message) in cases {
        arguments.extend(["--out", "out.h5"]);
        let run = folder.run(&arguments);
        let said = run.stderr.replace("\n  │ ", " ").replace("\n  │", " ");
        assert_eq!(run.code, code, "{arguments:?}: {said}");
        assert!(said.contains(message), "{arguments:?}: {said}");
        assert!(!folder.path("out.h5").exists(), "{arguments:?}");
    }
}

#[test]
fn inspect_lists_what_a_plan_can_name() {
    let folder = Folder::new();
    tables(&folder);
    let run = folder.run(&["inspect", "units.csv"]);
    assert_eq!(run.code, 4, "a table of units has no spikes: {}", run.stdout);
    let run = folder.run(&["inspect", "spikes.csv"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for expected in [
        "spikes (CSV tables)",
        "4 units, 800 spikes from 0 to 9.973",
        "trials: none in this file",
    ] {
        assert!(run.stdout.contains(expected), "{}", run.stdout);
    }
}

/// A small artificial recording, its sessions as NWB files in `nwb/`.
fn nwb(folder: &Folder) -> Option<()> {
    let python = python()?;
    let size = [
        "--small",
        "--neurons=24",
        "--excitatory=16",
        "--trials=40",
        "--sessions=3",
    ];
    let run = folder.run(&[&["synth", "two-area", "--out", "recording.h5"][..], &size].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let script = format!("{}/../../examples/native_to_nwb.py", crate::networks::manifest_dir());
    let output = Command::new(python)
        .arg(script)
        .args([folder.path("recording.h5"), folder.path("nwb")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(())
}

#[test]
fn sessions_written_as_nwb_come_back_as_they_were_and_are_fitted_together() {
    let folder = Folder::new();
    if nwb(&folder).is_none() {
        return;
    }
    let plan = b"[trials]\nalign_to = 'align_time'\nstimulus = 'stimulus'\n[units]\nid = 'unit_name'\narea = 'area'\n";
    folder.write("plan.toml", plan);
    let files = ["nwb/PS000.nwb", "nwb/PS001.nwb", "nwb/PS002.nwb"];
    let run = folder.run(&[&["import"][..], &files, &["--spec=plan.toml", "--out=imported.h5"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let [before, after] = ["recording.h5", "imported.h5"].map(|name| data::read(&folder.path(name)).unwrap());
    assert_eq!(before.sessions.len(), 3);
    for (before, mut after) in before.sessions.into_iter().zip(after.sessions) {
        // NWB has no column for the rate that the sorter found.
        for (after, before) in after.units.iter_mut().zip(&before.units) {
            after.firing_rate_hz = before.firing_rate_hz;
        }
        assert_eq!(after, before);
    }
    let config = "schema = 1\n[data]\nfiles = [\"imported.h5\"]\nbin_ms = 2.0\nwindow_ms = [-40.0, 80.0]\n[model.rsnn]\nwarmup_ms = 40.0\n\
                  [statistics]\nmin_neurons_per_area = 4\nmin_spikes = 0\n[[loss]]\npsth = {}\n[[loss]]\ntrial_matching = {}\n[train]\nn_trials = 8\n\
                  validation_trials = 8\nmax_steps = 2\n";
    folder.write("fit.toml", config.as_bytes());
    let run = folder.run(&["train", "--config", "fit.toml", "--out", "run"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
}

/// A file with 32 bytes changed, from the end of the superblock on.
fn damaged(whole: &[u8], damage: usize) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for i in 0..32 {
        let place = (damage * 7919 + i * 104_729 + 2048) % bytes.len();
        bytes[place] ^= (1 + damage * 37 + i) as u8;
    }
    bytes
}

#[test]
fn damaged_recordings_end_the_process_that_reads_them_at_worst() {
    let folder = Folder::new();
    let small = [
        "--small",
        "--neurons=24",
        "--excitatory=16",
        "--trials=40",
        "--sessions=3",
    ];
    let run = folder.run(&[&["synth", "two-area", "--out", "whole.h5"][..], &small].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let whole = std::fs::read(folder.path("whole.h5")).unwrap();
    let mut codes = std::collections::BTreeSet::new();
    for damage in 0..60 {
        folder.write("damaged.h5", &damaged(&whole, damage));
        let run = folder.run(&["inspect", "damaged.h5"]);
        assert!(
            run.code == 0 || run.code == 4,
            "damage {damage}: exit {}, {}",
            run.code,
            run.stderr
        );
        assert!(
            run.code == 0 || run.stderr.contains("damaged.h5"),
            "damage {damage}: {}",
            run.stderr
        );
        codes.insert(run.code);
    }
    assert!(codes.contains(&4), "no damage was noticed");
}

#[test]
fn a_page_shows_a_recording_and_is_never_written_over_or_for_anything_else() {
    let folder = Folder::new();
    let run = folder.run(&["synth", "two-area", "--small", "--out", "small.h5"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let page = ["inspect", "small.h5", "--html", "small.html"];
    let run = folder.run(&page);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stdout.contains("hit") && run.stderr.contains("small.html"),
        "{}{}",
        run.stdout,
        run.stderr
    );
    let text = std::fs::read_to_string(folder.path("small.html")).unwrap();
    assert_eq!(text.matches("<figure").count(), 5);
    let again = folder.run(&page);
    assert_eq!(again.code, 5, "{}", again.stderr);
    assert!(again.stderr.contains("small.html: already exists"), "{}", again.stderr);
    tables(&folder);
    let foreign = folder.run(&["inspect", "spikes.csv", "--html", "other.html"]);
    assert_eq!(foreign.code, 2, "{}", foreign.stderr);
    assert!(
        foreign.stderr.contains("a file of another layout"),
        "{}",
        foreign.stderr
    );
    assert!(!folder.path("other.html").exists());
    let own = folder.run(&["inspect", "small.h5", "--units-table", "units.csv"]);
    assert_eq!(own.code, 2, "{}", own.stderr);
    assert!(own.stderr.contains("--units-table goes with files"), "{}", own.stderr);
    let table = folder.run(&["inspect", "spikes.csv", "--units-table", "units.csv"]);
    assert!(
        table.code == 0 && table.stdout.contains("isi_violations"),
        "{}{}",
        table.stdout,
        table.stderr
    );
}

#[test]
fn damaged_nwb_files_end_the_process_that_reads_them_at_worst() {
    let folder = Folder::new();
    if nwb(&folder).is_none() {
        return;
    }
    let whole = std::fs::read(folder.path("nwb/PS000.nwb")).unwrap();
    // The HDF5 library has faults that damaged files reach; ours is to tell, and to leave nothing behind.
    for damage in 0..40 {
        folder.write("damaged.nwb", &damaged(&whole, damage));
        let run = folder.run(&["import", "damaged.nwb", "--every-s=1", "--out=out.h5"]);
        assert!(
            run.code == 0 || run.code == 4,
            "damage {damage}: exit {}, {}",
            run.code,
            run.stderr
        );
        assert_eq!(run.code == 0, folder.path("out.h5").exists(), "damage {damage}");
        assert!(
            run.code == 0 || run.stderr.contains("damaged"),
            "damage {damage}: {}",
            run.stderr
        );
        let _ = std::fs::remove_file(folder.path("out.h5"));
    }
}

#[test]
fn sessions_of_files_of_one_name_are_told_apart_by_their_options() {
    let folder = Folder::new();
    tables(&folder);
    std::fs::create_dir(folder.path("monday")).unwrap();
    std::fs::create_dir(folder.path("friday")).unwrap();
    for day in ["monday", "friday"] {
        std::fs::copy(folder.path("spikes.csv"), folder.path(format!("{day}/spikes.csv"))).unwrap();
    }
    let both = [
        "import",
        "monday/spikes.csv",
        "friday/spikes.csv",
        "--every-s=1",
        "--out=both.h5",
    ];
    let refused = folder.run(&both);
    let said = refused.stderr.replace("\n  │ ", " ");
    assert_eq!(refused.code, 4, "{said}");
    assert!(
        said.contains("session 'spikes': 2 files have a session of this name") && said.contains("--session-id"),
        "{said}"
    );
    let one = folder.run(&[&both[..], &["--session-id", "mon"]].concat());
    assert_eq!(one.code, 2, "{}", one.stderr);
    assert!(
        one.stderr
            .contains("--session-id names 1 sessions, but there are 2 files"),
        "{}",
        one.stderr
    );
    let named = folder.run(&[&both[..], &["--session-id", "mon", "--session-id", "fri"]].concat());
    assert_eq!(named.code, 0, "{}", named.stderr);
    let recording = data::read(&folder.path("both.h5")).unwrap();
    let ids: Vec<&str> = recording.sessions.iter().map(|session| session.id.as_str()).collect();
    assert_eq!(ids, ["mon", "fri"]);
}

#[test]
fn a_recording_at_which_the_hdf5_library_hangs_is_given_up_when_its_time_is_over() {
    let folder = Folder::new();
    assert_eq!(
        folder.run(&["synth", "two-area", "--small", "--out", "small.h5"]).code,
        0
    );
    let mut bytes = std::fs::read(folder.path("small.h5")).unwrap();
    // A heap of texts whose first object is free space of no size: the library looks for the next one at the same place.
    let mut n_heaps = 0;
    for at in 0..bytes.len() - 32 {
        if &bytes[at..at + 4] == b"GCOL" {
            bytes[at + 16..at + 32].fill(0);
            n_heaps += 1;
        }
    }
    assert!(n_heaps > 0, "recordings have no heap any more: hang it elsewhere");
    folder.write("hangs.h5", &bytes);
    let run = folder.run(&["inspect", "hangs.h5", "--timeout=2s"]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(
        run.stderr.contains("hangs.h5: reading took more than 2 s"),
        "{}",
        run.stderr
    );
}

#[test]
fn numbers_that_unpack_to_more_memory_than_is_allowed_end_in_a_message() {
    let Some(python) = python() else { return };
    let folder = Folder::new();
    tables(&folder);
    let run = folder.run(&[&TABLES[..], &["--session-id=a", "--out=whole.h5"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let run = folder.run(&["export", "whole.h5", "--out=whole.nwb"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let script = format!("{}/../../tests/python/make_bomb.py", crate::networks::manifest_dir());
    for (file, spikes, command) in [
        ("whole.nwb", "units/spike_times", "import"),
        ("whole.h5", "sessions/a/units/spike_times", "inspect"),
    ] {
        let mut python = Command::new(&python);
        let status = python
            .args([script.as_str(), file, spikes])
            .current_dir(folder.path(""))
            .status();
        assert!(status.unwrap().success());
        let n_bytes = std::fs::metadata(folder.path(file)).unwrap().len();
        assert!(n_bytes < 20 << 20, "{n_bytes} bytes are no bomb");
        let mut arguments = vec![command, file, "--limit-mem=1GiB"];
        arguments.extend((command == "import").then_some("--out=out.h5"));
        let run = folder.run(&arguments);
        assert!(run.code > 0 && run.code < 100, "{file}: {} {}", run.code, run.stderr);
        assert!(run.stderr.contains("memory"), "{file}: {}", run.stderr);
        assert!(!folder.path("out.h5").exists());
        assert!(run.seconds < 60.0, "{file}: {} s", run.seconds);
    }
}
