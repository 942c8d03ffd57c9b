//! Mean activity of each area, and behaviour, in each trial type: of all sessions, also of those that lack a type.

use std::collections::{BTreeMap, BTreeSet};

use nalgebra::{Cholesky, DMatrix, DVector};
use ndarray::{Array1, Array3, Axis};

use super::{Block, Completed};
use crate::statistics::{Filters, Recording, TrialSelection};

/// Means of one session in each type that it has: sums over its neurons of an area, or one channel of behaviour.
#[derive(Default)]
struct OfSession {
    n: usize, // neurons; 1 for a channel
    sums: BTreeMap<usize, Array1<f64>>,
}

/// Sums that make the templates, by area or channel and session.
#[derive(Default)]
pub(super) struct TypeMeans {
    pub(super) types: BTreeSet<usize>,
    areas: BTreeMap<usize, BTreeMap<usize, OfSession>>,
    channels: BTreeMap<usize, BTreeMap<usize, OfSession>>,
}

impl TypeMeans {
    /// Model neurons of an area, of the sessions that have trials.
    pub(super) fn neurons(&self, recording: &Recording, area: usize) -> Vec<usize> {
        let with_trials = self.areas.get(&area).into_iter().flat_map(BTreeMap::keys);
        let of_session = |&s: &usize| {
            let session = &recording.sessions()[s];
            let columns = (0..session.neurons.len()).filter(move |&c| session.areas[c] == area && session.is_kept(c));
            columns.map(|c| session.neurons[c])
        };
        with_trials.flat_map(of_session).collect()
    }

    pub(super) fn area_block(&self, area: usize, types: &[usize]) -> Option<Block> {
        block(self.areas.get(&area)?, types)
    }

    /// Channels that have a template of every type, and these.
    pub(super) fn behaviour_blocks(&self, types: &[usize]) -> (Vec<usize>, Vec<Block>) {
        let blocks = self.channels.iter();
        blocks
            .filter_map(|(&channel, sessions)| Some((channel, block(sessions, types)?)))
            .unzip()
    }

    pub(super) fn completed(&self, areas: &[usize], types: &[usize]) -> Completed {
        let mut completed = Completed::default();
        let (mut all, mut lacking) = (BTreeSet::new(), BTreeSet::new());
        for (s, session) in areas.iter().filter_map(|area| self.areas.get(area)).flatten() {
            completed.of_neurons += session.n;
            all.insert(s);
            if session.sums.len() < types.len() {
                completed.n_neurons += session.n;
                lacking.insert(s);
            }
        }
        completed.n_sessions = lacking.len();
        completed.of_sessions = all.len();
        completed
    }
}

/// Mean over all sessions of each type; `None` if some type is missing or can't be compared with the others.
fn block(sessions: &BTreeMap<usize, OfSession>, types: &[usize]) -> Option<Block> {
    let sessions: Vec<&OfSession> = sessions.values().collect();
    let n: usize = sessions.iter().map(|session| session.n).sum();
    let is_complete = |session: &&OfSession| types.iter().all(|y| session.sums.contains_key(y));
    let effects = if sessions.iter().all(is_complete) {
        Vec::new()
    } else {
        additive(&sessions, types)?
    };
    let mut rows = Vec::with_capacity(types.len());
    for (i, y) in types.iter().enumerate() {
        let mut sum: Option<Array1<f64>> = None;
        for session in &sessions {
            let own = match session.sums.get(y) {
                Some(own) => own.clone(),
                None => estimated(session, types, &effects, i)?,
            };
            sum = Some(match sum {
                Some(sum) => sum + own,
                None => own,
            });
        }
        rows.push(sum? / n as f64);
    }
    let views: Vec<_> = rows.iter().map(|row| row.view()).collect();
    ndarray::stack(Axis(0), &views).ok().map(Block::new)
}

/// Effects τ of the types `[types]`, each `[T2]` for one neuron, by least squares; their sum is 0.
///
/// The means of the sessions are eliminated: with `Y_s` the types of session s, τ solves
/// $\sum_s n_s (1_{c \in Y_s}\, (y_{sc} - \bar y_s) - \tau_c + \bar\tau_s) = 0$, whose matrix is the Laplacian of the graph
/// of types that sessions have in common. `None` if that graph is in pieces.
///
/// # Source
/// Two-way analysis of variance without interaction, cells missing (Searle 1971, Linear Models, chapter 7).
fn additive(sessions: &[&OfSession], types: &[usize]) -> Option<Vec<Array1<f64>>> {
    let n_types = types.len();
    let t2 = sessions.iter().find_map(|session| session.sums.values().next())?.len();
    // Adding 1 everywhere fixes the sum of the effects, which nothing else does.
    let mut matrix = DMatrix::<f64>::from_element(n_types, n_types, 1.0);
    let mut right = vec![Array1::<f64>::zeros(t2); n_types];
    let mut is_linked = DMatrix::<bool>::from_element(n_types, n_types, false);
    for session in sessions {
        let own: Vec<usize> = (0..n_types).filter(|i| session.sums.contains_key(&types[*i])).collect();
        let n = session.n as f64;
        let mut mean = Array1::zeros(t2);
        for &i in &own {
            mean += &session.sums[&types[i]];
        }
        mean /= own.len() as f64;
        for &i in &own {
            // Sums over neurons: n_s times their mean.
            right[i] += &(&session.sums[&types[i]] - &mean);
            matrix[(i, i)] += n;
            for &j in &own {
                matrix[(i, j)] -= n / own.len() as f64;
                is_linked[(i, j)] = true;
            }
        }
    }
    if !is_connected(&is_linked) {
        return None;
    }
    let factor = Cholesky::new(matrix)?;
    let mut effects = vec![Array1::zeros(t2); n_types];
    for t in 0..t2 {
        let solved = factor.solve(&DVector::from_iterator(n_types, right.iter().map(|row| row[t])));
        for (effect, value) in effects.iter_mut().zip(solved.iter()) {
            effect[t] = *value;
        }
    }
    Some(effects)
}

/// Whether every type is reached from the first one.
fn is_connected(is_linked: &DMatrix<bool>) -> bool {
    let n = is_linked.nrows();
    let (mut is_reached, mut next) = (vec![false; n], vec![0]);
    while let Some(i) = next.pop() {
        if !std::mem::replace(&mut is_reached[i], true) {
            next.extend((0..n).filter(|&j| is_linked[(i, j)]));
        }
    }
    is_reached.into_iter().all(|is_reached| is_reached)
}

/// Sum over the neurons of a session in type number `i`, which it lacks: their mean over the types that it has, moved by
/// the effects.
fn estimated(session: &OfSession, types: &[usize], effects: &[Array1<f64>], i: usize) -> Option<Array1<f64>> {
    let n = session.n as f64;
    let mut sum = Array1::zeros(effects.get(i)?.len());
    for (effect, own) in effects
        .iter()
        .zip(types)
        .filter_map(|(e, y)| Some((e, session.sums.get(y)?)))
    {
        sum += &(own - &(effect * n));
    }
    Some(sum / session.sums.len() as f64 + effects.get(i)? * n)
}

/// From the complete ones of the selected trials.
pub(super) fn type_means(
    recording: &Recording,
    selection: &TrialSelection,
    filters: &Filters,
    has_behaviour: bool,
) -> TypeMeans {
    let mut means = TypeMeans::default();
    for (s, (session, trials)) in recording.sessions().iter().zip(selection).enumerate() {
        let mut of_type = BTreeMap::<usize, Vec<usize>>::new();
        for &k in trials.iter().filter(|&&k| session.valid_bins[k] == recording.n_bins()) {
            of_type.entry(session.trial_types[k]).or_default().push(k);
        }
        for (y, trials) in of_type {
            means.types.insert(y);
            let mut sums = Array3::<f64>::zeros((1, recording.n_bins(), session.neurons.len()));
            for &k in &trials {
                let counts = session.counts.index_axis(Axis(0), k);
                sums.index_axis_mut(Axis(0), 0)
                    .zip_mut_with(&counts, |sum, &count| *sum += f64::from(count));
            }
            let psth = filters.features(&(sums / trials.len() as f64).view());
            let mut areas = BTreeMap::<usize, (Array1<f64>, usize)>::new();
            let columns = session.areas.iter().enumerate();
            for (column, &area) in columns.filter(|(column, _)| session.is_kept(*column)) {
                let trace = psth.slice(ndarray::s![0, .., column]);
                let (sum, n) = areas.entry(area).or_insert_with(|| (Array1::zeros(trace.len()), 0));
                *sum += &trace;
                *n += 1;
            }
            for (area, (sum, n)) in areas {
                add(&mut means.areas, (area, s, y), (sum, n));
            }
            if let Some(behaviour) = session.behaviour.as_ref().filter(|_| has_behaviour) {
                let traces = filters.features(&behaviour.select(Axis(0), &trials).view());
                for (b, trace) in traces.axis_iter(Axis(2)).enumerate() {
                    let finite: Vec<usize> = (0..trials.len())
                        .filter(|&k| trace.row(k).iter().all(|v| v.is_finite()))
                        .collect();
                    if let Some(trace) = trace.select(Axis(0), &finite).mean_axis(Axis(0)) {
                        add(&mut means.channels, (b, s, y), (trace, 1));
                    }
                }
            }
        }
    }
    means
}

fn add(
    means: &mut BTreeMap<usize, BTreeMap<usize, OfSession>>,
    (key, session, y): (usize, usize, usize),
    (sum, n): (Array1<f64>, usize),
) {
    let of_session = means.entry(key).or_default().entry(session).or_default();
    of_session.n = n;
    of_session.sums.insert(y, sum);
}
