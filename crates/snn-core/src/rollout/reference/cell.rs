//! The cell: one time step in tensor operations. This is the model.

use super::{Precision, Reference, SpikeMode};
use crate::surrogate::Surrogate;
use burn::tensor::activation::sigmoid;
use burn::tensor::{FloatDType, Tensor};
use std::collections::VecDeque;

/// The network on the device. Rows `[1, N]` broadcast over trials.
pub(super) struct Cell {
    /// One matrix `[N_pre, N_post]` per delay.
    pub(super) w: Vec<Tensor<2>>,
    pub(super) delays: Vec<usize>,
    /// `[N_in, N]`, if the run has input events.
    pub(super) w_in: Option<Tensor<2>>,
    pub(super) alpha: Tensor<2>,
    pub(super) gain: Tensor<2>,
    pub(super) bias: Tensor<2>,
    pub(super) noise: Tensor<2>,
    pub(super) threshold: Tensor<2>,
    pub(super) scale: Tensor<2>,
    pub(super) reset: Tensor<2>,
    /// One matrix `[K, N]` per row of the trial offset, if the run has one.
    pub(super) trial_offset: Option<Vec<Tensor<2>>>,
    /// One matrix `[S, N]` per recorded step, if the run has a drive.
    pub(super) drive: Option<Vec<Tensor<2>>>,
    pub(super) temperature: f64,
    pub(super) p_scale: f64,
    pub(super) gamma: f64,
    pub(super) surrogate: Surrogate,
    /// Share of its largest value below which it is taken as 0.
    pub(super) surrogate_floor: f64,
    pub(super) n_refractory: f64,
}

/// State between two steps on the device.
pub(super) struct Carried {
    /// Potential after reset, `[K, N]`.
    pub(super) v: Tensor<2>,
    /// Steps of silence left, `[K, N]`.
    pub(super) refractory: Tensor<2>,
    /// Spikes of the H steps before, each `[K, N]`, oldest first.
    pub(super) past: VecDeque<Tensor<2>>,
}

/// What enters one step from outside, each `[K, N]` unless said otherwise.
pub(super) struct Input {
    /// Input spikes `[K, N_in]`.
    pub(super) events: Option<Tensor<2>>,
    pub(super) drive: Option<Tensor<2>>,
    /// Trial offset.
    pub(super) offset: Option<Tensor<2>>,
    pub(super) normals: Tensor<2>,
    pub(super) uniforms: Tensor<2>,
    /// Where neurons are clamped, and the recorded spikes there (0 elsewhere).
    pub(super) clamp: Option<(Tensor<2>, Tensor<2>)>,
    /// Spikes of an earlier simulation to hold to, instead of drawing them again.
    pub(super) stored: Option<Tensor<2>>,
}

/// What one step leaves, each `[K, N]`.
pub(super) struct Moment {
    pub(super) spikes: Tensor<2>,
    pub(super) probabilities: Tensor<2>,
    pub(super) potentials: Tensor<2>,
    pub(super) refractory: Tensor<2>,
}

impl Reference {
    /// One step of the cell; `state` moves on by one.
    pub(super) fn step(&self, cell: &Cell, input: Input, state: &mut Carried) -> Moment {
        let mut current = state.v.zeros_like();
        for (w, delay) in cell.w.iter().zip(&cell.delays) {
            let z_before = state.past[state.past.len() - delay].clone(); // z(t − delay)
            current = current + z_before.matmul(w.clone());
        }
        if let (Some(events), Some(w_in)) = (input.events, &cell.w_in) {
            current = current + events.matmul(w_in.clone());
        }
        let mut potential = cell.alpha.clone() * state.v.clone()
            + cell.gain.clone() * current
            + cell.bias.clone()
            + cell.noise.clone() * input.normals;
        for more in [input.drive, input.offset].into_iter().flatten() {
            potential = potential + more;
        }
        let x = (potential.clone() - cell.threshold.clone()) / cell.scale.clone();
        let p = sigmoid(x.clone() * cell.temperature) * cell.p_scale;

        let is_refractory = self.mask(&state.refractory.zeros_like(), &state.refractory);
        let mut free = is_refractory.ones_like() - is_refractory.clone();
        let mut recorded = free.zeros_like();
        if let Some((is_clamped, spikes)) = input.clamp {
            free = free * (is_clamped.ones_like() - is_clamped);
            recorded = spikes;
        }
        let (hard, z) = match self.spike {
            SpikeMode::Sampled => {
                let drawn = self.mask(&input.uniforms, &p.clone().detach());
                let hard = input.stored.unwrap_or_else(|| recorded + free.clone() * drawn);
                let psi = cell.surrogate_derivative(x.clone().detach()) * free;
                (hard.clone(), hard + psi * (x.clone() - x.detach()))
            }
            SpikeMode::Smooth => (recorded.clone(), recorded + free * p.clone()),
        };

        state.v = potential.clone() - cell.reset.clone() * z.clone();
        let waiting = (state.refractory.clone() - 1.0).clamp_min(0.0);
        state.refractory = hard.clone() * cell.n_refractory + (hard.ones_like() - hard) * waiting;
        state.past.push_back(z.clone());
        state.past.pop_front();
        Moment {
            spikes: z,
            probabilities: p,
            potentials: potential,
            refractory: is_refractory,
        }
    }

    /// 1 where `a < b`, else 0.
    fn mask(&self, a: &Tensor<2>, b: &Tensor<2>) -> Tensor<2> {
        let dtype = match self.precision {
            Precision::F32 => FloatDType::F32,
            Precision::F64 => FloatDType::F64,
        };
        a.clone().lower(b.clone()).cast(dtype)
    }
}

impl Cell {
    /// ψ = dz/dx of the surrogate, see [`Surrogate`].
    fn surrogate_derivative(&self, x: Tensor<2>) -> Tensor<2> {
        let psi = match self.surrogate {
            Surrogate::Sigmoid { .. } => {
                let s = sigmoid(x * self.temperature);
                s.clone() * (s.ones_like() - s) * (self.gamma * self.p_scale * self.temperature)
            }
            Surrogate::Triangle { .. } => (x.ones_like() - x.abs()).clamp_min(0.0) * self.gamma,
        };
        if self.surrogate_floor == 0.0 {
            return psi;
        }
        let slope = (self.p_scale * self.temperature) as f32;
        let least = self.surrogate_floor * f64::from(self.surrogate.maximum(slope));
        let below = psi.clone().abs().lower_elem(least);
        psi.mask_fill(below, 0.0)
    }

    pub(super) fn require_gradients(&mut self) {
        let rows = [
            &mut self.gain,
            &mut self.bias,
            &mut self.noise,
            &mut self.threshold,
            &mut self.reset,
        ];
        let matrices = self
            .w
            .iter_mut()
            .chain(&mut self.w_in)
            .chain(self.drive.iter_mut().flatten())
            .chain(self.trial_offset.iter_mut().flatten());
        for leaf in rows.into_iter().chain(matrices) {
            *leaf = leaf.clone().require_grad();
        }
    }
}
