//! The files of a spike-history network: kernels over lags, encoder, and what its neurons are.

use data::export::{Annotated, NetworkTables, NeuronColumn, Values};
use data::{CellType, Connectivity, ConnectivityNeuron};
use ndarray::{Array1, arr0};
use snn_core::models::spike_history::Layer;

use super::Origin;
use super::arrays::{annotated, provenance};
use crate::config::checked::spike_history::Encoder as EncoderConfig;
use crate::fit_error::FitError;
use crate::spike_history::fitted::Fitted;
use crate::spike_history::model::Driver;

/// Unit of potentials: the threshold is `model/threshold` of it.
const POTENTIAL: &str = "model potential";

/// A fitted spike-history network in the terms of files.
#[derive(Debug)]
pub struct SpikeHistoryHandOff<'a> {
    fitted: &'a Fitted,
    connectivity: Connectivity,
    bias: Vec<f32>,
}

impl<'a> SpikeHistoryHandOff<'a> {
    /// Copies the kernels.
    ///
    /// # Errors
    /// Parameters that don't fit the network.
    pub fn new(fitted: &'a Fitted) -> Result<Self, FitError> {
        let network = &fitted.model.network;
        let (spec, recorded) = (&network.spec, &fitted.recorded);
        let kernels = network.kernels()?;
        let bin_ms = fitted.experiment.data.bin_ms;
        let areas = recorded.neuron_areas(spec);
        let ids = recorded.neuron_ids(spec);
        let neurons = areas.into_iter().zip(ids).enumerate().map(|(n, (area, id))| {
            let (session, unit) = match recorded.neurons.get(n) {
                None => (String::new(), String::new()),
                // With shared units the id tells two areas apart that have a unit of one name.
                Some(neuron) => match &neuron.session {
                    Some(session) => (session.clone(), neuron.id.clone()),
                    None => (String::new(), id),
                },
            };
            ConnectivityNeuron {
                session,
                unit,
                area,
                cell_type: CellType::Unknown,
            }
        });
        let connectivity = Connectivity {
            weights: kernels
                .view()
                .permuted_axes([0, 2, 1])
                .as_standard_layout()
                .into_owned(),
            delays_ms: (1..=spec.lags).map(|lag| lag as f64 * bin_ms).collect(),
            neurons: neurons.collect(),
            weight_unit: String::new(),
        };
        Ok(Self {
            fitted,
            connectivity,
            bias: network.parameters.vector("bias")?.to_vec(),
        })
    }

    /// Neurons, kernels and lags.
    pub fn connectivity(&self) -> &Connectivity {
        &self.connectivity
    }

    /// The network for formats that list neurons and synapses: a synapse for each lag at which a kernel isn't 0.
    pub fn tables(&self) -> NetworkTables<'_> {
        let spec = &self.fitted.model.network.spec;
        let n = self.bias.len();
        NetworkTables {
            connectivity: &self.connectivity,
            columns: vec![
                NeuronColumn {
                    name: "bias",
                    values: self.bias.clone(),
                },
                NeuronColumn {
                    name: "threshold",
                    values: vec![spec.threshold; n],
                },
            ],
            psp_per_weight: vec![1.0 / spec.threshold; n],
            least_weight: 0.0,
            inputs: None,
        }
    }

    /// Everything that the file of parameters holds.
    ///
    /// # Errors
    /// Parameters that don't fit the network.
    pub fn arrays(&self, origin: &Origin<'_>) -> Result<Vec<Annotated>, FitError> {
        let mut arrays = self.kernel_arrays()?;
        arrays.extend(self.neuron_arrays());
        arrays.extend(self.encoder_arrays()?);
        arrays.extend(self.constants());
        arrays.extend(provenance(origin, self.fitted.step));
        Ok(arrays)
    }

    fn kernel_arrays(&self) -> Result<Vec<Annotated>, FitError> {
        let network = &self.fitted.model.network;
        let coefficients = network.parameters.cube("w")?;
        let coefficients = coefficients.permuted_axes([0, 2, 1]).as_standard_layout().into_owned();
        Ok(vec![
            annotated(
                "weights",
                Values::F32(self.connectivity.weights.clone().into_dyn()),
                POTENTIAL,
                "signed kernels: a spike of `from` adds weights[lag] to the potential of `to` so long afterwards; the diagonal is a neuron's \
                 own history",
                &["delay", "to", "from"],
            ),
            annotated(
                "delays_ms",
                Values::F64(Array1::from(self.connectivity.delays_ms.clone()).into_dyn()),
                "ms",
                "lags of the kernels: 1 to D bins",
                &["delay"],
            ),
            Annotated {
                is_trained: Some(true),
                ..annotated(
                    "kernels/coefficients",
                    Values::F32(coefficients.into_dyn()),
                    POTENTIAL,
                    "fitted coefficients: weights = sum over functions of kernels/basis * coefficients",
                    &["function", "to", "from"],
                )
            },
            annotated(
                "kernels/basis",
                Values::F64(network.basis().clone().into_dyn()),
                "1",
                "functions of the lag; the identity for raw kernels",
                &["function", "delay"],
            ),
        ])
    }

    fn neuron_arrays(&self) -> Vec<Annotated> {
        let rows = || self.connectivity.neurons.iter();
        let texts = |path: &str, values: Vec<String>, description: &str| {
            annotated(path, Values::Texts(values), "", description, &["neuron"])
        };
        vec![
            texts(
                "neurons/session",
                rows().map(|row| row.session.clone()).collect(),
                "session of the unit that the neuron stands for; empty where sessions share units, and for a hidden neuron",
            ),
            texts(
                "neurons/unit",
                rows().map(|row| row.unit.clone()).collect(),
                "id of that unit; empty for a hidden neuron",
            ),
            texts(
                "neurons/area",
                rows().map(|row| row.area.clone()).collect(),
                "area; hidden for a hidden neuron",
            ),
            texts(
                "neurons/cell_type",
                rows().map(|row| row.cell_type.name().to_owned()).collect(),
                "unknown: kernels may have any sign",
            ),
            annotated(
                "neurons/hidden",
                Values::Flags(rows().map(|row| row.unit.is_empty()).collect()),
                "",
                "whether the neuron stands for no recorded unit",
                &["neuron"],
            ),
            Annotated {
                is_trained: Some(true),
                ..annotated(
                    "neurons/bias",
                    Values::F32(Array1::from(self.bias.clone()).into_dyn()),
                    POTENTIAL,
                    "constant part of the potential",
                    &["neuron"],
                )
            },
        ]
    }

    fn encoder_arrays(&self) -> Result<Vec<Annotated>, FitError> {
        let (model, recorded) = (&self.fitted.model, &self.fitted.recorded);
        let bin_ms = self.fitted.experiment.data.bin_ms;
        let text = |path: &str, value: &str, description: &str| {
            annotated(path, Values::Text(value.to_owned()), "", description, &[])
        };
        let number = |path: &str, value: f64, unit: &str, description: &str| {
            annotated(path, Values::F64(arr0(value).into_dyn()), unit, description, &[])
        };
        let kind = |name: &str| text("encoder/kind", name, "what drives the neurons: none, bins or stimulus");
        match &model.driver {
            Driver::None => Ok(vec![kind("none")]),
            Driver::Bins => {
                let mut arrays = vec![kind("bins")];
                for (s, session) in recorded.sessions.iter().enumerate() {
                    arrays.push(Annotated {
                        is_trained: Some(true),
                        ..annotated(
                            &format!("encoder/drive/{}", session.id),
                            Values::F32(model.bin_drive(s)?.to_owned().into_dyn()),
                            POTENTIAL,
                            "drive of each bin of each stimulus of the session; encoder/stimulus_of says which trial shows which",
                            &["stimulus", "bin", "neuron"],
                        )
                    });
                    let of: Vec<i64> = session.stimulus_of.iter().map(|&stimulus| stimulus as i64).collect();
                    arrays.push(annotated(
                        &format!("encoder/stimulus_of/{}", session.id),
                        Values::Integers(Array1::from(of).into_dyn()),
                        "",
                        "stimulus of each trial of the session",
                        &["trial"],
                    ));
                }
                Ok(arrays)
            }
            Driver::Stimulus { encoder, moments } => {
                let spec = encoder.spec();
                let (scale, offset) = match &self.fitted.experiment.model.encoder {
                    Some(EncoderConfig::Stimulus(stimulus)) => (stimulus.scale, stimulus.offset),
                    _ => (1.0, 0.0),
                };
                let layers: Vec<String> = spec.layers.iter().map(layer).collect();
                let lags = Array1::from_iter((0..spec.lags).map(|lag| lag as f64 * bin_ms));
                let mut arrays = vec![
                    kind("stimulus"),
                    number(
                        "encoder/stimulus_scale",
                        scale,
                        "1",
                        "factor on the recorded stimulus, before anything else",
                    ),
                    number("encoder/stimulus_offset", offset, "1", "added to the scaled stimulus"),
                    annotated(
                        "encoder/lag_ms",
                        Values::F64(lags.into_dyn()),
                        "ms",
                        "lags of the stimulus, the present bin first; before its first bin the stimulus holds that",
                        &["lag"],
                    ),
                    annotated(
                        "encoder/basis",
                        Values::F32(encoder.basis().clone().into_dyn()),
                        "1",
                        "functions of the lag; features = (sum over lags of basis * stimulus - feature_mean) / feature_sd, function by function, \
                         each with all channels",
                        &["function", "lag"],
                    ),
                    annotated(
                        "encoder/feature_mean",
                        Values::F32(moments.mean.clone().into_dyn()),
                        "1",
                        "mean of each function's features in the training trials",
                        &["function"],
                    ),
                    annotated(
                        "encoder/feature_sd",
                        Values::F32(moments.sd.clone().into_dyn()),
                        "1",
                        "standard deviation of each function's features in the training trials",
                        &["function"],
                    ),
                    annotated(
                        "encoder/pixels",
                        Values::Integers(Array1::from_iter(spec.pixels.map(|n| n as i64)).into_dyn()),
                        "",
                        "height and width of the image; channels are its pixels, row by row",
                        &["axis"],
                    ),
                    annotated(
                        "encoder/layers",
                        Values::Texts(layers),
                        "",
                        "layers from the features on, each of conv and dense followed by max(0, x); encoder/L/w and bias are those of layer L",
                        &["layer"],
                    ),
                ];
                for (name, values) in model.driver_parameters.iter() {
                    let (description, axes) = meaning(name, values.ndim());
                    arrays.push(Annotated {
                        is_trained: Some(true),
                        ..annotated(
                            &name.replace('.', "/"),
                            Values::F32(values.clone()),
                            if name == "encoder.out.w" { POTENTIAL } else { "1" },
                            description,
                            axes,
                        )
                    });
                }
                Ok(arrays)
            }
        }
    }

    /// Numbers of the whole network.
    fn constants(&self) -> Vec<Annotated> {
        let spec = &self.fitted.model.network.spec;
        let numbers: [(&str, f64, &str, &str); 3] = [
            ("dt_ms", self.fitted.experiment.data.bin_ms, "ms", "width of a bin"),
            (
                "threshold",
                f64::from(spec.threshold),
                POTENTIAL,
                "potential at which a spike is as likely as none",
            ),
            (
                "temperature",
                f64::from(spec.temperature),
                "1",
                "spike probability of a bin: sigmoid(temperature * (u - threshold) / threshold), u = bias + drive + sum of weights over \
                 past spikes",
            ),
        ];
        let mut arrays = vec![annotated(
            "model/kind",
            Values::Text("spike_history".to_owned()),
            "",
            "the model; networks of [model.rsnn] don't have this",
            &[],
        )];
        arrays.extend(numbers.into_iter().map(|(name, value, unit, description)| {
            annotated(
                &format!("model/{name}"),
                Values::F64(arr0(value).into_dyn()),
                unit,
                description,
                &[],
            )
        }));
        arrays
    }
}

/// A layer in a word with its numbers.
fn layer(layer: &Layer) -> String {
    match *layer {
        Layer::Conv { filters, kernel } => format!("conv filters={filters} kernel={kernel}"),
        Layer::MaxPool { size, stride } => format!("max_pool size={size} stride={stride}"),
        Layer::Dense { units } => format!("dense units={units}"),
    }
}

/// Meaning and axes of a parameter of the encoder.
fn meaning(name: &str, n_axes: usize) -> (&'static str, &'static [&'static str]) {
    match (name, n_axes) {
        ("encoder.out.w", _) => (
            "linear map from the last layer, or the features, to the drive",
            &["feature", "neuron"],
        ),
        (_, 1) => ("bias of a layer", &["unit"]),
        (_, 2) => ("weights of a dense layer", &["unit", "feature"]),
        _ => (
            "kernels of a convolution of stride 1 with zeros around the image",
            &["filter", "map", "height", "width"],
        ),
    }
}
