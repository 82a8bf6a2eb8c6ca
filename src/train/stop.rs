//! Signals that ask a run to end, as a flag for the training loop.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1},
    flag,
};

/// Exit status of a preempted run: EX_TEMPFAIL of sysexits.h, which means "try again".
pub const PREEMPTED: i32 = 75;

/// Whether the process was asked to end.
#[derive(Debug, Clone, Default)]
pub struct StopSignal {
    signal: Arc<AtomicUsize>,
    /// Whether the next signal ends the process immediately.
    leaves_at_once: Arc<AtomicBool>,
}

impl StopSignal {
    /// Handles Ctrl-C, SIGTERM, SIGQUIT, SIGUSR1, and SIGHUP (sent by a closing terminal). Until
    /// [`begin`](Self::begin), the first signal ends the process immediately, even while it waits. After that, the
    /// first signal sets the flag, and the second one ends the process. The exit code is 128 + signal, or
    /// [`PREEMPTED`].
    ///
    /// A process that was started to ignore SIGHUP, for example by nohup, keeps ignoring it.
    ///
    /// # Errors
    /// If the system rejects a handler.
    pub fn install() -> std::io::Result<Self> {
        let stop = Self { signal: Arc::default(), leaves_at_once: Arc::new(AtomicBool::new(true)) };
        for signal in Self::signals() {
            let status = if signal == SIGUSR1 { PREEMPTED } else { 128 + signal };
            // The order matters: the second signal finds the flag set by the first one.
            flag::register_conditional_shutdown(signal, status, Arc::clone(&stop.leaves_at_once))?;
            flag::register(signal, Arc::clone(&stop.leaves_at_once))?;
            flag::register_usize(signal, Arc::clone(&stop.signal), signal.unsigned_abs() as usize)?;
        }
        Ok(stop)
    }

    /// The signals that end a run. A process that was started to ignore SIGHUP keeps ignoring it.
    pub fn signals() -> Vec<i32> {
        let signals = [SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGHUP];
        signals.into_iter().filter(|signal| *signal != SIGHUP || !is_ignored(SIGHUP)).collect()
    }

    /// From now on, the first signal only sets the flag.
    pub fn begin(&self) {
        self.leaves_at_once.store(false, Ordering::SeqCst);
    }

    /// The received signal, if any.
    pub fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => i32::try_from(signal).ok(),
        }
    }
}

/// Whether the process was started to ignore a signal; false if unknown.
fn is_ignored(signal: i32) -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, signal))
}

/// The same, from the text of /proc/self/status. Its line SigIgn has one bit per signal, starting with signal 1.
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_has_its_lowest_bit_for_signal_1() {
        let status =
            "Name:\tgradwatch\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n";
        assert!(ignores(status, 1) && ignores(status, 13));
        assert!(!ignores(status, 2) && !ignores(status, 15) && !ignores("Name:\tgradwatch", 1));
    }

    #[test]
    fn a_flag_that_nobody_set_is_no_signal() {
        assert_eq!(StopSignal::default().signal(), None);
    }
}
