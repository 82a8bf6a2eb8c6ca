//! `gradwatch compare`: compares runs that exist already.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use gradwatch::{
    cli::{DiagnoseError, print, tag_pattern, tell_error},
    disk::Output,
    printable,
};
use gradwatch_study::comparison::{ComparedRun, Comparison, run_folders};

use super::{exit::Code, log, tell_written};

#[derive(Debug, Args)]
pub(super) struct CompareArguments {
    /// Run folders such as logs/NAME, folders with event files of any program, event files, or the folder of a study
    /// for all of its runs.
    #[arg(required = true, num_args = 1.., value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Map a tag to a role in all runs; * stands for the parameter name: --tag loss=objective. May be repeated.
    #[arg(long = "tag", value_name = "ROLE=PATTERN", value_parser = tag_pattern)]
    tags: Vec<String>,
    /// Also write a page with the curves to this file.
    #[arg(long, value_name = "FILE.html")]
    output: Option<PathBuf>,
    /// Replace an existing file.
    #[arg(long, requires = "output")]
    force: bool,
}

/// The paths name a single run.
#[derive(Debug, thiserror::Error)]
#[error("{} is the only run; want at least two runs, or the folder of a study", printable::path(_0))]
pub(super) struct OneRun(PathBuf);

pub(super) fn run(arguments: &CompareArguments) -> Result<Code> {
    let _log = log::start(None, 0);
    let output = arguments.output.as_ref().map(|path| Output::choose(path, arguments.force)).transpose()?;
    let paths: Vec<PathBuf> = arguments.runs.iter().flat_map(|path| run_folders(path)).collect();
    if let [only] = &paths[..] {
        return Err(OneRun(only.clone()).into());
    }
    let (mut runs, mut errors) = (Vec::new(), Vec::new());
    for path in paths {
        match ComparedRun::read_with(&path, &arguments.tags) {
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
    let terminal = format!("{}\n", comparison.terminal());
    match output {
        None => print(&terminal)?,
        Some(mut output) => {
            // Before the tables: a full stdout costs only them.
            output.write(comparison.html().as_bytes())?;
            // With the page on stdout, the tables would be in the middle of it.
            if !output.is_stdout() {
                print(&terminal)?;
            }
            tell_written(&output, "comparison of the runs");
        }
    }
    Ok(match (errors.is_empty(), comparison.is_damaged()) {
        (false, _) => Code::Unreadable,
        (true, true) => Code::Partial,
        (true, false) => Code::Success,
    })
}
