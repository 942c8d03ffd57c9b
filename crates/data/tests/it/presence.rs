//! Units that were not observed in every trial are absent there, and not silent.

use data::{Activity, BinOptions, DataError, Session, bin_session, check, summary, validate};
use ndarray::{Array3, array};

use crate::common::{binned_session, recording, session};

/// Three trials of 1 s (from 0, 1 and 2 s on), unit 1 observed until `until_s`.
fn until(until_s: f64) -> Session {
    let mut session = session("s");
    let Activity::SpikeTimes { unit_observed_s, .. } = &mut session.activity else {
        panic!("spike times");
    };
    *unit_observed_s = Some(vec![Vec::new(), vec![(0.0, until_s)]]);
    session
}

fn options() -> BinOptions {
    BinOptions {
        window_ms: Some((0.0, 600.0)),
        ..BinOptions::of_width(100.0)
    }
}

#[test]
fn a_unit_is_absent_from_trials_whose_window_was_not_all_observed() {
    // Windows run from 0.25 to 0.85 s of each trial, unit 1 spikes at 0.75 s of each.
    let binned = bin_session(&until(2.0), &options()).unwrap();
    assert_eq!(binned.presence, Some(array![[true, true], [true, true], [true, false]]));
    assert_eq!(binned.spikes[[2, 2, 0]], 1, "unit 0 spikes at 0.5 s: it was there");
    assert_eq!(
        binned.spikes.slice(ndarray::s![2, .., 1]).sum(),
        0,
        "what is there is not counted"
    );
    assert_eq!(binned.spikes.slice(ndarray::s![.., .., 1]).sum(), 2);
    // One spike in each window of 0.6 s that it was observed in, by the clock and not by the number of trials.
    for rate in &binned.rates_hz {
        assert!((rate - 1.0 / 0.6).abs() < 1e-12, "{rate}");
    }
    // To the end of the second window, and one microsecond less than a bin short of it.
    assert_eq!(bin_session(&until(1.85), &options()).unwrap().presence, binned.presence);
    let short = bin_session(&until(1.8), &options()).unwrap();
    assert_eq!(short.presence, Some(array![[true, true], [true, false], [true, false]]));
    let chosen = binned.select_trials(&[2, 0]);
    assert_eq!(chosen.presence, Some(array![[true, false], [true, true]]));
    assert!((chosen.rates_hz[1] - 1.0 / 0.6).abs() < 1e-12);
}

#[test]
fn units_that_were_observed_throughout_change_nothing() {
    let plain = bin_session(&session("s"), &options()).unwrap();
    assert_eq!(bin_session(&until(3.0), &options()).unwrap(), plain);
    let counts = Array3::from_shape_fn((3, 4, 2), |(k, t, n)| (k + t + n) as u8);
    let mut masked = binned_session("b", counts.clone());
    let Activity::Binned { presence, .. } = &mut masked.activity else {
        panic!("counts");
    };
    *presence = Some(ndarray::Array2::from_elem((3, 2), true));
    let bins = BinOptions::of_width(1.0);
    let plain = bin_session(&binned_session("b", counts), &bins).unwrap();
    assert_eq!(bin_session(&masked, &bins).unwrap(), plain);
}

#[test]
fn a_mask_of_binned_counts_takes_trials_away_from_units() {
    let mut session = binned_session("b", Array3::from_elem((3, 4, 2), 2));
    let Activity::Binned { presence, .. } = &mut session.activity else {
        panic!("counts");
    };
    let mask = array![[true, true], [false, true], [true, true]];
    *presence = Some(mask.clone());
    let binned = bin_session(&session, &BinOptions::of_width(1.0)).unwrap();
    assert_eq!(binned.presence, Some(mask));
    assert_eq!(binned.spikes.slice(ndarray::s![1, .., 0]).sum(), 0);
    assert_eq!(binned.rates_hz, [2000.0, 2000.0]);
    let findings = check(&recording(vec![session]));
    assert_eq!(findings.problems, []);
    let odd =
        "1 of 2 units have spikes in trials that they were not observed in; these are not counted: units 0 ('u0')";
    assert!(
        findings.warnings.iter().any(|w| w.message == odd),
        "{:?}",
        findings.warnings
    );
}

#[test]
fn intervals_and_masks_that_make_no_sense_are_refused_by_unit() {
    let problems = |change: &dyn Fn(&mut Session)| -> Vec<String> {
        let mut session = until(2.0);
        change(&mut session);
        match validate(&recording(vec![session])) {
            Err(DataError::Invalid { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
            other => panic!("{other:?}"),
        }
    };
    let of = |stretches: Vec<Vec<(f64, f64)>>| {
        problems(&|session| {
            let Activity::SpikeTimes { unit_observed_s, .. } = &mut session.activity else {
                panic!("spike times");
            };
            *unit_observed_s = Some(stretches.clone());
        })
    };
    let expected = [
        (
            vec![vec![]],
            "/sessions/s/units/obs_intervals_index: intervals of 1 units, but 2 units are listed",
        ),
        (
            vec![vec![], vec![(0.0, 1.0), (3.0, 2.0)]],
            "/sessions/s/units/obs_intervals, unit 1 ('u1'): interval 1 runs from 3 s to 2 s: not an interval",
        ),
        (
            vec![vec![(0.0, 1.0), (0.5, 2.0)], vec![]],
            "/sessions/s/units/obs_intervals, unit 0 ('u0'): interval 1 starts at 0.5 s, before interval 0 ends at 1 s; intervals must \
             follow one another",
        ),
    ];
    for (stretches, message) in expected {
        assert_eq!(of(stretches), [message]);
    }
    assert!(of(vec![vec![(0.0, f64::NAN)], vec![]])[0].ends_with("not an interval"));
    let wrong_mask = problems(&|session| {
        let mut binned = binned_session("s", Array3::zeros((3, 4, 2)));
        let Activity::Binned { presence, .. } = &mut binned.activity else {
            panic!("counts");
        };
        *presence = Some(ndarray::Array2::from_elem((2, 3), true));
        *session = binned;
    });
    let message = "/sessions/s/binned/presence: shape [2, 3] [trials, units], but the spikes have 3 trials and 2 units";
    assert_eq!(wrong_mask, [message]);
}

#[test]
fn trials_after_the_last_spike_are_no_oddity_where_no_unit_was_observed() {
    let mut session = session("s");
    let mut late = session.trials[2].clone();
    (late.start_s, late.stop_s, late.align_s) = (3.0, 4.0, 3.25);
    session.trials.push(late);
    let Activity::SpikeTimes {
        observed_s,
        unit_observed_s,
        ..
    } = &mut session.activity
    else {
        panic!("spike times");
    };
    observed_s.1 = 4.0;
    let of = |stretches: Option<Vec<Vec<(f64, f64)>>>, session: &Session| {
        let mut session = session.clone();
        if let Activity::SpikeTimes { unit_observed_s, .. } = &mut session.activity {
            *unit_observed_s = stretches;
        }
        let warnings = check(&recording(vec![session])).warnings;
        warnings
            .iter()
            .filter(|w| w.message.contains("after the last spike"))
            .count()
    };
    *unit_observed_s = None;
    let whole = vec![(0.0, 4.0)];
    let cut = vec![(0.0, 3.0)];
    assert_eq!(of(None, &session), 1);
    assert_eq!(
        of(Some(vec![cut.clone(), cut.clone()]), &session),
        0,
        "none was observed"
    );
    assert_eq!(of(Some(vec![cut, whole]), &session), 1, "one was, and is silent");
}

#[test]
fn spikes_outside_of_what_was_observed_are_told() {
    let warnings = |session: Session| check(&recording(vec![session])).warnings;
    let told = warnings(until(2.0));
    let message =
        "1 spikes of 1 of 2 units lie outside of the stretches in which the units were observed: units 1 ('u1') ";
    assert!(told.iter().any(|w| w.message.starts_with(message)), "{told:?}");
    assert_eq!(warnings(until(3.0)), warnings(session("s")));
}

#[test]
fn the_summary_lists_units_that_miss_trials_and_their_rate_while_observed() {
    let recording = recording(vec![until(2.0)]);
    let summary = summary(&recording, &[]);
    let partly = &summary.sessions[0].partly_observed;
    assert_eq!(
        (partly.len(), partly[0].unit.as_str(), partly[0].n_missed),
        (1, "u1", 1)
    );
    // Three spikes in 3 s, and two of three in the 2 s that unit 1 was observed for.
    assert_eq!(summary.populations[0].rate_hz.mean, 1.0);
    assert_eq!(summary.populations[1].rate_hz.mean, 1.0);
    let line = "s: 1 of 2 units were not observed in every trial (trials missed): 'u1' (1)";
    assert!(summary.to_text().contains(line), "{}", summary.to_text());
}

#[test]
fn a_unit_that_was_never_observed_has_no_rate() {
    let mut never = until(2.0);
    let Activity::SpikeTimes { unit_observed_s, .. } = &mut never.activity else {
        panic!("spike times");
    };
    // Of a length of 0, as files have them.
    unit_observed_s.as_mut().unwrap()[1] = vec![(0.5, 0.5)];
    let summary = summary(&recording(vec![never]), &[]);
    assert!(summary.populations[1].rate_hz.mean.is_nan());
    assert_eq!(summary.populations[0].rate_hz.mean, 1.0);
}

#[test]
fn stretches_that_would_be_ignored_are_told_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    let counts = binned_session("s", Array3::from_elem((3, 4, 2), 1));
    data::write(&path, &recording(vec![counts])).unwrap();
    let file = hdf5::File::append(&path).unwrap();
    let units = file.group("sessions/s/units").unwrap();
    let stretches = array![[0.0, 1.0], [0.0, 1.0]];
    units
        .new_dataset_builder()
        .with_data(&stretches)
        .create("obs_intervals")
        .unwrap();
    drop((units, file));
    let (_, warnings) = data::file::read_with_warnings(&path).unwrap();
    assert!(
        warnings.iter().any(|w| w.message.contains("'binned/presence' says")),
        "{warnings:?}"
    );

    let path = folder.path().join("b.h5");
    data::write(&path, &recording(vec![session("s")])).unwrap();
    let file = hdf5::File::append(&path).unwrap();
    let units = file.group("sessions/s/units").unwrap();
    units
        .new_dataset_builder()
        .with_data(&array![1, 2])
        .create("obs_intervals_index")
        .unwrap();
    drop((units, file));
    let error = data::read(&path).unwrap_err().to_string();
    assert!(
        error.contains("obs_intervals_index: there is no 'obs_intervals'"),
        "{error}"
    );
}

#[test]
fn stretches_that_touch_hold_a_trial_together() {
    let mut session = until(3.0);
    let Activity::SpikeTimes { unit_observed_s, .. } = &mut session.activity else {
        panic!("spike times");
    };
    // The window of the second trial runs from 1.25 to 1.85 s.
    unit_observed_s.as_mut().unwrap()[1] = vec![(0.0, 1.5), (1.5, 2.0), (2.5, 3.0)];
    let binned = bin_session(&session, &options()).unwrap();
    assert_eq!(binned.presence, Some(array![[true, true], [true, true], [true, false]]));
}

#[test]
fn units_that_were_observed_in_no_trial_are_listed_as_such() {
    let mut session = until(3.0);
    let Activity::SpikeTimes {
        unit_observed_s,
        observed_s,
        ..
    } = &mut session.activity
    else {
        panic!("spike times");
    };
    observed_s.1 = 4.0;
    unit_observed_s.as_mut().unwrap()[1] = vec![(3.0, 4.0)];
    let found = summary(&recording(vec![session.clone()]), &[]);
    assert_eq!(found.sessions[0].never_observed, ["u1"]);
    assert_eq!(found.sessions[0].partly_observed, []);
    let line = "s: 1 of 2 units were observed in no trial, fits leave them out: 'u1'";
    assert!(found.to_text().contains(line), "{}", found.to_text());
    // A part of a trial is not none.
    let Activity::SpikeTimes { unit_observed_s, .. } = &mut session.activity else {
        panic!("spike times");
    };
    unit_observed_s.as_mut().unwrap()[1] = vec![(2.9, 4.0)];
    let found = summary(&recording(vec![session.clone()]), &[]);
    assert_eq!(found.sessions[0].never_observed, Vec::<String>::new());
    assert_eq!(found.sessions[0].partly_observed[0].n_missed, 3);

    let mut binned = binned_session("b", Array3::from_elem((3, 4, 2), 1));
    let Activity::Binned { presence, .. } = &mut binned.activity else {
        panic!("counts");
    };
    *presence = Some(array![[true, false], [false, false], [true, true]]);
    let mut bins = bin_session(&binned, &BinOptions::of_width(1.0)).unwrap();
    assert_eq!(bins.never_observed(&[0, 1]), [1]);
    assert_eq!(bins.never_observed(&[1]), [0, 1]);
    assert_eq!(bins.never_observed(&[0, 2]), Vec::<usize>::new());
    assert_eq!(bins.never_observed(&[]), Vec::<usize>::new());
    let whole = bins.clone();
    bins.leave_out_units(&[0]);
    assert_eq!((bins.units.len(), bins.units[0].id.as_str()), (1, "u1"));
    assert_eq!(bins.rates_hz, whole.rates_hz[1..]);
    assert_eq!(bins.presence, Some(array![[false], [false], [true]]));
    assert_eq!(bins.spikes, whole.spikes.slice(ndarray::s![.., .., 1..]));
}

#[test]
fn many_stretches_and_trials_take_a_moment() {
    // A recording that was interrupted 20 000 times, of 40 units and as many trials: 16 billion comparisons one by one.
    let n = 20_000;
    let mut session = session("s");
    let trial = session.trials[0].clone();
    session.trials = (0..n)
        .map(|k| data::Trial {
            start_s: f64::from(k),
            align_s: f64::from(k),
            stop_s: f64::from(k) + 0.5,
            ..trial.clone()
        })
        .collect();
    let unit = session.units[0].clone();
    session.units = (0..40)
        .map(|i| data::Unit {
            id: i.to_string(),
            ..unit.clone()
        })
        .collect();
    let stretches: Vec<(f64, f64)> = (0..n).map(|k| (f64::from(k), f64::from(k) + 0.6)).collect();
    session.activity = Activity::SpikeTimes {
        times_s: vec![vec![0.5]; 40],
        observed_s: (0.0, f64::from(n)),
        unit_observed_s: Some(vec![stretches; 40]),
    };
    session.behaviour.clear();
    let start = std::time::Instant::now();
    let observed = data::inspect::observed_trials(&session).unwrap();
    assert!(observed.iter().all(|is_observed| *is_observed));
    // Measured: 0.1 s; one by one it would be 20 s and more.
    assert!(start.elapsed().as_secs() < 8, "{:?}", start.elapsed());
}
