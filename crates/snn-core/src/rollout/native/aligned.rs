//! Buffers that start at a cache line: a load of sixteen lanes that straddles two lines takes twice the time.
#![allow(unsafe_code)] // one reinterpretation of lines as values

use super::lanes::LANES;
use std::ops::{Deref, DerefMut};

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line<T>([T; LANES]);

/// Values of four bytes from the start of a cache line on.
#[derive(Clone)]
pub(super) struct Buffer<T = f32> {
    lines: Vec<Line<T>>,
    len: usize,
}

impl<T: Copy + Default> Buffer<T> {
    /// `len` zeros.
    pub(super) fn zeros(len: usize) -> Self {
        const { assert!(size_of::<T>() == 4) };
        let count = len.div_ceil(LANES);
        let mut lines = Vec::with_capacity(count);
        crate::large::advise(lines.spare_capacity_mut());
        lines.resize(count, Line([T::default(); LANES]));
        Self { lines, len }
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: a line is sixteen values of four bytes without padding; `len` values are inside.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
