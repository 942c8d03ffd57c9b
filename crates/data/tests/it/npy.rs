//! NumPy arrays, against what NumPy reads, and files that lie.

use data::import::{Column, Npy, read_npy};

use crate::common::{arrays, assert_column, assert_numbers, assert_says, folder, npy_bytes, npy_with_header, numbers};

fn read(bytes: &[u8]) -> Result<Npy, String> {
    let folder = folder(&[("a.npy", bytes.to_vec())]);
    read_npy(&folder.path().join("a.npy")).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(bytes: &[u8], parts: &[&str]) {
    let message = read(bytes).unwrap_err();
    assert_says(&message, &["a.npy"]);
    assert_says(&message, parts);
}

#[test]
fn every_array_holds_what_numpy_reads() {
    let Some(made) = arrays() else { return };
    let list = made.expected["npy"].as_array().unwrap();
    // 12 types × 2 byte orders × 3 layouts, texts, versions and odd shapes.
    assert_eq!(list.len(), 82);
    for expected in list {
        let name = expected["file"].as_str().unwrap();
        let array = read_npy(&made.path("npy").join(name)).unwrap();
        let shape: Vec<f64> = array.shape().iter().map(|&length| length as f64).collect();
        assert_eq!(shape, numbers(&expected["shape"]), "{name}");
        let columns = expected["columns"].as_array().unwrap();
        for (place, column) in columns.iter().enumerate() {
            let found = array.column(place).unwrap();
            assert_column(Some(&found), column, name);
            let Column::Numbers(values) = found else { continue };
            if columns.len() == 1 {
                assert_numbers(&array.numbers().unwrap(), &values, name);
                if values.iter().all(|value| value.fract() == 0.0) {
                    let whole: Vec<f64> = array.integers().unwrap().iter().map(|&n| n as f64).collect();
                    assert_numbers(&whole, &values, name);
                }
            }
            let matrix = array.matrix().unwrap();
            assert!(matrix.is_standard_layout());
            for (found, value) in matrix.column(place).iter().zip(values) {
                let rounded = value as f32;
                assert!(*found == rounded || (found.is_nan() && rounded.is_nan()), "{name}");
            }
        }
    }
}

#[test]
fn whole_numbers_that_a_float_cannot_hold_are_never_rounded() {
    let large = (1_u64 << 53) + 1;
    let array = read(&npy_bytes(
        "'<u8'",
        false,
        "(2,)",
        &[large.to_le_bytes(), u64::MAX.to_le_bytes()].concat(),
    ))
    .unwrap();
    assert_says(
        &array.numbers().unwrap_err().to_string(),
        &["value 0 is 9007199254740993", "2^53"],
    );
    assert_says(
        &array.integers().unwrap_err().to_string(),
        &["value 1 is 18446744073709551615"],
    );
    let texts = ["9007199254740993", "18446744073709551615"].map(str::to_owned);
    assert_eq!(array.column(0).unwrap(), Column::Texts(texts.to_vec()));
}

#[test]
fn values_of_another_kind_are_named() {
    let texts = read(&npy_bytes("'|S2'", false, "(2,)", b"a\0bc")).unwrap();
    assert_says(
        &texts.numbers().unwrap_err().to_string(),
        &["a.npy: holds texts; expected numbers"],
    );
    assert!(texts.matrix().is_err());
    let halves = read(&npy_bytes(
        "'<f4'",
        false,
        "(2,)",
        &[1.0_f32.to_le_bytes(), 2.5_f32.to_le_bytes()].concat(),
    ));
    assert_says(
        &halves.unwrap().integers().unwrap_err().to_string(),
        &["value 1 is 2.5; expected a whole number"],
    );
    let flags = read(&npy_bytes("'|b1'", false, "(2,)", &[0, 1])).unwrap();
    assert_says(&flags.numbers().unwrap_err().to_string(), &["holds flags"]);
    let wide = read(&npy_bytes("'|u1'", false, "(2, 3)", &[0; 6])).unwrap();
    assert_says(
        &wide.numbers().unwrap_err().to_string(),
        &["shape [2, 3]; expected a list"],
    );
    assert_says(&wide.column(3).unwrap_err().to_string(), &["column 3 of 3"]);
    let cube = read(&npy_bytes("'|u1'", false, "(2, 1, 1)", &[0; 2])).unwrap();
    assert_says(&cube.dim().unwrap_err().to_string(), &["shape [2, 1, 1]"]);
    let latin = read(&npy_bytes("'|S1'", false, "(1,)", b"\xe9")).unwrap();
    assert_says(&latin.column(0).unwrap_err().to_string(), &["text 0 is not Unicode"]);
    let no_letter = read(&npy_bytes("'<U1'", false, "(1,)", &0xd800_u32.to_le_bytes())).unwrap();
    assert_says(
        &no_letter.column(0).unwrap_err().to_string(),
        &["text 0 is not Unicode"],
    );
}

#[test]
fn objects_records_and_other_types_are_refused() {
    // The pickle would run a command.
    refused(
        &npy_bytes("'|O'", false, "(1,)", b"\x80\x04cos\nsystem\n"),
        &["holds Python objects, which would run code; save it with"],
    );
    refused(
        &npy_bytes("[('a', '<f8'), ('b', '|O', (2,))]", false, "(1,)", &[0; 8]),
        &["holds records"],
    );
    refused(&npy_bytes("'|V8'", false, "(1,)", &[0; 8]), &["holds records"]);
    refused(
        &npy_bytes("'<M8[ns]'", false, "(1,)", &[0; 8]),
        &["dates or durations ('<M8[ns]')", "float64"],
    );
    refused(&npy_bytes("'<c16'", false, "(1,)", &[0; 16]), &["complex numbers"]);
    refused(&npy_bytes("'<f16'", false, "(1,)", &[0; 16]), &["type '<f16'"]);
    refused(&npy_bytes("'<i3'", false, "(1,)", &[0; 3]), &["type '<i3'"]);
    refused(&npy_bytes("'<f\u{1b}'", false, "(1,)", &[0; 3]), &["\\u{1b}"]);
}

#[test]
fn sizes_are_compared_before_memory_is_taken() {
    refused(
        &npy_bytes("'<f8'", false, "(3,)", &[0; 16]),
        &["shape [3] of values of 8 bytes takes 24 bytes; 16 are there: the file is cut"],
    );
    refused(
        &npy_bytes("'<f8'", true, "(1, 2)", &[0; 24]),
        &["takes 16 bytes; 24 are there"],
    );
    for shape in [
        "(4611686018427387904,)",
        "(18446744073709551615, 2)",
        "(0, 18446744073709551615, 18446744073709551615)",
        "(4294967296, 4294967296)",
        "(3000000000,)",
    ] {
        refused(
            &npy_bytes("'<f8'", false, shape, &[0; 8]),
            &["is larger than 17179869184 bytes"],
        );
    }
    refused(
        &npy_bytes("'<f8'", false, "(18446744073709551616,)", &[]),
        &["'shape' holds"],
    );
    refused(
        &npy_bytes("'<U4611686018427387904'", false, "(1,)", &[]),
        &["isn't read"],
    );
    refused(
        &npy_bytes("'|S300000000'", false, "(1,)", &[]),
        &["300000000 bytes of text"],
    );
    let axes = "1, ".repeat(65);
    refused(
        &npy_bytes("'|u1'", false, &format!("({axes})"), &[0]),
        &["more than 64 axes"],
    );
    // Texts without a letter take no bytes, however many there are.
    let many = read(&npy_bytes("'<U0'", false, "(2097152,)", &[])).unwrap();
    assert_says(&many.column(0).unwrap_err().to_string(), &["2097152 texts"]);
}

#[test]
fn a_header_of_ten_megabytes_is_refused_unread() {
    let mut bytes = b"\x93NUMPY\x02\x00".to_vec();
    bytes.extend(10_000_000_u32.to_le_bytes());
    bytes.extend(b"{'descr': '<f8', 'fortran_order': False, 'shape': (0,), }");
    bytes.resize(12 + 10_000_000, b' ');
    refused(&bytes, &["a header of 10000000 bytes; at most 1048576"]);
    bytes.truncate(100);
    bytes[11] = 0xff;
    refused(&bytes, &["at most 1048576"]);
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = npy_bytes("'<f8'", false, "(2, 2)", &[0; 32]);
    assert!(read(&whole).is_ok());
    for n in 0..whole.len() {
        refused(&whole[..n], &[]);
    }
    refused(b"", &["it ends within its first eight bytes"]);
    refused(b"PK\x03\x04aaaa", &["not a NumPy array"]);
    refused(b"\x93NUMPY\x04\x00", &["version 4"]);
}

#[test]
fn a_damaged_header_is_refused_wherever_it_is_damaged() {
    let cases = [
        ("", "expected '{'"),
        ("{'descr': '<f8'}", "'fortran_order' is missing"),
        ("{'fortran_order': False, 'shape': (0,)}", "'descr' is missing"),
        ("{'descr': '<f8', 'fortran_order': False}", "'shape' is missing"),
        ("{'descr': '<f8', 'descr': '<f4'}", "'descr' is there twice"),
        ("{'descr': True}", "'descr' has a value of another kind"),
        ("{'x': 1}", "expected '''"),
        ("{'x': '1'}", "unknown entry 'x'"),
        ("{'shape': (-1,)}", "'shape' holds '-1,)}"),
        ("{'shape': (1 2)}", "expected ')'"),
        ("{'shape': (__import__('os'),)}", "'shape' holds '__import__"),
        ("{'descr': '<f8", "a quote isn't closed"),
        ("{'descr': [('a', '<f8'", "a list isn't closed"),
        (
            "{'descr': '<f8', 'fortran_order': False, 'shape': (0,)} import os",
            "there is more",
        ),
    ];
    for (header, said) in cases {
        refused(&npy_with_header(header, &[]), &["its header can't be read", said]);
    }
    // As Python 2 wrote it, without spaces, and in another order.
    let array = read(&npy_with_header(
        "{\"shape\":(2L,),'fortran_order':False,'descr':'|u1'}",
        &[7, 9],
    ));
    assert_eq!(array.unwrap().integers().unwrap(), [7, 9]);
    // No byte of a header makes the reader panic.
    let whole = npy_bytes("'<f8'", false, "(2, 2)", &[0; 32]);
    for place in 0..90 {
        for byte in [0, b'(', b'\'', b'9', 0xff] {
            let mut bytes = whole.clone();
            bytes[place] = byte;
            let _ = read(&bytes).map(|array| (array.dim().is_ok(), array.column(0).is_ok(), array.matrix().is_ok()));
        }
    }
}
