//! The recurrent weight matrix, by populations.

use losses::statistics::{mean, quantile_sorted};
use plotters::prelude::*;

use super::style::{self, Canvas, GUIDE, ON_LIGHT};
use super::{PlotError, Scene, WeightMatrix};

/// Cells per side at most: an SVG with one rectangle per weight of a large network can't be opened.
const MAX_CELLS: usize = 90;
/// Height of the names of the columns where they are level, pixels.
const LEVEL: i32 = 24;
/// Longer names of populations are shortened, pixels.
const MAX_NAME: i32 = 160;

/// A cell is the mean weight over neighbouring neurons of one population.
struct Cells {
    /// Neurons of each cell.
    members: Vec<Vec<usize>>,
    /// Name and first cell of each population.
    populations: Vec<(String, usize)>,
}

impl Cells {
    /// First cell of each population, and the one after its last.
    fn sides(&self) -> Vec<(usize, usize)> {
        let firsts = self.populations.iter().map(|(_, first)| *first);
        let ends = firsts.clone().skip(1).chain([self.members.len()]);
        firsts.zip(ends).collect()
    }

    /// Whether the names fit below their columns.
    fn has_room(&self, side: i32) -> bool {
        let mut names = self.populations.iter().zip(self.sides());
        names.all(|((name, _), (from, to))| style::text_width(name, style::SMALL) + 4 <= side * (to - from) as i32)
    }
}

/// Rows: postsynaptic, columns: presynaptic populations. Red excites, blue inhibits.
pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let Some(matrix) = scene.inputs.weights else {
        return Err(PlotError::empty("the network has no recurrent weights to show"));
    };
    draw_matrix(matrix, ("Recurrent weights", "delays summed", "weight"), canvas)
}

/// A matrix with a title, what its values are, and what one of them is called.
pub(in crate::report) fn draw_matrix(
    matrix: &WeightMatrix,
    (title, what, one): (&str, &str, &str),
    canvas: &Canvas<'_>,
) -> Result<(), PlotError> {
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
    let cell = if per_cell > 1 {
        format!("; a cell is the mean over up to {per_cell} × {per_cell} weights")
    } else {
        String::new()
    };
    let note = format!(
        "{n} neurons{cell}; {what}; red: positive (excites), blue: negative (inhibits), full colours from the \
         99th percentile on, white: 0"
    );
    let below = style::titled(canvas, title, &note)?;
    let (width, height) = below.dim_in_pixel();
    let widths = cells
        .populations
        .iter()
        .map(|(name, _)| style::text_width(name, style::SMALL));
    let longest = widths.max().unwrap_or(0).min(MAX_NAME);
    // Whole pixels, so that no gaps show between cells.
    let (left, top) = (longest + 50, 6);
    let side_below = |names: i32| {
        let room = (width as i32 - left - 110).min(height as i32 - top - 30 - names);
        (room / n_cells as i32).max(1)
    };
    let is_upright = !cells.has_room(side_below(LEVEL));
    let side = side_below(if is_upright { longest + 12 } else { LEVEL });
    let total = side * n_cells as i32;
    let ground = [(left, top), (left + total, top + total)];
    below.draw(&Rectangle::new(ground, WHITE.filled()))?;
    for (i, row) in values.iter().enumerate() {
        for (j, weight) in row.iter().enumerate().filter(|(_, w)| **w != 0.0) {
            let (x, y) = (left + side * j as i32, top + side * i as i32);
            let color = diverging(weight / limit);
            below.draw(&Rectangle::new([(x, y), (x + side, y + side)], color.filled()))?;
        }
    }
    frame(&below, &cells, (left, top), side, is_upright)?;
    color_bar(&below, (left + total + 24, top), total.min(220), (one, limit))
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
fn frame(area: &Canvas<'_>, cells: &Cells, origin: (i32, i32), side: i32, is_upright: bool) -> Result<(), PlotError> {
    let (left, top) = origin;
    let total = side * cells.members.len() as i32;
    area.draw(&Rectangle::new(
        [(left, top), (left + total, top + total)],
        GUIDE.stroke_width(1),
    ))?;
    let sides = cells
        .sides()
        .into_iter()
        .map(|(from, to)| (side * from as i32, side * to as i32));
    let sides: Vec<(i32, i32)> = sides.collect();
    for &(from, _) in sides.iter().skip(1) {
        let lines = [
            [(left + from, top), (left + from, top + total)],
            [(left, top + from), (left + total, top + from)],
        ];
        for line in lines {
            area.draw(&PathElement::new(line.to_vec(), ON_LIGHT.stroke_width(1)))?;
        }
    }
    let size = style::SMALL;
    let names: Vec<String> = cells
        .populations
        .iter()
        .map(|(name, _)| style::fitted(name, MAX_NAME, size))
        .collect();
    let longest = names
        .iter()
        .map(|name| style::text_width(name, size))
        .max()
        .unwrap_or(0);
    let mut next = i32::MIN; // names of small populations are moved on
    for (name, (from, to)) in names.iter().zip(&sides) {
        let middle = i32::midpoint(*from, *to).max(next);
        next = middle + size as i32;
        area.draw(&Text::new(
            name.clone(),
            (left - 8, top + middle),
            style::right_of(size),
        ))?;
        if is_upright {
            // Turned to the left, the end of the text is on top.
            let place = (left + middle, top + total + 6);
            let upright = style::right_of(size).transform(FontTransform::Rotate270);
            area.draw(&Text::new(name.clone(), place, upright))?;
        } else {
            let middle = left + i32::midpoint(*from, *to);
            area.draw(&Text::new(
                name.clone(),
                (middle, top + total + 14),
                style::centred(size),
            ))?;
        }
    }
    let below = if is_upright { longest + 12 } else { LEVEL };
    let size = style::MEDIUM;
    area.draw(&Text::new(
        "presynaptic",
        (left + total / 2, top + total + below + 12),
        style::centred(size),
    ))?;
    let upright = style::centred(size).transform(FontTransform::Rotate270);
    area.draw(&Text::new("postsynaptic", (18, top + total / 2), upright))?;
    Ok(())
}

/// Colours from the negative limit to the positive one, under the name of what they are.
pub(super) fn color_bar(
    area: &Canvas<'_>,
    origin: (i32, i32),
    height: i32,
    (name, limit): (&str, f64),
) -> Result<(), PlotError> {
    let (left, top) = (origin.0, origin.1 + 18);
    area.draw(&Text::new(name.to_owned(), (left, origin.1), style::font(style::SMALL)))?;
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
pub(in crate::report) fn diverging(value: f64) -> RGBColor {
    let full = if value < 0.0 {
        [33.0, 102.0, 172.0]
    } else {
        [178.0, 24.0, 43.0]
    };
    let share = value.abs().min(1.0).sqrt(); // weak weights stay visible
    let mix = |c: f64| (255.0 + share * (c - 255.0)).round() as u8;
    RGBColor(mix(full[0]), mix(full[1]), mix(full[2]))
}
