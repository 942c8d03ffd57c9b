//! Definitions of all numbers, from the table that `docs/METRICS.md` is checked against.

use std::fmt::Write;

use super::html::{anchor, escape, inline};
use super::{Content, PageInputs};
use crate::report::glossary::{COLUMNS, Definition, METRICS, Right, TERMS, Term};

pub(super) fn content(_: &PageInputs<'_>) -> Content {
    of(METRICS, &[("Columns", COLUMNS), ("Other words", TERMS)])
}

/// Of these metrics and words.
pub(in crate::report) fn of(metrics: &[Definition], words: &[(&str, &[Term])]) -> Content {
    let mut html = "<h3>Metrics</h3>\n<dl class=\"glossary\">\n".to_owned();
    for metric in metrics {
        let names: Vec<String> = metric
            .names
            .iter()
            .map(|name| format!("<code>{}</code>", escape(name)))
            .collect();
        // Each name is the aim of a link of its own.
        let anchors = metric
            .names
            .iter()
            .skip(1)
            .map(|name| format!("<span id=\"{}\"></span>", anchor(name)));
        let anchors = anchors.collect::<Vec<_>>().concat();
        let unit = if metric.unit == "1" {
            String::new()
        } else {
            format!(", {}", metric.unit)
        };
        let right = match metric.right {
            Right::None => String::new(),
            right => format!(" Right: {}.", inline(right.text())),
        };
        let _ = writeln!(
            html,
            "<dt id=\"{}\">{anchors}{}{unit}</dt>\n<dd>{}.{right}</dd>",
            anchor(metric.names[0]),
            names.join(", "),
            inline(metric.text),
        );
    }
    html.push_str("</dl>\n");
    for (title, terms) in words {
        let _ = write!(html, "<h3>{title}</h3>\n<dl class=\"glossary\">\n");
        for Term { name, text } in *terms {
            let _ = writeln!(
                html,
                "<dt id=\"{}\">{}</dt>\n<dd>{}.</dd>",
                anchor(name),
                escape(name),
                inline(text)
            );
        }
        html.push_str("</dl>\n");
    }
    Content::Html(html)
}
