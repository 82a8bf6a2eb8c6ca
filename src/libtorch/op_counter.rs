//! A count of every ATen operation the process runs, by name: how tests hold the number of ops and host syncs.

use std::collections::BTreeMap;

use super::{LibtorchError, ffi};

/// Counts ATen operations from its start to [`OpCounter::stop`]. One can run at a time in a process.
#[must_use = "the counter stops when it drops"]
pub struct OpCounter {
    running: bool,
}

/// How often each operation ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpCounts(BTreeMap<String, u64>);

impl OpCounter {
    /// Starts counting, on all threads.
    ///
    /// # Errors
    /// Where a counter is running already.
    pub fn start() -> Result<Self, LibtorchError> {
        ffi::op_counter_start()?;
        Ok(Self { running: true })
    }

    /// Stops counting.
    ///
    /// # Errors
    /// Where libtorch refuses; not known to happen.
    pub fn stop(mut self) -> Result<OpCounts, LibtorchError> {
        self.running = false;
        let report = ffi::op_counter_stop()?;
        let entry = |line: &str| {
            let (name, count) = line.rsplit_once(' ')?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        Ok(OpCounts(report.lines().filter_map(entry).collect()))
    }
}

impl Drop for OpCounter {
    fn drop(&mut self) {
        if self.running {
            let _ = ffi::op_counter_stop();
        }
    }
}

impl OpCounts {
    /// How often the operation of this name ran, e.g. `aten::_foreach_norm`.
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// All operations together.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Times the host waited for a value of the device: `.item()` and copies to the host.
    pub fn host_syncs(&self) -> u64 {
        self.of("aten::_local_scalar_dense") + self.of("aten::_to_copy")
    }
}
