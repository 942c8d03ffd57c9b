//! Events of trials that drive the model's inputs: jittered cues, amplitudes, trials of unequal length.

use std::collections::BTreeMap;

use data::{Activity, CellType, Recording, Session, Trial, TrialEvents, Unit};
use ndarray::{Array3, s};
use rand::RngExt;
use snn_core::rng::StreamRng;

use crate::bad_input::{edit, refuse};
use crate::chunks::{gradients, losses_of_the_first_step};
use crate::cli::{Folder, Run};
use crate::networks::assert_relative;
use crate::runs::{assert_same_checkpoints, manifest, resume, succeed, train};

/// Bins of 2 ms from −300 ms on.
const N_BINS: usize = 300;
const START_MS: f64 = -300.0;
const N_TRIALS: usize = 60;
const N_UNITS: usize = 16;

/// Trials of a session whose units answer 10 to 60 ms after a cue that is jittered by ±200 ms; contrast 1 in every trial.
fn session(id: &str, seed: u64) -> Session {
    let mut rng = StreamRng::new(seed, "test", 0);
    let cue_ms: Vec<f64> = (0..N_TRIALS).map(|_| rng.random_range(-200.0..200.0)).collect();
    let counts = Array3::from_shape_fn((N_TRIALS, N_BINS, N_UNITS), |(k, t, n)| {
        let since_ms = START_MS + 2.0 * (t as f64 + 0.5) - cue_ms[k];
        let is_response = n < 12 && (10.0..60.0).contains(&since_ms);
        let rate_hz = if is_response { 90.0 } else { 8.0 };
        u8::from(rng.random::<f64>() < rate_hz * 0.002)
    });
    let align_s = |k: usize| k as f64 + 0.4;
    Session {
        id: id.to_owned(),
        units: (0..N_UNITS)
            .map(|n| Unit {
                id: format!("u{n}"),
                area: "A".to_owned(),
                cell_type: if n < 12 {
                    CellType::Excitatory
                } else {
                    CellType::Inhibitory
                },
                firing_rate_hz: None,
            })
            .collect(),
        trials: (0..N_TRIALS)
            .map(|k| Trial {
                start_s: align_s(k) - 0.3,
                stop_s: align_s(k) + 0.3,
                align_s: align_s(k),
                stimulus: 1.0,
                trial_type: ["hit", "miss"][k % 2].to_owned(),
                movie: None,
                valid_bins: None,
            })
            .collect(),
        events: TrialEvents {
            times_s: BTreeMap::from([(
                "cue".to_owned(),
                cue_ms
                    .iter()
                    .enumerate()
                    .map(|(k, ms)| Some(align_s(k) + ms / 1000.0))
                    .collect(),
            )]),
            values: BTreeMap::from([("contrast".to_owned(), vec![Some(1.0); N_TRIALS])]),
        },
        behaviour: BTreeMap::new(),
        stimulus: None,
        activity: Activity::Binned {
            counts,
            bin_ms: 2.0,
            start_ms: START_MS,
            presence: None,
        },
    }
}

/// The session with trials that end 120 ms after their cue, as if that were the reaction.
fn cut(mut session: Session) -> Session {
    let cues = session.events.times_s["cue"].clone();
    let Activity::Binned { counts, .. } = &mut session.activity else {
        panic!("counts");
    };
    for (k, (trial, cue)) in session.trials.iter_mut().zip(cues).enumerate() {
        let end_ms = (cue.unwrap() - trial.align_s) * 1000.0 + 120.0;
        let valid = (((end_ms - START_MS) / 2.0) as usize).min(N_BINS);
        trial.valid_bins = Some(valid);
        counts.slice_mut(s![k, valid.., ..]).fill(0);
    }
    session
}

const CONFIG: &str = r#"schema = 1
seed = 2
[data]
files = ["recording.h5"]
bin_ms = 2.0
window_ms = [-300.0, 300.0]
[model.rsnn]
warmup_ms = 40.0
[model.rsnn.input.poisson]
n = 60
p_stim = 0.8
duration_ms = 50.0
INPUT
[statistics]
min_neurons_per_area = 4
min_spikes = 0
smooth_ms = 20.0
stride_ms = 10.0
trial_resample = 1
[[loss]]
psth = {}
[[loss]]
trial_matching = {}
[train]
n_trials = 24
validation_trials = 16
max_steps = 20
validate_every = 10
checkpoint_every = 10
log_every = 1
"#;

const CUE: &str = "[[model.rsnn.input.poisson.channels]]\nevent = \"cue\"\n";
const FIXED: &str = "onsets_ms = [0.0]\n";

/// A folder with a recording and `fit.toml`, whose inputs are `input`.
fn folder_of(sessions: Vec<Session>, input: &str) -> Folder {
    let folder = Folder::new();
    data::write(&folder.path("recording.h5"), &Recording { sessions }).unwrap();
    folder.write("fit.toml", CONFIG.replace("INPUT\n", input).as_bytes());
    folder
}

fn trained(folder: &Folder, input: &str, out: &str, sets: &[&str]) -> Run {
    folder.write("fit.toml", CONFIG.replace("INPUT\n", input).as_bytes());
    train(folder, out, sets)
}

/// Mean rate (Hz) of the first `n_units` units in bins of 10 ms from 50 ms before the cue to 100 ms after it.
fn around_cue(session: &Session, cue_ms: &[f64], n_units: usize) -> Vec<f64> {
    let Activity::Binned { counts, .. } = &session.activity else {
        panic!("counts");
    };
    let (mut sums, mut n_at) = (vec![0.0; 15], vec![0.0; 15]);
    for (k, cue) in cue_ms.iter().enumerate().take(counts.dim().0) {
        for t in 0..counts.dim().1 {
            let since_ms = START_MS + 2.0 * (t as f64 + 0.5) - cue + 50.0;
            let bin = (since_ms / 10.0).floor();
            if (0.0..15.0).contains(&bin) {
                let spikes: f64 = counts.slice(s![k, t, ..n_units]).iter().map(|&z| f64::from(z)).sum();
                sums[bin as usize] += spikes / n_units as f64;
                n_at[bin as usize] += 0.002;
            }
        }
    }
    sums.iter().zip(&n_at).map(|(sum, n)| sum / n).collect()
}

fn cues_ms(session: &Session) -> Vec<f64> {
    let pairs = session.events.times_s["cue"].iter().zip(&session.trials);
    pairs
        .map(|(cue, trial)| (cue.unwrap() - trial.align_s) * 1000.0)
        .collect()
}

fn simulated(folder: &Folder, run: &str, trials: usize) -> Session {
    let out = format!("{run}.h5");
    succeed(
        folder,
        &["simulate", run, "--out", &out, "--trials", &trials.to_string()],
    );
    data::read(&folder.path(&out)).unwrap().sessions.remove(0)
}

/// Response over baseline: mean from 10 to 60 ms after the cue, less that of the 50 ms before it (Hz).
fn response(around: &[f64]) -> f64 {
    let mean = |bins: &[f64]| bins.iter().sum::<f64>() / bins.len() as f64;
    mean(&around[6..11]) - mean(&around[..5])
}

#[test]
fn a_jittered_cue_is_recovered_by_its_event_and_not_by_a_fixed_onset() {
    let recorded = session("a", 1);
    let cues = cues_ms(&recorded);
    let of_data = around_cue(&recorded, &cues, 12);
    let folder = folder_of(vec![recorded], CUE);
    let steps = ["train.max_steps = 250", "optimizer.adamw.lr = 3e-3"];
    trained(&folder, CUE, "by-event", &steps);
    trained(&folder, FIXED, "fixed", &steps);
    let by_event = simulated(&folder, "by-event", 120);
    let of_event = around_cue(&by_event, &cues_ms(&by_event), 12);
    let fixed = simulated(&folder, "fixed", 120);
    assert!(fixed.events.is_empty());
    // It knows of no cues: those of the recording stand for them.
    let twice = [cues.clone(), cues].concat();
    let of_fixed = around_cue(&fixed, &twice, 12);
    let [data, event, other] = [&of_data, &of_event, &of_fixed].map(|around| response(around));
    assert!((data - 82.0).abs() < 8.0, "{data}");
    // The time course, and most of its size: matching by squared distance rewards too little of it (docs/LIMITS.md).
    let correlation = losses::metrics::pearson(&of_data, &of_event).unwrap();
    assert!(correlation > 0.9, "{correlation}: {of_event:?}");
    assert!(
        event > 0.4 * data && event < 1.4 * data,
        "{event} of {data} Hz: {of_event:?}"
    );
    assert!(other.abs() < 0.1 * data, "{other} of {data} Hz: {of_fixed:?}");
}

#[test]
fn a_simulated_recording_has_the_events_amplitudes_and_lengths_that_were_drawn() {
    let input = "[[model.rsnn.input.poisson.channels]]\nevent = \"cue\"\namplitude = \"contrast\"\n";
    let recorded = [cut(session("a", 1)), cut(session("b", 2))];
    let folder = folder_of(recorded.to_vec(), input);
    train(&folder, "run", &[]);
    let made = simulated(&folder, "run", 150);
    let Activity::Binned { counts, .. } = &made.activity else {
        panic!("counts");
    };
    // Cue and length of each trial are those of one recorded trial, to the rounding of clocks.
    let known: Vec<(f64, usize)> = recorded
        .iter()
        .flat_map(|session| cues_ms(session).into_iter().zip(&session.trials))
        .map(|(cue, trial)| (cue, trial.valid_bins.unwrap()))
        .collect();
    let mut drawn = Vec::new();
    for (k, (cue, trial)) in cues_ms(&made).into_iter().zip(&made.trials).enumerate() {
        let of = known.iter().position(|(ms, _)| (ms - cue).abs() < 1e-6).unwrap();
        assert_eq!(trial.valid_bins, Some(known[of].1));
        let length_s = known[of].1 as f64 * 0.002;
        assert!((trial.stop_s - trial.start_s - length_s).abs() < 1e-9);
        assert!(counts.slice(s![k, known[of].1.., ..]).iter().all(|z| *z == 0));
        drawn.push(of);
    }
    assert_eq!(made.events.values["contrast"], vec![Some(1.0); 150]);
    // Training trials come one by one before one comes again.
    drawn.sort_unstable();
    drawn.dedup();
    let n_train: usize = {
        let splits = std::fs::read_to_string(folder.path("run/splits.json")).unwrap();
        let splits = data::Splits::from_json("splits", &splits).unwrap();
        splits.sessions.iter().map(|s| s.train.len()).sum()
    };
    assert_eq!(drawn.len(), n_train);
    // It is a recording like another: a network can be fitted to it, and it can be exported.
    succeed(&folder, &["inspect", "run.h5"]);
    succeed(
        &folder,
        &["simulate", "run", "--out", "run.nwb", "--trials", "40", "--inputs"],
    );
    succeed(&folder, &["import", "run.nwb", "--out", "again.h5"]);
    let again = data::read(&folder.path("again.h5")).unwrap().sessions.remove(0);
    assert_eq!(again.events.times_s["cue"].len(), 40);
    assert_eq!(again.events.values["contrast"], vec![Some(1.0); 40]);
    folder.write(
        "other.toml",
        CONFIG
            .replace("INPUT\n", input)
            .replace("recording.h5", "run.h5")
            .as_bytes(),
    );
    let sets = [
        "train",
        "--config",
        "other.toml",
        "--out",
        "other",
        "--set",
        "train.max_steps = 2",
    ];
    succeed(&folder, &sets);
}

#[test]
fn channels_with_fixed_onsets_are_the_short_form_bit_by_bit() {
    let folder = folder_of(vec![session("a", 1)], FIXED);
    trained(&folder, "onsets_ms = [0.0, 100.0]\n", "short", &[]);
    let long = "channels = [{ onset_ms = 0.0, amplitude = \"stimulus\" }, { onset_ms = 100.0 }]\n";
    trained(&folder, long, "long", &[]);
    assert_same_checkpoints(&folder, "short", "long", 20);
    assert_eq!(manifest(&folder, "short").inputs, None);
    let inputs = manifest(&folder, "long").inputs.unwrap();
    assert_eq!(
        inputs,
        "60 Poisson inputs, driven at 0 ms in every trial (scaled by the stimulus), at 100 ms in every trial"
    );
}

#[test]
fn trials_of_unequal_length_go_on_bit_by_bit_and_in_chunks() {
    let folder = folder_of(vec![cut(session("a", 1)), session("b", 2)], CUE);
    train(&folder, "whole", &[]);
    train(&folder, "stopped", &["train.max_steps = 10"]);
    resume(&folder, "stopped", &["train.max_steps = 20"]);
    assert_same_checkpoints(&folder, "whole", "stopped", 20);
    let inputs = manifest(&folder, "whole").inputs.unwrap();
    let expected = "60 Poisson inputs, driven at cue of recorded trials; model trials are as long as the recorded ones that they \
                    take events of";
    assert_eq!(inputs, expected);

    // Losses of counts too: windows that trials have, and the whole trial of those that fill the window.
    let one = [
        "train.max_steps = 1",
        "loss = [{ psth = {} }, { trial_matching = {} }, { count_variance = {} }, { count_covariance = { whole_trial = false } }]",
    ];
    train(&folder, "one", &one);
    assert_eq!(losses_of_the_first_step(&folder, "one").len(), 4);
    train(&folder, "chunks", &[one[0], one[1], "train.trial_chunk = 7"]);
    assert_eq!(
        losses_of_the_first_step(&folder, "one"),
        losses_of_the_first_step(&folder, "chunks")
    );
    for ((name, a), (_, b)) in gradients(&folder, "chunks", 1)
        .iter()
        .zip(&gradients(&folder, "one", 1))
    {
        assert_relative(&format!("dL/d{name}"), a, b, 1e-5);
    }

    succeed(&folder, &["evaluate", "whole", "--trials", "40"]);
    let metrics = std::fs::read_to_string(folder.path("whole/metrics.json")).unwrap();
    assert!(
        metrics.contains("\"psth_pearson\"") && metrics.contains("trials end at different bins"),
        "{metrics}"
    );
    let page = std::fs::read_to_string(folder.path("whole/report/index.html")).unwrap();
    assert!(page.contains("driven at cue of recorded trials"));
}

#[test]
fn a_window_that_no_trial_fills_is_told_before_training() {
    let mut short = cut(session("a", 1));
    let Activity::Binned { counts, .. } = &mut short.activity else {
        panic!("counts");
    };
    for (k, trial) in short.trials.iter_mut().enumerate() {
        // Trial 5 has less than the 10 bins of the moving mean of 20 ms, and the others not all.
        let valid = if k == 5 {
            3
        } else {
            trial.valid_bins.unwrap().clamp(200, 299)
        };
        trial.valid_bins = Some(valid);
        counts.slice_mut(s![k, valid.., ..]).fill(0);
    }
    let folder = folder_of(vec![short], CUE);
    let run = train(&folder, "run", &["train.max_steps = 2"]);
    let said = run.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "`snnfit evaluate` will refuse this run, because it needs trials of both parts that fill the window: 0 of",
        "choose a narrower data.window_ms",
        "1 of 60 trials end before the first bin in which single trials are compared",
    ] {
        assert!(said.contains(part), "'{part}' is not in: {said}");
    }
    let warnings = manifest(&folder, "run").warnings;
    assert!(warnings.iter().any(|found| found.contains("will refuse this run")));
    refuse(&folder, &["evaluate", "run", "--trials", "20"], 3);
    // Of losses of counts, windows within trials are left.
    let counts = "loss = [{ psth = {} }, { count_variance = {} }]";
    train(&folder, "counts", &["train.max_steps = 2", counts]);
    assert!(
        losses_of_the_first_step(&folder, "counts")
            .iter()
            .any(|(name, _)| name == "count_variance")
    );
    let whole = "loss = [{ psth = {} }, { count_variance = { windows_ms = [] } }]";
    let arguments = ["train", "--config", "fit.toml", "--out", "none", "--set", whole];
    let run = folder.run(&arguments);
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(
        run.stderr
            .contains("loss.count_variance: no session has four training trials"),
        "{}",
        run.stderr
    );
    // As it says: three of four trials fill this one, because what was 200 bins at least ends at 100 ms.
    train(
        &folder,
        "narrow",
        &["train.max_steps = 2", "data.window_ms = [-300.0, 100.0]"],
    );
    succeed(&folder, &["evaluate", "narrow", "--trials", "20"]);
}

#[test]
fn sessions_without_an_event_take_those_of_others_and_are_named() {
    let mut without = session("b", 2);
    without.events = TrialEvents::default();
    let folder = folder_of(vec![session("a", 1), without], CUE);
    let run = train(&folder, "run", &["train.max_steps = 2"]);
    let warning = "channels[0].event: sessions b have no trials/events/cue; model trials with their stimuli take events of other \
                   sessions' trials";
    assert!(run.stderr.contains(warning), "{}", run.stderr);
    assert!(
        manifest(&folder, "run")
            .warnings
            .iter()
            .any(|found| found.contains(warning))
    );
    let made = simulated(&folder, "run", 80);
    let known = cues_ms(&session("a", 1));
    assert!(
        cues_ms(&made)
            .iter()
            .all(|cue| known.iter().any(|ms| (ms - cue).abs() < 1e-6))
    );
}

#[test]
fn what_trials_lack_is_one_clear_error() {
    let channel = |text: &str| format!("[[model.rsnn.input.poisson.channels]]\n{text}\n");
    let cases: [(&str, &str, &[&str]); 3] = [
        (
            "event = \"que\"",
            "",
            &["channels[0].event", "no session has trials/events/que; there are: cue"],
        ),
        (
            "event = \"cue\"\namplitude = \"sound\"",
            "",
            &[
                "channels[0].amplitude",
                "no session has trials/values/sound; there are: contrast",
            ],
        ),
        (
            "event = \"cue\"",
            "data.window_ms = [-300.0, -250.0]",
            &["channels[0].event", "lies in the window [-300, -250) ms in none of"],
        ),
    ];
    for (text, set, parts) in cases {
        let folder = folder_of(vec![session("a", 1)], &channel(text));
        let mut arguments = vec!["train", "--config", "fit.toml", "--out", "run"];
        if !set.is_empty() {
            arguments.extend(["--set", set]);
        }
        let run = refuse(&folder, &arguments, 3);
        let said = run
            .stderr
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .replace(" │", "");
        for part in parts {
            assert!(said.contains(part), "'{part}' is not in: {said}");
        }
    }
    // An amplitude that is missing where the event happens.
    let mut gaps = session("a", 1);
    gaps.events.values.get_mut("contrast").unwrap()[7] = None;
    let text = channel("event = \"cue\"\namplitude = \"contrast\"");
    let arguments = ["train", "--config", "fit.toml", "--out", "run"];
    let folder = folder_of(vec![gaps.clone()], &text);
    let run = refuse(&folder, &arguments, 3);
    let said = run
        .stderr
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace(" │", "");
    let part = "trials/values/contrast of session 'a' is missing (NaN) in 1 of the trials that are used and have the onset, first in trial 7";
    assert!(said.contains(part), "{said}");
    // A cue that lies outside of the window in some trials is told.
    let folder = folder_of(vec![session("a", 1)], CUE);
    let run = train(
        &folder,
        "run",
        &["train.max_steps = 1", "data.window_ms = [-100.0, 300.0]"],
    );
    let warning = "trials/events/cue lies outside the window [-100, 300) ms in";
    assert!(run.stderr.contains(warning), "{}", run.stderr);
    // A logarithmic scale has no amplitude for -1.
    let mut low = session("a", 1);
    low.events.values.get_mut("contrast").unwrap()[9] = Some(-1.0);
    let folder = folder_of(vec![low], &text);
    let run = refuse(&folder, &arguments, 3);
    let said = run
        .stderr
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace(" │", "");
    assert!(
        said.contains("of session 'a' is -1 in trial 9; a logarithmic scale"),
        "{said}"
    );
    train(
        &folder,
        "run",
        &["train.max_steps = 1", "model.rsnn.input.poisson.scale = \"linear\""],
    );
    // Where it doesn't happen there is nothing to be missing.
    gaps.events.times_s.get_mut("cue").unwrap()[7] = None;
    let folder = folder_of(vec![gaps], &text);
    train(&folder, "run", &["train.max_steps = 1"]);
}

#[test]
fn a_malformed_column_is_refused_by_every_command_that_reads_it() {
    let folder = folder_of(vec![session("a", 1)], CUE);
    edit(&folder, |file| {
        file.unlink("sessions/a/trials/events/cue").unwrap();
        let builder = file.new_dataset_builder().with_data(&[1.0, 2.0]);
        builder.create("sessions/a/trials/events/cue").unwrap();
    });
    for arguments in [
        &["inspect", "recording.h5"][..],
        &["train", "--config", "fit.toml", "--out", "run"],
        &["export", "recording.h5", "--out", "out.nwb"],
    ] {
        let run = refuse(&folder, arguments, 4);
        assert!(run.stderr.contains("/sessions/a/trials/events/cue"), "{}", run.stderr);
        assert!(run.stderr.contains("2 rows"), "{}", run.stderr);
    }
}
