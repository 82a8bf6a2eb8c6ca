//! The lock for libtorch's process-wide state.

use std::sync::{Mutex, MutexGuard};

/// Waits until no other test of this process holds the lock.
///
/// Tests of one binary run in parallel threads, and a process has one default generator, one number of threads per
/// operation, and one op counter. So a test takes this lock if it draws random numbers (`manual_seed`, `randn`, a new
/// model, dropout, a run), counts operations, sets the number of threads, or loads a TorchScript file, which compares
/// the state of the generator before and after. All others do none of this and need no lock.
///
/// The lock is not reentrant: a test or one helper takes it, never both. A failed test does not poison it.
pub(crate) fn exclusive() -> MutexGuard<'static, ()> {
    static PROCESS: Mutex<()> = Mutex::new(());
    PROCESS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
