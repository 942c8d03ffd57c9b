//! One entry to all readers: by what is in a file or folder.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::csv::{CsvTables, read_csv};
use super::detect::{Layout, detect};
use super::source::{SeriesRequest, Source};
use super::{read_alf, read_hdf5, read_npz, read_nwb, read_phy};
use crate::error::DataError;

/// What is read besides units, spikes and trials, and what a layout doesn't say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReadOptions {
    /// Series whose values are read.
    pub series: SeriesRequest,
    /// Sampling rate (Hz) of spike times in samples, for a Phy folder that doesn't say it.
    pub sample_rate_hz: Option<f64>,
    /// Table of units beside a table of spikes.
    pub units_table: Option<PathBuf>,
    /// Table of trials beside a table of spikes.
    pub trials_table: Option<PathBuf>,
}

/// Reads a file or folder of a layout that [`detect`] knows.
///
/// # Errors
/// Those of [`detect`] and of the readers; [`DataError::NoReader`] for layouts that are no session by themselves: a recording
/// of this program, a single NumPy array.
pub fn read(path: &Path, options: &ReadOptions) -> Result<Source, DataError> {
    let layout = detect(path)?;
    let no_reader = |hint| {
        Err(DataError::NoReader {
            path: path.to_path_buf(),
            layout: layout.name(),
            hint,
        })
    };
    let (is_phy, is_csv) = (layout == Layout::Phy, layout == Layout::Csv);
    let given = [
        ("the sampling rate", options.sample_rate_hz.is_some(), is_phy),
        ("the table of units", options.units_table.is_some(), is_csv),
        ("the table of trials", options.trials_table.is_some(), is_csv),
    ];
    if let Some((name, ..)) = given.into_iter().find(|(_, is_given, is_used)| *is_given && !*is_used) {
        return Err(DataError::BadOption {
            name,
            found: format!("given for a {layout}, {}", path.display()),
            expected: "a Phy folder for a sampling rate, a CSV table of spikes for the other two",
        });
    }
    match layout {
        Layout::Nwb => read_nwb(path, &options.series),
        Layout::Npz => read_npz(path, &options.series),
        Layout::Alf => read_alf(path, &options.series),
        Layout::Phy => read_phy(path, options.sample_rate_hz),
        Layout::Csv => read_csv(&CsvTables {
            spikes: path.to_path_buf(),
            units: options.units_table.clone(),
            trials: options.trials_table.clone(),
            ..CsvTables::default()
        }),
        Layout::Native => no_reader("it needs no import"),
        Layout::Hdf5 => read_hdf5(path, &options.series),
        Layout::Npy => {
            no_reader("numpy.savez puts arrays together, see docs/FORMATS.md; a Phy or ALF folder is named as a whole")
        }
    }
}

impl Layout {
    /// Whether it is one of others that [`read`] takes.
    pub fn is_foreign(self) -> bool {
        matches!(
            self,
            Self::Nwb | Self::Hdf5 | Self::Npz | Self::Alf | Self::Phy | Self::Csv
        )
    }
}
