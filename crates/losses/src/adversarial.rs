//! Adversarial comparison of single trials: a small network learns to tell the model's trials from the recorded ones, and
//! the model learns to be taken for a recording.
//!
//! Why here: the published alternative to matching (spike-GAN). It needs no pairs and no distance, but its value means
//! something only beside the discriminator of the same step. Not here: the optimiser of the discriminators, which belongs
//! to the run.

use ndarray::{Array1, Array2, ArrayView2};
use rand::Rng;

use crate::LossError;
pub use crate::perceptron::Layer;
use crate::perceptron::{Perceptron, backward, forward, sigmoid, softplus};

/// Slope of the hidden units below 0. Source: the published program.
const LEAK: f64 = 0.2;

/// Hidden units of a discriminator. Source: the published program.
pub const HIDDEN: [usize; 2] = [128, 64];

/// A fully connected network with leaky rectified hidden units and one output.
#[derive(Debug, Clone, PartialEq)]
pub struct Discriminator {
    /// Layers from the features to the output.
    pub layers: Vec<Layer>,
}

impl Discriminator {
    /// Random layers of [`HIDDEN`] units for `n_features` features: uniform in ±1/√inputs, weights and biases.
    ///
    /// # Source
    /// Sourmpis et al. 2023, §1.16 of the specification; the initialisation of PyTorch's `Linear`.
    pub fn new(n_features: usize, rng: &mut impl Rng) -> Self {
        Self {
            layers: Perceptron::new(n_features, &HIDDEN, LEAK, rng).layers,
        }
    }

    /// Log odds that each row of `x` `[n, F]` is recorded, `[n]`.
    ///
    /// # Errors
    /// As [`Discriminator::fool`].
    pub fn log_odds(&self, x: &ArrayView2<'_, f64>) -> Result<Array1<f64>, LossError> {
        Ok(self.pass(x)?.1)
    }

    /// Generator's loss: how surely model trials are not taken for recorded ones, and its gradient at them.
    ///
    /// $$L = \frac1m\sum_j -\ln \sigma(D(y_j))$$
    ///
    /// # Shapes
    /// `model` `[m, F]`; gradient `[m, F]`.
    ///
    /// # Errors
    /// [`LossError::Shape`] for other features than the discriminator's, [`LossError::NonFinite`],
    /// [`LossError::NoData`] without trials.
    ///
    /// # Source
    /// Sourmpis et al. 2023, §1.16 of the specification.
    pub fn fool(&self, model: &ArrayView2<'_, f64>) -> Result<(f64, Array2<f64>), LossError> {
        let (inputs, odds) = self.pass(model)?;
        let m = odds.len() as f64;
        let value = odds.iter().map(|l| softplus(-l)).sum::<f64>() / m;
        let d_odds = odds.mapv(|l| -sigmoid(-l) / m);
        Ok((value, backward(&self.layers, LEAK, &inputs, &d_odds).1))
    }

    /// Discriminator's loss: mean over both kinds of trials of how surely they are taken for the other, and its gradient
    /// with respect to the layers.
    ///
    /// $$L = \frac12\left(\frac1n\sum_i -\ln \sigma(D(x_i)) + \frac1m\sum_j -\ln (1 - \sigma(D(y_j)))\right)$$
    ///
    /// # Shapes
    /// `data` `[n, F]`, `model` `[m, F]`.
    ///
    /// # Errors
    /// As [`Discriminator::fool`].
    pub fn discriminate(
        &self,
        data: &ArrayView2<'_, f64>,
        model: &ArrayView2<'_, f64>,
    ) -> Result<(f64, Self), LossError> {
        let ((of_data, data), (of_model, model)) = (self.pass(data)?, self.pass(model)?);
        let (n, m) = (2.0 * data.len() as f64, 2.0 * model.len() as f64);
        let value =
            data.iter().map(|l| softplus(-l)).sum::<f64>() / n + model.iter().map(|l| softplus(*l)).sum::<f64>() / m;
        let (mut layers, _) = backward(&self.layers, LEAK, &of_data, &data.mapv(|l| -sigmoid(-l) / n));
        let (more, _) = backward(&self.layers, LEAK, &of_model, &model.mapv(|l| sigmoid(l) / m));
        for (layer, more) in layers.iter_mut().zip(more) {
            layer.weight += &more.weight;
            layer.bias += &more.bias;
        }
        Ok((value, Self { layers }))
    }

    /// Inputs of every layer `[n, inputs]` and the log odds.
    fn pass(&self, x: &ArrayView2<'_, f64>) -> Result<(Vec<Array2<f64>>, Array1<f64>), LossError> {
        forward(&self.layers, LEAK, x)
    }
}
