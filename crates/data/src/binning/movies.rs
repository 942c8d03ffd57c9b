//! Stimulus movies on the bins of the activity.

use ndarray::Array3;

use super::{EDGE_TOLERANCE, Grid, floor_bins};
use crate::error::Finding;
use crate::recording::StimulusMovies;

/// Each bin takes the mean of the movie over its duration; equal bins are copied exactly.
///
/// Before its first and after its last bin a movie is held, with a warning.
pub(super) fn resample(movies: &StimulusMovies, grid: Grid, at: &str, warnings: &mut Vec<Finding>) -> Array3<f32> {
    let [n_movies, n_stored, n_channels] = [0, 1, 2].map(|axis| movies.values.shape()[axis]);
    let edge = |bin: usize| snap((grid.edge_ms(bin) - movies.start_ms) / movies.bin_ms);
    if edge(0) < 0.0 || edge(grid.n_bins) > n_stored as f64 {
        warnings.push(Finding::new(
            at,
            "the window is longer than the stimulus movies; their first or last bin is held",
        ));
    }
    let mut values = Array3::zeros((n_movies, grid.n_bins, n_channels));
    for bin in 0..grid.n_bins {
        let (from, to) = (edge(bin), edge(bin + 1));
        let weights = overlaps(from, to, n_stored);
        for movie in 0..n_movies {
            for channel in 0..n_channels {
                let sum: f64 = weights
                    .iter()
                    .map(|&(t, weight)| weight * f64::from(movies.values[[movie, t, channel]]))
                    .sum();
                values[[movie, bin, channel]] = (sum / (to - from)) as f32;
            }
        }
    }
    values
}

fn snap(x: f64) -> f64 {
    let nearest = x.round();
    if (x - nearest).abs() <= EDGE_TOLERANCE {
        nearest
    } else {
        x
    }
}

/// Stored bins under [from, to), each with the length of the overlap; edges are held.
fn overlaps(from: f64, to: f64, n_stored: usize) -> Vec<(usize, f64)> {
    let last = n_stored.saturating_sub(1) as f64;
    let mut parts = Vec::new();
    let mut left = floor_bins(from);
    while left < to {
        let length = to.min(left + 1.0) - from.max(left);
        if length > 0.0 {
            parts.push((left.clamp(0.0, last) as usize, length));
        }
        left += 1.0;
    }
    parts
}
