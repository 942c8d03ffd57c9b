//! Fitted kernels beside those of a known network, pair by pair: how much of the true weights' variance they explain.
//!
//! Weights are compared as changes of the log-odds of a spike, `temperature · W/θ`: what enters s, whatever threshold and slope
//! either network has.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use data::{Connectivity, LOG_ODDS};
use losses::statistics::quantile_sorted;
use ndarray::{Array2, Array3, ArrayView2, Axis, s};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use snn_core::rng::StreamRng;

use super::recorded::{Recorded, VisibleNeuron};
use crate::assembly::Part;
use crate::evaluate::{EvaluateError, LeftOutMetric, number, write_rows};

/// Version of `couplings.json` of these runs.
const SCHEMA: u32 = 1;
/// Resamples of neurons that intervals are from.
const N_RESAMPLES: u64 = 500;
/// Fewest pairs that are compared.
const LEAST_PAIRS: f64 = 3.0;
/// Delays are whole bins up to this, in bins.
const TOLERANCE: f64 = 1e-3;
/// Neurons that a message names at most.
const SHOWN: usize = 5;

/// A fitted network and what it should be.
#[derive(Debug, Clone, Copy)]
pub struct KernelInputs<'a> {
    /// Name of the run.
    pub run: &'a str,
    /// Step of the checkpoint.
    pub checkpoint_step: u64,
    /// Name of the file with the truth.
    pub truth_name: &'a str,
    /// Kernels of the visible neurons, log-odds, `[D, from, to]`.
    pub fitted: &'a Array3<f64>,
    /// What the neurons are, and their recording.
    pub recorded: &'a Recorded,
    /// Bin (ms).
    pub bin_ms: f64,
    /// Seed of the resamples.
    pub seed: u64,
    /// The network that was recorded.
    pub truth: &'a Connectivity,
}

/// `couplings.json` of a spike-history network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelReport {
    /// Version of this format.
    pub schema: u32,
    /// `spike_history`.
    pub model: String,
    /// The run.
    pub run: String,
    /// Step of the checkpoint.
    pub checkpoint_step: u64,
    /// The file with the true weights.
    pub truth: String,
    /// Unit of the fitted weights, `log-odds`; the true ones have it too where R² is given.
    pub unit: String,
    /// Visible neurons, all of which the file has.
    pub n_neurons: usize,
    /// Bin (ms), the unit of lags.
    pub bin_ms: f64,
    /// The comparisons.
    pub comparisons: Vec<KernelComparison>,
    /// What couldn't be compared.
    pub left_out: Vec<LeftOutMetric>,
}

/// Fitted weights beside true ones, of some pairs and lags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelComparison {
    /// `different`: of one neuron to another; `self`: to itself; `all`: both.
    pub pairs: String,
    /// `sum` over lags, `each`: every lag of every pair is a value, or `one`.
    pub lags: String,
    /// The lag (ms), where it is one.
    pub lag_ms: Option<f64>,
    /// Number of weights.
    pub n: usize,
    /// 1 − Σ(true − fitted)²/Σ(true − mean true)².
    pub r2: Option<f64>,
    /// 95 % interval over resampled neurons.
    pub r2_ci95: Option<[f64; 2]>,
    /// Pearson's correlation.
    pub pearson: Option<f64>,
    /// 95 % interval over resampled neurons.
    pub pearson_ci95: Option<[f64; 2]>,
    /// Standard deviation of the true weights.
    pub sd_true: f64,
    /// Standard deviation of the fitted weights.
    pub sd_fitted: f64,
    /// The same of other estimates: `zero`, and `cross_correlation` of the recorded spikes.
    pub baselines: BTreeMap<String, KernelBaseline>,
}

/// How far another estimate of the weights is the truth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KernelBaseline {
    /// R², where the true weights have its unit and vary.
    pub r2: Option<f64>,
    /// Pearson's correlation, where both vary.
    pub pearson: Option<f64>,
}

/// Compares fitted kernels with true ones. A lag that one of them hasn't counts as weights of 0 there.
///
/// Intervals resample neurons, not pairs: pairs that share a neuron vary together. The baseline `cross_correlation` takes every
/// pair by itself: the covariance of their deviations from trial averages, at the lag, divided by both variances, which is
/// the weight in log-odds where nothing else connects the two (first order in the weight).
///
/// # Shapes
/// Fitted kernels `[D, N, N]`. Allocates both networks' kernels of the neurons that are compared, `[D, M, M]`.
///
/// # Errors
/// [`EvaluateError::NotComparable`] for a unit of the run that the file hasn't, a unit that isn't the only one of its name there, and
/// delays that aren't whole bins.
pub fn compare_kernels(inputs: &KernelInputs<'_>) -> Result<KernelReport, EvaluateError> {
    let (places, unmatched) = matched(inputs)?;
    let lags = lags(inputs)?;
    let n_lags = lags.iter().copied().max().unwrap_or(0).max(inputs.fitted.dim().0);
    let n = places.len();
    let mut truth = Array3::<f64>::zeros((n_lags, n, n));
    for (matrix, &lag) in inputs.truth.weights.outer_iter().zip(&lags) {
        for ((from, to), w) in truth.index_axis_mut(Axis(0), lag - 1).indexed_iter_mut() {
            *w += f64::from(matrix[[places[to], places[from]]]);
        }
    }
    let mut fitted = Array3::<f64>::zeros((n_lags, n, n));
    fitted
        .slice_mut(s![..inputs.fitted.dim().0, .., ..])
        .assign(inputs.fitted);
    let has_unit = inputs.truth.weight_unit == LOG_ODDS;
    let correlations = lagged_weights(inputs.recorded, n_lags);
    let mut report = KernelReport {
        schema: SCHEMA,
        model: "spike_history".to_owned(),
        run: inputs.run.to_owned(),
        checkpoint_step: inputs.checkpoint_step,
        truth: inputs.truth_name.to_owned(),
        unit: LOG_ODDS.to_owned(),
        n_neurons: n,
        bin_ms: inputs.bin_ms,
        comparisons: Vec::new(),
        left_out: unmatched.into_iter().collect(),
    };
    if !has_unit {
        report.left_out.push(LeftOutMetric {
            name: "r2".to_owned(),
            reason: format!("the weights in {} are not said to be log-odds", inputs.truth_name),
        });
    }
    if correlations.is_none() {
        report.left_out.push(LeftOutMetric {
            name: "cross_correlation".to_owned(),
            reason: "no stimulus is shown in 4 training trials of a session".to_owned(),
        });
    }
    let same = Array2::from_shape_fn((n, n), |(i, j)| places[i] == places[j]);
    let of = |fitted: &Array3<f64>| Sums::new(&truth, fitted, &same);
    let (own, zero) = (of(&fitted), of(&Array3::zeros(truth.raw_dim())));
    let others = correlations.as_ref().map(of);
    let whole = own.total(&vec![1.0; n]);
    let resampled: Vec<Vec<[Moments; 2]>> = resamples(&places, inputs.seed).iter().map(|w| own.total(w)).collect();
    let zero = zero.total(&vec![1.0; n]);
    let others = others.map(|sums| sums.total(&vec![1.0; n]));
    for (name, kinds) in [("different", &[0][..]), ("all", &[0, 1]), ("self", &[1])] {
        for row in Row::all(n_lags) {
            let found = row.of(&whole, kinds);
            if found.n < LEAST_PAIRS {
                continue;
            }
            let in_resamples: Vec<Moments> = resampled.iter().map(|sums| row.of(sums, kinds)).collect();
            let r2 = |m: &Moments| has_unit.then(|| m.r2()).flatten();
            let baseline = |sums: &Vec<[Moments; 2]>| {
                let m = row.of(sums, kinds);
                KernelBaseline {
                    r2: r2(&m),
                    pearson: m.pearson(),
                }
            };
            let mut baselines = BTreeMap::from([("zero".to_owned(), baseline(&zero))]);
            baselines.extend(
                others
                    .as_ref()
                    .map(|sums| ("cross_correlation".to_owned(), baseline(sums))),
            );
            report.comparisons.push(KernelComparison {
                pairs: name.to_owned(),
                lags: row.name().to_owned(),
                lag_ms: row.lag().map(|lag| lag as f64 * inputs.bin_ms),
                n: found.n as usize,
                r2: r2(&found),
                r2_ci95: interval(in_resamples.iter().filter_map(r2).collect()),
                pearson: found.pearson(),
                pearson_ci95: interval(in_resamples.iter().filter_map(Moments::pearson).collect()),
                sd_true: found.variances()[0].sqrt(),
                sd_fitted: found.variances()[1].sqrt(),
                baselines,
            });
        }
    }
    Ok(report)
}

/// Place in the truth of each neuron of the run, and which of its units the run hasn't.
fn matched(inputs: &KernelInputs<'_>) -> Result<(Vec<usize>, Option<LeftOutMetric>), EvaluateError> {
    let fail = |reason: String| EvaluateError::NotComparable {
        file: inputs.truth_name.to_owned(),
        reason,
    };
    let mut places = HashMap::<(&str, &str), Vec<usize>>::new();
    for (place, neuron) in inputs
        .truth
        .neurons
        .iter()
        .enumerate()
        .filter(|(_, n)| !n.unit.is_empty())
    {
        places.entry((&neuron.session, &neuron.unit)).or_default().push(place);
        if !neuron.session.is_empty() {
            places.entry(("", &neuron.unit)).or_default().push(place);
        }
    }
    let place = |neuron: &VisibleNeuron| {
        let session = neuron.session.as_deref().unwrap_or("");
        let found = places.get(&(session, neuron.id.as_str()));
        // A truth without sessions is of all of them.
        let of_all = || {
            let all = places.get(&("", neuron.id.as_str()))?;
            all.iter()
                .all(|&place| inputs.truth.neurons[place].session.is_empty())
                .then_some(all)
        };
        match found.or_else(of_all).map(Vec::as_slice) {
            Some([place]) => Ok(*place),
            Some(several) => Err(fail(format!(
                "unit '{}' of the run may be any of {} neurons there, of several sessions; without model.spike_history.shared_units \
                 neurons belong to sessions",
                neuron.id,
                several.len()
            ))),
            None => Err(fail(format!(
                "unit '{neuron}' of the run is not there; the truth has to be of the recording that the run was fitted to"
            ))),
        }
    };
    let found: Vec<usize> = inputs.recorded.neurons.iter().map(place).collect::<Result<_, _>>()?;
    for (neuron, &place) in inputs.recorded.neurons.iter().zip(&found) {
        let area = &inputs.truth.neurons[place].area;
        if *area != neuron.area {
            return Err(fail(format!(
                "unit '{neuron}' is of {area} there, but of {} in the run",
                neuron.area
            )));
        }
    }
    let known: BTreeSet<usize> = found.iter().copied().collect();
    let missing: Vec<&str> = inputs
        .truth
        .neurons
        .iter()
        .enumerate()
        .filter(|(place, neuron)| !neuron.unit.is_empty() && !known.contains(place))
        .map(|(_, neuron)| neuron.unit.as_str())
        .collect();
    let left_out = (!missing.is_empty()).then(|| LeftOutMetric {
        name: "neurons".to_owned(),
        reason: format!(
            "{} units of {} are not in the run: '{}'{}",
            missing.len(),
            inputs.truth_name,
            missing[..missing.len().min(SHOWN)].join("', '"),
            if missing.len() > SHOWN { ", …" } else { "" }
        ),
    });
    Ok((found, left_out))
}

/// Lag of each delay of the truth, bins from 1.
fn lags(inputs: &KernelInputs<'_>) -> Result<Vec<usize>, EvaluateError> {
    /// A kernel over more bins isn't one.
    const MOST: f64 = 10_000.0;
    let lag = |delay: &f64| {
        let bins = delay / inputs.bin_ms;
        let is_whole = (bins - bins.round()).abs() < TOLERANCE && (1.0..=MOST).contains(&bins.round());
        is_whole
            .then_some(bins.round() as usize)
            .ok_or_else(|| EvaluateError::NotComparable {
                file: inputs.truth_name.to_owned(),
                reason: format!(
                    "a delay of {delay} ms is no lag of a run with bins of {} ms",
                    inputs.bin_ms
                ),
            })
    };
    inputs.truth.delays_ms.iter().map(lag).collect()
}

/// Weights `[D, N, N]` (from, to) of each pair by itself: lagged covariances of deviations from trial averages, over both variances.
/// `None` where no training trials repeat a stimulus.
fn lagged_weights(recorded: &Recorded, n_lags: usize) -> Option<Array3<f64>> {
    let repeats = recorded.repeats(Part::Train);
    if repeats.is_empty() {
        return None;
    }
    let n = recorded.neurons.len();
    // Lag 0 first: its diagonal has the variances.
    let (mut sums, mut bins) = (
        Array3::<f64>::zeros((n_lags + 1, n, n)),
        Array3::<f64>::zeros((n_lags + 1, n, n)),
    );
    for repeats in repeats {
        let session = &recorded.sessions[repeats.session];
        let counts = session.counts(&repeats.trials, 0, repeats.n_bins);
        let Some(mean) = counts.mean_axis(Axis(0)) else {
            continue;
        };
        let noise = counts - &mean.insert_axis(Axis(0));
        let (k, t, _) = noise.dim();
        for lag in 0..=n_lags.min(t.saturating_sub(1)) {
            let mut own = Array2::<f64>::zeros((session.neurons.len(), session.neurons.len()));
            for trial in noise.outer_iter() {
                own += &trial.slice(s![..t - lag, ..]).t().dot(&trial.slice(s![lag.., ..]));
            }
            // The mean over K trials takes a K-th of the noise.
            let own_bins = ((k - 1) * (t - lag)) as f64;
            for ((i, j), value) in own.indexed_iter() {
                let at = [lag, session.neurons[i], session.neurons[j]];
                sums[at] += value;
                bins[at] += own_bins;
            }
        }
    }
    let covariances = sums / bins;
    let variances: Vec<f64> = (0..n).map(|i| covariances[[0, i, i]]).collect();
    Some(Array3::from_shape_fn((n_lags, n, n), |(lag, from, to)| {
        let weight = covariances[[lag + 1, from, to]] / (variances[from] * variances[to]);
        // Pairs that no session has together, and silent neurons.
        if weight.is_finite() { weight } else { 0.0 }
    }))
}

/// Weighted sums over pairs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Moments {
    n: f64,
    t: f64,
    f: f64,
    tt: f64,
    ff: f64,
    tf: f64,
}

impl Moments {
    fn add(&mut self, weight: f64, t: f64, f: f64) {
        self.n += weight;
        self.t += weight * t;
        self.f += weight * f;
        self.tt += weight * t * t;
        self.ff += weight * f * f;
        self.tf += weight * t * f;
    }

    fn plus(self, other: Self) -> Self {
        Self {
            n: self.n + other.n,
            t: self.t + other.t,
            f: self.f + other.f,
            tt: self.tt + other.tt,
            ff: self.ff + other.ff,
            tf: self.tf + other.tf,
        }
    }

    /// Variances of true and fitted weights.
    fn variances(&self) -> [f64; 2] {
        [(self.tt, self.t), (self.ff, self.f)].map(|(xx, x)| ((xx - x * x / self.n) / self.n).max(0.0))
    }

    /// Whether a variance is more than what rounding leaves.
    fn varies(&self) -> [bool; 2] {
        let [t, f] = self.variances();
        [t > 1e-12 * self.tt / self.n, f > 1e-12 * self.ff / self.n]
    }

    fn r2(&self) -> Option<f64> {
        let total = self.tt - self.t * self.t / self.n;
        self.varies()[0].then(|| 1.0 - (self.tt - 2.0 * self.tf + self.ff) / total)
    }

    fn pearson(&self) -> Option<f64> {
        let [t, f] = self.variances();
        let covariance = (self.tf - self.t * self.f / self.n) / self.n;
        self.varies().iter().all(|v| *v).then(|| covariance / (t * f).sqrt())
    }
}

/// Which lags a comparison is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Sum,
    Each(usize),
    One(usize),
}

impl Row {
    fn all(n_lags: usize) -> impl Iterator<Item = Self> {
        [Self::Sum, Self::Each(n_lags)]
            .into_iter()
            .chain((1..=n_lags).map(Self::One))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Each(_) => "each",
            Self::One(_) => "one",
        }
    }

    fn lag(self) -> Option<usize> {
        match self {
            Self::One(lag) => Some(lag),
            _ => None,
        }
    }

    /// Sums of these kinds of pairs; the sum over lags comes first in `sums`, then each lag.
    fn of(self, sums: &[[Moments; 2]], kinds: &[usize]) -> Moments {
        let rows = match self {
            Self::Sum => &sums[..1],
            Self::Each(n_lags) => &sums[1..=n_lags],
            Self::One(lag) => &sums[lag..=lag],
        };
        rows.iter()
            .flat_map(|row| kinds.iter().map(|&kind| row[kind]))
            .fold(Moments::default(), Moments::plus)
    }
}

/// True and fitted weights of every pair, summed over lags and of each lag.
struct Sums<'a> {
    truth: Vec<Array2<f64>>,
    fitted: Vec<Array2<f64>>,
    /// Whether a pair is a neuron with itself.
    same: &'a Array2<bool>,
}

impl<'a> Sums<'a> {
    fn new(truth: &Array3<f64>, fitted: &Array3<f64>, same: &'a Array2<bool>) -> Self {
        let rows = |w: &Array3<f64>| -> Vec<Array2<f64>> {
            let each = w.outer_iter().map(|matrix: ArrayView2<'_, f64>| matrix.to_owned());
            std::iter::once(w.sum_axis(Axis(0))).chain(each).collect()
        };
        Self {
            truth: rows(truth),
            fitted: rows(fitted),
            same,
        }
    }

    /// Moments of pairs of different neurons and of neurons with themselves, by lag; each neuron as often as said.
    fn total(&self, drawn: &[f64]) -> Vec<[Moments; 2]> {
        let of = |(truth, fitted): (&Array2<f64>, &Array2<f64>)| {
            let mut sums = [Moments::default(); 2];
            for (((from, to), &t), &f) in truth.indexed_iter().zip(fitted) {
                if from == to {
                    sums[1].add(drawn[from], t, f);
                } else if !self.same[[from, to]] {
                    sums[0].add(drawn[from] * drawn[to], t, f);
                }
                // Else a neuron that two sessions have: its weight onto itself is compared in each of them.
            }
            sums
        };
        self.truth.iter().zip(&self.fitted).map(of).collect()
    }
}

/// How often each neuron is drawn, in resamples with replacement; one that several sessions have is drawn for all of them.
fn resamples(places: &[usize], seed: u64) -> Vec<Vec<f64>> {
    let distinct: Vec<usize> = places.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let one = |r: u64| {
        let mut rng = StreamRng::new(seed, "evaluate.kernels.resample", r);
        let mut drawn = vec![0.0; distinct.len()];
        for _ in 0..distinct.len() {
            drawn[rng.random_range(0..distinct.len())] += 1.0;
        }
        places
            .iter()
            .map(|place| drawn[distinct.partition_point(|other| other < place)])
            .collect()
    };
    (0..N_RESAMPLES).into_par_iter().map(one).collect()
}

fn interval(mut values: Vec<f64>) -> Option<[f64; 2]> {
    values.retain(|x| x.is_finite());
    values.sort_by(f64::total_cmp);
    Some([quantile_sorted(&values, 0.025)?, quantile_sorted(&values, 0.975)?])
}

impl KernelReport {
    /// A table for people.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{} · checkpoint step {} · {} visible neurons beside {}\nweights in {}, intervals over resampled neurons\n\n",
            self.run, self.checkpoint_step, self.n_neurons, self.truth, self.unit
        );
        let head = [
            "pairs",
            "lags",
            "R²",
            "95 % interval",
            "r",
            "95 % interval",
            "sd true",
            "sd fitted",
            "n",
            "R² and r of baselines",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        let shown = |x: Option<f64>| x.map_or("–".to_owned(), number);
        let between = |x: Option<[f64; 2]>| {
            x.map_or("–".to_owned(), |[low, high]| {
                format!("[{}, {}]", number(low), number(high))
            })
        };
        for c in &self.comparisons {
            let of = |(name, b): (&String, &KernelBaseline)| match b.pearson {
                None => format!("{name} {}", shown(b.r2)),
                Some(_) => format!("{name} {} {}", shown(b.r2), shown(b.pearson)),
            };
            let baselines: Vec<String> = c.baselines.iter().map(of).collect();
            rows.push(vec![
                c.pairs.clone(),
                c.lag_ms.map_or(c.lags.clone(), |ms| format!("{} ms", number(ms))),
                shown(c.r2),
                between(c.r2_ci95),
                shown(c.pearson),
                between(c.pearson_ci95),
                number(c.sd_true),
                number(c.sd_fitted),
                c.n.to_string(),
                baselines.join(", "),
            ]);
        }
        write_rows(&mut text, &rows);
        if !self.left_out.is_empty() {
            text.push_str("\nleft out:\n");
            for metric in &self.left_out {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "  {}: {}", metric.name, metric.reason);
            }
        }
        text
    }
}
