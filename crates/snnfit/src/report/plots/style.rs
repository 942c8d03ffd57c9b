//! Colours, fonts and axes that all pictures share.

use std::ops::Range;

use losses::statistics::MovingMean;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::PlotError;

/// Something to draw on, in pixels.
pub(in crate::report) type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A chart with two linear axes.
pub(in crate::report) type Chart<'a, 'b> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Recorded data.
pub(in crate::report) const DATA: RGBColor = RGBColor(0, 0, 0);
/// The model (Okabe–Ito vermillion).
pub(in crate::report) const MODEL: RGBColor = RGBColor(213, 94, 0);
/// A second model curve (Okabe–Ito blue).
pub(in crate::report) const SECOND: RGBColor = RGBColor(0, 114, 178);
/// Lines that are no data: thresholds, boundaries.
pub(in crate::report) const GUIDE: RGBColor = RGBColor(120, 120, 120);
/// Lines and text on a light ground of their own, which stays light where a page is dark.
pub(in crate::report) const ON_LIGHT: RGBColor = RGBColor(20, 20, 20);
/// Explanations.
pub(in crate::report) const NOTE: RGBColor = RGBColor(90, 90, 90);
const GRID: RGBColor = RGBColor(235, 235, 235);

/// Size of tick labels, pixels.
pub(in crate::report) const SMALL: u32 = 13;
/// Size of axis labels and panel titles, pixels.
pub(in crate::report) const MEDIUM: u32 = 15;
/// Size of the title of a picture, pixels.
const LARGE: u32 = 18;

/// Room for the numbers and the name of a vertical axis, pixels.
pub(in crate::report) const Y_LABELS: i32 = 58;

/// A font of the size.
pub(in crate::report) fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().into()
}

/// Width of a text in pixels, about: a reader's font is not known.
pub(in crate::report) fn text_width(text: &str, size: u32) -> i32 {
    (text.chars().count() as f64 * f64::from(size) * 0.46).ceil() as i32
}

/// A text with its middle left out if it is wider than so many pixels: names differ at their ends.
pub(in crate::report) fn fitted(text: &str, width: i32, size: u32) -> String {
    if text_width(text, size) <= width {
        return text.to_owned();
    }
    let characters: Vec<char> = text.chars().collect();
    let n = (f64::from(width.max(0)) / (f64::from(size) * 0.46)).floor() as usize;
    let n = n.saturating_sub(1).min(characters.len()); // without the dots
    let start = characters.iter().take(n / 2);
    let end = characters.iter().skip(characters.len() - (n - n / 2));
    start.chain(&['…']).chain(end).collect()
}

/// Lines of whole words that are no wider than so many pixels, unless a word is.
pub(in crate::report) fn wrapped(text: &str, width: i32, size: u32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(line, size) + text_width(word, size) < width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Writes the title of a picture, with an explanation in as many lines as it takes, and returns what is left below.
pub(in crate::report) fn titled<'a>(canvas: &Canvas<'a>, title: &str, note: &str) -> Result<Canvas<'a>, PlotError> {
    canvas.draw(&Text::new(title.to_owned(), (12, 8), font(LARGE)))?;
    let width = canvas.dim_in_pixel().0 as i32 - 24;
    let mut y = 32;
    for line in wrapped(note, width, SMALL) {
        canvas.draw(&Text::new(line, (12, y), font(SMALL).color(&NOTE)))?;
        y += SMALL as i32 + 3;
    }
    Ok(canvas.margin(y + 5, 4, 4, 10))
}

/// Writes two lines above a chart and returns what is left below; the second line is the smaller one.
pub(in crate::report) fn headed<'a>(area: &Canvas<'a>, first: &str, second: &str) -> Result<Canvas<'a>, PlotError> {
    let left = 46;
    let width = area.dim_in_pixel().0 as i32 - left;
    area.draw(&Text::new(fitted(first, width, MEDIUM), (left, 4), font(MEDIUM)))?;
    let second = Text::new(fitted(second, width, SMALL), (left, 22), font(SMALL).color(&NOTE));
    area.draw(&second)?;
    Ok(area.margin(34, 0, 0, 0))
}

/// Draws the legend entries in a row at the top right: a name with a line, a box, or a dashed line.
pub(in crate::report) fn legend(canvas: &Canvas<'_>, entries: &[(&str, Mark)]) -> Result<(), PlotError> {
    let mut right = canvas.dim_in_pixel().0 as i32 - 14;
    for (name, mark) in entries.iter().rev() {
        let left = right - text_width(name, SMALL);
        canvas.draw(&Text::new((*name).to_owned(), (left, 12), font(SMALL)))?;
        let (from, to) = ((left - 28, 18), (left - 6, 18));
        match mark {
            Mark::Line(color) => canvas.draw(&PathElement::new(vec![from, to], color.stroke_width(2)))?,
            Mark::Dashed(color) => {
                for i in 0..3 {
                    let start = from.0 + 8 * i;
                    canvas.draw(&PathElement::new(
                        vec![(start, 18), (start + 5, 18)],
                        color.stroke_width(2),
                    ))?;
                }
            }
            Mark::Box(color) => {
                canvas.draw(&Rectangle::new(
                    [(left - 22, 12), (left - 6, 24)],
                    color.mix(0.35).filled(),
                ))?;
            }
            Mark::Dot(color) => canvas.draw(&Circle::new((left - 14, 18), 4, color.filled()))?,
        }
        right = left - 44;
    }
    Ok(())
}

/// How a legend entry is drawn.
#[derive(Clone, Copy)]
pub(in crate::report) enum Mark {
    Line(RGBColor),
    Dashed(RGBColor),
    Box(RGBColor),
    Dot(RGBColor),
}

/// Labels of a chart.
#[derive(Default)]
pub(in crate::report) struct Labels<'l> {
    pub(in crate::report) title: &'l str,
    pub(in crate::report) x: &'l str,
    pub(in crate::report) y: &'l str,
}

/// A chart with axes, ticks and a faint grid.
pub(in crate::report) fn chart<'a, 'b>(
    area: &'a Canvas<'b>,
    labels: &Labels<'_>,
    x: Range<f64>,
    y: Range<f64>,
) -> Result<Chart<'a, 'b>, PlotError> {
    let mut chart = builder(area, labels).build_cartesian_2d(widened(x), widened(y))?;
    let (width, height) = area.dim_in_pixel();
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GUIDE)
        .x_labels((width / 70).clamp(2, 8) as usize)
        .y_labels((height / 40).clamp(2, 8) as usize)
        .x_label_formatter(&|value| tick(*value))
        .y_label_formatter(&|value| tick(*value))
        .label_style(font(SMALL))
        .axis_desc_style(font(MEDIUM))
        .x_desc(labels.x)
        .y_desc(labels.y)
        .draw()?;
    Ok(chart)
}

/// Margins and title of a chart.
pub(in crate::report) fn builder<'a, 'b>(
    area: &'a Canvas<'b>,
    labels: &Labels<'_>,
) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(area);
    builder
        .margin(6)
        .margin_right(14)
        .x_label_area_size(if labels.x.is_empty() { 22 } else { 42 })
        .y_label_area_size(if labels.y.is_empty() { 40 } else { Y_LABELS });
    if !labels.title.is_empty() {
        builder.caption(labels.title, font(MEDIUM));
    }
    builder
}

/// A range with some width, for data that are all the same.
pub(in crate::report) fn widened(range: Range<f64>) -> Range<f64> {
    let is_good = range.start.is_finite() && range.end.is_finite() && range.end > range.start;
    if is_good {
        return range;
    }
    let start = if range.start.is_finite() { range.start } else { 0.0 };
    start..start + 1.0
}

/// A tick label: as few digits as tell ticks apart.
pub(in crate::report) fn tick(value: f64) -> String {
    let text = match value.abs() {
        x if x >= 1e6 => format!("{value:.1e}"),
        x if x >= 10.0 => format!("{value:.0}"),
        _ => format!("{value:.2}")
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
    };
    if text == "-0" {
        "0".to_owned()
    } else {
        text.replace('-', "−")
    }
}

/// A correlation or another number of order 1.
pub(in crate::report) fn decimals(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let is_zero = text.chars().all(|c| matches!(c, '-' | '0' | '.'));
    if is_zero {
        text.replace('-', "")
    } else {
        text.replace('-', "−")
    }
}

/// Two significant digits.
pub(in crate::report) fn significant(value: f64) -> String {
    let size = value.abs();
    let text = if value == 0.0 {
        "0".to_owned()
    } else if (1e-4..1e6).contains(&size) {
        let digits = (1.0 - size.log10().floor()).clamp(0.0, 6.0) as usize;
        format!("{value:.digits$}")
    } else {
        format!("{value:.1e}")
    };
    text.replace('-', "−")
}

/// A dashed line between two points of a chart's pixels.
pub(in crate::report) fn dashed(chart: &mut Chart<'_, '_>, from: (f64, f64), to: (f64, f64)) -> Result<(), PlotError> {
    chart.draw_series(DashedLineSeries::new([from, to], 5, 4, GUIDE.stroke_width(1)))?;
    Ok(())
}

/// Text in the middle of a point.
pub(in crate::report) fn centred(size: u32) -> TextStyle<'static> {
    font(size).pos(Pos::new(HPos::Center, VPos::Center))
}

/// Time of each PSTH bin (the middle of its window), ms relative to the alignment event.
pub(in crate::report) fn psth_times_ms(filter: MovingMean, n_bins: usize, start_ms: f64, bin_ms: f64) -> Vec<f64> {
    let middle = |o: usize| {
        let bins = filter.bins(o, n_bins);
        start_ms + bin_ms * (bins.start + bins.end) as f64 / 2.0
    };
    (0..filter.output_len(n_bins)).map(middle).collect()
}

/// A curve, broken where it is NaN.
pub(in crate::report) fn curve(
    chart: &mut Chart<'_, '_>,
    times: &[f64],
    values: &[f64],
    color: RGBColor,
) -> Result<(), PlotError> {
    let points: Vec<(f64, f64)> = times.iter().copied().zip(values.iter().copied()).collect();
    for piece in points
        .split(|(_, value)| value.is_nan())
        .filter(|piece| !piece.is_empty())
    {
        chart.draw_series(LineSeries::new(piece.iter().copied(), color.stroke_width(2)))?;
    }
    Ok(())
}

/// The largest finite value, at least `least`.
pub(in crate::report) fn highest(values: impl IntoIterator<Item = f64>, least: f64) -> f64 {
    values
        .into_iter()
        .filter(|value| value.is_finite())
        .fold(least, f64::max)
}

/// Text that ends at a point.
pub(in crate::report) fn right_of(size: u32) -> TextStyle<'static> {
    font(size).pos(Pos::new(HPos::Right, VPos::Center))
}

/// A title that says where not everything is shown.
pub(in crate::report) fn shown(title: &str, most: usize, of: usize, what: &str) -> String {
    if of > most {
        format!("{title} (first {most} of {of} {what})")
    } else {
        title.to_owned()
    }
}
