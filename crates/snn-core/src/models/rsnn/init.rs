//! Making a network, mapping its parameters onto the cell and back, and the projection after an update.

use super::readout::{self, Readout};
use super::spec::{RsnnSpec, THRESHOLD_OF_UNIT_SCALE};
use super::{InputSpec, Rsnn};
use crate::CoreError;
use crate::connectivity::{initial_input_weights, project_inputs};
use crate::models::Parameters;
use crate::models::parameters::misfit;
use crate::rng::StreamRng;
use crate::rollout::{Gradients, Network};
use ndarray::{Array1, Array2, ArrayD, Ix2, Ix3, Zip};
use rand::RngExt;

/// Added to the threshold of a neuron whose resting potential has reached it (specification §1.3, step 1).
const THRESHOLD_BUMP: f64 = 0.001;

/// Sequences of the stream "init": one per parameter, so that adding one leaves the others' draws alone.
#[derive(Clone, Copy)]
enum Draw {
    Recurrent,
    Input,
    RestingPotential,
    Latent,
    Readout,
    Feedback,
}

impl Rsnn {
    /// A network with initial parameters from stream `"init"` of `seed`.
    ///
    /// `v_rest ~ (U(0, 1) − ½)/√N` if trained, else 0; `noise_gain` = 1; weights as in
    /// [`crate::connectivity::Connectivity::initial_weights`] and [`initial_input_weights`].
    ///
    /// # Errors
    /// See [`RsnnSpec::check`].
    ///
    /// # Source
    /// Specification §1.6–1.8.
    ///
    /// # Departures
    /// Initial resting potentials are clipped to ±threshold, as the projection would do after the first update.
    /// Weights of a recorded stimulus (not in the paper) start from U(−1, 1)·threshold/√N_in.
    pub fn new(spec: RsnnSpec, seed: u64) -> Result<Self, CoreError> {
        spec.check()?;
        let rng = |draw: Draw| StreamRng::new(seed, "init", draw as u64);
        let n = spec.n_neurons();
        let unit = spec.threshold / THRESHOLD_OF_UNIT_SCALE;
        let mut parameters = Parameters::new();
        let w = spec
            .connectivity()
            .initial_weights(spec.delays.len(), &mut rng(Draw::Recurrent));
        parameters.insert("w", w);
        if spec.input != InputSpec::None {
            let scale = if matches!(spec.input, InputSpec::Recorded(_)) {
                spec.threshold
            } else {
                unit
            };
            // Initial signs follow the types even where Dale's law doesn't hold later.
            let signs = spec.input.signs(true);
            parameters.insert("w_in", initial_input_weights(&signs, n, scale, &mut rng(Draw::Input)));
        }
        parameters.insert(
            "v_rest",
            initial_resting_potential(&spec, &mut rng(Draw::RestingPotential)),
        );
        parameters.insert("noise_gain", Array1::<f32>::ones(n));
        if let Some(latent) = &spec.latent {
            parameters.add(&latent.initial(n, unit, &mut rng(Draw::Latent)))?;
        }
        if let Some(behaviour) = &spec.behaviour {
            parameters.add(&behaviour.initial(&spec, &mut rng(Draw::Readout)))?;
            if let Some(feedback) = behaviour.feedback {
                let kernel = feedback.initial(behaviour.traces.len(), n, &mut rng(Draw::Feedback));
                parameters.insert("feedback.kernel", kernel);
            }
        }
        Self::with_parameters(spec, parameters)
    }

    /// A network with given parameters, for example from a checkpoint.
    ///
    /// # Errors
    /// See [`RsnnSpec::check`]; a parameter that is missing, unknown or of another shape.
    pub fn with_parameters(spec: RsnnSpec, parameters: Parameters) -> Result<Self, CoreError> {
        spec.check()?;
        let shapes = spec.parameter_shapes();
        for (name, shape) in &shapes {
            let found = parameters.get(name).map(ArrayD::shape);
            if found != Some(shape.as_slice()) {
                return Err(misfit(name, found, &format!("shape {shape:?}")));
            }
        }
        if let Some((name, array)) = parameters
            .iter()
            .find(|(name, _)| !shapes.iter().any(|(known, _)| known == name))
        {
            return Err(misfit(
                name,
                Some(array.shape()),
                "no parameter of that name in this network",
            ));
        }
        Ok(Self { spec, parameters })
    }

    /// True when the parameter of that name gets a gradient.
    pub fn is_trained(&self, name: &str) -> bool {
        match name {
            "v_rest" => self.spec.train_resting_potential,
            "noise_gain" => self.spec.train_noise_gain,
            _ => self.parameters.get(name).is_some(),
        }
    }

    /// Name and flat index of the first parameter value that is NaN or infinite.
    pub fn first_non_finite(&self) -> Option<(&str, usize)> {
        self.parameters.first_non_finite()
    }

    /// Constants of the cell: per neuron, with α its decay, κ its noise gain and v its resting potential,
    ///
    /// ```text
    /// g = (1 − α)·current_scale    b = (1 − α) v    s = κ(θ₀ − v) σ √dt    θ = h = θ₀    R = θ − v
    /// ```
    /// where θ is 0.001 above θ₀ for a neuron whose v has reached θ₀. Copies the weights.
    ///
    /// # Errors
    /// Parameters that don't fit the specification any more.
    ///
    /// # Source
    /// Specification §1.3.
    pub fn network(&self) -> Result<Network, CoreError> {
        let spec = &self.spec;
        let (v, kappa) = (
            self.parameters.vector("v_rest")?.mapv(f64::from),
            self.parameters.vector("noise_gain")?.mapv(f64::from),
        );
        let alpha = self.alpha();
        let threshold = v.mapv(|v| {
            if v >= spec.threshold {
                spec.threshold + THRESHOLD_BUMP
            } else {
                spec.threshold
            }
        });
        let single = |a: &Array1<f64>| a.mapv(|x| x as f32);
        // A recorded stimulus enters as drive, not through input events.
        let w_in = match spec.input {
            InputSpec::Poisson(_) => self.parameters.matrix("w_in")?.to_owned(),
            InputSpec::None | InputSpec::Recorded(_) => Array2::zeros((0, spec.n_neurons())),
        };
        let network = Network {
            w: self.parameters.cube("w")?.to_owned(),
            delays: spec.delays.clone(),
            w_in,
            gain: single(&self.gain()),
            bias: single(&((1.0 - &alpha) * &v)),
            noise: single(&(kappa * (spec.threshold - &v) * self.noise_scale())),
            reset: single(&(&threshold - &v)),
            scale: single(&threshold),
            threshold: single(&threshold),
            alpha: single(&alpha),
            temperature: spec.temperature as f32,
            p_scale: spec.p_scale as f32,
            n_refractory: spec.n_refractory,
            surrogate: spec.surrogate,
            surrogate_floor: 0.0,
            feedback: Readout::new(spec, &self.parameters)?
                .map(|readout| readout.feedback(spec, &self.parameters))
                .transpose()?
                .flatten(),
        };
        network.check()?;
        Ok(network)
    }

    /// Decay per step α, `[N]`.
    pub(super) fn alpha(&self) -> Array1<f64> {
        self.spec.neurons.iter().map(|n| self.spec.decay(*n)).collect()
    }

    /// Gain of the synaptic current, `[N]`.
    pub(super) fn gain(&self) -> Array1<f64> {
        (1.0 - self.alpha()) * self.spec.current_scale
    }

    /// `σ√dt`.
    fn noise_scale(&self) -> f64 {
        self.spec.sigma * self.spec.dt_ms.sqrt()
    }

    /// Gradients of `w`, spiking `w_in`, `v_rest` and `noise_gain` from those of the cell's constants: the adjoint
    /// of [`Rsnn::network`].
    pub(super) fn cell_gradients(&self, gradients: &mut Gradients) -> Result<Parameters, CoreError> {
        let spec = &self.spec;
        let (v, kappa) = (self.parameters.vector("v_rest")?, self.parameters.vector("noise_gain")?);
        let n = spec.n_neurons();
        let d_noise = gradients
            .noise
            .take()
            .unwrap_or_else(|| Array1::zeros(n))
            .mapv(f64::from)
            * self.noise_scale();
        let mut out = Parameters::new();
        out.insert("w", std::mem::take(&mut gradients.w));
        if matches!(spec.input, InputSpec::Poisson(_)) {
            out.insert("w_in", std::mem::take(&mut gradients.w_in));
        }
        if spec.train_resting_potential {
            let mut d_v = (1.0 - self.alpha()) * gradients.bias.mapv(f64::from) - gradients.reset.mapv(f64::from);
            Zip::from(&mut d_v)
                .and(&d_noise)
                .and(&kappa)
                .for_each(|d, noise, kappa| *d -= noise * f64::from(*kappa));
            out.insert("v_rest", d_v.mapv(|x| x as f32));
        }
        if let Some(feedback) = &mut gradients.feedback {
            out.insert("feedback.kernel", std::mem::take(&mut feedback.kernel));
        }
        if spec.train_noise_gain {
            let d_kappa = Zip::from(&d_noise)
                .and(&v)
                .map_collect(|noise, v| (noise * (spec.threshold - f64::from(*v))) as f32);
            out.insert("noise_gain", d_kappa);
        }
        Ok(out)
    }

    /// Brings parameters back to the allowed set after an update with learning rate `lr` and weight penalty `l1`:
    /// recurrent and input weights by [`crate::connectivity`], `v_rest` to ±threshold, the readout's baseline and
    /// standard deviation to at least 0.001; the latent's last map decays. Noise gain and readout weights are free.
    ///
    /// # Source
    /// Specification §1.10.
    pub fn project(&mut self, lr: f64, l1: f64) {
        let connectivity = self.spec.connectivity();
        let signs = self.spec.input.signs(self.spec.has_dale);
        if let Some(latent) = &self.spec.latent {
            latent.decay(&mut self.parameters, lr);
        }
        let (lr, l1) = (lr as f32, l1 as f32);
        if let Some(w) = self.parameters.view_mut::<Ix3>("w") {
            connectivity.project(w, lr, l1);
        }
        if let Some(w_in) = self.parameters.view_mut::<Ix2>("w_in") {
            project_inputs(w_in, &signs, lr, l1);
        }
        if let Some(v_rest) = self.parameters.get_mut("v_rest") {
            let bound = self.spec.threshold as f32;
            v_rest.mapv_inplace(|v| v.clamp(-bound, bound));
        }
        readout::project(&mut self.parameters);
    }
}

fn initial_resting_potential(spec: &RsnnSpec, rng: &mut StreamRng) -> Array1<f32> {
    let n = spec.n_neurons();
    if !spec.train_resting_potential {
        return Array1::zeros(n);
    }
    let draw = |_| ((rng.random::<f64>() - 0.5) / (n as f64).sqrt()).clamp(-spec.threshold, spec.threshold) as f32;
    Array1::from_shape_fn(n, draw)
}
