//! The writing end of an event file.

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc::{self, SyncSender},
    },
    thread::{self, JoinHandle},
};

use super::{
    EventsError, Histogram, Step, Tag, WallTime,
    proto::{Content, DT_STRING, Dimension, Image, PluginData, SummaryMetadata, TensorProto, TensorShape, What},
    writer_thread::{self, Entry, Failure, Payload},
};

/// Entries that wait before a caller does.
const QUEUE_LENGTH: usize = 16_384;

/// Writes scalars, histograms, text and images for TensorBoard.
///
/// A thread of its own encodes and writes. What was queued is handed to the system as soon as the queue runs empty, at
/// the latest after a second, and is synced to the disk by [`flush`](Self::flush), by [`close`](Self::close) and when
/// the writer drops, also while a panic unwinds. Entries carry the time at which they were queued.
///
/// When the file cannot be written any further (disk full), the next call returns the error, once; what is queued after
/// that is dropped and counted, so that a loop that ignores the error goes on training.
pub struct SummaryWriter {
    path: PathBuf,
    queue: Option<SyncSender<Entry>>,
    thread: Option<JoinHandle<()>>,
    failure: Arc<Failure>,
}

impl SummaryWriter {
    /// Makes `logdir` where it is missing, and a new event file in it.
    ///
    /// # Errors
    /// Where the folder or the file cannot be made.
    pub fn create(logdir: impl AsRef<Path>) -> Result<Self, EventsError> {
        let logdir = logdir.as_ref();
        fs::create_dir_all(logdir).map_err(|cause| EventsError::Create { path: logdir.to_owned(), cause })?;
        let (path, file) = new_file(logdir)?;
        let (queue, entries) = mpsc::sync_channel(QUEUE_LENGTH);
        let failure = Arc::new(Failure::default());
        let shared = Arc::clone(&failure);
        let thread = thread::Builder::new()
            .name("event-writer".into())
            .spawn(move || writer_thread::run(file, &entries, &shared))
            .map_err(|cause| EventsError::Create { path: path.clone(), cause })?;
        let writer = Self { path, queue: Some(queue), thread: Some(thread), failure };
        let version = Payload::Event(What::FileVersion("brain.Event:2".into()));
        writer.send(Entry::Value { wall_time: WallTime::now(), step: Step::from(0), payload: version })?;
        Ok(writer)
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
        self.scalar_at(WallTime::now(), tag, step, value)
    }

    /// A number that was seen at `wall_time`.
    ///
    /// # Errors
    /// As for [`scalar`](Self::scalar).
    pub fn scalar_at(
        &self,
        wall_time: WallTime,
        tag: impl Into<Tag>,
        step: impl Into<Step>,
        value: f64,
    ) -> Result<(), EventsError> {
        let payload = Payload::Scalar(tag.into(), value as f32);
        self.send(Entry::Value { wall_time, step: step.into(), payload })
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
        self.summary(tag.into(), step.into(), Content::Histogram(histogram.into_proto()), None)
    }

    /// A text, which TensorBoard renders as Markdown.
    ///
    /// # Errors
    /// As for [`scalar`](Self::scalar).
    pub fn text(&self, tag: impl Into<Tag>, step: impl Into<Step>, text: impl Into<String>) -> Result<(), EventsError> {
        let tensor = TensorProto {
            dtype: DT_STRING,
            tensor_shape: Some(TensorShape { dim: vec![Dimension { size: 1 }] }),
            string_val: vec![text.into().into_bytes()],
        };
        self.summary(tag.into(), step.into(), Content::Tensor(tensor), Some("text"))
    }

    /// A picture of `width` x `height` pixels, encoded as PNG with `channels` channels.
    ///
    /// # Errors
    /// As for [`scalar`](Self::scalar).
    pub fn image(
        &self,
        tag: impl Into<Tag>,
        step: impl Into<Step>,
        png: Vec<u8>,
        [width, height, channels]: [u32; 3],
    ) -> Result<(), EventsError> {
        let size = |pixels: u32| i32::try_from(pixels).unwrap_or(i32::MAX);
        let image =
            Image { height: size(height), width: size(width), colorspace: size(channels), encoded_image_string: png };
        self.summary(tag.into(), step.into(), Content::Image(image), None)
    }

    /// Waits until everything queued so far is on the disk.
    ///
    /// # Errors
    /// Where it is not.
    pub fn flush(&self) -> Result<(), EventsError> {
        let (done, is_done) = mpsc::sync_channel(1);
        self.send(Entry::Flush(done))?;
        // An error here means that the thread is gone, which it only is after a failure that it noted.
        let _ = is_done.recv();
        self.check()
    }

    /// Writes what is queued, syncs it to the disk and ends the thread.
    ///
    /// # Errors
    /// Where something could not be written and no call has said so yet.
    pub fn close(mut self) -> Result<(), EventsError> {
        self.finish();
        self.check()
    }

    /// Entries that were dropped after the file could not be written any further.
    pub fn dropped_entries(&self) -> u64 {
        self.failure.dropped_entries()
    }

    fn summary(&self, tag: Tag, step: Step, content: Content, plugin: Option<&str>) -> Result<(), EventsError> {
        let metadata = plugin.map(|name| SummaryMetadata {
            plugin_data: Some(PluginData { plugin_name: name.to_owned(), content: Vec::new() }),
        });
        let payload = Payload::Summary(tag, content, metadata);
        self.send(Entry::Value { wall_time: WallTime::now(), step, payload })
    }

    fn send(&self, entry: Entry) -> Result<(), EventsError> {
        self.check()?;
        if let Some(queue) = &self.queue {
            // Fails only when the thread is gone, which it only is when it noted why.
            let _ = queue.send(entry);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), EventsError> {
        match self.failure.take() {
            Some(cause) => Err(EventsError::Write { path: self.path.clone(), cause }),
            None => Ok(()),
        }
    }

    fn finish(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for SummaryWriter {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A file name as TensorFlow gives it: seconds, host, process, and a number that keeps writers of one process apart.
fn new_file(logdir: &Path) -> Result<(PathBuf, File), EventsError> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "localhost" } else { host.trim() };
    let secs = WallTime::now().as_secs() as u64;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = logdir.join(format!("events.out.tfevents.{secs:010}.{host}.{}.{number}", std::process::id()));
    match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(file) => Ok((path, file)),
        Err(cause) => Err(EventsError::Create { path, cause }),
    }
}
