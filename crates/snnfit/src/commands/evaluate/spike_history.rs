//! `snnfit evaluate` of runs with `[model.spike_history]`.

mod page;
mod perturb;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use losses::metrics::MetricValue;
use losses::sample_and_measure::reproduction;
use losses::statistics::{mean, quantile_sorted};
use serde::Serialize;
use snn_core::device::OpenDevice;

use super::history::History;
use crate::assembly::Part;
use crate::cli::{EvaluateArgs, Format, Global, SplitChoice};
use crate::config::{self, AnyExperiment};
use crate::error::Error;
use crate::evaluate::{number, write_rows};
use crate::exit_code;
use crate::run_dir::RunDir;
use crate::spike_history::evaluate::{
    Compared, Inputs, SpikeHistoryReport, check_size, evaluate, resampled_pairs, simulate,
};
use crate::spike_history::findings;
use crate::spike_history::fitted::Fitted;

/// Whether a run is of this model; runs that can't be read are left to who evaluates them.
pub(in crate::commands) fn is_one(path: &Path) -> bool {
    RunDir::open(path)
        .ok()
        .and_then(|run| config::load_any_run(&run.run_toml(), &[]).ok())
        .is_some_and(|loaded| matches!(loaded.experiment, AnyExperiment::SpikeHistory(_)))
}

/// A metric of one run minus that of another.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Difference {
    metric: String,
    /// Difference, with its interval over the same resamples of recorded trials and pairs.
    value: f64,
    ci95: Option<[f64; 2]>,
}

/// A run that was evaluated, with what it was compared with.
struct Judged {
    report: SpikeHistoryReport,
    compared: Vec<Compared>,
    /// Bins and milliseconds of the count windows.
    windows: Vec<(usize, f64)>,
}

pub(super) fn run(args: &EvaluateArgs, global: &Global, device: &OpenDevice) -> Result<u8, Error> {
    if args.trial_chunk.is_some() && args.perturbation.is_empty() {
        return Err(Error::Usage {
            message: "--trial-chunk without a perturbation is not there for [model.spike_history]".to_owned(),
            help: "leave the option out".to_owned(),
        });
    }
    if !args.perturbation.is_empty() {
        return perturb::run(args, global, device);
    }
    let mut judged = Vec::new();
    for path in &args.runs {
        judged.push(evaluate_run(path, args, device)?);
    }
    let other = match &args.compared_to {
        Some(path) => Some(evaluate_run(path, args, device)?),
        None => None,
    };
    let mut differences = Vec::new();
    if let Some(other) = &other {
        for one in &judged {
            differences.push(compare(one, other)?);
        }
    }
    let reports: Vec<&SpikeHistoryReport> = judged.iter().map(|one| &one.report).collect();
    match (global.format, reports.as_slice()) {
        (Format::Json, [report]) if other.is_none() => super::super::print_json(report)?,
        (Format::Json, _) => {
            super::super::print_json(&serde_json::json!({
                "schema": 1, "reports": reports, "compared_to": other.as_ref().map(|one| &one.report.run), "differences": differences,
            }))?;
        }
        (Format::Text, _) => {
            let mut text = String::new();
            for (i, report) in reports.iter().enumerate() {
                text += &table(report);
                if let (Some(found), Some(other)) = (differences.get(i), &other) {
                    text += &difference_table(found, &other.report.run);
                }
                text.push('\n');
            }
            if reports.len() > 1 {
                text += &summary(&reports);
            }
            super::super::print(&super::super::visible(&text))?;
        }
    }
    check(args, &reports)
}

fn evaluate_run(path: &Path, args: &EvaluateArgs, device: &OpenDevice) -> Result<Judged, Error> {
    let (run, fitted) = Fitted::open(path, args.checkpoint, &args.data, device.clone())?;
    let (part, name) = match args.split {
        SplitChoice::Test => (Part::Test, "test"),
        SplitChoice::Validation => (Part::Validation, "validation"),
        SplitChoice::Train => (Part::Train, "train"),
    };
    if fitted
        .recorded
        .sessions
        .iter()
        .all(|session| session.trials(part).is_empty())
    {
        return Err(crate::fit_error::FitError::NoTrials { part: name }.into());
    }
    let shown = path.display().to_string();
    let inputs = Inputs {
        run: &shown,
        experiment: &fitted.experiment,
        rollouts: fitted.rollouts(),
        part: (part, name),
        checkpoint_step: fitted.step,
        n_trials: args.trials.map_or(200, std::num::NonZeroUsize::get),
    };
    check_size(&inputs)?;
    if part == Part::Test {
        run.update_manifest(|manifest| manifest.test_openings += 1)?;
    }
    let compared = simulate(&inputs)?;
    let mut report = evaluate(&inputs, &compared)?;
    let history = History::read(&run)?;
    report.findings = findings::of_report(&report, &history.validations);
    super::super::write_json(&run.metrics(name), &report)?;
    let judged = page::Judged {
        run: &run,
        fitted: &fitted,
        part: (part, name),
        compared: &compared,
        report: &report,
        history: &history,
    };
    page::draw(&judged, args)?;
    let windows = &fitted.experiment.statistics.count_windows;
    let bin_ms = fitted.experiment.data.bin_ms;
    Ok(Judged {
        report,
        compared,
        windows: windows.iter().map(|w| (w.steps, w.steps as f64 * bin_ms)).collect(),
    })
}

/// Differences of the metrics, with paired intervals of those of noise correlations.
fn compare(one: &Judged, other: &Judged) -> Result<Vec<Difference>, Error> {
    let is_same = one.compared.len() == other.compared.len()
        && one.compared.iter().zip(&other.compared).all(|(a, b)| a.data == b.data)
        && one.windows == other.windows;
    if !is_same {
        return Err(Error::Usage {
            message: format!(
                "{} and {} are not evaluated on the same trials and windows",
                one.report.run, other.report.run
            ),
            help: "compare runs of the same recording, split and [statistics]".to_owned(),
        });
    }
    let mut intervals = BTreeMap::new();
    for (bins, ms) in &one.windows {
        let ms = (ms * 10.0).round() / 10.0;
        let (mine, theirs) = (
            resampled_pairs(&one.compared, *bins, 0),
            resampled_pairs(&other.compared, *bins, 0),
        );
        let both = mine.iter().zip(&theirs);
        let found: Vec<_> = both
            .map(|((d, m), (e, n))| (reproduction(d, m), reproduction(e, n)))
            .collect();
        for (name, pick) in [
            ("r2", (|r| r.r2) as fn(&losses::sample_and_measure::Reproduction) -> f64),
            ("r2_offset_free", |r| r.r2_offset_free),
            ("r", |r| r.r),
        ] {
            let mut values: Vec<f64> = found
                .iter()
                .map(|(a, b)| pick(a) - pick(b))
                .filter(|x| x.is_finite())
                .collect();
            values.sort_by(f64::total_cmp);
            let interval = quantile_sorted(&values, 0.025).zip(quantile_sorted(&values, 0.975));
            intervals.insert(
                format!("noise_correlation_{name}_{ms}ms"),
                interval.map(|(a, b)| [a, b]),
            );
        }
    }
    let value =
        |report: &SpikeHistoryReport, name: &str| report.metrics.iter().find(|m| m.name == name).map(|m| m.value);
    let of = |metric: &MetricValue| {
        Some(Difference {
            metric: metric.name.clone(),
            value: metric.value - value(&other.report, &metric.name)?,
            ci95: intervals.get(&metric.name).copied().flatten(),
        })
    };
    Ok(one.report.metrics.iter().filter_map(of).collect())
}

/// Value with interval, ceiling and baselines of each metric.
fn table(report: &SpikeHistoryReport) -> String {
    let mut text = format!(
        "{} · {} trials · checkpoint step {} · {} model trials of each repeated stimulus\n\n",
        report.run, report.split, report.checkpoint_step, report.model_trials
    );
    let mut rows = vec![
        ["metric", "value", "95 % interval", "ceiling", "n", "unit", "baselines"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for metric in &report.metrics {
        let nulls: Vec<String> = metric
            .nulls
            .iter()
            .map(|(name, value)| format!("{name} {}", number(*value)))
            .collect();
        rows.push(vec![
            metric.name.clone(),
            shown(metric.value),
            metric.ci95.map_or("–".to_owned(), |[low, high]| {
                format!("[{}, {}]", shown(low), shown(high))
            }),
            metric.ceiling_noiseless.map_or("–".to_owned(), shown),
            metric.n.to_string(),
            metric.unit.clone(),
            nulls.join(", "),
        ]);
    }
    write_rows(&mut text, &rows);
    if !report.left_out.is_empty() {
        text.push_str("\nleft out:\n");
        for metric in &report.left_out {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {}: {}", metric.name, metric.reason);
        }
    }
    let found = crate::findings::text(&report.findings, usize::MAX);
    if !found.is_empty() {
        text.push('\n');
        text.push_str(&found);
    }
    text
}

/// Cross-entropies need more digits than other numbers.
fn shown(value: f64) -> String {
    if value.abs() < 0.1 {
        format!("{value:.5}")
    } else {
        number(value)
    }
}

fn difference_table(differences: &[Difference], other: &str) -> String {
    let mut text = format!("\ndifference from {other}, intervals over the same resamples of trials and pairs:\n");
    let rows: Vec<Vec<String>> = differences
        .iter()
        .map(|d| {
            let interval = d.ci95.map_or("–".to_owned(), |[low, high]| {
                format!(
                    "[{low:+.3}, {high:+.3}]{}",
                    if low > 0.0 || high < 0.0 { " *" } else { "" }
                )
            });
            vec![d.metric.clone(), format!("{:+.3}", d.value), interval]
        })
        .collect();
    write_rows(&mut text, &rows);
    text
}

/// Means over runs with their range.
fn summary(reports: &[&SpikeHistoryReport]) -> String {
    let mut text = format!("{} runs: mean [lowest, highest]\n", reports.len());
    let mut rows = Vec::new();
    for metric in &reports[0].metrics {
        let values: Vec<f64> = reports
            .iter()
            .filter_map(|report| report.metrics.iter().find(|m| m.name == metric.name))
            .map(|m| m.value)
            .collect();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        rows.push(vec![
            metric.name.clone(),
            shown(mean(&values)),
            format!("[{}, {}]", shown(low), shown(high)),
            values.len().to_string(),
        ]);
    }
    write_rows(&mut text, &rows);
    text
}

/// Every requirement must hold for every run.
fn check(args: &EvaluateArgs, reports: &[&SpikeHistoryReport]) -> Result<u8, Error> {
    let mut failed = Vec::new();
    for requirement in &args.require {
        for report in reports {
            let Some(metric) = report.metrics.iter().find(|m| m.name == requirement.metric) else {
                let names: Vec<&str> = report.metrics.iter().map(|m| m.name.as_str()).collect();
                return Err(Error::Usage {
                    message: format!(
                        "no metric is called '{}'; there are {}",
                        requirement.metric,
                        names.join(", ")
                    ),
                    help: "metrics.json lists the names of all metrics".to_owned(),
                });
            };
            if !requirement.comparison.holds(metric.value, requirement.limit) {
                failed.push(format!("{}: {requirement} (found {:.4})", report.run, metric.value));
            }
        }
    }
    if failed.is_empty() {
        Ok(exit_code::DONE)
    } else {
        Err(Error::Requirement { failed })
    }
}
