//! `gradwatch resume`: a stopped run from its newest whole checkpoint on.

use anyhow::Result;
use gradwatch::{
    checkpoint::{CheckpointError, FOLDER, newest_whole},
    events::RunFolder,
    train::loaded_config,
};

use super::{ResumeArguments, exit::Code, session::Session};

pub fn run(arguments: &ResumeArguments) -> Result<Code> {
    let session = Session::start()?;
    let folder = RunFolder::open(&arguments.run)?;
    let Some(loaded) = newest_whole(&arguments.run.join(FOLDER))? else {
        let remedy =
            "start it with gradwatch train under another --run-name, or, if it holds no step yet, with --resume auto";
        return Err(CheckpointError::Missing { run: arguments.run.clone(), remedy }.into());
    };
    let config = loaded_config(&loaded, &arguments.overrides.assignments(arguments.session.max_steps))?;
    session.resume(config, folder, loaded, &arguments.session.allowed)
}
