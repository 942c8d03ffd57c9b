//! The discriminators of a spike-GAN: one for each session, trained beside the network.
//!
//! Their layers and moments are part of the run's state: a checkpoint holds them, and a resumed run goes on bit by bit.

use losses::adversarial::{Discriminator, Layer};
use losses::statistics::DataFeatures;
use losses::trial_loss::SessionLoss;
use ndarray::{Array1, Array2, ArrayView2, Axis, concatenate};
use rayon::prelude::*;
use snn_core::adamw::{AdamW, AdamWConfig};
use snn_core::models::Parameters;
use snn_core::rng::StreamRng;

use crate::config::checked::SpikeGan;
use crate::fit_error::FitError;

/// Layers of every discriminator, by session.
const LAYERS: usize = 3;

/// Discriminators with their optimiser.
#[derive(Debug, Clone, PartialEq)]
pub struct Adversary {
    /// Layers, `<session>.<layer>.weight | bias`.
    pub parameters: Parameters,
    /// Their optimiser.
    pub adam: AdamW,
    every: u64,
    /// Conditions that are told to the discriminators; 0 where there is only one.
    n_told: usize,
}

impl Adversary {
    /// Random discriminators for the sessions of these features; where there are several stimulus conditions,
    /// a discriminator is told which one a trial is of, so that trials are compared within a stimulus.
    ///
    /// # Errors
    /// Constants of the optimiser out of range.
    pub fn new<'a>(
        settings: SpikeGan,
        features: impl IntoIterator<Item = &'a DataFeatures>,
        n_conditions: usize,
        seed: u64,
    ) -> Result<Self, FitError> {
        let n_told = if n_conditions > 1 { n_conditions } else { 0 };
        let mut parameters = Parameters::new();
        for session in features.into_iter().flat_map(|f| &f.sessions) {
            if parameters.get(&weight(session.session, 0)).is_some() {
                continue;
            }
            let mut rng = StreamRng::new(seed, "gan.initial", session.session as u64);
            let discriminator = Discriminator::new(session.features.ncols() + n_told, &mut rng);
            insert(&mut parameters, session.session, &discriminator);
        }
        let adam = AdamW::new(AdamWConfig {
            lr: settings.lr,
            weight_decay: settings.weight_decay,
            ..AdamWConfig::default()
        })?;
        Ok(Self {
            parameters,
            adam,
            every: settings.every,
            n_told,
        })
    }

    /// The generator's loss: mean over sessions of how surely the model's trials are not taken for recorded ones.
    ///
    /// # Shapes
    /// `model`: features `[K, F]` for each session of `data`; `conditions` `[K]`.
    ///
    /// # Errors
    /// Features that aren't finite or of another size than the discriminators'.
    pub fn fool(
        &self,
        data: &DataFeatures,
        model: &[Array2<f64>],
        conditions: &[usize],
    ) -> Result<(f64, Vec<Option<SessionLoss>>), losses::LossError> {
        let sessions: Vec<Option<SessionLoss>> = data
            .sessions
            .par_iter()
            .zip(model)
            .map(|(session, model)| {
                let told = self.tell(&model.view(), conditions);
                let (value, d) = self.discriminator(session.session).fool(&told.view())?;
                Ok(Some(SessionLoss {
                    value,
                    d_features: d.slice_move(ndarray::s![.., ..model.ncols()]),
                }))
            })
            .collect::<Result<_, losses::LossError>>()?;
        let values: Vec<f64> = sessions.iter().flatten().map(|s| s.value).collect();
        if values.is_empty() {
            return Err(losses::LossError::NoData {
                what: "spike-GAN",
                reason: "no session has trials to compare".to_owned(),
            });
        }
        Ok((losses::statistics::mean(&values), sessions))
    }

    /// Whether the discriminators learn after this step of the model.
    pub fn learns_at(&self, step: u64) -> bool {
        step.is_multiple_of(self.every)
    }

    /// One step of every discriminator whose session has trials; the mean of their losses. Where a gradient isn't finite,
    /// nothing changes.
    ///
    /// # Errors
    /// As [`Adversary::fool`].
    pub fn learn(&mut self, data: &DataFeatures, model: &[Array2<f64>], conditions: &[usize]) -> Result<f64, FitError> {
        let steps: Vec<(usize, f64, Discriminator)> = data
            .sessions
            .par_iter()
            .zip(model)
            .map(|(session, model)| {
                let recorded = self.tell(&session.features.view(), &session.conditions);
                let simulated = self.tell(&model.view(), conditions);
                let discriminator = self.discriminator(session.session);
                let (value, gradient) = discriminator.discriminate(&recorded.view(), &simulated.view())?;
                Ok((session.session, value, gradient))
            })
            .collect::<Result<_, losses::LossError>>()?;
        let mut gradients = Parameters::new();
        for (session, _, gradient) in &steps {
            insert(&mut gradients, *session, gradient);
        }
        if gradients.first_non_finite().is_none() {
            self.adam.update(&mut self.parameters, &gradients)?;
        }
        let values: Vec<f64> = steps.iter().map(|(_, value, _)| *value).collect();
        Ok(losses::statistics::mean(&values))
    }

    /// Features with the condition of each trial as further columns, 1 or 0.
    fn tell(&self, features: &ArrayView2<'_, f64>, conditions: &[usize]) -> Array2<f64> {
        let is_of = |(k, c): (usize, usize)| f64::from(u8::from(conditions[k] == c));
        let told = Array2::from_shape_fn((features.nrows(), self.n_told), is_of);
        // Both have a row for each trial.
        concatenate(Axis(1), &[features.view(), told.view()]).unwrap_or_else(|_| features.to_owned())
    }

    fn discriminator(&self, session: usize) -> Discriminator {
        let wide = |name: String| self.parameters.get(&name).map(|a| a.mapv(f64::from));
        let layer = |i: usize| {
            let weight = wide(weight(session, i)).and_then(|a| a.into_dimensionality().ok());
            let bias = wide(bias(session, i)).and_then(|a| a.into_dimensionality().ok());
            Layer {
                weight: weight.unwrap_or_else(|| Array2::zeros((0, 0))),
                bias: bias.unwrap_or_else(|| Array1::zeros(0)),
            }
        };
        Discriminator {
            layers: (0..LAYERS).map(layer).collect(),
        }
    }
}

fn weight(session: usize, layer: usize) -> String {
    format!("{session:05}.{layer}.weight")
}

fn bias(session: usize, layer: usize) -> String {
    format!("{session:05}.{layer}.bias")
}

fn insert(parameters: &mut Parameters, session: usize, discriminator: &Discriminator) {
    for (i, layer) in discriminator.layers.iter().enumerate() {
        parameters.insert(&weight(session, i), layer.weight.mapv(|x| x as f32));
        parameters.insert(&bias(session, i), layer.bias.mapv(|x| x as f32));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use losses::statistics::SessionFeatures;
    use rand::RngExt;

    const SETTINGS: SpikeGan = SpikeGan {
        weight: 1.0,
        every: 5,
        lr: 1e-2,
        weight_decay: 0.0,
    };

    fn cloud(n: usize, center: f64, rng: &mut StreamRng) -> Array2<f64> {
        Array2::from_shape_simple_fn((n, 4), || center + rng.random::<f64>())
    }

    fn data(features: Array2<f64>, conditions: Vec<usize>) -> DataFeatures {
        let n = features.nrows();
        DataFeatures {
            sessions: vec![SessionFeatures {
                session: 3,
                populations: vec![0],
                mean: vec![0.0],
                std: vec![1.0],
                channels: Vec::new(),
                behaviour_mean: Vec::new(),
                features,
                trials: (0..n).collect(),
                conditions,
                trial_types: vec![0; n],
            }],
        }
    }

    #[test]
    fn discriminators_learn_to_tell_clouds_apart_and_pull_the_model_to_the_data() {
        let mut rng = StreamRng::new(1, "test", 0);
        let recorded = data(cloud(30, 1.0, &mut rng), vec![0; 30]);
        let model = vec![cloud(20, -1.0, &mut rng)];
        let mut adversary = Adversary::new(SETTINGS, [&recorded], 1, 7).unwrap();
        assert!(adversary.learns_at(10) && !adversary.learns_at(11));
        let first = adversary.learn(&recorded, &model, &[0; 20]).unwrap();
        assert!((first - std::f64::consts::LN_2).abs() < 0.2, "{first}");
        let last = (0..60)
            .map(|_| adversary.learn(&recorded, &model, &[0; 20]).unwrap())
            .last();
        assert!(last.unwrap() < 0.1, "{last:?}");
        let (value, sessions) = adversary.fool(&recorded, &model, &[0; 20]).unwrap();
        assert!(value > 2.0, "{value}");
        let d = &sessions[0].as_ref().unwrap().d_features;
        assert_eq!(d.dim(), (20, 4));
        assert!(d.sum() < 0.0, "down the gradient is towards the data");
    }

    #[test]
    fn the_stimulus_of_a_trial_is_told_where_there_are_several() {
        let mut rng = StreamRng::new(2, "test", 0);
        // The clouds are the same, but belong to the other stimulus.
        let (a, b) = (cloud(15, 1.0, &mut rng), cloud(15, -1.0, &mut rng));
        let both = concatenate(Axis(0), &[a.view(), b.view()]).unwrap();
        let conditions = |first: usize| [[first; 15], [1 - first; 15]].concat();
        let recorded = data(both.clone(), conditions(0));
        let mut adversary = Adversary::new(SETTINGS, [&recorded], 2, 7).unwrap();
        let last = (0..150)
            .map(|_| {
                adversary
                    .learn(&recorded, std::slice::from_ref(&both), &conditions(1))
                    .unwrap()
            })
            .last();
        assert!(last.unwrap() < 0.2, "{last:?}");
        let mut blind = Adversary::new(SETTINGS, [&recorded], 1, 7).unwrap();
        let last = (0..150)
            .map(|_| {
                blind
                    .learn(&recorded, std::slice::from_ref(&both), &conditions(1))
                    .unwrap()
            })
            .last();
        assert!(last.unwrap() > 0.6, "{last:?}");
    }
}
