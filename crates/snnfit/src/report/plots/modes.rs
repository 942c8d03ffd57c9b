//! The model's single trials by type along two principal components and in the plane of UMAP, with the recorded templates.

use plotters::prelude::*;

use super::style::{self, Canvas, DATA, GUIDE, Labels, MODEL, Mark, SECOND};
use super::{PlotError, Scene};
use crate::evaluate::{ModeTemplate, ModeTrial, Modes};

/// Colours of the types (Okabe–Ito); types beyond are grey together.
const COLORS: [RGBColor; 6] = [
    SECOND,
    MODEL,
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

fn color(label: usize) -> RGBColor {
    COLORS.get(label).copied().unwrap_or(GUIDE)
}

/// Widest name in the legend, pixels.
const MAX_NAME: i32 = 110;

pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let Some(modes) = &scene.modes else {
        return Err(PlotError::empty(
            "the training trials have no two trial types with templates",
        ));
    };
    let explained: Vec<String> = modes.explained.iter().map(|x| format!("{:.0} %", 100.0 * x)).collect();
    let note = format!(
        "{} model trials, coloured by the type of the cluster that they are in (found without labels from all neurons, mean silhouette {}); \
         rings: mean recorded trial of each type, projected. The first two components explain {} of the variance.",
        modes.trials.len(),
        style::decimals(modes.silhouette, 2),
        explained.join(" and "),
    );
    let below = style::titled(canvas, "Modes of single trials", &note)?;
    let of_template = |template: &ModeTemplate| {
        let name = modes.trial_types.get(template.trial_type).map_or("?", String::as_str);
        let own = (template.trial_type < COLORS.len()).then_some(color(template.trial_type))?;
        Some((style::fitted(name, MAX_NAME, style::SMALL), own))
    };
    let mut names: Vec<(String, RGBColor)> = modes.templates.iter().filter_map(of_template).collect();
    if names.len() < modes.templates.len() {
        names.push(("others".to_owned(), GUIDE));
    }
    let entries: Vec<(&str, Mark)> = names
        .iter()
        .map(|(name, color)| (name.as_str(), Mark::Dot(*color)))
        .collect();
    style::legend(canvas, &entries)?;
    let panels = below.split_evenly((1, 2));
    let pca = Labels {
        title: "principal components",
        x: "first",
        y: "second",
    };
    panel(&panels[0], &pca, modes, |trial| trial.pca, |template| template.pca)?;
    let umap = Labels {
        title: "UMAP",
        x: "first axis (no unit)",
        y: "second axis",
    };
    panel(&panels[1], &umap, modes, |trial| trial.umap, |template| template.umap)
}

fn panel(
    area: &Canvas<'_>,
    labels: &Labels<'_>,
    modes: &Modes,
    of_trial: fn(&ModeTrial) -> [f64; 2],
    of_template: fn(&ModeTemplate) -> [f64; 2],
) -> Result<(), PlotError> {
    let places = || {
        modes
            .trials
            .iter()
            .map(of_trial)
            .chain(modes.templates.iter().map(of_template))
    };
    let range = |axis: usize| {
        let (low, high) = places()
            .map(|place| place[axis])
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
        let margin = 0.07 * (high - low);
        low - margin..high + margin
    };
    let mut chart = style::chart(area, labels, range(0), range(1))?;
    let dots = modes.trials.iter().map(|trial| {
        let [x, y] = of_trial(trial);
        Circle::new((x, y), 3, color(trial.by_cluster).mix(0.7).filled())
    });
    chart.draw_series(dots)?;
    for template in &modes.templates {
        let [x, y] = of_template(template);
        chart.draw_series([Circle::new((x, y), 8, color(template.trial_type).filled())])?;
        chart.draw_series([Circle::new((x, y), 8, DATA.stroke_width(3))])?;
    }
    Ok(())
}
