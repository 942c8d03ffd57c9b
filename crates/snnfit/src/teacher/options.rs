//! What an artificial recording of a spike-history network is made of.

use crate::error::Error;

/// Most neurons, bins of a trial, trials and movies, lags, channels.
const MAX_NEURONS: usize = 5_000;
const MAX_BINS: usize = 100_000;
const MAX_TRIALS: usize = 100_000;
const MAX_LAGS: usize = 100;
const MAX_CHANNELS: usize = 10_000;

/// What is generated. Weights and drives are changes of the log-odds of a spike.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct TeacherOptions {
    /// Neurons that are recorded.
    pub n_visible: usize,
    /// Neurons that are not.
    pub n_hidden: usize,
    /// Share of inhibitory neurons.
    pub inhibitory_share: f64,
    /// Bin (ms), at most one spike each.
    pub bin_ms: f64,
    /// Bins that a spike acts over.
    pub n_lags: usize,
    /// Bins of a trial.
    pub n_bins: usize,
    /// Trials that show the same movie.
    pub n_trials: usize,
    /// Further movies, shown once each.
    pub n_other_movies: usize,
    /// Probability of a synapse between two neurons.
    pub p_connection: f64,
    /// Mean weight of an excitatory synapse at lag 1.
    pub coupling: f64,
    /// Standard deviation of the logarithm of weights.
    pub coupling_spread: f64,
    /// Inhibition that a neuron receives, as a multiple of its excitation, summed over synapses.
    pub inhibition: f64,
    /// Time constant of the decay of weights over lags (ms).
    pub decay_ms: f64,
    /// Mean weight of a neuron onto itself at lag 1.
    pub self_coupling: f64,
    /// Time constant of its decay (ms).
    pub self_decay_ms: f64,
    /// Mean of the log-normal distribution of rates (Hz).
    pub rate_hz: f64,
    /// Standard deviation of the logarithm of rates.
    pub rate_spread: f64,
    /// Rates above are drawn again (Hz).
    pub rate_limit_hz: f64,
    /// Channels of the movie.
    pub n_channels: usize,
    /// Time over which they stay alike (ms).
    pub movie_ms: f64,
    /// Standard deviation of the drive by the movie.
    pub drive: f64,
    /// Width of a receptive field (channels).
    pub field_channels: f64,
    /// Time constant of the response (ms).
    pub response_ms: f64,
    /// Bins of the movie that a neuron answers to.
    pub n_stimulus_lags: usize,
    /// Seed.
    pub seed: u64,
}

impl TeacherOptions {
    /// The sizes of the published simulations: 69 of 500 neurons, 26 s of 40 ms bins; 160 trials.
    #[must_use]
    pub fn published(seed: u64) -> Self {
        Self {
            n_visible: 69,
            n_hidden: 431,
            inhibitory_share: 0.2,
            bin_ms: 40.0,
            n_lags: 9,
            n_bins: 650,
            n_trials: 160,
            n_other_movies: 0,
            p_connection: 0.1,
            coupling: 0.3,
            coupling_spread: 0.5,
            inhibition: 0.82,
            decay_ms: 60.0,
            self_coupling: -1.0,
            self_decay_ms: 40.0,
            rate_hz: 3.0,
            rate_spread: 0.9,
            rate_limit_hz: 12.0,
            n_channels: 16,
            movie_ms: 200.0,
            drive: 0.7,
            field_channels: 1.5,
            response_ms: 80.0,
            n_stimulus_lags: 5,
            seed,
        }
    }

    /// A recording of a second: 10 of 20 neurons, 4 s, 48 trials; fewer and stronger synapses.
    #[must_use]
    pub fn small(seed: u64) -> Self {
        Self {
            n_visible: 10,
            n_hidden: 10,
            n_lags: 4,
            n_bins: 100,
            n_trials: 48,
            p_connection: 0.3,
            coupling: 0.7,
            rate_hz: 4.0,
            rate_spread: 0.4,
            n_channels: 4,
            ..Self::published(seed)
        }
    }

    /// Number of neurons.
    #[must_use]
    pub fn n_neurons(&self) -> usize {
        self.n_visible + self.n_hidden
    }

    /// Checks every number.
    ///
    /// # Errors
    /// [`Error::Usage`] with the first option out of range.
    pub fn check(&self) -> Result<(), Error> {
        let whole = [
            ("visible", self.n_visible, 1, MAX_NEURONS),
            (
                "hidden",
                self.n_hidden,
                0,
                MAX_NEURONS - self.n_visible.min(MAX_NEURONS),
            ),
            ("lags", self.n_lags, 1, MAX_LAGS),
            ("bins", self.n_bins, 2, MAX_BINS),
            ("trials", self.n_trials, 1, MAX_TRIALS),
            ("other-movies", self.n_other_movies, 0, MAX_TRIALS),
            ("channels", self.n_channels, 1, MAX_CHANNELS),
            ("stimulus-lags", self.n_stimulus_lags, 1, MAX_LAGS),
        ];
        for (name, found, least, most) in whole {
            if !(least..=most).contains(&found) {
                return bad(name, found, &format!("from {least} to {most}"));
            }
        }
        // A neuron fires at most once a bin, and a rate close to that leaves nothing to couplings.
        let fastest = 500.0 / self.bin_ms;
        let inf = f64::INFINITY;
        let numbers = [
            ("bin-ms", self.bin_ms, 0.1, 1000.0),
            ("inhibitory-share", self.inhibitory_share, 0.0, 0.95),
            ("connection-probability", self.p_connection, 0.0, 1.0),
            ("coupling", self.coupling, 0.0, 10.0),
            ("coupling-spread", self.coupling_spread, 0.0, 2.0),
            ("inhibition", self.inhibition, 0.0, 10.0),
            ("decay-ms", self.decay_ms, f64::MIN_POSITIVE, inf),
            ("self-coupling", self.self_coupling, -20.0, 2.0),
            ("self-decay-ms", self.self_decay_ms, f64::MIN_POSITIVE, inf),
            ("rate-hz", self.rate_hz, f64::MIN_POSITIVE, fastest),
            ("rate-spread", self.rate_spread, 0.0, 2.0),
            ("rate-limit-hz", self.rate_limit_hz, self.rate_hz, fastest),
            ("movie-ms", self.movie_ms, 0.0, inf),
            ("drive", self.drive, 0.0, 5.0),
            ("field-channels", self.field_channels, f64::MIN_POSITIVE, inf),
            ("response-ms", self.response_ms, f64::MIN_POSITIVE, inf),
        ];
        for (name, found, least, most) in numbers {
            // No bound is infinite in what is taken: such a constant has no meaning.
            if !(found.is_finite() && (least..=most).contains(&found)) {
                return bad(name, found, &range(least, most));
            }
        }
        Ok(())
    }
}

fn range(least: f64, most: f64) -> String {
    match (least == f64::MIN_POSITIVE, most.is_finite()) {
        (true, true) => format!("above 0, at most {most}"),
        (true, false) => "above 0".to_owned(),
        (false, true) => format!("from {least} to {most}"),
        (false, false) => format!("at least {least}"),
    }
}

pub(super) fn bad<T>(name: &str, found: impl std::fmt::Display, expected: &str) -> Result<T, Error> {
    Err(Error::Usage {
        message: format!("--{name} is {found}; expected {expected}"),
        help: "`snnfit help synth teacher` explains every option".to_owned(),
    })
}
