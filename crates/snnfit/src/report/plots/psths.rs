//! PSTHs of model and data, for neurons that are fitted well, so-so and badly.

use std::collections::BTreeMap;

use losses::LossError;
use losses::metrics::{NeuronCorrelation, psth_correlation, psth_reliability};
use losses::statistics::Psth;
use snn_core::rng::StreamRng;

use super::style::{self, Canvas, DATA, Labels, MODEL, Mark};
use super::{PlotError, Scene};
use crate::evaluate::{EvaluationInputs, model_recording};

const MAX_COLUMNS: usize = 3;

/// Rows: best, middle and worst neurons by correlation. Columns: conditions, or neurons where there is one condition.
pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let inputs = scene.inputs.evaluation;
    let filter = inputs.filters.spike();
    let data = Psth::of_recording(inputs.recording, inputs.test, filter)?;
    let model = model_psth(inputs)?;
    let rates_hz = inputs.psth_rates_hz()?;
    let found = psth_correlation(&data, &model, &rates_hz, inputs.settings.min_rate_hz, inputs.bin_ms)?;
    let mut ranked = found.neurons;
    if ranked.is_empty() {
        return Err(PlotError::empty("no neuron's PSTH can be correlated"));
    }
    ranked.sort_by(|a, b| b.pearson.total_cmp(&a.pearson).then(a.neuron.cmp(&b.neuron)));

    let n_conditions = inputs.recording.n_conditions();
    let ceiling = scene.inputs.report.metric("psth_pearson").and_then(|metric| {
        let (value, ceiling) = (metric.value, metric.ceiling_noiseless?);
        Some(format!("; mean r {value:.2}, the true rates would reach {ceiling:.2}"))
    });
    let note = format!(
        "{}, {} model trials; {} neurons ranked by Pearson's r over time{} of all these trials, of what the neuron's true rate would reach; \
         n: trials, data / model{}",
        scene.recorded_trials(),
        inputs.model.conditions.len(),
        ranked.len(),
        if n_conditions > 1 { " and conditions" } else { "" },
        ceiling.unwrap_or_default(),
    );
    let title = style::shown(
        "Trial averages of single neurons",
        MAX_COLUMNS,
        n_conditions,
        "conditions",
    );
    let below = style::titled(canvas, &title, &note)?;
    style::legend(canvas, &[("data", Mark::Line(DATA)), ("model", Mark::Line(MODEL))])?;
    let n_columns = if n_conditions > 1 {
        n_conditions.min(MAX_COLUMNS)
    } else {
        ranked.len().div_ceil(3).min(MAX_COLUMNS)
    };
    let areas = below.split_evenly((3, n_columns));
    let hz = 1000.0 / inputs.bin_ms;
    let times = style::psth_times_ms(filter, inputs.recording.n_bins(), scene.inputs.start_ms, inputs.bin_ms);
    let shown = rows(&ranked, if n_conditions > 1 { 1 } else { n_columns });
    let ceilings = ceilings(inputs, &shown)?;
    for (r, (rank, neurons)) in shown.iter().enumerate() {
        let panels: Vec<(&NeuronCorrelation, usize)> = if n_conditions > 1 {
            neurons
                .iter()
                .take(1)
                .flat_map(|neuron| (0..n_columns).map(move |c| (neuron, c)))
                .collect()
        } else {
            neurons.iter().map(|neuron| (neuron, 0)).collect()
        };
        let curves: Vec<[Vec<f64>; 2]> = panels
            .iter()
            .map(|&(neuron, condition)| {
                [&data, &model].map(|psth| {
                    let values = psth.values.slice(ndarray::s![condition, .., neuron.neuron]);
                    values.iter().map(|v| v * hz).collect()
                })
            })
            .collect();
        let highest_of =
            |curves: &[[Vec<f64>; 2]]| style::highest(curves.iter().flatten().flatten().copied(), 1.0) * 1.08;
        for (column, ((neuron, condition), curves_of)) in panels.into_iter().zip(&curves).enumerate() {
            let name = format!("{}, {}", scene.unit(neuron.neuron), scene.group(neuron.neuron));
            let mut detail = format!(
                "{rank} · r = {} · n = {} / {}",
                style::decimals(neuron.pearson, 2),
                data.n_trials[[condition, neuron.neuron]],
                model.n_trials[[condition, neuron.neuron]],
            );
            if let Some(ceiling) = ceilings.get(&neuron.neuron) {
                detail = detail.replacen(" · n", &format!(" of {} · n", style::decimals(*ceiling, 2)), 1);
            }
            if n_conditions > 1 {
                let condition = scene.inputs.conditions.get(condition).map_or("?", String::as_str);
                detail = format!("{condition} · {detail}");
            }
            let labels = Labels {
                title: "",
                x: if r == 2 { "time (ms)" } else { "" },
                y: if column == 0 { "rate (Hz)" } else { "" },
            };
            // Conditions of one neuron share a scale.
            let top = if n_conditions > 1 {
                highest_of(&curves)
            } else {
                highest_of(std::slice::from_ref(curves_of))
            };
            let x = times.first().copied().unwrap_or(0.0)..times.last().copied().unwrap_or(1.0);
            let below = style::headed(&areas[r * n_columns + column], &name, &detail)?;
            let mut chart = style::chart(&below, &labels, x.clone(), 0.0..top)?;
            if x.contains(&0.0) {
                style::dashed(&mut chart, (0.0, 0.0), (0.0, top))?;
            }
            style::curve(&mut chart, &times, &curves_of[0], DATA)?;
            style::curve(&mut chart, &times, &curves_of[1], MODEL)?;
        }
    }
    Ok(())
}

/// What the true rates of the shown neurons would reach, over all conditions; of neurons with two trials of a condition.
fn ceilings(
    inputs: &EvaluationInputs<'_>,
    shown: &[(&'static str, Vec<NeuronCorrelation>); 3],
) -> Result<BTreeMap<usize, f64>, PlotError> {
    let neurons: Vec<usize> = shown.iter().flat_map(|(_, of)| of).map(|n| n.neuron).collect();
    let n_splits = inputs.settings.n_reliability_splits;
    let mut rng = StreamRng::new(0, "report.ceilings", 0);
    let found = psth_reliability(
        inputs.recording,
        inputs.test,
        inputs.filters.spike(),
        &neurons,
        n_splits,
        &mut rng,
    );
    match found {
        Ok(found) => Ok(found.neurons.into_iter().collect()),
        Err(LossError::NoData { .. }) => Ok(BTreeMap::new()),
        Err(error) => Err(error.into()),
    }
}

/// The model's PSTHs over all its trials, each over the bins that it has.
fn model_psth(inputs: &EvaluationInputs<'_>) -> Result<Psth, PlotError> {
    let recording = model_recording(inputs)?;
    let all = recording.all_trials();
    Ok(Psth::of_recording(&recording, &all, inputs.filters.spike())?)
}

/// `n` neurons each from the top, the middle and the bottom of the ranking, none twice.
fn rows(ranked: &[NeuronCorrelation], n: usize) -> [(&'static str, Vec<NeuronCorrelation>); 3] {
    let n = n.min(ranked.len().div_ceil(3));
    let middle = (ranked.len() / 2).saturating_sub(n / 2).max(n.min(ranked.len()));
    let middle_end = (middle + n).min(ranked.len());
    let bottom = ranked.len().saturating_sub(n).max(middle_end);
    [
        ("best", ranked[..n.min(ranked.len())].to_vec()),
        ("median", ranked[middle..middle_end].to_vec()),
        ("worst", ranked[bottom..].to_vec()),
    ]
}
