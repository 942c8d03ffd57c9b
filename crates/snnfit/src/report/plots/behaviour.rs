//! Behaviour of model and data by trial type: mean and standard deviation over trials.

use ndarray::{ArrayView2, Axis};
use plotters::prelude::*;

use super::activity::{shown_types, type_name};
use super::style::{self, Canvas, DATA, Labels, MODEL, Mark};
use super::{PlotError, Scene};
use crate::evaluate::EvaluationInputs;

const MAX_TYPES: usize = 4;

/// Mean and standard deviation over trials at each bin, and how many trials.
struct Band {
    mean: Vec<f64>,
    sd: Vec<f64>,
    n: usize,
}

impl Band {
    /// Over some trials `[T]`; bins without a finite value are NaN.
    fn of(trials: &[Vec<f64>], n_bins: usize) -> Self {
        let at = |t: usize| -> Vec<f64> {
            let values = trials.iter().filter_map(|trial| trial.get(t).copied());
            values.filter(|value| value.is_finite()).collect()
        };
        let columns: Vec<Vec<f64>> = (0..n_bins).map(at).collect();
        let sd = |values: &Vec<f64>| losses::statistics::unbiased_variance(values).sqrt();
        Self {
            mean: columns.iter().map(|values| losses::statistics::mean(values)).collect(),
            sd: columns.iter().map(sd).collect(),
            n: trials.len(),
        }
    }

    fn ends(&self) -> impl Iterator<Item = f64> + '_ {
        let pairs = self.mean.iter().zip(&self.sd);
        pairs.flat_map(|(mean, sd)| {
            let sd = if sd.is_finite() { *sd } else { 0.0 };
            [mean - sd, mean + sd]
        })
    }
}

/// Columns: trial types, the model's by template. The first behaviour trace: networks have one.
pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let inputs = scene.inputs.evaluation;
    let Some(model) = inputs.model.behaviour.filter(|_| inputs.has_behaviour) else {
        return Err(PlotError::empty("the network has no readout of behaviour"));
    };
    let types: Vec<Option<usize>> = shown_types(scene).into_iter().take(MAX_TYPES).collect();
    let bands: Vec<(Band, Band)> = types
        .iter()
        .map(|label| {
            let n_bins = inputs.recording.n_bins();
            let shown = |k: &usize| match (label, &scene.model_types) {
                (None, _) => true,
                (Some(_), None) => false,
                (label, Some(types)) => types.get(*k).copied().flatten() == *label,
            };
            let trials = (0..model.len_of(Axis(0))).filter(shown);
            let simulated: Vec<Vec<f64>> = trials.map(|k| first_channel(model.index_axis(Axis(0), k))).collect();
            (
                Band::of(&recorded(inputs, *label), n_bins),
                Band::of(&simulated, n_bins),
            )
        })
        .collect();
    let ends: Vec<f64> = bands
        .iter()
        .flat_map(|(data, model)| data.ends().chain(model.ends()))
        .collect();
    let finite = || ends.iter().copied().filter(|value| value.is_finite());
    let (low, high) = (
        finite().fold(f64::INFINITY, f64::min),
        finite().fold(f64::NEG_INFINITY, f64::max),
    );
    if !(low.is_finite() && high.is_finite()) {
        return Err(PlotError::empty("no trial has behaviour that was recorded"));
    }
    let name = scene.inputs.behaviour.first().map_or("behaviour", String::as_str);
    let note = format!(
        "mean ± standard deviation over trials; {}, {} model trials typed by template; n: trials, data / model",
        scene.recorded_trials(),
        inputs.model.conditions.len()
    );
    let below = style::titled(canvas, &format!("Behaviour: {name}"), &note)?;
    style::legend(canvas, &[("data", Mark::Line(DATA)), ("model", Mark::Line(MODEL))])?;
    let margin = 0.06 * (high - low).max(f64::MIN_POSITIVE);
    let panels = below.split_evenly((1, types.len()));
    for (i, (label, (data, model))) in types.iter().zip(&bands).enumerate() {
        let title = format!("{} (n = {} / {})", type_name(scene, *label), data.n, model.n);
        let labels = Labels {
            title: &title,
            x: "time (ms)",
            y: if i == 0 { name } else { "" },
        };
        panel(scene, &panels[i], &labels, low - margin..high + margin, [data, model])?;
    }
    Ok(())
}

fn panel(
    scene: &Scene<'_>,
    area: &Canvas<'_>,
    labels: &Labels<'_>,
    y: std::ops::Range<f64>,
    [data, model]: [&Band; 2],
) -> Result<(), PlotError> {
    let bin_ms = scene.inputs.evaluation.bin_ms;
    let times: Vec<f64> = (0..data.mean.len())
        .map(|t| scene.inputs.start_ms + bin_ms * (t as f64 + 0.5))
        .collect();
    let x = times.first().copied().unwrap_or(0.0)..times.last().copied().unwrap_or(1.0);
    let mut chart = style::chart(area, labels, x.clone(), y.clone())?;
    for (band, color) in [(data, DATA), (model, MODEL)] {
        let bins = || times.iter().zip(band.mean.iter().zip(&band.sd));
        let bins = || bins().filter(|(_, (mean, sd))| mean.is_finite() && sd.is_finite());
        let upper = bins().map(|(time, (mean, sd))| (*time, mean + sd));
        let lower = bins().rev().map(|(time, (mean, sd))| (*time, mean - sd));
        let outline: Vec<(f64, f64)> = upper.chain(lower).collect();
        if outline.len() > 2 {
            chart.draw_series([Polygon::new(outline, color.mix(0.18).filled())])?;
        }
    }
    if x.contains(&0.0) {
        style::dashed(&mut chart, (0.0, y.start), (0.0, y.end))?;
    }
    style::curve(&mut chart, &times, &data.mean, DATA)?;
    style::curve(&mut chart, &times, &model.mean, MODEL)
}

fn first_channel(trial: ArrayView2<'_, f64>) -> Vec<f64> {
    trial
        .outer_iter()
        .filter_map(|at_bin| at_bin.first().copied())
        .collect()
}

/// Evaluated trials of a type, of all sessions that have behaviour; padding is NaN.
fn recorded(inputs: &EvaluationInputs<'_>, label: Option<usize>) -> Vec<Vec<f64>> {
    let sessions = inputs.recording.sessions().iter().zip(inputs.test);
    sessions
        .filter_map(|(session, trials)| Some((session, session.behaviour.as_ref()?, trials)))
        .flat_map(|(session, behaviour, trials)| {
            let is_shown = |k: &&usize| label.is_none_or(|y| session.trial_types[**k] == y);
            let shown = trials.iter().filter(is_shown);
            shown
                .map(|&k| first_channel(behaviour.index_axis(Axis(0), k)))
                .collect::<Vec<_>>()
        })
        .filter(|trial| trial.iter().any(|value| value.is_finite()))
        .collect()
}
