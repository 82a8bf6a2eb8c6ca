//! `gradwatch compare`: compares runs that exist already.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use gradwatch::{
    cli::{DiagnoseError, print, tell_error},
    disk::Output,
};
use gradwatch_study::comparison::{ComparedRun, Comparison};

use super::{exit::Code, log, tell_written};

#[derive(Debug, Args)]
pub(super) struct CompareArguments {
    /// Run folders such as logs/NAME, folders with event files of any program, or event files.
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Also write a page with the curves to this file.
    #[arg(long, value_name = "FILE.html")]
    output: Option<PathBuf>,
    /// Replace an existing file.
    #[arg(long, requires = "output")]
    force: bool,
}

pub(super) fn run(arguments: &CompareArguments) -> Result<Code> {
    let _log = log::start(None, 0);
    let output = arguments.output.as_ref().map(|path| Output::choose(path, arguments.force)).transpose()?;
    let (mut runs, mut errors) = (Vec::new(), Vec::new());
    for path in &arguments.runs {
        match ComparedRun::read(path) {
            Ok(run) => runs.push(run),
            Err(error) => errors.push(error),
        }
    }
    // An error in one run does not stop the comparison of the others, unless only one is left.
    let last = if runs.len() < 2 { errors.pop() } else { None };
    errors.iter().for_each(|error| tell_error("gradwatch", &error.to_string()));
    if let Some(error) = last {
        return Err(DiagnoseError::Replay(error).into());
    }
    let comparison = Comparison::new(runs);
    // With the page on stdout, the tables would be in the middle of it.
    if output.as_ref().is_none_or(|output| !output.is_stdout()) {
        print(&format!("{}\n", comparison.terminal()))?;
    }
    if let Some(mut output) = output {
        output.write(comparison.html().as_bytes())?;
        tell_written(&output, "comparison of the runs");
    }
    Ok(match (errors.is_empty(), comparison.is_damaged()) {
        (false, _) => Code::Unreadable,
        (true, true) => Code::Partial,
        (true, false) => Code::Success,
    })
}
