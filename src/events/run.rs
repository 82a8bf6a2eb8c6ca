//! The folder of one run.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;
use time::OffsetDateTime;

use super::EventsError;

/// A run's folder, made for it and used by no other run.
#[derive(Debug, Clone)]
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// Makes `logdir/name`. A folder that is there already is taken only when it is empty.
    ///
    /// # Errors
    /// Where the folder holds anything, or cannot be made or written.
    pub fn create(logdir: &Path, name: &str) -> Result<Self, EventsError> {
        let path = logdir.join(name);
        let refuse = |cause| EventsError::Create { path: path.clone(), cause };
        match fs::read_dir(&path) {
            Ok(entries) => {
                if entries.count() > 0 {
                    return Err(EventsError::AlreadyUsed { path });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(&path).map_err(refuse)?,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(EventsError::AlreadyUsed { path });
            }
            Err(error) => return Err(refuse(error)),
        }
        Ok(Self(path))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a small file of the run as a whole.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn write(&self, name: &str, content: &str) -> Result<(), EventsError> {
        let path = self.0.join(name);
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(content.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|cause| EventsError::Create { path, cause })
    }

    /// A new file of JSON lines in the run.
    ///
    /// # Errors
    /// Where the file is there already or cannot be made.
    pub fn json_lines(&self, name: &str) -> Result<JsonLines, EventsError> {
        let path = self.0.join(name);
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => Ok(JsonLines { path, file }),
            Err(cause) => Err(EventsError::Create { path, cause }),
        }
    }
}

/// A file with one JSON value a line.
pub struct JsonLines {
    path: PathBuf,
    file: File,
}

impl JsonLines {
    /// Appends a line. It is in the system's hands when this returns. Numbers that are not finite become null.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn write(&mut self, value: &impl Serialize) -> Result<(), EventsError> {
        let line = serde_json::to_string(value).map_err(io::Error::from);
        let written = line.and_then(|line| self.file.write_all(format!("{line}\n").as_bytes()));
        written.map_err(|cause| EventsError::Write { path: self.path.clone(), cause })
    }
}

/// A run's name where the user gives none: the config's file name and the time, `fashion-mnist-20260102-150405`.
pub fn run_name(config: &Path, now: OffsetDateTime) -> String {
    let stem = config.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let (date, time) = (now.date(), now.time());
    format!(
        "{}-{:04}{:02}{:02}-{:02}{:02}{:02}",
        stem.unwrap_or_else(|| "run".into()),
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_holds_anything_is_refused_and_left_as_it_was() {
        let logdir = tempfile::tempdir().unwrap();
        let run = RunFolder::create(logdir.path(), "run").unwrap();
        RunFolder::create(logdir.path(), "run").unwrap();
        run.write("config.toml", "seed = 1").unwrap();
        let error = RunFolder::create(logdir.path(), "run").unwrap_err();
        assert!(matches!(&error, EventsError::AlreadyUsed { .. }), "{error}");
        assert_eq!(fs::read_to_string(run.path().join("config.toml")).unwrap(), "seed = 1");
        fs::write(logdir.path().join("file"), "").unwrap();
        assert!(matches!(RunFolder::create(logdir.path(), "file"), Err(EventsError::AlreadyUsed { .. })));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let error = RunFolder::create(Path::new("/proc/gradwatch"), "run").unwrap_err().to_string();
        assert!(error.starts_with("/proc/gradwatch/run cannot be created: "), "{error}");
    }

    #[test]
    fn json_lines_are_whole_after_every_write_and_turn_nan_into_null() {
        let logdir = tempfile::tempdir().unwrap();
        let run = RunFolder::create(logdir.path(), "run").unwrap();
        let mut lines = run.json_lines("metrics.jsonl").unwrap();
        lines.write(&[1.5, f64::NAN]).unwrap();
        assert_eq!(fs::read_to_string(run.path().join("metrics.jsonl")).unwrap(), "[1.5,null]\n");
        assert!(run.json_lines("metrics.jsonl").is_err());
    }

    #[test]
    fn a_name_is_made_of_the_config_and_the_time() {
        let now = OffsetDateTime::from_unix_timestamp(1_767_366_245).unwrap();
        assert_eq!(run_name(Path::new("configs/fashion-mnist.toml"), now), "fashion-mnist-20260102-150405");
    }
}
