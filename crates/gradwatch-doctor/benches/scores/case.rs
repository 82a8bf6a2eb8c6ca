//! The runs that were trained, as the index lists them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gradwatch_doctor::diagnosis::RuleName;
use serde::Deserialize;

/// What the settings and images of a run do to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Effect {
    /// Nothing.
    Healthy,
    /// A fault, if the accuracy stays low.
    Harmful,
    /// A fault, if the training accuracy ends far above the validation accuracy.
    Gap,
    /// A fault, whatever the accuracy is.
    Fault,
}

/// One run.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Case {
    pub grid: String,
    pub architecture: String,
    pub optimizer: String,
    pub name: String,
    pub seed: u64,
    pub task: String,
    pub is_search: bool,
    pub effect: Effect,
    /// Rules that identify the fault correctly; empty if the run is healthy.
    pub fault: Vec<RuleName>,
    pub trial: Option<Trial>,
    pub folder: PathBuf,
}

/// A change to the config of a faulty run.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Trial {
    /// Folder of the faulty run.
    pub of: PathBuf,
    /// The changed config line.
    pub change: String,
    /// Place among the remedies of the finding, from 0; `None` for a random change.
    pub place: Option<usize>,
}

impl Case {
    /// Whether this rule identifies the fault correctly.
    pub(crate) fn is_named_by(&self, rule: RuleName) -> bool {
        self.fault.contains(&rule)
    }

    pub(crate) fn is_faulty(&self) -> bool {
        !self.fault.is_empty()
    }
}

pub(crate) fn read(index: &Path) -> Vec<Case> {
    let text = fs::read_to_string(index)
        .unwrap_or_else(|error| panic!("{}: {error}; train the runs with `make bench-diagnosis`", index.display()));
    text.lines().map(|line| serde_json::from_str(line).expect("the index was written by the benchmark")).collect()
}
