//! What the numbers of spike-history networks mean: the source of their page's glossary and of the table in `docs/METRICS.md`.

use std::fmt::Write;

use super::{Definition, Family, Right, TERMS, Term};

/// The metrics, in the order of the report. `X` stands for a count window or a horizon.
pub const METRICS: &[Definition] = &[
    Definition {
        names: &["cross_entropy"],
        unit: "nats per bin",
        right: Right::Low,
        family: Family::SingleTrials,
        text: "mean negative log-likelihood of each bin of each recorded neuron given the recorded past. Baselines: `rate`, the mean rate \
               in the training trials; `history_only`, logistic regression on recorded past spikes without a stimulus",
    },
    Definition {
        names: &["bits_per_spike"],
        unit: "bits",
        right: Right::High,
        family: Family::SingleTrials,
        text: "the same as a gain over the mean rate in the training trials, per recorded spike",
    },
    Definition {
        names: &["psth_correlation"],
        unit: "1",
        right: Right::High,
        family: Family::TrialAverages,
        text: "correlation over time of recorded trial average and mean spike probability of free simulations, both smoothed over \
               `statistics.smooth_ms`, mean over neurons. Baseline `training_psth`: the average of the training trials of the same stimulus, \
               if each stimulus that is compared has four as long. The interval resamples recorded trials; these have more noise when resampled, so that 1 − r is \
               scaled to have that of the value in the middle",
    },
    Definition {
        names: &["psth_correlation_raw"],
        unit: "1",
        right: Right::High,
        family: Family::TrialAverages,
        text: "the same without smoothing: mostly the noise of few recorded trials in narrow bins, see its ceiling",
    },
    Definition {
        names: &["rate_ratio"],
        unit: "1",
        right: Right::One,
        family: Family::Rates,
        text: "rate of free simulations over recorded rate, mean over neurons",
    },
    Definition {
        names: &["noise_correlation_r2_Xms"],
        unit: "1",
        right: Right::High,
        family: Family::Variability,
        text: "how well the model's noise correlations of pairs are the recorded ones: 1 - sum of squared errors over that of recorded \
               deviations from their mean (strict). Spikes are counted in windows of X ms. Baseline: the same pairs in the training trials, unless these are compared. \
               The interval resamples trials and pairs, 1 − R² scaled to have that of the value in the middle",
    },
    Definition {
        names: &["noise_correlation_r2_offset_free_Xms"],
        unit: "1",
        right: Right::High,
        family: Family::Variability,
        text: "the same with the mean error taken off first (Mahuas et al. 2020)",
    },
    Definition {
        names: &["noise_correlation_r_Xms"],
        unit: "1",
        right: Right::High,
        family: Family::Variability,
        text: "correlation over pairs of the model's noise correlations with the recorded ones",
    },
    Definition {
        names: &["noise_correlation_r2_of_differences_Xms"],
        unit: "1",
        right: Right::High,
        family: Family::Variability,
        text: "the strict one of differences of successive trials, which slow changes of the recording don't enter",
    },
    Definition {
        names: &["noise_correlation_r2_offset_free_of_differences_Xms"],
        unit: "1",
        right: Right::High,
        family: Family::Variability,
        text: "the offset-free one of differences of successive trials",
    },
    Definition {
        names: &["noise_correlation_mean_of_differences_Xms"],
        unit: "1",
        right: Right::AsData,
        family: Family::Variability,
        text: "mean noise correlation of the model's pairs, of differences of successive trials",
    },
    Definition {
        names: &["noise_correlation_mean_of_differences_data_Xms"],
        unit: "1",
        right: Right::None,
        family: Family::Variability,
        text: "the same of the recorded trials",
    },
    Definition {
        names: &["noise_correlation_mean_Xms"],
        unit: "1",
        right: Right::AsData,
        family: Family::Variability,
        text: "mean noise correlation of the model's pairs",
    },
    Definition {
        names: &["noise_correlation_mean_data_Xms"],
        unit: "1",
        right: Right::None,
        family: Family::Variability,
        text: "the same of the recorded trials",
    },
    Definition {
        names: &["runaway_fraction"],
        unit: "1",
        right: Right::Low,
        family: Family::Rates,
        text: "share of simulated trials in which all neurons together fire five times as fast over some 200 ms as they ever did in the \
               recorded trials of the stimulus",
    },
    Definition {
        names: &["multi_step_bits_per_spike_Xms"],
        unit: "bits",
        right: Right::High,
        family: Family::SingleTrials,
        text: "gain in likelihood over the mean rate, per spike, of the bin X ms after the recorded past ends: 50 free rollouts from there, \
               their probabilities averaged. Baseline `psth`: the smoothed average of the other trials. The interval resamples trials",
    },
    Definition {
        names: &["multi_step_gain_over_psth_Xms"],
        unit: "bits",
        right: Right::High,
        family: Family::SingleTrials,
        text: "`multi_step_bits_per_spike` less that of the average of the other trials, which has seen the same stimulus; interval over the \
               same resamples. Above 0, the recorded past still helps X ms later",
    },
];

/// Columns of the table.
pub const COLUMNS: &[Term] = &[
    Term {
        name: "value",
        text: "the model against the trials of the split (by default those that the fit has not seen)",
    },
    Term {
        name: "ci95",
        text: "95 % interval of a bootstrap over what the definition says. The fit itself is not repeated: for that, fit several seeds and \
               give all runs to one `evaluate`",
    },
    Term {
        name: "baselines",
        text: "the same metric with something simple in the model's place, as the definition says",
    },
    Term {
        name: "ceiling_noiseless",
        text: "what a noiseless model of the true rates or correlations would reach with so few recorded trials, from random halves of \
               them (Spearman–Brown). A model can lie a little above an estimate",
    },
    Term {
        name: "n",
        text: "how many bins, spikes, neurons, pairs or trials it rests on",
    },
];

/// Words of the page that only these networks have.
const OWN_TERMS: &[Term] = &[
    Term {
        name: "log-odds",
        text: "logarithm of p / (1 - p), p the probability of a spike in a bin: what kernels and filters add to. 0.7 doubles the odds, and \
               so nearly the rate of a neuron that rarely spikes; -0.7 halves it. It is temperature / threshold times the potential u of \
               the equations, so it compares between fits",
    },
    Term {
        name: "repeated stimulus",
        text: "one that is shown in 4 trials or more of the part: only there trial averages and noise correlations are defined",
    },
];

/// Words that the page shares with that of other models.
const SHARED: [&str; 5] = ["verdict", "finding", "floor", "splits", "seconds"];

/// Words of the page that are no metrics.
pub fn terms() -> Vec<Term> {
    let shared = TERMS.iter().filter(|term| SHARED.contains(&term.name));
    OWN_TERMS.iter().chain(shared).copied().collect()
}

/// The definition of a metric's name.
pub fn definition(name: &str) -> Option<&'static Definition> {
    let is_number = |text: &str| text.parse::<f64>().is_ok_and(f64::is_finite);
    let general = match name.strip_suffix("ms").and_then(|rest| rest.rsplit_once('_')) {
        Some((family, number)) if is_number(number) => format!("{family}_Xms"),
        _ => name.to_owned(),
    };
    METRICS
        .iter()
        .find(|definition| definition.names.contains(&general.as_str()))
}

/// The table of metrics in `docs/METRICS.md`.
pub fn metrics_markdown() -> String {
    let mut text = "| Metric | Unit | Right value | What it is |\n|---|---|---|---|\n".to_owned();
    for metric in METRICS {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            metric.names[0],
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
    fn names_with_a_window_have_the_definition_of_their_family() {
        let first = |name: &str| definition(name).map(|d| d.names[0]);
        assert_eq!(first("noise_correlation_r2_33.3ms"), Some("noise_correlation_r2_Xms"));
        assert_eq!(
            first("noise_correlation_r2_offset_free_of_differences_20ms"),
            Some("noise_correlation_r2_offset_free_of_differences_Xms")
        );
        assert_eq!(first("psth_correlation"), Some("psth_correlation"));
        assert_eq!(first("psth_correlation_20ms"), None);
        let texts = METRICS.iter().map(|metric| metric.text);
        for text in texts.chain(COLUMNS.iter().chain(OWN_TERMS).map(|term| term.text)) {
            assert!(text.matches('`').count().is_multiple_of(2), "{text}");
        }
        assert_eq!(terms().len(), OWN_TERMS.len() + SHARED.len());
    }
}
