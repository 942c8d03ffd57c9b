//! Row kernels of the time loop, compiled for several vector widths. All slices of a call have the same length N.

use crate::elementwise::sigmoid;
use crate::surrogate::Surrogate;
use crate::vector::vectorized;

/// Per-neuron constants as slices, with the scale inverted once.
pub(super) struct Constants<'a> {
    pub(super) alpha: &'a [f32],
    pub(super) gain: &'a [f32],
    pub(super) bias: &'a [f32],
    pub(super) noise: &'a [f32],
    pub(super) threshold: &'a [f32],
    pub(super) inverse_scale: &'a [f32],
    pub(super) reset: &'a [f32],
    pub(super) temperature: f32,
    pub(super) p_scale: f32,
    pub(super) n_refractory: u8,
}

vectorized! {
    /// `acc += Σ rows`: the rows of `w [·, N]` named by `list`, one after the other in each entry.
    pub(super) fn add_rows(acc: &mut [f32], w: &[f32], list: &[u32]) {
        let n = acc.len();
        let row = |i: u32| &w[i as usize * n..(i as usize + 1) * n];
        let mut quads = list.chunks_exact(4);
        for quad in &mut quads {
            let (a, b, c, d) = (row(quad[0]), row(quad[1]), row(quad[2]), row(quad[3]));
            for i in 0..n {
                acc[i] = (((acc[i] + a[i]) + b[i]) + c[i]) + d[i];
            }
        }
        for &i in quads.remainder() {
            for (x, y) in acc.iter_mut().zip(row(i)) {
                *x += y;
            }
        }
    }
}

vectorized! {
    /// `acc += row`.
    pub(super) fn add_row(acc: &mut [f32], row: &[f32]) {
        for (x, y) in acc.iter_mut().zip(row) {
            *x += y;
        }
    }
}

vectorized! {
    /// Potential before reset: `v⁻ = α v + g I + b (+ s ε)`.
    pub(super) fn integrate(
        c: &Constants<'_>,
        current: &[f32],
        normals: Option<&[f32]>,
        v: &[f32],
        potential: &mut [f32],
    ) {
        let n = v.len();
        let potential = &mut potential[..n];
        let (alpha, gain, bias, current) = (&c.alpha[..n], &c.gain[..n], &c.bias[..n], &current[..n]);
        if let Some(normals) = normals {
            let (noise, normals) = (&c.noise[..n], &normals[..n]);
            for i in 0..n {
                potential[i] = alpha[i] * v[i] + gain[i] * current[i] + bias[i] + noise[i] * normals[i];
            }
        } else {
            for i in 0..n {
                potential[i] = alpha[i] * v[i] + gain[i] * current[i] + bias[i];
            }
        }
    }
}

vectorized! {
    /// Draws spikes: `z = [u < p]`, 0 where `r > 0`; writes z and whether the neuron was refractory as 0/1 bytes.
    pub(super) fn draw(c: &Constants<'_>, v: &[f32], uniforms: &[f32], r: &[u8], z: &mut [u8], blocked: &mut [u8]) {
        let n = v.len();
        let (threshold, inverse, uniforms) = (&c.threshold[..n], &c.inverse_scale[..n], &uniforms[..n]);
        let (r, z, blocked) = (&r[..n], &mut z[..n], &mut blocked[..n]);
        let (temperature, p_scale) = (c.temperature, c.p_scale);
        for i in 0..n {
            let x = (v[i] - threshold[i]) * inverse[i];
            let p = p_scale * sigmoid(temperature * x);
            blocked[i] = u8::from(r[i] > 0);
            z[i] = u8::from(uniforms[i] < p) & (1 - blocked[i]);
        }
    }
}

vectorized! {
    /// Reset and refractory counter after the spikes are known: `v = v⁻ − R z`.
    pub(super) fn reset(c: &Constants<'_>, z: &[u8], potential: &[f32], v: &mut [f32], r: &mut [u8]) {
        let n = v.len();
        let (amount, z, potential, r) = (&c.reset[..n], &z[..n], &potential[..n], &mut r[..n]);
        let silent = c.n_refractory;
        for i in 0..n {
            v[i] = potential[i] - amount[i] * f32::from(z[i]);
            r[i] = if z[i] > 0 { silent } else { r[i].saturating_sub(1) };
        }
    }
}

vectorized! {
    /// Adds a multiple of a row.
    pub(super) fn add_multiple(to: &mut [f32], row: &[f32], factor: f32) {
        for (to, x) in to.iter_mut().zip(row) {
            *to += factor * x;
        }
    }
}

/// Packs 0/1 bytes into words.
pub(super) fn pack(bytes: &[u8], words: &mut [u64]) {
    for (word, chunk) in words.iter_mut().zip(bytes.chunks(64)) {
        let mut packed = 0u64;
        for (i, eight) in chunk.chunks(8).enumerate() {
            let mut lanes = [0u8; 8];
            lanes[..eight.len()].copy_from_slice(eight);
            // Gathers the lowest bit of each byte into the top byte.
            let byte = u64::from_le_bytes(lanes).wrapping_mul(0x0102_0408_1020_4080) >> 56;
            packed |= byte << (8 * i);
        }
        *word = packed;
    }
}

/// Arguments of [`back`] that change with the row.
pub(super) struct BackRow<'a> {
    /// In: dL/dz without the reset path.
    pub(super) dz: &'a [f32],
    /// dL/dp, if any.
    pub(super) dp: Option<&'a [f32]>,
    /// 1 where a spike may move (neither clamped nor refractory), else 0; unused when ψ is given.
    pub(super) free: &'a [f32],
    /// ψ, if it was computed before.
    pub(super) psi: Option<&'a [f32]>,
    /// In: v⁻(t); out: δ(t).
    pub(super) potential: &'a mut [f32],
    /// In: α δ(t + 1); out: α δ(t).
    pub(super) carry: &'a mut [f32],
    /// Out: g δ(t).
    pub(super) scaled: &'a mut [f32],
    /// Σ_t δ(t).
    pub(super) sum: &'a mut [f32],
}

vectorized! {
    /// One backward step of one trial: `δ = carry + (ψ (dz − R carry) + dp/dx·dL/dp) / h`.
    pub(super) fn back(c: &Constants<'_>, surrogate: Surrogate, row: &mut BackRow<'_>) {
        let free = row.free;
        match (row.psi, surrogate, row.dp) {
            (Some(psi), _, None) => sweep(c, row, |i, _, _| psi[i], |_| 0.0),
            (Some(psi), _, Some(dp)) => sweep(c, row, |i, _, _| psi[i], |i| dp[i]),
            (None, Surrogate::Sigmoid { gamma }, None) => sweep(c, row, |i, _, dp_dx| free[i] * (gamma * dp_dx), |_| 0.0),
            (None, Surrogate::Sigmoid { gamma }, Some(dp)) => sweep(c, row, |i, _, dp_dx| free[i] * (gamma * dp_dx), |i| dp[i]),
            (None, Surrogate::Triangle { gamma }, None) => sweep(c, row, |i, x, _| free[i] * triangle(gamma, x), |_| 0.0),
            (None, Surrogate::Triangle { gamma }, Some(dp)) => sweep(c, row, |i, x, _| free[i] * triangle(gamma, x), |i| dp[i]),
        }
    }
}

#[inline(always)]
fn triangle(gamma: f32, x: f32) -> f32 {
    gamma * (1.0 - x.abs()).max(0.0)
}

#[inline(always)]
fn sweep(c: &Constants<'_>, row: &mut BackRow<'_>, psi: impl Fn(usize, f32, f32) -> f32, dp: impl Fn(usize) -> f32) {
    let n = row.dz.len();
    let (threshold, inverse, reset) = (&c.threshold[..n], &c.inverse_scale[..n], &c.reset[..n]);
    let (alpha, gain, dz) = (&c.alpha[..n], &c.gain[..n], &row.dz[..n]);
    let (potential, carry) = (&mut row.potential[..n], &mut row.carry[..n]);
    let (scaled, sum) = (&mut row.scaled[..n], &mut row.sum[..n]);
    let slope = c.p_scale * c.temperature;
    for i in 0..n {
        let x = (potential[i] - threshold[i]) * inverse[i];
        let s = sigmoid(c.temperature * x);
        let dp_dx = slope * s * (1.0 - s);
        let dx = psi(i, x, dp_dx) * (dz[i] - reset[i] * carry[i]) + dp_dx * dp(i);
        let delta = carry[i] + dx * inverse[i];
        potential[i] = delta;
        carry[i] = alpha[i] * delta;
        scaled[i] = gain[i] * delta;
        sum[i] += delta;
    }
}

vectorized! {
    /// ψ of one row, 0 where it is below `floor` of the largest possible; sets `bit` of `active` where it isn't 0.
    pub(super) fn surrogate(
        c: &Constants<'_>,
        surrogate: Surrogate,
        floor: f32,
        potential: &[f32],
        free: &[f32],
        psi: &mut [f32],
        bit: u32,
        active: &mut [u32],
    ) {
        let slope = c.p_scale * c.temperature;
        match surrogate {
            Surrogate::Sigmoid { gamma } => {
                let least = floor * surrogate.maximum(slope);
                derivative(c, potential, free, psi, bit, active, least, |x| {
                    let s = sigmoid(c.temperature * x);
                    gamma * (slope * s * (1.0 - s))
                });
            }
            Surrogate::Triangle { gamma } => {
                let least = floor * surrogate.maximum(slope);
                derivative(c, potential, free, psi, bit, active, least, |x| triangle(gamma, x));
            }
        }
    }
}

#[inline(always)]
fn derivative(
    c: &Constants<'_>,
    potential: &[f32],
    free: &[f32],
    psi: &mut [f32],
    bit: u32,
    active: &mut [u32],
    least: f32,
    f: impl Fn(f32) -> f32,
) {
    let n = potential.len();
    let (threshold, inverse, free) = (&c.threshold[..n], &c.inverse_scale[..n], &free[..n]);
    let (psi, active) = (&mut psi[..n], &mut active[..n]);
    for i in 0..n {
        let value = free[i] * f((potential[i] - threshold[i]) * inverse[i]);
        let is_active = value.abs() >= least && value != 0.0;
        psi[i] = if is_active { value } else { 0.0 };
        active[i] |= if is_active { bit } else { 0 };
    }
}

vectorized! {
    /// `acc += a·b`, entry by entry.
    pub(super) fn add_products(acc: &mut [f32], a: &[f32], b: &[f32]) {
        for ((acc, a), b) in acc.iter_mut().zip(a).zip(b) {
            *acc += a * b;
        }
    }
}
