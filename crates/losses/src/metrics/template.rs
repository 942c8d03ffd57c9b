//! Trial types of model trials by template matching: which recorded type a trial resembles most.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::{Array1, Array2, Array3, ArrayView3, Axis};

use crate::LossError;
use crate::error::check_shape;
use crate::statistics::{FEATURE_STD_FLOOR, Filters, Recording, TrialSelection, mean, unbiased_variance};

/// How templates are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemplateOptions {
    /// Compare behaviour too, where every type has some.
    pub has_behaviour: bool,
    /// Normalise the model's behaviour like the template's. The published program does not, which
    /// compares numbers in different units.
    pub is_model_behaviour_normalized: bool,
}

impl Default for TemplateOptions {
    fn default() -> Self {
        Self {
            has_behaviour: false,
            is_model_behaviour_normalized: true,
        }
    }
}

/// Mean activity of each area in each trial type, from training data.
#[derive(Debug, Clone)]
pub struct TrialTypeTemplates {
    types: Vec<usize>,
    areas: Vec<usize>,
    neurons: Vec<Vec<usize>>, // of each area used
    area_blocks: Vec<Block>,
    /// Behaviour channels, and a block of each.
    channels: Vec<usize>,
    behaviour_blocks: Vec<Block>,
    filters: Filters,
    options: TemplateOptions,
}

/// Normalised templates of one area or behaviour channel.
#[derive(Debug, Clone)]
struct Block {
    mean: f64,
    std: f64,
    templates: Array2<f64>, // [types, T2]
}

impl Block {
    fn new(mut templates: Array2<f64>) -> Self {
        let values: Vec<f64> = templates.iter().copied().collect();
        let std = unbiased_variance(&values).sqrt();
        let std = if std >= FEATURE_STD_FLOOR { std } else { 1.0 };
        let mean = mean(&values);
        templates.mapv_inplace(|value| (value - mean) / std);
        Self { mean, std, templates }
    }
}

impl TrialTypeTemplates {
    /// Templates of the selected (training) trials.
    ///
    /// For each area and type: the trial mean of filter2∘filter1 of the summed counts of the area's
    /// neurons, summed over the sessions that have the type, divided by their number of neurons. Blocks are
    /// then centred and scaled by one mean and standard deviation over time and types. Behaviour: the mean
    /// over sessions of the trial mean. Complete trials only. An area in which some type was never
    /// recorded is left out (see [`Self::areas`]).
    ///
    /// # Errors
    /// [`LossError::Shape`], [`LossError::Index`] for a selection of other sessions or trials, or filters
    /// for other trials; [`LossError::NoData`] without complete trials or without an area that has every type.
    ///
    /// # Source
    /// Sourmpis et al. 2023, `return_trial_type`; there all types occur in all sessions, so that the
    /// divisor is the number of neurons of the area.
    pub fn new(
        recording: &Recording,
        selection: &TrialSelection,
        filters: Filters,
        options: TemplateOptions,
    ) -> Result<Self, LossError> {
        recording.check_selection(selection)?;
        check_shape("bins of the filters", &[filters.n_bins()], &[recording.n_bins()])?;
        let means = type_means(recording, selection, &filters, options.has_behaviour);
        let types: Vec<usize> = means.types.iter().copied().collect();
        let (mut areas, mut neurons, mut area_blocks) = (Vec::new(), Vec::new(), Vec::new());
        for area in 0..recording.area_names().len() {
            let Some(block) = means.area_block(area, &types) else {
                continue;
            };
            area_blocks.push(block);
            areas.push(area);
            neurons.push(neurons_of_area(recording, area));
        }
        if area_blocks.is_empty() {
            return Err(LossError::NoData {
                what: "trial-type templates",
                reason: "no area has complete trials of every trial type; give training trials of \
                         each type"
                    .to_owned(),
            });
        }
        let (channels, behaviour_blocks) = means.behaviour_blocks(&types);
        Ok(Self {
            types,
            areas,
            neurons,
            area_blocks,
            channels,
            behaviour_blocks,
            filters,
            options,
        })
    }

    /// The trial types, ascending.
    pub fn types(&self) -> &[usize] {
        &self.types
    }

    /// The areas compared, ascending.
    pub fn areas(&self) -> &[usize] {
        &self.areas
    }

    /// Model neurons whose mean spikes make the trace of each area compared.
    pub fn neurons(&self) -> &[Vec<usize>] {
        &self.neurons
    }

    /// Behaviour channels compared, ascending: those recorded in trials of every type; none if not asked for.
    pub fn channels(&self) -> &[usize] {
        &self.channels
    }

    /// Single trials as the templates see them: filtered traces of each area, normalised like the template's, `[K, A·T2]`.
    ///
    /// # Shapes
    /// `traces` as in [`Self::classify`].
    ///
    /// # Errors
    /// [`LossError::Shape`] if areas or bins do not fit.
    pub fn rows(&self, traces: &ArrayView3<'_, f64>) -> Result<Array2<f64>, LossError> {
        let (n_trials, n_bins) = (traces.shape()[0], self.filters.n_bins());
        check_shape("area traces", traces.shape(), &[n_trials, n_bins, self.areas.len()])?;
        let population = self.filters.features(traces);
        let t2 = self.filters.n_feature_bins();
        Ok(Array2::from_shape_fn((n_trials, self.areas.len() * t2), |(k, i)| {
            let block = &self.area_blocks[i / t2];
            (population[[k, i % t2, i / t2]] - block.mean) / block.std
        }))
    }

    /// The templates as such rows, `[types, A·T2]`.
    pub fn rows_of_templates(&self) -> Array2<f64> {
        let t2 = self.filters.n_feature_bins();
        Array2::from_shape_fn((self.types.len(), self.areas.len() * t2), |(y, i)| {
            self.area_blocks[i / t2].templates[[y, i % t2]]
        })
    }

    /// Trial type of each model trial: the type whose templates have the least mean squared distance over
    /// all blocks (the lowest type in a tie).
    ///
    /// # Shapes
    /// `traces` `[K, T, A]`: mean spikes over [`Self::neurons`] of each area compared; `behaviour`
    /// `[K, T, B]` of the [`Self::channels`], needed if there are any. Result `[K]`.
    ///
    /// # Errors
    /// [`LossError::Shape`] if areas, bins or behaviour do not fit.
    pub fn classify(
        &self,
        traces: &ArrayView3<'_, f64>,
        behaviour: Option<&ArrayView3<'_, f64>>,
    ) -> Result<Vec<usize>, LossError> {
        let (n_trials, n_bins, n_channels) = (traces.shape()[0], self.filters.n_bins(), self.behaviour_blocks.len());
        check_shape("area traces", traces.shape(), &[n_trials, n_bins, self.areas.len()])?;
        let population = self.filters.features(traces);
        let mut distance = Array2::zeros((n_trials, self.types.len()));
        for (g, block) in self.area_blocks.iter().enumerate() {
            add_distances(&mut distance, block, &population, g, true);
        }
        if n_channels > 0 {
            let found = behaviour.map_or(&[][..], |b| b.shape());
            check_shape("behaviour for templates", found, &[n_trials, n_bins, n_channels])?;
            if let Some(behaviour) = behaviour.map(|b| self.filters.features(b)) {
                let is_normalized = self.options.is_model_behaviour_normalized;
                for (b, block) in self.behaviour_blocks.iter().enumerate() {
                    add_distances(&mut distance, block, &behaviour, b, is_normalized);
                }
            }
        }
        Ok(distance
            .outer_iter()
            .map(|row| {
                let mut best = 0;
                for (y, d) in row.iter().enumerate() {
                    if *d < row[best] {
                        best = y;
                    }
                }
                self.types[best]
            })
            .collect())
    }
}

fn add_distances(
    distance: &mut Array2<f64>,
    block: &Block,
    filtered: &Array3<f64>,
    channel: usize,
    is_normalized: bool,
) {
    let (mean, std) = if is_normalized {
        (block.mean, block.std)
    } else {
        (0.0, 1.0)
    };
    for (mut row, trial) in distance.outer_iter_mut().zip(filtered.outer_iter()) {
        for (d, template) in row.iter_mut().zip(block.templates.outer_iter()) {
            let trace = trial.index_axis(Axis(1), channel);
            *d += trace
                .iter()
                .zip(template)
                .map(|(x, y)| ((x - mean) / std - y).powi(2))
                .sum::<f64>();
        }
    }
}

fn neurons_of_area(recording: &Recording, area: usize) -> Vec<usize> {
    recording
        .sessions()
        .iter()
        .flat_map(|session| {
            let columns = session.neurons.iter().zip(&session.areas).enumerate();
            columns.filter(move |(column, (_, a))| **a == area && session.is_kept(*column))
        })
        .map(|(_, (&neuron, _))| neuron)
        .collect()
}

/// Sums that make the templates, by (area or channel, type).
#[derive(Default)]
struct TypeMeans {
    types: BTreeSet<usize>,
    areas: BTreeMap<(usize, usize), (Array1<f64>, usize)>, // Σ_S trial mean of summed counts, neurons
    channels: BTreeMap<(usize, usize), (Array1<f64>, usize)>, // Σ_S trial mean, sessions
}

impl TypeMeans {
    fn area_block(&self, area: usize, types: &[usize]) -> Option<Block> {
        block(&self.areas, area, types)
    }

    /// Channels that have a template of every type, and these.
    fn behaviour_blocks(&self, types: &[usize]) -> (Vec<usize>, Vec<Block>) {
        let channels: BTreeSet<usize> = self.channels.keys().map(|&(channel, _)| channel).collect();
        channels
            .into_iter()
            .filter_map(|channel| Some((channel, block(&self.channels, channel, types)?)))
            .unzip()
    }
}

fn block(means: &BTreeMap<(usize, usize), (Array1<f64>, usize)>, key: usize, types: &[usize]) -> Option<Block> {
    let rows: Vec<Array1<f64>> = types
        .iter()
        .map(|&y| means.get(&(key, y)).map(|(sum, n)| sum / *n as f64))
        .collect::<Option<_>>()?;
    let views: Vec<_> = rows.iter().map(|row| row.view()).collect();
    ndarray::stack(Axis(0), &views).ok().map(Block::new)
}

fn type_means(recording: &Recording, selection: &TrialSelection, filters: &Filters, has_behaviour: bool) -> TypeMeans {
    let mut means = TypeMeans::default();
    for (session, trials) in recording.sessions().iter().zip(selection) {
        let mut of_type = BTreeMap::<usize, Vec<usize>>::new();
        for &k in trials.iter().filter(|&&k| session.valid_bins[k] == recording.n_bins()) {
            of_type.entry(session.trial_types[k]).or_default().push(k);
        }
        for (y, trials) in of_type {
            means.types.insert(y);
            let mut sums = Array3::<f64>::zeros((1, recording.n_bins(), session.neurons.len()));
            for &k in &trials {
                let counts = session.counts.index_axis(Axis(0), k);
                sums.index_axis_mut(Axis(0), 0)
                    .zip_mut_with(&counts, |sum, &count| *sum += f64::from(count));
            }
            let psth = filters.features(&(sums / trials.len() as f64).view());
            let columns = session.areas.iter().enumerate();
            for (column, &area) in columns.filter(|(column, _)| session.is_kept(*column)) {
                let trace = psth.slice(ndarray::s![0, .., column]);
                add(&mut means.areas, (area, y), &trace.to_owned());
            }
            if let Some(behaviour) = session.behaviour.as_ref().filter(|_| has_behaviour) {
                let traces = filters.features(&behaviour.select(Axis(0), &trials).view());
                for (b, trace) in traces.axis_iter(Axis(2)).enumerate() {
                    let finite: Vec<usize> = (0..trials.len())
                        .filter(|&k| trace.row(k).iter().all(|v| v.is_finite()))
                        .collect();
                    if let Some(trace) = trace.select(Axis(0), &finite).mean_axis(Axis(0)) {
                        add(&mut means.channels, (b, y), &trace);
                    }
                }
            }
        }
    }
    means
}

fn add(means: &mut BTreeMap<(usize, usize), (Array1<f64>, usize)>, key: (usize, usize), trace: &Array1<f64>) {
    let (sum, n) = means.entry(key).or_insert_with(|| (Array1::zeros(trace.len()), 0));
    *sum += trace;
    *n += 1;
}

/// Fraction of trials of each type; empty without trials.
pub fn type_fractions(types: &[usize]) -> BTreeMap<usize, f64> {
    let mut fractions = BTreeMap::new();
    for &y in types {
        *fractions.entry(y).or_insert(0.0) += 1.0 / types.len() as f64;
    }
    fractions
}

/// Fraction of trials of one type (`hit_fraction`, `hit_fraction_data`); NaN without trials.
pub fn fraction_of_type(types: &[usize], of: usize) -> f64 {
    types.iter().filter(|&&y| y == of).count() as f64 / types.len() as f64
}
