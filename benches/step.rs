//! Parts of a training step (rollout forward and backward, statistics of spikes, assignment, soft matching) and of reading
//! a recording.
//!
//! `cargo bench --workspace --bench step`; a filter such as `-- assignment` runs one part.
#![allow(missing_docs)] // what criterion's macros make

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use data::binning::{BinOptions, bin_recording};
use data::synth::{TwoAreaOptions, two_area};
use losses::assignment::assign;
use losses::sinkhorn::{Clouds, Divergences, Sinkhorn};
use losses::statistics::MovingMean;
use ndarray::{Array2, Axis};
use rand::RngExt;
#[cfg(feature = "wgpu")]
use snn_core::models::rsnn::Engine;
use snn_core::rng::StreamRng;
use snn_core::rollout::{Channel, SpikeAdjoint, Wanted, native};
use snnfit::bench::{Workload, prepare};
use snnfit::soft_matching::SoftMatching;

/// The size of a small fit: a step takes about 0.1 CPU seconds.
const LOAD: Workload = Workload {
    n: 300,
    k: 60,
    t: 150,
    d: 2,
    n_in: 100,
    gain: 0.3,
    reps: 1,
    seed: 0,
    trial_chunk: 60,
    surrogate_floor: 0.0,
    is_noise_given: false,
};

fn rollout(c: &mut Criterion) {
    let prepared = prepare(&LOAD);
    let (network, run) = (&prepared.network, &prepared.runs[0]);
    let adjoint = SpikeAdjoint {
        shared: Some((ndarray::Array3::from_elem((1, LOAD.t, LOAD.n), 1e-3), vec![0; LOAD.k])),
        ..SpikeAdjoint::default()
    };
    let mut group = c.benchmark_group("rollout");
    group.sample_size(10);
    group.bench_function("simulate", |b| b.iter(|| native::simulate(network, run, true).unwrap()));
    for (name, precision) in [
        ("backpropagate", native::Precision::Single),
        ("backpropagate_int16", native::Precision::Int16),
    ] {
        let back = |rollout| {
            native::backpropagate_with(precision, network, run, rollout, &adjoint, None, Wanted::default()).unwrap()
        };
        group.bench_function(name, |b| {
            b.iter_batched(
                || native::simulate(network, run, true).unwrap(),
                back,
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn statistics(c: &mut Criterion) {
    let prepared = prepare(&LOAD);
    let mut group = c.benchmark_group("statistics");
    group.sample_size(10);
    let spikes = native::simulate(&prepared.network, &prepared.runs[0], false)
        .unwrap()
        .spikes;
    group.bench_function("sums_by_condition", |b| {
        b.iter(|| spikes.sums_by_condition(&vec![0; LOAD.k], 1, None).unwrap());
    });
    let channels: Vec<Channel> = (0..10)
        .map(|r| Channel {
            members: (0..LOAD.n as u32)
                .filter(|n| n % 10 == r)
                .map(|n| (n, 1.0 / 30.0))
                .collect(),
        })
        .collect();
    group.bench_function("project", |b| b.iter(|| spikes.project(&channels).unwrap()));
    // The smoothed trial average of a PSTH loss and its adjoint, 12 ms at 2 ms.
    let filter = MovingMean::of_width(12.0, 2.0).unwrap();
    let sums = spikes.sums_by_condition(&vec![0; LOAD.k], 1, None).unwrap();
    let smooth = filter.apply(&sums.view(), Axis(1));
    group.bench_function("filter", |b| b.iter(|| filter.apply(&sums.view(), Axis(1))));
    group.bench_function("filter_adjoint", |b| {
        b.iter(|| filter.adjoint(&smooth.view(), Axis(1), LOAD.t));
    });
    group.finish();
}

/// A recording of 2 sessions × 40 neurons × 120 trials: from the file, and into bins of 2 ms.
fn import(c: &mut Criterion) {
    let mut rng = StreamRng::new(0, "bench.import", 0);
    let recording = two_area(&TwoAreaOptions::small(), &mut rng).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recording.h5");
    data::file::write(&file, &recording).unwrap();
    let mut group = c.benchmark_group("import");
    group.sample_size(10);
    group.bench_function("read", |b| b.iter(|| data::file::read(&file).unwrap()));
    let options = BinOptions::of_width(2.0);
    group.bench_function("bin", |b| b.iter(|| bin_recording(&recording, &options).unwrap()));
    group.finish();
}

fn assignment(c: &mut Criterion) {
    let mut group = c.benchmark_group("assignment");
    group.sample_size(10);
    for n in [50, 100, 200, 400, 800] {
        // Squared distances of 20 features, as trial matching has them.
        let mut rng = StreamRng::new(0, "bench.assignment", n as u64);
        let (a, b) = (
            Array2::from_shape_simple_fn((n, 20), || rng.random::<f64>()),
            Array2::from_shape_simple_fn((n, 20), || rng.random::<f64>()),
        );
        let cost = Array2::from_shape_fn((n, n), |(i, j)| (&a.row(i) - &b.row(j)).mapv(|d| d * d).sum());
        group.bench_with_input(BenchmarkId::from_parameter(n), &cost, |b, cost| {
            b.iter(|| assign(&cost.view()).unwrap());
        });
    }
    group.finish();
}

/// Soft trial matching of 28 sessions, on the processor and on the adapter that `wgpu` takes, if there is one.
fn soft_matching(c: &mut Criterion) {
    let mut rng = StreamRng::new(0, "bench.soft_matching", 0);
    let mut cloud = || Array2::from_shape_simple_fn((150, 100), || rng.random::<f64>());
    let clouds: Vec<Clouds> = (0..28)
        .map(|_| Clouds {
            model: cloud(),
            data: cloud(),
        })
        .collect();
    let mut places = vec![("processor", SoftMatching::default())];
    #[cfg(feature = "wgpu")]
    if let Ok(open) = snn_core::device::open(snn_core::device::DeviceChoice::Wgpu(None)) {
        let kernels = snn_core::device::kernels(&open).map(Engine::Kernels);
        places.extend(kernels.map(|engine| ("adapter", SoftMatching::of(&engine))));
    }
    let mut group = c.benchmark_group("soft_matching");
    group.sample_size(10);
    for (name, place) in places {
        group.bench_function(name, |b| {
            b.iter(|| place.divergences(&Sinkhorn::PUBLISHED, &clouds).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, rollout, statistics, assignment, soft_matching, import);
criterion_main!(benches);
