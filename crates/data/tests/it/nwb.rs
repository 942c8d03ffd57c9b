//! NWB files, against what pynwb and h5py read from them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use data::Timing;
use data::import::{Column, SeriesRequest, Source, Table, is_nwb, read_nwb};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{python, shared};

/// Values in f32 may differ by the rounding of two factors that are multiplied in another order.
const F32_RELATIVE: f64 = 3e-7;

/// Runs the script that writes and describes NWB files.
fn make_nwb(python: &Path, arguments: &[&Path]) {
    let script = format!("{}/../../tests/python/make_nwb.py", crate::common::manifest_dir());
    let output = Command::new(python)
        .arg("-W")
        .arg("ignore")
        .arg(&script)
        .args(arguments)
        .output();
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Files that pynwb wrote, made once; `None` without Python.
fn made() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<TempDir>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let python = python()?;
        let folder = tempfile::tempdir().unwrap();
        make_nwb(&python, &[folder.path()]);
        Some(folder)
    });
    folder.as_ref().map(TempDir::path)
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    let texts = value.as_array().unwrap().iter();
    texts.map(|text| text.as_str().unwrap()).collect()
}

/// Numbers of a JSON list, of which null is NaN.
fn numbers(value: &Value) -> Vec<f64> {
    let number = |value: &Value| {
        if value.is_null() {
            f64::NAN
        } else {
            value.as_f64().unwrap()
        }
    };
    value.as_array().unwrap().iter().map(number).collect()
}

fn assert_same(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!(
            a == b || (a.is_nan() && b.is_nan()),
            "{what}, value {i}: {a}, expected {b}"
        );
    }
}

/// Every column of a table, and no other.
fn assert_table(table: &Table, expected: &Value, what: &str) {
    let columns = expected.as_object().unwrap();
    let mut names: Vec<&str> = table.names().collect();
    let mut expected_names: Vec<&str> = columns.keys().map(String::as_str).collect();
    names.sort_unstable();
    expected_names.sort_unstable();
    assert_eq!(names, expected_names, "{what}");
    for (name, values) in columns {
        let what = format!("{what}, column {name}");
        match table.get(name).unwrap() {
            Column::Numbers(found) => assert_same(found, &numbers(values), &what),
            Column::Texts(found) => assert_eq!(found, &texts(values), "{what}"),
            Column::Flags(found) => {
                let flags: Vec<bool> = values
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|v| v.as_bool().unwrap())
                    .collect();
                assert_eq!(found, &flags, "{what}");
            }
        }
    }
}

fn assert_units(source: &Source, expected: &Value) {
    assert_table(&source.units, &expected["columns"], "units");
    let ids = numbers(&expected["columns"]["id"]);
    assert_eq!(source.unit_ids, ids.iter().map(f64::to_string).collect::<Vec<_>>());
    let spikes = expected["spikes"].as_array().unwrap();
    assert_eq!(source.n_units(), spikes.len());
    for (unit, (found, expected)) in source.spikes_s.iter().zip(spikes).enumerate() {
        assert_same(found, &numbers(expected), &format!("spikes of unit {unit}"));
    }
    let observed = source.unit_observed_s.as_ref();
    assert_eq!(observed.is_some(), !expected["observed"].is_null());
    for (unit, found) in observed.into_iter().flatten().enumerate() {
        let found: Vec<f64> = found.iter().flat_map(|&(start, stop)| [start, stop]).collect();
        let intervals = expected["observed"][unit].as_array().unwrap();
        let expected: Vec<f64> = intervals.iter().flat_map(numbers).collect();
        assert_same(&found, &expected, &format!("observation of unit {unit}"));
    }
}

/// Names of the traces, as a user would ask for them: by path.
fn traces(expected: &Value) -> SeriesRequest {
    let series = expected["series"].as_object().unwrap().iter();
    SeriesRequest::of(
        series
            .filter(|(_, one)| one["sort"] == "trace")
            .map(|(path, _)| path.clone()),
    )
}

fn assert_series(source: &Source, expected: &Value) {
    let all = expected["series"].as_object().unwrap();
    assert_eq!(source.series.len(), all.len(), "{:?}", source.series.keys());
    for (path, expected) in all {
        // Names are unique but for one.
        let name = path.rsplit('/').next().unwrap();
        let key = if source.series.contains_key(name) { name } else { path };
        let series = source.series.get(key).unwrap_or_else(|| panic!("{path} is not listed"));
        let shape = numbers(&expected["shape"]);
        assert_eq!([series.shape.0 as f64, series.shape.1 as f64], *shape, "{path}");
        assert_eq!(series.unit, expected["unit"].as_str().unwrap(), "{path}");
        assert_eq!(series.rate_hz, expected["rate_hz"].as_f64(), "{path}");
        let is_trace = expected["sort"] == "trace";
        assert_eq!(series.samples.is_some(), is_trace, "{path}");
        let Some(samples) = &series.samples else { continue };
        match &samples.timing {
            Timing::Rate { rate_hz, start_s } => {
                assert_eq!(
                    (Some(*rate_hz), Some(*start_s)),
                    (expected["rate_hz"].as_f64(), expected["start_s"].as_f64())
                );
            }
            Timing::Timestamps(times) => assert_same(times, &numbers(&expected["timestamps"]), path),
        }
        let values: Vec<f64> = expected["values"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(numbers)
            .collect();
        assert_eq!(samples.values.len(), values.len(), "{path}");
        for (i, (&found, expected)) in samples.values.iter().zip(values).enumerate() {
            let error = (f64::from(found) - expected).abs();
            assert!(
                error <= F32_RELATIVE * expected.abs(),
                "{path}, value {i}: {found}, expected {expected}"
            );
        }
    }
}

/// Everything in a file, against its description.
fn assert_as_described(path: &Path, expected: &Value) -> Source {
    assert!(is_nwb(path).unwrap());
    let source = read_nwb(path, &traces(expected)).unwrap();
    assert_eq!(source.id, expected["id"].as_str().unwrap());
    assert_eq!(source.format, format!("NWB {}", expected["version"].as_str().unwrap()));
    assert_units(&source, &expected["units"]);
    assert_eq!(source.trials.is_some(), !expected["trials"].is_null());
    if let Some(trials) = &source.trials {
        assert_table(trials, &expected["trials"], "trials");
    }
    for (name, table) in expected["intervals"].as_object().unwrap() {
        assert_table(&source.intervals[name], table, name);
    }
    assert_series(&source, expected);
    source
}

fn warnings(source: &Source) -> String {
    let warnings: Vec<String> = source.warnings.iter().map(ToString::to_string).collect();
    warnings.join("\n")
}

#[test]
fn every_value_that_pynwb_wrote_is_read() {
    let Some(folder) = made() else { return };
    let path = folder.join("full.nwb");
    let source = assert_as_described(&path, &json(&folder.join("full.json")));
    assert_eq!((source.id.as_str(), source.n_units()), ("mouse7-2024-05-01", 50));
    let said = warnings(&source);
    for part in [
        "/units: columns with several values in a row are left out: isi_violations, waveform_mean",
        "/intervals/trials: columns with several values in a row are left out: lick_times",
        "/units/electrodes: electrodes of ",
        "are in several locations (first: unit '",
    ] {
        assert!(said.contains(part), "'{part}' is not in: {said}");
    }
    assert_eq!(source.warnings.len(), 3, "{said}");

    // What pynwb has no table for.
    let notes = &source.intervals["notes"];
    assert_eq!(notes.get("timestamps"), Some(&Column::Numbers(vec![0.1, 9.0])));
    assert_eq!(
        notes.get("data"),
        Some(&Column::Texts(vec!["start".to_owned(), "stop".to_owned()]))
    );
    let rewards = &source.intervals["rewards"];
    assert_eq!(
        rewards.get("timestamps"),
        Some(&Column::Numbers((0..6).map(|k| f64::from(k) + 0.5).collect()))
    );
    let running = &source.intervals["running"];
    assert_eq!(running.get("start_time"), Some(&Column::Numbers(vec![0.0, 2.0, 2.5])));
    assert_eq!(running.get("stop_time"), Some(&Column::Numbers(vec![1.0, 3.0, 4.0])));
    assert_eq!(running.get("data"), Some(&Column::Numbers(vec![1.0, 2.0, 1.0])));
    let others: Vec<_> = source.intervals.keys().map(String::as_str).collect();
    assert_eq!(
        others,
        [
            "beeps",
            "epochs",
            "flashes",
            "lick_bouts",
            "notes",
            "optogenetic_epochs",
            "rewards",
            "running"
        ]
    );
    let epochs = source.intervals["epochs"].get("tags").unwrap();
    assert_eq!([epochs.text(0), epochs.text(1)], ["training;first half", "test"]);
}

#[test]
fn a_file_of_nothing_but_spikes_and_one_of_a_thousand_units_are_read() {
    let Some(folder) = made() else { return };
    let one = assert_as_described(&folder.join("one_unit.nwb"), &json(&folder.join("one_unit.json")));
    assert_eq!(one.spikes_s, [vec![0.25, 0.5, 7.0]]);
    assert_eq!((&one.trials, one.intervals.len(), one.series.len()), (&None, 0, 0));
    assert_eq!(one.warnings, []);
    let many = assert_as_described(&folder.join("many_units.nwb"), &json(&folder.join("many_units.json")));
    assert_eq!(many.n_units(), 1000);
}

#[test]
fn series_are_listed_always_and_loaded_by_name_or_path_where_wanted() {
    let Some(folder) = made() else { return };
    let path = folder.join("full.nwb");
    let listed = read_nwb(&path, &SeriesRequest::none()).unwrap();
    assert_eq!(listed.series.len(), 12);
    assert!(listed.series.values().all(|series| series.samples.is_none()));
    let some = read_nwb(
        &path,
        &SeriesRequest::of(["pupil_diameter", "stimulus/presentation/jaw"]),
    )
    .unwrap();
    let loaded: Vec<_> = some
        .series
        .iter()
        .filter(|(_, series)| series.samples.is_some())
        .collect();
    let loaded: Vec<_> = loaded.into_iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(loaded, ["/stimulus/presentation/jaw", "pupil_diameter"]);
    let wanted = SeriesRequest::of(["jaw", "pupil_diametre", "notes", "video"]);
    let message = read_nwb(&path, &wanted).unwrap_err().to_string();
    for part in [
        "3 problems",
        "series 'jaw': the file has 2 series of this name; name one by its path: /acquisition/jaw, /stimulus/presentation/jaw",
        "/acquisition/notes: events, which are no trace",
        "/acquisition/video: images",
    ] {
        assert!(message.contains(part), "'{part}' is not in: {message}");
    }
    // Another session may have it.
    let source = read_nwb(&path, &SeriesRequest::of(["pupil_diametre"])).unwrap();
    let told = "series 'pupil_diametre': the file has no such series; did you mean 'pupil_diameter'?";
    assert!(
        source
            .warnings
            .iter()
            .any(|warning| warning.to_string().starts_with(told))
    );
    // By name, by path, with slashes or without: what was asked for is found.
    let cases = [
        ("pupil_diameter", true),
        ("stimulus/presentation/jaw", true),
        ("/stimulus/presentation/jaw", true),
        ("x", false),
    ];
    for (wanted, is_there) in cases {
        let source = read_nwb(&path, &SeriesRequest::of([wanted])).unwrap();
        let series = source.series_named(wanted);
        assert_eq!(
            series.is_some_and(|series| series.samples.is_some()),
            is_there,
            "{wanted}"
        );
    }
}

#[test]
fn a_recorded_file_is_read_as_published() {
    let Some(path) = shared("data/pynapple_nwb/A8604-211122.nwb") else {
        return;
    };
    assert!(is_nwb(&path).unwrap());
    let source = read_nwb(&path, &SeriesRequest::none()).unwrap();
    assert_eq!(
        (source.id.as_str(), source.format.as_str()),
        ("A8604-211122", "NWB 2.4.0")
    );
    assert_eq!(source.unit_ids, ["6", "191", "206"]);
    // As h5py reads them.
    let counts: Vec<usize> = source.spikes_s.iter().map(Vec::len).collect();
    assert_eq!(counts.iter().sum::<usize>(), 21354);
    assert_eq!(counts, GOLDEN.map(|(count, _, _, _)| count));
    for (train, (_, first, last, sum)) in source.spikes_s.iter().zip(GOLDEN) {
        assert_eq!((train.first(), train.last()), (Some(&first), Some(&last)));
        // Sums of 10^4 numbers may differ in the last digits by their order.
        assert!((train.iter().sum::<f64>() / sum - 1.0).abs() < 1e-12);
    }
    assert_eq!(source.units.get("electrode_group.device").unwrap().text(2), "-0");
    assert_eq!((&source.trials, source.series.len()), (&None, 0));
    let epochs = &source.intervals["epochs"];
    assert_eq!(epochs.get("stop_time"), Some(&Column::Numbers(vec![1087.5289])));
    assert_eq!(epochs.get("tags").unwrap().text(0), "wake");

    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let described = folder.path().join("real.json");
    make_nwb(&python, &[Path::new("--read"), &path, &described]);
    assert_as_described(&path, &json(&described));
}

/// Spikes of each unit: number, first, last and sum (s).
const GOLDEN: [(usize, f64, f64, f64); 3] = [
    (11020, 0.030333, 1087.352833, 6196915.002245),
    (4690, 0.874333, 1087.258, 2825367.068651),
    (5644, 0.028133, 1087.221833, 3261870.894303),
];

#[test]
fn what_is_no_nwb_file_is_told_apart_by_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("named.nwb");
    hdf5::File::create(&path).unwrap().close().unwrap();
    assert!(!is_nwb(&path).unwrap());
    let message = read_nwb(&path, &SeriesRequest::none()).unwrap_err().to_string();
    assert!(message.contains("named.nwb: not an NWB file"), "{message}");
    let text: PathBuf = folder.path().join("text.nwb");
    std::fs::write(&text, "not HDF5").unwrap();
    assert!(is_nwb(&text).unwrap_err().to_string().contains("not an HDF5 file"));
}
