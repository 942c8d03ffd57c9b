//! The teacher: a network of six areas with the cell and the connectivity of the models, a tonic drive that makes each
//! neuron fire at its own rate, and a readout of the jaw.
//!
//! Resting potentials can't do what the tonic drive does: the noise grows with the distance from rest to threshold
//! (§1.3), so the probability to reach it hardly depends on the resting potential.

use data::six_area::{AREAS, Frequencies, PlannedTrial, plan_typical_trials, target_rates};
use data::{Connectivity, ConnectivityNeuron};
use ndarray::{Array1, Array2, Axis};
use rand::{Rng, RngExt};
use snn_core::CoreError;
use snn_core::bits::{SpikeBits, for_each_set};
use snn_core::connectivity::{CellType, InterArea, Neuron, population_layout};
use snn_core::models::rsnn::{InputSpec, Perturbation, PoissonInput, Rsnn, RsnnSpec, StimulusScale, segments};
use snn_core::rng::{Key, StreamRng};
use snn_core::rollout::{Channel, Network, Noise, Run, State, native};
use snn_core::surrogate::Surrogate;
use snn_core::units::Ms;

use super::{DT_MS, N_STEPS, N_WARMUP, START_MS, cell_type, drive, dt, unit_id};

/// Inputs: a whisker group, an auditory group and background.
const N_INPUTS: usize = 3 * super::INPUTS_PER_GROUP;
/// Threshold above the initial resting potential (§1.2).
const THRESHOLD: f64 = 0.1;
/// Factor of the initial input weights of the whisker and the auditory group, per area.
const INPUT_GAIN: [[f32; AREAS.len()]; 2] = [[9.0, 7.0, 4.0, 2.0, 1.0, 1.0], [3.0, 4.0, 4.0, 4.5, 4.5, 4.0]];
/// Factor of these for inhibitory neurons: they amplify input, and would cancel the response of the others.
pub(super) const INHIBITORY_SHARE: f32 = 0.4;
/// Factor of the initial weights inside an area, whose spectral radius is 1: with 1, inhibition cancels most of a drive
/// that all neurons share.
const INSIDE: f32 = 0.4;
/// Synapses from excitatory neurons to another area exist with this probability …
const P_BETWEEN: f64 = 0.1;
/// … and their sum is so much of the excitatory sum inside the area, per \[from\]\[to\].
const BETWEEN: [[f64; AREAS.len()]; AREAS.len()] = [
    [0.0, 0.50, 0.40, 0.10, 0.05, 0.05],
    [0.30, 0.0, 0.25, 0.40, 0.20, 0.05],
    [0.30, 0.10, 0.0, 0.25, 0.15, 0.20],
    [0.05, 0.15, 0.20, 0.0, 0.50, 0.20],
    [0.05, 0.05, 0.10, 0.40, 0.0, 0.50],
    [0.05, 0.05, 0.20, 0.10, 0.35, 0.0],
];
/// Rounds of calibration …
const N_ROUNDS: usize = 12;
/// … of so many trials.
const ROUND_TRIALS: usize = 48;
/// Change of the logarithm of a neuron's rate by its tonic drive, of an excitatory neuron and an inhibitory one:
/// about 2.5 standard deviations from threshold, divided by the standard deviation of the membrane noise.
const SLOPE: [f64; 2] = [60.0, 95.0];
/// Rate at which this slope is halved, because spikes reset the potential.
const SLOPE_HALF_HZ: f64 = 10.0;
/// Time constant of the jaw readout (ms; §1.7).
const JAW_TAU_MS: f64 = 50.0;
/// Baseline b of its logarithmic link (§1.7), here `y = b·(exp(x) − 1)`, so that the jaw is 0 at rest.
const JAW_BASELINE: f64 = 3.0;
/// Typical height of the jaw from 100 to 300 ms after the start of a lick.
const JAW_LICK: f64 = 4.0;
/// Least drive of the jaw by a lick, spikes per step: with less, the scale would make noise of spikes into movements.
const LEAST_LICK: f64 = 0.01;
/// Areas whose excitatory neurons move the jaw: ALM, tjM1 (§1.1).
const MOTOR_AREAS: [usize; 2] = [4, 5];

/// A calibrated network.
pub(super) struct Teacher {
    /// The network; its inputs are those of the task.
    pub(super) rsnn: Rsnn,
    network: Network,
    input: PoissonInput,
    loadings: Array2<f32>,
    tonic: Array1<f32>,
    jaw: Channel,
    seed: u64,
}

/// Simulated trials.
pub(super) struct Simulated {
    /// Spikes of the warm-up `[K, warm-up, N]`.
    warmup: SpikeBits,
    /// Spikes `[K, T, N]`.
    pub(super) spikes: SpikeBits,
    /// Jaw without measurement noise, `[K, T]`.
    pub(super) jaw: Array2<f64>,
}

/// Which random numbers a simulation draws.
#[derive(Clone, Copy)]
pub(super) struct Draws<'a> {
    /// Stream.
    pub(super) stream: &'a str,
    /// Session or round.
    pub(super) step: u32,
    /// Number of the first trial in it.
    pub(super) first_trial: u32,
}

impl Teacher {
    /// A network with `per_area` neurons in each area, four fifths of them excitatory, calibrated on typical trials.
    pub(super) fn new(per_area: usize, frequencies: Frequencies, seed: u64) -> Result<Self, CoreError> {
        let input = poisson_input();
        let spec = spec(per_area, input.clone())?;
        let mut rsnn = Rsnn::new(spec, seed)?;
        shape_recurrence(&mut rsnn, &mut StreamRng::new(seed, "synth.between", 0));
        shape_inputs(&mut rsnn, &mut StreamRng::new(seed, "synth.inputs", 0));
        let mut teacher = Self {
            network: rsnn.network()?,
            loadings: drive::loadings(&rsnn.spec.neurons, Key::new(seed, "synth.loadings")),
            tonic: Array1::zeros(rsnn.spec.n_neurons()),
            jaw: Channel { members: Vec::new() },
            rsnn,
            input,
            seed,
        };
        let targets = teacher.targets();
        let mut rng = StreamRng::new(seed, "synth.calibration", 0);
        for round in 0..N_ROUNDS {
            let trials = plan_typical_trials(ROUND_TRIALS, frequencies, &mut rng);
            let simulated = teacher.simulate(&trials, round_draws(round), &[])?;
            teacher.correct(&rates(&simulated.spikes, 0..N_STEPS), &targets, round);
        }
        // For the jaw, half of the trials are licks whatever their frequency.
        let half = Frequencies {
            p_go: 0.5,
            p_hit: 0.5,
            p_false_alarm: 0.5,
        };
        teacher.attach_jaw(&plan_typical_trials(ROUND_TRIALS, half, &mut rng))?;
        Ok(teacher)
    }

    /// Rate (Hz) that each neuron shall have.
    fn targets(&self) -> Vec<f64> {
        let neurons = &self.rsnn.spec.neurons;
        let mut targets = vec![0.0; neurons.len()];
        for (area, members) in self.members().into_iter().enumerate() {
            let is_inhibitory: Vec<bool> = members.iter().map(|&n| is_inhibitory(neurons[n])).collect();
            let mut rng = StreamRng::new(self.seed, "synth.rates", area as u64);
            for (n, rate_hz) in members.into_iter().zip(target_rates(&is_inhibitory, &mut rng)) {
                targets[n] = rate_hz;
            }
        }
        targets
    }

    /// Neurons of each area, ascending.
    pub(super) fn members(&self) -> Vec<Vec<usize>> {
        let neurons = &self.rsnn.spec.neurons;
        let of = |area| (0..neurons.len()).filter(|n| neurons[*n].area == area).collect();
        (0..AREAS.len()).map(of).collect()
    }

    /// The network as a table of its weights: neurons are called as the units that are recorded from them.
    pub(super) fn connectivity(&self) -> Result<Connectivity, CoreError> {
        let spec = &self.rsnn.spec;
        let neuron = |(n, neuron): (usize, &Neuron)| ConnectivityNeuron {
            session: String::new(),
            unit: unit_id(n),
            area: spec.areas[neuron.area].clone(),
            cell_type: cell_type(*neuron),
        };
        Ok(Connectivity {
            weights: self.rsnn.parameters.cube("w")?.to_owned().permuted_axes([0, 2, 1]),
            weight_unit: String::new(),
            delays_ms: spec.delays.iter().map(|&steps| steps as f64 * DT_MS).collect(),
            neurons: spec.neurons.iter().enumerate().map(neuron).collect(),
        })
    }

    /// Moves the tonic drive towards the target rates: one step of Newton's method in the logarithm of the rate.
    fn correct(&mut self, rates_hz: &[f64], targets_hz: &[f64], round: usize) {
        // Half a spike, so that a silent neuron has a finite step; later rounds average over the noise of the earlier.
        let half = 0.5 / (ROUND_TRIALS as f64 * N_STEPS as f64 * DT_MS / 1000.0);
        let damping = if round < 2 * N_ROUNDS / 3 { 1.0 } else { 0.5 };
        for (n, neuron) in self.rsnn.spec.neurons.iter().enumerate() {
            let slope = SLOPE[usize::from(is_inhibitory(*neuron))] / (1.0 + targets_hz[n] / SLOPE_HALF_HZ);
            let step = ((targets_hz[n] + half) / (rates_hz[n] + half)).ln() / slope;
            self.tonic[n] += (damping * step.clamp(-0.03, 0.03)) as f32;
        }
    }

    /// Simulates trials; one that is simulated alone has the same spikes. Perturbations act in every trial, which draws the
    /// random numbers that it draws without them.
    pub(super) fn simulate(
        &self,
        trials: &[PlannedTrial],
        draws: Draws<'_>,
        perturbations: &[Perturbation],
    ) -> Result<Simulated, CoreError> {
        let Draws {
            stream,
            step,
            first_trial,
        } = draws;
        let key = |part: &str| Key::new(self.seed, &[stream, part].concat());
        let gain: Vec<f32> = self.network.alpha.iter().map(|alpha| 1.0 - alpha).collect();
        let v_rest = self.rsnn.parameters.vector("v_rest")?.to_owned();
        let run = Run {
            n_trials: trials.len(),
            n_warmup: N_WARMUP,
            n_steps: N_STEPS,
            events: Some(drive::thalamus(trials, &self.input, key(".input"), step, first_trial)),
            drive: Some(drive::top_down(trials, &self.loadings, &self.tonic, &gain)),
            trial_offset: None,
            noise: Noise::Philox {
                key: key(".noise"),
                step,
                first_trial,
                first_time: 0,
            },
            clamp: None,
            initial: State::at_rest(trials.len(), self.network.max_delay(), &v_rest),
        };
        let mut simulated = if perturbations.is_empty() {
            let rollout = native::simulate(&self.network, &run, false)?;
            Simulated {
                warmup: rollout.warmup,
                spikes: rollout.spikes,
                jaw: Array2::zeros((0, 0)),
            }
        } else {
            self.in_segments(&run, perturbations)?
        };
        simulated.jaw = self.filtered(&simulated)?.mapv(|x| JAW_BASELINE * x.exp_m1());
        Ok(simulated)
    }

    /// Spikes of a run whose network changes in the course of a trial, without the jaw.
    fn in_segments(&self, run: &Run, perturbations: &[Perturbation]) -> Result<Simulated, CoreError> {
        let n = self.rsnn.spec.n_neurons();
        let mut simulated = Simulated {
            warmup: SpikeBits::zeros(run.n_trials, N_WARMUP, n),
            spikes: SpikeBits::zeros(run.n_trials, N_STEPS, n),
            jaw: Array2::zeros((0, 0)),
        };
        let mut state = run.initial.clone();
        for steps in segments(perturbations, N_WARMUP, N_STEPS) {
            let segment = run.segment(steps.clone(), state)?;
            let first = steps.start.checked_sub(N_WARMUP);
            let active = perturbations
                .iter()
                .filter(|p| first.is_some_and(|t| p.window.contains(&t)));
            let rollout = match self.rsnn.perturbed(active, &self.network, &segment) {
                Some((network, segment)) => native::simulate(&network, &segment, false)?,
                None => native::simulate(&self.network, &segment, false)?,
            };
            match first {
                Some(t) => simulated.spikes.set_steps(t, &rollout.spikes),
                None => simulated.warmup.set_steps(steps.start, &rollout.spikes),
            }
            state = rollout.end;
        }
        Ok(simulated)
    }

    /// Logarithm of jaw plus baseline, less that of the baseline, `[K, T]`: `x(t) = α x(t−1) + (1 − α) u(t)`.
    ///
    /// # Departures
    /// The recursion of §1.7 has `u − ln b` for u and rests at 1 − b: the same for b = 1 alone. Ours rests at 0 for any b.
    fn filtered(&self, simulated: &Simulated) -> Result<Array2<f64>, CoreError> {
        let alpha = Ms(JAW_TAU_MS).decay(dt());
        let channel = std::slice::from_ref(&self.jaw);
        let (before, during) = (simulated.warmup.project(channel)?, simulated.spikes.project(channel)?);
        let mut filtered = during.index_axis_move(Axis(2), 0);
        for (mut row, before) in filtered.outer_iter_mut().zip(before.outer_iter()) {
            let mut x = before.iter().fold(0.0, |x, u| alpha * x + (1.0 - alpha) * u);
            row.mapv_inplace(|u| {
                x = alpha * x + (1.0 - alpha) * u;
                x
            });
        }
        Ok(filtered)
    }

    /// Chooses the weights of the jaw: excitatory motor neurons that are driven when it moves open it, the others
    /// close it as much as is needed for 0 at rest; the scale makes a lick [`JAW_LICK`] high.
    fn attach_jaw(&mut self, trials: &[PlannedTrial]) -> Result<(), CoreError> {
        let simulated = self.simulate(trials, round_draws(N_ROUNDS), &[])?;
        let before_stimulus = rates(&simulated.spikes, 0..(-START_MS / DT_MS) as usize);
        let neurons = &self.rsnn.spec.neurons;
        let motor: Vec<usize> = (0..neurons.len())
            .filter(|&n| !is_inhibitory(neurons[n]) && MOTOR_AREAS.contains(&neurons[n].area))
            .collect();
        let opens = |n: usize| drive::motor_tuning(&self.loadings, n) > 0.0;
        let sum = |wanted: bool| -> f64 {
            let chosen = motor.iter().filter(|&&n| opens(n) == wanted);
            chosen.map(|&n| before_stimulus[n]).sum()
        };
        let closing = sum(true) / sum(false).max(1e-3);
        let weight = |n: usize| if opens(n) { 1.0 } else { -closing };
        let members = |scale: f64| motor.iter().map(|&n| (n as u32, (scale * weight(n)) as f32)).collect();
        self.jaw = Channel { members: members(1.0) };
        let filtered = self.filtered(&simulated)?;
        let mut heights = Vec::new();
        for (trial, row) in trials.iter().zip(filtered.outer_iter()) {
            if let Some(lick) = trial.lick {
                let first = ((lick.start_ms + 100.0 - START_MS) / DT_MS) as usize;
                heights.extend(row.iter().skip(first).take((200.0 / DT_MS) as usize).copied());
            }
        }
        let mean = heights.iter().sum::<f64>() / heights.len().max(1) as f64;
        if mean < LEAST_LICK {
            return Err(CoreError::Range {
                what: "drive of the jaw by licks in a network with so few neurons per area".to_owned(),
                value: mean,
                expected: "clearly above 0: take more neurons per area, or another seed",
            });
        }
        let scale = (JAW_LICK / JAW_BASELINE).ln_1p() / mean;
        self.jaw = Channel {
            members: members(scale),
        };
        Ok(())
    }
}

pub(super) fn is_inhibitory(neuron: Neuron) -> bool {
    neuron.cell_type == CellType::Inhibitory
}

fn round_draws(round: usize) -> Draws<'static> {
    Draws {
        stream: "synth.calibration",
        step: round as u32,
        first_trial: 0,
    }
}

/// Rates (Hz) over all trials and some steps.
fn rates(spikes: &SpikeBits, steps: std::ops::Range<usize>) -> Vec<f64> {
    let [n_trials, _, n] = spikes.shape();
    let mut counts = vec![0_u32; n];
    for k in 0..n_trials {
        for t in steps.clone() {
            for_each_set(spikes.row(k, t), |n| counts[n] += 1);
        }
    }
    let seconds = n_trials as f64 * steps.len() as f64 * DT_MS / 1000.0;
    counts.into_iter().map(|count| f64::from(count) / seconds).collect()
}

fn poisson_input() -> PoissonInput {
    let first_step = |onset_ms| PoissonInput::first_step(Ms(onset_ms), Ms(START_MS), Ms(4.0), dt());
    PoissonInput {
        n: N_INPUTS,
        rate_hz: 5.0,
        p_exc: 0.8,
        p_stim: 2.0 / 3.0,
        first_steps: vec![first_step(0.0), first_step(data::six_area::CUE_MS)],
        n_duration: 5,
        gain: 11.5,
        scale: StimulusScale::Log,
        channels: Vec::new(),
    }
}

/// The constants of the main model (§1.2, §1.21).
fn spec(per_area: usize, input: PoissonInput) -> Result<RsnnSpec, CoreError> {
    Ok(RsnnSpec {
        neurons: population_layout(per_area * AREAS.len(), AREAS.len(), 0.8)?,
        areas: AREAS.map(str::to_owned).to_vec(),
        dt_ms: DT_MS,
        tau_exc_ms: 30.0,
        tau_inh_ms: 10.0,
        threshold: THRESHOLD,
        delays: vec![1, 2],
        n_refractory: 2,
        temperature: 15.0,
        p_scale: DT_MS / 2.0,
        sigma: 0.1,
        current_scale: 0.5,
        surrogate: Surrogate::Sigmoid { gamma: 0.3 },
        n_warmup: N_WARMUP,
        inter_area: InterArea::Excitatory,
        has_dale: true,
        projections: Vec::new(),
        train_resting_potential: true,
        train_noise_gain: false,
        input: InputSpec::Poisson(input),
        latent: None,
        behaviour: None,
    })
}

/// Weakens the synapses inside areas and adds sparse excitation between areas, exponentially distributed, to the slower of the two matrices.
fn shape_recurrence(rsnn: &mut Rsnn, rng: &mut impl Rng) {
    let neurons = rsnn.spec.neurons.clone();
    let per_area = neurons.len() / AREAS.len();
    let Some(w) = rsnn.parameters.get_mut("w") else {
        return;
    };
    w.mapv_inplace(|w| INSIDE * w);
    // Excitation that a neuron gets inside its area, over both matrices.
    let mut inside = vec![0.0; neurons.len()];
    for (i, w) in w.indexed_iter() {
        if !is_inhibitory(neurons[i[1]]) {
            inside[i[2]] += f64::from(*w);
        }
    }
    let n_excitatory = neurons.iter().filter(|n| !is_inhibitory(**n)).count() / AREAS.len();
    let expected = P_BETWEEN * (n_excitatory.min(per_area)).max(1) as f64;
    for (pre, from) in neurons.iter().enumerate() {
        if is_inhibitory(*from) {
            continue;
        }
        for (post, to) in neurons.iter().enumerate() {
            if from.area != to.area && rng.random_bool(P_BETWEEN) {
                let size = -(1.0 - rng.random::<f64>()).ln();
                let mean = BETWEEN[from.area][to.area] * inside[post] / expected;
                w[[1, pre, post]] += (size * mean) as f32;
            }
        }
    }
}

/// Scales the weights of the whisker and the auditory inputs by area, and by a factor of its own for each neuron
/// (log-normal, from a half to twice as much for two thirds of them).
fn shape_inputs(rsnn: &mut Rsnn, rng: &mut impl Rng) {
    let neurons = rsnn.spec.neurons.clone();
    let Some(w_in) = rsnn.parameters.get_mut("w_in") else {
        return;
    };
    for (post, neuron) in neurons.iter().enumerate() {
        for (group, gains) in INPUT_GAIN.iter().enumerate() {
            // Sum of uniform numbers: nearly normal, with standard deviation 1.
            let normal = (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
            let share = if is_inhibitory(*neuron) { INHIBITORY_SHARE } else { 1.0 };
            let factor = share * gains[neuron.area] * (0.7 * normal - 0.25).exp() as f32;
            for i in group * super::INPUTS_PER_GROUP..(group + 1) * super::INPUTS_PER_GROUP {
                w_in[[i, post]] *= factor;
            }
        }
    }
}
