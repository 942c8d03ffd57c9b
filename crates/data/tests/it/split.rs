//! Splits: disjoint, complete, stratified, and of this data.

use std::collections::BTreeMap;

use data::{BinOptions, BinnedSession, DataError, NamedParts, NamedTrials, SplitOptions, Splits, bin_session, split};
use ndarray::Array3;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::common::{binned_session, rng};

fn with_types(id: &str, types: &[&str]) -> BinnedSession {
    let mut session = binned_session(id, Array3::zeros((types.len(), 1, 1)));
    for (trial, trial_type) in session.trials.iter_mut().zip(types) {
        trial.trial_type = (*trial_type).into();
    }
    bin_session(&session, &BinOptions::of_width(1.0)).unwrap()
}

fn count(session: &BinnedSession, trials: &[usize]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for &k in trials {
        *counts.entry(session.trials[k].trial_type.clone()).or_insert(0) += 1;
    }
    counts
}

proptest! {
    #[test]
    fn splits_are_disjoint_complete_and_stratified(
        sizes in vec(1_usize..60, 1..5),
        test_fraction in 0.0..0.6_f64,
        validation_fraction in 0.0..0.5_f64,
        seed in any::<u64>(),
    ) {
        let names = ["a", "b", "c", "d"];
        let types: Vec<&str> = sizes
            .iter()
            .zip(names)
            .flat_map(|(&n, name)| std::iter::repeat_n(name, n))
            .collect();
        let session = with_types("s", &types);
        let options = SplitOptions { test_fraction, validation_fraction, ..SplitOptions::default() };
        let splits = split(std::slice::from_ref(&session), &options, &mut rng(seed)).unwrap();
        let parts = &splits.sessions[0];

        let mut all: Vec<usize> = [&parts.train, &parts.validation, &parts.test]
            .into_iter()
            .flatten()
            .copied()
            .collect();
        all.sort_unstable();
        prop_assert!(all.into_iter().eq(0..types.len()));

        let large: usize = sizes.iter().filter(|&&n| n >= 4).sum();
        prop_assert_eq!(parts.test.len(), (large as f64 * test_fraction).round() as usize);
        let rest = large - parts.test.len();
        let n_validation = (rest as f64 * validation_fraction).round() as usize;
        prop_assert_eq!(parts.validation.len(), n_validation);
        let in_test = count(&session, &parts.test);
        let in_train = count(&session, &parts.train);
        for (&n, name) in sizes.iter().zip(names) {
            let n_test = in_test.get(name).copied().unwrap_or(0);
            if n < 4 {
                prop_assert_eq!(in_train[name], n);
            } else {
                prop_assert!((n_test as f64 - n as f64 * test_fraction).abs() < 1.0);
                prop_assert!(in_train[name] > 0);
            }
        }
        prop_assert_eq!(Splits::from_json("x", &splits.to_json().unwrap()).unwrap(), splits);
    }
}

#[test]
fn the_artificial_sessions_split_as_published() {
    // 200 trials: 50 for test, then 15 % of 150, which is 22.5, for validation.
    let types: Vec<&str> = (0..200).map(|k| if k % 5 == 0 { "miss" } else { "hit" }).collect();
    let session = with_types("s", &types);
    let splits = split(std::slice::from_ref(&session), &SplitOptions::default(), &mut rng(1));
    let parts = &splits.unwrap().sessions[0];
    assert_eq!(
        [parts.train.len(), parts.validation.len(), parts.test.len()],
        [127, 23, 50]
    );
    assert_eq!(count(&session, &parts.test)["hit"], 40);
    assert_eq!(count(&session, &parts.validation)["hit"], 18);
}

#[test]
fn rare_types_go_to_training_with_a_warning() {
    let types = ["a", "a", "a", "a", "a", "a", "a", "a", "b", "b", "b"];
    let session = with_types("s", &types);
    let splits = split(&[session], &SplitOptions::default(), &mut rng(2)).unwrap();
    let parts = &splits.sessions[0];
    assert!([8, 9, 10].iter().all(|k| parts.train.contains(k)));
    assert_eq!(parts.test.len(), 2);
    assert_eq!(parts.validation.len(), 1);
    assert_eq!(splits.warnings.len(), 1);
    assert!(splits.warnings[0].contains("trial type 'b' has 3 trials"));
}

#[test]
fn parts_that_stay_empty_are_warned_of() {
    let session = with_types("s", &["a"]);
    let splits = split(&[session], &SplitOptions::default(), &mut rng(3)).unwrap();
    assert_eq!(splits.sessions[0].train, [0]);
    let text = splits.warnings.join("\n");
    assert!(
        text.contains("a test part") && text.contains("a validation part"),
        "{text}"
    );
}

#[test]
fn the_seed_decides() {
    let sessions = [with_types("s", &["a"; 40])];
    let with = |seed| split(&sessions, &SplitOptions::default(), &mut rng(seed)).unwrap();
    assert_eq!(with(4), with(4));
    assert_ne!(with(4), with(5));
}

#[test]
fn every_trial_is_equally_often_a_test_trial() {
    // 20 trials, 5 of them test trials, 2000 splits: mean 500, standard deviation 19.4. Beyond 5
    // standard deviations for one of 20: probability 1e-5.
    let sessions = [with_types("s", &["a"; 20])];
    let mut rng = rng(6);
    let mut counts = [0_i32; 20];
    for _ in 0..2000 {
        let splits = split(&sessions, &SplitOptions::default(), &mut rng).unwrap();
        for &k in &splits.sessions[0].test {
            counts[k] += 1;
        }
    }
    assert!(counts.iter().all(|n| (n - 500).abs() < 97), "{counts:?}");
}

#[test]
fn splits_of_other_data_are_refused() {
    let data = |id: &str, types: &[&str]| with_types(id, types);
    let sessions = [data("s", &["a", "b", "a", "b", "a"]), data("t", &["a"; 5])];
    let splits = split(&sessions, &SplitOptions::default(), &mut rng(7)).unwrap();
    splits.check_matches(&sessions).unwrap();
    let says = |other: &[BinnedSession], part: &str| {
        let error = splits.check_matches(other).unwrap_err();
        assert!(matches!(error, DataError::SplitsMismatch { .. }));
        assert!(error.to_string().contains(part), "{error}");
    };
    let [s, t] = sessions.clone();
    says(std::slice::from_ref(&s), "2 sessions in the splits, 1 in the data");
    says(&[s.clone(), data("u", &["a"; 5])], "'t' in the splits is 'u'");
    says(&[s.clone(), data("t", &["a"; 6])], "5 trials in the splits, 6");
    says(&[data("s", &["a", "b", "a", "a", "b"]), t.clone()], "trial table");
    let mut other = s;
    other.trials[0].stimulus = 2.0;
    says(&[other, t], "session 's': the trial table");
}

#[test]
fn damaged_and_newer_splits_are_refused() {
    let sessions = [with_types("s", &["a"; 8])];
    let splits = split(&sessions, &SplitOptions::default(), &mut rng(8)).unwrap();
    let json = splits.to_json().unwrap();
    let says = |json: &str, part: &str| {
        let error = Splits::from_json("splits.json", json).unwrap_err().to_string();
        assert!(error.starts_with("splits.json: ") && error.contains(part), "{error}");
    };
    says(&json.replace("\"schema\": 1", "\"schema\": 2"), "version 2");
    says("{", "EOF");
    says(&json.replace("\"n_trials\": 8", "\"n_trials\": 9"), "once");
    says(&json.replace("\"train\"", "\"trian\""), "trian");
}

#[test]
fn fractions_out_of_range_are_refused() {
    for fraction in [-0.1, 1.0, f64::NAN] {
        let options = SplitOptions {
            test_fraction: fraction,
            ..SplitOptions::default()
        };
        let error = split(&[], &options, &mut rng(9)).unwrap_err();
        assert!(error.to_string().contains("test_fraction"), "{error}");
    }
}

#[test]
fn named_parts_are_taken_as_they_are() {
    let sessions = vec![with_types("a", &["x"; 10]), with_types("b", &["x"; 6])];
    let parts = |test: NamedTrials, validation: &[usize]| NamedParts {
        test,
        validation: NamedTrials::These(validation.to_vec()),
    };
    let options = |name: &str, parts: NamedParts| SplitOptions {
        sessions: [(name.to_owned(), parts)].into(),
        ..SplitOptions::default()
    };
    let split_with = |options: &SplitOptions| split(&sessions, options, &mut rng(3));
    let named = split_with(&options("a", parts(NamedTrials::These(vec![9, 2]), &[4]))).unwrap();
    assert_eq!(named.sessions[0].test, [2, 9]);
    assert_eq!(named.sessions[0].validation, [4]);
    assert_eq!(named.sessions[0].train, [0, 1, 3, 5, 6, 7, 8]);
    assert!(
        !named.sessions[1].test.is_empty(),
        "others are divided by the fractions"
    );
    let json = named.to_json().unwrap();
    assert_eq!(Splits::from_json("splits.json", &json).unwrap(), named);
    let all = split_with(&options("b", parts(NamedTrials::All, &[]))).unwrap();
    assert_eq!(all.sessions[1].test, (0..6).collect::<Vec<_>>());
    assert!(all.sessions[1].train.is_empty());
    for (wrong, said) in [
        (options("c", NamedParts::default()), "session 'c' (there are 'a', 'b')"),
        (
            options("a", parts(NamedTrials::These(vec![10]), &[])),
            "session 'a': trial 10",
        ),
        (
            options("a", parts(NamedTrials::These(vec![3]), &[3])),
            "in `test` and `validation`",
        ),
        (
            options("a", parts(NamedTrials::These(vec![3, 3]), &[])),
            "trial 3 twice",
        ),
    ] {
        let error = split_with(&wrong).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}
