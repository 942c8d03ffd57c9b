//! Series of events and of intervals, as tables.

use super::super::table::{Column, Table};
use crate::error::{Finding, Findings};
use crate::h5::{Data, Found, Kind, Node};

/// More events than this are no table.
const MAX_EVENTS: usize = 1 << 22;

/// Times of events (column `timestamps`, s), with what is known of each (`data`, `label`).
pub(super) fn events(node: &Node, findings: &mut Findings) -> Option<Table> {
    warn_on_fault(read_events(node), findings)
}

/// Intervals of a series that marks each start and end (columns `start_time`, `stop_time`, s, and `data`, the mark).
pub(super) fn intervals(node: &Node, findings: &mut Findings) -> Option<Table> {
    warn_on_fault(read_intervals(node), findings)
}

fn warn_on_fault(table: Found<Table>, findings: &mut Findings) -> Option<Table> {
    table.map_err(|finding| findings.warnings.push(finding)).ok()
}

/// Times of a series of which each is an event.
fn times(node: &Node) -> Found<Vec<f64>> {
    let data = node.dataset("timestamps")?;
    if data.vector_len().is_none_or(|n| n > MAX_EVENTS) {
        let message = format!("shape {:?}; at most {MAX_EVENTS} events are read", data.shape);
        return Err(Finding::new(&data.at, message));
    }
    data.float_vector()
}

fn read_events(node: &Node) -> Found<Table> {
    let times = times(node)?;
    let mut table = Table::new(times.len());
    table.insert(&node.at, "timestamps", Column::Numbers(times))?;
    let Some(data) = node.optional("data")? else {
        return Ok(table);
    };
    if data.vector_len().is_none() {
        return Ok(table);
    }
    match data.kind {
        Kind::Text => table.insert(&data.at, "data", Column::Texts(data.text_vector()?))?,
        Kind::Boolean => table.insert(&data.at, "data", Column::Flags(data.flag_vector()?))?,
        _ => {
            let values = data.float_vector()?;
            if let Some(labels) = labels(&data, &values)? {
                table.insert(&data.at, "label", Column::Texts(labels))?;
            }
            table.insert(&data.at, "data", Column::Numbers(values))?;
        }
    }
    Ok(table)
}

/// The label of each value, where values are numbers of labels.
fn labels(data: &Data, values: &[f64]) -> Found<Option<Vec<String>>> {
    let Some(labels) = data.attributes().texts("labels")? else {
        return Ok(None);
    };
    let label = |value: &f64| {
        let is_place = value.fract() == 0.0 && *value >= 0.0;
        let label = is_place.then(|| labels.get(*value as usize)).flatten();
        label.cloned().unwrap_or_default()
    };
    Ok(Some(values.iter().map(label).collect()))
}

fn read_intervals(node: &Node) -> Found<Table> {
    let times = times(node)?;
    let data = node.dataset("data")?;
    let marks = data.float_vector()?;
    if marks.len() != times.len() {
        let message = format!("{} marks for {} timestamps", marks.len(), times.len());
        return Err(Finding::new(&data.at, message));
    }
    let mut intervals: Vec<(f64, f64, f64)> = Vec::new();
    // Of each mark, the interval that has begun and not ended.
    let mut open: Vec<usize> = Vec::new();
    for (row, (&time, &mark)) in times.iter().zip(&marks).enumerate() {
        if mark > 0.0 {
            open.push(intervals.len());
            intervals.push((time, f64::NAN, mark));
            continue;
        }
        let begun = open
            .iter()
            .rposition(|&i| intervals.get(i).is_some_and(|interval| interval.2 == -mark));
        let begun = begun.map(|place| open.remove(place));
        let Some(interval) = begun.and_then(|i| intervals.get_mut(i)) else {
            let message = format!("value {row} is {mark}, but no interval of {} has begun", -mark);
            return Err(Finding::new(&data.at, message));
        };
        interval.1 = time;
    }
    let column = |pick: fn(&(f64, f64, f64)) -> f64| Column::Numbers(intervals.iter().map(pick).collect());
    let mut table = Table::new(intervals.len());
    table.insert(&node.at, "start_time", column(|interval| interval.0))?;
    table.insert(&node.at, "stop_time", column(|interval| interval.1))?;
    table.insert(&node.at, "data", column(|interval| interval.2))?;
    Ok(table)
}
