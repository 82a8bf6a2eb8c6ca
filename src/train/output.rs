//! The outputs of a run.

use std::error::Error;

use super::host_state::HostState;
use crate::{
    checkpoint::{CheckpointName, CheckpointWriter},
    recording::{Messenger, Progress, RecentSteps, Recorder},
};

/// The outputs of a run. The recorder holds the lock of the run folder, so every field that writes to the folder is
/// declared before it. Ranks other than 0 write nothing.
pub(super) struct Output {
    /// Sends findings to commands and webhooks.
    pub messenger: Messenger,
    /// The most recent readings.
    pub recent_steps: RecentSteps,
    /// Writes checkpoints; `None` if they are off.
    pub checkpoints: Option<CheckpointWriter<HostState>>,
    /// The run's files; `None` on ranks other than 0.
    pub recorder: Option<Recorder>,
    /// Progress output on the terminal.
    pub progress: Progress,
    /// The last checkpoint of this session, or the one it started from.
    pub saved_at: Option<CheckpointName>,
}

impl Output {
    /// Logs a failed write. The run continues.
    pub(super) fn report_failure(&mut self, error: &dyn Error) {
        if let Some(recorder) = &mut self.recorder {
            recorder.report_failure(error);
        }
    }
}
