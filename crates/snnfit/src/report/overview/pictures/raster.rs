//! Spikes of a few trials of the session with the most units.

use super::super::scene::{Scene, population_name};
use super::{Drawn, color, thinned};
use crate::report::plots::PlotError;
use crate::report::plots::spikes::SpikePanel;
use crate::report::plots::style::{self, Canvas, Labels};
use data::Session;
use data::recording::Activity;

/// Trials, of the types in turn.
const N_TRIALS: usize = 4;
/// More units than this are thinned out evenly.
const MAX_UNITS: usize = 80;

pub(super) fn content<'s>(scene: &'s Scene<'s>) -> Drawn<'s> {
    match scene.largest().filter(|s| s.n_units() > 0 && s.n_trials() > 0) {
        Some(session) => Drawn::Picture {
            size: (860, 760),
            draw: Box::new(move |canvas| draw(scene, session, canvas)),
        },
        None => Drawn::Nothing("no session has units and trials".to_owned()),
    }
}

fn draw(scene: &Scene<'_>, session: &Session, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let mut rows: Vec<usize> = (0..session.n_units()).collect();
    rows.sort_by_key(|&u| (&session.units[u].area, session.units[u].cell_type, u));
    let rows: Vec<usize> = thinned(rows.len(), MAX_UNITS).into_iter().map(|i| rows[i]).collect();
    let note = format!(
        "session {}: {} of {} units, by area and cell type, the same rows in every panel",
        session.id,
        rows.len(),
        session.n_units()
    );
    let below = style::titled(canvas, "Single trials", &note)?;
    let trials = pick(scene, session);
    let n_rows = trials.len().div_ceil(2).max(1);
    for (i, (panel, k)) in below.split_evenly((n_rows, 2)).iter().zip(&trials).enumerate() {
        let is_last = i + 2 >= trials.len();
        self::panel(scene, panel, session, *k, &rows, (i % 2 == 0, is_last))?;
    }
    Ok(())
}

/// The middle trial of each type, then the one after it.
fn pick(scene: &Scene<'_>, session: &Session) -> Vec<usize> {
    let of_kind = |kind: usize| -> Vec<usize> {
        (0..session.n_trials())
            .filter(|&k| scene.kind(&session.trials[k].trial_type) == kind)
            .collect()
    };
    let kinds: Vec<Vec<usize>> = (0..scene.types.len())
        .map(of_kind)
        .filter(|trials| !trials.is_empty())
        .collect();
    let mut picked: Vec<usize> = (0..N_TRIALS)
        .flat_map(|round| {
            kinds
                .iter()
                .filter_map(move |trials| trials.get(trials.len() / 2 + round).copied())
        })
        .take(N_TRIALS)
        .collect();
    if picked.is_empty() {
        picked = (0..session.n_trials().min(N_TRIALS)).collect();
    }
    picked
}

fn panel(
    scene: &Scene<'_>,
    area: &Canvas<'_>,
    session: &Session,
    k: usize,
    rows: &[usize],
    (has_names, has_times): (bool, bool),
) -> Result<(), PlotError> {
    let trial = &session.trials[k];
    let kind = scene.kind(&trial.trial_type);
    let (from, to, spikes) = spikes(session, k, rows);
    let title = style::fitted(&format!("{} · trial {k}", trial.trial_type), 300, style::MEDIUM);
    let labels = Labels {
        title: &title,
        x: if has_times { "time from the event (s)" } else { "" },
        y: "",
    };
    let groups = groups(session, rows);
    let named = || {
        groups
            .iter()
            .map(|(name, first, end)| (name.as_str(), (first + end) as f64 / 2.0))
    };
    let panel = SpikePanel {
        labels,
        times: from..to,
        n_rows: rows.len(),
        groups: groups.iter().map(|(_, first, _)| *first).collect(),
        names: has_names.then(|| named().collect()),
        color: color(kind),
        spikes,
        events: (!session.events.times_s.is_empty()).then(|| events(session, k).collect()),
    };
    panel.draw(area)
}

/// Events of a trial and when they happen (s) relative to the one that trials are aligned to.
fn events(session: &Session, k: usize) -> impl Iterator<Item = (&str, f64)> {
    let align_s = session.trials[k].align_s;
    let events = session.events.times_s.iter();
    events.filter_map(move |(name, times)| Some((name.as_str(), times.get(k).copied().flatten()? - align_s)))
}

/// Area and type with the first row and the one after the last.
fn groups(session: &Session, rows: &[usize]) -> Vec<(String, usize, usize)> {
    let mut groups: Vec<(String, usize, usize)> = Vec::new();
    for (row, &u) in rows.iter().enumerate() {
        let unit = &session.units[u];
        let name = population_name(&unit.area, unit.cell_type);
        match groups.last_mut() {
            Some((last, _, end)) if *last == name => *end = row + 1,
            _ => groups.push((name, row, row + 1)),
        }
    }
    groups
}

/// Ends of a trial (s from its event), and its spikes: time and middle of the row.
fn spikes(session: &Session, k: usize, rows: &[usize]) -> (f64, f64, Vec<(f64, f64)>) {
    let trial = &session.trials[k];
    let observed = data::inspect::observed_trials(session);
    let is_there = |unit: &usize| observed.as_ref().is_none_or(|observed| observed[[k, *unit]]);
    let places = rows.iter().enumerate().filter(|(_, unit)| is_there(unit));
    let places = places.map(|(row, unit)| (row as f64 + 0.5, *unit));
    match &session.activity {
        Activity::SpikeTimes { times_s, .. } => {
            let of_unit = |(y, unit): (f64, usize)| {
                let times = &times_s[unit];
                let first = times.partition_point(|t| *t < trial.start_s);
                let within = times[first..].iter().take_while(|t| **t < trial.stop_s);
                within.map(|t| (t - trial.align_s, y)).collect::<Vec<_>>()
            };
            let spikes = places.flat_map(of_unit).collect();
            (trial.start_s - trial.align_s, trial.stop_s - trial.align_s, spikes)
        }
        Activity::Binned {
            counts,
            bin_ms,
            start_ms,
            ..
        } => {
            let edge = |t: f64| (start_ms + bin_ms * t) / 1000.0;
            let valid = trial.valid_bins.unwrap_or(counts.shape()[1]).min(counts.shape()[1]);
            let of_unit = |(y, unit): (f64, usize)| {
                let bins = (0..valid).filter(|&t| counts[[k, t, unit]] > 0);
                bins.map(|t| (edge(t as f64 + 0.5), y)).collect::<Vec<_>>()
            };
            let spikes = places.flat_map(of_unit).collect();
            (edge(0.0), edge(valid as f64), spikes)
        }
    }
}
