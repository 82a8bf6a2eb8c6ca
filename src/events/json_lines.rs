//! A log with one JSON value a line.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{EventsError, PendingPosition};
use crate::disk::{self, Folder};

/// A file of whole lines: one that cannot be written to its end is taken back.
pub struct JsonLines {
    path: PathBuf,
    file: File,
    /// Of whole lines.
    bytes: u64,
    /// Whether there may be a piece of a line behind them.
    is_torn: bool,
}

impl JsonLines {
    /// Appends to the file at `path`, which is made where it is missing.
    ///
    /// # Errors
    /// Where the system refuses, or the file is no regular one: a symbolic link is not followed.
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

    /// Appends a line. It is in the system's hands when this returns. Numbers that are not finite become null.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn write(&mut self, value: &impl Serialize) -> Result<(), EventsError> {
        self.append(value).map_err(|cause| EventsError::Write { path: self.path.clone(), cause })
    }

    fn append(&mut self, value: &impl Serialize) -> io::Result<()> {
        // What a failed write has left must not be the beginning of this line.
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

    /// How far the file is, to be waited for elsewhere.
    ///
    /// # Errors
    /// Where the system has no handle left.
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
