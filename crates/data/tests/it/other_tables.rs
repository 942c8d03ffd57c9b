//! What expressions of trials ask of other tables, against a count of every pair.

use data::import::{Column, ImportPlan, Source, Table};
use data::{Recording, Session};
use rand::RngExt;

use crate::common::rng;

fn table(columns: &[(&str, Vec<f64>)]) -> Table {
    let mut table = Table::new(columns[0].1.len());
    for (name, values) in columns {
        table.insert("test", *name, Column::Numbers(values.clone())).unwrap();
    }
    table
}

/// Trials that touch, intervals of light of which some hold others, and licks.
fn source() -> Source {
    let starts: Vec<f64> = (0..50).map(f64::from).collect();
    let stops = starts.iter().map(|start| start + 1.0).collect();
    let mut rng = rng(7);
    let light: Vec<f64> = (0..15)
        .map(|_| 0.25 * f64::from(rng.random_range(0..200_u32)))
        .collect();
    let ends = light
        .iter()
        .map(|start| start + 0.25 * f64::from(rng.random_range(1..12_u32)))
        .collect();
    let licks = (0..30)
        .map(|_| 0.25 * f64::from(rng.random_range(0..200_u32)))
        .collect();
    let epochs = vec![f64::NAN, 3.0];
    Source {
        unit_ids: vec!["u".to_owned()],
        units: Table::new(1),
        spikes_s: vec![(0..500).map(|i| 0.1 * f64::from(i)).collect()],
        trials: Some(table(&[("start_time", starts), ("stop_time", stops)])),
        intervals: [
            ("opto".to_owned(), table(&[("start_time", light), ("stop_time", ends)])),
            ("licks".to_owned(), table(&[("times", licks)])),
            (
                "broken".to_owned(),
                table(&[("start_time", epochs.clone()), ("stop_time", vec![2.0, f64::NAN])]),
            ),
            ("nameless".to_owned(), table(&[("depth", epochs)])),
        ]
        .into(),
        ..Source::empty("s", "test")
    }
}

fn session(text: &str, source: Source) -> Result<Session, String> {
    let plan = ImportPlan::from_toml("plan", &format!("units.area = \"'V1'\"\n{text}")).unwrap();
    let applied = plan.apply(vec![source]).map_err(|error| error.to_string());
    applied.map(|(Recording { mut sessions }, _)| sessions.remove(0))
}

fn numbers(source: &Source, name: &str, column: &str) -> Vec<f64> {
    match source.intervals[name].get(column) {
        Some(Column::Numbers(values)) => values.clone(),
        other => panic!("numbers, not {other:?}"),
    }
}

#[test]
fn trials_are_told_apart_by_light_and_licks_within_them() {
    let plan = "[trials]\nwindow_s = [-0.5, 0.5]\nalign_to = 'start_time'\n\
                types = [{ name = 'light', when = \"overlaps('opto')\" }, { name = 'none', when = 'true' }]\n\
                events = { laser = \"first('opto')\", long = \"first('opto', 'stop_time - start_time > 1')\", lick = \"first('licks') + 0\" }\n\
                values = { licked = \"overlaps('licks')\" }";
    let source = source();
    let session = session(plan, source.clone()).unwrap();
    let (from, to) = (
        numbers(&source, "opto", "start_time"),
        numbers(&source, "opto", "stop_time"),
    );
    let licks = numbers(&source, "licks", "times");
    let mut n = [0; 2];
    assert_eq!(session.n_trials(), 50);
    for (k, trial) in session.trials.iter().enumerate() {
        let (start, stop) = (k as f64, k as f64 + 1.0);
        let is_lit = from.iter().zip(&to).any(|(from, to)| *from < stop && *to > start);
        assert_eq!(trial.trial_type, if is_lit { "light" } else { "none" }, "trial {k}");
        let first = |times: &[f64]| {
            let inside = times.iter().copied().filter(|time| (start..stop).contains(time));
            inside.reduce(f64::min)
        };
        assert_eq!(session.events.times_s["laser"][k], first(&from), "trial {k}");
        let long: Vec<f64> = from
            .iter()
            .zip(&to)
            .filter(|(from, to)| *to - *from > 1.0)
            .map(|(from, _)| *from)
            .collect();
        assert!((1..from.len()).contains(&long.len()));
        assert_eq!(session.events.times_s["long"][k], first(&long), "trial {k}");
        assert_eq!(session.events.times_s["lick"][k], first(&licks), "trial {k}");
        let licked = f64::from(u8::from(first(&licks).is_some()));
        assert_eq!(session.events.values["licked"][k], Some(licked));
        n[usize::from(is_lit)] += 1;
    }
    assert!(n[0] > 5 && n[1] > 5, "{n:?}: the test would tell nothing");
}

#[test]
fn trials_of_equal_length_and_other_clocks_are_compared_on_one_clock() {
    let lit = |plan: &str| -> Vec<f64> {
        let plan = format!("{plan}\nfilter = \"overlaps('opto')\"");
        let session = session(&plan, source()).unwrap();
        session.trials.iter().map(|trial| trial.start_s).collect()
    };
    let expected = lit("[trials]");
    assert!((5..45).contains(&expected.len()));
    assert_eq!(
        lit("[trials]\nevery_s = 1.0"),
        expected[..expected.len() - usize::from(expected.contains(&49.0))]
    );
    let moved: Vec<f64> = expected.iter().map(|start| start + 8.0).collect();
    assert_eq!(lit("[clock]\noffset_s = 8.0\n[trials]"), moved);
    let cut: Vec<f64> = lit("[clock]\noffset_s = 8.0\n[trials]\nevery_s = 1.0");
    assert_eq!(cut, moved[..cut.len()]);
}

#[test]
fn rows_without_times_and_tables_that_are_not_there_are_told() {
    let broken = session("[trials]\nevents = { e = \"first('broken')\" }", source()).unwrap();
    let found: Vec<usize> = (0..50).filter(|&k| broken.events.times_s["e"][k].is_some()).collect();
    assert_eq!((found, broken.events.times_s["e"][3]), (vec![3], Some(3.0)));
    for (text, part) in [
        (
            "[trials]\nfilter = \"overlaps('opt')\"",
            "the file has no table 'opt'; there are: broken, licks, nameless, opto",
        ),
        (
            "[trials]\nfilter = \"overlaps('nameless')\"",
            "the table 'nameless' has no column of numbers start_time",
        ),
        (
            "[trials]\nfilter = \"overlaps('opto', 'is_on')\"",
            "condition of rows of the table 'opto', in 'is_on', column 1: there is no column 'is_on'",
        ),
        (
            "units.filter = \"overlaps('opto')\"\n",
            "which only expressions of trials can",
        ),
    ] {
        let message = session(text, source()).unwrap_err();
        assert!(message.contains(part), "'{part}' is not in: {message}");
    }
    let mut bare = source();
    bare.trials = Some(table(&[("stim", vec![1.0, 2.0])]));
    let plan = "[trials]\nalign_to = 'stim'\nwindow_s = [0, 1]\nfilter = \"overlaps('opto')\"";
    assert!(
        session(plan, bare)
            .unwrap_err()
            .contains("trials.start in a TOML for --spec says what it is")
    );
}
