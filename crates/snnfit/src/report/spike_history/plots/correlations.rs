//! Noise correlations of pairs, model against recording, in each count window.

use losses::sample_and_measure::{NoiseFrom, noise_correlations_of_counts, pairs_of, window_counts};
use ndarray::{Array3, Axis};
use plotters::prelude::*;
use rand::RngExt;
use snn_core::rng::StreamRng;

use super::{PlotError, Scene};
use crate::report::plots::style::{self, Canvas, GUIDE, Labels, MODEL, Mark, SECOND};

/// More pairs than this are drawn without error bars.
const MOST_BARS: usize = 60;
const N_RESAMPLES: usize = 200;
const COLUMNS: usize = 3;

pub(super) fn size(scene: &Scene<'_>) -> (u32, u32) {
    let n = scene.windows.len().max(1);
    let columns = n.min(COLUMNS) as u32;
    let width = if columns == 1 { 480 } else { 60 + columns * 280 };
    (width.max(620), 130 + 340 * n.div_ceil(COLUMNS) as u32)
}

pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    scene.check_repeats()?;
    if scene
        .report
        .pairs
        .iter()
        .all(|pair| pair.data.is_none() || pair.model.is_none())
    {
        return Err(PlotError::empty(
            "no two neurons recorded together vary in model and data",
        ));
    }
    let n_pairs = scene.report.pairs.len() / scene.windows.len().max(1);
    let bars = if n_pairs <= MOST_BARS {
        "; bars: standard errors of a bootstrap over trials"
    } else {
        ""
    };
    let is_copied = scene.report.pairs.iter().any(|pair| pair.training.is_some());
    let copy = if is_copied {
        "; copy: training trials in the model's place, the blue rings"
    } else {
        ""
    };
    let note = format!(
        "{} pairs; {}; spikes counted in windows, less their average over trials of the stimulus. R² is of the points and the dashed \
         line (strict), or of the line moved to their mean (offset-free){copy}. Brackets: 95 % intervals over trials and pairs{bars}",
        n_pairs,
        scene.trials(),
    );
    let below = style::titled(canvas, "Noise correlations", &note)?;
    let mut marks = vec![("model", Mark::Dot(MODEL)), ("equal", Mark::Dashed(GUIDE))];
    if is_copied {
        marks.insert(1, ("training trials", Mark::Dot(SECOND)));
    }
    style::legend(canvas, &marks)?;
    let n = scene.windows.len();
    let areas = below.split_evenly((n.div_ceil(COLUMNS), n.min(COLUMNS)));
    let values = |of: fn(&crate::spike_history::evaluate::PairReport) -> Option<f64>| {
        scene.report.pairs.iter().filter_map(of).filter(|x| x.is_finite())
    };
    let all: Vec<f64> = values(|p| p.data)
        .chain(values(|p| p.model))
        .chain(values(|p| p.training))
        .collect();
    let (low, high) = limits(&all);
    for (i, (&bins, area)) in scene.windows.iter().zip(&areas).enumerate() {
        panel(scene, bins, area, (low, high), i % COLUMNS == 0, n_pairs)?;
    }
    Ok(())
}

/// All values, or 99.5 % of many, with 0 and some room.
fn limits(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let share = if sorted.len() > 1000 { 0.0025 } else { 0.0 };
    let at = |q: f64| losses::statistics::quantile_sorted(&sorted, q).unwrap_or(0.0);
    let (low, high) = (at(share).min(0.0), at(1.0 - share).max(0.0));
    let room = ((high - low) * 0.12).max(0.005);
    (low - room, high + room)
}

fn panel(
    scene: &Scene<'_>,
    bins: usize,
    area: &Canvas<'_>,
    (low, high): (f64, f64),
    is_left: bool,
    n_pairs: usize,
) -> Result<(), PlotError> {
    let ms = bins as f64 * scene.bin_ms;
    let name = |what: &str| format!("noise_correlation_{what}_{}ms", (ms * 10.0).round() / 10.0);
    let found = |what: &str| scene.report.metrics.iter().find(|m| m.name == name(what));
    let text = |what: &str| {
        found(what).map_or("–".to_owned(), |m| {
            let interval = m.ci95.map_or(String::new(), |[a, b]| {
                format!(" [{}, {}]", style::decimals(a, 2), style::decimals(b, 2))
            });
            let copy = m.nulls.get("training_noise_correlations");
            let copy = copy.map_or(String::new(), |x| format!(", copy {}", style::decimals(*x, 2)));
            format!("{}{interval}{copy}", style::decimals(m.value, 2))
        })
    };
    let lines = [
        format!("{} ms windows", style::tick(ms)),
        format!("strict R² {}", text("r2")),
        format!("offset-free R² {}", text("r2_offset_free")),
    ];
    for (i, line) in lines.iter().enumerate() {
        let (size, color) = if i == 0 {
            (style::MEDIUM, style::DATA)
        } else {
            (style::SMALL, style::NOTE)
        };
        let y = 2 + 17 * i as i32;
        area.draw(&Text::new(line.clone(), (40, y), style::font(size).color(&color)))?;
    }
    let below = area.margin(54, 0, 0, 0);
    let labels = Labels {
        title: "",
        x: "data",
        y: if is_left { "model" } else { "" },
    };
    let mut chart = style::chart(&below, &labels, low..high, low..high)?;
    style::dashed(&mut chart, (low, low), (high, high))?;
    let is_here = |p: &&crate::spike_history::evaluate::PairReport| (p.window_ms - ms).abs() < 1e-9;
    let pairs: Vec<_> = scene.report.pairs.iter().filter(is_here).collect();
    let size = if n_pairs > 300 { 2 } else { 4 };
    let opacity = if n_pairs > 300 { 0.4 } else { 0.9 };
    if n_pairs <= MOST_BARS {
        let (data, model) = (errors(scene, bins, true), errors(scene, bins, false));
        for (i, pair) in pairs.iter().enumerate() {
            if let (Some(x), Some(y), Some(dx), Some(dy)) = (pair.data, pair.model, data.get(i), model.get(i)) {
                let line = |points| PathElement::new(points, MODEL.mix(0.45).stroke_width(1));
                chart.draw_series([
                    line(vec![(x - dx, y), (x + dx, y)]),
                    line(vec![(x, y - dy), (x, y + dy)]),
                ])?;
            }
        }
    }
    let rings = pairs.iter().filter_map(|p| Some((p.data?, p.training?)));
    chart.draw_series(rings.map(|point| Circle::new(point, size, SECOND.mix(opacity).stroke_width(1))))?;
    let points = pairs.iter().filter_map(|p| Some((p.data?, p.model?)));
    chart.draw_series(points.map(|point| Circle::new(point, size, MODEL.mix(opacity).filled())))?;
    Ok(())
}

/// Standard errors of each pair over resamples of trials.
fn errors(scene: &Scene<'_>, bins: usize, is_data: bool) -> Vec<f64> {
    let mut errors = Vec::new();
    for (g, one) in scene.compared.iter().enumerate() {
        let spikes = if is_data { &one.data } else { &one.model };
        let counts: Array3<f64> = window_counts(&spikes.view(), bins);
        let k = counts.dim().0;
        let mut rng = StreamRng::new(g as u64, "report.noise_correlations", u64::from(is_data));
        let (mut sum, mut squares) = (Vec::new(), Vec::new());
        for _ in 0..N_RESAMPLES {
            let drawn: Vec<usize> = (0..k).map(|_| rng.random_range(0..k)).collect();
            let nc = noise_correlations_of_counts(&counts.select(Axis(0), &drawn).view(), NoiseFrom::Mean);
            let pairs = pairs_of(&nc.view());
            sum.resize(pairs.len(), 0.0);
            squares.resize(pairs.len(), 0.0);
            for (i, x) in pairs.into_iter().enumerate() {
                sum[i] += x;
                squares[i] += x * x;
            }
        }
        let n = N_RESAMPLES as f64;
        errors.extend(sum.iter().zip(&squares).map(|(sum, squares): (&f64, &f64)| {
            let variance = squares / n - (sum / n).powi(2);
            if variance.is_finite() {
                variance.max(0.0).sqrt()
            } else {
                0.0
            }
        }));
    }
    errors
}
