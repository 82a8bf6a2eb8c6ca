//! The reading end of an event file.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use prost::Message;

use super::{
    EventsError,
    proto::Event,
    tf_record::{RecordError, RecordReader},
};

/// Iterates over the events of a file. Damaged data costs its own record; a damaged length or a torn end costs what
/// follows, and ends the iteration after the error.
pub struct EventFile {
    path: PathBuf,
    records: RecordReader<BufReader<File>>,
    is_over: bool,
}

impl EventFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn open(path: &Path) -> Result<Self, EventsError> {
        let file = File::open(path).map_err(|cause| EventsError::Open { path: path.to_owned(), cause })?;
        Ok(Self { path: path.to_owned(), records: RecordReader::new(BufReader::new(file)), is_over: false })
    }
}

impl Iterator for EventFile {
    type Item = Result<Event, EventsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let offset = self.records.offset();
        let decoded = match self.records.read() {
            Ok(None) => None,
            Ok(Some(data)) => Some(Event::decode(&data[..]).map_err(|_| RecordError::Data { offset })),
            Err(cause) => Some(Err(cause)),
        };
        self.is_over = !matches!(decoded, Some(Ok(_) | Err(RecordError::Data { .. })));
        decoded.map(|event| event.map_err(|cause| EventsError::Record { path: self.path.clone(), cause }))
    }
}
