//! How well spikes are predicted some time after the recorded past ends.

use plotters::prelude::*;

use super::{PlotError, Scene};
use crate::report::plots::style::{self, Canvas, GUIDE, MODEL, Mark, SECOND};

pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let horizons = &scene.report.multi_step;
    if horizons.is_empty() {
        return Err(PlotError::empty(
            "no stimulus is shown in 4 trials that are long enough, or no neuron spiked at these horizons",
        ));
    }
    let (fewest, most) = (
        horizons.iter().map(|h| h.n_spikes).min().unwrap_or(0),
        horizons.iter().map(|h| h.n_spikes).max().unwrap_or(0),
    );
    let note = format!(
        "The network is held to the recorded spikes up to a moment and runs freely from there; gain in likelihood of the recorded \
         spikes so long afterwards, over the mean rate of each neuron in the training trials. Bars: 95 % intervals of a bootstrap over \
         trials; {fewest} to {most} spikes at each horizon"
    );
    let below = style::titled(canvas, "Likelihood some time ahead", &note)?;
    style::legend(
        canvas,
        &[
            ("model", Mark::Line(MODEL)),
            ("average of the other trials", Mark::Line(SECOND)),
        ],
    )?;
    let x = |h: &crate::spike_history::multi_step::Horizon| h.horizon_ms.max(1e-6);
    let ends = |value: f64, ci95: Option<[f64; 2]>| ci95.unwrap_or([value, value]);
    let all: Vec<f64> = horizons
        .iter()
        .flat_map(|h| [ends(h.model, h.model_ci95), ends(h.psth, h.psth_ci95)].concat())
        .filter(|v| v.is_finite())
        .collect();
    let low = all.iter().copied().fold(0.0, f64::min);
    let high = all.iter().copied().fold(0.1, f64::max);
    let room = (high - low) * 0.08;
    let bottom = if low < 0.0 { low - room } else { 0.0 };
    let (first, last) = (x(&horizons[0]), x(&horizons[horizons.len() - 1]));
    let ticks: Vec<f64> = horizons.iter().map(x).collect();
    let axis = first / 1.35..last * 1.35;
    let mut chart = ChartBuilder::on(&below)
        .margin(6)
        .margin_right(14)
        .x_label_area_size(42)
        .y_label_area_size(58)
        .build_cartesian_2d(axis.clone().log_scale().with_key_points(ticks), bottom..high + room)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(235, 235, 235))
        .axis_style(GUIDE)
        .x_labels(horizons.len() + 1)
        .y_labels(6)
        .x_label_formatter(&|value| style::tick(*value))
        .y_label_formatter(&|value| style::tick(*value))
        .label_style(style::font(style::SMALL))
        .axis_desc_style(style::font(style::MEDIUM))
        .x_desc("time since the last recorded bin (ms)")
        .y_desc("bits per spike")
        .draw()?;
    if bottom < 0.0 {
        chart.draw_series(DashedLineSeries::new(
            [(axis.start, 0.0), (axis.end, 0.0)],
            5,
            4,
            GUIDE.stroke_width(1),
        ))?;
    }
    for (color, shift, of) in [
        (
            SECOND,
            1.025,
            (|h| (h.psth, h.psth_ci95)) as fn(&crate::spike_history::multi_step::Horizon) -> (f64, Option<[f64; 2]>),
        ),
        (MODEL, 1.0 / 1.025, |h| (h.model, h.model_ci95)),
    ] {
        let points: Vec<(f64, f64)> = horizons.iter().map(|h| (x(h) * shift, of(h).0)).collect();
        chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?;
        chart.draw_series(points.iter().map(|&point| Circle::new(point, 4, color.filled())))?;
        chart.draw_series(horizons.iter().filter_map(|h| {
            let [a, b] = of(h).1?;
            Some(PathElement::new(
                vec![(x(h) * shift, a), (x(h) * shift, b)],
                color.stroke_width(1),
            ))
        }))?;
    }
    Ok(())
}
