//! Spikes, trials and tables that can't be of one session as they are: what is refused, what is told, with numbers known from how
//! the sources are made.

use data::import::source::{Samples, Series};
use data::import::{Column, ImportPlan, ImportReport, Source, Table};
use data::{Activity, DataError, Recording, Timing};
use rand::RngExt;

use crate::common::rng;

pub fn table(columns: &[(&str, Vec<f64>)]) -> Table {
    let mut table = Table::new(columns[0].1.len());
    for (name, values) in columns {
        table.insert("test", *name, Column::Numbers(values.clone())).unwrap();
    }
    table
}

/// Spikes of so many units at random times from `from` to `to` (s), refractory for 2 ms.
pub fn trains(n_units: u64, (from, to): (f64, f64), rate_hz: f64) -> Vec<Vec<f64>> {
    let train = |unit: u64| {
        let mut rng = rng(100 + unit);
        let mut times = Vec::new();
        let mut time = from;
        loop {
            time += 0.002 - (1.0 - rng.random::<f64>()).ln() * (1.0 / rate_hz - 0.002);
            if time >= to {
                return times;
            }
            times.push(time);
        }
    };
    (0..n_units).map(train).collect()
}

/// Ten units at 3 Hz from `from` to `to`, and 200 trials of 3 s every `dt` s from 10 s on, with the stimulus 0.5 s after their start.
pub fn source((from, to): (f64, f64), dt: f64) -> Source {
    let starts: Vec<f64> = (0..200).map(|k| 10.0 + dt * f64::from(k)).collect();
    let moved = |by: f64| starts.iter().map(|start| start + by).collect::<Vec<f64>>();
    Source {
        unit_ids: (0..10).map(|unit| unit.to_string()).collect(),
        units: Table::new(10),
        spikes_s: trains(10, (from, to), 3.0),
        trials: Some(table(&[
            ("start_time", starts.clone()),
            ("stop_time", moved(3.0)),
            ("stim", moved(0.5)),
        ])),
        ..Source::empty("s", "test")
    }
}

/// The trials with their columns changed.
pub fn with_trials(mut source: Source, of: impl Fn(&str, &[f64]) -> (String, Vec<f64>)) -> Source {
    let old = source.trials.take().unwrap();
    let columns: Vec<(String, Vec<f64>)> = old
        .names()
        .map(|name| match old.get(name) {
            Some(Column::Numbers(values)) => of(name, values),
            other => panic!("numbers, not {other:?}"),
        })
        .collect();
    let columns: Vec<(&str, Vec<f64>)> = columns
        .iter()
        .map(|(name, values)| (name.as_str(), values.clone()))
        .collect();
    source.trials = Some(table(&columns));
    source
}

pub fn times(factor: f64) -> impl Fn(&str, &[f64]) -> (String, Vec<f64>) {
    move |name, values| (name.to_owned(), values.iter().map(|value| value * factor).collect())
}

pub const STIM: &str = "[trials]\nalign_to = 'stim'\nwindow_s = [-0.5, 1.5]\nstimulus = '1'";

pub fn apply(text: &str, source: Source) -> Result<(Recording, ImportReport), DataError> {
    let plan = ImportPlan::from_toml("plan", &format!("units.area = \"'V1'\"\n{text}")).unwrap();
    plan.apply(vec![source])
}

#[track_caller]
pub fn refused(text: &str, source: Source) -> String {
    apply(text, source).expect_err(text).to_string()
}

/// Number of trials, and all warnings but those of silence.
#[track_caller]
pub fn told(text: &str, source: Source) -> (usize, Vec<String>) {
    let (recording, report) = apply(text, source).unwrap();
    let all = report.sessions.iter().flat_map(|session| &session.warnings);
    let all = all.chain(&report.warnings).map(ToString::to_string).collect();
    (recording.sessions[0].n_trials(), all)
}

#[track_caller]
pub fn assert_one(warnings: &[String], part: &str) {
    let n = warnings.iter().filter(|warning| warning.contains(part)).count();
    assert_eq!(n, 1, "'{part}' in {warnings:#?}");
}

#[test]
fn a_sound_session_is_taken_without_a_word() {
    let (n, warnings) = told(STIM, source((0.0, 3600.0), 17.0));
    assert_eq!((n, warnings), (200, Vec::<String>::new()));
}

#[test]
fn trials_that_share_their_time_are_told_and_refused_where_most_share_most_of_it() {
    // Windows of 2 s every 1.9 s share a twentieth, every 0.9 s more than a half.
    let (n, warnings) = told(STIM, source((0.0, 3600.0), 1.9));
    assert_eq!(n, 200);
    assert_one(&warnings, "199 of 200 trials begin before an earlier one has ended");
    let message = refused(STIM, source((0.0, 3600.0), 0.9));
    assert!(
        message.contains("199 of 200 trials share more than half of their time"),
        "{message}"
    );
    // Windows that slide are taken where the plan says so, and told all the same.
    assert!(
        message.contains("trials.overlap = true in a TOML for --spec"),
        "{message}"
    );
    let (n, warnings) = told(&format!("{STIM}\noverlap = true"), source((0.0, 3600.0), 0.9));
    assert_eq!(n, 200);
    assert_one(&warnings, "199 of 200 trials begin before an earlier one has ended");
    // A window in ms that was typed as s.
    let long = "[trials]\nalign_to = 'stim'\nwindow_s = [-500, 1500]\nstimulus = '1'";
    let message = refused(long, source((0.0, 3600.0), 17.0));
    assert!(
        message.contains("[-500, 1500] in s") && message.contains("in ms?"),
        "{message}"
    );
}

#[test]
fn events_that_are_relative_to_trials_are_refused_whatever_their_columns_are_called() {
    let jitter = |k: usize| 0.2 + 1.3 * ((k * 7919) % 200) as f64 / 200.0;
    let relative = |names: [&str; 2], length_s: f64| {
        let names = names.map(ToOwned::to_owned);
        with_trials(source((0.0, length_s), 17.0), move |name, values| match name {
            "stim" => (name.to_owned(), (0..values.len()).map(jitter).collect()),
            "start_time" => (names[0].clone(), values.to_vec()),
            _ => (names[1].clone(), values.to_vec()),
        })
    };
    // In sessions of 25 minutes and an hour the ratio of both is one of ms.
    for length_s in [1500.0, 3600.0, 9000.0] {
        let known = refused(STIM, relative(["trial_start", "trial_end"], length_s));
        assert!(
            known.contains(
                "(hint: --align-to 'trial_start + stim', or trials.align_to = \"trial_start + stim\" in a TOML"
            ),
            "{known}"
        );
        let unknown = refused(STIM, relative(["t_a", "t_b"], length_s));
        assert!(
            unknown.contains("is \"t_a + stim\"") && !unknown.contains("in ms (1000)"),
            "{unknown}"
        );
    }
    // The way on: they are times of the session.
    let early = relative(["t_a", "t_b"], 9000.0);
    let message = refused(&format!("{STIM}\n[clock]\ntrials_per_s = 1"), early);
    assert!(!message.contains("relative to the start"), "{message}");
    // A start on the clock leaves nothing of windows around them.
    let message = refused(
        "[trials]\nstart = 't_a'\nalign_to = 'stim'\nwindow_s = [-0.1, 1.0]",
        relative(["t_a", "t_b"], 9000.0),
    );
    assert!(message.contains("\"t_a + stim\""), "{message}");
    // Every row starts at 0.
    let zero = with_trials(relative(["t_a", "t_b"], 9000.0), |name, values| match name {
        "t_a" => ("start_time".to_owned(), vec![0.0; values.len()]),
        "t_b" => ("stop_time".to_owned(), vec![3.0; values.len()]),
        _ => (name.to_owned(), values.to_vec()),
    });
    assert!(refused(STIM, zero).contains("the start of the trial + stim"));
}

#[test]
fn ends_before_their_starts_are_taken_for_durations_and_told_or_refused() {
    let durations = || {
        with_trials(source((0.0, 3600.0), 17.0), |name, values| match name {
            "stop_time" => (name.to_owned(), vec![3.0; values.len()]),
            _ => (name.to_owned(), values.to_vec()),
        })
    };
    let (n, warnings) = told(STIM, durations());
    assert_eq!(n, 200);
    assert_one(&warnings, "'stop_time' is before 'start_time' in 200 of 200 rows");
    let hint = "trials.stop = \"start_time + stop_time\"";
    assert!(refused("", durations()).contains(hint));
    let (recording, _) = apply(
        &format!("[trials]\n{}", hint.trim_start_matches("trials.")),
        durations(),
    )
    .unwrap();
    assert_eq!(recording.sessions[0].trials[1].stop_s, 30.0);
    // Such rows are compared with events too.
    let relative = with_trials(durations(), |name, values| match name {
        "stim" => (name.to_owned(), vec![0.5; values.len()]),
        _ => (name.to_owned(), values.to_vec()),
    });
    assert!(refused(STIM, relative).contains("\"start_time + stim\""));
    let shifted = with_trials(source((0.0, 3600.0), 17.0), |name, values| match name {
        "stim" => (name.to_owned(), values.iter().map(|value| value + 17.0).collect()),
        _ => (name.to_owned(), values.to_vec()),
    });
    let message = refused(STIM, shifted);
    assert!(message.contains("most lie in the row after theirs"), "{message}");
}

#[test]
fn trials_before_the_first_spike_are_told_and_left_out_where_the_plan_says_when_spikes_were_recorded() {
    // Trial k is from 10 + 17 k to 12 + 17 k s: those up to 34 end before 600 s.
    let (n, warnings) = told(STIM, source((600.0, 3600.0), 17.0));
    assert_eq!(n, 200);
    assert_one(&warnings, "35 of 200 trials end before the first spike");
    assert_one(&warnings, "clock.observed_s = [600, 3600]");
    let stated = format!("{STIM}\n[clock]\nobserved_s = [600, 3600]");
    let (n, warnings) = told(&stated, source((600.0, 3600.0), 17.0));
    assert_eq!((n, warnings.len()), (165, 0), "{warnings:?}");
    // Where most lie outside, it is refused, with the same way on.
    let message = refused(STIM, source((3000.0, 3600.0), 17.0));
    assert!(message.contains("no unit spikes in 176 of 200 trials"), "{message}");
    let stated = format!("{STIM}\n[clock]\nobserved_s = [3000, 3600]");
    assert_eq!(told(&stated, source((3000.0, 3600.0), 17.0)).0, 24);
}

#[test]
fn trials_after_the_last_spike_are_told_and_left_out_where_the_plan_says_when_spikes_were_recorded() {
    // The window of trial k is from 10 + 17 k s to 2 s later, k up to 199: after 1700 s for k = 100 and later.
    let cut = || source((0.0, 1700.0), 17.0);
    let (n, warnings) = told(STIM, cut());
    assert_eq!(n, 200);
    assert_one(&warnings, "100 trials start after the last spike of the session");
    assert_one(&warnings, "(hint: clock.observed_s = [0, 1700] in a TOML for --spec");
    let (n, warnings) = told(&format!("{STIM}\n[clock]\nobserved_s = [0, 1700]"), cut());
    assert_eq!((n, warnings), (100, Vec::new()));
}

#[test]
fn what_is_said_of_when_spikes_were_recorded_counts_and_spikes_outside_of_it_are_left_out() {
    let whole = source((0.0, 3600.0), 17.0);
    let n_out: usize = whole
        .spikes_s
        .iter()
        .flatten()
        .filter(|time| !(600.0..=3000.0).contains(*time))
        .count();
    let stated = format!("{STIM}\n[clock]\nobserved_s = [600, 3000]");
    let of_file = Source {
        observed_s: Some((600.0, 3000.0)),
        ..whole.clone()
    };
    for (text, source, who) in [
        (stated.as_str(), whole.clone(), "clock.observed_s"),
        (STIM, of_file, "the file"),
    ] {
        let (recording, report) = apply(text, source).unwrap();
        let session = &recording.sessions[0];
        // Those from 599 s (k = 35: 605 to 607 s; k = 34: 588 to 590 s) to k = 175 (2985 s); k = 176 begins at 3002 s.
        assert_eq!(session.n_trials(), 141);
        let Activity::SpikeTimes {
            observed_s, times_s, ..
        } = &session.activity
        else {
            panic!("spike times")
        };
        assert_eq!(*observed_s, (600.0, 3000.0));
        let n_spikes: usize = whole.spikes_s.iter().map(Vec::len).sum();
        assert_eq!(times_s.iter().map(Vec::len).sum::<usize>(), n_spikes - n_out);
        let warnings: Vec<String> = report.sessions[0].warnings.iter().map(ToString::to_string).collect();
        assert_one(
            &warnings,
            &format!("{n_out} of {n_spikes} spikes lie outside of 600 s to 3000 s, when spikes were recorded as {who}"),
        );
    }
    let message = refused(&format!("{STIM}\n[clock]\nobserved_s = [4000, 5000]"), whole);
    assert!(message.contains("spikes lie outside of 4000 s to 5000 s"), "{message}");
}

#[test]
fn times_in_another_unit_are_refused_by_intervals_of_neurons_and_trials_without_spikes() {
    // Ten minutes at 80 Hz, all in ms: rates of 0.08 Hz over 167 hours, which no rate tells.
    let fast = |factor: f64| {
        let mut source = with_trials(source((0.0, 600.0), 2.9), times(factor));
        source.spikes_s = trains(4, (0.0, 600.0), 80.0);
        source.spikes_s.iter_mut().flatten().for_each(|time| *time *= factor);
        source.unit_ids.truncate(4);
        source.units = Table::new(4);
        source
    };
    for factor in [1e3, 3e4, 1e6] {
        let message = refused(STIM, fast(factor));
        // In samples and µs the rates tell it.
        let part = match factor {
            1e3 => "0 of ",
            _ => "spikes over",
        };
        assert!(message.contains(part), "{message}");
    }
    let taken = told(
        &format!("{STIM}\n[clock]\nspikes_per_s = 1000\ntrials_per_s = 1000"),
        fast(1e3),
    );
    assert_eq!(taken, (200, Vec::new()));
    // Trials in samples of 2.5 or 5 kHz, in ms of a quarter of the session, and in minutes.
    for (dt, factor) in [(17.0, 2500.0), (17.0, 5000.0), (4.0, 1000.0)] {
        let message = refused(STIM, with_trials(source((0.0, 3600.0), dt), times(factor)));
        assert!(message.contains("clock.trials_per_s"), "{factor}: {message}");
    }
    let minutes = with_trials(source((0.0, 3600.0), 17.0), times(1.0 / 60.0));
    assert!(refused("", minutes).contains("in minutes?"));
    // One unit that is silent in most trials is no fault.
    let mut sparse = source((0.0, 3600.0), 17.0);
    sparse.spikes_s = trains(1, (0.0, 3600.0), 0.05);
    (sparse.unit_ids, sparse.units) = (vec!["0".to_owned()], Table::new(1));
    assert_eq!(told(STIM, sparse).0, 200);
}

#[test]
fn spikes_in_another_unit_than_trials_are_one_problem_with_the_one_key_that_mends_it() {
    for factor in [1e3, 1e6] {
        let spikes = || {
            let mut spikes = source((0.0, 3600.0), 17.0);
            spikes.spikes_s.iter_mut().flatten().for_each(|time| *time *= factor);
            spikes
        };
        let message = refused(STIM, spikes());
        assert!(
            message.contains("clock.spikes_per_s in a TOML for --spec says how many of its units are a second")
                && !message.contains("clock.trials_per_s")
                && !message.contains("spikes over"),
            "{message}"
        );
        let clock = format!("{STIM}\n[clock]\nspikes_per_s = {factor}");
        assert_eq!(told(&clock, spikes()), (200, Vec::new()));
    }
    // Where events are no times of the clock, nothing is known of that of the trials.
    let mut both = with_trials(source((0.0, 3600.0), 17.0), |name, values| match name {
        "stim" => (name.to_owned(), vec![0.5; values.len()]),
        _ => (name.to_owned(), values.iter().map(|value| value * 1e3).collect()),
    });
    both.spikes_s.iter_mut().flatten().for_each(|time| *time *= 1e3);
    let message = refused(STIM, both);
    assert!(
        message.contains("trials.align_to") && message.contains("clock.spikes_per_s and clock.trials_per_s"),
        "{message}"
    );
    // A unit of no name, 10 µs, while trials are in s.
    let mut tens = source((0.0, 3600.0), 17.0);
    tens.spikes_s.iter_mut().flatten().for_each(|time| *time *= 1e5);
    let message = refused(STIM, tens);
    assert!(
        message.contains("clock.spikes_per_s says how many of their units are a second")
            && !message.contains("spikes_per_s and"),
        "{message}"
    );
}

#[test]
fn slow_events_are_taken_where_the_plan_says_that_they_are_in_seconds() {
    // Events deconvolved from calcium imaging that are never closer than 0.5 s.
    let mut slow = source((0.0, 3600.0), 17.0);
    for (n, times) in slow.spikes_s.iter_mut().enumerate() {
        *times = (0..2000)
            .map(|i| 0.01 * n as f64 + 1.75 * f64::from(i) + 0.5 * f64::from(i % 3))
            .collect();
    }
    let message = refused(STIM, slow.clone());
    assert!(
        message.contains("0 of 19990 intervals")
            && message.contains("clock.spikes_per_s = 1 takes spikes as they are, in s, such as slow events"),
        "{message}"
    );
    let (n, warnings) = told(&format!("{STIM}\n[clock]\nspikes_per_s = 1"), slow);
    assert_eq!((n, warnings), (200, Vec::new()));
}

#[test]
fn a_task_before_hours_of_sleep_is_taken_where_the_plan_says_that_it_is_in_seconds() {
    // 200 trials in 7 minutes, then up to 5 hours.
    let task = || source((0.0, 18_000.0), 2.1);
    let message = refused(STIM, task());
    let hint = "clock.trials_per_s = 1 in a TOML for --spec takes them as they are, such as those of a task before hours of sleep";
    assert!(
        message.contains("all 200 times of 'stim' lie before") && message.contains(hint),
        "{message}"
    );
    let (n, warnings) = told(&format!("{STIM}\n[clock]\ntrials_per_s = 1"), task());
    assert_eq!((n, warnings), (200, Vec::new()));
}

#[test]
fn traces_that_few_trials_have_samples_of_are_told() {
    let with = |times: Vec<f64>| {
        let mut source = source((0.0, 3600.0), 17.0);
        let n = times.len();
        let jaw = Series {
            path: "jaw".to_owned(),
            shape: (n, 1),
            unit: String::new(),
            rate_hz: None,
            channels: Vec::new(),
            samples: Some(Samples {
                values: ndarray::Array2::zeros((n, 1)),
                timing: Timing::Timestamps(times),
            }),
        };
        source.series.insert("jaw".to_owned(), jaw);
        source
    };
    let plan = format!("{STIM}\n[behaviour.jaw]\nseries = 'jaw'");
    // The first 60 s: trials from 10, 27 and 44 s.
    let (_, warnings) = told(&plan, with((0..600).map(|i| 0.1 * f64::from(i)).collect()));
    assert_one(&warnings, "3 of 200 trials have any");
    let whole: Vec<f64> = (0..36_000).map(|i| 0.1 * f64::from(i)).collect();
    assert_eq!(told(&plan, with(whole.clone())).1, Vec::<String>::new());
    let message = refused(&plan, with(whole.iter().map(|time| 1e6 * time).collect()));
    assert!(message.contains("µs (1000000)"), "{message}");
}

#[test]
fn stretches_that_the_file_says_not_to_use_are_told_until_a_plan_asks_for_them() {
    // From 100 to 1100 s: windows from 10 + 17 k to 12 + 17 k s, k = 6 (112 s) to 64 (1098 s).
    let mut invalid = source((0.0, 3600.0), 17.0);
    let stretch = table(&[("start_time", vec![100.0]), ("stop_time", vec![1100.0])]);
    invalid.intervals.insert("invalid_times".to_owned(), stretch);
    let (n, warnings) = told(STIM, invalid.clone());
    assert_eq!(n, 200);
    assert_one(&warnings, "59 of 200 trials overlap the file's 'invalid_times'");
    let without = format!("{STIM}\nfilter = \"!overlaps('invalid_times')\"");
    assert_eq!(told(&without, invalid), (141, Vec::new()));
}

#[test]
fn tables_of_the_file_beside_trials_of_another_unit_are_compared_in_seconds() {
    // Light in every fourth trial, 1 s after its start, in s; trials of a table beside in ms.
    let starts: Vec<f64> = (0..50).map(|k| 11.0 + 68.0 * f64::from(k)).collect();
    let stops = starts.iter().map(|start| start + 0.5).collect();
    let mut source = with_trials(source((0.0, 3600.0), 17.0), times(1000.0));
    source.trials_beside = true;
    source.intervals.insert(
        "opto".to_owned(),
        table(&[("start_time", starts.clone()), ("stop_time", stops)]),
    );
    let plan = format!(
        "clock.trials_per_s = 1000\n{STIM}\ntype = \"overlaps('opto')\"\nevents = {{ laser = \"first('opto')\" }}"
    );
    let (recording, _) = apply(&plan, source).unwrap();
    let session = &recording.sessions[0];
    for (k, trial) in session.trials.iter().enumerate() {
        assert_eq!(trial.trial_type, if k % 4 == 0 { "true" } else { "false" }, "trial {k}");
        let laser = (k % 4 == 0).then(|| starts[k / 4]);
        assert_eq!(session.events.times_s["laser"][k], laser, "trial {k}");
    }
}

#[test]
fn rows_that_a_condition_keeps_although_a_value_is_missing_are_counted() {
    let mut half = source((0.0, 3600.0), 17.0);
    let contrast = (0..200).map(|k| if k % 2 == 0 { f64::NAN } else { 0.5 }).collect();
    let table = half.trials.as_mut().unwrap();
    table.insert("test", "contrast", Column::Numbers(contrast)).unwrap();
    let words = (0..200).map(|k| if k < 30 { "" } else { "go" }.to_owned()).collect();
    table.insert("test", "word", Column::Texts(words)).unwrap();
    let line = |filter: &str| {
        let (_, report) = apply(&format!("{STIM}\nfilter = \"{filter}\""), half.clone()).unwrap();
        report.text()
    };
    let text = line("contrast != 0");
    assert!(
        text.contains("0 dropped by contrast != 0; 100 kept although a value is missing"),
        "{text}"
    );
    assert!(line("word != 'stop'").contains("; 30 kept although a value is missing"));
    for asked in [
        "missing(contrast) or contrast > 0",
        "coalesce(contrast, 1) > 0",
        "contrast != 0 && !missing(contrast)",
    ] {
        assert!(!line(asked).contains("kept although"), "{asked}");
    }
}

#[test]
fn numbers_in_columns_of_texts_can_be_read() {
    let mut texts = source((0.0, 3600.0), 17.0);
    let onsets = (0..200)
        .map(|k| if k % 2 == 0 { "N/A" } else { "0.700" }.to_owned())
        .collect();
    let table = texts.trials.as_mut().unwrap();
    table.insert("test", "onset", Column::Texts(onsets)).unwrap();
    let with = |event: &str| format!("{STIM}\nevents = {{ light = \"{event}\" }}");
    assert!(refused(&with("start_time + onset"), texts.clone()).contains("number(x)"));
    let (recording, _) = apply(&with("start_time + number(onset)"), texts.clone()).unwrap();
    let light = &recording.sessions[0].events.times_s["light"];
    assert_eq!(light[..2], [None, Some(27.7)]);
    // Texts that are neither numbers nor usual words for a missing one are counted.
    let words = ["0.5", "N/A", "none", " NaN ", "", "late", "0,7", "1.5", "null", "NA"];
    let onsets = (0..200).map(|k| words[k % 10].to_owned()).collect();
    let mut mixed = texts.clone();
    let table = mixed.trials.as_mut().unwrap();
    table.insert("test", "onset", Column::Texts(onsets)).unwrap();
    assert_eq!(
        told(&with("start_time + number(onset)"), texts.clone()).1,
        Vec::<String>::new()
    );
    let (_, warnings) = told(&with("start_time + number(onset)"), mixed.clone());
    assert_one(
        &warnings,
        "s, trials.events.light: 40 of 200 texts of number(onset) are no numbers, the first is 'late'; they are missing",
    );
    let (_, report) = apply(&format!("{STIM}\nfilter = 'number(onset) != 0.5'"), mixed.clone()).unwrap();
    let text = report.text();
    // 20 are 0.5 and 20 are 1.5.
    assert!(
        text.contains("20 dropped by number(onset) != 0.5 (20 by this alone; 160 without a number); 160 kept although a value is missing"),
        "{text}"
    );
    let (_, report) = apply(&format!("{STIM}\nfilter = 'coalesce(number(onset), 1) > 0'"), mixed).unwrap();
    assert!(!report.text().contains("kept although"));
    let table = texts.trials.as_mut().unwrap();
    table
        .insert("test", "onset", Column::Texts(vec!["0,7".to_owned(); 200]))
        .unwrap();
    assert!(refused(&with("number(onset)"), texts).contains("the first is '0,7'"));
}

#[test]
fn sessions_that_call_the_same_by_different_names_are_told() {
    let session = |id: &str, flag: Column, unit: &str| {
        let mut source = source((0.0, 3600.0), 17.0);
        source.id = id.to_owned();
        source.trials.as_mut().unwrap().insert("test", "correct", flag).unwrap();
        let jaw = Series {
            path: "jaw".to_owned(),
            shape: (3600, 1),
            unit: unit.to_owned(),
            rate_hz: Some(1.0),
            channels: Vec::new(),
            samples: Some(Samples {
                values: ndarray::Array2::zeros((3600, 1)),
                timing: Timing::Rate {
                    rate_hz: 1.0,
                    start_s: 0.0,
                },
            }),
        };
        source.series.insert("jaw".to_owned(), jaw);
        source
    };
    let flags = || Column::Flags((0..200).map(|k| k % 2 == 0).collect());
    let words = |words: [&str; 2]| Column::Texts((0..200).map(|k| words[k % 2].to_owned()).collect());
    let warnings = |sources: Vec<Source>| {
        let text = format!("units.area = \"'V1'\"\n{STIM}\ntype = 'correct'\n[behaviour.jaw]\nseries = 'jaw'");
        let plan = ImportPlan::from_toml("plan", &text).unwrap();
        let (_, report) = plan.apply(sources).unwrap();
        let warnings: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
        warnings
            .into_iter()
            .filter(|w| w.contains("trials.type") || w.contains("behaviour.jaw"))
            .collect::<Vec<_>>()
    };
    // A flag as such and as texts is one; the same unit too.
    let same = vec![
        session("a", flags(), "mm"),
        session("b", words(["True", "False"]), "mm"),
    ];
    assert!(warnings(same).is_empty());
    let ones = Column::Numbers((0..200).map(|k| f64::from(k % 2)).collect());
    let other = warnings(vec![session("a", flags(), "mm"), session("b", ones, "px")]);
    assert_eq!(other.len(), 2, "{other:?}");
    assert_one(&other, "'false', 'true' and '0', '1'");
    assert_one(&other, "'mm' (such as in 'a'), 'px' (such as in 'b')");
    let case = warnings(vec![
        session("a", words(["Go", "stop"]), "mm"),
        session("b", words(["go", "stop"]), "mm"),
    ]);
    assert_one(&case, "'Go' and 'go' count as different types");
}

#[test]
fn areas_are_trimmed_and_waveforms_all_on_one_side_told() {
    let mut named = source((0.0, 3600.0), 17.0);
    let areas = (0..10).map(|n| if n < 5 { "V1 " } else { "V1" }.to_owned()).collect();
    named.units.insert("test", "area", Column::Texts(areas)).unwrap();
    let widths = (0..10).map(|n| 0.2 + 0.05 * f64::from(n)).collect();
    named.units.insert("test", "width", Column::Numbers(widths)).unwrap();
    let warnings = |narrow_below: f64| {
        let text = format!("{STIM}\n[units.waveform]\nvalue = 'width'\nnarrow_below = {narrow_below}");
        let (recording, report) = ImportPlan::from_toml("plan", &text)
            .unwrap()
            .apply(vec![named.clone()])
            .unwrap();
        assert!(recording.sessions[0].units.iter().all(|unit| unit.area == "V1"));
        let warnings = report.sessions[0].warnings.iter().map(ToString::to_string);
        warnings
            .filter(|warning| warning.contains("units.waveform"))
            .collect::<Vec<String>>()
    };
    // 0.2 to 0.65 ms against 400 µs.
    assert_one(&warnings(400.0), "all 10 units with a 'width' are inhibitory");
    assert!(warnings(0.4).is_empty());
}

#[test]
fn spikes_that_share_a_time_because_times_have_32_bits_are_told_as_that() {
    let late = |is_single: bool| {
        let mut late = source((0.0, 3600.0), 17.0);
        // At 20 000 s numbers of 32 bits are 2 ms apart.
        for (n, time) in late.spikes_s.iter_mut().flatten().enumerate() {
            *time += 20_000.0;
            if is_single {
                *time = f64::from(*time as f32);
            } else if n == 0 {
                *time += 1e-9;
            }
        }
        let first = late.spikes_s[0][7];
        late.spikes_s[0].insert(7, first);
        with_trials(late, |name, values| {
            (name.to_owned(), values.iter().map(|value| value + 20_000.0).collect())
        })
    };
    assert_one(
        &told(STIM, late(true)).1,
        "all times are numbers of 32 bits, which are 2.8e-3 s apart",
    );
    assert_one(&told(STIM, late(false)).1, "merged clusters have them");
}
