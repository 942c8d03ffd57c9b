//! How many trials a device takes at once: the buffers and launches of this engine as a function of sizes.

use super::gradient::Tiling;
use crate::CoreError;
use crate::rollout::{Network, Noise, Run, SpikeAdjoint};

/// What a device can bind and launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes in one buffer.
    pub buffer_bytes: u64,
    /// Most cubes along one axis of a launch: trials, steps, presynaptic neurons.
    pub cubes: u64,
}

/// Sizes of a simulation and its gradient, besides the number of trials K.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Neurons N.
    pub neurons: usize,
    /// Recorded steps T.
    pub steps: usize,
    /// Steps before.
    pub warmup: usize,
    /// Delays in steps, `[D]`.
    pub delays: Vec<usize>,
    /// Spiking inputs.
    pub inputs: usize,
    /// Drives `[S, T, N]` that trials share.
    pub stimuli: usize,
    /// Rows of the trial offset of a trial; 0 without one.
    pub courses: usize,
    /// Conditions C whose spikes are summed.
    pub conditions: usize,
    /// Population traces R.
    pub channels: usize,
    /// Channels of a readout, whose weights have a gradient.
    pub readouts: usize,
    /// Further arrays `[K, T, N]` of the adjoint.
    pub dense: usize,
    /// Whether random numbers are given as arrays.
    pub is_noise_given: bool,
    /// Whether potentials are kept and a gradient follows.
    pub has_gradient: bool,
}

/// Buffers of one kind.
struct Buffers {
    what: &'static str,
    /// 4-byte elements of each.
    len: u64,
    count: u64,
}

fn product(factors: &[usize]) -> u64 {
    factors.iter().fold(1u64, |all, f| all.saturating_mul(*f as u64))
}

impl Plan {
    /// Sizes of a run without a gradient.
    pub(super) fn of(network: &Network, run: &Run) -> Self {
        Self {
            neurons: network.n_neurons(),
            steps: run.n_steps,
            warmup: run.n_warmup,
            delays: network.delays.clone(),
            inputs: run.events.as_ref().map_or(0, |_| network.w_in.nrows()),
            stimuli: run.drive.as_ref().map_or(0, |d| d.values.dim().0),
            courses: run.trial_offset.as_ref().map_or(0, |offset| offset.values.dim().1),
            is_noise_given: matches!(run.noise, Noise::Given { .. }),
            ..Self::default()
        }
    }

    /// With the gradient of an adjoint, and perhaps one of dL/dp.
    pub(super) fn with_gradient(self, adjoint: &SpikeAdjoint, has_probabilities: bool) -> Self {
        Self {
            conditions: adjoint.shared.as_ref().map_or(0, |(values, _)| values.dim().0),
            channels: adjoint.channels.as_ref().map_or(0, |(channels, _)| channels.len()),
            dense: usize::from(adjoint.dense.is_some() || !adjoint.segments.is_empty())
                + usize::from(has_probabilities),
            has_gradient: true,
            ..self
        }
    }

    /// Steps whose δ don't depend on one another.
    fn block(&self) -> usize {
        super::gradient::block(&self.delays, self.steps)
    }

    /// Every buffer that grows with some size; small ones of the neurons alone are left out.
    fn buffers(&self, k: usize) -> Vec<Buffers> {
        let (n, t, all) = (self.neurons, self.steps, self.steps.saturating_add(self.warmup));
        let (words, input_words, trial_words) = (n.div_ceil(32), self.inputs.div_ceil(32), k.div_ceil(32));
        let history = self.delays.iter().copied().max().unwrap_or(1).max(1);
        let with_history = all.saturating_add(history);
        let given = usize::from(self.is_noise_given);
        let delays = self.delays.len();
        let of = |what, count: usize, factors: &[usize]| Buffers {
            what,
            len: product(factors),
            count: count as u64,
        };
        let mut buffers = vec![
            of("recurrent weights", 1, &[delays, n, n]),
            of("input weights", 1, &[self.inputs, n]),
            of("spikes", 1, &[with_history, k, words]),
            of("refractory states", 1, &[t, k, words]),
            of("input spikes", 1, &[all, k, input_words]),
            of("given noise", 2 * given, &[k, all, n]),
            of("drive", 1, &[self.stimuli, t, n]),
            of(
                "trial offsets",
                1,
                &[self.courses, k.saturating_mul(n).saturating_add(t)],
            ),
            of("states of the neurons", 4, &[k, n]),
            of("sums of spikes", 1, &[self.conditions, t, n]),
            of("population traces", 1, &[k, t.max(self.warmup), self.channels]),
        ];
        if self.has_gradient {
            let tiling = Tiling::new(self.block().saturating_mul(k), n);
            buffers.extend([
                of("potentials", 1, &[t, k, n]),
                of("parts of the dense product", 1, &[tiling.parts, self.block(), k, n]),
                of("gradient of the states", 2, &[k, n]),
                of("sums over time", 1, &[3, k, n]),
                of("spikes by neuron", 1, &[with_history, n, trial_words]),
                of("input spikes by input", 1, &[all, self.inputs, trial_words]),
                of("gradient of the sums of spikes", 1, &[self.conditions, t, n]),
                of("gradient of the population traces", 1, &[k, t, self.channels]),
                of("series of the readouts", 1, &[k, t, self.readouts]),
                of("gradients of the readouts", 1, &[k, n, self.readouts]),
                of("dense adjoint", self.dense, &[k, t, n]),
                of("gradient of the recurrent weights", 1, &[delays, n, n]),
                of("gradient of the input weights", 1, &[self.inputs, n]),
                of("gradient of the drive", 1, &[self.stimuli, t, n]),
                of(
                    "gradient of the trial offsets",
                    usize::from(self.courses > 1),
                    &[self.courses, k, n],
                ),
                of(
                    "course of the trial offsets",
                    usize::from(self.courses > 1),
                    &[self.courses, t],
                ),
            ]);
        }
        buffers
    }

    /// Cubes along an axis that isn't cut into several.
    fn cubes(&self, k: usize) -> Vec<(&'static str, u64)> {
        let mut cubes = vec![
            ("trials", k as u64),
            ("steps", self.steps as u64),
            ("neurons", self.neurons as u64),
            ("inputs", self.inputs as u64),
            ("stimuli", self.stimuli as u64),
            ("knots of the trial offset", self.courses as u64),
            ("conditions", self.conditions as u64),
        ];
        if self.has_gradient {
            let rows = self.block().saturating_mul(k);
            cubes.push((
                "rows of the dense product",
                Tiling::new(rows, self.neurons).row_tiles(rows),
            ));
        }
        cubes
    }

    /// Refuses K trials that the device `name` can't bind or launch.
    ///
    /// # Errors
    /// [`CoreError::DeviceLimit`] with the first buffer or launch that doesn't fit.
    pub fn check(&self, limits: Limits, name: &str, k: usize) -> Result<(), CoreError> {
        let error = |what, found, limit, unit| CoreError::DeviceLimit {
            device: name.to_owned(),
            what,
            trials: k,
            found,
            limit,
            unit,
        };
        // Kernels count elements in 32 bits.
        let most = limits.buffer_bytes.min(4 * u64::from(u32::MAX));
        let buffers = self.buffers(k).into_iter().filter(|b| b.count > 0);
        for Buffers { what, len, .. } in buffers {
            let bytes = len.saturating_mul(4);
            if bytes > most {
                return Err(error(what, bytes, most, "bytes in one buffer"));
            }
        }
        match self.cubes(k).into_iter().find(|(_, found)| *found > limits.cubes) {
            Some((what, found)) => Err(error(what, found, limits.cubes, "in one launch")),
            None => Ok(()),
        }
    }

    /// Most trials at once that the device `name` takes of `n_trials`, in the fewest chunks of about equal size.
    ///
    /// # Errors
    /// [`CoreError::DeviceLimit`] when not even one trial fits.
    pub fn chunk(&self, limits: Limits, name: &str, n_trials: usize) -> Result<usize, CoreError> {
        largest(n_trials, |k| self.check(limits, name, k))
    }

    /// Bytes of all buffers for K trials at once; a lower bound of what the step takes on the device.
    pub fn bytes(&self, k: usize) -> u64 {
        self.buffers(k).iter().fold(0u64, |sum, b| {
            sum.saturating_add(b.len.saturating_mul(4).saturating_mul(b.count))
        })
    }

    /// Trials at once whose buffers take at most `bytes`, in chunks of about equal size; none where one is too many.
    pub fn chunk_of(&self, bytes: u64, n_trials: usize) -> Option<usize> {
        largest(n_trials, |k| if self.bytes(k) <= bytes { Ok(()) } else { Err(()) }).ok()
    }
}

/// Size of the fewest chunks of about equal size that fit; the error of one trial, if none does.
fn largest<E>(n_trials: usize, fits: impl Fn(usize) -> Result<(), E>) -> Result<usize, E> {
    let mut n_chunks = 1;
    loop {
        let chunk = n_trials.div_ceil(n_chunks).max(1);
        match fits(chunk) {
            Ok(()) => return Ok(chunk),
            Err(error) if chunk == 1 => return Err(error),
            // The next smaller chunk.
            Err(_) => n_chunks = n_trials.div_ceil(chunk - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Limits = Limits {
        buffer_bytes: 1 << 40,
        cubes: 65_535,
    };

    fn plan() -> Plan {
        Plan {
            neurons: 1000,
            steps: 500,
            warmup: 100,
            delays: vec![2, 4],
            inputs: 100,
            conditions: 3,
            channels: 10,
            has_gradient: true,
            ..Plan::default()
        }
    }

    fn limited(buffer_bytes: u64) -> Limits {
        Limits { buffer_bytes, ..WIDE }
    }

    #[test]
    fn chunks_are_the_largest_whose_buffers_can_be_bound() {
        // Potentials are the largest buffer: 2 MB for each trial.
        let potentials = 500 * 1000 * 4;
        assert_eq!(plan().chunk(WIDE, "gpu", 200).unwrap(), 200);
        assert_eq!(plan().chunk(limited(potentials * 200), "gpu", 200).unwrap(), 200);
        assert_eq!(plan().chunk(limited(potentials * 200 - 1), "gpu", 200).unwrap(), 100);
        assert_eq!(plan().chunk(limited(potentials * 60), "gpu", 200).unwrap(), 50);
        for limit in [20, 33, 70, 150] {
            let limits = limited(potentials * limit);
            let chunk = plan().chunk(limits, "gpu", 200).unwrap();
            assert!(plan().check(limits, "gpu", chunk).is_ok());
            let one_less = 200usize.div_ceil(200usize.div_ceil(chunk) - 1);
            assert!(plan().check(limits, "gpu", one_less).is_err(), "fewer chunks would do");
        }
    }

    #[test]
    fn what_does_not_fit_with_one_trial_is_named_with_its_limit() {
        // The recurrent weights take 8 MB.
        let error = plan().chunk(limited(7_999_999), "a GPU", 200).unwrap_err();
        let CoreError::DeviceLimit {
            what,
            trials,
            found,
            limit,
            ..
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!(
            (*what, *trials, *found, *limit),
            ("recurrent weights", 1, 8_000_000, 7_999_999)
        );
        assert!(error.to_string().contains("a GPU"), "{error}");
        let steps = Plan {
            steps: 70_000,
            ..plan()
        };
        let error = steps.chunk(WIDE, "a GPU", 200).unwrap_err();
        assert!(
            matches!(
                error,
                CoreError::DeviceLimit {
                    what: "steps",
                    limit: 65_535,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn a_launch_takes_no_more_trials_than_cubes() {
        let small = Plan {
            neurons: 2,
            steps: 3,
            delays: vec![1],
            ..Plan::default()
        };
        assert_eq!(small.chunk(WIDE, "gpu", 65_535).unwrap(), 65_535);
        assert_eq!(small.chunk(WIDE, "gpu", 65_536).unwrap(), 32_768);
    }

    #[test]
    fn elements_are_counted_in_32_bits_whatever_a_buffer_holds() {
        let without = Plan {
            has_gradient: false,
            ..plan()
        };
        // 500 · 1000 potentials of each trial: 8590 trials are beyond 32 bits; bits of the spikes are not.
        assert_eq!(plan().chunk(WIDE, "gpu", 8600).unwrap(), 4300);
        assert_eq!(without.chunk(WIDE, "gpu", 8600).unwrap(), 8600);
    }

    #[test]
    fn bytes_grow_with_trials_and_give_the_chunk_that_fits() {
        let (one, many) = (plan().bytes(1), plan().bytes(100));
        assert!(many > 99 * 500 * 1000 * 4 && one > 2 * 2 * 1000 * 1000 * 4);
        assert_eq!(plan().chunk_of(many, 100), Some(100));
        let half = plan().chunk_of(many / 2, 100).unwrap();
        assert!(plan().bytes(half) <= many / 2 && (25..50).contains(&half), "{half}");
        assert_eq!(plan().chunk_of(one - 1, 100), None);
    }
}
