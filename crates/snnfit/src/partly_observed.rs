//! Neurons that were not observed in every trial: which they are, for manifest and report.

use serde::{Deserialize, Serialize};

use crate::assembly::Assembly;

/// A recorded neuron that was not observed in every trial of its session: the others don't count for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartlyObserved {
    /// Session.
    pub session: String,
    /// Unit.
    pub unit: String,
    /// Its area.
    pub area: String,
    /// Trials that it was observed in.
    pub n_observed: usize,
    /// Trials of its session that are used.
    pub n_trials: usize,
    /// Whether it is in populations (trial matching, templates): it is if it misses hardly any training trial
    /// (`statistics.min_presence`).
    pub in_populations: bool,
}

/// The neurons of a model that were not observed in every trial, session by session.
pub fn of_model(assembly: &Assembly) -> Vec<PartlyObserved> {
    let mut found = Vec::new();
    for (s, session) in assembly.recording.sessions().iter().enumerate() {
        let Some(presence) = &session.presence else { continue };
        let (binned, split) = (&assembly.sessions[s], &assembly.splits.sessions[s]);
        let parts = split.train.iter().chain(&split.validation).chain(&split.test);
        let used: Vec<usize> = parts.copied().filter(|&k| session.valid_bins[k] > 0).collect();
        let pairs = assembly.stitching.neurons_of_session(s);
        for (column, (_, unit)) in pairs.into_iter().enumerate() {
            let n_observed = used.iter().filter(|&&k| presence.is_present[[k, column]]).count();
            let unit = &binned.units[unit];
            if n_observed < used.len() {
                found.push(PartlyObserved {
                    session: session.name.clone(),
                    unit: unit.id.clone(),
                    area: unit.area.clone(),
                    n_observed,
                    n_trials: used.len(),
                    in_populations: presence.is_kept[column],
                });
            }
        }
    }
    found
}

/// One sentence on those of a session, or of all.
pub fn in_words(found: &[&PartlyObserved], n_recorded: usize, min_presence: f64) -> String {
    let n_out = found.iter().filter(|neuron| !neuron.in_populations).count();
    let were = if found.len() == 1 { "was" } else { "were" };
    format!(
        "{} of {n_recorded} neurons {were} not observed in every trial: averages go over the trials they were observed in; {n_out} \
         of them, observed in less than {:.0} % of the training trials (statistics.min_presence), are in no population",
        found.len(),
        100.0 * min_presence
    )
}
