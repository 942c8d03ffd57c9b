//! When in the trial populations vary too much or too little from trial to trial.

use plotters::prelude::*;

use super::style::{self, Canvas, DATA, Labels, MODEL, Mark};
use super::{PlotError, Scene};

/// Variance of population activity in stretches of the trial, model over data, with intervals; training trials beside it.
pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let stretches: Vec<_> = scene.inputs.report.variance_over_time.iter().collect();
    let (Some(first), Some(last)) = (stretches.first(), stretches.last()) else {
        return Err(PlotError::empty(
            "no session has trial features whose variance could be compared",
        ));
    };
    let middle = |start: f64, end: f64| f64::midpoint(start, end);
    let model: Vec<(f64, f64)> = stretches
        .iter()
        .map(|s| (middle(s.start_ms, s.end_ms), s.ratio))
        .collect();
    let reference: Vec<(f64, f64)> = stretches
        .iter()
        .filter_map(|s| Some((middle(s.start_ms, s.end_ms), s.reference_train_test?)))
        .collect();
    let values = model.iter().chain(&reference).map(|(_, ratio)| *ratio);
    // Bars of stretches in which hardly anything varies may reach far.
    let most = 2.0 * style::highest(values, 1.0);
    let ends = stretches.iter().filter_map(|s| s.ci95).map(|[_, high]| high.min(most));
    let high = style::highest(ends.chain([most / 1.6]), 1.5) * 1.05;
    let has_reference = !reference.is_empty();
    let note = format!(
        "variance of the population activity of each area over trials, model over data, in {} stretches of the trial ({}); bars: 95 % \
         intervals; dashed: equal variances",
        stretches.len(),
        scene.recorded_trials(),
    );
    let below = style::titled(canvas, "Trial-to-trial variance over time", &note)?;
    let mut entries = vec![("model", Mark::Dot(MODEL))];
    if has_reference {
        entries.push(("training trials in the model's place", Mark::Line(DATA)));
    }
    style::legend(canvas, &entries)?;
    let labels = Labels {
        title: "",
        x: "time (ms)",
        y: "variance ratio",
    };
    let (start, end) = (first.start_ms, last.end_ms);
    let mut chart = style::chart(&below, &labels, start..end, 0.0..high)?;
    style::dashed(&mut chart, (start, 1.0), (end, 1.0))?;
    if start < 0.0 && end > 0.0 {
        style::dashed(&mut chart, (0.0, 0.0), (0.0, high))?;
    }
    chart.draw_series(LineSeries::new(reference, DATA.stroke_width(1)))?;
    chart.draw_series(LineSeries::new(model.iter().copied(), MODEL.stroke_width(2)))?;
    let bar = |(stretch, point): (&&crate::evaluate::VarianceInTime, &(f64, f64))| {
        let [low, up] = stretch.ci95?;
        let (low, up) = (low.clamp(0.0, high), up.clamp(0.0, high));
        Some(PathElement::new(
            vec![(point.0, low), (point.0, up)],
            MODEL.stroke_width(2),
        ))
    };
    chart.draw_series(stretches.iter().zip(&model).filter_map(bar))?;
    chart.draw_series(model.iter().map(|&point| Circle::new(point, 4, MODEL.filled())))?;
    Ok(())
}
