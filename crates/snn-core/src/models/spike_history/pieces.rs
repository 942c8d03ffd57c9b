//! Encoding of many rows without holding the layers of all of them at once.

use std::ops::Range;

use super::encoder::{Encoded, Encoder};
use crate::CoreError;
use crate::models::Parameters;
use burn::tensor::Device;
use ndarray::{Array2, s};

/// Pieces that may be held at once.
const PIECES: usize = 4;

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

/// Drive of many rows. What the gradient needs is kept of as many as may be held at once, and computed again for the others.
#[derive(Debug)]
pub struct EncodedRows {
    /// Drive of each row, `[R, N]`.
    pub drive: Array2<f32>,
    /// Of the first pieces.
    kept: Vec<Encoded>,
    /// Rows of a piece.
    size: usize,
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
        // All in one piece, or in pieces of which all but one are kept.
        let (size, most_kept) = if n <= most {
            (most, 1)
        } else {
            ((most / PIECES).max(1), PIECES.min(most) - 1)
        };
        let mut drive = Array2::zeros((n, self.n_neurons()));
        let mut kept = Vec::new();
        for piece in pieces(n, size) {
            let encoded = self.encode(device, parameters, &rows.features(piece.clone())?.view())?;
            drive.slice_mut(s![piece, ..]).assign(&encoded.drive);
            if kept.len() < most_kept {
                kept.push(encoded);
            }
        }
        Ok(EncodedRows { drive, kept, size })
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
        let mut gradient = parameters.zeros_like();
        let mut kept = self.kept.into_iter();
        for piece in pieces(d_drive.nrows(), self.size) {
            let encoded = match kept.next() {
                Some(encoded) => encoded,
                None => encoder.encode(device, parameters, &rows.features(piece.clone())?.view())?,
            };
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
            let encoded_size = encoded.size;
            let (drive, kept) = (encoded.drive.clone(), encoded.kept.len());
            let gradient = encoded.backward(&encoder, &device, &parameters, &rows, &d).unwrap();
            (drive, gradient, (encoded_size, kept))
        };
        let (drive, gradient, (_, kept)) = run(usize::MAX);
        assert_eq!(kept, 1);
        // At most 20 rows: pieces of 5, 5, 5, 5 and 3, of which 3 are kept. At most 6 or 1: pieces of one, 3 or none of them kept.
        for (most, size, kept) in [(20, 5, 3), (6, 1, 3), (1, 1, 0)] {
            let (in_pieces, of_pieces, found) = run(most * encoder.bytes_per_row(&device));
            assert_eq!(found, (size, kept));
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
