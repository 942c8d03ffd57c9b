//! Noise covariances: what pairs of neurons share beyond the stimulus, at lags of whole bins or in counts of windows.
//!
//! Within a group of trials that show the identical stimulus, with n the recorded spikes minus their mean over its trials,
//!
//! ```text
//! C_D(d)[i, j] = Σ n_i(t) n_j(t − d) / Σ (K − 1)(T − d)             sums over groups, trials and bins t ≥ d
//! C_M(d)[i, j] = Σ (p_i − p̄_i)(t) (z_j − z̄_j)(t − d) / …            d ≥ 1
//! C_M(0)[i, j] = Σ (p_i − p̄_i)(t) (p_j − p̄_j)(t) / …                i ≠ j
//! ```
//! in the corrected form: at a lag, p_i(t) answers to the spike that j really drew, which p_j doesn't know; within a bin,
//! neurons are independent given the past. So E C_M is the covariance of the model's spikes, with less noise than theirs. A
//! neuron with itself at lag 0 is left out. The division by K − 1 makes both unbiased.
//!
//! A squared difference of an estimate is too large by the estimate's variance, which a fit can lower by firing less. Unbiased, it
//! is the product of the differences of two halves of the simulated trials: `(C_M¹ − C_D)(C_M² − C_D)`.
//!
//! The published program takes p for z at every lag, rolls bins around the trial's end, divides by K T and has the diagonal:
//! [`Form::PaperCode`], for comparison only.
//!
//! # Source
//! Bellec, Wang et al. 2021, supplement eq. 8 and 12; specification `sample-and-measure` §1.4.

use super::SampledLoss;
use super::cross_entropy::trial_mean;
use crate::LossError;
use crate::error::check_shape;
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, s};

/// Least number of trials of a group, recorded and simulated: with fewer a mean over trials says nothing.
pub const MIN_REPEATS: usize = 4;

/// How the model's covariance is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// The covariance of the model's spikes (default).
    #[default]
    Corrected,
    /// Of the published program: probabilities only, which miss what couplings do.
    PaperCode,
}

/// Trials of one stimulus: recorded ones and a free rollout.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a> {
    /// Recorded spikes `[K_D, T, N]`.
    pub recorded: ArrayView3<'a, f64>,
    /// Spike probabilities of the model `[K, T, N]`.
    pub p: ArrayView3<'a, f64>,
    /// Spikes that it drew `[K, T, N]`.
    pub spikes: ArrayView3<'a, f64>,
}

/// Covariances of all pairs at lags 0 to D: `[D + 1, N, N]`, entry `[d, i, j]` of i at t with j at t − d.
#[derive(Debug, Clone, PartialEq)]
pub struct Covariances(pub Array3<f64>);

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Every lag from 0 to this by itself: mean of squared differences over lags and pairs.
    Lags(usize),
    /// Counts in windows of so many bins, divided by the window: `Σ_d (1 − |d|/w) C(d)`, mean over ordered pairs i ≠ j.
    Window(usize),
}

/// The loss: squared differences of the model's noise covariances from the recorded ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoiseCovarianceLoss {
    /// What is compared.
    pub comparison: Comparison,
    /// How the model's side is computed.
    pub form: Form,
    /// Whether two halves of the simulated trials are multiplied, so that the sampling of the model costs nothing; for the corrected
    /// form, with 2 × [`MIN_REPEATS`] simulated trials or more in each group. The value may then be below 0.
    pub is_unbiased: bool,
}

/// Activity of one side of one group, minus its mean over trials.
struct Centred(Array3<f64>);

impl Centred {
    fn new(what: &'static str, values: &ArrayView3<'_, f64>) -> Result<Self, LossError> {
        let mean = trial_mean(what, values)?;
        Ok(Self(values - &mean.insert_axis(Axis(0))))
    }

    /// Bins from `first` on for `len` bins of all trials, as rows `[K·len, N]`.
    fn rows(&self, first: usize, len: usize) -> Array2<f64> {
        let part = self.0.slice(s![.., first..first + len, ..]);
        let (k, t, n) = part.dim();
        part.to_owned()
            .into_shape_with_order((k * t, n))
            .expect("rows of trials and bins")
    }
}

/// Adds rows `[K·len, N]` to bins from `first` on.
fn add_rows(to: &mut Array3<f64>, first: usize, rows: Array2<f64>) {
    let len = rows.nrows() / to.dim().0.max(1);
    let mut part = to.slice_mut(s![.., first..first + len, ..]);
    let rows = rows.into_shape_with_order(part.raw_dim()).expect("rows of these bins");
    part += &rows;
}

impl Covariances {
    /// Covariances of recorded (or simulated) spikes, unbiased: groups `[K, T, N]`, each of one stimulus.
    ///
    /// # Errors
    /// No group, fewer than [`MIN_REPEATS`] trials in one, trials of `lags` bins or less, neurons that differ.
    pub fn of_spikes(groups: &[ArrayView3<'_, f64>], lags: usize) -> Result<Self, LossError> {
        let mut sums = Sums::new(groups.iter().map(ArrayView3::dim), lags)?;
        for group in groups {
            let n = Centred::new("recorded spikes", group)?;
            for d in 0..=lags {
                let t = group.dim().1 - d;
                sums.add(d, &n.rows(d, t), &n.rows(0, t));
            }
        }
        Ok(Self(sums.finish()))
    }

    /// Covariances of counts in windows of `w` bins, divided by w, `[N, N]`; needs lags up to w − 1.
    fn of_windows(&self, w: usize) -> Array2<f64> {
        let mut out = self.0.index_axis(Axis(0), 0).to_owned();
        for d in 1..w {
            let at_lag = self.0.index_axis(Axis(0), d);
            let weight = 1.0 - d as f64 / w as f64;
            out.scaled_add(weight, &at_lag);
            out.scaled_add(weight, &at_lag.t());
        }
        out
    }
}

/// Sums of products and their number of independent terms, per lag.
struct Sums {
    products: Array3<f64>,
    terms: Vec<f64>,
}

impl Sums {
    fn new(groups: impl Iterator<Item = (usize, usize, usize)>, lags: usize) -> Result<Self, LossError> {
        let groups: Vec<_> = groups.collect();
        let Some((_, _, n)) = groups.first().copied() else {
            return Err(LossError::NoData {
                what: "noise covariances",
                reason: "no group of trials of one stimulus".into(),
            });
        };
        for (k, t, found) in &groups {
            check_shape("neurons of a group", &[*found], &[n])?;
            if *k < MIN_REPEATS || *t <= lags {
                return Err(LossError::NoData {
                    what: "noise covariances",
                    reason: format!(
                        "a group has {k} trials of {t} bins; it takes {MIN_REPEATS} repeats, longer than {lags} lags"
                    ),
                });
            }
        }
        let terms = (0..=lags)
            .map(|d| groups.iter().map(|(k, t, _)| ((k - 1) * (t - d)) as f64).sum())
            .collect();
        Ok(Self {
            products: Array3::zeros((lags + 1, n, n)),
            terms,
        })
    }

    /// Adds `Σ a_i b_j` over rows to lag d.
    fn add(&mut self, d: usize, a: &Array2<f64>, b: &Array2<f64>) {
        let mut products = self.products.index_axis_mut(Axis(0), d);
        products += &a.t().dot(b);
    }

    fn finish(mut self) -> Array3<f64> {
        for (mut products, terms) in self.products.outer_iter_mut().zip(&self.terms) {
            products /= *terms;
        }
        self.products
    }
}

impl NoiseCovarianceLoss {
    /// Lags that the comparison needs.
    fn lags(&self) -> Result<usize, LossError> {
        match self.comparison {
            Comparison::Lags(lags) => Ok(lags),
            Comparison::Window(0) => Err(LossError::Parameter {
                name: "count window of the noise covariances",
                found: "0".into(),
                expected: "at least 1 bin",
            }),
            Comparison::Window(w) => Ok(w - 1),
        }
    }

    /// Value, and the gradients of each group in their order.
    ///
    /// # Errors
    /// As [`Covariances::of_spikes`], for both sides; probabilities and spikes of different shapes.
    pub fn evaluate(&self, groups: &[Group<'_>]) -> Result<(f64, Vec<SampledLoss>), LossError> {
        let lags = self.lags()?;
        for group in groups {
            check_shape("spikes of the model", group.spikes.shape(), group.p.shape())?;
            let (_, t, n) = group.recorded.dim();
            check_shape("bins and neurons of the model", &group.p.shape()[1..], &[t, n])?;
        }
        match self.form {
            Form::Corrected if self.is_unbiased => self.unbiased(groups, lags),
            Form::Corrected => self.corrected(groups, lags),
            Form::PaperCode => self.paper_code(groups, lags),
        }
    }

    fn corrected(&self, groups: &[Group<'_>], lags: usize) -> Result<(f64, Vec<SampledLoss>), LossError> {
        let recorded: Vec<_> = groups.iter().map(|g| g.recorded).collect();
        let data = Covariances::of_spikes(&recorded, lags)?;
        let model = Model::new(groups.iter().map(|g| (g.p, g.spikes)), lags)?;
        let difference = self.difference(&data, &model.covariances);
        let (value, slopes) = self.product(&difference, &difference);
        Ok((value, model.pull(&(slopes * 2.0))))
    }

    /// As [`Self::corrected`], of the halves of the simulated trials.
    fn unbiased(&self, groups: &[Group<'_>], lags: usize) -> Result<(f64, Vec<SampledLoss>), LossError> {
        if groups.iter().any(|g| g.p.dim().0 < 2 * MIN_REPEATS) {
            return Err(LossError::NoData {
                what: "noise covariances without bias",
                reason: format!("a group has fewer than {} simulated trials", 2 * MIN_REPEATS),
            });
        }
        let recorded: Vec<_> = groups.iter().map(|g| g.recorded).collect();
        let data = Covariances::of_spikes(&recorded, lags)?;
        let half = |is_first: bool| {
            let sides = groups.iter().map(move |g| {
                let k = g.p.dim().0;
                let trials = if is_first { 0..k / 2 } else { k / 2..k };
                (
                    g.p.slice_move(s![trials.clone(), .., ..]),
                    g.spikes.slice_move(s![trials, .., ..]),
                )
            });
            Model::new(sides, lags)
        };
        let (first, second) = (half(true)?, half(false)?);
        let differences = [&first, &second].map(|model| self.difference(&data, &model.covariances));
        let (value, of_first) = self.product(&differences[1], &differences[0]);
        let (_, of_second) = self.product(&differences[0], &differences[1]);
        let halves = first.pull(&of_first).into_iter().zip(second.pull(&of_second));
        let join = |a: Array3<f64>, b: Array3<f64>| {
            ndarray::concatenate(Axis(0), &[a.view(), b.view()]).expect("trials of the same bins and neurons")
        };
        let whole = |(a, b): (SampledLoss, SampledLoss)| SampledLoss {
            value: 0.0,
            d_probabilities: join(a.d_probabilities, b.d_probabilities),
            d_spikes: a.d_spikes.zip(b.d_spikes).map(|(a, b)| join(a, b)),
        };
        Ok((value, halves.map(whole).collect()))
    }

    /// What is compared, model minus data, without neurons with themselves at lag 0: `[D + 1, N, N]`, or `[1, N, N]` of windows.
    fn difference(&self, data: &Covariances, model: &Covariances) -> Array3<f64> {
        let mut difference = match self.comparison {
            Comparison::Lags(_) => &model.0 - &data.0,
            Comparison::Window(w) => (model.of_windows(w) - data.of_windows(w)).insert_axis(Axis(0)),
        };
        difference.index_axis_mut(Axis(0), 0).diag_mut().fill(0.0);
        difference
    }

    /// Mean product of two differences, and its derivative with respect to the covariances of the second one, `[D + 1, N, N]`.
    fn product(&self, first: &Array3<f64>, second: &Array3<f64>) -> (f64, Array3<f64>) {
        let n = first.dim().1;
        let sum = (first * second).sum();
        match self.comparison {
            Comparison::Lags(lags) => {
                let count = ((lags + 1) * n * n - n).max(1) as f64;
                (sum / count, first / count)
            }
            Comparison::Window(w) => {
                let count = (n * n - n).max(1) as f64;
                let at = first.index_axis(Axis(0), 0);
                let mut slopes = Array3::zeros((w, n, n));
                for (d, mut slope) in slopes.outer_iter_mut().enumerate() {
                    let weight = (1.0 - d as f64 / w as f64) / count;
                    slope.assign(&(&at * weight));
                    if d > 0 {
                        // Lags −d are the transposed ones.
                        slope.scaled_add(weight, &at.t());
                    }
                }
                (sum / count, slopes)
            }
        }
    }

    /// The published program's form: `p p` at all lags, bins rolled around, divided by K T, with the diagonal.
    fn paper_code(&self, groups: &[Group<'_>], lags: usize) -> Result<(f64, Vec<SampledLoss>), LossError> {
        let recorded: Vec<_> = groups.iter().map(|g| g.recorded).collect();
        Covariances::of_spikes(&recorded, lags)?;
        let model: Vec<_> = groups.iter().map(|g| g.p).collect();
        let (data, _) = rolled("recorded spikes", &recorded, lags)?;
        let (model, sides) = rolled("spike probabilities", &model, lags)?;
        let Comparison::Lags(_) = self.comparison else {
            return Err(LossError::Parameter {
                name: "comparison of noise covariances in the form of the published program",
                found: "count windows".into(),
                expected: "lags",
            });
        };
        let difference = &model - &data;
        let count = difference.len().max(1) as f64;
        let value = difference.mapv(|x| x * x).sum() / count;
        let total: usize = sides.iter().map(|side| side.0.dim().0 * side.0.dim().1).sum();
        let slopes = difference * (2.0 / (count * total as f64));
        let gradients = sides.iter().map(|side| pull_rolled(side, &slopes)).collect();
        Ok((value, gradients))
    }
}

/// The model's side of all groups.
struct Model {
    covariances: Covariances,
    terms: Vec<f64>,
    /// Probabilities and spikes of each group.
    sides: Vec<(Centred, Centred)>,
}

impl Model {
    fn new<'a>(
        groups: impl Iterator<Item = (ArrayView3<'a, f64>, ArrayView3<'a, f64>)>,
        lags: usize,
    ) -> Result<Self, LossError> {
        let groups: Vec<_> = groups.collect();
        let mut sums = Sums::new(groups.iter().map(|(p, _)| p.dim()), lags)?;
        let mut sides = Vec::with_capacity(groups.len());
        for (p, spikes) in &groups {
            let t_end = p.dim().1;
            let p = Centred::new("spike probabilities", p)?;
            let z = Centred::new("spikes of the model", spikes)?;
            let now = p.rows(0, t_end);
            sums.add(0, &now, &now);
            for d in 1..=lags {
                sums.add(d, &p.rows(d, t_end - d), &z.rows(0, t_end - d));
            }
            sides.push((p, z));
        }
        Ok(Self {
            terms: sums.terms.clone(),
            covariances: Covariances(sums.finish()),
            sides,
        })
    }

    /// Gradients of each group, given those with respect to the covariances.
    fn pull(&self, slopes: &Array3<f64>) -> Vec<SampledLoss> {
        let mut slopes = slopes.clone();
        for (mut slope, terms) in slopes.outer_iter_mut().zip(&self.terms) {
            slope /= *terms;
        }
        self.sides.iter().map(|(p, z)| pull(p, z, &slopes)).collect()
    }
}

/// Gradients at the probabilities and spikes of one group; `slopes` are with respect to the sums of products.
fn pull(p: &Centred, z: &Centred, slopes: &Array3<f64>) -> SampledLoss {
    let t_end = p.0.dim().1;
    let (mut d_p, mut d_z) = (Array3::zeros(p.0.raw_dim()), Array3::zeros(z.0.raw_dim()));
    for (d, slope) in slopes.outer_iter().enumerate() {
        let t = t_end - d;
        let now = p.rows(d, t);
        if d == 0 {
            add_rows(&mut d_p, 0, now.dot(&symmetric(&slope)));
        } else {
            add_rows(&mut d_p, d, z.rows(0, t).dot(&slope.t()));
            add_rows(&mut d_z, 0, now.dot(&slope));
        }
    }
    SampledLoss {
        value: 0.0,
        d_probabilities: centred(d_p),
        d_spikes: Some(centred(d_z)),
    }
}

fn symmetric(slope: &ArrayView2<'_, f64>) -> Array2<f64> {
    slope + &slope.t()
}

/// Through the subtraction of the mean over trials.
fn centred(mut gradient: Array3<f64>) -> Array3<f64> {
    if let Some(mean) = gradient.mean_axis(Axis(0)) {
        gradient -= &mean.insert_axis(Axis(0));
    }
    gradient
}

/// Bins moved by d, around the trial's end.
fn roll(values: &Array3<f64>, d: usize) -> Array2<f64> {
    let (k, t, n) = values.dim();
    let rows = Array3::from_shape_fn((k, t, n), |(b, s, i)| values[[b, (s + t - d % t) % t, i]]);
    rows.into_shape_with_order((k * t, n)).expect("rows of trials and bins")
}

/// `Σ x_i(t) x_j(t − d) / Σ K T` with bins rolled around, and the centred sides.
fn rolled(
    what: &'static str,
    groups: &[ArrayView3<'_, f64>],
    lags: usize,
) -> Result<(Array3<f64>, Vec<Centred>), LossError> {
    let n = groups.first().map_or(0, |g| g.dim().2);
    let mut products = Array3::<f64>::zeros((lags + 1, n, n));
    let (mut total, mut sides) = (0, Vec::with_capacity(groups.len()));
    for group in groups {
        let side = Centred::new(what, group)?;
        let now = roll(&side.0, 0);
        for (d, mut sum) in products.outer_iter_mut().enumerate() {
            sum += &now.t().dot(&roll(&side.0, d));
        }
        total += now.nrows();
        sides.push(side);
    }
    Ok((products / total.max(1) as f64, sides))
}

fn pull_rolled(side: &Centred, slopes: &Array3<f64>) -> SampledLoss {
    let t = side.0.dim().1;
    let now = roll(&side.0, 0);
    let mut d_p = Array3::zeros(side.0.raw_dim());
    for (d, slope) in slopes.outer_iter().enumerate() {
        add_rows(&mut d_p, 0, roll(&side.0, d).dot(&slope.t()));
        // x_j(t − d) stands at bin t: its gradient moves back.
        let mut back = Array3::zeros(side.0.raw_dim());
        add_rows(&mut back, 0, now.dot(&slope));
        add_rows(&mut d_p, 0, roll(&back, (t - d % t) % t));
    }
    SampledLoss {
        value: 0.0,
        d_probabilities: centred(d_p),
        d_spikes: None,
    }
}
