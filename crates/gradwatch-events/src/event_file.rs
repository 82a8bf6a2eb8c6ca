//! Reads event files.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use prost::Message;

use super::{
    EventsError,
    proto::Event,
    tf_record::{RecordError, RecordReader},
};
use crate::disk::open_regular;

/// Reads the events of a file.
///
/// The iterator reads a finished file. It reports a record with damaged data as an error and continues with the next
/// record. After a damaged length or a truncated end, it reports the error and stops. [`read_event`](Self::read_event)
/// can also follow a file that is still being written.
pub struct EventFile<R> {
    path: PathBuf,
    records: RecordReader<R>,
    is_over: bool,
}

impl EventFile<BufReader<File>> {
    /// Opens the file at `path` for reading.
    ///
    /// # Errors
    /// If the file cannot be opened, or the path is a pipe, a device, or a folder.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, EventsError> {
        let path = path.as_ref();
        let file = open_regular(path).map_err(|cause| EventsError::Open { path: path.to_owned(), cause })?;
        Ok(Self::new(path, BufReader::new(file)))
    }
}

impl<R: Read> EventFile<R> {
    /// Reads from the start of `source`; error messages contain `path`.
    pub fn new(path: impl Into<PathBuf>, source: R) -> Self {
        Self { path: path.into(), records: RecordReader::new(source), is_over: false }
    }

    /// Number of bytes read so far, including those of a record whose end is missing.
    pub fn bytes_read(&self) -> u64 {
        self.records.bytes_read()
    }

    /// Returns the next event, or `None` at the end of the file. After `None` or [`RecordError::Truncated`], the next
    /// call continues at the same position and reads any data written in the meantime.
    ///
    /// # Errors
    /// If the record is damaged or truncated, or does not contain an event.
    pub fn read_event(&mut self) -> Result<Option<Event>, EventsError> {
        let offset = self.records.offset();
        let data = self.records.read().map_err(|cause| EventsError::Record { path: self.path.clone(), cause })?;
        let event = data.map(|data| Event::decode(data.as_slice())).transpose();
        event.map_err(|cause| EventsError::NotAnEvent { path: self.path.clone(), offset, cause })
    }
}

impl<R: Read> Iterator for EventFile<R> {
    type Item = Result<Event, EventsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let event = self.read_event().transpose();
        self.is_over = !matches!(
            event,
            Some(
                Ok(_)
                    | Err(EventsError::NotAnEvent { .. } | EventsError::Record { cause: RecordError::Data { .. }, .. })
            )
        );
        event
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write};

    use super::*;
    use crate::tf_record::append_record;

    fn record_of(step: i64) -> Vec<u8> {
        let mut record = Vec::new();
        append_record(&mut record, &Event { wall_time: 1.0, step, what: None }.encode_to_vec());
        record
    }

    fn steps(bytes: &[u8]) -> Vec<Result<i64, String>> {
        EventFile::new("file", bytes).map(|event| event.map(|e| e.step).map_err(|e| e.to_string())).collect()
    }

    #[test]
    fn damaged_data_and_foreign_records_cost_only_themselves() {
        let mut bytes = record_of(1);
        let damaged = bytes.len() + 12;
        bytes.extend(record_of(2));
        bytes[damaged] ^= 0x80;
        append_record(&mut bytes, b"\xff\xff");
        bytes.extend(record_of(3));
        let steps = steps(&bytes);
        assert_eq!((steps.len(), &steps[0], &steps[3]), (4, &Ok(1), &Ok(3)));
        assert!(
            steps[1].as_ref().unwrap_err().starts_with("file has damaged data in the record at byte "),
            "{steps:?}"
        );
        assert!(steps[2].as_ref().unwrap_err().contains("has no valid event"), "{steps:?}");
    }

    #[test]
    fn a_torn_end_and_a_damaged_length_end_the_iteration() {
        let mut bytes = [record_of(1), record_of(2)].concat();
        let torn = steps(&bytes[..bytes.len() - 1]);
        assert_eq!((torn.len(), &torn[0]), (2, &Ok(1)));
        assert!(torn[1].as_ref().unwrap_err().contains(" ends inside the record at byte "), "{torn:?}");
        bytes[0] ^= 1;
        let damaged = steps(&bytes);
        assert_eq!(damaged.len(), 1);
        assert!(damaged[0].as_ref().unwrap_err().contains("damaged length in the record at byte 0"), "{damaged:?}");
    }

    #[test]
    fn a_file_that_is_still_written_is_followed_through_torn_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let mut file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        let mut events = EventFile::open(&path).unwrap();
        assert!(events.read_event().unwrap().is_none());
        for step in 1..4 {
            let record = record_of(step);
            let (head, tail) = record.split_at(5 * step as usize);
            file.write_all(head).unwrap();
            let torn = events.read_event().unwrap_err();
            assert!(matches!(torn, EventsError::Record { cause: RecordError::Truncated { .. }, .. }), "{torn}");
            assert_eq!(events.bytes_read(), file.metadata().unwrap().len());
            file.write_all(tail).unwrap();
            assert_eq!(events.read_event().unwrap().unwrap().step, step);
            assert!(events.read_event().unwrap().is_none());
        }
    }
}
