//! Parameters at their bounds and skipped steps.

use snn_core::connectivity::DORMANT_WEIGHT;
use snn_core::models::rsnn::Rsnn;

use super::{Finding, Kind, Severity, percent};

/// Above this share of recurrent weights at the floor there is hardly a network left; sparse fits keep more.
const FLOOR_SHARE: f64 = 0.95;
/// Above this share of resting potentials at a bound the bound, not the data, sets the excitability of many neurons.
const BOUND_SHARE: f64 = 0.2;
/// A resting potential this near to its bound, as a share of the bound, is at it: single precision, many updates.
const BOUND_TOLERANCE: f64 = 1e-4;
/// Skipped steps below this share of all steps are told in the summary only.
const SKIPPED_SHARE: f64 = 0.01;

/// How many parameters are where the projection stops them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ParameterBounds {
    /// Recurrent weights that are allowed to differ from zero.
    pub n_weights: usize,
    /// Those at the floor, or at zero where a weight may have either sign.
    pub n_at_floor: usize,
    /// Resting potentials that are fitted.
    pub n_resting: usize,
    /// Those at a bound.
    pub n_at_bound: usize,
}

impl ParameterBounds {
    /// Counts them. Parameters that a network lacks count as none.
    pub fn of(rsnn: &Rsnn) -> Self {
        let mut found = Self::default();
        let neurons = &rsnn.spec.neurons;
        let table = rsnn.spec.connectivity().table();
        if let Ok(weights) = rsnn.parameters.cube("w") {
            for ((_, pre, post), weight) in weights.indexed_iter() {
                if pre != post && table.row(neurons[pre])[neurons[post].area].sign.is_some() {
                    found.n_weights += 1;
                    found.n_at_floor += usize::from(weight.abs() <= DORMANT_WEIGHT);
                }
            }
        }
        if rsnn.spec.train_resting_potential
            && let Ok(resting) = rsnn.parameters.vector("v_rest")
        {
            let bound = rsnn.spec.threshold * (1.0 - BOUND_TOLERANCE);
            found.n_resting = resting.len();
            found.n_at_bound = resting.iter().filter(|v| f64::from(v.abs()) >= bound).count();
        }
        found
    }
}

/// Findings of parameters at their bounds.
pub fn of_parameters(found: &ParameterBounds) -> Vec<Finding> {
    let share = |n: usize, of: usize| n as f64 / of.max(1) as f64;
    let mut findings = Vec::new();
    let at_floor = share(found.n_at_floor, found.n_weights);
    if at_floor > FLOOR_SHARE {
        findings.push(Finding {
            kind: Kind::WeightsAtFloor,
            severity: Severity::Severe,
            what: "nearly all recurrent weights have gone to zero".to_owned(),
            how_much: format!(
                "{} of {} allowed weights are at the floor ({})",
                found.n_at_floor,
                found.n_weights,
                percent(at_floor)
            ),
            why: "neurons are driven by input and noise alone: connectivity and perturbations of this network mean \
                  nothing"
                .to_owned(),
            remedy:
                "lower `optimizer.adamw.l1`, which shrinks weights at each step, or `optimizer.adamw.weight_decay`; \
                     give losses of single trials more weight (`loss.trial_matching`)"
                    .to_owned(),
        });
    }
    let at_bound = share(found.n_at_bound, found.n_resting);
    if at_bound > BOUND_SHARE {
        findings.push(Finding {
            kind: Kind::RestingPotentialsAtBounds,
            severity: Severity::Moderate,
            what: "many resting potentials are at their bounds".to_owned(),
            how_much: format!(
                "{} of {} neurons ({}) are at plus or minus the threshold",
                found.n_at_bound,
                found.n_resting,
                percent(at_bound)
            ),
            why:
                "these neurons want to be more, or less, excitable than the model lets them: their rates are wrong, or \
                  weights make up for it"
                    .to_owned(),
            remedy:
                "widen the range with `model.rsnn.threshold`; lower `optimizer.adamw.lr`; change the background with \
                     `model.rsnn.noise` or `model.rsnn.input.poisson.rate_hz`"
                    .to_owned(),
        });
    }
    findings
}

/// A finding where many steps were skipped because values were not finite.
pub fn of_skipped_steps(skipped: u64, steps: u64) -> Option<Finding> {
    let share = skipped as f64 / steps.max(1) as f64;
    (share > SKIPPED_SHARE).then(|| Finding {
        kind: Kind::SkippedSteps,
        severity: Severity::Moderate,
        what: "steps were skipped because values were not finite".to_owned(),
        how_much: format!("{skipped} of {steps} steps ({})", percent(share)),
        why: "gradients explode at times, and the steps between are hardly better".to_owned(),
        remedy: "lower `optimizer.adamw.lr` or `model.rsnn.surrogate_damping`; keep `train.gradient_splitter` on"
            .to_owned(),
    })
}
