//! Files that lie: each gives an error that says what and where, never a panic.

use std::path::{Path, PathBuf};

use data::{DataError, read, write};
use hdf5::types::{FixedAscii, FixedUnicode, VarLenUnicode};
use hdf5::{File, H5Type};
use ndarray::Array3;
use tempfile::TempDir;

use crate::common::{binned_session, recording, session};

/// A valid file of session `a` (spike times) and session `b` (counts), changed by `edit`.
fn edited(edit: impl FnOnce(&File)) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.h5");
    let counts = Array3::from_elem((3, 4, 2), 1);
    write(&path, &recording(vec![session("a"), binned_session("b", counts)])).unwrap();
    let file = File::open_rw(&path).unwrap();
    edit(&file);
    file.close().unwrap();
    (dir, path)
}

fn message_of(edit: impl FnOnce(&File)) -> String {
    let (_dir, path) = edited(edit);
    read(&path).unwrap_err().to_string()
}

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "'{part}' is not in: {message}");
    }
}

fn replace<T: H5Type + Clone>(file: &File, path: &str, values: &[T]) {
    file.unlink(path).unwrap();
    let builder = file.new_dataset_builder().with_data(values);
    builder.create(path).unwrap();
}

fn texts(values: &[&str]) -> Vec<VarLenUnicode> {
    values.iter().map(|s| s.parse().unwrap()).collect()
}

#[test]
fn what_is_no_hdf5_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = read(&dir.path().join("none.h5")).unwrap_err().to_string();
    assert_says(&missing, &["none.h5", "No such file"]);
    let directory = read(dir.path()).unwrap_err().to_string();
    assert_says(&directory, &["a directory"]);
    let cases: [(&str, &[u8]); 3] = [
        ("empty.h5", b""),
        ("text.h5", b"trial,time\n1,2\n"),
        ("short.h5", b"\x89HDF"),
    ];
    for (name, bytes) in cases {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = read(&path).unwrap_err();
        assert!(matches!(error, DataError::NotHdf5 { .. }), "{error}");
        assert_says(&error.to_string(), &[name, "not an HDF5 file"]);
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let (_dir, path) = edited(|_| ());
    let bytes = std::fs::read(&path).unwrap();
    for i in 0..100 {
        let cut = path.with_extension("cut");
        std::fs::write(&cut, &bytes[..bytes.len() * i / 100]).unwrap();
        assert!(read(&cut).is_err(), "cut at {i} %");
    }
}

#[test]
fn format_and_version_are_checked_first() {
    let no_format = message_of(|file| file.delete_attr("format").unwrap());
    assert_says(&no_format, &["'format' is missing", "snnfit import"]);
    let other = message_of(|file| {
        let format: VarLenUnicode = "nwb\u{1b}".parse().unwrap();
        file.attr("format").unwrap().write_scalar(&format).unwrap();
    });
    assert_says(&other, &["\"nwb\\u{1b}\"", "snnfit-recording"]);
    let number = message_of(|file| {
        file.delete_attr("format").unwrap();
        let attr = file.new_attr::<i32>().create("format").unwrap();
        attr.write_scalar(&1).unwrap();
    });
    assert_says(&number, &["'format' is not readable", "expected text"]);
    let version = |value: i64| message_of(|file| file.attr("version").unwrap().write_scalar(&value).unwrap());
    assert_says(&version(2), &["version 2", "up to version 1"]);
    assert_says(&version(0), &["version 0"]);
    let no_version = message_of(|file| file.delete_attr("version").unwrap());
    assert_says(&no_version, &["version", "missing"]);
}

#[test]
fn every_missing_dataset_is_named() {
    for path in [
        "/sessions/a/units/id",
        "/sessions/a/units/area",
        "/sessions/a/units/cell_type",
        "/sessions/a/units/spike_times_index",
        "/sessions/a/trials/start_time",
        "/sessions/a/trials/stop_time",
        "/sessions/a/trials/align_time",
        "/sessions/a/trials/stimulus",
        "/sessions/a/trials/trial_type",
        "/sessions/b/binned/spikes",
        "/sessions/a/units",
        "/sessions/a/trials",
        "/sessions",
    ] {
        let message = message_of(|file| file.unlink(path).unwrap());
        assert_says(&message, &[path, "is missing"]);
    }
    let no_spikes = message_of(|file| file.unlink("/sessions/a/units/spike_times").unwrap());
    assert_says(&no_spikes, &["/sessions/a", "no spikes"]);
    let no_bin = message_of(|f| {
        let binned = f.group("/sessions/b/binned").unwrap();
        binned.delete_attr("bin_ms").unwrap();
    });
    assert_says(&no_bin, &["/sessions/b/binned", "bin_ms", "missing"]);
}

#[test]
fn wrong_types_and_ranks_are_named() {
    let text_times = message_of(|file| {
        replace(file, "/sessions/a/units/spike_times", &texts(&["a", "b"]));
    });
    assert_says(&text_times, &["/sessions/a/units/spike_times", "holds text", "numbers"]);
    let numbers = message_of(|file| replace(file, "/sessions/a/units/area", &[1, 2]));
    assert_says(&numbers, &["/sessions/a/units/area", "expected text"]);
    let floats = message_of(|file| replace(file, "/sessions/a/units/spike_times_index", &[3.0, 6.0]));
    assert_says(&floats, &["spike_times_index", "expected integers"]);
    let flat = message_of(|file| replace(file, "/sessions/b/binned/spikes", &[1_u8; 24]));
    assert_says(&flat, &["/sessions/b/binned/spikes", "expected 3 axes"]);
    let group = message_of(|file| {
        file.unlink("/sessions/a/units/id").unwrap();
        file.create_group("/sessions/a/units/id").unwrap();
    });
    assert_says(&group, &["/sessions/a/units/id", "not a dataset"]);
}

#[derive(H5Type, Clone, Copy)]
#[repr(C)]
struct Pair {
    a: i32,
    b: f64,
}

#[test]
fn compound_elements_are_refused() {
    let pair = Pair { a: 1, b: 2.0 };
    let message = message_of(|file| replace(file, "/sessions/a/trials/stimulus", &[pair; 3]));
    assert_says(&message, &["/sessions/a/trials/stimulus", "numbers or text"]);
}

#[test]
fn rows_that_disagree_are_named() {
    let message = message_of(|file| replace(file, "/sessions/a/trials/stimulus", &[1.0; 2]));
    assert_says(&message, &["/sessions/a/trials/stimulus", "2 rows", "start_time", "3"]);
    let message = message_of(|file| replace(file, "/sessions/a/units/area", &texts(&["A"])));
    assert_says(&message, &["/sessions/a/units/area", "1 rows"]);
}

#[test]
fn a_wrong_spike_index_is_named() {
    for (ends, said) in [
        ([-1_i64, 6], "unit 0"),
        ([3, 2], "unit 1"),
        ([3, 7], "unit 1"),
        ([3, i64::MAX], "unit 1"),
        ([3, 5], "ends at 5, but there are 6"),
    ] {
        let message = message_of(|file| replace(file, "/sessions/a/units/spike_times_index", &ends));
        assert_says(&message, &["spike_times_index", said]);
    }
}

#[test]
fn counts_must_be_whole_and_small() {
    let with_value = |value: f64| {
        message_of(|file| {
            let mut values = Array3::from_elem((3, 4, 2), 1.0);
            values[[2, 1, 0]] = value;
            file.unlink("/sessions/b/binned/spikes").unwrap();
            let builder = file.new_dataset_builder().with_data(&values);
            builder.create("/sessions/b/binned/spikes").unwrap();
        })
    };
    for value in [0.5, -1.0, 256.0, f64::NAN, f64::INFINITY] {
        assert_says(&with_value(value), &["/sessions/b/binned/spikes", "[2, 1, 0]"]);
    }
}

#[test]
fn a_boolean_that_is_neither_0_nor_1_counts_once() {
    let at = "/sessions/b/binned/spikes";
    let (_dir, path) = edited(|file| {
        file.unlink(at).unwrap();
        let values = Array3::from_elem((3, 4, 2), false);
        file.new_dataset_builder().with_data(&values).create(at).unwrap();
    });
    let offset = File::open(&path).unwrap().dataset(at).unwrap().offset().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[usize::try_from(offset).unwrap()] = 7;
    std::fs::write(&path, bytes).unwrap();
    let recording = read(&path).unwrap();
    assert_eq!(recording.sessions[1].activity.spikes_per_unit(), [1, 0]);
}

#[test]
fn labels_must_be_known_and_valid() {
    let kinds = texts(&["excitatory", "E"]);
    let message = message_of(|file| replace(file, "/sessions/a/units/cell_type", &kinds));
    assert_says(&message, &["cell_type, unit 1", "'E'", "'inhibitory'"]);
}

#[test]
fn text_that_is_no_utf8_is_refused() {
    let (_dir, path) = edited(|file| {
        replace(file, "/sessions/a/units/area", &texts(&["A", "qzqzqz"]));
    });
    let mut bytes = std::fs::read(&path).unwrap();
    let place = bytes.windows(6).position(|w| w == b"qzqzqz").unwrap();
    bytes[place] = 0xe9;
    std::fs::write(&path, bytes).unwrap();
    let message = read(&path).unwrap_err().to_string();
    assert_says(&message, &["/sessions/a/units/area", "text 1", "UTF-8"]);
}

#[test]
fn links_out_of_the_file_are_refused() {
    let soft = message_of(|file| {
        let units = file.group("/sessions/a/units").unwrap();
        units.unlink("id").unwrap();
        units.link_soft("/sessions/b/units/id", "id").unwrap();
    });
    assert_says(&soft, &["/sessions/a/units/id", "a soft link"]);
    let external = message_of(|file| {
        let units = file.group("/sessions/a/units").unwrap();
        units.unlink("id").unwrap();
        units.link_external("/etc/passwd", "/x", "id").unwrap();
    });
    assert_says(&external, &["/sessions/a/units/id", "a link to another file"]);
    let looping = message_of(|file| {
        file.unlink("/sessions/a/units").unwrap();
        let session = file.group("/sessions/a").unwrap();
        session.link_soft("/sessions/a/units", "units").unwrap();
    });
    assert_says(&looping, &["/sessions/a/units", "a soft link"]);
    let storage = message_of(|file| {
        file.unlink("/sessions/a/trials/stimulus").unwrap();
        let builder = file.new_dataset_builder().external("/etc/passwd", 0, 24);
        let builder = builder.empty::<f64>().shape(3);
        builder.create("/sessions/a/trials/stimulus").unwrap();
    });
    assert_says(&storage, &["trials/stimulus", "in another file"]);
}

#[test]
fn a_group_that_contains_itself_is_no_endless_loop() {
    let (_dir, path) = edited(|file| {
        let session = file.group("/sessions/a").unwrap();
        session.link_hard("/sessions/a", "behaviour").unwrap();
    });
    let message = read(&path).unwrap_err().to_string();
    assert_says(&message, &["/sessions/a/behaviour"]);
}

#[test]
fn sizes_are_checked_before_memory_is_taken() {
    let huge = |shape: (usize, usize, usize)| {
        message_of(|file| {
            file.unlink("/sessions/b/binned/spikes").unwrap();
            let builder = file.new_dataset::<u8>().chunk((1, 64, 2)).shape(shape);
            builder.create("/sessions/b/binned/spikes").unwrap();
        })
    };
    let beyond = huge((1 << 30, 1 << 29, 2));
    assert_says(&beyond, &["/sessions/b/binned/spikes", "larger than"]);
    let hollow = huge((1 << 16, 1 << 15, 2));
    assert_says(&hollow, &["/sessions/b/binned/spikes", "data are missing"]);
}

#[test]
fn sizes_of_texts_are_checked_before_memory_is_taken() {
    let message = |file: &File, shape: usize| {
        let path = "/sessions/a/units/area";
        file.unlink(path).unwrap();
        let builder = file.new_dataset::<FixedAscii<1>>().chunk(1 << 16).deflate(9);
        let dataset = builder.shape(shape).create(path).unwrap();
        let part = vec![FixedAscii::<1>::from_ascii("A").unwrap(); 1 << 16];
        for first in (0..shape).step_by(1 << 16) {
            let last = (first + (1 << 16)).min(shape);
            dataset
                .write_slice(&part[..last - first], ndarray::s![first..last])
                .unwrap();
        }
    };
    // 8 million texts of one byte take 28 kB in the file.
    let many = message_of(|file| message(file, 8_000_000));
    assert_says(&many, &["/sessions/a/units/area", "8000000 texts; at most 1048576"]);
    // Fewer are read as wide as they are stored, and then don't fit the other columns.
    let fewer = message_of(|file| message(file, 1_000_000));
    assert_says(&fewer, &["/sessions/a/units/area", "1000000 rows"]);
    let hollow = message_of(|file| {
        file.unlink("/sessions/a/units/area").unwrap();
        let builder = file.new_dataset::<FixedAscii<1000>>().chunk(1000).shape(1_000_000);
        builder.create("/sessions/a/units/area").unwrap();
    });
    assert_says(&hollow, &["/sessions/a/units/area", "data are missing"]);
    let long = message_of(|file| {
        file.unlink("/sessions/a/units/area").unwrap();
        let builder = file.new_dataset::<FixedAscii<1025>>().shape(2);
        builder.create("/sessions/a/units/area").unwrap();
    });
    assert_says(&long, &["/sessions/a/units/area", "at most 1024 bytes"]);
}

#[test]
fn texts_of_every_width_are_read() {
    fn stored<T: H5Type + Clone>(values: &[T]) -> Vec<String> {
        let (_dir, path) = edited(|file| replace(file, "/sessions/a/units/area", values));
        let recording = read(&path).unwrap();
        recording.sessions[0]
            .units
            .iter()
            .map(|unit| unit.area.clone())
            .collect()
    }
    fn ascii<const N: usize>() {
        let expected = ["x".repeat(N), "y".to_owned()];
        let values = [&expected[0], &expected[1]].map(|text| FixedAscii::<N>::from_ascii(text).unwrap());
        assert_eq!(stored(&values), expected, "{N} bytes");
        let values = [&expected[0], &expected[1]].map(|text| text.parse::<FixedUnicode<N>>().unwrap());
        assert_eq!(stored(&values), expected, "{N} bytes");
    }
    ascii::<1>();
    ascii::<16>();
    ascii::<17>();
    ascii::<128>();
    ascii::<129>();
    ascii::<1024>();
}

#[test]
fn all_problems_are_reported_at_once() {
    let message = message_of(|file| {
        file.unlink("/sessions/a/units/area").unwrap();
        replace(file, "/sessions/a/trials/stimulus", &texts(&["x"; 3]));
        replace(file, "/sessions/b/trials/stop_time", &[0.0, 1.0, 2.0]);
    });
    assert_says(
        &message,
        &[
            "5 problems",
            "/sessions/a/units/area",
            "/sessions/a/trials/stimulus",
            "/sessions/b/trials/stop_time, trial 0",
            "/sessions/b/trials/stop_time, trial 1",
            "/sessions/b/trials/stop_time, trial 2",
        ],
    );
}

#[test]
fn a_bad_column_hides_no_fault_of_the_rest() {
    let times = [0.5, 1.5, 1.25, -0.75, 1.75, 2.75];
    let message = message_of(|file| {
        replace(file, "/sessions/a/trials/stop_time", &[1.0, 2.0]);
        replace(file, "/sessions/a/trials/align_time", &[0.25, f64::INFINITY, 2.25]);
        replace(file, "/sessions/a/units/spike_times", &times);
        replace(file, "/sessions/a/units/cell_type", &texts(&["excitatory", "E"]));
        replace(file, "/sessions/a/units/id", &texts(&["u", "u"]));
    });
    assert_says(
        &message,
        &[
            "6 problems",
            "/sessions/a/trials/stop_time: 2 rows",
            "/sessions/a/trials/align_time, trial 1: the time is inf s",
            "/sessions/a/units/spike_times, unit 0 ('u'): spike times are not sorted",
            "/sessions/a/units/spike_times, unit 1 ('u'): 1 spike times are negative",
            "/sessions/a/units/cell_type, unit 1: unknown cell type 'E'",
            "/sessions/a/units/id, unit 1 ('u'): two units have this name",
        ],
    );
    // Whichever column is the odd one out, the others are right.
    let first = message_of(|file| {
        replace(file, "/sessions/a/trials/start_time", &[0.0]);
        replace(file, "/sessions/a/trials/stimulus", &[1.0, f64::NAN, 1.0]);
    });
    assert_says(
        &first,
        &[
            "2 problems",
            "/sessions/a/trials/start_time: 1 rows",
            "stimulus, trial 1: the value is NaN",
        ],
    );
    // A missing table, and counts that can't be read.
    let message = message_of(|file| {
        file.unlink("/sessions/a/trials").unwrap();
        replace(file, "/sessions/a/units/spike_times", &times);
        replace(file, "/sessions/b/binned/spikes", &[1_u8; 24]);
        replace(file, "/sessions/b/units/area", &texts(&["A", ""]));
    });
    assert_says(
        &message,
        &[
            "5 problems",
            "/sessions/a/trials: the group is missing",
            "unit 0 ('u0'): spike times are not sorted",
            "unit 1 ('u1'): 1 spike times are negative",
            "/sessions/b/binned/spikes: shape [24]",
            "/sessions/b/units/area, unit 1 ('u1'): the area is empty",
        ],
    );
}

#[test]
fn reading_leaves_the_file_as_it_was() {
    let (_dir, path) = edited(|_| ());
    let bytes = |path: &Path| std::fs::read(path).unwrap();
    let before = bytes(&path);
    read(&path).unwrap();
    assert_eq!(bytes(&path), before);
}
