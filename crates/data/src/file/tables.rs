//! The tables of units and trials: each column is read by itself, and put together where all could be.

use crate::error::{Finding, Findings};
use crate::h5::{Data, Found, Node};
use crate::recording::{CellType, Trial, Unit};
use crate::validate::{TrialColumns, UnitColumns};

/// Columns of a table; all must have as many rows as most of them.
struct Table<'a> {
    node: &'a Node,
    /// Number of rows, and the first column that has so many; `None` without a column.
    n_rows: Option<(usize, String)>,
}

impl<'a> Table<'a> {
    fn new(node: &'a Node, names: &[&str]) -> Self {
        // What can't be read is reported when its turn comes.
        let columns = names.iter().filter_map(|name| node.dataset(name).ok());
        let columns: Vec<(usize, String)> = columns
            .filter_map(|data| Some((*data.shape.first()?, data.at)))
            .collect();
        let n_equal = |length: usize| columns.iter().filter(|(n, _)| *n == length).count();
        // The first of the largest: `max_by_key` takes the last.
        let n_rows = columns.iter().rev().max_by_key(|(n, _)| n_equal(*n)).cloned();
        Self { node, n_rows }
    }

    fn len(&self) -> Option<usize> {
        self.n_rows.as_ref().map(|(n_rows, _)| *n_rows)
    }

    fn column<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Data) -> Found<Vec<T>>,
        findings: &mut Findings,
    ) -> Option<Vec<T>> {
        let data = findings.keep(self.node.dataset(name))?;
        let values = findings.keep(read(&data))?;
        match &self.n_rows {
            Some((n_rows, other)) if values.len() != *n_rows => {
                let message = format!("{} rows, but '{other}' has {n_rows}", values.len());
                findings.problem(data.at, message);
                None
            }
            _ => Some(values),
        }
    }

    /// An empty list where there is no such column.
    fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Data) -> Found<Vec<T>>,
        findings: &mut Findings,
    ) -> Option<Vec<T>> {
        if self.node.has(name) {
            self.column(name, read, findings)
        } else {
            Some(Vec::new())
        }
    }
}

/// The unit table; columns that could not be read are `None`.
pub(super) struct UnitTable {
    n: Option<usize>,
    ids: Option<Vec<String>>,
    areas: Option<Vec<String>>,
    cell_types: Option<Vec<CellType>>,
    /// Empty where there is no such column.
    rates: Option<Vec<f64>>,
}

impl UnitTable {
    pub(super) fn read(node: &Node, findings: &mut Findings) -> Self {
        let table = Table::new(node, &["id", "area", "cell_type", "firing_rate"]);
        let ids = table.column("id", Data::texts_1d, findings);
        let areas = table.column("area", Data::texts_1d, findings);
        let types = table.column("cell_type", Data::texts_1d, findings);
        let rates = table.optional("firing_rate", Data::floats_1d, findings);
        Self {
            n: table.len(),
            ids,
            areas,
            cell_types: types.and_then(|names| read_cell_types(&names, node, findings)),
            rates,
        }
    }

    /// `None` where not even the number of units is known.
    pub(super) fn columns(&self) -> Option<UnitColumns<'_>> {
        Some(UnitColumns {
            n: self.n?,
            id: self.ids.as_ref().map(|ids| ids.iter().map(String::as_str).collect()),
            area: self
                .areas
                .as_ref()
                .map(|areas| areas.iter().map(String::as_str).collect()),
            firing_rate_hz: self
                .rates
                .as_ref()
                .map(|rates| rates.iter().copied().map(known).collect()),
        })
    }

    pub(super) fn into_units(self) -> Option<Vec<Unit>> {
        let rates = self.rates?;
        let rows = self.ids?.into_iter().zip(self.areas?).zip(self.cell_types?).enumerate();
        let unit = |(n, ((id, area), cell_type)): (usize, ((String, String), CellType))| Unit {
            id,
            area,
            cell_type,
            firing_rate_hz: rates.get(n).copied().and_then(known),
        };
        Some(rows.map(unit).collect())
    }
}

/// NaN stands for what is not known.
fn known(value: f64) -> Option<f64> {
    (!value.is_nan()).then_some(value)
}

fn read_cell_types(names: &[String], node: &Node, findings: &mut Findings) -> Option<Vec<CellType>> {
    let mut is_complete = true;
    let mut cell_types = Vec::with_capacity(names.len());
    for (n, name) in names.iter().enumerate() {
        if let Some(cell_type) = CellType::from_name(name) {
            cell_types.push(cell_type);
        } else {
            is_complete = false;
            findings.problem(
                format!("{}, unit {n}", node.path_of("cell_type")),
                format!(
                    "unknown cell type '{}'; expected 'excitatory', 'inhibitory' or 'unknown'",
                    name.escape_debug()
                ),
            );
        }
    }
    is_complete.then_some(cell_types)
}

/// The trial table; columns that could not be read are `None`.
pub(super) struct TrialTable {
    n: Option<usize>,
    pub(super) start_s: Option<Vec<f64>>,
    pub(super) stop_s: Option<Vec<f64>>,
    align_s: Option<Vec<f64>>,
    stimulus: Option<Vec<f64>>,
    trial_type: Option<Vec<String>>,
    /// Empty where there is no such column.
    movie: Option<Vec<Option<usize>>>,
    /// Empty where there is no such column.
    valid_bins: Option<Vec<Option<usize>>>,
}

impl TrialTable {
    pub(super) fn read(node: &Node, findings: &mut Findings) -> Self {
        let names = [
            "start_time",
            "stop_time",
            "align_time",
            "stimulus",
            "trial_type",
            "movie",
            "valid_bins",
        ];
        let table = Table::new(node, &names);
        let start_s = table.column("start_time", Data::floats_1d, findings);
        let stop_s = table.column("stop_time", Data::floats_1d, findings);
        let align_s = table.column("align_time", Data::floats_1d, findings);
        let stimulus = table.column("stimulus", Data::floats_1d, findings);
        let trial_type = table.column("trial_type", Data::texts_1d, findings);
        let movie = table.optional("movie", Data::integers_1d, findings);
        let valid = table.optional("valid_bins", Data::integers_1d, findings);
        let mut indices =
            |column: Option<Vec<i64>>, name: &str| findings.keep(optional_indices(&column?, &node.path_of(name)));
        Self {
            n: table.len(),
            start_s,
            stop_s,
            align_s,
            stimulus,
            trial_type,
            movie: indices(movie, "movie"),
            valid_bins: indices(valid, "valid_bins"),
        }
    }

    /// `None` where not even the number of trials is known.
    pub(super) fn columns(&self) -> Option<TrialColumns<'_>> {
        let n = self.n?;
        // A column that isn't there says "none" in every row.
        let filled = |column: &Option<Vec<Option<usize>>>| match column.as_deref() {
            Some([]) => Some(vec![None; n]),
            column => column.map(<[_]>::to_vec),
        };
        Some(TrialColumns {
            n,
            start_s: self.start_s.clone(),
            stop_s: self.stop_s.clone(),
            align_s: self.align_s.clone(),
            stimulus: self.stimulus.clone(),
            trial_type: self
                .trial_type
                .as_ref()
                .map(|labels| labels.iter().map(String::as_str).collect()),
            movie: filled(&self.movie),
            valid_bins: filled(&self.valid_bins),
        })
    }

    pub(super) fn into_trials(self) -> Option<Vec<Trial>> {
        let (movie, valid_bins) = (self.movie?, self.valid_bins?);
        let rows = self.start_s?.into_iter().zip(self.stop_s?).zip(self.align_s?);
        let rows = rows.zip(self.stimulus?).zip(self.trial_type?).enumerate();
        Some(
            rows.map(|(k, ((((start_s, stop_s), align_s), stimulus), trial_type))| Trial {
                start_s,
                stop_s,
                align_s,
                stimulus,
                trial_type,
                movie: movie.get(k).copied().flatten(),
                valid_bins: valid_bins.get(k).copied().flatten(),
            })
            .collect(),
        )
    }
}

/// Indices of which −1 means "none".
pub(crate) fn optional_indices(column: &[i64], at: &str) -> Found<Vec<Option<usize>>> {
    let index = |(k, &value): (usize, &i64)| match usize::try_from(value) {
        Ok(index) => Ok(Some(index)),
        Err(_) if value == -1 => Ok(None),
        Err(_) => Err(Finding::new(
            format!("{at}, trial {k}"),
            format!("{value}; expected a number ≥ 0, or -1 for none"),
        )),
    };
    column.iter().enumerate().map(index).collect()
}
