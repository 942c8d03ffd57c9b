//! Dots with their intervals, one row each: shares of trial types, variance of the trial features of sessions.

use plotters::prelude::*;

use super::style::{self, Canvas, DATA, GUIDE, MODEL, Mark};
use super::{PlotError, PlotInputs, Scene};
use crate::evaluate::Report;

const MAX_TYPES: usize = 12;
const MAX_SESSIONS: usize = 60;
const ROW: u32 = 30;
/// Room for title, note, axis.
const AROUND: u32 = 130;
/// Longer names of rows are shortened, pixels.
const MAX_NAME: i32 = 170;

/// A value with its interval.
struct Dot {
    value: f64,
    ci95: Option<[f64; 2]>,
    color: RGBColor,
    is_filled: bool,
}

/// What stands in one row.
struct Row {
    name: String,
    dots: Vec<Dot>,
}

/// What rows share.
struct Axis<'x> {
    label: &'x str,
    end: f64,
    /// A value that is marked from top to bottom.
    mark: Option<f64>,
}

pub(super) fn size_of_types(inputs: &PlotInputs<'_>) -> (u32, u32) {
    (
        800,
        AROUND + ROW * types(inputs.report).len().clamp(2, MAX_TYPES) as u32,
    )
}

pub(super) fn size_of_sessions(inputs: &PlotInputs<'_>) -> (u32, u32) {
    let n = inputs.report.feature_variance.len().clamp(2, MAX_SESSIONS);
    (800, AROUND + 20 + ROW * 2 / 3 * n as u32)
}

/// Types with their shares in model and data.
fn types(report: &Report) -> Vec<Row> {
    let of_type = |metric: &losses::metrics::MetricValue| {
        let name = metric.name.strip_prefix("type_fraction/")?;
        let recorded = report.metric(&format!("type_fraction_data/{name}"))?;
        let dot = |metric: &losses::metrics::MetricValue, color| Dot {
            value: metric.value,
            ci95: metric.ci95,
            color,
            is_filled: true,
        };
        Some(Row {
            name: name.to_owned(),
            dots: vec![dot(recorded, DATA), dot(metric, MODEL)],
        })
    };
    report.metrics.iter().filter_map(of_type).collect()
}

/// Shares of trial types.
pub(super) fn draw_types(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let mut rows = types(scene.inputs.report);
    if rows.is_empty() {
        return Err(PlotError::empty(
            "shares of trial types are undefined for this recording",
        ));
    }
    let title = style::shown("Shares of trial types", MAX_TYPES, rows.len(), "types");
    rows.truncate(MAX_TYPES);
    let note = format!(
        "{}, {} model trials typed by template; bars: 95 % intervals",
        scene.recorded_trials(),
        scene.inputs.evaluation.model.conditions.len()
    );
    let below = style::titled(canvas, &title, &note)?;
    style::legend(canvas, &[("data", Mark::Dot(DATA)), ("model", Mark::Dot(MODEL))])?;
    let axis = Axis {
        label: "share of trials",
        end: 1.0,
        mark: None,
    };
    draw_rows(&below, &rows, &axis)
}

/// Variance of trial features in each session.
pub(super) fn draw_sessions(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let sessions = &scene.inputs.report.feature_variance;
    if sessions.is_empty() {
        return Err(PlotError::empty(
            "no session has trial features whose variance could be compared",
        ));
    }
    let title = style::shown(
        "Trial-to-trial variance by session",
        MAX_SESSIONS,
        sessions.len(),
        "sessions",
    );
    let has_reference = sessions.iter().any(|s| s.reference_train_test.is_some());
    let reference = if has_reference {
        "; ring: training trials in the model's place"
    } else {
        ""
    };
    let note = format!(
        "variance of the matched trial features, model over data; bars: 95 % intervals of a bootstrap over trials; dashed: \
         equal variances{reference}"
    );
    let below = style::titled(canvas, &title, &note)?;
    let rows: Vec<Row> = sessions
        .iter()
        .take(MAX_SESSIONS)
        .map(|session| {
            let ring = session.reference_train_test.map(|value| Dot {
                value,
                ci95: None,
                color: DATA,
                is_filled: false,
            });
            let model = Dot {
                value: session.ratio,
                ci95: Some(session.ci95),
                color: MODEL,
                is_filled: true,
            };
            Row {
                name: format!("{} (n = {})", session.session, session.n),
                dots: ring.into_iter().chain([model]).collect(),
            }
        })
        .collect();
    let ends = rows.iter().flat_map(|row| &row.dots);
    let ends = ends.map(|dot| dot.ci95.map_or(dot.value, |[_, high]| high));
    let axis = Axis {
        label: "variance ratio, model / data",
        end: style::highest(ends, 1.5).min(6.0) * 1.05,
        mark: Some(1.0),
    };
    draw_rows(&below, &rows, &axis)
}

fn draw_rows(area: &Canvas<'_>, rows: &[Row], axis: &Axis<'_>) -> Result<(), PlotError> {
    let names = rows.iter().map(|row| style::text_width(&row.name, style::SMALL));
    let left = names.max().unwrap_or(0).min(MAX_NAME) + 24;
    let (width, height) = area.dim_in_pixel();
    let (right, bottom) = (width as i32 - 20, height as i32 - 46);
    let x = |value: f64| left + (value.clamp(0.0, axis.end) / axis.end * f64::from(right - left)).round() as i32;
    for tick in ticks(axis.end) {
        let grid = vec![(x(tick), 4), (x(tick), bottom)];
        area.draw(&PathElement::new(grid, GUIDE.mix(0.25).stroke_width(1)))?;
        let place = (x(tick), bottom + 12);
        area.draw(&Text::new(style::tick(tick), place, style::centred(style::SMALL)))?;
    }
    area.draw(&PathElement::new(
        vec![(left, bottom), (right, bottom)],
        GUIDE.stroke_width(1),
    ))?;
    let middle = (i32::midpoint(left, right), bottom + 32);
    area.draw(&Text::new(axis.label, middle, style::centred(style::MEDIUM)))?;
    if let Some(mark) = axis.mark {
        for top in (4..bottom).step_by(9) {
            let dash = vec![(x(mark), top), (x(mark), (top + 5).min(bottom))];
            area.draw(&PathElement::new(dash, GUIDE.stroke_width(2)))?;
        }
    }
    let pitch = f64::from(bottom - 4) / rows.len().max(1) as f64;
    for (i, row) in rows.iter().enumerate() {
        let y = 4 + (pitch * (i as f64 + 0.5)).round() as i32;
        let name = style::fitted(&row.name, MAX_NAME, style::SMALL);
        area.draw(&Text::new(name, (left - 10, y), style::right_of(style::SMALL)))?;
        let apart = if row.dots.iter().all(|dot| dot.ci95.is_some()) {
            8
        } else {
            0
        };
        for (d, dot) in row.dots.iter().enumerate() {
            draw_dot(
                area,
                dot,
                y + apart * d as i32 - apart * (row.dots.len() as i32 - 1) / 2,
                &x,
            )?;
        }
        // What lies beyond the axis is told as a number.
        let beyond = row.dots.iter().map(|dot| dot.value).filter(|value| *value > axis.end);
        if let Some(largest) = beyond.reduce(f64::max) {
            let text = format!("{} →", style::decimals(largest, 1));
            area.draw(&Text::new(text, (right - 10, y), style::right_of(style::SMALL)))?;
        }
    }
    Ok(())
}

fn draw_dot(area: &Canvas<'_>, dot: &Dot, y: i32, x: &impl Fn(f64) -> i32) -> Result<(), PlotError> {
    if let Some([low, high]) = dot.ci95 {
        let bar = vec![(x(low), y), (x(high), y)];
        area.draw(&PathElement::new(bar, dot.color.stroke_width(2)))?;
    }
    let style = if dot.is_filled {
        dot.color.filled()
    } else {
        dot.color.stroke_width(1)
    };
    area.draw(&Circle::new((x(dot.value), y), 4, style))?;
    Ok(())
}

/// Round numbers from 0 to the end, five or so.
fn ticks(end: f64) -> Vec<f64> {
    let step = [0.1, 0.2, 0.25, 0.5, 1.0]
        .into_iter()
        .find(|step| end / step <= 6.0)
        .unwrap_or(2.0);
    let n = (end / step + 1e-9).floor().max(0.0) as u32;
    (0..=n).map(|i| f64::from(i) * step).collect()
}
