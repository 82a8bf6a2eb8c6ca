//! Merges the events of several files into one sequence, in the order in which they were written.

use std::{
    collections::{BTreeSet, VecDeque},
    fs::File,
    io::BufReader,
    path::PathBuf,
};

use gradwatch_events::{EventFile, EventsError, RecordError, proto::Event};

/// Reads files in parallel. The earliest of their next events comes first, by wall time, then by step, then by the
/// order of the files. This joins training and validation events from separate files in bounded memory.
pub(super) struct Merge {
    /// Open files: at most [`Merge::OPEN`], or one if the files follow each other.
    open: Vec<Head>,
    waiting: VecDeque<(usize, PathBuf)>,
    most: usize,
    /// Whether files that end stay open, because they may grow.
    follows: bool,
    /// Bytes read of each file that is no longer open.
    closed: Vec<(usize, u64)>,
}

/// An open file and its next event.
struct Head {
    source: usize,
    file: EventFile<BufReader<File>>,
    /// Latest wall time so far, so that a clock that was set back does not delay the file.
    time: f64,
    next: Option<Event>,
    /// Whether no more events can be read now.
    is_over: bool,
    /// Whether the file ends inside a record.
    is_torn: bool,
    /// Whether a damaged length hides all later events.
    is_lost: bool,
}

impl Head {
    fn new(source: usize, file: EventFile<BufReader<File>>) -> Self {
        let time = f64::NEG_INFINITY;
        Self { source, file, time, next: None, is_over: false, is_torn: false, is_lost: false }
    }

    /// Reads the next event. The torn end of a file that may grow is no error.
    fn advance(&mut self, follows: bool) -> Result<(), EventsError> {
        match self.file.read_event() {
            Ok(None) => self.is_over = true,
            Ok(Some(event)) => {
                self.time = self.time.max(event.wall_time);
                self.next = Some(event);
            }
            Err(EventsError::Record { cause: RecordError::Truncated { .. }, .. }) if follows => {
                (self.is_over, self.is_torn) = (true, true);
            }
            Err(error) => {
                use EventsError::{NotAnEvent, Record};
                self.is_over = !matches!(error, NotAnEvent { .. } | Record { cause: RecordError::Data { .. }, .. });
                self.is_lost = self.is_over;
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Merge {
    /// Maximum number of open files.
    const OPEN: usize = 64;

    /// Merges the files at `paths`. Files of one writer are read one after another, regardless of wall time.
    pub(super) fn new(paths: impl IntoIterator<Item = PathBuf>, is_one_writer: bool) -> Self {
        let most = if is_one_writer { 1 } else { Self::OPEN };
        let waiting = paths.into_iter().enumerate().collect();
        Self { open: Vec::new(), waiting, most, follows: false, closed: Vec::new() }
    }

    /// Keeps files open at their ends. After `None`, [`read_on`](Self::read_on) continues with what was written since.
    pub(super) fn following(self) -> Self {
        Self { follows: true, ..self }
    }

    /// Continues with files that have ended.
    pub(super) fn read_on(&mut self) {
        self.open.iter_mut().for_each(|head| (head.is_over, head.is_torn) = (head.is_lost, false));
    }

    /// Adds a file.
    pub(super) fn add(&mut self, source: usize, path: PathBuf) {
        self.waiting.push_back((source, path));
    }

    /// Stops reading these files.
    pub(super) fn stop_reading(&mut self, sources: &BTreeSet<usize>) {
        for head in self.open.extract_if(.., |head| sources.contains(&head.source)) {
            self.closed.push((head.source, head.file.bytes_read()));
        }
        self.waiting.retain(|(source, _)| !sources.contains(source));
    }

    /// Number of bytes read of each file, with the number of the file. Files that wait have none.
    pub(super) fn bytes_read(&self) -> impl Iterator<Item = (usize, u64)> {
        let open = self.open.iter().map(|head| (head.source, head.file.bytes_read()));
        self.closed.iter().copied().chain(open)
    }

    /// Files that end inside a record.
    pub(super) fn torn(&self) -> impl Iterator<Item = usize> {
        self.open.iter().filter(|head| head.is_torn).map(|head| head.source)
    }

    fn earliest(&self) -> Option<usize> {
        let at = |index: &usize| self.open[*index].next.as_ref().map_or(0, |event| event.step);
        let earlier = |one: &usize, other: &usize| {
            let by_time = self.open[*one].time.total_cmp(&self.open[*other].time);
            by_time.then_with(|| at(one).cmp(&at(other)))
        };
        (0..self.open.len()).filter(|index| self.open[*index].next.is_some()).min_by(earlier)
    }

    /// Closes a file that has ended, unless it may grow and no other file needs its place.
    fn close_one(&mut self) -> bool {
        let is_needed = self.open.len() >= self.most && !self.waiting.is_empty();
        let is_done = |head: &Head| head.is_over && head.next.is_none();
        let index = self.open.iter().position(is_done).filter(|_| !self.follows || is_needed);
        let closed = index.map(|index| self.open.remove(index));
        self.closed.extend(closed.as_ref().map(|head| (head.source, head.file.bytes_read())));
        closed.is_some()
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
                    Ok(file) => self.open.push(Head::new(source, file)),
                    Err(error) => return Some((source, Err(error))),
                }
                continue;
            }
            if let Some(head) = self.open.iter_mut().find(|head| head.next.is_none() && !head.is_over) {
                if let Err(error) = head.advance(self.follows) {
                    return Some((head.source, Err(error)));
                }
                continue;
            }
            if self.close_one() {
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

    #[test]
    fn a_followed_file_is_read_on_where_it_ended_and_left_once_another_follows() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), "1", &[(1.0, 0), (2.0, 1)]);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let mut merge = Merge::new([path.clone()], true).following();
        let steps = |merge: &mut Merge| merge.map(|(source, event)| (source, event.unwrap().step)).collect::<Vec<_>>();
        assert_eq!((steps(&mut merge), merge.torn().collect::<Vec<_>>()), (vec![(0, 0)], vec![0]));
        assert_eq!(merge.bytes_read().collect::<Vec<_>>(), [(0, whole.len() as u64 - 1)]);

        fs::write(&path, &whole).unwrap();
        assert!(steps(&mut merge).is_empty());
        merge.read_on();
        assert_eq!((steps(&mut merge), merge.torn().count()), (vec![(0, 1)], 0));

        let other = write(folder.path(), "2", &[(3.0, 2)]);
        merge.add(1, other.clone());
        assert_eq!((steps(&mut merge), merge.open.len()), (vec![(1, 2)], 1));
        let bytes: Vec<u64> = merge.bytes_read().map(|(_, bytes)| bytes).collect();
        assert_eq!(bytes, [&path, &other].map(|path| fs::metadata(path).unwrap().len()));
    }

    #[test]
    fn a_followed_file_with_a_damaged_length_is_told_once_and_read_no_further() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), "1", &[(1.0, 0), (2.0, 1)]);
        let mut bytes = fs::read(&path).unwrap();
        let second = bytes.len() / 2;
        bytes[second] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let mut merge = Merge::new([path], false).following();
        let all = |merge: &mut Merge| merge.map(|(_, event)| event.map_or(-1, |event| event.step)).collect::<Vec<_>>();
        assert_eq!(all(&mut merge), [0, -1]);
        merge.read_on();
        assert!(all(&mut merge).is_empty());
    }
}
