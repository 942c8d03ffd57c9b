//! Archives of arrays, against what NumPy reads, and archives that lie.

use std::io::Write;

use data::Timing;
use data::import::{Column, Source, read_npz};
use flate2::Compression;
use flate2::write::DeflateEncoder;

use crate::common::{
    arrays, assert_column, assert_numbers, assert_says, folder, npy_bytes, npy_floats, npy_integers, numbers, trains,
    wanting, warnings,
};

/// A member before it is written, with everything that a list of members says of it.
#[derive(Clone)]
struct Member {
    name: String,
    stored: Vec<u8>,
    method: u16,
    flags: u16,
    size: u32,
    crc: u32,
}

fn stored(name: &str, bytes: Vec<u8>) -> Member {
    let mut crc = flate2::Crc::new();
    crc.update(&bytes);
    Member {
        name: name.to_owned(),
        size: u32::try_from(bytes.len()).unwrap(),
        crc: crc.sum(),
        stored: bytes,
        method: 0,
        flags: 0,
    }
}

fn deflated(name: &str, bytes: Vec<u8>) -> Member {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&bytes).unwrap();
    Member {
        stored: encoder.finish().unwrap(),
        method: 8,
        ..stored(name, bytes)
    }
}

/// An archive as the specification (APPNOTE 6.3.10) lays it out: members, list, end.
fn zip(members: &[Member]) -> Vec<u8> {
    let (mut bytes, mut list) = (Vec::new(), Vec::new());
    for member in members {
        let offset = u32::try_from(bytes.len()).unwrap();
        let n_stored = u32::try_from(member.stored.len()).unwrap();
        let mut common = Vec::new();
        for half in [20, member.flags, member.method, 0, 0] {
            common.extend(half.to_le_bytes());
        }
        for word in [member.crc, n_stored, member.size] {
            common.extend(word.to_le_bytes());
        }
        common.extend(u16::try_from(member.name.len()).unwrap().to_le_bytes());
        common.extend(0_u16.to_le_bytes());
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&common);
        bytes.extend(member.name.bytes());
        bytes.extend(&member.stored);
        list.extend(b"PK\x01\x02\x14\x00");
        list.extend(&common);
        list.extend([0; 10]);
        list.extend(offset.to_le_bytes());
        list.extend(member.name.bytes());
    }
    let n = u16::try_from(members.len()).unwrap().to_le_bytes();
    let end = [
        b"PK\x05\x06\0\0\0\0".to_vec(),
        n.to_vec(),
        n.to_vec(),
        u32::try_from(list.len()).unwrap().to_le_bytes().to_vec(),
        u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec(),
        vec![0, 0],
    ];
    [bytes, list, end.concat()].concat()
}

fn read(bytes: Vec<u8>) -> Result<Source, String> {
    let folder = folder(&[("a.npz", bytes)]);
    read_npz(&folder.path().join("a.npz"), &wanting(&["jaw"])).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(bytes: Vec<u8>, parts: &[&str]) {
    let message = read(bytes).unwrap_err();
    assert_says(&message, &["a.npz"]);
    assert_says(&message, parts);
}

/// Two units with three spikes, and more.
fn good(more: &[Member]) -> Vec<Member> {
    let mut members = vec![
        stored("spike_times.npy", npy_floats(&[0.5, 0.25, 0.75])),
        deflated("spike_times_index.npy", npy_integers(&[1, 3])),
    ];
    members.extend(more.iter().cloned());
    members
}

#[test]
fn every_value_is_what_numpy_reads() {
    let Some(made) = arrays() else { return };
    let expected = &made.expected["npz"];
    for name in ["clusters", "clusters_compressed", "ends", "ends_compressed"] {
        let request = wanting(&["jaw", "paws"]);
        let source = read_npz(&made.path("npz").join(format!("{name}.npz")), &request).unwrap();
        assert_eq!((source.id.as_str(), warnings(&source).as_str()), (name, ""));
        assert_eq!(source.spikes_s, trains(&expected["trains"]), "{name}");
        for (column, values) in expected["units"].as_object().unwrap() {
            assert_column(source.units.get(column), values, column);
        }
        if name.starts_with("ends") {
            assert_eq!(source.unit_ids, ["n0", "n1", "n2", "n3", "n4", "n5"]);
            assert_eq!((source.trials, source.series.len()), (None, 0));
            continue;
        }
        assert_eq!(source.unit_ids, ["0", "1", "2", "3", "4", "5"]);
        let trials = source.trials.unwrap();
        let columns = expected["trials"].as_object().unwrap();
        assert_eq!((trials.n_rows(), trials.names().count()), (4, columns.len()));
        for (column, values) in columns {
            assert_column(trials.get(column), values, column);
        }
        let jaw = &source.series["jaw"];
        let samples = jaw.samples.as_ref().unwrap();
        assert_eq!((jaw.shape, jaw.unit.as_str()), ((30, 1), "mm"));
        let values: Vec<f64> = samples.values.iter().map(|&value| f64::from(value)).collect();
        assert_numbers(&values, &numbers(&expected["jaw"]), "jaw");
        assert_eq!(samples.timing, Timing::Timestamps(numbers(&expected["jaw_times"])));
        let paws = &source.series["paws"];
        let samples = paws.samples.as_ref().unwrap();
        assert_eq!(
            (paws.shape, &paws.channels[..]),
            ((20, 2), &["left".to_owned(), "right".to_owned()][..])
        );
        for (row, values) in samples
            .values
            .rows()
            .into_iter()
            .zip(expected["paws"].as_array().unwrap())
        {
            let rounded: Vec<f32> = numbers(values).iter().map(|&value| value as f32).collect();
            assert_eq!(row.to_vec(), rounded);
        }
        let timing = Timing::Rate {
            rate_hz: 25.0,
            start_s: 0.5,
        };
        assert_eq!(samples.timing, timing);
    }
}

#[test]
fn clusters_without_columns_or_with_names_keep_their_numbers() {
    let Some(made) = arrays() else { return };
    let expected = &made.expected["npz"];
    let ids: Vec<i64> = numbers(&expected["ids"]).iter().map(|&id| id as i64).collect();
    let trains: Vec<_> = ids
        .iter()
        .map(|&id| trains(&expected["trains"])[id as usize].clone())
        .collect();
    let names: Vec<String> = ids.iter().map(|id| (id * 10).to_string()).collect();
    let bare = read_npz(&made.path("npz/bare.npz"), &wanting(&[])).unwrap();
    assert_eq!(
        (bare.unit_ids, bare.spikes_s, bare.units.n_rows()),
        (names.clone(), trains.clone(), ids.len())
    );
    // A table of other units in another order: each row goes to its unit.
    let keyed = read_npz(&made.path("npz/keyed_compressed.npz"), &wanting(&[])).unwrap();
    assert_eq!(keyed.unit_ids, ["0", "10", "20", "30", "50", "70"]);
    assert_eq!(keyed.spikes_s[..5], trains);
    assert_eq!(keyed.spikes_s[5], [0.0; 0]);
    let Some(Column::Numbers(rates)) = keyed.units.get("rate") else {
        panic!("numbers")
    };
    assert_numbers(rates, &[0.5, 1.0, f64::NAN, 3.0, f64::NAN, 7.0], "rate");
    assert_says(
        &warnings(&keyed),
        &["1 unit without a spike: 70", "no row for 2 of 6 units: 20, 50"],
    );
}

#[test]
fn only_series_that_are_wanted_are_read_but_all_are_listed() {
    let Some(made) = arrays() else { return };
    let source = read_npz(&made.path("npz/clusters.npz"), &wanting(&["paws"])).unwrap();
    assert_eq!(source.series.keys().collect::<Vec<_>>(), ["jaw", "paws"]);
    assert_eq!(source.series["jaw"].shape, (30, 1));
    assert!(source.series["jaw"].samples.is_none() && source.series["paws"].samples.is_some());
}

#[test]
fn arrays_that_disagree_are_all_reported() {
    let source = read(zip(&good(&[stored("notes.txt", b"hi".to_vec())]))).unwrap();
    assert_eq!(source.spikes_s, [vec![0.5], vec![0.25, 0.75]]);
    assert_says(&warnings(&source), &["not read", "notes.txt"]);

    refused(
        zip(&[stored("x.npy", npy_floats(&[]))]),
        &["spike_times: the array is missing", "has x.npy"],
    );
    refused(
        zip(&[stored("spike_times.npy", npy_floats(&[]))]),
        &["give either spike_times_index", "spike_clusters"],
    );
    refused(
        zip(&good(&[
            stored("units_area.npy", npy_floats(&[1.0])),
            stored("trials_a.npy", npy_floats(&[1.0])),
            stored("trials_b.npy", npy_floats(&[1.0, 2.0])),
            stored("trials/a.npy", npy_floats(&[1.0])),
            stored("series_jaw.npy", npy_floats(&[1.0, 2.0])),
            stored("series_jaw_timestamps.npy", npy_floats(&[1.0])),
            stored("series_eye.npy", npy_floats(&[1.0])),
        ])),
        &[
            "5 problems",
            "units_area: 1 rows; spike_times_index has 2",
            "trials_b: 2 rows; trials_a has 1",
            "trials_a: there twice, once with '_' and once with '/'",
            "series_jaw_timestamps: 1 times for 2 samples",
            "series_eye: give either series_eye_timestamps (s) or series_eye_rate_hz",
        ],
    );
    let with = |times: Vec<u8>, other: &str, values: Vec<u8>| {
        zip(&[
            stored("spike_times.npy", times),
            stored(&format!("{other}.npy"), values),
        ])
    };
    let times = || npy_floats(&[0.5, 0.25, 0.75]);
    refused(
        with(npy_integers(&[30_000]), "spike_clusters", npy_integers(&[0])),
        &["spike_times: holds whole numbers; expected seconds"],
    );
    for (ends, said) in [
        (&[2, 1, 3][..], "unit 1 ends at 1; expected 2"),
        (
            &[1, 4],
            "unit 1 ends at 4; expected 1 (the end of the unit before) to 3",
        ),
        (&[-1, 3], "unit 0 ends at -1"),
        (&[1, 2], "ends at 2, but there are 3 spikes"),
    ] {
        refused(
            with(times(), "spike_times_index", npy_integers(ends)),
            &["spike_times_index", said],
        );
    }
    refused(
        with(times(), "spike_clusters", npy_integers(&[0, 1])),
        &["spike_clusters: 2 clusters for 3 spikes of spike_times"],
    );
    refused(
        with(times(), "spike_clusters", npy_integers(&[0, 1, -4])),
        &["spike_clusters: spike 2 is of cluster -4"],
    );
    refused(
        with(npy_floats(&[0.5, f64::NAN]), "spike_clusters", npy_integers(&[0, 1])),
        &["spike_times: the time of spike 1 is NaN"],
    );
    let out_of_table = [
        stored("spike_times.npy", times()),
        stored("spike_clusters.npy", npy_integers(&[0, 2, 2])),
        stored("units_x.npy", npy_floats(&[1.0, 2.0])),
    ];
    refused(
        zip(&out_of_table),
        &["2 spikes are of cluster 2; the table of units has 2 rows"],
    );
}

#[test]
fn members_that_are_not_to_be_trusted_are_refused() {
    let one = stored("a.npy", npy_floats(&[1.0]));
    let renamed = |name: &str| Member {
        name: name.to_owned(),
        ..one.clone()
    };
    for name in ["../a.npy", "/etc/a.npy", "x/../../a.npy", "C:a.npy", "x\\a.npy"] {
        refused(zip(&good(&[renamed(name)])), &["its name leads out of the archive"]);
    }
    for name in ["", "a\u{1b}[2J.npy"] {
        refused(
            zip(&good(&[renamed(name)])),
            &["its name is empty, too long, or holds control characters"],
        );
    }
    let message = read(zip(&good(&[renamed("a\u{1b}[2J.npy")]))).unwrap_err();
    assert!(!message.contains('\u{1b}'), "an escape reaches the terminal");
    refused(
        zip(&good(&[one.clone(), one.clone()])),
        &["member 'a.npy': there twice"],
    );
    for flags in [1, 1 << 6, 1 << 13] {
        let encrypted = Member { flags, ..one.clone() };
        refused(zip(&good(&[encrypted])), &["member 'a.npy': encrypted"]);
    }
    let method = Member {
        method: 12,
        ..one.clone()
    };
    refused(
        zip(&good(&[method])),
        &["compressed by method 12", "np.savez_compressed"],
    );
    let pickled = stored("units_area.npy", npy_bytes("'|O'", false, "(2,)", b"\x80\x04."));
    refused(
        zip(&good(&[pickled])),
        &["units_area: holds Python objects, which would run code"],
    );
}

#[test]
fn what_inflates_to_more_than_it_claims_or_can_is_refused() {
    // 64 MiB of zeros in 64 KiB: claimed truly, it isn't what its header says; claimed falsely, it's stopped.
    let bomb = deflated("spike_times.npy", {
        let mut bytes = npy_floats(&[0.5]);
        bytes.resize(1 << 26, 0);
        bytes
    });
    let index = stored("spike_times_index.npy", npy_integers(&[1]));
    refused(
        zip(&[bomb.clone(), index.clone()]),
        &["spike_times: shape [1] of values of 8 bytes takes 8 bytes; 67108736 are there"],
    );
    let small = Member {
        size: 136,
        ..bomb.clone()
    };
    refused(
        zip(&[small, index.clone()]),
        &["spike_times: it holds more than the 136 bytes that it claims"],
    );
    let large = Member {
        size: u32::MAX - 1,
        ..bomb.clone()
    };
    refused(
        zip(&[large, index.clone()]),
        &["claims 4294967294 bytes in", "more than deflate makes"],
    );
    // Two members whose data are the same bytes.
    let mut twice = zip(&good(&[
        stored("a.npy", npy_floats(&[1.0])),
        stored("b.npy", npy_floats(&[1.0])),
    ]));
    let list = twice.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap();
    let first = twice
        .windows(4)
        .enumerate()
        .filter(|(_, bytes)| *bytes == b"PK\x03\x04")
        .nth(2)
        .unwrap()
        .0;
    twice[list + 42..list + 46].copy_from_slice(&u32::try_from(first).unwrap().to_le_bytes());
    refused(twice, &["overlaps with the member after it"]);
    let lying = Member { size: 4, ..index };
    refused(zip(&[lying]), &["stored as 136 bytes, but claims 4"]);
}

#[test]
fn a_damaged_archive_is_refused() {
    let mut members = good(&[]);
    members[0].crc ^= 1;
    refused(zip(&members), &["spike_times: its checksum is wrong"]);
    refused(b"".to_vec(), &["not a whole zip archive"]);
    refused(vec![0; 100], &["not a whole zip archive"]);
    let whole = zip(&good(&[deflated("trials_a.npy", npy_floats(&[1.0, 2.0]))]));
    assert!(read(whole.clone()).is_ok());
    for n in (0..whole.len()).step_by(7) {
        refused(whole[..n].to_vec(), &[]);
    }
    refused([whole.clone(), vec![0; 3]].concat(), &["not a whole zip archive"]);
    // No byte of headers and lists makes the reader panic.
    let folder = folder(&[]);
    let path = folder.path().join("a.npz");
    let headers = whole
        .windows(2)
        .enumerate()
        .filter(|(_, bytes)| *bytes == b"PK")
        .map(|(at, _)| at);
    for place in headers.flat_map(|at| at..(at + 46).min(whole.len())) {
        for byte in [0, 0xff] {
            let mut bytes = whole.clone();
            bytes[place] = byte;
            std::fs::write(&path, bytes).unwrap();
            let _ = read_npz(&path, &wanting(&[])).is_ok();
        }
    }
}
