//! The `[checkpoint]` table: interval and retention of checkpoints.

use serde::Serialize;

use super::{
    EvaluateConfig, Metric,
    names::named_enum,
    range::{COUNT, FROM_ONE, MINUTES_OR_NONE},
    reader::Section,
};

named_enum! {
    /// Handling of a failed checkpoint write.
    pub enum OnError {
        /// Continue, log the failure, and end with a nonzero exit code.
        Continue = "continue",
        /// End the run.
        Stop = "stop",
    }
}

/// The `[checkpoint]` table, validated. If all three `every_*` are 0, the run saves no checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckpointConfig {
    /// Epochs between checkpoints; 0 is off.
    pub every_epochs: u64,
    /// Optimizer steps between checkpoints; 0 is off.
    pub every_steps: u64,
    /// Minutes between checkpoints; 0 is off.
    pub every_minutes: f64,
    /// Number of newest checkpoints to keep.
    pub keep_last: usize,
    /// Number of best checkpoints to keep. An evaluation among the best triggers a checkpoint.
    pub keep_best: usize,
    /// Validation metric that ranks checkpoints.
    pub metric: Metric,
    /// Keep every N-th checkpoint; 0 is off.
    pub keep_every: u64,
    /// Handling of a failed checkpoint write.
    pub on_error: OnError,
}

impl CheckpointConfig {
    /// Whether the run saves checkpoints.
    pub fn is_on(&self) -> bool {
        self.every_epochs > 0 || self.every_steps > 0 || self.every_minutes > 0.0
    }
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every_epochs: 1,
            every_steps: 0,
            every_minutes: 0.0,
            keep_last: 2,
            keep_best: 1,
            metric: EvaluateConfig::default().metric,
            keep_every: 0,
            on_error: OnError::Continue,
        }
    }
}

impl CheckpointConfig {
    /// `metric` is the default of `checkpoint.metric`.
    pub(super) fn read(mut table: Section<'_>, metric: Metric) -> Self {
        let default = Self { metric, ..Self::default() };
        let config = Self {
            every_epochs: table.count("every_epochs", default.every_epochs, COUNT),
            every_steps: table.count("every_steps", default.every_steps, COUNT),
            every_minutes: table.number("every_minutes", default.every_minutes, &MINUTES_OR_NONE),
            keep_last: table.count("keep_last", default.keep_last, FROM_ONE),
            keep_best: table.count("keep_best", default.keep_best, COUNT),
            metric: table.choice("metric", default.metric),
            keep_every: table.count("keep_every", default.keep_every, COUNT),
            on_error: table.choice("on_error", default.on_error),
        };
        table.finish();
        config
    }
}
