//! How many units and trials each step of an import left out.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::error::Finding;
use crate::import::expression::Rule;
use crate::recording::CellType;

/// What an import took and what it left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportReport {
    /// Version of this form.
    pub schema: u32,
    /// Per session, in the order of the recording.
    pub sessions: Vec<SessionReport>,
    /// Oddities of the recording that came out.
    pub warnings: Vec<Finding>,
}

impl Default for ImportReport {
    fn default() -> Self {
        Self {
            schema: 1,
            sessions: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// The same of one session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionReport {
    /// Name.
    pub id: String,
    /// The format it was read from.
    pub format: String,
    /// Units.
    pub units: Selection,
    /// Trials.
    pub trials: Selection,
    /// Areas of the file, in the order of their names.
    pub areas: Vec<AreaReport>,
    /// Oddities of the file and of what was chosen.
    pub warnings: Vec<Finding>,
}

/// How many there were, how many were taken, and why the others were not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// In the file.
    pub found: usize,
    /// Taken.
    pub kept: usize,
    /// What left some out, in order; one that left none out is listed too.
    pub rules: Vec<RuleReport>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleReport {
    /// The condition.
    pub rule: String,
    /// How many don't meet it.
    pub dropped: usize,
    /// How many of them meet every other one.
    pub alone: usize,
    /// For how many a number that it reads is missing.
    pub missing: usize,
    /// How many are taken although a number or text that it reads is missing, which it doesn't ask for.
    #[serde(default)]
    pub kept_unknown: usize,
    /// Of the dropped ones, how many in each area; empty for trials.
    pub by_area: BTreeMap<String, usize>,
}

/// Units of one area of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AreaReport {
    /// Name in the file.
    pub area: String,
    /// Name in the recording; none where the area is left out.
    pub becomes: Option<String>,
    /// Units in the file.
    pub found: usize,
    /// Units taken.
    pub kept: usize,
    /// Of these, how many of each cell type.
    pub types: BTreeMap<CellType, usize>,
}

impl Selection {
    /// Counts conditions. Returns whether each of the `found` meets all of them.
    pub(super) fn count(&mut self, found: usize, rules: &[Rule], areas: Option<&[String]>) -> Vec<bool> {
        let n_failed = |row: usize| rules.iter().filter(|rule| !rule.keeps[row]).count();
        let failed: Vec<usize> = (0..found).map(n_failed).collect();
        self.found = found;
        for rule in rules {
            let dropped: Vec<usize> = (0..found).filter(|&row| !rule.keeps[row]).collect();
            let unknown = rule.unknown.iter().zip(&failed);
            let kept_unknown = unknown.filter(|(unknown, failed)| **unknown && **failed == 0).count();
            let mut by_area = BTreeMap::new();
            for area in dropped.iter().filter_map(|&row| areas?.get(row)) {
                *by_area.entry(area.clone()).or_insert(0) += 1;
            }
            self.rules.push(RuleReport {
                rule: rule.text.clone(),
                dropped: dropped.len(),
                alone: dropped.iter().filter(|&&row| failed[row] == 1).count(),
                missing: rule.missing,
                kept_unknown,
                by_area,
            });
        }
        let keeps: Vec<bool> = failed.into_iter().map(|n| n == 0).collect();
        self.kept = keeps.iter().filter(|keeps| **keeps).count();
        keeps
    }

    /// Adds a rule that what was left dropped so many more.
    pub(super) fn leave_out(&mut self, rule: String, dropped: usize) {
        self.rules.push(RuleReport {
            rule,
            dropped,
            alone: dropped,
            missing: 0,
            kept_unknown: 0,
            by_area: BTreeMap::new(),
        });
    }

    /// The rules that dropped some, for a message.
    pub(super) fn why(&self) -> String {
        let dropping = self.rules.iter().filter(|rule| rule.dropped > 0);
        let dropping: Vec<String> = dropping
            .map(|rule| format!("{} dropped by {}", rule.dropped, rule.rule))
            .collect();
        if dropping.is_empty() {
            String::new()
        } else {
            format!(": {}", dropping.join(", "))
        }
    }
}

impl ImportReport {
    /// The tables for people: what was dropped by which rule, units by area.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for session in &self.sessions {
            // Writing to a String can't fail.
            let _ = session.write(&mut text);
        }
        text
    }
}

impl SessionReport {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{} ({})", self.id, self.format)?;
        for (what, selection) in [("units", &self.units), ("trials", &self.trials)] {
            writeln!(out, "  {what}: {} of {} taken", selection.kept, selection.found)?;
            for rule in &selection.rules {
                write!(out, "    {:>6} dropped by {}", rule.dropped, rule.rule)?;
                if rule.dropped > 0 {
                    write!(out, " ({} by this alone", rule.alone)?;
                    if rule.missing > 0 {
                        write!(out, "; {} without a number", rule.missing)?;
                    }
                    for (area, n) in &rule.by_area {
                        write!(out, "; {area} {n}")?;
                    }
                    write!(out, ")")?;
                }
                if rule.kept_unknown > 0 {
                    write!(out, "; {} kept although a value is missing", rule.kept_unknown)?;
                }
                writeln!(out)?;
            }
        }
        for area in &self.areas {
            let becomes = match &area.becomes {
                Some(name) if *name == area.area => String::new(),
                Some(name) => format!(" as {name}"),
                None => " (area left out)".to_owned(),
            };
            let types: Vec<String> = area.types.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
            let types = if types.is_empty() {
                String::new()
            } else {
                format!(": {}", types.join(", "))
            };
            writeln!(
                out,
                "  {}{becomes}: {} of {} units{types}",
                area.area, area.kept, area.found
            )?;
        }
        Ok(())
    }
}
