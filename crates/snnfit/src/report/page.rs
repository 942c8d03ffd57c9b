//! `report/index.html`: one page with everything about one evaluation, which needs no network and no other file.
//!
//! A page is a list of [`sections`](SECTIONS), each a function from [`PageInputs`] to its content; a new section is a
//! row of that table. Every text that comes from a file is escaped ([`html::escape`]); there is no script, and the page
//! forbids itself to load anything. Not here: numbers ([`crate::evaluate`]) and pictures ([`super::plots`]).

mod facts;
pub(in crate::report) mod glossary;
pub(in crate::report) mod headline;
pub(in crate::report) mod html;
pub(in crate::report) mod metrics;
pub(in crate::report) mod reproduce;
pub(in crate::report) mod svg;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use data::fs::FsError;

pub use facts::{PopulationFacts, RunFacts};

use super::plots::Pictures;
use crate::evaluate::Report;
use html::{escape, inline};

/// Name of the file in the report's directory.
pub const FILE_NAME: &str = "index.html";

/// What the page shows.
#[derive(Debug, Clone, Copy)]
pub struct PageInputs<'a> {
    /// The run.
    pub facts: &'a RunFacts,
    /// The numbers.
    pub report: &'a Report,
    /// The pictures.
    pub pictures: &'a Pictures,
}

/// What a section has to say.
pub(in crate::report) enum Content {
    /// This.
    Html(String),
    /// Nothing, for a reason worth a sentence.
    LeftOut(String),
}

/// A part of the page.
struct Section {
    /// Anchor.
    id: &'static str,
    title: &'static str,
    content: fn(&PageInputs<'_>) -> Content,
}

/// The page, from top to bottom.
const SECTIONS: &[Section] = &[
    Section {
        id: "headline",
        title: "What was fitted, and how well",
        content: headline::content,
    },
    Section {
        id: "findings",
        title: "Findings",
        content: headline::findings,
    },
    Section {
        id: "metrics",
        title: "Metrics",
        content: metrics::content,
    },
    Section {
        id: "losses",
        title: "Losses",
        content: |inputs| figures(inputs, LOSSES),
    },
    Section {
        id: "single-neurons",
        title: "Trial averages and single trials",
        content: |inputs| figures(inputs, NEURONS),
    },
    Section {
        id: "trial-types",
        title: "Trial types and population activity",
        content: |inputs| figures(inputs, TYPES),
    },
    Section {
        id: "variability",
        title: "Trial-to-trial variability",
        content: |inputs| figures(inputs, VARIABILITY),
    },
    Section {
        id: "behaviour",
        title: "Behaviour",
        content: |inputs| figures(inputs, BEHAVIOUR),
    },
    Section {
        id: "connectivity",
        title: "Connectivity",
        content: |inputs| figures(inputs, CONNECTIVITY),
    },
    Section {
        id: "reproduce",
        title: "How to reproduce this",
        content: reproduce::content,
    },
    Section {
        id: "glossary",
        title: "What the numbers mean",
        content: glossary::content,
    },
];

/// A picture and what to look for in it.
pub(in crate::report) type Figure = (&'static str, &'static str, &'static str);

const LOSSES: &[Figure] = &[(
    "losses",
    "Losses over the steps of training",
    "Both curves should have levelled off. A validation curve that rises while training falls is overfitting. The dashed line is \
     what as many training trials reach in the model's place: the noise of the recording itself.",
)];

const NEURONS: &[Figure] = &[
    (
        "psth",
        "Trial averages of single neurons, model over data",
        "The best, a middling and the worst neurons. Look at the middle row: it is the typical fit. A flat curve of the model is a \
         neuron that has learnt its mean rate only. How near r can come to 1 with so few recorded trials is said by the ceiling \
         of `psth_pearson` among the metrics.",
    ),
    (
        "raster",
        "Spikes of single trials, data on the left, model on the right",
        "The texture should be alike: as many spikes, as regular, as synchronous. Stripes across all neurons in the model alone \
         are synchrony that the animal did not have.",
    ),
];

const TYPES: &[Figure] = &[
    (
        "type_fractions",
        "Shares of trial types in data and model",
        "Overlapping intervals: the model shows this kind of trial as often as the animal. A type at 0 is a mode that the model has \
         lost.",
    ),
    (
        "population_activity",
        "Mean activity of each area by trial type",
        "Types should differ in the model where they differ in the data, in the same areas and at the same time after the event.",
    ),
    (
        "peak_rates",
        "Distribution over single trials of the peak rate of each area",
        "Two humps are two kinds of trial. A single hump of the model between them is an average trial that never occurred.",
    ),
    (
        "modes",
        "Single trials of the model and the recorded types among them",
        "Separate clouds are kinds of trials. Each ring should lie in a cloud of its own: a ring in nobody's cloud is a kind of trial \
         that the model doesn't have, a cloud without a ring one that the animal didn't show. In UMAP's plane distances between \
         clouds mean little.",
    ),
];

const VARIABILITY: &[Figure] = &[
    (
        "feature_variance",
        "Variance of trial features in each session, model over data",
        "Left of the dashed line, the model varies less from trial to trial than the animal did. A session far from the others may \
         have few trials or another behaviour.",
    ),
    (
        "variance_over_time",
        "Variance of population activity over the trial, model over data",
        "Where the line is far from the dashed one for a stretch, the model's trials differ too much or too little at that time, \
         though the whole trial may come out right. Before the event there is little but noise to vary.",
    ),
    (
        "fano_factors",
        "Fano factors of single neurons, model against data",
        "Along the diagonal, each neuron's count varies as much from trial to trial as it did in the animal. A cloud above it: \
         single neurons vary too much, which averages over populations may hide. What neurons have of it in data of few trials is \
         mostly noise, so that a cloud about the right medians is as good as can be seen.",
    ),
    (
        "noise_correlations",
        "Noise correlations of pairs of neurons, model against data",
        "A cloud along the diagonal: pairs that vary together in the animal do so in the model. Group means on a level line: \
         shared variability is there, if at all, between the wrong neurons. With few trials recorded correlations are mostly noise; \
         `reference_train_test` says how well they repeat.",
    ),
];

const BEHAVIOUR: &[Figure] = &[(
    "behaviour",
    "Behaviour of model and data by trial type",
    "Lines are means, bands one standard deviation over trials. A band of the model that is too narrow is behaviour that hardly \
     varies from trial to trial.",
)];

const CONNECTIVITY: &[Figure] = &[
    (
        "weights_by_population",
        "Mean recurrent weight between areas and cell types",
        "Read a column as what a population sends, a row as what it receives. Strong blocks away from the diagonal carry activity \
         between areas.",
    ),
    (
        "weights",
        "All recurrent weights",
        "Stripes along columns are neurons with strong output. White blocks hold no synapses: forbidden ones, or weights that training \
         has brought to zero.",
    ),
];

/// Pictures with captions; those that could not be drawn say why.
fn figures(inputs: &PageInputs<'_>, figures: &[Figure]) -> Content {
    figures_of(inputs.pictures, figures)
}

/// The same of any pictures.
pub(in crate::report) fn figures_of(pictures: &Pictures, figures: &[Figure]) -> Content {
    let drawn = |name: &str| pictures.svgs.iter().find(|(found, _)| *found == name);
    let mut html = String::new();
    let mut missing = Vec::new();
    for (name, title, caption) in figures {
        if let Some((_, picture)) = drawn(name) {
            html.push_str(&svg::figure(name, title, &inline(caption), picture));
        } else if let Some((_, reason)) = pictures.left_out.iter().find(|(found, _)| found == name) {
            missing.push(format!("{title}: {reason}."));
        }
    }
    if html.is_empty() {
        return Content::LeftOut(missing.join(" "));
    }
    for sentence in missing {
        // Writing to a String cannot fail.
        let _ = writeln!(html, "<p class=\"note\">Not drawn. {}</p>", escape(&sentence));
    }
    Content::Html(html)
}

/// The page.
pub fn page(inputs: &PageInputs<'_>) -> String {
    let report = inputs.report;
    let title = format!("{} · {} trials", report.run, report.split);
    let mut body = String::new();
    let mut links = String::new();
    for section in SECTIONS {
        add_section(
            section.id,
            section.title,
            (section.content)(inputs),
            &mut links,
            &mut body,
        );
    }
    document(&title, "snnfit report", &links, &body)
}

/// Adds a section and its link, unless it has nothing to say.
pub(in crate::report) fn add_section(id: &str, title: &str, content: Content, links: &mut String, body: &mut String) {
    let content = match content {
        Content::Html(content) => content,
        Content::LeftOut(reason) if reason.is_empty() => return,
        Content::LeftOut(reason) => format!("<p class=\"note\">{}</p>\n", escape(&reason)),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(links, "<li><a href=\"#{id}\">{title}</a></li>");
    let _ = writeln!(
        body,
        "<section id=\"{id}\" aria-labelledby=\"{id}-title\">\n<h2 id=\"{id}-title\">{title}</h2>\n{content}</section>"
    );
}

/// A page that needs no other file: title, kind of page, list items of links (HTML), and content (HTML).
pub(in crate::report) fn document(title: &str, kind: &str, links: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title} – {kind}</title>\n<style>\n{style}</style>\n</head>\n<body>\n\
         <header>\n<p class=\"kicker\">{kind}</p>\n<h1>{title}</h1>\n<nav aria-label=\"sections\">\n<ul>\n{links}</ul>\n\
         </nav>\n</header>\n<main>\n{body}</main>\n</body>\n</html>\n",
        title = escape(title),
        style = include_str!("page/style.css"),
    )
}

/// Writes the page into the report's directory, in one step.
///
/// # Errors
/// [`FsError`] with the path.
pub fn write(directory: &Path, inputs: &PageInputs<'_>) -> Result<(), FsError> {
    write_page(directory, &page(inputs))
}

/// Writes a page's text.
pub(in crate::report) fn write_page(directory: &Path, page: &str) -> Result<(), FsError> {
    data::fs::write_atomic(&directory.join(FILE_NAME), |file| file.write_all(page.as_bytes()))
}
