//! The likelihood of recorded spikes some bins after the recorded past ends, beside that of the trial average of other trials.

use losses::metrics::MetricValue;
use losses::statistics::quantile_sorted;
use ndarray::{Array2, Axis, s};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use snn_core::rng::StreamRng;

use super::evaluate::{BASELINE_FLOOR, Likelihood};
use super::recorded::{Recorded, Repeats};
use super::rollouts::{Numbers, Rollouts, Window};
use crate::assembly::Part;
use crate::fit_error::FitError;

/// Horizons, bins.
pub const HORIZONS: [usize; 6] = [1, 2, 5, 10, 20, 50];
/// Rollouts of each window whose probabilities are averaged.
const SAMPLES: usize = 50;
/// Windows: as many as these bins of rollouts of all neurons allow, within limits, and no more than there are places to begin at.
/// Half a minute of one processor.
const NEURON_BINS: usize = 400_000_000;
const FEWEST_WINDOWS: usize = 400;
const MOST_WINDOWS: usize = 24_000;
/// Windows that are run together.
const AT_ONCE: usize = 64;
/// Resamples of trials.
const N_RESAMPLES: usize = 1000;

/// One horizon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Horizon {
    /// From the last recorded bin to the one that is predicted, ms.
    pub horizon_ms: f64,
    /// Bits per spike over the mean rate in the training trials.
    pub model: f64,
    /// 95 % interval of a bootstrap over trials.
    pub model_ci95: Option<[f64; 2]>,
    /// The same with the average of the other trials in the model's place.
    pub psth: f64,
    /// Its interval.
    pub psth_ci95: Option<[f64; 2]>,
    /// Model minus average of the other trials.
    pub gain: f64,
    /// Its interval, over the same resamples.
    pub gain_ci95: Option<[f64; 2]>,
    /// Recorded spikes that it rests on.
    pub n_spikes: usize,
}

/// What is evaluated.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// Network, engine, recordings.
    pub rollouts: Rollouts<'a>,
    /// Part of the trials.
    pub part: Part,
    /// First bin that is compared.
    pub first: usize,
    /// Bins over which trial averages are smoothed.
    pub smooth: usize,
    /// Width of a bin, ms.
    pub bin_ms: f64,
    /// Seed of windows, rollouts and resamples.
    pub seed: u64,
    /// Spikes per bin of each neuron in the training trials.
    pub rates: &'a [f64],
}

/// Likelihoods of one trial by horizon: model, mean rate, average of the other trials.
type OfTrial = [[Likelihood; 3]; HORIZONS.len()];

/// Horizons at which there were spikes.
///
/// # Errors
/// A device that fails.
pub fn multi_step(inputs: &Inputs<'_>) -> Result<Vec<Horizon>, FitError> {
    let recorded = inputs.rollouts.recorded;
    let longest = HORIZONS[HORIZONS.len() - 1];
    let repeats: Vec<Repeats> = recorded
        .repeats(inputs.part)
        .into_iter()
        .filter(|r| r.n_bins >= inputs.first + longest)
        .collect();
    let n_trials: usize = repeats.iter().map(|r| r.trials.len()).sum();
    let n_neurons = inputs.rollouts.model.network.spec.n_neurons();
    let n_bins = SAMPLES * (longest + inputs.rollouts.lead) * n_neurons;
    let n_places_of = |r: &Repeats| r.trials.len() * (r.n_bins - inputs.first - longest + 1);
    let n_places: usize = repeats.iter().map(n_places_of).sum();
    let n_windows = (NEURON_BINS / n_bins.max(1))
        .clamp(FEWEST_WINDOWS, MOST_WINDOWS)
        .min(n_places);
    let mut trials = Vec::with_capacity(n_trials);
    for (g, repeats) in repeats.iter().enumerate() {
        let each = n_windows.div_ceil(n_trials.max(1));
        trials.extend(of_repeats(inputs, recorded, repeats, g, each)?);
    }
    let mut rng = StreamRng::new(inputs.seed, "evaluate.bootstrap.multi_step", 0);
    let resamples: Vec<Vec<usize>> = (0..N_RESAMPLES)
        .map(|_| (0..trials.len()).map(|_| rng.random_range(0..trials.len())).collect())
        .collect();
    let all: Vec<usize> = (0..trials.len()).collect();
    let horizons = HORIZONS.iter().enumerate();
    Ok(horizons
        .filter_map(|(h, horizon)| {
            let value = of_trials(&trials, &all, h)?;
            let drawn: Vec<[f64; 3]> = resamples.iter().filter_map(|r| of_trials(&trials, r, h)).collect();
            let interval = |i: usize| interval(drawn.iter().map(|values| values[i]).collect());
            Some(Horizon {
                horizon_ms: (*horizon as f64 * inputs.bin_ms * 10.0).round() / 10.0,
                model: value[0],
                model_ci95: interval(0),
                psth: value[1],
                psth_ci95: interval(1),
                gain: value[2],
                gain_ci95: interval(2),
                n_spikes: trials.iter().map(|trial| trial[h][0].spikes).sum::<f64>() as usize,
            })
        })
        .collect())
}

impl Horizon {
    /// As two metrics: the model, and what it gains over the average of the other trials.
    pub fn metrics(&self) -> [MetricValue; 2] {
        let metric = |name: &str, value: f64, ci95| MetricValue {
            ci95,
            ..MetricValue::new(format!("{name}_{}ms", self.horizon_ms), value, self.n_spikes, "bits")
        };
        let mut model = metric("multi_step_bits_per_spike", self.model, self.model_ci95);
        model.nulls.insert("psth".to_owned(), self.psth);
        [model, metric("multi_step_gain_over_psth", self.gain, self.gain_ci95)]
    }
}

/// Bits per spike of model and average over the mean rate, and their difference; none without spikes.
fn of_trials(trials: &[OfTrial], chosen: &[usize], horizon: usize) -> Option<[f64; 3]> {
    let mut sums = [Likelihood::default(); 3];
    for &k in chosen {
        for (sum, one) in sums.iter_mut().zip(&trials[k][horizon]) {
            *sum = sum.and(*one);
        }
    }
    let [model, rate, psth] = sums;
    (model.spikes > 0.0).then(|| {
        let (model, psth) = (model.bits_per_spike(rate), psth.bits_per_spike(rate));
        [model, psth, model - psth]
    })
}

fn interval(mut values: Vec<f64>) -> Option<[f64; 2]> {
    values.sort_by(f64::total_cmp);
    Some([quantile_sorted(&values, 0.025)?, quantile_sorted(&values, 0.975)?])
}

/// Likelihoods of each trial of a repeated stimulus, over `each` windows that begin anywhere in it.
fn of_repeats(
    inputs: &Inputs<'_>,
    recorded: &Recorded,
    repeats: &Repeats,
    number: usize,
    each: usize,
) -> Result<Vec<OfTrial>, FitError> {
    let longest = HORIZONS[HORIZONS.len() - 1];
    let session = &recorded.sessions[repeats.session];
    let mut rng = StreamRng::new(inputs.seed, "evaluate.multi_step", number as u64);
    let mut trials = vec![[[Likelihood::default(); 3]; HORIZONS.len()]; repeats.trials.len()];
    let mut windows: Vec<(usize, Window)> = (0..each * repeats.trials.len())
        .map(|i| {
            let place = i % repeats.trials.len();
            let window = Window {
                session: repeats.session,
                trial: repeats.trials[place],
                first: rng.random_range(inputs.first..=repeats.n_bins - longest),
            };
            (place, window)
        })
        .collect();
    // Those that are run together show much the same bins, which are encoded once.
    windows.sort_by_key(|(_, window)| window.first);
    let averages = Averages::new(recorded, repeats, inputs.smooth);
    let bounded = |p: f64| p.clamp(BASELINE_FLOOR, 1.0 - BASELINE_FLOOR);
    for (i, chunk) in windows.chunks(AT_ONCE).enumerate() {
        let stream = format!("evaluate.multi_step.{number}.{i}");
        let numbers = Numbers {
            seed: inputs.seed,
            number: 0,
            stream: &stream,
        };
        let only: Vec<Window> = chunk.iter().map(|(_, window)| *window).collect();
        let p = inputs.rollouts.given(&only, longest, 0, SAMPLES, numbers)?;
        for (w, (place, window)) in chunk.iter().enumerate() {
            let p = p.slice(s![w * SAMPLES..(w + 1) * SAMPLES, .., ..]);
            let p = p.mapv(f64::from).mean_axis(Axis(0)).unwrap_or_default();
            for (h, &horizon) in HORIZONS.iter().enumerate() {
                let bin = window.first + horizon - 1;
                for (unit, &neuron) in session.neurons.iter().enumerate() {
                    let z = session.spikes[[window.trial, bin, unit]];
                    let [model, rate, psth] = &mut trials[*place][h];
                    model.add(z, p[[horizon - 1, unit]]);
                    rate.add(z, bounded(inputs.rates[neuron]));
                    psth.add(z, bounded(averages.without(*place, bin, unit)));
                }
            }
        }
    }
    Ok(trials)
}

/// Smoothed trial averages that leave one trial out.
struct Averages {
    /// Sums over bins up to each, of all trials `[T + 1, N]` and of each `[T + 1, N]`.
    all: Array2<f64>,
    each: Vec<Array2<f64>>,
    smooth: usize,
}

impl Averages {
    fn new(recorded: &Recorded, repeats: &Repeats, smooth: usize) -> Self {
        let session = &recorded.sessions[repeats.session];
        let n = session.neurons.len();
        let each: Vec<Array2<f64>> = repeats
            .trials
            .iter()
            .map(|&k| {
                let mut sums = Array2::zeros((repeats.n_bins + 1, n));
                for t in 0..repeats.n_bins {
                    for unit in 0..n {
                        sums[[t + 1, unit]] = sums[[t, unit]] + f64::from(session.spikes[[k, t, unit]]);
                    }
                }
                sums
            })
            .collect();
        let all = each
            .iter()
            .fold(Array2::zeros((repeats.n_bins + 1, n)), |sum, one| sum + one);
        Self { all, each, smooth }
    }

    /// Spikes per bin around a bin in all trials but one.
    fn without(&self, trial: usize, bin: usize, unit: usize) -> f64 {
        let n_bins = self.all.nrows() - 1;
        let from = bin.saturating_sub(self.smooth / 2);
        let to = (bin + self.smooth / 2 + 1).min(n_bins);
        let count = |sums: &Array2<f64>| sums[[to, unit]] - sums[[from, unit]];
        let others = ((self.each.len() - 1) * (to - from)) as f64;
        (count(&self.all) - count(&self.each[trial])) / others
    }
}
