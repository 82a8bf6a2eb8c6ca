//! The wall time of a run, over all of its sessions.

use std::time::{Duration, Instant};

/// Goes by a clock that nobody sets.
pub(super) struct RunClock {
    /// Time since the last reading that went by waiting for images.
    pub(super) waited: Duration,
    read: Instant,
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
        let zero = Duration::ZERO;
        Self { waited: zero, read: now, started: now, earlier: zero, evaluating: zero, saved: now, is_up: false }
    }

    /// Goes on after sessions that took so long, as a file says.
    pub(super) fn go_on(&mut self, elapsed_secs: f64, evaluating_secs: f64) {
        let duration = |secs| Duration::try_from_secs_f64(secs).unwrap_or_default();
        (self.earlier, self.evaluating) = (duration(elapsed_secs), duration(evaluating_secs));
    }

    /// Share of the time since the last call in which training waited for images.
    pub(super) fn wait_fraction(&mut self) -> f64 {
        let (waited, now) = (std::mem::take(&mut self.waited), Instant::now());
        let passed = now - std::mem::replace(&mut self.read, now);
        waited.as_secs_f64() / passed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.earlier + self.started.elapsed()
    }
}
