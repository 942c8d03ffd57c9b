//! Spectral radius of a weight matrix.

use ndarray::Array2;

/// Largest |eigenvalue| of a square matrix: Schur decomposition up to this size, repeated squaring above.
const LARGEST_SCHUR: usize = 300;

/// Largest |eigenvalue| of a square matrix; 0 for an empty or nilpotent one.
pub fn spectral_radius(m: &Array2<f64>) -> f64 {
    let n = m.nrows();
    if n == 0 {
        return 0.0;
    }
    if n <= LARGEST_SCHUR {
        let dense = nalgebra::DMatrix::from_fn(n, n, |i, j| m[[i, j]]);
        if let Some(schur) = nalgebra::Schur::try_new(dense, f64::EPSILON, 100 * n) {
            return schur
                .complex_eigenvalues()
                .iter()
                .map(|z| z.re.hypot(z.im))
                .fold(0.0, f64::max);
        }
    }
    spectral_radius_by_squaring(m)
}

/// Gelfand's formula `ρ = lim ‖Mᵏ‖^(1/k)` along k = 2ⁱ, each square divided by its norm.
///
/// Unlike power iteration it needs no start vector and doesn't care about complex or repeated leading eigenvalues;
/// the relative error after i squarings is below `ln(c)/2ⁱ`, c the departure from normality.
pub(super) fn spectral_radius_by_squaring(m: &Array2<f64>) -> f64 {
    const SQUARINGS: i32 = 32;
    let norm = |m: &Array2<f64>| m.iter().map(|x| x * x).sum::<f64>().sqrt();
    let mut power = m.clone();
    let mut log_radius = 0.0;
    for i in 0..=SQUARINGS {
        let size = norm(&power);
        if size == 0.0 || !size.is_finite() {
            return if size == 0.0 { 0.0 } else { f64::NAN };
        }
        log_radius += size.ln() / 2f64.powi(i);
        power /= size;
        power = power.dot(&power);
    }
    log_radius.exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn spectral_radius_is_that_of_matrices_with_known_eigenvalues() {
        let rotation = array![[0.0, -2.0], [2.0, 0.0]]; // ±2i
        let nilpotent = array![[0.0, 1.0, 5.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]];
        let jordan = array![[0.7, 10.0], [0.0, 0.7]];
        let negative = array![[-3.0, 1.0], [0.0, 1.0]];
        for (m, want) in [(rotation, 2.0), (nilpotent, 0.0), (jordan, 0.7), (negative, 3.0)] {
            assert!(
                (spectral_radius(&m) - want).abs() < 1e-5,
                "Schur: {}",
                spectral_radius(&m)
            );
            assert!(
                (spectral_radius_by_squaring(&m) - want).abs() < 1e-6,
                "squaring: {}",
                spectral_radius_by_squaring(&m)
            );
        }
        // A cyclic shift of 350 neurons, above the size of the Schur decomposition: all eigenvalues on a circle.
        let shift = Array2::from_shape_fn((350, 350), |(i, j)| if j == (i + 1) % 350 { 0.4 } else { 0.0 });
        assert!((spectral_radius(&shift) - 0.4).abs() < 1e-9);
    }
}
