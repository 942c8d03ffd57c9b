//! What has times besides spikes and trials: series of samples, intervals and events.

use std::collections::BTreeMap;

use ndarray::Array2;

use super::folder::{AlfFile, Folder};
use super::matrix::{matrix_header, read_matrix};
use super::{Columns, at, is_parquet, is_text, parquet_hint};
use crate::error::{Finding, Findings};
use crate::h5::Found;
use crate::import::npy::{array_of, header_of};
use crate::import::npz::seconds;
use crate::import::source::{Samples, Series, SeriesRequest, Source};
use crate::import::table::Column;
use crate::recording::Timing;

/// Objects that are read otherwise, or describe what isn't read.
const OTHERS: [&str; 7] = [
    "spikes",
    "clusters",
    "channels",
    "trials",
    "templates",
    "electrodeSites",
    "probes",
];

/// Name, folders and extra parts of an object.
type Object<'a> = (&'a str, &'a [String], &'a [String]);

/// Adds the series, intervals and events of all objects.
pub(super) fn read(folder: &Folder, request: &SeriesRequest, source: &mut Source, findings: &mut Findings) {
    let mut objects: BTreeMap<Object<'_>, Vec<&AlfFile>> = BTreeMap::new();
    for file in &folder.files {
        if !OTHERS.contains(&file.object.as_str()) {
            let key = (file.object.as_str(), file.dir.as_slice(), file.extra.as_slice());
            objects.entry(key).or_default().push(file);
        }
    }
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    for (object, ..) in objects.keys() {
        *folders.entry(object).or_default() += 1;
    }
    for ((object, dir, _), files) in &objects {
        // Objects of one name in several folders are told apart by their folder.
        let prefix = if folders.get(object).is_some_and(|&n| n > 1) && !dir.is_empty() {
            format!("{}/", dir.join("/"))
        } else {
            String::new()
        };
        read_object(&prefix, files, request, source, findings);
    }
}

fn read_object(
    prefix: &str,
    files: &[&AlfFile],
    request: &SeriesRequest,
    source: &mut Source,
    findings: &mut Findings,
) {
    let array = |attribute: &str| {
        let mut found = files
            .iter()
            .filter(|f| f.attribute == attribute && f.extension == "npy");
        found.next().copied()
    };
    let Some(first) = files.first() else { return };
    if let Some(intervals) = array("intervals") {
        let mut columns = Columns { table: None };
        columns.add_array(intervals, findings);
        for file in files
            .iter()
            .filter(|f| f.extension == "npy" && f.attribute != "intervals")
        {
            columns.add_array(file, findings);
        }
        if let Some((table, _)) = columns.table {
            source.intervals.insert(format!("{prefix}{}", first.object), table);
        }
        return;
    }
    let Some(times) = array("times").or_else(|| array("timestamps")) else {
        return;
    };
    let mut has_samples = false;
    for file in files.iter().filter(|file| file.attribute != times.attribute) {
        let name = format!("{prefix}{}", file.series_name());
        let is_wanted = request.wants(&name);
        let found = if is_parquet(file) {
            let message = format!(
                "not read: a parquet file (hint: convert it:\n      {})",
                parquet_hint(file)
            );
            findings.warning(&file.at, message);
            has_samples = true;
            continue;
        } else if is_text(file) {
            text_series(file, times, is_wanted)
        } else if file.extension == "npy" {
            array_series(file, times, is_wanted)
        } else {
            continue;
        };
        has_samples = true;
        match findings.keep(found) {
            Some(Listed::Series(series, warning)) => {
                source.series.insert(name, *series);
                findings.warnings.extend(warning);
            }
            Some(Listed::Unread(message)) => findings.warning(&file.at, message),
            None => {}
        }
    }
    if !has_samples {
        events(prefix, times, request, source, findings);
    }
}

/// Times that are more than samples by at most this share of them are a few at the end.
const MAX_MORE: f64 = 0.01;

/// A series, or why a file that is there is none.
enum Listed {
    /// Perhaps with a warning.
    Series(Box<Series>, Option<Finding>),
    Unread(String),
}

/// An array whose rows are samples.
fn array_series(file: &AlfFile, times: &AlfFile, is_wanted: bool) -> Found<Listed> {
    let header = header_of(&file.path, &file.at)?;
    if let Some(refusal) = header.refusal() {
        return Ok(Listed::Unread(format!("not read: {refusal}")));
    }
    let Some(shape) = header.dim() else {
        let message = format!(
            "not read: shape {}; a series has samples and channels",
            header.shape_text()
        );
        return Ok(Listed::Unread(message));
    };
    if !is_wanted {
        return Ok(Listed::Series(Box::new(series(shape, Vec::new(), None)), None));
    }
    let (timing, warning) = timing(times, shape.0, file)?;
    let samples = Samples {
        values: array_of(&file.path, &file.at)?.matrix()?,
        timing,
    };
    Ok(Listed::Series(
        Box::new(series(shape, Vec::new(), Some(samples))),
        warning,
    ))
}

/// A table of text whose columns are channels.
fn text_series(file: &AlfFile, times: &AlfFile, is_wanted: bool) -> Found<Listed> {
    let channels = matrix_header(&file.path, &file.at)?;
    if !is_wanted {
        // The rows aren't counted: there is one for each time.
        let n_samples = header_of(&times.path, &times.at)?.dim().map_or(0, |(n, _)| n);
        return Ok(Listed::Series(
            Box::new(series((n_samples, channels.len()), channels, None)),
            None,
        ));
    }
    let values = read_matrix(&file.path, &file.at)?;
    let (timing, warning) = timing(times, values.nrows(), file)?;
    let samples = Samples { values, timing };
    Ok(Listed::Series(
        Box::new(series(samples.values.dim(), channels, Some(samples))),
        warning,
    ))
}

fn series(shape: (usize, usize), channels: Vec<String>, samples: Option<Samples>) -> Series {
    Series {
        path: String::new(),
        shape,
        unit: String::new(),
        rate_hz: None,
        channels,
        samples,
    }
}

/// When samples were taken: a time each, or rows of (index of a sample, its time) with lines between them.
/// Of a few more times than samples, those at the end are left out, which the finding tells.
fn timing(times: &AlfFile, n_samples: usize, of: &AlfFile) -> Found<(Timing, Option<Finding>)> {
    let array = array_of(&times.path, &times.at)?;
    let (n_rows, n_columns) = array.dim()?;
    if n_columns == 1 {
        let mut times_s = seconds(&array, &times.at)?;
        let n_more = n_rows.saturating_sub(n_samples);
        if n_rows < n_samples || n_more as f64 > MAX_MORE * n_samples as f64 {
            let message = format!("{n_rows} times for the {n_samples} samples of {}", of.at);
            return Err(at(times, message));
        }
        let warning = (n_more > 0).then(|| {
            let message = format!(
                "{n_rows} times for the {n_samples} samples of {}: the last {n_more} times are left out, as where a camera stops before its clock",
                of.at
            );
            at(times, message)
        });
        times_s.truncate(n_samples);
        return Ok((Timing::Timestamps(times_s), warning));
    }
    if n_columns != 2 {
        let message = format!("{n_columns} columns; expected times, or rows of a sample's index and its time");
        return Err(at(times, message));
    }
    let mut knots = Vec::with_capacity(n_rows);
    let columns = (array.column(0)?, array.column(1)?);
    let (Column::Numbers(indices), Column::Numbers(times_s)) = columns else {
        return Err(at(times, "expected numbers"));
    };
    for (row, (&index, &time)) in indices.iter().zip(&times_s).enumerate() {
        let is_later = knots.last().is_none_or(|&(before, _)| index > before);
        if !index.is_finite() || !time.is_finite() || !is_later {
            let message = format!("row {row} is ({index}, {time}); expected increasing indices and finite times");
            return Err(at(times, message));
        }
        knots.push((index, time));
    }
    match knots[..] {
        [(from, start_s), (to, stop_s)] if stop_s > start_s => {
            let rate_hz = (to - from) / (stop_s - start_s);
            let start_s = start_s - from / rate_hz;
            Ok((Timing::Rate { rate_hz, start_s }, None))
        }
        [] | [_] => Err(at(
            times,
            format!("{n_rows} rows; two at least are needed to lay times between"),
        )),
        _ => Ok((Timing::Timestamps(interpolate(&knots, n_samples)), None)),
    }
}

/// Times of samples 0 to n − 1 on the lines between knots; the first and the last line go on beyond them.
///
/// ONE's own loader repeats the first and the last time there, which no series can have.
fn interpolate(knots: &[(f64, f64)], n_samples: usize) -> Vec<f64> {
    let mut segment = 0;
    let mut times_s = Vec::with_capacity(n_samples);
    for sample in 0..n_samples {
        let index = sample as f64;
        while segment + 2 < knots.len() && knots.get(segment + 1).is_some_and(|&(to, _)| index > to) {
            segment += 1;
        }
        if let Some(&[(from, start_s), (to, stop_s)]) =
            knots.get(segment..segment + 2).and_then(|two| two.first_chunk())
        {
            times_s.push(start_s + (index - from) * (stop_s - start_s) / (to - from));
        }
    }
    times_s
}

/// Times without samples, such as licks: a table of them and, for those who ask, a series that is 1 at each.
fn events(prefix: &str, times: &AlfFile, request: &SeriesRequest, source: &mut Source, findings: &mut Findings) {
    let mut columns = Columns { table: None };
    columns.add_array(times, findings);
    let Some((table, _)) = columns.table else { return };
    let name = format!("{prefix}{}", times.series_name());
    let shape = (table.n_rows(), 1);
    let times_s = match table.get(&times.attribute) {
        Some(Column::Numbers(times_s)) => times_s.clone(),
        _ => return,
    };
    let is_wanted = request.wants(&name);
    if is_wanted {
        let message = "times without values; as a series it is 1 at each, which has no mean in between";
        findings.warning(&times.at, message);
    }
    let samples = is_wanted.then(|| Samples {
        values: Array2::ones(shape),
        timing: Timing::Timestamps(times_s),
    });
    source.series.insert(name, series(shape, Vec::new(), samples));
    source.intervals.insert(format!("{prefix}{}", times.object), table);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_lie_on_lines_between_knots_and_beyond_them() {
        // By hand: 2 samples/s up to sample 4, 1 sample/s after it.
        let knots = [(2.0, 11.0), (4.0, 12.0), (5.0, 13.0)];
        assert_eq!(interpolate(&knots, 8), [10.0, 10.5, 11.0, 11.5, 12.0, 13.0, 14.0, 15.0]);
    }
}
