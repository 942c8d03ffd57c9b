//! The record of one metric in `metrics.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One metric with what it takes to judge it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricValue {
    /// Name, for instance `psth_pearson` or `trial_matched_pearson_ref_centered`.
    pub name: String,
    /// Value for the model.
    pub value: f64,
    /// 95 % interval of the hierarchical bootstrap (session, then neuron or trial).
    pub ci95: Option<[f64; 2]>,
    /// Value of each null model, computed from the same number of trials.
    pub nulls: BTreeMap<String, f64>,
    /// The training data in the place of the model (the published "ceiling", which is none).
    pub reference_train_test: Option<f64>,
    /// What a noiseless model of the right rates would reach, where that is defined.
    pub ceiling_noiseless: Option<f64>,
    /// Number of neurons, pairs or trials that the value is made of.
    pub n: usize,
    /// Unit; "1" for a pure number.
    pub unit: String,
}

impl MetricValue {
    /// A metric without interval, nulls or references; fill them in with struct update syntax.
    pub fn new(name: impl Into<String>, value: f64, n: usize, unit: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value,
            ci95: None,
            nulls: BTreeMap::new(),
            reference_train_test: None,
            ceiling_noiseless: None,
            n,
            unit: unit.into(),
        }
    }
}
