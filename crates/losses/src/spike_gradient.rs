//! Gradients at the spikes in compact form, and their inner products for the splitter.
//!
//! Every loss here reaches the spikes through condition sums, population traces or counts in segments of trials, so its gradient at
//! the spikes `[K, T, N]` never has to exist: it is `d_sums[c_k, t, n] + d_traces[k, t, g]/N_g + d_counts[k, s, n]`, where g is the
//! population of neuron n and s the segment of bin t. Inner products and combinations of such gradients have closed forms.

use std::collections::BTreeMap;

use ndarray::{Array2, Array3, ArrayView1, ArrayView2, Axis, s};

use rayon::prelude::*;

use crate::LossError;
use crate::error::{check_indices, check_shape};
use crate::statistics::{Populations, Segments};

/// Gradient of one loss (or a combination) with respect to the spikes of a batch.
#[derive(Debug, Clone, Default)]
pub struct SpikeGradient {
    /// With respect to the spike-count sums `[C, T, N]`; `None` is 0.
    pub d_sums: Option<Array3<f64>>,
    /// With respect to the population traces `[K, T, G]`; `None` is 0.
    pub d_traces: Option<Array3<f64>>,
    /// With respect to the counts of segments `[K, S, N]`; `None` is 0.
    pub d_counts: Option<Array3<f64>>,
}

/// A combination of such gradients with coefficients that differ from bin to bin.
#[derive(Debug, Clone, Default)]
pub struct Combination {
    /// With respect to the spike-count sums `[C, T, N]`; `None` is 0.
    pub d_sums: Option<Array3<f64>>,
    /// With respect to the population traces `[K, T, G]`; `None` is 0.
    pub d_traces: Option<Array3<f64>>,
    /// Σ of these: a coefficient for each bin `[T]`, and the gradient with respect to the counts of segments `[K, S, N]`.
    pub d_counts: Vec<(Vec<f64>, Array3<f64>)>,
}

/// What connects spikes with the statistics of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Stimulus condition of each model trial `[K]`.
    pub conditions: &'a [usize],
    /// Number of conditions C.
    pub n_conditions: usize,
    /// The populations; a neuron may be in several.
    pub populations: &'a Populations,
    /// Time bins T.
    pub n_bins: usize,
    /// Model neurons N.
    pub n_neurons: usize,
    /// Bins that each trial has `[K]`, if not all: at later ones gradients with respect to sums are not its own.
    pub valid_bins: Option<&'a [usize]>,
    /// Segments of trials in which spikes are counted, if a loss sees counts. Where a trial ends within a segment, the gradient at
    /// the segment's count must be 0.
    pub segments: Option<&'a Segments>,
}

impl Batch<'_> {
    fn check(&self, tasks: &[SpikeGradient]) -> Result<(), LossError> {
        check_indices("conditions of the model's trials", self.conditions, self.n_conditions)?;
        let sums = [self.n_conditions, self.n_bins, self.n_neurons];
        let traces = [self.conditions.len(), self.n_bins, self.populations.len()];
        if let Some(valid) = self.valid_bins {
            check_shape(
                "valid bins of the model's trials",
                &[valid.len()],
                &[self.conditions.len()],
            )?;
        }
        for task in tasks {
            if let Some(d_sums) = &task.d_sums {
                check_shape("gradient at the spike sums", d_sums.shape(), &sums)?;
            }
            if let Some(d_traces) = &task.d_traces {
                check_shape("gradient at the population traces", d_traces.shape(), &traces)?;
            }
            if let Some(d_counts) = &task.d_counts {
                let n_segments = self.segments.map_or(0, Segments::len);
                let counts = [self.conditions.len(), n_segments, self.n_neurons];
                check_shape("gradient at the spike counts", d_counts.shape(), &counts)?;
            }
        }
        self.populations
            .groups
            .iter()
            .try_for_each(|g| check_indices("neurons of a population", &g.neurons, self.n_neurons))
    }

    /// Whether trial `k` has bin `t`.
    fn has_bin(&self, k: usize, t: usize) -> bool {
        self.valid_bins.is_none_or(|valid| t < valid[k])
    }

    /// Trials of each condition that have each bin `[C, T]`.
    pub fn trials_at(&self) -> Array2<f64> {
        let mut trials_at = Array2::zeros((self.n_conditions, self.n_bins));
        for (k, &condition) in self.conditions.iter().enumerate() {
            for t in (0..self.n_bins).take_while(|t| self.has_bin(k, *t)) {
                trials_at[[condition, t]] += 1.0;
            }
        }
        trials_at
    }

    /// Inner products of the tasks' gradients at the spikes, at each time step.
    ///
    /// $$G_{ij}(t) = \sum_{k,n} g_i(k,t,n)\,g_j(k,t,n)$$
    ///
    /// # Shapes
    /// Result `[T, n_tasks, n_tasks]`, for [`crate::gradient_split::GradientSplitter::split`]. Cost
    /// O(n_tasks²·(T·(C·N + K·G) + K·S·N)), without an array `[K, T, N]`.
    ///
    /// # Errors
    /// [`LossError::Shape`], [`LossError::Index`] if a gradient does not fit the batch.
    pub fn gram(&self, tasks: &[SpikeGradient]) -> Result<Array3<f64>, LossError> {
        self.check(tasks)?;
        let trials_at = self.trials_at();
        let means = self.condition_means(tasks);
        let overlaps = self.overlaps();
        let counted = Counted::new(self, tasks);
        let mut gram = Array3::zeros((self.n_bins, tasks.len(), tasks.len()));
        for i in 0..tasks.len() {
            for j in 0..=i {
                let (a, b) = (&tasks[i], &tasks[j]);
                let at = |t: usize| {
                    let mut product = 0.0;
                    if let (Some(x), Some(y)) = (&a.d_sums, &b.d_sums) {
                        for (c, &n_trials) in trials_at.column(t).iter().enumerate() {
                            product += inner(&x.slice(s![c, t, ..]), &y.slice(s![c, t, ..]), |_| n_trials);
                        }
                    }
                    if let (Some(x), Some(y)) = (&a.d_traces, &b.d_traces) {
                        for (x, y) in x.outer_iter().zip(y.outer_iter()) {
                            let (x, y) = (x.row(t), y.row(t));
                            product += overlaps.iter().map(|(g, h, share)| share * x[*g] * y[*h]).sum::<f64>();
                        }
                    }
                    for (sums, traces) in [(&means[i], &b.d_traces), (&means[j], &a.d_traces)] {
                        if let (Some(means), Some(traces)) = (sums, traces) {
                            let trials = self.conditions.iter().zip(traces.outer_iter()).enumerate();
                            for (_, (&condition, trace)) in trials.filter(|(k, _)| self.has_bin(*k, t)) {
                                product += inner(&means.slice(s![condition, t, ..]), &trace.row(t), |_| 1.0);
                            }
                        }
                    }
                    product += counted.at(t, [i, j], tasks);
                    // A square summed in parts may come out below 0 by rounding.
                    if i == j && product < 0.0 { 0.0 } else { product }
                };
                let products: Vec<f64> = (0..self.n_bins).into_par_iter().map(at).collect();
                gram.slice_mut(s![.., i, j]).assign(&ndarray::aview1(&products));
                gram.slice_mut(s![.., j, i]).assign(&ndarray::aview1(&products));
            }
        }
        Ok(gram)
    }

    /// Combines the tasks' gradients with one coefficient per time step and task, `Σ_i C[t, i] g_i(t)`.
    ///
    /// # Shapes
    /// `coefficients` `[T, n_tasks]` as the splitter returns them (ones for a plain sum of the losses).
    ///
    /// # Errors
    /// [`LossError::Shape`], [`LossError::Index`] if a gradient or the coefficients do not fit.
    pub fn combine(
        &self,
        tasks: &[SpikeGradient],
        coefficients: &ArrayView2<'_, f64>,
    ) -> Result<Combination, LossError> {
        self.check(tasks)?;
        check_shape(
            "splitter coefficients",
            coefficients.shape(),
            &[self.n_bins, tasks.len()],
        )?;
        let combined = |part: fn(&SpikeGradient) -> Option<&Array3<f64>>| {
            let mut sum: Option<Array3<f64>> = None;
            for (task, coefficients) in tasks.iter().zip(coefficients.columns()) {
                let Some(gradient) = part(task) else { continue };
                let sum = sum.get_or_insert_with(|| Array3::zeros(gradient.raw_dim()));
                let rows: Vec<_> = sum.axis_iter_mut(Axis(1)).zip(gradient.axis_iter(Axis(1))).collect();
                rows.into_par_iter()
                    .zip(coefficients.to_vec())
                    .for_each(|((mut sum, row), coefficient)| sum.scaled_add(coefficient, &row));
            }
            sum
        };
        let counts = tasks.iter().zip(coefficients.columns());
        Ok(Combination {
            d_sums: combined(|task| task.d_sums.as_ref()),
            d_traces: combined(|task| task.d_traces.as_ref()),
            d_counts: counts
                .filter_map(|(task, coefficients)| Some((coefficients.to_vec(), task.d_counts.clone()?)))
                .collect(),
        })
    }

    /// The gradient of a loss at every spike, `[K, T, N]`. Allocates O(K·T·N): for tests and small networks.
    ///
    /// # Errors
    /// [`LossError::Shape`], [`LossError::Index`] if the gradient does not fit the batch.
    pub fn dense(&self, gradient: &SpikeGradient) -> Result<Array3<f64>, LossError> {
        self.check(std::slice::from_ref(gradient))?;
        let gradient = gradient.clone();
        let counts = gradient.d_counts.map(|d| (vec![1.0; self.n_bins], d));
        self.dense_of(&Combination {
            d_sums: gradient.d_sums,
            d_traces: gradient.d_traces,
            d_counts: counts.into_iter().collect(),
        })
    }

    /// The same of a combination.
    ///
    /// # Errors
    /// As [`Self::dense`].
    pub fn dense_of(&self, gradient: &Combination) -> Result<Array3<f64>, LossError> {
        let counts = gradient.d_counts.iter().map(|(_, d)| SpikeGradient {
            d_counts: Some(d.clone()),
            ..SpikeGradient::default()
        });
        let parts = SpikeGradient {
            d_sums: gradient.d_sums.clone(),
            d_traces: gradient.d_traces.clone(),
            d_counts: None,
        };
        self.check(&counts.chain([parts]).collect::<Vec<_>>())?;
        let mut dense = Array3::zeros((self.conditions.len(), self.n_bins, self.n_neurons));
        for (k, mut trial) in dense.outer_iter_mut().enumerate() {
            if let Some(d_sums) = &gradient.d_sums {
                let has = self.valid_bins.map_or(self.n_bins, |valid| valid[k].min(self.n_bins));
                let mut own = trial.slice_mut(s![..has, ..]);
                own += &d_sums.slice(s![self.conditions[k], ..has, ..]);
            }
            if let Some(d_traces) = &gradient.d_traces {
                for (g, group) in self.populations.groups.iter().enumerate() {
                    let trace = d_traces.slice(s![k, .., g]);
                    for &n in &group.neurons {
                        trial.column_mut(n).scaled_add(1.0 / self.size(g), &trace);
                    }
                }
            }
            for (coefficients, d_counts) in &gradient.d_counts {
                let of_bin = self.segments.map_or(&[][..], Segments::of_bin);
                for (t, (&segment, &coefficient)) in of_bin.iter().zip(coefficients).enumerate() {
                    let own = d_counts.slice(s![k, segment as usize, ..]);
                    trial.row_mut(t).scaled_add(coefficient, &own);
                }
            }
        }
        Ok(dense)
    }

    /// Pairs of populations (g, h) with a neuron in common, and how many of them over both sizes: the inner product of
    /// their means at the spikes.
    fn overlaps(&self) -> Vec<(usize, usize, f64)> {
        let mut of_neuron: Vec<Vec<usize>> = vec![Vec::new(); self.n_neurons];
        for (g, group) in self.populations.groups.iter().enumerate() {
            group.neurons.iter().for_each(|&n| of_neuron[n].push(g));
        }
        let mut common = BTreeMap::<(usize, usize), usize>::new();
        for groups in &of_neuron {
            for &g in groups {
                for &h in groups {
                    *common.entry((g, h)).or_default() += 1;
                }
            }
        }
        let pairs = common.into_iter();
        pairs
            .map(|((g, h), n)| (g, h, n as f64 / (self.size(g) * self.size(h))))
            .collect()
    }

    /// Mean of each task's `d_sums` over the neurons of each population, `[C, T, G]`.
    fn condition_means(&self, tasks: &[SpikeGradient]) -> Vec<Option<Array3<f64>>> {
        let mean = |d_sums: &Array3<f64>| {
            let mut means = Array3::zeros((self.n_conditions, self.n_bins, self.populations.len()));
            // Row by row, as the arrays lie in memory.
            let rows: Vec<_> = means.rows_mut().into_iter().zip(d_sums.rows()).collect();
            rows.into_par_iter().for_each(|(mut means, d_sums)| {
                for (mean, group) in means.iter_mut().zip(&self.populations.groups) {
                    let share = 1.0 / group.neurons.len() as f64;
                    *mean = group.neurons.iter().map(|&n| share * d_sums[n]).sum::<f64>();
                }
            });
            means
        };
        tasks.iter().map(|task| task.d_sums.as_ref().map(mean)).collect()
    }

    /// Neurons of population g.
    fn size(&self, g: usize) -> f64 {
        self.populations.groups[g].neurons.len() as f64
    }
}

/// What inner products with gradients at counts need.
struct Counted<'a> {
    batch: &'a Batch<'a>,
    of_bin: &'a [u32],
    /// For each task: sums over the trials of a condition `[C, S, N]`.
    by_condition: Vec<Option<Array3<f64>>>,
    /// For each task: means over the neurons of a population `[K, S, G]`.
    by_population: Vec<Option<Array3<f64>>>,
    /// Of two tasks, inner products in each segment `[S]`.
    products: Vec<Vec<Option<Vec<f64>>>>,
}

impl<'a> Counted<'a> {
    fn new(batch: &'a Batch<'a>, tasks: &[SpikeGradient]) -> Self {
        let has_traces = tasks.iter().any(|task| task.d_traces.is_some());
        let by_condition = tasks.iter().map(|task| {
            let d = task.d_counts.as_ref()?;
            let (_, n_segments, n) = d.dim();
            let mut sums = Array3::zeros((batch.n_conditions, n_segments, n));
            for (&c, own) in batch.conditions.iter().zip(d.outer_iter()) {
                let mut sum = sums.index_axis_mut(Axis(0), c);
                sum += &own;
            }
            Some(sums)
        });
        let by_population = tasks.iter().map(|task| {
            let d = task.d_counts.as_ref().filter(|_| has_traces)?;
            let (k, n_segments, _) = d.dim();
            let groups = &batch.populations.groups;
            Some(Array3::from_shape_fn((k, n_segments, groups.len()), |(k, s, g)| {
                let own = groups[g].neurons.iter().map(|&n| d[[k, s, n]]);
                own.sum::<f64>() / batch.size(g)
            }))
        });
        let products = tasks.iter().map(|a| {
            let with = |b: &SpikeGradient| {
                let (a, b) = (a.d_counts.as_ref()?, b.d_counts.as_ref()?);
                let of_segment = |s: usize| (&a.index_axis(Axis(1), s) * &b.index_axis(Axis(1), s)).sum();
                Some((0..a.dim().1).into_par_iter().map(of_segment).collect())
            };
            tasks.iter().map(with).collect()
        });
        Self {
            batch,
            of_bin: batch.segments.map_or(&[], Segments::of_bin),
            by_condition: by_condition.collect(),
            by_population: by_population.collect(),
            products: products.collect(),
        }
    }

    /// The part of the inner product of two tasks at bin `t` that has gradients at counts.
    fn at(&self, t: usize, [i, j]: [usize; 2], tasks: &[SpikeGradient]) -> f64 {
        let Some(&segment) = self.of_bin.get(t) else { return 0.0 };
        let segment = segment as usize;
        let mut product = self.products[i][j].as_ref().map_or(0.0, |products| products[segment]);
        for (counts, other) in [(i, j), (j, i)] {
            if let (Some(sums), Some(d_sums)) = (&self.by_condition[counts], &tasks[other].d_sums) {
                for (x, y) in sums.outer_iter().zip(d_sums.outer_iter()) {
                    product += inner(&x.row(segment), &y.row(t), |_| 1.0);
                }
            }
            if let (Some(means), Some(d_traces)) = (&self.by_population[counts], &tasks[other].d_traces) {
                for (k, (x, y)) in means.outer_iter().zip(d_traces.outer_iter()).enumerate() {
                    if self.batch.has_bin(k, t) {
                        product += inner(&x.row(segment), &y.row(t), |_| 1.0);
                    }
                }
            }
        }
        product
    }
}

/// Σ_i weight(i)·x·y.
fn inner(x: &ArrayView1<'_, f64>, y: &ArrayView1<'_, f64>, weight: impl Fn(usize) -> f64) -> f64 {
    let pairs = x.iter().zip(y).enumerate();
    pairs.map(|(i, (x, y))| weight(i) * x * y).sum()
}

/// Coefficients of a plain sum of the losses: all ones, `[T, n_tasks]`.
pub fn plain_sum(n_bins: usize, n_tasks: usize) -> Array2<f64> {
    Array2::ones((n_bins, n_tasks))
}
