//! `gradwatch resume`: a stopped run from its newest whole checkpoint on.

use anyhow::Result;
use gradwatch::{
    checkpoint::{CheckpointError, FOLDER, newest_whole},
    config::Config,
    events::RunFolder,
};

use super::{ResumeArguments, exit::Code, session::Session};

pub fn run(arguments: &ResumeArguments) -> Result<Code> {
    let session = Session::start()?;
    let folder = RunFolder::open(&arguments.run)?;
    let Some(loaded) = newest_whole(&arguments.run.join(FOLDER))? else {
        return Err(CheckpointError::Missing { run: arguments.run.clone() }.into());
    };
    let name = format!("{}/config.toml", loaded.path.display());
    let config =
        Config::parse_with(&loaded.config(), &name, &arguments.overrides.assignments(arguments.session.max_steps))?;
    session.resume(config, folder, loaded, &arguments.session.allowed)
}
