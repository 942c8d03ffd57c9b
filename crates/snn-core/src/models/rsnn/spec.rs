//! What an RSNN is made of: checked numbers, no parameters.

use super::inputs::InputSpec;
use crate::CoreError;
use crate::connectivity::{CellType, Connectivity, InterArea, Neuron, Projection, Sign};
use crate::surrogate::Surrogate;
use crate::units::Ms;
use serde::{Deserialize, Serialize};

/// Potentials, thresholds and weights are measured from the initial resting potential, which is 0.
pub(super) const THRESHOLD_OF_UNIT_SCALE: f64 = 0.1;

/// Everything about a multi-area LIF/Bernoulli network that isn't trained.
///
/// # Source
/// Sourmpis et al. 2023; specification §1.1–1.10.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RsnnSpec {
    /// Neurons in model order, `[N]`; [`crate::connectivity::population_layout`] makes the published order.
    pub neurons: Vec<Neuron>,
    /// Names of the areas, in the order of [`Neuron::area`].
    pub areas: Vec<String>,
    /// Time step in ms.
    pub dt_ms: f64,
    /// Membrane time constant of excitatory and unknown neurons in ms (published: 30).
    pub tau_exc_ms: f64,
    /// Membrane time constant of inhibitory neurons in ms (published: 10).
    pub tau_inh_ms: f64,
    /// Threshold above the initial resting potential 0 (published: 0.1).
    pub threshold: f64,
    /// Delay of each recurrent matrix in steps, `[D]`, at least 1; see [`crate::connectivity::delay_steps`].
    pub delays: Vec<usize>,
    /// Steps of silence after a spike (published: 4 ms).
    pub n_refractory: u8,
    /// Slope of the spike probability (published: 15 or 7.5).
    pub temperature: f64,
    /// Largest spike probability per step (published: dt / 2 ms).
    pub p_scale: f64,
    /// Noise level σ per √ms, in units of the distance from resting potential to threshold (published: 0.1).
    pub sigma: f64,
    /// Factor of the synaptic current (the published code halves it: 0.5).
    pub current_scale: f64,
    /// Stands for the derivative of the spike.
    pub surrogate: Surrogate,
    /// Steps simulated without gradient before each trial (published: 300 ms).
    pub n_warmup: usize,
    /// Rule for synapses between areas.
    pub inter_area: InterArea,
    /// Dale's law for recurrent weights and signs for spiking inputs; false leaves all signs free.
    pub has_dale: bool,
    /// Exceptions to both, in order; usually none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projections: Vec<Projection>,
    /// Whether the resting potential of each neuron is trained; it is 0 otherwise.
    pub train_resting_potential: bool,
    /// Whether the noise gain κ of each neuron is trained; it is 1 otherwise.
    pub train_noise_gain: bool,
    /// What drives the network from outside.
    pub input: InputSpec,
    /// Trial-to-trial offset, if any.
    pub latent: Option<LatentSpec>,
    /// Behaviour readout, open-loop or closed-loop, if any.
    pub behaviour: Option<BehaviourSpec>,
}

/// Drive per trial and neuron from a random vector ψ ~ U(−0.5, 0.5)^L.
///
/// # Source
/// Specification §1.6, where it is constant in the trial and the same map at every stimulus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentSpec {
    /// Length L of ψ (published: 5).
    pub dimensions: usize,
    /// Recorded steps, ascending, at which the offset takes values of its own: linear between two, constant before the first
    /// and after the last. Empty: constant in the trial.
    #[serde(default)]
    pub knots: Vec<f64>,
    /// What the map sees of the stimulus, as one more coordinate after ψ; `None`: nothing. Only of [`LatentKind::Mlp`], where
    /// it meets ψ in the hidden layer, and with knots.
    #[serde(default)]
    pub stimulus: Option<SeenStimulus>,
    /// Clip the offset at ±0.2·threshold.
    pub is_bounded: bool,
    /// Factor on the published initial values of the last map (w2, theta): offsets start that much smaller.
    pub init_scale: f64,
    /// Decay λ of the last map with each update: it is multiplied by 1 − lr·λ, beside the optimiser's own decay.
    pub weight_decay: f64,
    /// How ψ becomes an offset.
    pub kind: LatentKind,
}

/// What a latent sees of the stimulus.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenStimulus {
    /// Factor on its value.
    pub factor: f64,
    /// Recorded step: the map sees it at later knots; up to this one the coordinate is 0.
    pub after: f64,
}

/// Map from ψ `[L]` to the offset `[N]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LatentKind {
    /// `o = W₂·relu(W₁ψ + b₁)`.
    Mlp,
    /// `o = ψ·Θ`.
    Linear,
}

/// Behaviour traces read out from motor areas, and what they feed back.
///
/// # Source
/// Specification §1.7.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BehaviourSpec {
    /// The traces, `[B]`.
    pub traces: Vec<TraceSpec>,
    /// The closed loop, if any: traces drive all neurons some steps later.
    pub feedback: Option<FeedbackSpec>,
}

/// One behaviour trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSpec {
    /// Its name.
    pub name: String,
    /// Areas whose excitatory (or unknown) neurons are read out.
    pub motor_areas: Vec<usize>,
    /// Time constant of the readout in ms (published: 50).
    pub tau_ms: f64,
    /// How the filtered activity becomes a trace.
    pub link: Link,
}

/// Lags of the closed loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedbackSpec {
    /// Shortest lag in steps, at least 1 (published: 7, 14 ms).
    pub first_lag: usize,
    /// Number of consecutive lags L (published: 14, up to 40 ms).
    pub n_lags: usize,
}

/// Link of the behaviour readout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// Recursion in the log domain with a trained baseline.
    Log,
    /// Linear recursion with a trained mean and standard deviation.
    Linear,
}

impl RsnnSpec {
    /// Number of neurons N.
    pub fn n_neurons(&self) -> usize {
        self.neurons.len()
    }

    /// Rules of the recurrent synapses.
    pub fn connectivity(&self) -> Connectivity {
        Connectivity {
            neurons: self.neurons.clone(),
            inter_area: self.inter_area,
            has_dale: self.has_dale,
            projections: self.projections.clone(),
        }
    }

    /// Membrane time constant of a neuron in ms.
    pub fn tau_ms(&self, neuron: Neuron) -> f64 {
        if neuron.cell_type == CellType::Inhibitory {
            self.tau_inh_ms
        } else {
            self.tau_exc_ms
        }
    }

    /// Decay per step α of a neuron's membrane: `exp(−dt/τ)`.
    pub fn decay(&self, neuron: Neuron) -> f64 {
        Ms(self.tau_ms(neuron)).decay(Ms(self.dt_ms))
    }

    /// Neurons that the behaviour readout sees, ascending; empty without a readout.
    pub fn motor_neurons(&self) -> Vec<usize> {
        let traces = self.behaviour.as_ref().map_or(&[][..], |b| &b.traces);
        let neurons = 0..self.n_neurons();
        neurons
            .filter(|n| traces.iter().any(|t| self.is_motor(t, *n)))
            .collect()
    }

    /// Whether a trace is read out from a neuron.
    pub fn is_motor(&self, trace: &TraceSpec, neuron: usize) -> bool {
        let neuron = &self.neurons[neuron];
        neuron.cell_type != CellType::Inhibitory && trace.motor_areas.contains(&neuron.area)
    }

    /// Name and shape of every parameter, trained or not, in alphabetical order.
    pub fn parameter_shapes(&self) -> Vec<(&'static str, Vec<usize>)> {
        let n = self.n_neurons();
        let mut shapes = vec![
            ("noise_gain", vec![n]),
            ("v_rest", vec![n]),
            ("w", vec![self.delays.len(), n, n]),
        ];
        if self.input != InputSpec::None {
            shapes.push(("w_in", vec![self.input.n_inputs(), n]));
        }
        if let Some(latent) = &self.latent {
            let l = latent.dimensions;
            let map = latent.map_shape(n);
            match latent.kind {
                LatentKind::Mlp => shapes.extend([
                    ("latent.b1", vec![l]),
                    ("latent.w1", vec![latent.n_sources(), l]),
                    ("latent.w2", map),
                ]),
                LatentKind::Linear => shapes.push(("latent.theta", map)),
            }
        }
        if let Some(behaviour) = &self.behaviour {
            let b = behaviour.traces.len();
            shapes.push(("readout.w", vec![self.motor_neurons().len(), b]));
            let has = |link| behaviour.traces.iter().any(|trace| trace.link == link);
            if has(Link::Log) {
                shapes.push(("readout.baseline", vec![b]));
            }
            if has(Link::Linear) {
                shapes.extend([("readout.mean", vec![b]), ("readout.std", vec![b])]);
            }
            if let Some(feedback) = behaviour.feedback {
                shapes.push(("feedback.kernel", vec![b, feedback.n_lags, n]));
            }
        }
        shapes.sort_unstable();
        shapes
    }

    /// Checks every number's range and every reference to an area.
    ///
    /// # Errors
    /// The first number that is out of range or not finite, the first population that is empty or unknown.
    pub fn check(&self) -> Result<(), CoreError> {
        self.check_numbers()?;
        if self.neurons.is_empty() {
            return Err(CoreError::Population {
                what: "the network has no neurons; at least one is needed".into(),
            });
        }
        if let Some((n, neuron)) = self
            .neurons
            .iter()
            .enumerate()
            .find(|(_, neuron)| neuron.area >= self.areas.len())
        {
            let what = format!(
                "neuron {n} sits in area {}, but there are {} areas ({})",
                neuron.area,
                self.areas.len(),
                self.areas.join(", ")
            );
            return Err(CoreError::Population { what });
        }
        if self.delays.is_empty() {
            return Err(CoreError::Population {
                what: "the list of delays is empty; at least one delay is needed".into(),
            });
        }
        if let Some(bad) = self.delays.iter().find(|d| **d == 0) {
            return Err(range("delay in steps", *bad as f64, "at least 1"));
        }
        if let Some(latent) = &self.latent
            && latent.dimensions == 0
        {
            return Err(range("dimensions of the latent", 0.0, "at least 1"));
        }
        if let Some(latent) = &self.latent {
            if let Some(bad) = latent.knots.iter().find(|knot| !knot.is_finite()) {
                return Err(range("knot of the latent in steps", *bad, "finite"));
            }
            if let Some(pair) = latent.knots.windows(2).find(|pair| pair[1] <= pair[0]) {
                return Err(range("knot of the latent in steps", pair[1], "above the one before"));
            }
            for value in latent.stimulus.iter().flat_map(|seen| [seen.factor, seen.after]) {
                if !value.is_finite() {
                    let what = "factor on the stimulus that a latent sees, or the step after which it does";
                    return Err(range(what, value, "finite"));
                }
            }
            if latent.stimulus.is_some() && latent.knots.is_empty() {
                return Err(CoreError::Population {
                    what: "a latent that sees the stimulus needs knots: a constant offset would know it before".into(),
                });
            }
            if latent.stimulus.is_some() && latent.kind != LatentKind::Mlp {
                return Err(CoreError::Population {
                    what: "only a latent with a hidden layer can see the stimulus".into(),
                });
            }
            for (what, value) in [
                ("initial scale of the latent", latent.init_scale),
                ("weight decay of the latent", latent.weight_decay),
            ] {
                if !(value.is_finite() && value >= 0.0) {
                    return Err(range(what, value, "finite and at least 0"));
                }
            }
        }
        self.input.check()?;
        self.check_projections()?;
        self.check_behaviour()
    }

    fn check_projections(&self) -> Result<(), CoreError> {
        for (i, rule) in self.projections.iter().enumerate() {
            if let Some(bad) = [rule.from, rule.to].into_iter().find(|area| *area >= self.areas.len()) {
                let what = format!("index of an area in projection {i}");
                return Err(range(&what, bad as f64, "below the number of areas"));
            }
            let of_type = match rule.cell_type {
                CellType::Excitatory => Some(Sign::Positive),
                CellType::Inhibitory => Some(Sign::Negative),
                CellType::Unknown => None,
            };
            if self.has_dale && of_type.is_some() && rule.sign.is_some() && rule.sign != of_type {
                let what = format!("projection {i} has a sign that Dale's law forbids to the type of its neurons");
                return Err(CoreError::Population { what });
            }
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), CoreError> {
        let above_0 = [
            ("dt_ms", self.dt_ms),
            ("threshold", self.threshold),
            ("temperature", self.temperature),
            ("p_scale", self.p_scale),
            ("membrane time constant of excitatory neurons", self.tau_exc_ms),
            ("membrane time constant of inhibitory neurons", self.tau_inh_ms),
        ];
        for (what, value) in above_0 {
            if !(value.is_finite() && value > 0.0) {
                return Err(range(what, value, "finite and above 0"));
            }
        }
        if self.p_scale > 1.0 {
            return Err(range("p_scale", self.p_scale, "at most 1"));
        }
        for (what, value) in [("noise level sigma", self.sigma), ("current_scale", self.current_scale)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(range(what, value, "finite and at least 0"));
            }
        }
        let (Surrogate::Sigmoid { gamma } | Surrogate::Triangle { gamma }) = self.surrogate;
        if gamma.is_finite() {
            Ok(())
        } else {
            Err(range("dampening of the surrogate", f64::from(gamma), "finite"))
        }
    }

    fn check_behaviour(&self) -> Result<(), CoreError> {
        let Some(behaviour) = &self.behaviour else {
            return Ok(());
        };
        if behaviour.traces.is_empty() {
            return Err(CoreError::Population {
                what: "the behaviour readout names no trace; at least one is needed".into(),
            });
        }
        for trace in &behaviour.traces {
            if !(trace.tau_ms.is_finite() && trace.tau_ms > 0.0) {
                let what = format!("time constant of the behaviour readout '{}'", trace.name);
                return Err(range(&what, trace.tau_ms, "finite and above 0"));
            }
            if let Some(bad) = trace.motor_areas.iter().find(|area| **area >= self.areas.len()) {
                return Err(range("index of a motor area", *bad as f64, "below the number of areas"));
            }
            if !(0..self.n_neurons()).any(|n| self.is_motor(trace, n)) {
                let what = format!(
                    "no excitatory neuron in the motor areas of behaviour '{}'; name areas that have some",
                    trace.name
                );
                return Err(CoreError::Population { what });
            }
        }
        match behaviour.feedback {
            Some(feedback) if feedback.first_lag == 0 || feedback.n_lags == 0 => Err(range(
                "shortest lag or number of lags of the feedback",
                0.0,
                "at least 1",
            )),
            _ => Ok(()),
        }
    }
}

pub(super) fn range(what: &str, value: f64, expected: &'static str) -> CoreError {
    CoreError::Range {
        what: what.into(),
        value,
        expected,
    }
}
