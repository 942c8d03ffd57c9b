//! Distributions of single trials' peak population rates, by area.

use std::collections::BTreeMap;

use losses::metrics::peak_rates_hz;
use losses::statistics::Recording;
use plotters::prelude::*;

use super::style::{self, Canvas, DATA, GUIDE, Labels, MODEL, Mark};
use super::{PlotError, Scene};

const N_BOXES: usize = 20;
const MAX_AREAS: usize = 6;

/// One panel per area: shares of trials, model and data over the same neurons, sessions pooled.
pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let inputs = scene.inputs.evaluation;
    if inputs.populations.is_empty() {
        return Err(PlotError::empty(
            "no area of any session has enough neurons for a population",
        ));
    }
    let peaks = |recording: &Recording, trials| {
        peak_rates_hz(
            recording,
            inputs.populations,
            trials,
            inputs.filters.spike(),
            inputs.bin_ms,
        )
    };
    let data = peaks(inputs.recording, inputs.test)?;
    let no_types = vec![0; inputs.model.conditions.len()];
    let simulated =
        inputs
            .recording
            .simulated(&inputs.model.counts.view(), inputs.model.conditions, &no_types, None)?;
    let model = peaks(&simulated, &simulated.all_trials())?;
    let mut areas = BTreeMap::<Option<usize>, (Vec<f64>, Vec<f64>)>::new();
    for (g, group) in inputs.populations.groups.iter().enumerate() {
        let (of_data, of_model) = areas.entry(group.area).or_default();
        of_data.extend(&data[g]);
        of_model.extend(&model[g]);
    }
    areas.retain(|_, (data, model)| !data.is_empty() && !model.is_empty());
    if areas.is_empty() {
        return Err(PlotError::empty("no population has complete test trials"));
    }

    let note = "highest rate over a trial of the mean over an area's neurons in one session; sessions pooled";
    let title = style::shown(
        "Peak population rates of single trials",
        MAX_AREAS,
        areas.len(),
        "areas",
    );
    let below = style::titled(canvas, &title, note)?;
    let threshold = inputs.settings.peak_threshold_hz;
    let name = format!("{} Hz", style::tick(threshold));
    let entries = [
        ("data", Mark::Box(DATA)),
        ("model", Mark::Line(MODEL)),
        (name.as_str(), Mark::Dashed(GUIDE)),
    ];
    style::legend(canvas, &entries)?;
    let n_panels = areas.len().min(MAX_AREAS);
    let n_columns = n_panels.min(3);
    let panels = below.split_evenly((n_panels.div_ceil(n_columns), n_columns));
    for (i, (panel, (area, (data, model)))) in panels.iter().zip(&areas).enumerate() {
        let names = inputs.recording.area_names();
        let title = area.and_then(|a| names.get(a)).map_or("all areas", String::as_str);
        histogram(panel, title, i % n_columns == 0, data, model, threshold)?;
    }
    Ok(())
}

fn histogram(
    area: &Canvas<'_>,
    title: &str,
    is_first: bool,
    data: &[f64],
    model: &[f64],
    threshold: f64,
) -> Result<(), PlotError> {
    let top = style::highest(data.iter().chain(model).copied(), 1.0) * 1.02;
    let width = top / N_BOXES as f64;
    let shares = |values: &[f64]| {
        let mut shares = [0.0; N_BOXES];
        for value in values {
            shares[((value / width) as usize).min(N_BOXES - 1)] += 1.0 / values.len() as f64;
        }
        shares
    };
    let (of_data, of_model) = (shares(data), shares(model));
    let highest = style::highest(of_data.iter().chain(&of_model).copied(), 0.0) * 1.1;
    let labels = Labels {
        title,
        x: "peak population rate (Hz)",
        y: if is_first { "share of trials" } else { "" },
    };
    let mut chart = style::chart(area, &labels, 0.0..top, 0.0..highest)?;
    chart.draw_series(
        of_data
            .iter()
            .enumerate()
            .filter(|(_, share)| **share > 0.0)
            .map(|(i, share)| {
                let (left, right) = (i as f64 * width, (i + 1) as f64 * width);
                Rectangle::new([(left, 0.0), (right, *share)], DATA.mix(0.35).filled())
            }),
    )?;
    let outline = of_model
        .iter()
        .enumerate()
        .flat_map(|(i, share)| [(i as f64 * width, *share), ((i + 1) as f64 * width, *share)]);
    chart.draw_series(LineSeries::new(outline, MODEL.stroke_width(2)))?;
    if threshold < top {
        style::dashed(&mut chart, (threshold, 0.0), (threshold, highest))?;
    }
    Ok(())
}
