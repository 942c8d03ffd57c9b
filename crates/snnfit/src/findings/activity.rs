//! Silent and runaway areas, silent neurons: the model's mean rates against the recorded ones.

use losses::statistics::mean;

use super::{Finding, Kind, Severity, number, percent};
use crate::few_spikes;

/// Below this share of the recorded rate a neuron or area is silent: its gradient and its effect on others all but vanish.
const SILENT_SHARE: f64 = 0.1;
/// Above this multiple of the recorded rate an area has run away: further than any mean rate strays between sessions.
const RUNAWAY_FACTOR: f64 = 3.0;
/// Neurons below this recorded rate, Hz, are not called silent: a few hundred trials expect too few spikes of them.
const LEAST_RATE_HZ: f64 = 0.5;
/// From this share of neurons with few spikes on, trial averages say little of the recording.
const FEW_SPIKES_SHARE: f64 = 0.5;
/// So many silent neurons of those that could be are told, as a share: a few are the tail of any population.
const SILENT_NEURONS_SHARE: f64 = 0.05;
/// From this share of silent neurons on it is severe: then averages over neurons mislead.
const MANY_SILENT_SHARE: f64 = 0.25;

/// Mean rates of the neurons of one area that stand for recorded units, Hz.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AreaRates {
    /// The area.
    pub area: String,
    /// Rate of each neuron in the model.
    pub model_hz: Vec<f64>,
    /// Recorded rate of its unit, in the same order.
    pub recorded_hz: Vec<f64>,
}

/// Findings of rates.
pub fn of_rates(areas: &[AreaRates]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = areas.iter().filter_map(of_area).collect();
    findings.extend(silent_neurons(areas));
    findings
}

fn of_area(rates: &AreaRates) -> Option<Finding> {
    let (model, recorded) = (mean(&rates.model_hz), mean(&rates.recorded_hz));
    if !(model.is_finite() && recorded > 0.0) {
        return None;
    }
    let how_much = format!(
        "{} Hz in the model, {} Hz recorded ({}, mean over {} neurons)",
        number(model),
        number(recorded),
        percent(model / recorded),
        rates.model_hz.len()
    );
    let area = &rates.area;
    if is_silent(model, recorded) {
        return Some(Finding {
            kind: Kind::SilentArea,
            severity: Severity::Severe,
            what: format!("area {area} is silent in the model"),
            how_much,
            why: "neurons that don't fire pass on neither activity nor gradients: the area takes no part in what the \
                  network does"
                .to_owned(),
            remedy: "add the loss `loss.firing_rate`, which sees mean rates; more background: a larger \
                     `model.rsnn.input.poisson.rate_hz` or `model.rsnn.noise`; more steps: `train.max_steps`"
                .to_owned(),
        });
    }
    (model > RUNAWAY_FACTOR * recorded).then(|| Finding {
        kind: Kind::RunawayArea,
        severity: Severity::Severe,
        what: format!("area {area} fires far too much in the model"),
        how_much,
        why: "recurrent excitation drives the area, not its inputs: trial averages and responses to perturbations are \
              those of another regime"
            .to_owned(),
        remedy: "add the loss `loss.firing_rate`; lower `optimizer.adamw.lr` or `model.rsnn.current_scale`; keep fast \
                 neurons out with `data.max_rate_hz`"
            .to_owned(),
    })
}

fn silent_neurons(areas: &[AreaRates]) -> Option<Finding> {
    let (mut n, mut n_silent, mut worst) = (0, 0, Vec::new());
    for area in areas {
        let pairs = area.model_hz.iter().zip(&area.recorded_hz);
        let audible: Vec<_> = pairs.filter(|(_, recorded)| **recorded >= LEAST_RATE_HZ).collect();
        let silent = audible.iter().filter(|(m, r)| is_silent(**m, **r)).count();
        n += audible.len();
        n_silent += silent;
        if silent > 0 {
            worst.push(format!("{} {silent} of {}", area.area, audible.len()));
        }
    }
    let share = n_silent as f64 / n.max(1) as f64;
    (share >= SILENT_NEURONS_SHARE).then(|| Finding {
        kind: Kind::SilentNeurons,
        severity: if share >= MANY_SILENT_SHARE {
            Severity::Severe
        } else {
            Severity::Moderate
        },
        what: format!("{n_silent} of {n} neurons hardly fire in the model"),
        how_much: format!(
            "less than {} of their recorded rate ({} of the neurons above {LEAST_RATE_HZ} Hz; {})",
            percent(SILENT_SHARE),
            percent(share),
            worst.join(", ")
        ),
        why: "the PSTH loss can hardly move a neuron that doesn't spike".to_owned(),
        remedy: "add the loss `loss.firing_rate`; let resting potentials be fitted with \
                 `model.rsnn.train_resting_potential`; raise `model.rsnn.noise`"
            .to_owned(),
    })
}

fn is_silent(model_hz: f64, recorded_hz: f64) -> bool {
    recorded_hz > 0.0 && model_hz < SILENT_SHARE * recorded_hz
}

/// A finding where recorded neurons have too few spikes for a PSTH.
pub fn of_few_spikes(n_few: usize, n_recorded: usize, min_spikes: u64) -> Option<Finding> {
    let share = n_few as f64 / n_recorded.max(1) as f64;
    (n_few > 0).then(|| Finding {
        kind: Kind::FewSpikes,
        severity: if share > FEW_SPIKES_SHARE {
            Severity::Moderate
        } else {
            Severity::Mild
        },
        what: "recorded neurons have few spikes".to_owned(),
        how_much: format!(
            "{} ({})",
            few_spikes::in_words(n_few, n_recorded, min_spikes),
            percent(share)
        ),
        why: "their trial averages are mostly noise: they count less in the PSTH loss, and PSTH metrics leave them out".to_owned(),
        remedy: "`few_spikes` of manifest.json and metrics.json says which; leave units of doubtful quality out of the recording, \
                 or change the limit with `statistics.min_spikes`"
            .to_owned(),
    })
}
