//! The folder of a study: its lock, and the record of its runs.
//!
//! `runs.jsonl` has a first line that identifies the study, and a line per run that has ended. A run without a line has
//! not started or was interrupted; it resumes from its own checkpoints.

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    io::{self, BufReader},
    path::{Path, PathBuf},
};

use gradwatch_events::{
    EventsError, JsonLines,
    disk::{Folder, read_line},
};
use serde::{Deserialize, Serialize};

use crate::{
    definition::Study,
    gather::{RunState, State},
};

const LOCK: &str = "study.lock";
const RECORDS: &str = "runs.jsonl";
/// Longest line of the record to read, in bytes.
const MOST_LINE_BYTES: u64 = 1 << 24;

/// Identity of a study. More axis values, seeds, charts, and tables may be added to a study that has begun; another
/// base or other axes make it another study.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// File name of the base config.
    pub base: String,
    /// Names of the axes, in order.
    pub axes: Vec<String>,
}

impl Identity {
    /// The identity of a study.
    pub fn of(study: &Study) -> Self {
        let base = study.base.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { base, axes: study.axes.iter().map(|axis| axis.name.clone()).collect() }
    }

    fn must_be(self, wanted: &Self, path: &Path) -> Result<(), StudyFolderError> {
        if self == *wanted {
            return Ok(());
        }
        let found = format!("another study, of {} with the axes {}", self.base, self.axes.join(", "));
        Err(StudyFolderError::Other { path: path.to_owned(), found })
    }
}

/// A run that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Name of the run.
    pub run: String,
    /// Number of the rung that it completed; 0 without successive halving.
    #[serde(default)]
    pub rung: usize,
    /// Hash of its config.
    pub config: String,
    /// How it ended.
    #[serde(flatten)]
    pub state: RunState,
    /// Value that decides whether it continues; `None` without successive halving, or if it is not finite.
    #[serde(default)]
    pub score: Option<f64>,
}

impl RunRecord {
    /// Whether a signal stopped the run, so that it resumes.
    pub fn is_interrupted(&self) -> bool {
        self.state.state == State::Stopped
    }

    /// Whether the run has ended and is not trained again.
    pub fn is_over(&self) -> bool {
        self.state.state == State::Finished
    }
}

/// Errors of a study's folder.
#[derive(Debug, thiserror::Error)]
pub enum StudyFolderError {
    /// Another process runs this study.
    #[error("{} is in use by another `gradwatch study`; wait for it to end or stop it", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The folder belongs to another study, or to no study.
    #[error("{} contains {found}; choose another name with --name", path.display())]
    Other {
        /// The folder.
        path: PathBuf,
        /// Its contents.
        found: String,
    },
    /// The system reported an error.
    #[error("{} cannot be used: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error.
        cause: io::Error,
    },
    /// A file of the study cannot be written.
    #[error(transparent)]
    Events(#[from] EventsError),
}

/// The folder of a study, and how its runs have ended.
pub struct StudyFolder {
    folder: Folder,
    records: Vec<RunRecord>,
    /// `None` if another process may be training the study.
    writer: Option<Writer>,
}

struct Writer {
    lines: JsonLines,
    /// The kernel releases the lock when the process ends, for any reason.
    _lock: File,
}

impl StudyFolder {
    /// Opens or creates `logdir/name` for a study, and locks it for the lifetime of this value.
    ///
    /// # Errors
    /// If another process uses it, it belongs to another study or contains other files, or it cannot be written.
    pub fn open(logdir: &Path, name: &str, identity: &Identity) -> Result<Self, StudyFolderError> {
        let path = logdir.join(name);
        let refuse = |cause| StudyFolderError::Io { path: path.clone(), cause };
        let folder = Folder::make(&path).map_err(refuse)?;
        let is_new = !folder.contains(LOCK);
        if is_new && !folder.names().map_err(refuse)?.is_empty() {
            return Err(StudyFolderError::Other { path, found: "files that belong to no study".into() });
        }
        let lock = folder.change(LOCK).map_err(refuse)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StudyFolderError::InUse { path }),
            Err(TryLockError::Error(cause)) => return Err(refuse(cause)),
        }
        folder.remove_partial().map_err(refuse)?;
        let refuse_records = |cause| StudyFolderError::Io { path: path.join(RECORDS), cause };
        let (found, records, whole_bytes) = read(&folder).map_err(refuse_records)?;
        // The process may have died while it wrote a line.
        if folder.contains(RECORDS) {
            folder.change(RECORDS).and_then(|file| file.set_len(whole_bytes)).map_err(refuse)?;
        }
        let mut lines = JsonLines::open(path.join(RECORDS))?;
        match found {
            None => lines.write(identity)?,
            Some(found) => found.must_be(identity, &path)?,
        }
        Ok(Self { folder, records, writer: Some(Writer { lines, _lock: lock }) })
    }

    /// Opens `logdir/name` to read how its runs have ended so far, also while another process trains them.
    ///
    /// # Errors
    /// If it belongs to another study or to none, or it cannot be read.
    pub fn open_to_read(logdir: &Path, name: &str, identity: &Identity) -> Result<Self, StudyFolderError> {
        let path = logdir.join(name);
        let folder = Folder::open(&path).map_err(|cause| StudyFolderError::Io { path: path.clone(), cause })?;
        let (found, records, _) =
            read(&folder).map_err(|cause| StudyFolderError::Io { path: path.join(RECORDS), cause })?;
        match found {
            None => return Err(StudyFolderError::Other { path, found: "no study".into() }),
            Some(found) => found.must_be(identity, &path)?,
        }
        Ok(Self { folder, records, writer: None })
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder itself, for writing its files.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Adds a run that has ended or was stopped. Its time includes that of earlier sessions.
    ///
    /// # Errors
    /// If the record cannot be written, or the folder was opened to read.
    pub fn add(&mut self, mut record: RunRecord) -> Result<(), StudyFolderError> {
        if let Some(before) = self.record(&record.run, record.rung).filter(|before| before.is_interrupted()) {
            record.state.seconds += before.state.seconds;
        }
        let path = self.folder.path();
        let writer = self.writer.as_mut().ok_or_else(|| StudyFolderError::InUse { path: path.to_owned() })?;
        writer.lines.write(&record)?;
        self.records.push(record);
        Ok(())
    }

    /// The last record of a run at a rung.
    pub fn record(&self, run: &str, rung: usize) -> Option<&RunRecord> {
        self.records.iter().rev().find(|record| record.run == run && record.rung == rung)
    }

    /// The last record of each run at a rung.
    pub fn records(&self, rung: usize) -> BTreeMap<&str, &RunRecord> {
        // Later records replace earlier ones.
        self.records.iter().filter(|record| record.rung == rung).map(|record| (&*record.run, record)).collect()
    }
}

/// Whether this is the folder of a study.
pub(crate) fn is_study(path: &Path) -> bool {
    [LOCK, RECORDS].iter().all(|file| path.join(file).is_file())
}

/// Reads the identity, the records, and the length of the complete lines.
fn read(folder: &Folder) -> io::Result<(Option<Identity>, Vec<RunRecord>, u64)> {
    let mut records = Vec::new();
    let file = match folder.open_file(RECORDS) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, records, 0)),
        file => file?,
    };
    let (mut file, mut line, mut bytes, mut number) = (BufReader::new(file), Vec::new(), 0, 0);
    let mut identity = None;
    while read_line(&mut file, &mut line, MOST_LINE_BYTES)? && line.ends_with(b"\n") {
        number += 1;
        let refuse = |error| io::Error::other(format!("line {number} is damaged ({error}); remove it"));
        match number {
            1 => identity = Some(serde_json::from_slice(&line).map_err(refuse)?),
            _ => records.push(serde_json::from_slice(&line).map_err(refuse)?),
        }
        bytes += line.len() as u64;
    }
    Ok((identity, records, bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn identity() -> Identity {
        Identity { base: "base.toml".into(), axes: vec!["model.depth".into()] }
    }

    fn record(run: &str, rung: usize, seconds: f64) -> RunRecord {
        let state = RunState { state: State::Finished, ending: "run.max_steps reached".into(), seconds };
        RunRecord { run: run.into(), rung, config: "abc".into(), state, score: Some(0.5) }
    }

    #[test]
    fn the_last_complete_record_of_a_run_counts_after_a_crash() {
        let logdir = tempfile::tempdir().unwrap();
        let mut study = StudyFolder::open(logdir.path(), "study", &identity()).unwrap();
        for record in [record("a", 0, 1.0), record("a", 1, 2.0), record("a", 0, 3.0)] {
            study.add(record).unwrap();
        }
        drop(study);
        let path = logdir.path().join("study").join(RECORDS);
        let whole = fs::read_to_string(&path).unwrap();
        assert_eq!(whole.lines().count(), 4);
        fs::write(&path, format!("{whole}{{\"run\":\"b\",")).unwrap();
        let study = StudyFolder::open(logdir.path(), "study", &identity()).unwrap();
        assert_eq!(study.records(0).len(), 1);
        assert_eq!((study.records(0)["a"], study.records(1)["a"]), (&record("a", 0, 3.0), &record("a", 1, 2.0)));
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    }

    #[test]
    fn the_time_of_a_run_includes_that_before_it_was_stopped() {
        let logdir = tempfile::tempdir().unwrap();
        let mut study = StudyFolder::open(logdir.path(), "study", &identity()).unwrap();
        for (state, seconds) in [(State::Stopped, 1.0), (State::Stopped, 2.0), (State::Finished, 4.0)] {
            let mut record = record("a", 0, seconds);
            record.state.state = state;
            study.add(record).unwrap();
        }
        assert_eq!(study.records(0)["a"].state.seconds, 7.0);
    }

    #[test]
    fn a_study_that_trains_can_be_read_but_not_changed() {
        let logdir = tempfile::tempdir().unwrap();
        let read = || StudyFolder::open_to_read(logdir.path(), "study", &identity());
        assert!(matches!(read(), Err(StudyFolderError::Io { .. })));
        let mut study = StudyFolder::open(logdir.path(), "study", &identity()).unwrap();
        study.add(record("one", 0, 1.0)).unwrap();
        let path = study.path().join(RECORDS);
        fs::write(&path, fs::read_to_string(&path).unwrap() + "{\"run\": \"half").unwrap();
        let before = fs::read(&path).unwrap();
        let mut seen = read().unwrap();
        assert_eq!(seen.records(0).into_keys().collect::<Vec<_>>(), ["one"]);
        let refused = seen.add(record("two", 0, 1.0));
        assert!(matches!(refused, Err(StudyFolderError::InUse { .. })));
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_damaged_record_is_named() {
        let logdir = tempfile::tempdir().unwrap();
        drop(StudyFolder::open(logdir.path(), "study", &identity()).unwrap());
        let path = logdir.path().join("study").join(RECORDS);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}garbage\n")).unwrap();
        let error = StudyFolder::open(logdir.path(), "study", &identity()).err().unwrap().to_string();
        assert!(error.contains("runs.jsonl cannot be used: line 2 is damaged"), "{error}");
    }

    #[test]
    fn a_folder_has_one_study_and_one_process() {
        let logdir = tempfile::tempdir().unwrap();
        let held = StudyFolder::open(logdir.path(), "study", &identity()).unwrap();
        let open = |name, identity| StudyFolder::open(logdir.path(), name, &identity).err().unwrap();
        assert!(matches!(open("study", identity()), StudyFolderError::InUse { .. }));
        drop(held);
        let error = open("study", Identity { axes: vec!["model.width".into()], ..identity() }).to_string();
        assert!(error.ends_with("of base.toml with the axes model.depth; choose another name with --name"), "{error}");
        fs::create_dir(logdir.path().join("other")).unwrap();
        fs::write(logdir.path().join("other/file"), "").unwrap();
        let error = open("other", identity()).to_string();
        assert!(error.contains("files that belong to no study"), "{error}");
        assert_eq!(fs::read_dir(logdir.path().join("other")).unwrap().count(), 1);
    }
}
