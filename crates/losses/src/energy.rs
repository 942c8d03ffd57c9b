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

/// Distances of all pairs of trials of two clouds, for the energy distances of many draws of them: bootstrap resamples.
#[derive(Debug, Clone)]
pub struct PairDistances {
    /// `[m, n]`, `[m, m]`, `[n, n]`.
    between: Array2<f64>,
    model: Array2<f64>,
    data: Array2<f64>,
}

impl PairDistances {
    /// Distances to the power of the exponent β between model trials `[m, F]` and recorded trials `[n, F]`, and within each.
    ///
    /// # Errors
    /// [`LossError::Shape`] for differing F.
    pub fn new(model: &ArrayView2<'_, f64>, data: &ArrayView2<'_, f64>, exponent: f64) -> Result<Self, LossError> {
        check_shape("features of a model trial", &[model.ncols()], &[data.ncols()])?;
        let of = |a: &ArrayView2<'_, f64>, b: &ArrayView2<'_, f64>| {
            Array2::from_shape_fn((a.nrows(), b.nrows()), |(i, j)| {
                distance(&a.row(i), &b.row(j), exponent).0
            })
        };
        Ok(Self {
            between: of(model, data),
            model: of(model, model),
            data: of(data, data),
        })
    }

    /// Energy distance of the drawn trials, which may be drawn more than once: a trial and itself are no pair, so that repeats don't
    /// make it larger. `None` where a side has no pair.
    pub fn energy(&self, model: &[usize], data: &[usize]) -> Option<f64> {
        let mut between = 0.0;
        for &j in model {
            between += data.iter().map(|&i| self.between[[j, i]]).sum::<f64>();
        }
        let within = |distances: &Array2<f64>, rows: &[usize]| {
            let (mut sum, mut n_pairs) = (0.0, 0usize);
            for (at, &i) in rows.iter().enumerate() {
                for &j in rows[..at].iter().filter(|&&j| j != i) {
                    sum += distances[[i, j]];
                    n_pairs += 1;
                }
            }
            (n_pairs > 0).then(|| sum / n_pairs as f64)
        };
        let mean_between = between / (model.len() * data.len()).max(1) as f64;
        Some(2.0 * mean_between - within(&self.model, model)? - within(&self.data, data)?)
    }
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

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Axis};

    use super::{PairDistances, energy_distance};

    fn cloud(n: usize, first: usize) -> Array2<f64> {
        Array2::from_shape_fn((n, 3), |(i, f)| ((first + 7 * i + 3 * f * f) as f64).sin())
    }

    #[test]
    fn distances_once_give_the_energy_of_any_draw_and_repeats_do_not_make_it_larger() {
        let (model, data) = (cloud(6, 1), cloud(5, 40));
        let pairs = PairDistances::new(&model.view(), &data.view(), 0.7).unwrap();
        for (of_model, of_data) in [
            (vec![0, 1, 2, 3, 4, 5], vec![0, 1, 2, 3, 4]),
            (vec![5, 2], vec![1, 4, 0]),
        ] {
            let (drawn, recorded) = (model.select(Axis(0), &of_model), data.select(Axis(0), &of_data));
            let expected = energy_distance(&drawn.view(), &recorded.view(), 0.7).unwrap().value;
            let found = pairs.energy(&of_model, &of_data).unwrap();
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        // Every trial twice is the same sample.
        let twice: Vec<usize> = (0..6).chain(0..6).collect();
        let all: Vec<usize> = (0..5).collect();
        let (once, repeated) = (
            pairs.energy(&twice[..6], &all).unwrap(),
            pairs.energy(&twice, &all).unwrap(),
        );
        assert!((once - repeated).abs() < 1e-12, "{once} {repeated}");
        assert_eq!(pairs.energy(&[3, 3], &all), None, "no pair");
    }
}
