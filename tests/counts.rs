//! Losses of spike counts in a fit: what they lower, and what is said where they have nothing to compare.

use crate::chunks::{gradients, losses_of_the_first_step};
use crate::networks::assert_relative;
use crate::runs::{folder, manifest, train, with_sets};
use snnfit::events::{self, Event};

const BOTH: &str = "loss = [{ psth = {} }, { count_variance = {} }, { count_covariance = { windows_ms = [20.0] } }]";

/// Weighted values of a loss over the logged steps.
fn values(folder: &crate::cli::Folder, run: &str, loss: &str) -> Vec<f64> {
    let events = events::read(&folder.path(run).join("events.ndjson")).unwrap();
    let of = |event: Event| match event {
        Event::Step(step) => step.losses.get(loss).map(|value| value.0),
        _ => None,
    };
    events.into_iter().filter_map(of).collect()
}

#[test]
fn counts_vary_less_wrongly_after_a_few_steps() {
    let folder = folder();
    let sets = [
        "loss = [{ count_variance = {} }]",
        "model.rsnn.latent.mlp.init_scale = 3.0",
        "optimizer.adamw.lr = 0.01",
        "train.n_trials = 60",
        "train.max_steps = 60",
        "train.log_every = 1",
    ];
    train(&folder, "run", &sets);
    let found = values(&folder, "run", "count_variance");
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    let (first, last) = (mean(&found[..5]), mean(&found[found.len() - 10..]));
    // With offsets of three thresholds counts vary many times too much at first.
    assert!(first > 50.0 && last < 0.2 * first, "{first} {last}");
}

#[test]
fn chunks_of_trials_have_the_losses_of_counts_of_the_whole_batch() {
    let folder = folder();
    let one = [
        BOTH,
        "train.max_steps = 1",
        "train.log_every = 1",
        "train.n_trials = 16",
    ];
    train(&folder, "whole", &one);
    let whole = losses_of_the_first_step(&folder, "whole");
    assert_eq!(whole.len(), 3);
    train(
        &folder,
        "chunks",
        &[one[0], one[1], one[2], one[3], "train.trial_chunk = 5"],
    );
    assert_eq!(whole, losses_of_the_first_step(&folder, "chunks"));
    let pairs = gradients(&folder, "chunks", 1);
    for ((name, a), (_, b)) in pairs.iter().zip(&gradients(&folder, "whole", 1)) {
        assert_relative(&format!("dL/d{name}"), a, b, 1e-5);
    }
}

#[test]
fn what_losses_of_counts_lack_is_one_clear_error() {
    let folder = folder();
    for (sets, said) in [
        (
            [BOTH, "train.n_trials = 3"],
            "train.n_trials = 3: the energy distance compares pairs",
        ),
        (
            [BOTH, "statistics.match_within = \"all\""],
            "compares trials of the same stimulus, and `statistics.match_within` puts several together",
        ),
        (
            ["loss = [{ count_variance = { windows_ms = [200.0] } }]", "seed = 1"],
            "200 ms, 100 bins, for trials of 60",
        ),
        (
            [
                "loss = [{ count_variance = { windows_ms = [], whole_trial = false } }]",
                "seed = 1",
            ],
            "no spikes are counted",
        ),
        (
            ["loss = [{ count_covariance = { windows_ms = [0.5] } }]", "seed = 1"],
            "a window is at least one bin long",
        ),
    ] {
        let arguments = with_sets(&["train", "--config", "fit.toml", "--out", "bad"], &sets);
        let run = folder.run(&arguments);
        assert_eq!(run.code, 3, "{sets:?}: {}", run.stderr);
        let text = run.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = text.replace("│ ", "");
        assert!(text.contains(said), "{sets:?}: {text}");
        assert!(!folder.path("bad").exists(), "{sets:?}");
    }
}

#[test]
fn neurons_with_few_spikes_and_validations_without_counts_are_told() {
    let folder = folder();
    // In trials of 30 ms many neurons have fewer than ten spikes.
    let sets = [
        "loss = [{ psth = {} }, { count_variance = { windows_ms = [] } }]",
        "data.window_ms = [0.0, 30.0]",
        "split.validation_fraction = 0.05",
        "train.max_steps = 2",
        "train.log_every = 1",
    ];
    train(&folder, "run", &sets);
    let manifest = manifest(&folder, "run");
    let reasons: Vec<&str> = manifest.left_out.iter().map(|left| left.reason.as_str()).collect();
    let text = "neurons with fewer than 10 spikes in training trials: not in loss.count_variance";
    assert!(reasons.iter().any(|reason| reason.ends_with(text)), "{reasons:?}");
    let warned = "loss.count_variance: no session has four validation trials of a stimulus";
    let warnings = &manifest.warnings;
    assert!(warnings.iter().any(|found| found.starts_with(warned)), "{warnings:?}");
    assert_eq!(values(&folder, "run", "count_variance").len(), 2);
}
