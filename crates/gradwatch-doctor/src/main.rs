//! `gradwatch-doctor`: diagnoses training runs from their TensorBoard event files.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gradwatch_doctor::{
    cli::{
        DiagnoseArguments, DiagnoseError, DiagnoseOutcome, FollowError, WatchArguments, WatchCommandError,
        WatchOutcome, parse_arguments, tell_error,
    },
    watch::WatchError,
};

const NAME: &str = "gradwatch-doctor";

/// Diagnose training runs from their TensorBoard event files.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Diagnose a finished run or one in progress, or TensorBoard event files from any program.
    ///
    /// Searches the folder and its subfolders, or reads one event file. Recognizes the tags of PyTorch's SummaryWriter,
    /// tensorboardX, Lightning, Keras, gradwatch, and others; --tag maps unknown tags. Reports the rules that it could
    /// not check.
    Diagnose(DiagnoseArguments),
    /// Watch runs in the terminal while they train: verdict, cause, curves, layers, and speed.
    ///
    /// Reads files only, so it can be opened and closed at any time. Shows one run, or a folder of runs as a table.
    /// Press ? for the keys.
    Watch(WatchArguments),
}

/// Exit codes in `--help`; `gradwatch` uses the same ones.
const EXIT_CODES: &str = "\
Exit codes:
    0  success
    1  internal error
    2  wrong command line
    6  the output file already exists, or cannot be written
    9  done, but part of a file was damaged
   11  a finding reaches --fail-at or --stop-at
   12  nothing to read, or no known tags, in at least one run
   13  stdout cannot be written, or the terminal cannot be used
  130  ended by Ctrl-C (SIGINT); 131 by SIGQUIT, 143 by SIGTERM";

fn main() -> ExitCode {
    let arguments: Arguments = match parse_arguments(NAME) {
        Ok(arguments) => arguments,
        Err(code) => return code.into(),
    };
    let code: u8 = match arguments.command {
        Command::Diagnose(arguments) => diagnose(&arguments),
        Command::Watch(arguments) => watch(&arguments),
    };
    code.into()
}

fn diagnose(arguments: &DiagnoseArguments) -> u8 {
    match arguments.run(NAME) {
        Ok(DiagnoseOutcome::Done) => 0,
        Ok(DiagnoseOutcome::Partial) => 9,
        Ok(DiagnoseOutcome::Finding) => 11,
        Ok(DiagnoseOutcome::Unreadable) => 12,
        Ok(DiagnoseOutcome::Signal(signal)) => u8::try_from(128 + signal).unwrap_or(1),
        Err(error) => {
            tell_error(NAME, &error.to_string());
            match error {
                DiagnoseError::Output(_) => 6,
                DiagnoseError::Replay(_) | DiagnoseError::Follow(FollowError::Path { .. }) => 12,
                DiagnoseError::Follow(FollowError::Format(_)) => 2,
                DiagnoseError::Follow(FollowError::Signals(_)) => 1,
                DiagnoseError::Stdout(_) => 13,
            }
        }
    }
}

fn watch(arguments: &WatchArguments) -> u8 {
    match arguments.run() {
        Ok(WatchOutcome::Done) => 0,
        Ok(WatchOutcome::Unreadable) => 12,
        Err(error) => {
            tell_error(NAME, &error.to_string());
            match error {
                WatchCommandError::Watch(WatchError::Path { .. }) => 12,
                WatchCommandError::Watch(WatchError::Terminal(_)) | WatchCommandError::Stdout(_) => 13,
                WatchCommandError::Watch(WatchError::Panic(_)) => 1,
            }
        }
    }
}
