//! Input that can't be used: one clear error, the right exit code, nothing half-written.
//!
//! Recordings, and configurations that don't fit them. What is wrong within a configuration is tested in `config`, run
//! directories in `bad_runs`.

use hdf5::H5Type;

use crate::cli::{Folder, Run, section};
use crate::runs::{folder, synth, tree};

/// Changes `recording.h5` behind the program's back.
///
/// On a copy, which is then written over it: HDF5 locks what it opens for writing, and processes that other tests start
/// meanwhile inherit that lock.
pub(crate) fn edit(folder: &Folder, change: impl FnOnce(&hdf5::File)) {
    let (recording, copy) = (folder.path("recording.h5"), folder.path("copy.h5"));
    std::fs::copy(&recording, &copy).unwrap();
    let file = hdf5::File::open_rw(&copy).unwrap();
    change(&file);
    drop(file);
    std::fs::copy(&copy, &recording).unwrap();
    std::fs::remove_file(&copy).unwrap();
}

fn replace<T: H5Type>(file: &hdf5::File, path: &str, values: &[T]) {
    file.unlink(path).unwrap();
    file.new_dataset_builder().with_data(values).create(path).unwrap();
}

fn column<T: H5Type>(file: &hdf5::File, path: &str) -> Vec<T> {
    file.dataset(path).unwrap().read_raw().unwrap()
}

/// Makes every array of a table of session PS000 empty, whatever its type.
fn empty(file: &hdf5::File, table: &str) {
    let table = file.group(&format!("sessions/PS000/{table}")).unwrap();
    for name in table.member_names().unwrap() {
        let dtype = table.dataset(&name).unwrap().dtype().unwrap();
        table.unlink(&name).unwrap();
        if dtype.is::<hdf5::types::VarLenUnicode>() {
            make_empty::<hdf5::types::VarLenUnicode>(&table, &name);
        } else if dtype.is::<f64>() {
            make_empty::<f64>(&table, &name);
        } else {
            make_empty::<u64>(&table, &name);
        }
    }
}

fn make_empty<T: H5Type>(table: &hdf5::Group, name: &str) {
    let none: [T; 0] = [];
    table.new_dataset_builder().with_data(&none).create(name).unwrap();
}

/// Runs a command that must fail without an answer and without leaving or changing a file.
pub(crate) fn refuse(folder: &Folder, arguments: &[&str], code: i32) -> Run {
    let before = tree(folder, "");
    let run = folder.run(arguments);
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (code, ""),
        "{arguments:?}: {}",
        run.stderr
    );
    assert_eq!(tree(folder, ""), before, "{arguments:?} left something behind");
    let errors = run.stderr.matches("  × ").count();
    assert_eq!(errors, 1, "{arguments:?} gives {errors} errors: {}", run.stderr);
    run
}

#[test]
fn training_on_a_bad_recording_is_refused_with_one_clear_error() {
    type Spoil = fn(&Folder);
    let cases: [(&str, Spoil); 16] = [
        ("no file", |f| std::fs::remove_file(f.path("recording.h5")).unwrap()),
        ("no bytes", |f| f.write("recording.h5", b"")),
        ("not HDF5", |f| f.write("recording.h5", &[b'x'; 4096])),
        ("nothing but a signature", |f| {
            f.write("recording.h5", b"\x89HDF\r\n\x1a\n");
        }),
        ("a folder", |f| {
            std::fs::remove_file(f.path("recording.h5")).unwrap();
            std::fs::create_dir(f.path("recording.h5")).unwrap();
        }),
        ("another HDF5 file", |f| {
            edit(f, |file| file.delete_attr("format").unwrap());
        }),
        ("no sessions", |f| {
            edit(f, |file| {
                file.unlink("sessions/PS000").unwrap();
                file.unlink("sessions/PS001").unwrap();
            });
        }),
        ("no trials", |f| edit(f, |file| empty(file, "trials"))),
        ("no units", |f| edit(f, |file| empty(file, "units"))),
        ("a column of the trial table is shorter", |f| {
            edit(f, |file| {
                let path = "sessions/PS001/trials/align_time";
                let values: Vec<f64> = column(file, path);
                replace(file, path, &values[..37]);
            });
        }),
        ("spikes of fewer units than are listed", |f| {
            edit(f, |file| {
                let path = "sessions/PS001/units/spike_times_index";
                let values: Vec<u64> = column(file, path);
                replace(file, path, &values[..20]);
            });
        }),
        ("the index points beyond the spikes", |f| {
            edit(f, |file| {
                let path = "sessions/PS000/units/spike_times_index";
                let mut values: Vec<u64> = column(file, path);
                values[23] += 1;
                replace(file, path, &values);
            });
        }),
        ("counts of another number of trials", |f| {
            edit(f, |file| {
                let session = file.group("sessions/PS000").unwrap();
                session.unlink("units/spike_times").unwrap();
                session.unlink("units/spike_times_index").unwrap();
                let binned = session.create_group("binned").unwrap();
                let counts = ndarray::Array3::<u8>::zeros((39, 60, 23));
                binned
                    .new_dataset_builder()
                    .with_data(&counts)
                    .create("spikes")
                    .unwrap();
                for (name, value) in [("bin_ms", 2.0), ("start_ms", -40.0)] {
                    let attribute = binned.new_attr::<f64>().create(name).unwrap();
                    attribute.write_scalar(&value).unwrap();
                }
            });
        }),
        ("spike times of nan, negative and unsorted", |f| {
            edit(f, |file| {
                let path = "sessions/PS000/units/spike_times";
                let mut values: Vec<f64> = column(file, path);
                let ends: Vec<u64> = column(file, "sessions/PS000/units/spike_times_index");
                values[0] = -1.0;
                values[ends[0] as usize] = f64::NAN;
                values.swap(ends[1] as usize, ends[1] as usize + 1);
                replace(file, path, &values);
            });
        }),
        ("a trial that is over before it begins", |f| {
            edit(f, |file| {
                let path = "sessions/PS001/trials/stop_time";
                let mut values: Vec<f64> = column(file, path);
                values[5] = 0.0;
                replace(file, path, &values);
            });
        }),
        ("text where numbers belong", |f| {
            edit(f, |file| {
                let path = "sessions/PS001/trials/stimulus";
                let text: hdf5::types::VarLenUnicode = "loud".parse().unwrap();
                replace(file, path, &vec![text; 40]);
            });
        }),
    ];
    let mut all = String::new();
    for (title, spoil) in cases {
        let folder = folder();
        spoil(&folder);
        let run = refuse(&folder, &["train", "--config", "fit.toml", "--out", "a"], 4);
        section(&mut all, title, &run.stderr);
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_recording_that_another_program_writes_is_told_as_that() {
    let folder = folder();
    let writer = std::fs::File::open(folder.path("recording.h5")).unwrap();
    writer.lock().unwrap();
    // Cargo's configuration switches locks off for the tests.
    let inspect = || {
        let mut command = folder.command(&["inspect", "recording.h5"]);
        let output = command.env_remove("HDF5_USE_FILE_LOCKING").output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap().replace("\n  │ ", " "),
        )
    };
    let (code, told) = inspect();
    assert!(
        code == Some(4) && told.contains("another program has it open for writing"),
        "{told}"
    );
    writer.unlock().unwrap();
    let (code, told) = inspect();
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn a_recording_that_was_cut_off_anywhere_is_refused() {
    let folder = folder();
    let bytes = std::fs::read(folder.path("recording.h5")).unwrap();
    for part in 0..8 {
        folder.write("recording.h5", &bytes[..bytes.len() * part / 8 + 7 * part]);
        let run = refuse(&folder, &["train", "--config", "fit.toml", "--out", "a"], 4);
        assert!(run.stderr.contains("[folder]/recording.h5: "), "{}", run.stderr);
    }
}

#[test]
fn a_configuration_that_does_not_fit_the_recording_is_refused_with_one_clear_error() {
    let folder = folder();
    // One trial in each session is too few to fit and to validate.
    synth(&folder, "one_trial.h5", &["--trials=1"]);
    std::fs::copy(folder.path("recording.h5"), folder.path("copy.h5")).unwrap();
    synth(&folder, "one_area.h5", &["--session-areas=first"]);
    let mut recording = data::read(&folder.path("recording.h5")).unwrap();
    for trial in recording.sessions.iter_mut().flat_map(|session| &mut session.trials) {
        trial.stimulus = 0.0;
    }
    data::write_replacing(&folder.path("no_stimulus.h5"), &recording).unwrap();
    let cases: [(&str, &[&str], i32); 14] = [
        (
            "an area without neurons",
            &["model.rsnn.areas = [\"area1\", \"area3\"]"],
            3,
        ),
        (
            "an area without neurons, sizes given",
            &["model.rsnn.areas = [\"area1\", \"area3\"]", "model.rsnn.n_neurons = 20"],
            4,
        ),
        (
            "an area that this recording lacks",
            &[
                "model.rsnn.areas = [\"area1\", \"area2\"]",
                "data.files = [\"one_area.h5\"]",
            ],
            3,
        ),
        (
            "more model neurons than recorded ones",
            &["model.rsnn.n_neurons = 500"],
            4,
        ),
        (
            "more model neurons than slow ones",
            &["model.rsnn.n_neurons = 48", "data.max_rate_hz = 0.5"],
            4,
        ),
        (
            "a latent that sees stimuli which are all 0",
            &[
                "data.files = [\"no_stimulus.h5\"]",
                "model.rsnn.latent.mlp = { knots_ms = [0.0, 20.0], stimulus_from_ms = 0.0 }",
            ],
            3,
        ),
        ("no unit is slow enough", &["data.max_rate_hz = 0.0001"], 3),
        ("an unknown session", &["data.sessions = [\"PS000\", \"PS007\"]"], 3),
        (
            "too few neurons for trial matching",
            &["statistics.min_neurons_per_area = 100"],
            3,
        ),
        (
            "an unknown behaviour",
            &[
                "data.behaviour = [\"jaw\"]",
                "model.rsnn.behaviour = { motor_areas = [\"area2\"] }",
            ],
            4,
        ),
        (
            "a window outside of the recording",
            &["data.window_ms = [1000000.0, 1000100.0]"],
            3,
        ),
        ("too few trials", &["data.files = [\"one_trial.h5\"]"], 3),
        (
            "a projection to an area that this recording lacks",
            &["model.rsnn.projections = [{ from = \"*\", to = \"others\" }, { from = \"area1\", to = \"aera2\" }]"],
            3,
        ),
        (
            "two files with sessions of one name",
            &["data.files = [\"recording.h5\", \"copy.h5\"]"],
            4,
        ),
    ];
    let mut all = String::new();
    for (title, sets, code) in cases {
        let sets: Vec<&str> = sets.iter().flat_map(|&set| ["--set", set]).collect();
        let arguments = [&["train", "--config", "fit.toml", "--out", "a"], sets.as_slice()].concat();
        let run = refuse(&folder, &arguments, code);
        section(&mut all, title, &run.stderr);
        let dry: Vec<&str> = ["train", "--config", "fit.toml", "--dry-run"]
            .iter()
            .chain(&sets)
            .copied()
            .collect();
        // The dry run tells its warnings first.
        let dry = refuse(&folder, &dry, code);
        assert!(dry.stderr.ends_with(&run.stderr), "{title}: {}", dry.stderr);
    }
    let text = std::fs::read_to_string(folder.path("fit.toml")).unwrap();
    let recorded = text.replace("poisson]\nn = 20", "recorded]\nlags = 3\nlag_step_ms = 4.0");
    assert_ne!(recorded, text);
    folder.write("fit.toml", recorded.as_bytes());
    let run = refuse(&folder, &["train", "--config", "fit.toml", "--out", "a"], 3);
    section(&mut all, "a recorded input without a stimulus", &run.stderr);
    insta::assert_snapshot!(all);
}
