//! Which neurons form a population: the (session, area) groups of trial matching.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::Recording;
use crate::LossError;

/// Neurons of one area that were recorded in one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Population {
    /// Index of the session.
    pub session: usize,
    /// Index of the area; `None` if the population is the whole session.
    pub area: Option<usize>,
    /// Model neurons, in the order of the session's columns.
    pub neurons: Vec<usize>,
    /// Columns of the session's counts.
    pub columns: Vec<usize>,
}

/// A (session, area) pair that trial matching leaves out, for the log and the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Name of the session.
    pub session: String,
    /// Name of the area; `None` if the whole session was one group.
    pub area: Option<String>,
    /// Its neurons.
    pub n_neurons: usize,
    /// The least number asked for.
    pub min_neurons_per_area: usize,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let area = self.area.as_deref().unwrap_or("all areas");
        write!(
            f,
            "session '{}', {area}: {} neurons, fewer than min_neurons_per_area = {}",
            self.session, self.n_neurons, self.min_neurons_per_area
        )
    }
}

/// The populations whose traces are compared, in ascending (session, area) order: the axis G.
#[derive(Debug, Clone)]
pub struct Populations {
    /// The populations.
    pub groups: Vec<Population>,
    /// What was left out, and why.
    pub left_out: Vec<LeftOut>,
}

impl Populations {
    /// One population per (session, area) with at least `min_neurons_per_area` neurons.
    ///
    /// # Errors
    /// [`LossError::NoPopulation`] if none is left.
    ///
    /// # Source
    /// Sourmpis et al. 2023 with 10 neurons; the published program drops the others silently.
    pub fn by_area(recording: &Recording, min_neurons_per_area: usize) -> Result<Self, LossError> {
        Self::grouped(recording, min_neurons_per_area, Some).not_empty(min_neurons_per_area)
    }

    /// As [`Self::by_area`], but without groups (and with everything in `left_out`) where none is large enough.
    pub fn by_area_if_any(recording: &Recording, min_neurons_per_area: usize) -> Self {
        Self::grouped(recording, min_neurons_per_area, Some)
    }

    /// One population per session, whatever the areas.
    ///
    /// # Errors
    /// [`LossError::NoPopulation`] if none is left.
    pub fn by_session(recording: &Recording, min_neurons: usize) -> Result<Self, LossError> {
        Self::grouped(recording, min_neurons, |_| None).not_empty(min_neurons)
    }

    /// One population for each recorded neuron that was observed in nearly all trials, in the order of sessions and columns.
    pub fn by_neuron(recording: &Recording) -> Self {
        let sessions = recording.sessions().iter().enumerate();
        let groups = sessions.flat_map(|(s, session)| {
            let columns = session.neurons.iter().zip(&session.areas).enumerate();
            let kept = columns.filter(|(column, _)| session.is_kept(*column));
            kept.map(move |(column, (&neuron, &area))| Population {
                session: s,
                area: Some(area),
                neurons: vec![neuron],
                columns: vec![column],
            })
        });
        Self {
            groups: groups.collect(),
            left_out: Vec::new(),
        }
    }

    fn grouped(recording: &Recording, min_neurons: usize, key: impl Fn(usize) -> Option<usize>) -> Self {
        let mut groups = Vec::new();
        let mut left_out = Vec::new();
        for (s, session) in recording.sessions().iter().enumerate() {
            let mut columns_of = BTreeMap::<Option<usize>, Vec<usize>>::new();
            for (column, &area) in session.areas.iter().enumerate() {
                if !session.is_kept(column) {
                    continue;
                }
                columns_of.entry(key(area)).or_default().push(column);
            }
            for (area, columns) in columns_of {
                if columns.len() < min_neurons {
                    left_out.push(LeftOut {
                        session: session.name.clone(),
                        area: area.map(|area| recording.area_names()[area].clone()),
                        n_neurons: columns.len(),
                        min_neurons_per_area: min_neurons,
                    });
                } else {
                    groups.push(Population {
                        session: s,
                        area,
                        neurons: columns.iter().map(|&c| session.neurons[c]).collect(),
                        columns,
                    });
                }
            }
        }
        Self { groups, left_out }
    }

    fn not_empty(self, min_neurons_per_area: usize) -> Result<Self, LossError> {
        if self.groups.is_empty() {
            return Err(LossError::NoPopulation {
                min_neurons_per_area,
                largest: self.left_out.iter().map(|l| l.n_neurons).max().unwrap_or(0),
            });
        }
        Ok(self)
    }

    /// Number of populations G.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is no population (never so after construction).
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Model neurons of each population: what an engine needs to make the traces `[K, T, G]`.
    pub fn neurons(&self) -> Vec<Vec<usize>> {
        self.groups.iter().map(|g| g.neurons.clone()).collect()
    }
}
