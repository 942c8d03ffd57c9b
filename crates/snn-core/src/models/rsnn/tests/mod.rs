//! Tests of the model: against the oracle, against finite differences, and its promises.

mod gradients;
mod inputs;
mod oracle;
mod perturbation;
mod promises;

use super::*;
use crate::connectivity::{CellType, InterArea, Neuron, population_layout};
use crate::surrogate::Surrogate;

/// A small two-area network with Poisson inputs, nothing optional; spikes often enough to test.
pub(super) fn small_spec() -> RsnnSpec {
    RsnnSpec {
        neurons: population_layout(10, 2, 0.8).unwrap(),
        areas: vec!["front".into(), "back".into()],
        dt_ms: 2.0,
        tau_exc_ms: 30.0,
        tau_inh_ms: 10.0,
        threshold: 0.1,
        delays: vec![1, 3],
        n_refractory: 2,
        temperature: 7.5,
        p_scale: 1.0,
        sigma: 0.3,
        current_scale: 0.5,
        surrogate: Surrogate::Sigmoid { gamma: 0.3 },
        n_warmup: 9,
        inter_area: InterArea::Excitatory,
        has_dale: true,
        projections: Vec::new(),
        train_resting_potential: true,
        train_noise_gain: true,
        input: InputSpec::Poisson(PoissonInput {
            n: 6,
            rate_hz: 40.0,
            p_exc: 0.7,
            p_stim: 0.67,
            first_steps: vec![4, 12],
            n_duration: 5,
            gain: 3.0,
            scale: StimulusScale::Log,
            channels: Vec::new(),
        }),
        latent: None,
        behaviour: None,
    }
}

/// The same without types and with a recorded stimulus of 2 channels and 3 lags.
pub(super) fn recorded_spec() -> RsnnSpec {
    RsnnSpec {
        neurons: (0..10)
            .map(|n| Neuron {
                area: n / 5,
                cell_type: if n == 3 {
                    CellType::Inhibitory
                } else {
                    CellType::Unknown
                },
            })
            .collect(),
        has_dale: false,
        input: InputSpec::Recorded(RecordedInput {
            n_channels: 2,
            lags: 3,
            lag_steps: 4,
            scale: 1.7,
            offset: -0.3,
        }),
        ..small_spec()
    }
}

pub(super) fn readout(link: Link) -> BehaviourSpec {
    let trace = |name: &str| TraceSpec {
        name: name.into(),
        motor_areas: vec![1],
        tau_ms: 20.0,
        link,
    };
    BehaviourSpec {
        traces: vec![trace("jaw"), trace("whisker")],
        feedback: None,
    }
}

/// Two traces of different areas, time constants and links.
pub(super) fn different_traces() -> BehaviourSpec {
    let mut behaviour = readout(Link::Log);
    behaviour.traces[1] = TraceSpec {
        name: "whisker".into(),
        motor_areas: vec![0, 1],
        tau_ms: 9.0,
        link: Link::Linear,
    };
    behaviour
}

/// Different traces that feed back after 1 to 5 steps.
pub(super) fn closed_loop() -> BehaviourSpec {
    BehaviourSpec {
        feedback: Some(FeedbackSpec {
            first_lag: 1,
            n_lags: 5,
        }),
        ..different_traces()
    }
}

pub(super) fn latent(kind: LatentKind, is_bounded: bool) -> LatentSpec {
    LatentSpec {
        dimensions: 3,
        is_bounded,
        init_scale: 1.0,
        weight_decay: 0.0,
        knots: Vec::new(),
        stimulus: None,
        kind,
    }
}

/// A latent whose offsets change in the trial, between steps too.
pub(super) fn latent_with_knots(kind: LatentKind, is_bounded: bool) -> LatentSpec {
    LatentSpec {
        knots: vec![-4.0, 3.0, 9.5, 20.0],
        stimulus: (kind == LatentKind::Mlp).then_some(SeenStimulus {
            factor: 0.25,
            after: 3.0,
        }),
        ..latent(kind, is_bounded)
    }
}

pub(super) fn draws(first_trial: u32) -> Draws<'static> {
    Draws {
        seed: 11,
        step: 4,
        stream: "train",
        first_trial,
    }
}

/// Trials `from..to` of a fixed sequence with alternating stimuli.
pub(super) fn trials(from: usize, to: usize) -> Trials {
    let movies = ndarray::Array3::from_shape_fn((4, N_STEPS, 2), |(s, t, c)| {
        ((s * 7 + t * 3 + c * 5) as f32 * 0.31).sin()
    });
    Trials {
        stimulus: (from..to).map(|k| [0.0, 1.0, 4.0][k % 3]).collect(),
        movie: Some((from..to).map(|k| [3, 1, 1, 0][k % 4]).collect()),
        movies: Some(movies),
        cues: None,
    }
}

/// Recorded steps of the small tests.
pub(super) const N_STEPS: usize = 26;
