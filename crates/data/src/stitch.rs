//! Session stitching: each model neuron stands for one recorded unit of its area and cell type.
//!
//! Sessions are recorded one after another, models have one population. The list of populations is in
//! model order; sessions are used up one after another, the largest first.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::binned::BinnedSession;
use crate::error::DataError;
use crate::recording::{CellType, Unit};

/// A group of model neurons with one area and cell type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PopulationSpec {
    /// Area, as in the recording.
    pub area: String,
    /// Cell type.
    pub cell_type: CellType,
    /// Neurons that stand for recorded units.
    pub n_neurons: usize,
    /// Further neurons that stand for no recorded unit; they follow the recorded ones.
    #[serde(default)]
    pub n_hidden: usize,
}

/// Which recorded unit a model neuron stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceUnit {
    /// Position in the list of sessions.
    pub session: usize,
    /// Position in the units of that session.
    pub unit: usize,
}

/// A neuron of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelNeuron {
    /// Area.
    pub area: String,
    /// Cell type.
    pub cell_type: CellType,
    /// The recorded unit; `None` for a hidden neuron.
    pub source: Option<SourceUnit>,
}

/// What became of the units of one session; the four numbers add up to its units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionUse {
    /// Name of the session.
    pub id: String,
    /// Units a model neuron stands for.
    pub n_used: usize,
    /// Units that could have been used but weren't needed.
    pub n_unused: usize,
    /// Units of the model's areas that were left out because they fire at `max_rate_hz` or more.
    pub n_excluded: usize,
    /// Other units of areas, or of types there, that the model lacks.
    #[serde(default)]
    pub n_other: usize,
}

/// The neurons of the model, and what was used for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stitching {
    /// Model neurons, in model order.
    pub neurons: Vec<ModelNeuron>,
    /// Per session, in the order given.
    pub sessions: Vec<SessionUse>,
}

impl Stitching {
    /// Model neurons of a session as (model neuron, unit), in model order.
    pub fn neurons_of_session(&self, session: usize) -> Vec<(usize, usize)> {
        let neurons = self.neurons.iter().enumerate();
        neurons
            .filter_map(|(i, neuron)| {
                let source = neuron.source?;
                (source.session == session).then_some((i, source.unit))
            })
            .collect()
    }

    /// Number of hidden neurons.
    pub fn n_hidden(&self) -> usize {
        self.neurons.iter().filter(|n| n.source.is_none()).count()
    }
}

/// Units of one session that are still free, per area and type, in unit order at first.
type Pools<'a> = BTreeMap<(&'a str, CellType), Vec<usize>>;

/// Chooses a recorded unit for each model neuron.
///
/// Units with a rate of `max_rate_hz` or more (their stored rate, else the rate in the bins) are left
/// out. Sessions are ordered by the number of remaining units in the model's areas, the largest first,
/// ties by name. Each neuron takes the first session in that order with a free unit of its area and
/// type, and there one unit uniformly at random, without replacement. So sessions are used up one after
/// another, separately for each area and type.
///
/// # Errors
/// [`DataError::Stitch`], naming every population that can't be filled, with a table of what there is.
///
/// # Source
/// Sourmpis et al. 2023, program (there: rates below 40 Hz).
pub fn stitch(
    sessions: &[BinnedSession],
    populations: &[PopulationSpec],
    max_rate_hz: Option<f64>,
    rng: &mut (impl Rng + ?Sized),
) -> Result<Stitching, DataError> {
    check_demand(sessions, populations, max_rate_hz)?;
    let areas: BTreeSet<&str> = populations.iter().map(|p| p.area.as_str()).collect();
    let mut pools: Vec<Pools<'_>> = sessions
        .iter()
        .map(|session| free_units(session, &areas, max_rate_hz))
        .collect();
    let order = largest_first(sessions, &pools);
    let mut neurons = Vec::new();
    for population in populations {
        let neuron = |source| ModelNeuron {
            area: population.area.clone(),
            cell_type: population.cell_type,
            source,
        };
        let key = (population.area.as_str(), population.cell_type);
        for _ in 0..population.n_neurons {
            let source = draw(&mut pools, &order, key, rng);
            // `check_demand` has counted: there is a unit for each of them.
            debug_assert!(source.is_some());
            neurons.push(neuron(source));
        }
        neurons.extend((0..population.n_hidden).map(|_| neuron(None)));
    }
    let sessions = session_use(sessions, populations, max_rate_hz, &pools, &neurons);
    Ok(Stitching { neurons, sessions })
}

/// The largest model the recording allows: every unit below the rate limit, E by area, then I by area,
/// then units of unknown type by area; areas in alphabetical order.
pub fn all_recorded(sessions: &[BinnedSession], max_rate_hz: Option<f64>) -> Vec<PopulationSpec> {
    let mut counts: BTreeMap<(CellType, &str), usize> = BTreeMap::new();
    for session in sessions {
        for (_, unit) in slow_enough(session, max_rate_hz) {
            *counts.entry((unit.cell_type, &unit.area)).or_insert(0) += 1;
        }
    }
    counts
        .into_iter()
        .map(|((cell_type, area), n_neurons)| PopulationSpec {
            area: area.to_owned(),
            cell_type,
            n_neurons,
            n_hidden: 0,
        })
        .collect()
}

fn slow_enough(session: &BinnedSession, max_rate_hz: Option<f64>) -> impl Iterator<Item = (usize, &Unit)> {
    let units = session.units.iter().zip(&session.rates_hz).enumerate();
    units.filter_map(move |(n, (unit, &binned_rate))| {
        let rate = unit.firing_rate_hz.unwrap_or(binned_rate);
        max_rate_hz.is_none_or(|limit| rate < limit).then_some((n, unit))
    })
}

fn free_units<'a>(session: &'a BinnedSession, areas: &BTreeSet<&str>, max_rate_hz: Option<f64>) -> Pools<'a> {
    let mut pools = Pools::new();
    for (n, unit) in slow_enough(session, max_rate_hz) {
        if areas.contains(unit.area.as_str()) {
            let key = (unit.area.as_str(), unit.cell_type);
            pools.entry(key).or_default().push(n);
        }
    }
    pools
}

fn largest_first(sessions: &[BinnedSession], pools: &[Pools<'_>]) -> Vec<usize> {
    let size = |s: usize| pools[s].values().map(Vec::len).sum::<usize>();
    let mut order: Vec<usize> = (0..sessions.len()).collect();
    order.sort_by(|&a, &b| {
        let by_size = size(b).cmp(&size(a));
        by_size.then_with(|| sessions[a].id.cmp(&sessions[b].id))
    });
    order
}

fn draw<'a>(
    pools: &mut [Pools<'a>],
    order: &[usize],
    key: (&'a str, CellType),
    rng: &mut (impl Rng + ?Sized),
) -> Option<SourceUnit> {
    for &session in order {
        if let Some(free) = pools[session].get_mut(&key)
            && !free.is_empty()
        {
            let unit = free.swap_remove(rng.random_range(0..free.len()));
            return Some(SourceUnit { session, unit });
        }
    }
    None
}

fn session_use(
    sessions: &[BinnedSession],
    populations: &[PopulationSpec],
    max_rate_hz: Option<f64>,
    pools: &[Pools<'_>],
    neurons: &[ModelNeuron],
) -> Vec<SessionUse> {
    let areas: BTreeSet<&str> = populations.iter().map(|p| p.area.as_str()).collect();
    let wanted: BTreeSet<(&str, CellType)> = populations.iter().map(|p| (p.area.as_str(), p.cell_type)).collect();
    let sources = || neurons.iter().filter_map(|neuron| neuron.source);
    let use_of = |(s, session): (usize, &BinnedSession)| {
        let n_used = sources().filter(|source| source.session == s).count();
        let free = pools[s].iter().filter(|(key, _)| wanted.contains(*key));
        let n_unused = free.map(|(_, units)| units.len()).sum();
        let of_areas = |unit: &Unit| areas.contains(unit.area.as_str());
        let n_of_areas = session.units.iter().filter(|unit| of_areas(unit)).count();
        let n_slow = slow_enough(session, max_rate_hz)
            .filter(|(_, unit)| of_areas(unit))
            .count();
        let n_excluded = n_of_areas - n_slow;
        SessionUse {
            id: session.id.clone(),
            n_used,
            n_unused,
            n_excluded,
            n_other: session.units.len() - n_used - n_unused - n_excluded,
        }
    };
    sessions.iter().enumerate().map(use_of).collect()
}

/// Recorded units per area and type: those below the rate limit, and all.
type Supply<'a> = BTreeMap<(&'a str, CellType), (usize, usize)>;

fn check_demand(
    sessions: &[BinnedSession],
    populations: &[PopulationSpec],
    max_rate_hz: Option<f64>,
) -> Result<(), DataError> {
    let mut supply = Supply::new();
    for session in sessions {
        for unit in &session.units {
            let entry = supply.entry((&unit.area, unit.cell_type)).or_default();
            entry.1 += 1;
        }
        for (_, unit) in slow_enough(session, max_rate_hz) {
            let entry = supply.entry((&unit.area, unit.cell_type)).or_default();
            entry.0 += 1;
        }
    }
    let mut demand: BTreeMap<(&str, CellType), (usize, usize)> = BTreeMap::new();
    for population in populations {
        let key = (population.area.as_str(), population.cell_type);
        let entry = demand.entry(key).or_default();
        entry.0 = entry.0.saturating_add(population.n_neurons);
        entry.1 = entry.1.saturating_add(population.n_hidden);
    }
    let mut problems = Vec::new();
    for (&(area, cell_type), &(n_neurons, n_hidden)) in &demand {
        if n_neurons.saturating_add(n_hidden) == 0 {
            problems.push(format!(
                "area '{area}', {cell_type}: the model has no neuron there (hint: remove the population)"
            ));
            continue;
        }
        let &(usable, recorded) = supply.get(&(area, cell_type)).unwrap_or(&(0, 0));
        if n_neurons <= usable {
            continue;
        }
        let has_area = supply.keys().any(|&(known, _)| known == area);
        let problem = if !has_area {
            format!("no unit was recorded in area '{area}'")
        } else if recorded > usable {
            let limit = max_rate_hz.unwrap_or(f64::INFINITY);
            format!(
                "area '{area}', {cell_type}: {n_neurons} neurons, but {usable} units ({recorded} recorded, {} of them at {limit} Hz or more)",
                recorded - usable
            )
        } else {
            format!("area '{area}', {cell_type}: {n_neurons} neurons, but {usable} units")
        };
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    if populations.is_empty() {
        problems.push("the model has no population".to_owned());
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(DataError::Stitch {
        problems,
        recorded: supply_table(&supply),
    })
}

fn supply_table(supply: &Supply<'_>) -> String {
    if supply.is_empty() {
        return "  none".to_owned();
    }
    let areas: BTreeSet<&str> = supply.keys().map(|&(area, _)| area).collect();
    let mut lines = Vec::new();
    for area in areas {
        let of_type = |kind| supply.get(&(area, kind)).map_or(0, |&(usable, _)| usable);
        let counts = CellType::ALL.map(|kind| format!("{} {kind}", of_type(kind)));
        lines.push(format!("  {area}: {}", counts.join(", ")));
    }
    lines.join("\n")
}
