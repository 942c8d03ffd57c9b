//! Simulation: what is uploaded, the launches of all steps, and what can be asked of the result.

use super::cell;
use super::device::{Buffer, Kernels, constants, from_device_bits, to_device_bits, units};
use super::forward::{self, UNITS};
use super::plan::Plan;
use crate::CoreError;
use crate::bits::SpikeBits;
use crate::rollout::{Channel, Network, Noise, Rollout, Run, State, TrialOffset};
use cubecl::prelude::*;
use ndarray::{Array2, Array3};

/// Steps of a launch: few enough that a slow adapter ends it within seconds.
const STEPS_PER_LAUNCH: usize = 32;

/// A simulation whose spikes and potentials are on the device.
#[derive(Debug)]
pub struct DeviceRollout {
    pub(super) kernels: Kernels,
    pub(super) sizes: Sizes,
    pub(super) options: u32,
    pub(super) w: Buffer,
    pub(super) w_in: Buffer,
    pub(super) constants: Buffer,
    pub(super) delays: Buffer,
    /// `[H + S, K, N/32]`.
    pub(super) spikes: Buffer,
    /// `[T, K, N/32]`.
    pub(super) blocked: Buffer,
    /// `[T, K, N]`, when kept.
    pub(super) potentials: Option<Buffer>,
    /// `[S, K, N_in/32]`.
    pub(super) events: Buffer,
    pub(super) normals: Buffer,
    pub(super) until: Buffer,
    /// Key (2), first trial, training step, time of the first step.
    pub(super) random: Buffer,
    start: Snapshot,
    end: Snapshot,
}

/// Potentials and refractory counters of all trials at one step.
#[derive(Debug)]
struct Snapshot {
    v: Buffer,
    r: Buffer,
}

/// Numbers that every launch needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) neurons: usize,
    pub(super) trials: usize,
    pub(super) inputs: usize,
    pub(super) delays: usize,
    pub(super) history: usize,
    pub(super) warmup: usize,
    pub(super) steps: usize,
}

impl Kernels {
    /// Simulates all trials of `run`; nothing waits for the device.
    ///
    /// # Errors
    /// An array that doesn't fit, or more bytes in one buffer than the device can bind.
    pub fn roll(&self, network: &Network, run: &Run, keep_potentials: bool) -> Result<DeviceRollout, CoreError> {
        let rollout = self.lay_out(network, run, keep_potentials)?;
        rollout.launch(network, run);
        Ok(rollout)
    }

    /// Takes a rollout of the host to the device, for its gradient.
    ///
    /// # Errors
    /// As [`Kernels::roll`].
    pub fn adopt(&self, network: &Network, run: &Run, host: &Rollout) -> Result<DeviceRollout, CoreError> {
        let (k, t, n) = (run.n_trials, run.n_steps, network.n_neurons());
        let mut rollout = self.lay_out(network, run, false)?;
        for (what, bits, steps) in [
            ("spikes of the warm-up", &host.warmup, run.n_warmup),
            ("spikes of the rollout", &host.spikes, t),
            ("refractory states", &host.refractory, t),
        ] {
            crate::rollout::shape(what, &bits.shape(), &[k, steps, n])?;
        }
        let mut spikes = to_device_bits(&run.initial.history);
        spikes.extend(to_device_bits(&host.warmup));
        spikes.extend(to_device_bits(&host.spikes));
        rollout.spikes = self.upload(&spikes);
        rollout.blocked = self.upload(&to_device_bits(&host.refractory));
        if let Some(potentials) = &host.potentials {
            crate::rollout::shape("kept potentials", potentials.shape(), &[k, t, n])?;
            self.fit("potentials", k, potentials.len())?;
            let time_major = potentials.view().permuted_axes([1, 0, 2]);
            rollout.potentials = Some(self.upload(&time_major.iter().copied().collect::<Vec<f32>>()));
        }
        Ok(rollout)
    }

    /// Uploads what every launch reads and makes room for what they write.
    fn lay_out(&self, network: &Network, run: &Run, keep_potentials: bool) -> Result<DeviceRollout, CoreError> {
        run.check(network)?;
        network.check_open("a graphics processor")?;
        let n = network.n_neurons();
        let (k, h) = (run.n_trials, network.max_delay());
        let all = run.n_warmup + run.n_steps;
        let words = n.div_ceil(32);
        let inputs = run.events.as_ref().map_or(0, |_| network.w_in.nrows());
        let plan = Plan {
            has_gradient: keep_potentials,
            ..Plan::of(network, run)
        };
        plan.check(self.limits(), self.name(), k)?;
        let kept = if keep_potentials { k * run.n_steps * n } else { 0 };
        let mut options = 0;
        let mut has = |bit: u32, given: bool| options |= if given { bit } else { 0 };
        has(cell::HAS_EVENTS, run.events.is_some());
        has(cell::HAS_DRIVE, run.drive.is_some());
        has(cell::HAS_OFFSET, run.trial_offset.is_some());
        has(cell::HAS_NOISE, network.noise.iter().any(|s| *s != 0.0));
        has(cell::IS_GIVEN, plan.is_noise_given);
        has(cell::IS_CLAMPED, run.clamp.is_some());
        has(cell::KEEPS, keep_potentials);
        let random = match &run.noise {
            Noise::Philox {
                key,
                step,
                first_trial,
                first_time,
            } => [key.words()[0], key.words()[1], *first_trial, *step, *first_time],
            Noise::Given { .. } => [0; 5],
        };
        let sizes = Sizes {
            neurons: n,
            trials: k,
            inputs,
            delays: network.delays.len(),
            history: h,
            warmup: run.n_warmup,
            steps: run.n_steps,
        };
        let normals = match &run.noise {
            Noise::Given { normals, .. } => self.upload_array(normals),
            Noise::Philox { .. } => self.empty(1),
        };
        let until = match &run.clamp {
            Some(clamp) => self.upload(&clamp.until.iter().copied().collect::<Vec<u32>>()),
            None => self.empty(1),
        };
        let spikes = self.empty((h + all) * k * words);
        self.copy_into(
            &self.upload(&to_device_bits(&run.initial.history)),
            &spikes,
            h * k * words,
        );
        let delays: Vec<u32> = network.delays.iter().map(|d| *d as u32).collect();
        let refractory: Vec<u32> = run.initial.refractory.iter().map(|r| u32::from(*r)).collect();
        let state = |v: Vec<f32>, r: &[u32]| Snapshot {
            v: self.upload(&v),
            r: self.upload(r),
        };
        let start = state(run.initial.v.iter().copied().collect(), &refractory);
        Ok(DeviceRollout {
            kernels: self.clone(),
            sizes,
            options,
            w: self.upload_array(&network.w),
            w_in: self.upload(&network.w_in.iter().copied().collect::<Vec<f32>>()),
            constants: self.upload(&constants(network)),
            delays: self.upload(&delays),
            spikes,
            blocked: self.empty(run.n_steps * k * words),
            potentials: keep_potentials.then(|| self.empty(kept)),
            events: self.upload(&event_bits(run, inputs, all)),
            normals,
            until,
            random: self.upload(&random),
            end: Snapshot {
                v: self.empty(k * n),
                r: self.empty(k * n),
            },
            start,
        })
    }

    /// Simulates and copies everything back: the same function as the other engines'.
    ///
    /// # Errors
    /// As [`Kernels::roll`]; a device that fails.
    pub fn simulate(&self, network: &Network, run: &Run, keep_potentials: bool) -> Result<Rollout, CoreError> {
        self.roll(network, run, keep_potentials)?.to_host()
    }

    /// Refuses a buffer of `len` 4-byte elements that the device can't bind.
    fn fit(&self, what: &'static str, trials: usize, len: usize) -> Result<(), CoreError> {
        let limit = self.limits().buffer_bytes.min(4 * u64::from(u32::MAX));
        let found = (len as u64).saturating_mul(4);
        if found <= limit {
            return Ok(());
        }
        Err(CoreError::DeviceLimit {
            device: self.name().to_owned(),
            what,
            trials,
            found,
            limit,
            unit: "bytes in one buffer",
        })
    }

    pub(super) fn upload_array(&self, array: &Array3<f32>) -> Buffer {
        match array.as_slice() {
            Some(values) => self.upload(values),
            None => self.upload(&array.iter().copied().collect::<Vec<f32>>()),
        }
    }
}

/// A downloaded buffer in double precision.
fn wide<T: Copy + Into<f64>>(values: &[T], shape: (usize, usize, usize)) -> Array3<f64> {
    let values = values.iter().map(|x| (*x).into()).collect();
    Array3::from_shape_vec(shape, values).expect("a buffer of the array's size")
}

/// Members of each channel: `[R + 1]` ends, then neurons; and their weights.
fn by_channel(channels: &[Channel]) -> (Vec<u32>, Vec<f32>) {
    let mut members = vec![0u32];
    let mut end = 0;
    for channel in channels {
        end += channel.members.len() as u32;
        members.push(end);
    }
    let all = channels.iter().flat_map(|channel| &channel.members);
    let (neurons, weights): (Vec<u32>, Vec<f32>) = all.copied().unzip();
    members.extend(neurons);
    (members, weights)
}

/// Input spikes as bits `[S, K, N_in/32]`.
fn event_bits(run: &Run, inputs: usize, all: usize) -> Vec<u32> {
    let Some(events) = &run.events else {
        return Vec::new();
    };
    let words = inputs.div_ceil(32);
    let mut bits = vec![0u32; all * run.n_trials * words];
    for s in 0..all {
        for k in 0..run.n_trials {
            let row = &mut bits[(s * run.n_trials + k) * words..][..words];
            for &i in events.at(k, s) {
                row[i as usize / 32] |= 1 << (i % 32);
            }
        }
    }
    bits
}

/// Rows of a trial offset `[K, B, N]`, then their shares at each step `[T, B]`; one buffer, because devices bind few.
fn rows_and_shares(offset: &TrialOffset) -> Vec<f32> {
    let mut values: Vec<f32> = offset.values.iter().chain(&offset.course).copied().collect();
    if offset.course.nrows() == 0 {
        // The warm-up of a run without a recorded step.
        values.extend(offset.shares(0));
    }
    values
}

impl DeviceRollout {
    /// Enqueues all steps.
    fn launch(&self, network: &Network, run: &Run) {
        let Sizes {
            neurons: n, trials: k, ..
        } = self.sizes;
        if n == 0 || k == 0 {
            return;
        }
        let kernels = &self.kernels;
        let uniforms = match &run.noise {
            Noise::Given { uniforms, .. } => kernels.upload_array(uniforms),
            Noise::Philox { .. } => kernels.empty(1),
        };
        let (drive, drive_index) = match &run.drive {
            Some(drive) => {
                let index: Vec<u32> = drive.index.iter().map(|s| *s as u32).collect();
                (kernels.upload_array(&drive.values), kernels.upload(&index))
            }
            None => (kernels.empty(1), kernels.empty(1)),
        };
        let clamped = match &run.clamp {
            Some(clamp) => kernels.upload(&to_device_bits(&clamp.spikes)),
            None => kernels.empty(1),
        };
        let offset = match &run.trial_offset {
            Some(offset) => kernels.upload(&rows_and_shares(offset)),
            None => kernels.empty(1),
        };
        let (n_units, per_unit) = kernels.cube_of(n);
        // The state moves from `start` to `end` at the first recorded step.
        let none = kernels.empty(1);
        let potentials = self.potentials.as_ref().unwrap_or(&none);
        let (warmup, all) = (self.sizes.warmup, self.sizes.warmup + self.sizes.steps);
        let mut from = 0;
        while from < all {
            if from == warmup {
                self.copy_state();
            }
            let (state, end) = if from < warmup {
                (&self.start, warmup)
            } else {
                (&self.end, all)
            };
            let to = (from + STEPS_PER_LAUNCH).min(end);
            // SAFETY: the kernel leaves units beyond the last neuron out of every write and clamps their reads; all
            // buffers have the sizes that its documentation names.
            #[allow(unsafe_code)]
            unsafe {
                forward::forward_steps::launch_unchecked(
                    &kernels.client,
                    CubeCount::Static(k as u32, 1, 1),
                    CubeDim::new_1d(n_units as u32),
                    self.w.arg(),
                    self.w_in.arg(),
                    self.constants.arg(),
                    self.delays.arg(),
                    state.v.arg(),
                    state.r.arg(),
                    self.spikes.arg(),
                    self.blocked.arg(),
                    potentials.arg(),
                    self.events.arg(),
                    drive.arg(),
                    drive_index.arg(),
                    offset.arg(),
                    self.normals.arg(),
                    uniforms.arg(),
                    clamped.arg(),
                    self.until.arg(),
                    self.random.arg(),
                    from as u32,
                    to as u32,
                    self.options,
                    n as u32,
                    k as u32,
                    self.sizes.inputs as u32,
                    self.sizes.delays as u32,
                    self.sizes.history as u32,
                    warmup as u32,
                    self.sizes.steps as u32,
                    run.trial_offset.as_ref().map_or(0, |offset| offset.values.dim().1) as u32,
                    u32::from(network.n_refractory),
                    network.temperature,
                    network.p_scale,
                    n_units,
                    per_unit,
                );
            }
            from = to;
        }
        if self.sizes.steps == 0 {
            self.copy_state();
        }
    }

    fn copy_state(&self) {
        let (count, dim) = units(self.start.v.len());
        // SAFETY: all four buffers have the same length, against which the kernel checks its position.
        #[allow(unsafe_code)]
        unsafe {
            forward::copy_state::launch_unchecked(
                &self.kernels.client,
                count,
                dim,
                self.start.v.arg(),
                self.start.r.arg(),
                self.end.v.arg(),
                self.end.r.arg(),
                self.start.v.len() as u32,
            );
        }
    }

    /// Whether potentials are kept for a gradient.
    pub fn has_potentials(&self) -> bool {
        self.potentials.is_some()
    }

    /// Spikes of the recorded steps `[K, T, N]`.
    ///
    /// # Errors
    /// A device that fails.
    pub fn spikes(&self) -> Result<SpikeBits, CoreError> {
        let words: Vec<u32> = self.kernels.download(&self.spikes)?;
        let Sizes {
            neurons, trials, steps, ..
        } = self.sizes;
        Ok(from_device_bits(
            &words,
            self.sizes.history + self.sizes.warmup,
            [trials, steps, neurons],
        ))
    }

    /// Spikes summed over the trials of each condition, `[C, T, N]`, counted on the device; of trial k only its first
    /// `valid[k]` steps, if that is given.
    ///
    /// # Errors
    /// Conditions or lengths that don't fit, a device that fails.
    pub fn sums_by_condition(
        &self,
        condition: &[usize],
        n_conditions: usize,
        valid: Option<&[usize]>,
    ) -> Result<Array3<f64>, CoreError> {
        let Sizes {
            neurons: n,
            trials: k,
            steps: t,
            ..
        } = self.sizes;
        crate::rollout::shape("conditions", &[condition.len()], &[k])?;
        if let Some(bad) = condition.iter().find(|c| **c >= n_conditions) {
            return Err(CoreError::Range {
                what: "condition index".into(),
                value: *bad as f64,
                expected: "below the number of conditions",
            });
        }
        let shape = (n_conditions, t, n);
        if n_conditions * t * n == 0 {
            return Ok(Array3::zeros(shape));
        }
        self.kernels.fit("sums of spikes", k, n_conditions * t * n)?;
        let out = self.kernels.empty(n_conditions * t * n);
        if let Some(valid) = valid {
            crate::rollout::shape("valid steps of trials", &[valid.len()], &[k])?;
        }
        let condition = self.kernels.upload(&with_lengths(condition, valid, t));
        let count = CubeCount::Static(n.div_ceil(UNITS as usize) as u32, t as u32, n_conditions as u32);
        // SAFETY: the kernel checks the neuron; steps and conditions are those of the launch.
        #[allow(unsafe_code)]
        unsafe {
            forward::count_by_condition::launch_unchecked(
                &self.kernels.client,
                count,
                CubeDim::new_1d(UNITS),
                self.spikes.arg(),
                condition.arg(),
                out.arg(),
                (self.sizes.history + self.sizes.warmup) as u32,
                n as u32,
                k as u32,
                t as u32,
            );
        }
        let counts: Vec<u32> = self.kernels.download(&out)?;
        Ok(wide(&counts, shape))
    }

    /// Weighted sums of spikes per channel, `[K, T, R]`, added in single precision on the device.
    ///
    /// # Errors
    /// A member that is no neuron, a device that fails.
    pub fn project(&self, channels: &[Channel]) -> Result<Array3<f64>, CoreError> {
        self.project_steps(channels, self.sizes.warmup, self.sizes.steps)
    }

    /// As [`DeviceRollout::project`], of the warm-up: `[K, warm-up, R]`.
    ///
    /// # Errors
    /// As there.
    pub fn project_warmup(&self, channels: &[Channel]) -> Result<Array3<f64>, CoreError> {
        self.project_steps(channels, 0, self.sizes.warmup)
    }

    /// Sums of `t` steps from step `first` (warm-up included) on.
    fn project_steps(&self, channels: &[Channel], first: usize, t: usize) -> Result<Array3<f64>, CoreError> {
        let Sizes {
            neurons: n, trials: k, ..
        } = self.sizes;
        crate::rollout::check_members(channels, n)?;
        let shape = (k, t, channels.len());
        let len = k * t * channels.len();
        if len == 0 || n == 0 {
            return Ok(Array3::zeros(shape));
        }
        self.kernels.fit("population traces", k, len)?;
        let (members, weights) = by_channel(channels);
        let out = self.kernels.empty(len);
        let (members, weights) = (self.kernels.upload(&members), self.kernels.upload(&weights));
        let (count, dim) = units(len);
        // SAFETY: the kernel checks its position; members are neurons of the network.
        #[allow(unsafe_code)]
        unsafe {
            forward::project::launch_unchecked(
                &self.kernels.client,
                count,
                dim,
                self.spikes.arg(),
                members.arg(),
                weights.arg(),
                out.arg(),
                len as u32,
                (self.sizes.history + first) as u32,
                n as u32,
                k as u32,
                t as u32,
                channels.len() as u32,
            );
        }
        let values: Vec<f32> = self.kernels.download(&out)?;
        Ok(wide(&values, shape))
    }

    /// Gradient of [`DeviceRollout::project`] with respect to the weights of the channels' members, per channel in the
    /// order of its members: [`SpikeBits::channel_weight_gradient`], added in single precision within a trial.
    ///
    /// # Errors
    /// A member that is no neuron, a series of another shape than `[K, T, R]`, a device that fails.
    pub fn channel_weight_gradient(
        &self,
        channels: &[Channel],
        series: &Array3<f64>,
    ) -> Result<Vec<Vec<f64>>, CoreError> {
        let Sizes {
            neurons: n,
            trials: k,
            steps: t,
            ..
        } = self.sizes;
        crate::rollout::shape("series of channels", series.shape(), &[k, t, channels.len()])?;
        crate::rollout::check_members(channels, n)?;
        let (members, _) = by_channel(channels);
        let n_members = members.len() - 1 - channels.len();
        let len = k * n_members;
        let mut sums = vec![0.0f64; n_members];
        if len * t * n > 0 {
            self.kernels.fit("gradients of channels", k, len)?;
            self.kernels.fit("series of channels", k, series.len())?;
            let channel_of = channels.iter().enumerate();
            let channel_of = channel_of.flat_map(|(r, channel)| channel.members.iter().map(move |_| r as u32));
            let neurons = self.kernels.upload(&members[1 + channels.len()..]);
            let channel_of = self.kernels.upload(&channel_of.collect::<Vec<u32>>());
            let series = self
                .kernels
                .upload(&series.iter().map(|x| *x as f32).collect::<Vec<f32>>());
            let out = self.kernels.empty(len);
            let (count, dim) = units(len);
            // SAFETY: the kernel checks its position; members are neurons of the network, each of a channel of `series`.
            #[allow(unsafe_code)]
            unsafe {
                forward::channel_weight_gradient::launch_unchecked(
                    &self.kernels.client,
                    count,
                    dim,
                    self.spikes.arg(),
                    neurons.arg(),
                    channel_of.arg(),
                    series.arg(),
                    out.arg(),
                    len as u32,
                    (self.sizes.history + self.sizes.warmup) as u32,
                    n as u32,
                    k as u32,
                    t as u32,
                    n_members as u32,
                    channels.len() as u32,
                );
            }
            let values: Vec<f32> = self.kernels.download(&out)?;
            for of_trial in values.chunks(n_members) {
                for (sum, value) in sums.iter_mut().zip(of_trial) {
                    *sum += f64::from(*value);
                }
            }
        }
        let mut sums = sums.into_iter();
        Ok(channels
            .iter()
            .map(|channel| sums.by_ref().take(channel.members.len()).collect())
            .collect())
    }

    /// Everything, on the host.
    ///
    /// # Errors
    /// A device that fails.
    pub fn to_host(&self) -> Result<Rollout, CoreError> {
        let Sizes {
            neurons: n,
            trials: k,
            history: h,
            warmup,
            steps: t,
            ..
        } = self.sizes;
        if n == 0 || k == 0 {
            let nothing = || State {
                v: Array2::zeros((k, n)),
                refractory: Array2::zeros((k, n)),
                history: SpikeBits::zeros(k, h, n),
                feedback: None,
            };
            return Ok(Rollout {
                warmup: SpikeBits::zeros(k, warmup, n),
                spikes: SpikeBits::zeros(k, t, n),
                refractory: SpikeBits::zeros(k, t, n),
                potentials: self.potentials.as_ref().map(|_| Array3::zeros((k, t, n))),
                traces: None,
                start: nothing(),
                end: nothing(),
            });
        }
        let words: Vec<u32> = self.kernels.download(&self.spikes)?;
        let state = |snapshot: &Snapshot, at: usize| -> Result<State, CoreError> {
            let v: Vec<f32> = self.kernels.download(&snapshot.v)?;
            let r: Vec<u32> = self.kernels.download(&snapshot.r)?;
            Ok(State {
                v: Array2::from_shape_fn((k, n), |(k, j)| v[k * n + j]),
                refractory: Array2::from_shape_fn((k, n), |(k, j)| r[k * n + j] as u8),
                history: from_device_bits(&words, at, [k, h, n]),
                feedback: None,
            })
        };
        let blocked: Vec<u32> = self.kernels.download(&self.blocked)?;
        let potentials = match &self.potentials {
            Some(potentials) => {
                let values: Vec<f32> = self.kernels.download(potentials)?;
                Some(Array3::from_shape_fn((k, t, n), |(i, s, j)| {
                    values[(s * k + i) * n + j]
                }))
            }
            None => None,
        };
        Ok(Rollout {
            warmup: from_device_bits(&words, h, [k, warmup, n]),
            spikes: from_device_bits(&words, h + warmup, [k, t, n]),
            refractory: from_device_bits(&blocked, 0, [k, t, n]),
            potentials,
            traces: None,
            start: state(&self.start, warmup)?,
            end: state(&self.end, warmup + t)?,
        })
    }
}

/// Condition of each trial, then its number of valid steps: `[2 K]`.
pub(super) fn with_lengths(condition: &[usize], valid: Option<&[usize]>, n_steps: usize) -> Vec<u32> {
    let length = |k: usize| valid.map_or(n_steps, |valid| valid[k].min(n_steps));
    let lengths = (0..condition.len()).map(length);
    condition.iter().copied().chain(lengths).map(|x| x as u32).collect()
}
