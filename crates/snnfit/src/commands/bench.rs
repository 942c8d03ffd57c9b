//! `snnfit bench`: times one training iteration of a fixed workload.

use snn_core::device::{DeviceChoice, OpenDevice};
use snn_core::rollout::native;
use snn_core::rollout::reference::{Precision, Reference, SpikeMode};

use crate::bench::{Native, Timing, Workload, measure};
use crate::cli::{BenchArgs, EngineChoice, Format, Global, NoiseChoice};
use crate::error::Error;
use crate::exit_code;
use crate::fit_error::FitError;
use crate::memory::{self, BatchSize};
#[cfg(feature = "wgpu")]
use crate::room::Room;

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
        trial_chunk: args
            .trial_chunk
            .map_or(args.k.get(), |chunk| chunk.get().min(args.k.get())),
        surrogate_floor: args.surrogate_floor,
        is_noise_given: args.noise == NoiseChoice::Given,
    };
    if load.n_in > usize::from(u16::MAX) {
        return Err(Error::Usage {
            message: format!("--n-in is {}; expected at most {}", load.n_in, u16::MAX),
            help: "lower --n-in".to_owned(),
        });
    }
    let too_large = |what: &str, [a, b, c]: [usize; 3], bytes_per_value, help: &str| {
        let size = BatchSize {
            n_trials: a,
            n_steps: b,
            n_neurons: c,
            bytes_per_value,
        };
        memory::check(size).map_err(|_| Error::Usage {
            message: format!("{what} of {a} × {b} × {c} values are more than this machine holds"),
            help: help.to_owned(),
        })
    };
    let (t, n) = (load.t, load.n);
    let help = "lower --trial-chunk, --k, --t or --n";
    too_large("potentials", [load.trial_chunk, t, n], memory::POTENTIAL, help)?;
    if load.is_noise_given {
        too_large(
            "uniforms and normals",
            [load.k, t, n],
            2 * memory::POTENTIAL,
            "use --noise philox",
        )?;
    }
    // And their gradient.
    too_large("weights", [load.d, load.n, load.n], 8, "lower --n or --d")?;
    if args.engine == EngineChoice::NativeInt16 && matches!(args.device.choice, DeviceChoice::Wgpu(_)) {
        return Err(super::on_processor("--engine native-int16", "--engine native"));
    }
    let device = match args.engine {
        EngineChoice::NativeInt16 => super::open_processor("--engine native-int16")?,
        EngineChoice::Native | EngineChoice::Reference => super::open_device(args.device.choice)?,
    };
    super::tell_device(args.device.choice, &device);
    let timing = match args.engine {
        EngineChoice::Native => on_adapter(&load, &device, threads).unwrap_or_else(|| {
            measure(
                &load,
                &Native(native::Precision::Single),
                "native",
                &device.name(),
                threads,
            )
            .map_err(FitError::from)
        }),
        EngineChoice::NativeInt16 => {
            measure(&load, &Native(native::Precision::Int16), "native-int16", "cpu", threads).map_err(FitError::from)
        }
        EngineChoice::Reference => {
            let engine = Reference {
                device: device.device.clone(),
                precision: Precision::F32,
                spike: SpikeMode::Sampled,
            };
            measure(&load, &engine, "reference", &device.name(), threads).map_err(FitError::from)
        }
    };
    let timing = timing?;
    match global.format {
        Format::Json => {
            let line = serde_json::to_string(&timing).map_err(|error| Error::Internal {
                message: error.to_string(),
            })?;
            super::print(&format!("{line}\n"))?;
        }
        Format::Text => super::print(&format!(
            "{} on {} ({} threads): N={} K={}{} T={} D={}\nforward {:.3} s, backward {:.3} s, total {:.3} s, CPU {:.3} s, peak {:.0} MiB, spikes {:.2} %, loss {:.6e}{}\n",
            timing.engine,
            timing.device,
            timing.threads,
            timing.n,
            timing.k,
            if timing.trial_chunk < timing.k {
                format!(" in chunks of {}", timing.trial_chunk)
            } else {
                String::new()
            },
            timing.t,
            timing.d,
            timing.forward_s,
            timing.backward_s,
            timing.total_s,
            timing.cpu_s,
            timing.peak_rss_mib,
            100.0 * timing.spike_fraction,
            timing.loss,
            timing
                .gradient_error
                .map_or_else(String::new, |error| format!(", gradient error {error:.1e}")),
        ))?,
    }
    Ok(exit_code::DONE)
}

/// The engine `kernels`, where the device is an adapter.
#[cfg(feature = "wgpu")]
fn on_adapter(load: &Workload, device: &OpenDevice, threads: usize) -> Option<Result<Timing, FitError>> {
    let kernels = snn_core::device::kernels(device)?;
    let room = Room::of_bench(&kernels, load);
    let timing = measure(load, &kernels, "kernels", &device.name(), threads);
    Some(timing.map_err(|error| room.explain(error.into(), load.trial_chunk, "--trial-chunk")))
}

#[cfg(not(feature = "wgpu"))]
fn on_adapter(_: &Workload, _: &OpenDevice, _: usize) -> Option<Result<Timing, FitError>> {
    None
}
