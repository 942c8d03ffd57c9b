//! NumPy archives (`.npz`) of one session, by the names that [`read_npz`](crate::import::read_npz) takes.

use std::io::{self, Write};
use std::path::Path;

use super::plain::{Plain, TRIAL_NUMBERS, event_columns, observed_units};
use super::zip::Zip;
use crate::error::{DataError, Finding};
use crate::fs::write_new;
use crate::import::SERIES_SUFFIXES;
use crate::presence;
use crate::recording::{Activity, BehaviourSamples, Recording, Session, Timing, Trial};
use crate::validate::{check, refuse_problems};

/// Writes a session as a NumPy archive, in one step. Never replaces a file. Equal sessions give equal bytes.
///
/// Counts are written twice: as spike times within their bins, which `import` reads, and as they are (`counts`).
///
/// # Errors
/// [`DataError::Invalid`] if the session has problems, or a trace whose name could be taken for another's;
/// [`DataError::Bin`] if counts of two trials overlap in time; [`DataError::Fs`] if the file exists, can't be written, or would
/// be 4 GiB and more. Nothing is left behind.
pub fn write_npz(path: &Path, session: &Session) -> Result<Vec<Finding>, DataError> {
    let subject = format!("{}: not written, the session is not valid", path.display());
    let recording = Recording {
        sessions: vec![session.clone()],
    };
    let mut problems = check(&recording).problems;
    problems.extend(ambiguous(session));
    refuse_problems(subject, problems)?;
    let (session, left_out) = observed_units(session, false);
    let plain = Plain::of(&session)?;
    write_new(path, |file| {
        let mut archive = Arrays(Zip::new(file));
        write_content(&mut archive, &plain)?;
        archive.0.finish()
    })?;
    let mut warnings = plain.warnings;
    warnings.extend(left_out);
    if presence::is_partial(&session) {
        let message =
            "archives don't say when each unit was observed: it is silent where it wasn't (hint: export to NWB)";
        warnings.push(Finding::new(format!("session '{}'", session.id), message));
    }
    Ok(warnings)
}

/// Traces whose name is that of another with something that is said of it.
fn ambiguous(session: &Session) -> Vec<Finding> {
    let names = || session.behaviour.keys();
    let pairs = names().flat_map(|name| SERIES_SUFFIXES.map(|suffix| (name, format!("{name}{suffix}"))));
    pairs
        .filter(|(_, said)| session.behaviour.contains_key(said))
        .map(|(name, said)| {
            let message =
                format!("in an archive, it can't be told from what is said of '{name}' (hint: export to NWB)");
            Finding::new(format!("behaviour '{said}'"), message)
        })
        .collect()
}

fn write_content<W: Write>(archive: &mut Arrays<W>, plain: &Plain<'_>) -> io::Result<()> {
    let session = plain.session;
    archive.text("session_id", &session.id)?;
    archive.floats(
        "spike_times",
        &[plain.times_s.iter().map(Vec::len).sum()],
        plain.times_s.iter().flatten(),
    )?;
    archive.integers("spike_times_index", &plain.ends())?;
    archive.number("observed_start_s", plain.observed_s.0)?;
    archive.number("observed_stop_s", plain.observed_s.1)?;
    let units = &session.units;
    archive.texts("units_id", units.iter().map(|unit| unit.id.as_str()))?;
    archive.texts("units_area", units.iter().map(|unit| unit.area.as_str()))?;
    archive.texts("units_cell_type", units.iter().map(|unit| unit.cell_type.name()))?;
    if units.iter().any(|unit| unit.firing_rate_hz.is_some()) {
        let rates: Vec<f64> = units
            .iter()
            .map(|unit| unit.firing_rate_hz.unwrap_or(f64::NAN))
            .collect();
        archive.floats("units_firing_rate", &[rates.len()], rates.iter())?;
    }
    write_trials(archive, &plain.trials)?;
    for column in event_columns(&session.events) {
        let key = format!("trials_{}", column.name);
        archive.floats(&key, &[column.values.len()], column.values.iter())?;
    }
    for (name, behaviour) in &plain.behaviour {
        if let BehaviourSamples::Continuous { values, timing } = &behaviour.samples {
            let key = format!("series_{name}");
            archive.singles(&key, &[values.len()], values.iter())?;
            archive.text(&format!("{key}_unit"), &behaviour.unit)?;
            match timing {
                Timing::Timestamps(times) => {
                    archive.floats(&format!("{key}_timestamps"), &[times.len()], times.iter())?;
                }
                Timing::Rate { rate_hz, start_s } => {
                    archive.number(&format!("{key}_rate_hz"), *rate_hz)?;
                    archive.number(&format!("{key}_start_s"), *start_s)?;
                }
            }
        }
    }
    if let Activity::Binned {
        counts,
        bin_ms,
        start_ms,
        ..
    } = &session.activity
    {
        archive.array("counts", "|u1", counts.shape(), counts.iter().copied())?;
        archive.number("counts_bin_ms", *bin_ms)?;
        archive.number("counts_start_ms", *start_ms)?;
    }
    if let Some(movies) = &session.stimulus {
        archive.singles("movies", movies.values.shape(), movies.values.iter())?;
        archive.number("movies_bin_ms", movies.bin_ms)?;
        archive.number("movies_start_ms", movies.start_ms)?;
    }
    Ok(())
}

fn write_trials<W: Write>(archive: &mut Arrays<W>, trials: &[Trial]) -> io::Result<()> {
    for column in &TRIAL_NUMBERS {
        let values: Vec<f64> = trials.iter().map(column.value).collect();
        archive.floats(&format!("trials_{}", column.name), &[values.len()], values.iter())?;
    }
    archive.texts(
        "trials_trial_type",
        trials.iter().map(|trial| trial.trial_type.as_str()),
    )?;
    if trials.iter().any(|trial| trial.movie.is_some()) {
        let movies: Vec<i64> = trials
            .iter()
            .map(|trial| trial.movie.map_or(-1, |movie| movie as i64))
            .collect();
        archive.integers("trials_movie", &movies)?;
    }
    Ok(())
}

/// Arrays of an archive.
struct Arrays<W>(Zip<W>);

impl<W: Write> Arrays<W> {
    /// An array in C order, element by element.
    fn array<const B: usize, T: Bytes<B>>(
        &mut self,
        key: &str,
        dtype: &str,
        shape: &[usize],
        values: impl Iterator<Item = T>,
    ) -> io::Result<()> {
        let mut content = header(dtype, shape);
        content.extend(values.flat_map(Bytes::bytes));
        self.0.add(&format!("{key}.npy"), &content)
    }

    fn floats<'a>(&mut self, key: &str, shape: &[usize], values: impl Iterator<Item = &'a f64>) -> io::Result<()> {
        self.array(key, "<f8", shape, values.copied())
    }

    fn singles<'a>(&mut self, key: &str, shape: &[usize], values: impl Iterator<Item = &'a f32>) -> io::Result<()> {
        self.array(key, "<f4", shape, values.copied())
    }

    fn number(&mut self, key: &str, value: f64) -> io::Result<()> {
        self.array(key, "<f8", &[], std::iter::once(value))
    }

    fn integers(&mut self, key: &str, values: &[i64]) -> io::Result<()> {
        self.array(key, "<i8", &[values.len()], values.iter().copied())
    }

    fn text(&mut self, key: &str, text: &str) -> io::Result<()> {
        self.strings(key, &[], &[text])
    }

    fn texts<'a>(&mut self, key: &str, texts: impl Iterator<Item = &'a str>) -> io::Result<()> {
        let texts: Vec<&str> = texts.collect();
        self.strings(key, &[texts.len()], &texts)
    }

    /// Texts of one width in UTF-32, filled up with zeros.
    fn strings(&mut self, key: &str, shape: &[usize], texts: &[&str]) -> io::Result<()> {
        let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
        let padded = texts
            .iter()
            .flat_map(|text| text.chars().map(u32::from).chain(std::iter::repeat(0)).take(width));
        self.array(key, &format!("<U{width}"), shape, padded)
    }
}

/// Little-endian bytes of an element.
trait Bytes<const B: usize> {
    fn bytes(self) -> [u8; B];
}

impl Bytes<8> for f64 {
    fn bytes(self) -> [u8; 8] {
        self.to_le_bytes()
    }
}

impl Bytes<8> for i64 {
    fn bytes(self) -> [u8; 8] {
        self.to_le_bytes()
    }
}

impl Bytes<4> for f32 {
    fn bytes(self) -> [u8; 4] {
        self.to_le_bytes()
    }
}

impl Bytes<4> for u32 {
    fn bytes(self) -> [u8; 4] {
        self.to_le_bytes()
    }
}

impl Bytes<1> for u8 {
    fn bytes(self) -> [u8; 1] {
        [self]
    }
}

/// Header of version 1.0, whose length is a multiple of 64.
fn header(dtype: &str, shape: &[usize]) -> Vec<u8> {
    let lengths: Vec<String> = shape.iter().map(usize::to_string).collect();
    // A tuple of one has a comma.
    let comma = if shape.len() == 1 { "," } else { "" };
    let shape = format!("({}{comma})", lengths.join(", "));
    let mut text = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}");
    let n_before = 10;
    let n_blanks = 63 - (n_before + text.len()) % 64;
    text.extend(std::iter::repeat_n(' ', n_blanks));
    text.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.into_bytes());
    bytes
}
