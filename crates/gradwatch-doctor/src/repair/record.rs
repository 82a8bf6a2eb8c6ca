//! Records of repairs.

use std::fmt;

use serde::{Deserialize, Serialize};
use toml::Value;

use crate::{
    config::{Config, ConfigError, Difference, RuleName, Severity, differences},
    diagnosis::{Change, Remedy, WeightTransfer},
};

/// A decision of a repair. The records of a run are in the order in which they took effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RepairRecord {
    /// A change before the first step, from an inspection of the untrained network.
    Prepared(Trial),
    /// A change goes on trial. The files of the run do not have it yet.
    Trial(Trial),
    /// The files of the run are those of the step from which the last trial starts, or at which repair gave up.
    Returned {
        /// Number of the trial.
        trial: u32,
    },
    /// The change stays.
    Kept {
        /// Number of the trial.
        trial: u32,
        /// Optimizer steps taken.
        step: u64,
    },
    /// The change is taken back.
    Undone {
        /// Number of the trial.
        trial: u32,
        /// Optimizer steps taken.
        step: u64,
        /// Why it is no repair.
        reason: String,
        /// The finding that the run had with the change; `None` if it ended with an error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        found: Option<Box<Found>>,
    },
    /// No change is left to try. The run ends.
    GaveUp {
        /// Number of the last trial.
        trial: u32,
        /// Rule of the finding that stays.
        rule: RuleName,
        /// Optimizer steps taken.
        step: u64,
        /// The step of the checkpoint that the run ends with; `None` if the run has none from before the finding.
        from_step: Option<u64>,
        /// Why no further change is tried.
        reason: String,
    },
    /// No allowed change may repair the finding. The run continues.
    NoRemedy {
        /// Rule of the finding.
        rule: RuleName,
        /// Optimizer steps taken.
        step: u64,
        /// Why there is none.
        reason: String,
    },
}

/// A change on trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Number of the trial, from 1.
    pub trial: u32,
    /// The finding that the change is to repair.
    #[serde(flatten)]
    pub found: Found,
    /// The change, and its effect.
    pub remedy: Remedy,
    /// Changes that are made together with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<Remedy>,
    /// The config keys that the change sets.
    pub settings: Vec<Setting>,
    /// What it does to the weights.
    pub weights: WeightTransfer,
    /// Step of the checkpoint to return to; `None` for a start with new weights.
    pub from_step: Option<u64>,
    /// Step of the last healthy checkpoint, even if the change needs new weights.
    pub healthy_step: Option<u64>,
    /// Optimizer steps after which the change stays, unless the finding or another one is back.
    pub until_step: u64,
    /// Steps that are discarded by returning.
    pub discarded: u64,
}

/// A finding to repair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Its rule.
    pub rule: RuleName,
    /// Its severity.
    pub severity: Severity,
    /// Its first step.
    pub first_step: u64,
    /// Optimizer steps taken when the run stopped for it.
    pub found_at: u64,
    /// Its cause.
    pub cause: String,
    /// The changes recommended for it, best first.
    pub remedies: Vec<Remedy>,
}

/// A config key with its values before and after a change, as TOML.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Path of the key.
    pub key: String,
    /// `None` if the key was not set.
    pub before: Option<String>,
    /// `None` if the key is no longer set.
    pub after: Option<String>,
}

/// How a trial ended, or that it has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The trial has not ended.
    Open,
    /// The change stays, as decided at this step.
    Kept(u64),
    /// The change was taken back at this step.
    Undone(u64, String),
    /// The change did not help. The run ended with it at this step, because it has no checkpoint to return to.
    Failed(u64),
}

impl Setting {
    /// The settings of a change; empty if it changes nothing.
    ///
    /// # Errors
    /// If the changed config is not valid.
    pub fn of(change: &Change, config: &Config) -> Result<Vec<Self>, ConfigError> {
        Ok(differences(config, &change.apply_to(config)?).into_iter().map(Self::from).collect())
    }
}

impl From<Difference> for Setting {
    fn from(Difference { key, before, after }: Difference) -> Self {
        let text = |value: Option<Value>| value.map(|value| value.to_string());
        Self { key, before: text(before), after: text(after) }
    }
}

impl fmt::Display for RepairRecord {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepared(Trial { found: Found { rule, severity, cause, .. }, remedy, .. }) => {
                write!(f, "before training: {rule} ({severity}): {cause}; set {}: {}", remedy.change, remedy.why)
            }
            Self::Trial(trial) => write!(f, "{trial}"),
            Self::Returned { trial } => write!(f, "trial {trial}: training resumes"),
            Self::Kept { trial, step } => write!(f, "trial {trial}: the change stays, decided after {step} steps"),
            Self::Undone { trial, step, reason, .. } => {
                write!(f, "trial {trial}: the change is undone after {step} steps: {reason}")
            }
            Self::GaveUp { rule, from_step, reason, .. } => {
                write!(f, "repair gave up on {rule}: {reason}")?;
                from_step.map_or(Ok(()), |step| write!(f, "; the run ends with its checkpoint at step {step}"))
            }
            Self::NoRemedy { rule, step, reason } => write!(f, "no repair of {rule} at step {step}: {reason}"),
        }
    }
}

impl Trial {
    /// All changes of the trial, the last one first.
    pub fn remedies(&self) -> impl Iterator<Item = &Remedy> {
        [&self.remedy].into_iter().chain(&self.with)
    }

    /// The changes as text: `optimizer.learning_rate = 0.01 and model.dropout = 0`.
    pub fn changes(&self) -> String {
        self.remedies().map(|remedy| remedy.change.to_string()).collect::<Vec<_>>().join(" and ")
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trial, found, from_step, until_step, .. } = self;
        let Found { rule, severity, first_step, cause, .. } = found;
        write!(f, "trial {trial}: {rule} ({severity}) since step {first_step}: {cause}; ")?;
        match from_step {
            Some(step) => write!(f, "returns to step {step}, ")?,
            None => f.write_str("starts again from the beginning, ")?,
        }
        let changes = self.remedies().map(|Remedy { change, why }| format!("{change} ({why})"));
        write!(f, "sets {}, and decides after step {until_step}", changes.collect::<Vec<_>>().join(" and "))
    }
}
