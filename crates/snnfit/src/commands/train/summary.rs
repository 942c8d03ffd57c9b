//! What `train` says at its end: why it stopped, the best step, findings, the next command.

use std::collections::BTreeMap;

use crate::cli::Format;
use crate::config::checked::Optimizer;
use crate::error::Error;
use crate::findings::{self, Finding, Validations};
use crate::fit::Fit;
use crate::run_dir::{RunDir, StopReason};

/// What came out, as text or JSON on stdout.
pub(super) fn tell(
    run: &RunDir,
    fit: &dyn Fit,
    floors: &BTreeMap<String, f64>,
    reason: StopReason,
    format: Format,
) -> Result<(), Error> {
    let state = fit.state();
    let validations = Validations {
        totals: state.validations.clone(),
        stop_reason: Some(reason),
    };
    let verdict = findings::verdict(&validations);
    let findings = found(fit, &validations);
    let floor: f64 = floors.values().sum();
    let next = match reason {
        StopReason::MaxSteps | StopReason::Converged => format!("snnfit evaluate {}", run.path().display()),
        StopReason::Diverged => with_lower_rate(run, fit),
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
        let compared = match (floors.is_empty(), difference.is_finite()) {
            (true, _) => String::new(),
            (false, false) => format!("; training trials in the model's place {floor:.4}"),
            (false, true) => format!("; training trials in the model's place {floor:.4} ({difference:+.1} %)"),
        };
        lines.push(format!(
            "best validation loss {:.4} at step {}{compared}",
            best.value, best.step
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
fn with_lower_rate(run: &RunDir, fit: &dyn Fit) -> String {
    let Optimizer::AdamW(adamw) = fit.optimizer();
    let rate = |key: &str, rate: f64| format!(" --set 'optimizer.adamw.{key} = {:.0e}'", 0.1 * rate);
    format!(
        "snnfit train --config {}{}{} --out NEW",
        run.run_toml().display(),
        rate("lr", adamw.lr),
        adamw.lr_final.map_or_else(String::new, |last| rate("lr_final", last)),
    )
}

/// What training knows to be wrong, the worst first. Rates and metrics are for `evaluate`: they need a simulation.
fn found(fit: &dyn Fit, validations: &Validations) -> Vec<Finding> {
    let mut found = fit.findings();
    let state = fit.state();
    found.extend(findings::of_skipped_steps(state.skipped, state.step));
    found.extend(findings::of_validations(validations));
    findings::sorted(found)
}
