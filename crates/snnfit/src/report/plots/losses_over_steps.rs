//! Losses over steps: training, validation, and what the losses are with training trials in the model's place.

use std::collections::BTreeMap;

use plotters::coord::ranged1d::ValueFormatter;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::style::{self, Canvas, GUIDE, Labels, MODEL, Mark, SECOND};
use super::{LossHistory, PlotError, Scene};

/// One panel for the sum, one for each loss if there are several.
pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let Some(history) = scene.inputs.losses else {
        return Err(PlotError::empty("the run has no logged losses"));
    };
    draw_history(history, canvas)
}

/// The same of any run.
pub(in crate::report) fn draw_history(history: &LossHistory, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    if history.train.is_empty() && history.validation.is_empty() {
        return Err(PlotError::empty("the run has no logged losses"));
    }
    let points = history.train.iter().chain(&history.validation);
    let mut names: Vec<&str> = points
        .flat_map(|(_, losses)| losses.keys().map(String::as_str))
        .collect();
    names.sort_unstable();
    names.dedup();
    // A spike-GAN is validated by another quantity than it is trained by: the sums can't be compared.
    let of =
        |points: &[(u64, BTreeMap<String, f64>)]| points.last().map(|(_, losses)| losses.keys().cloned().collect());
    let (of_train, of_validation): (Option<Vec<String>>, Option<Vec<String>>) =
        (of(&history.train), of(&history.validation));
    let is_one_sum = of_train.is_none() || of_validation.is_none() || of_train == of_validation;
    let mut panels: Vec<Option<&str>> = if is_one_sum { vec![None] } else { Vec::new() };
    if names.len() > 1 {
        panels.extend(names.iter().map(|&name| Some(name)));
    }
    let mut note = "of the model against training and validation trials".to_owned();
    let mut entries = vec![("training", Mark::Line(SECOND)), ("validation", Mark::Line(MODEL))];
    if panels.iter().any(|name| value(&history.floors, *name).is_some()) {
        note.push_str(
            "; dashed: of as many training trials in the model's place against validation trials (a fit can lie below)",
        );
        entries.push(("training trials in the model's place", Mark::Dashed(GUIDE)));
    }
    let below = style::titled(canvas, "Losses", &note)?;
    style::legend(canvas, &entries)?;
    let n_columns = panels.len().min(2);
    let areas = below.split_evenly((panels.len().div_ceil(n_columns), n_columns));
    let mut n_drawn = 0;
    for (area, name) in areas.iter().zip(panels) {
        n_drawn += usize::from(panel(history, name, area)?);
    }
    if n_drawn == 0 {
        return Err(PlotError::empty("no loss is a finite number"));
    }
    Ok(())
}

/// The loss of a name, or the sum of all.
fn value(losses: &BTreeMap<String, f64>, name: Option<&str>) -> Option<f64> {
    let value = match name {
        Some(name) => *losses.get(name)?,
        None if losses.is_empty() => return None,
        None => losses.values().sum(),
    };
    value.is_finite().then_some(value)
}

/// What a panel shows.
struct Curves {
    train: Vec<(f64, f64)>,
    validation: Vec<(f64, f64)>,
    /// With training trials in the model's place.
    recorded: Option<f64>,
    last: f64,
}

impl Curves {
    fn of(history: &LossHistory, name: Option<&str>) -> Self {
        let series = |points: &[(u64, BTreeMap<String, f64>)]| -> Vec<(f64, f64)> {
            let point = |(step, losses): &(u64, BTreeMap<String, f64>)| Some((*step as f64, value(losses, name)?));
            points.iter().filter_map(point).collect()
        };
        let (train, validation) = (series(&history.train), series(&history.validation));
        let last = train
            .iter()
            .chain(&validation)
            .map(|(step, _)| *step)
            .fold(1.0, f64::max);
        Self {
            recorded: value(&history.floors, name),
            train,
            validation,
            last,
        }
    }

    fn values(&self, from_step: f64) -> impl Iterator<Item = f64> {
        let all = self.train.iter().chain(&self.validation);
        all.filter(move |(step, _)| *step >= from_step)
            .map(|(_, value)| *value)
            .chain(self.recorded)
    }

    fn draw<Y>(&self, mut chart: Panel<'_, '_, Y>, what: &str) -> Result<(), PlotError>
    where
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .axis_style(GUIDE)
            .bold_line_style(RGBColor(235, 235, 235))
            .x_labels(4)
            .y_labels(12)
            .x_label_formatter(&|step| style::tick(*step))
            .y_label_formatter(&|value| style::significant(*value))
            .label_style(style::font(style::SMALL))
            .axis_desc_style(style::font(style::MEDIUM))
            .x_desc("step")
            .y_desc(what)
            .draw()?;
        let range = chart.as_coord_spec().get_y_range();
        let inside = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
            let is_inside = |(_, value): &(f64, f64)| (range.start..=range.end).contains(value);
            points.iter().copied().filter(is_inside).collect()
        };
        let (train, validation) = (inside(&self.train), inside(&self.validation));
        chart.draw_series(LineSeries::new(train, SECOND.stroke_width(1)))?;
        chart.draw_series(LineSeries::new(validation.iter().copied(), MODEL.stroke_width(2)))?;
        chart.draw_series(validation.iter().map(|&point| Circle::new(point, 2, MODEL.filled())))?;
        if let Some(loss) = self.recorded.filter(|loss| (range.start..=range.end).contains(loss)) {
            let ends = [(0.0, loss), (self.last, loss)];
            chart.draw_series(DashedLineSeries::new(ends, 6, 4, GUIDE.stroke_width(2)))?;
        }
        Ok(())
    }
}

type Panel<'a, 'b, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, Y>>;

/// Draws one panel, unless it has no points. Values below 0, as of losses without bias, have a linear axis, of which the first steps are
/// left out.
fn panel(history: &LossHistory, name: Option<&str>, area: &Canvas<'_>) -> Result<bool, PlotError> {
    let curves = Curves::of(history, name);
    if curves.train.is_empty() && curves.validation.is_empty() {
        return Ok(false);
    }
    let title = name.map_or("sum of the losses".to_owned(), |name| name.replace('_', " "));
    let labels = Labels {
        title: &title,
        x: "step",
        y: "loss × weight",
    };
    let lowest = curves.values(0.0).fold(f64::INFINITY, f64::min);
    let mut builder = style::builder(area, &labels);
    if lowest > 0.0 {
        let (low, high) = (lowest / 1.15, curves.values(0.0).fold(0.0, f64::max) * 1.15);
        let ticks = ticks(low, high);
        make_room(&mut builder, &ticks);
        let axis = (low..high).log_scale().with_key_points(ticks);
        curves.draw(builder.build_cartesian_2d(0.0..curves.last, axis)?, labels.y)?;
    } else {
        let late = |f: fn(f64, f64) -> f64, start: f64| curves.values(0.1 * curves.last).fold(start, f);
        let (low, high) = (late(f64::min, lowest), late(f64::max, 0.0));
        let margin = 0.08 * (high - low).max(1e-6);
        let axis = low - margin..high + margin;
        make_room(&mut builder, &[axis.start, axis.end]);
        curves.draw(
            builder.build_cartesian_2d(0.0..curves.last, axis)?,
            "loss × weight (linear)",
        )?;
    }
    Ok(true)
}

/// Widens the room left of a panel where its numbers would lie in the name of the axis.
fn make_room(builder: &mut ChartBuilder<'_, '_, SVGBackend<'_>>, numbers: &[f64]) {
    const NAME: i32 = 24;
    // Digits are wider than letters, by a third in some fonts.
    let widths = numbers
        .iter()
        .map(|value| style::text_width(&style::significant(*value), style::SMALL) * 4 / 3);
    builder.y_label_area_size((widths.max().unwrap_or(0) + NAME).max(style::Y_LABELS));
}

/// 1, 2, 5 of each decade in the range; decades only where that would be more than a dozen.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let steps: &[f64] = if decades.clone().count() > 4 {
        &[1.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    let all = decades.flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
    all.filter(|value| (low..=high).contains(value)).collect()
}
