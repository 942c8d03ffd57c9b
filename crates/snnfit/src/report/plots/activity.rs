//! Trial-averaged population activity by area and trial type.

use losses::statistics::{MovingMean, RecordedSession};
use ndarray::{Array1, Axis};

use super::style::{self, Canvas, DATA, Labels, MODEL, Mark};
use super::{PlotError, PlotInputs, Scene};
use crate::evaluate::EvaluationInputs;

const MAX_AREAS: usize = 6;
const MAX_TYPES: usize = 4;

/// Wider for many areas.
pub(super) fn size(inputs: &PlotInputs<'_>) -> (u32, u32) {
    let n_areas = inputs.evaluation.recording.area_names().len().min(MAX_AREAS) as u32;
    (800.max(190 * n_areas), 560)
}

/// Rows: trial types (the model's by template). Columns: areas.
pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let inputs = scene.inputs.evaluation;
    let filter = inputs.filters.spike();
    let types = shown_types(scene);
    let areas: Vec<usize> = (0..inputs.recording.area_names().len())
        .filter(|area| {
            inputs
                .recording
                .sessions()
                .iter()
                .any(|session| session.areas.contains(area))
        })
        .collect();
    if areas.is_empty() {
        return Err(PlotError::empty("no area has recorded neurons"));
    }
    let title = style::shown("Population activity", MAX_AREAS, areas.len(), "areas");
    let areas: Vec<usize> = areas.into_iter().take(MAX_AREAS).collect();
    let below = style::titled(canvas, &title, &note(scene, &types))?;
    style::legend(canvas, &[("data", Mark::Line(DATA)), ("model", Mark::Line(MODEL))])?;
    let panels = below.split_evenly((types.len(), areas.len()));
    let times = style::psth_times_ms(filter, inputs.recording.n_bins(), scene.inputs.start_ms, inputs.bin_ms);
    // One scale per area, so that types can be compared.
    for (column, &area) in areas.iter().enumerate() {
        let curves: Vec<(Vec<f64>, Vec<f64>)> = types
            .iter()
            .map(|label| {
                (
                    recorded(inputs, filter, area, *label),
                    simulated(scene, filter, area, *label),
                )
            })
            .collect();
        let all = curves
            .iter()
            .flat_map(|(data, model)| data.iter().chain(model).copied());
        let top = style::highest(all, 1.0) * 1.08;
        for (row, (label, (data, model))) in types.iter().zip(&curves).enumerate() {
            let title = format!("{} · {}", inputs.recording.area_names()[area], type_name(scene, *label));
            let labels = Labels {
                title: &title,
                x: if row + 1 == types.len() { "time (ms)" } else { "" },
                y: if column == 0 { "rate (Hz)" } else { "" },
            };
            let x = times.first().copied().unwrap_or(0.0)..times.last().copied().unwrap_or(1.0);
            let mut chart = style::chart(&panels[row * areas.len() + column], &labels, x.clone(), 0.0..top)?;
            if x.contains(&0.0) {
                style::dashed(&mut chart, (0.0, 0.0), (0.0, top))?;
            }
            style::curve(&mut chart, &times, data, DATA)?;
            style::curve(&mut chart, &times, model, MODEL)?;
        }
    }
    Ok(())
}

/// The most frequent trial types of the test data; `None` (all trials) where there is one or the model has none.
pub(super) fn shown_types(scene: &Scene<'_>) -> Vec<Option<usize>> {
    let inputs = scene.inputs.evaluation;
    let mut types: Vec<(usize, usize)> = (0..inputs.trial_types.len())
        .map(|label| (share(inputs, label).0, label))
        .filter(|(n, _)| *n > 0)
        .collect();
    types.sort_by_key(|(n, label)| (std::cmp::Reverse(*n), *label));
    if types.len() < 2 || scene.model_types.is_none() {
        return vec![None];
    }
    types
        .into_iter()
        .take(MAX_TYPES)
        .map(|(_, label)| Some(label))
        .collect()
}

/// Test trials of a type, and all test trials.
fn share(inputs: &EvaluationInputs<'_>, label: usize) -> (usize, usize) {
    let sessions = inputs.recording.sessions().iter().zip(inputs.test);
    let labels: Vec<usize> = sessions
        .flat_map(|(s, trials)| trials.iter().map(|&k| s.trial_types[k]))
        .collect();
    (labels.iter().filter(|&&y| y == label).count(), labels.len())
}

pub(super) fn type_name<'a>(scene: &Scene<'a>, label: Option<usize>) -> &'a str {
    label.map_or("all trials", |label| {
        scene.inputs.evaluation.trial_types[label].as_str()
    })
}

/// What is shown, and how many trials of each type there are.
fn note(scene: &Scene<'_>, types: &[Option<usize>]) -> String {
    let mut note = format!(
        "mean over an area's recorded neurons; {}, {}",
        scene.recorded_trials(),
        scene.complete_model_trials()
    );
    let inputs = scene.inputs.evaluation;
    let percent = |n: usize, of: usize| 100.0 * n as f64 / of.max(1) as f64;
    let mut shares = Vec::new();
    for label in types.iter().copied().flatten() {
        let (n_data, of_data) = share(inputs, label);
        let simulated = scene.model_types.as_deref().unwrap_or_default();
        let n_model = simulated.iter().filter(|y| **y == Some(label)).count();
        let n_complete = (0..simulated.len()).filter(|&k| inputs.is_complete(k)).count();
        let (data, model) = (percent(n_data, of_data), percent(n_model, n_complete));
        shares.push(format!(
            "{} {n_data} ({data:.0} %) / {n_model} ({model:.0} %)",
            type_name(scene, Some(label))
        ));
    }
    if !shares.is_empty() {
        note.push_str("; by type, data / model (typed by template): ");
        note.push_str(&shares.join(", "));
    }
    note
}

/// Mean rate in Hz of an area's neurons over the test trials of a type, each neuron over its own session's trials.
fn recorded(inputs: &EvaluationInputs<'_>, filter: MovingMean, area: usize, label: Option<usize>) -> Vec<f64> {
    let mut sum = Array1::<f64>::zeros(inputs.recording.n_bins());
    let mut n_neurons = 0;
    for (session, trials) in inputs.recording.sessions().iter().zip(inputs.test) {
        let columns = columns(session, area);
        let is_shown = |k: &&usize| {
            session.valid_bins[**k] == inputs.recording.n_bins() && label.is_none_or(|y| session.trial_types[**k] == y)
        };
        let shown: Vec<usize> = trials.iter().filter(is_shown).copied().collect();
        if shown.is_empty() || columns.is_empty() {
            continue;
        }
        for &k in &shown {
            for (t, at_bin) in session.counts.index_axis(Axis(0), k).outer_iter().enumerate() {
                let spikes: u32 = columns.iter().map(|&c| u32::from(at_bin[c])).sum();
                sum[t] += f64::from(spikes) / shown.len() as f64;
            }
        }
        n_neurons += columns.len();
    }
    rate_hz(&sum, n_neurons, filter, inputs.bin_ms)
}

/// The same of the model's complete trials, over the same neurons.
fn simulated(scene: &Scene<'_>, filter: MovingMean, area: usize, label: Option<usize>) -> Vec<f64> {
    let inputs = scene.inputs.evaluation;
    let sessions = inputs.recording.sessions().iter();
    let neurons: Vec<usize> = sessions
        .flat_map(|s| columns(s, area).into_iter().map(|c| s.neurons[c]).collect::<Vec<_>>())
        .collect();
    let is_shown = |k: &usize| {
        label.is_none()
            || scene
                .model_types
                .as_ref()
                .is_some_and(|types| types.get(*k).copied().flatten() == label)
    };
    let complete = (0..inputs.model.conditions.len()).filter(|&k| inputs.is_complete(k));
    let shown: Vec<usize> = complete.filter(is_shown).collect();
    let mut sum = Array1::<f64>::zeros(inputs.recording.n_bins());
    for &k in &shown {
        for (t, at_bin) in inputs.model.counts.index_axis(Axis(0), k).outer_iter().enumerate() {
            let spikes: u32 = neurons.iter().map(|&n| u32::from(at_bin[n])).sum();
            sum[t] += f64::from(spikes) / shown.len() as f64;
        }
    }
    rate_hz(
        &sum,
        if shown.is_empty() { 0 } else { neurons.len() },
        filter,
        inputs.bin_ms,
    )
}

/// Neurons of an area that are in populations: those observed in nearly every trial.
fn columns(session: &RecordedSession, area: usize) -> Vec<usize> {
    let is_kept = |c: usize| session.presence.as_ref().is_none_or(|presence| presence.is_kept[c]);
    (0..session.areas.len())
        .filter(|&c| session.areas[c] == area && is_kept(c))
        .collect()
}

/// Filtered rate of one neuron; NaN without neurons or trials.
fn rate_hz(sum: &Array1<f64>, n_neurons: usize, filter: MovingMean, bin_ms: f64) -> Vec<f64> {
    let n = if n_neurons == 0 { f64::NAN } else { n_neurons as f64 };
    let factor = 1000.0 / bin_ms / n;
    filter
        .apply(&sum.view(), Axis(0))
        .iter()
        .map(|spikes| spikes * factor)
        .collect()
}
