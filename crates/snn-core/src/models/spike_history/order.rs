//! The same network with its neurons in another order, for recordings that see only some of them: those come first and are
//! its visible ones.

use super::{Gradient, SpikeHistory, SpikeHistorySpec};
use crate::CoreError;
use crate::models::Parameters;
use ndarray::{Array, Axis, RemoveAxis};

impl SpikeHistory {
    /// Neurons in `order`, of which the first `n_visible` are recorded; hidden ones and those that aren't recorded follow.
    ///
    /// # Errors
    /// An order that doesn't name every neuron once, more visible neurons than neurons, none visible.
    pub fn reordered(&self, order: &[usize], n_visible: usize) -> Result<Self, CoreError> {
        let n = self.spec.n_neurons();
        check_order(order, n)?;
        let spec = SpikeHistorySpec {
            n_visible,
            n_hidden: n.checked_sub(n_visible).ok_or(CoreError::Range {
                what: "number of visible neurons".into(),
                value: n_visible as f64,
                expected: "no more than there are neurons",
            })?,
            ..self.spec.clone()
        };
        Self::with_parameters(spec, in_order(&self.parameters, order)?)
    }
}

impl Gradient {
    /// Of a network that was [reordered](SpikeHistory::reordered), for the network that it came from.
    ///
    /// # Errors
    /// An order of another number of neurons.
    pub fn restored(self, order: &[usize]) -> Result<Self, CoreError> {
        let mut back = vec![0; order.len()];
        check_order(order, order.len())?;
        for (place, &neuron) in order.iter().enumerate() {
            back[neuron] = place;
        }
        Ok(Self {
            parameters: in_order(&self.parameters, &back)?,
            drive: self.drive.map(|drive| chosen(&drive, Axis(2), &back)),
        })
    }
}

fn check_order(order: &[usize], n: usize) -> Result<(), CoreError> {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    if sorted.into_iter().eq(0..n) {
        return Ok(());
    }
    Err(CoreError::Population {
        what: format!(
            "an order of neurons has to name each of {n} once; it has {} entries",
            order.len()
        ),
    })
}

fn in_order(parameters: &Parameters, order: &[usize]) -> Result<Parameters, CoreError> {
    let mut out = Parameters::new();
    let w = parameters.cube("w")?.to_owned();
    out.insert("w", chosen(&chosen(&w, Axis(1), order), Axis(2), order));
    out.insert("bias", chosen(&parameters.vector("bias")?.to_owned(), Axis(0), order));
    Ok(out)
}

/// A copy with the entries of one axis in `order`, in standard layout.
fn chosen<D: RemoveAxis>(values: &Array<f32, D>, axis: Axis, order: &[usize]) -> Array<f32, D> {
    values.select(axis, order)
}

#[cfg(test)]
mod tests {
    use super::super::{Basis, Clamped, SpikeHistory, SpikeHistorySpec, Windows};
    use crate::bits::SpikeBits;
    use crate::models::rsnn::{Draws, Engine};
    use ndarray::{Array3, Axis};

    #[test]
    fn a_clamped_network_gives_the_same_probabilities_and_gradients_in_any_order() {
        let spec = SpikeHistorySpec {
            n_visible: 4,
            n_hidden: 0,
            lags: 3,
            basis: Basis::Raw,
            threshold: 0.4,
            temperature: 1.0,
            gamma: 0.3,
        };
        let model = SpikeHistory::new(spec, 5).unwrap();
        let order = [2, 0, 3, 1];
        let other = model.reordered(&order, 4).unwrap();
        let spikes = Array3::from_shape_fn((2, 9, 4), |(k, t, n)| u8::from((k + 3 * t + 5 * n) % 4 == 0));
        let run = |model: &SpikeHistory, spikes: &Array3<u8>| {
            let windows = Windows {
                n_windows: 2,
                n_steps: 9,
                clamped: Some(Clamped {
                    spikes: SpikeBits::from_array(spikes.view()),
                    until: vec![9; 2],
                }),
                ..Windows::default()
            };
            let draws = Draws {
                seed: 0,
                step: 0,
                stream: "test",
                first_trial: 0,
            };
            let sampled = model.sample(&Engine::Native, &windows, draws).unwrap();
            let p = sampled.probabilities.clone();
            let d = spikes.mapv(|z| f32::from(z) - 0.5);
            (p, model.backward(&Engine::Native, sampled, &d, None).unwrap())
        };
        let (p, gradient) = run(&model, &spikes);
        let (q, other_gradient) = run(&other, &spikes.select(Axis(2), &order));
        assert!(
            p.select(Axis(2), &order)
                .iter()
                .zip(&q)
                .all(|(a, b)| (a - b).abs() < 1e-6)
        );
        let restored = other_gradient.restored(&order).unwrap();
        for (name, array) in gradient.parameters.iter() {
            let back = restored.parameters.get(name).unwrap();
            assert!(array.iter().zip(back).all(|(a, b)| (a - b).abs() < 1e-5), "{name}");
            assert!(array.iter().any(|x| x.abs() > 1e-3), "{name}");
        }
        assert!(model.reordered(&[0, 0, 1, 2], 4).is_err());
        assert!(model.reordered(&order, 5).is_err());
        assert_eq!(model.reordered(&order, 3).unwrap().spec.n_hidden, 1);
    }
}
