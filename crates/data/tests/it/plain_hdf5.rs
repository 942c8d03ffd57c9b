//! HDF5 files without a format, against what h5py reads from them.

use std::path::{Path, PathBuf};
use std::process::Command;

use data::Timing;
use data::import::{Column, ImportPlan, Layout, ReadOptions, Source, SourceSummary, detect, read};
use hdf5::{File, H5Type};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{assert_numbers, assert_says, numbers, python, shared, wanting, warnings};

fn run_python(python: &Path, arguments: &[&Path]) {
    let script = format!("{}/../../tests/python/make_hdf5.py", crate::common::manifest_dir());
    let output = Command::new(python).arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// All datasets of a file as h5py reads them.
fn h5py_reads(python: &Path, path: &Path) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("datasets.json");
    run_python(python, &[path, &out]);
    serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap()
}

fn reading(path: &Path, series: &[&str]) -> Result<Source, String> {
    let options = ReadOptions {
        series: wanting(series),
        ..ReadOptions::default()
    };
    read(path, &options).map_err(|error| error.to_string())
}

/// Spike times as a list of all and the end of each unit, as they are stored.
#[track_caller]
fn assert_trains(found: &[Vec<f64>], times: &Value, ends: &Value) {
    let (times, ends) = (numbers(times), numbers(ends));
    assert_eq!(found.len(), ends.len());
    assert_eq!(found.concat(), times);
    let mut end = 0;
    for (unit, expected) in found.iter().zip(&ends) {
        end += unit.len();
        assert_eq!(end as f64, *expected);
    }
}

fn texts(value: &Value) -> Column {
    let texts = value.as_array().unwrap().iter();
    Column::Texts(texts.map(|text| text.as_str().unwrap().to_owned()).collect())
}

/// Samples of all channels, row by row.
fn stored(source: &Source, name: &str) -> Vec<f64> {
    let samples = source.series[name].samples.as_ref().unwrap();
    samples.values.iter().map(|&value| f64::from(value)).collect()
}

/// As numbers of 32 bits hold them.
fn rounded(value: &Value) -> Vec<f64> {
    numbers(value).iter().map(|&value| f64::from(value as f32)).collect()
}

#[test]
fn the_linear_track_is_read_and_imported_value_by_value() {
    let (Some(path), Some(python)) = (shared("data/nelpy_linear_track/linear_track.h5"), python()) else {
        return;
    };
    assert_eq!(detect(&path).unwrap(), Layout::Hdf5);
    let expected = h5py_reads(&python, &path);
    assert_eq!(
        expected.as_object().unwrap().len(),
        5,
        "the file has another dataset, which is to be compared too"
    );
    let source = reading(&path, &["position/xy"]).unwrap();
    assert_eq!((source.id.as_str(), source.n_units()), ("linear_track", 31));
    assert_trains(
        &source.spikes_s,
        &expected["units/spike_times"],
        &expected["units/spike_times_index"],
    );
    let tetrode = Column::Numbers(numbers(&expected["units/tetrode"]));
    assert_eq!(
        source
            .units
            .names()
            .zip([source.units.get("tetrode")])
            .collect::<Vec<_>>(),
        [("tetrode", Some(&tetrode))]
    );
    let position = &source.series["position/xy"];
    assert_eq!(
        (position.shape, position.unit.as_str()),
        ((118_965, 2), "camera pixels")
    );
    assert_numbers(
        &stored(&source, "position/xy"),
        &numbers(&expected["position/xy"]),
        "xy",
    );
    let times = numbers(&expected["position/time"]);
    assert_eq!(
        position.samples.as_ref().unwrap().timing,
        Timing::Timestamps(times.clone())
    );
    assert_eq!((source.series.len(), source.trials.as_ref()), (1, None));
    assert_eq!(warnings(&source), "");

    // Nothing of it changes on the way into a recording, but for a sample that is not after the one before.
    let plan = "[trials]\nevery_s = 10.0\n[behaviour.x]\nseries = '/position/xy'\nchannel = 0\n\
                [behaviour.y]\nseries = 'position/xy'\nchannel = 1\n";
    let plan = ImportPlan::from_toml("plan", plan).unwrap();
    let (recording, _) = plan.apply(vec![source]).unwrap();
    let session = &recording.sessions[0];
    let data::Activity::SpikeTimes { times_s, .. } = &session.activity else {
        panic!("spike times");
    };
    assert_trains(
        times_s,
        &expected["units/spike_times"],
        &expected["units/spike_times_index"],
    );
    let xy = numbers(&expected["position/xy"]);
    let is_kept = |i: &usize| *i == 0 || times[*i] > times[*i - 1];
    let kept: Vec<usize> = (0..times.len()).filter(is_kept).collect();
    assert_eq!(kept.len(), 118_964, "one time is there twice");
    for (channel, name) in ["x", "y"].into_iter().enumerate() {
        let data::BehaviourSamples::Continuous { values, timing } = &session.behaviour[name].samples else {
            panic!("samples");
        };
        let values: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
        let expected: Vec<f64> = kept.iter().map(|&i| xy[2 * i + channel]).collect();
        assert_numbers(&values, &expected, name);
        let expected = kept.iter().map(|&i| times[i]).collect();
        assert_eq!(timing, &Timing::Timestamps(expected));
    }
}

fn made(name: &str) -> Option<(TempDir, PathBuf, Value)> {
    let python = python()?;
    let folder = tempfile::tempdir().unwrap();
    run_python(&python, &[folder.path()]);
    let path = folder.path().join(name);
    let expected = h5py_reads(&python, &path);
    Some((folder, path, expected))
}

#[test]
fn tables_series_and_intervals_are_what_h5py_reads() {
    let Some((_folder, path, expected)) = made("ends.h5") else {
        return;
    };
    let wanted = ["position/xy", "/lfp", "jaw", "eye/pupil", "eye/open"];
    let source = reading(&path, &wanted).unwrap();
    assert_eq!(source.id, "mouse7_monday");
    assert_eq!(source.unit_ids, ["11", "4", "9", "30"]);
    assert_trains(
        &source.spikes_s,
        &expected["units/spike_times"],
        &expected["units/spike_times_index"],
    );
    assert_eq!(source.unit_observed_s, Some(vec![vec![(0.0, 60.0)]; 4]));
    let mut names: Vec<&str> = source.units.names().collect();
    names.sort_unstable();
    assert_eq!(names, ["area", "depth", "good", "id", "layer"]);
    let column = |name: &str| source.units.get(name).unwrap();
    assert_eq!(column("area"), &texts(&expected["units/area"]));
    assert_eq!(column("depth"), &Column::Numbers(numbers(&expected["units/depth"])));
    assert_eq!(column("id"), &Column::Numbers(numbers(&expected["units/id"])));
    assert_eq!(column("good"), &Column::Flags(vec![true, true, false, true]));
    assert_eq!(
        column("layer"),
        &Column::Texts(["L23", "L5", "L5", "L23"].map(str::to_owned).to_vec())
    );

    let trials = source.trials.as_ref().unwrap();
    let column = |name: &str| trials.get(name).unwrap();
    for name in ["start_time", "stop_time", "go_cue"] {
        let Column::Numbers(found) = column(name) else {
            panic!("{name}: numbers");
        };
        assert_numbers(found, &numbers(&expected[format!("trials/{name}")]), name);
    }
    assert_eq!(column("choice"), &texts(&expected["trials/choice"]));
    let position = numbers(&expected["trials/position"]);
    for part in 0..3 {
        let expected: Vec<f64> = position.iter().skip(part).step_by(3).copied().collect();
        assert_eq!(column(&format!("position_{part}")), &Column::Numbers(expected));
    }
    let large = (0..8_u64).map(|n| ((1 << 60) + n).to_string()).collect();
    assert_eq!(column("large"), &Column::Texts(large));
    assert_eq!(column("rewarded").kind(), "flags");

    assert_numbers(
        &stored(&source, "position/xy"),
        &rounded(&expected["position/xy"]),
        "xy",
    );
    assert_eq!(source.series["position/xy"].channels, ["x", "y"]);
    assert_numbers(&stored(&source, "jaw"), &rounded(&expected["series/jaw"]), "jaw");
    assert_eq!(
        (source.series["jaw"].unit.as_str(), source.series["jaw"].rate_hz),
        ("mm", Some(10.0))
    );
    // Stored by channel.
    let lfp = numbers(&expected["lfp"]);
    let turned: Vec<f64> = (0..900).flat_map(|i| [lfp[i], lfp[900 + i]]).collect();
    assert_eq!(source.series["lfp"].shape, (900, 2));
    assert_numbers(&stored(&source, "lfp"), &turned, "lfp");
    let timing = |name: &str| &source.series[name].samples.as_ref().unwrap().timing;
    assert_eq!(
        timing("lfp"),
        &Timing::Rate {
            rate_hz: 15.0,
            start_s: 0.25
        }
    );
    assert_eq!(
        timing("eye/pupil"),
        &Timing::Timestamps(numbers(&expected["eye/pupil_timestamps"]))
    );
    assert_eq!(timing("eye/open"), &Timing::Timestamps(numbers(&expected["eye/t"])));
    let open = expected["eye/open"].as_array().unwrap().iter();
    let open: Vec<f64> = open
        .map(|value| f64::from(u8::from(value.as_bool().unwrap())))
        .collect();
    assert_numbers(&stored(&source, "eye/open"), &open, "open");

    let laser = &source.intervals["laser"];
    assert_eq!((laser.n_rows(), laser.names().count()), (2, 3));
    assert_eq!(laser.get("power_mw"), Some(&Column::Numbers(vec![3.0, 5.0])));
    let others: Vec<(&str, &str)> = source.arrays.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(
        others,
        [
            ("calcium", "shape [5, 77], floating-point numbers"),
            ("eye/t", "shape [50], floating-point numbers"),
            ("images", "shape [3, 4, 5], integers"),
            ("notes", "shape [], text"),
            ("position/time", "shape [500], floating-point numbers"),
        ]
    );
    let said = warnings(&source);
    assert_says(&said, &["/units: left out, because they are no columns: waveform_mean"]);
    assert_says(
        &said,
        &["/trials/large: 1152921504606846976 is a whole number above 2^53"],
    );
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[test]
fn spikes_by_cluster_and_in_a_dataset_for_each_unit_are_what_h5py_reads() {
    let Some((folder, path, expected)) = made("clusters.h5") else {
        return;
    };
    let source = reading(&path, &[]).unwrap();
    assert_eq!(source.unit_ids, ["3", "5", "8", "70000"]);
    let (times, clusters) = (numbers(&expected["spike_times"]), numbers(&expected["spike_clusters"]));
    for (id, found) in source.unit_ids.iter().zip(&source.spikes_s) {
        let of_it = times
            .iter()
            .zip(&clusters)
            .filter(|(_, cluster)| cluster.to_string() == *id);
        assert_eq!(found, &of_it.map(|(time, _)| *time).collect::<Vec<_>>(), "{id}");
    }
    let areas = ["C", "D", "B", "A"].map(str::to_owned).to_vec();
    assert_eq!(source.units.get("area"), Some(&Column::Texts(areas)));
    let said = warnings(&source);
    assert_says(&said, &["/spike_times: holds whole numbers", "clock.spikes_per_s"]);
    assert_says(&said, &["1 unit without a spike: 5"]);

    let path = folder.path().join("each.h5");
    let expected = h5py_reads(&python().unwrap(), &path);
    let source = reading(&path, &[]).unwrap();
    assert_eq!(source.unit_ids, (0..12).map(|n| n.to_string()).collect::<Vec<_>>());
    for (id, found) in source.unit_ids.iter().zip(&source.spikes_s) {
        assert_eq!(found, &numbers(&expected[format!("units/spike_times/{id}")]), "{id}");
    }
    let depth = Column::Numbers(numbers(&expected["units/depth"]));
    assert_eq!(source.units.get("depth"), Some(&depth));
}

/// Two units with three spikes, changed by `edit`.
fn edited(edit: impl FnOnce(&File)) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    let file = File::create(&path).unwrap();
    file.create_group("units").unwrap();
    put(&file, "units/spike_times", &[0.5, 0.25, 0.75]);
    put(&file, "units/spike_times_index", &[1_i64, 3]);
    put(&file, "pos/x", &[1.0, 2.0, 3.0]);
    put(&file, "pos/time", &[0.0, 0.5, 1.0]);
    edit(&file);
    file.close().unwrap();
    (folder, path)
}

fn put<T: H5Type>(file: &File, name: &str, values: &[T]) {
    if let Some((group, _)) = name.rsplit_once('/')
        && file.group(group).is_err()
    {
        file.create_group(group).unwrap();
    }
    file.new_dataset_builder().with_data(values).create(name).unwrap();
}

#[track_caller]
fn refused(series: &[&str], parts: &[&str], edit: impl FnOnce(&File)) {
    let (_folder, path) = edited(edit);
    let message = reading(&path, series).unwrap_err();
    assert_says(&message, &["a.h5: 1 problem\n"]);
    assert_says(&message, parts);
}

#[test]
fn what_disagrees_is_refused_with_its_path() {
    let (_folder, path) = edited(|_| ());
    let source = reading(&path, &["pos/x"]).unwrap();
    assert_eq!(source.spikes_s, [vec![0.5], vec![0.25, 0.75]]);
    assert_eq!(stored(&source, "pos/x"), [1.0, 2.0, 3.0]);
    refused(&[], &["/units/area: 3 rows; /units/spike_times_index has 2"], |file| {
        put(file, "units/area", &[1, 2, 3]);
    });
    refused(&[], &["give either spike_times_index"], |file| {
        put(file, "units/spike_clusters", &[1, 2, 3]);
    });
    refused(&[], &["/units/spike_times_index: unit 1 ends at 4"], |file| {
        file.unlink("units/spike_times_index").unwrap();
        put(file, "units/spike_times_index", &[1_i64, 4]);
    });
    refused(&[], &["/units/spike_times: the time of spike 0 is NaN"], |file| {
        file.unlink("units/spike_times").unwrap();
        put(file, "units/spike_times", &[f64::NAN, 1.0, 2.0]);
    });
    refused(&[], &["/units/spike_clusters: value 2 is -1"], |file| {
        file.unlink("units/spike_times_index").unwrap();
        put(file, "units/spike_clusters", &[1, 2, -1]);
    });
    refused(&[], &["/trials/stop_time: 2 rows; /trials/start_time has 3"], |file| {
        put(file, "trials/start_time", &[0.0, 1.0, 2.0]);
        put(file, "trials/stop_time", &[1.0, 2.0]);
    });
    refused(&["pos/y"], &["/pos/y: shape [2], ", "no series", "rate_hz"], |file| {
        put(file, "pos/y", &[1.0, 2.0]);
    });
    refused(&[], &["a column 'id' has to say which row"], |file| {
        for name in ["units/spike_times", "units/spike_times_index"] {
            file.unlink(name).unwrap();
        }
        put(file, "units/spike_times/a", &[1.0]);
        put(file, "units/spike_times/b", &[1.0]);
        put(file, "units/depth", &[1.0, 2.0]);
    });
    refused(&[], &["/units/spike_times: a ", "oft link"], |file| {
        file.unlink("units/spike_times").unwrap();
        file.link_soft("/pos/x", "units/spike_times").unwrap();
    });
    refused(&[], &["observed_start_s: give both"], |file| {
        put(file, "observed_start_s", &[1.0]);
    });
}

#[test]
fn times_that_are_no_seconds_are_told_with_the_key_that_says_so() {
    let unit_of = |name: &'static str, unit: &'static str| {
        move |file: &File| {
            let text: hdf5::types::VarLenUnicode = unit.parse().unwrap();
            let data = file.dataset(name).unwrap();
            let attribute = data.new_attr::<hdf5::types::VarLenUnicode>().create("units").unwrap();
            attribute.write_scalar(&text).unwrap();
        }
    };
    for (name, unit, key) in [
        ("units/spike_times", "ms", "clock.spikes_per_s = 1000"),
        ("units/spike_times", "samples", "clock.spikes_per_s"),
        ("pos/time", "µs", "clock.traces_per_s = 1000000"),
    ] {
        let (_folder, path) = edited(unit_of(name, unit));
        let source = reading(&path, &["pos/x"]).unwrap();
        assert_says(&warnings(&source), &[name, unit, key]);
        assert_eq!(source.warnings.len(), 1);
    }
    let (_folder, path) = edited(unit_of("units/spike_times", "Seconds"));
    assert_eq!(warnings(&reading(&path, &[]).unwrap()), "");
}

#[test]
fn a_file_without_spike_times_is_listed_and_its_import_says_what_there_is() {
    let Some(path) = shared("data/retina/retina_bars.h5") else {
        return;
    };
    let source = reading(&path, &[]).unwrap();
    let text = SourceSummary::of(&source).text();
    assert_says(
        &text,
        &[
            "other arrays",
            "  train_repeated/spikes: shape [54, 2000, 6], integers",
            "units: no spike times are known by their name",
            "--spikes",
        ],
    );
    let plan = ImportPlan::from_toml("plan", "trials.every_s = 1.0").unwrap();
    let message = plan.apply(vec![source]).unwrap_err().to_string();
    assert_says(
        &message,
        &["1 problem", "there are ", "train_repeated/spikes", "--spikes"],
    );
}

#[test]
fn networks_of_this_program_are_no_recordings_and_groups_in_circles_end() {
    let (_folder, path) = edited(|file| {
        let text: hdf5::types::VarLenUnicode = "snnfit-parameters".parse().unwrap();
        let attribute = file.new_attr::<hdf5::types::VarLenUnicode>().create("format").unwrap();
        attribute.write_scalar(&text).unwrap();
    });
    let message = reading(&path, &[]).unwrap_err();
    assert_says(&message, &["not a snnfit recording", "it is a network"]);
    let (_folder, path) = edited(|file| {
        let group = file.create_group("a/b").unwrap();
        group.link_hard("/", "root").unwrap();
        file.link_soft("/pos", "soft").unwrap();
        file.link_external("/etc/passwd", "x", "external").unwrap();
    });
    let source = reading(&path, &[]).unwrap();
    assert_eq!(source.n_units(), 2);
    assert!(source.series.contains_key("pos/x"), "{:?}", source.series.keys());
    for (name, said) in [("soft", "soft link"), ("external", "link to another file")] {
        let what = source.arrays[name].to_lowercase();
        assert!(what.contains(said), "{what}");
    }
}

#[test]
fn times_beside_samples_count_more_than_a_rate_among_attributes_and_disagreement_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lfp.h5");
    let file = File::create(&path).unwrap();
    let put = |path: &str, values: &[f64]| file.new_dataset_builder().with_data(values).create(path).unwrap();
    file.create_group("units/spike_times").unwrap();
    put("units/spike_times/0", &[0.5, 1.5]);
    let (times, whole): (Vec<f64>, Vec<i64>) = (0..1000).map(|i| (100.0 + 0.001 * f64::from(i), i64::from(i))).unzip();
    for (group, rate_hz) in [("lfp", 1.0), ("same", 1000.0)] {
        file.create_group(group).unwrap();
        put(&format!("{group}/time"), &times);
        let data = put(&format!("{group}/data"), &vec![0.0; 1000]);
        for (name, value) in [
            ("sampling_rate", rate_hz),
            ("start_s", if group == "same" { 100.0 } else { 0.0 }),
        ] {
            data.new_attr::<f64>()
                .create(name)
                .unwrap()
                .write_scalar(&value)
                .unwrap();
        }
    }
    file.create_group("us").unwrap();
    file.new_dataset_builder().with_data(&whole).create("us/time").unwrap();
    put("us/data", &vec![0.0; 1000]);
    file.close().unwrap();
    let source = reading(&path, &["lfp/data", "same/data", "us/data"]).unwrap();
    for name in ["lfp/data", "same/data"] {
        let samples = source.series[name].samples.as_ref().unwrap();
        assert_eq!(samples.timing, Timing::Timestamps(times.clone()), "{name}");
    }
    let said = warnings(&source);
    assert_says(
        &said,
        &[
            "has times, from 100 s on at 1000",
            "and a rate, 1 Hz from 0 s on; the times count",
        ],
    );
    assert_says(
        &said,
        &["/us/time: holds whole numbers, which are taken for seconds (hint: clock.traces_per_s"],
    );
    assert_eq!(said.lines().count(), 2, "{said}");
}
