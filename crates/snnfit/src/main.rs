//! The program `snnfit`.

use std::process::ExitCode;

fn main() -> ExitCode {
    snnfit::import_process::enable();
    let arguments: Vec<_> = std::env::args_os().collect();
    let as_json = snnfit::cli::asks_for_json(arguments.iter().cloned());
    ExitCode::from(snnfit::error::guard(as_json, || snnfit::commands::main(arguments)))
}
