//! Mean rates around the event, by area and trial type.

use super::super::scene::{Aligned, Scene};
use super::{Drawn, color, typed};
use crate::report::plots::PlotError;
use crate::report::plots::style::{self, Canvas, Labels, Mark};

/// More areas than this are not drawn.
const MAX_AREAS: usize = 12;
/// Panels side by side.
const N_COLUMNS: usize = 3;

pub(super) fn content<'s>(scene: &'s Scene<'s>) -> Drawn<'s> {
    let Some(aligned) = scene.aligned() else {
        return Drawn::Nothing("no trial has a length".to_owned());
    };
    let n_rows = scene.areas.len().min(MAX_AREAS).div_ceil(N_COLUMNS) as u32;
    Drawn::Picture {
        size: (860, 100 + 220 * n_rows),
        draw: Box::new(move |canvas| draw(scene, &aligned, canvas)),
    }
}

fn draw(scene: &Scene<'_>, aligned: &Aligned, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let title = style::shown("Activity around the event", MAX_AREAS, scene.areas.len(), "areas");
    let bin_ms = match aligned.times_s[..] {
        [first, second, ..] => (second - first) * 1000.0,
        _ => 0.0,
    };
    let note = format!(
        "mean over units and trials in bins of {} ms; only where a fifth of the trials of a type was recorded",
        style::significant(bin_ms)
    );
    let below = typed(&style::titled(canvas, &title, &note)?, scene, Mark::Line)?;
    let n_shown = scene.areas.len().min(MAX_AREAS);
    let n_columns = n_shown.clamp(1, N_COLUMNS);
    let panels = below.split_evenly((n_shown.div_ceil(n_columns), n_columns));
    let (first, last) = (aligned.times_s.first(), aligned.times_s.last());
    let x = first.copied().unwrap_or(0.0)..last.copied().unwrap_or(1.0);
    for (i, (panel, (area, kinds))) in panels.iter().zip(scene.areas.iter().zip(&aligned.rates_hz)).enumerate() {
        let top = style::highest(kinds.iter().flatten().copied(), 0.1) * 1.08;
        let labels = Labels {
            title: &style::fitted(area, 220, style::MEDIUM),
            x: if i + n_columns >= n_shown {
                "time from the event (s)"
            } else {
                ""
            },
            y: if i % n_columns == 0 { "rate (Hz)" } else { "" },
        };
        let mut chart = style::chart(panel, &labels, x.clone(), 0.0..top)?;
        if x.contains(&0.0) {
            style::dashed(&mut chart, (0.0, 0.0), (0.0, top))?;
        }
        for (kind, rates) in kinds.iter().enumerate() {
            style::curve(&mut chart, &aligned.times_s, rates, color(kind))?;
        }
    }
    Ok(())
}
