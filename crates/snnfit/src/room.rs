//! How many trials an adapter takes at once, and what is said when its memory runs out.
//!
//! On the processor there is always room: [`crate::memory`] bounds it.

use crate::assembly::Assembly;
use crate::bench::Workload;
use crate::fit_error::FitError;
use crate::objective::Comparison;
use snn_core::models::rsnn::{Engine, InputSpec};

/// Largest buffers and launches of an adapter beside those of a simulation; nothing on the processor.
#[derive(Debug, Clone, Default)]
pub struct Room {
    #[cfg(feature = "wgpu")]
    adapter: Option<adapter::Adapter>,
}

/// Statistics of a batch that gradients come from.
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(not(feature = "wgpu"), allow(dead_code))]
struct Statistics {
    conditions: usize,
    populations: usize,
    /// Whether losses see counts, whose gradient an adapter takes as one array.
    has_counts: bool,
}

impl Room {
    /// For the training steps and validations of a fit.
    pub fn of_fit(engine: &Engine, assembly: &Assembly, comparison: &Comparison) -> Self {
        let statistics = Statistics {
            conditions: comparison.recording.n_conditions(),
            populations: comparison.channels.len(),
            has_counts: comparison.n_segments() > 0,
        };
        Self::of(engine, assembly, Some(statistics))
    }

    /// For simulations of which spikes and behaviour are asked for.
    pub fn of_simulation(engine: &Engine, assembly: &Assembly) -> Self {
        Self::of(engine, assembly, None)
    }

    /// `statistics` are those that a gradient comes from.
    #[cfg(feature = "wgpu")]
    fn of(engine: &Engine, assembly: &Assembly, statistics: Option<Statistics>) -> Self {
        let Engine::Kernels(kernels) = engine else {
            return Self::default();
        };
        let spec = &assembly.spec;
        let Statistics {
            conditions,
            populations,
            has_counts,
        } = statistics.unwrap_or_default();
        let readouts = spec.behaviour.as_ref().map_or(0, |b| b.traces.len());
        let is_spiking = matches!(spec.input, InputSpec::Poisson(_));
        let plan = adapter::Plan {
            neurons: spec.n_neurons(),
            steps: assembly.n_steps(),
            warmup: spec.n_warmup,
            delays: spec.delays.clone(),
            inputs: if is_spiking { spec.input.n_inputs() } else { 0 },
            stimuli: match spec.input {
                InputSpec::Recorded(_) => assembly.movies.as_ref().map_or(0, |movies| movies.dim().0),
                _ => 0,
            },
            courses: spec.latent.as_ref().map_or(0, |latent| latent.knots.len().max(1)),
            conditions,
            channels: populations + readouts,
            readouts,
            dense: usize::from(has_counts),
            has_gradient: statistics.is_some(),
            ..adapter::Plan::default()
        };
        Self::of_kernels(kernels, plan)
    }

    #[cfg(not(feature = "wgpu"))]
    fn of(_: &Engine, _: &Assembly, _: Option<Statistics>) -> Self {
        Self::default()
    }
}

#[cfg(feature = "wgpu")]
mod adapter {
    pub(super) use snn_core::rollout::kernels::{Kernels, Limits, Plan};

    #[derive(Debug, Clone)]
    pub(super) struct Adapter {
        pub(super) name: String,
        pub(super) limits: Limits,
        pub(super) plan: Plan,
    }
}

#[cfg(feature = "wgpu")]
impl Room {
    fn of_kernels(kernels: &adapter::Kernels, plan: adapter::Plan) -> Self {
        Self {
            adapter: Some(adapter::Adapter {
                name: kernels.name().to_owned(),
                limits: kernels.limits(),
                plan,
            }),
        }
    }

    /// For the step of a benchmark.
    pub fn of_bench(kernels: &adapter::Kernels, load: &Workload) -> Self {
        let plan = adapter::Plan {
            neurons: load.n,
            steps: load.t,
            delays: (1..=load.d).collect(),
            inputs: load.n_in,
            conditions: 1,
            is_noise_given: load.is_noise_given,
            has_gradient: true,
            ..adapter::Plan::default()
        };
        Self::of_kernels(kernels, plan)
    }

    /// Whether an adapter bounds the number of trials.
    pub fn is_bounded(&self) -> bool {
        self.adapter.is_some()
    }

    /// Trials at once, at most `n_trials`, that the adapter can bind and launch; says so where these are fewer.
    ///
    /// A function of the sizes and the adapter: chunks of a run that goes on on another GPU may differ, and with them the
    /// rounding of gradients. On the processor it is always `n_trials`.
    ///
    /// # Errors
    /// [`snn_core::CoreError::DeviceLimit`] when not even one trial fits.
    pub fn chunk(&self, n_trials: usize) -> Result<usize, FitError> {
        let Some(adapter) = &self.adapter else {
            return Ok(n_trials);
        };
        let chunk = adapter.plan.chunk(adapter.limits, &adapter.name, n_trials)?;
        if let Err(whole) = adapter.plan.check(adapter.limits, &adapter.name, n_trials) {
            tracing::info!("simulating {chunk} trials at once: {whole}");
        }
        Ok(chunk)
    }

    /// Bytes that this many trials at once take on the adapter, at least.
    pub fn bytes(&self, n_trials: usize) -> Option<u64> {
        self.adapter.as_ref().map(|adapter| adapter.plan.bytes(n_trials))
    }

    /// An error of `trials` trials at once. Where the adapter's memory ran out, with the number to write after
    /// `key` so that half as much is needed, or as little as can be.
    #[must_use]
    pub fn explain(&self, error: FitError, trials: usize, key: &'static str) -> FitError {
        use crate::memory::gib;
        use snn_core::CoreError;
        match (error, &self.adapter) {
            (FitError::Core(CoreError::DeviceMemory { device, reason }), Some(adapter)) => {
                let plan = &adapter.plan;
                let needed = plan.bytes(trials);
                let fits = plan.chunk_of(needed / 2, trials).or((trials > 1).then_some(1));
                FitError::DeviceMemory {
                    device,
                    // Allocators append where in their code they failed.
                    reason: reason.lines().next().unwrap_or_default().to_owned(),
                    trials,
                    needed_gib: gib(needed),
                    key,
                    fits: fits.map(|fits| (fits, gib(plan.bytes(fits)))),
                }
            }
            (error, _) => error,
        }
    }
}

#[cfg(not(feature = "wgpu"))]
#[allow(clippy::unused_self, clippy::unnecessary_wraps)]
impl Room {
    /// Nothing does.
    pub fn is_bounded(&self) -> bool {
        false
    }

    /// On the processor, all of them.
    ///
    /// # Errors
    /// None.
    pub fn chunk(&self, n_trials: usize) -> Result<usize, FitError> {
        Ok(n_trials)
    }

    /// None.
    pub fn bytes(&self, _: usize) -> Option<u64> {
        None
    }

    /// The error itself.
    #[must_use]
    pub fn explain(&self, error: FitError, _: usize, _: &'static str) -> FitError {
        error
    }
}

#[cfg(all(test, feature = "wgpu"))]
mod tests {
    use super::*;
    use snn_core::CoreError;

    fn room(buffer_bytes: u64) -> Room {
        Room {
            adapter: Some(adapter::Adapter {
                name: "a GPU".into(),
                limits: adapter::Limits {
                    buffer_bytes,
                    cubes: 65_535,
                },
                plan: adapter::Plan {
                    neurons: 1000,
                    steps: 500,
                    delays: vec![1],
                    has_gradient: true,
                    ..adapter::Plan::default()
                },
            }),
        }
    }

    #[test]
    fn the_processor_takes_all_trials_and_an_adapter_what_its_buffers_hold() {
        assert_eq!(Room::default().chunk(150).unwrap(), 150);
        // 2 MB of potentials in each trial.
        assert_eq!(room(100_000_000).chunk(150).unwrap(), 50);
        let error = room(1_000_000).chunk(150).unwrap_err();
        assert_eq!(error.exit_code(), crate::exit_code::DEVICE);
        assert!(
            error
                .to_string()
                .contains("recurrent weights of one trial take 4000000 bytes"),
            "{error}"
        );
        assert!(error.help().unwrap().contains("--device cpu"));
    }

    #[test]
    fn memory_that_ran_out_names_a_chunk_that_takes_half() {
        let ran_out = || {
            FitError::Core(CoreError::DeviceMemory {
                device: "a GPU".into(),
                reason: "out of device memory allocating 7 bytes\nbacktrace".into(),
            })
        };
        let room = room(u64::MAX);
        let error = room.explain(ran_out(), 150, "train.trial_chunk =");
        let FitError::DeviceMemory {
            fits: Some((fits, _)),
            trials: 150,
            ..
        } = error
        else {
            panic!("{error}")
        };
        let plan = &room.adapter.as_ref().unwrap().plan;
        assert!((40..=75).contains(&fits) && plan.bytes(fits) <= plan.bytes(150) / 2);
        assert_eq!(error.exit_code(), crate::exit_code::DEVICE);
        let text = error.to_string();
        assert!(
            text.contains(&format!("(hint: use train.trial_chunk = {fits}")) && !text.contains("backtrace"),
            "{text}"
        );
        let small = room.explain(ran_out(), 2, "train.trial_chunk =");
        assert!(small.to_string().contains("use train.trial_chunk = 1"), "{small}");
        assert!(
            room.explain(ran_out(), 1, "train.trial_chunk =")
                .to_string()
                .contains("fewer neurons")
        );
        let other = room.explain(FitError::NoTrials { part: "a step" }, 1, "train.trial_chunk =");
        assert!(matches!(other, FitError::NoTrials { .. }));
    }
}
