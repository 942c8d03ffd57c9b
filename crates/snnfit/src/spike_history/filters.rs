//! What drives each neuron, for pictures: filters over lags and channels of the stimulus, or the drive of each bin; in units of the
//! logarithm of the odds of a spike.

use ndarray::{Array2, s};
use snn_core::device::OpenDevice;
use snn_core::models::spike_history::SpikeHistorySpec;

use super::model::{Driver, Model};
use super::recorded::Recorded;
use crate::assembly::Part;
use crate::fit_error::FitError;

/// Bins of the stimuli over which gradients are averaged.
const N_FRAMES: usize = 600;

/// What drives the neurons.
#[derive(Debug, Clone, PartialEq)]
pub enum Filters {
    /// Nothing, for this reason.
    None(String),
    /// The stimulus.
    Stimulus(StimulusFilters),
    /// Each bin of each stimulus by itself.
    Bins(BinDrives),
}

/// Filters of the stimulus.
#[derive(Debug, Clone, PartialEq)]
pub struct StimulusFilters {
    /// Whether the encoder is this filter; otherwise it is the mean gradient of the drive over [`StimulusFilters::n_frames`] bins.
    pub is_linear: bool,
    /// Bins over which gradients were averaged; 0 for a linear encoder.
    pub n_frames: usize,
    /// Pixels along two axes.
    pub pixels: [usize; 2],
    /// Lags, ms, 0 first, `[L]`.
    pub lag_ms: Vec<f64>,
    /// Neurons, with change of log-odds per unit of the recorded stimulus in one bin, `[L, C]`.
    pub neurons: Vec<(usize, Array2<f64>)>,
}

/// Drive of each bin of one stimulus.
#[derive(Debug, Clone, PartialEq)]
pub struct BinDrives {
    /// Session.
    pub session: String,
    /// Stimulus, by its place in the session.
    pub stimulus: usize,
    /// Stimuli of all sessions.
    pub n_stimuli: usize,
    /// Middle of each bin, ms, `[T]`.
    pub times_ms: Vec<f64>,
    /// Neurons, with the drive in log-odds, `[T]`.
    pub neurons: Vec<(usize, Vec<f64>)>,
}

/// Log-odds of a spike per unit of potential: temperature over threshold.
pub fn log_odds_per_potential(spec: &SpikeHistorySpec) -> f64 {
    f64::from(spec.temperature) / f64::from(spec.threshold)
}

impl Filters {
    /// Of these neurons; gradients are averaged over the stimuli of a part of the trials. Values of the stimulus are as recorded:
    /// `scale` is the configuration's factor on them.
    ///
    /// # Errors
    /// A device that fails.
    pub fn new(
        model: &Model,
        recorded: &Recorded,
        device: &OpenDevice,
        part: Part,
        (scale, bin_ms): (f64, f64),
        neurons: &[usize],
    ) -> Result<Self, FitError> {
        let gain = log_odds_per_potential(&model.network.spec);
        match &model.driver {
            Driver::None => Ok(Self::None(
                "the model has no encoder: nothing but bias and past spikes drives its neurons".to_owned(),
            )),
            Driver::Bins => bins(model, recorded, part, gain, bin_ms, neurons),
            Driver::Stimulus { encoder, moments } => {
                let n_channels = encoder.spec().n_channels();
                let rows = rows(recorded, part);
                let mut features = Array2::zeros((rows.len(), encoder.n_features()));
                for (mut to, &(session, movie, bin)) in features.outer_iter_mut().zip(&rows) {
                    let Some(movies) = &recorded.sessions[session].movies else {
                        continue;
                    };
                    let mut found = encoder.features(&movies.index_axis(ndarray::Axis(0), movie), bin, 1)?;
                    moments.standardise(&mut found);
                    to.iter_mut().zip(&found).for_each(|(to, x)| *to = *x);
                }
                let is_linear = encoder.spec().layers.is_empty();
                if rows.is_empty() {
                    return Ok(Self::None("no trial of this part shows a recorded stimulus".to_owned()));
                }
                let features = if is_linear {
                    features.slice(s![..1, ..])
                } else {
                    features.view()
                };
                let mut found = Vec::with_capacity(neurons.len());
                for &neuron in neurons {
                    let mut weights =
                        encoder.mean_gradient(&device.device, &model.driver_parameters, &features, neuron)?;
                    for (i, weight) in weights.iter_mut().enumerate() {
                        *weight /= f64::from(moments.sd[i / n_channels]);
                    }
                    let filter = encoder.filter(&weights) * (gain * scale);
                    found.push((neuron, filter));
                }
                Ok(Self::Stimulus(StimulusFilters {
                    is_linear,
                    n_frames: if is_linear { 0 } else { features.nrows() },
                    pixels: encoder.spec().pixels,
                    lag_ms: (0..encoder.spec().lags).map(|lag| lag as f64 * bin_ms).collect(),
                    neurons: found,
                }))
            }
        }
    }
}

/// Evenly spaced bins of the stimuli that a part shows: session, movie and bin.
fn rows(recorded: &Recorded, part: Part) -> Vec<(usize, usize, usize)> {
    let mut stretches = Vec::new();
    for (s, session) in recorded.sessions.iter().enumerate() {
        let mut shown: Vec<(usize, usize)> = session
            .trials(part)
            .iter()
            .filter_map(|&k| Some((session.stimuli[session.stimulus_of[k]]?, session.valid_bins[k])))
            .collect();
        shown.sort_unstable();
        shown.dedup_by_key(|(movie, _)| *movie);
        stretches.extend(shown.into_iter().map(|(movie, bins)| (s, movie, bins)));
    }
    let all: usize = stretches.iter().map(|(_, _, bins)| bins).sum();
    let n = N_FRAMES.min(all);
    let (mut rows, mut before, mut at) = (Vec::with_capacity(n), 0, 0);
    for i in 0..n {
        let place = i * all / n;
        while place >= before + stretches[at].2 {
            before += stretches[at].2;
            at += 1;
        }
        let (session, movie, _) = stretches[at];
        rows.push((session, movie, place - before));
    }
    rows
}

fn bins(
    model: &Model,
    recorded: &Recorded,
    part: Part,
    gain: f64,
    bin_ms: f64,
    neurons: &[usize],
) -> Result<Filters, FitError> {
    let shown = recorded.sessions.iter().enumerate().find_map(|(s, session)| {
        let &k = session.trials(part).first()?;
        Some((s, session.stimulus_of[k], session.valid_bins[k]))
    });
    let Some((s, stimulus, n_bins)) = shown else {
        return Ok(Filters::None("no session has trials of this part".to_owned()));
    };
    let session = &recorded.sessions[s];
    let drive = model.bin_drive(s)?;
    let of = |neuron: usize| {
        let column = drive.slice(s![stimulus, ..n_bins, neuron]);
        (neuron, column.iter().map(|x| f64::from(*x) * gain).collect())
    };
    Ok(Filters::Bins(BinDrives {
        session: session.id.clone(),
        stimulus,
        n_stimuli: recorded.sessions.iter().map(|session| session.stimuli.len()).sum(),
        times_ms: (0..n_bins)
            .map(|t| session.start_ms + (t as f64 + 0.5) * bin_ms)
            .collect(),
        neurons: neurons.iter().map(|&n| of(n)).collect(),
    }))
}
