//! Single trials of one session beside trials of the model: the same neurons in the same order.

use std::collections::BTreeSet;

use ndarray::ArrayView2;
use plotters::prelude::*;

use super::style::{self, Canvas, DATA, GUIDE, Labels, MODEL};
use super::{PlotError, Scene};

const N_TRIALS: usize = 4;
/// More neurons than this are thinned out evenly.
const MAX_NEURONS: usize = 100;

/// Rows: trials, of the trial types in turn. Left: data, right: model.
pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    let inputs = scene.inputs.evaluation;
    let sessions = inputs.recording.sessions().iter().enumerate();
    let largest = sessions
        .filter(|(s, _)| !inputs.test[*s].is_empty())
        .max_by_key(|(s, session)| (session.neurons.len(), std::cmp::Reverse(*s)));
    let Some((s, session)) = largest.filter(|(_, session)| !session.neurons.is_empty()) else {
        return Err(PlotError::empty("no session has test trials and neurons"));
    };
    let columns = ordered_columns(&session.areas);
    let trials = pick_trials(scene, s);

    let note = format!(
        "session {}: {} of {} neurons, the same in the same order in every panel",
        session.name,
        columns.len(),
        session.neurons.len()
    );
    let below = style::titled(canvas, "Single trials", &note)?;
    let areas = below.split_evenly((trials.len().max(1), 2));
    let starts = area_starts(&columns, &session.areas, inputs.recording.area_names());
    for (row, (data, model)) in trials.iter().enumerate() {
        let is_last = row + 1 == trials.len();
        if let Some((k, name)) = data {
            let counts = session.counts.index_axis(ndarray::Axis(0), *k);
            let counts = counts.slice(ndarray::s![..session.valid_bins[*k], ..]);
            let title = format!("data · {name}");
            panel(
                scene,
                &areas[2 * row],
                &title,
                DATA,
                &counts,
                &columns,
                &starts,
                is_last,
            )?;
        }
        if let Some((k, name)) = model {
            let counts = inputs.model.counts.index_axis(ndarray::Axis(0), *k);
            let neurons: Vec<usize> = columns.iter().map(|&c| session.neurons[c]).collect();
            let title = format!("model · {name}");
            panel(
                scene,
                &areas[2 * row + 1],
                &title,
                MODEL,
                &counts,
                &neurons,
                &starts,
                is_last,
            )?;
        }
    }
    Ok(())
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

/// For each area in the order of the columns: its name and the first row.
fn area_starts(columns: &[usize], areas: &[usize], names: &[String]) -> Vec<(String, usize)> {
    let mut starts: Vec<(String, usize)> = Vec::new();
    let mut last = None;
    for (row, &c) in columns.iter().enumerate() {
        if last != Some(areas[c]) {
            starts.push((names[areas[c]].clone(), row));
            last = Some(areas[c]);
        }
    }
    starts
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

fn panel(
    scene: &Scene<'_>,
    area: &Canvas<'_>,
    title: &str,
    color: RGBColor,
    counts: &ArrayView2<'_, u8>,
    columns: &[usize],
    areas: &[(String, usize)],
    is_last: bool,
) -> Result<(), PlotError> {
    let inputs = scene.inputs.evaluation;
    let (start, bin) = (scene.inputs.start_ms, inputs.bin_ms);
    let end = start + bin * inputs.recording.n_bins() as f64;
    let n = columns.len() as f64;
    let labels = Labels {
        title,
        x: if is_last { "time (ms)" } else { "" },
        y: "neuron",
    };
    // Row 0 on top.
    let mut chart = style::builder(area, &labels).build_cartesian_2d(start..end, n..0.0)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .axis_style(GUIDE)
        .x_labels(5)
        .y_labels(3)
        .x_label_formatter(&|value| style::tick(*value))
        .y_label_formatter(&|value| style::tick(*value))
        .label_style(style::font(style::SMALL))
        .axis_desc_style(style::font(style::MEDIUM))
        .x_desc(labels.x)
        .y_desc(labels.y)
        .draw()?;
    for (_, row) in areas.iter().skip(1) {
        let line = [(start, *row as f64), (end, *row as f64)];
        chart.draw_series(LineSeries::new(line, GUIDE.mix(0.6)))?;
    }
    let mut spikes = Vec::new();
    for (row, &column) in columns.iter().enumerate() {
        for (t, at_bin) in counts.outer_iter().enumerate() {
            if at_bin[column] > 0 {
                spikes.push((start + bin * (t as f64 + 0.5), row as f64));
            }
        }
    }
    // A mark has a size in pixels, so that rounding of rows and bins doesn't make some spikes fainter.
    let mark = || Rectangle::new([(0, 0), (2, 2)], color.filled());
    chart.draw_series(spikes.into_iter().map(|spike| EmptyElement::at(spike) + mark()))?;
    // On top of the spikes, on white.
    let (base_x, base_y) = area.get_base_pixel();
    for (name, row) in areas {
        let (x, y) = chart.backend_coord(&(start, *row as f64));
        let (x, y) = (x - base_x + 3, y - base_y + 2);
        let width = (name.chars().count() as f64 * f64::from(style::SMALL) * 0.62).round() as i32;
        area.draw(&Rectangle::new(
            [(x - 2, y), (x + width + 2, y + 14)],
            WHITE.mix(0.85).filled(),
        ))?;
        area.draw(&Text::new(
            name.clone(),
            (x, y + 1),
            style::font(style::SMALL).color(&style::SECOND),
        ))?;
    }
    Ok(())
}
