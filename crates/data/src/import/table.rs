//! Tables as laboratories' files have them: named columns of numbers, texts or flags, one row per unit or trial.

use serde::{Deserialize, Serialize};

use crate::error::Finding;

/// Values of one column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Column {
    /// Numbers; NaN where a value is missing.
    Numbers(#[serde(with = "crate::packed::list")] Vec<f64>),
    /// Texts; empty where a value is missing.
    Texts(Vec<String>),
    /// Flags.
    Flags(Vec<bool>),
}

impl Column {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(values) => values.len(),
            Self::Texts(values) => values.len(),
            Self::Flags(values) => values.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it holds, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Numbers(_) => "numbers",
            Self::Texts(_) => "texts",
            Self::Flags(_) => "flags",
        }
    }

    /// The value of a row as a text: whole numbers without a point, a missing one is empty.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn text(&self, row: usize) -> String {
        match self {
            Self::Numbers(values) if values[row].is_nan() => String::new(),
            Self::Numbers(values) => values[row].to_string(),
            Self::Texts(values) => values[row].clone(),
            Self::Flags(values) => values[row].to_string(),
        }
    }

    /// The rows of these indices, in their order.
    ///
    /// # Panics
    /// If a row doesn't exist.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        match self {
            Self::Numbers(values) => Self::Numbers(rows.iter().map(|&row| values[row]).collect()),
            Self::Texts(values) => Self::Texts(rows.iter().map(|&row| values[row].clone()).collect()),
            Self::Flags(values) => Self::Flags(rows.iter().map(|&row| values[row]).collect()),
        }
    }

    /// A column of texts as numbers or flags where every value is one (a missing one is NaN; flags can't miss).
    ///
    /// For formats without types, such as CSV: `true`/`false` in any case become flags, an empty text, `NaN`, `NA`, `n/a` and
    /// `null` a missing number. Nothing but missing values stays text.
    #[must_use]
    pub fn from_untyped(texts: Vec<String>) -> Self {
        let flag = |text: &String| match text.trim().to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        if let Some(flags) = texts.iter().map(flag).collect::<Option<Vec<bool>>>()
            && !flags.is_empty()
        {
            return Self::Flags(flags);
        }
        let number = |text: &String| {
            if is_missing(text.trim()) {
                return Some(f64::NAN);
            }
            text_number(text)
        };
        match texts.iter().map(number).collect::<Option<Vec<f64>>>() {
            Some(numbers) if numbers.iter().any(|value| !value.is_nan()) => Self::Numbers(numbers),
            _ => Self::Texts(texts),
        }
    }
}

/// Whether a text is a usual one for a missing number.
pub(super) fn is_missing(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "" | "nan" | "na" | "n/a" | "null")
}

/// The number that a text is; Rust also reads "inf" and "infinity", which tables use for names of areas (infundibulum, …).
pub(super) fn text_number(text: &str) -> Option<f64> {
    let text = text.trim();
    let is_numeric = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    text.parse().ok().filter(|_| is_numeric)
}

/// Columns of equal length, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    n_rows: usize,
    columns: Vec<(String, Column)>,
}

impl Table {
    /// A table of so many rows, without a column yet.
    pub fn new(n_rows: usize) -> Self {
        Self {
            n_rows,
            columns: Vec::new(),
        }
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Names of the columns, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// Adds a column, or replaces the one of that name.
    ///
    /// # Errors
    /// A finding at `location` if it has another number of rows than the table.
    pub fn insert(&mut self, location: &str, name: impl Into<String>, column: Column) -> Result<(), Finding> {
        let name = name.into();
        if column.len() != self.n_rows {
            let message = format!(
                "column '{name}' has {} rows; the table has {}",
                column.len(),
                self.n_rows
            );
            return Err(Finding::new(location, message));
        }
        match self.columns.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = column,
            None => self.columns.push((name, column)),
        }
        Ok(())
    }

    /// The column of that name.
    pub fn get(&self, name: &str) -> Option<&Column> {
        self.columns
            .iter()
            .find_map(|(known, column)| (known == name).then_some(column))
    }

    /// The table of these rows, in their order.
    ///
    /// # Panics
    /// If a row doesn't exist.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let columns = self.columns.iter();
        Self {
            n_rows: rows.len(),
            columns: columns
                .map(|(name, column)| (name.clone(), column.select(rows)))
                .collect(),
        }
    }

    /// Tables one below the other, columns in the order in which they first come; where one lacks a column, its values are missing.
    /// Numbers stay numbers where all are, flags where none lacks the column; other columns become texts.
    pub(super) fn stacked(mut tables: Vec<Self>) -> Result<Self, Finding> {
        if tables.len() == 1
            && let Some(only) = tables.pop()
        {
            return Ok(only);
        }
        let mut all = Self::new(tables.iter().map(Self::n_rows).sum());
        let mut names: Vec<&str> = Vec::new();
        for name in tables.iter().flat_map(Self::names) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for name in names {
            let parts: Vec<Option<&Column>> = tables.iter().map(|table| table.get(name)).collect();
            all.insert("clusters", name, concatenated(&parts, &tables))?;
        }
        Ok(all)
    }

    /// The names of the columns for a message; "did you mean" where one is close to `wanted`.
    pub fn hint(&self, wanted: &str) -> String {
        if self.columns.is_empty() {
            return "there are no columns".to_owned();
        }
        let mut names: Vec<&str> = self.names().collect();
        let nearest = nearest(wanted, &names);
        let more = names.len().saturating_sub(SHOWN_COLUMNS);
        names.truncate(SHOWN_COLUMNS);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let list = format!("columns: {}{more}", names.join(", "));
        match nearest {
            Some(name) => format!("did you mean '{name}'? {list}"),
            None => list,
        }
    }
}

/// Columns of one name: numbers where all are, flags where all are and none lacks it, texts otherwise.
fn concatenated(parts: &[Option<&Column>], tables: &[Table]) -> Column {
    let rows = || parts.iter().zip(tables);
    if parts.iter().all(|part| matches!(part, None | Some(Column::Numbers(_)))) {
        let values = rows().flat_map(|(part, table)| match part {
            Some(Column::Numbers(values)) => values.clone(),
            _ => vec![f64::NAN; table.n_rows()],
        });
        return Column::Numbers(values.collect());
    }
    if parts.iter().all(|part| matches!(part, Some(Column::Flags(_)))) {
        let values = rows().flat_map(|(part, _)| match part {
            Some(Column::Flags(values)) => values.clone(),
            _ => Vec::new(),
        });
        return Column::Flags(values.collect());
    }
    let values = rows().flat_map(|(part, table)| {
        (0..table.n_rows()).map(move |row| part.map(|part| part.text(row)).unwrap_or_default())
    });
    Column::Texts(values.collect())
}

/// A message lists so many columns.
pub(super) const SHOWN_COLUMNS: usize = 40;

/// The name that takes the fewest edits, if these are at most a third of its letters.
pub(super) fn nearest<'a>(wanted: &str, names: &[&'a str]) -> Option<&'a str> {
    let wanted: Vec<char> = wanted.to_lowercase().chars().take(64).collect();
    let distance = |name: &str| {
        let name: Vec<char> = name.to_lowercase().chars().take(64).collect();
        let mut row: Vec<usize> = (0..=name.len()).collect();
        for (i, a) in wanted.iter().enumerate() {
            let mut diagonal = row[0];
            row[0] = i + 1;
            for (j, b) in name.iter().enumerate() {
                let replaced = diagonal + usize::from(a != b);
                diagonal = row[j + 1];
                row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
            }
        }
        row[name.len()]
    };
    let (name, edits) = names
        .iter()
        .map(|name| (*name, distance(name)))
        .min_by_key(|(_, edits)| *edits)?;
    (edits * 3 <= wanted.len()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[&str]) -> Vec<String> {
        values.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn untyped_columns_become_numbers_or_flags_only_where_every_value_is_one() {
        let untyped = |values: &[&str]| Column::from_untyped(texts(values));
        assert_eq!(untyped(&["True", "false"]), Column::Flags(vec![true, false]));
        assert_eq!(untyped(&["1", " 2.5", "-3e-2"]), Column::Numbers(vec![1.0, 2.5, -0.03]));
        let Column::Numbers(with_missing) = untyped(&["1", "", "NaN", "n/a"]) else {
            panic!("numbers");
        };
        assert_eq!(with_missing[0], 1.0);
        assert!(with_missing[1..].iter().all(|value| value.is_nan()));
        for kept in [&["1", "VISp"][..], &["", "NA"], &["true", ""], &["inf", "1"], &[]] {
            assert_eq!(untyped(kept), Column::Texts(texts(kept)), "{kept:?}");
        }
    }

    #[test]
    fn a_column_of_another_length_is_refused_and_one_of_the_same_name_replaced() {
        let mut table = Table::new(2);
        let found = table.insert("units", "area", Column::Texts(texts(&["V1"])));
        assert_eq!(
            found.expect_err("one row of two").to_string(),
            "units: column 'area' has 1 rows; the table has 2"
        );
        for values in [[1.0, 2.0], [3.0, 4.0]] {
            let column = Column::Numbers(values.to_vec());
            table.insert("units", "x", column).expect("two rows");
        }
        assert_eq!(table.get("x"), Some(&Column::Numbers(vec![3.0, 4.0])));
        assert_eq!(table.names().count(), 1);
    }

    #[test]
    fn hints_name_the_nearest_column_and_only_a_near_one() {
        let mut table = Table::new(0);
        for name in ["isi_violations", "presence_ratio"] {
            table.insert("units", name, Column::Flags(vec![])).expect("no rows");
        }
        assert!(
            table
                .hint("isi_violation")
                .starts_with("did you mean 'isi_violations'? ")
        );
        assert_eq!(table.hint("depth"), "columns: isi_violations, presence_ratio");
    }
}
