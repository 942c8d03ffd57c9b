//! Metrics: how good a fitted model is, in numbers that can be compared with nulls and ceilings.
//!
//! Model, training data, test data and null models all enter as [`crate::statistics::Recording`]s (see
//! [`crate::statistics::Recording::simulated`]), so every metric is also its own null and reference:
//! call it again with the null, or with training data, in the place of the model. Assignment of finite
//! samples manufactures correlation, so compare values only at the same number of trials.

mod behaviour;
mod correlation;
mod dispersion;
mod distribution;
mod noise_correlation;
mod psth_correlation;
mod template;
mod trial_matched;
mod value;

pub use behaviour::{MovementRule, best_threshold, is_active_as_published};
pub use correlation::{
    PEARSON_EPS, TRIAL_PEARSON_EPS, pearson, pearson_ref_centered, pearson_weighted, spearman_brown,
};
pub use dispersion::{
    FanoRatio, SpikeCounts, VarianceRatio, fano_factors, fano_ratio, feature_variance_ratio, population_correlation,
    spike_counts,
};
pub use distribution::{fraction_above, peak_rates_hz, wasserstein1};
pub use noise_correlation::{NoiseCorrelationMatch, PairValue, compare_noise_correlations, noise_correlations};
pub use psth_correlation::{NeuronCorrelation, PsthCorrelation, PsthReliability, psth_correlation, psth_reliability};
pub use template::{Completed, TemplateOptions, TrialTypeTemplates, fraction_of_type, type_fractions};
pub use trial_matched::{PairCorrelation, trial_matched_correlation};
pub use value::MetricValue;
