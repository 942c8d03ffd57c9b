//! Does it make sense when units are said to have been observed?

use ndarray::{Array2, Array3};

use super::parts::Parts;
use crate::error::Findings;
use crate::presence::Stretches;

/// Checks the stretches of all units; whether they can be used.
pub(super) fn check_stretches(parts: &Parts<'_>, stretches: &[Stretches], at: &str, findings: &mut Findings) -> bool {
    let path = format!("{at}/units/obs_intervals");
    let n_problems = findings.problems.len();
    if let Some(units) = &parts.units
        && stretches.len() != units.n
    {
        findings.problem(
            format!("{at}/units/obs_intervals_index"),
            format!(
                "intervals of {} units, but {} units are listed",
                stretches.len(),
                units.n
            ),
        );
    }
    for (n, own) in stretches.iter().enumerate() {
        let here = format!("{path}, {}", parts.unit_name(n));
        // One of length 0 says that the unit was never observed.
        let is_interval = |(start, stop): &(f64, f64)| start.is_finite() && stop.is_finite() && start <= stop;
        if let Some(i) = own.iter().position(|interval| !is_interval(interval)) {
            let (start, stop) = own[i];
            findings.problem(
                here,
                format!("interval {i} runs from {start} s to {stop} s: not an interval"),
            );
        } else if let Some(i) = own.windows(2).position(|pair| pair[1].0 < pair[0].1) {
            findings.problem(
                here,
                format!(
                    "interval {} starts at {} s, before interval {i} ends at {} s; intervals must follow one another",
                    i + 1,
                    own[i + 1].0,
                    own[i].1
                ),
            );
        }
    }
    findings.problems.len() == n_problems
}

/// Checks the mask of binned activity.
pub(super) fn check_presence(
    parts: &Parts<'_>,
    counts: &Array3<u8>,
    presence: &Array2<bool>,
    at: &str,
    findings: &mut Findings,
) {
    let path = format!("{at}/binned/presence");
    let (n_trials, _, n_units) = counts.dim();
    if presence.dim() != (n_trials, n_units) {
        findings.problem(
            path,
            format!(
                "shape {:?} [trials, units], but the spikes have {n_trials} trials and {n_units} units",
                presence.shape()
            ),
        );
        return;
    }
    let spikes = |k: usize, n: usize| counts.slice(ndarray::s![k, .., n]).iter().any(|&count| count > 0);
    let odd = |n: &usize| (0..n_trials).any(|k| !presence[[k, *n]] && spikes(k, *n));
    let units: Vec<usize> = (0..n_units).filter(odd).collect();
    if !units.is_empty() {
        findings.warning(
            path,
            format!(
                "{} of {n_units} units have spikes in trials that they were not observed in; these are not counted: units {}",
                units.len(),
                parts.unit_list(&units)
            ),
        );
    }
}
