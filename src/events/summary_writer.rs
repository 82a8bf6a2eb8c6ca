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
mod tests {
    use std::{
        collections::HashMap,
        os::unix::fs::FileTypeExt,
        panic::{self, AssertUnwindSafe},
        time::{Duration, Instant},
    };

    use super::*;
    use crate::events::{
        EventFile,
        proto::{Content, Event, Summary, What},
    };

    /// (wall time, tag, step, value) of each scalar in a file whose first entry is the version.
    fn scalars(path: &Path) -> Vec<(f64, String, i64, f32)> {
        let mut events = EventFile::open(path).unwrap().map(Result::unwrap);
        assert_eq!(events.next().unwrap().what, Some(What::FileVersion("brain.Event:2".into())));
        let scalar = |event: Event| match event.what {
            Some(What::Summary(Summary { mut value })) => match value.pop().map(|value| (value.tag, value.content)) {
                Some((tag, Some(Content::SimpleValue(number)))) => (event.wall_time, tag, event.step, number),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        events.map(scalar).collect()
    }

    fn full_disk() -> SummaryWriter {
        // A file of that name would take everything.
        let is_device = std::fs::metadata("/dev/full").is_ok_and(|found| found.file_type().is_char_device());
        assert!(is_device, "/dev/full is no device here, want the one that is always full (mknod /dev/full c 1 7)");
        let file = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        SummaryWriter::over("/dev/full".into(), file).unwrap()
    }

    #[test]
    fn a_file_is_named_as_tensorboard_wants_it() {
        let logdir = tempfile::tempdir().unwrap();
        let before = WallTime::now().as_secs() as u64;
        let first = SummaryWriter::create(logdir.path().join("a/b")).unwrap();
        let second = SummaryWriter::create(logdir.path().join("a/b")).unwrap();
        assert_ne!(first.path(), second.path());
        let name = first.path().file_name().unwrap().to_str().unwrap();
        let secs = name.strip_prefix("events.out.tfevents.").unwrap().split('.').next().unwrap();
        assert_eq!(secs.len(), 10);
        assert!((before..=WallTime::now().as_secs() as u64).contains(&secs.parse().unwrap()));
        assert_eq!(name.rsplit('.').nth(1), Some(std::process::id().to_string().as_str()));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let error = SummaryWriter::create("/proc/gradwatch").unwrap_err().to_string();
        assert!(error.starts_with("/proc/gradwatch cannot be created: "), "{error}");
    }

    #[test]
    fn flush_puts_everything_on_the_disk_and_writing_goes_on() {
        let logdir = tempfile::tempdir().unwrap();
        let writer = SummaryWriter::create(logdir.path()).unwrap();
        for step in 0..3u64 {
            writer.scalar("a", step, step as f64).unwrap();
            writer.flush().unwrap();
            assert_eq!(scalars(writer.path()).len() as u64, step + 1);
        }
    }

    #[test]
    fn what_is_queued_reaches_the_file_by_itself() {
        let logdir = tempfile::tempdir().unwrap();
        let writer = SummaryWriter::create(logdir.path()).unwrap();
        writer.scalar("a", 1, 1.0).unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        // The version comes first.
        while EventFile::open(writer.path()).unwrap().map_while(Result::ok).count() < 2 {
            assert!(Instant::now() < deadline, "the entry is not in the file after two minutes");
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(scalars(writer.path()).len(), 1);
    }

    #[test]
    fn entries_carry_the_time_at_which_they_were_queued() {
        let logdir = tempfile::tempdir().unwrap();
        let writer = SummaryWriter::create(logdir.path()).unwrap();
        let before = WallTime::now().as_secs();
        writer.scalar("now", 1, 1.0).unwrap();
        let after = WallTime::now().as_secs();
        writer.value_at(WallTime::from_secs(12.5).unwrap(), "then", 2, Value::Scalar(1.0)).unwrap();
        writer.flush().unwrap();
        let scalars = scalars(writer.path());
        assert!((before..=after).contains(&scalars[0].0));
        assert_eq!(scalars[1].0, 12.5);
    }

    #[test]
    fn threads_that_share_a_writer_lose_nothing_and_keep_their_order() {
        const THREADS: u64 = 4;
        const STEPS: u64 = 10_000;
        let logdir = tempfile::tempdir().unwrap();
        let writer = SummaryWriter::create(logdir.path()).unwrap();
        let path = writer.path().to_owned();
        thread::scope(|scope| {
            for index in 0..THREADS {
                let writer = &writer;
                scope.spawn(move || {
                    let tag = Tag::from(format!("thread/{index}"));
                    (0..STEPS).for_each(|step| writer.scalar(&tag, step, (step * THREADS + index) as f64).unwrap());
                });
            }
        });
        writer.close().unwrap();
        let mut steps: HashMap<String, Vec<i64>> = HashMap::new();
        for (_, tag, step, number) in scalars(&path) {
            assert_eq!(format!("thread/{}", number as u64 % THREADS), tag);
            steps.entry(tag).or_default().push(step);
        }
        let want: Vec<i64> = (0..STEPS as i64).collect();
        assert_eq!(steps.len(), THREADS as usize);
        assert!(steps.values().all(|steps| *steps == want));
    }

    #[test]
    fn a_panic_loses_nothing() {
        let logdir = tempfile::tempdir().unwrap();
        let writer = SummaryWriter::create(logdir.path()).unwrap();
        let path = writer.path().to_owned();
        let unwound = panic::catch_unwind(AssertUnwindSafe(move || {
            (0..5000u64).for_each(|step| writer.scalar("a", step, 0.0).unwrap());
            panic!("a panic on purpose");
        }));
        assert!(unwound.is_err());
        assert_eq!(scalars(&path).len(), 5000);
    }

    #[test]
    fn a_full_disk_is_told_once_and_again_by_close_and_blocks_nobody() {
        let writer = full_disk();
        let entries = 4 * QUEUE_LENGTH as u64;
        let mut told = Vec::new();
        for step in 0..entries {
            told.extend(writer.scalar("a", step, 0.0).err());
        }
        let flushed = writer.flush().unwrap_err();
        assert!(writer.scalar("a", entries, 0.0).is_ok());
        let closed = writer.close().unwrap_err();
        let refused = told.len() as u64;
        assert!(refused <= 1, "{told:?}");
        assert!(told.iter().all(|error| matches!(error, EventsError::Write { .. })), "{told:?}");
        assert!(matches!(flushed, EventsError::Incomplete { lost, .. } if lost == entries - refused), "{flushed}");
        assert!(matches!(closed, EventsError::Incomplete { lost, .. } if lost == entries - refused + 1), "{closed}");
        assert!(closed.to_string().contains("No space left on device"), "{closed}");
    }

    #[test]
    fn a_full_disk_is_told_by_the_next_call() {
        let writer = full_disk();
        writer.scalar("a", 1, 0.0).unwrap();
        // The entry was tried when this returns, and nobody was told of it.
        let _ = writer.position().wait();
        let error = writer.scalar("a", 2, 0.0).unwrap_err().to_string();
        assert!(error.starts_with("/dev/full cannot be written: No space left on device"), "{error}");
        assert!(writer.scalar("a", 3, 0.0).is_ok());
    }
}
