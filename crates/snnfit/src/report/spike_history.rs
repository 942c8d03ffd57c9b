//! `report/index.html` of a spike-history network: the page of [`super::page`] with this model's sections.
//!
//! Numbers come from [`crate::spike_history::evaluate`], pictures from [`plots`]. What comes from files is escaped, there is no
//! script, and the page loads nothing.

pub mod plots;

use std::fmt::Write as _;
use std::path::Path;

use data::fs::FsError;
use losses::metrics::MetricValue;

use super::glossary::spike_history as glossary;
use super::page::html::{anchor, defined, escape, inline};
use super::page::{self, Content, Figure, RunFacts, figures_of};
use super::plots::Pictures;
use crate::evaluate::number;
use crate::spike_history::evaluate::SpikeHistoryReport;

/// What the page shows.
#[derive(Debug, Clone, Copy)]
pub struct PageInputs<'a> {
    /// The run.
    pub facts: &'a RunFacts,
    /// The numbers.
    pub report: &'a SpikeHistoryReport,
    /// The pictures.
    pub pictures: &'a Pictures,
    /// Trials of the part that was evaluated.
    pub n_trials: usize,
}

/// Anchor, title, content.
type Section = (&'static str, &'static str, fn(&PageInputs<'_>) -> Content);

/// The page, from top to bottom.
const SECTIONS: &[Section] = &[
    ("headline", "What was fitted, and how well", headline),
    ("findings", "Findings", |inputs| {
        page::headline::findings_of(&inputs.report.findings)
    }),
    ("metrics", "Metrics", metrics),
    ("losses", "Losses", |inputs| figures_of(inputs.pictures, LOSSES)),
    ("trial-averages", "Trial averages and single trials", |inputs| {
        figures_of(inputs.pictures, AVERAGES)
    }),
    ("noise-correlations", "Noise correlations", |inputs| {
        figures_of(inputs.pictures, CORRELATIONS)
    }),
    ("horizons", "Likelihood some time ahead", |inputs| {
        figures_of(inputs.pictures, HORIZONS)
    }),
    ("stimulus", "What drives the neurons", |inputs| {
        figures_of(inputs.pictures, FILTERS)
    }),
    ("couplings", "Couplings and own history", |inputs| {
        figures_of(inputs.pictures, COUPLINGS)
    }),
    ("neurons", "Neurons", neurons),
    ("reproduce", "How to reproduce this", |inputs| {
        page::reproduce::of(inputs.facts)
    }),
    ("glossary", "What the numbers mean", |_| {
        page::glossary::of(
            glossary::METRICS,
            &[("Columns", glossary::COLUMNS), ("Other words", &glossary::terms())],
        )
    }),
];

const LOSSES: &[Figure] = &[(
    "losses",
    "Losses over the steps of training",
    "Both curves should have levelled off. A validation curve that rises while training falls is overfitting. Losses of free \
     simulations are noisier than the likelihood.",
)];

const AVERAGES: &[Figure] = &[
    (
        "psth",
        "Trial averages of single neurons, model over data",
        "Peaks should be at the same times and of the same height. A model that misses peaks has an encoder that is too simple or too \
         short; one that is right in shape and too high everywhere fires too much when it runs freely.",
    ),
    (
        "neurons",
        "Rates and trial averages of all neurons, and the busiest stretch of each trial",
        "Left: dots along the line. Middle: r can't be expected above its ceiling, so look at the distance from the line. Right: the \
         curves of model and data should lie on each other; model trials above the dashed line have run away.",
    ),
    (
        "raster",
        "Spikes of single neurons in all trials, data on the left, model on the right",
        "The texture should be alike: the same vertical stripes (the stimulus), as exact and as reliable, and gaps and bursts alike.",
    ),
];

const CORRELATIONS: &[Figure] = &[(
    "noise_correlations",
    "Noise correlations of pairs, model against data",
    "On the line: the model's neurons vary together as the recorded ones do. A cloud beside the line, parallel to it, is an offset, \
     such as by a slow change of the recording that the model can't know; a level cloud is shared variability between the wrong \
     neurons. A model that isn't nearer than the rings predicts no more than the training trials themselves.",
)];

const HORIZONS: &[Figure] = &[(
    "multi_step",
    "Likelihood of recorded spikes some time after the recorded past ends",
    "At short times the recorded past helps: the model should be above the average of the other trials. At long times it can know the \
     stimulus only, and falls to what its encoder knows. Below 0 it is worse than a constant rate.",
)];

const FILTERS: &[Figure] = &[(
    "filters",
    "What drives each neuron",
    "Filters of neurons of one type should look alike, move from place to place, and fade towards long lags: structure at the longest \
     ones wants a longer `history_ms`, speckle everywhere more data or fewer functions.",
)];

const COUPLINGS: &[Figure] = &[
    (
        "couplings",
        "Kernels between neurons",
        "Kernels say what a spike of one neuron tells about another beyond stimulus and other neurons of the model; neurons that are not \
         in the recording act through them too. A peak at the first lags both ways is common input rather than a synapse.",
    ),
    (
        "self_history",
        "What a neuron's own spikes do to it",
        "Refractoriness should be deep and short. With regular neurons a second peak follows at their preferred interval.",
    ),
];

/// The page.
pub fn page(inputs: &PageInputs<'_>) -> String {
    let title = format!("{} · {} trials", inputs.report.run, inputs.report.split);
    let (mut links, mut body) = (String::new(), String::new());
    for (id, title, content) in SECTIONS {
        page::add_section(id, title, content(inputs), &mut links, &mut body);
    }
    page::document(&title, "snnfit report", &links, &body)
}

/// Writes the page into the report's directory, in one step.
///
/// # Errors
/// [`FsError`] with the path.
pub fn write(directory: &Path, inputs: &PageInputs<'_>) -> Result<(), FsError> {
    page::write_page(directory, &page(inputs))
}

fn headline(inputs: &PageInputs<'_>) -> Content {
    let (facts, report) = (inputs.facts, inputs.report);
    let n: usize = facts.populations.iter().map(|p| p.n_recorded + p.n_hidden).sum();
    let mut html = format!(
        "<p class=\"lead\">A spike-history network of {n} neurons, compared with {} {} trials. Training: {}, {}.</p>\n",
        inputs.n_trials,
        escape(&report.split),
        defined("verdict", facts.verdict),
        page::headline::count_findings(&report.findings),
    );
    html.push_str(&tiles(report));
    html.push_str(&page::headline::facts(facts));
    html.push_str(&page::headline::populations(facts));
    html.push_str(&page::headline::left_out(facts));
    Content::Html(html)
}

/// The numbers most people look for, with what to hold them against.
fn tiles(report: &SpikeHistoryReport) -> String {
    let find = |name: &str| report.metrics.iter().find(|metric| metric.name == name);
    let middle = report
        .metrics
        .iter()
        .filter(|m| m.name.starts_with("noise_correlation_r2_offset_free_") && !m.name.contains("of_differences"))
        .map(|m| m.name.as_str())
        .collect::<Vec<_>>();
    let correlations = middle.get(middle.len() / 2).copied().unwrap_or_default();
    let window = correlations.rsplit('_').next().unwrap_or_default().replace("ms", " ms");
    let wanted = [
        ("bits_per_spike", "bits per spike, next bin".to_owned()),
        ("psth_correlation", "trial averages, r".to_owned()),
        (
            correlations,
            format!("noise correlations ({window}), R² without offset"),
        ),
        ("runaway_fraction", "trials that run away".to_owned()),
    ];
    let mut html = String::new();
    for (name, label) in wanted {
        let Some(metric) = find(name) else { continue };
        let interval = metric.ci95.map_or(String::new(), |[low, high]| {
            format!(
                "<span class=\"interval\">95 % interval {} to {}</span>",
                number(low),
                number(high)
            )
        });
        let beside = match (metric.ceiling_noiseless, metric.nulls.iter().next()) {
            (Some(ceiling), _) => format!("<span>ceiling {}</span>", number(ceiling)),
            (None, Some((null, value))) => format!("<span>{} {}</span>", escape(&words(null)), number(*value)),
            _ if name == "runaway_fraction" => "<span>right: 0</span>".to_owned(),
            _ => String::new(),
        };
        let anchor_name = glossary::definition(name).map_or(name, |d| d.names[0]);
        // Writing to a String cannot fail.
        let _ = writeln!(
            html,
            "<li><span class=\"label\">{}</span><span class=\"value\">{}</span>{interval}{beside}</li>",
            defined(anchor_name, &label),
            number(metric.value)
        );
    }
    if html.is_empty() {
        return html;
    }
    format!("<ul class=\"tiles\">\n{html}</ul>\n")
}

/// Short names of baselines; definitions say what they are.
fn words(name: &str) -> String {
    match name {
        "history_only" => "history only".to_owned(),
        "training_noise_correlations" | "training_psth" => "training".to_owned(),
        "psth" => "other trials".to_owned(),
        other => other.replace('_', " "),
    }
}

fn metrics(inputs: &PageInputs<'_>) -> Content {
    let report = inputs.report;
    let mut html = format!(
        "<p>{} model trials of each {}. A name opens its definition. In the strips: <span class=\"key model\">●</span> model with its \
         interval, <span class=\"key\">│</span> baselines, <span class=\"key\">◆</span> ceiling.</p>\n",
        report.model_trials,
        defined("repeated stimulus", "repeated stimulus"),
    );
    html.push_str(
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Metrics\">\n<table class=\"metrics\">\n<caption>Metrics with \
         intervals, baselines and ceilings</caption>\n<thead><tr><th scope=\"col\">metric</th>",
    );
    for (name, label) in [("value", "value"), ("ci95", "95 % interval")] {
        let _ = write!(html, "<th scope=\"col\" class=\"number\">{}</th>", defined(name, label));
    }
    let _ = writeln!(
        html,
        "<th scope=\"col\">right</th><th scope=\"col\">strip</th><th scope=\"col\" class=\"number\">{}</th><th scope=\"col\">{}</th>\
         <th scope=\"col\" class=\"number\">{}</th><th scope=\"col\">unit</th></tr></thead>\n<tbody>",
        defined("ceiling_noiseless", "ceiling"),
        defined("baselines", "baselines"),
        defined("n", "n"),
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
        format!("{} to {}", shown(low), shown(high))
    });
    let baselines: Vec<String> = metric
        .nulls
        .iter()
        .map(|(name, value)| format!("{} {}", escape(&words(name)), shown(*value)))
        .collect();
    let unit = if metric.unit == "1" { "" } else { &metric.unit };
    format!(
        "<tr><th scope=\"row\">{head}</th><td class=\"number value\">{}</td><td class=\"number\">{interval}</td><td>{right}</td>\
         <td>{}</td><td class=\"number\">{}</td><td>{}</td><td class=\"number\">{}</td><td>{}</td></tr>\n",
        shown(metric.value),
        page::metrics::strip(metric),
        metric.ceiling_noiseless.map_or("–".to_owned(), shown),
        if baselines.is_empty() {
            "–".to_owned()
        } else {
            baselines.join(", ")
        },
        metric.n,
        escape(unit)
    )
}

/// Cross-entropies need more digits than other numbers.
fn shown(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.1 {
        format!("{value:.4}")
    } else {
        number(value)
    }
}

/// Every neuron, folded away: there may be many.
fn neurons(inputs: &PageInputs<'_>) -> Content {
    let rows = &inputs.report.neurons;
    if rows.is_empty() {
        return Content::LeftOut(String::new());
    }
    let mut html = format!(
        "<details>\n<summary>{} neurons: rates and trial averages</summary>\n\
         <div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Neurons\">\n<table class=\"small\">\n\
         <caption>Rates and trial averages of each neuron</caption>\n<thead><tr><th scope=\"col\">session</th>\
         <th scope=\"col\">neuron</th><th scope=\"col\" class=\"number\">data, Hz</th><th scope=\"col\" class=\"number\">model, Hz</th>\
         <th scope=\"col\" class=\"number\">{}</th><th scope=\"col\" class=\"number\">{}</th></tr></thead>\n<tbody>\n",
        rows.len(),
        defined("psth_correlation", "r"),
        defined("ceiling_noiseless", "ceiling"),
    );
    let optional = |value: Option<f64>| value.map_or("–".to_owned(), |x| format!("{x:.2}"));
    for row in rows {
        let _ = writeln!(
            html,
            "<tr><td>{}</td><th scope=\"row\">{}</th><td class=\"number\">{:.2}</td><td class=\"number\">{:.2}</td>\
             <td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
            escape(&row.session),
            escape(&row.neuron),
            row.rate_hz[0],
            row.rate_hz[1],
            optional(row.psth_correlation),
            optional(row.psth_ceiling),
        );
    }
    html.push_str("</tbody>\n</table>\n</div>\n</details>\n");
    Content::Html(html)
}
