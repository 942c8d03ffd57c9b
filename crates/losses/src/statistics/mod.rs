//! Every statistic once: filters, recorded trials, PSTHs, trial features.
//!
//! Losses, metrics and pictures use these functions and no others, so that a curve in a picture is the
//! curve that was fitted. Not here: comparisons (see [`crate::psth`], [`crate::trial_matching`],
//! [`crate::metrics`]).

mod counts;
mod features;
mod filters;
mod moments;
mod populations;
mod psth;
mod recording;

pub(crate) use features::population_traces;

pub use counts::{RecordedCounts, Segments, Window};
pub use features::{
    DataFeatures, FEATURE_STD_FLOOR, FeatureOptions, RecordedFeatures, SessionFeatures, SkippedTrials, mask_beyond,
};
pub use filters::{Filters, MovingMean};
pub use moments::{mean, median, quantile_sorted, rows_by_label, unbiased_variance};
pub use populations::{LeftOut, Population, Populations};
pub use psth::{PSTH_STD_FLOOR, Psth, PsthScale};
pub use recording::{Presence, RecordedSession, Recording, TrialSelection};
