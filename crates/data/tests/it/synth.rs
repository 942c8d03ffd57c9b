//! The artificial recording against its own equations, and against the published figures.

use data::synth::RecordedAreas;
use data::{
    Activity, BinOptions, BinnedSession, CellType, Recording, TwoAreaOptions, bin_recording, check, two_area, write,
};
use ndarray::s;

use crate::common::rng;

fn binned(recording: &Recording, bin_ms: f64, window_ms: (f64, f64)) -> Vec<BinnedSession> {
    let options = BinOptions {
        window_ms: Some(window_ms),
        ..BinOptions::of_width(bin_ms)
    };
    bin_recording(recording, &options).unwrap()
}

/// Mean of b·(1 + m·s) over a window, from the definitions: a midpoint sum over the normal.
fn expected_rate_hz(options: &TwoAreaOptions, window_ms: (f64, f64)) -> f64 {
    let baseline = |median: f64| {
        let n = 200_000;
        let mut mean = 0.0;
        for i in 0..n {
            let x = -8.0 + 16.0 * (f64::from(i) + 0.5) / f64::from(n);
            let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let rate = median * options.rate_spread.powf(x);
            let capped = options.rate_limit_hz - 0.5 * options.rate_limit_jitter_hz;
            let rate = if rate > options.rate_limit_hz { capped } else { rate };
            mean += rate * density * 16.0 / f64::from(n);
        }
        mean
    };
    let p_exc = options.n_excitatory as f64 / options.n_neurons as f64;
    let baseline = p_exc * baseline(options.rate_excitatory_hz) + (1.0 - p_exc) * baseline(options.rate_inhibitory_hz);
    let kernel: Vec<f64> = (0..160)
        .map(|i| (-f64::from(i) / 20.0).exp() - (-f64::from(i) / 5.0).exp())
        .collect();
    let peak = kernel.iter().copied().fold(0.0, f64::max);
    let area = 3.0 * kernel.iter().sum::<f64>() / peak / (window_ms.1 - window_ms.0);
    // Mean modulation 1; area 1 always responds, area 2 in hits.
    baseline * (1.0 + area * 0.5 * (1.0 + options.p_hit))
}

#[test]
fn the_published_variant_has_the_published_statistics() {
    let options = TwoAreaOptions::default();
    let recording = two_area(&options, &mut rng(20)).unwrap();
    let findings = check(&recording);
    assert_eq!(findings.problems, []);
    assert_eq!(findings.warnings, []);
    assert_eq!(recording.sessions.len(), 10);
    let window = (-100.0, 400.0);
    let sessions = binned(&recording, 2.0, window);
    assert_eq!(sessions[0].spikes.shape(), [200, 250, 100]);

    // 2000 trials with p = 0.8: standard deviation 0.0089; 5 of them: probability 6e-7.
    let trials: Vec<_> = sessions.iter().flat_map(|s| &s.trials).collect();
    let n_hits = trials.iter().filter(|t| t.trial_type == "hit").count();
    let hits = n_hits as f64 / trials.len() as f64;
    assert!((hits - 0.8).abs() < 0.045, "hit fraction {hits}");
    assert!(trials.iter().all(|t| t.stimulus == 4.0));

    // Rates of 1000 units have a standard deviation near 10 Hz, so their mean one of 0.32 Hz.
    let rates: Vec<f64> = sessions.iter().flat_map(|s| s.rates_hz.clone()).collect();
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    let expected = expected_rate_hz(&options, window);
    assert!((mean - expected).abs() < 1.6, "{mean} Hz, expected {expected} Hz");
    // §2.3: 13.28 Hz for one draw of 500 units (standard deviation 0.45 Hz); 5 of its own and ours.
    assert!((expected - 13.28).abs() < 2.3, "expected {expected} Hz");

    // At most one spike per ms; a rule that lets spikes slip over an edge gives three in 2 ms, as the
    // published program does.
    let most = sessions.iter().flat_map(|s| s.spikes.iter()).max();
    assert_eq!(most, Some(&2));
}

#[test]
fn areas_and_types_follow_the_published_pattern() {
    let options = TwoAreaOptions {
        n_trials: 1,
        n_sessions: 4,
        ..TwoAreaOptions::default()
    };
    let recording = two_area(&options, &mut rng(21)).unwrap();
    let areas = |s: usize| -> Vec<&str> {
        let units = recording.sessions[s].units.iter();
        units.map(|unit| unit.area.as_str()).collect()
    };
    let both = [
        vec!["area1"; 40],
        vec!["area2"; 40],
        vec!["area1"; 10],
        vec!["area2"; 10],
    ];
    assert_eq!(areas(0), both.concat());
    assert_eq!(areas(1), ["area1"; 100]);
    assert_eq!(areas(2), ["area2"; 100]);
    assert_eq!(areas(3), both.concat());
    for session in &recording.sessions {
        let inhibitory = session.units.iter().map(|u| u.cell_type == CellType::Inhibitory);
        assert!(inhibitory.eq((0..100).map(|n| n >= 80)));
        assert_eq!(session.trials[0].align_s, 1.0);
        assert_eq!(session.trials[0].stop_s, 4.0);
    }
}

/// Sum of counts, and number of (trial, unit) pairs, of one area over some bins and trials of a type.
fn spikes_in(sessions: &[BinnedSession], area: &str, trial_type: &str, bins: std::ops::Range<usize>) -> (f64, f64) {
    let (mut sum, mut n) = (0.0, 0.0);
    for session in sessions {
        for (k, _) in session
            .trials
            .iter()
            .enumerate()
            .filter(|(_, t)| t.trial_type == trial_type)
        {
            for (u, _) in session.units.iter().enumerate().filter(|(_, u)| u.area == area) {
                let counts = session.spikes.slice(s![k, bins.clone(), u]);
                sum += counts.iter().map(|&c| f64::from(c)).sum::<f64>();
                n += 1.0;
            }
        }
    }
    (sum, n)
}

#[test]
fn the_second_area_responds_in_hits_only_and_later() {
    // All units alike: 20 Hz, modulation 1, so that every count has a known expectation.
    let options = TwoAreaOptions {
        n_sessions: 3,
        session_areas: vec![RecordedAreas::Both],
        rate_excitatory_hz: 20.0,
        rate_inhibitory_hz: 20.0,
        rate_spread: 1.0,
        modulations: vec![1.0],
        modulation_probabilities: vec![1.0],
        trial_ms: 1300.0,
        p_hit: 0.5,
        ..TwoAreaOptions::default()
    };
    let recording = two_area(&options, &mut rng(22)).unwrap();
    let sessions = binned(&recording, 1.0, (-500.0, 300.0));
    let kernel = |i: usize| (-(i as f64) / 20.0).exp() - (-(i as f64) / 5.0).exp();
    let peak = (0..160).map(kernel).fold(0.0, f64::max);
    let signal = |bin: usize, first: usize| {
        let tau = bin.checked_sub(first).filter(|&tau| tau < 160);
        tau.map_or(0.0, |tau| 3.0 * kernel(tau) / peak)
    };
    let check = |area: &str, trial_type: &str, first: Option<usize>, bins: std::ops::Range<usize>| {
        let p = |bin| 0.02 * (1.0 + first.map_or(0.0, |first| signal(bin, first)));
        let per_pair: f64 = bins.clone().map(p).sum();
        let variance: f64 = bins.clone().map(|bin| p(bin) * (1.0 - p(bin))).sum();
        let (sum, n) = spikes_in(&sessions, area, trial_type, bins.clone());
        // 5 standard deviations; 24 checks: probability 1.4e-5.
        let slack = 5.0 * (variance * n).sqrt();
        assert!(
            (sum - per_pair * n).abs() <= slack,
            "{area}, {trial_type}, bins {bins:?}: {sum} spikes, expected {} ± {slack}",
            per_pair * n
        );
    };
    // Bin 500 starts with the stimulus; area 1 responds 4 ms later, area 2 after 8 ms.
    for bins in [0..500, 500..506, 506..510, 510..520, 520..668, 668..800] {
        check("area1", "hit", Some(504), bins.clone());
        check("area1", "miss", Some(504), bins.clone());
        check("area2", "hit", Some(508), bins.clone());
        check("area2", "miss", None, bins);
    }
}

#[test]
fn intervals_without_response_are_those_of_independent_bins() {
    // p = 0.04 per bin: P(interval = i) = p (1 − p)^(i − 1).
    let options = TwoAreaOptions {
        n_sessions: 1,
        n_neurons: 20,
        n_excitatory: 20,
        n_trials: 1,
        trial_ms: 100_000.0,
        rate_excitatory_hz: 39.99999,
        rate_spread: 1.0,
        modulations: vec![0.0],
        modulation_probabilities: vec![1.0],
        ..TwoAreaOptions::default()
    };
    let recording = two_area(&options, &mut rng(23)).unwrap();
    let Activity::SpikeTimes { times_s, .. } = &recording.sessions[0].activity else {
        panic!("expected spike times");
    };
    let mut intervals = Vec::new();
    for times in times_s {
        for pair in times.windows(2) {
            intervals.push(((pair[1] - pair[0]) * 1000.0).round() as usize);
        }
    }
    let n = intervals.len() as f64;
    // 2 million bins: mean 80,000 spikes, standard deviation 277.
    assert!((n - 80_000.0).abs() < 5.0 * 277.0 + 20.0, "{n} intervals");
    assert!(intervals.iter().all(|&i| i >= 1));
    for length in [1, 2, 5, 10, 20, 50, 100] {
        // P(interval ≤ length), with 5 standard deviations: probability 4e-6 for the 7 checks.
        let p = 1.0 - 0.96_f64.powi(length);
        let found = intervals.iter().filter(|&&i| i <= length as usize).count() as f64 / n;
        let slack = 5.0 * (p * (1.0 - p) / n).sqrt();
        assert!(
            (found - p).abs() < slack,
            "≤ {length} ms: {found}, expected {p} ± {slack}"
        );
    }
}

#[test]
fn certain_and_impossible_spikes_are_exact() {
    let options = TwoAreaOptions {
        n_sessions: 1,
        n_neurons: 2,
        n_excitatory: 1,
        n_trials: 3,
        trial_ms: 50.0,
        stimulus_ms: 10.0,
        rate_excitatory_hz: 1000.0,
        rate_inhibitory_hz: 1e-300,
        rate_limit_hz: 1e9,
        rate_spread: 1.0,
        modulations: vec![0.0],
        modulation_probabilities: vec![1.0],
        ..TwoAreaOptions::default()
    };
    let recording = two_area(&options, &mut rng(24)).unwrap();
    let Activity::SpikeTimes { times_s, .. } = &recording.sessions[0].activity else {
        panic!("expected spike times");
    };
    let each_ms: Vec<f64> = (0..150).map(|i| f64::from(i) / 1000.0).collect();
    assert_eq!(times_s[0], each_ms);
    assert_eq!(times_s[1], [0.0; 0]);
}

#[test]
fn the_small_variant_is_smaller_than_a_megabyte() {
    let recording = two_area(&TwoAreaOptions::small(), &mut rng(25)).unwrap();
    assert_eq!(check(&recording).problems, []);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("small.h5");
    write(&path, &recording).unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len();
    assert!(bytes < 1_000_000, "{bytes} bytes");
    let n_units: usize = recording.sessions.iter().map(data::Session::n_units).sum();
    assert!((60..=100).contains(&n_units));
}

#[test]
fn the_seed_decides() {
    let options = TwoAreaOptions::small();
    let with = |seed| two_area(&options, &mut rng(seed)).unwrap();
    assert_eq!(with(26), with(26));
    assert_ne!(with(26), with(27));
}

type Change = fn(&mut TwoAreaOptions);

#[test]
fn options_out_of_range_are_refused_by_name() {
    let cases: [(Change, &str); 25] = [
        (|o| o.n_sessions = 0, "n_sessions"),
        (|o| o.n_neurons = 0, "n_neurons"),
        (|o| o.n_trials = 0, "n_trials"),
        (|o| o.n_excitatory = 101, "n_excitatory"),
        (|o| o.session_areas.clear(), "session_areas"),
        (|o| o.area_names[1] = "area1".to_owned(), "area_names"),
        (|o| o.bin_ms = f64::NAN, "bin_ms"),
        (|o| o.bin_ms = 1e-7, "bin_ms"),
        (|o| o.trial_ms = -1.0, "trial_ms"),
        (|o| o.stimulus_ms = 4000.0, "stimulus_ms"),
        (|o| o.p_hit = 1.5, "p_hit"),
        (|o| o.rise_ms = 20.0, "rise_ms"),
        (|o| o.rate_spread = 0.0, "rate_spread"),
        (|o| o.modulation_probabilities = vec![1.0], "modulation_probabilities"),
        // What would take all memory, or for ever.
        (|o| o.n_sessions = usize::MAX, "n_sessions"),
        (|o| o.n_sessions = 10_001, "n_sessions"),
        (|o| o.n_neurons = usize::MAX, "n_neurons"),
        (|o| o.n_neurons = 1_000_000_000_000, "n_neurons"),
        (|o| o.n_trials = usize::MAX, "n_trials"),
        (
            |o| (o.n_neurons, o.n_trials) = (90_000, 90_000),
            "n_sessions × n_neurons × n_trials",
        ),
        (|o| o.response_ms = 1e300, "response_ms"),
        (|o| o.response_ms = 1.1e6, "response_ms"),
        (|o| (o.trial_ms, o.bin_ms) = (1e300, 1e297), "trial_ms"),
        (|o| o.trial_ms = 1e9, "trial_ms"),
        // 10 sessions × 100 neurons × 200 trials × 10 000 bins, in each of which a spike is possible.
        (|o| (o.trial_ms, o.rate_limit_hz) = (1e4, 1e6), "trial_ms"),
    ];
    for (change, name) in cases {
        let mut options = TwoAreaOptions::default();
        change(&mut options);
        let error = two_area(&options, &mut rng(28)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{name} is ")), "{error}");
        assert!(error.contains("expected "), "{error}");
    }
}
