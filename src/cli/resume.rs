//! `gradwatch resume`: resumes a stopped run from its newest valid checkpoint.

use std::path::Path;

use anyhow::Result;
use gradwatch::{
    checkpoint::{CheckpointError, FOLDER, Loaded, newest_whole},
    config::{Config, RuleName},
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
    match Begun::of(&folder, &mut repairs, &begun)? {
        Begun::Saved(loaded) => {
            let mut config = loaded_config(&loaded, overrides)?;
            // Repairs may have been turned on for this session, after the checkpoint.
            config.repair = begun.repair.clone();
            session.with_ranks(&begun, |session| session.resume(config, folder, *loaded, allowed, repairs))
        }
        Begun::GivenUp(rule) => Ok(session.has_given_up(&run, rule)),
        Begun::StartedAgain => {
            session.with_ranks(&begun, |session| session.begin_again(begun.clone(), folder, repairs))
        }
        Begun::Unsaved => {
            let remedy = "start it again with gradwatch train and another --run-name, or with --resume auto if it has no \
                          steps yet";
            Err(CheckpointError::Missing { run, remedy }.into())
        }
    }
}

/// State of a run that has begun.
pub(super) enum Begun {
    /// It has a checkpoint.
    Saved(Box<Loaded>),
    /// It has no checkpoint and has ended, because nothing repairs the finding of the rule.
    GivenUp(RuleName),
    /// It has no checkpoint, because a repair has started it again.
    StartedAgain,
    /// It has no checkpoint.
    Unsaved,
}

impl Begun {
    /// Completes a repair that was decided, and looks for the newest checkpoint.
    pub(super) fn of(folder: &RunFolder, repairs: &mut Supervisor, config: &Config) -> Result<Self> {
        repairs.complete_return(folder)?;
        Ok(match (newest_whole(&folder.path().join(FOLDER))?, repairs.gave_up(config)) {
            (Some(loaded), _) => Self::Saved(Box::new(loaded)),
            (None, Some(rule)) => Self::GivenUp(rule),
            (None, None) if repairs.has_started_again() => Self::StartedAgain,
            (None, None) => Self::Unsaved,
        })
    }
}

/// The config in the run folder, with which the ranks connect.
fn run_config(run: &Path, overrides: &[String]) -> Result<Config> {
    Ok(Config::load_saved(&run.join("config.toml"), overrides, run)?)
}
