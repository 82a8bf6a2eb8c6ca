//! Records the order in which hooks fire and, on request, their times.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tch::Device;

use crate::libtorch::{LibtorchError, Moment};

/// Shared by the hooks of one monitor, which fire on threads of the autograd engine.
pub(super) struct Clock {
    device: Device,
    /// Number of hook calls so far.
    fired: AtomicU64,
    /// Value of `fired` after each hook's last call; 0 if it never fired.
    numbers: Box<[AtomicU64]>,
    /// Value of `fired` at the last call of `look`.
    last_look: AtomicU64,
    timing: Mutex<Option<Timing>>,
}

/// A timed backward pass.
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

    /// Records a call of a hook.
    pub(super) fn mark(&self, index: usize) {
        self.mark_untimed(index);
        if let Some(timing) = &mut *self.timing() {
            // If the device cannot record an event, the timeline omits this hook.
            timing.written[index] = Moment::record(self.device).ok();
        }
    }

    /// The same without a time.
    pub(super) fn mark_untimed(&self, index: usize) {
        self.numbers[index].store(self.fired.fetch_add(1, Ordering::AcqRel) + 1, Ordering::Release);
    }

    /// Sequence number of the hook's last call; `None` if it has not fired since the last `look`.
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

    /// Starts timing hook calls.
    pub(super) fn start_timing(&self) -> Result<(), LibtorchError> {
        let start = Moment::record(self.device)?;
        let written = self.numbers.iter().map(|_| None).collect();
        *self.timing() = Some(Timing { start, written });
        Ok(())
    }

    /// Ends the timing. Returns the seconds from the start to each hook's last call, without hooks that did not fire or
    /// whose events have not completed on the device.
    pub(super) fn finish_timing(&self) -> Vec<(usize, f64)> {
        let Some(Timing { start, written }) = self.timing().take() else { return Vec::new() };
        let secs = |moment: &Moment| moment.secs_since(&start).ok().flatten();
        written.iter().enumerate().filter_map(|(index, moment)| Some((index, secs(moment.as_ref()?)?))).collect()
    }

    fn timing(&self) -> MutexGuard<'_, Option<Timing>> {
        // Ignores poisoning: a panic between two stores only loses some times.
        self.timing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
