//! Trial averages of model and recording over the whole stimulus, a row for each neuron.

use losses::sample_and_measure::box_smoothed;
use ndarray::{Array1, Axis};

use super::{Place, PlotError, Scene};
use crate::report::plots::style::{self, Canvas, DATA, Labels, MODEL, Mark};

/// More neurons than this are ranked, and some of them shown.
const MOST: usize = 9;
/// Points of a curve: more are further apart than the eye tells.
const MOST_POINTS: usize = 900;
const ROW: u32 = 128;

pub(super) fn size(scene: &Scene<'_>) -> (u32, u32) {
    (860, 100 + ROW * scene.ranked(MOST).len().max(1) as u32)
}

pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    scene.check_repeats()?;
    let ranked = scene.ranked(MOST);
    let n_all = scene.places().len();
    let shown = if ranked.len() < n_all {
        format!(
            "{} of {n_all} neurons: the best, some in the middle and the worst by r",
            ranked.len()
        )
    } else {
        format!("{n_all} neurons, the best by r first")
    };
    let note = format!(
        "{}; {shown}; smoothed over {} ms; r: Pearson's correlation over time; ceiling: what a noiseless model would reach with so \
         few recorded trials",
        scene.trials(),
        style::tick(scene.smooth as f64 * scene.bin_ms),
    );
    let below = style::titled(canvas, "Trial averages of single neurons", &note)?;
    style::legend(canvas, &[("data", Mark::Line(DATA)), ("model", Mark::Line(MODEL))])?;
    let areas = below.split_evenly((ranked.len(), 1));
    for (i, ((place, rank), area)) in ranked.iter().zip(&areas).enumerate() {
        panel(scene, *place, rank, area, i + 1 == ranked.len())?;
    }
    Ok(())
}

fn panel(scene: &Scene<'_>, place: Place, rank: &str, area: &Canvas<'_>, is_last: bool) -> Result<(), PlotError> {
    let one = &scene.compared[place.group];
    let spikes = one.data.index_axis(Axis(2), place.unit);
    let data = spikes.mapv(f64::from).mean_axis(Axis(0)).unwrap_or_default();
    let model = one.p.column(place.unit).to_owned();
    let hz = 1000.0 / scene.bin_ms;
    let curve = |values: &Array1<f64>| -> Vec<f64> {
        let smoothed = box_smoothed(&values.view(), scene.smooth.min(values.len()));
        let every = smoothed.len().div_ceil(MOST_POINTS).max(1);
        smoothed.into_iter().step_by(every).map(|x| x * hz).collect()
    };
    let curves = [curve(&data), curve(&model)];
    let n = data.len() + 1 - scene.smooth.min(data.len());
    let every = n.div_ceil(MOST_POINTS).max(1);
    let middle = scene.start_ms[place.group] + scene.smooth as f64 / 2.0 * scene.bin_ms;
    let times: Vec<f64> = (0..n)
        .step_by(every)
        .map(|i| middle + i as f64 * scene.bin_ms)
        .collect();
    let neuron = scene.report.neurons.get(place.row);
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |r| style::decimals(r, 2));
    let mut title = format!(
        "neuron {} · r = {} · ceiling {}",
        scene.name(place),
        number(neuron.and_then(|n| n.psth_correlation)),
        number(neuron.and_then(|n| n.psth_ceiling)),
    );
    if !rank.is_empty() {
        title.push_str(" · ");
        title.push_str(rank);
    }
    area.draw(&plotters::prelude::Text::new(
        style::fitted(&title, 780, style::SMALL),
        (62, 4),
        style::font(style::SMALL),
    ))?;
    let below = area.margin(16, 0, 0, 0);
    let labels = Labels {
        title: "",
        x: if is_last { "time (ms)" } else { "" },
        y: "Hz",
    };
    let top = style::highest(curves.iter().flatten().copied(), 1.0) * 1.08;
    let x = times.first().copied().unwrap_or(0.0)..times.last().copied().unwrap_or(1.0);
    let mut chart = style::chart(&below, &labels, x, 0.0..top)?;
    style::curve(&mut chart, &times, &curves[0], DATA)?;
    style::curve(&mut chart, &times, &curves[1], MODEL)
}
