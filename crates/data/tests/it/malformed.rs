//! HDF5 files that are legal and unusual, or broken in ways that only h5py or a patch of bytes can make: as sound ones, or one
//! message.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use data::import::{Column, Layout, SeriesRequest, Source, detect, read_nwb};
use data::{Recording, read, write};
use tempfile::TempDir;

use crate::common::{assert_says, python, recording, session};
use crate::hostile_nwb::base;

/// The folder of files that `tests/python/make_odd.py` makes of two sound ones, made once; `None` without Python.
fn made() -> Option<&'static TempDir> {
    static FOLDER: OnceLock<Option<TempDir>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let python = python()?;
        let folder = tempfile::tempdir().unwrap();
        let (nwb, native) = (folder.path().join("sound.nwb"), folder.path().join("sound.h5"));
        let file = hdf5::File::create(&nwb).unwrap();
        base(&file);
        file.close().unwrap();
        write(&native, &recording(vec![session("a")])).unwrap();
        let script = format!("{}/../../tests/python/make_odd.py", crate::common::manifest_dir());
        let mut command = Command::new(python);
        let output = command
            .arg(&script)
            .args([&nwb, &native])
            .arg(folder.path())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {errors}");
        Some(folder)
    });
    folder.as_ref()
}

fn path(name: &str) -> Option<PathBuf> {
    Some(made()?.path().join(name))
}

/// The NWB file of that name, with its pupil.
fn nwb(name: &str) -> Option<Result<Source, String>> {
    let read = read_nwb(&path(name)?, &SeriesRequest::of(["pupil"]));
    Some(read.map_err(|error| error.to_string()))
}

fn native(name: &str) -> Option<Result<Recording, String>> {
    Some(read(&path(name)?).map_err(|error| error.to_string()))
}

/// Reads files of both kinds: what they are refused with.
fn refused(cases: &[(&str, &[&str])]) {
    for (name, parts) in cases {
        let message = if Path::new(name).extension().is_some_and(|kind| kind == "nwb") {
            nwb(name).map(|read| read.expect_err(name))
        } else {
            native(name).map(|read| read.expect_err(name))
        };
        let Some(message) = message else { return };
        assert_says(&message, &[&[*name], *parts].concat());
    }
}

#[test]
fn a_block_before_the_file_and_chunks_larger_than_their_data_change_nothing() {
    let Some(sound) = nwb("sound.nwb") else { return };
    let sound = Source {
        id: String::new(),
        ..sound.unwrap()
    };
    for name in ["userblock.nwb", "large_chunk.nwb"] {
        let found = nwb(name).unwrap().unwrap();
        assert_eq!(
            Source {
                id: String::new(),
                ..found
            },
            sound,
            "{name}"
        );
        assert_eq!(detect(&path(name).unwrap()).unwrap(), Layout::Nwb);
    }
    let sound = native("sound.h5").unwrap().unwrap();
    for name in ["userblock.h5", "large_chunk.h5"] {
        assert_eq!(native(name).unwrap().unwrap(), sound, "{name}");
        assert_eq!(detect(&path(name).unwrap()).unwrap(), Layout::Native);
    }
}

#[test]
fn data_of_other_files_elements_of_many_values_and_wrong_ranks_are_refused() {
    refused(&[
        ("virtual.nwb", &["/units/spike_times", "the data lie in another file"]),
        (
            "virtual.h5",
            &["/sessions/a/units/spike_times", "the data lie in another file"],
        ),
        ("ragged.nwb", &["/units/spike_times"]),
        ("ragged_column.nwb", &["/intervals/trials/stop_time"]),
        ("ragged.h5", &["/sessions/a/units/spike_times"]),
        ("rank0.nwb", &["/units/spike_times: shape []"]),
        ("rank32.nwb", &["/units/spike_times: shape [1, 1"]),
        ("rank0.h5", &["/sessions/a/units/spike_times"]),
        ("rank32.h5", &["/sessions/a/units/spike_times"]),
        ("rank0_series.nwb", &["pupil"]),
        ("rank32_series.nwb", &["pupil"]),
    ]);
}

#[test]
fn depths_and_numbers_of_links_are_limited() {
    refused(&[
        ("deep.nwb", &["more than 32 groups inside each other"]),
        (
            "many.h5",
            &["/sessions: 100", "links in one group; at most 100000 are read"],
        ),
    ]);
    // What a recording doesn't name isn't looked at.
    if let Some(found) = native("deep.h5") {
        assert_eq!(found.unwrap(), native("sound.h5").unwrap().unwrap());
    }
}

#[test]
fn attributes_that_are_there_twice_and_names_that_are_no_text_end_in_a_message_or_are_left_out() {
    refused(&[("name.h5", &["/sessions/zz"])]);
    let Some(twice) = nwb("twice.nwb") else { return };
    assert_eq!(twice.unwrap().spikes_s, nwb("sound.nwb").unwrap().unwrap().spikes_s);
    let sound = native("sound.h5").unwrap().unwrap();
    assert_eq!(native("twice.h5").unwrap().unwrap(), sound);
    let quality = Column::Texts(["good", "mua", "good"].map(str::to_owned).to_vec());
    for (name, n_warnings) in [("name_attribute.nwb", 0), ("name_column.nwb", 0), ("name.nwb", 1)] {
        let named = nwb(name).unwrap().unwrap();
        assert_eq!(named.units.get("quality"), Some(&quality), "{name}");
        assert_eq!(named.warnings.len(), n_warnings, "{:?}", named.warnings);
        let is_left_out = |warning: &data::Finding| warning.location.starts_with("/intervals/zz");
        assert!(named.warnings.iter().all(is_left_out));
    }
}

#[test]
fn a_file_that_a_dead_program_left_open_is_named_with_the_way_out() {
    refused(&[("swmr.nwb", &["h5clear"]), ("swmr.h5", &["h5clear"])]);
}
