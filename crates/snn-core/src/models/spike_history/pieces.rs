//! Encoding of many rows without holding the layers of all of them at once.

use std::ops::Range;

use super::encoder::{Encoded, Encoder};
use crate::CoreError;
use crate::models::Parameters;
use burn::tensor::Device;
use ndarray::{Array2, s};

/// Features of a range of rows, `[R, B·H·W]`.
pub trait Rows {
    /// What goes wrong besides the encoding.
    type Error: From<CoreError>;

    /// Features of these rows.
    ///
    /// # Errors
    /// Features that can't be had.
    fn features(&self, rows: Range<usize>) -> Result<Array2<f32>, Self::Error>;
}

/// Drive of many rows. What the gradient needs is kept where one piece has them all, and computed again piece by piece otherwise.
#[derive(Debug)]
pub struct EncodedRows {
    /// Drive of each row, `[R, N]`.
    pub drive: Array2<f32>,
    kept: Option<Encoded>,
    most: usize,
}

impl Encoder {
    /// About how many bytes the features of a row and its layers take while the gradient may still be asked for.
    pub fn bytes_per_row(&self, device: &Device) -> usize {
        let values = if *device == Device::flex() {
            // What went into each layer, and a chunk in the order of the next one.
            2 * self.n_values()
        } else {
            // Each layer keeps what went in and what came out before and after its rectification, and convolutions are products with
            // neighbourhoods written out.
            3 * (self.n_values() + self.spec().n_unfolded())
        };
        size_of::<f32>() * values
    }

    /// Drive of `n` rows of features, in pieces of at most `most_bytes`.
    ///
    /// # Errors
    /// As [`Encoder::encode`], and those of the features.
    pub fn encode_rows<R: Rows>(
        &self,
        device: &Device,
        parameters: &Parameters,
        n: usize,
        rows: &R,
        most_bytes: usize,
    ) -> Result<EncodedRows, R::Error> {
        let most = (most_bytes / self.bytes_per_row(device)).max(1);
        let mut drive = Array2::zeros((n, self.n_neurons()));
        let mut kept = None;
        for piece in pieces(n, most) {
            let encoded = self.encode(device, parameters, &rows.features(piece.clone())?.view())?;
            drive.slice_mut(s![piece, ..]).assign(&encoded.drive);
            if n <= most {
                kept = Some(encoded);
            }
        }
        Ok(EncodedRows { drive, kept, most })
    }
}

impl EncodedRows {
    /// Gradients of the parameters, given dL/ddrive `[R, N]`; encoder, parameters and rows are those that the drive was made of.
    ///
    /// # Errors
    /// As [`Encoder::encode_rows`]; a gradient of another shape.
    pub fn backward<R: Rows>(
        self,
        encoder: &Encoder,
        device: &Device,
        parameters: &Parameters,
        rows: &R,
        d_drive: &Array2<f32>,
    ) -> Result<Parameters, R::Error> {
        crate::rollout::shape("gradient of the drive", d_drive.shape(), self.drive.shape())?;
        if let Some(encoded) = self.kept {
            return Ok(encoded.backward(d_drive)?);
        }
        let mut gradient = parameters.zeros_like();
        for piece in pieces(d_drive.nrows(), self.most) {
            let encoded = encoder.encode(device, parameters, &rows.features(piece.clone())?.view())?;
            gradient.add(&encoded.backward(&d_drive.slice(s![piece, ..]).to_owned())?)?;
        }
        Ok(gradient)
    }
}

fn pieces(n: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(most).map(move |first| first..(first + most).min(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::spike_history::{Basis, EncoderSpec, Layer};
    use crate::rng::StreamRng;
    use ndarray::Array;
    use rand::RngExt;

    struct Given(Array2<f32>);

    impl Rows for Given {
        type Error = CoreError;

        fn features(&self, rows: Range<usize>) -> Result<Array2<f32>, CoreError> {
            Ok(self.0.slice(s![rows, ..]).to_owned())
        }
    }

    #[test]
    fn drives_and_gradients_in_pieces_are_those_of_one_piece() {
        let spec = EncoderSpec {
            pixels: [1, 7],
            lags: 4,
            basis: Basis::Raw,
            layers: vec![Layer::Conv { filters: 3, kernel: 3 }, Layer::Dense { units: 5 }],
        };
        let encoder = Encoder::new(spec, 2).unwrap();
        let parameters = encoder.initial(3);
        let mut rng = StreamRng::new(1, "test.pieces", 0);
        let n = 23;
        let rows = Given(Array::from_shape_simple_fn((n, encoder.n_features()), || {
            rng.random_range(-1.0..1.0)
        }));
        let d = Array::from_shape_simple_fn((n, 2), || rng.random_range(-1.0..1.0));
        let device = Device::flex();
        let run = |most_bytes: usize| {
            let encoded = encoder.encode_rows(&device, &parameters, n, &rows, most_bytes).unwrap();
            let drive = encoded.drive.clone();
            assert_eq!(encoded.kept.is_some(), most_bytes == usize::MAX);
            (
                drive,
                encoded.backward(&encoder, &device, &parameters, &rows, &d).unwrap(),
            )
        };
        let (drive, gradient) = run(usize::MAX);
        // Pieces of 5, 5, 5, 5 and 3 rows, and of one.
        for most_bytes in [5 * encoder.bytes_per_row(&device), 1] {
            let (in_pieces, of_pieces) = run(most_bytes);
            assert!((&drive - &in_pieces).iter().all(|x| x.abs() < 1e-6));
            for (name, whole) in gradient.iter() {
                let part = of_pieces.get(name).unwrap();
                let scale = whole.iter().fold(0.0f32, |m, x| m.max(x.abs()));
                assert!(scale > 0.0, "{name}");
                assert!((whole - part).iter().all(|x| x.abs() < 1e-5 * scale), "{name}");
            }
        }
    }
}
