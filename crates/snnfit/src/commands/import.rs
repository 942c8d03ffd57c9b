//! `snnfit import`: binned HDF5 arrays to a recording.

use data::CellType;
use data::import::{BinnedImport, BinnedSource, import_binned};

use crate::cli::{CellTypeName, Global, ImportArgs};
use crate::config::{self, ConfigError, Problem};
use crate::error::Error;
use crate::exit_code;

pub(super) fn run(args: &ImportArgs, global: &Global) -> Result<u8, Error> {
    let description = match &args.spec {
        Some(path) => {
            let text = config::read_text(path)?;
            BinnedImport::from_toml(&path.display().to_string(), &text).map_err(spec_error)?
        }
        None => from_options(args)?,
    };
    if !(description.bin_ms.is_finite() && description.bin_ms > 0.0 && description.start_ms.is_finite()) {
        return Err(Error::Usage {
            message: format!(
                "bin width {} ms and start {} ms must be finite, and the width > 0",
                description.bin_ms, description.start_ms
            ),
            help: "times are in ms".to_owned(),
        });
    }
    super::refuse_existing(&args.out)?;
    let recording = import_binned(&args.file, &description)?;
    data::write(&args.out, &recording).map_err(super::output_error)?;
    tracing::info!("wrote {}", args.out.display());
    super::synth::print_summary(&recording, global)?;
    Ok(exit_code::DONE)
}

/// The parser makes `--spikes`, `--bin-ms` and `--area` present where there is no `--spec`.
fn from_options(args: &ImportArgs) -> Result<BinnedImport, Error> {
    let absent = |flag: &str| Error::Usage {
        message: format!("{flag} is missing"),
        help: "give it, or describe the arrays with --spec".to_owned(),
    };
    Ok(BinnedImport {
        bin_ms: args.bin_ms.ok_or_else(|| absent("--bin-ms"))?,
        start_ms: args.start_ms,
        sessions: vec![BinnedSource {
            id: args.session_id.clone(),
            spikes: args.spikes.clone().ok_or_else(|| absent("--spikes"))?,
            spikes_axes: args.axes.clone(),
            stimulus: args.stimulus.clone(),
            stimulus_axes: args.stimulus_axes.clone(),
            area: args.area.clone(),
            cell_type: Some(match args.cell_type {
                CellTypeName::Excitatory => CellType::Excitatory,
                CellTypeName::Inhibitory => CellType::Inhibitory,
                CellTypeName::Unknown => CellType::Unknown,
            }),
            ..BinnedSource::default()
        }],
    })
}

fn spec_error(error: data::DataError) -> Error {
    match error {
        data::DataError::Parse { subject, message } => {
            let problem = Problem {
                code: "snnfit::import::spec",
                message: format!("{subject}: {message}"),
                label: None,
                help: Some("docs/FORMATS.md describes the import file".to_owned()),
                place: None,
            };
            Error::Config(ConfigError::Invalid {
                problems: vec![problem],
            })
        }
        other => Error::Data(other),
    }
}
