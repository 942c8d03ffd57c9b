//! Tables of text, against what pandas reads, and tables that are damaged.

use data::import::{Column, CsvTables, Source, read_csv};

use crate::common::{arrays, assert_column, assert_numbers, assert_says, folder, numbers, trains, warnings};

#[test]
fn every_value_is_what_pandas_reads() {
    let Some(made) = arrays() else { return };
    let expected = &made.expected["csv"];
    let path = |name: &str| made.path("csv").join(name);
    let tables = CsvTables {
        spikes: path("spikes.csv"),
        units: Some(path("units.csv")),
        trials: Some(path("trials.csv")),
        ..CsvTables::default()
    };
    let source = read_csv(&tables).unwrap();
    assert_eq!(source.id, "spikes");
    assert_eq!(source.unit_ids, ["u0", "u1", "u2", "u3", "u4"]);
    assert_eq!(source.spikes_s, trains(&expected["trains"]));
    assert_units(&source, expected);
    let trials = source.trials.as_ref().unwrap();
    assert_eq!(trials.n_rows(), 4);
    for (name, column) in expected["trials"]["columns"].as_object().unwrap() {
        assert_column(trials.get(name), column, name);
    }
    assert_eq!(
        warnings(&source),
        "spikes.csv: 1 unit without a spike: u3\nunits.csv: column 'unit_id' names the units: 5 of 5 have a row (hint: --unit-column names \
         another column)"
    );

    // Tabs, CRLF, a byte-order mark, milliseconds, units by number; semicolons.
    let tables = CsvTables {
        spikes: path("numbered.tsv"),
        units: Some(path("units_semicolon.csv")),
        ..CsvTables::default()
    };
    let source = read_csv(&tables).unwrap();
    assert_eq!(source.unit_ids, ["0", "1", "2", "3", "4"]);
    assert_eq!(source.spikes_s, trains(&expected["numbered"]));
    assert_units(&source, expected);
}

#[track_caller]
fn assert_units(source: &Source, expected: &serde_json::Value) {
    let areas: Vec<String> = serde_json::from_value(expected["area"].clone()).unwrap();
    assert_eq!(source.units.get("area"), Some(&Column::Texts(areas)));
    let flags: Vec<bool> = serde_json::from_value(expected["good"].clone()).unwrap();
    assert_eq!(source.units.get("good"), Some(&Column::Flags(flags)));
    let Some(Column::Numbers(depths)) = source.units.get("depth") else {
        panic!("numbers")
    };
    assert_numbers(depths, &numbers(&expected["depth"]), "depth");
}

fn read(spikes: &str, units: Option<&str>, columns: [Option<&str>; 2]) -> Result<Source, String> {
    let files = [
        ("spikes.csv", spikes.as_bytes().to_vec()),
        ("units.csv", units.unwrap_or_default().as_bytes().to_vec()),
    ];
    let folder = folder(&files);
    let [unit_column, time_column] = columns.map(|name| name.map(str::to_owned));
    let tables = CsvTables {
        spikes: folder.path().join("spikes.csv"),
        units: units.map(|_| folder.path().join("units.csv")),
        trials: None,
        unit_column,
        time_column,
    };
    read_csv(&tables).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(spikes: &str, parts: &[&str]) {
    assert_says(&read(spikes, None, [None; 2]).unwrap_err(), parts);
}

#[test]
fn columns_are_guessed_or_named() {
    let source = read("Time,Neuron_ID\n0.5,b\n0.25,a\n1.5,b\n", None, [None; 2]).unwrap();
    assert_eq!(source.unit_ids, ["a", "b"]);
    assert_eq!(source.spikes_s, [vec![0.25], vec![0.5, 1.5]]);
    let named = [Some("which"), Some("when")];
    let source = read("when\twhich\n0.5\t3\n0.75\t3.0\n1\t-2\n", None, named).unwrap();
    assert_eq!(source.unit_ids, ["-2", "3"]);
    assert_eq!(source.spikes_s, [vec![1.0], vec![0.5, 0.75]]);
    refused(
        "when,unit\n1,2\n",
        &[
            "spikes.csv: no column of spike times is known by its name",
            "columns: when, unit",
        ],
    );
    // Where no name would help, the hint says what does.
    for (text, hint) in [
        (
            "# mouse 7\nunit,time\n1,2\n",
            "(hint: the first line is a comment; leave it out",
        ),
        (
            "13,0.002472\n7,0.01\n",
            "(hint: the first line has numbers; put one before it",
        ),
        (
            "unit0,unit1,unit2\n0.1,0.2,0.3\n",
            "(hint: a column a unit is not read, but a row a spike; in pandas: table.melt(",
        ),
        ("cell,seconds\n1,2\n", "(hint: --unit-column names it)"),
        ("a1,b2\n1,2\n", "(hint: --unit-column names it)"),
    ] {
        refused(text, &["no column of units is known by its name", hint]);
    }
    let message = read("time,unit\n1,2\n", None, [Some("x"), None]).unwrap_err();
    assert_says(&message, &["spikes.csv: no column 'x' with units; columns: time, unit"]);
    let message = read("time,unit\n1,2\n", Some("area\nV1\n"), [None; 2]).unwrap_err();
    assert_says(
        &message,
        &["units.csv: no column names the units (such as 'unit'); columns: area"],
    );
}

#[test]
fn units_of_both_tables_are_there_and_what_one_lacks_is_said() {
    let units = "id;area\n2;V1\n7;V2\n";
    let source = read("time,unit\n1,2\n2,3\n", Some(units), [None; 2]).unwrap();
    assert_eq!(source.unit_ids, ["2", "3", "7"]);
    assert_eq!(source.spikes_s, [vec![1.0], vec![2.0], vec![]]);
    assert_eq!(
        source.units.get("area"),
        Some(&Column::Texts(["V1", "", "V2"].map(str::to_owned).to_vec()))
    );
    assert_says(
        &warnings(&source),
        &[
            "spikes.csv: 1 unit without a spike: 7",
            "units.csv: no row for 1 of 3 units: 3",
        ],
    );
    let message = read("time,unit\n1,2\n", Some("unit,area\n2,V1\n2.0,V2\n"), [None; 2]).unwrap_err();
    assert_says(
        &message,
        &["units.csv, column 'unit', row 1: unit 2 is in row 0 already"],
    );
}

#[test]
fn faults_name_their_line() {
    refused(
        "time,unit\n1,2\n\n3,4,5\n",
        &["spikes.csv, line 4: 3 fields; the header has 2"],
    );
    refused(
        "time,unit\r\n1,2\r\n3\r\n4,5\r\n",
        &["spikes.csv, line 3: 1 fields; the header has 2"],
    );
    refused(
        "unit,time\n\"a\nb\",1\nc,x\n",
        &["spikes.csv, line 4: column 'time' holds 'x'; expected a finite number"],
    );
    refused("unit,time\na,nan\n", &["line 2: column 'time' holds 'nan'"]);
    refused("unit,time\na,inf\n", &["line 2: column 'time' holds 'inf'"]);
    refused("unit,time\na,\n", &["line 2: column 'time' holds ''"]);
    refused(
        "unit;time\na;0,5\n",
        &[
            "line 2: column 'time' holds '0,5'",
            "write a decimal point, not a comma",
        ],
    );
    refused("unit,time\n ,0.5\n", &["line 2: the spike has no unit"]);
    refused("unit,time\na,0.5\nb,\"0.5\n", &["line 3: a quote that is never closed"]);
    refused(
        "unit,unit,time\na,b,0.5\n",
        &["spikes.csv: two columns are named 'unit'"],
    );
    refused("", &["spikes.csv: it is empty"]);
    refused("\n\n", &["spikes.csv: it is empty"]);
    let files = [
        ("s.csv", b"unit,time\n\xe9,1\n".to_vec()),
        ("w.csv", b"\xff\xfeu\0".to_vec()),
    ];
    let folder = folder(&files);
    let read = |name: &str| {
        let spikes = folder.path().join(name);
        read_csv(&CsvTables {
            spikes,
            ..CsvTables::default()
        })
        .unwrap_err()
        .to_string()
    };
    assert_says(&read("s.csv"), &["s.csv, line 2: field 1 isn't UTF-8"]);
    assert_says(&read("w.csv"), &["text in UTF-16; save it as UTF-8"]);
}

#[test]
fn a_last_line_may_lack_its_end_and_blocks_may_break_anywhere() {
    for n in [1, 40_000] {
        // Longer than the block that is read at once, with quotes that lie across its edge.
        let rows: Vec<String> = (0..n).map(|i| format!("\"u\"\"{}\",{}.5", i % 7, i)).collect();
        let source = read(&format!("unit,time\n{}", rows.join("\n")), None, [None; 2]).unwrap();
        let total: usize = source.spikes_s.iter().map(Vec::len).sum();
        assert_eq!(total, n);
        assert_eq!(source.unit_ids[0], "u\"0");
        assert_eq!(source.spikes_s[0][0], 0.5);
    }
}

#[test]
fn a_field_without_end_is_refused_before_it_fills_the_memory() {
    let long = format!("unit,time\na,\"{}", "x".repeat(1 << 23));
    refused(&long, &["a row of more than 4194304 bytes", "is a quote not closed?"]);
    let wide = ",".repeat(20_000);
    refused(&wide, &["more than 10000 fields"]);
}

#[test]
fn spikes_of_no_unit_are_refused_with_their_line() {
    for name in ["-1", "nan", "NA", "-1.0"] {
        let text = format!("unit,time\n0,0.5\n{name},0.7\n");
        let tables = folder(&[("spikes.csv", text.into_bytes())]);
        let tables = CsvTables {
            spikes: tables.path().join("spikes.csv"),
            ..CsvTables::default()
        };
        let message = read_csv(&tables).unwrap_err().to_string();
        assert_says(&message, &["spikes.csv", "line 3", "which is none"]);
    }
}
