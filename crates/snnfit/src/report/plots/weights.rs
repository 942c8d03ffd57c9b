//! The recurrent weight matrix, by populations.

use losses::statistics::{mean, quantile_sorted};
use plotters::prelude::*;

use super::style::{self, Canvas, GUIDE};
use super::{PlotError, Scene};

/// Cells per side at most: an SVG with one rectangle per weight of a large network can't be opened.
const MAX_CELLS: usize = 90;

/// A cell is the mean weight over neighbouring neurons of one population.
struct Cells {
    /// Neurons of each cell.
    members: Vec<Vec<usize>>,
    /// Name and first cell of each population.
    populations: Vec<(String, usize)>,
}

/// Rows: postsynaptic, columns: presynaptic populations. Red excites, blue inhibits.
pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let Some(matrix) = scene.inputs.weights else {
        return Err(PlotError::empty("the network has no recurrent weights to show"));
    };
    let n = matrix.populations.len();
    if n == 0 || matrix.weights.dim() != (n, n) {
        return Err(PlotError::empty(format!(
            "weights of shape {:?} for {n} neurons",
            matrix.weights.dim()
        )));
    }
    let cells = cells(&matrix.populations);
    let n_cells = cells.members.len();
    let value = |post: usize, pre: usize| {
        let pairs = cells.members[post]
            .iter()
            .flat_map(|&i| cells.members[pre].iter().map(move |&j| (i, j)));
        mean(&pairs.map(|(i, j)| matrix.weights[[i, j]]).collect::<Vec<_>>())
    };
    let values: Vec<Vec<f64>> = (0..n_cells)
        .map(|i| (0..n_cells).map(|j| value(i, j)).collect())
        .collect();
    let mut sizes: Vec<f64> = values.iter().flatten().map(|w| w.abs()).filter(|w| *w > 0.0).collect();
    sizes.sort_by(f64::total_cmp);
    let limit = quantile_sorted(&sizes, 0.99).unwrap_or(1.0);

    let per_cell = n.div_ceil(MAX_CELLS);
    let note = if per_cell > 1 {
        format!("{n} neurons; a cell is the mean over up to {per_cell} × {per_cell} weights; delays summed")
    } else {
        format!("{n} neurons; delays summed")
    };
    let below = style::titled(canvas, "Recurrent weights", &note)?;
    let (width, height) = below.dim_in_pixel();
    // Whole pixels, so that no gaps show between cells.
    let (left, top) = (110, 6);
    let side = (i64::from(width) - 110 - 110).min(i64::from(height) - 6 - 70).max(1) as usize / n_cells;
    let side = side.max(1) as i32;
    let total = side * n_cells as i32;
    for (i, row) in values.iter().enumerate() {
        for (j, weight) in row.iter().enumerate().filter(|(_, w)| **w != 0.0) {
            let (x, y) = (left + side * j as i32, top + side * i as i32);
            let color = diverging(weight / limit);
            below.draw(&Rectangle::new([(x, y), (x + side, y + side)], color.filled()))?;
        }
    }
    frame(&below, &cells, (left, top), side, total)?;
    color_bar(&below, (left + total + 24, top), total.min(220), limit)
}

/// Neighbouring neurons of a population put together, populations in order of first appearance.
fn cells(populations: &[String]) -> Cells {
    let mut names: Vec<&String> = Vec::new();
    for name in populations {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let per_cell = populations.len().div_ceil(MAX_CELLS);
    let mut cells = Cells {
        members: Vec::new(),
        populations: Vec::new(),
    };
    for name in names {
        cells.populations.push((name.clone(), cells.members.len()));
        let own: Vec<usize> = (0..populations.len()).filter(|&n| populations[n] == *name).collect();
        cells.members.extend(own.chunks(per_cell).map(<[usize]>::to_vec));
    }
    cells
}

/// Boundaries and names of the populations, names of the axes.
fn frame(area: &Canvas<'_>, cells: &Cells, origin: (i32, i32), side: i32, total: i32) -> Result<(), PlotError> {
    let (left, top) = origin;
    area.draw(&Rectangle::new(
        [(left, top), (left + total, top + total)],
        GUIDE.stroke_width(1),
    ))?;
    let ends = cells
        .populations
        .iter()
        .skip(1)
        .map(|(_, first)| *first)
        .chain([cells.members.len()]);
    for ((name, first), end) in cells.populations.iter().zip(ends) {
        let (from, to) = (side * *first as i32, side * end as i32);
        if *first > 0 {
            let lines = [
                [(left + from, top), (left + from, top + total)],
                [(left, top + from), (left + total, top + from)],
            ];
            for line in lines {
                area.draw(&PathElement::new(line.to_vec(), GUIDE.stroke_width(1)))?;
            }
        }
        let middle = i32::midpoint(from, to);
        let size = style::SMALL;
        area.draw(&Text::new(
            name.clone(),
            (left - 8, top + middle),
            style::right_of(size),
        ))?;
        area.draw(&Text::new(
            name.clone(),
            (left + middle, top + total + 14),
            style::centred(size),
        ))?;
    }
    let size = style::MEDIUM;
    area.draw(&Text::new(
        "presynaptic",
        (left + total / 2, top + total + 38),
        style::centred(size),
    ))?;
    let upright = style::centred(size).transform(FontTransform::Rotate270);
    area.draw(&Text::new("postsynaptic", (18, top + total / 2), upright))?;
    Ok(())
}

fn color_bar(area: &Canvas<'_>, origin: (i32, i32), height: i32, limit: f64) -> Result<(), PlotError> {
    let (left, top) = (origin.0, origin.1 + 18);
    area.draw(&Text::new("weight", (left, origin.1), style::font(style::SMALL)))?;
    for y in 0..height {
        let value = 1.0 - 2.0 * f64::from(y) / f64::from(height.max(1));
        let place = [(left, top + y), (left + 16, top + y + 1)];
        area.draw(&Rectangle::new(place, diverging(value).filled()))?;
    }
    for (share, value) in [(0.0, limit), (0.5, 0.0), (1.0, -limit)] {
        let y = top + (share * f64::from(height)).round() as i32;
        area.draw(&Text::new(
            style::significant(value),
            (left + 22, y - 6),
            style::font(style::SMALL),
        ))?;
    }
    Ok(())
}

/// From blue (−1) over white (0) to red (1).
fn diverging(value: f64) -> RGBColor {
    let full = if value < 0.0 {
        [33.0, 102.0, 172.0]
    } else {
        [178.0, 24.0, 43.0]
    };
    let share = value.abs().min(1.0).sqrt(); // weak weights stay visible
    let mix = |c: f64| (255.0 + share * (c - 255.0)).round() as u8;
    RGBColor(mix(full[0]), mix(full[1]), mix(full[2]))
}
