//! Returns the files of a run to an earlier step.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Supervisor, SupervisorError};
use crate::{
    checkpoint::{FOLDER, list, move_checkpoint, remove_after},
    config::Config,
    disk,
    events::RunFolder,
    repair::{ABANDONED, ORIGINAL_CONFIG, RepairRecord, Return, Trial},
};

/// The config of a run, in its folder.
const CONFIG: &str = "config.toml";
/// Weights of the best evaluation, which may be one of the abandoned steps, in their folder.
const BEST: [&str; 2] = ["weights", "best.safetensors"];
/// Largest config to copy, in bytes.
const MOST_BYTES: u64 = 1 << 20;

impl Supervisor {
    /// Completes a return that was decided: copies the logs of the abandoned steps to `abandoned/`, keeps the original
    /// config beside the one of the run, and removes the checkpoints of the abandoned steps. A run that starts again keeps
    /// its last healthy checkpoint in `abandoned/`. Does nothing if there is no return. Can be repeated after a kill at
    /// any time.
    ///
    /// # Errors
    /// If a file cannot be written or removed.
    pub fn complete_return(&mut self, folder: &RunFolder) -> Result<(), SupervisorError> {
        let Some(to) = self.history.pending_return() else { return Ok(()) };
        disk::point("return");
        let number = self.history.next_part();
        folder.copy_logs(ABANDONED, &number.to_string())?;
        if !folder.folder().contains(ORIGINAL_CONFIG) {
            let text = folder.folder().read_text(CONFIG, MOST_BYTES);
            let text = text.map_err(|cause| SupervisorError::write(folder, cause))?;
            folder.write(ORIGINAL_CONFIG, &text)?;
        }
        let moved = folder.move_aside(BEST, ABANDONED, &number.to_string());
        moved.map_err(|cause| SupervisorError::write(folder, cause))?;
        let checkpoints = folder.path().join(FOLDER);
        match to {
            Return::Checkpoint { step, stored } => {
                if let Some(part) = stored {
                    restore(folder, part, step)?;
                }
                if !has_checkpoint(&checkpoints, step)? {
                    return Err(SupervisorError::Missing { path: folder.path().to_owned(), step });
                }
                remove_after(&checkpoints, Some(step))?;
            }
            Return::Beginning { keeps } => {
                if let Some(step) = keeps {
                    move_checkpoint(&checkpoints, &of_part(folder.path(), number), step)?;
                }
                remove_after(&checkpoints, None)?;
            }
        }
        disk::point("returned");
        let trial = self.history.last_trial().map_or(0, |trial| trial.trial);
        self.history
            .add(folder.folder(), [RepairRecord::Returned { trial }])
            .map_err(|cause| SupervisorError::write(folder, cause))
    }

    /// Step of the healthy checkpoint to which the run in `run` can return from a trial.
    pub(super) fn reachable(&self, run: &Path, trial: &Trial) -> Result<Option<u64>, SupervisorError> {
        let Some(step) = trial.healthy_step else { return Ok(None) };
        let folder = self.history.stored().map_or_else(|| run.join(FOLDER), |stored| of_part(run, stored.part));
        Ok(has_checkpoint(&folder, step)?.then_some(step))
    }

    /// Records changes that were made before the first step, with the config that did not have them yet.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn prepared(
        folder: &RunFolder,
        original: &Config,
        records: Vec<RepairRecord>,
    ) -> Result<Self, SupervisorError> {
        folder.write(ORIGINAL_CONFIG, &original.to_toml())?;
        let mut supervisor = Self::default();
        supervisor.add(folder, records)?;
        Ok(supervisor)
    }
}

/// Folder of the checkpoint that the abandoned part `number` keeps.
fn of_part(run: &Path, number: usize) -> PathBuf {
    run.join(ABANDONED).join(number.to_string()).join(FOLDER)
}

fn has_checkpoint(folder: &Path, step: u64) -> Result<bool, SupervisorError> {
    Ok(list(folder)?.iter().any(|(name, _)| name.step == step))
}

/// Brings back the logs of an abandoned part and its checkpoint, in place of those of the run. Does nothing if the
/// checkpoint is back already.
fn restore(folder: &RunFolder, part: usize, step: u64) -> Result<(), SupervisorError> {
    let from = of_part(folder.path(), part);
    if has_checkpoint(&from, step)? {
        let checkpoints = folder.path().join(FOLDER);
        remove_after(&checkpoints, None)?;
        folder.restore_logs(ABANDONED, &part.to_string())?;
        move_checkpoint(&from, &checkpoints, step)?;
        // An empty folder; it may stay.
        let _ = fs::remove_dir(from);
    }
    Ok(())
}
