//! The arrays of the file of parameters.

use data::export::{Annotated, Values};
use ndarray::{Array1, arr0};
use snn_core::models::rsnn::{InputSpec, Link, PoissonInput, RecordedInput};

use super::{HandOff, Origin, POTENTIAL, input_types};
use crate::config::checked;
use crate::cues;
use crate::fit_error::FitError;
use crate::perturbation::Time;
use crate::provenance;
use crate::trace_rules::in_words;

/// Unit of what the readout makes.
const TRACE: &str = "unit of the fitted trace, see readout/fitted_as";

impl HandOff<'_> {
    /// Everything that the file of parameters holds.
    ///
    /// # Errors
    /// Parameters that don't fit the network.
    pub fn arrays(&self, origin: &Origin<'_>) -> Result<Vec<Annotated>, FitError> {
        let mut arrays = vec![
            Annotated {
                is_trained: Some(true),
                ..annotated(
                    "weights",
                    Values::F32(self.connectivity.weights.clone().into_dyn()),
                    POTENTIAL,
                    "signed weights; a spike of `from` raises the potential of `to` by (1 - exp(-dt_ms/tau_ms)) * current_scale * weight \
                     when it arrives, which is psp_per_weight * weight of the way from rest to threshold; 0: no synapse, 1e-12: at rest",
                    &["delay", "to", "from"],
                )
            },
            annotated(
                "delays_ms",
                Values::F64(Array1::from(self.connectivity.delays_ms.clone()).into_dyn()),
                "ms",
                "from a spike to its effect, of each matrix of weights",
                &["delay"],
            ),
        ];
        arrays.extend(self.neuron_arrays()?);
        arrays.extend(self.input_arrays()?);
        arrays.extend(self.other_parameters());
        arrays.extend(self.latent());
        arrays.extend(self.readout_arrays());
        arrays.extend(self.constants());
        arrays.extend(provenance(origin, self.fitted.state.step));
        Ok(arrays)
    }

    fn neuron_arrays(&self) -> Result<Vec<Annotated>, FitError> {
        let rows = || self.connectivity.neurons.iter();
        let texts = |path: &str, values: Vec<String>, description: &str| {
            annotated(path, Values::Texts(values), "", description, &["neuron"])
        };
        let mut arrays = vec![
            texts(
                "neurons/session",
                rows().map(|row| row.session.clone()).collect(),
                "session of the unit that the neuron stands for; empty for a hidden neuron",
            ),
            texts(
                "neurons/unit",
                rows().map(|row| row.unit.clone()).collect(),
                "id of that unit; empty for a hidden neuron",
            ),
            texts("neurons/area", rows().map(|row| row.area.clone()).collect(), "area"),
            texts(
                "neurons/cell_type",
                rows().map(|row| row.cell_type.name().to_owned()).collect(),
                "excitatory, inhibitory or unknown",
            ),
            annotated(
                "neurons/hidden",
                Values::Flags(rows().map(|row| row.unit.is_empty()).collect()),
                "",
                "whether the neuron stands for no recorded unit",
                &["neuron"],
            ),
        ];
        for column in self.columns()? {
            let path = format!("neurons/{}", column.name);
            let values = Values::F32(Array1::from(column.values).into_dyn());
            arrays.push(Annotated {
                is_trained: column.is_trained,
                ..annotated(&path, values, column.unit, column.description, &["neuron"])
            });
        }
        Ok(arrays)
    }

    fn input_arrays(&self) -> Result<Vec<Annotated>, FitError> {
        let spec = self.spec();
        let weights = |description: &str| {
            let w_in = self.fitted.rsnn.parameters.matrix("w_in")?;
            let values = Values::F32(w_in.t().as_standard_layout().into_owned().into_dyn());
            Ok::<_, FitError>(Annotated {
                is_trained: Some(true),
                ..annotated("input_weights", values, POTENTIAL, description, &["to", "input"])
            })
        };
        Ok(match &spec.input {
            InputSpec::None => Vec::new(),
            InputSpec::Poisson(input) => {
                let types = input_types(spec).iter().map(|kind| kind.name().to_owned()).collect();
                let rate = "spike probability of an input per step: rate_hz * dt_ms / 1000, higher after an onset; see [model.rsnn.input] of config";
                vec![
                    weights("signed weights of spiking inputs, in the unit of weights, without a delay")?,
                    annotated("inputs/cell_type", Values::Texts(types), "", rate, &["input"]),
                    annotated(
                        "inputs/onset",
                        Values::Texts(self.onsets(input)),
                        "",
                        "what an input answers to: an event of trials, or a time relative to the alignment event; empty: nothing",
                        &["input"],
                    ),
                ]
            }
            InputSpec::Recorded(input) => {
                let RecordedInput {
                    n_channels, lag_steps, ..
                } = *input;
                let n = spec.input.n_inputs();
                let lags = Array1::from_iter((0..n).map(|i| (i / n_channels * lag_steps) as f64 * spec.dt_ms));
                let channels = Array1::from_iter((0..n).map(|i| (i % n_channels) as i64));
                vec![
                    weights(
                        "weights of the recorded stimulus (scaled and offset as [model.rsnn.input] of config says), added to the synaptic current",
                    )?,
                    annotated(
                        "inputs/lag_ms",
                        Values::F64(lags.into_dyn()),
                        "ms",
                        "how far back the stimulus is read",
                        &["input"],
                    ),
                    annotated(
                        "inputs/channel",
                        Values::Integers(channels.into_dyn()),
                        "",
                        "channel of the stimulus",
                        &["input"],
                    ),
                ]
            }
        })
    }

    /// What each spiking input answers to.
    fn onsets(&self, input: &PoissonInput) -> Vec<String> {
        let checked::Model::Rsnn(model) = &self.fitted.assembly.experiment.model;
        let names = match &model.input {
            checked::Input::Poisson(input) => cues::onset_names(input),
            checked::Input::Recorded(_) => Vec::new(),
        };
        let channels = input.channels().into_iter().zip(names);
        let mut onsets: Vec<String> = channels
            .flat_map(|(channel, name)| std::iter::repeat_n(name, channel.n))
            .collect();
        onsets.resize(input.n, String::new());
        onsets
    }

    /// Parameters that are neither weights nor columns of neurons, dots as groups: `latent/w1`.
    fn other_parameters(&self) -> Vec<Annotated> {
        let elsewhere = ["w", "w_in", "v_rest", "noise_gain"];
        let parameters = self.fitted.rsnn.parameters.iter();
        let others = parameters.filter(|(name, _)| !elsewhere.contains(name));
        others
            .map(|(name, values)| {
                let (unit, description, axes) = meaning(name);
                // A map of the latent for each knot in the trial.
                let has_knots = name.starts_with("latent.") && values.ndim() > axes.len();
                let axes: Vec<&str> = has_knots
                    .then_some("knot")
                    .into_iter()
                    .chain(axes.iter().copied())
                    .collect();
                Annotated {
                    is_trained: Some(self.fitted.rsnn.is_trained(name)),
                    ..annotated(
                        &name.replace('.', "/"),
                        Values::F32(values.clone()),
                        unit,
                        description,
                        &axes,
                    )
                }
            })
            .collect()
    }

    fn readout_arrays(&self) -> Vec<Annotated> {
        let spec = self.spec();
        let Some(behaviour) = &spec.behaviour else {
            return Vec::new();
        };
        let traces = || behaviour.traces.iter();
        let motor = spec.motor_neurons().into_iter().map(|n| n as i64);
        let link = |link: Link| match link {
            Link::Log => "log",
            Link::Linear => "linear",
        };
        let mut arrays = vec![
            annotated(
                "readout/neuron",
                Values::Integers(Array1::from_iter(motor).into_dyn()),
                "",
                "neurons that the rows of readout/w are of, from 0",
                &["motor_neuron"],
            ),
            annotated(
                "readout/trace",
                Values::Texts(traces().map(|trace| trace.name.clone()).collect()),
                "",
                "names of the behaviour traces",
                &["trace"],
            ),
            annotated(
                "readout/fitted_as",
                Values::Texts(
                    self.fitted
                        .assembly
                        .experiment
                        .data
                        .traces
                        .iter()
                        .map(in_words)
                        .collect(),
                ),
                "",
                "what the fit was shown of the recorded trace, by [data.traces] of config: in this unit are the readout and its trace",
                &["trace"],
            ),
            annotated(
                "readout/tau_ms",
                Values::F64(Array1::from_iter(traces().map(|trace| trace.tau_ms)).into_dyn()),
                "ms",
                "time constant of the readout's filter",
                &["trace"],
            ),
            annotated(
                "readout/link",
                Values::Texts(traces().map(|trace| link(trace.link).to_owned()).collect()),
                "",
                "how the filtered activity becomes the trace: log or linear",
                &["trace"],
            ),
        ];
        if let Some(feedback) = behaviour.feedback {
            let lags = (0..feedback.n_lags).map(|lag| (feedback.first_lag + lag) as f64 * spec.dt_ms);
            arrays.push(annotated(
                "feedback/lag_ms",
                Values::F64(Array1::from_iter(lags).into_dyn()),
                "ms",
                "lags of feedback/kernel",
                &["lag"],
            ));
        }
        arrays
    }

    /// What the axes of the latent's maps are, and what they see of the stimulus.
    fn latent(&self) -> Vec<Annotated> {
        let Some(latent) = self.spec().latent.as_ref().filter(|latent| !latent.knots.is_empty()) else {
            return Vec::new();
        };
        let time = Time::of(&self.fitted.assembly);
        let ms = |step: f64| time.ms_of(0) + step * self.spec().dt_ms;
        let number = |path: &str, value: f64, unit: &str, description: &str| {
            annotated(path, Values::F64(arr0(value).into_dyn()), unit, description, &[])
        };
        let knots = latent.knots.iter().map(|knot| ms(*knot));
        let mut arrays = vec![annotated(
            "latent/knot_ms",
            Values::F64(Array1::from_iter(knots).into_dyn()),
            "ms",
            "times of the maps latent/w2 or latent/theta; offsets are linear between them and constant before and after",
            &["knot"],
        )];
        if let Some(seen) = latent.stimulus {
            arrays.push(number(
                "latent/stimulus_scale",
                seen.factor,
                "1",
                "factor on the stimulus where it goes into latent/w1",
            ));
            arrays.push(number(
                "latent/stimulus_from_ms",
                ms(seen.after),
                "ms",
                "the stimulus goes into the maps of later knots",
            ));
        }
        arrays
    }

    /// Numbers of the whole network.
    fn constants(&self) -> Vec<Annotated> {
        let spec = self.spec();
        let dt_ms = spec.dt_ms;
        let numbers: [(&str, f64, &str, &str); 8] = [
            ("dt_ms", dt_ms, "ms", "time step"),
            (
                "threshold",
                spec.threshold,
                POTENTIAL,
                "threshold above the initial resting potential 0",
            ),
            (
                "current_scale",
                spec.current_scale,
                "1",
                "factor of the synaptic current",
            ),
            (
                "temperature",
                spec.temperature,
                "1",
                "slope of the spike probability p_scale * sigmoid(temperature * (v - threshold) / threshold)",
            ),
            ("p_scale", spec.p_scale, "1", "largest spike probability in a step"),
            (
                "sigma",
                spec.sigma,
                "1/sqrt(ms)",
                "noise level: noise_std = noise_gain * (threshold - v_rest) * sigma * sqrt(dt_ms)",
            ),
            (
                "refractory_ms",
                f64::from(spec.n_refractory) * dt_ms,
                "ms",
                "silence after a spike",
            ),
            (
                "warmup_ms",
                spec.n_warmup as f64 * dt_ms,
                "ms",
                "simulated before each trial, without stimulus",
            ),
        ];
        let number = |(name, value, unit, description): (&str, f64, &str, &str)| {
            annotated(
                &format!("model/{name}"),
                Values::F64(arr0(value).into_dyn()),
                unit,
                description,
                &[],
            )
        };
        numbers.into_iter().map(number).collect()
    }
}

/// Where a network comes from.
pub(super) fn provenance(origin: &Origin<'_>, step: u64) -> Vec<Annotated> {
    let manifest = origin.manifest;
    let text = |path: &str, value: &str, description: &str| {
        annotated(path, Values::Text(value.to_owned()), "", description, &[])
    };
    let list = |path: &str, values: Vec<String>, description: &str| {
        annotated(path, Values::Texts(values), "", description, &["file"])
    };
    let number = |path: &str, value: u64, description: &str| {
        // A seed may take all 64 bits; 63 are what the configuration allows.
        annotated(
            path,
            Values::Integers(arr0(value as i64).into_dyn()),
            "",
            description,
            &[],
        )
    };
    let files = || manifest.data.iter();
    vec![
        text(
            "config",
            &origin.config,
            "run.toml: every setting; with the data it makes the run again",
        ),
        text("provenance/run", &origin.run, "run directory"),
        number("provenance/step", step, "step of the checkpoint"),
        number("provenance/seed", manifest.seed, "seed of the run"),
        text("provenance/version", &manifest.version, "version of snnfit that fitted"),
        text("provenance/commit", &manifest.commit, "its commit"),
        text(
            "provenance/exported_by",
            &format!("{} ({})", provenance::VERSION, provenance::COMMIT),
            "version and commit of snnfit that wrote this file",
        ),
        list(
            "provenance/data_file",
            files().map(|file| file.path.clone()).collect(),
            "recordings, where they were when the run began",
        ),
        list(
            "provenance/data_sha256",
            files().map(|file| file.sha256.clone()).collect(),
            "SHA-256 of the recordings",
        ),
    ]
}

pub(super) fn annotated(path: &str, values: Values, unit: &str, description: &str, axes: &[&str]) -> Annotated {
    Annotated {
        path: path.to_owned(),
        values,
        unit: unit.to_owned(),
        description: description.to_owned(),
        axes: axes.iter().map(|&axis| axis.to_owned()).collect(),
        is_trained: None,
    }
}

/// Unit, meaning and axes of a parameter.
fn meaning(name: &str) -> (&'static str, &'static str, &'static [&'static str]) {
    match name {
        "latent.w1" => (
            "1",
            "offset of a trial: relu(psi w1 + b1) w2, psi uniform in (-1/2, 1/2), and after it at knots later than latent/stimulus_from_ms the stimulus times latent/stimulus_scale, 0 at others; with linear interpolation between knots",
            &["latent", "hidden"],
        ),
        "latent.b1" => ("1", "see latent/w1", &["hidden"]),
        "latent.w2" => (
            POTENTIAL,
            "see latent/w1; added to the potential in each step times 1 - exp(-dt_ms/tau_ms)",
            &["hidden", "neuron"],
        ),
        "latent.theta" => (
            POTENTIAL,
            "offset of a trial (at each knot, if there are knots): psi theta, psi uniform in (-1/2, 1/2); added to the potential in each step times 1 - exp(-dt_ms/tau_ms)",
            &["latent", "neuron"],
        ),
        "readout.w" => (
            "1",
            "weights of the readout; 0 where a trace isn't read out from a neuron",
            &["motor_neuron", "trace"],
        ),
        "readout.baseline" => (TRACE, "baseline of a log link", &["trace"]),
        "readout.mean" => (TRACE, "mean of a linear link", &["trace"]),
        "readout.std" => (TRACE, "standard deviation of a linear link", &["trace"]),
        "feedback.kernel" => (
            POTENTIAL,
            "closed loop: current into each neuron per unit of a trace, by lag",
            &["trace", "lag", "neuron"],
        ),
        _ => ("", "a parameter of the network", &[]),
    }
}
