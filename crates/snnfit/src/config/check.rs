//! From [`raw::Config`] to [`Experiment`]: defaults, ranges, and rules between keys. Collects every problem.

use std::collections::BTreeMap;
use std::path::Path;

use super::AnyExperiment;
use super::check_model::{MAX_NEURONS, check_rsnn, check_size};
use super::check_spike_history::{Rest, check_spike_history, refuse};
use super::checked::{
    AdamW, Chunking, CountWindows, Data, Experiment, Interval, Loss, MatchWithin, MatchingTrials, Model, Optimizer,
    SpikeGan, Split, Statistics, TraceRule, Train,
};
use super::defaults as d;
use super::parse::Written;
use super::raw;
use super::resolver::{Resolver, Rule};
use data::{NamedParts, NamedTrials};
use losses::sinkhorn::{Blur, Cost, MAX_SCALING, Sinkhorn};
use losses::trial_loss::Method;

/// Most of anything that is counted per trial or input.
pub(super) const MAX_COUNT: u64 = 1 << 20;
/// Step numbers are 32-bit counters of the random streams.
pub(super) const MAX_STEP: u64 = u32::MAX as u64;

/// Checks the whole configuration; relative paths of the file belong to `directory`, those of `--set` to the working
/// directory. Problems and values are left in the resolver; `None` when there were problems.
pub(super) fn check(r: &mut Resolver<'_>, raw: raw::Config, directory: &Path) -> Option<AnyExperiment> {
    if raw.schema.is_none() {
        r.missing(
            "schema",
            "add `schema = 1` at the top: it is the version of the file format",
        );
    }
    r.fixed("schema", &super::parse::SCHEMA);
    let seed = r.seed("seed", raw.seed, 0);
    let preset = r.optional("preset", raw.preset, None);
    r.set_preset(preset);
    let data = check_data(r, raw.data, directory);
    let split = raw.split.unwrap_or_default();
    let sessions = check_parts(r, split.sessions);
    let split = Split {
        sessions,
        test_fraction: r.number(
            "split.test_fraction",
            split.test_fraction,
            d::TEST_FRACTION,
            Rule::InsideUnit,
        ),
        validation_fraction: r.number(
            "split.validation_fraction",
            split.validation_fraction,
            d::VALIDATION_FRACTION,
            Rule::InsideUnit,
        ),
        seed: r.seed("split.seed", split.seed, d::SPLIT_SEED),
    };
    let model = match raw.model {
        Some(raw::Model::Rsnn(rsnn)) => Some(check_rsnn(r, *rsnn, &data)),
        Some(raw::Model::SpikeHistory(model)) => {
            if preset.is_some() {
                r.problem("preset", "this preset is one of [model.rsnn]", "remove it");
            }
            let rest = Rest {
                seed,
                data,
                split,
                statistics: raw.statistics.unwrap_or_default(),
                losses: raw.loss.unwrap_or_default(),
                optimizer: raw.optimizer,
                train: raw.train.unwrap_or_default(),
            };
            return check_spike_history(r, *model, rest).map(|e| AnyExperiment::SpikeHistory(Box::new(e)));
        }
        None => {
            r.missing("model", "add a table `[model.rsnn]` or `[model.spike_history]`");
            None
        }
    };
    let statistics = check_statistics(r, raw.statistics.unwrap_or_default(), preset, data.bin_ms);
    let losses = check_losses(r, raw.loss.unwrap_or_default(), data.bin_ms);
    check_count_losses(r, &losses, statistics.match_within);
    let optimizer = check_optimizer(r, raw.optimizer, None);
    let train = check_train(r, raw.train.unwrap_or_default());
    if let Some(model) = &model {
        check_size(r, &data, model, &train);
    }
    let model = Model::Rsnn(Box::new(model?));
    if model.is_closed_loop() && train.engine == raw::Engine::Reference {
        r.problem(
            "train.engine",
            "the engine reference has no closed loop",
            "use train.engine = \"native\", or leave [model.rsnn.behaviour.feedback] out",
        );
    }
    let experiment = Experiment {
        seed,
        preset,
        data,
        split,
        model,
        statistics,
        losses,
        optimizer,
        train,
    };
    r.is_clean().then(|| AnyExperiment::Rsnn(Box::new(experiment)))
}

/// Sessions whose parts are named.
fn check_parts(r: &mut Resolver<'_>, raw: Option<BTreeMap<String, raw::SessionParts>>) -> BTreeMap<String, NamedParts> {
    let mut sessions = BTreeMap::new();
    for (name, parts) in raw.unwrap_or_default() {
        let mut part = |part: &str, given: Option<raw::TrialList>| {
            let key = format!("split.sessions.{name}.{part}");
            match r.value(&key, given, None, raw::TrialList::These(Vec::new())) {
                raw::TrialList::All => NamedTrials::All,
                raw::TrialList::These(trials) => {
                    NamedTrials::These(trials.into_iter().map(|trial| trial as usize).collect())
                }
            }
        };
        let parts = NamedParts {
            test: part("test", parts.test),
            validation: part("validation", parts.validation),
        };
        sessions.insert(name, parts);
    }
    sessions
}

fn check_data(r: &mut Resolver<'_>, raw: Option<raw::Data>, directory: &Path) -> Data {
    let raw = raw.unwrap_or_default();
    let names = raw.files.unwrap_or_default();
    if names.is_empty() {
        r.missing("data.files", "name at least one recording: files = [\"recording.h5\"]");
    }
    r.distinct("data.files", &names);
    let base = match r.written("data.files") {
        Some(Written::Set) => std::env::current_dir().unwrap_or_else(|_| directory.to_owned()),
        _ => std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned()),
    };
    r.given("data.files", &names);
    let files = names.iter().map(|name| base.join(name)).collect();
    if raw.bin_ms.is_none() {
        r.missing("data.bin_ms", "give the width of a time step in ms, e.g. bin_ms = 2.0");
    }
    // NaN stands for a missing or wrong bin: rules that need it are skipped, the problem itself is reported already.
    let bin_ms = raw.bin_ms.unwrap_or(f64::NAN);
    if raw.bin_ms.is_some() {
        r.given("data.bin_ms", &bin_ms);
        r.check_number("data.bin_ms", bin_ms, Rule::Positive, None);
    }
    let bin_ms = if bin_ms > 0.0 && bin_ms.is_finite() {
        bin_ms
    } else {
        f64::NAN
    };
    let window_ms = r.optional("data.window_ms", raw.window_ms, None);
    let window_ms = window_ms.and_then(|window| check_window(r, &window, bin_ms));
    let sessions = r.optional("data.sessions", raw.sessions, None);
    if let Some(sessions) = &sessions {
        r.distinct("data.sessions", sessions);
        if sessions.is_empty() {
            r.problem(
                "data.sessions",
                "`data.sessions` is empty",
                "leave the key out to use all sessions",
            );
        }
    }
    let behaviour = r.value("data.behaviour", raw.behaviour, None, Vec::new());
    r.distinct("data.behaviour", &behaviour);
    let traces = check_traces(r, raw.traces.unwrap_or_default(), &behaviour);
    let max_rate_hz = r.optional("data.max_rate_hz", raw.max_rate_hz, d::max_rate_hz(r.preset()));
    if let Some(rate) = max_rate_hz {
        r.check_number("data.max_rate_hz", rate, Rule::Positive, None);
    }
    Data {
        files,
        bin_ms,
        window_ms,
        sessions,
        behaviour,
        traces,
        max_rate_hz,
    }
}

/// Rules of the traces in the order of `data.behaviour`.
fn check_traces(
    r: &mut Resolver<'_>,
    mut raw: BTreeMap<String, raw::TraceRule>,
    behaviour: &[String],
) -> Vec<TraceRule> {
    for name in raw.keys().filter(|name| !behaviour.contains(name)) {
        unknown_trace(r, &format!("data.traces.{name}"), name, behaviour);
    }
    let of_name = |name: &String| {
        raw.remove(name)
            .map(|rule| check_trace(r, name, &rule))
            .unwrap_or_default()
    };
    behaviour.iter().map(of_name).collect()
}

/// Says that a table is for a trace that isn't fitted.
pub(super) fn unknown_trace(r: &mut Resolver<'_>, key: &str, name: &str, behaviour: &[String]) {
    let message = format!("`{key}` is for a trace that `data.behaviour` doesn't name");
    let help = match behaviour {
        [] => format!("add behaviour = [\"{name}\"] to [data], or leave the table out"),
        names => format!("the traces are {}", names.join(", ")),
    };
    r.problem(key, &message, &help);
}

fn check_trace(r: &mut Resolver<'_>, name: &str, raw: &raw::TraceRule) -> TraceRule {
    let key = |option: &str| format!("data.traces.{name}.{option}");
    let baseline = r.value(&key("baseline"), raw.baseline, None, raw::Baseline::None);
    let window = r.optional(&key("baseline_ms"), raw.baseline_ms.clone(), None);
    let baseline_ms = match window.as_deref() {
        None => None,
        Some(&[start, stop]) if start.is_finite() && stop.is_finite() && start < stop => Some([start, stop]),
        Some(_) => {
            let message = format!("`{}` is not a time from start to stop", key("baseline_ms"));
            let help = "write [start, stop] in ms relative to the alignment event, for example [-200.0, 0.0]";
            r.problem(&key("baseline_ms"), &message, help);
            None
        }
    };
    if baseline_ms.is_some() && baseline == raw::Baseline::None {
        let message = format!("`{}` without a baseline has no effect", key("baseline_ms"));
        let help = format!(
            "add {} = \"trial\" (or \"session\"), or leave the key out",
            key("baseline")
        );
        r.problem(&key("baseline_ms"), &message, &help);
    }
    let factor = r.number(&key("factor"), raw.factor, 1.0, Rule::Finite);
    if factor == 0.0 {
        let message = format!("`{}` = 0 leaves nothing of the trace", key("factor"));
        r.problem(
            &key("factor"),
            &message,
            "write -1.0 to turn it over, or leave the key out",
        );
    }
    TraceRule {
        baseline,
        baseline_ms,
        scale: r.value(&key("scale"), raw.scale, None, raw::TraceScale::None),
        factor,
    }
}

fn check_window(r: &mut Resolver<'_>, window: &[f64], bin_ms: f64) -> Option<[f64; 2]> {
    const KEY: &str = "data.window_ms";
    let &[start, stop] = window else {
        let message = format!("`{KEY}` has {} numbers; expected 2", window.len());
        r.problem(
            KEY,
            &message,
            "write [start, stop] in ms relative to the alignment event",
        );
        return None;
    };
    if !start.is_finite() || !stop.is_finite() {
        r.problem(
            KEY,
            &format!("`{KEY}` = [{start}, {stop}] must be finite"),
            "leave the key out for whole trials",
        );
    } else if start >= stop {
        let message = format!("`{KEY}` = [{start}, {stop}] must start before it stops");
        r.problem(
            KEY,
            &message,
            "the window is [start, stop] in ms relative to the alignment event",
        );
    } else if bin_ms > 0.0 {
        let bins = (stop - start) / bin_ms;
        if bins < 0.5 || (bins - bins.round()).abs() > 1e-6 * bins.max(1.0) {
            let message =
                format!("`{KEY}` = [{start}, {stop}] has {bins} bins of {bin_ms} ms; a whole number is needed");
            let fitting = start + bins.round().max(1.0) * bin_ms;
            r.problem(KEY, &message, &format!("for example [{start}, {fitting}]"));
        }
    }
    Some([start, stop])
}

fn check_statistics(
    r: &mut Resolver<'_>,
    raw: raw::Statistics,
    preset: Option<raw::Preset>,
    bin_ms: f64,
) -> Statistics {
    let of_other = [
        ("skip_ms", raw.skip_ms.is_some()),
        ("count_windows_ms", raw.count_windows_ms.is_some()),
    ];
    refuse(r, "statistics", &of_other, "model.spike_history");
    let (within, trials) = (d::match_within(preset), d::matching_trials(preset));
    let min_neurons = raw.min_neurons_per_area;
    Statistics {
        smooth: r.steps(
            "statistics.smooth_ms",
            raw.smooth_ms,
            d::SMOOTH_MS,
            bin_ms,
            Rule::Positive,
        ),
        stride: r.steps(
            "statistics.stride_ms",
            raw.stride_ms,
            d::STRIDE_MS,
            bin_ms,
            Rule::Positive,
        ),
        trial_resample: r.count(
            "statistics.trial_resample",
            raw.trial_resample,
            d::TRIAL_RESAMPLE,
            1..=4096,
        ),
        min_neurons_per_area: r.count(
            "statistics.min_neurons_per_area",
            min_neurons,
            d::MIN_NEURONS_PER_AREA,
            1..=MAX_NEURONS,
        ),
        min_spikes: check_min_spikes(r, raw.min_spikes, preset),
        min_presence: r.number("statistics.min_presence", raw.min_presence, d::MIN_PRESENCE, Rule::Unit),
        match_within: r.value(
            "statistics.match_within",
            raw.match_within,
            within,
            MatchWithin::Stimulus,
        ),
        matching_trials: r.value(
            "statistics.matching_trials",
            raw.matching_trials,
            trials,
            MatchingTrials::Random,
        ),
    }
}

fn check_min_spikes(r: &mut Resolver<'_>, given: Option<u64>, preset: Option<raw::Preset>) -> u64 {
    const KEY: &str = "statistics.min_spikes";
    let spikes = r.value(KEY, given, d::min_spikes(preset), d::MIN_SPIKES);
    r.check_count(KEY, spikes, &(0..=MAX_COUNT));
    spikes
}

fn check_losses(r: &mut Resolver<'_>, raw: Vec<raw::Loss>, bin_ms: f64) -> Vec<Loss> {
    if raw.is_empty() {
        r.missing(
            "loss",
            "add at least one loss: [[loss]] on one line, `psth = { weight = 10.0 }` on the next",
        );
    }
    let mut losses: Vec<Loss> = Vec::new();
    for (i, raw) in raw.into_iter().enumerate() {
        let key = |name: &str| format!("loss[{i}].{name}");
        let loss = match raw {
            raw::Loss::Psth(raw) => Loss::Psth {
                weight: r.number(&key("psth.weight"), raw.weight, d::PSTH_WEIGHT, Rule::Positive),
            },
            raw::Loss::TrialMatching(raw) => Loss::TrialMatching {
                weight: r.number(
                    &key("trial_matching.weight"),
                    raw.weight,
                    d::TRIAL_MATCHING_WEIGHT,
                    Rule::Positive,
                ),
                method: check_matching(r, &key("trial_matching"), &raw),
            },
            raw::Loss::FiringRate(raw) => Loss::FiringRate {
                weight: r.number(
                    &key("firing_rate.weight"),
                    raw.weight,
                    d::FIRING_RATE_WEIGHT,
                    Rule::Positive,
                ),
            },
            raw::Loss::TrialMatchedLikelihood(raw) => Loss::TrialMatchedLikelihood {
                weight: r.number(
                    &key("trial_matched_likelihood.weight"),
                    raw.weight,
                    d::TRIAL_MATCHED_LIKELIHOOD_WEIGHT,
                    Rule::Positive,
                ),
            },
            raw::Loss::SpikeGan(raw) => {
                let key = |name: &str| key(&format!("spike_gan.{name}"));
                Loss::SpikeGan(SpikeGan {
                    weight: r.number(&key("weight"), raw.weight, d::SPIKE_GAN_WEIGHT, Rule::Positive),
                    every: r.count_u64(&key("every"), raw.every, d::SPIKE_GAN_EVERY, 1..=1_000_000),
                    lr: r.number(&key("lr"), raw.lr, d::LR, Rule::Positive),
                    weight_decay: r.number(
                        &key("weight_decay"),
                        raw.weight_decay,
                        d::SPIKE_GAN_WEIGHT_DECAY,
                        Rule::NonNegative,
                    ),
                })
            }
            raw::Loss::CountVariance(raw) => Loss::CountVariance {
                weight: r.number(
                    &key("count_variance.weight"),
                    raw.weight,
                    d::COUNT_VARIANCE_WEIGHT,
                    Rule::Positive,
                ),
                windows: check_count_windows(r, &key("count_variance"), &raw, bin_ms),
            },
            raw::Loss::CountCovariance(raw) => Loss::CountCovariance {
                weight: r.number(
                    &key("count_covariance.weight"),
                    raw.weight,
                    d::COUNT_COVARIANCE_WEIGHT,
                    Rule::Positive,
                ),
                windows: check_count_windows(r, &key("count_covariance"), &raw, bin_ms),
            },
            raw::Loss::Likelihood(_)
            | raw::Loss::SingleTrial(_)
            | raw::Loss::PsthCrossEntropy(_)
            | raw::Loss::NoiseCovariance(_)
            | raw::Loss::CoincidenceCrossEntropy(_)
            | raw::Loss::HiddenRate(_) => {
                let at = format!("loss[{i}]");
                let message = format!("`{at}` is a loss of [model.spike_history]");
                let help = "take psth, trial_matching, firing_rate, trial_matched_likelihood, spike_gan, count_variance or \
                            count_covariance";
                r.problem(&at, &message, help);
                continue;
            }
        };
        if losses.iter().any(|earlier| earlier.name() == loss.name()) {
            let message = format!("the loss `{}` is listed twice", loss.name());
            r.problem(&format!("loss[{i}]"), &message, "keep one and add up the weights");
        }
        losses.push(loss);
    }
    losses
}

/// Losses of counts are of trials of the same stimulus: among others what the stimulus does would be variability.
fn check_count_losses(r: &mut Resolver<'_>, losses: &[Loss], within: MatchWithin) {
    let is_of_counts = |loss: &&Loss| matches!(loss, Loss::CountVariance { .. } | Loss::CountCovariance { .. });
    let Some(loss) = losses.iter().find(is_of_counts) else {
        return;
    };
    if within != MatchWithin::Stimulus {
        let message = format!(
            "the loss `{}` compares trials of the same stimulus, and `statistics.match_within` puts several together",
            loss.name()
        );
        let help = "set statistics.match_within = \"stimulus\", or leave the loss out";
        r.problem("statistics.match_within", &message, help);
    }
}

/// Where spikes are counted.
fn check_count_windows(r: &mut Resolver<'_>, at: &str, raw: &raw::CountCovariance, bin_ms: f64) -> CountWindows {
    let key = format!("{at}.windows_ms");
    let lengths = r.value(&key, raw.windows_ms.clone(), None, d::COUNT_WINDOWS_MS.to_vec());
    let whole_trial = r.value(&format!("{at}.whole_trial"), raw.whole_trial, None, true);
    if lengths.is_empty() && !whole_trial {
        let message = format!("`{key}` is empty, and `{at}.whole_trial` = false: no spikes are counted");
        r.problem(&key, &message, "give windows, or leave it out for the default");
    }
    CountWindows {
        lengths: r.count_windows(&key, &lengths, bin_ms),
        whole_trial,
    }
}

const OTHER_METHOD: &str = "remove it, or change the method (with --set, write the whole list: 'loss = [...]')";

/// The method of the trial loss with its own settings; those of another method are refused, not ignored.
fn check_matching(r: &mut Resolver<'_>, at: &str, raw: &raw::TrialMatching) -> Method {
    let key = |name: &str| format!("{at}.{name}");
    let method = r.value(&key("method"), raw.method, None, d::MATCHING_METHOD);
    let is_sinkhorn = method == raw::MatchingMethod::Sinkhorn;
    let of_sinkhorn = [
        ("blur", raw.blur.is_some()),
        ("blur_relative", raw.blur_relative.is_some()),
        ("scaling", raw.scaling.is_some()),
        ("updates", raw.updates.is_some()),
        ("debias", raw.debias.is_some()),
    ];
    for (name, _) in of_sinkhorn.iter().filter(|(_, is_given)| *is_given && !is_sinkhorn) {
        let message = format!("`{}` belongs to method = \"sinkhorn\"", key(name));
        r.problem(&key(name), &message, OTHER_METHOD);
    }
    if raw.by_part.is_some() && method != raw::MatchingMethod::Energy {
        let message = format!("`{}` belongs to method = \"energy\"", key("by_part"));
        r.problem(&key("by_part"), &message, OTHER_METHOD);
    }
    match method {
        raw::MatchingMethod::Hard => {
            if raw.exponent.is_some() {
                let message = format!("`{}` belongs to method = \"sinkhorn\" or \"energy\"", key("exponent"));
                r.problem(&key("exponent"), &message, OTHER_METHOD);
            }
            Method::Hard
        }
        raw::MatchingMethod::Energy => {
            let exponent = r.number(&key("exponent"), raw.exponent, d::MATCHING_EXPONENT, Rule::Positive);
            if exponent >= 2.0 {
                let message = format!(
                    "`{}` = {exponent} must be below 2 for method = \"energy\"",
                    key("exponent")
                );
                r.problem(&key("exponent"), &message, "with 2, only the means would be compared");
            }
            Method::Energy {
                exponent,
                by_part: r.value(&key("by_part"), raw.by_part, None, false),
            }
        }
        raw::MatchingMethod::Sinkhorn => {
            let exponent = r.value(&key("exponent"), raw.exponent, None, d::MATCHING_EXPONENT);
            let cost = match exponent {
                1.0 => Cost::Distance,
                2.0 => Cost::HalfSquare,
                _ => {
                    let message = format!(
                        "`{}` = {exponent} must be 1 or 2 for method = \"sinkhorn\"",
                        key("exponent")
                    );
                    r.problem(
                        &key("exponent"),
                        &message,
                        "1 for the distance of two trials, 2 for half its square",
                    );
                    Cost::Distance
                }
            };
            Method::Sinkhorn(Sinkhorn {
                cost,
                blur: check_blur(r, at, raw),
                scaling: check_scaling(r, &key("scaling"), raw.scaling),
                updates: r.count(&key("updates"), raw.updates, d::SINKHORN_UPDATES, 1..=10_000),
                debias: r.value(&key("debias"), raw.debias, None, true),
            })
        }
    }
}

fn check_scaling(r: &mut Resolver<'_>, key: &str, given: Option<f64>) -> f64 {
    let scaling = r.number(key, given, d::SINKHORN_SCALING, Rule::InsideUnit);
    if scaling > MAX_SCALING && scaling < 1.0 {
        let message = format!("`{key}` = {scaling} must be at most {MAX_SCALING}");
        r.problem(key, &message, &format!("the default is {}", d::SINKHORN_SCALING));
    }
    scaling
}

fn check_blur(r: &mut Resolver<'_>, at: &str, raw: &raw::TrialMatching) -> Blur {
    let (absolute, relative) = (format!("{at}.blur"), format!("{at}.blur_relative"));
    if raw.blur.is_some() && raw.blur_relative.is_some() {
        let message = format!("`{absolute}` and `{relative}` are both given");
        r.problem(&relative, &message, "keep one of them");
    }
    let preset = match raw.blur_relative {
        None => d::blur(r.preset()),
        Some(_) => None,
    };
    if let Some(blur) = r.optional(&absolute, raw.blur, preset) {
        r.check_number(&absolute, blur, Rule::Positive, preset);
        return Blur::Absolute(blur);
    }
    Blur::Relative(r.number(&relative, raw.blur_relative, d::BLUR_RELATIVE, Rule::Positive))
}

/// `l1`: its default where it isn't that of synapses under Dale's law.
pub(super) fn check_optimizer(r: &mut Resolver<'_>, raw: Option<raw::Optimizer>, l1: Option<f64>) -> Optimizer {
    let raw::Optimizer::AdamW(raw) = raw.unwrap_or_else(|| raw::Optimizer::AdamW(raw::AdamW::default()));
    let key = |name: &str| format!("optimizer.adamw.{name}");
    let lr = r.number(&key("lr"), raw.lr, d::LR, Rule::Positive);
    let lr_final = r.optional(&key("lr_final"), raw.lr_final, None);
    if let Some(last) = lr_final {
        r.check_number(&key("lr_final"), last, Rule::NonNegative, None);
        if last > lr {
            let message = format!("`{}` = {last} is above `{}` = {lr}", key("lr_final"), key("lr"));
            r.problem(
                &key("lr_final"),
                &message,
                "the learning rate falls: lower lr_final, or raise lr",
            );
        }
    }
    Optimizer::AdamW(AdamW {
        lr,
        lr_final,
        beta1: r.number(&key("beta1"), raw.beta1, d::BETA1, Rule::BelowOne),
        beta2: r.number(&key("beta2"), raw.beta2, d::BETA2, Rule::BelowOne),
        epsilon: r.number(&key("epsilon"), raw.epsilon, d::EPSILON, Rule::Positive),
        weight_decay: r.number(
            &key("weight_decay"),
            raw.weight_decay,
            d::WEIGHT_DECAY,
            Rule::NonNegative,
        ),
        l1: r.number(&key("l1"), raw.l1, l1.unwrap_or(d::L1), Rule::NonNegative),
    })
}

fn check_chunking(r: &mut Resolver<'_>, memory_limit: Option<raw::Bytes>, trial_chunk: Option<u64>) -> Chunking {
    let limit = r.optional("train.memory_limit", memory_limit, None);
    let chunk = r.optional("train.trial_chunk", trial_chunk, None);
    match (limit, chunk) {
        (None, None) => Chunking::Whole,
        (None, Some(trials)) => {
            r.check_count("train.trial_chunk", trials, &(1..=MAX_COUNT));
            Chunking::Trials(trials as usize)
        }
        (Some(raw::Bytes(bytes)), None) => {
            if bytes == 0 {
                r.problem(
                    "train.memory_limit",
                    "`train.memory_limit` is nothing",
                    "write e.g. \"4GiB\"",
                );
            }
            Chunking::Memory(bytes)
        }
        // The command line replaces what the file says, as a run does whose device ran out of memory.
        (Some(_), Some(trials))
            if r.written("train.trial_chunk") == Some(Written::Set)
                && r.written("train.memory_limit") != Some(Written::Set) =>
        {
            r.check_count("train.trial_chunk", trials, &(1..=MAX_COUNT));
            Chunking::Trials(trials as usize)
        }
        (Some(_), Some(_)) => {
            let message = "`train.trial_chunk` and `train.memory_limit` both say how many trials are simulated at once";
            r.problem("train.trial_chunk", message, "keep one of them");
            Chunking::Whole
        }
    }
}

fn check_train(r: &mut Resolver<'_>, raw: raw::Train) -> Train {
    let key = |name: &str| format!("train.{name}");
    let train = Train {
        n_trials: r.count(&key("n_trials"), raw.n_trials, d::N_TRIALS, 1..=MAX_COUNT),
        max_steps: r.count_u64(&key("max_steps"), raw.max_steps, d::MAX_STEPS, 1..=MAX_STEP),
        gradient_splitter: r.value(&key("gradient_splitter"), raw.gradient_splitter, None, true),
        balance_trial_types: r.value(&key("balance_trial_types"), raw.balance_trial_types, None, false),
        validate_every: r.count_u64(
            &key("validate_every"),
            raw.validate_every,
            d::VALIDATE_EVERY,
            1..=MAX_STEP,
        ),
        validation_trials: r.count(
            &key("validation_trials"),
            raw.validation_trials,
            d::VALIDATION_TRIALS,
            1..=MAX_COUNT,
        ),
        patience: r.count_u64(&key("patience"), raw.patience, d::PATIENCE, 1..=MAX_STEP),
        checkpoint_every: r.value(
            &key("checkpoint_every"),
            raw.checkpoint_every,
            None,
            Interval::Steps(d::CHECKPOINT_EVERY),
        ),
        log_every: r.count_u64(&key("log_every"), raw.log_every, d::LOG_EVERY, 1..=MAX_STEP),
        max_skipped: r.count_u64(&key("max_skipped"), raw.max_skipped, d::MAX_SKIPPED, 0..=MAX_STEP),
        engine: r.value(&key("engine"), raw.engine, None, raw::Engine::Native),
        chunking: check_chunking(r, raw.memory_limit, raw.trial_chunk),
    };
    if let Interval::Steps(steps) = train.checkpoint_every {
        r.check_count(&key("checkpoint_every"), steps, &(1..=MAX_STEP));
    }
    train
}
