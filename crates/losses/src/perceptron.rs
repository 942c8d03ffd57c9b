//! Fully connected networks with one output, and their gradient.
//!
//! Why here: discriminators and classifiers of single trials are such networks; they are small, and the crate builds
//! without tensors on a device.

use ndarray::{Array1, Array2, ArrayView2, Axis};
use rand::{Rng, RngExt};

use crate::LossError;
use crate::error::{check_finite, check_shape};

/// A network with rectified hidden units.
#[derive(Debug, Clone, PartialEq)]
pub struct Perceptron {
    /// Layers from the features to the output.
    pub layers: Vec<Layer>,
    /// Slope of the hidden units below 0: 0 for a plain rectifier.
    pub leak: f64,
}

/// One layer, `x W + b`.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// `[inputs, outputs]`.
    pub weight: Array2<f64>,
    /// `[outputs]`.
    pub bias: Array1<f64>,
}

impl Perceptron {
    /// Random layers of these sizes, features first, then hidden units, then the one output: uniform in ±1/√inputs, weights
    /// and biases.
    ///
    /// # Source
    /// The initialisation of PyTorch's `Linear`.
    pub fn new(n_features: usize, hidden: &[usize], leak: f64, rng: &mut impl Rng) -> Self {
        let mut sizes = vec![n_features];
        sizes.extend_from_slice(hidden);
        sizes.push(1);
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
            leak,
        }
    }

    /// Output for each row of `x` `[n, F]`, `[n]`.
    ///
    /// # Errors
    /// [`LossError::Shape`] for other features than the network's, [`LossError::NonFinite`], [`LossError::NoData`] without
    /// rows.
    pub fn output(&self, x: &ArrayView2<'_, f64>) -> Result<Array1<f64>, LossError> {
        Ok(forward(&self.layers, self.leak, x)?.1)
    }

    /// Mean binary cross-entropy of the output as log odds, and its gradient with respect to the layers.
    ///
    /// $$L = \frac1n\sum_k -y_k \ln \sigma(l_k) - (1 - y_k) \ln (1 - \sigma(l_k))$$
    ///
    /// # Shapes
    /// `x` `[n, F]`, `is_positive` `[n]`.
    ///
    /// # Errors
    /// As [`Perceptron::output`]; [`LossError::Shape`] for another number of labels.
    pub fn cross_entropy(&self, x: &ArrayView2<'_, f64>, is_positive: &[bool]) -> Result<(f64, Vec<Layer>), LossError> {
        check_shape("labels of trials", &[is_positive.len()], &[x.nrows()])?;
        let (inputs, odds) = forward(&self.layers, self.leak, x)?;
        let n = odds.len() as f64;
        let loss = |(l, y): (&f64, &bool)| if *y { softplus(-l) } else { softplus(*l) };
        let value = odds.iter().zip(is_positive).map(loss).sum::<f64>() / n;
        let d = |(l, y): (&f64, &bool)| (sigmoid(*l) - f64::from(u8::from(*y))) / n;
        let d_odds = odds.iter().zip(is_positive).map(d).collect();
        Ok((value, backward(&self.layers, self.leak, &inputs, &d_odds).0))
    }
}

/// Inputs of every layer `[n, inputs]` and the output `[n]`.
pub(crate) fn forward(
    layers: &[Layer],
    leak: f64,
    x: &ArrayView2<'_, f64>,
) -> Result<(Vec<Array2<f64>>, Array1<f64>), LossError> {
    let n_features = layers.first().map_or(0, |layer| layer.weight.nrows());
    check_shape("features of a trial", &[x.ncols()], &[n_features])?;
    check_finite("features of a trial", x)?;
    if x.nrows() == 0 {
        return Err(LossError::NoData {
            what: "network of single trials",
            reason: "there is no trial".to_owned(),
        });
    }
    let mut inputs = Vec::with_capacity(layers.len());
    let mut now = x.to_owned();
    for (i, layer) in layers.iter().enumerate() {
        let next = now.dot(&layer.weight) + &layer.bias;
        inputs.push(now);
        let is_last = i + 1 == layers.len();
        now = if is_last {
            next
        } else {
            next.mapv(|x| if x > 0.0 { x } else { leak * x })
        };
    }
    Ok((inputs, now.index_axis_move(Axis(1), 0)))
}

/// Gradients of the layers and of the features, given that of the output `[n]`.
pub(crate) fn backward(
    layers: &[Layer],
    leak: f64,
    inputs: &[Array2<f64>],
    d_output: &Array1<f64>,
) -> (Vec<Layer>, Array2<f64>) {
    let mut d = d_output.clone().insert_axis(Axis(1));
    let mut gradients = Vec::with_capacity(layers.len());
    for (i, (layer, input)) in layers.iter().zip(inputs).enumerate().rev() {
        gradients.push(Layer {
            weight: input.t().dot(&d),
            bias: d.sum_axis(Axis(0)),
        });
        d = d.dot(&layer.weight.t());
        if i > 0 {
            // The input is a hidden unit: positive exactly where the rectifier's slope is 1.
            d.zip_mut_with(input, |d, x| *d *= if *x > 0.0 { 1.0 } else { leak });
        }
    }
    gradients.reverse();
    (gradients, d)
}

/// 1/(1 + e⁻ˣ).
pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// ln(1 + eˣ) without overflow.
pub(crate) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn the_gradient_of_the_cross_entropy_equals_central_differences() {
        let mut rng = rand::rngs::SmallRng::seed_from_u64(4);
        let network = Perceptron::new(3, &[5, 4], 0.0, &mut rng);
        let x = Array2::from_shape_simple_fn((6, 3), || rng.random_range(-2.0..2.0));
        let labels = [true, false, true, true, false, false];
        let (value, gradient) = network.cross_entropy(&x.view(), &labels).unwrap();
        let odds = network.output(&x.view()).unwrap();
        let by_hand: f64 = odds
            .iter()
            .zip(labels)
            .map(|(l, y)| -(if y { sigmoid(*l) } else { 1.0 - sigmoid(*l) }).ln())
            .sum();
        assert!((value - by_hand / 6.0).abs() < 1e-12);
        for (l, gradient) in gradient.iter().enumerate() {
            for i in 0..network.layers[l].weight.len() {
                let at = |step: f64| {
                    let mut moved = network.clone();
                    moved.layers[l].weight.as_slice_mut().unwrap()[i] += step;
                    moved.cross_entropy(&x.view(), &labels).unwrap().0
                };
                let difference = (at(1e-6) - at(-1e-6)) / 2e-6;
                let found = *gradient.weight.iter().nth(i).unwrap();
                assert!((found - difference).abs() < 1e-8, "layer {l}: {found} {difference}");
            }
        }
        assert!(network.cross_entropy(&x.view(), &labels[..5]).is_err());
    }
}
