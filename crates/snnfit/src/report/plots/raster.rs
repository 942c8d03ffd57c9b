//! Single trials of one session beside trials of the model: the same neurons in the same order.

use std::collections::BTreeSet;

use ndarray::ArrayView2;
use plotters::prelude::*;

use super::spikes::{NAMES, NO_NAMES, SpikePanel};
use super::style::{self, Canvas, DATA, Labels, MODEL};
use super::{PlotError, Scene};

const N_TRIALS: usize = 4;
/// More neurons than this are thinned out evenly.
const MAX_NEURONS: usize = 100;
/// Up to so many rows are named by their units, more by their groups.
const MAX_UNIT_NAMES: usize = 10;

/// Rows: trials, of the trial types in turn. Left: data, right: model.
pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let inputs = scene.inputs.evaluation;
    let sessions = inputs.recording.sessions().iter().enumerate();
    let largest = sessions
        .filter(|(s, _)| !inputs.test[*s].is_empty())
        .max_by_key(|(s, session)| (session.neurons.len(), std::cmp::Reverse(*s)));
    let Some((s, session)) = largest.filter(|(_, session)| !session.neurons.is_empty()) else {
        return Err(PlotError::empty(format!(
            "no session has {} trials and neurons",
            inputs.split
        )));
    };
    let columns = ordered_columns(&session.areas);
    let neurons: Vec<usize> = columns.iter().map(|&c| session.neurons[c]).collect();
    let trials = pick_trials(scene, s);
    let rows = Rows::new(scene, &neurons, &session.name);

    let mut note = format!(
        "session {}, {} trials: {} of {} neurons, the same in the same order in every panel; rows from the top: {}",
        session.name,
        inputs.split,
        columns.len(),
        session.neurons.len(),
        rows.group_names().join(", "),
    );
    if inputs.trial_types.len() > 1 {
        note.push_str("; the model's trials are typed by template");
    }
    let below = style::titled(canvas, "Single trials", &note)?;
    // Only the left panels name the rows; both sides of the data and the model are equally wide.
    let middle = (below.dim_in_pixel().0 as i32 + NAMES - NO_NAMES) / 2;
    let (left, right) = below.split_horizontally(middle);
    let n_rows = trials.len().max(1);
    let title = |whose: &str, name: &str, k: usize| match inputs.trial_types.len() {
        0 | 1 => format!("{whose} · trial {k}"),
        _ => format!("{whose} · {name} · trial {k}"),
    };
    let (left, right) = (left.split_evenly((n_rows, 1)), right.split_evenly((n_rows, 1)));
    for (row, (data, model)) in trials.iter().enumerate() {
        let is_last = row + 1 == trials.len();
        if let Some((k, name)) = data {
            let counts = session.counts.index_axis(ndarray::Axis(0), *k);
            let mut counts = counts.slice(ndarray::s![..session.valid_bins[*k], ..]).to_owned();
            // What stands in for neurons that were not observed is nothing that was recorded.
            for column in (0..counts.ncols()).filter(|&column| !session.is_present(*k, column)) {
                counts.column_mut(column).fill(0);
            }
            let counts = counts.view();
            let style = Style {
                title: &title("data", name, *k),
                color: DATA,
                rows: &rows,
                has_names: true,
                is_last,
            };
            panel(scene, &left[row], &style, &counts, &columns)?;
        }
        if let Some((k, name)) = model {
            let counts = inputs.model.counts.index_axis(ndarray::Axis(0), *k);
            let counts = counts.slice(ndarray::s![..inputs.model_bins(*k), ..]);
            let style = Style {
                title: &title("model", name, *k),
                color: MODEL,
                rows: &rows,
                has_names: data.is_none(),
                is_last,
            };
            panel(scene, &right[row], &style, &counts, &neurons)?;
        }
    }
    Ok(())
}

/// How the rows of a panel are called.
struct Rows {
    /// Each group of neurons (area and type): its name and first row.
    groups: Vec<(String, usize)>,
    /// Units, where there are few.
    units: Option<Vec<String>>,
    n_neurons: usize,
}

impl Rows {
    fn new(scene: &Scene<'_>, neurons: &[usize], session: &str) -> Self {
        let mut groups: Vec<(String, usize)> = Vec::new();
        for (row, &neuron) in neurons.iter().enumerate() {
            let group = scene.group(neuron);
            if groups.last().is_none_or(|(last, _)| *last != group) {
                groups.push((group, row));
            }
        }
        let of_session = |neuron: &usize| {
            let unit = scene.unit(*neuron);
            let own = unit.strip_prefix(session).and_then(|unit| unit.strip_prefix('/'));
            own.map_or(unit.clone(), str::to_owned)
        };
        Self {
            groups,
            units: (neurons.len() <= MAX_UNIT_NAMES).then(|| neurons.iter().map(of_session).collect()),
            n_neurons: neurons.len(),
        }
    }

    fn group_names(&self) -> Vec<&str> {
        self.groups.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Names with the row that they stand beside.
    fn labels(&self) -> Vec<(&str, f64)> {
        if let Some(units) = &self.units {
            let rows = units.iter().enumerate();
            return rows.map(|(row, unit)| (unit.as_str(), row as f64 + 0.5)).collect();
        }
        let ends = self
            .groups
            .iter()
            .skip(1)
            .map(|(_, first)| *first)
            .chain([self.n_neurons]);
        let groups = self.groups.iter().zip(ends);
        groups
            .map(|((name, first), end)| (name.as_str(), (*first + end) as f64 / 2.0))
            .collect()
    }
}

/// Columns by area, thinned out evenly if there are too many.
fn ordered_columns(areas: &[usize]) -> Vec<usize> {
    let mut columns: Vec<usize> = (0..areas.len()).collect();
    columns.sort_by_key(|&c| (areas[c], c));
    let n = columns.len();
    if n <= MAX_NEURONS {
        return columns;
    }
    (0..MAX_NEURONS).map(|i| columns[i * n / MAX_NEURONS]).collect()
}

type Trial = Option<(usize, String)>;

/// Pairs of a recorded and a model trial, of the trial types in turn where they are known.
fn pick_trials(scene: &Scene<'_>, s: usize) -> Vec<(Trial, Trial)> {
    let inputs = scene.inputs.evaluation;
    let session = &inputs.recording.sessions()[s];
    let name = |label: Option<usize>| match label.and_then(|y| inputs.trial_types.get(y)) {
        Some(name) => name.clone(),
        None => "untyped".to_owned(),
    };
    let mut types: Vec<usize> = inputs.test[s].iter().map(|&k| session.trial_types[k]).collect();
    types.sort_unstable();
    types.dedup();
    let (mut used_data, mut used_model) = (BTreeSet::new(), BTreeSet::new());
    let mut trials = Vec::new();
    for i in 0..N_TRIALS {
        let Some(&wanted) = types.get(i % types.len().max(1)) else {
            break;
        };
        let mut recorded = inputs.test[s].iter().copied().filter(|k| !used_data.contains(k));
        let same_type = recorded.clone().find(|&k| session.trial_types[k] == wanted);
        let data = same_type.or_else(|| recorded.next());
        let condition = data.map(|k| session.conditions[k]);
        let type_of = |k: usize| scene.model_types.as_ref().and_then(|types| types[k]);
        let wanted = data.map(|k| session.trial_types[k]);
        let mut simulated = (0..inputs.model.conditions.len()).filter(|k| !used_model.contains(k));
        let alike = |k: &usize| condition.is_none_or(|c| inputs.model.conditions[*k] == c);
        let both = simulated.clone().find(|k| alike(k) && type_of(*k) == wanted);
        let model = both
            .or_else(|| simulated.clone().find(alike))
            .or_else(|| simulated.next());
        used_data.extend(data);
        used_model.extend(model);
        trials.push((
            data.map(|k| (k, name(Some(session.trial_types[k])))),
            model.map(|k| (k, name(type_of(k)))),
        ));
    }
    trials
}

/// What a panel looks like.
struct Style<'s> {
    title: &'s str,
    color: RGBColor,
    rows: &'s Rows,
    has_names: bool,
    is_last: bool,
}

fn panel(
    scene: &Scene<'_>,
    area: &Canvas<'_>,
    style: &Style<'_>,
    counts: &ArrayView2<'_, u8>,
    columns: &[usize],
) -> Result<(), PlotError> {
    let inputs = scene.inputs.evaluation;
    let (start, bin) = (scene.inputs.start_ms, inputs.bin_ms);
    let end = start + bin * inputs.recording.n_bins() as f64;
    let labels = Labels {
        title: style.title,
        x: if style.is_last { "time (ms)" } else { "" },
        y: if style.has_names && style.rows.units.is_some() {
            "unit"
        } else {
            ""
        },
    };
    let mut spikes = Vec::new();
    for (row, &column) in columns.iter().enumerate() {
        for (t, at_bin) in counts.outer_iter().enumerate() {
            if at_bin[column] > 0 {
                spikes.push((start + bin * (t as f64 + 0.5), row as f64 + 0.5));
            }
        }
    }
    let panel = SpikePanel {
        labels,
        times: start..end,
        n_rows: columns.len(),
        groups: style.rows.groups.iter().map(|(_, first)| *first).collect(),
        names: style.has_names.then(|| style.rows.labels()),
        color: style.color,
        spikes,
        events: None,
    };
    panel.draw(area)
}
