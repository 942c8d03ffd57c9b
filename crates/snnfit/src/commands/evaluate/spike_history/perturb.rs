//! `snnfit evaluate` of a spike-history network with a perturbation: the same trials without and with it, and what it changes.

use snn_core::device::OpenDevice;
use snn_core::rng::StreamRng;

use crate::assembly::Part;
use crate::cli::{EvaluateArgs, Format, Global};
use crate::commands::spike_history::{chunk, trials_of};
use crate::error::Error;
use crate::evaluate::perturbation::{Pair, PerturbationReport, SCHEMA};
use crate::evaluate::{EvaluationSettings, LeftOutMetric};
use crate::exit_code;
use crate::fit_error::FitError;
use crate::memory::{self, BatchSize};
use crate::perturbation::{SpikeHistoryPlan, Time};
use crate::spike_history::fitted::Fitted;
use crate::spike_history::recorded::Recorded;
use crate::spike_history::simulated::Trials;

/// Compares perturbed with unperturbed trials of one run; writes `perturbation.json`, or
/// `perturbation-NAME.json`. Stimuli are those of training trials: no test trial is opened.
pub(super) fn run(args: &EvaluateArgs, global: &Global, device: &OpenDevice) -> Result<u8, Error> {
    let [path] = args.runs.as_slice() else {
        return Err(Error::Usage {
            message: format!(
                "{} runs are named, but a perturbation is of one network",
                args.runs.len()
            ),
            help: "evaluate the perturbation of one run at a time".to_owned(),
        });
    };
    if !args.against.is_empty() {
        return Err(Error::Usage {
            message: "--against is there for [model.rsnn] only".to_owned(),
            help: "compare perturbation.json with the recording yourself, or leave it out".to_owned(),
        });
    }
    let (run, fitted) = Fitted::open(path, args.checkpoint, &args.data, device.clone())?;
    let (recorded, spec) = (&fitted.recorded, &fitted.model.network.spec);
    let session = session_of(recorded, args.session.as_deref())?;
    let training = recorded.sessions[session].trials(Part::Train);
    let n = args.trials.map_or(200, std::num::NonZeroUsize::get);
    let bins = training
        .iter()
        .take(n)
        .map(|&k| recorded.sessions[session].valid_bins[k])
        .min()
        .unwrap_or(0);
    memory::check(BatchSize {
        n_trials: n.saturating_mul(2),
        n_steps: bins,
        n_neurons: spec.n_neurons(),
        bytes_per_value: memory::COUNT,
    })?;
    let shown = trials_of(training, n);
    if bins == 0 {
        return Err(FitError::NoTrials { part: "training" }.into());
    }
    let bin_ms = fitted.experiment.data.bin_ms;
    let start_ms = recorded.sessions[session].start_ms;
    let plan = SpikeHistoryPlan::new(&args.perturbation, recorded, spec, &Time::new(start_ms, bin_ms, bins))?;
    for described in &plan.described {
        tracing::info!("{}", described.line());
    }
    tracing::info!(
        "stimuli of the {} training trials of session '{}', {bins} bins each",
        training.len(),
        recorded.sessions[session].id
    );
    let simulate = |perturbations| {
        fitted.rollouts().trials(&Trials {
            session,
            shown: &shown,
            bins,
            clamped: 0,
            chunk: chunk(args.trial_chunk),
            perturbations,
            seed: fitted.experiment.seed,
            stream: "evaluate.perturbation",
        })
    };
    let (baseline, perturbed) = (simulate(&[])?, simulate(&plan.perturbations)?);
    let pair = Pair {
        counts: [&baseline, &perturbed],
        behaviour: None,
        bin_ms,
        start_ms,
        n_resamples: EvaluationSettings::default().n_resamples,
        perturbations: &plan.described,
        ids: &plan.ids,
        populations: &plan.areas,
        traces: &[],
    };
    let mut rng = StreamRng::new(fitted.experiment.seed, "evaluate.perturbation", 0);
    let mut periods = vec![
        pair.period("window", plan.window.clone(), &mut rng)
            .map_err(FitError::from)?,
    ];
    if plan.window != (0..bins) {
        periods.push(pair.period("trial", 0..bins, &mut rng).map_err(FitError::from)?);
    }
    let report = PerturbationReport {
        schema: SCHEMA,
        run: path.display().to_string(),
        checkpoint_step: fitted.step,
        model_trials: n,
        perturbations: plan.described,
        periods,
        type_fractions: Vec::new(),
        left_out: vec![LeftOutMetric {
            name: "behaviour, type_fractions".to_owned(),
            reason: "a spike-history network has no behaviour, and its trials no types".to_owned(),
        }],
        against: None,
    };
    let file = run.perturbation(args.name.as_deref());
    super::super::super::write_json(&file, &report)?;
    tracing::info!("every neuron's change in {}", file.display());
    if global.format == Format::Json {
        super::super::super::print_json(&report)?;
    } else {
        super::super::super::print(&super::super::super::visible(&report.table()))?;
    }
    Ok(exit_code::DONE)
}

/// The session that is named, else the first with a repeated stimulus among its training trials, else the first with any.
fn session_of(recorded: &Recorded, named: Option<&str>) -> Result<usize, Error> {
    if let Some(id) = named {
        let session = crate::commands::spike_history::session(recorded, id)?;
        if recorded.sessions[session].trials(Part::Train).is_empty() {
            return Err(Error::Usage {
                message: format!(
                    "session '{id}' has no training trials, and perturbations show the stimuli of no others"
                ),
                help: "name another session; `snnfit simulate` takes the stimuli of any".to_owned(),
            });
        }
        return Ok(session);
    }
    let repeated = recorded.repeats(Part::Train).first().map(|repeats| repeats.session);
    let any = || recorded.sessions.iter().position(|s| !s.trials(Part::Train).is_empty());
    repeated
        .or_else(any)
        .ok_or_else(|| FitError::NoTrials { part: "training" }.into())
}
