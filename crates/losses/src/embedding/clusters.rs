//! Clusters of trials: k-means, and how well separated they are.

use crate::LossError;
use crate::distances::squared_distance;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rand::{Rng, RngExt};

/// Starts of which the best result is kept.
const N_STARTS: usize = 20;
/// Rounds of one start at most.
const MAX_ROUNDS: usize = 300;

/// A division of points into clusters.
#[derive(Debug, Clone, PartialEq)]
pub struct Clusters {
    /// Centres `[C, F]`.
    pub centers: Array2<f64>,
    /// Cluster of each point `[K]`.
    pub labels: Vec<usize>,
    /// Sum of squared distances of the points to their centres.
    pub inertia: f64,
}

impl Clusters {
    /// k-means of points `[K, F]` into at most `n_clusters` clusters: the best of 20 k-means++ starts.
    ///
    /// # Errors
    /// [`LossError::NoData`] for no cluster or fewer points than clusters; [`LossError::NonFinite`].
    ///
    /// # Source
    /// Lloyd 1982; Arthur and Vassilvitskii: k-means++: the advantages of careful seeding. SODA 2007.
    pub fn k_means<R: Rng + ?Sized>(
        data: &ArrayView2<'_, f64>,
        n_clusters: usize,
        rng: &mut R,
    ) -> Result<Self, LossError> {
        if n_clusters == 0 || data.nrows() < n_clusters {
            return Err(LossError::NoData {
                what: "clusters",
                reason: format!("{} points for {n_clusters} clusters", data.nrows()),
            });
        }
        crate::error::check_finite("points to cluster", data)?;
        let mut best = Self::from_start(data, seeds(data, n_clusters, rng));
        for _ in 1..N_STARTS {
            let other = Self::from_start(data, seeds(data, n_clusters, rng));
            if other.inertia < best.inertia {
                best = other;
            }
        }
        Ok(best)
    }

    /// A division that is known: labels below `n_clusters` of points `[K, F]`. The centre of a cluster without points is 0.
    ///
    /// # Errors
    /// [`LossError::Shape`] or [`LossError::Index`] for labels that don't fit.
    pub fn of_labels(data: &ArrayView2<'_, f64>, labels: Vec<usize>, n_clusters: usize) -> Result<Self, LossError> {
        crate::error::check_shape("labels of points", &[labels.len()], &[data.nrows()])?;
        crate::error::check_indices("labels of points", &labels, n_clusters)?;
        let mut centers = Array2::zeros((n_clusters, data.ncols()));
        for (c, mut center) in centers.outer_iter_mut().enumerate() {
            let members: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] == c).collect();
            if let Some(mean) = data.select(Axis(0), &members).mean_axis(Axis(0)) {
                center.assign(&mean);
            }
        }
        let own = data.outer_iter().zip(&labels);
        let inertia = own.map(|(point, c)| squared_distance(&point, &centers.row(*c))).sum();
        Ok(Self {
            centers,
            labels,
            inertia,
        })
    }

    /// Lloyd's rounds until no label changes.
    fn from_start(data: &ArrayView2<'_, f64>, mut centers: Array2<f64>) -> Self {
        let mut labels: Vec<usize> = Vec::new();
        for _ in 0..MAX_ROUNDS {
            let found: Vec<usize> = data.outer_iter().map(|point| closest(&centers, &point).0).collect();
            if found == labels {
                break;
            }
            labels = found;
            for (c, mut center) in centers.outer_iter_mut().enumerate() {
                let members: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] == c).collect();
                // A cluster that lost all its points stays where it was.
                if let Some(mean) = data.select(Axis(0), &members).mean_axis(Axis(0)) {
                    center.assign(&mean);
                }
            }
        }
        let inertia = data.outer_iter().map(|point| closest(&centers, &point).1).sum();
        Self {
            centers,
            labels,
            inertia,
        }
    }

    /// Silhouette of each point `[K]`: near 1 for clusters far apart, about 0 where they are parts of one cloud.
    ///
    /// A point alone in its cluster has 0. None for fewer than two clusters with points.
    ///
    /// # Source
    /// Rousseeuw 1987: Silhouettes: a graphical aid to the interpretation and validation of cluster analysis.
    pub fn silhouettes(&self, data: &ArrayView2<'_, f64>) -> Option<Vec<f64>> {
        let n_clusters = self.centers.nrows();
        let size = |c: usize| self.labels.iter().filter(|l| **l == c).count();
        let sizes: Vec<usize> = (0..n_clusters).map(size).collect();
        if sizes.iter().filter(|n| **n > 0).count() < 2 {
            return None;
        }
        let mut silhouettes = vec![0.0; data.nrows()];
        for (i, point) in data.outer_iter().enumerate() {
            let own = self.labels[i];
            if sizes[own] < 2 {
                continue;
            }
            let mut sums = vec![0.0; n_clusters];
            for (other, label) in data.outer_iter().zip(&self.labels) {
                sums[*label] += squared_distance(&point, &other).sqrt();
            }
            let within = sums[own] / (sizes[own] - 1) as f64;
            let between = (0..n_clusters)
                .filter(|c| *c != own && sizes[*c] > 0)
                .map(|c| sums[c] / sizes[c] as f64)
                .fold(f64::INFINITY, f64::min);
            let scale = within.max(between);
            if scale > 0.0 {
                silhouettes[i] = (between - within) / scale;
            }
        }
        Some(silhouettes)
    }
}

/// Nearest centre and squared distance; ties go to the first.
fn closest(centers: &Array2<f64>, point: &ArrayView1<'_, f64>) -> (usize, f64) {
    let mut best = (0, f64::INFINITY);
    for (c, center) in centers.outer_iter().enumerate() {
        let distance = squared_distance(&center, point);
        if distance < best.1 {
            best = (c, distance);
        }
    }
    best
}

/// k-means++: each further centre is a point drawn in proportion to its squared distance from those there are.
fn seeds<R: Rng + ?Sized>(data: &ArrayView2<'_, f64>, n_clusters: usize, rng: &mut R) -> Array2<f64> {
    let mut centers = Array2::zeros((n_clusters, data.ncols()));
    centers.row_mut(0).assign(&data.row(rng.random_range(0..data.nrows())));
    let mut distances = Array1::<f64>::from_elem(data.nrows(), f64::INFINITY);
    for c in 1..n_clusters {
        let last = centers.row(c - 1).to_owned();
        for (distance, point) in distances.iter_mut().zip(data.outer_iter()) {
            *distance = distance.min(squared_distance(&point, &last.view()));
        }
        let mut left = rng.random::<f64>() * distances.sum();
        // Where all points are centres already, the last one is taken again.
        let mut chosen = data.nrows() - 1;
        for (i, distance) in distances.iter().enumerate() {
            left -= distance;
            if left < 0.0 {
                chosen = i;
                break;
            }
        }
        centers.row_mut(c).assign(&data.row(chosen));
    }
    centers
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    /// 30, 20 and 10 points around three places.
    fn groups() -> Array2<f64> {
        let places = [[0.0, 0.0], [10.0, 0.0], [0.0, 12.0]];
        Array2::from_shape_fn((60, 2), |(i, axis)| {
            let group = usize::from(i >= 30) + usize::from(i >= 50);
            places[group][axis] + ((i * (axis + 3) * 37 % 17) as f64 - 8.0) / 16.0
        })
    }

    #[test]
    fn groups_are_found_and_their_silhouette_is_near_one() {
        let data = groups();
        let mut rng = rand::rngs::SmallRng::seed_from_u64(3);
        let found = Clusters::k_means(&data.view(), 3, &mut rng).unwrap();
        let of_group = |range: std::ops::Range<usize>| {
            let labels: Vec<usize> = found.labels[range].to_vec();
            assert!(labels.iter().all(|l| *l == labels[0]));
            labels[0]
        };
        let mut labels = [of_group(0..30), of_group(30..50), of_group(50..60)];
        assert!((found.centers[[labels[1], 0]] - 10.0).abs() < 0.5);
        labels.sort_unstable();
        assert_eq!(labels, [0, 1, 2]);
        let mean = |s: Option<Vec<f64>>| crate::statistics::mean(&s.unwrap());
        let silhouette = mean(found.silhouettes(&data.view()));
        assert!(silhouette > 0.9, "{silhouette}");
        let halves = Clusters::k_means(&data.slice(ndarray::s![..30, ..]), 2, &mut rng).unwrap();
        assert!(mean(halves.silhouettes(&data.slice(ndarray::s![..30, ..]))) < 0.6);
    }

    #[test]
    fn too_few_points_are_an_error_and_equal_points_are_none() {
        let mut rng = rand::rngs::SmallRng::seed_from_u64(3);
        let same = Array2::<f64>::ones((4, 2));
        assert!(Clusters::k_means(&same.view(), 5, &mut rng).is_err());
        assert!(Clusters::k_means(&same.view(), 0, &mut rng).is_err());
        let found = Clusters::k_means(&same.view(), 2, &mut rng).unwrap();
        assert_eq!(found.inertia, 0.0);
        assert!(found.silhouettes(&same.view()).is_none());
    }
}
