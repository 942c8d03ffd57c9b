//! Noise correlations of simultaneously recorded pairs, model against data.

use std::collections::BTreeMap;

use losses::metrics::{noise_correlations, pearson};
use losses::statistics::mean;
use plotters::prelude::*;

use super::style::{self, Canvas, DATA, GUIDE, Labels, MODEL, Mark};
use super::{PlotError, Scene};

const MAX_POINTS: usize = 2500;
const N_GROUPS: usize = 12;

/// A point per pair (thinned out), and means over groups of pairs with similar correlations in the data.
pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let inputs = scene.inputs.evaluation;
    let window = inputs.noise_window_bins();
    let data = noise_correlations(inputs.recording, inputs.test, window)?;
    let no_types = vec![0; inputs.model.conditions.len()];
    let simulated =
        inputs
            .recording
            .simulated(&inputs.model.counts.view(), inputs.model.conditions, &no_types, None)?;
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
    let r = pearson(&x, &y).map_or("undefined".to_owned(), |r| format!("{r:.2}"));
    let note = format!(
        "{} ms windows; {} pairs recorded together; r = {r}; mean {:.3} (data), {:.3} (model)",
        style::tick(window as f64 * inputs.bin_ms),
        points.len(),
        mean(&x),
        mean(&y)
    );
    let below = style::titled(canvas, "Noise correlations", &note)?;
    style::legend(
        canvas,
        &[
            ("pair", Mark::Dot(MODEL)),
            ("mean", Mark::Dot(DATA)),
            ("equal", Mark::Dashed(GUIDE)),
        ],
    )?;
    let limit = quantile_of_absolute(&x, &y);
    let labels = Labels {
        title: "",
        x: "data: noise correlation",
        y: "model: noise correlation",
    };
    let mut chart = style::chart(&below, &labels, -limit..limit, -limit..limit)?;
    let every = points.len().div_ceil(MAX_POINTS);
    let is_inside = |point: &(f64, f64)| point.0.abs() <= limit && point.1.abs() <= limit;
    let shown = points.iter().step_by(every).copied().filter(is_inside);
    chart.draw_series(shown.map(|point| Circle::new(point, 2, MODEL.mix(0.35).filled())))?;
    style::dashed(&mut chart, (-limit, -limit), (limit, limit))?;
    let groups = points.chunks(points.len().div_ceil(N_GROUPS)).map(|group| {
        let (x, y): (Vec<f64>, Vec<f64>) = group.iter().copied().unzip();
        (mean(&x), mean(&y))
    });
    let groups: Vec<(f64, f64)> = groups.filter(is_inside).collect();
    chart.draw_series(LineSeries::new(groups.iter().copied(), DATA.stroke_width(1)))?;
    chart.draw_series(groups.iter().map(|&point| Circle::new(point, 4, DATA.filled())))?;
    Ok(())
}

/// Half-width of the axes: holds 99.5 % of the values.
fn quantile_of_absolute(x: &[f64], y: &[f64]) -> f64 {
    let mut values: Vec<f64> = x.iter().chain(y).map(|value| value.abs()).collect();
    values.sort_by(f64::total_cmp);
    let limit = losses::statistics::quantile_sorted(&values, 0.995).unwrap_or(1.0) * 1.05;
    limit.clamp(0.01, 1.0)
}
