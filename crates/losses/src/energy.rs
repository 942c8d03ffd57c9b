//! The energy distance between two clouds of trials.
//!
//! Why here: it compares whole distributions without pairing trials, and by U-statistics without bias: on average 0 where
//! model and recorded trials come from one distribution, for any number of trials, and nothing pulls the model's trials
//! away from there. So it doesn't reward too little variability, as assignment and a small blur do.

use ndarray::{Array2, ArrayView2};

use crate::LossError;
use crate::distances::squared_distance;
use crate::error::{check_finite, check_shape};

/// Value of an energy distance.
#[derive(Debug, Clone)]
pub struct Energy {
    /// The distance, in the units of the features to the power of the exponent; negative by chance.
    pub value: f64,
    /// Gradient at the model's trials `[m, F]`.
    pub d_model: Array2<f64>,
}

/// Energy distance of a cloud of model trials from one of recorded trials, with its gradient.
///
/// $$E = \frac{2}{nm}\sum_{ij} \lVert x_i - y_j\rVert^\beta - \frac{1}{n(n-1)}\sum_{i\ne i'} \lVert x_i - x_{i'}\rVert^\beta
///   - \frac{1}{m(m-1)}\sum_{j\ne j'} \lVert y_j - y_{j'}\rVert^\beta$$
///
/// for n recorded trials x and m model trials y. The gradient is exact but where two trials are equal, where 0 stands for it.
///
/// # Shapes
/// `model` `[m, F]`, `data` `[n, F]`, `exponent` β in (0, 2). Cost O((n + m)²·F).
///
/// # Errors
/// [`LossError::Shape`] for differing F, [`LossError::NonFinite`], [`LossError::NoData`] for fewer than two trials on one
/// side, [`LossError::Parameter`] for another exponent.
///
/// # Source
/// Székely and Rizzo 2013, energy statistics, in the unbiased form.
pub fn energy_distance(
    model: &ArrayView2<'_, f64>,
    data: &ArrayView2<'_, f64>,
    exponent: f64,
) -> Result<Energy, LossError> {
    check_shape("features of a model trial", &[model.ncols()], &[data.ncols()])?;
    check_finite("model features", model)?;
    check_finite("data features", data)?;
    if !(exponent > 0.0 && exponent < 2.0) {
        return Err(LossError::Parameter {
            name: "exponent of the energy distance",
            found: exponent.to_string(),
            expected: "a number between 0 and 2, both excluded",
        });
    }
    let (m, n) = (model.nrows(), data.nrows());
    if m < 2 || n < 2 {
        return Err(LossError::NoData {
            what: "energy distance",
            reason: format!("{m} model and {n} recorded trials; it takes two of each"),
        });
    }
    let (between, within) = ((2.0 / (m * n) as f64), 1.0 / (m * (m - 1)) as f64);
    let mut d_model = Array2::zeros(model.raw_dim());
    let mut value = -mean_distance(data, exponent);
    for (j, y) in model.outer_iter().enumerate() {
        let mut d = d_model.row_mut(j);
        let mut total = 0.0;
        for x in data.outer_iter() {
            let (power, slope) = distance(&y, &x, exponent);
            value += between * power;
            let weight = between * slope;
            total += weight;
            d.scaled_add(-weight, &x);
        }
        for (l, other) in model.outer_iter().enumerate().filter(|(l, _)| *l != j) {
            let (power, slope) = distance(&y, &other, exponent);
            // Each pair stands twice in the sum.
            value -= if l < j { 2.0 * within * power } else { 0.0 };
            let weight = -2.0 * within * slope;
            total += weight;
            d.scaled_add(-weight, &other);
        }
        d.scaled_add(total, &y);
    }
    Ok(Energy { value, d_model })
}

/// `r^β` and the factor of `y − x` in its gradient, `β r^(β−2)`.
fn distance(y: &ndarray::ArrayView1<'_, f64>, x: &ndarray::ArrayView1<'_, f64>, exponent: f64) -> (f64, f64) {
    let square = squared_distance(y, x);
    if square == 0.0 {
        return (0.0, 0.0);
    }
    // r itself by the root alone.
    let power = if exponent == 1.0 {
        square.sqrt()
    } else {
        square.powf(0.5 * exponent)
    };
    (power, exponent * power / square)
}

/// Mean over pairs of different rows.
fn mean_distance(rows: &ArrayView2<'_, f64>, exponent: f64) -> f64 {
    let n = rows.nrows();
    let pairs = (0..n).flat_map(|i| (0..i).map(move |j| (i, j)));
    let sum: f64 = pairs
        .map(|(i, j)| distance(&rows.row(i), &rows.row(j), exponent).0)
        .sum();
    2.0 * sum / (n * (n - 1)) as f64
}
