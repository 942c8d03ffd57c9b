//! What drives each neuron: filters of the stimulus over lags and channels, or the drive of each bin.

use ndarray::{Array2, Axis, s};
use plotters::prelude::*;

use super::{PlotError, Scene};
use crate::report::plots::style::{self, Canvas, GUIDE, Labels, MODEL};
use crate::report::plots::weights::diverging;
use crate::spike_history::filters::{BinDrives, Filters, StimulusFilters};

const COLUMNS: usize = 3;
/// Lags, and pixels along an axis, that are drawn: neighbours are averaged.
const MOST_LAGS: usize = 40;
const MOST_PIXELS: usize = 40;
const MOST_POINTS: usize = 900;

fn n_neurons(scene: &Scene<'_>) -> usize {
    match &scene.filters {
        Filters::None(_) => 1,
        Filters::Stimulus(filters) => filters.neurons.len(),
        Filters::Bins(drives) => drives.neurons.len(),
    }
}

pub(super) fn size(scene: &Scene<'_>) -> (u32, u32) {
    let n = n_neurons(scene).max(1);
    match &scene.filters {
        Filters::Bins(_) => (860, 100 + 120 * n as u32),
        _ => (860, 130 + 250 * n.div_ceil(COLUMNS) as u32),
    }
}

pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    match &scene.filters {
        Filters::None(reason) => Err(PlotError::empty(reason.clone())),
        Filters::Bins(drives) => bins(scene, drives, canvas),
        Filters::Stimulus(filters) => stimulus(scene, filters, canvas),
    }
}

fn name<'s>(scene: &'s Scene<'_>, neuron: usize) -> &'s str {
    scene.kernels.ids.get(neuron).map_or("?", String::as_str)
}

fn bins(scene: &Scene<'_>, drives: &BinDrives, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let note = format!(
        "Session {}, stimulus {} (of {} in all sessions): what is added to the log-odds of a spike in each bin, whatever the past; \
         without an encoder there is none for a new stimulus",
        drives.session, drives.stimulus, drives.n_stimuli,
    );
    let below = style::titled(canvas, "Drive of each bin", &note)?;
    let areas = below.split_evenly((drives.neurons.len().max(1), 1));
    let every = drives.times_ms.len().div_ceil(MOST_POINTS).max(1);
    for (i, ((neuron, values), area)) in drives.neurons.iter().zip(&areas).enumerate() {
        let (low, high) = values
            .iter()
            .fold((0.0f64, 0.0f64), |(low, high), x| (low.min(*x), high.max(*x)));
        let labels = Labels {
            title: "",
            x: if i + 1 == drives.neurons.len() { "time (ms)" } else { "" },
            y: "log-odds",
        };
        area.draw(&Text::new(
            style::fitted(&format!("neuron {}", name(scene, *neuron)), 700, style::SMALL),
            (62, 2),
            style::font(style::SMALL),
        ))?;
        let below = area.margin(14, 0, 0, 0);
        let x = drives.times_ms.first().copied().unwrap_or(0.0)..drives.times_ms.last().copied().unwrap_or(1.0);
        let mut chart = style::chart(&below, &labels, x, low * 1.05..(high * 1.05).max(low * 1.05 + 1e-6))?;
        let points = drives
            .times_ms
            .iter()
            .copied()
            .zip(values.iter().copied())
            .step_by(every);
        let points: Vec<(f64, f64)> = points.collect();
        chart.draw_series(LineSeries::new(points, MODEL.stroke_width(1)))?;
    }
    Ok(())
}

fn stimulus(scene: &Scene<'_>, filters: &StimulusFilters, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let (title, what) = if filters.is_linear {
        ("Stimulus filters", String::new())
    } else {
        (
            "Local linear filters of the stimulus encoder",
            format!(
                "the encoder has layers: what is shown is the mean gradient of the drive with respect to the stimulus over {} bins of the \
                 {} stimuli, which a neuron that likes both brighter and darker may have flat; ",
                filters.n_frames, scene.report.split
            ),
        )
    };
    let is_row = filters.pixels.contains(&1);
    let layout = if is_row {
        "rows: channels of the stimulus, the first on top"
    } else {
        "left: the image at the lag where the filter is strongest; right: its strongest pixel over lags"
    };
    let step = filters.lag_ms.get(1).copied().unwrap_or(scene.bin_ms);
    let note = format!(
        "{what}red: more stimulus makes a spike more likely, blue: less likely; each neuron has its own full colours, whose value is above \
         it: change of log-odds per unit of the recorded stimulus in one bin of {} ms; {layout}",
        style::tick((step * 1000.0).round() / 1000.0),
    );
    let below = style::titled(canvas, title, &note)?;
    let n = filters.neurons.len();
    let areas = below.split_evenly((n.div_ceil(COLUMNS).max(1), n.clamp(1, COLUMNS)));
    for (i, ((neuron, filter), area)) in filters.neurons.iter().zip(&areas).enumerate() {
        let limit = filter.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        let head = format!("neuron {} · ±{}", name(scene, *neuron), style::significant(limit));
        area.draw(&Text::new(
            style::fitted(&head, 250, style::MEDIUM),
            (36, 4),
            style::font(style::MEDIUM),
        ))?;
        let below = area.margin(24, 0, 0, 0);
        let is_left = i % COLUMNS == 0;
        if filter.ncols() == 1 {
            course(filters, &filter.column(0).to_vec(), &below)?;
        } else if is_row {
            heat_of_lags(filters, filter, limit, &below, is_left)?;
        } else {
            let (left, right) = below.split_horizontally(below.dim_in_pixel().0 as i32 / 2);
            image(filters, filter, limit, &left, &right)?;
        }
    }
    Ok(())
}

/// Means over groups of neighbours along an axis, at most `most` of them.
fn grouped(values: &Array2<f64>, axis: Axis, most: usize) -> Array2<f64> {
    let n = values.len_of(axis);
    let each = n.div_ceil(most).max(1);
    let groups = values.axis_chunks_iter(axis, each);
    let means: Vec<_> = groups
        .map(|group| group.mean_axis(axis).unwrap_or_default().insert_axis(axis))
        .collect();
    let views: Vec<_> = means.iter().map(|group| group.view()).collect();
    ndarray::concatenate(axis, &views).unwrap_or_else(|_| values.clone())
}

/// Cells of whole pixels, so that no gaps show; returns where the map lies.
fn cells(
    area: &Canvas<'_>,
    values: &Array2<f64>,
    limit: f64,
    room: [i32; 4],
    is_square: bool,
) -> Result<[(i32, i32); 2], PlotError> {
    let [left, right, top, bottom] = room;
    let (width, height) = area.dim_in_pixel();
    let (rows, columns) = values.dim();
    let mut side = (
        ((width as i32 - left - right) / columns.max(1) as i32).max(1),
        ((height as i32 - top - bottom) / rows.max(1) as i32).max(1),
    );
    if is_square {
        side = (side.0.min(side.1), side.0.min(side.1));
    }
    let ends = [
        (left, top),
        (left + side.0 * columns as i32, top + side.1 * rows as i32),
    ];
    area.draw(&Rectangle::new(ends, WHITE.filled()))?;
    for ((row, column), value) in values.indexed_iter() {
        let share = value / limit.max(f64::MIN_POSITIVE);
        if share.abs() > 0.004 {
            let (x, y) = (left + side.0 * column as i32, top + side.1 * row as i32);
            // In proportion: the scale of weights makes weak ones stand out, which here is speckle.
            let color = diverging(share * share.abs());
            area.draw(&Rectangle::new([(x, y), (x + side.0, y + side.1)], color.filled()))?;
        }
    }
    area.draw(&Rectangle::new(ends, GUIDE.stroke_width(1)))?;
    Ok(ends)
}

/// Rows: channels; columns: time up to the bin.
fn heat_of_lags(
    filters: &StimulusFilters,
    filter: &Array2<f64>,
    limit: f64,
    area: &Canvas<'_>,
    is_left: bool,
) -> Result<(), PlotError> {
    let values = grouped(&grouped(filter, Axis(0), MOST_LAGS), Axis(1), 2 * MOST_PIXELS);
    let values = values.slice(s![..;-1, ..]).t().to_owned();
    let ends = cells(area, &values, limit, [36, 12, 2, 40], false)?;
    let size = style::SMALL;
    let (low, high) = (ends[0], ends[1]);
    let step = filters.lag_ms.get(1).copied().unwrap_or(0.0);
    let longest = filters.lag_ms.last().copied().unwrap_or(0.0) + step;
    for share in [0.0, 0.5, 1.0] {
        let x = low.0 + (f64::from(high.0 - low.0) * share) as i32;
        let ms = -longest * (1.0 - share);
        area.draw(&Text::new(
            style::tick(ms.round()),
            (x, high.1 + 9),
            style::centred(size),
        ))?;
    }
    let middle = i32::midpoint(low.0, high.0);
    area.draw(&Text::new(
        "time before the bin (ms)",
        (middle, high.1 + 26),
        style::centred(size),
    ))?;
    area.draw(&Text::new("0", (low.0 - 6, low.1 + 6), style::right_of(size)))?;
    let last = (filter.ncols() - 1).to_string();
    area.draw(&Text::new(last, (low.0 - 6, high.1 - 6), style::right_of(size)))?;
    if is_left {
        let upright = style::centred(size).transform(FontTransform::Rotate270);
        let place = (12, i32::midpoint(low.1, high.1));
        area.draw(&Text::new("channel", place, upright))?;
    }
    Ok(())
}

/// The image at the strongest lag, and the strongest pixel over lags.
fn image(
    filters: &StimulusFilters,
    filter: &Array2<f64>,
    limit: f64,
    left: &Canvas<'_>,
    right: &Canvas<'_>,
) -> Result<(), PlotError> {
    let energy = |row: &ndarray::ArrayView1<'_, f64>| row.iter().map(|x| x * x).sum::<f64>();
    let strongest = filter
        .rows()
        .into_iter()
        .enumerate()
        .max_by(|a, b| energy(&a.1).total_cmp(&energy(&b.1)))
        .map_or(0, |(lag, _)| lag);
    let [height, width] = filters.pixels;
    let row = filter.row(strongest).to_vec();
    let picture = Array2::from_shape_vec((height, width), row).map_err(|error| PlotError::Draw {
        what: error.to_string(),
    })?;
    let picture = grouped(&grouped(&picture, Axis(0), MOST_PIXELS), Axis(1), MOST_PIXELS);
    let ends = cells(left, &picture, limit, [36, 4, 2, 40], true)?;
    let text = format!("lag {} ms", style::tick(filters.lag_ms[strongest].round()));
    let place = (i32::midpoint(ends[0].0, ends[1].0), ends[1].1 + 12);
    left.draw(&Text::new(text, place, style::centred(style::SMALL)))?;
    let pixel = (0..filter.ncols())
        .max_by(|&a, &b| energy(&filter.column(a)).total_cmp(&energy(&filter.column(b))))
        .unwrap_or(0);
    course(filters, &filter.column(pixel).to_vec(), right)
}

/// One channel over time up to the bin.
fn course(filters: &StimulusFilters, values: &[f64], area: &Canvas<'_>) -> Result<(), PlotError> {
    let most = values.iter().fold(1e-12f64, |most, x| most.max(x.abs())) * 1.05;
    let longest = filters.lag_ms.last().copied().unwrap_or(0.0);
    let labels = Labels {
        title: "",
        x: if area.dim_in_pixel().0 < 200 {
            "time (ms)"
        } else {
            "time before the bin (ms)"
        },
        y: "",
    };
    let mut chart = style::chart(area, &labels, -longest..0.0, -most..most)?;
    style::dashed(&mut chart, (-longest, 0.0), (0.0, 0.0))?;
    let points = filters.lag_ms.iter().zip(values).map(|(lag, x)| (-lag, *x));
    chart.draw_series(LineSeries::new(points, MODEL.stroke_width(2)))?;
    Ok(())
}
