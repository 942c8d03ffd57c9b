//! Every configuration that comes with the program can be used as its comments say.

use std::path::{Path, PathBuf};

use data::{Activity, Recording};
use ndarray::Array2;

use crate::cli::Folder;
use crate::networks::shared;
use crate::runs::{last_step, succeed};

fn configs() -> Vec<PathBuf> {
    let folder = Path::new(&crate::networks::manifest_dir()).join("../../configs");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    files
}

/// A folder with `configs/NAME` as shipped, and an empty `data/`.
fn folder_with(name: &str) -> Folder {
    let folder = Folder::new();
    for sub in ["configs", "data"] {
        std::fs::create_dir(folder.path(sub)).unwrap();
    }
    let source = configs().into_iter().find(|path| path.ends_with(name)).unwrap();
    std::fs::copy(source, folder.path("configs").join(name)).unwrap();
    folder
}

#[test]
fn every_shipped_configuration_is_valid_and_warns_of_nothing_but_missing_data() {
    let files = configs();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let folder = folder_with(name);
        let run = succeed(&folder, &["config", "check", &format!("configs/{name}")]);
        for line in run.stderr.lines() {
            assert!(
                line.starts_with("warning: data.files: ") && line.ends_with(" does not exist"),
                "{name}: {line}"
            );
        }
    }
}

#[test]
fn the_quick_start_takes_its_first_steps() {
    let folder = folder_with("quickstart.toml");
    succeed(
        &folder,
        &["synth", "two-area", "--small", "--out", "data/quickstart.h5"],
    );
    let train = [
        "train",
        "--config",
        "configs/quickstart.toml",
        "--out",
        "runs/quickstart",
    ];
    succeed(&folder, &[&train[..], &["--set", "train.max_steps = 2"]].concat());
    assert_eq!(last_step(&folder, "runs/quickstart"), Some(2));
}

#[test]
fn the_published_two_area_fit_takes_its_first_step() {
    let folder = folder_with("two_area_hard.toml");
    succeed(&folder, &["synth", "two-area", "--out", "data/two_area.h5"]);
    let train = ["train", "--config", "configs/two_area_hard.toml", "--out", "runs/0"];
    succeed(&folder, &[&train[..], &["--set", "train.max_steps = 1"]].concat());
    assert_eq!(last_step(&folder, "runs/0"), Some(1));
    // The published network: 500 neurons, 200 time steps of 2 ms, one stimulus.
    let checkpoint = snnfit::checkpoint::read(&crate::runs::step_path(&folder, "runs/0", 1)).unwrap();
    assert_eq!(checkpoint.sections["parameters"]["w"].shape, [1, 500, 500]);
}

#[test]
fn the_main_model_takes_its_first_step_on_a_small_six_area_recording() {
    let folder = folder_with("six_area_soft.toml");
    succeed(&folder, &["synth", "six-area", "--small", "--out", "data/six_area.h5"]);
    let train = ["train", "--config", "configs/six_area_soft.toml", "--out", "runs/0"];
    // As shipped, but for the size: the small recording has 240 units.
    let small = [
        "--set",
        "model.rsnn.n_neurons = 240",
        "--set",
        "train.n_trials = 20",
        "--set",
        "train.max_steps = 2",
    ];
    succeed(&folder, &[&train[..], &small].concat());
    assert_eq!(last_step(&folder, "runs/0"), Some(2));
    // Two delays; 64 excitatory motor neurons move the jaw.
    let checkpoint = snnfit::checkpoint::read(&crate::runs::step_path(&folder, "runs/0", 2)).unwrap();
    let parameters = &checkpoint.sections["parameters"];
    assert_eq!(parameters["w"].shape, [2, 240, 240]);
    assert_eq!(parameters["w_in"].shape, [300, 240]);
    assert_eq!(parameters["readout.w"].shape, [64, 1]);
}

#[test]
fn the_retina_is_imported_and_takes_its_first_steps() {
    let Some(retina) = shared("data/retina/retina_bars.h5") else {
        return;
    };
    let folder = folder_with("retina_rsnn.toml");
    let retina = retina.to_str().unwrap();
    let import = [
        "import",
        retina,
        "--spikes",
        "/train_repeated/spikes",
        "--stimulus",
        "/train_repeated/stimulus",
        "--bin-ms",
        "1.667",
        "--area",
        "retina",
        "--session-id",
        "train_repeated",
        "--out",
        "data/retina_repeated.h5",
    ];
    succeed(&folder, &import);
    let train = ["train", "--config", "configs/retina_rsnn.toml", "--out", "runs/retina"];
    let run = succeed(&folder, &[&train[..], &["--set", "train.max_steps = 3"]].concat());
    assert!(run.stdout.starts_with("all steps taken at step 3"), "{}", run.stdout);
    let checkpoint = snnfit::checkpoint::read(&crate::runs::step_path(&folder, "runs/retina", 3)).unwrap();
    let parameters = &checkpoint.sections["parameters"];
    // 6 cells and the hidden neurons; 31 pixels times the lags.
    let text = std::fs::read_to_string(folder.path("configs/retina_rsnn.toml")).unwrap();
    let config: toml::Table = text.parse().unwrap();
    let model = &config["model"]["rsnn"];
    let size = |value: &toml::Value| usize::try_from(value.as_integer().unwrap()).unwrap();
    let (n, n_in) = (
        6 + size(&model["n_hidden"]),
        31 * size(&model["input"]["recorded"]["lags"]),
    );
    assert_eq!(parameters["w"].shape, [1, n, n]);
    assert_eq!(parameters["w_in"].shape, [n_in, n]);
    let splits: data::Splits = data::Splits::from_json(
        "splits.json",
        &std::fs::read_to_string(folder.path("runs/retina/splits.json")).unwrap(),
    )
    .unwrap();
    // 54 sweeps, a quarter of them for the test, 15 % of the rest for validation.
    let session = &splits.sessions[0];
    let n = session.train.len() + session.validation.len() + session.test.len();
    assert_eq!(n, 54);
    assert!((13..=14).contains(&session.test.len()), "{}", session.test.len());
    assert!(
        (5..=7).contains(&session.validation.len()),
        "{}",
        session.validation.len()
    );
}

#[test]
fn the_student_takes_its_first_step_on_the_teacher_of_its_size() {
    let folder = folder_with("teacher_student.toml");
    // As shipped, but for the size of the network that hides.
    let made = [
        "synth",
        "teacher",
        "--trials=840",
        "--hidden=31",
        "--connection-probability=0.05",
        "--out=data/teacher.h5",
        "--network=data/teacher_network.h5",
    ];
    succeed(&folder, &made);
    let losses = "loss = [{ likelihood = {} }, { hidden_rate = { weight = 1e-3 } }]";
    let train = ["train", "--config", "configs/teacher_student.toml", "--out", "runs/0"];
    let small = [
        "--set",
        "model.spike_history.n_hidden = 5",
        "--set",
        losses,
        "--set",
        "train.max_steps = 1",
    ];
    succeed(&folder, &[&train[..], &small].concat());
    let checkpoint = snnfit::checkpoint::read(&crate::runs::step_path(&folder, "runs/0", 1)).unwrap();
    let parameters = &checkpoint.sections["parameters"];
    // Three functions of the lag.
    assert_eq!(parameters["w"].shape, [3, 74, 74]);
    assert_eq!(parameters["encoder.out.w"].shape, [5 * 16, 74]);
    succeed(&folder, &["evaluate", "runs/0", "--truth", "data/teacher_network.h5"]);
}

#[test]
fn the_published_network_of_a_movie_takes_its_first_step() {
    let folder = folder_with("movie_cnn.toml");
    // 120 trials of a movie of 27 × 27 pixels, short ones.
    let n_bins = 60;
    let movie = Array2::from_shape_fn((n_bins, 27 * 27), |(t, c)| ((t * 7 + c * 3) % 11) as f32 / 10.0);
    let mut session = crate::spike_history::session("movie", &[movie], 120, &[0, 1, 2, 3], 1);
    for (k, trial) in session.trials.iter_mut().enumerate() {
        trial.start_s = k as f64 * 3.0;
        trial.align_s = trial.start_s;
        trial.stop_s = trial.start_s + n_bins as f64 * 0.04;
    }
    if let Some(stimulus) = &mut session.stimulus {
        stimulus.bin_ms = 40.0;
    }
    if let Activity::Binned { bin_ms, .. } = &mut session.activity {
        *bin_ms = 40.0;
    }
    data::write(
        &folder.path("data/movie.h5"),
        &Recording {
            sessions: vec![session],
        },
    )
    .unwrap();
    let whole = (n_bins - 9) * 40;
    let train = ["train", "--config", "configs/movie_cnn.toml", "--out", "runs/0"].map(str::to_owned);
    let short = [
        format!("model.spike_history.windows.clamped_ms = {whole}.0"),
        format!("model.spike_history.windows.free_ms = {whole}.0"),
        "train.max_steps = 1".to_owned(),
    ];
    let mut arguments = train.to_vec();
    for set in short {
        arguments.extend(["--set".to_owned(), set]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    succeed(&folder, &arguments);
    let checkpoint = snnfit::checkpoint::read(&crate::runs::step_path(&folder, "runs/0", 1)).unwrap();
    let parameters = &checkpoint.sections["parameters"];
    assert_eq!(parameters["encoder.0.w"].shape, [16, 10, 7, 7]);
    assert_eq!(parameters["encoder.out.w"].shape, [1568, 4]);
    let split = std::fs::read_to_string(folder.path("runs/0/run.toml")).unwrap();
    assert!(split.contains("\"80-109\"") && split.contains("\"110-119\""), "{split}");
}

#[test]
fn cells_of_two_recordings_without_a_sweep_in_common_meet_in_one_network() {
    let Some(retina) = shared("data/retina/retina_bars.h5") else {
        return;
    };
    let folder = folder_with("retina_stitching.toml");
    let retina = retina.to_str().unwrap();
    let import = |block: &str, session: &str, more: &[&str]| {
        let (spikes, stimulus) = (format!("/{block}/spikes"), format!("/{block}/stimulus"));
        let out = match session {
            "test" => "data/retina_test.h5".to_owned(),
            session => format!("data/{session}.h5"),
        };
        let arguments = [
            "import",
            retina,
            "--spikes",
            &spikes,
            "--stimulus",
            &stimulus,
            "--bin-ms=1.667",
            "--area=retina",
            "--session-id",
            session,
            "--out",
            &out,
        ];
        succeed(&folder, &[&arguments[..], more].concat());
        data::read(&folder.path(&out)).unwrap().sessions.remove(0)
    };
    import("test", "test", &[]);
    for (side, units, first) in [("left", "unit in [0, 2, 3]", 0), ("right", "unit not in [0, 2, 3]", 1)] {
        for (block, n, axes) in [
            ("repeated", 54, &[][..]),
            ("unrepeated", 50, &["--stimulus-axes", "trial,time,channel"]),
        ] {
            let rows: Vec<String> = (first..n).step_by(2).map(|row| row.to_string()).collect();
            let trials = format!("trial in [{}]", rows.join(", "));
            let more = ["--units", units, "--trials", &trials];
            let name = format!("{side}_{block}");
            let session = import(&format!("train_{block}"), &name, &[&more[..], axes].concat());
            let ids: Vec<&str> = session.units.iter().map(|unit| unit.id.as_str()).collect();
            let expected = if first == 0 { ["0", "2", "3"] } else { ["1", "4", "5"] };
            assert_eq!((ids.as_slice(), session.trials.len()), (&expected[..], n / 2));
        }
    }
    let train = ["train", "--config", "configs/retina_stitching.toml", "--out", "runs/0"];
    let run = succeed(&folder, &[&train[..], &["--set", "train.max_steps = 1"]].concat());
    assert!(
        run.stderr
            .contains("6 recorded neurons of 5 sessions, 0 of them in all"),
        "{}",
        run.stderr
    );
    let network = snnfit::checkpoint::read(&crate::runs::step_path(&folder, "runs/0", 1)).unwrap();
    assert_eq!(network.sections["parameters"]["bias"].shape, [6]);
}
