//! Counts every ATen operation of the process by name. Tests use it to bound the number of ops and host syncs.

use std::collections::BTreeMap;

use super::{LibtorchError, ffi, host_copy};

/// Counts ATen operations from its start to [`OpCounter::stop`]. Only one counter can run in a process at a time.
#[must_use = "the counter stops when it drops"]
pub struct OpCounter {
    is_running: bool,
    copies_before: u64,
}

/// Number of calls of each operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpCounts {
    by_name: BTreeMap<String, u64>,
    host_copies: u64,
}

impl OpCounter {
    /// Starts counting on all threads.
    ///
    /// # Errors
    /// If a counter is already running.
    pub fn start() -> Result<Self, LibtorchError> {
        ffi::op_counter_start()?;
        Ok(Self { is_running: true, copies_before: host_copy::copies() })
    }

    /// Stops counting.
    ///
    /// # Errors
    /// If libtorch reports an error; no such case is known.
    pub fn stop(mut self) -> Result<OpCounts, LibtorchError> {
        self.is_running = false;
        let host_copies = host_copy::copies() - self.copies_before;
        let report = ffi::op_counter_stop()?;
        let entry = |line: &str| {
            let (name, count) = line.rsplit_once(' ')?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        Ok(OpCounts { by_name: report.lines().filter_map(entry).collect(), host_copies })
    }
}

impl Drop for OpCounter {
    fn drop(&mut self) {
        if self.is_running {
            let _ = ffi::op_counter_stop();
        }
    }
}

impl OpCounts {
    /// Number of calls of the named operation, for example `aten::_foreach_norm`.
    pub fn of(&self, name: &str) -> u64 {
        self.by_name.get(name).copied().unwrap_or(0)
    }

    /// Number of calls of all operations.
    pub fn total(&self) -> u64 {
        self.by_name.values().sum()
    }

    /// Number of times the host waited for a device value: every `.item()` and every [`host_copy`](super::host_copy()).
    pub fn host_syncs(&self) -> u64 {
        self.of("aten::_local_scalar_dense") + self.host_copies
    }
}
