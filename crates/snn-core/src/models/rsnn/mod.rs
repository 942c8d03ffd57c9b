//! The multi-area LIF/Bernoulli network: named parameters, mapped onto the one cell of [`crate::rollout`], and the
//! chain rule back.

mod init;
mod inputs;
mod latent;
mod perturbation;
mod readout;
mod simulate;
mod spec;

#[cfg(test)]
mod tests;

pub use inputs::{Amplitude, Cues, InputChannel, InputSpec, Onset, PoissonInput, RecordedInput, StimulusScale, Trials};
pub use perturbation::{Effect, Perturbation, PerturbedTrials, Silenced, light_sensitive, segments};
pub use simulate::{Draws, Engine, Rolled, Simulation};
pub use spec::{BehaviourSpec, FeedbackSpec, LatentKind, LatentSpec, Link, RsnnSpec, SeenStimulus, TraceSpec};

use crate::models::Parameters;

/// A network: what it's made of and its parameters.
///
/// | name | shape | meaning |
/// |---|---|---|
/// | `w` | `[D, N_pre, N_post]` | signed recurrent weights |
/// | `w_in` | `[N_in, N]` | signed input weights; of a recorded stimulus, row `lag·C + channel` |
/// | `v_rest` | `[N]` | resting potential |
/// | `noise_gain` | `[N]` | noise gain κ |
/// | `latent.w1`, `latent.b1`, `latent.w2` | `[L, L]`, `[L]`, `[L, N]` | offset `relu(ψ·w1 + b1)·w2`; w1 `[L + 1, L]` with the stimulus |
/// | `latent.theta` | `[L, N]` | offset `ψ·theta`; with Q knots `latent.w2` and it are `[Q, L, N]` |
/// | `readout.w` | `[M, B]` | behaviour weights of the motor neurons |
/// | `readout.baseline` | `[B]` | baseline b of a log readout |
/// | `readout.mean`, `readout.std` | `[B]` | shift and scale of a linear readout |
#[derive(Debug, Clone, PartialEq)]
pub struct Rsnn {
    /// What the network is made of.
    pub spec: RsnnSpec,
    /// Every parameter, trained or not.
    pub parameters: Parameters,
}
