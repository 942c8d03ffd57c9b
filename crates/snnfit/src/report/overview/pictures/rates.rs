//! Mean rates of units, by area and cell type, on a logarithmic axis.

use plotters::prelude::*;

use super::super::scene::{Population, Scene};
use super::Drawn;
use crate::report::plots::PlotError;
use crate::report::plots::style::{self, Canvas, DATA, GUIDE, Labels};

/// More populations than this are not drawn.
const MAX_POPULATIONS: usize = 30;
/// Room for names, pixels.
const NAMES: i32 = 150;
/// Height of a row, pixels.
const ROW: u32 = 30;
/// Rates below this are drawn at the left end (Hz).
const LOWEST_HZ: f64 = 1e-2;

pub(super) fn content<'s>(scene: &'s Scene<'s>) -> Drawn<'s> {
    let populations = scene.populations();
    if populations.is_empty() {
        return Drawn::Nothing("there are no units".to_owned());
    }
    let n = populations.len().min(MAX_POPULATIONS) as u32;
    Drawn::Picture {
        size: (860, 120 + ROW * n),
        draw: Box::new(move |canvas| draw(&populations, canvas)),
    }
}

fn draw(populations: &[Population], canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let title = style::shown("Mean rates of units", MAX_POPULATIONS, populations.len(), "populations");
    let note = "a dot is a unit, a bar the median; rates below 0.01 Hz are drawn at 0.01, units without a spike are not drawn but counted";
    let below = style::titled(canvas, &title, note)?;
    let shown = &populations[..populations.len().min(MAX_POPULATIONS)];
    let all = shown.iter().flat_map(|p| &p.rates_hz).copied();
    let highest = style::highest(all, 10.0).log10().ceil();
    let lowest = LOWEST_HZ.log10();
    let n = shown.len() as f64;
    let labels = Labels {
        title: "",
        x: "rate (Hz)",
        y: "",
    };
    let area = below.margin(0, 0, 0, 70);
    let mut chart = style::builder(&area, &labels)
        .y_label_area_size(NAMES)
        .build_cartesian_2d(lowest - 0.1..highest, n..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(235, 235, 235))
        .axis_style(GUIDE)
        .y_labels(0)
        .x_labels((highest - lowest) as usize + 1)
        .x_label_formatter(&|power| style::tick(10f64.powf(*power)))
        .label_style(style::font(style::SMALL))
        .axis_desc_style(style::font(style::MEDIUM))
        .x_desc(labels.x)
        .draw()?;
    for (row, population) in shown.iter().enumerate() {
        let spiking: Vec<f64> = population.rates_hz.iter().copied().filter(|rate| *rate > 0.0).collect();
        let at = |rate: f64| rate.max(LOWEST_HZ).log10();
        // Units next to each other don't hide one another: rows of dots, in turn.
        let offset = |i: usize| 0.28 + 0.44 * ((i * 7) % 12) as f64 / 11.0;
        let dots = spiking
            .iter()
            .enumerate()
            .map(|(i, rate)| Circle::new((at(*rate), row as f64 + offset(i)), 2, DATA.mix(0.45).filled()));
        chart.draw_series(dots)?;
        if let Some(median) = median(&population.rates_hz).filter(|m| *m > 0.0) {
            let line = vec![(at(median), row as f64 + 0.12), (at(median), row as f64 + 0.88)];
            chart.draw_series([PathElement::new(line, RGBColor(213, 94, 0).stroke_width(3))])?;
        }
        let (base_x, base_y) = area.get_base_pixel();
        let (x, y) = chart.backend_coord(&(lowest - 0.1, row as f64 + 0.5));
        let name = format!(
            "{} ({})",
            style::fitted(&population.name, NAMES - 50, style::SMALL),
            population.rates_hz.len()
        );
        area.draw(&Text::new(
            name,
            (x - base_x - 8, y - base_y),
            style::right_of(style::SMALL),
        ))?;
        let n_silent = population.rates_hz.len() - spiking.len();
        if n_silent > 0 {
            let right = below.dim_in_pixel().0 as i32 - 4;
            let text = format!("{n_silent} silent");
            below.draw(&Text::new(
                text,
                (right, y - below.get_base_pixel().1),
                style::right_of(style::SMALL),
            ))?;
        }
    }
    Ok(())
}

fn median(rates: &[f64]) -> Option<f64> {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 {
        upper
    } else {
        0.5 * (sorted[middle - 1] + upper)
    })
}
