//! A spike-history network with what drives it.

use std::ops::Range;

use ndarray::{Array1, Array2, Array3, Axis, Ix1, s};
use rand::RngExt;
use snn_core::device::OpenDevice;
use snn_core::models::Parameters;
use snn_core::models::spike_history::{EncodedRows, Encoder, EncoderSpec, Rows, SpikeHistory, SpikeHistorySpec};
use snn_core::rng::StreamRng;

use super::recorded::Recorded;
use crate::assembly::Part;
use crate::checkpoint::Checkpoint;
use crate::config::checked::spike_history::{Encoder as EncoderConfig, InitialBias, SpikeHistoryExperiment};
use crate::fit_error::FitError;
use crate::memory;
use crate::trainer;

/// Mean and size of features are taken from at most so many blocks of so many bins, evenly spread over the training trials' stimuli.
const SIZED_BLOCKS: usize = 512;
const SIZED_BINS: usize = 64;

/// Features and layers of a stimulus take at most so many bytes at a time; more is encoded in pieces, and for its gradient again.
const ENCODED_BYTES: usize = 1 << 28;

/// Parameters of a network that is fitted: these, the network's own, gradients of two passes, two moments.
const FITTED_COPIES: u64 = 6;
/// Of one that is used.
const USED_COPIES: u64 = 2;

/// What drives the neurons.
#[derive(Debug)]
pub enum Driver {
    /// Nothing but the bias.
    None,
    /// The stimulus.
    Stimulus {
        /// Its encoder.
        encoder: Box<Encoder>,
        /// What its features are standardised by.
        moments: FeatureMoments,
    },
    /// A drive of its own for each bin of each stimulus: parameters `drive.<session>`, `[stimuli, T, N]`.
    Bins,
}

/// Mean and standard deviation of the features of each kernel in the training trials of the fit, over bins and channels.
///
/// They are part of what a network is: its checkpoint has them, and another recording's stimuli are seen through them too.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureMoments {
    /// Taken off, `[functions]`.
    pub mean: Array1<f32>,
    /// Divided by, `[functions]`.
    pub sd: Array1<f32>,
}

/// Section of the checkpoint with [`FeatureMoments`].
const MOMENTS: &str = "features";

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

/// Stretches of the same number of bins, which are run together.
#[derive(Debug, Clone)]
pub struct Pass {
    /// The stretches.
    pub stretches: Vec<Stretch>,
    /// Bins of each.
    pub bins: usize,
    /// Bins at the start that need no drive: what the stimulus drives them with is not computed and 0.
    pub skipped: usize,
}

/// Drive of some passes, with what its gradient needs.
#[derive(Debug)]
pub struct Drives {
    /// Of each pass, `[S, T, N]`; none where nothing drives.
    pub values: Vec<Option<Array3<f32>>>,
    encoded: Option<(EncodedRows, DistinctBins)>,
    passes: Vec<Pass>,
}

/// The bins of stimuli that some stretches have: each once, however many stretches show it.
#[derive(Debug)]
struct DistinctBins {
    /// Bins that follow one another, and their number.
    runs: Vec<(Stretch, usize)>,
    /// Row of the first bin of each run.
    rows_of_runs: Vec<usize>,
    /// Row of the first bin of each stretch that needs a drive, by pass.
    rows_of_stretches: Vec<Vec<usize>>,
    n_rows: usize,
}

/// Features of some bins, one after another.
struct BinRows<'a> {
    encoder: &'a Encoder,
    moments: &'a FeatureMoments,
    recorded: &'a Recorded,
    bins: &'a DistinctBins,
}

impl Model {
    /// A network at its start.
    ///
    /// # Errors
    /// A network or encoder that can't be initialised; a stimulus that never changes.
    pub fn new(experiment: &SpikeHistoryExperiment, recorded: &Recorded) -> Result<Self, FitError> {
        Self::with_moments(experiment, recorded, FITTED_COPIES, |encoder| {
            FeatureMoments::of(encoder, recorded)
        })
    }

    /// The network of a checkpoint.
    ///
    /// # Errors
    /// A checkpoint of another model or another version of this program.
    pub fn of_checkpoint(
        experiment: &SpikeHistoryExperiment,
        recorded: &Recorded,
        checkpoint: &Checkpoint,
    ) -> Result<Self, FitError> {
        let moments = |encoder: &Encoder| FeatureMoments::in_checkpoint(checkpoint, encoder.basis().nrows());
        let mut model = Self::with_moments(experiment, recorded, USED_COPIES, moments)?;
        model.set_parameters(&trainer::parameters(checkpoint, "parameters", "")?)?;
        Ok(model)
    }

    /// Puts what [`Self::of_checkpoint`] takes into a checkpoint.
    ///
    /// # Errors
    /// Never, short of a bug: names are distinct.
    pub fn save(&self, checkpoint: &mut Checkpoint) -> Result<(), FitError> {
        let mut insert = |section: &str, parameters: &Parameters| {
            let arrays = trainer::arrays(parameters, "");
            checkpoint.sections.insert(section.into(), arrays);
        };
        insert("parameters", &self.parameters()?);
        if let Driver::Stimulus { moments, .. } = &self.driver {
            let mut arrays = Parameters::new();
            arrays.insert("mean", moments.mean.clone());
            arrays.insert("sd", moments.sd.clone());
            insert(MOMENTS, &arrays);
        }
        Ok(())
    }

    /// `copies` of the parameters are held at once.
    fn with_moments(
        experiment: &SpikeHistoryExperiment,
        recorded: &Recorded,
        copies: u64,
        moments: impl FnOnce(&Encoder) -> Result<FeatureMoments, FitError>,
    ) -> Result<Self, FitError> {
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
        let encoder = encoder_spec(experiment, recorded)?;
        memory::check_network(bytes(&spec, encoder.as_ref(), recorded, experiment, copies))?;
        let mut network = SpikeHistory::new(spec, experiment.seed)?;
        if config.initial_bias == InitialBias::Rate {
            let biases = initial_biases(&network.spec, &recorded.rates());
            network.parameters.insert("bias", biases);
        }
        let (driver, driver_parameters) = match &config.encoder {
            None => (Driver::None, Parameters::new()),
            Some(EncoderConfig::Bins) => (Driver::Bins, initial_bins(recorded, n)),
            Some(EncoderConfig::Stimulus(_)) => {
                let spec = encoder.ok_or_else(|| FitError::Internal {
                    what: "an encoder without a specification".to_owned(),
                })?;
                let encoder = Encoder::new(spec, n)?;
                let parameters = encoder.initial(experiment.seed);
                let moments = moments(&encoder)?;
                let encoder = Box::new(encoder);
                (Driver::Stimulus { encoder, moments }, parameters)
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

    /// Drive of the stretches of some passes. Each bin of a stimulus is encoded once, however many stretches of any pass show it.
    ///
    /// # Errors
    /// Bins beyond a stimulus, a device that fails.
    pub fn drives(&self, device: &OpenDevice, recorded: &Recorded, passes: Vec<Pass>) -> Result<Drives, FitError> {
        let n = self.network.spec.n_neurons();
        let zeros = |pass: &Pass| Array3::<f32>::zeros((pass.stretches.len(), pass.bins, n));
        let mut values = Vec::with_capacity(passes.len());
        let mut encoded = None;
        match &self.driver {
            Driver::None => values.extend(passes.iter().map(|_| None)),
            Driver::Bins => {
                for pass in &passes {
                    let mut of_pass = zeros(pass);
                    for (mut out, stretch) in of_pass.outer_iter_mut().zip(&pass.stretches) {
                        let drive = self.driver_parameters.cube(&bins_name(stretch.session))?;
                        let part = drive.slice(s![stretch.stimulus, stretch.first..stretch.first + pass.bins, ..]);
                        out.assign(&part);
                    }
                    values.push(Some(of_pass));
                }
            }
            Driver::Stimulus { encoder, moments } => {
                let distinct = DistinctBins::of(&passes);
                let rows = BinRows {
                    encoder,
                    moments,
                    recorded,
                    bins: &distinct,
                };
                let n_rows = distinct.n_rows;
                let found =
                    encoder.encode_rows(&device.device, &self.driver_parameters, n_rows, &rows, ENCODED_BYTES)?;
                for (pass, rows) in passes.iter().zip(&distinct.rows_of_stretches) {
                    let mut of_pass = zeros(pass);
                    for (mut of_stretch, row) in of_pass.outer_iter_mut().zip(rows) {
                        let drive = found.drive.slice(s![*row..row + pass.bins - pass.skipped, ..]);
                        of_stretch.slice_mut(s![pass.skipped.., ..]).assign(&drive);
                    }
                    values.push(Some(of_pass));
                }
                encoded = Some((found, distinct));
            }
        }
        Ok(Drives {
            values,
            encoded,
            passes,
        })
    }
}

impl DistinctBins {
    /// The bins of all stretches that need a drive.
    fn of(passes: &[Pass]) -> Self {
        let mut distinct = Self {
            runs: Vec::new(),
            rows_of_runs: Vec::new(),
            rows_of_stretches: passes.iter().map(|pass| vec![0; pass.stretches.len()]).collect(),
            n_rows: 0,
        };
        // Bins that need a drive, and the place of their row.
        let mut needed = Vec::new();
        for (p, pass) in passes.iter().enumerate() {
            for (i, stretch) in pass.stretches.iter().enumerate() {
                let first = stretch.first + pass.skipped;
                needed.push((Stretch { first, ..*stretch }, pass.bins - pass.skipped, (p, i)));
            }
        }
        needed.sort_by_key(|(stretch, ..)| (stretch.session, stretch.stimulus, stretch.first));
        for (stretch, bins, (p, i)) in needed {
            let joins = |run: &(Stretch, usize)| {
                (run.0.session, run.0.stimulus) == (stretch.session, stretch.stimulus)
                    && stretch.first <= run.0.first + run.1
            };
            let first_of_run = match distinct.runs.last_mut() {
                Some(run) if joins(run) => {
                    let more = (stretch.first + bins).saturating_sub(run.0.first + run.1);
                    run.1 += more;
                    distinct.n_rows += more;
                    run.0.first
                }
                _ => {
                    distinct.runs.push((stretch, bins));
                    distinct.rows_of_runs.push(distinct.n_rows);
                    distinct.n_rows += bins;
                    stretch.first
                }
            };
            let row_of_run = distinct.rows_of_runs[distinct.rows_of_runs.len() - 1];
            distinct.rows_of_stretches[p][i] = row_of_run + stretch.first - first_of_run;
        }
        distinct
    }
}

impl Rows for BinRows<'_> {
    type Error = FitError;

    fn features(&self, rows: Range<usize>) -> Result<Array2<f32>, FitError> {
        let mut features = Array2::zeros((rows.len(), self.encoder.n_features()));
        let DistinctBins { runs, rows_of_runs, .. } = self.bins;
        // The run that the first row is in; none before it ends later.
        let mut run = rows_of_runs.partition_point(|&row| row <= rows.start).saturating_sub(1);
        let mut row = rows.start;
        while row < rows.end {
            let (stretch, n_bins) = runs[run];
            let bin = row - rows_of_runs[run];
            let bins = (n_bins - bin).min(rows.end - row);
            let first = stretch.first + bin;
            let mut part = features_of(self.encoder, self.recorded, Stretch { first, ..stretch }, bins)?;
            self.moments.standardise(&mut part);
            let at = row - rows.start;
            features.slice_mut(s![at..at + bins, ..]).assign(&in_rows(part)?);
            row += bins;
            run += 1;
        }
        Ok(features)
    }
}

impl Drives {
    /// Gradient of the driver's parameters, given that of its values `[S, T, N]` of each pass; model, device and recordings are
    /// those of the drive.
    ///
    /// # Errors
    /// A device that fails.
    pub fn backward(
        self,
        model: &Model,
        device: &OpenDevice,
        recorded: &Recorded,
        d_values: &[Option<Array3<f32>>],
    ) -> Result<Parameters, FitError> {
        let of_passes = self.passes.iter().zip(d_values);
        if let (Some((encoded, distinct)), Driver::Stimulus { encoder, moments }) = (self.encoded, &model.driver) {
            let mut d = Array2::zeros(encoded.drive.raw_dim());
            for ((pass, d_pass), rows) in of_passes.zip(&distinct.rows_of_stretches) {
                for (of_stretch, row) in d_pass.iter().flat_map(|d| d.outer_iter()).zip(rows) {
                    let counted = of_stretch.slice_axis(Axis(0), (pass.skipped..).into());
                    let mut rows = d.slice_mut(s![*row..row + counted.nrows(), ..]);
                    rows += &counted;
                }
            }
            let rows = BinRows {
                encoder,
                moments,
                recorded,
                bins: &distinct,
            };
            return encoded.backward(encoder, &device.device, &model.driver_parameters, &rows, &d);
        }
        let mut gradient = model.driver_parameters.zeros_like();
        for (pass, d_pass) in of_passes {
            for (d, stretch) in d_pass.iter().flat_map(|d| d.outer_iter()).zip(&pass.stretches) {
                if let Some(array) = gradient.get_mut(&bins_name(stretch.session)) {
                    let mut part = array.index_axis_mut(Axis(0), stretch.stimulus);
                    let mut part = part.slice_axis_mut(Axis(0), (stretch.first..stretch.first + pass.bins).into());
                    part += &d;
                }
            }
        }
        Ok(gradient)
    }
}

/// What the encoder of a stimulus is made of; none without one.
fn encoder_spec(experiment: &SpikeHistoryExperiment, recorded: &Recorded) -> Result<Option<EncoderSpec>, FitError> {
    let Some(EncoderConfig::Stimulus(stimulus)) = &experiment.model.encoder else {
        return Ok(None);
    };
    let channels = recorded.n_channels().unwrap_or(0);
    let pixels = stimulus.pixels.unwrap_or([1, channels]);
    if pixels[0] * pixels[1] != channels {
        return Err(FitError::SpikeHistory {
            reason: format!(
                "`model.spike_history.encoder.stimulus.pixels = {pixels:?}` are {} pixels, but the stimulus has {channels} channels; write \
                 two numbers whose product is {channels}, or leave it out for channels in a row",
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
    spec.check()?;
    Ok(Some(spec))
}

/// About the least that a network takes, bytes.
fn bytes(
    spec: &SpikeHistorySpec,
    encoder: Option<&EncoderSpec>,
    recorded: &Recorded,
    experiment: &SpikeHistoryExperiment,
    copies: u64,
) -> u64 {
    let product = |factors: &[u64]| factors.iter().fold(1u64, |all, factor| all.saturating_mul(*factor));
    let n = spec.n_neurons() as u64;
    let functions = spec.basis.n_functions(spec.lags) as u64;
    // Coefficients, and the kernels that they make, in double and single precision.
    let mut sum = product(&[n, n, functions, 4, copies]).saturating_add(product(&[n, n, spec.lags as u64, 12]));
    if let Some(encoder) = encoder {
        let weights = product(&[encoder.n_weights(spec.n_neurons()), 4, copies]);
        // Functions of the lag and their sums, in double and single precision, and the neighbourhoods of a row.
        let basis = product(&[encoder.basis.n_functions(encoder.lags) as u64, encoder.lags as u64, 16]);
        sum = sum.saturating_add(weights).saturating_add(basis);
        sum = sum.saturating_add(product(&[encoder.n_unfolded() as u64, 4]));
    }
    if let Some(EncoderConfig::Bins) = experiment.model.encoder {
        let of_session = |session: &super::recorded::RecordedSession| {
            product(&[
                session.stimuli.len() as u64,
                session.spikes.dim().1 as u64,
                n,
                4,
                copies,
            ])
        };
        sum = recorded.sessions.iter().map(of_session).fold(sum, u64::saturating_add);
    }
    sum
}

fn bins_name(session: usize) -> String {
    format!("drive.{session}")
}

/// Biases with which neurons fire at these rates (spikes per bin) when nothing else drives them; hidden ones fire at their mean.
fn initial_biases(spec: &SpikeHistorySpec, rates: &[f64]) -> Array1<f32> {
    /// Less than a spike in so many bins is no rate to start from.
    const LEAST: f64 = 1e-4;
    let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
    Array1::from_shape_fn(spec.n_neurons(), |j| {
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

/// Features of some bins of a recorded stimulus, `[T, functions, channels]`.
fn features_of(encoder: &Encoder, recorded: &Recorded, stretch: Stretch, bins: usize) -> Result<Array3<f32>, FitError> {
    let session = &recorded.sessions[stretch.session];
    let movie = session.stimuli.get(stretch.stimulus).copied().flatten();
    let (Some(movie), Some(movies)) = (movie, &session.movies) else {
        return Err(FitError::SpikeHistory {
            reason: format!("session '{}' has trials without a recorded stimulus", session.id),
        });
    };
    let movie = movies.index_axis(Axis(0), movie);
    Ok(encoder.features(&movie, stretch.first, bins)?)
}

/// `[T, functions · channels]`.
fn in_rows(features: Array3<f32>) -> Result<Array2<f32>, FitError> {
    let (rows, functions, channels) = features.dim();
    features
        .into_shape_with_order((rows, functions * channels))
        .map_err(|error| FitError::Internal {
            what: error.to_string(),
        })
}

impl FeatureMoments {
    /// Takes the mean from the features `[T, functions, channels]` of each kernel and divides them by the standard deviation.
    pub fn standardise(&self, features: &mut Array3<f32>) {
        for ((mut of_kernel, mean), sd) in features.axis_iter_mut(Axis(1)).zip(&self.mean).zip(&self.sd) {
            of_kernel.mapv_inplace(|x| (x - mean) / sd);
        }
    }

    fn in_checkpoint(checkpoint: &Checkpoint, functions: usize) -> Result<Self, FitError> {
        let mismatch = |what: String| FitError::CheckpointMismatch { what };
        let arrays = trainer::parameters(checkpoint, MOMENTS, "")?;
        let take = |name: &str| {
            let array = arrays
                .get(name)
                .and_then(|a| a.clone().into_dimensionality::<Ix1>().ok());
            array
                .filter(|a| a.len() == functions)
                .ok_or_else(|| mismatch(format!("section '{MOMENTS}' has no '{name}' of {functions} kernels")))
        };
        let (mean, sd) = (take("mean")?, take("sd")?);
        if let Some(sd) = sd.iter().find(|sd| **sd <= 0.0) {
            return Err(mismatch(format!("section '{MOMENTS}' has the standard deviation {sd}")));
        }
        Ok(Self { mean, sd })
    }

    fn of(encoder: &Encoder, recorded: &Recorded) -> Result<Self, FitError> {
        let mut blocks = Vec::new();
        for (s, session) in recorded.sessions.iter().enumerate() {
            let mut shown: Vec<usize> = session
                .trials(Part::Train)
                .iter()
                .map(|&k| session.stimulus_of[k])
                .collect();
            shown.sort_unstable();
            shown.dedup();
            let n_bins = session.spikes.dim().1;
            for stimulus in shown {
                blocks.extend((0..n_bins).step_by(SIZED_BINS).map(|first| {
                    let stretch = Stretch {
                        session: s,
                        stimulus,
                        first,
                    };
                    (stretch, SIZED_BINS.min(n_bins - first))
                }));
            }
        }
        let every = blocks.len().div_ceil(SIZED_BLOCKS).max(1);
        let sampled: Vec<_> = blocks
            .chunks(every)
            .enumerate()
            .map(|(i, of)| of[place_in(i, of.len())])
            .collect();
        let mut found = moments_of(encoder, recorded, &sampled)?;
        if found.is_none() && every > 1 {
            found = moments_of(encoder, recorded, &blocks)?;
        }
        found.ok_or_else(|| {
            let shown = recorded
                .sessions
                .iter()
                .filter(|session| session.movies.is_some() && !session.trials(Part::Train).is_empty());
            let names: Vec<String> = shown.map(|session| format!("'{}'", session.id)).collect();
            FitError::SpikeHistory {
                reason: format!(
                    "the recorded stimulus of the training trials ({}) has one value throughout; import what was shown, or take \
                     `encoder.bins`",
                    names.join(", ")
                ),
            }
        })
    }
}

/// Place of a block among `n` that follow one another, at random: in step with no length of movies.
fn place_in(i: usize, n: usize) -> usize {
    StreamRng::new(0, "features.block", i as u64).random_range(0..n)
}

/// Mean and standard deviation of the features of each kernel; none where one has the same value in all these blocks.
fn moments_of(
    encoder: &Encoder,
    recorded: &Recorded,
    blocks: &[(Stretch, usize)],
) -> Result<Option<FeatureMoments>, FitError> {
    let mut sums: Vec<[f64; 2]> = Vec::new();
    let mut count = 0usize;
    for &(stretch, bins) in blocks {
        let features = features_of(encoder, recorded, stretch, bins)?;
        sums.resize(features.dim().1, [0.0; 2]);
        for (sum, of_kernel) in sums.iter_mut().zip(features.axis_iter(Axis(1))) {
            for &x in &of_kernel {
                sum[0] += f64::from(x);
                sum[1] += f64::from(x).powi(2);
            }
        }
        count += features.dim().0 * features.dim().2;
    }
    let count = count.max(1) as f64;
    let means: Array1<f64> = sums.iter().map(|[sum, _]| sum / count).collect();
    let sds: Array1<f64> = sums
        .iter()
        .zip(&means)
        .map(|([_, squares], mean)| (squares / count - mean * mean).max(0.0).sqrt())
        .collect();
    // Rounding leaves something of the square of the mean.
    let is_constant = |(sd, mean): (&f64, &f64)| !sd.is_finite() || *sd <= 1e-6 * mean.abs();
    let some_constant = sums.is_empty() || sds.iter().zip(&means).any(is_constant);
    Ok((!some_constant).then(|| FeatureMoments {
        mean: means.mapv(|x| x as f32),
        sd: sds.mapv(|x| x as f32),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_blocks_keep_step_with_no_length_of_movies() {
        // 195 movies of 89 blocks, whose number over that of samples is 1 less the golden ratio; and movies as long as a stratum.
        for (n_movies, length) in [(195usize, 89), (195, 34), (512, 32)] {
            let every = (n_movies * length).div_ceil(SIZED_BLOCKS);
            let mut taken = vec![0usize; length];
            for i in 0..(n_movies * length) / every {
                taken[(i * every + place_in(i, every)) % length] += 1;
            }
            let missed = taken.iter().filter(|count| **count == 0).count();
            assert!(
                missed * 20 <= length,
                "{n_movies} × {length}: {missed} places of movies never"
            );
        }
        assert_eq!(place_in(7, 1), 0);
    }

    #[test]
    fn each_bin_of_a_stimulus_is_encoded_once_however_many_stretches_show_it() {
        let stretch = |session, stimulus, first| Stretch {
            session,
            stimulus,
            first,
        };
        // Overlapping, adjacent, equal and apart; the same bins of another stimulus and of another session. The second pass has some
        // within those of the first, some that reach further, and some of its own.
        let passes = [
            Pass {
                stretches: vec![
                    stretch(0, 1, 50),
                    stretch(0, 0, 12),
                    stretch(0, 0, 10),
                    stretch(1, 0, 10),
                    stretch(0, 0, 18),
                    stretch(0, 0, 10),
                    stretch(0, 0, 24),
                ],
                bins: 6,
                skipped: 2,
            },
            Pass {
                stretches: vec![
                    stretch(0, 0, 13),
                    stretch(0, 1, 53),
                    stretch(0, 0, 27),
                    stretch(1, 1, 10),
                ],
                bins: 3,
                skipped: 0,
            },
        ];
        let distinct = DistinctBins::of(&passes);
        let mut rows = Vec::new();
        for (run, n_bins) in &distinct.runs {
            rows.extend((run.first..run.first + n_bins).map(|bin| (run.session, run.stimulus, bin)));
        }
        assert_eq!(rows.len(), distinct.n_rows);
        let mut once = rows.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), rows.len(), "a bin twice");
        for (pass, rows_of_pass) in passes.iter().zip(&distinct.rows_of_stretches) {
            assert_eq!(pass.stretches.len(), rows_of_pass.len());
            for (stretch, row) in pass.stretches.iter().zip(rows_of_pass) {
                let (first, until) = (stretch.first + pass.skipped, stretch.first + pass.bins);
                let expected = (first..until).map(|bin| (stretch.session, stretch.stimulus, bin));
                assert!(
                    rows[*row..*row + pass.bins - pass.skipped].iter().copied().eq(expected),
                    "{stretch:?}"
                );
            }
        }
        // Of stimulus 0 bins 12 to 18, 20 to 24 and 26 to 30; of stimulus 1 52 to 56; of the other session 12 to 16, and 10 to 13.
        assert_eq!(rows.len(), 6 + 4 + 4 + 4 + 4 + 3);
        assert_eq!(distinct.runs.len(), 6);
        for (run, row) in distinct.runs.iter().zip(&distinct.rows_of_runs) {
            assert_eq!(rows[*row], (run.0.session, run.0.stimulus, run.0.first));
        }
    }
}
