//! Whether a simulation can fit into this machine at all, asked before anything is allocated.

use crate::config::checked::spike_values;
use crate::fit_error::FitError;

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

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// Memory of this machine; none where the system doesn't tell.
fn total_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

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
