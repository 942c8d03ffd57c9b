//! What drives an RSNN from outside: Poisson spikes around onsets, the same in all trials or each trial's own, or a
//! recorded stimulus with lags.

use super::spec::range;
use crate::CoreError;
use crate::bits::for_each_set;
use crate::connectivity::{Sign, whole_part};
use crate::rng::{Key, Place, fill_uniforms};
use crate::rollout::InputEvents;
use crate::units::{Hz, Ms};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Array3, ArrayView2, Axis, s};
use serde::{Deserialize, Serialize};

/// What drives the network from outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputSpec {
    /// Nothing: noise and recurrence only.
    None,
    /// Spiking inputs that answer to stimulus onsets.
    Poisson(PoissonInput),
    /// A recorded stimulus, weighted over channels and lags.
    Recorded(RecordedInput),
}

/// Spiking inputs: each draws one Bernoulli spike per step, at a base rate that channels multiply.
///
/// The inputs of a channel ([`InputChannel`]) are multiplied by the amplitude `1 + gain·ln(1 + s)` for a while after the
/// channel's onset. Before the trial (warm-up), and where no channel answers, all inputs stay at the base rate.
///
/// Without channels of their own, the onsets of `first_steps` stand for channels: `n_s = ⌊n·p_stim/m⌋` inputs for each of
/// m onsets. Only the first onset uses the trial's stimulus value; every other one uses s = 1.
///
/// # Source
/// Specification §1.5.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoissonInput {
    /// Number of inputs.
    pub n: usize,
    /// Base rate in Hz (published: 5).
    pub rate_hz: f64,
    /// Fraction of inputs that are excitatory; these come first (published: 0.8).
    pub p_exc: f64,
    /// Fraction of inputs that stimuli drive (published: 0.5 of 200, 2/3 of 300).
    pub p_stim: f64,
    /// First step, within the recorded steps, at which each group answers to its onset; see
    /// [`PoissonInput::first_step`]. Negative when that lies before the window.
    pub first_steps: Vec<i64>,
    /// Steps for which a group answers (published: 10 ms).
    pub n_duration: usize,
    /// Gain of the amplitude (published: 11.5).
    pub gain: f64,
    /// How a stimulus value enters the amplitude.
    pub scale: StimulusScale,
    /// Instead of `p_stim`, `first_steps` and `n_duration`: groups of inputs, one after the other from the first input on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<InputChannel>,
}

/// Inputs that answer to one onset.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputChannel {
    /// Number of its inputs.
    pub n: usize,
    /// When it answers.
    pub onset: Onset,
    /// The value s of its amplitude.
    pub amplitude: Amplitude,
    /// Steps for which it answers.
    pub n_duration: usize,
    /// Gain of the amplitude.
    pub gain: f64,
}

/// First step, within the recorded steps, at which a channel answers; see [`PoissonInput::first_step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Onset {
    /// The same in every trial.
    Step(i64),
    /// Each trial's own: [`Cues::first_steps`].
    Trial,
}

/// The value s from which a channel has its amplitude.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amplitude {
    /// 1.
    One,
    /// The stimulus value of the trial.
    Stimulus,
    /// Each trial's own: [`Cues::values`].
    Trial,
}

/// Amplitude as a function of the stimulus value s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StimulusScale {
    /// `1 + gain·ln(1 + s)`.
    Log,
    /// `1 + gain·s`.
    Linear,
}

/// A recorded stimulus `[S, T, C]`: the current into a neuron is `Σ_{l,c} W_in[l·C + c] · x_c(t − l·lag_steps)`,
/// with `x = scale·recorded + offset`. Before the window, and in the warm-up, the first bin is held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedInput {
    /// Channels C.
    pub n_channels: usize,
    /// Number of lags L, the lag 0 included.
    pub lags: usize,
    /// Steps from one lag to the next.
    pub lag_steps: usize,
    /// Factor of the recorded values.
    pub scale: f64,
    /// Added after scaling.
    pub offset: f64,
}

/// Trials simulated in one go.
#[derive(Debug, Clone, Default)]
pub struct Trials {
    /// Stimulus value of each trial, `[K]`; its length is the number of trials.
    pub stimulus: Vec<f64>,
    /// Recorded stimulus of each trial, `[K]`, an index into `movies`.
    pub movie: Option<Vec<usize>>,
    /// Recorded stimuli `[S, T, C]` over exactly the recorded steps T, in the recording's own units.
    pub movies: Option<Array3<f32>>,
    /// What trials bring to the channels of spiking inputs; needed where a channel asks for it.
    pub cues: Option<Cues>,
}

/// Onsets and amplitudes of trials, a column for each channel of the inputs. A few numbers a trial: what inputs do at each
/// step follows from them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cues {
    /// First step at which a channel with [`Onset::Trial`] answers `[K, channels]`; `None`: not in this trial.
    pub first_steps: Array2<Option<i64>>,
    /// Value of a channel with [`Amplitude::Trial`] `[K, channels]`.
    pub values: Array2<f64>,
}

impl InputSpec {
    /// Rows of the input weights.
    pub fn n_inputs(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Poisson(input) => input.n,
            Self::Recorded(input) => input.n_channels * input.lags,
        }
    }

    /// Sign of each input's weights, `[N_in]`; free for a recorded stimulus and without Dale's law.
    pub fn signs(&self, has_dale: bool) -> Vec<Sign> {
        match self {
            Self::Poisson(input) if has_dale => {
                let n_exc = input.n_exc();
                (0..input.n)
                    .map(|i| if i < n_exc { Sign::Positive } else { Sign::Negative })
                    .collect()
            }
            _ => vec![Sign::Free; self.n_inputs()],
        }
    }

    /// Checks every constant.
    ///
    /// # Errors
    /// The first constant out of range.
    pub fn check(&self) -> Result<(), CoreError> {
        match self {
            Self::None => Ok(()),
            Self::Poisson(input) => input.check(),
            Self::Recorded(input) => input.check(),
        }
    }
}

impl InputSpec {
    /// Checks that these stimuli can drive the network, as a simulation will.
    ///
    /// # Errors
    /// A stimulus value that the scale isn't defined for, a recorded stimulus of another shape or that isn't finite.
    pub fn check_stimuli(&self, trials: &Trials) -> Result<(), CoreError> {
        match self {
            Self::None => Ok(()),
            Self::Poisson(input) => input.check_stimuli(trials, &input.channels()),
            Self::Recorded(input) => {
                let n_steps = trials.movies.as_ref().map_or(0, |movies| movies.dim().1);
                input.select(trials, n_steps).map(|_| ())
            }
        }
    }
}

impl PoissonInput {
    /// Step at which inputs start to answer to an onset: `round((onset − window start)/dt) + delay/dt`.
    ///
    /// Both times are relative to the event that trials are aligned to; the delay (published: 4 ms) takes a whole
    /// number of steps.
    pub fn first_step(onset: Ms, window_start: Ms, delay: Ms, dt: Ms) -> i64 {
        ((onset.0 - window_start.0) / dt.0).round() as i64 + delay.in_steps(dt, 0).steps as i64
    }

    fn n_exc(&self) -> usize {
        whole_part(self.n, self.p_exc, "p_exc").unwrap_or(0)
    }

    /// Inputs per onset.
    fn group_size(&self) -> usize {
        match self.first_steps.len() {
            0 => 0,
            m => whole_part(self.n, self.p_stim / m as f64, "p_stim").unwrap_or(0),
        }
    }

    /// The channels: those that are given, or one for each onset.
    pub fn channels(&self) -> Vec<InputChannel> {
        if !self.channels.is_empty() {
            return self.channels.clone();
        }
        let of_onset = |(group, first): (usize, &i64)| InputChannel {
            n: self.group_size(),
            onset: Onset::Step(*first),
            amplitude: if group == 0 {
                Amplitude::Stimulus
            } else {
                Amplitude::One
            },
            n_duration: self.n_duration,
            gain: self.gain,
        };
        self.first_steps.iter().enumerate().map(of_onset).collect()
    }

    fn check(&self) -> Result<(), CoreError> {
        if self.n == 0 || self.n > usize::from(u16::MAX) {
            return Err(range("number of inputs", self.n as f64, "from 1 to 65535"));
        }
        for (what, value) in [("input rate in Hz", self.rate_hz), ("gain of the stimulus", self.gain)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(range(what, value, "finite and at least 0"));
            }
        }
        whole_part(self.n, self.p_exc, "fraction of excitatory inputs")?;
        whole_part(self.n, self.p_stim, "fraction of stimulus-driven inputs")?;
        let driven: usize = self.channels.iter().map(|channel| channel.n).sum();
        if driven > self.n {
            return Err(range(
                "inputs of all channels",
                driven as f64,
                "at most the number of inputs",
            ));
        }
        for channel in &self.channels {
            if !(channel.gain.is_finite() && channel.gain >= 0.0) {
                return Err(range("gain of a channel", channel.gain, "finite and at least 0"));
            }
        }
        Ok(())
    }

    /// Spike probability per step of an input that answers to a stimulus of value `s`, at most 1.
    pub fn probability(&self, s: f64, dt: Ms) -> f64 {
        self.probability_with(self.gain, s, dt)
    }

    fn probability_with(&self, gain: f64, s: f64, dt: Ms) -> f64 {
        let amplitude = match self.scale {
            StimulusScale::Log => 1.0 + gain * s.ln_1p(),
            StimulusScale::Linear => 1.0 + gain * s,
        };
        (Hz(self.rate_hz).per_step(dt) * amplitude).clamp(0.0, 1.0)
    }

    /// Checks that trials have what the channels ask for, and that the scale is defined for every value.
    fn check_stimuli(&self, trials: &Trials, channels: &[InputChannel]) -> Result<(), CoreError> {
        let (lowest, expected) = match self.scale {
            StimulusScale::Log => (-1.0, "finite and above -1, for a logarithmic scale"),
            StimulusScale::Linear => (f64::NEG_INFINITY, "finite"),
        };
        let is_bad = |s: &f64| !(s.is_finite() && *s > lowest);
        let asks = |amplitude| channels.iter().any(|channel| channel.amplitude == amplitude);
        if (self.channels.is_empty() || asks(Amplitude::Stimulus))
            && let Some(bad) = trials.stimulus.iter().find(|s| is_bad(s))
        {
            return Err(range("stimulus value of a trial", *bad, expected));
        }
        if !asks(Amplitude::Trial) && channels.iter().all(|channel| channel.onset != Onset::Trial) {
            return Ok(());
        }
        let Some(cues) = &trials.cues else {
            let what = "the inputs answer to events of trials, but the trials have none".into();
            return Err(CoreError::Population { what });
        };
        let expected_shape = [trials.stimulus.len(), channels.len()];
        for (what, found) in [
            ("onsets of trials", cues.first_steps.shape()),
            ("amplitudes of trials", cues.values.shape()),
        ] {
            crate::rollout::shape(what, found, &expected_shape)?;
        }
        for (c, channel) in channels.iter().enumerate() {
            if channel.amplitude != Amplitude::Trial {
                continue;
            }
            let pairs = cues.first_steps.column(c).into_iter().zip(cues.values.column(c));
            // Where nothing happens there is nothing to have an amplitude.
            let mut used = pairs.filter(|(first, _)| channel.onset != Onset::Trial || first.is_some());
            if let Some((_, bad)) = used.find(|(_, s)| is_bad(s)) {
                return Err(range("amplitude of a trial's event", *bad, expected));
            }
        }
        Ok(())
    }

    /// When each channel answers in a trial, the inputs that do, and their spike probability, in the order of the channels.
    fn answers(&self, channels: &[InputChannel], trials: &Trials, k: usize, dt: Ms) -> Vec<Answer> {
        let mut first_input = 0;
        let mut answers = Vec::with_capacity(channels.len());
        for (c, channel) in channels.iter().enumerate() {
            let inputs = first_input..first_input + channel.n;
            first_input = inputs.end;
            let first = match channel.onset {
                Onset::Step(first) => Some(first),
                Onset::Trial => trials.cues.as_ref().and_then(|cues| cues.first_steps[[k, c]]),
            };
            let s = match channel.amplitude {
                Amplitude::One => 1.0,
                Amplitude::Stimulus => trials.stimulus[k],
                Amplitude::Trial => trials.cues.as_ref().map_or(0.0, |cues| cues.values[[k, c]]),
            };
            if let Some(first) = first {
                answers.push(Answer {
                    first,
                    n_steps: channel.n_duration as i64,
                    inputs,
                    probability: self.probability_with(channel.gain, s, dt) as f32,
                });
            }
        }
        answers
    }

    /// Spikes of every trial and step, warm-up first; trial k draws the row at (time incl. warm-up,
    /// `first_trial` + k, `step`) of the stream, so chunks of trials agree with the whole.
    pub(super) fn events(
        &self,
        trials: &Trials,
        (n_warmup, n_steps): (usize, usize),
        dt: Ms,
        (key, step, first_trial): (Key, u32, u32),
    ) -> Result<InputEvents, CoreError> {
        let channels = self.channels();
        self.check_stimuli(trials, &channels)?;
        let n_trials = trials.stimulus.len();
        let answers: Vec<Vec<Answer>> = (0..n_trials).map(|k| self.answers(&channels, trials, k, dt)).collect();
        let base = self.probability(0.0, dt) as f32;
        let n_all = n_warmup + n_steps;
        let scratch = || (vec![0.0f32; self.n], vec![0.0f32; self.n]);
        let fill = |(uniforms, probabilities): &mut (Vec<f32>, Vec<f32>), k: usize, t: usize, out: &mut Vec<u16>| {
            let place = Place {
                time: t as u32,
                trial: first_trial + k as u32,
                step,
            };
            fill_uniforms(key, place, uniforms);
            probabilities.fill(base);
            for answer in &answers[k] {
                let since = (t as i64 - n_warmup as i64).saturating_sub(answer.first);
                if t >= n_warmup && (0..answer.n_steps).contains(&since) {
                    probabilities[answer.inputs.clone()].fill(answer.probability);
                }
            }
            let below = uniforms.chunks(64).zip(probabilities.chunks(64));
            for (block, (u, p)) in below.enumerate() {
                let spikes = u
                    .iter()
                    .zip(p)
                    .rev()
                    .fold(0u64, |bits, (u, p)| bits << 1 | u64::from(u < p));
                for_each_set(&[spikes], |i| out.push((64 * block + i) as u16));
            }
        };
        Ok(InputEvents::build_by_trial(self.n, n_trials, n_all, scratch, fill))
    }
}

/// What a channel does in one trial.
struct Answer {
    /// Its first step within the recorded ones.
    first: i64,
    n_steps: i64,
    inputs: std::ops::Range<usize>,
    probability: f32,
}

impl RecordedInput {
    fn check(&self) -> Result<(), CoreError> {
        for (what, value) in [
            ("channels of the recorded stimulus", self.n_channels),
            ("lags", self.lags),
            ("steps between lags", self.lag_steps),
        ] {
            if value == 0 {
                return Err(range(what, 0.0, "at least 1"));
            }
        }
        for (what, value) in [
            ("scale of the recorded stimulus", self.scale),
            ("offset of the recorded stimulus", self.offset),
        ] {
            if !value.is_finite() {
                return Err(range(what, value, "finite"));
            }
        }
        Ok(())
    }

    /// The stimuli that trials use, scaled `[S', T, C]`, and each trial's index into them.
    pub(super) fn select(&self, trials: &Trials, n_steps: usize) -> Result<(Array3<f32>, Vec<usize>), CoreError> {
        let (Some(movies), Some(movie)) = (&trials.movies, &trials.movie) else {
            let what = "the network reads a recorded stimulus, but the trials have none".into();
            return Err(CoreError::Population { what });
        };
        let (n_movies, _, _) = movies.dim();
        let expected = [n_movies, n_steps, self.n_channels];
        if movies.shape() != expected {
            return Err(CoreError::Shape {
                what: "recorded stimuli",
                found: movies.shape().to_vec(),
                expected: expected.to_vec(),
            });
        }
        if movie.len() != trials.stimulus.len() {
            let (found, expected) = (vec![movie.len()], vec![trials.stimulus.len()]);
            return Err(CoreError::Shape {
                what: "stimulus index per trial",
                found,
                expected,
            });
        }
        if let Some(bad) = movie.iter().find(|m| **m >= n_movies) {
            return Err(range(
                "stimulus index of a trial",
                *bad as f64,
                "below the number of recorded stimuli",
            ));
        }
        let mut used = movie.clone();
        used.sort_unstable();
        used.dedup();
        let index = movie.iter().map(|m| used.partition_point(|u| u < m)).collect();
        let (scale, offset) = (self.scale as f32, self.offset as f32);
        let values = movies.select(Axis(0), &used).mapv(|x| scale * x + offset);
        if let Some(index) = values.iter().position(|x| !x.is_finite()) {
            return Err(CoreError::NonFinite {
                what: "recorded stimuli in use".into(),
                index,
            });
        }
        Ok((values, index))
    }
}

/// Current `[S, T, N]` of the scaled stimuli `[S, T, C]` through the weights `[L·C, N]`: one matrix product per
/// stimulus and lag, whatever the number of trials.
pub(super) fn current(input: &RecordedInput, stimuli: &Array3<f32>, w_in: &ArrayView2<'_, f32>) -> Array3<f32> {
    let (n_stimuli, n_steps, _) = stimuli.dim();
    let mut current = Array3::zeros((n_stimuli, n_steps, w_in.ncols()));
    for (x, mut out) in stimuli.outer_iter().zip(current.outer_iter_mut()) {
        for (lag, w) in w_in.axis_chunks_iter(Axis(0), input.n_channels).enumerate() {
            let shift = (lag * input.lag_steps).min(n_steps);
            general_mat_mul(
                1.0,
                &x.slice(s![..n_steps - shift, ..]),
                &w,
                1.0,
                &mut out.slice_mut(s![shift.., ..]),
            );
            if shift > 0 {
                let held = x.row(0).dot(&w);
                out.slice_mut(s![..shift, ..])
                    .outer_iter_mut()
                    .for_each(|mut row| row += &held);
            }
        }
    }
    current
}

/// Adjoint of [`current`]: gradient of the weights `[L·C, N]` from that of the current `[S, T, N]`.
pub(super) fn current_adjoint(input: &RecordedInput, stimuli: &Array3<f32>, d_current: &Array3<f32>) -> Array2<f32> {
    let (_, n_steps, n_channels) = stimuli.dim();
    let mut d_w = Array2::zeros((input.lags * n_channels, d_current.dim().2));
    for (x, d) in stimuli.outer_iter().zip(d_current.outer_iter()) {
        for (lag, mut out) in d_w.axis_chunks_iter_mut(Axis(0), n_channels).enumerate() {
            let shift = (lag * input.lag_steps).min(n_steps);
            general_mat_mul(
                1.0,
                &x.slice(s![..n_steps - shift, ..]).t(),
                &d.slice(s![shift.., ..]),
                1.0,
                &mut out,
            );
            let held = d.slice(s![..shift, ..]).sum_axis(Axis(0));
            for (x, mut row) in x.row(0).iter().zip(out.outer_iter_mut()) {
                row.scaled_add(*x, &held);
            }
        }
    }
    d_w
}
