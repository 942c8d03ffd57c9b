//! What commands have in common for runs with `[model.spike_history]`, and `snnfit simulate` of them.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use data::{Activity, BinnedSession, CellType, Recording, StimulusMovies, Trial, TrialEvents, Unit};
use ndarray::{Array3, Axis, s};
use snn_core::device::OpenDevice;

use crate::assembly::{Part, load};
use crate::cli::{Global, SimulateArgs};
use crate::error::Error;
use crate::exit_code;
use crate::fit_error::FitError;
use crate::memory::{self, BatchSize};
use crate::perturbation::{SpikeHistoryPlan, Time};
use crate::run_dir::RunDir;
use crate::spike_history::fitted::Fitted;
use crate::spike_history::recorded::Recorded;
use crate::spike_history::simulated::Trials;

/// Value of each simulated trial that says which recorded one lent its stimulus, from 0.
const RECORDED_TRIAL: &str = "recorded_trial";
/// Time between simulated trials.
const GAP_MS: f64 = 100.0;
/// Trials that are simulated at once where nothing is said.
const CHUNK: usize = 64;

/// Trials that are simulated at once.
pub(super) fn chunk(asked: Option<NonZeroUsize>) -> usize {
    asked.map_or(CHUNK, NonZeroUsize::get)
}

/// `n` trials in their order, and again from the first.
pub(super) fn trials_of(trials: &[usize], n: usize) -> Vec<usize> {
    trials.iter().copied().cycle().take(n).collect()
}

/// The session of a name.
///
/// # Errors
/// A name that none has.
pub(super) fn session(recorded: &Recorded, id: &str) -> Result<usize, Error> {
    recorded.session(id).ok_or_else(|| Error::Usage {
        message: format!("the run has no session '{id}'"),
        help: match crate::config::closest(id, recorded.sessions.iter().map(|s| s.id.as_str())) {
            Some(near) => format!("did you mean --session {near}?"),
            None => format!("its sessions are: {}", sessions(recorded)),
        },
    })
}

/// `once (5 trials of 5 stimuli), repeated (24 trials of 1 stimulus)`.
fn sessions(recorded: &Recorded) -> String {
    let one = |session: &crate::spike_history::recorded::RecordedSession| {
        let n = session.stimuli.len();
        format!(
            "{} ({} trials of {n} {})",
            session.id,
            session.spikes.dim().0,
            if n == 1 { "stimulus" } else { "stimuli" }
        )
    };
    recorded.sessions.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// `snnfit simulate` of these runs.
pub(super) fn simulate(args: &SimulateArgs, global: &Global, device: OpenDevice) -> Result<u8, Error> {
    if args.inputs {
        return Err(Error::Usage {
            message: format!("--inputs: the network of {} has no spiking inputs", args.run.display()),
            help: "leave it out; a recorded stimulus is in the file anyway".to_owned(),
        });
    }
    let (run, fitted) = Fitted::open(&args.run, args.checkpoint, &args.data, device)?;
    let recorded = &fitted.recorded;
    if args.hidden && fitted.model.network.spec.n_hidden == 0 {
        return Err(Error::Usage {
            message: format!("--hidden: the network of {} has no hidden neurons", args.run.display()),
            help: "leave it out".to_owned(),
        });
    }
    let session = match (&args.session, recorded.sessions.len()) {
        (Some(id), _) => session(recorded, id)?,
        (None, 1) => 0,
        (None, _) => {
            return Err(Error::Usage {
                message: "the run has several sessions, each with stimuli of its own".to_owned(),
                help: format!("name one with --session: {}", sessions(recorded)),
            });
        }
    };
    let recording = recording(&run, &fitted, session, args)?;
    super::export::write_simulated(&args.out, &recording)?;
    tracing::info!(
        "simulated {} at step {} into {}, with the stimuli of session '{}'",
        run.path().display(),
        fitted.step,
        args.out.display(),
        recorded.sessions[session].id
    );
    super::synth::print_summary(&recording, global)?;
    Ok(exit_code::DONE)
}

/// One session `model` with a unit for each recorded neuron of the network, and one for each hidden one if asked for.
fn recording(run: &RunDir, fitted: &Fitted, at: usize, args: &SimulateArgs) -> Result<Recording, Error> {
    let (recorded, spec) = (&fitted.recorded, &fitted.model.network.spec);
    let session = &recorded.sessions[at];
    let bin_ms = fitted.experiment.data.bin_ms;
    let with_bins: Vec<usize> = (0..session.valid_bins.len())
        .filter(|&k| session.valid_bins[k] > 0)
        .collect();
    let longest = with_bins.iter().map(|&k| session.valid_bins[k]).max().unwrap_or(0);
    memory::check(BatchSize {
        n_trials: args.trials.get(),
        n_steps: longest,
        n_neurons: spec.n_neurons(),
        bytes_per_value: memory::COUNT,
    })?;
    let shown = trials_of(&with_bins, args.trials.get());
    let bins = shown.iter().map(|&k| session.valid_bins[k]).max().unwrap_or(0);
    if bins == 0 {
        return Err(FitError::SpikeHistory {
            reason: format!("session '{}' has no trial with a bin that was recorded", session.id),
        }
        .into());
    }
    let clamped = clamped_bins(args, session, &shown, bin_ms)?;
    let time = Time::new(session.start_ms, bin_ms, bins);
    let plan = if args.perturbation.is_empty() {
        None
    } else {
        Some(SpikeHistoryPlan::new(&args.perturbation, recorded, spec, &time)?)
    };
    for described in plan.iter().flat_map(|plan| &plan.described) {
        tracing::info!("{}", described.line());
    }
    let test = session.trials(Part::Test);
    let n_test = shown.iter().filter(|k| test.contains(k)).count();
    if clamped > 0 && n_test > 0 {
        run.update_manifest(|manifest| manifest.test_openings += 1)?;
        tracing::info!("neurons are held to spikes of test trials in {n_test} trials: the manifest counts an opening");
    }
    let mut counts = fitted.rollouts().trials(&Trials {
        session: at,
        shown: &shown,
        bins,
        clamped,
        chunk: chunk(args.trial_chunk),
        perturbations: plan.as_ref().map_or(&[], |plan| &plan.perturbations),
        seed: args.seed,
        stream: "simulate",
    })?;
    if !args.hidden {
        counts = counts
            .slice(s![.., .., ..spec.n_visible])
            .as_standard_layout()
            .into_owned();
    }
    let lengths: Vec<usize> = shown.iter().map(|&k| session.valid_bins[k]).collect();
    for (k, &length) in lengths.iter().enumerate() {
        counts.slice_mut(s![k, length.., ..]).fill(0);
    }
    // Once more, because what is fitted is scaled, and trials are as the recording has them.
    let shown_of = binned(fitted, at)?;
    let trials = trials(&shown_of, &shown, bins);
    let units = units(fitted, &counts, lengths.iter().sum::<usize>() as f64 * bin_ms / 1000.0);
    Ok(Recording {
        sessions: vec![data::Session {
            id: "model".to_owned(),
            units,
            trials,
            events: TrialEvents {
                times_s: BTreeMap::new(),
                values: BTreeMap::from([(
                    RECORDED_TRIAL.to_owned(),
                    shown.iter().map(|&k| Some(k as f64)).collect(),
                )]),
            },
            behaviour: BTreeMap::new(),
            stimulus: shown_of.movies.map(|values| StimulusMovies {
                values,
                bin_ms,
                start_ms: session.start_ms,
            }),
            activity: Activity::Binned {
                counts,
                bin_ms,
                start_ms: session.start_ms,
                presence: None,
            },
        }],
    })
}

/// Bins that are held to the recording: whole ones, and no more than the shortest trial has.
fn clamped_bins(
    args: &SimulateArgs,
    session: &crate::spike_history::recorded::RecordedSession,
    shown: &[usize],
    bin_ms: f64,
) -> Result<usize, Error> {
    let Some(ms) = args.clamped_ms else { return Ok(0) };
    let shortest = shown.iter().map(|&k| session.valid_bins[k]).min().unwrap_or(0);
    let bins = (ms / bin_ms).round();
    if bins > shortest as f64 {
        return Err(Error::Usage {
            message: format!(
                "--clamped-ms {ms} is longer than the shortest trial, which has {} ms",
                shortest as f64 * bin_ms
            ),
            help: "neurons are held to their recorded spikes at the start of each trial, and free afterwards"
                .to_owned(),
        });
    }
    Ok(bins as usize)
}

/// The session as it is in the recording.
fn binned(fitted: &Fitted, at: usize) -> Result<BinnedSession, Error> {
    let sessions = load(&fitted.experiment.data, false, &mut Vec::new())?;
    let id = &fitted.recorded.sessions[at].id;
    let found = sessions.into_iter().find(|session| session.id == *id);
    found.ok_or_else(|| Error::Internal {
        message: format!("session '{id}' is no longer there"),
    })
}

/// Trials that lie apart, with the stimulus, and the number of bins, of the recorded ones.
fn trials(session: &BinnedSession, shown: &[usize], bins: usize) -> Vec<Trial> {
    let window_s = bins as f64 * session.bin_ms / 1000.0;
    // Trials never touch: some programs would join them.
    let gap_s = session.bin_ms.max(GAP_MS) / 1000.0;
    let of = |(k, &of): (usize, &usize)| {
        let start_s = k as f64 * (window_s + gap_s);
        let valid = session.valid_bins[of];
        Trial {
            start_s,
            stop_s: start_s + valid as f64 * session.bin_ms / 1000.0,
            align_s: start_s - session.start_ms / 1000.0,
            stimulus: session.trials[of].stimulus,
            trial_type: "simulated".to_owned(),
            movie: session.trials[of].movie.filter(|_| session.movies.is_some()),
            valid_bins: (valid < bins).then_some(valid),
        }
    };
    shown.iter().enumerate().map(of).collect()
}

fn units(fitted: &Fitted, counts: &Array3<u8>, seconds: f64) -> Vec<Unit> {
    let (recorded, spec) = (&fitted.recorded, &fitted.model.network.spec);
    let names = recorded.neuron_ids(spec).into_iter().zip(recorded.neuron_areas(spec));
    names
        .zip(counts.axis_iter(Axis(2)))
        .map(|((id, area), spikes)| Unit {
            id,
            area,
            cell_type: CellType::Unknown,
            firing_rate_hz: Some(spikes.iter().map(|&z| f64::from(z)).sum::<f64>() / seconds),
        })
        .collect()
}
