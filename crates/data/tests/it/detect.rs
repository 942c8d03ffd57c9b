//! Layouts are known by what is in a file or folder, whatever its name is.

use data::import::{Layout, detect};
use hdf5::types::VarLenUnicode;

use crate::common::{arrays, assert_says, folder, npy_floats, recording, session};

#[test]
fn files_are_known_by_their_first_bytes() {
    let pairs: [(&str, &[u8], Layout); 5] = [
        ("zip", b"PK\x03\x04....", Layout::Npz),
        ("empty_zip", b"PK\x05\x06....", Layout::Npz),
        ("table.h5", b"time,unit\n1,2\n", Layout::Csv),
        ("bom.npy", b"\xef\xbb\xbftime\tunit\r\n1\t2\r\n", Layout::Csv),
        ("cut letter", "a;b\né".as_bytes(), Layout::Csv),
    ];
    let mut files: Vec<(&str, Vec<u8>)> = pairs.iter().map(|(name, bytes, _)| (*name, bytes.to_vec())).collect();
    files.push(("array.csv", npy_floats(&[1.0])));
    let folder = folder(&files);
    for (name, _, layout) in pairs {
        assert_eq!(detect(&folder.path().join(name)).unwrap(), layout, "{name}");
    }
    assert_eq!(detect(&folder.path().join("array.csv")).unwrap(), Layout::Npy);
}

#[test]
fn hdf5_files_are_told_apart_by_the_attributes_of_their_root() {
    let dir = tempfile::tempdir().unwrap();
    let native = dir.path().join("native.txt");
    data::write(&native, &recording(vec![session("a")])).unwrap();
    assert_eq!(detect(&native).unwrap(), Layout::Native);
    let other = dir.path().join("other.csv");
    let file = hdf5::File::create(&other).unwrap();
    file.flush().unwrap();
    assert_eq!(detect(&other).unwrap(), Layout::Hdf5);
    let version: VarLenUnicode = "2.6.0".parse().unwrap();
    let attribute = file.new_attr::<VarLenUnicode>().create("nwb_version").unwrap();
    attribute.write_scalar(&version).unwrap();
    file.close().unwrap();
    assert_eq!(detect(&other).unwrap(), Layout::Nwb);
}

#[test]
fn what_fits_nothing_is_described() {
    let cases: [(&str, &[u8], &str); 8] = [
        ("empty", b"", "it is empty"),
        ("t.parquet", b"PAR1....", "a parquet file"),
        ("t.csv.gz", b"\x1f\x8b\x08", "a gzip file"),
        ("m.mat", b"MATLAB 5.0 MAT-file, ...", "scipy.io.loadmat"),
        ("p.pkl", b"\x80\x04\x95", "a Python pickle, which would run code"),
        ("notes.txt", b"hello\nworld\x07", "begins with the bytes 68 65 6c 6c"),
        (
            "notes.csv",
            b"hello\nworld",
            "text without columns, beginning with \"hello\"",
        ),
        ("a.npz", b"\x00\x01\x02", "begins with the bytes 00 01 02"),
    ];
    let files: Vec<(&str, Vec<u8>)> = cases.iter().map(|(name, bytes, _)| (*name, bytes.to_vec())).collect();
    let folder = folder(&files);
    for (name, _, said) in cases {
        let message = detect(&folder.path().join(name)).unwrap_err().to_string();
        assert_says(&message, &[name, "found: ", said]);
    }
    let message = detect(folder.path()).unwrap_err().to_string();
    assert_says(&message, &["found: a folder with 'a.npz', 'empty', "]);
    let message = detect(&folder.path().join("none")).unwrap_err().to_string();
    assert_says(&message, &["none", "No such file"]);
}

#[test]
fn folders_are_known_by_their_files() {
    let phy = [("spike_times.npy", vec![]), ("spike_clusters.npy", vec![])];
    let alf = [("x/alf/probe00/_ibl_spikes.times_clock.p.npy", vec![])];
    assert_eq!(detect(folder(&phy).path()).unwrap(), Layout::Phy);
    assert_eq!(detect(folder(&alf).path()).unwrap(), Layout::Alf);
    let both = folder(&[phy.to_vec(), alf.to_vec()].concat());
    let message = detect(both.path()).unwrap_err().to_string();
    assert_says(&message, &["files of Phy (spike_times.npy) and of ALF"]);
    let message = detect(folder(&phy[..1]).path()).unwrap_err().to_string();
    assert_says(&message, &["a folder with 'spike_times.npy'"]);
    assert_says(
        &detect(folder(&[]).path()).unwrap_err().to_string(),
        &["an empty folder"],
    );
}

#[test]
fn what_python_wrote_is_known() {
    let Some(made) = arrays() else { return };
    for (path, layout) in [
        ("phy", Layout::Phy),
        ("alf", Layout::Alf),
        ("npz/ends_compressed.npz", Layout::Npz),
        ("npy/f8_big_c.npy", Layout::Npy),
        ("csv/numbered.tsv", Layout::Csv),
    ] {
        assert_eq!(detect(&made.path(path)).unwrap(), layout, "{path}");
    }
}
