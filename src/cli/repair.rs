//! `gradwatch repair`: repairs a run that ended badly, in a copy beside it.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use gradwatch::{
    config::Config,
    diagnosis::Remedy,
    events::EventsError,
    number::count,
    repair::{Proposal, RepairHistory, Trial},
    supervisor::{Fork, SupervisorError},
    watch::is_held,
};

use super::{RepairArguments, exit::Code, layout::wrap, log, print, resume::resume_in};

pub(super) fn run(arguments: &RepairArguments) -> Result<Code> {
    let run = &with_name(&arguments.run);
    let overrides = arguments.overrides.assignments(None);
    let config_path = run.join("config.toml");
    if !config_path.is_file() {
        return Err(EventsError::NoRun { path: run.clone(), missing: "config.toml" }.into());
    }
    if is_held(run) {
        let holder = "a process that trains it".to_owned();
        return Err(EventsError::InUse { path: run.clone(), holder }.into());
    }
    let config = Config::load_saved(&config_path, &overrides, run)?;
    let history = RepairHistory::of_run(run).map_err(SupervisorError::from)?;
    if let Some(record) = history.gave_up() {
        bail!(NoRepair(format!("the run has tried to repair itself: {record}; start a new run with another config")));
    }
    let fork = {
        // The session has a log of its own.
        let _log = arguments.dry_run.then(|| log::start(None, 0));
        Fork::plan(run, config, &history)?
    };
    let trial = match (&fork.trial, fork.findings.first()) {
        (Ok(trial), _) => trial.clone(),
        (Err(_), None) => {
            print(&format!(
                "nothing to repair: no finding of {} is {} or worse\n",
                run.display(),
                fork.config.repair.severity
            ))?;
            return Ok(Code::Success);
        }
        (Err(reason), Some(finding)) => {
            bail!(NoRepair(format!("no change can be tried: {reason}; the finding is {finding}")))
        }
    };
    if fork.folder().exists() {
        return Err(EventsError::CopyExists { path: fork.folder() }.into());
    }
    if arguments.dry_run {
        print(&plan(&fork, &trial))?;
        return Ok(Code::Success);
    }
    let folder = fork.create(trial)?;
    resume_in(folder, &overrides)
}

/// The path of a run folder with the name of the folder, also if it is given as `.`: the copy lies beside it.
fn with_name(run: &Path) -> PathBuf {
    match run.file_name() {
        Some(_) => run.to_owned(),
        None => run.canonicalize().unwrap_or_else(|_| run.to_owned()),
    }
}

/// The plan as text.
fn plan(fork: &Fork, trial: &Trial) -> String {
    let mut text = String::new();
    for (label, finding) in ["finding"].into_iter().chain(std::iter::repeat("also")).zip(&fork.findings) {
        let line = format!(
            "{label:<10}{} ({}) since step {}: {}",
            finding.rule, finding.severity, finding.first_step, finding.cause
        );
        text += &wrap(&line, 10);
    }
    let from = match trial.from_step {
        Some(step) => format!("the checkpoint of step {step}"),
        None => "the beginning of the run".to_owned(),
    };
    let again = fork.steps.saturating_sub(trial.from_step.unwrap_or(0));
    let cost = format!("{again} of {} are trained again", count(fork.steps, "step"));
    let changes: Vec<(&Remedy, Proposal)> =
        trial.found.remedies.iter().filter_map(|remedy| Some((remedy, Proposal::of(remedy, &fork.config)?))).collect();
    for (label, (remedy, proposal)) in ["try"].into_iter().chain(std::iter::repeat("then")).zip(&changes) {
        text += &wrap(&format!("{label:<10}{}: {}; {}", remedy.change, remedy.why, proposal.weights), 10);
    }
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{}{}",
        wrap(&format!("{:<10}{from}; {cost}; the first change is decided after step {}", "from", trial.until_step), 10),
        wrap(&format!("{:<10}{}", "into", fork.folder().display()), 10)
    );
    text
}

/// A run that cannot be repaired, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoRepair(String);
