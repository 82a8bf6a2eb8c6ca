//! `gradwatch resume`: resumes a stopped run from its newest valid checkpoint.

use std::path::Path;

use anyhow::Result;
use gradwatch::{
    checkpoint::{CheckpointError, FOLDER, newest_whole},
    config::Config,
    events::RunFolder,
    train::loaded_config,
};

use super::{ResumeArguments, exit::Code, launch::launch, session::Session};

pub(super) fn run(arguments: &ResumeArguments) -> Result<Code> {
    if let Some(ranks @ 2..) = arguments.session.ranks {
        return launch(ranks);
    }
    let mut session = Session::start()?;
    let overrides = arguments.overrides.assignments(arguments.session.max_steps);
    if session.is_follower() {
        if !arguments.run.is_dir() {
            // The same error as on rank 0.
            RunFolder::open(&arguments.run)?;
        }
        // Rank 0 chooses the checkpoint. Until then, the config in the run folder says how to connect.
        let config = run_config(&arguments.run, &overrides)?;
        return session.with_ranks(&config, |session| session.follow(config.clone()));
    }
    let folder = RunFolder::open(&arguments.run)?;
    let Some(loaded) = newest_whole(&arguments.run.join(FOLDER))? else {
        let remedy =
            "start it again with gradwatch train and another --run-name, or with --resume auto if it has no steps yet";
        return Err(CheckpointError::Missing { run: arguments.run.clone(), remedy }.into());
    };
    let config = loaded_config(&loaded, &overrides)?;
    session.with_ranks(&run_config(&arguments.run, &overrides)?, |session| {
        session.resume(config, folder, loaded, &arguments.session.allowed)
    })
}

/// The config in the run folder, with which the ranks connect.
fn run_config(run: &Path, overrides: &[String]) -> Result<Config> {
    Ok(Config::load_saved(&run.join("config.toml"), overrides, run)?)
}
