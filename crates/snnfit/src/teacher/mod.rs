//! An artificial recording whose couplings are known: some neurons of a spike-history network, all driven by a movie that trials
//! share. So students, which are fitted to the spikes of the visible neurons alone, can be judged by their weights.
//!
//! The network is the model's own ([`snn_core::models::spike_history`]): excitatory and inhibitory neurons, sparse couplings of
//! log-normal size that decay over lags, log-normal rates. Noise correlations come of the couplings, those of hidden neurons
//! included; nothing else is shared. Equal options give equal bytes, for any number of threads.
//!
//! # Source
//! Sizes of the teacher of Bellec, Wang et al. 2021 (specification §1.8), which was fitted to a recording that isn't public; the
//! constants are ours.

mod network;
mod options;

use std::collections::BTreeMap;

use data::{Activity, Connectivity, Recording, Session, StimulusMovies, Trial, TrialEvents, Unit};
use losses::sample_and_measure::{
    NoiseFrom, largest_population_counts, noise_correlations_of_counts, pairs_of, window_counts,
};
use ndarray::{Array3, Axis, s};
use snn_core::CoreError;

use crate::error::Error;
use crate::fit_error::FitError;
use network::{Teacher, movie, unit_id};
pub use options::TeacherOptions;

/// Name of the session, and area of its units.
const SESSION: &str = "teacher";
const AREA: &str = "V1";
/// Time between trials (s).
const PAUSE_S: f64 = 1.0;
/// The network has run away where it fires so many times its mean over 200 ms, as in the metric `runaway_fraction`, and more than
/// a few neurons do by chance.
const RUNAWAY_FACTOR: f64 = 5.0;
const CHANCE_DEVIATIONS: f64 = 10.0;
const RUNAWAY_MS: f64 = 200.0;
/// Most values of spikes and movies (bytes, floats).
const MAX_VALUES: usize = 1 << 31;

/// A generated recording.
#[derive(Debug)]
pub struct Generated {
    /// The visible neurons.
    pub recording: Recording,
    /// Weights of all neurons, log-odds by lag.
    pub connectivity: Connectivity,
    /// What it is like, of all neurons.
    pub statistics: Statistics,
}

/// What the activity of the network is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    /// Mean rate of the visible neurons (Hz).
    pub rate_hz: f64,
    /// Mean noise correlation of pairs of visible neurons in single bins, and its standard deviation over pairs, without the
    /// part of it that a finite number of trials adds; none for fewer than two pairs or trials.
    pub noise_correlation: Option<[f64; 2]>,
    /// Largest activity of all neurons over 200 ms, as a multiple of the mean.
    pub largest: f64,
    /// Whether that is a network that runs away.
    pub runs_away: bool,
}

/// Generates the recording and the network that it is of. Trials of the shared movie come first, then the others.
///
/// Allocates the spikes of all neurons, `[K, T, N]` bytes.
///
/// # Errors
/// An option out of range; a network that runs away.
pub fn teacher(options: &TeacherOptions) -> Result<Generated, Error> {
    options.check()?;
    let n_trials = options.n_trials + options.n_other_movies;
    let values = (n_trials * options.n_bins).checked_mul(options.n_neurons());
    let drives = ((1 + options.n_other_movies) * options.n_bins).checked_mul(options.n_neurons() + options.n_channels);
    if [values, drives].iter().any(|n| n.is_none_or(|n| n > MAX_VALUES)) {
        return options::bad(
            "trials",
            n_trials,
            &format!("trials × bins × neurons of at most {MAX_VALUES}"),
        );
    }
    let movies: Vec<_> = (0..=options.n_other_movies)
        .map(|number| movie(options, number))
        .collect();
    let network = Teacher::new(options, &movies[0].view()).map_err(internal)?;
    let mut spikes = Array3::<u8>::zeros((n_trials, options.n_bins, options.n_neurons()));
    let shared = network.drive(&movies[0].view()).map_err(internal)?.insert_axis(Axis(0));
    let found = network
        .simulate(&shared, &vec![0; options.n_trials], 0, "teacher.trials")
        .map_err(internal)?;
    spikes.slice_mut(s![..options.n_trials, .., ..]).assign(&found);
    for (i, movie) in movies.iter().enumerate().skip(1) {
        let drive = network.drive(&movie.view()).map_err(internal)?.insert_axis(Axis(0));
        let trial = options.n_trials + i - 1;
        let found = network
            .simulate(&drive, &[0], trial, "teacher.trials")
            .map_err(internal)?;
        spikes.slice_mut(s![trial..=trial, .., ..]).assign(&found);
    }
    let statistics = statistics(options, &spikes);
    if statistics.runs_away {
        return Err(Error::Usage {
            message: format!(
                "the network runs away: it fires {:.1} times its mean over {RUNAWAY_MS} ms",
                statistics.largest
            ),
            help: "lower --coupling, or raise --inhibition".to_owned(),
        });
    }
    let views: Vec<_> = movies.iter().map(|movie| movie.view()).collect();
    let movies = ndarray::stack(Axis(0), &views).map_err(|error| {
        Error::Fit(FitError::Internal {
            what: error.to_string(),
        })
    })?;
    Ok(Generated {
        recording: Recording {
            sessions: vec![session(options, &network, &spikes, movies)],
        },
        connectivity: network.connectivity(AREA).map_err(internal)?,
        statistics,
    })
}

fn internal(error: CoreError) -> Error {
    Error::Fit(FitError::from(error))
}

fn session(options: &TeacherOptions, network: &Teacher, spikes: &Array3<u8>, movies: Array3<f32>) -> Session {
    let counts = spikes.slice(s![.., .., ..options.n_visible]).to_owned();
    let duration_s = options.n_bins as f64 * options.bin_ms / 1000.0;
    let total_s = duration_s * counts.dim().0 as f64;
    let unit = |n: usize| Unit {
        id: unit_id(n),
        area: AREA.to_owned(),
        cell_type: network.kind(n),
        firing_rate_hz: Some(counts.index_axis(Axis(2), n).iter().map(|&z| f64::from(z)).sum::<f64>() / total_s),
    };
    let trial = |k: usize| {
        let start_s = k as f64 * (duration_s + PAUSE_S);
        Trial {
            start_s,
            stop_s: start_s + duration_s,
            align_s: start_s,
            stimulus: 0.0,
            trial_type: if k < options.n_trials { "shared" } else { "other" }.to_owned(),
            movie: Some((k + 1).saturating_sub(options.n_trials)),
            valid_bins: None,
        }
    };
    Session {
        id: SESSION.to_owned(),
        units: (0..options.n_visible).map(unit).collect(),
        trials: (0..counts.dim().0).map(trial).collect(),
        events: TrialEvents::default(),
        behaviour: BTreeMap::new(),
        stimulus: Some(StimulusMovies {
            values: movies,
            bin_ms: options.bin_ms,
            start_ms: 0.0,
        }),
        activity: Activity::Binned {
            counts,
            bin_ms: options.bin_ms,
            start_ms: 0.0,
            presence: None,
        },
    }
}

fn statistics(options: &TeacherOptions, spikes: &Array3<u8>) -> Statistics {
    let visible = spikes.slice(s![..options.n_trials, .., ..options.n_visible]);
    let mean_of = |sum: f64, n: usize| sum / n.max(1) as f64;
    let sum = |z: &u8| f64::from(*z);
    let per_s = 1000.0 / options.bin_ms;
    let rate_hz = mean_of(visible.iter().map(sum).sum(), visible.len()) * per_s;
    let counts = window_counts(&visible, 1);
    let mut pairs = pairs_of(&noise_correlations_of_counts(&counts.view(), NoiseFrom::Mean).view());
    pairs.retain(|nc| nc.is_finite());
    let noise_correlation = (pairs.len() > 1 && options.n_trials > 1).then(|| {
        let mean = mean_of(pairs.iter().sum(), pairs.len());
        let square = mean_of(pairs.iter().map(|nc| (nc - mean).powi(2)).sum(), pairs.len());
        // Correlations of independent neurons vary by one over the number of bins that they are estimated from.
        let noise = 1.0 / ((options.n_trials - 1) * options.n_bins) as f64;
        [mean, (square - noise).max(0.0).sqrt()]
    });
    let window = ((RUNAWAY_MS / options.bin_ms).round() as usize).clamp(1, options.n_bins);
    let largest = largest_population_counts(&spikes.view(), window)
        .into_iter()
        .fold(0.0, f64::max);
    let mean = mean_of(spikes.iter().map(sum).sum(), spikes.dim().0 * spikes.dim().1) * window as f64;
    Statistics {
        rate_hz,
        noise_correlation,
        largest: if mean > 0.0 { largest / mean } else { 0.0 },
        runs_away: largest > RUNAWAY_FACTOR * mean + CHANCE_DEVIATIONS * mean.sqrt(),
    }
}
