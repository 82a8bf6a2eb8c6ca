//! The thread that encodes and writes the entries of an event file.

use std::{
    fs::File,
    io::{self, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError},
    },
    time::{Duration, Instant},
};

use prost::Message;

use super::{
    Step, Tag, WallTime,
    proto::{Content, Event, Summary, SummaryMetadata, SummaryValue, What},
    tf_record::append_record,
};

/// Bytes gathered before a write.
const BUFFER_BYTES: usize = 1 << 16;
/// Longest time that an entry waits in the buffer while others keep coming.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// Entries between two looks at the clock.
const CLOCK_EVERY: u32 = 256;

/// What a caller puts into the queue.
pub(super) enum Entry {
    Value { wall_time: WallTime, step: Step, payload: Payload },
    Flush(SyncSender<()>),
}

/// What an event holds.
pub(super) enum Payload {
    Scalar(Tag, f32),
    Summary(Tag, Content, Option<SummaryMetadata>),
    Event(What),
}

/// The error that ended the file, and what was dropped since.
#[derive(Default)]
pub(super) struct Failure {
    is_noted: AtomicBool,
    cause: Mutex<Option<io::Error>>,
    dropped: AtomicU64,
}

impl Failure {
    /// The error, the first time it is asked for.
    pub(super) fn take(&self) -> Option<io::Error> {
        if !self.is_noted.load(Ordering::Acquire) {
            return None;
        }
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn dropped_entries(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn note(&self, cause: io::Error) {
        *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
        self.is_noted.store(true, Ordering::Release);
    }
}

/// Writes entries until every sender is gone. After a failure it only drains the queue, so that no caller waits.
pub(super) fn run(file: impl Sink, entries: &Receiver<Entry>, failure: &Failure) {
    let mut output = Output { file, buffer: Vec::with_capacity(2 * BUFFER_BYTES), encoder: Encoder::default() };
    if let Err(cause) = output.write_all_of(entries) {
        failure.note(cause);
        for entry in entries {
            match entry {
                Entry::Value { .. } => _ = failure.dropped.fetch_add(1, Ordering::Relaxed),
                Entry::Flush(done) => _ = done.try_send(()),
            }
        }
    }
}

/// Where the bytes go; a test double stands in for a full disk.
pub(super) trait Sink: Write {
    fn sync(&mut self) -> io::Result<()>;
}

impl Sink for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

struct Output<F> {
    file: F,
    buffer: Vec<u8>,
    encoder: Encoder,
}

impl<F: Sink> Output<F> {
    fn write_all_of(&mut self, entries: &Receiver<Entry>) -> io::Result<()> {
        let (mut written_at, mut since_clock) = (Instant::now(), 0);
        loop {
            let entry = match entries.try_recv() {
                Ok(entry) => entry,
                Err(TryRecvError::Empty) => {
                    self.write_buffer()?;
                    written_at = Instant::now();
                    match entries.recv() {
                        Ok(entry) => entry,
                        Err(_) => break,
                    }
                }
                Err(TryRecvError::Disconnected) => break,
            };
            match entry {
                Entry::Value { wall_time, step, payload } => {
                    let record = self.encoder.encode(wall_time, step, payload);
                    append_record(record, &mut self.buffer);
                }
                Entry::Flush(done) => {
                    self.write_buffer()?;
                    self.file.sync()?;
                    let _ = done.try_send(());
                }
            }
            since_clock += 1;
            let is_late = since_clock >= CLOCK_EVERY && {
                since_clock = 0;
                written_at.elapsed() >= FLUSH_EVERY
            };
            if is_late || self.buffer.len() >= BUFFER_BYTES {
                self.write_buffer()?;
                written_at = Instant::now();
            }
        }
        self.write_buffer()?;
        self.file.sync()
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// Encodes events; the event of scalars and the bytes are kept, so that a scalar allocates nothing.
#[derive(Default)]
struct Encoder {
    scalar: Event,
    bytes: Vec<u8>,
}

impl Encoder {
    fn encode(&mut self, wall_time: WallTime, step: Step, payload: Payload) -> &[u8] {
        let value = |tag: Tag, content, metadata| {
            let value = SummaryValue { tag: tag.to_string(), metadata, content: Some(content) };
            What::Summary(Summary { value: vec![value] })
        };
        let what = match payload {
            Payload::Scalar(tag, number) => return self.encode_scalar(wall_time, step, &tag, number),
            Payload::Summary(tag, content, metadata) => value(tag, content, metadata),
            Payload::Event(what) => what,
        };
        let event = Event { wall_time: wall_time.as_secs(), step: step.get(), what: Some(what) };
        self.bytes.clear();
        event.encode_raw(&mut self.bytes);
        &self.bytes
    }

    fn encode_scalar(&mut self, wall_time: WallTime, step: Step, tag: &Tag, number: f32) -> &[u8] {
        let mut summary = match self.scalar.what.take() {
            Some(What::Summary(summary)) => summary,
            _ => Summary { value: vec![SummaryValue::default()] },
        };
        for value in &mut summary.value {
            value.tag.clear();
            value.tag.push_str(tag.as_str());
            value.content = Some(Content::SimpleValue(number));
        }
        (self.scalar.wall_time, self.scalar.step) = (wall_time.as_secs(), step.get());
        self.scalar.what = Some(What::Summary(summary));
        self.bytes.clear();
        self.scalar.encode_raw(&mut self.bytes);
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    /// Takes some bytes, then is full.
    struct FullDisk {
        room: usize,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for FullDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.len() > self.room {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= bytes.len();
            self.taken.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for FullDisk {
        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn scalar(step: u64) -> Entry {
        let payload = Payload::Scalar(Tag::from("loss"), 1.0);
        Entry::Value { wall_time: WallTime::from_secs(1.0), step: Step::from(step), payload }
    }

    #[test]
    fn a_full_disk_is_noted_once_and_blocks_nobody() {
        let taken = Arc::default();
        let (queue, entries) = mpsc::sync_channel(2);
        let failure = Arc::new(Failure::default());
        let (shared, disk) = (Arc::clone(&failure), FullDisk { room: 40, taken: Arc::clone(&taken) });
        let thread = std::thread::spawn(move || run(disk, &entries, &shared));
        for step in 0..100 {
            queue.send(scalar(step)).unwrap();
        }
        drop(queue);
        thread.join().unwrap();
        assert_eq!(failure.take().unwrap().kind(), io::ErrorKind::StorageFull);
        assert!(failure.take().is_none());
        assert!(failure.dropped_entries() >= 90, "{}", failure.dropped_entries());
        assert!(taken.lock().unwrap().len() <= 40);
    }

    #[test]
    fn scalars_come_out_alike_whatever_was_encoded_before_them() {
        let mut encoder = Encoder::default();
        let (time, step) = (WallTime::from_secs(2.5), Step::from(7));
        let mut bytes = |tag: &str, value| encoder.encode(time, step, Payload::Scalar(tag.into(), value)).to_vec();
        let first = bytes("a", 0.0);
        bytes("a longer tag", f32::NAN);
        assert_eq!(bytes("a", 0.0), first);
        let event = Event::decode(&first[..]).unwrap();
        let Some(What::Summary(summary)) = event.what else { panic!() };
        assert_eq!((event.wall_time, event.step), (2.5, 7));
        assert_eq!(summary.value[0].content, Some(Content::SimpleValue(0.0)));
    }
}
