//! Variances and covariances of spike counts over trials, as losses: how much single neurons vary from trial to trial, and what
//! pairs of them share.
//!
//! Why here: trial averages and averages over populations leave both free. A fit by them may give each neuron of a population a
//! random offset of its own in every trial, which the averages don't see.

use std::borrow::Cow;

use ndarray::{Array1, Array2, Array3, ArrayView3, Axis, s};
use rayon::prelude::*;

use crate::LossError;
use crate::error::{check_indices, check_shape};
use crate::statistics::{Presence, RecordedCounts, RecordedSession, Recording, Segments, TrialSelection};

/// Recorded spikes in all selected trials below which a neuron takes no part: the ratio of two variances of so few says nothing.
pub const MIN_SPIKES: f64 = 10.0;

/// Trials of a stimulus, simulated and recorded, that a comparison takes at least: two in each half.
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
/// $$L = \frac1{|W|}\sum_{w}\frac1{|E|}\sum_{(i,j)\in E}
///   \frac{(C^1_{ij}-D^1_{ij})(C^2_{ij}-D^2_{ij})}{v_i\,v_j}$$
///
/// over lengths of windows w and entries E: neurons (i = j) or pairs recorded together. C is the covariance over trials of the
/// same stimulus of counts in a window, D the recorded one; those of the consecutive windows of a trial are averaged with the
/// recorded numbers of trials less one as weights, those of stimuli by their share of the recorded trials, both with the same
/// weights on both sides. v are recorded variances. ¹ and ² are two halves of the trials, on both sides: the square of one difference
/// would be too large by the variance of both estimates, which a fit can lower by varying less. So the expectation is 0 for a model
/// that has the true covariances, however few the trials, and a value may come out below 0.
///
/// For a neuron it is the squared error of the ratio of variances, and where rates are right that of Fano factors; for a pair,
/// the squared error of its noise correlation where variances are right.
///
/// Neurons that were not observed in every trial count in those that they were, pairs in those that both were. What a batch can't
/// compare is not in the mean: stimuli with fewer than [`MIN_TRIALS`] trials, windows that trials end in.
#[derive(Debug, Clone)]
pub struct CountCovarianceLoss {
    entries: Entries,
    segments: Segments,
    lengths: Vec<usize>,
    sessions: Vec<Session>,
}

/// Recorded side of a session.
#[derive(Debug, Clone)]
struct Session {
    /// Model neurons that take part, in the order of the session's columns.
    neurons: Vec<usize>,
    /// For each length of windows.
    targets: Vec<Target>,
}

#[derive(Debug, Clone)]
struct Target {
    /// Stimuli that can be compared.
    conditions: Vec<OfCondition>,
    /// 1 / (v_i v_j) of entries that count, 0 of others.
    weights: Array2<f64>,
}

/// Recorded covariances of a stimulus (variances as `[1, N]`).
#[derive(Debug, Clone)]
struct OfCondition {
    condition: usize,
    /// Of the recorded trials; not normalised.
    share: f64,
    /// Weight of each window.
    windows: Vec<f64>,
    /// Of two halves; NaN where a neuron was not observed in two trials of a half.
    halves: [Array2<f64>; 2],
}

/// Value and gradient.
#[derive(Debug, Clone)]
pub struct CountCovarianceValue {
    /// The loss.
    pub value: f64,
    /// Gradient with respect to the model's counts `[K, S, N]`.
    pub d_counts: Array3<f64>,
}

/// Counts of a half of the trials in windows of one length, less their mean over the trials of a window.
struct Rows {
    /// `[R, N_s]`, a row for each window and trial that has it, times its scale: the sum of products is the covariance.
    residuals: Array2<f64>,
    /// Trial, window and scale of each row.
    of_row: Vec<(usize, usize, f64)>,
}

/// Where counts come from.
struct Source<'a, T> {
    /// `[K, S, N]`.
    counts: ArrayView3<'a, T>,
    /// Of the neurons that take part.
    columns: &'a [usize],
    valid_bins: Option<&'a [usize]>,
    segments: &'a Segments,
    length: usize,
}

impl<T: Copy + Into<f64>> Source<'_, T> {
    fn trials_with(&self, trials: &[usize], end_bin: usize) -> Vec<usize> {
        let has = |k: &usize| self.valid_bins.is_none_or(|valid| valid[*k] >= end_bin);
        trials.iter().copied().filter(has).collect()
    }

    /// Trials less one that have each window.
    fn terms(&self, trials: &[usize]) -> Vec<f64> {
        let windows = self.segments.windows(self.length).iter();
        windows
            .map(|window| self.trials_with(trials, window.end_bin).len().saturating_sub(1) as f64)
            .collect()
    }

    /// Counts of a window `[trials, N_s]`.
    fn window(&self, segments: &std::ops::Range<usize>, trials: &[usize]) -> Array2<f64> {
        let mut counts = Array2::zeros((trials.len(), self.columns.len()));
        for (mut row, &k) in counts.rows_mut().into_iter().zip(trials) {
            for segment in segments.clone() {
                let own = self.counts.slice(s![k, segment, ..]);
                for (sum, &column) in row.iter_mut().zip(self.columns) {
                    *sum += own[column].into();
                }
            }
        }
        counts
    }

    /// Rows of some trials; none without two of them that have a window.
    fn rows(&self, trials: &[usize], weights: &[f64]) -> Option<Rows> {
        let windows = self.segments.windows(self.length);
        let parts: Vec<_> = windows
            .iter()
            .zip(weights)
            .enumerate()
            .map(|(w, (window, &weight))| (w, window, weight, self.trials_with(trials, window.end_bin)))
            .filter(|(_, _, weight, has)| *weight > 0.0 && has.len() > 1)
            .collect();
        let total: f64 = parts.iter().map(|(_, _, weight, _)| weight).sum();
        let n_rows = parts.iter().map(|(.., has)| has.len()).sum();
        if n_rows == 0 {
            return None;
        }
        let mut residuals = Array2::zeros((n_rows, self.columns.len()));
        let mut of_row = Vec::with_capacity(n_rows);
        for (w, window, weight, has) in parts {
            let mut counts = self.window(&window.segments, &has);
            let mean = counts.sum_axis(Axis(0)) / has.len() as f64;
            let scale = (weight / (total * (has.len() - 1) as f64)).sqrt();
            counts -= &mean;
            counts *= scale;
            let first = of_row.len();
            residuals.slice_mut(s![first..first + has.len(), ..]).assign(&counts);
            of_row.extend(has.into_iter().map(|k| (k, w, scale)));
        }
        Some(Rows { residuals, of_row })
    }
}

impl Rows {
    /// Unbiased covariances `[N, N]`, or variances `[1, N]`.
    fn covariance(&self, entries: Entries) -> Array2<f64> {
        match entries {
            Entries::Neurons => {
                let squares = self.residuals.map_axis(Axis(0), |column| column.dot(&column));
                squares.insert_axis(Axis(0))
            }
            Entries::Pairs => self.residuals.t().dot(&self.residuals),
        }
    }

    /// Adds the gradient at the counts, given the (symmetric) one at the covariances.
    fn pull(
        &self,
        slopes: &Array2<f64>,
        factor: f64,
        session: &Session,
        source: &Source<'_, f64>,
        to: &mut Array3<f64>,
    ) {
        // Residuals of a window sum to 0 over its trials, so that this needs no centring.
        let d = match slopes.nrows() {
            1 => &self.residuals * &slopes.row(0),
            _ => self.residuals.dot(slopes),
        };
        let windows = source.segments.windows(source.length);
        for (row, &(k, w, scale)) in d.rows().into_iter().zip(&self.of_row) {
            for segment in windows[w].segments.clone() {
                for (&neuron, d) in session.neurons.iter().zip(row) {
                    to[[k, segment, neuron]] += 2.0 * factor * scale * d;
                }
            }
        }
    }
}

/// What a session says for one length.
struct Compared {
    /// Σ over the entries compared, and their number.
    sum: f64,
    n: usize,
    /// Gradient of the sum at the weighted mean over stimuli of the covariances of each half.
    slopes: [Array2<f64>; 2],
    /// Share of the recorded trials whose stimuli both sides have, where one differs for each entry.
    totals: Array2<f64>,
}

impl Target {
    /// Covariances of both halves of the model for some of the stimuli, in the order of these.
    fn compare(&self, found: &[(&OfCondition, [Array2<f64>; 2])]) -> Option<Compared> {
        let mut totals = Array2::<f64>::zeros(self.weights.raw_dim());
        let mut differences = [totals.clone(), totals.clone()];
        for (target, halves) in found {
            let is_defined = target.is_defined(halves);
            totals.scaled_add(target.share, &is_defined);
            for ((sum, own), recorded) in differences.iter_mut().zip(halves).zip(&target.halves) {
                ndarray::Zip::from(sum)
                    .and(own)
                    .and(recorded)
                    .and(&is_defined)
                    .for_each(|sum, c, d, is_defined| {
                        if *is_defined > 0.0 {
                            *sum += target.share * (c - d);
                        }
                    });
            }
        }
        let counts = |weight: &f64, total: &f64| *weight > 0.0 && *total > 0.0;
        let n = self.weights.iter().zip(&totals).filter(|(w, t)| counts(w, t)).count();
        if n == 0 {
            return None;
        }
        for difference in &mut differences {
            let entries = ndarray::Zip::from(difference).and(&self.weights).and(&totals);
            entries.for_each(|d, w, t| *d = if counts(w, t) { *d / t } else { 0.0 });
        }
        let [first, second] = &differences;
        Some(Compared {
            sum: (first * second * &self.weights).sum(),
            n,
            // Of a pair both entries [i, j] and [j, i] are there, so that these are symmetric.
            slopes: [second * &self.weights, first * &self.weights],
            totals,
        })
    }
}

impl OfCondition {
    /// 1 where both sides know both halves.
    fn is_defined(&self, halves: &[Array2<f64>; 2]) -> Array2<f64> {
        let known = |a: &f64| a.is_finite();
        let mut defined = Array2::ones(self.halves[0].raw_dim());
        for side in [&self.halves, halves] {
            for half in side {
                defined.zip_mut_with(half, |defined, a| *defined = if known(a) { *defined } else { 0.0 });
            }
        }
        defined
    }
}

/// A session's part of one length: what is pulled back.
struct Part<'a> {
    compared: Compared,
    /// For each stimulus: its target and the rows of both halves.
    rows: Vec<(&'a OfCondition, [Rows; 2])>,
}

impl CountCovarianceLoss {
    /// The recorded side; none if nothing can be compared.
    ///
    /// Neurons and their variances v are those of `like`, or of the selected trials: with [`MIN_SPIKES`] spikes or more in them, and
    /// counts that vary.
    ///
    /// # Errors
    /// [`LossError::Shape`], [`LossError::Index`] for a selection of other sessions or trials, and counts of another recording;
    /// [`LossError::Parameter`] for a length that `counts` has no windows of.
    pub fn new(
        recording: &Recording,
        counts: &RecordedCounts,
        selection: &TrialSelection,
        lengths: &[usize],
        entries: Entries,
        like: Option<&Self>,
    ) -> Result<Option<Self>, LossError> {
        recording.check_selection(selection)?;
        let segments = counts.segments();
        check_shape(
            "sessions of spike counts",
            &[counts.sessions().len()],
            &[selection.len()],
        )?;
        if let Some(like) = like {
            check_shape("sessions to be like", &[like.sessions.len()], &[selection.len()])?;
            check_shape("windows to be like", &like.lengths, lengths)?;
        }
        if let Some(bad) = lengths.iter().find(|w| segments.windows(**w).is_empty()) {
            return Err(LossError::Parameter {
                name: "window of spike counts (bins)",
                found: bad.to_string(),
                expected: "one that the segments are made for",
            });
        }
        let of_session = |s: usize| -> Result<Session, LossError> {
            let (session, trials) = (&recording.sessions()[s], &selection[s]);
            let like = like.map(|like| &like.sessions[s]);
            let columns = match like {
                Some(like) => columns_of(session, &like.neurons)?,
                None => firing(session, trials),
            };
            let observed = Observed {
                counts: &counts.sessions()[s],
                columns: &columns,
                session,
                segments,
            };
            let targets = lengths.iter().enumerate().map(|(l, &length)| {
                let weights = match like {
                    Some(like) => like.targets[l].weights.clone(),
                    None => observed.weights(length, trials, entries),
                };
                Target {
                    conditions: observed.conditions(length, trials, entries),
                    weights,
                }
            });
            Ok(Session {
                targets: targets.collect(),
                neurons: columns.iter().map(|&n| session.neurons[n]).collect(),
            })
        };
        let sessions = (0..selection.len())
            .into_par_iter()
            .map(of_session)
            .collect::<Result<Vec<_>, _>>()?;
        let found = Self {
            entries,
            segments: segments.clone(),
            lengths: lengths.to_vec(),
            sessions,
        };
        Ok((!found.usable().is_empty()).then_some(found))
    }

    /// Neurons of each session that take part.
    pub fn n_neurons(&self) -> Vec<usize> {
        self.sessions.iter().map(|session| session.neurons.len()).collect()
    }

    /// Stimuli and lengths of windows of which a session has something to compare, each once.
    fn usable(&self) -> Vec<(usize, usize)> {
        let mut usable = Vec::new();
        for session in &self.sessions {
            for (target, &length) in session.targets.iter().zip(&self.lengths) {
                if target.weights.iter().any(|w| *w > 0.0) {
                    usable.extend(target.conditions.iter().map(|c| (c.condition, length)));
                }
            }
        }
        usable.sort_unstable();
        usable.dedup();
        usable
    }

    /// Whether anything of model trials of these conditions, with so many bins, can be compared.
    pub fn is_comparable(&self, model: &[usize], valid_bins: Option<&[usize]>) -> bool {
        self.usable().into_iter().any(|(condition, length)| {
            halves((0..model.len()).filter(|&k| model[k] == condition))
                .iter()
                .all(|half| {
                    let has = |k: &&usize| valid_bins.is_none_or(|valid| valid[**k] >= length);
                    half.iter().filter(has).count() > 1
                })
        })
    }

    /// Value and gradient for simulated trials; none if nothing can be compared.
    ///
    /// # Shapes
    /// `counts` `[K, S, N]` of the segments, `conditions` `[K]`, `valid_bins` `[K]` where trials end at different bins.
    ///
    /// # Errors
    /// [`LossError::Shape`], [`LossError::Index`] for arrays that disagree.
    pub fn evaluate(
        &self,
        counts: &ArrayView3<'_, f64>,
        conditions: &[usize],
        valid_bins: Option<&[usize]>,
    ) -> Result<Option<CountCovarianceValue>, LossError> {
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
        let model = Simulated {
            counts: *counts,
            conditions,
            valid_bins,
        };
        let parts: Vec<Vec<Option<Part<'_>>>> = self
            .sessions
            .par_iter()
            .map(|session| self.parts(session, &model))
            .collect();
        let sums = |part: &Option<Part<'_>>| part.as_ref().map(|part| (part.compared.sum, part.compared.n));
        let sums: Vec<Vec<_>> = parts.iter().map(|of| of.iter().map(sums).collect()).collect();
        let Some(mean) = self.mean(&sums) else { return Ok(None) };
        let mut d_counts = Array3::zeros(counts.raw_dim());
        for (session, parts) in self.sessions.iter().zip(&parts) {
            for ((part, &length), &factor) in parts.iter().zip(&self.lengths).zip(&mean.factors) {
                let Some(Part { compared, rows }) = part else { continue };
                let source = model.source(&session.neurons, &self.segments, length);
                for (own, halves) in rows {
                    for (rows, slopes) in halves.iter().zip(&compared.slopes) {
                        let (slopes, share) = own.slopes(slopes, &compared.totals);
                        rows.pull(&slopes, factor * share, session, &source, &mut d_counts);
                    }
                }
            }
        }
        Ok(Some(CountCovarianceValue {
            value: mean.value,
            d_counts,
        }))
    }

    /// Compares simulated trials with one session, for each length.
    fn parts<'a>(&self, session: &'a Session, model: &Simulated<'_>) -> Vec<Option<Part<'a>>> {
        let of_length = |(target, &length): (&'a Target, &usize)| {
            let source = model.source(&session.neurons, &self.segments, length);
            let (mut found, mut rows) = (Vec::new(), Vec::new());
            for own in &target.conditions {
                let trials = (0..model.conditions.len()).filter(|&k| model.conditions[k] == own.condition);
                let [Some(first), Some(second)] = halves(trials).map(|half| source.rows(&half, &own.windows)) else {
                    continue;
                };
                found.push((own, [&first, &second].map(|rows| rows.covariance(self.entries))));
                rows.push((own, [first, second]));
            }
            let compared = target.compare(&found)?;
            Some(Part { compared, rows })
        };
        session.targets.iter().zip(&self.lengths).map(of_length).collect()
    }

    /// The value with recorded trials in the model's place: its floor. None if nothing can be compared.
    ///
    /// # Errors
    /// As [`Self::new`]; [`LossError::Shape`] for other sessions or neurons.
    pub fn between(
        &self,
        recording: &Recording,
        counts: &RecordedCounts,
        selection: &TrialSelection,
    ) -> Result<Option<f64>, LossError> {
        let model = Self::new(recording, counts, selection, &self.lengths, self.entries, Some(self))?;
        let Some(model) = model else { return Ok(None) };
        let of_session = |(target, model): (&Session, &Session)| {
            let lengths = target.targets.iter().zip(&model.targets);
            let compared = lengths.map(|(target, model)| {
                let of = |own: &OfCondition| model.conditions.iter().find(|c| c.condition == own.condition);
                let found: Vec<_> = target
                    .conditions
                    .iter()
                    .filter_map(|own| Some((own, of(own)?.halves.clone())))
                    .collect();
                target.compare(&found).map(|compared| (compared.sum, compared.n))
            });
            compared.collect()
        };
        let sums: Vec<Vec<_>> = self.sessions.iter().zip(&model.sessions).map(of_session).collect();
        Ok(self.mean(&sums).map(|mean| mean.value))
    }

    /// The mean over lengths of the means over entries, of the sums that sessions have for each length, with numbers of entries.
    fn mean(&self, sums: &[Vec<Option<(f64, usize)>>]) -> Option<Mean> {
        let of_length = |l: usize| {
            let own = sums.iter().filter_map(|of| of[l]);
            own.fold((0.0, 0), |(sum, n), (own, m)| (sum + own, n + m))
        };
        let totals: Vec<(f64, usize)> = (0..self.lengths.len()).map(of_length).collect();
        let n_lengths = totals.iter().filter(|(_, n)| *n > 0).count();
        let factor = |n: usize| if n > 0 { 1.0 / (n * n_lengths) as f64 } else { 0.0 };
        (n_lengths > 0).then(|| Mean {
            value: totals.iter().map(|(sum, n)| sum * factor(*n)).sum(),
            factors: totals.iter().map(|(_, n)| factor(*n)).collect(),
        })
    }
}

/// Trials of the model.
struct Simulated<'a> {
    counts: ArrayView3<'a, f64>,
    conditions: &'a [usize],
    valid_bins: Option<&'a [usize]>,
}

impl Simulated<'_> {
    fn source<'b>(&'b self, neurons: &'b [usize], segments: &'b Segments, length: usize) -> Source<'b, f64> {
        Source {
            counts: self.counts,
            columns: neurons,
            valid_bins: self.valid_bins,
            segments,
            length,
        }
    }
}

/// A mean, and what a session's sum counts in it for each length.
struct Mean {
    value: f64,
    factors: Vec<f64>,
}

impl OfCondition {
    /// The gradient at this stimulus's covariances as a matrix and a factor, given that at the weighted mean over stimuli.
    fn slopes<'a>(&self, slopes: &'a Array2<f64>, totals: &Array2<f64>) -> (Cow<'a, Array2<f64>>, f64) {
        let is_whole = self.halves.iter().flatten().all(|c| c.is_finite());
        let first = totals.first().copied().unwrap_or(0.0);
        if is_whole && first > 0.0 && totals.iter().all(|t| *t == first) {
            return (Cow::Borrowed(slopes), self.share / first);
        }
        let mut own = slopes.clone();
        ndarray::Zip::from(&mut own)
            .and(totals)
            .for_each(|d, t| *d = if *t > 0.0 { *d / t } else { 0.0 });
        for half in &self.halves {
            own.zip_mut_with(half, |d, c| *d = if c.is_finite() { *d } else { 0.0 });
        }
        (Cow::Owned(own), self.share)
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

/// Columns of a session with enough spikes in the trials that they were observed in.
fn firing(session: &RecordedSession, trials: &[usize]) -> Vec<usize> {
    let spikes = session.spikes(trials);
    (0..spikes.len()).filter(|&n| spikes[n] as f64 >= MIN_SPIKES).collect()
}

fn columns_of(session: &RecordedSession, neurons: &[usize]) -> Result<Vec<usize>, LossError> {
    let column = |neuron: &usize| session.neurons.iter().position(|n| n == neuron);
    let columns: Vec<usize> = neurons.iter().filter_map(column).collect();
    check_shape("neurons of a session", &[columns.len()], &[neurons.len()])?;
    Ok(columns)
}

/// Recorded trials of one session.
struct Observed<'a> {
    counts: &'a Array3<u16>,
    columns: &'a [usize],
    session: &'a RecordedSession,
    segments: &'a Segments,
}

impl Observed<'_> {
    fn source(&self, length: usize) -> Source<'_, u16> {
        Source {
            counts: self.counts.view(),
            columns: self.columns,
            valid_bins: Some(&self.session.valid_bins),
            segments: self.segments,
            length,
        }
    }

    /// Trials of each stimulus.
    fn by_condition(&self, trials: &[usize]) -> Vec<(usize, Vec<usize>)> {
        let of = |k: usize| self.session.conditions[k];
        let mut labels: Vec<usize> = trials.iter().map(|&k| of(k)).collect();
        labels.sort_unstable();
        labels.dedup();
        let own = |c: usize| trials.iter().copied().filter(|&k| of(k) == c).collect();
        labels.into_iter().map(|c| (c, own(c))).collect()
    }

    /// Stimuli of which both halves have two trials.
    fn conditions(&self, length: usize, trials: &[usize], entries: Entries) -> Vec<OfCondition> {
        let source = self.source(length);
        let of_condition = |(condition, trials): (usize, Vec<usize>)| {
            let windows = source.terms(&trials);
            let [Some(first), Some(second)] =
                halves(trials.iter().copied()).map(|half| self.covariance(length, &half, &windows, entries))
            else {
                return None;
            };
            Some(OfCondition {
                condition,
                share: windows.iter().sum(),
                windows,
                halves: [first, second],
            })
        };
        self.by_condition(trials).into_iter().filter_map(of_condition).collect()
    }

    /// 1 / (v_i v_j) of the entries that count, 0 of others.
    fn weights(&self, length: usize, trials: &[usize], entries: Entries) -> Array2<f64> {
        let source = self.source(length);
        let n = self.columns.len();
        let (mut variances, mut shares) = (Array1::<f64>::zeros(n), Array1::<f64>::zeros(n));
        for (_, trials) in self.by_condition(trials) {
            let windows = source.terms(&trials);
            let share: f64 = windows.iter().sum();
            if let Some(own) = self.covariance(length, &trials, &windows, Entries::Neurons) {
                let own = own.row(0).to_owned();
                for ((sum, total), v) in variances.iter_mut().zip(&mut shares).zip(own) {
                    if v.is_finite() {
                        *sum += share * v;
                        *total += share;
                    }
                }
            }
        }
        // Counts are whole numbers: below this it is rounding.
        let scale = |i: usize| {
            let v = variances[i] / shares[i];
            if v > 1e-9 { 1.0 / v } else { 0.0 }
        };
        match entries {
            Entries::Neurons => Array2::from_shape_fn((1, n), |(_, i)| scale(i) * scale(i)),
            Entries::Pairs => Array2::from_shape_fn((n, n), |(i, j)| if i == j { 0.0 } else { scale(i) * scale(j) }),
        }
    }

    /// Unbiased covariances `[N, N]`, or variances `[1, N]`, over trials of one stimulus, averaged over windows by their weights; each
    /// entry over the trials that both neurons were observed in, NaN where these are fewer than two. None without two trials.
    fn covariance(&self, length: usize, trials: &[usize], weights: &[f64], entries: Entries) -> Option<Array2<f64>> {
        let source = self.source(length);
        let Some(Presence { is_present, .. }) = &self.session.presence else {
            return source.rows(trials, weights).map(|rows| rows.covariance(entries));
        };
        let n = self.columns.len();
        let shape = match entries {
            Entries::Neurons => (1, n),
            Entries::Pairs => (n, n),
        };
        let (mut sum, mut total, mut has_any) = (Array2::<f64>::zeros(shape), Array2::<f64>::zeros(shape), false);
        for (window, &weight) in self.segments.windows(length).iter().zip(weights) {
            let has = source.trials_with(trials, window.end_bin);
            if has.len() < 2 || weight <= 0.0 {
                continue;
            }
            has_any = true;
            let seen = is_present.select(Axis(0), &has).select(Axis(1), self.columns);
            let seen = seen.mapv(|seen| f64::from(u8::from(seen)));
            let x = source.window(&window.segments, &has) * &seen;
            let (both, sums, of_other, products) = match entries {
                Entries::Neurons => {
                    let by_neuron = |a: &Array2<f64>| a.sum_axis(Axis(0)).insert_axis(Axis(0));
                    let sums = by_neuron(&x);
                    (by_neuron(&seen), sums.clone(), sums, by_neuron(&(&x * &x)))
                }
                Entries::Pairs => {
                    let sums = x.t().dot(&seen); // [i, j]: Σ x_i where j was observed too
                    let of_other = sums.t().to_owned();
                    (seen.t().dot(&seen), sums, of_other, x.t().dot(&x))
                }
            };
            for (place, &both) in both.indexed_iter().filter(|(_, both)| **both >= 2.0) {
                let own = products[place] - sums[place] * of_other[place] / both;
                sum[place] += weight * own / (both - 1.0);
                total[place] += weight;
            }
        }
        sum.zip_mut_with(&total, |sum, &total| {
            *sum = if total > 0.0 { *sum / total } else { f64::NAN }
        });
        has_any.then_some(sum)
    }
}
