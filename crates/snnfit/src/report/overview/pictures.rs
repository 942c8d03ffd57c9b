//! The pictures of a recording.

mod aligned;
mod extents;
mod raster;
mod rates;
mod timeline;

use plotters::prelude::*;

use super::scene::Scene;
use crate::report::plots::PlotError;
use crate::report::plots::style::{self, Canvas, Mark};

/// Trial types, in the order of their frequency (Okabe–Ito).
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// How a picture is drawn.
type Draw<'s> = Box<dyn FnOnce(&Canvas<'_>) -> Result<(), PlotError> + 's>;

/// What a picture comes to.
pub(super) enum Drawn<'s> {
    /// Of this size in pixels.
    Picture { size: (u32, u32), draw: Draw<'s> },
    /// Nothing, for this reason.
    Nothing(String),
}

/// A picture of the page.
pub(super) struct Picture {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// What to look for.
    pub(super) caption: &'static str,
    content: for<'s> fn(&'s Scene<'s>) -> Drawn<'s>,
}

impl Picture {
    pub(super) fn content<'s>(&self, scene: &'s Scene<'s>) -> Drawn<'s> {
        (self.content)(scene)
    }
}

/// From top to bottom.
pub(super) const PICTURES: [Picture; 5] = [
    Picture {
        name: "timeline",
        title: "Sessions from start to end",
        caption: "The rate should be about level: a slow fall is drift or a dying probe, a step a unit that came or went, a gap a \
                  stretch without recording. Marks are trials at their event; those before or after the curve have no spikes to be \
                  fitted to.",
        content: timeline::content,
    },
    Picture {
        name: "rates",
        title: "Mean rates of the units",
        caption: "On a logarithmic axis rates spread over two orders of magnitude around 1 to 10 Hz. All of them a thousand times too \
                  low are times in ms that were taken for s, and still lower ones samples; a column at the left end are units that are \
                  too silent to be fitted.",
        content: rates::content,
    },
    Picture {
        name: "extents",
        title: "Trials around their event",
        caption: "Each line is a trial. The event, at 0, should lie where the stimulus was; what lies outside of the lines is no part of \
                  a trial and is not fitted. Ragged right ends are trials that a response cut short.",
        content: extents::content,
    },
    Picture {
        name: "aligned",
        title: "Activity around the event",
        caption: "A response should begin after 0, within the latency that the area is known for, and differ between types where it is \
                  expected to. A response before 0 is a wrong event or a clock that is off.",
        content: aligned::content,
    },
    Picture {
        name: "raster",
        title: "Spikes of single trials",
        caption: "Neighbouring rows that are alike spike by spike are one unit sorted twice; columns over all rows are artefacts of \
                  movement or light.",
        content: raster::content,
    },
];

/// Colour of a trial type.
fn color(kind: usize) -> RGBColor {
    COLORS[kind % COLORS.len()]
}

/// Names the trial types that are drawn with a colour, below a picture's title, and returns what is left below.
fn typed<'a>(canvas: &Canvas<'a>, scene: &Scene<'_>, mark: fn(RGBColor) -> Mark) -> Result<Canvas<'a>, PlotError> {
    if scene.types.len() < 2 {
        return Ok(canvas.clone());
    }
    let names: Vec<String> = scene
        .types
        .iter()
        .zip(&scene.n_trials)
        .map(|(name, n)| format!("{} ({n})", style::fitted(name, 110, style::SMALL)))
        .collect();
    let entries: Vec<(&str, Mark)> = names
        .iter()
        .enumerate()
        .map(|(kind, name)| (name.as_str(), mark(color(kind))))
        .collect();
    let (row, below) = canvas.split_vertically(26);
    style::legend(&row, &entries)?;
    Ok(below)
}

/// Evenly spaced places, at most `most` of `n`.
fn thinned(n: usize, most: usize) -> Vec<usize> {
    if n <= most {
        return (0..n).collect();
    }
    (0..most).map(|i| i * n / most).collect()
}
