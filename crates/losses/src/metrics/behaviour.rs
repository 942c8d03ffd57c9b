//! What single behaviour traces say: whether an animal moved, and whether it licked.

use std::ops::Range;

use ndarray::{ArrayView1, ArrayView2};

use crate::LossError;
use crate::error::check_positive;
use crate::statistics::{median, unbiased_variance};

/// Steps of the trace that are this many times larger than in the baseline are movement. Source: the publication.
const ACTIVE_FACTOR: f64 = 4.0;
/// Standard deviation of the window that a trace is smoothed with before its steps are judged, ms: licks (7 Hz) keep 91 % of
/// their height, the noise of samples at 500 Hz keeps 2 % of its steps.
const SMOOTHING_MS: f64 = 10.0;
/// Half of that window, in its standard deviations.
const HALF_WINDOW: f64 = 3.0;
/// Median of the absolute value of a standard normal number.
const NORMAL_MEDIAN: f64 = 0.674_489_750_196_081_7;
/// Steps of baselines below which their size isn't estimated.
const LEAST_STEPS: usize = 20;

/// Tells active from quiet trials of one session: the trace, smoothed, moves faster in the delay than it does by chance.
///
/// $$\max_{t \in \text{delay}} |\bar y_t - \bar y_{t-1}| > 4\,\sigma, \quad
///   \sigma = \mathrm{median}_{k,\,t \in \text{baseline}} |\bar y_{kt} - \bar y_{k,t-1}| / 0.6745$$
///
/// where $\bar y$ is the trace under a Gaussian window (standard deviation 10 ms, cut at 3), of bins inside of baseline and
/// delay alone, and σ the standard deviation of a step of quiet baselines: a median, so that up to half of them may hold
/// movement. Where most baseline steps are 0, as of a camera that sees nothing, it is their root mean square.
///
/// # Source
/// Sourmpis et al. 2023 (specification §1.18); baseline: the 200 ms before the stimulus.
///
/// # Departures
/// Published: $\max_t |y_t - y_{t-1}| > 4\,\mathrm{std}_t |y_t - y_{t-1}|$ of the samples as they are, each trial by its own
/// baseline. Of noise that is independent from sample to sample the absolute steps have 0.60 of the standard deviation of the
/// steps, so that the threshold is 2.4 of these, which one of 500 steps (1 s) exceeds in 98 % of trials. Smoothing alone
/// leaves 62 to 99 % of them active, for windows from 10 to 40 ms; with the standard deviation of the steps of each trial's
/// own baseline, which smoothing leaves hardly ten independent values of, it is 18 %; with that of all trials 1 %.
#[derive(Debug, Clone, PartialEq)]
pub struct MovementRule {
    window: Vec<f64>,
    threshold: f64,
    n_steps: usize,
}

impl MovementRule {
    /// From the traces of a session's (training) trials; `None` if their baselines have fewer than 20 finite steps.
    ///
    /// # Shapes
    /// `traces` `[K, T]`; `baseline` is a range of its bins.
    ///
    /// # Units
    /// `bin_ms`: ms.
    ///
    /// # Errors
    /// [`LossError::Parameter`] for a width of bins that is not finite and positive.
    pub fn new(traces: &ArrayView2<'_, f64>, baseline: Range<usize>, bin_ms: f64) -> Result<Option<Self>, LossError> {
        check_positive("bin width (ms)", bin_ms)?;
        let window = gaussian(SMOOTHING_MS / bin_ms);
        let of_trial = |trace: ArrayView1<'_, f64>| steps(&trace, baseline.clone(), &window).unwrap_or_default();
        let steps: Vec<f64> = traces.outer_iter().flat_map(of_trial).collect();
        if steps.len() < LEAST_STEPS {
            return Ok(None);
        }
        let typical = median(&steps).unwrap_or(0.0) / NORMAL_MEDIAN;
        let sigma = if typical > 0.0 {
            typical
        } else {
            (steps.iter().map(|step| step * step).sum::<f64>() / steps.len() as f64).sqrt()
        };
        Ok(Some(Self {
            window,
            threshold: ACTIVE_FACTOR * sigma,
            n_steps: steps.len(),
        }))
    }

    /// Largest change of the smoothed trace from one bin to the next that is none, 4 σ, in the trace's unit.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// Steps of baselines that it is from.
    pub fn n_steps(&self) -> usize {
        self.n_steps
    }

    /// Whether a trial is active; `None` where the delay is shorter than the window and two bins (62 ms at 2 ms a bin), or
    /// a value in it isn't finite.
    ///
    /// # Shapes
    /// `trace` `[T]`, in bins as wide as those of the baselines; `delay` is a range of its bins.
    pub fn is_active(&self, trace: &ArrayView1<'_, f64>, delay: Range<usize>) -> Option<bool> {
        let steps = steps(trace, delay, &self.window)?;
        Some(steps.into_iter().fold(0.0, f64::max) > self.threshold)
    }
}

/// Whether a trial is active by the published rule: the largest step of the trace in the delay is above four standard
/// deviations of its steps in the trial's own baseline.
///
/// $$\max_{t \in \text{delay}} |y_t - y_{t-1}| > 4\,\mathrm{std}_{t \in \text{baseline}} |y_t - y_{t-1}|$$
///
/// It takes nearly all trials of noise for active ones ([`MovementRule`] says why); to be set beside published shares.
/// `None` for fewer than three bins of baseline or two of the delay, or where a value in them isn't finite.
///
/// # Shapes
/// `trace` `[T]`; `baseline` and `delay` are ranges of its bins.
///
/// # Source
/// Sourmpis et al. 2023 (specification §1.18); the standard deviation without bias.
pub fn is_active_as_published(
    trace: &ArrayView1<'_, f64>,
    baseline: Range<usize>,
    delay: Range<usize>,
) -> Option<bool> {
    let unsmoothed = [1.0];
    let of_baseline = steps(trace, baseline, &unsmoothed)?;
    let of_delay = steps(trace, delay, &unsmoothed)?;
    let deviation = unbiased_variance(&of_baseline).sqrt();
    deviation
        .is_finite()
        .then(|| of_delay.into_iter().fold(0.0, f64::max) > ACTIVE_FACTOR * deviation)
}

/// A Gaussian window with this standard deviation in bins; its sum is 1.
fn gaussian(deviation: f64) -> Vec<f64> {
    let half = (HALF_WINDOW * deviation).ceil() as i64;
    let weights: Vec<f64> = (-half..=half)
        .map(|i| (-0.5 * (i as f64 / deviation).powi(2)).exp())
        .collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// Sizes of the steps of a trace smoothed inside of a range; `None` without any, or if one isn't finite.
fn steps(trace: &ArrayView1<'_, f64>, range: Range<usize>, window: &[f64]) -> Option<Vec<f64>> {
    let values: Vec<f64> = range.map(|t| trace.get(t).copied()).collect::<Option<_>>()?;
    let smooth = |values: &[f64]| -> f64 { values.iter().zip(window).map(|(value, weight)| value * weight).sum() };
    let smoothed: Vec<f64> = values.windows(window.len()).map(smooth).collect();
    let steps: Vec<f64> = smoothed.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    (!steps.is_empty() && steps.iter().all(|step| step.is_finite())).then_some(steps)
}

/// The threshold between values of two groups: the one with the best balanced accuracy, halfway between two values.
///
/// Values above it are taken for positive ones. `None` without both groups; of several best ones the lowest.
pub fn best_threshold(values: &[f64], is_positive: &[bool]) -> Option<f64> {
    let mut sorted: Vec<(f64, bool)> = values.iter().copied().zip(is_positive.iter().copied()).collect();
    sorted.retain(|(value, _)| value.is_finite());
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let n_positive = sorted.iter().filter(|s| s.1).count();
    let n_negative = sorted.len() - n_positive;
    if n_positive == 0 || n_negative == 0 {
        return None;
    }
    let (mut below_positive, mut below_negative) = (0usize, 0usize);
    let mut best = (f64::NEG_INFINITY, f64::NAN);
    for pair in sorted.windows(2) {
        below_positive += usize::from(pair[0].1);
        below_negative += usize::from(!pair[0].1);
        let accuracy = 0.5
            * ((n_positive - below_positive) as f64 / n_positive as f64 + below_negative as f64 / n_negative as f64);
        if pair[1].0 > pair[0].0 && accuracy > best.0 {
            best = (accuracy, f64::midpoint(pair[0].0, pair[1].0));
        }
    }
    best.1.is_finite().then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, Array2};
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;
    use rand_distr::{Distribution, StandardNormal};

    const BIN_MS: f64 = 2.0;
    const BASELINE: Range<usize> = 0..100;
    const DELAY: Range<usize> = 100..600;

    /// Independent normal noise of deviation 0.1, `[K, 600]`.
    fn noise(n_trials: usize, seed: u64) -> Array2<f64> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        Array2::from_shape_simple_fn((n_trials, 600), || {
            let z: f64 = StandardNormal.sample(&mut rng);
            0.1 * z
        })
    }

    fn share_active(rule: &MovementRule, traces: &Array2<f64>) -> f64 {
        let active = |trace: ArrayView1<'_, f64>| rule.is_active(&trace, DELAY).unwrap();
        traces.outer_iter().filter(|trace| active(*trace)).count() as f64 / traces.nrows() as f64
    }

    /// The published rule, in the function and written out once more.
    fn share_active_as_published(traces: &Array2<f64>) -> f64 {
        let active = |trace: ArrayView1<'_, f64>| {
            let step = |t: usize| (trace[t] - trace[t - 1]).abs();
            let of_baseline: Vec<f64> = BASELINE.skip(1).map(step).collect();
            let mean = of_baseline.iter().sum::<f64>() / of_baseline.len() as f64;
            let squares: f64 = of_baseline.iter().map(|step| (step - mean).powi(2)).sum();
            let limit = 4.0 * (squares / (of_baseline.len() - 1) as f64).sqrt();
            let is_active = DELAY.skip(1).any(|t| step(t) > limit);
            assert_eq!(is_active_as_published(&trace, BASELINE, DELAY), Some(is_active));
            is_active
        };
        traces.outer_iter().filter(|trace| active(*trace)).count() as f64 / traces.nrows() as f64
    }

    #[test]
    fn the_published_rule_needs_two_steps_of_baseline_and_one_of_the_delay() {
        let trace = Array1::from_vec(vec![0.0, 1.0, 1.0, 7.0, f64::NAN]);
        let of = |baseline: Range<usize>, delay: Range<usize>| is_active_as_published(&trace.view(), baseline, delay);
        // Steps of 1 and 0: deviation 1/sqrt 2, four of which are 2.8.
        assert_eq!(of(0..3, 2..4), Some(true));
        assert_eq!(of(0..3, 1..3), Some(false));
        assert_eq!((of(0..2, 2..4), of(0..3, 3..4)), (None, None));
        assert_eq!((of(0..3, 2..5), of(0..3, 2..9)), (None, None));
    }

    #[test]
    fn noise_is_quiet_and_a_movement_is_not_though_the_published_rule_takes_both_for_movement() {
        // The same noise in baseline and delay.
        let rule = MovementRule::new(&noise(100, 1).view(), BASELINE, BIN_MS)
            .unwrap()
            .unwrap();
        let quiet = noise(1000, 2);
        // Crossings of 4 deviations by a smooth normal process: twice 9.7 a second times exp(−8), in 0.94 s: 0.6 %; σ is
        // known to 2 %. More than 2.5 % are six deviations of the count.
        let share = share_active(&rule, &quiet);
        assert!(share < 0.025, "{share}");
        assert!(share_active_as_published(&quiet) > 0.95);
        // Rises by 1 in 100 ms: by 0.02 from sample to sample, a fifth of the noise of one.
        let ramp = |t: usize| (t as f64 - 300.0).clamp(0.0, 50.0) / 50.0;
        let mut moving = quiet;
        for ((_, t), value) in moving.indexed_iter_mut() {
            *value += ramp(t);
        }
        let share = share_active(&rule, &moving);
        assert!(share > 0.95, "{share}");
        // Movement in a third of the baselines: the median of the others is a higher quantile, 1.7 times, and a movement
        // twice as fast is still one.
        let mut restless = noise(100, 1);
        for (k, mut trace) in restless.outer_iter_mut().enumerate() {
            if k % 3 == 0 {
                (0..100).for_each(|t| trace[t] += 3.0 * (t as f64 / 8.0).sin());
            }
        }
        let loose = MovementRule::new(&restless.view(), BASELINE, BIN_MS).unwrap().unwrap();
        let factor = loose.threshold() / rule.threshold();
        assert!((1.2..2.0).contains(&factor), "{factor}");
        for ((_, t), value) in moving.indexed_iter_mut() {
            *value += ramp(t);
        }
        assert!(share_active(&loose, &moving) > 0.95);
        // The scale of the trace doesn't matter.
        let tenfold = MovementRule::new(&(noise(100, 1) * 10.0).view(), BASELINE, BIN_MS)
            .unwrap()
            .unwrap();
        assert!((tenfold.threshold() / rule.threshold() - 10.0).abs() < 1e-9);
    }

    #[test]
    fn the_threshold_is_four_deviations_of_a_step_of_the_smoothed_trace() {
        let rule = MovementRule::new(&noise(2000, 3).view(), BASELINE, BIN_MS)
            .unwrap()
            .unwrap();
        // A Gaussian window of s = 5 bins leaves steps of deviation 0.1/√(4 √π s³) (of the window's derivative).
        let expected = 4.0 * 0.1 / (4.0 * std::f64::consts::PI.sqrt() * 125.0).sqrt();
        assert!(
            (rule.threshold() / expected - 1.0).abs() < 0.02,
            "{} {expected}",
            rule.threshold()
        );
        assert_eq!(rule.n_steps(), 2000 * (100 - 31));
        // A ramp of that slope is quiet, a steeper one isn't: smoothing leaves slopes as they are.
        for (factor, expected) in [(0.999, false), (1.001, true)] {
            let ramp = Array1::from_shape_fn(600, |t| t as f64 * factor * rule.threshold());
            assert_eq!(rule.is_active(&ramp.view(), DELAY), Some(expected));
        }
        // A trace that never moves in the baseline: any movement is one.
        let still = MovementRule::new(&Array2::zeros((3, 600)).view(), BASELINE, BIN_MS)
            .unwrap()
            .unwrap();
        assert_eq!(still.is_active(&Array1::zeros(600).view(), DELAY), Some(false));
        assert_eq!(
            still.is_active(&Array1::from_iter((0..600).map(|t| f64::from(t / 300))).view(), DELAY),
            Some(true)
        );
    }

    #[test]
    fn what_is_too_short_or_not_finite_is_not_judged() {
        let traces = noise(10, 4);
        let rule = |traces: &Array2<f64>, baseline| MovementRule::new(&traces.view(), baseline, BIN_MS).unwrap();
        assert!(rule(&traces, 0..31).is_none(), "one value each");
        assert!(rule(&traces, 0..33).is_some() && rule(&traces, 590..640).is_none());
        assert!(MovementRule::new(&traces.view(), BASELINE, 0.0).is_err());
        let whole = rule(&traces, BASELINE).unwrap();
        let mut trace = traces.row(0).to_owned();
        assert!(whole.is_active(&trace.view(), 100..131).is_none());
        assert!(whole.is_active(&trace.view(), 100..132).is_some());
        assert!(whole.is_active(&trace.view(), 500..601).is_none());
        trace[300] = f64::NAN;
        assert!(whole.is_active(&trace.view(), DELAY).is_none());
        // Bins wider than the window: steps between bins.
        let wide = MovementRule::new(&traces.view(), BASELINE, 50.0).unwrap().unwrap();
        assert_eq!(wide.n_steps(), 10 * (100 - 3));
    }

    #[test]
    fn the_threshold_has_the_best_balanced_accuracy() {
        let values = [0.0, 1.0, 2.0, 3.0, 10.0, 4.0, f64::NAN];
        let positive = [false, false, true, true, true, false, true];
        // Above 1.5: 3 of 3 positive, 2 of 3 negative; above 4: 1 of 3, 3 of 3.
        assert_eq!(best_threshold(&values, &positive), Some(1.5));
        assert_eq!(best_threshold(&values[..2], &positive[..2]), None);
        assert_eq!(best_threshold(&[1.0, 1.0], &[true, false]), None);
    }
}
