//! Whether a simulation can fit into this machine at all, asked before anything is allocated; and how many trials may be
//! simulated at once.

use crate::assembly::Assembly;
use crate::config::checked::spike_values;
use crate::fit_error::FitError;
use crate::objective::Comparison;

/// Size of one batch of simulated trials.
#[derive(Debug, Clone, Copy)]
pub struct BatchSize {
    /// Trials K.
    pub n_trials: usize,
    /// Steps T, without the warm-up.
    pub n_steps: usize,
    /// Neurons N.
    pub n_neurons: usize,
    /// Bytes kept for each (trial, step, neuron), besides the spikes' bits.
    pub bytes_per_value: u64,
}

/// Bytes of a membrane potential, which training keeps for the backward pass.
pub const POTENTIAL: u64 = 4;
/// Bytes of a spike count, which evaluation and recordings keep.
pub const COUNT: u64 = 1;

/// Bytes of a spike probability in single and then double precision, which evaluation of networks of spike histories keeps.
pub const PROBABILITY: u64 = 12;

/// Refuses a network of spike histories that takes so many bytes, where this machine has fewer.
///
/// # Errors
/// [`FitError::SpikeHistory`], which says what to make smaller.
pub fn check_network(needed: u64) -> Result<(), FitError> {
    match total_bytes() {
        Some(available) if needed > available => Err(FitError::SpikeHistory {
            reason: format!(
                "the network takes {:.1} GiB, and this machine has {:.1}; take fewer `n_hidden`, a shorter `history_ms`, `kernels.raised_cosine` \
                 in place of every lag, or smaller layers of the encoder",
                gib(needed),
                gib(available)
            ),
        }),
        _ => Ok(()),
    }
}

/// Refuses a batch that is beyond the limit of any machine, or beyond this machine's memory.
///
/// # Errors
/// [`FitError::TooLarge`], [`FitError::TooMuchMemory`]. The need is a lower bound: what passes may still be too much.
pub fn check(size: BatchSize) -> Result<(), FitError> {
    let BatchSize {
        n_trials,
        n_steps,
        n_neurons,
        bytes_per_value,
    } = size;
    let Some(values) = spike_values(n_trials, n_steps, n_neurons) else {
        return Err(FitError::TooLarge {
            n_trials,
            n_steps,
            n_neurons,
        });
    };
    // Spikes and refractory states are bits.
    let needed = values.saturating_mul(bytes_per_value).saturating_add(values / 4);
    match total_bytes() {
        Some(available) if needed > available => Err(FitError::TooMuchMemory {
            n_trials,
            n_steps,
            n_neurons,
            needed_gib: gib(needed),
            available_gib: gib(available),
        }),
        _ => Ok(()),
    }
}

/// What a training step needs, in bytes, when it simulates its trials in chunks.
///
/// A function of sizes alone, so that a run that is resumed, on this machine or another, has the same chunks and the same
/// rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepMemory {
    /// Recordings, parameters with their moments and gradients, statistics of the whole batch.
    pub fixed: u64,
    /// Of each trial that is simulated at once.
    pub per_trial: u64,
}

/// The program itself, its threads and what the allocator keeps.
const PROGRAM: u64 = 24 << 20;

impl StepMemory {
    /// Of the step of a fit.
    pub fn of(assembly: &Assembly, comparison: &Comparison) -> Self {
        let spec = &assembly.spec;
        let train = assembly.experiment.train;
        let bytes = |values: usize, size: u64| values as u64 * size;
        let (n, t) = (spec.n_neurons(), assembly.n_steps());
        let steps = t + spec.n_warmup;
        let k = train.n_trials.max(train.validation_trials);
        let history = spec.delays.iter().copied().max().unwrap_or(1);
        let block = spec.delays.iter().copied().min().unwrap_or(1);

        // Counts as read, of the model's neurons, and as the losses have them.
        let read: usize = assembly.sessions.iter().map(|s| s.spikes.len()).sum();
        let used: usize = assembly.recording.sessions().iter().map(|s| s.counts.len()).sum();
        let data = bytes(read + 2 * used, 1);
        // Parameters, two moments, the network's own weights, the packed weights of the dense product, the gradient of a
        // chunk and the sum of chunks.
        let weights = spec.delays.len() * n * n;
        let parameters = bytes(weights, 4) * 7 + bytes(spec.input.n_inputs() * n, 4) * 6;
        // Of the offsets of trials: the map at each knot, like the other parameters; values and gradients in both precisions.
        let (knots, maps) = match &spec.latent {
            Some(latent) => (
                latent.knots.len().max(1),
                latent.knots.len().max(1) * latent.dimensions * n,
            ),
            None => (0, 0),
        };
        let parameters = parameters + bytes(maps, 4) * 6;
        // Sums of spikes [C, T, N] in double precision, their filtered averages, the gradient of each loss, in single
        // precision for the network.
        let sums = bytes(comparison.recording.n_conditions() * t * n, 8) * 5;
        // Traces [K, T, G] of populations (and of neurons, where a loss compares these), filtered, and their gradient: of the
        // loss, of all losses in both precisions.
        let traces = bytes(k * t * comparison.channels.len(), 36);
        // Counts in segments [K, S, N], and of each loss of them the gradient, of residuals and in single precision.
        let counts = bytes(
            k * comparison.n_segments() * n,
            8 + 20 * comparison.losses().len() as u64,
        );
        // Probabilities of spikes in single precision, whatever the chunk.
        let probabilities = if comparison.takes_probabilities() {
            bytes(k * t * n, 4)
        } else {
            0
        };
        let per_trial = bytes(t * n, POTENTIAL)
            + bytes((2 * t + spec.n_warmup) * n.div_ceil(64), 8)
            // Two input spikes of 2 bytes and a place in the list for each step, drawn per trial and then joined.
            + bytes(steps, 8) * 2
            + bytes(knots * n, 24)
            + bytes(steps * spec.input.n_inputs() / 50, 2) * 2
            // States at start and end, sums over time, the last steps of δ.
            + bytes(n, 4) * (7 + 2 * block as u64 + history as u64);
        Self {
            fixed: PROGRAM + data + parameters + sums + traces + counts + probabilities,
            per_trial,
        }
    }

    /// Bytes with chunks of so many trials.
    pub fn bytes(&self, chunk: usize) -> u64 {
        self.fixed.saturating_add(self.per_trial.saturating_mul(chunk as u64))
    }

    /// Trials of a chunk that fit into `limit` bytes, at most `n_trials`, in chunks of about equal size.
    ///
    /// # Errors
    /// [`FitError::MemoryLimit`] when not even one trial fits.
    pub fn chunk(&self, limit: u64, n_trials: usize) -> Result<usize, FitError> {
        let fitting = limit.saturating_sub(self.fixed) / self.per_trial.max(1);
        if fitting == 0 {
            return Err(FitError::MemoryLimit {
                limit_gib: gib(limit),
                needed_gib: gib(self.bytes(1)),
            });
        }
        let n_chunks = (n_trials as u64).div_ceil(fitting).max(1);
        Ok((n_trials as u64).div_ceil(n_chunks) as usize)
    }
}

pub(crate) fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// Memory of this machine; none where the system doesn't tell.
pub(crate) fn total_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_fit_the_limit_and_are_equal() {
        let memory = StepMemory {
            fixed: 1000,
            per_trial: 100,
        };
        assert_eq!(memory.chunk(100_000, 150).unwrap(), 150);
        assert_eq!(memory.chunk(1000 + 100 * 60, 150).unwrap(), 50);
        assert_eq!(memory.chunk(1000 + 100 * 149, 150).unwrap(), 75);
        assert_eq!(memory.chunk(1100, 150).unwrap(), 1);
        assert!(matches!(memory.chunk(1099, 150), Err(FitError::MemoryLimit { .. })));
        assert_eq!(memory.bytes(3), 1300);
    }

    #[test]
    fn what_no_machine_holds_is_refused() {
        let size = |n_trials, bytes_per_value| BatchSize {
            n_trials,
            n_steps: 1000,
            n_neurons: 1000,
            bytes_per_value,
        };
        assert!(check(size(10, POTENTIAL)).is_ok());
        assert!(matches!(check(size(usize::MAX, COUNT)), Err(FitError::TooLarge { .. })));
        assert!(matches!(check(size(1 << 20, COUNT)), Err(FitError::TooLarge { .. })));
        if total_bytes().is_some() {
            // 10 000 trials of 1e6 values: as many bytes each as make 10 PB.
            assert!(matches!(
                check(size(10_000, 1 << 20)),
                Err(FitError::TooMuchMemory { .. })
            ));
        }
    }
}
