//! `snnfit help`: commands and topics.

use clap::CommandFactory;

use crate::cli::{Cli, HelpArgs};
use crate::error::Error;
use crate::{config, exit_code};

const TOPICS: [(&str, &str); 1] = [("exit-codes", exit_code::TEXT)];

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
    let mut known: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
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
