//! Tables as text: comma, tab or semicolon between fields, a header in the first line.
//!
//! The parser is `csv-core`, the core of the crate `csv` (which itself would change features of crates that burn is
//! built with). A file is read record by record, so a list of spikes never lies in memory as text.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::table::{Column, Table};
use crate::error::Finding;
use crate::fs::open_regular;
use crate::h5::Found;

/// Longest record (bytes).
const MAX_RECORD: usize = 1 << 22;
/// Most columns.
const MAX_COLUMNS: usize = 10_000;
/// Most rows of a table of units or trials; lists of spikes have no such limit.
const MAX_ROWS: usize = 1 << 20;
/// Most fields of such a table.
const MAX_CELLS: usize = 1 << 24;
/// Most bytes of such a table.
const MAX_TABLE_BYTES: u64 = 1 << 28;
/// The separator is looked for in so many bytes at the start.
const LOOK_AHEAD: usize = 1 << 16;

/// The records of a file, one after another.
pub(super) struct Records {
    at: String,
    input: BufReader<File>,
    parser: Reader,
    /// Names of the columns.
    pub(super) header: Vec<String>,
    fields: Vec<u8>,
    ends: Vec<usize>,
    n_fields: usize,
    is_closed: bool,
    /// Line in which the present record ends, from 1.
    line: u64,
}

impl Records {
    /// Opens a file and reads its header; `at` names it in findings.
    pub(super) fn open(path: &Path, at: &str) -> Found<Self> {
        let fail = |message: String| Finding::new(at, message);
        let file = open_regular(path).map_err(|error| fail(error.to_string()))?;
        let mut input = BufReader::with_capacity(LOOK_AHEAD, file);
        let start = input.fill_buf().map_err(|error| fail(error.to_string()))?;
        if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
            return Err(fail("text in UTF-16; save it as UTF-8".to_owned()));
        }
        let separator = separator(start);
        let mut records = Self {
            at: at.to_owned(),
            input,
            parser: ReaderBuilder::new().delimiter(separator).build(),
            header: Vec::new(),
            fields: vec![0; 1024],
            ends: vec![0; 64],
            n_fields: 0,
            is_closed: false,
            line: 0,
        };
        if !records.advance()? {
            return Err(fail("it is empty; expected a header and rows".to_owned()));
        }
        let mut header: Vec<String> = Vec::new();
        for place in 0..records.n_fields {
            let name = records.field(place)?.trim();
            // What pandas writes for an index without a name.
            let name = if name.is_empty() {
                format!("unnamed_{place}")
            } else {
                name.to_owned()
            };
            if header.contains(&name) {
                let message = format!("two columns are named '{}'", name.escape_debug());
                return Err(fail(message));
            }
            header.push(name);
        }
        records.header = header;
        Ok(records)
    }

    /// Goes to the next row; false at the end. A row has as many fields as the header.
    pub(super) fn next(&mut self) -> Found<bool> {
        if !self.advance()? {
            return Ok(false);
        }
        if self.n_fields != self.header.len() {
            let message = format!(
                "{} fields; the header has {} (hint: quote fields that hold the separator)",
                self.n_fields,
                self.header.len()
            );
            return Err(self.fail(message));
        }
        Ok(true)
    }

    fn advance(&mut self) -> Found<bool> {
        let (mut n_out, mut n_ends) = (0, 0);
        loop {
            let input = match self.input.fill_buf() {
                Ok(input) => input,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.fail(error.to_string())),
            };
            // After the last byte comes a line end of ours: within quotes it doesn't end the record.
            let is_last = input.is_empty() && !self.is_closed;
            let input = if is_last { &b"\n"[..] } else { input };
            let out = self.fields.get_mut(n_out..).unwrap_or_default();
            let ends = self.ends.get_mut(n_ends..).unwrap_or_default();
            let (result, n_in, n_bytes, n_found) = self.parser.read_record(input, out, ends);
            let last = n_in.checked_sub(1).and_then(|place| input.get(place)).copied();
            if is_last {
                self.is_closed = n_in > 0;
            } else {
                self.input.consume(n_in);
            }
            n_out += n_bytes;
            n_ends += n_found;
            match result {
                ReadRecordResult::InputEmpty if is_last && n_out + n_ends > 0 => {
                    self.line += 1;
                    return Err(self.fail("a quote that is never closed"));
                }
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.fields.len() < MAX_RECORD => {
                    self.fields.resize(self.fields.len() * 2, 0);
                }
                ReadRecordResult::OutputFull => {
                    self.line = self.parser.line();
                    let message = format!("a row of more than {MAX_RECORD} bytes (hint: is a quote not closed?)");
                    return Err(self.fail(message));
                }
                ReadRecordResult::OutputEndsFull if self.ends.len() < MAX_COLUMNS => {
                    self.ends.resize((self.ends.len() * 2).min(MAX_COLUMNS), 0);
                }
                ReadRecordResult::OutputEndsFull => {
                    self.line = self.parser.line();
                    return Err(self.fail(format!("more than {MAX_COLUMNS} fields")));
                }
                ReadRecordResult::Record => {
                    self.n_fields = n_ends;
                    // The parser counts line feeds; that of CR LF belongs to what comes after.
                    let n_ended = u64::from(last == Some(b'\n'));
                    self.line = self.parser.line().saturating_sub(n_ended).max(1);
                    return Ok(true);
                }
                ReadRecordResult::End => return Ok(false),
            }
        }
    }

    /// A field of the present row.
    pub(super) fn field(&self, place: usize) -> Found<&str> {
        let end = self.ends.get(place).copied().unwrap_or(0);
        let start = match place.checked_sub(1) {
            Some(before) => self.ends.get(before).copied().unwrap_or(end),
            None => 0,
        };
        let bytes = self.fields.get(start..end).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| {
            let message = format!("field {} isn't UTF-8 (hint: save the file as UTF-8)", place + 1);
            self.fail(message)
        })
    }

    /// A fault of the present row.
    pub(super) fn fail(&self, message: impl Into<String>) -> Finding {
        Finding::new(format!("{}, line {}", self.at, self.line), message)
    }
}

/// The most frequent of comma, tab and semicolon in the first line, outside of quotes.
fn separator(start: &[u8]) -> u8 {
    let mut counts = [(b',', 0_usize), (b'\t', 0), (b';', 0)];
    let mut is_quoted = false;
    for &byte in start {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\n' | b'\r' if !is_quoted => break,
            _ if is_quoted => {}
            _ => {
                for (separator, count) in &mut counts {
                    *count += usize::from(byte == *separator);
                }
            }
        }
    }
    let most = counts
        .into_iter()
        .reduce(|best, next| if next.1 > best.1 { next } else { best });
    most.map_or(b',', |(separator, _)| separator)
}

/// Reads a table of units or trials; its columns become numbers or flags where every value is one.
pub(super) fn read_table(path: &Path, at: &str) -> Found<Table> {
    let n_bytes = std::fs::metadata(path).map_err(|error| Finding::new(at, error.to_string()))?;
    if n_bytes.len() > MAX_TABLE_BYTES {
        let message = format!("{} bytes; at most {MAX_TABLE_BYTES} are read of a table", n_bytes.len());
        return Err(Finding::new(at, message));
    }
    let mut records = Records::open(path, at)?;
    let mut columns: Vec<Vec<String>> = vec![Vec::new(); records.header.len()];
    let (mut n_rows, mut n_cells) = (0, 0);
    while records.next()? {
        if n_rows == MAX_ROWS {
            return Err(records.fail(format!("more than {MAX_ROWS} rows")));
        }
        n_cells += columns.len();
        if n_cells > MAX_CELLS {
            return Err(records.fail(format!("more than {MAX_CELLS} fields in all")));
        }
        for (place, column) in columns.iter_mut().enumerate() {
            column.push(records.field(place)?.to_owned());
        }
        n_rows += 1;
    }
    let mut table = Table::new(n_rows);
    for (name, texts) in records.header.into_iter().zip(columns) {
        table.insert(at, name, Column::from_untyped(texts))?;
    }
    Ok(table)
}
