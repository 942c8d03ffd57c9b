//! `snnfit evaluate --truth` of runs with `[model.spike_history]`.

use std::path::Path;

use ndarray::s;
use snn_core::device::OpenDevice;

use crate::cli::{EvaluateArgs, Format, Global};
use crate::error::Error;
use crate::exit_code;
use crate::fit_error::FitError;
use crate::spike_history::fitted::Fitted;
use crate::spike_history::truth::{KernelInputs, compare_kernels};

/// Compares the kernels of one run with those in a connectivity file; writes `couplings.json`. No test trial is opened.
pub(in super::super) fn run(
    truth: &Path,
    args: &EvaluateArgs,
    global: &Global,
    device: &OpenDevice,
) -> Result<u8, Error> {
    let path = super::only_run(args)?;
    if args.compared_to.is_some() {
        return Err(Error::Usage {
            message: "--compared-to compares metrics of trials, --truth opens none".to_owned(),
            help: "evaluate --truth for each of the runs".to_owned(),
        });
    }
    let known = data::read_connectivity(truth)?;
    let (run, fitted) = Fitted::open(path, args.checkpoint, &args.data, device.clone())?;
    let network = &fitted.model.network;
    let n = network.spec.n_visible;
    let scale = f64::from(network.spec.temperature) / f64::from(network.spec.threshold);
    let kernels = network.kernels().map_err(FitError::from)?;
    let kernels = kernels.slice(s![.., ..n, ..n]).mapv(|w| scale * f64::from(w));
    let inputs = KernelInputs {
        run: &path.display().to_string(),
        checkpoint_step: fitted.step,
        truth_name: &truth.display().to_string(),
        fitted: &kernels,
        recorded: &fitted.recorded,
        bin_ms: fitted.experiment.data.bin_ms,
        seed: fitted.experiment.seed,
        truth: &known,
    };
    let report = compare_kernels(&inputs).map_err(FitError::from)?;
    super::super::write_json(&run.couplings(), &report)?;
    tracing::info!("weights beside the true ones in {}", run.couplings().display());
    if global.format == Format::Json {
        super::super::print_json(&report)?;
    } else {
        super::super::print(&super::super::visible(&report.table()))?;
    }
    Ok(exit_code::DONE)
}
