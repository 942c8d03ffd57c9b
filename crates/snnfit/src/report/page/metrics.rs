//! The table of metrics, each with what it takes to judge it and its definition.

use std::fmt::Write;

use losses::metrics::MetricValue;
use losses::nulls::NullModel;

use super::html::{anchor, defined, escape, inline};
use super::{Content, PageInputs};
use crate::evaluate::{number, short_name};
use crate::report::glossary;

/// Width and height of the picture in a row.
const STRIP: (f64, f64) = (150.0, 22.0);

pub(super) fn content(inputs: &PageInputs<'_>) -> Content {
    let report = inputs.report;
    let mut html = format!(
        "<p>Of {} model trials; equal numbers of trials of model, nulls and training data are {}. A name opens its definition. \
         In the strips: <span class=\"key model\">●</span> model with its interval, <span class=\"key\">│</span> null models, \
         <span class=\"key\">○</span> training trials in the model's place, <span class=\"key\">◆</span> ceiling.</p>\n",
        report.model_trials,
        defined("compared, matched", "compared"),
    );
    html.push_str(
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Metrics\">\n<table class=\"metrics\">\n<caption>Metrics with \
         intervals, null models and references</caption>\n<thead><tr><th scope=\"col\">metric</th>",
    );
    for (name, label) in [("value", "value"), ("ci95", "95 % interval")] {
        let _ = write!(html, "<th scope=\"col\" class=\"number\">{}</th>", defined(name, label));
    }
    html.push_str("<th scope=\"col\">right</th><th scope=\"col\">strip</th>");
    for (name, label) in [("reference_train_test", "train–test"), ("ceiling_noiseless", "ceiling")] {
        let _ = write!(html, "<th scope=\"col\" class=\"number\">{}</th>", defined(name, label));
    }
    for null in NullModel::ALL {
        let label = defined("nulls", short_name(null.name()));
        let _ = write!(html, "<th scope=\"col\" class=\"number\">{label}</th>");
    }
    let n = defined("n", "n");
    let _ = writeln!(
        html,
        "<th scope=\"col\" class=\"number\">{n}</th><th scope=\"col\">unit</th></tr></thead>\n<tbody>"
    );
    for metric in &report.metrics {
        html.push_str(&row(metric));
    }
    html.push_str("</tbody>\n</table>\n</div>\n");
    if !report.left_out.is_empty() {
        html.push_str("<details>\n<summary>Metrics that are undefined here</summary>\n<ul>\n");
        for metric in &report.left_out {
            let _ = writeln!(
                html,
                "<li><code>{}</code>: {}</li>",
                escape(&metric.name),
                escape(&metric.reason)
            );
        }
        html.push_str("</ul>\n</details>\n");
    }
    Content::Html(html)
}

fn row(metric: &MetricValue) -> String {
    let optional = |value: Option<f64>| value.map_or("–".to_owned(), number);
    let name = escape(&metric.name);
    let (head, right) = match glossary::definition(&metric.name) {
        Some(definition) => (
            format!(
                "<details class=\"definition\"><summary><code>{name}</code></summary><p>{} <a href=\"#{}\">Glossary</a></p></details>",
                inline(definition.text),
                anchor(definition.names[0])
            ),
            inline(definition.right.text()),
        ),
        None => (format!("<code>{name}</code>"), "–".to_owned()),
    };
    let interval = metric.ci95.map_or("–".to_owned(), |[low, high]| {
        format!("{} to {}", number(low), number(high))
    });
    let mut html = format!(
        "<tr><th scope=\"row\">{head}</th><td class=\"number value\">{}</td><td class=\"number\">{interval}</td><td>{right}</td>\
         <td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>",
        number(metric.value),
        strip(metric),
        optional(metric.reference_train_test),
        optional(metric.ceiling_noiseless),
    );
    for null in NullModel::ALL {
        let value = optional(metric.nulls.get(null.name()).copied());
        let _ = write!(html, "<td class=\"number\">{value}</td>");
    }
    let unit = if metric.unit == "1" { "" } else { &metric.unit };
    let _ = writeln!(
        html,
        "<td class=\"number\">{}</td><td>{}</td></tr>",
        metric.n,
        escape(unit)
    );
    html
}

/// The row's numbers on one line, from the lowest to the highest.
pub(in crate::report) fn strip(metric: &MetricValue) -> String {
    let nulls = || metric.nulls.values().copied();
    let interval = metric.ci95.into_iter().flatten();
    let others = metric.reference_train_test.into_iter().chain(metric.ceiling_noiseless);
    let all: Vec<f64> = std::iter::once(metric.value)
        .chain(nulls())
        .chain(interval)
        .chain(others)
        .collect();
    let finite = || all.iter().copied().filter(|value| value.is_finite());
    let (low, high) = (
        finite().fold(f64::INFINITY, f64::min),
        finite().fold(f64::NEG_INFINITY, f64::max),
    );
    let has_company = !metric.nulls.is_empty() || metric.reference_train_test.is_some();
    if high <= low || !has_company {
        return String::new();
    }
    let (width, height) = STRIP;
    let middle = height / 2.0;
    let x = |value: f64| 8.0 + (value - low) / (high - low) * (width - 16.0);
    // The numbers stand beside it.
    let mut svg = format!(
        "<svg class=\"strip\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" aria-hidden=\"true\">"
    );
    let _ = write!(svg, "<path class=\"axis\" d=\"M4 {middle}H{}\"/>", width - 4.0);
    for null in nulls().filter(|value| value.is_finite()) {
        let _ = write!(svg, "<path class=\"null\" d=\"M{:.1} 4V{}\"/>", x(null), height - 4.0);
    }
    if let Some(reference) = metric.reference_train_test {
        let _ = write!(
            svg,
            "<circle class=\"ring\" cx=\"{:.1}\" cy=\"{middle}\" r=\"4\"/>",
            x(reference)
        );
    }
    if let Some(ceiling) = metric.ceiling_noiseless {
        let at = x(ceiling);
        let _ = write!(
            svg,
            "<path class=\"ceiling\" d=\"M{:.1} {middle}L{at:.1} {}L{:.1} {middle}L{at:.1} {}Z\"/>",
            at - 4.0,
            middle - 5.0,
            at + 4.0,
            middle + 5.0
        );
    }
    if let Some([from, to]) = metric.ci95.filter(|ends| ends.iter().all(|end| end.is_finite())) {
        let _ = write!(
            svg,
            "<path class=\"interval\" d=\"M{:.1} {middle}H{:.1}\"/>",
            x(from),
            x(to)
        );
    }
    let _ = write!(
        svg,
        "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{middle}\" r=\"4\"/></svg>",
        x(metric.value)
    );
    svg
}
