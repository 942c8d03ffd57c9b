//! Who may project to whom and with what sign: cell types, allowed synapses, initial weights, projection.
//!
//! Weights are stored signed, presynaptic neuron first: `[D, N_pre, N_post]` and `[N_in, N]`. Structure lives in
//! two places: the initial weights and the projection after each update; the forward pass knows no mask.

mod projections;
mod spectral;

pub use projections::{Entry, Projection, ProjectionTable};
pub use spectral::spectral_radius;

use crate::CoreError;
use ndarray::{Array2, Array3, ArrayViewMut1, ArrayViewMut2, ArrayViewMut3};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// Weight of a synapse that the projection would have made negative: present, without effect, free to grow again.
///
/// # Source
/// Specification §1.10 (net effect of the published rewiring).
pub const DORMANT_WEIGHT: f32 = 1e-12;

/// What a neuron does to its targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellType {
    /// All outgoing weights are at least 0.
    Excitatory,
    /// All outgoing weights are at most 0.
    Inhibitory,
    /// Type not known: outgoing weights of either sign.
    Unknown,
}

/// One model neuron.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Neuron {
    /// Index of the area the neuron sits in.
    pub area: usize,
    /// Excitatory, inhibitory or unknown.
    pub cell_type: CellType,
}

/// Which synapses may run between areas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterArea {
    /// Those of excitatory (or unknown) presynaptic neurons; they start at 0.
    Excitatory,
    /// All; they start like those inside an area.
    All,
    /// None.
    None,
}

/// Sign that weights must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// At least 0.
    Positive,
    /// At most 0.
    Negative,
    /// Either.
    Free,
}

impl Sign {
    /// Soft threshold by `amount` (at least 0), then the sign's constraint.
    ///
    /// With a sign: `m ← m − amount` on the magnitude m, and [`DORMANT_WEIGHT`] where that is negative.
    /// Free: `w ← sgn(w)·max(|w| − amount, 0)`.
    ///
    /// # Source
    /// Specification §1.10, items 1 and 2.
    #[inline]
    pub fn project(self, weight: f32, amount: f32) -> f32 {
        let magnitude = |m: f32| if m - amount < 0.0 { DORMANT_WEIGHT } else { m - amount };
        match self {
            Self::Positive => magnitude(weight),
            Self::Negative => -magnitude(-weight),
            // A NaN stays a NaN here, so that the guard of the training loop sees it.
            Self::Free if weight.abs() <= amount => 0.0,
            Self::Free => weight - amount.copysign(weight),
        }
    }

    /// A weight of this sign from a draw of U(0, 1): U(0, 1), U(−1, 0) or U(−1, 1).
    fn of_draw(self, draw: f64) -> f64 {
        match self {
            Self::Positive => draw,
            Self::Negative => -draw,
            Self::Free => 2.0 * draw - 1.0,
        }
    }
}

/// The neurons of a network and the rules of its synapses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connectivity {
    /// Neurons in model order, `[N]`.
    pub neurons: Vec<Neuron>,
    /// Rule for synapses between areas.
    pub inter_area: InterArea,
    /// Dale's law: outgoing weights of known cell types keep their sign.
    pub has_dale: bool,
    /// Exceptions to both, in order; usually none.
    pub projections: Vec<Projection>,
}

/// The population of the published models: all excitatory neurons, then all inhibitory ones, each in equal blocks
/// of areas.
///
/// `n_E = ⌊p_exc·N⌋`; excitatory block of area a is `[a·n_E/A, (a+1)·n_E/A)`, inhibitory blocks follow alike.
///
/// # Errors
/// No neuron, no area, or `p_exc` outside [0, 1].
///
/// # Source
/// Specification §1.1.
pub fn population_layout(n: usize, n_areas: usize, p_exc: f64) -> Result<Vec<Neuron>, CoreError> {
    if n == 0 || n_areas == 0 {
        let what = format!("a population of {n} neurons in {n_areas} areas: at least one of each is needed");
        return Err(CoreError::Population { what });
    }
    let n_exc = whole_part(n, p_exc, "fraction of excitatory neurons")?;
    let mut neurons = Vec::with_capacity(n);
    for (cell_type, count) in [(CellType::Excitatory, n_exc), (CellType::Inhibitory, n - n_exc)] {
        for area in 0..n_areas {
            let size = (area + 1) * count / n_areas - area * count / n_areas;
            neurons.extend(std::iter::repeat_n(Neuron { area, cell_type }, size));
        }
    }
    Ok(neurons)
}

/// `⌊fraction·n⌋`, where a product within 1e-9 below a whole number counts as that number.
pub(crate) fn whole_part(n: usize, fraction: f64, what: &str) -> Result<usize, CoreError> {
    if !(0.0..=1.0).contains(&fraction) {
        return Err(CoreError::Range {
            what: what.into(),
            value: fraction,
            expected: "from 0 to 1",
        });
    }
    Ok(((n as f64 * fraction + 1e-9).floor() as usize).min(n))
}

/// The whole part of a share of `n`, as populations and inputs are divided; a share is taken as from 0 to 1.
pub fn part_of(n: usize, share: f64) -> usize {
    whole_part(n, share.clamp(0.0, 1.0), "share").unwrap_or(0)
}

/// Delays in steps of the `groups` recurrent matrices, from the shortest delay to the longest.
///
/// Group 0 has the shortest delay n; group g ≥ 1 has `longest − ⌊(longest − n)/(G − 1)·(g − 1)⌋`.
///
/// # Errors
/// No group, a delay of 0 steps, a longest delay below the shortest, one group with two different delays.
///
/// # Source
/// Specification §1.3, "General delays".
pub fn delay_steps(shortest: usize, longest: usize, groups: usize) -> Result<Vec<usize>, CoreError> {
    let out_of_range = |what: &str, value: usize, expected| CoreError::Range {
        what: what.into(),
        value: value as f64,
        expected,
    };
    if groups == 0 {
        return Err(out_of_range("number of delay groups", groups, "at least 1"));
    }
    if shortest == 0 {
        return Err(out_of_range("shortest delay in steps", shortest, "at least 1"));
    }
    if longest < shortest {
        return Err(out_of_range(
            "longest delay in steps",
            longest,
            "at least the shortest delay",
        ));
    }
    if groups == 1 && longest != shortest {
        return Err(out_of_range(
            "longest delay in steps",
            longest,
            "the shortest delay, when there is one delay group",
        ));
    }
    let offset = |g: usize| (longest - shortest) * (g - 1) / (groups - 1);
    Ok((0..groups)
        .map(|g| if g == 0 { shortest } else { longest - offset(g) })
        .collect())
}

impl Connectivity {
    /// Number of neurons N.
    pub fn n_neurons(&self) -> usize {
        self.neurons.len()
    }

    /// True when a synapse from neuron `pre` to neuron `post` may exist; [`Self::table`] answers many such questions.
    pub fn is_allowed(&self, pre: usize, post: usize) -> bool {
        pre != post
            && self.table().row(self.neurons[pre])[self.neurons[post].area]
                .sign
                .is_some()
    }

    /// Initial recurrent weights `[D, N_pre, N_post]`, each delay group drawn for itself.
    ///
    /// Magnitudes U(0, 1) inside an area and, under [`InterArea::All`], between areas; 0 between areas otherwise,
    /// whatever [`Self::projections`] allow. Then, per postsynaptic neuron, the larger of the positive and the negative sum is scaled down to the smaller
    /// one; the matrix is divided by its spectral radius and by D.
    ///
    /// # Departures
    /// Unknown cells draw from U(−1, 1). A neuron whose inputs all have one sign is left unbalanced (the published
    /// code would set them to 0), and a matrix with spectral radius 0 is not divided. Without Dale's law, known
    /// cell types still start with their own sign.
    ///
    /// # Source
    /// Specification §1.8.
    pub fn initial_weights(&self, n_delays: usize, rng: &mut impl Rng) -> Array3<f32> {
        let n = self.n_neurons();
        let mut weights = Array3::zeros((n_delays, n, n));
        for mut group in weights.outer_iter_mut() {
            let mut w = self.draw_magnitudes(rng);
            balance(w.view_mut());
            let radius = self.spectral_radius(&w);
            let scale = if radius > 0.0 { radius.recip() } else { 1.0 } / n_delays as f64;
            group.assign(&w.mapv(|w| (w * scale) as f32));
        }
        weights
    }

    fn draw_magnitudes(&self, rng: &mut impl Rng) -> Array2<f64> {
        let n = self.n_neurons();
        let table = self.table();
        Array2::from_shape_fn((n, n), |(pre, post)| {
            // Drawn for every pair, so that a rule changes no other weight.
            let draw: f64 = rng.random();
            match table.row(self.neurons[pre])[self.neurons[post].area].start {
                Some(sign) if pre != post => sign.of_draw(draw),
                _ => 0.0,
            }
        })
    }

    /// Spectral radius of a signed matrix `[N_pre, N_post]`; area by area when no synapse runs between areas.
    pub fn spectral_radius(&self, w: &Array2<f64>) -> f64 {
        let between =
            |((pre, post), w): ((usize, usize), &f64)| *w != 0.0 && self.neurons[pre].area != self.neurons[post].area;
        if w.indexed_iter().any(between) {
            return spectral_radius(w);
        }
        let n_areas = self.neurons.iter().map(|n| n.area + 1).max().unwrap_or(0);
        let block = |area: usize| {
            let members: Vec<usize> = (0..self.n_neurons())
                .filter(|n| self.neurons[*n].area == area)
                .collect();
            let m = Array2::from_shape_fn((members.len(), members.len()), |(i, j)| w[[members[i], members[j]]]);
            spectral_radius(&m)
        };
        (0..n_areas).map(block).fold(0.0, f64::max)
    }

    /// Brings recurrent weights `[D, N_pre, N_post]` back to the allowed set after an update with learning rate
    /// `lr`: soft threshold by `l1·lr` under the sign of each projection, 0 where no synapse is allowed.
    ///
    /// # Source
    /// Specification §1.10, item 1 (the extra `−lr` at forbidden inhibitory places ends at 0 by the mask).
    pub fn project(&self, mut w: ArrayViewMut3<'_, f32>, lr: f32, l1: f32) {
        let table = self.table();
        for mut group in w.outer_iter_mut() {
            for (pre, mut row) in group.outer_iter_mut().enumerate() {
                let rules = table.row(self.neurons[pre]);
                for (post, (weight, neuron)) in row.iter_mut().zip(&self.neurons).enumerate() {
                    *weight = match rules[neuron.area].sign {
                        Some(sign) if post != pre => sign.project(*weight, lr * l1),
                        _ => 0.0,
                    };
                }
            }
        }
    }
}

/// Initial input weights `[N_in, N]`: U(0, 1)/√N_in under the given signs (free rows: U(−1, 1)/√N_in), balanced
/// per neuron like the recurrent ones, times `scale`.
///
/// # Source
/// Specification §1.8, with `scale` = (threshold − resting potential)/0.1.
pub fn initial_input_weights(signs: &[Sign], n: usize, scale: f64, rng: &mut impl Rng) -> Array2<f32> {
    let mut w = Array2::from_shape_fn((signs.len(), n), |(i, _)| {
        let draw: f64 = rng.random();
        signs[i].of_draw(draw)
    });
    if !signs.contains(&Sign::Free) {
        balance(w.view_mut());
    }
    let scale = scale / (signs.len().max(1) as f64).sqrt();
    w.mapv(|w| (w * scale) as f32)
}

/// Brings input weights `[N_in, N]` back to the allowed signs after an update: [`Sign::project`] with `l1·lr`.
///
/// # Source
/// Specification §1.10, item 2.
pub fn project_inputs(mut w_in: ArrayViewMut2<'_, f32>, signs: &[Sign], lr: f32, l1: f32) {
    for (mut row, sign) in w_in.outer_iter_mut().zip(signs) {
        row.mapv_inplace(|weight| sign.project(weight, lr * l1));
    }
}

/// Scales, per column (postsynaptic neuron), the larger of the positive and negative sums down to the smaller.
fn balance(mut w: ArrayViewMut2<'_, f64>) {
    let balance_column = |mut column: ArrayViewMut1<'_, f64>| {
        let positive: f64 = column.iter().filter(|w| **w > 0.0).sum();
        let negative: f64 = -column.iter().filter(|w| **w < 0.0).sum::<f64>();
        if positive == 0.0 || negative == 0.0 {
            return;
        }
        let (up, down) = ((negative / positive).min(1.0), (positive / negative).min(1.0));
        column.mapv_inplace(|w| if w > 0.0 { w * up } else { w * down });
    };
    w.columns_mut().into_iter().for_each(balance_column);
}

#[cfg(test)]
mod tests {
    use super::spectral::spectral_radius_by_squaring;
    use super::*;
    use crate::rng::StreamRng;
    use proptest::prelude::*;

    fn network(n: usize, n_areas: usize, inter_area: InterArea) -> Connectivity {
        Connectivity {
            neurons: population_layout(n, n_areas, 0.8).unwrap(),
            inter_area,
            has_dale: true,
            projections: Vec::new(),
        }
    }

    fn counts(neurons: &[Neuron], area: usize, cell_type: CellType) -> usize {
        neurons.iter().filter(|n| **n == Neuron { area, cell_type }).count()
    }

    #[test]
    fn published_populations_have_200_excitatory_and_50_inhibitory_neurons_per_area() {
        for (n, n_areas) in [(500, 2), (1500, 6)] {
            let neurons = population_layout(n, n_areas, 0.8).unwrap();
            for area in 0..n_areas {
                assert_eq!(counts(&neurons, area, CellType::Excitatory), 200);
                assert_eq!(counts(&neurons, area, CellType::Inhibitory), 50);
            }
            let first_inhibitory = neurons.iter().position(|n| n.cell_type == CellType::Inhibitory);
            assert_eq!(first_inhibitory, Some(n * 4 / 5));
            assert_eq!(neurons[200].area, 1);
            assert_eq!(
                neurons[n * 4 / 5 + 49],
                Neuron {
                    area: 0,
                    cell_type: CellType::Inhibitory
                }
            );
        }
    }

    #[test]
    fn populations_that_do_not_divide_evenly_still_have_every_neuron() {
        let neurons = population_layout(23, 3, 0.8).unwrap();
        // 18 excitatory in blocks of 6; 5 inhibitory in blocks that end at 5/3, 10/3, 15/3, rounded down.
        assert_eq!(
            (0..3)
                .map(|a| counts(&neurons, a, CellType::Excitatory))
                .collect::<Vec<_>>(),
            [6, 6, 6]
        );
        assert_eq!(
            (0..3)
                .map(|a| counts(&neurons, a, CellType::Inhibitory))
                .collect::<Vec<_>>(),
            [1, 2, 2]
        );
        assert!(population_layout(0, 1, 0.8).is_err());
        assert!(population_layout(10, 2, f64::NAN).is_err());
    }

    #[test]
    fn delay_groups_are_those_of_the_published_rule() {
        assert_eq!(delay_steps(1, 2, 2).unwrap(), [1, 2]);
        assert_eq!(delay_steps(2, 2, 1).unwrap(), [2]);
        // Offsets 0 and ⌊4/2⌋ from the longest delay.
        assert_eq!(delay_steps(1, 5, 3).unwrap(), [1, 5, 3]);
        // ⌊3/3·(g − 1)⌋ = 0, 1, 2.
        assert_eq!(delay_steps(2, 5, 4).unwrap(), [2, 5, 4, 3]);
        for (shortest, longest, groups) in [(1, 2, 1), (0, 2, 2), (3, 2, 2), (1, 1, 0)] {
            assert!(delay_steps(shortest, longest, groups).is_err());
        }
    }

    #[test]
    fn inhibitory_neurons_stay_in_their_area_unless_all_may_leave() {
        let c = network(20, 2, InterArea::Excitatory);
        assert!(c.is_allowed(0, 8) && !c.is_allowed(16, 8) && c.is_allowed(16, 0) && !c.is_allowed(3, 3));
        assert!(network(20, 2, InterArea::All).is_allowed(16, 8));
        assert!(!network(20, 2, InterArea::None).is_allowed(0, 8));
        let unknown = Connectivity {
            neurons: vec![
                Neuron {
                    area: 0,
                    cell_type: CellType::Unknown,
                },
                Neuron {
                    area: 1,
                    cell_type: CellType::Unknown,
                },
            ],
            ..c
        };
        assert!(unknown.is_allowed(0, 1));
    }

    #[test]
    fn initial_weights_are_balanced_per_neuron_and_have_the_spectral_radius_of_their_group() {
        for inter_area in [InterArea::Excitatory, InterArea::All, InterArea::None] {
            let c = network(60, 2, inter_area);
            let w = c.initial_weights(2, &mut StreamRng::new(3, "init", 0));
            for group in w.outer_iter() {
                let group = group.mapv(f64::from);
                for column in group.columns() {
                    assert!(
                        column.sum().abs() < 1e-6,
                        "E and I inputs don't cancel: {}",
                        column.sum()
                    );
                }
                // Two groups: each has radius 1/2; weights are rounded to f32.
                assert!((spectral_radius_by_squaring(&group) - 0.5).abs() < 1e-5);
                for ((pre, post), w) in group.indexed_iter() {
                    let is_inside = c.neurons[pre].area == c.neurons[post].area;
                    let is_drawn = pre != post && (is_inside || inter_area == InterArea::All);
                    let sign = if pre < 48 { 1.0 } else { -1.0 };
                    assert!(
                        if is_drawn { w * sign > 0.0 } else { *w == 0.0 },
                        "weight {w} from {pre} to {post}"
                    );
                }
            }
            assert_ne!(w.index_axis(ndarray::Axis(0), 0), w.index_axis(ndarray::Axis(0), 1));
        }
    }

    #[test]
    fn neurons_of_unknown_type_start_with_both_signs() {
        let neurons = vec![
            Neuron {
                area: 0,
                cell_type: CellType::Unknown
            };
            30
        ];
        let c = Connectivity {
            neurons,
            inter_area: InterArea::Excitatory,
            has_dale: true,
            projections: Vec::new(),
        };
        let w = c.initial_weights(1, &mut StreamRng::new(3, "init", 0));
        let positive = w.iter().filter(|w| **w > 0.0).count();
        assert!((300..570).contains(&positive), "{positive} of 870 positive");
        assert!((spectral_radius(&w.index_axis(ndarray::Axis(0), 0).mapv(f64::from)) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn a_network_without_inhibition_or_without_synapses_starts_with_finite_weights() {
        for (n, p_exc) in [(1, 1.0), (2, 1.0), (7, 1.0), (7, 0.0)] {
            let c = Connectivity {
                neurons: population_layout(n, 1, p_exc).unwrap(),
                inter_area: InterArea::Excitatory,
                has_dale: true,
                projections: Vec::new(),
            };
            let w = c.initial_weights(2, &mut StreamRng::new(3, "init", 0));
            assert!(w.iter().all(|w| w.is_finite()));
            assert_eq!(w.iter().any(|w| *w != 0.0), n > 1);
        }
    }

    #[test]
    fn initial_input_weights_are_balanced_and_bounded() {
        let signs: Vec<Sign> = (0..200)
            .map(|i| if i < 160 { Sign::Positive } else { Sign::Negative })
            .collect();
        let w = initial_input_weights(&signs, 40, 1.0, &mut StreamRng::new(3, "init", 1));
        let bound = 1.0 / 200f32.sqrt();
        for column in w.columns() {
            assert!(column.sum().abs() < 1e-5);
            assert!(
                column
                    .iter()
                    .zip(&signs)
                    .all(|(w, s)| w.abs() <= bound && (*w >= 0.0) == (*s == Sign::Positive))
            );
            // Inhibition (40 inputs) is the smaller sum and keeps its draws, of mean bound/2.
            let inhibition: f32 = column.iter().skip(160).sum();
            assert!((inhibition / (-40.0 * bound / 2.0) - 1.0).abs() < 0.3);
        }
    }

    #[test]
    fn free_rows_shrink_toward_zero_from_both_sides() {
        let projected = [0.5f32, -0.5, 0.05, -0.05, 0.0].map(|w| Sign::Free.project(w, 0.1));
        assert_eq!(projected, [0.4, -0.4, 0.0, 0.0, 0.0]);
        assert_eq!(Sign::Negative.project(0.3, 0.0), -DORMANT_WEIGHT);
        assert_eq!(Sign::Positive.project(0.0, 0.0), 0.0);
        assert!(Sign::Free.project(f32::NAN, 0.1).is_nan() && Sign::Positive.project(f32::NAN, 0.1).is_nan());
    }

    proptest! {
        #[test]
        fn dales_law_and_the_mask_hold_after_100_random_updates(seed in any::<u64>(), n in 2usize..14, n_areas in 1usize..4, mode in 0usize..3) {
            let inter_area = [InterArea::Excitatory, InterArea::All, InterArea::None][mode];
            let mut c = network(n, n_areas, inter_area);
            c.neurons[n / 2].cell_type = CellType::Unknown;
            let mut rng = StreamRng::new(seed, "test", 0);
            let mut w = c.initial_weights(2, &mut rng);
            for _ in 0..100 {
                w.mapv_inplace(|w| w + 0.4 * (rng.random::<f32>() - 0.5));
                c.project(w.view_mut(), 0.1, 0.05);
                for ((_, pre, post), w) in w.indexed_iter() {
                    let is_legal = match c.neurons[pre].cell_type {
                        CellType::Excitatory => *w >= 0.0,
                        CellType::Inhibitory => *w <= 0.0,
                        CellType::Unknown => true,
                    };
                    prop_assert!(is_legal && (c.is_allowed(pre, post) || *w == 0.0));
                }
            }
        }
    }
}
