//! The normalised multi-task gradient splitter, in Gram form.
//!
//! Several losses pull on the same spikes. The splitter brings their gradients to the same scale and
//! removes from each, time step by time step, what opposes another. It is defined on gradients of the
//! whole batch `[K, T, N]`, but needs of them only the inner products at each time step: those are
//! summed over chunks of trials, and each chunk applies the resulting coefficients to its own rows.

use ndarray::{Array2, ArrayView3};
use serde::{Deserialize, Serialize};

use crate::LossError;
use crate::error::{check_finite, check_shape};

/// Decay of the running mean of squared gradients. Source: the published program.
pub const SPLITTER_BETA: f64 = 0.999;

/// A gradient is divided by no less than this. Source: the published program.
const SCALE_FLOOR: f64 = 1e-16;

/// Running scale of each task's gradient; belongs into the checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradientSplitter {
    beta: f64,
    mean_square: Vec<f64>, // m, one per task
    n_updates: Vec<u64>,   // n, one per task
}

impl GradientSplitter {
    /// A splitter for `n_tasks` losses without history.
    ///
    /// # Errors
    /// [`LossError::Parameter`] if beta is not in (0, 1).
    pub fn new(n_tasks: usize, beta: f64) -> Result<Self, LossError> {
        if !(beta > 0.0 && beta < 1.0) {
            return Err(LossError::Parameter {
                name: "splitter beta",
                found: beta.to_string(),
                expected: "a number between 0 and 1, both excluded",
            });
        }
        Ok(Self {
            beta,
            mean_square: vec![0.0; n_tasks],
            n_updates: vec![0; n_tasks],
        })
    }

    /// Number of tasks.
    pub fn n_tasks(&self) -> usize {
        self.mean_square.len()
    }

    /// Running mean of squared gradients of each task, in the squared units of its gradient.
    pub fn mean_square(&self) -> &[f64] {
        &self.mean_square
    }

    /// Updates so far of each task.
    pub fn n_updates(&self) -> &[u64] {
        &self.n_updates
    }

    /// Updates the scales with one batch and returns the coefficients C with which the raw task gradients
    /// combine: `combined(t) = Σ_i C[t, i] g_i(t)`.
    ///
    /// With $G_{ij}(t) = \sum_{k,n} g_i g_j$ over the whole batch:
    /// 1. scale: $q_i = \frac1T\sum_t G_{ii}(t)$; $m_i \leftarrow q_i$ at the first update, then
    ///    $\beta m_i + (1-\beta) q_i$; $n_i \leftarrow n_i + 1$;
    ///    $\hat g_i = g_i/\sqrt{m_i/(1-\beta^{n_i})}$; a task with $q_i = 0$ is left alone and gives 0;
    /// 2. for each task i, starting from $a = \hat g_i$, for every task j in order (i too):
    ///    $a \leftarrow a + \mathrm{relu}(-a\cdot u)\,u$ with $u = \hat g_j/\lVert\hat g_j\rVert$, at each t;
    /// 3. the sum over i. All of it stays in the span of the $g_i(t)$, so it is computed in coefficients.
    ///
    /// The first update scales by $\sqrt{1-\beta}$ (0.032): a warm-up of about 1000 updates.
    ///
    /// # Shapes
    /// `gram` `[T, n_tasks, n_tasks]`, symmetric; result `[T, n_tasks]`. Cost O(T·n_tasks⁴).
    ///
    /// # Errors
    /// [`LossError::Shape`] for another number of tasks, [`LossError::NonFinite`] for NaN or infinite
    /// entries, [`LossError::Parameter`] for a negative squared norm. The state is then unchanged.
    ///
    /// # Source
    /// Sourmpis et al. 2023, gradient splitter of the published program.
    ///
    /// # Departures
    /// Accumulators are f64 (there f32).
    pub fn split(&mut self, gram: &ArrayView3<'_, f64>) -> Result<Array2<f64>, LossError> {
        let n_tasks = self.n_tasks();
        let n_steps = gram.shape()[0];
        check_shape("Gram matrices", gram.shape(), &[n_steps, n_tasks, n_tasks])?;
        check_finite("Gram matrices", gram)?;
        if let Some(negative) = gram
            .outer_iter()
            .flat_map(|g| g.diag().to_vec())
            .find(|&norm| norm < 0.0)
        {
            return Err(LossError::Parameter {
                name: "squared norm of a task gradient",
                found: negative.to_string(),
                expected: "not negative",
            });
        }
        let scales = self.update_scales(gram);
        let mut combined = Array2::zeros((n_steps, n_tasks));
        for (gram, mut combined) in gram.outer_iter().zip(combined.outer_iter_mut()) {
            // ĝ_i·ĝ_j
            let normalized = Array2::from_shape_fn((n_tasks, n_tasks), |(i, j)| scales[i] * scales[j] * gram[[i, j]]);
            for i in 0..n_tasks {
                let mut a = vec![0.0; n_tasks]; // coefficients of ĝ
                a[i] = 1.0;
                for j in 0..n_tasks {
                    let norm_squared = normalized[[j, j]];
                    let along: f64 = (0..n_tasks).map(|l| a[l] * normalized[[l, j]]).sum();
                    if norm_squared > 0.0 && along < 0.0 {
                        a[j] -= along / norm_squared;
                    }
                }
                for (l, c) in combined.iter_mut().enumerate() {
                    *c += a[l] * scales[l];
                }
            }
        }
        Ok(combined)
    }

    /// Factor from the raw to the normalised gradient of each task, after updating the running means.
    fn update_scales(&mut self, gram: &ArrayView3<'_, f64>) -> Vec<f64> {
        let n_steps = gram.shape()[0].max(1) as f64;
        (0..self.n_tasks())
            .map(|i| {
                let q = gram.outer_iter().map(|g| g[[i, i]]).sum::<f64>() / n_steps;
                if q == 0.0 {
                    return 0.0;
                }
                let m = &mut self.mean_square[i];
                *m = if self.n_updates[i] == 0 {
                    q
                } else {
                    self.beta * *m + (1.0 - self.beta) * q
                };
                self.n_updates[i] += 1;
                let n_updates = i32::try_from(self.n_updates[i]).unwrap_or(i32::MAX);
                let correction = 1.0 - self.beta.powi(n_updates);
                (*m / correction).sqrt().max(SCALE_FLOOR).recip()
            })
            .collect()
    }
}
