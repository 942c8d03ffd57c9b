//! Neurons with few spikes: which they are, and that runs of before there was a limit go on as they were.

use std::path::Path;

use serde_json::Value;

use crate::cli::Folder;
use crate::runs::{assert_same_checkpoints, folder, manifest, resume, succeed, train};

const STEPS: &str = "train.max_steps = 4";

/// Spikes of each unit in the window of the training trials, counted in the file itself.
fn counted(folder: &Folder, run: &str) -> Vec<(String, String, u64)> {
    let file = hdf5::File::open(folder.path("recording.h5")).unwrap();
    let splits = std::fs::read_to_string(folder.path(run).join("splits.json")).unwrap();
    let splits: Value = serde_json::from_str(&splits).unwrap();
    let mut all = Vec::new();
    for split in splits["sessions"].as_array().unwrap() {
        let id = split["id"].as_str().unwrap();
        let session = file.group("sessions").unwrap().group(id).unwrap();
        let read = |name: &str| session.dataset(name).unwrap().read_raw::<f64>().unwrap();
        let (spikes, align) = (read("units/spike_times"), read("trials/align_time"));
        let ends = session
            .dataset("units/spike_times_index")
            .unwrap()
            .read_raw::<u64>()
            .unwrap();
        let names = session.dataset("units/id").unwrap();
        let names = names.read_raw::<hdf5::types::VarLenUnicode>().unwrap();
        let train: Vec<usize> = split["train"]
            .as_array()
            .unwrap()
            .iter()
            .map(|k| k.as_u64().unwrap() as usize)
            .collect();
        let mut start = 0;
        for (name, end) in names.iter().zip(ends) {
            let own = &spikes[start..end as usize];
            start = end as usize;
            // The window of the configuration, -40 to 80 ms; a spike on an edge belongs to the later bin, however it is rounded.
            let within = |t: &f64| {
                let is_within = |k: &usize| (-0.04 - 1e-9..0.08 - 1e-9).contains(&(t - align[*k]));
                train.iter().any(is_within)
            };
            let n = own.iter().filter(|t| within(t)).count() as u64;
            all.push((id.to_owned(), name.to_string(), n));
        }
    }
    all
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn neurons_with_few_spikes_are_listed_by_the_run_its_metrics_and_its_report() {
    let folder = folder();
    let run = train(&folder, "a", &[STEPS, "statistics.min_spikes = 30"]);
    let mut expected: Vec<_> = counted(&folder, "a").into_iter().filter(|(.., n)| *n < 30).collect();
    assert!((5..43).contains(&expected.len()), "{} of 48", expected.len());
    let mut found: Vec<_> = manifest(&folder, "a")
        .few_spikes
        .into_iter()
        .map(|few| (few.session, few.unit, few.spikes))
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    let told = format!(
        "{} of 48 neurons have fewer than 30 spikes in the training trials",
        expected.len()
    );
    assert!(run.stdout.contains(&told), "{}", run.stdout);
    // They are fitted, so nothing is left out; the log says how many each session has.
    assert!(manifest(&folder, "a").left_out.is_empty());
    let logged = run.stderr.matches("(statistics.min_spikes): less weight").count();
    assert_eq!(logged, 2, "{}", run.stderr);

    succeed(&folder, &["evaluate", "a", "--trials", "12"]);
    let metrics = json(&folder.path("a/metrics.json"));
    assert_eq!(metrics["few_spikes"].as_array().unwrap().len(), expected.len());
    assert!(metrics["notes"][0].as_str().unwrap().starts_with(&told), "{metrics}");
    let loss = metrics["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["name"] == "neuron_loss")
        .unwrap();
    assert_eq!(loss["n"], 48 - expected.len());
    let page = std::fs::read_to_string(folder.path("a/report/index.html")).unwrap();
    let (session, unit, n) = &expected[0];
    assert!(
        page.contains(&format!("{session}/{unit}, area area")),
        "{session}/{unit}"
    );
    assert!(page.contains(&format!(": {n} spikes</li>")));
    // The limit is part of what is fitted.
    train(&folder, "b", &[STEPS]);
    assert!(manifest(&folder, "b").few_spikes.is_empty());
    let (a, b) = (
        folder.path("a/checkpoints/best.ckpt"),
        folder.path("b/checkpoints/best.ckpt"),
    );
    assert_ne!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
}

#[test]
fn a_run_from_before_there_was_a_limit_goes_on_without_one() {
    let folder = folder();
    train(&folder, "whole", &["train.max_steps = 40"]);
    train(&folder, "old", &["train.max_steps = 20"]);
    let path = folder.path("old/run.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let old = text.replace("min_spikes = 0\n", "");
    assert_ne!(old, text);
    std::fs::write(&path, old).unwrap();
    resume(&folder, "old", &["train.max_steps = 40"]);
    assert_same_checkpoints(&folder, "whole", "old", 40);
    // And is evaluated so.
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("min_spikes = 0\n"), "{text}");
    std::fs::write(&path, text.replace("min_spikes = 0\n", "")).unwrap();
    for run in ["whole", "old"] {
        succeed(&folder, &["evaluate", run, "--trials", "12"]);
    }
    let metrics = |run: &str| json(&folder.path(run).join("metrics.json"))["metrics"].clone();
    assert_eq!(metrics("whole"), metrics("old"));
}
