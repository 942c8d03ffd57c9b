//! Mean recurrent weights between populations, with their numbers.

use std::collections::BTreeSet;

use losses::statistics::mean;
use plotters::prelude::*;

use super::style::{self, Canvas, GUIDE, ON_LIGHT};
use super::weights::{color_bar, diverging};
use super::{PlotError, PlotInputs, Scene};

/// More populations than this have no room for numbers.
const MAX_NUMBERED: usize = 14;
/// Longer names of populations are shortened, pixels.
const MAX_NAME: i32 = 150;

/// As high as the populations need.
pub(super) fn size(inputs: &PlotInputs<'_>) -> (u32, u32) {
    let populations = inputs.weights.map(|weights| &weights.populations);
    let n = populations.map_or(0, |names| names.iter().collect::<BTreeSet<_>>().len()) as u32;
    let names = if n > 6 { 70 } else { 0 };
    (800, 200 + (90 * n).min(440) + names)
}

/// Rows: postsynaptic, columns: presynaptic populations.
pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let Some(matrix) = scene.inputs.weights else {
        return Err(PlotError::empty("the network has no recurrent weights to show"));
    };
    let n = matrix.populations.len();
    if n == 0 || matrix.weights.dim() != (n, n) {
        return Err(PlotError::empty("the network has no recurrent weights to show"));
    }
    let mut names: Vec<&String> = Vec::new();
    for name in &matrix.populations {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let members = |name: &String| (0..n).filter(|&i| matrix.populations[i] == *name).collect::<Vec<_>>();
    let groups: Vec<Vec<usize>> = names.iter().map(|name| members(name)).collect();
    let value = |post: &[usize], pre: &[usize]| {
        let pairs = post.iter().flat_map(|&i| pre.iter().map(move |&j| (i, j)));
        mean(
            &pairs
                .filter(|(i, j)| i != j)
                .map(|(i, j)| matrix.weights[[i, j]])
                .collect::<Vec<_>>(),
        )
    };
    let of_row = |post: &Vec<usize>| groups.iter().map(|pre| value(post, pre)).collect::<Vec<f64>>();
    let values: Vec<Vec<f64>> = groups.iter().map(of_row).collect();
    let sizes = values.iter().flatten().map(|w| w.abs());
    let limit = style::highest(sizes, f64::MIN_POSITIVE);

    let note = "mean over all pairs of neurons of two populations of the signed weight, delays summed; forbidden synapses count \
                as 0; red: excites, blue: inhibits";
    let below = style::titled(canvas, "Mean weights between populations", note)?;
    let (width, height) = below.dim_in_pixel();
    let widths = names.iter().map(|name| style::text_width(name, style::SMALL));
    let longest = widths.max().unwrap_or(0).min(MAX_NAME);
    let (left, top) = (longest + 50, 6);
    let below_names = if groups.len() > 6 { longest } else { 0 };
    let room = (width as i32 - left - 110).min(height as i32 - top - below_names - 70);
    let side = (room / groups.len() as i32).clamp(1, 90);
    let total = side * groups.len() as i32;
    below.draw(&Rectangle::new(
        [(left, top), (left + total, top + total)],
        WHITE.filled(),
    ))?;
    for (i, row) in values.iter().enumerate() {
        for (j, weight) in row.iter().enumerate().filter(|(_, weight)| weight.is_finite()) {
            let (x, y) = (left + side * j as i32, top + side * i as i32);
            let ground = diverging(weight / limit);
            below.draw(&Rectangle::new([(x, y), (x + side, y + side)], ground.filled()))?;
            if groups.len() <= MAX_NUMBERED {
                let ink = if is_dark(ground) { WHITE } else { ON_LIGHT };
                let text = Text::new(
                    style::significant(*weight),
                    (x + side / 2, y + side / 2),
                    style::centred(if side < 46 { 11 } else { style::SMALL }).color(&ink),
                );
                below.draw(&text)?;
            }
        }
    }
    let frame = [(left, top), (left + total, top + total)];
    below.draw(&Rectangle::new(frame, GUIDE.stroke_width(1)))?;
    name_axes(&below, &names, (left, top), side)?;
    color_bar(&below, (left + total + 24, top), total.min(220), ("weight", limit))
}

fn name_axes(area: &Canvas<'_>, names: &[&String], origin: (i32, i32), side: i32) -> Result<(), PlotError> {
    let (left, top) = origin;
    let total = side * names.len() as i32;
    let widths = names.iter().map(|name| style::text_width(name, style::SMALL));
    let longest = widths.max().unwrap_or(0).min(MAX_NAME);
    let is_level = longest + 6 < side;
    for (i, name) in names.iter().enumerate() {
        let name = style::fitted(name, MAX_NAME, style::SMALL);
        let middle = side * i as i32 + side / 2;
        let place = (left - 8, top + middle);
        area.draw(&Text::new(name.clone(), place, style::right_of(style::SMALL)))?;
        if is_level {
            let place = (left + middle, top + total + 14);
            area.draw(&Text::new(name, place, style::centred(style::SMALL)))?;
        } else {
            let upright = style::right_of(style::SMALL).transform(FontTransform::Rotate270);
            area.draw(&Text::new(name, (left + middle, top + total + 6), upright))?;
        }
    }
    let below = if is_level { 24 } else { longest + 12 };
    let place = (left + total / 2, top + total + below + 12);
    area.draw(&Text::new("presynaptic", place, style::centred(style::MEDIUM)))?;
    let upright = style::centred(style::MEDIUM).transform(FontTransform::Rotate270);
    area.draw(&Text::new("postsynaptic", (18, top + total / 2), upright))?;
    Ok(())
}

/// Whether white is easier to read on it than black.
fn is_dark(ground: RGBColor) -> bool {
    let RGBColor(r, g, b) = ground;
    0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b) < 140.0
}
