//! The subcommand `diagnose`, and what command-line programs share. `gradwatch-doctor` and `gradwatch` use it.

mod diagnose;
mod output;

pub use diagnose::{DiagnoseArguments, DiagnoseError, DiagnoseOutcome};
pub use output::{StdoutError, parse_arguments, print, tell_error, tell_error_lines};
