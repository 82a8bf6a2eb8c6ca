//! The writing end of an event file.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, SyncSender},
    },
    thread::{self, JoinHandle},
};

use super::{
    EventsError, Histogram, Layout, PendingPosition, Session, Step, Tag, Value, WallTime,
    session::{Kind, create_file, make_folder},
    writer_thread::{self, Entry, Failure},
};
use crate::disk::Folder;

/// Entries that wait before a caller does.
const QUEUE_LENGTH: usize = 16_384;

/// Writes scalars, histograms, text and images for TensorBoard.
///
/// A thread of its own encodes and writes. What was queued is handed to the system as soon as the queue runs empty or
/// 64 KiB have gathered, so a killed process loses next to nothing; it is synced to the disk by [`flush`](Self::flush),
/// by [`close`](Self::close) and when the writer drops, also while a panic unwinds. Entries carry the time at which
/// they were queued. Several threads may share a writer by reference.
///
/// When the file cannot be written any further (disk full), the next call returns [`EventsError::Write`], once; entries
/// after that are dropped and counted, so that a loop that ignores the error goes on training. `flush` and `close` say
/// each time that the file is incomplete.
#[derive(Debug)]
pub struct SummaryWriter {
    path: PathBuf,
    queue: Option<SyncSender<Entry>>,
    thread: Option<JoinHandle<()>>,
    failure: Arc<Failure>,
}

impl SummaryWriter {
    /// Makes `logdir` where it is missing, and in it a new event file,
    /// `events.out.tfevents.<seconds since 1970>.<host>.<process>.<number>`.
    ///
    /// # Errors
    /// Where the folder or the file cannot be made.
    pub fn create(logdir: impl AsRef<Path>) -> Result<Self, EventsError> {
        Self::make(&make_folder(logdir.as_ref())?, Kind::Other)
    }

    /// The same for a run that may be killed and resumed: its first session makes the first file, each later one another that
    /// goes on at its first step. The name ends in `.session-<number>`.
    ///
    /// # Errors
    /// As for [`create`](Self::create).
    pub fn create_session(logdir: impl AsRef<Path>, session: Session) -> Result<Self, EventsError> {
        Self::make(&make_folder(logdir.as_ref())?, Kind::Session(session))
    }

    /// The same for the results of one evaluation, in a folder that is there. The name ends in `.evaluation`.
    ///
    /// # Errors
    /// Where the file cannot be made.
    pub fn create_evaluation(folder: &Folder) -> Result<Self, EventsError> {
        Self::make(folder, Kind::Evaluation)
    }

    fn make(folder: &Folder, kind: Kind) -> Result<Self, EventsError> {
        let (path, file) = create_file(folder, kind)?;
        Self::over(path.clone(), file).map_err(|cause| EventsError::Create { path, cause })
    }

    fn over(path: PathBuf, file: File) -> std::io::Result<Self> {
        let (queue, entries) = mpsc::sync_channel(QUEUE_LENGTH);
        let failure = Arc::new(Failure::default());
        let shared = Arc::clone(&failure);
        let thread = thread::Builder::new()
            .name("event-writer".into())
            .spawn(move || writer_thread::run(file, &entries, &shared))?;
        Ok(Self { path, queue: Some(queue), thread: Some(thread), failure })
    }

    /// The event file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A number, stored as f32; NaN and infinities as they are.
    ///
    /// # Errors
    /// Where an earlier entry could not be written; see [`SummaryWriter`].
    pub fn scalar(&self, tag: impl Into<Tag>, step: impl Into<Step>, value: f64) -> Result<(), EventsError> {
        self.value_at(WallTime::now(), tag, step, Value::Scalar(value))
    }

    /// Several numbers of one step, in one event: cheaper than one by one.
    ///
    /// # Errors
    /// As for [`scalar`](Self::scalar).
    pub fn scalars<T: Into<Tag>>(
        &self,
        step: impl Into<Step>,
        values: impl IntoIterator<Item = (T, f64)>,
    ) -> Result<(), EventsError> {
        let values: Vec<_> = values.into_iter().map(|(tag, value)| (tag.into(), Value::Scalar(value))).collect();
        if values.is_empty() { Ok(()) } else { self.send_values(WallTime::now(), step.into(), values) }
    }

    /// A distribution.
    ///
    /// # Errors
    /// As for [`scalar`](Self::scalar).
    pub fn histogram(
        &self,
        tag: impl Into<Tag>,
        step: impl Into<Step>,
        histogram: Histogram,
    ) -> Result<(), EventsError> {
        self.value_at(WallTime::now(), tag, step, Value::Histogram(histogram))
    }

    /// A text, which TensorBoard renders as Markdown.
    ///
    /// # Errors
    /// As for [`scalar`](Self::scalar).
    pub fn text(&self, tag: impl Into<Tag>, step: impl Into<Step>, text: impl Into<String>) -> Result<(), EventsError> {
        self.value_at(WallTime::now(), tag, step, Value::Text(text.into()))
    }

    /// The picture of a PNG file, `width` x `height` pixels.
    ///
    /// # Errors
    /// As for [`scalar`](Self::scalar).
    pub fn image(
        &self,
        tag: impl Into<Tag>,
        step: impl Into<Step>,
        png: Vec<u8>,
        width: u32,
        height: u32,
    ) -> Result<(), EventsError> {
        self.value_at(WallTime::now(), tag, step, Value::Image { png, width, height })
    }

    /// The charts of TensorBoard's Custom Scalars page. The last layout of a run counts.
    ///
    /// # Errors
    /// As for [`scalar`](Self::scalar).
    pub fn layout(&self, layout: &Layout) -> Result<(), EventsError> {
        self.value_at(WallTime::now(), Layout::TAG, 0, Value::Layout(layout.clone()))
    }

    /// Any value, seen at `wall_time` instead of now.
    ///
    /// # Errors
    /// As for [`scalar`](Self::scalar).
    pub fn value_at(
        &self,
        wall_time: WallTime,
        tag: impl Into<Tag>,
        step: impl Into<Step>,
        value: Value,
    ) -> Result<(), EventsError> {
        self.send_values(wall_time, step.into(), vec![(tag.into(), value)])
    }

    /// Waits until everything queued so far is on the disk.
    ///
    /// # Errors
    /// Where it is not, or earlier entries are lost.
    pub fn flush(&self) -> Result<(), EventsError> {
        // A thread that is gone has failed, which is told below.
        let _ = self.position().wait();
        self.complete()
    }

    /// How far the file is with everything queued so far, to be waited for elsewhere.
    pub fn position(&self) -> PendingPosition {
        let (done, position) = mpsc::sync_channel(1);
        self.send(Entry::Sync(done));
        PendingPosition::queued(&self.path, position)
    }

    /// Writes what is queued, syncs it to the disk and ends the thread.
    ///
    /// # Errors
    /// Where entries are lost, also if an earlier call has said so.
    pub fn close(mut self) -> Result<(), EventsError> {
        self.finish();
        self.complete()
    }

    /// Entries lost so far because the file could not be written any further.
    pub fn lost_entries(&self) -> u64 {
        self.failure.lost_entries()
    }

    fn complete(&self) -> Result<(), EventsError> {
        match self.failure.cause() {
            Some(cause) => Err(EventsError::Incomplete { path: self.path.clone(), lost: self.lost_entries(), cause }),
            None => Ok(()),
        }
    }

    fn send_values(&self, wall_time: WallTime, step: Step, values: Vec<(Tag, Value)>) -> Result<(), EventsError> {
        if let Some(cause) = self.failure.cause_once() {
            return Err(EventsError::Write { path: self.path.clone(), cause });
        }
        self.send(Entry::Values { wall_time, step, values });
        Ok(())
    }

    fn send(&self, entry: Entry) {
        if let Some(queue) = &self.queue {
            // Fails only when the thread is gone, and it stays for as long as there is a sender.
            let _ = queue.send(entry);
        }
    }

    fn finish(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // An error would be a panic of the thread, which has none.
            let _ = thread.join();
        }
    }
}

impl Drop for SummaryWriter {
    fn drop(&mut self) {
        self.finish();
        if let Some(cause) = self.failure.cause_once() {
            tracing::error!(
                "{}",
                EventsError::Incomplete { path: self.path.clone(), lost: self.lost_entries(), cause }
            );
        }
    }
}

#[cfg(test)]
mod tests;
