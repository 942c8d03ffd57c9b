//! Bringing recorded behaviour to the units that are compared: `(trace − baseline)/scale · factor`.

use std::collections::BTreeMap;
use std::ops::Range;

use data::BinnedSession;
use ndarray::{Array2, Axis, s};

use crate::config::checked::{Baseline, Data, TraceRule, TraceScale};
use crate::fit_error::FitError;

/// A standard deviation below it doesn't scale a trace: the trace is constant.
const LEAST_STD: f64 = 1e-12;

/// The units of a session's trace, by its training trials.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TraceUnits {
    /// The session's baseline, where the rule has one.
    baseline: Option<f64>,
    /// What the trace is divided by.
    scale: f64,
}

/// Traces whose standard deviation over trials is beyond this factor from 1 are told: matching compares them with population
/// features, whose standard deviation is 1.
const TOLD_SCALE: f64 = 4.0;

/// Applies the rules of `[data.traces.…]` to the traces of a session. What a session's baseline and scale are comes from
/// its training trials alone; all trials are transformed.
///
/// The baseline is the mean over the bins of `baseline_ms`, of the trial or of the training trials. The scale is the root
/// of the mean over time of the variance over training trials (specification §1.14). NaN stays NaN and counts nowhere.
///
/// Returned are sentences about trials that lose the trace because they have no baseline, and the units by name of the
/// trace, for [`apply_known`].
///
/// # Errors
/// [`FitError::TraceRule`] for a baseline outside of the window or without values, or a trace that doesn't vary and can't
/// be scaled.
pub fn apply(
    data: &Data,
    session: &mut BinnedSession,
    train: &[usize],
) -> Result<(Vec<String>, BTreeMap<String, TraceUnits>), FitError> {
    let mut units = BTreeMap::new();
    let warnings = apply_with(data, session, |name, trace, rule, bins| {
        let baseline = (rule.baseline == Baseline::Session).then(|| session_baseline(trace, bins.clone(), train));
        let mut centred = trace.clone();
        subtract_baseline(&mut centred, rule.baseline, bins, baseline);
        let scale = match rule.scale {
            TraceScale::None => 1.0,
            TraceScale::Session => standard_deviation(&centred, train),
        };
        let of_trace = TraceUnits { baseline, scale };
        units.insert(name.to_owned(), of_trace);
        Some(of_trace)
    })?;
    Ok((warnings, units))
}

/// Sentences about traces that single-trial matching would weigh much more or less than population activity: their
/// standard deviation over training trials (as [`apply`] has it, after it) is far from 1. One for each trace.
pub fn odd_scales<'a>(
    data: &Data,
    sessions: impl Iterator<Item = (&'a BinnedSession, &'a [usize])> + Clone,
) -> Vec<String> {
    let mut told = Vec::new();
    for name in &data.behaviour {
        let of_session = |(session, train): (&'a BinnedSession, &'a [usize])| {
            let sd = standard_deviation(session.behaviour.get(name)?, train);
            let is_odd = sd.is_finite() && sd > 0.0 && !(1.0 / TOLD_SCALE..=TOLD_SCALE).contains(&sd);
            is_odd.then_some((session.id.as_str(), sd))
        };
        let odd: Vec<(&str, f64)> = sessions.clone().filter_map(of_session).collect();
        let Some((id, sd)) = odd.iter().max_by(|a, b| a.1.ln().abs().total_cmp(&b.1.ln().abs())) else {
            continue;
        };
        let share = match odd.len() {
            1 => String::new(),
            n => format!(" (the furthest of {n} sessions)"),
        };
        told.push(format!(
            "behaviour '{name}': its standard deviation over trials is {} in session '{id}'{share}, that of population activity is 1, so that \
             matching single trials counts it {} times as much; to have it count alike: `data.traces.{name}.scale = \"session\"`",
            crate::findings::number(*sd),
            crate::findings::number(sd * sd)
        ));
    }
    told
}

/// What a rule makes of a recorded trace, as a formula in words.
pub fn in_words(rule: &TraceRule) -> String {
    let centred = match rule.baseline {
        Baseline::None => "recorded".to_owned(),
        Baseline::Trial => "(recorded - mean of the trial's baseline)".to_owned(),
        Baseline::Session => "(recorded - mean of the session's baseline)".to_owned(),
    };
    let scaled = match rule.scale {
        TraceScale::None => centred,
        TraceScale::Session => format!("{centred} / standard deviation over the session's training trials"),
    };
    if (rule.factor - 1.0).abs() > 0.0 {
        format!("{scaled} * {}", rule.factor)
    } else {
        scaled
    }
}

/// The same with the units of another recording of the same session. Traces that those don't know are taken away: there
/// is nothing to compare them with.
///
/// # Errors
/// As [`apply`].
pub fn apply_known(
    data: &Data,
    session: &mut BinnedSession,
    units: &BTreeMap<String, TraceUnits>,
) -> Result<Vec<String>, FitError> {
    let rules = data.behaviour.iter().zip(&data.traces);
    for (name, _) in rules.filter(|(name, rule)| **rule != TraceRule::default() && !units.contains_key(*name)) {
        session.behaviour.remove(name);
    }
    apply_with(data, session, |name, _, _, _| units.get(name).copied())
}

/// Applies the rules with the units that `units_of` says for a trace, its rule and the bins of its baseline.
fn apply_with(
    data: &Data,
    session: &mut BinnedSession,
    mut units_of: impl FnMut(&str, &Array2<f32>, &TraceRule, Range<usize>) -> Option<TraceUnits>,
) -> Result<Vec<String>, FitError> {
    let (start_ms, bin_ms) = (session.start_ms, session.bin_ms);
    let mut warnings = Vec::new();
    for (name, rule) in data.behaviour.iter().zip(&data.traces) {
        if *rule == TraceRule::default() {
            continue;
        }
        let Some(trace) = session.behaviour.get_mut(name) else {
            continue;
        };
        let fail = |reason: String| FitError::TraceRule {
            trace: name.clone(),
            session: session.id.clone(),
            reason,
        };
        if trace.iter().all(|value| !value.is_finite()) {
            continue;
        }
        let n_bins = trace.ncols();
        let mut bins = 0..0;
        if rule.baseline != Baseline::None {
            let [from, to] = rule.baseline_ms.unwrap_or([start_ms, 0.0]);
            let bin = |ms: f64| ((ms - start_ms) / bin_ms).round();
            let (first, last) = (bin(from), bin(to));
            if first < 0.0 || last > n_bins as f64 || first >= last {
                let end_ms = start_ms + n_bins as f64 * bin_ms;
                return Err(fail(format!(
                    "the baseline from {from} to {to} ms is not within the window from {start_ms} to {end_ms} ms"
                )));
            }
            bins = first as usize..last as usize;
        }
        let Some(units) = units_of(name, trace, rule, bins.clone()) else {
            continue;
        };
        if rule.baseline != Baseline::None {
            let [from, to] = [bins.start, bins.end].map(|bin| start_ms + bin as f64 * bin_ms);
            let n_lost = subtract_baseline(trace, rule.baseline, bins, units.baseline);
            if trace.iter().all(|value| !value.is_finite()) {
                return Err(fail(format!("it has no values from {from} to {to} ms, its baseline")));
            }
            if n_lost > 0 {
                warnings.push(format!(
                    "session '{}': behaviour '{name}' has no values from {from} to {to} ms, its baseline, in {n_lost} trials: \
                     they count as trials without it",
                    session.id
                ));
            }
        }
        let scale = units.scale;
        if scale.is_nan() || scale < LEAST_STD {
            return Err(fail(
                "it has no variance over training trials to be scaled by".to_owned(),
            ));
        }
        trace.mapv_inplace(|value| (f64::from(value) / scale * rule.factor) as f32);
    }
    Ok(warnings)
}

/// Mean over these bins of the training trials.
fn session_baseline(trace: &Array2<f32>, bins: Range<usize>, train: &[usize]) -> f64 {
    let of_train = trace.select(Axis(0), train);
    let values = of_train.slice(s![.., bins]);
    mean(values.iter().map(|v| f64::from(*v)))
}

/// The number of trials that had values before and have none now.
fn subtract_baseline(
    trace: &mut Array2<f32>,
    baseline: Baseline,
    bins: Range<usize>,
    of_session: Option<f64>,
) -> usize {
    let of_trial = |k: usize| mean(trace.slice(s![k, bins.clone()]).iter().map(|v| f64::from(*v)));
    let baselines: Vec<f64> = match baseline {
        Baseline::None => return 0,
        Baseline::Trial => (0..trace.nrows()).map(of_trial).collect(),
        Baseline::Session => vec![of_session.unwrap_or(f64::NAN); trace.nrows()],
    };
    let mut n_lost = 0;
    for (mut row, baseline) in trace.outer_iter_mut().zip(baselines) {
        n_lost += usize::from(baseline.is_nan() && row.iter().any(|value| value.is_finite()));
        row.mapv_inplace(|value| (f64::from(value) - baseline) as f32);
    }
    n_lost
}

/// Mean of the finite values; NaN without any.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values
        .filter(|v| v.is_finite())
        .fold((0.0, 0usize), |(sum, n), v| (sum + v, n + 1));
    sum / n as f64
}

/// Root of the mean over bins of the (biased) variance over these trials; bins without a value count nowhere.
fn standard_deviation(trace: &Array2<f32>, trials: &[usize]) -> f64 {
    let chosen = trace.select(Axis(0), trials);
    let variances = chosen.axis_iter(Axis(1)).map(|at_bin| {
        let centre = mean(at_bin.iter().map(|v| f64::from(*v)));
        mean(at_bin.iter().map(|v| (f64::from(*v) - centre).powi(2)))
    });
    mean(variances).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn baselines_are_those_of_the_trial_or_of_the_training_trials() {
        let recorded = array![[1.0f32, 3.0, 7.0], [2.0, 4.0, f32::NAN], [100.0, 200.0, 300.0]];
        let mut of_trial = recorded.clone();
        subtract_baseline(&mut of_trial, Baseline::Trial, 0..2, None);
        assert_eq!(of_trial.row(0).to_vec(), [-1.0, 1.0, 5.0]);
        assert!(of_trial[[1, 2]].is_nan() && of_trial[[2, 0]] == -50.0);
        let mut of_session = recorded.clone();
        let baseline = session_baseline(&recorded, 0..2, &[0, 1]);
        subtract_baseline(&mut of_session, Baseline::Session, 0..2, Some(baseline));
        // The mean of 1, 3, 2, 4; the third trial is no training trial.
        assert_eq!(of_session.row(0).to_vec(), [-1.5, 0.5, 4.5]);
        assert_eq!(of_session[[2, 0]], 97.5);
    }

    #[test]
    fn what_a_rule_makes_of_a_trace_is_said_in_words() {
        assert_eq!(in_words(&TraceRule::default()), "recorded");
        let rule = TraceRule {
            baseline: Baseline::Trial,
            baseline_ms: None,
            scale: TraceScale::Session,
            factor: -0.5,
        };
        let expected =
            "(recorded - mean of the trial's baseline) / standard deviation over the session's training trials * -0.5";
        assert_eq!(in_words(&rule), expected);
    }

    #[test]
    fn the_scale_is_the_root_of_the_mean_variance_over_trials() {
        let trace = array![[1.0f32, 5.0, f32::NAN], [3.0, 5.0, f32::NAN], [50.0, 1.0, 2.0]];
        // Variances 1 and 0 over the first two trials; the third bin has no value.
        assert!((standard_deviation(&trace, &[0, 1]) - 0.5f64.sqrt()).abs() < 1e-12);
        assert!(standard_deviation(&trace, &[]).is_nan());
    }

    fn with_rule(rule: TraceRule) -> Data {
        Data {
            files: Vec::new(),
            bin_ms: 2.0,
            window_ms: None,
            sessions: None,
            behaviour: vec!["whisker".to_owned(), "jaw".to_owned()],
            traces: vec![TraceRule::default(), rule],
            max_rate_hz: None,
        }
    }

    fn session(id: &str, trace: Array2<f32>) -> BinnedSession {
        BinnedSession {
            id: id.to_owned(),
            bin_ms: 2.0,
            start_ms: -4.0,
            spikes: ndarray::Array3::zeros((trace.nrows(), trace.ncols(), 0)),
            valid_bins: vec![trace.ncols(); trace.nrows()],
            presence: None,
            units: Vec::new(),
            rates_hz: Vec::new(),
            trials: Vec::new(),
            event_ms: BTreeMap::new(),
            values: BTreeMap::new(),
            behaviour: [("jaw".to_owned(), trace)].into(),
            movies: None,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn traces_that_weigh_much_more_or_less_than_population_activity_are_told_once() {
        // Standard deviations over trials 0.5, 20 and 50.
        let trace = array![[1.0f32, 2.0], [2.0, 3.0]];
        let sessions = [
            session("a", trace.clone()),
            session("b", &trace * 40.0),
            session("c", &trace * 100.0),
        ];
        let told = |n: usize| {
            let train: Vec<(&BinnedSession, &[usize])> = sessions[..n].iter().map(|s| (s, &[0, 1][..])).collect();
            odd_scales(&with_rule(TraceRule::default()), train.into_iter())
        };
        assert_eq!(told(1), Vec::<String>::new());
        let [one] = &told(3)[..] else { panic!("{:?}", told(3)) };
        assert!(
            one.contains("'jaw'")
                && one.contains("is 50 in session 'c' (the furthest of 2 sessions)")
                && one.contains("counts it 2500 times")
                && one.contains("`data.traces.jaw.scale = \"session\"`"),
            "{one}"
        );
    }

    /// Applies a rule to one session with this trace, from −4 ms on in bins of 2 ms.
    fn applied(rule: TraceRule, trace: Array2<f32>, train: &[usize]) -> Result<(Array2<f32>, Vec<String>), FitError> {
        let data = with_rule(rule);
        let mut session = session("s", trace);
        let again = session.clone();
        let (warnings, units) = apply(&data, &mut session, train)?;
        // Another recording with the same traces comes to the same, without a look at its training trials.
        let mut known = again;
        assert_eq!(apply_known(&data, &mut known, &units)?, warnings);
        let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
        assert!(known.behaviour["jaw"].iter().zip(&session.behaviour["jaw"]).all(same));
        assert_eq!(units.len(), usize::from(rule != TraceRule::default()));
        let nothing = BTreeMap::new();
        apply_known(&data, &mut known, &nothing)?;
        assert_eq!(known.behaviour.contains_key("jaw"), rule == TraceRule::default());
        Ok((session.behaviour["jaw"].clone(), warnings))
    }

    #[test]
    fn a_rule_subtracts_its_baseline_divides_by_its_scale_and_multiplies_by_its_factor() {
        let rule = TraceRule {
            baseline: Baseline::Trial,
            baseline_ms: None,
            scale: TraceScale::Session,
            factor: -3.0,
        };
        // Less the mean of the first two bins: (−1, 1, 4) and (−1, 1, 8); variances 0, 0 and 4, scale √(4/3).
        let trace = array![[1.0f32, 3.0, 6.0], [2.0, 4.0, 11.0]];
        let (found, warnings) = applied(rule, trace, &[0, 1]).unwrap();
        let scale = (4.0f64 / 3.0).sqrt();
        for (found, expected) in found.iter().zip([-1.0, 1.0, 4.0, -1.0, 1.0, 8.0]) {
            assert!(
                (f64::from(*found) + 3.0 * expected / scale).abs() < 1e-6,
                "{found} {expected}"
            );
        }
        assert!(warnings.is_empty());
    }

    #[test]
    fn trials_without_a_baseline_are_told_and_a_session_without_any_is_an_error() {
        let rule = |baseline| TraceRule {
            baseline,
            ..TraceRule::default()
        };
        // A camera that starts late.
        let late = array![[f32::NAN, f32::NAN, 6.0], [2.0, 4.0, 11.0]];
        let (found, warnings) = applied(rule(Baseline::Trial), late.clone(), &[0, 1]).unwrap();
        assert!(found.row(0).iter().all(|v| v.is_nan()) && found[[1, 2]] == 8.0);
        assert!(
            warnings[0].contains("from -4 to 0 ms, its baseline, in 1 trials"),
            "{warnings:?}"
        );
        for baseline in [Baseline::Trial, Baseline::Session] {
            let error = applied(rule(baseline), late.clone().select(Axis(0), &[0]), &[0]).unwrap_err();
            assert!(
                error
                    .to_string()
                    .ends_with("it has no values from -4 to 0 ms, its baseline"),
                "{error}"
            );
        }
        // The session's baseline is that of the training trials.
        assert!(applied(rule(Baseline::Session), late.clone(), &[0]).is_err());
        assert!(applied(rule(Baseline::Session), late, &[1]).unwrap().1.is_empty());
    }
}
