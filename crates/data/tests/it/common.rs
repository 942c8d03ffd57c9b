//! Small recordings, seeded random numbers, and where shared data are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use data::{Activity, CellType, Recording, Session, Trial, Unit};
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
        behaviour: BTreeMap::new(),
        stimulus: None,
        activity: Activity::SpikeTimes {
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
        behaviour: BTreeMap::new(),
        stimulus: None,
        activity: Activity::Binned {
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
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
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
