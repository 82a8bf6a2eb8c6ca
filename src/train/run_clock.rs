//! Wall time of a run over all sessions.

use std::time::{Duration, Instant};

/// Uses the monotonic clock.
pub(super) struct RunClock {
    /// Time spent waiting for images since the last tracked step.
    pub(super) waited: Duration,
    read: Instant,
    started: Instant,
    /// Time of earlier sessions.
    earlier: Duration,
    /// Time of all evaluations.
    pub(super) evaluating: Duration,
    /// Time of the last checkpoint, or of the start of this session.
    pub(super) saved: Instant,
    /// Whether `run.max_minutes` had passed at the last check.
    pub(super) is_time_up: bool,
}

impl RunClock {
    pub(super) fn start() -> Self {
        let now = Instant::now();
        let zero = Duration::ZERO;
        Self { waited: zero, read: now, started: now, earlier: zero, evaluating: zero, saved: now, is_time_up: false }
    }

    /// Continues after earlier sessions of this length, as read from a file.
    pub(super) fn resume(&mut self, elapsed_secs: f64, evaluating_secs: f64) {
        let duration = |secs| Duration::try_from_secs_f64(secs).unwrap_or_default();
        (self.earlier, self.evaluating) = (duration(elapsed_secs), duration(evaluating_secs));
    }

    /// Fraction of the time since the last call that training spent waiting for images.
    pub(super) fn wait_fraction(&mut self) -> f64 {
        let (waited, now) = (std::mem::take(&mut self.waited), Instant::now());
        let passed = now - std::mem::replace(&mut self.read, now);
        waited.as_secs_f64() / passed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.earlier + self.started.elapsed()
    }
}
