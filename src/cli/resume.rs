//! `gradwatch resume`: resumes a stopped run from its newest valid checkpoint.

use std::path::Path;

use anyhow::Result;
use gradwatch::{
    checkpoint::{CheckpointError, FOLDER, newest_whole},
    config::Config,
    events::RunFolder,
    supervisor::Supervisor,
    train::{check_repair, loaded_config},
};

use super::{ResumeArguments, exit::Code, launch::launch, session::Session};

pub(super) fn run(arguments: &ResumeArguments) -> Result<Code> {
    let overrides = arguments.overrides.assignments(arguments.session.max_steps);
    if let Some(ranks @ 2..) = arguments.session.ranks {
        // A run folder that cannot be read is reported by rank 0.
        if let Ok(config) = run_config(&arguments.run, &overrides) {
            check_repair(&config, ranks)?;
        }
        return launch(ranks);
    }
    let mut session = Session::start()?;
    if session.is_follower() {
        if !arguments.run.is_dir() {
            // The same error as on rank 0.
            RunFolder::open(&arguments.run)?;
        }
        // Rank 0 chooses the checkpoint. Until then, the config in the run folder says how to connect.
        let config = run_config(&arguments.run, &overrides)?;
        return session.with_ranks(&config, |session| session.follow(config.clone()));
    }
    resume_with(session, RunFolder::open(&arguments.run)?, &overrides, &arguments.session.allowed)
}

/// Resumes the run in a folder, as `gradwatch resume` does.
pub(super) fn resume_in(folder: RunFolder, overrides: &[String]) -> Result<Code> {
    resume_with(Session::start()?, folder, overrides, &[])
}

fn resume_with(mut session: Session, folder: RunFolder, overrides: &[String], allowed: &[String]) -> Result<Code> {
    let run = folder.path().to_owned();
    let mut repairs = Supervisor::open(&folder)?;
    let begun = run_config(&run, overrides)?;
    repairs.complete_return(&folder)?;
    let Some(loaded) = newest_whole(&run.join(FOLDER))? else {
        if let Some(rule) = repairs.gave_up(&begun) {
            return Ok(session.has_given_up(&run, rule));
        }
        if repairs.has_started_again() {
            return session.with_ranks(&begun, |session| session.begin_again(begun.clone(), folder, repairs));
        }
        let remedy =
            "start it again with gradwatch train and another --run-name, or with --resume auto if it has no steps yet";
        return Err(CheckpointError::Missing { run, remedy }.into());
    };
    let mut config = loaded_config(&loaded, overrides)?;
    // Repairs may have been turned on for this session, after the checkpoint.
    config.repair = begun.repair.clone();
    session.with_ranks(&begun, |session| session.resume(config, folder, loaded, allowed, repairs))
}

/// The config in the run folder, with which the ranks connect.
fn run_config(run: &Path, overrides: &[String]) -> Result<Config> {
    Ok(Config::load_saved(&run.join("config.toml"), overrides, run)?)
}
