//! Bins: edges, masks, re-binning, behaviour and movies on the grid.

use data::{
    Activity, Behaviour, BehaviourSamples, BinOptions, BinnedSession, DataError, Session, StimulusMovies, Timing,
    bin_recording, bin_session,
};
use ndarray::{Array2, Array3, array, s};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::common::{binned_session, recording, session, trial};

fn options(bin_ms: f64, window_ms: (f64, f64)) -> BinOptions {
    BinOptions {
        bin_ms,
        window_ms: Some(window_ms),
        behaviour: vec![],
    }
}

/// One unit with these spikes and one trial aligned at `align_s`, in a long recording.
fn one_train(times_s: Vec<f64>, align_s: f64) -> Session {
    let mut session = session("a");
    session.units.truncate(1);
    session.trials.truncate(1);
    session.trials[0].start_s = align_s - 50.0;
    session.trials[0].stop_s = align_s + 50.0;
    session.trials[0].align_s = align_s;
    session.activity = Activity::SpikeTimes {
        unit_observed_s: None,
        times_s: vec![times_s],
        observed_s: (align_s - 100.0, align_s + 100.0),
    };
    session
}

fn counts(session: &Session, options: &BinOptions) -> Vec<u8> {
    let binned = bin_session(session, options).unwrap();
    binned.spikes.slice(s![0, .., 0]).to_vec()
}

fn message(result: Result<BinnedSession, DataError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_spike_on_an_edge_falls_in_the_later_bin() {
    let spikes = vec![0.0, 0.002, 0.003999, 0.006];
    let session = one_train(spikes, 0.0);
    // The last spike lies on the right edge of the window: outside.
    assert_eq!(counts(&session, &options(2.0, (0.0, 6.0))), [1, 2, 0]);
}

#[test]
fn sums_and_differences_that_round_stay_in_their_bin() {
    // 0.1 + 0.2 = 0.30000000000000004; 0.3 − 0.1 = 0.19999999999999998; 1.1 − 1.0 = 0.10000000000000009.
    for (spike, align, bin) in [
        (0.1 + 0.2, 0.0, 3),
        (0.3, 0.1, 2),
        (0.3 - 0.1, 0.0, 2),
        (1.1, 1.0, 1),
        (0.7 + 0.1, 0.0, 8),
        (4.35, 4.0, 3),
        (1000.3, 1000.0, 3),
    ] {
        let counts = counts(&one_train(vec![spike], align), &options(100.0, (0.0, 1000.0)));
        assert_eq!(counts[bin], 1, "spike at {spike} s, event at {align} s");
    }
}

proptest! {
    /// Whole microseconds and nanoseconds make an exact oracle in integers.
    #[test]
    fn bins_are_those_of_exact_arithmetic(
        spikes_us in vec(-1_000_000_i64..1_000_000, 1..60),
        align_ms in 200_000_i64..40_000_000,
        bin_ns in prop::sample::select(vec![1_000_000_i64, 2_000_000, 500_000, 1_667_000, 3_000_000]),
        start_bins in -100_i64..100,
        on_edges in any::<bool>(),
    ) {
        let n_bins = 150_i64;
        let start_ns = start_bins * bin_ns;
        let relative_ns: Vec<i64> = spikes_us
            .iter()
            .map(|us| if on_edges { us % 400 * bin_ns } else { us * 1000 })
            .collect();
        let mut expected = vec![0_u8; n_bins as usize];
        for ns in &relative_ns {
            let bin = (ns - start_ns).div_euclid(bin_ns);
            if (0..n_bins).contains(&bin) {
                expected[bin as usize] = expected[bin as usize].saturating_add(1);
            }
        }
        let seconds = |ns: i64| (align_ms * 1_000_000 + ns) as f64 / 1e9;
        let mut times: Vec<f64> = relative_ns.into_iter().map(seconds).collect();
        times.sort_by(f64::total_cmp);
        let bin_ms = bin_ns as f64 / 1e6;
        let start_ms = start_ns as f64 / 1e6;
        let window = (start_ms, start_ms + n_bins as f64 * bin_ms);
        let session = one_train(times, align_ms as f64 / 1e3);
        prop_assert_eq!(counts(&session, &options(bin_ms, window)), expected);
    }

    #[test]
    fn every_spike_of_the_recording_is_counted_once(
        mut times in vec(0.0_f64..3.0, 0..200),
        bin_ms in prop::sample::select(vec![1.0, 2.0, 5.0, 250.0]),
    ) {
        times.sort_by(f64::total_cmp);
        let mut session = session("a");
        let n = times.len();
        session.activity = Activity::SpikeTimes {
            unit_observed_s: None,
            times_s: vec![times, vec![]],
            observed_s: (0.0, 3.0),
        };
        // Three trials of one second without gaps.
        let binned = bin_session(&session, &BinOptions::of_width(bin_ms)).unwrap();
        prop_assert_eq!(binned.start_ms, -250.0);
        prop_assert_eq!(&binned.valid_bins, &vec![(1000.0 / bin_ms) as usize; 3]);
        let total: usize = binned.spikes.iter().map(|&c| usize::from(c)).sum();
        prop_assert_eq!(total, n);
        prop_assert!((binned.rates_hz[0] - n as f64 / 3.0).abs() < 1e-9);
    }
}

#[test]
fn bins_after_a_trial_or_the_recording_are_padding() {
    let mut session = session("a");
    session.trials[1].stop_s = 1.5005;
    session.activity = Activity::SpikeTimes {
        unit_observed_s: None,
        times_s: vec![vec![1.4, 1.5002, 1.6, 2.3], vec![]],
        observed_s: (0.0, 2.5),
    };
    let lick = Behaviour {
        samples: BehaviourSamples::Continuous {
            values: vec![7.0; 3001],
            timing: Timing::Rate {
                rate_hz: 1000.0,
                start_s: 0.0,
            },
        },
        unit: String::new(),
    };
    session.behaviour.insert("lick".to_owned(), lick);
    let mut options = options(1.0, (-250.0, 750.0));
    options.behaviour = vec!["lick".to_owned(), "jaw".to_owned()];
    let binned = bin_session(&session, &options).unwrap();
    // Trial 1 ends within bin 500, which is therefore not valid; trial 2 ends with the recording.
    assert_eq!(binned.valid_bins, [1000, 500, 500]);
    assert_eq!(binned.n_trials(), 3);
    assert_eq!(binned.spikes.slice(s![1, .., 0]).sum(), 1);
    assert_eq!(binned.spikes[[1, 400, 0]], 1);
    assert_eq!(binned.spikes[[2, 300, 0]], 1);
    assert_eq!(binned.rates_hz[0], 2.0 / 2.0);
    let lick = &binned.behaviour["lick"];
    for (k, &n_valid) in binned.valid_bins.iter().enumerate() {
        let row = lick.row(k);
        assert!(row.iter().take(n_valid).all(|&v| v == 7.0));
        assert!(row.iter().skip(n_valid).all(|v| v.is_nan()));
    }
    assert!(binned.behaviour["jaw"].iter().all(|v| v.is_nan()));
    assert!(binned.warnings.iter().any(|w| w.message.contains("'jaw'")));
}

#[test]
fn a_trial_whose_window_starts_before_the_recording_is_kept_but_empty() {
    let mut session = session("a");
    for trial in &mut session.trials {
        trial.start_s = trial.align_s - 0.5;
    }
    let binned = bin_session(&session, &options(10.0, (-300.0, 100.0))).unwrap();
    assert_eq!(binned.valid_bins, [0, 40, 40]);
    assert!(
        binned.warnings[0]
            .message
            .starts_with("1 of 3 trials have no valid bin")
    );
}

/// Three trials of 1 s without a gap, with the event 0.2 s after their start and one spike 0.1 s before
/// their end.
fn back_to_back() -> Session {
    let mut session = session("a");
    for (k, trial) in session.trials.iter_mut().enumerate() {
        trial.align_s = k as f64 + 0.2;
    }
    session.activity = Activity::SpikeTimes {
        unit_observed_s: None,
        times_s: vec![vec![0.9, 1.9, 2.9], vec![]],
        observed_s: (0.0, 3.0),
    };
    session
}

#[test]
fn spikes_of_the_trial_before_are_not_data() {
    let session = back_to_back();
    // From −600 ms on, a window holds the spike of the trial before, at −300 ms.
    let binned = bin_session(&session, &options(10.0, (-600.0, 300.0))).unwrap();
    assert_eq!(binned.valid_bins, [0, 0, 0]);
    assert_eq!(binned.spikes.sum(), 0);
    let message = &binned.warnings[0].message;
    assert!(
        message.starts_with("3 of 3 trials have no valid bin: the window starts at -600 ms")
            && message.contains("all trials allow a window from -200 ms on"),
        "{message}"
    );
    // The start of the trial itself is allowed.
    let binned = bin_session(&session, &options(10.0, (-200.0, 300.0))).unwrap();
    assert_eq!((binned.valid_bins, binned.warnings), (vec![50, 50, 50], vec![]));
    // What follows the trial is padding, as ever.
    let binned = bin_session(&session, &options(10.0, (-200.0, 900.0))).unwrap();
    assert_eq!(binned.valid_bins, [100, 100, 100]);
}

#[test]
fn a_window_that_some_trials_do_not_allow_leaves_these_empty() {
    let mut session = back_to_back();
    session.trials[1].align_s = 1.4;
    session.trials[2].align_s = 2.4;
    let binned = bin_session(&session, &options(10.0, (-300.0, 100.0))).unwrap();
    assert_eq!(binned.valid_bins, [0, 40, 40]);
    let message = &binned.warnings[0].message;
    assert!(
        message.starts_with("1 of 3 trials")
            && message.contains("all trials allow a window from -200 ms on, most of them one from -400 ms on"),
        "{message}"
    );
}

#[test]
fn without_a_window_bins_start_where_the_last_trial_does() {
    let mut session = back_to_back();
    for (trial, offset_s) in session.trials.iter_mut().zip([0.1, 0.4, 0.4]) {
        trial.align_s = trial.start_s + offset_s;
    }
    let binned = bin_session(&session, &BinOptions::of_width(10.0)).unwrap();
    assert_eq!((binned.start_ms, binned.n_bins()), (-100.0, 100));
    assert_eq!(binned.valid_bins, [100, 70, 70]);
    // Every spike once, in its own trial.
    assert_eq!(binned.spikes.sum(), 3);
    let message = &binned.warnings[0].message;
    assert!(
        message.contains("bins start at -100 ms") && message.contains("from -400 ms on is left out"),
        "{message}"
    );
}

#[test]
fn rounding_of_times_excludes_no_trial() {
    // Starts that are no binary fractions, late in a long recording; bins of 0.05 ms.
    let mut session = session("a");
    session.trials = (0..200)
        .map(|k| {
            let mut trial = trial(0, "x");
            let start_ms = 1e8 + f64::from(k) * 1300.1;
            (trial.start_s, trial.align_s) = (start_ms / 1000.0, (start_ms + 200.3) / 1000.0);
            trial.stop_s = (start_ms + 1300.1) / 1000.0;
            trial
        })
        .collect();
    session.activity = Activity::SpikeTimes {
        unit_observed_s: None,
        times_s: vec![vec![], vec![]],
        observed_s: (1e5, 2e5),
    };
    let binned = bin_session(&session, &BinOptions::of_width(0.05)).unwrap();
    assert_eq!(binned.valid_bins, [26_002; 200]);
    let binned = bin_session(&session, &options(0.05, (-200.3, 1099.8))).unwrap();
    assert_eq!(binned.valid_bins, [26_002; 200]);
}

#[test]
fn stored_bins_outside_of_their_trial_are_not_data() {
    // Trials of 8 ms, the event after 2 ms; bins of 1 ms from −4 to 8 ms.
    let mut session = binned_session("b", Array3::ones((3, 12, 1)));
    for (k, trial) in session.trials.iter_mut().enumerate() {
        trial.start_s = k as f64 * 0.008;
        trial.stop_s = (k + 1) as f64 * 0.008;
        trial.align_s = trial.start_s + 0.002;
    }
    if let Activity::Binned { start_ms, .. } = &mut session.activity {
        *start_ms = -4.0;
    }
    let binned = bin_session(&session, &options(1.0, (-4.0, 8.0))).unwrap();
    assert_eq!(binned.valid_bins, [0, 0, 0]);
    assert!(
        binned.warnings[0].message.contains("from -2 ms on"),
        "{:?}",
        binned.warnings
    );
    // From the start of the trial on; what lies after its end is padding.
    let binned = bin_session(&session, &options(2.0, (-2.0, 8.0))).unwrap();
    assert_eq!(binned.valid_bins, [4, 4, 4]);
    assert_eq!(binned.spikes.sum(), 3 * 8);
    assert!(
        binned.warnings[0]
            .message
            .starts_with("3 trials end before their stored bins do")
    );
    // Without a window, from the first stored edge in all trials on.
    session.trials[1].align_s -= 0.0005;
    let binned = bin_session(&session, &BinOptions::of_width(1.0)).unwrap();
    assert_eq!((binned.start_ms, binned.n_bins()), (-1.0, 9));
    assert_eq!(binned.valid_bins, [7, 7, 7]);
    assert!(binned.warnings[0].message.contains("from -4 ms on is left out"));
}

#[test]
fn counts_above_255_saturate_with_a_warning() {
    let session = one_train(vec![0.5; 300], 0.0);
    let binned = bin_session(&session, &options(1000.0, (0.0, 1000.0))).unwrap();
    assert_eq!(binned.spikes[[0, 0, 0]], 255);
    assert!(binned.warnings[0].message.starts_with("45 spikes exceed"));
}

#[test]
fn a_window_must_hold_whole_bins() {
    let session = session("a");
    let text = message(bin_session(&session, &options(2.0, (-100.0, 301.0))));
    assert!(
        text.contains("session 'a'") && text.contains("end it at 300 ms"),
        "{text}"
    );
    for (bin_ms, window) in [
        (0.0, (0.0, 1.0)),
        (-1.0, (0.0, 1.0)),
        (f64::NAN, (0.0, 1.0)),
        (1.0, (1.0, 1.0)),
        (1.0, (0.0, f64::INFINITY)),
        (1.0, (f64::NAN, 1.0)),
        (1e-9, (0.0, 1e12)),
    ] {
        assert!(bin_session(&session, &options(bin_ms, window)).is_err());
    }
    let text = message(bin_session(&session, &BinOptions::of_width(2000.0)));
    assert!(text.contains("less than one bin"), "{text}");
}

#[test]
fn a_bin_width_that_is_no_whole_number_is_kept_exactly() {
    let mut session = binned_session("b", Array3::ones((2, 2000, 1)));
    for trial in &mut session.trials {
        trial.stop_s = trial.start_s + 4.0;
    }
    if let Activity::Binned { bin_ms, .. } = &mut session.activity {
        *bin_ms = 1.667;
    }
    let same = bin_session(&session, &BinOptions::of_width(1.667)).unwrap();
    assert_eq!((same.bin_ms, same.n_bins()), (1.667, 2000));
    let wider = bin_session(&session, &BinOptions::of_width(3.334)).unwrap();
    assert_eq!(wider.n_bins(), 1000);
    assert!(wider.spikes.iter().all(|&c| c == 2));
}

#[test]
fn stored_bins_are_added_up_only_in_whole_groups() {
    // Bins of 1 ms from −2 ms on; counts 0, 1, 2, … along time.
    let counts = Array3::from_shape_fn((1, 7, 1), |(_, t, _)| t as u8);
    let mut session = binned_session("b", counts);
    let binned = bin_session(&session, &options(2.0, (-1.0, 5.0))).unwrap();
    assert_eq!(binned.spikes.iter().copied().collect::<Vec<_>>(), [3, 7, 11]);
    assert_eq!(binned.valid_bins, [3]);
    // Beyond the stored bins: masked.
    let binned = bin_session(&session, &options(2.0, (-1.0, 9.0))).unwrap();
    assert_eq!(binned.valid_bins, [3]);
    assert_eq!(binned.spikes.shape(), [1, 5, 1]);
    // A shorter trial.
    session.trials[0].valid_bins = Some(4);
    let binned = bin_session(&session, &options(2.0, (-1.0, 5.0))).unwrap();
    assert_eq!(binned.spikes.iter().copied().collect::<Vec<_>>(), [3, 0, 0]);
    assert_eq!(binned.valid_bins, [1]);

    let text = message(bin_session(&session, &options(1.5, (-2.0, 4.0))));
    assert!(text.contains("not a whole multiple"), "{text}");
    let text = message(bin_session(&session, &options(0.5, (-2.0, 4.0))));
    assert!(text.contains("(hint: 1 ms is)"), "{text}");
    let text = message(bin_session(&session, &options(2.0, (-1.5, 4.5))));
    assert!(text.contains("no edge"), "{text}");
    let text = message(bin_session(&session, &options(2.0, (-4.0, 4.0))));
    assert!(text.contains("before the first stored bin"), "{text}");
}

#[test]
fn a_session_with_arrays_that_disagree_is_refused_not_a_panic() {
    let mut session = binned_session("b", Array3::ones((2, 5, 3)));
    session.trials.push(trial(2, "x"));
    assert!(bin_session(&session, &BinOptions::of_width(1.0)).is_err());
    let mut session = crate::common::session("a");
    session.units.pop();
    assert!(bin_session(&session, &BinOptions::of_width(1.0)).is_err());
}

fn with_trace(values: Vec<f32>, timing: Timing) -> (Session, BinOptions) {
    let mut session = session("a");
    let behaviour = Behaviour {
        samples: BehaviourSamples::Continuous { values, timing },
        unit: String::new(),
    };
    session.behaviour.insert("x".to_owned(), behaviour);
    let mut options = options(100.0, (0.0, 500.0));
    options.behaviour = vec!["x".to_owned()];
    (session, options)
}

#[test]
fn fast_behaviour_is_averaged_over_its_bin() {
    // 100 Hz: bin of 100 ms from 0.25 s on holds samples 25 to 34; their mean is 29.5.
    let values: Vec<f32> = (0..300).map(|i| i as f32).collect();
    let timing = Timing::Rate {
        rate_hz: 100.0,
        start_s: 0.0,
    };
    let (session, options) = with_trace(values, timing);
    let binned = bin_session(&session, &options).unwrap();
    let expected = array![29.5_f32, 39.5, 49.5, 59.5, 69.5];
    assert_eq!(binned.behaviour["x"].row(0), expected);
    assert_eq!(binned.behaviour["x"].row(2), expected + 200.0);
}

#[test]
fn missing_samples_are_left_out_of_the_mean() {
    let mut values: Vec<f32> = (0..300).map(|i| i as f32).collect();
    values[30..35].fill(f32::NAN);
    values[35..45].fill(f32::NAN);
    let timing = Timing::Rate {
        rate_hz: 100.0,
        start_s: 0.0,
    };
    let (session, options) = with_trace(values, timing);
    let row = bin_session(&session, &options).unwrap().behaviour["x"].clone();
    assert_eq!(row[[0, 0]], 27.0);
    assert!(row[[0, 1]].is_nan());
    assert_eq!(row[[0, 2]], 49.5);
}

#[test]
fn slow_behaviour_is_interpolated_at_bin_centres() {
    // x(t) = 10 t sampled every 0.3 s is a line, which interpolation reproduces.
    let times: Vec<f64> = (0..11).map(|i| f64::from(i) * 0.3).collect();
    let values = times.iter().map(|&t| (10.0 * t) as f32).collect();
    let (session, options) = with_trace(values, Timing::Timestamps(times));
    let trace = bin_session(&session, &options).unwrap().behaviour["x"].clone();
    for k in 0..3 {
        for t in 0..5 {
            let centre_s = k as f32 + 0.25 + 0.05 + t as f32 * 0.1;
            assert!((trace[[k, t]] - 10.0 * centre_s).abs() < 1e-4);
        }
    }
}

#[test]
fn long_gaps_and_ends_of_slow_behaviour_are_missing() {
    // Samples every 0.2 s, none between 0.4 and 1.2 s, the last at 2.4 s.
    let times = vec![0.0, 0.2, 0.4, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4];
    let (session, options) = with_trace(vec![1.0; 10], Timing::Timestamps(times));
    let trace = bin_session(&session, &options).unwrap().behaviour["x"].clone();
    let known = |k: usize| -> Vec<bool> { trace.row(k).iter().map(|v| v.is_finite()).collect() };
    // Centres 0.3, 0.4, 0.5, 0.6, 0.7 s; 1.3 … 1.7 s; 2.3 … 2.7 s.
    assert_eq!(known(0), [true, true, false, false, false]);
    assert_eq!(known(1), [true; 5]);
    assert_eq!(known(2), [true, true, true, false, false]);
}

#[test]
fn behaviour_per_bin_is_averaged_in_groups() {
    let mut session = binned_session("b", Array3::zeros((2, 4, 1)));
    session.trials[1].valid_bins = Some(3);
    let values = array![[1.0_f32, 2.0, f32::NAN, 4.0], [5.0, 6.0, 7.0, 8.0]];
    let behaviour = Behaviour {
        samples: BehaviourSamples::PerBin(values.clone()),
        unit: String::new(),
    };
    session.behaviour.insert("x".to_owned(), behaviour);
    let mut options = BinOptions::of_width(2.0);
    options.behaviour = vec!["x".to_owned()];
    let trace = &bin_session(&session, &options).unwrap().behaviour["x"];
    assert_eq!(trace.row(0), array![1.5_f32, 4.0]);
    assert_eq!(trace[[1, 0]], 5.5);
    assert!(trace[[1, 1]].is_nan());
}

fn movies(values: Vec<f32>, bin_ms: f64, start_ms: f64) -> StimulusMovies {
    let values = Array3::from_shape_vec((1, values.len(), 1), values).unwrap();
    StimulusMovies {
        values,
        bin_ms,
        start_ms,
    }
}

fn resampled(session: &Session, options: &BinOptions) -> (Vec<f32>, usize) {
    let binned = bin_session(session, options).unwrap();
    let values = binned.movies.unwrap().iter().copied().collect();
    (values, binned.warnings.len())
}

#[test]
fn movies_are_copied_averaged_cut_and_held() {
    let mut session = session("a");
    let frames = vec![0.1, 0.2, 0.4, 0.8, 1.6];
    session.stimulus = Some(movies(frames.clone(), 10.0, 0.0));
    let (same, n_warnings) = resampled(&session, &options(10.0, (0.0, 50.0)));
    assert_eq!((same, n_warnings), (frames.clone(), 0));
    let (cut, _) = resampled(&session, &options(10.0, (10.0, 30.0)));
    assert_eq!(cut, [0.2, 0.4]);
    let (wide, _) = resampled(&session, &options(20.0, (0.0, 40.0)));
    assert_eq!(wide, [0.15, 0.6]);
    let (fine, _) = resampled(&session, &options(5.0, (0.0, 20.0)));
    assert_eq!(fine, [0.1, 0.1, 0.2, 0.2]);
    // A bin over an edge: a quarter of the first frame, three quarters of the second.
    let (shifted, _) = resampled(&session, &options(10.0, (7.5, 17.5)));
    assert_eq!(shifted, [0.175]);
    let (held, n_warnings) = resampled(&session, &options(10.0, (-20.0, 70.0)));
    let expected = [0.1, 0.1, 0.1, 0.2, 0.4, 0.8, 1.6, 1.6, 1.6];
    assert_eq!((held.as_slice(), n_warnings), (&expected[..], 1));
}

#[test]
fn chosen_trials_keep_what_belongs_to_them() {
    let counts = Array3::from_shape_fn((3, 4, 2), |(k, t, n)| (k * 8 + t * 2 + n) as u8);
    let mut session = binned_session("b", counts.clone());
    session.trials[2].valid_bins = Some(2);
    session.trials[2].stimulus = 5.0;
    let behaviour = Behaviour {
        samples: BehaviourSamples::PerBin(Array2::from_shape_fn((3, 4), |(k, _)| k as f32)),
        unit: String::new(),
    };
    session.behaviour.insert("x".to_owned(), behaviour);
    let mut options = BinOptions::of_width(1.0);
    options.behaviour = vec!["x".to_owned()];
    let binned = bin_session(&session, &options).unwrap();
    let chosen = binned.select_trials(&[2, 0]);
    assert_eq!(chosen.valid_bins, [2, 4]);
    assert_eq!(chosen.trials[0].index, 2);
    assert_eq!(chosen.trials[0].stimulus, 5.0);
    assert_eq!(chosen.spikes.slice(s![1, .., ..]), counts.slice(s![0, .., ..]));
    assert_eq!(chosen.spikes.slice(s![0, 2.., ..]).sum(), 0);
    assert_eq!(chosen.behaviour["x"][[0, 1]], 2.0);
    // Unit 0: trial 2 has 16 + 18 in two bins, trial 0 has 0 + 2 + 4 + 6 in four: 46 in 6 ms.
    assert!((chosen.rates_hz[0] - 46.0 / 0.006).abs() < 1e-9);
}

#[test]
fn conditions_are_sorted_and_hold_every_trial_once() {
    let mut session = binned_session("b", Array3::zeros((6, 4, 1)));
    let stimuli = [2.0, -0.0, 2.0, 0.0, -1.0, 0.0];
    for (trial, stimulus) in session.trials.iter_mut().zip(stimuli) {
        trial.stimulus = stimulus;
    }
    session.stimulus = Some(movies(vec![0.0; 4], 1.0, -2.0));
    session.trials[5].movie = Some(0);
    let binned = bin_session(&session, &BinOptions::of_width(1.0)).unwrap();
    let conditions: Vec<_> = binned
        .conditions()
        .into_iter()
        .map(|c| (c.movie, c.stimulus, c.trials))
        .collect();
    let expected = [
        (None, -1.0, vec![4]),
        (None, 0.0, vec![1, 3]),
        (None, 2.0, vec![0, 2]),
        (Some(0), 0.0, vec![5]),
    ];
    assert_eq!(conditions, expected);
}

#[test]
fn sessions_of_a_recording_share_their_bins_and_behaviours() {
    let (one, mut options) = with_trace(
        vec![0.0; 300],
        Timing::Rate {
            rate_hz: 100.0,
            start_s: 0.0,
        },
    );
    let mut two = session("b");
    two.trials[0].stop_s = 0.9;
    let both = recording(vec![one, two]);
    let binned = bin_recording(&both, &options).unwrap();
    assert!(binned[1].behaviour["x"].iter().all(|v| v.is_nan()));
    options.behaviour.push("jaws".to_owned());
    let text = bin_recording(&both, &options).unwrap_err().to_string();
    assert!(
        text.contains("'jaws'") && text.contains("recorded behaviours: x"),
        "{text}"
    );
    let mut both = both;
    both.sessions[1].trials.truncate(1);
    let text = bin_recording(&both, &BinOptions::of_width(10.0)).unwrap_err();
    assert!(text.to_string().contains("name one window"), "{text}");
}
