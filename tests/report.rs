//! The page that `evaluate` writes, and findings wherever they are told.

use std::collections::BTreeSet;

use serde_json::Value;
use snnfit::evaluate::Report;
use snnfit::report::glossary;

use crate::cli::Folder;
use crate::runs::{folder, succeed, train};

fn page(folder: &Folder, run: &str) -> String {
    std::fs::read_to_string(folder.path(format!("{run}/report/index.html"))).unwrap()
}

fn metrics(folder: &Folder, run: &str) -> String {
    std::fs::read_to_string(folder.path(format!("{run}/metrics.json"))).unwrap()
}

/// Values of an attribute.
fn values<'p>(page: &'p str, attribute: &str) -> Vec<&'p str> {
    let start = format!(" {attribute}=\"");
    page.split(start.as_str())
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect()
}

#[test]
fn a_report_is_one_page_that_needs_nothing_else() {
    let folder = folder();
    train(&folder, "a", &[]);
    succeed(&folder, &["evaluate", "a"]);
    let page = page(&folder, "a");
    assert!(page.len() < 3 << 20, "{} bytes", page.len());
    for forbidden in [
        "<script", "<link", "<img", "http:", "https:", "@import", "url(", " src=",
    ] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let ids: BTreeSet<&str> = values(&page, "id").into_iter().collect();
    assert_eq!(ids.len(), values(&page, "id").len(), "an anchor is there twice");
    for link in values(&page, "href") {
        assert!(ids.contains(link.trim_start_matches('#')), "{link} leads nowhere");
    }
    for section in [
        "headline",
        "findings",
        "metrics",
        "losses",
        "single-neurons",
        "trial-types",
        "variability",
        "behaviour",
        "connectivity",
        "reproduce",
        "glossary",
    ] {
        assert!(ids.contains(section), "no section {section}");
    }
    for picture in std::fs::read_dir(folder.path("a/report")).unwrap() {
        let name = picture.unwrap().file_name().into_string().unwrap();
        if let Some(name) = name.strip_suffix(".svg") {
            assert!(ids.contains(format!("figure-{name}").as_str()), "no figure {name}");
        }
    }
    let manifest: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path("a/manifest.json")).unwrap()).unwrap();
    let run_toml = std::fs::read_to_string(folder.path("a/run.toml")).unwrap();
    for text in [
        manifest["data"][0]["sha256"].as_str().unwrap(),
        "snnfit train --config a/run.toml --out AGAIN",
        "recording.h5",
        run_toml.lines().find(|line| line.starts_with("bin_ms")).unwrap(),
        "prefers-color-scheme: dark",
        "@media print",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn every_metric_of_a_report_is_defined_on_its_page() {
    let folder = folder();
    train(&folder, "a", &["train.max_steps = 20"]);
    succeed(&folder, &["evaluate", "a"]);
    let report: Report = serde_json::from_str(&metrics(&folder, "a")).unwrap();
    let page = page(&folder, "a");
    assert!(report.metrics.len() > 15);
    for metric in &report.metrics {
        let definition =
            glossary::definition(&metric.name).unwrap_or_else(|| panic!("{} has no definition", metric.name));
        assert_eq!(metric.unit, definition.unit, "{}", metric.name);
        assert!(
            page.contains(&format!("<summary><code>{}</code></summary>", metric.name)),
            "{}",
            metric.name
        );
    }
    for metric in &report.left_out {
        let is_defined = glossary::definition(&metric.name).is_some()
            || glossary::definition(&format!("{}/X", metric.name)).is_some();
        assert!(is_defined, "{}", metric.name);
    }
}

#[test]
fn the_page_of_metrics_says_what_the_glossary_says() {
    let path = format!("{}/../../docs/METRICS.md", crate::networks::manifest_dir());
    let written = std::fs::read_to_string(&path).unwrap();
    let mut expected = written.clone();
    for table in [glossary::columns_markdown(), glossary::metrics_markdown()] {
        let head = table.lines().next().unwrap();
        let begin = expected.find(head).unwrap_or_else(|| panic!("no table '{head}'"));
        let end = begin
            + expected[begin..]
                .find("\n\n")
                .map_or(expected.len() - begin, |at| at + 1);
        expected.replace_range(begin..end, &table);
    }
    if std::env::var_os("SNNFIT_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    assert!(
        written == expected,
        "run this test with SNNFIT_UPDATE_DOCS=1 and commit docs/METRICS.md"
    );
}

#[test]
fn names_of_a_recording_are_text_wherever_they_are_shown() {
    let folder = folder();
    let path = folder.path("recording.h5");
    let mut recording = data::read(&path).unwrap();
    let hostile = |name: &str| format!("<b title=\"{name}\">&'{name}");
    for session in &mut recording.sessions {
        session.id = hostile(&session.id);
        for unit in &mut session.units {
            unit.area = hostile(&unit.area);
        }
        for trial in &mut session.trials {
            trial.trial_type = hostile(&trial.trial_type);
        }
    }
    data::write_replacing(&path, &recording).unwrap();
    train(&folder, "a", &["train.max_steps = 20"]);
    succeed(&folder, &["evaluate", "a"]);
    let page = page(&folder, "a");
    assert!(!page.contains("<b ") && !page.contains("<b>"), "a name became markup");
    assert!(page.contains("&lt;b title=&quot;area1&quot;&gt;&amp;&#39;area1"));
}

#[test]
fn evaluating_again_writes_the_same_page() {
    let folder = folder();
    train(&folder, "a", &["train.max_steps = 20"]);
    let evaluated = || {
        succeed(&folder, &["evaluate", "a", "--split", "validation"]);
        std::fs::read(folder.path("a/report-validation/index.html")).unwrap()
    };
    assert_eq!(evaluated(), evaluated());
}

#[test]
fn findings_are_told_at_the_end_of_training_and_by_evaluate_everywhere() {
    let folder = folder();
    // A weight penalty that leaves no weight: every recurrent weight is at the floor after a few steps.
    let sets = ["train.max_steps = 20", "optimizer.adamw.l1 = 1000.0"];
    let trained = train(&folder, "a", &sets);
    assert!(
        trained
            .stdout
            .contains("findings:\n  severe: nearly all recurrent weights"),
        "{}",
        trained.stdout
    );
    assert!(trained.stdout.contains("`optimizer.adamw.l1`"));
    assert!(trained.stdout.matches("why it matters").count() <= 3);
    let told = succeed(&folder, &["evaluate", "a"]).stdout;
    assert!(told.contains("severe: nearly all recurrent weights"), "{told}");
    let mut json: Value = serde_json::from_str(&metrics(&folder, "a")).unwrap();
    let findings = json["findings"].as_array().unwrap();
    assert!(
        findings.iter().any(|finding| finding["kind"] == "weights_at_floor"),
        "{findings:?}"
    );
    assert!(page(&folder, "a").contains("Nearly all recurrent weights have gone to zero"));
    // A file of an older program has neither findings nor variances of sessions.
    let fields = json.as_object_mut().unwrap();
    fields.remove("findings");
    fields.remove("feature_variance");
    let report: Report = serde_json::from_value(json).unwrap();
    assert!(report.findings.is_empty() && report.feature_variance.is_empty());
}
