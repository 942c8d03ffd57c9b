//! The engine `reference`: the loop of [`super`] unrolled in burn tensor operations and differentiated by autodiff.
//!
//! This is the definition of the model in executable form: slow, on any burn device, in f32 or f64, and the oracle of
//! the other engines. One step of the cell stands in `cell`; everything else carries arrays to and
//! from it. What it is not: an engine to fit with. It keeps every intermediate tensor of a trial in memory.
//!
//! The spike is `z = z_hard + ψ (x − detach(x))` with z_hard and ψ detached, so its value is 0 or 1 and its
//! derivative ψ; ψ = 0 where a neuron is clamped or refractory. The derivative of p is exact everywhere.

mod cell;
mod host;
mod values;

pub use values::{Gradients64, Rollout64, State64, Values};

use super::{Gradients, Network, Rollout, Run, SpikeAdjoint, Wanted, shape};
use crate::CoreError;
use crate::bits::SpikeBits;
use burn::tensor::{Device, Tensor};
use host::Reader;
use ndarray::{Array3, s};

/// Number format on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Double precision; the CPU device (flex) has it.
    F64,
}

/// What stands for a spike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpikeMode {
    /// `z = [u < p]`, with the surrogate derivative.
    #[default]
    Sampled,
    /// `z = p`: no sampling, an ordinary differentiable function to hold against finite differences. Clamped spikes
    /// stay as recorded; only they start a refractory period, since a probability doesn't.
    Smooth,
}

/// The reference engine: where and how it computes.
#[derive(Debug, Clone)]
pub struct Reference {
    /// A burn device, without autodiff.
    pub device: Device,
    /// Number format on the device.
    pub precision: Precision,
    /// What stands for a spike.
    pub spike: SpikeMode,
}

/// Simulates a run in f32 on the CPU; allocates O(K·T·N).
///
/// # Errors
/// When an array doesn't fit ([`Run::check`]) or there is nothing to simulate.
pub fn simulate(network: &Network, run: &Run, keep_potentials: bool) -> Result<Rollout, CoreError> {
    Reference::default().simulate(network, run, keep_potentials)
}

/// Gradients of `L` given dL/dz and dL/dp `[K, T, N]`, in f32 on the CPU; allocates O(K·T·N) many times over.
///
/// # Errors
/// When an array doesn't fit.
#[allow(clippy::needless_pass_by_value)] // the signature of every engine; others reuse the rollout's memory
pub fn backpropagate(
    network: &Network,
    run: &Run,
    rollout: Rollout,
    adjoint: &SpikeAdjoint,
    d_probabilities: Option<&Array3<f32>>,
    wanted: Wanted,
) -> Result<Gradients, CoreError> {
    Reference::default().backpropagate(network, run, &rollout, adjoint, d_probabilities, wanted)
}
impl Default for Reference {
    /// f32 on the CPU, sampled spikes.
    fn default() -> Self {
        Self {
            device: Device::flex(),
            precision: Precision::F32,
            spike: SpikeMode::Sampled,
        }
    }
}

impl Reference {
    /// Simulates a run; the f32 form of [`Self::simulate_values`].
    ///
    /// # Errors
    /// As there; also in the smooth mode, whose spikes don't fit into bits.
    pub fn simulate(&self, network: &Network, run: &Run, keep_potentials: bool) -> Result<Rollout, CoreError> {
        self.refuse_smooth()?;
        let values = Values::of(network, run)?;
        Ok(self.simulate_values(network, run, &values)?.to_rollout(keep_potentials))
    }

    /// Gradients at a rollout of this or another engine; the f32 form of [`Self::backpropagate_values`].
    ///
    /// # Errors
    /// As there; also in the smooth mode.
    pub fn backpropagate(
        &self,
        network: &Network,
        run: &Run,
        rollout: &Rollout,
        adjoint: &SpikeAdjoint,
        d_probabilities: Option<&Array3<f32>>,
        wanted: Wanted,
    ) -> Result<Gradients, CoreError> {
        self.refuse_smooth()?;
        let values = Values::of(network, run)?;
        shape(
            "spikes of the rollout",
            &rollout.spikes.shape(),
            &[run.n_trials, run.n_steps, network.n_neurons()],
        )?;
        let (start, spikes) = (State64::of(&rollout.start), rollout.spikes.to_array().mapv(f64::from));
        let d_spikes = dense_adjoint(adjoint, spikes.dim())?;
        let d_probabilities = d_probabilities.map(|d| d.mapv(f64::from));
        let gradients = self.differentiate(
            network,
            run,
            &values,
            &start,
            &spikes,
            &d_spikes,
            d_probabilities.as_ref(),
        )?;
        Ok(gradients.to_gradients(wanted))
    }

    /// Simulates a run on given f64 values, with every potential and probability; allocates O(K·T·N).
    ///
    /// # Errors
    /// When an array doesn't fit, there is no trial, step or neuron, or the device lacks the precision or fails.
    pub fn simulate_values(&self, network: &Network, run: &Run, values: &Values) -> Result<Rollout64, CoreError> {
        self.check(network, run, values)?;
        let stage = self.stage(self.device.clone(), network, run, values);
        let mut state = stage.carried(&values.initial);
        let before: Vec<Tensor<2>> = (0..run.n_warmup)
            .map(|t| self.step(&stage.cell, stage.input(t, None), &mut state).spikes)
            .collect();
        let start = self.read_state(&state)?;
        let moments: Vec<cell::Moment> = (run.n_warmup..run.n_warmup + run.n_steps)
            .map(|t| self.step(&stage.cell, stage.input(t, None), &mut state))
            .collect();
        let series = |pick: fn(&cell::Moment) -> &Tensor<2>| self.read_series(moments.iter().map(pick));
        let warmup = if before.is_empty() {
            SpikeBits::zeros(run.n_trials, 0, network.n_neurons())
        } else {
            values::bits(&self.read_series(before.iter())?)
        };
        Ok(Rollout64 {
            warmup,
            spikes: series(|m| &m.spikes)?,
            refractory: values::bits(&series(|m| &m.refractory)?),
            potentials: series(|m| &m.potentials)?,
            probabilities: series(|m| &m.probabilities)?,
            start,
            end: self.read_state(&state)?,
        })
    }

    /// Gradients of `L` given dL/dz and dL/dp `[K, T, N]` at a rollout: the recorded steps run again under autodiff
    /// with the loss `Σ dL/dz · z + Σ dL/dp · p`, from the rollout's start (the warm-up stays outside the graph) and
    /// holding to its spikes.
    ///
    /// # Errors
    /// As [`Self::simulate_values`].
    pub fn backpropagate_values(
        &self,
        network: &Network,
        run: &Run,
        values: &Values,
        rollout: &Rollout64,
        d_spikes: &Array3<f64>,
        d_probabilities: Option<&Array3<f64>>,
    ) -> Result<Gradients64, CoreError> {
        self.differentiate(
            network,
            run,
            values,
            &rollout.start,
            &rollout.spikes,
            d_spikes,
            d_probabilities,
        )
    }

    fn differentiate(
        &self,
        network: &Network,
        run: &Run,
        values: &Values,
        start: &State64,
        spikes: &Array3<f64>,
        d_spikes: &Array3<f64>,
        d_probabilities: Option<&Array3<f64>>,
    ) -> Result<Gradients64, CoreError> {
        self.check(network, run, values)?;
        let (k, n) = (run.n_trials, network.n_neurons());
        shape("start potential", start.v.shape(), &[k, n])?;
        shape("start refractory counter", start.refractory.shape(), &[k, n])?;
        shape("start history", start.history.shape(), &[k, network.max_delay(), n])?;
        for (what, a) in [
            ("spikes of the rollout", Some(spikes)),
            ("dL/dz", Some(d_spikes)),
            ("dL/dp", d_probabilities),
        ] {
            shape(what, a.unwrap_or(spikes).shape(), &[k, run.n_steps, n])?;
        }
        let mut stage = self.stage(self.device.clone().autodiff(), network, run, values);
        stage.cell.require_gradients();
        let mut state = stage.carried(start);
        state.past.iter_mut().for_each(|z| *z = z.clone().require_grad());
        let history: Vec<Tensor<2>> = state.past.iter().cloned().collect();
        let mut loss: Option<Tensor<1>> = None;
        for t in 0..run.n_steps {
            let stored = (self.spike == SpikeMode::Sampled).then(|| stage.rows(spikes, t));
            let moment = self.step(&stage.cell, stage.input(run.n_warmup + t, stored), &mut state);
            let mut part = (stage.rows(d_spikes, t) * moment.spikes).sum();
            if let Some(d) = d_probabilities {
                part = part + (stage.rows(d, t) * moment.probabilities).sum();
            }
            loss = Some(match loss {
                Some(sum) => sum + part,
                None => part,
            });
        }
        let gradients = loss.map(|loss| loss.backward());
        Reader {
            reference: self,
            gradients,
        }
        .read(&stage.cell, &history, values)
    }

    fn refuse_smooth(&self) -> Result<(), CoreError> {
        match self.spike {
            SpikeMode::Sampled => Ok(()),
            SpikeMode::Smooth => Err(CoreError::Range {
                what: "spikes of the smooth mode".into(),
                value: f64::NAN,
                expected: "0 or 1; take simulate_values and backpropagate_values",
            }),
        }
    }

    fn check(&self, network: &Network, run: &Run, values: &Values) -> Result<(), CoreError> {
        values.check(network, run)?;
        for (what, number) in [
            ("trials", run.n_trials),
            ("steps", run.n_steps),
            ("neurons", network.n_neurons()),
        ] {
            if number == 0 {
                let what = format!("number of {what} of a simulation");
                return Err(CoreError::Range {
                    what,
                    value: 0.0,
                    expected: "at least 1",
                });
            }
        }
        if !self.device.supports_dtype(self.dtype()) {
            return Err(self.failure(format!("it can't compute in {:?}", self.precision)));
        }
        Ok(())
    }
}

/// The adjoint as one array `[K, T, N]`.
fn dense_adjoint(adjoint: &SpikeAdjoint, dims: (usize, usize, usize)) -> Result<Array3<f64>, CoreError> {
    let (k, t, n) = dims;
    adjoint.check(k, t, n)?;
    let mut out = Array3::zeros((k, t, n));
    let mut row = vec![0.0f32; n];
    for k in 0..k {
        for t in 0..t {
            row.fill(0.0);
            adjoint.add_row(k, t, &mut row);
            out.slice_mut(s![k, t, ..])
                .iter_mut()
                .zip(&row)
                .for_each(|(to, d)| *to = f64::from(*d));
        }
    }
    Ok(out)
}
