//! Findings: what a fit's numbers show to be wrong, how much, why it matters, what to try.
//!
//! `train` tells at most [`MOST_AFTER_TRAINING`] from what training knows; `evaluate` all of them, in the terminal,
//! `metrics.json` and the report. Thresholds are constants beside the rules. Good news is not a finding. Not here: the
//! numbers themselves ([`crate::evaluate`]).

mod activity;
mod metrics;
mod network;
#[cfg(test)]
mod tests;
mod validation;

use std::fmt::Write;

use serde::{Deserialize, Serialize};

pub use activity::{AreaRates, of_few_spikes, of_rates};
pub use metrics::of_metrics;
pub use network::{ParameterBounds, of_parameters, of_skipped_steps};
pub use validation::{LATEST_VALIDATIONS, Validations, of_validations, verdict};

/// As many are told at the end of a training: a person reads no more before evaluating.
pub const MOST_AFTER_TRAINING: usize = 3;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The network can't be used for questions that this concerns.
    Severe,
    /// Conclusions have to take it into account.
    Moderate,
    /// Worth knowing.
    Mild,
}

impl Severity {
    /// As people read it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Severe => "severe",
            Self::Moderate => "moderate",
            Self::Mild => "mild",
        }
    }
}

/// Which rule found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// An area of the model hardly fires.
    SilentArea,
    /// Single neurons hardly fire.
    SilentNeurons,
    /// An area of the model fires far too much.
    RunawayArea,
    /// Too little trial-to-trial variability of populations.
    UnderDispersion,
    /// Too much of it.
    OverDispersion,
    /// Spike counts of neurons vary too little or too much from trial to trial.
    CountVariability,
    /// A recorded trial type that the model hardly shows.
    CollapsedTrialType,
    /// Shares of trial types by the same rule on both sides differ.
    WrongTypeShares,
    /// The animal's traces move before the cue in another share of trials.
    WrongMovement,
    /// Recorded trials are of separate kinds, the model's are not.
    MergedModes,
    /// Nearly all recurrent weights are at the floor.
    WeightsAtFloor,
    /// Many resting potentials are at a bound.
    RestingPotentialsAtBounds,
    /// Steps were skipped.
    SkippedSteps,
    /// The validation loss still fell at the end.
    NotConverged,
    /// The validation loss has long been rising.
    Overfitting,
    /// A null model is better.
    WorseThanNull,
    /// Recorded neurons with too few spikes for a PSTH.
    FewSpikes,
    /// Simulated trials whose population runs away.
    RunawayTrials,
    /// Trial averages that are far below what can be reached.
    TrialAverages,
    /// Rates of free simulations are too high or too low.
    RateOffset,
    /// The average of other trials predicts better than the model.
    WorseThanPsth,
}

/// One finding; all texts are for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which rule found it.
    pub kind: Kind,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// By how much.
    pub how_much: String,
    /// Why it matters.
    pub why: String,
    /// What to try; configuration keys in backticks.
    pub remedy: String,
}

/// The worst ones first; equal ones stay in their order.
pub fn sorted(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// For a terminal, with a heading; empty without findings. At most `most` are told, and how many more there are.
pub fn text(findings: &[Finding], most: usize) -> String {
    let mut text = String::new();
    if findings.is_empty() {
        return text;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(text, "findings:");
    for finding in findings.iter().take(most) {
        let _ = writeln!(
            text,
            "  {}: {} · {}\n    why it matters: {}\n    try: {}",
            finding.severity.text(),
            finding.what,
            finding.how_much,
            finding.why,
            finding.remedy
        );
    }
    let rest = findings.len().saturating_sub(most);
    if rest > 0 {
        let _ = writeln!(text, "  and {rest} more: `snnfit evaluate` tells all");
    }
    text
}

/// A rate or another positive number with two significant digits at least.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    let digits = if size >= 10.0 || size == 0.0 {
        0
    } else {
        (1.0 - size.log10().floor()).clamp(1.0, 4.0) as usize
    };
    format!("{value:.digits$}")
}

/// A share in per cent.
fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    let digits = usize::from(percent > 0.0 && percent < 1.0);
    format!("{percent:.digits$} %")
}
