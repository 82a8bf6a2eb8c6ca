//! The thread that encodes and writes the entries of an event file.

use std::{
    fs::File,
    io, mem,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender},
    },
};

use prost::Message;

use super::{
    Step, Tag, Value, WallTime,
    proto::{Event, Summary, SummaryValue, What},
    tf_record::append_record,
};
use crate::disk;

/// Size at which the buffer is written.
const BUFFER_BYTES: usize = 1 << 16;

/// An entry of the queue.
pub(super) enum Entry {
    /// One event.
    Values { wall_time: WallTime, step: Step, values: Vec<(Tag, Value)> },
    /// Requests the file size, once all earlier entries are on disk or lost, and whether any are lost. The channel must
    /// have room for the reply.
    Sync(SyncSender<(u64, bool)>),
}

/// The error that ended writing, and the number of lost entries.
#[derive(Debug, Default)]
pub(super) struct Failure {
    cause: OnceLock<io::Error>,
    is_told: AtomicBool,
    lost: AtomicU64,
}

impl Failure {
    /// Returns the error that ended writing.
    pub(super) fn cause(&self) -> Option<io::Error> {
        let cause = self.cause.get()?;
        self.is_told.store(true, Ordering::Relaxed);
        Some(copy_of(cause))
    }

    /// Returns the error that ended writing, unless it was already reported.
    pub(super) fn cause_once(&self) -> Option<io::Error> {
        let cause = self.cause.get()?;
        if self.is_told.swap(true, Ordering::Relaxed) { None } else { Some(copy_of(cause)) }
    }

    /// Number of entries that are missing or incomplete in the file.
    pub(super) fn lost_entries(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Copies an [`io::Error`], which is not `Clone`, for several readers.
fn copy_of(cause: &io::Error) -> io::Error {
    cause.raw_os_error().map_or_else(|| cause.kind().into(), io::Error::from_raw_os_error)
}

/// Writes entries until all senders are gone. After a failure, it only counts them, so that no caller blocks.
pub(super) fn run(file: File, entries: &Receiver<Entry>, failure: &Failure) {
    let written = file.metadata().map_or(0, |metadata| metadata.len());
    let mut output = Output { file, records: Vec::with_capacity(2 * BUFFER_BYTES), held: 0, written, syncing: None };
    let Err(cause) = output.write_entries(entries) else { return };
    failure.lost.fetch_add(output.held, Ordering::Relaxed);
    // The cause must be set before a waiting caller receives the position.
    let _ = failure.cause.set(cause);
    let Output { written, syncing, .. } = output;
    // If the caller no longer waits, sending fails without harm, here and below.
    syncing.map(|done| done.send((written, true)));
    for entry in entries {
        match entry {
            Entry::Values { values, .. } => _ = failure.lost.fetch_add(values.len() as u64, Ordering::Relaxed),
            Entry::Sync(done) => _ = done.send((written, true)),
        }
    }
}

struct Output {
    file: File,
    /// Records not yet passed to the operating system.
    records: Vec<u8>,
    /// Number of entries in `records`.
    held: u64,
    /// Size of the file, which contains only complete records.
    written: u64,
    syncing: Option<SyncSender<(u64, bool)>>,
}

impl Output {
    /// Never waits while it has unwritten records. It writes them when the queue is empty, and when the buffer is full,
    /// which takes only milliseconds while the queue is not empty.
    fn write_entries(&mut self, entries: &Receiver<Entry>) -> io::Result<()> {
        let mut encoder = Encoder::default();
        loop {
            let entry = match entries.try_recv() {
                Ok(entry) => entry,
                Err(_) => {
                    self.write()?;
                    match entries.recv() {
                        Ok(entry) => entry,
                        Err(_) => return self.file.sync_all(),
                    }
                }
            };
            match entry {
                Entry::Values { wall_time, step, values } => {
                    self.held += values.len() as u64;
                    append_record(&mut self.records, encoder.encode(wall_time, step, values));
                }
                Entry::Sync(done) => {
                    self.syncing = Some(done);
                    self.write()?;
                    self.file.sync_all()?;
                    self.syncing.take().map(|done| done.send((self.written, false)));
                }
            }
            if self.records.len() >= BUFFER_BYTES {
                self.write()?;
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        if self.records.is_empty() {
            return Ok(());
        }
        disk::write_all(&mut self.file, &self.records, "events")?;
        self.written += self.records.len() as u64;
        self.records.clear();
        self.held = 0;
        Ok(())
    }
}

/// Encodes events. It reuses its buffers, so that scalars do not allocate.
#[derive(Default)]
pub(super) struct Encoder {
    values: Vec<SummaryValue>,
    names: Vec<String>,
    bytes: Vec<u8>,
}

impl Encoder {
    pub(super) fn encode(&mut self, wall_time: WallTime, step: Step, values: Vec<(Tag, Value)>) -> &[u8] {
        for (tag, value) in values {
            let mut name = self.names.pop().unwrap_or_default();
            name.clear();
            name.push_str(tag.as_str());
            self.values.push(value.into_summary_value(name));
        }
        let what = What::Summary(Summary { value: mem::take(&mut self.values) });
        let event = Event { wall_time: wall_time.as_secs(), step: step.to_stored(), what: Some(what) };
        self.bytes.clear();
        event.encode(&mut self.bytes).expect("a Vec grows to hold any message");
        if let Some(What::Summary(summary)) = event.what {
            self.values = summary.value;
            self.names.extend(self.values.drain(..).map(|value| value.tag));
        }
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Histogram;

    #[test]
    fn a_scalar_event_has_the_bytes_derived_by_hand() {
        let bytes = b"\x09\0\0\0\0\0\0\x04\x40\
            \x10\x07\
            \x2a\x0a\
            \x0a\x08\
            \x0a\x01a\
            \x15\0\0\x80\xbf";
        let (time, step) = (WallTime::from_secs(2.5).unwrap(), Step::from(7));
        assert_eq!(Encoder::default().encode(time, step, vec![("a".into(), Value::Scalar(-1.0))]), bytes);
    }

    #[test]
    fn an_event_does_not_depend_on_those_before_it() {
        let (time, step) = (WallTime::from_secs(2.5).unwrap(), Step::from(7));
        let mut encoder = Encoder::default();
        let mut encode = |tag: &str, value| encoder.encode(time, step, vec![(tag.into(), value)]).to_vec();
        let first = encode("a", Value::Scalar(0.0));
        encode("a longer tag", Value::Text("text".into()));
        encode("", Value::Histogram(Histogram::of(&[1.0, 2.0], 30)));
        assert_eq!(encode("a", Value::Scalar(0.0)), first);
    }
}
