//! The trial-matched likelihood sees the probabilities of spikes, and its gradient is that of finite differences.

use snnfit::checkpoint::{self, Values};

use crate::chunks::{gradients, losses_of_the_first_step};
use crate::runs::{folder, train, with_sets};

/// Of the first step, with the parameters of the run `start`.
fn first_step(folder: &crate::cli::Folder, run: &str, sets: &[&str]) -> f64 {
    let arguments = with_sets(
        &["train", "--config", "fit.toml", "--out", run, "--init", "start"],
        sets,
    );
    crate::runs::succeed(folder, &arguments.iter().map(AsRef::as_ref).collect::<Vec<&str>>());
    let losses = losses_of_the_first_step(folder, run);
    assert_eq!(losses.len(), 1, "{losses:?}");
    losses[0].1
}

#[test]
fn the_gradient_at_the_probabilities_is_that_of_finite_differences() {
    let folder = folder();
    // The spikes that were drawn stay the same for a small change of a parameter, so the loss follows from the probabilities alone.
    // The surrogate gradient through spikes, which is no derivative, all but vanishes with this damping.
    let sets = [
        "loss = [{ trial_matched_likelihood = { weight = 100.0 } }]",
        "model.rsnn.surrogate_damping = 1e-4",
        // No gradient flows through the warm-up.
        "model.rsnn.warmup_ms = 0.0",
        "train.gradient_splitter = false",
        "optimizer.adamw.l1 = 0.0",
        "train.max_steps = 1",
        "train.log_every = 1",
    ];
    train(&folder, "start", &sets);
    let at = first_step(&folder, "at", &sets);
    assert_eq!(at.to_bits(), first_step(&folder, "again", &sets).to_bits());
    let best = folder.path("start/checkpoints/best.ckpt");
    let fitted = checkpoint::read(&best).unwrap();
    // First moments after one step are (1 - beta1) times the gradient.
    let gradients = gradients(&folder, "at", 1);
    let mut n_compared = 0;
    for name in ["w", "w_in"] {
        let (_, gradient) = gradients.iter().find(|(found, _)| found == name).unwrap();
        let largest = gradient.iter().fold(0.0f64, |most, g| most.max(g.abs())) / 0.1;
        assert!(largest > 1e-3, "{name}: {largest}");
        let mut order: Vec<usize> = (0..gradient.len()).collect();
        order.sort_by(|a, b| gradient[*b].abs().total_cmp(&gradient[*a].abs()));
        for flat in order.into_iter().take(4) {
            let moved = |h: f32| {
                let mut changed = fitted.clone();
                let array = changed.sections.get_mut("parameters").unwrap().get_mut(name).unwrap();
                let Values::F32(values) = &mut array.values else {
                    panic!("{name}")
                };
                values[flat] += h;
                checkpoint::write(&best, &changed).unwrap();
                let run = format!("{name}-{flat}-{h}");
                first_step(&folder, &run, &sets)
            };
            let h = 5e-6;
            let slope = (moved(h) - moved(-h)) / (2.0 * f64::from(h));
            let found = gradient[flat] / 0.1;
            assert!(
                (found - slope).abs() < 0.03 * largest,
                "{name} {flat}: {found} {slope}, largest {largest}"
            );
            n_compared += 1;
        }
    }
    assert_eq!(n_compared, 8);
}
