use std::collections::BTreeMap;

use data::recording::{Activity, CellType, Session, Trial, Unit};
use data::{Recording, summary};

use super::scene::{Extent, MAX_TYPES, Scene};

fn unit(id: &str, area: &str, cell_type: CellType) -> Unit {
    Unit {
        id: id.to_owned(),
        area: area.to_owned(),
        cell_type,
        firing_rate_hz: None,
    }
}

fn trial(start_s: f64, stop_s: f64, align_s: f64, trial_type: &str) -> Trial {
    Trial {
        start_s,
        stop_s,
        align_s,
        stimulus: 0.0,
        trial_type: trial_type.to_owned(),
        movie: None,
        valid_bins: None,
    }
}

/// Trials of 1 s, 0.25 s of it before the event. Unit 0 spikes 0.1 s after each event of a hit, unit 1 ten times in each
/// trial, unit 2 never.
fn recording(types: &[&str]) -> Recording {
    let trials: Vec<Trial> = types
        .iter()
        .enumerate()
        .map(|(k, kind)| trial(2.0 * k as f64, 2.0 * k as f64 + 1.0, 2.0 * k as f64 + 0.25, kind))
        .collect();
    let hits = trials.iter().filter(|t| t.trial_type == "hit");
    let first = hits.map(|t| t.align_s + 0.1).collect();
    let even = trials
        .iter()
        .flat_map(|t| (0..10).map(move |i| t.start_s + 0.05 + 0.1 * f64::from(i)));
    let stop = 2.0 * types.len() as f64;
    Recording {
        sessions: vec![Session {
            id: "a".to_owned(),
            units: vec![
                unit("0", "V1", CellType::Unknown),
                unit("1", "S1", CellType::Excitatory),
                unit("2", "S1", CellType::Inhibitory),
            ],
            activity: Activity::SpikeTimes {
                times_s: vec![first, even.collect(), Vec::new()],
                observed_s: (0.0, stop),
                unit_observed_s: None,
            },
            trials,
            events: data::TrialEvents::default(),
            behaviour: BTreeMap::new(),
            stimulus: None,
        }],
    }
}

/// The same in bins of 5 ms.
fn binned(mut recording: Recording) -> Recording {
    for session in &mut recording.sessions {
        let options = data::BinOptions::of_width(5.0);
        let bins = data::bin_session(session, &options).unwrap();
        session.activity = Activity::Binned {
            counts: bins.spikes,
            bin_ms: bins.bin_ms,
            start_ms: bins.start_ms,
            presence: bins.presence,
        };
    }
    recording
}

#[test]
fn activity_around_the_event_is_spikes_per_unit_trial_and_time() {
    let spikes = recording(&["hit", "miss", "hit", "hit"]);
    for recording in [&spikes, &binned(spikes.clone())] {
        let scene = Scene::of(recording);
        assert_eq!(
            (&scene.areas[..], &scene.types[..]),
            (
                &["S1".to_owned(), "V1".into()][..],
                &["hit".to_owned(), "miss".into()][..]
            )
        );
        let aligned = scene.aligned().unwrap();
        assert_eq!(aligned.times_s.len(), 200);
        let width = 0.005;
        for (i, time) in aligned.times_s.iter().enumerate() {
            let is_response = (time - 0.1025).abs() < 1e-6;
            // Bins of 5 ms: one spike of one unit.
            let hits = aligned.rates_hz[1][0][i];
            assert!(
                (hits - if is_response { 1.0 / width } else { 0.0 }).abs() < 1e-9,
                "{time}: {hits}"
            );
            assert!(aligned.rates_hz[1][1][i].abs() < 1e-9);
        }
        // Ten spikes of one of two units in a second.
        let mean = aligned.rates_hz[0][1].iter().sum::<f64>() / 200.0;
        assert!((mean - 5.0).abs() < 1e-9, "{mean}");
    }
}

#[test]
fn trials_that_a_unit_was_not_observed_in_are_no_silence() {
    let mut recording = recording(&["hit"; 4]);
    // Of the area S1, unit 2 never spikes; it is gone after the second trial.
    let Activity::SpikeTimes { unit_observed_s, .. } = &mut recording.sessions[0].activity else {
        panic!("spike times");
    };
    *unit_observed_s = Some(vec![vec![(0.0, 8.0)], vec![(0.0, 8.0)], vec![(0.0, 3.5)]]);
    let aligned = Scene::of(&recording).aligned().unwrap();
    let mean = aligned.rates_hz[0][0].iter().sum::<f64>() / 200.0;
    // 40 spikes of unit 1, and 4 + 2 trials of 1 s.
    assert!((mean - 40.0 / 6.0).abs() < 1e-9, "{mean}");
}

#[test]
fn bins_that_few_trials_of_a_type_have_are_left_out() {
    let mut recording = recording(&["hit"; 20]);
    for trial in &mut recording.sessions[0].trials[..18] {
        trial.stop_s -= 0.5;
    }
    let aligned = Scene::of(&recording).aligned().unwrap();
    let rates = &aligned.rates_hz[0][0];
    for (time, rate) in aligned.times_s.iter().zip(rates) {
        assert_eq!(rate.is_nan(), *time > 0.25, "{time}: {rate}");
    }
}

#[test]
fn rare_types_are_drawn_as_one() {
    let names = ["a", "a", "a", "b", "b", "c", "d", "e", "f", "g"];
    let recording = recording(&names);
    let scene = Scene::of(&recording);
    assert_eq!(scene.types, ["a", "b", "c", "d", "e", "2 others"]);
    assert_eq!(scene.n_trials, [3, 2, 1, 1, 1, 2]);
    assert_eq!(scene.types.len(), MAX_TYPES);
    assert_eq!(["a", "e", "f", "g"].map(|name| scene.kind(name)), [0, 4, 5, 5]);
    let extents = scene.extents();
    let last = Extent {
        start_s: -0.25,
        stop_s: 0.75,
        kind: 5,
    };
    assert_eq!((extents.len(), extents[9]), (10, last));
}

#[test]
fn units_are_grouped_by_area_and_type_with_their_rates() {
    let recording = recording(&["hit"; 5]);
    let populations = Scene::of(&recording).populations();
    let found: Vec<(&str, &[f64])> = populations.iter().map(|p| (p.name.as_str(), &p.rates_hz[..])).collect();
    assert_eq!(found, [("S1 exc", &[5.0][..]), ("S1 inh", &[0.0]), ("V1", &[0.5])]);
}

#[test]
fn a_page_shows_everything_and_takes_no_text_for_markup() {
    for recording in [recording(&["hit", "<b>miss"]), binned(recording(&["hit", "<b>miss"]))] {
        let page = super::page("a<b>.h5", &recording, &summary(&recording, &[])).unwrap();
        for name in ["timeline", "rates", "extents", "aligned", "raster"] {
            assert!(page.contains(&format!("id=\"figure-{name}\"")), "{name}");
        }
        assert!(page.contains("a&lt;b&gt;.h5") && page.contains("&lt;b&gt;miss"));
        assert!(!page.contains("<b>") && !page.contains("<script"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(!page.contains("NaN") && !page.contains("Not drawn"), "{page}");
    }
}

#[test]
fn events_of_trials_are_marked_and_listed() {
    let mut recording = recording(&["hit", "miss", "hit"]);
    let page = |recording: &Recording| super::page("a.h5", recording, &summary(recording, &[])).unwrap();
    let without = page(&recording);
    let session = &mut recording.sessions[0];
    let align: Vec<f64> = session.trials.iter().map(|trial| trial.align_s).collect();
    let times = align
        .iter()
        .enumerate()
        .map(|(k, s)| (k != 1).then_some(s + 0.1 * (k + 1) as f64));
    session.events.times_s.insert("go<cue>".to_owned(), times.collect());
    session.events.values.insert("contrast".to_owned(), vec![None; 3]);
    let with = page(&recording);
    // In the panel of trial 2, one of two that are drawn, and in the table.
    assert_eq!(with.matches("go&lt;cue&gt;").count(), 2);
    assert!(with.contains(
        "<td class=\"number\">200.000</td><td class=\"number\">100.000</td><td class=\"number\">300.000</td>"
    ));
    assert!(with.contains("<td class=\"number\">0</td><td class=\"number\">–</td>"));
    assert!(!with.contains("NaN") && !without.contains("Events of trials"));
}

#[test]
fn a_recording_without_anything_is_said_to_be_empty() {
    let page = super::page("empty.h5", &Recording::default(), &summary(&Recording::default(), &[])).unwrap();
    assert!(page.contains("Not drawn"));
    let mut recording = recording(&["hit"]);
    recording.sessions[0].trials.clear();
    let page = super::page("no trials.h5", &recording, &summary(&recording, &[])).unwrap();
    assert!(page.contains("no trial has a length"));
}
