//! The folder of one run.

use std::{
    fs::{self, File, TryLockError},
    io::{self, BufReader, Read, Write},
    path::Path,
};

use time::OffsetDateTime;

use super::{
    EventsError, JsonLines, LogPosition,
    position::cut,
    session::{host_name, session_of},
};
use crate::disk::{Folder, read_line};

/// The file that names the process that uses the folder. It remains after the process ends; its lock does not.
const LOCK: &str = "run.lock";
pub(super) const CONFIG: &str = "config.toml";
/// Logs in JSON lines format.
const LINES: [&str; 2] = ["metrics.jsonl", "findings.jsonl"];
/// The text log, which a run also appends to.
const LOG: &str = "train.log";
/// Other entries that a run reads or writes.
const OTHERS: [&str; 14] = [
    CONFIG,
    "paths.json",
    "data.jsonl",
    "classes.json",
    "preprocessing.json",
    "recent_steps.jsonl",
    "report.html",
    "checkpoints",
    "weights",
    "explanations",
    "evaluation",
    "repairs.jsonl",
    "config.original.toml",
    "abandoned",
];
/// Upper limit for a line of metrics.jsonl and for the text of a lock file.
const MOST_BYTES: u64 = 1 << 30;
/// Maximum number of names to try for a run without a name.
const MOST_NAMES: usize = 10_000;

/// A run's folder, locked by this process for the lifetime of this value.
#[derive(Debug)]
pub struct RunFolder {
    folder: Folder,
    /// The kernel releases the lock when the process ends, for any reason.
    _lock: File,
}

impl RunFolder {
    /// Creates `logdir/name`. An existing folder is accepted only if it is empty.
    ///
    /// # Errors
    /// If the folder is not empty, or cannot be created or written.
    pub fn create(logdir: &Path, name: &str) -> Result<Self, EventsError> {
        let path = logdir.join(name);
        let refuse = |cause| EventsError::Create { path: path.clone(), cause };
        let folder = match make(logdir, &path) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match Folder::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                    return Err(EventsError::AlreadyUsed { path });
                }
                opened => opened.map_err(refuse)?,
            },
            Err(error) => return Err(refuse(error)),
        };
        if !folder.names().map_err(refuse)?.is_empty() {
            return Err(EventsError::AlreadyUsed { path });
        }
        let held = Self::hold(folder)?;
        // Another process may have used the folder in the meantime and ended.
        let is_used = held.folder.names().map_err(refuse)?.iter().any(|name| name != LOCK);
        if is_used { Err(EventsError::AlreadyUsed { path }) } else { Ok(held) }
    }

    /// Creates a new folder `logdir/name`, or `name-2`, `name-3`, and so on if the name is taken.
    ///
    /// # Errors
    /// If the folder cannot be created or written.
    pub fn create_unnamed(logdir: &Path, name: &str) -> Result<Self, EventsError> {
        let numbered = (2..=MOST_NAMES).map(|number| format!("{name}-{number}"));
        for name in std::iter::once(name.to_owned()).chain(numbered) {
            let path = logdir.join(name);
            // Only one process can create a given folder.
            match make(logdir, &path) {
                Ok(folder) => return Self::hold(folder),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(EventsError::Create { path, cause }),
            }
        }
        Err(EventsError::AlreadyUsed { path: logdir.join(name) })
    }

    /// Opens the folder of an existing run.
    ///
    /// # Errors
    /// If it does not contain a run, another process uses it, or one of its files leads outside of it.
    pub fn open(path: &Path) -> Result<Self, EventsError> {
        let missing = |missing| EventsError::NoRun { path: path.to_owned(), missing };
        // Otherwise, creating the lock file would turn any folder into a run.
        if !path.is_dir() {
            return Err(missing("the folder"));
        }
        let folder = Folder::open(path).map_err(|cause| EventsError::Open { path: path.to_owned(), cause })?;
        if !folder.contains(LOCK) && !folder.contains(CONFIG) {
            return Err(missing(CONFIG));
        }
        Self::hold(folder)
    }

    fn hold(folder: Folder) -> Result<Self, EventsError> {
        check_own(&folder)?;
        let file = folder.path().join(LOCK);
        let refuse = |cause| EventsError::Create { path: file.clone(), cause };
        let mut lock = folder.change(LOCK).map_err(refuse)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // If the file cannot be read, the holder remains unknown.
                let _ = lock.take(MOST_BYTES).read_to_string(&mut holder);
                let holder = if holder.trim().is_empty() { "another process" } else { holder.trim() };
                return Err(EventsError::InUse { path: folder.path().to_owned(), holder: holder.to_owned() });
            }
            Err(TryLockError::Error(cause)) => {
                tracing::warn!(
                    "{} cannot be locked ({cause}): a second process could write to this run",
                    file.display()
                );
            }
        }
        let holder = format!("process {} on {}\n", std::process::id(), host_name());
        lock.set_len(0).and_then(|()| lock.write_all(holder.as_bytes())).map_err(refuse)?;
        remove_partial(&folder).map_err(|cause| EventsError::Write { path: folder.path().to_owned(), cause })?;
        Ok(Self { folder, _lock: lock })
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder itself, for opening its files.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Opens the text log for appending.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn log(&self) -> Result<File, EventsError> {
        self.folder.append(LOG).map_err(|cause| EventsError::Create { path: self.path().join(LOG), cause })
    }

    /// Writes a small file of the run atomically: after a crash, it has either the old or the new content.
    ///
    /// # Errors
    /// If the write fails.
    pub fn write(&self, name: &str, content: &str) -> Result<(), EventsError> {
        let refuse = |cause| EventsError::Create { path: self.path().join(name), cause };
        self.folder.replace(name, content.as_bytes()).map_err(refuse)
    }

    /// Opens a JSON lines log of the run for appending, and creates it if it is missing.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn json_lines(&self, name: &str) -> Result<JsonLines, EventsError> {
        JsonLines::open(self.path().join(name))
    }

    /// The logs whose positions a checkpoint stores: the event files of sessions, and [`LINES`].
    fn logs(&self) -> Result<Vec<String>, EventsError> {
        logs_in(&self.folder).map_err(|cause| EventsError::Open { path: self.path().to_owned(), cause })
    }

    /// The event files of earlier sessions, with their lengths.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn earlier_sessions(&self) -> Result<Vec<LogPosition>, EventsError> {
        let logs = self.logs()?.into_iter().filter(|name| session_of(name).is_some());
        let position = |file: String| {
            let metadata = self.folder.open_file(&file).and_then(|log| log.metadata());
            let length = metadata.map_err(|cause| EventsError::Open { path: self.path().join(&file), cause })?.len();
            Ok(LogPosition { file, bytes: length, is_incomplete: false })
        };
        logs.map(position).collect()
    }

    /// Whether the run has recorded steps, which a fresh start would lose.
    pub fn has_steps(&self) -> bool {
        let Ok(file) = self.folder.open_file(LINES[0]) else { return false };
        let (mut file, mut line) = (BufReader::new(file), Vec::new());
        let mut next = || read_line(&mut file, &mut line, MOST_BYTES).map(|_| !line.is_empty()).unwrap_or(false);
        // The first line contains facts from before the first step.
        next() && next()
    }

    /// Number of the session that starts now.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn next_session(&self) -> Result<u32, EventsError> {
        Ok(self.logs()?.iter().filter_map(|name| session_of(name)).max().unwrap_or(0).saturating_add(1))
    }

    /// Truncates the logs to `positions`. An event file without a position covers steps that will run again, so it is
    /// removed; JSON lines are truncated likewise. A log that is shorter than its position is truncated to its last
    /// complete entry, with a warning.
    ///
    /// # Errors
    /// If the system reports an error.
    pub fn cut_back(&self, positions: &[LogPosition]) -> Result<(), EventsError> {
        for name in self.logs()? {
            let path = self.path().join(&name);
            let position = positions.iter().find(|position| position.file == name);
            let write = |cause| EventsError::Write { path: path.clone(), cause };
            match position {
                None if session_of(&name).is_some() => self.folder.remove(&name).map_err(write)?,
                _ => {
                    let want = position.map_or(0, |position| position.bytes);
                    let end = cut(&self.folder, &name, want).map_err(write)?;
                    if end < want {
                        tracing::warn!("{} ends at byte {end} instead of {want}: entries are lost", path.display());
                    }
                }
            }
        }
        for position in positions.iter().filter(|position| !self.folder.contains(&position.file)) {
            tracing::warn!("{} is missing: entries of {} bytes are lost", position.file, position.bytes);
        }
        self.folder.sync().map_err(|cause| EventsError::Write { path: self.path().to_owned(), cause })
    }
}

/// Names of the logs in the folder of a run.
pub(super) fn logs_in(folder: &Folder) -> io::Result<Vec<String>> {
    // Names of logs are ASCII.
    let names = folder.names()?.into_iter().filter_map(|name| name.into_string().ok());
    Ok(names.filter(|name| session_of(name).is_some() || LINES.contains(&name.as_str())).collect())
}

/// Creates a new folder, and the log folder if it is missing.
fn make(logdir: &Path, path: &Path) -> io::Result<Folder> {
    fs::create_dir_all(logdir)?;
    fs::create_dir(path)?;
    Folder::open(logdir)?.sync()?;
    Folder::open(path)
}

/// Checks, before any write, that all files the run will read or write are its own.
fn check_own(folder: &Folder) -> Result<(), EventsError> {
    let read = |cause| EventsError::Open { path: folder.path().to_owned(), cause };
    for name in folder.names().map_err(read)?.iter().filter_map(|name| name.to_str()) {
        let is_written_over = name == LOCK || name == LOG || LINES.contains(&name) || session_of(name).is_some();
        let is_own = is_written_over || OTHERS.contains(&name);
        if let Some(objection) = folder.objection(name, is_written_over).filter(|_| is_own) {
            return Err(EventsError::Elsewhere { path: folder.path().join(name), what: objection.to_string() });
        }
    }
    Ok(())
}

/// Removes partially written small files of a process that died.
fn remove_partial(folder: &Folder) -> io::Result<()> {
    folder.remove_partial()?;
    let mut inner = ["weights", "explanations"].into_iter().filter_map(|name| folder.folder(name).ok());
    inner.try_for_each(|folder| folder.remove_partial())
}

/// Default name of a run: the config's file name and the time, such as `fashion-mnist-20260102-150405`.
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
        fs::create_dir(logdir.path().join("run")).unwrap();
        let run = RunFolder::create(logdir.path(), "run").unwrap();
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
    fn a_run_is_held_by_one_process_and_let_go_with_it() {
        let logdir = tempfile::tempdir().unwrap();
        let run = RunFolder::create(logdir.path(), "run").unwrap();
        let path = run.path().to_owned();
        let error = RunFolder::open(&path).unwrap_err();
        assert!(error.to_string().contains(&format!("in use by process {} on ", std::process::id())), "{error}");
        drop(run);
        // A process that died leaves the file but not the lock.
        assert!(path.join(LOCK).exists());
        drop(RunFolder::open(&path).unwrap());
        fs::write(path.join(LOCK), "").unwrap();
        RunFolder::open(&path).unwrap();
    }

    #[test]
    fn a_folder_that_is_no_run_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("none")] {
            assert!(matches!(RunFolder::open(&path), Err(EventsError::NoRun { .. })));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn logs_are_cut_back_and_those_of_steps_to_come_go() {
        let logdir = tempfile::tempdir().unwrap();
        let run = RunFolder::create(logdir.path(), "run").unwrap();
        let write = |name: &str, text: &str| fs::write(run.path().join(name), text).unwrap();
        let read = |name: &str| fs::read_to_string(run.path().join(name)).unwrap();
        let [first, second] = [1, 2].map(|number| format!("events.out.tfevents.1.host.1.0.session-{number:03}"));
        write(&first, "abc");
        write(&second, "def");
        write("events.out.tfevents.1.other", "of another program");
        write("metrics.jsonl", "1\n2\n");
        let at = |file: &str, bytes| LogPosition { file: file.to_owned(), bytes, is_incomplete: false };
        assert_eq!(run.earlier_sessions().unwrap(), [at(&first, 3), at(&second, 3)]);
        assert_eq!(run.next_session().unwrap(), 3);
        run.cut_back(&[at(&first, 2), at("metrics.jsonl", 2)]).unwrap();
        assert_eq!((read(&first), read("metrics.jsonl")), ("ab".into(), "1\n".into()));
        assert!(!run.path().join(&second).exists());
        assert_eq!(read("events.out.tfevents.1.other"), "of another program");
        run.cut_back(&[]).unwrap();
        assert_eq!(read("metrics.jsonl"), "");
    }

    #[test]
    fn a_name_is_made_of_the_config_and_the_time() {
        let now = OffsetDateTime::from_unix_timestamp(1_767_366_245).unwrap();
        assert_eq!(run_name(Path::new("configs/fashion-mnist.toml"), now), "fashion-mnist-20260102-150405");
    }
}
