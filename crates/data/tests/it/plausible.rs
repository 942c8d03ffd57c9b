//! Times that can't be what they are taken for: relative to a trial, or not in seconds.

use data::import::{Column, ImportPlan, ImportReport, Source, Table};
use data::{DataError, Recording};

/// 40 trials of 2 s every 5 s from 100 s on; a reaction time after their start that falls from trial to trial or (`rises`) not.
fn source(rises: bool) -> Source {
    let n = 40;
    let column = |of: &dyn Fn(f64) -> f64| Column::Numbers((0..n).map(|k| of(f64::from(k))).collect());
    let start = |k: f64| 100.0 + 5.0 * k;
    let rt = move |k: f64| if rises { 0.2 + 0.03 * k } else { 1.5 - 0.03 * k };
    let mut table = Table::new(40);
    let columns = [
        ("start_time", column(&start)),
        ("stop_time", column(&|k| start(k) + 2.0)),
        ("rt", column(&rt)),
        ("rt_ms", column(&|k| 1000.0 * rt(k))),
        ("response", column(&|k| start(k) + rt(k))),
        ("response_ms", column(&|k| 1000.0 * (start(k) + rt(k)))),
        // Ends of what is beside the row: a response in the pause after a short stimulus.
        ("late", column(&|k| start(k) + 2.5)),
        // The end of a row, rounded to ms in another way.
        ("rounded", column(&|k| start(k) + 2.0004)),
        ("other_clock", column(&|k| 3000.0 + start(k))),
        // As the second, but in three trials.
        ("few", column(&|k| if k < 3.0 { rt(k) } else { start(k) + rt(k) })),
    ];
    for (name, column) in columns {
        table.insert("test", name, column).unwrap();
    }
    Source {
        unit_ids: vec!["u".to_owned()],
        units: Table::new(1),
        spikes_s: vec![(0..4000).map(|i| 0.11 * f64::from(i)).collect()],
        trials: Some(table),
        ..Source::empty("s", "test")
    }
}

fn apply(text: &str, source: Source) -> Result<(Recording, ImportReport), DataError> {
    let plan = ImportPlan::from_toml("plan", &format!("{text}\n[units]\narea = \"'V1'\"")).unwrap();
    plan.apply(vec![source])
}

fn refused(text: &str, source: Source) -> String {
    apply(text, source).expect_err(text).to_string()
}

/// Warnings about `what`.
fn told(text: &str, source: Source, what: &str) -> Vec<String> {
    let (_, report) = apply(text, source).unwrap();
    let all = report.sessions.iter().flat_map(|session| &session.warnings);
    let all = all.chain(&report.warnings).map(ToString::to_string);
    all.filter(|warning| warning.contains(what)).collect()
}

#[test]
fn events_relative_to_their_trial_are_refused_with_the_sum_that_mends_them() {
    for rises in [false, true] {
        let window = "[trials]\nwindow_s = [-0.2, 1.0]\n";
        let message = refused(&format!("{window}align_to = 'rt'"), source(rises));
        for part in [
            "s, trials.align_to: 40 of 40 times of 'rt' lie outside of their rows; the first, of row 0",
            "that row lasts from 100 s to 102 s",
            "(hint: --align-to 'start_time + rt', or trials.align_to = \"start_time + rt\" in a TOML for --spec)",
        ] {
            assert!(message.contains(part), "'{part}' is not in: {message}");
        }
        // The same without a window, and of an event.
        assert!(refused("[trials]\nalign_to = 'rt'", source(rises)).contains("\"start_time + rt\""));
        let message = refused("[trials]\nevents = { go = 'rt * 1' }", source(rises));
        assert!(
            message.contains("trials.events.go") && message.contains("\"start_time + (rt * 1)\""),
            "{message}"
        );
        let (recording, _) = apply(&format!("{window}align_to = 'start_time + rt'"), source(rises)).unwrap();
        let rt = if rises { 0.23 } else { 1.47 };
        assert!((recording.sessions[0].trials[1].align_s - 105.0 - rt).abs() < 1e-9);
    }
    // The clock of trials and its offset don't hide it.
    let message = refused(
        "[clock]\noffset_s = 50.0\n[trials]\nwindow_s = [-0.2, 1.0]\nalign_to = 'rt'",
        source(false),
    );
    assert!(message.contains("\"start_time + rt\""), "{message}");
}

#[test]
fn events_in_another_unit_or_clock_than_their_rows_are_refused() {
    let with = |column: &str| format!("[trials]\nwindow_s = [-0.2, 1.0]\nalign_to = '{column}'");
    for (column, part) in [
        ("rt_ms", "\"start_time + rt_ms / 1000\""),
        ("response_ms", "\"response_ms / 1000\""),
        ("other_clock", "are they of another clock"),
    ] {
        let message = refused(&with(column), source(false));
        assert!(message.contains(part), "'{part}' is not in: {message}");
        // A trial that begins at 0 and holds them proves nothing.
        let event = format!("[trials]\nevents = {{ go = '{column}' }}");
        assert!(refused(&event, source(false)).contains(part));
    }
}

#[test]
fn some_events_outside_of_their_rows_and_events_just_after_them_are_told() {
    let with = |column: &str| format!("[trials]\nwindow_s = [-0.2, 1.0]\nalign_to = '{column}'");
    for column in ["response", "rounded", "start_time", "stop_time"] {
        assert!(told(&with(column), source(false), "outside").is_empty(), "{column}");
    }
    let few = told(&with("few"), source(false), "trials.align_to");
    assert!(
        few.len() == 1 && few[0].contains("3 of 40 times of 'few' lie outside"),
        "{few:?}"
    );
    let late = told(&with("late"), source(false), "trials.align_to");
    assert!(late.len() == 1 && late[0].contains("40 of 40"), "{late:?}");
    // Those that a filter leaves out don't count.
    let filtered = format!("{}\nfilter = 'start_time > 115'", with("few"));
    assert!(told(&filtered, source(false), "outside").is_empty());
    // Without an end, a row lasts until the next one starts.
    let mut open = source(false);
    let table = open.trials.take().unwrap();
    let mut rows = Table::new(40);
    for name in ["start_time", "late", "rt"] {
        rows.insert("test", name, table.get(name).unwrap().clone()).unwrap();
    }
    open.trials = Some(rows);
    assert!(told(&with("late"), open.clone(), "outside").is_empty());
    assert!(refused(&with("rt"), open).contains("\"start_time + rt\""));
}

/// Times of spikes, trials and all else multiplied.
fn times(factor: f64, length_s: f64, rate_hz: f64) -> Source {
    let n = (length_s * rate_hz) as u32;
    let mut source = source(false);
    // In pairs of 10 ms, as bursts are.
    let time =
        move |i: u32, unit: u32| (f64::from(i - i % 2) + 0.0137 * f64::from(unit)) / rate_hz + 0.01 * f64::from(i % 2);
    let train = |unit: u32| (0..n).map(|i| factor * time(i, unit)).collect();
    source.spikes_s = (0..3).map(train).collect();
    source.unit_ids = (0..3).map(|unit| unit.to_string()).collect();
    source.units = Table::new(3);
    let starts: Vec<f64> = (0..10).map(|k| factor * 0.08 * length_s * f64::from(k)).collect();
    let stops = starts.iter().map(|start| start + factor).collect();
    let mut table = Table::new(10);
    table.insert("test", "start_time", Column::Numbers(starts)).unwrap();
    table.insert("test", "stop_time", Column::Numbers(stops)).unwrap();
    source.trials = Some(table);
    source
}

#[test]
fn a_session_whose_times_are_all_in_ms_or_samples_is_refused_with_the_keys() {
    // Ten minutes at 5 Hz in ms are 167 hours at 0.005 Hz.
    for factor in [1e3, 3e4, 1e6] {
        let message = refused("", times(factor, 600.0, 5.0));
        for part in [
            "s, spike times: spikes over",
            "clock.spikes_per_s and clock.trials_per_s",
        ] {
            assert!(message.contains(part), "'{part}' is not in: {message}");
        }
        let clock = format!("[clock]\nspikes_per_s = {factor}\ntrials_per_s = {factor}");
        assert!(told(&clock, times(factor, 600.0, 5.0), "rather than s").is_empty());
    }
    assert!(refused("", times(1e3, 600.0, 5.0)).contains("spikes over 166.6 hours"));
    // A minute in ms might be a long session of silent units; those that are may be taken.
    let warned = told("", times(1e3, 60.0, 5.0), "spike times");
    assert!(warned.len() == 1 && warned[0].contains("5.0"), "{warned:?}");
    assert_eq!(
        told("[clock]\nspikes_per_s = 1", times(1e3, 600.0, 5.0), "half of the units").len(),
        1
    );
    // Two days at 0.1 Hz, and an hour at 0.02 Hz.
    for (length_s, rate_hz) in [(2.0 * 86_400.0, 0.1), (3600.0, 0.02)] {
        assert!(told("", times(1.0, length_s, rate_hz), "rather than s").is_empty());
    }
}

#[test]
fn spike_times_that_are_all_whole_are_told() {
    let mut whole = source(false);
    whole.spikes_s = vec![(0..400).map(f64::from).collect()];
    let warned = told("", whole.clone(), "whole numbers");
    assert!(
        warned.len() == 1 && warned[0].contains("all 400 spike times"),
        "{warned:?}"
    );
    whole.spikes_s[0][7] = 7.5;
    assert!(told("", whole.clone(), "whole numbers").is_empty());
    whole.spikes_s = vec![(250..349).map(f64::from).collect()];
    assert!(told("[clock]\nobserved_s = [0, 400]", whole, "whole numbers").is_empty());
}
