//! Pictures of a fitted spike-history network beside the recording.
//!
//! Data are black, the model orange, as in [`crate::report::plots`]; what training trials or averages of other trials reach is
//! blue. Strengths are in units of the logarithm of the odds of a spike, so that they compare between neurons, fits and
//! thresholds. Not here: numbers for tables ([`crate::spike_history::evaluate`]).

mod correlations;
mod couplings;
mod filters;
mod horizons;
mod neurons;
mod psths;
mod rasters;

use std::io::Write;
use std::path::Path;

use data::fs::{FsError, write_atomic};
use ndarray::Array3;

use crate::report::plots::style::Canvas;
use crate::report::plots::{LossHistory, Pictures, PlotError, losses_over_steps, svg_of};
use crate::spike_history::evaluate::{Compared, SpikeHistoryReport};
use crate::spike_history::filters::Filters;

/// Kernels between neurons.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernels {
    /// Neurons, `[N]`.
    pub ids: Vec<String>,
    /// Their areas, `[N]`.
    pub areas: Vec<String>,
    /// Lags, ms, `[D]`.
    pub lag_ms: Vec<f64>,
    /// Change of the log-odds of a spike, `[D, pre, post]`.
    pub values: Array3<f64>,
}

/// Everything that the pictures show.
#[derive(Debug, Clone)]
pub struct Scene<'a> {
    /// The numbers.
    pub report: &'a SpikeHistoryReport,
    /// Recorded and simulated trials of each repeated stimulus.
    pub compared: &'a [Compared],
    /// Start of the first bin of each of these that is compared, ms.
    pub start_ms: Vec<f64>,
    /// Width of a bin, ms.
    pub bin_ms: f64,
    /// Bins over which trial averages are smoothed.
    pub smooth: usize,
    /// Count windows of noise correlations, bins.
    pub windows: Vec<usize>,
    /// Losses over steps.
    pub losses: &'a LossHistory,
    /// Couplings.
    pub kernels: Kernels,
    /// What drives the neurons.
    pub filters: Filters,
}

/// A neuron in the trials of a repeated stimulus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Which of the compared stimuli.
    group: usize,
    /// Unit of its session.
    unit: usize,
    /// Row of the report's table of neurons.
    row: usize,
}

impl Scene<'_> {
    /// All of them, in the order of the report.
    fn places(&self) -> Vec<Place> {
        let groups = self.compared.iter().enumerate();
        let all = groups.flat_map(|(group, one)| (0..one.data.dim().2).map(move |unit| (group, unit)));
        all.enumerate()
            .map(|(row, (group, unit))| Place { group, unit, row })
            .collect()
    }

    /// Up to `most` of them, ranked by the correlation of trial averages: all, or as many of the best, the middling and the worst.
    fn ranked(&self, most: usize) -> Vec<(Place, &'static str)> {
        let r = |place: &Place| {
            let row = self.report.neurons.get(place.row);
            row.and_then(|n| n.psth_correlation).unwrap_or(f64::NEG_INFINITY)
        };
        let mut places = self.places();
        places.sort_by(|a, b| r(b).total_cmp(&r(a)).then(a.row.cmp(&b.row)));
        let n = places.len();
        if n <= most {
            return places.into_iter().map(|place| (place, "")).collect();
        }
        let each = most / 3;
        let from = (n - each) / 2;
        let parts = [("best", 0..each), ("middle", from..from + each), ("worst", n - each..n)];
        parts
            .into_iter()
            .flat_map(|(name, range)| {
                places[range]
                    .iter()
                    .map(move |&place| (place, name))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// Name of a neuron, with its session where several stimuli are compared.
    fn name(&self, place: Place) -> String {
        let Some(neuron) = self.report.neurons.get(place.row) else {
            return "?".to_owned();
        };
        if self.compared.len() > 1 && !neuron.neuron.starts_with(&neuron.session) {
            format!("{} ({})", neuron.neuron, neuron.session)
        } else {
            neuron.neuron.clone()
        }
    }

    fn n_trials(&self) -> (usize, usize) {
        let of = |count: fn(&Compared) -> usize| self.compared.iter().map(count).sum();
        (of(|one| one.data.dim().0), of(|one| one.model.dim().0))
    }

    /// Says how many trials of how many stimuli are shown.
    fn trials(&self) -> String {
        let (data, model) = self.n_trials();
        let stimuli = match self.compared.len() {
            1 => String::new(),
            n => format!(" of {n} repeated stimuli"),
        };
        format!("{data} {} trials, {model} model trials{stimuli}", self.report.split)
    }

    fn check_repeats(&self) -> Result<(), PlotError> {
        if self.compared.is_empty() {
            return Err(PlotError::empty(format!(
                "no stimulus is shown in 4 {} trials of a session",
                self.report.split
            )));
        }
        Ok(())
    }
}

type Draw = fn(&Scene<'_>, &Canvas<'_>) -> Result<(), PlotError>;

/// One picture: its file name without extension, its size, and how it is drawn.
type Picture = (&'static str, fn(&Scene<'_>) -> (u32, u32), Draw);

const PICTURES: [Picture; 9] = [
    (
        "losses",
        |_| (800, 520),
        |scene, canvas| losses_over_steps::draw_history(scene.losses, canvas),
    ),
    ("psth", psths::size, psths::draw),
    ("raster", rasters::size, rasters::draw),
    ("neurons", |_| (860, 380), neurons::draw),
    ("noise_correlations", correlations::size, correlations::draw),
    ("multi_step", |_| (720, 440), horizons::draw),
    ("filters", filters::size, filters::draw),
    ("couplings", couplings::size, couplings::draw),
    ("self_history", couplings::size_of_self, couplings::draw_self),
];

/// Draws all pictures into a directory, which is made if it is missing; files of the same names are replaced, each in one step.
/// A picture without content is left out and named in the result.
///
/// # Errors
/// [`PlotError::Fs`] for the files, [`PlotError::Draw`] if the drawing itself fails.
pub fn write_all(dir: &Path, scene: &Scene<'_>) -> Result<Pictures, PlotError> {
    std::fs::create_dir_all(dir).map_err(|source| FsError::new(dir, "create the directory", source))?;
    let mut pictures = Pictures::default();
    for (name, size, draw) in PICTURES {
        match svg_of(size(scene), |canvas| draw(scene, canvas)) {
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
    Ok(pictures)
}
