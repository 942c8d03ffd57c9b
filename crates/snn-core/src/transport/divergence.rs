//! Divergences of many pairs of clouds: what is uploaded, the launches, and what comes back.

use super::kernels::{self, N_COLUMNS, ROWS, SIDE, SLICES, UNITS};
use crate::CoreError;
use crate::rollout::kernels::{Kernels, Limits};
use cubecl::prelude::*;
use ndarray::{Array2, s};

/// Two clouds of points, and how their blur falls.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Points of both clouds `[n + m, F]`: n fixed ones, then m moving ones.
    pub points: Array2<f32>,
    /// n.
    pub n_fixed: usize,
    /// ε: the start is at the first; then come the averaging updates at each, and the full one at the last.
    pub schedule: Vec<f32>,
}

/// What all pairs of a batch have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Whether a cost is half the squared distance, or else the distance.
    pub is_half_square: bool,
    /// Squared distances below this count as this, where the cost is the distance; they have no gradient.
    pub floor: f32,
    /// Averaging updates at each ε, at least 1.
    pub updates: usize,
    /// Whether the divergence of each cloud from itself is subtracted.
    pub debias: bool,
}

/// The divergence of one pair.
#[derive(Debug, Clone, PartialEq)]
pub struct Solution {
    /// Its value.
    pub value: f64,
    /// Its gradient at the moving points `[m, F]`.
    pub d_moving: Array2<f32>,
}

/// The least blur: a smaller ε is taken as this, which is 0 for any distance of more than rounding.
const LEAST_EPSILON: f32 = f32::MIN_POSITIVE;

/// Distances up to this much above the floor count as it: rounding of a root in a shader.
const FLOOR_MARGIN: f32 = 1.0 + 4e-6;

impl Pair {
    fn n_points(&self) -> usize {
        self.points.nrows()
    }

    fn n_moving(&self) -> usize {
        self.n_points() - self.n_fixed
    }

    fn check(&self) -> Result<(), CoreError> {
        if self.n_fixed == 0 || self.n_fixed >= self.n_points() {
            return Err(CoreError::Shape {
                what: "points of two clouds",
                found: vec![self.n_points()],
                expected: vec![self.n_fixed.max(1) + 1],
            });
        }
        if self.schedule.is_empty() {
            return Err(CoreError::Shape {
                what: "schedule of a blur",
                found: vec![0],
                expected: vec![1],
            });
        }
        Ok(())
    }
}

/// Sizes of a batch: what its buffers and launches take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sizes {
    pairs: u64,
    points: u64,
    coordinates: u64,
    costs: u64,
    gradients: u64,
    most_points: u64,
    most_features: u64,
    longest: u64,
}

impl Sizes {
    /// With one pair more.
    fn with(self, pair: &Pair) -> Self {
        self.with_clouds(
            [pair.n_fixed, pair.n_moving(), pair.points.ncols()],
            pair.schedule.len(),
        )
    }

    /// With one pair more, of n fixed and m moving points of F features.
    fn with_clouds(self, clouds: [usize; 3], schedule: usize) -> Self {
        let [fixed, moving, features] = clouds.map(|n| n as u64);
        let points = fixed + moving;
        Self {
            pairs: self.pairs + 1,
            points: self.points + points,
            coordinates: self.coordinates + points * features,
            costs: self.costs + points * points,
            gradients: self.gradients + moving * features,
            most_points: self.most_points.max(points),
            most_features: self.most_features.max(features),
            longest: self.longest.max(schedule as u64),
        }
    }

    /// Launches of one row of the table of ε: the start has its own.
    fn n_rows(&self) -> u64 {
        self.longest + 1
    }

    /// The buffers: what is in one, of how many elements of four bytes, and how many of them there are.
    fn buffers(&self) -> [(&'static str, u64, u64); 6] {
        [
            ("costs", self.costs, 1),
            ("features", self.coordinates, 1),
            ("gradients of the features", self.gradients, 1),
            ("potentials", 2 * self.points, 2),
            ("sizes", N_COLUMNS as u64 * self.pairs, 1),
            ("blurs", self.n_rows() * self.pairs, 1),
        ]
    }

    /// Of all buffers.
    fn bytes(&self) -> u64 {
        self.buffers().iter().map(|(_, len, count)| 4 * len * count).sum()
    }

    /// What doesn't fit: (what, how much, most, in which unit).
    fn excess(&self, limits: Limits) -> Option<(&'static str, u64, u64, &'static str)> {
        // Kernels count elements in 32 bits.
        let most = limits.buffer_bytes.min(4 * u64::from(u32::MAX));
        let cubes = [
            ("pairs of clouds", self.pairs),
            ("tiles of costs", self.most_points.div_ceil(SIDE as u64)),
            ("tiles of features", self.most_features.div_ceil(SLICES as u64)),
        ];
        let buffers = self.buffers().into_iter();
        let buffers = buffers.map(|(what, len, _)| (what, len.saturating_mul(4), most, "bytes in one buffer"));
        let cubes = cubes.map(|(what, n)| (what, n, limits.cubes, "in one launch"));
        buffers.chain(cubes).find(|(_, found, most, _)| found > most)
    }
}

/// Bytes that the divergences of pairs of clouds take on a device when all are computed together, without the schedules of
/// blurs.
///
/// # Shapes
/// `[n, m, F]` of each pair: fixed points, moving points, features.
pub fn bytes(clouds: impl IntoIterator<Item = [usize; 3]>) -> u64 {
    let all = clouds
        .into_iter()
        .fold(Sizes::default(), |sizes, clouds| sizes.with_clouds(clouds, 0));
    if all.pairs == 0 { 0 } else { all.bytes() }
}

/// The pair that doesn't fit a device, by itself.
fn limit_error(pair: &Pair, limits: Limits, device: &str) -> Option<CoreError> {
    let (what, found, limit, unit) = Sizes::default().with(pair).excess(limits)?;
    Some(CoreError::DeviceLimit {
        device: device.to_owned(),
        what,
        trials: pair.n_points(),
        found,
        limit,
        unit,
    })
}

/// The longest runs of pairs that fit a device together, with their sizes.
///
/// # Errors
/// [`CoreError::DeviceLimit`] where a single pair doesn't.
fn groups<'a, 'p>(
    pairs: &'a [&'p Pair],
    limits: Limits,
    device: &str,
) -> Result<Vec<(&'a [&'p Pair], Sizes)>, CoreError> {
    let mut groups = Vec::new();
    let mut rest = pairs;
    while !rest.is_empty() {
        let mut sizes = Sizes::default();
        let mut fitting = 0;
        for pair in rest {
            let more = sizes.with(pair);
            if more.excess(limits).is_some() {
                break;
            }
            (sizes, fitting) = (more, fitting + 1);
        }
        if fitting == 0
            && let Some(error) = limit_error(rest[0], limits, device)
        {
            return Err(error);
        }
        let (group, others) = rest.split_at(fitting);
        groups.push((group, sizes));
        rest = others;
    }
    Ok(groups)
}

/// The table of sizes and places `[B, N_COLUMNS]`.
fn table(pairs: &[&Pair]) -> Vec<u32> {
    let mut table = Vec::with_capacity(pairs.len() * N_COLUMNS);
    let mut before = Sizes::default();
    for pair in pairs {
        let mut row = [0u32; N_COLUMNS];
        row[kernels::N_FIXED] = pair.n_fixed as u32;
        row[kernels::N_MOVING] = pair.n_moving() as u32;
        row[kernels::N_FEATURES] = pair.points.ncols() as u32;
        row[kernels::FIRST_POINT] = before.points as u32;
        row[kernels::FIRST_COORDINATE] = before.coordinates as u32;
        row[kernels::FIRST_COST] = before.costs as u32;
        row[kernels::FIRST_GRADIENT] = before.gradients as u32;
        table.extend(row);
        before = before.with(pair);
    }
    table
}

/// ε of each launch and pair `[rows, B]`: 0 before a pair starts, −ε at its start, then its schedule to the last row.
fn epsilons(pairs: &[&Pair], n_rows: usize) -> Vec<f32> {
    let mut rows = vec![0.0; n_rows * pairs.len()];
    for (b, pair) in pairs.iter().enumerate() {
        let first = n_rows - 1 - pair.schedule.len();
        let mut set = |row: usize, epsilon: f32| rows[row * pairs.len() + b] = epsilon;
        set(first, -pair.schedule[0].max(LEAST_EPSILON));
        for (i, epsilon) in pair.schedule.iter().enumerate() {
            set(first + 1 + i, epsilon.max(LEAST_EPSILON));
        }
    }
    rows
}

impl Kernels {
    /// Divergences of pairs of clouds and their gradients at the moving points, as `losses::sinkhorn` defines them.
    ///
    /// In single precision. A pair's result doesn't depend on which others are there; where they don't fit the device
    /// together, it takes them group by group. Costs take `4·(n + m)²` bytes for each pair.
    ///
    /// # Shapes
    /// One [`Pair`] each; all F may differ.
    ///
    /// # Errors
    /// [`CoreError::Shape`] for an empty cloud or schedule, [`CoreError::DeviceLimit`] where one pair doesn't fit the
    /// device, a device that fails.
    pub fn divergences(&self, pairs: &[&Pair], settings: &Settings) -> Result<Vec<Solution>, CoreError> {
        for pair in pairs {
            pair.check()?;
        }
        let mut solutions = Vec::with_capacity(pairs.len());
        for (group, sizes) in groups(pairs, self.limits(), self.name())? {
            solutions.extend(self.solve(group, sizes, settings)?);
        }
        Ok(solutions)
    }

    /// Refuses a pair of clouds that doesn't fit the device by itself.
    ///
    /// # Errors
    /// [`CoreError::DeviceLimit`].
    pub fn check_pair(&self, pair: &Pair) -> Result<(), CoreError> {
        limit_error(pair, self.limits(), self.name()).map_or(Ok(()), Err)
    }

    fn solve(&self, pairs: &[&Pair], sizes: Sizes, settings: &Settings) -> Result<Vec<Solution>, CoreError> {
        let (n_pairs, n_points, n_rows) = (sizes.pairs as u32, sizes.points as u32, sizes.n_rows() as usize);
        let coordinates: Vec<f32> = pairs.iter().flat_map(|pair| pair.points.iter().copied()).collect();
        let coordinates = self.upload(&coordinates);
        let table = self.upload(&table(pairs));
        let epsilons = self.upload(&epsilons(pairs, n_rows));
        let costs = self.empty(sizes.costs as usize);
        let gradients = self.empty(sizes.gradients as usize);
        let mut old = self.empty(2 * sizes.points as usize);
        let mut new = self.empty(2 * sizes.points as usize);
        let least = settings.floor.sqrt() * FLOOR_MARGIN;
        let is_half_square = u32::from(settings.is_half_square);

        let tiles = (sizes.most_points as usize).div_ceil(SIDE) as u32;
        // SAFETY: units beyond the last point of their pair write nothing; the table holds places within the buffers.
        #[allow(unsafe_code)]
        unsafe {
            kernels::costs::launch_unchecked(
                &self.client,
                CubeCount::Static(tiles, tiles, n_pairs),
                CubeDim::new_1d((SIDE * SIDE) as u32),
                coordinates.arg(),
                table.arg(),
                costs.arg(),
                settings.floor,
                is_half_square,
            );
        }
        let rows = (sizes.most_points as usize).div_ceil(ROWS) as u32;
        let count = CubeCount::Static(rows, n_pairs, 1 + u32::from(settings.debias));
        let dim = CubeDim::new_1d(UNITS as u32);
        for row in 0..n_rows {
            // In the first row pairs only start.
            let updates = if row == 0 { 1 } else { settings.updates };
            for i in 0..updates {
                // SAFETY: as above; `old` and `new` hold two potentials of each point.
                #[allow(unsafe_code)]
                unsafe {
                    kernels::update::launch_unchecked(
                        &self.client,
                        count.clone(),
                        dim,
                        costs.arg(),
                        old.arg(),
                        new.arg(),
                        table.arg(),
                        epsilons.arg(),
                        row as u32 * n_pairs,
                        n_points,
                        u32::from(i + 1 == updates),
                    );
                }
                std::mem::swap(&mut old, &mut new);
            }
        }
        // SAFETY: as above.
        #[allow(unsafe_code)]
        unsafe {
            kernels::finish::launch_unchecked(
                &self.client,
                count,
                dim,
                costs.arg(),
                old.arg(),
                new.arg(),
                table.arg(),
                epsilons.arg(),
                (n_rows - 1) as u32 * n_pairs,
                n_points,
                least,
                is_half_square,
            );
        }
        if sizes.gradients > 0 {
            let features = (sizes.most_features as usize).div_ceil(SLICES) as u32;
            // SAFETY: units beyond the last moving point or feature write nothing.
            #[allow(unsafe_code)]
            unsafe {
                kernels::pull::launch_unchecked(
                    &self.client,
                    CubeCount::Static(rows, features, n_pairs),
                    dim,
                    coordinates.arg(),
                    costs.arg(),
                    table.arg(),
                    gradients.arg(),
                    u32::from(settings.debias),
                );
            }
        }
        let potentials: Vec<f32> = self.download(&new)?;
        let gradients: Vec<f32> = self.download(&gradients)?;
        Ok(solutions(pairs, settings.debias, &potentials, &gradients))
    }
}

/// Values as means of the last potentials `[2, points]`, and the gradients one after the other.
fn solutions(pairs: &[&Pair], debias: bool, potentials: &[f32], gradients: &[f32]) -> Vec<Solution> {
    let (across, within) = potentials.split_at(potentials.len() / 2);
    let mean = |values: &[f32]| values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
    let (mut point, mut gradient) = (0, 0);
    let mut solution = |pair: &Pair| {
        let of_points = point..point + pair.n_points();
        let both = |values: &[f32]| {
            let (fixed, moving) = values[of_points.clone()].split_at(pair.n_fixed);
            mean(fixed) + mean(moving)
        };
        let value = both(across) - if debias { both(within) } else { 0.0 };
        let mut d_moving = Array2::zeros(pair.points.slice(s![pair.n_fixed.., ..]).raw_dim());
        let len = d_moving.len();
        for (to, from) in d_moving.iter_mut().zip(&gradients[gradient..gradient + len]) {
            *to = *from;
        }
        point += pair.n_points();
        gradient += len;
        Solution { value, d_moving }
    };
    pairs.iter().map(|pair| solution(pair)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(n: usize, m: usize, steps: usize) -> Pair {
        Pair {
            points: Array2::zeros((n + m, 3)),
            n_fixed: n,
            schedule: (0..steps).map(|i| 0.5f32.powi(i as i32)).collect(),
        }
    }

    #[test]
    fn pairs_end_together_after_their_own_number_of_updates() {
        let rows = epsilons(&[&pair(2, 1, 3), &pair(1, 1, 1)], 4);
        assert_eq!(rows, [-1.0, 0.0, 1.0, 0.0, 0.5, -1.0, 0.25, 1.0]);
        let tiny = Pair {
            schedule: vec![1.0, 0.0],
            ..pair(1, 1, 2)
        };
        assert!(epsilons(&[&tiny], 3).iter().all(|e| *e != 0.0));
    }

    #[test]
    fn places_follow_one_another() {
        let table = table(&[&pair(2, 1, 3), &pair(4, 5, 1)]);
        assert_eq!(table, [2, 1, 3, 0, 0, 0, 0, 4, 5, 3, 3, 9, 9, 3]);
    }

    #[test]
    fn groups_are_as_large_as_the_limits_allow_and_one_pair_too_large_is_named() {
        let pairs = [pair(6, 4, 2), pair(5, 5, 2), pair(3, 1, 2), pair(8, 2, 2)];
        let pairs = pairs.each_ref();
        let lengths = |buffer_bytes, cubes| {
            let limits = Limits { buffer_bytes, cubes };
            groups(&pairs, limits, "a GPU").map(|groups| groups.iter().map(|g| g.0.len()).collect::<Vec<_>>())
        };
        // Costs are the largest buffer: 100, 100, 16 and 100 of them.
        assert_eq!(lengths(1 << 30, 65_535).unwrap(), [4]);
        assert_eq!(lengths(864, 65_535).unwrap(), [3, 1]);
        assert_eq!(lengths(863, 65_535).unwrap(), [2, 2]);
        assert_eq!(lengths(400, 65_535).unwrap(), [1, 1, 1, 1]);
        assert_eq!(lengths(1 << 30, 2).unwrap(), [2, 2]);
        // Costs, features, gradients, two buffers of two potentials of each point, sizes and places; no blurs.
        let elements = (100 + 30 + 12 + 40) + (16 + 20 + 15 + 16) + 2 * N_COLUMNS as u64;
        assert_eq!(bytes([[6, 4, 3], [1, 3, 5]]), 4 * (elements + 2));
        assert_eq!(bytes([]), 0);
        let error = lengths(399, 65_535).unwrap_err();
        assert!(
            error.to_string().contains("costs of 10 trials at once take 400 bytes"),
            "{error}"
        );
    }

    #[test]
    fn an_empty_cloud_or_schedule_is_refused() {
        assert!(pair(1, 1, 1).check().is_ok());
        for bad in [pair(0, 2, 1), pair(2, 0, 1), pair(1, 1, 0)] {
            assert!(matches!(bad.check(), Err(CoreError::Shape { .. })), "{bad:?}");
        }
    }
}
