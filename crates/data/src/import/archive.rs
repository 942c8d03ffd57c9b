//! Zip archives of arrays, read without trusting them.
//!
//! Only what `np.savez` and `np.savez_compressed` write: members that are stored or deflated, also above 4 GiB
//! (zip64). The list of members is read first and refused where it makes no sense: names that occur twice or leave a
//! folder, members that overlap, are encrypted, or claim more bytes than deflate can make of what is stored. While a
//! member is read its bytes are counted and summed. Nothing is ever written to a file.
//!
//! Written here: the crate `zip` changes features of crates that burn is built with, and keeps the last of two members
//! of one name without a word.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};
use std::path::Path;

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use super::npy::MAX_BYTES;
use crate::error::{DataError, Finding};
use crate::fs::open_regular;
use crate::h5::Found;

/// Most members.
const MAX_MEMBERS: u64 = 10_000;
/// Longest list of members (bytes).
const MAX_LIST: u64 = 1 << 24;
/// Longest name of a member (bytes).
const MAX_NAME: usize = 1024;
/// Deflate can't shrink by more than 1032; what claims more than this is no data.
const MAX_INFLATION: u64 = 1100;
/// Bytes of a member besides its name, its extra fields and its data.
const LOCAL_HEADER: u64 = 30;
/// A comment at the end of an archive has at most so many bytes.
const MAX_COMMENT: u64 = 65_535;

/// An open archive and its members by name.
pub(super) struct Archive {
    file: File,
    pub(super) members: BTreeMap<String, Member>,
}

/// Where a member is and what is said about it.
#[derive(Clone, Debug)]
pub(super) struct Member {
    is_deflated: bool,
    stored: u64,
    /// Bytes of the member itself.
    pub(super) size: u64,
    crc: u32,
    offset: u64,
}

impl Archive {
    /// Opens an archive and checks its list of members.
    ///
    /// # Errors
    /// [`DataError::Fs`]; [`DataError::Invalid`] with every member that is refused.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let file = open_regular(path)?;
        let invalid = |problems| DataError::Invalid {
            subject: path.display().to_string(),
            problems,
        };
        let length = file
            .metadata()
            .map_err(|source| crate::fs::FsError::new(path, "read the file", source))?
            .len();
        let list = read_list(&file, length).map_err(|message| invalid(vec![Finding::new("archive", message)]))?;
        let (members, problems) = check_members(list);
        if problems.is_empty() {
            Ok(Self { file, members })
        } else {
            Err(invalid(problems))
        }
    }

    /// A reader of a member's bytes; `at` names it in findings. One at a time: readers share the place in the file.
    pub(super) fn open_member(&self, member: &Member, at: &str) -> Found<MemberReader> {
        let fail = |message: String| Finding::new(at, message);
        let mut file = self.file.try_clone().map_err(|error| fail(error.to_string()))?;
        let header = read_at(&file, member.offset, LOCAL_HEADER).map_err(fail)?;
        if bytes_at(&header, 0) != Some(*b"PK\x03\x04") {
            return Err(fail(
                "its header isn't where the list says: the archive is damaged".to_owned(),
            ));
        }
        let skipped = u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
        file.seek(SeekFrom::Start(member.offset + LOCAL_HEADER + skipped))
            .map_err(|error| fail(error.to_string()))?;
        let stored = BufReader::with_capacity(1 << 16, file.take(member.stored));
        Ok(MemberReader {
            inner: if member.is_deflated {
                Inner::Deflated(Box::new(DeflateDecoder::new(stored)))
            } else {
                Inner::Stored(stored)
            },
            crc: Crc::new(),
            n_read: 0,
            member: member.clone(),
        })
    }
}

/// Bytes of a member, counted: never more than the list of members says.
pub(super) struct MemberReader {
    inner: Inner,
    crc: Crc,
    n_read: u64,
    member: Member,
}

enum Inner {
    Stored(BufReader<Take<File>>),
    Deflated(Box<DeflateDecoder<BufReader<Take<File>>>>),
}

impl Read for MemberReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = match &mut self.inner {
            Inner::Stored(reader) => reader.read(buffer),
            Inner::Deflated(reader) => reader.read(buffer),
        }?;
        self.n_read += n as u64;
        if self.n_read > self.member.size {
            let message = format!("it holds more than the {} bytes that it claims", self.member.size);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        self.crc.update(buffer.get(..n).unwrap_or_default());
        Ok(n)
    }
}

impl MemberReader {
    /// Checks, after everything was read, that nothing is left and that the checksum is right.
    pub(super) fn finish(mut self, at: &str) -> Found<()> {
        let mut one = [0_u8; 1];
        let n_more = self
            .read(&mut one)
            .map_err(|error| Finding::new(at, error.to_string()))?;
        if n_more > 0 || self.n_read != self.member.size {
            let message = format!("{} of {} bytes were read", self.n_read, self.member.size);
            return Err(Finding::new(at, message));
        }
        if self.crc.sum() != self.member.crc {
            return Err(Finding::new(at, "its checksum is wrong: the archive is damaged"));
        }
        Ok(())
    }
}

/// An entry of the list, before it is judged.
struct Entry {
    name: Vec<u8>,
    flags: u16,
    method: u16,
    member: Member,
    /// Where the list begins: no member reaches further.
    end: u64,
}

/// Reads the list of members at the end of the file.
fn read_list(file: &File, length: u64) -> Result<Vec<Entry>, String> {
    let cut = || "not a whole zip archive: its list of members isn't at its end".to_owned();
    let n_tail = length.min(22 + MAX_COMMENT);
    let tail = read_at(file, length - n_tail, n_tail)?;
    let is_end = |at: usize| {
        bytes_at(&tail, at) == Some(*b"PK\x05\x06") && at + 22 + usize::from(u16_at(&tail, at + 20)) == tail.len()
    };
    let last = tail.len().checked_sub(22).ok_or_else(cut)?;
    let at = (0..=last).rev().find(|&at| is_end(at)).ok_or_else(cut)?;
    let mut n_members = u64::from(u16_at(&tail, at + 10));
    let mut n_list = u64::from(u32_at(&tail, at + 12));
    let mut start = u64::from(u32_at(&tail, at + 16));
    let mut end = length - n_tail + at as u64;
    let is_whole = u16_at(&tail, at + 4) == 0 && u16_at(&tail, at + 6) == 0;
    if let Some(locator) = end.checked_sub(20) {
        let locator = read_at(file, locator, 20)?;
        if bytes_at(&locator, 0) == Some(*b"PK\x06\x07") {
            let at = u64_at(&locator, 8);
            let record = at.checked_add(56).filter(|&to| to <= end).ok_or_else(cut)?;
            let record = read_at(file, record - 56, 56)?;
            if bytes_at(&record, 0) != Some(*b"PK\x06\x06") {
                return Err(cut());
            }
            (n_members, n_list, start) = (u64_at(&record, 32), u64_at(&record, 40), u64_at(&record, 48));
            end = at;
        }
    }
    if !is_whole {
        return Err("one part of several; join them first".to_owned());
    }
    if n_members > MAX_MEMBERS || n_list > MAX_LIST {
        let message = format!("{n_members} members in a list of {n_list} bytes; at most {MAX_MEMBERS} are read");
        return Err(message);
    }
    if start.checked_add(n_list).is_none_or(|to| to > end) {
        return Err("its list of members lies outside of the file: it is cut or damaged".to_owned());
    }
    let list = read_at(file, start, n_list)?;
    let mut rest = list.as_slice();
    let mut entries = Vec::new();
    for index in 0..n_members {
        let (entry, after) = parse_entry(rest, start).ok_or(format!("entry {index} of its list is damaged"))?;
        entries.push(entry);
        rest = after;
    }
    Ok(entries)
}

/// One entry of the list, and what follows it.
fn parse_entry(list: &[u8], end: u64) -> Option<(Entry, &[u8])> {
    let fixed = list.get(..46)?;
    if bytes_at(fixed, 0) != Some(*b"PK\x01\x02") {
        return None;
    }
    let n_name = usize::from(u16_at(fixed, 28));
    let n_extra = usize::from(u16_at(fixed, 30));
    let n_comment = usize::from(u16_at(fixed, 32));
    let name = list.get(46..46 + n_name)?;
    let mut extra = list.get(46 + n_name..46 + n_name + n_extra)?;
    let rest = list.get(46 + n_name + n_extra + n_comment..)?;
    let method = u16_at(fixed, 10);
    let mut member = Member {
        is_deflated: method == 8,
        stored: u64::from(u32_at(fixed, 20)),
        size: u64::from(u32_at(fixed, 24)),
        crc: u32_at(fixed, 16),
        offset: u64::from(u32_at(fixed, 42)),
    };
    while extra.len() >= 4 {
        let (kind, n) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let mut field = extra.get(4..4 + n)?;
        if kind == 1 {
            // Zip64: what doesn't fit into 32 bits, in this order.
            for value in [&mut member.size, &mut member.stored, &mut member.offset] {
                if *value == u64::from(u32::MAX) {
                    *value = u64::from_le_bytes(bytes_at(field, 0)?);
                    field = field.get(8..)?;
                }
            }
        }
        extra = extra.get(4 + n..)?;
    }
    let entry = Entry {
        name: name.to_vec(),
        flags: u16_at(fixed, 8),
        method,
        member,
        end,
    };
    Some((entry, rest))
}

/// Members by name, and why others are refused.
fn check_members(list: Vec<Entry>) -> (BTreeMap<String, Member>, Vec<Finding>) {
    let mut members: BTreeMap<String, Member> = BTreeMap::new();
    let mut problems = Vec::new();
    let mut places = Vec::new();
    let mut total = 0_u64;
    for entry in list {
        let shown = String::from_utf8_lossy(entry.name.get(..entry.name.len().min(80)).unwrap_or_default())
            .escape_debug()
            .to_string();
        let at = format!("member '{shown}'");
        total = total.saturating_add(entry.member.size);
        let name = String::from_utf8(entry.name.clone()).ok();
        let refusal = refusal(&entry, name.as_deref());
        if let Some(message) = refusal {
            problems.push(Finding::new(at, message));
            continue;
        }
        let from = entry.member.offset;
        let to = from + LOCAL_HEADER + entry.name.len() as u64 + entry.member.stored;
        places.push((from, to, at.clone()));
        if members.insert(name.unwrap_or_default(), entry.member).is_some() {
            problems.push(Finding::new(at, "there twice; which one counts isn't known"));
        }
    }
    places.sort();
    for pair in places.windows(2) {
        if let [(_, to, first), (from, ..)] = pair
            && to > from
        {
            problems.push(Finding::new(first, "overlaps with the member after it"));
        }
    }
    if total > MAX_BYTES {
        let message = format!("its members claim {total} bytes in all; at most {MAX_BYTES} are read");
        problems.push(Finding::new("archive", message));
    }
    (members, problems)
}

fn refusal(entry: &Entry, name: Option<&str>) -> Option<String> {
    let Entry { member, .. } = entry;
    let Some(name) = name else {
        return Some("its name isn't UTF-8".to_owned());
    };
    let has_drive = name.as_bytes().get(1) == Some(&b':');
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Some("its name is empty, too long, or holds control characters".to_owned());
    }
    if name.starts_with('/') || has_drive || name.contains('\\') || name.split('/').any(|part| part == "..") {
        return Some("its name leads out of the archive; such archives are not to be trusted".to_owned());
    }
    // Bits 0 and 6: encrypted; bit 13: the list of members itself is.
    if entry.flags & (1 | 1 << 6 | 1 << 13) != 0 {
        return Some("encrypted; only plain members are read".to_owned());
    }
    if !matches!(entry.method, 0 | 8) {
        return Some(format!(
            "compressed by method {}; only stored (0) and deflated (8) members are read (hint: np.savez_compressed)",
            entry.method
        ));
    }
    if !member.is_deflated && member.stored != member.size {
        return Some(format!("stored as {} bytes, but claims {}", member.stored, member.size));
    }
    let most = member.stored.saturating_mul(MAX_INFLATION).saturating_add(64);
    if member.size > most || member.size > MAX_BYTES {
        return Some(format!(
            "claims {} bytes in {} stored ones: more than deflate makes of them, or than {MAX_BYTES}",
            member.size, member.stored
        ));
    }
    let to = member
        .offset
        .checked_add(LOCAL_HEADER)
        .and_then(|from| from.checked_add(member.stored));
    if to.is_none_or(|to| to > entry.end) {
        return Some("reaches beyond the end of the archive: it is cut or damaged".to_owned());
    }
    None
}

/// Exactly so many bytes from there on.
fn read_at(mut file: &File, offset: u64, n: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset))
        .and_then(|_| file.take(n).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if (bytes.len() as u64) < n {
        return Err("it ends too early: the archive is cut".to_owned());
    }
    Ok(bytes)
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// 0 where the bytes end before: lengths are checked by the callers.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes_at(bytes, at).map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes_at(bytes, at).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes_at(bytes, at).map_or(0, u64::from_le_bytes)
}
