//! Each neuron's rate and trial average, and the busiest stretch of each trial.

use plotters::prelude::*;

use super::{PlotError, Scene};
use crate::report::plots::style::{self, Canvas, DATA, GUIDE, Labels, MODEL, Mark};

pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    scene.check_repeats()?;
    let metric = |name: &str| scene.report.metrics.iter().find(|m| m.name == name);
    let fraction = metric("runaway_fraction").map_or("–".to_owned(), |m| format!("{:.1} %", 100.0 * m.value));
    let note = format!(
        "{}; a dot is a neuron (left, middle) or a trial (right); dashed: equal rates, the ceiling, and what counts as running away. \
         Trials that run away: {fraction}",
        scene.trials()
    );
    let below = style::titled(canvas, "Rates, trial averages and runaway trials", &note)?;
    style::legend(canvas, &[("data", Mark::Dot(DATA)), ("model", Mark::Dot(MODEL))])?;
    let areas = below.split_evenly((1, 3));
    rates(scene, &areas[0])?;
    averages(scene, &areas[1])?;
    busiest(scene, &areas[2])
}

fn dots(area: &Canvas<'_>, labels: &Labels<'_>, points: &[(f64, f64)], top: f64, low: f64) -> Result<(), PlotError> {
    let mut chart = style::chart(area, labels, low..top, low..top)?;
    style::dashed(&mut chart, (low, low), (top, top))?;
    let size = if points.len() > 100 { 2 } else { 4 };
    let opacity = if points.len() > 100 { 0.5 } else { 0.9 };
    chart.draw_series(
        points
            .iter()
            .map(|&point| Circle::new(point, size, MODEL.mix(opacity).filled())),
    )?;
    Ok(())
}

fn rates(scene: &Scene<'_>, area: &Canvas<'_>) -> Result<(), PlotError> {
    let points: Vec<(f64, f64)> = scene
        .report
        .neurons
        .iter()
        .map(|n| (n.rate_hz[0], n.rate_hz[1]))
        .collect();
    let top = style::highest(points.iter().flat_map(|(x, y)| [*x, *y]), 1.0) * 1.1;
    let labels = Labels {
        title: "rate",
        x: "data (Hz)",
        y: "model (Hz)",
    };
    dots(area, &labels, &points, top, 0.0)
}

fn averages(scene: &Scene<'_>, area: &Canvas<'_>) -> Result<(), PlotError> {
    let points: Vec<(f64, f64)> = scene
        .report
        .neurons
        .iter()
        .filter_map(|n| Some((n.psth_ceiling?, n.psth_correlation?)))
        .collect();
    let low = points.iter().map(|(x, y)| x.min(*y)).fold(0.0, f64::min);
    let labels = Labels {
        title: "trial average",
        x: "ceiling of r",
        y: "r, model with data",
    };
    dots(area, &labels, &points, 1.02, (low * 10.0).floor() / 10.0)
}

/// Sorted trials of data and model, each over its own number of trials, on a logarithmic axis.
fn busiest(scene: &Scene<'_>, area: &Canvas<'_>) -> Result<(), PlotError> {
    let Some(busiest) = &scene.report.busiest else {
        return Err(PlotError::empty("no trial is compared"));
    };
    let all = busiest.data_hz.iter().chain(&busiest.model_hz).copied();
    let low = all.clone().filter(|hz| *hz > 0.0).fold(f64::INFINITY, f64::min);
    let low = if low.is_finite() { low / 1.3 } else { 0.1 };
    let limit = if busiest.limit_hz.is_finite() {
        busiest.limit_hz
    } else {
        low
    };
    let high = all.fold(limit, f64::max).max(low * 2.0) * 1.3;
    let title = format!("busiest {} ms of each trial", style::tick(busiest.window_ms));
    let labels = Labels {
        title: &title,
        x: "trials in order",
        y: "rate per neuron (Hz)",
    };
    let ticks: Vec<f64> = (-2..5)
        .flat_map(|d| [1.0, 2.0, 5.0].map(|x| x * 10f64.powi(d)))
        .filter(|x| (low..=high).contains(x))
        .collect();
    let mut chart =
        style::builder(area, &labels).build_cartesian_2d(0.0..1.0, (low..high).log_scale().with_key_points(ticks))?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(235, 235, 235))
        .axis_style(GUIDE)
        .x_labels(0)
        .y_labels(10)
        .y_label_formatter(&|value| style::significant(*value))
        .label_style(style::font(style::SMALL))
        .axis_desc_style(style::font(style::MEDIUM))
        .x_desc(labels.x)
        .y_desc(labels.y)
        .draw()?;
    for (values, color) in [(&busiest.data_hz, DATA), (&busiest.model_hz, MODEL)] {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len() as f64;
        let points = sorted
            .iter()
            .enumerate()
            .map(|(i, hz)| ((i as f64 + 0.5) / n, hz.max(low)));
        chart.draw_series(points.map(|point| Circle::new(point, 2, color.filled())))?;
    }
    chart.draw_series(DashedLineSeries::new(
        [(0.0, limit), (1.0, limit)],
        5,
        4,
        GUIDE.stroke_width(1),
    ))?;
    Ok(())
}
