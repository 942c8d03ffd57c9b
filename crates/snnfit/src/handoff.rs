//! A fitted network for other programs: every parameter under its name, with unit, axes and meaning, and the tables of
//! neurons and synapses.
//!
//! `docs/FORMATS.md` lists what stands in the file of parameters. Weights are turned here, once, from the engines' `[D, pre,
//! post]` to the `[delay, to, from]` of files.

mod arrays;
mod spike_history;

use data::export::{NetworkTables, NeuronColumn, VirtualInputs};
use data::{CellType, Connectivity, ConnectivityNeuron};
use snn_core::connectivity::{DORMANT_WEIGHT, Sign};
use snn_core::models::rsnn::{InputSpec, RsnnSpec};
use snn_core::rollout::Network;

use crate::fit_error::FitError;
use crate::loaded::Fitted;
use crate::run_dir::Manifest;

pub use spike_history::SpikeHistoryHandOff;

/// Version of the file of parameters.
pub const VERSION: i64 = 1;
/// Unit of potentials.
const POTENTIAL: &str = "model potential";

/// What is known of each neuron: name, unit, meaning, values `[N]`.
struct Column {
    name: &'static str,
    unit: &'static str,
    description: &'static str,
    values: Vec<f32>,
    is_trained: Option<bool>,
}

/// Where parameters come from.
#[derive(Debug)]
pub struct Origin<'a> {
    /// Name of the run directory.
    pub run: String,
    /// `run.toml`.
    pub config: String,
    /// The run's manifest.
    pub manifest: &'a Manifest,
}

/// A fitted network in the terms of files.
#[derive(Debug)]
pub struct HandOff<'a> {
    fitted: &'a Fitted,
    cell: Network,
    connectivity: Connectivity,
}

impl<'a> HandOff<'a> {
    /// Copies the weights.
    ///
    /// # Errors
    /// Parameters that don't fit the network.
    pub fn new(fitted: &'a Fitted) -> Result<Self, FitError> {
        let cell = fitted.rsnn.network()?;
        let assembly = &fitted.assembly;
        let neurons = assembly.stitching.neurons.iter().map(|neuron| {
            let (session, unit) = neuron.source.map_or_else(Default::default, |source| {
                let session = &assembly.sessions[source.session];
                (session.id.clone(), session.units[source.unit].id.clone())
            });
            ConnectivityNeuron {
                session,
                unit,
                area: neuron.area.clone(),
                cell_type: neuron.cell_type,
            }
        });
        let spec = &fitted.rsnn.spec;
        let connectivity = Connectivity {
            weights: cell.w.view().permuted_axes([0, 2, 1]).as_standard_layout().into_owned(),
            weight_unit: String::new(),
            delays_ms: spec.delays.iter().map(|&steps| steps as f64 * spec.dt_ms).collect(),
            neurons: neurons.collect(),
        };
        Ok(Self {
            fitted,
            cell,
            connectivity,
        })
    }

    /// Neurons, weights and delays.
    pub fn connectivity(&self) -> &Connectivity {
        &self.connectivity
    }

    /// The network for formats that list neurons and synapses. Synapses that the projection keeps at rest
    /// ([`DORMANT_WEIGHT`]) are left out, as those of weight 0.
    ///
    /// # Errors
    /// Parameters that don't fit the network.
    pub fn tables(&self) -> Result<NetworkTables<'_>, FitError> {
        let columns = self.columns()?;
        let inputs = match &self.spec().input {
            InputSpec::Poisson(_) => Some(VirtualInputs {
                weights: self
                    .fitted
                    .rsnn
                    .parameters
                    .matrix("w_in")?
                    .t()
                    .as_standard_layout()
                    .into_owned(),
                cell_types: input_types(self.spec()),
            }),
            InputSpec::None | InputSpec::Recorded(_) => None,
        };
        Ok(NetworkTables {
            connectivity: &self.connectivity,
            columns: columns
                .into_iter()
                .map(|Column { name, values, .. }| NeuronColumn { name, values })
                .collect(),
            psp_per_weight: self.psp_per_weight(),
            least_weight: DORMANT_WEIGHT,
            inputs,
        })
    }

    fn spec(&self) -> &RsnnSpec {
        &self.fitted.rsnn.spec
    }

    /// Jump of the potential by one spike through a synapse of weight 1, as share of the distance from rest to threshold:
    /// g / R of the cell.
    fn psp_per_weight(&self) -> Vec<f32> {
        let pairs = self.cell.gain.iter().zip(&self.cell.reset);
        pairs.map(|(&gain, &reset)| gain / reset).collect()
    }

    fn columns(&self) -> Result<Vec<Column>, FitError> {
        let (spec, parameters) = (self.spec(), &self.fitted.rsnn.parameters);
        let trained = |name: &str| Some(self.fitted.rsnn.is_trained(name));
        Ok(vec![
            Column {
                name: "tau_ms",
                unit: "ms",
                description: "membrane time constant",
                values: spec.neurons.iter().map(|&neuron| spec.tau_ms(neuron) as f32).collect(),
                is_trained: Some(false),
            },
            Column {
                name: "v_rest",
                unit: POTENTIAL,
                description: "resting potential; the initial one is 0",
                values: parameters.vector("v_rest")?.to_vec(),
                is_trained: trained("v_rest"),
            },
            Column {
                name: "threshold",
                unit: POTENTIAL,
                description: "threshold; a spike subtracts threshold - v_rest",
                values: self.cell.threshold.to_vec(),
                is_trained: Some(false),
            },
            Column {
                name: "noise_gain",
                unit: "1",
                description: "factor of the neuron's noise",
                values: parameters.vector("noise_gain")?.to_vec(),
                is_trained: trained("noise_gain"),
            },
            Column {
                name: "noise_std",
                unit: POTENTIAL,
                description: "standard deviation of the noise that is added to the potential in each step of dt_ms",
                values: self.cell.noise.to_vec(),
                is_trained: None,
            },
            Column {
                name: "psp_per_weight",
                unit: "1",
                description: "jump of the potential by one spike through a synapse of weight 1, as share of threshold - v_rest",
                values: self.psp_per_weight(),
                is_trained: None,
            },
        ])
    }
}

/// Type of each input by the sign that its weights must keep, `[N_in]`.
pub fn input_types(spec: &RsnnSpec) -> Vec<CellType> {
    let kind = |sign: Sign| match sign {
        Sign::Positive => CellType::Excitatory,
        Sign::Negative => CellType::Inhibitory,
        Sign::Free => CellType::Unknown,
    };
    spec.input.signs(spec.has_dale).into_iter().map(kind).collect()
}
