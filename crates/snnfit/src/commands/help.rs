//! `snnfit help`: commands and topics.

use clap::CommandFactory;

use crate::cli::{Cli, HelpArgs};
use crate::error::Error;
use crate::{config, exit_code};

const TOPICS: [(&str, &str); 3] = [
    ("exit-codes", exit_code::TEXT),
    ("formats", include_str!("../../../../docs/FORMATS.md")),
    ("reproducibility", REPRODUCIBILITY),
];

const REPRODUCIBILITY: &str = "\
Reproducibility

A run is a function of run.toml, the recordings (their SHA-256 is in manifest.json) and the version of snnfit.
  - The same seed gives the same run, byte for byte, on the same kind of CPU, whatever the number of threads.
  - A run that was stopped, or killed, and goes on with --resume gives the bytes of a run that was never stopped.
  - Random numbers are functions of (seed, purpose, neuron, time, trial, step), not of what was drawn before: changing
    the number of validations leaves training alone. [split] has a seed of its own, so runs that differ in `seed` are
    compared on the same test trials.
  - The engines `native` and `reference` draw the same numbers but sum in another order: single spikes, and with
    them whole trials, may differ between them.
  - To repeat a run: snnfit train --config RUN/run.toml --out NEW
";

pub(super) fn run(args: &HelpArgs) -> Result<u8, Error> {
    let mut command = Cli::command();
    command.build();
    if let [topic] = args.topics.as_slice()
        && let Some((_, text)) = TOPICS.iter().find(|(name, _)| name == topic)
    {
        super::print(text)?;
        return Ok(exit_code::DONE);
    }
    let mut current = &mut command;
    for name in &args.topics {
        if current.find_subcommand(name).is_none() {
            return Err(unknown(current, name));
        }
        let Some(next) = current.find_subcommand_mut(name) else {
            return Err(Error::Internal {
                message: format!("the command '{name}' vanished"),
            });
        };
        current = next;
    }
    super::print(&current.render_long_help().to_string())?;
    Ok(exit_code::DONE)
}

fn unknown(command: &clap::Command, name: &str) -> Error {
    let mut known: Vec<&str> = command
        .get_subcommands()
        .filter(|known| !known.is_hide_set())
        .map(clap::Command::get_name)
        .collect();
    known.extend(TOPICS.iter().map(|(topic, _)| *topic));
    let suggestion = config::closest(name, known.iter().copied());
    Error::Usage {
        message: format!("'{name}' is neither a command nor a topic"),
        help: match suggestion {
            Some(known) => format!("did you mean '{known}'?"),
            None => format!("commands and topics: {}", known.join(", ")),
        },
    }
}
