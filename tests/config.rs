//! Configurations: what is read is what is written, defaults are as documented, and wrong ones are explained.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use losses::trial_loss::Method;
use snnfit::config::checked::{Experiment, Interval, LatentKind, Loss, MatchWithin, MatchingTrials, Model};
use snnfit::config::{self, AnyExperiment, ConfigError, Loaded, Origin};

use crate::cli::{Folder, section};

/// Everything that must be written, and nothing else.
const MINIMAL: &str = "
schema = 1
[data]
files = [\"a.h5\"]
bin_ms = 2.0
[model.rsnn]
[[loss]]
psth = {}
";

/// Every optional table and key that the minimal configuration has not.
const FULL: &str = "
schema = 1
seed = 12
preset = \"sourmpis2023_code\"
[data]
files = [\"a.h5\", \"b/c.h5\"]
bin_ms = 2.0
window_ms = [-100.0, 300.0]
sessions = [\"s1\"]
behaviour = [\"jaw\", \"whisker\"]
max_rate_hz = 30.0
[data.traces.jaw]
baseline = \"trial\"
baseline_ms = [-50.0, 0.0]
scale = \"session\"
factor = -1.0
[model.rsnn]
n_neurons = 500
n_hidden = 3
areas = [\"A\", \"B\"]
delay_ms = 2.0
max_delay_ms = 4.0
delay_groups = 2
[[model.rsnn.projections]]
from = \"A\"
type = \"inhibitory\"
to = \"others\"
[[model.rsnn.projections]]
from = \"*\"
type = \"unknown\"
to = [\"A\", \"B\"]
sign = \"negative\"
[[model.rsnn.projections]]
from = [\"B\"]
to = \"A\"
allow = false
[model.rsnn.input.poisson]
onsets_ms = [0.0, 50.0]
scale = \"linear\"
[model.rsnn.latent.mlp]
[model.rsnn.behaviour]
motor_areas = [\"B\"]
[model.rsnn.behaviour.traces.jaw]
motor_areas = [\"A\", \"B\"]
tau_ms = 30.0
link = \"linear\"
[model.rsnn.behaviour.feedback]
first_ms = 6.0
[[loss]]
psth = { weight = 1.0 }
[[loss]]
trial_matching = { method = \"energy\" }
[[loss]]
firing_rate = {}
[train]
checkpoint_every = \"90s\"
";

/// The other variants: recorded stimulus, linear latent, bins that fit no time constant.
const OTHER: &str = "
schema = 1
[data]
files = [\"retina.h5\"]
bin_ms = 1.667
[model.rsnn]
inter_area = \"none\"
[model.rsnn.input.recorded]
scale = 2.0
offset = -1.0
[model.rsnn.latent.linear]
bound = true
[[loss]]
psth = {}
";

/// Inputs by channels.
const CHANNELS: &str = "schema = 1
[data]
files = [\"a.h5\"]
bin_ms = 2.0
[[model.rsnn.input.poisson.channels]]
event = \"go cue\"
amplitude = \"contrast\"
share = 0.25
[[model.rsnn.input.poisson.channels]]
onset_ms = 12.5
amplitude = \"stimulus\"
duration_ms = 20.0
gain = 3.0
[[model.rsnn.input.poisson.channels]]
event = \"end\"
[[loss]]
psth = {}
";

/// Every loss, with nothing said.
const LOSSES: &str = "
schema = 1
[data]
files = [\"a.h5\"]
bin_ms = 2.0
[model.rsnn]
[[loss]]
psth = {}
[[loss]]
trial_matching = {}
[[loss]]
trial_matched_likelihood = {}
[[loss]]
spike_gan = {}
[[loss]]
firing_rate = {}
[[loss]]
count_variance = {}
[[loss]]
count_covariance = {}
";
const SPIKE_HISTORY_LOSSES: &str = "
schema = 1
[data]
files = [\"a.h5\"]
bin_ms = 2.0
[model.spike_history]
n_hidden = 2
[[loss]]
likelihood = {}
[[loss]]
single_trial = {}
[[loss]]
psth_cross_entropy = {}
[[loss]]
noise_covariance = {}
[[loss]]
coincidence_cross_entropy = {}
[[loss]]
hidden_rate = {}
";

/// Spike-history network with every table and key.
const SPIKE_HISTORY: &str = "
schema = 1
[data]
files = [\"a.h5\", \"b.h5\"]
bin_ms = 2.0
[split.sessions.session1]
test = \"all\"
[split.sessions.session2]
validation = [\"7-10\", 3, 1]
[model.spike_history]
n_hidden = 7
shared_units = true
initial_bias = \"zero\"
[model.spike_history.kernels.raised_cosine]
n = 8
[model.spike_history.encoder.stimulus]
pixels = [4, 5]
layers = [{ conv = { filters = 4, kernel = 3 } }, { max_pool = {} }, { dense = { units = 9 } }]
[model.spike_history.encoder.stimulus.kernels.raised_cosine]
linear_ms = 20.0
[model.spike_history.windows]
clamped_ms = 60.0
[statistics]
skip_ms = 10.0
count_windows_ms = [20.0, 40.0]
[[loss]]
likelihood = { samples = 3 }
[[loss]]
single_trial = { clamped_ms = 20.0 }
[[loss]]
psth_cross_entropy = { weight = 0.3 }
[[loss]]
noise_covariance = { lags_ms = 40.0, form = \"paper_code\" }
[[loss]]
coincidence_cross_entropy = { stimuli = \"any\" }
[[loss]]
hidden_rate = { weight = 1e-3, form = \"paper_code\" }
";

/// The other variants: a drive for each bin, raw kernels, covariances in windows.
const SPIKE_HISTORY_BINS: &str = "
schema = 1
[data]
files = [\"a.h5\"]
bin_ms = 2.0
[model.spike_history]
[model.spike_history.encoder.bins]
[[loss]]
noise_covariance = {}
";

fn load_any(text: &str) -> config::AnyLoaded {
    config::load_any_text("x.toml", text, Path::new("/somewhere"), &[]).unwrap()
}

#[test]
fn a_resolved_spike_history_configuration_is_read_back_identically() {
    for text in [SPIKE_HISTORY, SPIKE_HISTORY_BINS, &config::starter_spike_history()] {
        let loaded = load_any(text);
        assert_eq!(loaded.warnings, Vec::<String>::new());
        let written = config::any_to_toml(&loaded.experiment).unwrap();
        let again = config::load_any_text("run.toml", &written, Path::new("/elsewhere"), &[]).unwrap();
        assert_eq!(again.experiment, loaded.experiment);
        assert_eq!(config::any_to_toml(&again.experiment).unwrap(), written);
    }
    let AnyExperiment::SpikeHistory(experiment) = load_any(SPIKE_HISTORY).experiment else {
        panic!("a spike-history network");
    };
    assert_eq!(experiment.model.history.steps, 20);
    assert_eq!(experiment.losses.len(), 6);
    let named = &experiment.split.sessions["session2"].validation;
    assert_eq!(*named, data::NamedTrials::These(vec![7, 8, 9, 10, 3, 1]));
    let written = config::any_to_toml(&AnyExperiment::SpikeHistory(experiment)).unwrap();
    assert!(
        written.contains("\"7-10\""),
        "trials in a row are written as a range: {written}"
    );
    let error = config::load_text("x.toml", SPIKE_HISTORY, Path::new("/"), &[]).unwrap_err();
    assert!(error.to_string().contains("[model.spike_history]"), "{error}");
}

#[test]
fn what_does_not_go_with_a_spike_history_network_is_refused_by_name() {
    for (set, said) in [
        (
            "statistics.stride_ms = 4.0",
            "`statistics.stride_ms` belongs to [model.rsnn]",
        ),
        (
            "train.gradient_splitter = true",
            "`train.gradient_splitter` belongs to [model.rsnn]",
        ),
        ("data.window_ms = [0.0, 10.0]", "`data.window_ms` has no meaning"),
        ("preset = \"sourmpis2023_code\"", "this preset is one of [model.rsnn]"),
        ("train.engine = \"native_int16\"", "native_int16"),
        ("loss = [{ psth = {} }]", "is a loss of [model.rsnn]"),
        ("loss = [{ hidden_rate = {} }]", "has no hidden neurons"),
        (
            "loss = [{ hidden_rate = {} }, { single_trial = {} }]",
            "goes with `likelihood`, coincidences or a loss of repeats",
        ),
        ("loss = [{ likelihood = { samples = 2 } }]", "every sample is the same"),
        (
            "loss = [{ single_trial = { clamped_ms = 90.0 } }]",
            "leaves nothing of a window",
        ),
        (
            "loss = [{ noise_covariance = { window_ms = 10.0, lags_ms = 4.0 } }]",
            "both given",
        ),
        (
            "loss = [{ noise_covariance = { form = \"paper_code\" } }]",
            "compares lags, not windows",
        ),
        (
            "loss = [{ noise_covariance = { window_ms = 400.0 } }]",
            "don't fit free windows",
        ),
        ("statistics.count_windows_ms = [0.5]", "at least one bin"),
        ("split.sessions.a.test = \"some\"", "\"all\", or a list"),
        ("split.sessions.a.test = [\"9-7\"]", "first not above last"),
        ("split.sessions.a.test = [\"7-\"]", "a range \"first-last\""),
        ("split.sessions.a.test = [-1]", "a trial number from 0"),
        ("split.sessions.a.test = [\"0-1000000\"]", "at most 1000000 trials"),
        ("split.sessions.a.test = [\"0-999999\", 7]", "more than 1000000 trials"),
        (
            "model.spike_history.kernels.raised_cosine.n = 30",
            "more than there are lags",
        ),
    ] {
        let error = config::load_any_text("x.toml", SPIKE_HISTORY_BINS, Path::new("/"), &[set.to_owned()]).unwrap_err();
        let messages: Vec<&str> = error.problems().iter().map(|p| p.message.as_str()).collect();
        let told = format!("{error} {}", messages.join("; "));
        assert!(told.contains(said), "{set}: {told}");
    }
    let other = load_with(MINIMAL, &["statistics.skip_ms = 4.0"]).unwrap_err();
    assert!(other.problems()[0].message.contains("belongs to [model.spike_history]"));
    let other = load_with(MINIMAL, &["loss = [{ likelihood = {} }]"]).unwrap_err();
    assert!(
        other.problems()[0]
            .message
            .contains("is a loss of [model.spike_history]")
    );
}

fn load(text: &str) -> Loaded {
    load_with(text, &[]).unwrap()
}

fn load_with(text: &str, overrides: &[&str]) -> Result<Loaded, ConfigError> {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    config::load_text("x.toml", text, Path::new("/somewhere"), &overrides)
}

fn rsnn(experiment: &Experiment) -> &config::checked::Rsnn {
    let Model::Rsnn(rsnn) = &experiment.model;
    rsnn
}

#[test]
fn a_resolved_configuration_is_read_back_identically_from_elsewhere() {
    for text in [MINIMAL, FULL, OTHER, CHANNELS, &config::starter()] {
        let experiment = load(text).experiment;
        let written = config::to_toml(&experiment).unwrap();
        let again = config::load_text("run.toml", &written, Path::new("/elsewhere"), &[]).unwrap();
        assert_eq!(again.experiment, experiment);
        assert_eq!(config::to_toml(&again.experiment).unwrap(), written);
    }
}

#[test]
fn the_resolved_configuration_reads_well() {
    insta::assert_snapshot!(config::to_toml(&load(FULL).experiment).unwrap());
}

#[test]
fn channels_share_what_the_others_leave_and_are_like_the_inputs_where_nothing_is_said() {
    let Model::Rsnn(model) = load(CHANNELS).experiment.model;
    let config::checked::Input::Poisson(input) = model.input else {
        panic!("Poisson inputs");
    };
    assert_eq!(input.onsets_ms, Vec::<f64>::new());
    let shares: Vec<f64> = input.channels.iter().map(|channel| channel.share).collect();
    assert_eq!(shares, [0.25, 0.375, 0.375]);
    let rest: Vec<(f64, f64)> = input.channels.iter().map(|c| (c.duration.ms, c.gain)).collect();
    assert_eq!(rest, [(10.0, 11.5), (20.0, 3.0), (10.0, 11.5)]);
    assert!(input.is_by_trial());
}

#[test]
fn awkward_numbers_survive_the_round_trip() {
    // Shortest decimal forms of f64 that are not exact decimals, very small and very large.
    for number in [
        "0.1",
        "1e-300",
        "123456789.123456789",
        "0.30000000000000004",
        "4.9e-324",
    ] {
        let experiment = load_with(MINIMAL, &[&format!("optimizer.adamw.lr = {number}")])
            .unwrap()
            .experiment;
        let written = config::to_toml(&experiment).unwrap();
        let again = config::load_text("run.toml", &written, Path::new("/"), &[]).unwrap();
        assert_eq!(again.experiment, experiment, "{number}");
    }
}

#[test]
fn files_belong_to_the_configuration_and_files_of_set_to_the_working_directory() {
    let files = load(FULL).experiment.data.files;
    assert_eq!(files, [Path::new("/somewhere/a.h5"), Path::new("/somewhere/b/c.h5")]);
    let files = load_with(FULL, &["data.files = [\"d.h5\"]"])
        .unwrap()
        .experiment
        .data
        .files;
    assert_eq!(files, [std::env::current_dir().unwrap().join("d.h5")]);
}

/// A key without places in lists, as it is documented.
fn without_places(key: &str) -> String {
    let names = key
        .split('.')
        .map(|part| part.split_once('[').map_or(part, |(name, _)| name));
    names.collect::<Vec<_>>().join(".")
}

#[test]
fn every_documented_key_exists_and_every_key_is_documented() {
    let resolved: BTreeSet<String> = [FULL, OTHER, CHANNELS, LOSSES]
        .iter()
        .flat_map(|text| load(text).values)
        .chain(
            [SPIKE_HISTORY, SPIKE_HISTORY_BINS]
                .iter()
                .flat_map(|text| load_any(text).values),
        )
        .map(|value| without_places(&value.key))
        .filter(|key| !key.starts_with("split.sessions.session2"))
        .collect();
    // What has a value is inside of a loss.
    let is_loss = |key: &str| key.starts_with("loss.") && key.matches('.').count() == 1;
    let documented: BTreeSet<String> = config::schema_table()
        .into_iter()
        .map(|row| row.key)
        .filter(|key| !is_loss(key))
        .collect();
    assert_eq!(resolved, documented);
}

#[test]
fn documented_defaults_are_the_defaults() {
    let with_latent = format!("{MINIMAL}\n[model.rsnn.latent.mlp]\n");
    let with_behaviour = OTHER
        .replace("bin_ms = 1.667", "bin_ms = 2.0\nbehaviour = [\"jaw\"]")
        .replace("bound = true", "")
        .replace("scale = 2.0\noffset = -1.0", "")
        + "[data.traces.jaw]\n[model.rsnn.behaviour]\nmotor_areas = [\"B\"]\n[model.rsnn.behaviour.feedback]\n";
    let with_rule = format!("{MINIMAL}\n[[model.rsnn.projections]]\nfrom = \"*\"\nto = \"*\"\n");
    let of_spike_history = load_any(
        &SPIKE_HISTORY
            .replace("pixels = [4, 5]\nlayers", "# layers")
            .replace("initial_bias", "# initial_bias"),
    );
    let with_energy = format!("{MINIMAL}\n[[loss]]\ntrial_matching = {{ method = \"energy\" }}\n");
    // A later one wins: keys of both models are documented as those of rsnn.
    let of_rsnn = [&with_rule, &with_latent, &with_behaviour, &with_energy, LOSSES].map(|text| load(text).values);
    let resolved: BTreeMap<String, (Origin, Option<toml::Value>)> = of_spike_history
        .values
        .into_iter()
        .chain(load_any(SPIKE_HISTORY_LOSSES).values)
        .chain(of_rsnn.into_iter().flatten())
        .map(|value| (without_places(&value.key), (value.origin, value.value)))
        .collect();
    let mut n_compared = 0;
    for row in config::schema_table() {
        let Some(default) = row.default.filter(|default| !default.starts_with('(')) else {
            continue;
        };
        let Some((origin, Some(value))) = resolved.get(&row.key) else {
            panic!("{} has no value", row.key)
        };
        if *origin == Origin::Default {
            let documented: toml::Table = format!("x = {default}").parse().unwrap();
            assert_eq!(documented.get("x"), Some(value), "{}", row.key);
            n_compared += 1;
        }
    }
    assert!(n_compared > 50, "only {n_compared} defaults were compared");
}

#[test]
fn the_starter_file_has_all_defaults_and_no_warning() {
    let starter = load(&config::starter());
    assert_eq!(starter.warnings, Vec::<String>::new());
    let text = "schema = 1\n[data]\nfiles = [\"recording.h5\"]\nbin_ms = 2.0\n[model.rsnn.latent.mlp]\n\
                [[loss]]\npsth = {}\n[[loss]]\ntrial_matching = {}\n";
    assert_eq!(starter.experiment, load(text).experiment);
}

#[test]
fn times_become_steps_and_misfits_are_told() {
    let loaded = load(OTHER);
    let rsnn = rsnn(&loaded.experiment);
    // 4 ms / 1.667 ms = 2.3995; 300 ms / 1.667 ms = 179.96; 12 ms: 7.199; 6 ms: 3.599
    assert_eq!(
        (rsnn.delay.steps, rsnn.refractory.steps, rsnn.warmup.steps),
        (2, 2, 180)
    );
    assert_eq!(
        (
            loaded.experiment.statistics.smooth.steps,
            loaded.experiment.statistics.stride.steps
        ),
        (7, 4)
    );
    assert!(
        loaded
            .warnings
            .iter()
            .any(|text| text.contains("delay_ms = 4 ms is 2.400 bins")),
        "{:?}",
        loaded.warnings
    );
    assert_eq!(rsnn.p_scale, 1.667 / 2.0);
    let coarse = load_with(MINIMAL, &["data.bin_ms = 10.0", "model.rsnn.p_scale = 1.0"]).unwrap();
    assert_eq!(
        config_steps(&coarse.experiment),
        [1, 1, 1],
        "a time > 0 has at least one step"
    );
    let none = load_with(MINIMAL, &["model.rsnn.refractory_ms = 0", "model.rsnn.warmup_ms = 0"]).unwrap();
    assert_eq!(self::rsnn(&none.experiment).refractory.steps, 0);
    assert_eq!(self::rsnn(&none.experiment).warmup.steps, 0);
}

fn config_steps(experiment: &Experiment) -> [usize; 3] {
    let rsnn = rsnn(experiment);
    [
        rsnn.delay.steps,
        rsnn.refractory.steps,
        experiment.statistics.stride.steps,
    ]
}

#[test]
fn delay_groups_have_the_delays_of_the_published_program() {
    // §1.3: group 0 has n, group g has m − int((m − n)/(G − 1)·(g − 1)).
    let delays = |delay: &str, longest: &str, groups: &str| {
        let sets = [
            format!("model.rsnn.delay_ms = {delay}"),
            format!("model.rsnn.max_delay_ms = {longest}"),
            format!("model.rsnn.delay_groups = {groups}"),
        ];
        let loaded = load_with(MINIMAL, &sets.each_ref().map(String::as_str)).unwrap();
        let model = rsnn(&loaded.experiment);
        snn_core::connectivity::delay_steps(model.delay.steps, model.max_delay.steps, model.delay_groups).unwrap()
    };
    assert_eq!(delays("4.0", "4.0", "1"), [2]);
    assert_eq!(delays("2.0", "4.0", "2"), [1, 2]);
    assert_eq!(delays("2.0", "12.0", "3"), [1, 6, 4]);
    assert_eq!(delays("2.0", "10.0", "5"), [1, 5, 4, 3, 2]);
}

#[test]
fn the_preset_changes_defaults_but_not_what_is_written() {
    let preset = load_with(MINIMAL, &["preset = \"sourmpis2023_code\""]).unwrap();
    let statistics = preset.experiment.statistics;
    assert_eq!(
        (statistics.match_within, statistics.matching_trials),
        (MatchWithin::Cycle, MatchingTrials::First)
    );
    assert_eq!(preset.experiment.data.max_rate_hz, Some(40.0));
    let origin = |loaded: &Loaded, key: &str| loaded.values.iter().find(|value| value.key == key).unwrap().origin;
    assert_eq!(origin(&preset, "statistics.match_within"), Origin::Preset);
    let sets = ["preset = \"sourmpis2023_code\"", "statistics.match_within = \"all\""];
    let written = load_with(MINIMAL, &sets).unwrap();
    assert_eq!(written.experiment.statistics.match_within, MatchWithin::All);
    assert_eq!(origin(&written, "statistics.match_within"), Origin::Set);
    assert_eq!(load(MINIMAL).experiment.statistics.match_within, MatchWithin::Stimulus);
}

#[test]
fn overrides_are_typed_and_the_last_one_wins() {
    let sets = [
        "train.max_steps = 10",
        "train = { max_steps = 20, log_every = 5 }",
        "model.rsnn.latent.linear.dimensions = 2",
    ];
    let experiment = load_with(MINIMAL, &sets).unwrap().experiment;
    assert_eq!((experiment.train.max_steps, experiment.train.log_every), (20, 5));
    let latent = rsnn(&experiment).latent.as_ref().unwrap();
    assert_eq!((latent.kind, latent.dimensions), (LatentKind::Linear, 2));
    let experiment = load_with(MINIMAL, &["train.checkpoint_every = \"2m\""])
        .unwrap()
        .experiment;
    assert_eq!(experiment.train.checkpoint_every, Interval::Seconds(120.0));
    assert!(load_with(MINIMAL, &["train.max_steps = \"10\""]).is_err());
}

#[test]
fn overrides_find_a_listed_loss_by_its_name() {
    let both = MINIMAL.replace(
        "psth = {}",
        "psth = {}\n[[loss]]\n[loss.trial_matching]\nmethod = \"energy\"",
    );
    let sets = ["loss.trial_matching.weight = 7.5", "loss = { psth.weight = 2.0 }"];
    let loaded = load_with(&both, &sets).unwrap();
    let weights: Vec<(&str, f64)> = loaded
        .experiment
        .losses
        .iter()
        .map(|loss| (loss.name(), loss.weight()))
        .collect();
    assert_eq!(weights, [("psth", 2.0), ("trial_matching", 7.5)]);
    assert!(matches!(
        loaded.experiment.losses[1],
        Loss::TrialMatching {
            method: Method::Energy { .. },
            ..
        }
    ));
    let is_weight = |value: &&config::ShownValue| value.key == "loss[1].trial_matching.weight";
    assert_eq!(loaded.values.iter().find(is_weight).unwrap().origin, Origin::Set);
    // An error of what is set points at it, one of a name that isn't listed says which are.
    let told = |text: &str, sets: &[&str]| load_with(text, sets).unwrap_err().problems()[0].message.clone();
    let wrong = told(&both, &["loss.psth.weight = -1.0"]);
    assert!(wrong.contains("loss[0].psth.weight"), "{wrong}");
    let unknown = told(&both, &["loss.spike_gan.weight = 1.0"]);
    assert!(
        unknown.contains("no loss `spike_gan`; it lists `psth`, `trial_matching`"),
        "{unknown}"
    );
    let nothing = told(&both, &["loss = {}"]);
    assert!(nothing.contains("changes no loss"), "{nothing}");
    let none = told(
        &MINIMAL.replace("[[loss]]\npsth = {}\n", ""),
        &["loss.psth.weight = 1.0"],
    );
    assert!(none.contains("lists no loss that `loss.psth` could change"), "{none}");
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_change_nothing() {
    let folder = Folder::new();
    let windows = format!("\u{feff}{}", MINIMAL.replace('\n', "\r\n"));
    folder.write("unix.toml", MINIMAL.as_bytes());
    folder.write("windows.toml", windows.as_bytes());
    let experiment = |name| config::load(&folder.path(name), &[]).unwrap().experiment;
    assert_eq!(experiment("unix.toml"), experiment("windows.toml"));
}

#[test]
fn a_resumed_run_may_only_change_when_it_stops() {
    let check = |text: &str| config::check_resume_overrides(&[text.to_owned()]);
    assert_eq!(check("train.max_steps = 9"), Ok(()));
    assert_eq!(check("train = { max_steps = 9, patience = 3 }"), Ok(()));
    assert!(
        check("optimizer.adamw.lr = 1.0")
            .unwrap_err()
            .contains("optimizer.adamw.lr")
    );
    assert!(
        check("train = { max_steps = 9, n_trials = 3 }")
            .unwrap_err()
            .contains("train.n_trials")
    );
    assert!(check("train.max_steps").is_err());
}

#[test]
fn no_mutation_of_a_configuration_panics() {
    // Each byte deleted, doubled, or replaced by one that matters to the syntax; most results are invalid.
    let text = FULL.as_bytes();
    for i in 0..text.len() {
        for mutation in 0..7 {
            let mut bytes = text.to_vec();
            match mutation {
                0 => drop(bytes.remove(i)),
                1 => bytes.insert(i, text[i]),
                other => bytes[i] = b"\n\"[-9"[other - 2],
            }
            if let Ok(text) = std::str::from_utf8(&bytes)
                && let Err(error) = load_with(text, &[])
            {
                let error = snnfit::error::Error::Config(error);
                assert!(!snnfit::error::render_text(&error, false).is_empty());
                assert!(!snnfit::error::render_json(&error).is_empty());
            }
        }
    }
}

/// Name, overrides of the minimal configuration or a whole text, of what is wrong.
fn invalid() -> Vec<(&'static str, String, Vec<&'static str>)> {
    let set = |name, overrides: &[&'static str]| (name, MINIMAL.to_owned(), overrides.to_vec());
    let text = |name, text: &str| (name, text.to_owned(), Vec::new());
    let changed = |name, from: &str, to: &str| {
        assert!(MINIMAL.contains(from), "{name}");
        (name, MINIMAL.replace(from, to), Vec::new())
    };
    vec![
        text("empty file", ""),
        text("syntax", "schema = 1\n[data\nfiles = 3\n"),
        text("duplicate key", "schema = 1\nseed = 1\nseed = 2\n"),
        text("control character", "schema = 1\nseed = \u{1b}[31m\n"),
        changed("unknown key", "bin_ms", "bin_m"),
        changed("unknown table", "[model.rsnn]", "[modle.rsnn]"),
        changed("unknown model", "[model.rsnn]", "[model.rnn]"),
        changed("unknown loss", "psth = {}", "pst = {}"),
        changed("unknown key of a loss", "psth = {}", "psth = { wieght = 1.0 }"),
        changed("two losses in one table", "psth = {}", "psth = {}\nfiring_rate = {}"),
        changed("loss as a table", "[[loss]]", "[loss]"),
        changed("a loss listed twice", "psth = {}", "psth = {}\n[[loss]]\npsth = {}"),
        set(
            "knots of offsets that don't ascend",
            &["model.rsnn.latent.mlp.knots_ms = [0.0, 50.0, 50.0]"],
        ),
        set("one knot of offsets", &["model.rsnn.latent.linear.knots_ms = [10.0]"]),
        set(
            "a linear latent that shall see the stimulus",
            &["model.rsnn.latent.linear = { knots_ms = [0.0, 9.0], stimulus_from_ms = 0.0 }"],
        ),
        set(
            "a stimulus that is seen from no knot on",
            &["model.rsnn.latent.mlp = { knots_ms = [0.0, 9.0], stimulus_from_ms = 9.0 }"],
        ),
        set(
            "a knot that is no time",
            &["model.rsnn.latent.mlp.knots_ms = [0.0, nan]"],
        ),
        set(
            "refractory period beyond 255 steps",
            &["model.rsnn.refractory_ms = 600.0"],
        ),
        set(
            "a delay of hours",
            &["model.rsnn.delay_ms = 1e8", "model.rsnn.max_delay_ms = 1e8"],
        ),
        changed("no schema", "schema = 1\n", ""),
        changed("newer schema", "schema = 1", "schema = 2"),
        changed("schema zero", "schema = 1", "schema = 0"),
        changed("schema as text", "schema = 1", "schema = \"1\""),
        changed("no files", "files = [\"a.h5\"]\n", ""),
        changed("files as text", "[\"a.h5\"]", "\"a.h5\""),
        changed("a file twice", "[\"a.h5\"]", "[\"a.h5\", \"a.h5\"]"),
        changed("no bin", "bin_ms = 2.0\n", ""),
        changed("bin not a number", "bin_ms = 2.0", "bin_ms = nan"),
        changed("bin infinite", "bin_ms = 2.0", "bin_ms = inf"),
        changed("bin overflows", "bin_ms = 2.0", "bin_ms = 1e400"),
        changed("bin negative", "bin_ms = 2.0", "bin_ms = -2.0"),
        changed("bin with unit", "bin_ms = 2.0", "bin_ms = \"2 ms\""),
        changed("no model", "[model.rsnn]\n", ""),
        changed("no loss", "[[loss]]\npsth = {}\n", ""),
        changed("two models", "[model.rsnn]", "[model]\nrsnn = {}\nother = {}"),
        set("window reversed", &["data.window_ms = [300.0, -100.0]"]),
        set("window of part of a bin", &["data.window_ms = [0.0, 401.0]"]),
        set("window infinite", &["data.window_ms = [-inf, 300.0]"]),
        set("window of three", &["data.window_ms = [0.0, 1.0, 2.0]"]),
        set("window of nothing", &["data.window_ms = []"]),
        changed("no model in the table", "[model.rsnn]", "[model]"),
        set("no session", &["data.sessions = []"]),
        set("empty session name", &["data.sessions = [\"\"]"]),
        set(
            "two behaviours without readout",
            &["data.behaviour = [\"jaw\", \"whisker\"]"],
        ),
        set(
            "tables of traces that are not fitted",
            &[
                "data.behaviour = [\"jaw\"]",
                "data.traces.whisker = {}",
                "model.rsnn.behaviour = { motor_areas = [\"A\"], traces = { tongue = {} } }",
            ],
        ),
        set("rule of a trace that is not fitted", &["data.traces.jaw = {}"]),
        set(
            "rules of a trace out of range",
            &[
                "data.behaviour = [\"jaw\"]",
                "model.rsnn.behaviour.motor_areas = [\"A\"]",
                "data.traces.jaw = { baseline_ms = [0.0, -50.0], factor = 0.0 }",
            ],
        ),
        set(
            "feedback whose lags cross, on the engine that has none",
            &[
                "data.behaviour = [\"jaw\"]",
                "model.rsnn.behaviour.motor_areas = [\"A\"]",
                "model.rsnn.behaviour.feedback = { first_ms = 40.0, last_ms = 14.0 }",
                "train.engine = \"reference\"",
            ],
        ),
        set("behaviour without readout", &["data.behaviour = [\"jaw\"]"]),
        set(
            "readout without behaviour",
            &["model.rsnn.behaviour.motor_areas = [\"A\"]"],
        ),
        set(
            "readout without areas",
            &["data.behaviour = [\"jaw\"]", "model.rsnn.behaviour = {}"],
        ),
        set(
            "readout of an unknown area",
            &[
                "data.behaviour = [\"jaw\"]",
                "model.rsnn.behaviour.motor_areas = [\"C\"]",
                "model.rsnn.areas = [\"A\"]",
            ],
        ),
        set("rate limit zero", &["data.max_rate_hz = 0.0"]),
        set("test fraction one", &["split.test_fraction = 1.0"]),
        set("validation fraction zero", &["split.validation_fraction = 0"]),
        set("negative seed", &["seed = -1"]),
        set("no neurons", &["model.rsnn.n_neurons = 0"]),
        set("negative neurons", &["model.rsnn.n_neurons = -5"]),
        set("too many neurons", &["model.rsnn.n_neurons = 1000000"]),
        set("fractional neurons", &["model.rsnn.n_neurons = 2.5"]),
        set(
            "too many values",
            &[
                "model.rsnn.n_neurons = 65536",
                "data.window_ms = [0.0, 4000.0]",
                "train.n_trials = 1048576",
            ],
        ),
        set("areas twice", &["model.rsnn.areas = [\"A\", \"B\", \"A\"]"]),
        set("share above one", &["model.rsnn.p_exc = 1.5"]),
        set("time constant zero", &["model.rsnn.tau_m_exc_ms = 0.0"]),
        set("negative delay", &["model.rsnn.delay_ms = -4.0"]),
        set("delays without groups", &["model.rsnn.max_delay_ms = 8.0"]),
        set("longest delay shorter", &["model.rsnn.max_delay_ms = 2.0"]),
        set(
            "more groups than delays",
            &["model.rsnn.max_delay_ms = 6.0", "model.rsnn.delay_groups = 3"],
        ),
        set("refractory period for ever", &["model.rsnn.refractory_ms = 1e30"]),
        set("probability factor above one", &["data.bin_ms = 10.0"]),
        set("unknown choice", &["model.rsnn.inter_area = \"exitatory\""]),
        set(
            "projections of unknown areas",
            &[
                "model.rsnn.areas = [\"striatum\", \"pallidum\"]",
                "model.rsnn.projections = [{ from = \"striatum\", to = \"palidum\" }, { from = [\"SNr\"], to = \"*\" }]",
            ],
        ),
        set(
            "projections against Dale's law",
            &[
                "model.rsnn.projections = [{ from = \"*\", to = \"*\", type = \"excitatory\", sign = \"negative\" }, { from = \"*\", \
                 to = \"*\", sign = \"free\" }]",
            ],
        ),
        set(
            "projections that say nothing",
            &[
                "model.rsnn.projections = [{ type = \"unknown\" }, { from = \"others\", to = [] }, { from = \"A\", to = [\"B\", \"B\"], \
                 type = \"unknown\", allow = false, sign = \"free\" }]",
            ],
        ),
        set(
            "a type of projection that isn't there",
            &["model.rsnn.projections = [{ from = \"A\", to = \"*\", type = \"inhibitary\" }]"],
        ),
        set(
            "areas as a number",
            &["model.rsnn.projections = [{ from = 3, to = \"*\" }]"],
        ),
        set("two inputs", &["model.rsnn.input = { poisson = {}, recorded = {} }"]),
        set("no lags", &["model.rsnn.input.recorded.lags = 0"]),
        set("stimulus times zero", &["model.rsnn.input.recorded.scale = 0.0"]),
        set("input faster than bins", &["model.rsnn.input.poisson.rate_hz = 501.0"]),
        set("no onset", &["model.rsnn.input.poisson.onsets_ms = []"]),
        set("onset not finite", &["model.rsnn.input.poisson.onsets_ms = [nan]"]),
        set(
            "more onsets than inputs",
            &["model.rsnn.input.poisson = { n = 2, onsets_ms = [0.0, 1.0] }"],
        ),
        set(
            "channels and onsets",
            &["model.rsnn.input.poisson = { onsets_ms = [0.0], channels = [{ event = \"cue\" }] }"],
        ),
        set(
            "channels that say when twice or never",
            &[
                "model.rsnn.input.poisson.channels = [{ event = \"cue\", onset_ms = 0.0 }, { share = 0.5 }, { event = \" \" }]",
            ],
        ),
        set(
            "channels out of range",
            &[
                "model.rsnn.input.poisson.channels = [{ onset_ms = inf, share = 0.8 }, { onset_ms = 0.0, share = 0.3, gain = -1.0, \
                 duration_ms = 0.0, amplitude = \"\" }]",
            ],
        ),
        set(
            "channels that leave nothing for others",
            &["model.rsnn.input.poisson.channels = [{ event = \"cue\", share = 1.0 }, { event = \"end\" }]"],
        ),
        set(
            "more channels than inputs",
            &["model.rsnn.input.poisson = { n = 2, channels = [{ event = \"cue\" }, { onset_ms = 0.0 }] }"],
        ),
        set(
            "channels without driven inputs",
            &["model.rsnn.input.poisson = { p_stim = 0.0, channels = [{ event = \"cue\" }] }"],
        ),
        set(
            "an unknown key of a channel",
            &["model.rsnn.input.poisson.channels = [{ evnt = \"cue\" }]"],
        ),
        set(
            "unknown matching method",
            &["loss = [{ trial_matching = { method = \"soft\" } }]"],
        ),
        set(
            "settings of another matching method",
            &["loss = [{ trial_matching = { method = \"energy\", blur = 1.0, updates = 2 } }]"],
        ),
        set(
            "settings of soft matching on hard matching",
            &["loss = [{ trial_matching = { method = \"hard\", exponent = 1.0, debias = true, by_part = true } }]"],
        ),
        set(
            "two blurs",
            &["loss = [{ trial_matching = { method = \"sinkhorn\", blur = 0.1, blur_relative = 1.0 } }]"],
        ),
        set(
            "soft matching out of range",
            &[
                "loss = [{ trial_matching = { method = \"sinkhorn\", blur = 0.0, scaling = 1.0, updates = 0, exponent = 1.5 } }]",
            ],
        ),
        set(
            "energy distance of means",
            &["loss = [{ trial_matching = { method = \"energy\", exponent = 2.0 } }]"],
        ),
        set("negative weight", &["loss = [{ psth = { weight = -1.0 } }]"]),
        set("moment decay one", &["optimizer.adamw.beta2 = 1.0"]),
        set("unknown optimizer", &["optimizer.adam.lr = 1e-3"]),
        set("no steps", &["train.max_steps = 0"]),
        set("steps beyond the counter", &["train.max_steps = 4294967296"]),
        set("checkpoints at no time", &["train.checkpoint_every = \"soon\""]),
        set("checkpoints every zero steps", &["train.checkpoint_every = 0"]),
        set("flag as number", &["train.gradient_splitter = 1"]),
        set("unknown preset", &["preset = \"sourmpis2023\""]),
        set(
            "several problems",
            &[
                "train.max_steps = 0",
                "optimizer.adamw.lr = nan",
                "split.test_fraction = 2",
            ],
        ),
        set("override without value", &["train.max_steps"]),
        set("override with two equals signs", &["train.max_steps = 1 = 2"]),
        set("empty override", &[""]),
        set("override of a text without quotes", &["train.engine = native"]),
        set("override of an unknown key", &["train.maxsteps = 3"]),
    ]
}

#[test]
fn every_invalid_configuration_is_explained_and_exits_with_3() {
    let folder = Folder::new();
    let mut all = String::new();
    for (name, text, overrides) in invalid() {
        folder.write("bad.toml", text.as_bytes());
        let mut arguments = vec!["config", "check", "bad.toml"];
        for text in &overrides {
            arguments.extend(["--set", text]);
        }
        let run = folder.run(&arguments);
        assert_eq!(run.code, 3, "{name}: {}", run.stderr);
        assert_eq!(run.stdout, "", "{name}");
        section(&mut all, name, &run.stderr);
    }
    assert!(!all.contains('\u{1b}'), "a control character reached the terminal");
    insta::assert_snapshot!(all);
}

#[test]
fn what_is_no_configuration_at_all_is_refused_quickly() {
    let folder = Folder::new();
    folder.write("invalid_utf8.toml", b"schema = 1\nseed = \xff\n");
    folder.write("huge.toml", &vec![b'#'; (config::MAX_CONFIG_BYTES + 1) as usize]);
    folder.write("deep_array.toml", format!("x = {}", "[".repeat(500_000)).as_bytes());
    folder.write("deep_table.toml", format!("x = {}", "{a=".repeat(300_000)).as_bytes());
    folder.write("deep_key.toml", format!("{}a = 1", "a.".repeat(400_000)).as_bytes());
    folder.write(
        "many_keys.toml",
        (0..80_000)
            .map(|i| format!("k{i}=1"))
            .collect::<Vec<_>>()
            .join("\n")
            .as_bytes(),
    );
    folder.write(
        "long_line.toml",
        format!("schema = 1{}\nseed = 1 1", " ".repeat(100_000)).as_bytes(),
    );
    folder.write(
        "late_column.toml",
        format!("schema = 1{}= 1", " ".repeat(100_000)).as_bytes(),
    );
    std::fs::create_dir(folder.path("directory.toml")).unwrap();
    let names = [
        "missing.toml",
        "invalid_utf8.toml",
        "huge.toml",
        "deep_array.toml",
        "deep_table.toml",
        "deep_key.toml",
        "many_keys.toml",
        "long_line.toml",
        "late_column.toml",
        "directory.toml",
    ];
    let mut all = String::new();
    for name in names {
        let run = folder.run(&["config", "check", name]);
        assert_eq!(run.code, 3, "{name}: {}", run.stderr);
        assert!(run.seconds < 10.0, "{name} took {} s", run.seconds);
        assert!(run.stderr.len() < 5000, "{name}: {} bytes of error", run.stderr.len());
        section(&mut all, name, &run.stderr);
    }
    insta::assert_snapshot!(all);
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_instead_of_waited_for() {
    let folder = Folder::new();
    let made = std::process::Command::new("mkfifo")
        .arg(folder.path("pipe.toml"))
        .status();
    assert!(
        made.is_ok_and(|status| status.success()),
        "mkfifo is needed for this test"
    );
    let run = folder.run(&["config", "check", "pipe.toml"]);
    assert_eq!(run.code, 3);
    assert!(run.stderr.contains("a pipe or device"), "{}", run.stderr);
}

#[test]
fn a_chunk_on_the_command_line_replaces_the_memory_limit_of_the_file() {
    use snnfit::config::checked::Chunking;
    let text = format!("{MINIMAL}[train]\nmemory_limit = \"4GiB\"\n");
    let chunking = |overrides: &[&str]| load_with(&text, overrides).map(|l| l.experiment.train.chunking);
    assert_eq!(chunking(&[]).unwrap(), Chunking::Memory(4 << 30));
    assert_eq!(chunking(&["train.trial_chunk = 4"]).unwrap(), Chunking::Trials(4));
    assert!(chunking(&["train.trial_chunk = 0"]).is_err());
    assert!(chunking(&["train.trial_chunk = 4", "train.memory_limit = \"1GiB\""]).is_err());
}
