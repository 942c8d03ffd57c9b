//! The artificial six-area recording: sizes, frequencies, rates, and responses where they should be.

use std::sync::OnceLock;

use data::six_area::{AREAS, SESSION_SIZES, plan_trials};
use data::{Activity, BehaviourSamples, Recording, Session};
use losses::metrics::MovementRule;
use ndarray::Array2;
use serde_json::Value;
use snn_core::rng::StreamRng;
use snnfit::six_area::{SilencedArea, SixAreaOptions, six_area};

use crate::cli::Folder;
use crate::runs::succeed;

fn generate(options: &SixAreaOptions) -> Recording {
    six_area(options, |_, _| {}).unwrap().0
}

/// The small recording of seed 1, made once.
fn small() -> &'static Recording {
    static SMALL: OnceLock<Recording> = OnceLock::new();
    SMALL.get_or_init(|| generate(&SixAreaOptions::small(1)))
}

#[test]
fn whole_sessions_have_the_trials_of_the_recording_and_all_neurons() {
    let whole = generate(&SixAreaOptions {
        is_whole: true,
        ..SixAreaOptions::small(1)
    });
    for (whole, session) in whole.sessions.iter().zip(&small().sessions) {
        assert_eq!((whole.units.len(), &whole.trials), (240, &session.trials));
        assert_eq!(jaw(whole), jaw(session));
        for (unit, recorded) in session.units.iter().zip(times(session)) {
            let of_whole = whole.units.iter().position(|other| other.id == unit.id).unwrap();
            assert_eq!(&times(whole)[of_whole], recorded, "{}", unit.id);
            assert_eq!(&whole.units[of_whole], unit);
        }
    }
}

fn times(session: &Session) -> &[Vec<f64>] {
    match &session.activity {
        Activity::SpikeTimes { times_s, .. } => times_s,
        Activity::Binned { .. } => panic!("expected spike times"),
    }
}

fn jaw(session: &Session) -> &[f32] {
    match &session.behaviour["jaw"].samples {
        BehaviourSamples::Continuous { values, .. } => values,
        BehaviourSamples::PerBin(_) => panic!("expected one stretch"),
    }
}

/// Mean rate (Hz) of an area's units from `from_ms` to `to_ms` in trials of one type.
fn rate_hz(recording: &Recording, area: &str, trial_type: &str, (from_ms, to_ms): (f64, f64)) -> f64 {
    let (mut spikes, mut seconds) = (0.0, 0.0);
    for session in &recording.sessions {
        for (unit, times) in session.units.iter().zip(times(session)) {
            for trial in session.trials.iter().filter(|t| t.trial_type == trial_type) {
                let from_s = trial.align_s + from_ms / 1000.0;
                let to_s = trial.align_s + to_ms / 1000.0;
                if unit.area == area {
                    let until = |s| times.partition_point(|&t| t < s);
                    spikes += (until(to_s) - until(from_s)) as f64;
                    seconds += to_s - from_s;
                }
            }
        }
    }
    spikes / seconds
}

/// Largest value of the jaw from `from_ms` to `to_ms`, one per trial of one type.
fn jaw_peaks(recording: &Recording, trial_type: &str, (from_ms, to_ms): (f64, f64)) -> Vec<f32> {
    let peaks = |session: &Session| -> Vec<f32> {
        let trials = session.trials.iter().filter(|t| t.trial_type == trial_type);
        let sample = |s: f64| (s * 500.0).round() as usize;
        trials
            .map(|trial| {
                let range = sample(trial.align_s + from_ms / 1000.0)..sample(trial.align_s + to_ms / 1000.0);
                jaw(session)[range].iter().copied().fold(f32::MIN, f32::max)
            })
            .collect()
    };
    recording.sessions.iter().flat_map(peaks).collect()
}

fn share(values: &[f32], is_counted: impl Fn(f32) -> bool) -> f64 {
    values.iter().filter(|v| is_counted(**v)).count() as f64 / values.len() as f64
}

#[test]
fn the_published_recording_has_its_sizes_two_areas_per_session_and_its_distribution_of_rates() {
    let options = SixAreaOptions {
        n_trials: 8,
        ..SixAreaOptions::published(0)
    };
    let recording = generate(&options);
    let sizes: Vec<usize> = recording.sessions.iter().map(|s| s.units.len()).collect();
    assert_eq!(sizes, SESSION_SIZES);
    let mut per_area = [[0; 2]; 6];
    for session in &recording.sessions {
        let mut areas: Vec<&str> = session.units.iter().map(|u| u.area.as_str()).collect();
        areas.sort_unstable();
        areas.dedup();
        assert_eq!(areas.len(), session.units.len().min(2), "{}", session.id);
        assert_eq!((session.trials.len(), jaw(session).len()), (8, 8000));
        for unit in &session.units {
            let area = AREAS.iter().position(|a| *a == unit.area).unwrap();
            per_area[area][usize::from(unit.cell_type == data::CellType::Inhibitory)] += 1;
        }
    }
    // A model of 1500 neurons finds a unit for each.
    assert_eq!(per_area, [[200, 50]; 6]);
    let mut rates: Vec<f64> = recording
        .sessions
        .iter()
        .flat_map(|s| &s.units)
        .map(|u| u.firing_rate_hz.unwrap())
        .collect();
    rates.sort_by(f64::total_cmp);
    let mean = rates.iter().sum::<f64>() / 1500.0;
    assert!((mean / 3.2 - 1.0).abs() < 0.1, "mean {mean} Hz");
    assert!((1.3..1.9).contains(&rates[750]), "median {} Hz", rates[750]);
    assert!(rates[1499] < 40.0, "fastest {} Hz", rates[1499]);
    // Log-normal: 16 %, 84 % and 97.7 % lie one and two standard deviations of the logarithm from the median. The
    // first is blurred by the few spikes in 16 s.
    for (quantile, expected_hz, tolerance) in [(0.159, 0.435, 0.3), (0.841, 5.7, 0.2), (0.977, 18.5, 0.25)] {
        let found = rates[(quantile * 1500.0) as usize];
        assert!((found / expected_hz - 1.0).abs() < tolerance, "{quantile}: {found} Hz");
    }
    assert!(data::validate(&recording).is_ok());
}

#[test]
fn the_split_into_active_and_quiet_trials_finds_the_planned_movements() {
    let options = SixAreaOptions {
        session_sizes: vec![4; 3],
        n_trials: 100,
        ..SixAreaOptions::published(0)
    };
    let recording = generate(&options);
    // The plan, which the recording doesn't say.
    let plan = |s: usize| {
        let mut rng = StreamRng::new(options.seed, "synth.trials", s as u64);
        plan_trials(options.n_trials, options.frequencies, &mut rng)
    };
    let (mut n, mut planned, mut found, mut agree) = ([0.0; 2], [0.0; 2], [0.0; 2], 0.0);
    for (s, session) in recording.sessions.iter().enumerate() {
        let samples = jaw(session).iter().map(|&value| f64::from(value)).collect();
        let traces = Array2::from_shape_vec((options.n_trials, 1000), samples).unwrap();
        // −500 … 1500 ms in steps of 2 ms: 200 ms before the stimulus, 1 s from there to the cue.
        let rule = MovementRule::new(&traces.view(), 150..250, 2.0).unwrap().unwrap();
        for ((trial, plan), trace) in session.trials.iter().zip(plan(s)).zip(traces.outer_iter()) {
            assert_eq!(trial.trial_type, plan.trial_type.label());
            let (is_planned, is_active) = (plan.movement.is_some(), rule.is_active(&trace, 250..750).unwrap());
            let i = usize::from(plan.trial_type.is_lick());
            n[i] += 1.0;
            planned[i] += f64::from(u8::from(is_planned));
            found[i] += f64::from(u8::from(is_active));
            agree += f64::from(u8::from(is_planned == is_active));
        }
    }
    // Trials without lick (10 % planned) and with (55 %). Weak movements are quiet, a ramp may move the jaw without a plan.
    for i in 0..2 {
        let difference = (found[i] - planned[i]) / n[i];
        assert!(difference.abs() < 0.1, "{found:?} of {n:?}, planned {planned:?}");
    }
    assert!(
        agree / (n[0] + n[1]) > 0.85,
        "{agree} of {n:?}; {found:?}, planned {planned:?}"
    );
}

#[test]
fn trial_types_have_the_published_frequencies() {
    let count = |label: &str| {
        let trials = small().sessions.iter().flat_map(|s| &s.trials);
        trials.filter(|t| t.trial_type == label).count() as f64
    };
    let (miss, hit, rejection, alarm) = (count("Miss"), count("Hit"), count("CR"), count("FA"));
    assert_eq!(miss + hit + rejection + alarm, 360.0);
    // Three and a half standard deviations of a binomial number.
    let is_likely = |k: f64, n: f64, p: f64| (k - n * p).abs() < 3.5 * (n * p * (1.0 - p)).sqrt();
    assert!(is_likely(miss + hit, 360.0, 0.5));
    assert!(is_likely(hit, miss + hit, 0.66), "{hit} of {}", miss + hit);
    assert!(
        is_likely(alarm, rejection + alarm, 0.2),
        "{alarm} of {}",
        rejection + alarm
    );
    for trial in small().sessions.iter().flat_map(|s| &s.trials) {
        let is_go = ["Miss", "Hit"].contains(&trial.trial_type.as_str());
        assert_eq!(trial.stimulus, if is_go { 1.0 } else { 0.0 });
    }
    // Sessions have trials of their own.
    let types = |s: &Session| -> Vec<String> { s.trials.iter().map(|t| t.trial_type.clone()).collect() };
    assert_ne!(types(&small().sessions[0]), types(&small().sessions[1]));
}

#[test]
fn a_silenced_area_spikes_as_before_until_the_window_and_others_change_by_it_alone() {
    let silenced = generate(&SixAreaOptions {
        silenced: Some(SilencedArea {
            area: 0,
            window_ms: [0.0, 400.0],
        }),
        ..SixAreaOptions::small(1)
    });
    let window = |recording: &Recording, area: &str, from_ms, to_ms| {
        let of = |label| rate_hz(recording, area, label, (from_ms, to_ms));
        f64::midpoint(of("Hit"), of("Miss"))
    };
    // Before the window spike by spike, also after that of the trial before.
    let mut n_compared = 0;
    for (with, without) in silenced.sessions.iter().zip(&small().sessions) {
        assert_eq!((&with.id, &with.trials), (&without.id, &without.trials));
        for (with, without) in times(with).iter().zip(times(without)) {
            let before = |times: &[f64]| -> Vec<f64> { times.iter().copied().filter(|t| t % 2.0 < 0.5).collect() };
            assert_eq!(before(with), before(without));
            n_compared += before(with).len();
        }
    }
    assert!(n_compared > 1000);
    // The silenced area no longer answers to the whisker, and the next one, which it drives too, does so less. All else is
    // equal, so a small difference is one.
    let at_rest = window(small(), "wS1", -400.0, 0.0);
    let (answer, silent) = (window(small(), "wS1", 5.0, 50.0), window(&silenced, "wS1", 5.0, 50.0));
    assert!(
        answer > 2.0 * at_rest && silent < 1.2 * at_rest,
        "{at_rest}: {answer} {silent} Hz"
    );
    let (answer, driven) = (window(small(), "wS2", 5.0, 100.0), window(&silenced, "wS2", 5.0, 100.0));
    assert!(driven < 0.97 * answer, "{answer} -> {driven} Hz");
}

#[test]
fn the_network_is_written_as_it_is_recorded() {
    let folder = Folder::new();
    let size = ["--small", "--session-sizes", "20,20,20", "--trials", "2"];
    let out = ["synth", "six-area", "--out", "r.h5", "--network", "n.h5"];
    succeed(&folder, &[&out[..], &size].concat());
    let network = data::read_connectivity(&folder.path("n.h5")).unwrap();
    assert_eq!(network.weights.dim(), (2, 240, 240));
    assert_eq!(network.delays_ms, [2.0, 4.0]);
    for session in data::read(&folder.path("r.h5")).unwrap().sessions {
        for unit in &session.units {
            let neuron = network.neurons.iter().find(|neuron| neuron.unit == unit.id).unwrap();
            assert_eq!((&neuron.area, neuron.cell_type), (&unit.area, unit.cell_type));
        }
    }
    // Weights have the sign of the neuron they come from; inhibition stays in its area.
    let mut n_between = 0;
    for ((_, to, from), w) in network.weights.indexed_iter() {
        let (to, from) = (&network.neurons[to], &network.neurons[from]);
        if from.cell_type == data::CellType::Inhibitory {
            assert!(*w <= 0.0 && (*w == 0.0 || to.area == from.area));
        } else {
            assert!(*w >= 0.0);
            n_between += usize::from(*w > 0.0 && to.area != from.area);
        }
    }
    // 192 excitatory neurons, 200 neurons in other areas, one synapse of ten: 3840 with a standard deviation of 59.
    assert!((3600..4080).contains(&n_between), "{n_between}");
    let again = folder.run(&[&out[..], &size].concat());
    assert!(
        again.code != 0 && again.stderr.contains("already exists"),
        "{}",
        again.stderr
    );
    let missing = folder.run(&[
        "synth",
        "six-area",
        "--out",
        "x.h5",
        "--silence",
        "V1",
        "--silence-ms",
        "0,100",
    ]);
    assert!(
        missing.code == 2 && missing.stderr.contains("the areas are wS1"),
        "{}",
        missing.stderr
    );
    let late = folder.run(&[
        "synth",
        "six-area",
        "--out",
        "x.h5",
        "--silence",
        "wS1",
        "--silence-ms",
        "0,1600",
    ]);
    assert!(
        late.code == 2 && late.stderr.contains("-500 to 1500"),
        "{}",
        late.stderr
    );
}

#[test]
fn the_seed_alone_decides_every_byte_for_any_number_of_threads() {
    let folder = Folder::new();
    let bytes = |name: &str, seed: u64, n_threads: usize| {
        let options = SixAreaOptions {
            session_sizes: vec![20; 3],
            n_trials: 19,
            n_per_area: 20,
            ..SixAreaOptions::small(seed)
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        let recording = pool.install(|| generate(&options));
        data::write(&folder.path(name), &recording).unwrap();
        std::fs::read(folder.path(name)).unwrap()
    };
    let one = bytes("one.h5", 4, 1);
    assert!(one == bytes("three.h5", 4, 3), "threads changed the recording");
    assert!(one != bytes("other.h5", 5, 2), "the seed changed nothing");
}

#[test]
fn sensory_areas_answer_to_the_whisker_in_go_trials_and_all_areas_to_the_cue() {
    let rate = |area: &str, trial_type: &str, from_ms, to_ms| rate_hz(small(), area, trial_type, (from_ms, to_ms));
    for area in ["wS1", "wS2"] {
        let before = rate(area, "CR", -400.0, 0.0);
        for trial_type in ["Hit", "Miss"] {
            let after = rate(area, trial_type, 5.0, 50.0);
            assert!(after > 2.0 * before, "{area} {trial_type}: {before} -> {after} Hz");
        }
        let no_go = rate(area, "CR", 5.0, 50.0);
        assert!((0.6..1.4).contains(&(no_go / before)), "{area}: {before} -> {no_go} Hz");
        assert!(
            rate(area, "Hit", 20.0, 100.0) > rate(area, "Miss", 20.0, 100.0),
            "{area}"
        );
    }
    for area in AREAS {
        let (before, after) = (rate(area, "CR", 800.0, 1000.0), rate(area, "CR", 1004.0, 1040.0));
        assert!(after > 1.3 * before, "{area}: {before} -> {after} Hz");
    }
}

#[test]
fn motor_areas_and_jaw_tell_hits_from_misses_and_correct_rejections_look_like_misses() {
    for area in ["ALM", "tjM1"] {
        for window_ms in [(400.0, 1000.0), (1150.0, 1500.0)] {
            let [hit, miss, rejection] = ["Hit", "Miss", "CR"].map(|t| rate_hz(small(), area, t, window_ms));
            assert!(hit > 1.3 * miss.max(rejection), "{area}: {hit} {miss} {rejection} Hz");
            assert!(
                (0.75..1.33).contains(&(miss / rejection)),
                "{area}: {miss} {rejection} Hz"
            );
        }
        // Only hits prepare: a false alarm starts after the cue.
        let [alarm, rejection] = ["FA", "CR"].map(|t| rate_hz(small(), area, t, (1150.0, 1500.0)));
        assert!(alarm > 1.3 * rejection, "{area}: {alarm} {rejection} Hz");
    }
    let after_cue = |trial_type| jaw_peaks(small(), trial_type, (1050.0, 1500.0));
    for trial_type in ["Hit", "FA"] {
        assert!(share(&after_cue(trial_type), |peak| peak > 3.0) > 0.9, "{trial_type}");
    }
    for trial_type in ["Miss", "CR"] {
        assert!(share(&after_cue(trial_type), |peak| peak < 3.0) > 0.9, "{trial_type}");
    }
    // Active trials: the jaw of most hits moves in the delay, that of few correct rejections.
    let in_delay = |trial_type| share(&jaw_peaks(small(), trial_type, (200.0, 1000.0)), |peak| peak > 2.5);
    let (hit, rejection) = (in_delay("Hit"), in_delay("CR"));
    assert!(hit > 0.35 && hit > 2.0 * rejection, "{hit} {rejection}");
}

#[test]
fn a_small_recording_can_be_inspected_and_fitted_with_its_jaw() {
    let folder = Folder::new();
    let synth = [
        "synth",
        "six-area",
        "--small",
        "--out",
        "six.h5",
        "--network",
        "network.h5",
    ];
    succeed(&folder, &synth);
    let inspected = succeed(&folder, &["inspect", "six.h5"]);
    assert!(
        inspected.stdout.contains("6 sessions, 240 units, 360 trials"),
        "{}",
        inspected.stdout
    );
    assert!(inspected.stdout.contains("jaw"), "{}", inspected.stdout);
    let config = r#"schema = 1
[data]
files = ["six.h5"]
bin_ms = 2.0
window_ms = [-100.0, 1200.0]
behaviour = ["jaw"]
[model.rsnn]
[model.rsnn.input.poisson]
n = 60
p_stim = 0.66
onsets_ms = [0.0, 1000.0]
[model.rsnn.behaviour]
motor_areas = ["ALM", "tjM1"]
[[loss]]
psth = {}
[[loss]]
trial_matching = { method = "sinkhorn" }
[train]
n_trials = 12
validation_trials = 12
max_steps = 2
"#;
    folder.write("fit.toml", config.as_bytes());
    succeed(&folder, &["train", "--config", "fit.toml", "--out", "run"]);
    assert_eq!(crate::runs::last_step(&folder, "run"), Some(2));
    // Two trials of a step are of different stimuli as often as not: such draws are no comparison, and drawn again.
    let energy = [
        "loss = [{ trial_matching = { method = \"energy\" } }]",
        "train.n_trials = 2",
        "train.max_steps = 10",
    ];
    let sets = energy.iter().flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> = ["train", "--config", "fit.toml", "--out", "pairs"]
        .into_iter()
        .chain(sets)
        .collect();
    succeed(&folder, &arguments);
    assert_eq!(crate::runs::last_step(&folder, "pairs"), Some(10));
    // Four trials of the same of two stimuli are one batch of four in eight.
    let counts = [
        "loss = [{ psth = {} }, { count_variance = {} }]",
        "train.n_trials = 4",
        "split.validation_fraction = 0.3",
    ];
    let arguments = crate::runs::with_sets(&["train", "--config", "fit.toml", "--out", "counts"], &counts);
    let run = folder.run(&arguments);
    assert_eq!(run.code, 3, "{}", run.stderr);
    let said = "train.n_trials = 4: fewer than half of the batches of 4 trials have four of one stimulus";
    assert!(run.stderr.contains(said), "{}", run.stderr);
    weights_are_compared_with_the_teachers(&folder);
    a_predicted_perturbation_is_compared_with_the_teachers(&folder);
}

fn json(folder: &Folder, arguments: &[&str]) -> Value {
    let arguments = [&["evaluate", "run", "--format", "json"], arguments].concat();
    serde_json::from_str(&succeed(folder, &arguments).stdout).unwrap()
}

fn weights_are_compared_with_the_teachers(folder: &Folder) {
    let report = json(folder, &["--truth", "network.h5"]);
    let file = std::fs::read_to_string(folder.path("run/couplings.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&file).unwrap(), report);
    assert_eq!(
        (&report["n_neurons"], &report["n_compared"]),
        (&240.into(), &240.into())
    );
    let network = data::read_connectivity(&folder.path("network.h5")).unwrap();
    let blocks = report["blocks"].as_array().unwrap();
    // Excitatory synapses from wS2 to wS1, of pairs of one session and of two.
    let of_pair = |block: &&Value| block["from"] == "wS2" && block["to"] == "wS1" && block["from_type"] == "excitatory";
    let (mut n, mut sum) = (0.0, 0.0);
    for block in blocks.iter().filter(of_pair) {
        n += block["n_pairs"].as_f64().unwrap();
        sum += block["n_pairs"].as_f64().unwrap() * block["truth"].as_f64().unwrap();
    }
    let mut expected = 0.0;
    for ((_, to, from), w) in network.weights.indexed_iter() {
        let (to, from) = (&network.neurons[to], &network.neurons[from]);
        if (to.area.as_str(), from.area.as_str()) == ("wS1", "wS2") && from.cell_type == data::CellType::Excitatory {
            expected += f64::from(*w);
        }
    }
    assert_eq!(n, 40.0 * 32.0);
    assert!((sum - expected).abs() < 1e-4 * expected, "{sum} {expected}");
    // Two steps after its start the network is no teacher: its areas are all alike.
    let correlations = report["correlations"].as_array().unwrap();
    let between = correlations
        .iter()
        .find(|c| c["level"] == "areas" && c["areas"] == "between" && c["sessions"] == "all");
    let between = between.unwrap();
    assert_eq!(between["n"], 30);
    let number = |value: &Value| value.as_f64().unwrap();
    let null = &between["null95"];
    assert!(
        number(&null[0]) < number(&between["pearson"]) && number(&between["pearson"]) < number(&null[1]),
        "{between}"
    );
    let table = succeed(folder, &["evaluate", "run", "--truth", "network.h5"]).stdout;
    assert!(
        table.contains("240 of 240 neurons") && table.contains("different"),
        "{table}"
    );
    let refused = |truth: &str, code: i32, message: &str| {
        let run = folder.run(&["evaluate", "run", "--truth", truth]);
        assert!(
            run.code == code && run.stderr.contains(message),
            "{} {}",
            run.code,
            run.stderr
        );
    };
    refused("six.h5", 4, "a file of connectivity has");
    refused("none.h5", 4, "none.h5");
    let mut other = data::read_connectivity(&folder.path("network.h5")).unwrap();
    for neuron in &mut other.neurons {
        "elsewhere".clone_into(&mut neuron.session);
    }
    data::write_connectivity(&folder.path("other_network.h5"), &other).unwrap();
    refused("other_network.h5", 4, "of session 'elsewhere'");
    let both = folder.run(&["evaluate", "run", "--truth", "network.h5", "--silence", "area:wS1"]);
    assert_eq!(both.code, 2);
}

fn a_predicted_perturbation_is_compared_with_the_teachers(folder: &Folder) {
    let silenced = ["--silence", "wS1", "--silence-ms", "0,200"];
    let synth = [&["synth", "six-area", "--small", "--out", "silent.h5"], &silenced[..]].concat();
    succeed(folder, &synth);
    let perturbation = ["--silence", "area:wS1", "--window-ms", "0,200", "--trials", "20"];
    let report = json(folder, &[&perturbation[..], &["--against", "silent.h5"]].concat());
    assert_eq!(crate::runs::manifest(folder, "run").test_openings, 1);
    let against = &report["against"];
    for key in ["sessions", "paired_sessions"] {
        assert_eq!(against[key], 6, "{key}");
    }
    // Of 60 trials of each session 40 % are not for training, rounded by type.
    let [before, after] = ["baseline_trials", "perturbed_trials"].map(|key| against[key].as_u64().unwrap());
    assert!(before == after && (100..200).contains(&before), "{before} {after}");
    let period = &against["periods"][0];
    assert_eq!(period["neurons"].as_array().unwrap().len(), 240);
    // What the teacher lost: its own response to the whisker, in the silenced area.
    let of = |name: &str| {
        period["rates_hz"]
            .as_array()
            .unwrap()
            .iter()
            .find(|rate| rate["name"] == name)
            .unwrap()
    };
    let lost = of("wS1 exc")["recorded"].as_f64().unwrap();
    let elsewhere = of("tjM1 exc")["recorded"].as_f64().unwrap();
    assert!(lost < -1.0 && elsewhere.abs() < 0.3 * lost.abs(), "{lost} {elsewhere}");
    // Trials of the teacher are paired, so their difference has hardly any noise.
    let ceiling = period["correlations"][0]["ceiling_noiseless"].as_f64().unwrap();
    assert!(ceiling > 0.9, "{ceiling}");
    // What the silenced area itself lost looks like other trials; of what the others do, less changes. The teacher's decision
    // comes from outside, so the jaw hardly changes.
    let changed = |by: &str| -> f64 {
        let of_rule = against["type_fractions"].as_array().unwrap().iter();
        let recorded = of_rule
            .filter(|found| found["by"] == by)
            .map(|found| found["recorded"].as_f64().unwrap());
        let recorded: Vec<f64> = recorded.collect();
        assert!(recorded.len() >= 3, "{by}: {recorded:?}");
        recorded.iter().map(|share| share.abs()).sum()
    };
    let [all, others, jaw] = ["template", "template of other neurons", "threshold"].map(changed);
    assert!(all > 0.1 && others < 0.5 * all && jaw < 0.2, "{all} {others} {jaw}");
    let refused = |file: &str, code: i32, message: &str| {
        let run = folder.run(&[&["evaluate", "run"], &perturbation[..], &["--against", file]].concat());
        assert!(
            run.code == code && run.stderr.contains(message),
            "{} {}",
            run.code,
            run.stderr
        );
    };
    succeed(folder, &["synth", "two-area", "--small", "--out", "other.h5"]);
    refused("other.h5", 4, "other.h5");
    refused("six.h5", 4, "six.h5 is a recording that the run was fitted to");
    refused("none.h5", 4, "none.h5");
    let alone = folder.run(&["evaluate", "run", "--against", "silent.h5"]);
    assert_eq!(alone.code, 2);
    assert_eq!(crate::runs::manifest(folder, "run").test_openings, 1);
}

#[test]
fn options_out_of_range_are_usage_errors() {
    for flags in [
        &["--trials", "0"] as &[&str],
        &["--p-hit", "1.5"],
        &["--p-go", "nan"],
        &["--session-sizes", "0"],
        &["--session-sizes", "501"],
        &["--neurons-per-area", "4"],
        &["--neurons-per-area", "100000"],
        &["--trials", "18446744073709551615"],
    ] {
        let folder = Folder::new();
        let run = folder.run(&[&["synth", "six-area", "--out", "x.h5"], flags].concat());
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{flags:?}: {}", run.stderr);
        assert!(!folder.path("x.h5").exists());
    }
}
