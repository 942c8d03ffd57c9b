//! A wgpu device, its buffers and what it can hold.

use super::cell;
use super::plan::Limits;
use crate::CoreError;
use crate::bits::SpikeBits;
use crate::device::{says_out_of_memory, take_out_of_memory};
use cubecl::prelude::*;
use cubecl::server::Handle;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Largest number of cubes along one axis of a launch.
pub(super) const MAX_CUBES: u32 = 65_535;

/// Most units that share a trial: a multiprocessor hides the latency of reads with these, and two cubes fit.
const MAX_TRIAL_UNITS: usize = 512;

/// An open wgpu device with its queue.
#[derive(Clone)]
pub struct Kernels {
    pub(crate) client: Client,
    name: String,
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernels")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A buffer of 4-byte elements on the device.
#[derive(Clone)]
pub(crate) struct Buffer {
    handle: Handle,
    len: usize,
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({})", self.len)
    }
}

impl Buffer {
    /// As an argument of a kernel.
    pub(crate) fn arg(&self) -> BufferArg {
        // SAFETY: the buffer was created with `len` elements of 4 bytes.
        #[allow(unsafe_code)]
        unsafe {
            BufferArg::from_raw_parts(self.handle.clone(), self.len)
        }
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Kernels {
    /// The engine on a device that was opened under this name.
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// Name of the adapter.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the adapter can bind and launch.
    pub fn limits(&self) -> Limits {
        let properties = self.client.properties();
        let (x, y, z) = properties.hardware.max_cube_count;
        Limits {
            buffer_bytes: properties.memory.max_page_size,
            cubes: u64::from(x.min(y).min(z).min(MAX_CUBES)),
        }
    }

    /// An uninitialised buffer; at least one element, because nothing can't be bound.
    pub(crate) fn empty(&self, len: usize) -> Buffer {
        let len = len.max(1);
        Buffer {
            handle: self.client.empty(len * 4),
            len,
        }
    }

    /// A buffer of zeros.
    pub(super) fn zeros(&self, len: usize) -> Buffer {
        let buffer = self.empty(len);
        self.clear(&buffer);
        buffer
    }

    /// Sets a buffer to zero.
    pub(super) fn clear(&self, buffer: &Buffer) {
        let (count, dim) = units(buffer.len);
        // SAFETY: the kernel checks its position against the length.
        #[allow(unsafe_code)]
        unsafe {
            super::backward::clear::launch_unchecked(&self.client, count, dim, buffer.arg(), buffer.len as u32);
        }
    }

    /// Copies the first `size` elements of one buffer into another.
    pub(super) fn copy_into(&self, from: &Buffer, to: &Buffer, size: usize) {
        let (count, dim) = units(size);
        // SAFETY: the kernel checks its position against the size, which callers take from both buffers.
        #[allow(unsafe_code)]
        unsafe {
            super::forward::copy::launch_unchecked(&self.client, count, dim, from.arg(), to.arg(), size as u32);
        }
    }

    /// Units of a cube that takes all `n` neurons of a trial, and neurons of each: a multiple of 32 units, no more than
    /// the device allows.
    pub(super) fn cube_of(&self, n: usize) -> (usize, usize) {
        let most = (self.client.properties().hardware.max_units_per_cube as usize).clamp(32, MAX_TRIAL_UNITS) / 32 * 32;
        let per_unit = n.div_ceil(most).max(1);
        (n.div_ceil(per_unit).div_ceil(32) * 32, per_unit)
    }

    /// A copy of `values` on the device.
    pub(crate) fn upload<T: CubeElement>(&self, values: &[T]) -> Buffer {
        if values.is_empty() {
            return self.empty(1);
        }
        Buffer {
            handle: self.client.create_from_slice(T::as_bytes(values)),
            len: values.len(),
        }
    }

    /// Waits for the device and copies a buffer back.
    pub(crate) fn download<T: CubeElement>(&self, buffer: &Buffer) -> Result<Vec<T>, CoreError> {
        // Where wgpu fails within the call, cubecl carries the panic of its thread over to this one.
        let read = AssertUnwindSafe(|| self.client.read_one(buffer.handle.clone()));
        match catch_unwind(read) {
            Ok(Ok(bytes)) => Ok(T::from_bytes(&bytes)[..buffer.len].to_vec()),
            Ok(Err(error)) => Err(self.failed(&error)),
            Err(panic) => match take_out_of_memory() {
                Some(reason) => Err(self.out_of_memory(reason)),
                None => resume_unwind(panic),
            },
        }
    }

    /// An error of this device. Memory that ran out is the cause of whatever follows.
    pub(super) fn failed(&self, error: &dyn std::fmt::Debug) -> CoreError {
        let text = format!("{error:?}");
        match take_out_of_memory().or_else(|| says_out_of_memory(&text).then(|| text.clone())) {
            Some(reason) => self.out_of_memory(reason),
            None => CoreError::Device {
                asked: self.name.clone(),
                reason: text,
            },
        }
    }

    fn out_of_memory(&self, reason: String) -> CoreError {
        CoreError::DeviceMemory {
            device: self.name.clone(),
            reason,
        }
    }
}

/// One unit per element, in cubes of 256, wrapped into a second axis where one is too short.
pub(super) fn units(len: usize) -> (CubeCount, CubeDim) {
    let dim = super::forward::UNITS;
    let cubes = len.div_ceil(dim as usize) as u32;
    let x = cubes.clamp(1, MAX_CUBES);
    (CubeCount::Static(x, cubes.div_ceil(x).max(1), 1), CubeDim::new_1d(dim))
}

/// Rows of packed bits `[K, T, N/64]` as time-major words of 32: `[T, K, N/32]`.
pub(super) fn to_device_bits(bits: &SpikeBits) -> Vec<u32> {
    let [k, t, n] = bits.shape();
    let words = n.div_ceil(32);
    let mut out = vec![0u32; t * k * words];
    for step in 0..t {
        for trial in 0..k {
            let row = &mut out[(step * k + trial) * words..(step * k + trial + 1) * words];
            for (i, word) in row.iter_mut().enumerate() {
                *word = (bits.row(trial, step)[i / 2] >> (32 * (i % 2))) as u32;
            }
        }
    }
    out
}

/// The reverse of [`to_device_bits`], from step `first` of the buffer on.
pub(super) fn from_device_bits(words: &[u32], first: usize, shape: [usize; 3]) -> SpikeBits {
    let [k, t, n] = shape;
    let per_row = n.div_ceil(32);
    let mut bits = SpikeBits::zeros(k, t, n);
    for step in 0..t {
        for trial in 0..k {
            let at = ((first + step) * k + trial) * per_row;
            let row = bits.row_mut(trial, step);
            for (i, word) in words[at..at + per_row].iter().enumerate() {
                row[i / 2] |= u64::from(*word) << (32 * (i % 2));
            }
        }
    }
    bits
}

/// Constants of the cell as rows `[N_CONSTANTS, N]`.
pub(super) fn constants(network: &crate::rollout::Network) -> Vec<f32> {
    let n = network.n_neurons();
    let mut out = vec![0.0f32; cell::N_CONSTANTS * n];
    let rows = [
        (cell::ALPHA, &network.alpha),
        (cell::GAIN, &network.gain),
        (cell::BIAS, &network.bias),
        (cell::NOISE, &network.noise),
        (cell::THRESHOLD, &network.threshold),
        (cell::RESET, &network.reset),
    ];
    for (row, values) in rows {
        for (to, from) in out[row * n..(row + 1) * n].iter_mut().zip(values) {
            *to = *from;
        }
    }
    for (to, scale) in out[cell::INVERSE_SCALE * n..].iter_mut().zip(&network.scale) {
        *to = 1.0 / scale;
    }
    out
}
