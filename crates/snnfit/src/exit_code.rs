//! Exit codes of the program: one documented constant each.
//!
//! They are a contract with scripts: a code never changes its meaning. `snnfit help exit-codes` prints [`TEXT`].

/// Done; also when the reader of stdout closed the pipe.
pub const DONE: u8 = 0;
/// A bug in snnfit: a panic or a broken invariant.
pub const INTERNAL: u8 = 1;
/// The command line is wrong: unknown flag, missing argument, value out of range.
pub const USAGE: u8 = 2;
/// The configuration is wrong: syntax, unknown key, value out of range.
pub const CONFIG: u8 = 3;
/// A recording or data file is missing, damaged, inconsistent or not understood.
pub const DATA: u8 = 4;
/// A run directory or checkpoint is missing, locked, damaged or newer than this program, or can't be written.
pub const RUN: u8 = 5;
/// The device is absent or out of memory.
pub const DEVICE: u8 = 6;
/// The numbers broke down: values stayed non-finite after the allowed retries.
pub const NUMERIC: u8 = 7;
/// A `--require` condition or a gradient check was not met.
pub const REQUIREMENT: u8 = 8;
/// Stopped by `--max-time`; the run can be resumed.
pub const TIME_LIMIT: u8 = 9;
/// Interrupted (SIGINT) after a checkpoint was written; the run can be resumed.
pub const INTERRUPTED: u8 = 130;
/// Terminated (SIGTERM) after a checkpoint was written; the run can be resumed.
pub const TERMINATED: u8 = 143;

/// Text of `snnfit help exit-codes`.
pub const TEXT: &str = "\
Exit codes of snnfit

    0  done (also when the reader of stdout went away)
    1  a bug in snnfit: please report it
    2  usage: the command line is wrong
    3  configuration: syntax, unknown key, value out of range
    4  data file: missing, damaged, inconsistent
    5  run directory, checkpoint or output file: missing, existing, locked, damaged, newer, not writable
    6  device: absent or out of memory
    7  numeric: values stayed non-finite after the allowed retries
    8  a --require condition was not met
    9  stopped by --max-time; resume with: snnfit train --resume RUN
  130  interrupted (SIGINT); resumable
  143  terminated (SIGTERM); resumable
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_text_lists_every_code_once() {
        let all = [
            DONE,
            INTERNAL,
            USAGE,
            CONFIG,
            DATA,
            RUN,
            DEVICE,
            NUMERIC,
            REQUIREMENT,
            TIME_LIMIT,
            INTERRUPTED,
            TERMINATED,
        ];
        let listed: Vec<u8> = TEXT
            .lines()
            .skip(2)
            .filter_map(|line| line.split_whitespace().next()?.parse().ok())
            .collect();
        assert_eq!(listed, all);
    }
}
