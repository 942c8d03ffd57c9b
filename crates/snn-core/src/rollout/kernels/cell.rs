//! Device functions of one neuron and one step: random words, elementary functions, the cell's probability.
//!
//! The same arithmetic as on the CPU ([`crate::rng`], `crate::elementwise`): words and uniforms are equal bit by bit,
//! the rest up to the last bits, because devices may contract `a·b + c`.

use cubecl::prelude::*;

/// Bits of the argument `options` of the step kernels.
pub(super) const HAS_EVENTS: u32 = 1;
pub(super) const HAS_DRIVE: u32 = 2;
pub(super) const HAS_OFFSET: u32 = 4;
pub(super) const HAS_NOISE: u32 = 8;
pub(super) const IS_GIVEN: u32 = 16;
pub(super) const IS_CLAMPED: u32 = 32;
pub(super) const KEEPS: u32 = 64;
pub(super) const HAS_SHARED: u32 = 128;
pub(super) const HAS_CHANNELS: u32 = 256;
pub(super) const HAS_DENSE: u32 = 512;
pub(super) const HAS_PROBABILITY: u32 = 1024;
pub(super) const WANTS_NOISE: u32 = 2048;
pub(super) const IS_TRIANGLE: u32 = 4096;

/// Rows of the buffer of per-neuron constants `[ROWS, N]`.
pub(super) const ALPHA: usize = 0;
pub(super) const GAIN: usize = 1;
pub(super) const BIAS: usize = 2;
pub(super) const NOISE: usize = 3;
pub(super) const THRESHOLD: usize = 4;
pub(super) const INVERSE_SCALE: usize = 5;
pub(super) const RESET: usize = 6;
pub(super) const N_CONSTANTS: usize = 7;

/// `exp(x)`, the polynomial of `crate::elementwise::exp`.
#[cube]
pub(crate) fn exp(x: f32) -> f32 {
    let x = clamp(x, -87.0f32, 87.0f32);
    // The CPU rounds by adding and subtracting a large number, which a shader compiler may cancel.
    let n = (x * 1.442_695f32 + 0.5f32).floor();
    let r = x - n * 0.693_359_4f32;
    let r = r + n * 2.121_944_4e-4f32;
    let p = 1.987_569_1e-4f32;
    let p = p * r + 1.398_199_9e-3f32;
    let p = p * r + 8.333_452e-3f32;
    let p = p * r + 4.166_579_6e-2f32;
    let p = p * r + 1.666_666_5e-1f32;
    let p = p * r + 0.5f32;
    let y = p * (r * r) + r + 1.0f32;
    let scale = f32::reinterpret(u32::cast_from(i32::cast_from(n) + 127i32) << 23u32);
    y * scale
}

/// `1 / (1 + exp(−y))`.
#[cube]
pub(super) fn sigmoid(y: f32) -> f32 {
    1.0f32 / (1.0f32 + exp(-y))
}

/// `ln(x)` for normal x in (0, 1], the polynomial of `crate::elementwise::ln`.
#[cube]
pub(crate) fn ln(x: f32) -> f32 {
    let bits = u32::reinterpret(x);
    let shifted = bits - 0x3f35_04f3u32;
    let e = f32::cast_from(i32::reinterpret(shifted) >> 23i32);
    let m = f32::reinterpret((shifted & 0x007f_ffffu32) + 0x3f35_04f3u32);
    let r = m - 1.0f32;
    let z = r * r;
    let p = 7.037_683_6e-2f32;
    let p = p * r - 1.151_461e-1f32;
    let p = p * r + 1.167_699_9e-1f32;
    let p = p * r - 1.242_014_1e-1f32;
    let p = p * r + 1.424_932_3e-1f32;
    let p = p * r - 1.666_805_8e-1f32;
    let p = p * r + 2.000_071_5e-1f32;
    let p = p * r - 2.499_999_4e-1f32;
    let p = p * r + 3.333_333_1e-1f32;
    let y = r * z * p - e * 2.121_944_4e-4f32 - 0.5f32 * z;
    (r + y) + e * 0.693_359_4f32
}

/// One block of Philox4x32-10 at (pair of neurons, time, trial, step), its four words: [`crate::rng::philox4x32`].
#[cube]
pub(super) fn philox(pair: u32, time: u32, trial: u32, step: u32, key0: u32, key1: u32, words: &mut Array<u32>) {
    let mut x0 = pair;
    let mut x1 = time;
    let mut x2 = trial;
    let mut x3 = step;
    let mut k0 = key0;
    let mut k1 = key1;
    for _ in 0..10u32 {
        let a_high = x0.mul_hi(0xD251_1F53u32);
        let a_low = x0 * 0xD251_1F53u32;
        let b_high = x2.mul_hi(0xCD9E_8D57u32);
        let b_low = x2 * 0xCD9E_8D57u32;
        x0 = b_high ^ x1 ^ k0;
        x1 = b_low;
        x2 = a_high ^ x3 ^ k1;
        x3 = a_low;
        k0 += 0x9E37_79B9u32;
        k1 += 0xBB67_AE85u32;
    }
    words[0] = x0;
    words[1] = x1;
    words[2] = x2;
    words[3] = x3;
}

/// Uniform number in [0, 1) with 24 bits.
#[cube]
pub(super) fn uniform(word: u32) -> f32 {
    f32::cast_from(word >> 8u32) * (1.0f32 / 16_777_216.0f32)
}

/// The even or odd one of two normals made of two words: [`crate::rng::normal_pair`].
#[cube]
pub(super) fn normal(a: u32, b: u32, is_odd: bool) -> f32 {
    let u = (f32::cast_from(a >> 9u32) + 0.5f32) * (1.0f32 / 8_388_608.0f32);
    let radius = (-2.0f32 * ln(u)).sqrt();
    let f = uniform(b);
    let q = (f * 4.0f32 + 0.5f32).floor();
    let quadrant = u32::cast_from(q);
    let x = (f - q * 0.25f32) * 6.283_185_5f32;
    let z = x * x;
    let s = ((-1.951_529_6e-4f32 * z + 8.332_161e-3f32) * z - 1.666_665_5e-1f32) * z * x + x;
    let c = ((2.443_315_7e-5f32 * z - 1.388_731_6e-3f32) * z + 4.166_664_6e-2f32) * z * z - 0.5f32 * z + 1.0f32;
    // Even neurons take the cosine, odd ones the sine; in odd quadrants the two change places.
    let takes_sine = is_odd != (quadrant & 1u32 == 1u32);
    let size = select(takes_sine, s, c);
    let sign = select(is_odd, quadrant & 2u32, (quadrant + 1u32) & 2u32) << 30u32;
    radius * f32::reinterpret(u32::reinterpret(size) ^ sign)
}
