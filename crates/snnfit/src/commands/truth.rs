//! `snnfit evaluate --truth`: the fitted weights beside those of a known network.

pub(super) mod spike_history;

use std::path::Path;

use ndarray::Axis;
use snn_core::device::OpenDevice;
use snn_core::rng::StreamRng;

use crate::cli::{EvaluateArgs, Format, Global};
use crate::error::Error;
use crate::evaluate::{CouplingInputs, FittedNeuron, compare_couplings};
use crate::exit_code;
use crate::fit_error::FitError;
use crate::loaded::Fitted;

/// Compares the weights of one run with those in a connectivity file; writes `couplings.json`. No trial is opened.
pub(super) fn run(truth: &Path, args: &EvaluateArgs, global: &Global, device: &OpenDevice) -> Result<u8, Error> {
    let path = only_run(args)?;
    let known = data::read_connectivity(truth)?;
    let (run, fitted) = Fitted::open(path, args.checkpoint, &args.data, device)?;
    let assembly = &fitted.assembly;
    let neurons: Vec<FittedNeuron> = assembly
        .stitching
        .neurons
        .iter()
        .map(|neuron| FittedNeuron {
            unit: neuron.source.map(|source| {
                let session = &assembly.sessions[source.session];
                (session.id.clone(), session.units[source.unit].id.clone())
            }),
            area: neuron.area.clone(),
            cell_type: neuron.cell_type,
        })
        .collect();
    let w = fitted.rsnn.parameters.cube("w").map_err(FitError::from)?;
    let summed = w.sum_axis(Axis(0));
    let inputs = CouplingInputs {
        run: path.display().to_string(),
        checkpoint_step: fitted.state.step,
        truth_name: truth.display().to_string(),
        // Kept `[from, to]`.
        fitted: summed.t(),
        neurons: &neurons,
        truth: &known,
    };
    let mut rng = StreamRng::new(assembly.experiment.seed, "evaluate.couplings", 0);
    let report = compare_couplings(&inputs, &mut rng).map_err(FitError::from)?;
    super::write_json(&run.couplings(), &report)?;
    tracing::info!("mean weights between areas in {}", run.couplings().display());
    if global.format == Format::Json {
        super::print_json(&report)?;
    } else {
        super::print(&super::visible(&report.table()))?;
    }
    Ok(exit_code::DONE)
}

/// The run that is compared.
fn only_run(args: &EvaluateArgs) -> Result<&Path, Error> {
    match args.runs.as_slice() {
        [path] => Ok(path),
        runs => Err(Error::Usage {
            message: format!("{} runs are named, but --truth is of one network", runs.len()),
            help: "evaluate one run at a time".to_owned(),
        }),
    }
}
