//! The dense product of the backward pass: rows of g δ times Wᵀ.
//!
//! W is packed once per backward pass into panels of [`PANEL`] presynaptic columns, and the same panels serve every
//! step, which a general matrix product would pack again each time. Each entry is one chain of multiply-adds over
//! the postsynaptic neurons in ascending order, so it depends on nothing but its row: not on tiles, chunks or threads.
#![allow(unsafe_code)] // dispatch to functions compiled for a vector unit

use rayon::prelude::*;

/// Presynaptic columns of one panel.
const PANEL: usize = 32;

/// A matrix `w [N_pre, N_post]` packed as `[N_pre / PANEL][N_post][PANEL]`, padded with zeros.
pub(super) struct Packed {
    n_pre: usize,
    n_post: usize,
    panels: Vec<f32>,
}

impl Packed {
    /// Packs a row-major `w [n_pre, n_post]`.
    pub(super) fn new(w: &[f32], n_pre: usize, n_post: usize) -> Self {
        let mut panels = vec![0.0; n_pre.div_ceil(PANEL) * n_post * PANEL];
        if n_post > 0 {
            panels
                .par_chunks_mut(n_post * PANEL)
                .enumerate()
                .for_each(|(p, panel)| {
                    for (c, row) in w.chunks_exact(n_post).skip(p * PANEL).take(PANEL).enumerate() {
                        for (line, value) in panel.chunks_exact_mut(PANEL).zip(row) {
                            line[c] = *value;
                        }
                    }
                });
        }
        Self { n_pre, n_post, panels }
    }

    /// `out[r, i] += Σ_j rows[r, j] · w[i, j]` for row-major `out [R, N_pre]` and `rows [R, N_post]`.
    ///
    /// `scratch` is reused between calls.
    pub(super) fn add_product(&self, rows: &[f32], out: &mut [f32], scratch: &mut Vec<f32>) {
        if self.n_pre == 0 || self.n_post == 0 || out.is_empty() {
            return;
        }
        let n_rows = out.len() / self.n_pre;
        assert_eq!(out.len(), n_rows * self.n_pre, "output rows");
        assert_eq!(rows.len(), n_rows * self.n_post, "input rows");
        let product = Product {
            panels: &self.panels,
            rows,
            n_pre: self.n_pre,
            n_post: self.n_post,
        };
        product.run(out, scratch);
    }
}

/// One product: the operands without the output.
#[derive(Clone, Copy)]
struct Product<'a> {
    panels: &'a [f32],
    rows: &'a [f32],
    n_pre: usize,
    n_post: usize,
}

impl Product<'_> {
    /// Picks the widest vector unit of this CPU.
    fn run(self, out: &mut [f32], scratch: &mut Vec<f32>) {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: the CPU has AVX-512F, just asked.
                return unsafe { self.avx512(out, scratch) };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: the CPU has AVX2 and FMA, just asked.
                return unsafe { self.avx2(out, scratch) };
            }
        }
        self.sweep::<4>(out, scratch, multiply_add_portable);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn avx512(self, out: &mut [f32], scratch: &mut Vec<f32>) {
        // The number of rows at a time that leaves the least padding, at most 12 (24 accumulators of 32).
        let rows = out.len() / self.n_pre;
        match rows.div_ceil(rows.div_ceil(12)) {
            12 => self.sweep::<12>(out, scratch, f32::mul_add),
            11 => self.sweep::<11>(out, scratch, f32::mul_add),
            10 => self.sweep::<10>(out, scratch, f32::mul_add),
            9 => self.sweep::<9>(out, scratch, f32::mul_add),
            7 | 8 => self.sweep::<8>(out, scratch, f32::mul_add),
            5 | 6 => self.sweep::<6>(out, scratch, f32::mul_add),
            3 | 4 => self.sweep::<4>(out, scratch, f32::mul_add),
            _ => self.sweep::<2>(out, scratch, f32::mul_add),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn avx2(self, out: &mut [f32], scratch: &mut Vec<f32>) {
        self.sweep::<3>(out, scratch, f32::mul_add);
    }

    /// All rows times all panels, `R` rows at a time; rows are first packed as `[block][N_post][R]`, padded with zeros.
    #[inline(always)]
    fn sweep<const R: usize>(
        self,
        out: &mut [f32],
        scratch: &mut Vec<f32>,
        multiply_add: impl Fn(f32, f32, f32) -> f32 + Copy,
    ) {
        let (n_pre, n_post) = (self.n_pre, self.n_post);
        let n_blocks = (out.len() / n_pre).div_ceil(R);
        scratch.clear();
        scratch.resize(n_blocks * n_post * R, 0.0);
        for (block, rows) in scratch.chunks_exact_mut(n_post * R).zip(self.rows.chunks(n_post * R)) {
            let (lines, _) = block.as_chunks_mut::<R>();
            for (r, row) in rows.chunks_exact(n_post).enumerate() {
                for (line, x) in lines.iter_mut().zip(row) {
                    line[r] = *x;
                }
            }
        }
        for (p, panel) in self.panels.chunks_exact(n_post * PANEL).enumerate() {
            let columns = p * PANEL..((p + 1) * PANEL).min(n_pre);
            for (block, out) in scratch.chunks_exact(n_post * R).zip(out.chunks_mut(R * n_pre)) {
                let acc = block_product::<R>(panel, block, multiply_add);
                for (acc, row) in acc.iter().zip(out.chunks_exact_mut(n_pre)) {
                    for (o, a) in row[columns.clone()].iter_mut().zip(acc) {
                        *o += a;
                    }
                }
            }
        }
    }
}

/// `R` packed rows times one panel, accumulated in registers.
#[inline(always)]
fn block_product<const R: usize>(
    panel: &[f32],
    rows: &[f32],
    multiply_add: impl Fn(f32, f32, f32) -> f32,
) -> [[f32; PANEL]; R] {
    let mut acc = [[0.0f32; PANEL]; R];
    let ((lines, _), (rows, _)) = (panel.as_chunks::<PANEL>(), rows.as_chunks::<R>());
    for (line, xs) in lines.iter().zip(rows) {
        for r in 0..R {
            for c in 0..PANEL {
                acc[r][c] = multiply_add(xs[r], line[c], acc[r][c]);
            }
        }
    }
    acc
}

/// `a b + c`; fused where that is what the compiler's target does in hardware.
#[inline(always)]
fn multiply_add_portable(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(target_arch = "aarch64") {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_is_the_sum_of_products() {
        for (r, o, n) in [(7, 13, 21), (8, 32, 5), (19, 70, 64), (1, 1, 1)] {
            let value = |i: usize| ((i * 37 % 19) as f32 - 9.0) * 0.25;
            let rows: Vec<f32> = (0..r * n).map(value).collect();
            let w: Vec<f32> = (0..o * n).map(|i| value(i + 5)).collect();
            let mut out: Vec<f32> = (0..r * o).map(|i| value(i + 11)).collect();
            let want: Vec<f32> = (0..r * o)
                .map(|i| out[i] + (0..n).map(|j| rows[i / o * n + j] * w[i % o * n + j]).sum::<f32>())
                .collect();
            Packed::new(&w, o, n).add_product(&rows, &mut out, &mut Vec::new());
            for (a, b) in out.iter().zip(&want) {
                assert!((a - b).abs() < 1e-4);
            }
        }
    }
}
