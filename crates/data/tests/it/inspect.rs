//! The summary against numbers counted by hand.

use data::{Finding, RecordingSummary, check, summary};
use ndarray::Array3;

use crate::common::{binned_session, recording, session};

#[test]
fn a_summary_counts_right() {
    let mut counts = Array3::zeros((3, 500, 2));
    counts[[0, 1, 0]] = 3;
    counts[[2, 3, 1]] = 1;
    let mut binned = binned_session("b", counts);
    binned.trials[1].valid_bins = Some(250);
    binned.trials[1].stimulus = -2.0;
    let recording = recording(vec![session("a"), binned]);
    let warnings = check(&recording).warnings;
    let s = summary(&recording, &warnings);
    assert_eq!((s.n_sessions, s.n_units, s.n_trials, s.n_spikes), (2, 4, 6, 10));
    assert_eq!(s.trials_per_type["hit"], 2);
    assert_eq!(s.trials_per_type["miss"], 1);
    assert_eq!(s.trials_per_type["x"], 3);
    // Session a: 6 spikes of 2 units in 3 s. Session b: 4 spikes of 2 units in 1250 bins of 1 ms.
    assert_eq!(s.sessions[0].mean_rate_hz, 1.0);
    assert_eq!(s.sessions[1].mean_rate_hz, 1.6);
    assert_eq!(s.sessions[1].trial_s, (0.25, 0.5));
    assert_eq!(s.sessions[1].stimulus_values, [-2.0, 1.0]);
    let areas: Vec<&str> = s.populations.iter().map(|p| p.area.as_str()).collect();
    assert_eq!(areas, ["A", "A", "B"]);
    // The two unknown units of area A have 3 / 1.25 s and 1 / 1.25 s.
    let rate = s.populations[1].rate_hz;
    assert_eq!((rate.min, rate.max), (0.8, 2.4));
    for (found, expected) in [(rate.q25, 1.2), (rate.median, 1.6), (rate.q75, 2.0)] {
        assert!((found - expected).abs() < 1e-12);
    }
    let json = serde_json::to_string(&s).unwrap();
    assert_eq!(serde_json::from_str::<RecordingSummary>(&json).unwrap(), s);
}

#[test]
fn text_from_a_file_cannot_control_the_terminal() {
    let mut evil = session("a");
    evil.units[0].area = "\u{1b}[31mred\n".to_owned();
    let warning = Finding::new("x", "y\u{7}");
    let text = summary(&recording(vec![evil]), &[warning]).to_text();
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    assert!(text.contains("\\u{1b}[31mred\\n"), "{text}");
    assert!(text.contains("1 warning:"));
}

#[test]
fn a_flood_of_warnings_is_cut() {
    let warnings: Vec<Finding> = (0..1000)
        .map(|i| Finding::new(format!("session 'w{i}'"), "odd"))
        .collect();
    let text = summary(&recording(vec![session("a")]), &warnings).to_text();
    assert!(text.contains("1000 warnings:") && text.contains("'w49'"), "{text}");
    assert!(!text.contains("'w50'"), "{text}");
    assert!(text.ends_with("  … and 950 more\n"), "{text}");
}
