//! The dense product of the backward pass in 16-bit fixed point: half the memory of the weights, and twice the products
//! per instruction where the CPU multiplies pairs (AVX-512 VNNI). Not exact; engine `native-int16`.
//!
//! Every row of g δ, and every presynaptic row of W, is rounded to whole multiples of its own unit s. The products are
//! summed in 32-bit integers without any error, and scaled back in single precision. The units are such that
//! `‖x/s‖ ≤ 46340 = √(2³¹ − 1)` after rounding on both sides, so by Cauchy–Schwarz no partial sum overflows, and that
//! no multiple is beyond ±32767. Hence an entry of the product is wrong by at most about `√N/32767 · ‖x‖ ‖w‖`, and
//! (rows whose largest entry is below 1e-30 count as 0), and
//! typically by `√(1/6)/46340 · ‖x‖ ‖w‖`, for each delay. Integers add up alike in any order: the result is the same on every CPU.
#![allow(unsafe_code)] // vector units

use super::aligned::Buffer;
use super::dense::PANEL;
use super::lanes::LANES;
use crate::rollout::Network;
use crate::vector::vectorized;
use rayon::prelude::*;

/// Largest norm of a rounded row.
const LARGEST_NORM: f32 = 46340.0;

/// Pairs of postsynaptic neurons whose part of a panel stays in the cache while the blocks of rows pass.
const DEPTH: usize = 512;

/// Rows below this are taken as 0, as their units would not be normal numbers.
const NOTHING: f32 = 1e-30;

/// Two 16-bit values, the first in the low half.
type Pair = u32;

/// The weights of all delays, `[N_pre / PANEL][D][pairs of N_post][PANEL]`, padded with zeros, and their units.
pub(super) struct Packed {
    n: usize,
    n_delays: usize,
    unit: Unit,
    values: Buffer<Pair>,
    /// Unit of each presynaptic row, `[N_pre / PANEL][D][PANEL]`.
    units: Vec<f32>,
}

/// Rows of one time step and block: what [`Packed::product`] multiplies.
#[derive(Clone)]
pub(super) struct Rows {
    /// `[pairs of N_post][R]`.
    pairs: Vec<Pair>,
    /// `[R]`.
    units: Vec<f32>,
    /// One row while it is rounded.
    rounded: Vec<i16>,
}

impl Rows {
    /// Zeros.
    pub(super) fn zeros(n: usize, rows_per_block: usize) -> Self {
        Self {
            pairs: vec![0; n.div_ceil(2) * rows_per_block],
            units: vec![0.0; rows_per_block],
            rounded: vec![0; n.next_multiple_of(2)],
        }
    }

    /// Rounds row-major `rows [≤ R, N]`; missing rows stay as they are.
    pub(super) fn put(&mut self, rows: &[f32], n: usize) {
        let count = self.units.len();
        for (r, row) in rows.chunks_exact(n).enumerate() {
            round(row, &mut self.rounded[..n], &mut self.units[r]);
            for (line, pair) in self.pairs.chunks_exact_mut(count).zip(self.rounded.chunks_exact(2)) {
                line[r] = pair_of(pair[0], pair[1]);
            }
        }
    }
}

fn pair_of(low: i16, high: i16) -> Pair {
    u32::from(low as u16) | u32::from(high as u16) << 16
}

impl Packed {
    /// Packs row-major `w [N_pre, N_post]`, one per delay.
    pub(super) fn new(network: &Network, w: &[&[f32]]) -> Self {
        let (n, n_delays) = (network.n_neurons(), w.len());
        let (pairs, panels) = (n.div_ceil(2), n.div_ceil(PANEL));
        let size = n_delays * pairs * PANEL;
        let mut values = Buffer::zeros(panels * size);
        let mut units = vec![0.0f32; panels * n_delays * PANEL];
        if size > 0 {
            values
                .par_chunks_mut(size)
                .zip(units.par_chunks_mut(n_delays * PANEL))
                .enumerate()
                .for_each(|(p, (panel, units))| {
                    let mut rounded = vec![0i16; 2 * pairs];
                    let parts = panel.chunks_exact_mut(pairs * PANEL).zip(units.chunks_exact_mut(PANEL));
                    for ((panel, units), w) in parts.zip(w) {
                        for (c, row) in w.chunks_exact(n).skip(p * PANEL).take(PANEL).enumerate() {
                            round(row, &mut rounded[..n], &mut units[c]);
                            for (line, pair) in panel.chunks_exact_mut(PANEL).zip(rounded.chunks_exact(2)) {
                                line[c] = pair_of(pair[0], pair[1]);
                            }
                        }
                    }
                });
        }
        Self {
            n,
            n_delays,
            unit: Unit::of_this_cpu(),
            values,
            units,
        }
    }

    /// As [`super::dense::Packed::product`].
    pub(super) fn product<'r>(
        &self,
        p: usize,
        rows_per_block: usize,
        rows: &dyn Fn(usize, usize) -> Option<&'r Rows>,
        out: &mut [f32],
    ) {
        out.fill(0.0);
        let size = self.n.div_ceil(2) * PANEL;
        let panel = &self.values[p * self.n_delays * size..][..self.n_delays * size];
        let units = &self.units[p * self.n_delays * PANEL..][..self.n_delays * PANEL];
        for (d, (panel, units)) in panel.chunks_exact(size).zip(units.chunks_exact(PANEL)).enumerate() {
            for (chunk, panel) in panel.chunks(DEPTH * PANEL).enumerate() {
                for (b, out) in out.chunks_exact_mut(rows_per_block * PANEL).enumerate() {
                    if let Some(rows) = rows(b, d) {
                        let pairs = &rows.pairs[chunk * DEPTH * rows_per_block..];
                        let pairs = &pairs[..panel.len() / PANEL * rows_per_block];
                        add_block(self.unit, panel, units, pairs, &rows.units, out);
                    }
                }
            }
        }
    }
}

/// Rows of one block for `count` rows in all: the number that leaves the least padding.
pub(super) fn rows_per_block(count: usize) -> usize {
    let most = match Unit::of_this_cpu() {
        #[cfg(target_arch = "x86_64")]
        Unit::Vnni => 14,
        #[cfg(target_arch = "x86_64")]
        Unit::Avx2 => 3,
        Unit::Portable => 4,
    };
    count.max(1).div_ceil(count.max(1).div_ceil(most))
}

vectorized! {
    /// Rounds `row` to whole multiples of a unit that it chooses. A row that isn't finite gets a unit that isn't either.
    fn round(row: &[f32], to: &mut [i16], unit: &mut f32) {
        let (lines, rest) = row.as_chunks::<LANES>();
        let mut lanes = [0.0f32; LANES];
        for line in lines {
            for (m, x) in lanes.iter_mut().zip(line) {
                *m = if x.abs() > *m { x.abs() } else { *m };
            }
        }
        let largest = lanes.iter().chain(rest).fold(0.0f32, |a, b| a.max(b.abs()));
        if largest < NOTHING {
            *unit = if row.iter().any(|x| x.is_nan()) { f32::NAN } else { 0.0 };
            to.fill(0);
            return;
        }
        // Relative to the largest entry, so that no square is too small or too large.
        let inverse = 1.0 / largest;
        let mut lanes = [0.0f32; LANES];
        for line in lines {
            for (s, x) in lanes.iter_mut().zip(line) {
                *s += (x * inverse) * (x * inverse);
            }
        }
        let squares = rest.iter().fold(lanes.iter().sum::<f32>(), |s, x| s + (x * inverse) * (x * inverse));
        if !squares.is_finite() {
            *unit = f32::NAN;
            to.fill(0);
            return;
        }
        // The margins are for the rounding of the sum, and of the entries.
        let room = (LARGEST_NORM - 0.5 * (row.len() as f32).sqrt()).max(1.0);
        let steps = 32767.0f32.min(room / (squares.sqrt() * 1.0001));
        *unit = largest / steps;
        let factor = steps * inverse;
        for (q, x) in to.iter_mut().zip(row) {
            // To the nearest whole number, in the low bits.
            *q = (x * factor + 12_582_912.0).to_bits() as u16 as i16;
        }
    }
}

/// Vector units that multiply pairs of 16-bit integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    #[cfg(target_arch = "x86_64")]
    Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Unit {
    fn of_this_cpu() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni")
            {
                return Self::Vnni;
            }
            if is_x86_feature_detected!("avx2") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }
}

/// Sixteen sums of products of pairs.
///
/// # Safety
/// Every function may be called only on a CPU that has the unit; pointers must be valid for sixteen values.
trait Sums: Copy {
    unsafe fn zero() -> Self;
    /// Adds `low·low + high·high` of sixteen pairs and one.
    unsafe fn add_products(self, pairs: *const Pair, one: Pair) -> Self;
    /// `out += sums · row · columns`; in this order, so that no product of units underflows.
    unsafe fn add_scaled(self, row: f32, columns: *const f32, out: *mut f32);
}

#[derive(Clone, Copy)]
struct Plain([i32; LANES]);

fn halves(pair: Pair) -> (i32, i32) {
    (i32::from(pair as u16 as i16), i32::from((pair >> 16) as u16 as i16))
}

// SAFETY (all blocks): the unit and the pointers are the caller's promise, see the trait.
impl Sums for Plain {
    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0; LANES])
    }
    #[inline(always)]
    unsafe fn add_products(mut self, pairs: *const Pair, one: Pair) -> Self {
        let (low, high) = halves(one);
        let pairs = unsafe { pairs.cast::<[Pair; LANES]>().read_unaligned() };
        for (sum, pair) in self.0.iter_mut().zip(pairs) {
            let (a, b) = halves(pair);
            *sum += a * low + b * high;
        }
        self
    }
    #[inline(always)]
    unsafe fn add_scaled(self, row: f32, columns: *const f32, out: *mut f32) {
        for (i, sum) in self.0.iter().enumerate() {
            unsafe { *out.add(i) += *sum as f32 * row * *columns.add(i) };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Pair, Sums};
    use std::arch::x86_64::{
        __m256i, __m512i, _mm256_add_epi32, _mm256_add_ps, _mm256_cvtepi32_ps, _mm256_loadu_ps, _mm256_loadu_si256,
        _mm256_madd_epi16, _mm256_mul_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_si256, _mm256_storeu_ps,
        _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_dpwssd_epi32, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mul_ps,
        _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_si512, _mm512_storeu_ps,
    };

    // SAFETY (all blocks): the unit and the pointers are the caller's promise, see the trait.
    impl Sums for __m512i {
        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { _mm512_setzero_si512() }
        }
        #[inline(always)]
        unsafe fn add_products(self, pairs: *const Pair, one: Pair) -> Self {
            unsafe { _mm512_dpwssd_epi32(self, _mm512_loadu_si512(pairs.cast()), _mm512_set1_epi32(one as i32)) }
        }
        #[inline(always)]
        unsafe fn add_scaled(self, row: f32, columns: *const f32, out: *mut f32) {
            unsafe {
                let product = _mm512_mul_ps(_mm512_cvtepi32_ps(self), _mm512_set1_ps(row));
                let product = _mm512_mul_ps(product, _mm512_loadu_ps(columns));
                _mm512_storeu_ps(out, _mm512_add_ps(_mm512_loadu_ps(out), product));
            }
        }
    }

    impl Sums for [__m256i; 2] {
        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { [_mm256_setzero_si256(); 2] }
        }
        #[inline(always)]
        unsafe fn add_products(self, pairs: *const Pair, one: Pair) -> Self {
            unsafe {
                let one = _mm256_set1_epi32(one as i32);
                let half = |i: usize| {
                    let products = _mm256_madd_epi16(_mm256_loadu_si256(pairs.add(8 * i).cast()), one);
                    _mm256_add_epi32(self[i], products)
                };
                [half(0), half(1)]
            }
        }
        #[inline(always)]
        unsafe fn add_scaled(self, row: f32, columns: *const f32, out: *mut f32) {
            unsafe {
                for (i, sums) in self.into_iter().enumerate() {
                    let product = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_set1_ps(row));
                    let product = _mm256_mul_ps(product, _mm256_loadu_ps(columns.add(8 * i)));
                    let out = out.add(8 * i);
                    _mm256_storeu_ps(out, _mm256_add_ps(_mm256_loadu_ps(out), product));
                }
            }
        }
    }
}

fn add_block(unit: Unit, panel: &[Pair], columns: &[f32], rows: &[Pair], units: &[f32], out: &mut [f32]) {
    macro_rules! by_rows {
        ($($r:literal)*) => {
            match units.len() {
                $($r => {
                    assert!(
                        rows.len() == panel.len() / PANEL * $r && out.len() == $r * PANEL && columns.len() == PANEL,
                        "shapes of a block"
                    );
                    // SAFETY: the unit is that of this CPU; the lengths were just checked.
                    unsafe {
                        match unit {
                            #[cfg(target_arch = "x86_64")]
                            Unit::Vnni => vnni::<$r>(panel, columns, rows, units, out),
                            #[cfg(target_arch = "x86_64")]
                            Unit::Avx2 => avx2::<$r>(panel, columns, rows, units, out),
                            Unit::Portable => block::<Plain, $r>(panel, columns, rows, units, out),
                        }
                    }
                })*
                _ => unreachable!("rows of a block"),
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn vnni<const R: usize>(panel: &[Pair], columns: &[f32], rows: &[Pair], units: &[f32], out: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe { block::<std::arch::x86_64::__m512i, R>(panel, columns, rows, units, out) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2<const R: usize>(panel: &[Pair], columns: &[f32], rows: &[Pair], units: &[f32], out: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe { block::<[std::arch::x86_64::__m256i; 2], R>(panel, columns, rows, units, out) }
}

/// `out [R][PANEL] += units · columns · (rows [J][R] · panel [J][PANEL])` over pairs.
///
/// # Safety
/// The CPU has the unit; all slices have the lengths that R and `panel` ask for.
#[inline(always)]
unsafe fn block<S: Sums, const R: usize>(
    panel: &[Pair],
    columns: &[f32],
    rows: &[Pair],
    units: &[f32],
    out: &mut [f32],
) {
    // SAFETY: offsets stay below the lengths that the caller promises.
    unsafe {
        let mut acc = [[S::zero(); 2]; R];
        let (mut w, mut x) = (panel.as_ptr(), rows.as_ptr());
        for _ in 0..panel.len() / PANEL {
            for (r, acc) in acc.iter_mut().enumerate() {
                let x = *x.add(r);
                acc[0] = acc[0].add_products(w, x);
                acc[1] = acc[1].add_products(w.add(LANES), x);
            }
            w = w.add(PANEL);
            x = x.add(R);
        }
        for (r, acc) in acc.into_iter().enumerate() {
            for (half, sums) in acc.into_iter().enumerate() {
                let at = half * LANES;
                sums.add_scaled(units[r], columns.as_ptr().add(at), out.as_mut_ptr().add(r * PANEL + at));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{naive, value, weights};
    use super::*;

    #[test]
    fn the_product_stays_within_its_bound_and_is_the_same_on_every_unit() {
        for (n, delays, count, r) in [
            (21, 1, 7, 3),
            (33, 2, 14, 14),
            (1100, 2, 5, 5),
            (64, 3, 11, 4),
            (1, 1, 1, 1),
        ] {
            let (network, w) = weights(n, delays);
            let slices: Vec<&[f32]> = w.iter().map(Vec::as_slice).collect();
            let rows: Vec<Vec<f32>> = (0..delays)
                .map(|d| (0..count * n).map(|i| 1e-12 * value(i + 7 * d)).collect())
                .collect();
            let blocks: Vec<Vec<Rows>> = rows
                .iter()
                .map(|rows| {
                    rows.chunks(r * n)
                        .map(|rows| {
                            let mut block = Rows::zeros(n, r);
                            block.put(rows, n);
                            block
                        })
                        .collect()
                })
                .collect();
            let mut units = vec![Unit::Portable];
            #[cfg(target_arch = "x86_64")]
            {
                if is_x86_feature_detected!("avx2") {
                    units.push(Unit::Avx2);
                }
                if is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw") {
                    units.push(Unit::Vnni);
                }
            }
            let mut packed = Packed::new(&network, &slices);
            let mut first: Option<Vec<f32>> = None;
            for unit in units {
                packed.unit = unit;
                let mut all = Vec::new();
                for p in 0..n.div_ceil(PANEL) {
                    let mut out = vec![1.0; blocks[0].len() * r * PANEL];
                    packed.product(p, r, &|b, d| Some(&blocks[d][b]), &mut out);
                    for k in 0..count {
                        for c in 0..PANEL.min(n - p * PANEL) {
                            let i = p * PANEL + c;
                            let want = naive(&w, &rows, n, k, i);
                            let norm = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
                            let norms: f64 = (0..delays)
                                .map(|d| norm(&w[d][i * n..(i + 1) * n]) * norm(&rows[d][k * n..(k + 1) * n]))
                                .sum();
                            let bound = (n as f64).sqrt() / 32767.0 * norms * 1.01 + 1e-6 * want.abs();
                            let error = (f64::from(out[k * PANEL + c]) - want).abs();
                            assert!(error <= bound, "{unit:?} n {n}: {error} of {bound}");
                        }
                    }
                    all.extend(out);
                }
                assert!(*first.get_or_insert_with(|| all.clone()) == all, "{unit:?} n {n}");
            }
        }
    }

    /// The worst case of overflow: parallel rows, as long as they may be.
    #[test]
    fn equal_rows_of_equal_values_do_not_overflow() {
        for n in [2, 37, 4000] {
            let (network, _) = weights(n, 1);
            let w = vec![0.25f32; n * n];
            let packed = Packed::new(&network, &[&w]);
            let mut rows = Rows::zeros(n, 1);
            rows.put(&vec![-3.0; n], n);
            let mut out = vec![0.0; PANEL];
            packed.product(0, 1, &|_, _| Some(&rows), &mut out);
            let want = -0.75 * n as f32;
            assert!((out[0] / want - 1.0).abs() < 1e-3, "{} {want}", out[0]);
        }
    }

    #[test]
    fn rows_that_are_not_finite_stay_so_and_tiny_ones_vanish() {
        let (network, w) = weights(5, 1);
        let packed = Packed::new(&network, &[&w[0]]);
        for (x, is_finite) in [(f32::NAN, false), (f32::INFINITY, false), (1e-38, true)] {
            let mut rows = Rows::zeros(5, 1);
            rows.put(&[0.0, x, 0.0, 0.0, 0.0], 5);
            let mut out = vec![0.0; PANEL];
            packed.product(0, 1, &|_, _| Some(&rows), &mut out);
            assert_eq!(out[0].is_finite(), is_finite, "{x}");
            assert!(!is_finite || out[0] == 0.0);
        }
    }
}
