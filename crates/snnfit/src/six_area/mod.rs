//! The artificial six-area recording: sessions of a spiking teacher network of known structure in the whisker
//! detection task with a delay, with jaw movements.
//!
//! The task, the sizes of the sessions and the rates are in [`data::six_area`]; the network is here because `data`
//! knows none. Equal options give equal bytes, for any number of threads.
//!
//! # Source
//! The areas, sizes, frequencies and constants of the recordings and the main model of Sourmpis et al. 2023
//! (specification §1.15, §1.18, §1.20, §1.21, §2.2); the teacher is ours.

mod drive;
mod teacher;

use std::collections::BTreeMap;

use data::six_area::{AREAS, Frequencies, PlannedTrial, SESSION_SIZES, Share, draw_units, plan_trials, share_out};
use data::{Activity, Behaviour, BehaviourSamples, Connectivity, Recording, Session, Timing, Trial, Unit};
use ndarray::Array2;
use snn_core::bits::{SpikeBits, for_each_set};
use snn_core::connectivity::{CellType, Neuron};
use snn_core::models::rsnn::{Effect, Perturbation, Silenced};
use snn_core::rng::{Key, Place, StreamRng, fill_normals, philox4x32, uniform};
use snn_core::units::Ms;

use crate::error::Error;
use crate::fit_error::FitError;
use teacher::{Draws, Simulated, Teacher};

/// Time step of the network (ms).
const DT_MS: f64 = 2.0;
/// Start of a trial (ms after the whisker stimulus); the published window is −200 … 1200 ms.
const START_MS: f64 = -500.0;
/// Steps of a trial: 2 s, to 1.5 s after the stimulus.
const N_STEPS: usize = 1000;
/// Steps simulated before each trial (300 ms; §1.4).
const N_WARMUP: usize = 150;
/// Inputs that answer to one stimulus (§1.5).
const INPUTS_PER_GROUP: usize = 100;
/// Trials simulated at once; bounds the memory to 6 MB of drive per trial and 1500 neurons.
const CHUNK_TRIALS: usize = 16;
/// Standard deviation of the noise of a sample of the jaw.
const JAW_NOISE: f32 = 0.1;
/// Most trials of all sessions, and most units of one area in the network.
const MAX_TRIALS: usize = 1_000_000;
const MAX_PER_AREA: usize = 2_000;
const MAX_SESSIONS: usize = 10_000;

fn dt() -> Ms {
    Ms(DT_MS)
}

/// What is generated.
#[derive(Clone, Debug, PartialEq)]
pub struct SixAreaOptions {
    /// Units of each session.
    pub session_sizes: Vec<usize>,
    /// Trials per session.
    pub n_trials: usize,
    /// Neurons per area of the teacher, four fifths of them excitatory.
    pub n_per_area: usize,
    /// How often each trial type occurs.
    pub frequencies: Frequencies,
    /// Seed.
    pub seed: u64,
    /// An area that is silenced in every trial, if any.
    pub silenced: Option<SilencedArea>,
    /// Whether each session has all neurons of the teacher, in the trials that it has otherwise.
    pub is_whole: bool,
}

/// An area without synaptic currents, from it or to it, in a part of every trial ([`Silenced::Both`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SilencedArea {
    /// Index in [`AREAS`].
    pub area: usize,
    /// Start and end (ms after the whisker stimulus), from −500 to 1500.
    pub window_ms: [f64; 2],
}

impl SixAreaOptions {
    /// The 28 published session sizes, 200 trials each, a teacher of 1500 neurons.
    #[must_use]
    pub fn published(seed: u64) -> Self {
        Self {
            session_sizes: SESSION_SIZES.to_vec(),
            n_trials: 200,
            n_per_area: 250,
            frequencies: Frequencies::default(),
            seed,
            silenced: None,
            is_whole: false,
        }
    }

    /// A recording of seconds: 6 sessions of 40 units and 60 trials, a teacher of 240 neurons.
    #[must_use]
    pub fn small(seed: u64) -> Self {
        Self {
            session_sizes: vec![40; 6],
            n_trials: 60,
            n_per_area: 40,
            ..Self::published(seed)
        }
    }

    fn check(&self) -> Result<Vec<[Share; 2]>, Error> {
        let n_sessions = self.session_sizes.len();
        if !(1..=MAX_SESSIONS).contains(&n_sessions) {
            return bad("the number of sessions", n_sessions, "from 1 to 10 000");
        }
        if self.n_trials == 0 || self.n_trials.saturating_mul(n_sessions) > MAX_TRIALS {
            return bad(
                "trials",
                self.n_trials,
                "at least 1, and at most 1 000 000 in all sessions",
            );
        }
        if !(5..=MAX_PER_AREA).contains(&self.n_per_area) {
            return bad("neurons-per-area", self.n_per_area, "from 5 to 2000");
        }
        let largest = self.session_sizes.iter().max().copied().unwrap_or(0);
        if self.session_sizes.contains(&0) || largest > 2 * self.n_per_area {
            return bad(
                "session-sizes",
                format!("{:?}", self.session_sizes),
                "each at least 1, and at most twice the \
                 neurons per area",
            );
        }
        let Frequencies {
            p_go,
            p_hit,
            p_false_alarm,
        } = self.frequencies;
        for (name, p) in [("p-go", p_go), ("p-hit", p_hit), ("p-false-alarm", p_false_alarm)] {
            if !(0.0..=1.0).contains(&p) {
                return bad(name, p, "from 0 to 1");
            }
        }
        if let Some(SilencedArea { area, window_ms }) = self.silenced {
            if area >= AREAS.len() {
                return bad("silence", area, "an area");
            }
            let [from, to] = window_ms;
            let end_ms = START_MS + N_STEPS as f64 * DT_MS;
            if !(START_MS <= from && from + DT_MS <= to && to <= end_ms) {
                let expected = "a window of a bin (2 ms) at least from -500 to 1500 ms";
                return bad("silence-ms", format!("{from},{to}"), expected);
            }
        }
        let shares = share_out(&self.session_sizes, AREAS.len(), self.n_per_area);
        match shares.iter().flatten().find(|share| share.n_units > self.n_per_area) {
            Some(share) => bad(
                "session-sizes",
                format!("{} units of one area", share.n_units),
                "at most the neurons \
                 per area",
            ),
            None => Ok(shares),
        }
    }
}

fn bad<T>(name: &str, found: impl std::fmt::Display, expected: &str) -> Result<T, Error> {
    Err(Error::Usage {
        message: format!("{name} is {found}; expected {expected}"),
        help: "`snnfit help synth six-area` explains every option".to_owned(),
    })
}

/// Generates the recording and the network that it is of; `progress` is told how many of the trials have been simulated.
///
/// The network is calibrated, then each session simulates its own trials of the whole network, a chunk at a time, and
/// keeps the spikes of its units. Trials follow one another without a gap. A spike's time is uniform within its bin of
/// 2 ms. `jaw` is sampled at 500 Hz in units of its own (0 at rest, about 4 in a lick). With an area silenced, units and
/// trials are those of the recording without, up to the window spike by spike.
/// Allocates the recording, 48 MB per trial of a chunk at most, and the weights.
///
/// # Errors
/// An option out of range.
pub fn six_area(
    options: &SixAreaOptions,
    mut progress: impl FnMut(usize, usize),
) -> Result<(Recording, Connectivity), Error> {
    let shares = options.check()?;
    let teacher = Teacher::new(options.n_per_area, options.frequencies, options.seed).map_err(internal)?;
    let mut rng = StreamRng::new(options.seed, "synth.units", 0);
    let mut units = draw_units(&shares, &teacher.members(), &mut rng);
    if options.is_whole {
        units.fill((0..teacher.rsnn.spec.n_neurons()).collect());
    }
    let n_all = options.n_trials * units.len();
    let mut sessions = Vec::with_capacity(units.len());
    for (s, units) in units.into_iter().enumerate() {
        let told = |k| progress(s * options.n_trials + k, n_all);
        sessions.push(record(s, units, &teacher, options, told)?);
    }
    Ok((Recording { sessions }, teacher.connectivity().map_err(internal)?))
}

/// Name of the unit that a neuron is recorded as.
fn unit_id(neuron: usize) -> String {
    format!("{neuron:04}")
}

fn cell_type(neuron: Neuron) -> data::CellType {
    match neuron.cell_type {
        CellType::Excitatory => data::CellType::Excitatory,
        CellType::Inhibitory => data::CellType::Inhibitory,
        CellType::Unknown => data::CellType::Unknown,
    }
}

/// What is done to the teacher.
fn perturbations(silenced: Option<SilencedArea>, teacher: &Teacher) -> Vec<Perturbation> {
    let perturbation = |SilencedArea { area, window_ms }: SilencedArea| {
        let bin = |ms: f64| ((ms - START_MS) / DT_MS).round() as usize;
        Perturbation {
            neurons: teacher.members()[area].iter().copied().collect(),
            window: bin(window_ms[0])..bin(window_ms[1]),
            effect: Effect::Silence(Silenced::Both),
        }
    };
    silenced.map(perturbation).into_iter().collect()
}

fn internal(error: snn_core::CoreError) -> Error {
    Error::Fit(FitError::from(error))
}

/// Simulates the trials of one session and keeps what is recorded.
fn record(
    s: usize,
    units: Vec<usize>,
    teacher: &Teacher,
    options: &SixAreaOptions,
    mut progress: impl FnMut(usize),
) -> Result<Session, Error> {
    let mut rng = StreamRng::new(options.seed, "synth.trials", s as u64);
    let trials = plan_trials(options.n_trials, options.frequencies, &mut rng);
    let mut times_s = vec![Vec::new(); units.len()];
    let mut jaw = Vec::with_capacity(options.n_trials * N_STEPS);
    let jitter = Key::new(options.seed, "synth.jitter");
    let noise = Key::new(options.seed, "synth.jaw");
    let perturbations = perturbations(options.silenced, teacher);
    for (c, chunk) in trials.chunks(CHUNK_TRIALS).enumerate() {
        let first = c * CHUNK_TRIALS;
        progress(first);
        let draws = Draws {
            stream: "synth.recording",
            step: s as u32,
            first_trial: first as u32,
        };
        let Simulated { spikes, jaw: moved, .. } = teacher.simulate(chunk, draws, &perturbations).map_err(internal)?;
        keep_spikes(&spikes, &units, (s, first), jitter, &mut times_s);
        add_jaw(&moved, (s, first), noise, &mut jaw);
    }
    let duration_s = options.n_trials as f64 * TRIAL_S;
    let neurons = &teacher.rsnn.spec.neurons;
    let unit = |(&n, times): (&usize, &Vec<f64>)| Unit {
        id: unit_id(n),
        area: AREAS[neurons[n].area].to_owned(),
        cell_type: cell_type(neurons[n]),
        firing_rate_hz: Some(times.len() as f64 / duration_s),
    };
    let behaviour = Behaviour {
        samples: BehaviourSamples::Continuous {
            values: jaw,
            timing: Timing::Rate {
                rate_hz: 1000.0 / DT_MS,
                start_s: 0.5 * DT_MS / 1000.0,
            },
        },
        unit: "a.u.".to_owned(),
    };
    Ok(Session {
        id: format!("SA{s:03}"),
        units: units.iter().zip(&times_s).map(unit).collect(),
        trials: trials.iter().enumerate().map(trial_row).collect(),
        events: data::TrialEvents::default(),
        behaviour: BTreeMap::from([("jaw".to_owned(), behaviour)]),
        stimulus: None,
        activity: Activity::SpikeTimes {
            times_s,
            observed_s: (0.0, duration_s),
            unit_observed_s: None,
        },
    })
}

/// Duration of a trial (s).
const TRIAL_S: f64 = N_STEPS as f64 * DT_MS / 1000.0;

fn trial_row((k, trial): (usize, &PlannedTrial)) -> Trial {
    let start_s = k as f64 * TRIAL_S;
    Trial {
        start_s,
        stop_s: start_s + TRIAL_S,
        align_s: start_s - START_MS / 1000.0,
        stimulus: if trial.trial_type.is_go() { 1.0 } else { 0.0 },
        trial_type: trial.trial_type.label().to_owned(),
        movie: None,
        valid_bins: None,
    }
}

/// Appends the spikes of `units` in a chunk that starts with trial `first` of session `s`, each at a uniform time
/// within its bin.
fn keep_spikes(spikes: &SpikeBits, units: &[usize], (s, first): (usize, usize), jitter: Key, times_s: &mut [Vec<f64>]) {
    let [n_trials, n_steps, n] = spikes.shape();
    let mut unit_of = vec![None; n];
    for (unit, &neuron) in units.iter().enumerate() {
        unit_of[neuron] = Some(unit);
    }
    for k in 0..n_trials {
        for t in 0..n_steps {
            for_each_set(spikes.row(k, t), |n| {
                if let Some(unit) = unit_of[n] {
                    let counter = [n as u32, t as u32, (first + k) as u32, s as u32];
                    let within = f64::from(uniform(philox4x32(counter, jitter.words())[0]));
                    let bin = ((first + k) * N_STEPS + t) as f64;
                    times_s[unit].push((bin + within) * DT_MS / 1000.0);
                }
            });
        }
    }
}

/// Appends the jaw of a chunk, with the noise of its measurement.
fn add_jaw(moved: &Array2<f64>, (s, first): (usize, usize), key: Key, jaw: &mut Vec<f32>) {
    let mut noise = vec![0.0; N_STEPS];
    for (k, row) in moved.outer_iter().enumerate() {
        let place = Place {
            time: 0,
            trial: (first + k) as u32,
            step: s as u32,
        };
        fill_normals(key, place, &mut noise);
        jaw.extend(row.iter().zip(&noise).map(|(y, noise)| *y as f32 + JAW_NOISE * noise));
    }
}
