//! Perturbation in silico: silencing or activating neurons in a window of freely simulated trials.
//!
//! A perturbed trial draws the random numbers of the unperturbed one: until the window begins the two are the same, bit by bit,
//! and afterwards they differ by what the perturbation causes. Simulation only: nothing here has a gradient.

use super::{SpikeHistory, Windows};
use crate::CoreError;
use crate::bits::SpikeBits;
use crate::models::rsnn::{Draws, Engine};
use crate::rollout::{Network, Run};
use ndarray::Axis;
use std::collections::BTreeSet;
use std::ops::Range;

/// Potential at which a neuron never spikes: finite, because 0 times infinity is no number.
const HELD: f32 = -1e30;

/// Neurons, when, and what is done to them.
#[derive(Debug, Clone, PartialEq)]
pub struct Perturbation {
    /// The neurons, indices in model order.
    pub neurons: BTreeSet<usize>,
    /// Steps, the first included, the last not.
    pub window: Range<usize>,
    /// What is done to them.
    pub effect: Effect,
}

/// What is done to the neurons of a perturbation at every step t of its window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect {
    /// What they send or get is removed, or their spikes are.
    Silence(Silenced),
    /// A constant drive: `u(t) = … + ρ θ`, so the logarithm of the odds of a spike grows by temperature · ρ.
    Activate {
        /// ρ, finite, in units of the threshold θ.
        strength: f64,
    },
}

/// What silencing removes, at the step at which it arrives: a spike of the last steps of the window acts after it, by the rest of
/// its kernels, and one from before the window doesn't act within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Silenced {
    /// Their spikes change no other neuron. The history of their own, which stands for refractoriness and bursts, stays.
    Outgoing,
    /// Neither spikes of other neurons nor the drive reach them; they go on firing by bias and own history.
    Incoming,
    /// Both.
    #[default]
    Both,
    /// They don't fire. What they fired before the window acts on, as in a recording of a neuron that is switched off.
    Held,
}

impl Perturbation {
    /// Checks it against N neurons and T steps.
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
        if self.window.is_empty() || self.window.end > n_steps {
            let end = self.window.end as f64;
            return refuse(
                "end of a perturbation's window",
                end,
                "after its start, at most the number of steps",
            );
        }
        match self.effect {
            Effect::Activate { strength } if !strength.is_finite() => {
                refuse("strength of a perturbation", strength, "finite")
            }
            _ => Ok(()),
        }
    }

    fn apply(&self, network: &mut Network, run: &mut Run) {
        for &n in &self.neurons {
            match self.effect {
                Effect::Silence(Silenced::Held) => network.bias[n] = HELD,
                Effect::Silence(silenced) => {
                    let own = network.w.slice(ndarray::s![.., n, n]).to_owned();
                    if silenced != Silenced::Incoming {
                        network.w.index_axis_mut(Axis(1), n).fill(0.0);
                    }
                    if silenced != Silenced::Outgoing {
                        network.w.index_axis_mut(Axis(2), n).fill(0.0);
                        if let Some(drive) = &mut run.drive {
                            drive.values.index_axis_mut(Axis(2), n).fill(0.0);
                        }
                    }
                    network.w.slice_mut(ndarray::s![.., n, n]).assign(&own);
                }
                Effect::Activate { strength } => {
                    network.bias[n] += (strength * f64::from(network.threshold[n])) as f32;
                }
            }
        }
    }
}

impl SpikeHistory {
    /// Spikes `[K, T, N]` of windows that are simulated as [`SpikeHistory::sample`] does, with these perturbations; those of one
    /// neuron add up. Neurons that are clamped keep their recorded spikes.
    ///
    /// A window is simulated in segments, cut where a perturbation begins or ends. Without perturbation, or with one of strength
    /// 0, spikes are those of [`SpikeHistory::sample`], bit by bit.
    ///
    /// # Errors
    /// As [`SpikeHistory::sample`] and [`Perturbation::check`].
    pub fn simulate(
        &self,
        engine: &Engine,
        windows: &Windows,
        draws: Draws<'_>,
        perturbations: &[Perturbation],
    ) -> Result<SpikeBits, CoreError> {
        let n_steps = windows.n_steps;
        for perturbation in perturbations {
            perturbation.check(self.spec.n_neurons(), n_steps)?;
        }
        let network = self.network()?;
        let run = self.run(&network, windows, draws)?;
        let mut cuts = BTreeSet::from([0, n_steps]);
        cuts.extend(perturbations.iter().flat_map(|p| [p.window.start, p.window.end]));
        let cuts: Vec<usize> = cuts.into_iter().collect();
        let mut spikes = SpikeBits::zeros(run.n_trials, n_steps, self.spec.n_neurons());
        let mut state = run.initial.clone();
        for ends in cuts.windows(2) {
            let mut segment = run.segment(ends[0]..ends[1], state)?;
            let mut changed = network.clone();
            for perturbation in perturbations.iter().filter(|p| p.window.contains(&ends[0])) {
                perturbation.apply(&mut changed, &mut segment);
            }
            let rolled = engine.simulate(&changed, &segment, false)?;
            spikes.set_steps(ends[0], rolled.spikes()?.as_ref());
            state = rolled.end()?;
        }
        Ok(spikes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::spike_history::{Basis, SpikeHistorySpec};
    use crate::rollout::Drive;
    use ndarray::{Array3, s};

    const T: usize = 60;
    const K: usize = 400;
    const WINDOW: Range<usize> = 20..40;

    /// Neuron 0 drives neuron 1 after one step; neuron 2 has a strong history of its own; neuron 3 is hidden and free of all.
    fn network() -> SpikeHistory {
        let spec = SpikeHistorySpec {
            n_visible: 3,
            n_hidden: 1,
            lags: 2,
            basis: Basis::Raw,
            threshold: 0.4,
            temperature: 1.0,
            gamma: 0.3,
        };
        let mut model = SpikeHistory::new(spec, 1).unwrap();
        let mut w = Array3::<f32>::zeros((2, 4, 4));
        w[[0, 0, 1]] = 1.6;
        w[[0, 2, 2]] = -1.6;
        model.parameters.insert("w", w);
        model
            .parameters
            .insert("bias", ndarray::arr1(&[-0.2f32, -0.8, 0.4, 0.0]));
        model
    }

    fn spikes(perturbations: &[Perturbation]) -> Array3<u8> {
        let windows = Windows {
            n_windows: K,
            n_steps: T,
            drive: Some(Drive {
                values: Array3::from_shape_fn((1, T, 4), |(_, _, n)| if n == 1 { 0.4 } else { 0.0 }),
                index: vec![0; K],
            }),
            ..Windows::default()
        };
        let draws = Draws {
            seed: 3,
            step: 0,
            stream: "test",
            first_trial: 0,
        };
        let model = network();
        let found = model.simulate(&Engine::Native, &windows, draws, perturbations).unwrap();
        if perturbations.is_empty() {
            let sampled = model.sample(&Engine::Native, &windows, draws).unwrap();
            assert_eq!(found, sampled.spikes().unwrap());
        }
        found.to_array()
    }

    fn of(neuron: usize, effect: Effect) -> Vec<Perturbation> {
        vec![Perturbation {
            neurons: BTreeSet::from([neuron]),
            window: WINDOW,
            effect,
        }]
    }

    /// Spikes per step of a neuron within the window, but for its first two steps.
    fn rate(spikes: &Array3<u8>, n: usize) -> f64 {
        let part = spikes.slice(s![.., WINDOW.start + 2..WINDOW.end, n]);
        part.iter().map(|&z| f64::from(z)).sum::<f64>() / part.len() as f64
    }

    fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    #[test]
    fn each_way_of_silencing_removes_what_it_says_and_nothing_before_the_window() {
        let plain = spikes(&[]);
        // 7200 draws: a standard error below 0.006.
        let is = |found: f64, expected: f64| assert!((found - expected).abs() < 0.03, "{found} {expected}");
        let p0 = sigmoid((-0.2 - 0.4) / 0.4);
        let (low, high) = (sigmoid(-2.0), sigmoid(-2.0 + 4.0));
        is(rate(&plain, 1), p0 * high + (1.0 - p0) * low);
        // A renewal with p after silence and p' after a spike: the stationary rate solves r = p (1 - r) + p' r.
        let (p, after) = (sigmoid(0.0), sigmoid(-4.0));
        let own = p / (1.0 + p - after);
        is(rate(&plain, 2), own);
        for (silenced, expected) in [
            (Silenced::Outgoing, [p0, low]),
            (Silenced::Incoming, [p0, p0 * high + (1.0 - p0) * low]),
            (Silenced::Both, [p0, low]),
            (Silenced::Held, [0.0, low]),
        ] {
            let found = spikes(&of(0, Effect::Silence(silenced)));
            assert_eq!(found.slice(s![.., ..20, ..]), plain.slice(s![.., ..20, ..]));
            is(rate(&found, 0), expected[0]);
            is(rate(&found, 1), expected[1]);
            assert_eq!(
                found.slice(s![.., .., 3]),
                plain.slice(s![.., .., 3]),
                "neuron 3 hears of nothing"
            );
        }
        // What reaches neuron 1 is a drive of 0.4 and neuron 0.
        let cut = spikes(&of(1, Effect::Silence(Silenced::Incoming)));
        is(rate(&cut, 1), sigmoid(-3.0));
        // Own history stays.
        for silenced in [Silenced::Outgoing, Silenced::Incoming, Silenced::Both] {
            is(rate(&spikes(&of(2, Effect::Silence(silenced))), 2), own);
        }
    }

    #[test]
    fn a_drive_of_the_threshold_multiplies_the_odds_and_one_of_0_changes_nothing() {
        let plain = spikes(&[]);
        assert_eq!(spikes(&of(0, Effect::Activate { strength: 0.0 })), plain);
        let driven = spikes(&of(3, Effect::Activate { strength: 1.5 }));
        let found = rate(&driven, 3);
        assert!((found - sigmoid(-1.0 + 1.5)).abs() < 0.03, "{found}");
        let n = plain.dim().2;
        for other in 0..n - 1 {
            assert_eq!(driven.slice(s![.., .., other]), plain.slice(s![.., .., other]));
        }
        for bad in [
            of(4, Effect::Activate { strength: 1.0 }),
            of(0, Effect::Activate { strength: f64::NAN }),
            vec![Perturbation {
                neurons: BTreeSet::from([0]),
                window: 50..T + 1,
                effect: Effect::Silence(Silenced::Both),
            }],
        ] {
            let windows = Windows {
                n_windows: 1,
                n_steps: T,
                ..Windows::default()
            };
            let draws = Draws {
                seed: 0,
                step: 0,
                stream: "test",
                first_trial: 0,
            };
            assert!(network().simulate(&Engine::Native, &windows, draws, &bad).is_err());
        }
    }
}
