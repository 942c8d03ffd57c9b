//! What is written is what is read.

use std::collections::BTreeMap;

use data::{
    Activity, Behaviour, BehaviourSamples, CellType, DataError, Recording, Session, StimulusMovies, Timing, Trial,
    TrialEvents, Unit, check, read, write, write_replacing,
};
use hdf5::types::FixedAscii;
use ndarray::{Array2, Array3};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::common::{binned_session, recording, session};

/// Debug text tells NaN from NaN's absence and −0 from 0, and prints every digit.
fn exact(recording: &Recording) -> String {
    format!("{recording:?}")
}

fn units(n: usize) -> impl Strategy<Value = Vec<Unit>> {
    let kind = prop::sample::select(CellType::ALL.to_vec());
    let one = ("[a-zé ]{1,5}x", kind, prop::option::of(0.0..400.0));
    vec(one, n).prop_map(|units| {
        let units = units.into_iter().enumerate();
        units
            .map(|(n, (area, cell_type, firing_rate_hz))| Unit {
                id: format!("{n}µ"),
                area,
                cell_type,
                firing_rate_hz,
            })
            .collect()
    })
}

fn trials(n: usize, n_movies: usize, n_bins: Option<usize>) -> impl Strategy<Value = Vec<Trial>> {
    let movie = prop::option::of(0..n_movies.max(1));
    let valid = prop::option::of(1..=n_bins.unwrap_or(1));
    let one = (0.0..90.0, 0.1..5.0, -3.0..3.0, "[a-z]{1,4}", movie, valid);
    vec(one, n).prop_map(move |trials| {
        let make = |(start_s, length, stimulus, trial_type, movie, valid)| Trial {
            start_s,
            stop_s: start_s + length,
            align_s: start_s + 0.1,
            stimulus,
            trial_type,
            movie: Option::filter(movie, |_| n_movies > 0),
            valid_bins: Option::filter(valid, |_| n_bins.is_some()),
        };
        trials.into_iter().map(make).collect()
    })
}

fn movies(n: usize) -> impl Strategy<Value = Option<StimulusMovies>> {
    vec(-1.0_f32..1.0, n * 6).prop_map(move |values| {
        (n > 0).then(|| StimulusMovies {
            values: Array3::from_shape_vec((n, 3, 2), values).unwrap(),
            bin_ms: 1.667,
            start_ms: -10.0,
        })
    })
}

fn continuous() -> impl Strategy<Value = Behaviour> {
    let value = prop_oneof![4 => -1e3_f32..1e3, 1 => Just(f32::NAN)];
    (vec(value, 1..20), any::<bool>(), "[a-z]{0,3}").prop_map(|(values, has_times, unit)| {
        let times = (0..values.len()).map(|i| 0.1 + i as f64 / 3.0).collect();
        let timing = if has_times {
            Timing::Timestamps(times)
        } else {
            Timing::Rate {
                rate_hz: 30.3,
                start_s: -0.1,
            }
        };
        Behaviour {
            samples: BehaviourSamples::Continuous { values, timing },
            unit,
        }
    })
}

fn spike_session() -> impl Strategy<Value = Session> {
    (1_usize..4, 1_usize..4, 0_usize..3).prop_flat_map(|(n, k, s)| {
        let trains = vec(vec(0.0..100.0, 0..30), n);
        let observed = proptest::option::of(Just(vec![vec![(0.5, 40.25), (60.0, 100.0)]; n]));
        (units(n), trials(k, s, None), movies(s), trains, continuous(), observed).prop_map(
            |(units, trials, stimulus, mut times_s, lick, unit_observed_s)| {
                for train in &mut times_s {
                    train.sort_by(f64::total_cmp);
                }
                Session {
                    id: String::new(),
                    units,
                    trials,
                    events: TrialEvents::default(),
                    behaviour: BTreeMap::from([("lick".to_owned(), lick)]),
                    stimulus,
                    activity: Activity::SpikeTimes {
                        times_s,
                        observed_s: (0.0, 100.0),
                        unit_observed_s,
                    },
                }
            },
        )
    })
}

fn counts_session() -> impl Strategy<Value = Session> {
    (1_usize..4, 1_usize..5, 1_usize..4, 0_usize..3).prop_flat_map(|(k, t, n, s)| {
        let counts = vec(any::<u8>(), k * t * n);
        let jaw = vec(-1.0_f32..1.0, k * t);
        let mask = proptest::option::of(vec(any::<bool>(), k * n));
        (units(n), trials(k, s, Some(t)), movies(s), counts, jaw, mask).prop_map(
            move |(units, trials, stimulus, counts, jaw, mask)| Session {
                id: String::new(),
                units,
                trials,
                events: TrialEvents::default(),
                behaviour: BTreeMap::from([(
                    "jaw".to_owned(),
                    Behaviour {
                        samples: BehaviourSamples::PerBin(Array2::from_shape_vec((k, t), jaw).unwrap()),
                        unit: "mm".to_owned(),
                    },
                )]),
                stimulus,
                activity: Activity::Binned {
                    counts: Array3::from_shape_vec((k, t, n), counts).unwrap(),
                    bin_ms: 1.667,
                    start_ms: -0.5,
                    presence: mask.map(|mask| Array2::from_shape_vec((k, n), mask).unwrap()),
                },
            },
        )
    })
}

fn recordings() -> impl Strategy<Value = Recording> {
    let session = prop_oneof![spike_session(), counts_session()];
    vec(session, 1..4).prop_map(|mut sessions| {
        let n = sessions.len();
        for (i, session) in sessions.iter_mut().enumerate() {
            // Names in falling order: the order of sessions must not come from their names.
            session.id = format!("s{}", n - i);
        }
        Recording { sessions }
    })
}

proptest! {
    #[test]
    fn a_recording_survives_writing_and_reading(original in recordings()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.h5");
        prop_assert_eq!(check(&original).problems, []);
        write(&path, &original).unwrap();
        let back = read(&path).unwrap();
        prop_assert_eq!(exact(&back), exact(&original));
    }
}

#[test]
fn equal_recordings_give_equal_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let original = recording(vec![session("a"), binned_session("b", Array3::from_elem((3, 4, 2), 1))]);
    let (one, two) = (dir.path().join("1.h5"), dir.path().join("2.h5"));
    write(&one, &original).unwrap();
    write(&two, &original).unwrap();
    assert_eq!(std::fs::read(one).unwrap(), std::fs::read(two).unwrap());
}

#[test]
fn an_existing_file_is_replaced_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.h5");
    write(&path, &recording(vec![session("a")])).unwrap();
    let other = recording(vec![session("b")]);
    let refusal = write(&path, &other).unwrap_err();
    assert!(refusal.to_string().contains("already exists"), "{refusal}");
    assert_eq!(read(&path).unwrap().sessions[0].id, "a");
    write_replacing(&path, &other).unwrap();
    assert_eq!(read(&path).unwrap(), other);
}

#[test]
fn an_invalid_recording_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut bad = session("a");
    bad.units[1].id = "u0".to_owned();
    let result = write(&dir.path().join("r.h5"), &recording(vec![bad]));
    assert!(matches!(result, Err(DataError::Invalid { .. })));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_missing_directory_is_made_and_one_that_cannot_be_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/r.h5");
    data::fs::check_new(&path).unwrap();
    assert!(!dir.path().join("a").exists());
    write(&path, &recording(vec![session("a")])).unwrap();
    assert!(matches!(
        data::fs::check_new(&path),
        Err(data::fs::FsError::AlreadyExists { .. })
    ));
    let path = path.join("below/r.h5");
    let error = data::fs::check_new(&path).unwrap_err();
    assert!(error.to_string().contains("a/b/r.h5"), "{error}");
    let error = write(&path, &recording(vec![session("a")])).unwrap_err();
    assert!(error.to_string().contains("a/b/r.h5/below"), "{error}");
}

/// What other programs write: texts of fixed length, narrow and big-endian numbers, no optional parts.
#[test]
fn files_of_other_writers_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.h5");
    let file = hdf5::File::create(&path).unwrap();
    let text = |s: &str| FixedAscii::<20>::from_ascii(s).unwrap();
    let attribute = file.new_attr::<FixedAscii<20>>().create("format").unwrap();
    attribute.write_scalar(&text("snnfit-recording")).unwrap();
    let attribute = file.new_attr::<u8>().shape(1).create("version").unwrap();
    attribute.write_raw(&[1_u8]).unwrap();
    let group = file.create_group("sessions/m1").unwrap();
    let units = group.create_group("units").unwrap();
    let texts = |group: &hdf5::Group, name: &str, values: &[&str]| {
        let values: Vec<_> = values.iter().map(|s| text(s)).collect();
        let builder = group.new_dataset_builder().with_data(&values);
        builder.create(name).unwrap();
    };
    texts(&units, "id", &["a", "b"]);
    texts(&units, "area", &["V1", "V1"]);
    texts(&units, "cell_type", &["excitatory", "unknown"]);
    let times = [0.125_f32, 0.5, 0.25];
    let times = units.new_dataset_builder().with_data(&times);
    times.create("spike_times").unwrap();
    let ends = units.new_dataset_builder().with_data(&[2_u16, 3]);
    ends.create("spike_times_index").unwrap();
    let trials = group.create_group("trials").unwrap();
    for (name, value) in [
        ("start_time", 0_i16),
        ("stop_time", 1),
        ("align_time", 0),
        ("stimulus", 4),
    ] {
        let values = [value];
        let column = trials.new_dataset_builder().with_data(&values);
        column.create(name).unwrap();
    }
    texts(&trials, "trial_type", &["hit"]);
    drop((units, trials, group));
    file.close().unwrap();

    let read = read(&path).unwrap();
    let session = &read.sessions[0];
    assert_eq!(session.units[0].area, "V1");
    assert_eq!(session.units[1].cell_type, CellType::Unknown);
    assert_eq!(session.trials[0].stimulus, 4.0);
    assert_eq!(
        session.activity,
        Activity::SpikeTimes {
            times_s: vec![vec![0.125, 0.5], vec![0.25]],
            observed_s: (0.0, 1.0),
            unit_observed_s: None,
        }
    );
}
