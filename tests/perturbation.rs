//! Perturbations in silico, from the command line: what is selected, refused, simulated and compared.

use ndarray::{Array3, s};
use serde_json::Value;

use crate::cli::{Folder, section};
use crate::runs::{folder, manifest, succeed, train};

/// A folder with a run `a` of 20 steps: 24 recorded neurons and 2 hidden ones in each of two areas.
fn fitted() -> Folder {
    let folder = folder();
    let sets = ["train.max_steps = 20", "model.rsnn.n_hidden = 4"];
    train(&folder, "a", &sets);
    folder
}

fn counts(folder: &Folder, name: &str) -> Array3<u8> {
    let session = data::read(&folder.path(name)).unwrap().sessions.pop().unwrap();
    match session.activity {
        data::Activity::Binned { counts, .. } => counts,
        data::Activity::SpikeTimes { .. } => panic!("simulated trials are binned"),
    }
}

fn simulate(folder: &Folder, out: &str, options: &[&str]) -> String {
    let arguments = ["simulate", "a", "--trials", "30", "--out", out];
    succeed(folder, &[&arguments, options].concat()).stderr
}

fn compare(folder: &Folder, options: &[&str]) -> Value {
    let arguments = ["evaluate", "a", "--trials", "40", "--format", "json"];
    serde_json::from_str(&succeed(folder, &[&arguments, options].concat()).stdout).unwrap()
}

#[test]
fn a_perturbed_recording_differs_from_the_window_on_and_says_who_is_perturbed() {
    let folder = fitted();
    simulate(&folder, "plain.h5", &[]);
    let options = ["--silence", "area:area1+type:inh", "--window-ms", "-10,20"];
    let said = simulate(&folder, "silent.h5", &options);
    // Eight of the 24 units of an area are inhibitory, and some hidden neurons may be.
    assert!(
        said.contains(" area1 inh)") && said.contains("from -10 to 20 ms"),
        "{said}"
    );
    let again = [&options[..], &["--trial-chunk", "7"]].concat();
    simulate(&folder, "again.h5", &again);
    let [plain, silent, again] = ["plain.h5", "silent.h5", "again.h5"].map(|name| counts(&folder, name));
    // The trial starts at −40 ms, in bins of 2 ms.
    assert_eq!(plain.slice(s![.., ..15, ..]), silent.slice(s![.., ..15, ..]));
    assert_ne!(plain.slice(s![.., 15..30, ..]), silent.slice(s![.., 15..30, ..]));
    assert_eq!(silent, again, "spikes depend on the trials simulated at once");
}

#[test]
fn neurons_are_selected_by_id_and_by_file_alike() {
    let folder = fitted();
    simulate(&folder, "plain.h5", &[]);
    let session = data::read(&folder.path("plain.h5")).unwrap().sessions.pop().unwrap();
    let ids: Vec<&str> = session.units.iter().map(|unit| unit.id.as_str()).collect();
    let hidden = *ids.iter().find(|id| id.starts_with("hidden/")).unwrap();
    let file = format!("# two neurons\n\n{}\n  {hidden}\n", ids[3]);
    folder.write("ids.txt", file.as_bytes());
    let [first, second] = [ids[3], hidden].map(|id| format!("neuron:{id}"));
    let said = simulate(
        &folder,
        "a.h5",
        &["--activate", &first, "--activate", &second, "--strength=3"],
    );
    assert!(said.contains("activate: 2 neurons"), "{said}");
    simulate(&folder, "b.h5", &["--activate", "file:ids.txt", "--strength", "3"]);
    let [plain, a, b] = ["plain.h5", "a.h5", "b.h5"].map(|name| counts(&folder, name));
    assert_eq!(a, b);
    let n_spikes =
        |counts: &Array3<u8>, n: usize| counts.slice(s![.., .., n]).iter().map(|z| u64::from(*z)).sum::<u64>();
    let hidden = ids.iter().position(|id| *id == hidden).unwrap();
    for n in [3, hidden] {
        assert!(n_spikes(&a, n) > n_spikes(&plain, n) + 100, "neuron {n} is not driven");
    }
}

#[test]
fn light_drives_the_same_inhibitory_neurons_in_simulate_and_evaluate() {
    let folder = fitted();
    let report = compare(
        &folder,
        &["--light", "area:area1", "--light", "area:area2", "--strength=2"],
    );
    let of = |seed: &str, out: &str| simulate(&folder, out, &["--light", "type:inh", "--seed", seed]);
    let perturbation = &report["perturbations"][0];
    assert_eq!(
        (&perturbation["effect"], &perturbation["light_share"]),
        (&"light".into(), &0.51.into())
    );
    let n = perturbation["neurons"].as_array().unwrap().len();
    // Whom light reaches depends on the seed of the run, not on that of the simulated noise.
    for (seed, out) in [("0", "x.h5"), ("1", "y.h5")] {
        assert!(of(seed, out).contains(&format!("light: {n} neurons (")));
    }
    let neurons = report["periods"][0]["neurons"].as_array().unwrap();
    for neuron in neurons {
        let is_lit = neuron["is_perturbed"].as_bool().unwrap();
        let population = neuron["population"].as_str().unwrap();
        assert!(!is_lit || population.ends_with("inh"), "{neuron}");
    }
    // One of them may spike as fast as it can already, or be inhibited by the others.
    let lit = neurons.iter().filter(|neuron| neuron["is_perturbed"] == true);
    assert!(lit.map(|neuron| neuron["delta_hz"].as_f64().unwrap()).sum::<f64>() > 0.0);
    assert_eq!(neurons.iter().filter(|n| n["is_perturbed"] == true).count(), n);
}

#[test]
fn a_named_comparison_is_kept_beside_the_others() {
    let folder = fitted();
    let read = |name: &str| std::fs::read_to_string(folder.path(name)).unwrap();
    compare(&folder, &["--silence", "area:area1", "--name", "area1"]);
    assert!(!folder.path("a/perturbation.json").exists());
    let first = read("a/perturbation-area1.json");
    let second = compare(&folder, &["--silence", "area:area2"]);
    assert_eq!(read("a/perturbation-area1.json"), first);
    let last: Value = serde_json::from_str(&read("a/perturbation.json")).unwrap();
    assert_eq!(last, second);
    assert_ne!(serde_json::from_str::<Value>(&first).unwrap(), second);
}

#[test]
fn evaluate_pairs_perturbed_with_unperturbed_trials_and_opens_no_test_trial() {
    let folder = fitted();
    let report = compare(&folder, &["--silence", "area:area1", "--window-ms", "0,40"]);
    let file = std::fs::read_to_string(folder.path("a/perturbation.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&file).unwrap(), report);
    assert_eq!(manifest(&folder, "a").test_openings, 0);
    assert_eq!((&report["schema"], &report["model_trials"]), (&1.into(), &40.into()));
    let periods = report["periods"].as_array().unwrap();
    let names: Vec<&Value> = periods.iter().map(|period| &period["name"]).collect();
    assert_eq!(names, ["window", "trial"]);
    assert_eq!(periods[0]["period_ms"], serde_json::json!([0.0, 40.0]));
    assert_eq!(periods[1]["period_ms"], serde_json::json!([-40.0, 80.0]));
    for period in periods {
        let neurons = period["neurons"].as_array().unwrap();
        for change in period["rates_hz"].as_array().unwrap() {
            let number = |key: &str| change[key].as_f64().unwrap();
            assert!(
                (number("perturbed") - number("baseline") - number("delta")).abs() < 1e-9,
                "{change}"
            );
            let [low, high] = [0, 1].map(|i| change["delta_ci95"][i].as_f64().unwrap());
            assert!(low <= number("delta") && number("delta") <= high, "{change}");
            // The population's rate is the mean of its neurons'.
            let members = neurons.iter().filter(|n| n["population"] == change["name"]);
            let rates: Vec<f64> = members.map(|n| n["perturbed_hz"].as_f64().unwrap()).collect();
            assert_eq!(change["n_neurons"], rates.len());
            let mean = rates.iter().sum::<f64>() / rates.len() as f64;
            assert!((mean - number("perturbed")).abs() < 1e-9, "{change}");
        }
    }
    let shares = report["type_fractions"].as_array().unwrap();
    for by in ["template", "template of other neurons"] {
        let of_rule = || shares.iter().filter(|share| share["by"] == by);
        let sum = |key: &str| of_rule().map(|share| share[key].as_f64().unwrap()).sum::<f64>();
        assert!(
            (sum("baseline") - 1.0).abs() < 1e-9 && sum("delta").abs() < 1e-9,
            "{by}: {shares:?}"
        );
        // 40 trials: no interval is a point.
        assert!(of_rule().all(|share| share["delta_ci95"][0].as_f64() < share["delta_ci95"][1].as_f64()));
    }
    let left_out = report["left_out"].as_array().unwrap();
    assert!(
        left_out.len() == 1 && left_out[0]["name"] == "type_fractions by threshold",
        "no behaviour: {left_out:?}"
    );
    let text = succeed(
        &folder,
        &[
            "evaluate",
            "a",
            "--trials=40",
            "--silence=area:area1",
            "--window-ms=0,40",
        ],
    )
    .stdout;
    for part in [
        "window (0 … 40 ms)",
        "trial (-40 … 80 ms)",
        "area1 exc, Hz",
        "share of trials",
        "hit by template of other neurons",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_drive_of_strength_0_changes_nothing() {
    let folder = fitted();
    let report = compare(
        &folder,
        &["--activate", "type:exc", "--strength", "0", "--window-ms", "0,40"],
    );
    let mut n = 0;
    let mut is_zero = |delta: &Value| {
        assert_eq!(delta.as_f64(), Some(0.0));
        n += 1;
    };
    for period in report["periods"].as_array().unwrap() {
        for key in ["rates_hz", "behaviour"] {
            period[key]
                .as_array()
                .unwrap()
                .iter()
                .for_each(|change| is_zero(&change["delta"]));
        }
        period["neurons"]
            .as_array()
            .unwrap()
            .iter()
            .for_each(|neuron| is_zero(&neuron["delta_hz"]));
    }
    report["type_fractions"]
        .as_array()
        .unwrap()
        .iter()
        .for_each(|change| is_zero(&change["delta"]));
    assert!(n > 100, "{n} values");
}

#[test]
fn perturbations_that_cannot_be_are_refused_with_one_clear_error() {
    let folder = fitted();
    folder.write("ids.txt", b"PS000/003\nPS000/999\n");
    let before = std::fs::read(folder.path("a/manifest.json")).unwrap();
    let cases: &[&[&str]] = &[
        &["--silence", "area:area11"],
        &["--silence", "area:wS2"],
        &["--silence", "area1"],
        &["--silence", "type:pv"],
        &["--silence", "aera:area1"],
        &["--silence", "neuron:PS000/03"],
        &["--silence", "neuron:3"],
        &["--silence", "file:ids.txt"],
        &["--silence", "type:exc+type:inh"],
        &["--light", "type:exc"],
        &["--light", "type:inh", "--light-share", "1e-9"],
        &["--light", "type:inh", "--light-share", "0"],
        &["--silence", "type:exc", "--window-ms", "-50,0"],
        &["--silence", "type:exc", "--window-ms", "0,90"],
        &["--silence", "type:exc", "--window-ms", "0,0.5"],
        &["--silence", "type:exc", "--window-ms", "20,10"],
        &["--silence", "type:exc", "--window-ms", "10"],
        &["--activate", "type:exc", "--strength", "nan"],
        // Nothing is parsed and ignored.
        &["--silence", "type:exc", "--strength", "2"],
        &["--silence", "type:exc", "--light-share", "0.5"],
        &["--activate", "type:exc", "--silence-what", "outgoing"],
        &["--window-ms", "0,10"],
        &["--name", "x"],
        &["--silence", "type:exc", "--name", "../x"],
        &["--silence", "type:exc", "--split", "train"],
        &["--silence", "type:exc", "--require", "psth_pearson >= 0"],
    ];
    let mut all = String::new();
    for case in cases {
        let run = folder.run(&[&["evaluate", "a"], *case].concat());
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{case:?}: {}", run.stderr);
        section(&mut all, &case.join(" "), run.stderr.trim_end());
    }
    let several = folder.run(&["evaluate", "a", "b", "--silence", "type:exc"]);
    assert_eq!(several.code, 2);
    section(&mut all, "two runs", several.stderr.trim_end());
    let missing = folder.run(&["simulate", "a", "--out", "x.h5", "--silence", "file:none.txt"]);
    assert_eq!(missing.code, 4, "{}", missing.stderr);
    section(&mut all, "a file that is missing", missing.stderr.trim_end());
    assert_eq!(std::fs::read(folder.path("a/manifest.json")).unwrap(), before);
    assert!(!folder.path("a/perturbation.json").exists() && !folder.path("x.h5").exists());
    insta::assert_snapshot!(all);
}
