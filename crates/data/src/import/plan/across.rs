//! What sessions of one recording call by different names.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Finding;
use crate::recording::Session;

/// Words for the two values of a flag.
const FLAGS: [[&str; 2]; 4] = [["false", "true"], ["0", "1"], ["no", "yes"], ["f", "t"]];

/// Types of trials that differ in case, spaces or the words for a flag, and traces in different units.
pub(super) fn differences(sessions: &[Session]) -> Vec<Finding> {
    let mut findings = types(sessions);
    let mut units: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for session in sessions {
        for (name, behaviour) in session
            .behaviour
            .iter()
            .filter(|(_, behaviour)| !behaviour.unit.is_empty())
        {
            units
                .entry(name)
                .or_default()
                .entry(&behaviour.unit)
                .or_insert(&session.id);
        }
    }
    for (name, units) in units.into_iter().filter(|(_, units)| units.len() > 1) {
        let units: Vec<String> = units
            .iter()
            .map(|(unit, id)| format!("'{unit}' (such as in '{id}')"))
            .collect();
        let message = format!(
            "sessions have it in different units: {} (hint: [data.traces] of a fit scales each session by itself, or import them apart)",
            units.join(", ")
        );
        findings.push(Finding::new(format!("behaviour.{name}"), message));
    }
    findings
}

fn types(sessions: &[Session]) -> Vec<Finding> {
    let of = |session: &Session| -> BTreeSet<String> {
        session.trials.iter().map(|trial| trial.trial_type.clone()).collect()
    };
    let all: BTreeSet<String> = sessions.iter().flat_map(of).collect();
    let mut alike: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for name in &all {
        alike.entry(name.trim().to_lowercase()).or_default().push(name);
    }
    let mut findings = Vec::new();
    let hint = "trials.types in a TOML for --spec names them by conditions";
    for names in alike.values().filter(|names| names.len() > 1) {
        let message = format!("'{}' count as different types (hint: {hint})", names.join("' and '"));
        findings.push(Finding::new("trials.type", message));
    }
    let is_flag = |words: &&[&str; 2]| words.iter().any(|word| alike.contains_key(*word));
    let only = |session: &Session, words: &[&str; 2]| {
        of(session)
            .iter()
            .all(|name| words.contains(&name.trim().to_lowercase().as_str()))
    };
    let used: Vec<String> = FLAGS
        .iter()
        .filter(is_flag)
        .filter(|words| sessions.iter().any(|session| only(session, words)))
        .map(|words| format!("'{}'", words.join("', '")))
        .collect();
    if used.len() > 1 {
        let message = format!(
            "sessions have the types {}, which count as different ones (hint: {hint})",
            used.join(" and ")
        );
        findings.push(Finding::new("trials.type", message));
    }
    findings
}
