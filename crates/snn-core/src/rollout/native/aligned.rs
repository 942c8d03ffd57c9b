//! Buffers that start at a cache line: a load of sixteen lanes that straddles two lines takes twice the time.
#![allow(unsafe_code)] // one reinterpretation of lines as values

use super::lanes::LANES;
use std::ops::{Deref, DerefMut};

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LANES]);

/// Values from the start of a cache line on.
#[derive(Clone, Default)]
pub(super) struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl Buffer {
    /// `len` zeros.
    pub(super) fn zeros(len: usize) -> Self {
        let count = len.div_ceil(LANES);
        let mut lines = Vec::with_capacity(count);
        crate::large::advise(lines.spare_capacity_mut());
        lines.resize(count, Line([0.0; LANES]));
        Self { lines, len }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a line is sixteen values without padding; `len` values are inside.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
