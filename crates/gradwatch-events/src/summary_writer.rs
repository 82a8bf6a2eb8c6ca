//! Writes event files.

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
    EventsError, Histogram, Hparams, Layout, PendingPosition, Session, Step, Tag, Value, WallTime,
    session::{Kind, create_file, make_folder},
    writer_thread::{self, Entry, Failure},
};
use crate::disk::Folder;

/// Maximum number of queued entries; if the queue is full, the caller waits.
const QUEUE_LENGTH: usize = 16_384;

/// Writes scalars, histograms, text, and images for TensorBoard.
///
/// A separate thread encodes and writes the entries. It passes them to the operating system whenever the queue is empty
/// or 64 KiB have accumulated, so a killed process loses almost nothing. [`flush`](Self::flush),
/// [`close`](Self::close), and dropping the writer (also during a panic) sync the file to disk. Entries carry the time
/// at which they were queued. Several threads can share a writer by reference.
///
/// If writing fails (disk full), the next call returns [`EventsError::Write`], once. Later entries are dropped and
/// counted, so a loop that ignores the error continues training. `flush` and `close` report an incomplete file every
/// time.
#[derive(Debug)]
pub struct SummaryWriter {
    path: PathBuf,
    queue: Option<SyncSender<Entry>>,
    thread: Option<JoinHandle<()>>,
    failure: Arc<Failure>,
}

impl SummaryWriter {
    /// Creates `logdir` if it is missing, and a new event file in it named `events.out.tfevents.<seconds since
    /// 1970>.<host>.<process>.<number>`.
    ///
    /// # Errors
    /// If the folder or the file cannot be created.
    pub fn create(logdir: impl AsRef<Path>) -> Result<Self, EventsError> {
        Self::make(&make_folder(logdir.as_ref())?, Kind::Other)
    }

    /// Like [`create`](Self::create), for a run that may be killed and resumed. Each session creates its own file,
    /// which starts at the session's first step. The name ends in `.session-<number>`.
    ///
    /// # Errors
    /// As for [`create`](Self::create).
    pub fn create_session(logdir: impl AsRef<Path>, session: Session) -> Result<Self, EventsError> {
        Self::make(&make_folder(logdir.as_ref())?, Kind::Session(session))
    }

    /// Like [`create`](Self::create), for the results of one evaluation, in an existing folder. The name ends in
    /// `.evaluation`.
    ///
    /// # Errors
    /// If the file cannot be created.
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

    /// Path of the event file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a number as f32. NaN and infinities are kept.
    ///
    /// # Errors
    /// If an earlier entry could not be written; see [`SummaryWriter`].
    pub fn scalar(&self, tag: impl Into<Tag>, step: impl Into<Step>, value: f64) -> Result<(), EventsError> {
        self.value_at(WallTime::now(), tag, step, Value::Scalar(value))
    }

    /// Writes several numbers of one step in one event, which costs less than one event per number.
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

    /// Writes a histogram.
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

    /// Writes text, which TensorBoard renders as Markdown.
    ///
    /// # Errors
    /// As for [`scalar`](Self::scalar).
    pub fn text(&self, tag: impl Into<Tag>, step: impl Into<Step>, text: impl Into<String>) -> Result<(), EventsError> {
        self.value_at(WallTime::now(), tag, step, Value::Text(text.into()))
    }

    /// Writes a PNG image of `width` x `height` pixels.
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

    /// Writes the charts of TensorBoard's Custom Scalars page. The last layout of a run wins.
    ///
    /// # Errors
    /// As for [`scalar`](Self::scalar).
    pub fn layout(&self, layout: &Layout) -> Result<(), EventsError> {
        self.value_at(WallTime::now(), Layout::TAG, 0, Value::Layout(layout.clone()))
    }

    /// Writes a message for TensorBoard's HParams page. The first one of its kind in a folder wins.
    ///
    /// # Errors
    /// As for [`scalar`](Self::scalar).
    pub fn hparams(&self, hparams: Hparams) -> Result<(), EventsError> {
        self.value_at(WallTime::now(), hparams.tag(), 0, Value::Hparams(hparams))
    }

    /// Writes any value, with `wall_time` instead of the current time.
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

    /// Waits until all queued entries are on disk.
    ///
    /// # Errors
    /// If any entry could not be written.
    pub fn flush(&self) -> Result<(), EventsError> {
        // If the thread ended, `complete` reports its failure.
        let _ = self.position().wait();
        self.complete()
    }

    /// Returns the position after all entries queued so far, which another thread can wait for until it is on disk.
    pub fn position(&self) -> PendingPosition {
        let (done, position) = mpsc::sync_channel(1);
        self.send(Entry::Sync(done));
        PendingPosition::queued(&self.path, position)
    }

    /// Writes all queued entries, syncs the file to disk, and ends the thread.
    ///
    /// # Errors
    /// If any entry could not be written, even if an earlier call reported it.
    pub fn close(mut self) -> Result<(), EventsError> {
        self.finish();
        self.complete()
    }

    /// Number of entries lost so far because of write errors.
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
            // Sending fails only if the thread has ended, and the thread lives as long as there is a sender.
            let _ = queue.send(entry);
        }
    }

    fn finish(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // `join` fails only if the thread panicked, and it never does.
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
