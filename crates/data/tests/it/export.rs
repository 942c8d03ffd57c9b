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
