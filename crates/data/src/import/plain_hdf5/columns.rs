//! Tables: the datasets of a group, one column each.

use super::super::npz::{MAX_TABLE_COLUMNS, MAX_TABLE_ROWS};
use super::super::table::{Column, Table};
use super::is_dataset;
use crate::error::{Finding, Findings};
use crate::h5::{Data, Found, Kind, Node};

/// Whole numbers above this are not all 64-bit floats.
const LARGEST_EXACT: u64 = 1 << 53;
/// A message names so many datasets.
const SHOWN: usize = 20;
/// The column whose length is that of the table, if it is there.
const FIRST: &str = "start_time";

/// The datasets of a group but `skip`, as columns; `None` if there are none. `rows` says how many rows there are and which
/// dataset says it.
///
/// Single values, arrays of more than two axes or 32 columns, several values in a row (`NAME_index`), elements that are neither numbers nor
/// texts, groups and links are left out, with one warning.
pub(super) fn read_table(
    node: &Node,
    skip: &[&str],
    mut rows: Option<(usize, String)>,
    findings: &mut Findings,
) -> Option<Table> {
    let mut names: Vec<&str> = node.names().filter(|name| !skip.contains(name)).collect();
    // The others are compared with the first.
    names.sort_by_key(|name| (*name != FIRST && *name != "intervals", *name));
    let mut table: Option<Table> = None;
    let mut left_out = Vec::new();
    for name in names {
        let is_ragged = node.has(&format!("{name}_index"));
        let is_index = name.strip_suffix("_index").is_some_and(|of| node.has(of));
        if is_ragged || is_index || !is_dataset(node, name) {
            left_out.push(name.escape_debug().to_string());
            continue;
        }
        let Some(data) = findings.keep(node.look(name)) else {
            continue;
        };
        let columns = columns_of(&data, name, &mut findings.warnings);
        let Some(columns) = findings.keep(columns) else {
            continue;
        };
        let Some((_, first)) = columns.first() else {
            left_out.push(name.escape_debug().to_string());
            continue;
        };
        let (n_rows, said_by) = rows.get_or_insert_with(|| (first.len(), data.at.clone()));
        if first.len() != *n_rows {
            let message = format!("{} rows; {said_by} has {n_rows}", first.len());
            findings.problem(&data.at, message);
            continue;
        }
        let table = table.get_or_insert_with(|| Table::new(*n_rows));
        for (name, column) in columns {
            findings.keep(table.insert(&data.at, name, column));
        }
    }
    if !left_out.is_empty() {
        let more = if left_out.len() > SHOWN { ", …" } else { "" };
        left_out.truncate(SHOWN);
        let message = format!("left out, because they are no columns: {}{more}", left_out.join(", "));
        findings.warning(&node.at, message);
    }
    table
}

/// The columns that a dataset is: itself, or numbered ones; of two-column `intervals`, start and stop. None if it is no column.
fn columns_of(data: &Data, name: &str, warnings: &mut Vec<Finding>) -> Found<Vec<(String, Column)>> {
    let (n_rows, n_columns) = match *data.shape {
        [n_rows] => (n_rows, 1),
        [n_rows, n_columns] if n_columns <= MAX_TABLE_COLUMNS => (n_rows, n_columns),
        _ => return Ok(Vec::new()),
    };
    let is_known = !matches!(data.kind, Kind::Reference | Kind::Other) && data.fault().is_empty();
    let is_numeric = matches!(data.kind, Kind::Float | Kind::Integer);
    if !is_known || (n_columns != 1 && !is_numeric) {
        return Ok(Vec::new());
    }
    if n_rows > MAX_TABLE_ROWS {
        let message = format!("{n_rows} rows; at most {MAX_TABLE_ROWS} are read into a table");
        return Err(Finding::new(&data.at, message));
    }
    if n_columns == 1 {
        return Ok(vec![(name.to_owned(), list(data, warnings)?)]);
    }
    let mut columns = vec![vec![f64::NAN; n_rows]; n_columns];
    data.each_block(|first_row, first_column, block| {
        for ((row, column), &value) in block.indexed_iter() {
            let place = columns.get_mut(first_column + column);
            if let Some(place) = place.and_then(|column| column.get_mut(first_row + row)) {
                *place = value;
            }
        }
    })?;
    let name_of = |column: usize| match (name, n_columns, column) {
        ("intervals", 2, 0) => "start_time".to_owned(),
        ("intervals", 2, 1) => "stop_time".to_owned(),
        _ => format!("{name}_{column}"),
    };
    let columns = columns.into_iter().enumerate();
    Ok(columns
        .map(|(place, values)| (name_of(place), Column::Numbers(values)))
        .collect())
}

/// A list of values.
fn list(data: &Data, warnings: &mut Vec<Finding>) -> Found<Column> {
    Ok(match data.kind {
        Kind::Text => Column::Texts(data.text_vector()?),
        Kind::Boolean => Column::Flags(data.flag_vector()?),
        Kind::Enumeration => Column::Texts(data.enumerated_vector()?),
        Kind::Integer => {
            let values = data.whole_vector()?;
            match values
                .iter()
                .find(|value| value.unsigned_abs() > u128::from(LARGEST_EXACT))
            {
                None => Column::Numbers(values.iter().map(|&value| value as f64).collect()),
                Some(value) => {
                    let message = format!(
                        "{value} is a whole number above 2^53, which would be rounded: the column is taken as texts (hint: compare it \
                         with texts, such as == '{value}')"
                    );
                    warnings.push(Finding::new(&data.at, message));
                    Column::Texts(values.iter().map(i128::to_string).collect())
                }
            }
        }
        Kind::Float | Kind::Reference | Kind::Other => Column::Numbers(data.float_vector()?),
    })
}
