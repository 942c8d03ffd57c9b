//! Perturbations of spike-history networks.

use std::ops::Range;

use snn_core::connectivity::{CellType, Neuron};
use snn_core::models::spike_history::{Effect, Perturbation, Silenced, SpikeHistorySpec};

use super::{Described, Neurons, STRENGTH, Selection, Time, union};
use crate::cli::{PerturbationArgs, SilencedName};
use crate::error::Error;
use crate::spike_history::recorded::Recorded;

/// Perturbations of one network, resolved.
pub(crate) struct SpikeHistoryPlan {
    /// For the simulation.
    pub(crate) perturbations: Vec<Perturbation>,
    /// The same for people and programs.
    pub(crate) described: Vec<Described>,
    /// Bins of the trial in which they act.
    pub(crate) window: Range<usize>,
    /// Ids of all neurons, `[N]`.
    pub(crate) ids: Vec<String>,
    /// Area of each, `[N]`.
    pub(crate) areas: Vec<String>,
}

impl SpikeHistoryPlan {
    /// What the options mean for this network and trials of this time axis.
    ///
    /// # Errors
    /// Selections that mean no neuron, light, a window outside the trial.
    pub(crate) fn new(
        args: &PerturbationArgs,
        recorded: &Recorded,
        spec: &SpikeHistorySpec,
        time: &Time,
    ) -> Result<Self, Error> {
        if !args.light.is_empty() {
            return Err(Error::Usage {
                message: "--light drives inhibitory neurons, and those of [model.spike_history] have no type: their couplings may \
                          have any sign"
                    .to_owned(),
                help: "name the neurons with --activate neuron:ID, area:NAME or file:PATH".to_owned(),
            });
        }
        let ids = recorded.neuron_ids(spec);
        let of_neurons = recorded.neuron_areas(spec);
        let mut areas: Vec<String> = Vec::new();
        let kinds: Vec<Neuron> = of_neurons
            .iter()
            .map(|area| {
                let at = areas.iter().position(|known| known == area).unwrap_or_else(|| {
                    areas.push(area.clone());
                    areas.len() - 1
                });
                Neuron {
                    area: at,
                    cell_type: CellType::Unknown,
                }
            })
            .collect();
        let window = time.window(args)?;
        let neurons = Neurons {
            ids: ids.clone(),
            kinds: &kinds,
            areas: &areas,
        };
        let mut plan = Self {
            perturbations: Vec::new(),
            described: Vec::new(),
            window: window.clone(),
            ids,
            areas: of_neurons,
        };
        let window_ms = [window.start, window.end].map(|step| time.ms_of(step));
        let mut add = |effect: Effect, name: &str, selections: &[Selection]| -> Result<(), Error> {
            let chosen = union(selections, &neurons)?;
            let (removed, strength) = match effect {
                Effect::Silence(silenced) => (Some(in_word(silenced).to_owned()), None),
                Effect::Activate { strength } => (None, Some(strength)),
            };
            plan.described.push(Described {
                effect: name.to_owned(),
                selections: selections.iter().map(ToString::to_string).collect(),
                removed,
                strength,
                light_share: None,
                window_ms,
                neurons: chosen.iter().filter_map(|&n| neurons.ids.get(n).cloned()).collect(),
                populations: neurons.count(chosen.iter().filter_map(|&n| neurons.kinds.get(n))),
            });
            plan.perturbations.push(Perturbation {
                neurons: chosen,
                window: window.clone(),
                effect,
            });
            Ok(())
        };
        if !args.silence.is_empty() {
            let silenced = match args.silence_what.unwrap_or_default() {
                SilencedName::Outgoing => Silenced::Outgoing,
                SilencedName::Incoming => Silenced::Incoming,
                SilencedName::Both => Silenced::Both,
                SilencedName::Held => Silenced::Held,
            };
            add(Effect::Silence(silenced), "silence", &args.silence)?;
        }
        if !args.activate.is_empty() {
            let strength = args.strength.unwrap_or(STRENGTH);
            add(Effect::Activate { strength }, "activate", &args.activate)?;
        }
        Ok(plan)
    }
}

/// What silencing removes, in a word.
fn in_word(silenced: Silenced) -> &'static str {
    match silenced {
        Silenced::Outgoing => "outgoing",
        Silenced::Incoming => "incoming",
        Silenced::Both => "both",
        Silenced::Held => "held",
    }
}
