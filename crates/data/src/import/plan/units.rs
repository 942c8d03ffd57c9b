//! Units: which are taken, their names, areas and cell types.

use std::collections::{BTreeMap, BTreeSet};

use super::trials::{filter_rules, rule_of};
use super::{AreaReport, CellTypePlan, ImportPlan, SessionReport, Told, UnitsPlan, WaveformPlan};
use crate::error::Finding;
use crate::import::expression::{Expression, matches};
use crate::import::source::Source;
use crate::import::table::{Column, Table};
use crate::recording::{CellType, Unit};

/// Columns that say the area of a unit, in the order in which they are looked for.
pub(super) const AREA_COLUMNS: [&str; 12] = [
    "area",
    "brain_area",
    "region",
    "brain_region",
    "structure",
    "structure_acronym",
    "ecephys_structure_acronym",
    "acronym",
    "location",
    "electrodes.location",
    "electrode_group.location",
    "anatomical_location",
];
/// Column that names the units, where the plan names none and the file's identifiers are numbers.
pub(crate) const NAME_COLUMN: &str = "unit_name";
/// Column of the rates that the sorter found, where the plan names none.
const RATE_COLUMN: &str = "firing_rate";
/// Of so many units, some have narrow and some wide waveforms.
const MANY_WAVEFORMS: usize = 10;
/// Area of units of which nothing is known.
const UNKNOWN_AREA: &str = "unknown";

impl ImportPlan {
    /// Units of a source, their spikes, which are taken out of it, and their rows there; none where they can't be made.
    pub(super) fn units(&self, source: &mut Source, told: &mut Told) -> Option<Taken> {
        let plan = &self.units;
        let table = &source.units;
        let ids = match &plan.id {
            Some(text) => texts(told.evaluate("units.id", text, table, Expression::evaluate)?),
            None => usual_names(table, told).unwrap_or_else(|| source.unit_ids.clone()),
        };
        let rates_hz = rates(plan, table, told)?;
        let areas = areas(plan, table, told)?;
        let merged: Vec<Option<String>> = areas.iter().map(|area| plan.merged(area)).collect();
        let types = cell_types(plan, table, told)?;
        let mut rules = filter_rules(plan.filter.as_deref(), "units.filter", table, told)?;
        let is_kept: Vec<bool> = merged.iter().map(Option::is_some).collect();
        if is_kept.contains(&false) {
            rules.push(rule_of("an area of units.areas", is_kept));
        }
        let keeps = told.units.count(areas.len(), &rules, Some(&areas));
        told.areas = area_reports(&areas, &merged, &types, &keeps);
        if !keeps.contains(&true) {
            let n = keeps.len();
            let message = match n {
                0 => "the file has no unit".to_owned(),
                _ => format!("none of {n} units is taken{}", told.units.why()),
            };
            told.refuse("units", message);
            return None;
        }
        let mut spikes = std::mem::take(&mut source.spikes_s);
        let mut taken = Taken::default();
        for (row, ((id, area), cell_type)) in ids.into_iter().zip(merged).zip(types).enumerate() {
            let (Some(area), true) = (area, keeps[row]) else {
                continue;
            };
            taken.units.push(Unit {
                id,
                area,
                cell_type,
                firing_rate_hz: rates_hz.get(row).copied().flatten(),
            });
            taken.spikes_s.push(std::mem::take(&mut spikes[row]));
            taken.rows.push(row);
        }
        let mut names = BTreeSet::new();
        let twice: Vec<&Unit> = taken
            .units
            .iter()
            .filter(|unit| !names.insert(unit.id.as_str()))
            .collect();
        if let Some(first) = twice.first() {
            let hint = "units.id in a TOML for --spec names a column, or an expression, that tells units apart; a condition, --units, leaves some out";
            let message = format!(
                "{} of {} have the name of one above, first '{}' (hint: {hint}; {})",
                twice.len(),
                taken.units.len(),
                first.id.escape_debug(),
                table.hint("")
            );
            told.refuse("units", message);
            return None;
        }
        Some(taken)
    }
}

/// The units of a source that are taken.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) units: Vec<Unit>,
    pub(super) spikes_s: Vec<Vec<f64>>,
    /// Which units of the source they are.
    pub(super) rows: Vec<usize>,
}

impl UnitsPlan {
    /// The area that an area of the file becomes; none where it is left out.
    fn merged(&self, area: &str) -> Option<String> {
        let mut named = self.areas.iter();
        let becomes = named.find(|(_, patterns)| patterns.iter().any(|pattern| matches(pattern, area)));
        match becomes {
            Some((name, _)) => Some(name.clone()),
            None => self.other_areas.unwrap_or(true).then(|| area.to_owned()),
        }
    }

    /// Patterns of `units.areas` that no area of any session has, and areas that patterns of two names have.
    pub(super) fn unmatched(&self, sessions: &[SessionReport]) -> Vec<Finding> {
        let areas: BTreeSet<&str> = sessions
            .iter()
            .flat_map(|s| &s.areas)
            .map(|a| a.area.as_str())
            .collect();
        let mut findings = Vec::new();
        if areas.is_empty() {
            return findings;
        }
        for (name, patterns) in &self.areas {
            let is_unused = |pattern: &&String| !areas.iter().any(|area| matches(pattern, area));
            for pattern in patterns.iter().filter(is_unused) {
                let areas: Vec<&str> = areas.iter().copied().take(MAX_SHOWN_AREAS).collect();
                let message = format!("no area is '{pattern}'; there are: {}", areas.join(", "));
                findings.push(Finding::new(format!("units.areas.{name}"), message));
            }
        }
        for area in &areas {
            let named = self.areas.iter();
            let names: Vec<&str> = named
                .filter(|(_, patterns)| patterns.iter().any(|pattern| matches(pattern, area)))
                .map(|(name, _)| name.as_str())
                .collect();
            if let [first, second, ..] = names[..] {
                let message = format!("'{area}' belongs to '{first}' and to '{second}'; it goes to '{first}'");
                findings.push(Finding::new("units.areas", message));
            }
        }
        findings
    }
}

/// So many areas are listed.
const MAX_SHOWN_AREAS: usize = 30;

fn texts(column: Column) -> Vec<String> {
    match column {
        Column::Texts(values) => values,
        other => (0..other.len()).map(|row| other.text(row)).collect(),
    }
}

/// The names that native recordings give the units, if each has one of its own; which is told.
fn usual_names(table: &Table, told: &mut Told) -> Option<Vec<String>> {
    let Some(Column::Texts(names)) = table.get(NAME_COLUMN) else {
        return None;
    };
    let different: BTreeSet<&String> = names.iter().collect();
    if different.len() < names.len() || names.iter().any(String::is_empty) {
        return None;
    }
    told.warn(
        "units",
        format!("named by column '{NAME_COLUMN}' (hint: units.id in a TOML for --spec names another one)"),
    );
    Some(names.clone())
}

/// Rates (Hz) of the units, as the file says; none where it doesn't.
fn rates(plan: &UnitsPlan, table: &Table, told: &mut Told) -> Option<Vec<Option<f64>>> {
    let values = match (&plan.firing_rate, table.get(RATE_COLUMN)) {
        (Some(text), _) => told.evaluate("units.firing_rate", text, table, Expression::numbers)?,
        (None, Some(Column::Numbers(values))) => values.clone(),
        _ => return Some(Vec::new()),
    };
    let known = |value: f64| Some(value).filter(|value| value.is_finite() && *value >= 0.0);
    Some(values.into_iter().map(known).collect())
}

/// The area of each unit in the file's words.
fn areas(plan: &UnitsPlan, table: &Table, told: &mut Told) -> Option<Vec<String>> {
    let column = match &plan.area {
        Some(text) => told.evaluate("units.area", text, table, Expression::evaluate)?,
        None => usual_area(table, told),
    };
    let mut areas = texts(column);
    let mut n_missing = 0;
    for area in &mut areas {
        if area.trim() != area.as_str() {
            *area = area.trim().to_owned();
        }
        if area.is_empty() {
            UNKNOWN_AREA.clone_into(area);
            n_missing += 1;
        }
    }
    if n_missing > 0 {
        told.warn(
            "units",
            format!("{n_missing} units have no area; it is '{UNKNOWN_AREA}'"),
        );
    }
    Some(areas)
}

/// The first column of a usual name.
fn usual_area(table: &Table, told: &mut Told) -> Column {
    if let Some((name, column)) = AREA_COLUMNS.iter().find_map(|name| Some((name, table.get(name)?))) {
        let hint = "--area-column names another one";
        told.warn("units", format!("areas are those of column '{name}' (hint: {hint})"));
        return column.clone();
    }
    let hint = "--area-column names a column, --area is one area for all";
    let columns = table.hint("");
    told.warn(
        "units",
        format!("no column says the area; it is '{UNKNOWN_AREA}' (hint: {hint}; {columns})"),
    );
    Column::Texts(vec![UNKNOWN_AREA.to_owned(); table.n_rows()])
}

fn cell_types(plan: &UnitsPlan, table: &Table, told: &mut Told) -> Option<Vec<CellType>> {
    let mut types = by_column(&plan.cell_type, table, told)?;
    if let Some(waveform) = &plan.waveform {
        types = by_waveform(waveform, table, told)?;
    }
    let mut condition = |key: &str, text: &Option<String>| match text {
        Some(text) => told.condition(key, text, "units", table),
        None => Some(vec![false; table.n_rows()]),
    };
    let excitatory = condition("units.cell_type.excitatory", &plan.cell_type.excitatory)?;
    let inhibitory = condition("units.cell_type.inhibitory", &plan.cell_type.inhibitory)?;
    let mut n_both = 0;
    for ((kind, excitatory), inhibitory) in types.iter_mut().zip(excitatory).zip(inhibitory) {
        match (excitatory, inhibitory) {
            (true, true) => {
                *kind = CellType::Unknown;
                n_both += 1;
            }
            (true, false) => *kind = CellType::Excitatory,
            (false, true) => *kind = CellType::Inhibitory,
            (false, false) => {}
        }
    }
    if n_both > 0 {
        let message = format!("{n_both} units meet both conditions of units.cell_type; their type is unknown");
        told.warn("units", message);
    }
    Some(types)
}

/// Types by a column of names; names that are not known are told.
fn by_column(plan: &CellTypePlan, table: &Table, told: &mut Told) -> Option<Vec<CellType>> {
    let name = plan.column.as_deref().unwrap_or("cell_type");
    let Some(column) = table.get(name) else {
        if plan.column.is_none() {
            return Some(vec![CellType::Unknown; table.n_rows()]);
        }
        let message = format!("there is no column '{name}'; {}", table.hint(name));
        told.refuse("units.cell_type.column", message);
        return None;
    };
    let mut others: BTreeMap<String, usize> = BTreeMap::new();
    let mut n_missing = 0;
    let types = (0..table.n_rows()).map(|row| {
        let text = column.text(row);
        n_missing += usize::from(text.trim().is_empty());
        type_named(&text).unwrap_or_else(|| {
            *others.entry(text).or_insert(0) += 1;
            CellType::Unknown
        })
    });
    let types = types.collect();
    if n_missing > 0 {
        let message = format!(
            "{n_missing} of {} units have no cell type in column '{name}'; it is unknown",
            table.n_rows()
        );
        told.warn("units", message);
    }
    if !others.is_empty() {
        let others: Vec<String> = others
            .iter()
            .take(10)
            .map(|(name, n)| format!("'{name}' ({n})"))
            .collect();
        let hint = "units.cell_type.excitatory and .inhibitory in a TOML for --spec take conditions";
        told.warn(
            "units",
            format!("cell types that are not known: {} (hint: {hint})", others.join(", ")),
        );
    }
    Some(types)
}

/// The type of a usual name.
fn type_named(name: &str) -> Option<CellType> {
    match name.trim().to_ascii_lowercase().as_str() {
        "excitatory" | "exc" | "e" | "pyramidal" | "pyramidal cell" | "pyr" | "rs" | "regular spiking"
        | "regular-spiking" | "principal" | "pe" => Some(CellType::Excitatory),
        "inhibitory" | "inh" | "i" | "interneuron" | "int" | "fs" | "fast spiking" | "fast-spiking" | "pv" | "sst"
        | "som" | "vip" => Some(CellType::Inhibitory),
        "unknown" | "" | "n/a" | "na" | "none" | "unclassified" => Some(CellType::Unknown),
        _ => None,
    }
}

fn by_waveform(plan: &WaveformPlan, table: &Table, told: &mut Told) -> Option<Vec<CellType>> {
    let values = told.evaluate("units.waveform.value", &plan.value, table, Expression::numbers)?;
    let wide = plan.wide_above.unwrap_or(plan.narrow_below);
    let n_missing = values.iter().filter(|value| value.is_nan()).count();
    if n_missing > 0 {
        told.warn(
            "units",
            format!("{n_missing} units have no {}; their type is unknown", plan.value),
        );
    }
    let kind = |value: &f64| match *value {
        value if value < plan.narrow_below => CellType::Inhibitory,
        value if value > wide => CellType::Excitatory,
        _ => CellType::Unknown,
    };
    let types: Vec<CellType> = values.iter().map(kind).collect();
    let known: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    let (least, most) = known
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
    let kinds = if most < plan.narrow_below {
        "inhibitory"
    } else if least > wide {
        "excitatory"
    } else {
        return Some(types);
    };
    if known.len() >= MANY_WAVEFORMS {
        let message = format!(
            "all {} units with a '{}' are {kinds}: it is {least} to {most}, narrow is below {} and wide above {wide} (hint: are they in the same \
             unit?)",
            known.len(),
            plan.value,
            plan.narrow_below
        );
        told.warn("units.waveform", message);
    }
    Some(types)
}

fn area_reports(areas: &[String], merged: &[Option<String>], types: &[CellType], keeps: &[bool]) -> Vec<AreaReport> {
    let mut reports: BTreeMap<&str, AreaReport> = BTreeMap::new();
    for (((area, becomes), kind), keeps) in areas.iter().zip(merged).zip(types).zip(keeps) {
        let report = reports.entry(area).or_insert_with(|| AreaReport {
            area: area.clone(),
            becomes: becomes.clone(),
            found: 0,
            kept: 0,
            types: BTreeMap::new(),
        });
        report.found += 1;
        if *keeps {
            report.kept += 1;
            *report.types.entry(*kind).or_insert(0) += 1;
        }
    }
    reports.into_values().collect()
}
