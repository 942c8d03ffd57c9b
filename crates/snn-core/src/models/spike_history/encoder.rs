//! Stimulus encoders: what a stimulus drives each neuron with.
//!
//! Two stages. First, fixed functions of the lag (or the lags themselves) filter every channel causally, the present bin
//! included: features `[B, H, W]` of each bin. Then trained layers, each followed by a rectifier, and a linear map to the
//! neurons, which a bias of the network completes. Without layers it is the linear filter of a GLM; with convolutions over
//! the image of raw lags the published encoder of movies; with a kernel of one pixel first, a causal convolution over
//! time followed by spatial ones, that of the retina.
//!
//! On an adapter the layers run in burn, under autodiff; on the processor they are written out forward and backward, which with
//! convolutions is faster. Parameters and gradients are plain named arrays, like those of the network.
//!
//! # Source
//! Bellec, Wang et al. 2021; specification `sample-and-measure` §1.2.1 and §1.2.6.

mod processor;
mod tensors;

use super::{Basis, truncated_normal};
use crate::CoreError;
use crate::models::Parameters;
use crate::models::parameters::misfit;
use crate::rng::StreamRng;
use burn::tensor::Device;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, Array3, ArrayD, ArrayView2, ArrayViewMut2, Axis};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Most weights of a layer: their bytes are far beyond any machine's memory with gradients and moments, and their number still fits.
const MOST_WEIGHTS: u128 = 1 << 36;

/// One trained layer; a rectifier follows convolutions and dense layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Layer {
    /// Convolution over the image, of stride 1 and zeros around it.
    Conv {
        /// Number of filters.
        filters: usize,
        /// Side of the kernel in pixels, odd; along an axis of one pixel it is 1.
        kernel: usize,
    },
    /// Maximum of neighbouring pixels; outputs `⌈pixels/stride⌉` per axis.
    MaxPool {
        /// Side of the neighbourhood.
        size: usize,
        /// Pixels from one output to the next.
        stride: usize,
    },
    /// All features of the layer before.
    Dense {
        /// Number of units.
        units: usize,
    },
}

/// What an encoder is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderSpec {
    /// Pixels along two axes, `H × W`; `1 × C` for C channels in a row. Channels of a recording are in this order.
    pub pixels: [usize; 2],
    /// Bins of the stimulus that matter, the present one included.
    pub lags: usize,
    /// Functions of the lag.
    pub basis: Basis,
    /// Layers before the linear map.
    pub layers: Vec<Layer>,
}

/// Shape of the features of one bin between two layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    maps: usize,
    height: usize,
    width: usize,
}

impl Shape {
    fn len(self) -> usize {
        self.maps * self.pixels()
    }

    fn pixels(self) -> usize {
        self.height * self.width
    }

    /// Sides of a kernel over such an image: along an axis of one pixel there is nothing around it.
    fn sides(self, kernel: usize) -> [usize; 2] {
        [self.height, self.width].map(|pixels| if pixels == 1 { 1 } else { kernel })
    }

    /// Weights and biases of a layer that takes such features.
    fn weights(self, layer: &Layer) -> u128 {
        let of_each = |sizes: [usize; 3]| sizes.into_iter().map(|n| n as u128).product::<u128>() + 1;
        match *layer {
            Layer::Conv { filters, kernel } => {
                let [a, b] = self.sides(kernel);
                filters as u128 * of_each([self.maps, a, b])
            }
            Layer::MaxPool { .. } => 0,
            Layer::Dense { units } => units as u128 * of_each([self.maps, self.height, self.width]),
        }
    }
}

/// An encoder of `n_neurons` neurons.
///
/// | name | shape | meaning |
/// |---|---|---|
/// | `encoder.<l>.w` | `[filters, maps, kernel, kernel]` or `[units, features]` | of layer l, from 0 |
/// | `encoder.<l>.bias` | `[filters]` or `[units]` | of layer l |
/// | `encoder.out.w` | `[features, N]` | the linear map |
#[derive(Debug, Clone, PartialEq)]
pub struct Encoder {
    spec: EncoderSpec,
    n_neurons: usize,
    /// Functions of the lag `[B, L]`, lag 0 first.
    basis: Array2<f32>,
    /// Sums of the functions up to each lag, `[B, L + 1]`.
    sums: Array2<f32>,
}

/// What an encoder made of features, with what its gradient needs.
#[derive(Debug)]
pub struct Encoded {
    /// Drive of each row, `[R, N]`.
    pub drive: Array2<f32>,
    layers: Layers,
}

#[derive(Debug)]
enum Layers {
    Processor(processor::Forward),
    Tensors(Box<tensors::Forward>),
}

impl EncoderSpec {
    /// Shapes of the features before each layer and after the last.
    fn shapes(&self) -> Vec<Shape> {
        let mut shape = Shape {
            maps: self.basis.n_functions(self.lags),
            height: self.pixels[0],
            width: self.pixels[1],
        };
        let mut shapes = vec![shape];
        for layer in &self.layers {
            shape = match *layer {
                Layer::Conv { filters, .. } => Shape { maps: filters, ..shape },
                Layer::MaxPool { stride, .. } => Shape {
                    height: shape.height.div_ceil(stride.max(1)),
                    width: shape.width.div_ceil(stride.max(1)),
                    ..shape
                },
                Layer::Dense { units } => Shape {
                    maps: units,
                    height: 1,
                    width: 1,
                },
            };
            shapes.push(shape);
        }
        shapes
    }

    /// Channels of the stimulus.
    pub fn n_channels(&self) -> usize {
        self.pixels[0] * self.pixels[1]
    }

    /// Checks every number.
    ///
    /// # Errors
    /// The first one out of range, with its layer.
    pub fn check(&self) -> Result<(), CoreError> {
        let range = |what: String, value: usize, expected| CoreError::Range {
            what,
            value: value as f64,
            expected,
        };
        if self.n_channels() == 0 {
            return Err(range("pixels of the encoder".into(), 0, "at least 1 along each axis"));
        }
        if self.lags == 0 {
            return Err(range("lags of the encoder".into(), 0, "at least 1"));
        }
        self.basis.check(self.lags)?;
        for (l, layer) in self.layers.iter().enumerate() {
            let of = |what: &str| format!("{what} of layer {l} of the encoder");
            match *layer {
                Layer::Conv { filters: 0, .. } => return Err(range(of("filters"), 0, "at least 1")),
                Layer::Conv { kernel, .. } if kernel % 2 == 0 => {
                    return Err(range(of("kernel"), kernel, "an odd number of pixels"));
                }
                Layer::MaxPool { size, stride } if size == 0 || stride == 0 || size < stride => {
                    return Err(range(
                        of("size of the pool"),
                        size,
                        "at least 1 and no less than its stride",
                    ));
                }
                Layer::Dense { units: 0 } => return Err(range(of("units"), 0, "at least 1")),
                _ => {}
            }
        }
        self.check_sizes()
    }

    /// Refuses layers of more weights than can be counted.
    fn check_sizes(&self) -> Result<(), CoreError> {
        for (l, (layer, shape)) in self.layers.iter().zip(self.shapes()).enumerate() {
            let weights = shape.weights(layer);
            if weights > MOST_WEIGHTS {
                return Err(CoreError::Range {
                    what: format!("weights of layer {l} of the encoder"),
                    value: weights as f64,
                    expected: "no more than 2^36: fewer filters or units, a smaller kernel, or a pool before",
                });
            }
        }
        Ok(())
    }

    /// Values of the neighbourhoods of a bin's pixels, those of all convolutions.
    pub fn n_unfolded(&self) -> usize {
        let shapes = self.shapes();
        let layers = self.layers.iter().zip(&shapes);
        let unfolded = layers.map(|(layer, shape)| match *layer {
            Layer::Conv { kernel, .. } => {
                let [a, b] = shape.sides(kernel);
                shape.len() * a * b
            }
            Layer::Dense { .. } | Layer::MaxPool { .. } => 0,
        });
        unfolded.sum()
    }

    /// Weights and biases of an encoder of that many neurons.
    pub fn n_weights(&self, n_neurons: usize) -> u64 {
        let shapes = self.shapes();
        let layers = self.layers.iter().zip(&shapes);
        let layers: u128 = layers.map(|(layer, shape)| shape.weights(layer)).sum();
        let out = Layer::Dense { units: n_neurons };
        let bias = n_neurons as u128;
        let all = layers + shapes.last().map_or(0, |shape| shape.weights(&out) - bias);
        u64::try_from(all).unwrap_or(u64::MAX)
    }
}

impl Encoder {
    /// An encoder for `n_neurons` neurons.
    ///
    /// # Errors
    /// See [`EncoderSpec::check`].
    pub fn new(spec: EncoderSpec, n_neurons: usize) -> Result<Self, CoreError> {
        spec.check()?;
        let basis = spec.basis.values(spec.lags);
        let mut sums = Array2::zeros((basis.nrows(), spec.lags + 1));
        for (mut sums, row) in sums.rows_mut().into_iter().zip(basis.rows()) {
            let mut sum = 0.0;
            for (lag, value) in row.iter().enumerate() {
                sum += value;
                sums[lag + 1] = sum as f32;
            }
        }
        Ok(Self {
            basis: basis.mapv(|x| x as f32),
            spec,
            n_neurons,
            sums,
        })
    }

    /// What it is made of.
    pub fn spec(&self) -> &EncoderSpec {
        &self.spec
    }

    /// Neurons that it drives.
    pub fn n_neurons(&self) -> usize {
        self.n_neurons
    }

    /// Values of a bin: its features, and what each layer makes of them.
    pub fn n_values(&self) -> usize {
        self.spec.shapes().into_iter().map(Shape::len).sum::<usize>() + self.n_neurons
    }

    /// Features of a bin, `B·H·W`.
    pub fn n_features(&self) -> usize {
        self.basis.nrows() * self.spec.n_channels()
    }

    /// Initial parameters from stream `"encoder"` of `seed`: kernels uniform within `±√(6/(fan in + fan out))`, the linear map
    /// from a normal distribution of `1/√features` cut at two standard deviations, biases 0.
    ///
    /// # Source
    /// Specification §1.2 (Glorot-uniform kernels of Keras).
    pub fn initial(&self, seed: u64) -> Parameters {
        let mut parameters = Parameters::new();
        for (name, shape) in self.arrays() {
            let mut rng = StreamRng::new(seed, &name, 0);
            let array = match shape[..] {
                [_] => ArrayD::zeros(shape),
                [features, _] if name == "encoder.out.w" => {
                    let deviation = 1.0 / (features as f64).sqrt();
                    ArrayD::from_shape_simple_fn(shape, || (deviation * truncated_normal(&mut rng)) as f32)
                }
                _ => {
                    let area: usize = shape[2..].iter().product();
                    let limit = (6.0 / ((shape[0] + shape[1]) * area) as f64).sqrt() as f32;
                    ArrayD::from_shape_simple_fn(shape, || rng.random_range(-limit..=limit))
                }
            };
            parameters.insert(&name, array);
        }
        parameters
    }

    /// Names and shapes of the parameters.
    fn arrays(&self) -> Vec<(String, Vec<usize>)> {
        let shapes = self.spec.shapes();
        let mut out = Vec::new();
        for (l, (layer, shape)) in self.spec.layers.iter().zip(&shapes).enumerate() {
            let (w, units) = match *layer {
                Layer::MaxPool { .. } => continue,
                Layer::Conv { filters, kernel } => {
                    let [a, b] = shape.sides(kernel);
                    (vec![filters, shape.maps, a, b], filters)
                }
                Layer::Dense { units } => (vec![units, shape.len()], units),
            };
            out.push((format!("encoder.{l}.w"), w));
            out.push((format!("encoder.{l}.bias"), vec![units]));
        }
        let last = shapes.last().map_or(0, |shape| shape.len());
        out.push(("encoder.out.w".into(), vec![last, self.n_neurons]));
        out
    }

    /// Refuses parameters that aren't those of this encoder; others of the same set may stand beside them.
    ///
    /// # Errors
    /// An array that is missing or has another shape.
    pub fn check(&self, parameters: &Parameters) -> Result<(), CoreError> {
        for (name, shape) in self.arrays() {
            let found = parameters.get(&name).map(ndarray::ArrayBase::shape);
            if found != Some(&shape) {
                return Err(misfit(&name, found, &format!("shape {shape:?}")));
            }
        }
        Ok(())
    }

    /// Features `[bins, B, C]` of bins `first..first + bins` of a stimulus `[T, C]`: `Σ_l φ_b(l) x_c(t − l)`. Before its first bin
    /// the stimulus holds that.
    ///
    /// A stimulus that stays the same for some bins costs as much as one that has as many bins as it has changes.
    ///
    /// # Errors
    /// Another number of channels, bins beyond the last.
    pub fn features(
        &self,
        stimulus: &ArrayView2<'_, f32>,
        first: usize,
        bins: usize,
    ) -> Result<Array3<f32>, CoreError> {
        let (t_end, channels) = stimulus.dim();
        crate::rollout::shape("channels of the stimulus", &[channels], &[self.spec.n_channels()])?;
        if t_end == 0 || first + bins > t_end {
            return Err(CoreError::Range {
                what: "bins of the stimulus that are encoded".into(),
                value: (first + bins) as f64,
                expected: "no more than the stimulus has",
            });
        }
        // Bins in which a frame begins; what is before the stimulus, or before the longest lag, is the earliest frame.
        let earliest = (first + 1).saturating_sub(self.spec.lags);
        let changes = |&t: &usize| t == earliest || stimulus.row(t) != stimulus.row(t - 1);
        let frames: Vec<usize> = (earliest..first + bins).filter(changes).collect();
        let functions = self.basis.nrows();
        let mut values = vec![0.0f32; bins * functions * channels];
        // Bins of a block see nearly the same frames: one product of weights and frames.
        let block = (self.spec.lags / 4).clamp(8, 64);
        let blocks = values.par_chunks_mut(block * functions * channels).enumerate();
        blocks.for_each(|(i, features)| {
            let n = features.len() / (functions * channels);
            let (weights, seen) = self.frame_weights(&frames, first + i * block, n);
            let shown = stimulus.select(Axis(0), &frames[seen]);
            let shape = (n * functions, channels);
            let mut out = ArrayViewMut2::from_shape(shape, features).expect("as many values as the shape has");
            general_mat_mul(1.0, &weights, &shown, 0.0, &mut out);
        });
        let shape = (bins, functions, channels);
        Ok(Array3::from_shape_vec(shape, values).expect("as many values as the shape has"))
    }

    /// What each function of the lag gives each frame in bins `first..first + bins`, `[bins · B, frames]`, and the frames that they
    /// see, of `frames`, which begin in these bins and last until the next. The first has been there for ever.
    fn frame_weights(&self, frames: &[usize], first: usize, bins: usize) -> (Array2<f32>, Range<usize>) {
        let (functions, lags) = (self.basis.nrows(), self.spec.lags);
        // From the last frame that began no later than the longest lag before the first bin.
        let oldest = (first + 1).saturating_sub(lags);
        let seen =
            frames.partition_point(|&t| t <= oldest).saturating_sub(1)..frames.partition_point(|&t| t < first + bins);
        let mut weights = Array2::zeros((bins * functions, seen.len()));
        for (bin, mut of_bin) in weights.axis_chunks_iter_mut(Axis(0), functions).enumerate() {
            let now = first + bin;
            for (place, frame) in seen.clone().enumerate() {
                let began = frames[frame];
                if began > now {
                    break;
                }
                let until = frames.get(frame + 1).copied().unwrap_or(usize::MAX).min(now + 1);
                let from = (now + 1 - until).min(lags);
                let to = if frame == 0 { lags } else { (now + 1 - began).min(lags) };
                for (weight, sums) in of_bin.column_mut(place).iter_mut().zip(self.sums.rows()) {
                    *weight = sums[to] - sums[from];
                }
            }
        }
        (weights, seen)
    }

    /// Drive of rows of features `[R, B·H·W]`, and what its gradient needs.
    ///
    /// # Errors
    /// Arrays that don't fit, a device that fails.
    pub fn encode(
        &self,
        device: &Device,
        parameters: &Parameters,
        features: &ArrayView2<'_, f32>,
    ) -> Result<Encoded, CoreError> {
        self.check(parameters)?;
        crate::rollout::shape("features of the stimulus", &[features.ncols()], &[self.n_features()])?;
        let (drive, layers) = if *device == Device::flex() {
            let (drive, layers) = processor::Forward::of(self, parameters, features)?;
            (drive, Layers::Processor(layers))
        } else {
            let (drive, layers) = tensors::Forward::of(self, device, parameters, features)?;
            (drive, Layers::Tensors(Box::new(layers)))
        };
        Ok(Encoded { drive, layers })
    }

    /// Mean over rows of features `[R, B·H·W]` of the gradient of a neuron's drive with respect to them, `[B·H·W]`: the linear
    /// encoder that is nearest to this one around these stimuli, and without layers its own weights.
    ///
    /// # Errors
    /// Arrays that don't fit, a neuron that isn't there, a device that fails.
    pub fn mean_gradient(
        &self,
        device: &Device,
        parameters: &Parameters,
        features: &ArrayView2<'_, f32>,
        neuron: usize,
    ) -> Result<Array1<f64>, CoreError> {
        self.check(parameters)?;
        crate::rollout::shape("features of the stimulus", &[features.ncols()], &[self.n_features()])?;
        if neuron >= self.n_neurons || features.nrows() == 0 {
            return Err(CoreError::Range {
                what: "neuron and rows of a mean gradient".into(),
                value: neuron as f64,
                expected: "a neuron of the encoder, and at least one row",
            });
        }
        let sum = if *device == Device::flex() {
            processor::Forward::of(self, parameters, features)?
                .1
                .sum_of_feature_gradients(neuron)
        } else {
            tensors::sum_of_feature_gradients(self, device, parameters, features, neuron)?
        };
        Ok(Array1::from_vec(sum) / features.nrows() as f64)
    }

    /// Weights of features `[B·H·W]` as a filter over lags and channels, `[L, C]`, lag 0 first: `Σ_b φ_b(l) w_bc`.
    pub fn filter(&self, weights: &Array1<f64>) -> Array2<f64> {
        let channels = self.spec.n_channels();
        Array2::from_shape_fn((self.spec.lags, channels), |(lag, c)| {
            let functions = self.basis.column(lag);
            let terms = functions.iter().enumerate();
            terms.map(|(b, phi)| f64::from(*phi) * weights[b * channels + c]).sum()
        })
    }

    /// Functions of the lag, `[B, L]`, lag 0 first.
    pub fn basis(&self) -> &Array2<f32> {
        &self.basis
    }
}

impl Encoded {
    /// Gradients of the parameters, given dL/ddrive `[R, N]`.
    ///
    /// # Errors
    /// A gradient of another shape, a device that fails.
    pub fn backward(self, d_drive: &Array2<f32>) -> Result<Parameters, CoreError> {
        crate::rollout::shape("gradient of the drive", d_drive.shape(), self.drive.shape())?;
        match self.layers {
            Layers::Processor(layers) => Ok(layers.backward(d_drive)),
            Layers::Tensors(layers) => layers.backward(d_drive),
        }
    }
}

/// Neighbourhoods of a pool along both axes.
#[derive(Debug, Clone, Copy)]
struct Pooling {
    sides: [usize; 2],
    strides: [usize; 2],
    /// Pixels beyond the image, before its first and after its last.
    beyond: [(usize, usize); 2],
}

impl Pooling {
    /// Neighbourhoods that cover every pixel and give `⌈pixels/stride⌉` outputs, as Keras' padding 'same' does.
    fn new(pixels: [usize; 2], size: usize, stride: usize) -> Self {
        // Along an axis of one pixel there is nothing to pool.
        let sides = pixels.map(|p| if p == 1 { 1 } else { size });
        let strides = pixels.map(|p| if p == 1 { 1 } else { stride });
        let beyond = [0, 1].map(|axis| {
            let all =
                ((pixels[axis].div_ceil(strides[axis]) - 1) * strides[axis] + sides[axis]).saturating_sub(pixels[axis]);
            (all / 2, all - all / 2)
        });
        Self { sides, strides, beyond }
    }
}

#[cfg(test)]
mod tests;
