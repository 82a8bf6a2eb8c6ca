//! Keeps the last tracked steps in memory, so that a failing run leaves a record of its last steps.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use super::Reading;
use crate::{disk::Folder, events::EventsError};

const NAME: &str = "recent_steps.jsonl";

/// Ring buffer of readings, written on request and on panic.
pub struct RecentSteps {
    capacity: usize,
    readings: VecDeque<Reading>,
    path: PathBuf,
}

impl RecentSteps {
    /// Keeps the last `capacity` readings of a run, to write them to `recent_steps.jsonl` in its folder.
    pub fn new(capacity: usize, folder: &Path) -> Self {
        Self { capacity, readings: VecDeque::with_capacity(capacity), path: folder.join(NAME) }
    }

    pub(crate) fn push(&mut self, reading: Reading) {
        if self.capacity == 0 {
            return;
        }
        if self.readings.len() == self.capacity {
            self.readings.pop_front();
        }
        self.readings.push_back(reading);
    }

    /// The readings, oldest first.
    pub fn readings(&self) -> impl ExactSizeIterator<Item = &Reading> {
        self.readings.iter()
    }

    /// Writes one line of JSON per reading, atomically, and returns the path. Non-finite values become `null`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self) -> Result<&Path, EventsError> {
        let write = || -> std::io::Result<()> {
            let mut lines = Vec::new();
            for reading in &self.readings {
                serde_json::to_writer(&mut lines, reading)?;
                lines.push(b'\n');
            }
            Folder::open(self.path.parent().unwrap_or(Path::new("")))?.replace(NAME, &lines)
        };
        write().map_err(|cause| EventsError::Write { path: self.path.clone(), cause })?;
        Ok(&self.path)
    }
}

impl Drop for RecentSteps {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.readings.is_empty() {
            // The panic is already being reported; this only saves the data.
            let _ = self.write();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn reading(step: u64) -> Reading {
        Reading { step, ..Reading::default() }
    }

    #[test]
    fn the_last_readings_are_kept_and_written_oldest_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut recent = RecentSteps::new(3, folder.path());
        (0..5).for_each(|step| recent.push(reading(step)));
        let text = fs::read_to_string(recent.write().unwrap()).unwrap();
        let steps: Vec<u64> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap())
            .collect();
        assert_eq!(steps, [2, 3, 4]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_panic_writes_them_and_an_orderly_end_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut recent = RecentSteps::new(3, folder.path());
        recent.push(reading(7));
        drop(recent);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut recent = RecentSteps::new(3, folder.path());
        recent.push(reading(8));
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _recent = recent;
            panic!("a panic on purpose");
        }));
        assert!(unwound.is_err());
        assert!(fs::read_to_string(folder.path().join("recent_steps.jsonl")).unwrap().contains("\"step\":8"));
    }

    #[test]
    fn none_are_kept_where_none_are_wanted() {
        let mut recent = RecentSteps::new(0, Path::new("nowhere"));
        recent.push(reading(1));
        assert_eq!(recent.readings().len(), 0);
    }
}
