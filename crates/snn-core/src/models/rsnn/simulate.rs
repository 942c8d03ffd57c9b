//! Simulating trials of an RSNN, and the gradient of every trained parameter.

use super::readout::{ReadOut, Readout};
use super::{InputSpec, LatentSpec, Rsnn, Trials, inputs};
use crate::CoreError;
use crate::bits::{SpikeBits, for_each_set};
use crate::models::Parameters;
use crate::rng::Key;
#[cfg(feature = "wgpu")]
use crate::rollout::kernels::{DeviceRollout, Kernels};
use crate::rollout::{
    Channel, Drive, Gradients, InputEvents, Network, Noise, Rollout, Run, SpikeAdjoint, State, TrialOffset, Wanted,
    native, reference,
};
use crate::units::Ms;
use ndarray::{Array2, Array3, Zip};
use rayon::prelude::*;
use std::borrow::Cow;

/// Which implementation of the rollout runs.
#[derive(Debug, Clone)]
pub enum Engine {
    /// Event-driven, on the CPU.
    Native,
    /// The same, with the dense product of the gradient in 16-bit fixed point.
    NativeInt16,
    /// Unrolled tensor operations with autodiff.
    Reference,
    /// Kernels on a wgpu device.
    #[cfg(feature = "wgpu")]
    Kernels(Kernels),
}

/// A rollout where its engine left it.
#[derive(Debug)]
pub enum Rolled {
    /// In memory.
    Host(Box<Rollout>),
    /// On a wgpu device.
    #[cfg(feature = "wgpu")]
    Device(Box<DeviceRollout>),
}

impl Rolled {
    /// Spikes of the recorded steps `[K, T, N]`.
    ///
    /// # Errors
    /// A device that fails.
    pub fn spikes(&self) -> Result<Cow<'_, SpikeBits>, CoreError> {
        match self {
            Self::Host(rollout) => Ok(Cow::Borrowed(&rollout.spikes)),
            #[cfg(feature = "wgpu")]
            Self::Device(rollout) => Ok(Cow::Owned(rollout.spikes()?)),
        }
    }

    /// Spikes summed over the trials of each condition, `[C, T, N]`, where the spikes are; of trial k only its first
    /// `valid[k]` steps, if that is given.
    ///
    /// # Errors
    /// Conditions or lengths that don't fit, a device that fails.
    pub fn sums_by_condition(
        &self,
        condition: &[usize],
        n_conditions: usize,
        valid: Option<&[usize]>,
    ) -> Result<Array3<f64>, CoreError> {
        match self {
            Self::Host(rollout) => rollout.spikes.sums_by_condition(condition, n_conditions, valid),
            #[cfg(feature = "wgpu")]
            Self::Device(rollout) => rollout.sums_by_condition(condition, n_conditions, valid),
        }
    }

    /// Spikes of each trial counted in segments of it, `[K, S, N]`, as [`SpikeBits::counts_in_segments`].
    ///
    /// # Errors
    /// Segments or lengths that don't fit, a device that fails.
    pub fn counts_in_segments(
        &self,
        of_step: &[u32],
        n_segments: usize,
        valid: Option<&[usize]>,
    ) -> Result<Array3<f64>, CoreError> {
        self.spikes()?.counts_in_segments(of_step, n_segments, valid)
    }

    /// Weighted sums of spikes per channel, `[K, T, R]`, where the spikes are.
    ///
    /// # Errors
    /// A device that fails.
    pub fn project(&self, channels: &[Channel]) -> Result<Array3<f64>, CoreError> {
        match self {
            Self::Host(rollout) => rollout.spikes.project(channels),
            #[cfg(feature = "wgpu")]
            Self::Device(rollout) => rollout.project(channels),
        }
    }

    /// As [`Rolled::project`], of the warm-up: `[K, warm-up, R]`.
    ///
    /// # Errors
    /// A device that fails.
    pub fn project_warmup(&self, channels: &[Channel]) -> Result<Array3<f64>, CoreError> {
        match self {
            Self::Host(rollout) => rollout.warmup.project(channels),
            #[cfg(feature = "wgpu")]
            Self::Device(rollout) => rollout.project_warmup(channels),
        }
    }

    /// Gradient of [`Rolled::project`] with respect to the weights of the channels' members, where the spikes are.
    ///
    /// # Errors
    /// A series of another shape than `[K, T, R]`, a device that fails.
    pub fn channel_weight_gradient(
        &self,
        channels: &[Channel],
        series: &Array3<f64>,
    ) -> Result<Vec<Vec<f64>>, CoreError> {
        match self {
            Self::Host(rollout) => rollout.spikes.channel_weight_gradient(channels, series),
            #[cfg(feature = "wgpu")]
            Self::Device(rollout) => rollout.channel_weight_gradient(channels, series),
        }
    }

    /// State after the last step.
    ///
    /// # Errors
    /// A device that fails.
    pub fn end(&self) -> Result<State, CoreError> {
        match self {
            Self::Host(rollout) => Ok(rollout.end.clone()),
            #[cfg(feature = "wgpu")]
            Self::Device(rollout) => Ok(rollout.to_host()?.end),
        }
    }

    /// The rollout, if it is in memory.
    pub fn host(&self) -> Option<&Rollout> {
        match self {
            Self::Host(rollout) => Some(rollout),
            #[cfg(feature = "wgpu")]
            Self::Device(_) => None,
        }
    }

    /// Probability of a spike in each recorded step `[K, T, N]`, given the spikes before it: 0 where the neuron is refractory, of
    /// clamped spikes what it would be without the clamp.
    ///
    /// # Errors
    /// A rollout without its potentials, a device that fails.
    pub fn probabilities(&self, network: &Network) -> Result<Array3<f32>, CoreError> {
        match self {
            Self::Host(rollout) => probabilities(network, rollout),
            #[cfg(feature = "wgpu")]
            Self::Device(rollout) => probabilities(network, &rollout.to_host()?),
        }
    }

    fn has_potentials(&self) -> bool {
        match self {
            Self::Host(rollout) => rollout.potentials.is_some(),
            #[cfg(feature = "wgpu")]
            Self::Device(rollout) => rollout.has_potentials(),
        }
    }
}

/// `p = p_scale σ(temperature (v⁻ − θ)/h)` of every neuron and step, `[K, T, N]`; 0 where it is refractory.
fn probabilities(network: &Network, rollout: &Rollout) -> Result<Array3<f32>, CoreError> {
    let Some(mut values) = rollout.potentials.clone() else {
        return Err(CoreError::Population {
            what: "potentials of the trials were not kept".into(),
        });
    };
    let mut rows: Vec<_> = values.outer_iter_mut().collect();
    rows.par_iter_mut().enumerate().for_each(|(k, trial)| {
        for (t, mut row) in trial.outer_iter_mut().enumerate() {
            Zip::from(&mut row)
                .and(&network.threshold)
                .and(&network.scale)
                .for_each(|v, threshold, scale| {
                    let x = f64::from(network.temperature) * f64::from((*v - threshold) / scale);
                    *v = (f64::from(network.p_scale) / (1.0 + (-x).exp())) as f32;
                });
            if network.n_refractory > 0 {
                for_each_set(rollout.refractory.row(k, t), |n| row[n] = 0.0);
            }
        }
    });
    drop(rows);
    Ok(values)
}

/// Which random numbers a simulation draws; streams `<stream>.input`, `<stream>.latent` and `<stream>.noise`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draws<'a> {
    /// Seed.
    pub seed: u64,
    /// Training step, or the number of the simulation.
    pub step: u32,
    /// Name of the stream, for example `"train"`.
    pub stream: &'a str,
    /// Number of the first trial within the whole batch: chunks of trials draw what the whole would.
    pub first_trial: u32,
}

/// Trials that were simulated, with what the gradient needs.
#[derive(Debug)]
pub struct Simulation {
    /// Spikes and states.
    pub rollout: Rolled,
    /// Behaviour traces `[K, T, B]`, if the network has a readout.
    pub behaviour: Option<Array3<f64>>,
    /// Latent ψ, and after it the stimulus where the latent sees it, `[K, L or L + 1]`, if the network has one.
    pub latent: Option<Array2<f64>>,
    /// Constants of the cell.
    pub network: Network,
    /// Arguments of the rollout.
    pub run: Run,
    /// Scaled recorded stimuli in use `[S, T, C]`.
    stimuli: Option<Array3<f32>>,
    /// Readout with its filter at the start `[K, B]` and at every step `[K, T, B]`.
    readout: Option<(Readout, Array2<f64>, Array3<f64>)>,
}

/// A rollout that is ready to run.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) network: Network,
    pub(super) run: Run,
    pub(super) latent: Option<Array2<f64>>,
    pub(super) stimuli: Option<Array3<f32>>,
}

/// Filter of the closed loop's traces at the first recorded step `[K, B]` and at every one `[K, T, B]`.
fn looped(rollout: &Rolled) -> Option<(Array2<f64>, Array3<f64>)> {
    let rollout = rollout.host()?;
    Some((rollout.start.feedback.as_ref()?.filter.clone(), rollout.traces.clone()?))
}

impl ReadOut for Rolled {
    fn weight_gradient(&self, channels: &[Channel], series: &Array3<f64>) -> Result<Vec<Vec<f64>>, CoreError> {
        self.channel_weight_gradient(channels, series)
    }
}

impl ReadOut for SpikeBits {
    fn weight_gradient(&self, channels: &[Channel], series: &Array3<f64>) -> Result<Vec<Vec<f64>>, CoreError> {
        self.channel_weight_gradient(channels, series)
    }
}

impl Engine {
    /// Rolls a network out.
    ///
    /// # Errors
    /// An array that doesn't fit, a device that fails.
    pub(crate) fn simulate(&self, network: &Network, run: &Run, keep_potentials: bool) -> Result<Rolled, CoreError> {
        match self {
            Self::Native | Self::NativeInt16 => {
                native::simulate(network, run, keep_potentials).map(|rollout| Rolled::Host(Box::new(rollout)))
            }
            Self::Reference => {
                reference::simulate(network, run, keep_potentials).map(|rollout| Rolled::Host(Box::new(rollout)))
            }
            #[cfg(feature = "wgpu")]
            Self::Kernels(kernels) => {
                let rollout = kernels.roll(network, run, keep_potentials)?;
                Ok(Rolled::Device(Box::new(rollout)))
            }
        }
    }

    /// Gradients of a rollout, given dL/dz and perhaps dL/dp `[K, T, N]`.
    ///
    /// # Errors
    /// As [`Engine::simulate`].
    pub(crate) fn backpropagate(
        &self,
        network: &Network,
        run: &Run,
        rollout: Rolled,
        adjoint: &SpikeAdjoint,
        d_probabilities: Option<&Array3<f32>>,
        wanted: Wanted,
    ) -> Result<Gradients, CoreError> {
        let d_p = d_probabilities;
        match (self, rollout) {
            (Self::Reference, Rolled::Host(rollout)) => {
                reference::backpropagate(network, run, *rollout, adjoint, d_p, wanted)
            }
            #[cfg(feature = "wgpu")]
            (Self::Kernels(kernels), Rolled::Host(rollout)) => kernels
                .adopt(network, run, &rollout)?
                .backpropagate(network, run, adjoint, d_p, wanted),
            (Self::Native, Rolled::Host(rollout)) => {
                native::backpropagate(network, run, *rollout, adjoint, d_p, wanted)
            }
            (Self::NativeInt16, Rolled::Host(rollout)) => {
                let precision = native::Precision::Int16;
                native::backpropagate_with(precision, network, run, *rollout, adjoint, d_p, wanted)
            }
            #[cfg(feature = "wgpu")]
            (Self::Kernels(_), Rolled::Device(rollout)) => rollout.backpropagate(network, run, adjoint, d_p, wanted),
            #[cfg(feature = "wgpu")]
            (Self::Native | Self::NativeInt16 | Self::Reference, Rolled::Device(rollout)) => self.backpropagate(
                network,
                run,
                Rolled::Host(Box::new(rollout.to_host()?)),
                adjoint,
                d_p,
                wanted,
            ),
        }
    }
}

impl Rsnn {
    /// Simulates trials for `n_steps` recorded steps, after the warm-up from rest.
    ///
    /// Chunks of trials (with their own `first_trial`) give the same spikes as all trials at once. Allocates K·T·N
    /// bits, and K·T·N f32 when potentials are kept.
    ///
    /// # Errors
    /// Trials that don't fit the network's input, no trial, no step, parameters that don't fit the specification.
    pub fn simulate(
        &self,
        engine: &Engine,
        trials: &Trials,
        n_steps: usize,
        draws: Draws<'_>,
        keep_potentials: bool,
    ) -> Result<Simulation, CoreError> {
        let prepared = self.prepare(trials, n_steps, draws)?;
        let readout = Readout::new(&self.spec, &self.parameters)?;
        let readout = readout.map(|readout| {
            let rest = readout.at_rest(prepared.run.n_trials);
            (readout, rest)
        });
        Self::roll(engine, prepared, readout, keep_potentials)
    }

    /// Spikes of the inputs in trials that are simulated with these draws, warm-up first; none where inputs don't spike.
    ///
    /// # Errors
    /// Stimulus values that the inputs can't answer to.
    pub fn input_events(
        &self,
        trials: &Trials,
        n_steps: usize,
        draws: Draws<'_>,
    ) -> Result<Option<InputEvents>, CoreError> {
        let spec = &self.spec;
        let InputSpec::Poisson(input) = &spec.input else {
            return Ok(None);
        };
        let key = Key::new(draws.seed, &format!("{}.input", draws.stream));
        let place = (key, draws.step, draws.first_trial);
        let steps = (spec.n_warmup, n_steps);
        input.events(trials, steps, Ms(spec.dt_ms), place).map(Some)
    }

    /// Draws inputs and latents and lays out the arguments of the rollout.
    pub(super) fn prepare(&self, trials: &Trials, n_steps: usize, draws: Draws<'_>) -> Result<Prepared, CoreError> {
        let spec = &self.spec;
        let n_trials = trials.stimulus.len();
        for (what, value) in [("number of trials", n_trials), ("number of steps", n_steps)] {
            if value == 0 {
                return Err(CoreError::Range {
                    what: what.into(),
                    value: 0.0,
                    expected: "at least 1",
                });
            }
        }
        let key = |part: &str| Key::new(draws.seed, &format!("{}.{part}", draws.stream));
        let network = self.network()?;
        let events = self.input_events(trials, n_steps, draws)?;
        let (mut drive, mut stimuli) = (None, None);
        if let InputSpec::Recorded(input) = &spec.input {
            let (used, index) = input.select(trials, n_steps)?;
            let mut values = inputs::current(input, &used, &self.parameters.matrix("w_in")?);
            values *= &network.gain;
            drive = Some(Drive { values, index });
            stimuli = Some(used);
        }
        if let Some(bad) = trials.stimulus.iter().find(|value| !value.is_finite())
            && spec.latent.as_ref().is_some_and(|latent| latent.stimulus.is_some())
        {
            return Err(CoreError::Range {
                what: "stimulus that a latent sees".into(),
                value: *bad,
                expected: "finite",
            });
        }
        let latent = spec
            .latent
            .as_ref()
            .map(|latent| latent.draw(&trials.stimulus, key("latent"), draws.step, draws.first_trial));
        let v_rest = self.parameters.vector("v_rest")?.to_owned();
        let run = Run {
            n_trials,
            n_warmup: spec.n_warmup,
            n_steps,
            events,
            drive,
            trial_offset: match (&spec.latent, &latent) {
                (Some(latent), Some(psi)) => Some(self.trial_offset(latent, psi, n_steps)?),
                _ => None,
            },
            noise: Noise::Philox {
                key: key("noise"),
                step: draws.step,
                first_trial: draws.first_trial,
                first_time: 0,
            },
            clamp: None,
            initial: State {
                feedback: network.feedback.as_ref().map(|feedback| feedback.at_rest(n_trials)),
                ..State::at_rest(n_trials, network.max_delay(), &v_rest)
            },
        };
        Ok(Prepared {
            network,
            run,
            latent,
            stimuli,
        })
    }

    /// Drive `c = (1 − α)·o` of each trial; the offset isn't halved like the current.
    pub(super) fn trial_offset(
        &self,
        latent: &LatentSpec,
        psi: &Array2<f64>,
        n_steps: usize,
    ) -> Result<TrialOffset, CoreError> {
        let offset = latent.offset(&self.parameters, psi, self.spec.threshold)?;
        Ok(TrialOffset {
            values: (offset * (1.0 - self.alpha())).mapv(|x| x as f32),
            course: latent.course(n_steps),
        })
    }

    /// Runs the rollout; `readout` comes with its filter's value before the first step of the warm-up, `[K, B]`.
    pub(super) fn roll(
        engine: &Engine,
        prepared: Prepared,
        readout: Option<(Readout, Array2<f64>)>,
        keep_potentials: bool,
    ) -> Result<Simulation, CoreError> {
        let Prepared {
            network,
            run,
            latent,
            stimuli,
        } = prepared;
        let rollout = engine.simulate(&network, &run, keep_potentials)?;
        let readout = match (readout, looped(&rollout)) {
            (None, _) => None,
            (Some((readout, _)), Some((start, filtered))) => Some((readout, start, filtered)),
            (Some((readout, before)), None) => {
                let channels = readout.channels();
                let (warmup, recorded) = (rollout.project_warmup(&channels)?, rollout.project(&channels)?);
                let (start, filtered) = readout.follow(before, warmup, recorded);
                Some((readout, start, filtered))
            }
        };
        let behaviour = readout.as_ref().map(|(readout, _, filtered)| readout.traces(filtered));
        Ok(Simulation {
            rollout,
            behaviour,
            latent,
            network,
            run,
            stimuli,
            readout,
        })
    }

    /// Gradients of all trained parameters of a scalar L, given dL/dspikes and dL/dbehaviour `[K, T, B]`.
    ///
    /// The network must still have the parameters that it was simulated with. Where potentials were not kept, the
    /// rollout is simulated once more (the same spikes, bit by bit).
    ///
    /// # Errors
    /// Adjoints of another shape than the simulation; a behaviour gradient for a network without readout.
    pub fn backward(
        &self,
        engine: &Engine,
        simulation: Simulation,
        mut adjoint: SpikeAdjoint,
        d_behaviour: Option<&Array3<f64>>,
    ) -> Result<Parameters, CoreError> {
        let Simulation {
            mut rollout,
            latent,
            network,
            run,
            stimuli,
            readout,
            ..
        } = simulation;
        adjoint.check(run.n_trials, run.n_steps, network.n_neurons())?;
        match (&readout, d_behaviour) {
            (Some((readout, _, filtered)), Some(d)) => readout.add_to(&mut adjoint, filtered, d)?,
            (None, Some(_)) => {
                return Err(CoreError::Population {
                    what: "a gradient of behaviour traces was given, but the network has no readout".into(),
                });
            }
            (_, None) => {}
        }
        let wanted = Wanted {
            noise: self.spec.sigma > 0.0 && (self.spec.train_resting_potential || self.spec.train_noise_gain),
            trial_offset: latent.is_some(),
            drive: run.drive.is_some(),
            history: false,
        };
        if !rollout.has_potentials() {
            rollout = engine.simulate(&network, &run, true)?;
        }
        // The closed loop adds to the traces' gradient, so that the readout's own comes after the rollout's, which uses
        // up the spikes; otherwise it comes before.
        let is_closed = network.feedback.is_some();
        let mut own = Parameters::new();
        let mut spikes = None;
        match (&readout, d_behaviour) {
            (Some(_), _) if is_closed => spikes = Some(rollout.spikes()?.into_owned()),
            (Some((readout, start, filtered)), Some(d)) => own = readout.gradients(&rollout, start, filtered, d)?,
            _ => {}
        }
        let mut gradients = engine.backpropagate(&network, &run, rollout, &adjoint, None, wanted)?;
        if let (Some((readout, start, filtered)), Some(spikes), Some(through)) =
            (&readout, spikes, &mut gradients.feedback)
        {
            let mut d = std::mem::take(&mut through.traces);
            if let Some(outside) = d_behaviour {
                d += outside;
            }
            own = readout.gradients(&spikes, start, filtered, &d)?;
        }
        let mut out = self.cell_gradients(&mut gradients)?;
        out.add(&own)?;
        if let (Some(latent), Some(psi), Some(d)) = (&self.spec.latent, &latent, &gradients.trial_offset) {
            let d_offset = d.mapv(f64::from) * (1.0 - self.alpha());
            out.add(&latent.backward(&self.parameters, psi, self.spec.threshold, d_offset)?)?;
        }
        if let (InputSpec::Recorded(input), Some(stimuli), Some(d)) = (&self.spec.input, &stimuli, gradients.drive) {
            let d_current = d * &network.gain;
            out.insert("w_in", inputs::current_adjoint(input, stimuli, &d_current));
        }
        Ok(out)
    }
}
