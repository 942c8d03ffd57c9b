//! `snnfit simulate`: trials of a fitted network as a recording.

use std::collections::BTreeMap;

use data::{Activity, Behaviour, BehaviourSamples, Recording, StimulusMovies, Trial, Unit};
use ndarray::{Axis, s};
use snn_core::models::rsnn::Perturbation;
use snn_core::rng::StreamRng;

use crate::assembly::Part;
use crate::cli::{Global, SimulateArgs};
use crate::config::checked::TraceRule;
use crate::error::Error;
use crate::exit_code;
use crate::fit_error::FitError;
use crate::loaded::{Fitted, SimulatedActivity};
use crate::perturbation::Plan;

pub(super) fn run(args: &SimulateArgs, global: &Global) -> Result<u8, Error> {
    super::refuse_existing(&args.out)?;
    let device = super::open_device(args.device.choice)?;
    if device.adapter.is_some() {
        super::tell_device(args.device.choice, &device);
    }
    let (run, fitted) = Fitted::open(&args.run, args.checkpoint, &args.data, &device)?;
    let plan = Plan::new(&args.perturbation, &fitted.assembly)?;
    super::tell_perturbations(plan.as_ref());
    super::refuse_adapter(args.device.choice, &fitted.assembly.experiment)?;
    let perturbations = plan.map_or_else(Vec::new, |plan| plan.perturbations);
    let pool = fitted.assembly.stimuli_of(&fitted.assembly.trials_of(Part::Train));
    let mut rng = StreamRng::new(args.seed, "simulate.trials", 0);
    let stimuli = fitted.stimuli_like(&pool, args.trials.get(), &mut rng)?;
    let recording = recording(&fitted, &stimuli, args, &perturbations)?;
    data::write(&args.out, &recording).map_err(super::output_error)?;
    tracing::info!(
        "simulated {} at step {} into {}",
        run.path().display(),
        fitted.state.step,
        args.out.display()
    );
    super::synth::print_summary(&recording, global)?;
    Ok(exit_code::DONE)
}

/// One session `model`: a unit for each model neuron, named by the unit it stands for.
fn recording(
    fitted: &Fitted,
    stimuli: &[usize],
    args: &SimulateArgs,
    perturbations: &[Perturbation],
) -> Result<Recording, FitError> {
    let SimulatedActivity {
        counts,
        behaviour: traces,
    } = fitted.simulate(stimuli, args.seed, "simulate", args.trial_chunk, perturbations)?;
    let assembly = &fitted.assembly;
    let (bin_ms, start_ms) = (
        assembly.experiment.data.bin_ms,
        assembly.sessions.first().map_or(0.0, |s| s.start_ms),
    );
    let seconds = (counts.dim().0 * counts.dim().1) as f64 * bin_ms / 1000.0;
    let neurons = assembly.stitching.neurons.iter().zip(assembly.neuron_ids()).enumerate();
    let units = neurons.map(|(n, (neuron, id))| {
        let spikes: f64 = counts.slice(s![.., .., n]).iter().map(|&z| f64::from(z)).sum();
        Unit {
            id,
            area: neuron.area.clone(),
            cell_type: neuron.cell_type,
            firing_rate_hz: Some(spikes / seconds),
        }
    });
    let window_s = counts.dim().1 as f64 * bin_ms / 1000.0;
    let trials = stimuli.iter().enumerate().map(|(k, &s)| {
        // Trials follow one another without a gap; the alignment event lies where the window says.
        let start_s = k as f64 * window_s;
        Trial {
            start_s,
            stop_s: start_s + window_s,
            align_s: start_s - start_ms / 1000.0,
            stimulus: assembly.stimuli[s].value,
            trial_type: "simulated".to_owned(),
            movie: assembly.stimuli[s].movie,
            valid_bins: None,
        }
    });
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
            units: units.collect(),
            trials: trials.collect(),
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
