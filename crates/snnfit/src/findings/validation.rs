//! What the validation losses of a run say: converged or not, overfitting, and the verdict in one word.

use losses::statistics::{mean, median};

use super::{Finding, Kind, Severity, number, percent};
use crate::run_dir::StopReason;

/// With fewer validations a trend can't be told from their noise.
const LEAST_VALIDATIONS: usize = 10;
/// A fall of the mean validation loss from one fifth of the validations to the next by more than this is no plateau.
const STILL_FALLING: f64 = 0.02;
/// The best validation lies before this share of the steps in a run that overfits; noise puts it in the later part.
const EARLY_BEST: f64 = 0.5;
/// And the last fifth of the validations is by so much worse than the best one, beyond the noise between validations.
const WORSE_THAN_BEST: f64 = 0.05;
/// Halves of the validations whose means differ by less than this are equal, for the verdict.
const VERDICT_CHANGE: f64 = 0.02;
/// Losses that come to 0 or below, as an energy distance without bias does, have no shares: their changes count from so many
/// standard errors.
const STANDARD_ERRORS: f64 = 3.0;
/// And the last fifth must be further from the best validation, in standard deviations, than the least of pure noise is.
const NOISE_MARGIN: f64 = 1.5;
/// With fewer of them the noise of such losses isn't known well enough to call them converged.
const LEAST_CONVERGED: usize = 8;

/// Validations that count, the latest: as many as a fit remembers, so that it and `evaluate` say the same.
pub const LATEST_VALIDATIONS: usize = 100;

/// Validation losses of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Validations {
    /// Step and weighted sum of the losses, in order.
    pub totals: Vec<(u64, f64)>,
    /// Why training stopped; `None` while it runs, or when it was killed.
    pub stop_reason: Option<StopReason>,
}

impl Validations {
    fn latest(&self) -> &[(u64, f64)] {
        &self.totals[self.totals.len().saturating_sub(LATEST_VALIDATIONS)..]
    }

    fn fifth(&self, from_end: usize) -> Vec<f64> {
        let totals = self.latest();
        let fifth = totals.len() / 5;
        let end = totals.len() - from_end * fifth;
        totals[end - fifth..end].iter().map(|(_, value)| *value).collect()
    }

    fn best(&self) -> Option<(u64, f64)> {
        let finite = self.latest().iter().filter(|(_, value)| value.is_finite());
        finite.copied().min_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// Standard deviation of the noise of validations, from the steps between them, of which a slow trend is no part; normal noise
/// has a median step of 0.954 of it.
fn noise(values: &[f64]) -> f64 {
    let steps: Vec<f64> = values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    median(&steps).unwrap_or(f64::NAN) / 0.954
}

/// Change of the mean from one stretch of the validations to the next, in units of what counts: a share of the first where
/// losses are above 0, else a number of standard errors.
fn change(before: &[f64], after: &[f64], best: f64, share: f64, noise: f64) -> f64 {
    let (from, to) = (mean(before), mean(after));
    if best > 0.0 {
        return (to - from) / (share * from);
    }
    let standard_error = noise * (1.0 / before.len() as f64 + 1.0 / after.len() as f64).sqrt();
    (to - from) / (STANDARD_ERRORS * standard_error)
}

/// Not converged, or overfitting.
pub fn of_validations(validations: &Validations) -> Option<Finding> {
    let totals = validations.latest();
    let (Some((best_step, best)), Some((last_step, _))) = (validations.best(), totals.last()) else {
        return None;
    };
    if totals.len() < LEAST_VALIDATIONS {
        return None;
    }
    let (before, latest) = (validations.fifth(1), validations.fifth(0));
    let last = mean(&latest);
    let values: Vec<f64> = totals.iter().map(|(_, value)| *value).collect();
    let noise = noise(&values);
    if change(&before, &latest, best, STILL_FALLING, noise) < -1.0 {
        return Some(not_converged(validations, mean(&before), last, best));
    }
    let is_early = (best_step as f64) < EARLY_BEST * *last_step as f64;
    let least = if best > 0.0 {
        WORSE_THAN_BEST * best
    } else {
        // The best of n is below their mean by √(2 ln n) standard deviations of normal noise.
        ((2.0 * (totals.len() as f64).ln()).sqrt() + NOISE_MARGIN) * noise
    };
    (is_early && last - best > least).then(|| Finding {
        kind: Kind::Overfitting,
        severity: Severity::Moderate,
        what: "the validation loss has been rising for a long time".to_owned(),
        how_much: format!(
            "best {} at step {best_step}, {} at the end, step {last_step}{}",
            number(best),
            number(last),
            in_percent("+", last / best - 1.0, best)
        ),
        why: "later steps fit the training trials themselves; the best checkpoint, which `evaluate` takes, has seen only \
              part of the training"
            .to_owned(),
        remedy: "stop earlier with `train.patience`; raise `optimizer.adamw.l1`; more recorded trials, or a smaller \
                 `split.test_fraction`"
            .to_owned(),
    })
}

/// A change in percent, where losses are above 0.
fn in_percent(sign: &str, share: f64, best: f64) -> String {
    if best > 0.0 {
        format!(" ({sign}{})", percent(share))
    } else {
        String::new()
    }
}

fn not_converged(validations: &Validations, before: f64, last: f64, best: f64) -> Finding {
    let go_on = match validations.stop_reason {
        Some(StopReason::MaxSteps) => "more steps: `train.max_steps` (with `--resume` and `--set`, the run goes on)",
        _ => "let the run go on: `snnfit train --resume`",
    };
    Finding {
        kind: Kind::NotConverged,
        severity: Severity::Moderate,
        what: "training has not converged".to_owned(),
        how_much: format!(
            "the validation loss fell from {} to {} over the last fifth of the validations{}",
            number(before),
            number(last),
            in_percent("−", 1.0 - last / before, best)
        ),
        why: "every number of this fit would still change".to_owned(),
        remedy: format!("{go_on}; or larger ones: `optimizer.adamw.lr`"),
    }
}

/// converged | improving | worsening | stopped | diverged.
pub fn verdict(validations: &Validations) -> &'static str {
    match validations.stop_reason {
        Some(StopReason::Diverged) => return "diverged",
        Some(StopReason::Converged) => return "converged",
        _ => {}
    }
    let values: Vec<f64> = validations.latest().iter().map(|(_, value)| *value).collect();
    let (before, after) = values.split_at(values.len() / 2);
    if before.len() < 2 {
        return "stopped";
    }
    let best = validations.best().map_or(f64::NAN, |(_, best)| best);
    let change = change(before, after, best, VERDICT_CHANGE, noise(&values));
    if !mean(after).is_finite() || change > 1.0 {
        "worsening"
    } else if change < -1.0 {
        "improving"
    } else if best <= 0.0 && values.len() < LEAST_CONVERGED {
        "stopped"
    } else {
        "converged"
    }
}
