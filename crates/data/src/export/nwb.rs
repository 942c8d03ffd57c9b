//! NWB 2 files (Neurodata Without Borders): one session each, as pynwb reads and validates them.

use std::collections::BTreeSet;
use std::path::Path;

use hdf5::{File, Group};
use ndarray::{ArrayView, ArrayView1, Axis, Ix2};

use super::objects::{CORE, Ids, write_scalar, write_text};
use super::plain::{EventColumn, Plain, TRIAL_NUMBERS, event_columns, observed_units};
use crate::error::{DataError, Finding};
use crate::file::{write_array, write_attribute, write_column, write_text_attribute, write_texts};
use crate::fs::{Existing, Sibling};
use crate::h5::file_error;
use crate::presence::RECORDED;
use crate::recording::{BehaviourSamples, Recording, Session, StimulusMovies, Timing, Trial};
use crate::validate::{check, refuse_problems};

/// The version of the schema whose types are used; they have been there since 2.0.
const NWB_VERSION: &str = "2.7.0";
/// A recording knows no date, and NWB demands one.
const DATE: &str = "1970-01-01T00:00:00+00:00";
/// Name of the container of behaviour traces.
const BEHAVIOUR: &str = "BehavioralTimeSeries";

/// Writes a session as an NWB file, in one step. Never replaces a file. Equal sessions give equal bytes.
///
/// Spike times are written as they are. Counts become times within their bins (see `docs/FORMATS.md`); what else NWB holds
/// differently is told by the findings that come back.
///
/// # Errors
/// [`DataError::Invalid`] if the session has problems, [`DataError::Bin`] if counts of two trials overlap in time,
/// [`DataError::Fs`] if the file exists or can't be written, [`DataError::Hdf5`] if the library fails. Nothing is left behind.
pub fn write_nwb(path: &Path, session: &Session) -> Result<Vec<Finding>, DataError> {
    let subject = format!("{}: not written, the session is not valid", path.display());
    let recording = Recording {
        sessions: vec![session.clone()],
    };
    refuse_problems(subject, check(&recording).problems)?;
    let (session, left_out) = observed_units(session, true);
    let mut plain = Plain::of(&session)?;
    plain.warnings.extend(left_out);
    let names = series_names(&mut plain);
    let events = trial_columns(&mut plain);
    let sibling = Sibling::create(path, Existing::Refuse)?;
    hdf5::silence_errors(true);
    write_content(sibling.path(), &plain, &names, &events)
        .map_err(|error| file_error(path, sibling.path(), "write", &error))?;
    sibling.commit()?;
    Ok(plain.warnings)
}

/// Names of the traces.
fn series_names(plain: &mut Plain<'_>) -> Vec<String> {
    let names = plain.behaviour.keys();
    let mut taken = valid_names(names.clone().copied());
    names
        .map(|name| clean_name("behaviour", name, &mut taken, &mut plain.warnings))
        .collect()
}

/// Columns of events and values.
fn trial_columns(plain: &mut Plain<'_>) -> Vec<EventColumn> {
    let mut columns = event_columns(&plain.session.events);
    let mut taken = valid_names(columns.iter().map(|column| column.name.as_str()));
    for column in &mut columns {
        column.name = clean_name("column of trials", &column.name, &mut taken, &mut plain.warnings);
    }
    columns
}

/// Names that NWB takes as they are: another one may not take theirs.
fn valid_names<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    names
        .filter(|name| !name.contains(':'))
        .map(ToOwned::to_owned)
        .collect()
}

/// A name that NWB takes, which has no colon, and that is not taken yet; says so where it is another one. `taken` has those
/// that are as they are.
fn clean_name(what: &str, name: &str, taken: &mut BTreeSet<String>, warnings: &mut Vec<Finding>) -> String {
    if !name.contains(':') {
        return name.to_owned();
    }
    let mut clean = name.replace(':', "_");
    while !taken.insert(clean.clone()) {
        clean.push('_');
    }
    if clean != name {
        let message = format!("is named '{clean}', because names in NWB have no colon");
        warnings.push(Finding::new(format!("{what} '{name}'"), message));
    }
    clean
}

fn write_content(path: &Path, plain: &Plain<'_>, names: &[String], events: &[EventColumn]) -> hdf5::Result<()> {
    let ids = Ids::of(plain.session)?;
    let file = File::create(path)?;
    write_text_attribute(&file, "nwb_version", NWB_VERSION)?;
    ids.type_of(&file, CORE, "NWBFile")?;
    write_header(&file, &plain.session.id)?;
    write_units(&ids, file.create_group("units")?, plain)?;
    let intervals = file.create_group("intervals")?;
    write_trials(&ids, intervals.create_group("trials")?, &plain.trials, events)?;
    if plain.unit_observed_s.is_some() {
        write_recorded(&ids, intervals.create_group(RECORDED)?, plain.observed_s)?;
    }
    let processing = file.create_group("processing")?;
    if !plain.behaviour.is_empty() {
        let module = processing.create_group("behavior")?;
        ids.type_of(&module, CORE, "ProcessingModule")?;
        write_text_attribute(&module, "description", "behaviour traces")?;
        let container = module.create_group(BEHAVIOUR)?;
        ids.type_of(&container, CORE, BEHAVIOUR)?;
        for (behaviour, name) in plain.behaviour.values().zip(names) {
            if let BehaviourSamples::Continuous { values, timing } = &behaviour.samples {
                let series = container.create_group(name)?;
                let samples = Series {
                    values: ArrayView1::from(values.as_slice()).into_dyn(),
                    unit: &behaviour.unit,
                    timing,
                    description: "behaviour trace; NaN where a sample is missing",
                };
                samples.write(&ids, &series)?;
            }
        }
    }
    let stimulus = file.create_group("stimulus")?;
    stimulus.create_group("presentation")?;
    let templates = stimulus.create_group("templates")?;
    if let Some(movies) = &plain.session.stimulus {
        write_movies(&ids, &templates, movies)?;
    }
    file.flush()?;
    file.close()
}

fn write_header(file: &Group, session: &str) -> hdf5::Result<()> {
    for name in ["acquisition", "analysis"] {
        file.create_group(name)?;
    }
    write_text(file, "identifier", session)?;
    write_text(file, "session_description", "a session of a snnfit recording")?;
    write_text(file, "session_start_time", DATE)?;
    write_text(file, "timestamps_reference_time", DATE)?;
    write_texts(file, "file_create_date", std::iter::once(DATE))?;
    let general = file.create_group("general")?;
    write_text(&general, "session_id", session)?;
    let notes = "Written by snnfit export. The recording has no date: session_start_time and file_create_date are placeholders.";
    write_text(&general, "notes", notes)?;
    Ok(())
}

fn write_units(ids: &Ids, group: Group, plain: &Plain<'_>) -> hdf5::Result<()> {
    let units = &plain.session.units;
    let mut table = ids.table(group, "Units", "sorted units", units.len())?;
    let name = "name of the unit in the recording";
    table.texts("unit_name", name, units.iter().map(|unit| unit.id.as_str()))?;
    table.texts("area", "brain area", units.iter().map(|unit| unit.area.as_str()))?;
    let kinds = units.iter().map(|unit| unit.cell_type.name());
    table.texts("cell_type", "excitatory, inhibitory or unknown", kinds)?;
    if units.iter().any(|unit| unit.firing_rate_hz.is_some()) {
        let rates = units.iter().map(|unit| unit.firing_rate_hz.unwrap_or(f64::NAN));
        let rates: Vec<f64> = rates.collect();
        let meaning = "rate found by whoever sorted the spikes (Hz); NaN where it is not known";
        table.numbers("firing_rate", meaning, ArrayView::from(&rates))?;
    }
    let times_s = plain.times_s.concat();
    table.numbers("spike_times", "spike times of each unit (s)", ArrayView::from(&times_s))?;
    table.index("spike_times", &plain.ends())?;
    let whole = [plain.observed_s];
    let (mut observed, mut ends) = (Vec::new(), Vec::with_capacity(units.len()));
    for n in 0..units.len() {
        // A unit of which nothing is known has an empty list, where others have one.
        let stretches = plain.unit_observed_s.as_ref().map_or(&whole[..], |units| &units[n]);
        observed.extend(stretches.iter().flat_map(|(start, stop)| [*start, *stop]));
        ends.push(observed.len() as i64 / 2);
    }
    let observed = ArrayView::from_shape((observed.len() / 2, 2), &observed).map_err(|e| e.to_string())?;
    table.numbers::<f64, Ix2>("obs_intervals", "when each unit was recorded (s)", observed)?;
    table.index("obs_intervals", &ends)?;
    table.finish()
}

/// The table of when spikes were recorded at all: lists of units can't say it where one is empty or all are shorter.
fn write_recorded(ids: &Ids, group: Group, (start_s, stop_s): (f64, f64)) -> hdf5::Result<()> {
    let mut table = ids.table(group, "TimeIntervals", "from when to when spikes were recorded", 1)?;
    table.numbers("start_time", "start (s)", ArrayView::from(&[start_s]))?;
    table.numbers("stop_time", "end (s)", ArrayView::from(&[stop_s]))?;
    table.finish()
}

fn write_trials(ids: &Ids, group: Group, trials: &[Trial], events: &[EventColumn]) -> hdf5::Result<()> {
    let mut table = ids.table(group, "TimeIntervals", "trials", trials.len())?;
    for column in &TRIAL_NUMBERS {
        let values: Vec<f64> = trials.iter().map(column.value).collect();
        table.numbers(column.name, column.description, ArrayView::from(&values))?;
    }
    let labels = trials.iter().map(|trial| trial.trial_type.as_str());
    table.texts("trial_type", "label of the trial", labels)?;
    if trials.iter().any(|trial| trial.movie.is_some()) {
        let movies = trials.iter().map(|trial| trial.movie.map_or(-1, |movie| movie as i64));
        let movies: Vec<i64> = movies.collect();
        let meaning = "number of the movie that was shown, movie_N in /stimulus/templates; -1 for none";
        table.numbers("movie", meaning, ArrayView::from(&movies))?;
    }
    for column in events {
        table.numbers(&column.name, column.description, ArrayView::from(&column.values))?;
    }
    table.finish()
}

/// A time series.
struct Series<'a> {
    /// Samples first.
    values: ArrayView<'a, f32, ndarray::IxDyn>,
    unit: &'a str,
    timing: &'a Timing,
    description: &'a str,
}

impl Series<'_> {
    fn write(&self, ids: &Ids, group: &Group) -> hdf5::Result<()> {
        ids.type_of(group, CORE, "TimeSeries")?;
        write_text_attribute(group, "description", self.description)?;
        write_text_attribute(group, "comments", "no comments")?;
        write_array(group, "data", &self.values)?;
        let data = group.dataset("data")?;
        write_text_attribute(&data, "unit", self.unit)?;
        for (name, value) in [("conversion", 1.0_f64), ("offset", 0.0), ("resolution", -1.0)] {
            write_attribute(&data, name, &value)?;
        }
        match self.timing {
            Timing::Timestamps(times) => {
                write_column(group, "timestamps", times)?;
                let times = group.dataset("timestamps")?;
                write_attribute(&times, "interval", &1_i32)?;
                write_text_attribute(&times, "unit", "seconds")
            }
            Timing::Rate { rate_hz, start_s } => {
                let start = write_scalar(group, "starting_time", start_s)?;
                write_attribute(&start, "rate", rate_hz)?;
                write_text_attribute(&start, "unit", "seconds")
            }
        }
    }
}

fn write_movies(ids: &Ids, templates: &Group, movies: &StimulusMovies) -> hdf5::Result<()> {
    for (s, movie) in movies.values.axis_iter(Axis(0)).enumerate() {
        let group = templates.create_group(&format!("movie_{s}"))?;
        let timing = Timing::Rate {
            rate_hz: 1000.0 / movies.bin_ms,
            start_s: movies.start_ms / 1000.0,
        };
        let series = Series {
            values: movie.into_dyn(),
            unit: "n/a",
            timing: &timing,
            description: "stimulus, bins x channels; times are relative to align_time of the trials that show it",
        };
        series.write(ids, &group)?;
    }
    Ok(())
}
