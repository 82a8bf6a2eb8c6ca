//! Positions up to which a run's logs are on disk. A checkpoint stores them, and a resumed run truncates its logs to
//! them.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
    sync::mpsc::Receiver,
};

use serde::{Deserialize, Serialize};

use super::tf_record::RecordReader;
use crate::disk::{self, Folder};

/// A position in a log, at the end of a complete entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    /// Name of the file in the run's folder.
    pub file: String,
    /// Number of bytes up to this position.
    pub bytes: u64,
    /// Whether earlier entries are missing because writing to the file failed.
    #[serde(default)]
    pub is_incomplete: bool,
}

/// A log position that the program has reached but that may not be on disk yet.
pub struct PendingPosition {
    file: String,
    state: State,
}

enum State {
    /// The writer thread sends the position once it is on disk.
    Queued(Receiver<(u64, bool)>),
    Written(File, u64),
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl PendingPosition {
    pub(super) fn queued(path: &Path, position: Receiver<(u64, bool)>) -> Self {
        Self { file: name_of(path), state: State::Queued(position) }
    }

    pub(super) fn written(path: &Path, file: File, bytes: u64) -> Self {
        Self { file: name_of(path), state: State::Written(file, bytes) }
    }

    /// Waits until the position is on disk. If writing to the log failed, returns the end of the written part.
    ///
    /// # Errors
    /// If the file cannot be synced, or its writer thread has ended.
    pub fn wait(self) -> io::Result<LogPosition> {
        let (bytes, is_incomplete) = match self.state {
            State::Queued(position) => position.recv().map_err(|_| io::Error::other("its writer has ended"))?,
            State::Written(file, bytes) => {
                file.sync_all()?;
                (bytes, false)
            }
        };
        Ok(LogPosition { file: self.file, bytes, is_incomplete })
    }
}

/// Truncates a log to its first `bytes`. A log that is shorter is truncated to its last complete entry. Returns the new
/// length.
///
/// # Errors
/// If the system reports an error.
pub(super) fn cut(folder: &Folder, name: &str, bytes: u64) -> io::Result<u64> {
    let file = folder.change(name)?;
    let length = file.metadata()?.len();
    let end = if length >= bytes { bytes } else { whole_entries(name, &file)? };
    disk::point("cut");
    if end < length {
        file.set_len(end)?;
        file.sync_all()?;
    }
    Ok(end)
}

/// Number of bytes up to the last complete entry.
fn whole_entries(name: &str, file: &File) -> io::Result<u64> {
    if name.ends_with(".jsonl") {
        let mut lines = BufReader::new(file);
        let (mut end, mut line) = (0, Vec::new());
        while lines.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            end += line.len() as u64;
            line.clear();
        }
        return Ok(end);
    }
    let mut records = RecordReader::new(BufReader::new(file));
    while let Ok(Some(_)) = records.read() {}
    Ok(records.offset())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tf_record::append_record;

    #[test]
    fn a_log_is_cut_to_its_position_and_a_shorter_one_to_its_whole_entries() {
        let folder = tempfile::tempdir().unwrap();
        let cut = |name: &str, bytes| cut(&Folder::open(folder.path()).unwrap(), name, bytes);
        let lines = folder.path().join("metrics.jsonl");
        fs::write(&lines, "1\n22\n333\n4").unwrap();
        assert_eq!(cut("metrics.jsonl", 5).unwrap(), 5);
        assert_eq!(fs::read_to_string(&lines).unwrap(), "1\n22\n");
        fs::write(&lines, "1\n22\n333\n4").unwrap();
        assert_eq!(cut("metrics.jsonl", 100).unwrap(), 9);
        assert_eq!(fs::read_to_string(&lines).unwrap(), "1\n22\n333\n");

        let events = folder.path().join("events.out.tfevents.1.host.1.0");
        let mut bytes = Vec::new();
        append_record(&mut bytes, b"first");
        append_record(&mut bytes, b"second");
        fs::write(&events, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(cut("events.out.tfevents.1.host.1.0", 100).unwrap(), 21);
        assert_eq!(fs::read(&events).unwrap(), bytes[..21]);
    }
}
