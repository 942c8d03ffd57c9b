//! Windows of trials: clamped to recorded spikes, free, or clamped at first and free then; and their gradients.

use super::SpikeHistory;
use crate::CoreError;
use crate::bits::{SpikeBits, for_each_set};
use crate::models::Parameters;
use crate::models::rsnn::{Draws, Engine, Rolled};
use crate::rng::Key;
use crate::rollout::{Clamp, Drive, Network, Noise, Run, SpikeAdjoint, State, Wanted, shape};
use ndarray::{Array1, Array2, Array3};

/// Recorded spikes that visible neurons are held to.
#[derive(Debug, Clone)]
pub struct Clamped {
    /// `[K, T, N_visible]`.
    pub spikes: SpikeBits,
    /// Steps of each window that are held, `[K]`: T clamps it wholly (teacher forcing), 0 leaves it free.
    pub until: Vec<u32>,
}

/// Windows that are simulated together.
#[derive(Debug, Clone, Default)]
pub struct Windows {
    /// Number of windows K.
    pub n_windows: usize,
    /// Steps T of each.
    pub n_steps: usize,
    /// Recorded spikes of the D steps before, `[K, D, N_visible]`, oldest first; silence where there is none. Hidden neurons
    /// are silent before a window.
    pub history: Option<SpikeBits>,
    /// What visible neurons are held to; all are free where there is none.
    pub clamped: Option<Clamped>,
    /// What an encoder made of the stimulus, `[S, T, N]`, and the stimulus of each window.
    pub drive: Option<Drive>,
}

/// Simulated windows, with what the gradient needs.
#[derive(Debug)]
pub struct Sampled {
    /// Spike probabilities of all neurons given the past, `[K, T, N]`, those of clamped ones too.
    pub probabilities: Array3<f32>,
    rollout: Rolled,
    network: Network,
    run: Run,
}

/// Gradient of a loss of sampled windows.
#[derive(Debug, Clone)]
pub struct Gradient {
    /// With respect to `w` and `bias`.
    pub parameters: Parameters,
    /// With respect to the drive, `[S, T, N]`, for the encoder's backward pass.
    pub drive: Option<Array3<f32>>,
}

impl Sampled {
    /// Spikes `[K, T, N]`: recorded where clamped, drawn elsewhere.
    ///
    /// # Errors
    /// A device that fails.
    pub fn spikes(&self) -> Result<SpikeBits, CoreError> {
        Ok(self.rollout.spikes()?.into_owned())
    }
}

impl SpikeHistory {
    /// Simulates windows. Random numbers are those of stream `<stream>.noise`.
    ///
    /// # Errors
    /// Arrays that don't fit; a device that fails.
    pub fn sample(&self, engine: &Engine, windows: &Windows, draws: Draws<'_>) -> Result<Sampled, CoreError> {
        let network = self.network()?;
        let run = self.run(&network, windows, draws)?;
        let rollout = engine.simulate(&network, &run, true)?;
        let probabilities = rollout.probabilities(&network)?;
        Ok(Sampled {
            probabilities,
            rollout,
            network,
            run,
        })
    }

    pub(super) fn run(&self, network: &Network, windows: &Windows, draws: Draws<'_>) -> Result<Run, CoreError> {
        let (k, t) = (windows.n_windows, windows.n_steps);
        let (n, visible, lags) = (self.spec.n_neurons(), self.spec.n_visible, self.spec.lags);
        let mut initial = State::at_rest(k, lags, &Array1::zeros(n));
        if let Some(history) = &windows.history {
            shape("history of the windows", &history.shape(), &[k, lags, visible])?;
            initial.history = widen(history, n);
        }
        let clamp = match &windows.clamped {
            None => None,
            Some(clamped) => {
                shape("clamped spikes", &clamped.spikes.shape(), &[k, t, visible])?;
                shape("clamped steps of the windows", &[clamped.until.len()], &[k])?;
                Some(Clamp {
                    spikes: widen(&clamped.spikes, n),
                    until: Array2::from_shape_fn((k, n), |(k, j)| if j < visible { clamped.until[k] } else { 0 }),
                })
            }
        };
        let run = Run {
            n_trials: k,
            n_warmup: 0,
            n_steps: t,
            events: None,
            drive: windows.drive.clone(),
            trial_offset: None,
            noise: Noise::Philox {
                key: Key::new(draws.seed, &format!("{}.noise", draws.stream)),
                step: draws.step,
                first_trial: draws.first_trial,
                first_time: 0,
            },
            clamp,
            initial,
        };
        run.check(network)?;
        Ok(run)
    }

    /// Gradient of a loss, given its derivatives with respect to probabilities and, where they enter, spikes, `[K, T, N]`.
    ///
    /// dp/ds is exact everywhere; ds of later steps follow from a spike by the surrogate where it was drawn, and not at all
    /// where it was clamped.
    ///
    /// # Errors
    /// Derivatives of another shape; a device that fails.
    pub fn backward(
        &self,
        engine: &Engine,
        sampled: Sampled,
        d_probabilities: &Array3<f32>,
        d_spikes: Option<Array3<f32>>,
    ) -> Result<Gradient, CoreError> {
        let Sampled {
            rollout, network, run, ..
        } = sampled;
        let adjoint = SpikeAdjoint {
            dense: d_spikes,
            ..SpikeAdjoint::default()
        };
        let wanted = Wanted {
            drive: run.drive.is_some(),
            ..Wanted::default()
        };
        let gradients = engine.backpropagate(&network, &run, rollout, &adjoint, Some(d_probabilities), wanted)?;
        let mut parameters = Parameters::new();
        parameters.insert("w", self.through_basis(&gradients.w, true));
        parameters.insert("bias", gradients.bias);
        Ok(Gradient {
            parameters,
            drive: gradients.drive,
        })
    }
}

/// Spikes of visible neurons as those of all `n`, the hidden ones silent.
fn widen(spikes: &SpikeBits, n: usize) -> SpikeBits {
    let [k, t, visible] = spikes.shape();
    if visible == n {
        return spikes.clone();
    }
    let mut out = SpikeBits::zeros(k, t, n);
    for trial in 0..k {
        for step in 0..t {
            for_each_set(spikes.row(trial, step), |i| out.set(trial, step, i));
        }
    }
    out
}
