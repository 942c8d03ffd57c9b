//! The first screen: what was fitted, the numbers most people look for, findings.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::html::{defined, escape, inline};
use super::{Content, PageInputs, RunFacts};
use crate::evaluate::{Report, number};
use crate::findings::{Finding, Severity};

pub(super) fn content(inputs: &PageInputs<'_>) -> Content {
    let mut html = summary(inputs);
    html.push_str(&tiles(inputs.report));
    html.push_str(&facts(inputs.facts));
    html.push_str(&populations(inputs.facts));
    html.push_str(&left_out(inputs.facts));
    Content::Html(html)
}

/// One sentence.
fn summary(inputs: &PageInputs<'_>) -> String {
    let facts = inputs.facts;
    let n: usize = facts.populations.iter().map(|p| p.n_recorded + p.n_hidden).sum();
    let findings = count_findings(&inputs.report.findings);
    format!(
        "<p class=\"lead\">A spiking network of {n} neurons, compared with {} {} trials. Training: {}, {}. {}</p>\n",
        n_evaluated(inputs.report),
        escape(&inputs.report.split),
        defined("verdict", facts.verdict),
        findings,
        notes(inputs.report),
    )
}

/// A link to the findings that says how many there are.
pub(in crate::report) fn count_findings(findings: &[Finding]) -> String {
    let severe = findings.iter().filter(|f| f.severity == Severity::Severe).count();
    match (findings.len(), severe) {
        (0, _) => "no findings".to_owned(),
        (1, 0) => "<a href=\"#findings\">1 finding</a>".to_owned(),
        (n, 0) => format!("<a href=\"#findings\">{n} findings</a>"),
        (n, severe) => format!("<a href=\"#findings\">{n} findings</a>, {severe} of them severe"),
    }
}

fn n_evaluated(report: &Report) -> usize {
    report.trials.iter().map(|trials| trials.test).sum()
}

fn notes(report: &Report) -> String {
    let notes: Vec<String> = report
        .notes
        .iter()
        .map(|note| format!("Note: {}.", escape(note)))
        .collect();
    notes.join(" ")
}

/// A number most people look for, with what to hold it against.
fn tiles(report: &Report) -> String {
    let tile = |name: &str, label: &str, beside: &dyn Fn(&losses::metrics::MetricValue) -> Option<String>| {
        let metric = report.metric(name)?;
        let interval = metric.ci95.map_or(String::new(), |[low, high]| {
            format!(
                "<span class=\"interval\">95 % interval {} to {}</span>",
                number(low),
                number(high)
            )
        });
        let beside = beside(metric).map_or(String::new(), |text| format!("<span>{}</span>", escape(&text)));
        Some(format!(
            "<li><span class=\"label\">{}</span><span class=\"value\">{}</span>{interval}{beside}</li>\n",
            defined(name, label),
            number(metric.value)
        ))
    };
    let best_null = |metric: &losses::metrics::MetricValue| {
        let best = metric
            .nulls
            .values()
            .copied()
            .filter(|value| value.is_finite())
            .fold(f64::NAN, f64::max);
        best.is_finite().then(|| format!("best null {}", number(best)))
    };
    let ceiling = |metric: &losses::metrics::MetricValue| match metric.ceiling_noiseless {
        Some(ceiling) => Some(format!("ceiling {}", number(ceiling))),
        None => best_null(metric),
    };
    let recorded = |metric: &losses::metrics::MetricValue| {
        let data = report.metric(&metric.name.replacen("fraction", "fraction_data", 1))?;
        Some(format!("recorded {}", number(data.value)))
    };
    let one = |_: &losses::metrics::MetricValue| Some("right: 1".to_owned());
    let mut tiles: Vec<String> = Vec::new();
    tiles.extend(tile("psth_pearson", "PSTH correlation", &ceiling));
    tiles.extend(tile("trial_matched_pearson", "matched single trials", &best_null));
    tiles.extend(tile("hit_fraction", "share of hits", &recorded));
    tiles.extend(tile("feature_variance_ratio", "trial-to-trial variance", &one));
    if tiles.is_empty() {
        return String::new();
    }
    format!("<ul class=\"tiles\">\n{}</ul>\n", tiles.concat())
}

pub(in crate::report) fn facts(facts: &RunFacts) -> String {
    let files: Vec<String> = facts
        .recordings
        .iter()
        .map(|file| {
            let name = file.path.rsplit(['/', '\\']).next().unwrap_or(&file.path);
            format!("<code>{}</code>", escape(name))
        })
        .collect();
    let (used, all) = facts.n_sessions;
    let sessions = if used == all {
        format!("{used}")
    } else {
        format!("{used} of {all}, the others have no neuron in the model")
    };
    let trials: Vec<String> = facts.trials.iter().map(|(part, n)| format!("{n} {part}")).collect();
    let losses: Vec<String> = facts
        .losses
        .iter()
        .map(|(name, weight)| format!("<code>{}</code> × {weight}", escape(name)))
        .collect();
    let mut rows = vec![
        ("Recording".to_owned(), files.join(", ")),
        ("Sessions".to_owned(), sessions),
        (defined("splits", "Trials"), escape(&trials.join(", "))),
    ];
    for (name, value) in &facts.model {
        rows.push((escape(name), escape(value)));
    }
    rows.push(("Losses × weight".to_owned(), losses.join(", ")));
    rows.push(("Steps".to_owned(), steps(facts)));
    if let Some(text) = validation(facts) {
        rows.push((defined("floor", "Validation loss"), text));
    }
    if let Some(seconds) = facts.seconds {
        rows.push((defined("seconds", "Training time"), duration(seconds)));
    }
    rows.push((
        "Device".to_owned(),
        format!("{}, {} threads", escape(&facts.device), facts.threads),
    ));
    let of = |(version, commit): &(String, String)| format!("{} ({})", escape(version), escape(commit));
    rows.push(("snnfit".to_owned(), of(&facts.trained_by)));
    if facts.trained_by != facts.evaluated_by {
        rows.push(("Evaluated by snnfit".to_owned(), of(&facts.evaluated_by)));
    }
    rows.push(("Seed".to_owned(), facts.seed.to_string()));
    rows.push((defined("splits", "Test trials opened"), times(facts.test_openings)));
    let mut html = "<dl class=\"facts\">\n".to_owned();
    for (name, value) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    html + "</dl>\n"
}

fn times(n: u64) -> String {
    match n {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        n => format!("{n} times: the more often they decide, the less they test"),
    }
}

fn steps(facts: &RunFacts) -> String {
    let reason = facts
        .stop_reason
        .map_or(String::new(), |reason| format!(", {}", reason.text()));
    match facts.last_step {
        Some(last) => format!(
            "checkpoint of step {} of {last}{}",
            facts.checkpoint_step,
            escape(&reason)
        ),
        None => format!("checkpoint of step {}", facts.checkpoint_step),
    }
}

fn validation(facts: &RunFacts) -> Option<String> {
    let (step, value) = facts.best?;
    let floor = facts.floor.map_or(String::new(), |floor| {
        format!("; training trials in the model's place {}", number(floor))
    });
    Some(escape(&format!("best {} at step {step}{floor}", number(value))))
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Neurons by area and type.
pub(in crate::report) fn populations(facts: &RunFacts) -> String {
    let types = ["excitatory", "inhibitory", "unknown"];
    let types: Vec<&str> = types
        .into_iter()
        .filter(|kind| facts.populations.iter().any(|p| p.cell_type == *kind))
        .collect();
    let mut areas: Vec<&str> = Vec::new();
    let mut seen = BTreeSet::new();
    for population in &facts.populations {
        if seen.insert(&population.area) {
            areas.push(&population.area);
        }
    }
    let cell = |area: &str, kind: &str| {
        let of = facts
            .populations
            .iter()
            .filter(|p| p.area == area && p.cell_type == kind);
        let (recorded, hidden) = of.fold((0, 0), |(r, h), p| (r + p.n_recorded, h + p.n_hidden));
        match (recorded, hidden) {
            (0, 0) => "–".to_owned(),
            (n, 0) => n.to_string(),
            (n, hidden) => format!("{n} + {hidden} hidden"),
        }
    };
    let mut html =
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Neurons by area and cell type\">\n\
                    <table class=\"small\">\n<caption>Neurons of the model by area and cell type</caption>\n\
                    <thead><tr><th scope=\"col\">area</th>"
            .to_owned();
    for kind in &types {
        let _ = write!(html, "<th scope=\"col\" class=\"number\">{kind}</th>");
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for area in areas {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escape(area));
        for kind in &types {
            let _ = write!(html, "<td class=\"number\">{}</td>", cell(area, kind));
        }
        html.push_str("</tr>\n");
    }
    html + "</tbody>\n</table>\n</div>\n"
}

/// What the fit did not see, and warnings: folded away, they may be many.
pub(in crate::report) fn left_out(facts: &RunFacts) -> String {
    let left = facts.left_out.iter().map(|left| {
        let area = left
            .area
            .as_ref()
            .map(|area| format!(", area {area}"))
            .unwrap_or_default();
        format!("session {}{area}: {}", left.session, left.reason)
    });
    let few = facts
        .few_spikes
        .iter()
        .map(|few| format!("{}/{}, area {}: {} spikes", few.session, few.unit, few.area, few.spikes));
    let partly = facts.partly_observed.iter().map(|unit| {
        let out = if unit.in_populations { "" } else { ", in no population" };
        format!(
            "{}/{}, area {}: {} of {} trials{out}",
            unit.session, unit.unit, unit.area, unit.n_observed, unit.n_trials
        )
    });
    let lists = [
        ("left out of the fit", left.collect::<Vec<_>>()),
        ("neurons that were not observed in every trial", partly.collect()),
        ("neurons with few spikes in the training trials", few.collect()),
        ("warnings", facts.warnings.clone()),
    ];
    let mut html = String::new();
    for (title, lines) in lists.iter().filter(|(_, lines)| !lines.is_empty()) {
        let _ = writeln!(html, "<details>\n<summary>{} {title}</summary>\n<ul>", lines.len());
        for line in lines {
            let _ = writeln!(html, "<li>{}</li>", escape(line));
        }
        html.push_str("</ul>\n</details>\n");
    }
    html
}

pub(super) fn findings(inputs: &PageInputs<'_>) -> Content {
    findings_of(&inputs.report.findings)
}

pub(in crate::report) fn findings_of(findings: &[Finding]) -> Content {
    if findings.is_empty() {
        return Content::LeftOut("Nothing in these numbers is known to be wrong.".to_owned());
    }
    let mut html = format!(
        "<p>What the numbers below show to be wrong, the worst first ({}).</p>\n<ol class=\"findings\">\n",
        defined("finding", "how to read this")
    );
    for finding in findings {
        let _ = writeln!(
            html,
            "<li class=\"{severity}\"><h3><span class=\"severity\">{severity}</span> {}</h3>\n<p>{}.</p>\n\
             <p><strong>Why it matters:</strong> {}.</p>\n<p><strong>Try:</strong> {}.</p></li>",
            inline(&sentence(&finding.what)),
            inline(&sentence(&finding.how_much)),
            inline(&finding.why),
            inline(&finding.remedy),
            severity = finding.severity.text(),
        );
    }
    Content::Html(html + "</ol>\n")
}

/// With a capital, unless it begins with a name.
fn sentence(text: &str) -> String {
    let first = text.split(' ').next().unwrap_or_default();
    if first.contains('_') || first.contains('`') {
        return text.to_owned();
    }
    let mut characters = text.chars();
    characters
        .next()
        .map_or(String::new(), |c| c.to_uppercase().chain(characters).collect())
}
