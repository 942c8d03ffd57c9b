//! `snnfit export`: fitted networks and recordings for other programs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use data::export::{Annotated, NetworkTables};
use data::fs::Sibling;
use data::{Connectivity, DataError, Finding, Recording, Session};
use serde::Serialize;
use snn_core::device::DeviceChoice;

use crate::cli::{CheckpointChoice, ExportArgs, ExportForm, Format, Global};
use crate::config;
use crate::error::Error;
use crate::exit_code;
use crate::fit_error::FitError;
use crate::handoff::{self, HandOff, Origin, SpikeHistoryHandOff};
use crate::loaded::Fitted;
use crate::run_dir::RunDir;

/// More delays than this are told by the first and the last.
const MOST_DELAYS: usize = 4;

pub(super) fn run(args: &ExportArgs, global: &Global) -> Result<u8, Error> {
    let form = form(args)?;
    super::refuse_existing(&args.out)?;
    let answer = if args.source.is_dir() {
        export_run(args, form)?
    } else {
        export_recording(args, form)?
    };
    for warning in &answer.warnings {
        tracing::warn!("{}", super::visible(warning));
    }
    match global.format {
        Format::Json => super::print_json(&answer)?,
        Format::Text => super::print(&super::visible(&answer.text()))?,
    }
    Ok(exit_code::DONE)
}

/// What was written.
#[derive(Debug, Serialize)]
struct Exported {
    schema: u32,
    source: String,
    out: String,
    /// Files, where there are several; relative to `out`.
    files: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<ExportedNetwork>,
    sessions: Vec<ExportedSession>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ExportedNetwork {
    checkpoint_step: u64,
    neurons: usize,
    hidden_neurons: usize,
    delays_ms: Vec<f64>,
    synapses: usize,
    /// Weights that aren't 0 and have no effect: the projection keeps them at rest.
    dormant_synapses: usize,
}

#[derive(Debug, Serialize)]
struct ExportedSession {
    id: String,
    units: usize,
    trials: usize,
    behaviour: Vec<String>,
}

impl Exported {
    fn text(&self) -> String {
        let mut text = format!("wrote {}\n", self.out);
        // Writing to a String cannot fail.
        if let Some(network) = &self.network {
            let delays = delays(&network.delays_ms);
            let _ = writeln!(
                text,
                "checkpoint of step {}: {} neurons ({} hidden), {} synapses with delays of {}, {} dormant ones",
                network.checkpoint_step,
                network.neurons,
                network.hidden_neurons,
                network.synapses,
                delays,
                network.dormant_synapses
            );
        }
        for session in &self.sessions {
            let behaviour = match session.behaviour.as_slice() {
                [] => String::new(),
                names => format!(", {}", names.join(", ")),
            };
            let (id, units, trials) = (&session.id, session.units, session.trials);
            let _ = writeln!(text, "session {id}: {units} units, {trials} trials{behaviour}");
        }
        for file in &self.files {
            let _ = writeln!(text, "  {file}");
        }
        text
    }
}

/// All of a few, or how many from which to which.
fn delays(delays_ms: &[f64]) -> String {
    let shown = |ms: f64| ((ms * 1e6).round() / 1e6).to_string();
    match delays_ms {
        [first, .., last] if delays_ms.len() > MOST_DELAYS => {
            format!("{} to {} ms ({} of them)", shown(*first), shown(*last), delays_ms.len())
        }
        few => format!(
            "{} ms",
            few.iter().map(|ms| shown(*ms)).collect::<Vec<_>>().join(" and ")
        ),
    }
}

fn usage(message: String, help: &str) -> Error {
    Error::Usage {
        message,
        help: help.to_owned(),
    }
}

/// The form that the ending of a name says.
fn form_of_name(path: &Path) -> Option<ExportForm> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    Some(match ending.as_str() {
        "h5" | "hdf5" => ExportForm::H5,
        "nwb" => ExportForm::Nwb,
        "npz" => ExportForm::Npz,
        _ => return None,
    })
}

/// What is written: what `--as` says, else what the name does.
fn form(args: &ExportArgs) -> Result<ExportForm, Error> {
    let out = args.out.display();
    match (args.form, form_of_name(&args.out)) {
        (Some(form), named) if named.is_none_or(|named| named == form) => Ok(form),
        (Some(_), _) => Err(usage(
            format!("--as and the ending of --out {out} say different things"),
            "leave --as out, or give a name without that ending",
        )),
        (None, Some(form)) => Ok(form),
        (None, None) => Err(usage(
            format!("--out {out} has no ending that says what to write"),
            "end it in .h5, .nwb or .npz, or give --as h5, csv, sonata, nwb or npz",
        )),
    }
}

fn export_run(args: &ExportArgs, form: ExportForm) -> Result<Exported, Error> {
    if let ExportForm::Nwb | ExportForm::Npz = form {
        return Err(usage(
            format!("{} is a run: it has parameters, not trials", args.source.display()),
            "write simulated trials with `snnfit simulate RUN --out trials.nwb` (or .npz)",
        ));
    }
    if !args.session.is_empty() {
        return Err(usage(
            "--session goes with a recording".to_owned(),
            "leave it out: a network is exported whole",
        ));
    }
    let device = super::open_device(DeviceChoice::Cpu)?;
    let choice = args.checkpoint.unwrap_or(CheckpointChoice::Best);
    if super::evaluate::spike_history::is_one(&args.source) {
        let (run, fitted) = crate::spike_history::fitted::Fitted::open(&args.source, choice, &args.data, device)?;
        let handoff = SpikeHistoryHandOff::new(&fitted)?;
        let network = Network {
            connectivity: handoff.connectivity(),
            tables: handoff.tables(),
            step: fitted.step,
        };
        return write_network(args, form, &run, &network, |origin| handoff.arrays(origin));
    }
    let (run, fitted) = Fitted::open(&args.source, choice, &args.data, &device)?;
    let handoff = HandOff::new(&fitted)?;
    let network = Network {
        connectivity: handoff.connectivity(),
        tables: handoff.tables()?,
        step: fitted.state.step,
    };
    write_network(args, form, &run, &network, |origin| handoff.arrays(origin))
}

/// A network in the terms of files.
struct Network<'a> {
    connectivity: &'a Connectivity,
    tables: NetworkTables<'a>,
    step: u64,
}

fn write_network(
    args: &ExportArgs,
    form: ExportForm,
    run: &RunDir,
    network: &Network<'_>,
    arrays: impl Fn(&Origin<'_>) -> Result<Vec<Annotated>, FitError>,
) -> Result<Exported, Error> {
    let (out, mut files) = (&args.out, Vec::new());
    match form {
        ExportForm::Csv => {
            data::export::write_csv(out, &network.tables).map_err(super::output_error)?;
            files = names_in(out);
        }
        ExportForm::Sonata => {
            data::export::write_sonata(out, &network.tables).map_err(super::output_error)?;
            files = names_in(out);
        }
        ExportForm::H5 | ExportForm::Nwb | ExportForm::Npz => {
            let manifest = run.manifest()?;
            let origin = Origin {
                run: run.name(),
                config: config::read_text(&run.run_toml()).map_err(Error::in_run)?,
                manifest: &manifest,
            };
            let arrays = arrays(&origin)?;
            data::export::write_annotated(out, data::connectivity::PARAMETERS_FORMAT, handoff::VERSION, &arrays)
                .map_err(super::output_error)?;
        }
    }
    let connectivity = network.connectivity;
    let (synapses, dormant_synapses) = network.tables.count();
    Ok(Exported {
        schema: 1,
        source: args.source.display().to_string(),
        out: out.display().to_string(),
        files,
        network: Some(ExportedNetwork {
            checkpoint_step: network.step,
            neurons: connectivity.neurons.len(),
            hidden_neurons: connectivity
                .neurons
                .iter()
                .filter(|neuron| neuron.unit.is_empty())
                .count(),
            delays_ms: connectivity.delays_ms.clone(),
            synapses,
            dormant_synapses,
        }),
        sessions: Vec::new(),
        warnings: Vec::new(),
    })
}

/// Names of the files in a folder, sorted.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn export_recording(args: &ExportArgs, form: ExportForm) -> Result<Exported, Error> {
    if let ExportForm::Csv | ExportForm::Sonata = form {
        return Err(usage(
            format!(
                "{} is no run: --as csv and --as sonata are for networks",
                args.source.display()
            ),
            "recordings are written as h5, nwb or npz",
        ));
    }
    for (option, is_given) in [
        ("--checkpoint", args.checkpoint.is_some()),
        ("--data", !args.data.is_empty()),
    ] {
        if is_given {
            return Err(usage(
                format!("{option} goes with a run directory"),
                "leave it out for a recording",
            ));
        }
    }
    if args.source.is_file() && crate::checkpoint::is_checkpoint(&args.source).unwrap_or(false) {
        return Err(usage(
            format!("{} is a checkpoint, whose network needs its run", args.source.display()),
            "give the run directory and --checkpoint best, last or the number of the step",
        ));
    }
    let (recording, found) = crate::import_process::read_recording(&args.source, None, None)?;
    for warning in &found {
        tracing::warn!("{}", super::visible(&format!("{}: {warning}", args.source.display())));
    }
    let sessions = selected(recording, &args.session)?;
    let answer = |files: Vec<String>, warnings: Vec<Finding>, sessions: &[Session]| Exported {
        schema: 1,
        source: args.source.display().to_string(),
        out: args.out.display().to_string(),
        files,
        network: None,
        sessions: sessions
            .iter()
            .map(|session| ExportedSession::of(session, form))
            .collect(),
        warnings: warnings.iter().map(ToString::to_string).collect(),
    };
    if form == ExportForm::H5 {
        let recording = Recording { sessions };
        data::write(&args.out, &recording).map_err(super::output_error)?;
        return Ok(answer(Vec::new(), Vec::new(), &recording.sessions));
    }
    if form_of_name(&args.out).is_some() {
        let session = only(&sessions, &args.out)?;
        let warnings = write_session(&args.out, session, form)?;
        return Ok(answer(Vec::new(), warnings, &sessions));
    }
    let folder = Sibling::create_folder(&args.out).map_err(Error::Output)?;
    let mut warnings = Vec::new();
    for session in &sessions {
        let name = file_name(&session.id, form);
        warnings.extend(write_session(&folder.path().join(name), session, form)?);
    }
    folder.commit().map_err(Error::Output)?;
    Ok(answer(names_in(&args.out), warnings, &sessions))
}

impl ExportedSession {
    fn of(session: &Session, form: ExportForm) -> Self {
        Self {
            id: session.id.clone(),
            units: match form {
                ExportForm::Nwb => data::export::n_units(session, true),
                ExportForm::Npz => data::export::n_units(session, false),
                _ => session.n_units(),
            },
            trials: session.n_trials(),
            behaviour: session.behaviour.keys().cloned().collect(),
        }
    }
}

/// The sessions asked for, in the order of the file; all of them where none is.
fn selected(recording: Recording, wanted: &[String]) -> Result<Vec<Session>, Error> {
    let ids: Vec<&str> = recording.sessions.iter().map(|session| session.id.as_str()).collect();
    if let Some(unknown) = wanted.iter().find(|id| !ids.contains(&id.as_str())) {
        return Err(usage(
            format!("--session {unknown}: the recording has no such session"),
            &format!("its sessions are {}", ids.join(", ")),
        ));
    }
    let mut sessions = recording.sessions;
    sessions.retain(|session| wanted.is_empty() || wanted.contains(&session.id));
    Ok(sessions)
}

/// The one session that a file holds.
fn only<'a>(sessions: &'a [Session], out: &Path) -> Result<&'a Session, Error> {
    match sessions {
        [session] => Ok(session),
        several => {
            let ids: Vec<&str> = several.iter().map(|session| session.id.as_str()).collect();
            Err(usage(
                format!(
                    "{} holds one session, but there are {}: {}",
                    out.display(),
                    ids.len(),
                    ids.join(", ")
                ),
                "name one with --session, or give a folder as --out, and --as nwb or npz",
            ))
        }
    }
}

/// Name of a session's file: ids hold no `/` and no control characters.
fn file_name(id: &str, form: ExportForm) -> PathBuf {
    let ending = if form == ExportForm::Nwb { "nwb" } else { "npz" };
    PathBuf::from(format!("{id}.{ending}"))
}

fn write_session(path: &Path, session: &Session, form: ExportForm) -> Result<Vec<Finding>, Error> {
    let written = match form {
        ExportForm::Nwb => data::export::write_nwb(path, session),
        _ => data::export::write_npz(path, session),
    };
    written.map_err(|error| match error {
        // What a format can't hold is the recording's business.
        error @ (DataError::Bin { .. } | DataError::Invalid { .. }) => Error::Data(error),
        error => super::output_error(error),
    })
}

/// Writes simulated trials, one session, as the name says: NWB, npz, or else a native file.
pub(super) fn write_simulated(path: &Path, recording: &Recording) -> Result<(), Error> {
    match form_of_name(path) {
        Some(form @ (ExportForm::Nwb | ExportForm::Npz)) => {
            for warning in write_session(path, only(&recording.sessions, path)?, form)? {
                tracing::info!("{warning}");
            }
            Ok(())
        }
        _ => data::write(path, recording).map_err(super::output_error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_of_a_name_says_the_form_whatever_its_case() {
        assert_eq!(form_of_name(Path::new("a/b.NWB")), Some(ExportForm::Nwb));
        assert_eq!(form_of_name(Path::new("a.b.h5")), Some(ExportForm::H5));
        assert_eq!(form_of_name(Path::new("mouse.v2")), None);
        assert_eq!(form_of_name(Path::new("nwb")), None);
    }
}
