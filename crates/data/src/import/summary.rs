//! What is in a source, for somebody who has to write a plan: columns with their values, tables, series.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::source::Source;
use super::table::{Column, Table};
use crate::error::Finding;
use crate::inspect::{Quantiles, quantiles};

/// So many different texts of a column are listed.
const SHOWN_TEXTS: usize = 12;

/// Numbers are listed where there are at most so many different ones.
const SHOWN_NUMBERS: usize = 8;

/// Summary of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceSummary {
    /// Version of this form.
    pub schema: u32,
    /// Name of the session.
    pub id: String,
    /// Format and version.
    pub format: String,
    /// Number of units.
    pub n_units: usize,
    /// Number of spikes of all units.
    pub n_spikes: u64,
    /// First and last spike, in the times of the file.
    pub spike_span: Option<(f64, f64)>,
    /// Spikes per second of each unit over that span (per one of the file's times, if these are not s).
    pub rate_hz: Option<Quantiles>,
    /// Columns of the units.
    pub units: Vec<ColumnSummary>,
    /// The table of trials.
    pub trials: Option<TableSummary>,
    /// Other tables of intervals.
    pub intervals: BTreeMap<String, TableSummary>,
    /// Series of samples.
    pub series: BTreeMap<String, SeriesSummary>,
    /// Arrays that are none of these, and what they hold.
    pub arrays: BTreeMap<String, String>,
    /// Oddities.
    pub warnings: Vec<Finding>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableSummary {
    /// Number of rows.
    pub n_rows: usize,
    /// Its columns.
    pub columns: Vec<ColumnSummary>,
}

/// A column and its values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnSummary {
    /// Name.
    pub name: String,
    /// numbers, texts or flags.
    pub kind: String,
    /// Rows without a value.
    pub missing: usize,
    /// Smallest and largest number.
    pub range: Option<(f64, f64)>,
    /// Different texts or flags and how often they occur, the first twelve by name; numbers where there are few.
    pub values: BTreeMap<String, usize>,
    /// Number of different values, where they are counted.
    pub n_different: Option<usize>,
}

/// A series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeriesSummary {
    /// Number of samples.
    pub n_samples: usize,
    /// Number of channels.
    pub n_channels: usize,
    /// Names of the channels, if they have any.
    pub channels: Vec<String>,
    /// Unit of the samples.
    pub unit: String,
}

impl SourceSummary {
    /// Summarises a source.
    pub fn of(source: &Source) -> Self {
        let first = source.spikes_s.iter().flatten().copied().reduce(f64::min);
        let last = source.spikes_s.iter().flatten().copied().reduce(f64::max);
        let spike_span = first.zip(last);
        let rates = spike_span.filter(|(first, last)| last > first).map(|(first, last)| {
            let per_s = |times: &Vec<f64>| times.len() as f64 / (last - first);
            source.spikes_s.iter().map(per_s).collect::<Vec<f64>>()
        });
        let series = source.series.iter().map(|(name, series)| {
            let summary = SeriesSummary {
                n_samples: series.shape.0,
                n_channels: series.shape.1,
                channels: series.channels.clone(),
                unit: series.unit.clone(),
            };
            (name.clone(), summary)
        });
        Self {
            schema: 1,
            id: source.id.clone(),
            format: source.format.clone(),
            n_units: source.n_units(),
            n_spikes: source.spikes_s.iter().map(|times| times.len() as u64).sum(),
            spike_span,
            rate_hz: rates.map(quantiles),
            units: columns(&source.units),
            trials: source.trials.as_ref().map(TableSummary::of),
            intervals: source
                .intervals
                .iter()
                .map(|(name, table)| (name.clone(), TableSummary::of(table)))
                .collect(),
            series: series.collect(),
            arrays: source.arrays.clone(),
            warnings: source.warnings.clone(),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{} ({})", self.id, self.format)?;
        write!(out, "\n{} units, {} spikes", self.n_units, self.n_spikes)?;
        if let Some((first, last)) = self.spike_span {
            write!(out, " from {} to {}", shown(first), shown(last))?;
        }
        if let Some(rate) = &self.rate_hz {
            write!(
                out,
                "; median rate {:.3} ({:.3} to {:.3})",
                rate.median, rate.min, rate.max
            )?;
        }
        writeln!(out)?;
        write_columns(out, &self.units)?;
        match &self.trials {
            Some(table) => {
                writeln!(out, "\ntrials: {} rows", table.n_rows)?;
                write_columns(out, &table.columns)?;
            }
            None => writeln!(out, "\ntrials: none in this file")?,
        }
        for (name, table) in &self.intervals {
            writeln!(out, "\nintervals {name}: {} rows", table.n_rows)?;
            write_columns(out, &table.columns)?;
        }
        if !self.series.is_empty() {
            writeln!(out, "\nseries")?;
        }
        for (name, series) in &self.series {
            write!(
                out,
                "  {name}: {} samples, {} channel{}",
                series.n_samples,
                series.n_channels,
                if series.n_channels == 1 { "" } else { "s" }
            )?;
            if !series.channels.is_empty() {
                write!(out, " ({})", series.channels.join(", "))?;
            }
            let unit = if series.unit.is_empty() {
                "no unit"
            } else {
                &series.unit
            };
            writeln!(out, ", {unit}")?;
        }
        if !self.arrays.is_empty() {
            writeln!(out, "\nother arrays")?;
        }
        for (name, what) in &self.arrays {
            writeln!(out, "  {name}: {what}")?;
        }
        if !self.warnings.is_empty() {
            writeln!(out, "\nwarnings")?;
        }
        for warning in &self.warnings {
            writeln!(out, "  {warning}")?;
        }
        Ok(())
    }
}

impl TableSummary {
    fn of(table: &Table) -> Self {
        Self {
            n_rows: table.n_rows(),
            columns: columns(table),
        }
    }
}

fn columns(table: &Table) -> Vec<ColumnSummary> {
    let named = table.names().filter_map(|name| Some((name, table.get(name)?)));
    named.map(|(name, column)| ColumnSummary::of(name, column)).collect()
}

impl ColumnSummary {
    fn of(name: &str, column: &Column) -> Self {
        let mut summary = Self {
            name: name.to_owned(),
            kind: column.kind().to_owned(),
            missing: 0,
            range: None,
            values: BTreeMap::new(),
            n_different: None,
        };
        match column {
            Column::Numbers(values) => {
                let known = || values.iter().copied().filter(|value| !value.is_nan());
                summary.missing = values.len() - known().count();
                summary.range = known().reduce(f64::min).zip(known().reduce(f64::max));
                summary.count_numbers(known());
            }
            Column::Texts(values) => {
                summary.missing = values.iter().filter(|value| value.is_empty()).count();
                summary.count(values.iter().filter(|value| !value.is_empty()).map(String::as_str));
            }
            Column::Flags(values) => summary.count(values.iter().map(|value| if *value { "true" } else { "false" })),
        }
        summary
    }

    fn count<'a>(&mut self, values: impl Iterator<Item = &'a str> + Clone) {
        let different: BTreeSet<&str> = values.clone().collect();
        self.n_different = Some(different.len());
        let mut shown: BTreeMap<&str, usize> = different
            .into_iter()
            .take(SHOWN_TEXTS)
            .map(|value| (value, 0))
            .collect();
        for value in values {
            if let Some(n) = shown.get_mut(value) {
                *n += 1;
            }
        }
        self.values = shown.into_iter().map(|(value, n)| (value.to_owned(), n)).collect();
    }

    /// Conditions are often numbers, such as contrasts or choices: counts where some of few values stand in more than one row.
    fn count_numbers(&mut self, values: impl Iterator<Item = f64>) {
        let mut counts: Vec<(f64, usize)> = Vec::new();
        for value in values {
            match counts.iter().position(|(known, _)| *known == value) {
                Some(at) => counts[at].1 += 1,
                None if counts.len() == SHOWN_NUMBERS => return,
                None => counts.push((value, 1)),
            }
        }
        if counts.iter().all(|(_, n)| *n == 1) {
            return;
        }
        self.n_different = Some(counts.len());
        self.values = counts.into_iter().map(|(value, n)| (shown(value), n)).collect();
    }
}

/// Six significant digits, which is enough to recognise a number.
fn shown(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let digits = 5 - value.abs().log10().floor() as i32;
    if digits > 15 {
        return value.to_string();
    }
    let text = format!("{value:.*}", digits.max(0) as usize);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

fn write_columns(out: &mut String, columns: &[ColumnSummary]) -> std::fmt::Result {
    let width = columns
        .iter()
        .map(|column| column.name.chars().count())
        .max()
        .unwrap_or(0)
        .min(40);
    for column in columns {
        write!(out, "  {:width$}  {:8}", column.name, column.kind)?;
        let mut parts = Vec::new();
        if let (Some((low, high)), None) = (column.range, column.n_different) {
            parts.push(format!("{} to {}", shown(low), shown(high)));
        }
        if let Some(n_different) = column.n_different {
            let mut values: Vec<(&String, &usize)> = column.values.iter().collect();
            if column.range.is_some() {
                let number = |value: &str| value.parse().unwrap_or(f64::NAN);
                values.sort_by(|(a, _), (b, _)| number(a).total_cmp(&number(b)));
            }
            let shown: Vec<String> = values.into_iter().map(|(value, n)| format!("{value} ({n})")).collect();
            let more = n_different - column.values.len();
            let more = if more > 0 {
                format!(", … {more} more")
            } else {
                String::new()
            };
            parts.push(format!("{}{more}", shown.join(", ")));
        }
        if column.missing > 0 {
            parts.push(format!("{} missing", column.missing));
        }
        parts.retain(|part| !part.is_empty());
        writeln!(out, "{}", parts.join("; "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_listed_where_they_are_few_and_repeat() {
        let line = |values: &[f64]| {
            let column = ColumnSummary::of("x", &Column::Numbers(values.to_vec()));
            let mut text = String::new();
            write_columns(&mut text, &[column]).unwrap();
            text.trim_end().to_owned()
        };
        assert_eq!(
            line(&[10.0, -1.0, 2.0, -1.0, f64::NAN, 0.0, -0.0]),
            "  x  numbers -1 (2), 0 (2), 2 (1), 10 (1); 1 missing"
        );
        assert_eq!(line(&[1.0, 2.0, 3.0]), "  x  numbers 1 to 3");
        let many: Vec<f64> = (0..40).map(|i| f64::from(i % 20)).collect();
        assert_eq!(line(&many), "  x  numbers 0 to 19");
    }

    #[test]
    fn numbers_have_six_digits() {
        let cases = [
            (0.899_999_999_999_9, "0.9"),
            (0.005_398_971_204_578_773, "0.00539897"),
            (249.997_520_929, "249.998"),
            (1_087_352.833, "1087353"),
            (-12_500.0, "-12500"),
            (0.0, "0"),
            (1e-9, "0.000000001"),
        ];
        for (value, text) in cases {
            assert_eq!(shown(value), text);
        }
    }
}
