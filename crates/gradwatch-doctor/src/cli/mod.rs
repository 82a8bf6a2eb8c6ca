//! The subcommands `diagnose` and `watch`, and what command-line programs share. `gradwatch-doctor` and `gradwatch` use it.

mod diagnose;
mod follow;
mod output;
mod watch;

pub use diagnose::{DiagnoseArguments, DiagnoseError, DiagnoseOutcome, tag_pattern};
pub use follow::FollowError;
pub use output::{StdoutError, parse_arguments, print, tell_error, tell_error_lines};
pub use watch::{WatchArguments, WatchCommandError, WatchOutcome};
