//! What several test files share: oracle files, comparisons, small random recordings.
#![allow(dead_code, clippy::missing_panics_doc)]

use std::path::PathBuf;

use losses::statistics::{RecordedSession, Recording};
use ndarray::{Array3, ArrayD, ArrayView, Dimension, IxDyn};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// An oracle file, or `None` (test to be skipped) where the shared folder is missing and CI is not set.
pub(crate) struct Oracle(hdf5::File);

impl Oracle {
    pub(crate) fn open(name: &str) -> Option<Self> {
        let shared = std::env::var_os("SNNFIT_SHARED")
            .map_or_else(|| PathBuf::from(manifest_dir()).join("../../../shared"), PathBuf::from);
        let path = shared.join("oracle/trial_matching").join(name);
        if !path.exists() {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "{} is missing; set SNNFIT_SHARED",
                path.display()
            );
            #[allow(clippy::print_stderr)]
            {
                eprintln!("skipped: {} is missing", path.display());
            }
            return None;
        }
        Some(Self(hdf5::File::open(path).unwrap()))
    }

    pub(crate) fn array(&self, name: &str) -> ArrayD<f64> {
        let dataset = self.0.dataset(name).unwrap();
        ArrayD::from_shape_vec(IxDyn(&dataset.shape()), dataset.read_raw::<f64>().unwrap()).unwrap()
    }

    pub(crate) fn scalar(&self, name: &str) -> f64 {
        self.array(name).first().copied().unwrap()
    }

    pub(crate) fn indices(&self, name: &str) -> Vec<usize> {
        self.array(name).iter().map(|&value| value as usize).collect()
    }

    /// A time-first array `[T, K, N]` as `[K, T, N]`.
    pub(crate) fn trials(&self, name: &str) -> Array3<f64> {
        let array = self.array(name).into_dimensionality::<ndarray::Ix3>().unwrap();
        array.permuted_axes([1, 0, 2]).as_standard_layout().into_owned()
    }
}

/// Panics with the worst entry unless |a − b| ≤ atol + rtol·|b| everywhere (NaN equals NaN).
#[track_caller]
pub(crate) fn assert_close<D: Dimension>(
    found: &ArrayView<'_, f64, D>,
    expected: &ArrayView<'_, f64, D>,
    rtol: f64,
    atol: f64,
) {
    assert_eq!(found.shape(), expected.shape());
    let excess = |a: f64, b: f64| {
        if a.is_nan() && b.is_nan() {
            return f64::NEG_INFINITY;
        }
        let excess = (a - b).abs() - atol - rtol * b.abs();
        if excess.is_nan() { f64::INFINITY } else { excess }
    };
    let worst = found
        .iter()
        .zip(expected)
        .enumerate()
        .map(|(i, (&a, &b))| (excess(a, b), i, a, b))
        .max_by(|x, y| x.0.total_cmp(&y.0));
    if let Some((excess, i, a, b)) = worst {
        assert!(excess <= 0.0, "flat index {i}: found {a}, expected {b}");
    }
}

pub(crate) fn rng(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}

/// Bernoulli counts `[K, T, N]`.
pub(crate) fn random_counts(dim: (usize, usize, usize), p: f64, rng: &mut Xoshiro256PlusPlus) -> Array3<u8> {
    Array3::from_shape_simple_fn(dim, || u8::from(rng.random_bool(p)))
}

/// Two sessions (8 and 7 trials) of two areas, three conditions (one not recorded in session b), a
/// shortened trial, a behaviour channel, 13 model neurons of which the last is hidden.
pub(crate) fn two_sessions(n_bins: usize, seed: u64) -> Recording {
    let mut rng = rng(seed);
    let mut session = |name: &str, n_trials: usize, neurons: Vec<usize>, conditions: Vec<usize>| {
        let counts = random_counts((n_trials, n_bins, neurons.len()), 0.2, &mut rng);
        RecordedSession {
            presence: None,
            name: name.to_owned(),
            counts,
            valid_bins: vec![n_bins; n_trials],
            trial_types: conditions.iter().map(|c| c % 2).collect(),
            conditions,
            areas: (0..neurons.len()).map(|i| usize::from(i >= 3)).collect(),
            neurons,
            behaviour: Some(Array3::from_shape_simple_fn((n_trials, n_bins, 1), || {
                rng.random_range(-1.0..1.0)
            })),
        }
    };
    let mut a = session("a", 8, (0..6).collect(), vec![0, 1, 2, 0, 1, 2, 0, 1]);
    let b = session("b", 7, (6..12).rev().collect(), vec![0, 1, 0, 1, 0, 1, 0]);
    a.valid_bins[3] = n_bins / 2;
    Recording::new(vec![a, b], vec!["V1".to_owned(), "M1".to_owned()], 13, 3).unwrap()
}

/// Central difference of `f` along a direction.
pub(crate) fn central_difference(
    x: &Array3<f64>,
    direction: &Array3<f64>,
    step: f64,
    f: impl Fn(&Array3<f64>) -> f64,
) -> f64 {
    let moved = |h: f64| x + &(direction * h);
    (f(&moved(step)) - f(&moved(-step))) / (2.0 * step)
}

/// Folder of the package, as Cargo says it now: a build folder that several checkouts share may hold the path of another.
pub(crate) fn manifest_dir() -> String {
    std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned())
}
