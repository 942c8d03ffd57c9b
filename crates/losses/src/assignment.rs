//! Linear assignment: the cheapest pairing of rows and columns of a cost matrix.
//!
//! Kuhn–Munkres of the crate `pathfinding` on integers, O(n²·m); 1–2 ms at 150×150.

use ndarray::ArrayView2;
use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;

use crate::LossError;
use crate::error::check_finite;

/// Largest number of bits of a scaled cost: beyond it an f64 cost has no more digits.
const MAX_BITS: u32 = 52;

/// Column assigned to each row such that the summed cost is smallest.
///
/// Costs are mapped to integers, `round((c − min)/(max − min) · 2^b)` with
/// `b = min(52, 61 − ⌈log2(n + 1)⌉)`, so no sum of n of them overflows an i64. Rounding moves each cost by
/// at most half a unit, so the summed cost of the result is within `n·(max − min)/2^b` of the optimum
/// (for n = 1000: 5·10⁻¹³ of the range). Pairings closer than that are ties; ties are broken by the
/// algorithm, the same way each time.
///
/// # Shapes
/// `cost` `[n, m]` with n ≤ m; result `[n]`, distinct columns.
///
/// # Errors
/// [`LossError::Shape`] if n > m; [`LossError::NonFinite`] for a NaN or infinite cost.
///
/// ```
/// let cost = ndarray::array![[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]];
/// assert_eq!(losses::assignment::assign(&cost.view())?, vec![1, 0, 2]);
/// # Ok::<(), losses::LossError>(())
/// ```
pub fn assign(cost: &ArrayView2<'_, f64>) -> Result<Vec<usize>, LossError> {
    let (n_rows, n_columns) = cost.dim();
    if n_rows > n_columns {
        return Err(LossError::Shape {
            what: "assignment cost (at most as many rows as columns)".to_owned(),
            found: vec![n_rows, n_columns],
            expected: vec![n_columns, n_columns],
        });
    }
    check_finite("assignment cost", cost)?;
    if n_rows == 0 {
        return Ok(Vec::new());
    }
    let (lowest, highest) = cost.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &c| {
        (low.min(c), high.max(c))
    });
    // Halves keep the range finite for costs near the largest f64.
    let half_range = highest / 2.0 - lowest / 2.0;
    let top = (1u64 << scale_bits(n_rows)) as f64;
    // kuhn_munkres maximises, so the cheapest pair weighs most.
    let weights = Matrix::from_fn(n_rows, n_columns, |(i, j)| {
        if half_range > 0.0 {
            ((highest / 2.0 - cost[[i, j]] / 2.0) / half_range * top).round() as i64
        } else {
            0
        }
    });
    Ok(kuhn_munkres(&weights).1)
}

/// Bits of a scaled cost for n rows.
fn scale_bits(n_rows: usize) -> u32 {
    let bits_of_rows = usize::BITS - n_rows.leading_zeros(); // ⌈log2(n + 1)⌉
    61u32.saturating_sub(bits_of_rows).min(MAX_BITS)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    #[test]
    fn a_matrix_worked_out_by_hand_is_assigned_at_least_cost() {
        let cost = array![[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]];
        assert_eq!(assign(&cost.view()).unwrap(), vec![1, 0, 2]);
        let wide = array![[9.0, 2.0, 7.0, 8.0], [6.0, 1.0, 3.0, 7.0]];
        assert_eq!(assign(&wide.view()).unwrap(), vec![1, 2]);
    }

    #[test]
    fn costs_that_no_assignment_can_order_are_errors() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = assign(&array![[1.0, 2.0], [bad, 0.0]].view()).unwrap_err();
            assert!(matches!(error, LossError::NonFinite { index, .. } if index == vec![1, 0]));
        }
        assert!(matches!(
            assign(&Array2::zeros((3, 2)).view()),
            Err(LossError::Shape { .. })
        ));
    }

    #[test]
    fn extreme_and_constant_costs_are_assigned() {
        assert_eq!(
            assign(&Array2::<f64>::zeros((0, 4)).view()).unwrap(),
            Vec::<usize>::new()
        );
        let mut constant = assign(&Array2::from_elem((5, 5), 3.7).view()).unwrap();
        constant.sort_unstable();
        assert_eq!(constant, vec![0, 1, 2, 3, 4]);
        let huge = array![[f64::MAX, -f64::MAX], [-f64::MAX, f64::MAX]];
        assert_eq!(assign(&huge.view()).unwrap(), vec![1, 0]);
        let tiny = array![[2e-310, 1e-310], [1e-310, 2e-310]];
        assert_eq!(assign(&tiny.view()).unwrap(), vec![1, 0]);
    }

    #[test]
    fn no_sum_of_scaled_costs_overflows() {
        for n in [1usize, 2, 511, 512, 513, 100_000] {
            let total = (n as u128 + 1) * (1u128 << scale_bits(n));
            assert!(total <= i64::MAX as u128 / 2, "{n} rows");
        }
    }
}
