//! Some of the trials and units of arrays of spike counts.

use ndarray::{Array3, Axis};

use super::BinnedSource;
use crate::error::{Finding, Findings};
use crate::h5::Found;
use crate::import::expression::Expression;
use crate::import::table::{Column, Table};
use crate::recording::{Activity, Session, StimulusMovies};

/// The session with the trials and units that its description asks for; trials keep their times, units their names. Movies that no
/// trial shows are left out.
pub(super) fn chosen(session: Session, source: &BinnedSource, findings: &mut Findings) -> Option<Session> {
    let trials = rows(source, "trials", "trial", source.trials.as_ref(), session.n_trials());
    let units = rows(source, "units", "unit", source.units.as_ref(), session.n_units());
    let (trials, units) = (findings.keep(trials)?, findings.keep(units)?);
    let session = match units {
        Some(units) => session.select_units(&units),
        None => session,
    };
    Some(match trials {
        Some(trials) => of_trials(session, &trials),
        None => session,
    })
}

/// Rows that meet a condition on their number, from 0; `None` without a condition.
fn rows(source: &BinnedSource, key: &str, name: &str, text: Option<&String>, n: usize) -> Found<Option<Vec<usize>>> {
    let Some(text) = text else { return Ok(None) };
    let at = format!("session '{}' ({key})", source.id);
    let mut table = Table::new(n);
    table.insert(&at, name, Column::Numbers((0..n).map(|row| row as f64).collect()))?;
    let condition = Expression::parse(text).and_then(|expression| expression.condition(&table));
    let condition = condition.map_err(|error| Finding::new(&at, error.to_string()))?;
    let rows: Vec<usize> = (0..n).filter(|&row| condition[row]).collect();
    if rows.is_empty() {
        let message = format!(
            "none of {n} {key} meets '{text}'; `{name}` is their number, from 0 to {}",
            n.saturating_sub(1)
        );
        return Err(Finding::new(at, message));
    }
    Ok(Some(rows))
}

fn of_trials(session: Session, trials: &[usize]) -> Session {
    let mut shown: Vec<usize> = trials.iter().filter_map(|&k| session.trials[k].movie).collect();
    shown.sort_unstable();
    shown.dedup();
    let new_movie = |movie: usize| shown.binary_search(&movie).ok();
    let activity = match session.activity {
        Activity::Binned {
            counts,
            bin_ms,
            start_ms,
            presence,
        } => Activity::Binned {
            counts: counts.select(Axis(0), trials),
            bin_ms,
            start_ms,
            presence: presence.map(|presence| presence.select(Axis(0), trials)),
        },
        times @ Activity::SpikeTimes { .. } => times,
    };
    let trial = |&k: &usize| {
        let mut trial = session.trials[k].clone();
        trial.movie = trial.movie.and_then(new_movie);
        trial
    };
    Session {
        trials: trials.iter().map(trial).collect(),
        stimulus: session.stimulus.map(|movies| StimulusMovies {
            values: some(&movies.values, &shown),
            ..movies
        }),
        activity,
        ..session
    }
}

fn some(movies: &Array3<f32>, shown: &[usize]) -> Array3<f32> {
    movies.select(Axis(0), shown)
}
