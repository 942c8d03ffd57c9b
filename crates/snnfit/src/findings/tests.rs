//! Each rule on hand-made numbers, on both sides of its threshold.

use std::collections::BTreeMap;

use losses::metrics::MetricValue;
use losses::sinkhorn::{Blur, Cost, Sinkhorn};
use losses::trial_loss::Method;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, StandardNormal};

use super::*;
use crate::config::checked::Loss;
use crate::config::schema_table;
use crate::evaluate::{Report, SCHEMA};
use crate::run_dir::StopReason;

fn kinds(findings: &[Finding]) -> Vec<Kind> {
    findings.iter().map(|finding| finding.kind).collect()
}

fn area(name: &str, model_hz: &[f64], recorded_hz: &[f64]) -> AreaRates {
    AreaRates {
        area: name.to_owned(),
        model_hz: model_hz.to_vec(),
        recorded_hz: recorded_hz.to_vec(),
    }
}

fn report(metrics: Vec<MetricValue>) -> Report {
    Report {
        schema: SCHEMA,
        run: "a".to_owned(),
        split: "test".to_owned(),
        checkpoint_step: 1,
        model_trials: 10,
        trials: Vec::new(),
        metrics,
        left_out: Vec::new(),
        notes: Vec::new(),
        feature_variance: Vec::new(),
        variance_over_time: Vec::new(),
        few_spikes: Vec::new(),
        findings: Vec::new(),
    }
}

fn metric(name: &str, value: f64, ci95: [f64; 2], nulls: &[(&str, f64)]) -> MetricValue {
    MetricValue {
        ci95: Some(ci95),
        nulls: nulls.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        ..MetricValue::new(name, value, 10, "1")
    }
}

fn of(metrics: Vec<MetricValue>) -> Vec<Finding> {
    of_metrics(&report(metrics), &fitted_by(Method::Hard))
}

fn fitted_by(method: Method) -> [Loss; 2] {
    [Loss::Psth { weight: 1.0 }, Loss::TrialMatching { weight: 1.0, method }]
}

fn validations(values: &[f64]) -> Validations {
    let totals = values
        .iter()
        .enumerate()
        .map(|(i, value)| (100 * (i as u64 + 1), *value));
    Validations {
        totals: totals.collect(),
        stop_reason: Some(StopReason::MaxSteps),
    }
}

#[test]
fn areas_are_silent_below_a_tenth_and_run_away_above_three_times_the_recorded_rate() {
    let recorded = [4.0, 6.0];
    assert_eq!(
        kinds(&of_rates(&[area("V1", &[0.2, 0.7], &recorded)]))[0],
        Kind::SilentArea
    );
    assert_eq!(
        kinds(&of_rates(&[area("V1", &[15.0, 16.0], &recorded)])),
        [Kind::RunawayArea]
    );
    for model in [[0.5, 0.7], [14.0, 15.0]] {
        assert!(of_rates(&[area("V1", &model, &recorded)]).is_empty(), "{model:?}");
    }
    assert!(
        of_rates(&[area("V1", &[], &[])]).is_empty(),
        "an area without neurons has no rate"
    );
    let text = text(&of_rates(&[area("V1", &[0.2, 0.2], &recorded)]), 5);
    assert!(
        text.contains("severe: area V1 is silent in the model · 0.20 Hz in the model, 5.0 Hz recorded (4 %, mean"),
        "{text}"
    );
}

#[test]
fn silent_neurons_are_told_from_one_in_twenty_on_and_never_those_that_hardly_fire_themselves() {
    let recorded = vec![5.0; 40];
    let with_silent = |n: usize| -> Vec<f64> { (0..40).map(|i| if i < n { 0.1 } else { 5.0 }).collect() };
    assert!(of_rates(&[area("V1", &with_silent(1), &recorded)]).is_empty());
    let found = of_rates(&[area("V1", &with_silent(2), &recorded)]);
    assert_eq!(
        (kinds(&found), found[0].severity),
        (vec![Kind::SilentNeurons], Severity::Moderate)
    );
    assert!(found[0].how_much.contains("V1 2 of 40"), "{}", found[0].how_much);
    let found = of_rates(&[area("V1", &with_silent(12), &recorded)]);
    assert_eq!(found[0].severity, Severity::Severe);
    let mut slow = recorded.clone();
    slow[..2].fill(0.3);
    assert!(of_rates(&[area("V1", &with_silent(2), &slow)]).is_empty());
}

#[test]
fn dispersion_is_told_beyond_its_bounds() {
    let ratio = |value: f64| of(vec![metric("feature_variance_ratio", value, [value; 2], &[])]);
    assert_eq!(kinds(&ratio(0.79)), [Kind::UnderDispersion]);
    assert_eq!(kinds(&ratio(1.26)), [Kind::OverDispersion]);
    assert_eq!(
        (ratio(0.3)[0].severity, ratio(0.79)[0].severity),
        (Severity::Severe, Severity::Moderate)
    );
    assert!(ratio(0.81).is_empty() && ratio(1.24).is_empty());
    assert!(
        ratio(0.3)[0]
            .how_much
            .starts_with("trial-to-trial variance of population activity, model")
    );
    let with_behaviour = of(vec![
        metric("feature_variance_ratio", 0.5, [0.5; 2], &[]),
        metric("behaviour_variance_ratio/jaw", 0.1, [0.1; 2], &[]),
    ]);
    assert_eq!(kinds(&with_behaviour), [Kind::UnderDispersion]);
    assert!(
        with_behaviour[0]
            .how_much
            .contains("of population activity and behaviour, model over data")
    );
    let fano = |value: f64| kinds(&of(vec![metric("fano_ratio", value, [value; 2], &[])]));
    assert_eq!(
        (fano(4.6), fano(0.4)),
        (vec![Kind::CountVariability], vec![Kind::CountVariability])
    );
    assert!(fano(1.9).is_empty() && fano(0.6).is_empty());
}

#[test]
fn what_makes_trials_vary_more_depends_on_how_they_were_matched() {
    let remedy = |losses: &[Loss]| {
        let found = of_metrics(
            &report(vec![metric("feature_variance_ratio", 0.5, [0.5; 2], &[])]),
            losses,
        );
        found[0].remedy.clone()
    };
    let soft = |blur: Blur| {
        fitted_by(Method::Sinkhorn(Sinkhorn {
            cost: Cost::Distance,
            blur,
            scaling: 0.5,
            updates: 1,
            debias: true,
        }))
    };
    for (losses, starts_with) in [
        (
            &fitted_by(Method::Hard)[..],
            "match softly: `loss.trial_matching.method` = \"sinkhorn\"",
        ),
        (&soft(Blur::Absolute(0.01)), "a wider blur, which"),
        (&soft(Blur::Relative(0.1)), "a wider blur, which"),
        (
            &soft(Blur::Relative(0.3)),
            "a wider blur: `loss.trial_matching.blur_relative` above 0.3",
        ),
        (
            &fitted_by(Method::Energy {
                exponent: 1.0,
                by_part: false,
            }),
            "give single trials more weight: `loss.trial_matching.weight`",
        ),
        (
            &fitted_by(Method::Hard)[..1],
            "add a loss of single trials: `loss.trial_matching`",
        ),
    ] {
        let found = remedy(losses);
        assert!(found.starts_with(starts_with), "{starts_with}: {found}");
        // Of one-to-one matching and small blurs, more makes it worse.
        assert_eq!(found.contains("trial_matching.weight"), starts_with.starts_with("give"));
    }
}

#[test]
fn parts_that_make_up_for_each_other_are_told_where_their_intervals_are_beyond_the_bounds() {
    let found = |metrics: &[(&str, f64, [f64; 2])]| {
        let all = metrics
            .iter()
            .map(|(name, value, ci95)| metric(name, *value, *ci95, &[]));
        of(std::iter::once(metric("feature_variance_ratio", 1.0, [0.9, 1.1], &[]))
            .chain(all)
            .collect())
    };
    let two = found(&[
        ("population_variance_ratio/V1", 0.4, [0.3, 0.6]),
        ("population_variance_ratio/LM", 1.6, [1.3, 1.9]),
        ("behaviour_variance_ratio/jaw", 0.7, [0.6, 0.75]),
    ]);
    assert_eq!(kinds(&two), [Kind::UnderDispersion, Kind::OverDispersion]);
    assert_eq!(
        two[0].what,
        "the model varies too little from trial to trial in V1, jaw"
    );
    assert_eq!(
        (two[0].severity, two[1].severity),
        (Severity::Severe, Severity::Moderate)
    );
    assert!(
        two[1]
            .how_much
            .contains("LM 1.6 (95 % interval 1.3 to 1.9); of all parts together it is 1.0")
    );
    // Where all features are compared together, each part by itself may help.
    for (by_part, is_told) in [(false, true), (true, false)] {
        let losses = fitted_by(Method::Energy { exponent: 1.0, by_part });
        let metrics = ["feature_variance_ratio", "behaviour_variance_ratio/jaw"];
        let values = [(1.0, [1.0; 2]), (0.6, [0.5, 0.7])];
        let metrics = metrics.iter().zip(values);
        let metrics = metrics.map(|(name, (value, ci95))| metric(name, value, ci95, &[]));
        let jaw = of_metrics(&report(metrics.collect()), &losses);
        assert_eq!(kinds(&jaw), [Kind::UnderDispersion]);
        assert_eq!(jaw[0].remedy.contains("`loss.trial_matching.by_part`"), is_told);
    }
    let unclear = [
        ("population_variance_ratio/V1", 0.7, [0.5, 0.81]),
        ("population_variance_ratio/LM", 1.4, [1.24, 1.9]),
        ("population_variance_ratio_early", 0.3, [0.2, 0.4]),
    ];
    assert!(found(&unclear).is_empty());
}

#[test]
fn a_trial_type_has_collapsed_when_its_share_is_a_fifth_and_the_interval_excludes_the_recorded_one() {
    let types = |model: f64, high: f64, recorded: f64| {
        kinds(&of(vec![
            metric("type_fraction/miss", model, [0.0, high], &[]),
            metric("type_fraction_data/miss", recorded, [recorded; 2], &[]),
        ]))
    };
    assert_eq!(types(0.01, 0.03, 0.2), [Kind::CollapsedTrialType]);
    assert!(types(0.05, 0.1, 0.2).is_empty(), "a quarter of it");
    assert!(
        types(0.01, 0.3, 0.2).is_empty(),
        "the interval holds the recorded share"
    );
    assert!(types(0.0, 0.01, 0.04).is_empty(), "rare in the recording too");
    let lost = ["a", "b"].map(|name| {
        [
            metric(&format!("type_fraction/{name}"), 0.0, [0.0; 2], &[]),
            metric(&format!("type_fraction_data/{name}"), 0.4, [0.3, 0.5], &[]),
        ]
    });
    let found = of(lost.concat());
    assert_eq!(kinds(&found), [Kind::CollapsedTrialType], "told once");
    assert!(found[0].what.ends_with("of type a, b"), "{}", found[0].what);
}

#[test]
fn shares_by_the_same_rule_are_wrong_where_their_intervals_have_nothing_in_common() {
    let of_pair = |family: &str, data: &str, model: [f64; 2], recorded: [f64; 2]| {
        let middle = |[low, high]: [f64; 2]| 0.5 * (low + high);
        of(vec![
            metric(family, middle(model), model, &[]),
            metric(data, middle(recorded), recorded, &[]),
        ])
    };
    for (family, data, kind) in [
        (
            "session_type_fraction/Hit",
            "session_type_fraction_data/Hit",
            Kind::WrongTypeShares,
        ),
        (
            "type_fraction_threshold/Hit",
            "type_fraction_threshold_data/Hit",
            Kind::WrongTypeShares,
        ),
        ("active_fraction/Hit", "active_fraction_data/Hit", Kind::WrongMovement),
        ("active_fraction", "active_fraction_data", Kind::WrongMovement),
    ] {
        for beyond in [[0.1, 0.19], [0.31, 0.4]] {
            let found = of_pair(family, data, beyond, [0.2, 0.3]);
            assert_eq!(kinds(&found), [kind], "{family} {beyond:?}");
            assert!(
                found[0].how_much.contains("recorded 0.25 (95 % interval 0.20 to 0.30)"),
                "{}",
                found[0].how_much
            );
        }
        assert!(of_pair(family, data, [0.1, 0.2], [0.2, 0.3]).is_empty(), "{family}");
    }
    // Labels on one side, templates on the other: where types overlap, a perfect model differs.
    assert!(of_pair("type_fraction/Hit", "type_fraction_data/Hit", [0.2, 0.24], [0.3, 0.4]).is_empty());
}

#[test]
fn modes_have_merged_where_recorded_trials_are_separate_and_the_models_are_not() {
    let modes = |model: f64, recorded: Option<f64>| {
        let silhouette = MetricValue {
            reference_train_test: recorded,
            ..metric("mode_silhouette", model, [model; 2], &[])
        };
        kinds(&of(vec![silhouette]))
    };
    assert_eq!(modes(0.1, Some(0.79)), [Kind::MergedModes]);
    assert!(modes(0.4, Some(0.79)).is_empty(), "more than half of it");
    assert!(modes(0.1, Some(0.22)).is_empty(), "recorded trials are one cloud too");
    assert!(modes(0.1, None).is_empty());
}

#[test]
fn null_models_that_are_better_are_told_once_for_each_family() {
    let nulls = [("trial_shuffled", 0.5), ("psth_shared_gain", 0.6)];
    let found = of(vec![
        metric("psth_pearson", 0.55, [0.52, 0.58], &nulls),
        metric("psth_pearson_ref_centered", 0.5, [0.4, 0.55], &nulls),
        metric("neuron_loss", 0.7, [0.4, 0.9], &nulls),
    ]);
    assert_eq!(kinds(&found), [Kind::WorseThanNull]);
    assert_eq!(found[0].severity, Severity::Moderate);
    assert_eq!(
        found[0].how_much,
        "psth_pearson is 0.55, psth_shared_gain has 0.60; neuron_loss is 0.70, trial_shuffled has 0.50 (within the interval)"
    );
    assert!(
        of(vec![
            metric("psth_pearson", 0.61, [0.5, 0.7], &nulls),
            metric("energy_distance", 0.49, [0.4, 0.5], &nulls),
            // Trials that vary too little win by it.
            metric("trial_loss", 0.9, [0.8, 1.0], &nulls),
            metric("fano_ratio", 1.0, [0.9, 1.1], &nulls),
        ])
        .is_empty()
    );
}

#[test]
fn parameters_at_their_bounds_are_told_above_their_shares() {
    let bounds = |n_at_floor, n_at_bound| ParameterBounds {
        n_weights: 100,
        n_at_floor,
        n_resting: 10,
        n_at_bound,
    };
    assert_eq!(kinds(&of_parameters(&bounds(96, 0))), [Kind::WeightsAtFloor]);
    assert_eq!(kinds(&of_parameters(&bounds(0, 3))), [Kind::RestingPotentialsAtBounds]);
    assert!(of_parameters(&bounds(95, 2)).is_empty());
    assert!(
        of_parameters(&ParameterBounds::default()).is_empty(),
        "a network without weights"
    );
}

#[test]
fn many_skipped_steps_are_told() {
    assert_eq!(of_skipped_steps(2, 100).map(|f| f.kind), Some(Kind::SkippedSteps));
    assert_eq!((of_skipped_steps(1, 100), of_skipped_steps(0, 0)), (None, None));
}

#[test]
fn a_falling_validation_loss_is_not_converged_and_one_that_rises_for_long_overfits() {
    let kind = |values: &[f64]| of_validations(&validations(values)).map(|found| found.kind);
    let falling: Vec<f64> = (0..20).map(|i| 10.0 - 0.3 * f64::from(i)).collect();
    assert_eq!(kind(&falling), Some(Kind::NotConverged));
    assert_eq!(kind(&falling[..9]), None, "too few to say");
    let plateau: Vec<f64> = (0..20)
        .map(|i| 5.0 + 5.0 * (-f64::from(i)).exp() + 0.01 * f64::from(i % 2))
        .collect();
    assert_eq!(kind(&plateau), None);
    let rising: Vec<f64> = (0..20)
        .map(|i| {
            if i < 5 {
                6.0 - f64::from(i)
            } else {
                2.0 + 0.1 * f64::from(i - 4)
            }
        })
        .collect();
    assert_eq!(kind(&rising), Some(Kind::Overfitting));
    let late: Vec<f64> = (0..20).map(|i| if i == 15 { 1.0 } else { 2.0 }).collect();
    assert_eq!(kind(&late), None, "the best step is not early");
    let broken: Vec<f64> = vec![f64::NAN; 20];
    assert_eq!(kind(&broken), None);
    // An energy distance without bias comes to 0 and below, where changes have no percent.
    let noise = |i: i32| 0.02 * f64::from(i * 7 % 5 - 2);
    let falling: Vec<f64> = (0..20).map(|i| 1.0 - 0.1 * f64::from(i) + noise(i)).collect();
    let found = of_validations(&validations(&falling)).unwrap();
    assert_eq!(found.kind, Kind::NotConverged);
    assert!(!found.how_much.contains('%'), "{}", found.how_much);
    let plateau: Vec<f64> = (0..20).map(|i| (-f64::from(i)).exp() + noise(i)).collect();
    assert_eq!(kind(&plateau), None);
    let rising: Vec<f64> = (0..20)
        .map(|i| if i < 5 { -0.5 } else { -0.5 + 0.1 * f64::from(i - 4) } + noise(i))
        .collect();
    assert_eq!(kind(&rising), Some(Kind::Overfitting));
    // Of normal noise around 0, hardly any is taken for either.
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
    for n in [10, 20, 50, 100] {
        let is_told = |rng: &mut Xoshiro256PlusPlus| {
            let noise = |_| {
                let z: f64 = StandardNormal.sample(rng);
                0.02 * z - 0.01
            };
            let values: Vec<f64> = (0..n).map(noise).collect();
            kind(&values).is_some()
        };
        let n_told = (0..1000).filter(|_| is_told(&mut rng)).count();
        assert!(n_told < 60, "{n_told} of 1000 series of {n}");
    }
}

#[test]
fn the_verdict_compares_the_halves_of_the_validations() {
    let of = |values: &[f64]| verdict(&validations(values));
    assert_eq!(of(&[5.0, 4.0, 3.0, 2.0]), "improving");
    assert_eq!(of(&[2.0, 2.0, 3.0, 3.0]), "worsening");
    assert_eq!(of(&[2.0, 2.0, 2.0, 2.01]), "converged");
    assert_eq!(of(&[-0.01; 8]), "converged");
    assert_eq!(of(&[-1.0, -1.0, -2.0, -2.0]), "improving");
    let around_0 = [0.01, -0.02, 0.03, -0.02, 0.02, -0.01, 0.0, 0.01];
    assert_eq!(of(&around_0), "converged");
    assert_eq!(of(&around_0[..6]), "stopped", "too few to say");
    // A fall that crosses 0 is no noise.
    assert_eq!(of(&[10.0, 1.0, 0.1, 0.01, -0.01, -0.02, -0.03, -0.03]), "improving");
    assert_eq!(of(&[5.0, 2.0, 1.0, 0.5, 0.2, -0.01]), "improving");
    assert_eq!(of(&[3.0, 2.0, 1.0, -0.1]), "stopped");
    assert_eq!(of(&[2.0, 1.0]), "stopped");
    // Only the latest hundred count.
    let long: Vec<f64> = (0..150).map(|i| if i < 50 { 9.0 } else { 1.0 }).collect();
    assert_eq!(of(&long), "converged");
    let diverged = Validations {
        stop_reason: Some(StopReason::Diverged),
        ..validations(&[])
    };
    assert_eq!(verdict(&diverged), "diverged");
}

/// One finding of each kind.
fn every_kind() -> Vec<Finding> {
    let nulls = [("trial_shuffled", 0.5)];
    let lost = |name: &str, value: f64| metric(name, value, [value; 2], &nulls);
    let mut findings = of_rates(&[area("a", &[0.0; 2], &[5.0; 2]), area("b", &[50.0; 2], &[5.0; 2])]);
    findings.extend(of(vec![
        metric("feature_variance_ratio", 0.5, [0.5; 2], &[]),
        metric("fano_ratio", 5.0, [5.0; 2], &[]),
        metric("type_fraction/miss", 0.0, [0.0; 2], &[]),
        metric("type_fraction_data/miss", 0.5, [0.5; 2], &[]),
        metric("type_fraction_threshold/miss", 0.3, [0.3; 2], &[]),
        metric("type_fraction_threshold_data/miss", 0.5, [0.5; 2], &[]),
        metric("active_fraction", 0.3, [0.3; 2], &[]),
        metric("active_fraction_data", 0.4, [0.4; 2], &[]),
        lost("psth_pearson", 0.1),
        lost("energy_distance", 0.9),
        lost("firing_rate_wasserstein", 0.9),
        lost("noise_correlation_r", 0.1),
    ]));
    findings.extend(of(vec![MetricValue {
        reference_train_test: Some(0.8),
        ..metric("mode_silhouette", 0.1, [0.1; 2], &[])
    }]));
    findings.extend(of(vec![metric("feature_variance_ratio", 1.5, [1.5; 2], &[])]));
    findings.extend(of(vec![metric("fano_ratio", 0.1, [0.1; 2], &[])]));
    findings.extend(of_parameters(&ParameterBounds {
        n_weights: 1,
        n_at_floor: 1,
        n_resting: 1,
        n_at_bound: 1,
    }));
    findings.extend(of_skipped_steps(1, 1));
    let falling: Vec<f64> = (0..20).map(|i| 10.0 - 0.3 * f64::from(i)).collect();
    findings.extend(of_validations(&validations(&falling)));
    let rising: Vec<f64> = (0..20).map(|i| 1.0 + 0.1 * f64::from(i)).collect();
    findings.extend(of_validations(&validations(&rising)));
    findings
}

#[test]
fn remedies_name_keys_that_the_configuration_has() {
    let keys: Vec<String> = schema_table().into_iter().map(|row| row.key).collect();
    let findings = every_kind();
    let by_kind: BTreeMap<Kind, usize> = findings.iter().map(|finding| (finding.kind, 1)).collect();
    assert_eq!(by_kind.len(), 16, "{by_kind:?}");
    for finding in &findings {
        let quoted: Vec<&str> = finding.remedy.split('`').skip(1).step_by(2).collect();
        assert!(!quoted.is_empty(), "{}", finding.remedy);
        for key in quoted.iter().filter(|key| key.contains('.')) {
            assert!(keys.iter().any(|known| known == key), "no key {key}");
        }
    }
}

#[test]
fn the_worst_come_first_and_a_list_says_what_it_leaves_out() {
    let findings = sorted(every_kind());
    assert!(findings.windows(2).all(|pair| pair[0].severity <= pair[1].severity));
    let told = text(&findings, 3);
    assert_eq!(told.matches("why it matters").count(), 3);
    let rest = format!("and {} more", findings.len() - 3);
    assert!(
        told.starts_with("findings:\n  severe: ") && told.contains(&rest),
        "{told}"
    );
    assert_eq!(text(&[], 3), "");
}

#[test]
fn findings_are_read_back_as_they_are_written() {
    let findings = every_kind();
    let json = serde_json::to_string(&findings).unwrap();
    assert!(json.contains("\"kind\":\"silent_area\",\"severity\":\"severe\",\"what\":"));
    assert_eq!(serde_json::from_str::<Vec<Finding>>(&json).unwrap(), findings);
}

#[test]
fn few_spikes_are_told_with_their_number_and_are_worse_in_most_neurons() {
    assert_eq!(of_few_spikes(0, 300, 50), None);
    let found = of_few_spikes(12, 300, 50).unwrap();
    assert_eq!(found.severity, Severity::Mild);
    assert_eq!(
        found.how_much,
        "12 of 300 neurons have fewer than 50 spikes in the training trials (4 %)"
    );
    assert_eq!(of_few_spikes(151, 300, 50).unwrap().severity, Severity::Moderate);
}
