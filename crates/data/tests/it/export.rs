//! Sessions that go out as NWB come back as they were.

use data::export::write_nwb;
use data::import::{ImportPlan, ReadOptions, read};
use data::{Activity, Recording, Session};
use ndarray::Array2;

use crate::common;

fn back(session: &Session) -> Session {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("session.nwb");
    write_nwb(&path, session).unwrap();
    let source = read(&path, &ReadOptions::default()).unwrap();
    let (recording, _) = ImportPlan::from_toml("plan", "").unwrap().apply(vec![source]).unwrap();
    let Recording { mut sessions } = recording;
    sessions.remove(0)
}

#[test]
fn stretches_in_which_units_were_observed_come_back() {
    let mut session = common::session("a");
    session.behaviour.clear();
    session.stimulus = None;
    let (first, last) = (
        session.trials[0].clone(),
        session.trials[session.n_trials() - 1].clone(),
    );
    let n_units = session.n_units();
    let Activity::SpikeTimes {
        times_s,
        observed_s,
        unit_observed_s,
    } = &mut session.activity
    else {
        panic!("spike times");
    };
    // Unit 0 stops with the first trial, the others were observed throughout.
    times_s[0].retain(|t| *t < first.stop_s);
    observed_s.1 = observed_s.1.max(last.stop_s);
    let mut units = vec![Vec::new(); n_units];
    units[0] = vec![(observed_s.0, first.stop_s)];
    *unit_observed_s = Some(units);
    let found = back(&session);
    let Activity::SpikeTimes { unit_observed_s, .. } = &found.activity else {
        panic!("spike times");
    };
    let stretches = unit_observed_s.as_ref().unwrap();
    assert_eq!(stretches[0], [(session_start(&session), first.stop_s)]);
    assert_eq!(
        data::inspect::observed_trials(&found),
        data::inspect::observed_trials(&session)
    );
}

fn session_start(session: &Session) -> f64 {
    match &session.activity {
        Activity::SpikeTimes { observed_s, .. } => observed_s.0,
        Activity::Binned { .. } => f64::NAN,
    }
}

#[test]
fn counts_say_in_which_trials_units_were_observed() {
    let mut session = common::session("a");
    session.behaviour.clear();
    session.stimulus = None;
    let bins = data::bin_session(&session, &data::BinOptions::of_width(10.0)).unwrap();
    let mut presence = Array2::from_elem((session.n_trials(), session.n_units()), true);
    presence[[0, 1]] = false;
    let mut counts = bins.spikes;
    counts.slice_mut(ndarray::s![0, .., 1]).fill(0);
    session.activity = Activity::Binned {
        counts,
        bin_ms: bins.bin_ms,
        start_ms: bins.start_ms,
        presence: Some(presence.clone()),
    };
    assert_eq!(data::inspect::observed_trials(&back(&session)), Some(presence));
}

/// A session of two units and three trials (from 0, 1 and 2 s on), recorded from 0 to 3.5 s.
fn observed(units: &[&[(f64, f64)]]) -> Session {
    let mut session = common::session("a");
    session.behaviour.clear();
    session.stimulus = None;
    for trial in &mut session.trials {
        (trial.movie, trial.valid_bins) = (None, None);
    }
    let Activity::SpikeTimes {
        observed_s,
        unit_observed_s,
        ..
    } = &mut session.activity
    else {
        panic!("spike times");
    };
    *observed_s = (0.0, 3.5);
    *unit_observed_s = (!units.is_empty()).then(|| units.iter().map(|own| own.to_vec()).collect());
    session
}

#[test]
fn what_is_said_of_units_is_the_same_after_a_way_through_nwb() {
    let cases: [&[&[(f64, f64)]]; 9] = [
        &[],
        // Every trial is held, and all that was recorded.
        &[&[(0.0, 3.5)], &[(0.0, 3.5)]],
        &[&[(0.0, 3.0)], &[(0.0, 3.25)]],
        // Nothing is known of one, or of both.
        &[&[], &[(0.0, 2.0)]],
        &[&[], &[]],
        // All are shorter than what was recorded.
        &[&[(0.5, 2.5)], &[(0.25, 1.0), (2.0, 2.75)]],
        // They touch, nearly touch, and lie beyond the recording.
        &[&[(0.0, 1.0), (1.0, 2.0), (2.00005, 3.0)], &[(0.0, 4.0)]],
        // One was observed between the trials only.
        &[&[(0.0, 3.5)], &[(3.1, 3.4)]],
        // Or never.
        &[&[(0.0, 3.5)], &[(1.5, 1.5)]],
    ];
    for units in cases {
        let session = observed(units);
        assert_eq!(
            data::check(&Recording {
                sessions: vec![session.clone()]
            })
            .problems,
            [],
            "{units:?}"
        );
        assert_eq!(back(&session), session, "{units:?}");
    }
}

/// Two trials of a second with a gap of 8 s between them, in bins; unit 2 was observed in none of them.
fn counts(has_mask: bool) -> Session {
    let mut session = observed(&[]);
    session.trials.truncate(2);
    session.units.push(data::Unit {
        id: "lost".to_owned(),
        ..session.units[0].clone()
    });
    for (k, trial) in session.trials.iter_mut().enumerate() {
        (trial.start_s, trial.align_s, trial.stop_s) = (9.0 * k as f64, 9.0 * k as f64, 9.0 * k as f64 + 1.0);
    }
    let mask = Array2::from_shape_fn((2, 3), |(_, n)| n < 2);
    session.activity = Activity::Binned {
        counts: ndarray::Array3::from_shape_fn((2, 10, 3), |(_, t, n)| u8::from(t % (n + 2) == 0)),
        bin_ms: 100.0,
        start_ms: 0.0,
        presence: has_mask.then_some(mask),
    };
    session
}

#[test]
fn counts_don_t_say_that_something_was_recorded_between_trials() {
    let session = counts(false);
    let found = back(&session);
    let rates = data::inspect::unit_rates_hz(&found);
    for (found, expected) in rates.iter().zip(data::inspect::unit_rates_hz(&session)) {
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    }
    let bins = data::BinOptions::of_width(100.0);
    let [before, after] = [&session, &found].map(|session| data::bin_session(session, &bins).unwrap());
    assert_eq!((after.spikes, after.presence), (before.spikes, None));
}

#[test]
fn units_that_were_never_observed_are_left_out_of_what_can_t_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let message = "1 of 3 units were observed in no trial, which the format can't say: they are left out: 'lost'";
    let session = counts(true);
    let nwb = write_nwb(&folder.path().join("a.nwb"), &session).unwrap();
    let npz = data::export::write_npz(&folder.path().join("a.npz"), &session).unwrap();
    for warnings in [nwb, npz] {
        assert!(
            warnings.iter().any(|warning| warning.message == message),
            "{warnings:?}"
        );
    }
    let names = |path: &str| {
        read(&folder.path().join(path), &ReadOptions::default())
            .unwrap()
            .n_units()
    };
    assert_eq!([names("a.nwb"), names("a.npz")], [2, 2]);
    assert_eq!(data::export::n_units(&session, true), 2);
    // Of spike times NWB says it, archives don't.
    let session = observed(&[&[(0.0, 3.5)], &[(3.1, 3.4)]]);
    assert_eq!(
        [true, false].map(|has_stretches| data::export::n_units(&session, has_stretches)),
        [2, 1]
    );
}

#[test]
fn a_name_that_nwb_takes_stays_and_one_with_a_colon_gets_another() {
    let mut session = common::session("a");
    let times = |offset: f64| (0..3).map(|k| Some(f64::from(k) + offset)).collect();
    session.events.times_s = [("go:cue".to_owned(), times(0.3)), ("go_cue".to_owned(), times(0.4))].into();
    let found = back(&session);
    assert_eq!(found.events.times_s["go_cue"], session.events.times_s["go_cue"]);
    assert_eq!(found.events.times_s["go_cue_"], session.events.times_s["go:cue"]);
}
