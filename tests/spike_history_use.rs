//! What is done with a fitted spike-history network: the report, simulations, exports, perturbations.

use std::collections::BTreeSet;
use std::path::Path;

use data::{Activity, Session};
use ndarray::{Array3, Axis, s};
use serde_json::Value;
use snn_core::device::{DeviceChoice, open};
use snnfit::assembly::Part;
use snnfit::cli::CheckpointChoice;
use snnfit::report::glossary::spike_history as glossary;
use snnfit::spike_history::fitted::Fitted;
use snnfit::spike_history::rollouts::{Numbers, Window};

use crate::cli::{Folder, Run};
use crate::export::script;
use crate::spike_history::{CONFIG, N_UNITS, REPEATED_BINS, folder, metric, metrics, train};

const CHECK: &str = "tests/python/check_spike_history.py";

fn done(folder: &Folder, arguments: &[&str]) -> Run {
    let run = folder.run(arguments);
    assert_eq!(run.code, 0, "{arguments:?}: {}{}", run.stdout, run.stderr);
    run
}

fn refused(folder: &Folder, arguments: &[&str], said: &str) {
    let run = folder.run(arguments);
    // Long lines are broken where a terminal ends.
    let told = run.stderr.replace('│', "");
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        run.code == 2 && told.contains(said),
        "{arguments:?}: {} {told}",
        run.code
    );
}

fn read(folder: &Folder, name: &str) -> Session {
    data::read(&folder.path(name)).unwrap().sessions.remove(0)
}

fn counts(session: &Session) -> Array3<u8> {
    match &session.activity {
        Activity::Binned { counts, .. } => counts.clone(),
        Activity::SpikeTimes { .. } => panic!("simulated trials are binned"),
    }
}

fn ids(session: &Session) -> Vec<&str> {
    session.units.iter().map(|unit| unit.id.as_str()).collect()
}

fn page(folder: &Folder, directory: &str) -> String {
    std::fs::read_to_string(folder.path(directory).join("index.html")).unwrap()
}

/// Values of an attribute, in order.
fn values<'p>(page: &'p str, attribute: &str) -> Vec<&'p str> {
    let start = format!(" {attribute}=\"");
    let parts = page.split(start.as_str()).skip(1);
    parts.filter_map(|rest| rest.split('"').next()).collect()
}

fn check_page(page: &str) {
    for forbidden in ["<script", "http:", "https:", "@import", "url(", "<link", "NaN"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let ids = values(page, "id");
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(unique.len(), ids.len(), "an anchor is there twice");
    for link in values(page, "href") {
        let aim = link
            .strip_prefix('#')
            .unwrap_or_else(|| panic!("{link} leaves the page"));
        assert!(unique.contains(aim), "{link} leads nowhere");
    }
}

#[test]
fn a_fitted_network_is_reported_simulated_exported_and_perturbed() {
    let folder = folder();
    assert_eq!(train(&folder, "run", &["--set", "train.max_steps = 300"]).code, 0);
    the_report_has_every_picture_and_every_number_is_defined(&folder);
    simulations_show_the_stimuli_of_the_session(&folder);
    the_exported_network_says_what_the_program_says(&folder);
    perturbations_change_what_they_should(&folder);
    what_cannot_be_is_told(&folder);
}

fn the_report_has_every_picture_and_every_number_is_defined(folder: &Folder) {
    done(folder, &["evaluate", "run", "--split", "validation", "--trials", "40"]);
    let report = metrics(folder, "run", "validation");
    for metric in report["metrics"].as_array().unwrap() {
        let name = metric["name"].as_str().unwrap();
        assert!(glossary::definition(name).is_some(), "{name}");
    }
    let shown = page(folder, "run/report-validation");
    check_page(&shown);
    for name in [
        "losses",
        "psth",
        "raster",
        "neurons",
        "noise_correlations",
        "multi_step",
        "filters",
        "couplings",
        "self_history",
    ] {
        assert!(shown.contains(&format!("id=\"figure-{name}\"")), "no {name}");
        let svg = folder.path("run/report-validation").join(name).with_extension("svg");
        let svg = std::fs::read_to_string(svg).unwrap();
        assert!(
            svg.starts_with("<svg") && !svg.contains("NaN") && svg.len() < 3_000_000,
            "{name}"
        );
    }
    for text in [
        "Stimulus filters",
        "checkpoint of step",
        "snnfit evaluate run --split validation --trials 40",
        "run.toml",
    ] {
        assert!(shown.contains(text), "{text}");
    }
    done(folder, &["evaluate", "run", "--split", "validation", "--trials", "40"]);
    assert!(
        shown == page(folder, "run/report-validation"),
        "evaluating again gives another page"
    );
    // The next bin given the past, by windows anywhere and by all bins in turn.
    let horizon = &report["multi_step"][0];
    let [low, high] = [0, 1].map(|i| horizon["model_ci95"][i].as_f64().unwrap());
    let all = metric(&report, "bits_per_spike");
    let room = high - low;
    assert!(
        horizon["horizon_ms"] == 2.0 && low - room < all && all < high + room,
        "{horizon} {all}"
    );
    let gain = |h: &Value| h["model"].as_f64().unwrap() - h["psth"].as_f64().unwrap() - h["gain"].as_f64().unwrap();
    assert!(
        report["multi_step"]
            .as_array()
            .unwrap()
            .iter()
            .all(|h| gain(h).abs() < 1e-9)
    );
}

fn test_openings(folder: &Folder) -> u64 {
    let manifest = std::fs::read_to_string(folder.path("run/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    manifest["test_openings"].as_u64().unwrap()
}

fn simulations_show_the_stimuli_of_the_session(folder: &Folder) {
    let simulate = |out: &str, more: &[&str]| {
        let arguments = [
            "simulate",
            "run",
            "--session",
            "repeated",
            "--trials",
            "60",
            "--out",
            out,
        ];
        done(folder, &[&arguments, more].concat())
    };
    simulate("model.h5", &[]);
    simulate("chunks.h5", &["--trial-chunk", "7"]);
    let bytes = |name: &str| std::fs::read(folder.path(name)).unwrap();
    assert!(
        bytes("model.h5") == bytes("chunks.h5"),
        "chunks of trials change spikes"
    );
    simulate("other.h5", &["--seed", "1"]);
    assert_eq!(test_openings(folder), 0);
    simulate("held.h5", &["--clamped-ms", "40"]);
    assert_eq!(test_openings(folder), 1, "held to spikes of test trials");
    let recorded = data::read(&folder.path("recording.h5")).unwrap().sessions.remove(1);
    let [model, other, held] = ["model.h5", "other.h5", "held.h5"].map(|name| read(folder, name));
    assert_eq!(ids(&model), ["cell0", "cell1", "cell2", "cell3"]);
    assert_eq!(model.stimulus, recorded.stimulus);
    assert!(model.trials.iter().all(|trial| trial.movie == Some(0)));
    let lent: Vec<f64> = model.events.values["recorded_trial"]
        .iter()
        .map(|x| x.unwrap())
        .collect();
    assert!(
        lent.iter().enumerate().all(|(k, &of)| of == (k % 24) as f64),
        "{lent:?}"
    );
    assert_ne!(counts(&model), counts(&other));
    // Held to the recorded spikes, then free.
    let (spikes, known) = (counts(&held), counts(&recorded));
    for k in 0..60 {
        assert_eq!(spikes.slice(s![k, ..20, ..]), known.slice(s![k % 24, ..20, ..]));
    }
    assert_ne!(spikes.slice(s![..24, 20.., ..]), known.slice(s![.., 20.., ..]));
    let rate = |spikes: &Array3<u8>, n: usize| {
        let neuron = spikes.index_axis(Axis(2), n);
        neuron.iter().map(|&z| f64::from(z)).sum::<f64>() / neuron.len() as f64
    };
    for n in 0..N_UNITS {
        let (found, expected) = (rate(&counts(&model), n), rate(&known, n));
        assert!((found / expected - 1.0).abs() < 0.35, "{n}: {found} {expected}");
    }
    // Several stimuli in turn, and other formats.
    let several = ["simulate", "run", "--session", "once", "--trials", "7", "--out"];
    for name in ["once.h5", "once.npz"] {
        done(folder, &[&several[..], &[name]].concat());
    }
    let once = read(folder, "once.h5");
    let movies: Vec<usize> = once.trials.iter().map(|trial| trial.movie.unwrap()).collect();
    assert_eq!(movies, [0, 1, 2, 3, 4, 0, 1]);
    done(
        folder,
        &[
            "simulate",
            "run",
            "--session",
            "repeated",
            "--trials",
            "3",
            "--out",
            "model.nwb",
        ],
    );
    assert!(folder.path("model.nwb").exists());
}

fn the_exported_network_says_what_the_program_says(folder: &Folder) {
    let said = done(folder, &["export", "run", "--out", "parameters.h5"]).stdout;
    assert!(
        said.contains("4 neurons (0 hidden)") && said.contains("2 to 16 ms (8 of them)"),
        "{said}"
    );
    done(folder, &["export", "run", "--out", "csv", "--as", "csv"]);
    done(folder, &["export", "run", "--out", "sonata", "--as", "sonata"]);
    // What the program says of a window that is held to the recorded spikes.
    std::fs::write(folder.path("window.json"), window(folder, "run", 1, 17, 60, 25)).unwrap();
    for arguments in [
        ["clamped", "parameters.h5", "recording.h5", "window.json"].as_slice(),
        &["simulated", "parameters.h5", "model.h5"],
        &["tables", "parameters.h5", "csv", "sonata"],
    ] {
        if script(folder, CHECK, arguments).is_none() {
            return;
        }
    }
}

/// Probabilities of the program for some bins of a trial given its past, as JSON.
fn window(folder: &Folder, run: &str, session: usize, trial: usize, first: usize, bins: usize) -> String {
    let device = open(DeviceChoice::Cpu).unwrap();
    let data = [folder.path("recording.h5")];
    let (_, fitted) = Fitted::open(&folder.path(run), CheckpointChoice::Best, &data, device).unwrap();
    let window = Window { session, trial, first };
    let numbers = Numbers {
        seed: 0,
        number: 0,
        stream: "test",
    };
    let p = fitted.rollouts().given(&[window], bins, bins, 1, numbers).unwrap();
    let rows: Vec<Vec<f32>> = p.index_axis(Axis(0), 0).outer_iter().map(|row| row.to_vec()).collect();
    let session = &fitted.recorded.sessions[session];
    assert!(session.trials(Part::Test).contains(&trial));
    serde_json::json!({"session": session.id, "trial": trial, "first": first, "p": rows}).to_string()
}

fn perturbations_change_what_they_should(folder: &Folder) {
    let simulate = |out: &str, more: &[&str]| {
        let arguments = [
            "simulate",
            "run",
            "--session",
            "repeated",
            "--trials",
            "60",
            "--out",
            out,
        ];
        let run = done(folder, &[&arguments, more].concat());
        (counts(&read(folder, out)), run.stderr)
    };
    let plain = counts(&read(folder, "model.h5"));
    let (first, last) = (100, 300);
    let window = ["--window-ms", "200,600"];
    let (held, said) = simulate(
        "silent.h5",
        &[&["--silence", "neuron:cell0", "--silence-what", "held"], &window[..]].concat(),
    );
    assert!(
        said.contains("silence: 1 neurons (1 retina), spikes removed, from 200 to 600 ms"),
        "{said}"
    );
    let part = |spikes: &Array3<u8>, n: usize| {
        spikes
            .slice(s![.., first..last, n])
            .iter()
            .map(|&z| f64::from(z))
            .sum::<f64>()
    };
    assert_eq!(held.slice(s![.., ..first, ..]), plain.slice(s![.., ..first, ..]));
    assert_eq!(part(&held, 0), 0.0);
    assert!(
        held.slice(s![.., last.., 0]).iter().any(|&z| z > 0),
        "silent after the window"
    );
    // Neuron 1 follows neuron 0.
    assert!(
        part(&held, 1) < 0.8 * part(&plain, 1),
        "{} {}",
        part(&held, 1),
        part(&plain, 1)
    );
    let (outgoing, _) = simulate(
        "cut.h5",
        &[
            &["--silence", "neuron:cell0", "--silence-what", "outgoing"],
            &window[..],
        ]
        .concat(),
    );
    assert!(part(&outgoing, 0) > 0.5 * part(&plain, 0) && part(&outgoing, 1) < 0.8 * part(&plain, 1));
    let (none, _) = simulate("none.h5", &["--activate", "area:retina", "--strength", "0"]);
    assert_eq!(none, plain);

    let arguments = [
        "evaluate",
        "run",
        "--activate",
        "neuron:cell0",
        "--strength",
        "2",
        "--trials",
        "50",
    ];
    let run = done(folder, &[&arguments[..], &window].concat());
    assert!(
        run.stdout.contains("neuron cell0, Hz") && run.stderr.contains("session 'repeated'"),
        "{}{}",
        run.stdout,
        run.stderr
    );
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path("run/perturbation.json")).unwrap()).unwrap();
    assert_eq!(report["periods"][0]["period_ms"], serde_json::json!([200.0, 600.0]));
    assert_eq!(report["periods"][1]["name"], "trial");
    let neuron = |n: usize| report["periods"][0]["neurons"][n].clone();
    let low = |n: usize| neuron(n)["delta_ci95"][0].as_f64().unwrap();
    assert!(neuron(0)["is_perturbed"] == true && low(0) > 0.0, "{}", neuron(0));
    assert!(
        neuron(1)["is_perturbed"] == false && low(1) > 0.0,
        "neuron 1 follows: {}",
        neuron(1)
    );
    let area = &report["periods"][0]["rates_hz"][0];
    let mean: f64 = (0..N_UNITS)
        .map(|n| neuron(n)["delta_hz"].as_f64().unwrap())
        .sum::<f64>()
        / N_UNITS as f64;
    assert!((area["delta"].as_f64().unwrap() - mean).abs() < 1e-9, "{area} {mean}");
    // The one of `simulate --clamped-ms` before.
    assert_eq!(test_openings(folder), 1, "a perturbation opened test trials");
}

fn what_cannot_be_is_told(folder: &Folder) {
    let simulate = ["simulate", "run", "--out", "x.h5"];
    let with = |more: &[&'static str]| [&simulate[..], more].concat();
    for (more, said) in [
        (
            &[][..],
            "name one with --session: once (5 trials of 5 stimuli), repeated (24 trials of 1 stimulus)",
        ),
        (&["--session", "repeted"], "did you mean --session repeated?"),
        (&["--session", "once", "--inputs"], "no spiking inputs"),
        (&["--session", "once", "--hidden"], "no hidden neurons"),
        (
            &["--session", "repeated", "--clamped-ms", "900"],
            "longer than the shortest trial, which has 800 ms",
        ),
        (&["--session", "repeated", "--light", "area:retina"], "have no type"),
        (
            &["--session", "repeated", "--silence", "neuron:cell9"],
            "no neuron 'cell9'",
        ),
        (
            &["--session", "repeated", "--silence", "type:inh"],
            "no neuron of the model is 'type:inh'",
        ),
        (
            &[
                "--session",
                "repeated",
                "--activate",
                "area:retina",
                "--window-ms",
                "0,900",
            ],
            "reaches beyond the trial",
        ),
    ] {
        refused(folder, &with(more), said);
        assert!(!folder.path("x.h5").exists());
    }
    refused(
        folder,
        &[
            "evaluate",
            "run",
            "--silence",
            "area:retina",
            "--against",
            "recording.h5",
        ],
        "--against is there for [model.rsnn] only",
    );
    refused(
        folder,
        &["export", "run", "--out", "x.nwb"],
        "it has parameters, not trials",
    );
}

#[test]
fn hidden_neurons_and_a_drive_of_bins_are_simulated_exported_and_reported_too() {
    let folder = folder();
    let text = CONFIG
        .replace(
            "[model.spike_history.encoder.stimulus]\nhistory_ms = 20.0",
            "[model.spike_history.encoder.bins]",
        )
        .replace("history_ms = 16.0", "history_ms = 16.0\nn_hidden = 3")
        .replace("shared_units = true", "shared_units = false")
        .replace("[split.sessions.once]\nvalidation = [4]\n", "")
        .replace(
            "files = [\"recording.h5\"]",
            "files = [\"recording.h5\"]\nsessions = [\"repeated\"]",
        );
    folder.write("fit.toml", text.as_bytes());
    assert_eq!(train(&folder, "run", &["--set", "train.max_steps = 20"]).code, 0);
    done(&folder, &["evaluate", "run", "--split", "validation", "--trials", "12"]);
    let shown = page(&folder, "run/report-validation");
    check_page(&shown);
    assert!(
        shown.contains("Drive of each bin") && shown.contains("3 hidden"),
        "no drive of bins"
    );
    done(
        &folder,
        &["simulate", "run", "--trials", "4", "--hidden", "--out", "all.h5"],
    );
    done(&folder, &["simulate", "run", "--trials", "4", "--out", "visible.h5"]);
    let [all, visible] = ["all.h5", "visible.h5"].map(|name| read(&folder, name));
    assert_eq!(ids(&all)[4..], ["hidden/0", "hidden/1", "hidden/2"]);
    assert_eq!(
        ids(&all)[..4],
        ["repeated/cell0", "repeated/cell1", "repeated/cell2", "repeated/cell3"]
    );
    assert_eq!(all.units[4].area, "hidden");
    assert_eq!(counts(&all).slice(s![.., .., ..4]), counts(&visible));
    assert_eq!(counts(&all).dim(), (4, REPEATED_BINS, 7));
    let run = done(
        &folder,
        &[
            "evaluate",
            "run",
            "--silence",
            "area:hidden",
            "--silence-what",
            "held",
            "--trials",
            "8",
            "--format",
            "json",
        ],
    );
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let hidden = report["periods"][0]["rates_hz"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["name"] == "hidden");
    assert_eq!(hidden.unwrap()["perturbed"], 0.0);
    let said = done(&folder, &["export", "run", "--out", "parameters.h5"]).stdout;
    assert!(said.contains("7 neurons (3 hidden)"), "{said}");
    let file = hdf5::File::open(folder.path("parameters.h5")).unwrap();
    let drive = file.dataset("encoder/drive/repeated").unwrap();
    assert_eq!(drive.shape(), [1, REPEATED_BINS, 7]);
}

#[test]
fn the_page_of_metrics_says_what_the_glossary_of_these_networks_says() {
    let path = Path::new(&crate::networks::manifest_dir()).join("../../docs/METRICS.md");
    let written = std::fs::read_to_string(&path).unwrap();
    let table = glossary::metrics_markdown();
    let head = table.lines().next().unwrap();
    let begin = written.find(head).unwrap_or_else(|| panic!("no table '{head}'"));
    let end = begin + written[begin..].find("\n\n").map_or(written.len() - begin, |at| at + 1);
    let mut expected = written.clone();
    expected.replace_range(begin..end, &table);
    if std::env::var_os("SNNFIT_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written == expected,
        "run this test with SNNFIT_UPDATE_DOCS=1 and commit docs/METRICS.md"
    );
}
