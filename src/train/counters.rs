//! Counters and results of a run, which a checkpoint stores as plain data.

use serde::{Deserialize, Serialize};

use crate::evaluation::Metrics;

/// Counters and results of a run. A checkpoint stores them under these names, and a resumed run continues from them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Finished epochs.
    pub epoch: u64,
    /// Optimizer steps, applied or skipped.
    pub step: u64,
    /// Value of `step` at the start of the current epoch.
    pub step_at_epoch_start: u64,
    /// Index of the next batch of the current epoch, including skipped batches.
    pub next_batch: usize,
    /// Applied steps, not including the most recent step, whose outcome the host has not received yet. After a
    /// checkpoint, and until the next step, it includes all steps.
    pub taken_steps: u64,
    /// Steps applied before the current optimizer was created.
    #[serde(default)]
    pub taken_before: u64,
    /// Steps skipped because a gradient was not finite, as of the last reading.
    pub skipped_steps: u64,
    /// Training images processed.
    pub images: u64,
    /// Value of `step` at the last evaluation.
    pub evaluated_at: Option<u64>,
    /// The latest evaluation, over all classes.
    pub last_validation: Option<Metrics>,
    /// The best evaluation results that checkpoints keep, best first.
    pub best_figures: Vec<f64>,
}

impl Counters {
    /// Whether the previous step was the last one of a finished epoch.
    pub(super) fn is_at_epoch_end(&self) -> bool {
        self.step > 0 && self.step == self.step_at_epoch_start
    }

    /// Starts the next epoch.
    pub(super) fn finish_epoch(&mut self) {
        self.epoch += 1;
        self.next_batch = 0;
        self.step_at_epoch_start = self.step;
    }
}
