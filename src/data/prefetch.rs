//! An ordered sequence whose items are produced ahead of time on threads.
//!
//! Worker `w` of `n` produces the items `w`, `w + n`, `w + 2n`, ... and sends them through a queue of its own. The
//! consumer reads the queues in turn. This keeps the order for any number of workers, and the queue lengths limit
//! memory use, without a lock or a reordering buffer.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gradwatch_doctor::panics;

use super::DataError;

/// Interval of the check whether the item is still needed.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Maximum wait for workers that are no longer needed: a worker can hang in an unresponsive file system.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Yields `produce(i)` for each `i` of a range, in order, up to and including the first error.
///
/// A panic in a worker is yielded as [`DataError::Worker`]. Dropping the sequence ends its threads, which takes at most
/// as long as the items in progress. Dropping waits at most two seconds; slower threads end by themselves.
pub(super) struct Prefetch<T> {
    rest: Range<usize>,
    produce: Arc<Produce<T>>,
    /// Empty if items are produced in the caller's thread.
    lanes: Vec<Lane<T>>,
    turn: usize,
}

type Produce<T> = dyn Fn(usize) -> Result<T, DataError> + Send + Sync;

struct Lane<T> {
    ready: Receiver<Result<T, DataError>>,
    worker: std::io::Result<JoinHandle<()>>,
}

impl<T: Send + 'static> Prefetch<T> {
    /// With `workers == 0`, items are produced on demand. Otherwise, at most `ahead` items wait in the queues, and each
    /// worker holds one more.
    pub(super) fn new(
        range: Range<usize>,
        workers: usize,
        ahead: usize,
        produce: impl Fn(usize) -> Result<T, DataError> + Send + Sync + 'static,
    ) -> Self {
        let produce: Arc<Produce<T>> = Arc::new(produce);
        let workers = workers.min(range.len());
        let lane = |number: usize| {
            let queue = ahead / workers + usize::from(number < ahead % workers);
            Self::start(number, range.clone().skip(number).step_by(workers), queue, Arc::clone(&produce))
        };
        let lanes = (0..workers).map(lane).collect();
        Self { rest: range, produce, lanes, turn: 0 }
    }

    fn start(
        number: usize,
        items: impl Iterator<Item = usize> + Send + 'static,
        queue: usize,
        produce: Arc<Produce<T>>,
    ) -> Lane<T> {
        let (sender, ready) = sync_channel(queue);
        let work = move || {
            for item in items {
                // Sending fails once the consumer is dropped.
                if sender.send(produce(item)).is_err() {
                    return;
                }
            }
        };
        Lane { ready, worker: thread::Builder::new().name(format!("loader-{number}")).spawn(work) }
    }

    /// Returns the next item; `None` at the end, or if `is_unwanted` becomes true while waiting. No item is lost in
    /// that case.
    pub(super) fn next_unless(&mut self, is_unwanted: impl Fn() -> bool) -> Option<Result<T, DataError>> {
        let item = self.rest.clone().next()?;
        if is_unwanted() {
            return None;
        }
        let result = if self.lanes.is_empty() { (self.produce)(item) } else { self.receive(is_unwanted)? };
        self.rest = if result.is_ok() { item + 1..self.rest.end } else { 0..0 };
        Some(result)
    }

    fn receive(&mut self, is_unwanted: impl Fn() -> bool) -> Option<Result<T, DataError>> {
        let turn = self.turn;
        let lane = self.lanes.get(turn)?;
        let disconnected = loop {
            match lane.ready.recv_timeout(LOOK_EVERY) {
                Ok(item) => {
                    self.turn = (turn + 1) % self.lanes.len();
                    return Some(item);
                }
                Err(RecvTimeoutError::Timeout) if is_unwanted() => return None,
                Err(RecvTimeoutError::Timeout) => {}
                Err(disconnected) => break disconnected.to_string(),
            }
        };
        let cause = match self.lanes.swap_remove(turn).worker {
            Ok(worker) => worker.join().err().map_or(disconnected, |panic| panics::message(panic.as_ref())),
            Err(error) => error.to_string(),
        };
        Some(Err(DataError::Worker { cause }))
    }
}

impl<T: Send + 'static> Iterator for Prefetch<T> {
    type Item = Result<T, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_unless(|| false)
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        let (queues, workers): (Vec<_>, Vec<_>) = self.lanes.drain(..).map(|lane| (lane.ready, lane.worker)).unzip();
        // Close the queues first: a worker that waits for room in its queue would never end.
        drop(queues);
        let deadline = Instant::now() + LAST_WAIT;
        for worker in workers.into_iter().flatten() {
            while !worker.is_finished() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            if worker.is_finished() {
                // A panic no longer matters, because its item is not needed.
                let _ = worker.join();
            }
        }
    }
}

impl<T> fmt::Debug for Prefetch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefetch").field("rest", &self.rest).field("workers", &self.lanes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::{Duration, Instant};

    use super::*;

    const MISSING: fn() -> DataError = || DataError::NoSuchImage { index: 0, len: 0 };

    /// Waits until `condition` is true, for up to two minutes.
    fn eventually(condition: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        while !condition() && start.elapsed() < Duration::from_secs(120) {
            thread::sleep(Duration::from_millis(1));
        }
        condition()
    }

    #[test]
    fn items_come_in_order_for_any_number_of_workers() {
        for workers in 0..6 {
            for ahead in [0, 1, 7] {
                let items: Result<Vec<_>, _> = Prefetch::new(3..20, workers, ahead, |item| Ok(10 * item)).collect();
                assert_eq!(items.unwrap(), (3..20).map(|item| 10 * item).collect::<Vec<_>>(), "{workers} {ahead}");
            }
            assert!(Prefetch::new(4..4, workers, 2, Ok).next().is_none());
        }
    }

    #[test]
    fn the_sequence_ends_with_the_first_error() {
        for workers in 0..4 {
            let produce = |item| if item == 5 { Err(MISSING()) } else { Ok(item) };
            let mut items = Prefetch::new(0..100, workers, 3, produce);
            assert_eq!(items.by_ref().take(5).map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
            assert!(matches!(items.next(), Some(Err(DataError::NoSuchImage { .. }))));
            assert!(items.next().is_none() && items.next().is_none());
        }
    }

    #[test]
    fn a_panic_in_a_worker_becomes_an_error() {
        for workers in 1..4 {
            let produce = |item| if item == 5 { panic!("no room\nfor item {item}") } else { Ok(item) };
            let results: Vec<_> = Prefetch::new(0..100, workers, 3, produce).collect();
            assert_eq!(results.len(), 6);
            let message = results[5].as_ref().unwrap_err().to_string();
            assert!(message.starts_with("a loader thread stopped: no room for item 5:"), "{message}");
        }
    }

    #[test]
    fn no_more_than_the_items_ahead_and_one_per_worker_are_produced() {
        for (workers, ahead) in [(1, 0), (1, 3), (2, 3), (3, 2), (4, 0)] {
            let produced = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&produced);
            let mut items = Prefetch::new(0..100, workers, ahead, move |item| {
                counter.fetch_add(1, SeqCst);
                Ok(item)
            });
            assert!(eventually(|| produced.load(SeqCst) == workers + ahead));
            thread::sleep(Duration::from_millis(20));
            assert_eq!(produced.load(SeqCst), workers + ahead);
            items.next();
            assert!(eventually(|| produced.load(SeqCst) == workers + ahead + 1));
        }
    }

    #[test]
    fn an_item_that_is_no_longer_wanted_is_not_waited_for_and_not_lost() {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let receiver = std::sync::Mutex::new(receiver);
        let mut items = Prefetch::new(0..3, 1, 1, move |item| {
            // Blocks until the sender is dropped.
            let _ = receiver.lock().unwrap().recv();
            Ok(item)
        });
        let started = Instant::now();
        let looks = AtomicUsize::new(0);
        assert!(items.next_unless(|| looks.fetch_add(1, SeqCst) > 1).is_none());
        assert!(items.next_unless(|| true).is_none());
        assert!(started.elapsed() < Duration::from_secs(5));
        drop(sender);
        assert_eq!(items.by_ref().map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(items.next_unless(|| false).is_none());
    }

    #[test]
    fn a_worker_that_hangs_is_left_behind() {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let receiver = std::sync::Mutex::new(receiver);
        let items = Prefetch::new(0..3, 1, 1, move |item| {
            let _ = receiver.lock().unwrap().recv();
            Ok(item)
        });
        let started = Instant::now();
        drop(items);
        assert!(started.elapsed() < LAST_WAIT + Duration::from_secs(5));
        drop(sender);
    }

    #[test]
    fn dropping_the_sequence_ends_its_threads() {
        for taken in [0, 1, 10] {
            let alive = Arc::new(());
            let witness = Arc::clone(&alive);
            let mut items = Prefetch::new(0..usize::MAX, 3, 2, move |item| {
                let _ = &witness;
                Ok(item)
            });
            assert_eq!(items.by_ref().take(taken).count(), taken);
            drop(items);
            assert_eq!(Arc::strong_count(&alive), 1, "a thread still holds the closure");
        }
    }
}
