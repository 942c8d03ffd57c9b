//! Stretches in which nothing was recorded, of all units, of a probe or of an area: what is told, and what isn't.

use data::import::{Column, ImportPlan, Source, Table};
use rand::RngExt;

use crate::common::rng;
use crate::one_session::{STIM, assert_one, source, told, trains};

/// All warnings of a source with areas of its own.
#[track_caller]
fn warnings(source: Source) -> Vec<String> {
    let plan = ImportPlan::from_toml("plan", STIM).unwrap();
    let (_, report) = plan.apply(vec![source]).unwrap();
    let all = report.sessions.iter().flat_map(|session| &session.warnings);
    let all = all.chain(&report.warnings).map(ToString::to_string);
    all.filter(|warning| !warning.contains("areas are those of column"))
        .collect()
}

/// The warnings about silence among them.
fn of_silence(warnings: &[String]) -> Vec<&String> {
    let is_of_silence = |warning: &&String| warning.contains("don't spike from") || warning.contains("far inside");
    warnings.iter().filter(is_of_silence).collect()
}

/// Ten units of an hour, the first `n` of which have the first value of the column, and are silent from `from` to `to` (s).
fn silent(n: usize, column: &str, names: [&str; 2], (from, to): (f64, f64)) -> Source {
    let mut source = source((0.0, 3600.0), 17.0);
    for times in &mut source.spikes_s[..n] {
        times.retain(|time| !(from..to).contains(time));
    }
    let values = (0..10).map(|unit| names[usize::from(unit >= n)].to_owned()).collect();
    source.units.insert("test", column, Column::Texts(values)).unwrap();
    source
}

#[test]
fn probes_and_areas_that_stop_start_late_or_pause_are_told_with_what_to_do() {
    // Windows are from 10 + 17 k to 12 + 17 k s, k up to 199.
    let stop = (
        "clock.observed_s = [",
        [0.0, 1000.0],
        "] in a TOML for --spec leaves out trials and spikes after it",
    );
    let start = (
        "clock.observed_s = [",
        [900.0, 3600.0],
        "leaves out trials and spikes before it",
    );
    let pause = ("--trials \"start_time < ", [2000.0, 2100.0], "\" leaves out trials");
    for (span, n_trials, (mark, numbers, hint)) in [
        // k = 59 is from 1013 s on, 58 from 996 to 998 s.
        ((1000.0, 3600.0), 141, stop),
        // k = 52 is from 894 s on.
        ((0.0, 900.0), 53, start),
        // k = 117 ends at 2001 s, 122 is from 2084 s on.
        ((2000.0, 2100.0), 6, pause),
    ] {
        let warnings = warnings(silent(4, "area", ["A", "B"], span));
        let told = of_silence(&warnings);
        assert_eq!(told.len(), 1, "{warnings:#?}");
        // In seconds that are counted from the first spike.
        assert_near(told[0], "the 4 units of area 'A' don't spike from ", [span.0, span.1]);
        assert_near(told[0], mark, numbers);
        for part in [
            &format!("({n_trials} of 200 trials lie in it)"),
            "--units \"area != 'A'\" leaves them out",
            hint,
            "units/obs_intervals",
        ] {
            assert!(told[0].contains(part), "'{part}' is not in {}", told[0]);
        }
    }
}

/// The first two whole numbers after a mark.
#[track_caller]
fn assert_near(text: &str, mark: &str, expected: [f64; 2]) {
    let (_, after) = text.split_once(mark).expect(text);
    let numbers = after.split(|c: char| !c.is_ascii_digit());
    let found: Vec<f64> = numbers.filter_map(|number| number.parse().ok()).take(2).collect();
    let is_near = found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1.0);
    assert!(found.len() == 2 && is_near, "{found:?} in {text}");
}

#[test]
fn units_are_of_their_probe_where_one_is_known_whatever_their_area() {
    let mut two = silent(5, "probe", ["imec0", "imec1"], (1500.0, 1800.0));
    let areas = (0..10).map(|unit| ["A", "B"][unit % 2].to_owned()).collect();
    two.units.insert("test", "area", Column::Texts(areas)).unwrap();
    let told = warnings(two.clone());
    assert_one(&told, "the 5 units of probe 'imec0' don't spike");
    assert_one(&told, "--units \"probe != 'imec0'\" leaves them out");
    // By areas nothing would be seen: both go on.
    two.units
        .insert("test", "probe", Column::Texts(vec!["imec0".to_owned(); 10]))
        .unwrap();
    assert!(of_silence(&warnings(two.clone())).is_empty());
    // All of an area of the one probe.
    let mut one = silent(5, "area", ["CA1", "V1"], (1500.0, 1800.0));
    one.units
        .insert("test", "probe", Column::Texts(vec!["imec0".to_owned(); 10]))
        .unwrap();
    let told = warnings(one);
    assert_one(&told, "the 5 units of area 'CA1' don't spike");
    assert_one(&told, "--units \"area != 'CA1'\" leaves them out");
    // Numbers of probes, as in NWB files.
    let numbers = (0..10).map(|unit| f64::from(u8::from(unit >= 5))).collect();
    let mut numbered = two;
    let kept: Vec<usize> = (0..10).collect();
    numbered.units = numbered.units.select(&kept);
    let mut units = Table::new(10);
    units
        .insert("test", "electrodes.probe_id", Column::Numbers(numbers))
        .unwrap();
    units
        .insert("test", "area", numbered.units.get("area").unwrap().clone())
        .unwrap();
    numbered.units = units;
    assert_one(
        &warnings(numbered),
        "--units \"electrodes.probe_id != 0\" leaves them out",
    );
}

#[test]
fn silence_that_is_known_or_of_all_units_or_of_too_few_is_not_told_of_a_probe() {
    let pause = (1000.0, 1300.0);
    // The file says that these units were not observed then; of others nothing.
    let mut known = silent(5, "area", ["A", "B"], pause);
    let stretches = |unit: usize| match unit {
        0..5 => vec![(0.0, 1000.0), (1300.0, 3600.0)],
        _ => vec![(0.0, 3600.0)],
    };
    known.unit_observed_s = Some((0..10).map(stretches).collect());
    assert!(of_silence(&warnings(known.clone())).is_empty());
    // It says that they were observed.
    known.unit_observed_s = Some(vec![vec![(0.0, 3600.0)]; 10]);
    assert_one(&warnings(known), "the 5 units of area 'A' don't spike");
    // Two units, and both areas at once, which is a gap of the session.
    assert!(of_silence(&warnings(silent(2, "area", ["A", "B"], pause))).is_empty());
    let mut all = silent(5, "area", ["A", "B"], pause);
    for times in &mut all.spikes_s {
        times.retain(|time| !(1000.0..1300.0).contains(time));
    }
    let told = warnings(all);
    assert!(of_silence(&told).is_empty());
    assert_one(&told, "no unit spikes from");
    // Twenty seconds, and a pause between trials (2.5 to 3.5 s after their windows' start there is none).
    assert!(of_silence(&warnings(silent(5, "area", ["A", "B"], (1000.0, 1020.0)))).is_empty());
    let mut late = silent(5, "area", ["A", "B"], (3405.0, 3600.0));
    late.spikes_s
        .iter_mut()
        .for_each(|times| times.retain(|time| *time < 3590.0));
    assert!(of_silence(&warnings(late)).is_empty());
}

#[test]
fn sparse_and_bursty_units_are_no_probes_that_stopped() {
    // 100 sessions of three areas with four units each: of 0.01 to 0.3 Hz at random times, or in a bout of 60 s in every 600 s.
    for seed in 0..100 {
        let mut rng = rng(7000 + seed);
        let mut sparse = source((0.0, 3600.0), 17.0);
        let is_bursty = seed % 2 == 1;
        let mut train = |_| {
            let bouts: [f64; 6] = std::array::from_fn(|i| 600.0 * i as f64 + 540.0 * rng.random::<f64>());
            let n = (36.0 * 30_f64.powf(rng.random::<f64>())) as usize;
            let mut times: Vec<f64> = (0..n)
                .map(|i| {
                    if is_bursty {
                        bouts[i % 6] + 60.0 * rng.random::<f64>()
                    } else {
                        3600.0 * rng.random::<f64>()
                    }
                })
                .collect();
            times.sort_by(f64::total_cmp);
            times
        };
        sparse.spikes_s = (0..12).map(&mut train).collect();
        sparse.unit_ids = (0..12).map(|unit| unit.to_string()).collect();
        sparse.units = Table::new(12);
        let areas = (0..12).map(|unit| ["A", "B", "C"][unit / 4].to_owned()).collect();
        sparse.units.insert("test", "area", Column::Texts(areas)).unwrap();
        let text = format!("{STIM}\n[clock]\nspikes_per_s = 1\ntrials_per_s = 1");
        let plan = ImportPlan::from_toml("plan", &text).unwrap();
        let (_, report) = plan.apply(vec![sparse]).unwrap();
        let all: Vec<String> = report.sessions[0].warnings.iter().map(ToString::to_string).collect();
        assert!(
            !all.iter().any(|warning| warning.contains("don't spike from")),
            "{seed}: {all:#?}"
        );
    }
}

#[test]
fn units_that_stop_by_themselves_and_gaps_of_sparse_recordings_are_told() {
    // One area: no probe and no area has units that stop together, but some do.
    let mut stopped = source((0.0, 3600.0), 17.0);
    for times in &mut stopped.spikes_s[..4] {
        times.retain(|time| *time < 1000.0);
    }
    let (_, told_of) = told(STIM, stopped);
    assert_one(
        &told_of,
        "4 of 10 units begin or end to spike far inside of the recording",
    );
    assert_one(
        &told_of,
        "clock.observed_s in a TOML for --spec, such as [0, 1000], leaves out trials",
    );
    // Two units at 1 Hz, silent for 100 s.
    let mut gap = source((0.0, 3600.0), 17.0);
    gap.spikes_s = trains(2, (0.0, 3600.0), 1.0);
    gap.spikes_s
        .iter_mut()
        .for_each(|times| times.retain(|time| !(2000.0..2100.0).contains(time)));
    gap.unit_ids.truncate(2);
    gap.units = Table::new(2);
    assert_one(&told(STIM, gap).1, "(1 gap; ");
}
