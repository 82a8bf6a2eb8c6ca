//! Errors of repairs.

use std::{io, path::PathBuf};

use crate::{
    checkpoint::CheckpointError,
    config::ConfigError,
    events::{EventsError, RunFolder},
    repair::{REPAIRS, ReadRepairsError},
    replay::ReplayError,
    train::TrainError,
};

/// Reason why a run cannot be repaired or resumed.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The records cannot be read.
    #[error(transparent)]
    Read(#[from] ReadRepairsError),
    /// The records cannot be written. Nothing has changed.
    #[error("{} cannot be written: {cause}; free disk space, then resume the run", path.display())]
    Write {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        cause: io::Error,
    },
    /// The files of the run cannot be changed.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// A checkpoint cannot be read or removed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The config is not valid with the changes.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The run cannot start or resume.
    #[error(transparent)]
    Train(Box<TrainError>),
    /// The files of a run that has ended cannot be read.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A rank without files cannot repair the run.
    #[error("only the rank with the run folder can repair the run")]
    NoFolder,
    /// The checkpoint to return to is gone.
    #[error("the checkpoint of step {step} is missing, to which {} returns; start a new run", path.display())]
    Missing {
        /// Path of the run folder.
        path: PathBuf,
        /// Step of the checkpoint.
        step: u64,
    },
}

impl From<TrainError> for SupervisorError {
    fn from(error: TrainError) -> Self {
        Self::Train(Box::new(error))
    }
}

impl SupervisorError {
    pub(super) fn write(folder: &RunFolder, cause: io::Error) -> Self {
        Self::Write { path: folder.path().join(REPAIRS), cause }
    }
}
