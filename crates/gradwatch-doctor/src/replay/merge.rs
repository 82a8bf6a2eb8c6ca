//! Merges the events of several files into one sequence, in the order in which they were written.

use std::{
    collections::{BTreeSet, VecDeque},
    fs::File,
    io::BufReader,
    path::PathBuf,
};

use gradwatch_events::{EventFile, EventsError, proto::Event};

/// Reads files in parallel. The earliest of their next events comes first, by wall time, then by step, then by the
/// order of the files. This joins training and validation events from separate files in bounded memory.
pub(super) struct Merge {
    /// Open files: at most [`Merge::OPEN`], or one if the files follow each other.
    open: Vec<Head>,
    waiting: VecDeque<(usize, PathBuf)>,
    most: usize,
}

/// An open file and its next event.
struct Head {
    source: usize,
    file: EventFile<BufReader<File>>,
    /// Latest wall time so far, so that a clock that was set back does not delay the file.
    time: f64,
    next: Option<Event>,
}

impl Merge {
    /// Maximum number of open files.
    const OPEN: usize = 64;

    /// Merges the files at `paths`. Files of one writer are read one after another, regardless of wall time.
    pub(super) fn new(paths: impl IntoIterator<Item = PathBuf>, is_one_writer: bool) -> Self {
        let most = if is_one_writer { 1 } else { Self::OPEN };
        Self { open: Vec::new(), waiting: paths.into_iter().enumerate().collect(), most }
    }

    /// Stops reading these files.
    pub(super) fn stop_reading(&mut self, sources: &BTreeSet<usize>) {
        self.open.retain(|head| !sources.contains(&head.source));
        self.waiting.retain(|(source, _)| !sources.contains(source));
    }

    fn earliest(&self) -> Option<usize> {
        let at = |index: &usize| self.open[*index].next.as_ref().map_or(0, |event| event.step);
        let earlier = |one: &usize, other: &usize| {
            let by_time = self.open[*one].time.total_cmp(&self.open[*other].time);
            by_time.then_with(|| at(one).cmp(&at(other)))
        };
        (0..self.open.len()).min_by(earlier)
    }
}

impl Iterator for Merge {
    /// Number of the file, and its next event or an error.
    type Item = (usize, Result<Event, EventsError>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.open.len() < self.most
                && let Some((source, path)) = self.waiting.pop_front()
            {
                match EventFile::open(path) {
                    Ok(file) => self.open.push(Head { source, file, time: f64::NEG_INFINITY, next: None }),
                    Err(error) => return Some((source, Err(error))),
                }
                continue;
            }
            if let Some(index) = self.open.iter().position(|head| head.next.is_none()) {
                let head = &mut self.open[index];
                match head.file.next() {
                    None => _ = self.open.remove(index),
                    Some(Ok(event)) => {
                        head.time = head.time.max(event.wall_time);
                        head.next = Some(event);
                    }
                    Some(Err(error)) => return Some((head.source, Err(error))),
                }
                continue;
            }
            let index = self.earliest()?;
            let head = &mut self.open[index];
            return head.next.take().map(|event| (head.source, Ok(event)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use gradwatch_events::tf_record::append_record;
    use prost::Message;

    use super::*;

    fn write(folder: &Path, name: &str, events: &[(f64, i64)]) -> PathBuf {
        let mut bytes = Vec::new();
        for &(wall_time, step) in events {
            append_record(&mut bytes, &Event { wall_time, step, what: None }.encode_to_vec());
        }
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// File number and step of each event; -1 for an error.
    fn read(merge: Merge) -> Vec<(usize, i64)> {
        merge.map(|(source, event)| (source, event.map_or(-1, |event| event.step))).collect()
    }

    #[test]
    fn the_earliest_event_comes_first_and_of_equals_the_lower_step() {
        let folder = tempfile::tempdir().unwrap();
        // The clock of the first file is set back by one event. That event does not wait for the second file.
        let one = write(folder.path(), "1", &[(1.0, 0), (4.0, 1), (2.0, 2), (5.0, 4)]);
        let other = write(folder.path(), "2", &[(3.0, 7), (4.5, 8), (5.0, 3)]);
        let paths = [one, folder.path().join("none"), other];
        let merged = read(Merge::new(paths.clone(), false));
        assert_eq!(merged, [(1, -1), (0, 0), (2, 7), (0, 1), (0, 2), (2, 8), (2, 3), (0, 4)]);
        let one_after_the_other = read(Merge::new(paths, true));
        assert_eq!(one_after_the_other, [(0, 0), (0, 1), (0, 2), (0, 4), (1, -1), (2, 7), (2, 8), (2, 3)]);
    }

    #[test]
    fn more_files_than_may_be_open_are_all_read() {
        let folder = tempfile::tempdir().unwrap();
        let write = |index: usize| write(folder.path(), &index.to_string(), &[(index as f64, index as i64)]);
        let merge = Merge::new((0..200).map(write), false);
        assert_eq!(read(merge), (0..200).map(|index| (index, index as i64)).collect::<Vec<_>>());
    }

    #[test]
    fn a_file_that_is_left_is_read_no_further() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["1", "2"].map(|name| write(folder.path(), name, &[(1.0, 0), (2.0, 1)]));
        let mut merge = Merge::new(paths, false);
        assert_eq!(merge.next().unwrap().0, 0);
        merge.stop_reading(&BTreeSet::from([0]));
        assert_eq!(read(merge), [(1, 0), (1, 1)]);
    }
}
