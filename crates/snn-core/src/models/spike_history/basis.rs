//! Functions of a lag that kernels are sums of.

use crate::CoreError;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// What kernels over lags are made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Basis {
    /// A value for each lag.
    Raw,
    /// Raised cosines of the logarithm of the lag: narrow at short lags, wide at long ones.
    RaisedCosine {
        /// Number of functions.
        n: usize,
        /// Lags below about this many steps are spaced evenly, above logarithmically.
        linear_steps: f64,
    },
}

impl Basis {
    /// Number of functions over `lags` lags.
    pub fn n_functions(self, lags: usize) -> usize {
        match self {
            Self::Raw => lags,
            Self::RaisedCosine { n, .. } => n,
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// No function, more than lags, a spacing that isn't a positive number.
    pub fn check(self, lags: usize) -> Result<(), CoreError> {
        let range = |what: &str, value: f64, expected| CoreError::Range {
            what: what.into(),
            value,
            expected,
        };
        if let Self::RaisedCosine { n, linear_steps } = self {
            if n == 0 || n > lags {
                return Err(range(
                    "number of raised cosines",
                    n as f64,
                    "at least 1 and no more than there are lags",
                ));
            }
            if !(linear_steps.is_finite() && linear_steps > 0.0) {
                return Err(range("steps that are spaced evenly", linear_steps, "above 0"));
            }
        }
        Ok(())
    }

    /// Values `[B, D]` at lags `first..first + lags` (in steps), function by function.
    ///
    /// $$\phi_b(\tau) = \tfrac{1}{2} + \tfrac{1}{2}\cos\left(\operatorname{clip}\left(\frac{\pi}{2\Delta}\left(\ln\frac{\tau - \tau_0 + c}{c} - b\Delta\right), -\pi, \pi\right)\right)$$
    ///
    /// The first has its peak at the first lag τ₀, the last falls to 0 at the end: `(B + 1)Δ = ln((D + c)/c)`. Away from both ends
    /// they add up to 2.
    ///
    /// # Source
    /// Pillow et al. 2008, supplement, with the end of the last function at the longest lag.
    pub fn values(self, lags: usize) -> Array2<f64> {
        match self {
            Self::Raw => Array2::eye(lags),
            Self::RaisedCosine { n, linear_steps } => {
                let position = |lag: f64| ((lag + linear_steps) / linear_steps).ln();
                let spacing = position(lags as f64) / (n + 1) as f64;
                Array2::from_shape_fn((n, lags), |(b, lag)| {
                    let x = (position(lag as f64) - b as f64 * spacing) * std::f64::consts::FRAC_PI_2 / spacing;
                    0.5 + 0.5 * x.clamp(-std::f64::consts::PI, std::f64::consts::PI).cos()
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raised_cosines_peak_in_turn_add_up_and_end_with_the_lags() {
        for (n, lags, linear_steps) in [(6, 40, 3.0), (12, 300, 10.0), (1, 5, 1.0)] {
            let basis = Basis::RaisedCosine { n, linear_steps };
            basis.check(lags).unwrap();
            let values = basis.values(lags);
            assert_eq!(values.dim(), (n, lags));
            assert!((values[[0, 0]] - 1.0).abs() < 1e-12, "the first peaks at the first lag");
            let peaks: Vec<usize> = values
                .rows()
                .into_iter()
                .map(|row| (0..lags).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap())
                .collect();
            assert!(peaks.windows(2).all(|p| p[0] < p[1]), "{peaks:?}");
            assert!(values[[n - 1, lags - 1]] < 0.05, "{}", values[[n - 1, lags - 1]]);
            // From the second peak to the last but one, four neighbours share every lag.
            if n > 3 {
                for lag in peaks[1] + 1..peaks[n - 2] {
                    assert!((values.column(lag).sum() - 2.0).abs() < 1e-9, "lag {lag}");
                }
            }
        }
        assert_eq!(Basis::Raw.values(3), Array2::<f64>::eye(3));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for (n, linear_steps) in [(0, 1.0), (6, 1.0), (2, 0.0), (2, f64::NAN)] {
            assert!(Basis::RaisedCosine { n, linear_steps }.check(5).is_err());
        }
        assert!(Basis::Raw.check(5).is_ok());
    }
}
