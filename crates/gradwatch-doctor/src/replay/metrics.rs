//! The lines of metrics.jsonl that a replay needs.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use gradwatch_events::disk::Folder;
use serde::Deserialize;

use super::rank_places::RankPlaces;
use crate::diagnosis::{Facts, LostImages};

/// Longest line of metrics.jsonl to read, in bytes.
const MOST_LINE_BYTES: u64 = 1 << 28;

/// Reads the facts from the first line of metrics.jsonl, the lost images from its last line about them, and the places
/// of ranks from all of its lines. Stops at an incomplete line, and continues there. Stops for good at a line that is
/// too long.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    file: Option<BufReader<File>>,
    /// The incomplete line at the end.
    line: Vec<u8>,
    lines: u64,
    bytes: u64,
}

impl Metrics {
    /// Opens the file in a run folder. Without it, there is nothing to read.
    pub(super) fn open(folder: &Path, notes: &mut Vec<String>) -> Self {
        match Folder::open(folder).and_then(|folder| folder.open_file("metrics.jsonl")) {
            Ok(file) => Self { file: Some(BufReader::new(file)), ..Self::default() },
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    let lost = "and so are the facts before the first step";
                    notes.push(format!("metrics.jsonl is skipped, {lost}: {error}"));
                }
                Self::default()
            }
        }
    }

    /// Number of bytes read so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes
    }

    /// Adds the lines written since the last call.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn read(&mut self, facts: &mut Facts, places: &mut RankPlaces) -> io::Result<()> {
        while let Some(file) = &mut self.file {
            let room = MOST_LINE_BYTES.saturating_sub(self.line.len() as u64);
            self.bytes += file.take(room).read_until(b'\n', &mut self.line)? as u64;
            if !self.line.ends_with(b"\n") {
                if self.line.len() as u64 >= MOST_LINE_BYTES {
                    (self.file, self.line) = (None, Vec::new());
                }
                break;
            }
            self.add_line(facts, places);
            self.line.clear();
            self.lines += 1;
        }
        Ok(())
    }

    fn add_line(&self, facts: &mut Facts, places: &mut RankPlaces) {
        let line = &self.line;
        places.add_line(line);
        if line.starts_with(b"{\"kind\":\"lost_images\"") {
            facts.lost_images = classes(line);
        }
        if self.lines == 0 {
            let value: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
            if value["kind"] == "start" {
                *facts = serde_json::from_value(value).unwrap_or_default();
            }
        }
    }
}

/// The classes in a line about lost images.
fn classes(line: &[u8]) -> Vec<LostImages> {
    #[derive(Deserialize)]
    struct Line {
        classes: Vec<LostImages>,
    }
    serde_json::from_slice::<Line>(line).map(|line| line.classes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write};

    use super::*;

    #[test]
    fn a_line_that_is_written_in_two_parts_is_read_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = OpenOptions::new().create(true).append(true).open(folder.path().join("metrics.jsonl")).unwrap();
        let (mut facts, mut places) = (Facts::default(), RankPlaces::default());
        let mut metrics = Metrics::open(folder.path(), &mut Vec::new());
        let mut seen = Vec::new();
        for part in [
            "{\"kind\":\"start\",\"cla",
            "sses\":7}\n{\"kind\":\"lost_images\",\"step\":0,",
            "\"classes\":[{\"split\":\"training\",\"class\":\"cat\",\"images\":9,\"lost\":3}]}\n",
        ] {
            file.write_all(part.as_bytes()).unwrap();
            metrics.read(&mut facts, &mut places).unwrap();
            seen.push((facts.classes, facts.lost_images.len()));
        }
        assert_eq!(seen, [(0, 0), (7, 0), (7, 1)]);
        assert_eq!(metrics.bytes_read(), file.metadata().unwrap().len());
    }
}
