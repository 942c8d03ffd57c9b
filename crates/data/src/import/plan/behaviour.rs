//! Behaviour: which channel of which series, and times that increase.

use std::collections::BTreeMap;

use super::{BehaviourPlan, Channel, ImportPlan, Told};
use crate::import::source::{Series, Source};
use crate::recording::{Behaviour, BehaviourSamples, Timing};

/// Names of the first channels of a position, where a file has none.
const AXES: [&str; 3] = ["x", "y", "z"];

impl ImportPlan {
    /// Traces of a source; a series that it doesn't have is told, because others may have it.
    pub(super) fn traces(&self, source: &Source, told: &mut Told) -> BTreeMap<String, Behaviour> {
        let mut traces = BTreeMap::new();
        for (name, plan) in &self.behaviour {
            match source.series_named(&plan.series) {
                Some(series) => {
                    if let Some(trace) = trace(name, plan, series, told) {
                        traces.insert(name.clone(), trace);
                    }
                }
                None => told.warn(
                    &format!("behaviour.{name}"),
                    format!("there is no series '{}'", plan.series),
                ),
            }
        }
        traces
    }
}

fn trace(name: &str, plan: &BehaviourPlan, series: &Series, told: &mut Told) -> Option<Behaviour> {
    let key = format!("behaviour.{name}");
    let Some(samples) = &series.samples else {
        told.refuse(&key, format!("the values of '{}' were not read", plan.series));
        return None;
    };
    let n_channels = samples.values.ncols();
    let channels = || match series.channels.as_slice() {
        [] => format!("channels: 0 to {}", n_channels.saturating_sub(1)),
        names => format!("channels: {}", names.join(", ")),
    };
    let channel = match &plan.channel {
        None if n_channels == 1 => 0,
        None => {
            let message = format!(
                "'{}' has {n_channels} channels; {key}.channel says which, or --behaviour {name}={}:0 for the first one ({})",
                plan.series,
                plan.series,
                channels()
            );
            told.refuse(&key, message);
            return None;
        }
        Some(Channel::Number(channel)) if *channel < n_channels => *channel,
        Some(Channel::Name(wanted)) if series.channels.contains(wanted) => {
            series.channels.iter().position(|name| name == wanted).unwrap_or(0)
        }
        Some(wanted) => {
            let hint = match wanted {
                Channel::Name(wanted) if series.channels.is_empty() => {
                    let axis = AXES.iter().position(|axis| wanted.eq_ignore_ascii_case(axis));
                    let number = axis.filter(|axis| *axis < n_channels).unwrap_or(0);
                    format!(
                        ", which have no names (hint: --behaviour {name}={}:{number} takes one by its number)",
                        plan.series
                    )
                }
                _ => String::new(),
            };
            let message = format!("'{}' doesn't have that channel; {}{hint}", plan.series, channels());
            told.refuse(&format!("{key}.channel"), message);
            return None;
        }
    };
    let values = samples.values.column(channel).to_vec();
    let (values, timing) = match &samples.timing {
        Timing::Rate { .. } => (values, samples.timing.clone()),
        Timing::Timestamps(times) => increasing(values, times, &key, told),
    };
    Some(Behaviour {
        samples: BehaviourSamples::Continuous { values, timing },
        unit: series.unit.clone(),
    })
}

/// Leaves out samples whose time is not after that of the one before.
fn increasing(values: Vec<f32>, times: &[f64], key: &str, told: &mut Told) -> (Vec<f32>, Timing) {
    let mut last = f64::NEG_INFINITY;
    let n = values.len();
    let kept = values.into_iter().zip(times).filter(|(_, time)| {
        let is_later = time.is_finite() && **time > last;
        if is_later {
            last = **time;
        }
        is_later
    });
    let (values, times): (Vec<f32>, Vec<f64>) = kept.unzip();
    let n_out = n - values.len();
    if n_out > 0 {
        told.warn(
            key,
            format!("{n_out} of {n} samples are not after the one before, or have no time; they are left out"),
        );
    }
    (values, Timing::Timestamps(times))
}
