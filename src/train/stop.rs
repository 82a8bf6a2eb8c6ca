//! SIGINT, SIGTERM and SIGUSR1 as a flag that the loop looks at.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM, SIGUSR1},
    flag,
};

/// The exit status of a preempted run: EX_TEMPFAIL of sysexits.h, try again.
pub const PREEMPTED: i32 = 75;

/// Whether the process was asked to end.
#[derive(Debug, Clone, Default)]
pub struct StopSignal(Arc<AtomicUsize>);

impl StopSignal {
    /// A flag that the first Ctrl-C, SIGTERM or SIGUSR1 sets; a second one ends the process at once.
    ///
    /// # Errors
    /// Where the system takes no handler.
    pub fn install() -> std::io::Result<Self> {
        let stop = Self::default();
        // All shutdowns first, so that the first signal arms what the second one does, whichever the two are.
        let armed = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGUSR1] {
            let status = if signal == SIGUSR1 { PREEMPTED } else { 128 + signal };
            flag::register_conditional_shutdown(signal, status, Arc::clone(&armed))?;
        }
        for signal in [SIGINT, SIGTERM, SIGUSR1] {
            flag::register(signal, Arc::clone(&armed))?;
            flag::register_usize(signal, Arc::clone(&stop.0), signal.unsigned_abs() as usize)?;
        }
        Ok(stop)
    }

    /// The signal that came, if one did.
    pub fn signal(&self) -> Option<i32> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            signal => i32::try_from(signal).ok(),
        }
    }
}
