//! Folders of ALF files, against what NumPy and pandas read, and folders that are damaged.

use std::path::Path;

use data::Timing;
use data::import::{Column, Source, read_alf};
use serde_json::Value;

use crate::common::{
    arrays, assert_column, assert_numbers, assert_says, folder, npy_bytes, npy_floats, npy_integers, numbers, trains,
    wanting, warnings,
};

fn texts(column: Option<&Column>) -> Vec<String> {
    match column {
        Some(Column::Texts(texts)) => texts.clone(),
        other => panic!("texts, not {other:?}"),
    }
}

fn floats(column: Option<&Column>) -> Vec<f64> {
    match column {
        Some(Column::Numbers(numbers)) => numbers.clone(),
        other => panic!("numbers, not {other:?}"),
    }
}

fn strings(list: &Value) -> Vec<String> {
    let texts = list.as_array().unwrap().iter();
    texts.map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn samples(source: &Source, name: &str, expected: &Value, times: &[f64]) {
    let samples = source.series[name].samples.as_ref().unwrap();
    let values: Vec<f64> = samples.values.iter().map(|&value| f64::from(value)).collect();
    let flat: Vec<f64> = expected
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| {
            if row.is_array() {
                numbers(row)
            } else {
                numbers(&Value::Array(vec![row.clone()]))
            }
        })
        .collect();
    assert_numbers(&values, &flat, name);
    let Timing::Timestamps(found) = &samples.timing else {
        panic!("timestamps")
    };
    assert_eq!(found.len(), times.len());
    for (found, time) in found.iter().zip(times) {
        // One rounding of the line between two knots.
        assert!((found - time).abs() < 1e-12, "{found}, expected {time}");
    }
}

#[test]
fn a_session_of_two_probes_holds_what_numpy_reads() {
    let Some(made) = arrays() else { return };
    let expected = &made.expected["alf"];
    let path = made.path(expected["folder"].as_str().unwrap());
    let names = [
        "wheel.position",
        "leftCamera.ROIMotionEnergy",
        "leftCamera.dlc",
        "eye.area",
        "licks.times",
    ];
    let source = read_alf(&path, &wanting(&names)).unwrap();
    assert_eq!(source.id, "KS014_2019-12-03_001");

    let (mut ids, mut probe, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for (label, n_units) in [("probe00", 5), ("probe01", 7)] {
        let of = |key: &str| &expected["probes"][label][key];
        let from = all.len();
        all.extend(trains(of("trains")));
        ids.extend((0..n_units).map(|n| format!("{label}_{n}")));
        probe.extend(vec![label.to_owned(); n_units]);
        let column = |name: &str| {
            source
                .units
                .get(name)
                .unwrap()
                .select(&(from..from + n_units).collect::<Vec<_>>())
        };
        for name in ["depths", "atlas_id", "label"] {
            assert_numbers(&floats(Some(&column(name))), &numbers(of(name)), name);
        }
        for name in ["acronym", "ks2_label"] {
            assert_eq!(texts(Some(&column(name))), strings(of(name)), "{name}");
        }
    }
    assert_eq!((source.unit_ids.clone(), source.spikes_s.clone()), (ids, all));
    assert_eq!(texts(source.units.get("probe")), probe);

    let trials = source.trials.as_ref().unwrap();
    assert_eq!(trials.n_rows(), 12);
    for (name, column) in expected["trials"].as_object().unwrap() {
        assert_column(trials.get(name), column, name);
    }
    samples(
        &source,
        "wheel.position",
        &expected["wheel"]["values"],
        &numbers(&expected["wheel"]["times"]),
    );
    let camera = &expected["camera"];
    samples(
        &source,
        "leftCamera.ROIMotionEnergy",
        &camera["energy"],
        &numbers(&camera["times"]),
    );
    samples(&source, "leftCamera.dlc", &camera["dlc"], &numbers(&camera["times"]));
    assert_eq!(source.series["leftCamera.dlc"].channels, ["nose_x", "nose_y"]);
    let eye = source.series["eye.area"].samples.as_ref().unwrap();
    let values: Vec<f64> = eye.values.iter().map(|&value| f64::from(value)).collect();
    assert_numbers(&values, &numbers(&expected["eye"]), "eye.area");
    // 99 intervals in 9.9 s.
    let Timing::Rate { rate_hz, start_s } = eye.timing else {
        panic!("a rate")
    };
    assert!((rate_hz - 10.0).abs() < 1e-9 && (start_s - 2.0).abs() < 1e-9);
    let licks = numbers(&expected["licks"]);
    assert_eq!(floats(source.intervals["licks"].get("times")), licks);
    let times = source.series["licks.times"].samples.as_ref().unwrap();
    assert_eq!(times.timing, Timing::Timestamps(licks));
    assert_eq!(floats(source.intervals["spontaneous"].get("stop_time")), [90.0]);

    let said = warnings(&source);
    assert_says(
        &said,
        &[
            "alf/probe00/pykilosort/clusters.waveforms.npy: not read: shape [5, 82, 32]",
            "alf/probe01/clusters.metrics.pqt: not read: a parquet file",
            "pd.read_parquet(\"clusters.metrics.pqt\").to_csv(\"clusters.metrics.csv\", index=False)",
            "alf/probe01/clusters.metrics.csv: no row for 1 of 7 units: 6",
            "alf/probe01/spikes.times.npy: channels have numbers of areas but no acronyms",
            "licks.times.npy: times without values",
        ],
    );
    assert_eq!(source.warnings.len(), 8, "{said}");
}

#[test]
fn series_are_listed_without_their_values() {
    let Some(made) = arrays() else { return };
    let path = made.path(made.expected["alf"]["folder"].as_str().unwrap());
    let source = read_alf(&path.join("alf"), &wanting(&[])).unwrap();
    assert_eq!(source.id, "KS014_2019-12-03_001");
    let list: Vec<_> = source
        .series
        .iter()
        .map(|(name, series)| (name.as_str(), series.shape))
        .collect();
    let expected = [
        ("eye.area", (100, 1)),
        ("leftCamera.ROIMotionEnergy", (25, 1)),
        ("leftCamera.dlc", (25, 2)),
        ("licks.times", (9, 1)),
        ("wheel.position", (40, 1)),
    ];
    assert_eq!(list, expected);
    assert!(source.series.values().all(|series| series.samples.is_none()));
}

#[test]
fn the_folder_of_one_probe_is_a_session_too() {
    let Some(made) = arrays() else { return };
    let expected = &made.expected["alf"];
    let path = made.path(expected["folder"].as_str().unwrap()).join("alf/probe01");
    let source = read_alf(&path, &wanting(&[])).unwrap();
    assert_eq!(source.spikes_s, trains(&expected["probes"]["probe01"]["trains"]));
    assert_eq!(source.unit_ids[..3], ["0", "1", "2"]);
    assert_eq!((source.id.as_str(), source.trials), ("probe01", None));
    assert_eq!(
        floats(source.units.get("depths")),
        numbers(&expected["probes"]["probe01"]["depths"])
    );
}

/// Three spikes of two clusters.
fn good() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("spikes.times.npy", npy_floats(&[0.1, 0.2, 0.3])),
        ("spikes.clusters.npy", npy_integers(&[1, 0, 1])),
        ("clusters.depths.npy", npy_floats(&[10.0, 20.0])),
    ]
}

fn read(files: &[(&'static str, Vec<u8>)], request: &[&str]) -> Result<Source, String> {
    let mut all = good();
    for (name, bytes) in files {
        all.retain(|(known, _)| known != name);
        if !bytes.is_empty() {
            all.push((name, bytes.clone()));
        }
    }
    let folder = folder(&all);
    read_alf(folder.path(), &wanting(request)).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(files: &[(&'static str, Vec<u8>)], parts: &[&str]) {
    assert_says(&read(files, &["wheel.position"]).unwrap_err(), parts);
}

#[test]
fn a_folder_without_whole_spikes_is_refused() {
    let source = read(&[], &[]).unwrap();
    assert_eq!(
        (source.spikes_s, source.warnings),
        (vec![vec![0.2], vec![0.1, 0.3]], vec![])
    );
    refused(
        &[("spikes.times.npy", vec![])],
        &["no spikes.times here or below; the folder has 'clusters.depths.npy', 'spikes.clusters.npy'"],
    );
    refused(
        &[("spikes.clusters.npy", vec![])],
        &["there is no spikes.clusters.npy beside it"],
    );
    refused(
        &[("spikes.times.npy", npy_integers(&[1, 2, 3]))],
        &["spikes.times.npy: holds whole numbers; expected seconds"],
    );
    refused(
        &[("spikes.times.npy", npy_floats(&[0.1, 0.2]))],
        &["spikes.clusters.npy: 3 clusters for 2 spikes of spikes.times.npy"],
    );
    refused(
        &[("spikes.clusters.npy", npy_integers(&[0, 1, 2]))],
        &["spikes.clusters.npy: 1 spikes are of cluster 2; clusters.depths.npy has 2 rows"],
    );
    refused(
        &[("spikes.clusters.npy", npy_bytes("'|O'", false, "(3,)", b"\x80\x04."))],
        &["spikes.clusters.npy: holds Python objects"],
    );
    refused(
        &[
            ("clusters.amps.npy", npy_floats(&[1.0, 2.0, 3.0])),
            ("spikes.times.npy", npy_floats(&[0.1, f64::INFINITY, 0.3])),
        ],
        &[
            "2 problems",
            "clusters.depths.npy: 2 rows; clusters.amps.npy has 3",
            "the time of spike 1 is inf",
        ],
    );
    assert!(read_alf(Path::new("/nonexistent"), &wanting(&[])).is_err());
}

#[test]
fn a_column_that_is_not_read_is_said_and_hides_no_spike() {
    let pickled = npy_bytes("'|O'", false, "(2,)", b"\x80\x04.");
    let source = read(
        &[
            ("clusters.names.npy", pickled),
            ("clusters.metrics.pqt", b"PAR1".to_vec()),
        ],
        &[],
    )
    .unwrap();
    assert_says(
        &warnings(&source),
        &[
            "clusters.names.npy: not read: holds Python objects",
            "clusters.metrics.pqt: not read",
        ],
    );
    assert_eq!(source.units.names().collect::<Vec<_>>(), ["depths"]);
}

#[test]
fn names_may_have_a_probe_a_clock_or_a_namespace() {
    let files = [
        ("spikes.times.npy", vec![]),
        ("spikes.clusters.npy", vec![]),
        ("spikes.times.probe00.npy", npy_floats(&[0.5])),
        ("spikes.clusters.probe00.npy", npy_integers(&[1])),
        ("_x_spikes.times_ephysClock.probe01.npy", npy_floats(&[0.75])),
        ("spikes.clusters.probe01.npy", npy_integers(&[0])),
        ("clusters.good.probe01.npy", npy_bytes("'|b1'", false, "(1,)", &[1])),
    ];
    let source = read(&files, &[]).unwrap();
    assert_eq!(source.unit_ids, ["probe00_0", "probe00_1", "probe01_0"]);
    assert_eq!(source.spikes_s, [vec![], vec![0.5], vec![0.75]]);
    assert_eq!(texts(source.units.get("probe")), ["probe00", "probe00", "probe01"]);
    // Probe 0 has no such flag: what is missing can't be a flag.
    assert_eq!(texts(source.units.get("good")), ["", "", "true"]);
    assert_says(&warnings(&source), &["these times are on the clock 'ephysClock'"]);
}

#[test]
fn spikes_of_several_sorters_are_not_mixed() {
    let file = |time: f64| npy_floats(&[time]);
    let one = npy_integers(&[0]);
    let files = |second: &'static str, clusters: &'static str| {
        folder(&[
            ("alf/probe00/ks2/spikes.times.npy", file(1.0)),
            ("alf/probe00/ks2/spikes.clusters.npy", one.clone()),
            (second, file(2.0)),
            (clusters, one.clone()),
        ])
    };
    let both = files(
        "alf/probe00/ks3/spikes.times.npy",
        "alf/probe00/ks3/spikes.clusters.npy",
    );
    let message = read_alf(both.path(), &wanting(&[])).unwrap_err().to_string();
    assert_says(
        &message,
        &["probe00: several sets of spikes: alf/probe00/ks2/spikes.times.npy, alf/probe00/ks3"],
    );
    let preferred = files(
        "alf/probe00/pykilosort/spikes.times.npy",
        "alf/probe00/pykilosort/spikes.clusters.npy",
    );
    let source = read_alf(preferred.path(), &wanting(&[])).unwrap();
    assert_eq!(
        (source.spikes_s.clone(), &source.unit_ids[..]),
        (vec![vec![2.0]], &["0".to_owned()][..])
    );
    assert_says(
        &warnings(&source),
        &["pykilosort/spikes.times.npy: one of 2 sets of spikes of this probe"],
    );
}

#[test]
fn areas_come_from_the_channel_of_a_cluster() {
    let names = npy_bytes("'|S3'", false, "(3,)", b"VISCA1TH\0");
    let files = [
        ("channels.brainLocationAcronyms_ccf_2017.npy", names.clone()),
        ("clusters.channels.npy", npy_integers(&[2, 0])),
    ];
    let source = read(&files, &[]).unwrap();
    assert_eq!(texts(source.units.get("acronym")), ["TH", "VIS"]);
    refused(
        &[files[0].clone(), ("clusters.channels.npy", npy_integers(&[2, 3]))],
        &["clusters.channels: cluster 1 is on channel 3; channels.brainLocationAcronyms_ccf_2017.npy has 3 channels"],
    );
    let own = npy_bytes("'|S2'", false, "(2,)", b"ABCD");
    let source = read(
        &[("clusters.brainLocationAcronyms_ccf_2017.npy", own), files[0].clone()],
        &[],
    )
    .unwrap();
    assert_eq!(texts(source.units.get("acronym")), ["AB", "CD"]);
}

#[test]
fn trials_that_are_in_a_parquet_file_only_are_refused_with_the_way_out() {
    let parquet = ("_ibl_trials.table.pqt", b"PAR1".to_vec());
    let message = read(
        &[
            parquet.clone(),
            ("_ibl_trials.quiescencePeriod.npy", npy_floats(&[0.5])),
        ],
        &[],
    )
    .unwrap_err();
    assert_says(
        &message,
        &[
            "_ibl_trials.table.pqt: start and end of trials are in this parquet file, which isn't read",
            "import pandas as pd\n",
            "pd.read_parquet(\"_ibl_trials.table.pqt\").to_csv(\"_ibl_trials.table.csv\", index=False)",
        ],
    );
    // Trials that are given besides take their place.
    let mut files = good();
    files.extend([
        parquet.clone(),
        ("_ibl_trials.quiescencePeriod.npy", npy_floats(&[0.5])),
    ]);
    files.push(("trials.csv", b"start_time,stop_time\n0.5,1.5\n".to_vec()));
    let both = folder(&files);
    let options = data::import::ReadOptions {
        trials_table: Some(both.path().join("trials.csv")),
        ..data::import::ReadOptions::default()
    };
    let source = data::import::read(both.path(), &options).unwrap();
    assert_eq!(floats(source.trials.as_ref().unwrap().get("start_time")), [0.5]);
    assert_says(
        &warnings(&source),
        &["_ibl_trials.table.pqt: not read: a parquet file; trials are those of the table that is given"],
    );
    // What those two lines make.
    let table = "intervals_0,intervals_1,choice\n0.5,1.5,-1.0\n2.0,3.0,1.0\n";
    let source = read(&[parquet, ("_ibl_trials.table.csv", table.into())], &[]).unwrap();
    let trials = source.trials.unwrap();
    assert_eq!(
        trials.names().collect::<Vec<_>>(),
        ["start_time", "stop_time", "choice"]
    );
    assert_eq!(floats(trials.get("stop_time")), [1.5, 3.0]);
    refused(
        &[
            ("trials.intervals.npy", npy_floats(&[1.0, 2.0])),
            ("trials.choice.npy", npy_floats(&[1.0])),
        ],
        &["trials.choice.npy: 1 rows; trials.intervals.npy has 2"],
    );
    refused(
        &[
            ("task_00/trials.choice.npy", npy_floats(&[1.0])),
            ("task_01/trials.choice.npy", npy_floats(&[1.0])),
        ],
        &["task_00/trials.choice.npy: task_01/trials.choice.npy is there too"],
    );
}

#[test]
fn times_of_a_series_must_fit_its_samples() {
    let wheel = |times: Vec<u8>| {
        [
            ("wheel.position.npy", npy_floats(&[1.0, 2.0, 3.0])),
            ("wheel.timestamps.npy", times),
        ]
    };
    let pairs = |values: &[f64]| {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        npy_bytes("'<f8'", false, &format!("({}, 2)", values.len() / 2), &bytes)
    };
    let at = "wheel.timestamps.npy";
    refused(
        &wheel(npy_floats(&[1.0])),
        &[at, "1 times for the 3 samples of wheel.position.npy"],
    );
    refused(&wheel(pairs(&[0.0, 1.0])), &[at, "1 rows; two at least"]);
    refused(&wheel(pairs(&[0.0, 1.0, 0.0, 2.0])), &[at, "row 1 is (0, 2)"]);
    refused(&wheel(pairs(&[0.0, f64::NAN, 1.0, 2.0])), &[at, "row 0 is (0, NaN)"]);
    // Of a series that nobody wants, nothing of this is looked at.
    assert!(read(&wheel(npy_floats(&[1.0])), &[]).is_ok());
    let source = read(&wheel(pairs(&[0.0, 1.0, 2.0, 2.0])), &["wheel.position"]).unwrap();
    let timing = Timing::Rate {
        rate_hz: 2.0,
        start_s: 1.0,
    };
    assert_eq!(source.series["wheel.position"].samples.as_ref().unwrap().timing, timing);
}

#[test]
fn areas_of_steinmetz_files_are_those_of_peak_channels_counted_from_one() {
    let locations = b"ccf_ap\tccf_dv\tccf_lr\tallen_ontology\n1\t2\t3\tVISp\n1\t2\t3\tCA1\n1\t2\t3\troot\n".to_vec();
    let read = |peaks: &[i64]| {
        let files = [
            ("channels.brainLocation.tsv", locations.clone()),
            ("clusters.peakChannel.npy", npy_integers(peaks)),
        ];
        read(&files, &[]).unwrap()
    };
    let source = read(&[3, 1]);
    assert_eq!(texts(source.units.get("acronym")), ["root", "VISp"]);
    assert_says(
        &warnings(&source),
        &["areas (column 'acronym') are those of clusters.peakChannel, counted from 1"],
    );
    let source = read(&[2, 4]);
    assert_eq!(texts(source.units.get("acronym")), ["CA1", ""]);
    assert_says(
        &warnings(&source),
        &["1 of 2 clusters have a channel that isn't there, and no area"],
    );
    let source = read(&[0, 2]);
    assert_eq!(texts(source.units.get("acronym")), ["VISp", "root"]);
    assert_says(&warnings(&source), &["counted from 0"]);
}

#[test]
fn sessions_of_several_days_are_never_mixed() {
    let spikes = |at: &'static str| {
        let file = |name: &str| format!("{at}/{name}");
        [
            (file("spikes.times.npy"), npy_floats(&[1.0, 2.0])),
            (file("spikes.clusters.npy"), npy_integers(&[0, 0])),
        ]
    };
    let trials = |at: &'static str| [(format!("{at}/trials.intervals.npy"), npy_floats(&[1.0, 2.0]))];
    let read = |files: &[(String, Vec<u8>)], below: &str| {
        let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(at, bytes)| (at.as_str(), bytes.clone())).collect();
        let made = folder(&files);
        read_alf(&made.path().join(below), &wanting(&[])).map_err(|error| error.to_string())
    };
    let both = |first: &'static str, second: &'static str| [spikes(first), spikes(second)].concat();
    // Probes of two days, alike or not, and of the sorter that is preferred within a session.
    for (first, second, roots) in [
        (
            "2024-01-01/001/alf/probe00",
            "2024-01-02/001/alf/probe01",
            "'2024-01-01/001', '2024-01-02/001'",
        ),
        (
            "2024-01-01/001/alf/probe00/pykilosort",
            "2024-01-02/001/alf/probe00",
            "'2024-01-01/001', '2024-01-02/001'",
        ),
        (
            "2024-01-01/001/probe00",
            "2024-01-01/002/probe00",
            "'2024-01-01/001', '2024-01-01/002'",
        ),
        (
            "Cori_2016-12-14",
            "Cori_2016-12-17",
            "'Cori_2016-12-14', 'Cori_2016-12-17'",
        ),
        (
            "alf/probe00",
            "2024-01-02/001/alf/probe01",
            "the folder itself, '2024-01-02/001'",
        ),
    ] {
        let message = read(&both(first, second), "").unwrap_err();
        assert_says(
            &message,
            &[&format!(
                "the folder: files of 2 sessions: {roots} (hint: give the folder of each"
            )],
        );
    }
    // The day is above the folder that is read; trials or a series alone count too.
    let days = [
        &spikes("2024-01-01/001/alf/probe00")[..],
        &trials("2024-01-01/002/alf")[..],
    ]
    .concat();
    assert_says(
        &read(&days, "2024-01-01").unwrap_err(),
        &["files of 2 sessions: '001', '002'"],
    );
    let wheel = [("2024-01-02/001/alf/wheel.times.npy".to_owned(), npy_floats(&[1.0]))];
    let days = [&spikes("2024-01-01/001/alf/probe00")[..], &wheel[..]].concat();
    assert_says(&read(&days, "").unwrap_err(), &["'2024-01-02/001'"]);
    // One session is one, from above too, with what lies beside `alf`.
    let raw = [(
        "s/2024-01-01/001/raw_ephys_data/probe00/x.sync.npy".to_owned(),
        npy_floats(&[1.0]),
    )];
    let one = [
        &both("s/2024-01-01/001/alf/probe00", "s/2024-01-01/001/alf/probe01")[..],
        &trials("s/2024-01-01/001/alf")[..],
        &raw[..],
    ];
    for below in ["", "s", "s/2024-01-01", "s/2024-01-01/001", "s/2024-01-01/001/alf"] {
        let source = read(&one.concat(), below).unwrap();
        assert_eq!(source.unit_ids, ["probe00_0", "probe01_0"], "{below}");
    }
}

#[test]
fn folders_that_are_not_named_as_probes_are_not_put_together() {
    let spikes = |names: [&'static str; 2]| {
        let files: Vec<(String, Vec<u8>)> = names
            .iter()
            .flat_map(|name| {
                [
                    (format!("{name}/spikes.times.npy"), npy_floats(&[0.5, 0.7])),
                    (format!("{name}/spikes.clusters.npy"), npy_integers(&[0, 1])),
                ]
            })
            .collect();
        let files: Vec<(&str, Vec<u8>)> = files
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.clone()))
            .collect();
        let folder = folder(&files);
        read_alf(folder.path(), &wanting(&[])).map_err(|error| error.to_string())
    };
    let message = spikes(["sess_a", "sess_b"]).unwrap_err();
    assert_says(
        &message,
        &["those in sess_a, sess_b are in folders that are not named as probes"],
    );
    for probes in [
        ["imec0", "imec1"],
        ["probe_left", "probe_right"],
        ["run_g0_imec0", "run_g0_imec1"],
    ] {
        assert_eq!(spikes(probes).unwrap().n_units(), 4, "{probes:?}");
    }
}

#[test]
fn a_table_whose_index_is_not_that_of_its_rows_goes_by_it() {
    let files = |text: &str| [("clusters.metrics.csv", text.as_bytes().to_vec())];
    let depth = |text: &str| {
        let source = read(&files(text), &[]).unwrap();
        (floats(source.units.get("label")), warnings(&source))
    };
    let (label, said) = depth(",label\n1,0.1\n0,0.2\n");
    assert_eq!(label, [0.2, 0.1]);
    assert_says(&said, &["its rows go to the clusters of its first column, 'unnamed_0'"]);
    let (label, said) = depth(",label\n0,0.1\n1,0.2\n");
    assert_eq!(label, [0.1, 0.2]);
    assert!(!said.contains("unnamed_0"), "{said}");
}

#[test]
fn a_table_with_a_shuffled_index_is_what_pandas_says_of_each_cluster() {
    let Some(made) = arrays() else { return };
    for name in ["shuffled", "some"] {
        let expected = &made.expected["alf_index"][name];
        let source = read_alf(&made.path("alf_index").join(name), &wanting(&[])).unwrap();
        let label = floats(source.units.get("label"));
        assert_numbers(&label, &numbers(&expected["label"]), name);
        let names: Vec<&str> = expected["name"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect();
        assert_eq!(texts(source.units.get("name")), names, "{name}");
        assert_eq!(floats(source.units.get("channels")), [0.0, 3.0, 6.0, 9.0, 12.0]);
        assert_says(
            &warnings(&source),
            &["its rows go to the clusters of its first column, 'unnamed_0'"],
        );
    }
}

#[test]
fn a_few_more_times_than_samples_are_cut_at_the_end_and_told() {
    let camera = |n_times: usize| {
        let times: Vec<f64> = (0..n_times).map(|i| 0.5 + 0.02 * i as f64).collect();
        let files = [
            ("camera.times.npy", npy_floats(&times)),
            ("camera.energy.npy", npy_floats(&vec![1.0; 1000])),
        ];
        let mut all = good();
        all.extend(files);
        let folder = folder(&all);
        read_alf(folder.path(), &wanting(&["camera.energy"])).map_err(|error| error.to_string())
    };
    let source = camera(1010).unwrap();
    let samples = source.series["camera.energy"].samples.as_ref().unwrap();
    let data::Timing::Timestamps(times) = &samples.timing else {
        panic!("times")
    };
    assert_eq!((times.len(), times[999]), (1000, 0.5 + 0.02 * 999.0));
    assert_says(
        &warnings(&source),
        &["1010 times for the 1000 samples", "the last 10 times are left out"],
    );
    for n in [1011, 999] {
        assert_says(&camera(n).unwrap_err(), &[&format!("{n} times for the 1000 samples")]);
    }
}
