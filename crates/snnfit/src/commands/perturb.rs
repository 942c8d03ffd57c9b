//! `snnfit evaluate` with a perturbation: the same trials without and with it, and what it changes.

use snn_core::device::OpenDevice;
use snn_core::rng::StreamRng;

use crate::assembly::Part;
use crate::cli::{EvaluateArgs, Format, Global};
use crate::error::Error;
use crate::evaluate::{
    AgainstInputs, EvaluationInputs, EvaluationSettings, PerturbationInputs, SimulatedTrials, compare,
};
use crate::exit_code;
use crate::fit_error::FitError;
use crate::loaded::Fitted;
use crate::memory::{self, BatchSize};
use crate::perturbation::{Neurons, Plan, Time};
use crate::trainer::comparison_by_stimulus;

/// Compares perturbed with unperturbed trials of one run; writes `perturbation.json`, or
/// `perturbation-NAME.json`. Stimuli and templates are those of the training trials; test trials are opened only to be
/// compared with a recorded perturbation.
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
    if args.session.is_some() {
        return Err(Error::Usage {
            message: "--session is there for [model.spike_history] only".to_owned(),
            help: "leave it out: stimuli are those of the training trials of all sessions".to_owned(),
        });
    }
    let (run, fitted) = Fitted::open(path, args.checkpoint, &args.data, device)?;
    let assembly = &fitted.assembly;
    super::refuse_adapter(args.device.choice, &assembly.experiment)?;
    let Some(plan) = Plan::new(&args.perturbation, assembly)? else {
        return Err(Error::Internal {
            message: "a perturbation without neurons".to_owned(),
        });
    };
    super::tell_perturbations(Some(&plan));
    let others = if args.against.is_empty() {
        None
    } else {
        let others = assembly.other_trials(&args.against)?;
        for warning in &others.warnings {
            tracing::warn!("{warning}");
        }
        Some(others)
    };
    let comparison = comparison_by_stimulus(assembly)?;
    let train = assembly.trials_of(Part::Train);
    let seed = assembly.experiment.seed;
    let n = args.trials.map_or(200, std::num::NonZeroUsize::get);
    memory::check(BatchSize {
        // With recorded trials, both once more as the sessions see them.
        n_trials: n.saturating_mul(if args.against.is_empty() { 2 } else { 4 }),
        n_steps: assembly.n_steps(),
        n_neurons: assembly.spec.n_neurons(),
        bytes_per_value: memory::COUNT,
    })?;
    let mut rng = StreamRng::new(seed, "evaluate.trials", 0);
    let drawn = fitted.trials_like(&assembly.pool_of(&train)?, n, &mut rng)?;
    let stimuli: Vec<usize> = drawn.iter().map(|trial| trial.stimulus).collect();
    if others.is_some() {
        run.update_manifest(|manifest| manifest.test_openings += 1)?;
    }
    let simulate = |perturbations| fitted.simulate(&drawn, seed, "evaluate", args.trial_chunk, perturbations);
    let (baseline, perturbed) = (simulate(&[])?, simulate(&plan.perturbations)?);
    let neurons = Neurons::of(assembly);
    let populations = neurons.kinds.iter().map(|neuron| neurons.population(neuron));
    let inputs = PerturbationInputs {
        evaluation: EvaluationInputs {
            run: path.display().to_string(),
            split: "train".to_owned(),
            checkpoint_step: fitted.state.step,
            recording: &comparison.recording,
            train: &train,
            test: &train,
            populations: &comparison.populations,
            filters: &comparison.filters,
            has_behaviour: baseline.behaviour.is_some(),
            bin_ms: assembly.experiment.data.bin_ms,
            trial_types: &assembly.trial_types,
            traces: &assembly.experiment.data.behaviour,
            model: SimulatedTrials {
                counts: &baseline.counts,
                conditions: &stimuli,
                behaviour: baseline.behaviour.as_ref(),
                valid_bins: None,
            },
            settings: EvaluationSettings {
                times: assembly.times(),
                ..EvaluationSettings::default()
            },
        },
        perturbed: SimulatedTrials {
            counts: &perturbed.counts,
            conditions: &stimuli,
            behaviour: perturbed.behaviour.as_ref(),
            valid_bins: None,
        },
        perturbations: &plan.described,
        window: plan.window,
        start_ms: Time::of(assembly).ms_of(0),
        ids: &neurons.ids,
        populations: populations.collect(),
        traces: &assembly.experiment.data.behaviour,
        against: others.as_ref().map(|others| AgainstInputs {
            files: args.against.iter().map(|file| file.display().to_string()).collect(),
            sessions: &others.sessions,
        }),
    };
    let mut rng = StreamRng::new(seed, "evaluate.perturbation", 0);
    let report = compare(&inputs, &mut rng).map_err(FitError::from)?;
    let file = run.perturbation(args.name.as_deref());
    super::write_json(&file, &report)?;
    tracing::info!("every neuron's change in {}", file.display());
    if global.format == Format::Json {
        super::print_json(&report)?;
    } else {
        super::print(&super::visible(&report.table()))?;
    }
    Ok(exit_code::DONE)
}
