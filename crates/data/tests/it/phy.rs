//! Folders of Phy, against what NumPy and pandas read, and folders that are damaged.

use data::import::{Column, Source, read_phy};
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
