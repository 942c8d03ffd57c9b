//! What an import chooses: trials, units, areas, types, behaviour; and that it counts and tells what it leaves out.

use data::import::source::{Samples, Series};
use data::import::{Column, ImportPlan, Source, Table};
use data::{Activity, BehaviourSamples, CellType, Timing};
use ndarray::array;

fn table(n: usize, columns: &[(&str, Column)]) -> Table {
    let mut table = Table::new(n);
    for (name, column) in columns {
        table.insert("test", *name, column.clone()).expect("lengths agree");
    }
    table
}

fn numbers(values: &[f64]) -> Column {
    Column::Numbers(values.to_vec())
}

fn texts(values: &[&str]) -> Column {
    Column::Texts(values.iter().map(|&text| text.to_owned()).collect())
}

/// Four units in three areas, five trials of 2 s at 0, 10, … 40 s, a jaw with two channels.
fn source() -> Source {
    let units = [
        ("isi_violations", numbers(&[0.1, 0.9, 0.2, f64::NAN])),
        ("presence_ratio", numbers(&[0.95, 0.5, 0.99, 0.99])),
        ("brain_area", texts(&["VISp1", "VISp5", "CA1", ""])),
        ("width_ms", numbers(&[0.3, 0.7, 0.45, f64::NAN])),
        ("tagged", Column::Flags(vec![false, false, true, false])),
    ];
    let trials = [
        ("start_time", numbers(&[0.0, 10.0, 20.0, 30.0, 40.0])),
        ("stop_time", numbers(&[2.0, 12.0, 22.0, 32.0, 42.0])),
        ("stim_on", numbers(&[0.5, 10.5, f64::NAN, 30.75, 40.5])),
        ("response", numbers(&[1.2, 11.0, 21.0, 31.0, f64::NAN])),
        ("contrast", numbers(&[1.0, 0.0, 0.5, 0.25, 0.0])),
        ("licked", Column::Flags(vec![true, false, true, false, false])),
    ];
    let times = |unit: usize| (0..50).map(|i| f64::from(i) + 0.01 * unit as f64).collect();
    let jaw = Series {
        path: "/processing/behavior/jaw".into(),
        shape: (3, 2),
        unit: "mm".into(),
        rate_hz: None,
        channels: vec!["x".into(), "y".into()],
        samples: Some(Samples {
            values: array![[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]],
            timing: Timing::Timestamps(vec![0.0, 1.0, 1.0]),
        }),
    };
    Source {
        units: table(4, &units),
        unit_ids: ["u0", "u1", "u2", "u3"].map(str::to_owned).to_vec(),
        spikes_s: (0..4).map(times).collect(),
        trials: Some(table(5, &trials)),
        intervals: [(
            "epochs".to_owned(),
            table(1, &[("start_time", numbers(&[5.0])), ("stop_time", numbers(&[16.0]))]),
        )]
        .into(),
        series: [("behavior/jaw".to_owned(), jaw)].into(),
        ..Source::empty("m1", "test")
    }
}

fn plan(text: &str) -> ImportPlan {
    ImportPlan::from_toml("plan.toml", text).expect("a plan")
}

fn refused(plan_text: &str, source: Source) -> String {
    let refused = plan(plan_text).apply(vec![source]);
    refused.expect_err(plan_text).to_string()
}

#[test]
fn without_a_plan_trials_and_units_are_those_of_the_file_and_guesses_are_told() {
    let (recording, report) = ImportPlan::default().apply(vec![source()]).expect("a session");
    let session = &recording.sessions[0];
    assert_eq!(
        (session.id.as_str(), session.n_units(), session.n_trials()),
        ("m1", 4, 5)
    );
    let areas: Vec<&str> = session.units.iter().map(|unit| unit.area.as_str()).collect();
    assert_eq!(areas, ["VISp1", "VISp5", "CA1", "unknown"]);
    assert!(session.units.iter().all(|unit| unit.cell_type == CellType::Unknown));
    let trial = &session.trials[1];
    assert_eq!(
        (trial.start_s, trial.stop_s, trial.align_s, trial.stimulus),
        (10.0, 12.0, 10.0, 0.0)
    );
    assert_eq!(trial.trial_type, "trial");
    let warnings: Vec<String> = report.sessions[0].warnings.iter().map(ToString::to_string).collect();
    assert!(
        warnings
            .iter()
            .any(|w| w.contains("areas are those of column 'brain_area'")),
        "{warnings:?}"
    );
    assert!(
        warnings.iter().any(|w| w.contains("1 units have no area")),
        "{warnings:?}"
    );
    let Activity::SpikeTimes {
        times_s, observed_s, ..
    } = &session.activity
    else {
        panic!("spike times");
    };
    assert_eq!(times_s[2][..2], [0.02, 1.02]);
    // From the first trial to the last spike.
    assert_eq!(*observed_s, (0.0, 49.03));
}

#[test]
fn trials_are_aligned_cut_and_labelled_and_what_is_left_out_is_counted() {
    let plan = plan(
        "[trials]\nalign_to = 'stim_on'\nwindow_s = [-0.25, 1.0]\nstop = 'response'\nfilter = 'contrast <= 0.5 && start_time < 35'\n\
         stimulus = 'contrast * 2'\ntypes = [{ name = 'hit', when = 'licked' }, { name = 'miss', when = 'contrast > 0' }]",
    );
    let (recording, report) = plan.apply(vec![source()]).expect("a session");
    // Trial 0 has a large contrast, 1 is of no type, 2 has no event, 4 is too late and of no type; without a response, 4 would end
    // with its window.
    let trials = &recording.sessions[0].trials;
    assert_eq!(trials.len(), 1);
    let trial = &trials[0];
    assert_eq!((trial.start_s, trial.stop_s, trial.align_s), (30.5, 31.0, 30.75));
    assert_eq!((trial.stimulus, trial.trial_type.as_str()), (0.5, "miss"));
    let told: Vec<(&str, usize, usize)> = report.sessions[0]
        .trials
        .rules
        .iter()
        .map(|r| (r.rule.as_str(), r.dropped, r.alone))
        .collect();
    let expected = [
        ("contrast <= 0.5", 1, 1),
        ("start_time < 35", 1, 0),
        ("a time of the event that trials are aligned to", 1, 1),
        ("one of trials.types", 2, 1),
    ];
    assert_eq!(told, expected);
    assert_eq!(
        (report.sessions[0].trials.found, report.sessions[0].trials.kept),
        (5, 1)
    );
}

#[test]
fn units_are_filtered_rule_by_rule_their_areas_merged_and_their_types_found() {
    let plan = plan(
        "[units]\nfilter = 'isi_violations < 0.5 && presence_ratio > 0.9'\narea = 'brain_area'\nother_areas = false\n\
         [units.areas]\nV1 = ['VISp*']\nHPC = ['CA?']\n\
         [units.waveform]\nvalue = 'width_ms'\nnarrow_below = 0.4\nwide_above = 0.5\n\
         [units.cell_type]\ninhibitory = 'tagged'",
    );
    let (recording, report) = plan.apply(vec![source()]).expect("a session");
    let units: Vec<_> = recording.sessions[0]
        .units
        .iter()
        .map(|u| (u.id.as_str(), u.area.as_str(), u.cell_type))
        .collect();
    // u2 lies between narrow and wide, but light tagged it.
    assert_eq!(
        units,
        [("u0", "V1", CellType::Inhibitory), ("u2", "HPC", CellType::Inhibitory)]
    );
    let session = &report.sessions[0];
    let told: Vec<(&str, usize, usize, usize)> = session
        .units
        .rules
        .iter()
        .map(|r| (r.rule.as_str(), r.dropped, r.alone, r.missing))
        .collect();
    let expected = [
        ("isi_violations < 0.5", 2, 0, 1),
        ("presence_ratio > 0.9", 1, 0, 0),
        ("an area of units.areas", 1, 0, 0),
    ];
    assert_eq!(told, expected);
    assert_eq!(
        session.units.rules[0].by_area,
        [("VISp5".to_owned(), 1), ("unknown".to_owned(), 1)].into()
    );
    let text = report.text();
    assert!(text.contains("units: 2 of 4 taken"), "{text}");
    assert!(
        text.contains("2 dropped by isi_violations < 0.5 (0 by this alone; 1 without a number; VISp5 1; unknown 1)"),
        "{text}"
    );
    assert!(text.contains("CA1 as HPC: 1 of 1 units: 1 inhibitory"), "{text}");
}

#[test]
fn narrow_waveforms_are_inhibitory_wide_ones_excitatory_and_those_between_unknown() {
    let plan = plan("[units.waveform]\nvalue = 'width_ms'\nnarrow_below = 0.4\nwide_above = 0.5");
    let (recording, report) = plan.apply(vec![source()]).expect("a session");
    let types: Vec<CellType> = recording.sessions[0].units.iter().map(|unit| unit.cell_type).collect();
    assert_eq!(
        types,
        [
            CellType::Inhibitory,
            CellType::Excitatory,
            CellType::Unknown,
            CellType::Unknown
        ]
    );
    assert!(
        report.sessions[0]
            .warnings
            .iter()
            .any(|w| w.message.contains("1 units have no width_ms"))
    );
}

#[test]
fn behaviour_is_a_channel_of_a_series_with_times_that_increase() {
    for (channel, series) in [
        ("1", "behavior/jaw"),
        ("'y'", "/behavior/jaw"),
        ("1", "processing/behavior/jaw"),
    ] {
        let plan = plan(&format!("[behaviour.jaw]\nseries = '{series}'\nchannel = {channel}"));
        let (recording, report) = plan.apply(vec![source()]).expect("a session");
        let jaw = &recording.sessions[0].behaviour["jaw"];
        let expected = BehaviourSamples::Continuous {
            values: vec![10.0, 20.0],
            timing: Timing::Timestamps(vec![0.0, 1.0]),
        };
        assert_eq!((&jaw.samples, jaw.unit.as_str()), (&expected, "mm"));
        assert!(
            report.sessions[0]
                .warnings
                .iter()
                .any(|w| w.message.starts_with("1 of 3 samples are not after"))
        );
    }
    // A series that only one of two sessions has is told; one that none has is refused.
    let mut other = source();
    other.id = "m2".into();
    other.series.clear();
    let jaw = plan("[behaviour.jaw]\nseries = 'behavior/jaw'\nchannel = 0");
    let (recording, report) = jaw.apply(vec![source(), other.clone()]).expect("two sessions");
    assert!(recording.sessions[1].behaviour.is_empty());
    assert!(
        report.sessions[1]
            .warnings
            .iter()
            .any(|w| w.message == "there is no series 'behavior/jaw'")
    );
    let none = jaw.apply(vec![other]).expect_err("no series").to_string();
    assert!(
        none.contains("behaviour.jaw.series: no session has the series 'behavior/jaw'; there are: none"),
        "{none}"
    );
}

#[test]
fn a_recording_without_trials_is_cut_into_equal_ones() {
    let mut source = source();
    source.trials = None;
    let message = refused("", source.clone());
    assert!(
        message.contains("m1, trials: the file has no table of trials") && message.contains("epochs"),
        "{message}"
    );
    let spans = |plan_text: &str| -> Vec<(f64, f64)> {
        let (recording, _) = plan(plan_text).apply(vec![source.clone()]).expect(plan_text);
        recording.sessions[0]
            .trials
            .iter()
            .map(|t| (t.start_s, t.stop_s))
            .collect()
    };
    let all = spans("[trials]\nevery_s = 12.0");
    assert_eq!(all, [(0.0, 12.0), (12.0, 24.0), (24.0, 36.0), (36.0, 48.0)]);
    assert_eq!(
        spans("[trials]\nevery_s = 5.5\ntable = 'epochs'"),
        [(5.0, 10.5), (10.5, 16.0)]
    );
    assert_eq!(spans("[trials]\ntable = 'epochs'"), [(5.0, 16.0)]);
}

#[test]
fn times_of_another_unit_or_clock_are_told_and_can_be_brought_to_seconds() {
    for (per_s, word) in [(1000.0, "ms (1000)"), (30_000.0, "samples (the sampling rate)")] {
        let mut source = source();
        source.spikes_s.iter_mut().flatten().for_each(|time| *time *= per_s);
        let message = refused("", source.clone());
        assert!(
            message.contains(word) && message.contains("clock.spikes_per_s"),
            "{message}"
        );
        let scaled = plan(&format!("[clock]\nspikes_per_s = {per_s}"))
            .apply(vec![source])
            .expect("scaled");
        let Activity::SpikeTimes { times_s, .. } = &scaled.0.sessions[0].activity else {
            panic!("spike times");
        };
        assert!((times_s[1][3] - 3.01).abs() < 1e-12);
    }
    let mut source = source();
    let Some(trials) = &mut source.trials else {
        panic!("trials")
    };
    for name in ["start_time", "stop_time"] {
        let Some(Column::Numbers(values)) = trials.get(name).cloned() else {
            panic!("numbers");
        };
        let in_ms = values.into_iter().map(|time| time * 1000.0).collect();
        trials.insert("test", name, Column::Numbers(in_ms)).expect("five rows");
    }
    let message = refused("", source.clone());
    assert!(message.contains("clock.trials_per_s"), "{message}");
    let scaled = plan("[clock]\ntrials_per_s = 1000")
        .apply(vec![source])
        .expect("scaled");
    assert_eq!(scaled.0.sessions[0].trials[1].start_s, 10.0);
}

#[test]
fn gaps_disorder_and_trials_outside_of_the_recording_are_told() {
    let mut source = source();
    // Dense spikes with nothing from 20 to 30 s; unit 3 in reverse.
    let dense: Vec<f64> = (0..2000)
        .map(|i| f64::from(i) * 0.025)
        .filter(|t| !(20.0..30.0).contains(t))
        .collect();
    source.spikes_s = vec![dense.clone(), vec![], vec![], dense.into_iter().rev().collect()];
    source.observed_s = Some((0.0, 41.0));
    let (recording, report) = plan("[trials]\nwindow_s = [0.0, 1.0]\nalign_to = 'start_time + 3'")
        .apply(vec![source.clone()])
        .expect("a session");
    let warnings: Vec<&str> = report.sessions[0].warnings.iter().map(|w| w.message.as_str()).collect();
    assert!(
        warnings
            .iter()
            .any(|w| w.contains("no unit spikes from 20 to 30 s (1 gap; 1 trials lie in them)")),
        "{warnings:?}"
    );
    // Where no trial is there, nothing has to be left out.
    let (_, without) =
        plan("[trials]\nwindow_s = [0.0, 1.0]\nalign_to = 'start_time + 3'\nfilter = 'start_time != 20'")
            .apply(vec![source.clone()])
            .expect("a session");
    let told = without.sessions[0]
        .warnings
        .iter()
        .find(|w| w.message.contains("no unit spikes"));
    let expected = "no unit spikes from 20 to 30 s (1 gap; no trial lies in them): was the recording interrupted?";
    assert_eq!(told.expect("a gap").message, expected);
    assert!(
        warnings
            .iter()
            .any(|w| w.contains("spikes of 1 units were not in order, first of 'u3'")),
        "{warnings:?}"
    );
    // The last one is from 43 s on.
    assert_eq!(recording.sessions[0].n_trials(), 4);
    let late = plan("[trials]\nwindow_s = [0.0, 1.0]\nalign_to = 'start_time * 1.5'")
        .apply(vec![source.clone()])
        .expect("a session");
    let rule = late.1.sessions[0].trials.rules.last().expect("a rule");
    // What the file says counts, whatever spikes there are after it: of 2000 every 25 ms, 359 of two units.
    assert_eq!((rule.dropped, late.1.sessions[0].trials.kept), (2, 3));
    assert!(
        warnings
            .iter()
            .any(|w| w.contains("718 of 3200 spikes lie outside of 0 s to 41 s")),
        "{warnings:?}"
    );
    assert!(
        rule.rule.starts_with("spikes being recorded, from 0 s to 41 s"),
        "{}",
        rule.rule
    );
    // The span of the spikes is not known then; looking for gaps in it would go wrong.
    source.spikes_s[1] = vec![1000.0, f64::NAN];
    assert!(refused("", source).contains("m1, unit 'u1': spike 1 is at NaN s; expected a finite time"));
}

#[test]
fn a_window_around_an_event_needs_no_start_or_stop_and_takes_them_where_they_are_asked_for() {
    let mut source = source();
    let events = table(
        2,
        &[("time", numbers(&[10.0, 20.0])), ("first", numbers(&[9.9, f64::NAN]))],
    );
    source.intervals.insert("licks".to_owned(), events);
    let spans = |more: &str| -> Vec<(f64, f64)> {
        let text = format!("[trials]\ntable = 'licks'\nalign_to = 'time'\nwindow_s = [-0.5, 1.0]\n{more}");
        let (recording, _) = plan(&text).apply(vec![source.clone()]).expect("a session");
        recording.sessions[0]
            .trials
            .iter()
            .map(|t| (t.start_s, t.stop_s))
            .collect()
    };
    assert_eq!(spans(""), [(9.5, 11.0), (19.5, 21.0)]);
    assert_eq!(
        spans("start = 'first'\nstop = 'time + 0.25'"),
        [(9.9, 10.25), (19.5, 20.25)]
    );
}

#[test]
fn units_that_were_not_observed_in_every_trial_are_told() {
    let mut source = source();
    let whole = vec![(0.0, 50.0)];
    source.unit_observed_s = Some(vec![
        whole.clone(),
        vec![(0.0, 15.0), (25.0, 50.0)],
        vec![(11.0, 22.0)],
        whole,
    ]);
    let warning = |plan_text: &str| {
        let (_, report) = plan(plan_text).apply(vec![source.clone()]).expect("a session");
        let warnings = &report.sessions[0].warnings;
        warnings
            .iter()
            .map(|w| w.message.clone())
            .find(|m| m.contains("not observed"))
    };
    let told = warning("").expect("two units");
    assert!(
        told.starts_with("2 of 4 units were not observed in every trial (unit 'u2' in 4 of 5 not)"),
        "{told}"
    );
    assert!(told.ends_with("these trials don't count for them"), "{told}");
    let (recording, _) = plan("").apply(vec![source.clone()]).expect("a session");
    let Activity::SpikeTimes { unit_observed_s, .. } = &recording.sessions[0].activity else {
        panic!("spike times");
    };
    assert_eq!(*unit_observed_s, source.unit_observed_s);
    // Without the units, or the trials, there is nothing to tell.
    assert_eq!(warning("[units]\nfilter = 'isi_violations == 0.1'"), None);
    assert_eq!(
        warning("[units]\nfilter = 'isi_violations != 0.2'\n[trials]\nfilter = 'start_time != 20'"),
        None
    );
}

#[test]
fn intervals_of_observation_are_sorted_and_put_together_and_units_without_are_there_throughout() {
    let mut source = source();
    source.unit_observed_s = Some(vec![
        vec![(20.0, 50.0), (0.0, 10.0), (10.0, 20.0)],
        Vec::new(),
        vec![(0.0, 22.0)],
        vec![(0.0, 50.0)],
    ]);
    let (recording, report) = plan("").apply(vec![source.clone()]).expect("a session");
    let Activity::SpikeTimes { unit_observed_s, .. } = &recording.sessions[0].activity else {
        panic!("spike times");
    };
    let expected = [vec![(0.0, 50.0)], Vec::new(), vec![(0.0, 22.0)], vec![(0.0, 50.0)]];
    assert_eq!(unit_observed_s.as_deref(), Some(&expected[..]));
    let warnings: Vec<&str> = report.sessions[0].warnings.iter().map(|w| w.message.as_str()).collect();
    let none = "1 of 4 units have no interval of observation, others have: they are taken as observed throughout";
    assert!(warnings.contains(&none), "{warnings:?}");
    // Edges that a file has rounded are those of the trial: 21.9999 s is 22 s, and less is less.
    let mut rounded = source.clone();
    rounded.unit_observed_s = Some(vec![
        vec![(0.0, 21.999_95)],
        vec![(0.0, 21.999)],
        vec![(0.0, 60.0)],
        vec![(0.0, 60.0)],
    ]);
    let (recording, _) = plan("").apply(vec![rounded]).expect("a session");
    let Activity::SpikeTimes { unit_observed_s, .. } = &recording.sessions[0].activity else {
        panic!("spike times");
    };
    let ends: Vec<f64> = unit_observed_s.iter().flatten().map(|own| own[0].1).collect();
    assert_eq!(ends, [22.0, 21.999, 60.0, 60.0]);
    // Where every unit saw every trial, the recording is as without intervals.
    source.unit_observed_s = Some(vec![vec![(0.0, 60.0)]; 4]);
    let (whole, _) = plan("").apply(vec![source.clone()]).expect("a session");
    source.unit_observed_s = None;
    source.observed_s = Some((0.0, 60.0));
    let (plain, _) = plan("").apply(vec![source.clone()]).expect("a session");
    assert_eq!(whole, plain);
    source.unit_observed_s = Some(vec![vec![(5.0, 2.0)], vec![(0.0, 9.0)], Vec::new(), Vec::new()]);
    let message = refused("", source);
    assert!(
        message.contains("intervals of observation of 1 units are none"),
        "{message}"
    );
}

#[test]
fn what_a_plan_asks_for_and_the_file_does_not_have_is_told_all_at_once_with_its_key() {
    let message = refused(
        "[trials]\nalign_to = 'stimon'\nfilter = 'contrast > x'\n[units]\nfilter = 'isi_violation < 1'\n[units.cell_type]\ncolumn = 'kind'",
        source(),
    );
    for expected in [
        "m1, trials.align_to: in 'stimon', column 1: there is no column 'stimon'; did you mean 'stim_on'?",
        "m1, units.cell_type.column: there is no column 'kind'",
    ] {
        assert!(message.contains(expected), "{message}");
    }
    let none = refused("[units]\nfilter = 'presence_ratio > 2'", source());
    assert!(
        none.contains("none of 4 units is taken: 4 dropped by presence_ratio > 2"),
        "{none}"
    );
    let none = refused("[trials]\nfilter = 'contrast > 2'", source());
    assert!(
        none.contains("none of 5 trials is taken: 5 dropped by contrast > 2"),
        "{none}"
    );
}

#[test]
fn a_plan_out_of_range_is_refused_with_every_key_before_a_file_is_read() {
    let text = "schema = 2\n[clock]\nspikes_per_s = 0\n[trials]\nevery_s = 2.0\nalign_to = 'a'\nwindow_s = [1.0, 0.5]\ntype = 'x'\n\
                types = [{ name = 'a', when = 'b =' }]\n[units.waveform]\nvalue = 'w'\nnarrow_below = 2.0\nwide_above = 1.0";
    let message = ImportPlan::from_toml("plan.toml", text)
        .expect_err("seven faults")
        .to_string();
    for key in [
        "plan.toml: schema is 2",
        "clock.spikes_per_s is 0",
        "trials.window_s is [1, 0.5]",
        "units.waveform",
        "trials.align_to has no meaning beside trials.every_s",
        "trials.type and trials.types",
        "trials.types[0].when: in 'b =', column 3",
    ] {
        assert!(message.contains(key), "{key}: {message}");
    }
    let unknown = ImportPlan::from_toml("plan.toml", "[units]\nfliter = 'a'")
        .expect_err("a typo")
        .to_string();
    assert!(unknown.contains("fliter") && unknown.contains("filter"), "{unknown}");
}

#[test]
fn columns_that_native_recordings_have_are_taken_where_the_plan_names_none_and_told() {
    let mut named = source();
    let trials = named.trials.as_mut().expect("trials");
    let set = |table: &mut Table, name: &str, column: Column| table.insert("test", name, column).expect("as long");
    set(trials, "align_time", numbers(&[0.5, 10.5, 20.5, 30.5, 40.5]));
    set(trials, "stimulus", numbers(&[4.0, 0.0, 4.0, 0.0, -1.0]));
    set(&mut named.units, "unit_name", texts(&["a", "b", "c", "d"]));
    set(&mut named.units, "firing_rate", numbers(&[7.5, f64::NAN, 0.0, -1.0]));
    let (recording, report) = ImportPlan::default().apply(vec![named.clone()]).expect("a session");
    let session = &recording.sessions[0];
    let units: Vec<_> = session
        .units
        .iter()
        .map(|u| (u.id.as_str(), u.firing_rate_hz))
        .collect();
    assert_eq!(units, [("a", Some(7.5)), ("b", None), ("c", Some(0.0)), ("d", None)]);
    let trials: Vec<_> = session.trials.iter().map(|t| (t.align_s, t.stimulus)).collect();
    assert_eq!(trials[0], (0.5, 4.0));
    assert_eq!(trials[4], (40.5, -1.0));
    let told: Vec<String> = report.sessions[0].warnings.iter().map(ToString::to_string).collect();
    for column in ["align_time", "stimulus", "unit_name"] {
        assert!(
            told.iter().any(|told| told.contains(&format!("column '{column}'"))),
            "{told:?}"
        );
    }

    // A plan wins.
    let text = "[trials]\nalign_to = 'start_time'\nstimulus = 'contrast'\n[units]\nid = 'brain_area'\nfilter = 'brain_area != \"\"'\n\
                firing_rate = '2 * width_ms'\n";
    let (recording, _) = plan(text).apply(vec![named.clone()]).expect("a session");
    let session = &recording.sessions[0];
    assert_eq!(
        (session.units[1].id.as_str(), session.units[1].firing_rate_hz),
        ("VISp5", Some(1.4))
    );
    assert_eq!((session.trials[1].align_s, session.trials[2].stimulus), (10.0, 0.5));

    // Columns of the same names that say something else are left alone.
    let trials = named.trials.as_mut().expect("trials");
    set(trials, "align_time", numbers(&[0.5, 10.5, f64::NAN, 30.5, 40.5]));
    set(trials, "stimulus", texts(&["bar", "dots", "bar", "bar", "dots"]));
    set(&mut named.units, "unit_name", texts(&["0", "1", "0", "1"]));
    set(&mut named.units, "firing_rate", texts(&["high", "low", "low", "low"]));
    let (recording, _) = ImportPlan::default().apply(vec![named]).expect("a session");
    let session = &recording.sessions[0];
    assert_eq!(
        (
            session.n_trials(),
            session.trials[0].align_s,
            session.trials[0].stimulus
        ),
        (5, 0.0, 0.0)
    );
    assert_eq!(
        (session.units[0].id.as_str(), session.units[0].firing_rate_hz),
        ("u0", None)
    );
}

#[test]
fn offsets_move_all_times_together_or_those_of_spikes_alone() {
    let unmoved = ImportPlan::default().apply(vec![source()]).expect("a session").0;
    let text = "clock.offset_s = 100.0\nclock.spikes_offset_s = 0.25\nbehaviour.jaw = { series = 'behavior/jaw', channel = 'x' }";
    let moved = plan(text).apply(vec![source()]).expect("a session").0;
    let [unmoved, moved] = [unmoved, moved].map(|mut recording| recording.sessions.remove(0));
    for (a, b) in unmoved.trials.iter().zip(&moved.trials) {
        let [a, b] = [a, b].map(|trial| [trial.start_s, trial.stop_s, trial.align_s]);
        assert_eq!(a.map(|time| time + 100.0), b);
    }
    let times = |session: &data::Session| match &session.activity {
        Activity::SpikeTimes { times_s, .. } => times_s.clone(),
        Activity::Binned { .. } => panic!("spike times"),
    };
    assert_eq!(times(&moved)[1][3], times(&unmoved)[1][3] + 100.25);
    let BehaviourSamples::Continuous { timing, .. } = &moved.behaviour["jaw"].samples else {
        panic!("continuous")
    };
    assert_eq!(*timing, Timing::Timestamps(vec![100.0, 101.0]));
}

#[test]
fn spikes_before_0_are_refused_with_the_offset_that_mends_it() {
    let mut early = source();
    early.spikes_s[2].insert(0, -2.3);
    let message = refused("", early.clone());
    assert!(
        message.contains("the first spike is at -2.3 s") && message.contains("clock.offset_s = 3.0"),
        "{message}"
    );
    plan("clock.offset_s = 3.0")
        .apply(vec![early.clone()])
        .expect("no time below 0");
    // What is there already counts.
    let message = refused("clock.offset_s = 1.0", early);
    assert!(message.contains("clock.offset_s = 3.0"), "{message}");
    let message = ImportPlan::from_toml("plan.toml", "clock.offset_s = nan\nclock.observed_s = [3.0, 2.0]");
    let message = message.expect_err("no times").to_string();
    assert!(
        message.contains("clock.offset_s is NaN") && message.contains("clock.observed_s is [3, 2]"),
        "{message}"
    );
}

#[test]
fn trials_outside_of_what_was_recorded_are_left_out() {
    let mut quiet = source();
    for times in &mut quiet.spikes_s {
        times.retain(|time| *time < 25.0);
    }
    // Without a word of the file, trials after the last spike count as silent.
    let silent = ImportPlan::default().apply(vec![quiet.clone()]).expect("a session").0;
    assert_eq!(silent.sessions[0].trials.len(), 5);
    let (recording, report) = plan("clock.observed_s = [0.0, 25.0]")
        .apply(vec![quiet])
        .expect("a session");
    assert_eq!(recording.sessions[0].trials.len(), 3);
    let Activity::SpikeTimes { observed_s, .. } = recording.sessions[0].activity else {
        panic!("spike times")
    };
    assert_eq!(observed_s, (0.0, 25.0));
    assert_eq!(
        (report.sessions[0].trials.found, report.sessions[0].trials.kept),
        (5, 3)
    );
}

#[test]
fn patterns_of_areas_that_nothing_or_too_much_has_are_told() {
    let text = "[units.areas]\nV1 = ['VISp*', 'V1*']\nhippocampus = ['CA*', 'VISp5']\n";
    let (recording, report) = plan(text).apply(vec![source()]).expect("a session");
    let told: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told[..2],
        [
            "units.areas.V1: no area is 'V1*'; there are: CA1, VISp1, VISp5, unknown",
            "units.areas: 'VISp5' belongs to 'V1' and to 'hippocampus'; it goes to 'V1'"
        ]
    );
    assert_eq!(recording.sessions[0].units[1].area, "V1");
}

/// Warnings of the only session.
fn warnings(plan_text: &str, source: Source) -> Vec<String> {
    let (_, report) = plan(plan_text).apply(vec![source]).expect(plan_text);
    report.sessions[0].warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn values_that_are_missing_where_a_condition_or_a_type_is_asked_for_are_counted() {
    let mut source = source();
    let trials = source.trials.as_mut().unwrap();
    let add = |table: &mut Table, name: &str, column: Column| table.insert("test", name, column).unwrap();
    add(trials, "went", numbers(&[1.0, f64::NAN, 0.0, f64::NAN, 1.0]));
    add(trials, "outcome", texts(&["hit", "", "miss", "hit", ""]));
    add(&mut source.units, "kind", texts(&["pyr", "", "", "fs"]));
    add(&mut source.units, "is_fs", numbers(&[0.0, 1.0, f64::NAN, 0.0]));
    let cases = [
        (
            "[trials]\ntypes = [{ name = 'go', when = 'went' }, { name = 'other', when = 'true' }]",
            "m1, trials.types[0].when: a value of 'went' is missing in 2 of 5 trials; the condition is false there",
        ),
        (
            "[trials]\ntypes = [{ name = 'go', when = 'went != 0' }, { name = 'other', when = 'true' }]",
            "m1, trials.types[0].when: a value of 'went != 0' is missing in 2 of 5 trials; the condition holds in 2 of these (hint: '&& \
             !missing(COLUMN)' leaves them out)",
        ),
        (
            "[trials]\ntypes = [{ name = 'go', when = \"went == 1 || outcome == 'hit'\" }, { name = 'other', when = 'true' }]",
            "m1, trials.types[0].when: a value of 'went == 1 || outcome == 'hit'' is missing in 2 of 5 trials; the condition holds in 1 of \
             these (hint: '&& !missing(COLUMN)' leaves them out)",
        ),
        (
            "[trials]\ntype = 'outcome'",
            "m1, trials: 2 of 5 trials have no type; it is 'unknown'",
        ),
        (
            "[units.cell_type]\ncolumn = 'kind'",
            "m1, units: 2 of 4 units have no cell type in column 'kind'; it is unknown",
        ),
        (
            "[units.cell_type]\ninhibitory = 'is_fs'",
            "m1, units.cell_type.inhibitory: a value of 'is_fs' is missing in 1 of 4 units; the condition is false there",
        ),
    ];
    for (text, expected) in cases {
        let told = warnings(text, source.clone());
        assert!(told.iter().any(|w| w == expected), "{expected}: {told:?}");
    }
    // Nothing is missing here.
    let told = warnings(
        "[trials]\ntypes = [{ name = 'lick', when = 'licked' }, { name = 'none', when = '!licked' }]",
        source,
    );
    assert!(!told.iter().any(|w| w.contains("missing")), "{told:?}");
}

/// The source with samples of the jaw at these times.
fn with_jaw(timing: Timing) -> Source {
    let mut source = source();
    let samples = source.series.get_mut("behavior/jaw").unwrap().samples.as_mut().unwrap();
    let n = match &timing {
        Timing::Timestamps(times) => times.len(),
        Timing::Rate { .. } => 4200,
    };
    samples.values = ndarray::Array2::zeros((n, 2));
    samples.timing = timing;
    source
}

#[test]
fn times_of_behaviour_are_of_the_clock_of_the_trials_or_are_brought_there() {
    let jaw = "[behaviour.jaw]\nseries = 'behavior/jaw'\nchannel = 0\n";
    let timing = |plan_text: &str, timing: Timing| {
        let text = format!("{plan_text}{jaw}");
        let (mut recording, _) = plan(&text).apply(vec![with_jaw(timing)]).expect("a session");
        match recording.sessions.remove(0).behaviour.remove("jaw").unwrap().samples {
            BehaviourSamples::Continuous { timing, .. } => timing,
            BehaviourSamples::PerBin(_) => panic!("samples"),
        }
    };
    let in_ms = || Timing::Timestamps((0..43).map(|i| 1000.0 * f64::from(i)).collect());
    let message = refused(jaw, with_jaw(in_ms()));
    let expected = "m1, behaviour.jaw: the last sample is at 42000 s and the last trial ends at 42 s: times of one of them are in ms (1000) \
                    (hint: clock.traces_per_s in a TOML for --spec says how many of its units are a second; 1 if they are s)";
    assert!(message.contains(expected), "{message}");
    let seconds = Timing::Timestamps((0..43).map(f64::from).collect());
    assert_eq!(timing("[clock]\ntraces_per_s = 1000\n", in_ms()), seconds);
    // An offset of all times, and one of the traces alone; a rate is in Hz.
    let rate = |start_s: f64| Timing::Rate {
        rate_hz: 100.0,
        start_s,
    };
    let moved = timing("[clock]\noffset_s = 2.0\ntraces_offset_s = 0.5\n", rate(1.0));
    assert_eq!(moved, rate(3.5));
    assert_eq!(timing("[clock]\ntraces_per_s = 1000\n", rate(500.0)), rate(0.5));
    let late = with_jaw(Timing::Timestamps(vec![50.0, 60.0, 70.0]));
    let told = warnings(jaw, late);
    let expected = "m1, behaviour.jaw: samples from 50 s to 70 s, trials from 0 s to 42 s: no trial has any (hint: clock.traces_offset_s \
                    in a TOML for --spec moves them, clock.traces_per_s says how many of their units are a second)";
    assert!(told.iter().any(|w| w == expected), "{told:?}");
    assert!(
        !warnings(jaw, with_jaw(rate(0.0)))
            .iter()
            .any(|w| w.contains("behaviour.jaw"))
    );
    let message = ImportPlan::from_toml("p", "[clock]\ntraces_per_s = 0\ntraces_offset_s = nan")
        .unwrap_err()
        .to_string();
    for key in ["clock.traces_per_s is 0", "clock.traces_offset_s is NaN"] {
        assert!(message.contains(key), "{message}");
    }
}

#[test]
fn sessions_of_one_name_are_refused_with_the_option_that_names_them() {
    let message = ImportPlan::default()
        .apply(vec![source(), source()])
        .unwrap_err()
        .to_string();
    let expected = "session 'm1': 2 files have a session of this name; names must differ (hint: --session-id names the session of each \
                    file, in their order)";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn an_interval_of_observation_without_length_says_that_a_unit_was_never_observed() {
    let mut source = source();
    let whole = vec![(0.0, 50.0)];
    source.unit_observed_s = Some(vec![
        whole.clone(),
        vec![(0.0, 0.0)],
        vec![(11.0, 11.0), (0.0, 22.0)],
        whole.clone(),
    ]);
    let (recording, _) = plan("").apply(vec![source]).expect("a session");
    let Activity::SpikeTimes { unit_observed_s, .. } = &recording.sessions[0].activity else {
        panic!("spike times");
    };
    let expected = [whole.clone(), vec![(0.0, 0.0)], vec![(0.0, 22.0)], whole];
    assert_eq!(unit_observed_s.as_deref(), Some(&expected[..]));
    assert_eq!(data::summary(&recording, &[]).sessions[0].never_observed, ["u1"]);
}

#[test]
fn a_recording_that_was_often_interrupted_is_imported_in_a_moment() {
    // 20 000 stretches and as many trials, of 20 units: 16 billion comparisons one by one. The last unit misses a trial.
    let n = 20_000;
    let at = |k: u32, more: f64| 2.0 * f64::from(k) + more;
    let mut source = source();
    let starts: Vec<f64> = (0..n).map(|k| at(k, 0.0)).collect();
    let stops: Vec<f64> = (0..n).map(|k| at(k, 1.0)).collect();
    source.trials = Some(table(
        n as usize,
        &[("start_time", numbers(&starts)), ("stop_time", numbers(&stops))],
    ));
    source.units = table(20, &[("area", texts(&["V1"; 20]))]);
    source.unit_ids = (0..20).map(|i| i.to_string()).collect();
    source.spikes_s = vec![starts.iter().flat_map(|t| [t + 0.5, t + 0.51]).collect(); 20];
    // Edges as a file rounds them: 0.05 ms short.
    let stretches: Vec<(f64, f64)> = (0..n).map(|k| (at(k, 0.0), at(k, 1.0 - 5e-5))).collect();
    let mut units = vec![stretches; 20];
    units[19].remove(7);
    source.unit_observed_s = Some(units);
    let start = std::time::Instant::now();
    let (recording, report) = plan("").apply(vec![source]).expect("a session");
    // Measured: about a second with all checks; one by one it would be a minute.
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    let told = "1 of 20 units were not observed in every trial (unit '19' in 1 of 20000 not); these trials don't count for them";
    assert!(report.sessions[0].warnings.iter().any(|w| w.message == told));
    let Activity::SpikeTimes { unit_observed_s, .. } = &recording.sessions[0].activity else {
        panic!("spike times");
    };
    let observed = unit_observed_s.as_ref().unwrap();
    assert_eq!((observed[0].len(), observed[0][3]), (20_000, (6.0, 7.0)));
}

#[test]
fn messages_name_the_remedy() {
    // Units of one name: one problem, and the key.
    let mut twice = source();
    twice.unit_ids = ["a", "a", "b", "a"].map(str::to_owned).to_vec();
    let message = refused("", twice.clone());
    assert!(
        message.contains("m1, units: 2 of 4 have the name of one above, first 'a' (hint: units.id in a TOML for --spec names a column"),
        "{message}"
    );
    assert!(
        message.contains("1 problem") && message.contains("brain_area"),
        "{message}"
    );
    assert!(
        plan("units.id = 'width_ms'\nunits.filter = 'width_ms > 0'")
            .apply(vec![twice])
            .is_ok()
    );
    // Trials without an end.
    let mut endless = source();
    let trials = endless.trials.as_mut().expect("trials");
    trials
        .insert("test", "stop_time", numbers(&[f64::NAN; 5]))
        .expect("five rows");
    let message = refused("", endless.clone());
    assert!(
        message.contains("none of 5 trials is taken: 5 dropped by an end after its start; 5 of them have no 'stop_time' (hint: --window-s"),
        "{message}"
    );
    assert!(
        plan("trials.window_s = [0.0, 1.0]")
            .apply(vec![endless.clone()])
            .is_ok()
    );
    assert!(plan("trials.stop = 'start_time + 2'").apply(vec![endless]).is_ok());
    // A channel.
    let message = refused("[behaviour.jaw]\nseries = 'behavior/jaw'", source());
    assert!(
        message.contains(
            "behaviour.jaw.channel says which, or --behaviour jaw=behavior/jaw:0 for the first one (channels: x, y)"
        ),
        "{message}"
    );
    // A name, where channels have none.
    for (channel, number) in [("y", 1), ("left", 0)] {
        let mut unnamed = source();
        unnamed.series.values_mut().for_each(|series| series.channels.clear());
        let message = refused(
            &format!("behaviour.jaw = {{ series = 'behavior/jaw', channel = '{channel}' }}"),
            unnamed,
        );
        let hint = format!(
            "channels: 0 to 1, which have no names (hint: --behaviour jaw=behavior/jaw:{number} takes one by its number)"
        );
        assert!(message.contains(&hint), "{message}");
    }
}
