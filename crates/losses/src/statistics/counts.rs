//! Spike counts in windows: a trial cut into segments, of which every window is made.

use std::ops::Range;

use ndarray::{Array3, s};

use super::{RecordedSession, Recording};
use crate::LossError;

/// A trial cut at the ends of all windows, so that the counts of any window are sums of the counts of segments.
///
/// Windows of each length follow each other from the first bin on; a rest shorter than a window is in none.
#[derive(Debug, Clone, PartialEq)]
pub struct Segments {
    of_bin: Vec<u32>,
    n: usize,
    windows: Vec<(usize, Vec<Window>)>,
}

/// A window of consecutive bins.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Its segments.
    pub segments: Range<usize>,
    /// The bin after its last one: a trial has the window if it has so many bins.
    pub end_bin: usize,
}

impl Segments {
    /// The segments of trials of `n_bins` bins for windows of these lengths (bins; in any order, each once or more often).
    ///
    /// # Errors
    /// [`LossError::Parameter`] for a window without bins or longer than a trial; [`LossError::NoData`] without a window.
    pub fn new(lengths: &[usize], n_bins: usize) -> Result<Self, LossError> {
        if let Some(bad) = lengths.iter().find(|w| **w == 0 || **w > n_bins) {
            return Err(LossError::Parameter {
                name: "window of spike counts (bins)",
                found: bad.to_string(),
                expected: "between 1 and the bins of a trial",
            });
        }
        if lengths.is_empty() {
            return Err(LossError::NoData {
                what: "spike counts",
                reason: "no window is given".to_owned(),
            });
        }
        let is_cut = |t: usize| lengths.iter().any(|w| t.is_multiple_of(*w));
        let mut segment = 0;
        let mut of_bin = Vec::with_capacity(n_bins);
        for t in 0..n_bins {
            segment += u32::from(t > 0 && is_cut(t));
            of_bin.push(segment);
        }
        let mut different = lengths.to_vec();
        different.sort_unstable();
        different.dedup();
        let of_length = |w: usize| {
            let window = |i: usize| Window {
                segments: of_bin[i * w] as usize..of_bin[(i + 1) * w - 1] as usize + 1,
                end_bin: (i + 1) * w,
            };
            (w, (0..n_bins / w).map(window).collect())
        };
        let windows = different.into_iter().map(of_length).collect();
        Ok(Self {
            of_bin,
            n: segment as usize + 1,
            windows,
        })
    }

    /// Segment of each bin `[T]`, ascending.
    pub fn of_bin(&self) -> &[u32] {
        &self.of_bin
    }

    /// Number of segments S, at least one.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.n
    }

    /// The windows of a length; none of one that was not asked for.
    pub fn windows(&self, length: usize) -> &[Window] {
        let found = self.windows.iter().find(|(w, _)| *w == length);
        found.map_or(&[], |(_, windows)| windows)
    }

    /// Recorded counts of a session `[K, S, N_s]`, at most 65535; padding is not counted.
    fn counts(&self, session: &RecordedSession) -> Array3<u16> {
        let (k, _, n) = session.counts.dim();
        let mut out = Array3::<u16>::zeros((k, self.n, n));
        for (k, &valid) in session.valid_bins.iter().enumerate() {
            for (t, &segment) in self.of_bin.iter().enumerate().take(valid) {
                let mut sum = out.slice_mut(s![k, segment as usize, ..]);
                let own = session.counts.slice(s![k, t, ..]);
                sum.zip_mut_with(&own, |sum, &z| *sum = sum.saturating_add(u16::from(z)));
            }
        }
        out
    }
}

/// Recorded counts in segments of all trials, made once for all objectives.
#[derive(Debug, Clone)]
pub struct RecordedCounts {
    segments: Segments,
    sessions: Vec<Array3<u16>>,
}

impl RecordedCounts {
    /// Of all sessions.
    pub fn new(recording: &Recording, segments: Segments) -> Self {
        let sessions = recording.sessions().iter().map(|session| segments.counts(session));
        Self {
            sessions: sessions.collect(),
            segments,
        }
    }

    /// The segments.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// Of each session `[K, S, N_s]`.
    pub fn sessions(&self) -> &[Array3<u16>] {
        &self.sessions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_unions_of_segments() {
        let segments = Segments::new(&[4, 10, 3, 4], 11).unwrap();
        // Cuts at 3, 4, 6, 8, 9, 10.
        assert_eq!(segments.of_bin(), [0, 0, 0, 1, 2, 2, 3, 3, 4, 5, 6]);
        assert_eq!(segments.len(), 7);
        let bins = |window: &Window| {
            let of = |t: &usize| window.segments.contains(&(segments.of_bin()[*t] as usize));
            (0..11).filter(of).collect::<Vec<_>>()
        };
        let all = |w: usize| segments.windows(w).iter().map(bins).collect::<Vec<_>>();
        assert_eq!(all(4), [(0..4).collect::<Vec<_>>(), (4..8).collect()]);
        assert_eq!(all(10), [(0..10).collect::<Vec<_>>()]);
        assert_eq!(all(3).len(), 3);
        assert!(all(5).is_empty());
        assert_eq!(segments.windows(4)[1].end_bin, 8);
        assert!(Segments::new(&[12], 11).is_err());
        assert!(Segments::new(&[0], 11).is_err());
        assert!(Segments::new(&[], 11).is_err());
    }
}
