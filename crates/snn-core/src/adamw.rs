//! AdamW: Adam with decoupled weight decay, on named arrays.

use crate::CoreError;
use crate::models::Parameters;
use crate::models::parameters::misfit;
use rayon::prelude::*;
use std::borrow::Cow;

/// Constants of the optimiser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay β₁ of the first moment.
    pub beta1: f64,
    /// Decay β₂ of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Weight decay per unit of learning rate, applied to every parameter that has a gradient.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    /// Constants of the published fits: lr 5e-4, betas (0.9, 0.999), eps 1e-8, no decay (specification §1.10).
    fn default() -> Self {
        Self {
            lr: 5e-4,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }
}

impl AdamWConfig {
    /// Checks the range of every constant.
    ///
    /// # Errors
    /// A learning rate, epsilon or decay that is negative or not finite, a beta outside [0, 1).
    pub fn check(&self) -> Result<(), CoreError> {
        let at_least_0 = [
            ("learning rate", self.lr),
            ("epsilon", self.epsilon),
            ("weight decay", self.weight_decay),
        ];
        for (what, value) in at_least_0 {
            if !(value.is_finite() && value >= 0.0) {
                return Err(CoreError::Range {
                    what: what.into(),
                    value,
                    expected: "finite and at least 0",
                });
            }
        }
        for (what, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&value) {
                return Err(CoreError::Range {
                    what: what.into(),
                    value,
                    expected: "at least 0 and below 1",
                });
            }
        }
        Ok(())
    }
}

/// The optimiser: constants, moments and the number of updates made.
///
/// ```text
/// θ ← θ·(1 − lr·λ)       m ← β₁m + (1 − β₁)g        v ← β₂v + (1 − β₂)g²
/// θ ← θ − lr/(1 − β₁ᵗ) · m / (√(v/(1 − β₂ᵗ)) + ε)
/// ```
/// The order of operations is that of PyTorch's `AdamW`; arithmetic is f32, constants per step f64. Every entry is
/// updated by itself, so the result doesn't depend on the number of threads.
///
/// # Source
/// Loshchilov, Hutter: Decoupled weight decay regularization. ICLR 2019, algorithm 2.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    /// Constants.
    pub config: AdamWConfig,
    /// Updates made so far.
    pub n_updates: u64,
    /// First moments m, by parameter.
    pub first: Parameters,
    /// Second moments v, by parameter.
    pub second: Parameters,
}

/// Entries that one task updates.
const BLOCK: usize = 1 << 15;

impl AdamW {
    /// An optimiser that has made no update; moments appear with the first gradient of a parameter.
    ///
    /// # Errors
    /// See [`AdamWConfig::check`].
    pub fn new(config: AdamWConfig) -> Result<Self, CoreError> {
        config.check()?;
        Ok(Self {
            config,
            n_updates: 0,
            first: Parameters::new(),
            second: Parameters::new(),
        })
    }

    /// Makes one update of every parameter that has a gradient; the others stay as they are.
    ///
    /// # Errors
    /// A gradient without its parameter, or moments or a gradient of another shape; nothing is updated then.
    pub fn update(&mut self, parameters: &mut Parameters, gradients: &Parameters) -> Result<(), CoreError> {
        self.check(parameters, gradients)?;
        self.n_updates += 1;
        let constants = Constants::new(&self.config, self.n_updates);
        for (name, gradient) in gradients.iter() {
            for moments in [&mut self.first, &mut self.second] {
                if moments.get(name).is_none() {
                    moments.insert(name, ndarray::ArrayD::zeros(gradient.raw_dim()));
                }
            }
            let slices = (
                parameters.get_mut(name).and_then(|a| a.as_slice_mut()),
                self.first.get_mut(name).and_then(|a| a.as_slice_mut()),
                self.second.get_mut(name).and_then(|a| a.as_slice_mut()),
                gradient.as_slice(),
            );
            // `Parameters` keeps its arrays in standard layout, so all four are there.
            let (Some(theta), Some(m), Some(v), Some(g)) = slices else {
                return Err(misfit(name, Some(gradient.shape()), "an array in standard layout"));
            };
            let blocks = theta
                .par_chunks_mut(BLOCK)
                .zip(m.par_chunks_mut(BLOCK))
                .zip(v.par_chunks_mut(BLOCK))
                .zip(g.par_chunks(BLOCK));
            blocks.for_each(|(((theta, m), v), g)| constants.update(theta, m, v, g));
        }
        Ok(())
    }
}

impl AdamW {
    /// Whether every parameter would be at most `limit` in absolute value (and a number) after [`AdamW::update`];
    /// nothing is changed. Those without a gradient are looked at as they are.
    ///
    /// # Errors
    /// As [`AdamW::update`].
    pub fn stays_within(&self, parameters: &Parameters, gradients: &Parameters, limit: f32) -> Result<bool, CoreError> {
        self.check(parameters, gradients)?;
        let constants = Constants::new(&self.config, self.n_updates + 1);
        let is_within = |x: f32| x.abs() <= limit;
        for (name, theta) in parameters.iter() {
            let Some(gradient) = gradients.get(name) else {
                if !theta.iter().all(|x| is_within(*x)) {
                    return Ok(false);
                }
                continue;
            };
            // Before the first gradient of a parameter its moments are 0.
            let zeros = || ndarray::ArrayD::zeros(gradient.raw_dim());
            let (m, v) = (self.first.get(name), self.second.get(name));
            let (m, v) = (
                m.map_or_else(|| Cow::Owned(zeros()), Cow::Borrowed),
                v.map_or_else(|| Cow::Owned(zeros()), Cow::Borrowed),
            );
            let (Some(theta), Some(m), Some(v), Some(g)) =
                (theta.as_slice(), m.as_slice(), v.as_slice(), gradient.as_slice())
            else {
                return Err(misfit(name, Some(gradient.shape()), "an array in standard layout"));
            };
            let blocks = theta
                .par_chunks(BLOCK)
                .zip(m.par_chunks(BLOCK))
                .zip(v.par_chunks(BLOCK))
                .zip(g.par_chunks(BLOCK))
                .map(|(((theta, m), v), g)| {
                    let entries = theta.iter().zip(m).zip(v).zip(g);
                    // Without a branch, so that the loop takes several entries at once.
                    entries.fold(true, |all, (((theta, m), v), g)| {
                        all & is_within(constants.entry(*theta, *m, *v, *g).0)
                    })
                });
            if !blocks.all(|is_within| is_within) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Refuses gradients that don't fit.
    fn check(&self, parameters: &Parameters, gradients: &Parameters) -> Result<(), CoreError> {
        for (name, gradient) in gradients.iter() {
            let expected = parameters
                .get(name)
                .ok_or_else(|| misfit(name, None, "a parameter for its gradient"))?
                .shape();
            let moments = [self.first.get(name), self.second.get(name)];
            for array in moments.into_iter().flatten().chain([gradient]) {
                if array.shape() != expected {
                    return Err(misfit(
                        name,
                        Some(array.shape()),
                        &format!("shape {expected:?} for its gradient and moments"),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Numbers of one update, the same for all entries.
struct Constants {
    keep: f32,
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    step_size: f32,
    root_correction: f32,
    epsilon: f32,
}

impl Constants {
    fn new(config: &AdamWConfig, n_updates: u64) -> Self {
        let AdamWConfig {
            lr,
            beta1,
            beta2,
            epsilon,
            weight_decay,
        } = *config;
        let t = n_updates as f64;
        Self {
            keep: (1.0 - lr * weight_decay) as f32,
            beta1: beta1 as f32,
            one_minus_beta1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            one_minus_beta2: (1.0 - beta2) as f32,
            step_size: (lr / (1.0 - beta1.powf(t))) as f32,
            root_correction: (1.0 - beta2.powf(t)).sqrt() as f32,
            epsilon: epsilon as f32,
        }
    }

    fn update(&self, theta: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
        for (((theta, m), v), &g) in theta.iter_mut().zip(m).zip(v).zip(g) {
            (*theta, *m, *v) = self.entry(*theta, *m, *v, g);
        }
    }

    /// One entry of θ, m and v after the update.
    #[inline]
    fn entry(&self, theta: f32, m: f32, v: f32, g: f32) -> (f32, f32, f32) {
        let m = self.beta1 * m + self.one_minus_beta1 * g;
        let v = self.beta2 * v + self.one_minus_beta2 * (g * g);
        let root = v.sqrt() / self.root_correction + self.epsilon;
        (theta * self.keep - self.step_size * (m / root), m, v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, array};

    fn one(name: &str, values: Array1<f32>) -> Parameters {
        let mut p = Parameters::new();
        p.insert(name, values);
        p
    }

    #[test]
    fn three_updates_of_one_number_are_those_computed_by_hand() {
        // lr 0.1, decay 0.01, gradients 1, 1, −2 from θ = 1; moments and updates worked out on paper:
        // m = 0.1, 0.19, −0.029; v = 0.001, 0.001999, 0.005997001; corrections 1 − 0.9ᵗ and 1 − 0.999ᵗ.
        let mut adam = AdamW::new(AdamWConfig {
            lr: 0.1,
            weight_decay: 0.01,
            ..AdamWConfig::default()
        })
        .unwrap();
        let mut p = one("w", array![1.0]);
        let mut seen = Vec::new();
        for g in [1.0f32, 1.0, -2.0] {
            adam.update(&mut p, &one("w", array![g])).unwrap();
            seen.push(f64::from(p.vector("w").unwrap()[0]));
        }
        let first = 0.999 - 0.1;
        let second = first * 0.999 - 0.1;
        // Third: m̂ = −0.029/0.271 = −0.10701107, v̂ = 0.005997001/0.002997001 = 2.0010003, root 1.4145672.
        let third = second * 0.999 + 0.1 * (0.029 / 0.271) / (0.005997001f64 / 0.002997001).sqrt();
        for (got, want) in seen.iter().zip([first, second, third]) {
            assert!((got - want).abs() < 3e-7, "{got} against {want}");
        }
    }

    #[test]
    fn many_updates_agree_with_the_formula_in_f64() {
        let config = AdamWConfig {
            lr: 2e-3,
            weight_decay: 0.05,
            ..AdamWConfig::default()
        };
        let mut adam = AdamW::new(config).unwrap();
        // More entries than one block, so that several tasks take part.
        let n = BLOCK + 77;
        let start = Array1::from_shape_fn(n, |i| (i as f32 * 0.37).sin());
        let gradient = |step: i32| {
            Array1::from_shape_fn(n, |i| {
                ((i as f32 + 3.1 * step as f32) * 0.71).cos() * 10f32.powi(i as i32 % 5 - 3)
            })
        };
        let mut p = one("w", start.clone());
        let (mut theta, mut m, mut v) = (start.mapv(f64::from), vec![0.0f64; n], vec![0.0f64; n]);
        for step in 1..=50 {
            let g = gradient(step);
            adam.update(&mut p, &one("w", g.clone())).unwrap();
            for i in 0..n {
                let g = f64::from(g[i]);
                theta[i] *= 1.0 - config.lr * config.weight_decay;
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (m_hat, v_hat) = (m[i] / (1.0 - 0.9f64.powi(step)), v[i] / (1.0 - 0.999f64.powi(step)));
                theta[i] -= config.lr * m_hat / (v_hat.sqrt() + 1e-8);
            }
        }
        let got = p.vector("w").unwrap();
        for i in 0..n {
            // 50 f32 roundings of numbers up to 1, and the f32 constants of the moments.
            assert!(
                (f64::from(got[i]) - theta[i]).abs() < 1e-5,
                "entry {i}: {} against {}",
                got[i],
                theta[i]
            );
        }
    }

    #[test]
    fn updates_continued_from_a_copy_of_the_state_are_bit_equal() {
        let gradient = |step: usize| one("w", array![0.3 * step as f32, -1.0, 1e-4]);
        let mut adam = AdamW::new(AdamWConfig::default()).unwrap();
        let mut p = one("w", array![1.0, 2.0, 3.0]);
        for step in 0..5 {
            adam.update(&mut p, &gradient(step)).unwrap();
        }
        let (first, second) = (adam.first.clone(), adam.second.clone());
        let mut resumed = AdamW {
            config: adam.config,
            n_updates: 5,
            first,
            second,
        };
        let mut q = p.clone();
        for step in 5..10 {
            adam.update(&mut p, &gradient(step)).unwrap();
            resumed.update(&mut q, &gradient(step)).unwrap();
        }
        assert_eq!((p, adam), (q, resumed));
    }

    #[test]
    fn an_update_beyond_the_limit_is_foreseen_and_nothing_changes() {
        let config = AdamWConfig {
            lr: 0.5,
            epsilon: 0.0,
            ..AdamWConfig::default()
        };
        let mut adam = AdamW::new(config).unwrap();
        let mut p = one("w", Array1::from_elem(BLOCK + 3, 1.0));
        let g = |last: f32| {
            let mut g = Array1::from_elem(BLOCK + 3, 1.0);
            g[BLOCK + 2] = last;
            one("w", g)
        };
        for round in 0..3 {
            let before = (p.clone(), adam.clone());
            assert!(adam.stays_within(&p, &g(1.0), 2.0).unwrap());
            assert!(!adam.stays_within(&p, &g(f32::NAN), 2.0).unwrap());
            // 0 / 0 where there was no gradient before.
            assert_eq!(adam.stays_within(&p, &g(0.0), 2.0).unwrap(), round > 0);
            assert!(!adam.stays_within(&p, &g(1.0), 0.1).unwrap() || round > 0);
            assert_eq!(before, (p.clone(), adam.clone()));
            adam.update(&mut p, &g(1.0)).unwrap();
        }
        p.insert("still", array![f32::INFINITY]);
        assert!(!adam.stays_within(&p, &g(1.0), 2.0).unwrap());
        assert!(adam.stays_within(&p, &one("v", array![1.0]), 2.0).is_err());
    }

    #[test]
    fn a_parameter_without_a_gradient_stays() {
        let mut adam = AdamW::new(AdamWConfig {
            weight_decay: 0.1,
            ..AdamWConfig::default()
        })
        .unwrap();
        let mut p = one("w", array![1.0]);
        p.insert("still", array![5.0f32]);
        adam.update(&mut p, &one("w", array![1.0])).unwrap();
        assert_eq!(p.vector("still").unwrap()[0], 5.0);
        assert!(p.vector("w").unwrap()[0] < 1.0);
    }

    #[test]
    fn a_gradient_that_does_not_fit_is_refused_before_anything_changes() {
        let mut adam = AdamW::new(AdamWConfig::default()).unwrap();
        let mut p = one("w", array![1.0, 2.0]);
        assert!(adam.update(&mut p, &one("w", array![1.0])).is_err());
        assert!(adam.update(&mut p, &one("v", array![1.0])).is_err());
        assert_eq!((adam.n_updates, p), (0, one("w", array![1.0, 2.0])));
        assert!(
            AdamW::new(AdamWConfig {
                beta2: 1.0,
                ..AdamWConfig::default()
            })
            .is_err()
        );
    }
}
