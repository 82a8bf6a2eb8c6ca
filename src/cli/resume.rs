//! `gradwatch resume`: resumes a stopped run from its newest valid checkpoint.

use anyhow::Result;
use gradwatch::{
    checkpoint::{CheckpointError, FOLDER, newest_whole},
    events::RunFolder,
    train::loaded_config,
};

use super::{ResumeArguments, exit::Code, session::Session};

pub(super) fn run(arguments: &ResumeArguments) -> Result<Code> {
    let session = Session::start()?;
    let folder = RunFolder::open(&arguments.run)?;
    let Some(loaded) = newest_whole(&arguments.run.join(FOLDER))? else {
        let remedy =
            "start it again with gradwatch train and another --run-name, or with --resume auto if it has no steps yet";
        return Err(CheckpointError::Missing { run: arguments.run.clone(), remedy }.into());
    };
    let config = loaded_config(&loaded, &arguments.overrides.assignments(arguments.session.max_steps))?;
    session.resume(config, folder, loaded, &arguments.session.allowed)
}
