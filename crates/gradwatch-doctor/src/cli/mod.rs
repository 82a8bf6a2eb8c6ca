//! The subcommand `diagnose`, and what command-line programs share. `gradwatch-doctor` and `gradwatch` use it.

mod diagnose;
mod output;

pub use diagnose::{DiagnoseArguments, DiagnoseError, DiagnoseOutcome};
pub use output::{StdoutError, print, report_usage_error, tell_error, tell_error_lines};
