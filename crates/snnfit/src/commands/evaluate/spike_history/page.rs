//! The report of a spike-history network: its pictures and page, and what they say about the run.

use ndarray::Axis;
use snn_core::models::spike_history::Layer;

use super::super::facts::options;
use super::super::history::History;
use crate::assembly::Part;
use crate::cli::EvaluateArgs;
use crate::config::checked::spike_history::{Encoder, Kernels as KernelsConfig};
use crate::error::Error;
use crate::fit_error::FitError;
use crate::provenance;
use crate::report::page::{FILE_NAME, PopulationFacts, RunFacts};
use crate::report::spike_history::plots::{Kernels, Scene, write_all};
use crate::report::spike_history::{PageInputs, write};
use crate::run_dir::RunDir;
use crate::spike_history::evaluate::{Compared, SpikeHistoryReport};
use crate::spike_history::filters::{Filters, log_odds_per_potential};
use crate::spike_history::fitted::Fitted;

/// A configuration is a few kB.
const MAX_RUN_TOML_BYTES: u64 = 1 << 20;
/// Neurons whose filters are drawn.
const MOST_FILTERS: usize = 9;

/// An evaluation with everything that it came from.
#[derive(Clone, Copy)]
pub(super) struct Judged<'a> {
    pub(super) run: &'a RunDir,
    pub(super) fitted: &'a Fitted,
    pub(super) part: (Part, &'a str),
    pub(super) compared: &'a [Compared],
    pub(super) report: &'a SpikeHistoryReport,
    pub(super) history: &'a History,
}

/// Writes pictures and page.
pub(super) fn draw(judged: &Judged<'_>, args: &EvaluateArgs) -> Result<(), Error> {
    let Judged { run, fitted, part, .. } = *judged;
    let (experiment, recorded) = (&fitted.experiment, &fitted.recorded);
    let bin_ms = experiment.data.bin_ms;
    let first = experiment.statistics.skip.steps.max(fitted.rollouts().lead);
    let start = |one: &Compared| recorded.sessions[one.session].start_ms + first as f64 * bin_ms;
    let scene = Scene {
        report: judged.report,
        compared: judged.compared,
        start_ms: judged.compared.iter().map(start).collect(),
        bin_ms,
        smooth: experiment.statistics.smooth.steps,
        windows: experiment.statistics.count_windows.iter().map(|w| w.steps).collect(),
        losses: &judged.history.losses,
        kernels: kernels(fitted)?,
        filters: filters(judged)?,
    };
    let directory = run.report(part.1);
    let pictures = write_all(&directory, &scene).map_err(FitError::from)?;
    for (name, reason) in &pictures.left_out {
        tracing::info!("no picture '{name}': {reason}");
    }
    let n_trials = recorded.sessions.iter().map(|s| s.trials(part.0).len()).sum();
    let facts = facts(judged, args)?;
    let inputs = PageInputs {
        facts: &facts,
        report: judged.report,
        pictures: &pictures,
        n_trials,
    };
    write(&directory, &inputs).map_err(Error::Output)?;
    tracing::info!(
        "metrics in {}, report in {}",
        run.metrics(part.1).display(),
        directory.join(FILE_NAME).display()
    );
    Ok(())
}

/// Couplings in log-odds.
fn kernels(fitted: &Fitted) -> Result<Kernels, Error> {
    let network = &fitted.model.network;
    let gain = log_odds_per_potential(&network.spec);
    let values = network.kernels().map_err(FitError::from)?;
    Ok(Kernels {
        ids: fitted.recorded.neuron_ids(&network.spec),
        areas: fitted.recorded.neuron_areas(&network.spec),
        lag_ms: (1..=values.len_of(Axis(0)))
            .map(|lag| lag as f64 * fitted.experiment.data.bin_ms)
            .collect(),
        values: values.mapv(|w| f64::from(w) * gain),
    })
}

/// Filters of all neurons, or of those whose trial averages are fitted best.
fn filters(judged: &Judged<'_>) -> Result<Filters, Error> {
    let fitted = judged.fitted;
    let n = fitted.recorded.neurons.len();
    let mut chosen: Vec<usize> = (0..n).collect();
    if n > MOST_FILTERS {
        let of_rows = judged
            .compared
            .iter()
            .flat_map(|one| fitted.recorded.sessions[one.session].neurons.iter().copied());
        let mut ranked: Vec<(f64, usize)> = of_rows
            .zip(&judged.report.neurons)
            .map(|(neuron, row)| (row.psth_correlation.unwrap_or(f64::NEG_INFINITY), neuron))
            .collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut best: Vec<usize> = Vec::new();
        for (_, neuron) in ranked.into_iter().chain(chosen.iter().map(|&neuron| (0.0, neuron))) {
            if best.len() < MOST_FILTERS && !best.contains(&neuron) {
                best.push(neuron);
            }
        }
        chosen = best;
    }
    let scale = match &fitted.experiment.model.encoder {
        Some(Encoder::Stimulus(stimulus)) => stimulus.scale,
        _ => 1.0,
    };
    let units = (scale, fitted.experiment.data.bin_ms);
    let device = fitted.rollouts().device;
    Ok(Filters::new(
        &fitted.model,
        &fitted.recorded,
        device,
        judged.part.0,
        units,
        &chosen,
    )?)
}

fn facts(judged: &Judged<'_>, args: &EvaluateArgs) -> Result<RunFacts, Error> {
    let Judged {
        run, fitted, history, ..
    } = *judged;
    let manifest = run.manifest()?;
    let recorded = &fitted.recorded;
    let n_of = |part: Part| recorded.sessions.iter().map(|s| s.trials(part).len()).sum::<usize>();
    let best = history.validations.totals.iter().filter(|(_, value)| value.is_finite());
    Ok(RunFacts {
        run: run.path().display().to_string(),
        recordings: manifest.data,
        n_sessions: (recorded.sessions.len(), recorded.sessions.len()),
        populations: populations(fitted),
        trials: vec![
            ("train", n_of(Part::Train)),
            ("validation", n_of(Part::Validation)),
            ("test", n_of(Part::Test)),
        ],
        model: model(fitted),
        losses: fitted
            .experiment
            .losses
            .iter()
            .map(|loss| (loss.name().to_owned(), loss.weight()))
            .collect(),
        checkpoint_step: fitted.step,
        last_step: manifest.attempts.last().and_then(|attempt| attempt.last_step),
        stop_reason: manifest.attempts.last().and_then(|attempt| attempt.stop_reason),
        verdict: crate::findings::verdict(&history.validations),
        best: best.copied().min_by(|a, b| a.1.total_cmp(&b.1)),
        floor: history.losses.floor(),
        seconds: history.seconds,
        device: manifest.device,
        threads: manifest.threads,
        trained_by: (manifest.version, manifest.commit),
        evaluated_by: (provenance::VERSION.to_owned(), provenance::COMMIT.to_owned()),
        seed: manifest.seed,
        test_openings: manifest.test_openings,
        argv: manifest
            .attempts
            .first()
            .map(|attempt| attempt.argv.clone())
            .unwrap_or_default(),
        options: options(args),
        run_toml: data::fs::read_text(&run.run_toml(), MAX_RUN_TOML_BYTES).map_err(Error::Output)?,
        left_out: manifest.left_out,
        few_spikes: Vec::new(),
        partly_observed: Vec::new(),
        warnings: manifest.warnings,
    })
}

fn populations(fitted: &Fitted) -> Vec<PopulationFacts> {
    let spec = &fitted.model.network.spec;
    let mut found: Vec<PopulationFacts> = Vec::new();
    let areas = fitted.recorded.neuron_areas(spec);
    for (n, area) in areas.into_iter().enumerate() {
        let is_hidden = n >= spec.n_visible;
        let at = found.iter().position(|p| p.area == area).unwrap_or_else(|| {
            found.push(PopulationFacts {
                area,
                cell_type: "unknown",
                n_recorded: 0,
                n_hidden: 0,
            });
            found.len() - 1
        });
        found[at].n_recorded += usize::from(!is_hidden);
        found[at].n_hidden += usize::from(is_hidden);
    }
    found
}

fn functions(kernels: KernelsConfig) -> String {
    match kernels {
        KernelsConfig::Raw => "a value for each lag".to_owned(),
        KernelsConfig::RaisedCosine { n, .. } => format!("{n} raised cosines"),
    }
}

/// The network and its parts in a few words.
fn model(fitted: &Fitted) -> Vec<(&'static str, String)> {
    let model = &fitted.experiment.model;
    let hidden = match model.n_hidden {
        0 => "no hidden neurons".to_owned(),
        n => format!("{n} hidden neurons"),
    };
    let encoder = match &model.encoder {
        None => "none: bias and past spikes alone".to_owned(),
        Some(Encoder::Bins) => "a drive of its own for each bin of each stimulus".to_owned(),
        Some(Encoder::Stimulus(stimulus)) => {
            let layers: Vec<String> = stimulus.layers.iter().map(layer).collect();
            format!(
                "the stimulus of the last {} ms ({}), {}",
                (stimulus.history.ms * 10.0).round() / 10.0,
                functions(stimulus.kernels),
                if layers.is_empty() {
                    "linear".to_owned()
                } else {
                    format!("then {}, then linear", layers.join(", "))
                }
            )
        }
    };
    vec![
        (
            "Network",
            format!(
                "spikes of the last {} ms ({} lags, {}), threshold {}, temperature {}, {hidden}",
                (model.history.ms * 10.0).round() / 10.0,
                model.history.steps,
                functions(model.kernels),
                model.threshold,
                model.temperature,
            ),
        ),
        (
            "Neurons of sessions",
            if model.shared_units {
                "units of one name and area are one neuron in all sessions".to_owned()
            } else {
                "each session has its own".to_owned()
            },
        ),
        ("Encoder", encoder),
        ("Bins", format!("{} ms", fitted.experiment.data.bin_ms)),
        (
            "Compared",
            format!(
                "repeated stimuli from {} ms on, trial averages smoothed over {} ms",
                (fitted.experiment.statistics.skip.ms * 10.0).round() / 10.0,
                (fitted.experiment.statistics.smooth.ms * 10.0).round() / 10.0
            ),
        ),
    ]
}

fn layer(layer: &Layer) -> String {
    match *layer {
        Layer::Conv { filters, kernel } => format!("convolution of {filters} filters of {kernel} pixels"),
        Layer::MaxPool { size, stride } => format!("maximum of {size} pixels every {stride}"),
        Layer::Dense { units } => format!("{units} units"),
    }
}
