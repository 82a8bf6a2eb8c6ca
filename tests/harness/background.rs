//! Calls of the program that a test watches while they run.

use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use super::{limit::Running, workplace::Workplace};

/// Limit for a condition to become true, on a busy machine.
const OF_A_CONDITION: Duration = Duration::from_secs(120);

/// Waits until a condition is true; fails with its name after the limit.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + OF_A_CONDITION;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited {OF_A_CONDITION:?} for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

impl Workplace {
    /// Starts the program without waiting for it.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()))
    }
}
