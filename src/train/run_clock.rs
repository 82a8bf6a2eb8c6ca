//! The wall time of a run, over all of its sessions.

use std::time::{Duration, Instant};

/// Goes by a clock that nobody sets.
pub(super) struct RunClock {
    started: Instant,
    /// Of the sessions before.
    earlier: Duration,
    /// Of all evaluations.
    pub(super) evaluating: Duration,
    /// When the last checkpoint was taken, or this session began.
    pub(super) saved: Instant,
    /// Whether `run.max_minutes` had passed when that was last looked at.
    pub(super) is_up: bool,
}

impl RunClock {
    pub(super) fn start() -> Self {
        let now = Instant::now();
        Self { started: now, earlier: Duration::ZERO, evaluating: Duration::ZERO, saved: now, is_up: false }
    }

    /// Goes on after sessions that took so long, as a file says.
    pub(super) fn go_on(&mut self, elapsed_secs: f64, evaluating_secs: f64) {
        let duration = |secs| Duration::try_from_secs_f64(secs).unwrap_or_default();
        (self.earlier, self.evaluating) = (duration(elapsed_secs), duration(evaluating_secs));
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.earlier + self.started.elapsed()
    }
}
