//! A panel of spikes: neurons are rows, the first on top; groups of rows are parted by lines and named beside them.

use std::ops::Range;

use plotters::prelude::*;

use super::PlotError;
use super::style::{self, Canvas, GUIDE, Labels};

/// Room for the names of the rows, pixels.
pub(in crate::report) const NAMES: i32 = 96;
/// The same of a panel without names.
pub(in crate::report) const NO_NAMES: i32 = 16;

/// Spikes of one trial.
pub(in crate::report) struct SpikePanel<'s> {
    pub(in crate::report) labels: Labels<'s>,
    /// From when to when; the event is at 0.
    pub(in crate::report) times: Range<f64>,
    pub(in crate::report) n_rows: usize,
    /// First row of each group.
    pub(in crate::report) groups: Vec<usize>,
    /// What is written beside the rows, and at which height; none where a panel to the left says it.
    pub(in crate::report) names: Option<Vec<(&'s str, f64)>>,
    pub(in crate::report) color: RGBColor,
    /// Time and height: row n goes from n to n + 1.
    pub(in crate::report) spikes: Vec<(f64, f64)>,
    /// Further events of the trial and when they are; their names stand above the first row, where there is room for them only
    /// if this is given.
    pub(in crate::report) events: Option<Vec<(&'s str, f64)>>,
}

impl SpikePanel<'_> {
    pub(in crate::report) fn draw(self, area: &Canvas<'_>) -> Result<(), PlotError> {
        let (from, to) = (self.times.start, self.times.end);
        let n = self.n_rows as f64;
        let top = if self.events.is_some() { -0.06 * n } else { 0.0 };
        let mut chart = style::builder(area, &self.labels)
            .y_label_area_size(if self.names.is_some() { NAMES } else { NO_NAMES })
            .build_cartesian_2d(style::widened(self.times), n..top)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .axis_style(GUIDE)
            .x_labels(5)
            .y_labels(0)
            .x_label_formatter(&|value| style::tick(*value))
            .label_style(style::font(style::SMALL))
            .axis_desc_style(style::font(style::MEDIUM))
            .x_desc(self.labels.x)
            .y_desc(self.labels.y)
            .draw()?;
        if from < 0.0 && to > 0.0 {
            style::dashed(&mut chart, (0.0, n), (0.0, 0.0))?;
        }
        for first in self.groups.iter().skip(1) {
            let line = [(from, *first as f64), (to, *first as f64)];
            chart.draw_series(LineSeries::new(line, GUIDE.mix(0.6)))?;
        }
        // A mark has a size in pixels, so that rounding of rows and bins doesn't make some spikes fainter; it is higher
        // where there is room.
        let row_height = f64::from(area.dim_in_pixel().1) / n.max(1.0);
        let half = ((row_height * 0.25) as i32).clamp(1, 4);
        let mark = || Rectangle::new([(-1, -half), (1, half)], self.color.filled());
        chart.draw_series(self.spikes.into_iter().map(|spike| EmptyElement::at(spike) + mark()))?;
        for (name, time) in self.events.into_iter().flatten() {
            if from < time && time < to {
                style::dashed(&mut chart, (time, n), (time, top))?;
                let name = style::fitted(name, 90, style::SMALL);
                let label = EmptyElement::at((time, top)) + Text::new(name, (3, 1), style::font(style::SMALL));
                chart.draw_series(std::iter::once(label))?;
            }
        }
        let (base_x, base_y) = area.get_base_pixel();
        let mut next = i32::MIN; // names don't overlap
        for (name, row) in self.names.into_iter().flatten() {
            let (x, y) = chart.backend_coord(&(from, row));
            let (x, y) = (x - base_x - 6, y - base_y);
            if y >= next {
                let name = style::fitted(name, NAMES - 12, style::SMALL);
                area.draw(&Text::new(name, (x, y), style::right_of(style::SMALL)))?;
                next = y + style::SMALL as i32;
            }
        }
        Ok(())
    }
}
