//! Tables of units and trials beside files and folders of every layout.

use std::path::Path;

use data::import::{Column, ImportPlan, ReadOptions, Source, Table, read};

use crate::common::{arrays, assert_says, folder, npy_integers, warnings};

fn texts(values: &[&str]) -> Column {
    Column::Texts(values.iter().map(|&text| text.to_owned()).collect())
}

/// Reads with `units.csv` and `trials.csv` of this folder, where they are there.
fn read_with(path: &Path, tables: &Path) -> Result<Source, String> {
    let beside = |name: &str| Some(tables.join(name)).filter(|path| path.is_file());
    let options = ReadOptions {
        units_table: beside("units.csv"),
        trials_table: beside("trials.csv"),
        ..ReadOptions::default()
    };
    read(path, &options).map_err(|error| error.to_string())
}

/// Clusters 2 and 5 at 1 kHz.
fn phy() -> tempfile::TempDir {
    folder(&[
        ("spike_times.npy", npy_integers(&[100, 2200, 3300])),
        ("spike_clusters.npy", npy_integers(&[5, 5, 2])),
        ("params.py", b"sample_rate = 1000\n".to_vec()),
        ("cluster_group.tsv", b"cluster_id\tgroup\n2\tmua\n5\tgood\n".to_vec()),
    ])
}

const TRIALS: &str = "start_time,stop_time,go_cue\n0,1,0.5\n2,3,2.5\n";

#[test]
fn a_phy_folder_with_both_tables_is_a_recording_with_trials_and_areas() {
    let tables = folder(&[
        // In another order, with a cluster that isn't there, and a column that the folder has too.
        (
            "units.csv",
            b"unit_id,area,group\n5.0,V1,best\n9,CA1,mua\n2,LM,mua\n".to_vec(),
        ),
        ("trials.csv", TRIALS.as_bytes().to_vec()),
    ]);
    let phy = phy();
    let source = read_with(phy.path(), tables.path()).unwrap();
    assert_eq!(source.unit_ids, ["2", "5"]);
    assert_eq!(source.units.get("area"), Some(&texts(&["LM", "V1"])));
    assert_eq!(source.units.get("group"), Some(&texts(&["mua", "best"])));
    let said = warnings(&source);
    assert_says(
        &said,
        &[
            "units.csv: 1 rows of units that aren't there are left out",
            "units.csv: column 'group' differs from another table's for 1 unit",
        ],
    );
    assert!(
        said.contains("column 'unit_id' names the units: 2 of 2 have a row"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 3, "{said}");
    let plan = ImportPlan::from_toml("plan", "[trials]\nalign_to = 'go_cue'\nwindow_s = [-0.5, 0.5]\n").unwrap();
    let (recording, _) = plan.apply(vec![source]).unwrap();
    let session = &recording.sessions[0];
    let areas: Vec<&str> = session.units.iter().map(|unit| unit.area.as_str()).collect();
    let starts: Vec<f64> = session.trials.iter().map(|trial| trial.start_s).collect();
    assert_eq!((areas, starts), (vec!["LM", "V1"], vec![0.0, 2.0]));
}

#[test]
fn tables_go_with_archives_and_folders_and_the_trials_of_the_file_stay_a_table() {
    let Some(made) = arrays() else { return };
    let tables = folder(&[
        ("units.csv", b"id,place\n0,a\n1,b\n".to_vec()),
        ("trials.csv", TRIALS.as_bytes().to_vec()),
    ]);
    for (path, n_units, n_trials) in [("npz/clusters.npz", 6, 4), ("alf", 0, 0)] {
        let path = made.path(path);
        let alone = read(&path, &ReadOptions::default()).unwrap();
        let ids = folder(&[
            (
                "units.csv",
                alone
                    .unit_ids
                    .iter()
                    .enumerate()
                    .fold("id,place\n".to_owned(), |text, (n, id)| format!("{text}{id},p{n}\n"))
                    .into_bytes(),
            ),
            ("trials.csv", TRIALS.as_bytes().to_vec()),
        ]);
        let source = read_with(&path, ids.path()).unwrap();
        let places: Vec<String> = (0..alone.n_units()).map(|n| format!("p{n}")).collect();
        assert_eq!(
            source.units.get("place"),
            Some(&Column::Texts(places)),
            "{}",
            path.display()
        );
        assert_eq!((&source.unit_ids, &source.spikes_s), (&alone.unit_ids, &alone.spikes_s));
        assert_eq!(source.trials.as_ref().unwrap().n_rows(), 2);
        // As texts, in which NaN is equal to NaN.
        let shown = |table: Option<&Table>| format!("{table:?}");
        assert_eq!(shown(source.intervals.get("trials")), shown(alone.trials.as_ref()));
        assert_says(
            &warnings(&source),
            &["trials.csv: its rows are the trials, and not the "],
        );
        if n_units > 0 {
            assert_eq!((alone.n_units(), alone.trials.unwrap().n_rows()), (n_units, n_trials));
        }
    }
    // Two of six units.
    let source = read_with(&made.path("npz/clusters.npz"), tables.path()).unwrap();
    assert_eq!(source.units.get("place"), Some(&texts(&["a", "b", "", "", "", ""])));
    assert_says(&warnings(&source), &["units.csv: no row for 4 of 6 units: 2, 3, 4, 5"]);
}

#[test]
fn tables_that_fit_nothing_are_refused_and_columns_can_be_named() {
    let phy = phy();
    let refused = |name: &str, text: &str, parts: &[&str]| {
        let tables = folder(&[(name, text.as_bytes().to_vec())]);
        assert_says(&read_with(phy.path(), tables.path()).unwrap_err(), parts);
    };
    refused(
        "units.csv",
        "unit,area\nu1,V1\nu2,V1\n",
        &[
            "column 'unit' names none of the 2 units",
            "'u1'",
            "'2'",
            "--unit-column",
        ],
    );
    refused(
        "units.csv",
        "name,area\n2,V1\n",
        &["units.csv: no column names the units"],
    );
    refused("units.csv", "id,area\n2,V1\n2,V2\n", &["unit 2 is in row 0 already"]);
    refused("trials.csv", "start_time,stop_time\n0\n", &["trials.csv"]);
    let tables = folder(&[
        ("units.csv", b"name,area\n2,V1\n5,V2\n".to_vec()),
        ("s.csv", b"neuron,t,t_ms\n1,0.5,4\n".to_vec()),
    ]);
    let mut options = ReadOptions {
        units_table: Some(tables.path().join("units.csv")),
        unit_column: Some("name".to_owned()),
        ..ReadOptions::default()
    };
    let source = read(phy.path(), &options).unwrap();
    assert_eq!(source.units.get("area"), Some(&texts(&["V1", "V2"])));
    options.time_column = Some("t".to_owned());
    let message = read(phy.path(), &options).unwrap_err().to_string();
    assert_says(
        &message,
        &[
            "the column of spike times is given for a Phy folder",
            "a table of spikes (CSV)",
        ],
    );
    let spikes = tables.path().join("s.csv");
    let message = read(&spikes, &ReadOptions::default()).unwrap_err().to_string();
    assert_says(
        &message,
        &[
            "no column of spike times is known by its name",
            "columns: neuron, t, t_ms (hint: --time-column names it)",
        ],
    );
    for (column, time) in [("t", 0.5), ("t_ms", 0.004)] {
        let options = ReadOptions {
            time_column: Some(column.to_owned()),
            ..ReadOptions::default()
        };
        assert_eq!(read(&spikes, &options).unwrap().spikes_s, [[time]]);
    }
    let options = ReadOptions {
        unit_column: Some("name".to_owned()),
        ..ReadOptions::default()
    };
    let message = read(phy.path(), &options).unwrap_err().to_string();
    assert_says(&message, &["the column of units is given for a Phy folder"]);
}

#[test]
fn the_column_that_the_file_itself_names_units_by_counts_and_which_it_was_is_told() {
    // Rows in another order than clusters, with their running number in other columns.
    let areas = |source: &Source| match source.units.get("area") {
        Some(Column::Texts(areas)) => areas.clone(),
        other => panic!("texts, not {other:?}"),
    };
    let phy = phy();
    for header in ["unit,cluster_id,area", "id,cluster_id,area", ",cluster_id,area"] {
        let text = format!("{header}\n2,5,V1\n5,2,V2\n");
        let tables = folder(&[("units.csv", text.into_bytes())]);
        let source = read_with(phy.path(), tables.path()).unwrap();
        assert_eq!(areas(&source), ["V2", "V1"], "{header}");
        assert_says(
            &warnings(&source),
            &["column 'cluster_id' names the units: 2 of 2 have a row"],
        );
    }
    // An index of pandas without a name counts last, and is told.
    let tables = folder(&[("units.csv", b",area\n5,V1\n2,V2\n".to_vec())]);
    let source = read_with(phy.path(), tables.path()).unwrap();
    assert_eq!(areas(&source), ["V2", "V1"]);
    assert_says(&warnings(&source), &["column 'unnamed_0' names the units"]);
    // Spikes of an archive have no name of their own for units: two columns that contradict each other are refused.
    let Some(made) = arrays() else { return };
    let two = folder(&[("units.csv", b"unit,cluster_id,place\n0,1,a\n1,0,b\n".to_vec())]);
    let bare = made.path("npz/bare.npz");
    let message = read_with(&bare, two.path()).unwrap_err();
    assert_says(
        &message,
        &["columns 'unit' and 'cluster_id' both name units", "--unit-column"],
    );
    let options = ReadOptions {
        units_table: Some(two.path().join("units.csv")),
        unit_column: Some("cluster_id".to_owned()),
        ..ReadOptions::default()
    };
    let source = read(&bare, &options).unwrap();
    assert_eq!(source.units.get("place").unwrap().text(0), "b");
}

#[test]
fn units_that_are_named_by_a_column_are_joined_by_these_names() {
    // As exports have them: ids count from 0, names are others.
    let session = crate::common::session("a");
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("a.nwb");
    data::export::write_nwb(&path, &session).unwrap();
    for header in ["unit", "unit_name"] {
        let tables = folder(&[("units.csv", format!("{header},place\nu1,b\nu0,a\n").into_bytes())]);
        let source = read_with(&path, tables.path()).unwrap();
        assert_eq!(source.units.get("place"), Some(&texts(&["a", "b"])), "{header}");
    }
    let tables = folder(&[("units.csv", b"id,place\n1,b\n0,a\n".to_vec())]);
    let source = read_with(&path, tables.path()).unwrap();
    assert_eq!(source.units.get("place"), Some(&texts(&["a", "b"])));
}

#[test]
fn tables_with_the_probe_and_the_cluster_of_units_are_joined_by_both_as_pandas_merges_them() {
    // Clusters 2 and 5 of both probes.
    let files = |folders: [&str; 2]| {
        let files = folders.into_iter().flat_map(|name| {
            [
                (format!("{name}/spike_times.npy"), npy_integers(&[100, 2200, 3300])),
                (format!("{name}/spike_clusters.npy"), npy_integers(&[5, 5, 2])),
                (format!("{name}/params.py"), b"sample_rate = 1000\n".to_vec()),
            ]
        });
        let files: Vec<(String, Vec<u8>)> = files.collect();
        let files: Vec<(&str, Vec<u8>)> = files
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.clone()))
            .collect();
        folder(&files)
    };
    // DataFrame(units).merge(table, on=["probe", "cluster_id"], how="left"), by hand.
    let text = "probe,cluster_id,area\nimec1,5,D\nimec0,2,A\nimec1,2,C\nimec0,5.0,B\nimec2,5,E\n";
    let tables = folder(&[("units.csv", text.as_bytes().to_vec())]);
    let source = read_with(files(["imec0", "imec1"]).path(), tables.path()).unwrap();
    assert_eq!(source.unit_ids, ["imec0_2", "imec0_5", "imec1_2", "imec1_5"]);
    assert_eq!(source.units.get("area"), Some(&texts(&["A", "B", "C", "D"])));
    assert_says(
        &warnings(&source),
        &[
            "columns 'probe', 'cluster_id' name the units: 4 of 4 have a row",
            "units.csv: 1 rows of units that aren't there are left out",
        ],
    );
    // By probe, shank and cluster, the shank by its number.
    let shanks = folder(&[(
        "units.csv",
        b"probe,shank,cluster_id,area\np,0,2,x\nimec0,1,2,C\nimec0,0,5,B\nimec0,0,2,A\nimec0,1,5,D\n".to_vec(),
    )]);
    let source = read_with(files(["imec0_shank0", "imec0_shank1"]).path(), shanks.path()).unwrap();
    assert_eq!(source.unit_ids[3], "imec0_shank1_5");
    assert_eq!(source.units.get("area"), Some(&texts(&["A", "B", "C", "D"])));
    // A row that is there twice, and probes of other names: what to write is said.
    for (text, parts) in [
        (
            "probe,cluster_id\nimec0,2\nimec0,2\n",
            &["units.csv, column 'cluster_id', row 1: unit imec0_2 is in row 0 already"][..],
        ),
        (
            "probe,cluster_id\nleft,2\nright,2\n",
            &[
                "unit 2 is in row 0 already (hint: rows of several probes are told apart where the column 'probe' has the probes' labels",
            ],
        ),
    ] {
        let tables = folder(&[("units.csv", text.as_bytes().to_vec())]);
        assert_says(
            &read_with(files(["imec0", "imec1"]).path(), tables.path()).unwrap_err(),
            parts,
        );
    }
    // Folders of ALF files, whose clusters have no column.
    let Some(made) = arrays() else { return };
    let alone = read(&made.path("alf"), &ReadOptions::default()).unwrap();
    let rows = alone.unit_ids.iter().enumerate().map(|(n, id)| {
        let (probe, cluster) = id.rsplit_once('_').unwrap();
        format!("{probe},{cluster},p{n}\n")
    });
    let text = format!("probe,cluster_id,place\n{}", rows.collect::<String>());
    let tables = folder(&[("units.csv", text.into_bytes())]);
    let source = read_with(&made.path("alf"), tables.path()).unwrap();
    let places: Vec<String> = (0..alone.n_units()).map(|n| format!("p{n}")).collect();
    assert_eq!(source.units.get("place"), Some(&Column::Texts(places)));
}
