//! What the report says about the run itself.

use snn_core::connectivity::CellType;

use super::Judged;
use crate::assembly::{Assembly, Part};
use crate::cli::{CheckpointChoice, EvaluateArgs, SplitChoice};
use crate::config::checked::{Input, LatentKind, Model};
use crate::cues;
use crate::error::Error;
use crate::findings;
use crate::partly_observed;
use crate::projections;
use crate::provenance;
use crate::report::page::{PopulationFacts, RunFacts};

/// A configuration is a few kB.
const MAX_RUN_TOML_BYTES: u64 = 1 << 20;

pub(super) fn of_run(judged: &Judged<'_>, args: &EvaluateArgs) -> Result<RunFacts, Error> {
    let manifest = judged.run.manifest()?;
    let assembly = &judged.fitted.assembly;
    let history = judged.history;
    let n_of = |part: Part| assembly.trials_of(part).iter().map(Vec::len).sum::<usize>();
    let used = assembly.stitching.sessions.iter().filter(|s| s.n_used > 0).count();
    let best = history.validations.totals.iter().filter(|(_, value)| value.is_finite());
    Ok(RunFacts {
        run: judged.run.path().display().to_string(),
        recordings: manifest.data,
        n_sessions: (used, assembly.sessions.len()),
        populations: populations(assembly),
        trials: vec![
            ("train", n_of(Part::Train)),
            ("validation", n_of(Part::Validation)),
            ("test", n_of(Part::Test)),
        ],
        model: model(assembly),
        losses: assembly
            .experiment
            .losses
            .iter()
            .map(|loss| (loss.name().to_owned(), loss.weight()))
            .collect(),
        checkpoint_step: judged.fitted.state.step,
        last_step: manifest.attempts.last().and_then(|attempt| attempt.last_step),
        stop_reason: manifest.attempts.last().and_then(|attempt| attempt.stop_reason),
        verdict: findings::verdict(&history.validations),
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
        run_toml: data::fs::read_text(&judged.run.run_toml(), MAX_RUN_TOML_BYTES).map_err(Error::Output)?,
        left_out: manifest.left_out,
        few_spikes: judged.report.few_spikes.clone(),
        partly_observed: partly_observed::of_model(assembly),
        warnings: manifest.warnings,
    })
}

fn populations(assembly: &Assembly) -> Vec<PopulationFacts> {
    let mut populations: Vec<PopulationFacts> = Vec::new();
    for (stitched, neuron) in assembly.stitching.neurons.iter().zip(&assembly.spec.neurons) {
        let cell_type = match neuron.cell_type {
            CellType::Excitatory => "excitatory",
            CellType::Inhibitory => "inhibitory",
            CellType::Unknown => "unknown",
        };
        let known = populations
            .iter()
            .position(|p| p.area == stitched.area && p.cell_type == cell_type);
        let at = known.unwrap_or_else(|| {
            populations.push(PopulationFacts {
                area: stitched.area.clone(),
                cell_type,
                n_recorded: 0,
                n_hidden: 0,
            });
            populations.len() - 1
        });
        if let Some(population) = populations.get_mut(at) {
            population.n_recorded += usize::from(stitched.source.is_some());
            population.n_hidden += usize::from(stitched.source.is_none());
        }
    }
    populations
}

/// The network and its parts in a few words.
fn model(assembly: &Assembly) -> Vec<(&'static str, String)> {
    let Model::Rsnn(model) = &assembly.experiment.model;
    let spec = &assembly.spec;
    let n_bins = assembly.n_steps();
    let mut facts = vec![
        (
            "Network",
            format!(
                "recurrent spiking network, τ {} ms (exc) and {} ms (inh), delay {} ms{}",
                model.tau_m_exc_ms,
                model.tau_m_inh_ms,
                model.delay.ms,
                if model.dale { ", Dale's law" } else { "" }
            ),
        ),
        (
            "Between areas",
            projections::in_words(model.inter_area, &model.projections),
        ),
        ("Trial", format!("{n_bins} bins of {} ms", spec.dt_ms)),
        (
            "Input",
            match &model.input {
                Input::Poisson(input) => cues::in_words(input, assembly.cues.as_ref()),
                Input::Recorded(input) => format!("recorded stimulus, {} lags", input.lags),
            },
        ),
    ];
    if let Some(latent) = &model.latent {
        let kind = match latent.kind {
            LatentKind::Mlp => "mlp",
            LatentKind::Linear => "linear",
        };
        facts.push((
            "Latent",
            format!(
                "{kind}, {} dimensions for each trial{}{}",
                latent.dimensions,
                match latent.knots_ms.len() {
                    0 => String::new(),
                    n => format!(", values of its own at {n} times"),
                },
                match latent.stimulus_from_ms {
                    Some(after) => format!(", with the stimulus from {after} ms on"),
                    None => String::new(),
                },
            ),
        ));
    }
    if let Some(behaviour) = &model.behaviour {
        let names = assembly.experiment.data.behaviour.join(", ");
        facts.push(("Behaviour", read_out(&names, behaviour)));
    }
    facts
}

/// Options that change the numbers, where they are not the default.
pub(super) fn options(args: &EvaluateArgs) -> Vec<String> {
    let mut options = Vec::new();
    match args.checkpoint {
        CheckpointChoice::Best => {}
        CheckpointChoice::Last => options.push("--checkpoint last".to_owned()),
        CheckpointChoice::Step(step) => options.push(format!("--checkpoint {step}")),
    }
    match args.split {
        SplitChoice::Test => {}
        SplitChoice::Validation => options.push("--split validation".to_owned()),
        SplitChoice::Train => options.push("--split train".to_owned()),
    }
    options.extend(args.trials.map(|trials| format!("--trials {trials}")));
    options
}

/// Traces, where they are read out from, and whether they feed back.
fn read_out(names: &str, behaviour: &crate::config::checked::Behaviour) -> String {
    let mut areas: Vec<&str> = Vec::new();
    for area in behaviour.traces.iter().flat_map(|trace| &trace.motor_areas) {
        if !areas.contains(&area.as_str()) {
            areas.push(area);
        }
    }
    let feedback = match behaviour.feedback {
        Some(feedback) => format!(", fed back after {} to {} ms", feedback.first.ms, feedback.last.ms),
        None => String::new(),
    };
    format!("{names}, read out from {}{feedback}", areas.join(", "))
}
