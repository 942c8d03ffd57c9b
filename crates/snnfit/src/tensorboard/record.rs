//! Records of a TensorBoard event file: TFRecord framing around the few fields of the protocol buffer `Event` in use.
//!
//! Framing: length (u64), masked CRC-32C of the length, data, masked CRC-32C of the data; all little-endian.
//!
//! # Source
//! TensorFlow, `lib/io/record_writer.h`, `core/util/event.proto`, `core/framework/summary.proto`; protocol buffers,
//! "Encoding"; CRC-32C: RFC 3720 §12.1 (reflected polynomial 0x82F63B78).

/// First record of every event file.
const FILE_VERSION: &str = "brain.Event:2";

/// Wire types of protocol buffers.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

/// The record that says which format follows.
pub(super) fn file_version(wall_time: f64) -> Vec<u8> {
    let mut event = Vec::new();
    double(&mut event, 1, wall_time);
    bytes(&mut event, 3, FILE_VERSION.as_bytes());
    framed(&event)
}

/// The record of scalars of one step: name and value of each, values in single precision as the format has them.
pub(super) fn scalars(wall_time: f64, step: u64, values: &[(String, f64)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, number) in values {
        let mut value = Vec::new();
        bytes(&mut value, 1, tag.as_bytes());
        key(&mut value, 2, FIXED32);
        value.extend((*number as f32).to_le_bytes());
        bytes(&mut summary, 1, &value);
    }
    let mut event = Vec::new();
    double(&mut event, 1, wall_time);
    key(&mut event, 2, VARINT);
    varint(&mut event, step);
    bytes(&mut event, 5, &summary);
    framed(&event)
}

fn framed(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked(crc32c(&length)).to_le_bytes());
    record.extend(data);
    record.extend(masked(crc32c(data)).to_le_bytes());
    record
}

fn key(to: &mut Vec<u8>, field: u64, wire_type: u64) {
    varint(to, field << 3 | wire_type);
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn double(to: &mut Vec<u8>, field: u64, value: f64) {
    key(to, field, FIXED64);
    to.extend(value.to_le_bytes());
}

fn bytes(to: &mut Vec<u8>, field: u64, value: &[u8]) {
    key(to, field, LENGTH);
    varint(to, value.len() as u64);
    to.extend(value);
}

/// CRC-32C, bit by bit: some hundred bytes a step need no table.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & 0u32.wrapping_sub(crc & 1))
        })
    })
}

/// The mask keeps a checksum of data that holds checksums from being trivial.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        // RFC 3720 B.4, and the check value of the CRC catalogue.
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46DD_794E);
    }

    #[test]
    fn the_first_record_is_that_of_tensorflow() {
        // Length 24 = 9 bytes of time, 2 + 13 of the version; the masked checksum of that length is a constant of
        // every event file that TensorFlow has written.
        let record = file_version(0.0);
        assert_eq!(record[..8], 24u64.to_le_bytes());
        assert_eq!(record[8..12], [0xA3, 0x7F, 0x4B, 0x22]);
        assert_eq!(record[12..14], [0x09, 0x00]);
        assert_eq!(&record[21..36], b"\x1a\x0dbrain.Event:2");
        assert_eq!(record.len(), 8 + 4 + 24 + 4);
    }

    #[test]
    fn numbers_beyond_seven_bits_take_several_bytes() {
        let mut bytes = Vec::new();
        varint(&mut bytes, 300);
        varint(&mut bytes, 127);
        assert_eq!(bytes, [0xAC, 0x02, 0x7F]);
    }
}
