//! Logistic regression of each neuron on the recorded spikes of the last bins: what is predictable without a stimulus.

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use super::recorded::{Recorded, RecordedSession};
use crate::assembly::Part;
use crate::fit_error::FitError;

/// Most weights of a neuron: Newton's method holds a matrix of their square.
pub(crate) const MOST_WEIGHTS: usize = 600;
/// Ridge, in spikes: a weight that no spike speaks for stays 0.
const RIDGE: f64 = 1.0;
const MOST_ITERATIONS: usize = 25;
const TOLERANCE: f64 = 1e-8;

/// Fitted weights of all visible neurons.
#[derive(Debug)]
pub(crate) struct HistoryOnly {
    /// By model neuron: the bias, then `1 + neuron·lags + lag − 1`.
    weights: Vec<Vec<f64>>,
    lags: usize,
}

impl HistoryOnly {
    /// Fits the training trials; none where there are more than [`MOST_WEIGHTS`] weights to a neuron.
    ///
    /// The log-likelihood minus `½ RIDGE Σ w²` (without the bias) is maximised by Newton's method, halving steps that don't
    /// raise it.
    ///
    /// # Errors
    /// A matrix that can't be inverted, which the ridge rules out.
    pub(crate) fn fit(recorded: &Recorded, lags: usize) -> Result<Option<Self>, FitError> {
        let n = recorded.neurons.len();
        if 1 + n * lags > MOST_WEIGHTS {
            return Ok(None);
        }
        let weights: Result<Vec<Vec<f64>>, FitError> = (0..n)
            .into_par_iter()
            .map(|neuron| fit_one(recorded, lags, neuron))
            .collect();
        Ok(Some(Self {
            weights: weights?,
            lags,
        }))
    }

    /// Probability of a spike of a neuron in a bin of a trial, given the recorded spikes before.
    pub(crate) fn probability(&self, session: &RecordedSession, trial: usize, bin: usize, neuron: usize) -> f64 {
        let weights = &self.weights[neuron];
        let mut u = weights[0];
        for_each_active(session, trial, bin, self.lags, |place| u += weights[place]);
        sigmoid(u)
    }
}

fn sigmoid(u: f64) -> f64 {
    1.0 / (1.0 + (-u).exp())
}

/// Places of the weights whose neuron fired at its lag.
fn for_each_active(session: &RecordedSession, trial: usize, bin: usize, lags: usize, mut f: impl FnMut(usize)) {
    for lag in 1..=lags.min(bin) {
        for (unit, &neuron) in session.neurons.iter().enumerate() {
            if session.spikes[[trial, bin - lag, unit]] > 0 {
                f(1 + neuron * lags + lag - 1);
            }
        }
    }
}

/// Gradient and curvature of the penalised log-likelihood, and its value.
struct Moments {
    value: f64,
    gradient: DVector<f64>,
    curvature: DMatrix<f64>,
}

fn moments(recorded: &Recorded, lags: usize, neuron: usize, weights: &[f64]) -> Moments {
    let m = weights.len();
    let mut found = Moments {
        value: 0.0,
        gradient: DVector::zeros(m),
        curvature: DMatrix::zeros(m, m),
    };
    let mut active = Vec::new();
    for session in &recorded.sessions {
        let Some(unit) = session.neurons.iter().position(|&j| j == neuron) else {
            continue;
        };
        for &trial in session.trials(Part::Train) {
            for bin in 0..session.valid_bins[trial] {
                active.clear();
                active.push(0);
                let mut u = weights[0];
                for_each_active(session, trial, bin, lags, |place| {
                    active.push(place);
                    u += weights[place];
                });
                let z = f64::from(session.spikes[[trial, bin, unit]]);
                let p = sigmoid(u);
                // ln(1 + e^u), without overflow.
                found.value += z * u - (u.max(0.0) + (-u.abs()).exp().ln_1p());
                for &i in &active {
                    found.gradient[i] += z - p;
                    for &j in &active {
                        found.curvature[(i, j)] += p * (1.0 - p);
                    }
                }
            }
        }
    }
    for (i, w) in weights.iter().enumerate().skip(1) {
        found.value -= 0.5 * RIDGE * w * w;
        found.gradient[i] -= RIDGE * w;
        found.curvature[(i, i)] += RIDGE;
    }
    found.curvature[(0, 0)] += 1e-9;
    found
}

fn fit_one(recorded: &Recorded, lags: usize, neuron: usize) -> Result<Vec<f64>, FitError> {
    let m = 1 + recorded.neurons.len() * lags;
    let rate = recorded.rates()[neuron].clamp(1e-6, 1.0 - 1e-6);
    let mut weights = vec![0.0; m];
    weights[0] = (rate / (1.0 - rate)).ln();
    let mut now = moments(recorded, lags, neuron, &weights);
    for _ in 0..MOST_ITERATIONS {
        let Some(factor) = now.curvature.clone().cholesky() else {
            return Err(FitError::Internal {
                what: "the curvature of a logistic regression isn't positive".to_owned(),
            });
        };
        let step = factor.solve(&now.gradient);
        let gain = now.gradient.dot(&step);
        if gain < TOLERANCE * now.value.abs().max(1.0) {
            break;
        }
        let mut scale = 1.0;
        loop {
            let tried: Vec<f64> = weights.iter().zip(step.iter()).map(|(w, s)| w + scale * s).collect();
            let next = moments(recorded, lags, neuron, &tried);
            if next.value >= now.value {
                (weights, now) = (tried, next);
                break;
            }
            scale *= 0.5;
            if scale < 1e-6 {
                return Ok(weights);
            }
        }
    }
    Ok(weights)
}
