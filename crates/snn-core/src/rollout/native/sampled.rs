//! The product of the backward pass at chosen entries only: where the surrogate derivative is 0 (or below a bound that
//! the user set), dL/dz is multiplied by nothing and need not be computed.
//!
//! An entry is a dot product over delays and postsynaptic neurons: two accumulators of sixteen lanes per stretch of
//! [`STRETCH`] neurons, stretches and delays in ascending order. So, as in [`super::dense`], it depends on nothing but
//! its row; the two differ by rounding.
#![allow(unsafe_code)] // vector units

use super::aligned::Buffer;
use super::dense::PANEL;
use super::lanes::{LANES, Lanes, Unit, for_unit};
use crate::rollout::Network;
use rayon::prelude::*;

/// Postsynaptic neurons whose rows stay in the cache while the presynaptic columns pass.
const STRETCH: usize = 512;

/// Rows of a block: as many as have a bit in the mask of a column and fit the cache, [`STRETCH`] values each.
const ROWS: usize = 12;

/// How rows of N values are laid out: stretch by stretch, `[stretches][rows][length]`, padded with zeros.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    n: usize,
    stretches: usize,
    /// Values of one stretch, whole vectors.
    length: usize,
}

impl Layout {
    pub(super) fn new(n: usize) -> Self {
        let stretches = n.div_ceil(STRETCH).max(1);
        Self {
            n,
            stretches,
            length: n.div_ceil(stretches).next_multiple_of(LANES),
        }
    }

    /// Values of a row with its padding.
    pub(super) fn row(self) -> usize {
        self.stretches * self.length
    }

    /// Lays out row-major `from [≤ rows, N]`; missing rows stay as they are.
    pub(super) fn put(self, from: &[f32], rows: usize, to: &mut [f32]) {
        for (s, to) in to.chunks_exact_mut(rows * self.length).enumerate() {
            let part = s * self.length..((s + 1) * self.length).min(self.n);
            for (to, from) in to.chunks_exact_mut(self.length).zip(from.chunks_exact(self.n)) {
                to[..part.len()].copy_from_slice(&from[part.clone()]);
            }
        }
    }
}

/// The weights of all delays, each `[stretches][N_pre][length]`.
pub(super) struct Rows {
    layout: Layout,
    unit: Unit,
    w: Vec<Buffer>,
}

impl Rows {
    /// Lays out row-major `w [N_pre, N_post]`, one per delay.
    pub(super) fn new(network: &Network, w: &[&[f32]]) -> Self {
        let n = network.n_neurons();
        let layout = Layout::new(n);
        let w = w
            .par_iter()
            .map(|w| {
                let mut rows = Buffer::zeros(n * layout.row());
                layout.put(w, n, &mut rows);
                rows
            })
            .collect();
        Self {
            layout,
            unit: Unit::of_this_cpu(),
            w,
        }
    }

    /// `out [B][R][PANEL] = Σ_d rows(b, d) · W_dᵀ` for the columns of panel `p`, only where bit r of `mask(b)[column]`
    /// is set, else 0; `rows(b, d)` is a block of R rows in the same [`Layout`], or nothing where there is no such step.
    pub(super) fn product<'r>(
        &self,
        p: usize,
        rows_per_block: usize,
        mask: &dyn Fn(usize) -> &'r [u32],
        rows: &dyn Fn(usize, usize) -> Option<&'r [f32]>,
        out: &mut [f32],
    ) {
        out.fill(0.0);
        let (unit, Layout { n, stretches, length }) = (self.unit, self.layout);
        let columns = p * PANEL..((p + 1) * PANEL).min(n);
        for (d, w) in self.w.iter().enumerate() {
            for s in 0..stretches {
                let w = &w[(s * n + columns.start) * length..(s * n + columns.end) * length];
                for (b, out) in out.chunks_exact_mut(rows_per_block * PANEL).enumerate() {
                    let Some(rows) = rows(b, d) else { continue };
                    let rows = &rows[s * rows_per_block * length..][..rows_per_block * length];
                    let mask = &mask(b)[columns.clone()];
                    assert!(
                        rows_per_block <= 32 && mask.iter().all(|bits| u64::from(*bits) >> rows_per_block == 0),
                        "bits beyond the rows"
                    );
                    // SAFETY: the unit is that of this CPU; columns, rows and bits are what the slices hold.
                    unsafe { stretch(unit, w, rows, length, mask, out) };
                }
            }
        }
    }
}

/// Rows of one block, for `count` rows in all: the number that leaves the least padding.
pub(super) fn rows_per_block(count: usize) -> usize {
    count.max(1).div_ceil(count.max(1).div_ceil(ROWS))
}

for_unit! {
    /// Adds the part of one stretch to the entries of `out [R][PANEL]` that `mask [columns]` names.
    unsafe fn stretch(w: &[f32], rows: &[f32], length: usize, mask: &[u32], out: &mut [f32]) = stretch_with
}

/// # Safety
/// The CPU has the unit; `w` and `rows` hold `length` values for every column of `mask` and every row whose bit is
/// set; `length` is a multiple of [`LANES`]; `out` has [`PANEL`] values for each row.
#[inline(always)]
unsafe fn stretch_with<L: Lanes>(w: &[f32], rows: &[f32], length: usize, mask: &[u32], out: &mut [f32]) {
    for (c, bits) in mask.iter().enumerate() {
        let mut bits = *bits;
        let (mut list, mut count) = ([0u32; 32], 0);
        while bits != 0 {
            list[count] = bits.trailing_zeros();
            bits &= bits - 1;
            count += 1;
        }
        for list in list[..count].chunks(L::SUMS) {
            // SAFETY: the caller's promise.
            let sums = unsafe {
                let w = w.as_ptr().add(c * length);
                let rows = rows.as_ptr();
                match list.len() {
                    8 => dots::<L, 8>(w, rows, length, list),
                    7 => dots::<L, 7>(w, rows, length, list),
                    6 => dots::<L, 6>(w, rows, length, list),
                    5 => dots::<L, 5>(w, rows, length, list),
                    4 => dots::<L, 4>(w, rows, length, list),
                    3 => dots::<L, 3>(w, rows, length, list),
                    2 => dots::<L, 2>(w, rows, length, list),
                    _ => dots::<L, 1>(w, rows, length, list),
                }
            };
            for (r, sum) in list.iter().zip(sums) {
                out[*r as usize * PANEL + c] += sum;
            }
        }
    }
}

/// Dot products of one column with `Q` rows.
///
/// # Safety
/// As [`stretch_with`]; `list` has Q rows.
#[inline(always)]
unsafe fn dots<L: Lanes, const Q: usize>(w: *const f32, rows: *const f32, length: usize, list: &[u32]) -> [f32; 8] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut at = [rows; Q];
        for (at, r) in at.iter_mut().zip(list) {
            *at = rows.add(*r as usize * length);
        }
        let mut acc = [[L::zero(); 2]; Q];
        let mut i = 0;
        while i + 2 * LANES <= length {
            let (w0, w1) = (L::load(w.add(i)), L::load(w.add(i + LANES)));
            for (acc, at) in acc.iter_mut().zip(&at) {
                acc[0] = acc[0].add_product(w0, L::load(at.add(i)));
                acc[1] = acc[1].add_product(w1, L::load(at.add(i + LANES)));
            }
            i += 2 * LANES;
        }
        if i < length {
            let w0 = L::load(w.add(i));
            for (acc, at) in acc.iter_mut().zip(&at) {
                acc[0] = acc[0].add_product(w0, L::load(at.add(i)));
            }
        }
        let mut both = [L::zero(); 8];
        for (both, acc) in both.iter_mut().zip(&acc) {
            *both = acc[0].plus(acc[1]);
        }
        L::sums(&both)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{naive, value, weights};
    use super::*;

    #[test]
    fn chosen_entries_are_sums_of_products_on_every_unit_and_others_are_zero() {
        for (n, delays, r) in [(21, 1, 7), (33, 2, 12), (1100, 2, 5), (64, 3, 11), (1, 1, 1)] {
            let (network, w) = weights(n, delays);
            let slices: Vec<&[f32]> = w.iter().map(Vec::as_slice).collect();
            let layout = Layout::new(n);
            let rows: Vec<Vec<f32>> = (0..delays)
                .map(|d| (0..r * n).map(|i| value(i + 7 * d)).collect())
                .collect();
            let blocks: Vec<Buffer> = rows
                .iter()
                .map(|rows| {
                    let mut block = Buffer::zeros(r * layout.row());
                    layout.put(rows, r, &mut block);
                    block
                })
                .collect();
            // From no row to all of them.
            let mask: Vec<u32> = (0..n)
                .map(|i| (i as u32 + 1).wrapping_mul(2_654_435_761) >> (32 - r))
                .collect();
            assert!(mask.iter().any(|bits| bits.count_ones() > 0));
            let mut packed = Rows::new(&network, &slices);
            let mut first = None;
            for unit in Unit::all_of_this_cpu() {
                packed.unit = unit;
                let mut all = Vec::new();
                for p in 0..n.div_ceil(PANEL) {
                    let mut out = vec![1.0; r * PANEL];
                    packed.product(p, r, &|_| &mask[..], &|_, d| Some(&blocks[d][..]), &mut out);
                    for k in 0..r {
                        for c in 0..PANEL.min(n - p * PANEL) {
                            let found = f64::from(out[k * PANEL + c]);
                            if mask[p * PANEL + c] >> k & 1 == 0 {
                                assert_eq!(found, 0.0);
                            } else {
                                let want = naive(&w, &rows, n, k, p * PANEL + c);
                                assert!((found - want).abs() < 1e-4 * want.abs().max(1.0), "{unit:?} n {n}");
                            }
                        }
                    }
                    all.extend(out);
                }
                // Fused units add in the same order.
                if unit != Unit::Portable {
                    assert!(*first.get_or_insert_with(|| all.clone()) == all, "{unit:?} n {n}");
                }
            }
        }
    }
}
