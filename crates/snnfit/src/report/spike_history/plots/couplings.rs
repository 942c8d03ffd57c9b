//! Kernels between neurons over lags, and each neuron's own history.

use losses::statistics::{mean, quantile_sorted};
use ndarray::{Axis, s};
use plotters::prelude::*;

use super::{PlotError, Scene};
use crate::report::plots::style::{self, Canvas, GUIDE, Labels, MODEL};
use crate::report::plots::{WeightMatrix, weights};

/// Up to so many neurons each pair has a panel of its own.
const MOST_PANELS: usize = 8;
/// Kernels of larger networks that are drawn, the strongest.
const STRONGEST: usize = 12;
const COLUMNS: usize = 4;
/// Up to so many neurons each own history has a panel.
const MOST_OWN: usize = 12;
/// Longer kernels have no dot for each lag.
const MOST_DOTS: usize = 40;

const UNIT: &str = "log-odds";

pub(super) fn size(scene: &Scene<'_>) -> (u32, u32) {
    let n = scene.kernels.ids.len();
    if n <= MOST_PANELS {
        (860, 160 + 104 * n.max(1) as u32)
    } else {
        (860, 1400)
    }
}

pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    match scene.kernels.ids.len() {
        0 | 1 => Err(PlotError::empty("the network has one neuron, which has no partner")),
        n if n <= MOST_PANELS => panels(scene, canvas),
        _ => matrix(scene, canvas),
    }
}

/// Range of all kernels off the diagonal, 0 included.
fn range(scene: &Scene<'_>) -> (f64, f64) {
    let others = scene.kernels.values.indexed_iter().filter(|((_, i, j), _)| i != j);
    let (low, high) = others.fold((0.0, 0.0), |(low, high): (f64, f64), (_, w)| {
        (low.min(*w), high.max(*w))
    });
    with_room(low, high)
}

fn with_room(low: f64, high: f64) -> (f64, f64) {
    let room = ((high - low) * 0.08).max(1e-6);
    (low - room, high + room)
}

/// Rows: postsynaptic, columns: presynaptic neurons.
fn panels(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let kernels = &scene.kernels;
    let n = kernels.ids.len();
    let (low, high) = range(scene);
    let note = format!(
        "Change of the log-odds of a spike of the neuron on the left by a spike of the neuron above, by lag; all panels have the axes \
         of the lowest one on the left. Above the line a spike makes others more likely, below less. Own histories are in a picture of \
         their own. Largest: {}",
        style::significant(low.abs().max(high)),
    );
    let below = style::titled(canvas, "Coupling kernels", &note)?;
    let (width, height) = below.dim_in_pixel();
    let (left, top, bottom) = (110, 34, 40);
    let cell = (
        (width as i32 - left - 10) / n as i32,
        (height as i32 - top - bottom) / n as i32,
    );
    let small = style::SMALL;
    below.draw(&Text::new(
        "presynaptic",
        (left, 0),
        style::font(small).color(&style::NOTE),
    ))?;
    for (i, id) in kernels.ids.iter().enumerate() {
        let (x, y) = (
            left + cell.0 * i as i32 + cell.0 / 2,
            top + cell.1 * i as i32 + cell.1 / 2,
        );
        let name = style::fitted(id, cell.0 - 8, small);
        below.draw(&Text::new(name, (x, top - 10), style::centred(small)))?;
        let name = style::fitted(id, left - 56, small);
        below.draw(&Text::new(name, (left - 36, y), style::right_of(small)))?;
    }
    let upright = style::centred(small).transform(FontTransform::Rotate270);
    below.draw(&Text::new(
        "postsynaptic",
        (12, top + cell.1 * n as i32 / 2),
        upright.color(&style::NOTE),
    ))?;
    let last = kernels.lag_ms.last().copied().unwrap_or(1.0);
    let at = |value: f64, y: i32| y + 4 + ((high - value) / (high - low) * f64::from(cell.1 - 8)).round() as i32;
    for post in 0..n {
        for pre in 0..n {
            let (x, y) = (left + cell.0 * pre as i32, top + cell.1 * post as i32);
            let frame = [(x + 2, y + 2), (x + cell.0 - 2, y + cell.1 - 2)];
            if post == pre {
                below.draw(&Rectangle::new(frame, GUIDE.mix(0.15).filled()))?;
                continue;
            }
            below.draw(&Rectangle::new(frame, GUIDE.mix(0.5).stroke_width(1)))?;
            let zero = at(0.0, y);
            below.draw(&PathElement::new(
                vec![(x + 2, zero), (x + cell.0 - 2, zero)],
                GUIDE.mix(0.6),
            ))?;
            let place = |d: usize| {
                let across = kernels.lag_ms[d] / last * f64::from(cell.0 - 8);
                (x + 4 + across.round() as i32, at(kernels.values[[d, pre, post]], y))
            };
            let points: Vec<(i32, i32)> = (0..kernels.lag_ms.len()).map(place).collect();
            below.draw(&PathElement::new(points, MODEL.stroke_width(2)))?;
        }
    }
    // The axes, once.
    let (x, y) = (left, top + cell.1 * (n as i32 - 1));
    for value in [0.0, ticks_end(high)] {
        let text = style::significant(value);
        below.draw(&Text::new(text, (x - 2, at(value, y)), style::right_of(small - 2)))?;
    }
    let below_y = top + cell.1 * n as i32 + 8;
    below.draw(&Text::new("0", (x + 4, below_y), style::centred(small - 2)))?;
    let end = format!("{} ms", style::tick(last));
    below.draw(&Text::new(end, (x + cell.0 - 8, below_y), style::centred(small - 2)))?;
    below.draw(&Text::new(
        format!(
            "lag; vertical: change of log-odds from {} to {}",
            style::significant(low),
            style::significant(high)
        ),
        (x + cell.0 + 24, below_y - 6),
        style::font(small).color(&style::NOTE),
    ))?;
    Ok(())
}

/// A round number near the end of an axis.
fn ticks_end(end: f64) -> f64 {
    let size = end.abs() * 0.8;
    if size < 1e-9 {
        return 0.0;
    }
    let decade = 10f64.powf(size.log10().floor());
    let step = [1.0, 2.0, 5.0]
        .into_iter()
        .rev()
        .find(|s| s * decade <= size)
        .unwrap_or(1.0);
    end.signum() * step * decade
}

/// A heat map of sums over lags, and the strongest kernels.
fn matrix(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let kernels = &scene.kernels;
    let n = kernels.ids.len();
    let mut sums = kernels.values.sum_axis(Axis(0)).t().to_owned();
    sums.diag_mut().fill(0.0);
    let (upper, lower) = canvas.split_vertically(720);
    weights::draw_matrix(
        &WeightMatrix {
            weights: sums,
            populations: kernels.areas.clone(),
        },
        (
            "Couplings, summed over lags",
            "change of the log-odds of a spike, own history left out",
            "coupling",
        ),
        &upper,
    )?;
    let mut pairs: Vec<(usize, usize, f64)> = (0..n)
        .flat_map(|i| (0..n).map(move |j| (i, j)))
        .filter(|(i, j)| i != j)
        .map(|(i, j)| (i, j, kernels.values.slice(s![.., i, j]).iter().map(|w| w * w).sum()))
        .collect();
    pairs.sort_by(|a, b| b.2.total_cmp(&a.2).then((a.0, a.1).cmp(&(b.0, b.1))));
    pairs.truncate(STRONGEST);
    let note = format!("of {} by their sum of squares; presynaptic → postsynaptic", n * (n - 1));
    let below = style::titled(&lower, "The strongest kernels", &note)?;
    let (low, high) = range(scene);
    let areas = below.split_evenly((STRONGEST / COLUMNS, COLUMNS));
    for (i, ((pre, post, _), area)) in pairs.iter().zip(&areas).enumerate() {
        let values: Vec<f64> = kernels.values.slice(s![.., *pre, *post]).to_vec();
        let title = style::fitted(
            &format!("{} → {}", kernels.ids[*pre], kernels.ids[*post]),
            180,
            style::MEDIUM,
        );
        lines(
            scene,
            area,
            &title,
            &[values],
            (low, high),
            (i % COLUMNS == 0, i >= STRONGEST - COLUMNS),
        )?;
    }
    Ok(())
}

/// One chart of kernels over lags; the last one is the model's colour, others are grey.
fn lines(
    scene: &Scene<'_>,
    area: &Canvas<'_>,
    title: &str,
    curves: &[Vec<f64>],
    (low, high): (f64, f64),
    (is_left, is_lowest): (bool, bool),
) -> Result<(), PlotError> {
    let lags = &scene.kernels.lag_ms;
    let labels = Labels {
        title,
        x: if is_lowest { "lag (ms)" } else { "" },
        y: if is_left { UNIT } else { "" },
    };
    let end = lags.last().copied().unwrap_or(1.0);
    let mut chart = style::chart(area, &labels, 0.0..end, low..high)?;
    style::dashed(&mut chart, (0.0, 0.0), (end, 0.0))?;
    for (i, curve) in curves.iter().enumerate() {
        let points = || lags.iter().copied().zip(curve.iter().copied());
        let is_last = i + 1 == curves.len();
        let (color, width) = if is_last {
            (MODEL.mix(1.0), 2)
        } else {
            (GUIDE.mix(0.3), 1)
        };
        chart.draw_series(LineSeries::new(points(), color.stroke_width(width)))?;
        if is_last && lags.len() <= MOST_DOTS {
            chart.draw_series(points().map(|point| Circle::new(point, 2, MODEL.filled())))?;
        }
    }
    Ok(())
}

pub(super) fn size_of_self(scene: &Scene<'_>) -> (u32, u32) {
    match scene.kernels.ids.len() {
        n if n <= MOST_OWN => (860, 90 + 190 * n.div_ceil(COLUMNS).max(1) as u32),
        _ => (620, 420),
    }
}

/// What a neuron's own spikes do to it.
pub(super) fn draw_self(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let kernels = &scene.kernels;
    let n = kernels.ids.len();
    if n == 0 {
        return Err(PlotError::empty("the network has no neurons"));
    }
    let own = |i: usize| kernels.values.slice(s![.., i, i]).to_vec();
    let all: Vec<f64> = (0..n).flat_map(own).collect();
    let is_many = n > MOST_OWN;
    let (low, high) = {
        let mut sorted = all;
        sorted.sort_by(f64::total_cmp);
        let q = if is_many { 0.005 } else { 0.0 };
        let at = |q: f64| quantile_sorted(&sorted, q).unwrap_or(0.0);
        with_room(at(q).min(0.0), at(1.0 - q).max(0.0))
    };
    let note = "Change of the log-odds of a spike by the neuron's own earlier spikes. A deep trough at short lags is refractoriness, a \
                peak after it a tendency to burst";
    let below = style::titled(canvas, "Own history", note)?;
    if is_many {
        let median = (0..kernels.lag_ms.len()).map(|d| {
            let mut values: Vec<f64> = (0..n).map(|i| kernels.values[[d, i, i]]).collect();
            values.sort_by(f64::total_cmp);
            quantile_sorted(&values, 0.5).unwrap_or_else(|| mean(&values))
        });
        let mut curves: Vec<Vec<f64>> = (0..n).map(own).collect();
        curves.push(median.collect());
        let title = format!("{n} neurons (grey), their median");
        return lines(scene, &below, &title, &curves, (low, high), (true, true));
    }
    let rows = n.div_ceil(COLUMNS);
    let areas = below.split_evenly((rows, n.min(COLUMNS)));
    for (i, area) in areas.iter().enumerate().take(n) {
        let title = style::fitted(&format!("neuron {}", kernels.ids[i]), 170, style::MEDIUM);
        let is_lowest = i + COLUMNS >= n;
        lines(
            scene,
            area,
            &title,
            &[own(i)],
            (low, high),
            (i % COLUMNS == 0, is_lowest),
        )?;
    }
    Ok(())
}
