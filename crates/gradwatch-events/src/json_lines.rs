//! A log with one JSON value per line.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{EventsError, PendingPosition};
use crate::disk::{self, Folder};

/// A file of complete lines. An incomplete line from a failed write is removed before the next one.
pub struct JsonLines {
    path: PathBuf,
    file: File,
    /// Length of the complete lines.
    bytes: u64,
    /// Whether an incomplete line may follow them.
    is_torn: bool,
}

impl JsonLines {
    /// Opens the file at `path` for appending, and creates it if it is missing.
    ///
    /// # Errors
    /// If the file cannot be opened or is not a regular file. Symbolic links are not followed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, EventsError> {
        let path = path.as_ref().to_owned();
        let name = path.file_name().unwrap_or_default();
        let folder = Folder::open(path.parent().unwrap_or(Path::new("")));
        let opened = folder.and_then(|folder| folder.append(name)).and_then(|mut file| {
            let bytes = file.seek(SeekFrom::End(0))?;
            Ok((file, bytes))
        });
        match opened {
            Ok((file, bytes)) => Ok(Self { path, file, bytes, is_torn: false }),
            Err(cause) => Err(EventsError::Create { path, cause }),
        }
    }

    /// Appends a line and passes it to the operating system before returning. Non-finite numbers become null.
    ///
    /// # Errors
    /// If the write fails.
    pub fn write(&mut self, value: &impl Serialize) -> Result<(), EventsError> {
        self.append(value).map_err(|cause| EventsError::Write { path: self.path.clone(), cause })
    }

    fn append(&mut self, value: &impl Serialize) -> io::Result<()> {
        // Removes the remains of a failed write.
        if self.is_torn {
            self.file.set_len(self.bytes)?;
        }
        let line = format!("{}\n", serde_json::to_string(value)?);
        self.is_torn = true;
        disk::write_all(&mut self.file, line.as_bytes(), "lines")?;
        self.is_torn = false;
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Returns the current length of the file, which another thread can wait for until it is on disk.
    ///
    /// # Errors
    /// If the file handle cannot be duplicated.
    pub fn position(&self) -> Result<PendingPosition, EventsError> {
        let file = self.file.try_clone().map_err(|cause| EventsError::Write { path: self.path.clone(), cause })?;
        Ok(PendingPosition::written(&self.path, file, self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_are_whole_after_every_write_and_turn_nan_into_null() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut lines = JsonLines::open(&path).unwrap();
        lines.write(&[1.5, f64::NAN]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[1.5,null]\n");
        drop(lines);
        let mut lines = JsonLines::open(&path).unwrap();
        lines.write(&2).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[1.5,null]\n2\n");
        assert_eq!(lines.position().unwrap().wait().unwrap().bytes, 13);
    }
}
