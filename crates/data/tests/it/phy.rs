//! Folders of Phy, against what NumPy and pandas read, and folders that are damaged.

use data::import::{Column, Layout, ReadOptions, Source, detect, read_phy};
use serde_json::Value;

use crate::common::{arrays, assert_numbers, assert_says, folder, npy_floats, npy_integers, numbers, trains, warnings};

fn texts(list: &Value) -> Option<Column> {
    let texts = list.as_array()?.iter().map(|text| text.as_str().map(str::to_owned));
    texts.collect::<Option<_>>().map(Column::Texts)
}

#[test]
fn every_value_is_what_numpy_and_pandas_read() {
    let Some(made) = arrays() else { return };
    let expected = &made.expected["phy"];
    let source = read_phy(&made.path("phy"), None).unwrap();
    assert_eq!(source.id, "phy");
    assert_eq!(source.spikes_s, trains(&expected["trains"]));
    let ids: Vec<String> = (0..11).map(|id| id.to_string()).collect();
    assert_eq!(source.unit_ids, ids);
    let Some(Column::Numbers(depths)) = source.units.get("depth") else {
        panic!("numbers")
    };
    assert_numbers(depths, &numbers(&expected["depth"]), "depth");
    let numbers: Vec<f64> = (0..11).map(f64::from).collect();
    assert_eq!(source.units.get("cluster_id"), Some(&Column::Numbers(numbers)));
    assert_eq!(source.units.get("KSLabel"), texts(&expected["KSLabel"]).as_ref());
    assert_eq!(source.units.get("group"), texts(&expected["group"]).as_ref());
    assert_says(
        &warnings(&source),
        &[
            "clusters: 3 units without a spike: 7, 9, 10",
            "cluster_info.tsv: no row for 6 of 11 units: 4, 5, 6, 7, 9, …",
            "cluster_group.tsv: column 'group' differs from another table's for 1 unit; this one counts",
        ],
    );
}

#[test]
fn templates_count_as_clusters_where_nobody_sorted_by_hand() {
    let Some(made) = arrays() else { return };
    let copy = tempfile::tempdir().unwrap();
    for name in ["spike_times.npy", "spike_templates.npy"] {
        std::fs::copy(made.path("phy").join(name), copy.path().join(name)).unwrap();
    }
    let message = read_phy(copy.path(), None).unwrap_err().to_string();
    assert_says(
        &message,
        &["params.py: no line 'sample_rate = …'", "--sample-rate-hz gives it"],
    );
    let source = read_phy(copy.path(), Some(30_000.0)).unwrap();
    let mut expected = trains(&made.expected["phy"]["by_template"]);
    expected.retain(|train| !train.is_empty());
    assert_eq!(source.spikes_s, expected);
    assert_says(
        &warnings(&source),
        &["there is no spike_clusters.npy; the templates count"],
    );
}

fn read(files: &[(&'static str, Vec<u8>)], rate_hz: Option<f64>) -> Result<Source, String> {
    let mut all = vec![
        ("spike_times.npy", npy_integers(&[100, 200, 300])),
        ("spike_clusters.npy", npy_integers(&[5, 5, 2])),
        ("params.py", b"sample_rate = 1000\n".to_vec()),
    ];
    for (name, bytes) in files {
        all.retain(|(known, _)| known != name);
        if !bytes.is_empty() {
            all.push((name, bytes.clone()));
        }
    }
    read_phy(folder(&all).path(), rate_hz).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(files: &[(&'static str, Vec<u8>)], parts: &[&str]) {
    assert_says(&read(files, None).unwrap_err(), parts);
}

#[test]
fn the_sampling_rate_is_given_or_read_but_never_run() {
    let spikes = [vec![0.3], vec![0.1, 0.2]];
    assert_eq!(read(&[], None).unwrap().spikes_s, spikes);
    let given = read(&[], Some(100.0)).unwrap();
    assert_eq!(given.spikes_s, [vec![3.0], vec![1.0, 2.0]]);
    assert_says(
        &warnings(&given),
        &["params.py: sample_rate is 1000 there; 100 Hz was given and counts"],
    );
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let message = read(&[], Some(rate)).unwrap_err();
        assert_says(&message, &["sample_rate_hz: the sampling rate given is", "above 0"]);
    }
    let params = |text: &str| [("params.py", text.as_bytes().to_vec())];
    refused(
        &params("sample_rate = open('/tmp/x', 'w')"),
        &["line 1: sample_rate is 'open(", "the file isn't run"],
    );
    refused(
        &params("sample_rate = -5"),
        &["sample_rate is -5; expected a number above 0"],
    );
    refused(
        &params("x = 1"),
        &["no line 'sample_rate = …'", "--sample-rate-hz gives it"],
    );
    refused(&params(""), &["no line 'sample_rate = …'"]);
    // What is given counts, whatever the file says.
    assert_eq!(
        read(&params("sample_rate = x()"), Some(1000.0)).unwrap().spikes_s,
        spikes
    );
}

#[test]
fn times_in_seconds_are_refused_and_whole_floats_taken_for_samples() {
    refused(
        &[("spike_times.npy", npy_floats(&[100.0, 200.5, 300.0]))],
        &[
            "spike_times.npy: spike 1 is at 200.5; expected samples",
            "Are these seconds?",
        ],
    );
    let source = read(&[("spike_times.npy", npy_floats(&[100.0, 200.0, 300.0]))], None).unwrap();
    assert_eq!(source.spikes_s, [vec![0.3], vec![0.1, 0.2]]);
    assert_says(&warnings(&source), &["spike_times.npy: holds floating-point numbers"]);
}

#[test]
fn a_damaged_folder_is_refused_with_every_problem() {
    refused(
        &[
            ("spike_clusters.npy", npy_integers(&[5, 5])),
            ("params.py", vec![]),
            ("cluster_group.tsv", b"cluster_id\tgroup\n5\tgood\n5\tmua\n".to_vec()),
            ("cluster_x.tsv", b"group\na\n".to_vec()),
        ],
        &[
            "4 problems",
            "spike_clusters.npy: 2 clusters for 3 spikes of spike_times.npy",
            "params.py: no line",
            "cluster_group.tsv, column 'cluster_id', row 1: unit 5 is in row 0 already",
            "cluster_x.tsv: no column names the units (such as 'cluster_id'); columns: group",
        ],
    );
    refused(&[("spike_times.npy", vec![])], &["spike_times.npy", "No such file"]);
    refused(
        &[("spike_clusters.npy", npy_integers(&[5, -1, 2]))],
        &["spike 1 is of cluster -1"],
    );
    refused(
        &[("cluster_group.tsv", b"cluster_id\tgroup\nfive\tgood\n".to_vec())],
        &["a table names a cluster that is no number"],
    );
}

#[test]
fn probes_of_a_session_are_put_together_as_pandas_does() {
    let Some(made) = arrays() else { return };
    let expected = &made.expected["phy_probes"];
    let path = made.path("phy_probes");
    assert_eq!(detect(&path).unwrap(), Layout::Phy);
    let source = read_phy(&path, None).unwrap();
    assert_eq!(
        (source.id.as_str(), source.format.as_str()),
        ("phy_probes", "Phy folder")
    );
    assert_eq!(source.unit_ids[..2], ["imec0_0", "imec0_1"]);
    assert_eq!(Some(Column::Texts(source.unit_ids.clone())), texts(&expected["ids"]));
    assert_eq!(source.spikes_s, trains(&expected["trains"]));
    for name in ["probe", "KSLabel", "group"] {
        assert_eq!(source.units.get(name), texts(&expected[name]).as_ref(), "{name}");
    }
    for name in ["cluster_id", "depth"] {
        let Some(Column::Numbers(found)) = source.units.get(name) else {
            panic!("numbers")
        };
        assert_numbers(found, &numbers(&expected[name]), name);
    }
    assert_says(
        &warnings(&source),
        &[
            "the folder: 2 probes (imec0, imec1) are put together, each with its sample_rate",
            "run_g0_imec1/cluster_KSLabel.tsv: no row for 1 of 4 units: 3",
        ],
    );
    // Areas of a table beside it are those of units by their names.
    let table = made.path("phy_probes_areas.csv");
    let options = ReadOptions {
        units_table: Some(table),
        ..ReadOptions::default()
    };
    let source = data::import::read(&path, &options).unwrap();
    assert_eq!(source.units.get("area"), texts(&expected["area"]).as_ref());
}

/// A folder of Phy with two spikes of the clusters 0 and 3 at `name`.
fn sorted(name: &str, rate: Option<&str>) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![
        (format!("{name}/spike_times.npy"), npy_integers(&[100, 200])),
        (format!("{name}/spike_clusters.npy"), npy_integers(&[3, 0])),
    ];
    let line = |rate: &str| format!("sample_rate = {rate}\n").into_bytes();
    files.extend(rate.map(|rate| (format!("{name}/params.py"), line(rate))));
    files
}

/// What is read of such folders at these names, with sampling rates of 1000 and 500 Hz in turn.
fn read_sorted(names: &[&str]) -> Result<Source, String> {
    let files = names.iter().zip(["1000", "500"].iter().cycle());
    let files: Vec<(String, Vec<u8>)> = files.flat_map(|(name, rate)| sorted(name, Some(rate))).collect();
    read_files(&files, None)
}

fn read_files(files: &[(String, Vec<u8>)], rate_hz: Option<f64>) -> Result<Source, String> {
    let files: Vec<(&str, Vec<u8>)> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.clone()))
        .collect();
    let folder = folder(&files);
    assert_eq!(detect(folder.path()).unwrap(), Layout::Phy);
    read_phy(folder.path(), rate_hz).map_err(|error| error.to_string())
}

#[test]
fn probes_are_known_by_the_names_of_their_folders_each_with_its_own_rate() {
    for (names, labels) in [
        (["imec0", "imec1"], ["imec0", "imec1"]),
        (["probe00", "probe01"], ["probe00", "probe01"]),
        (["imec0/kilosort4", "imec1/kilosort4"], ["imec0", "imec1"]),
        (["probes/ProbeA", "probes/ProbeB"], ["ProbeA", "ProbeB"]),
        (["r/r_imec0/imec0_ks2", "r/r_imec1/imec1_ks2"], ["imec0", "imec1"]),
    ] {
        let source = read_sorted(&names).unwrap();
        let ids: Vec<String> = labels
            .iter()
            .flat_map(|label| [0, 3].map(|id| format!("{label}_{id}")))
            .collect();
        assert_eq!(source.unit_ids, ids);
        assert_eq!(source.spikes_s, [vec![0.2], vec![0.1], vec![0.4], vec![0.2]]);
    }
    // One alone needs no names that tell it apart.
    let source = read_sorted(&["sorted/imec0/ks"]).unwrap();
    assert_eq!(source.unit_ids, ["0", "3"]);
    assert_eq!(
        source.units.get("probe"),
        Some(&Column::Texts(vec!["imec0".to_owned(); 2]))
    );
    assert!(warnings(&source).is_empty());
    // Hidden folders are not looked at.
    let source = read_sorted(&["imec0/.phy", "imec0/ks"]).unwrap();
    assert_eq!(source.spikes_s, [vec![0.4], vec![0.2]]);
}

#[test]
fn shanks_that_were_sorted_apart_are_units_of_their_probe() {
    let texts = |values: &[&str]| {
        Column::Texts(
            values
                .iter()
                .flat_map(|text| [(*text).to_owned(), (*text).to_owned()])
                .collect(),
        )
    };
    for (names, probe, ids) in [
        (
            ["probe1_shank0", "probe1_shank1"],
            "probe1",
            ["probe1_shank0_0", "probe1_shank1_3"],
        ),
        (
            ["probe1/shank0/ks", "probe1/shank1/ks"],
            "probe1",
            ["probe1_shank0_0", "probe1_shank1_3"],
        ),
        (["s/ks_shank0", "s/ks_shank1"], "", ["shank0_0", "shank1_3"]),
    ] {
        let source = read_sorted(&names).unwrap();
        assert_eq!(
            (source.unit_ids[0].as_str(), source.unit_ids[3].as_str()),
            (ids[0], ids[1])
        );
        assert_eq!(source.spikes_s, [vec![0.2], vec![0.1], vec![0.4], vec![0.2]]);
        assert_eq!(source.units.get("shank"), Some(&texts(&["shank0", "shank1"])));
        let probes = Some(texts(&[probe; 2])).filter(|_| !probe.is_empty());
        assert_eq!(source.units.get("probe"), probes.as_ref());
        // They have one clock.
        assert!(warnings(&source).is_empty(), "{}", warnings(&source));
    }
    // Of two probes, each of which has its own.
    let source = read_sorted(&["imec0/shank0", "imec0/shank1", "imec1/shank0"]).unwrap();
    assert_eq!(source.unit_ids[4], "imec1_shank0_0");
    assert_eq!(source.units.get("probe"), Some(&texts(&["imec0", "imec0", "imec1"])));
    assert_says(&warnings(&source), &["2 probes (imec0, imec1) are put together"]);
    // Two sortings of one shank.
    assert_says(
        &read_sorted(&["imec0_shank0/a", "imec0_shank0/b", "imec0_shank1/a"]).unwrap_err(),
        &["imec0_shank0: several sets of spikes: imec0_shank0/a, imec0_shank0/b"],
    );
}

#[test]
fn folders_that_may_be_sessions_or_sortings_of_one_probe_are_not_put_together() {
    for (names, parts) in [
        (
            &["sess_a", "sess_b"][..],
            &[
                "2 folders of Phy",
                "those in sess_a, sess_b are not named as probes are",
            ][..],
        ),
        (
            &["a/imec0", "b/imec1"],
            &["those in a/imec0, b/imec1", "import the folder of each session"],
        ),
        (
            &["2024-05-06_imec0", "2024-05-07_imec1"],
            &[
                "differ by more than the probe: 2024-05-06_imec0, 2024-05-07_imec1",
                "several sessions?",
            ],
        ),
        (
            &["imec0/ks2", "imec0/ks4", "imec1/ks2"],
            &["imec0: several sets of spikes: imec0/ks2, imec0/ks4 (hint: move all but one"],
        ),
        (
            &["imec0/ks2", "imec0/ks4"],
            &["those in imec0/ks2, imec0/ks4 are not named"],
        ),
        (&["imec0", "imec0/old"], &["are not named as probes"]),
        (
            &["sorted/ks"],
            &["the one folder of Phy or Kilosort here is sorted/ks (hint: give that folder)"],
        ),
    ] {
        assert_says(&read_sorted(names).unwrap_err(), parts);
    }
}

#[test]
fn every_probe_has_to_have_a_sampling_rate() {
    let files = [sorted("imec0", Some("1000")), sorted("imec1", None)].concat();
    let message = read_files(&files, None).unwrap_err();
    assert_says(
        &message,
        &[
            "imec1/params.py: no line 'sample_rate = …'",
            "--sample-rate-hz gives it",
        ],
    );
    assert!(!message.contains("imec0/"), "{message}");
    let source = read_files(&files, Some(500.0)).unwrap();
    assert_eq!(source.spikes_s, [vec![0.4], vec![0.2], vec![0.4], vec![0.2]]);
    assert_says(
        &warnings(&source),
        &["imec0/params.py: sample_rate is 1000 there; 500 Hz was given and counts"],
    );
}
