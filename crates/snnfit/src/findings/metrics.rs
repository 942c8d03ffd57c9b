//! What the metrics of an evaluation show: dispersion, lost trial types, null models that are better.

use losses::metrics::MetricValue;
use losses::sinkhorn::Blur;
use losses::trial_loss::Method;

use super::{Finding, Kind, Severity, number, percent};
use crate::config::checked::Loss;
use crate::config::defaults::BLUR_RELATIVE;
use crate::evaluate::Report;
use crate::report::glossary::{self, Family, Right};

/// Below this ratio of trial-to-trial variances a model varies visibly less than the recording.
const UNDER_DISPERSED: f64 = 0.8;
/// Above it visibly more: the inverse of [`UNDER_DISPERSED`].
const OVER_DISPERSED: f64 = 1.25;
/// Metrics of the same ratio by area, …
const OF_AREA: &str = "population_variance_ratio/";
/// … and by trace of behaviour.
const OF_BEHAVIOUR: &str = "behaviour_variance_ratio/";
/// Beyond a factor 2 of this ratio (or below a half) dispersion is severe.
const SEVERE_DISPERSION: f64 = 2.0;
/// Fano factors of model and data differ by this factor before they are told: they depend on few spikes.
const COUNT_VARIABILITY: f64 = 2.0;
/// Rarer recorded trial types are not expected of a model: some tens of trials hardly show them.
const LEAST_TYPE_SHARE: f64 = 0.05;
/// Recorded trials whose clusters have a larger silhouette are of separate kinds. One cloud that is cut in two has up to 0.17.
const SEPARATE: f64 = 0.25;
/// Below this share of the recorded silhouette the model's trials run into one another.
const MERGED_SHARE: f64 = 0.5;
/// A type with less than this share of its recorded share is lost, not just rare.
const COLLAPSED_SHARE: f64 = 0.2;

/// Metrics of the family of single trials by which trials that vary too little beat recorded ones: no null model that wins by them
/// says anything.
const REWARD_NARROWNESS: [&str; 2] = ["trial_loss", "trial_matched_pearson"];

/// Findings of the metrics, with what to do about them after a fit with these losses.
pub fn of_metrics(report: &Report, losses: &[Loss]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = collapsed_types(report, losses).into_iter().collect();
    findings.extend(wrong_type_shares(report, losses));
    findings.extend(wrong_movement(report, losses));
    findings.extend(merged_modes(report, losses));
    findings.extend(dispersion(report, losses));
    findings.extend(count_variability(report, losses));
    findings.extend(worse_than_null(report, losses));
    findings
}

/// What gives single trials more say in a fit.
fn more_of_single_trials(losses: &[Loss]) -> String {
    let first = losses.iter().find_map(|loss| match loss {
        Loss::TrialMatching { .. } | Loss::SpikeGan(_) | Loss::TrialMatchedLikelihood { .. } => Some(loss.name()),
        Loss::Psth { .. } | Loss::FiringRate { .. } | Loss::CountVariance { .. } | Loss::CountCovariance { .. } => None,
    });
    match first {
        Some(name) => format!("give single trials more weight: `loss.{name}.weight`"),
        None => "add a loss of single trials: `loss.trial_matching`".to_owned(),
    }
}

/// What gives counts of neurons and pairs more say in a fit.
fn more_of_counts(losses: &[Loss]) -> String {
    let has = |is: fn(&Loss) -> bool| losses.iter().any(is);
    let add = match (
        has(|loss| matches!(loss, Loss::CountVariance { .. })),
        has(|loss| matches!(loss, Loss::CountCovariance { .. })),
    ) {
        (false, false) => "add `loss.count_variance`, which sees the counts of single neurons; ",
        (true, false) => "add `loss.count_covariance`, which sees those of pairs (it may cost kinds of trials); ",
        (_, true) => "",
    };
    format!("{add}more trials a step: `train.n_trials`; more steps: `train.max_steps`")
}

/// What makes single trials vary more. One-to-one matching and a small blur are least for trials that vary too little
/// (specification §4.1), so that more of them makes it worse.
fn more_variance(losses: &[Loss]) -> String {
    let wide = format!("`loss.trial_matching.blur_relative` = {BLUR_RELATIVE}");
    let matching = losses.iter().find_map(|loss| match loss {
        Loss::TrialMatching { method, .. } => Some(method),
        _ => None,
    });
    match matching {
        Some(Method::Hard) => format!(
            "match softly: `loss.trial_matching.method` = \"sinkhorn\" with {wide}, the default (matching one to one rewards trials that \
             vary too little, and more weight rewards them more)"
        ),
        Some(Method::Sinkhorn(sinkhorn)) => match sinkhorn.blur {
            Blur::Relative(blur) if blur >= BLUR_RELATIVE => format!(
                "a wider blur: `loss.trial_matching.blur_relative` above {blur}; or `loss.trial_matching.method` = \"energy\""
            ),
            Blur::Relative(_) => format!("a wider blur, which doesn't reward trials that vary too little: {wide}"),
            Blur::Absolute(_) => format!(
                "a wider blur, which doesn't reward trials that vary too little: {wide} in place of `loss.trial_matching.blur`"
            ),
        },
        Some(Method::Energy { .. }) => more_of_single_trials(losses),
        None if losses.iter().any(|loss| matches!(loss, Loss::SpikeGan(_))) => more_of_single_trials(losses),
        None => "add a loss of single trials: `loss.trial_matching`".to_owned(),
    }
}

/// A value with its interval.
fn with_interval(metric: &MetricValue) -> String {
    match metric.ci95 {
        Some([low, high]) => format!(
            "{} (95 % interval {} to {})",
            number(metric.value),
            number(low),
            number(high)
        ),
        None => number(metric.value),
    }
}

fn dispersion(report: &Report, losses: &[Loss]) -> Vec<Finding> {
    let Some(metric) = report.metric("feature_variance_ratio") else {
        return Vec::new();
    };
    if (UNDER_DISPERSED..=OVER_DISPERSED).contains(&metric.value) {
        return dispersion_of_parts(report, losses);
    }
    let is_with_behaviour = report
        .metrics
        .iter()
        .any(|metric| metric.name.starts_with(OF_BEHAVIOUR));
    let how_much = format!(
        "trial-to-trial variance of population activity{}, model over data: {}",
        if is_with_behaviour { " and behaviour" } else { "" },
        with_interval(metric)
    );
    vec![of_variance(metric.value, None, how_much, losses)]
}

/// Parts whose ratios are beyond the bounds with their whole intervals, though all of them together are within.
fn dispersion_of_parts(report: &Report, losses: &[Loss]) -> Vec<Finding> {
    let part = |metric: &MetricValue| {
        let of = [OF_AREA, OF_BEHAVIOUR]
            .iter()
            .find_map(|family| metric.name.strip_prefix(family));
        of.map(str::to_owned)
    };
    let beyond = |is_beyond: fn([f64; 2]) -> bool| -> Vec<(String, &MetricValue)> {
        let of_report = report
            .metrics
            .iter()
            .filter(|metric| metric.ci95.is_some_and(is_beyond));
        of_report.filter_map(|metric| Some((part(metric)?, metric))).collect()
    };
    let all = [
        beyond(|[_, high]| high < UNDER_DISPERSED),
        beyond(|[low, _]| low > OVER_DISPERSED),
    ];
    let finding = |parts: Vec<(String, &MetricValue)>| {
        let worst = parts
            .iter()
            .map(|(_, metric)| metric.value)
            .max_by(|a, b| a.ln().abs().total_cmp(&b.ln().abs()))?;
        let names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
        let each = parts
            .iter()
            .map(|(name, metric)| format!("{name} {}", with_interval(metric)));
        let how_much = format!(
            "trial-to-trial variance, model over data: {}; of all parts together it is {}",
            each.collect::<Vec<_>>().join(", "),
            report
                .metric("feature_variance_ratio")
                .map_or(String::new(), |metric| number(metric.value))
        );
        Some(of_variance(worst, Some(&names.join(", ")), how_much, losses))
    };
    all.into_iter().filter_map(finding).collect()
}

/// A ratio of variances beyond the bounds, of all features or of some parts.
fn of_variance(ratio: f64, parts: Option<&str>, how_much: String, losses: &[Loss]) -> Finding {
    let place = parts.map_or(String::new(), |parts| format!(" in {parts}"));
    let is_severe = !(1.0 / SEVERE_DISPERSION..=SEVERE_DISPERSION).contains(&ratio);
    let severity = if is_severe {
        Severity::Severe
    } else {
        Severity::Moderate
    };
    if ratio < UNDER_DISPERSED {
        return Finding {
            kind: Kind::UnderDispersion,
            severity,
            what: format!("the model varies too little from trial to trial{place}"),
            how_much,
            why: "its single trials look like averages; shares of trial types and correlations across trials come out too \
                  narrow"
                .to_owned(),
            remedy: format!(
                "{}{}; `train.n_trials` large enough to show all kinds of trials; a latent with more dimensions: \
                 `model.rsnn.latent.mlp.dimensions`; raise `model.rsnn.noise`",
                if parts.is_some() { of_each_part(losses) } else { "" },
                more_variance(losses)
            ),
        };
    }
    Finding {
        kind: Kind::OverDispersion,
        severity,
        what: format!("the model varies too much from trial to trial{place}"),
        how_much,
        why: "it shows activity that the animal's trials never had; averages hide it".to_owned(),
        remedy: "let latent offsets start smaller with `model.rsnn.latent.mlp.init_scale`, or bound them with \
                 `model.rsnn.latent.mlp.bound`; lower `model.rsnn.noise`; more steps: `train.max_steps`"
            .to_owned(),
    }
}

/// Among all features, a small population or a trace hardly counts.
fn of_each_part(losses: &[Loss]) -> &'static str {
    let of_all = |loss: &Loss| {
        matches!(
            loss,
            Loss::TrialMatching {
                method: Method::Energy { by_part: false, .. },
                ..
            }
        )
    };
    if losses.iter().any(of_all) {
        "compare each population and trace by itself as well: `loss.trial_matching.by_part` = true; "
    } else {
        ""
    }
}

fn count_variability(report: &Report, losses: &[Loss]) -> Option<Finding> {
    let metric = report.metric("fano_ratio")?;
    if (1.0 / COUNT_VARIABILITY..=COUNT_VARIABILITY).contains(&metric.value) {
        return None;
    }
    let (how, other) = if metric.value > 1.0 {
        (
            "too much",
            "let latent offsets start smaller with `model.rsnn.latent.mlp.init_scale`, or bound them with \
             `model.rsnn.latent.mlp.bound`",
        )
    } else {
        ("too little", "raise `model.rsnn.noise`")
    };
    let remedy = if losses.iter().any(|loss| matches!(loss, Loss::CountVariance { .. })) {
        format!("more steps: `train.max_steps`; {other}")
    } else {
        format!("add the loss `loss.count_variance`, which sees it; {other}")
    };
    Some(Finding {
        kind: Kind::CountVariability,
        severity: Severity::Moderate,
        what: format!("single neurons vary {how} from trial to trial"),
        how_much: format!(
            "Fano factor of spike counts, model over data: {}",
            with_interval(metric)
        ),
        why: "losses of averages and populations don't see it, but decoding from single neurons and their pairs does"
            .to_owned(),
        remedy,
    })
}

/// One finding for all types that are lost: they are lost together.
fn collapsed_types(report: &Report, losses: &[Loss]) -> Option<Finding> {
    let of_type = |metric: &MetricValue| {
        let name = metric.name.strip_prefix("type_fraction/")?;
        let recorded = report.metric(&format!("type_fraction_data/{name}"))?.value;
        let is_excluded = metric.ci95.is_none_or(|[_, high]| high < recorded);
        let is_lost = recorded >= LEAST_TYPE_SHARE && metric.value < COLLAPSED_SHARE * recorded && is_excluded;
        is_lost.then(|| (name.to_owned(), metric.value, recorded))
    };
    let lost: Vec<(String, f64, f64)> = report.metrics.iter().filter_map(of_type).collect();
    let names: Vec<&str> = lost.iter().map(|(name, ..)| name.as_str()).collect();
    let shares = lost.iter().map(|(name, model, recorded)| {
        format!(
            "{name} {} of the model's trials, {} of the recorded ones",
            percent(*model),
            percent(*recorded)
        )
    });
    (!lost.is_empty()).then(|| Finding {
        kind: Kind::CollapsedTrialType,
        severity: Severity::Severe,
        what: format!("the model hardly shows trials of type {}", names.join(", ")),
        how_much: shares.collect::<Vec<_>>().join("; "),
        why: "a mode of the recorded trials is missing: the model can't tell what makes a trial one or the other"
            .to_owned(),
        remedy: format!(
            "{}; more trials a step: `train.n_trials`; where what makes the difference may come from areas that nobody recorded: \
             offsets with a course, `model.rsnn.latent.mlp.knots_ms` and `model.rsnn.latent.mlp.stimulus_from_ms`",
            more_of_single_trials(losses)
        ),
    })
}

/// Shares whose intervals have nothing in common with those of the recorded ones, which `recorded` names.
fn beyond_recorded<'r>(
    report: &'r Report,
    family: &str,
    recorded: impl Fn(&str) -> String,
) -> Vec<(&'r str, &'r MetricValue, &'r MetricValue)> {
    let of_share = |metric: &'r MetricValue| {
        let name = metric.name.strip_prefix(family)?;
        let data = report.metric(&recorded(name))?;
        let ([low, high], [data_low, data_high]) = (metric.ci95?, data.ci95?);
        (high < data_low || low > data_high).then_some((name, metric, data))
    };
    report.metrics.iter().filter_map(of_share).collect()
}

/// A share and the recorded one in words.
fn beside_recorded((name, metric, data): &(&str, &MetricValue, &MetricValue)) -> String {
    format!("{name} {}, recorded {}", with_interval(metric), with_interval(data))
}

/// Trial types whose shares, by rules that type recorded trials too, are beyond the recorded ones. `type_fraction` is not among
/// them: its recorded shares are those of labels.
fn wrong_type_shares(report: &Report, losses: &[Loss]) -> Option<Finding> {
    let rules = [
        (
            "session_type_fraction/",
            "session_type_fraction_data/",
            "by the templates of each session",
        ),
        (
            "type_fraction_threshold/",
            "type_fraction_threshold_data/",
            "by the height of the trace",
        ),
    ];
    let mut names = Vec::new();
    let mut lines = Vec::new();
    for (family, of_data, rule) in rules {
        let found = beyond_recorded(report, family, |name| format!("{of_data}{name}"));
        for share in &found {
            if !names.contains(&share.0) {
                names.push(share.0);
            }
            lines.push(format!("{}, {rule}", beside_recorded(share)));
        }
    }
    (!lines.is_empty()).then(|| Finding {
        kind: Kind::WrongTypeShares,
        severity: Severity::Moderate,
        what: format!("the model shows trials of type {} too often or too rarely", names.join(", ")),
        how_much: lines.join("; "),
        why: "what the network says of a type's share, and of what changes it, starts from another share than the animal's"
            .to_owned(),
        remedy: format!(
            "{}; more steps: `train.max_steps`; where types by the trace are wrong, and its log link makes trials of all sizes: \
             `model.rsnn.behaviour.link` = \"linear\"; offsets with a course: `model.rsnn.latent.mlp.knots_ms`",
            parts_or_weight(losses)
        ),
    })
}

/// Single trials with more say: by each part where that is to be had.
fn parts_or_weight(losses: &[Loss]) -> String {
    let by_part = of_each_part(losses);
    if by_part.is_empty() {
        more_of_single_trials(losses)
    } else {
        by_part.trim_end_matches("; ").to_owned()
    }
}

/// Shares of trials with movement before the cue that are beyond the recorded ones.
fn wrong_movement(report: &Report, losses: &[Loss]) -> Option<Finding> {
    let mut found = beyond_recorded(report, "active_fraction/", |name| {
        format!("active_fraction_data/{name}")
    });
    for share in beyond_recorded(report, "active_fraction", |_| "active_fraction_data".to_owned()) {
        // All trials have no name of a type.
        if share.0.is_empty() {
            found.insert(0, ("all trials", share.1, share.2));
        }
    }
    (!found.is_empty()).then(|| Finding {
        kind: Kind::WrongMovement,
        severity: Severity::Moderate,
        what: "the first trace moves before the cue in another share of trials than the animal's".to_owned(),
        how_much: found.iter().map(beside_recorded).collect::<Vec<_>>().join("; "),
        why: "trials that are active and quiet are told apart by it; what the model says of either may be of the other".to_owned(),
        remedy: format!(
            "{}; a slower readout, which noise moves less: `model.rsnn.behaviour.tau_ms`; more areas or neurons that drive it: \
             `model.rsnn.behaviour.motor_areas`",
            parts_or_weight(losses)
        ),
    })
}

/// Recorded trials are of separate kinds, the model's are one cloud.
fn merged_modes(report: &Report, losses: &[Loss]) -> Option<Finding> {
    let metric = report.metric("mode_silhouette")?;
    let recorded = metric.reference_train_test.filter(|recorded| *recorded > SEPARATE)?;
    (metric.value < MERGED_SHARE * recorded).then(|| Finding {
        kind: Kind::MergedModes,
        severity: Severity::Moderate,
        what: "the model's trials are not of separate kinds".to_owned(),
        how_much: format!(
            "mean silhouette of the clusters of single trials: {}, of recorded trials {}",
            with_interval(metric),
            number(recorded)
        ),
        why: "a share of trial types by template counts trials on either side of a line even where there is no gap"
            .to_owned(),
        remedy: format!(
            "more steps: `train.max_steps`; a latent that tells trials apart: `model.rsnn.latent.mlp.init_scale`, \
             `model.rsnn.latent.mlp.dimensions`, `model.rsnn.latent.mlp.knots_ms`; {}",
            more_of_single_trials(losses)
        ),
    })
}

/// A metric that some null model wins.
struct Lost<'r> {
    metric: &'r MetricValue,
    null: (&'r str, f64),
    /// Whether the null lies outside of the interval.
    is_clear: bool,
}

/// The best null model of a metric, if it is better than the model.
fn lost(metric: &MetricValue) -> Option<Lost<'_>> {
    let definition = glossary::definition(&metric.name)?;
    let nulls = metric.nulls.iter().map(|(name, value)| (name.as_str(), *value));
    let nulls = nulls.filter(|(_, value)| value.is_finite());
    let (null, is_worse, is_clear) = match definition.right {
        Right::High => {
            let null = nulls.max_by(|a, b| a.1.total_cmp(&b.1))?;
            let is_clear = metric.ci95.is_some_and(|[_, high]| high < null.1);
            (null, metric.value < null.1, is_clear)
        }
        Right::Low => {
            let null = nulls.min_by(|a, b| a.1.total_cmp(&b.1))?;
            let is_clear = metric.ci95.is_some_and(|[low, _]| low > null.1);
            (null, metric.value > null.1, is_clear)
        }
        Right::One | Right::AsData | Right::AsShares | Right::AsReference | Right::None => return None,
    };
    is_worse.then_some(Lost { metric, null, is_clear })
}

/// One finding for each family of metrics: they fail together.
fn worse_than_null(report: &Report, losses: &[Loss]) -> Vec<Finding> {
    let families = [
        Family::TrialAverages,
        Family::SingleTrials,
        Family::Rates,
        Family::Variability,
    ];
    let of_family = |family: Family| {
        let is_of_family = |metric: &&MetricValue| {
            // Variants and areas fail with the metric they belong to.
            let definition = glossary::definition(&metric.name);
            definition.is_some_and(|d| d.family == family && d.names.contains(&metric.name.as_str()))
                && !metric.name.ends_with("_ref_centered")
                && !REWARD_NARROWNESS.contains(&metric.name.as_str())
        };
        let losts: Vec<Lost<'_>> = report.metrics.iter().filter(is_of_family).filter_map(lost).collect();
        (!losts.is_empty()).then(|| finding(family, &losts, losses))
    };
    families.into_iter().filter_map(of_family).collect()
}

fn finding(family: Family, losts: &[Lost<'_>], losses: &[Loss]) -> Finding {
    let each = losts.iter().map(|lost| {
        format!(
            "{} is {}, {} has {}{}",
            lost.metric.name,
            number(lost.metric.value),
            lost.null.0,
            number(lost.null.1),
            if lost.is_clear { "" } else { " (within the interval)" }
        )
    });
    let (what, remedy) = match family {
        Family::TrialAverages => (
            "trial averages are no better than those of a null model",
            "give the PSTH loss more weight (`loss.psth.weight`); more steps: `train.max_steps`; a larger \
             `optimizer.adamw.lr`"
                .to_owned(),
        ),
        Family::SingleTrials => (
            "single trials are no better than those of a null model",
            format!(
                "{}; more trials a step: `train.n_trials`",
                more_of_single_trials(losses)
            ),
        ),
        Family::Rates => (
            "mean rates are no better than those of a null model",
            "add the loss `loss.firing_rate`; more steps: `train.max_steps`".to_owned(),
        ),
        Family::Variability => (
            "noise correlations are no better than those of a null model",
            more_of_counts(losses),
        ),
    };
    Finding {
        kind: Kind::WorseThanNull,
        severity: if losts.iter().any(|lost| lost.is_clear) {
            Severity::Moderate
        } else {
            Severity::Mild
        },
        what: what.to_owned(),
        how_much: each.collect::<Vec<_>>().join("; "),
        why: "a null model knows averages only: what it does as well needs no network".to_owned(),
        remedy,
    }
}
