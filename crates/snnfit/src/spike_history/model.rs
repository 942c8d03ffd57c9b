//! A spike-history network with what drives it.

use ndarray::{Array2, Array3, Axis, s};
use snn_core::device::OpenDevice;
use snn_core::models::Parameters;
use snn_core::models::spike_history::{Encoded, Encoder, EncoderSpec, SpikeHistory, SpikeHistorySpec};

use super::recorded::Recorded;
use crate::assembly::Part;
use crate::config::checked::spike_history::{Encoder as EncoderConfig, InitialBias, SpikeHistoryExperiment};
use crate::fit_error::FitError;

/// Movies, and bins of each, from which the size of features is taken.
const SIZED_MOVIES: usize = 32;
const SIZED_BINS: usize = 256;

/// What drives the neurons.
#[derive(Debug)]
pub enum Driver {
    /// Nothing but the bias.
    None,
    /// The stimulus.
    Stimulus {
        /// Its encoder.
        encoder: Box<Encoder>,
        /// Root mean square of the features in the training trials, which they are divided by.
        size: f32,
    },
    /// A drive of its own for each bin of each stimulus: parameters `drive.<session>`, `[stimuli, T, N]`.
    Bins,
}

/// The network and its driver.
#[derive(Debug)]
pub struct Model {
    /// The network, with its parameters.
    pub network: SpikeHistory,
    /// What drives it.
    pub driver: Driver,
    /// Parameters of the driver.
    pub driver_parameters: Parameters,
}

/// Some bins of a stimulus of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Session.
    pub session: usize,
    /// Stimulus of the session.
    pub stimulus: usize,
    /// First bin.
    pub first: usize,
}

/// Drive of some stretches, with what its gradient needs.
#[derive(Debug)]
pub struct Drives {
    /// `[S, T, N]`; none where nothing drives.
    pub values: Option<Array3<f32>>,
    encoded: Option<Encoded>,
    stretches: Vec<Stretch>,
}

impl Model {
    /// A network at its start.
    ///
    /// # Errors
    /// A network or encoder that can't be initialised; a stimulus that is 0.
    pub fn new(experiment: &SpikeHistoryExperiment, recorded: &Recorded) -> Result<Self, FitError> {
        let config = &experiment.model;
        let spec = SpikeHistorySpec {
            n_visible: recorded.neurons.len(),
            n_hidden: config.n_hidden,
            lags: config.history.steps,
            basis: config.kernels.basis(experiment.data.bin_ms),
            threshold: config.threshold as f32,
            temperature: config.temperature as f32,
            gamma: config.surrogate_damping as f32,
        };
        let n = spec.n_neurons();
        let mut network = SpikeHistory::new(spec, experiment.seed)?;
        if config.initial_bias == InitialBias::Rate {
            let biases = initial_biases(&network.spec, &recorded.rates());
            network.parameters.insert("bias", biases);
        }
        let (driver, driver_parameters) = match &config.encoder {
            None => (Driver::None, Parameters::new()),
            Some(EncoderConfig::Bins) => (Driver::Bins, initial_bins(recorded, n)),
            Some(EncoderConfig::Stimulus(stimulus)) => {
                let channels = recorded.n_channels().unwrap_or(0);
                let pixels = stimulus.pixels.unwrap_or([1, channels]);
                if pixels[0] * pixels[1] != channels {
                    return Err(FitError::SpikeHistory {
                        reason: format!(
                            "encoder.stimulus.pixels = {pixels:?} are {} pixels, but the stimulus has {channels} channels",
                            pixels[0] * pixels[1]
                        ),
                    });
                }
                let spec = EncoderSpec {
                    pixels,
                    lags: stimulus.history.steps,
                    basis: stimulus.kernels.basis(experiment.data.bin_ms),
                    layers: stimulus.layers.clone(),
                };
                let encoder = Encoder::new(spec, n)?;
                let parameters = encoder.initial(experiment.seed);
                let size = feature_size(&encoder, recorded)?;
                let encoder = Box::new(encoder);
                (Driver::Stimulus { encoder, size }, parameters)
            }
        };
        Ok(Self {
            network,
            driver,
            driver_parameters,
        })
    }

    /// All parameters.
    ///
    /// # Errors
    /// Never, short of a bug: names are distinct.
    pub fn parameters(&self) -> Result<Parameters, FitError> {
        let mut all = self.network.parameters.clone();
        all.add(&self.driver_parameters)?;
        Ok(all)
    }

    /// Drive of each bin of a session's stimuli, `[stimuli, T, N]`, of [`Driver::Bins`].
    ///
    /// # Errors
    /// Another driver.
    pub fn bin_drive(&self, session: usize) -> Result<ndarray::ArrayView3<'_, f32>, FitError> {
        Ok(self.driver_parameters.cube(&bins_name(session))?)
    }

    /// Takes parameters of the same names and shapes.
    ///
    /// # Errors
    /// A parameter that is missing, of another shape, or too many.
    pub fn set_parameters(&mut self, all: &Parameters) -> Result<(), FitError> {
        let expected = self.parameters()?;
        let shapes = |p: &Parameters| -> Vec<(String, Vec<usize>)> {
            p.iter()
                .map(|(name, a)| (name.to_owned(), a.shape().to_vec()))
                .collect()
        };
        if shapes(&expected) != shapes(all) {
            return Err(FitError::CheckpointMismatch {
                what: format!("parameters {:?}, expected {:?}", shapes(all), shapes(&expected)),
            });
        }
        for (name, array) in all.iter() {
            let owner = if self.network.parameters.get(name).is_some() {
                &mut self.network.parameters
            } else {
                &mut self.driver_parameters
            };
            owner.insert(name, array.clone());
        }
        Ok(())
    }

    /// Drive of some stretches, each of `bins` bins.
    ///
    /// # Errors
    /// Bins beyond a stimulus, a device that fails.
    pub fn drives(
        &self,
        device: &OpenDevice,
        recorded: &Recorded,
        stretches: &[Stretch],
        bins: usize,
    ) -> Result<Drives, FitError> {
        let n = self.network.spec.n_neurons();
        let shape = (stretches.len(), bins, n);
        let (values, encoded) = match &self.driver {
            Driver::None => (None, None),
            Driver::Bins => {
                let mut values = Array3::zeros(shape);
                for (mut out, stretch) in values.outer_iter_mut().zip(stretches) {
                    let drive = self.driver_parameters.cube(&bins_name(stretch.session))?;
                    let part = drive.slice(s![stretch.stimulus, stretch.first..stretch.first + bins, ..]);
                    out.assign(&part);
                }
                (Some(values), None)
            }
            Driver::Stimulus { encoder, size } => {
                let mut features = Array2::zeros((stretches.len() * bins, encoder.n_features()));
                for (i, stretch) in stretches.iter().enumerate() {
                    let part = features_of(encoder, recorded, *stretch, bins)?;
                    features
                        .slice_mut(s![i * bins..(i + 1) * bins, ..])
                        .assign(&(part / *size));
                }
                let encoded = encoder.encode(&device.device, &self.driver_parameters, &features.view())?;
                let values = encoded.drive.clone().into_shape_with_order(shape);
                let values = values.map_err(|error| FitError::Internal {
                    what: error.to_string(),
                })?;
                (Some(values), Some(encoded))
            }
        };
        Ok(Drives {
            values,
            encoded,
            stretches: stretches.to_vec(),
        })
    }
}

impl Drives {
    /// Gradient of the driver's parameters, given that of its values `[S, T, N]`.
    ///
    /// # Errors
    /// A device that fails.
    pub fn backward(self, model: &Model, d_values: Array3<f32>) -> Result<Parameters, FitError> {
        if let Some(encoded) = self.encoded {
            let shape = encoded.drive.raw_dim();
            let d = d_values
                .into_shape_with_order(shape)
                .map_err(|error| FitError::Internal {
                    what: error.to_string(),
                })?;
            return Ok(encoded.backward(&d)?);
        }
        let mut gradient = model.driver_parameters.zeros_like();
        for (d, stretch) in d_values.outer_iter().zip(&self.stretches) {
            if let Some(array) = gradient.get_mut(&bins_name(stretch.session)) {
                let bins = d.dim().0;
                let mut part = array.index_axis_mut(Axis(0), stretch.stimulus);
                let mut part = part.slice_axis_mut(Axis(0), (stretch.first..stretch.first + bins).into());
                part += &d;
            }
        }
        Ok(gradient)
    }
}

fn bins_name(session: usize) -> String {
    format!("drive.{session}")
}

/// Biases with which neurons fire at these rates (spikes per bin) when nothing else drives them; hidden ones fire at their mean.
fn initial_biases(spec: &SpikeHistorySpec, rates: &[f64]) -> ndarray::Array1<f32> {
    /// Less than a spike in so many bins is no rate to start from.
    const LEAST: f64 = 1e-4;
    let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
    ndarray::Array1::from_shape_fn(spec.n_neurons(), |j| {
        let p = rates.get(j).copied().unwrap_or(mean).clamp(LEAST, 1.0 - LEAST);
        let s = (p / (1.0 - p)).ln() / f64::from(spec.temperature);
        (f64::from(spec.threshold) * (1.0 + s)) as f32
    })
}

fn initial_bins(recorded: &Recorded, n: usize) -> Parameters {
    let mut parameters = Parameters::new();
    for (s, session) in recorded.sessions.iter().enumerate() {
        let shape = (session.stimuli.len(), session.spikes.dim().1, n);
        parameters.insert(&bins_name(s), Array3::<f32>::zeros(shape));
    }
    parameters
}

fn features_of(encoder: &Encoder, recorded: &Recorded, stretch: Stretch, bins: usize) -> Result<Array2<f32>, FitError> {
    let session = &recorded.sessions[stretch.session];
    let movie = session.stimuli.get(stretch.stimulus).copied().flatten();
    let (Some(movie), Some(movies)) = (movie, &session.movies) else {
        return Err(FitError::SpikeHistory {
            reason: format!("session '{}' has trials without a recorded stimulus", session.id),
        });
    };
    let movie = movies.index_axis(Axis(0), movie);
    let features = encoder.features(&movie, stretch.first, bins)?;
    let (rows, functions, channels) = features.dim();
    features
        .into_shape_with_order((rows, functions * channels))
        .map_err(|error| FitError::Internal {
            what: error.to_string(),
        })
}

/// Root mean square of the features over the middle of some movies of the training trials.
fn feature_size(encoder: &Encoder, recorded: &Recorded) -> Result<f32, FitError> {
    let (mut sum, mut count) = (0.0, 0usize);
    let mut n_movies = 0;
    for (s, session) in recorded.sessions.iter().enumerate() {
        let mut shown: Vec<usize> = session
            .trials(Part::Train)
            .iter()
            .map(|&k| session.stimulus_of[k])
            .collect();
        shown.sort_unstable();
        shown.dedup();
        for stimulus in shown {
            if n_movies == SIZED_MOVIES {
                break;
            }
            n_movies += 1;
            let bins = session.spikes.dim().1;
            let len = bins.min(SIZED_BINS);
            let stretch = Stretch {
                session: s,
                stimulus,
                first: (bins - len) / 2,
            };
            let features = features_of(encoder, recorded, stretch, len)?;
            sum += features.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
            count += features.len();
        }
    }
    let size = (sum / count.max(1) as f64).sqrt() as f32;
    if size > 0.0 && size.is_finite() {
        return Ok(size);
    }
    Err(FitError::SpikeHistory {
        reason: "the recorded stimulus of the training trials is 0 throughout".to_owned(),
    })
}
