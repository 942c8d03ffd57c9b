//! The connectivity file: the weights of a network and what its neurons are. HDF5, version 1; `docs/FORMATS.md`.

use std::collections::HashMap;
use std::path::Path;

use hdf5::File;
use ndarray::{Array3, Ix3};

use crate::error::{DataError, Finding};
use crate::file::{write_array, write_attribute, write_column, write_text_attribute, write_texts};
use crate::fs::{Existing, Sibling};
use crate::h5::{self, Found, Node, file_error};
use crate::recording::CellType;

/// Attribute `format` of every connectivity file.
const FORMAT: &str = "snnfit-connectivity";
/// Attribute `format` of files with all parameters of a network, which has the same arrays and more.
pub const PARAMETERS_FORMAT: &str = "snnfit-parameters";
/// Unit of weights that change the log-odds of a spike, ln(p/(1 − p)), by their value.
pub const LOG_ODDS: &str = "log-odds";
/// The version this program writes, and the newest it reads.
const VERSION: i64 = 1;

/// Weights of a network, and its neurons.
#[derive(Clone, Debug, PartialEq)]
pub struct Connectivity {
    /// Signed weight of each synapse `[D, to, from]`; 0 where there is none.
    pub weights: Array3<f32>,
    /// What the weights are measured in, such as [`LOG_ODDS`]; empty where it is a unit of the model's own.
    pub weight_unit: String,
    /// Delay of each of the D matrices (ms).
    pub delays_ms: Vec<f64>,
    /// Neurons, `[N]`.
    pub neurons: Vec<ConnectivityNeuron>,
}

/// A neuron of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectivityNeuron {
    /// Session of the unit that the neuron stands for; empty where sessions share units, and for a hidden neuron.
    pub session: String,
    /// Id of the unit; empty for a hidden neuron.
    pub unit: String,
    /// Area.
    pub area: String,
    /// Cell type.
    pub cell_type: CellType,
}

impl Connectivity {
    fn check(&self) -> Result<(), String> {
        let (d, to, from) = self.weights.dim();
        let n = self.neurons.len();
        if (to, from) != (n, n) {
            return Err(format!("weights of {from} to {to} neurons, but {n} neurons"));
        }
        if d != self.delays_ms.len() {
            return Err(format!("{d} matrices of weights, but {} delays", self.delays_ms.len()));
        }
        if let Some(delay) = self
            .delays_ms
            .iter()
            .find(|delay| !(delay.is_finite() && **delay > 0.0))
        {
            return Err(format!("a delay of {delay} ms; delays are above 0"));
        }
        let mut known = HashMap::new();
        for (row, neuron) in self
            .neurons
            .iter()
            .enumerate()
            .filter(|(_, neuron)| !neuron.unit.is_empty())
        {
            if let Some(first) = known.insert((&neuron.session, &neuron.unit), row) {
                return Err(format!(
                    "neurons {first} and {row} are both unit '{}' of session '{}'",
                    neuron.unit.escape_debug(),
                    neuron.session.escape_debug()
                ));
            }
        }
        match self.weights.indexed_iter().find(|(_, w)| !w.is_finite()) {
            Some(((d, to, from), w)) => Err(format!("the weight [{d}, {to}, {from}] is {w}")),
            None => Ok(()),
        }
    }
}

/// Writes a connectivity file, in one step. Never replaces a file.
///
/// # Errors
/// [`DataError::Invalid`] for weights that don't fit the neurons or aren't finite, [`DataError::Fs`] if the file exists or
/// can't be written, [`DataError::Hdf5`] if the library fails. Nothing is left behind.
pub fn write_connectivity(path: &Path, connectivity: &Connectivity) -> Result<(), DataError> {
    connectivity.check().map_err(|message| invalid(path, "/", message))?;
    let sibling = Sibling::create(path, Existing::Refuse)?;
    hdf5::silence_errors(true);
    write_content(sibling.path(), connectivity).map_err(|error| file_error(path, sibling.path(), "write", &error))?;
    Ok(sibling.commit()?)
}

fn write_content(path: &Path, connectivity: &Connectivity) -> hdf5::Result<()> {
    let file = File::create(path)?;
    write_text_attribute(&file, "format", FORMAT)?;
    write_attribute(&file, "version", &VERSION)?;
    write_array(&file, "weights", &connectivity.weights.view())?;
    if !connectivity.weight_unit.is_empty() {
        let weights = file.dataset("weights")?;
        write_text_attribute(&weights, "unit", &connectivity.weight_unit)?;
    }
    write_column(&file, "delays_ms", &connectivity.delays_ms)?;
    let neurons = file.create_group("neurons")?;
    let rows = || connectivity.neurons.iter();
    write_texts(&neurons, "session", rows().map(|row| row.session.as_str()))?;
    write_texts(&neurons, "unit", rows().map(|row| row.unit.as_str()))?;
    write_texts(&neurons, "area", rows().map(|row| row.area.as_str()))?;
    write_texts(&neurons, "cell_type", rows().map(|row| row.cell_type.name()))?;
    file.flush()?;
    file.close()
}

/// Reads a connectivity file and checks it.
///
/// # Errors
/// [`DataError::Fs`], [`DataError::NotHdf5`], [`DataError::NotARecording`] for a file of another format,
/// [`DataError::TooNew`], [`DataError::Invalid`] with what is wrong.
pub fn read_connectivity(path: &Path) -> Result<Connectivity, DataError> {
    let as_invalid = |finding: Finding| DataError::Invalid {
        subject: path.display().to_string(),
        problems: vec![finding],
    };
    let file = h5::open(path)?;
    let root = Node::root(&file).map_err(as_invalid)?;
    if let Some(found) = header(&root).map_err(as_invalid)? {
        return Err(DataError::TooNew {
            path: path.to_path_buf(),
            found,
            known: VERSION,
        });
    }
    let connectivity = content(&root).map_err(as_invalid)?;
    connectivity.check().map_err(|message| invalid(path, "/", message))?;
    Ok(connectivity)
}

/// Checks that the file is of this format; the version, if it is newer than ours.
fn header(root: &Node) -> Found<Option<i64>> {
    match root.text_attribute("format")? {
        Some(format) if format == FORMAT || format == PARAMETERS_FORMAT => {}
        found => {
            let found = found.map_or("missing".to_owned(), |format| format!("\"{}\"", format.escape_debug()));
            let message = format!("{found}; a file of connectivity has \"{FORMAT}\"");
            return Err(Finding::new("/ (attribute format)", message));
        }
    }
    match root.integer_attribute("version")? {
        Some(VERSION) => Ok(None),
        Some(version) if version > VERSION => Ok(Some(version)),
        found => {
            let found = found.map_or("missing".to_owned(), |version| version.to_string());
            let message = format!("{found}; versions start at 1");
            Err(Finding::new("/ (attribute version)", message))
        }
    }
}

fn content(root: &Node) -> Found<Connectivity> {
    let table = root.group("neurons")?;
    let column = |name: &str| table.dataset(name)?.texts_1d();
    let (sessions, units) = (column("session")?, column("unit")?);
    let (areas, types) = (column("area")?, column("cell_type")?);
    let lengths = [sessions.len(), units.len(), areas.len(), types.len()];
    if lengths.iter().any(|n| *n != lengths[0]) {
        let message = format!("columns session, unit, area, cell_type of {lengths:?} rows; expected as many of each");
        return Err(Finding::new(&table.at, message));
    }
    let mut neurons = Vec::with_capacity(units.len());
    for (((session, unit), area), cell_type) in sessions.into_iter().zip(units).zip(areas).zip(types) {
        let Some(kind) = CellType::from_name(&cell_type) else {
            let message = format!("'{}' is no cell type", cell_type.escape_debug());
            return Err(Finding::new(table.path_of("cell_type"), message));
        };
        neurons.push(ConnectivityNeuron {
            session,
            unit,
            area,
            cell_type: kind,
        });
    }
    let weights = root.dataset("weights")?;
    Ok(Connectivity {
        weight_unit: weights.attributes().text("unit")?.unwrap_or_default(),
        weights: weights.floats32::<Ix3>("delay, to, from")?,
        delays_ms: root.dataset("delays_ms")?.floats_1d()?,
        neurons,
    })
}

fn invalid(path: &Path, at: &str, message: String) -> DataError {
    DataError::Invalid {
        subject: path.display().to_string(),
        problems: vec![Finding::new(at, message)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Connectivity {
        let neuron = |unit: &str, cell_type| ConnectivityNeuron {
            session: "s".to_owned(),
            unit: unit.to_owned(),
            area: "A".to_owned(),
            cell_type,
        };
        Connectivity {
            weights: Array3::from_shape_fn((2, 2, 2), |(d, to, from)| (d * 4 + to * 2) as f32 - from as f32),
            weight_unit: LOG_ODDS.to_owned(),
            delays_ms: vec![2.0, 4.0],
            neurons: vec![neuron("1", CellType::Excitatory), neuron("", CellType::Unknown)],
        }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n.h5");
        write_connectivity(&path, &small()).unwrap();
        assert_eq!(read_connectivity(&path).unwrap(), small());
        assert!(write_connectivity(&path, &small()).is_err());
        let other = folder.path().join("o.h5");
        let of_own_unit = Connectivity {
            weight_unit: String::new(),
            ..small()
        };
        write_connectivity(&other, &of_own_unit).unwrap();
        assert_eq!(read_connectivity(&other).unwrap(), of_own_unit);
    }

    #[test]
    fn what_does_not_fit_is_refused_when_written_and_when_read() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |change: fn(&mut Connectivity), expected: &str| {
            let mut changed = small();
            change(&mut changed);
            let path = folder.path().join("n.h5");
            let error = write_connectivity(&path, &changed).unwrap_err().to_string();
            assert!(error.contains(expected) && !path.exists(), "{error}");
            write_content(&path, &changed).unwrap();
            let error = read_connectivity(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            std::fs::remove_file(&path).unwrap();
        };
        refused(|c| c.weights[[1, 0, 1]] = f32::NAN, "the weight [1, 0, 1] is NaN");
        refused(|c| c.neurons.truncate(1), "weights of 2 to 2 neurons, but 1 neurons");
        refused(|c| c.delays_ms.truncate(1), "2 matrices of weights, but 1 delays");
        refused(|c| c.delays_ms[0] = 0.0, "a delay of 0 ms");
        refused(
            |c| c.neurons[1].unit = "1".to_owned(),
            "neurons 0 and 1 are both unit '1' of session 's'",
        );
        let recording = folder.path().join("r.h5");
        let file = File::create(&recording).unwrap();
        write_text_attribute(&file, "format", "snnfit-recording").unwrap();
        file.close().unwrap();
        let error = read_connectivity(&recording).unwrap_err().to_string();
        assert!(
            error.contains("\"snnfit-recording\"; a file of connectivity has"),
            "{error}"
        );
    }
}
