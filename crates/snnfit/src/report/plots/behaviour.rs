//! Behaviour of model and data by trial type: mean and standard deviation over trials.

use ndarray::{Array3, Axis, s};
use plotters::prelude::*;

use super::activity::{shown_types, type_name};
use super::style::{self, Canvas, DATA, Labels, MODEL, Mark};
use super::{PlotError, PlotInputs, Scene};
use crate::evaluate::EvaluationInputs;

const MAX_TYPES: usize = 4;

/// Mean and standard deviation over trials at each bin, and how many trials.
struct Band {
    mean: Vec<f64>,
    sd: Vec<f64>,
    n: usize,
}

impl Band {
    /// Over some trials of T bins or fewer; bins without a finite value are NaN.
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

const MAX_TRACES: usize = 6;
/// Height of a row of panels, pixels.
const ROW: u32 = 240;

pub(super) fn size(inputs: &PlotInputs<'_>) -> (u32, u32) {
    (800, 80 + ROW * inputs.behaviour.len().clamp(1, MAX_TRACES) as u32)
}

/// Rows: behaviour traces; columns: trial types, the model's by template.
pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let inputs = scene.inputs.evaluation;
    let Some(model) = inputs.model.behaviour.filter(|_| inputs.has_behaviour) else {
        return Err(PlotError::empty("the network has no readout of behaviour"));
    };
    let n_traces = model.len_of(Axis(2)).min(MAX_TRACES);
    let names: Vec<&str> = (0..n_traces)
        .map(|b| scene.inputs.behaviour.get(b).map_or("behaviour", String::as_str))
        .collect();
    let note = format!(
        "mean ± standard deviation over trials; {}, {} model trials typed by template; n: trials, data / model",
        scene.recorded_trials(),
        inputs.model.conditions.len()
    );
    let title = style::shown(
        &format!("Behaviour: {}", names.join(", ")),
        n_traces,
        model.len_of(Axis(2)),
        "traces",
    );
    let below = style::titled(canvas, &title, &note)?;
    style::legend(canvas, &[("data", Mark::Line(DATA)), ("model", Mark::Line(MODEL))])?;
    let mut is_drawn = false;
    for (b, (name, area)) in names.iter().zip(below.split_evenly((n_traces, 1))).enumerate() {
        is_drawn |= row(scene, &area, model, b, name)?;
    }
    if is_drawn {
        Ok(())
    } else {
        Err(PlotError::empty("no trial has behaviour that was recorded"))
    }
}

/// The panels of trace `b`; false where no trial has a finite value of it.
fn row(scene: &Scene<'_>, area: &Canvas<'_>, model: &Array3<f64>, b: usize, name: &str) -> Result<bool, PlotError> {
    let inputs = scene.inputs.evaluation;
    let types: Vec<Option<usize>> = shown_types(scene).into_iter().take(MAX_TYPES).collect();
    let n_bins = inputs.recording.n_bins();
    let of_type = |label: &Option<usize>| {
        let is_shown = |k: &usize| match (label, &scene.model_types) {
            (None, _) => true,
            (Some(_), None) => false,
            (label, Some(types)) => types.get(*k).copied().flatten() == *label,
        };
        let trials = (0..model.len_of(Axis(0))).filter(is_shown);
        let simulated: Vec<Vec<f64>> = trials
            .map(|k| model.slice(s![k, ..inputs.model_bins(k), b]).to_vec())
            .collect();
        let recorded = recorded(inputs, *label, b);
        (Band::of(&recorded, n_bins), Band::of(&simulated, n_bins))
    };
    let bands: Vec<(Band, Band)> = types.iter().map(of_type).collect();
    let ends = bands.iter().flat_map(|(data, model)| data.ends().chain(model.ends()));
    let (low, high) = ends
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
    if !(low.is_finite() && high.is_finite()) {
        return Ok(false);
    }
    let margin = 0.06 * (high - low).max(f64::MIN_POSITIVE);
    let panels = area.split_evenly((1, types.len()));
    for (i, (label, (data, model))) in types.iter().zip(&bands).enumerate() {
        let title = format!("{} (n = {} / {})", type_name(scene, *label), data.n, model.n);
        let labels = Labels {
            title: &title,
            x: "time (ms)",
            y: if i == 0 { name } else { "" },
        };
        panel(scene, &panels[i], &labels, low - margin..high + margin, [data, model])?;
    }
    Ok(true)
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

/// Trace `b` of the evaluated trials of a type, of all sessions that have behaviour; padding is NaN. Model trials that end early have
/// no type, so recorded ones are not shown by type beside them.
fn recorded(inputs: &EvaluationInputs<'_>, label: Option<usize>, b: usize) -> Vec<Vec<f64>> {
    let sessions = inputs.recording.sessions().iter().zip(inputs.test);
    sessions
        .filter_map(|(session, trials)| Some((session, session.behaviour.as_ref()?, trials)))
        .flat_map(|(session, behaviour, trials)| {
            let has_type =
                |k: usize| inputs.model.valid_bins.is_none() || session.valid_bins[k] == inputs.recording.n_bins();
            let is_shown = |k: &&usize| label.is_none_or(|y| has_type(**k) && session.trial_types[**k] == y);
            let shown = trials.iter().filter(is_shown);
            shown
                .map(|&k| behaviour.slice(s![k, .., b]).to_vec())
                .collect::<Vec<_>>()
        })
        .filter(|trial| trial.iter().any(|value| value.is_finite()))
        .collect()
}
