//! What `train` says at its end: why it stopped, the best step, findings, the next command.

use std::collections::BTreeMap;

use crate::assembly::Part;
use crate::cli::Format;
use crate::config::checked::Optimizer;
use crate::error::Error;
use crate::findings::{self, Finding, ParameterBounds, Validations};
use crate::run_dir::{RunDir, StopReason};
use crate::trainer::Trainer;

/// What came out, as text or JSON on stdout.
pub(super) fn tell(
    run: &RunDir,
    trainer: &Trainer,
    floors: &BTreeMap<String, f64>,
    reason: StopReason,
    format: Format,
) -> Result<(), Error> {
    let state = &trainer.state;
    let validations = Validations {
        totals: state.validations.clone(),
        stop_reason: Some(reason),
    };
    let verdict = findings::verdict(&validations);
    let findings = found(trainer, &validations);
    let floor: f64 = floors.values().sum();
    let next = match reason {
        StopReason::MaxSteps | StopReason::Converged => format!("snnfit evaluate {}", run.path().display()),
        StopReason::Diverged => with_lower_rate(run, trainer),
        _ => format!("snnfit train --resume {}", run.path().display()),
    };
    if format == Format::Json {
        return super::super::print_json(&serde_json::json!({
            "schema": 1, "run": run.path(), "step": state.step, "stop_reason": reason, "verdict": verdict,
            "best": state.best, "floor": floors, "skipped": state.skipped, "findings": findings, "next": next,
        }));
    }
    let mut lines = vec![match reason {
        StopReason::Diverged | StopReason::Converged => format!("{} (step {})", reason.text(), state.step),
        _ => format!("{} at step {}: {verdict}", reason.text(), state.step),
    }];
    if let Some(best) = state.best {
        // Energy distances may be about 0, or below: there is no percentage of these.
        let difference = if floor > 0.0 {
            100.0 * (best.value / floor - 1.0)
        } else {
            f64::NAN
        };
        lines.push(format!(
            "best validation loss {:.4} at step {}; training trials in the model's place {floor:.4}{}",
            best.value,
            best.step,
            if difference.is_finite() {
                format!(" ({difference:+.1} %)")
            } else {
                String::new()
            }
        ));
    }
    if state.skipped > 0 {
        lines.push(format!(
            "{} steps were skipped because values were not finite",
            state.skipped
        ));
    }
    let told = findings::text(&findings, findings::MOST_AFTER_TRAINING);
    lines.extend((!told.is_empty()).then(|| told.trim_end().to_owned()));
    lines.push(format!("run    {}\nnext   {next}", run.path().display()));
    super::super::print(&(lines.join("\n") + "\n"))
}

/// The command of a new run at a tenth of the learning rate.
fn with_lower_rate(run: &RunDir, trainer: &Trainer) -> String {
    let Optimizer::AdamW(adamw) = trainer.assembly.experiment.optimizer;
    let rate = |key: &str, rate: f64| format!(" --set 'optimizer.adamw.{key} = {:.0e}'", 0.1 * rate);
    format!(
        "snnfit train --config {}{}{} --out NEW",
        run.run_toml().display(),
        rate("lr", adamw.lr),
        adamw.lr_final.map_or_else(String::new, |last| rate("lr_final", last)),
    )
}

/// What training knows to be wrong, the worst first. Rates and metrics are for `evaluate`: they need a simulation.
fn found(trainer: &Trainer, validations: &Validations) -> Vec<Finding> {
    let mut found = findings::of_parameters(&ParameterBounds::of(&trainer.rsnn));
    found.extend(findings::of_skipped_steps(trainer.state.skipped, trainer.state.step));
    found.extend(findings::of_validations(validations));
    let recording = &trainer.comparison.recording;
    let n_recorded = recording.sessions().iter().map(|s| s.neurons.len()).sum();
    let least = trainer.assembly.experiment.statistics.min_spikes;
    let n_few = recording.with_few_spikes(&trainer.assembly.trials_of(Part::Train), least);
    found.extend(findings::of_few_spikes(
        n_few.map_or(0, |few| few.len()),
        n_recorded,
        least,
    ));
    findings::sorted(found)
}
