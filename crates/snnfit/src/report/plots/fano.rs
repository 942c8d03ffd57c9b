//! Fano factors of single neurons, model against data.

use losses::metrics::{fano_factors, spike_counts};
use losses::statistics::{median, quantile_sorted};
use plotters::prelude::*;

use super::style::{self, Canvas, DATA, GUIDE, Labels, MODEL, Mark};
use super::{PlotError, Scene};
use crate::evaluate::model_recording;

/// A point for each neuron with enough spikes on both sides, and the medians; counts of whole trials, of all model trials.
pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let inputs = scene.inputs.evaluation;
    let bins = 0..inputs.recording.n_bins();
    let min_spikes = inputs.settings.min_fano_spikes;
    let simulated = model_recording(inputs)?;
    let data = spike_counts(inputs.recording, inputs.test, bins.clone())?;
    let model = spike_counts(&simulated, &simulated.all_trials(), bins)?;
    let mut points = Vec::new();
    for (model, data) in model.iter().zip(&data) {
        let (of_model, of_data) = (model.spikes(), data.spikes());
        let factors = fano_factors(data).into_iter().zip(fano_factors(model));
        let own = factors.zip(of_model).zip(of_data);
        points.extend(own.filter_map(|((point, m), d)| {
            let has_enough = m.min(d) >= min_spikes as f64;
            (has_enough && point.0.is_finite() && point.1.is_finite()).then_some(point)
        }));
    }
    let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let (Some(of_data), Some(of_model)) = (median(&x), median(&y)) else {
        return Err(PlotError::empty(format!(
            "no neuron has {min_spikes} spikes or more in model and data, and two trials of a stimulus"
        )));
    };
    let limit = widest(&x, &y);
    let shown: Vec<(f64, f64)> = points
        .iter()
        .copied()
        .filter(|p| p.0 <= limit && p.1 <= limit)
        .collect();
    let beyond = match points.len() - shown.len() {
        0 => String::new(),
        n => format!("; {n} of them lie beyond the axes"),
    };
    let note = format!(
        "spike counts of whole trials, variance within a stimulus over mean; {} neurons with {min_spikes} spikes or more, {}, {}; \
         medians {} (data) and {} (model){beyond}",
        points.len(),
        scene.recorded_trials(),
        scene.complete_model_trials(),
        style::decimals(of_data, 2),
        style::decimals(of_model, 2),
    );
    let below = style::titled(canvas, "Fano factors", &note)?;
    let entries = [
        ("neuron", Mark::Dot(MODEL)),
        ("medians", Mark::Dot(DATA)),
        ("model = data", Mark::Dashed(GUIDE)),
    ];
    style::legend(canvas, &entries)?;
    let labels = Labels {
        title: "",
        x: "data: Fano factor",
        y: "model: Fano factor",
    };
    let mut chart = style::chart(&below, &labels, 0.0..limit, 0.0..limit)?;
    let opacity = if shown.len() > 300 { 0.45 } else { 0.8 };
    let point = |place: &(f64, f64)| Circle::new(*place, 3, MODEL.mix(opacity).filled());
    chart.draw_series(shown.iter().map(point))?;
    style::dashed(&mut chart, (0.0, 0.0), (limit, limit))?;
    chart.draw_series([Circle::new((of_data, of_model), 5, DATA.filled())])?;
    Ok(())
}

/// End of the axes: holds all values, or 99 % where there are many.
fn widest(x: &[f64], y: &[f64]) -> f64 {
    let mut values: Vec<f64> = x.iter().chain(y).copied().collect();
    values.sort_by(f64::total_cmp);
    let share = if values.len() > 400 { 0.99 } else { 1.0 };
    quantile_sorted(&values, share).unwrap_or(1.0).max(1.0) * 1.05
}
