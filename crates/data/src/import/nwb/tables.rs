//! Dynamic tables: columns of equal length, some of them ragged, some references.

use std::collections::BTreeMap;

use super::super::table::{Column, Table};
use crate::error::{Finding, Findings};
use crate::h5::{Data, Found, Kind, Node, Target};

/// So many columns that are left out are named.
const SHOWN_LEFT_OUT: usize = 20;

/// A table, and what a caller needs beside it.
pub(super) struct ReadTable {
    pub(super) table: Table,
    /// Name of each row: what `id` says, exactly.
    pub(super) ids: Vec<String>,
}

/// What became of a column.
enum Cells {
    Column(Column),
    /// Whole numbers as texts, because a 64-bit float would round this one.
    Large(Column, i128),
    /// Several values in a row; not a column of a [`Table`].
    Several,
    /// References to samples, which concern nobody here.
    Ignored,
    /// Elements that can't be read because of their type or storage.
    Unreadable(String),
}

/// Reads all scalar columns of the table but `skip`; `None` if its rows can't be counted.
///
/// Columns whose values make no sense are problems. Those that are left out are warnings: columns that are named and
/// missing, have several values in a row, or are of an unknown type or storage; the last is a problem if they are `needed`.
pub(super) fn read_table(node: &Node, needed: &[&str], skip: &[&str], findings: &mut Findings) -> Option<ReadTable> {
    let (ids, id_column) = findings.keep(read_ids(node))?;
    let n_rows = ids.len();
    let names = column_names(node, findings);
    let mut table = Table::new(n_rows);
    let mut left_out = Vec::new();
    if !names.iter().any(|name| name == "id") {
        findings.keep(table.insert(&node.at, "id", id_column));
    }
    let mut missing = Vec::new();
    for name in names.iter().filter(|name| !skip.contains(&name.as_str())) {
        if !node.has(name) {
            missing.push(name.as_str());
            continue;
        }
        match findings.keep(read_column(node, name, n_rows)) {
            Some(Cells::Column(column)) => {
                findings.keep(table.insert(&node.at, name.as_str(), column));
            }
            Some(Cells::Large(column, value)) => {
                let message = format!(
                    "{value} is a whole number above 2^53, which would be rounded: the column is taken as texts (hint: compare it with texts, \
                     such as == '{value}')"
                );
                findings.warning(node.path_of(name), message);
                findings.keep(table.insert(&node.at, name.as_str(), column));
            }
            Some(Cells::Several) => left_out.push(name.as_str()),
            Some(Cells::Unreadable(message)) if needed.contains(&name.as_str()) => {
                findings.problem(node.path_of(name), message);
            }
            Some(Cells::Unreadable(message)) => {
                findings.warning(node.path_of(name), format!("{message}; the column is left out"));
            }
            Some(Cells::Ignored) | None => {}
        }
    }
    if !missing.is_empty() {
        let message = format!(
            "the attribute colnames names columns that are missing: {}",
            list(&missing)
        );
        findings.warning(&node.at, message);
    }
    if !left_out.is_empty() {
        let message = format!("columns with several values in a row are left out: {}", list(&left_out));
        findings.warning(&node.at, message);
    }
    Some(ReadTable { table, ids })
}

fn list(names: &[&str]) -> String {
    let more = if names.len() > SHOWN_LEFT_OUT { ", …" } else { "" };
    let names = names.iter().take(SHOWN_LEFT_OUT);
    let names: Vec<String> = names.map(|name| name.escape_debug().to_string()).collect();
    format!("{}{more}", names.join(", "))
}

/// The identifiers of the rows, which also say how many there are.
fn read_ids(node: &Node) -> Found<(Vec<String>, Column)> {
    let data = node.dataset("id")?;
    Ok(match data.kind {
        Kind::Text => {
            let ids = data.text_vector()?;
            (ids.clone(), Column::Texts(ids))
        }
        Kind::Integer => {
            let ids = data.whole_vector()?;
            let texts: Vec<String> = ids.iter().map(i128::to_string).collect();
            let column = match too_large(&ids) {
                Some(_) => Column::Texts(texts.clone()),
                None => Column::Numbers(ids.iter().map(|&id| id as f64).collect()),
            };
            (texts, column)
        }
        _ => {
            let ids = data.float_vector()?;
            (ids.iter().map(f64::to_string).collect(), Column::Numbers(ids))
        }
    })
}

/// The columns in the order of the file; without such a list, all datasets by name.
fn column_names(node: &Node, findings: &mut Findings) -> Vec<String> {
    match node.attributes().texts("colnames") {
        Ok(Some(names)) => {
            let mut seen = std::collections::BTreeSet::new();
            let mut names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
            names.retain(|name| seen.insert(name.clone()));
            return names;
        }
        Ok(None) => findings.warning(
            &node.at,
            "the attribute colnames is missing; all datasets are taken as columns",
        ),
        Err(finding) => findings.warnings.push(finding),
    }
    let is_column = |name: &&str| *name != "id" && !name.ends_with("_index") && node.is_group(name) == Ok(false);
    node.names().filter(is_column).map(str::to_owned).collect()
}

fn read_column(node: &Node, name: &str, n_rows: usize) -> Found<Cells> {
    if node.has(&format!("{name}_index")) {
        return if name == "tags" {
            joined_texts(node, name, n_rows).map(Cells::Column)
        } else {
            Ok(Cells::Several)
        };
    }
    let data = node.look(name)?;
    let neurodata_type = data.attributes().text("neurodata_type").ok().flatten();
    if neurodata_type.as_deref() == Some("TimeSeriesReferenceVectorData") || name == "timeseries" {
        return Ok(Cells::Ignored);
    }
    let is_list = match *data.shape {
        [] => n_rows == 1,
        [_] => true,
        [rows, 1] => rows == n_rows,
        [1, columns] => columns == n_rows,
        _ => false,
    };
    if !is_list {
        return Ok(Cells::Several);
    }
    let n_values = data.vector_len().unwrap_or(0);
    if n_values != n_rows {
        let message = format!("{n_values} rows; the table has {n_rows} (as many as {}/id)", node.at);
        return Err(Finding::new(&data.at, message));
    }
    if !data.fault().is_empty() {
        return Ok(Cells::Unreadable(data.fault().to_owned()));
    }
    scalar_column(node, &data)
}

/// Values of a column that has one in each row.
fn scalar_column(node: &Node, data: &Data) -> Found<Cells> {
    if data.kind == Kind::Integer && node.referenced_by(data.attributes(), "elements")?.is_none() {
        let integers = data.whole_vector()?;
        if let Some(value) = too_large(&integers) {
            let texts = integers.iter().map(i128::to_string).collect();
            return Ok(Cells::Large(Column::Texts(texts), value));
        }
    }
    small_column(node, data).map(Cells::Column)
}

/// Values of a column of texts, flags, or numbers that a 64-bit float holds.
fn small_column(node: &Node, data: &Data) -> Found<Column> {
    match data.kind {
        Kind::Text => data.text_vector().map(Column::Texts),
        Kind::Boolean => data.flag_vector().map(Column::Flags),
        Kind::Enumeration => Ok(from_names(data.enumerated_vector()?)),
        Kind::Reference => referenced_names(node, data).map(Column::Texts),
        Kind::Integer => {
            if let Some(target) = node.referenced_by(data.attributes(), "elements")? {
                return enumerated(data, &target);
            }
            let numbers = data.float_vector()?;
            // Some programs store flags as integers of one byte.
            let are_flags = data.is_one_byte() && numbers.iter().all(|&number| number == 0.0 || number == 1.0);
            Ok(if are_flags && !numbers.is_empty() {
                Column::Flags(numbers.into_iter().map(|number| number == 1.0).collect())
            } else {
                Column::Numbers(numbers)
            })
        }
        Kind::Float | Kind::Other => data.float_vector().map(Column::Numbers),
    }
}

/// Largest whole number up to which 64-bit floats hold each.
pub(super) const LARGEST_EXACT: u64 = 1 << 53;

/// The first integer that a 64-bit float might round.
fn too_large(integers: &[i128]) -> Option<i128> {
    let is_large = |value: &i128| value.unsigned_abs() > u128::from(LARGEST_EXACT);
    integers.iter().copied().find(is_large)
}

/// Named values; those named true and false are flags.
fn from_names(names: Vec<String>) -> Column {
    let flag = |name: &String| match name.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    };
    match names.iter().map(flag).collect::<Option<Vec<bool>>>() {
        Some(flags) if !flags.is_empty() => Column::Flags(flags),
        _ => Column::Texts(names),
    }
}

/// A column of numbers of texts that are stored once, in another dataset.
fn enumerated(data: &Data, target: &Target) -> Found<Column> {
    let Target::Dataset(elements) = target else {
        let message = format!("its elements are {}, which is a group; expected texts", target.at());
        return Err(Finding::new(&data.at, message));
    };
    let elements = elements.text_vector()?;
    let text = |(row, number): (usize, i64)| {
        let element = usize::try_from(number).ok().and_then(|number| elements.get(number));
        element.cloned().ok_or_else(|| {
            let message = format!("row {row} is element {number}; there are {}", elements.len());
            Finding::new(&data.at, message)
        })
    };
    let texts = data.integer_vector()?.into_iter().enumerate().map(text);
    Ok(Column::Texts(texts.collect::<Found<_>>()?))
}

/// Names of the objects that a column refers to.
fn referenced_names(node: &Node, data: &Data) -> Found<Vec<String>> {
    each_referenced(node, data, |target| {
        target.at().rsplit('/').next().unwrap_or_default().to_owned()
    })
}

/// What `look` says about the object that each row refers to; every object is looked at once.
pub(super) fn each_referenced<T: Clone>(node: &Node, data: &Data, mut look: impl FnMut(&Target) -> T) -> Found<Vec<T>> {
    // A reference can be neither sorted nor hashed; its debug form has the address of the object.
    let mut known: BTreeMap<String, T> = BTreeMap::new();
    let mut values = Vec::new();
    for (row, reference) in data.references()?.into_iter().enumerate() {
        let key = format!("{reference:?}");
        let value = if let Some(value) = known.get(&key) {
            value.clone()
        } else {
            let at_row = |finding: Finding| Finding::new(format!("{}, row {row}", data.at), finding.message);
            let value = look(&node.resolve(reference).map_err(at_row)?);
            known.insert(key, value.clone());
            value
        };
        values.push(value);
    }
    Ok(values)
}

/// Where the values of each row end in a ragged column: not decreasing, the last at the number of values.
pub(super) fn read_ends(node: &Node, name: &str, n_rows: usize, n_values: usize) -> Found<Vec<usize>> {
    let data = node.dataset(&format!("{name}_index"))?;
    let ends = data.integer_vector()?;
    check_ends(&ends, &data.at, n_rows, n_values, name)
}

fn check_ends(ends: &[i64], at: &str, n_rows: usize, n_values: usize, name: &str) -> Found<Vec<usize>> {
    if ends.len() != n_rows {
        let message = format!("{} rows; the table has {n_rows}", ends.len());
        return Err(Finding::new(at, message));
    }
    let mut checked = Vec::with_capacity(ends.len());
    let mut last = 0_usize;
    for (row, &end) in ends.iter().enumerate() {
        let end = usize::try_from(end).ok().filter(|end| (last..=n_values).contains(end));
        let Some(end) = end else {
            let message = format!(
                "row {row} ends at {}; expected at least {last}, where row {} ends, and at most {n_values}, the length of {name}",
                ends[row],
                row.saturating_sub(1),
            );
            return Err(Finding::new(at, message));
        };
        checked.push(end);
        last = end;
    }
    if last != n_values {
        let message = format!("ends at {last}, but {name} has {n_values} values");
        return Err(Finding::new(at, message));
    }
    Ok(checked)
}

/// The parts of a ragged column, row by row.
pub(super) fn rows<'a, T>(values: &'a [T], ends: &'a [usize]) -> impl Iterator<Item = &'a [T]> {
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts
        .zip(ends)
        .map(|(start, &end)| values.get(start..end).unwrap_or(&[]))
}

/// A ragged column of texts, the texts of a row joined by `;`.
fn joined_texts(node: &Node, name: &str, n_rows: usize) -> Found<Column> {
    let texts = node.dataset(name)?.text_vector()?;
    let ends = read_ends(node, name, n_rows, texts.len())?;
    Ok(Column::Texts(rows(&texts, &ends).map(|row| row.join(";")).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_must_not_decrease_and_must_end_with_the_values() {
        let check = |ends: &[i64], n_values| check_ends(ends, "x_index", 3, n_values, "x");
        assert_eq!(check(&[0, 2, 2], 2), Ok(vec![0, 2, 2]));
        for (ends, said) in [
            (&[2, 1, 3][..], "row 1 ends at 1"),
            (&[-1, 1, 3], "row 0 ends at -1"),
            (&[1, 4, 4], "row 1 ends at 4"),
            (&[1, 2, i64::MAX], "row 2 ends at 9223372036854775807"),
            (&[1, 2, 2], "ends at 2, but x has 3 values"),
            (&[1, 3], "2 rows; the table has 3"),
        ] {
            let message = check(ends, 3).expect_err(said).to_string();
            assert!(message.starts_with("x_index: ") && message.contains(said), "{message}");
        }
    }

    #[test]
    fn rows_of_a_ragged_column_may_be_empty() {
        let parts: Vec<_> = rows(&[1, 2, 3], &[0, 2, 2, 3]).map(<[_]>::to_vec).collect();
        assert_eq!(parts, [vec![], vec![1, 2], vec![], vec![3]]);
    }

    #[test]
    fn values_named_true_and_false_are_flags() {
        let names = |names: &[&str]| from_names(names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(names(&["True", "FALSE"]), Column::Flags(vec![true, false]));
        assert_eq!(names(&["true", "left"]).kind(), "texts");
        assert_eq!(names(&[]).kind(), "texts");
    }
}
