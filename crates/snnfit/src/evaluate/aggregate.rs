//! Several runs (seeds) together: mean, standard deviation and range of each metric.

use std::fmt::Write;

use losses::statistics::{mean, unbiased_variance};
use serde::{Deserialize, Serialize};

use super::report::{Report, SCHEMA, number, short_name, write_notes, write_rows};
use super::{EvaluateError, LeftOutMetric};

/// Metrics of several runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    /// Version of this format.
    pub schema: u32,
    /// The runs.
    pub runs: Vec<String>,
    /// Part of the trials that they were compared with.
    pub split: String,
    /// The metrics, in the order in which they first appear.
    pub metrics: Vec<AggregateMetric>,
    /// Metrics that some run has and another has not.
    pub left_out: Vec<LeftOutMetric>,
    /// Notes of the reports, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One metric over the runs that have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AggregateMetric {
    /// Name, as in the reports.
    pub name: String,
    /// Mean over runs.
    pub mean: f64,
    /// Unbiased standard deviation over runs; absent for one run.
    pub sd: Option<f64>,
    /// Lowest and highest value.
    pub range: [f64; 2],
    /// Value of each run, in the order of [`Aggregate::runs`]; absent where it was left out.
    pub values: Vec<Option<f64>>,
    /// Mean over runs of the training data in the model's place.
    pub reference_train_test: Option<f64>,
    /// Mean over runs of the noiseless ceiling.
    pub ceiling_noiseless: Option<f64>,
    /// Mean over runs of each null model.
    pub nulls: std::collections::BTreeMap<String, f64>,
    /// Unit.
    pub unit: String,
}

/// Mean, standard deviation and range of each metric over runs.
///
/// # Errors
/// [`EvaluateError::Mixed`] for reports of different parts, [`EvaluateError::Inputs`] without a report.
pub fn aggregate(reports: &[Report]) -> Result<Aggregate, EvaluateError> {
    let Some(first) = reports.first() else {
        return Err(EvaluateError::Inputs {
            what: "number of reports",
            found: "0".to_owned(),
            expected: "at least 1".to_owned(),
        });
    };
    if let Some(other) = reports.iter().find(|report| report.split != first.split) {
        return Err(EvaluateError::Mixed {
            what: "the part of the trials",
            first: first.split.clone(),
            first_run: first.run.clone(),
            other: other.split.clone(),
            other_run: other.run.clone(),
        });
    }
    let mut names: Vec<&str> = Vec::new();
    for metric in reports.iter().flat_map(|report| &report.metrics) {
        if !names.contains(&metric.name.as_str()) {
            names.push(&metric.name);
        }
    }
    let metrics: Vec<AggregateMetric> = names.iter().map(|name| over_runs(name, reports)).collect();
    let is_partial = |metric: &&AggregateMetric| metric.values.iter().any(Option::is_none);
    let left_out = metrics.iter().filter(is_partial).map(|metric| {
        let missing = reports.iter().zip(&metric.values).filter(|(_, value)| value.is_none());
        let missing: Vec<&str> = missing.map(|(report, _)| report.run.as_str()).collect();
        LeftOutMetric {
            name: metric.name.clone(),
            reason: format!("not defined in {}", missing.join(", ")),
        }
    });
    let mut notes: Vec<String> = Vec::new();
    for note in reports.iter().flat_map(|report| &report.notes) {
        if !notes.contains(note) {
            notes.push(note.clone());
        }
    }
    Ok(Aggregate {
        schema: SCHEMA,
        runs: reports.iter().map(|report| report.run.clone()).collect(),
        split: first.split.clone(),
        left_out: left_out.collect(),
        metrics,
        notes,
    })
}

fn over_runs(name: &str, reports: &[Report]) -> AggregateMetric {
    let found: Vec<_> = reports.iter().map(|report| report.metric(name)).collect();
    let values: Vec<f64> = found.iter().flatten().map(|metric| metric.value).collect();
    let mean_of = |list: Vec<f64>| (!list.is_empty()).then(|| mean(&list));
    let mut nulls = std::collections::BTreeMap::<String, Vec<f64>>::new();
    for (null, value) in found.iter().flatten().flat_map(|metric| &metric.nulls) {
        nulls.entry(null.clone()).or_default().push(*value);
    }
    AggregateMetric {
        name: name.to_owned(),
        mean: mean(&values),
        sd: (values.len() > 1).then(|| unbiased_variance(&values).sqrt()),
        range: [
            values.iter().copied().fold(f64::INFINITY, f64::min),
            values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ],
        values: found.iter().map(|metric| metric.map(|m| m.value)).collect(),
        reference_train_test: mean_of(found.iter().flatten().filter_map(|m| m.reference_train_test).collect()),
        ceiling_noiseless: mean_of(found.iter().flatten().filter_map(|m| m.ceiling_noiseless).collect()),
        nulls: nulls.into_iter().map(|(null, values)| (null, mean(&values))).collect(),
        unit: found
            .iter()
            .flatten()
            .next()
            .map_or_else(|| "1".to_owned(), |m| m.unit.clone()),
    }
}

impl Aggregate {
    /// The table for the terminal.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{} runs · {} trials: {}\n\n",
            self.runs.len(),
            self.split,
            self.runs.join(", ")
        );
        let header = [
            "metric",
            "mean",
            "sd",
            "range",
            "train–test",
            "ceiling",
            "nearest null",
            "runs",
            "unit",
        ];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        let optional = |value: Option<f64>| value.map_or("–".to_owned(), number);
        for metric in &self.metrics {
            let nearest = metric.nulls.iter().min_by(|(_, a), (_, b)| {
                // The null that is hardest to tell from the model.
                (*a - metric.mean).abs().total_cmp(&(*b - metric.mean).abs())
            });
            rows.push(vec![
                metric.name.clone(),
                number(metric.mean),
                optional(metric.sd),
                format!("{} … {}", number(metric.range[0]), number(metric.range[1])),
                optional(metric.reference_train_test),
                optional(metric.ceiling_noiseless),
                nearest.map_or("–".to_owned(), |(null, value)| {
                    format!("{} ({})", number(*value), short_name(null))
                }),
                metric.values.iter().flatten().count().to_string(),
                metric.unit.clone(),
            ]);
        }
        write_rows(&mut text, &rows);
        if !self.left_out.is_empty() {
            text.push_str("\nnot in all runs:\n");
            for metric in &self.left_out {
                let _ = writeln!(text, "  {}: {}", metric.name, metric.reason);
            }
        }
        write_notes(&mut text, &self.notes);
        text
    }
}
