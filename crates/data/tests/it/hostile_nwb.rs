//! NWB files that lie, or that other programs wrote in their own way.

use std::path::{Path, PathBuf};

use data::Timing;
use data::import::{Column, SeriesRequest, Source, is_nwb, read_nwb};
use hdf5::types::{FixedAscii, VarLenAscii, VarLenUnicode};
use hdf5::{Dataset, File, Group, H5Type, Location, ObjectReference1};
use ndarray::{Array2, array};
use tempfile::TempDir;

fn text(text: &str) -> VarLenUnicode {
    text.parse().unwrap()
}

fn texts(values: &[&str]) -> Vec<VarLenUnicode> {
    values.iter().map(|value| text(value)).collect()
}

fn attribute<T: H5Type>(at: &Location, name: &str, value: &T) {
    at.new_attr::<T>().create(name).unwrap().write_scalar(value).unwrap();
}

fn dataset<T: H5Type + Clone>(group: &Group, name: &str, values: &[T]) -> Dataset {
    group.new_dataset_builder().with_data(values).create(name).unwrap()
}

fn replace<T: H5Type + Clone>(group: &Group, name: &str, values: &[T]) -> Dataset {
    group.unlink(name).unwrap();
    dataset(group, name, values)
}

fn table(file: &File, path: &str, n_rows: i64, columns: &[&str]) -> Group {
    let group = file.create_group(path).unwrap();
    let names = texts(columns);
    group.new_attr_builder().with_data(&names).create("colnames").unwrap();
    dataset(&group, "id", &(0..n_rows).collect::<Vec<_>>());
    group
}

/// Three units (2, 0 and 4 spikes) on one shank, two trials, a pupil trace of four samples.
pub(crate) fn base(file: &File) {
    attribute(file, "nwb_version", &text("2.6.0"));
    let devices = file.create_group("general/devices").unwrap();
    devices.create_group("probe").unwrap();
    let ephys = file.create_group("general/extracellular_ephys").unwrap();
    let shank = ephys.create_group("shank").unwrap();
    attribute(&shank, "location", &text("CA1"));
    shank.link_soft("/general/devices/probe", "device").unwrap();
    let electrodes = table(file, "general/extracellular_ephys/electrodes", 4, &["location"]);
    dataset(&electrodes, "location", &texts(&["CA1", "CA1", "CA3", "DG"]));
    let columns = ["spike_times", "quality", "electrodes", "electrode_group"];
    let units = table(file, "units", 3, &columns);
    dataset(&units, "spike_times", &[0.5, 1.5, 0.25, 0.75, 1.25, 1.75]);
    dataset(&units, "spike_times_index", &[2_u8, 2, 6]);
    dataset(&units, "quality", &texts(&["good", "mua", "good"]));
    let region = dataset(&units, "electrodes", &[0_i32, 1, 3]);
    let reference = file
        .reference::<ObjectReference1>("general/extracellular_ephys/electrodes")
        .unwrap();
    attribute(&region, "table", &reference);
    let reference = file
        .reference::<ObjectReference1>("general/extracellular_ephys/shank")
        .unwrap();
    dataset(&units, "electrode_group", &[reference; 3]);
    let trials = table(file, "intervals/trials", 2, &["start_time", "stop_time"]);
    dataset(&trials, "start_time", &[0.0, 1.0]);
    dataset(&trials, "stop_time", &[1.0, 2.0]);
    let pupil = file.create_group("processing/behavior/pupil").unwrap();
    let data = dataset(&pupil, "data", &[1_i16, 2, 3, 4]);
    attribute(&data, "unit", &text("mm"));
    dataset(&pupil, "timestamps", &[0.0, 0.5, 1.0, 1.5]);
}

/// The file above, changed by `edit`.
fn edited(edit: impl FnOnce(&File)) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mouse.nwb");
    let file = File::create(&path).unwrap();
    base(&file);
    edit(&file);
    file.close().unwrap();
    (dir, path)
}

fn try_read(path: &Path) -> Result<Source, String> {
    read_nwb(path, &SeriesRequest::of(["pupil"])).map_err(|error| error.to_string())
}

fn source_of(edit: impl FnOnce(&File)) -> Source {
    let (_dir, path) = edited(edit);
    try_read(&path).unwrap()
}

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "'{part}' is not in: {message}");
    }
}

/// One problem, which says all of this.
#[track_caller]
fn assert_refused(parts: &[&str], edit: impl FnOnce(&File)) {
    let (_dir, path) = edited(edit);
    let message = try_read(&path).unwrap_err();
    assert_says(&message, &["mouse.nwb: 1 problem\n"]);
    assert_says(&message, parts);
}

/// The file is read, with one warning more, which says all of this.
#[track_caller]
fn assert_warned(parts: &[&str], edit: impl FnOnce(&File)) -> Source {
    let source = source_of(edit);
    let said: Vec<String> = source.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_says(&said[0], parts);
    source
}

fn units(file: &File) -> Group {
    file.group("units").unwrap()
}

fn trials(file: &File) -> Group {
    file.group("intervals/trials").unwrap()
}

fn pupil(file: &File) -> Group {
    file.group("processing/behavior/pupil").unwrap()
}

#[test]
fn the_unchanged_file_is_read_without_a_warning() {
    let source = source_of(|_| ());
    assert_eq!(source.warnings, []);
    assert_eq!(source.id, "mouse");
    assert_eq!(source.spikes_s, [vec![0.5, 1.5], vec![], vec![0.25, 0.75, 1.25, 1.75]]);
    let column = |name: &str| {
        (0..3)
            .map(|row| source.units.get(name).unwrap().text(row))
            .collect::<Vec<_>>()
    };
    assert_eq!(column("electrodes.location"), ["CA1", "CA1", "DG"]);
    assert_eq!(column("electrode_group"), ["shank"; 3]);
    assert_eq!(column("electrode_group.location"), ["CA1"; 3]);
    assert_eq!(column("electrode_group.device"), ["probe"; 3]);
    assert_eq!(source.trials.unwrap().n_rows(), 2);
    let pupil = &source.series["pupil"];
    assert_eq!((pupil.shape, pupil.unit.as_str(), pupil.rate_hz), ((4, 1), "mm", None));
    assert_eq!(
        pupil.samples.as_ref().unwrap().values,
        array![[1.0_f32], [2.0], [3.0], [4.0]]
    );
}

#[test]
fn other_versions_are_refused_by_name() {
    let with_version = |version: &str, said: &[&str]| {
        assert_refused(said, |file| {
            file.delete_attr("nwb_version").unwrap();
            attribute(file, "nwb_version", &text(version));
        });
    };
    with_version("1.0.5", &["nwb_version", "NWB '1.0.5'", "reads NWB 2", "convert"]);
    with_version("3.0.0", &["NWB '3.0.0'", "newer snnfit"]);
    with_version("\u{1b}[2J", &["NWB '\\u{1b}[2J'"]);
    // NWB 1 had a dataset.
    let old = |file: &File| {
        file.delete_attr("nwb_version").unwrap();
        let version = file.new_dataset::<VarLenUnicode>().create("nwb_version").unwrap();
        version.write_scalar(&text("NWB-1.0.6")).unwrap();
    };
    assert_refused(&["NWB 'NWB-1.0.6'", "convert it to NWB 2"], old);
    let (_dir, path) = edited(old);
    assert!(is_nwb(&path).unwrap());
}

#[test]
fn what_is_absent_is_named() {
    assert_refused(&["/units: the group is missing", "no sorted units"], |file| {
        file.unlink("units").unwrap();
    });
    assert_refused(
        &["/units/spike_times: the dataset is missing: 3 units without spike times"],
        |file| {
            units(file).unlink("spike_times").unwrap();
            // As in a file that has none: they are no column either.
            units(file).delete_attr("colnames").unwrap();
            units(file)
                .new_attr_builder()
                .with_data(&texts(&["quality"]))
                .create("colnames")
                .unwrap();
        },
    );
    assert_refused(&["/units/spike_times_index: the dataset is missing"], |file| {
        units(file).unlink("spike_times_index").unwrap();
    });
    assert_refused(&["/units/id: the dataset is missing"], |file| {
        units(file).unlink("id").unwrap();
    });
    assert_refused(&["/intervals/trials/stop_time: the column is missing"], |file| {
        trials(file).delete_attr("colnames").unwrap();
        trials(file)
            .new_attr_builder()
            .with_data(&texts(&["start_time"]))
            .create("colnames")
            .unwrap();
    });
    assert_refused(
        &["/processing/behavior/pupil: neither timestamps nor starting_time"],
        |file| {
            pupil(file).unlink("timestamps").unwrap();
        },
    );
    assert_eq!(source_of(|file| file.unlink("intervals").unwrap()).trials, None);
    let source = assert_warned(
        &["/units: the attribute colnames names columns that are missing: quality"],
        |file| {
            units(file).unlink("quality").unwrap();
        },
    );
    assert_eq!(source.units.get("quality"), None);
    let source = assert_warned(&["/units: the attribute colnames is missing"], |file| {
        units(file).delete_attr("colnames").unwrap();
    });
    assert_eq!(source.units.get("quality").unwrap().text(1), "mua");
}

#[test]
fn a_wrong_index_is_named_before_memory_is_taken() {
    for (ends, said) in [
        ([2_i64, 1, 6], "row 1 ends at 1; expected at least 2, where row 0 ends"),
        (
            [2, 2, 7],
            "row 2 ends at 7; expected at least 2, where row 1 ends, and at most 6",
        ),
        ([-1, 2, 6], "row 0 ends at -1"),
        ([2, i64::MAX, 6], "row 1 ends at 9223372036854775807"),
        ([2, 2, 5], "ends at 5, but spike_times has 6 values"),
    ] {
        assert_refused(&["/units/spike_times_index", said], |file| {
            replace(&units(file), "spike_times_index", &ends);
        });
    }
    assert_refused(&["/units/spike_times_index: 2 rows; the table has 3"], |file| {
        replace(&units(file), "spike_times_index", &[2, 6]);
    });
    assert_refused(
        &["/units/electrodes: value 2 is electrode 4; there are 4, counted from 0"],
        |file| {
            let region = units(file).dataset("electrodes").unwrap();
            region.write(&[0, 1, 4]).unwrap();
        },
    );
}

#[derive(H5Type, Clone, Copy)]
#[repr(C)]
struct Pair {
    first: i32,
    count: i32,
}

#[test]
fn wrong_types_lengths_and_shapes_are_named() {
    assert_refused(
        &["/units/spike_times: holds text; expected floating-point numbers or integers"],
        |file| {
            replace(&units(file), "spike_times", &texts(&["a"; 6]));
        },
    );
    assert_refused(
        &["/units/spike_times_index: holds floating-point numbers; expected integers"],
        |file| {
            replace(&units(file), "spike_times_index", &[2.0, 2.0, 6.0]);
        },
    );
    assert_refused(&["/units/spike_times: shape [3, 2]; expected one axis"], |file| {
        units(file).unlink("spike_times").unwrap();
        let values = Array2::<f64>::zeros((3, 2));
        units(file)
            .new_dataset_builder()
            .with_data(&values)
            .create("spike_times")
            .unwrap();
    });
    assert_refused(&["/units/quality: 2 rows; the table has 3"], |file| {
        replace(&units(file), "quality", &texts(&["good", "mua"]));
    });
    assert_refused(
        &["/intervals/trials/start_time: holds texts; expected numbers"],
        |file| {
            replace(&trials(file), "start_time", &texts(&["0", "1"]));
        },
    );
    assert_refused(
        &["/processing/behavior/pupil/timestamps: shape [3]; expected a time for each of 4"],
        |file| {
            replace(&pupil(file), "timestamps", &[0.0, 0.5, 1.0]);
        },
    );
    assert_refused(&["/units/spike_times", "not a dataset"], |file| {
        units(file).unlink("spike_times").unwrap();
        units(file).create_group("spike_times").unwrap();
    });
    assert_refused(
        &["/processing/behavior/pupil/data (attribute conversion)", "holds text"],
        |file| {
            attribute(&pupil(file).dataset("data").unwrap(), "conversion", &text("0.1"));
        },
    );
    let source = assert_warned(&["/units/quality: elements of type", "left out"], |file| {
        replace(&units(file), "quality", &[Pair { first: 0, count: 1 }; 3]);
    });
    assert_eq!(source.units.get("quality"), None);
    // The references of trials to samples are no oddity.
    let source = source_of(|file| {
        trials(file).delete_attr("colnames").unwrap();
        let names = texts(&["start_time", "stop_time", "timeseries"]);
        trials(file)
            .new_attr_builder()
            .with_data(&names)
            .create("colnames")
            .unwrap();
        dataset(&trials(file), "timeseries", &[Pair { first: 0, count: 1 }; 2]);
    });
    assert_eq!(source.warnings, []);
}

#[test]
fn a_fault_of_another_table_leaves_it_out_and_no_more() {
    let source = assert_warned(&["/intervals/epochs/start_time: 3 rows; the table has 2"], |file| {
        let epochs = table(file, "intervals/epochs", 2, &["start_time", "stop_time"]);
        dataset(&epochs, "start_time", &[0.0, 1.0, 2.0]);
        dataset(&epochs, "stop_time", &[1.0, 2.0]);
    });
    let names: Vec<_> = source.intervals["epochs"].names().collect();
    assert_eq!(names, ["id", "stop_time"]);
}

#[test]
fn soft_links_are_followed_within_the_file() {
    let times = [0.0, 0.5, 1.0, 1.5];
    let source = source_of(|file| {
        file.create_group("acquisition/raw").unwrap();
        pupil(file).unlink("timestamps").unwrap();
        dataset(&file.group("acquisition/raw").unwrap(), "timestamps", &times);
        file.link_soft("/acquisition/raw", "general/clock").unwrap();
        // Over another soft link, and relative to the group.
        pupil(file).link_soft("/general/clock/timestamps", "also").unwrap();
        pupil(file).link_soft("also", "timestamps").unwrap();
    });
    let samples = source.series["pupil"].samples.as_ref().unwrap();
    assert_eq!(samples.timing, Timing::Timestamps(times.to_vec()));
    // A whole series, listed once under its own path.
    let source = source_of(|file| {
        let other = file.create_group("processing/other").unwrap();
        other.link_soft("/processing/behavior/pupil", "pupil").unwrap();
    });
    assert_eq!(source.series.len(), 1);
}

#[test]
fn links_that_lead_nowhere_or_in_a_circle_or_out_of_the_file_are_refused() {
    let broken = |target: &'static str| {
        move |file: &File| {
            pupil(file).unlink("timestamps").unwrap();
            pupil(file).link_soft(target, "timestamps").unwrap();
        }
    };
    let at = "/processing/behavior/pupil/timestamps: a soft link";
    assert_refused(&[at, "in a circle"], broken("/processing/behavior/pupil/timestamps"));
    assert_refused(&[at, "leads nowhere"], broken("/processing/behavior/nothing"));
    assert_refused(&[at, "not a dataset"], broken("/units"));
    assert_refused(&["/units: a soft link that leads in a circle"], |file| {
        file.unlink("units").unwrap();
        file.link_soft("/units", "units").unwrap();
    });
    assert_refused(
        &[
            "/units/spike_times: a link to another file",
            "only objects in this file",
        ],
        |file| {
            units(file).unlink("spike_times").unwrap();
            units(file).link_external("/etc/passwd", "/x", "spike_times").unwrap();
        },
    );
    // A soft link that leads over an external one.
    assert_refused(&[at, "because /acquisition/other links to another file"], |file| {
        let acquisition = file.create_group("acquisition").unwrap();
        acquisition.link_external("/etc/passwd", "/", "other").unwrap();
        broken("/acquisition/other/timestamps")(file);
        // The device of the shank is a soft link too, and only a name.
    });
    assert_refused(
        &["/processing/behavior/pupil/data: the data lie in another file"],
        |file| {
            pupil(file).unlink("data").unwrap();
            let builder = pupil(file).new_dataset_builder().external("/etc/passwd", 0, 32);
            builder.empty::<f64>().shape(4).create("data").unwrap();
        },
    );
}

#[test]
fn references_to_nothing_are_refused() {
    // What was referred to is gone.
    assert_refused(&["/units/electrode_group, row 0: an object reference"], |file| {
        file.unlink("general/extracellular_ephys/shank").unwrap();
    });
    assert_refused(&["/units/electrodes (attribute table): an object reference"], |file| {
        file.unlink("general/extracellular_ephys/electrodes").unwrap();
    });
    // A reference that was never set: all zero.
    assert_refused(&["/units/electrode_group, row 0: an object reference"], |file| {
        units(file).unlink("electrode_group").unwrap();
        units(file)
            .new_dataset::<ObjectReference1>()
            .shape(3)
            .create("electrode_group")
            .unwrap();
    });
    assert_refused(
        &["/units/electrodes: its table is /units/quality, which is a dataset"],
        |file| {
            let region = units(file).dataset("electrodes").unwrap();
            region.delete_attr("table").unwrap();
            attribute(
                &region,
                "table",
                &file.reference::<ObjectReference1>("units/quality").unwrap(),
            );
        },
    );
    let source = assert_warned(
        &["/general/extracellular_ephys/shank/device: a soft link that leads nowhere"],
        |file| {
            file.unlink("general/devices/probe").unwrap();
        },
    );
    assert_eq!(source.units.get("electrode_group.device").unwrap().text(0), "");
    // Without a reference, the table is where it always is.
    let source = source_of(|file| units(file).dataset("electrodes").unwrap().delete_attr("table").unwrap());
    assert_eq!(source.units.get("electrodes.location").unwrap().text(2), "DG");
}

#[test]
fn sizes_are_checked_before_memory_is_taken() {
    let huge = |group: Group, name: &str, n: usize| {
        group.unlink(name).unwrap();
        group.new_dataset::<f64>().chunk(64).shape(n).create(name).unwrap();
    };
    assert_refused(
        &["/units/spike_times_index: ends at 6, but spike_times has 1152921504606846976 values"],
        |file| {
            huge(units(file), "spike_times", 1 << 60);
        },
    );
    assert_refused(
        &["/units/spike_times: shape [1152921504606846976] is larger than the limit"],
        |file| {
            huge(units(file), "spike_times", 1 << 60);
            replace(&units(file), "spike_times_index", &[0_i64, 0, 1 << 60]);
        },
    );
    assert_refused(
        &["/units/spike_times: shape [1073741824]", "data are missing"],
        |file| {
            huge(units(file), "spike_times", 1 << 30);
            replace(&units(file), "spike_times_index", &[0_i64, 0, 1 << 30]);
        },
    );
    assert_refused(&["/units/id: shape [1152921504606846976] is larger"], |file| {
        huge(units(file), "id", 1 << 60);
    });
    assert_refused(&["/processing/behavior/pupil", "shape [1152921504606846976]"], |file| {
        huge(pupil(file), "data", 1 << 60);
        huge(pupil(file), "timestamps", 1 << 60);
    });
    // Listed, but not loaded: no matter.
    let (_dir, path) = edited(|file| {
        let raw = file.create_group("acquisition/raw").unwrap();
        raw.new_dataset::<f32>()
            .chunk((64, 4))
            .shape((1 << 40, 384))
            .create("data")
            .unwrap();
    });
    assert_eq!(try_read(&path).unwrap().series["raw"].shape, (1 << 40, 384));
    assert_warned(&["/units (attribute colnames): 5000 values", "at most 4096"], |file| {
        units(file).delete_attr("colnames").unwrap();
        let names = vec![FixedAscii::<4>::from_ascii("x").unwrap(); 5000];
        units(file)
            .new_attr_builder()
            .with_data(&names)
            .create("colnames")
            .unwrap();
    });
}

#[test]
fn structures_without_end_are_refused_or_visited_once() {
    assert_refused(&["more than 32 groups inside each other"], |file| {
        file.create_group(&"scratch/a".repeat(40).replace("ascratch", "a"))
            .unwrap();
    });
    // A group that contains itself.
    let source = source_of(|file| {
        let behaviour = file.group("processing/behavior").unwrap();
        behaviour.link_hard("/processing/behavior", "again").unwrap();
        behaviour.link_soft("/processing", "up").unwrap();
    });
    assert_eq!(source.series.len(), 1);
    assert_refused(&["more than 100000 objects in the file"], |file| {
        for half in ["a", "b"] {
            let group = file.create_group(&format!("scratch/{half}")).unwrap();
            for i in 0..50_001 {
                group.link_hard("/units/id", &i.to_string()).unwrap();
            }
        }
    });
}

#[test]
fn a_filter_that_needs_a_plugin_is_named_and_its_series_listed() {
    let (_dir, path) = edited(|file| {
        pupil(file).unlink("data").unwrap();
        let builder = pupil(file).new_dataset::<f64>().chunk(4).deflate(1);
        builder
            .shape(4)
            .create("data")
            .unwrap()
            .write(&[1.0, 2.0, 3.0, 4.0])
            .unwrap();
    });
    let mut bytes = std::fs::read(&path).unwrap();
    // The message of a filter: number, length of its name, flags, number of values, name.
    let name = bytes.windows(8).position(|window| window == b"deflate\0").unwrap();
    bytes[name - 8..name - 6].copy_from_slice(&32001_u16.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let message = try_read(&path).unwrap_err();
    assert_says(
        &message,
        &[
            "1 problem\n",
            "/processing/behavior/pupil/data: compressed with filter 32001",
            "gzip",
        ],
    );
    assert_eq!(
        read_nwb(&path, &SeriesRequest::none()).unwrap().series["pupil"].shape,
        (4, 1)
    );
}

#[test]
fn a_column_stored_elsewhere_is_left_out_unless_it_is_needed() {
    let elsewhere = |group: Group, name: &str, n: usize| {
        group.unlink(name).unwrap();
        let builder = group.new_dataset_builder().external("/etc/passwd", 0, 8 * n);
        builder.empty::<f64>().shape(n).create(name).unwrap();
    };
    let said = "the data lie in another file";
    let source = assert_warned(&["/units/quality", said, "the column is left out"], |file| {
        elsewhere(units(file), "quality", 3);
    });
    assert_eq!(source.units.get("quality"), None);
    assert_refused(&["/intervals/trials/start_time", said], |file| {
        elsewhere(trials(file), "start_time", 2);
    });
    assert_refused(&["/units/spike_times", said], |file| {
        elsewhere(units(file), "spike_times", 6);
    });
}

#[test]
fn a_session_is_named_by_the_file_the_laboratory_or_the_name_of_the_file() {
    let with = |places: &'static [(&'static str, &'static str)]| {
        source_of(|file| {
            for (place, id) in places {
                let dataset = file.new_dataset::<VarLenUnicode>().create(*place).unwrap();
                dataset.write_scalar(&text(id)).unwrap();
            }
        })
        .id
    };
    assert_eq!(with(&[]), "mouse");
    assert_eq!(with(&[("general/session_id", "day 3/a")]), "day 3-a");
    assert_eq!(
        with(&[("identifier", "\u{1b}[1m"), ("general/session_id", "x")]),
        "-[1m"
    );
    for nameless in ["", "  ", ".", ".."] {
        let id = source_of(|file| {
            let dataset = file.new_dataset::<VarLenUnicode>().create("identifier").unwrap();
            dataset.write_scalar(&text(nameless)).unwrap();
        })
        .id;
        assert_eq!(id, "mouse", "'{nameless}'");
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let (_dir, path) = edited(|_| ());
    let bytes = std::fs::read(&path).unwrap();
    for i in 0..100 {
        let cut = path.with_extension("cut");
        std::fs::write(&cut, &bytes[..bytes.len() * i / 100]).unwrap();
        let message = try_read(&cut).unwrap_err();
        assert!(message.contains("mouse.cut: "), "cut at {i} %: {message}");
    }
}

#[test]
fn other_ways_to_store_the_same_are_understood() {
    let source = source_of(|file| {
        // Attributes and texts of fixed length, in ASCII.
        file.delete_attr("nwb_version").unwrap();
        attribute(file, "nwb_version", &FixedAscii::<8>::from_ascii("2.1.0").unwrap());
        let identifier = file.new_dataset::<VarLenAscii>().create("identifier").unwrap();
        identifier
            .write_scalar(&VarLenAscii::from_ascii(" a/b\n").unwrap())
            .unwrap();
        // Integers for times, texts for identifiers.
        replace(&units(file), "spike_times", &[1_i32, 2, 3, 4, 5, 6]);
        replace(&units(file), "id", &[7_i64, i64::MAX, -1]);
        replace(&units(file), "quality", &[1_i8, 0, 1]);
        // A list of one name as a scalar, columns as single rows or columns.
        trials(file).delete_attr("colnames").unwrap();
        let names = texts(&["start_time", "stop_time", "side"]);
        trials(file)
            .new_attr_builder()
            .with_data(&names)
            .create("colnames")
            .unwrap();
        trials(file).unlink("start_time").unwrap();
        trials(file)
            .new_dataset_builder()
            .with_data(&array![[0.0], [1.0]])
            .create("start_time")
            .unwrap();
        let sides = Array2::from_shape_vec((1, 2), texts(&["left", "right"])).unwrap();
        trials(file)
            .new_dataset_builder()
            .with_data(&sides)
            .create("side")
            .unwrap();
    });
    assert_eq!((source.id.as_str(), source.format.as_str()), ("a-b", "NWB 2.1.0"));
    assert_eq!(source.spikes_s[2], [3.0, 4.0, 5.0, 6.0]);
    assert_eq!(source.unit_ids, ["7", "9223372036854775807", "-1"]);
    let named = source_of(|file| {
        replace(&units(file), "id", &texts(&["u1", "u2", "u3"]));
    });
    assert_eq!(named.unit_ids, ["u1", "u2", "u3"]);
    assert_eq!(
        source.units.get("quality"),
        Some(&Column::Flags(vec![true, false, true]))
    );
    let trials = source.trials.unwrap();
    assert_eq!(trials.get("start_time"), Some(&Column::Numbers(vec![0.0, 1.0])));
    assert_eq!(trials.get("side").unwrap().text(1), "right");
}

#[derive(H5Type, Clone, Copy)]
#[repr(i16)]
#[allow(dead_code)]
enum Side {
    Left = -1,
    Right = 1,
}

#[derive(H5Type, Clone, Copy)]
#[repr(u8)]
#[allow(dead_code)]
enum Answer {
    #[allow(non_camel_case_types)]
    True = 1,
    False = 0,
}

#[test]
fn named_values_become_texts_and_those_named_true_and_false_flags() {
    let sides = source_of(|file| {
        replace(&units(file), "quality", &[Side::Right, Side::Left, Side::Right]);
    });
    let texts = ["Right", "Left", "Right"].map(str::to_owned);
    assert_eq!(sides.units.get("quality"), Some(&Column::Texts(texts.to_vec())));
    let answers = source_of(|file| {
        replace(&units(file), "quality", &[Answer::True, Answer::False, Answer::True]);
    });
    assert_eq!(
        answers.units.get("quality"),
        Some(&Column::Flags(vec![true, false, true]))
    );
    let flags = source_of(|file| {
        replace(&units(file), "quality", &[false, true, true]);
    });
    assert_eq!(
        flags.units.get("quality"),
        Some(&Column::Flags(vec![false, true, true]))
    );
    let elements = |names: &'static [&'static str]| {
        move |file: &File| {
            let column = replace(&units(file), "quality", &[1_u8, 0, 1]);
            dataset(&units(file), "quality_elements", &self::texts(names));
            let reference = file.reference::<ObjectReference1>("units/quality_elements").unwrap();
            attribute(&column, "elements", &reference);
        }
    };
    let source = source_of(elements(&["mua", "good"]));
    assert_eq!(source.units.get("quality").unwrap().text(0), "good");
    assert_refused(&["/units/quality: row 0 is element 1; there are 1"], elements(&["mua"]));
}

#[test]
fn a_byte_that_is_neither_true_nor_false_is_read_as_true() {
    let (_dir, path) = edited(|file| {
        let column = replace(&units(file), "quality", &[true, false, false]);
        drop(column);
    });
    let mut bytes = std::fs::read(&path).unwrap();
    let file = File::open(&path).unwrap();
    let offset = file.dataset("units/quality").unwrap().offset().unwrap() as usize;
    file.close().unwrap();
    bytes[offset + 2] = 7;
    std::fs::write(&path, bytes).unwrap();
    let source = try_read(&path).unwrap();
    assert_eq!(
        source.units.get("quality"),
        Some(&Column::Flags(vec![true, false, true]))
    );
}

#[test]
fn a_table_of_one_row_may_be_scalars_and_one_of_none_is_no_fault() {
    let source = source_of(|file| {
        file.unlink("intervals").unwrap();
        let trials = table(file, "intervals/trials", 1, &["start_time", "stop_time", "side"]);
        for (name, value) in [("start_time", 0.0), ("stop_time", 1.0)] {
            trials
                .new_dataset::<f64>()
                .create(name)
                .unwrap()
                .write_scalar(&value)
                .unwrap();
        }
        let side = trials.new_dataset::<VarLenUnicode>().create("side").unwrap();
        side.write_scalar(&text("left")).unwrap();
    });
    let trials = source.trials.unwrap();
    assert_eq!(trials.get("stop_time"), Some(&Column::Numbers(vec![1.0])));
    assert_eq!(trials.get("side").unwrap().text(0), "left");
    let none = assert_warned(&["/units: the table has no rows"], |file| {
        file.unlink("units").unwrap();
        table(file, "units", 0, &[]);
    });
    assert_eq!((none.n_units(), none.unit_ids.len()), (0, 0));
}

#[test]
fn observation_may_be_stored_in_rows_or_turned() {
    let turned = assert_warned(&["/units/obs_intervals: shape [2, 3]", "starts and ends"], |file| {
        let intervals = array![[0.0, 1.0, 2.0], [0.5, 1.5, 2.5]];
        units(file)
            .new_dataset_builder()
            .with_data(&intervals)
            .create("obs_intervals")
            .unwrap();
        dataset(&units(file), "obs_intervals_index", &[2, 2, 3]);
    });
    assert_eq!(
        turned.unit_observed_s,
        Some(vec![vec![(0.0, 0.5), (1.0, 1.5)], vec![], vec![(2.0, 2.5)]])
    );
    let one_each = source_of(|file| {
        let intervals = array![[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]];
        units(file)
            .new_dataset_builder()
            .with_data(&intervals)
            .create("obs_intervals")
            .unwrap();
    });
    assert_eq!(one_each.unit_observed_s.unwrap()[1], [(1.0, 1.5)]);
    assert_refused(
        &["/units/obs_intervals: shape [3, 3]; expected [intervals, 2]"],
        |file| {
            let intervals = Array2::<f64>::zeros((3, 3));
            units(file)
                .new_dataset_builder()
                .with_data(&intervals)
                .create("obs_intervals")
                .unwrap();
        },
    );
}

#[test]
fn samples_along_the_second_axis_are_turned_where_timestamps_tell() {
    let data = array![[1.0_f64, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, f64::NAN]];
    let write = |file: &File| {
        pupil(file).unlink("data").unwrap();
        pupil(file)
            .new_dataset_builder()
            .with_data(&data)
            .create("data")
            .unwrap();
    };
    let source = assert_warned(&["pupil/data: shape [2, 4] with 4 timestamps"], write);
    let pupil_series = &source.series["pupil"];
    assert_eq!(pupil_series.shape, (4, 2));
    let values = &pupil_series.samples.as_ref().unwrap().values;
    assert_eq!((values[[0, 1]], values[[2, 0]]), (5.0, 3.0));
    assert!(values[[3, 1]].is_nan());
    // With a rate, nothing tells.
    let source = assert_warned(&["pupil/data", "2 samples of 4 channels", "other way round"], |file| {
        write(file);
        pupil(file).unlink("timestamps").unwrap();
        let start = pupil(file).new_dataset::<f64>().create("starting_time").unwrap();
        start.write_scalar(&0.5).unwrap();
        attribute(&start, "rate", &100.0_f32);
    });
    let series = &source.series["pupil"];
    assert_eq!((series.shape, series.rate_hz), ((2, 4), Some(100.0)));
    let timing = &series.samples.as_ref().unwrap().timing;
    assert_eq!(
        *timing,
        Timing::Rate {
            rate_hz: 100.0,
            start_s: 0.5
        }
    );
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_refused(&["pupil/starting_time", "a rate above 0"], |file| {
            pupil(file).unlink("timestamps").unwrap();
            let start = pupil(file).new_dataset::<f64>().create("starting_time").unwrap();
            attribute(&start, "rate", &rate);
        });
    }
}

#[test]
fn a_factor_and_an_offset_apply_to_every_channel() {
    let write = |n_factors: usize| {
        move |file: &File| {
            pupil(file).unlink("data").unwrap();
            let data = array![[1_i16, 2], [3, 4], [5, 6], [7, 8]];
            let data = pupil(file)
                .new_dataset_builder()
                .with_data(&data)
                .create("data")
                .unwrap();
            attribute(&data, "conversion", &0.5_f32);
            attribute(&data, "offset", &100_i32);
            dataset(&pupil(file), "channel_conversion", &[1.0, 4.0, 9.0][..n_factors]);
        }
    };
    let source = source_of(write(2));
    let values = &source.series["pupil"].samples.as_ref().unwrap().values;
    assert_eq!(
        *values,
        array![[100.5_f32, 104.0], [101.5, 108.0], [102.5, 112.0], [103.5, 116.0]]
    );
    assert_refused(
        &["pupil/channel_conversion: 3 factors; expected one for each of 2 channels"],
        write(3),
    );
}

#[test]
fn events_of_extensions_become_tables_and_are_listed() {
    let source = source_of(|file| {
        let events = file.create_group("processing/events/pokes").unwrap();
        dataset(&events, "timestamps", &[0.25, 1.25]);
        let labelled = file.create_group("acquisition/ttl").unwrap();
        dataset(&labelled, "timestamps", &[0.5, 1.0, 1.5]);
        let data = dataset(&labelled, "data", &[1_u8, 0, 9]);
        let labels = texts(&["off", "on"]);
        data.new_attr_builder().with_data(&labels).create("labels").unwrap();
    });
    let table = |name: &str, columns: &[&str]| {
        let table = &source.intervals[name];
        assert_eq!(table.names().collect::<Vec<_>>(), columns, "{name}");
        table.clone()
    };
    let pokes = table("pokes", &["timestamps"]);
    assert_eq!(pokes.get("timestamps"), Some(&Column::Numbers(vec![0.25, 1.25])));
    let ttl = table("ttl", &["timestamps", "label", "data"]);
    // A number that has no label has none.
    let labels = ["on", "off", ""].map(str::to_owned);
    assert_eq!(ttl.get("label"), Some(&Column::Texts(labels.to_vec())));
    assert_eq!(ttl.get("data"), Some(&Column::Numbers(vec![1.0, 0.0, 9.0])));
    assert_eq!(
        (source.series["pokes"].shape, source.series["ttl"].shape),
        ((2, 0), (3, 1))
    );
}

#[test]
fn intervals_that_end_before_they_begin_are_left_out_and_open_ones_kept() {
    let marks = |marks: &'static [i8]| {
        move |file: &File| {
            let series = file.create_group("processing/behavior/running").unwrap();
            attribute(&series, "neurodata_type", &text("IntervalSeries"));
            dataset(&series, "timestamps", &[0.0, 1.0, 2.0]);
            dataset(&series, "data", marks);
        }
    };
    let source = source_of(marks(&[1, -1, 2]));
    let running = &source.intervals["running"];
    let Some(Column::Numbers(stops)) = running.get("stop_time") else {
        panic!("numbers");
    };
    assert!(stops[0] == 1.0 && stops[1].is_nan(), "{stops:?}");
    let said = &["running/data: value 1 is -2, but no interval of 2 has begun"];
    let source = assert_warned(said, marks(&[1, -2, 2]));
    assert!(source.intervals.is_empty());
    assert_warned(&["running/data: 2 marks for 3 timestamps"], marks(&[1, -1]));
}

#[test]
fn what_has_no_value_is_as_if_it_were_missing() {
    let source = source_of(|file| {
        let identifier = file.new_dataset::<VarLenUnicode>().shape(hdf5::Extents::Null);
        identifier.create("identifier").unwrap();
        let data = pupil(file).dataset("data").unwrap();
        data.delete_attr("unit").unwrap();
        let unit = data.new_attr::<VarLenUnicode>().shape(hdf5::Extents::Null);
        unit.create("unit").unwrap();
        let offset = data.new_attr::<f64>().shape(hdf5::Extents::Null);
        offset.create("offset").unwrap();
    });
    assert_eq!(
        (source.id.as_str(), source.series["pupil"].unit.as_str()),
        ("mouse", "")
    );
    assert_eq!(source.series["pupil"].samples.as_ref().unwrap().values[[0, 0]], 1.0);
    assert_refused(
        &["/processing/behavior/pupil/starting_time: there is no value"],
        |file| {
            pupil(file).unlink("timestamps").unwrap();
            let start = pupil(file).new_dataset::<f64>().shape(hdf5::Extents::Null);
            start.create("starting_time").unwrap();
        },
    );
}

#[test]
fn all_problems_are_reported_at_once() {
    let (_dir, path) = edited(|file| {
        replace(&units(file), "quality", &texts(&["good"]));
        replace(&units(file), "spike_times_index", &[3, 2, 6]);
        replace(&trials(file), "stop_time", &[1.0]);
        pupil(file).unlink("timestamps").unwrap();
    });
    let message = try_read(&path).unwrap_err();
    let parts = [
        "mouse.nwb: 4 problems",
        "/units/quality: 1 rows",
        "/units/spike_times_index: row 1",
        "/intervals/trials/stop_time: 1 rows",
        "/processing/behavior/pupil: neither timestamps",
    ];
    assert_says(&message, &parts);
}

#[test]
fn whole_numbers_that_a_float_would_round_stay_as_they_are_or_are_refused() {
    let large = (1_i64 << 53) + 1;
    let source = source_of(|file| {
        replace(&units(file), "quality", &[large, -large, 3]);
        replace(&units(file), "id", &[7, large, 9]);
    });
    let exact = |column: Option<&Column>| match column {
        Some(Column::Texts(texts)) => texts.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        exact(source.units.get("quality")),
        ["9007199254740993", "-9007199254740993", "3"]
    );
    assert_eq!(exact(source.units.get("id")), ["7", "9007199254740993", "9"]);
    assert_eq!(source.unit_ids, ["7", "9007199254740993", "9"]);
    let told: Vec<String> = source.warnings.iter().map(ToString::to_string).collect();
    let expected = "/units/quality: 9007199254740993 is a whole number above 2^53, which would be rounded: the column is taken as texts";
    assert!(told.iter().any(|w| w.contains(expected)), "{told:?}");
    // Unsigned ones of 64 bits go further than signed ones.
    let source = source_of(|file| {
        replace(&units(file), "quality", &[u64::MAX, 1, 2]);
        replace(&units(file), "id", &[u64::MAX - 1, 5, 6]);
    });
    assert_eq!(exact(source.units.get("quality")), ["18446744073709551615", "1", "2"]);
    assert_eq!(source.unit_ids, ["18446744073709551614", "5", "6"]);
    assert_refused(
        &["/units/spike_times: a spike is at 9007199254740994, a whole number above 2^53"],
        |file| {
            replace(&units(file), "spike_times", &[1_i64, 2, 3, 4, 5, large + 1]);
        },
    );
}

/// Without the columns that refer to electrodes and groups of them.
fn unlocated(file: &File) {
    for name in ["electrodes", "electrode_group"] {
        units(file).unlink(name).unwrap();
    }
    units(file).delete_attr("colnames").unwrap();
    let names = texts(&["spike_times", "quality", "peak_channel_id"]);
    let builder = units(file).new_attr_builder().with_data(&names);
    builder.create("colnames").unwrap();
}

#[test]
fn units_without_electrodes_are_where_the_electrode_of_their_peak_channel_is() {
    let electrodes = |file: &File| file.group("general/extracellular_ephys/electrodes").unwrap();
    let peaks = |file: &File, peaks: &[i64]| {
        unlocated(file);
        replace(
            &electrodes(file),
            "id",
            &[850_126_378_i64, 850_126_380, 850_126_382, 850_126_384],
        );
        dataset(&units(file), "peak_channel_id", peaks);
    };
    let column = |source: &Source, name: &str| -> Vec<String> {
        let column = source.units.get(name).unwrap();
        (0..3).map(|row| column.text(row)).collect()
    };
    let source = assert_warned(
        &["/units/peak_channel_id: electrodes of units are those whose id is their peak_channel_id"],
        |file| peaks(file, &[850_126_384, 850_126_382, 850_126_378]),
    );
    assert_eq!(column(&source, "electrodes.location"), ["DG", "CA3", "CA1"]);
    assert_eq!(
        column(&source, "electrodes.id"),
        ["850126384", "850126382", "850126378"]
    );
    let source = assert_warned(&["1 of 3 units have a channel that is no electrode's"], |file| {
        peaks(file, &[850_126_384, 3, 850_126_378]);
    });
    assert_eq!(column(&source, "electrodes.location"), ["DG", "", "CA1"]);
    let source = assert_warned(&["electrodes: several electrodes have the id 7"], |file| {
        peaks(file, &[7, 8, 7]);
        replace(&electrodes(file), "id", &[7_i64, 8, 7, 9]);
    });
    assert!(source.units.get("electrodes.location").is_none());
    // Without it, that there are locations is told.
    assert_warned(
        &[
            "electrodes: 4 electrodes have locations (CA1, CA3, DG), but units have no column 'electrodes' or 'peak_channel_id'",
        ],
        |file| {
            unlocated(file);
            let group = units(file);
            group.delete_attr("colnames").unwrap();
            let names = texts(&["spike_times", "quality"]);
            group.new_attr_builder().with_data(&names).create("colnames").unwrap();
        },
    );
}
