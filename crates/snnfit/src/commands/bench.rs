//! `snnfit bench`: times one training iteration of a fixed workload.

use snn_core::device::{DeviceKind, open};
use snn_core::models::rsnn::Engine;
use snn_core::rollout::reference::{Precision, Reference, SpikeMode};

use crate::bench::{Timing, Workload, measure};
use crate::cli::{BenchArgs, DeviceChoice, EngineChoice, Format, Global, NoiseChoice};
use crate::error::Error;
use crate::exit_code;
use crate::fit_error::FitError;
use crate::memory::{self, BatchSize};

pub(super) fn run(args: &BenchArgs, global: &Global) -> Result<u8, Error> {
    let threads = super::use_threads(args.threads);
    let load = Workload {
        n: args.n.get(),
        k: args.k.get(),
        t: args.t.get(),
        d: args.d.get(),
        n_in: args.n_in.get(),
        gain: args.gain,
        reps: args.reps.get(),
        seed: args.seed,
        is_noise_given: args.noise == NoiseChoice::Given,
    };
    if load.n_in > usize::from(u16::MAX) {
        return Err(Error::Usage {
            message: format!("--n-in is {}; expected at most {}", load.n_in, u16::MAX),
            help: "lower --n-in".to_owned(),
        });
    }
    // Potentials, and where they are given, uniforms and normals.
    let bytes_per_value = memory::POTENTIAL * if load.is_noise_given { 3 } else { 1 };
    memory::check(BatchSize {
        n_trials: load.k,
        n_steps: load.t,
        n_neurons: load.n,
        bytes_per_value,
    })?;
    // Weights and their gradient.
    memory::check(BatchSize {
        n_trials: load.d,
        n_steps: load.n,
        n_neurons: load.n,
        bytes_per_value: 8,
    })?;
    let fail = |error| Error::from(FitError::Core(error));
    let timing = match (args.engine, args.device) {
        (EngineChoice::Native, DeviceChoice::Cpu) => {
            measure(&load, &Engine::Native, "native", "cpu", threads).map_err(fail)?
        }
        (EngineChoice::Reference, DeviceChoice::Cpu) => {
            measure(&load, &Engine::Reference, "reference", "cpu", threads).map_err(fail)?
        }
        (EngineChoice::Native, DeviceChoice::Wgpu) => {
            return Err(Error::Usage {
                message: "the native engine runs on the CPU only".to_owned(),
                help: "use --engine reference --device wgpu".to_owned(),
            });
        }
        (EngineChoice::Reference, DeviceChoice::Wgpu) => on_gpu(&load, threads)?,
    };
    match global.format {
        Format::Json => {
            let line = serde_json::to_string(&timing).map_err(|error| Error::Internal {
                message: error.to_string(),
            })?;
            super::print(&format!("{line}\n"))?;
        }
        Format::Text => super::print(&format!(
            "{} on {} ({} threads): N={} K={} T={} D={}\nforward {:.3} s, backward {:.3} s, total {:.3} s, CPU {:.3} s, peak {:.0} MiB, spikes {:.2} %, loss {:.6e}\n",
            timing.engine,
            timing.device,
            timing.threads,
            timing.n,
            timing.k,
            timing.t,
            timing.d,
            timing.forward_s,
            timing.backward_s,
            timing.total_s,
            timing.cpu_s,
            timing.peak_rss_mib,
            100.0 * timing.spike_fraction,
            timing.loss
        ))?,
    }
    Ok(exit_code::DONE)
}

/// The reference engine on a GPU. Says so when the adapter computes on the processor.
fn on_gpu(load: &Workload, threads: usize) -> Result<Timing, Error> {
    let fail = |error| Error::from(FitError::Core(error));
    let opened = open(DeviceKind::Wgpu).map_err(fail)?;
    if opened.info.is_software {
        tracing::warn!(
            "'{}' is a software adapter: it computes on the processor",
            opened.info.name
        );
    }
    let engine = Reference {
        device: opened.device,
        precision: Precision::F32,
        spike: SpikeMode::Sampled,
    };
    measure(load, &engine, "reference", &opened.info.name, threads).map_err(fail)
}
