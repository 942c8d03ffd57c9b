//! Neurons with few spikes in the training trials: which they are, for manifest, report and findings.

use serde::{Deserialize, Serialize};

use crate::assembly::{Assembly, Part};
use crate::fit_error::FitError;

/// A recorded neuron with fewer spikes in the training trials than `statistics.min_spikes`: it counts less in the PSTH loss,
/// and not in PSTH metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FewSpikes {
    /// Session.
    pub session: String,
    /// Unit.
    pub unit: String,
    /// Its area.
    pub area: String,
    /// Its spikes in the window of the training trials.
    pub spikes: u64,
}

/// The neurons of a model that have few spikes, in the model's order.
///
/// # Errors
/// A broken invariant: splits of another recording.
pub fn of_model(assembly: &Assembly) -> Result<Vec<FewSpikes>, FitError> {
    let training = assembly.trials_of(Part::Train);
    let least = assembly.experiment.statistics.min_spikes;
    let few = assembly.recording.with_few_spikes(&training, least)?;
    let spikes = assembly.recording.spikes(&training)?;
    let named = few.into_iter().filter_map(|n| {
        let source = assembly.stitching.neurons.get(n)?.source?;
        let session = assembly.sessions.get(source.session)?;
        let unit = session.units.get(source.unit)?;
        Some(FewSpikes {
            session: session.id.clone(),
            unit: unit.id.clone(),
            area: unit.area.clone(),
            spikes: spikes[n],
        })
    });
    Ok(named.collect())
}

/// "12 of 300 neurons have fewer than 50 spikes in the training trials".
pub fn in_words(n_few: usize, n_recorded: usize, min_spikes: u64) -> String {
    let have = if n_few == 1 { "has" } else { "have" };
    format!("{n_few} of {n_recorded} neurons {have} fewer than {min_spikes} spikes in the training trials")
}
