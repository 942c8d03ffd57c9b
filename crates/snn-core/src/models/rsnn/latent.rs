//! Trial-to-trial offset: a random vector per trial, mapped to a drive per neuron.

use super::spec::{LatentKind, LatentSpec};
use crate::CoreError;
use crate::models::Parameters;
use crate::rng::{Key, Place, fill_uniforms};
use ndarray::{Array1, Array2, Array3, ArrayD, Axis, IxDyn, Zip};
use rand::{Rng, RngExt};
use std::ops::Range;

/// Fraction of the threshold at which a bounded offset is clipped (specification §1.6).
const BOUND: f64 = 0.2;

impl LatentSpec {
    /// What the map takes: ψ, and perhaps the stimulus.
    pub(super) fn n_sources(&self) -> usize {
        self.dimensions + usize::from(self.stimulus.is_some())
    }

    /// Shape of the last map: `[L, N]`, with knots `[B, L, N]`.
    pub(super) fn map_shape(&self, n: usize) -> Vec<usize> {
        let knots = (!self.knots.is_empty()).then_some(self.knots.len());
        knots.into_iter().chain([self.dimensions, n]).collect()
    }

    /// Name of the last map.
    fn map(&self) -> &'static str {
        match self.kind {
            LatentKind::Mlp => "latent.w2",
            LatentKind::Linear => "latent.theta",
        }
    }

    /// Initial parameters: `latent.w1` `[L + s, L]` (s = 1 where the stimulus is seen, else 0) and `latent.b1` `[L]` from U(±1/√L),
    /// `latent.w2` from U(±1/√L)·`scale`; or `latent.theta` from U(±0.5)/√L. The last map is `[L, N]`, with knots `[B, L, N]`, and
    /// is multiplied by `init_scale`.
    ///
    /// # Source
    /// Specification §1.6; `scale` = (threshold − resting potential)/0.1.
    pub(super) fn initial(&self, n: usize, scale: f64, rng: &mut impl Rng) -> Parameters {
        let l = self.dimensions;
        let bound = (l as f64).sqrt().recip();
        let mut draw = |width: f64, shape: &[usize]| {
            ArrayD::from_shape_fn(IxDyn(shape), |_| ((2.0 * rng.random::<f64>() - 1.0) * width) as f32)
        };
        let map = self.map_shape(n);
        let mut parameters = Parameters::new();
        match self.kind {
            LatentKind::Mlp => {
                parameters.insert("latent.w1", draw(bound, &[self.n_sources(), l]));
                parameters.insert("latent.b1", draw(bound, &[l]));
                parameters.insert("latent.w2", draw(bound * scale * self.init_scale, &map));
            }
            LatentKind::Linear => parameters.insert("latent.theta", draw(0.5 * bound * self.init_scale, &map)),
        }
        parameters
    }

    /// Multiplies the last map, w2 or θ, by 1 − `lr`·λ, at least 0.
    ///
    /// Why: averages over trials and over neurons hardly tell offsets of single neurons, so nothing else takes away
    /// those that the fit started with, and neurons vary more from trial to trial than recorded ones.
    pub(super) fn decay(&self, parameters: &mut Parameters, lr: f64) {
        let keep = (1.0 - lr * self.weight_decay).max(0.0) as f32;
        if let Some(map) = parameters.get_mut(self.map()) {
            map.mapv_inplace(|weight| keep * weight);
        }
    }

    /// ψ ~ U(−0.5, 0.5), `[K, L]`, and after it the stimulus where the map sees it, `[K, L + 1]`: trial k draws the row at
    /// (0, `first_trial` + k, `step`) of the stream.
    pub(super) fn draw(&self, stimulus: &[f64], key: Key, step: u32, first_trial: u32) -> Array2<f64> {
        let l = self.dimensions;
        let mut psi = Array2::zeros((stimulus.len(), self.n_sources()));
        let mut uniforms = vec![0.0f32; l];
        for (k, (mut row, stimulus)) in psi.outer_iter_mut().zip(stimulus).enumerate() {
            let place = Place {
                time: 0,
                trial: first_trial + k as u32,
                step,
            };
            fill_uniforms(key, place, &mut uniforms);
            row.iter_mut()
                .zip(&uniforms)
                .for_each(|(psi, u)| *psi = f64::from(*u) - 0.5);
            if let Some(seen) = self.stimulus {
                row[l] = seen.factor * stimulus;
            }
        }
        psi
    }

    /// Share of each knot at each recorded step, `[T, B]`: linear interpolation.
    pub(super) fn course(&self, n_steps: usize) -> Array2<f32> {
        let knots = &self.knots;
        let (Some(first), Some(last)) = (knots.first(), knots.last()) else {
            return Array2::ones((n_steps, 1));
        };
        let mut course = Array2::zeros((n_steps, knots.len()));
        for (t, mut row) in course.outer_iter_mut().enumerate() {
            let at = (t as f64).clamp(*first, *last);
            let after = knots.partition_point(|knot| *knot <= at).min(knots.len() - 1);
            let Some(before) = after.checked_sub(1) else {
                row[0] = 1.0;
                continue;
            };
            let share = (at - knots[before]) / (knots[after] - knots[before]);
            row[before] = (1.0 - share) as f32;
            row[after] = share as f32;
        }
        course
    }

    /// Knots, and what goes into their map: those that see the stimulus `psi`, those before the same with 0 for the stimulus.
    fn groups(&self, psi: &Array2<f64>) -> Vec<(Range<usize>, Array2<f64>)> {
        let n_knots = self.knots.len().max(1);
        let Some(seen) = self.stimulus else {
            return vec![(0..n_knots, psi.to_owned())];
        };
        let first = self.knots.partition_point(|knot| *knot <= seen.after);
        let mut blind = psi.to_owned();
        blind.column_mut(self.dimensions).fill(0.0);
        vec![(0..first, blind), (first..n_knots, psi.to_owned())]
    }

    /// Offset o `[K, B, N]` of each trial at each knot (B = 1 without): `relu(ψ·w1 + b1)·w2` or `ψ·θ`, clipped when bounded.
    pub(super) fn offset(
        &self,
        parameters: &Parameters,
        psi: &Array2<f64>,
        threshold: f64,
    ) -> Result<Array3<f64>, CoreError> {
        let mut offset = self.unbounded(parameters, psi)?;
        if self.is_bounded {
            offset.mapv_inplace(|o| o.clamp(-BOUND * threshold, BOUND * threshold));
        }
        Ok(offset)
    }

    /// Gradients of the parameters from that of the offset, `[K, B, N]`; none flows where the offset is clipped.
    pub(super) fn backward(
        &self,
        parameters: &Parameters,
        psi: &Array2<f64>,
        threshold: f64,
        mut d_offset: Array3<f64>,
    ) -> Result<Parameters, CoreError> {
        if self.is_bounded {
            let offset = self.unbounded(parameters, psi)?;
            Zip::from(&mut d_offset)
                .and(&offset)
                .for_each(|d, o| *d *= f64::from(u8::from(o.abs() <= BOUND * threshold)));
        }
        let maps = self.maps(parameters)?;
        let mut d_maps = Array3::<f64>::zeros(maps.dim());
        let mut d_w1 = Array2::<f64>::zeros((self.n_sources(), self.dimensions));
        let mut d_b1 = Array1::<f64>::zeros(self.dimensions);
        for (knots, psi) in self.groups(psi) {
            let source = self.source(parameters, &psi)?;
            let mut d_source = Array2::<f64>::zeros(source.dim());
            for b in knots {
                let d = d_offset.index_axis(Axis(1), b);
                d_maps.index_axis_mut(Axis(0), b).assign(&source.t().dot(&d));
                d_source += &d.dot(&maps.index_axis(Axis(0), b).t());
            }
            if self.kind == LatentKind::Mlp {
                // Where the hidden layer is rectified, its activity is 0.
                Zip::from(&mut d_source)
                    .and(&source)
                    .for_each(|d, h| *d *= f64::from(u8::from(*h > 0.0)));
                d_w1 += &psi.t().dot(&d_source);
                d_b1 += &d_source.sum_axis(Axis(0));
            }
        }
        let mut gradients = Parameters::new();
        if self.kind == LatentKind::Mlp {
            gradients.insert("latent.w1", d_w1.mapv(|x| x as f32));
            gradients.insert("latent.b1", d_b1.mapv(|x| x as f32));
        }
        let d_maps = d_maps.mapv(|x| x as f32);
        if self.knots.is_empty() {
            gradients.insert(self.map(), d_maps.index_axis_move(Axis(0), 0));
        } else {
            gradients.insert(self.map(), d_maps);
        }
        Ok(gradients)
    }

    /// The last map at each knot, `[B, L, N]`.
    fn maps(&self, parameters: &Parameters) -> Result<Array3<f64>, CoreError> {
        Ok(if self.knots.is_empty() {
            parameters.matrix(self.map())?.mapv(f64::from).insert_axis(Axis(0))
        } else {
            parameters.cube(self.map())?.mapv(f64::from)
        })
    }

    fn unbounded(&self, parameters: &Parameters, psi: &Array2<f64>) -> Result<Array3<f64>, CoreError> {
        let maps = self.maps(parameters)?;
        let (b, _, n) = maps.dim();
        let mut offset = Array3::zeros((psi.nrows(), b, n));
        for (knots, psi) in self.groups(psi) {
            let source = self.source(parameters, &psi)?;
            for b in knots {
                let of_knot = source.dot(&maps.index_axis(Axis(0), b));
                offset.index_axis_mut(Axis(1), b).assign(&of_knot);
            }
        }
        Ok(offset)
    }

    /// What the last map takes, `[K, L]`: the rectified hidden layer, or ψ.
    fn source(&self, parameters: &Parameters, psi: &Array2<f64>) -> Result<Array2<f64>, CoreError> {
        if self.kind == LatentKind::Linear {
            return Ok(psi.to_owned());
        }
        let (w1, b1) = (
            parameters.matrix("latent.w1")?.mapv(f64::from),
            parameters.vector("latent.b1")?.mapv(f64::from),
        );
        Ok((psi.dot(&w1) + &b1).mapv(|h| h.max(0.0)))
    }
}
