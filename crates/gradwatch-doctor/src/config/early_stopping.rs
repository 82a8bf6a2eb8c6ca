//! The `[early_stopping]` table.

use serde::Serialize;

use super::{
    range::{COUNT, FIGURE},
    reader::Section,
};

/// The `[early_stopping]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EarlyStoppingConfig {
    /// Evaluations without improvement after which the run ends; 0 is off.
    pub patience: u64,
    /// An evaluation must improve `evaluate.metric` by more than this to count as better.
    pub min_delta: f64,
}

impl Default for EarlyStoppingConfig {
    fn default() -> Self {
        Self { patience: 0, min_delta: 0.0 }
    }
}

impl EarlyStoppingConfig {
    pub(super) fn read(mut table: Section<'_>) -> Self {
        let default = Self::default();
        let config = Self {
            patience: table.count("patience", default.patience, COUNT),
            min_delta: table.number("min_delta", default.min_delta, &FIGURE),
        };
        table.finish();
        config
    }
}
