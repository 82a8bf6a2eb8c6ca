//! Signals for a command that has nothing to save: they end the process at once, with the codes of [`super::exit`].

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

use gradwatch::train::PREEMPTED;
use signal_hook::{
    consts::{SIGINT, SIGTERM, SIGUSR1},
    flag::register_conditional_shutdown,
};

/// Ends the process at the first signal, also while it waits for a pipe or a disk.
///
/// # Errors
/// If the system takes no handler.
pub fn exit_at_once() -> io::Result<()> {
    for (signal, status) in [(SIGINT, 128 + SIGINT), (SIGTERM, 128 + SIGTERM), (SIGUSR1, PREEMPTED)] {
        register_conditional_shutdown(signal, status, Arc::new(AtomicBool::new(true)))?;
    }
    Ok(())
}
