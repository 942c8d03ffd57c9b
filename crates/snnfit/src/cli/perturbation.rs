//! Options of a perturbation in silico, shared by `simulate` and `evaluate`.

use std::str::FromStr;

use clap::{ArgGroup, Args, ValueEnum};

use crate::perturbation::Selection;

const HEADING: &str = "Perturbation";

/// Which neurons are perturbed, how and when.
#[derive(Debug, Clone, Default, Args)]
#[command(group = ArgGroup::new("perturbation").args(["silence", "activate", "light"]).multiple(true))]
#[command(group = ArgGroup::new("drive").args(["activate", "light"]).multiple(true))]
pub struct PerturbationArgs {
    /// Remove the synaptic currents of these neurons; may be repeated. SEL is area:NAME, type:exc, type:inh,
    /// neuron:SESSION/UNIT (neuron:UNIT where sessions share units), neuron:hidden/N or file:PATH (an id per line); + means "and", as
    /// in area:wS2+type:inh
    #[arg(long, value_name = "SEL", help_heading = HEADING)]
    pub silence: Vec<Selection>,
    /// Drive these neurons by a constant current; may be repeated
    #[arg(long, value_name = "SEL", help_heading = HEADING)]
    pub activate: Vec<Selection>,
    /// Drive the light-sensitive inhibitory neurons among these, drawn by the seed of the run; may be repeated
    #[arg(long, value_name = "SEL", help_heading = HEADING)]
    pub light: Vec<Selection>,
    /// Currents that --silence removes: from the neurons, to them, or both; or held: they don't fire (spike_history only); default:
    /// both
    #[arg(long, value_name = "WHAT", value_enum, requires = "silence", help_heading = HEADING)]
    pub silence_what: Option<SilencedName>,
    /// When, relative to the event that trials are aligned to, in ms; default: the whole trial
    #[arg(
        long,
        value_name = "FROM,TO",
        requires = "perturbation",
        allow_hyphen_values = true,
        help_heading = HEADING
    )]
    pub window_ms: Option<WindowMs>,
    /// Strength of --activate and --light, in units of the distance from resting potential to threshold (spike_history: of the
    /// threshold, so 1 multiplies the odds of a spike by e where the temperature is 1); default: 1
    #[arg(long, value_name = "X", requires = "drive", allow_negative_numbers = true, value_parser = finite, help_heading = HEADING)]
    pub strength: Option<f64>,
    /// Share of inhibitory neurons that are light-sensitive; default: 0.51
    #[arg(long, value_name = "X", requires = "light", value_parser = share, help_heading = HEADING)]
    pub light_share: Option<f64>,
}

impl PerturbationArgs {
    /// Whether no neuron is perturbed.
    pub fn is_empty(&self) -> bool {
        self.silence.is_empty() && self.activate.is_empty() && self.light.is_empty()
    }
}

/// What silencing removes, on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum SilencedName {
    /// Their spikes reach no other neuron by a synapse; behaviour is still read out from them, and may feed back. In a spike_history
    /// network what their spikes do to themselves stays.
    Outgoing,
    /// No spike, input, recorded stimulus or feedback of behaviour reaches them.
    Incoming,
    /// Both.
    #[default]
    Both,
    /// They don't fire (spike_history only).
    Held,
}

/// A window in ms, relative to the event that trials are aligned to; finite, the end after the start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowMs {
    /// Start.
    pub from: f64,
    /// End.
    pub to: f64,
}

impl FromStr for WindowMs {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|ms| ms.is_finite());
        match text.split_once(',').map(|(from, to)| (number(from), number(to))) {
            Some((Some(from), Some(to))) if from < to => Ok(Self { from, to }),
            Some((Some(_), Some(_))) => Err("the window must end after it starts".to_owned()),
            _ => Err("expected two numbers in ms, for example 0,100".to_owned()),
        }
    }
}

fn finite(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err("expected a finite number".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(value),
        _ => Err("expected a number above 0, up to 1".to_owned()),
    }
}
