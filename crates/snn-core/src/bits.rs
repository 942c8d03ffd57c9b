//! Spikes as packed bits: one bit per (trial, time step, neuron), rows padded to whole 64-bit words.

use crate::CoreError;
use ndarray::{Array3, ArrayView3};

/// Packed binary spikes of shape `[K, T, N]` (trials, time steps, neurons); 1/32 of the size of f32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpikeBits {
    n_trials: usize,
    n_steps: usize,
    n_neurons: usize,
    words_per_row: usize,
    words: Vec<u64>,
}

impl SpikeBits {
    /// All-zero spikes of shape `[n_trials, n_steps, n_neurons]`.
    pub fn zeros(n_trials: usize, n_steps: usize, n_neurons: usize) -> Self {
        let words_per_row = n_neurons.div_ceil(64);
        Self {
            n_trials,
            n_steps,
            n_neurons,
            words_per_row,
            words: vec![0; n_trials * n_steps * words_per_row],
        }
    }

    /// Packs an array `[K, T, N]`: every value above zero is a spike.
    pub fn from_array(spikes: ArrayView3<'_, u8>) -> Self {
        let (k, t, n) = spikes.dim();
        let mut bits = Self::zeros(k, t, n);
        for ((k, t, n), _) in spikes.indexed_iter().filter(|(_, count)| **count > 0) {
            bits.set(k, t, n);
        }
        bits
    }

    /// `[K, T, N]`.
    pub fn shape(&self) -> [usize; 3] {
        [self.n_trials, self.n_steps, self.n_neurons]
    }

    /// Words in one row of neurons.
    pub fn words_per_row(&self) -> usize {
        self.words_per_row
    }

    /// The packed row of trial `k` at step `t`; bit `n % 64` of word `n / 64` is neuron `n`.
    pub fn row(&self, k: usize, t: usize) -> &[u64] {
        let start = (k * self.n_steps + t) * self.words_per_row;
        &self.words[start..start + self.words_per_row]
    }

    /// The packed row of trial `k` at step `t`, to write.
    pub fn row_mut(&mut self, k: usize, t: usize) -> &mut [u64] {
        let start = (k * self.n_steps + t) * self.words_per_row;
        &mut self.words[start..start + self.words_per_row]
    }

    /// All words, trial by trial.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// All words, trial by trial, to write.
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// Sets the spike of trial `k`, step `t`, neuron `n`.
    pub fn set(&mut self, k: usize, t: usize, n: usize) {
        self.row_mut(k, t)[n / 64] |= 1 << (n % 64);
    }

    /// True when neuron `n` spikes in trial `k` at step `t`.
    pub fn get(&self, k: usize, t: usize, n: usize) -> bool {
        self.row(k, t)[n / 64] >> (n % 64) & 1 == 1
    }

    /// Number of spikes in all.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// The spikes of some steps, `[K, steps, N]`.
    ///
    /// # Panics
    /// Steps beyond the last one.
    #[must_use]
    pub fn of_steps(&self, steps: std::ops::Range<usize>) -> Self {
        let mut out = Self::zeros(self.n_trials, steps.len(), self.n_neurons);
        for k in 0..self.n_trials {
            for (to, t) in steps.clone().enumerate() {
                out.row_mut(k, to).copy_from_slice(self.row(k, t));
            }
        }
        out
    }

    /// Writes the spikes of other steps `[K, steps, N]` from step `first` on.
    ///
    /// # Panics
    /// Other trials or neurons, steps beyond the last one.
    pub fn set_steps(&mut self, first: usize, steps: &Self) {
        assert_eq!(
            (self.n_trials, self.n_neurons),
            (steps.n_trials, steps.n_neurons),
            "the same trials and neurons"
        );
        for k in 0..self.n_trials {
            for t in 0..steps.n_steps {
                self.row_mut(k, first + t).copy_from_slice(steps.row(k, t));
            }
        }
    }

    /// Unpacked copy `[K, T, N]` of zeros and ones; allocates K·T·N bytes.
    pub fn to_array(&self) -> Array3<u8> {
        let mut out = Array3::zeros((self.n_trials, self.n_steps, self.n_neurons));
        for k in 0..self.n_trials {
            for t in 0..self.n_steps {
                for_each_set(self.row(k, t), |n| out[[k, t, n]] = 1);
            }
        }
        out
    }

    /// Number of spikes per condition, step and neuron, `[C, T, N]`; trial `k` belongs to `condition[k]`.
    ///
    /// # Errors
    /// When `condition` has another length than there are trials, or names a condition beyond `n_conditions`.
    pub fn sums_by_condition(
        &self,
        condition: &[usize],
        n_conditions: usize,
        valid: Option<&[usize]>,
    ) -> Result<Array3<f64>, CoreError> {
        if let Some(valid) = valid {
            crate::rollout::shape("valid steps of trials", &[valid.len()], &[self.n_trials])?;
        }
        if condition.len() != self.n_trials {
            return Err(CoreError::Shape {
                what: "condition",
                found: vec![condition.len()],
                expected: vec![self.n_trials],
            });
        }
        let mut sums = Array3::zeros((n_conditions, self.n_steps, self.n_neurons));
        for (k, &c) in condition.iter().enumerate() {
            if c >= n_conditions {
                return Err(CoreError::Range {
                    what: "condition index".into(),
                    value: c as f64,
                    expected: "below the number of conditions",
                });
            }
            for t in 0..valid.map_or(self.n_steps, |valid| valid[k].min(self.n_steps)) {
                let mut row = sums.slice_mut(ndarray::s![c, t, ..]);
                for_each_set(self.row(k, t), |n| row[n] += 1.0);
            }
        }
        Ok(sums)
    }

    /// Number of spikes of each trial in segments of it, `[K, S, N]`; step `t` is in segment `of_step[t]`. Of trial k only its first
    /// `valid[k]` steps count, if that is given.
    ///
    /// # Errors
    /// When `of_step` has another length than there are steps, or names a segment beyond `n_segments`; when `valid` has another
    /// length than there are trials.
    pub fn counts_in_segments(
        &self,
        of_step: &[u32],
        n_segments: usize,
        valid: Option<&[usize]>,
    ) -> Result<Array3<f64>, CoreError> {
        if let Some(valid) = valid {
            crate::rollout::shape("valid steps of trials", &[valid.len()], &[self.n_trials])?;
        }
        crate::rollout::shape("segments of the steps", &[of_step.len()], &[self.n_steps])?;
        if let Some(bad) = of_step.iter().find(|s| **s as usize >= n_segments) {
            return Err(CoreError::Range {
                what: "segment of a step".into(),
                value: f64::from(*bad),
                expected: "below the number of segments",
            });
        }
        let mut counts = Array3::zeros((self.n_trials, n_segments, self.n_neurons));
        for k in 0..self.n_trials {
            let valid = valid.map_or(self.n_steps, |valid| valid[k].min(self.n_steps));
            for (t, &segment) in of_step.iter().enumerate().take(valid) {
                let mut row = counts.slice_mut(ndarray::s![k, segment as usize, ..]);
                for_each_set(self.row(k, t), |n| row[n] += 1.0);
            }
        }
        Ok(counts)
    }

    /// Weighted sum of spikes per channel, `[K, T, R]`: `Σ_n weight_rn z_ktn`.
    ///
    /// # Errors
    /// A member that is no neuron.
    pub fn project(&self, channels: &[crate::rollout::Channel]) -> Result<Array3<f64>, CoreError> {
        crate::rollout::check_members(channels, self.n_neurons)?;
        let mut out = Array3::zeros((self.n_trials, self.n_steps, channels.len()));
        // Per neuron: which channels it feeds, with what weight.
        let mut feeds: Vec<Vec<(usize, f64)>> = vec![Vec::new(); self.n_neurons];
        for (r, channel) in channels.iter().enumerate() {
            for &(n, weight) in &channel.members {
                feeds[n as usize].push((r, f64::from(weight)));
            }
        }
        for k in 0..self.n_trials {
            for t in 0..self.n_steps {
                let mut row = out.slice_mut(ndarray::s![k, t, ..]);
                for_each_set(self.row(k, t), |n| {
                    for &(r, weight) in &feeds[n] {
                        row[r] += weight;
                    }
                });
            }
        }
        Ok(out)
    }

    /// Gradient of [`SpikeBits::project`] with respect to the weights of the channels' members, given that of its result
    /// `[K, T, R]`: `dL/dweight_rn = Σ_{k,t} series_ktr z_ktn`, per channel in the order of its members.
    ///
    /// # Errors
    /// A member that is no neuron, a series of another shape.
    pub fn channel_weight_gradient(
        &self,
        channels: &[crate::rollout::Channel],
        series: &Array3<f64>,
    ) -> Result<Vec<Vec<f64>>, CoreError> {
        let expected = [self.n_trials, self.n_steps, channels.len()];
        crate::rollout::shape("series of channels", series.shape(), &expected)?;
        crate::rollout::check_members(channels, self.n_neurons)?;
        let mut out: Vec<Vec<f64>> = channels.iter().map(|c| vec![0.0; c.members.len()]).collect();
        // Per neuron: which members it is.
        let mut members: Vec<Vec<(usize, usize)>> = vec![Vec::new(); self.n_neurons];
        for (r, channel) in channels.iter().enumerate() {
            for (m, &(n, _)) in channel.members.iter().enumerate() {
                members[n as usize].push((r, m));
            }
        }
        for k in 0..self.n_trials {
            for t in 0..self.n_steps {
                for_each_set(self.row(k, t), |n| {
                    for &(r, m) in &members[n] {
                        out[r][m] += series[[k, t, r]];
                    }
                });
            }
        }
        Ok(out)
    }
}

/// Calls `f` with the index of each set bit of a packed row, in ascending order.
#[inline]
pub fn for_each_set(row: &[u64], mut f: impl FnMut(usize)) {
    for (i, &word) in row.iter().enumerate() {
        let mut rest = word;
        while rest != 0 {
            f(i * 64 + rest.trailing_zeros() as usize);
            rest &= rest - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    fn pattern() -> Array3<u8> {
        Array3::from_shape_fn((3, 5, 130), |(k, t, n)| u8::from((k * 7 + t * 13 + n * 3) % 11 == 0))
    }

    #[test]
    fn packing_and_unpacking_is_the_identity() {
        let a = pattern();
        let bits = SpikeBits::from_array(a.view());
        assert_eq!(bits.to_array(), a);
        assert_eq!(bits.count(), a.iter().map(|z| u64::from(*z)).sum::<u64>());
    }

    #[test]
    fn condition_sums_are_the_sums_of_the_trials() {
        let a = pattern();
        let sums = SpikeBits::from_array(a.view())
            .sums_by_condition(&[0, 1, 0], 2, None)
            .unwrap();
        for t in 0..5 {
            for n in 0..130 {
                assert_eq!(sums[[0, t, n]], f64::from(a[[0, t, n]] + a[[2, t, n]]));
                assert_eq!(sums[[1, t, n]], f64::from(a[[1, t, n]]));
            }
        }
    }

    #[test]
    fn sums_leave_out_steps_beyond_those_that_are_valid() {
        let a = pattern();
        let valid = [2, 5, 0];
        let sums = SpikeBits::from_array(a.view())
            .sums_by_condition(&[0, 1, 0], 2, Some(&valid))
            .unwrap();
        for t in 0..5 {
            for n in 0..130 {
                let of = |k: usize| if t < valid[k] { f64::from(a[[k, t, n]]) } else { 0.0 };
                assert_eq!(sums[[0, t, n]], of(0) + of(2));
                assert_eq!(sums[[1, t, n]], of(1));
            }
        }
    }

    #[test]
    fn projection_is_the_weighted_sum() {
        let a = pattern();
        let channels = [
            crate::rollout::Channel {
                members: vec![(0, 0.5), (129, 2.0)],
            },
            crate::rollout::Channel {
                members: vec![(129, 1.0), (64, -1.0)],
            },
        ];
        let p = SpikeBits::from_array(a.view()).project(&channels).unwrap();
        for k in 0..3 {
            for t in 0..5 {
                let z = |n: usize| f64::from(a[[k, t, n]]);
                assert!((p[[k, t, 0]] - (0.5 * z(0) + 2.0 * z(129))).abs() < 1e-12);
                assert!((p[[k, t, 1]] - (z(129) - z(64))).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn the_gradient_of_a_weight_is_what_the_projection_changes_by() {
        let bits = SpikeBits::from_array(pattern().view());
        let series = Array3::from_shape_fn((3, 5, 2), |(k, t, r)| (k * 10 + t) as f64 - 7.0 * r as f64);
        let mut channels = [vec![(0, 0.5), (129, 2.0)], vec![(64, -1.0), (129, 1.0)]]
            .map(|members| crate::rollout::Channel { members });
        let gradient = bits.channel_weight_gradient(&channels, &series).unwrap();
        let value = |channels: &[crate::rollout::Channel]| (bits.project(channels).unwrap() * &series).sum();
        for (r, of_channel) in gradient.iter().enumerate() {
            assert_eq!(of_channel.len(), 2);
            for (m, found) in of_channel.iter().enumerate() {
                let before = value(&channels);
                channels[r].members[m].1 += 1.0;
                assert!((value(&channels) - before - found).abs() < 1e-9);
                channels[r].members[m].1 -= 1.0;
            }
        }
        assert!(bits.channel_weight_gradient(&channels[..1], &series).is_err());
        channels[1].members[0].0 = 130;
        assert!(bits.project(&channels).is_err() && bits.channel_weight_gradient(&channels, &series).is_err());
    }
}
