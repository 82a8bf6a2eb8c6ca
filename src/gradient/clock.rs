//! When each hook fired: its place in the order of all, and on demand its moment.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tch::Device;

use crate::libtorch::{LibtorchError, Moment};

/// Shared by the hooks of one monitor, which fire on threads of the autograd engine.
pub(super) struct Clock {
    device: Device,
    /// Hooks that fired so far.
    fired: AtomicU64,
    /// `fired` after each hook's last call; 0 is never.
    numbers: Box<[AtomicU64]>,
    /// `fired` at the last look.
    last_look: AtomicU64,
    timing: Mutex<Option<Timing>>,
}

/// A backward pass whose time is taken.
struct Timing {
    start: Moment,
    written: Vec<Option<Moment>>,
}

impl Clock {
    pub(super) fn new(hooks: usize, device: Device) -> Self {
        let zero = || AtomicU64::new(0);
        let numbers = (0..hooks).map(|_| zero()).collect();
        Self { device, fired: zero(), numbers, last_look: zero(), timing: Mutex::default() }
    }

    /// Called by a hook.
    pub(super) fn mark(&self, index: usize) {
        self.numbers[index].store(self.fired.fetch_add(1, Ordering::AcqRel) + 1, Ordering::Release);
        if let Some(timing) = &mut *self.timing() {
            // What a device takes no mark for is not in the timeline.
            timing.written[index] = Moment::record(self.device).ok();
        }
    }

    /// The number of the last call, where it came since the last look.
    pub(super) fn number(&self, index: usize) -> Option<u64> {
        let number = self.numbers[index].load(Ordering::Acquire);
        (number > self.last_look.load(Ordering::Acquire)).then_some(number)
    }

    pub(super) fn has_ever_fired(&self, index: usize) -> bool {
        self.numbers[index].load(Ordering::Acquire) > 0
    }

    pub(super) fn look(&self) {
        self.last_look.store(self.fired.load(Ordering::Acquire), Ordering::Release);
    }

    /// Takes the time of what fires from now on.
    pub(super) fn start_timing(&self) -> Result<(), LibtorchError> {
        let start = Moment::record(self.device)?;
        let written = self.numbers.iter().map(|_| None).collect();
        *self.timing() = Some(Timing { start, written });
        Ok(())
    }

    /// Seconds from the start to each hook's last call; those that did not fire, or whose device is not there yet, are left
    /// out. Ends the timing.
    pub(super) fn finish_timing(&self) -> Vec<(usize, f64)> {
        let Some(Timing { start, written }) = self.timing().take() else { return Vec::new() };
        let secs = |moment: &Moment| moment.secs_since(&start).ok().flatten();
        written.iter().enumerate().filter_map(|(index, moment)| Some((index, secs(moment.as_ref()?)?))).collect()
    }

    fn timing(&self) -> MutexGuard<'_, Option<Timing>> {
        // What a poisoned lock guards is whole: a panic between two stores leaves moments out.
        self.timing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
