//! Spike counts in HDF5 arrays, described by options or by a TOML text of the same keys.

mod chosen;

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array2, Array3, Axis, Ix2, Ix3};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::axes;
use crate::error::{DataError, Finding, Findings};
use crate::file::optional_indices;
use crate::h5::{self, Data, Found, Node};
use crate::recording::{Activity, CellType, Recording, Session, StimulusMovies, Trial, Unit};
use crate::trial_events::TrialEvents;
use crate::validate::{check, refuse_problems};

/// What the arrays of a file mean.
///
/// ```toml
/// bin_ms = 1.667
/// [[sessions]]
/// id = "repeated"
/// spikes = "/train_repeated/spikes"
/// spikes_axes = "trial,time,neuron"
/// stimulus = "/train_repeated/stimulus"
/// stimulus_axes = "time,channel"
/// area = "retina"
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinnedImport {
    /// Bin width (ms), taken exactly as given.
    pub bin_ms: f64,
    /// Left edge of the first bin (ms) relative to the alignment event.
    #[serde(default)]
    pub start_ms: f64,
    /// One entry per session.
    pub sessions: Vec<BinnedSource>,
}

/// Where the arrays of one session are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinnedSource {
    /// Name the session gets.
    pub id: String,
    /// Dataset of spike counts: integers, booleans, or floats that are whole numbers. In float arrays,
    /// bins in which every neuron is NaN up to the end of the trial are padding.
    pub spikes: String,
    /// Its axes, `trial`, `time` and `neuron`, in stored order, separated by commas.
    #[serde(default = "default_spikes_axes")]
    pub spikes_axes: String,
    /// Dataset of the stimulus.
    #[serde(default)]
    pub stimulus: Option<String>,
    /// Its axes: `time` and `channel` for one movie that every trial shows, with `trial` for one per
    /// trial (equal ones are stored once).
    #[serde(default)]
    pub stimulus_axes: Option<String>,
    /// Area of all units.
    #[serde(default)]
    pub area: Option<String>,
    /// Dataset with the area of each unit, instead of `area`.
    #[serde(default)]
    pub areas: Option<String>,
    /// Cell type of all units; unknown if nothing is said.
    #[serde(default)]
    pub cell_type: Option<CellType>,
    /// Dataset with the cell type of each unit, instead of `cell_type`.
    #[serde(default)]
    pub cell_types: Option<String>,
    /// Type of all trials; `trial` if nothing is said.
    #[serde(default)]
    pub trial_type: Option<String>,
    /// Dataset with the type of each trial (texts or integers), instead of `trial_type`.
    #[serde(default)]
    pub trial_types: Option<String>,
    /// Dataset with the stimulus value of each trial; 0 if nothing is said.
    #[serde(default)]
    pub stimulus_values: Option<String>,
    /// Dataset with the number of valid bins of each trial, −1 for all; all if nothing is said.
    #[serde(default)]
    pub valid_bins: Option<String>,
    /// Condition of the trials that are taken, an [expression](super::expression) of `trial`, their number from 0.
    #[serde(default)]
    pub trials: Option<String>,
    /// Condition of the units that are taken, an expression of `unit`, their number from 0, which stays their name.
    #[serde(default)]
    pub units: Option<String>,
}

fn default_spikes_axes() -> String {
    "trial,time,neuron".to_owned()
}

impl BinnedImport {
    /// Reads the TOML form; `subject` names it in errors, usually a path.
    ///
    /// # Errors
    /// [`DataError::Parse`] with line and column.
    pub fn from_toml(subject: &str, text: &str) -> Result<Self, DataError> {
        toml::from_str(text).map_err(|error| DataError::Parse {
            subject: subject.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })
    }
}

/// Makes a recording from binned arrays in an HDF5 file. Allocates O(K·T·(N + C)).
///
/// Trial k is put at k·T·bin on the clock of the session, which the file doesn't know.
///
/// # Errors
/// [`DataError::Fs`], [`DataError::NotHdf5`], or [`DataError::Invalid`] with every problem of the
/// arrays, such as axes that disagree, values that are no counts, or lists of the wrong length.
pub fn import_binned(path: &Path, import: &BinnedImport) -> Result<Recording, DataError> {
    let subject = path.display().to_string();
    let file = h5::open(path)?;
    let root = Node::root(&file).map_err(|finding| DataError::Invalid {
        subject: subject.clone(),
        problems: vec![finding],
    })?;
    let mut findings = Findings::default();
    let mut sessions = Vec::new();
    for source in &import.sessions {
        let session = read_session(&root, source, import, &mut findings);
        sessions.extend(session.and_then(|session| chosen::chosen(session, source, &mut findings)));
    }
    let recording = Recording { sessions };
    // What could be read is checked, whatever else could not.
    let mut sense = check(&recording).problems;
    if recording.sessions.is_empty() && !findings.problems.is_empty() {
        // That there is no session is then a consequence, not a second problem.
        sense.clear();
    }
    findings.problems.append(&mut sense);
    refuse_problems(subject, findings.problems)?;
    Ok(recording)
}

/// Shape `[K, T, N]` of the counts; `None` where they can't be read, which leaves lengths unchecked.
type Shape = Option<[usize; 3]>;

fn read_session(root: &Node, source: &BinnedSource, import: &BinnedImport, findings: &mut Findings) -> Option<Session> {
    let counts = findings.keep(read_counts(root, source));
    let shape: Shape = counts
        .as_ref()
        .map(|(counts, _)| [0, 1, 2].map(|axis| counts.shape()[axis]));
    let n_rows = shape.map(|[n_trials, ..]| n_trials);
    let units = read_units(root, source, shape.map(|[.., n_units]| n_units), findings);
    let movies = findings.keep(read_movies(root, source, shape));
    let trial_types = findings.keep(read_trial_types(root, source, n_rows));
    let stimulus = column(root, source.stimulus_values.as_ref(), n_rows, Data::floats_1d);
    let stimulus = findings.keep(stimulus);
    let valid = findings.keep(read_valid_bins(root, source, n_rows));
    let (counts, padding) = counts?;
    let n_bins = counts.shape()[1];
    let (movies, movie_of_trial) = movies?;
    let (trial_types, stimulus, valid) = (trial_types?, stimulus?, valid?);
    let duration_s = n_bins as f64 * import.bin_ms / 1000.0;
    let valid_of = |k: usize| {
        let stated = valid.as_ref().and_then(|valid| valid.get(k).copied().flatten());
        stated.or_else(|| padding.get(k).copied().flatten())
    };
    let trial = |(k, trial_type): (usize, String)| Trial {
        start_s: k as f64 * duration_s,
        stop_s: (k + 1) as f64 * duration_s,
        align_s: k as f64 * duration_s - import.start_ms / 1000.0,
        stimulus: stimulus
            .as_ref()
            .and_then(|values| values.get(k).copied())
            .unwrap_or(0.0),
        trial_type,
        movie: movie_of_trial.get(k).copied(),
        valid_bins: valid_of(k),
    };
    Some(Session {
        id: source.id.clone(),
        units: units?,
        trials: trial_types.into_iter().enumerate().map(trial).collect(),
        events: TrialEvents::default(),
        behaviour: BTreeMap::new(),
        stimulus: movies.map(|values| StimulusMovies {
            values,
            bin_ms: import.bin_ms,
            start_ms: import.start_ms,
        }),
        activity: Activity::Binned {
            counts,
            bin_ms: import.bin_ms,
            start_ms: import.start_ms,
            presence: None,
        },
    })
}

/// Valid bins of each trial, of which −1 means all (or as many as are not NaN).
fn read_valid_bins(root: &Node, source: &BinnedSource, n_rows: Option<usize>) -> Found<Option<Vec<Option<usize>>>> {
    column(root, source.valid_bins.as_ref(), n_rows, |data| {
        optional_indices(&data.integers_1d()?, &data.at)
    })
}

/// Counts `[K, T, N]`, and the valid bins of trials that end in NaN.
fn read_counts(root: &Node, source: &BinnedSource) -> Found<(Array3<u8>, Vec<Option<usize>>)> {
    let data = root.find(&source.spikes)?;
    let wanted: [&[&str]; 3] = [&["trial"], &["time", "bin"], &["neuron", "unit"]];
    let order = axes::parse(&source.spikes_axes, wanted, &data.at)?;
    let length = |axis: usize| data.shape.get(axis).copied().unwrap_or(0);
    // NaN per trial and bin, made when the first one is met.
    let mut n_missing: Option<Array2<usize>> = None;
    let counts = data.counts_3d(|index| {
        let [k, t, _] = order.map(|axis| index[axis]);
        let shape = (length(order[0]), length(order[1]));
        n_missing.get_or_insert_with(|| Array2::zeros(shape))[[k, t]] += 1;
        Ok(())
    })?;
    let mut counts = counts.permuted_axes(order);
    if !counts.is_standard_layout() {
        counts = counts.as_standard_layout().into_owned();
    }
    let padding = match n_missing {
        Some(n_missing) => padding(&n_missing, counts.shape()[2], &data.at)?,
        None => Vec::new(),
    };
    Ok((counts, padding))
}

/// Valid bins of each trial (`None`: all), from the number of NaN per trial and bin.
fn padding(n_missing: &Array2<usize>, n_units: usize, at: &str) -> Found<Vec<Option<usize>>> {
    let n_bins = n_missing.ncols();
    let mut valid_bins = Vec::with_capacity(n_missing.nrows());
    for (k, row) in n_missing.outer_iter().enumerate() {
        let n_padded = row.iter().rev().take_while(|&&n| n == n_units).count();
        let n_valid = n_bins - n_padded;
        if let Some(t) = row.iter().take(n_valid).position(|&n| n > 0) {
            let message = format!(
                "trial {k}, bin {t} holds NaN; only bins at the end of a trial, NaN in all neurons, are padding"
            );
            return Err(Finding::new(at, message));
        }
        valid_bins.push((n_padded > 0).then_some(n_valid));
    }
    Ok(valid_bins)
}

/// Reads a list with one entry per row of something; `None` if no dataset is named.
fn column<T>(
    root: &Node,
    path: Option<&String>,
    n_rows: Option<usize>,
    read: impl FnOnce(&Data) -> Found<Vec<T>>,
) -> Found<Option<Vec<T>>> {
    let Some(path) = path else { return Ok(None) };
    let data = root.find(path)?;
    let values = read(&data)?;
    match n_rows {
        Some(n_rows) if values.len() != n_rows => {
            let message = format!("{} rows; the spikes ask for {n_rows}", values.len());
            Err(Finding::new(&data.at, message))
        }
        _ => Ok(Some(values)),
    }
}

fn refuse_both<A, B>(source: &BinnedSource, one: (&str, &Option<A>), list: (&str, &Option<B>)) -> Found<()> {
    if one.1.is_some() && list.1.is_some() {
        let at = format!("session '{}'", source.id);
        let message = format!("'{}' and '{}' are both given; give one", one.0, list.0);
        return Err(Finding::new(at, message));
    }
    Ok(())
}

fn read_units(
    root: &Node,
    source: &BinnedSource,
    n_units: Option<usize>,
    findings: &mut Findings,
) -> Option<Vec<Unit>> {
    let areas = read_areas(root, source, n_units);
    let cell_types = read_cell_types(root, source, n_units);
    let (areas, cell_types) = (findings.keep(areas), findings.keep(cell_types));
    let unit = |(n, (area, cell_type)): (usize, (String, CellType))| Unit {
        id: n.to_string(),
        area,
        cell_type,
        firing_rate_hz: None,
    };
    let units = areas?.into_iter().zip(cell_types?).enumerate().map(unit);
    Some(units.collect())
}

fn read_areas(root: &Node, source: &BinnedSource, n_units: Option<usize>) -> Found<Vec<String>> {
    refuse_both(source, ("area", &source.area), ("areas", &source.areas))?;
    if let Some(areas) = column(root, source.areas.as_ref(), n_units, Data::texts_1d)? {
        return Ok(areas);
    }
    let Some(area) = &source.area else {
        let at = format!("session '{}'", source.id);
        let message = "no area: give 'area' for all units, or 'areas' for a dataset";
        return Err(Finding::new(at, message));
    };
    Ok(vec![area.clone(); n_units.unwrap_or(0)])
}

fn read_cell_types(root: &Node, source: &BinnedSource, n_units: Option<usize>) -> Found<Vec<CellType>> {
    let one = ("cell_type", &source.cell_type);
    refuse_both(source, one, ("cell_types", &source.cell_types))?;
    let path = source.cell_types.as_ref();
    let Some(names) = column(root, path, n_units, Data::texts_1d)? else {
        let cell_type = source.cell_type.unwrap_or(CellType::Unknown);
        return Ok(vec![cell_type; n_units.unwrap_or(0)]);
    };
    let parse = |(n, name): (usize, &String)| {
        CellType::from_name(name).ok_or_else(|| {
            let at = format!("{}, unit {n}", source.cell_types.as_deref().unwrap_or(""));
            let message = format!(
                "unknown cell type '{}'; expected 'excitatory', 'inhibitory' or 'unknown'",
                name.escape_debug()
            );
            Finding::new(at, message)
        })
    };
    names.iter().enumerate().map(parse).collect()
}

fn read_trial_types(root: &Node, source: &BinnedSource, n_trials: Option<usize>) -> Found<Vec<String>> {
    let one = ("trial_type", &source.trial_type);
    refuse_both(source, one, ("trial_types", &source.trial_types))?;
    let types = column(root, source.trial_types.as_ref(), n_trials, |data| {
        if data.kind == h5::Kind::Integer {
            let numbers = data.integers_1d()?;
            Ok(numbers.into_iter().map(|n| n.to_string()).collect())
        } else {
            data.texts_1d()
        }
    })?;
    Ok(types.unwrap_or_else(|| {
        let one = source.trial_type.as_deref().unwrap_or("trial");
        vec![one.to_owned(); n_trials.unwrap_or(0)]
    }))
}

/// Distinct movies `[S, T, C]`, and which one each trial shows.
type Movies = (Option<Array3<f32>>, Vec<usize>);

fn read_movies(root: &Node, source: &BinnedSource, shape: Shape) -> Found<Movies> {
    let Some(path) = &source.stimulus else {
        return match source.stimulus_axes {
            None => Ok((None, Vec::new())),
            Some(_) => Err(Finding::new(
                format!("session '{}'", source.id),
                "'stimulus_axes' without 'stimulus'",
            )),
        };
    };
    let data = root.find(path)?;
    let text = source.stimulus_axes.as_deref().ok_or_else(|| {
        let message = "give 'stimulus_axes', such as \"time,channel\" or \"trial,time,channel\"";
        Finding::new(&data.at, message)
    })?;
    let time: &[&str] = &["time", "bin"];
    let channel: &[&str] = &["channel", "pixel"];
    let (movies, is_shared) = if axes::count(text) == 2 {
        let order = axes::parse(text, [time, channel], &data.at)?;
        let movie = data.floats32::<Ix2>("time and channel")?;
        (movie.permuted_axes(order).insert_axis(Axis(0)), true)
    } else {
        let order = axes::parse(text, [&["trial"], time, channel], &data.at)?;
        let movies = data.floats32::<Ix3>("trial, time and channel")?;
        (movies.permuted_axes(order), false)
    };
    let n_trials = shape.map_or(0, |[n_trials, ..]| n_trials);
    if let Some([n_trials, n_bins, _]) = shape
        && (movies.shape()[1] != n_bins || (!is_shared && movies.shape()[0] != n_trials))
    {
        let message = format!(
            "{} movies of {} bins for {n_trials} trials of {n_bins} bins",
            movies.shape()[0],
            movies.shape()[1]
        );
        return Err(Finding::new(&data.at, message));
    }
    if is_shared {
        let movies = movies.as_standard_layout().to_owned();
        return Ok((Some(movies), vec![0; n_trials]));
    }
    Ok(store_once(&movies))
}

/// Keeps one of equal movies.
fn store_once(movies: &Array3<f32>) -> Movies {
    let mut known: BTreeMap<[u8; 32], usize> = BTreeMap::new();
    let mut first_trials = Vec::new();
    let mut movie_of_trial = Vec::new();
    for (k, movie) in movies.outer_iter().enumerate() {
        let mut hasher = Sha256::new();
        for value in movie {
            // Adding zero turns −0 into 0, which is equal but has other bytes.
            hasher.update((value + 0.0).to_le_bytes());
        }
        let index = *known.entry(hasher.finalize().into()).or_insert_with(|| {
            first_trials.push(k);
            first_trials.len() - 1
        });
        movie_of_trial.push(index);
    }
    let distinct = movies.select(Axis(0), &first_trials);
    let distinct = distinct.as_standard_layout().to_owned();
    (Some(distinct), movie_of_trial)
}
