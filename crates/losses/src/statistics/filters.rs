//! The moving means that turn spikes into PSTHs and trial features, and their adjoints.

use std::ops::Range;

use ndarray::{Array, Array3, ArrayView, ArrayView3, Axis, Dimension, RemoveAxis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::LossError;

/// Strided mean over a window of bins; padding is not counted in the mean.
///
/// $$y(o) = \frac{1}{|W_o|}\sum_{t\in W_o} x(t),\quad W_o = [o s - p,\; o s - p + w)\cap[0, T)$$
///
/// with window $w$, stride $s$ and padding $p$: a window that reaches over an edge averages the bins
/// that exist. A NaN bin makes every output whose window holds it NaN.
///
/// # Source
/// Sourmpis et al. 2023, both filters of the published program.
///
/// ```
/// use losses::statistics::MovingMean;
/// use ndarray::{Axis, array};
///
/// let filter = MovingMean::new(3, 2, 1)?;
/// let smooth = filter.apply(&array![1.0, 2.0, 6.0, 8.0, 10.0].view(), Axis(0));
/// assert_eq!(smooth, array![1.5, 16.0 / 3.0, 9.0]);
/// # Ok::<(), losses::LossError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MovingMean {
    window: usize,
    stride: usize,
    padding: usize,
}

impl MovingMean {
    /// A moving mean over `window` bins, one output every `stride` bins, `padding` bins on each side.
    ///
    /// # Errors
    /// [`LossError::Parameter`] if the window or stride is 0, or the padding is not less than the window
    /// (an output would average nothing).
    pub fn new(window: usize, stride: usize, padding: usize) -> Result<Self, LossError> {
        if window == 0 {
            return Err(parameter("window", window, "at least 1 bin"));
        }
        if stride == 0 {
            return Err(parameter("stride", stride, "at least 1 bin"));
        }
        if padding >= window {
            return Err(parameter("padding", padding, "less than the window"));
        }
        Ok(Self {
            window,
            stride,
            padding,
        })
    }

    /// Windows that overlap by half: stride `w/2` (at least 1), padding `(w − 1)/2`, both rounded down.
    ///
    /// This one rule gives both filters of the published program: `w = 6` has stride 3 and padding 2,
    /// `w = 2R` has stride `R` and padding `int((2R − 1)/2)`.
    ///
    /// # Errors
    /// [`LossError::Parameter`] if the window is 0.
    pub fn half_overlapping(window: usize) -> Result<Self, LossError> {
        Self::new(window, (window / 2).max(1), window.saturating_sub(1) / 2)
    }

    /// The filter of trial-averaged statistics: `width_ms` rounded to bins, at least one.
    ///
    /// # Errors
    /// [`LossError::Parameter`] if a time is not finite and positive.
    pub fn of_width(width_ms: f64, bin_ms: f64) -> Result<Self, LossError> {
        crate::error::check_positive("filter width (ms)", width_ms)?;
        crate::error::check_positive("bin width (ms)", bin_ms)?;
        Self::half_overlapping(((width_ms / bin_ms).round() as usize).max(1))
    }

    /// The filter of trial features, on the output of the first: window `2R`, stride `R`.
    ///
    /// # Errors
    /// [`LossError::Parameter`] if `resample` is 0.
    pub fn resampling(resample: usize) -> Result<Self, LossError> {
        if resample == 0 {
            return Err(parameter("resample", resample, "at least 1"));
        }
        Self::half_overlapping(2 * resample)
    }

    /// Bins in a window.
    pub fn window(&self) -> usize {
        self.window
    }

    /// Bins between the starts of two windows.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Number of outputs for `n_bins` inputs: `⌊(T + 2p − w)/s⌋ + 1`, 0 if the trial is too short.
    pub fn output_len(&self, n_bins: usize) -> usize {
        match (n_bins + 2 * self.padding).checked_sub(self.window) {
            Some(rest) if n_bins > 0 => rest / self.stride + 1,
            _ => 0,
        }
    }

    /// The bins averaged in output `output` of a trial of `n_bins` bins; never empty for an output
    /// below [`Self::output_len`].
    pub fn bins(&self, output: usize, n_bins: usize) -> Range<usize> {
        let start = output * self.stride;
        start.saturating_sub(self.padding)..(start + self.window - self.padding).min(n_bins)
    }

    /// The outputs whose windows hold bin `t` of a trial of `n_bins` bins.
    fn outputs(&self, t: usize, n_bins: usize) -> Range<usize> {
        // The window of output o starts at o·s − p and has w bins.
        let first = (t + self.padding + 1).saturating_sub(self.window).div_ceil(self.stride);
        let last = (t + self.padding) / self.stride;
        first..(last + 1).min(self.output_len(n_bins))
    }

    /// Filters along the axis `time`, which shrinks from `T` to [`Self::output_len`]. Allocates the output.
    pub fn apply<D: Dimension + RemoveAxis>(&self, x: &ArrayView<'_, f64, D>, time: Axis) -> Array<f64, D> {
        let n_bins = x.len_of(time);
        let mut shape = x.raw_dim();
        shape[time.index()] = self.output_len(n_bins);
        let mut filtered = Array::zeros(shape);
        let rows: Vec<_> = filtered.axis_iter_mut(time).enumerate().collect();
        rows.into_par_iter().for_each(|(o, mut row)| {
            let bins = self.bins(o, n_bins);
            for t in bins.clone() {
                row.zip_mut_with(&x.index_axis(time, t), |sum, value| *sum += value);
            }
            let n = bins.len() as f64;
            row.mapv_inplace(|sum| sum / n);
        });
        filtered
    }

    /// The adjoint of [`Self::apply`]: the gradient at the outputs carried back to `n_bins` inputs.
    ///
    /// For all x, y: ⟨apply(x), y⟩ = ⟨x, adjoint(y)⟩. The axis `time` must have
    /// [`Self::output_len`]`(n_bins)` entries; entries beyond are ignored. Allocates the output.
    pub fn adjoint<D: Dimension + RemoveAxis>(
        &self,
        gradient: &ArrayView<'_, f64, D>,
        time: Axis,
        n_bins: usize,
    ) -> Array<f64, D> {
        let mut shape = gradient.raw_dim();
        shape[time.index()] = n_bins;
        let mut carried = Array::zeros(shape);
        let rows: Vec<_> = carried.axis_iter_mut(time).enumerate().collect();
        rows.into_par_iter().for_each(|(t, mut row)| {
            for o in self.outputs(t, n_bins).take_while(|o| *o < gradient.len_of(time)) {
                let n = self.bins(o, n_bins).len() as f64;
                row.zip_mut_with(&gradient.index_axis(time, o), |sum, value| *sum += value / n);
            }
        });
        carried
    }
}

fn parameter(name: &'static str, found: usize, expected: &'static str) -> LossError {
    LossError::Parameter {
        name,
        found: found.to_string(),
        expected,
    }
}

/// The two filters of trial matching, checked against the length of the trials.
///
/// `spike` (filter1) makes PSTH bins from time bins; `feature` (filter2) makes feature bins from the
/// output of `spike`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filters {
    spike: MovingMean,
    feature: MovingMean,
    n_bins: usize,
}

impl Filters {
    /// Both filters for trials of `n_bins` bins.
    ///
    /// # Errors
    /// [`LossError::TooFewBins`] if a filter would have no output.
    pub fn new(n_bins: usize, spike: MovingMean, feature: MovingMean) -> Result<Self, LossError> {
        for (filter, n_bins) in [(spike, n_bins), (feature, spike.output_len(n_bins))] {
            if filter.output_len(n_bins) == 0 {
                return Err(LossError::TooFewBins {
                    n_bins,
                    window: filter.window,
                    padding: filter.padding,
                });
            }
        }
        Ok(Self { spike, feature, n_bins })
    }

    /// Time bins T of a trial.
    pub fn n_bins(&self) -> usize {
        self.n_bins
    }

    /// filter1, from time bins to PSTH bins.
    pub fn spike(&self) -> MovingMean {
        self.spike
    }

    /// PSTH bins T1.
    pub fn n_psth_bins(&self) -> usize {
        self.spike.output_len(self.n_bins)
    }

    /// Feature bins T2.
    pub fn n_feature_bins(&self) -> usize {
        self.feature.output_len(self.n_psth_bins())
    }

    /// Leading bins that a trial must have for its first feature.
    pub fn first_feature_bins(&self) -> usize {
        let last = self.feature.bins(0, self.n_psth_bins()).end.saturating_sub(1);
        self.spike.bins(last, self.n_bins).end
    }

    /// filter2 after filter1, `[K, T, G]` → `[K, T2, G]`. Allocates the output.
    pub fn features(&self, traces: &ArrayView3<'_, f64>) -> Array3<f64> {
        let smooth = self.spike.apply(traces, Axis(1));
        self.feature.apply(&smooth.view(), Axis(1))
    }

    /// Adjoint of [`Self::features`], `[K, T2, G]` → `[K, T, G]`. Allocates the output.
    pub fn features_adjoint(&self, gradient: &ArrayView3<'_, f64>) -> Array3<f64> {
        let smooth = self.feature.adjoint(gradient, Axis(1), self.n_psth_bins());
        self.spike.adjoint(&smooth.view(), Axis(1), self.n_bins)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn output_lengths_are_those_of_the_published_program() {
        let filter1 = MovingMean::of_width(12.0, 2.0).unwrap();
        assert_eq!(filter1, MovingMean::new(6, 3, 2).unwrap());
        for (n_bins, resample, n_psth, n_features) in [(250, 2, 83, 41), (200, 4, 67, 17), (700, 4, 233, 58)] {
            let filters = Filters::new(n_bins, filter1, MovingMean::resampling(resample).unwrap()).unwrap();
            assert_eq!(filters.n_psth_bins(), n_psth);
            assert_eq!(filters.n_feature_bins(), n_features);
        }
    }

    #[test]
    fn the_first_feature_needs_the_bins_of_both_windows_and_no_more() {
        for (width, resample) in [(1, 1), (6, 1), (6, 2), (5, 4)] {
            let spike = MovingMean::half_overlapping(width).unwrap();
            let filters = Filters::new(60, spike, MovingMean::resampling(resample).unwrap()).unwrap();
            let needed = filters.first_feature_bins();
            for (valid, is_there) in [(needed - 1, false), (needed, true)] {
                let mut traces = Array3::<f64>::zeros((1, 60, 1));
                traces.slice_mut(ndarray::s![0, valid.., 0]).fill(f64::NAN);
                let first = filters.features(&traces.view())[[0, 0, 0]];
                assert_eq!(first.is_finite(), is_there, "{width} {resample} {valid}");
            }
        }
    }

    #[test]
    fn edge_windows_average_the_bins_that_exist() {
        let filter = MovingMean::new(3, 2, 1).unwrap();
        let x = array![1.0, 2.0, 6.0, 8.0, 10.0];
        let y = filter.apply(&x.view(), Axis(0));
        assert_eq!(y, array![1.5, 16.0 / 3.0, 9.0]);
    }

    #[test]
    fn a_bin_is_in_the_windows_of_its_outputs() {
        for (window, stride, padding) in [(6, 3, 2), (3, 2, 1), (1, 1, 0), (4, 5, 0), (5, 1, 4), (2, 7, 1)] {
            let filter = MovingMean::new(window, stride, padding).unwrap();
            for n_bins in 1..30 {
                let all = 0..filter.output_len(n_bins);
                for t in 0..n_bins {
                    let expected: Vec<usize> = all.clone().filter(|o| filter.bins(*o, n_bins).contains(&t)).collect();
                    assert_eq!(
                        filter.outputs(t, n_bins).collect::<Vec<_>>(),
                        expected,
                        "{filter:?} {n_bins} {t}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_nan_bin_spreads_to_the_windows_that_hold_it_and_no_further() {
        let filter = MovingMean::new(2, 2, 0).unwrap();
        let y = filter.apply(&array![1.0, 3.0, f64::NAN, 5.0, 7.0, 9.0].view(), Axis(0));
        assert_eq!(y[0], 2.0);
        assert!(y[1].is_nan());
        assert_eq!(y[2], 8.0);
    }

    #[test]
    fn impossible_filters_are_refused() {
        assert!(MovingMean::new(0, 1, 0).is_err());
        assert!(MovingMean::new(3, 0, 0).is_err());
        assert!(MovingMean::new(3, 1, 3).is_err());
        assert!(MovingMean::resampling(0).is_err());
        assert!(MovingMean::of_width(f64::NAN, 2.0).is_err());
        let wide = MovingMean::new(20, 10, 0).unwrap();
        let error = Filters::new(10, wide, wide).unwrap_err();
        assert!(matches!(error, LossError::TooFewBins { n_bins: 10, .. }));
    }
}
