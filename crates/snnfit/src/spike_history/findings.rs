//! What the numbers of a spike-history network show to be wrong.

use losses::metrics::MetricValue;

use super::evaluate::SpikeHistoryReport;
use crate::findings::{Finding, Kind, Severity, Validations, of_validations, sorted};

/// More simulated trials than this that run away make averages over trials meaningless.
const RUNAWAY: f64 = 0.01;
/// Below this share of what a noiseless model would reach, trial averages are visibly others.
const FEW_OF_CEILING: f64 = 0.75;
/// Rates that are off by more than this factor are more than a slow change of the recording.
const RATE_FACTOR: f64 = 1.25;

/// A neuron that is recorded with fewer spikes per second is not expected to fire in the model.
const LEAST_HZ: f64 = 0.5;
/// Below this share of its recorded rate a neuron hardly fires; above the other it fires far too much.
const SILENT_SHARE: f64 = 0.1;
const FAST_FACTOR: f64 = 3.0;

/// R² that differ by less are equal for any purpose.
const VISIBLE: f64 = 0.05;

/// All findings, the worst first.
pub fn of_report(report: &SpikeHistoryReport, validations: &Validations) -> Vec<Finding> {
    let mut found: Vec<Finding> = runaway(report).into_iter().collect();
    found.extend(lost_neurons(report));
    found.extend(worse_than_history(report));
    found.extend(trial_averages(report));
    found.extend(noise_correlations(report));
    found.extend(rates(report));
    found.extend(horizons(report));
    found.extend(of_validations(validations));
    sorted(found)
}

fn metric<'r>(report: &'r SpikeHistoryReport, name: &str) -> Option<&'r MetricValue> {
    report.metrics.iter().find(|metric| metric.name == name)
}

fn runaway(report: &SpikeHistoryReport) -> Option<Finding> {
    let metric = metric(report, "runaway_fraction").filter(|metric| metric.value > RUNAWAY)?;
    Some(Finding {
        kind: Kind::RunawayTrials,
        severity: Severity::Severe,
        what: "simulated trials run away".to_owned(),
        how_much: format!(
            "{:.0} % of {} trials have 200 ms in which the population fires five times as fast as it ever did in the recording",
            100.0 * metric.value,
            metric.n
        ),
        why: "what the network predicts is good for the next bin only; its free simulations, their trial averages, noise \
              correlations and perturbations are not to be used"
            .to_owned(),
        remedy: "compare free simulations while fitting: `[[loss]] psth_cross_entropy` and `noise_covariance`, or `single_trial`; \
                 an encoder with a layer in place of a linear one"
            .to_owned(),
    })
}

fn lost_neurons(report: &SpikeHistoryReport) -> Option<Finding> {
    let audible = report.neurons.iter().filter(|n| n.rate_hz[0] >= LEAST_HZ);
    let lost: Vec<String> = audible
        .filter(|n| !(SILENT_SHARE * n.rate_hz[0]..=FAST_FACTOR * n.rate_hz[0]).contains(&n.rate_hz[1]))
        .map(|n| format!("{} {:.1} Hz for {:.1} Hz", n.neuron, n.rate_hz[1], n.rate_hz[0]))
        .collect();
    (!lost.is_empty()).then(|| Finding {
        kind: Kind::SilentNeurons,
        severity: if 2 * lost.len() > report.neurons.len() {
            Severity::Severe
        } else {
            Severity::Moderate
        },
        what: format!(
            "{} of {} neurons fire hardly or far too much in free simulations",
            lost.len(),
            report.neurons.len()
        ),
        how_much: format!(
            "{}{}",
            lost.iter().take(5).cloned().collect::<Vec<_>>().join(", "),
            if lost.len() > 5 { " and others" } else { "" }
        ),
        why: "their trial averages and correlations are those of another regime".to_owned(),
        remedy: "`[[loss]] psth_cross_entropy`, which sees the rates of free simulations; more steps".to_owned(),
    })
}

fn worse_than_history(report: &SpikeHistoryReport) -> Option<Finding> {
    let metric = metric(report, "bits_per_spike")?;
    let history = *metric.nulls.get("history_only")?;
    (metric.value < history).then(|| Finding {
        kind: Kind::WorseThanNull,
        severity: Severity::Severe,
        what: "past spikes alone predict the next bin better than the model".to_owned(),
        how_much: format!(
            "{:.2} bits per spike, a logistic regression on recorded history without a stimulus {history:.2}",
            metric.value
        ),
        why: "the stimulus encoder adds nothing that holds on these trials, or the couplings aren't fitted".to_owned(),
        remedy:
            "train longer, raise the weight of `likelihood`, or look for a stimulus that is out of step with the spikes"
                .to_owned(),
    })
}

fn trial_averages(report: &SpikeHistoryReport) -> Option<Finding> {
    let metric = metric(report, "psth_correlation")?;
    let ceiling = metric.ceiling_noiseless?;
    (metric.value < FEW_OF_CEILING * ceiling).then(|| Finding {
        kind: Kind::TrialAverages,
        severity: Severity::Moderate,
        what: "trial averages follow the recorded ones only in part".to_owned(),
        how_much: format!("`psth_correlation` {:.2} of {ceiling:.2} that can be reached", metric.value),
        why: "what the stimulus does to the neurons is described badly, and what it leaves over may be taken for couplings"
            .to_owned(),
        remedy: "another encoder (`encoder.stimulus.layers`, a longer `history_ms`), `[[loss]] psth_cross_entropy`, more steps"
            .to_owned(),
    })
}

fn noise_correlations(report: &SpikeHistoryReport) -> Option<Finding> {
    let bad: Vec<(&MetricValue, f64)> = report
        .metrics
        .iter()
        .filter(|m| m.name.starts_with("noise_correlation_r2_offset_free_") && !m.name.contains("differences"))
        .filter_map(|m| Some((m, *m.nulls.get("training_noise_correlations")?)))
        .filter(|(m, copied)| m.ci95.map_or(m.value, |[_, high]| high) < *copied && m.value < *copied - VISIBLE)
        .collect();
    let (worst, copied) = bad.first()?;
    Some(Finding {
        kind: Kind::WorseThanNull,
        severity: Severity::Moderate,
        what: "noise correlations are further from the recorded ones than those of the training trials are".to_owned(),
        how_much: format!(
            "`{}` {:.2}, copying the training trials {copied:.2}, above the model's interval{}",
            worst.name,
            worst.value,
            match bad.len() {
                1 => String::new(),
                n => format!("; in {n} count windows"),
            }
        ),
        why: "the variability that neurons share is part of what couplings are for".to_owned(),
        remedy: "`[[loss]] noise_covariance` with a higher weight; repeated stimuli in the training trials".to_owned(),
    })
}

fn rates(report: &SpikeHistoryReport) -> Option<Finding> {
    let metric = metric(report, "rate_ratio")?;
    let is_off = !(1.0 / RATE_FACTOR..=RATE_FACTOR).contains(&metric.value);
    is_off.then(|| Finding {
        kind: Kind::RateOffset,
        severity: Severity::Moderate,
        what: "free simulations fire at other rates than the recorded neurons".to_owned(),
        how_much: format!("`rate_ratio` {:.2}, mean over neurons", metric.value),
        why: "noise correlations and everything that depends on rates are shifted with them".to_owned(),
        remedy: "`[[loss]] psth_cross_entropy`; or the recording changes slowly, which is to be seen in the rates of its own trials"
            .to_owned(),
    })
}

fn horizons(report: &SpikeHistoryReport) -> Option<Finding> {
    let worse: Vec<String> = report
        .multi_step
        .iter()
        .filter(|h| h.gain_ci95.is_some_and(|[_, high]| high < 0.0))
        .map(|h| h.horizon_ms.to_string())
        .collect();
    (!worse.is_empty()).then(|| Finding {
        kind: Kind::WorseThanPsth,
        severity: Severity::Mild,
        what: "some time ahead, the average of the other trials predicts better than the model".to_owned(),
        how_much: format!("at {} ms", worse.join(", ")),
        why: "that average has seen the same stimulus, which the model may not have; for a new stimulus there is no such average"
            .to_owned(),
        remedy: "a better encoder: at long horizons the recorded past hardly matters".to_owned(),
    })
}
