//! Networks and recordings for other programs: what is written is what they read, and comes back as it was.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use data::{
    Activity, Behaviour, BehaviourSamples, BinOptions, CellType, Recording, Session, StimulusMovies, Timing, Trial,
    Unit,
};
use ndarray::{Array2, Array3};

use crate::cli::Folder;
use crate::import::python;
use crate::runs::{folder, succeed, train};

/// Runs a script in the folder; `None` without Python.
pub(crate) fn script(folder: &Folder, name: &str, arguments: &[&str]) -> Option<String> {
    let script = Path::new(&crate::networks::manifest_dir()).join("../..").join(name);
    let output = Command::new(python()?)
        .arg(script)
        .args(arguments)
        .current_dir(folder.path("."))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name} {arguments:?}: {said}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Runs the program that docs/FORMATS.md shows and that has this text in it.
fn documented(folder: &Folder, with: &str) -> Option<()> {
    let formats = include_str!("../docs/FORMATS.md");
    let mut blocks = formats
        .split("```python\n")
        .skip(1)
        .filter_map(|block| block.split("```").next());
    let block = blocks.find(|block| block.contains(with)).unwrap();
    let output = Command::new(python()?)
        .args(["-c", block])
        .current_dir(folder.path("."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(())
}

#[test]
fn the_recording_that_the_documentation_writes_in_python_is_one() {
    let folder = Folder::new();
    if documented(&folder, "\"snnfit-recording\"").is_some() {
        let run = succeed(&folder, &["inspect", "mouse7.h5"]);
        assert!(
            run.stdout.contains("1 session, 2 units, 2 trials, 4 spikes"),
            "{}",
            run.stdout
        );
    }
}

fn check(folder: &Folder, arguments: &[&str]) {
    script(folder, "tests/python/check_export.py", arguments);
}

fn unit(id: &str, area: &str, cell_type: CellType, firing_rate_hz: Option<f64>) -> Unit {
    Unit {
        id: id.to_owned(),
        area: area.to_owned(),
        cell_type,
        firing_rate_hz,
    }
}

fn trial(start_s: f64, align_s: f64, trial_type: &str) -> Trial {
    Trial {
        start_s,
        stop_s: start_s + 1.1,
        align_s,
        stimulus: start_s.sin(),
        trial_type: trial_type.to_owned(),
        movie: None,
        valid_bins: None,
    }
}

fn trace(timing: Timing, unit: &str) -> Behaviour {
    let n = match &timing {
        Timing::Timestamps(times) => times.len(),
        Timing::Rate { .. } => 500,
    };
    let values = (0..n).map(|i| if i % 7 == 3 { f32::NAN } else { (i as f32 / 9.0).sin() });
    Behaviour {
        samples: BehaviourSamples::Continuous {
            values: values.collect(),
            timing,
        },
        unit: unit.to_owned(),
    }
}

/// Names that have to be quoted somewhere, times that no decimal holds, a silent unit, missing samples.
fn session(id: &str) -> Session {
    let train = |n: usize, step: f64| (0..n).map(|i| 0.1 + i as f64 * step / 3.0).collect::<Vec<f64>>();
    let timestamps = (0..400).map(|i| f64::from(i) * 0.013 + 1e-9 * f64::from(i % 3));
    Session {
        id: id.to_owned(),
        units: vec![
            unit("µ-unit, \"a\"", "area 1", CellType::Excitatory, Some(4.0 / 3.0)),
            unit("17", "area 1", CellType::Inhibitory, None),
            unit("silent", "ALM/tjM1", CellType::Unknown, Some(0.0)),
        ],
        trials: vec![
            trial(0.05, 0.3, "hit"),
            trial(1.25, 1.7, "correct rejection"),
            trial(2.5, 2.9, "Ω"),
        ],
        events: data::TrialEvents {
            times_s: BTreeMap::from([("go cue".to_owned(), vec![Some(0.3), None, Some(2.7)])]),
            values: BTreeMap::from([("contrast".to_owned(), vec![Some(-0.5), Some(0.25), None])]),
        },
        behaviour: BTreeMap::from([
            ("jaw".to_owned(), trace(Timing::Timestamps(timestamps.collect()), "mm")),
            (
                "wheel speed".to_owned(),
                trace(
                    Timing::Rate {
                        rate_hz: 100.0 / 3.0,
                        start_s: 0.1,
                    },
                    "",
                ),
            ),
        ]),
        stimulus: None,
        activity: Activity::SpikeTimes {
            times_s: vec![train(90, 0.1), train(40, 0.2), Vec::new()],
            observed_s: (0.01, 3.75),
            unit_observed_s: None,
        },
    }
}

fn with_movies(mut session: Session) -> Session {
    session.stimulus = Some(StimulusMovies {
        values: Array3::from_shape_fn((2, 30, 4), |(s, t, c)| (s * 100 + t * 4 + c) as f32 / 3.0),
        bin_ms: 20.0,
        start_ms: -100.0,
    });
    session.trials[0].movie = Some(1);
    session
}

#[test]
fn recordings_go_to_nwb_and_npz_and_come_back_byte_by_byte() {
    let folder = Folder::new();
    let mut second = session("b-2");
    // One trace of another session is missing here.
    second.behaviour.remove("jaw");
    let recording = Recording {
        sessions: vec![session("mouse 7"), second],
    };
    data::write(&folder.path("recording.h5"), &recording).unwrap();
    for form in ["nwb", "npz"] {
        let files = ["mouse 7", "b-2"].map(|id| format!("{form}/{id}.{form}"));
        let run = succeed(&folder, &["export", "recording.h5", "--out", form, "--as", form]);
        assert!(
            run.stdout
                .contains("session mouse 7: 3 units, 3 trials, jaw, wheel speed"),
            "{}",
            run.stdout
        );
        // One session alone is the same file, and comes out the same again.
        let one = format!("one.{form}");
        succeed(
            &folder,
            &["export", "recording.h5", "--session", "mouse 7", "--out", &one],
        );
        let bytes = |name: &str| std::fs::read(folder.path(name)).unwrap();
        assert_eq!(bytes(&one), bytes(&files[0]));
        let back = format!("{form}.h5");
        let import = ["import", &files[0], &files[1], "--out", &back];
        let traces = ["--behaviour", "jaw=jaw", "--behaviour", "wheel speed=wheel speed"];
        succeed(&folder, &[&import[..], &traces].concat());
        assert_eq!(data::read(&folder.path(&back)).unwrap().sessions.len(), 2);
        assert!(bytes(&back) == bytes("recording.h5"), "{form} lost something");
        check(&folder, &[form, "recording.h5", &files[0], &files[1]]);
    }
    succeed(
        &folder,
        &["export", "recording.h5", "--session", "b-2", "--out", "b.h5"],
    );
    let second = Recording {
        sessions: vec![recording.sessions[1].clone()],
    };
    data::write(&folder.path("expected.h5"), &second).unwrap();
    let [found, expected] = ["b.h5", "expected.h5"].map(|name| std::fs::read(folder.path(name)).unwrap());
    assert!(found == expected, "one session of several is another one");
}

/// Three units of which one stops early, one is seen twice and of one nothing is said.
fn partly_observed(id: &str) -> Session {
    let mut session = session(id);
    let Activity::SpikeTimes { unit_observed_s, .. } = &mut session.activity else {
        panic!("spike times");
    };
    *unit_observed_s = Some(vec![
        vec![(0.1, 2.4)],
        vec![(0.0, 1.5), (1.5, 2.0), (2.2, 3.7)],
        Vec::new(),
    ]);
    session
}

#[test]
fn stretches_in_which_units_were_observed_come_back_byte_by_byte() {
    let folder = Folder::new();
    let recording = Recording {
        sessions: vec![partly_observed("mouse 7")],
    };
    data::write(&folder.path("recording.h5"), &recording).unwrap();
    succeed(&folder, &["export", "recording.h5", "--out", "mouse 7.nwb"]);
    let traces = ["--behaviour", "jaw=jaw", "--behaviour", "wheel speed=wheel speed"];
    succeed(
        &folder,
        &[&["import", "mouse 7.nwb", "--out", "back.h5"][..], &traces].concat(),
    );
    let bytes = |name: &str| std::fs::read(folder.path(name)).unwrap();
    assert!(bytes("back.h5") == bytes("recording.h5"), "NWB lost something");
    check(&folder, &["nwb", "recording.h5", "mouse 7.nwb"]);
}

/// Runs the example's `psth` of each unit of the first session, in these bins (s).
fn psths_in_python(folder: &Folder, file: &str, edges_s: &[f64]) -> Option<Vec<Vec<Option<f64>>>> {
    let examples = Path::new(&crate::networks::manifest_dir()).join("../../examples");
    let examples = examples.to_string_lossy();
    let code = format!(
        "import sys, json; sys.path.insert(0, {examples:?}); import native, numpy as np\n\
         session = list(native.read({file:?}).values())[0]\n\
         rates = [native.psth(session, n, np.array({edges_s:?})) for n in range(len(session['units']['id']))]\n\
         print(json.dumps([[x if x == x else None for x in rate] for rate in rates]))"
    );
    let output = Command::new(python()?)
        .args(["-c", &code])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(folder.path("."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn the_example_counts_what_the_program_counts_of_a_recording() {
    let folder = Folder::new();
    let mut masked = binned();
    let Activity::Binned { presence, .. } = &mut masked.sessions[0].activity else {
        panic!("counts");
    };
    let mask = Array2::from_shape_fn((4, 3), |(k, n)| n == 0 || (n == 1 && k % 2 == 0));
    *presence = Some(mask);
    let times = Recording {
        sessions: vec![partly_observed("times")],
    };
    let cases = [
        ("counts.h5", &masked, 25.0, (-75.0, 225.0)),
        ("wide.h5", &masked, 50.0, (-75.0, 225.0)),
        ("times.h5", &times, 50.0, (-200.0, 800.0)),
        ("early.h5", &times, 50.0, (-400.0, 400.0)),
    ];
    for (file, recording, bin_ms, window_ms) in cases {
        data::write(&folder.path(file), recording).unwrap();
        let options = BinOptions {
            bin_ms,
            window_ms: Some(window_ms),
            behaviour: Vec::new(),
        };
        let binned = data::bin_session(&recording.sessions[0], &options).unwrap();
        let n_bins = binned.n_bins();
        let edges_s: Vec<f64> = (0..=n_bins)
            .map(|t| (window_ms.0 + t as f64 * bin_ms) / 1000.0)
            .collect();
        let Some(found) = psths_in_python(&folder, file, &edges_s) else {
            return;
        };
        let mut n_missing = 0;
        for (n, found) in found.iter().enumerate() {
            for (t, found) in found.iter().enumerate() {
                let is_used = |k: &usize| {
                    t < binned.valid_bins[*k] && binned.presence.as_ref().is_none_or(|presence| presence[[*k, n]])
                };
                let used: Vec<usize> = (0..binned.n_trials()).filter(is_used).collect();
                let sum: u32 = used.iter().map(|&k| u32::from(binned.spikes[[k, t, n]])).sum();
                match found {
                    None => assert!(used.is_empty(), "{file}: unit {n}, bin {t}"),
                    Some(rate) => {
                        let expected = f64::from(sum) / (used.len() as f64 * bin_ms / 1000.0);
                        assert!(
                            (rate - expected).abs() < 1e-9,
                            "{file}: unit {n}, bin {t}: {rate} {expected}"
                        );
                    }
                }
                n_missing += usize::from(found.is_none());
            }
        }
        assert!(n_missing < n_bins * 3, "{file}: nothing was compared");
    }
}

#[test]
fn movies_are_stimulus_templates_and_a_colon_in_a_name_is_told() {
    let folder = Folder::new();
    let mut session = with_movies(session("m"));
    let jaw = session.behaviour.remove("jaw").unwrap();
    let recording = |session: &Session| Recording {
        sessions: vec![session.clone()],
    };
    data::write(&folder.path("plain.h5"), &recording(&session)).unwrap();
    for form in ["nwb", "npz"] {
        let run = succeed(&folder, &["export", "plain.h5", "--out", &format!("m.{form}")]);
        assert!(run.stderr.contains("the file has its 2 movies, but"), "{}", run.stderr);
        check(&folder, &[form, "plain.h5", &format!("m.{form}")]);
    }
    session.behaviour.insert("pose:x".to_owned(), jaw);
    data::write(&folder.path("colon.h5"), &recording(&session)).unwrap();
    let run = succeed(&folder, &["export", "colon.h5", "--out", "colon.nwb"]);
    assert!(
        run.stderr.contains("behaviour 'pose:x': is named 'pose_x'"),
        "{}",
        run.stderr
    );
}

/// Four trials, the second before the first, with padding, several spikes in a bin, and a trace in bins.
fn binned() -> Recording {
    let (n_trials, n_bins, n_units) = (4, 12, 3);
    let valid = [Some(12), Some(7), None, Some(12)];
    let count = |(k, t, n): (usize, usize, usize)| {
        let is_valid = t < valid[k].unwrap_or(n_bins);
        u8::from(is_valid) * [0, 1, 0, 3, 0, 2, 1][(k * 5 + t * 3 + n * 2) % 7]
    };
    let starts = [2.0, 0.5, 3.3, 5.0];
    let trials = starts.iter().zip(valid).map(|(&start, valid_bins)| Trial {
        stop_s: start + 0.9,
        valid_bins,
        ..trial(start, start + 0.1, "x")
    });
    let sample = |(k, t): (usize, usize)| {
        if t < valid[k].unwrap_or(n_bins) && (k + t) % 5 > 0 {
            (k * 100 + t) as f32 / 7.0
        } else {
            f32::NAN
        }
    };
    Recording {
        sessions: vec![Session {
            trials: trials.collect(),
            events: data::TrialEvents::default(),
            behaviour: BTreeMap::from([(
                "jaw".to_owned(),
                Behaviour {
                    samples: BehaviourSamples::PerBin(Array2::from_shape_fn((n_trials, n_bins), sample)),
                    unit: "mm".to_owned(),
                },
            )]),
            activity: Activity::Binned {
                counts: Array3::from_shape_fn((n_trials, n_bins, n_units), count),
                bin_ms: 25.0,
                start_ms: -75.0,
                presence: None,
            },
            ..session("counts")
        }],
    }
}

#[test]
fn counts_become_spike_times_that_are_the_same_counts_in_the_same_bins() {
    let folder = Folder::new();
    let recording = binned();
    data::write(&folder.path("binned.h5"), &recording).unwrap();
    let options = BinOptions {
        bin_ms: 25.0,
        window_ms: Some((-75.0, 225.0)),
        behaviour: vec!["jaw".to_owned()],
    };
    let before = data::bin_session(&recording.sessions[0], &options).unwrap();
    for form in ["nwb", "npz"] {
        let (file, back) = (format!("b.{form}"), format!("{form}.h5"));
        let run = succeed(&folder, &["export", "binned.h5", "--out", &file]);
        for told in [
            "counts in bins of 25 ms are written as spikes",
            "4 trials begin and end (start_time, stop_time)",
        ] {
            assert!(run.stderr.replace("\n  │ ", " ").contains(told), "{}", run.stderr);
        }
        succeed(&folder, &["import", &file, "--behaviour", "jaw=jaw", "--out", &back]);
        let after = data::read(&folder.path(&back)).unwrap();
        assert!(matches!(after.sessions[0].activity, Activity::SpikeTimes { .. }));
        let after = data::bin_session(&after.sessions[0], &options).unwrap();
        assert_eq!(after.spikes, before.spikes);
        assert_eq!(after.valid_bins, before.valid_bins);
        assert_eq!(after.units, before.units);
        assert_eq!(after.trials, before.trials);
        // A wider window makes no silence of what was not recorded: trials end, or begin, with their bins.
        let wide = BinOptions {
            window_ms: Some((-75.0, 425.0)),
            behaviour: Vec::new(),
            ..options.clone()
        };
        let session = &data::read(&folder.path(&back)).unwrap().sessions[0];
        assert_eq!(data::bin_session(session, &wide).unwrap().valid_bins, before.valid_bins);
        // NaN: missing.
        let samples = |session: &data::BinnedSession| session.behaviour["jaw"].mapv(|x| (!x.is_nan()).then_some(x));
        assert_eq!(samples(&after), samples(&before));
    }
    check(&folder, &["npz", "binned.h5", "b.npz"]);
}

/// A folder with a run `a` of 24 recorded and 2 hidden neurons in each of two areas, a latent and a readout of behaviour.
fn fitted() -> Folder {
    let folder = folder();
    let mut recording = data::read(&folder.path("recording.h5")).unwrap();
    for session in &mut recording.sessions {
        let times_s = (0..8000).map(|i| f64::from(i) * 0.01).collect::<Vec<f64>>();
        let values = times_s.iter().map(|t| 1.5 + (3.0 * t).sin() as f32).collect();
        let samples = BehaviourSamples::Continuous {
            values,
            timing: Timing::Timestamps(times_s),
        };
        let unit = "mm".to_owned();
        session.behaviour.insert("jaw".to_owned(), Behaviour { samples, unit });
    }
    data::write_replacing(&folder.path("recording.h5"), &recording).unwrap();
    let sets = [
        "train.max_steps = 20",
        "model.rsnn.n_hidden = 4",
        "data.behaviour = [\"jaw\"]",
        "model.rsnn.behaviour = { motor_areas = [\"area2\"] }",
        "model.rsnn.delay_groups = 2",
        "model.rsnn.max_delay_ms = 6.0",
        "model.rsnn.latent.mlp.knots_ms = [-20.0, 0.0, 33.0]",
        "model.rsnn.latent.mlp.stimulus_from_ms = 0.0",
    ];
    train(&folder, "a", &sets);
    folder
}

#[test]
fn a_fitted_network_is_exported_whole_and_in_every_form_the_same() {
    let folder = fitted();
    let run = succeed(&folder, &["export", "a", "--out", "parameters.h5"]);
    assert!(run.stdout.contains("52 neurons (4 hidden)"), "{}", run.stdout);
    succeed(
        &folder,
        &["export", "a", "--out", "again.h5", "--as", "h5", "--checkpoint", "best"],
    );
    let bytes = |name: &str| std::fs::read(folder.path(name)).unwrap();
    assert!(
        bytes("parameters.h5") == bytes("again.h5"),
        "equal networks give other bytes"
    );
    check(
        &folder,
        &["parameters", "a/checkpoints/best.ckpt", "parameters.h5", "a/run.toml"],
    );
    let file = hdf5::File::open(folder.path("parameters.h5")).unwrap();
    let shape = |name: &str| file.dataset(name).unwrap().shape();
    // Knots, hidden layer, neurons; the stimulus is the last of what goes into the hidden layer.
    assert_eq!((shape("latent/w2"), shape("latent/w1")), (vec![3, 5, 52], vec![6, 5]));
    let numbers = |name: &str| file.dataset(name).unwrap().read_raw::<f64>().unwrap();
    assert_eq!(numbers("latent/knot_ms"), [-20.0, 0.0, 33.0]);
    // The largest stimulus of the recording is 4.
    assert_eq!(
        (numbers("latent/stimulus_scale"), numbers("latent/stimulus_from_ms")),
        (vec![0.25], vec![0.0])
    );
    drop(file);
    let readout = hdf5::File::open(folder.path("parameters.h5"))
        .unwrap()
        .group("readout")
        .unwrap();
    let fitted_as = readout.dataset("fitted_as").unwrap();
    let fitted_as = fitted_as.read_raw::<hdf5::types::VarLenUnicode>().unwrap();
    assert_eq!(
        fitted_as.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["recorded"]
    );
    for (form, n_files) in [("csv", 3), ("sonata", 5)] {
        let run = succeed(
            &folder,
            &["export", "a", "--out", form, "--as", form, "--format", "json"],
        );
        let answer: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(answer["files"].as_array().unwrap().len(), n_files, "{}", run.stdout);
        check(&folder, &[form, "parameters.h5", form]);
    }
    // The file of parameters is a network that other runs, or this one, can be compared with.
    let run = succeed(
        &folder,
        &["evaluate", "a", "--truth", "parameters.h5", "--format", "json"],
    );
    let answer: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(answer.to_string().contains("1.0"), "{answer}");

    documented(&folder, "\"parameters.h5\"");
    let run = folder.run(&["inspect", "parameters.h5"]);
    assert!(
        run.code == 4 && run.stderr.contains("it is a network"),
        "{}",
        run.stderr
    );

    // Simulated trials with their stimuli and behaviour; the same in every form.
    let simulate = ["simulate", "a", "--trials", "12", "--out"];
    for name in ["model.h5", "model.nwb", "model.npz"] {
        succeed(&folder, &[&simulate[..], &[name]].concat());
    }
    check(&folder, &["binned", "model.h5", "model.nwb"]);
    // The inputs are further units; the network's spikes are the same.
    succeed(&folder, &[&simulate[..], &["inputs.h5", "--inputs"]].concat());
    let [plain, with_inputs] = ["model.h5", "inputs.h5"].map(|name| data::read(&folder.path(name)).unwrap());
    let (plain, with_inputs) = (&plain.sessions[0], &with_inputs.sessions[0]);
    assert_eq!((plain.n_units(), with_inputs.n_units()), (52, 52 + 20));
    assert_eq!(plain.units[..], with_inputs.units[..52]);
    assert_eq!(plain.trials, with_inputs.trials);
    let types = |kind| {
        with_inputs.units[52..]
            .iter()
            .filter(|unit| unit.cell_type == kind)
            .count()
    };
    assert_eq!((types(CellType::Excitatory), types(CellType::Inhibitory)), (16, 4));
    let counts = |session: &Session| match &session.activity {
        Activity::Binned { counts, .. } => counts.clone(),
        Activity::SpikeTimes { .. } => panic!("simulated trials are binned"),
    };
    let (plain, with_inputs) = (counts(plain), counts(with_inputs));
    assert_eq!(plain, with_inputs.slice(ndarray::s![.., .., ..52]));
    // The first half answers to the stimulus: more spikes in the 10 ms after it (4 ms delay) than in the same time before.
    let spikes = |bins: std::ops::Range<usize>| {
        let spikes = with_inputs.slice(ndarray::s![.., bins, 52..62]);
        spikes.iter().map(|&z| u32::from(z)).sum::<u32>()
    };
    assert!(
        spikes(22..27) > 3 * spikes(10..15),
        "{} {}",
        spikes(22..27),
        spikes(10..15)
    );
    check(&folder, &["npz", "model.h5", "model.npz"]);
    examples(&folder);
}

/// The examples run on what was written.
fn examples(folder: &Folder) {
    for name in ["recording.h5", "model.h5"] {
        if script(folder, "examples/native.py", &[name, "copy.h5"]).is_none() {
            return;
        }
        let [before, after] = [name, "copy.h5"].map(|name| data::read(&folder.path(name)).unwrap());
        assert_eq!(before, after);
        std::fs::remove_file(folder.path("copy.h5")).unwrap();
    }
    let files = ["recording.h5", "model.h5", "parameters.h5", "figure.png"];
    let said = script(folder, "examples/notebook.py", &files).unwrap();
    assert!(said.contains("fitted to step"), "{said}");
    let figure = std::fs::read(folder.path("figure.png")).unwrap();
    assert!(
        figure.starts_with(b"\x89PNG") && figure.len() > 20_000,
        "{} bytes",
        figure.len()
    );
}

#[test]
fn what_cannot_be_exported_is_told_and_leaves_nothing() {
    let folder = folder();
    train(&folder, "a", &["train.max_steps = 2"]);
    let mut overlapping = binned();
    overlapping.sessions[0].trials[0].align_s = 0.7;
    overlapping.sessions[0].trials[0].start_s = 0.6;
    data::write(&folder.path("overlapping.h5"), &overlapping).unwrap();
    let mut ambiguous = Recording {
        sessions: vec![session("a")],
    };
    let unit = ambiguous.sessions[0].behaviour["jaw"].clone();
    ambiguous.sessions[0].behaviour.insert("jaw_unit".to_owned(), unit);
    data::write(&folder.path("ambiguous.h5"), &ambiguous).unwrap();
    folder.write("taken.nwb", b"mine");
    folder.write("text.h5", b"no recording");
    let cases: [(&[&str], i32, &str); 16] = [
        (&["a", "--out", "x"], 2, "--out x has no ending that says what to write"),
        (&["a", "--out", "x.h5", "--as", "csv"], 2, "say different things"),
        (&["a", "--out", "x.nwb"], 2, "a is a run: it has parameters, not trials"),
        (
            &["a", "--out", "x.h5", "--session", "PS000"],
            2,
            "--session goes with a recording",
        ),
        (&["a", "--out", "x.h5", "--checkpoint", "77"], 5, "77"),
        (&["none", "--out", "x.h5"], 4, "none"),
        (&["text.h5", "--out", "x.nwb"], 4, "text.h5"),
        (
            &["recording.h5", "--out", "x", "--as", "sonata"],
            2,
            "recording.h5 is no run",
        ),
        (
            &["recording.h5", "--out", "x.nwb"],
            2,
            "x.nwb holds one session, but there are 2: PS000, PS001",
        ),
        (
            &["recording.h5", "--out", "x.npz", "--session", "PS7"],
            2,
            "the recording has no such session",
        ),
        (
            &["recording.h5", "--out", "x.h5", "--checkpoint", "best"],
            2,
            "--checkpoint goes with a run directory",
        ),
        (
            &["recording.h5", "--out", "taken.nwb", "--session", "PS000"],
            5,
            "taken.nwb: already exists",
        ),
        (&["recording.h5", "--out", "a", "--as", "nwb"], 5, "already exists"),
        (
            &["overlapping.h5", "--out", "x.nwb"],
            4,
            "the bins of trials 1 and 0 overlap in time",
        ),
        (&["ambiguous.h5", "--out", "x.npz"], 4, "behaviour 'jaw_unit'"),
        (
            &["a/checkpoints/best.ckpt", "--out", "x.h5"],
            2,
            "is a checkpoint, whose network needs its run",
        ),
    ];
    let names = || {
        let entries = std::fs::read_dir(folder.path(".")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    for (arguments, code, message) in cases {
        let run = folder.run(&[&["export"][..], arguments].concat());
        let said = run.stderr.replace("\n  │ ", " ").replace("\n  │", " ");
        assert_eq!(run.code, code, "{arguments:?}: {said}");
        assert!(said.contains(message), "{arguments:?}: {said}");
        assert_eq!(names(), before, "{arguments:?}");
    }
    assert_eq!(std::fs::read(folder.path("taken.nwb")).unwrap(), b"mine");
    // A folder that fails half-way is not there at all.
    let mut both = data::read(&folder.path("recording.h5")).unwrap();
    both.sessions.push(overlapping.sessions.remove(0));
    data::write(&folder.path("both.h5"), &both).unwrap();
    let run = folder.run(&["export", "both.h5", "--out", "x", "--as", "nwb"]);
    assert_eq!((run.code, folder.path("x").exists()), (4, false), "{}", run.stderr);
    std::fs::remove_file(folder.path("both.h5")).unwrap();
    assert_eq!(names(), before);
}

/// Weights so large that each neuron is its input, one step of everything else: what is recorded as input is what drove it.
#[test]
fn recorded_inputs_are_the_spikes_that_drove_the_network() {
    use snn_core::connectivity::{CellType as Kind, InterArea, Neuron};
    use snn_core::models::rsnn::{Draws, Engine, InputSpec, PoissonInput, Rsnn, RsnnSpec, StimulusScale, Trials};
    use snn_core::surrogate::Surrogate;
    let n = 12;
    let spec = RsnnSpec {
        neurons: vec![
            Neuron {
                area: 0,
                cell_type: Kind::Unknown
            };
            n
        ],
        areas: vec!["A".to_owned()],
        dt_ms: 2.0,
        // No memory: the potential is the current of the step.
        tau_exc_ms: 1e-6,
        tau_inh_ms: 1e-6,
        threshold: 0.1,
        delays: vec![1],
        n_refractory: 0,
        temperature: 1e4,
        p_scale: 1.0,
        sigma: 0.0,
        current_scale: 1.0,
        surrogate: Surrogate::Sigmoid { gamma: 0.3 },
        n_warmup: 7,
        inter_area: InterArea::All,
        projections: Vec::new(),
        has_dale: false,
        train_resting_potential: false,
        train_noise_gain: false,
        input: InputSpec::Poisson(PoissonInput {
            n,
            rate_hz: 50.0,
            p_exc: 0.8,
            p_stim: 0.5,
            first_steps: vec![10],
            n_duration: 5,
            gain: 8.0,
            scale: StimulusScale::Log,
            channels: Vec::new(),
        }),
        latent: None,
        behaviour: None,
    };
    let mut network = Rsnn::new(spec, 1).unwrap();
    network.parameters.get_mut("w").unwrap().fill(0.0);
    let weights = Array2::from_shape_fn((n, n), |(i, j)| if i == j { 1.0_f32 } else { 0.0 });
    network.parameters.insert("w_in", weights);
    let trials = Trials {
        stimulus: vec![0.0, 1.0, 3.0, 1.0, 0.0],
        ..Trials::default()
    };
    let draws = Draws {
        seed: 5,
        step: 0,
        stream: "x",
        first_trial: 2,
    };
    let events = network.input_events(&trials, 40, draws).unwrap().unwrap();
    let simulation = network.simulate(&Engine::Native, &trials, 40, draws, false).unwrap();
    let spikes = simulation.rollout.spikes().unwrap().to_array();
    let inputs = Array3::from_shape_fn((5, 40, n), |(k, t, i)| {
        u8::from(events.at(k, t + 7).contains(&(i as u16)))
    });
    assert!(inputs.iter().map(|&z| usize::from(z)).sum::<usize>() > 200);
    assert_eq!(spikes, inputs);
}
