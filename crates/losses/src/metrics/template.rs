//! Trial types of model trials by template matching: which recorded type a trial resembles most.
//!
//! A template is a mean over sessions, and sessions may lack types: an average over those that have a type would be one
//! of other neurons, with other baselines. [`means`] keeps that out.

mod means;

use std::collections::BTreeMap;

use ndarray::{Array2, Array3, ArrayView3, Axis};

use crate::LossError;
use crate::error::check_shape;
use crate::statistics::{FEATURE_STD_FLOOR, Filters, Recording, TrialSelection, mean, unbiased_variance};
use means::type_means;

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
    completed: Completed,
    filters: Filters,
    options: TemplateOptions,
}

/// How much of the templates is estimated, because sessions lack trials of some type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Completed {
    /// Neurons of the areas compared whose session has no complete trial of some type.
    pub n_neurons: usize,
    /// All neurons of these areas.
    pub of_neurons: usize,
    /// Sessions of these neurons.
    pub n_sessions: usize,
    /// All sessions with neurons of these areas and complete trials.
    pub of_sessions: usize,
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
    /// neurons, summed over sessions, divided by the number of neurons. Where sessions lack a type, their mean in it is
    /// estimated from their other types and the differences between types that other sessions show, so that all types
    /// are averages over the same neurons, those of [`Self::neurons`] ([`Self::completed`] says how many):
    ///
    /// $$\bar y_{sc}(t) = \mu_s(t) + \tau_c(t), \quad \min_{\mu, \tau} \sum_{s, c} n_s (y_{sc}(t) - \bar y_{sc}(t))^2$$
    ///
    /// over the sessions s with n_s neurons of the area and the types c that they have. Blocks are then centred and scaled
    /// by one mean and standard deviation over time and types. Behaviour: the mean over sessions of the trial mean,
    /// completed likewise. Complete trials only. An area is left out (see [`Self::areas`]) if some type was never recorded
    /// in it, or if no chain of sessions with types in common connects all types: differences between them would be
    /// differences between neurons.
    ///
    /// # Errors
    /// [`LossError::Shape`], [`LossError::Index`] for a selection of other sessions or trials, or filters
    /// for other trials; [`LossError::NoData`] without complete trials or without an area that has every type.
    ///
    /// # Source
    /// Sourmpis et al. 2023, `return_trial_type`; there all types occur in all sessions, and nothing is estimated.
    ///
    /// # Departures
    /// The published program divides the sum over the sessions that have a type by the number of all neurons.
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
            neurons.push(means.neurons(recording, area));
        }
        if area_blocks.is_empty() {
            return Err(LossError::NoData {
                what: "trial-type templates",
                reason: "no area has complete trials of every trial type, in sessions that have types in common; \
                         give training trials of each type"
                    .to_owned(),
            });
        }
        let completed = means.completed(&areas, &types);
        let (channels, behaviour_blocks) = means.behaviour_blocks(&types);
        Ok(Self {
            types,
            areas,
            neurons,
            area_blocks,
            channels,
            behaviour_blocks,
            completed,
            filters,
            options,
        })
    }

    /// How much of the templates is estimated from the types that a session has.
    pub fn completed(&self) -> Completed {
        self.completed
    }

    /// The trial types, ascending.
    pub fn types(&self) -> &[usize] {
        &self.types
    }

    /// The areas compared, ascending.
    pub fn areas(&self) -> &[usize] {
        &self.areas
    }

    /// Model neurons whose mean spikes make the trace of each area compared: those of sessions with complete trials.
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

    /// The same with the model's behaviour as it is beside scaled templates, as published: what behaviour weighs then depends
    /// on its unit.
    ///
    /// # Source
    /// Sourmpis et al. 2023 (specification §1.18).
    #[must_use]
    pub fn as_published(&self) -> Self {
        let mut published = self.clone();
        published.options.is_model_behaviour_normalized = false;
        published
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
