//! A perturbation in silico as the command line names it, made into what the network's simulation takes.

mod selection;
mod spike_history;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};
use snn_core::connectivity::{CellType, Neuron};
use snn_core::models::rsnn::{Effect, Perturbation, Silenced, light_sensitive};

use crate::assembly::Assembly;
use crate::cli::{PerturbationArgs, SilencedName};
use crate::error::Error;
use crate::fit_error::FitError;

pub use selection::Selection;
pub(crate) use spike_history::SpikeHistoryPlan;

/// Strength of a drive that none is given for, in units of the distance from resting potential to threshold.
const STRENGTH: f64 = 1.0;
/// Share of inhibitory neurons that light activates (specification §1.1).
const LIGHT_SHARE: f64 = 0.51;

/// Names of a model's neurons.
pub(crate) struct Neurons<'a> {
    /// Their ids, `[N]`.
    pub(crate) ids: Vec<String>,
    /// Areas and types, `[N]`.
    pub(crate) kinds: &'a [Neuron],
    /// Names of the areas.
    pub(crate) areas: &'a [String],
}

/// Perturbations of one model, resolved.
pub(crate) struct Plan {
    /// For the simulation.
    pub(crate) perturbations: Vec<Perturbation>,
    /// The same for people and programs.
    pub(crate) described: Vec<Described>,
    /// Steps of the trial in which they act.
    pub(crate) window: Range<usize>,
}

/// One perturbation, for a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Described {
    /// `silence`, `activate` or `light`.
    pub effect: String,
    /// The selections.
    pub selections: Vec<String>,
    /// What silencing removes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<String>,
    /// Strength of the drive, in units of the distance from resting potential to threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
    /// Share of the inhibitory neurons that are light-sensitive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub light_share: Option<f64>,
    /// Window relative to the event that trials are aligned to, on the bins.
    pub window_ms: [f64; 2],
    /// Ids of the neurons.
    pub neurons: Vec<String>,
    /// How many of each area and type.
    pub populations: BTreeMap<String, usize>,
}

impl<'a> Neurons<'a> {
    pub(crate) fn of(assembly: &'a Assembly) -> Self {
        Self {
            ids: assembly.neuron_ids(),
            kinds: &assembly.spec.neurons,
            areas: &assembly.spec.areas,
        }
    }

    fn that_are(&self, is: impl Fn(&Neuron) -> bool) -> BTreeSet<usize> {
        let found = self.kinds.iter().enumerate().filter(|(_, neuron)| is(neuron));
        found.map(|(n, _)| n).collect()
    }

    /// Area and type of a neuron.
    pub(crate) fn population(&self, neuron: &Neuron) -> String {
        let area = self.areas.get(neuron.area).map_or("?", String::as_str);
        match neuron.cell_type {
            CellType::Excitatory => format!("{area} exc"),
            CellType::Inhibitory => format!("{area} inh"),
            CellType::Unknown => area.to_owned(),
        }
    }

    /// How many neurons of each area and type there are among these.
    fn count<'n>(&self, among: impl Iterator<Item = &'n Neuron>) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for neuron in among {
            *counts.entry(self.population(neuron)).or_insert(0) += 1;
        }
        counts
    }

    fn populations(&self) -> String {
        in_words(&self.count(self.kinds.iter()))
    }
}

/// `3 wS1 exc, 2 wS1 inh`.
fn in_words(counts: &BTreeMap<String, usize>) -> String {
    let parts: Vec<String> = counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
    parts.join(", ")
}

impl Plan {
    /// What the options mean for this model, or none where they perturb nothing.
    ///
    /// # Errors
    /// Selections that mean no neuron of the model, light that reaches none, a window outside the trial.
    pub(crate) fn new(args: &PerturbationArgs, assembly: &Assembly) -> Result<Option<Self>, Error> {
        if args.is_empty() {
            return Ok(None);
        }
        let neurons = Neurons::of(assembly);
        let time = Time::of(assembly);
        let window = time.window(args)?;
        let strength = args.strength.unwrap_or(STRENGTH);
        let mut plan = Self {
            perturbations: Vec::new(),
            described: Vec::new(),
            window: window.clone(),
        };
        let mut add = |effect: Effect, name: &str, selections: &[Selection], chosen: BTreeSet<usize>| {
            plan.described.push(Described {
                effect: name.to_owned(),
                selections: selections.iter().map(ToString::to_string).collect(),
                removed: match effect {
                    Effect::Silence(silenced) => Some(in_word(silenced).to_owned()),
                    Effect::Activate { .. } => None,
                },
                strength: match effect {
                    Effect::Silence(_) => None,
                    Effect::Activate { strength } => Some(strength),
                },
                light_share: (name == "light").then(|| args.light_share.unwrap_or(LIGHT_SHARE)),
                window_ms: [window.start, window.end].map(|step| time.ms_of(step)),
                neurons: chosen.iter().filter_map(|&n| neurons.ids.get(n).cloned()).collect(),
                populations: neurons.count(chosen.iter().filter_map(|&n| neurons.kinds.get(n))),
            });
            plan.perturbations.push(Perturbation {
                neurons: chosen,
                window: window.clone(),
                effect,
            });
        };
        if !args.silence.is_empty() {
            let silenced = silenced(args)?;
            let chosen = union(&args.silence, &neurons)?;
            add(Effect::Silence(silenced), "silence", &args.silence, chosen);
        }
        if !args.activate.is_empty() {
            let chosen = union(&args.activate, &neurons)?;
            add(Effect::Activate { strength }, "activate", &args.activate, chosen);
        }
        if !args.light.is_empty() {
            let chosen = lit(args, &neurons, assembly.experiment.seed)?;
            add(Effect::Activate { strength }, "light", &args.light, chosen);
        }
        Ok(Some(plan))
    }

    /// One line for each perturbation: what is done to how many neurons of which areas, and when.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.described.iter().map(Described::line).collect()
    }
}

/// What silencing removes from these networks.
fn silenced(args: &PerturbationArgs) -> Result<Silenced, Error> {
    match args.silence_what.unwrap_or_default() {
        SilencedName::Outgoing => Ok(Silenced::Outgoing),
        SilencedName::Incoming => Ok(Silenced::Incoming),
        SilencedName::Both => Ok(Silenced::Both),
        SilencedName::Held => Err(Error::Usage {
            message: "--silence-what held is there for [model.spike_history] only".to_owned(),
            help: "hold neurons of [model.rsnn] down by a drive: --activate SEL --strength -10".to_owned(),
        }),
    }
}

/// What silencing removes, in a word.
fn in_word(silenced: Silenced) -> &'static str {
    match silenced {
        Silenced::Outgoing => "outgoing",
        Silenced::Incoming => "incoming",
        Silenced::Both => "both",
    }
}

impl Described {
    /// What is done to how many neurons of which areas, and when.
    pub fn line(&self) -> String {
        let [from, to] = self.window_ms;
        let how = match (self.removed.as_deref(), self.strength) {
            (Some("both"), _) => ", currents to and from them removed".to_owned(),
            (Some("held"), _) => ", spikes removed".to_owned(),
            (Some(removed), _) => format!(", {removed} currents removed"),
            (None, Some(strength)) => format!(", strength {strength}"),
            (None, None) => String::new(),
        };
        format!(
            "{}: {} neurons ({}){how}, from {from} to {to} ms",
            self.effect,
            self.neurons.len(),
            in_words(&self.populations)
        )
    }
}

/// The neurons that any of the selections means.
fn union(selections: &[Selection], neurons: &Neurons<'_>) -> Result<BTreeSet<usize>, Error> {
    let mut chosen = BTreeSet::new();
    for selection in selections {
        chosen.extend(selection.resolve(neurons)?);
    }
    Ok(chosen)
}

/// The light-sensitive ones among the inhibitory neurons selected.
fn lit(args: &PerturbationArgs, neurons: &Neurons<'_>, seed: u64) -> Result<BTreeSet<usize>, Error> {
    let selected = union(&args.light, neurons)?;
    let share = args.light_share.unwrap_or(LIGHT_SHARE);
    let inhibitory = neurons.that_are(|neuron| neuron.cell_type == CellType::Inhibitory);
    let n_inhibitory = selected.intersection(&inhibitory).count();
    let sensitive = light_sensitive(neurons.kinds, share, seed).map_err(FitError::from)?;
    let chosen: BTreeSet<usize> = selected.intersection(&sensitive).copied().collect();
    if chosen.is_empty() {
        let (message, help) = if n_inhibitory == 0 {
            (
                format!(
                    "none of the {} neurons that --light selects is inhibitory",
                    selected.len()
                ),
                format!(
                    "light activates inhibitory neurons; the model has: {}",
                    neurons.populations()
                ),
            )
        } else {
            (
                format!("none of the {n_inhibitory} inhibitory neurons that --light selects is light-sensitive"),
                format!("raise --light-share above {share}, or drive all of them by --activate"),
            )
        };
        return Err(Error::Usage { message, help });
    }
    Ok(chosen)
}

/// The time axis of a model's trials.
pub(crate) struct Time {
    /// Start of the first bin relative to the event, ms.
    start_ms: f64,
    bin_ms: f64,
    n_steps: usize,
}

impl Time {
    /// Of trials that begin at `start_ms`.
    pub(crate) fn new(start_ms: f64, bin_ms: f64, n_steps: usize) -> Self {
        Self {
            start_ms,
            bin_ms,
            n_steps,
        }
    }

    pub(crate) fn of(assembly: &Assembly) -> Self {
        Self {
            start_ms: assembly.sessions.first().map_or(0.0, |session| session.start_ms),
            bin_ms: assembly.experiment.data.bin_ms,
            n_steps: assembly.n_steps(),
        }
    }

    /// Start of a bin, relative to the event.
    pub(crate) fn ms_of(&self, step: usize) -> f64 {
        self.start_ms + step as f64 * self.bin_ms
    }

    /// Bins of the window: its ends at the nearest starts of bins.
    fn window(&self, args: &PerturbationArgs) -> Result<Range<usize>, Error> {
        let Some(window) = args.window_ms else {
            return Ok(0..self.n_steps);
        };
        let (first, last) = (self.ms_of(0), self.ms_of(self.n_steps));
        // A thousandth of a bin, for ends that are not exact in decimal.
        let tolerance = self.bin_ms / 1000.0;
        if window.from < first - tolerance || window.to > last + tolerance {
            return Err(Error::Usage {
                message: format!(
                    "--window-ms {},{} reaches beyond the trial, which lasts from {first} to {last} ms",
                    window.from, window.to
                ),
                help: "times count from the event that trials are aligned to; without --window-ms the whole trial is \
                       perturbed"
                    .to_owned(),
            });
        }
        let step = |ms: f64| (((ms - self.start_ms) / self.bin_ms).round().max(0.0) as usize).min(self.n_steps);
        let steps = step(window.from)..step(window.to);
        if steps.is_empty() {
            return Err(Error::Usage {
                message: format!("--window-ms {},{} is shorter than a time step", window.from, window.to),
                help: format!("a time step takes {} ms", self.bin_ms),
            });
        }
        Ok(steps)
    }
}
