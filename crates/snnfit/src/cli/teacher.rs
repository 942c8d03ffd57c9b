//! Options of `snnfit synth teacher`.

use std::path::PathBuf;

use clap::Args;

/// `snnfit synth teacher`; what is not given is as by default, or as in the small variant.
#[derive(Debug, Clone, Default, Args)]
#[command(
    after_help = "Examples:\n  snnfit synth teacher --out teacher.h5 --network teacher_network.h5\n  \
    snnfit synth teacher --small --seed 3 --out small.h5 --network small_network.h5\n\n\
    The recording has the spikes of the visible neurons and the movie; all trials show the same movie, but for those of \
    --other-movies. The network runs on hidden neurons too; its weights are changes of the log-odds of a spike, by lag. \
    `snnfit evaluate RUN --truth FILE` compares those of a fit with them."
)]
pub struct TeacherArgs {
    /// Recording file to write; must not exist
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Also write the weights of the network, for comparison with fitted ones; must not exist
    #[arg(long, value_name = "FILE")]
    pub network: Option<PathBuf>,
    /// Start from the small variant: 10 of 20 neurons and 48 trials of 4 s, made in a second
    #[arg(long)]
    pub small: bool,
    /// Seed of the network, the movies and the trials
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Neurons that are recorded
    #[arg(long, value_name = "N")]
    pub visible: Option<usize>,
    /// Neurons that are not
    #[arg(long, value_name = "N")]
    pub hidden: Option<usize>,
    /// Share of inhibitory neurons
    #[arg(long, value_name = "X")]
    pub inhibitory_share: Option<f64>,
    /// Bin, ms; at most one spike each
    #[arg(long, value_name = "MS")]
    pub bin_ms: Option<f64>,
    /// Bins that a spike acts over
    #[arg(long, value_name = "D")]
    pub lags: Option<usize>,
    /// Bins of a trial
    #[arg(long, value_name = "T")]
    pub bins: Option<usize>,
    /// Trials of the movie that they share
    #[arg(long, value_name = "K")]
    pub trials: Option<usize>,
    /// Further movies, each shown in one trial
    #[arg(long, value_name = "N")]
    pub other_movies: Option<usize>,
    /// Probability of a synapse between two neurons
    #[arg(long, value_name = "P")]
    pub connection_probability: Option<f64>,
    /// Mean weight of an excitatory synapse at lag 1: change of the log-odds of a spike
    #[arg(long, value_name = "X")]
    pub coupling: Option<f64>,
    /// Standard deviation of the logarithm of weights
    #[arg(long, value_name = "X")]
    pub coupling_spread: Option<f64>,
    /// Inhibition that a neuron receives, as a multiple of its excitation (sums of weights)
    #[arg(long, value_name = "X")]
    pub inhibition: Option<f64>,
    /// Time constant of the decay of weights over lags, ms
    #[arg(long, value_name = "MS")]
    pub decay_ms: Option<f64>,
    /// Mean weight of a neuron onto itself at lag 1
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub self_coupling: Option<f64>,
    /// Time constant of its decay, ms
    #[arg(long, value_name = "MS")]
    pub self_decay_ms: Option<f64>,
    /// Mean of the log-normal distribution of rates, Hz
    #[arg(long, value_name = "HZ")]
    pub rate_hz: Option<f64>,
    /// Standard deviation of the logarithm of rates
    #[arg(long, value_name = "X")]
    pub rate_spread: Option<f64>,
    /// Rates above this are drawn again, Hz
    #[arg(long, value_name = "HZ")]
    pub rate_limit_hz: Option<f64>,
    /// Channels of the movie
    #[arg(long, value_name = "C")]
    pub channels: Option<usize>,
    /// Time over which the movie stays alike, ms; 0: each bin is drawn anew
    #[arg(long, value_name = "MS")]
    pub movie_ms: Option<f64>,
    /// Standard deviation over time of what the movie adds to the log-odds
    #[arg(long, value_name = "X")]
    pub drive: Option<f64>,
    /// Width of receptive fields, channels
    #[arg(long, value_name = "X")]
    pub field_channels: Option<f64>,
    /// Time constant of the response to the movie, ms
    #[arg(long, value_name = "MS")]
    pub response_ms: Option<f64>,
    /// Bins of the movie that a neuron answers to, the present one included
    #[arg(long, value_name = "L")]
    pub stimulus_lags: Option<usize>,
}
