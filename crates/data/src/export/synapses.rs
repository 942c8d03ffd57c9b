//! The synapses of a network, one by one, for formats that list them.

use ndarray::Array2;

use crate::connectivity::Connectivity;
use crate::error::{DataError, Finding};
use crate::recording::CellType;

/// A network for formats that list neurons and synapses.
#[derive(Clone, Debug)]
pub struct NetworkTables<'a> {
    /// Neurons, weights and delays.
    pub connectivity: &'a Connectivity,
    /// Further columns of the table of neurons.
    pub columns: Vec<NeuronColumn>,
    /// Effect of one spike through a synapse of weight 1, `[N]` by its target: share of the distance from rest to threshold.
    pub psp_per_weight: Vec<f32>,
    /// Synapses whose weight is not larger than that, whatever its sign, are left out.
    pub least_weight: f32,
    /// Inputs from outside, if they are spikes.
    pub inputs: Option<VirtualInputs>,
}

/// A column of numbers in the table of neurons.
#[derive(Clone, Debug, PartialEq)]
pub struct NeuronColumn {
    /// Name, with its unit, such as `tau_ms`.
    pub name: &'static str,
    /// Values, `[N]`.
    pub values: Vec<f32>,
}

/// Spiking inputs that aren't simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualInputs {
    /// Signed weights `[to, input]`.
    pub weights: Array2<f32>,
    /// Type of each input.
    pub cell_types: Vec<CellType>,
}

/// One synapse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Synapse {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) delay_ms: f64,
    pub(super) weight: f32,
}

impl NetworkTables<'_> {
    /// Refuses tables whose columns don't fit the neurons.
    pub(super) fn check(&self, subject: &str) -> Result<(), DataError> {
        let n = self.connectivity.neurons.len();
        let mut lengths: Vec<(&str, usize)> = self
            .columns
            .iter()
            .map(|column| (column.name, column.values.len()))
            .collect();
        lengths.push(("psp_per_weight", self.psp_per_weight.len()));
        lengths.push(("weights", self.connectivity.weights.dim().1));
        lengths.push(("weights (from)", self.connectivity.weights.dim().2));
        if let Some(inputs) = &self.inputs {
            lengths.push(("input weights", inputs.weights.nrows()));
        }
        let problems: Vec<Finding> = lengths
            .iter()
            .filter(|(_, found)| *found != n)
            .map(|(name, found)| Finding::new(*name, format!("{found} rows for {n} neurons")))
            .collect();
        crate::validate::refuse_problems(subject.to_owned(), problems)
    }

    /// Number of synapses, and of weights that aren't 0 and too small to be one.
    pub fn count(&self) -> (usize, usize) {
        let weights = self.connectivity.weights.iter().filter(|weight| **weight != 0.0);
        weights.fold((0, 0), |(present, left_out), weight| {
            let is_present = weight.abs() > self.least_weight;
            (present + usize::from(is_present), left_out + usize::from(!is_present))
        })
    }

    /// Synapses by target, then source, then delay, and how many weights that aren't 0 are left out.
    pub(super) fn synapses(&self) -> (Vec<Synapse>, usize) {
        let weights = &self.connectivity.weights;
        let (_, n_to, n_from) = weights.dim();
        let mut synapses = Vec::new();
        let mut n_left_out = 0;
        for to in 0..n_to {
            for from in 0..n_from {
                for (d, &delay_ms) in self.connectivity.delays_ms.iter().enumerate() {
                    let weight = weights[[d, to, from]];
                    if weight.abs() > self.least_weight {
                        synapses.push(Synapse {
                            from,
                            to,
                            delay_ms,
                            weight,
                        });
                    } else if weight != 0.0 {
                        n_left_out += 1;
                    }
                }
            }
        }
        (synapses, n_left_out)
    }

    /// Synapses of the inputs by target, then input. They act in the step in which the input spikes.
    pub(super) fn input_synapses(&self) -> Vec<Synapse> {
        let weights = self.inputs.iter().flat_map(|inputs| inputs.weights.indexed_iter());
        weights
            .filter(|(_, weight)| weight.abs() > self.least_weight)
            .map(|((to, from), &weight)| Synapse {
                from,
                to,
                delay_ms: 0.0,
                weight,
            })
            .collect()
    }
}
