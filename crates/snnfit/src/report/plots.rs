//! Plain SVG pictures of a fitted network and the recording it was fitted to.
//!
//! Model and data go through the same statistics as the losses and metrics (`losses::statistics`). Data are black or
//! grey, the model is orange, in every picture; colours are of the Okabe–Ito set and differ in brightness too. Not
//! here: numbers for tables ([`crate::evaluate`]).

mod activity;
mod behaviour;
mod connectivity;
mod fano;
mod intervals;
pub(in crate::report) mod losses_over_steps;
mod modes;
mod noise_correlation;
mod peaks;
mod psths;
mod raster;
pub(in crate::report) mod spikes;
pub(in crate::report) mod style;
#[cfg(test)]
mod tests;
mod variance_over_time;
pub(in crate::report) mod weights;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use data::fs::{FsError, write_atomic};
use losses::LossError;
use ndarray::Array2;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::*;
use rand::Rng;
use thiserror::Error;

use crate::evaluate::{EvaluateError, EvaluationInputs, Modes, Report, model_trial_types, modes as modes_of};
use style::Canvas;

/// Losses over a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LossHistory {
    /// Training: step and weighted losses by name.
    pub train: Vec<(u64, BTreeMap<String, f64>)>,
    /// Validation likewise.
    pub validation: Vec<(u64, BTreeMap<String, f64>)>,
    /// Each (weighted) loss of training trials in the model's place, against validation trials.
    pub floors: BTreeMap<String, f64>,
}

impl LossHistory {
    /// The sum of the losses with training trials in the model's place, where it is of the same losses as the validations'.
    pub fn floor(&self) -> Option<f64> {
        let (_, last) = self.validation.last()?;
        last.keys().eq(self.floors.keys()).then(|| self.floors.values().sum())
    }
}

/// What a neuron of the model is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeuronName {
    /// The unit it stands for, as "session/unit"; `None` for a hidden neuron.
    pub unit: Option<String>,
    /// Area and type, for instance "V1 exc".
    pub population: String,
}

impl NeuronName {
    /// Area and type, and whether the neuron is hidden.
    pub fn group(&self) -> String {
        match self.unit {
            Some(_) => self.population.clone(),
            None => format!("{} hidden", self.population),
        }
    }
}

/// Recurrent weights with the areas and types of the neurons.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightMatrix {
    /// Signed weights `[N, N]`, row: postsynaptic, column: presynaptic neuron; delay groups summed.
    pub weights: Array2<f64>,
    /// Population of each neuron `[N]`, for instance "V1 exc"; neurons of one population are drawn together.
    pub populations: Vec<String>,
}

/// Everything the pictures show.
#[derive(Debug, Clone)]
pub struct PlotInputs<'a> {
    /// The trials, as they were evaluated.
    pub evaluation: &'a EvaluationInputs<'a>,
    /// Start of the first bin relative to the alignment event, ms.
    pub start_ms: f64,
    /// Names of the stimulus conditions, by index.
    pub conditions: &'a [String],
    /// Names of the behaviour traces, by channel.
    pub behaviour: &'a [String],
    /// Names of the model's neurons `[N]`.
    pub neurons: &'a [NeuronName],
    /// The metrics of the same trials.
    pub report: &'a Report,
    /// Losses of the run, if it has any.
    pub losses: Option<&'a LossHistory>,
    /// The network's weights, if it has any.
    pub weights: Option<&'a WeightMatrix>,
}

/// What was written, and what could not be drawn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pictures {
    /// The files.
    pub files: Vec<PathBuf>,
    /// What they contain, by name.
    pub svgs: Vec<(&'static str, String)>,
    /// Pictures without content for this recording, with the reason.
    pub left_out: Vec<(&'static str, String)>,
    /// Where the model's trials lie, if the recording has types to compare them with.
    pub modes: Option<Modes>,
}

/// Why pictures can't be drawn.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlotError {
    /// A file can't be written.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The trials can't be used.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// A statistic refused its arguments.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// There is nothing to draw.
    #[error("{reason}")]
    Empty {
        /// Why.
        reason: String,
    },
    /// The drawing itself failed.
    #[error("internal error while drawing: {what}")]
    Draw {
        /// What the drawing library said.
        what: String,
    },
}

impl PlotError {
    pub(in crate::report) fn empty(reason: impl Into<String>) -> Self {
        Self::Empty { reason: reason.into() }
    }

    /// Why the picture has no content; `None` for a true error.
    pub(in crate::report) fn left_out(&self) -> Option<String> {
        match self {
            Self::Empty { reason } => Some(reason.clone()),
            Self::Loss(LossError::NoData { .. } | LossError::NoPopulation { .. } | LossError::TooFewBins { .. }) => {
                Some(self.to_string())
            }
            _ => None,
        }
    }
}

impl From<DrawingAreaErrorKind<std::io::Error>> for PlotError {
    fn from(error: DrawingAreaErrorKind<std::io::Error>) -> Self {
        Self::Draw {
            what: error.to_string(),
        }
    }
}

/// The inputs with what several pictures need.
struct Scene<'a> {
    inputs: &'a PlotInputs<'a>,
    /// Template types of the model's trials.
    model_types: Option<Vec<Option<usize>>>,
    /// Where the model's trials lie.
    modes: Option<Modes>,
}

impl Scene<'_> {
    /// The unit that a neuron stands for.
    fn unit(&self, neuron: usize) -> String {
        let unit = self.inputs.neurons.get(neuron).and_then(|name| name.unit.clone());
        unit.unwrap_or_else(|| format!("neuron {neuron}"))
    }

    /// Area and type of a neuron.
    fn group(&self, neuron: usize) -> String {
        self.inputs
            .neurons
            .get(neuron)
            .map_or("?".to_owned(), NeuronName::group)
    }

    /// How many model trials there are with all bins.
    fn complete_model_trials(&self) -> String {
        let evaluation = self.inputs.evaluation;
        let n_trials = evaluation.model.conditions.len();
        let n_complete = (0..n_trials).filter(|&k| evaluation.is_complete(k)).count();
        if n_complete == n_trials {
            format!("{n_trials} model trials")
        } else {
            format!("{n_complete} model trials that fill the window (of {n_trials})")
        }
    }

    /// How many recorded trials are shown, of which part.
    fn recorded_trials(&self) -> String {
        let evaluation = self.inputs.evaluation;
        let n_trials: usize = evaluation.test.iter().map(Vec::len).sum();
        let n_sessions = evaluation.test.iter().filter(|trials| !trials.is_empty()).count();
        let sessions = match n_sessions {
            1 => String::new(),
            n => format!(" in {n} sessions"),
        };
        format!("{n_trials} {} trials{sessions}", evaluation.split)
    }
}

/// One picture: its file name without extension, width and height, and how it is drawn.
type Picture = (
    &'static str,
    fn(&PlotInputs<'_>) -> (u32, u32),
    fn(&Scene<'_>, &Canvas<'_>) -> Result<(), PlotError>,
);

const PICTURES: [Picture; 14] = [
    ("losses", |_| (800, 520), losses_over_steps::draw),
    ("psth", |_| (860, 700), psths::draw),
    ("raster", |_| (860, 940), raster::draw),
    ("type_fractions", intervals::size_of_types, intervals::draw_types),
    ("population_activity", activity::size, activity::draw),
    ("peak_rates", |_| (800, 360), peaks::draw),
    ("modes", |_| (860, 470), modes::draw),
    (
        "feature_variance",
        intervals::size_of_sessions,
        intervals::draw_sessions,
    ),
    ("variance_over_time", |_| (800, 380), variance_over_time::draw),
    ("weights", |_| (800, 680), weights::draw),
    ("weights_by_population", connectivity::size, connectivity::draw),
    ("fano_factors", |_| (600, 620), fano::draw),
    ("noise_correlations", |_| (600, 640), noise_correlation::draw),
    ("behaviour", behaviour::size, behaviour::draw),
];

/// Draws all pictures into a directory, which is made if it is missing; files of the same names are replaced, each in
/// one step.
///
/// `losses.svg` (over steps), `psth.svg` (neurons by correlation), `raster.svg` (trials of one session),
/// `type_fractions.svg` (with intervals), `population_activity.svg` (by area and trial type), `peak_rates.svg` (histograms
/// by area), `modes.svg` (single trials in a plane), `feature_variance.svg` (by session), `variance_over_time.svg`,
/// `weights.svg`, `weights_by_population.svg` (means by area and type),
/// `fano_factors.svg` (neurons), `noise_correlations.svg` (pairs), `behaviour.svg` (by trial type). A picture without content is left out and named in the
/// result.
///
/// # Errors
/// [`PlotError::Fs`] for the files, [`PlotError::Evaluate`] and [`PlotError::Loss`] for trials that disagree.
pub fn write_all(dir: &Path, inputs: &PlotInputs<'_>, rng: &mut dyn Rng) -> Result<Pictures, PlotError> {
    std::fs::create_dir_all(dir).map_err(|source| FsError::new(dir, "create the directory", source))?;
    let scene = Scene {
        inputs,
        model_types: model_trial_types(inputs.evaluation, rng)?,
        modes: modes_of(inputs.evaluation, rng)?,
    };
    let mut pictures = Pictures::default();
    for (name, size, draw) in PICTURES {
        match render(&scene, size(inputs), draw) {
            Ok(svg) => {
                let path = dir.join(name).with_extension("svg");
                write_atomic(&path, |file| file.write_all(svg.as_bytes()))?;
                pictures.files.push(path);
                pictures.svgs.push((name, svg));
            }
            Err(error) => match error.left_out() {
                Some(reason) => pictures.left_out.push((name, reason)),
                None => return Err(error),
            },
        }
    }
    pictures.modes = scene.modes;
    Ok(pictures)
}

fn render(
    scene: &Scene<'_>,
    size: (u32, u32),
    draw: fn(&Scene<'_>, &Canvas<'_>) -> Result<(), PlotError>,
) -> Result<String, PlotError> {
    svg_of(size, |canvas| draw(scene, canvas))
}

/// A picture of so many pixels, as text.
pub(in crate::report) fn svg_of(
    size: (u32, u32),
    draw: impl FnOnce(&Canvas<'_>) -> Result<(), PlotError>,
) -> Result<String, PlotError> {
    let mut svg = String::new();
    {
        let canvas = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        canvas.fill(&WHITE)?;
        draw(&canvas)?;
        canvas.present()?;
    }
    // Names come from files; a control character would make the picture no XML.
    Ok(crate::report::shown(&svg).into_owned())
}
