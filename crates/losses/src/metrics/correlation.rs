//! Correlation coefficients, true and as published.

/// Keeps the published correlation of PSTHs (in Hz) finite for a constant reference. Source: the published
/// program.
pub const PEARSON_EPS: f64 = 1e-7;

/// The same for matched trials (z-scored features). Source: value inferred from the published program's output.
pub const TRIAL_PEARSON_EPS: f64 = 1e-8;

/// Pearson's correlation coefficient; `None` for fewer than two values, unequal lengths, or if either
/// sequence is constant or not finite.
pub fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.len() != y.len() || x.len() < 2 {
        return None;
    }
    let (mean_x, mean_y) = (crate::statistics::mean(x), crate::statistics::mean(y));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        xy += (x - mean_x) * (y - mean_y);
        xx += (x - mean_x).powi(2);
        yy += (y - mean_y).powi(2);
    }
    let r = xy / (xx * yy).sqrt();
    r.is_finite().then(|| r.clamp(-1.0, 1.0))
}

/// Pearson's coefficient of pairs `(x, y)` with weights, as if each occurred that often; `None` for fewer than
/// three pairs (two always give ±1), or if a side is constant or not finite.
pub fn pearson_weighted(pairs: &[(f64, &(f64, f64))]) -> Option<f64> {
    if pairs.len() < 3 {
        return None;
    }
    let total: f64 = pairs.iter().map(|(weight, _)| weight).sum();
    let mean_of = |side: fn(&(f64, f64)) -> f64| pairs.iter().map(|(w, pair)| w * side(pair)).sum::<f64>() / total;
    let (mean_x, mean_y) = (mean_of(|pair| pair.0), mean_of(|pair| pair.1));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (weight, (x, y)) in pairs {
        xy += weight * (x - mean_x) * (y - mean_y);
        xx += weight * (x - mean_x).powi(2);
        yy += weight * (y - mean_y).powi(2);
    }
    let r = xy / (xx * yy).sqrt();
    r.is_finite().then(|| r.clamp(-1.0, 1.0))
}

/// The published "Pearson": both sequences are centred with the *reference's* mean.
///
/// $$\frac{\sum_t (y_t-\bar y)(p_t-\bar y)}{\sqrt{\sum_t (y_t-\bar y)^2\,\sum_t (p_t-\bar y)^2}+\epsilon}$$
///
/// with reference y and prediction p. Equal to Pearson's coefficient only if the means agree; an offset of
/// the rate is penalised. Sequences are compared up to the shorter one.
///
/// # Source
/// Sourmpis et al. 2023, `pear_corr` of the published program.
pub fn pearson_ref_centered(reference: &[f64], prediction: &[f64], eps: f64) -> f64 {
    let centre = crate::statistics::mean(reference);
    let (mut yp, mut yy, mut pp) = (0.0, 0.0, 0.0);
    for (y, p) in reference.iter().zip(prediction) {
        yp += (y - centre) * (p - centre);
        yy += (y - centre).powi(2);
        pp += (p - centre).powi(2);
    }
    yp / ((yy * pp).sqrt() + eps)
}

/// Reliability of a mean over `factor` times as many trials, from the correlation r of two means:
/// `f·r/(1 + (f − 1)·r)`; 0 for r ≤ 0.
///
/// With factor 2 and r between halves it is the reliability of the whole (Spearman–Brown).
pub fn spearman_brown(r: f64, factor: f64) -> f64 {
    if r <= 0.0 {
        return 0.0;
    }
    factor * r / (1.0 + (factor - 1.0) * r)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pearson_of_values_worked_out_by_hand() {
        let x = [1.0, 2.0, 3.0, 4.0];
        assert!((pearson(&x, &[2.0, 4.0, 6.0, 8.0]).unwrap() - 1.0).abs() < 1e-15);
        // Σxy = 4, Σxx = 5, Σyy = 5 about the means
        assert!((pearson(&x, &[1.0, 3.0, 2.0, 4.0]).unwrap() - 0.8).abs() < 1e-15);
        assert_eq!(pearson(&x, &[1.0; 4]), None);
        assert_eq!(pearson(&x, &[1.0, f64::NAN, 2.0, 3.0]), None);
        assert_eq!(pearson(&[1.0], &[1.0]), None);
    }

    #[test]
    fn weights_count_pairs_as_often_as_they_say() {
        let pairs = [(1.0, 2.0), (2.0, 1.5), (4.0, 3.0), (-1.0, 0.5)];
        let times = [2usize, 1, 3, 1];
        let weighted: Vec<(f64, &(f64, f64))> = times.iter().map(|&n| n as f64).zip(&pairs).collect();
        let repeated = pairs
            .iter()
            .zip(times)
            .flat_map(|(pair, n)| std::iter::repeat_n(*pair, n));
        let (x, y): (Vec<f64>, Vec<f64>) = repeated.unzip();
        let difference = pearson_weighted(&weighted).unwrap() - pearson(&x, &y).unwrap();
        assert!(difference.abs() < 1e-14, "{difference}");
        assert_eq!(pearson_weighted(&weighted[..2]), None);
        let constant = [(1.0, 2.0), (1.0, 3.0), (1.0, 4.0)];
        assert_eq!(pearson_weighted(&constant.each_ref().map(|pair| (1.0, pair))), None);
    }

    #[test]
    fn reference_centred_variant_penalises_an_offset() {
        let y = [1.0, 2.0, 3.0];
        assert!((pearson_ref_centered(&y, &y, 0.0) - 1.0).abs() < 1e-15);
        // p − ȳ = (1, 2, 3): 2/√(2·14)
        let shifted = pearson_ref_centered(&y, &[3.0, 4.0, 5.0], 0.0);
        assert!((shifted - 2.0 / 28f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn spearman_brown_of_halves_is_the_textbook_formula() {
        assert!((spearman_brown(0.5, 2.0) - 2.0 / 3.0).abs() < 1e-15);
        assert_eq!(spearman_brown(1.0, 2.0), 1.0);
        assert_eq!(spearman_brown(-0.3, 2.0), 0.0);
    }
}
