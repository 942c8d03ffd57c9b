//! `snnfit simulate`: trials of a fitted network as a recording.

use std::collections::BTreeMap;

use data::{Activity, Behaviour, BehaviourSamples, Recording, StimulusMovies, Trial, TrialEvents, Unit};
use ndarray::{Array3, Axis, s};
use snn_core::models::rsnn::{InputSpec, Perturbation};
use snn_core::rng::StreamRng;

use crate::assembly::{Assembly, Part};
use crate::cli::{Global, SimulateArgs};
use crate::config::checked::TraceRule;
use crate::cues::ModelTrial;
use crate::error::Error;
use crate::exit_code;
use crate::fit_error::FitError;
use crate::handoff::input_types;
use crate::loaded::{Fitted, SimulatedActivity};
use crate::perturbation::Plan;

pub(super) fn run(args: &SimulateArgs, global: &Global) -> Result<u8, Error> {
    super::refuse_existing(&args.out)?;
    let device = super::open_device(args.device.choice)?;
    if device.adapter.is_some() {
        super::tell_device(args.device.choice, &device);
    }
    if super::evaluate::spike_history::is_one(&args.run) {
        return super::spike_history::simulate(args, global, device);
    }
    for (option, is_given) in [
        ("--session", args.session.is_some()),
        ("--clamped-ms", args.clamped_ms.is_some()),
        ("--hidden", args.hidden),
    ] {
        if is_given {
            return Err(Error::Usage {
                message: format!("{option} is there for [model.spike_history] only"),
                help: "leave it out: trials are drawn from the training trials of all sessions, and all neurons are recorded"
                    .to_owned(),
            });
        }
    }
    let (run, fitted) = Fitted::open(&args.run, args.checkpoint, &args.data, &device)?;
    if args.inputs && !matches!(fitted.assembly.spec.input, InputSpec::Poisson(_)) {
        return Err(Error::Usage {
            message: format!("--inputs: the inputs of {} don't spike", args.run.display()),
            help: "leave it out; a recorded stimulus is in the file anyway".to_owned(),
        });
    }
    let plan = Plan::new(&args.perturbation, &fitted.assembly)?;
    super::tell_perturbations(plan.as_ref());
    super::refuse_adapter(args.device.choice, &fitted.assembly.experiment)?;
    let perturbations = plan.map_or_else(Vec::new, |plan| plan.perturbations);
    let pool = fitted.assembly.pool_of(&fitted.assembly.trials_of(Part::Train))?;
    let mut rng = StreamRng::new(args.seed, "simulate.trials", 0);
    let drawn = fitted.trials_like(&pool, args.trials.get(), &mut rng)?;
    let recording = recording(&fitted, &drawn, args, &perturbations)?;
    super::export::write_simulated(&args.out, &recording)?;
    tracing::info!(
        "simulated {} at step {} into {}",
        run.path().display(),
        fitted.state.step,
        args.out.display()
    );
    super::synth::print_summary(&recording, global)?;
    Ok(exit_code::DONE)
}

/// Stream of the random numbers.
const STREAM: &str = "simulate";

/// One session `model`: a unit for each model neuron, named by the unit it stands for, and one for each input if asked for.
fn recording(
    fitted: &Fitted,
    drawn: &[ModelTrial],
    args: &SimulateArgs,
    perturbations: &[Perturbation],
) -> Result<Recording, FitError> {
    let SimulatedActivity {
        mut counts,
        behaviour: traces,
    } = fitted.simulate(drawn, args.seed, STREAM, args.trial_chunk, perturbations)?;
    let assembly = &fitted.assembly;
    let inputs = if args.inputs {
        let spikes = fitted.input_spikes(drawn, args.seed, STREAM)?;
        spikes.ok_or_else(|| FitError::Internal {
            what: "inputs that spike, and that don't".to_owned(),
        })?
    } else {
        Array3::zeros((counts.dim().0, counts.dim().1, 0))
    };
    counts
        .append(Axis(2), inputs.view())
        .map_err(|error| FitError::Internal {
            what: error.to_string(),
        })?;
    // The engines' order is that of memory; appending may have changed it.
    let mut counts = counts.as_standard_layout().into_owned();
    let lengths = assembly.lengths(drawn);
    for (k, &length) in lengths.iter().flatten().enumerate() {
        counts.slice_mut(s![k, length.., ..]).fill(0);
    }
    let (bin_ms, start_ms) = (
        assembly.experiment.data.bin_ms,
        assembly.sessions.first().map_or(0.0, |s| s.start_ms),
    );
    let n_bins = lengths
        .as_ref()
        .map_or(counts.dim().0 * counts.dim().1, |lengths| lengths.iter().sum());
    let seconds = n_bins as f64 * bin_ms / 1000.0;
    let rate_hz = |n: usize| {
        let spikes: f64 = counts.slice(s![.., .., n]).iter().map(|&z| f64::from(z)).sum();
        Some(spikes / seconds)
    };
    let n_neurons = assembly.stitching.neurons.len();
    let neurons = assembly.stitching.neurons.iter().zip(assembly.neuron_ids()).enumerate();
    let units = neurons.map(|(n, (neuron, id))| Unit {
        id,
        area: neuron.area.clone(),
        cell_type: neuron.cell_type,
        firing_rate_hz: rate_hz(n),
    });
    let types = if args.inputs {
        input_types(&assembly.spec)
    } else {
        Vec::new()
    };
    let input_units = types.into_iter().enumerate().map(|(i, cell_type)| Unit {
        id: format!("input/{i}"),
        area: "input".to_owned(),
        cell_type,
        firing_rate_hz: rate_hz(n_neurons + i),
    });
    let units: Vec<Unit> = units.chain(input_units).collect();
    let window_s = counts.dim().1 as f64 * bin_ms / 1000.0;
    // Trials lie apart by their warm-up, which isn't recorded, and never touch: some programs would join them.
    let gap_s = assembly.spec.n_warmup.max(1) as f64 * bin_ms / 1000.0;
    let trials = drawn.iter().enumerate().map(|(k, shown)| {
        // The alignment event lies where the window says.
        let start_s = k as f64 * (window_s + gap_s);
        let stimulus = &assembly.stimuli[shown.stimulus];
        let valid = lengths.as_ref().map(|lengths| lengths[k]);
        Trial {
            start_s,
            stop_s: start_s + valid.map_or(window_s, |valid| valid as f64 * bin_ms / 1000.0),
            align_s: start_s - start_ms / 1000.0,
            stimulus: stimulus.value,
            trial_type: "simulated".to_owned(),
            movie: stimulus.movie,
            valid_bins: valid,
        }
    });
    let trials: Vec<Trial> = trials.collect();
    let events = events(assembly, drawn, &trials);
    let mut behaviour = BTreeMap::new();
    if let Some(traces) = &traces {
        let data = &assembly.experiment.data;
        for ((name, rule), trace) in data.behaviour.iter().zip(&data.traces).zip(traces.axis_iter(Axis(2))) {
            let samples = BehaviourSamples::PerBin(trace.mapv(|x| x as f32));
            behaviour.insert(
                name.clone(),
                Behaviour {
                    samples,
                    unit: if *rule == TraceRule::default() {
                        "as recorded".to_owned()
                    } else {
                        format!("as compared: recorded values after [data.traces.{name}]")
                    },
                },
            );
        }
    }
    Ok(Recording {
        sessions: vec![data::Session {
            id: "model".to_owned(),
            units,
            trials,
            events,
            behaviour,
            stimulus: assembly.movies.as_ref().map(|values| StimulusMovies {
                values: values.clone(),
                bin_ms,
                start_ms,
            }),
            activity: Activity::Binned {
                counts,
                bin_ms,
                start_ms,
                presence: None,
            },
        }],
    })
}

/// Events and values that drove the inputs, on the clock of the simulated session.
fn events(assembly: &Assembly, drawn: &[ModelTrial], trials: &[Trial]) -> TrialEvents {
    let Some(cues) = &assembly.cues else {
        return TrialEvents::default();
    };
    let session = |trial: &ModelTrial| &assembly.sessions[trial.session];
    let event = |name: &String| {
        let pairs = drawn.iter().zip(trials);
        let times = pairs.map(|(shown, trial)| {
            let ms = session(shown).event_ms.get(name)?[shown.trial]?;
            Some(trial.align_s + ms / 1000.0)
        });
        (name.clone(), times.collect())
    };
    let value = |name: &String| {
        let values = drawn.iter().map(|shown| session(shown).values.get(name)?[shown.trial]);
        (name.clone(), values.collect())
    };
    TrialEvents {
        times_s: cues.events().iter().map(event).collect(),
        values: cues.values().iter().map(value).collect(),
    }
}
