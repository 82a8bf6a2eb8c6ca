//! Returns the files of a run to an earlier step.

use super::{Supervisor, SupervisorError};
use crate::{
    checkpoint::{FOLDER, list, remove_after},
    config::Config,
    disk,
    events::RunFolder,
    repair::{ABANDONED, ORIGINAL_CONFIG, RepairRecord},
};

/// The config of a run, in its folder.
const CONFIG: &str = "config.toml";
/// Largest config to copy, in bytes.
const MOST_BYTES: u64 = 1 << 20;

impl Supervisor {
    /// Completes a return that was decided: copies the logs of the abandoned steps to `abandoned/`, keeps the original
    /// config beside the one of the run, and removes the checkpoints of the abandoned steps. Does nothing if there is none.
    /// Can be repeated after a kill at any time.
    ///
    /// # Errors
    /// If a file cannot be written or removed.
    pub fn complete_return(&mut self, folder: &RunFolder) -> Result<(), SupervisorError> {
        let Some(to) = self.history.pending_return() else { return Ok(()) };
        disk::point("return");
        let number = self.history.records().iter().filter(|record| is_return(record)).count() + 1;
        folder.copy_logs(ABANDONED, &number.to_string())?;
        if !folder.folder().contains(ORIGINAL_CONFIG) {
            let text = folder.folder().read_text(CONFIG, MOST_BYTES);
            let text = text.map_err(|cause| SupervisorError::write(folder, cause))?;
            folder.write(ORIGINAL_CONFIG, &text)?;
        }
        let checkpoints = folder.path().join(FOLDER);
        if let Some(step) = to
            && !list(&checkpoints)?.iter().any(|(name, _)| name.step == step)
        {
            return Err(SupervisorError::Missing { path: folder.path().to_owned(), step });
        }
        remove_after(&checkpoints, to)?;
        disk::point("returned");
        let trial = self.history.last_trial().map_or(0, |trial| trial.trial);
        self.history
            .add(folder.folder(), RepairRecord::Returned { trial })
            .map_err(|cause| SupervisorError::write(folder, cause))
    }

    /// Records a change that was made before the first step, with the config that had not got it yet.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn prepared(folder: &RunFolder, original: &Config, record: RepairRecord) -> Result<Self, SupervisorError> {
        folder.write(ORIGINAL_CONFIG, &original.to_toml())?;
        let mut supervisor = Self::default();
        supervisor.add(folder, vec![record])?;
        Ok(supervisor)
    }
}

fn is_return(record: &RepairRecord) -> bool {
    matches!(record, RepairRecord::Returned { .. })
}
