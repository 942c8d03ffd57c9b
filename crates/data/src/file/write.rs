//! Writing: checked first, complete or not at all, and the same bytes for the same recording.

use std::path::Path;

use hdf5::types::VarLenUnicode;
use hdf5::{File, Group, H5Type, Location};
use ndarray::{Array2, ArrayView, ArrayView1, Dimension};

use super::{FORMAT, VERSION};
use crate::error::DataError;
use crate::fs::{Existing, Sibling};
use crate::h5::file_error;
use crate::presence::Stretches;
use crate::recording::{
    Activity, Behaviour, BehaviourSamples, Recording, Session, StimulusMovies, Timing, Trial, Unit,
};
use crate::trial_events;
use crate::validate::{check, refuse_problems};

/// Deflate level: higher ones cost time and gain a percent.
const DEFLATE: u8 = 4;
/// Chunks aim at this many elements.
const CHUNK_ELEMENTS: usize = 1 << 16;

/// Writes a recording as a native file, in one step. Never replaces a file.
///
/// # Errors
/// [`DataError::Invalid`] if the recording has problems, [`DataError::Fs`] if the file exists or can't
/// be written, [`DataError::Hdf5`] if the library fails. Nothing is left behind.
pub fn write(path: &Path, recording: &Recording) -> Result<(), DataError> {
    write_with(path, recording, Existing::Refuse)
}

/// As [`write()`], but replaces an existing file in one step.
///
/// # Errors
/// As [`write()`], except that an existing file is no error.
pub fn write_replacing(path: &Path, recording: &Recording) -> Result<(), DataError> {
    write_with(path, recording, Existing::Replace)
}

fn write_with(path: &Path, recording: &Recording, existing: Existing) -> Result<(), DataError> {
    let subject = format!("{}: not written, the recording is not valid", path.display());
    refuse_problems(subject, check(recording).problems)?;
    let sibling = Sibling::create(path, existing)?;
    hdf5::silence_errors(true);
    write_content(sibling.path(), recording).map_err(|error| file_error(path, sibling.path(), "write", &error))?;
    Ok(sibling.commit()?)
}

fn write_content(path: &Path, recording: &Recording) -> hdf5::Result<()> {
    let file = File::create(path)?;
    write_text_attribute(&file, "format", FORMAT)?;
    write_attribute(&file, "version", &VERSION)?;
    let sessions = file.create_group("sessions")?;
    for (index, session) in recording.sessions.iter().enumerate() {
        let group = sessions.create_group(&session.id)?;
        write_attribute(&group, "index", &(index as i64))?;
        write_session(&group, session)?;
    }
    file.flush()?;
    file.close()
}

fn write_session(group: &Group, session: &Session) -> hdf5::Result<()> {
    let units = group.create_group("units")?;
    write_units(&units, &session.units)?;
    let trials = group.create_group("trials")?;
    write_trials(&trials, &session.trials)?;
    for (kind, columns) in [("events", &session.events.times_s), ("values", &session.events.values)] {
        if !columns.is_empty() {
            let parent = trials.create_group(kind)?;
            for (name, column) in columns {
                write_column(&parent, name, &trial_events::to_nan(column))?;
            }
        }
    }
    match &session.activity {
        Activity::SpikeTimes {
            times_s,
            observed_s,
            unit_observed_s,
        } => {
            write_attribute(group, "observed_start_s", &observed_s.0)?;
            write_attribute(group, "observed_stop_s", &observed_s.1)?;
            write_spike_times(&units, times_s)?;
            if let Some(observed) = unit_observed_s {
                write_unit_observed(&units, observed)?;
            }
        }
        Activity::Binned {
            counts,
            bin_ms,
            start_ms,
            presence,
        } => {
            let binned = group.create_group("binned")?;
            write_attribute(&binned, "bin_ms", bin_ms)?;
            write_attribute(&binned, "start_ms", start_ms)?;
            write_array(&binned, "spikes", &counts.view())?;
            if let Some(presence) = presence {
                write_array(&binned, "presence", &presence.mapv(u8::from).view())?;
            }
        }
    }
    if !session.behaviour.is_empty() {
        let parent = group.create_group("behaviour")?;
        for (name, behaviour) in &session.behaviour {
            write_behaviour(&parent.create_group(name)?, behaviour)?;
        }
    }
    if let Some(movies) = &session.stimulus {
        write_movies(&group.create_group("stimulus")?, movies)?;
    }
    Ok(())
}

fn write_units(group: &Group, units: &[Unit]) -> hdf5::Result<()> {
    write_texts(group, "id", units.iter().map(|unit| unit.id.as_str()))?;
    write_texts(group, "area", units.iter().map(|unit| unit.area.as_str()))?;
    write_texts(group, "cell_type", units.iter().map(|unit| unit.cell_type.name()))?;
    if units.iter().any(|unit| unit.firing_rate_hz.is_some()) {
        let rates = units.iter().map(|unit| unit.firing_rate_hz);
        let rates: Vec<f64> = rates.map(|rate| rate.unwrap_or(f64::NAN)).collect();
        write_column(group, "firing_rate", &rates)?;
    }
    Ok(())
}

fn write_trials(group: &Group, trials: &[Trial]) -> hdf5::Result<()> {
    let numbers = |value: fn(&Trial) -> f64| trials.iter().map(value).collect::<Vec<f64>>();
    write_column(group, "start_time", &numbers(|trial| trial.start_s))?;
    write_column(group, "stop_time", &numbers(|trial| trial.stop_s))?;
    write_column(group, "align_time", &numbers(|trial| trial.align_s))?;
    write_column(group, "stimulus", &numbers(|trial| trial.stimulus))?;
    write_texts(
        group,
        "trial_type",
        trials.iter().map(|trial| trial.trial_type.as_str()),
    )?;
    write_indices(group, "movie", trials.iter().map(|trial| trial.movie))?;
    write_indices(group, "valid_bins", trials.iter().map(|trial| trial.valid_bins))
}

/// Writes −1 for `None`, and no column at all if every row is `None`.
fn write_indices(group: &Group, name: &str, values: impl Iterator<Item = Option<usize>>) -> hdf5::Result<()> {
    let values: Vec<i64> = values.map(|value| value.map_or(-1, |index| index as i64)).collect();
    if values.iter().all(|&value| value == -1) {
        return Ok(());
    }
    write_column(group, name, &values)
}

fn write_spike_times(units: &Group, times_s: &[Vec<f64>]) -> hdf5::Result<()> {
    write_column(units, "spike_times", &times_s.concat())?;
    write_column(units, "spike_times_index", &ends_of(times_s))
}

fn write_unit_observed(units: &Group, observed: &[Stretches]) -> hdf5::Result<()> {
    let stretches = observed.concat();
    let edges = Array2::from_shape_fn((stretches.len(), 2), |(i, side)| {
        let (start, stop) = stretches[i];
        if side == 0 { start } else { stop }
    });
    write_array(units, "obs_intervals", &edges.view())?;
    write_column(units, "obs_intervals_index", &ends_of(observed))
}

/// End of each row in the list of all.
fn ends_of<T>(rows: &[Vec<T>]) -> Vec<i64> {
    let ends = rows.iter().scan(0_i64, |end, row| {
        *end += row.len() as i64;
        Some(*end)
    });
    ends.collect()
}

fn write_behaviour(group: &Group, behaviour: &Behaviour) -> hdf5::Result<()> {
    write_text_attribute(group, "unit", &behaviour.unit)?;
    match &behaviour.samples {
        BehaviourSamples::PerBin(values) => write_array(group, "data", &values.view()),
        BehaviourSamples::Continuous { values, timing } => {
            write_column(group, "data", values)?;
            match timing {
                Timing::Timestamps(times) => write_column(group, "timestamps", times),
                Timing::Rate { rate_hz, start_s } => {
                    write_attribute(group, "rate_hz", rate_hz)?;
                    write_attribute(group, "start_s", start_s)
                }
            }
        }
    }
}

fn write_movies(group: &Group, movies: &StimulusMovies) -> hdf5::Result<()> {
    write_attribute(group, "bin_ms", &movies.bin_ms)?;
    write_attribute(group, "start_ms", &movies.start_ms)?;
    write_array(group, "movies", &movies.values.view())
}

pub(crate) fn write_column<T: H5Type + Clone>(group: &Group, name: &str, values: &[T]) -> hdf5::Result<()> {
    write_array(group, name, &ArrayView1::from(values))
}

pub(crate) fn write_array<T: H5Type + Clone, D: Dimension>(
    group: &Group,
    name: &str,
    values: &ArrayView<'_, T, D>,
) -> hdf5::Result<()> {
    // Contiguous in memory order, as the library demands.
    let values = values.as_standard_layout();
    let shape = values.shape().to_vec();
    let builder = group.new_dataset_builder().obj_track_times(false).empty::<T>();
    let dataset = if values.is_empty() {
        builder.shape(shape).create(name)?
    } else {
        let builder = builder
            .shape(shape.clone())
            .chunk(chunk_of(&shape))
            .shuffle()
            .deflate(DEFLATE);
        builder.create(name)?
    };
    if values.is_empty() {
        return Ok(());
    }
    dataset.write_raw(values.as_slice().ok_or("array is not contiguous")?)
}

/// As [`write_array`], but neither cut into chunks nor compressed: for readers without filters.
pub(crate) fn write_contiguous<T: H5Type + Clone, D: Dimension>(
    group: &Group,
    name: &str,
    values: &ArrayView<'_, T, D>,
) -> hdf5::Result<()> {
    let values = values.as_standard_layout();
    let builder = group.new_dataset_builder().obj_track_times(false).empty::<T>();
    let dataset = builder.shape(values.shape().to_vec()).create(name)?;
    if values.is_empty() {
        return Ok(());
    }
    dataset.write_raw(values.as_slice().ok_or("array is not contiguous")?)
}

/// Whole rows of the last axes, as many as fit in a chunk; long single axes are cut.
fn chunk_of(shape: &[usize]) -> Vec<usize> {
    let mut room = CHUNK_ELEMENTS;
    let mut chunk = vec![1; shape.len()];
    for (length, &axis) in chunk.iter_mut().zip(shape).rev() {
        *length = axis.clamp(1, room.max(1));
        room /= *length;
    }
    chunk
}

pub(crate) fn write_texts<'a>(group: &Group, name: &str, texts: impl Iterator<Item = &'a str>) -> hdf5::Result<()> {
    let texts = texts.map(to_text).collect::<hdf5::Result<Vec<_>>>()?;
    let builder = group
        .new_dataset_builder()
        .obj_track_times(false)
        .empty::<VarLenUnicode>();
    let dataset = builder.shape(texts.len()).create(name)?;
    if texts.is_empty() {
        return Ok(());
    }
    dataset.write_raw(&texts)
}

pub(crate) fn write_text_attribute(object: &Location, name: &str, text: &str) -> hdf5::Result<()> {
    write_attribute(object, name, &to_text(text)?)
}

pub(crate) fn write_attribute<T: H5Type>(object: &Location, name: &str, value: &T) -> hdf5::Result<()> {
    object.new_attr::<T>().create(name)?.write_scalar(value)
}

pub(crate) fn to_text(text: &str) -> hdf5::Result<VarLenUnicode> {
    text.parse()
        .map_err(|error| hdf5::Error::Internal(format!("text '{text}': {error}")))
}
