//! One page about a recording before anything is fitted: units, rates, trials, spikes around the event.
//!
//! For the first look at a file: what it takes to see that areas, trial types and the event came out as meant. Not here:
//! checks ([`data::check`]) and numbers ([`data::summary`]), which the page shows.

mod pictures;
mod scene;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use data::{Recording, RecordingSummary};

use super::page::{document, html::escape, html::inline, svg};
use super::plots::{PlotError, svg_of};
use pictures::{Drawn, PICTURES};
use scene::Scene;

/// Warnings beyond so many are counted only.
const MAX_WARNINGS: usize = 20;
/// Rows of a table beyond so many are counted only.
const MAX_ROWS: usize = 60;

/// The page.
///
/// # Errors
/// [`PlotError::Draw`] where the drawing library fails.
pub fn page(name: &str, recording: &Recording, summary: &RecordingSummary) -> Result<String, PlotError> {
    let scene = Scene::of(recording);
    let mut figures = String::new();
    for picture in PICTURES {
        match picture.content(&scene) {
            Drawn::Picture { size, draw } => {
                let svg = svg_of(size, |canvas| draw(canvas))?;
                figures.push_str(&svg::figure(
                    picture.name,
                    picture.title,
                    &inline(picture.caption),
                    &svg,
                ));
            }
            Drawn::Nothing(reason) => {
                let _ = writeln!(
                    figures,
                    "<p class=\"note\">Not drawn. {}: {}.</p>",
                    escape(picture.title),
                    escape(&reason)
                );
            }
        }
    }
    let sections = [
        ("overview", "What is in it", overview(summary)),
        ("warnings", "Warnings", warnings(summary)),
        ("pictures", "Pictures", figures),
        ("sessions", "Sessions", sessions(summary)),
    ];
    let (mut links, mut body) = (String::new(), String::new());
    for (id, title, content) in sections.iter().filter(|(_, _, content)| !content.is_empty()) {
        // Writing to a String cannot fail.
        let _ = writeln!(links, "<li><a href=\"#{id}\">{title}</a></li>");
        let _ = writeln!(
            body,
            "<section id=\"{id}\" aria-labelledby=\"{id}-title\">\n<h2 id=\"{id}-title\">{title}</h2>\n{content}</section>"
        );
    }
    Ok(document(name, "snnfit recording", &links, &body))
}

/// Writes the page to a file that must not exist.
///
/// # Errors
/// [`PlotError::Fs`] with the path, [`PlotError::Draw`].
pub fn write(path: &Path, name: &str, recording: &Recording, summary: &RecordingSummary) -> Result<(), PlotError> {
    let page = page(name, recording, summary)?;
    Ok(data::fs::write_new(path, |file| file.write_all(page.as_bytes()))?)
}

fn overview(summary: &RecordingSummary) -> String {
    let tile = |label: &str, value: String| {
        format!("<li><span class=\"label\">{label}</span><span class=\"value\">{value}</span></li>\n")
    };
    let mut html = String::from("<ul class=\"tiles\">\n");
    for (label, n) in [
        ("sessions", summary.n_sessions as u64),
        ("units", summary.n_units as u64),
        ("trials", summary.n_trials as u64),
        ("spikes", summary.n_spikes),
    ] {
        html.push_str(&tile(label, grouped(n)));
    }
    html.push_str("</ul>\n");
    let header = [
        "area", "type", "units", "lowest", "25 %", "median", "75 %", "highest", "mean",
    ];
    let rows = summary.populations.iter().map(|p| {
        let q = p.rate_hz;
        let mut row = vec![p.area.clone(), p.cell_type.to_string(), p.n_units.to_string()];
        let rates = [q.min, q.q25, q.median, q.q75, q.max, q.mean];
        row.extend(rates.map(|rate| format!("{rate:.2}")));
        row
    });
    html.push_str(&table(
        "Units by area and cell type; rates in Hz over all that was recorded",
        &header,
        2,
        rows,
    ));
    let rows = summary
        .trials_per_type
        .iter()
        .map(|(name, n)| vec![name.clone(), n.to_string()]);
    html.push_str(&table("Trials by type", &["type", "trials"], 1, rows));
    html
}

fn sessions(summary: &RecordingSummary) -> String {
    let header = [
        "session",
        "units",
        "trials",
        "spikes",
        "mean rate (Hz)",
        "recorded (s)",
        "trial (s)",
        "activity",
        "behaviour",
    ];
    let rows = summary.sessions.iter().map(|s| {
        let (shortest, longest) = s.trial_s;
        vec![
            s.id.clone(),
            s.n_units.to_string(),
            s.n_trials.to_string(),
            grouped(s.n_spikes),
            format!("{:.2}", s.mean_rate_hz),
            format!("{:.0}", s.duration_s),
            format!("{shortest:.2} to {longest:.2}"),
            s.activity.clone(),
            s.behaviour.keys().cloned().collect::<Vec<_>>().join(", "),
        ]
    });
    table("One row per session", &header, 1, rows) + &events(summary)
}

/// Events and values of trials; nothing where there are none.
fn events(summary: &RecordingSummary) -> String {
    let mut rows = Vec::new();
    for session in &summary.sessions {
        let events = session.events.iter().map(|event| ("event (ms)", event));
        for (kind, (name, column)) in events.chain(session.values.iter().map(|value| ("value", value))) {
            let mut row = vec![
                session.id.clone(),
                name.clone(),
                kind.to_owned(),
                column.n_trials.to_string(),
            ];
            let quantiles = column.quantiles.map_or([f64::NAN; 3], |q| [q.median, q.min, q.max]);
            let shown = |x: f64| {
                if x.is_nan() {
                    "–".to_owned()
                } else {
                    format!("{x:.3}")
                }
            };
            row.extend(quantiles.map(shown));
            rows.push(row);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let header = ["session", "name", "kind", "trials", "median", "lowest", "highest"];
    let caption = "Events of trials relative to the one that trials are aligned to, and values";
    table(caption, &header, 3, rows.into_iter())
}

fn warnings(summary: &RecordingSummary) -> String {
    if summary.warnings.is_empty() {
        return "<p>None: the arrays of this file are as its format asks. What an import left out or took for granted it told \
                when it ran; a recording doesn't keep it.</p>\n".to_owned();
    }
    let mut html = String::from("<ul class=\"findings\">\n");
    for warning in summary.warnings.iter().take(MAX_WARNINGS) {
        let _ = writeln!(
            html,
            "<li class=\"moderate\"><p>{}</p></li>",
            escape(&warning.to_string())
        );
    }
    html.push_str("</ul>\n");
    if let Some(more) = summary.warnings.len().checked_sub(MAX_WARNINGS).filter(|n| *n > 0) {
        let _ = writeln!(
            html,
            "<p class=\"note\">And {more} more: <code>snnfit inspect</code> lists them.</p>"
        );
    }
    html
}

/// A table whose first `n_names` columns are text, the others numbers.
fn table(caption: &str, header: &[&str], n_names: usize, rows: impl ExactSizeIterator<Item = Vec<String>>) -> String {
    let class = |column: usize| if column < n_names { "" } else { " class=\"number\"" };
    let mut html = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{0}\">\n<table>\n<caption>{0}</caption>\n<thead><tr>",
        escape(caption)
    );
    for (column, name) in header.iter().enumerate() {
        let _ = write!(html, "<th scope=\"col\"{}>{}</th>", class(column), escape(name));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    let more = rows.len().saturating_sub(MAX_ROWS);
    for row in rows.take(MAX_ROWS) {
        html.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let _ = write!(html, "<td{}>{}</td>", class(column), escape(cell));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table>\n</div>\n");
    if more > 0 {
        let _ = writeln!(
            html,
            "<p class=\"note\">And {more} more: <code>snnfit inspect</code> lists them.</p>"
        );
    }
    html
}

/// A whole number with a thin space between thousands.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}
