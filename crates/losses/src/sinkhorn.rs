//! The debiased Sinkhorn divergence between two clouds of trials: soft trial matching.
//!
//! Why here: instead of one partner, each trial has a probability of belonging to each trial of the other side. How much
//! is blurred decides what is compared: a small blur is nearly the assignment (and rewards too little variability, as
//! that does), a large one the energy distance, which does not.
//!
//! Divergences of many clouds are asked of a [`Divergences`]: the processor here, or a device that another crate knows.
//! Both take the schedule of blurs from one place, [`Sinkhorn::annealing`].

use ndarray::{Array1, Array2, ArrayView2};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::LossError;
use crate::distances::{squared_distances, squared_distances_within};
use crate::error::{check_finite, check_positive, check_shape};

/// Squared distances below this count as this. Source: geomloss 0.2.5, which the published program calls.
pub const SQUARED_DISTANCE_FLOOR: f64 = 1e-8;

/// Largest factor from one blur to the next: more steps than that takes change nothing.
pub const MAX_SCALING: f64 = 0.99;

/// Least ratio of the final ε to the diameter of the clouds (to the power of the cost). Below it the rounding of costs is no
/// longer little beside ε, while the divergence is already within 1e-9 of that of ε = 0: smaller ones are taken for it.
const FINEST: f64 = 1e-10;
/// Largest ratio. Above it differences of costs are lost beside ε, while the divergence is within 1e-6 of that of an infinite one.
const COARSEST: f64 = 1e6;

/// What it costs to move a trial to another, by their distance r.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// r.
    #[default]
    Distance,
    /// r²/2.
    HalfSquare,
}

impl Cost {
    /// Exponent p: ε is a length to this power.
    pub fn exponent(self) -> f64 {
        match self {
            Self::Distance => 1.0,
            Self::HalfSquare => 2.0,
        }
    }
}

/// Distance below which trials count as the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blur {
    /// In the units of the features.
    Absolute(f64),
    /// Times the median distance of two recorded trials; where that is 0 (one trial, or all the same), times the diagonal of
    /// the box around both clouds.
    Relative(f64),
}

/// Settings of the divergence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sinkhorn {
    /// Cost of a pair.
    pub cost: Cost,
    /// Final blur.
    pub blur: Blur,
    /// Factor from one blur to the next, from the diameter of the clouds down; above 0, up to [`MAX_SCALING`].
    pub scaling: f64,
    /// Updates at each blur on the way, at least 1, and at the final one.
    pub updates: usize,
    /// Whether the divergence of each cloud from itself is subtracted.
    pub debias: bool,
}

impl Sinkhorn {
    /// The published setting: cost r, blur 0.01, scaling 0.5, debiased, one update at each blur.
    ///
    /// # Source
    /// Sourmpis et al. 2023, L_trial with `SamplesLoss("sinkhorn", p=1, blur=0.01)` of geomloss.
    pub const PUBLISHED: Self = Self {
        cost: Cost::Distance,
        blur: Blur::Absolute(0.01),
        scaling: 0.5,
        updates: 1,
        debias: true,
    };

    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`LossError::Parameter`] with the first of them.
    pub fn check(&self) -> Result<(), LossError> {
        let (Blur::Absolute(blur) | Blur::Relative(blur)) = self.blur;
        check_positive("blur", blur)?;
        let epsilon = blur.powf(self.cost.exponent());
        if epsilon == 0.0 || epsilon.is_infinite() {
            return Err(LossError::Parameter {
                name: "blur",
                found: format!("{blur:e}"),
                expected: "a blur whose square is above 0 and finite",
            });
        }
        if !(self.scaling > 0.0 && self.scaling <= MAX_SCALING) {
            return Err(LossError::Parameter {
                name: "scaling",
                found: self.scaling.to_string(),
                expected: "a number above 0, up to 0.99",
            });
        }
        if self.updates == 0 {
            return Err(LossError::Parameter {
                name: "updates",
                found: "0".into(),
                expected: "at least 1",
            });
        }
        Ok(())
    }

    /// Divergence of a cloud of model trials from one of recorded trials, and its gradient at the model's.
    ///
    /// With weights 1/n on the n recorded rows x and 1/m on the m model rows y, and
    /// $\mathrm{softmin}_\varepsilon(C, h)_i = -\varepsilon\,\mathrm{ln}\sum_j \exp(h_j - C_{ij}/\varepsilon)$:
    /// the four potentials (x of y, y of x, and each of itself) start as softmin at $\varepsilon = \delta^p$, δ the
    /// diagonal of the box around both clouds; at every ε of the schedule each becomes the mean of itself and its
    /// update, all from the values before; at last all are updated in full at the final ε, and
    ///
    /// $$S = \frac1n\sum_i (f_i - a_i) + \frac1m\sum_j (g_j - b_j)$$
    ///
    /// The gradient holds the potentials that enter the last update (exact where they have converged).
    ///
    /// # Shapes
    /// `model` `[m, F]`, `data` `[n, F]`; gradient `[m, F]`. Cost O((n + m)²·(F + number of ε)).
    ///
    /// # Errors
    /// [`LossError::Shape`] for differing F, [`LossError::NonFinite`], [`LossError::NoData`] for an empty cloud,
    /// [`LossError::Parameter`] for settings out of range.
    ///
    /// # Source
    /// Sourmpis et al. 2023, §1.12 of the specification; Feydy et al. 2019 (debiased divergence).
    pub fn divergence(&self, model: &ArrayView2<'_, f64>, data: &ArrayView2<'_, f64>) -> Result<Divergence, LossError> {
        self.check_clouds(model, data)?;
        let xy = self.costs(&squared_distances(data, model));
        let yx = xy.t().as_standard_layout().into_owned();
        let of_data = squared_distances_within(data);
        let (xx, yy) = (self.costs(&of_data), self.costs(&squared_distances_within(model)));
        let Annealing { blur, schedule, .. } = self.anneal(diameter(model, data), || median_distance(&of_data));
        let (ln_x, ln_y) = (-(data.nrows() as f64).ln(), -(model.nrows() as f64).ln());
        let start = schedule[0];
        let mut f = softmin(start, &xy, ln_y, None);
        let mut g = softmin(start, &yx, ln_x, None);
        let mut a = softmin(start, &xx, ln_x, None);
        let mut b = softmin(start, &yy, ln_y, None);
        let mean = |old: &mut Array1<f64>, new: Array1<f64>| old.zip_mut_with(&new, |o, n| *o = 0.5 * (*o + n));
        for &epsilon in &schedule {
            for _ in 0..self.updates {
                let (new_f, new_g) = (
                    softmin(epsilon, &xy, ln_y, Some(&g)),
                    softmin(epsilon, &yx, ln_x, Some(&f)),
                );
                mean(&mut f, new_f);
                mean(&mut g, new_g);
                if self.debias {
                    let (new_a, new_b) = (
                        softmin(epsilon, &xx, ln_x, Some(&a)),
                        softmin(epsilon, &yy, ln_y, Some(&b)),
                    );
                    mean(&mut a, new_a);
                    mean(&mut b, new_b);
                }
            }
        }
        let epsilon = schedule[schedule.len() - 1];
        let last = |costs: &Array2<f64>, ln: f64, other: &Array1<f64>| softmin(epsilon, costs, ln, Some(other));
        let (final_f, final_g) = (last(&xy, ln_y, &g), last(&yx, ln_x, &f));
        let average = |values: &Array1<f64>| values.sum() / values.len() as f64;
        let mut value = average(&final_f) + average(&final_g);
        let mut d_model = Array2::zeros(model.raw_dim());
        self.pull(&mut d_model, 1.0, (model, data), &yx, (epsilon, ln_x), (&f, &final_g));
        if self.debias {
            let (final_a, final_b) = (last(&xx, ln_x, &a), last(&yy, ln_y, &b));
            value -= average(&final_a) + average(&final_b);
            self.pull(&mut d_model, -1.0, (model, model), &yy, (epsilon, ln_y), (&b, &final_b));
        }
        Ok(Divergence { value, d_model, blur })
    }

    /// How the blur falls from the diameter of two clouds to the final one.
    ///
    /// # Shapes
    /// As [`Sinkhorn::divergence`]. Cost O((n + m)·F), for a relative blur O(n²·F).
    ///
    /// # Errors
    /// As [`Sinkhorn::divergence`].
    pub fn annealing(&self, clouds: &Clouds) -> Result<Annealing, LossError> {
        self.annealing_by(clouds, || clouds.median_distance())
    }

    /// As [`Sinkhorn::annealing`]; the median distance of two recorded trials, which a relative blur alone asks for, is
    /// given by `median`: it is the same in each step of a fit.
    ///
    /// # Errors
    /// As there.
    pub fn annealing_by(&self, clouds: &Clouds, median: impl FnOnce() -> f64) -> Result<Annealing, LossError> {
        let (model, data) = (clouds.model.view(), clouds.data.view());
        self.check_clouds(&model, &data)?;
        Ok(self.anneal(diameter(&model, &data), median))
    }

    fn check_clouds(&self, model: &ArrayView2<'_, f64>, data: &ArrayView2<'_, f64>) -> Result<(), LossError> {
        self.check()?;
        check_shape("features of a model trial", &[model.ncols()], &[data.ncols()])?;
        check_finite("model features", model)?;
        check_finite("data features", data)?;
        if model.nrows() == 0 || data.nrows() == 0 {
            return Err(LossError::NoData {
                what: "trial matching",
                reason: format!("{} model and {} recorded trials", model.nrows(), data.nrows()),
            });
        }
        Ok(())
    }

    fn anneal(&self, diameter: f64, median: impl FnOnce() -> f64) -> Annealing {
        let blur = match self.blur {
            Blur::Absolute(blur) => blur,
            Blur::Relative(share) => {
                let scales = [median(), diameter, 1.0];
                share * scales.into_iter().find(|scale| *scale > 0.0).unwrap_or(1.0)
            }
        };
        let [finest, coarsest] = [FINEST, COARSEST].map(|share| diameter * share.powf(1.0 / self.cost.exponent()));
        let told_apart = if diameter > 0.0 {
            blur.clamp(finest, coarsest)
        } else {
            blur
        };
        Annealing {
            blur,
            diameter,
            schedule: self.schedule(diameter, told_apart),
        }
    }

    fn costs(&self, squares: &Array2<f64>) -> Array2<f64> {
        match self.cost {
            Cost::Distance => squares.mapv(|square| square.max(SQUARED_DISTANCE_FLOOR).sqrt()),
            Cost::HalfSquare => squares * 0.5,
        }
    }

    /// ε from the diameter to the blur: both ends to the power p, and between them the diameter times powers of the
    /// scaling that are above the blur.
    fn schedule(&self, diameter: f64, blur: f64) -> Vec<f64> {
        let p = self.cost.exponent();
        let diameter = diameter.max(blur);
        let steps = ((diameter.ln() - blur.ln()) / -self.scaling.ln()).ceil() as usize;
        let between = (0..steps).map(|i| (diameter * self.scaling.powi(i as i32)).powf(p));
        std::iter::once(diameter.powf(p))
            .chain(between)
            .chain(std::iter::once(blur.powf(p)))
            .collect()
    }

    /// Adds `sign/m Σ_i P_ji ∂C_ji/∂y_j` with `P_ji = exp(ln w + (h_i − C_ji + new_j)/ε)`.
    fn pull(
        &self,
        d_model: &mut Array2<f64>,
        sign: f64,
        (model, other): (&ArrayView2<'_, f64>, &ArrayView2<'_, f64>),
        costs: &Array2<f64>,
        (epsilon, ln_weight): (f64, f64),
        (h, new): (&Array1<f64>, &Array1<f64>),
    ) {
        let m = model.nrows() as f64;
        for (j, mut d) in d_model.outer_iter_mut().enumerate() {
            // Σ_i w_i (y_j − x_i) = y_j Σ w − Σ w x.
            let mut total = 0.0;
            for (i, x) in other.outer_iter().enumerate() {
                let cost = costs[[j, i]];
                let p = (ln_weight + (h[i] - cost + new[j]) / epsilon).exp();
                let weight = match self.cost {
                    Cost::Distance if cost * cost <= SQUARED_DISTANCE_FLOOR => 0.0,
                    Cost::Distance => p / cost,
                    Cost::HalfSquare => p,
                };
                let weight = sign * weight / m;
                total += weight;
                d.scaled_add(-weight, &x);
            }
            d.scaled_add(total, &model.row(j));
        }
    }
}

/// Two clouds of trials with the same features.
#[derive(Debug, Clone, PartialEq)]
pub struct Clouds {
    /// Trials of the model, `[m, F]`.
    pub model: Array2<f64>,
    /// Recorded trials, `[n, F]`.
    pub data: Array2<f64>,
}

impl Clouds {
    /// Median distance of two recorded trials; 0 for fewer than two. Cost O(n²·F).
    pub fn median_distance(&self) -> f64 {
        median_distance(&squared_distances_within(&self.data.view()))
    }
}

/// How the blur falls.
#[derive(Debug, Clone, PartialEq)]
pub struct Annealing {
    /// The final blur, in the units of the features.
    pub blur: f64,
    /// The diagonal of the box around both clouds, in the units of the features.
    pub diameter: f64,
    /// ε, lengths to the power p. The potentials start at the first; at each, the first included, there are
    /// [`Sinkhorn::updates`] averaging updates; the full one is at the last.
    pub schedule: Vec<f64>,
}

/// Where divergences are computed.
pub trait Divergences {
    /// What can go wrong there.
    type Error: From<LossError>;

    /// [`Sinkhorn::divergence`] of each pair of clouds, in their order.
    ///
    /// # Errors
    /// As [`Sinkhorn::divergence`], and those of a device.
    fn divergences(&self, sinkhorn: &Sinkhorn, clouds: &[Clouds]) -> Result<Vec<Divergence>, Self::Error>;
}

/// The processor, in double precision; pairs of clouds in parallel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Processor;

impl Divergences for Processor {
    type Error = LossError;

    fn divergences(&self, sinkhorn: &Sinkhorn, clouds: &[Clouds]) -> Result<Vec<Divergence>, LossError> {
        let pairs = clouds.par_iter();
        pairs
            .map(|clouds| sinkhorn.divergence(&clouds.model.view(), &clouds.data.view()))
            .collect()
    }
}

/// Value of a divergence.
#[derive(Debug, Clone)]
pub struct Divergence {
    /// The divergence, in the units of the features (cost r) or their squares (cost r²/2).
    pub value: f64,
    /// Gradient at the model's trials `[m, F]`.
    pub d_model: Array2<f64>,
    /// The final blur, in the units of the features.
    pub blur: f64,
}

/// `−ε ln Σ_j exp(ln w + (h_j − C_ij)/ε)` of each row i; h = 0 where none is given.
fn softmin(epsilon: f64, costs: &Array2<f64>, ln_weight: f64, h: Option<&Array1<f64>>) -> Array1<f64> {
    let mut row = vec![0.0; costs.ncols()];
    costs
        .outer_iter()
        .map(|costs| {
            match h {
                Some(h) => row
                    .iter_mut()
                    .zip(costs)
                    .zip(h)
                    .for_each(|((x, cost), h)| *x = (h - cost) / epsilon),
                None => row.iter_mut().zip(costs).for_each(|(x, cost)| *x = -cost / epsilon),
            }
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row.iter().map(|x| (x - largest).exp()).sum();
            -epsilon * (ln_weight + largest + sum.ln())
        })
        .collect()
}

/// Median distance of two different rows, by the squared distances of all pairs; 0 for fewer than two.
fn median_distance(squares: &Array2<f64>) -> f64 {
    let mut pairs: Vec<f64> = (0..squares.nrows())
        .flat_map(|i| (0..i).map(move |j| (i, j)))
        .map(|at| squares[at])
        .collect();
    if pairs.is_empty() {
        return 0.0;
    }
    let middle = pairs.len() / 2;
    pairs.select_nth_unstable_by(middle, f64::total_cmp).1.sqrt()
}

/// Diagonal of the box around both clouds.
fn diameter(model: &ArrayView2<'_, f64>, data: &ArrayView2<'_, f64>) -> f64 {
    (0..model.ncols())
        .map(|f| {
            let both = model.column(f).into_iter().chain(data.column(f)).copied();
            let (low, high) = both.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
                (low.min(x), high.max(x))
            });
            (high - low).powi(2)
        })
        .sum::<f64>()
        .sqrt()
}
