//! All runs of a log folder, read one after another, the latest first.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::run::RunSource;
use crate::{
    printable,
    replay::{self, extent},
    watch::{
        RunState,
        model::{RunSummary, TableModel},
    },
};

/// Reads the runs of a folder, and reads again those that change. Keeps only their rows, and the open files of a few
/// runs that train.
pub(crate) struct FolderSource {
    root: PathBuf,
    tags: Vec<String>,
    rows: BTreeMap<PathBuf, Row>,
    problem: Option<String>,
    scanned: Option<Instant>,
}

struct Row {
    summary: RunSummary,
    /// Bytes of the event files and time of the last write: now, and when the row was read.
    extent: Option<(u64, SystemTime)>,
    read: Option<(u64, SystemTime)>,
    read_at: Option<Instant>,
    source: Option<RunSource>,
}

impl Row {
    fn new(root: &Path, path: &Path) -> Self {
        let name = path.strip_prefix(root).unwrap_or(path);
        let name = if name.as_os_str().is_empty() { path } else { name };
        let nan = f64::NAN;
        let summary = RunSummary {
            path: path.to_owned(),
            name: printable::path(name),
            loss: nan,
            accuracy: nan,
            ..RunSummary::default()
        };
        Self { summary, extent: None, read: None, read_at: None, source: None }
    }

    /// Whether the files have changed since they were read, or the state of the run may have.
    fn is_due(&self) -> bool {
        let may_have_ended = matches!(self.summary.state, RunState::Training | RunState::Stalled);
        let every = if self.source.is_some() { FolderSource::SCAN } else { FolderSource::REREAD };
        let is_old = self.read_at.is_none_or(|at| at.elapsed() >= every);
        self.read != self.extent && is_old || !self.summary.is_read || may_have_ended && is_old
    }
}

impl FolderSource {
    /// Time between two looks at the folder.
    const SCAN: Duration = Duration::from_secs(5);
    /// Time between two readings of a run that trains and is not kept open.
    const REREAD: Duration = Duration::from_secs(60);
    /// Most runs to keep open.
    const OPEN: usize = 16;

    pub(crate) fn new(root: &Path, tags: &[String]) -> Self {
        Self { root: root.to_owned(), tags: tags.to_vec(), rows: BTreeMap::new(), problem: None, scanned: None }
    }

    /// Looks for runs and reads them until the deadline. Returns whether all of them are read.
    pub(crate) fn poll(&mut self, deadline: Instant) -> bool {
        if self.scanned.is_none_or(|at| at.elapsed() >= Self::SCAN) {
            self.scan();
            self.scanned = Some(Instant::now());
            // The names come first.
            if self.rows.values().all(|row| row.read_at.is_none()) && !self.rows.is_empty() {
                return false;
            }
        }
        let mut open = self.rows.values().filter(|row| row.source.is_some()).count();
        let mut due: Vec<_> = self.rows.iter_mut().filter(|(_, row)| row.is_due()).collect();
        due.sort_by_key(|(_, row)| Reverse(row.extent.map(|(_, last)| last)));
        for (path, row) in due {
            if Instant::now() >= deadline {
                return false;
            }
            open += usize::from(row.source.is_none());
            let source = row.source.get_or_insert_with(|| RunSource::new(path, &row.summary.name, &self.tags));
            let is_read = source.poll(deadline);
            row.summary = source.model().summary();
            if !is_read {
                return false;
            }
            (row.read, row.read_at) = (row.extent, Some(Instant::now()));
            // The latest runs come first, and stay open.
            if open > Self::OPEN || row.summary.state != RunState::Training {
                row.source = None;
                open -= 1;
            }
        }
        self.close();
        true
    }

    /// Whether the folder is not one of runs, but a run.
    pub(crate) fn is_run(&self) -> bool {
        self.rows.len() == 1 && self.rows.contains_key(&self.root)
    }

    fn scan(&mut self) {
        let paths = match replay::runs(&self.root) {
            Ok(paths) => paths,
            Err(error) => {
                self.problem = Some(printable::line(&error.to_string()).into_owned());
                Vec::new()
            }
        };
        self.rows.retain(|path, _| paths.contains(path));
        for path in paths {
            self.problem = None;
            let row = self.rows.entry(path.clone()).or_insert_with(|| Row::new(&self.root, &path));
            row.extent = extent(&path);
            let secs = |time: SystemTime| time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64());
            row.summary.written = row.extent.and_then(|(_, last)| secs(last)).or(row.summary.written);
        }
    }

    /// Closes the files of runs that have ended, and of all but the latest ones.
    fn close(&mut self) {
        let mut open: Vec<&mut Row> = self.rows.values_mut().filter(|row| row.source.is_some()).collect();
        open.sort_by_key(|row| Reverse(row.extent.map(|(_, last)| last)));
        for (index, row) in open.into_iter().enumerate() {
            if index >= Self::OPEN || row.summary.state != RunState::Training {
                row.source = None;
            }
        }
    }

    /// The rows so far.
    pub(crate) fn model(&self) -> TableModel {
        let mut runs: Vec<RunSummary> = self.rows.values().map(|row| row.summary.clone()).collect();
        runs.sort_by(|one, other| {
            let written = |run: &RunSummary| run.written.unwrap_or_default();
            written(other).total_cmp(&written(one)).then_with(|| one.name.cmp(&other.name))
        });
        TableModel { path: self.root.clone(), runs, problem: self.problem.clone() }
    }
}

#[cfg(test)]
mod tests {
    use gradwatch_events::SummaryWriter;

    use super::*;

    fn write(root: &Path, name: &str, steps: u64) {
        let writer = SummaryWriter::create(root.join(name)).unwrap();
        (0..steps).for_each(|step| writer.scalar("loss", step, 1.0 / (1 + step) as f64).unwrap());
        writer.close().unwrap();
    }

    fn read(folder: &mut FolderSource) -> TableModel {
        let until = Instant::now() + Duration::from_secs(30);
        while !folder.poll(until) {
            assert!(Instant::now() < until, "the runs are not read within 30 s");
        }
        folder.model()
    }

    #[test]
    fn runs_have_rows_before_they_are_read_and_are_closed_afterwards() {
        let root = tempfile::tempdir().unwrap();
        let mut folder = FolderSource::new(root.path(), &[]);
        assert!(folder.poll(Instant::now() + Duration::from_secs(30)));
        assert!(folder.model().problem.unwrap().contains("contain no event files"));

        (0..20).for_each(|run| write(root.path(), &format!("run{run}"), 10 + run));
        folder.scanned = None;
        assert!(!folder.poll(Instant::now() + Duration::from_secs(30)));
        let named = folder.model();
        assert_eq!((named.runs.len(), named.problem, named.runs[0].is_read), (20, None, false));

        let rows = read(&mut folder).runs;
        let seventh = rows.iter().find(|run| run.name == "run7").unwrap();
        assert_eq!((seventh.steps, seventh.loss, seventh.is_read), (17, f64::from((1.0f64 / 17.0) as f32), true));
        assert!(rows.iter().all(|run| run.is_read && run.losses.len() >= 10));
        assert_eq!(folder.rows.values().filter(|row| row.source.is_some()).count(), FolderSource::OPEN);
    }

    #[test]
    fn a_run_that_goes_is_removed_and_an_unreadable_one_says_why() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "good", 10);
        write(root.path(), "odd\u{1b}[2J", 10);
        std::fs::create_dir(root.path().join("bad")).unwrap();
        std::fs::write(root.path().join("bad/events.out.tfevents.1.host"), b"no records").unwrap();
        let mut folder = FolderSource::new(root.path(), &[]);
        let rows = read(&mut folder).runs;
        let bad = rows.iter().find(|run| run.name == "bad").unwrap();
        assert!(bad.verdict.contains("no value could be read"), "{}", bad.verdict);
        assert!(rows.iter().any(|run| run.name == "odd\\u001b[2J"));
        std::fs::remove_dir_all(root.path().join("good")).unwrap();
        folder.scanned = None;
        assert_eq!(read(&mut folder).runs.len(), 2);
    }
}
