//! UMAP: a plane in which trials that are alike lie together.
//!
//! Exact neighbours, fuzzy graph, spectral start, stochastic gradient descent with negative samples, and the projection of
//! further points into a plane that is there. Settings are the defaults of umap-learn: 15 neighbours, least distance 0.1,
//! spread 1, 500 epochs. Everything runs in one thread from one generator, so that the number of
//! threads changes nothing.
//!
//! # Source
//! McInnes, Healy, Melville: UMAP: uniform manifold approximation and projection for dimension reduction.
//! arXiv:1802.03426v3, algorithms 1–5; constants of umap-learn 0.5.
//!
//! # Departures
//! A graph of several components starts from the first two principal components.

use super::clusters::Clusters;
use super::pca::Pca;
use crate::LossError;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rand::{Rng, RngExt};
use std::collections::BTreeMap;

/// Neighbours of a point, itself included.
const N_NEIGHBORS: usize = 15;
/// `1/(1 + a·d^{2b})`: how near points of the plane are, for a least distance of 0.1 and a spread of 1.
const A: f64 = 1.576_943_460_269_765_2;
/// See [`A`].
const B: f64 = 0.895_060_877_851_573_3;
/// Rounds over the edges.
const EPOCHS: usize = 500;
/// Rounds for further points.
const EPOCHS_OF_PROJECTION: usize = 100;
/// Step at the beginning of the layout; of a projection a quarter.
const STEP: f64 = 1.0;
/// Points pushed away for each one pulled near.
const NEGATIVE_SAMPLES: f64 = 5.0;
/// Largest coordinate of the gradient of a pair.
const CLIP: f64 = 4.0;
/// Least bandwidth, relative to the mean distance.
const LEAST_BANDWIDTH: f64 = 1e-3;

/// A plane with the points that made it.
#[derive(Debug, Clone)]
pub struct Umap {
    /// The points `[K, F]`.
    data: Array2<f64>,
    /// Where they lie `[K, 2]`.
    embedding: Array2<f64>,
}

/// Weighted directed edges, in order of both ends.
type Graph = BTreeMap<(usize, usize), f64>;

/// Distances within which a point's neighbours count as near.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scale {
    /// Distance to the nearest neighbour, ρ.
    nearest: f64,
    /// Bandwidth beyond it, σ.
    bandwidth: f64,
}

impl Umap {
    /// Lays points `[K, F]` out in a plane.
    ///
    /// Allocates K² distances.
    ///
    /// # Errors
    /// [`LossError::NoData`] for fewer than 5 points; [`LossError::NonFinite`].
    pub fn fit<R: Rng + ?Sized>(data: &ArrayView2<'_, f64>, rng: &mut R) -> Result<Self, LossError> {
        let graph = graph_of(data)?;
        let mut embedding = start(data, &graph, rng)?;
        let edges: Vec<_> = graph.iter().map(|(&(i, j), &w)| (i, j, w)).collect();
        let layout = Layout {
            epochs: EPOCHS,
            step: STEP,
            fixed: None,
        };
        layout.optimize(&edges, &mut embedding, rng);
        Ok(Self {
            data: data.to_owned(),
            embedding,
        })
    }

    /// Where the points lie, `[K, 2]`.
    pub fn embedding(&self) -> &Array2<f64> {
        &self.embedding
    }

    /// Where further points `[M, F]` lie, `[M, 2]`; the plane stays as it is.
    ///
    /// # Errors
    /// [`LossError::Shape`] for another number of features, [`LossError::NonFinite`].
    pub fn project<R: Rng + ?Sized>(
        &self,
        points: &ArrayView2<'_, f64>,
        rng: &mut R,
    ) -> Result<Array2<f64>, LossError> {
        crate::error::check_shape("features of points to project", &[points.ncols()], &[self.data.ncols()])?;
        crate::error::check_finite("points to project", points)?;
        let k = N_NEIGHBORS.min(self.data.nrows());
        let mut placed = Array2::zeros((points.nrows(), 2));
        let mut edges = Vec::new();
        for (i, point) in points.outer_iter().enumerate() {
            let neighbors = nearest(&self.data.view(), &point, k);
            let scale = Scale::of(&neighbors, 0.0, mean_distance(std::slice::from_ref(&neighbors)));
            let weights: Vec<f64> = neighbors.iter().map(|&(_, d)| scale.membership(d)).collect();
            let total: f64 = weights.iter().sum();
            for (&(j, _), w) in neighbors.iter().zip(&weights) {
                placed.row_mut(i).scaled_add(w / total, &self.embedding.row(j));
                if *w > 0.0 {
                    edges.push((i, j, *w));
                }
            }
        }
        let layout = Layout {
            epochs: EPOCHS_OF_PROJECTION,
            step: 0.25 * STEP,
            fixed: Some(&self.embedding),
        };
        layout.optimize(&edges, &mut placed, rng);
        Ok(placed)
    }
}

/// Clusters of points `[K, F]` that hang together: k-means of the first eigenvectors of the Laplacian of UMAP's fuzzy graph.
///
/// Unlike k-means of the points themselves it finds clusters of unequal size that are long in some direction, such as trials
/// whose gain varies. Returns the cluster of each point `[K]`.
///
/// # Errors
/// [`LossError::NoData`] for fewer than 5 points, no cluster or fewer points than clusters; [`LossError::NonFinite`].
///
/// # Source
/// Ng, Jordan, Weiss: On spectral clustering: analysis and an algorithm. NIPS 2001.
pub fn graph_clusters<R: Rng + ?Sized>(
    data: &ArrayView2<'_, f64>,
    n_clusters: usize,
    rng: &mut R,
) -> Result<Vec<usize>, LossError> {
    let graph = graph_of(data)?;
    let mut rows = eigenvectors(&graph, data.nrows(), n_clusters);
    for mut row in rows.outer_iter_mut() {
        let length = row.dot(&row).sqrt();
        if length > 0.0 {
            row /= length;
        }
    }
    Ok(Clusters::k_means(&rows.view(), n_clusters, rng)?.labels)
}

/// The fuzzy graph of points.
fn graph_of(data: &ArrayView2<'_, f64>) -> Result<Graph, LossError> {
    let n = data.nrows();
    if n < 5 {
        return Err(LossError::NoData {
            what: "graph of neighbours",
            reason: format!("{n} points; at least 5 are needed"),
        });
    }
    crate::error::check_finite("points to embed", data)?;
    let k = N_NEIGHBORS.min(n);
    let neighbors: Vec<Vec<(usize, f64)>> = (0..n).map(|i| nearest(data, &data.row(i), k)).collect();
    Ok(fuzzy_graph(&neighbors))
}

/// The k nearest rows and their Euclidean distances, nearest first; ties by index.
fn nearest(data: &ArrayView2<'_, f64>, point: &ArrayView1<'_, f64>, k: usize) -> Vec<(usize, f64)> {
    let mut all: Vec<(usize, f64)> = data
        .outer_iter()
        .map(|row| {
            row.iter()
                .zip(point)
                .map(|(a, b)| (a - b) * (a - b))
                .sum::<f64>()
                .sqrt()
        })
        .enumerate()
        .collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

fn mean_distance(neighbors: &[Vec<(usize, f64)>]) -> f64 {
    let (sum, n) = neighbors
        .iter()
        .flatten()
        .fold((0.0, 0usize), |(sum, n), (_, d)| (sum + d, n + 1));
    sum / n.max(1) as f64
}

impl Scale {
    /// ρ is the `connectivity`-th distance above 0 (0: none); σ solves `Σ exp(−max(d − ρ, 0)/σ) = log₂ k` over the
    /// neighbours but the first.
    fn of(neighbors: &[(usize, f64)], connectivity: f64, mean_of_all: f64) -> Self {
        let above_0: Vec<f64> = neighbors.iter().map(|n| n.1).filter(|d| *d > 0.0).collect();
        let nearest = if connectivity >= 1.0 {
            above_0.first().copied().unwrap_or(0.0)
        } else {
            0.0
        };
        let target = (neighbors.len() as f64).log2();
        let (mut low, mut high, mut bandwidth) = (0.0, f64::INFINITY, 1.0);
        for _ in 0..64 {
            let term = |d: f64| {
                let beyond = d - nearest;
                if beyond > 0.0 { (-beyond / bandwidth).exp() } else { 1.0 }
            };
            let sum: f64 = neighbors.iter().skip(1).map(|n| term(n.1)).sum();
            if (sum - target).abs() < 1e-5 {
                break;
            }
            if sum > target {
                high = bandwidth;
                bandwidth = f64::midpoint(low, high);
            } else {
                low = bandwidth;
                bandwidth = if high.is_finite() {
                    f64::midpoint(low, high)
                } else {
                    2.0 * bandwidth
                };
            }
        }
        let own_mean = neighbors.iter().map(|n| n.1).sum::<f64>() / neighbors.len().max(1) as f64;
        let mean = if nearest > 0.0 { own_mean } else { mean_of_all };
        Self {
            nearest,
            bandwidth: bandwidth.max(LEAST_BANDWIDTH * mean),
        }
    }

    fn membership(self, distance: f64) -> f64 {
        let beyond = distance - self.nearest;
        if beyond <= 0.0 || self.bandwidth == 0.0 {
            1.0
        } else {
            (-beyond / self.bandwidth).exp()
        }
    }
}

/// Fuzzy union of the neighbourhoods: `w = a + aᵀ − a·aᵀ`, both directions.
fn fuzzy_graph(neighbors: &[Vec<(usize, f64)>]) -> Graph {
    let mean = mean_distance(neighbors);
    let mut directed = Graph::new();
    for (i, near) in neighbors.iter().enumerate() {
        let scale = Scale::of(near, 1.0, mean);
        for &(j, d) in near.iter().filter(|(j, _)| *j != i) {
            directed.insert((i, j), scale.membership(d));
        }
    }
    let mut graph = Graph::new();
    for (&(i, j), &w) in &directed {
        let back = directed.get(&(j, i)).copied().unwrap_or(0.0);
        let joined = w + back - w * back;
        graph.insert((i, j), joined);
        graph.insert((j, i), joined);
    }
    graph
}

/// First positions, in [0, 10]²: eigenvectors of the graph's normalised Laplacian, or principal components.
fn start<R: Rng + ?Sized>(data: &ArrayView2<'_, f64>, graph: &Graph, rng: &mut R) -> Result<Array2<f64>, LossError> {
    let n = data.nrows();
    let mut placed = if is_connected(graph, n) {
        eigenvectors(graph, n, 3).slice_move(ndarray::s![.., 1..])
    } else {
        Pca::fit(data, 2)?.transform(data)?
    };
    if placed.ncols() < 2 {
        // Data of one feature have one component.
        let line = placed;
        placed = Array2::zeros((n, 2));
        placed.slice_mut(ndarray::s![.., ..line.ncols()]).assign(&line);
    }
    let largest = placed.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    let expansion = if largest > 0.0 { 10.0 / largest } else { 1.0 };
    placed.mapv_inplace(|x| x * expansion + 1e-4 * normal(rng));
    for mut axis in placed.axis_iter_mut(Axis(1)) {
        let (low, high) = axis
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(*x), h.max(*x)));
        if high > low {
            axis.mapv_inplace(|x| 10.0 * (x - low) / (high - low));
        }
    }
    Ok(placed)
}

/// A standard normal (Box and Muller).
fn normal<R: Rng + ?Sized>(rng: &mut R) -> f64 {
    let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

fn is_connected(graph: &Graph, n: usize) -> bool {
    let mut seen = vec![false; n];
    let mut open = vec![0];
    seen[0] = true;
    while let Some(i) = open.pop() {
        for (&(_, j), _) in graph.range((i, 0)..=(i, usize::MAX)) {
            if !std::mem::replace(&mut seen[j], true) {
                open.push(j);
            }
        }
    }
    seen.iter().all(|s| *s)
}

/// The first eigenvectors of `I − D^{−1/2} W D^{−1/2}`, smallest eigenvalue first, `[n, count]`.
fn eigenvectors(graph: &Graph, n: usize, count: usize) -> Array2<f64> {
    let mut degree = Array1::<f64>::zeros(n);
    for (&(i, _), w) in graph {
        degree[i] += w;
    }
    let mut laplacian = nalgebra::DMatrix::<f64>::identity(n, n);
    for (&(i, j), w) in graph {
        laplacian[(i, j)] -= w / (degree[i] * degree[j]).sqrt();
    }
    let eigen = laplacian.symmetric_eigen();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[a].total_cmp(&eigen.eigenvalues[b]));
    let count = count.min(n);
    let mut vectors = Array2::zeros((n, count));
    for (column, mut out) in order.into_iter().zip(vectors.axis_iter_mut(Axis(1))) {
        let vector = eigen.eigenvectors.column(column);
        let sign = super::pca::sign(vector.iter().copied());
        out.iter_mut().zip(vector.iter()).for_each(|(to, x)| *to = sign * x);
    }
    vectors
}

/// Stochastic gradient descent along edges.
struct Layout<'a> {
    epochs: usize,
    step: f64,
    /// Where the second ends of the edges lie, if they don't move.
    fixed: Option<&'a Array2<f64>>,
}

impl Layout<'_> {
    fn optimize<R: Rng + ?Sized>(&self, edges: &[(usize, usize, f64)], placed: &mut Array2<f64>, rng: &mut R) {
        let strongest = edges.iter().map(|e| e.2).fold(0.0, f64::max);
        // An edge of weight w is visited in w/strongest of the epochs.
        let edges: Vec<(usize, usize, f64)> = edges
            .iter()
            .filter(|e| e.2 * self.epochs as f64 >= strongest)
            .map(|&(i, j, w)| (i, j, strongest / w))
            .collect();
        let mut next: Vec<f64> = edges.iter().map(|e| e.2).collect();
        let mut next_negative: Vec<f64> = edges.iter().map(|e| e.2 / NEGATIVE_SAMPLES).collect();
        for epoch in 0..self.epochs {
            let step = self.step * (1.0 - epoch as f64 / self.epochs as f64);
            for (e, &(i, j, every)) in edges.iter().enumerate() {
                if next[e] > epoch as f64 {
                    continue;
                }
                self.attract(placed, i, j, step);
                next[e] += every;
                let every_negative = every / NEGATIVE_SAMPLES;
                let count = ((epoch as f64 - next_negative[e]) / every_negative).max(0.0) as usize;
                for _ in 0..count {
                    self.repel(placed, i, step, rng);
                }
                next_negative[e] += count as f64 * every_negative;
            }
        }
    }

    /// From point j to point i, and the squared distance.
    fn between(&self, placed: &Array2<f64>, i: usize, j: usize) -> ([f64; 2], f64) {
        let others = self.fixed.unwrap_or(placed);
        let difference = [0, 1].map(|axis| placed[[i, axis]] - others[[j, axis]]);
        (
            difference,
            difference[0] * difference[0] + difference[1] * difference[1],
        )
    }

    fn attract(&self, placed: &mut Array2<f64>, i: usize, j: usize, step: f64) {
        let (difference, squared) = self.between(placed, i, j);
        if squared == 0.0 {
            return;
        }
        let slope = -2.0 * A * B * squared.powf(B - 1.0) / (A * squared.powf(B) + 1.0);
        for axis in 0..2 {
            let move_by = step * (slope * difference[axis]).clamp(-CLIP, CLIP);
            placed[[i, axis]] += move_by;
            if self.fixed.is_none() {
                placed[[j, axis]] -= move_by;
            }
        }
    }

    fn repel<R: Rng + ?Sized>(&self, placed: &mut Array2<f64>, i: usize, step: f64, rng: &mut R) {
        let others = self.fixed.map_or(placed.nrows(), Array2::nrows);
        let j = rng.random_range(0..others);
        if self.fixed.is_none() && i == j {
            return;
        }
        let (difference, squared) = self.between(placed, i, j);
        if squared == 0.0 {
            return;
        }
        let slope = 2.0 * B / ((0.001 + squared) * (A * squared.powf(B) + 1.0));
        for axis in 0..2 {
            placed[[i, axis]] += step * (slope * difference[axis]).clamp(-CLIP, CLIP);
        }
    }
}

#[cfg(test)]
#[path = "umap_tests.rs"]
mod tests;
