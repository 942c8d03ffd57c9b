//! How long the trials are that model trials take events of.

use data::{BinnedSession, SessionSplit};

use super::Sources;

/// A warning is due where fewer trials fill the window, or a smaller share of them.
const FEW_TRIALS: usize = 10;
const FEW_OF_ALL: f64 = 0.25;

/// Sessions that a model neuron comes from, with their parts.
fn used<'a>(sources: &'a Sources<'_>) -> impl Iterator<Item = (usize, &'a BinnedSession, &'a SessionSplit)> {
    let sessions = sources.sessions.iter().zip(sources.splits).enumerate();
    sessions
        .filter(|(s, _)| sources.used[*s])
        .map(|(s, (session, split))| (s, session, split))
}

/// Bins, and all bins, of the trials of any part in sessions that have the events.
fn drawable<'a>(sources: &'a Sources<'_>, has_cues: &'a [bool]) -> impl Iterator<Item = (usize, usize)> {
    used(sources)
        .filter(|(s, ..)| has_cues[*s])
        .flat_map(|(_, session, split)| {
            let trials = split.train.iter().chain(&split.validation).chain(&split.test);
            trials.map(|&k| (session.valid_bins[k], session.n_bins()))
        })
}

/// Trials of a session that are of some part and long enough, ascending.
pub(super) fn drawn(sources: &Sources<'_>, session: usize) -> Vec<usize> {
    let (split, valid_bins) = (&sources.splits[session], &sources.sessions[session].valid_bins);
    let trials = split.train.iter().chain(&split.validation).chain(&split.test);
    let mut drawn: Vec<usize> = trials
        .copied()
        .filter(|&k| valid_bins[k] >= sources.least_bins)
        .collect();
    drawn.sort_unstable();
    drawn
}

/// Whether some trial that can be drawn ends before the window does.
pub(super) fn are_unequal(sources: &Sources<'_>, has_cues: &[bool]) -> bool {
    drawable(sources, has_cues).any(|(valid, n_bins)| (sources.least_bins..n_bins).contains(&valid))
}

/// Trials that are too short to be drawn, though they have bins.
pub(super) fn too_short(sources: &Sources<'_>, has_cues: &[bool]) -> Option<String> {
    let n_all = drawable(sources, has_cues).count();
    let n_short = drawable(sources, has_cues)
        .filter(|(valid, _)| (1..sources.least_bins).contains(valid))
        .count();
    let bin_ms = sources.sessions.first().map_or(f64::NAN, |session| session.bin_ms);
    (n_short > 0).then(|| {
        format!(
            "{n_short} of {n_all} trials end before the first bin in which single trials are compared ({} ms after the start of the \
             window); no model trial takes their events and lengths",
            sources.least_bins as f64 * bin_ms
        )
    })
}

/// Trials of a part that fill the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Filled {
    /// Those that do.
    pub(super) complete: usize,
    /// All.
    pub(super) all: usize,
}

impl Filled {
    fn of<'a>(parts: impl Iterator<Item = (&'a BinnedSession, &'a [usize])>) -> Self {
        let mut filled = Self { complete: 0, all: 0 };
        for (session, trials) in parts {
            let complete = trials.iter().filter(|&&k| session.valid_bins[k] == session.n_bins());
            filled.complete += complete.count();
            filled.all += trials.len();
        }
        filled
    }

    fn is_few(self) -> bool {
        self.complete < FEW_TRIALS || (self.complete as f64) < FEW_OF_ALL * self.all as f64
    }
}

/// Whether `evaluate` will find few trials that fill the window, or none, which it refuses after hours of training.
pub(super) fn few_complete(sources: &Sources<'_>) -> Option<String> {
    let train = Filled::of(used(sources).map(|(_, session, split)| (session, split.train.as_slice())));
    let test = Filled::of(used(sources).map(|(_, session, split)| (session, split.test.as_slice())));
    let mut stops: Vec<f64> = used(sources)
        .flat_map(|(_, session, split)| {
            let stop = |&k: &usize| session.start_ms + session.valid_bins[k] as f64 * session.bin_ms;
            split.train.iter().chain(&split.test).map(stop)
        })
        .collect();
    stops.sort_by(f64::total_cmp);
    let reached_ms = *stops.get(stops.len() / 4)?;
    in_words(train, test, reached_ms)
}

/// `reached_ms`: until when three of four trials go on.
pub(super) fn in_words(train: Filled, test: Filled, reached_ms: f64) -> Option<String> {
    if !train.is_few() && !test.is_few() {
        return None;
    }
    let refused = if train.complete == 0 || test.complete == 0 {
        "will refuse this run, because it needs trials of both parts that fill the window"
    } else {
        "compares single trials that fill the window only, and rests on few"
    };
    Some(format!(
        "`snnfit evaluate` {refused}: {} of {} training trials and {} of {} test trials do; three of four trials go on until \
         {reached_ms} ms: choose a narrower data.window_ms",
        train.complete, train.all, test.complete, test.all
    ))
}
