//! Bringing recorded behaviour to the units that are compared: `(trace − baseline)/scale · factor`.

use data::BinnedSession;
use ndarray::{Array2, Axis, s};

use crate::config::checked::{Baseline, Data, TraceRule, TraceScale};
use crate::fit_error::FitError;

/// A standard deviation below it doesn't scale a trace: the trace is constant.
const LEAST_STD: f64 = 1e-12;

/// Applies the rules of `[data.traces.…]` to the traces of a session. What a session's baseline and scale are comes from
/// its training trials alone; all trials are transformed.
///
/// The baseline is the mean over the bins of `baseline_ms`, of the trial or of the training trials. The scale is the root
/// of the mean over time of the variance over training trials (specification §1.14). NaN stays NaN and counts nowhere.
///
/// # Errors
/// [`FitError::TraceRule`] for a baseline outside of the window, or a trace that doesn't vary and can't be scaled.
pub fn apply(data: &Data, session: &mut BinnedSession, train: &[usize]) -> Result<(), FitError> {
    let (start_ms, bin_ms) = (session.start_ms, session.bin_ms);
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
            subtract_baseline(trace, rule.baseline, first as usize..last as usize, train);
        }
        let scale = match rule.scale {
            TraceScale::None => 1.0,
            TraceScale::Session => standard_deviation(trace, train),
        };
        if scale.is_nan() || scale < LEAST_STD {
            return Err(fail(
                "it has no variance over training trials to be scaled by".to_owned(),
            ));
        }
        trace.mapv_inplace(|value| (f64::from(value) / scale * rule.factor) as f32);
    }
    Ok(())
}

fn subtract_baseline(trace: &mut Array2<f32>, baseline: Baseline, bins: std::ops::Range<usize>, train: &[usize]) {
    let of_trial = |k: usize| mean(trace.slice(s![k, bins.clone()]).iter().map(|v| f64::from(*v)));
    let baselines: Vec<f64> = match baseline {
        Baseline::None => return,
        Baseline::Trial => (0..trace.nrows()).map(of_trial).collect(),
        Baseline::Session => {
            let of_train = trace.select(Axis(0), train);
            let values = of_train.slice(s![.., bins]);
            vec![mean(values.iter().map(|v| f64::from(*v))); trace.nrows()]
        }
    };
    for (mut row, baseline) in trace.outer_iter_mut().zip(baselines) {
        row.mapv_inplace(|value| (f64::from(value) - baseline) as f32);
    }
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
        subtract_baseline(&mut of_trial, Baseline::Trial, 0..2, &[0, 1]);
        assert_eq!(of_trial.row(0).to_vec(), [-1.0, 1.0, 5.0]);
        assert!(of_trial[[1, 2]].is_nan() && of_trial[[2, 0]] == -50.0);
        let mut of_session = recorded.clone();
        subtract_baseline(&mut of_session, Baseline::Session, 0..2, &[0, 1]);
        // The mean of 1, 3, 2, 4; the third trial is no training trial.
        assert_eq!(of_session.row(0).to_vec(), [-1.5, 0.5, 4.5]);
        assert_eq!(of_session[[2, 0]], 97.5);
    }

    #[test]
    fn the_scale_is_the_root_of_the_mean_variance_over_trials() {
        let trace = array![[1.0f32, 5.0, f32::NAN], [3.0, 5.0, f32::NAN], [50.0, 1.0, 2.0]];
        // Variances 1 and 0 over the first two trials; the third bin has no value.
        assert!((standard_deviation(&trace, &[0, 1]) - 0.5f64.sqrt()).abs() < 1e-12);
        assert!(standard_deviation(&trace, &[]).is_nan());
    }
}
