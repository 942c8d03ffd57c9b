//! Variances and covariances of spike counts over trials, as losses: how much single neurons vary from trial to trial, and what
//! pairs of them share.
//!
//! Why here: trial averages and averages over populations leave both free. A fit by them may give each neuron of a population a
//! random offset of its own in every trial, which the averages don't see.

use std::ops::Range;

use ndarray::{Array1, Array2, Array3, ArrayView3, Axis, s};
use rayon::prelude::*;

use crate::LossError;
use crate::error::{check_indices, check_shape};
use crate::statistics::{Recording, Segments, TrialSelection};

/// Recorded spikes in all selected trials below which a neuron takes no part: the ratio of two variances of so few says nothing.
pub const MIN_SPIKES: f64 = 10.0;

/// Simulated trials of a stimulus that a comparison takes at least: two in each half.
pub const MIN_TRIALS: usize = 4;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entries {
    /// Each neuron with itself: variances.
    Neurons,
    /// Pairs of different neurons of a session: covariances.
    Pairs,
}

/// The loss: squared differences of the model's (co)variances of counts from the recorded ones, in units of the recorded
/// variances.
///
/// $$L = \frac1{|W|\,|E|}\sum_{w}\sum_{(i,j)\in E}
///   \frac{(C^1_{ij}-C^D_{ij})(C^2_{ij}-C^D_{ij})}{C^D_{ii}\,C^D_{jj}}$$
///
/// over lengths of windows w and entries E: neurons (i = j) or pairs recorded together. C is the covariance over trials of the
/// same stimulus of counts in a window, the unbiased estimates of consecutive windows of a trial averaged, and those of stimuli
/// weighted by their share of the recorded trials. C¹ and C² are those of two halves of the simulated trials: the square of one
/// estimate would be too large by its variance, which a fit can lower by varying less. So L may come out below 0.
///
/// For a neuron it is the squared error of the ratio of variances, and where rates are right that of Fano factors; for a pair,
/// the squared error of its noise correlation where variances are right.
#[derive(Debug, Clone)]
pub struct CountCovarianceLoss {
    entries: Entries,
    segments: Segments,
    lengths: Vec<usize>,
    sessions: Vec<Session>,
    /// |E| of each length.
    n_entries: Vec<usize>,
}

/// Recorded side of a session.
#[derive(Debug, Clone)]
struct Session {
    /// Model neurons that take part, in ascending order of the session's columns.
    neurons: Vec<usize>,
    /// For each length of windows.
    targets: Vec<Target>,
}

#[derive(Debug, Clone)]
struct Target {
    /// Stimuli with two recorded trials: condition, share, covariance (variances as `[1, N]`).
    conditions: Vec<(usize, f64, Array2<f64>)>,
    /// 1 / (C_ii C_jj) of entries that count, 0 of others.
    weights: Array2<f64>,
}

/// Value and gradient.
#[derive(Debug, Clone)]
pub struct CountCovarianceValue {
    /// The loss.
    pub value: f64,
    /// Gradient with respect to the model's counts `[K, S, N]`.
    pub d_counts: Array3<f64>,
}

/// Counts of one side's trials in windows of one length, less their mean over the trials of a window.
struct Rows {
    /// `[R, N_s]`, a row for each window and trial that has it.
    residuals: Array2<f64>,
    /// Trial and window of each row.
    of_row: Vec<(usize, usize)>,
    /// Σ over windows of the trials less one.
    terms: f64,
}

impl Rows {
    /// `counts` `[K, S, N]`; of these trials, and of `columns`.
    fn new(
        counts: &ArrayView3<'_, f64>,
        columns: &[usize],
        segments: &Segments,
        length: usize,
        trials: &[usize],
        valid: &dyn Fn(usize) -> usize,
    ) -> Self {
        let n = columns.len();
        let (mut values, mut of_row, mut terms) = (Vec::new(), Vec::new(), 0.0);
        for (w, window) in segments.windows(length).iter().enumerate() {
            let first = values.len();
            let has: Vec<usize> = trials.iter().copied().filter(|&k| valid(k) >= window.end_bin).collect();
            if has.len() < 2 {
                continue;
            }
            let mut mean = vec![0.0; n];
            for &k in &has {
                let own = counts.slice(s![k, window.segments.clone(), ..]);
                for (sum, &column) in mean.iter_mut().zip(columns) {
                    let count: f64 = own.column(column).sum();
                    *sum += count;
                    values.push(count);
                }
                of_row.push((k, w));
            }
            for sum in &mut mean {
                *sum /= has.len() as f64;
            }
            for row in values[first..].chunks_exact_mut(n.max(1)) {
                row.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= mean);
            }
            terms += (has.len() - 1) as f64;
        }
        let residuals = Array2::from_shape_vec((of_row.len(), n), values).expect("a count for each row and neuron");
        Self {
            residuals,
            of_row,
            terms,
        }
    }

    /// Unbiased covariances `[N, N]`, or variances `[1, N]`; none without two trials that have a window.
    fn covariance(&self, entries: Entries) -> Option<Array2<f64>> {
        (self.terms > 0.0).then(|| match entries {
            Entries::Neurons => self.variances().insert_axis(Axis(0)) / self.terms,
            Entries::Pairs => self.residuals.t().dot(&self.residuals) / self.terms,
        })
    }

    /// Sums of squares `[N]`.
    fn variances(&self) -> Array1<f64> {
        self.residuals.map_axis(Axis(0), |column| column.dot(&column))
    }

    /// Adds the gradient at the counts, given the (symmetric) one at the covariances.
    fn pull(&self, slopes: &Array2<f64>, entries: Entries, windows: &[Range<usize>], to: &mut SessionGradient<'_>) {
        let scale = 2.0 / self.terms;
        // Residuals of a window sum to 0 over its trials, so that this needs no centring.
        let d = match entries {
            Entries::Neurons => &self.residuals * &slopes.row(0) * scale,
            Entries::Pairs => self.residuals.dot(slopes) * scale,
        };
        for (row, &(k, w)) in d.rows().into_iter().zip(&self.of_row) {
            for segment in windows[w].clone() {
                for (&neuron, d) in to.neurons.iter().zip(row) {
                    to.d_counts[[k, segment, neuron]] += d;
                }
            }
        }
    }
}

/// Where a session's gradient goes.
struct SessionGradient<'a> {
    neurons: &'a [usize],
    d_counts: &'a mut Array3<f64>,
}

/// A session's part: what its entries add up to for each length, if they can be compared, and what is pulled back: rows, gradient at
/// their covariances, length.
struct Part {
    sums: Vec<Option<f64>>,
    pulls: Vec<(Rows, Array2<f64>, usize)>,
}

impl CountCovarianceLoss {
    /// The recorded side.
    ///
    /// Neurons with fewer than [`MIN_SPIKES`] spikes in the selected trials, or the same count in all of them, take no part, nor
    /// do pairs without two trials of each stimulus in which both were observed.
    ///
    /// # Errors
    /// [`LossError::Shape`], [`LossError::Index`] for a selection of other sessions or trials; [`LossError::Parameter`] for a
    /// length that `segments` has no windows of; [`LossError::NoData`] if nothing can be compared.
    pub fn new(
        recording: &Recording,
        selection: &TrialSelection,
        segments: &Segments,
        lengths: &[usize],
        entries: Entries,
    ) -> Result<Self, LossError> {
        recording.check_selection(selection)?;
        if let Some(bad) = lengths.iter().find(|w| segments.windows(**w).is_empty()) {
            return Err(LossError::Parameter {
                name: "window of spike counts (bins)",
                found: bad.to_string(),
                expected: "one that the segments are made for",
            });
        }
        let sessions: Vec<Session> = recording
            .sessions()
            .iter()
            .zip(selection)
            .map(|(session, trials)| {
                let counts = segments.counts(session);
                let mask = session.mask();
                let is_seen = |k: usize, column: usize| mask.is_none_or(|mask| mask[[k, column]]);
                let columns: Vec<usize> = (0..session.neurons.len())
                    .filter(|&n| {
                        let seen = trials.iter().filter(|&&k| is_seen(k, n));
                        seen.map(|&k| counts.slice(s![k, .., n]).sum()).sum::<f64>() >= MIN_SPIKES
                    })
                    .collect();
                let observed = Observed {
                    counts: &counts,
                    columns: &columns,
                    mask,
                    valid_bins: &session.valid_bins,
                    conditions: &session.conditions,
                    trials,
                };
                Session {
                    targets: lengths.iter().map(|&w| observed.target(segments, w, entries)).collect(),
                    neurons: columns.iter().map(|&n| session.neurons[n]).collect(),
                }
            })
            .collect();
        let n_entries: Vec<usize> = (0..lengths.len())
            .map(|l| {
                let of = |session: &Session| session.targets[l].weights.iter().filter(|w| **w > 0.0).count();
                sessions.iter().map(of).sum()
            })
            .collect();
        if let Some(l) = n_entries.iter().position(|n| *n == 0) {
            return Err(LossError::NoData {
                what: "variances of spike counts",
                reason: format!(
                    "in windows of {} bins no {} of {MIN_SPIKES} spikes or more varies over trials of a stimulus",
                    lengths[l],
                    match entries {
                        Entries::Neurons => "neuron",
                        Entries::Pairs => "pair of neurons recorded together",
                    }
                ),
            });
        }
        Ok(Self {
            entries,
            segments: segments.clone(),
            lengths: lengths.to_vec(),
            sessions,
            n_entries,
        })
    }

    /// Neurons that take part.
    pub fn n_neurons(&self) -> usize {
        self.sessions.iter().map(|session| session.neurons.len()).sum()
    }

    /// Whether model trials of these conditions can be compared: a stimulus has [`MIN_TRIALS`] of them, and two recorded ones.
    pub fn is_comparable(&self, model: &[usize]) -> bool {
        let has = |c: usize| model.iter().filter(|m| **m == c).count() >= MIN_TRIALS;
        let targets = self.sessions.iter().flat_map(|session| &session.targets);
        targets.flat_map(|target| &target.conditions).any(|(c, ..)| has(*c))
    }

    /// Value and gradient for simulated trials.
    ///
    /// # Shapes
    /// `counts` `[K, S, N]` of the segments, `conditions` `[K]`, `valid_bins` `[K]` where trials end at different bins.
    ///
    /// # Errors
    /// [`LossError::Shape`], [`LossError::Index`] for arrays that disagree; [`LossError::NoData`] if no stimulus has
    /// [`MIN_TRIALS`] trials that have a window.
    pub fn evaluate(
        &self,
        counts: &ArrayView3<'_, f64>,
        conditions: &[usize],
        valid_bins: Option<&[usize]>,
    ) -> Result<CountCovarianceValue, LossError> {
        let (k, _, n) = counts.dim();
        check_shape(
            "spike counts of the model",
            counts.shape(),
            &[k, self.segments.len(), n],
        )?;
        check_shape("conditions of the model's trials", &[conditions.len()], &[k])?;
        if let Some(valid) = valid_bins {
            check_shape("valid bins of the model's trials", &[valid.len()], &[k])?;
        }
        for session in &self.sessions {
            check_indices("neurons of a session", &session.neurons, n)?;
        }
        let trials = Simulated {
            counts: *counts,
            conditions,
            valid_bins,
        };
        let parts: Vec<Part> = self
            .sessions
            .par_iter()
            .map(|session| self.part(session, &trials))
            .collect();
        let sums: Vec<_> = parts.iter().map(|part| part.sums.clone()).collect();
        let value = self.mean(&sums)?;
        let mut d_counts = Array3::zeros(counts.raw_dim());
        for (session, part) in self.sessions.iter().zip(&parts) {
            let mut to = SessionGradient {
                neurons: &session.neurons,
                d_counts: &mut d_counts,
            };
            for (rows, slopes, l) in &part.pulls {
                let windows = self.segments.windows(self.lengths[*l]);
                let ranges: Vec<Range<usize>> = windows.iter().map(|w| w.segments.clone()).collect();
                let slopes = slopes / (self.lengths.len() * self.n_entries[*l]) as f64;
                rows.pull(&slopes, self.entries, &ranges, &mut to);
            }
        }
        Ok(CountCovarianceValue { value, d_counts })
    }

    /// The value with recorded trials in the model's place: its floor. Neurons count in the trials that they were observed in.
    ///
    /// # Errors
    /// As [`Self::new`], [`Self::evaluate`]; [`LossError::Shape`] for other sessions or neurons.
    pub fn between(&self, recording: &Recording, selection: &TrialSelection) -> Result<f64, LossError> {
        recording.check_selection(selection)?;
        check_shape("sessions", &[recording.sessions().len()], &[self.sessions.len()])?;
        let mut parts = Vec::new();
        for ((session, target), trials) in recording.sessions().iter().zip(&self.sessions).zip(selection) {
            let counts = self.segments.counts(session);
            let column = |neuron: &usize| session.neurons.iter().position(|n| n == neuron);
            let columns: Vec<usize> = target.neurons.iter().filter_map(column).collect();
            check_shape("neurons of a session", &[columns.len()], &[target.neurons.len()])?;
            let observed = Observed {
                counts: &counts,
                columns: &columns,
                mask: session.mask(),
                valid_bins: &session.valid_bins,
                conditions: &session.conditions,
                trials,
            };
            let sums = target.targets.iter().zip(&self.lengths).map(|(target, &length)| {
                let mut differences = Vec::new();
                for (condition, share, recorded) in &target.conditions {
                    let own = trials.iter().copied().filter(|&k| session.conditions[k] == *condition);
                    let halves = halves(own).map(|own| {
                        let (_, covariance) = observed.covariance(&self.segments, length, &own)?;
                        Some(match self.entries {
                            Entries::Neurons => covariance.diag().to_owned().insert_axis(Axis(0)),
                            Entries::Pairs => covariance,
                        })
                    });
                    if let [Some(a), Some(b)] = halves {
                        differences.push((*share, [a - recorded, b - recorded]));
                    }
                }
                target.compare(&differences).map(|compared| compared.sum)
            });
            parts.push(sums.collect());
        }
        self.mean(&parts)
    }

    /// The mean over lengths and entries, of the sums that sessions have for each length.
    fn mean(&self, sums: &[Vec<Option<f64>>]) -> Result<f64, LossError> {
        if sums.iter().flatten().all(Option::is_none) {
            return Err(LossError::NoData {
                what: "variances of spike counts",
                reason: format!("no stimulus has {MIN_TRIALS} simulated trials"),
            });
        }
        let of = |(l, n): (usize, &usize)| sums.iter().filter_map(|of| of[l]).sum::<f64>() / *n as f64;
        let sum: f64 = self.n_entries.iter().enumerate().map(of).sum();
        Ok(sum / self.lengths.len() as f64)
    }

    /// Compares the simulated trials with one session.
    fn part(&self, session: &Session, trials: &Simulated<'_>) -> Part {
        let mut part = Part {
            sums: Vec::new(),
            pulls: Vec::new(),
        };
        for (l, target) in session.targets.iter().enumerate() {
            let (mut differences, mut rows) = (Vec::new(), Vec::new());
            for (condition, share, recorded) in &target.conditions {
                let own = (0..trials.conditions.len()).filter(|&k| trials.conditions[k] == *condition);
                let [first, second] = halves(own).map(|own| {
                    Rows::new(
                        &trials.counts,
                        &session.neurons,
                        &self.segments,
                        self.lengths[l],
                        &own,
                        &|k| trials.valid_bins.map_or(usize::MAX, |valid| valid[k]),
                    )
                });
                if let (Some(a), Some(b)) = (first.covariance(self.entries), second.covariance(self.entries)) {
                    differences.push((*share, [a - recorded, b - recorded]));
                    rows.push([first, second]);
                }
            }
            let compared = target.compare(&differences);
            part.sums.push(compared.as_ref().map(|compared| compared.sum));
            let Some(Compared { slopes, total, .. }) = compared else {
                continue;
            };
            for (rows, (share, _)) in rows.into_iter().zip(&differences) {
                for (rows, slopes) in rows.into_iter().zip(&slopes) {
                    part.pulls.push((rows, slopes * (share / total), l));
                }
            }
        }
        part
    }
}

/// Every other trial.
fn halves(trials: impl Iterator<Item = usize>) -> [Vec<usize>; 2] {
    let mut halves = [Vec::new(), Vec::new()];
    for (rank, k) in trials.enumerate() {
        halves[rank % 2].push(k);
    }
    halves
}

/// Two halves against a target.
struct Compared {
    /// Σ over entries.
    sum: f64,
    /// Its gradient at the covariances of each half.
    slopes: [Array2<f64>; 2],
    /// Share of the recorded trials whose stimuli both sides have.
    total: f64,
}

impl Target {
    /// Differences of both halves from the recorded covariances for each stimulus that both sides have, with its share.
    fn compare(&self, differences: &[(f64, [Array2<f64>; 2])]) -> Option<Compared> {
        let total: f64 = differences.iter().map(|(share, _)| share).sum();
        if total <= 0.0 {
            return None;
        }
        let [first, second] = [0, 1].map(|half| {
            let mut sum = Array2::<f64>::zeros(self.weights.raw_dim());
            for (share, own) in differences {
                sum.scaled_add(share / total, &own[half]);
            }
            // Entries that don't count may be undefined.
            sum.zip_mut_with(&self.weights, |d, w| {
                *d = if *w > 0.0 && d.is_finite() { *d } else { 0.0 }
            });
            sum
        });
        Some(Compared {
            sum: (&first * &second * &self.weights).sum(),
            // Of a pair both entries [i, j] and [j, i] are there, so that these are symmetric.
            slopes: [second * &self.weights, first * &self.weights],
            total,
        })
    }
}

/// Trials in the model's place.
struct Simulated<'a> {
    counts: ArrayView3<'a, f64>,
    conditions: &'a [usize],
    valid_bins: Option<&'a [usize]>,
}

/// Recorded trials of one session.
struct Observed<'a> {
    /// `[K, S, N_s]`.
    counts: &'a Array3<f64>,
    columns: &'a [usize],
    mask: Option<&'a Array2<bool>>,
    valid_bins: &'a [usize],
    conditions: &'a [usize],
    trials: &'a [usize],
}

impl Observed<'_> {
    fn target(&self, segments: &Segments, length: usize, entries: Entries) -> Target {
        let mut labels: Vec<usize> = self.trials.iter().map(|&k| self.conditions[k]).collect();
        labels.sort_unstable();
        labels.dedup();
        let (mut conditions, mut variances) = (Vec::new(), Array1::<f64>::zeros(self.columns.len()));
        let mut total = 0.0;
        for condition in labels {
            let own = self.trials.iter().copied().filter(|&k| self.conditions[k] == condition);
            let Some((terms, covariance)) = self.covariance(segments, length, &own.collect::<Vec<_>>()) else {
                continue;
            };
            let own = covariance.diag().to_owned();
            variances.scaled_add(terms, &own);
            total += terms;
            let kept = match entries {
                Entries::Neurons => own.insert_axis(Axis(0)),
                Entries::Pairs => covariance,
            };
            conditions.push((condition, terms, kept));
        }
        variances /= f64::max(total, f64::MIN_POSITIVE);
        for (_, share, _) in &mut conditions {
            *share /= total;
        }
        let n = self.columns.len();
        let is_defined =
            |i: usize, j: usize| !conditions.is_empty() && conditions.iter().all(|(_, _, c)| c[[i, j]].is_finite());
        // Counts are whole numbers: below this it is rounding.
        let scale = |i: usize, j: usize| {
            let varies = variances[i] > 1e-9 && variances[j] > 1e-9;
            if varies {
                1.0 / (variances[i] * variances[j])
            } else {
                0.0
            }
        };
        let weights = match entries {
            Entries::Neurons => {
                Array2::from_shape_fn((1, n), |(_, i)| if is_defined(0, i) { scale(i, i) } else { 0.0 })
            }
            Entries::Pairs => Array2::from_shape_fn(
                (n, n),
                |(i, j)| {
                    if i != j && is_defined(i, j) { scale(i, j) } else { 0.0 }
                },
            ),
        };
        Target { conditions, weights }
    }

    /// Unbiased covariances `[N, N]` over trials of one stimulus, averaged over windows, and the number of their terms; each entry
    /// over the trials that both neurons were observed in, NaN where these are fewer than two. None without two trials.
    fn covariance(&self, segments: &Segments, length: usize, trials: &[usize]) -> Option<(f64, Array2<f64>)> {
        let valid = |k: usize| self.valid_bins[k];
        let Some(mask) = self.mask else {
            let rows = Rows::new(&self.counts.view(), self.columns, segments, length, trials, &valid);
            let terms = rows.terms;
            return rows.covariance(Entries::Pairs).map(|covariance| (terms, covariance));
        };
        let n = self.columns.len();
        let (mut products, mut terms, mut most) = (Array2::<f64>::zeros((n, n)), Array2::<f64>::zeros((n, n)), 0.0);
        for window in segments.windows(length) {
            let has: Vec<usize> = trials.iter().copied().filter(|&k| valid(k) >= window.end_bin).collect();
            if has.len() < 2 {
                continue;
            }
            most += (has.len() - 1) as f64;
            let seen = mask.select(Axis(0), &has).select(Axis(1), self.columns);
            let seen = seen.mapv(|seen| f64::from(u8::from(seen)));
            let counts = Array2::from_shape_fn((has.len(), n), |(k, i)| {
                self.counts
                    .slice(s![has[k], window.segments.clone(), self.columns[i]])
                    .sum()
            });
            let x = &counts * &seen;
            let (both, sums, squares) = (seen.t().dot(&seen), x.t().dot(&seen), x.t().dot(&x));
            for ((i, j), &both) in both.indexed_iter().filter(|(_, both)| **both >= 2.0) {
                products[[i, j]] += squares[[i, j]] - sums[[i, j]] * sums[[j, i]] / both;
                terms[[i, j]] += both - 1.0;
            }
        }
        let covariance = |products: f64, terms: f64| if terms > 0.0 { products / terms } else { f64::NAN };
        let mut out = products;
        out.zip_mut_with(&terms, |product, &terms| *product = covariance(*product, terms));
        (most > 0.0).then_some((most, out))
    }
}
