//! The teacher: weights, rates and receptive fields, and the biases with which neurons fire at their rates.

use data::{CellType, Connectivity, ConnectivityNeuron, LOG_ODDS};
use ndarray::{Array1, Array2, Array3, ArrayView2, Axis, s};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use snn_core::CoreError;
use snn_core::bits::SpikeBits;
use snn_core::device::{self, DeviceChoice};
use snn_core::models::Parameters;
use snn_core::models::rsnn::{Draws, Engine};
use snn_core::models::spike_history::{Basis, Encoder, EncoderSpec, SpikeHistory, SpikeHistorySpec, Windows};
use snn_core::rng::StreamRng;
use snn_core::rollout::Drive;

use super::TeacherOptions;

/// Threshold, slope and surrogate of the published network (specification §1.2.5); the recording knows none of them.
const THRESHOLD: f32 = 0.4;
const TEMPERATURE: f32 = 1.0;
const GAMMA: f32 = 0.3;
/// Bins before each trial, in which the network finds its state; the movie's first frame stands.
pub(super) const WARMUP_BINS: usize = 25;
/// Trials simulated at once; bounds memory.
const CHUNK_TRIALS: usize = 16;
/// Rounds of calibration …
const N_ROUNDS: usize = 15;
/// … of so many bins of the movie at least, over trials.
const ROUND_BINS: usize = 12_000;
/// Largest step of a bias in a round, log-odds.
const LARGEST_STEP: f64 = 1.0;

/// A calibrated network.
#[derive(Debug)]
pub(super) struct Teacher {
    model: SpikeHistory,
    kinds: Vec<CellType>,
    encoder: Encoder,
    fields: Parameters,
    seed: u64,
    bin_ms: f64,
}

/// Name of the unit that a visible neuron is recorded as.
pub(super) fn unit_id(neuron: usize) -> String {
    format!("{neuron:04}")
}

impl Teacher {
    /// A network that fires at its rates while the movie `[T, C]` is shown.
    pub(super) fn new(options: &TeacherOptions, movie: &ArrayView2<'_, f32>) -> Result<Self, CoreError> {
        let kinds = kinds(options);
        let weights = weights(options, &kinds).mapv(|w| THRESHOLD / TEMPERATURE * w);
        let targets = targets(options);
        let mut parameters = Parameters::new();
        parameters.insert("w", weights);
        parameters.insert("bias", targets.mapv(bias_of));
        let spec = SpikeHistorySpec {
            n_visible: options.n_visible,
            n_hidden: options.n_hidden,
            lags: options.n_lags,
            basis: Basis::Raw,
            threshold: THRESHOLD,
            temperature: TEMPERATURE,
            gamma: GAMMA,
        };
        let spec_of_encoder = EncoderSpec {
            pixels: [1, options.n_channels],
            lags: options.n_stimulus_lags,
            basis: Basis::Raw,
            layers: Vec::new(),
        };
        let mut teacher = Self {
            model: SpikeHistory::with_parameters(spec, parameters)?,
            kinds,
            encoder: Encoder::new(spec_of_encoder, options.n_neurons())?,
            fields: Parameters::new(),
            seed: options.seed,
            bin_ms: options.bin_ms,
        };
        teacher.fields.insert("encoder.out.w", fields(options));
        teacher.scale_fields(movie, options.drive)?;
        teacher.calibrate(movie, &targets)?;
        Ok(teacher)
    }

    /// Makes the drive by the movie of the same size in every neuron.
    fn scale_fields(&mut self, movie: &ArrayView2<'_, f32>, size: f64) -> Result<(), CoreError> {
        let drive = self.drive(movie)?;
        let deviations = drive.mapv(f64::from).std_axis(Axis(0), 0.0);
        let unit = f64::from(THRESHOLD / TEMPERATURE);
        let mut w = self.fields.matrix("encoder.out.w")?.to_owned();
        for (mut column, deviation) in w.columns_mut().into_iter().zip(&deviations) {
            let factor = if *deviation > 0.0 { size * unit / deviation } else { 0.0 };
            column.mapv_inplace(|w| (f64::from(w) * factor) as f32);
        }
        self.fields.insert("encoder.out.w", w);
        Ok(())
    }

    /// Moves the biases until the rates over the movie are the targets (spikes per bin).
    fn calibrate(&mut self, movie: &ArrayView2<'_, f32>, targets: &Array1<f64>) -> Result<(), CoreError> {
        let n_trials = ROUND_BINS.div_ceil(movie.nrows());
        let drive = self.drive(movie)?.insert_axis(Axis(0));
        let n_bins = (n_trials * movie.nrows()) as f64;
        let unit = f64::from(THRESHOLD / TEMPERATURE);
        for round in 0..N_ROUNDS {
            let spikes = self.simulate(&drive, &vec![0; n_trials], 0, &format!("teacher.calibration.{round}"))?;
            let mut bias = self.model.parameters.vector("bias")?.to_owned();
            let damping = if round < 2 * N_ROUNDS / 3 { 0.8 } else { 0.4 };
            for (n, bias) in bias.iter_mut().enumerate() {
                let count: f64 = spikes.slice(s![.., .., n]).iter().map(|&z| f64::from(z)).sum();
                // Half a spike, so that a silent neuron has a finite step.
                let log_odds = |p: f64| (p / (1.0 - p)).ln();
                let p = ((count + 0.5) / (n_bins + 1.0)).min(1.0 - 0.5 / n_bins);
                let step = damping * (log_odds(targets[n]) - log_odds(p));
                *bias += (unit * step.clamp(-LARGEST_STEP, LARGEST_STEP)) as f32;
            }
            self.model.parameters.insert("bias", bias);
        }
        Ok(())
    }

    /// Drive of each neuron by a movie, `[warm-up + T, N]`, without its mean over the bins.
    pub(super) fn drive(&self, movie: &ArrayView2<'_, f32>) -> Result<Array2<f32>, CoreError> {
        let bins = movie.nrows();
        let features = self.encoder.features(movie, 0, bins)?;
        let (rows, functions, channels) = features.dim();
        let features = features
            .into_shape_with_order((rows, functions * channels))
            .map_err(|error| CoreError::Population {
                what: error.to_string(),
            })?;
        let cpu = device::open(DeviceChoice::Cpu)?;
        let drive = self.encoder.encode(&cpu.device, &self.fields, &features.view())?.drive;
        let mut all = Array2::zeros((WARMUP_BINS + bins, drive.ncols()));
        for mut row in all.slice_mut(s![..WARMUP_BINS, ..]).rows_mut() {
            row.assign(&drive.row(0));
        }
        all.slice_mut(s![WARMUP_BINS.., ..]).assign(&drive);
        Ok(all)
    }

    /// Spikes of trials `[K, T, N]` whose movies have these drives `[S, warm-up + T, N]`; a trial has the same spikes whichever are
    /// simulated with it. Allocates them, and 16 trials of potentials.
    pub(super) fn simulate(
        &self,
        drives: &Array3<f32>,
        movie_of: &[usize],
        first_trial: usize,
        stream: &str,
    ) -> Result<ndarray::Array3<u8>, CoreError> {
        let (_, steps, n) = drives.dim();
        let mut spikes = Array3::zeros((movie_of.len(), steps - WARMUP_BINS, n));
        for (c, chunk) in movie_of.chunks(CHUNK_TRIALS).enumerate() {
            let windows = Windows {
                n_windows: chunk.len(),
                n_steps: steps,
                drive: Some(Drive {
                    values: drives.clone(),
                    index: chunk.to_vec(),
                }),
                ..Windows::default()
            };
            let draws = Draws {
                seed: self.seed,
                step: 0,
                stream,
                first_trial: (first_trial + c * CHUNK_TRIALS) as u32,
            };
            let sampled: SpikeBits = self.model.sample(&Engine::Native, &windows, draws)?.spikes()?;
            let first = c * CHUNK_TRIALS;
            spikes
                .slice_mut(s![first..first + chunk.len(), .., ..])
                .assign(&sampled.to_array().slice(s![.., WARMUP_BINS.., ..]));
        }
        Ok(spikes)
    }

    /// Cell type of a neuron.
    pub(super) fn kind(&self, neuron: usize) -> CellType {
        self.kinds[neuron]
    }

    /// The network as a table of its weights, log-odds; visible neurons are called as the units that are recorded from them.
    pub(super) fn connectivity(&self, area: &str) -> Result<Connectivity, CoreError> {
        let spec = &self.model.spec;
        let unit = TEMPERATURE / THRESHOLD;
        let neuron = |(n, kind): (usize, &CellType)| ConnectivityNeuron {
            session: String::new(),
            unit: if n < spec.n_visible { unit_id(n) } else { String::new() },
            area: area.to_owned(),
            cell_type: *kind,
        };
        let kernels = self.model.kernels()?.mapv(|w| unit * w);
        Ok(Connectivity {
            weights: kernels.permuted_axes([0, 2, 1]).as_standard_layout().into_owned(),
            weight_unit: LOG_ODDS.to_owned(),
            delays_ms: (1..=spec.lags).map(|lag| lag as f64 * self.bin_ms).collect(),
            neurons: self.kinds.iter().enumerate().map(neuron).collect(),
        })
    }
}

/// Bias with which a neuron that nothing drives fires with probability `p` per bin.
fn bias_of(p: f64) -> f32 {
    let s = (p / (1.0 - p)).ln() / f64::from(TEMPERATURE);
    (f64::from(THRESHOLD) * (1.0 + s)) as f32
}

fn normal(rng: &mut impl Rng) -> f64 {
    StandardNormal.sample(rng)
}

/// Cell types in random order, as many inhibitory ones as their share says, among visible neurons and among hidden ones.
fn kinds(options: &TeacherOptions) -> Vec<CellType> {
    let mut rng = StreamRng::new(options.seed, "teacher.types", 0);
    let mut kinds = Vec::with_capacity(options.n_neurons());
    for n in [options.n_visible, options.n_hidden] {
        let n_inhibitory = (options.inhibitory_share * n as f64).round() as usize;
        let mut group = vec![CellType::Excitatory; n];
        group[..n_inhibitory.min(n)].fill(CellType::Inhibitory);
        group.shuffle(&mut rng);
        kinds.extend(group);
    }
    kinds
}

/// Weights `[lag, from, to]`, log-odds. Every pair draws the same numbers, whether there is a synapse or not.
fn weights(options: &TeacherOptions, kinds: &[CellType]) -> Array3<f32> {
    let n = options.n_neurons();
    let n_inhibitory = kinds.iter().filter(|kind| **kind == CellType::Inhibitory).count();
    let inhibitory = if n_inhibitory > 0 {
        -options.coupling * options.inhibition * (n - n_inhibitory) as f64 / n_inhibitory as f64
    } else {
        0.0
    };
    let decay = |lag: usize, ms: f64| (-(lag as f64) * options.bin_ms / ms).exp();
    let spread = options.coupling_spread;
    let mut rng = StreamRng::new(options.seed, "teacher.weights", 0);
    let mut weights = Array3::zeros((options.n_lags, n, n));
    for from in 0..n {
        let mean = match kinds[from] {
            CellType::Inhibitory => inhibitory,
            _ => options.coupling,
        };
        for to in 0..n {
            let (chance, factor) = (
                rng.random::<f64>(),
                (spread * normal(&mut rng) - 0.5 * spread * spread).exp(),
            );
            let (size, ms) = if from == to {
                (options.self_coupling * factor, options.self_decay_ms)
            } else if chance < options.p_connection {
                (mean * factor, options.decay_ms)
            } else {
                continue;
            };
            for lag in 0..options.n_lags {
                weights[[lag, from, to]] = (size * decay(lag, ms)) as f32;
            }
        }
    }
    weights
}

/// Probability of a spike in a bin of each neuron.
fn targets(options: &TeacherOptions) -> Array1<f64> {
    /// Draws, after which a rate is the limit: where the mean is that close to it.
    const MOST_DRAWS: usize = 100;
    let mut rng = StreamRng::new(options.seed, "teacher.rates", 0);
    let spread = options.rate_spread;
    let location = options.rate_hz.ln() - 0.5 * spread * spread;
    Array1::from_shape_simple_fn(options.n_neurons(), || {
        let mut draws = (0..MOST_DRAWS).map(|_| (location + spread * normal(&mut rng)).exp());
        let rate_hz = draws.find(|rate| *rate <= options.rate_limit_hz);
        rate_hz.unwrap_or(options.rate_limit_hz) * options.bin_ms / 1000.0
    })
}

/// Receptive fields `[lag · channels + channel, N]`: a bump in a ring of channels of either sign, times a decay over lags.
fn fields(options: &TeacherOptions) -> Array2<f32> {
    let mut rng = StreamRng::new(options.seed, "teacher.fields", 0);
    let channels = options.n_channels;
    let mut fields = Array2::zeros((options.n_stimulus_lags * channels, options.n_neurons()));
    for mut field in fields.columns_mut() {
        let centre = rng.random::<f64>() * channels as f64;
        let sign = if rng.random::<bool>() { 1.0 } else { -1.0 };
        for (i, w) in field.iter_mut().enumerate() {
            let (lag, channel) = (i / channels, i % channels);
            let apart = (channel as f64 - centre).abs();
            let apart = apart.min(channels as f64 - apart) / options.field_channels;
            let decay = -(lag as f64) * options.bin_ms / options.response_ms;
            *w = (sign * (decay - 0.5 * apart * apart).exp()) as f32;
        }
    }
    fields
}

/// A movie `[T, C]`: each channel a stationary process whose correlation decays exponentially, of mean 0 and deviation 1.
pub(super) fn movie(options: &TeacherOptions, number: usize) -> Array2<f32> {
    let mut rng = StreamRng::new(options.seed, "teacher.movie", number as u64);
    let keep = if options.movie_ms > 0.0 {
        (-options.bin_ms / options.movie_ms).exp()
    } else {
        0.0
    };
    let fresh = (1.0 - keep * keep).sqrt();
    let mut movie = Array2::zeros((options.n_bins, options.n_channels));
    let mut state: Vec<f64> = (0..options.n_channels).map(|_| normal(&mut rng)).collect();
    for mut frame in movie.rows_mut() {
        for (value, state) in frame.iter_mut().zip(&mut state) {
            *value = *state as f32;
            *state = keep * *state + fresh * normal(&mut rng);
        }
    }
    movie
}
