//! The part of the check that concerns `[model.rsnn]`, and the size of a training step.

use super::check::{MAX_COUNT, unknown_trace};
use super::check_channels::{check_channels, check_onsets_ms, warn_outside};
use super::check_projections::check_projections;
use super::checked::{
    Behaviour, Data, Feedback, Input, Latent, LatentKind, MAX_SPIKE_VALUES, PoissonInput, Readout, RecordedInput, Rsnn,
    Steps, Train, spike_values,
};
use super::defaults as d;
use super::raw;
use super::resolver::{Resolver, Rule};

/// Spikes of this many steps are kept of every trial.
const MAX_DELAY_STEPS: usize = 4096;
/// The closed loop remembers the traces of this many steps.
const MAX_LAG_STEPS: usize = 10_000;
/// Most neurons of a model: one weight matrix of this size has 16 GiB.
pub(super) const MAX_NEURONS: u64 = 1 << 16;

pub(super) fn check_rsnn(r: &mut Resolver<'_>, raw: raw::Rsnn, data: &Data) -> Rsnn {
    let bin = data.bin_ms;
    let key = |name: &str| format!("model.rsnn.{name}");
    let n_neurons = r.optional_count(&key("n_neurons"), raw.n_neurons, 1..=MAX_NEURONS);
    let n_hidden = r.count(&key("n_hidden"), raw.n_hidden, 0, 0..=MAX_NEURONS);
    let areas = r.optional(&key("areas"), raw.areas, None);
    if let Some(areas) = &areas {
        r.distinct(&key("areas"), areas);
        if areas.is_empty() {
            r.problem(
                &key("areas"),
                "`model.rsnn.areas` is empty",
                "leave the key out to use all recorded areas",
            );
        }
    }
    let p_exc = r.number(&key("p_exc"), raw.p_exc, d::P_EXC, Rule::Unit);
    let dale = r.value(&key("dale"), raw.dale, None, true);
    let tau_m_exc_ms = r.number(&key("tau_m_exc_ms"), raw.tau_m_exc_ms, d::TAU_M_EXC_MS, Rule::Positive);
    let tau_m_inh_ms = r.number(&key("tau_m_inh_ms"), raw.tau_m_inh_ms, d::TAU_M_INH_MS, Rule::Positive);
    let threshold = r.number(&key("threshold"), raw.threshold, d::THRESHOLD, Rule::Positive);
    let delay = r.steps(&key("delay_ms"), raw.delay_ms, d::DELAY_MS, bin, Rule::Positive);
    let default = if delay.ms > 0.0 && delay.ms.is_finite() {
        delay.ms
    } else {
        d::DELAY_MS
    };
    let max_delay = r.steps(&key("max_delay_ms"), raw.max_delay_ms, default, bin, Rule::Positive);
    at_most(r, &key("delay_ms"), delay, MAX_DELAY_STEPS);
    at_most(r, &key("max_delay_ms"), max_delay, MAX_DELAY_STEPS);
    let n_problems = r.problems.len();
    let delay_groups = r.count(&key("delay_groups"), raw.delay_groups, d::DELAY_GROUPS, 1..=64);
    if r.problems.len() == n_problems && delay.ms > 0.0 && max_delay.ms > 0.0 {
        check_delays(r, delay, max_delay, delay_groups);
    }
    let refractory = r.steps(
        &key("refractory_ms"),
        raw.refractory_ms,
        d::REFRACTORY_MS,
        bin,
        Rule::NonNegative,
    );
    at_most(r, &key("refractory_ms"), refractory, usize::from(u8::MAX));
    let temperature = r.number(&key("temperature"), raw.temperature, d::TEMPERATURE, Rule::Positive);
    let p_scale = r.value(&key("p_scale"), raw.p_scale, None, d::p_scale(bin));
    if raw.p_scale.is_some() || bin > 0.0 {
        r.check_number(&key("p_scale"), p_scale, Rule::Positive, None);
    }
    if p_scale > d::MAX_P_SCALE {
        let message = format!("`model.rsnn.p_scale` = {p_scale} must be at most 1: it scales a probability");
        r.problem(
            &key("p_scale"),
            &message,
            "its default is bin_ms / 2; for wide bins set it yourself",
        );
    }
    Rsnn {
        n_neurons,
        n_hidden,
        p_exc,
        dale,
        tau_m_exc_ms,
        tau_m_inh_ms,
        threshold,
        delay,
        max_delay,
        delay_groups,
        refractory,
        temperature,
        p_scale,
        noise: r.number(&key("noise"), raw.noise, d::NOISE, Rule::NonNegative),
        current_scale: r.number(
            &key("current_scale"),
            raw.current_scale,
            d::CURRENT_SCALE,
            Rule::Positive,
        ),
        surrogate_damping: r.number(
            &key("surrogate_damping"),
            raw.surrogate_damping,
            d::SURROGATE_DAMPING,
            Rule::Positive,
        ),
        warmup: r.steps(&key("warmup_ms"), raw.warmup_ms, d::WARMUP_MS, bin, Rule::NonNegative),
        inter_area: r.value(&key("inter_area"), raw.inter_area, None, raw::InterArea::Excitatory),
        projections: check_projections(r, raw.projections.unwrap_or_default(), dale, areas.as_deref()),
        train_resting_potential: r.value(&key("train_resting_potential"), raw.train_resting_potential, None, true),
        train_noise_gain: r.value(&key("train_noise_gain"), raw.train_noise_gain, None, false),
        input: check_input(r, raw.input, data),
        latent: check_latent(r, raw.latent, data),
        behaviour: check_behaviour(r, raw.behaviour, data, areas.as_deref()),
        areas,
    }
}

/// A time that is kept as at most `most` time steps.
fn at_most(r: &mut Resolver<'_>, key: &str, time: Steps, most: usize) {
    if time.steps > most {
        let message = format!(
            "`{key}` = {} is {} time steps; at most {most} are possible",
            time.ms, time.steps
        );
        r.problem(key, &message, "give a shorter time, or wider bins (data.bin_ms)");
    }
}

fn check_delays(r: &mut Resolver<'_>, delay: Steps, max_delay: Steps, groups: usize) {
    let key = "model.rsnn.max_delay_ms";
    let (shortest, longest) = (delay.steps, max_delay.steps);
    if longest < shortest {
        let message = format!(
            "`{key}` = {} is shorter than `model.rsnn.delay_ms` = {}",
            max_delay.ms, delay.ms
        );
        r.problem(key, &message, "the longest delay must be at least the shortest");
    } else if groups == 1 && longest != shortest {
        let message = format!(
            "one delay group has one delay, but delay_ms = {} and max_delay_ms = {}",
            delay.ms, max_delay.ms
        );
        r.problem(key, &message, "set delay_groups = 2, or make both delays equal");
    } else if groups > 1 && groups - 1 > longest - shortest {
        let message = format!(
            "{groups} delay groups need {groups} different delays, but {} to {} ms are {} time steps",
            delay.ms,
            max_delay.ms,
            longest - shortest + 1
        );
        r.problem(
            "model.rsnn.delay_groups",
            &message,
            "use fewer groups or a longer max_delay_ms",
        );
    }
}

fn check_input(r: &mut Resolver<'_>, raw: Option<raw::Input>, data: &Data) -> Input {
    match raw.unwrap_or_else(|| raw::Input::Poisson(raw::PoissonInput::default())) {
        raw::Input::Poisson(raw) => Input::Poisson(check_poisson(r, raw, data)),
        raw::Input::Recorded(raw) => {
            let key = |name: &str| format!("model.rsnn.input.recorded.{name}");
            let input = RecordedInput {
                lags: r.count(&key("lags"), raw.lags, d::STIMULUS_LAGS, 1..=4096),
                lag_step: r.steps(
                    &key("lag_step_ms"),
                    raw.lag_step_ms,
                    d::STIMULUS_LAG_STEP_MS,
                    data.bin_ms,
                    Rule::Positive,
                ),
                scale: r.number(&key("scale"), raw.scale, 1.0, Rule::Finite),
                offset: r.number(&key("offset"), raw.offset, 0.0, Rule::Finite),
            };
            if input.scale == 0.0 {
                r.problem(
                    &key("scale"),
                    "`model.rsnn.input.recorded.scale` = 0 removes the stimulus",
                    "1.0 keeps it",
                );
            }
            Input::Recorded(input)
        }
    }
}

fn check_poisson(r: &mut Resolver<'_>, raw: raw::PoissonInput, data: &Data) -> PoissonInput {
    let key = |name: &str| format!("model.rsnn.input.poisson.{name}");
    let bin = data.bin_ms;
    let channels = raw.channels.unwrap_or_default();
    let mut input = PoissonInput {
        n: r.count(&key("n"), raw.n, d::N_INPUT, 1..=MAX_COUNT),
        rate_hz: r.number(&key("rate_hz"), raw.rate_hz, d::INPUT_RATE_HZ, Rule::NonNegative),
        p_exc: r.number(&key("p_exc"), raw.p_exc, d::INPUT_P_EXC, Rule::Unit),
        p_stim: r.number(&key("p_stim"), raw.p_stim, d::INPUT_P_STIM, Rule::Unit),
        onsets_ms: check_onsets_ms(r, raw.onsets_ms, !channels.is_empty()),
        channels: Vec::new(),
        delay: r.steps(
            &key("delay_ms"),
            raw.delay_ms,
            d::INPUT_DELAY_MS,
            bin,
            Rule::NonNegative,
        ),
        duration: r.steps(
            &key("duration_ms"),
            raw.duration_ms,
            d::INPUT_DURATION_MS,
            bin,
            Rule::Positive,
        ),
        gain: r.number(&key("gain"), raw.gain, d::INPUT_GAIN, Rule::NonNegative),
        scale: r.value(&key("scale"), raw.scale, None, raw::StimulusScale::Log),
    };
    let per_bin = input.rate_hz * bin / 1000.0;
    if per_bin > 1.0 {
        let message = format!(
            "`{}` = {} is {per_bin} spikes per bin of {bin} ms",
            key("rate_hz"),
            input.rate_hz
        );
        r.problem(&key("rate_hz"), &message, "an input spikes at most once per bin");
    }
    if channels.is_empty() {
        check_onsets(r, &input, data);
    }
    input.channels = check_channels(r, channels, &input, data);
    input
}

fn check_onsets(r: &mut Resolver<'_>, input: &PoissonInput, data: &Data) {
    let key = "model.rsnn.input.poisson.onsets_ms";
    let p_stim = "model.rsnn.input.poisson.p_stim";
    if input.onsets_ms.iter().any(|onset| !onset.is_finite()) {
        r.problem(
            key,
            &format!("`{key}` = {:?} must be finite", input.onsets_ms),
            "times in ms after alignment",
        );
        return;
    }
    if input.onsets_ms.is_empty() && input.p_stim > 0.0 {
        r.problem(
            key,
            &format!("`{key}` is empty but `{p_stim}` = {}", input.p_stim),
            "add an onset or set p_stim = 0",
        );
    }
    let driven = (input.n as f64 * input.p_stim) as usize;
    if input.p_stim > 0.0 && driven < input.onsets_ms.len() {
        let message = format!(
            "{driven} stimulus-driven inputs cannot be divided among {} onsets",
            input.onsets_ms.len()
        );
        r.problem(p_stim, &message, "raise n or p_stim");
    }
    for onset in &input.onsets_ms {
        warn_outside(r, key, *onset, data);
    }
}

fn check_latent(r: &mut Resolver<'_>, raw: Option<raw::Latent>, data: &Data) -> Option<Latent> {
    let (kind, name, raw) = match raw? {
        raw::Latent::Mlp(options) => (LatentKind::Mlp, "mlp", options),
        raw::Latent::Linear(options) => (LatentKind::Linear, "linear", options),
    };
    let key = |option: &str| format!("model.rsnn.latent.{name}.{option}");
    let dimensions = r.count(&key("dimensions"), raw.dimensions, d::LATENT_DIMENSIONS, 1..=4096);
    let bound = r.value(&key("bound"), raw.bound, None, false);
    let init_scale = r.number(&key("init_scale"), raw.init_scale, 1.0, Rule::NonNegative);
    let weight_decay = r.number(&key("weight_decay"), raw.weight_decay, 0.0, Rule::NonNegative);
    let knots_ms = r.value(&key("knots_ms"), raw.knots_ms, None, Vec::new());
    check_knots(r, &key("knots_ms"), &knots_ms, data);
    let from = key("stimulus_from_ms");
    if kind == LatentKind::Linear && raw.stimulus_from_ms.is_some() {
        let message = format!("`{from}` is an option of `[model.rsnn.latent.mlp]`");
        let help = "without a hidden layer every trial would get the same from the stimulus; take mlp";
        r.problem(&from, &message, help);
    }
    let stimulus_from_ms = match kind {
        LatentKind::Mlp => r.optional(&from, raw.stimulus_from_ms, None),
        LatentKind::Linear => None,
    };
    if let Some(after) = stimulus_from_ms
        && !knots_ms.iter().rev().skip(1).any(|knot| *knot == after)
    {
        let message = format!(
            "`{from}` = {after} must be one of `{}`, and not the last",
            key("knots_ms")
        );
        let help =
            "offsets change from this knot to the next; with the time of the stimulus they know nothing of it before";
        r.problem(&from, &message, help);
    }
    Some(Latent {
        kind,
        dimensions,
        bound,
        init_scale,
        weight_decay,
        knots_ms,
        stimulus_from_ms,
    })
}

/// Most knots of the offsets of a trial.
const MOST_KNOTS: usize = 1000;
/// Latest time of a knot, ms.
const LATEST_KNOT_MS: f64 = 1e7;

fn check_knots(r: &mut Resolver<'_>, key: &str, knots: &[f64], data: &Data) {
    let help = "times in ms after alignment, ascending; [] for offsets that are constant in the trial";
    if knots.len() == 1 || knots.len() > MOST_KNOTS {
        let message = format!("`{key}` has {} times; it takes 2 to {MOST_KNOTS}, or none", knots.len());
        r.problem(key, &message, help);
        return;
    }
    let is_time = |knot: &f64| knot.is_finite() && knot.abs() <= LATEST_KNOT_MS;
    if let Some(bad) = knots.iter().find(|knot| !is_time(knot)) {
        r.problem(key, &format!("`{key}` has {bad}, which is no time in a trial"), help);
        return;
    }
    let mut pairs = knots.iter().zip(knots.iter().skip(1));
    if let Some((before, knot)) = pairs.find(|(before, knot)| *knot - *before < data.bin_ms) {
        let message = format!("`{key}` has {knot} after {before}: a knot is a bin or more after the one before");
        r.problem(key, &message, help);
        return;
    }
    // A knot outside of the window still shapes the offset up to its neighbour.
    if let Some([start, stop]) = data.window_ms {
        for (i, knot) in knots.iter().enumerate() {
            let is_unseen =
                knots.get(i + 1).is_some_and(|next| *next <= start) || i > 0 && knots[i - 1] >= stop - data.bin_ms;
            if is_unseen {
                r.warn(&format!(
                    "{key}: nothing in the window [{start}, {stop}) ms depends on the knot at {knot} ms"
                ));
            }
        }
    }
}

fn check_behaviour(
    r: &mut Resolver<'_>,
    raw: Option<raw::Behaviour>,
    data: &Data,
    areas: Option<&[String]>,
) -> Option<Behaviour> {
    let table = "model.rsnn.behaviour";
    let Some(raw) = raw else {
        if !data.behaviour.is_empty() {
            let message = "`data.behaviour` names a trace, but the model has no `[model.rsnn.behaviour]`";
            r.problem(
                "data.behaviour",
                message,
                "add the table with motor_areas, or leave data.behaviour empty",
            );
        }
        return None;
    };
    if data.behaviour.is_empty() {
        let message = "`[model.rsnn.behaviour]` needs a trace in `data.behaviour`";
        r.problem(table, message, "for example behaviour = [\"jaw\"] in [data]");
    }
    let mut own = raw.traces.unwrap_or_default();
    for name in own.keys().filter(|name| !data.behaviour.contains(name)) {
        unknown_trace(r, &format!("{table}.traces.{name}"), name, &data.behaviour);
    }
    let tau_ms = r.number(
        &format!("{table}.tau_ms"),
        raw.tau_ms,
        d::BEHAVIOUR_TAU_MS,
        Rule::Positive,
    );
    let link = r.value(&format!("{table}.link"), raw.link, None, raw::Link::Log);
    let motor_areas = raw.motor_areas.unwrap_or_default();
    let have_own = |name: &String| own.get(name).is_some_and(|trace| trace.motor_areas.is_some());
    let is_needed = data.behaviour.is_empty() || !data.behaviour.iter().all(have_own);
    if motor_areas.is_empty() && is_needed {
        r.missing(
            &format!("{table}.motor_areas"),
            "name the areas that drive the behaviour: motor_areas = [\"ALM\"]",
        );
    }
    check_motor_areas(r, &format!("{table}.motor_areas"), &motor_areas, areas);
    let mut traces = Vec::new();
    for name in &data.behaviour {
        let key = |option: &str| format!("{table}.traces.{name}.{option}");
        let Some(trace) = own.remove(name) else {
            traces.push(Readout {
                motor_areas: motor_areas.clone(),
                tau_ms,
                link,
            });
            continue;
        };
        let own_areas = trace.motor_areas.unwrap_or_else(|| motor_areas.clone());
        if own_areas.is_empty() {
            r.missing(&key("motor_areas"), "name the areas that drive the behaviour");
        }
        check_motor_areas(r, &key("motor_areas"), &own_areas, areas);
        traces.push(Readout {
            motor_areas: own_areas,
            tau_ms: r.number(&key("tau_ms"), trace.tau_ms, tau_ms, Rule::Positive),
            link: r.value(&key("link"), trace.link, None, link),
        });
    }
    let feedback = raw.feedback.map(|raw| check_feedback(r, raw, data.bin_ms));
    Some(Behaviour { traces, feedback })
}

fn check_motor_areas(r: &mut Resolver<'_>, key: &str, motor_areas: &[String], areas: Option<&[String]>) {
    r.distinct(key, motor_areas);
    r.given(key, &motor_areas);
    for area in motor_areas
        .iter()
        .filter(|area| areas.is_some_and(|areas| !areas.contains(area)))
    {
        let message = format!("motor area '{area}' is not one of `model.rsnn.areas`");
        let known = areas.map_or_else(String::new, |areas| areas.join(", "));
        r.problem(key, &message, &format!("the areas are {known}"));
    }
}

fn check_feedback(r: &mut Resolver<'_>, raw: raw::Feedback, bin_ms: f64) -> Feedback {
    let key = |name: &str| format!("model.rsnn.behaviour.feedback.{name}");
    let mut steps = |name: &str, given, default| r.steps(&key(name), given, default, bin_ms, Rule::Positive);
    let first = steps("first_ms", raw.first_ms, d::FEEDBACK_FIRST_MS);
    let last = steps("last_ms", raw.last_ms, d::FEEDBACK_LAST_MS);
    if last.steps < first.steps {
        let message = format!(
            "the longest lag {} ms is shorter than the shortest, {} ms",
            last.ms, first.ms
        );
        r.problem(&key("last_ms"), &message, "raise last_ms or lower first_ms");
    }
    if last.steps > MAX_LAG_STEPS {
        let message = format!(
            "the longest lag is {} steps; at most {MAX_LAG_STEPS} are allowed",
            last.steps
        );
        r.problem(&key("last_ms"), &message, "lags are in ms");
    }
    Feedback { first, last }
}

pub(super) fn check_size(r: &mut Resolver<'_>, data: &Data, model: &Rsnn, train: &Train) {
    let (Some(n), Some(window)) = (model.n_neurons, data.window_steps()) else {
        return;
    };
    let neurons = n.saturating_add(model.n_hidden);
    if neurons as u64 > MAX_NEURONS {
        let message = format!("n_neurons + n_hidden = {neurons} exceeds {MAX_NEURONS}");
        r.problem(
            "model.rsnn.n_hidden",
            &message,
            "a weight matrix of this size has 16 GiB",
        );
    }
    let steps = window.saturating_add(model.warmup.steps);
    let trials = train.n_trials.max(train.validation_trials);
    if spike_values(trials, steps, neurons).is_none() {
        let message = format!(
            "{trials} trials × {steps} time steps × {neurons} neurons exceed {MAX_SPIKE_VALUES} values in one step"
        );
        r.problem(
            "train.n_trials",
            &message,
            "reduce train.n_trials, the window or model.rsnn.n_neurons",
        );
    }
}
