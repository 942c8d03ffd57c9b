//! Distributions of single trials' peak population rates, by area.

use std::collections::BTreeMap;

use losses::metrics::peak_rates_hz;
use losses::statistics::Recording;
use plotters::prelude::*;

use super::style::{self, Canvas, DATA, GUIDE, Labels, MODEL, Mark};
use super::{PlotError, Scene};
use crate::evaluate::model_recording;

const N_BOXES: usize = 20;
const MAX_AREAS: usize = 6;

/// Values of each session.
pub(super) type BySession = Vec<Vec<f64>>;

/// One panel per area: shares of trials, model and data over the same neurons, mean over sessions.
///
/// Every session has all of the model's trials, but its own number of recorded ones: pooled, they would weigh sessions
/// differently.
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
    let simulated = model_recording(inputs)?;
    let model = peaks(&simulated, &simulated.all_trials())?;
    let mut areas = BTreeMap::<Option<usize>, (BySession, BySession)>::new();
    let groups = inputs.populations.groups.iter().zip(data).zip(model);
    for ((group, data), model) in groups.filter(|((_, data), model)| !data.is_empty() && !model.is_empty()) {
        let (of_data, of_model) = areas.entry(group.area).or_default();
        of_data.push(data);
        of_model.push(model);
    }
    if areas.is_empty() {
        return Err(PlotError::empty(format!(
            "no population has complete {} trials",
            inputs.split
        )));
    }

    let note = format!(
        "highest rate over a trial of the mean over an area's neurons in one session; shares are means over sessions; \
         {} seen through each session's neurons; n: recorded {} trials",
        scene.complete_model_trials(),
        inputs.split
    );
    let title = style::shown(
        "Peak population rates of single trials",
        MAX_AREAS,
        areas.len(),
        "areas",
    );
    let below = style::titled(canvas, &title, &note)?;
    let threshold = inputs.settings.peak_threshold_hz;
    let name = format!("threshold {} Hz", style::tick(threshold));
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
        let n_trials: usize = data.iter().map(Vec::len).sum();
        let sessions = match data.len() {
            1 => String::new(),
            n => format!(" in {n} sessions"),
        };
        let title = format!("{title} (n = {n_trials}{sessions})");
        histogram(panel, &title, i % n_columns == 0, data, model, threshold)?;
    }
    Ok(())
}

fn histogram(
    area: &Canvas<'_>,
    title: &str,
    is_first: bool,
    data: &BySession,
    model: &BySession,
    threshold: f64,
) -> Result<(), PlotError> {
    let top = style::highest(data.iter().chain(model).flatten().copied(), 1.0) * 1.02;
    let width = top / N_BOXES as f64;
    let (of_data, of_model) = (shares(data, width), shares(model, width));
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

/// Share of trials in each box, mean over sessions.
pub(super) fn shares(sessions: &BySession, width: f64) -> [f64; N_BOXES] {
    let mut shares = [0.0; N_BOXES];
    for values in sessions {
        let share = 1.0 / (values.len() * sessions.len()) as f64;
        for value in values {
            shares[((value / width) as usize).min(N_BOXES - 1)] += share;
        }
    }
    shares
}
