//! What the pictures of a recording show, gathered once.

use std::collections::BTreeMap;

use data::recording::{Activity, CellType};
use data::{Recording, Session};

/// More trial types than this are drawn as one, "others".
pub(super) const MAX_TYPES: usize = 6;
/// Bins that the time around the event is cut into, about.
const N_BINS: f64 = 200.0;
/// Share of trials of a type that have to cover a bin, for a mean to be drawn there.
const LEAST_COVER: f64 = 0.2;

/// A recording, its trial types and its areas.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) recording: &'a Recording,
    /// The most frequent trial types, then "others" if there are more.
    pub(super) types: Vec<String>,
    /// Number of trials of each of them.
    pub(super) n_trials: Vec<usize>,
    is_others_last: bool,
    /// Areas by name.
    pub(super) areas: Vec<String>,
}

/// Units of one area and cell type, and their rates (Hz).
pub(super) struct Population {
    pub(super) name: String,
    pub(super) rates_hz: Vec<f64>,
}

/// When a trial lies, in seconds relative to its event, and of which type it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Extent {
    pub(super) start_s: f64,
    pub(super) stop_s: f64,
    pub(super) kind: usize,
}

/// Mean rate per unit around the event.
pub(super) struct Aligned {
    /// Middle of each bin (s).
    pub(super) times_s: Vec<f64>,
    /// By area and type: rate (Hz) in each bin, NaN where too few trials were recorded.
    pub(super) rates_hz: Vec<Vec<Vec<f64>>>,
}

impl<'a> Scene<'a> {
    pub(super) fn of(recording: &'a Recording) -> Self {
        let mut counts = BTreeMap::<&str, usize>::new();
        for trial in recording.sessions.iter().flat_map(|s| &s.trials) {
            *counts.entry(&trial.trial_type).or_default() += 1;
        }
        let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(name, n)| (std::cmp::Reverse(*n), *name));
        let is_others_last = counts.len() > MAX_TYPES;
        let n_named = if is_others_last { MAX_TYPES - 1 } else { counts.len() };
        let (named, others) = counts.split_at(n_named);
        let mut types: Vec<String> = named.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut n_trials: Vec<usize> = named.iter().map(|(_, n)| *n).collect();
        if is_others_last {
            types.push(format!("{} others", others.len()));
            n_trials.push(others.iter().map(|(_, n)| n).sum());
        }
        let mut areas: Vec<String> = recording
            .sessions
            .iter()
            .flat_map(|s| &s.units)
            .map(|u| u.area.clone())
            .collect();
        areas.sort();
        areas.dedup();
        Self {
            recording,
            types,
            n_trials,
            is_others_last,
            areas,
        }
    }

    /// Place in [`Scene::types`].
    pub(super) fn kind(&self, trial_type: &str) -> usize {
        let n_named = self.types.len() - usize::from(self.is_others_last);
        let named = self.types[..n_named].iter().position(|name| name == trial_type);
        named.unwrap_or(self.types.len() - 1)
    }

    /// The session with the most units.
    pub(super) fn largest(&self) -> Option<&'a Session> {
        let sessions = self.recording.sessions.iter().enumerate();
        sessions
            .max_by_key(|(i, s)| (s.n_units(), std::cmp::Reverse(*i)))
            .map(|(_, s)| s)
    }

    /// By area, then cell type.
    pub(super) fn populations(&self) -> Vec<Population> {
        let mut rates = BTreeMap::<(&str, CellType), Vec<f64>>::new();
        for session in &self.recording.sessions {
            let rates_hz = data::inspect::unit_rates_hz(session);
            // Units that were never observed have none.
            for (unit, rate_hz) in session.units.iter().zip(rates_hz).filter(|(_, rate)| rate.is_finite()) {
                rates.entry((&unit.area, unit.cell_type)).or_default().push(rate_hz);
            }
        }
        let populations = rates.into_iter();
        populations
            .map(|((area, cell_type), rates_hz)| Population {
                name: population_name(area, cell_type),
                rates_hz,
            })
            .collect()
    }

    /// Of all trials, session by session.
    pub(super) fn extents(&self) -> Vec<Extent> {
        let sessions = self.recording.sessions.iter();
        sessions
            .flat_map(|session| (0..session.n_trials()).map(|k| self.extent(session, k)))
            .collect()
    }

    fn extent(&self, session: &Session, k: usize) -> Extent {
        let trial = &session.trials[k];
        let kind = self.kind(&trial.trial_type);
        match &session.activity {
            Activity::SpikeTimes { .. } => Extent {
                start_s: trial.start_s - trial.align_s,
                stop_s: trial.stop_s - trial.align_s,
                kind,
            },
            Activity::Binned {
                counts,
                bin_ms,
                start_ms,
                ..
            } => {
                let valid = trial.valid_bins.unwrap_or(counts.shape()[1]).min(counts.shape()[1]);
                Extent {
                    start_s: start_ms / 1000.0,
                    stop_s: (start_ms + bin_ms * valid as f64) / 1000.0,
                    kind,
                }
            }
        }
    }

    /// Means over trials and units; none where no trial has a length.
    pub(super) fn aligned(&self) -> Option<Aligned> {
        let grid = self.grid()?;
        let (n_areas, n_kinds) = (self.areas.len(), self.types.len());
        // Spikes, and units × trials that cover the bin.
        let mut sums = vec![vec![vec![(0.0, 0.0); grid.n]; n_kinds]; n_areas];
        let mut n_covering = vec![vec![0usize; grid.n]; n_kinds];
        for session in &self.recording.sessions {
            let area_of: Vec<usize> = session.units.iter().map(|u| self.area(&u.area)).collect();
            let observed = data::inspect::observed_trials(session);
            let is_there = |k: usize, unit: usize| observed.as_ref().is_none_or(|observed| observed[[k, unit]]);
            for k in 0..session.n_trials() {
                let extent = self.extent(session, k);
                let covered = grid.covered(extent);
                let mut n_units = vec![0.0; n_areas];
                for (unit, &area) in area_of.iter().enumerate() {
                    n_units[area] += f64::from(u8::from(is_there(k, unit)));
                }
                for bin in covered.clone() {
                    n_covering[extent.kind][bin] += 1;
                    for (area, sums) in sums.iter_mut().enumerate() {
                        sums[extent.kind][bin].1 += n_units[area];
                    }
                }
                grid.spikes(session, k, |unit, bin| {
                    if covered.contains(&bin) && is_there(k, unit) {
                        sums[area_of[unit]][extent.kind][bin].0 += 1.0;
                    }
                });
            }
        }
        let enough = |kind: usize, bin: usize| {
            n_covering[kind][bin] as f64 >= LEAST_COVER * self.n_trials[kind] as f64 && n_covering[kind][bin] > 0
        };
        let mean = |kind: usize, bin: usize, (spikes, exposed): (f64, f64)| {
            if enough(kind, bin) && exposed > 0.0 {
                spikes / exposed / grid.width_s
            } else {
                f64::NAN
            }
        };
        let of_kind = |(kind, bins): (usize, Vec<(f64, f64)>)| -> Vec<f64> {
            bins.into_iter()
                .enumerate()
                .map(|(bin, sum)| mean(kind, bin, sum))
                .collect()
        };
        let rates_hz = sums
            .into_iter()
            .map(|kinds| kinds.into_iter().enumerate().map(of_kind).collect());
        Some(Aligned {
            times_s: (0..grid.n)
                .map(|bin| grid.start_s + (bin as f64 + 0.5) * grid.width_s)
                .collect(),
            rates_hz: rates_hz.collect(),
        })
    }

    /// Place in [`Scene::areas`].
    fn area(&self, name: &str) -> usize {
        self.areas.binary_search_by(|area| area.as_str().cmp(name)).unwrap_or(0)
    }

    /// Bins over the time that nearly all trials have, whole multiples of recorded bins.
    fn grid(&self) -> Option<Grid> {
        let extents = self.extents();
        let at = |share: f64, value: fn(&Extent) -> f64| {
            let mut values: Vec<f64> = extents.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            let last = values.len().checked_sub(1)?;
            values.get((share * last as f64).round() as usize).copied()
        };
        let (start_s, stop_s) = (at(0.05, |e| e.start_s)?, at(0.95, |e| e.stop_s)?);
        let length = stop_s - start_s;
        if !(length > 0.0 && length.is_finite()) {
            return None;
        }
        let recorded = self.recording.sessions.iter().find_map(|s| match s.activity {
            Activity::Binned { bin_ms, .. } => Some(bin_ms / 1000.0),
            Activity::SpikeTimes { .. } => None,
        });
        let width_s = match recorded {
            Some(bin_s) => bin_s * (length / N_BINS / bin_s).ceil().max(1.0),
            None => length / N_BINS,
        };
        let n = (length / width_s + 1e-6).floor().clamp(1.0, 4.0 * N_BINS) as usize;
        Some(Grid { start_s, width_s, n })
    }
}

/// Area and cell type, where it is known.
pub(super) fn population_name(area: &str, cell_type: CellType) -> String {
    match cell_type {
        CellType::Unknown => area.to_owned(),
        CellType::Excitatory => format!("{area} exc"),
        CellType::Inhibitory => format!("{area} inh"),
    }
}

/// Bins around the event.
struct Grid {
    start_s: f64,
    width_s: f64,
    n: usize,
}

impl Grid {
    /// Bins that lie within a trial.
    fn covered(&self, extent: Extent) -> std::ops::Range<usize> {
        let edge = |time: f64| (time - self.start_s) / self.width_s;
        let first = (edge(extent.start_s) - 1e-6).ceil().max(0.0) as usize;
        let end = (edge(extent.stop_s) + 1e-6).floor().max(0.0) as usize;
        first..end.min(self.n)
    }

    /// Calls `at` with unit and bin of each spike of a trial.
    fn spikes(&self, session: &Session, k: usize, mut at: impl FnMut(usize, usize)) {
        let bin_of = |time_s: f64| {
            let bin = ((time_s - self.start_s) / self.width_s + 1e-9).floor();
            (bin >= 0.0 && bin < self.n as f64).then_some(bin as usize)
        };
        match &session.activity {
            Activity::SpikeTimes { times_s, .. } => {
                let align = session.trials[k].align_s;
                let (from, to) = (
                    align + self.start_s,
                    align + self.start_s + self.width_s * self.n as f64,
                );
                for (unit, times) in times_s.iter().enumerate() {
                    let first = times.partition_point(|t| *t < from);
                    for time in times[first..].iter().take_while(|t| **t < to) {
                        if let Some(bin) = bin_of(time - align) {
                            at(unit, bin);
                        }
                    }
                }
            }
            Activity::Binned {
                counts,
                bin_ms,
                start_ms,
                ..
            } => {
                for (t, units) in counts.index_axis(ndarray::Axis(0), k).outer_iter().enumerate() {
                    let middle = (start_ms + bin_ms * (t as f64 + 0.5)) / 1000.0;
                    let Some(bin) = bin_of(middle) else { continue };
                    for (unit, &count) in units.iter().enumerate() {
                        (0..count).for_each(|_| at(unit, bin));
                    }
                }
            }
        }
    }
}
