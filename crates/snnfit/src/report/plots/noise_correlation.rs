//! Noise correlations of simultaneously recorded pairs, model against data.

use std::collections::BTreeMap;

use losses::metrics::{noise_correlations, pearson};
use losses::statistics::mean;
use plotters::prelude::*;

use super::style::{self, Canvas, DATA, GUIDE, Labels, MODEL, Mark};
use super::{PlotError, Scene};
use crate::evaluate::model_recording;

const MAX_POINTS: usize = 2500;
const MAX_GROUPS: usize = 12;
/// Groups have at least so many pairs: means over fewer would be points again.
const MIN_PAIRS: usize = 20;

/// A point per pair (thinned out), and means over groups of pairs with similar correlations in the data.
///
/// Points are of all model trials, the best estimate there is; the metric is of as many as the training data have, so
/// that it can be compared with its nulls. The note says both.
pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let inputs = scene.inputs.evaluation;
    let window = inputs.noise_window_bins();
    let data = noise_correlations(inputs.recording, inputs.test, window)?;
    let simulated = model_recording(inputs)?;
    let model = noise_correlations(&simulated, &simulated.all_trials(), window)?;
    let mut points = Vec::new();
    for (data, model) in data.iter().zip(&model) {
        let of_model: BTreeMap<(usize, usize), f64> = model
            .iter()
            .map(|pair| ((pair.first, pair.second), pair.correlation))
            .collect();
        let both = data
            .iter()
            .filter_map(|pair| Some((pair.correlation, *of_model.get(&(pair.first, pair.second))?)));
        points.extend(both);
    }
    if points.len() < 2 {
        return Err(PlotError::empty(
            "no two pairs of simultaneously recorded neurons vary in model and data",
        ));
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let limit = quantile_of_absolute(&x, &y);
    let is_inside = |point: &(f64, f64)| point.0.abs() <= limit && point.1.abs() <= limit;
    let every = points.len().div_ceil(MAX_POINTS);
    let shown: Vec<(f64, f64)> = points.iter().step_by(every).copied().filter(is_inside).collect();
    let groups = group_means(&points);
    let below = style::titled(
        canvas,
        "Noise correlations",
        &note(scene, window, &points, shown.len(), &groups),
    )?;
    let mut entries = vec![("pair", Mark::Dot(MODEL)), ("model = data", Mark::Dashed(GUIDE))];
    if !groups.is_empty() {
        entries.insert(1, ("group mean", Mark::Dot(DATA)));
    }
    style::legend(canvas, &entries)?;
    let labels = Labels {
        title: "",
        x: "data: noise correlation",
        y: "model: noise correlation",
    };
    let mut chart = style::chart(&below, &labels, -limit..limit, -limit..limit)?;
    let opacity = if shown.len() > 300 { 0.35 } else { 0.8 };
    let size = if shown.len() > 300 { 2 } else { 3 };
    chart.draw_series(
        shown
            .iter()
            .map(|&point| Circle::new(point, size, MODEL.mix(opacity).filled())),
    )?;
    style::dashed(&mut chart, (-limit, -limit), (limit, limit))?;
    let groups: Vec<(f64, f64)> = groups.into_iter().filter(is_inside).collect();
    chart.draw_series(LineSeries::new(groups.iter().copied(), DATA.stroke_width(1)))?;
    chart.draw_series(groups.iter().map(|&point| Circle::new(point, 4, DATA.filled())))?;
    Ok(())
}

/// Means over groups of neighbours of sorted points; none where there are too few points for three groups.
fn group_means(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let n_groups = (points.len() / MIN_PAIRS).min(MAX_GROUPS);
    if n_groups < 3 {
        return Vec::new();
    }
    let groups = points.chunks(points.len().div_ceil(n_groups)).map(|group| {
        let (x, y): (Vec<f64>, Vec<f64>) = group.iter().copied().unzip();
        (mean(&x), mean(&y))
    });
    groups.collect()
}

/// The metric with its numbers of trials, and the trials of the points.
fn note(scene: &Scene<'_>, window: usize, points: &[(f64, f64)], n_shown: usize, groups: &[(f64, f64)]) -> String {
    let inputs = scene.inputs.evaluation;
    let report = scene.inputs.report;
    let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let metric = match report.metric("noise_correlation_r") {
        Some(metric) => {
            let interval = metric.ci95.map_or(String::new(), |[low, high]| {
                format!(" [{}, {}]", style::decimals(low, 2), style::decimals(high, 2))
            });
            let compared = report.trials.iter().map(|trials| trials.compared).filter(|n| *n > 0);
            let trials = match (compared.clone().min(), compared.max()) {
                (Some(low), Some(high)) if low < high => format!("{low}–{high}"),
                (Some(n), _) => n.to_string(),
                _ => "0".to_owned(),
            };
            format!(
                "Metric: r = {}{interval} over n = {} pairs, of {trials} model trials a session (as many as nulls and \
                 training data have).",
                style::decimals(metric.value, 2),
                metric.n,
            )
        }
        None => "The metric is undefined for these trials.".to_owned(),
    };
    let r = pearson(&x, &y).map_or("undefined".to_owned(), |r| style::decimals(r, 2));
    let mut parts = vec![metric];
    parts.push(format!(
        "Points: {} pairs recorded together, {}, all {}, {} ms windows; r = {r} at these numbers, mean {} \
         (data) and {} (model).",
        points.len(),
        scene.recorded_trials(),
        scene.complete_model_trials(),
        style::tick(window as f64 * inputs.bin_ms),
        style::decimals(mean(&x), 3),
        style::decimals(mean(&y), 3),
    ));
    if n_shown < points.len() {
        parts.push(format!(
            "{n_shown} of them are drawn; the axes hold 99.5 % of all values."
        ));
    }
    if let (Some(_), Some(each)) = (groups.first(), points.len().checked_div(groups.len())) {
        parts.push(format!(
            "Group means: about {each} pairs of similar correlation in the data each."
        ));
    }
    parts.join(" ")
}

/// Half-width of the axes: holds all values, or 99.5 % where there are many.
fn quantile_of_absolute(x: &[f64], y: &[f64]) -> f64 {
    let mut values: Vec<f64> = x.iter().chain(y).map(|value| value.abs()).collect();
    values.sort_by(f64::total_cmp);
    let share = if values.len() > 1000 { 0.995 } else { 1.0 };
    let limit = losses::statistics::quantile_sorted(&values, share).unwrap_or(1.0) * 1.05;
    limit.clamp(0.01, 1.0)
}
