//! What the neurons of a spike-history network are called, in files and on the command line.

use std::collections::BTreeMap;

use snn_core::models::spike_history::SpikeHistorySpec;

use super::recorded::Recorded;

/// Area of neurons that stand for no unit.
const HIDDEN_AREA: &str = "hidden";

impl Recorded {
    /// Ids of all neurons, `[N]`: `SESSION/UNIT`, or with `shared_units` `UNIT`, with `@AREA` where two areas have a unit of one
    /// name; then `hidden/0` and so on.
    pub fn neuron_ids(&self, spec: &SpikeHistorySpec) -> Vec<String> {
        let plain: Vec<String> = self.neurons.iter().map(ToString::to_string).collect();
        let mut counts = BTreeMap::<&str, usize>::new();
        for id in &plain {
            *counts.entry(id).or_default() += 1;
        }
        let visible = self.neurons.iter().zip(&plain).map(|(neuron, id)| {
            if counts.get(id.as_str()).is_some_and(|&n| n > 1) {
                format!("{id}@{}", neuron.area)
            } else {
                id.clone()
            }
        });
        let hidden = (0..spec.n_hidden).map(|i| format!("hidden/{i}"));
        visible.chain(hidden).collect()
    }

    /// Area of all neurons, `[N]`; [`HIDDEN_AREA`] of those that stand for no unit.
    pub fn neuron_areas(&self, spec: &SpikeHistorySpec) -> Vec<String> {
        let visible = self.neurons.iter().map(|neuron| neuron.area.clone());
        visible
            .chain(std::iter::repeat_n(HIDDEN_AREA.to_owned(), spec.n_hidden))
            .collect()
    }

    /// Place of a session.
    pub fn session(&self, id: &str) -> Option<usize> {
        self.sessions.iter().position(|session| session.id == id)
    }
}
