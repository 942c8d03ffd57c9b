//! The continuous quantities of a simulation in double precision, on the host.
//!
//! What is here: the f64 twin of the f32 arrays of [`Network`] and [`Run`], with every random number drawn, so that
//! the reference engine can be held against oracles and finite differences at f64. What isn't: whole numbers
//! (delays, refractory steps, input events, clamps, the stimulus of a trial) stay in the network and the run.

use super::super::{Gradients, Network, Noise, Rollout, Run, State, Wanted, shape};
use crate::CoreError;
use crate::bits::SpikeBits;
use crate::rng::{Place, fill_uniforms_and_normals};
use crate::surrogate::Surrogate;
use ndarray::{Array1, Array2, Array3, s};

/// State between two steps, continuous parts in f64.
#[derive(Debug, Clone, PartialEq)]
pub struct State64 {
    /// Potential after reset v, `[K, N]`.
    pub v: Array2<f64>,
    /// Steps of silence left r, `[K, N]`.
    pub refractory: Array2<u8>,
    /// Spikes of the H steps before, `[K, H, N]`, oldest first; any number in the smooth mode.
    pub history: Array3<f64>,
}

/// Continuous quantities of a network and a run, in f64, with the noise drawn; allocates O(K·T·N).
///
/// The fields mean what those of [`Network`] and [`Run`] mean.
#[derive(Debug, Clone)]
pub struct Values {
    /// Signed recurrent weights `[D, N_pre, N_post]`.
    pub w: Array3<f64>,
    /// Signed input weights `[N_in, N]`.
    pub w_in: Array2<f64>,
    /// Membrane decay per step α, `[N]`.
    pub alpha: Array1<f64>,
    /// Gain g of the synaptic current, `[N]`.
    pub gain: Array1<f64>,
    /// Constant drive b per step, `[N]`.
    pub bias: Array1<f64>,
    /// Noise amplitude s per step, `[N]`.
    pub noise: Array1<f64>,
    /// Threshold θ, `[N]`.
    pub threshold: Array1<f64>,
    /// Scale h of the distance to threshold, `[N]`.
    pub scale: Array1<f64>,
    /// Reset R, `[N]`.
    pub reset: Array1<f64>,
    /// Slope of the spike probability.
    pub temperature: f64,
    /// Largest spike probability per step.
    pub p_scale: f64,
    /// Dampening γ of the network's surrogate.
    pub gamma: f64,
    /// Values of the trial offset, `[K, B, N]`, if the run has one.
    pub trial_offset: Option<Array3<f64>>,
    /// Drive per stimulus `[S, T, N]`, if the run has one.
    pub drive: Option<Array3<f64>>,
    /// Standard normals ε, `[K, warm-up + T, N]`.
    pub normals: Array3<f64>,
    /// Uniforms u, `[K, warm-up + T, N]`.
    pub uniforms: Array3<f64>,
    /// State before the first step of the warm-up.
    pub initial: State64,
}

/// What a simulation leaves behind, in f64.
#[derive(Debug, Clone)]
pub struct Rollout64 {
    /// Spikes of the warm-up `[K, warm-up, N]`; of the smooth mode, where its probabilities are above 0.
    pub warmup: SpikeBits,
    /// Spikes z of the recorded steps `[K, T, N]`: 0 or 1, or probabilities in the smooth mode.
    pub spikes: Array3<f64>,
    /// Where a neuron was refractory, `[K, T, N]`.
    pub refractory: SpikeBits,
    /// Potentials before reset v⁻, `[K, T, N]`.
    pub potentials: Array3<f64>,
    /// Spike probabilities p, `[K, T, N]`.
    pub probabilities: Array3<f64>,
    /// State at the first recorded step (after the warm-up).
    pub start: State64,
    /// State after the last step.
    pub end: State64,
}

/// Gradients in f64; the fields mean what those of [`Gradients`] mean, and all of them are there.
#[derive(Debug, Clone)]
pub struct Gradients64 {
    /// `[D, N_pre, N_post]`.
    pub w: Array3<f64>,
    /// `[N_in, N]`.
    pub w_in: Array2<f64>,
    /// dL/db, `[N]`.
    pub bias: Array1<f64>,
    /// dL/dθ, `[N]`.
    pub threshold: Array1<f64>,
    /// dL/dR, `[N]`.
    pub reset: Array1<f64>,
    /// dL/dg, `[N]`.
    pub gain: Array1<f64>,
    /// dL/ds, `[N]`.
    pub noise: Array1<f64>,
    /// dL/d of the values of the trial offset, `[K, B, N]`, if the run has one.
    pub trial_offset: Option<Array3<f64>>,
    /// dL/ddrive `[S, T, N]`, if the run has a drive.
    pub drive: Option<Array3<f64>>,
    /// dL/dz before the first recorded step, `[K, H, N]`.
    pub history: Array3<f64>,
}

impl State64 {
    pub(super) fn of(state: &State) -> Self {
        Self {
            v: state.v.mapv(f64::from),
            refractory: state.refractory.clone(),
            history: state.history.to_array().mapv(f64::from),
        }
    }

    fn to_state(&self) -> State {
        State {
            v: self.v.mapv(|v| v as f32),
            refractory: self.refractory.clone(),
            history: bits(&self.history),
            feedback: None,
        }
    }
}

impl Values {
    /// Converts the arrays of a network and a run, and draws the noise.
    ///
    /// # Errors
    /// When an array doesn't fit, see [`Run::check`].
    pub fn of(network: &Network, run: &Run) -> Result<Self, CoreError> {
        run.check(network)?;
        network.check_open("the engine reference")?;
        let (normals, uniforms) = draw(network, run);
        let gamma = match network.surrogate {
            Surrogate::Sigmoid { gamma } | Surrogate::Triangle { gamma } => f64::from(gamma),
        };
        Ok(Self {
            w: network.w.mapv(f64::from),
            w_in: network.w_in.mapv(f64::from),
            alpha: network.alpha.mapv(f64::from),
            gain: network.gain.mapv(f64::from),
            bias: network.bias.mapv(f64::from),
            noise: network.noise.mapv(f64::from),
            threshold: network.threshold.mapv(f64::from),
            scale: network.scale.mapv(f64::from),
            reset: network.reset.mapv(f64::from),
            temperature: f64::from(network.temperature),
            p_scale: f64::from(network.p_scale),
            gamma,
            trial_offset: run.trial_offset.as_ref().map(|offset| offset.values.mapv(f64::from)),
            drive: run.drive.as_ref().map(|drive| drive.values.mapv(f64::from)),
            normals,
            uniforms,
            initial: State64::of(&run.initial),
        })
    }

    /// Checks the arrays against the network and the run whose whole numbers go with them.
    ///
    /// # Errors
    /// The first array that doesn't fit.
    pub fn check(&self, network: &Network, run: &Run) -> Result<(), CoreError> {
        run.check(network)?;
        network.check_open("the engine reference")?;
        let (k, all, n, h) = (
            run.n_trials,
            run.n_warmup + run.n_steps,
            network.n_neurons(),
            network.max_delay(),
        );
        shape("recurrent weights", self.w.shape(), network.w.shape())?;
        shape("input weights", self.w_in.shape(), network.w_in.shape())?;
        for (what, a) in [
            ("membrane decay", &self.alpha),
            ("gain", &self.gain),
            ("bias", &self.bias),
            ("noise amplitude", &self.noise),
            ("threshold", &self.threshold),
            ("threshold scale", &self.scale),
            ("reset", &self.reset),
        ] {
            shape(what, a.shape(), &[n])?;
        }
        let offset = run
            .trial_offset
            .as_ref()
            .map_or(&[][..], |offset| offset.values.shape());
        shape(
            "trial offset",
            self.trial_offset.as_ref().map_or(&[][..], |offset| offset.shape()),
            offset,
        )?;
        let drive = run.drive.as_ref().map_or(&[][..], |drive| drive.values.shape());
        shape(
            "drive",
            self.drive.as_ref().map_or(&[][..], |drive| drive.shape()),
            drive,
        )?;
        shape("given normals", self.normals.shape(), &[k, all, n])?;
        shape("given uniforms", self.uniforms.shape(), &[k, all, n])?;
        shape("initial potential", self.initial.v.shape(), &[k, n])?;
        shape("initial refractory counter", self.initial.refractory.shape(), &[k, n])?;
        shape("initial history", self.initial.history.shape(), &[k, h, n])
    }
}

impl Rollout64 {
    /// The f32 form; every z above zero is a spike, so this is for the sampled mode.
    pub fn to_rollout(&self, keep_potentials: bool) -> Rollout {
        Rollout {
            warmup: self.warmup.clone(),
            spikes: bits(&self.spikes),
            refractory: self.refractory.clone(),
            potentials: keep_potentials.then(|| self.potentials.mapv(|v| v as f32)),
            traces: None,
            start: self.start.to_state(),
            end: self.end.to_state(),
        }
    }
}

impl Gradients64 {
    /// The f32 form, with the optional parts that are wanted.
    pub fn to_gradients(&self, wanted: Wanted) -> Gradients {
        Gradients {
            feedback: None,
            w: self.w.mapv(|g| g as f32),
            w_in: self.w_in.mapv(|g| g as f32),
            bias: self.bias.mapv(|g| g as f32),
            threshold: self.threshold.mapv(|g| g as f32),
            reset: self.reset.mapv(|g| g as f32),
            gain: self.gain.mapv(|g| g as f32),
            noise: wanted.noise.then(|| self.noise.mapv(|g| g as f32)),
            trial_offset: self
                .trial_offset
                .as_ref()
                .filter(|_| wanted.trial_offset)
                .map(|offset| offset.mapv(|g| g as f32)),
            drive: self
                .drive
                .as_ref()
                .filter(|_| wanted.drive)
                .map(|drive| drive.mapv(|g| g as f32)),
            history: wanted.history.then(|| self.history.mapv(|g| g as f32)),
        }
    }
}

/// Packs `[K, T, N]`: every value above zero is a spike.
pub(super) fn bits(spikes: &Array3<f64>) -> SpikeBits {
    SpikeBits::from_array(spikes.mapv(|z| u8::from(z > 0.0)).view())
}

/// Normals and uniforms `[K, warm-up + T, N]` of a run.
fn draw(network: &Network, run: &Run) -> (Array3<f64>, Array3<f64>) {
    match &run.noise {
        Noise::Given { normals, uniforms } => (normals.mapv(f64::from), uniforms.mapv(f64::from)),
        Noise::Philox {
            key,
            step,
            first_trial,
            first_time,
        } => {
            let (n, all) = (network.n_neurons(), run.n_warmup + run.n_steps);
            let mut normals = Array3::zeros((run.n_trials, all, n));
            let mut uniforms = Array3::zeros((run.n_trials, all, n));
            let (mut u, mut g) = (vec![0.0; n], vec![0.0; n]);
            for k in 0..run.n_trials {
                for t in 0..all {
                    let place = Place {
                        time: first_time.wrapping_add(t as u32),
                        trial: first_trial.wrapping_add(k as u32),
                        step: *step,
                    };
                    fill_uniforms_and_normals(*key, place, &mut u, &mut g);
                    uniforms
                        .slice_mut(s![k, t, ..])
                        .iter_mut()
                        .zip(&u)
                        .for_each(|(to, u)| *to = f64::from(*u));
                    normals
                        .slice_mut(s![k, t, ..])
                        .iter_mut()
                        .zip(&g)
                        .for_each(|(to, g)| *to = f64::from(*g));
                }
            }
            (normals, uniforms)
        }
    }
}
