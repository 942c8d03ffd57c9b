//! Distances between trials, for the losses that need them exactly.
//!
//! Why here: they are the greater part of what these losses cost, and one sum in eight lanes is several times as fast as
//! the obvious one, which adds in order and can't be vectorised.

use ndarray::{Array2, ArrayView1, ArrayView2};

const LANES: usize = 8;

/// `‖x − y‖²`, summed in eight lanes of every eighth feature. From differences: no cancellation between like trials.
pub(crate) fn squared_distance(x: &ArrayView1<'_, f64>, y: &ArrayView1<'_, f64>) -> f64 {
    match (x.as_slice(), y.as_slice()) {
        (Some(x), Some(y)) => in_lanes(x, y),
        // Rows of a matrix that is stored by columns.
        _ => in_lanes(&x.to_vec(), &y.to_vec()),
    }
}

fn in_lanes(x: &[f64], y: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (x, x_rest) = x.as_chunks::<LANES>();
    let (y, y_rest) = y.as_chunks::<LANES>();
    for (x, y) in x.iter().zip(y) {
        for (lane, (x, y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
            *lane += (x - y) * (x - y);
        }
    }
    let rest: f64 = x_rest.iter().zip(y_rest).map(|(x, y)| (x - y) * (x - y)).sum();
    lanes.iter().sum::<f64>() + rest
}

/// `‖a_i − b_j‖²`, `[rows of a, rows of b]`.
pub(crate) fn squared_distances(a: &ArrayView2<'_, f64>, b: &ArrayView2<'_, f64>) -> Array2<f64> {
    let (a, b) = (a.as_standard_layout(), b.as_standard_layout());
    let mut squares = Array2::zeros((a.nrows(), b.nrows()));
    for (x, mut row) in a.outer_iter().zip(squares.outer_iter_mut()) {
        for (y, square) in b.outer_iter().zip(&mut row) {
            *square = squared_distance(&x, &y);
        }
    }
    squares
}

/// [`squared_distances`] of the rows from each other: each pair once, 0 on the diagonal.
pub(crate) fn squared_distances_within(rows: &ArrayView2<'_, f64>) -> Array2<f64> {
    let rows = rows.as_standard_layout();
    let mut squares = Array2::zeros((rows.nrows(), rows.nrows()));
    for (i, x) in rows.outer_iter().enumerate() {
        for (j, y) in rows.outer_iter().enumerate().take(i) {
            let square = squared_distance(&x, &y);
            (squares[[i, j]], squares[[j, i]]) = (square, square);
        }
    }
    squares
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array;

    #[test]
    fn squared_distances_are_sums_of_squared_differences_in_either_layout() {
        let a = Array::from_shape_fn((5, 21), |(i, f)| ((i * 31 + f * 7) % 17) as f64 - 3.5);
        let b = Array::from_shape_fn((21, 4), |(f, j)| ((j * 13 + f * 5) % 11) as f64 * 0.25);
        let (a, b) = (a.view(), b.t());
        let found = squared_distances(&a, &b);
        for ((i, j), d) in found.indexed_iter() {
            let expected: f64 = (0..21).map(|f| (a[[i, f]] - b[[j, f]]).powi(2)).sum();
            assert!((d - expected).abs() < 1e-12 * expected, "{i} {j}: {d} {expected}");
        }
        assert_eq!(squared_distances_within(&a), squared_distances(&a, &a));
        let by_columns = squared_distance(&b.row(0), &b.row(1));
        assert!((by_columns - squared_distances(&b, &b)[[0, 1]]).abs() < 1e-12 * by_columns);
    }
}
