//! Repairs a run while it trains: returns to the last healthy checkpoint, changes the config, and tries the change.
//!
//! Training stops before the next step if a finding has to be repaired, or if the change on trial is to be decided. The
//! [`Supervisor`] then decides what follows, and writes its decision to `repairs.jsonl` before it takes effect:
//!
//! ```text
//! finding -> trial: return to a checkpoint, or start with new weights -> kept
//!                                                                     -> undone -> next trial, or the end of the run
//! ```
//!
//! A run that is killed at any time repeats what was not recorded, and continues what was, with the same result.

mod decision;
mod error;
mod files;
mod fork;
mod preparation;
mod training;

pub use decision::Next;
pub use error::SupervisorError;
pub use fork::Fork;
pub use preparation::repair_before_training;

use crate::{
    config::{Config, RepairMode, RuleName},
    diagnosis::{Finding, Remedy},
    events::RunFolder,
    repair::{RepairHistory, RepairRecord},
    train::RepairWatch,
};

/// Decides on the repairs of one run.
#[derive(Default)]
pub struct Supervisor {
    history: RepairHistory,
    /// Chooses the changes to try; `None` for those that the findings recommend.
    chooser: Option<Chooser>,
}

/// Chooses the changes to try for open findings, best first.
pub type Chooser = Box<dyn Fn(&[Finding], &Config) -> Vec<Remedy>>;

impl Supervisor {
    /// Reads the repairs of a run so far.
    ///
    /// # Errors
    /// If their file cannot be read or is damaged.
    pub fn open(folder: &RunFolder) -> Result<Self, SupervisorError> {
        Ok(Self { history: RepairHistory::read(folder.folder())?, chooser: None })
    }

    /// Tries the changes that `chooser` returns, not those that the findings recommend.
    pub fn with_chooser(self, chooser: Chooser) -> Self {
        Self { chooser: Some(chooser), ..self }
    }

    /// All decisions so far.
    pub fn history(&self) -> &RepairHistory {
        &self.history
    }

    /// Records a decision. It is on disk when this returns.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn add(&mut self, folder: &RunFolder, records: Vec<RepairRecord>) -> Result<(), SupervisorError> {
        for record in records.iter().filter(|record| !matches!(record, RepairRecord::Returned { .. })) {
            tracing::warn!("{record}");
        }
        // Together: a run that is killed between an undone change and the next trial would train on with the change.
        self.history.add(folder.folder(), records).map_err(|cause| SupervisorError::write(folder, cause))
    }

    /// The config with all changes that stay or are on trial, and without those that were undone.
    ///
    /// # Errors
    /// If a change is no longer valid.
    pub fn config(&self, config: &Config) -> Result<Config, SupervisorError> {
        Ok(self.history.apply_to(config)?)
    }

    /// Keeps the change on trial of a run that no longer repairs itself, because nothing decides on it later. `step`: the
    /// step from which the run resumes.
    ///
    /// # Errors
    /// If the decision cannot be written.
    pub fn leave_trial(&mut self, folder: &RunFolder, config: &Config, step: u64) -> Result<(), SupervisorError> {
        match self.history.open_trial().map(|trial| trial.trial) {
            Some(trial) if self.watch(config).is_none() => self.add(folder, vec![RepairRecord::Kept { trial, step }]),
            _ => Ok(()),
        }
    }

    /// What the run has to know while it trains; `None` if it does not repair itself.
    pub fn watch(&self, config: &Config) -> Option<RepairWatch> {
        RepairWatch::of(config, &self.history)
    }

    /// The rule on which repair has given up, so that the run has ended. A run that no longer repairs itself trains on.
    pub fn gave_up(&self, config: &Config) -> Option<RuleName> {
        match self.history.gave_up() {
            Some(RepairRecord::GaveUp { rule, .. }) if config.repair.mode == RepairMode::Auto => Some(*rule),
            _ => None,
        }
    }

    /// Whether the run has started again with new weights, so that it needs no checkpoint.
    pub fn has_started_again(&self) -> bool {
        self.history.last_trial().is_some_and(|trial| trial.from_step.is_none())
    }
}
