//! Evaluation: metrics of a fitted network on trials it was not fitted to, with what it takes to judge them.
//!
//! Every metric stands beside the same metric of null models and of the training data in the model's place, all at
//! the same number of trials, because assignment of finite samples manufactures correlation (see
//! [`Report::trials`]). Metrics themselves live in `losses::metrics`; here they are applied, given intervals and
//! reported. Not here: the simulation of the model's trials, pictures ([`crate::report`]).

mod against;
mod aggregate;
mod behaviour_types;
mod context;
mod couplings;
mod dispersion;
mod distributions;
mod error;
mod inputs;
mod interval;
mod licks;
mod matching;
mod modes;
mod movement;
pub(crate) mod perturbation;
mod psth;
mod report;
mod requirement;
mod session_types;
mod stand_in;
#[cfg(test)]
mod tests;
mod trial_types;
mod variance_parts;

use losses::LossError;
use losses::metrics::MetricValue;
use rand::Rng;

pub use against::{AgainstInputs, AgainstPeriod, AgainstReport, ChangeCorrelation, Predicted, PredictedNeuron};
pub use aggregate::{Aggregate, AggregateMetric, aggregate};
pub use couplings::{
    CouplingBlock, CouplingCorrelation, CouplingInputs, CouplingReport, FittedNeuron, compare_couplings,
};
pub use error::EvaluateError;
pub use inputs::{EvaluationInputs, EvaluationSettings, SimulatedTrials, TaskTimes};
pub use modes::{ModeTemplate, ModeTrial, Modes, modes};
pub use perturbation::{Change, NeuronChange, Period, PerturbationInputs, PerturbationReport, compare};
pub use report::{LeftOutMetric, Report, SCHEMA, SessionTrials, SessionVariance, VarianceInTime};
pub(crate) use report::{number, short_name, write_rows};
pub use requirement::{Comparison, Requirement, RequirementError, Verdict};
pub(crate) use stand_in::model_recording;

use context::Context;

/// Metrics of one group, computed together; `names` are listed as left out if the group is undefined.
struct Group {
    names: &'static [&'static str],
    compute: fn(&Context<'_>, &mut dyn Rng) -> Result<Vec<MetricValue>, LossError>,
}

/// The metrics, in the order of the report.
const GROUPS: [Group; 16] = [
    Group {
        names: &["psth_pearson", "psth_pearson_ref_centered", "psth_pearson_all_trials"],
        compute: psth::correlations,
    },
    Group {
        names: &["trial_matched_pearson", "trial_matched_pearson_ref_centered"],
        compute: matching::correlations,
    },
    Group {
        names: &["neuron_loss"],
        compute: psth::neuron_loss,
    },
    Group {
        names: &["trial_loss"],
        compute: matching::trial_loss,
    },
    Group {
        names: &["energy_distance"],
        compute: matching::energy,
    },
    Group {
        names: &[
            "type_fraction",
            "hit_fraction",
            "hit_fraction_data",
            "type_fraction_published",
        ],
        compute: trial_types::fractions,
    },
    Group {
        names: &["session_type_fraction", "session_type_fraction_data"],
        compute: session_types::fractions,
    },
    Group {
        names: &["peak_rate_wasserstein", "peak_rate_above_threshold"],
        compute: distributions::peak_rates,
    },
    Group {
        names: &["firing_rate_wasserstein"],
        compute: distributions::firing_rates,
    },
    Group {
        names: &["feature_variance_ratio", "feature_variance_ratio_within_type"],
        compute: dispersion::variance_ratios,
    },
    Group {
        names: &["fano_ratio"],
        compute: dispersion::fano,
    },
    Group {
        names: &[
            "noise_correlation_r",
            "noise_correlation_mean",
            "noise_correlation_mean_data",
        ],
        compute: dispersion::noise_correlation,
    },
    Group {
        names: &["mode_fraction", "mode_silhouette"],
        compute: modes::fractions,
    },
    Group {
        names: &["lick_classifier_accuracy", "type_fraction_classifier"],
        compute: behaviour_types::by_classifier,
    },
    Group {
        names: &[
            "lick_threshold",
            "type_fraction_threshold",
            "type_fraction_threshold_data",
        ],
        compute: behaviour_types::by_threshold,
    },
    Group {
        names: &[
            "active_threshold",
            "active_fraction",
            "active_fraction_data",
            "active_fraction_published",
            "active_fraction_published_data",
        ],
        compute: movement::activity,
    },
];

/// Evaluates simulated trials against held-out recorded ones.
///
/// Model, null models and training data are reduced, at random, to equal numbers of trials in every session and
/// stimulus condition. If any evaluated trial is a training trial, null models (which are made from the training
/// trials) and the training data in the model's place are left out: they would be compared with their own trials. Made
/// from one half and compared with the other half, nulls would have noisier averages and fewer matched trials than the
/// model, so their values could not stand beside its values. [`Report::notes`] says so. A metric that is undefined for this recording (one trial type, no population with enough
/// neurons, one neuron per session …) is listed in [`Report::left_out`] with the reason.
///
/// # Shapes
/// Model counts `[K, T, N]` with the recording's T and N; see [`EvaluationInputs`]. Allocates 4 null models of about
/// `S × 1.25 K` trials of the session's neurons, one byte per count.
///
/// # Errors
/// [`EvaluateError::Inputs`] for inputs that disagree, [`EvaluateError::NoTrials`] if model, training and test
/// trials have no session and condition in common, [`EvaluateError::Loss`] for arrays that a metric refuses.
///
/// # Source
/// Metrics of Sourmpis et al. 2023 (specification §1.18); nulls, noiseless ceiling and dispersion are ours (§4).
pub fn evaluate(inputs: &EvaluationInputs<'_>, rng: &mut dyn Rng) -> Result<Report, EvaluateError> {
    inputs.check()?;
    let context = Context::new(inputs, rng)?;
    let mut report = Report::new(inputs, context.session_trials(), context.notes());
    for group in &GROUPS {
        report.add(group.names, (group.compute)(&context, rng))?;
    }
    // Last, so that their random numbers change no metric.
    if report.metric("feature_variance_ratio").is_some() {
        report.feature_variance = dispersion::by_session(&context, rng)?;
    }
    let parts = variance_parts::parts(&context, rng).map(|parts| {
        report.variance_over_time = parts.over_time;
        parts.metrics
    });
    report.add_after("feature_variance_ratio", &variance_parts::NAMES, parts)?;
    Ok(report)
}

/// Trial type of each model trial by template matching, as the metrics type them; `None` for a trial that can't be
/// typed, no list at all where no area has training trials of every type.
///
/// # Shapes
/// `[K]` labels, indices of [`EvaluationInputs::trial_types`].
///
/// # Errors
/// As [`evaluate`].
pub fn model_trial_types(
    inputs: &EvaluationInputs<'_>,
    rng: &mut dyn Rng,
) -> Result<Option<Vec<Option<usize>>>, EvaluateError> {
    inputs.check()?;
    let Some(templates) = report::if_defined(context::templates(inputs))? else {
        return Ok(None);
    };
    let mut model = stand_in::StandIn::model(inputs)?;
    model.classify(&templates, inputs, rng)?;
    Ok(model.types.and_then(|types| types.into_iter().next()))
}
