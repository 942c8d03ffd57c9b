//! From a fit to its judgement: `evaluate` and `simulate` on a tiny run.

use std::collections::BTreeSet;

use serde_json::Value;
use snnfit::run_dir::StopReason;

use crate::cli::Folder;
use crate::runs::{folder, manifest, succeed, train};

/// Metrics that issue and user are promised; a recording may leave some undefined, with a reason.
const PROMISED: [&str; 17] = [
    "psth_pearson",
    "psth_pearson_ref_centered",
    "trial_matched_pearson",
    "trial_matched_pearson_ref_centered",
    "neuron_loss",
    "trial_loss",
    "energy_distance",
    "hit_fraction",
    "hit_fraction_data",
    "peak_rate_wasserstein",
    "peak_rate_above_threshold/area1",
    "peak_rate_above_threshold/area2",
    "firing_rate_wasserstein",
    "feature_variance_ratio",
    "feature_variance_ratio_within_type",
    "fano_ratio",
    "noise_correlation_r",
];
const NULLS: [&str; 4] = [
    "psth_poisson_per_stimulus",
    "psth_poisson_per_trial_type",
    "psth_shared_gain",
    "trial_shuffled",
];

fn read_json(folder: &Folder, name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder.path(name)).unwrap()).unwrap()
}

fn evaluate(folder: &Folder, arguments: &[&str]) -> Value {
    let run = succeed(folder, &[&["evaluate", "--format", "json"], arguments].concat());
    serde_json::from_str(&run.stdout).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn metric<'a>(report: &'a Value, name: &str) -> Option<&'a Value> {
    report["metrics"].as_array().unwrap().iter().find(|m| m["name"] == name)
}

#[test]
fn metrics_json_has_every_promised_metric_with_interval_nulls_and_references() {
    let folder = folder();
    train(&folder, "a", &[]);
    let report = evaluate(&folder, &["a"]);
    assert_eq!(read_json(&folder, "a/metrics.json"), report, "stdout and file differ");
    assert_eq!(
        (&report["schema"], &report["run"], &report["split"]),
        (&1.into(), &"a".into(), &"test".into())
    );
    let metrics = report["metrics"].as_array().unwrap();
    let names: BTreeSet<&str> = metrics.iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), metrics.len(), "two metrics have one name");
    for name in PROMISED {
        assert!(
            names.contains(name),
            "{name} is missing; left out: {}",
            report["left_out"]
        );
    }
    for metric in metrics {
        let name = &metric["name"];
        let expected = [
            "name",
            "value",
            "ci95",
            "nulls",
            "reference_train_test",
            "ceiling_noiseless",
            "n",
            "unit",
        ];
        assert_eq!(keys(metric), expected, "{name}");
        assert!(metric["value"].is_f64() && metric["n"].as_u64() > Some(0), "{name}");
        assert!(metric["unit"].is_string(), "{name}");
        if let Some(interval) = metric["ci95"].as_array() {
            assert!(interval[0].as_f64() <= interval[1].as_f64(), "{name}: {interval:?}");
        }
        for (null, value) in metric["nulls"].as_object().unwrap() {
            assert!(
                NULLS.contains(&null.as_str()) && value.is_f64(),
                "{name}: {null} {value}"
            );
        }
        let name = name.as_str().unwrap();
        assert!(name.contains("_data") || metric["ci95"].is_array(), "{name}");
        // What describes the data alone has nothing to be compared with; nulls are made of the trials of the templates.
        if !name.contains("_data") && !name.starts_with("session_type_fraction") {
            assert_eq!(keys(&metric["nulls"]), NULLS, "{name}");
        }
    }
    for name in [
        "psth_pearson",
        "trial_matched_pearson",
        "peak_rate_wasserstein",
        "fano_ratio",
    ] {
        assert!(
            metric(&report, name).unwrap()["reference_train_test"].is_f64(),
            "{name}"
        );
    }
    assert!(metric(&report, "psth_pearson").unwrap()["ceiling_noiseless"].is_f64());
}

#[test]
fn evaluate_compares_with_the_trials_of_the_split_and_no_others() {
    let folder = folder();
    train(&folder, "a", &["train.max_steps = 20"]);
    let splits = read_json(&folder, "a/splits.json");
    let recording = data::read(&folder.path("recording.h5")).unwrap();
    for part in ["test", "validation", "train"] {
        let report = evaluate(&folder, &["a", "--split", part]);
        for (i, session) in splits["sessions"].as_array().unwrap().iter().enumerate() {
            let n = |part: &str| session[part].as_array().unwrap().len() as u64;
            assert_eq!(report["trials"][i]["session"], session["id"]);
            assert_eq!(report["trials"][i]["test"], n(part), "{part}");
            assert_eq!(report["trials"][i]["train"], n("train"));
            let all: BTreeSet<u64> = ["train", "validation", "test"]
                .iter()
                .flat_map(|part| session[*part].as_array().unwrap().iter().map(|k| k.as_u64().unwrap()))
                .collect();
            assert_eq!(
                all.len() as u64,
                n("train") + n("validation") + n("test"),
                "parts share trials"
            );
            assert_eq!(all.len(), recording.sessions[i].n_trials());
        }
    }
}

#[test]
fn each_opening_of_the_test_trials_is_counted_and_nothing_else_is() {
    let folder = folder();
    train(&folder, "a", &["train.max_steps = 20"]);
    train(&folder, "b", &["train.max_steps = 20"]);
    let openings = |run: &str| manifest(&folder, run).test_openings;
    assert_eq!((openings("a"), openings("b")), (0, 0));
    evaluate(&folder, &["a", "--split", "validation"]);
    evaluate(&folder, &["a", "--split", "train"]);
    succeed(&folder, &["simulate", "a", "--out", "x.h5", "--trials", "2"]);
    succeed(&folder, &["inspect", "a"]);
    assert_eq!(openings("a"), 0);
    evaluate(&folder, &["a"]);
    assert_eq!((openings("a"), openings("b")), (1, 0));
    evaluate(&folder, &["a", "b"]);
    assert_eq!((openings("a"), openings("b")), (2, 1));
    let attempt = manifest(&folder, "a").attempts.pop().unwrap();
    assert_eq!(
        (attempt.last_step, attempt.stop_reason),
        (Some(20), Some(StopReason::MaxSteps)),
        "the rest of the manifest stays"
    );
}

#[test]
fn evaluating_again_gives_the_same_numbers_and_pictures_whatever_the_threads() {
    let folder = folder();
    train(&folder, "a", &["train.max_steps = 20"]);
    let picture = |name: &str| std::fs::read(folder.path(format!("a/report/{name}.svg"))).unwrap();
    let evaluate_with = |threads: &str| {
        let mut command = folder.command(&["evaluate", "a", "--format", "json"]);
        let output = command.env("RAYON_NUM_THREADS", threads).output().unwrap();
        assert!(output.status.success());
        (
            output.stdout,
            ["psth", "raster", "losses", "weights", "peak_rates"].map(picture),
        )
    };
    let first = evaluate_with("1");
    assert_eq!(evaluate_with("2"), first);
    let svg = String::from_utf8(first.1[0].clone()).unwrap();
    assert!(svg.trim_start().starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
}

#[test]
fn several_runs_are_aggregated_to_the_mean_and_spread_of_their_metrics() {
    let folder = folder();
    train(&folder, "a", &["train.max_steps = 20"]);
    train(&folder, "b", &["train.max_steps = 20", "seed = 4"]);
    let all = evaluate(&folder, &["a", "b"]);
    assert_eq!(all["runs"], serde_json::json!(["a", "b"]));
    assert_eq!((&all["schema"], &all["split"]), (&1.into(), &"test".into()));
    let single = [
        read_json(&folder, "a/metrics.json"),
        read_json(&folder, "b/metrics.json"),
    ];
    let mut n_differing = 0;
    for aggregated in all["metrics"].as_array().unwrap() {
        let name = aggregated["name"].as_str().unwrap();
        let values = [&single[0], &single[1]].map(|report| metric(report, name).map(|m| m["value"].as_f64().unwrap()));
        let [Some(x), Some(y)] = values else {
            assert!(
                all["left_out"].as_array().unwrap().iter().any(|m| m["name"] == name),
                "{name}"
            );
            continue;
        };
        n_differing += usize::from(x != y);
        let close = |found: &Value, expected: f64| {
            let found = found.as_f64().unwrap();
            assert!(
                (found - expected).abs() <= 1e-12 * (1.0 + expected.abs()),
                "{name}: {found} for {expected}"
            );
        };
        close(&aggregated["mean"], f64::midpoint(x, y));
        // The unbiased standard deviation of two numbers is their distance over √2.
        close(&aggregated["sd"], (x - y).abs() / 2.0f64.sqrt());
        close(&aggregated["range"][0], x.min(y));
        close(&aggregated["range"][1], x.max(y));
    }
    assert!(n_differing > 5, "two seeds give the same metrics");
}

#[test]
fn simulated_trials_are_a_recording_that_depends_on_the_seed_alone() {
    let folder = folder();
    train(&folder, "a", &["train.max_steps = 20", "model.rsnn.n_hidden = 5"]);
    let simulate = |out: &str, seed: &str, threads: &str| {
        let arguments = ["simulate", "a", "--trials", "30", "--seed", seed, "--out", out];
        let status = folder
            .command(&arguments)
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap()
            .status;
        assert!(status.success());
        std::fs::read(folder.path(out)).unwrap()
    };
    assert_eq!(simulate("x.h5", "1", "1"), simulate("y.h5", "1", "2"));
    simulate("z.h5", "2", "1");
    let read = |name: &str| data::read(&folder.path(name)).unwrap().sessions.pop().unwrap();
    let (x, z) = (read("x.h5"), read("z.h5"));
    let data::Activity::Binned {
        counts,
        bin_ms,
        start_ms,
        ..
    } = &x.activity
    else {
        panic!("simulated trials are binned")
    };
    // 48 recorded neurons and 5 hidden ones, 30 trials of (40 + 80) ms in bins of 2 ms.
    assert_eq!((counts.dim(), *bin_ms, *start_ms), ((30, 60, 53), 2.0, -40.0));
    assert!(
        counts.iter().all(|&z| z <= 1),
        "a model neuron spikes at most once per bin"
    );
    assert_ne!(x.activity, z.activity, "the seed changes nothing");
    let recording = data::read(&folder.path("recording.h5")).unwrap();
    let mut n_hidden = 0;
    for unit in &x.units {
        let Some(source) = recording
            .sessions
            .iter()
            .find(|s| unit.id.starts_with(&format!("{}/", s.id)))
        else {
            assert!(unit.id.starts_with("hidden/"), "{}", unit.id);
            n_hidden += 1;
            continue;
        };
        let name = &unit.id[source.id.len() + 1..];
        let recorded = source.units.iter().find(|u| u.id == name).unwrap();
        assert_eq!(
            (&recorded.area, recorded.cell_type),
            (&unit.area, unit.cell_type),
            "{}",
            unit.id
        );
    }
    assert_eq!(n_hidden, 5);
    assert!(
        x.trials.iter().all(|trial| trial.stimulus == 4.0),
        "the stimulus of all recorded trials"
    );
    let summary: Value =
        serde_json::from_str(&succeed(&folder, &["inspect", "x.h5", "--format", "json"]).stdout).unwrap();
    assert_eq!((&summary["n_sessions"], &summary["n_trials"]), (&1.into(), &30.into()));
}

#[test]
fn a_network_can_be_fitted_to_simulated_trials() {
    let folder = folder();
    train(&folder, "teacher", &["train.max_steps = 20"]);
    succeed(
        &folder,
        &["simulate", "teacher", "--trials", "40", "--out", "student.h5"],
    );
    train(
        &folder,
        "student",
        &["data.files = [\"student.h5\"]", "train.max_steps = 20"],
    );
    let report = evaluate(&folder, &["student", "--split", "validation"]);
    assert!(metric(&report, "psth_pearson").is_some(), "{report}");
}

#[test]
fn another_checkpoint_is_another_network() {
    let folder = folder();
    train(&folder, "a", &[]);
    let step = |which: &str| evaluate(&folder, &["a", "--split", "train", "--checkpoint", which]);
    let (early, last) = (step("20"), step("last"));
    assert_eq!(
        (&early["checkpoint_step"], &last["checkpoint_step"]),
        (&20.into(), &40.into())
    );
    assert_eq!(step("40"), last);
    assert_ne!(early["metrics"], last["metrics"]);
    let trials = evaluate(&folder, &["a", "--split", "train", "--trials", "33"]);
    assert_eq!(trials["model_trials"], 33);
}
