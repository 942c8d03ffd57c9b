//! The layers on the processor, forward and backward.
//!
//! Rows go through in chunks whose number doesn't depend on that of the threads, so that sums of gradients don't either. Between
//! convolutions values are ordered `[maps, rows, pixels]`: a convolution is then one matrix product of kernels and neighbourhoods for
//! several rows at once, its result in the order of the next. Neighbourhoods are written out for so few rows at a time that they stay
//! in the cache, and again for the gradient.

use super::{Encoder, Layer, Pooling, Shape};
use crate::CoreError;
use crate::models::Parameters;
use crate::models::parameters::misfit;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayD, ArrayView2, ArrayViewMut2, s};
use rayon::prelude::*;
use std::ops::Range;

/// A chunk has about so many values between two layers, and at least and at most so many rows.
const CHUNK_VALUES: usize = 1 << 16;
const CHUNK_ROWS: [usize; 2] = [16, 256];

/// Gradients are summed in at most so many parts at once, of about so many values together.
const PARTS: usize = 32;
const PARTS_VALUES: usize = 1 << 24;

/// Neighbourhoods are written out for about so many pixels at a time.
const UNFOLDED_PIXELS: usize = 1024;

/// Layers that rows went through, with what the gradient needs.
#[derive(Debug)]
pub(super) struct Forward {
    network: Network,
    chunks: Vec<Chunk>,
    /// Rows of each chunk but the last.
    rows: usize,
}

/// Layers with their weights.
#[derive(Debug)]
struct Network {
    layers: Vec<Weighted>,
    shapes: Vec<Shape>,
    out: Array2<f32>,
}

#[derive(Debug)]
enum Weighted {
    /// Weights `[filters, maps · a · b]`.
    Conv {
        w: Array2<f32>,
        bias: Vec<f32>,
        sides: [usize; 2],
    },
    Pool(Pooling),
    /// Weights `[units, features]`.
    Dense {
        w: Array2<f32>,
        bias: Vec<f32>,
    },
}

/// Rows that go through together.
#[derive(Debug)]
struct Chunk {
    n: usize,
    /// What goes into each layer, and into the linear map.
    inputs: Vec<Values>,
    /// For each pool the pixel of the image before that each of its outputs is; empty for other layers.
    picked: Vec<Vec<u32>>,
}

/// Values of some rows between two layers.
#[derive(Debug)]
struct Values {
    data: Vec<f32>,
    /// Whether they are ordered `[maps, rows, pixels]`; otherwise `[rows, maps, pixels]`.
    by_map: bool,
}

/// Gradients of the layers in their order: weights and biases, and of the linear map.
#[derive(Debug, Clone)]
struct Gradients {
    layers: Vec<Option<(Array2<f32>, Vec<f32>)>>,
    out: Array2<f32>,
}

impl Forward {
    /// Sends rows of features `[R, B·H·W]` through; their drive `[R, N]`.
    pub(super) fn of(
        encoder: &Encoder,
        parameters: &Parameters,
        features: &ArrayView2<'_, f32>,
    ) -> Result<(Array2<f32>, Self), CoreError> {
        let network = Network::new(encoder, parameters)?;
        let n_rows = features.nrows();
        let largest = network.shapes.iter().map(|shape| shape.len()).max().unwrap_or(1).max(1);
        // Whole blocks of the products' kernels: 66 rows take 6 % longer than 64.
        let rows = (CHUNK_VALUES / largest / CHUNK_ROWS[0] * CHUNK_ROWS[0]).clamp(CHUNK_ROWS[0], CHUNK_ROWS[1]);
        let n_neurons = encoder.n_neurons;
        let mut drive = vec![0.0; n_rows * n_neurons];
        let chunks = drive
            .par_chunks_mut((rows * n_neurons).max(1))
            .enumerate()
            .map(|(chunk, drive)| {
                let first = chunk * rows;
                let n = drive.len() / n_neurons;
                let drive = ArrayViewMut2::from_shape((n, n_neurons), drive).expect("as many values as the shape has");
                network.forward(&features.slice(s![first..first + n, ..]), drive)
            })
            .collect();
        let drive = Array2::from_shape_vec((n_rows, n_neurons), drive).expect("as many values as the shape has");
        Ok((drive, Self { network, chunks, rows }))
    }

    /// Gradients of the parameters, given dL/ddrive `[R, N]`.
    pub(super) fn backward(&self, d_drive: &Array2<f32>) -> Parameters {
        let network = &self.network;
        let n_parts = (PARTS_VALUES / network.n_weights().max(1)).clamp(1, PARTS);
        let chunks_of_part = self.chunks.len().div_ceil(n_parts).max(1);
        let parts: Vec<Gradients> = self
            .chunks
            .par_chunks(chunks_of_part)
            .enumerate()
            .map(|(part, chunks)| {
                let mut gradients = network.no_gradients();
                for (i, chunk) in chunks.iter().enumerate() {
                    let first = (part * chunks_of_part + i) * self.rows;
                    let d = d_drive.slice(s![first..first + chunk.n, ..]);
                    network.backward(chunk, &d, Some(&mut gradients), false);
                }
                gradients
            })
            .collect();
        let mut sum = network.no_gradients();
        for part in &parts {
            sum.add(part);
        }
        network.named(sum)
    }

    /// Gradient of the sum of a neuron's drive over all rows with respect to each row's features, summed over rows, `[B·H·W]`.
    pub(super) fn sum_of_feature_gradients(&self, neuron: usize) -> Vec<f64> {
        let network = &self.network;
        let of_chunk = |chunk: &Chunk| {
            let mut d = Array2::zeros((chunk.n, network.out.ncols()));
            d.column_mut(neuron).fill(1.0);
            network.backward(chunk, &d.view(), None, true)
        };
        let n_features = network.shapes[0].len();
        let mut sum = vec![0.0; n_features];
        for gradient in self.chunks.par_iter().map(of_chunk).collect::<Vec<_>>() {
            for row in gradient.chunks_exact(n_features.max(1)) {
                for (sum, value) in sum.iter_mut().zip(row) {
                    *sum += f64::from(*value);
                }
            }
        }
        sum
    }
}

impl Network {
    fn new(encoder: &Encoder, parameters: &Parameters) -> Result<Self, CoreError> {
        let shapes = encoder.spec.shapes();
        let get = |name: &str| parameters.get(name).ok_or_else(|| misfit(name, None, "an array"));
        let weighted = |(l, (layer, shape)): (usize, (&Layer, &Shape))| -> Result<Weighted, CoreError> {
            let bias = || Ok::<_, CoreError>(get(&format!("encoder.{l}.bias"))?.iter().copied().collect());
            let w = || Ok::<_, CoreError>(rows_of(get(&format!("encoder.{l}.w"))?));
            Ok(match *layer {
                Layer::Conv { kernel, .. } => Weighted::Conv {
                    w: w()?,
                    bias: bias()?,
                    sides: shape.sides(kernel),
                },
                Layer::MaxPool { size, stride } => {
                    Weighted::Pool(Pooling::new([shape.height, shape.width], size, stride))
                }
                Layer::Dense { .. } => Weighted::Dense { w: w()?, bias: bias()? },
            })
        };
        let layers = encoder.spec.layers.iter().zip(&shapes).enumerate().map(weighted);
        Ok(Self {
            layers: layers.collect::<Result<_, _>>()?,
            out: rows_of(get("encoder.out.w")?),
            shapes,
        })
    }

    fn n_weights(&self) -> usize {
        let layers = self.layers.iter().map(|layer| match layer {
            Weighted::Conv { w, .. } | Weighted::Dense { w, .. } => w.len(),
            Weighted::Pool(_) => 0,
        });
        layers.sum::<usize>() + self.out.len()
    }

    fn no_gradients(&self) -> Gradients {
        let layers = self.layers.iter().map(|layer| match layer {
            Weighted::Conv { w, bias, .. } | Weighted::Dense { w, bias } => {
                Some((Array2::zeros(w.raw_dim()), vec![0.0; bias.len()]))
            }
            Weighted::Pool(_) => None,
        });
        Gradients {
            layers: layers.collect(),
            out: Array2::zeros(self.out.raw_dim()),
        }
    }

    /// Gradients under the names and in the shapes of the parameters.
    fn named(&self, gradients: Gradients) -> Parameters {
        let mut out = Parameters::new();
        for (l, gradient) in gradients.layers.into_iter().enumerate() {
            let Some((w, bias)) = gradient else { continue };
            let w = match &self.layers[l] {
                Weighted::Conv { sides: [a, b], .. } => {
                    let shape = vec![w.nrows(), self.shapes[l].maps, *a, *b];
                    w.into_dyn()
                        .into_shape_with_order(shape)
                        .expect("as many weights as the kernels have")
                }
                Weighted::Pool(_) | Weighted::Dense { .. } => w.into_dyn(),
            };
            out.insert(&format!("encoder.{l}.w"), w);
            out.insert(&format!("encoder.{l}.bias"), ndarray::Array1::from_vec(bias));
        }
        out.insert("encoder.out.w", gradients.out);
        out
    }

    fn forward(&self, features: &ArrayView2<'_, f32>, mut drive: ArrayViewMut2<'_, f32>) -> Chunk {
        let n = features.nrows();
        let mut values = Values {
            data: features.iter().copied().collect(),
            by_map: false,
        };
        let (mut inputs, mut picked) = (Vec::new(), Vec::new());
        for (layer, ends) in self.layers.iter().zip(self.shapes.windows(2)) {
            let (shape, next) = (ends[0], ends[1]);
            let mut picks = Vec::new();
            let output = match layer {
                Weighted::Conv { w, bias, sides } => {
                    values.order(true, n, shape);
                    let mut data = filled(bias, n * shape.pixels());
                    convolve(w, *sides, &values.data, n, shape, &mut data);
                    rectify(&mut data);
                    Values { data, by_map: true }
                }
                Weighted::Pool(pooling) => {
                    let data;
                    (data, picks) = pool(&values.data, shape, next, *pooling);
                    Values {
                        data,
                        by_map: values.by_map,
                    }
                }
                Weighted::Dense { w, bias } => {
                    values.order(false, n, shape);
                    let mut y = Array2::from_shape_fn((n, bias.len()), |(_, u)| bias[u]);
                    let x = matrix(&values.data, n, shape.len());
                    general_mat_mul(1.0, &x, &w.t(), 1.0, &mut y);
                    let mut data = y.into_raw_vec_and_offset().0;
                    rectify(&mut data);
                    Values { data, by_map: false }
                }
            };
            inputs.push(std::mem::replace(&mut values, output));
            picked.push(picks);
        }
        let last = self.last();
        values.order(false, n, last);
        let x = matrix(&values.data, n, last.len());
        general_mat_mul(1.0, &x, &self.out, 0.0, &mut drive);
        inputs.push(values);
        Chunk { n, inputs, picked }
    }

    /// Adds the gradients of a chunk, given dL/ddrive of its rows, where they are asked for; the gradient of its features `[rows,
    /// B·H·W]`, where that is, otherwise nothing.
    fn backward(
        &self,
        chunk: &Chunk,
        d_drive: &ArrayView2<'_, f32>,
        mut gradients: Option<&mut Gradients>,
        of_features: bool,
    ) -> Vec<f32> {
        let (n, last) = (chunk.n, self.last());
        let n_layers = self.layers.len();
        let x = matrix(&chunk.inputs[n_layers].data, n, last.len());
        if let Some(gradients) = gradients.as_deref_mut() {
            general_mat_mul(1.0, &x.t(), d_drive, 1.0, &mut gradients.out);
        }
        if n_layers == 0 && !of_features {
            return Vec::new();
        }
        let mut d = Values {
            data: product(d_drive, &self.out.t()),
            by_map: false,
        };
        for (l, layer) in self.layers.iter().enumerate().rev() {
            let (shape, next) = (self.shapes[l], self.shapes[l + 1]);
            let (input, output) = (&chunk.inputs[l], &chunk.inputs[l + 1]);
            // What came out was put in the order of the layer after.
            d.order(output.by_map, n, next);
            let wanted = l > 0 || of_features;
            let gradient = gradients
                .as_deref_mut()
                .and_then(|gradients| gradients.layers[l].as_mut());
            d = match layer {
                Weighted::Conv { w, sides, .. } => {
                    pass_rectifier(&mut d.data, &output.data);
                    d.order(true, n, next);
                    let data = convolve_back(w, *sides, input, &d.data, n, shape, gradient, wanted);
                    Values { data, by_map: true }
                }
                Weighted::Pool(_) => {
                    d.order(input.by_map, n, next);
                    let mut data = vec![0.0; n * shape.len()];
                    let images = data.chunks_exact_mut(shape.pixels());
                    let of_image = d.data.chunks_exact(next.pixels());
                    let picked = chunk.picked[l].chunks_exact(next.pixels());
                    for ((image, d), picked) in images.zip(of_image).zip(picked) {
                        for (d, pixel) in d.iter().zip(picked) {
                            image[*pixel as usize] += d;
                        }
                    }
                    Values {
                        data,
                        by_map: input.by_map,
                    }
                }
                Weighted::Dense { w, .. } => {
                    pass_rectifier(&mut d.data, &output.data);
                    d.order(false, n, next);
                    let dy = matrix(&d.data, n, next.len());
                    if let Some((d_w, d_bias)) = gradient {
                        let x = matrix(&input.data, n, shape.len());
                        general_mat_mul(1.0, &dy.t(), &x, 1.0, d_w);
                        for row in dy.rows() {
                            for (sum, d) in d_bias.iter_mut().zip(row) {
                                *sum += d;
                            }
                        }
                    }
                    let data = if wanted { product(&dy, &w.view()) } else { Vec::new() };
                    Values { data, by_map: false }
                }
            };
        }
        if of_features {
            d.order(false, n, self.shapes[0]);
        }
        d.data
    }

    /// Shape of what goes into the linear map.
    fn last(&self) -> Shape {
        *self.shapes.last().expect("shapes before each layer and after the last")
    }
}

impl Gradients {
    fn add(&mut self, other: &Self) {
        for (own, other) in self.layers.iter_mut().zip(&other.layers) {
            if let (Some((w, bias)), Some((other_w, other_bias))) = (own, other) {
                *w += other_w;
                for (own, other) in bias.iter_mut().zip(other_bias) {
                    *own += other;
                }
            }
        }
        self.out += &other.out;
    }
}

impl Values {
    /// Puts the values of `n` rows in this order.
    fn order(&mut self, by_map: bool, n: usize, shape: Shape) {
        if self.by_map == by_map {
            return;
        }
        self.by_map = by_map;
        let pixels = shape.pixels();
        let (outer, inner) = if by_map { (n, shape.maps) } else { (shape.maps, n) };
        if outer == 1 || inner == 1 {
            return;
        }
        let mut data = Vec::with_capacity(self.data.len());
        for i in 0..inner {
            for o in 0..outer {
                let start = (o * inner + i) * pixels;
                data.extend_from_slice(&self.data[start..start + pixels]);
            }
        }
        self.data = data;
    }
}

/// An array as a matrix of its first axis and all others.
fn rows_of(array: &ArrayD<f32>) -> Array2<f32> {
    let rows = array.shape()[0];
    let columns = array.len() / rows.max(1);
    Array2::from_shape_vec((rows, columns), array.iter().copied().collect()).expect("as many values as the shape has")
}

fn matrix(data: &[f32], rows: usize, columns: usize) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape((rows, columns), data).expect("as many values as the shape has")
}

/// Matrix product in row-major order, which `dot` doesn't promise.
fn product(a: &ArrayView2<'_, f32>, b: &ArrayView2<'_, f32>) -> Vec<f32> {
    let mut out = vec![0.0; a.nrows() * b.ncols()];
    let mut view =
        ArrayViewMut2::from_shape((a.nrows(), b.ncols()), &mut out[..]).expect("as many values as the shape has");
    general_mat_mul(1.0, a, b, 0.0, &mut view);
    out
}

/// Each bias `n` times.
fn filled(bias: &[f32], n: usize) -> Vec<f32> {
    bias.iter().flat_map(|bias| std::iter::repeat_n(*bias, n)).collect()
}

/// What isn't a number stays what it is, so that a fit that diverges is seen.
fn rectify(values: &mut [f32]) {
    for value in values {
        if *value < 0.0 {
            *value = 0.0;
        }
    }
}

/// Gradient of what went into a rectifier, given that of what came out.
fn pass_rectifier(d: &mut [f32], output: &[f32]) {
    for (d, y) in d.iter_mut().zip(output) {
        if *y <= 0.0 {
            *d = 0.0;
        }
    }
}

/// Rows whose neighbourhoods are written out together.
fn parts(n: usize, shape: Shape) -> impl Iterator<Item = Range<usize>> {
    let rows = (UNFOLDED_PIXELS / shape.pixels().max(1)).max(1);
    (0..n).step_by(rows).map(move |first| first..(first + rows).min(n))
}

/// Adds to `output` `[filters, n, pixels]` what kernels make of `input` `[maps, n, pixels]`.
fn convolve(w: &Array2<f32>, sides: [usize; 2], input: &[f32], n: usize, shape: Shape, output: &mut [f32]) {
    let pixels = shape.pixels();
    let mut y = ArrayViewMut2::from_shape((w.nrows(), n * pixels), output).expect("as many values as the shape has");
    if sides == [1, 1] {
        general_mat_mul(1.0, w, &matrix(input, shape.maps, n * pixels), 1.0, &mut y);
        return;
    }
    let mut unfolded = Vec::new();
    for rows in parts(n, shape) {
        let columns = rows.len() * pixels;
        unfold(input, n, rows.clone(), shape, sides, &mut unfolded);
        let mut y = y.slice_mut(s![.., rows.start * pixels..rows.end * pixels]);
        general_mat_mul(1.0, w, &matrix(&unfolded, w.ncols(), columns), 1.0, &mut y);
    }
}

/// Adds the gradient of kernels and biases, given that of what came out, `d` `[filters, n, pixels]`; that of `input` `[maps, n, pixels]`
/// where it is wanted, otherwise nothing.
fn convolve_back(
    w: &Array2<f32>,
    sides: [usize; 2],
    input: &Values,
    d: &[f32],
    n: usize,
    shape: Shape,
    mut gradient: Option<&mut (Array2<f32>, Vec<f32>)>,
    wanted: bool,
) -> Vec<f32> {
    let pixels = shape.pixels();
    let d = matrix(d, w.nrows(), n * pixels);
    if let Some((_, d_bias)) = gradient.as_deref_mut() {
        for (sum, d) in d_bias.iter_mut().zip(d.rows()) {
            *sum += d.sum();
        }
    }
    if sides == [1, 1] {
        if let Some((d_w, _)) = gradient {
            let x = matrix(&input.data, shape.maps, n * pixels);
            general_mat_mul(1.0, &d, &x.t(), 1.0, d_w);
        }
        let d_input = wanted.then(|| product(&w.t(), &d));
        return d_input.unwrap_or_default();
    }
    let mut d_input = vec![0.0; if wanted { n * shape.len() } else { 0 }];
    let mut unfolded = Vec::new();
    for rows in parts(n, shape) {
        let columns = rows.len() * pixels;
        let d = d.slice(s![.., rows.start * pixels..rows.end * pixels]);
        if let Some((d_w, _)) = gradient.as_deref_mut() {
            unfold(&input.data, n, rows.clone(), shape, sides, &mut unfolded);
            general_mat_mul(1.0, &d, &matrix(&unfolded, w.ncols(), columns).t(), 1.0, d_w);
        }
        if wanted {
            unfolded.resize(w.ncols() * columns, 0.0);
            let mut d_unfolded = ArrayViewMut2::from_shape((w.ncols(), columns), &mut unfolded[..])
                .expect("as many values as the shape has");
            general_mat_mul(1.0, &w.t(), &d, 0.0, &mut d_unfolded);
            fold(&unfolded, n, rows, shape, sides, &mut d_input);
        }
    }
    d_input
}

/// Overlap of an image's axis of so many pixels with itself, moved by place `i` of a kernel of that side: first pixel, that of the moved
/// one, and length.
fn overlap(i: usize, side: usize, pixels: usize) -> (usize, usize, usize) {
    let half = side / 2;
    // Pixel p sees pixel p + i − half.
    let first = half.saturating_sub(i);
    let seen = i.saturating_sub(half);
    match pixels.checked_sub(first.max(seen)) {
        Some(length) => (first, seen, length),
        // Nothing of a kernel that is wider than the image.
        None => (0, 0, 0),
    }
}

/// Map that a row of neighbourhoods is of, and the [`overlap`] along both axes of its place in the kernel.
fn place_of(row: usize, shape: Shape, [a, b]: [usize; 2]) -> (usize, [(usize, usize, usize); 2]) {
    let (i, j) = (row / b % a, row % b);
    let overlaps = [overlap(i, a, shape.height), overlap(j, b, shape.width)];
    (row / (a * b), overlaps)
}

/// Neighbourhoods `[maps · a · b, rows, pixels]` of `input` `[maps, n, pixels]`, zeros around it.
fn unfold(input: &[f32], n: usize, rows: Range<usize>, shape: Shape, sides: [usize; 2], unfolded: &mut Vec<f32>) {
    let pixels = shape.pixels();
    unfolded.clear();
    unfolded.resize(shape.maps * sides[0] * sides[1] * rows.len() * pixels, 0.0);
    let places = unfolded.chunks_exact_mut(rows.len() * pixels).enumerate();
    for (place, images) in places {
        let (map, [(first_i, seen_i, height), (first_j, seen_j, width)]) = place_of(place, shape, sides);
        let seen = &input[(map * n + rows.start) * pixels..];
        for (image, seen) in images.chunks_exact_mut(pixels).zip(seen.chunks_exact(pixels)) {
            for line in 0..height {
                let to = (first_i + line) * shape.width + first_j;
                let from = (seen_i + line) * shape.width + seen_j;
                image[to..to + width].copy_from_slice(&seen[from..from + width]);
            }
        }
    }
}

/// Adds gradients of neighbourhoods to that of `d_input` `[maps, n, pixels]`: what [`unfold`] copied.
fn fold(unfolded: &[f32], n: usize, rows: Range<usize>, shape: Shape, sides: [usize; 2], d_input: &mut [f32]) {
    let pixels = shape.pixels();
    for (place, images) in unfolded.chunks_exact(rows.len() * pixels).enumerate() {
        let (map, [(first_i, seen_i, height), (first_j, seen_j, width)]) = place_of(place, shape, sides);
        let seen = &mut d_input[(map * n + rows.start) * pixels..];
        for (image, seen) in images.chunks_exact(pixels).zip(seen.chunks_exact_mut(pixels)) {
            for line in 0..height {
                let from = (first_i + line) * shape.width + first_j;
                let to = (seen_i + line) * shape.width + seen_j;
                for (sum, d) in seen[to..to + width].iter_mut().zip(&image[from..from + width]) {
                    *sum += d;
                }
            }
        }
    }
}

/// Maxima of neighbourhoods of images, and the pixel that each is: the first, where several are equal.
fn pool(input: &[f32], shape: Shape, next: Shape, pooling: Pooling) -> (Vec<f32>, Vec<u32>) {
    let n_images = input.len() / shape.pixels().max(1);
    let mut output = Vec::with_capacity(n_images * next.pixels());
    let mut picked = Vec::with_capacity(n_images * next.pixels());
    let seen = |out: usize, axis: usize, pixels: usize| {
        let (start, before) = (out * pooling.strides[axis], pooling.beyond[axis].0);
        start.saturating_sub(before)..(start + pooling.sides[axis]).saturating_sub(before).min(pixels)
    };
    for image in input.chunks_exact(shape.pixels()) {
        for i in 0..next.height {
            for j in 0..next.width {
                let (mut most, mut pick) = (f32::NEG_INFINITY, 0);
                for line in seen(i, 0, shape.height) {
                    for pixel in seen(j, 1, shape.width) {
                        let at = line * shape.width + pixel;
                        let value = image[at];
                        // What isn't a number is the maximum, so that a fit that diverges is seen.
                        if value > most || value.is_nan() {
                            (most, pick) = (value, at);
                        }
                    }
                }
                output.push(most);
                picked.push(pick as u32);
            }
        }
    }
    (output, picked)
}
