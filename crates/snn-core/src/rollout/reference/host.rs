//! Between host and device: a network and a run as tensors, the input of each step, gradients back as arrays.

use super::cell::{Carried, Cell, Input};
use super::{Gradients64, Precision, Reference, State64, Values};
use crate::CoreError;
use crate::rollout::{Network, Run};
use burn::tensor::{DType, Device, Tensor, TensorData};
use ndarray::{Array1, Array2, Array3, ArrayView2, Axis, s};

impl Reference {
    pub(super) fn dtype(&self) -> DType {
        match self.precision {
            Precision::F32 => DType::F32,
            Precision::F64 => DType::F64,
        }
    }

    pub(super) fn failure(&self, reason: String) -> CoreError {
        CoreError::Device {
            asked: format!("{:?}", self.device),
            reason,
        }
    }

    /// Puts a matrix on a device in this engine's precision.
    #[allow(clippy::needless_pass_by_value)] // views are handed over as they are made
    fn put(&self, device: &Device, a: ArrayView2<'_, f64>) -> Tensor<2> {
        let dims = [a.nrows(), a.ncols()];
        let data = match self.precision {
            Precision::F32 => TensorData::new(a.iter().map(|v| *v as f32).collect::<Vec<f32>>(), dims),
            Precision::F64 => TensorData::new(a.iter().copied().collect::<Vec<f64>>(), dims),
        };
        Tensor::from_data(data, (device, self.dtype()))
    }

    /// Brings a matrix back to the host.
    fn read(&self, tensor: &Tensor<2>) -> Result<Array2<f64>, CoreError> {
        let dims = tensor.dims();
        let values: Vec<f64> = tensor.try_to_vec_as().map_err(|e| self.failure(e.to_string()))?;
        Array2::from_shape_vec(dims, values).map_err(|e| self.failure(e.to_string()))
    }

    /// Brings matrices `[K, N]` of many steps back as `[K, T, N]`.
    pub(super) fn read_series<'a>(&self, steps: impl Iterator<Item = &'a Tensor<2>>) -> Result<Array3<f64>, CoreError> {
        let steps = steps.map(|step| self.read(step)).collect::<Result<Vec<_>, _>>()?;
        let views: Vec<_> = steps.iter().map(|a| a.view()).collect();
        ndarray::stack(Axis(1), &views).map_err(|e| self.failure(e.to_string()))
    }

    pub(super) fn read_state(&self, state: &Carried) -> Result<State64, CoreError> {
        Ok(State64 {
            v: self.read(&state.v)?,
            refractory: self.read(&state.refractory)?.mapv(|r| r as u8),
            history: self.read_series(state.past.iter())?,
        })
    }

    pub(super) fn stage<'a>(
        &'a self,
        device: Device,
        network: &'a Network,
        run: &'a Run,
        values: &'a Values,
    ) -> Stage<'a> {
        let row = |a: &Array1<f64>| self.put(&device, a.view().insert_axis(Axis(0)));
        let has_inputs = run.events.is_some() && values.w_in.nrows() > 0;
        let cell = Cell {
            w: values.w.outer_iter().map(|w| self.put(&device, w)).collect(),
            delays: network.delays.clone(),
            w_in: has_inputs.then(|| self.put(&device, values.w_in.view())),
            alpha: row(&values.alpha),
            gain: row(&values.gain),
            bias: row(&values.bias),
            noise: row(&values.noise),
            threshold: row(&values.threshold),
            scale: row(&values.scale),
            reset: row(&values.reset),
            trial_offset: values
                .trial_offset
                .as_ref()
                .map(|o| o.axis_iter(Axis(1)).map(|o| self.put(&device, o)).collect()),
            drive: values
                .drive
                .as_ref()
                .map(|d| d.axis_iter(Axis(1)).map(|d| self.put(&device, d)).collect()),
            temperature: values.temperature,
            p_scale: values.p_scale,
            gamma: values.gamma,
            surrogate: network.surrogate,
            surrogate_floor: f64::from(network.surrogate_floor),
            n_refractory: f64::from(network.n_refractory),
        };
        Stage {
            reference: self,
            device,
            run,
            values,
            cell,
        }
    }
}

/// A network and a run on a device: makes the input of each step.
pub(super) struct Stage<'a> {
    pub(super) reference: &'a Reference,
    pub(super) device: Device,
    pub(super) run: &'a Run,
    pub(super) values: &'a Values,
    pub(super) cell: Cell,
}

impl Stage<'_> {
    /// Step `t` of an array `[K, T, N]`.
    pub(super) fn rows(&self, a: &Array3<f64>, t: usize) -> Tensor<2> {
        self.reference.put(&self.device, a.slice(s![.., t, ..]))
    }

    pub(super) fn carried(&self, state: &State64) -> Carried {
        let put = |a: ArrayView2<'_, f64>| self.reference.put(&self.device, a);
        Carried {
            v: put(state.v.view()),
            refractory: put(state.refractory.mapv(f64::from).view()),
            past: state.history.axis_iter(Axis(1)).map(put).collect(),
        }
    }

    /// Input of step `t`, counted with the warm-up.
    pub(super) fn input(&self, t: usize, stored: Option<Tensor<2>>) -> Input {
        Input {
            events: self.cell.w_in.as_ref().and_then(|_| self.events(t)),
            drive: self.drive(t),
            offset: self.offset(t),
            normals: self.rows(&self.values.normals, t),
            uniforms: self.rows(&self.values.uniforms, t),
            clamp: t.checked_sub(self.run.n_warmup).and_then(|t| self.clamp(t)),
            stored,
        }
    }

    fn events(&self, t: usize) -> Option<Tensor<2>> {
        let events = self.run.events.as_ref()?;
        let mut dense = Array2::zeros((self.run.n_trials, events.n_inputs()));
        for (k, mut row) in dense.outer_iter_mut().enumerate() {
            for &i in events.at(k, t) {
                row[usize::from(i)] += 1.0;
            }
        }
        Some(self.reference.put(&self.device, dense.view()))
    }

    /// Each trial takes the row of its stimulus; the warm-up holds the first step.
    fn drive(&self, t: usize) -> Option<Tensor<2>> {
        let index = &self.run.drive.as_ref()?.index;
        let step = self.cell.drive.as_ref()?.get(t.saturating_sub(self.run.n_warmup))?;
        // A matrix of zeros and ones [K, S] picks rows by a product: exact, and differentiable on every device.
        let pick = Array2::from_shape_fn((index.len(), step.dims()[0]), |(k, s)| {
            f64::from(u8::from(index[k] == s))
        });
        Some(self.reference.put(&self.device, pick.view()).matmul(step.clone()))
    }

    /// The warm-up holds the first step.
    fn offset(&self, t: usize) -> Option<Tensor<2>> {
        let offset = self.run.trial_offset.as_ref()?;
        let rows = self.cell.trial_offset.as_ref()?;
        let parts = offset.at(t.saturating_sub(self.run.n_warmup));
        parts
            .filter_map(|(b, share)| Some(rows.get(b)?.clone() * f64::from(share)))
            .reduce(|sum, part| sum + part)
    }

    /// Mask and recorded spikes of recorded step `t`.
    fn clamp(&self, t: usize) -> Option<(Tensor<2>, Tensor<2>)> {
        let clamp = self.run.clamp.as_ref()?;
        let mask = clamp.until.mapv(|until| f64::from(u8::from(t < until as usize)));
        let dims = mask.dim();
        let spikes = Array2::from_shape_fn(dims, |(k, n)| {
            mask[[k, n]] * f64::from(u8::from(clamp.spikes.get(k, t, n)))
        });
        Some((
            self.reference.put(&self.device, mask.view()),
            self.reference.put(&self.device, spikes.view()),
        ))
    }
}

/// Brings gradients of leaves back; a leaf outside the graph has the gradient 0.
pub(super) struct Reader<'a> {
    pub(super) reference: &'a Reference,
    pub(super) gradients: Option<burn::tensor::Gradients>,
}

impl Reader<'_> {
    fn of(&self, leaf: &Tensor<2>) -> Result<Array2<f64>, CoreError> {
        match self.gradients.as_ref().and_then(|gradients| leaf.grad(gradients)) {
            Some(gradient) => self.reference.read(&gradient),
            None => Ok(Array2::zeros(leaf.dims())),
        }
    }

    fn row(&self, leaf: &Tensor<2>) -> Result<Array1<f64>, CoreError> {
        Ok(self.of(leaf)?.sum_axis(Axis(0))) // of one row
    }

    /// Stacks gradients of leaves along a new axis.
    fn stack(&self, axis: usize, leaves: &[Tensor<2>], empty: [usize; 3]) -> Result<Array3<f64>, CoreError> {
        let parts = leaves.iter().map(|leaf| self.of(leaf)).collect::<Result<Vec<_>, _>>()?;
        if parts.is_empty() {
            return Ok(Array3::zeros(empty));
        }
        let views: Vec<_> = parts.iter().map(|a| a.view()).collect();
        ndarray::stack(Axis(axis), &views).map_err(|e| self.reference.failure(e.to_string()))
    }

    pub(super) fn read(&self, cell: &Cell, history: &[Tensor<2>], values: &Values) -> Result<Gradients64, CoreError> {
        let n = values.alpha.len();
        Ok(Gradients64 {
            w: self.stack(0, &cell.w, [0, n, n])?,
            w_in: match &cell.w_in {
                Some(w_in) => self.of(w_in)?,
                None => Array2::zeros(values.w_in.dim()),
            },
            bias: self.row(&cell.bias)?,
            threshold: self.row(&cell.threshold)?,
            reset: self.row(&cell.reset)?,
            gain: self.row(&cell.gain)?,
            noise: self.row(&cell.noise)?,
            trial_offset: match &cell.trial_offset {
                Some(rows) => Some(self.stack(1, rows, [0, 0, n])?),
                None => None,
            },
            drive: match &cell.drive {
                Some(steps) => Some(self.stack(1, steps, [0, 0, n])?),
                None => None,
            },
            history: self.stack(1, history, [0, 0, n])?,
        })
    }
}
