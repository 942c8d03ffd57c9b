//! Logistic regression of each neuron on the recorded spikes of the last bins: what is predictable without a stimulus.

use std::ops::Range;

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};
use ndarray::{Array1, Array2, ArrayView1, Axis, s};
use rayon::prelude::*;

use super::recorded::{Recorded, RecordedSession};
use crate::assembly::Part;
use crate::fit_error::FitError;

/// Most weights of a neuron: the matrix of their products is held and factored once.
const MOST_WEIGHTS: usize = 4000;
/// Most weights of all neurons: some tens of vectors of as many are held.
const MOST_OF_ALL: usize = 2_000_000;
/// Most products that are expected in all, some minutes of one core.
const MOST_PRODUCTS: f64 = 2e11;
/// Passes over the training trials that are expected.
const PASSES: f64 = 30.0;
/// Ridge, in spikes: a weight that no spike speaks for stays 0.
const RIDGE: f64 = 1.0;
const MOST_PASSES: usize = 100;
/// What the next step would gain at most, of the log-likelihood, where a neuron is done.
const TOLERANCE: f64 = 1e-8;
/// Least part of what the slope promises that a step must gain.
const SUFFICIENT: f64 = 1e-4;
const SHORTEST_STEP: f64 = 1e-6;
/// Steps that L-BFGS remembers.
const REMEMBERED: usize = 8;
/// Parts that a pass is cut into: sums are the same for any number of threads.
const CHUNKS: usize = 16;

/// Fitted weights of all visible neurons.
#[derive(Debug)]
pub(crate) struct HistoryOnly {
    /// `[1 + neurons·lags, neurons]`: the biases, then `1 + neuron·lags + lag − 1`.
    weights: Array2<f64>,
    lags: usize,
}

/// A neuron on its way to the maximum.
struct Climb {
    weights: DVector<f64>,
    /// Of the penalised negative log-likelihood, as is its gradient.
    value: f64,
    gradient: DVector<f64>,
    direction: DVector<f64>,
    step: f64,
    /// Steps and differences of gradients, oldest first.
    memory: Vec<(DVector<f64>, DVector<f64>)>,
    /// p(1 − p) at the mean rate, by which the shared curvature is scaled.
    variance: f64,
    is_done: bool,
}

impl HistoryOnly {
    /// Fits the training trials, or says why that would take too long or found no maximum.
    ///
    /// The log-likelihood minus `½ RIDGE Σ w²` (without the bias) is maximised for all neurons at once by L-BFGS (Nocedal & Wright
    /// 2006, algorithm 7.4), whose first curvature is that of the shared regressors at each neuron's mean rate.
    ///
    /// # Errors
    /// A matrix that can't be inverted, which the ridge rules out.
    pub(crate) fn fit(recorded: &Recorded, lags: usize) -> Result<Result<Self, String>, FitError> {
        let n = recorded.neurons.len();
        let m = 1 + n * lags;
        if m > MOST_WEIGHTS {
            return Ok(Err(format!(
                "neurons × lags are {} weights of each, more than {MOST_WEIGHTS}",
                m - 1
            )));
        }
        if m * n > MOST_OF_ALL {
            return Ok(Err(format!(
                "{n} neurons have {} weights, more than {MOST_OF_ALL}",
                m * n
            )));
        }
        let products = products(recorded, lags);
        if products > MOST_PRODUCTS {
            return Ok(Err(format!(
                "it would take about {products:.0e} products of weights and spikes, more than {MOST_PRODUCTS:.0e}"
            )));
        }
        let rates = recorded.rates();
        let bounded: Vec<f64> = rates.iter().map(|rate| rate.clamp(1e-6, 1.0 - 1e-6)).collect();
        let variances: Vec<f64> = bounded.iter().map(|rate| rate * (1.0 - rate)).collect();
        let ridge = RIDGE * n as f64 / variances.iter().sum::<f64>();
        let Some(curvature) = shared_curvature(recorded, lags, ridge).cholesky() else {
            return Err(FitError::Internal {
                what: "the curvature of a logistic regression isn't positive".to_owned(),
            });
        };
        let mut weights = Array2::zeros((m, n));
        for (neuron, rate) in bounded.iter().enumerate() {
            weights[[0, neuron]] = (rate / (1.0 - rate)).ln();
        }
        let (values, gradients) = pass(recorded, lags, &weights);
        let mut climbs: Vec<Climb> = (0..n)
            .map(|neuron| {
                let mut climb = Climb {
                    weights: vector(weights.column(neuron)),
                    value: values[neuron],
                    gradient: vector(gradients.column(neuron)),
                    direction: DVector::zeros(m),
                    step: 1.0,
                    memory: Vec::new(),
                    variance: variances[neuron],
                    is_done: false,
                };
                climb.turn(&curvature);
                // A neuron that never fires, or in every bin, has no maximum: its bias would go on forever.
                climb.is_done |= !(0.0 < rates[neuron] && rates[neuron] < 1.0);
                climb
            })
            .collect();
        for _ in 0..MOST_PASSES {
            if climbs.iter().all(|climb| climb.is_done || climb.step < SHORTEST_STEP) {
                break;
            }
            for (mut column, climb) in weights.axis_iter_mut(Axis(1)).zip(&climbs) {
                let tried = climb.tried();
                column.iter_mut().zip(tried.iter()).for_each(|(to, w)| *to = *w);
            }
            let (values, gradients) = pass(recorded, lags, &weights);
            climbs.par_iter_mut().enumerate().for_each(|(neuron, climb)| {
                if !climb.is_done && climb.step >= SHORTEST_STEP {
                    climb.take(values[neuron], vector(gradients.column(neuron)), &curvature);
                }
            });
        }
        // What a step would still gain is small against what is compared with it.
        let is_far = |climb: &Climb| {
            let gain = -climb.gradient.dot(&climb.direction);
            !(climb.is_done || gain < 1e-4 * climb.value.abs().max(1.0))
        };
        if let Some(neuron) = climbs.iter().position(is_far) {
            return Ok(Err(format!(
                "no maximum was found for neuron {}",
                recorded.neurons[neuron]
            )));
        }
        for (mut column, climb) in weights.axis_iter_mut(Axis(1)).zip(&climbs) {
            column.iter_mut().zip(climb.weights.iter()).for_each(|(to, w)| *to = *w);
        }
        Ok(Ok(Self { weights, lags }))
    }

    /// Probabilities of a spike of each neuron of the model in some bins of a trial, given the recorded spikes before, `[bins, N]`.
    pub(crate) fn probabilities(&self, session: &RecordedSession, trial: usize, bins: Range<usize>) -> Array2<f64> {
        let fired = Fired::of(session, trial, bins.start.saturating_sub(self.lags), bins.end);
        let mut u = Array2::zeros((bins.len(), self.weights.ncols()));
        for (mut u, bin) in u.outer_iter_mut().zip(bins) {
            u.assign(&self.weights.row(0));
            fired.for_each_before(bin, self.lags, |place| u += &self.weights.row(place));
        }
        u.mapv_into(sigmoid)
    }
}

impl Climb {
    fn tried(&self) -> DVector<f64> {
        if self.is_done || self.step < SHORTEST_STEP {
            self.weights.clone()
        } else {
            &self.weights + self.step * &self.direction
        }
    }

    /// Takes the step that was tried, or halves it.
    fn take(&mut self, value: f64, gradient: DVector<f64>, curvature: &Cholesky<f64, Dyn>) {
        let slope = self.gradient.dot(&self.direction);
        let gains = value <= self.value + SUFFICIENT * self.step * slope;
        if !gains {
            self.step *= 0.5;
            return;
        }
        let step = self.step * &self.direction;
        let change = &gradient - &self.gradient;
        self.weights += &step;
        (self.value, self.gradient) = (value, gradient);
        if step.dot(&change) > 0.0 {
            if self.memory.len() == REMEMBERED {
                self.memory.remove(0);
            }
            self.memory.push((step, change));
        }
        self.turn(curvature);
    }

    /// The direction of the next step.
    fn turn(&mut self, curvature: &Cholesky<f64, Dyn>) {
        let mut q = self.gradient.clone();
        let mut parts = Vec::with_capacity(self.memory.len());
        for (step, change) in self.memory.iter().rev() {
            let part = step.dot(&q) / step.dot(change);
            q.axpy(-part, change, 1.0);
            parts.push(part);
        }
        let mut r = curvature.solve(&q) / self.variance;
        for ((step, change), part) in self.memory.iter().zip(parts.into_iter().rev()) {
            let back = change.dot(&r) / step.dot(change);
            r.axpy(part - back, step, 1.0);
        }
        self.is_done = self.gradient.dot(&r) < TOLERANCE * self.value.abs().max(1.0);
        (self.direction, self.step) = (-r, 1.0);
    }
}

fn vector(of: ArrayView1<'_, f64>) -> DVector<f64> {
    DVector::from_iterator(of.len(), of.iter().copied())
}

fn sigmoid(u: f64) -> f64 {
    1.0 / (1.0 + (-u).exp())
}

/// Who fired in each bin of a trial.
struct Fired {
    /// The first bin.
    from: usize,
    /// Place of the first neuron of each bin, and after the last.
    firsts: Vec<usize>,
    neurons: Vec<usize>,
}

impl Fired {
    /// In the bins of a trial up to `until`; of those before `from` nothing is known.
    fn of(session: &RecordedSession, trial: usize, from: usize, until: usize) -> Self {
        let spikes = session.spikes.slice(s![trial, from..until, ..]);
        let mut fired = Self {
            from,
            firsts: Vec::with_capacity(spikes.nrows() + 1),
            neurons: Vec::new(),
        };
        for bin in spikes.outer_iter() {
            fired.firsts.push(fired.neurons.len());
            let of_bin = bin.iter().zip(&session.neurons).filter(|(z, _)| **z > 0);
            fired.neurons.extend(of_bin.map(|(_, neuron)| *neuron));
        }
        fired.firsts.push(fired.neurons.len());
        fired
    }

    /// Places of the weights whose neuron fired at its lag before a bin.
    fn for_each_before(&self, bin: usize, lags: usize, mut f: impl FnMut(usize)) {
        for lag in 1..=lags.min(bin - self.from) {
            let then = bin - lag - self.from;
            for neuron in &self.neurons[self.firsts[then]..self.firsts[then + 1]] {
                f(1 + neuron * lags + lag - 1);
            }
        }
    }
}

/// Training trials of all sessions.
fn trials(recorded: &Recorded) -> Vec<(&RecordedSession, usize)> {
    let of = |session| move |&trial: &usize| (session, trial);
    recorded
        .sessions
        .iter()
        .flat_map(|session| session.trials(Part::Train).iter().map(of(session)))
        .collect()
}

/// Products of all passes, in which every spike is seen by all neurons at all lags and each neuron has its direction, and of the shared
/// curvature.
fn products(recorded: &Recorded, lags: usize) -> f64 {
    let n = recorded.neurons.len() as f64;
    let m = 1.0 + n * lags as f64;
    let (mut seen, mut pairs) = (0.0, 0.0);
    for (session, trial) in trials(recorded) {
        let bins = session.valid_bins[trial] as f64;
        let spikes = session.spikes.slice(s![trial, ..session.valid_bins[trial], ..]);
        let spikes = spikes.iter().map(|z| f64::from(*z)).sum::<f64>();
        let of_trial = bins + spikes * lags as f64;
        seen += of_trial;
        pairs += of_trial * of_trial / bins.max(1.0);
    }
    PASSES * n * (2.0 * seen + 2.0 * m * m) + pairs + m * m * m / 3.0
}

/// Products of regressors, summed over all bins, with a ridge.
fn shared_curvature(recorded: &Recorded, lags: usize, ridge: f64) -> DMatrix<f64> {
    let m = 1 + recorded.neurons.len() * lags;
    let mut sums = DMatrix::zeros(m, m);
    let mut active = Vec::new();
    for (session, trial) in trials(recorded) {
        let fired = Fired::of(session, trial, 0, session.valid_bins[trial]);
        for bin in 0..session.valid_bins[trial] {
            active.clear();
            active.push(0);
            fired.for_each_before(bin, lags, |place| active.push(place));
            for &i in &active {
                let mut column = sums.column_mut(i);
                for &j in &active {
                    column[j] += 1.0;
                }
            }
        }
    }
    for i in 0..m {
        sums[(i, i)] += ridge;
    }
    sums
}

/// Penalised negative log-likelihood of each neuron, and its gradient `[1 + neurons·lags, neurons]`.
fn pass(recorded: &Recorded, lags: usize, weights: &Array2<f64>) -> (Array1<f64>, Array2<f64>) {
    let (m, n) = weights.dim();
    let in_order = weights.as_standard_layout();
    let weights = in_order.as_slice().unwrap_or_default();
    let of = |trials: &[(&RecordedSession, usize)]| {
        // Rows as slices: a bin has few products in small networks.
        let (mut values, mut gradients) = (vec![0.0; n], vec![0.0; m * n]);
        let mut active = Vec::new();
        let (mut u, mut d) = (vec![0.0; n], vec![0.0; n]);
        let of_place = |place: usize| place * n..(place + 1) * n;
        for &(session, trial) in trials {
            d.fill(0.0);
            let fired = Fired::of(session, trial, 0, session.valid_bins[trial]);
            for bin in 0..session.valid_bins[trial] {
                active.clear();
                active.push(0);
                u.copy_from_slice(&weights[of_place(0)]);
                fired.for_each_before(bin, lags, |place| {
                    active.push(place);
                    u.iter_mut().zip(&weights[of_place(place)]).for_each(|(u, w)| *u += w);
                });
                for (unit, &neuron) in session.neurons.iter().enumerate() {
                    let z = f64::from(session.spikes[[trial, bin, unit]]);
                    let u = u[neuron];
                    // ln(1 + e^u) and the sigmoid of one exponential that can't overflow.
                    let e = (-u.abs()).exp();
                    values[neuron] += u.max(0.0) + e.ln_1p() - z * u;
                    d[neuron] = if u < 0.0 { e } else { 1.0 } / (1.0 + e) - z;
                }
                for &place in &active {
                    let row = &mut gradients[of_place(place)];
                    row.iter_mut().zip(&d).for_each(|(g, d)| *g += d);
                }
            }
        }
        (values, gradients)
    };
    let trials = trials(recorded);
    let parts: Vec<_> = trials
        .par_chunks(trials.len().div_ceil(CHUNKS).max(1))
        .map(of)
        .collect();
    let (mut values, mut gradients) = (Array1::zeros(n), Array2::zeros((m, n)));
    for (value, gradient) in parts {
        values.iter_mut().zip(value).for_each(|(sum, x)| *sum += x);
        gradients.iter_mut().zip(gradient).for_each(|(sum, x)| *sum += x);
    }
    for place in 1..m {
        let w = in_order.row(place);
        values.scaled_add(0.5 * RIDGE, &(&w * &w));
        gradients.row_mut(place).scaled_add(RIDGE, &w);
    }
    (values, gradients)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spike_history::recorded::VisibleNeuron;
    use ndarray::Array3;
    use rand::RngExt;
    use snn_core::rng::StreamRng;

    const LAGS: usize = 3;

    /// Two sessions of a network of three neurons, the second without neuron 1: 0 excites 1 after a bin, 2 is refractory.
    fn recorded() -> Recorded {
        let mut rng = StreamRng::new(4, "test.history_only", 0);
        let mut session = |neurons: &[usize]| {
            let (k, t) = (7, 600);
            let mut spikes = Array3::<u8>::zeros((k, t, 3));
            for trial in 0..k {
                for bin in 0..t {
                    for neuron in 0..3 {
                        let past = |j: usize, lag: usize| bin >= lag && spikes[[trial, bin - lag, j]] > 0;
                        let u = match neuron {
                            1 if past(0, 1) => 0.5,
                            2 if past(2, 1) || past(2, 2) => -6.0,
                            _ => -2.0,
                        };
                        spikes[[trial, bin, neuron]] = u8::from(rng.random::<f64>() < sigmoid(u));
                    }
                }
            }
            // Trials of different lengths.
            let valid_bins = (0..k).map(|trial| t - 20 * trial).collect();
            RecordedSession::in_training(neurons.to_vec(), spikes.select(Axis(2), neurons), valid_bins)
        };
        let sessions = vec![session(&[0, 1, 2]), session(&[2, 0])];
        let neuron = |n: usize| VisibleNeuron {
            id: n.to_string(),
            area: "A".to_owned(),
            session: None,
        };
        Recorded {
            neurons: (0..3).map(neuron).collect(),
            sessions,
            splits: data::Splits {
                schema: 1,
                sessions: Vec::new(),
                warnings: Vec::new(),
            },
            warnings: Vec::new(),
        }
    }

    /// The weights of one neuron by damped Newton's method over a list of all its bins.
    fn by_newton(recorded: &Recorded, neuron: usize) -> DVector<f64> {
        let m = 1 + 3 * LAGS;
        let mut rows = Vec::new();
        for session in &recorded.sessions {
            let Some(unit) = session.neurons.iter().position(|&j| j == neuron) else {
                continue;
            };
            for trial in 0..session.spikes.dim().0 {
                for bin in 0..session.valid_bins[trial] {
                    let mut x = DVector::zeros(m);
                    x[0] = 1.0;
                    for (of, &j) in session.neurons.iter().enumerate() {
                        for lag in 1..=LAGS.min(bin) {
                            x[1 + j * LAGS + lag - 1] = f64::from(session.spikes[[trial, bin - lag, of]]);
                        }
                    }
                    rows.push((x, f64::from(session.spikes[[trial, bin, unit]])));
                }
            }
        }
        let mut w = DVector::zeros(m);
        w[0] = -2.0;
        for _ in 0..50 {
            let mut gradient = -RIDGE * &w;
            let mut curvature = DMatrix::identity(m, m) * RIDGE;
            (gradient[0], curvature[(0, 0)]) = (0.0, 0.0);
            for (x, z) in &rows {
                let p = sigmoid(w.dot(x));
                gradient.axpy(z - p, x, 1.0);
                curvature.ger(p * (1.0 - p), x, x, 1.0);
            }
            // Short steps at first: whole ones go astray.
            let step = curvature.cholesky().unwrap().solve(&gradient);
            w += &step / (2.0 * step.amax()).max(1.0);
        }
        w
    }

    #[test]
    fn a_silent_neuron_has_a_baseline_and_too_many_weights_are_told() {
        let mut recorded = recorded();
        for session in &mut recorded.sessions {
            let silent = session.neurons.iter().position(|&j| j == 0).unwrap();
            session.spikes.index_axis_mut(Axis(2), silent).fill(0);
        }
        let found = HistoryOnly::fit(&recorded, LAGS).unwrap().unwrap();
        let p = found.probabilities(&recorded.sessions[0], 0, 0..600);
        assert!(p.column(0).iter().all(|p| (p / 1e-6 - 1.0).abs() < 1e-6) && p[[300, 1]] > 0.01);
        let told = HistoryOnly::fit(&recorded, 1400).unwrap().err().unwrap();
        assert_eq!(told, "neurons × lags are 4200 weights of each, more than 4000");
    }

    #[test]
    fn weights_are_those_of_newtons_method() {
        let recorded = recorded();
        let found = HistoryOnly::fit(&recorded, LAGS).unwrap().unwrap();
        for neuron in 0..3 {
            let expected = by_newton(&recorded, neuron);
            for (place, expected) in expected.iter().enumerate() {
                let found = found.weights[[place, neuron]];
                assert!(
                    (found - expected).abs() < 0.01,
                    "{neuron} {place}: {found}, by Newton {expected}"
                );
            }
        }
        // What the network has: 0 excites 1, which is silent in no other way, and 2 is refractory.
        let weight = |from: usize, lag: usize, to: usize| found.weights[[1 + from * LAGS + lag - 1, to]];
        // Its standard error is 0.1.
        assert!((weight(0, 1, 1) - 2.5).abs() < 0.5, "{}", weight(0, 1, 1));
        assert!(weight(2, 1, 2) < -1.5 && weight(2, 2, 2) < -1.5);
        // Of the second session, whose units are neurons 2 and 0.
        let session = &recorded.sessions[1];
        let p = found.probabilities(session, 2, 98..130);
        let expected = by_newton(&recorded, 1);
        for (bin, p) in (98..130).zip(p.outer_iter()) {
            let mut u = expected[0];
            for (unit, j) in [2, 0].into_iter().enumerate() {
                for lag in 1..=LAGS {
                    u += expected[1 + j * LAGS + lag - 1] * f64::from(session.spikes[[2, bin - lag, unit]]);
                }
            }
            assert!((p[1] - sigmoid(u)).abs() < 0.003, "{bin}: {} {}", p[1], sigmoid(u));
        }
    }
}
