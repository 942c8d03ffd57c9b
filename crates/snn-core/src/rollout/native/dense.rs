//! The dense product of the backward pass: rows of g δ times Wᵀ, summed over the delays.
//!
//! W is packed once per backward pass into panels of [`PANEL`] presynaptic columns, and the rows once when they are
//! made ([`pack_rows`]), which a general matrix product would do again at each call. Each entry of the result is one
//! chain of multiply-adds over delays and postsynaptic neurons in ascending order, so it depends on nothing but its
//! row: not on tiles, chunks or threads.
#![allow(unsafe_code)] // vector units

use super::aligned::Buffer;
use super::lanes::{LANES, Lanes, Unit, for_unit};
use crate::rollout::Network;
use rayon::prelude::*;

/// Presynaptic columns of one panel.
pub(super) const PANEL: usize = 2 * LANES;

/// Postsynaptic neurons whose part of a panel stays in the cache while the blocks of rows pass.
const DEPTH: usize = 512;

/// How far ahead of its use a panel is fetched: weights larger than the caches come from memory at the speed of the
/// product only if they are asked for early.
const AHEAD: usize = 16 * PANEL;

/// The weights of all delays, `[N_pre / PANEL][D][N_post][PANEL]`, padded with zeros.
pub(super) struct Packed {
    n: usize,
    n_delays: usize,
    unit: Unit,
    values: Buffer,
}

impl Packed {
    /// Packs row-major `w [N_pre, N_post]`, one per delay.
    pub(super) fn new(network: &Network, w: &[&[f32]]) -> Self {
        let (n, n_delays) = (network.n_neurons(), w.len());
        let size = n_delays * n * PANEL;
        let mut values = Buffer::zeros(n.div_ceil(PANEL) * size);
        if size > 0 {
            values.par_chunks_mut(size).enumerate().for_each(|(p, panel)| {
                for (panel, w) in panel.chunks_exact_mut(n * PANEL).zip(w) {
                    for (c, row) in w.chunks_exact(n).skip(p * PANEL).take(PANEL).enumerate() {
                        for (line, value) in panel.chunks_exact_mut(PANEL).zip(row) {
                            line[c] = *value;
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
        }
    }

    /// `out [B][R][PANEL] = Σ_d rows(b, d) · W_dᵀ` for the columns of panel `p`, with `R = rows_per_block` rows in each
    /// of the B blocks; `rows(b, d)` is a block as [`pack_rows`] makes it, or nothing where there is no such step.
    pub(super) fn product<'r>(
        &self,
        p: usize,
        rows_per_block: usize,
        rows: &dyn Fn(usize, usize) -> Option<&'r [f32]>,
        out: &mut [f32],
    ) {
        out.fill(0.0);
        let (n, unit) = (self.n, self.unit);
        let panel = &self.values[p * self.n_delays * n * PANEL..][..self.n_delays * n * PANEL];
        for (d, panel) in panel.chunks_exact(n * PANEL).enumerate() {
            for (chunk, panel) in panel.chunks(DEPTH * PANEL).enumerate() {
                for (b, out) in out.chunks_exact_mut(rows_per_block * PANEL).enumerate() {
                    if let Some(rows) = rows(b, d) {
                        assert_eq!(rows.len(), n * rows_per_block, "packed rows");
                        let rows = &rows[chunk * DEPTH * rows_per_block..][..panel.len() / PANEL * rows_per_block];
                        add_block(unit, rows_per_block, panel, rows, out);
                    }
                }
            }
        }
    }
}

/// Rows of one block that are processed together, for `count` rows in all: the number that leaves the least padding.
pub(super) fn rows_per_block(count: usize) -> usize {
    let most = match Unit::of_this_cpu() {
        // 28 accumulators of 32 registers; 12 of 16.
        #[cfg(target_arch = "x86_64")]
        Unit::Avx512 => 14,
        #[cfg(target_arch = "x86_64")]
        Unit::Avx2 => 3,
        Unit::Portable => 4,
    };
    count.max(1).div_ceil(count.max(1).div_ceil(most))
}

/// Packs row-major `rows [≤ R, N]` as `[N][R]`; missing rows stay as they are in `to`.
pub(super) fn pack_rows(rows: &[f32], n: usize, rows_per_block: usize, to: &mut [f32]) {
    // Eight rows at a time, so that few lines are written to at once.
    for (group, rows) in rows.chunks(8 * n).enumerate() {
        let from = group * 8;
        let count = rows.len() / n;
        for (j, line) in to.chunks_exact_mut(rows_per_block).enumerate() {
            for (r, to) in line[from..from + count].iter_mut().enumerate() {
                *to = rows[r * n + j];
            }
        }
    }
}

fn add_block(unit: Unit, rows_per_block: usize, panel: &[f32], rows: &[f32], out: &mut [f32]) {
    macro_rules! by_rows {
        ($($r:literal)*) => {
            match rows_per_block {
                $($r => {
                    assert!(rows.len() == panel.len() / PANEL * $r && out.len() == $r * PANEL, "shapes of a block");
                    // SAFETY: the unit is that of this CPU; the lengths were just checked.
                    unsafe { block::<$r>(unit, panel, rows, out) }
                })*
                _ => unreachable!("rows of a block"),
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}

for_unit! {
    /// `out [R][PANEL] += rows [J][R] · panel [J][PANEL]`.
    unsafe fn block<const R: usize>(panel: &[f32], rows: &[f32], out: &mut [f32]) = block_with
}

/// # Safety
/// The CPU has the unit; `rows` and `out` have the lengths that R and `panel` ask for.
#[inline(always)]
unsafe fn block_with<L: Lanes, const R: usize>(panel: &[f32], rows: &[f32], out: &mut [f32]) {
    // SAFETY: offsets stay below the lengths that the caller promises.
    unsafe {
        let mut acc = [[L::zero(); 2]; R];
        let (mut w, mut x, o) = (panel.as_ptr(), rows.as_ptr(), out.as_mut_ptr());
        for (r, acc) in acc.iter_mut().enumerate() {
            *acc = [L::load(o.add(r * PANEL)), L::load(o.add(r * PANEL + LANES))];
        }
        for _ in 0..panel.len() / PANEL {
            let (w0, w1) = (L::load(w), L::load(w.add(LANES)));
            L::fetch(w.wrapping_add(AHEAD));
            L::fetch(w.wrapping_add(AHEAD + LANES));
            for (r, acc) in acc.iter_mut().enumerate() {
                let x = L::splat(*x.add(r));
                acc[0] = acc[0].add_product(x, w0);
                acc[1] = acc[1].add_product(x, w1);
            }
            w = w.add(PANEL);
            x = x.add(R);
        }
        for (r, acc) in acc.iter().enumerate() {
            acc[0].store(o.add(r * PANEL));
            acc[1].store(o.add(r * PANEL + LANES));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{naive, value, weights};
    use super::*;

    #[test]
    fn the_product_is_the_sum_of_products_on_every_unit() {
        for (n, delays, count, r) in [
            (21, 1, 7, 3),
            (33, 2, 14, 14),
            (600, 2, 5, 5),
            (64, 3, 11, 4),
            (1, 1, 1, 1),
        ] {
            let (network, w) = weights(n, delays);
            let slices: Vec<&[f32]> = w.iter().map(Vec::as_slice).collect();
            let rows: Vec<Vec<f32>> = (0..delays)
                .map(|d| (0..count * n).map(|i| value(i + 7 * d)).collect())
                .collect();
            let blocks: Vec<Vec<Vec<f32>>> = rows
                .iter()
                .map(|rows| {
                    rows.chunks(r * n)
                        .map(|rows| {
                            let mut block = vec![0.0; r * n];
                            pack_rows(rows, n, r, &mut block);
                            block
                        })
                        .collect()
                })
                .collect();
            let mut packed = Packed::new(&network, &slices);
            for unit in Unit::all_of_this_cpu() {
                packed.unit = unit;
                for p in 0..n.div_ceil(PANEL) {
                    let mut out = vec![1.0; blocks[0].len() * r * PANEL];
                    packed.product(p, r, &|b, d| Some(&blocks[d][b][..]), &mut out);
                    for k in 0..count {
                        for c in 0..PANEL.min(n - p * PANEL) {
                            let want = naive(&w, &rows, n, k, p * PANEL + c);
                            let found = f64::from(out[k * PANEL + c]);
                            assert!(
                                (found - want).abs() < 1e-4 * want.abs().max(1.0),
                                "{unit:?} n {n}: {found} {want}"
                            );
                        }
                    }
                }
            }
        }
    }
}
