//! The event file for TensorBoard, read back by a reader of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use snnfit::events::{self, Event};

use crate::cli::Folder;
use crate::runs::{ENDLESS, Training, folder, resume, train};

/// Scalars by tag: step, value and time.
type Scalars = BTreeMap<String, Vec<(u64, f32, f64)>>;

fn file(folder: &Folder, run: &str) -> PathBuf {
    let entries = std::fs::read_dir(folder.path(run).join("tensorboard")).unwrap();
    let files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// CRC-32C with a table, where the program goes bit by bit.
fn crc32c(data: &[u8]) -> u32 {
    let table: Vec<u32> = (0..256u32)
        .map(|byte| {
            (0..8).fold(byte, |crc, _| {
                if crc & 1 == 1 {
                    0x82F6_3B78 ^ (crc >> 1)
                } else {
                    crc >> 1
                }
            })
        })
        .collect();
    !data.iter().fold(u32::MAX, |crc, byte| {
        table[((crc ^ u32::from(*byte)) & 0xFF) as usize] ^ (crc >> 8)
    })
}

fn is_sound(data: &[u8], checksum: &[u8]) -> bool {
    let crc = crc32c(data);
    let masked = crc.rotate_right(15).wrapping_add(0xA282_EAD8);
    masked.to_le_bytes() == checksum
}

/// Records of a file; a torn last one is left out, as TensorBoard does.
fn records(bytes: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    let mut rest = bytes;
    while rest.len() >= 12 {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert!(is_sound(&rest[..8], &rest[8..12]), "checksum of a length");
        if rest.len() < 16 + length {
            break;
        }
        let data = &rest[12..12 + length];
        assert!(is_sound(data, &rest[12 + length..16 + length]), "checksum of a record");
        records.push(data);
        rest = &rest[16 + length..];
    }
    records
}

/// Fields of a protocol buffer: number and bytes (of a varint, its value in 8 bytes).
fn fields(mut data: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(data: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = data[0];
            *data = &data[1..];
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !data.is_empty() {
        let key = varint(&mut data);
        let length = match key & 7 {
            0 => {
                fields.push((key >> 3, varint(&mut data).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut data) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, data[..length].to_vec()));
        data = &data[length..];
    }
    fields
}

fn scalars(bytes: &[u8]) -> Scalars {
    let records = records(bytes);
    let version = fields(records[0]);
    assert!(version.contains(&(3, b"brain.Event:2".to_vec())), "{version:?}");
    let mut scalars = Scalars::new();
    for record in &records[1..] {
        let event = fields(record);
        let of = |number: u64| {
            event
                .iter()
                .find(|(n, _)| *n == number)
                .map(|(_, bytes)| bytes.clone())
                .unwrap()
        };
        let time = f64::from_le_bytes(of(1).try_into().unwrap());
        let step = u64::from_le_bytes(of(2).try_into().unwrap());
        for (_, value) in fields(&of(5)) {
            let value = fields(&value);
            let tag = String::from_utf8(value[0].1.clone()).unwrap();
            let number = f32::from_le_bytes(value[1].1.clone().try_into().unwrap());
            scalars.entry(tag).or_default().push((step, number, time));
        }
    }
    scalars
}

/// What the log says should be there, without times.
fn logged(folder: &Folder, run: &str) -> BTreeMap<String, Vec<(u64, f32)>> {
    let mut logged = BTreeMap::<String, Vec<(u64, f32)>>::new();
    let mut add = |tag: String, step: u64, value: f64| logged.entry(tag).or_default().push((step, value as f32));
    for event in events::read(&folder.path(run).join("events.ndjson")).unwrap() {
        match event {
            Event::Step(step) => {
                let total: f64 = step.losses.values().map(|value| value.0).sum();
                for (name, value) in &step.losses {
                    add(format!("train/loss/{name}"), step.step, value.0);
                }
                add("train/loss/total".to_owned(), step.step, total);
                add("train/lr".to_owned(), step.step, step.lr);
                add("train/grad_norm".to_owned(), step.step, step.grad_norm.0);
            }
            Event::Validation {
                step, losses, total, ..
            } => {
                for (name, value) in &losses {
                    add(format!("validation/loss/{name}"), step, value.0);
                }
                add("validation/loss/total".to_owned(), step, total.0);
            }
            _ => {}
        }
    }
    logged
}

fn without_times(scalars: &Scalars) -> BTreeMap<String, Vec<(u64, f32)>> {
    let plain = |list: &Vec<(u64, f32, f64)>| list.iter().map(|(step, value, _)| (*step, *value)).collect();
    scalars.iter().map(|(tag, list)| (tag.clone(), plain(list))).collect()
}

#[test]
fn tensorboard_sees_what_the_log_has_each_step_once_after_a_stop_too() {
    let folder = folder();
    train(&folder, "straight", &[]);
    train(&folder, "a", &["train.max_steps = 25"]);
    let before = file(&folder, "a");
    // What a kill in the middle of a write leaves.
    let mut torn = std::fs::read(&before).unwrap();
    torn.truncate(torn.len() - 7);
    let whole = scalars(&torn);
    assert_eq!(whole["train/lr"].len(), 4, "all but the torn one");
    std::fs::write(&before, torn).unwrap();
    resume(&folder, "a", &["train.max_steps = 40"]);
    assert_eq!(file(&folder, "a"), before, "a resumed run keeps its file");
    let found = scalars(&std::fs::read(&before).unwrap());
    assert_eq!(without_times(&found), logged(&folder, "a"));
    let straight = scalars(&std::fs::read(file(&folder, "straight")).unwrap());
    assert_eq!(without_times(&found), without_times(&straight));
    for tag in [
        "train/loss/psth",
        "train/loss/total",
        "train/lr",
        "train/grad_norm",
        "validation/loss/total",
    ] {
        let list = &found[tag];
        assert!(list.windows(2).all(|pair| pair[0].0 < pair[1].0), "{tag}: {list:?}");
        assert!(
            list.windows(2).all(|pair| pair[0].2 <= pair[1].2),
            "{tag}: time goes back"
        );
        // After 2020, before 2100.
        assert!(list.iter().all(|(_, _, time)| (1.5e9..4.2e9).contains(time)), "{tag}");
    }
}

#[test]
fn a_killed_run_has_a_readable_file_and_goes_on_without_a_step_twice() {
    let folder = folder();
    let sets = [ENDLESS, "train.checkpoint_every = 10"];
    for round in 1..=3 {
        let mut training = Training::start_or_resume(&folder, "a", &sets);
        training.wait_for_step(&folder, "a", 10 * round);
        training.kill();
        // A torn last record is legal, anything else would fail here.
        scalars(&std::fs::read(file(&folder, "a")).unwrap());
    }
    let last = crate::runs::last_step(&folder, "a").unwrap();
    resume(&folder, "a", &[&format!("train.max_steps = {}", last + 5)]);
    let found = scalars(&std::fs::read(file(&folder, "a")).unwrap());
    assert_eq!(without_times(&found), logged(&folder, "a"));
    let steps: Vec<u64> = found["train/lr"].iter().map(|(step, _, _)| *step).collect();
    // Every fifth step is logged.
    assert_eq!(steps, (1..=(last + 5) / 5).map(|i| 5 * i).collect::<Vec<_>>());
}
