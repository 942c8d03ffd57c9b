//! The task and the bookkeeping of the artificial six-area recording: which trials there are, which session records
//! how many units of which areas, how fast the neurons fire. The network that is recorded isn't known here.
//!
//! # Source
//! Sourmpis et al. 2023; specification §1.15 (sizes), §1.20 (areas), §1.21 (window), §2.2 (frequencies).

use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};

/// Recorded areas, in the order of the publication.
pub const AREAS: [&str; 6] = ["wS1", "wS2", "wM1", "wM2", "ALM", "tjM1"];
/// Units of the 28 published sessions, 1500 in all (§1.15).
pub const SESSION_SIZES: [usize; 28] = [
    38, 35, 17, 21, 81, 104, 11, 65, 11, 45, 1, 145, 57, 14, 171, 99, 106, 34, 23, 98, 71, 95, 3, 1, 63, 53, 10, 28,
];
/// Time of the auditory cue after the whisker stimulus (ms).
pub const CUE_MS: f64 = 1000.0;
/// Median of the rates of all neurons (Hz; published: 1.57) …
const RATE_MEDIAN_HZ: f64 = 1.58;
/// … and standard deviation of their logarithm, for a mean of 3.2 Hz (published: 3.20) below …
const RATE_LOG_SPREAD: f64 = 1.29;
/// … this rate (Hz): units of 40 Hz and more were left out of the published recordings.
const RATE_LIMIT_HZ: f64 = 36.0;
/// How much faster an inhibitory neuron tends to fire, in standard deviations of the rank score.
const INHIBITORY_SHIFT: f64 = 1.2;
/// Normal numbers drawn for each quantile of the rates; odd, so that there is one in the middle.
const DRAWS_PER_QUANTILE: usize = 101;

/// What the mouse did in a trial, given what it felt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrialType {
    /// Whisker stimulus, no lick.
    Miss,
    /// Whisker stimulus, lick after the cue.
    Hit,
    /// No whisker stimulus, no lick.
    CorrectRejection,
    /// No whisker stimulus, lick after the cue.
    FalseAlarm,
}

impl TrialType {
    /// Label of the trial in the recording: Miss, Hit, CR, FA (§1.14).
    pub fn label(self) -> &'static str {
        match self {
            Self::Miss => "Miss",
            Self::Hit => "Hit",
            Self::CorrectRejection => "CR",
            Self::FalseAlarm => "FA",
        }
    }

    /// Whether there is a whisker stimulus.
    pub fn is_go(self) -> bool {
        matches!(self, Self::Miss | Self::Hit)
    }

    /// Whether the mouse licks.
    pub fn is_lick(self) -> bool {
        matches!(self, Self::Hit | Self::FalseAlarm)
    }

    /// Probability that the jaw moves in the delay ("active" trials); published: most hits of one cluster (§2.2).
    fn p_active(self) -> f64 {
        match self {
            Self::Hit => 0.6,
            Self::FalseAlarm => 0.4,
            Self::Miss | Self::CorrectRejection => 0.1,
        }
    }
}

/// How often each trial type occurs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frequencies {
    /// Share of trials with a whisker stimulus.
    pub p_go: f64,
    /// Share of these in which the mouse licks (published: 0.66).
    pub p_hit: f64,
    /// Share of the others in which it licks (published: 0.20).
    pub p_false_alarm: f64,
}

impl Default for Frequencies {
    fn default() -> Self {
        Self {
            p_go: 0.5,
            p_hit: 0.66,
            p_false_alarm: 0.20,
        }
    }
}

/// A movement of the jaw, or a lick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Movement {
    /// Start (ms after the whisker stimulus).
    pub start_ms: f64,
    /// Duration (ms).
    pub duration_ms: f64,
    /// Strength; 1 is usual.
    pub amplitude: f64,
}

/// What is decided about a trial before the network is simulated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlannedTrial {
    /// Trial type.
    pub trial_type: TrialType,
    /// Strength of the whisker stimulus; 1 is usual.
    pub whisker_gain: f64,
    /// Excitability in this trial, of all areas; standard normal.
    pub arousal: f64,
    /// Preparation of the lick: starts after the stimulus of a hit, grows until the cue.
    pub ramp: Option<Movement>,
    /// Movement of the jaw in the delay, in active trials.
    pub movement: Option<Movement>,
    /// Lick after the cue.
    pub lick: Option<Movement>,
}

/// Decides `n` trials.
///
/// Amplitudes are log-normal around 1 (logarithmic standard deviation 0.25; of licks 0.05). A lick starts 65 to 190 ms
/// after the cue, the ramp 60 to 200 ms after the stimulus, a delay movement between 200 and 650 ms.
///
/// # Source
/// §2.2 (frequencies); reaction times below 0.2 s: §1.14.
pub fn plan_trials(n: usize, frequencies: Frequencies, rng: &mut (impl Rng + ?Sized)) -> Vec<PlannedTrial> {
    let draw = |_| {
        let trial_type = draw_type(frequencies, rng);
        plan_trial(trial_type, rng)
    };
    (0..n).map(draw).collect()
}

/// About `n` trials with each type as often as expected, rounded, in the order of [`TrialType`].
pub fn plan_typical_trials(n: usize, frequencies: Frequencies, rng: &mut (impl Rng + ?Sized)) -> Vec<PlannedTrial> {
    let Frequencies {
        p_go,
        p_hit,
        p_false_alarm,
    } = frequencies;
    let shares = [
        (TrialType::Miss, p_go * (1.0 - p_hit)),
        (TrialType::Hit, p_go * p_hit),
        (TrialType::CorrectRejection, (1.0 - p_go) * (1.0 - p_false_alarm)),
        (TrialType::FalseAlarm, (1.0 - p_go) * p_false_alarm),
    ];
    let mut trials = Vec::with_capacity(n);
    for (trial_type, p) in shares {
        let n_of_type = (p * n as f64).round() as usize;
        trials.extend((0..n_of_type).map(|_| plan_trial(trial_type, rng)));
    }
    trials
}

fn draw_type(frequencies: Frequencies, rng: &mut (impl Rng + ?Sized)) -> TrialType {
    let is_go = rng.random_bool(frequencies.p_go.clamp(0.0, 1.0));
    let p_lick = if is_go {
        frequencies.p_hit
    } else {
        frequencies.p_false_alarm
    };
    let is_lick = rng.random_bool(p_lick.clamp(0.0, 1.0));
    match (is_go, is_lick) {
        (true, true) => TrialType::Hit,
        (true, false) => TrialType::Miss,
        (false, true) => TrialType::FalseAlarm,
        (false, false) => TrialType::CorrectRejection,
    }
}

fn plan_trial(trial_type: TrialType, rng: &mut (impl Rng + ?Sized)) -> PlannedTrial {
    let ramp = (trial_type == TrialType::Hit).then(|| {
        let start_ms = rng.random_range(60.0..200.0);
        Movement {
            start_ms,
            duration_ms: CUE_MS - start_ms,
            amplitude: amplitude(rng),
        }
    });
    let movement = rng.random_bool(trial_type.p_active()).then(|| Movement {
        start_ms: rng.random_range(200.0..650.0),
        duration_ms: rng.random_range(150.0..350.0),
        amplitude: amplitude(rng),
    });
    let lick = trial_type.is_lick().then(|| {
        let latency_ms = (100.0 + 25.0 * normal(rng)).clamp(65.0, 190.0);
        Movement {
            start_ms: CUE_MS + latency_ms,
            duration_ms: 400.0,
            // The rates, and the jaw behind its logarithmic readout, grow exponentially with this.
            amplitude: (0.05 * normal(rng)).exp(),
        }
    });
    PlannedTrial {
        trial_type,
        whisker_gain: amplitude(rng),
        arousal: normal(rng),
        ramp,
        movement,
        lick,
    }
}

fn normal(rng: &mut (impl Rng + ?Sized)) -> f64 {
    StandardNormal.sample(rng)
}

fn amplitude(rng: &mut (impl Rng + ?Sized)) -> f64 {
    (0.25 * normal(rng)).exp()
}

/// Units of an area that a session records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Index of the area.
    pub area: usize,
    /// Units; 0 for the second area of a session of one unit.
    pub n_units: usize,
}

/// Gives each session two areas and divides its units between them.
///
/// The largest session first, each takes the pair (a, b) with the largest r_a + r_b − n·u/2, where r is what is left
/// of an area's `per_area` units, n the size of the session and u how many sessions have taken that pair (ties: the
/// first pair), where one with enough units left comes before any that lacks them. The area with more left gives more,
/// so that both are left with the same, but neither gives less than a quarter. With the published sizes and 250 units
/// per area, this uses all 15 pairs and each area up to the last unit.
pub fn share_out(sizes: &[usize], n_areas: usize, per_area: usize) -> Vec<[Share; 2]> {
    let pairs: Vec<(usize, usize)> = (0..n_areas)
        .flat_map(|a| (a + 1..n_areas).map(move |b| (a, b)))
        .collect();
    let mut left = vec![per_area as i64; n_areas];
    let mut taken = vec![0_i64; pairs.len()];
    let mut shares = vec![[Share { area: 0, n_units: 0 }; 2]; sizes.len()];
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&s| (std::cmp::Reverse(sizes[s]), s));
    for s in order {
        let n = sizes[s] as i64;
        let score = |p: usize| {
            let of_both = left[pairs[p].0] + left[pairs[p].1];
            (of_both >= n, 2 * of_both - n * taken[p])
        };
        let Some(best) = (0..pairs.len()).max_by_key(|&p| (score(p), std::cmp::Reverse(p))) else {
            return shares;
        };
        let (a, b) = pairs[best];
        taken[best] += 1;
        let at_least = if n > 1 { (n / 4).max(1) } else { 0 };
        let wanted = (n + left[a] - left[b] + n % 2).div_euclid(2);
        let of_a = wanted.clamp(at_least, n - at_least);
        left[a] -= of_a;
        left[b] -= n - of_a;
        shares[s] = [(a, of_a), (b, n - of_a)].map(|(area, n)| Share {
            area,
            n_units: usize::try_from(n).unwrap_or(0),
        });
    }
    shares
}

/// Draws which neurons of its area each session records: without replacement until the area's neurons are used up;
/// then all may be drawn again, though not twice in the same session.
///
/// `members` lists the neurons of each area; the result has one ascending list per session.
pub fn draw_units(shares: &[[Share; 2]], members: &[Vec<usize>], rng: &mut (impl Rng + ?Sized)) -> Vec<Vec<usize>> {
    let mut free: Vec<Vec<usize>> = members.to_vec();
    let draw = |shares: &[Share; 2]| {
        let mut units = Vec::new();
        for share in shares {
            for _ in 0..share.n_units {
                if free[share.area].is_empty() {
                    let again = members[share.area].iter().filter(|n| !units.contains(*n));
                    free[share.area].extend(again);
                }
                if free[share.area].is_empty() {
                    break;
                }
                let i = rng.random_range(0..free[share.area].len());
                units.push(free[share.area].swap_remove(i));
            }
        }
        units.sort_unstable();
        units
    };
    shares.iter().map(draw).collect()
}

/// Rate (Hz) that each neuron of an area shall have: quantiles of a log-normal distribution with median 1.58 Hz and
/// mean 3.2 Hz, cut off at 36 Hz; inhibitory neurons tend to be the faster ones.
///
/// # Source
/// §1.15: mean 3.20 Hz, median 1.57 Hz, units below 40 Hz.
pub fn target_rates(is_inhibitory: &[bool], rng: &mut (impl Rng + ?Sized)) -> Vec<f64> {
    let n = is_inhibitory.len();
    let mut draws: Vec<f64> = Vec::with_capacity(n * DRAWS_PER_QUANTILE);
    while draws.len() < n * DRAWS_PER_QUANTILE {
        let rate_hz = RATE_MEDIAN_HZ * (RATE_LOG_SPREAD * normal(rng)).exp();
        if rate_hz < RATE_LIMIT_HZ {
            draws.push(rate_hz);
        }
    }
    draws.sort_by(f64::total_cmp);
    let score: Vec<f64> = is_inhibitory
        .iter()
        .map(|&inhibitory| normal(rng) + if inhibitory { INHIBITORY_SHIFT } else { 0.0 })
        .collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| score[i].total_cmp(&score[j]));
    let mut rates = vec![0.0; n];
    for (chunk, i) in draws.chunks(DRAWS_PER_QUANTILE).zip(order) {
        // The mean of a quantile's draws keeps the mean of the distribution also for few neurons.
        rates[i] = chunk.iter().sum::<f64>() / chunk.len() as f64;
    }
    rates
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;

    #[test]
    fn the_published_sessions_use_every_pair_of_areas_and_each_area_up_to_the_last_unit() {
        let shares = share_out(&SESSION_SIZES, 6, 250);
        let mut units = [0; 6];
        let mut large = [0; 6];
        let mut pairs = std::collections::BTreeSet::new();
        for (shares, size) in shares.iter().zip(SESSION_SIZES) {
            let [a, b] = shares;
            assert!(a.area < b.area && a.n_units + b.n_units == size);
            assert!(size < 2 || a.n_units.min(b.n_units) >= (size / 4).max(1));
            pairs.insert((a.area, b.area));
            for share in shares {
                units[share.area] += share.n_units;
                large[share.area] += usize::from(share.n_units >= 10);
            }
        }
        assert_eq!(units, [250; 6]);
        assert_eq!(pairs.len(), 15);
        // Areas of a session with fewer than 10 units are left out of trial matching.
        assert!(large.iter().all(|n| *n >= 5), "{large:?}");
    }

    #[test]
    fn units_are_drawn_once_each_and_again_only_when_all_are_used_up() {
        let members: Vec<Vec<usize>> = (0..6).map(|a| (250 * a..250 * (a + 1)).collect()).collect();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let drawn = draw_units(&share_out(&SESSION_SIZES, 6, 250), &members, &mut rng);
        let mut all: Vec<usize> = drawn.concat();
        all.sort_unstable();
        assert_eq!(all, (0..1500).collect::<Vec<_>>());
        let members: Vec<Vec<usize>> = (0..6).map(|a| (10 * a..10 * (a + 1)).collect()).collect();
        for units in draw_units(&share_out(&[12; 9], 6, 10), &members, &mut rng) {
            assert!(units.len() == 12 && units.windows(2).all(|w| w[0] < w[1]), "{units:?}");
        }
    }

    #[test]
    fn target_rates_have_the_published_mean_and_median_and_are_higher_in_inhibitory_neurons() {
        let is_inhibitory: Vec<bool> = (0..250).map(|i| i >= 200).collect();
        let rates = target_rates(&is_inhibitory, &mut Xoshiro256PlusPlus::seed_from_u64(2));
        let mean = |rates: &[f64]| rates.iter().sum::<f64>() / rates.len() as f64;
        assert!((mean(&rates) / 3.2 - 1.0).abs() < 0.03, "{}", mean(&rates));
        assert!(mean(&rates[200..]) > 1.5 * mean(&rates[..200]));
        let mut sorted = rates;
        sorted.sort_by(f64::total_cmp);
        assert!((sorted[125] / 1.57 - 1.0).abs() < 0.05 && sorted[249] < RATE_LIMIT_HZ);
    }

    #[test]
    fn planned_trials_have_the_parts_of_their_type() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        for trial in plan_trials(2000, Frequencies::default(), &mut rng) {
            assert_eq!(trial.ramp.is_some(), trial.trial_type == TrialType::Hit);
            assert_eq!(trial.lick.is_some(), trial.trial_type.is_lick());
            if let Some(lick) = trial.lick {
                assert!((CUE_MS + 65.0..=CUE_MS + 190.0).contains(&lick.start_ms));
            }
        }
    }
}
