//! Spike-history networks: from recordings of a stimulus to fits, resumptions and evaluations.

use std::collections::BTreeMap;

use data::{Activity, CellType, Recording, Session, StimulusMovies, Trial, TrialEvents, Unit};
use ndarray::{Array2, Array3, Axis, s};
use rand::RngExt;
use snn_core::device::DeviceChoice;
use snn_core::models::Parameters;
use snn_core::rng::StreamRng;
use snnfit::assembly::Part;
use snnfit::checkpoint::{self, Values};

use snnfit::cli::CheckpointChoice;
use snnfit::spike_history::fitted::Fitted;
use snnfit::spike_history::rollouts::{Batch, FreeWindow, Numbers, Window};

use crate::cli::{Folder, Run};
use crate::runs::assert_same_checkpoints;

const CHANNELS: usize = 3;
pub(crate) const N_UNITS: usize = 4;
/// Bins of 2 ms.
pub(crate) const REPEATED_BINS: usize = 400;
const N_REPEATS: usize = 24;

/// Frames of 10 ms of noise, `[T, C]`.
fn movie(bins: usize, seed: u64) -> Array2<f32> {
    let mut rng = StreamRng::new(seed, "movie", 0);
    let frames = Array2::from_shape_fn((bins.div_ceil(5), CHANNELS), |_| {
        if rng.random::<f64>() < 0.5 { 1.0 } else { -1.0 }
    });
    Array2::from_shape_fn((bins, CHANNELS), |(t, c)| frames[[t / 5, c]])
}

/// Spikes of a known network: neuron n follows channel n mod C, is refractory, and neuron 1 follows neuron 0 after 2 bins.
fn spikes(movie: &Array2<f32>, n_trials: usize, seed: u64) -> Array3<u8> {
    let (bins, _) = movie.dim();
    let mut rng = StreamRng::new(seed, "spikes", 0);
    let mut spikes = Array3::zeros((n_trials, bins, N_UNITS));
    for k in 0..n_trials {
        for t in 0..bins {
            for n in 0..N_UNITS {
                let past = |n: usize, lag: usize| t >= lag && spikes[[k, t - lag, n]] > 0;
                let mut u = -3.2 + 1.2 * f64::from(movie[[t.saturating_sub(3), n % CHANNELS]]);
                if past(n, 1) || past(n, 2) {
                    u -= 4.0;
                }
                if n == 1 && past(0, 2) {
                    u += 4.0;
                }
                spikes[[k, t, n]] = u8::from(rng.random::<f64>() < 1.0 / (1.0 + (-u).exp()));
            }
        }
    }
    spikes
}

/// A session that shows each movie in as many trials as said, one after the other; of the units `units`.
pub(crate) fn session(id: &str, movies: &[Array2<f32>], n_each: usize, units: &[usize], seed: u64) -> Session {
    let bins = movies[0].nrows();
    let values = movies
        .iter()
        .map(|movie| movie.view().insert_axis(Axis(0)))
        .collect::<Vec<_>>();
    let values = ndarray::concatenate(Axis(0), &values).unwrap();
    let parts: Vec<Array3<u8>> = movies
        .iter()
        .enumerate()
        .map(|(m, movie)| spikes(movie, n_each, seed + m as u64))
        .collect();
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    let counts = ndarray::concatenate(Axis(0), &views).unwrap().select(Axis(2), units);
    let seconds = bins as f64 * 0.002;
    Session {
        id: id.to_owned(),
        units: units
            .iter()
            .map(|n| Unit {
                id: format!("cell{n}"),
                area: "retina".to_owned(),
                cell_type: CellType::Unknown,
                firing_rate_hz: None,
            })
            .collect(),
        trials: (0..counts.dim().0)
            .map(|k| Trial {
                start_s: k as f64 * (seconds + 0.1),
                stop_s: k as f64 * (seconds + 0.1) + seconds,
                align_s: k as f64 * (seconds + 0.1),
                stimulus: 0.0,
                trial_type: "trial".to_owned(),
                movie: Some(k / n_each),
                valid_bins: None,
            })
            .collect(),
        events: TrialEvents::default(),
        behaviour: BTreeMap::new(),
        stimulus: Some(StimulusMovies {
            values,
            bin_ms: 2.0,
            start_ms: 0.0,
        }),
        activity: Activity::Binned {
            counts,
            bin_ms: 2.0,
            start_ms: 0.0,
            presence: None,
        },
    }
}

pub(crate) const CONFIG: &str = r#"schema = 1
seed = 5
[data]
files = ["recording.h5"]
bin_ms = 2.0
[split.sessions.once]
validation = [4]
[split.sessions.repeated]
validation = [12, 13, 14, 15]
test = [16, 17, 18, 19, 20, 21, 22, 23]
[model.spike_history]
shared_units = true
history_ms = 16.0
[model.spike_history.encoder.stimulus]
history_ms = 20.0
[model.spike_history.windows]
clamped = 24
clamped_ms = 80.0
free = 2
free_ms = 160.0
[statistics]
smooth_ms = 10.0
skip_ms = 20.0
count_windows_ms = [10.0, 20.0]
[[loss]]
likelihood = {}
[[loss]]
psth_cross_entropy = {}
[[loss]]
noise_covariance = { weight = 100.0, window_ms = 10.0 }
[optimizer.adamw]
lr = 2e-2
[train]
n_trials = 16
validation_trials = 32
max_steps = 40
validate_every = 10
checkpoint_every = 20
log_every = 5
"#;

pub(crate) fn folder() -> Folder {
    let folder = Folder::new();
    let all: Vec<usize> = (0..N_UNITS).collect();
    let once: Vec<Array2<f32>> = (0..5).map(|m| movie(2000, 10 + m)).collect();
    let recording = Recording {
        sessions: vec![
            session("once", &once, 1, &all, 100),
            session("repeated", &[movie(REPEATED_BINS, 1)], N_REPEATS, &all, 200),
        ],
    };
    data::write(&folder.path("recording.h5"), &recording).unwrap();
    folder.write("fit.toml", CONFIG.as_bytes());
    folder
}

pub(crate) fn train(folder: &Folder, out: &str, more: &[&str]) -> Run {
    let arguments = ["train", "--config", "fit.toml", "--out", out];
    folder.run(&[&arguments, more].concat())
}

pub(crate) fn metrics(folder: &Folder, run: &str, part: &str) -> serde_json::Value {
    let name = if part == "test" {
        "metrics.json".to_owned()
    } else {
        format!("metrics-{part}.json")
    };
    serde_json::from_str(&std::fs::read_to_string(folder.path(run).join(name)).unwrap()).unwrap()
}

pub(crate) fn metric(report: &serde_json::Value, name: &str) -> f64 {
    let all = report["metrics"].as_array().unwrap();
    let found = all.iter().find(|m| m["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {all:?}"))["value"]
        .as_f64()
        .unwrap()
}

#[test]
fn a_fit_finds_stimulus_and_coupling_and_is_evaluated_on_trials_that_it_did_not_see() {
    let folder = folder();
    let run = train(&folder, "run", &["--set", "train.max_steps = 300"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let evaluated = folder.run(&["evaluate", "run", "--trials", "64", "--require", "bits_per_spike > 0.3"]);
    assert_eq!(evaluated.code, 0, "{}{}", evaluated.stdout, evaluated.stderr);
    let report = metrics(&folder, "run", "test");
    let all = report["metrics"].as_array().unwrap();
    let ceiling = all.iter().find(|m| m["name"] == "psth_correlation").unwrap()["ceiling_noiseless"]
        .as_f64()
        .unwrap();
    assert!(
        ceiling > 0.5 && metric(&report, "psth_correlation") > 0.85 * ceiling,
        "{}",
        evaluated.stdout
    );
    // Neuron 1 fires after neuron 0: history alone explains much of it.
    let gain = report["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["name"] == "bits_per_spike")
        .unwrap();
    let history = gain["nulls"]["history_only"].as_f64().unwrap();
    assert!(history > 0.02 && history < gain["value"].as_f64().unwrap(), "{gain}");
    assert!(
        (metric(&report, "rate_ratio") - 1.0).abs() < 0.25,
        "{}",
        evaluated.stdout
    );
    assert_eq!(metric(&report, "runaway_fraction"), 0.0);
    let pair = |i: &str, j: &str| {
        let pairs = report["pairs"].as_array().unwrap();
        let found = pairs
            .iter()
            .find(|p| p["neurons"][0] == i && p["neurons"][1] == j && p["window_ms"] == 10.0);
        let found = found.unwrap();
        [&found["data"], &found["model"]].map(|x| x.as_f64().unwrap())
    };
    let [data, model] = pair("cell0", "cell1");
    assert!(data > 0.1 && (model - data).abs() < 0.15, "{data} {model}");
    let manifest = std::fs::read_to_string(folder.path("run/manifest.json")).unwrap();
    assert!(manifest.contains("\"test_openings\": 1"), "{manifest}");
    let unmet = folder.run(&[
        "evaluate",
        "run",
        "--split=validation",
        "--require",
        "bits_per_spike > 9",
    ]);
    assert_eq!(unmet.code, 8, "{}", unmet.stderr);
    let unknown = folder.run(&["evaluate", "run", "--split=validation", "--require", "psth_pearson > 0"]);
    assert!(
        unknown.code == 2 && unknown.stderr.contains("bits_per_spike"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn the_gradient_of_a_step_is_that_of_finite_differences_through_network_and_encoder() {
    let folder = folder();
    let layers = "model.spike_history.encoder.stimulus.layers = [{ conv = { filters = 3, kernel = 3 } }, { dense = { units = 4 } }]";
    let basis = "model.spike_history.kernels.raised_cosine.n = 4";
    // Without a gradient through spikes, coincidences of free windows have that of differences too: spikes don't change with small ones.
    let losses = "loss = [{ likelihood = {} }, { coincidence_cross_entropy = { stimuli = \"any\" } }]";
    let damping = "model.spike_history.surrogate_damping = 0.0";
    let mut fitted = fitted(&folder, &[layers, basis, losses, damping, "train.max_steps = 20"]);
    let windows: Vec<Window> = (0..12)
        .map(|i| Window {
            session: i % 2,
            trial: i % 3,
            // Those of a session overlap: what several windows show is encoded once.
            first: 40 + 12 * i,
        })
        .collect();
    let losses = fitted.experiment.losses.clone();
    let numbers = Numbers {
        seed: 1,
        number: 0,
        stream: "test",
    };
    let loss = |fitted: &Fitted, which: usize, gradient: Option<&mut Parameters>| {
        let batch = Batch {
            clamped: &windows,
            clamped_bins: 40,
            free: &[],
        };
        let values = fitted
            .rollouts()
            .losses(batch, &losses[which..=which], None, numbers, gradient);
        values.unwrap()[losses[which].name()]
    };
    let parameters = fitted.model.parameters().unwrap();
    for which in 0..2 {
        fitted.model.set_parameters(&parameters).unwrap();
        let mut gradient = parameters.zeros_like();
        loss(&fitted, which, Some(&mut gradient));
        assert!(gradient.get("encoder.0.w").is_some() && gradient.get("encoder.out.w").is_some());
        for (name, gradient) in gradient.iter() {
            let largest = gradient.iter().fold(0.0f32, |most, g| most.max(g.abs()));
            assert!(largest > 1e-5, "{which} {name}: {largest}");
            for flat in (0..gradient.len()).step_by(gradient.len().div_ceil(6)) {
                let mut at = |h: f32| {
                    let mut changed = parameters.clone();
                    *changed.get_mut(name).unwrap().iter_mut().nth(flat).unwrap() += h;
                    fitted.model.set_parameters(&changed).unwrap();
                    loss(&fitted, which, None)
                };
                // A rectifier's kink, or a spike that is drawn or not, lies on one side: the slope to the other one is the gradient.
                let (h, here) = (5e-4, at(0.0));
                let slopes = [(at(h) - here) / f64::from(h), (here - at(-h)) / f64::from(h)];
                let found = f64::from(*gradient.iter().nth(flat).unwrap());
                assert!(
                    slopes
                        .iter()
                        .any(|slope| (found - slope).abs() < 0.03 * f64::from(largest)),
                    "{which} {name} {flat}: {found} {slopes:?}, largest {largest}"
                );
            }
        }
    }
}

#[test]
fn clamped_and_free_windows_that_show_the_same_bins_add_their_losses_and_gradients() {
    let folder = folder();
    let layers = "model.spike_history.encoder.stimulus.layers = [{ conv = { filters = 3, kernel = 3 } }, { dense = { units = 4 } }]";
    let losses = "loss = [{ likelihood = {} }, { psth_cross_entropy = {} }, { noise_covariance = { window_ms = 10.0 } }, \
                  { coincidence_cross_entropy = { stimuli = \"any\" } }]";
    let fitted = fitted(&folder, &[layers, losses, "train.max_steps = 5"]);
    let repeats = fitted.recorded.repeats(Part::Train);
    let repeats = repeats.first().unwrap();
    let clamped: Vec<Window> = (0..3)
        .map(|i| Window {
            session: repeats.session,
            trial: repeats.trials[i],
            first: 40 + 25 * i,
        })
        .collect();
    let free: Vec<FreeWindow<'_>> = [50, 70]
        .map(|first| FreeWindow {
            repeats,
            first,
            bins: 35,
            starts: repeats.trials.clone(),
        })
        .to_vec();
    let numbers = Numbers {
        seed: 1,
        number: 0,
        stream: "test",
    };
    let run = |clamped: &[Window], free: &[FreeWindow<'_>]| {
        let batch = Batch {
            clamped,
            clamped_bins: 30,
            free,
        };
        let mut gradient = fitted.model.parameters().unwrap().zeros_like();
        let losses = &fitted.experiment.losses;
        let values = fitted
            .rollouts()
            .losses(batch, losses, None, numbers, Some(&mut gradient));
        (values.unwrap(), gradient)
    };
    let (together, gradient) = run(&clamped, &free);
    let (of_clamped, mut sum) = run(&clamped, &[]);
    let (of_free, of_free_gradient) = run(&[], &free);
    assert!(of_clamped.keys().eq(["coincidence_cross_entropy", "likelihood"]));
    assert!(of_free.keys().eq(["noise_covariance", "psth_cross_entropy"]));
    let apart: BTreeMap<String, f64> = of_clamped.into_iter().chain(of_free).collect();
    assert_eq!(together, apart);
    for (name, one) in of_free_gradient.iter() {
        assert!(one.iter().any(|g| g.abs() > 1e-6), "{name}");
        assert!(sum.get(name).unwrap().iter().any(|g| g.abs() > 1e-6), "{name}");
    }
    sum.add(&of_free_gradient).unwrap();
    for (name, together) in gradient.iter() {
        let largest = together.iter().fold(0.0f32, |most, g| most.max(g.abs()));
        let apart = sum.get(name).unwrap();
        let differs = (together - apart).iter().any(|d| d.abs() > 1e-5 * largest);
        assert!(!differs, "{name}");
    }
}

#[test]
fn coincidences_of_any_stimuli_are_those_of_freely_simulated_windows_of_each_session_together() {
    let folder = stitched_folder();
    let losses = "loss = [{ coincidence_cross_entropy = { stimuli = \"any\", weight = 2.0 } }, { hidden_rate = {} }, { likelihood = {} }]";
    // Hidden neurons: the network runs for some bins before those that count.
    let hidden = "model.spike_history.n_hidden = 2";
    let fitted = fitted(&folder, &[losses, hidden, "train.max_steps = 5"]);
    let bins = 30;
    let of = |session: usize, trial: usize, first: usize| Window { session, trial, first };
    let numbers = |stream| Numbers {
        seed: 1,
        number: 0,
        stream,
    };
    let losses = &fitted.experiment.losses;
    let values = |windows: &[Window], n_losses: usize| {
        let batch = Batch {
            clamped: windows,
            clamped_bins: bins,
            free: &[],
        };
        fitted
            .rollouts()
            .losses(batch, &losses[..n_losses], Some(&[0.1, 0.1]), numbers("test"), None)
            .unwrap()
    };
    let value = |windows: &[Window]| values(windows, 2)["coincidence_cross_entropy"];
    // The same draws: probabilities of windows that are free from their first bin on.
    let by_hand = |windows: &[Window]| {
        let session = &fitted.recorded.sessions[windows[0].session];
        let p = fitted
            .rollouts()
            .given(windows, bins, 0, 1, numbers("test.coincidences"))
            .unwrap();
        let n = session.neurons.len();
        let mut sum = 0.0;
        for i in 0..n {
            for j in (0..n).filter(|&j| j != i) {
                let (mut data, mut model) = (0.0, 0.0);
                for (k, w) in windows.iter().enumerate() {
                    for t in 0..bins {
                        let z = |unit: usize| f64::from(session.spikes[[w.trial, w.first + t, unit]]);
                        data += z(i) * z(j);
                        model += f64::from(p[[k, t, i]]) * f64::from(p[[k, t, j]]);
                    }
                }
                let entries = (windows.len() * bins) as f64;
                let (data, model) = (data / entries, model / entries);
                sum -= data * model.ln() + (1.0 - data) * (1.0 - model).ln();
            }
        }
        2.0 * sum
    };
    let first = [of(0, 0, 40), of(0, 2, 77), of(0, 1, 40)];
    let (found, expected) = (value(&first), by_hand(&first));
    assert!((found - expected).abs() < 1e-6 * expected, "{found} {expected}");
    // Hidden rates are of the same simulated windows, not of the clamped ones of the likelihood.
    let with_likelihood = values(&first, 3);
    assert!(with_likelihood["likelihood"] > 0.0);
    assert!(with_likelihood["hidden_rate"] > 0.0);
    assert_eq!(with_likelihood["hidden_rate"], values(&first, 2)["hidden_rate"]);
    // Sessions count by their windows, whatever their number of neurons: what changes in one of four windows counts a quarter.
    let second = [of(1, 1, 60), of(1, 0, 45), of(1, 2, 90)];
    let both = |one: Window| value(&[&[one][..], &second].concat());
    let (a, b) = (of(0, 0, 40), of(0, 2, 77));
    let (found, expected) = (both(a) - both(b), 0.25 * (by_hand(&[a]) - by_hand(&[b])));
    assert!(
        expected.abs() > 1e-3 && (found - expected).abs() < 1e-6,
        "{found} {expected}"
    );
}

#[test]
fn gradients_through_probabilities_are_those_of_differences_with_hidden_and_unseen_neurons() {
    let folder = stitched_folder();
    // Without a gradient through spikes, that of a small difference is through probabilities alone: no spike is drawn otherwise.
    let losses = "loss = [{ likelihood = { samples = 3 } }, { single_trial = { clamped_ms = 30.0 } }, { psth_cross_entropy = {} }, \
                  { noise_covariance = { window_ms = 6.0 } }, { coincidence_cross_entropy = { stimuli = \"any\", weight = 0.5 } }]";
    let mut fitted = fitted(
        &folder,
        &[
            losses,
            "model.spike_history.n_hidden = 2",
            "model.spike_history.surrogate_damping = 0.0",
            "train.max_steps = 20",
        ],
    );
    assert_eq!(fitted.rollouts().lead, 8);
    let repeats = fitted.recorded.repeats(Part::Train);
    let clamped: Vec<Window> = (0..4)
        .map(|i| Window {
            session: repeats[i % 2].session,
            trial: repeats[i % 2].trials[i],
            first: 40 + 11 * i,
        })
        .collect();
    let free: Vec<FreeWindow<'_>> = repeats
        .iter()
        .zip([50, 61])
        .map(|(repeats, first)| FreeWindow {
            repeats,
            first,
            bins: 20,
            starts: repeats.trials[..8].to_vec(),
        })
        .collect();
    let numbers = Numbers {
        seed: 3,
        number: 0,
        stream: "test",
    };
    let losses = fitted.experiment.losses.clone();
    let parameters = fitted.model.parameters().unwrap();
    for one in losses.chunks(1) {
        let name = one[0].name();
        let value = |fitted: &Fitted, gradient: Option<&mut Parameters>| {
            let batch = Batch {
                clamped: &clamped,
                clamped_bins: 25,
                free: &free,
            };
            fitted.rollouts().losses(batch, one, None, numbers, gradient).unwrap()[name]
        };
        fitted.model.set_parameters(&parameters).unwrap();
        let mut gradient = parameters.zeros_like();
        let here = value(&fitted, Some(&mut gradient));
        for (array, gradient) in gradient.iter() {
            let largest = gradient.iter().fold(0.0f32, |most, g| most.max(g.abs()));
            assert!(largest > 0.0, "{name} {array}");
            let (mut off, mut n) = (Vec::new(), 0);
            for flat in (0..gradient.len()).step_by(gradient.len().div_ceil(24)) {
                let mut at = |h: f32| {
                    let mut changed = parameters.clone();
                    *changed.get_mut(array).unwrap().iter_mut().nth(flat).unwrap() += h;
                    fitted.model.set_parameters(&changed).unwrap();
                    value(&fitted, None)
                };
                // Rarely a spike is drawn otherwise after all, mostly on one side only.
                let h = 3e-4;
                let slopes = [(at(h) - here) / f64::from(h), (here - at(-h)) / f64::from(h)];
                let found = f64::from(*gradient.iter().nth(flat).unwrap());
                n += 1;
                if !slopes
                    .iter()
                    .any(|slope| (found - slope).abs() < 0.02 * f64::from(largest))
                {
                    off.push((flat, found, slopes));
                }
            }
            assert!(off.len() * 20 <= n, "{name} {array}, largest {largest}: {off:?}");
        }
    }
}

#[test]
fn trials_of_a_stimulus_are_compared_from_four_on() {
    let folder = folder();
    let psth = "loss = [{ likelihood = {} }, { psth_cross_entropy = {} }]";
    for (others, code) in [("3-11", 3), ("4-11", 0)] {
        let split = format!("split.sessions.repeated.test = [\"{others}\", \"16-23\"]");
        let run = train(
            &folder,
            others,
            &["--set", psth, "--set", &split, "--set", "train.max_steps = 2"],
        );
        assert_eq!(run.code, code, "{others}: {}", run.stderr);
        let told = run.stderr.replace("\n  │ ", " ");
        let refused = told.contains("no stimulus is shown in 4 training trials");
        assert_eq!(refused, code != 0, "{others}: {told}");
    }
}

/// The network of a fit with some settings, at its last step.
fn fitted(folder: &Folder, sets: &[&str]) -> Fitted {
    let options: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let run = train(folder, "run", &options);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let device = snn_core::device::open(DeviceChoice::Cpu).unwrap();
    let (_, fitted) = Fitted::open(&folder.path("run"), CheckpointChoice::Last, &[], device).unwrap();
    fitted
}

/// The likelihood loss of some windows, with an encoder's features standardised as the run's checkpoint says.
fn likelihood_of(folder: &Folder, run: &str) -> f64 {
    let device = snn_core::device::open(DeviceChoice::Cpu).unwrap();
    let (_, fitted) = Fitted::open(&folder.path(run), CheckpointChoice::Step(40), &[], device).unwrap();
    let windows = [40, 90, 140].map(|first| Window {
        session: 0,
        trial: 0,
        first,
    });
    let numbers = Numbers {
        seed: 1,
        number: 0,
        stream: "test",
    };
    let losses = &fitted.experiment.losses[..1];
    let batch = Batch {
        clamped: &windows,
        clamped_bins: 40,
        free: &[],
    };
    fitted.rollouts().losses(batch, losses, None, numbers, None).unwrap()["likelihood"]
}

#[test]
fn a_checkpoint_says_how_stimulus_features_are_standardised() {
    let folder = folder();
    assert_eq!(train(&folder, "run", &[]).code, 0);
    let fitted = likelihood_of(&folder, "run");
    let path = crate::runs::step_path(&folder, "run", 40);
    let scale = |section: &str, name: &str, by: f32| {
        let mut all = checkpoint::read(&path).unwrap();
        let array = all.sections.get_mut(section).unwrap().get_mut(name).unwrap();
        let Values::F32(values) = &mut array.values else {
            panic!("{name}")
        };
        for x in values.iter_mut() {
            *x *= by;
        }
        checkpoint::write(&path, &all).unwrap();
    };
    // A feature divided by half as much and a weight half as large are the same drive.
    scale("features", "sd", 0.5);
    let sharper = likelihood_of(&folder, "run");
    assert!((sharper - fitted).abs() > 1e-3 * fitted.abs(), "{sharper} {fitted}");
    scale("parameters", "encoder.out.w", 0.5);
    assert_eq!(likelihood_of(&folder, "run"), fitted);
    let mut without = checkpoint::read(&path).unwrap();
    without.sections.remove("features");
    checkpoint::write(&path, &without).unwrap();
    let refused = folder.run(&["evaluate", "run", "--checkpoint", "40"]);
    assert!(
        refused.code == 5 && refused.stderr.contains("section 'features' is missing"),
        "{} {}",
        refused.code,
        refused.stderr
    );
}

#[test]
fn a_stimulus_that_changes_at_its_edges_only_is_taken_and_one_that_never_does_is_refused() {
    let folder = folder();
    let once = |m: u64, edge: f32| {
        let mut movie = Array2::zeros((2000, CHANNELS));
        let seen = self::movie(2000, m);
        for edges in [s![..5, ..], s![1990.., ..]] {
            movie.slice_mut(edges).assign(&(&seen.slice(edges) * edge));
        }
        movie
    };
    // Many short movies, each grey until its middle.
    let late = |m: u64| {
        let mut movie = Array2::zeros((128, CHANNELS));
        movie
            .slice_mut(s![64.., ..])
            .assign(&self::movie(128, m).slice(s![64.., ..]));
        movie
    };
    let of_edges = |edge: f32| -> Vec<Array2<f32>> { (0..5).map(|m| once(m, edge)).collect() };
    for (name, movies, code) in [
        ("edges", of_edges(1.0), 0),
        ("late", (0..300).map(late).collect(), 0),
        ("constant", of_edges(0.0), 3),
    ] {
        let recording = Recording {
            sessions: vec![session("once", &movies, 1, &[0, 1, 2, 3], 100)],
        };
        data::write(&folder.path(format!("{name}.h5")), &recording).unwrap();
        let text = CONFIG
            .replace("recording.h5", &format!("{name}.h5"))
            .replace("[split.sessions.repeated]\n", "")
            .replace("validation = [12, 13, 14, 15]\n", "")
            .replace("test = [16, 17, 18, 19, 20, 21, 22, 23]\n", "");
        folder.write("fit.toml", text.as_bytes());
        let run = train(
            &folder,
            name,
            &["--set", "loss = [{ likelihood = {} }]", "--set", "train.max_steps = 2"],
        );
        assert_eq!(run.code, code, "{name}: {}", run.stderr);
        let told = run.stderr.replace("\n  │ ", " ");
        assert_eq!(told.contains("('once') has one value throughout"), code != 0, "{told}");
    }
}

#[test]
fn a_run_that_was_stopped_ends_with_the_bytes_of_one_that_was_not() {
    let folder = folder();
    let hidden = [
        "--set",
        "model.spike_history.n_hidden = 3",
        "--set",
        "loss = [{ likelihood = { samples = 2 } }, { single_trial = { clamped_ms = 40.0 } }, { psth_cross_entropy = {} }, \
         { noise_covariance = { lags_ms = 8.0 } }, { coincidence_cross_entropy = { stimuli = \"any\" } }, { hidden_rate = {} }]",
    ];
    assert_eq!(train(&folder, "whole", &hidden).code, 0);
    let first = train(
        &folder,
        "parts",
        &[&hidden[..], &["--set", "train.max_steps = 20"]].concat(),
    );
    assert_eq!(first.code, 0, "{}", first.stderr);
    let second = folder.run(&[
        "train",
        "--resume",
        "parts",
        "--set",
        "train.max_steps = 40",
        "--threads",
        "1",
    ]);
    assert_eq!(second.code, 0, "{}", second.stderr);
    assert_same_checkpoints(&folder, "whole", "parts", 40);
    // Starting from another run's parameters is told, and another model's are refused.
    let from = train(
        &folder,
        "from",
        &[&hidden[..], &["--init", "whole", "--set", "train.max_steps = 5"]].concat(),
    );
    assert_eq!(from.code, 0, "{}", from.stderr);
    let manifest = std::fs::read_to_string(folder.path("from/manifest.json")).unwrap();
    assert!(manifest.contains("\"run\": \"whole\""), "{manifest}");
    let other = train(&folder, "other", &["--init", "whole"]);
    assert!(
        other.code == 5 && !folder.path("other").exists(),
        "{} {}",
        other.code,
        other.stderr
    );
}

/// Two sessions that see two and three of four neurons, one of them both.
fn stitched_folder() -> Folder {
    let folder = folder();
    let movie = movie(REPEATED_BINS, 1);
    let recording = Recording {
        sessions: vec![
            session("left", std::slice::from_ref(&movie), N_REPEATS, &[0, 2], 300),
            session("right", &[movie], N_REPEATS, &[1, 3, 0], 400),
        ],
    };
    data::write(&folder.path("stitched.h5"), &recording).unwrap();
    let text = CONFIG
        .replace("recording.h5", "stitched.h5")
        .replace(
            "[split.sessions.once]\nvalidation = [4]",
            "[split.sessions.left]\nvalidation = [0, 1, 2, 3]",
        )
        .replace("sessions.repeated", "sessions.right");
    folder.write("fit.toml", text.as_bytes());
    folder
}

#[test]
fn cells_that_were_never_recorded_together_meet_in_one_network() {
    let folder = stitched_folder();
    let run = train(&folder, "run", &["--set", "train.max_steps = 60"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stderr
            .contains("4 recorded neurons of 2 sessions, 1 of them in all"),
        "{}",
        run.stderr
    );
    let events = std::fs::read_to_string(folder.path("run/events.ndjson")).unwrap();
    let totals: Vec<f64> = events
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|event| event["event"] == "validation")
        .map(|event| event["total"].as_f64().unwrap())
        .collect();
    assert!(totals.last().unwrap() < &(0.9 * totals[0]), "{totals:?}");
    assert_eq!(folder.run(&["evaluate", "run"]).code, 0);
    assert_eq!(
        metrics(&folder, "run", "test")["pairs"].as_array().unwrap().len(),
        2 * 3
    );
}

#[test]
fn a_drive_for_each_bin_is_learnt_without_a_stimulus() {
    let folder = folder();
    let text = CONFIG
        .replace(
            "[model.spike_history.encoder.stimulus]\nhistory_ms = 20.0",
            "[model.spike_history.encoder.bins]",
        )
        .replace("[split.sessions.once]\nvalidation = [4]\n", "")
        .replace(
            "files = [\"recording.h5\"]",
            "files = [\"recording.h5\"]\nsessions = [\"repeated\"]",
        );
    folder.write("fit.toml", text.as_bytes());
    let run = train(
        &folder,
        "run",
        &["--set", "train.max_steps = 200", "--set", "optimizer.adamw.lr = 5e-2"],
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(folder.run(&["evaluate", "run", "--trials", "64"]).code, 0);
    // The average over 12 noisy training trials is all that a bin of its own can know.
    assert!(metric(&metrics(&folder, "run", "test"), "psth_correlation") > 0.5);
}

#[test]
fn what_a_recording_lacks_is_told_before_anything_is_written() {
    let folder = folder();
    for (set, said) in [
        (
            "model.spike_history.encoder.stimulus.pixels = [2, 2]",
            "the stimulus has 3 channels",
        ),
        (
            "model.spike_history.windows.clamped_ms = 8000.0",
            "no training trial has 4000 bins",
        ),
        (
            "model.spike_history.windows.free_ms = 790.0",
            "no repeated stimulus is as long",
        ),
        (
            "loss = [{ psth_cross_entropy = {} }]\nsplit.sessions.repeated.validation = [12]",
            "nothing says which step is best",
        ),
        (
            "split.sessions.three.test = \"all\"",
            "session 'three' (there are 'once', 'repeated')",
        ),
        ("split.sessions.repeated.test = [24]", "trial 24"),
        ("data.max_rate_hz = 0.001", "no unit in any session in use"),
        // Terabytes, told before any is asked for.
        ("model.spike_history.n_hidden = 65536", "take fewer `n_hidden`"),
        (
            "model.spike_history.encoder.stimulus.layers = [{ dense = { units = 65536 } }, { dense = { units = 65536 } }, { dense = { units = 65536 } }]",
            "smaller layers of the encoder",
        ),
    ] {
        let run = train(&folder, "run", &["--set", set]);
        let told = run.stderr.replace("\n  │ ", " ");
        assert!(
            matches!(run.code, 3 | 4) && told.contains(said),
            "{set}: {} {told}",
            run.code
        );
        assert!(!folder.path("run").exists(), "{set}");
    }
    let mut silent = session("repeated", &[movie(REPEATED_BINS, 1)], N_REPEATS, &[0, 1], 500);
    let all = silent.stimulus.take();
    data::write(
        &folder.path("silent.h5"),
        &Recording {
            sessions: vec![without_movies(silent)],
        },
    )
    .unwrap();
    assert!(all.is_some());
    let text = CONFIG
        .replace("recording.h5", "silent.h5")
        .replace("[split.sessions.once]\nvalidation = [4]\n", "");
    folder.write("silent.toml", text.as_bytes());
    let run = folder.run(&["train", "--config", "silent.toml", "--out", "run"]);
    let told = run.stderr.replace("\n  │ ", " ");
    assert!(
        matches!(run.code, 3 | 4) && told.contains("no session has a recorded stimulus"),
        "{} {told}",
        run.code
    );
    let dry = folder.run(&["train", "--config", "fit.toml", "--dry-run"]);
    assert!(
        dry.code == 0 && dry.stdout.contains("4 neurons:"),
        "{}{}",
        dry.stdout,
        dry.stderr
    );
}

fn without_movies(mut session: Session) -> Session {
    session.stimulus = None;
    for trial in &mut session.trials {
        trial.movie = None;
    }
    if let Activity::Binned { counts, .. } = &mut session.activity {
        *counts = counts.slice(s![.., .., ..]).to_owned();
    }
    session
}
