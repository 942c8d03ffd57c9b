//! The artificial two-area recording: a stimulus response that reaches the second area only in hits.
//!
//! What makes it a test of trial matching: a fit of averages alone makes every trial a weak hit.

use std::collections::BTreeMap;

use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::recording::{Activity, CellType, Recording, Session, Trial, Unit};
use crate::trial_events::TrialEvents;

/// Most sessions.
const MAX_SESSIONS: usize = 10_000;
/// Most units, and most trials, over all sessions.
const MAX_ROWS: usize = 1_000_000;
/// Most pairs of unit and trial, over all sessions: each takes time, even without a spike.
const MAX_PAIRS: f64 = 1e9;
/// Most spikes, over all sessions, if every unit fired at its highest rate: 8 GB of spike times.
const MAX_SPIKES: f64 = 1e9;
/// Longest session (ms), 116 days: spike times keep their nanoseconds, and bins their edges.
const MAX_SESSION_MS: f64 = 1e10;
/// Most bins of a response.
const MAX_RESPONSE_BINS: f64 = 1e6;

/// Which areas a session records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordedAreas {
    /// Both areas, half of the neurons of each type in each.
    Both,
    /// The first area only.
    First,
    /// The second area only.
    Second,
}

/// All constants of the generator. The default is variant `v16_variation1ms` of the publication.
///
/// Sizes are bounded: 10⁴ sessions; in all sessions 10⁶ neurons, 10⁶ trials, 10⁹ pairs of neuron and trial,
/// and 10⁹ spikes (if every neuron fired at `rate_limit_hz`); sessions of 10¹⁰ ms, responses of 10⁶ bins.
///
/// # Source
/// Sourmpis et al. 2023, program, `datasets/pseudodata.py`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TwoAreaOptions {
    /// Number of sessions.
    pub n_sessions: usize,
    /// Areas of session s: entry s modulo the length of the list.
    pub session_areas: Vec<RecordedAreas>,
    /// Names of the two areas.
    pub area_names: [String; 2],
    /// Units per session.
    pub n_neurons: usize,
    /// The first so many of them are excitatory, the others inhibitory.
    pub n_excitatory: usize,
    /// Trials per session.
    pub n_trials: usize,
    /// Length of a trial (ms); trials follow one another without a gap.
    pub trial_ms: f64,
    /// Resolution of spike times (ms); at most one spike per neuron and bin.
    pub bin_ms: f64,
    /// Time of the stimulus in a trial (ms).
    pub stimulus_ms: f64,
    /// Stimulus value.
    pub stimulus: f64,
    /// Probability that a trial is a hit.
    pub p_hit: f64,
    /// Median baseline rate (Hz) of excitatory neurons.
    pub rate_excitatory_hz: f64,
    /// Median baseline rate (Hz) of inhibitory neurons.
    pub rate_inhibitory_hz: f64,
    /// exp of the standard deviation of the log baseline rate, for both types.
    pub rate_spread: f64,
    /// Baseline rates above this (Hz) are replaced …
    pub rate_limit_hz: f64,
    /// … by the limit minus a uniform number from 0 to this (Hz).
    pub rate_limit_jitter_hz: f64,
    /// Decay time constant of the response (ms).
    pub decay_ms: f64,
    /// Rise time constant of the response (ms).
    pub rise_ms: f64,
    /// Length of the response (ms).
    pub response_ms: f64,
    /// Latency of the response (ms after the stimulus) in the two areas.
    pub latency_ms: [f64; 2],
    /// The latency of the second area is longer by a uniform whole number of ms below this, drawn per
    /// session; below 2 it is 0.
    pub latency_jitter_ms: u32,
    /// Peak of the response, in units of the baseline rate times the modulation.
    pub response_peak: f64,
    /// Modulations a neuron can have …
    pub modulations: Vec<f64>,
    /// … and their probabilities.
    pub modulation_probabilities: Vec<f64>,
}

impl Default for TwoAreaOptions {
    fn default() -> Self {
        Self {
            n_sessions: 10,
            session_areas: vec![RecordedAreas::Both, RecordedAreas::First, RecordedAreas::Second],
            area_names: ["area1".to_owned(), "area2".to_owned()],
            n_neurons: 100,
            n_excitatory: 80,
            n_trials: 200,
            trial_ms: 4000.0,
            bin_ms: 1.0,
            stimulus_ms: 1000.0,
            stimulus: 4.0,
            p_hit: 0.8,
            rate_excitatory_hz: 8.0,
            rate_inhibitory_hz: 16.0,
            rate_spread: 2.0,
            rate_limit_hz: 40.0,
            rate_limit_jitter_hz: 10.0,
            decay_ms: 20.0,
            rise_ms: 5.0,
            response_ms: 160.0,
            latency_ms: [4.0, 8.0],
            latency_jitter_ms: 1,
            response_peak: 3.0,
            modulations: vec![-2.0, -1.0, 0.0, 1.0, 2.0],
            modulation_probabilities: vec![0.0, 0.0, 0.2, 0.6, 0.2],
        }
    }
}

impl TwoAreaOptions {
    /// A recording for a fit of minutes: 2 sessions of both areas, 40 neurons each, 120 trials of 0.7 s
    /// with the stimulus at 0.2 s. The file is smaller than 1 MB.
    #[must_use]
    pub fn small() -> Self {
        Self {
            n_sessions: 2,
            session_areas: vec![RecordedAreas::Both],
            n_neurons: 40,
            n_excitatory: 32,
            n_trials: 120,
            trial_ms: 700.0,
            stimulus_ms: 200.0,
            ..Self::default()
        }
    }

    fn check(&self) -> Result<(), DataError> {
        let bad = |name: &'static str, found: String, expected: &'static str| {
            Err(DataError::BadOption { name, found, expected })
        };
        let counts = [
            ("n_sessions", self.n_sessions),
            ("n_neurons", self.n_neurons),
            ("n_trials", self.n_trials),
        ];
        for (name, value) in counts {
            if value == 0 {
                return bad(name, "0".to_owned(), "at least 1");
            }
        }
        if self.n_excitatory > self.n_neurons {
            let found = self.n_excitatory.to_string();
            return bad("n_excitatory", found, "at most n_neurons");
        }
        if self.session_areas.is_empty() {
            return bad("session_areas", "empty".to_owned(), "at least one entry");
        }
        let [first, second] = &self.area_names;
        if first.is_empty() || second.is_empty() || first == second {
            let found = format!("'{first}', '{second}'");
            return bad("area_names", found, "two different names");
        }
        let positive = [
            ("trial_ms", self.trial_ms),
            ("bin_ms", self.bin_ms),
            ("rate_excitatory_hz", self.rate_excitatory_hz),
            ("rate_inhibitory_hz", self.rate_inhibitory_hz),
            ("rate_limit_hz", self.rate_limit_hz),
            ("decay_ms", self.decay_ms),
            ("rise_ms", self.rise_ms),
            ("response_ms", self.response_ms),
        ];
        for (name, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return bad(name, value.to_string(), "a finite number > 0");
            }
        }
        let not_negative = [
            ("stimulus_ms", self.stimulus_ms),
            ("rate_limit_jitter_hz", self.rate_limit_jitter_hz),
            ("latency_ms[0]", self.latency_ms[0]),
            ("latency_ms[1]", self.latency_ms[1]),
            ("response_peak", self.response_peak),
        ];
        for (name, value) in not_negative {
            if !(value.is_finite() && value >= 0.0) {
                return bad(name, value.to_string(), "a finite number ≥ 0");
            }
        }
        if self.rise_ms >= self.decay_ms {
            let found = self.rise_ms.to_string();
            return bad("rise_ms", found, "less than decay_ms");
        }
        if !(self.rate_spread.is_finite() && self.rate_spread >= 1.0) {
            let found = self.rate_spread.to_string();
            return bad("rate_spread", found, "a finite number ≥ 1");
        }
        if self.rate_limit_jitter_hz > self.rate_limit_hz {
            let found = self.rate_limit_jitter_hz.to_string();
            return bad("rate_limit_jitter_hz", found, "at most rate_limit_hz");
        }
        if !self.stimulus.is_finite() {
            return bad("stimulus", self.stimulus.to_string(), "a finite number");
        }
        if !(0.0..=1.0).contains(&self.p_hit) {
            return bad("p_hit", self.p_hit.to_string(), "a number from 0 to 1");
        }
        if self.stimulus_ms >= self.trial_ms {
            let found = self.stimulus_ms.to_string();
            return bad("stimulus_ms", found, "less than trial_ms");
        }
        if self.n_bins() == 0 || self.trial_ms / self.bin_ms > 1e9 {
            let found = self.bin_ms.to_string();
            return bad("bin_ms", found, "1 to 10⁹ bins in trial_ms");
        }
        self.check_sizes()?;
        self.check_modulations()
    }

    /// Refuses what would take more memory or time than anybody has.
    fn check_sizes(&self) -> Result<(), DataError> {
        let bad = |name, found, expected| Err(DataError::BadOption { name, found, expected });
        if self.n_sessions > MAX_SESSIONS {
            return bad("n_sessions", self.n_sessions.to_string(), "at most 10 000");
        }
        for (name, value) in [("n_neurons", self.n_neurons), ("n_trials", self.n_trials)] {
            if value.saturating_mul(self.n_sessions) > MAX_ROWS {
                let found = format!("{value} in each of {} sessions", self.n_sessions);
                return bad(name, found, "at most 1 000 000 in all sessions");
            }
        }
        let session_ms = self.n_trials as f64 * self.trial_ms;
        if session_ms > MAX_SESSION_MS {
            let found = format!(
                "{} in {} trials, {session_ms:e} ms in all",
                self.trial_ms, self.n_trials
            );
            return bad("trial_ms", found, "at most 10¹⁰ ms (116 days) per session");
        }
        let response_bins = self.response_ms / self.bin_ms;
        if response_bins > MAX_RESPONSE_BINS {
            let found = format!("{} ({response_bins:e} bins of {} ms)", self.response_ms, self.bin_ms);
            return bad("response_ms", found, "at most 10⁶ bins");
        }
        let pairs = self.n_sessions as f64 * self.n_neurons as f64 * self.n_trials as f64;
        if pairs > MAX_PAIRS {
            let found = format!("{} × {} × {}", self.n_sessions, self.n_neurons, self.n_trials);
            return bad("n_sessions × n_neurons × n_trials", found, "at most 10⁹ in all");
        }
        // At most one spike per bin; outside of the response, rates are limited.
        let baseline = self.rate_limit_hz * self.trial_ms / 1000.0;
        let spikes = pairs * (baseline + response_bins).min(self.n_bins() as f64);
        if spikes > MAX_SPIKES {
            let found = format!(
                "{} in {} sessions of {} neurons and {} trials, up to {spikes:.1e} spikes",
                self.trial_ms, self.n_sessions, self.n_neurons, self.n_trials
            );
            return bad("trial_ms", found, "at most 10⁹ spikes in all");
        }
        Ok(())
    }

    fn check_modulations(&self) -> Result<(), DataError> {
        let p = &self.modulation_probabilities;
        let is_distribution = p.iter().all(|p| (0.0..=1.0).contains(p)) && (p.iter().sum::<f64>() - 1.0).abs() < 1e-9;
        if is_distribution && p.len() == self.modulations.len() && self.modulations.iter().all(|m| m.is_finite()) {
            return Ok(());
        }
        Err(DataError::BadOption {
            name: "modulation_probabilities",
            found: format!("{p:?} for modulations {:?}", self.modulations),
            expected: "one probability per finite modulation, adding up to 1",
        })
    }

    fn n_bins(&self) -> usize {
        (self.trial_ms / self.bin_ms).round() as usize
    }
}

/// Generates the artificial recording.
///
/// Baseline rate b: log-normal; area response: s(τ) = e^{−τ/decay} − e^{−τ/rise}, scaled to its peak and
/// shifted by stimulus and latency, 0 in area 2 in misses; rate b·max(0, 1 + m·s); a spike in a bin with
/// probability rate·bin. The stretches without response are sampled by geometric intervals, which have
/// the same distribution and cost O(spikes) instead of O(bins). Allocates O(spikes).
///
/// # Errors
/// [`DataError::BadOption`] if an option is out of range.
///
/// # Source
/// Sourmpis et al. 2023, program, `datasets/pseudodata.py`, variant `v16_variation1ms`.
///
/// # Departures
/// Random numbers are seeded by the caller. The columns `trial_active` (random) and reaction time (0.15)
/// are left out: nothing reads them. Sessions are named `PS000`, `PS001`, … without a date.
pub fn two_area(options: &TwoAreaOptions, rng: &mut (impl Rng + ?Sized)) -> Result<Recording, DataError> {
    options.check()?;
    let sessions = (0..options.n_sessions)
        .map(|s| generate_session(s, options, rng))
        .collect();
    Ok(Recording { sessions })
}

fn generate_session(s: usize, options: &TwoAreaOptions, rng: &mut (impl Rng + ?Sized)) -> Session {
    let is_hit: Vec<bool> = (0..options.n_trials).map(|_| rng.random_bool(options.p_hit)).collect();
    let jitter = rng.random_range(0..options.latency_jitter_ms.max(1));
    let responses = [
        Response::new(options, options.latency_ms[0]),
        Response::new(options, options.latency_ms[1] + f64::from(jitter)),
    ];
    let recorded = options.session_areas[s % options.session_areas.len()];
    let duration_s = options.n_trials as f64 * options.trial_ms / 1000.0;
    let mut units = Vec::with_capacity(options.n_neurons);
    let mut times_s = Vec::with_capacity(options.n_neurons);
    for n in 0..options.n_neurons {
        let (area, cell_type) = area_and_type(n, recorded, options);
        let neuron = Neuron::draw(cell_type, options, rng);
        let mut times = Vec::new();
        for (k, &is_hit) in is_hit.iter().enumerate() {
            let responds = area == 0 || is_hit;
            let response = responds.then_some(&responses[area]);
            neuron.spikes(response, options, rng, |bin| {
                // One division of whole numbers where all are whole: times are exact to the last digit.
                let time_ms = k as f64 * options.trial_ms + bin as f64 * options.bin_ms;
                times.push(time_ms / 1000.0);
            });
        }
        units.push(Unit {
            id: format!("{n:03}"),
            area: options.area_names[area].clone(),
            cell_type,
            firing_rate_hz: Some(times.len() as f64 / duration_s),
        });
        times_s.push(times);
    }
    let trial = |(k, &is_hit): (usize, &bool)| {
        let start_ms = k as f64 * options.trial_ms;
        Trial {
            start_s: start_ms / 1000.0,
            stop_s: (k + 1) as f64 * options.trial_ms / 1000.0,
            align_s: (start_ms + options.stimulus_ms) / 1000.0,
            stimulus: options.stimulus,
            trial_type: if is_hit { "hit" } else { "miss" }.to_owned(),
            movie: None,
            valid_bins: None,
        }
    };
    Session {
        id: format!("PS{s:03}"),
        units,
        trials: is_hit.iter().enumerate().map(trial).collect(),
        events: TrialEvents::default(),
        behaviour: BTreeMap::new(),
        stimulus: None,
        activity: Activity::SpikeTimes {
            times_s,
            observed_s: (0.0, duration_s),
            unit_observed_s: None,
        },
    }
}

/// Area (0 or 1) and type of neuron n; with both areas, each type is halved.
fn area_and_type(n: usize, recorded: RecordedAreas, options: &TwoAreaOptions) -> (usize, CellType) {
    let n_excitatory = options.n_excitatory;
    let (cell_type, position, n_of_type) = if n < n_excitatory {
        (CellType::Excitatory, n, n_excitatory)
    } else {
        let n_inhibitory = options.n_neurons - n_excitatory;
        (CellType::Inhibitory, n - n_excitatory, n_inhibitory)
    };
    let area = match recorded {
        RecordedAreas::First => 0,
        RecordedAreas::Second => 1,
        RecordedAreas::Both => (position / (n_of_type / 2).max(1)).min(1),
    };
    (area, cell_type)
}

/// The response of an area: values per bin from bin `first` on.
struct Response {
    first: usize,
    values: Vec<f64>,
}

impl Response {
    fn new(options: &TwoAreaOptions, latency_ms: f64) -> Self {
        let first = ((options.stimulus_ms + latency_ms) / options.bin_ms).round() as usize;
        let n = (options.response_ms / options.bin_ms).round() as usize;
        let kernel = |i: usize| {
            let tau = i as f64 * options.bin_ms;
            (-tau / options.decay_ms).exp() - (-tau / options.rise_ms).exp()
        };
        let room = options.n_bins().saturating_sub(first);
        let mut values: Vec<f64> = (0..n.min(room)).map(kernel).collect();
        let peak = (0..n).map(kernel).fold(0.0, f64::max);
        for value in &mut values {
            *value = if peak > 0.0 {
                *value * options.response_peak / peak
            } else {
                0.0
            };
        }
        Self { first, values }
    }
}

/// A neuron of the generator.
struct Neuron {
    /// Spike probability per bin at baseline.
    p_baseline: f64,
    modulation: f64,
}

impl Neuron {
    fn draw(cell_type: CellType, options: &TwoAreaOptions, rng: &mut (impl Rng + ?Sized)) -> Self {
        let median_hz = match cell_type {
            CellType::Inhibitory => options.rate_inhibitory_hz,
            CellType::Excitatory | CellType::Unknown => options.rate_excitatory_hz,
        };
        let normal: f64 = StandardNormal.sample(rng);
        let mut rate_hz = (normal * options.rate_spread.ln() + median_hz.ln()).exp();
        if rate_hz > options.rate_limit_hz {
            rate_hz = options.rate_limit_hz - options.rate_limit_jitter_hz * rng.random::<f64>();
        }
        let mut u: f64 = rng.random();
        let mut modulation = 0.0;
        let choices = options.modulations.iter().zip(&options.modulation_probabilities);
        for (&choice, &p) in choices.filter(|&(_, &p)| p > 0.0) {
            modulation = choice;
            if u < p {
                break;
            }
            u -= p;
        }
        Self {
            p_baseline: rate_hz * options.bin_ms / 1000.0,
            modulation,
        }
    }

    /// Calls `spike` with the bins of one trial in which the neuron fires, increasing.
    fn spikes(
        &self,
        response: Option<&Response>,
        options: &TwoAreaOptions,
        rng: &mut (impl Rng + ?Sized),
        mut spike: impl FnMut(usize),
    ) {
        let n_bins = options.n_bins();
        let Some(response) = response.filter(|_| self.modulation != 0.0) else {
            self.baseline(0..n_bins, rng, &mut spike);
            return;
        };
        let first = response.first.min(n_bins);
        self.baseline(0..first, rng, &mut spike);
        for (bin, value) in (first..n_bins).zip(&response.values) {
            let p = self.p_baseline * (1.0 + self.modulation * value).max(0.0);
            if rng.random::<f64>() < p {
                spike(bin);
            }
        }
        self.baseline(first + response.values.len()..n_bins, rng, &mut spike);
    }

    /// Independent spikes with equal probability: intervals are geometric.
    fn baseline(&self, bins: std::ops::Range<usize>, rng: &mut (impl Rng + ?Sized), spike: &mut impl FnMut(usize)) {
        let log_silent = (-self.p_baseline.min(1.0)).ln_1p();
        let mut bin = bins.start;
        loop {
            // 1 − U is in (0, 1]; ln(0) can't occur. With p = 1 the divisor is −∞ and the interval 0.
            let interval = ((1.0 - rng.random::<f64>()).ln() / log_silent).floor();
            // Also ends on p = 0, where the interval is infinite or not a number.
            let room = bins.end.saturating_sub(bin) as f64;
            if interval >= room || interval.is_nan() {
                return;
            }
            bin += interval as usize;
            spike(bin);
            bin += 1;
        }
    }
}
