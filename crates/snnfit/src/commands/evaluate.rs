//! `snnfit evaluate`: metrics and pictures of fitted networks on trials they were not fitted to.

mod facts;
mod history;
pub(super) mod spike_history;

use std::path::Path;

use ndarray::Axis;
use rand::Rng;
use snn_core::connectivity::CellType;
use snn_core::device::OpenDevice;
use snn_core::rng::StreamRng;

use crate::assembly::{Assembly, Part};
use crate::cli::{EvaluateArgs, Format, Global, SplitChoice};
use crate::error::Error;
use crate::evaluate::{
    EvaluationInputs, EvaluationSettings, Report, Requirement, RequirementError, SimulatedTrials, aggregate, evaluate,
};
use crate::exit_code;
use crate::few_spikes;
use crate::findings::{self, AreaRates, Finding, ParameterBounds};
use crate::fit_error::FitError;
use crate::loaded::Fitted;
use crate::objective::Comparison;
use crate::partly_observed::{self, PartlyObserved};
use crate::report::page::{self, PageInputs};
use crate::report::plots::{NeuronName, PlotInputs, WeightMatrix, write_all};
use crate::run_dir::RunDir;
use crate::trainer::comparison_by_stimulus;
use history::History;

pub(super) fn run(args: &EvaluateArgs, global: &Global) -> Result<u8, Error> {
    for (i, path) in args.runs.iter().enumerate() {
        let same = |other: &&std::path::PathBuf| other.canonicalize().ok() == path.canonicalize().ok();
        if path.exists() && args.runs[..i].iter().any(|other| same(&other)) {
            return Err(Error::Usage {
                message: format!("{} is named twice", path.display()),
                help: "each run counts once".to_owned(),
            });
        }
    }
    let device = super::open_device(args.device.choice)?;
    if device.adapter.is_some() {
        super::tell_device(args.device.choice, &device);
    }
    if args.runs.iter().all(|path| spike_history::is_one(path)) {
        if let Some(truth) = &args.truth {
            return super::truth::spike_history::run(truth, args, global, &device);
        }
        return spike_history::run(args, global, &device);
    }
    if args.compared_to.is_some() {
        return Err(Error::Usage {
            message: "--compared-to is there for [model.spike_history] only".to_owned(),
            help: "evaluate both runs; their intervals say how far they are apart".to_owned(),
        });
    }
    if !args.perturbation.is_empty() {
        return super::perturb::run(args, global, &device);
    }
    if let Some(truth) = &args.truth {
        return super::truth::run(truth, args, global, &device);
    }
    let mut reports = Vec::new();
    for path in &args.runs {
        reports.push(evaluate_run(path, args, &device)?);
    }
    let is_json = global.format == Format::Json;
    match reports.as_slice() {
        [report] if is_json => super::print_json(report)?,
        [report] => super::print(&super::visible(&report.table()))?,
        _ => {
            let all = aggregate(&reports).map_err(FitError::from)?;
            if is_json {
                super::print_json(&all)?;
            } else {
                let of_run = |report: &Report| {
                    let found = findings::text(&report.findings, usize::MAX);
                    (!found.is_empty()).then(|| format!("\n{}: {found}", report.run))
                };
                let found: Vec<String> = reports.iter().filter_map(of_run).collect();
                super::print(&super::visible(&(all.table() + &found.concat())))?;
            }
        }
    }
    check(&args.require, &reports)
}

/// Evaluates one run; writes its `metrics.json` and pictures.
fn evaluate_run(path: &Path, args: &EvaluateArgs, device: &OpenDevice) -> Result<Report, Error> {
    for requirement in &args.require {
        requirement.check_name().map_err(|error| unknown_metric(&error))?;
    }
    let (run, fitted) = Fitted::open(path, args.checkpoint, &args.data, device)?;
    super::refuse_adapter(args.device.choice, &fitted.assembly.experiment)?;
    let (part, name) = match args.split {
        SplitChoice::Test => (Part::Test, "test"),
        SplitChoice::Validation => (Part::Validation, "validation"),
        SplitChoice::Train => (Part::Train, "train"),
    };
    let comparison = comparison_by_stimulus(&fitted.assembly)?;
    let selection = fitted.assembly.trials_of(part);
    let pool = fitted.assembly.pool_of(&selection)?;
    if pool.is_empty() {
        return Err(FitError::NoTrials { part: name }.into());
    }
    let train = fitted.assembly.trials_of(Part::Train);
    let seed = fitted.assembly.experiment.seed;
    let n = args.trials.map_or(200, std::num::NonZeroUsize::get);
    let drawn = fitted.trials_like(&pool, n, &mut StreamRng::new(seed, "evaluate.trials", 0))?;
    let stimuli: Vec<usize> = drawn.iter().map(|trial| trial.stimulus).collect();
    let lengths = fitted.assembly.lengths(&drawn);
    // Before the trials are compared with anything, but after what may be refused.
    if part == Part::Test {
        run.update_manifest(|manifest| manifest.test_openings += 1)?;
    }
    let simulated = fitted.simulate(&drawn, seed, "evaluate", args.trial_chunk, &[])?;
    let inputs = EvaluationInputs {
        run: path.display().to_string(),
        split: name.to_owned(),
        checkpoint_step: fitted.state.step,
        recording: &comparison.recording,
        train: &train,
        test: &selection,
        populations: &comparison.populations,
        filters: &comparison.filters,
        has_behaviour: simulated.behaviour.is_some(),
        bin_ms: fitted.assembly.experiment.data.bin_ms,
        trial_types: &fitted.assembly.trial_types,
        traces: &fitted.assembly.experiment.data.behaviour,
        model: SimulatedTrials {
            counts: &simulated.counts,
            conditions: &stimuli,
            behaviour: simulated.behaviour.as_ref(),
            valid_bins: lengths.as_deref(),
        },
        settings: EvaluationSettings {
            min_spikes: fitted.assembly.experiment.statistics.min_spikes,
            times: fitted.assembly.times(),
            ..EvaluationSettings::default()
        },
    };
    let mut rng = StreamRng::new(seed, "evaluate.metrics", 0);
    let history = History::read(&run)?;
    let mut report = evaluate(&inputs, &mut rng).map_err(FitError::from)?;
    let partly = partly_observed::of_model(&fitted.assembly);
    if !partly.is_empty() {
        let n_recorded = comparison.recording.sessions().iter().map(|s| s.neurons.len()).sum();
        let least = fitted.assembly.experiment.statistics.min_presence;
        let all: Vec<&PartlyObserved> = partly.iter().collect();
        report.notes.push(partly_observed::in_words(&all, n_recorded, least));
    }
    report.few_spikes = few_spikes::of_model(&fitted.assembly)?;
    report.findings = found(&fitted, &inputs, &report, &history)?;
    super::write_json(&run.metrics(name), &report)?;
    let judged = Judged {
        run: &run,
        fitted: &fitted,
        comparison: &comparison,
        inputs: &inputs,
        report: &report,
        history: &history,
    };
    draw(&judged, args, &mut rng)?;
    Ok(report)
}

/// All findings, the worst first.
fn found(
    fitted: &Fitted,
    inputs: &EvaluationInputs<'_>,
    report: &Report,
    history: &History,
) -> Result<Vec<Finding>, Error> {
    let mut found = findings::of_rates(&rates(inputs)?);
    found.extend(findings::of_metrics(report, &fitted.assembly.experiment.losses));
    let n_recorded = inputs.recording.sessions().iter().map(|s| s.neurons.len()).sum();
    let least = inputs.settings.min_spikes;
    found.extend(findings::of_few_spikes(report.few_spikes.len(), n_recorded, least));
    found.extend(findings::of_parameters(&ParameterBounds::of(&fitted.rsnn)));
    found.extend(findings::of_skipped_steps(fitted.state.skipped, fitted.state.step));
    found.extend(findings::of_validations(&history.validations));
    Ok(findings::sorted(found))
}

/// Mean rates of model and recording, for neurons that stand for a unit with evaluated trials.
fn rates(inputs: &EvaluationInputs<'_>) -> Result<Vec<AreaRates>, Error> {
    let recorded = inputs
        .recording
        .rates_hz(inputs.test, inputs.bin_ms)
        .map_err(FitError::from)?;
    let (n_trials, n_bins, _) = inputs.model.counts.dim();
    let seconds = (n_trials * n_bins) as f64 * inputs.bin_ms * 1e-3;
    let spikes_of = |neuron: usize| -> u64 {
        let counts = inputs.model.counts.index_axis(Axis(2), neuron);
        counts.iter().map(|&count| u64::from(count)).sum()
    };
    let names = inputs.recording.area_names().iter();
    let mut areas: Vec<AreaRates> = names
        .map(|area| AreaRates {
            area: area.clone(),
            ..AreaRates::default()
        })
        .collect();
    for session in inputs.recording.sessions() {
        for (&neuron, &area) in session.neurons.iter().zip(&session.areas) {
            if let (Some(rates), Some(hz)) = (areas.get_mut(area), recorded.get(neuron).filter(|hz| hz.is_finite())) {
                rates.model_hz.push(spikes_of(neuron) as f64 / seconds);
                rates.recorded_hz.push(*hz);
            }
        }
    }
    Ok(areas)
}

/// An evaluation with everything that it came from.
#[derive(Clone, Copy)]
struct Judged<'a> {
    run: &'a RunDir,
    fitted: &'a Fitted,
    comparison: &'a Comparison,
    inputs: &'a EvaluationInputs<'a>,
    report: &'a Report,
    history: &'a History,
}

/// Pictures and the page.
fn draw(judged: &Judged<'_>, args: &EvaluateArgs, rng: &mut dyn Rng) -> Result<(), Error> {
    let Judged {
        run,
        fitted,
        comparison,
        inputs,
        report,
        history,
    } = *judged;
    let assembly = &fitted.assembly;
    let conditions: Vec<String> = match comparison.recording.n_conditions() {
        1 => vec!["all trials".to_owned()],
        _ => assembly
            .stimuli
            .iter()
            .map(|s| match s.movie {
                Some(movie) => format!("movie {movie}"),
                None => format!("stimulus {}", s.value),
            })
            .collect(),
    };
    let neurons = neuron_names(assembly);
    let weights = weights(fitted, &neurons)?;
    let directory = run.report(inputs.split.as_str());
    let pictures = write_all(
        &directory,
        &PlotInputs {
            evaluation: inputs,
            start_ms: assembly.sessions.first().map_or(0.0, |s| s.start_ms),
            conditions: &conditions,
            behaviour: &assembly.experiment.data.behaviour,
            neurons: &neurons,
            report,
            losses: Some(&history.losses),
            weights: Some(&weights),
        },
        rng,
    )
    .map_err(FitError::from)?;
    if let Some(modes) = &pictures.modes {
        super::write_json(&directory.join("modes.json"), modes)?;
    }
    for (name, reason) in &pictures.left_out {
        tracing::info!("no picture '{name}': {reason}");
    }
    let facts = facts::of_run(judged, args)?;
    let page = PageInputs {
        facts: &facts,
        report,
        pictures: &pictures,
    };
    page::write(&directory, &page).map_err(Error::Output)?;
    tracing::info!(
        "metrics in {}, report in {}",
        run.metrics(&inputs.split).display(),
        directory.join(page::FILE_NAME).display()
    );
    Ok(())
}

/// What the model's neurons are called: the unit each stands for, its area and type.
fn neuron_names(assembly: &Assembly) -> Vec<NeuronName> {
    let neurons = assembly.stitching.neurons.iter().zip(&assembly.spec.neurons);
    neurons
        .map(|(stitched, neuron)| {
            let kind = match neuron.cell_type {
                CellType::Excitatory => " exc",
                CellType::Inhibitory => " inh",
                CellType::Unknown => "",
            };
            let unit = stitched.source.map(|source| {
                let session = &assembly.sessions[source.session];
                format!("{}/{}", session.id, session.units[source.unit].id)
            });
            NeuronName {
                unit,
                population: format!("{}{kind}", stitched.area),
            }
        })
        .collect()
}

/// Weights `[post, pre]` summed over delays.
fn weights(fitted: &Fitted, neurons: &[NeuronName]) -> Result<WeightMatrix, Error> {
    let w = fitted.rsnn.parameters.cube("w").map_err(FitError::from)?;
    Ok(WeightMatrix {
        weights: w.sum_axis(Axis(0)).t().mapv(f64::from),
        populations: neurons.iter().map(NeuronName::group).collect(),
    })
}

fn unknown_metric(error: &RequirementError) -> Error {
    Error::Usage {
        message: error.to_string(),
        help: "metrics.json lists the names of all metrics".to_owned(),
    }
}

/// Every requirement must hold for every run.
fn check(requirements: &[Requirement], reports: &[Report]) -> Result<u8, Error> {
    let mut failed = Vec::new();
    for requirement in requirements {
        for report in reports {
            let verdict = requirement.check(report).map_err(|error| unknown_metric(&error))?;
            if !verdict.is_met {
                failed.push(format!("{}: {} (found {:.4})", report.run, requirement, verdict.value));
            }
        }
    }
    if failed.is_empty() {
        Ok(exit_code::DONE)
    } else {
        Err(Error::Requirement { failed })
    }
}
