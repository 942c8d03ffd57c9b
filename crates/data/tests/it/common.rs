//! Small recordings, seeded random numbers, and where shared data are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use data::import::{Column, SeriesRequest, Source};
use data::{Activity, CellType, Recording, Session, Trial, TrialEvents, Unit};
use ndarray::Array3;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

pub fn rng(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}

pub fn unit(id: usize, area: &str, cell_type: CellType) -> Unit {
    Unit {
        id: format!("u{id}"),
        area: area.to_owned(),
        cell_type,
        firing_rate_hz: None,
    }
}

/// A trial of one second, aligned 0.25 s after its start.
pub fn trial(k: usize, trial_type: &str) -> Trial {
    Trial {
        start_s: k as f64,
        stop_s: k as f64 + 1.0,
        align_s: k as f64 + 0.25,
        stimulus: 1.0,
        trial_type: trial_type.to_owned(),
        movie: None,
        valid_bins: None,
    }
}

/// Two units (one spike each per trial), three trials.
pub fn session(id: &str) -> Session {
    let times = |offset: f64| (0..3).map(|k| f64::from(k) + offset).collect();
    Session {
        id: id.to_owned(),
        units: vec![unit(0, "A", CellType::Excitatory), unit(1, "B", CellType::Inhibitory)],
        trials: (0..3).map(|k| trial(k, ["hit", "miss"][k % 2])).collect(),
        events: TrialEvents::default(),
        behaviour: BTreeMap::new(),
        stimulus: None,
        activity: Activity::SpikeTimes {
            unit_observed_s: None,
            times_s: vec![times(0.5), times(0.75)],
            observed_s: (0.0, 3.0),
        },
    }
}

/// Counts given, bins of 1 ms from −2 ms on, all trials of type `x`.
pub fn binned_session(id: &str, counts: Array3<u8>) -> Session {
    let (n_trials, _, n_units) = counts.dim();
    Session {
        id: id.to_owned(),
        units: (0..n_units).map(|n| unit(n, "A", CellType::Unknown)).collect(),
        trials: (0..n_trials).map(|k| trial(k, "x")).collect(),
        events: TrialEvents::default(),
        behaviour: BTreeMap::new(),
        stimulus: None,
        activity: Activity::Binned {
            presence: None,
            counts,
            bin_ms: 1.0,
            start_ms: -2.0,
        },
    }
}

pub fn recording(sessions: Vec<Session>) -> Recording {
    Recording { sessions }
}

/// A file of the shared data; `None`, with a word about it, where they aren't. Fails under CI.
pub fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SNNFIT_SHARED").map_or_else(
        || PathBuf::from(format!("{}/../../../shared", manifest_dir())),
        PathBuf::from,
    );
    let file = root.join(path);
    if file.is_file() {
        return Some(file);
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{} is missing, and CI must not skip",
        file.display()
    );
    #[allow(clippy::print_stderr)]
    {
        eprintln!("skipped: {} is missing (set SNNFIT_SHARED)", file.display());
    }
    None
}

/// A Python interpreter with the packages of `tests/python/requirements.txt`: what `SNNFIT_PYTHON` says, or that of
/// `scripts/python.sh`. `None`, with a word about it, where there is none. Fails under CI.
pub fn python() -> Option<PathBuf> {
    let of_environment = || {
        let environment = std::env::var_os("SNNFIT_PYTHON_ENV").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/snnfit-python"));
        environment.or_else(home).map(|folder| folder.join("bin/python"))
    };
    let python = std::env::var_os("SNNFIT_PYTHON")
        .map(PathBuf::from)
        .or_else(of_environment);
    if let Some(python) = python.filter(|python| python.is_file()) {
        return Some(python);
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "there is no Python to compare with, and CI must not skip; run scripts/python.sh"
    );
    #[allow(clippy::print_stderr)]
    {
        eprintln!("skipped: there is no Python to compare with (run scripts/python.sh, or set SNNFIT_PYTHON)");
    }
    None
}

/// What `tests/python/make_arrays.py` wrote, and what NumPy and pandas read back.
pub struct Arrays {
    folder: tempfile::TempDir,
    pub expected: serde_json::Value,
}

impl Arrays {
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }
}

/// Arrays that Python wrote, once for all tests; `None` where there is no Python.
pub fn arrays() -> Option<&'static Arrays> {
    static MADE: OnceLock<Option<Arrays>> = OnceLock::new();
    let make = || {
        let python = python()?;
        let folder = tempfile::tempdir().unwrap();
        let script = format!("{}/../../tests/python/make_arrays.py", manifest_dir());
        let output = Command::new(python).arg(script).arg(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read_to_string(folder.path().join("expected.json")).unwrap();
        let expected = serde_json::from_str(&text).unwrap();
        Some(Arrays { folder, expected })
    };
    MADE.get_or_init(make).as_ref()
}

/// Numbers of a JSON list, in which NaN is null and infinities are texts.
#[track_caller]
pub fn numbers(list: &serde_json::Value) -> Vec<f64> {
    let number = |value: &serde_json::Value| match value {
        serde_json::Value::Null => f64::NAN,
        serde_json::Value::String(text) => text.parse().unwrap(),
        other => other.as_f64().unwrap(),
    };
    list.as_array().unwrap().iter().map(number).collect()
}

/// Spike times of each unit in a JSON list of lists.
#[track_caller]
pub fn trains(list: &serde_json::Value) -> Vec<Vec<f64>> {
    list.as_array().unwrap().iter().map(numbers).collect()
}

/// The kind and the values of a column that JSON has as `{"kind", "values"}`, with NaN equal to NaN.
#[track_caller]
pub fn assert_column(found: Option<&Column>, expected: &serde_json::Value, name: &str) {
    let found = found.unwrap_or_else(|| panic!("column '{name}' is missing"));
    let kind = expected["kind"].as_str().unwrap();
    let values = expected["values"].as_array().unwrap();
    assert_eq!(found.kind(), kind, "{name}");
    match found {
        Column::Numbers(found) => assert_numbers(found, &numbers(&expected["values"]), name),
        Column::Texts(found) => {
            let texts: Vec<&str> = values.iter().map(|value| value.as_str().unwrap()).collect();
            assert_eq!(found, &texts, "{name}");
        }
        Column::Flags(found) => {
            let flags: Vec<bool> = values.iter().map(|value| value.as_bool().unwrap()).collect();
            assert_eq!(found, &flags, "{name}");
        }
    }
}

/// Equal bit for bit, but for the bits of NaN.
#[track_caller]
pub fn assert_numbers(found: &[f64], expected: &[f64], name: &str) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (place, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!(
            a == b || (a.is_nan() && b.is_nan()),
            "{name}, {place}: {a}, expected {b}"
        );
    }
}

#[track_caller]
pub fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "'{part}' is not in: {message}");
    }
}

/// All warnings of a source, a line each.
pub fn warnings(source: &Source) -> String {
    let lines: Vec<String> = source.warnings.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// The bytes of a `.npy` file of version 1 with that dictionary.
pub fn npy_bytes(descr: &str, is_fortran: bool, shape: &str, values: &[u8]) -> Vec<u8> {
    let order = if is_fortran { "True" } else { "False" };
    let header = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}");
    npy_with_header(&header, values)
}

pub fn npy_with_header(header: &str, values: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    let padded = (header.len() + 11).next_multiple_of(64) - 10;
    bytes.extend(u16::try_from(padded).unwrap().to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = padded - 1).bytes());
    bytes.extend(values);
    bytes
}

/// A list of 64-bit floats as a `.npy` file.
pub fn npy_floats(values: &[f64]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    npy_bytes("'<f8'", false, &format!("({},)", values.len()), &bytes)
}

/// A list of 64-bit whole numbers as a `.npy` file.
pub fn npy_integers(values: &[i64]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    npy_bytes("'<i8'", false, &format!("({},)", values.len()), &bytes)
}

/// A folder of files with these contents; names may have folders.
pub fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

/// A request for the values of these series.
pub fn wanting(names: &[&str]) -> SeriesRequest {
    SeriesRequest::of(names.iter().copied())
}

/// Folder of the package, as Cargo says it now: a build folder that several checkouts share may hold the path of another.
pub(crate) fn manifest_dir() -> String {
    std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned())
}
