//! Windows of recorded trials through the network: what a step simulates and what its losses say of it.

use std::collections::BTreeMap;

use losses::LossError;
use losses::sample_and_measure::{
    Form, Group, HiddenRate, NoiseCovarianceLoss, coincidence_cross_entropy, hidden_rate_loss, likelihood,
    psth_cross_entropy,
};
use ndarray::{Array3, ArrayView3, Axis, s};
use snn_core::bits::SpikeBits;
use snn_core::device::OpenDevice;
use snn_core::models::Parameters;
use snn_core::models::rsnn::{Draws, Engine};
use snn_core::models::spike_history::{Clamped, Sampled, SpikeHistory, Windows};
use snn_core::rollout::Drive;

use super::model::{Drives, Model, Pass, Stretch};
use super::recorded::{Recorded, Repeats};
use crate::config::checked::spike_history::{ComparedStimuli, HiddenRateForm, Loss};
use crate::fit_error::FitError;

/// Target of the published program for hidden rates, spikes per bin (specification §1.4).
const PAPER_HIDDEN_RATE: f64 = 0.17;

/// A stretch of a recorded trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Session.
    pub session: usize,
    /// Trial of the session.
    pub trial: usize,
    /// First bin that counts.
    pub first: usize,
}

/// A stretch of a repeated stimulus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreeWindow<'a> {
    /// The trials that show it.
    pub repeats: &'a Repeats,
    /// First bin that counts.
    pub first: usize,
    /// Number of bins.
    pub bins: usize,
    /// Recorded trial from whose history each simulated one starts.
    pub starts: Vec<usize>,
}

/// What losses are computed of.
#[derive(Debug, Clone, Copy, Default)]
pub struct Batch<'a> {
    /// Stretches of any trials, run clamped to the recording or freely from its history, one trial of each.
    pub clamped: &'a [Window],
    /// Bins of each that count.
    pub clamped_bins: usize,
    /// Stretches of repeats that are simulated freely, all of the same number of bins.
    pub free: &'a [FreeWindow<'a>],
}

/// Where random numbers come from.
#[derive(Debug, Clone, Copy)]
pub struct Numbers<'a> {
    /// Seed.
    pub seed: u64,
    /// Step, or number of the simulation.
    pub number: u64,
    /// Name of the stream.
    pub stream: &'a str,
}

/// What is needed for a rollout.
#[derive(Debug, Clone, Copy)]
pub struct Rollouts<'a> {
    /// Network and driver.
    pub model: &'a Model,
    /// Recordings.
    pub recorded: &'a Recorded,
    /// Engine of the network.
    pub engine: &'a Engine,
    /// Device of the encoder.
    pub device: &'a OpenDevice,
    /// Bins before those that count, in which recorded neurons are clamped and hidden ones find their state.
    pub lead: usize,
}

/// The network as a session sees it: its neurons first.
pub(super) struct Seen {
    pub(super) network: SpikeHistory,
    pub(super) order: Vec<usize>,
    is_reordered: bool,
    pub(super) n_visible: usize,
}

impl Seen {
    pub(super) fn new(network: &SpikeHistory, neurons: &[usize]) -> Result<Self, FitError> {
        let n = network.spec.n_neurons();
        let mut order = neurons.to_vec();
        order.extend((0..n).filter(|j| !neurons.contains(j)));
        let is_reordered = !(order.iter().copied().eq(0..n) && neurons.len() == network.spec.n_visible);
        let network = if is_reordered {
            network.reordered(&order, neurons.len())?
        } else {
            network.clone()
        };
        Ok(Self {
            network,
            order,
            is_reordered,
            n_visible: neurons.len(),
        })
    }

    pub(super) fn drive(&self, values: Array3<f32>) -> Array3<f32> {
        if self.is_reordered {
            values.select(Axis(2), &self.order)
        } else {
            values
        }
    }

    /// Places of the hidden neurons of the model (not those that are only unseen here).
    fn hidden(&self, model: &SpikeHistory) -> Vec<usize> {
        let is_hidden = |place: &usize| self.order[*place] >= model.spec.n_visible;
        (0..self.order.len()).filter(is_hidden).collect()
    }
}

/// Sums of weighted losses by name.
type Values = BTreeMap<String, f64>;

fn add(values: &mut Values, loss: &Loss, value: f64) {
    *values.entry(loss.name().to_owned()).or_insert(0.0) += loss.weight() * value;
}

/// Drive of one pass `[S, T, N]`, and where gradients of its losses go.
struct PassDrive<'a> {
    values: Option<&'a Array3<f32>>,
    gradient: Option<&'a mut Parameters>,
    d_values: Option<&'a mut Array3<f32>>,
}

/// Gradients with respect to probabilities and spikes, `[K, T, N]`.
struct Slopes {
    p: Array3<f64>,
    z: Option<Array3<f64>>,
}

impl Slopes {
    fn zeros(like: &Array3<f32>) -> Self {
        Self {
            p: Array3::zeros(like.raw_dim()),
            z: None,
        }
    }

    fn add_p(&mut self, first: usize, scale: f64, d: &ArrayView3<'_, f64>) {
        let (_, t, n) = d.dim();
        let mut part = self.p.slice_mut(s![.., first..first + t, ..n]);
        part.scaled_add(scale, d);
    }

    fn add_z(&mut self, first: usize, places: &[usize], scale: f64, d: &ArrayView3<'_, f64>) {
        let all = self.z.get_or_insert_with(|| Array3::zeros(self.p.raw_dim()));
        let t = d.dim().1;
        for (column, &place) in places.iter().enumerate() {
            let mut part = all.slice_mut(s![.., first..first + t, place]);
            part.scaled_add(scale, &d.index_axis(Axis(2), column));
        }
    }
}

impl Rollouts<'_> {
    fn lags(&self) -> usize {
        self.model.network.spec.lags
    }

    /// Simulates trials of one session from bin `begin` of each; drive `[S, T, N]` in the order of the session.
    #[allow(clippy::too_many_arguments)] // one rollout, described once
    fn sample(
        &self,
        seen: &Seen,
        session: usize,
        starts: &[(usize, usize)],
        bins: usize,
        until: usize,
        drive: Option<Drive>,
        draws: Draws<'_>,
    ) -> Result<Sampled, FitError> {
        let session = &self.recorded.sessions[session];
        let (k, n) = (starts.len(), seen.n_visible);
        let mut history = Array3::zeros((k, self.lags(), n));
        let mut clamped = Array3::zeros((k, bins, n));
        for (i, &(trial, begin)) in starts.iter().enumerate() {
            let past = session.history(&[trial], begin, self.lags());
            history.index_axis_mut(Axis(0), i).assign(&past.index_axis(Axis(0), 0));
            let held = until.min(bins);
            let spikes = session.spikes.slice(s![trial, begin..begin + held, ..]);
            clamped.slice_mut(s![i, ..held, ..]).assign(&spikes);
        }
        let windows = Windows {
            n_windows: k,
            n_steps: bins,
            history: Some(SpikeBits::from_array(history.view())),
            clamped: (until > 0).then(|| Clamped {
                spikes: SpikeBits::from_array(clamped.view()),
                until: vec![until.min(bins) as u32; k],
            }),
            drive,
        };
        Ok(seen.network.sample(self.engine, &windows, draws)?)
    }

    /// Weighted losses of a batch: likelihood, single trials and coincidences of any stimuli of its clamped windows, all others of its
    /// free ones, means over all windows (coincidences: of the windows of a session together, means over sessions); hidden rates, where
    /// `hidden_targets` are given, of the free windows, or of the clamped ones where there are no others.
    ///
    /// With `gradient` given, the gradient of their sum is added to it.
    ///
    /// # Errors
    /// Anything that doesn't fit; values that aren't finite.
    pub fn losses(
        &self,
        batch: Batch<'_>,
        losses: &[Loss],
        hidden_targets: Option<&[f64]>,
        numbers: Numbers<'_>,
        mut gradient: Option<&mut Parameters>,
    ) -> Result<Values, FitError> {
        let clamped = batch.clamped.iter().map(|w| self.stretch(*w)).collect();
        let free = batch.free.iter().map(|w| self.stretch_of_repeats(w)).collect();
        let free_bins = batch.free.first().map_or(0, |w| w.bins);
        let passes = vec![self.pass(clamped, batch.clamped_bins), self.pass(free, free_bins)];
        let drives = self.drives(passes)?;
        let mut d_values: Vec<Option<Array3<f32>>> = drives
            .values
            .iter()
            .map(|v| gradient.as_ref().and(v.as_ref()).map(|v| Array3::zeros(v.raw_dim())))
            .collect();
        let ([of_clamped, of_free], [d_clamped, d_free]) = (&drives.values[..], &mut d_values[..]) else {
            return Err(FitError::Internal {
                what: format!("{} drives of two passes", drives.values.len()),
            });
        };
        let (clamped_targets, free_targets) = if batch.free.is_empty() {
            (hidden_targets, None)
        } else {
            (None, hidden_targets)
        };
        let pass = PassDrive {
            values: of_clamped.as_ref(),
            gradient: gradient.as_deref_mut(),
            d_values: d_clamped.as_mut(),
        };
        let mut values = self.clamped(batch, losses, clamped_targets, numbers, pass)?;
        let pass = PassDrive {
            values: of_free.as_ref(),
            gradient: gradient.as_deref_mut(),
            d_values: d_free.as_mut(),
        };
        for (name, value) in self.free(batch.free, losses, free_targets, numbers, pass)? {
            *values.entry(name).or_insert(0.0) += value;
        }
        if let Some(gradient) = gradient
            && drives.values.iter().any(Option::is_some)
        {
            gradient.add(&drives.backward(self.model, self.device, self.recorded, &d_values)?)?;
        }
        Ok(values)
    }

    /// Losses of recorded windows: likelihood, single trials, coincidences of any stimuli, and hidden rates where `hidden_targets` are
    /// given.
    fn clamped(
        &self,
        batch: Batch<'_>,
        losses: &[Loss],
        hidden_targets: Option<&[f64]>,
        numbers: Numbers<'_>,
        mut pass: PassDrive<'_>,
    ) -> Result<Values, FitError> {
        let windows = batch.clamped;
        let bins = batch.clamped_bins;
        let mut values = Values::new();
        let all_bins = self.lead + bins;
        let stretches: Vec<Stretch> = windows.iter().map(|w| self.stretch(*w)).collect();
        let entries = |w: &Window| self.recorded.sessions[w.session].neurons.len();
        let total: usize = windows.iter().map(entries).sum();
        // Hidden rates are those of a free run where there is one (specification §1.4).
        let has_free = losses.iter().any(Loss::is_of_any_stimuli);
        let mut sessions: Vec<usize> = windows.iter().map(|w| w.session).collect();
        sessions.sort_unstable();
        sessions.dedup();
        let mut first_window = 0;
        for session in sessions {
            let rows: Vec<usize> = (0..windows.len()).filter(|&i| windows[i].session == session).collect();
            let seen = Seen::new(&self.model.network, &self.recorded.sessions[session].neurons)?;
            let of_entries = (rows.len() * seen.n_visible) as f64 / total.max(1) as f64;
            let of_windows = rows.len() as f64 / windows.len() as f64;
            for loss in losses {
                // Coincidences are a sum over pairs, not a mean over entries.
                let share = if loss.is_of_any_stimuli() {
                    of_windows
                } else {
                    of_entries
                };
                let (until, samples, first, stream) = match loss {
                    Loss::Likelihood { samples, .. } => (all_bins, *samples, self.lead, "clamped"),
                    Loss::SingleTrial { clamped, .. } => {
                        (self.lead + clamped.steps, 1, self.lead + clamped.steps, "single")
                    }
                    Loss::CoincidenceCrossEntropy {
                        stimuli: ComparedStimuli::Any,
                        ..
                    } => (self.lead, 1, self.lead, "coincidences"),
                    _ => continue,
                };
                let starts: Vec<(usize, usize)> = (0..rows.len() * samples)
                    .map(|i| (windows[rows[i / samples]].trial, stretches[rows[i / samples]].first))
                    .collect();
                let drive = pass.values.map(|values| Drive {
                    values: seen.drive(values.select(Axis(0), &rows)),
                    index: (0..starts.len()).map(|i| i / samples).collect(),
                });
                let stream = format!("{}.{stream}", numbers.stream);
                let draws = Draws {
                    seed: numbers.seed,
                    step: numbers.number as u32,
                    stream: &stream,
                    first_trial: (first_window * samples) as u32,
                };
                let sampled = self.sample(&seen, session, &starts, all_bins, until, drive, draws)?;
                let mut slopes = Slopes::zeros(&sampled.probabilities);
                let scale = loss.weight() * share;
                let value = if loss.is_of_any_stimuli() {
                    self.coincidences(&seen, session, &starts, &sampled, scale, &mut slopes)?
                } else {
                    let of = (first, samples);
                    self.likelihood(&seen, session, &starts, &sampled, of, scale, &mut slopes)?
                };
                add(&mut values, loss, share * value);
                let has_rates = if has_free {
                    loss.is_of_any_stimuli()
                } else {
                    matches!(loss, Loss::Likelihood { .. })
                };
                if let (true, Some(targets)) = (has_rates, hidden_targets) {
                    for rates in losses {
                        if let Loss::HiddenRate { form, .. } = rates {
                            let scale = rates.weight() * share;
                            let value = self.hidden_rates(&seen, &sampled, (*form, targets), scale, &mut slopes)?;
                            add(&mut values, rates, share * value);
                        }
                    }
                }
                if let Some(gradient) = pass.gradient.as_deref_mut() {
                    let d_drive = self.backward(&seen, sampled, slopes, gradient)?;
                    if let (Some(all), Some(d)) = (&mut pass.d_values, d_drive) {
                        for (row, d) in rows.iter().zip(d.outer_iter()) {
                            let mut part = all.index_axis_mut(Axis(0), *row);
                            part += &d;
                        }
                    }
                }
            }
            first_window += rows.len();
        }
        Ok(values)
    }

    /// Losses of freely simulated repeats: trial averages, noise covariances, coincidences, and hidden rates where `hidden_targets`
    /// are given.
    fn free(
        &self,
        windows: &[FreeWindow<'_>],
        losses: &[Loss],
        hidden_targets: Option<&[f64]>,
        numbers: Numbers<'_>,
        mut pass: PassDrive<'_>,
    ) -> Result<Values, FitError> {
        let mut values = Values::new();
        let Some(bins) = windows.first().map(|w| w.bins) else {
            return Ok(values);
        };
        let all_bins = self.lead + bins;
        let stretches: Vec<Stretch> = windows.iter().map(|w| self.stretch_of_repeats(w)).collect();
        let stream = format!("{}.free", numbers.stream);
        let mut sessions: Vec<usize> = stretches.iter().map(|stretch| stretch.session).collect();
        sessions.sort_unstable();
        sessions.dedup();
        let mut first_trial = 0;
        for session in sessions {
            let rows: Vec<usize> = (0..windows.len())
                .filter(|&i| stretches[i].session == session)
                .collect();
            let seen = Seen::new(&self.model.network, &self.recorded.sessions[session].neurons)?;
            let share = rows.len() as f64 / windows.len() as f64;
            let mut simulated = Vec::with_capacity(rows.len());
            for &row in &rows {
                let window = &windows[row];
                let starts: Vec<(usize, usize)> = window
                    .starts
                    .iter()
                    .map(|&trial| (trial, stretches[row].first))
                    .collect();
                let drive = pass.values.map(|values| Drive {
                    values: seen.drive(values.select(Axis(0), &[row])),
                    index: vec![0; starts.len()],
                });
                let draws = Draws {
                    seed: numbers.seed,
                    step: numbers.number as u32,
                    stream: &stream,
                    first_trial,
                };
                first_trial += starts.len() as u32;
                simulated.push(self.sample(&seen, session, &starts, all_bins, self.lead, drive, draws)?);
            }
            let mut slopes: Vec<Slopes> = simulated.iter().map(|s| Slopes::zeros(&s.probabilities)).collect();
            self.repeats(
                &seen,
                windows,
                &rows,
                &simulated,
                losses,
                share,
                &mut slopes,
                &mut values,
            )?;
            if let Some(targets) = hidden_targets {
                for loss in losses {
                    if let Loss::HiddenRate { form, .. } = loss {
                        for (sampled, slopes) in simulated.iter().zip(&mut slopes) {
                            let share = share / rows.len() as f64;
                            let scale = loss.weight() * share;
                            let value = self.hidden_rates(&seen, sampled, (*form, targets), scale, slopes)?;
                            add(&mut values, loss, share * value);
                        }
                    }
                }
            }
            if let Some(gradient) = pass.gradient.as_deref_mut() {
                for ((sampled, slopes), &row) in simulated.into_iter().zip(slopes).zip(&rows) {
                    let d_drive = self.backward(&seen, sampled, slopes, gradient)?;
                    if let (Some(all), Some(d)) = (&mut pass.d_values, d_drive) {
                        let mut part = all.index_axis_mut(Axis(0), row);
                        part += &d.index_axis(Axis(0), 0);
                    }
                }
            }
        }
        Ok(values)
    }

    /// Freely simulated trials of a stretch of a repeated stimulus: probabilities and spikes of the session's neurons in its order,
    /// `[K, bins, units]`.
    ///
    /// # Errors
    /// As [`Rollouts::losses`].
    pub fn simulate(
        &self,
        window: &FreeWindow<'_>,
        numbers: Numbers<'_>,
    ) -> Result<(Array3<f32>, Array3<u8>), FitError> {
        let session = window.repeats.session;
        let seen = Seen::new(&self.model.network, &self.recorded.sessions[session].neurons)?;
        let stretch = self.stretch_of_repeats(window);
        let all_bins = self.lead + window.bins;
        let drive = self.drive_of(vec![stretch], window.bins)?;
        let starts: Vec<(usize, usize)> = window.starts.iter().map(|&trial| (trial, stretch.first)).collect();
        let drive = drive.map(|values| Drive {
            values: seen.drive(values),
            index: vec![0; starts.len()],
        });
        let draws = Draws {
            seed: numbers.seed,
            step: numbers.number as u32,
            stream: numbers.stream,
            first_trial: 0,
        };
        let sampled = self.sample(&seen, session, &starts, all_bins, self.lead, drive, draws)?;
        let own = s![.., self.lead.., ..seen.n_visible];
        let spikes = sampled.spikes()?.to_array();
        Ok((
            sampled.probabilities.slice(own).to_owned(),
            spikes.slice(own).to_owned(),
        ))
    }

    /// Probabilities of the session's neurons in a window, given the recorded past up to `until` bins after its first, and the
    /// model's own then; `[K, bins, units]` of `K` simulated trials for each window.
    ///
    /// # Errors
    /// As [`Rollouts::losses`].
    pub fn given(
        &self,
        windows: &[Window],
        bins: usize,
        until: usize,
        samples: usize,
        numbers: Numbers<'_>,
    ) -> Result<Array3<f32>, FitError> {
        let Some(session) = windows.first().map(|w| w.session) else {
            return Ok(Array3::zeros((0, bins, 0)));
        };
        let seen = Seen::new(&self.model.network, &self.recorded.sessions[session].neurons)?;
        let all_bins = self.lead + bins;
        let stretches: Vec<Stretch> = windows.iter().map(|w| self.stretch(*w)).collect();
        let starts: Vec<(usize, usize)> = (0..windows.len() * samples)
            .map(|i| (windows[i / samples].trial, stretches[i / samples].first))
            .collect();
        let drive = self.drive_of(stretches, bins)?.map(|values| Drive {
            values: seen.drive(values),
            index: (0..starts.len()).map(|i| i / samples).collect(),
        });
        let draws = Draws {
            seed: numbers.seed,
            step: numbers.number as u32,
            stream: numbers.stream,
            first_trial: 0,
        };
        let sampled = self.sample(&seen, session, &starts, all_bins, self.lead + until, drive, draws)?;
        let own = s![.., self.lead.., ..seen.n_visible];
        Ok(sampled.probabilities.slice(own).to_owned())
    }

    /// Stretches of a lead and `bins` bins that count. Recorded neurons are clamped in the lead, so that a drive is needed there only
    /// where a neuron of the network is not recorded.
    fn pass(&self, stretches: Vec<Stretch>, bins: usize) -> Pass {
        let n = self.model.network.spec.n_neurons();
        let is_recorded = |s: &Stretch| self.recorded.sessions[s.session].neurons.len() == n;
        let skipped = if stretches.iter().all(is_recorded) {
            self.lead
        } else {
            0
        };
        Pass {
            stretches,
            bins: self.lead + bins,
            skipped,
        }
    }

    fn drives(&self, passes: Vec<Pass>) -> Result<Drives, FitError> {
        self.model.drives(self.device, self.recorded, passes)
    }

    /// Drive of the stretches of one pass, which no gradient is asked of.
    fn drive_of(&self, stretches: Vec<Stretch>, bins: usize) -> Result<Option<Array3<f32>>, FitError> {
        Ok(self.drives(vec![self.pass(stretches, bins)])?.values.pop().flatten())
    }

    fn stretch_of_repeats(&self, window: &FreeWindow<'_>) -> Stretch {
        Stretch {
            session: window.repeats.session,
            stimulus: window.repeats.stimulus,
            first: window.first.saturating_sub(self.lead),
        }
    }

    fn stretch(&self, window: Window) -> Stretch {
        let session = &self.recorded.sessions[window.session];
        Stretch {
            session: window.session,
            stimulus: session.stimulus_of[window.trial],
            first: window.first.saturating_sub(self.lead),
        }
    }

    /// Mean cross-entropy from bin `first` of the rollout on, probabilities averaged over `samples` rollouts of each window.
    #[allow(clippy::too_many_arguments)] // one loss, described once
    fn likelihood(
        &self,
        seen: &Seen,
        session: usize,
        starts: &[(usize, usize)],
        sampled: &Sampled,
        (first, samples): (usize, usize),
        scale: f64,
        slopes: &mut Slopes,
    ) -> Result<f64, FitError> {
        let session = &self.recorded.sessions[session];
        let bins = sampled.probabilities.dim().1;
        let n_windows = starts.len() / samples;
        let shape = (n_windows, bins - first, seen.n_visible);
        let (mut recorded, mut p) = (Array3::<f64>::zeros(shape), Array3::<f64>::zeros(shape));
        for (i, &(trial, begin)) in starts.iter().enumerate() {
            let window = i / samples;
            if i % samples == 0 {
                let spikes = session.spikes.slice(s![trial, begin + first..begin + bins, ..]);
                recorded.index_axis_mut(Axis(0), window).assign(&spikes.mapv(f64::from));
            }
            let own = sampled.probabilities.slice(s![i, first.., ..seen.n_visible]);
            let mut mean = p.index_axis_mut(Axis(0), window);
            mean.scaled_add(1.0 / samples as f64, &own.mapv(f64::from));
        }
        let loss = likelihood(&recorded.view(), &p.view(), None)?;
        let scale = scale / samples as f64;
        for i in 0..starts.len() {
            let d = loss.d_probabilities.index_axis(Axis(0), i / samples);
            let mut part = slopes.p.slice_mut(s![i, first.., ..seen.n_visible]);
            part.scaled_add(scale, &d);
        }
        Ok(loss.value)
    }

    /// Cross-entropy of the coincidences of all windows of a session together.
    fn coincidences(
        &self,
        seen: &Seen,
        session: usize,
        starts: &[(usize, usize)],
        sampled: &Sampled,
        scale: f64,
        slopes: &mut Slopes,
    ) -> Result<f64, FitError> {
        let own = s![.., self.lead.., ..seen.n_visible];
        let p = sampled.probabilities.slice(own).mapv(f64::from);
        let mut recorded = Array3::<f64>::zeros(p.raw_dim());
        for (mut window, &(trial, begin)) in recorded.outer_iter_mut().zip(starts) {
            let first = begin + self.lead;
            let spikes = &self.recorded.sessions[session].spikes;
            let spikes = spikes.slice(s![trial, first..first + window.nrows(), ..]);
            window.assign(&spikes.mapv(f64::from));
        }
        let loss = coincidence_cross_entropy(&recorded.view(), &p.view())?;
        slopes.add_p(self.lead, scale, &loss.d_probabilities.view());
        Ok(loss.value)
    }

    /// Rates of hidden neurons in the bins that count.
    fn hidden_rates(
        &self,
        seen: &Seen,
        sampled: &Sampled,
        (form, targets): (HiddenRateForm, &[f64]),
        scale: f64,
        slopes: &mut Slopes,
    ) -> Result<f64, FitError> {
        let hidden = seen.hidden(&self.model.network);
        let spikes = sampled.spikes()?.to_array();
        let spikes = spikes
            .slice(s![.., self.lead.., ..])
            .select(Axis(2), &hidden)
            .mapv(f64::from);
        let constant = vec![PAPER_HIDDEN_RATE; hidden.len()];
        let (form, targets) = match form {
            HiddenRateForm::CrossEntropy => (HiddenRate::CrossEntropy, targets),
            HiddenRateForm::PaperCode => (HiddenRate::SquaredError, &constant[..]),
        };
        let loss = hidden_rate_loss(&spikes.view(), targets, form)?;
        if let Some(d) = &loss.d_spikes {
            slopes.add_z(self.lead, &hidden, scale, &d.view());
        }
        Ok(loss.value)
    }

    /// Losses of repeats of one session.
    #[allow(clippy::too_many_arguments)] // what windows, rollouts and gradients have in common
    fn repeats(
        &self,
        seen: &Seen,
        windows: &[FreeWindow<'_>],
        rows: &[usize],
        simulated: &[Sampled],
        losses: &[Loss],
        share: f64,
        slopes: &mut [Slopes],
        values: &mut Values,
    ) -> Result<(), FitError> {
        let lead = self.lead;
        let own = s![.., lead.., ..seen.n_visible];
        let recorded: Vec<Array3<f64>> = rows
            .iter()
            .map(|&row| {
                let w = &windows[row];
                self.recorded.sessions[w.repeats.session].counts(&w.repeats.trials, w.first, w.bins)
            })
            .collect();
        let p: Vec<Array3<f64>> = simulated
            .iter()
            .map(|s| s.probabilities.slice(own).mapv(f64::from))
            .collect();
        let mut spikes = Vec::with_capacity(simulated.len());
        for sampled in simulated {
            spikes.push(sampled.spikes()?.to_array().slice(own).mapv(f64::from));
        }
        let each = share / rows.len() as f64;
        let places: Vec<usize> = (0..seen.n_visible).collect();
        for loss in losses {
            let weight = loss.weight();
            match loss {
                Loss::PsthCrossEntropy { .. }
                | Loss::CoincidenceCrossEntropy {
                    stimuli: ComparedStimuli::Repeated,
                    ..
                } => {
                    let evaluate: fn(&ArrayView3<'_, f64>, &ArrayView3<'_, f64>) -> Result<_, LossError> = match loss {
                        Loss::PsthCrossEntropy { .. } => |z, p| psth_cross_entropy(z, p),
                        _ => |z, p| coincidence_cross_entropy(z, p),
                    };
                    for ((recorded, p), slopes) in recorded.iter().zip(&p).zip(slopes.iter_mut()) {
                        let found = evaluate(&recorded.view(), &p.view())?;
                        slopes.add_p(lead, weight * each, &found.d_probabilities.view());
                        add(values, loss, each * found.value);
                    }
                }
                Loss::NoiseCovariance { comparison, form, .. } => {
                    let groups: Vec<Group<'_>> = (0..rows.len())
                        .map(|i| Group {
                            recorded: recorded[i].view(),
                            p: p[i].view(),
                            spikes: spikes[i].view(),
                        })
                        .collect();
                    let loss_of = NoiseCovarianceLoss {
                        comparison: *comparison,
                        form: *form,
                        is_unbiased: *form == Form::Corrected,
                    };
                    let (value, found) = loss_of.evaluate(&groups)?;
                    for (found, slopes) in found.iter().zip(slopes.iter_mut()) {
                        slopes.add_p(lead, weight * share, &found.d_probabilities.view());
                        if let Some(d) = &found.d_spikes {
                            slopes.add_z(lead, &places, weight * share, &d.view());
                        }
                    }
                    add(values, loss, share * value);
                }
                Loss::Likelihood { .. }
                | Loss::SingleTrial { .. }
                | Loss::CoincidenceCrossEntropy {
                    stimuli: ComparedStimuli::Any,
                    ..
                }
                | Loss::HiddenRate { .. } => {}
            }
        }
        Ok(())
    }

    /// Adds the gradient of the network's parameters; returns that of the drive, in the model's order.
    fn backward(
        &self,
        seen: &Seen,
        sampled: Sampled,
        slopes: Slopes,
        gradient: &mut Parameters,
    ) -> Result<Option<Array3<f32>>, FitError> {
        let d_p = slopes.p.mapv(|x| x as f32);
        let d_z = slopes.z.map(|z| z.mapv(|x| x as f32));
        let mut found = seen.network.backward(self.engine, sampled, &d_p, d_z)?;
        if seen.is_reordered {
            found = found.restored(&seen.order)?;
        }
        gradient.add(&found.parameters)?;
        Ok(found.drive)
    }
}
