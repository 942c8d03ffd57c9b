//! Trial-to-trial offset: a random vector per trial, mapped to a constant drive per neuron.

use super::spec::{LatentKind, LatentSpec};
use crate::CoreError;
use crate::models::Parameters;
use crate::rng::{Key, Place, fill_uniforms};
use ndarray::{Array2, Axis, Zip};
use rand::{Rng, RngExt};

/// Fraction of the threshold at which a bounded offset is clipped (specification §1.6).
const BOUND: f64 = 0.2;

impl LatentSpec {
    /// Initial parameters: `latent.w1` `[L, L]` and `latent.b1` `[L]` from U(±1/√L), `latent.w2` `[L, N]` from
    /// U(±1/√L)·`scale`; or `latent.theta` `[L, N]` from U(±0.5)/√L. `w2` and `theta` are multiplied by `init_scale`.
    ///
    /// # Source
    /// Specification §1.6; `scale` = (threshold − resting potential)/0.1.
    pub(super) fn initial(&self, n: usize, scale: f64, rng: &mut impl Rng) -> Parameters {
        let l = self.dimensions;
        let bound = (l as f64).sqrt().recip();
        let mut draw = |width: f64, rows, columns| {
            Array2::from_shape_fn((rows, columns), |_| ((2.0 * rng.random::<f64>() - 1.0) * width) as f32)
        };
        let mut parameters = Parameters::new();
        match self.kind {
            LatentKind::Mlp => {
                parameters.insert("latent.w1", draw(bound, l, l));
                parameters.insert("latent.b1", draw(bound, 1, l).remove_axis(Axis(0)));
                parameters.insert("latent.w2", draw(bound * scale * self.init_scale, l, n));
            }
            LatentKind::Linear => parameters.insert("latent.theta", draw(0.5 * bound * self.init_scale, l, n)),
        }
        parameters
    }

    /// Multiplies the last map, w2 or θ, by 1 − `lr`·λ, at least 0.
    ///
    /// Why: averages over trials and over neurons hardly tell offsets of single neurons, so nothing else takes away
    /// those that the fit started with, and neurons vary more from trial to trial than recorded ones.
    pub(super) fn decay(&self, parameters: &mut Parameters, lr: f64) {
        let map = match self.kind {
            LatentKind::Mlp => "latent.w2",
            LatentKind::Linear => "latent.theta",
        };
        let keep = (1.0 - lr * self.weight_decay).max(0.0) as f32;
        if let Some(map) = parameters.get_mut(map) {
            map.mapv_inplace(|weight| keep * weight);
        }
    }

    /// ψ ~ U(−0.5, 0.5), `[K, L]`: trial k draws the row at (0, `first_trial` + k, `step`) of the stream.
    pub(super) fn draw(&self, n_trials: usize, key: Key, step: u32, first_trial: u32) -> Array2<f64> {
        let mut psi = Array2::zeros((n_trials, self.dimensions));
        let mut uniforms = vec![0.0f32; self.dimensions];
        for (k, mut row) in psi.outer_iter_mut().enumerate() {
            fill_uniforms(
                key,
                Place {
                    time: 0,
                    trial: first_trial + k as u32,
                    step,
                },
                &mut uniforms,
            );
            row.iter_mut()
                .zip(&uniforms)
                .for_each(|(psi, u)| *psi = f64::from(*u) - 0.5);
        }
        psi
    }

    /// Offset o `[K, N]` of each trial: `relu(ψ·w1 + b1)·w2` or `ψ·θ`, clipped when bounded.
    pub(super) fn offset(
        &self,
        parameters: &Parameters,
        psi: &Array2<f64>,
        threshold: f64,
    ) -> Result<Array2<f64>, CoreError> {
        let mut offset = self.unbounded(parameters, psi)?;
        if self.is_bounded {
            offset.mapv_inplace(|o| o.clamp(-BOUND * threshold, BOUND * threshold));
        }
        Ok(offset)
    }

    /// Gradients of the parameters from that of the offset, `[K, N]`; none flows where the offset is clipped.
    pub(super) fn backward(
        &self,
        parameters: &Parameters,
        psi: &Array2<f64>,
        threshold: f64,
        mut d_offset: Array2<f64>,
    ) -> Result<Parameters, CoreError> {
        if self.is_bounded {
            let offset = self.unbounded(parameters, psi)?;
            Zip::from(&mut d_offset)
                .and(&offset)
                .for_each(|d, o| *d *= f64::from(u8::from(o.abs() <= BOUND * threshold)));
        }
        let mut gradients = Parameters::new();
        match self.kind {
            LatentKind::Mlp => {
                let hidden = hidden(parameters, psi)?; // [K, L]
                let w2 = parameters.matrix("latent.w2")?.mapv(f64::from);
                let mut d_hidden = d_offset.dot(&w2.t());
                Zip::from(&mut d_hidden)
                    .and(&hidden)
                    .for_each(|d, h| *d *= f64::from(u8::from(*h > 0.0)));
                gradients.insert("latent.w1", psi.t().dot(&d_hidden).mapv(|x| x as f32));
                gradients.insert("latent.b1", d_hidden.sum_axis(Axis(0)).mapv(|x| x as f32));
                gradients.insert(
                    "latent.w2",
                    hidden.mapv(|h| h.max(0.0)).t().dot(&d_offset).mapv(|x| x as f32),
                );
            }
            LatentKind::Linear => gradients.insert("latent.theta", psi.t().dot(&d_offset).mapv(|x| x as f32)),
        }
        Ok(gradients)
    }

    fn unbounded(&self, parameters: &Parameters, psi: &Array2<f64>) -> Result<Array2<f64>, CoreError> {
        match self.kind {
            LatentKind::Mlp => {
                let active = hidden(parameters, psi)?.mapv(|h| h.max(0.0));
                Ok(active.dot(&parameters.matrix("latent.w2")?.mapv(f64::from)))
            }
            LatentKind::Linear => Ok(psi.dot(&parameters.matrix("latent.theta")?.mapv(f64::from))),
        }
    }
}

/// Hidden layer before its rectification, `[K, L]`.
fn hidden(parameters: &Parameters, psi: &Array2<f64>) -> Result<Array2<f64>, CoreError> {
    let (w1, b1) = (
        parameters.matrix("latent.w1")?.mapv(f64::from),
        parameters.vector("latent.b1")?.mapv(f64::from),
    );
    Ok(psi.dot(&w1) + &b1)
}
