//! Stitching: who stands for whom.

use std::collections::BTreeSet;

use data::{
    BinOptions, BinnedSession, CellType, DataError, PopulationSpec, Stitching, TwoAreaOptions, all_recorded,
    bin_recording, bin_session, stitch, two_area,
};
use ndarray::Array3;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::common::{binned_session, rng};

/// A session with these units; unit n fires at n Hz.
fn with_units(id: &str, units: &[(&str, CellType)]) -> BinnedSession {
    let mut session = binned_session(id, Array3::zeros((1, 1, units.len())));
    for (n, (unit, &(area, cell_type))) in session.units.iter_mut().zip(units).enumerate() {
        unit.area = area.into();
        unit.cell_type = cell_type;
        unit.firing_rate_hz = Some(n as f64);
    }
    bin_session(&session, &BinOptions::of_width(1.0)).unwrap()
}

fn population(area: &str, cell_type: CellType, n_neurons: usize, n_hidden: usize) -> PopulationSpec {
    PopulationSpec {
        area: area.to_owned(),
        cell_type,
        n_neurons,
        n_hidden,
    }
}

const E: CellType = CellType::Excitatory;
const I: CellType = CellType::Inhibitory;

proptest! {
    #[test]
    fn each_unit_is_used_at_most_once_and_stands_for_its_own_kind(
        sessions in vec(vec((0_usize..2, 0_usize..3), 1..12), 1..5),
        fraction in 0.0..=1.0_f64,
        n_hidden in 0_usize..3,
        seed in any::<u64>(),
    ) {
        let kind = |&(area, kind): &(usize, usize)| (["A", "B"][area], CellType::ALL[kind]);
        let sessions: Vec<BinnedSession> = sessions
            .iter()
            .enumerate()
            .map(|(s, units)| {
                let units: Vec<_> = units.iter().map(kind).collect();
                with_units(&format!("s{s}"), &units)
            })
            .collect();
        let mut populations = all_recorded(&sessions, None);
        for p in &mut populations {
            p.n_neurons = (p.n_neurons as f64 * fraction) as usize;
            p.n_hidden = n_hidden;
        }
        populations.retain(|p| p.n_neurons + p.n_hidden > 0);
        prop_assume!(!populations.is_empty());
        let stitching = stitch(&sessions, &populations, None, &mut rng(seed)).unwrap();

        let mut seen = BTreeSet::new();
        let mut neurons = stitching.neurons.iter();
        for p in &populations {
            for i in 0..p.n_neurons + p.n_hidden {
                let neuron = neurons.next().unwrap();
                prop_assert_eq!((&neuron.area, neuron.cell_type), (&p.area, p.cell_type));
                prop_assert_eq!(neuron.source.is_none(), i >= p.n_neurons);
                if let Some(source) = neuron.source {
                    prop_assert!(seen.insert(source));
                    let unit = &sessions[source.session].units[source.unit];
                    prop_assert_eq!((&unit.area, unit.cell_type), (&p.area, p.cell_type));
                }
            }
        }
        prop_assert!(neurons.next().is_none());
        for (s, used) in stitching.sessions.iter().enumerate() {
            prop_assert_eq!(used.n_used, stitching.neurons_of_session(s).len());
            prop_assert_eq!(
                used.n_used + used.n_unused + used.n_excluded + used.n_other,
                sessions[s].units.len()
            );
        }
        let again = stitch(&sessions, &populations, None, &mut rng(seed)).unwrap();
        prop_assert_eq!(again, stitching);
    }
}

#[test]
fn the_published_model_takes_the_published_number_of_neurons_per_session() {
    // §1.15: 500 neurons of the artificial recording come from 6 of 10 sessions.
    let options = TwoAreaOptions {
        n_trials: 2,
        ..TwoAreaOptions::default()
    };
    let recording = two_area(&options, &mut rng(1)).unwrap();
    let bins = BinOptions {
        window_ms: Some((-100.0, 400.0)),
        ..BinOptions::of_width(2.0)
    };
    let sessions = bin_recording(&recording, &bins).unwrap();
    let populations = [
        population("area1", E, 200, 0),
        population("area2", E, 200, 0),
        population("area1", I, 50, 0),
        population("area2", I, 50, 0),
    ];
    let stitching = stitch(&sessions, &populations, None, &mut rng(2)).unwrap();
    let used: Vec<usize> = stitching.sessions.iter().map(|s| s.n_used).collect();
    assert_eq!(used, [100, 100, 100, 100, 50, 50, 0, 0, 0, 0]);
}

#[test]
fn larger_sessions_come_first_and_ties_go_by_name() {
    let small = with_units("a", &[("A", E); 2]);
    let large = with_units("z", &[("A", E); 3]);
    let tie = with_units("b", &[("A", E); 2]);
    // Units of an area that isn't modelled don't count.
    let other = with_units("0", &[("B", E), ("B", E), ("B", E), ("B", E), ("A", E)]);
    let sessions = [tie, small, large, other];
    let populations = [population("A", E, 6, 0)];
    let stitching = stitch(&sessions, &populations, None, &mut rng(3)).unwrap();
    let order: Vec<usize> = stitching.neurons.iter().map(|n| n.source.unwrap().session).collect();
    assert_eq!(order, [2, 2, 2, 1, 1, 0]);
    assert_eq!(stitching.sessions[0].n_unused, 1);
    assert_eq!(stitching.sessions[3].n_unused, 1);
    assert_eq!(
        (stitching.sessions[3].n_excluded, stitching.sessions[3].n_other),
        (0, 4)
    );
}

#[test]
fn units_are_drawn_uniformly() {
    // 10 units, 10,000 draws: counts have mean 1000 and standard deviation 30. A count beyond 5
    // standard deviations in one of 10 has probability 6e-6.
    let sessions = [with_units("a", &[("A", E); 10])];
    let populations = [population("A", E, 1, 0)];
    let mut counts = [0_i32; 10];
    let mut rng = rng(4);
    for _ in 0..10_000 {
        let stitching = stitch(&sessions, &populations, None, &mut rng).unwrap();
        counts[stitching.neurons[0].source.unwrap().unit] += 1;
    }
    assert!(counts.iter().all(|n| (n - 1000).abs() < 150), "{counts:?}");
}

#[test]
fn fast_units_are_left_out() {
    // Rates 0 to 5 Hz; the limit itself is too fast.
    let sessions = [with_units("a", &[("A", E); 6])];
    assert_eq!(all_recorded(&sessions, Some(4.0))[0].n_neurons, 4);
    let populations = [population("A", E, 4, 0)];
    let stitching = stitch(&sessions, &populations, Some(4.0), &mut rng(5)).unwrap();
    let units: BTreeSet<usize> = stitching.neurons.iter().map(|n| n.source.unwrap().unit).collect();
    assert_eq!(units, BTreeSet::from([0, 1, 2, 3]));
    assert_eq!(stitching.sessions[0].n_excluded, 2);
}

#[test]
fn only_fast_units_of_the_areas_in_use_count_as_excluded() {
    // Rates 0 to 5 Hz. Area A: 0, 1 and, too fast, 4; of a type the model lacks, 3. Area B is not in use.
    let units = [("A", E), ("A", E), ("B", E), ("A", I), ("A", E), ("B", E)];
    let sessions = [with_units("a", &units)];
    let of = |max_rate_hz| {
        let stitching = stitch(&sessions, &[population("A", E, 1, 0)], max_rate_hz, &mut rng(9)).unwrap();
        let used = &stitching.sessions[0];
        [used.n_used, used.n_unused, used.n_excluded, used.n_other]
    };
    assert_eq!(of(Some(4.0)), [1, 1, 1, 3]);
    assert_eq!(of(None), [1, 2, 0, 3]);
}

#[test]
fn what_was_not_recorded_is_named_with_what_was() {
    let sessions = [with_units("a", &[("A", E), ("A", E), ("A", I), ("B", I)])];
    let populations = [
        population("A", E, 3, 0),
        population("C", E, 1, 0),
        population("B", E, 1, 0),
        population("A", I, 1, 0),
    ];
    let error = stitch(&sessions, &populations, None, &mut rng(6)).unwrap_err();
    let DataError::Stitch { problems, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(problems.len(), 3, "{problems:?}");
    let text = error.to_string();
    for part in [
        "area 'A', excitatory: 3 neurons, but 2 units",
        "no unit was recorded in area 'C'",
        "area 'B', excitatory: 1 neurons, but 0 units",
        "A: 2 excitatory, 1 inhibitory, 0 unknown",
        "B: 0 excitatory, 1 inhibitory, 0 unknown",
    ] {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
    let fast = stitch(&sessions, &[population("B", I, 1, 0)], Some(2.0), &mut rng(6));
    let text = fast.unwrap_err().to_string();
    assert!(text.contains("1 recorded, 1 of them at 2 Hz or more"), "{text}");
    let empty = stitch(&sessions, &[population("A", E, 0, 0)], None, &mut rng(6));
    assert!(empty.unwrap_err().to_string().contains("no neuron there"));
    assert!(stitch(&sessions, &[], None, &mut rng(6)).is_err());
}

#[test]
fn two_populations_of_one_kind_share_its_units() {
    let sessions = [with_units("a", &[("A", E); 3])];
    let twice = [population("A", E, 2, 0), population("A", E, 2, 0)];
    assert!(stitch(&sessions, &twice, None, &mut rng(7)).is_err());
    let fits = [population("A", E, 2, 0), population("A", E, 1, 1)];
    let stitching = stitch(&sessions, &fits, None, &mut rng(7)).unwrap();
    assert_eq!(stitching.n_hidden(), 1);
}

#[test]
fn a_stitching_survives_json() {
    let sessions = [with_units("a", &[("A", E), ("A", I)])];
    let populations = all_recorded(&sessions, None);
    assert_eq!(populations, [population("A", E, 1, 0), population("A", I, 1, 0)]);
    let stitching = stitch(&sessions, &populations, None, &mut rng(8)).unwrap();
    let json = serde_json::to_string(&stitching).unwrap();
    assert_eq!(serde_json::from_str::<Stitching>(&json).unwrap(), stitching);
}
