//! The report of one evaluation: `metrics.json` and the table in the terminal.

use std::fmt::Write;

use losses::LossError;
use losses::metrics::MetricValue;
use losses::nulls::NullModel;
use serde::{Deserialize, Serialize};

use super::inputs::EvaluationInputs;
use crate::few_spikes::FewSpikes;
use crate::findings::{self, Finding};

/// Version of `metrics.json`.
pub const SCHEMA: u32 = 1;

/// All metrics of one run on one part of its trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this format, [`SCHEMA`].
    pub schema: u32,
    /// The run.
    pub run: String,
    /// Part of the trials that the model was compared with.
    pub split: String,
    /// Step of the checkpoint.
    pub checkpoint_step: u64,
    /// Trials simulated.
    pub model_trials: usize,
    /// Numbers of trials in the comparisons.
    pub trials: Vec<SessionTrials>,
    /// The metrics.
    pub metrics: Vec<MetricValue>,
    /// Metrics that are undefined for this recording.
    pub left_out: Vec<LeftOutMetric>,
    /// What must be known to read the numbers right: why null models are missing. Mostly empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// `feature_variance_ratio` of each session where it is defined.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub feature_variance: Vec<SessionVariance>,
    /// `population_variance_ratio` in stretches of the trial where it is defined.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variance_over_time: Vec<VarianceInTime>,
    /// Neurons that PSTH metrics leave out, because they have few spikes in the training trials; filled in by who knows
    /// their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub few_spikes: Vec<FewSpikes>,
    /// What the numbers show to be wrong, the worst first; filled in by who knows the run, absent in older files.
    #[serde(default)]
    pub findings: Vec<Finding>,
}

/// `feature_variance_ratio` of one session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionVariance {
    /// The session.
    pub session: String,
    /// Variance of the trial features, model over data.
    pub ratio: f64,
    /// 95 % interval of a bootstrap over the trials of both.
    pub ci95: [f64; 2],
    /// The same of training trials in the model's place; none where they are the evaluated trials.
    pub reference_train_test: Option<f64>,
    /// Recorded trials.
    pub n: usize,
}

/// `population_variance_ratio` in one stretch of the trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VarianceInTime {
    /// Start, ms relative to the alignment event; features are moving means, so that stretches overlap by their windows.
    pub start_ms: f64,
    /// End, ms.
    pub end_ms: f64,
    /// Variance of the population activity, model over data, mean over sessions.
    pub ratio: f64,
    /// 95 % interval, as of the metric.
    pub ci95: Option<[f64; 2]>,
    /// The same of training trials in the model's place; none where they are the evaluated trials.
    pub reference_train_test: Option<f64>,
    /// Recorded trials.
    pub n: usize,
}

/// Numbers of trials of one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTrials {
    /// The session.
    pub session: String,
    /// Its training trials.
    pub train: usize,
    /// Its trials in the part evaluated.
    pub test: usize,
    /// Trials of the model, of each null model and of the training data that were compared with the test trials.
    pub compared: usize,
    /// Trials of each, and of the test data, where trials were matched one to one.
    pub matched: usize,
}

/// A metric that is undefined, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutMetric {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// `Ok(None)` for a quantity that the data do not define; any other error stays one.
pub(super) fn if_defined<X>(found: Result<X, LossError>) -> Result<Option<X>, LossError> {
    match found {
        Ok(x) => Ok(Some(x)),
        Err(error) if is_undefined(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the data don't define a quantity, which is no fault.
pub(super) fn is_undefined(error: &LossError) -> bool {
    matches!(
        error,
        LossError::NoData { .. } | LossError::NoPopulation { .. } | LossError::TooFewBins { .. }
    )
}

impl Report {
    pub(super) fn new(inputs: &EvaluationInputs<'_>, trials: Vec<SessionTrials>, notes: Vec<String>) -> Self {
        Self {
            schema: SCHEMA,
            run: inputs.run.clone(),
            split: inputs.split.clone(),
            checkpoint_step: inputs.checkpoint_step,
            model_trials: inputs.model.conditions.len(),
            trials,
            metrics: Vec::new(),
            left_out: Vec::new(),
            notes,
            feature_variance: Vec::new(),
            variance_over_time: Vec::new(),
            few_spikes: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// Takes in the metrics of a group, or lists them as left out.
    pub(super) fn add(&mut self, names: &[&str], found: Result<Vec<MetricValue>, LossError>) -> Result<(), LossError> {
        let mut leave_out = |name: &str, reason: String| {
            self.left_out.push(LeftOutMetric {
                name: name.to_owned(),
                reason,
            });
        };
        match found {
            Ok(metrics) => {
                for metric in metrics {
                    if metric.value.is_finite() {
                        self.metrics.push(metric);
                    } else {
                        leave_out(&metric.name, reason(&metric.name).to_owned());
                    }
                }
            }
            Err(error) if is_undefined(&error) => {
                for name in names {
                    leave_out(name, error.to_string());
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// As [`Self::add`], in the table after the last metric called like `after`.
    pub(super) fn add_after(
        &mut self,
        after: &str,
        names: &[&str],
        found: Result<Vec<MetricValue>, LossError>,
    ) -> Result<(), LossError> {
        let last = self.metrics.iter().rposition(|metric| metric.name.starts_with(after));
        let rest = self.metrics.split_off(last.map_or(self.metrics.len(), |last| last + 1));
        let added = self.add(names, found);
        self.metrics.extend(rest);
        added
    }

    /// The metric of a name.
    pub fn metric(&self, name: &str) -> Option<&MetricValue> {
        self.metrics.iter().find(|metric| metric.name == name)
    }

    /// The table for the terminal: value with its interval, references, null models.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{} · {} trials · checkpoint step {} · {} model trials\n",
            self.run, self.split, self.checkpoint_step, self.model_trials
        );
        let (compared, matched) = (self.range(|t| t.compared), self.range(|t| t.matched));
        let _ = writeln!(
            text,
            "model, nulls and training data at equal numbers: {compared} trials a session, {matched} where matched\n"
        );
        let mut rows = vec![header()];
        rows.extend(self.metrics.iter().map(row));
        write_rows(&mut text, &rows);
        if !self.left_out.is_empty() {
            text.push_str("\nleft out:\n");
            for metric in &self.left_out {
                let _ = writeln!(text, "  {}: {}", metric.name, metric.reason);
            }
        }
        write_notes(&mut text, &self.notes);
        if !self.findings.is_empty() {
            text.push('\n');
        }
        text.push_str(&findings::text(&self.findings, usize::MAX));
        text
    }

    fn range(&self, of: impl Fn(&SessionTrials) -> usize) -> String {
        let numbers: Vec<usize> = self.trials.iter().map(of).collect();
        match (numbers.iter().min(), numbers.iter().max()) {
            (Some(low), Some(high)) if low == high => low.to_string(),
            (Some(low), Some(high)) => format!("{low}–{high}"),
            _ => "no".to_owned(),
        }
    }
}

/// Why a metric came out as not a number.
fn reason(name: &str) -> &'static str {
    match name {
        "feature_variance_ratio_within_type" => {
            "the training trials are all of one trial type, or no type has two trials of model and data"
        }
        "noise_correlation_r" => "fewer than two pairs, or their noise correlations don't vary",
        _ if name.starts_with("area_correlation") => {
            "no session has two areas with populations that vary, and two trials of a stimulus in model and data"
        }
        _ if name.starts_with("active_fraction") => {
            "no trial with behaviour is of this type by stimulus and lick (see type_fraction_threshold)"
        }
        _ => "it is not a number for these trials",
    }
}

/// A null model in a table.
fn short(null: NullModel) -> &'static str {
    match null {
        NullModel::TrialShuffled => "shuffled",
        NullModel::PsthPoissonPerStimulus => "Poisson/stim",
        NullModel::PsthPoissonPerTrialType => "Poisson/type",
        NullModel::PsthSharedGain => "gain",
    }
}

/// The same by the null model's name in `metrics.json`.
pub(crate) fn short_name(name: &str) -> &str {
    let null = NullModel::ALL.into_iter().find(|null| null.name() == name);
    null.map_or(name, |null| short(null))
}

fn header() -> Vec<String> {
    let nulls = NullModel::ALL.map(short);
    let mut header = vec!["metric", "value", "95 % interval", "train–test", "ceiling"];
    header.extend(nulls);
    header.extend(["n", "unit"]);
    header.into_iter().map(str::to_owned).collect()
}

fn row(metric: &MetricValue) -> Vec<String> {
    let optional = |value: Option<f64>| value.map_or("–".to_owned(), number);
    let mut row = vec![
        metric.name.clone(),
        number(metric.value),
        metric.ci95.map_or("–".to_owned(), |[low, high]| {
            format!("[{}, {}]", number(low), number(high))
        }),
        optional(metric.reference_train_test),
        optional(metric.ceiling_noiseless),
    ];
    row.extend(NullModel::ALL.map(|null| optional(metric.nulls.get(null.name()).copied())));
    row.extend([metric.n.to_string(), metric.unit.clone()]);
    row
}

/// Four significant digits at most, so that values of one column can be compared.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        x if x >= 100.0 => 1,
        x if x >= 10.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// One line each, after an empty one.
pub(super) fn write_notes(text: &mut String, notes: &[String]) {
    if !notes.is_empty() {
        text.push('\n');
    }
    for note in notes {
        let _ = writeln!(text, "note: {note}");
    }
}

/// Columns wide enough for their cells; the first one and the last one to the left, numbers to the right.
pub(crate) fn write_rows(text: &mut String, rows: &[Vec<String>]) {
    let n_columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| {
        rows.iter()
            .filter_map(|row| row.get(c))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..n_columns).map(|c| width(c).unwrap_or(0)).collect();
    for row in rows {
        let mut line = String::new();
        for (c, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = if c == 0 { "" } else { "  " };
            let _ = if c == 0 || c + 1 == n_columns {
                write!(line, "{gap}{cell:<width$}")
            } else {
                write!(line, "{gap}{cell:>width$}")
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}
