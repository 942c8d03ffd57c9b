//! Adversarial comparison of single trials: a small network learns to tell the model's trials from the recorded ones, and
//! the model learns to be taken for a recording.
//!
//! Why here: the published alternative to matching (spike-GAN). It needs no pairs and no distance, but its value means
//! something only beside the discriminator of the same step. Not here: the optimiser of the discriminators, which belongs
//! to the run.

use ndarray::{Array1, Array2, ArrayView2, Axis};
use rand::{Rng, RngExt};

use crate::LossError;
use crate::error::{check_finite, check_shape};

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

/// One layer, `x W + b`.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// `[inputs, outputs]`.
    pub weight: Array2<f64>,
    /// `[outputs]`.
    pub bias: Array1<f64>,
}

impl Discriminator {
    /// Random layers of [`HIDDEN`] units for `n_features` features: uniform in ±1/√inputs, weights and biases.
    ///
    /// # Source
    /// Sourmpis et al. 2023, §1.16 of the specification; the initialisation of PyTorch's `Linear`.
    pub fn new(n_features: usize, rng: &mut impl Rng) -> Self {
        let sizes = [n_features, HIDDEN[0], HIDDEN[1], 1];
        let layers = sizes.windows(2).map(|size| {
            let bound = 1.0 / (size[0].max(1) as f64).sqrt();
            let mut draw = || rng.random_range(-bound..=bound);
            Layer {
                weight: Array2::from_shape_simple_fn((size[0], size[1]), &mut draw),
                bias: Array1::from_shape_simple_fn(size[1], &mut draw),
            }
        });
        Self {
            layers: layers.collect(),
        }
    }

    /// Log odds that each row of `x` `[n, F]` is recorded, `[n]`.
    ///
    /// # Errors
    /// As [`Discriminator::fool`].
    pub fn log_odds(&self, x: &ArrayView2<'_, f64>) -> Result<Array1<f64>, LossError> {
        Ok(self.forward(x)?.1)
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
        let (inputs, odds) = self.forward(model)?;
        let m = odds.len() as f64;
        let value = odds.iter().map(|l| softplus(-l)).sum::<f64>() / m;
        let d_odds = odds.mapv(|l| -sigmoid(-l) / m);
        Ok((value, self.backward(&inputs, &d_odds).1))
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
        let ((of_data, data), (of_model, model)) = (self.forward(data)?, self.forward(model)?);
        let (n, m) = (2.0 * data.len() as f64, 2.0 * model.len() as f64);
        let value =
            data.iter().map(|l| softplus(-l)).sum::<f64>() / n + model.iter().map(|l| softplus(*l)).sum::<f64>() / m;
        let (mut gradient, _) = self.backward(&of_data, &data.mapv(|l| -sigmoid(-l) / n));
        let (more, _) = self.backward(&of_model, &model.mapv(|l| sigmoid(l) / m));
        for (layer, more) in gradient.layers.iter_mut().zip(more.layers) {
            layer.weight += &more.weight;
            layer.bias += &more.bias;
        }
        Ok((value, gradient))
    }

    /// Inputs of every layer `[n, inputs]` and the output.
    fn forward(&self, x: &ArrayView2<'_, f64>) -> Result<(Vec<Array2<f64>>, Array1<f64>), LossError> {
        let n_features = self.layers.first().map_or(0, |layer| layer.weight.nrows());
        check_shape("features of a discriminator", &[x.ncols()], &[n_features])?;
        check_finite("features of a discriminator", x)?;
        if x.nrows() == 0 {
            return Err(LossError::NoData {
                what: "spike-GAN",
                reason: "there is no trial".to_owned(),
            });
        }
        let mut inputs = Vec::with_capacity(self.layers.len());
        let mut now = x.to_owned();
        for (i, layer) in self.layers.iter().enumerate() {
            let next = now.dot(&layer.weight) + &layer.bias;
            inputs.push(now);
            let is_last = i + 1 == self.layers.len();
            now = if is_last { next } else { next.mapv(leaky) };
        }
        Ok((inputs, now.index_axis_move(Axis(1), 0)))
    }

    /// Gradients of the layers and of the features, given that of the output.
    fn backward(&self, inputs: &[Array2<f64>], d_odds: &Array1<f64>) -> (Self, Array2<f64>) {
        let mut d = d_odds.clone().insert_axis(Axis(1));
        let mut layers = Vec::with_capacity(self.layers.len());
        for (i, (layer, input)) in self.layers.iter().zip(inputs).enumerate().rev() {
            layers.push(Layer {
                weight: input.t().dot(&d),
                bias: d.sum_axis(Axis(0)),
            });
            d = d.dot(&layer.weight.t());
            if i > 0 {
                // The input is a hidden unit: positive exactly where the rectifier's slope is 1.
                d.zip_mut_with(input, |d, x| *d *= if *x > 0.0 { 1.0 } else { LEAK });
            }
        }
        layers.reverse();
        (Self { layers }, d)
    }
}

fn leaky(x: f64) -> f64 {
    if x > 0.0 { x } else { LEAK * x }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// ln(1 + eˣ) without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
