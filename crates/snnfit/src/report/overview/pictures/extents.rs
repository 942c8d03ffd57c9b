//! From when to when each trial lasts, relative to its event.

use plotters::prelude::*;

use super::super::scene::{Extent, Scene};
use super::{Drawn, color, thinned, typed};
use crate::report::plots::PlotError;
use crate::report::plots::style::{self, Canvas, Labels, Mark};

/// More trials than this are thinned out evenly.
const MAX_TRIALS: usize = 400;

pub(super) fn content<'s>(scene: &'s Scene<'s>) -> Drawn<'s> {
    let mut extents = scene.extents();
    extents.retain(|e| e.start_s.is_finite() && e.stop_s.is_finite());
    if extents.is_empty() {
        return Drawn::Nothing("there are no trials".to_owned());
    }
    extents.sort_by(|a, b| {
        let key = |e: &Extent| (e.kind, e.stop_s);
        let (a, b) = (key(a), key(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
    Drawn::Picture {
        size: (860, 430),
        draw: Box::new(move |canvas| draw(scene, &extents, canvas)),
    }
}

fn draw(scene: &Scene<'_>, extents: &[Extent], canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let shown: Vec<Extent> = thinned(extents.len(), MAX_TRIALS)
        .into_iter()
        .map(|i| extents[i])
        .collect();
    let mut note = String::from("by type, the shortest on top");
    if shown.len() < extents.len() {
        note = format!("{} of {} trials, {note}", shown.len(), extents.len());
    }
    let below = typed(
        &style::titled(canvas, "Trials around their event", &note)?,
        scene,
        Mark::Line,
    )?;
    let from = shown.iter().map(|e| e.start_s).fold(0.0, f64::min);
    let to = shown.iter().map(|e| e.stop_s).fold(0.0, f64::max);
    let margin = 0.02 * (to - from).max(1e-3);
    let labels = Labels {
        title: "",
        x: "time from the event (s)",
        y: "trials",
    };
    let n = shown.len() as f64;
    let mut chart = style::chart(&below, &labels, from - margin..to + margin, 0.0..n)?;
    let lines = shown.iter().enumerate().map(|(row, e)| {
        // The first on top.
        let y = n - row as f64 - 0.5;
        PathElement::new(vec![(e.start_s, y), (e.stop_s, y)], color(e.kind))
    });
    chart.draw_series(lines)?;
    style::dashed(&mut chart, (0.0, 0.0), (0.0, n))
}
