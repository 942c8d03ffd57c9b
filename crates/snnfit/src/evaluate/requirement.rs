//! Requirements on metrics, such as `psth_pearson >= 0.7`: what `--require` checks.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;

use super::Report;

/// How a value is compared with the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Comparison {
    /// `>=`
    #[serde(rename = ">=")]
    AtLeast,
    /// `>`
    #[serde(rename = ">")]
    Above,
    /// `<=`
    #[serde(rename = "<=")]
    AtMost,
    /// `<`
    #[serde(rename = "<")]
    Below,
}

impl Comparison {
    /// Two characters before one, so that `>=` is not read as `>`.
    const ALL: [Self; 4] = [Self::AtLeast, Self::AtMost, Self::Above, Self::Below];

    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::AtLeast => ">=",
            Self::Above => ">",
            Self::AtMost => "<=",
            Self::Below => "<",
        }
    }

    /// Whether a value meets the limit.
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::AtLeast => value >= limit,
            Self::Above => value > limit,
            Self::AtMost => value <= limit,
            Self::Below => value < limit,
        }
    }
}

/// A metric, a comparison, a limit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Requirement {
    /// Name of the metric.
    pub metric: String,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what.
    pub limit: f64,
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.metric, self.comparison.symbol(), self.limit)
    }
}

/// Why a requirement can't be read or checked.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum RequirementError {
    /// It is not of the form name, comparison, number.
    #[error("'{text}' is not a requirement: {what}; write for instance 'psth_pearson >= 0.7', with >=, >, <= or <")]
    Malformed {
        /// The text.
        text: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// No metric has the name.
    #[error("no metric is called '{name}'; {}", suggestion(near))]
    Unknown {
        /// The name.
        name: String,
        /// Metrics with similar names, or all of them.
        near: Vec<String>,
    },
    /// The metric is undefined for this recording.
    #[error("'{name}' can't be required, it was left out: {reason}")]
    LeftOut {
        /// The metric.
        name: String,
        /// Why.
        reason: String,
    },
}

fn suggestion(near: &[String]) -> String {
    match near {
        [] => "the report has no metrics".to_owned(),
        [one] => format!("did you mean '{one}'?"),
        several => format!("the nearest are {}", several.join(", ")),
    }
}

impl FromStr for Requirement {
    type Err = RequirementError;

    fn from_str(text: &str) -> Result<Self, RequirementError> {
        let malformed = |what| RequirementError::Malformed {
            text: text.to_owned(),
            what,
        };
        let split = |comparison: Comparison| Some((text.split_once(comparison.symbol())?, comparison));
        let ((name, limit), comparison) = Comparison::ALL
            .into_iter()
            .find_map(split)
            .ok_or_else(|| malformed("it has no comparison"))?;
        let name = name.trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(malformed("before the comparison there must be one metric's name"));
        }
        let limit: f64 = limit
            .trim()
            .parse()
            .map_err(|_| malformed("after the comparison there must be one number"))?;
        if !limit.is_finite() {
            return Err(malformed("the number must be finite"));
        }
        Ok(Self {
            metric: name.to_owned(),
            comparison,
            limit,
        })
    }
}

/// A requirement that was checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The requirement.
    pub requirement: Requirement,
    /// Value of the metric.
    pub value: f64,
    /// Whether it is met.
    pub is_met: bool,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, value) = (if self.is_met { "met" } else { "NOT met" }, self.value);
        write!(f, "{word}: {} (it is {value:.4})", self.requirement)
    }
}

impl Requirement {
    /// Whether there is such a metric at all, before anything is evaluated. What follows a slash (an area, a trial
    /// type) is known only to the report.
    ///
    /// # Errors
    /// [`RequirementError::Unknown`], with the names nearest to it.
    pub fn check_name(&self) -> Result<(), RequirementError> {
        const OF_DATA: [&str; 2] = ["type_fraction_data", "peak_rate_above_threshold_data"];
        let names = || {
            let of_groups = super::GROUPS.iter().flat_map(|group| group.names.iter().copied());
            of_groups.chain(super::variance_parts::NAMES).chain(OF_DATA)
        };
        let stem = self.metric.split('/').next().unwrap_or_default();
        if names().any(|name| name == stem) {
            return Ok(());
        }
        Err(RequirementError::Unknown {
            name: self.metric.clone(),
            near: nearest(&self.metric, names()),
        })
    }

    /// Compares the report's value with the limit.
    ///
    /// # Errors
    /// [`RequirementError::Unknown`] for a name that is no metric, with the names nearest to it;
    /// [`RequirementError::LeftOut`] for a metric that is undefined for this recording.
    pub fn check(&self, report: &Report) -> Result<Verdict, RequirementError> {
        if let Some(metric) = report.metric(&self.metric) {
            return Ok(Verdict {
                requirement: self.clone(),
                value: metric.value,
                is_met: self.comparison.holds(metric.value, self.limit),
            });
        }
        let stem = self.metric.split('/').next().unwrap_or_default();
        let left_out = report.left_out.iter();
        if let Some(metric) = left_out
            .clone()
            .find(|m| m.name == self.metric)
            .or_else(|| left_out.clone().find(|m| m.name == stem && stem != self.metric))
        {
            return Err(RequirementError::LeftOut {
                name: self.metric.clone(),
                reason: metric.reason.clone(),
            });
        }
        let names = report.metrics.iter().map(|metric| metric.name.as_str());
        Err(RequirementError::Unknown {
            name: self.metric.clone(),
            near: nearest(&self.metric, names),
        })
    }
}

/// The names that are most alike: those within a third of the length of edits, or that contain the name, at most
/// four; all names if none is alike.
fn nearest<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let mut ranked: Vec<(usize, &str)> = names.map(|name| (edits(wanted, name), name)).collect();
    ranked.sort_unstable();
    let limit = wanted.chars().count() / 3 + 1;
    let is_near = |(edits, name): &&(usize, &str)| *edits <= limit || name.contains(wanted);
    let near: Vec<String> = ranked
        .iter()
        .filter(is_near)
        .take(4)
        .map(|(_, name)| (*name).to_owned())
        .collect();
    if near.is_empty() {
        return ranked.into_iter().map(|(_, name)| name.to_owned()).collect();
    }
    near
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use losses::metrics::MetricValue;

    use super::*;
    use crate::evaluate::{LeftOutMetric, SCHEMA};

    fn report() -> Report {
        Report {
            schema: SCHEMA,
            run: "run".to_owned(),
            split: "test".to_owned(),
            checkpoint_step: 1,
            model_trials: 1,
            trials: Vec::new(),
            metrics: ["psth_pearson", "trial_loss", "peak_rate_wasserstein/area2"]
                .map(|name| MetricValue::new(name, 0.5, 10, "1"))
                .to_vec(),
            left_out: vec![LeftOutMetric {
                name: "type_fraction".to_owned(),
                reason: "one type".to_owned(),
            }],
            notes: Vec::new(),
            feature_variance: Vec::new(),
            variance_over_time: Vec::new(),
            few_spikes: Vec::new(),
            findings: Vec::new(),
        }
    }

    #[test]
    fn each_comparison_is_parsed_and_holds_where_it_should() {
        for (text, is_met) in [
            ("psth_pearson >= 0.5", true),
            ("psth_pearson>0.5", false),
            ("psth_pearson <=0.5", true),
            (" psth_pearson < 5e-1 ", false),
            ("peak_rate_wasserstein/area2 < 0.6", true),
        ] {
            let verdict = text.parse::<Requirement>().unwrap().check(&report()).unwrap();
            assert_eq!(verdict.is_met, is_met, "{text}");
            assert_eq!(verdict.value, 0.5);
        }
    }

    #[test]
    fn malformed_requirements_say_what_is_wrong() {
        for (text, needle) in [
            ("psth_pearson 0.7", "no comparison"),
            ("psth_pearson == 0.7", "no comparison"),
            (">= 0.7", "one metric's name"),
            ("psth pearson >= 0.7", "one metric's name"),
            ("psth_pearson >= high", "one number"),
            ("psth_pearson >= 0.7 0.8", "one number"),
            ("psth_pearson >= nan", "finite"),
            ("psth_pearson >= inf", "finite"),
        ] {
            let error = text.parse::<Requirement>().unwrap_err().to_string();
            assert!(error.contains(needle) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn unknown_metrics_are_answered_with_near_ones() {
        let check = |text: &str| text.parse::<Requirement>().unwrap().check(&report()).unwrap_err();
        assert_eq!(
            check("psth_person >= 0.7").to_string(),
            "no metric is called 'psth_person'; did you mean 'psth_pearson'?"
        );
        let RequirementError::Unknown { near, .. } = check("speed >= 1") else {
            panic!("not unknown")
        };
        assert_eq!(near.len(), 3, "all are listed if none is near: {near:?}");
        assert!(matches!(
            check("type_fraction/hit > 0"),
            RequirementError::LeftOut { .. }
        ));
    }

    #[test]
    fn edits_of_words_counted_by_hand() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("same", "same"), 0);
    }
}
