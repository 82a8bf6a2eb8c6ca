//! `gradwatch study`: trains the runs of a grid, several at once, and compares them.

mod estimate;
mod jobs;
mod progress;
mod runner;

use std::{
    io::{IsTerminal, stderr},
    num::NonZero,
    path::PathBuf,
    thread::available_parallelism,
};

use anyhow::{Context, Result};
use clap::Args;
use gradwatch::{config::Config, libtorch::resolve_device, number::count, train::StopSignal};
use gradwatch_study::{Identity, InvalidRun, Results, State, Study, StudyFolder, write_study};
use indicatif::MultiProgress;
use signal_hook::iterator::Signals;
use tch::{Cuda, Device};

use self::{
    estimate::{Estimate, Tried},
    jobs::Jobs,
    progress::Progress,
    runner::{Planned, Runner},
};
use super::{OverrideArguments, counted, exit::Code, folder_name, launch::end_with_launcher, log, print, tell};

/// Number of runs from which a study starts only with `--yes`.
const MANY: usize = 1000;
/// Number of runs from which the time is estimated before the start.
const SEVERAL: usize = 50;
/// Most names of runs to list.
const MOST_NAMES: usize = 20;

/// Reason why the runs of a study do not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunsError {
    /// There are very many runs, and the user has not agreed.
    #[error("{estimate}; to start so many, add --yes")]
    Many { estimate: String },
    /// Runs in the folder were trained with another config.
    #[error(
        "{} in {} with another config than the study has now, such as {example}; choose another name with --name, or \
         move the folder away",
        if *runs == 1 { "1 run was trained".to_owned() } else { format!("{runs} runs were trained") },
        folder.display()
    )]
    OtherConfig { runs: usize, folder: PathBuf, example: String },
    /// There is no such study.
    #[error("{} contains no study; train it without --report first, or choose another --name", folder.display())]
    Nothing { folder: PathBuf },
}

#[derive(Debug, Args)]
pub(super) struct StudyArguments {
    /// TOML file of the study; docs/studies.md describes it, and configs/studies/ has examples.
    study: PathBuf,
    /// Name of the study's folder in run.logdir (default: the name of the file).
    #[arg(long, value_name = "NAME", value_parser = folder_name)]
    name: Option<String>,
    /// Number of runs to train at once (default: one per GPU, or one per core).
    #[arg(long, value_name = "N", value_parser = counted(1024))]
    jobs: Option<usize>,
    /// List the runs and estimate their time from a few steps of some, in a temporary folder.
    #[arg(long)]
    dry_run: bool,
    /// Write the results of the runs that have ended; train nothing.
    #[arg(long, conflicts_with = "dry_run")]
    report: bool,
    /// Start a study of 1000 runs or more.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    overrides: OverrideArguments,
}

pub(super) fn run(arguments: &StudyArguments) -> Result<Code> {
    end_with_launcher().context("cannot ask the kernel for a signal at the end of the launcher")?;
    let bars = stderr().is_terminal().then(MultiProgress::new);
    let _log = log::start(bars.clone(), 0);
    // Before the first process starts, so that no signal ends the study alone.
    let mut signals = Signals::new(StopSignal::signals()).context("cannot install the signal handler")?;
    let study = Study::load(&arguments.study)?.set(&arguments.overrides.assignments(None))?;
    let grid = study.grid()?;
    report_invalid(&grid.invalid);
    let configs = grid.configs;
    let runs: Vec<Planned> = grid
        .plans
        .into_iter()
        .zip(&configs)
        .map(|(plan, config)| Planned::new(plan, config, study.halving.is_some()))
        .collect();
    let (jobs, gpus) = jobs(arguments.jobs, &configs)?;
    if arguments.dry_run {
        let code = list(&study, &runs, &configs, jobs, &mut signals)?;
        return Ok(if code == Code::Success && !grid.invalid.is_empty() { Code::Partial } else { code });
    }
    let name = arguments.name.as_ref().unwrap_or(&study.name);
    let logdir = configs.first().map(|config| config.run.logdir.clone()).unwrap_or_default();
    if arguments.report && !logdir.join(name).is_dir() {
        return Err(RunsError::Nothing { folder: logdir.join(name) }.into());
    }
    // A study that is still training can be reported too.
    let open = if arguments.report { StudyFolder::open_to_read } else { StudyFolder::open };
    let mut runner = Runner {
        folder: open(&logdir, name, &Identity::of(&study))?,
        study: &study,
        runs: &runs,
        jobs: Jobs::new(jobs, gpus).context("cannot find the program of the training processes")?,
        // Runs that train at once share the cores.
        threads: (cores() / jobs).max(1),
        signals,
        progress: Progress::new(bars.as_ref()),
    };
    runner.check_configs()?;
    let signal = match arguments.report {
        true => None,
        false => match announce(&mut runner, &configs, jobs, arguments.yes)? {
            None => runner.run()?,
            signal => signal,
        },
    };
    runner.progress.finish();
    let has_failed = write_results(&runner, &grid.invalid)?;
    Ok(match signal {
        Some(signal) => Code::Signal(signal),
        None if has_failed || !grid.invalid.is_empty() => Code::Partial,
        None => Code::Success,
    })
}

/// Names the runs that cannot start.
fn report_invalid(invalid: &[InvalidRun]) {
    for InvalidRun { name, problem } in invalid.iter().take(MOST_NAMES) {
        tracing::warn!("{name} is left out: {problem}");
    }
    if let Some(more @ 1..) = invalid.len().checked_sub(MOST_NAMES) {
        tracing::warn!("{} more left out; report.html lists all of them", count(more, "run"));
    }
}

/// Number of runs at once, and of GPUs to distribute them over.
fn jobs(wanted: Option<usize>, configs: &[Config]) -> Result<(usize, usize)> {
    let device = configs.first().map_or("auto", |config| &config.run.device);
    let gpus = match resolve_device(device)? {
        Device::Cuda(_) if device.contains(':') => 1,
        Device::Cuda(_) => usize::try_from(Cuda::device_count()).unwrap_or(1),
        _ => 0,
    };
    let default = if gpus > 0 { gpus } else { cores() };
    Ok((wanted.unwrap_or(default), gpus))
}

fn cores() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}

/// Prints the runs and the estimated time.
fn list(study: &Study, runs: &[Planned], configs: &[Config], jobs: usize, signals: &mut Signals) -> Result<Code> {
    let names = runs.iter().take(MOST_NAMES).map(|run| format!("{}\n", run.plan.name)).collect::<String>();
    let more = runs.len().saturating_sub(MOST_NAMES);
    let more = if more > 0 { format!("... and {more} more\n") } else { String::new() };
    print(&format!("{names}{more}"))?;
    let runs: Vec<(&Planned, &Config)> = runs.iter().zip(configs).collect();
    let estimate = match Estimate::of_trials(study, &runs, jobs, signals)? {
        Tried::Estimate(estimate) => estimate.to_string(),
        Tried::Unknown => count(runs.len(), "run"),
        Tried::Stopped(signal) => return Ok(Code::Signal(signal)),
    };
    print(&format!("{estimate}\n"))?;
    Ok(Code::Success)
}

/// Tells how much there is to do, and how long it takes. Returns a signal that came in the meantime.
///
/// # Errors
/// If there are very many runs, and the user has not agreed.
fn announce(runner: &mut Runner<'_>, configs: &[Config], jobs: usize, is_agreed: bool) -> Result<Option<i32>> {
    let (open, seconds) = runner.open(&runner.states());
    let runs = runner.runs.len();
    if open.is_empty() {
        tracing::info!("all {runs} runs have ended");
        return Ok(None);
    }
    let ended = runs - open.len();
    let before = if ended > 0 { format!("; {ended} of {runs} have ended") } else { String::new() };
    let plain = format!("{}, {jobs} at once", count(open.len(), "run"));
    let estimate = match Estimate::of_ended(&seconds, open.len(), jobs) {
        Some(estimate) => estimate.to_string(),
        None if open.len() >= SEVERAL => {
            let open: Vec<(&Planned, &Config)> = open.iter().map(|run| (&runner.runs[*run], &configs[*run])).collect();
            match Estimate::of_trials(runner.study, &open, jobs, &mut runner.signals)? {
                Tried::Estimate(estimate) => estimate.to_string(),
                Tried::Unknown => plain,
                Tried::Stopped(signal) => return Ok(Some(signal)),
            }
        }
        None => plain,
    };
    tracing::info!("{estimate}{before}");
    if ended == 0 && open.len() >= MANY && !is_agreed {
        return Err(RunsError::Many { estimate }.into());
    }
    Ok(None)
}

/// Writes the results, and prints where they are. Returns whether a run failed.
fn write_results(runner: &Runner<'_>, invalid: &[InvalidRun]) -> Result<bool> {
    let plans: Vec<_> = runner.runs.iter().map(|run| run.plan.clone()).collect();
    let states = runner.states();
    let gathered = Results::gather(runner.study, &plans, runner.folder.path(), &states);
    gathered.notes.iter().for_each(|note| tracing::warn!("{note}"));
    let folder = runner.folder.folder();
    write_study(folder, runner.study, &gathered, invalid)?.iter().for_each(|note| tracing::warn!("{note}"));
    let failed = states.values().filter(|state| state.state == State::Failed).count();
    let ended = plans.len() - runner.open(&states).0.len() + failed;
    let failures = if failed > 0 { format!(", {failed} of them with an error") } else { String::new() };
    let path = folder.path();
    tell(&format!(
        "runs        {} of {} have ended{failures}\nresults     {}\nreport      {}\nview with   tensorboard --logdir {}\n",
        ended,
        plans.len(),
        path.join("results.csv").display(),
        path.join("report.html").display(),
        path.display()
    ));
    Ok(failed > 0)
}
