//! Events and values of trials: what is written is what is read, and what an import takes.

use std::path::Path;

use data::export::{write_npz, write_nwb};
use data::import::{Column, ImportPlan, ReadOptions, Source, Table, read as read_source};
use data::{BinOptions, DataError, Recording, Session, bin_session, check, read, summary, write};
use hdf5::File;

use crate::common::{recording, session};

/// Three trials at 0, 1, 2 s, aligned to 0.25 s after their start; the second has no cue.
fn with_events() -> Session {
    let mut session = session("a");
    let events = &mut session.events;
    events
        .times_s
        .insert("go cue".to_owned(), vec![Some(0.5), None, Some(2.75)]);
    events.times_s.insert("end".to_owned(), vec![Some(0.75); 3]);
    events
        .values
        .insert("contrast".to_owned(), vec![Some(0.25), Some(-1.0), None]);
    session
}

fn sessions_of(import: &ImportPlan, source: Source) -> Vec<Session> {
    let (Recording { sessions }, _) = import.apply(vec![source]).unwrap();
    sessions
}

#[test]
fn events_and_values_are_read_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.h5");
    let written = recording(vec![with_events(), session("b")]);
    write(&path, &written).unwrap();
    assert_eq!(read(&path).unwrap(), written);
    let file = File::open(&path).unwrap();
    let column = file.dataset("sessions/a/trials/events/go cue").unwrap();
    let column: Vec<f64> = column.read_raw().unwrap();
    assert!(column[0] == 0.5 && column[1].is_nan() && column[2] == 2.75);
    assert!(
        file.group("sessions/b/trials/events").is_err(),
        "empty groups are not written"
    );
}

#[test]
fn events_and_values_come_back_from_nwb_and_npz() {
    let session = with_events();
    let folder = tempfile::tempdir().unwrap();
    for name in ["session.nwb", "session.npz"] {
        let path = folder.path().join(name);
        let found = if Path::new(name).extension().is_some_and(|kind| kind == "nwb") {
            write_nwb(&path, &session)
        } else {
            write_npz(&path, &session)
        };
        assert_eq!(found.unwrap(), Vec::new());
        let source = read_source(&path, &ReadOptions::default()).unwrap();
        let plan = ImportPlan::from_toml("plan", "").unwrap();
        assert_eq!(sessions_of(&plan, source)[0].events, session.events, "{name}");
    }
}

/// A change of a file, and what its message says.
type Case<'a> = (&'a dyn Fn(&File), &'a [&'a str]);

#[test]
fn every_malformed_column_is_a_problem_that_names_it() {
    let bad = |edit: &dyn Fn(&File)| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.h5");
        write(&path, &recording(vec![with_events()])).unwrap();
        let file = File::open_rw(&path).unwrap();
        edit(&file);
        file.close().unwrap();
        let error = read(&path).unwrap_err();
        assert!(matches!(error, DataError::Invalid { .. }), "{error}");
        error.to_string()
    };
    let column = |file: &File, path: &str, values: &[f64]| {
        file.new_dataset_builder().with_data(values).create(path).unwrap();
    };
    let at = "sessions/a/trials";
    let cases: [Case<'_>; 6] = [
        (
            &|file| column(file, &format!("{at}/events/short"), &[1.0, 2.0]),
            &["/sessions/a/trials/events/short", "2 rows, but there are 3 trials"],
        ),
        (
            &|file| column(file, &format!("{at}/values/x"), &[1.0, f64::INFINITY, f64::NAN]),
            &["/sessions/a/trials/values/x, trial 1", "inf", "NaN for none"],
        ),
        (
            &|file| {
                let texts: [hdf5::types::VarLenUnicode; 3] = ["a", "b", "c"].map(|text| text.parse().unwrap());
                let builder = file.new_dataset_builder().with_data(&texts);
                builder.create(format!("{at}/events/texts").as_str()).unwrap();
            },
            &["/sessions/a/trials/events/texts", "number"],
        ),
        (
            &|file| {
                let pairs = ndarray::arr2(&[[1.0, 2.0]; 3]);
                let builder = file.new_dataset_builder().with_data(&pairs);
                builder.create(format!("{at}/events/pairs").as_str()).unwrap();
            },
            &["/sessions/a/trials/events/pairs"],
        ),
        (
            &|file| {
                file.create_group(&format!("{at}/events/group")).unwrap();
            },
            &["/sessions/a/trials/events/group"],
        ),
        (
            &|file| {
                file.unlink(&format!("{at}/values")).unwrap();
                column(file, &format!("{at}/values"), &[1.0, 2.0, 3.0]);
            },
            &["/sessions/a/trials/values"],
        ),
    ];
    for (edit, parts) in cases {
        let message = bad(edit);
        for part in parts {
            assert!(message.contains(part), "'{part}' is not in: {message}");
        }
    }
}

#[test]
fn names_that_are_no_names_and_events_that_never_happen_are_told() {
    let mut session = with_events();
    let (times, values) = (&mut session.events.times_s, &mut session.events.values);
    times.insert("never".to_owned(), vec![None; 3]);
    times.insert("in ms".to_owned(), vec![None, Some(1500.0), Some(2500.0)]);
    values.insert("a/b".to_owned(), vec![Some(1.0); 3]);
    let findings = check(&recording(vec![session]));
    let problems: Vec<String> = findings.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, ["/sessions/a/trials/values/a/b: the name contains '/'"]);
    let warnings: Vec<String> = findings.warnings.iter().map(ToString::to_string).collect();
    let about = |word: &str| warnings.iter().filter(|warning| warning.contains(word)).count();
    assert_eq!(about("events/never: no trial has it"), 1, "{warnings:?}");
    assert_eq!(
        about("events/in ms: no time lies between start and stop"),
        1,
        "{warnings:?}"
    );
}

#[test]
fn times_are_relative_to_the_event_that_bins_are_counted_from() {
    let session = with_events();
    let binned = bin_session(&session, &BinOptions::of_width(1.0)).unwrap();
    let align: Vec<f64> = session.trials.iter().map(|trial| trial.align_s).collect();
    let expected = [Some((0.5 - align[0]) * 1000.0), None, Some((2.75 - align[2]) * 1000.0)];
    assert_eq!(binned.event_ms["go cue"], expected);
    let chosen = binned.select_trials(&[2, 0]);
    assert_eq!(chosen.event_ms["go cue"], [expected[2], expected[0]]);
    assert_eq!(chosen.values["contrast"], [None, Some(0.25)]);

    let mut wrong = session;
    wrong.events.values.insert("x".to_owned(), vec![None; 2]);
    assert!(bin_session(&wrong, &BinOptions::of_width(1.0)).is_err());
}

#[test]
fn a_summary_says_when_events_happen() {
    let session = with_events();
    let text = summary(&recording(vec![session.clone()]), &[]).to_text();
    let median = 1000.0 * 0.5 * (0.5 - session.trials[0].align_s + 2.75 - session.trials[2].align_s);
    let [first, last] = [0.5 - session.trials[0].align_s, 2.75 - session.trials[2].align_s].map(|s| s * 1000.0);
    let (least, most) = (first.min(last), first.max(last));
    let line = format!("a: event go cue in 2 of 3 trials, median {median} ms ({least} to {most}) after align_time");
    assert!(text.contains(&line), "'{line}' is not in: {text}");
    assert!(text.contains("a: value contrast in 2 of 3 trials, median -0.375 (-1 to 0.25)\n"));
}

/// Five trials of 2 s at 0, 10, … 40 s, times in ms.
fn source() -> Source {
    let mut table = Table::new(5);
    let numbers = |values: [f64; 5]| Column::Numbers(values.to_vec());
    let columns = [
        ("start_time", numbers([0.0, 10e3, 20e3, 30e3, 40e3])),
        ("stop_time", numbers([2e3, 12e3, 22e3, 32e3, 42e3])),
        ("go", numbers([500.0, 10_250.0, f64::NAN, 30_750.0, 40_500.0])),
        ("contrastLeft", numbers([f64::NAN, 0.5, 1.0, f64::NAN, 0.0])),
        ("is_kept", Column::Flags(vec![true, false, true, true, true])),
    ];
    for (name, column) in columns {
        table.insert("test", name, column).unwrap();
    }
    Source {
        unit_ids: vec!["u".to_owned()],
        units: Table::new(1),
        spikes_s: vec![(0..38).map(f64::from).collect()],
        trials: Some(table),
        ..Source::empty("s", "test")
    }
}

const PLAN: &str = r#"
[clock]
trials_per_s = 1000
observed_s = [0.0, 38.0]
[trials]
filter = "is_kept"
events = { cue = "go", late = "go + 100" }
values = { left = "coalesce(contrastLeft, 0)", "raw left" = "contrastLeft" }
[units]
area = "'V1'"
"#;

#[test]
fn an_import_takes_events_of_the_trials_that_it_takes_on_their_clock() {
    let plan = ImportPlan::from_toml("plan", PLAN).unwrap();
    let session = &sessions_of(&plan, source())[0];
    // Trial 1 is filtered, trial 4 begins after the last spike.
    assert_eq!(session.n_trials(), 3);
    assert_eq!(session.events.times_s["cue"], [Some(0.5), None, Some(30.75)]);
    assert_eq!(session.events.times_s["late"], [Some(0.6), None, Some(30.85)]);
    assert_eq!(session.events.values["left"], [Some(0.0), Some(1.0), Some(0.0)]);
    assert_eq!(session.events.values["raw left"], [None, Some(1.0), None]);
}

#[test]
fn a_plan_with_events_that_it_cannot_have_is_refused_with_its_key() {
    let message = |text: &str| ImportPlan::from_toml("plan", text).unwrap_err().to_string();
    let error = message("[trials]\nevents = { cue = \"go >\" }");
    assert!(error.contains("trials.events.cue"), "{error}");
    let error = message("[trials]\nvalues = { \"a/b\" = \"go\" }");
    assert!(error.contains("trials.values.a/b: the name contains '/'"), "{error}");
    let plan = ImportPlan::from_toml(
        "plan",
        "[trials]\nevents = { cue = \"gone\" }\n[units]\narea = \"'V1'\"",
    )
    .unwrap();
    let error = plan.apply(vec![source()]).unwrap_err().to_string();
    assert!(error.contains("trials.events.cue") && error.contains("gone"), "{error}");
}

#[test]
fn a_column_with_an_infinite_number_is_left_out_unless_a_plan_names_it() {
    let mut source = source();
    let table = source.trials.as_mut().unwrap();
    let columns = [
        ("event_cue", [500.0, 10_250.0, f64::NAN, 30_750.0, 40_500.0]),
        ("event_late", [500.0, 10_250.0, f64::INFINITY, 30_750.0, 40_500.0]),
        ("value_gain", [1.0, 2.0, f64::NEG_INFINITY, 3.0, 4.0]),
    ];
    for (name, values) in columns {
        table.insert("test", name, Column::Numbers(values.to_vec())).unwrap();
    }
    let text = "[clock]\ntrials_per_s = 1000\nobserved_s = [0.0, 38.0]\n[units]\narea = \"'V1'\"\n";
    let plan = |more: &str| ImportPlan::from_toml("plan", &format!("{text}{more}")).unwrap();
    let (recording, report) = plan("").apply(vec![source.clone()]).unwrap();
    let events = &recording.sessions[0].events;
    assert_eq!(events.times_s.keys().collect::<Vec<_>>(), ["cue"]);
    assert!(events.values.is_empty());
    let told: Vec<String> = report.sessions[0].warnings.iter().map(ToString::to_string).collect();
    for part in [
        "column 'event_late' is not taken, because row 2 is inf",
        "column 'value_gain' is not taken, because row 2 is -inf",
    ] {
        assert!(told.iter().any(|warning| warning.contains(part)), "{told:?}");
    }
    let error = plan("[trials]\nvalues = { gain = \"value_gain\" }\n").apply(vec![source]);
    assert!(error.unwrap_err().to_string().contains("values/gain"));
}

#[test]
fn an_export_says_which_columns_an_import_cannot_name() {
    let mut session = with_events();
    session.events.values.insert("a`b".to_owned(), vec![Some(1.0); 3]);
    let folder = tempfile::tempdir().unwrap();
    let nwb = write_nwb(&folder.path().join("s.nwb"), &session).unwrap();
    let npz = write_npz(&folder.path().join("s.npz"), &session).unwrap();
    for told in [nwb, npz] {
        let told: Vec<String> = told.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 1);
        assert!(
            told[0].contains("column of trials 'value_a`b'") && told[0].contains("`snnfit import` doesn't take it"),
            "{told:?}"
        );
    }
}
