//! The page from hand-made inputs: structure, escaping, sections without content.

use std::collections::BTreeSet;

use losses::metrics::MetricValue;

use super::*;
use crate::evaluate::{LeftOutMetric, SCHEMA, SessionTrials};
use crate::few_spikes::FewSpikes;
use crate::findings::{Finding, Kind, Severity};
use crate::partly_observed::PartlyObserved;
use crate::run_dir::{DataFile, LeftOut, StopReason};

const HOSTILE: &str = "<img src=x onerror=\"alert('1')\">&\u{1b}[2J";

fn facts() -> RunFacts {
    RunFacts {
        run: HOSTILE.to_owned(),
        recordings: vec![DataFile {
            path: format!("/data/{HOSTILE}.h5"),
            sha256: "ab12".to_owned(),
        }],
        n_sessions: (1, 2),
        populations: vec![PopulationFacts {
            area: HOSTILE.to_owned(),
            cell_type: "excitatory",
            n_recorded: 10,
            n_hidden: 2,
        }],
        trials: vec![("train", 10), ("validation", 2), ("test", 4)],
        model: vec![("Behaviour", HOSTILE.to_owned())],
        losses: vec![("psth".to_owned(), 2.5)],
        checkpoint_step: 30,
        last_step: Some(40),
        stop_reason: Some(StopReason::MaxSteps),
        verdict: "improving",
        best: Some((30, 1.5)),
        floor: Some(1.25),
        seconds: Some(61.0),
        device: HOSTILE.to_owned(),
        threads: 2,
        trained_by: ("0.1".to_owned(), HOSTILE.to_owned()),
        evaluated_by: ("0.2".to_owned(), "unknown".to_owned()),
        seed: 7,
        test_openings: 1,
        argv: vec!["snnfit".to_owned(), HOSTILE.to_owned()],
        options: vec!["--split test".to_owned()],
        run_toml: format!("# {HOSTILE}"),
        left_out: vec![LeftOut {
            session: HOSTILE.to_owned(),
            area: Some(HOSTILE.to_owned()),
            reason: HOSTILE.to_owned(),
        }],
        few_spikes: vec![FewSpikes {
            session: HOSTILE.to_owned(),
            unit: HOSTILE.to_owned(),
            area: HOSTILE.to_owned(),
            spikes: 3,
        }],
        partly_observed: vec![PartlyObserved {
            session: HOSTILE.to_owned(),
            unit: HOSTILE.to_owned(),
            area: HOSTILE.to_owned(),
            n_observed: 3,
            n_trials: 4,
            in_populations: false,
        }],
        warnings: vec![HOSTILE.to_owned()],
    }
}

fn report() -> Report {
    let metric = |name: String| MetricValue {
        ci95: Some([0.1, 0.3]),
        nulls: [("trial_shuffled".to_owned(), 0.15)].into(),
        reference_train_test: Some(0.25),
        ceiling_noiseless: Some(0.4),
        ..MetricValue::new(name, 0.2, 5, "1")
    };
    Report {
        schema: SCHEMA,
        run: HOSTILE.to_owned(),
        split: "test".to_owned(),
        checkpoint_step: 30,
        model_trials: 10,
        trials: vec![SessionTrials {
            session: HOSTILE.to_owned(),
            train: 10,
            test: 4,
            compared: 4,
            matched: 4,
        }],
        metrics: vec![
            metric("psth_pearson".to_owned()),
            metric(format!("type_fraction/{HOSTILE}")),
            metric(format!("{HOSTILE} unknown")),
        ],
        left_out: vec![LeftOutMetric {
            name: HOSTILE.to_owned(),
            reason: HOSTILE.to_owned(),
        }],
        notes: vec![HOSTILE.to_owned()],
        feature_variance: Vec::new(),
        variance_over_time: Vec::new(),
        few_spikes: Vec::new(),
        findings: vec![Finding {
            kind: Kind::SilentArea,
            severity: Severity::Severe,
            what: format!("area {HOSTILE} is silent"),
            how_much: HOSTILE.to_owned(),
            why: HOSTILE.to_owned(),
            remedy: HOSTILE.to_owned(),
        }],
    }
}

fn pictures() -> Pictures {
    Pictures {
        modes: None,
        files: Vec::new(),
        svgs: vec![(
            "losses",
            "<svg width=\"80\" height=\"50\" viewBox=\"0 0 80 50\">\n<rect x=\"0\" y=\"0\" fill=\"#FFFFFF\"/>\n</svg>\n".to_owned(),
        )],
        left_out: vec![("behaviour", format!("the network {HOSTILE} has none"))],
    }
}

fn made() -> String {
    page(&PageInputs {
        facts: &facts(),
        report: &report(),
        pictures: &pictures(),
    })
}

/// Values of an attribute, in order.
fn values<'p>(page: &'p str, attribute: &str) -> Vec<&'p str> {
    let start = format!(" {attribute}=\"");
    page.split(start.as_str())
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect()
}

#[test]
fn nothing_from_a_file_is_markup() {
    let page = made();
    assert!(!page.contains("<img") && !page.contains('\u{1b}'));
    assert!(
        page.matches("&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;")
            .count()
            > 15
    );
    for forbidden in ["<script", "http:", "https:", "@import", "url(", "<link"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn every_link_has_its_aim_and_every_anchor_is_there_once() {
    let page = made();
    let ids = values(&page, "id");
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(unique.len(), ids.len(), "an anchor is there twice");
    for link in values(&page, "href") {
        let aim = link
            .strip_prefix('#')
            .unwrap_or_else(|| panic!("{link} leaves the page"));
        assert!(unique.contains(aim), "{link} leads nowhere");
    }
}

#[test]
fn headings_are_in_order_and_tables_have_heads() {
    let page = made();
    let levels: Vec<u32> = page
        .split("<h")
        .skip(1)
        .filter_map(|rest| rest.chars().next()?.to_digit(10))
        .collect();
    assert_eq!(levels[0], 1);
    assert_eq!(levels.iter().filter(|level| **level == 1).count(), 1);
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
    assert_eq!(
        page.matches("<th ").count(),
        page.matches("<th scope=").count(),
        "a head without a scope"
    );
    assert_eq!(page.matches("<svg viewBox").count(), page.matches("<title id=").count());
}

#[test]
fn sections_without_content_say_why_in_one_sentence() {
    let page = made();
    let behaviour = page
        .split("id=\"behaviour\"")
        .nth(1)
        .unwrap()
        .split("</section>")
        .next()
        .unwrap();
    assert!(
        behaviour.contains("Behaviour of model and data by trial type: the network"),
        "{behaviour}"
    );
    // Neither drawn nor left out: there is nothing to say, and no heading.
    assert!(!page.contains("id=\"connectivity\""));
    let fine = Report {
        findings: Vec::new(),
        ..report()
    };
    let page = super::page(&PageInputs {
        facts: &facts(),
        report: &fine,
        pictures: &pictures(),
    });
    assert!(page.contains("Nothing in these numbers is known to be wrong."));
}

#[test]
fn a_metric_stands_beside_its_interval_references_and_definition() {
    let page = made();
    for text in [
        "<td class=\"number value\">0.200</td><td class=\"number\">0.100 to 0.300</td><td>high</td>",
        "<td class=\"number\">0.250</td><td class=\"number\">0.400</td>",
        "correlation of model and recorded PSTH over time",
        "id=\"def-psth-pearson\"",
        "checkpoint of step 30 of 40",
        "10 + 2 hidden",
    ] {
        assert!(page.contains(text), "{text}");
    }
}
