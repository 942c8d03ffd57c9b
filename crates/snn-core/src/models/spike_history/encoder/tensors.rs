//! The layers in burn's tensors, under autodiff.

use super::{Encoder, Layer, Pooling, Shape};
use crate::CoreError;
use crate::models::Parameters;
use crate::models::parameters::misfit;
use burn::tensor::activation::relu;
use burn::tensor::module::{conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{DType, Device, Tensor, TensorData};
use ndarray::{Array2, ArrayD, ArrayView2, Axis};

/// Layers that rows went through, with what the gradient needs.
#[derive(Debug)]
pub(super) struct Forward {
    leaves: Vec<(String, Leaf)>,
    output: Tensor<2>,
}

#[derive(Debug)]
enum Leaf {
    Vector(Tensor<1>),
    Matrix(Tensor<2>),
    Kernel(Tensor<4>),
}

impl Forward {
    /// Sends rows of features `[R, B·H·W]` through; their drive `[R, N]`.
    pub(super) fn of(
        encoder: &Encoder,
        device: &Device,
        parameters: &Parameters,
        features: &ArrayView2<'_, f32>,
    ) -> Result<(Array2<f32>, Self), CoreError> {
        let device = device.clone().autodiff();
        let x = matrix(features, &device);
        let (output, leaves) = through_layers(encoder, parameters, x, &device)?;
        let drive = read(&output, &device)?
            .into_dimensionality()
            .map_err(|e| failed(&device, &e))?;
        Ok((drive, Self { leaves, output }))
    }

    /// Gradients of the parameters, given dL/ddrive `[R, N]`.
    pub(super) fn backward(self, d_drive: &Array2<f32>) -> Result<Parameters, CoreError> {
        let device = self.output.device();
        let d = matrix(&d_drive.view(), &device);
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

/// Gradient of the sum of a neuron's drive over all rows with respect to each row's features, summed over rows, `[B·H·W]`.
pub(super) fn sum_of_feature_gradients(
    encoder: &Encoder,
    device: &Device,
    parameters: &Parameters,
    features: &ArrayView2<'_, f32>,
    neuron: usize,
) -> Result<Vec<f64>, CoreError> {
    let device = device.clone().autodiff();
    let x = matrix(features, &device).require_grad();
    let (output, _) = through_layers(encoder, parameters, x.clone(), &device)?;
    let gradients = output.slice([0..features.nrows(), neuron..neuron + 1]).sum().backward();
    let gradient: Array2<f32> = of_leaf(&x, &gradients, &device)?
        .into_dimensionality()
        .map_err(|e| failed(&device, &e))?;
    Ok(gradient.mapv(f64::from).sum_axis(Axis(0)).to_vec())
}

/// Drive `[R, N]` of features `[R, B·H·W]`, and the parameters as leaves of the graph.
fn through_layers(
    encoder: &Encoder,
    parameters: &Parameters,
    mut x: Tensor<2>,
    device: &Device,
) -> Result<(Tensor<2>, Vec<(String, Leaf)>), CoreError> {
    let rows = x.dims()[0];
    let shapes = encoder.spec.shapes();
    let mut leaves = Vec::new();
    for (l, (layer, shape)) in encoder.spec.layers.iter().zip(&shapes).enumerate() {
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
                let Pooling { sides, strides, beyond } = Pooling::new([height, width], size, stride);
                let pool = MaxPoolOptions::new(sides)
                    .with_stride(strides)
                    .with_padding_pairs(beyond);
                max_pool2d(image, pool).reshape([rows, shapes[l + 1].len()])
            }
        };
    }
    let w = leaf::<2>(parameters, "encoder.out.w", device)?;
    let output = x.matmul(w.clone());
    leaves.push(("encoder.out.w".into(), Leaf::Matrix(w)));
    Ok((output, leaves))
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
