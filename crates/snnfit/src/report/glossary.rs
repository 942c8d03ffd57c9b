//! What every number of a report means: the source of the page's glossary and of the tables in `docs/METRICS.md`.
//!
//! A test keeps the document equal to this table. Texts may hold code in backticks, nothing else of Markdown.

pub mod spike_history;

use std::fmt::Write;

/// What is right for a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// The higher the better.
    High,
    /// The lower the better.
    Low,
    /// The nearer to 1 the better.
    One,
    /// Equal to the metric of the same name with `_data`.
    AsData,
    /// Equal to `type_fraction_data` of the same type.
    AsShares,
    /// Equal to what training data in the model's place have.
    AsReference,
    /// It describes the recording: nothing to judge.
    None,
}

impl Right {
    /// As it stands in a table.
    pub fn text(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Low => "low",
            Self::One => "1",
            Self::AsData => "as `…_data`",
            Self::AsShares => "as `type_fraction_data`",
            Self::AsReference => "as `reference_train_test`",
            Self::None => "–",
        }
    }
}

/// What a metric is about, which decides what to change where it is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Averages over trials.
    TrialAverages,
    /// Single trials of populations and behaviour.
    SingleTrials,
    /// Mean rates.
    Rates,
    /// Variability and correlations of neurons.
    Variability,
}

/// Metrics of one meaning.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// Names; the last part in capitals stands for any area or trial type.
    pub names: &'static [&'static str],
    /// Unit.
    pub unit: &'static str,
    /// What is right.
    pub right: Right,
    /// What it is about.
    pub family: Family,
    /// What it is.
    pub text: &'static str,
}

/// A column of the table, or a word of the page.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    /// The word.
    pub name: &'static str,
    /// What it means.
    pub text: &'static str,
}

/// The metrics, in the order of the report.
pub const METRICS: &[Definition] = &[
    Definition {
        names: &["psth_pearson"],
        unit: "1",
        right: Right::High,
        family: Family::TrialAverages,
        text: "correlation of model and recorded PSTH over time, mean over neurons above 1 Hz; as many model trials as \
               nulls and training data have",
    },
    Definition {
        names: &["psth_pearson_all_trials"],
        unit: "1",
        right: Right::High,
        family: Family::TrialAverages,
        text: "the same as `psth_pearson` with all model trials: less noise on the model's side",
    },
    Definition {
        names: &["psth_pearson_ref_centered"],
        unit: "1",
        right: Right::High,
        family: Family::TrialAverages,
        text: "`psth_pearson` as published: both centred on the recorded mean, so a wrong rate costs too",
    },
    Definition {
        names: &["trial_matched_pearson"],
        unit: "1",
        right: Right::High,
        family: Family::SingleTrials,
        text: "correlation of population activity (by area) and behaviour between single trials of model and data that are \
               matched one to one within a stimulus (whatever loss was fitted), on equal random subsets; mean over pairs. Trials \
               that vary too little score higher than recorded ones do: see `energy_distance`",
    },
    Definition {
        names: &["trial_matched_pearson_ref_centered"],
        unit: "1",
        right: Right::High,
        family: Family::SingleTrials,
        text: "`trial_matched_pearson` as published: centred on the recorded mean",
    },
    Definition {
        names: &["neuron_loss"],
        unit: "1",
        right: Right::Low,
        family: Family::TrialAverages,
        text: "the PSTH loss: squared difference of PSTHs over the variance of the recorded one",
    },
    Definition {
        names: &["trial_loss"],
        unit: "1",
        right: Right::Low,
        family: Family::SingleTrials,
        text: "loss of hard matching (whatever loss was fitted): mean squared difference of trial features matched one to one. \
               Trials that vary too little score lower than recorded ones do: see `energy_distance`",
    },
    Definition {
        names: &["energy_distance"],
        unit: "1",
        right: Right::Low,
        family: Family::SingleTrials,
        text: "energy distance between model and recorded trials, as points of the features that matching compares, within a \
               stimulus; over the root of their number, mean over sessions. 0 on average for trials of the recorded process, and \
               never lower for other ones",
    },
    Definition {
        names: &["type_fraction/TYPE", "hit_fraction"],
        unit: "1",
        right: Right::AsData,
        family: Family::SingleTrials,
        text: "share of model trials that look like this trial type, by template matching on population activity; the \
               templates are training trials'",
    },
    Definition {
        names: &["type_fraction_data/TYPE", "hit_fraction_data"],
        unit: "1",
        right: Right::None,
        family: Family::SingleTrials,
        text: "share of recorded trials of this type",
    },
    Definition {
        names: &["type_fraction_published/TYPE"],
        unit: "1",
        right: Right::AsShares,
        family: Family::SingleTrials,
        text: "`type_fraction` as published: the model's behaviour isn't scaled as that of the templates is, so that what it weighs \
               depends on its unit",
    },
    Definition {
        names: &["session_type_fraction/TYPE"],
        unit: "1",
        right: Right::AsData,
        family: Family::SingleTrials,
        text: "share of model trials that look like this trial type through the neurons of a session, by templates of its \
               training trials; mean over sessions, in which stimuli count as often as they were recorded. Unlike \
               `type_fraction` equal to that of recorded trials for a perfect model also where types overlap",
    },
    Definition {
        names: &["session_type_fraction_data/TYPE"],
        unit: "1",
        right: Right::None,
        family: Family::SingleTrials,
        text: "share of recorded trials that look like it by the same templates",
    },
    Definition {
        names: &["peak_rate_wasserstein", "peak_rate_wasserstein/AREA"],
        unit: "Hz",
        right: Right::Low,
        family: Family::SingleTrials,
        text: "distance between the distributions over trials of the peak population rate of an area",
    },
    Definition {
        names: &["peak_rate_above_threshold/AREA"],
        unit: "1",
        right: Right::AsData,
        family: Family::SingleTrials,
        text: "share of trials whose peak population rate exceeds the published threshold of 30 Hz",
    },
    Definition {
        names: &["peak_rate_above_threshold_data/AREA"],
        unit: "1",
        right: Right::None,
        family: Family::SingleTrials,
        text: "the same share of recorded trials",
    },
    Definition {
        names: &["firing_rate_wasserstein"],
        unit: "Hz",
        right: Right::Low,
        family: Family::Rates,
        text: "distance between the distributions over neurons of the mean rate",
    },
    Definition {
        names: &["feature_variance_ratio"],
        unit: "1",
        right: Right::One,
        family: Family::SingleTrials,
        text: "trial-to-trial variance of the matched features, model over data, mean over sessions: below 1, too little \
               variability",
    },
    Definition {
        names: &["feature_variance_ratio_within_type"],
        unit: "1",
        right: Right::One,
        family: Family::SingleTrials,
        text: "`feature_variance_ratio` within trial types, both sides typed by template",
    },
    Definition {
        names: &["population_variance_ratio", "population_variance_ratio/AREA"],
        unit: "1",
        right: Right::One,
        family: Family::SingleTrials,
        text: "`feature_variance_ratio` of population activity without behaviour, and of each area",
    },
    Definition {
        names: &["population_variance_ratio_early", "population_variance_ratio_late"],
        unit: "1",
        right: Right::One,
        family: Family::SingleTrials,
        text: "`population_variance_ratio` in the first and in the second half of the trial; `variance_over_time` in \
               `metrics.json` has it in twelfths",
    },
    Definition {
        names: &["behaviour_variance_ratio/TRACE"],
        unit: "1",
        right: Right::One,
        family: Family::SingleTrials,
        text: "`feature_variance_ratio` of one trace of behaviour",
    },
    Definition {
        names: &["area_correlation"],
        unit: "1",
        right: Right::AsData,
        family: Family::SingleTrials,
        text: "what varies together: correlation across trials of the population activity of two areas at the same time, less \
               the mean over trials of the same stimulus; mean over sessions and their pairs of areas",
    },
    Definition {
        names: &["area_correlation_data"],
        unit: "1",
        right: Right::None,
        family: Family::SingleTrials,
        text: "the same of the recorded trials",
    },
    Definition {
        names: &["area_correlation_error"],
        unit: "1",
        right: Right::AsReference,
        family: Family::SingleTrials,
        text: "root mean square difference of these correlations, model and data, over sessions and pairs of areas: 0.1 where \
               each is off by 0.1. As large as that of training trials, it is estimation alone",
    },
    Definition {
        names: &["fano_ratio"],
        unit: "1",
        right: Right::One,
        family: Family::Variability,
        text: "Fano factor of spike counts over the whole trial, model over data, median over neurons with 10 spikes or more in both",
    },
    Definition {
        names: &["noise_correlation_r"],
        unit: "1",
        right: Right::High,
        family: Family::Variability,
        text: "correlation over pairs of neurons recorded together: the model's noise correlations (spike counts in windows of \
               50 ms) against the recorded ones",
    },
    Definition {
        names: &["noise_correlation_mean"],
        unit: "1",
        right: Right::AsData,
        family: Family::Variability,
        text: "mean noise correlation (spike counts in windows of 50 ms, less their mean over trials of the same stimulus)",
    },
    Definition {
        names: &["noise_correlation_mean_data"],
        unit: "1",
        right: Right::None,
        family: Family::Variability,
        text: "the same of the recorded trials",
    },
    Definition {
        names: &["mode_fraction/TYPE"],
        unit: "1",
        right: Right::AsReference,
        family: Family::SingleTrials,
        text: "share of model trials in the cluster of this type, all sessions together. Clusters are found without labels in each session's neurons: spectral clusters of the graph of neighbouring trials, as many as there are types, in the space of the first principal components of the population activity; each cluster has the type whose template is near",
    },
    Definition {
        names: &["mode_silhouette"],
        unit: "1",
        right: Right::AsReference,
        family: Family::SingleTrials,
        text: "mean silhouette of these clusters: near 1 where they are far apart, near 0 where trials are one cloud. Fewer neurons in a session: smaller, in the recording too",
    },
    Definition {
        names: &["lick_classifier_accuracy"],
        unit: "1",
        right: Right::None,
        family: Family::SingleTrials,
        text: "share of recorded trials in which a small network, trained on the behaviour of training trials, tells rightly whether the animal licked: it judges the network, not the fit",
    },
    Definition {
        names: &["type_fraction_classifier/TYPE"],
        unit: "1",
        right: Right::AsShares,
        family: Family::SingleTrials,
        text: "share of model trials of this type, by that network and the stimulus",
    },
    Definition {
        names: &["lick_threshold"],
        unit: "trace",
        right: Right::None,
        family: Family::SingleTrials,
        text: "height of the first trace after the cue that tells licks best in training trials",
    },
    Definition {
        names: &["type_fraction_threshold/TYPE"],
        unit: "1",
        right: Right::AsData,
        family: Family::SingleTrials,
        text: "share of model trials of this type, by that threshold and the stimulus",
    },
    Definition {
        names: &["type_fraction_threshold_data/TYPE"],
        unit: "1",
        right: Right::None,
        family: Family::SingleTrials,
        text: "share of recorded trials of this type, by the same threshold and the stimulus",
    },
    Definition {
        names: &["active_threshold"],
        unit: "trace/s",
        right: Right::None,
        family: Family::SingleTrials,
        text: "speed above which the first trace moves: four standard deviations of its speed in the 200 ms before the stimulus of training trials, smoothed over 10 ms; each session has its own, this is their median",
    },
    Definition {
        names: &["active_fraction", "active_fraction/TYPE"],
        unit: "1",
        right: Right::AsData,
        family: Family::SingleTrials,
        text: "share of model trials, all or of this type, in which the first trace moves in the delay: smoothed over 10 ms, it is faster there than `active_threshold`. Types, on both sides, are by `lick_threshold` and the stimulus",
    },
    Definition {
        names: &["active_fraction_data", "active_fraction_data/TYPE"],
        unit: "1",
        right: Right::None,
        family: Family::SingleTrials,
        text: "the same share of recorded trials",
    },
    Definition {
        names: &["active_fraction_published"],
        unit: "1",
        right: Right::AsData,
        family: Family::SingleTrials,
        text: "`active_fraction` by the published rule: the largest step of the first trace in the delay is above four standard \
               deviations of its absolute steps in the 200 ms before the trial's own stimulus. Of mere noise, that takes 98 % of \
               trials for active ones",
    },
    Definition {
        names: &["active_fraction_published_data"],
        unit: "1",
        right: Right::None,
        family: Family::SingleTrials,
        text: "the same share of recorded trials",
    },
];

/// The columns of the metrics table.
pub const COLUMNS: &[Term] = &[
    Term {
        name: "value",
        text: "the model against the trials of the split (by default those that the fit has not seen)",
    },
    Term {
        name: "ci95",
        text: "95 % interval of a hierarchical bootstrap: sessions, then trials or neurons of each (for noise \
               correlations: neurons, and with them their pairs). A resample repeats trials, which makes variances \
               smaller by 1/n of n trials on average: those of ratios of variances are made up for it. The fit itself is \
               not repeated: for that, fit several seeds and give all runs to one `evaluate`",
    },
    Term {
        name: "nulls",
        text: "the same metric with trials that know nothing but averages in the model's place: \
               `psth_poisson_per_stimulus` (Poisson spikes from the training PSTHs), `psth_poisson_per_trial_type` (from \
               the PSTHs of each trial type), `psth_shared_gain` (one gain per trial for all neurons, fitted by its \
               moments), `trial_shuffled` (each neuron's training trials in an order of its own)",
    },
    Term {
        name: "reference_train_test",
        text: "the same metric with training trials in the model's place: what a second recording of the same animal \
               reaches. No ceiling: it has the noise of its own trials",
    },
    Term {
        name: "ceiling_noiseless",
        text: "what the true rates would reach, estimated by split halves; defined for PSTH correlations",
    },
    Term {
        name: "n",
        text: "how many neurons, trials, pairs or bins it rests on",
    },
];

/// Words of the page that are no metrics.
pub const TERMS: &[Term] = &[
    Term {
        name: "verdict",
        text: "how training ended: `converged` (the validation loss no longer falls), `improving` (it still fell by more than \
               2 % between the halves of the validations), `worsening` (it rose by as much), `diverged` (values were not \
               finite), `stopped` (too few validations to say)",
    },
    Term {
        name: "finding",
        text: "something that a number of this report shows to be wrong: what, how much, why it matters, what to try. \
               Severe ones make the network unusable for the question they concern",
    },
    Term {
        name: "floor",
        text: "a validation loss with as many training trials in the model's place. A fit can lie below: a model has no \
               trial noise in its averages",
    },
    Term {
        name: "splits",
        text: "`train`: the fit sees these trials; `validation`: early stopping sees them; `test`: only `evaluate` opens them (and \
               `simulate --clamped-ms`), and each opening is counted",
    },
    Term {
        name: "compared, matched",
        text: "trials of the model, of each null model and of the training data that were compared with the trials of the \
               split, and how many were matched one to one with them. Equal numbers, because matching makes correlation \
               out of noise",
    },
    Term {
        name: "feature variance by session",
        text: "`feature_variance_ratio` of each session with the interval of a bootstrap over its trials",
    },
    Term {
        name: "mean weight",
        text: "mean over all pairs of neurons of two populations of the signed recurrent weight, delays summed, forbidden \
               synapses counted as 0",
    },
    Term {
        name: "seconds",
        text: "wall time of training over all processes of the run, without steps that were taken again after a stop",
    },
];

/// The definition of a metric's name.
pub fn definition(name: &str) -> Option<&'static Definition> {
    let is_of = |pattern: &&str| match pattern.rsplit_once('/') {
        Some((family, _)) => name.strip_prefix(family).is_some_and(|rest| rest.starts_with('/')),
        None => name == *pattern,
    };
    METRICS.iter().find(|definition| definition.names.iter().any(is_of))
}

/// The table of columns in `docs/METRICS.md`.
pub fn columns_markdown() -> String {
    let mut text = "| Column | Meaning |\n|---|---|\n".to_owned();
    for column in COLUMNS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{}` | {} |", column.name, column.text);
    }
    text
}

/// The table of metrics in `docs/METRICS.md`.
pub fn metrics_markdown() -> String {
    let mut text = "| Name | Unit | Right value | What it is |\n|---|---|---|---|\n".to_owned();
    for metric in METRICS {
        let names: Vec<String> = metric.names.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            names.join(", "),
            metric.unit,
            metric.right.text(),
            metric.text
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_an_area_or_type_have_the_definition_of_their_family() {
        let first = |name: &str| definition(name).map(|d| d.names[0]);
        assert_eq!(first("psth_pearson"), Some("psth_pearson"));
        assert_eq!(first("peak_rate_wasserstein"), Some("peak_rate_wasserstein"));
        assert_eq!(first("peak_rate_wasserstein/V1/2"), Some("peak_rate_wasserstein"));
        assert_eq!(first("type_fraction/hit"), Some("type_fraction/TYPE"));
        assert_eq!(first("type_fraction_data/hit"), Some("type_fraction_data/TYPE"));
        assert_eq!(first("hit_fraction"), Some("type_fraction/TYPE"));
        assert_eq!(first("psth_pearson_of_another_kind"), None);
    }

    #[test]
    fn backticks_come_in_pairs() {
        let texts = METRICS.iter().map(|metric| metric.text);
        let terms = COLUMNS.iter().chain(TERMS).map(|term| term.text);
        for text in texts.chain(terms) {
            assert!(text.matches('`').count().is_multiple_of(2), "{text}");
        }
    }
}
