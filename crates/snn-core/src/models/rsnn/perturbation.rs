//! Perturbation in silico: silencing or activating neurons of a network in a window of the trial.
//!
//! A perturbed trial draws the random numbers of the unperturbed one, so that the two differ by what the perturbation
//! causes and nothing else; before the window they are the same, bit by bit. Simulation only: nothing here has a gradient.

use super::readout::Readout;
use super::simulate::{Draws, Engine, Prepared};
use super::{Rsnn, Trials};
use crate::CoreError;
use crate::bits::SpikeBits;
use crate::connectivity::{CellType, Neuron};
use crate::rng::{self, Key, Place};
use crate::rollout::{Network, Run, TrialOffset};
use ndarray::{Array2, Array3, Axis, concatenate};
use std::collections::BTreeSet;
use std::ops::Range;

/// Neurons, when, and what is done to them.
#[derive(Debug, Clone, PartialEq)]
pub struct Perturbation {
    /// The neurons, indices in model order.
    pub neurons: BTreeSet<usize>,
    /// Steps of the recorded trial, the first included, the last not; the warm-up is never perturbed.
    pub window: Range<usize>,
    /// What is done to them.
    pub effect: Effect,
}

/// What is done to the neurons of a perturbation at every step t of its window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect {
    /// Synaptic currents are removed; the neurons go on spiking by their resting potential, noise and latent offset.
    Silence(Silenced),
    /// A constant drive of this strength ρ, in units of the distance from resting potential to threshold:
    ///
    /// ```text
    /// v⁻(t) = … + (1 − α)·ρ·(θ − v_rest)
    /// ```
    /// like a current step of that height: the mean potential of a neuron that doesn't spike moves by ρ times the
    /// distance, with the membrane's time constant. 1 brings a neuron at rest to its threshold; below 0 it is held down.
    Activate {
        /// ρ, finite.
        strength: f64,
    },
}

/// Which synaptic currents silencing removes, at the step at which they arrive: a spike of the last steps of the window
/// still arrives after it, if its delay takes that long, and one from before the window doesn't arrive within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Silenced {
    /// From the neurons: their spikes reach no neuron by a synapse (their rows of W are 0). The readout of behaviour still
    /// sees them, and in a closed loop its feedback still reaches all neurons.
    Outgoing,
    /// To the neurons: neither recurrent spikes nor inputs nor a recorded stimulus nor feedback of behaviour reach them
    /// (their gain is 0).
    Incoming,
    /// Both.
    #[default]
    Both,
}

/// Trials of a perturbed network.
#[derive(Debug, Clone)]
pub struct PerturbedTrials {
    /// Spikes of the recorded steps `[K, T, N]`.
    pub spikes: SpikeBits,
    /// Behaviour traces `[K, T, B]`, if the network has a readout.
    pub behaviour: Option<Array3<f64>>,
}

/// Inhibitory neurons that light activates: each by itself with probability `share`, by stream `"light"` of `seed`.
///
/// Whether a neuron is among them depends on the seed and its index alone, as if the network expressed its opsin once: a
/// larger share adds neurons and takes none away.
///
/// # Errors
/// [`CoreError::Range`] for a share outside 0 to 1.
///
/// # Source
/// Specification §1.1 ("light" neurons, published share 0.51; there the draw is unused).
pub fn light_sensitive(neurons: &[Neuron], share: f64, seed: u64) -> Result<BTreeSet<usize>, CoreError> {
    if !(0.0..=1.0).contains(&share) {
        return Err(CoreError::Range {
            what: "share of light-sensitive neurons".into(),
            value: share,
            expected: "from 0 to 1",
        });
    }
    let mut uniforms = vec![0.0f32; neurons.len()];
    let place = Place {
        time: 0,
        trial: 0,
        step: 0,
    };
    rng::fill_uniforms(Key::new(seed, "light"), place, &mut uniforms);
    let is_sensitive = |(neuron, u): (&Neuron, &f32)| neuron.cell_type == CellType::Inhibitory && f64::from(*u) < share;
    let drawn = neurons.iter().zip(&uniforms).enumerate();
    Ok(drawn.filter(|(_, pair)| is_sensitive(*pair)).map(|(n, _)| n).collect())
}

impl Perturbation {
    /// Checks it against N neurons and T recorded steps.
    ///
    /// # Errors
    /// No neuron, a neuron that the network doesn't have, a window that is empty or ends after the trial, a strength that
    /// isn't finite.
    pub fn check(&self, n_neurons: usize, n_steps: usize) -> Result<(), CoreError> {
        let refuse = |what: &str, value: f64, expected| {
            Err(CoreError::Range {
                what: what.into(),
                value,
                expected,
            })
        };
        let Some(last) = self.neurons.last() else {
            return Err(CoreError::Population {
                what: "a perturbation of no neuron".into(),
            });
        };
        if *last >= n_neurons {
            return refuse("neuron of a perturbation", *last as f64, "below the number of neurons");
        }
        if self.window.is_empty() {
            return refuse(
                "end of a perturbation's window",
                self.window.end as f64,
                "after its start",
            );
        }
        if self.window.end > n_steps {
            let end = self.window.end as f64;
            return refuse("end of a perturbation's window", end, "at most the number of steps");
        }
        match self.effect {
            Effect::Activate { strength } if !strength.is_finite() => {
                refuse("strength of a perturbation", strength, "finite")
            }
            _ => Ok(()),
        }
    }
}

impl Rsnn {
    /// Simulates trials as [`Rsnn::simulate`] does, with these perturbations; perturbations of one neuron add up.
    ///
    /// A trial is simulated in segments, cut where a window begins or ends. Without perturbation, or with one of strength
    /// 0, spikes and behaviour are those of [`Rsnn::simulate`], bit by bit.
    ///
    /// # Errors
    /// As [`Rsnn::simulate`] and [`Perturbation::check`].
    pub fn simulate_perturbed(
        &self,
        engine: &Engine,
        trials: &Trials,
        n_steps: usize,
        draws: Draws<'_>,
        perturbations: &[Perturbation],
    ) -> Result<PerturbedTrials, CoreError> {
        for perturbation in perturbations {
            perturbation.check(self.spec.n_neurons(), n_steps)?;
        }
        let Prepared { network, run, .. } = self.prepare(trials, n_steps, draws)?;
        let readout = Readout::new(&self.spec, &self.parameters)?;
        let channels = readout.as_ref().map(Readout::channels);
        let mut spikes = SpikeBits::zeros(run.n_trials, n_steps, self.spec.n_neurons());
        let (mut warmup, mut recorded) = (Vec::new(), Vec::new());
        let mut state = run.initial.clone();
        for steps in segments(perturbations, run.n_warmup, n_steps) {
            let segment = run.segment(steps.clone(), state)?;
            let first = steps.start.checked_sub(run.n_warmup);
            let active = perturbations
                .iter()
                .filter(|p| first.is_some_and(|t| p.window.contains(&t)));
            let rolled = match self.perturbed(active, &network, &segment) {
                Some((network, segment)) => engine.simulate(&network, &segment, false)?,
                None => engine.simulate(&network, &segment, false)?,
            };
            if let Some(t) = first {
                spikes.set_steps(t, rolled.spikes()?.as_ref());
            }
            if let Some(channels) = &channels {
                let part = rolled.project(channels)?;
                if first.is_some() { &mut recorded } else { &mut warmup }.push(part);
            }
            state = rolled.end()?;
        }
        let behaviour = readout.map(|readout| {
            let n_traces = readout.channels().len();
            let before = readout.at_rest(run.n_trials);
            let [warmup, recorded] = [warmup, recorded].map(|parts| join(&parts, run.n_trials, n_traces));
            let (_, filtered) = readout.follow(before, warmup, recorded);
            readout.traces(&filtered)
        });
        Ok(PerturbedTrials { spikes, behaviour })
    }

    /// Network and run of a segment (see [`segments`]) in which these perturbations are active, or none if there are none.
    pub fn perturbed<'p>(
        &self,
        active: impl Iterator<Item = &'p Perturbation>,
        network: &Network,
        run: &Run,
    ) -> Option<(Network, Run)> {
        let mut active = active.peekable();
        active.peek()?;
        let (mut network, mut run) = (network.clone(), run.clone());
        let alpha = self.alpha();
        for perturbation in active {
            match perturbation.effect {
                Effect::Silence(silenced) => {
                    for &n in &perturbation.neurons {
                        if silenced != Silenced::Incoming {
                            network.w.index_axis_mut(Axis(1), n).fill(0.0);
                        }
                        if silenced != Silenced::Outgoing {
                            network.gain[n] = 0.0;
                            if let Some(drive) = &mut run.drive {
                                drive.values.index_axis_mut(Axis(2), n).fill(0.0);
                            }
                        }
                    }
                }
                Effect::Activate { strength } => {
                    let none = || {
                        let values = Array2::zeros((run.n_trials, network.n_neurons()));
                        TrialOffset::constant(values, run.n_steps)
                    };
                    // The shares of its rows sum to 1, so that what is added to all of them is added at all steps.
                    let offset = &mut run.trial_offset.get_or_insert_with(none).values;
                    for &n in &perturbation.neurons {
                        // The cell's reset is the distance from resting potential to threshold.
                        let drive = (1.0 - alpha[n]) * strength * f64::from(network.reset[n]);
                        let mut driven = offset.index_axis_mut(Axis(2), n);
                        driven.mapv_inplace(|c| c + drive as f32);
                    }
                }
            }
        }
        Some((network, run))
    }
}

/// Steps (warm-up included in the count) between which nothing changes, in order: the warm-up, then the recorded steps
/// cut at the windows' ends.
pub fn segments(perturbations: &[Perturbation], n_warmup: usize, n_steps: usize) -> Vec<Range<usize>> {
    let mut cuts = BTreeSet::from([0, n_warmup, n_warmup + n_steps]);
    for perturbation in perturbations {
        cuts.insert(n_warmup + perturbation.window.start);
        cuts.insert(n_warmup + perturbation.window.end);
    }
    let cuts: Vec<usize> = cuts.into_iter().collect();
    cuts.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

/// Parts `[K, ·, B]` one after another.
fn join(parts: &[Array3<f64>], n_trials: usize, n_traces: usize) -> Array3<f64> {
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    if views.is_empty() {
        return Array3::zeros((n_trials, 0, n_traces));
    }
    concatenate(Axis(1), &views).expect("parts of the same trials and traces")
}
