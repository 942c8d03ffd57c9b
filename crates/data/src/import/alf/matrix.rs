//! Tables of text whose columns are channels of a series, such as the pose that a camera saw.

use std::path::Path;

use ndarray::Array2;

use crate::error::Finding;
use crate::h5::Found;
use crate::import::delimited::Records;

/// Place of the first column of [`read_matrix`]: an index that pandas wrote is none.
fn first_channel(records: &Records) -> usize {
    usize::from(records.header.first().is_some_and(|name| name == "unnamed_0"))
}

/// Names of the columns of a table of samples.
pub(super) fn matrix_header(path: &Path, at: &str) -> Found<Vec<String>> {
    let records = Records::open(path, at)?;
    Ok(records
        .header
        .get(first_channel(&records)..)
        .unwrap_or_default()
        .to_vec())
}

/// Reads a table of samples, `[rows, columns]`; an empty field, `nan` or `NA` is missing. Allocates the size of the array.
pub(super) fn read_matrix(path: &Path, at: &str) -> Found<Array2<f32>> {
    let mut records = Records::open(path, at)?;
    let first = first_channel(&records);
    let n_columns = records.header.len() - first;
    let (mut values, mut n_rows) = (Vec::new(), 0);
    while records.next()? {
        for place in first..records.header.len() {
            let text = records.field(place)?.trim();
            let value = match text.to_ascii_lowercase().as_str() {
                "" | "na" | "n/a" | "null" => f32::NAN,
                text => text.parse().map_err(|_| {
                    let shown: String = text.chars().take(40).collect();
                    records.fail(format!(
                        "field {} is '{}'; expected a number",
                        place + 1,
                        shown.escape_debug()
                    ))
                })?,
            };
            values.push(value);
        }
        n_rows += 1;
    }
    Array2::from_shape_vec((n_rows, n_columns), values).map_err(|error| Finding::new(at, error.to_string()))
}
