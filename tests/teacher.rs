//! Promises of artificial recordings of known couplings, and of the comparison of fitted couplings with them.

use data::{Activity, CellType, Connectivity, LOG_ODDS, Recording, Session};
use ndarray::{Array2, Array3, Axis, s};
use serde_json::Value;
use snn_core::device::{DeviceChoice, open};
use snnfit::cli::CheckpointChoice;
use snnfit::spike_history::fitted::Fitted;

use crate::cli::{Folder, Run};

const CONFIG: &str = r#"schema = 1
[data]
files = ["teacher.h5"]
bin_ms = 40.0
[split]
test_fraction = 0.1
validation_fraction = 0.1
[model.spike_history]
history_ms = 160.0
[model.spike_history.encoder.stimulus]
history_ms = 200.0
kernels = { raw = {} }
[model.spike_history.windows]
clamped = 16
clamped_ms = 1600.0
[statistics]
smooth_ms = 200.0
skip_ms = 200.0
count_windows_ms = [40.0]
[[loss]]
likelihood = {}
[optimizer.adamw]
lr = 1e-2
[train]
max_steps = 300
validate_every = 50
"#;

fn read(folder: &Folder, name: &str) -> Session {
    let Recording { mut sessions } = data::read(&folder.path(name)).unwrap();
    assert_eq!(sessions.len(), 1);
    sessions.remove(0)
}

fn counts(session: &Session) -> &Array3<u8> {
    let Activity::Binned { counts, .. } = &session.activity else {
        panic!("counts")
    };
    counts
}

/// A small teacher with options, in `teacher.h5` and `network.h5`.
fn teacher(folder: &Folder, more: &[&str]) -> Run {
    let arguments = [
        "synth",
        "teacher",
        "--small",
        "--out",
        "teacher.h5",
        "--network",
        "network.h5",
    ];
    folder.run(&[&arguments, more].concat())
}

fn couplings(folder: &Folder, run: &str, truth: &str) -> Value {
    let found = folder.run(&["evaluate", run, "--truth", truth]);
    assert_eq!(found.code, 0, "{}", found.stderr);
    serde_json::from_str(&std::fs::read_to_string(folder.path(run).join("couplings.json")).unwrap()).unwrap()
}

fn comparison<'a>(report: &'a Value, pairs: &str, lags: &str, lag_ms: Option<f64>) -> &'a Value {
    let all = report["comparisons"].as_array().unwrap();
    let is_it = |c: &&Value| c["pairs"] == pairs && c["lags"] == lags && c["lag_ms"].as_f64() == lag_ms;
    all.iter()
        .find(is_it)
        .unwrap_or_else(|| panic!("no {pairs} {lags} {lag_ms:?} in {report}"))
}

/// Deviations from the trial average at two bins `lag` apart, multiplied and averaged: `[from, to]`.
fn lagged_covariance(counts: &Array3<u8>, lag: usize) -> Array2<f64> {
    let z = counts.mapv(f64::from);
    let noise = &z - &z.mean_axis(Axis(0)).unwrap();
    let (k, t, n) = noise.dim();
    Array2::from_shape_fn((n, n), |(from, to)| {
        let mut sum = 0.0;
        for trial in 0..k {
            for bin in lag..t {
                sum += noise[[trial, bin - lag, from]] * noise[[trial, bin, to]];
            }
        }
        sum / ((k - 1) * (t - lag)) as f64
    })
}

fn pearson(x: &[f64], y: &[f64]) -> f64 {
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (mx, my) = (mean(x), mean(y));
    let cov: f64 = x.iter().zip(y).map(|(a, b)| (a - mx) * (b - my)).sum();
    let var = |x: &[f64], m: f64| x.iter().map(|a| (a - m).powi(2)).sum::<f64>();
    cov / (var(x, mx) * var(y, my)).sqrt()
}

#[test]
fn a_teacher_is_recorded_with_its_movie_and_its_weights() {
    let folder = Folder::new();
    let made = teacher(&folder, &["--seed", "4", "--other-movies", "3"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let again = folder.run(&[
        "synth",
        "teacher",
        "--small",
        "--seed=4",
        "--other-movies=3",
        "--out=b.h5",
        "--network=c.h5",
    ]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    for (one, other) in [("teacher.h5", "b.h5"), ("network.h5", "c.h5")] {
        let bytes = |name: &str| std::fs::read(folder.path(name)).unwrap();
        assert!(bytes(one) == bytes(other), "{one}: equal options give equal bytes");
    }
    let session = read(&folder, "teacher.h5");
    let network = data::read_connectivity(&folder.path("network.h5")).unwrap();
    assert_eq!(counts(&session).dim(), (51, 100, 10));
    assert!(counts(&session).iter().all(|&z| z <= 1));
    let movies = &session.stimulus.as_ref().unwrap().values;
    assert_eq!(movies.dim(), (4, 100, 4));
    let shown: Vec<usize> = session.trials.iter().map(|trial| trial.movie.unwrap()).collect();
    assert!(
        shown[..48].iter().all(|&m| m == 0) && shown[48..] == [1, 2, 3],
        "{shown:?}"
    );
    // The units are the visible neurons, and the file of the network names no other.
    assert_eq!(network.weights.dim(), (4, 20, 20));
    assert_eq!(network.delays_ms, [40.0, 80.0, 120.0, 160.0]);
    assert_eq!(network.weight_unit, LOG_ODDS);
    let named: Vec<&str> = network
        .neurons
        .iter()
        .map(|n| n.unit.as_str())
        .filter(|u| !u.is_empty())
        .collect();
    let units: Vec<&str> = session.units.iter().map(|unit| unit.id.as_str()).collect();
    assert_eq!(named, units);
    for (unit, neuron) in session.units.iter().zip(&network.neurons) {
        assert_eq!((&unit.area, unit.cell_type), (&neuron.area, neuron.cell_type));
    }
    // Dale's law, synapses that decay with the lag by exp(−40/60), sparse; neurons inhibit themselves.
    let mut n_synapses = 0;
    for ((to, from), &w) in network.weights.index_axis(Axis(0), 0).indexed_iter() {
        let is_inhibitory = network.neurons[from].cell_type == CellType::Inhibitory;
        let next = network.weights[[1, to, from]];
        if to == from {
            assert!(w < 0.0);
            continue;
        }
        assert!(if is_inhibitory { w <= 0.0 } else { w >= 0.0 });
        assert!((next - w * (-40.0f32 / 60.0).exp()).abs() < 1e-5 * w.abs().max(1.0));
        n_synapses += usize::from(w != 0.0);
    }
    // 380 pairs with probability 0.3: 114 ± 9; five standard deviations.
    assert!((70..=158).contains(&n_synapses), "{n_synapses}");
    let refused = teacher(&folder, &[]);
    assert!(
        refused.code != 0 && refused.stderr.contains("teacher.h5"),
        "{}",
        refused.stderr
    );
}

#[test]
fn the_neurons_of_a_teacher_fire_at_their_rates_and_a_runaway_is_refused() {
    let folder = Folder::new();
    let made = teacher(&folder, &["--rate-spread=0", "--rate-hz=3", "--trials=100"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let session = read(&folder, "teacher.h5");
    for unit in &session.units {
        // 0.12 spikes a bin in 10 000 bins: ± 3 %, twice as much with what calibration leaves; five of these.
        let rate = unit.firing_rate_hz.unwrap();
        assert!((rate - 3.0).abs() < 0.9, "{}: {rate}", unit.id);
    }
    let folder = Folder::new();
    let wild = teacher(
        &folder,
        &["--inhibition=0", "--coupling=4", "--hidden=90", "--rate-hz=0.5"],
    );
    assert!(
        wild.code == 2 && wild.stderr.contains("runs away"),
        "{} {}",
        wild.code,
        wild.stderr
    );
    assert!(folder.names().is_empty(), "{:?}", folder.names());
}

#[test]
fn spikes_of_a_teacher_follow_its_weights_from_one_neuron_to_another() {
    let folder = Folder::new();
    let made = teacher(&folder, &["--hidden=0", "--visible=14", "--trials=400"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let session = read(&folder, "teacher.h5");
    let network = data::read_connectivity(&folder.path("network.h5")).unwrap();
    let covariance = lagged_covariance(counts(&session), 1);
    let (mut there, mut back, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for ((from, to), &c) in covariance.indexed_iter().filter(|((from, to), _)| from != to) {
        there.push(f64::from(network.weights[[0, to, from]]));
        back.push(f64::from(network.weights[[0, from, to]]));
        found.push(c);
    }
    let (right, wrong) = (pearson(&there, &found), pearson(&back, &found));
    assert!(right > 0.8 && wrong < 0.3, "{right} {wrong}");
}

fn fitted(folder: &Folder, run: &str) -> (Array3<f64>, Vec<String>) {
    let device = open(DeviceChoice::Cpu).unwrap();
    let (_, fitted) = Fitted::open(&folder.path(run), CheckpointChoice::Best, &[], device).unwrap();
    let n = fitted.recorded.neurons.len();
    let kernels = fitted.model.network.kernels().unwrap();
    // The default threshold is 0.4.
    let kernels = kernels.slice(s![.., ..n, ..n]).mapv(|w| f64::from(w) / 0.4);
    (
        kernels,
        fitted.recorded.neurons.iter().map(|neuron| neuron.id.clone()).collect(),
    )
}

#[test]
fn a_student_that_sees_all_finds_the_couplings_and_the_truth_itself_scores_one() {
    let folder = Folder::new();
    let made = teacher(&folder, &["--hidden=0", "--visible=8", "--trials=200"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    folder.write("fit.toml", CONFIG.as_bytes());
    let run = folder.run(&["train", "--config", "fit.toml", "--out", "run"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let report = couplings(&folder, "run", "network.h5");
    for (pairs, lags, least) in [
        ("different", "sum", 0.7),
        ("all", "each", 0.7),
        ("different", "each", 0.7),
    ] {
        let found = comparison(&report, pairs, lags, None);
        let r2 = found["r2"].as_f64().unwrap();
        assert!(r2 > least && found["pearson"].as_f64().unwrap() > 0.8, "{found}");
        let interval = found["r2_ci95"].as_array().unwrap();
        assert!(
            interval[0].as_f64().unwrap() < r2 && r2 <= interval[1].as_f64().unwrap() + 0.02,
            "{found}"
        );
    }

    // What the fit has is the truth: R² 1. Then a truth that differs from it by known amounts, against the definition.
    let (kernels, units) = fitted(&folder, "run");
    let known = data::read_connectivity(&folder.path("network.h5")).unwrap();
    let n = units.len();
    let of = |w: &Array3<f64>| Connectivity {
        weights: Array3::from_shape_fn((w.dim().0, n, n), |(d, to, from)| w[[d, from, to]] as f32),
        ..known.clone()
    };
    data::write_connectivity(&folder.path("itself.h5"), &of(&kernels)).unwrap();
    let itself = couplings(&folder, "run", "itself.h5");
    assert_eq!(itself["comparisons"].as_array().unwrap().len(), 3 * (2 + 4));
    for found in itself["comparisons"].as_array().unwrap() {
        assert!((found["r2"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{found}");
        assert!((found["pearson"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{found}");
    }
    let other = Array3::from_shape_fn(kernels.raw_dim(), |(d, from, to)| {
        kernels[[d, from, to]] + 0.3 * ((3 * d + 5 * from + 7 * to) as f64).sin()
    });
    data::write_connectivity(&folder.path("other.h5"), &of(&other)).unwrap();
    let report = couplings(&folder, "run", "other.h5");
    let r2 = |pairs: &[(f64, f64)]| {
        let mean = pairs.iter().map(|(t, _)| t).sum::<f64>() / pairs.len() as f64;
        let error: f64 = pairs.iter().map(|(t, f)| (t - f).powi(2)).sum();
        1.0 - error / pairs.iter().map(|(t, _)| (t - mean).powi(2)).sum::<f64>()
    };
    let is_of = |pairs: &str, i: usize, j: usize| match pairs {
        "different" => i != j,
        "self" => i == j,
        _ => true,
    };
    for pairs in ["different", "self", "all"] {
        let chosen = |truth: &Array2<f64>, fit: &Array2<f64>| -> Vec<(f64, f64)> {
            let all = truth.indexed_iter().zip(fit);
            all.filter(|(((i, j), _), _)| is_of(pairs, *i, *j))
                .map(|((_, t), f)| (*t, *f))
                .collect()
        };
        let mut each = Vec::new();
        for d in 0..4 {
            let lag = chosen(
                &other.index_axis(Axis(0), d).to_owned(),
                &kernels.index_axis(Axis(0), d).to_owned(),
            );
            let found = comparison(&report, pairs, "one", Some(40.0 * (d + 1) as f64));
            assert!(
                (found["r2"].as_f64().unwrap() - r2(&lag)).abs() < 1e-5,
                "{found} {}",
                r2(&lag)
            );
            let zero: Vec<_> = lag.iter().map(|(t, _)| (*t, 0.0)).collect();
            let baseline = found["baselines"]["zero"]["r2"].as_f64().unwrap();
            assert!((baseline - r2(&zero)).abs() < 1e-5, "{found} {}", r2(&zero));
            each.extend(lag);
        }
        let found = comparison(&report, pairs, "each", None);
        assert!((found["r2"].as_f64().unwrap() - r2(&each)).abs() < 1e-5, "{found}");
        let (x, y): (Vec<f64>, Vec<f64>) = each.iter().copied().unzip();
        assert!(
            (found["pearson"].as_f64().unwrap() - pearson(&x, &y)).abs() < 1e-5,
            "{found}"
        );
        let sum = chosen(&other.sum_axis(Axis(0)), &kernels.sum_axis(Axis(0)));
        let found = comparison(&report, pairs, "sum", None);
        assert!((found["r2"].as_f64().unwrap() - r2(&sum)).abs() < 1e-5, "{found}");
    }
}

#[test]
fn the_baseline_takes_each_pair_by_itself_and_what_does_not_fit_is_named() {
    let folder = Folder::new();
    assert_eq!(teacher(&folder, &[]).code, 0);
    folder.write("fit.toml", CONFIG.as_bytes());
    let run = folder.run(&[
        "train",
        "--config",
        "fit.toml",
        "--out",
        "run",
        "--set",
        "train.max_steps = 2",
    ]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let report = couplings(&folder, "run", "network.h5");
    // The baseline is of the training trials alone.
    let splits: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path("run/splits.json")).unwrap()).unwrap();
    let train: Vec<usize> = serde_json::from_value(splits["sessions"][0]["train"].clone()).unwrap();
    let session = read(&folder, "teacher.h5");
    let counts = counts(&session).select(Axis(0), &train);
    let network = data::read_connectivity(&folder.path("network.h5")).unwrap();
    let variances = lagged_covariance(&counts, 0).diag().to_owned();
    let lagged = lagged_covariance(&counts, 2);
    let (mut truth, mut found) = (Vec::new(), Vec::new());
    for ((from, to), c) in lagged.indexed_iter().filter(|((from, to), _)| from != to) {
        truth.push(f64::from(network.weights[[1, to, from]]));
        found.push(c / (variances[from] * variances[to]));
    }
    let expected = pearson(&truth, &found);
    let of_report = &comparison(&report, "different", "one", Some(80.0))["baselines"]["cross_correlation"]["pearson"];
    assert!(
        (of_report.as_f64().unwrap() - expected).abs() < 1e-6,
        "{of_report} {expected}"
    );

    let table = folder.run(&["evaluate", "run", "--truth", "network.h5"]);
    assert!(
        table.stdout.contains("log-odds") && table.stdout.contains("cross_correlation"),
        "{}",
        table.stdout
    );
    let refused = |name: &str, change: &dyn Fn(&mut Connectivity), said: &str| {
        let mut changed = network.clone();
        change(&mut changed);
        data::write_connectivity(&folder.path(name), &changed).unwrap();
        let found = folder.run(&["evaluate", "run", "--truth", name]);
        let told = found.stderr.replace("\n  │ ", " ");
        assert!(found.code != 0 && told.contains(said), "{} {told}", found.code);
    };
    refused(
        "a.h5",
        &|c| c.neurons[3].unit = "9999".to_owned(),
        "unit 'teacher/0003' of the run is not there",
    );
    refused(
        "b.h5",
        &|c| c.delays_ms[1] = 70.0,
        "a delay of 70 ms is no lag of a run with bins of 40 ms",
    );
    refused(
        "c.h5",
        &|c| c.neurons[3].area = "V2".to_owned(),
        "is of V2 there, but of V1 in the run",
    );
    let mut own = network.clone();
    own.weight_unit.clear();
    own.neurons[15].unit = "more".to_owned();
    data::write_connectivity(&folder.path("own.h5"), &own).unwrap();
    let report = couplings(&folder, "run", "own.h5");
    let found = comparison(&report, "all", "sum", None);
    assert!(found["r2"].is_null() && found["pearson"].is_number(), "{found}");
    let left_out = report["left_out"].to_string();
    assert!(
        left_out.contains("not said to be log-odds") && left_out.contains("'more'"),
        "{left_out}"
    );
    for (more, said) in [
        (&["run"][..], "one network"),
        (&["--compared-to", "run"], "--truth opens none"),
    ] {
        let found = folder.run(&[&["evaluate", "run", "--truth", "network.h5"], more].concat());
        assert!(found.code == 2, "{} {}", found.code, found.stderr);
        assert!(
            found.stderr.contains(said) || found.stderr.contains("named twice"),
            "{}",
            found.stderr
        );
    }
    let manifest = std::fs::read_to_string(folder.path("run/manifest.json")).unwrap();
    assert!(manifest.contains("\"test_openings\": 0"), "{manifest}");
}
