//! Stimulus encoders: what a stimulus drives each neuron with.
//!
//! Two stages. First, fixed functions of the lag (or the lags themselves) filter every channel causally, the present bin
//! included: features `[B, H, W]` of each bin. Then trained layers, each followed by a rectifier, and a linear map to the
//! neurons, which a bias of the network completes. Without layers it is the linear filter of a GLM; with convolutions over
//! the image of raw lags the published encoder of movies; with a kernel of one pixel first, a causal convolution over
//! time followed by spatial ones, that of the retina.
//!
//! The layers run in burn, under autodiff; parameters and gradients are plain named arrays, like those of the network.
//!
//! # Source
//! Bellec, Wang et al. 2021; specification `sample-and-measure` §1.2.1 and §1.2.6.

use super::{Basis, truncated_normal};
use crate::CoreError;
use crate::models::Parameters;
use crate::models::parameters::misfit;
use crate::rng::StreamRng;
use burn::tensor::activation::relu;
use burn::tensor::module::{conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{DType, Device, Tensor, TensorData};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, Array3, ArrayD, ArrayView2, ArrayViewMut2, Axis};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;

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
        self.maps * self.height * self.width
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
    leaves: Vec<(String, Leaf)>,
    output: Tensor<2>,
}

#[derive(Debug)]
enum Leaf {
    Vector(Tensor<1>),
    Matrix(Tensor<2>),
    Kernel(Tensor<4>),
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
        Ok(())
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

    /// Values of the neighbourhoods of a bin's pixels, those of all convolutions.
    pub fn n_unfolded(&self) -> usize {
        let shapes = self.spec.shapes();
        let layers = self.spec.layers.iter().zip(&shapes);
        let unfolded = layers.map(|(layer, shape)| match *layer {
            Layer::Conv { kernel, .. } => {
                let sides = [shape.height, shape.width].map(|pixels| if pixels == 1 { 1 } else { kernel });
                shape.len() * sides[0] * sides[1]
            }
            Layer::Dense { .. } | Layer::MaxPool { .. } => 0,
        });
        unfolded.sum()
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
                    let side = |pixels: usize| if pixels == 1 { 1 } else { kernel };
                    (
                        vec![filters, shape.maps, side(shape.height), side(shape.width)],
                        filters,
                    )
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
        let device = device.clone().autodiff();
        let x = matrix(features, &device);
        let (output, leaves) = self.through_layers(parameters, x, &device)?;
        Ok(Encoded {
            drive: read(&output, &device)?
                .into_dimensionality()
                .map_err(|e| failed(&device, &e))?,
            leaves,
            output,
        })
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
        let device = device.clone().autodiff();
        let x = matrix(features, &device).require_grad();
        let (output, _) = self.through_layers(parameters, x.clone(), &device)?;
        let gradients = output.slice([0..features.nrows(), neuron..neuron + 1]).sum().backward();
        let gradient: Array2<f32> = of_leaf(&x, &gradients, &device)?
            .into_dimensionality()
            .map_err(|e| failed(&device, &e))?;
        let sum = gradient.mapv(f64::from).sum_axis(Axis(0));
        Ok(sum / features.nrows() as f64)
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

    /// Drive `[R, N]` of features `[R, B·H·W]`, and the parameters as leaves of the graph.
    fn through_layers(
        &self,
        parameters: &Parameters,
        mut x: Tensor<2>,
        device: &Device,
    ) -> Result<(Tensor<2>, Vec<(String, Leaf)>), CoreError> {
        let rows = x.dims()[0];
        let shapes = self.spec.shapes();
        let mut leaves = Vec::new();
        for (l, (layer, shape)) in self.spec.layers.iter().zip(&shapes).enumerate() {
            let name = |part: &str| format!("encoder.{l}.{part}");
            let Shape { maps, height, width } = *shape;
            x = match *layer {
                Layer::Dense { .. } => {
                    let w = leaf::<2>(parameters, &name("w"), device)?;
                    let bias = leaf::<1>(parameters, &name("bias"), device)?;
                    let y = relu(x.matmul(w.clone().transpose()) + bias.clone().unsqueeze::<2>());
                    leaves.push((name("w"), Leaf::Matrix(w)));
                    leaves.push((name("bias"), Leaf::Vector(bias)));
                    y
                }
                Layer::Conv { .. } => {
                    let w = leaf::<4>(parameters, &name("w"), device)?;
                    let bias = leaf::<1>(parameters, &name("bias"), device)?;
                    let [_, _, a, b] = w.dims();
                    let around = ConvOptions::new([1, 1], [a / 2, b / 2], [1, 1], 1);
                    let image = x.reshape([rows, maps, height, width]);
                    let y = relu(conv2d(image, w.clone(), Some(bias.clone()), around));
                    leaves.push((name("w"), Leaf::Kernel(w)));
                    leaves.push((name("bias"), Leaf::Vector(bias)));
                    y.reshape([rows, shapes[l + 1].len()])
                }
                Layer::MaxPool { size, stride } => {
                    let image = x.reshape([rows, maps, height, width]);
                    let pool = pooling([height, width], size, stride);
                    max_pool2d(image, pool).reshape([rows, shapes[l + 1].len()])
                }
            };
        }
        let w = leaf::<2>(parameters, "encoder.out.w", device)?;
        let output = x.matmul(w.clone());
        leaves.push(("encoder.out.w".into(), Leaf::Matrix(w)));
        Ok((output, leaves))
    }
}

impl Encoded {
    /// Gradients of the parameters, given dL/ddrive `[R, N]`.
    ///
    /// # Errors
    /// A gradient of another shape, a device that fails.
    pub fn backward(self, d_drive: &Array2<f32>) -> Result<Parameters, CoreError> {
        crate::rollout::shape("gradient of the drive", d_drive.shape(), self.drive.shape())?;
        let device = self.output.device();
        let data = TensorData::new(d_drive.iter().copied().collect::<Vec<f32>>(), d_drive.shape().to_vec());
        let d: Tensor<2> = Tensor::from_data(data, (&device, DType::F32));
        let gradients = (self.output * d).sum().backward();
        let mut out = Parameters::new();
        for (name, leaf) in self.leaves {
            let array = match leaf {
                Leaf::Vector(leaf) => of_leaf(&leaf, &gradients, &device)?,
                Leaf::Matrix(leaf) => of_leaf(&leaf, &gradients, &device)?,
                Leaf::Kernel(leaf) => of_leaf(&leaf, &gradients, &device)?,
            };
            out.insert(&name, array);
        }
        Ok(out)
    }
}

/// Pooling that covers every pixel and gives `⌈pixels/stride⌉` outputs, as Keras' padding 'same' does.
fn pooling(pixels: [usize; 2], size: usize, stride: usize) -> MaxPoolOptions<2> {
    // Along an axis of one pixel there is nothing to pool.
    let sides = pixels.map(|p| if p == 1 { 1 } else { size });
    let strides = pixels.map(|p| if p == 1 { 1 } else { stride });
    let padding = [0, 1].map(|axis| {
        let all =
            ((pixels[axis].div_ceil(strides[axis]) - 1) * strides[axis] + sides[axis]).saturating_sub(pixels[axis]);
        (all / 2, all - all / 2)
    });
    MaxPoolOptions::new(sides)
        .with_stride(strides)
        .with_padding_pairs(padding)
}

fn failed(device: &Device, error: &dyn std::fmt::Display) -> CoreError {
    CoreError::Device {
        asked: format!("{device:?}"),
        reason: error.to_string(),
    }
}

/// Features as a tensor.
fn matrix(features: &ArrayView2<'_, f32>, device: &Device) -> Tensor<2> {
    let data = TensorData::new(
        features.iter().copied().collect::<Vec<f32>>(),
        features.shape().to_vec(),
    );
    Tensor::from_data(data, (device, DType::F32))
}

/// A parameter as a leaf of the graph.
fn leaf<const D: usize>(parameters: &Parameters, name: &str, device: &Device) -> Result<Tensor<D>, CoreError> {
    let array = parameters.get(name).ok_or_else(|| misfit(name, None, "an array"))?;
    let data = TensorData::new(array.iter().copied().collect::<Vec<f32>>(), array.shape().to_vec());
    Ok(Tensor::<D>::from_data(data, (device, DType::F32)).require_grad())
}

fn of_leaf<const D: usize>(
    leaf: &Tensor<D>,
    gradients: &burn::tensor::Gradients,
    device: &Device,
) -> Result<ArrayD<f32>, CoreError> {
    match leaf.grad(gradients) {
        Some(gradient) => read(&gradient, device),
        None => Ok(ArrayD::zeros(leaf.dims().to_vec())),
    }
}

fn read<const D: usize>(tensor: &Tensor<D>, device: &Device) -> Result<ArrayD<f32>, CoreError> {
    let values: Vec<f32> = tensor.try_to_vec_as().map_err(|e| failed(device, &e))?;
    ArrayD::from_shape_vec(tensor.dims().to_vec(), values).map_err(|e| failed(device, &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array4, s};

    fn random(shape: &[usize], number: u64) -> ArrayD<f32> {
        let mut rng = StreamRng::new(4, "test.encoder", number);
        ArrayD::from_shape_simple_fn(shape, || rng.random_range(-1.0..1.0))
    }

    fn specs() -> Vec<EncoderSpec> {
        let cosines = Basis::RaisedCosine {
            n: 3,
            linear_steps: 2.0,
        };
        let spec = |pixels, lags, basis, layers| EncoderSpec {
            pixels,
            lags,
            basis,
            layers,
        };
        let image = vec![
            Layer::Conv { filters: 3, kernel: 3 },
            Layer::MaxPool { size: 3, stride: 2 },
            Layer::Conv { filters: 2, kernel: 3 },
            Layer::MaxPool { size: 3, stride: 2 },
        ];
        let retina = vec![
            Layer::Conv { filters: 4, kernel: 1 },
            Layer::Conv { filters: 3, kernel: 5 },
            Layer::Dense { units: 4 },
        ];
        vec![
            spec([1, 4], 12, cosines, vec![]),
            spec([1, 7], 12, cosines, retina),
            spec([7, 7], 2, Basis::Raw, image),
        ]
    }

    /// The layers as loops in f64: drive of one row.
    fn loops(spec: &EncoderSpec, parameters: &Parameters, features: &[f32]) -> Vec<f64> {
        let mut shape = spec.shapes()[0];
        let mut x: Vec<f64> = features.iter().map(|x| f64::from(*x)).collect();
        for (l, layer) in spec.layers.iter().enumerate() {
            let array = |part: &str| parameters.get(&format!("encoder.{l}.{part}")).unwrap().mapv(f64::from);
            let next = spec.shapes()[l + 1];
            let mut y = vec![0.0; next.len()];
            let at = |m: usize, i: i64, j: i64| -> Option<f64> {
                let inside = i >= 0 && j >= 0 && i < shape.height as i64 && j < shape.width as i64;
                inside.then(|| x[(m * shape.height + i as usize) * shape.width + j as usize])
            };
            match *layer {
                Layer::Dense { units } => {
                    let (w, bias) = (array("w"), array("bias"));
                    for u in 0..units {
                        let sum: f64 = x.iter().enumerate().map(|(f, x)| w[[u, f]] * x).sum();
                        y[u] = (sum + bias[[u]]).max(0.0);
                    }
                }
                Layer::Conv { filters, .. } => {
                    let (w, bias) = (array("w").into_dimensionality::<ndarray::Ix4>().unwrap(), array("bias"));
                    let w: &Array4<f64> = &w;
                    let (a, b) = (w.dim().2, w.dim().3);
                    for o in 0..filters {
                        for i in 0..shape.height {
                            for j in 0..shape.width {
                                let mut sum = bias[[o]];
                                for m in 0..shape.maps {
                                    for di in 0..a {
                                        for dj in 0..b {
                                            let (ii, jj) = (
                                                i as i64 + di as i64 - (a / 2) as i64,
                                                j as i64 + dj as i64 - (b / 2) as i64,
                                            );
                                            sum += w[[o, m, di, dj]] * at(m, ii, jj).unwrap_or(0.0);
                                        }
                                    }
                                }
                                y[(o * next.height + i) * next.width + j] = sum.max(0.0);
                            }
                        }
                    }
                }
                Layer::MaxPool { size, stride } => {
                    let before = |pixels: usize, out: usize| ((out - 1) * stride + size).saturating_sub(pixels) / 2;
                    for m in 0..shape.maps {
                        for i in 0..next.height {
                            for j in 0..next.width {
                                let mut most = f64::NEG_INFINITY;
                                for di in 0..size {
                                    for dj in 0..size {
                                        let ii = (i * stride + di) as i64 - before(shape.height, next.height) as i64;
                                        let jj = (j * stride + dj) as i64 - before(shape.width, next.width) as i64;
                                        most = at(m, ii, jj).map_or(most, |x| most.max(x));
                                    }
                                }
                                y[(m * next.height + i) * next.width + j] = most;
                            }
                        }
                    }
                }
            }
            (x, shape) = (y, next);
        }
        let w = parameters.get("encoder.out.w").unwrap();
        (0..w.shape()[1])
            .map(|n| x.iter().enumerate().map(|(f, x)| f64::from(w[[f, n]]) * x).sum())
            .collect()
    }

    #[test]
    fn drives_and_gradients_are_those_of_plain_loops() {
        let device = crate::device::open(crate::device::DeviceChoice::Cpu).unwrap().device;
        for (number, spec) in specs().into_iter().enumerate() {
            let encoder = Encoder::new(spec.clone(), 3).unwrap();
            let mut parameters = encoder.initial(9);
            for (_, array) in parameters.iter_mut() {
                // Biases take part too.
                let noise = random(array.shape(), 50 + number as u64);
                *array += &(noise * 0.3);
            }
            let rows = 3;
            let features = random(&[rows, encoder.n_features()], number as u64);
            let features = features.into_dimensionality::<ndarray::Ix2>().unwrap();
            let encoded = encoder.encode(&device, &parameters, &features.view()).unwrap();
            let value = |parameters: &Parameters, d: &Array2<f32>| -> f64 {
                let rows = features.rows().into_iter().zip(d.rows());
                rows.map(|(x, d)| {
                    let drive = loops(&spec, parameters, x.as_slice().unwrap());
                    drive.iter().zip(d).map(|(a, b)| a * f64::from(*b)).sum::<f64>()
                })
                .sum()
            };
            for (row, x) in features.rows().into_iter().enumerate() {
                for (n, expected) in loops(&spec, &parameters, x.as_slice().unwrap()).iter().enumerate() {
                    let found = f64::from(encoded.drive[[row, n]]);
                    assert!((found - expected).abs() < 1e-4, "{spec:?}: {found} {expected}");
                }
            }
            let d = random(&[rows, 3], 90).into_dimensionality::<ndarray::Ix2>().unwrap();
            let gradients = encoded.backward(&d).unwrap();
            assert_eq!(gradients.len(), parameters.len());
            for (name, gradient) in gradients.iter() {
                for (flat, found) in gradient.iter().enumerate().step_by(3) {
                    let moved = |h: f32| {
                        let mut p = parameters.clone();
                        *p.get_mut(name).unwrap().iter_mut().nth(flat).unwrap() += h;
                        value(&p, &d)
                    };
                    // A power of two, so that the parameter moves by what is divided by.
                    let h = 1.0 / 4096.0;
                    let slope = (moved(h) - moved(-h)) / (2.0 * f64::from(h));
                    let error = (f64::from(*found) - slope).abs();
                    assert!(
                        error < 2e-3 * slope.abs().max(1.0),
                        "{spec:?}: {name} {flat}: {found} {slope}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_mean_gradient_is_that_of_plain_loops_and_a_filter_is_what_it_makes_of_the_stimulus() {
        let device = crate::device::open(crate::device::DeviceChoice::Cpu).unwrap().device;
        for (number, spec) in specs().into_iter().enumerate() {
            let encoder = Encoder::new(spec.clone(), 3).unwrap();
            let mut parameters = encoder.initial(9);
            for (_, array) in parameters.iter_mut() {
                *array += &(random(array.shape(), 70 + number as u64) * 0.3);
            }
            let features = random(&[3, encoder.n_features()], number as u64);
            let features = features.into_dimensionality::<ndarray::Ix2>().unwrap();
            let found = encoder
                .mean_gradient(&device, &parameters, &features.view(), 1)
                .unwrap();
            let mean = |f: usize, h: f32| -> f64 {
                let rows = features.rows().into_iter();
                let drives = rows.map(|row| {
                    let mut row = row.to_vec();
                    row[f] += h;
                    loops(&spec, &parameters, &row)[1]
                });
                drives.sum::<f64>() / 3.0
            };
            let h = 1.0 / 4096.0;
            for f in (0..features.ncols()).step_by(5) {
                let slope = (mean(f, h) - mean(f, -h)) / (2.0 * f64::from(h));
                assert!((found[f] - slope).abs() < 2e-3, "{spec:?} {f}: {} {slope}", found[f]);
            }
            if spec.layers.is_empty() {
                // A filter over lags and channels gives the drive of the weights of features.
                let stimulus = random(&[30, spec.n_channels()], 5)
                    .into_dimensionality::<ndarray::Ix2>()
                    .unwrap();
                let rows = encoder.features(&stimulus.view(), 25, 1).unwrap();
                let rows = rows.into_shape_with_order((1, encoder.n_features())).unwrap();
                let drive = encoder.encode(&device, &parameters, &rows.view()).unwrap().drive[[0, 1]];
                let filter = encoder.filter(&found);
                let expected: f64 = filter
                    .indexed_iter()
                    .map(|((lag, c), w)| w * f64::from(stimulus[[25 - lag, c]]))
                    .sum();
                assert!((f64::from(drive) - expected).abs() < 1e-4, "{drive} {expected}");
            }
            assert!(
                encoder
                    .mean_gradient(&device, &parameters, &features.view(), 3)
                    .is_err()
            );
        }
    }

    #[test]
    fn features_are_sums_over_lags_of_a_stimulus_that_holds_its_first_bin() {
        for (number, spec) in specs().into_iter().enumerate() {
            let encoder = Encoder::new(spec.clone(), 1).unwrap();
            let (t_end, c) = (40, spec.n_channels());
            let changing = random(&[t_end, c], number as u64)
                .into_dimensionality::<ndarray::Ix2>()
                .unwrap();
            let frames = Array2::from_shape_fn((t_end, c), |(t, c)| changing[[t / 10 * 10, c]]);
            for stimulus in [&changing, &frames] {
                for (first, bins) in [(0, 40), (0, 1), (25, 15), (7, 3)] {
                    let found = encoder.features(&stimulus.view(), first, bins).unwrap();
                    let basis = spec.basis.values(spec.lags);
                    for ((bin, b, c), found) in found.indexed_iter() {
                        let expected: f64 = (0..spec.lags)
                            .map(|lag| basis[[b, lag]] * f64::from(stimulus[[(first + bin).saturating_sub(lag), c]]))
                            .sum();
                        assert!((f64::from(*found) - expected).abs() < 1e-4, "{found} {expected}");
                    }
                }
            }
            assert!(encoder.features(&frames.view(), 30, 11).is_err());
            assert!(encoder.features(&frames.slice(s![.., ..c - 1]), 0, 1).is_err());
        }
    }

    #[test]
    fn the_published_image_encoder_has_the_published_sizes() {
        let spec = EncoderSpec {
            pixels: [27, 27],
            lags: 10,
            basis: Basis::Raw,
            layers: vec![
                Layer::Conv { filters: 16, kernel: 7 },
                Layer::MaxPool { size: 3, stride: 2 },
                Layer::Conv { filters: 32, kernel: 7 },
                Layer::MaxPool { size: 3, stride: 2 },
            ],
        };
        let shapes = spec.shapes();
        assert_eq!((shapes[2].height, shapes[4].height, shapes[4].len()), (14, 7, 1568));
        let parameters = Encoder::new(spec, 69).unwrap().initial(0);
        assert_eq!(parameters.get("encoder.out.w").unwrap().shape(), [1568, 69]);
        assert_eq!(parameters.get("encoder.0.w").unwrap().shape(), [16, 10, 7, 7]);
        let limit = (6.0f32 / ((16 + 10) * 49) as f32).sqrt();
        let most = parameters
            .get("encoder.0.w")
            .unwrap()
            .iter()
            .fold(0.0f32, |m, x| m.max(x.abs()));
        assert!(most <= limit && most > 0.99 * limit);
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let good = specs().remove(1);
        let with = |layer| EncoderSpec {
            layers: vec![layer],
            ..good.clone()
        };
        for bad in [
            with(Layer::Conv { filters: 0, kernel: 3 }),
            with(Layer::Conv { filters: 2, kernel: 4 }),
            with(Layer::MaxPool { size: 1, stride: 2 }),
            with(Layer::Dense { units: 0 }),
            EncoderSpec {
                pixels: [0, 3],
                ..good.clone()
            },
            EncoderSpec {
                lags: 0,
                ..good.clone()
            },
        ] {
            assert!(Encoder::new(bad, 2).is_err());
        }
        let encoder = Encoder::new(good, 2).unwrap();
        let mut parameters = encoder.initial(0);
        parameters.remove("encoder.1.w");
        assert!(encoder.check(&parameters).is_err());
    }
}
