//! Vectorisable single-precision functions used inside the time loop: exp, ln, sin/cos of a turn.
//!
//! They are plain arithmetic (no table, no fused multiply-add), so a value is the same on every CPU and for every
//! vector width. Polynomials are those of the Cephes library (Moshier), relative error below 2e-7.

/// `exp(x)` for |x| ≤ 87; clamped there.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    let x = x.clamp(-87.0, 87.0);
    // Round to nearest by the magic-number trick: stays in vector registers without SSE4.1.
    let shifted = x * LOG2_E + 12_582_912.0;
    let n = shifted - 12_582_912.0;
    let r = x - n * 0.693_359_375;
    let r = r - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5.000_000_1e-1;
    let y = p * (r * r) + r + 1.0;
    let scale = f32::from_bits(((shifted.to_bits() as i32) << 23).wrapping_add(0x3f80_0000) as u32);
    y * scale
}

/// `1 / (1 + exp(−y))`.
#[inline(always)]
pub(crate) fn sigmoid(y: f32) -> f32 {
    1.0 / (1.0 + exp(-y))
}

/// `ln(x)` for normal x in (0, 1].
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    // Mantissa in [sqrt(1/2), sqrt(2)).
    let shifted = bits.wrapping_sub(0x3f35_04f3);
    let e = (shifted as i32) >> 23;
    let m = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(0x3f35_04f3));
    let e = e as f32;
    let r = m - 1.0;
    let z = r * r;
    let mut p = 7.037_683_6e-2;
    p = p * r - 1.151_461e-1;
    p = p * r + 1.167_699_9e-1;
    p = p * r - 1.242_014_1e-1;
    p = p * r + 1.424_932_3e-1;
    p = p * r - 1.666_805_8e-1;
    p = p * r + 2.000_071_5e-1;
    p = p * r - 2.499_999_4e-1;
    p = p * r + 3.333_333_1e-1;
    let mut y = r * z * p;
    y += e * -2.121_944_4e-4;
    y += -0.5 * z;
    (r + y) + e * 0.693_359_375
}

/// `(sin 2πf, cos 2πf)` for f in [0, 1).
#[inline(always)]
pub(crate) fn sin_cos_turn(f: f32) -> (f32, f32) {
    let shifted = f * 4.0 + 12_582_912.0;
    let quadrant = shifted.to_bits();
    let q = shifted - 12_582_912.0;
    let x = (f - q * 0.25) * std::f32::consts::TAU;
    let z = x * x;
    let s = ((-1.951_529_6e-4 * z + 8.332_161e-3) * z - 1.666_665_5e-1) * z * x + x;
    let c = ((2.443_315_7e-5 * z - 1.388_731_6e-3) * z + 4.166_664_6e-2) * z * z - 0.5 * z + 1.0;
    let swap = quadrant & 1 == 1;
    let (s, c) = if swap { (c, s) } else { (s, c) };
    let sign_s = (quadrant & 2) << 30;
    let sign_c = (quadrant.wrapping_add(1) & 2) << 30;
    (
        f32::from_bits(s.to_bits() ^ sign_s),
        f32::from_bits(c.to_bits() ^ sign_c),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_f64() {
        for i in -8600..8600 {
            let x = i as f32 * 0.01;
            let want = f64::from(x).exp();
            assert!((f64::from(exp(x)) / want - 1.0).abs() < 2.5e-7, "exp({x})");
        }
    }

    #[test]
    fn ln_agrees_with_f64() {
        for i in 1..200_000_u32 {
            let x = (i as f32 * 41.9 + 0.5) * 2f32.powi(-23);
            if x > 1.0 {
                break;
            }
            let want = f64::from(x).ln();
            assert!(
                (f64::from(ln(x)) - want).abs() <= 2e-7 * want.abs().max(1e-2),
                "ln({x})"
            );
        }
        assert!(ln(1.0).abs() < 1e-7);
    }

    #[test]
    fn sine_and_cosine_agree_with_f64() {
        for i in 0..100_000_u32 {
            let f = (i * 167) as f32 * 2f32.powi(-24);
            let angle = f64::from(f) * std::f64::consts::TAU;
            let (s, c) = sin_cos_turn(f);
            assert!((f64::from(s) - angle.sin()).abs() < 2e-7, "sin at {f}");
            assert!((f64::from(c) - angle.cos()).abs() < 2e-7, "cos at {f}");
        }
    }
}
