//! Population rate and trials over each session.

use data::Session;
use data::recording::Activity;
use plotters::prelude::*;

use super::super::scene::Scene;
use super::{Drawn, color, typed};
use crate::report::plots::PlotError;
use crate::report::plots::style::{self, Canvas, DATA, Labels, Mark};

/// More sessions than this are not drawn.
const MAX_SESSIONS: usize = 8;
/// Stretches that a session is cut into.
const N_STRETCHES: usize = 150;

pub(super) fn content<'s>(scene: &'s Scene<'s>) -> Drawn<'s> {
    let n = scene.recording.sessions.len().min(MAX_SESSIONS) as u32;
    Drawn::Picture {
        size: (860, 90 + 150 * n),
        draw: Box::new(move |canvas| draw(scene, canvas)),
    }
}

fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let sessions = &scene.recording.sessions;
    let title = style::shown("Sessions", MAX_SESSIONS, sessions.len(), "sessions");
    let note = "mean rate of a unit; marks: trials at their event, a row for each type";
    let below = typed(&style::titled(canvas, &title, note)?, scene, Mark::Line)?;
    let shown = sessions.len().clamp(1, MAX_SESSIONS);
    for (area, session) in below.split_evenly((shown, 1)).iter().zip(sessions) {
        panel(scene, area, session)?;
    }
    Ok(())
}

/// A curve, the ends of its axis, and where each trial is.
struct Course {
    unit: &'static str,
    ends: (f64, f64),
    curve: Vec<(f64, f64)>,
    trials: Vec<f64>,
}

fn panel(scene: &Scene<'_>, area: &Canvas<'_>, session: &Session) -> Result<(), PlotError> {
    let course = course(session);
    let top = style::highest(course.curve.iter().map(|(_, rate)| *rate), 1e-3) * 1.1;
    let n_rows = scene.types.len() as f64;
    // Rows of trials take the lower part.
    let row = top * 0.07;
    let title = format!(
        "{} · {} units, {} trials",
        session.id,
        session.n_units(),
        session.n_trials()
    );
    let labels = Labels {
        title: &style::fitted(&title, 700, style::MEDIUM),
        x: course.unit,
        y: "rate (Hz)",
    };
    let mut chart = style::chart(area, &labels, course.ends.0..course.ends.1, -row * (n_rows + 0.5)..top)?;
    for kind in 0..scene.types.len() {
        let of_kind = session
            .trials
            .iter()
            .zip(&course.trials)
            .filter(|(trial, _)| scene.kind(&trial.trial_type) == kind);
        let low = -row * (kind as f64 + 1.0);
        let marks = of_kind.map(|(_, at)| PathElement::new(vec![(*at, low), (*at, low + row * 0.8)], color(kind)));
        chart.draw_series(marks)?;
    }
    chart.draw_series(LineSeries::new(course.curve, DATA.stroke_width(1)))?;
    Ok(())
}

fn course(session: &Session) -> Course {
    let n_units = session.n_units().max(1) as f64;
    match &session.activity {
        Activity::SpikeTimes {
            times_s, observed_s, ..
        } => {
            let trials = session.trials.iter();
            let ends = trials.fold(*observed_s, |(from, to), trial| {
                (from.min(trial.start_s), to.max(trial.stop_s))
            });
            let width = (observed_s.1 - observed_s.0).max(1e-9) / N_STRETCHES as f64;
            let mut counts = vec![0.0; N_STRETCHES];
            for time in times_s.iter().flatten() {
                let stretch = ((time - observed_s.0) / width).max(0.0) as usize;
                counts[stretch.min(N_STRETCHES - 1)] += 1.0;
            }
            let scale = if ends.1 - ends.0 > 300.0 { 60.0 } else { 1.0 };
            let steps = counts.iter().enumerate().flat_map(|(i, n)| {
                let edge = |i: usize| (observed_s.0 + width * i as f64) / scale;
                let rate = n / width / n_units;
                [(edge(i), rate), (edge(i + 1), rate)]
            });
            Course {
                unit: if scale > 1.0 { "time (min)" } else { "time (s)" },
                ends: (ends.0 / scale, ends.1 / scale),
                curve: steps.collect(),
                trials: session.trials.iter().map(|trial| trial.align_s / scale).collect(),
            }
        }
        // Binned activity has no time between trials.
        Activity::Binned { counts, bin_ms, .. } => {
            let rate = |k: usize| {
                let valid = session.trials[k].valid_bins.unwrap_or(counts.shape()[1]);
                let spikes: u64 = counts
                    .index_axis(ndarray::Axis(0), k)
                    .iter()
                    .map(|n| u64::from(*n))
                    .sum();
                spikes as f64 / n_units / (valid.max(1) as f64 * bin_ms / 1000.0)
            };
            let n = session.n_trials();
            Course {
                unit: "trial",
                ends: (0.0, n.max(1) as f64),
                curve: (0..n).map(|k| (k as f64 + 0.5, rate(k))).collect(),
                trials: (0..n).map(|k| k as f64 + 0.5).collect(),
            }
        }
    }
}
