//! Principal components.

use crate::LossError;
use ndarray::{Array1, Array2, ArrayView2, Axis};

/// Directions of largest variance.
#[derive(Debug, Clone, PartialEq)]
pub struct Pca {
    /// Mean of the points `[F]`.
    pub mean: Array1<f64>,
    /// Unit vectors, largest variance first, `[C, F]`; the largest entry of each is positive.
    pub components: Array2<f64>,
    /// Share of the variance along each of them, `[C]`.
    pub explained: Vec<f64>,
}

impl Pca {
    /// The first `n_components` principal components of points `[K, F]`, fewer where there are fewer points or features.
    ///
    /// # Errors
    /// [`LossError::NoData`] for fewer than 2 points or no feature; [`LossError::NonFinite`].
    pub fn fit(data: &ArrayView2<'_, f64>, n_components: usize) -> Result<Self, LossError> {
        let (n, n_features) = data.dim();
        let mean = data.mean_axis(Axis(0)).filter(|_| n >= 2 && n_features >= 1);
        let Some(mean) = mean else {
            return Err(LossError::NoData {
                what: "principal components",
                reason: format!("{n} points with {n_features} features"),
            });
        };
        crate::error::check_finite("points to embed", data)?;
        let centred = data - &mean;
        let total: f64 = centred.iter().map(|x| x * x).sum();
        // Eigenvectors of the smaller of the two products: XᵀX, or XXᵀ with v = Xᵀu/|Xᵀu|.
        let is_wide = n < n_features;
        let gram = if is_wide {
            centred.dot(&centred.t())
        } else {
            centred.t().dot(&centred)
        };
        let size = gram.nrows();
        let eigen = nalgebra::DMatrix::from_fn(size, size, |i, j| gram[[i, j]]).symmetric_eigen();
        let mut order: Vec<usize> = (0..size).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        let count = n_components.min(n.min(n_features));
        let mut components = Array2::zeros((count, n_features));
        let mut explained = Vec::with_capacity(count);
        for (&column, mut component) in order.iter().zip(components.outer_iter_mut()) {
            let vector: Array1<f64> = eigen.eigenvectors.column(column).iter().copied().collect();
            let direction = if is_wide { centred.t().dot(&vector) } else { vector };
            let length = direction.dot(&direction).sqrt();
            if length > 0.0 {
                let factor = sign(direction.iter().copied()) / length;
                component.assign(&(direction * factor));
            }
            let share = eigen.eigenvalues[column].max(0.0) / total;
            explained.push(if total > 0.0 { share } else { 0.0 });
        }
        Ok(Self {
            mean,
            components,
            explained,
        })
    }

    /// Coordinates `[M, C]` of points `[M, F]`.
    ///
    /// # Errors
    /// [`LossError::Shape`] for another number of features.
    pub fn transform(&self, points: &ArrayView2<'_, f64>) -> Result<Array2<f64>, LossError> {
        crate::error::check_shape("features of points to project", &[points.ncols()], &[self.mean.len()])?;
        Ok((points - &self.mean).dot(&self.components.t()))
    }
}

/// 1 or −1, so that the entry of largest size becomes positive.
pub(super) fn sign(values: impl Iterator<Item = f64>) -> f64 {
    let largest = values.fold(0.0f64, |a, b| if b.abs() > a.abs() { b } else { a });
    if largest < 0.0 { -1.0 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn components_of_points_on_a_line_are_its_direction() {
        // (1, 2, 2)/3 times −2, −1, 0, 3, and a small second direction (2, −2, 1)/3.
        let along = array![-2.0, -1.0, 0.0, 3.0];
        let across = array![0.1, 0.1, -0.3, 0.1];
        let data = Array2::from_shape_fn((4, 3), |(k, f)| {
            5.0 + along[k] * [1.0, 2.0, 2.0][f] / 3.0 + across[k] * [2.0, -2.0, 1.0][f] / 3.0
        });
        // Wide and tall: the same points and many copies of them.
        let tall = Array2::from_shape_fn((12, 3), |(k, f)| data[[k % 4, f]]);
        for data in [data.clone(), tall] {
            let pca = Pca::fit(&data.view(), 2).unwrap();
            for (found, expected) in pca.components.row(0).iter().zip([1.0, 2.0, 2.0]) {
                // The two coordinates are uncorrelated.
                assert!((found - expected / 3.0).abs() < 1e-9, "{:?}", pca.components);
            }
            assert!((pca.explained[0] - 14.0 / 14.12).abs() < 1e-9);
            assert!((pca.explained.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let coordinates = pca.transform(&data.view()).unwrap();
            assert!((coordinates[[3, 0]] - 3.0).abs() < 1e-9);
        }
    }

    #[test]
    fn points_that_are_all_the_same_have_no_direction() {
        let pca = Pca::fit(&Array2::ones((3, 2)).view(), 2).unwrap();
        assert_eq!(pca.explained, [0.0, 0.0]);
        assert!(Pca::fit(&Array2::ones((1, 2)).view(), 2).is_err());
        assert!(Pca::fit(&array![[1.0], [f64::NAN]].view(), 1).is_err());
    }
}
